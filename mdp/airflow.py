"""The few calls of Airflow's REST API that `mdp run` needs."""

import json
import urllib.error
import urllib.parse
import urllib.request

from warehouse.errors import PlatformError
from warehouse.runfile import read_run
from warehouse.settings import settings

PAGE = 100  # Airflow's maximum_page_limit: more may be asked for, no more is given


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
        """Start a run, or clear all tasks of the run that has this id, so that it goes through once more.

        Of runs that wait, the scheduler begins with the one that could start first: ours goes before the schedule's.
        """
        body = {"dag_run_id": run_id, "logical_date": logical_date, "run_after": logical_date, "conf": conf}
        try:
            self._call("POST", f"/api/v2/dags/{dag}/dagRuns", body)
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise
            try:
                clear = {"dry_run": False, "only_failed": False}
                self._call("POST", f"/api/v2/dags/{dag}/dagRuns/{run_id}/clear", clear)
            except urllib.error.HTTPError as missing:
                if missing.code != 404:
                    raise
                raise PlatformError(
                    f"{dag} has a run for {logical_date} under another name than {run_id}, so none can be started: "
                    f"clear that one, or delete it, in {self.url}/dags/{dag}/runs"
                ) from None

    def is_paused(self, dag: str) -> bool:
        """Whether the scheduler starts nothing of the DAG."""
        return self._call("GET", f"/api/v2/dags/{dag}")["is_paused"]

    def pause(self, dag: str, paused: bool) -> None:
        """Pause the DAG, or let it go on."""
        self._call("PATCH", f"/api/v2/dags/{dag}", {"is_paused": paused})

    def active_runs(self, dag: str) -> list[dict]:
        """The DAG's runs that wait or run: dag_run_id, run_type, state."""
        return self._pages(f"/api/v2/dags/{dag}/dagRuns?state=queued&state=running", "dag_runs")

    def delete_run(self, dag: str, run_id: str) -> None:
        """Delete a run that has not begun."""
        self._call("DELETE", f"/api/v2/dags/{dag}/dagRuns/{urllib.parse.quote(run_id, safe='')}")

    def run_state(self, dag: str, run_id: str) -> str:
        """queued, running, success or failed."""
        return self._call("GET", f"/api/v2/dags/{dag}/dagRuns/{run_id}")["state"]

    def stop_run(self, dag: str, run_id: str) -> None:
        """Fail the run: its running tasks are ended, no other is started."""
        self._call("PATCH", f"/api/v2/dags/{dag}/dagRuns/{run_id}", {"state": "failed"})

    def tasks(self, dag: str, run_id: str) -> list[dict]:
        """The run's task instances: task_id, state, duration (seconds), try_number, start_date."""
        return self._pages(f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances?", "task_instances")

    def log(self, dag: str, run_id: str, task_id: str, attempt: int) -> list[str]:
        """The lines a task printed in its given attempt."""
        path = f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{attempt}?full_content=true"
        content = self._call("GET", path)["content"]
        return [line.get("event", "") if isinstance(line, dict) else str(line) for line in content]

    def _pages(self, path: str, key: str) -> list[dict]:
        """All entries of a list: the API gives PAGE of them at most."""
        found: list[dict] = []
        while len(page := self._call("GET", f"{path}&limit={PAGE}&offset={len(found)}")[key]) == PAGE:
            found += page
        return found + page

    def _call(self, method: str, path: str, body: dict | None = None, login: bool = True) -> dict:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if login:
            self.token = self.token or self._call("GET", "/auth/token", login=False)["access_token"]
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"{}")
