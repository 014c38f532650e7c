"""`mdp run`: live one more day through the whole platform, ordered by a real Airflow scheduler.

The first time it creates the company, if that is a generated one, loads its history in one pass, trains the models and runs
the newest day; after that each call lives the next day. A day that was stopped is taken up first: no later day may run past it.
"""

import contextlib
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psutil
from rich.console import Console

from ingestion.feeds import load_feeds
from ingestion.targets import load_targets
from mdp import stack, warm
from mdp.airflow import Airflow
from ml.models import load_models
from sample import generator
from warehouse import dates, engine, leases, outdated, parts, stages, state, supervise
from warehouse.company import check_home, check_reviewed, company
from warehouse.connections import broker, database
from warehouse.errors import PlatformError
from warehouse.runfile import read_run, service_process
from warehouse.session import close
from warehouse.settings import PROJECT, settings

console = Console(highlight=False, soft_wrap=True)
NOT_OURS = ("Command exited", "Task failed", "::group::", "::endgroup::")  # Airflow's own lines in a task's log
WAITING = (None, "scheduled", "queued", "up_for_retry", "up_for_reschedule", "deferred", "restarting")
STILL_SECONDS = 900  # so long none of a run's tasks may run before we stop waiting; retries wait for 20 s
UNANSWERED_SECONDS = 120
POOL_SLOTS = 2  # writers at a time: more only take turns on two cores


@dataclass
class Timing:
    """Where the time went and how much memory it took, for the summary and the benchmark."""

    started: float = field(default_factory=time.monotonic)
    steps: list[tuple[str, float]] = field(default_factory=list)
    tasks: list[tuple[str, str, float]] = field(default_factory=list)
    peak_bytes: int = 0

    def step(self, name: str, since: float) -> None:
        self.steps.append((name, time.monotonic() - since))

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


def run(ds: str | None, from_ds: str | None, sample_options: dict) -> None:
    """Run what is next (or `ds`, if given) and print the summary; raises PlatformError naming gate and rule if it stops.

    Engine and Airflow stay up, also after a gate has stopped the day: their pages show why, and the next run need not
    start them. Interrupted, it stops the day and what it started.
    """
    conf = settings()
    engine.check_home(conf.home)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ran_before = stack.running()
    timing = Timing()
    try:
        with leases.lock("mdp run"), _memory_watch(timing), _engine_watch():
            target, history = _prepare(ds, from_ds, sample_options, timing)
            if history:
                _dag("history", f"history__{history[1]}", {"from": history[0], "to": history[1]}, history[1], timing)
            if history is None and state.newest("gate_features") is None:
                _note_first_day(target)
            elif trained_on := _training_day():
                asked = {"ds": trained_on, "missing": True}
                _dag("retrain", f"retrain__{trained_on}", asked, trained_on, timing)
            _dag("daily", f"daily__{target}", {"ds": target}, target, timing)
            since = time.monotonic()
            console.print("gathering the summary …")
            if warm.call(conf.home, ["mdp", "summary", "--ds", target], dict(os.environ), PROJECT, None):
                raise PlatformError(f"{target} is done, but its summary failed: its message is above")
            timing.step("summary", since)
    except KeyboardInterrupt:
        with console.status("stopping what was started …"):
            close()
            stack.stop_all(but=ran_before)
        raise PlatformError("interrupted: the day is taken up again by the next `make run`") from None
    finally:
        close()
    _write_report(timing, target)
    console.print(_where_time_went(timing))
    console.print(_next_steps(stack.links()))


def _prepare(ds, from_ds, sample_options, timing):
    """Start what is needed and decide the day; returns (day, (from, to) of a history to load first, or None)."""
    since = time.monotonic()
    refuse_early(ds, from_ds, sample_options["days"])
    generated = generator()
    decided = None if generated else next_day(ds, from_ds)  # what was asked may be at fault: say so first
    with console.status("starting the warehouse engine and Airflow …"), ThreadPoolExecutor(1) as pool:
        airflow = pool.submit(_start_airflow)
        supervise.start(wait=False)
        stack.start_warm()
        if generated:
            _engine_ready()
            if not generated.exists():
                created = generated.create(**sample_options, progress=console.print)
                console.print(created["text"])
        _engine_ready()
        outdated.require_current()
        target, history = decided or next_day(ds, from_ds)
        airflow.result()
    timing.step("start the engine, Airflow and the company", since)
    return target, history


