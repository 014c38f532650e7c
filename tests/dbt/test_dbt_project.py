"""What holds for every dbt model without an engine: grain first, layers in order, days replaced whole.

`dbt parse` reads the project as dbt does, so names and references are those of a real run; it connects to nothing.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mdp.build import dbt_environment

PROJECT = Path(__file__).parents[2] / "dbt_project"
MAY_READ = {
    "staging": {"raw", "staging"},
    "input": {"staging", "input"},
    "cleaned": {"input", "cleaned"},
    "features": {"cleaned", "features"},
    "labels": {"cleaned"},
    "marts": {"cleaned", "features", "labels", "marts", "predictions"},
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> dict:
    target = tmp_path_factory.mktemp("dbt")
    dbt = Path(sys.executable).parent / "dbt"
    command = [dbt, "parse", "--target", "prod", "--target-path", target, "--log-path", target]
    done = subprocess.run(
        [str(part) for part in command],
        cwd=PROJECT,
        env=os.environ | dbt_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((target / "manifest.json").read_text())


@pytest.fixture(scope="module")
def models(manifest) -> dict:
    found = {key: node for key, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    assert {node["schema"] for node in found.values()} == set(MAY_READ), "a layer is empty, or a model outside all"
    return found


def test_every_description_begins_with_the_grain(models):
    without = [node["name"] for node in models.values() if not node["description"].startswith("One row per ")]
    assert not without, f"begin the description with 'One row per …': {without}"


def test_layers_read_only_what_they_may(manifest, models):
    edges, forbidden = 0, []
    for node in models.values():
        for parent in node["depends_on"]["nodes"]:
            schema = (manifest["nodes"].get(parent) or manifest["sources"][parent])["schema"]
            edges += 1
            if schema not in MAY_READ[node["schema"]]:
                forbidden.append(f"{node['schema']}.{node['name']} reads {parent}")
    assert edges > len(models) / 2
    assert not forbidden, forbidden


def test_every_table_replaces_whole_days_under_a_contract(models):
    tables = [node for node in models.values() if node["schema"] not in ("staging", "input")]
    assert tables
    for node in tables:
        config, columns = node["config"], list(node["columns"].values())
        assert config["materialized"] == "incremental" and config["partition_by"] == "ds", node["name"]
        assert [hook["sql"] for hook in config["pre-hook"]] == ["{{ replace_days() }}"], node["name"]
        assert config["contract"]["enforced"] and columns[-1]["name"] == "ds", node["name"]


def test_no_statement_is_cut_at_a_semicolon(models):
    """The adapter splits what it sends at every `;`, also within comments; Jinja comments are not sent."""
    import jinja2

    cut = []
    for node in models.values():
        tokens = jinja2.Environment().lex(node["raw_code"])
        if any(kind == "data" and ";" in text for _, kind, text in tokens):
            cut.append(node["name"])
    assert models and not cut, f"write no ';' outside Jinja comments: {cut}"


def test_unit_tests_cover_the_rules_that_are_easy_to_get_wrong(manifest):
    covered = {test["model"] for test in manifest["unit_tests"].values()}
    assert {"events", "reversals", "customer_day", "impression_click", "customer_lifetime"} <= covered
