"""A gate as a command: it publishes a good day, stops a bad one in words, and shows nobody's data in doing so."""

import json
from types import SimpleNamespace

import pytest

from expectations import gate
from expectations.gate import GateFailed, run_gate
from tests.gates.good_tables import DS, FIRST, GOOD, SECRET, make_good_scope
from warehouse import partitions, state
from warehouse.company import folder
from warehouse.dates import shift
from warehouse.errors import PlatformError

RAW = [table for table in GOOD if table.startswith(("raw.", "quarantine."))]
STAGE = "gate_raw"


@pytest.fixture(scope="module")
def loaded(spark, tmp_path_factory):
    """The good day in raw, published, after a normal day before it; in a home of its own."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("gate")
        patch.setenv("MDP_STATE_URL", f"sqlite:///{home}/state.db")
        for table in RAW:
            spark.sql(f"drop table if exists {table}")  # another module's, with other columns
            write(spark, table, GOOD[table])
        for feed, volume in make_good_scope().volumes.items():
            for day in (shift(DS, -1), DS):
                state.begin_load(feed, day, {"first": day, "start": FIRST, "files": []})
                state.publish_load(feed, day, volume.n_rows, volume.n_arrived - volume.n_rows)
        state.publish("raw", [DS])
        yield spark
        for table in RAW:
            spark.sql(f"drop table if exists {table}")


def write(spark, table, query):
    partitions.replace_partition(spark.sql(query).drop("ds"), table, DS)


def test_a_good_day_passes_and_is_published(loaded, capsys):
    result = run_gate("raw", DS)
    assert state.is_published(STAGE, DS)
    assert len(result.verdicts) > 30 and not result.failed
    line = capsys.readouterr().out.strip()
    assert line.startswith(f"gate raw {DS}: {len(result.verdicts)} rules on 9 tables passed in ") and "→" in line
    recorded = loaded.sql(f"select * from ops.gate_verdicts where ds = '{DS}' and gate = 'raw'").collect()
    assert len(recorded) == len(result.verdicts) == len(state.verdicts(DS, "raw"))
    assert "http" not in result.report.read_text()


def test_a_bad_day_is_stopped_in_words_and_masked(loaded):
    state.publish(STAGE, [DS])
    users = GOOD["raw.web__events"]
    bad = f"select * except (event_id, user_id), '{SECRET}' as event_id, cast(null as string) as user_id from ({users})"
    write(loaded, "raw.web__events", bad)
    customers = GOOD["raw.crm__customers"]
    write(loaded, "raw.crm__customers", f"select * except (phone_mask), '{SECRET}' as phone_mask from ({customers})")
    with pytest.raises(GateFailed) as stopped:
        run_gate("raw", DS)
    message, result = str(stopped.value), stopped.value.result
    assert {v.rule for v in result.failed} == {"missing_user", "clear_phone"}
    for part in ("raw.web__events", "column user_id", "missing_user", "100 %", "row_key=138…, received_date=202…, "
                 "user_id=null", f"mdp gate raw --ds {DS}", str(result.report)):  # fmt: skip
        assert part in message
    assert not state.is_published(STAGE, DS)
    broken = [v for v in state.verdicts(DS, "raw") if not v["success"]]
    assert {v["rule"] for v in broken} == {"missing_user", "clear_phone"}
    page, data = result.report.read_text(), result.report.with_suffix(".json").read_text()
    assert json.loads(data)["passed"] is False and "✗ broken" in page
    for text in (message, page, data, repr(broken)):
        assert "138…" in text and SECRET not in text


def test_a_gate_needs_its_stage_and_a_known_name():
    with pytest.raises(PlatformError, match="mdp build cleaned --ds 2020-01-01"):
        run_gate("cleaned", "2020-01-01")
    with pytest.raises(PlatformError, match="known are cleaned, features, predictions, raw"):
        run_gate("labels", DS)


def test_a_broken_rule_of_cleaned_names_the_company_s_models_behind_it():
    def verdict(table, success):
        return SimpleNamespace(table=table, success=success)

    said = gate._fed_by(
        (verdict("cleaned.orders", False), verdict("cleaned.products", True), verdict("cleaned.dropped_rows", False))
    )
    assert said == f"what your data becomes in {folder()}/staging/stg_crm__orders.sql or "
    assert gate._fed_by((verdict("cleaned.dropped_rows", False),)) == ""
