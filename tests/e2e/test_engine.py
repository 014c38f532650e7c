"""The embedded engine as its supervisor sees it: started twice, killed once, killed again."""

import os
import signal
import time

import pytest

from tests.conftest import mdp
from warehouse.runfile import read_run

pytestmark = pytest.mark.engine


@pytest.fixture
def started(tmp_path):
    said = mdp("warehouse", "start", home=tmp_path).stdout
    assert said.startswith("warehouse engine started: Thrift 127.0.0.1:")
    yield tmp_path
    mdp("warehouse", "stop", home=tmp_path)


def kill_engine(home, wanted: str) -> None:
    """kill -9 the JVM, then wait for the state `wanted` of another process (or of none)."""
    pid = engine(home)["pid"]
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 150
    while engine(home)["state"] != wanted or (wanted == "up" and engine(home)["pid"] == pid):
        assert time.monotonic() < end, (home / "logs" / "supervisor.log").read_text()
        time.sleep(0.2)


def engine(home) -> dict:
    return read_run(home)["services"]["engine"]


def test_a_crashed_engine_is_restarted_once(started):
    home = started
    assert "was running already" in mdp("warehouse", "start", home=home).stdout
    mdp("warehouse", "sql", "create table default.kept as select 41 + 1 as answer", home=home)
    kill_engine(home, "up")
    assert mdp("warehouse", "sql", "--csv", "select * from default.kept", home=home).stdout.split() == ["answer", "42"]
    kill_engine(home, "crashed")
    status = mdp("warehouse", "status", home=home, check=False)
    assert "crashed" in status.stdout and status.returncode == 1
    failed = mdp("warehouse", "sql", "select 1", home=home, check=False)
    assert failed.returncode == 1 and "mdp warehouse start" in failed.stderr
    said = (home / "logs" / "supervisor.log").read_text()
    assert said.count("engine died (exit -9)") == 2 and "engine is up again; failed tasks heal" in said
    assert "not restarted" in said
