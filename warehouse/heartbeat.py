"""Renews the leases of the process that started it, until that is gone, stopped or holds none (warehouse/leases.py).

A process of its own, because a thread waits while a library holds the interpreter's lock. It renews for a process that can
run: one that was stopped (SIGSTOP, Ctrl-Z) must not keep others out. When a lease is another's by now, or could not be
renewed for as long as it lasts, it says so and ends that process with what it started in its session: it may be waiting
for dbt or for the engine, and must not go on afterwards.

It starts as a bare interpreter (about 10 ms) and imports the database's client when the first renewal is due.
"""

import json
import os
import select
import signal
import sys
import time
from datetime import UTC, datetime, timedelta


def clock(dialect: str):
    """The query for the database's own time in UTC; of a null where it has none but this host's."""
    import sqlalchemy as sa

    utc = sa.func.timezone("UTC", sa.func.clock_timestamp()) if dialect == "postgresql" else sa.null()
    return sa.select(sa.type_coerce(utc, sa.DateTime))


class Heartbeat:
    """The leases to renew (holder → name), as the lines on standard input say."""

    def __init__(self, parent: int):
        self.parent, self.about, self.held, self.rest = parent, None, {}, b""
        self.renewed = time.monotonic()
        self.due = self.renewed + 3600

    def listen(self, seconds: float) -> bool:
        """Take up what the parent says within so many seconds; False once it has closed the line."""
        while select.select([0], [], [], max(0.0, seconds))[0]:
            if not (data := os.read(0, 1 << 16)):
                return False
            *lines, self.rest = (self.rest + data).split(b"\n")
            for line in map(json.loads, lines):
                if "url" in line:
                    self.about, self.due = line, time.monotonic() + line["every"]
                    sys.path[:] = line["path"]
                elif "hold" in line:
                    self.held[line["hold"]] = line["name"]
                else:
                    self.held.pop(line["release"], None)
            seconds = 0
        return True

    def run(self) -> None:
        while self.listen(self.due - time.monotonic()) and os.getppid() == self.parent:
            if time.monotonic() >= self.due and self.about:
                self.beat()

    def beat(self) -> None:
        """Renew what is held; end the parent if something is not held any more."""
        import psutil

        asked, is_stopped, fault = time.monotonic(), False, None
        try:
            is_stopped = psutil.Process(self.parent).status() == psutil.STATUS_STOPPED
            there = self.ask(is_stopped)
        except psutil.NoSuchProcess:
            return
        except Exception as error:
            fault = str(error).strip().splitlines()[0]
        else:
            before = dict(self.held)
            # a lease that was given back meanwhile was said so before
            if self.listen(0) and (lost := {h: n for h, n in self.held.items() if h in before and h not in there}):
                names = ", ".join(sorted(lost.values()))
                self.end(f"the lock of {names} was taken over or freed, because this run was not heard of for a while")
            if not is_stopped:
                self.renewed = asked
        if fault and time.monotonic() - self.renewed > self.about["seconds"]:
            self.end(
                f"the lock of {', '.join(sorted(self.held.values()))} could not be renewed for {self.about['seconds']:.0f} s, "
                f"another may have it by now ({fault})"
            )
        self.due = time.monotonic() + (min(1.0, self.about["every"]) if is_stopped or fault else self.about["every"])

    def ask(self, is_stopped: bool) -> set:
        """The holders among ours that the database knows, renewed unless the parent is stopped."""
        leases, connection = self.connect()
        mine = leases.c.holder.in_(list(self.held))
        with connection:
            now = connection.scalar(clock(connection.dialect.name)) or datetime.now(UTC).replace(tzinfo=None)
            if not is_stopped:
                until = now + timedelta(seconds=self.about["seconds"])
                connection.execute(leases.update().where(mine).values(heartbeat_at=now, expires_at=until))
            there = set(connection.scalars(leases.select().with_only_columns(leases.c.holder).where(mine)))
            connection.commit()
        return there

    def connect(self):
        import sqlalchemy as sa

        leases = sa.table(
            "leases", sa.column("holder"), sa.column("heartbeat_at", sa.DateTime), sa.column("expires_at", sa.DateTime)
        )
        url = self.about["url"]
        waits = (
            {"timeout": 5} if url.startswith("sqlite")
            else {"connect_timeout": 5, "options": "-c statement_timeout=5000"} if url.startswith("postgresql")
            else {}
        )  # fmt: skip
        return leases, sa.create_engine(url, poolclass=sa.pool.NullPool, connect_args=waits).connect()

    def end(self, why: str) -> None:
        """Say why, then end the parent and its children of the same session; ends this process, too."""
        import psutil

        print(f"error: {why}: it stops here; run it again once nobody is at it", file=sys.stderr, flush=True)
        session = os.getsid(self.parent)
        for child in psutil.Process(self.parent).children(recursive=True):
            if child.pid != os.getpid() and os.getsid(child.pid) == session:
                child.terminate()
        os.kill(self.parent, signal.SIGTERM)
        sys.exit(1)


if __name__ == "__main__":
    Heartbeat(int(sys.argv[1])).run()
