"""The raw gate of a company whose feeds are unlike the sample's: its rules follow from feeds.yml, and some from gates.yml."""

import json

import pytest

from expectations import own, raw
from expectations.gate import GateFailed, run_gate
from expectations.scope import make_scope
from tests.companies import declare
from warehouse import partitions, state
from warehouse.dates import days, days_between, shift
from warehouse.errors import PlatformError

SATURDAY, SUNDAY = "2026-02-14", "2026-02-15"
FIRST = shift(SUNDAY, -42)
FEEDS = """
till__lines:
  kind: files
  directory: lines
  pattern: "lines-{date}.csv"
  format: csv
  subject: null
  key: [Receipt, Line]
  columns:
    Receipt: {type: string, class: internal, required: true}
    Line: {type: int, class: internal, required: true}
    order: {type: "decimal(18,2)", class: internal}
till__members:
  kind: files
  directory: members
  pattern: "members-{date}.csv"
  format: csv
  mode: full
  subject: Card
  key: [Card]
  columns:
    Card: {type: string, class: internal, required: true}
    Mail: {type: string, class: personal, action: mask, format: email}
erp__bookings:
  kind: jdbc
  table: bookings
  mode: append
  check_column: booked_on
  subject: null
  key: [booking]
  columns:
    booking: {type: string, class: internal}
    booked_on: {type: date, class: internal}
erp__notes:
  kind: jdbc
  table: notes
  mode: full
  subject: null
  key: [note]
  columns:
    note: {type: string, class: internal}
"""
GATES = """
till__lines:
  not_free: {rule: at_least, column: order, min: 0.01, words: nothing is free}
  dear: {rule: share, of: order > 50, at_most: 0.2, words: few things are dear, severity: warn}
"""
LINES = "select concat('r', id) as Receipt, 1 as Line, 9.5BD as `order`, '{ds}' as received_date from range(1, 61)"
GOOD = {
    "raw.till__lines": LINES,
    "quarantine.till__lines": "select 'r' as row_key, 'missing_field:Line' as reason, '{ds}' as received_date from range(1)",
    "raw.till__members": "select concat('m', id) as Card, 'l***@a.com' as Mail_mask, '{ds}' as received_date from range(50)",
    "quarantine.till__members": "select 'm' as row_key, 'too_long' as reason, '{ds}' as received_date from range(0)",
    "raw.erp__bookings": "select concat('b', id) as booking, date'{ds}' as booked_on from range(80)",
}


@pytest.fixture
def declared(tmp_path, monkeypatch):
    """The company's folder, with its own state and nothing loaded."""
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    folder = tmp_path / "company"
    folder.mkdir()
    (folder / "feeds.yml").write_text(FEEDS)
    (folder / "gates.yml").write_text(GATES)
    monkeypatch.setenv("MDP_COMPANY", declare(folder, name="Tills", entities={}, paid_channels=[]))
    return folder


@pytest.fixture
def past(declared):
    """Six weeks of loads in which nothing came on Saturdays."""
    for day in days(FIRST, shift(SATURDAY, -1)):
        is_saturday = day in [shift(SATURDAY, -7 * n) for n in range(7)]
        for feed, n in (("till__lines", 60), ("till__members", 50), ("erp__bookings", 80)):
            load(feed, day, n if feed == "till__members" or not is_saturday else 0)
    return declared


def load(feed: str, ds: str, n_rows: int, n_held: int = 0) -> None:
    state.begin_load(feed, ds, {"first": ds, "start": FIRST, "files": []})
    state.publish_load(feed, ds, n_rows, n_held)


def volume_of(feed: str, ds: str) -> tuple[float, bool]:
    """The least number of rows that the gate wants of a feed on a day, and whether it may have none."""
    [suite] = [s for s in raw.suites(make_scope("raw", ds, None)) if s.table == f"raw.{feed}"]
    [rule] = [r for r in suite.rules if r.name == "volume"]
    return rule.arguments["min_value"], suite.optional


@pytest.mark.parametrize("feed", ["till__lines", "erp__bookings"])
def test_nothing_is_missed_on_a_weekday_on_which_nothing_ever_came_and_all_of_it_on_another(past, feed):
    for ds in (SATURDAY, SUNDAY):
        load(feed, ds, 0)
    assert volume_of(feed, SATURDAY) == (0, True)
    low, may_be_silent = volume_of(feed, SUNDAY)
    assert low >= 1 and not may_be_silent


