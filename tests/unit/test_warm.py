"""A step handed to the warm interpreter is the same step: arguments, environment, streams, exit code, and its end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mdp import warm
from tests.conftest import PROJECT

MDP = str(Path(sys.executable).parent / "mdp")


@pytest.fixture(scope="module")
def warm_home(tmp_path_factory):
    home = tmp_path_factory.mktemp("warm") / ("a" * 120)  # longer than a socket's path may be
    home.mkdir()
    with open(home / "warm.log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-P", "-m", "mdp.warm"],
            cwd=home,
            stdout=log,
            stderr=log,
            env=os.environ | {"MDP_HOME": str(home)},
        )
    (home / "server.pid").write_text(str(server.pid))
    end = time.monotonic() + 120
    while not warm.listening(home):
        assert server.poll() is None and time.monotonic() < end, (home / "warm.log").read_text()
        time.sleep(0.2)
    yield home
    server.terminate()
    assert server.wait(20) == 0


def type_step(home, *words, **env):
    return subprocess.run(
        [MDP, *words], cwd=PROJECT, env=os.environ | {"MDP_HOME": str(home)} | env, capture_output=True, text=True
    )


def test_the_step_says_the_same_warm_and_cold(warm_home, tmp_path):
    for words in (("gate", "nonsense", "--ds", "2024-01-01"), ("build", "cleaned", "--ds", "no day"), ("score",)):
        hot, cold = type_step(warm_home, *words), type_step(tmp_path, *words)
        assert (hot.returncode, hot.stdout, hot.stderr) == (cold.returncode, cold.stdout, cold.stderr)
        assert hot.returncode != 0 and hot.stderr


def test_a_step_sees_its_own_environment(warm_home):
    said = type_step(warm_home, "gate", "raw", "--ds", "2024-01-01", MDP_COMPANY="olympus")
    assert said.returncode == 1 and "olympus" in said.stderr


def test_a_command_that_takes_too_long_is_ended(warm_home):
    code = warm.call(warm_home, ["dbt", "--version"], dict(os.environ), warm_home, 60)
    assert code == 0
    with pytest.raises(subprocess.TimeoutExpired):
        warm.call(warm_home, ["dbt", "--version"], dict(os.environ), warm_home, 0.001)


def test_who_ends_the_caller_ends_the_step(warm_home):
    """The step waits for a pipe that nobody writes to; its fork has gone soon after its caller was told to end."""
    pipe = warm_home / "pipe"
    os.mkfifo(pipe)
    waiting_for(lambda: not forks(warm_home))  # those of the tests before
    env = os.environ | {"MDP_HOME": str(warm_home), "MDP_CRM_PASSWORD_FILE": str(pipe), "MDP_CRM_URL": "jdbc:x:y",
                        "MDP_CONNECT_URL": "sc://127.0.0.1:1"}  # fmt: skip
    caller = subprocess.Popen([MDP, "export", "--ds", "2024-01-01"], cwd=PROJECT, env=env, stderr=subprocess.PIPE)
    waiting_for(lambda: forks(warm_home) or caller.poll() is not None)
    caller.send_signal(signal.SIGTERM)
    caller.wait(10)
    waiting_for(lambda: not forks(warm_home))


def forks(home) -> list[psutil.Process]:
    """What the server in `home` is running now."""
    return psutil.Process(int((home / "server.pid").read_text())).children()


def waiting_for(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
