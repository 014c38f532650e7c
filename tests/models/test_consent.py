"""Where profiling needs consent, models, predictions and audiences leave out who has not given it."""

from types import SimpleNamespace

import pytest

from ingestion import audiences
from ml import consent
from tests.companies import declare
from tests.gates.good_tables import DS, GOOD
from warehouse import partitions, tables

LATER = "timestamp'2024-08-20 16:30:00'"  # half past midnight of the 21st in Asia/Shanghai
CUSTOMERS = f"""
select * from values
    ('always', true, cast(null as timestamp)),
    ('since_the_21st', true, {LATER}),
    ('no_more', false, {LATER}),
    ('never', false, cast(null as timestamp)),
    ('unknown', cast(null as boolean), cast(null as timestamp))
as people (customer_id, has_profiling_consent, profiling_consent_changed_at)"""
PEOPLE = ["always", "since_the_21st", "no_more", "never", "unknown", None]


@pytest.fixture
def features(spark, monkeypatch):
    """Rows of two days about everybody and about nobody known."""
    monkeypatch.setattr(partitions, "read_days", lambda table, from_ds, to_ds: spark.sql(CUSTOMERS))
    rows = [(who, ds, 1.0) for ds in ("2024-08-20", "2024-08-21") for who in PEOPLE]
    return spark.createDataFrame(rows, "customer_id string, ds string, x double")


def kept(frame) -> set[tuple]:
    return {(row["customer_id"], row["ds"]) for row in consent.leave_out(frame, "2024-08-27").collect()}


def test_without_the_declaration_everybody_is_in(features, monkeypatch):
    monkeypatch.delenv("MDP_COMPANY", raising=False)
    assert len(kept(features)) == 12 and consent.n_left_out("2024-08-27") is None


def test_a_row_counts_from_the_day_of_the_consent_and_no_more_once_it_is_taken_back(features, tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path, profiling="consent"))
    assert kept(features) == {
        ("always", "2024-08-20"), ("always", "2024-08-21"), ("since_the_21st", "2024-08-21"),
        (None, "2024-08-20"), (None, "2024-08-21"),
    }  # fmt: skip
    assert consent.n_left_out("2024-08-27") == 3
    channels = features.drop("customer_id")
    assert consent.leave_out(channels, "2024-08-27").count() == 12, "rows about channels are about nobody"


def test_the_gate_asks_for_no_prediction_about_who_does_not_consent_and_refuses_one(spark, tmp_path, monkeypatch):
    from expectations.predictions import suites
    from expectations.validate import judge
    from tests.gates.good_tables import make_good_scope
    from tests.gates.test_suites import on_views

    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path, profiling="consent"))
    for table, query in GOOD.items():
        spark.sql(query).createOrReplaceTempView(table.replace(".", "__"))
    consenting = f"select *, customer_id <> 'c4' as has_profiling_consent from ({GOOD[tables.CLEANED_CUSTOMERS]})"
    spark.sql(consenting).createOrReplaceTempView("cleaned__customers")
    chosen = [on_views(s) for s in suites(make_good_scope()) if s.table == tables.PREDICTIONS_CHURN]
    assert [v.rule for v in judge(chosen) if not v.success] == ["not_to_be_scored"]
    without = f"select * from ({GOOD[tables.PREDICTIONS_CHURN]}) where customer_id <> 'c4'"
    spark.sql(without).createOrReplaceTempView("predictions__churn")
    assert [v.rule for v in judge(chosen) if not v.success] == []
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path, profiling="all"))
    chosen = [on_views(s) for s in suites(make_good_scope()) if s.table == tables.PREDICTIONS_CHURN]
    assert [v.rule for v in judge(chosen) if not v.success] == ["churn_risk_30d_missing", "model_version_missing"]


@pytest.mark.parametrize(("declared", "written"), [("all", ["a", "b"]), ("consent", ["a"])])
def test_an_audience_is_of_those_who_consent_now(spark, monkeypatch, tmp_path, declared, written):
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path, profiling=declared))
    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    crm = "select * from values ('a', true, true), ('b', true, false), ('c', false, true) as crm " \
          "(customer_id, consent_marketing, consent_profiling)"  # fmt: skip
    monkeypatch.setattr(audiences, "source_table", lambda *arguments: spark.sql(crm))
    read = {
        tables.CLEANED_CUSTOMERS: "select explode(array('a', 'b', 'c')) as customer_id, 'p' as phone_hash, 'e' as email_hash",
        tables.PREDICTIONS_SEGMENTATION: "select 'a' as customer_id, 'loyal' as segment",
        tables.PREDICTIONS_CHURN: "select 'a' as customer_id, '2024-09-01' as best_contact_date",
    }
    monkeypatch.setattr(audiences, "read_days", lambda table, from_ds, to_ds: spark.sql(read[table]))
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    assert audiences.write_audiences(DS) == {"audience_sms.csv": len(written), "audience_email.csv": len(written)}
    lines = (tmp_path / "exports" / DS / "audience_sms.csv").read_text().splitlines()[1:]
    assert [line.split(",")[0] for line in lines] == written


@pytest.mark.parametrize(("n", "said"), [(None, False), (7, True)])
def test_the_summary_counts_who_is_left_out(n, said):
    from mdp.summary import _segments

    text = _segments(SimpleNamespace(segments=[], n_left_out=n, guests=(0, None)))
    assert ("7 customers do not consent to profiling" in text) == said
