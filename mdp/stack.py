"""The local stack beside the engine: Airflow's three processes, the MLflow UI and the dbt docs.

Each runs in a session of its own on loopback, logs to `$MDP_HOME/logs/<name>.log` and is recorded in `run.json` with its
id and port; `stop_all` ends exactly these. (`airflow standalone` is not used: it leaves its children when stopped.)
"""

import contextlib
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil

from mdp.build import dbt_environment
from warehouse import engine, state, supervise
from warehouse.company import company, folder
from warehouse.engine import check_home, free_port
from warehouse.errors import PlatformError
from warehouse.runfile import read_run, record_service, service_process, stop_service
from warehouse.settings import PROJECT, Settings, settings, whole

AIRFLOW = ("airflow-api", "airflow-scheduler", "airflow-dags")
SERVICES = ("airflow-scheduler", "airflow-dags", "airflow-api", "mlflow", "dbt-docs", "warm")
# Port in run.json → (title, service, path) of a page.
PAGES = {
    "airflow": ("Airflow", "airflow-api", "/dags/daily"),
    "mlflow": ("MLflow", "mlflow", "/#/experiments"),
    "docs": ("dbt docs", "dbt-docs", "/static_index.html"),
}
UP_SECONDS = 120


def start_airflow() -> None:
    """Start api-server, scheduler and dag-processor unless all three run; `wait_airflow` says when they are up."""
    conf = settings()
    if all(service_process(conf.home, name) for name in AIRFLOW):
        return
    for name in AIRFLOW:  # one of them alone: a second scheduler beside it would take the same tasks
        stop_service(conf.home, name)
    port = free_port(whole("MDP_AIRFLOW_PORT", 8080), "MDP_AIRFLOW_PORT")
    env = airflow_environment(conf, port)
    _airflow_once(conf, env)
    _spawn(
        conf, "airflow-api", ["airflow", "api-server", "--port", str(port), "--workers", "1"], env, {"airflow": port}
    )
    # Its log server would listen on all interfaces; the API server reads the logs from this machine's disk.
    _spawn(conf, "airflow-scheduler", ["airflow", "scheduler", "--skip-serve-logs"], env)
    _spawn(conf, "airflow-dags", ["airflow", "dag-processor"], env)


def wait_airflow() -> None:
    """Return once API, scheduler and dag-processor are healthy, on another port if one took ours since it was chosen.

    Only our own API server is believed: another home's, started at the same moment, would take our runs for its own.
    """
    from mdp.airflow import Airflow

    conf, tries_left = settings(), 2
    end = time.monotonic() + UP_SECONDS
    while time.monotonic() < end:
        ended = [name for name in AIRFLOW if service_process(conf.home, name) is None]
        if "airflow-api" in ended and tries_left and engine.is_listening(read_run(conf.home)["ports"]["airflow"]):
            start_airflow()
            tries_left -= 1
        elif ended:
            raise PlatformError(f"{ended[0]} ended while starting; the end of its log:\n{log_tail(conf, ended[0])}")
        with contextlib.suppress(OSError, ValueError):
            if _serves(conf, "airflow-api", "airflow") and Airflow().healthy():
                return
        time.sleep(0.3)
    raise PlatformError(f"Airflow is not healthy after {UP_SECONDS} s: look into {conf.logs_dir}/airflow-*.log")


def _serves(conf: Settings, name: str, port: str) -> bool:
    """Whether it is the service itself, or a child of it, that listens on its port (named as in run.json)."""
    process = service_process(conf.home, name)
    with contextlib.suppress(psutil.Error):
        family = [process, *process.children(recursive=True)] if process else []
        return any(read_run(conf.home)["ports"][port] in engine.doors(member) for member in family)
    return False


def start_warm() -> None:
    """Start the warm interpreter (mdp/warm.py) unless it runs; commands use it once it listens, and need not wait."""
    conf = settings()
    if not service_process(conf.home, "warm"):
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        # -P: its directory is MDP_HOME, whose folder `sample` must not be taken for the package of that name.
        _spawn(conf, "warm", ["python", "-P", "-m", "mdp.warm"], env)


def start_mlflow() -> None:
    """Start the MLflow UI on the local store unless it runs."""
    conf = settings()
    if service_process(conf.home, "mlflow"):
        return
    port = free_port(whole("MDP_MLFLOW_PORT", 5000), "MDP_MLFLOW_PORT")
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        conf.mlflow_uri,
        "--default-artifact-root",
        str(conf.home / "mlflow" / "artifacts"),
    ]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    _spawn(conf, "mlflow", command, os.environ | quiet, {"mlflow": port})