def test_until_four_weeks_are_known_only_a_declared_closed_day_may_be_silent(declared, monkeypatch):
    for day in days(shift(SATURDAY, -10), SATURDAY):
        load("till__lines", day, 0 if day in (SATURDAY, shift(SATURDAY, -7)) else 60)
    assert volume_of("till__lines", SATURDAY)[0] >= 1
    monkeypatch.setenv("MDP_COMPANY", declare(declared, name="Tills", entities={}, closed=["saturday"]))
    assert volume_of("till__lines", SATURDAY) == (0, True)


def history(feed: str, ds: str, n: int = 60) -> None:
    """One load of six weeks up to `ds`, in which nothing came on Saturdays."""
    by_day = {day: n for day in days(shift(ds, -41), ds) if days_between(day, SATURDAY) % 7}
    state.begin_load(feed, ds, {"first": shift(ds, -41), "start": FIRST, "files": []})
    state.publish_load(feed, ds, sum(by_day.values()), 0, by_day)


def test_a_history_in_one_load_tells_what_is_usual_on_each_weekday(declared):
    history("till__lines", shift(SATURDAY, -1))
    load("till__lines", SATURDAY, 0)
    assert volume_of("till__lines", SATURDAY) == (0, True)
    load("till__lines", SUNDAY, 0)
    low, may_be_silent = volume_of("till__lines", SUNDAY)
    assert 10 < low < 36 and not may_be_silent


def test_a_history_of_which_nobody_knows_the_days_tells_its_mean_and_days_may_differ_from_it(declared):
    """Two months of 60 rows a day in one sum: 20 and 150 may be a weekday's; none is an outage."""
    state.begin_load("erp__bookings", shift(SATURDAY, -1), {"first": shift(SATURDAY, -60), "start": FIRST})
    state.publish_load("erp__bookings", shift(SATURDAY, -1), 60 * 60)
    load("erp__bookings", SATURDAY, 0)
    seen = make_scope("raw", SATURDAY, None).volumes["erp__bookings"]
    assert seen.usual.per_day == 60 and 1 <= seen.least <= 20 and 150 <= seen.most < 600


def test_holidays_and_promotions_are_asked_for_rows_only_and_are_no_measure_for_others(past):
    (past / "calendar.csv").write_text(
        f"day,kind,name\n{SUNDAY},promotion,Sale\n{shift(SUNDAY, -7)},holiday,\n{shift(SUNDAY, -14)},promotion,\n"
    )
    for feed, n in (("till__lines", 2), ("erp__bookings", 5_000)):
        load(feed, SUNDAY, n)
        [suite] = [s for s in raw.suites(make_scope("raw", SUNDAY, None)) if s.table == f"raw.{feed}"]
        volume = suite.rules[0]
        assert (volume.arguments["min_value"], volume.arguments["max_value"], suite.optional) == (1, None, False)
        assert "holiday or promotion of calendar.csv" in volume.words
        load(feed, shift(SUNDAY, 1), 60)
        assert make_scope("raw", shift(SUNDAY, 1), None).volumes[feed].usual.mean_per_day < 100
    for day in (shift(SUNDAY, -7), shift(SUNDAY, -14)):
        assert state.last_loads("till__lines", 1, before=shift(day, 1))[0].ds == day
        state.begin_load("till__lines", day, {"first": day, "start": FIRST, "files": []}, replace=True)
        state.publish_load("till__lines", day, 9_000)
    usual = make_scope("raw", SUNDAY, None).volumes["till__lines"].usual
    assert usual.per_day == 60 and usual.of_days == 4


def test_days_that_always_bring_the_same_few_rows_are_missed(past):
    for n, day in enumerate(days(FIRST, SUNDAY)):
        load("erp__notes", day, 5)
        seen = make_scope("raw", day, None)
        assert seen.may_be_silent("erp__notes") is (n < 14)


@pytest.fixture
def written(past, spark, tmp_path, monkeypatch):
    """Writes the good Sunday, with some tables changed (table → SQL over the good one), and runs its gate."""
    monkeypatch.setenv("MDP_HOME", str(tmp_path))

    def write_and_judge(**changed: str):
        for day in (SATURDAY, SUNDAY):
            load("till__members", day, 50)
        for table, query in GOOD.items():
            layer, feed = table.split(".")
            sql = changed.get(f"{layer}__{feed}", "select * from ({})").format(query.format(ds=SUNDAY))
            spark.sql(f"drop table if exists {table}")
            partitions.replace_partition(spark.sql(sql), table, SUNDAY)
        for feed in ("till__lines", "till__members", "erp__bookings"):
            held = f"quarantine.{feed}"
            load(feed, SUNDAY, *(spark.table(t).count() if t in GOOD else 0 for t in (f"raw.{feed}", held)))
        state.publish("raw", [SUNDAY])
        return run_gate("raw", SUNDAY)

    yield write_and_judge
    for table in GOOD:
        spark.sql(f"drop table if exists {table}")


