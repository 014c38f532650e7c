"""Each suite accepts good data and rejects one planted defect per rule. A rule without a planter fails here.

Suites read views of good tables; a defect is planted by SQL into what a suite reads, so that no table is written. All
plantings are judged in one go (Great Expectations pays its start once) and each test looks at its own verdict.
"""

import importlib
import re
from dataclasses import replace

import pytest

from expectations import own
from expectations.feeds import feeds
from expectations.gate import GATES
from expectations.rules import Rule, Suite
from expectations.validate import judge
from tests.gates.good_tables import DS, GOOD, SECRET, make_good_scope
from warehouse import tables
from warehouse.dates import shift

# Shares and derived columns judge an SQL condition: what makes it come true, per rule (table: rule: column: SQL).
PLANTED = {
    "raw.web__events": {
        "missing_user": {"user_id": "null", "is_logged_in": "true"},
        "no_subject": {"user_id": "null", "device_id": "null"},
        "odd_duration": {"duration_ms": "-1"},
    },
    "raw.ads__events": {
        "unknown_channel": {"channel": "'fax'"},
        "odd_position": {"position": "0"},
        "clicked": {"event_type": "'click'"},
    },
    "raw.crm__orders": {
        "unknown_channel": {"channel": "'fax'"},
        "cancelled": {"cancelled_at": "timestamp'2024-08-26'"},
    },
    "raw.crm__channel_spend": {"unknown_channel": {"channel": "'fax'"}},
    "raw.crm__customers": {"clear_phone": {"phone_mask": f"'{SECRET}'"}, "odd_birth_year": {"birth_year": "1700"}},
    "raw.crm__campaigns": {
        "unknown_channel": {"channel": "'fax'"},
        "n_backwards": {"ended_at": "timestamp'2020-01-01'"},
    },
    tables.CLEANED_EVENTS: {
        "unknown_event_type": {"event_type": "'swipe'"},
        "unknown_platform": {"platform": "'fridge'"},
        "outlier": {"is_duration_outlier": "true"},
    },
    tables.CLEANED_IMPRESSIONS: {"unknown_channel": {"channel": "'fax'"}},
    tables.CLEANED_ORDERS: {"unknown_channel": {"channel": "'fax'"}, "outlier": {"is_amount_outlier": "true"}},
    tables.CLEANED_REVERSALS: {"unknown_reversal_kind": {"reversal_kind": "'lost'"}},
    tables.CLEANED_CHANNEL_SPEND: {"unknown_channel": {"channel": "'fax'"}},
    tables.CLEANED_CUSTOMERS: {
        "future_customer": {"registered_date": "date'2030-01-01'"},
        "unknown_membership_plan": {"membership_plan": "'lead'"},
        "clear_phone": {"phone_mask": f"'{SECRET}'"},
    },
    tables.CLEANED_CUSTOMER_ATTRIBUTES: {
        "unknown_membership_plan": {"membership_plan": "'lead'"},
        "of_the_past": {"membership_plan_as_of": "'2020-01-01'"},
    },
    tables.CLEANED_CAMPAIGNS: {"unknown_channel": {"channel": "'fax'"}},
    tables.FEATURES_CUSTOMER_DAY: {
        "of_newest_day": {"ds": f"'{shift(DS, -1)}'"},
        "odd_age": {"age_years": "200"},
        "unknown_gender": {"gender": "'?'"},
        "unknown_membership_plan": {"membership_plan": "'lead'"},
    },
    tables.FEATURES_SALES_DAY: {"more_guests": {"n_guest_orders": "n_orders + 1"}},
    tables.FEATURES_IMPRESSION: {
        "unknown_daypart": {"daypart": "'tea time'"},
        "unknown_age_band": {"age_band": "'old'"},
        "unknown_gender": {"gender": "'?'"},
        "unknown_channel": {"channel": "'fax'"},
    },
    tables.FEATURES_CHANNEL_DAY: {"unknown_channel": {"channel": "'fax'"}},
    tables.PREDICTIONS_SEGMENTATION: {
        "unknown_segment": {"segment": "'friends'"},
        "largest_segment": {"segment": "'loyal'"},
        "not_to_be_scored": {"is_to_be_scored": "false"},
    },
    tables.PREDICTIONS_CHURN: {
        "rising_survival": {"survival_90d": "0.99d"},
        "contact_in_past": {"best_contact_date": "'2020-01-01'"},
        "not_to_be_scored": {"is_to_be_scored": "false"},
    },
    tables.PREDICTIONS_CTR: {"not_to_be_scored": {"is_to_be_scored": "false"}},
    tables.PREDICTIONS_BUDGET: {
        "unknown_channel": {"channel": "'fax'"},
        "below_floor": {"spend": "10"},
        "above_cap": {"spend": "1000"},
        "overspent": {"spend": "101"},
    },
}
QUARANTINED = {"quarantined": "malformed_json", "missing_field": "missing_field:event_id",
               "bad_timestamp": "bad_timestamp:occurred_at", "unknown_value": "unknown_value:platform"}  # fmt: skip


