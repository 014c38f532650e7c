"""The DAGs as data engineers know them: exact ids, exact edges, retries, and a light parse in a fresh process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.companies import declare
from warehouse.errors import EngineDown, NotYet, PlatformError

PROJECT = Path(__file__).resolve().parents[2]
PROBE = """
import json, os, sys
os.environ["AIRFLOW_HOME"] = sys.argv[1]
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
sys.path[:0] = ["dags", "."]
import importlib
dags = {}
for name in ("daily", "history", "retrain"):
    dag = importlib.import_module(name).dag
    dags[dag.dag_id] = {
        "edges": sorted([t.task_id, d] for t in dag.tasks for d in t.downstream_task_ids),
        "tasks": {t.task_id: {"retries": t.retries, "pool": t.pool, "command": t.bash_command,
                              "mode": getattr(t, "mode", None), "not_yet": getattr(t, "retry_exit_code", None),
                              "refusals": t.retry_policy is not None, "rule": t.trigger_rule} for t in dag.tasks},
        "doc": dag.doc_md, "runs": dag.max_active_runs, "schedule": type(dag.timetable).__name__,
    }
from airflow.providers.standard.operators.bash import BashOperator
from common import UnlessRefused
retried = {}
for code in (1, 2, 70, 75, 137):
    try:
        BashOperator(task_id=f"exit_{code}", bash_command=f"exit {code}").execute({})
    except Exception as error:
        retried[code] = UnlessRefused().evaluate(error, 1, 2).action.value
heavy = ["pandas", "pyspark", "sklearn", "mlflow", "great_expectations", "dbt",
         "ingestion", "expectations", "ml", "sample", "mdp"]
