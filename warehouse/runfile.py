"""`run.json`: which processes of ours run, with which ids and ports. Written whole, under a lock, by their launchers."""

import contextlib
import fcntl
import json
import os
from pathlib import Path

import psutil

from warehouse.errors import PlatformError


def read_run(home: Path) -> dict:
    """The content of `run.json`: {"ports": {name: port}, "services": {name: {...}}}; {} before the first start."""
    path = home / "run.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError:
        raise PlatformError(f"{path} is not readable JSON: stop what runs with `make down`, then delete it") from None


@contextlib.contextmanager
def changing_run(home: Path):
    """Yield the content of `run.json` for change, and write it back whole; one writer at a time."""
    home.mkdir(parents=True, exist_ok=True)
    with open(home / ".run.lock", "w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        info = {"ports": {}, "services": {}} | read_run(home)
        yield info
        fresh = home / "run.json.new"
        fresh.write_text(json.dumps(info, indent=2) + "\n")
        os.replace(fresh, home / "run.json")


def record_service(home: Path, name: str, process: psutil.Process, ports: dict[str, int], **more) -> None:
    """Note a started process: its id together with its start time, since process ids are used again."""
    with changing_run(home) as info:
        info["ports"].update(ports)
        info["services"][name] = {"pid": process.pid, "created": process.create_time(), **more}


def service_process(home: Path, name: str) -> psutil.Process | None:
    """The recorded process of service `name` if it is alive (and is that very process), else None."""
    entry = read_run(home).get("services", {}).get(name)
    if not entry or "pid" not in entry:  # a supervisor that gave up before there was a process leaves a state only
        return None
    try:
        process = psutil.Process(entry["pid"])
        same = abs(process.create_time() - entry["created"]) < 1
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.NoSuchProcess, ValueError):  # -1: it is on its way
        return None


def stop_service(home: Path, name: str, patience: float = 20) -> bool:
    """Terminate a recorded process, wait, then kill it and its children; returns whether one ran. Forgets it."""
    process = service_process(home, name)
    if process:
        family = [process, *process.children(recursive=True)]
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
        psutil.wait_procs([process], timeout=patience)
        _, alive = psutil.wait_procs(family, timeout=1)
        for straggler in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                straggler.kill()
        psutil.wait_procs(alive, timeout=5)
    with changing_run(home) as info:
        info["services"].pop(name, None)
    return process is not None
