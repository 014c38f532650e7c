"""`mdp run` and its scheduler: a paused DAG runs what a person asks for, every wait ends, no list is cut after a page."""

import http.server
import json
import threading
import urllib.parse

import pytest

from mdp import run
from mdp.airflow import PAGE, Airflow
from warehouse import state
from warehouse.errors import PlatformError
from warehouse.runfile import changing_run


class Scheduler:
    """A scheduler as `mdp run` sees it: each look at the tasks is a step further, unless the DAG is paused."""

    url = "http://scheduler"

    def __init__(self, steps: list[list], paused: bool = False):
        self.steps, self.paused, self.asked, self.deleted = steps, paused, [], []
        self.runs = [{"dag_run_id": "daily__d", "run_type": "manual", "state": "running"}]

    def is_paused(self, dag):
        return self.paused

    def pause(self, dag, paused):
        self.paused = paused
        self.asked.append(paused)
        if not paused:
            self.runs.append({"dag_run_id": "scheduled__today", "run_type": "scheduled", "state": "queued"})

    def tasks(self, dag, run_id):
        states = self.steps[0]
        if not self.paused or "running" in states:
            states = self.steps.pop(0) if len(self.steps) > 1 else states
        return [dict(task_id=f"t{n}", try_number=1, state=s, duration=1.0, end_date="") for n, s in enumerate(states)]

    def run_state(self, dag, run_id):
        return "running"

    def active_runs(self, dag):
        return self.runs

    def delete_run(self, dag, run_id):
        self.deleted.append(run_id)


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    monkeypatch.setattr(run.time, "sleep", lambda seconds: None)


def follow(scheduler) -> str:
    with run._let_run(scheduler, "daily") as let_run:
        return run._follow(scheduler, "daily", "daily__d", "2026-03-01", 0.0, run.Timing(), let_run)[0]


def test_a_run_of_a_paused_dag_goes_through_and_the_dag_is_paused_again():
    steps = [[None, None], ["running", None], ["success", "queued"], ["success", "running"], ["success", "success"]]
    scheduler = Scheduler(steps, paused=True)
    assert follow(scheduler) == "success"
    assert scheduler.asked[0] is False and scheduler.paused
    assert scheduler.deleted == ["scheduled__today"], "nobody asked for the run that the schedule made meanwhile"


def test_a_dag_that_is_not_paused_is_left_alone():
    scheduler = Scheduler([[None], ["running"], ["failed"]])
    assert follow(scheduler) == "failed"
    assert scheduler.asked == [] and scheduler.deleted == []


@pytest.mark.parametrize(("others", "said"), [([], "airflow-scheduler"), (["daily__before"], "daily__before must end")])
def test_a_run_that_nobody_begins_is_not_waited_for_for_ever(monkeypatch, others, said):
    scheduler = Scheduler([["queued"]])
    scheduler.runs += [{"dag_run_id": name, "run_type": "manual", "state": "running"} for name in others]
    now = iter(range(0, 10**6, 60))
    monkeypatch.setattr(run.time, "monotonic", lambda: next(now))
    with pytest.raises(PlatformError, match="no task of daily__d ran for 15 minutes") as stopped:
        follow(scheduler)
    assert said in str(stopped.value) and "http://scheduler/dags/daily/runs/daily__d" in str(stopped.value)


def test_an_airflow_that_is_gone_is_said(monkeypatch):
    scheduler = Scheduler([["running"]])
    monkeypatch.setattr(scheduler, "tasks", lambda *given: (_ for _ in ()).throw(OSError("refused")))
    now = iter(range(0, 10**6, 60))
    monkeypatch.setattr(run.time, "monotonic", lambda: next(now))
    with pytest.raises(PlatformError, match="Airflow does not answer at http://scheduler .*refused.*airflow-scheduler"):
        follow(scheduler)


