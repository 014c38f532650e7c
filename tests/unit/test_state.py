"""The state database when it is opened for the first time."""

import subprocess
import sys

import pytest

from tests.conftest import PROJECT
from warehouse import state
from warehouse.errors import PlatformError

# Opens the database once all have come as far: at the same moment as nearly as can be.
OPEN = """
import sys, time, pathlib
from warehouse import state
here = pathlib.Path(sys.argv[1])
(here / sys.argv[2]).touch()
while len(list(here.glob("*.ready"))) < 6:
    time.sleep(0.001)
state.engine()
"""


def test_six_first_tasks_open_it_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/db/state.db")
    tasks = [
        subprocess.Popen([sys.executable, "-c", OPEN, tmp_path, f"{n}.ready"], cwd=PROJECT, stderr=subprocess.PIPE)
        for n in range(6)
    ]
    said = [task.communicate(timeout=60)[1].decode() for task in tasks]
    assert [task.returncode for task in tasks] == [0] * 6, said
    assert state.newest("raw") is None


def test_a_directory_where_nothing_can_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / ".state.db.lock").mkdir()
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    with pytest.raises(PlatformError, match="the state database does not open .*Is a directory"):
        state.engine()


def test_a_stage_is_whole_or_off_or_neither(tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    stage, ds = "predictions.budget", "2026-03-02"
    with pytest.raises(PlatformError, match="run `mdp score budget` first"):
        state.require(stage, ds, "mdp score budget")
    state.publish(stage, [ds])
    state.switch_off(stage, ds, "28 days of spend are needed", "2026-03-29")
    assert not state.is_published(stage, ds) and state.off(ds)[stage] == state.last_off(stage)
    assert str(state.last_off(stage)) == "28 days of spend are needed; possible from 2026-03-29"
    state.require(stage, ds, "mdp score budget")
    state.publish(stage, [ds])
    assert state.off(ds) == {} and state.is_published(stage, ds)
    state.switch_off(stage, ds, "nobody has left yet")
    state.unpublish(stage, [ds])
    assert state.off(ds) == {} and state.last_off(stage) is None and not state.is_published(stage, ds)
