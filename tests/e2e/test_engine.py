"""The embedded engine as its supervisor sees it: started twice, killed once, killed again, robbed of its port."""

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from mdp import stack
from tests.conftest import PROJECT, mdp
from tests.e2e.privacy import glance
from warehouse import engine as launcher
from warehouse import supervise
from warehouse.errors import EngineDown
from warehouse.runfile import changing_run, read_run, service_process
from warehouse.settings import settings

pytestmark = pytest.mark.engine


@pytest.fixture
def started(tmp_path, tmp_path_factory):
    confs = tmp_path_factory.mktemp("confs")
    (confs / "spark-defaults.conf").write_text(LITTLE_MEMORY)
    said = mdp("warehouse", "start", home=tmp_path, SPARK_CONF_DIR=str(confs)).stdout
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


# Sends phones to each task, shuffles and sorts them, as no step of ours ever would; the frame in the window keeps it at work.
SPILLING = """
from warehouse.session import session
for name in ("in.memory.threshold", "spill.threshold"):
    session().conf.set(f"spark.sql.windowExec.buffer.{name}", "5000")
phones = "select id, concat('138', lpad(id, 8, '0')) as phone from range(400000)"
joined = f"select /*+ broadcast(b) */ a.id, b.phone from ({phones}) a join ({phones}) b on a.phone = b.phone"
counted = "count(phone) over (partition by id % 2 order by phone rows between 100000 preceding and 100000 following)"
session().sql(f"select sum(n) from (select {counted} as n from ({joined}))").collect()
"""
# The source's own Derby sorts phones: in memory as long as they take no more than a quarter of the heap, so rows of 1.5 kB.
SORTING = """
from warehouse.connections import database
from warehouse.session import session
crm = database("crm").jdbc_options()
phones = session().sql("select concat('138', lpad(id, 8, '0')) as phone from range(400000)")
phones.coalesce(1).write.format("jdbc").options(**crm, dbtable="people", createTableColumnTypes="phone varchar(11)").save()
wide = ", ".join(f'cast("phone" as char(250)) as "wide_{n}"' for n in range(3))
sorted_ = f'select "phone", {wide} from people order by "phone" desc'
session().read.format("jdbc").options(**crm, query=sorted_).load().selectExpr("max(struct(*))").collect()
"""
# So little memory (of 2 GB) that what is sent to each task goes to disk, too.
LITTLE_MEMORY = "spark.memory.fraction 0.02\n"
PHONES = {f"138{n:08}" for n in range(400_000)}


def at_work(home, code: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, env=os.environ | {"MDP_HOME": str(home)})


def on_disk(home, kind: str) -> list:
    """The engine's own files of a kind that hold something: shuffle_….data, temp_local_… (spills)."""
    return [path for path in home.glob(f"engine/tmp/blockmgr-*/*/{kind}*") if path.stat().st_size]


def test_a_crashed_engine_is_restarted_once_and_leaves_nothing_to_read(started):
    home = started
    assert "was running already" in mdp("warehouse", "start", home=home).stdout
    mdp("warehouse", "sql", "create table default.kept as select 41 + 1 as answer", home=home)
    mdp("warehouse", "sql", "select count(*) from (select distinct id from range(1000))", home=home)
    of_before = on_disk(home, "shuffle_")
    assert of_before
    kill_engine(home, "up")
    assert not any(path.exists() for path in of_before), "what the killed one left is removed"
    assert mdp("warehouse", "sql", "--csv", "select * from default.kept", home=home).stdout.split() == ["answer", "42"]
    sorting, derbys = at_work(home, SORTING), set()
    while sorting.poll() is None:
        derbys |= {path.relative_to(home).parts[0] for path in home.rglob("tmp/*.tmp")}
        time.sleep(0.01)
    assert sorting.returncode == 0 and derbys == {"sample"}, "what Derby sorts of a source lies with the source"
    spilling = at_work(home, SPILLING)
    end = time.monotonic() + 120
    while not on_disk(home, "temp_local_") and spilling.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert glance(home, PHONES)[0] == [], "while it works"
    kill_engine(home, "crashed")
    for kind in ("shuffle_", "temp_local_", "broadcast_"):
        assert on_disk(home, kind), kind
    assert glance(home, PHONES)[0] == [], "after it was killed"
    assert spilling.wait(60)
    status = mdp("warehouse", "status", home=home, check=False)
    assert "crashed" in status.stdout and status.returncode == 1
    failed = mdp("warehouse", "sql", "select 1", home=home, check=False)
    assert failed.returncode == EngineDown.exit_code and "mdp warehouse start" in failed.stderr
    said = (home / "logs" / "supervisor.log").read_text()
    assert said.count("engine died (exit -9)") == 2 and "engine is up again; failed tasks heal" in said
    assert "not restarted" in said