def test_each_model_without_a_champion_is_trained_once_it_can_be(monkeypatch):
    monkeypatch.setattr(run, "load_models", lambda: ["ctr", "churn", "budget"])
    for ds in ("2026-03-01", "2026-03-02"):
        state.publish("gate_features", [ds])
    assert run._training_day() == "2026-03-02"
    for model in ("ctr", "churn"):
        state.record_promotion(model, None, "1", "", {}, "{}")
    state.switch_off("train.budget", "2026-03-02", "28 days are needed", "2026-03-03")
    assert run._training_day() is None, "nothing is asked for that cannot be"
    state.publish("gate_features", ["2026-03-03"])
    assert run._training_day() == "2026-03-03"
    state.switch_off("train.budget", "2026-03-03", "nothing was spent yet")
    assert run._training_day() == "2026-03-03", "who cannot say when is asked each time"
    state.record_promotion("budget", None, "1", "", {}, "{}")
    assert run._training_day() is None
    monkeypatch.setattr(run, "load_models", lambda: ["ctr", "churn", "spending"])
    assert run._training_day() == "2026-03-03", "one that was given another name is a new one"


@pytest.fixture()
def airflow(tmp_path):
    """(client, requests, run ids that are there): an API that gives PAGE entries at most, whatever is asked for."""
    there, seen = [f"daily__{n}" for n in range(250)], []

    class Api(http.server.BaseHTTPRequestHandler):
        def answer(self, method):
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            url = urllib.parse.urlparse(self.path)
            asked = urllib.parse.parse_qs(url.query)
            seen.append((method, url.path))
            code, content = 200, {}
            if url.path == "/auth/token":
                content = {"access_token": "t"}
            elif method == "GET":
                at = int(asked["offset"][0])
                content = {"dag_runs": [{"dag_run_id": one} for one in there[at : at + PAGE]]}
            elif url.path.endswith("/dagRuns"):
                code = 409 if body["dag_run_id"] in there or body["logical_date"] == "taken" else 200
            elif url.path.endswith("/clear"):
                code = 200 if url.path.split("/")[-2] in there else 404
            text = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self):
            self.answer("GET")

        def do_POST(self):
            self.answer("POST")

        def log_message(self, *words):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with changing_run(tmp_path) as info:
            info["ports"]["airflow"] = server.server_address[1]
        yield Airflow(), seen, there
        server.shutdown()


def test_a_run_beyond_the_first_page_is_taken_up(airflow):
    client, seen, there = airflow
    client.start_run("daily", there[-1], {}, "2026-03-01T00:00:00Z")
    assert seen[-1] == ("POST", f"/api/v2/dags/daily/dagRuns/{there[-1]}/clear")
    client.start_run("daily", "daily__new", {}, "2026-03-01T00:00:00Z")
    assert seen[-1] == ("POST", "/api/v2/dags/daily/dagRuns")
    with pytest.raises(PlatformError, match="under another name than daily__other"):
        client.start_run("daily", "daily__other", {}, "taken")
    assert [run["dag_run_id"] for run in client.active_runs("daily")] == there


def test_a_run_loads_trains_lives_and_sums_up_in_this_order(monkeypatch):
    done = []
    monkeypatch.setattr(run, "_prepare", lambda *given: ("2026-03-03", ("2026-03-01", "2026-03-02")))
    monkeypatch.setattr(run, "_training_day", lambda: "2026-03-02")
    monkeypatch.setattr(run, "_dag", lambda dag, run_id, asked, day, timing: done.append((dag, asked)))
    monkeypatch.setattr(run.warm, "call", lambda home, command, *more: done.append((command[1], command[3])))
    monkeypatch.setattr(run.stack, "links", dict)
    monkeypatch.setattr(run.signal, "signal", lambda *given: None)
    run.run(None, None, {})
    assert done == [
        ("history", {"from": "2026-03-01", "to": "2026-03-02"}),
        ("retrain", {"ds": "2026-03-02", "missing": True}),
        ("daily", {"ds": "2026-03-03"}),
        ("summary", "2026-03-03"),
    ]
