"""Few rows a day: what chance explains stops no day; what it does not still does. A closed day is missed by nobody."""

import importlib

import pytest

from expectations import own
from expectations.feeds import feeds
from expectations.rules import chance
from expectations.scope import Scope, Volume
from expectations.usual import evenly
from tests.companies import declare
from warehouse import tables

DS = "2026-02-17"


def scope(per_day: int, rows: int = 0) -> Scope:
    return Scope("2026-02-14", DS, {feed: Volume(rows, rows, 1, evenly(per_day, 60), per_day) for feed in feeds()})


def rules(gate: str, table: str, seen: Scope) -> dict:
    [suite] = [
        s for s in own.add(importlib.import_module(f"expectations.{gate}").suites(seen), seen) if s.table == table
    ]
    return {"optional": suite.optional} | {rule.name: rule for rule in suite.rules}


LOGS = [
    ("raw", "raw.web__events"), ("raw", "raw.ads__events"), ("cleaned", tables.CLEANED_EVENTS),
    ("cleaned", tables.CLEANED_IMPRESSIONS), ("features", tables.FEATURES_IMPRESSION),
]  # fmt: skip


@pytest.mark.parametrize(("gate", "table"), LOGS)
def test_a_silent_day_is_an_outage_of_a_large_company_and_chance_in_a_small_one(gate, table):
    large, small = rules(gate, table, scope(200)), rules(gate, table, scope(5))
    assert "freshness" in large and large["volume"].arguments["min_value"] >= 1 and not large["optional"]
    assert "freshness" not in small and small["optional"]
    assert "volume" not in small or small["volume"].arguments["min_value"] <= 0


@pytest.mark.parametrize(
    ("gate", "table"), [*LOGS, ("raw", "raw.crm__channel_spend"), ("cleaned", tables.CLEANED_CHANNEL_SPEND)]
)
def test_a_closed_day_is_missed_by_nobody(tmp_path, monkeypatch, gate, table):
    (tmp_path / "calendar.csv").write_text("day,kind,name\n2026-02-17,closed,Spring festival\n")
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path))
    closed = rules(gate, table, scope(200))
    assert "freshness" not in closed and closed["optional"]
    assert "volume" not in closed or closed["volume"].arguments["min_value"] <= 0


def test_one_of_nine_is_no_defect_and_one_of_five_of_many_is():
    """The day of a company of 37 customers was stopped by one event without a customer."""
    rule = rules("cleaned", tables.CLEANED_EVENTS, scope(9, 9))["missing_customer"]
    assert rule.by_chance and rule.arguments["max_value"] == 0.1
    assert 1 <= chance(9, 0.1) < 9 and 1000 < chance(9000, 0.1) < 1080


def test_that_nobody_bought_or_is_known_is_chance_in_a_small_company_only():
    """A limit near one that allowed for chance would never be reached: then the rule is left out."""
    for table, rule in ((tables.FEATURES_CUSTOMER_DAY, "never_bought"), (tables.FEATURES_IMPRESSION, "anonymous")):
        large, small = rules("features", table, scope(200, 200)), rules("features", table, scope(5, 5))
        assert large[rule].arguments["max_value"] < 1 and rule not in small


def test_no_share_is_so_loose_that_it_cannot_fail():
    for gate in ("raw", "cleaned", "features"):
        for suite in own.add(importlib.import_module(f"expectations.{gate}").suites(scope(200, 200)), scope(200, 200)):
            assert [
                r.name
                for r in suite.rules
                if r.is_share and r.arguments["max_value"] >= 1 and not r.arguments["min_value"]
            ] == []


def test_what_is_usual_of_one_quiet_day_is_no_limit_for_the_next():
    """A feed whose first day brought nothing may bring four rows on its second, but not a thousand."""
    feed = "crm__customer_changes"
    seen = {each: Volume(4, 4, 1, evenly(0.0, 1), 0) for each in feeds()}
    volume = rules("raw", f"raw.{feed}", Scope(DS, DS, seen))["volume"]
    assert volume.arguments["min_value"] == 0 and 4 <= volume.arguments["max_value"] < 100
