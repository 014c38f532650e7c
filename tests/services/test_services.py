"""The services that other tests stand on: each answers, keeps what it confirmed through a crash, and is closed to others."""

import json
import subprocess
import sys

import psutil
import pytest

from tests.conftest import PROJECT


@pytest.fixture(params=["mariadb", "postgres"])
def database(request):
    return request.getfixturevalue(request.param)


# The marker is set by the name of the fixture, which a parameter hides.
needs_database = pytest.mark.services


def listening(server) -> dict[int, str]:
    family = [server.process, *server.process.children(recursive=True)]
    doors = [c for process in family for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    return {door.laddr.port: door.laddr.ip for door in doors}


@needs_database
def test_a_database_keeps_what_it_confirmed_through_a_crash(database):
    database.execute("create table kept (id int primary key, name varchar(20))")
    database.execute("insert into kept values (:id, :name)", {"id": 1, "name": "Ünï"}, {"id": 2, "name": "客户"})
    port, pid = database.port, database.process.pid
    database.kill()
    assert database.process is None and not database.answers()
    database.restart()
    assert database.port == port and database.process.pid != pid
    assert database.execute("select id, name from kept order by id") == [(1, "Ünï"), (2, "客户")]
    database.execute("drop table kept")


@needs_database
def test_a_database_is_closed_to_others(database):
    assert listening(database) == {database.port: "127.0.0.1"}
    words = " ".join(database.process.cmdline()) + json.dumps(database.process.environ())
    assert str(database.home) in words and database.password not in words
    assert database.home.stat().st_mode & 0o077 == 0
    for user, password in ((database.user, "wrong"), (database.user, ""), ("root", ""), ("postgres", "")):
        other = database.engine.url.set(username=user, password=password)
        assert not opens(other), f"{user} with password {password!r}"
    assert opens(database.engine.url)


def opens(url) -> bool:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError

    try:
        create_engine(url).connect().close()
        return True
    except DBAPIError:
        return False


def test_a_broker_keeps_what_it_confirmed_through_a_crash(kafka):
    kafka.create_topic("kept", partitions=2, config={"retention.ms": "-1"})
    kafka.produce("kept", *({"value": f"{n}", "partition": n % 2} for n in range(101)))
    assert kafka.offsets("kept") == {0: (0, 51), 1: (0, 50)}
    kafka.kill()
    assert kafka.process is None
    kafka.restart()
    assert kafka.offsets("kept") == {0: (0, 51), 1: (0, 50)}
    kafka.delete_records("kept", {0: 7})
    kafka.add_partitions("kept", 3)
    assert kafka.offsets("kept") == {0: (7, 51), 1: (0, 50), 2: (0, 0)}
    kafka.delete_topic("kept")
    kafka.create_topic("kept")
    assert kafka.offsets("kept") == {0: (0, 0)}
    kafka.delete_topic("kept")


def test_a_broker_listens_on_loopback_and_makes_no_topic_by_itself(kafka):
    doors = listening(kafka)
    assert kafka.port in doors and len(doors) == 3, "the controller's, and one each with and without a login"
    assert {ip.removeprefix("::ffff:") for ip in doors.values()} == {"127.0.0.1"}
    with pytest.raises(Exception, match="UNKNOWN_TOPIC_OR_PART|did not reach"):
        kafka.produce("never_made", {"value": "x"})
    assert "never_made" not in kafka.admin().list_topics(timeout=5).topics


def test_a_server_of_the_command_line_is_found_again(postgres, tmp_path_factory):
    """Started by one process, reached by a second, stopped by a third."""
    import shutil
    import tempfile

    home = tempfile.mkdtemp(prefix="mdp-postgres-")

    def typed(act: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "tests.services.postgres", act, "--home", home]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)

    try:
        first, again = typed("start"), typed("start")
        assert first.returncode == 0 and first.stdout == again.stdout
        assert json.loads(first.stdout).keys() == {"port", "jdbc_url", "user", "password"}
        assert json.loads(first.stdout)["port"] != postgres.port
        assert typed("stop").returncode == 0
        assert json.loads(typed("start").stdout) == json.loads(first.stdout)
    finally:
        typed("stop")
        shutil.rmtree(home)