def refuse_early(ds: str | None, from_ds: str | None, sample_days: int) -> None:
    """Raise PlatformError, before anything is started, for a day that the source cannot have, or a source without an address."""
    check_reviewed()
    check_home()
    asked = [dates.parse_ds(day) for day in (from_ds, ds) if day]
    if len(asked) == 2:
        dates.days(*asked)
    if generated := generator():
        first, newest = generated.lifetime(sample_days)
        stopped = stages.day_to_take_up()  # says more of a later day than that it has not been lived
        for day in asked:
            if day < first or (day > newest and not stopped):
                raise PlatformError(
                    f"{day} is no day of {company().name}, which is generated and lives from {first} to {newest}: name one of "
                    "these, or none for the next; MDP_COMPANY names a company of your own (docs/your-company.md)"
                )
        return
    for feed in load_feeds().values():
        if feed.kind == "jdbc":
            database(feed.connection)
        elif feed.kind == "kafka":
            broker(feed.connection)
    for target in load_targets().values():
        database(target.connection)


def _start_airflow() -> None:
    stack.start_airflow()
    stack.wait_airflow()
    Airflow().set_pool("warehouse_writers", POOL_SLOTS)


def _engine_ready() -> None:
    if settings().embedded:
        supervise.wait_up()
    engine.warm_up()


def next_day(ds: str | None, from_ds: str | None) -> tuple[str, tuple[str, str] | None]:
    """The day to run and the history to load before it: an unfinished day first, else `ds`, else the next day.

    Where the day is the first of all there is no history (None): it counts as ending on the day before.
    """
    begun = state.fact("history_to")
    stopped = stages.day_to_take_up()
    if begun is None or stopped == begun:
        first, last = (state.fact("first_day"), begun) if begun else _first_history(ds, from_ds)
        state.set_fact_once("first_day", first)
        state.set_fact_once("history_to", last)
        return dates.shift(last, 1), (first, last) if first <= last else None
    if stopped:
        if ds and ds > stopped:
            raise PlatformError(f"{stopped} is not finished; no later day runs past it: `make run` takes it up")
        if ds is None or ds == stopped:
            console.print(f"{stopped} was stopped: taking it up")
            return stopped, None
    if ds:
        return dates.parse_ds(ds), None
    following = dates.shift(state.newest("marts") or begun, 1)
    if (generated := generator()) and generated.status()["newest_ds"] < following:
        console.print(generated.advance()["text"])
    return following, None


def _training_day() -> str | None:
    """The day on which models without a champion are trained, each alone: the newest that can be; None if none of them can.

    A model that had too little to learn from is tried again from the day that its training named, or on each day if it
    could name none.
    """
    newest = state.newest("gate_features")
    never = parts.off()
    possible = {model for model in load_models() if f"predictions.{model}" not in never}
    for model in possible - state.promoted_models():
        off = state.last_off(f"train.{model}")
        if off is None or (off.possible_from or newest) <= newest:
            return newest
    return None


def _note_first_day(ds: str) -> None:
    """Mark the models as off whose first training would need a day before `ds`, the first of all."""
    for model in stages.models():
        state.switch_off(f"train.{model}", ds, "there is no day before the first to learn from")


def _first_history(ds: str | None, from_ds: str | None) -> tuple[str, str]:
    if from_ds and ds:
        return dates.parse_ds(from_ds), dates.shift(ds, -1)
    if generated := generator():
        lived = generated.status()
        return lived["first_ds"], dates.shift(lived["newest_ds"], -1)
    raise PlatformError("nothing was loaded yet: say which days, `mdp run --from 2026-01-01 --ds 2026-06-30`")


def _dag(dag: str, run_id: str, conf: dict, day: str, timing: Timing) -> None:
    """Run a DAG through the scheduler, printing each task as it ends; PlatformError if the run fails."""
    since = time.monotonic()
    airflow = Airflow()
    console.print(f"\n[bold]{dag}[/bold] {conf.get('from', '')}{' … ' if 'from' in conf else ''}{day}")
    airflow.start_run(dag, run_id, conf, f"{day}T00:00:00Z")
    try:
        with _let_run(airflow, dag) as let_run:
            run_state, tasks = _follow(airflow, dag, run_id, day, since, timing, let_run)
    except KeyboardInterrupt:
        airflow.stop_run(dag, run_id)  # a scheduler that stays up would go on with the day
        raise
    timing.step(dag, since)
    if run_state == "failed":
        raise PlatformError(_why(airflow, dag, run_id, day, tasks))


