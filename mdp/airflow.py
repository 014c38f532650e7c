"""The few calls of Airflow's REST API that `mdp run` needs."""

import json
import urllib.error
import urllib.request

from warehouse.errors import PlatformError
from warehouse.runfile import read_run
from warehouse.settings import settings


class Airflow:
    """A client of the local API server; it logs in without credentials, which works on loopback only."""

    def __init__(self) -> None:
        port = read_run(settings().home).get("ports", {}).get("airflow")
        if not port:
            raise PlatformError("Airflow is not running: start it with `make up`")
        self.url = f"http://127.0.0.1:{port}"
        self.token = None

    def healthy(self) -> bool:
        """Whether metadata database, scheduler and dag-processor report healthy, and all three DAGs are known."""
        health = self._call("GET", "/api/v2/monitor/health", login=False)
        parts = ("metadatabase", "scheduler", "dag_processor")
        if not all(health.get(part, {}).get("status") == "healthy" for part in parts):
            return False
        self._call("GET", "/execution/health", login=False)  # what tasks talk to is loaded when first asked
        found = {dag["dag_id"] for dag in self._call("GET", "/api/v2/dags")["dags"]}
        return {"daily", "history", "retrain"} <= found

    def set_pool(self, name: str, slots: int) -> None:
        """Create the pool unless it exists."""
        try:
            self._call("GET", f"/api/v2/pools/{name}")
        except urllib.error.HTTPError:
            body = {"name": name, "slots": slots, "description": "writers of the warehouse", "include_deferred": False}
            self._call("POST", "/api/v2/pools", body)

    def start_run(self, dag: str, run_id: str, conf: dict, logical_date: str | None) -> None:
        """Start a run, or clear all tasks of the run that has this id, so that it goes through once more."""
        if any(
            r["dag_run_id"] == run_id for r in self._call("GET", f"/api/v2/dags/{dag}/dagRuns?limit=1000")["dag_runs"]
        ):
            self._call("POST", f"/api/v2/dags/{dag}/dagRuns/{run_id}/clear", {"dry_run": False, "only_failed": False})
            return
        body = {"dag_run_id": run_id, "logical_date": logical_date, "conf": conf}
        self._call("POST", f"/api/v2/dags/{dag}/dagRuns", body)

    def run_state(self, dag: str, run_id: str) -> str:
        """queued, running, success or failed."""
        return self._call("GET", f"/api/v2/dags/{dag}/dagRuns/{run_id}")["state"]

    def stop_run(self, dag: str, run_id: str) -> None:
        """Fail the run: its running tasks are ended, no other is started."""
        self._call("PATCH", f"/api/v2/dags/{dag}/dagRuns/{run_id}", {"state": "failed"})

    def tasks(self, dag: str, run_id: str) -> list[dict]:
        """The run's task instances: task_id, state, duration (seconds), try_number, start_date."""
        return self._call("GET", f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances?limit=200")["task_instances"]

    def log(self, dag: str, run_id: str, task_id: str, attempt: int) -> list[str]:
        """The lines a task printed in its given attempt."""
        path = f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}?full_content=true"
        content = self._call("GET", path)["content"]
        return [line.get("event", "") if isinstance(line, dict) else str(line) for line in content]

    def _call(self, method: str, path: str, body: dict | None = None, login: bool = True) -> dict:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if login:
            self.token = self.token or self._call("GET", "/auth/token", login=False)["access_token"]
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"{}")
