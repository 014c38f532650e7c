"""What a person reads when the machine is not ready: one sentence that says what, where and what to do."""

import shutil
import socket
import subprocess
import sys
from collections import namedtuple

import psutil
import pytest

from tests.conftest import PROJECT, mdp
from warehouse import engine
from warehouse.errors import PlatformError
from warehouse.settings import settings


def test_a_named_port_that_is_taken(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        said = mdp("warehouse", "start", home=tmp_path, check=False, MDP_THRIFT_PORT=str(port))
    assert said.returncode == 1 and said.stdout == ""
    assert said.stderr.startswith(f"error: port {port} (MDP_THRIFT_PORT) is taken by another program")
    assert mdp("warehouse", "status", home=tmp_path, check=False).stdout.startswith("warehouse engine is not running")


def test_a_directory_that_cannot_be_written():
    said = mdp("warehouse", "start", home="/proc/nowhere", check=False)
    assert said.returncode == 1 and said.stderr.count("\n") == 1
    assert "/proc/nowhere cannot be written" in said.stderr and "MDP_HOME" in said.stderr


def test_a_full_disk(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**9, 10**9, 10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(PlatformError, match="only 1 MB are free at .*, 500 MB are needed: free some space"):
        engine.check_home(tmp_path)


def test_a_home_that_was_moved(tmp_path, monkeypatch):
    """Spark reads a table whose directory is elsewhere as empty."""
    made, moved = tmp_path / "made", tmp_path / "moved"
    made.mkdir()
    monkeypatch.setenv("MDP_HOME", str(made))
    for _ in ("first", "again"):
        engine.check_unmoved(settings())
    made.rename(moved)
    said = mdp("warehouse", "start", home=moved, check=False)
    assert said.returncode == 1 and said.stderr.count("\n") == 1
    assert f"MDP_HOME is {moved}, but what it holds was made in {made}" in said.stderr


def test_no_python(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)
    done = subprocess.run(["make", "install", "PYTHON="], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "error: no Python 3.11, 3.12 or 3.13 was found" in done.stderr


def test_with_a_cluster_nothing_local_is_started(tmp_path):
    cluster = {"MDP_CONNECT_URL": "sc://spark.internal:15002", "MDP_THRIFT_HOST": "spark.internal"}
    said = mdp("warehouse", "start", home=tmp_path, **cluster).stdout
    assert "using the cluster at sc://spark.internal:15002, nothing local is started" in said
    assert not (tmp_path / "metastore").exists() and not (tmp_path / "run.json").exists()


def test_engine_down_says_what_to_start(tmp_path):
    said = mdp("warehouse", "sql", "select 1", home=tmp_path, check=False)
    assert said.returncode == 75 and "mdp warehouse start" in said.stderr


def test_an_engine_whose_port_another_took_is_not_up(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "START_SECONDS", 5)
    with socket.socket() as other, subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"]) as dying:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ports = dict.fromkeys(("thrift", "connect"), other.getsockname()[1])
        with pytest.raises(PlatformError, match="ended while it was starting"):
            engine.wait_until_up(psutil.Process(dying.pid), ports, tmp_path / "engine.log")
        assert engine.free_port(ports["thrift"], "MDP_THRIFT_PORT") != ports["thrift"]