print("RESULT" + json.dumps({"dags": dags, "retried": retried, "heavy": [m for m in heavy if m in sys.modules]}))
"""


def parse(home: Path, **env: str) -> dict:
    import os

    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(home)], cwd=PROJECT, env=os.environ | env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.split("RESULT")[1])


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    return parse(tmp_path_factory.mktemp("airflow"))


def chain(*groups):
    return sorted([a, b] for left, right in zip(groups, groups[1:], strict=False) for a in left for b in right)


INGEST = ["ingest.crm", "ingest.logs"]
SCORE = ["score.segmentation", "score.ctr", "score.churn", "score.budget"]
PREPARE = (INGEST, ["gate_raw"], ["cleaned"], ["gate_cleaned"], ["features"], ["gate_features"])


def test_the_dags_are_exactly_these(parsed):
    assert set(parsed["dags"]) == {"daily", "history", "retrain"}
    files = {p.stem for p in (PROJECT / "dags").glob("*.py")}
    assert files == {"daily", "history", "retrain", "common"}


def test_edges(parsed):
    dags = parsed["dags"]
    assert dags["daily"]["edges"] == chain(*PREPARE, SCORE, ["gate_predictions"], ["marts"], ["export"])
    assert dags["history"]["edges"] == chain(*PREPARE)
    train = ["train.segmentation", "train.ctr", "train.churn", "train.budget"]
    assert dags["retrain"]["edges"] == chain(["wait_for_gate_features"], train)


def test_what_a_command_refused_is_not_retried_but_for_sources_and_targets(parsed):
    tasks = {k: v for dag in parsed["dags"].values() for k, v in dag["tasks"].items()}
    assert {v["retries"] for v in tasks.values()} == {2}
    always = {k for k, v in tasks.items() if not v["refusals"]}
    assert always == {"ingest.crm", "ingest.logs", "export", "wait_for_gate_features"}
    assert parsed["retried"] == {"1": "fail", "2": "default", "70": "default", "75": "default", "137": "default"}
    assert {k for k, v in tasks.items() if v["pool"] != "warehouse_writers"} == {"wait_for_gate_features"}


def test_retrain_waits_for_the_data_and_holds_no_slot_meanwhile(parsed):
    waiting = parsed["dags"]["retrain"]["tasks"]["wait_for_gate_features"]
    assert waiting["mode"] == "reschedule" and waiting["not_yet"] == NotYet.exit_code
    assert waiting["command"].startswith("mdp ready gate_features --ds ")


def test_tasks_are_the_stages(parsed):
    """Each stage is a task of daily, by its own command; a history is what is not of one day."""
    from warehouse.stages import DAY, STAGES

    for dag, wanted in (("daily", STAGES.values()), ("history", [s for s in STAGES.values() if s.days != DAY])):
        commands = [task["command"].split(" --")[0] for task in parsed["dags"][dag]["tasks"].values()]
        assert set(commands) == {stage.command for stage in wanted}
    named = {task.split(".")[0] for task in parsed["dags"]["daily"]["tasks"]}
    assert all(f"`{name}`" in parsed["dags"]["daily"]["doc"] for name in named)


def test_a_model_that_is_off_is_skipped_and_the_day_goes_on(parsed):
    """Exit code 99 skips a task; what follows must not take a skipped task for a reason to be skipped itself."""

    assert (PlatformError.exit_code, NotYet.exit_code, EngineDown.exit_code) == (1, 99, 75)
    daily = parsed["dags"]["daily"]
    after_score = {right for left, right in daily["edges"] if left.startswith("score.")}
    assert after_score == {"gate_predictions"} and daily["tasks"]["gate_predictions"]["rule"] == "none_failed"
    assert {t["rule"] for name, t in daily["tasks"].items() if name != "gate_predictions"} == {"all_success"}


def test_every_task_is_a_command_a_person_can_type(parsed):
    from typer.main import get_command

    from mdp.cli import app

    known = set(get_command(app).commands)
    for dag in parsed["dags"].values():
        assert dag["tasks"]
        for task in dag["tasks"].values():
            words = task["command"].split()
            assert words[0] == "mdp" and words[1] in known, task["command"]
            assert "--ds" in words


def test_a_runbook_stands_in_each_dag(parsed):
    for dag in parsed["dags"].values():
        assert "When a task fails" in dag["doc"]
        assert dag["runs"] == 1


def test_parsing_stays_light(parsed):
    assert parsed["dags"]
    assert parsed["heavy"] == []


def test_a_cron_makes_it_periodic(tmp_path):
    dags = parse(tmp_path, MDP_SCHEDULE="0 2 * * *")["dags"]
    assert dags["daily"]["schedule"] == "CronDataIntervalTimetable"
    assert dags["history"]["schedule"] == "NullTimetable"


@pytest.mark.parametrize(
    ("kinds", "commands"),
    [
        (("jdbc",), {"ingest.crm": "--kind jdbc"}),
        (("kafka",), {"ingest.logs": "--kind kafka"}),
        (("files", "kafka"), {"ingest.logs": "--kind files --kind kafka"}),
    ],
)
def test_only_sources_that_the_company_has_are_drawn(tmp_path, kinds, commands):
    declare(tmp_path / "company")
    feeds = "".join(f"shop__{kind}: {{kind: {kind}}}\n" for kind in kinds)
    (tmp_path / "company" / "feeds.yml").write_text(feeds)
    daily = parse(tmp_path, MDP_COMPANY=str(tmp_path / "company"))["dags"]["daily"]
    drawn = {name: task["command"] for name, task in daily["tasks"].items() if name.startswith("ingest.")}
    assert set(drawn) == set(commands)
    assert all(drawn[name].endswith(f"}}}} {said}") for name, said in commands.items()), drawn
    assert list(commands) == [left for left, right in daily["edges"] if right == "gate_raw"]


def test_the_page_of_a_shop_without_site_and_ads_shows_only_its_own_tasks(tmp_path):
    daily = parse(tmp_path, MDP_COMPANY="corner-shop")["dags"]["daily"]["tasks"]
    assert {"ingest.logs", "gate_raw", "score.segmentation", "export"} <= set(daily)
    assert not {"ingest.crm", "score.ctr", "score.budget"} & set(daily)


def test_models_scored_and_trained_are_those_of_the_declaration(parsed):
    import yaml

    blocks = yaml.safe_load((PROJECT / "ml" / "models.yml").read_text())
    declared = {name for name, block in blocks.items() if "instead_of" not in block}
    for dag, group in (("daily", "score"), ("retrain", "train")):
        tasks = {k.split(".")[1] for k in parsed["dags"][dag]["tasks"] if k.startswith(group + ".")}
        assert tasks == declared
