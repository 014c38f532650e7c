"""Locks in the state database, held, lost and taken over by real processes that believe to be on other hosts."""

import contextlib
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import psutil
import pytest
import sqlalchemy as sa

from mdp import show
from tests.conftest import PROJECT, mdp
from warehouse import leases, state
from warehouse.errors import LeaseLost, PlatformError

SECONDS, RENEW = 2.0, 0.3
ENOUGH = 6.0  # seconds of a lease that must not expire however busy the machine is
# Arguments: its host's name, what it does while it holds the lock, how long its lease lasts.
HOLDER = f"""
import ctypes, socket, subprocess, sys, time
socket.gethostname = lambda: sys.argv[1]
from warehouse import leases, state
from warehouse.errors import PlatformError
leases.SECONDS, leases.RENEW_SECONDS = float(sys.argv[3]), {RENEW}
try:
    with leases.lock("ingest web__events"):
        print("has it", flush=True)
        exec(sys.argv[2])
except PlatformError as error:
    print(error, flush=True)
    sys.exit(1)
"""
PUBLISH = "sys.stdin.readline(); state.publish('raw', ['2026-03-02']); print('published', flush=True)"
WAIT = "sys.stdin.readline()"


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path, monkeypatch):
    """An empty state database; leases there last seconds."""
    url = f"sqlite:///{tmp_path}/state.db"
    if request.param == "postgres":
        server = request.getfixturevalue("postgres")
        url = server.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("MDP_STATE_URL", url)
    monkeypatch.setattr(leases, "SECONDS", SECONDS)
    monkeypatch.setattr(leases, "RENEW_SECONDS", RENEW)
    yield request.param
    with state.engine().begin() as connection:
        state.metadata.drop_all(connection)
        connection.execute(sa.text("drop table mdp_version"))
    state.engine().dispose()
    state._engine.cache_clear()


