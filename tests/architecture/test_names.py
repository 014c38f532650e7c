"""Names agree: tables in Python, models and sources in dbt, suites of the gates, features and predictions in models.yml."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mdp.build import dbt_environment
from warehouse import tables
from warehouse.company import company

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """The parsed dbt project; parsing needs no engine."""
    import json

    target = tmp_path_factory.mktemp("dbt")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "dbt"), "parse", "--target-path", str(target), "--log-path", str(target)],
        cwd=PROJECT / "dbt_project", env=os.environ | dbt_environment(),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    return json.loads((target / "manifest.json").read_text())


def dbt_tables(manifest) -> dict[str, dict]:
    """schema.table → node, of models and sources."""
    models = {f"{n['schema']}.{n['alias']}": n for n in manifest["nodes"].values() if n["resource_type"] == "model"}
    return models | {f"{s['schema']}.{s['identifier']}": s for s in manifest["sources"].values()}


def test_dbt_and_python_know_the_same_tables(manifest):
    known = dbt_tables(manifest)
    for layer in (tables.CLEANED, tables.FEATURES, tables.LABELS, tables.PREDICTIONS, tables.MARTS):
        in_python, in_dbt = set(tables.in_layer(layer)), {t for t in known if t.startswith(layer + ".")}
        assert in_python and in_python == in_dbt


def test_raw_tables_are_the_feeds(manifest):
    from ingestion.feeds import load_feeds

    in_dbt = {table for table in dbt_tables(manifest) if table.startswith("raw.")}
    assert in_dbt and in_dbt == {f"raw.{name}" for name in load_feeds()}


@pytest.mark.parametrize("company", ["sample", "corner-shop"])
def test_the_gates_know_feeds_as_ingestion_does(company, monkeypatch):
    """The raw gate may not import ingestion, so it reads the blocks of feeds.yml itself."""
    from expectations.feeds import feeds
    from ingestion.feeds import DIGEST, JdbcFeed, load_feeds

    monkeypatch.setenv("MDP_COMPANY", company)
    known = feeds()
    assert known and set(known) == set(load_feeds())
    for name, feed in load_feeds().items():
        seen = known[name]
        assert (seen.raw_table, seen.quarantine_table, seen.key) == (feed.raw_table, feed.quarantine_table, feed.key)
        assert seen.is_judged is not isinstance(feed, JdbcFeed)
        assert seen.is_whole is (getattr(feed, "mode", None) == "full")
        assert seen.is_log is (getattr(feed, "timestamp_column", None) is not None)
        assert not seen.is_judged or seen.format == feed.format
        stored = [s for column, said in feed.columns.items() for s in said.stored(column) if s == f"{column}_mask"]
        assert list(seen.masks) == stored
        assert set(seen.filled) == {c for c in feed.key if not feed.columns[c].required and c != DIGEST}


def test_suites_name_tables_that_exist_and_leave_none_out():
    """Every table of a gated layer has a suite; labels are kept by dbt's own tests, dropped rows are only counts."""
    from expectations import cleaned, features, predictions, raw
    from expectations.feeds import feeds
    from tests.gates.good_tables import make_good_scope

    assert {suite.table for suite in raw.suites(make_good_scope())} == {f"raw.{name}" for name in feeds()}
    for module, layer in ((cleaned, "cleaned"), (features, "features"), (predictions, "predictions")):
        named = {suite.table for suite in module.suites(make_good_scope())}
        assert named == set(tables.in_layer(layer))


def test_segments_and_channels_are_written_alike():
    """The gates' allowed values are those that models and company use."""
    from expectations import predictions
    from ml.segmentation import STRATEGIES
    from sample.parameters import CHANNELS

    assert set(predictions.SEGMENTS) == set(STRATEGIES)
    assert set(company().paid_channels) == set(CHANNELS)


def test_models_read_features_and_write_predictions_that_exist(manifest):
    known = dbt_tables(manifest)
    declared = yaml.safe_load((PROJECT / "ml" / "models.yml").read_text())
    assert set(declared) == {"segmentation", "ctr", "churn", "bgnbd", "budget"}
    for name, spec in declared.items():
        for side in ("features", "label"):
            if side not in spec:
                continue
            columns = set(known[spec[side]["table"]]["columns"])
            wanted = set(spec[side]["columns"]) | set(spec[side].get("key", []))
            assert wanted <= columns, f"{name}.{side}: {wanted - columns} not in {spec[side]['table']}"
        written = set(spec["predictions"]["columns"]) | {"model_version", "ds"}
        assert written == set(known[spec["predictions"]["table"]]["columns"]), name


def test_exports_read_tables_and_columns_that_exist(manifest):
    from ingestion.targets import load_targets

    known = dbt_tables(manifest)
    targets = load_targets()
    assert len(targets) >= 3
    for name, target in targets.items():
        lacking = set(target.columns) - set(known[target.source]["columns"])
        assert not lacking, f"{name}: {lacking} not in {target.source}"