def start_docs() -> None:
    """Generate the dbt docs and serve them unless they are served."""
    conf = settings()
    target = conf.home / "dbt" / "target"
    if service_process(conf.home, "dbt-docs"):
        return
    port = free_port(whole("MDP_DOCS_PORT", 8081), "MDP_DOCS_PORT")
    day = state.newest("marts") or "1970-01-01"  # the docs show compiled SQL: of the newest day, or before there is one
    days = {"MDP_DS": day, "MDP_FROM_DS": day, "MDP_FIRST_DAY": state.fact("first_day") or day}
    done = subprocess.run(
        [str(_bin("dbt")), "docs", "generate", "--static", "--quiet"],
        cwd=PROJECT / "dbt_project", env=os.environ | dbt_environment() | days, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise PlatformError(f"dbt docs generate failed:\n{done.stdout[-2000:]}")
    command = ["python", "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(target)]
    _spawn(conf, "dbt-docs", command, dict(os.environ), {"docs": port})


def up(say) -> None:
    """Start everything that has a page, leave it running and say the links."""
    say(supervise.start(wait=False))
    start_warm()
    start_mlflow()
    start_airflow()
    wait_airflow()
    if settings().embedded:
        supervise.wait_up()
    engine.warm_up()
    start_docs()
    for port, (_, service, path) in PAGES.items():
        _wait_for_page(service, port, path)
    found = links()
    for title, url in found.items():
        say(f"{title:<9} {url}")
    say("stop them with `make down`; live the next day with `make run`")


def reset(ask) -> None:
    """Stop everything and delete what lies in MDP_HOME; `ask` (text) is called before, unless None."""
    home = settings().home
    if ask:
        ask(f"delete everything in {home}?")
    stop_all()
    for path in home.iterdir() if home.exists() else ():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def shell_exports() -> str:
    """`export` lines for dbt and airflow in a shell."""
    conf = settings()
    port = read_run(conf.home).get("ports", {}).get("airflow", 8080)
    first_day = state.fact("first_day")
    found = (
        dbt_environment()
        | ({"MDP_FIRST_DAY": first_day} if first_day else {})
        | {
            k: v
            for k, v in airflow_environment(conf, port).items()
            if k.startswith("AIRFLOW") or k in ("MDP_HOME", "MDP_COMPANY")
        }
    )
    return "\n".join(f"export {key}={shlex.quote(value)}" for key, value in sorted(found.items()))


def running() -> set[str]:
    """Names of our services that run now."""
    return {name for name in (*SERVICES, "engine") if service_process(settings().home, name)}


def stop_all(but: frozenset[str] | set[str] = frozenset()) -> list[str]:
    """Stop everything that we started, `but` some; returns the names of what ran."""
    conf = settings()
    stopped = [name for name in SERVICES if name not in but and stop_service(conf.home, name)]
    if conf.embedded and "engine" not in but and "not running" not in supervise.stop():
        stopped.append("engine")
    return stopped


def links() -> dict[str, str]:
    """Name → address of what answers now."""
    conf = settings()
    ports = read_run(conf.home).get("ports", {})
    return {
        title: f"http://127.0.0.1:{ports[key]}{path}"
        for key, (title, service, path) in PAGES.items()
        if service_process(conf.home, service)
    }


def _wait_for_page(service: str, port: str, path: str) -> None:
    """Return once the service itself serves its page; PlatformError if it ended or does not."""
    conf, end = settings(), time.monotonic() + UP_SECONDS
    url = f"http://127.0.0.1:{read_run(conf.home)['ports'][port]}{path}"
    while time.monotonic() < end:
        if service_process(conf.home, service) is None:
            raise PlatformError(
                f"{service} ended while starting: run `make up` again; the end of its log:\n{log_tail(conf, service)}"
            )
        with contextlib.suppress(OSError):
            if _serves(conf, service, port):
                urllib.request.urlopen(url, timeout=5).close()
                return
        time.sleep(0.3)
    raise PlatformError(f"{url} does not answer after {UP_SECONDS} s: look into {conf.logs_dir}")


def airflow_environment(conf: Settings, port: int) -> dict[str, str]:
    """Airflow's settings; each was found by a failure without it (see docs/decisions.md)."""
    home = conf.home / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    given = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__DEFAULT_TIMEZONE": company().timezone,
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True" if conf.schedule else "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",  # only because everything binds to loopback
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API_AUTH__JWT_SECRET": _secret(conf, "airflow_jwt"),
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        # A DAG file that changed is parsed at once; the others wait (each parse is a process of its own).
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "MDP_HOME": str(conf.home),
        "MDP_COMPANY": str(folder()),
    }
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return env | given


def _airflow_once(conf: Settings, env: dict[str, str]) -> None:
    """Create or upgrade Airflow's own database; a second start finds the marker and skips the slow check."""
    import importlib.metadata

    version = importlib.metadata.version("apache-airflow")
    marker = conf.home / "airflow" / f".migrated-{version}"
    if marker.exists():
        return
    done = subprocess.run([str(_bin("airflow")), "db", "migrate"], env=env, capture_output=True, text=True)
    if done.returncode:
        raise PlatformError(f"airflow db migrate failed:\n{done.stderr[-2000:]}")
    marker.touch()


def _spawn(conf: Settings, name: str, command: list[str], env: dict, ports: dict[str, int] | None = None) -> None:
    check_home(conf.home)
    conf.logs_dir.mkdir(parents=True, exist_ok=True)
    with open(conf.logs_dir / f"{name}.log", "ab") as log:
        process = subprocess.Popen(
            [str(_bin(command[0])), *command[1:]],
            env=env, cwd=conf.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    record_service(conf.home, name, psutil.Process(process.pid), ports or {})


def _bin(name: str) -> Path:
    return Path(sys.executable).parent / name


def _secret(conf: Settings, name: str) -> str:
    path = conf.home / "keys" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(secrets.token_hex(48))
    return path.read_text()


def log_tail(conf: Settings, name: str, lines: int = 12) -> str:
    """The last lines of a service's log."""
    path = conf.logs_dir / f"{name}.log"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"
