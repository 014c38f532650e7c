"""The company's days through the real scheduler, as a user types them: first run, next day, same day again, a bad day."""

import contextlib
import http.server
import ipaddress
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.conftest import PROJECT, mdp
from warehouse.runfile import service_process

pytestmark = [pytest.mark.engine, pytest.mark.stack, pytest.mark.slow]

SIZE = ("--days", "40", "--customers", "300", "--seed", "11", "--intensity", "2")
FIRST_DAY, SECOND_DAY, BAD_DAY = "2024-04-09", "2024-04-10", "2024-04-11"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with the whole stack up; the first run creates the company."""
    path = tmp_path_factory.mktemp("stack")
    yield path
    mdp("down", home=path)


@pytest.fixture(scope="module")
def alerts():
    """(address, what was posted there): a webhook of ours."""
    posted: list[dict] = []

    class Webhook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Webhook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/", posted
        server.shutdown()


@pytest.fixture(scope="module")
def first_run(home, alerts):
    up = mdp("up", home=home, MDP_ALERT_WEBHOOK=alerts[0]).stdout
    return up, mdp("run", *SIZE, home=home).stdout


def test_up_prints_links_that_answer(first_run):
    up, _ = first_run
    links = dict(re.findall(r"^(Airflow|MLflow|dbt docs) +(http\S+)$", up, re.M))
    assert set(links) == {"Airflow", "MLflow", "dbt docs"}
    for url in links.values():
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(url, timeout=30) as page:
            assert page.status == 200


def test_every_door_is_on_loopback(first_run, home):
    """None of them asks for a password."""
    services = json.loads((home / "run.json").read_text())["services"].values()
    roots = [psutil.Process(service["pid"]) for service in services]
    doors = []
    for process in {p for root in roots for p in (root, *root.children(recursive=True))}:
        with contextlib.suppress(psutil.NoSuchProcess):  # a short task of the scheduler or the DAG processor
            doors += [door.laddr.ip for door in process.net_connections("inet") if door.status == psutil.CONN_LISTEN]
    assert len(doors) >= 5
    assert {ipaddress.ip_address(ip.removeprefix("::ffff:")).is_loopback for ip in doors} == {True}, doors


def test_the_first_run_ends_with_a_summary(first_run):
    _, out = first_run
    for heading in ("Taken in", "Gates", "Segments", "Models", "Budget plan", "What to do", "Time", "Next"):
        assert heading in out
    assert f"{FIRST_DAY}: what the day came to" in out
    assert "the best possible (Bayes) reaches" in out and "an oracle reaches" in out and "the true optimum" in out
    assert out.count("✓") == 7 + 5 + 14, "history, retrain and daily have 26 tasks"


def test_the_next_day_then_the_same_day_again_changes_nothing(first_run, home):
    out = mdp("run", home=home).stdout
    assert f"{SECOND_DAY}: what the day came to" in out and "history" not in out.split("Time")[0]
    before = mdp("warehouse", "checksum", home=home).stdout
    again = mdp("run", "--ds", SECOND_DAY, home=home).stdout
    assert f"{SECOND_DAY}: what the day came to" in again
    after = mdp("warehouse", "checksum", home=home).stdout
    assert len(before.splitlines()) > 500
    assert after == before


# Task → seconds after its begin at which the engine is killed: inside of dbt, of gates, of a scoring, of dbt again.
# Task → when its engine is killed: what its log says by then, or so many seconds after it has begun.
KILLS = {"cleaned": "START sql", "gate_cleaned": 0.7, "score.churn": 0.7, "gate_predictions": 0.7, "marts": "START sql"}
# As `mdp warehouse start` does it, but for the number of deaths after which it gives up.
PATIENT = """
import psutil
from warehouse import engine, supervise
from warehouse.runfile import record_service
from warehouse.settings import settings
record_service(settings().home, "supervisor", psutil.Process(), engine.preferred_ports())
supervise.RESTARTS = 9
supervise.main()
"""


def is_reached(point: float | str, home: Path, task: str, began: float) -> bool:
    """Whether a task that is running is where its engine is to be killed; waits if that is a number of seconds."""
    if isinstance(point, float):
        time.sleep(point)
        return True
    logs = (home / "airflow" / "logs" / "dag_id=daily" / f"run_id=daily__{SECOND_DAY}" / f"task_id={task}").glob(
        "*.log"
    )
    return any(point in log.read_text() for log in logs if log.stat().st_mtime > began)


def test_a_day_in_which_the_engine_is_killed_ends_by_itself_with_the_same_tables(first_run, home, say):
    """The day that went through undisturbed is its twin."""
    before = mdp("warehouse", "checksum", home=home).stdout
    mdp("warehouse", "stop", home=home)
    env, began = os.environ | {"MDP_HOME": str(home)}, time.time()
    supervisor = subprocess.Popen([sys.executable, "-c", PATIENT], cwd=PROJECT, env=env, start_new_session=True)
    run = [str(Path(sys.executable).parent / "mdp"), "run", "--ds", SECOND_DAY]
    with (home / "killed.log").open("w+") as out:
        day, left = subprocess.Popen(run, cwd=PROJECT, env=env, stdout=out, stderr=out), dict(KILLS)
        while day.poll() is None:
            for task in [t for t, state in states_of_tasks(home, f"daily__{SECOND_DAY}").items() if state == "running"]:
                if task in left and is_reached(left[task], home, task, began):
                    del left[task]
                    engine = service_process(home, "engine")
                    engine.kill()
                    psutil.wait_procs([engine], timeout=20)
            time.sleep(0.05)
        out.seek(0)
        said = out.read()
    retried = re.findall(r"retry (\S+)", said)
    say(f"killed in {', '.join(KILLS)}; tried again: {', '.join(retried)}")
    assert day.returncode == 0 and f"{SECOND_DAY}: what the day came to" in said, said
    assert not left and retried, "a step that was killed before it asked for anything may just wait for the restart"
    assert (home / "logs" / "supervisor.log").read_text().count("engine died (exit -9)") == len(KILLS)
    assert mdp("warehouse", "checksum", home=home).stdout == before
    mdp("warehouse", "stop", home=home)
    supervisor.wait(30)
    mdp("warehouse", "start", home=home)


def test_a_bad_day_stops_at_its_gate_and_goes_through_when_mended(first_run, home, alerts):
    mdp("sample", "break", "missing_user_ids", home=home)
    stopped = mdp("run", home=home, check=False)
    said = stopped.stdout + stopped.stderr
    assert stopped.returncode == 1
    assert f"daily of {BAD_DAY} stopped at gate_raw" in said
    assert "raw.web__events" in said and "user_id" in said
    assert states_of_tasks(home, f"daily__{BAD_DAY}") == {
        "ingest.crm": "success",
        "ingest.logs": "success",
        "gate_raw": "failed",
    }
    query = f"select table_name, column_name, observed from ops.gate_verdicts where ds = '{BAD_DAY}' and not success"
    verdicts = mdp("warehouse", "sql", "--csv", query, home=home).stdout.splitlines()
    assert verdicts[0] == "table_name,column_name,observed" and verdicts[1].startswith("raw.web__events,user_id")

    assert [(a["dag"], a["task"]) for a in alerts[1]] == [("daily", "gate_raw")]
    assert f"daily.gate_raw failed for {BAD_DAY}" in alerts[1][0]["text"]

    later = mdp("run", "--ds", "2024-04-12", home=home, check=False)
    assert later.returncode == 1 and BAD_DAY in later.stderr and "no later day runs past it" in later.stderr

    mdp("sample", "mend", home=home)
    assert f"{BAD_DAY}: what the day came to" in mdp("run", home=home).stdout
    assert set(states_of_tasks(home, f"daily__{BAD_DAY}").values()) == {"success"}


def states_of_tasks(home, run_id: str) -> dict[str, str]:
    """task_id → state of the tasks of a run that were started, from Airflow's own database."""
    with sqlite3.connect(home / "airflow" / "airflow.db") as database:
        rows = database.execute("select task_id, state from task_instance where run_id = ?", (run_id,)).fetchall()
    assert rows, f"no run {run_id}"
    return {task: state for task, state in rows if state not in (None, "upstream_failed")}


