"""The rules of time (docs/conventions.md) on a company of 200 customers, each on real engines in homes of their own."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.companies import declare
from tests.conftest import PROJECT, mdp
from warehouse import dates

pytestmark = [pytest.mark.engine, pytest.mark.slow]

DAYS = 24
FIRST, LAST, AFTER = "2024-03-01", "2024-03-24", "2024-03-25"
FORGOTTEN, OWN_DAY = "forgotten-on-a-phone", "2024-03-10"  # an event that comes two weeks late, and when it happened
# Written for the newest day of a run only (docs of the models): compared on the last day.
SNAPSHOTS = {"cleaned.customers", "cleaned.products", "labels.customer_lifetime"}


def live(home: Path, *words: str, **env: str) -> str:
    """What a command of tests/time/live.py prints, run in `home`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.time.live", *words],
        cwd=PROJECT, env=os.environ | {"MDP_HOME": str(home)} | env, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def checksums(home: Path) -> dict[tuple[str, str], str]:
    """(table, ds) → rows and hash, of cleaned, features and labels."""
    found = {}
    for line in mdp("warehouse", "checksum", home=home).stdout.splitlines():
        digest, table, ds, rows = line.split()[:4]
        if table.split(".")[0] in ("cleaned", "features", "labels"):
            found[table, ds] = f"{rows} {digest}"
    return found


@pytest.fixture(scope="module")
def one_pass(tmp_path_factory):
    """The company's days loaded and built in one pass."""
    home = tmp_path_factory.mktemp("one_pass")
    mdp("warehouse", "start", home=home)
    mdp("sample", "create", "--days", str(DAYS), "--customers", "200", "--seed", "5", home=home)
    spool = home / "sample" / "spool" / "web__events"
    events = map(json.loads, (spool / f"web__events-{OWN_DAY}.jsonl").read_text().splitlines())
    event = next(e for e in events if e["occurred_at"].startswith(f"{OWN_DAY}T12")) | {"event_id": FORGOTTEN}
    (spool / f"web__events-{LAST}-late.jsonl").write_text(json.dumps(event) + "\n")  # held back: it comes too late
    live(home, "live", FIRST, LAST)
    yield home
    mdp("warehouse", "stop", home=home)


def test_one_pass_equals_day_by_day_and_later_loads_change_no_earlier_day(one_pass, tmp_path):
    """A history up to a day and then single days give the same tables as one pass over all of them.

    Then each column of each later load is changed: what was known before stays what it was.
    """
    history_to, later = "2024-03-21", ["2024-03-22", "2024-03-23", LAST]
    (tmp_path / "keys").mkdir(mode=0o700)
    shutil.copy(one_pass / "keys" / "privacy.key", tmp_path / "keys")  # equal people must have equal hashes
    mdp("warehouse", "start", home=tmp_path)
    try:
        mdp("sample", "create", "--days", str(DAYS - len(later)), "--customers", "200", "--seed", "5", home=tmp_path)
        live(tmp_path, "live", FIRST, history_to)
        for ds in (
            later
        ):  # each day is loaded on its evening: a table read days later is known as of then (customer_attributes)
            mdp("sample", "advance", home=tmp_path)
            live(tmp_path, "live", "-", ds)
        daily = checksums(tmp_path)
        moved = dict(line.split() for line in live(tmp_path, "move", history_to, *later).splitlines())
        live(tmp_path, "rebuild", FIRST, LAST)
        after = checksums(tmp_path)
    finally:
        mdp("warehouse", "stop", home=tmp_path)
    whole = checksums(one_pass)
    compared = {key for key in whole if key[0] not in SNAPSHOTS or key[1] == LAST}
    assert len({table for table, _ in compared}) >= 15
    assert len({ds for _, ds in compared}) >= DAYS
    assert {k: whole[k] for k in compared} == {k: daily.get(k) for k in compared}

    assert len(moved) == 9 and all(int(n) for n in moved.values()), moved
    features = {k: v for k, v in daily.items() if k[0].startswith("features.")}
    before = {k: v for k, v in features.items() if k[1] <= history_to}
    assert len(before) >= 4 * 21
    assert {k: after.get(k) for k in before} == before
    unmoved = {k for k, v in features.items() if k[1] > history_to and after.get(k) == v}
    assert not unmoved, "the loads of these days were not moved"


