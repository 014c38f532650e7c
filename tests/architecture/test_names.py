"""Names agree: tables in Python, models and sources in dbt, suites of the gates, features and predictions in models.yml."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mdp.build import dbt_environment
from warehouse import tables

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
    for layer in (tables.RAW, tables.CLEANED, tables.FEATURES, tables.LABELS, tables.PREDICTIONS, tables.MARTS):
        in_python, in_dbt = set(tables.in_layer(layer)), {t for t in known if t.startswith(layer + ".")}
        assert in_python and in_python == in_dbt


def test_raw_tables_are_the_feeds():
    from ingestion.feeds import load_feeds

    feeds = load_feeds()
    assert {f"raw.{name}" for name in feeds} == set(tables.in_layer(tables.RAW))


def test_suites_name_tables_that_exist_and_leave_none_out():
    """Every table of a gated layer has a suite; labels are kept by dbt's own tests, dropped rows are only counts."""
    from expectations import cleaned, features, predictions, raw
    from tests.gates.good_tables import make_good_scope

    for module, layer in ((raw, "raw"), (cleaned, "cleaned"), (features, "features"), (predictions, "predictions")):
        named = {suite.table for suite in module.suites(make_good_scope())}
        assert named == set(tables.in_layer(layer))


def test_segments_and_channels_are_written_alike():
    """The gates' allowed values are those that models and company use."""
    from expectations import predictions, scope
    from ml.segmentation import STRATEGIES
    from sample.parameters import CHANNELS

    assert set(predictions.SEGMENTS) == set(STRATEGIES)
    assert set(scope.CHANNELS) == set(CHANNELS)


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