def all_suites() -> dict[str, list[Suite]]:
    scope = make_good_scope()
    return {gate: own.add(importlib.import_module(f"expectations.{gate}").suites(scope), scope) for gate in GATES}


def on_views(suite: Suite) -> Suite:
    """The suite reading the views of the good tables instead of the tables."""
    names = "|".join(map(re.escape, GOOD))
    return replace(suite, frame=re.sub(rf"\b({names})\b", lambda m: m[0].replace(".", "__"), suite.frame))


def plant(suite: Suite, rule: Rule) -> Suite:
    """The suite, restricted to one rule, on data that breaks it; KeyError for a rule that nobody knows how to break."""
    low, high = rule.arguments.get("min_value"), rule.arguments.get("max_value")
    column = rule.arguments.get("column")
    if rule.name == "volume":
        return replace(suite, frame=f"select * from ({suite.frame}) limit {low - 1}", rules=(rule,), optional=False)
    if rule.expectation == "ExpectColumnUniqueValueCountToBeBetween":
        changes = {rule.column: "'twice'"}
    elif rule.name == "freshness":
        changes = {rule.column: f"'{shift(DS, -1)}'"}
    elif rule.derived and rule.offending and rule.offending.replace("`", "").startswith(f"({rule.column} is null)"):
        changes = {rule.column: "null"} | PLANTED.get(suite.table, {}).get(rule.name, {})
    elif rule.derived:
        if column and rule.column == "reason":
            changes = {"reason": f"'{QUARANTINED.get(rule.name, rule.name)}'"}
        else:
            changes = PLANTED[suite.table][rule.name]
    elif rule.expectation == "ExpectColumnMinToBeBetween":
        changes = {column: f"{low} - 1"}
    elif rule.expectation in (
        "ExpectColumnMaxToBeBetween", "ExpectColumnMeanToBeBetween", "ExpectColumnSumToBeBetween"
    ):  # fmt: skip
        changes = {column: f"{high} + 1"}
    else:
        raise KeyError(f"no planter for {rule.expectation}")
    return replace(suite, frame=_changed(suite.frame, changes), rules=(rule,))


def _changed(frame: str, changes: dict[str, str]) -> str:
    """The frame with columns replaced by SQL, in their old types."""
    kept = f"* except ({', '.join(changes)})"
    return f"select {kept}, {', '.join(f'{sql} as {name}' for name, sql in changes.items())} from ({frame})"


CASES = [(suite, rule) for suites in all_suites().values() for suite in suites for rule in suite.rules]


@pytest.fixture(scope="module")
def views(spark):
    for table, query in GOOD.items():
        spark.sql(query).createOrReplaceTempView(table.replace(".", "__"))


@pytest.fixture(scope="module")
def accepted(views):
    return judge([on_views(suite) for suites in all_suites().values() for suite in suites])


@pytest.fixture(scope="module")
def rejected(views):
    planted = [on_views(plant(suite, rule)) for suite, rule in CASES]
    return {(v.table, v.rule): v for v in judge(planted)}


def test_good_tables_are_the_tables_of_the_suites():
    read = {table for table in GOOD if not table.startswith("quarantine.")}
    judged = {suite.table for suites in all_suites().values() for suite in suites}
    assert judged and judged == read
    layers = (tables.CLEANED, tables.FEATURES, tables.PREDICTIONS)
    assert judged == {f"raw.{feed}" for feed in feeds()} | {
        table for layer in layers for table in tables.in_layer(layer)
    }


def test_rules_have_names_of_their_own():
    names = [(suite.table, rule.name) for suite, rule in CASES]
    assert len(names) > 80
    assert len(set(names)) == len(names)


def test_good_data_is_accepted(accepted):
    assert len(accepted) == len(CASES)
    assert not [(v.table, v.rule, v.observed, v.expected) for v in accepted if v.outcome == "broken"]


@pytest.mark.parametrize(("suite", "rule"), CASES, ids=[f"{s.table}-{r.name}" for s, r in CASES])
def test_a_planted_defect_is_rejected(rejected, suite, rule):
    verdict = rejected[(suite.table, rule.name)]
    assert not verdict.success, f"{verdict.observed} was accepted, expected {verdict.expected}"
    assert "no rows" not in verdict.observed or rule.name == "volume"
    if rule.offending:
        assert verdict.sample, "a reader gets no example of a broken row"


def test_samples_show_three_characters_at_most(rejected):
    values = [part.split("=", 1)[1] for v in rejected.values() for row in v.sample for part in row.split(", ")]
    assert len(values) > 100
    assert all(value == "null" or (value.endswith("…") and len(value) <= 4) for value in values)
    phones = [v for (_, rule), v in rejected.items() if rule == "clear_phone"]
    assert phones and all("phone_mask=138…" in row for v in phones for row in v.sample)
    assert SECRET not in repr(rejected)
