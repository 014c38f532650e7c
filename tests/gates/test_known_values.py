"""Known values, learned: nothing is asked before a day is accepted, then a new value is said, and many rows of them stop."""

import pytest

from expectations import known, own
from expectations.gate import GateFailed, run_gate
from tests.companies import declare
from warehouse import partitions, state
from warehouse.dates import days, shift
from warehouse.errors import PlatformError

DAY = "2026-02-11"
FEEDS = """
till__sales:
  kind: files
  directory: sales
  pattern: "sales-{date}.csv"
  format: csv
  subject: null
  key: [Receipt]
  columns:
    Receipt: {type: string, class: internal, required: true}
    Channel: {type: string, class: internal}
    City: {type: string, class: personal, action: redact}
"""
GATES = """
till__sales:
  channel: {rule: known, column: Channel, at_most: 0.1, words: sales come from channels that we have}
  city: {rule: known, column: city, at_most: 0.5, words: cities are those we deliver to}
"""
ROWS = (
    "select cast(id as string) as Receipt, case when id < {new} then {value} when id % 9 = 0 then null else 'till' end "
    "as Channel, if(id < {cities}, 'Lower Slaughter', 'Leeds') as City, '{ds}' as received_date from range(200)"
)
NONE = "select cast(null as string) as row_key, cast(null as string) as reason, '{ds}' as received_date from range(0)"


@pytest.fixture
def gate(spark, tmp_path, monkeypatch):
    """Loads a day of 200 sales, `new` of them of another channel and `cities` of another city, and runs its gate."""
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    folder = tmp_path / "company"
    folder.mkdir()
    (folder / "feeds.yml").write_text(FEEDS)
    (folder / "gates.yml").write_text(GATES)
    monkeypatch.setenv("MDP_COMPANY", declare(folder, name="Tills", entities={}, paid_channels=[]))
    for layer in ("raw", "quarantine"):
        spark.sql(f"drop table if exists {layer}.till__sales")

    def run(n: int, new: int = 0, value: str = "'it''s \\\\ new'", cities: int = 0, first: int = 0):
        ds = shift(DAY, n)
        rows = ROWS.format(ds=ds, new=new, value=value, cities=cities)
        partitions.replace_partition(spark.sql(rows), "raw.till__sales", ds)
        partitions.replace_partition(spark.sql(NONE.format(ds=ds)), "quarantine.till__sales", ds)
        state.begin_load("till__sales", ds, {"first": shift(ds, -first), "start": DAY, "files": []})
        state.publish_load("till__sales", ds, 200)
        state.publish("raw", days(shift(ds, -first), ds))
        return {v.rule: v for v in run_gate("raw", ds).verdicts}

    run.gates = folder / "gates.yml"
    yield run
    for layer in ("raw", "quarantine"):
        spark.sql(f"drop table if exists {layer}.till__sales")


def test_values_are_learned_from_accepted_days(gate):
    first = gate(0)["channel"]
    assert first.outcome == "not judged" and "no value is known, since no day is accepted yet" in first.observed
    assert gate(1)["channel"].outcome == "holds"
    new = gate(2, new=3, cities=2)
    assert (new["channel"].outcome, new["city"].outcome) == ("warns", "warns")
    assert new["channel"].observed == "warns: 1.5 %: it's \\ new (3 rows)"
    assert new["city"].observed == "warns: 1 %: Low… (2 rows)", "a personal value is masked"
    assert gate(2, new=3)["channel"].outcome == "warns", "the same day again has learned nothing of itself"
    assert gate(3, new=150)["channel"].outcome == "holds", "accepted yesterday"
    with pytest.raises(GateFailed) as stopped:
        gate(4, new=80, value="concat('c', id)")
    said = str(stopped.value)
    assert "raw.till__sales, column Channel: rule channel" in said and "at most 10 % of the rows break it" in said
    assert "c0 (1 row), c1 (1 row)" in said and "and 75 more" in said
    assert gate(4, new=19, value="'c5'")["channel"].outcome == "warns", "mended: what was refused was not learned"
    [stored] = state.known_values("raw.till__sales", "city", before="9999-12-31")
    assert "Leeds" not in stored, "the ledger has digests, and forgets the city of a day that was mended"


def test_a_rule_that_comes_later_knows_what_was_accepted_before_it(gate):
    gate.gates.write_text("")
    gate(0, new=30, value="'web'")
    gate(1)
    gate.gates.write_text(GATES)
    assert gate(2, new=100, value="'web'")["channel"].outcome == "holds"


def test_a_history_that_is_judged_again_knows_nothing_of_its_own_days(gate):
    assert [gate(0, new=9, first=20)["channel"].outcome for _ in range(2)] == ["not judged"] * 2
    assert len(state.known_values("raw.till__sales", "Channel", before=shift(DAY, 1))) == 2


def test_a_column_of_too_many_values_is_refused_in_words(gate, monkeypatch):
    gate(0)
    monkeypatch.setattr(known, "MOST", 10)
    with pytest.raises(PlatformError) as refused:
        gate(1, new=50, value="concat('c', id)")
    assert str(refused.value).startswith(
        f"{gate.gates}, line 3: rule channel: raw.till__sales has more than 10 different"
    )
    assert "too many to know one by one" in str(refused.value) and not state.is_published("gate_raw", shift(DAY, 1))


def test_a_column_that_is_not_there_is_said_with_its_line(gate):
    gate.gates.write_text("till__sales:\n\n  a: {rule: known, column: Chanel, words: a}\n")
    with pytest.raises(PlatformError, match=r"gates\.yml, line 3: rule a: raw\.till__sales has no column Chanel"):
        gate(0)


def test_known_values_are_those_of_a_feed(gate):
    gate.gates.write_text("cleaned.orders:\n  a: {rule: known, column: channel, words: a}\n")
    with pytest.raises(PlatformError, match=r"cleaned.orders, rule a: known values are learned of a feed.*line 2"):
        own.load()