@pytest.fixture
def holder():
    """Start a process with these arguments of HOLDER; it has printed its first line."""
    started = []

    def start(host: str, work: str = WAIT, seconds: float = SECONDS, wait: bool = True) -> subprocess.Popen:
        made = subprocess.Popen(
            [sys.executable, "-c", HOLDER, host, work, str(seconds)], cwd=PROJECT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(made)
        if wait:
            made.said = made.stdout.readline().strip()
        return made

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.communicate()


def finish(process: subprocess.Popen) -> tuple[int, str]:
    """Exit code, and all that it said since."""
    out, err = process.communicate("\n", timeout=30)
    return process.returncode, out + err


def heartbeat_of(process: subprocess.Popen) -> psutil.Process:
    (found,) = psutil.Process(process.pid).children()
    return found


def once_free(capsys, seconds: float = 20):
    """Take the lock as soon as it can be had; returns the seconds that took and the line about whose it was."""
    started = time.monotonic()
    while True:
        try:
            with leases.lock("ingest web__events"):
                state.publish("cleaned", ["2026-03-02"])
            return time.monotonic() - started, capsys.readouterr().err
        except LeaseLost:
            raise
        except PlatformError as error:
            assert "is being worked on by process" in str(error) and time.monotonic() - started < seconds
            time.sleep(0.1)


def test_a_holder_that_lets_no_other_thread_run_keeps_its_lock(database, holder):
    long = int(1.5 * ENOUGH)
    busy = holder("pod-1", f"ctypes.PyDLL(None).sleep({long}); print('done', flush=True)", seconds=ENOUGH)
    assert busy.said == "has it"
    end = time.monotonic() + long - 1
    while time.monotonic() < end:
        with pytest.raises(PlatformError, match=f"process {busy.pid} on pod-1"):
            leases.lock("ingest web__events").__enter__()
        time.sleep(0.1)
    assert finish(busy) == (0, "done\n")


def test_one_killed_on_this_host_is_noticed_at_once(database, holder, capsys):
    killed = holder(socket.gethostname(), seconds=ENOUGH)
    killed.kill(), killed.wait()
    seconds, said = once_free(capsys)
    assert (
        seconds < ENOUGH / 2 and f"ingest web__events was locked by process {killed.pid} on" in said and "gone" in said
    )


def test_one_killed_on_another_host_is_waited_for_as_long_as_its_lease_lasts(database, holder, capsys):
    killed = holder("pod-1")
    killed.kill(), killed.wait()
    with pytest.raises(PlatformError, match=f"is being worked on by process {killed.pid} on pod-1 .*since .* UTC"):
        leases.lock("ingest web__events").__enter__()
    seconds, said = once_free(capsys)
    assert seconds < SECONDS + 5
    assert f"locked by process {killed.pid} on pod-1 (" in said and "last heard of at" in said and "taken over" in said


def test_of_many_that_ask_for_an_expired_lock_one_gets_it(database, holder):
    killed = holder("pod-1")
    killed.kill(), killed.wait()
    time.sleep(SECONDS + 0.2)
    at_once = [holder(f"pod-{n}", seconds=ENOUGH, wait=False) for n in range(3)]
    said = [process.stdout.readline() for process in at_once]  # the one that has it holds it till then
    assert said.count("has it\n") == 1, said
    assert sum("is being worked on by process" in text for text in said) == 2, said


def test_a_stopped_holder_does_not_write_once_its_lock_is_taken(database, holder, capsys):
    stopped = holder("pod-1", PUBLISH)
    stopped.send_signal(signal.SIGSTOP)
    seconds, said = once_free(capsys)
    assert "pod-1" in said
    time.sleep(SECONDS)  # its heartbeat has seen it by now; if not, what is written is refused all the same
    stopped.send_signal(signal.SIGCONT)
    code, said = finish(stopped)
    assert code in (-signal.SIGTERM, 1) and "published" not in said
    assert "the lock of ingest web__events was" in said
    assert not state.is_published("raw", "2026-03-02") and state.is_published("cleaned", "2026-03-02")


def test_a_paused_container_does_not_write_even_if_its_heartbeat_wakes_up_later(database, holder, capsys):
    paused = holder("pod-1", PUBLISH)
    beat = heartbeat_of(paused)
    for one in (paused, beat):
        one.send_signal(signal.SIGSTOP)
    once_free(capsys)
    paused.send_signal(signal.SIGCONT)
    paused.stdin.write("\n"), paused.stdin.flush()
    assert "the lock of ingest web__events was freed" in paused.stdout.readline()
    code, said = finish(paused)  # which ends its heartbeat
    assert code == 1 and "published" not in said and not state.is_published("raw", "2026-03-02")


def test_one_that_waits_for_a_child_is_ended_with_it(database, holder):
    waiting = holder("pod-1", "subprocess.run([sys.executable, '-c', 'import time; time.sleep(300)'])")
    deadline, children = time.monotonic() + 20, []
    while len(children) < 2 and time.monotonic() < deadline:  # the child starts after the lock is taken
        children = psutil.Process(waiting.pid).children()
        time.sleep(0.05)
    beat, asleep = sorted(children, key=lambda p: "sleep" in " ".join(p.cmdline()))
    leases.free("ingest web__events", force=True)
    code, said = finish(waiting)
    assert code == -signal.SIGTERM and "it stops here" in said
    psutil.wait_procs([beat, asleep], timeout=5)
    assert not asleep.is_running() and not beat.is_running()


def test_the_heartbeat_ends_with_the_last_lock_and_is_started_anew_if_it_was_killed(database, monkeypatch):
    monkeypatch.setattr(leases, "SECONDS", ENOUGH)

    def beats():
        return [p for p in psutil.Process().children() if "heartbeat" in " ".join(p.cmdline())]

    with leases.lock("a"):
        (first,) = beats()
        first.kill(), first.wait()
        with leases.lock("b"):
            (second,) = [p for p in beats() if p.pid != first.pid]
            time.sleep(ENOUGH + 0.5)
            assert {row["name"]: row["state"] for row in leases.show()} == {"a": "held", "b": "held"}
        state.publish("raw", ["2026-03-02"])
        assert second.is_running()
    assert not beats() and leases.show() == [] and state.held == {}


def test_doctor_shows_and_frees(database, holder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    name, alive = "ingest web__events", holder("pod-1", seconds=ENOUGH)

    def shown() -> str:
        show.locks()
        return capsys.readouterr().out

    assert all(text in shown() for text in (name, f"{alive.pid} on pod-1", "held"))
    with pytest.raises(PlatformError, match="end that process, or take the lock away with --force"):
        leases.free(name)
    with pytest.raises(PlatformError, match="unknown lock 'ingest': known are ingest web__events"):
        leases.free("ingest")
    alive.kill(), alive.wait()
    with state.engine().begin() as connection:  # as if it had been silent for long
        connection.execute(state.leases.update().values(expires_at=state.leases.c.acquired_at))
    said = shown()
    assert "expired" in said and "mdp doctor locks --free 'ingest web__events'" in said
    assert "is free; it was expired: process" in mdp("doctor", "locks", "--free", name, home=tmp_path).stdout
    assert shown() == "no lock is held\n"
    holder("pod-1", seconds=ENOUGH)
    assert "is free; it was held" in leases.free(name, force=True)


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_the_clock_is_that_of_the_database(database, monkeypatch):
    """SQLite has none of its own."""
    before = state.current_time()
    monkeypatch.setattr(state, "current_time", lambda: before.replace(year=2000))
    with leases.lock("a"):
        assert abs((leases.show()[0]["acquired_at"] - before).total_seconds()) < 60


def test_a_home_of_before_opens(tmp_path, monkeypatch):
    """Its table of locks had no expiry; it is left alone."""
    with sqlite3.connect(tmp_path / "state.db") as old:
        old.execute("create table locks (name varchar(128) primary key, pid integer, host varchar(128))")
        old.execute("insert into locks values ('mdp run', 1, 'a-container-that-is-gone')")
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    with leases.lock("mdp run"):
        assert [row["name"] for row in leases.show()] == ["mdp run"]
    assert sa.inspect(state.engine()).has_table("locks")