@contextlib.contextmanager
def _let_run(airflow: Airflow, dag: str):
    """Yields what lets a paused DAG go on (True), or pauses it again (False); afterwards it is as it was.

    Where MDP_SCHEDULE is set, a DAG is paused until somebody starts its schedule, but what a person asks for is run. Let go
    on, the scheduler makes at once a run of the schedule, which waits behind ours and is taken away again: nobody asked.
    """
    if not airflow.is_paused(dag):
        yield lambda go_on: None
        return
    before = {run["dag_run_id"] for run in airflow.active_runs(dag)}
    paused = [True]

    def let_run(go_on: bool) -> None:
        if paused[0] == go_on:
            airflow.pause(dag, not go_on)
            paused[0] = not go_on

    try:
        yield let_run
    finally:
        airflow.pause(dag, True)
        for run in airflow.active_runs(dag):
            if run["dag_run_id"] not in before and (run["run_type"], run["state"]) == ("scheduled", "queued"):
                airflow.delete_run(dag, run["dag_run_id"])


def _follow(
    airflow: Airflow, dag: str, run_id: str, day: str, since: float, timing: Timing, let_run
) -> tuple[str, list[dict]]:
    """Print each task as it ends; returns the run's final state and its tasks. PlatformError if nothing moves any more."""
    seen: set[tuple[str, int]] = set()
    moved, running = time.monotonic(), []
    with console.status("waiting for the scheduler …", refresh_per_second=2) as status:
        while True:  # asking costs the same two cores that the tasks run on: one question a second
            try:
                tasks = airflow.tasks(dag, run_id)
                running = [t["task_id"] for t in tasks if t["state"] == "running"]
                if _report(dag, tasks, seen, day, timing) or running:
                    moved = time.monotonic()
                let_run(any(t["state"] in WAITING for t in tasks))
                run_state = _ended(tasks) or (not running and airflow.run_state(dag, run_id))
            except OSError as error:  # a busy machine, or Airflow has ended
                run_state = None
                if time.monotonic() - moved > UNANSWERED_SECONDS:
                    raise PlatformError(f"Airflow does not answer at {airflow.url} ({error}): {_where()}") from None
            if run_state in ("success", "failed"):
                return run_state, tasks
            if time.monotonic() - moved > STILL_SECONDS:
                raise PlatformError(_still(airflow, dag, run_id))
            status.update(f"{', '.join(running) or 'waiting for the scheduler'} … {time.monotonic() - since:.0f} s")
            time.sleep(1)


def _ended(tasks: list[dict]) -> str | None:
    """How a run ended whose every task has: of a paused DAG the scheduler itself looks only once a minute."""
    states = {t["state"] for t in tasks}
    if not states or states - {"success", "skipped", "failed", "upstream_failed", "removed"}:
        return None
    return "failed" if states & {"failed", "upstream_failed"} else "success"


def _still(airflow: Airflow, dag: str, run_id: str) -> str:
    others = [run["dag_run_id"] for run in airflow.active_runs(dag) if run["dag_run_id"] != run_id]
    holds = f"before it {', '.join(others)} must end" if others else _where()
    return f"no task of {run_id} ran for {STILL_SECONDS / 60:.0f} minutes: {holds}; see {airflow.url}/dags/{dag}/runs/{run_id}"


def _where() -> str:
    gone = [name for name in stack.AIRFLOW if service_process(settings().home, name) is None]
    said = f"{', '.join(gone)} ended; " if gone else ""
    return f"{said}look into {settings().logs_dir}/airflow-*.log, then `make down` and `make run`"


def _report(dag: str, tasks: list[dict], seen: set, day: str, timing: Timing) -> bool:
    """Print the tasks that have ended since; returns whether there were any."""
    n_seen = len(seen)
    for task in sorted(tasks, key=lambda t: t["end_date"] or ""):
        key = (task["task_id"], task["try_number"])
        if task["state"] not in ("success", "failed", "up_for_retry", "skipped") or key in seen:
            continue
        seen.add(key)
        if task["state"] == "skipped":
            _report_off(task["task_id"], day)
            continue
        seconds = task["duration"] or 0.0
        if task["state"] == "success":
            timing.tasks.append((dag, task["task_id"], seconds))
        mark = {"success": "[green]✓[/green]", "failed": "[red]✗[/red]"}.get(task["state"], "[yellow]retry[/yellow]")
        console.print(f"  {mark} {task['task_id']:<22} {seconds:6.1f} s")
    return len(seen) > n_seen


