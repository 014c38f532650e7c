"""Locks that outlive nobody: each is a lease in the state database that its holder renews and that else expires.

A process that is gone from this host is noticed at once. One on another host, in a container or behind a cut wire, can only
be judged by its silence: once its lease has expired it is taken over, with a line that says whose it was. Its holder may
come back all the same; therefore whoever holds a lease writes nothing to the state database without looking whether it
still does (state.writing), and looks before it points a table elsewhere (state.require_held). The renewing is done by a
process beside it (warehouse/heartbeat.py), which also ends it when its lease is lost while it waits for something.

Times are those of the database where that has a clock of its own (PostgreSQL), so that hosts may disagree.
"""

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import sqlalchemy as sa

from warehouse import heartbeat, state
from warehouse.errors import PlatformError, unknown
from warehouse.settings import settings
from warehouse.state import held, leases

SECONDS = 60.0  # of silence, then a lease has expired
RENEW_SECONDS = 10.0
_number = itertools.count(1)
_process = uuid.uuid4().hex[:16]
_beating: dict[str, subprocess.Popen] = {}  # state database → what renews this process's leases there
_starting = threading.Lock()


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold a named lock; PlatformError if another process holds it. One that is gone or silent for too long has lost it."""
    url, holder = settings().state_url, f"{_process}.{os.getpid()}.{next(_number)}"
    before = _take(name, holder)
    if before:
        print(f"{name} was locked by {_whose(before)}, {_silence(before)}: taken over", file=sys.stderr, flush=True)
    held[name] = holder
    try:
        _tell(url, {"hold": holder, "name": name})
        yield
    finally:
        _tell(url, {"release": holder})
        del held[name]
        with state.engine().begin() as connection:
            connection.execute(leases.delete().where(leases.c.name == name, leases.c.holder == holder))
        _end_heartbeat(url)


def _take(name: str, holder: str):
    """Make the lease ours; returns the one that had it until now, None if nobody had."""
    me = psutil.Process()
    try:
        with state.engine().begin() as connection:
            now = _now(connection)
            values = dict(
                name=name, holder=holder, who=state.user(), host=socket.gethostname(), pid=me.pid,
                pid_started=me.create_time(), acquired_at=now, heartbeat_at=now, expires_at=now + timedelta(seconds=SECONDS),
            )  # fmt: skip
            found = connection.execute(sa.select(leases).where(leases.c.name == name)).mappings().first()
            if found is None:
                connection.execute(leases.insert().values(values))
                return None
            theirs = leases.update().where(leases.c.name == name, leases.c.holder == found["holder"])
            if _state(found, now) != "held" and connection.execute(theirs.values(values)).rowcount:
                return found
    except sa.exc.IntegrityError:  # two at once
        pass
    found = next(iter(_rows(name)), None)
    by = f"by {_whose(found)} since {found['acquired_at']:%H:%M:%S} UTC" if found else "by another process"
    raise PlatformError(
        f"{name} is being worked on {by}: wait for it, or end it, then run again (`mdp doctor locks` shows who is alive)"
    )


def show() -> list[dict]:
    """The leases by name, each with `state`: held, expired (the next to ask gets it), or gone, its process on this host."""
    with state.engine().begin() as connection:
        now = _now(connection)
        found = connection.execute(sa.select(leases).order_by(leases.c.name)).mappings().all()
    return [dict(row, state=_state(row, now)) for row in found]


def free(name: str, force: bool = False) -> str:
    """Take a lease away from who is gone or silent, or by force from who is alive; returns a sentence that says from whom."""
    known = {row["name"]: row for row in show()}
    if name not in known:
        raise unknown("lock", name, known) if known else PlatformError(f"nobody holds a lock, so {name} is free")
    row = known[name]
    if row["state"] == "held" and not force:
        raise PlatformError(
            f"{name} is locked by {_whose(row)}, which was heard of at {row['heartbeat_at']:%H:%M:%S} UTC: end that process, "
            f"or take the lock away with --force (it then stops before it writes again)"
        )
    with state.engine().begin() as connection:
        mine = (leases.c.name == name, leases.c.holder == row["holder"])
        done = connection.execute(leases.delete().where(*mine)).rowcount
    return f"{name} is free; it was {row['state']}: {_whose(row)}" if done else f"{name} was given back meanwhile"


def _rows(name: str) -> list:
    with state.engine().connect() as connection:
        return connection.execute(sa.select(leases).where(leases.c.name == name)).mappings().all()


def _now(connection: sa.Connection) -> datetime:
    return connection.scalar(heartbeat.clock(connection.dialect.name)) or state.current_time()


def _state(row, now: datetime) -> str:
    if row["host"] == socket.gethostname() and _gone(row):
        return "gone"
    return "held" if now < row["expires_at"] else "expired"


def _gone(row) -> bool:
    try:
        return abs(psutil.Process(row["pid"]).create_time() - row["pid_started"]) > 1
    except psutil.NoSuchProcess:
        return True


def _whose(row) -> str:
    return f"process {row['pid']} on {row['host']} ({row['who']})"


def _silence(row) -> str:
    is_here = row["host"] == socket.gethostname() and _gone(row)
    return "which is gone" if is_here else f"last heard of at {row['heartbeat_at']:%Y-%m-%d %H:%M:%S} UTC"


# -- the process that renews --------------------------------------------------------------------------------------------


def _tell(url: str, what: dict) -> None:
    """Hand a line to the heartbeat, started for the first lease; one that died is started anew with all that is held."""
    with _starting:
        beating = _beating.get(url)
        lines = [what]
        if "hold" in what and (beating is None or beating.poll() is not None):
            beating = _beating[url] = _start_heartbeat()
            about = {"url": url, "seconds": SECONDS, "every": RENEW_SECONDS, "path": list(map(str, sys.path))}
            lines = [about, *({"hold": holder, "name": name} for name, holder in list(held.items()))]
        if beating:
            with contextlib.suppress(OSError):
                beating.stdin.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def _start_heartbeat() -> subprocess.Popen:
    """In a session of its own: Ctrl-C is for the command, which may hold its leases until it has cleared up."""
    return subprocess.Popen(
        [sys.executable, "-S", "-E", str(Path(heartbeat.__file__)), str(os.getpid())],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0, start_new_session=True,
    )  # fmt: skip


def _end_heartbeat(url: str) -> None:
    """End it with the last lease."""
    with _starting:
        if held or url not in _beating:
            return
        beating = _beating.pop(url)
        beating.stdin.close()
        try:
            beating.wait(5)
        except subprocess.TimeoutExpired:
            beating.kill()
            beating.wait()
