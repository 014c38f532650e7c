"""What the DAG files share: the business date, the shape of a task, and what happens when one fails."""

import json
import os
import urllib.request
from collections.abc import Iterable
from datetime import time, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.sensors.bash import BashSensor
from airflow.sdk import Asset, CronDataIntervalTimetable, RetryDecision, RetryPolicy, TaskGroup

from warehouse import stages
from warehouse.company import company

TZ = company().timezone
REFUSED, NOT_YET = 1, 99  # exit codes of warehouse.errors: PlatformError, NotYet
WRITERS = "warehouse_writers"  # the pool that keeps writers of the warehouse from starving the engine


def business_date(dag_run) -> str:
    """The business day of a run, the same however it was started.

    `ds` in the run's conf wins. A cron or backfill run is for the day that its interval ends after (also a weekly one: the
    day before it runs). A run by hand with a bare date (REST, `dags test`) carries midnight UTC of the very day that was
    typed.
    """
    given = (dag_run.conf or {}).get("ds")
    if given:
        return given
    moment, zone = dag_run.logical_date, ZoneInfo(TZ)
    if moment is None:
        raise ValueError('this run has no business date: trigger it with {"ds": "YYYY-MM-DD"} or a logical date')
    if not str(dag_run.run_type).endswith("manual"):
        return (dag_run.data_interval_end.astimezone(zone).date() - timedelta(days=1)).isoformat()
    moment = moment.astimezone(ZoneInfo("UTC"))
    return (moment if moment.time() == time() else moment.astimezone(zone)).date().isoformat()


def schedule(cron: str | None) -> CronDataIntervalTimetable | None:
    """A timetable of `cron` in the business time zone whose runs carry the day that has just ended."""
    return CronDataIntervalTimetable(cron, timezone=TZ) if cron else None


def cron() -> str | None:
    """MDP_SCHEDULE; None (only manual runs) when it is unset or `none`, as on a laptop."""
    text = os.environ.get("MDP_SCHEDULE") or "none"
    return None if text.lower() == "none" else text


def alert(context) -> None:
    """Tell the webhook MDP_ALERT_WEBHOOK, if one is configured, which task failed for which day."""
    url = os.environ.get("MDP_ALERT_WEBHOOK")
    if not url:
        return
    task = context["task_instance"]
    text = f"{task.dag_id}.{task.task_id} failed for {business_date(context['dag_run'])} (run {task.run_id})"
    body = json.dumps({"text": text, "dag": task.dag_id, "task": task.task_id, "run": task.run_id}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()


class UnlessRefused(RetryPolicy):
    """Retries what may heal, such as an engine that was away (75), a crash (70), a kill; not what the command refused (1).

    The same data fails its gate again, and the same SQL its tests. What is skipped (99) never comes here.
    """

    def evaluate(self, exception, try_number, max_tries, context=None) -> RetryDecision:
        refused = str(exception).rstrip(".").endswith(f"exit code {REFUSED}")
        return RetryDecision.fail("the command refused; its message is above") if refused else RetryDecision.default()


def step(task_id: str, command: str, **more) -> BashOperator:
    """One task: `mdp <command>`, as a person would type it; exit code 99 skips it, see warehouse/errors.py."""
    more = {"retry_policy": UnlessRefused()} | more
    return BashOperator(task_id=task_id, bash_command=f"mdp {command}", pool=WRITERS, append_env=True, **more)


def outside(task_id: str, command: str, **more) -> BashOperator:
    """A task that talks to a source or a target of the company, which may not answer now and answer in a while."""
    return step(task_id, command, retry_policy=None, **more)


def gate(name: str, days: str, **more) -> BashOperator:
    """A quality gate. One that says no is not asked again; one that could not look, because the engine was away, is."""
    return step(f"gate_{name}", f"gate {name} {days}", **more)


def stage_tasks(chosen: Iterable[stages.Stage], days: str) -> list:
    """The tasks of stages (warehouse/stages.py) in their order, for `chain`; those that need the same stand side by side."""
    models = {f"predictions.{model}" for model in stages.models()}
    on = [stage for stage in chosen if stage.name in models or stage.name not in stages.PREDICTIONS]
    return [_side_by_side(list(group), days) for _, group in groupby(on, key=lambda stage: stage.needs)]


def _side_by_side(group: list[stages.Stage], days: str):
    """A group of tasks for the company's sources or for the models, else the one task of the one stage."""
    stage, outlets = group[0], [Asset(group[0].name)]
    if stage.name == "raw":
        with TaskGroup("ingest") as tasks:
            for task_id, read in (("crm", ("jdbc",)), ("logs", ("files", "kafka"))):
                if here := [kind for kind in read if kind in stages.kinds()]:
                    outside(task_id, f"ingest {days} {' '.join(f'--kind {kind}' for kind in here)}", outlets=outlets)
        return tasks
    if stage.name in stages.PREDICTIONS:
        with TaskGroup("score") as tasks:
            for model in stages.models():
                step(model, f"score {model} {days}", outlets=[Asset(f"predictions.{model}")])
        return tasks
    if stage.name.startswith("gate_"):
        # A model that is off is skipped, and the day goes on without it.
        rule = "none_failed" if set(stage.needs) & set(stages.PREDICTIONS) else "all_success"
        return gate(stage.name.removeprefix("gate_"), days, outlets=outlets, trigger_rule=rule)
    task = outside if stage.name == "export" else step
    return task(stage.name, f"{stage.command.removeprefix('mdp ')} {days}", outlets=outlets)


def wait_for(stage: str, days: str) -> BashSensor:
    """Waits until a stage of the day is whole, however long that takes within three days; between two looks it holds no slot."""
    return BashSensor(
        task_id=f"wait_for_{stage}", bash_command=f"mdp ready {stage} {days}", retry_exit_code=NOT_YET,
        mode="reschedule", poke_interval=timedelta(minutes=2), timeout=timedelta(days=3),
    )  # fmt: skip


DEFAULTS = {
    "owner": "marketing-data",
    "retries": 2,
    "retry_delay": timedelta(seconds=20),
    "execution_timeout": timedelta(hours=2),
    "on_failure_callback": alert,
}