def test_a_company_without_a_log_of_changes_learns_what_customers_were_day_by_day(tmp_path):
    """Its history is known as of one load: models leave that out and say so; each later day is known as it was."""
    folder = tmp_path / "no_log"
    shutil.copytree(PROJECT / "companies" / "sample", folder)
    for name in ("feeds.yml", "gates.yml", "company.yml"):
        blocks = yaml.safe_load((folder / name).read_text())
        blocks["entities"].pop("customer_changes") if "entities" in blocks else blocks.pop("crm__customer_changes")
        (folder / name).write_text(yaml.safe_dump(blocks, sort_keys=False))
    (folder / "staging" / "stg_crm__customer_changes.sql").unlink()
    own, history_to = {"MDP_COMPANY": str(folder)}, "2024-03-22"
    mdp("warehouse", "start", home=tmp_path, **own)
    try:
        mdp("sample", "create", "--days", str(DAYS), "--customers", "200", "--seed", "5", home=tmp_path, **own)
        live(tmp_path, "live", FIRST, history_to, "-", "2024-03-23", **own)
        # the newest load: everybody has another plan
        live(tmp_path, "live", "-", LAST, **own)
        moved = "select * except (membership_plan), 'platinum' as membership_plan from {old}"
        live(tmp_path, "rewrite", LAST, "raw.crm__customers", moved, **own)
        live(tmp_path, "rebuild", "-", LAST, **own)
        said = mdp("train", "ctr", "--ds", LAST, "--dry", home=tmp_path, **own).stdout
        days = query(tmp_path, "select distinct concat(ds, ' ', membership_plan_as_of) from features.customer_day")
        platinum = query(tmp_path, "select distinct ds from features.customer_day where membership_plan = 'platinum'")
        gate = mdp("gate", "raw", "--ds", LAST, home=tmp_path, check=False, **own)
    finally:
        mdp("warehouse", "stop", home=tmp_path)
    lacks = "gender, age_band, membership_plan of all days"
    assert f"left out of training, because only a later load tells what they were: {lacks}" in said
    loads = {ds: max(ds, history_to) for ds in dates.days(FIRST, LAST)}
    assert sorted(days) == [f"{ds} {load}" for ds, load in loads.items()]
    assert platinum == [LAST]
    assert "crm__customer_changes" not in gate.stdout + gate.stderr


def test_a_day_that_becomes_empty_is_empty(one_pass):
    """Events of a day vanish from raw, the day is rebuilt: nothing of it stands, and earlier days are untouched."""
    before = checksums(one_pass)
    assert ("cleaned.events", LAST) in before
    moved = rewrite(one_pass, {WEB: f"select * from {{old}} where received_date < '{LAST}'"})
    try:
        assert moved[WEB] > 0
        live(one_pass, "rebuild", "-", LAST)
        after = checksums(one_pass)
    finally:
        live(one_pass, "restore", LAST, WEB)
    assert ("cleaned.events", LAST) not in after
    assert after["cleaned.events", "2024-03-15"] == before["cleaned.events", "2024-03-15"]


def test_moving_only_the_future_changes_no_feature(one_pass):
    """Facts whose own time lies after a day are removed or undone, and whoever is there changes each attribute after it,
    as the log says; features up to that day stay the same."""
    day, end = "2024-03-18", "timestamp '2024-03-18 16:00:00'"  # the end of that day in Asia/Shanghai, as UTC
    before = {k: v for k, v in checksums(one_pass).items() if k[1] <= day}
    changed = query(one_pass, "select distinct attribute from input.customer_changes")
    assert {"membership_plan", "city", "membership_expires_at"} <= set(changed), "the company itself changes, too"
    queries = {CHANGES: WITH_NEW_CHANGES} | {t: without_future(t, end) for t in (*TIMES_OF_TABLES, WEB, ADS)}
    moved = rewrite(one_pass, queries)
    try:
        assert len(moved) == 6 and all(n for table, n in moved.items() if table != CHANGES), moved
        live(one_pass, "rebuild", FIRST, LAST)
        after = checksums(one_pass)
    finally:
        live(one_pass, "restore", LAST, *moved)
    assert ("cleaned.orders", LAST) not in after, "the future is still there"
    features = {k for k in before if k[0].startswith("features.")}
    assert len(features) >= 4 * 18
    assert {k: before[k] for k in features} == {k: after.get(k) for k in features}


def rewrite(home: Path, queries: dict[str, str]) -> dict[str, int]:
    """Replace the last load of each table by a query of itself; returns table → rows that are no longer there."""
    said = live(home, "rewrite", LAST, *(word for item in queries.items() for word in item))
    return {table: int(n) for table, n in (line.split() for line in said.splitlines())}


WEB, ADS = "raw.web__events", "raw.ads__events"
CHANGES = "raw.crm__customer_changes"
ATTRIBUTES = {
    "gender": "'moved'", "birth_year": "1900", "city": "'moved'", "membership_plan": "'moved'",
    "membership_expires_at": "timestamp '2030-01-01 00:00:00'",
}  # fmt: skip
# The log with one more change of every attribute of every customer, in the last hour of the newest day.
WITH_NEW_CHANGES = "select * from {old}" + "".join(
    f" union all select {n}000000L + row_number() over (order by customer_id), customer_id, '{name}', cast({name} as string), "
    f"cast({new} as string), timestamp '{LAST} 15:30:00', load_id from raw.crm__customers where ds = '{LAST}'"
    for n, (name, new) in enumerate(ATTRIBUTES.items(), 1)
)
# Table → (when a row came to be, what happened to it later)
TIMES_OF_TABLES = {
    "raw.crm__customers": ("registered_at", "membership_cancelled_at"),
    "raw.crm__orders": ("ordered_at", "cancelled_at"),
    "raw.crm__order_items": ("ordered_at", "returned_at"),
}