def test_a_good_day_passes_and_a_feed_that_was_not_loaded_is_named(written, capsys):
    result = written(raw__till__lines="select * except (`order`), if(id <= 30, 99BD, 9BD) as `order` from "
                     "(select *, cast(substring(Receipt, 2) as int) as id from ({}))")  # fmt: skip
    said = capsys.readouterr().out
    assert "off  raw.erp__notes: not fed: no load of 2026-02-15" in said
    assert "raw.till__lines, rule dear: warns: 50 %" in said
    outcomes = {(v.table, v.rule): v.outcome for v in result.verdicts}
    assert outcomes["raw.till__lines", "key_unique"] == outcomes["raw.till__members", "Card_unique"] == "holds"
    assert outcomes["raw.till__members", "clear_Mail"] == outcomes["raw.erp__bookings", "booking_missing"] == "holds"
    assert outcomes["raw.till__lines", "not_free"] == "holds" and outcomes["raw.till__lines", "dear"] == "warns"
    page = result.report.read_text()
    assert "raw.erp__notes" in page and "not fed" in page and "! warns" in page
    assert [one["stage"] for one in json.loads(result.report.with_suffix(".json").read_text())["off"]] == [
        "raw.erp__notes"
    ]


BAD = [
    ({"raw__till__lines": "select * from ({}) where false", "quarantine__till__lines": "select * from ({}) where false"},
     {("raw.till__lines", "volume")}),
    ({"raw__erp__bookings": "select * from ({}) where false"}, {("raw.erp__bookings", "volume")}),
    ({"raw__till__lines": "select 'r1' as Receipt, * except (Receipt) from ({})"}, {("raw.till__lines", "key_unique")}),
    ({"raw__erp__bookings": "select if(booking < 'b2', 'b1', booking) as booking, booked_on from ({})"},
     {("raw.erp__bookings", "booking_unique")}),
    ({"raw__erp__bookings": "select cast(null as string) as booking, booked_on from ({})"},
     {("raw.erp__bookings", "booking_unique"), ("raw.erp__bookings", "booking_missing")}),
    ({"quarantine__till__lines": "select * except (n) from ({}) cross join (select explode(sequence(1, 30)) as n)"},
     {("raw.till__lines", "quarantined"), ("raw.till__lines", "missing_field")}),
    ({"raw__till__members": "select * except (Mail_mask), 'lee@example.com' as Mail_mask from ({})"},
     {("raw.till__members", "clear_Mail")}),
    ({"raw__till__members": "select * from ({}) limit 20"}, {("raw.till__members", "volume")}),
    ({"raw__till__lines": "select * except (`order`), 0BD as `order` from ({})"}, {("raw.till__lines", "not_free")}),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "broken"), BAD, ids=["-".join(sorted({r for _, r in b})) for _, b in BAD])
def test_a_bad_day_stops(written, changed, broken):
    with pytest.raises(GateFailed) as stopped:
        written(**changed)
    assert {(v.table, v.rule) for v in stopped.value.result.failed} == broken
    assert not state.is_published("gate_raw", SUNDAY)
    assert "lee@" not in str(stopped.value)


def test_a_company_without_a_file_of_rules_has_those_of_its_feeds(past):
    (past / "gates.yml").unlink()
    assert own.load() == {}
    load("till__lines", SUNDAY, 60)
    scope = make_scope("raw", SUNDAY, None)
    assert own.add(raw.suites(scope), scope) == raw.suites(scope) != []


FAULTS = [
    ("till__lines: [1]", r"gates\.yml: table till__lines: must be a block of keys \(line 1\)"),
    (
        "shop__orders:\n  a: {rule: filled, column: b, words: c}",
        r"shop__orders: is neither a feed nor a table .*\(line 1\)",
    ),
    ("till__lines:\n  a: {rule: filled, column: b, words: c}\n  a: {}", r"gates\.yml: line 3: key 'a' appears twice"),
    (
        "till__lines:\n  a: {rule: full, column: b, words: c}",
        r"till__lines, rule a: key 'rule' must be one of at_least, .*",
    ),
    (
        "till__lines:\n  a: {rule: filled, column: b, words: c, most: 1}",
        r"rule a: unknown key 'most'; allowed keys: .*\(line 2\)",
    ),
    ("till__lines:\n  a: {rule: filled,\n    column: b}", r"rule a: key 'words' is missing; .*\(line 2\)"),
    (
        "till__lines:\n  a: {rule: at_least, column: b, words: c,\n    min: '1'}",
        r"rule a: key 'min' is '1': .*\(line 3\)",
    ),
    ("till__lines:\n  a: {rule: one_of, column: b, words: c, values: []}", r"rule a: key 'values' is .*\(line 2\)"),
    (
        "till__lines:\n  a: {rule: filled, column: b, words: c, severity: loud}",
        r"key 'severity' is 'loud'; .*'stop' or 'warn'",
    ),
    ("till__lines:\n  A b: {rule: filled, column: b, words: c}", r"rule A b: a name is lower-case .*\(line 2\)"),
    ("till__lines:\n  a: 5", r"rule a: must be a block of keys.*\(line 2\)"),
    (
        "erp__notes:\n\n  a: {rule: quarantined, at_most: 0.1, words: c}",
        r"erp__notes, rule a: no row of this table .*\(line 3\)",
    ),
]


