"""The sample company's whole history in one load: every planted fault is found again, nobody stands there in clear."""

import re

import pytest

from ingestion import collect, jdbc, rotate, run
from ingestion.feeds import load_feeds
from tests.e2e.privacy import Watch, clear_values, find_clear_values
from warehouse import state
from warehouse.dates import days, shift
from warehouse.partitions import drop_days

REASONS = ("too_late", "malformed_json", "missing_field:event_id", "bad_timestamp:occurred_at")


@pytest.fixture(scope="module")
def loaded(company, spark, home, tmp_path_factory):
    """(newest day, results by feed, the CRM's clear values, who watched for them) of a history load and a rotation with a
    ledger of their own, taken out again afterwards."""
    ds = company["newest_ds"]
    folder = tmp_path_factory.mktemp("ledger")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MDP_STATE_URL", f"sqlite:///{folder}/state.db")
        patch.setenv("MDP_KEY_FILE", str(folder / "privacy.key"))
        values = clear_values(home)
        with Watch(home, values) as watch:
            results = {r["feed"]: r for r in run.ingest(ds, from_ds=company["first_ds"])}
            rotate.rotate()
        yield ds, results, values, watch
    for feed in load_feeds().values():
        if state.load(feed.name, ds) is None:
            drop_days(feed.raw_table, ds, ds)
            drop_days(feed.quarantine_table, ds, ds)


def test_every_line_and_row_arrives_and_every_planted_fault_is_found(loaded, spark, company):
    from ingestion.jdbc import source_table
    from sample import truth

    ds, results, *_ = loaded
    assert set(results) == set(load_feeds()) and state.is_published("raw", ds)
    planted = truth.known_amounts()
    for name, feed in load_feeds().items():
        result = results[name]
        if feed.kind == "jdbc":
            assert result["n_rows"] == source_table(name, feed.table).count() > 0
            continue
        assert result["n_rows"] + result["n_quarantined"] == planted[name]["lines"]
        found = spark.table(feed.quarantine_table).where(f"ds = '{ds}'").groupBy("reason").count().collect()
        assert {r[0]: r[1] for r in found} == {
            reason: planted[name][reason] for reason in REASONS if planted[name][reason]
        }


def test_the_ledger_knows_the_rows_of_each_day_of_the_history(loaded, spark, company):
    """Of logs each row's day of arrival; of orders the day of their last change, and that of the order if it is another."""
    ds, results, *_ = loaded
    for feed in ("web__events", "ads__events"):
        by_day = state.load_days(feed, ds)
        assert set(by_day) == set(days(company["first_ds"], ds))
        assert sum(by_day.values()) == results[feed]["n_rows"] + results[feed]["n_quarantined"]
    local = "to_date(from_utc_timestamp({}, 'Asia/Shanghai'))"
    rows = spark.table("raw.crm__orders").where(f"ds = '{ds}'")
    ordered, changed = (local.format(column) for column in ("ordered_at", "updated_at"))
    by_day = state.load_days("crm__orders", ds)
    for day in (company["first_ds"], shift(ds, -1), ds):
        assert by_day.get(day, 0) == rows.where(f"{ordered} = '{day}' or {changed} = '{day}'").count()
    assert by_day and max(by_day) <= ds
    assert state.load_days("crm__customers", ds) == {} == state.load_days("crm__customer_changes", ds)


def test_no_contact_of_a_customer_stands_in_raw_or_quarantine(loaded, spark):
    from ingestion.jdbc import source_table

    ds, *_ = loaded
    people = source_table("test", "customers").select("phone", "email", "id_number").toArrow().to_pylist()
    clear = {value for row in people for value in row.values() if value}
    assert len(clear) > 100
    for feed in load_feeds().values():
        for table in (feed.raw_table, feed.quarantine_table):
            if not spark.catalog.tableExists(table):
                continue
            rows = spark.table(table).where(f"ds = '{ds}'").toArrow()
            texts = {v for c in rows.column_names for v in rows.column(c).unique().to_pylist() if isinstance(v, str)}
            assert rows.num_rows and not clear & texts, f"{table} holds contacts in clear"
            if "payload" in rows.column_names:
                payloads = " ".join(rows.column("payload").to_pylist())
                assert not [value for value in clear if value in payloads], f"{table} holds a payload in clear"


def test_a_row_is_protected_before_it_is_sorted_or_sent_to_another_task(loaded, capsys, tmp_path):
    """What is exchanged lies on disk meanwhile. (Names and days of files, sent to each task, are nobody's.)"""
    ds, *_ = loaded
    for name, feed in load_feeds().items():
        inputs = state.load(name, ds).inputs
        frame = jdbc.read(feed, inputs)[1] if feed.kind == "jdbc" else collect.read(feed, inputs, f"{tmp_path}/aside")
        frame.explain()
        plan = capsys.readouterr().out
        assert re.search(r"Scan JDBCRelation|FileScan", plan), plan
        assert not re.search(r"(?<!Broadcast)Exchange|\bSort\b|Window|Aggregate", plan), f"{name}:\n{plan}"


def test_no_clear_value_of_the_crm_stands_anywhere_in_the_home_but_in_sample(loaded, home):
    """Nor did one while the history was loaded and its secrets were sealed anew, with the engine up."""
    _, _, values, watch = loaded
    assert len(values) > 600, "phones, e-mail addresses, id numbers and exact places of 200 customers"
    kinds = (
        "engine/tmp/blockmgr-",
        "engine/tmp/",
        "logs/engine.log",
        "metastore/log/",
        "warehouse/loads/crm__customers/",
    )
    assert all(any(name.startswith(kind) for name in watch.seen) for kind in kinds) and watch.n_rounds > 20
    assert watch.found == []
    assert find_clear_values(home, values) == []