def without_future(table: str, end: str) -> str:
    """The query of {old} that leaves what was known at `end`."""
    if table in (WEB, ADS):
        return f"select * from {{old}} where cast(occurred_at as timestamp) < {end}"
    born, later = TIMES_OF_TABLES[table]
    known, changed = {later: f"case when {later} < {end} then {later} end"}, {}
    if table == "raw.crm__customers":
        changed = ATTRIBUTES | dict.fromkeys(("phone_hash", "email_hash", "phone_mask"), "'moved'")
    columns = ", ".join(f"{value} as {name}" for name, value in (known | changed).items())
    return f"select * except ({', '.join(known | changed)}), {columns} from {{old}} where {born} < {end}"


def test_an_event_that_was_held_back_and_released_counts_on_its_own_day(one_pass):
    """This test and the next are the last: they live one more day. Its run reaches back to the event by itself."""
    in_cleaned = f"select ds from cleaned.events where event_id = '{FORGOTTEN}'"
    assert query(one_pass, in_cleaned) == []
    mdp("quarantine", "release", "--feed", "web__events", "--ds", LAST, "--reason", "too_late", home=one_pass)
    mdp("sample", "advance", home=one_pass)
    live(one_pass, "live", "-", AFTER)
    taken = query(
        one_pass, f"select ds from raw.web__events where event_id = '{FORGOTTEN}' and received_date = '{OWN_DAY}'"
    )
    assert taken == [AFTER]
    assert query(one_pass, in_cleaned) == [OWN_DAY]


def test_a_row_of_a_table_that_comes_late_counts_on_its_day_or_is_held_until_it_is_released(one_pass, tmp_path):
    """Two orders of long ago are first loaded with the newest day: one within reach, one not. Two have no day at all."""
    late, reaching = {"late-near": "2024-03-15", "late-far": "2024-03-04"}, declare(tmp_path, reach_days=14)
    rows = " ".join(
        f"union all (select * except (order_id, ordered_at), '{name}' as order_id, timestamp '{day} 04:00:00' as ordered_at "
        "from {old} order by order_id limit 1)"
        for name, day in late.items()
    )
    rows += " ".join(
        f"union all (select * except (order_id, ordered_at), '{name}' as order_id, {at} as ordered_at from {{old}} "
        "order by order_id limit 1)"
        for name, at in {"no-time": "cast(null as timestamp)", "far-ahead": "timestamp '2024-05-20 04:00:00'"}.items()
    )
    as_they_are = "select * except (order_id, ordered_at), order_id, ordered_at from {old}"
    live(one_pass, "rewrite", AFTER, "raw.crm__orders", f"{as_they_are} {rows}")
    live(one_pass, "rebuild", "-", AFTER, MDP_COMPANY=reaching)
    orders = "from cleaned.orders where order_id like 'late-%' order by order_id desc"
    in_cleaned = f"select concat(order_id, ' ', ds) {orders}"
    counted = f"from cleaned.dropped_rows where ds = '{AFTER}' and reason = 'too_late'"
    dropped = f"select concat(table_name, ' ', reason, ' ', n_rows) {counted}"
    assert query(one_pass, in_cleaned) == ["late-near 2024-03-15"]
    assert query(one_pass, dropped) == ["orders too_late 1"]
    of_no_day = dropped.replace("reason = 'too_late'", "reason in ('no_time', 'future')") + " order by reason"
    assert query(one_pass, of_no_day) == ["orders future 1", "orders no_time 1"]

    said = mdp("quarantine", "list", home=one_pass, MDP_COMPANY=reaching).stdout
    assert re.search(rf"crm__orders +{AFTER} +too_late +1 +0 +0", said), said
    held = ("--feed", "crm__orders", "--ds", AFTER)
    said = mdp("quarantine", "show", *held, home=one_pass, MDP_COMPANY=reaching).stdout
    assert f"orders/late-far:20240304  too_late\n    orders of 2024-03-04, first loaded on {AFTER}" in said
    mdp("quarantine", "release", *held, "--row", "orders/late-far:20240304", home=one_pass, MDP_COMPANY=reaching)
    live(one_pass, "rebuild", "-", AFTER, MDP_COMPANY=reaching)
    assert query(one_pass, in_cleaned) == ["late-near 2024-03-15", "late-far 2024-03-04"]
    assert query(one_pass, dropped) == []
    assert "crm__orders" not in mdp("quarantine", "list", home=one_pass, MDP_COMPANY=reaching).stdout


def query(home: Path, sql: str) -> list[str]:
    """The values of a query's one column."""
    return mdp("warehouse", "sql", "--csv", sql, home=home).stdout.splitlines()[1:]