def dbt(home, *words: str, code: int = 0) -> str:
    """What `dbt` says when an analyst types it in dbt_project/ after `eval "$(mdp env)"`."""
    exports = dict(re.findall(r"^export (\w+)='?(.*?)'?$", mdp("env", home=home).stdout, re.M))
    done = subprocess.run(
        [str(Path(sys.executable).parent / "dbt"), *words],
        cwd=PROJECT / "dbt_project", env=os.environ | exports | {"USER": "an.alyst"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code, done.stdout[-3000:]
    return done.stdout


def test_plain_dbt_runs_the_unit_tests(first_run, home):
    said = dbt(home, "test", "--select", "test_type:unit")
    passed = int(re.search(r"PASS=(\d+) WARN=0 ERROR=0", said)[1])
    assert passed >= 5


def test_an_analyst_builds_into_a_schema_of_their_own(first_run, home):
    """The newest published day, read from production; production keeps its tables as they were."""
    before = mdp("warehouse", "checksum", "--layer", "marts", home=home).stdout
    state = str(home / "dbt" / "state")
    dbt(home, "build", "--target", "dev", "--defer", "--favor-state", "--state", state, "--select", "rfm funnel",
        "--exclude-resource-type", "unit_test")  # fmt: skip
    for table in ("rfm", "funnel"):
        counts = {
            schema: mdp(
                "warehouse", "sql", "--csv", f"select count(*) from {schema}.{table} where ds = '{day}'", home=home
            ).stdout.splitlines()[1]
            for day in [newest_day(home)]
            for schema in ("marts", "dev_an_alyst")
        }
        assert counts["dev_an_alyst"] == counts["marts"] != "0"
    assert mdp("warehouse", "checksum", "--layer", "marts", home=home).stdout == before


def test_a_table_of_another_contract_is_refused_and_keeps_its_days(first_run, home, tmp_path):
    """A type changed in the .yml alone would be cast back to the table's in silence."""
    edited = shutil.copytree(PROJECT / "dbt_project", tmp_path / "dbt_project")
    layer = edited / "models" / "marts" / "_marts.yml"
    layer.write_text(
        layer.read_text().replace(
            '{name: revenue_90d, data_type: "decimal(18,2)"',
            '{name: revenue_90d, data_type: "decimal(18,4)"',
            1,
        )
    )
    assert layer.read_text() != (PROJECT / "dbt_project" / "models" / "marts" / "_marts.yml").read_text()
    before = mdp("warehouse", "checksum", "--layer", "marts", home=home).stdout
    said = dbt(
        home, "run", "--project-dir", str(edited), "--target-path", str(tmp_path / "target"), "--select", "rfm", code=1
    )
    assert "revenue_90d decimal(18,2)" in said and "revenue_90d decimal(18,4)" in said and "`mdp rebuild`" in said
    assert before and mdp("warehouse", "checksum", "--layer", "marts", home=home).stdout == before


def newest_day(home) -> str:
    query = "select max(ds) from ops.published_days where stage = 'marts'"
    return mdp("warehouse", "sql", "--csv", query, home=home).stdout.splitlines()[1]


def test_scoring_needs_no_mlflow_server_and_nothing_personal_leaks(first_run, home):
    from tests.e2e.privacy import clear_values, find_clear_values

    services = json.loads((home / "run.json").read_text())["services"]
    assert "mlflow" in services
    values = clear_values(home)
    assert len(values) > 300
    assert find_clear_values(home, values) == []


def test_nothing_personal_stands_there_while_results_are_handed_back(first_run, home):
    """For the audience files the CRM is asked again who consents."""
    from tests.e2e.privacy import Watch, clear_values

    watch = Watch(home, clear_values(home))
    watch.look()  # at what is there before: from now on only at what changes
    written = home / "exports" / newest_day(home) / "audience_sms.csv"
    before, n_rounds = written.stat().st_mtime_ns, watch.n_rounds
    with watch:
        mdp("export", "--ds", newest_day(home), home=home)
    assert written.stat().st_mtime_ns > before and watch.n_rounds > n_rounds + 2
    assert watch.found == []