def test_a_port_that_is_taken_between_choice_and_use_is_chosen_anew(tmp_path, monkeypatch):
    """As by another engine that was started at the same moment."""
    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    conf, real, taken = settings(), launcher.launch, []
    conf.logs_dir.mkdir()
    with changing_run(tmp_path) as info:
        info["ports"] = launcher.preferred_ports()

    def launch(conf, ports):
        if not taken:
            taken.append(socket.create_server(("127.0.0.1", ports["thrift"])))
        return real(conf, ports)

    monkeypatch.setattr(launcher, "launch", launch)
    process = supervise._start(conf)
    try:
        assert read_run(tmp_path)["ports"]["thrift"] != taken[0].getsockname()[1]
        assert "meanwhile: trying others" in (conf.logs_dir / "supervisor.log").read_text()
    finally:
        process.terminate()
        process.wait(30)
        taken[0].close()


class AnotherAirflow(http.server.BaseHTTPRequestHandler):
    """Answers as a healthy Airflow with our DAGs, as another home's does."""

    def do_GET(self):
        healthy = dict.fromkeys(("metadatabase", "scheduler", "dag_processor"), {"status": "healthy"})
        dags = [{"dag_id": name} for name in ("daily", "history", "retrain")]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(healthy | {"dags": dags, "access_token": "t"}).encode())

    do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.mark.slow
@pytest.mark.stack
def test_an_airflow_that_took_our_port_meanwhile_is_not_asked(tmp_path, monkeypatch):
    """Two homes started at the same moment choose the same port: one home's day was run by the other's scheduler."""
    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    real, others = stack.free_port, []

    def taken_since(preferred, named_by):
        port = real(preferred, named_by)
        if not others:
            others.append(http.server.ThreadingHTTPServer(("127.0.0.1", port), AnotherAirflow))
            threading.Thread(target=others[0].serve_forever, daemon=True).start()
        return port

    monkeypatch.setattr(stack, "free_port", taken_since)
    try:
        stack.start_airflow()
        of_before = [service_process(tmp_path, name) for name in stack.AIRFLOW]
        stack.wait_airflow()
        assert read_run(tmp_path)["ports"]["airflow"] != others[0].server_port
        assert not any(process.is_running() for process in of_before if process), "a second scheduler is left"
    finally:
        stack.stop_all()
        others[0].shutdown()


QUIET = """
import time
from ingestion import follow
from warehouse.session import session

follow.KEEP_ALIVE_SECONDS = 1
used = time.monotonic()
print(session().sql("select 1").collect()[0][0])
for _ in range({rests}):
    used = follow.rest(3, used)
time.sleep({sleep})
print(session().sql("select 2").collect()[0][0])
"""


@pytest.mark.slow
def test_whoever_follows_a_quiet_topic_keeps_its_session(tmp_path, monkeypatch):
    """The engine closes a session that is idle for an hour; in this test, for twelve seconds."""
    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    real = launcher.command

    def impatient(*arguments):
        said = real(*arguments)
        at = said.index("spark-internal")
        times = {"defaultSessionTimeout": "12s", "maintenanceInterval": "1s"}
        more = [
            part for key, value in times.items() for part in ("--conf", f"spark.connect.session.manager.{key}={value}")
        ]
        return said[:at] + more + said[at:]

    monkeypatch.setattr(launcher, "command", impatient)
    settings().logs_dir.mkdir()
    with changing_run(tmp_path) as info:
        info["ports"] = launcher.preferred_ports()
    process = supervise._start(settings())
    try:
        rested, slept = (
            subprocess.run([sys.executable, "-c", QUIET.format(rests=rests, sleep=sleep)], cwd=PROJECT,
                           env=os.environ | {"MDP_HOME": str(tmp_path)}, capture_output=True, text=True)
            for rests, sleep in ((7, 0), (0, 18))
        )  # fmt: skip
    finally:
        process.terminate()
        process.wait(30)
    assert rested.stdout.split() == ["1", "2"], rested.stderr
    assert slept.stdout.split() == ["1"] and "SESSION_CLOSED" in slept.stderr, (
        "the engine was patient: nothing is shown"
    )