def _report_off(task_id: str, day: str) -> None:
    """Say why a model is off; a training that was skipped because the model has a champion is no news."""
    stage = task_id.replace("score.", "predictions.")
    if off := stages.off(day).get(stage):
        console.print(f"  [yellow]off[/yellow] {task_id:<20} {off}")


def _why(airflow: Airflow, dag: str, run_id: str, day: str, tasks: list[dict]) -> str:
    failed = next((t for t in tasks if t["state"] == "failed"), None)
    if failed is None:
        return f"{dag} of {day} failed before its first task: look into {settings().logs_dir}/airflow-scheduler.log"
    lines = [x for x in airflow.log(dag, run_id, failed["task_id"], failed["try_number"]) if x.strip()]
    at = max((i for i, x in enumerate(lines) if x.startswith("error: ")), default=max(0, len(lines) - 15))
    said = "\n  ".join(x for x in lines[at:] if not any(words in x for words in NOT_OURS))
    return (
        f"{dag} of {day} stopped at {failed['task_id']}; no later task was started.\n  {said}\n"
        f"  in Airflow: {airflow.url}/dags/{dag}/runs/{run_id}   (`make down` stops it)"
    )


class _memory_watch:
    """Samples the proportional memory of all our processes every ten seconds; the highest sum goes into the timing."""

    def __init__(self, timing: Timing) -> None:
        self.timing, self.over = timing, threading.Event()

    def __enter__(self):
        threading.Thread(target=self._watch, daemon=True).start()

    def __exit__(self, *_):
        self.over.set()

    def _watch(self) -> None:
        while not self.over.wait(10):
            used, seen = 0, set()
            roots = [psutil.Process(), *filter(None, (service_process(settings().home, n) for n in _our_services()))]
            for root in roots:
                try:
                    family = [root, *root.children(recursive=True)]
                except psutil.Error:
                    continue
                for process in family:
                    if process.pid not in seen:
                        seen.add(process.pid)
                        used += _proportional_bytes(process)
            self.timing.peak_bytes = max(self.timing.peak_bytes, used)


def _our_services() -> list[str]:
    return [*stack.SERVICES, "supervisor", "engine"]


def _proportional_bytes(process: psutil.Process) -> int:
    try:
        info = process.memory_full_info()
        return getattr(info, "pss", info.rss)  # shared pages counted once; macOS has no pss
    except (psutil.Error, OSError):
        return 0


class _engine_watch:
    """Says so when the supervisor has restarted the engine."""

    def __enter__(self):
        self.over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def __exit__(self, *_):
        self.over.set()

    def _watch(self) -> None:
        last = None
        while not self.over.wait(0.5):
            now = read_run(settings().home).get("services", {}).get("engine", {}).get("state", "starting")
            if last == "up" and now == "starting" and service_process(settings().home, "supervisor"):
                console.print("  [yellow]the warehouse engine died and is being restarted; failed tasks retry[/yellow]")
            if now == "crashed" and last != now:
                console.print(f"  [red]the warehouse engine is down: see {settings().logs_dir}/supervisor.log[/red]")
            last = now


def _write_report(timing: Timing, ds: str) -> None:
    folder = settings().reports_dir / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "ds": ds, "seconds": round(timing.seconds, 1), "peak_gb": round(timing.peak_bytes / 1e9, 2),
        "steps": timing.steps, "tasks": timing.tasks,
    }  # fmt: skip
    (folder / f"{ds}.json").write_text(json.dumps(facts, indent=1))


def _where_time_went(timing: Timing) -> str:
    slowest = sorted(timing.tasks, key=lambda t: -t[2])[:4]
    steps = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in timing.steps)
    tasks = ", ".join(f"{dag}.{task} {seconds:.0f} s" for dag, task, seconds in slowest)
    return (
        f"\n[bold]Time[/bold]  {timing.seconds:.0f} s in all: {steps}.\n      Slowest tasks: {tasks}. "
        f"Peak memory {timing.peak_bytes / 1e9:.1f} GB."
    )


def _next_steps(links: dict[str, str]) -> str:
    pages = "".join(f"\n           {title}: {url}" for title, url in links.items())
    more = "" if "MLflow" in links else "\n           make up    (opens MLflow and the dbt docs, too)"
    following = "lives the next day" if company().generator else "runs the next day"
    return (
        f"[bold]Look[/bold]{pages}{more}\n"
        f"[bold]Next[/bold]       make run   ({following})\n"
        "           make down  (stops engine and Airflow, which stay up for it)"
    )
