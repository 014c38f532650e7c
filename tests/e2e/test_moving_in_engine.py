"""A Sqoop command and a Flume agent, converted, checked, and taken in by the engine."""

import os

import pytest

from ingestion import flume, infer, run, sqoop
from ingestion.feeds import load_feeds
from mdp.company import accept
from tests.companies import declare
from tests.proposals import EVENTS, sample
from warehouse.errors import PlatformError

DAY = "2026-01-31"


@pytest.fixture
def staff(spark, tmp_path, monkeypatch):
    """A table of the CRM's Derby database, whose connection is set; state and spool of their own."""
    from warehouse.connections import database

    rows = [(n, f"Li {n}", f"138 1234 567{n}", f"{n}.50", f"{DAY} 0{n}:00:00") for n in range(1, 6)]
    frame = spark.createDataFrame(rows, "id int, name string, phone string, wage string, updated string")
    frame = frame.selectExpr(
        "id", "name", "phone", "cast(wage as decimal(10,2)) wage", "cast(updated as timestamp) updated"
    )
    options = database("crm").jdbc_options()
    frame.write.format("jdbc").options(**options, dbtable="try_staff").mode("overwrite").save()
    monkeypatch.setenv("MDP_CRM_URL", options["url"])
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    monkeypatch.setenv("MDP_KEY_FILE", str(tmp_path / "a.key"))
    yield tmp_path
    for name in ("raw.crm__try_staff", "raw.a1__events", "quarantine.a1__events"):
        spark.sql(f"drop table if exists {name}")


def take_in(text: str, tmp_path, monkeypatch) -> dict:
    """Write the blocks to a feeds file and load the day from it; returns name → outcome."""
    path = tmp_path / "feeds.yml"
    path.write_text(text)
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path))
    if "# review" in text:
        with pytest.raises(PlatformError, match="guesses that nobody reviewed"):
            run.ingest(DAY, feeds=list(load_feeds()))
    accept(tmp_path)
    return {result["feed"]: result for result in run.ingest(DAY, feeds=list(load_feeds()))}


def test_a_sqoop_import_runs_as_a_feed(spark, staff, monkeypatch):
    command = "sqoop import --connect '{}' --table try_staff --incremental lastmodified --check-column UPDATED --where 'ID > 1'"
    url = os.environ["MDP_CRM_URL"]
    made = sqoop.convert("standard input", command.replace("ID > 1", '"id" > 1').format(url))
    assert made.faults == []
    assert "wage: {type: 'decimal(10,2)', class: internal}" in made.text and "updated: {type: timestamp" in made.text
    assert "phone: {type: string, class: personal, action: hash_and_mask, format: phone}" in made.text
    loaded = take_in(made.text, staff, monkeypatch)["crm__try_staff"]
    assert loaded["n_rows"] == 4
    stored = spark.table("raw.crm__try_staff")
    assert {"id", "name_enc", "phone_hash", "phone_mask", "wage"} <= set(
        stored.columns
    ) and "phone" not in stored.columns
    assert {row[0] for row in stored.select("phone_mask").collect()} == {f"138****567{n}" for n in range(2, 6)}


def test_infer_asks_the_database(spark, staff):
    made = infer.propose_table("crm", "try_staff", None, None)
    assert "key: [id]  # review: a guess from names and 5 rows" in made.text
    assert "mode: full  # review: `lastmodified` with check_column updated reads changed rows only" in made.text
    assert "TRY_STAFF" in infer.tables("crm")


def test_a_flume_agent_runs_as_a_feed(spark, staff, monkeypatch):
    spool = staff / "in" / "events"
    spool.mkdir(parents=True)
    lines = open(sample(staff)).read()
    (spool / f"app-{DAY}.jsonl").write_text(lines)
    agent = staff / "agent.properties"
    agent.write_text(
        "a1.sources = s\na1.sources.s.type = spooldir\na1.sources.s.channels = c\n"
        f"a1.sources.s.spoolDir = {spool}\na1.sources.s.includePattern = ^app-.*\\\\.jsonl$\n"
        "a1.channels = c\na1.channels.c.type = file\na1.sinks = k\na1.sinks.k.type = hdfs\na1.sinks.k.channel = c\n"
    )
    made = flume.convert(agent, [sample(staff)])
    assert made.faults == [] and f"set: MDP_SPOOL_URI={spool.parent}" in made.notes
    monkeypatch.setenv("MDP_SPOOL_URI", str(spool.parent))
    loaded = take_in(made.text, staff, monkeypatch)["a1__events"]
    assert (loaded["n_rows"], loaded["n_quarantined"]) == (len(EVENTS), 0)
    stored = spark.table("raw.a1__events")
    assert "phone_hash" in stored.columns and "phone" not in stored.columns
    assert {row[0] for row in stored.select("geo").collect()} == {'{"x":1}'}