@pytest.mark.parametrize(("text", "said"), FAULTS)
def test_a_fault_in_the_file_is_told_with_its_line(declared, text, said):
    (declared / "gates.yml").write_text(text)
    with pytest.raises(PlatformError, match=said):
        own.load()


def test_sql_that_does_not_fit_the_table_is_told_with_file_and_line(written, past):
    (past / "gates.yml").write_text(
        "till__lines:\n  a: {rule: share, of: price > 3, at_most: 0.1, words: c}\n\n  b: {rule: filled, column: rice, words: c}\n"
        "  c: {rule: total, of: 'sum(', at_most: 0, words: c}\n"
    )
    with pytest.raises(PlatformError) as stopped:
        written()
    said = str(stopped.value).splitlines()
    assert len(said) == 3 and all(str(past / "gates.yml") in line for line in said)
    assert "line 2: rule a: " in said[0] and "price" in said[0]
    assert said[1].endswith("line 4: rule b: raw.till__lines has no column rice") and "line 5: rule c: " in said[2]


KINDS = """
till__lines:
  at_most_20: {rule: at_most, column: order, max: 20, words: a}
  mean_of_9: {rule: mean, column: order, min: 9, max: 10, words: a}
  known: {rule: one_of, column: Receipt, values: [r1, "it's", 'a\\b'], among: Receipt < 'r10', words: a}
  filled: {rule: filled, column: order, words: a}
  total_of: {rule: total, of: "order", at_most: 570, words: a}
  once: {rule: unique, columns: [Receipt, order], words: a}
  freshness: {rule: newest, column: received_date, words: a}
  volume: {rule: rows, min: 61, max: 61, words: a}
  missing_field: {rule: quarantined, reason: missing_field, at_most: 0.5, words: a}
"""
BREAKING = {
    "at_most_20": "select * except (`order`), if(Receipt = 'r1', 20.1BD, 9BD) as `order` from ({})",
    "mean_of_9": "select * except (`order`), 8BD as `order` from ({})",
    "known": "select * except (Receipt), if(Receipt = 'r1', 'r0', Receipt) as Receipt from ({})",
    "filled": "select * except (`order`), if(Receipt = 'r1', null, 9.5BD) as `order` from ({})",
    "total_of": "select * except (`order`), 9.6BD as `order` from ({})",
    "once": "select * except (Receipt, Line), 'r1' as Receipt, cast(substring(Receipt, 2) as int) as Line from ({})",
    "freshness": f"select * except (received_date), '{SATURDAY}' as received_date from ({{}})",
    "volume": "select * from ({}) limit 59",
}


def test_each_kind_of_rule_of_its_own_holds_on_good_rows_and_stands_in_place_of_one_with_its_name(written, past):
    (past / "gates.yml").write_text(KINDS)
    result = written()
    found = {v.rule: v for v in result.verdicts if v.table == "raw.till__lines"}
    named = ["at_most_20", "mean_of_9", "known", "filled", "total_of", "once", "freshness", "volume", "missing_field"]
    assert [(rule, found[rule].outcome) for rule in named] == [(rule, "holds") for rule in named]
    assert found["volume"].expected == "61" and all(found[rule].words == "a" for rule in named)


@pytest.mark.parametrize("rule", BREAKING)
def test_each_kind_of_rule_of_its_own_is_broken_by_its_defect(written, past, rule):
    (past / "gates.yml").write_text(KINDS)
    changed = {"raw__till__lines": BREAKING[rule]}
    if rule == "freshness":
        changed["quarantine__till__lines"] = "select * except (received_date), '2026-02-14' as received_date from ({})"
    with pytest.raises(GateFailed) as stopped:
        written(**changed)
    assert rule in {v.rule for v in stopped.value.result.failed}
