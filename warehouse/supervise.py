"""The engine's supervisor: starts the JVM, notices when it dies, says so and restarts it once an hour at most.

Tasks never start the engine (two would race for the metastore); they fail and their scheduler retries, which heals once
the supervisor has the engine up again. A second death within the hour is not restarted: something is wrong that a person
must see. (A stack stays up for weeks: of one death a month each is a first.)
Run as `python -m warehouse.supervise`; `mdp warehouse start` does.
"""

import contextlib
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import psutil

from warehouse import engine
from warehouse.errors import PlatformError
from warehouse.runfile import changing_run, read_run, record_service, service_process, stop_service
from warehouse.settings import PROJECT, Settings, settings

RESTARTS = 1
FORGIVEN_SECONDS = 3600  # so long up, the engine's earlier deaths count no more


def main() -> None:
    """Supervise until SIGTERM; the exit code is 1 if the engine could not be kept up."""
    conf = settings()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    process, n_deaths, again = None, 0, ""
    try:
        while n_deaths <= RESTARTS:
            process, began = _start(conf), time.monotonic()
            _set_state(conf, "up")
            _say(conf, f"engine is up{again}")
            code = process.wait()
            n_deaths = 1 + (n_deaths if time.monotonic() - began < FORGIVEN_SECONDS else 0)
            again = " again; failed tasks heal by their retries"
            _say(conf, f"engine died (exit {code}), log: {conf.logs_dir / 'engine.log'}")
        _set_state(conf, "crashed")
        _say(
            conf,
            f"engine died {n_deaths} times within the hour: not restarted; look at the log, then `mdp warehouse start`",
        )
        sys.exit(1)
    except PlatformError as error:
        _set_state(conf, "crashed")
        _say(conf, str(error))
        sys.exit(1)
    finally:
        if process is not None and process.poll() is None:
            process.terminate()
            with contextlib.suppress(Exception):
                process.wait(20)
            if process.poll() is None:
                process.kill()


def _start(conf: Settings):
    """The engine's process, once both doors listen.

    Another engine, started at the same moment, may take a port between our choice and our use of it: then we choose anew.
    """
    for tries_left in (2, 1, 0):
        known = read_run(conf.home).get("ports", {})
        ports = {name: engine.free_port(known[name], f"MDP_{name.upper()}_PORT") for name in ("thrift", "connect")}
        process = engine.launch(conf, ports)
        record_service(conf.home, "engine", psutil.Process(process.pid), ports, state="starting")
        try:
            engine.wait_until_up(psutil.Process(process.pid), ports, conf.logs_dir / "engine.log")
            return process
        except PlatformError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            if not tries_left or process.returncode is None or not any(map(engine.is_listening, ports.values())):
                raise
            _say(conf, f"another program took port {' or '.join(map(str, ports.values()))} meanwhile: trying others")


def _set_state(conf: Settings, state: str) -> None:
    with changing_run(conf.home) as info:
        info["services"].setdefault("engine", {})["state"] = state


def _say(conf: Settings, text: str) -> None:
    with open(conf.logs_dir / "supervisor.log", "a") as log:
        log.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}\n")


# -- what the command line calls --------------------------------------------------------------------------------------


def start(wait: bool = True) -> str:
    """Start supervisor and engine unless they run; returns a sentence. With `wait`, only once both doors listen."""
    conf = settings()
    if not conf.embedded:
        return f"MDP_CONNECT_URL is set: using the cluster at {conf.connect_url}, nothing local is started"
    engine.check_home(conf.home)
    engine.check_unmoved(conf)
    conf.logs_dir.mkdir(parents=True, exist_ok=True)
    fresh = service_process(conf.home, "supervisor") is None
    if fresh:
        stop_service(conf.home, "engine")  # an engine without its supervisor is left over from a kill
        ports = engine.preferred_ports()
        with open(conf.logs_dir / "supervisor.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "warehouse.supervise"],
                cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        record_service(conf.home, "supervisor", psutil.Process(process.pid), ports)
        with changing_run(conf.home) as info:
            info["services"]["engine"] = {"pid": -1, "created": 0, "state": "starting"}
    if wait:
        wait_up()
    return f"warehouse engine {'started' if fresh else 'was running already'}: {where(settings())}"


def wait_up() -> None:
    """Return once the supervised engine is up; PlatformError with the end of the supervisor's log if it is not."""
    conf = settings()
    end = time.monotonic() + engine.START_SECONDS + 10
    while time.monotonic() < end:
        state = read_run(conf.home).get("services", {}).get("engine", {}).get("state")
        if state == "up":
            return
        if state == "crashed" or service_process(conf.home, "supervisor") is None:
            break
        time.sleep(0.2)
    log = conf.logs_dir / "supervisor.log"
    tail = "\n".join(log.read_text().splitlines()[-10:]) if log.exists() else ""
    raise PlatformError(f"the warehouse engine is not up; the end of {log}:\n{tail}")


def stop() -> str:
    """Stop engine and supervisor; returns a sentence. Stopping twice is harmless."""
    conf = settings()
    ran = stop_service(conf.home, "supervisor", patience=30)
    ran = stop_service(conf.home, "engine") or ran
    return "warehouse engine stopped" if ran else "warehouse engine was not running"


def status() -> tuple[bool, str]:
    """Whether the engine serves, and a sentence about it."""
    conf = settings()
    if not conf.embedded:
        return True, f"using the cluster at {conf.connect_url}; nothing local is started"
    entry = read_run(conf.home).get("services", {}).get("engine")
    process = service_process(conf.home, "engine")
    if process and entry["state"] == "up":
        used = process.memory_info().rss / 1e9
        return True, f"warehouse engine up, pid {process.pid}, {used:.1f} GB: {where(conf)}"
    if entry:
        state = entry["state"] if entry["state"] != "up" else "dead, being restarted"
        return False, f"warehouse engine is {state}; logs: {conf.logs_dir}"
    return False, "warehouse engine is not running: start it with `mdp warehouse start`"


def where(conf: Settings) -> str:
    """Both doors' addresses."""
    return f"Thrift {conf.thrift_host}:{conf.thrift_port}, Spark Connect {conf.connect_url}"


if __name__ == "__main__":
    main()
