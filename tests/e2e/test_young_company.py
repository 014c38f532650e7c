"""A company of a month through the real scheduler, whose DAGs are paused: its budget model is off, and comes on by itself."""

import json
import os
import sqlite3
import subprocess
import sys

import pytest

from tests.conftest import PROJECT, mdp

pytestmark = [pytest.mark.engine, pytest.mark.stack, pytest.mark.slow]

DAY, POSSIBLE_FROM = "2024-03-30", "2024-04-01"
NEXT_DAYS = ("2024-03-31", POSSIBLE_FROM)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    path = tmp_path_factory.mktemp("young")
    yield path
    mdp("down", home=path)


@pytest.fixture(scope="module")
def said(home):
    """What the first run says. A person asked for it, so it runs, though the schedule has not been started."""
    return mdp("run", "--customers", "50", "--days", "30", home=home, MDP_SCHEDULE="0 2 * * *").stdout


def airflow(home, query: str) -> list:
    with sqlite3.connect(home / "airflow" / "airflow.db") as database:
        return database.execute(query).fetchall()


def test_the_day_goes_through_with_a_model_off(said, home):
    reason = f"budget needs 32 days of history and its own begins on 2024-03-01; possible from {POSSIBLE_FROM}"
    assert f"{DAY}: what the day came to" in said and "✗" not in said and "retry" not in said
    assert said.count(f"budget is off: {reason}") == 1
    states = dict(airflow(home, f"select task_id, state from task_instance where run_id = 'daily__{DAY}'"))
    assert states.pop("score.budget") == "skipped"
    assert len(states) == 13 and set(states.values()) == {"success"}
    report = json.loads((home / "reports" / "gates" / DAY / "predictions.json").read_text())
    assert report["passed"] and report["rules"] and [off["stage"] for off in report["off"]] == ["predictions.budget"]
    assert reason.split(";")[0] in (home / "reports" / "gates" / DAY / "predictions.html").read_text()
    for table in ("predictions.budget", "predictions.segmentation"):
        count = mdp("warehouse", "sql", "--csv", f"select count(*) from {table} where ds = '{DAY}'", home=home).stdout
        assert (count.splitlines()[1] == "0") == (table == "predictions.budget")
    assert mdp("export", "show", "--ds", DAY, "--target", "mdp_budget_plan", home=home).stdout


def test_the_paused_dags_are_paused_again_and_nothing_else_was_run(said, home):
    paused = dict(airflow(home, "select dag_id, is_paused from dag"))
    assert paused == {"daily": 1, "history": 1, "retrain": 1}
    runs = dict(airflow(home, "select run_id, state from dag_run"))
    assert set(runs) == {f"daily__{DAY}", "history__2024-03-29", "retrain__2024-03-29"}, runs


def test_it_comes_on_by_itself_on_the_day_that_was_named(said, home):
    """The days between are lived by the same commands without a scheduler."""
    too_early = mdp("train", "budget", "--ds", DAY, home=home, check=False)
    assert too_early.returncode == 99 and f"possible from {POSSIBLE_FROM}" in too_early.stderr
    for _ in NEXT_DAYS:
        mdp("sample", "advance", home=home)
    days = [word for ds in NEXT_DAYS for word in ("-", ds)]
    subprocess.run([sys.executable, "-m", "tests.time.live", "live", *days], cwd=PROJECT, check=True,
                   env=os.environ | {"MDP_HOME": str(home)})  # fmt: skip
    ask = "import mdp.run; print(mdp.run._training_day())"
    day = subprocess.run([sys.executable, "-c", ask], cwd=PROJECT, env=os.environ | {"MDP_HOME": str(home)},
                         capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    assert day == POSSIBLE_FROM
    for model in ("segmentation", "ctr", "churn"):
        assert mdp("train", model, "--ds", day, "--missing", home=home, check=False).returncode == 99
    assert (
        "champion" in mdp("train", "budget", "--ds", day, "--missing", home=home).stdout
    )  # the baseline, where it is better
    assert "with budget version" in mdp("score", "budget", "--ds", day, home=home).stdout
