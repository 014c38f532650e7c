"""The sample company's whole history in one load: every planted fault is found again, nobody stands there in clear."""

import pytest

from ingestion import run
from ingestion.feeds import load_feeds
from warehouse import state
from warehouse.partitions import drop_days

REASONS = ("too_late", "malformed_json", "missing_field:event_id", "bad_timestamp:occurred_at")


@pytest.fixture(scope="module")
def loaded(company, spark, tmp_path_factory):
    """(newest day, results by feed) of a history load with a ledger of its own, taken out again afterwards."""
    ds = company["newest_ds"]
    folder = tmp_path_factory.mktemp("ledger")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MDP_STATE_URL", f"sqlite:///{folder}/state.db")
        patch.setenv("MDP_KEY_FILE", str(folder / "privacy.key"))
        yield ds, {r["feed"]: r for r in run.ingest(ds, from_ds=company["first_ds"])}
    for feed in load_feeds().values():
        if state.load(feed.name, ds) is None:
            drop_days(feed.raw_table, ds, ds)
            drop_days(feed.quarantine_table, ds, ds)


def test_every_line_and_row_arrives_and_every_planted_fault_is_found(loaded, spark, company):
    from ingestion.jdbc import source_table
    from sample import truth

    ds, results = loaded
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


def test_no_contact_of_a_customer_stands_in_raw_or_quarantine(loaded, spark):
    from ingestion.jdbc import source_table

    ds, _ = loaded
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


def test_no_clear_value_of_the_crm_stands_anywhere_in_the_home_but_in_sample(loaded, home):
    from tests.e2e.privacy import clear_values, find_clear_values

    values = clear_values(home)
    assert len(values) > 600, "phones, e-mail addresses, id numbers and exact places of 200 customers"
    assert find_clear_values(home, values) == []
