"""Jars from a Maven repository: whole and verified or not at all; what a person reads when that fails."""

import base64
import hashlib
import http.server
import os
import re
import socket
import sys
import threading
from pathlib import Path

import pytest

from tests.conftest import mdp
from warehouse import engine, jars
from warehouse.errors import PlatformError
from warehouse.settings import settings

EXTRAS = jars.EXTRAS
CONTENT = b"PK a jar" * 1000
DRIVER = jars.Jar("org.example", "driver", "1.2", hashlib.sha256(CONTENT).hexdigest())
PART = jars.Jar("org.apache.spark", "part", "4.2.0", "0" * 64)
PATH = "/maven2/org/example/driver/1.2/driver-1.2.jar"


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """An environment and a home directory of the test's own, and two extras of its own."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    monkeypatch.setattr(jars, "EXTRAS", {"example": (DRIVER,), "spark": (PART,)})
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MDP_HOME", str(tmp_path / "home"))
    for name in ("MDP_JARS", "MDP_MAVEN_URL", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def repository(monkeypatch):
    """A Maven repository on loopback, set in MDP_MAVEN_URL: `answers[path]` is (status, headers, body)."""

    class Handler(http.server.BaseHTTPRequestHandler):
        answers = {PATH: (200, {}, CONTENT)}
        asked = []

        def do_GET(self):
            self.asked.append((self.path, self.headers.get("Authorization")))
            status, headers, body = self.answers.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in ({"Content-Length": len(body)} | headers).items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Handler.host = f"127.0.0.1:{server.server_port}"
        monkeypatch.setenv("MDP_MAVEN_URL", f"http://{Handler.host}/maven2/")
        yield Handler
        server.shutdown()


def fetch() -> list[str]:
    said = []
    jars.fetch(["example"], said.append)
    return said


def refused() -> str:
    """The message with which fetching fails; nothing is left behind."""
    with pytest.raises(PlatformError) as caught:
        fetch()
    assert not list(Path(sys.prefix).rglob("*.*"))
    return str(caught.value)


def test_a_jar_is_fetched_once(repository, monkeypatch):
    folder = Path(sys.prefix) / "share" / "mdp" / "jars"
    assert fetch() == [f"fetched {folder}/driver-1.2.jar"]
    assert fetch() == [f"already there: {folder}/driver-1.2.jar"]
    assert repository.asked == [(PATH, None)]
    assert [(p.name, p.read_bytes()) for p in folder.iterdir()] == [("driver-1.2.jar", CONTENT)]
    assert jars.class_path() == [folder / "driver-1.2.jar"]
    monkeypatch.setattr(engine.jvm, "jar", lambda home: home / "ours.jar")
    words = engine.command(settings(), 1, 2)
    assert str(folder / "driver-1.2.jar") in words[words.index("-cp") + 1].split(os.pathsep)


def test_a_damaged_jar_is_fetched_again(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_JARS", str(tmp_path / "mine"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "driver-1.2.jar").write_bytes(CONTENT[:-1])
    assert fetch() == [f"fetched {tmp_path}/mine/driver-1.2.jar"]
    assert (tmp_path / "mine" / "driver-1.2.jar").read_bytes() == CONTENT


def test_other_content_is_refused(repository):
    repository.answers = {PATH: (200, {}, b"<html>log in first</html>")}
    said = refused()
    assert said.startswith(f"http://{repository.host}{PATH} is not the jar that was asked for (sha256 ")
    assert DRIVER.sha256 in said and "MDP_MAVEN_URL" in said


def test_a_jar_that_is_not_there_and_a_login_that_is_never_printed(repository, monkeypatch):
    monkeypatch.setenv("MDP_MAVEN_URL", f"http://ann:s%40crët@{repository.host}/other")
    said = refused()
    assert said.startswith(
        f"http://{repository.host}/other/org/example/driver/1.2/driver-1.2.jar answers 404 Not Found:"
    )
    assert "MDP_MAVEN_URL" in said and "ann" not in said and "crët" not in said
    assert [login for _, login in repository.asked] == [f"Basic {base64.b64encode('ann:s@crët'.encode()).decode()}"]


def test_a_login_is_not_passed_on_to_where_a_repository_redirects(repository, monkeypatch):
    monkeypatch.setenv("MDP_MAVEN_URL", f"http://ann:secret@{repository.host}/maven2")
    elsewhere = f"http://localhost:{repository.host.split(':')[1]}/storage"
    repository.answers = {PATH: (302, {"Location": elsewhere}, b""), "/storage": (200, {}, CONTENT)}
    fetch()
    assert [(path, bool(login)) for path, login in repository.asked] == [(PATH, True), ("/storage", False)]


def test_an_answer_that_breaks_off(repository):
    repository.answers = {PATH: (200, {"Content-Length": len(CONTENT) + 1}, CONTENT)}
    assert f"{PATH} broke off (" in refused()


def test_no_network(monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MDP_MAVEN_URL", f"http://ann:secret@127.0.0.1:{closed.getsockname()[1]}")
        said = refused()
    assert "driver-1.2.jar cannot be reached (Connection refused): check the network" in said and "secret" not in said
    monkeypatch.setenv("MDP_MAVEN_URL", "maven.example/repository")
    assert "is no http(s) URL: correct MDP_MAVEN_URL" in refused()


def test_a_folder_that_cannot_be_written(monkeypatch):
    monkeypatch.setenv("MDP_JARS", "/proc/nowhere")
    with pytest.raises(PlatformError, match="/proc/nowhere cannot be written: set MDP_JARS to a directory that can"):
        fetch()


@pytest.mark.parametrize(
    ("mirror_of", "serves_central"),
    [("central", True), ("*", True), ("external:*, !internal", True), ("*,!central", False), ("jboss", False)],
)
def test_mavens_own_settings_name_the_repository(mirror_of, serves_central, tmp_path, monkeypatch):
    default, login = jars.repository()
    assert re.fullmatch(r"https://[\w.]+/maven2", default) and login is None  # the one Spark's --packages would ask
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2" / "settings.xml").write_text(
        '<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0"><mirrors>'
        "<mirror><id>a</id><mirrorOf>snapshots</mirrorOf><url>https://maven.example/no</url></mirror>"
        f"<mirror><id>b</id><mirrorOf>{mirror_of}</mirrorOf><url>https://maven.example/all/</url></mirror>"
        "</mirrors></settings>"
    )
    assert jars.repository() == ("https://maven.example/all" if serves_central else default, None)
    monkeypatch.setenv("MDP_MAVEN_URL", "https://me:pw@own.example/m2")
    assert jars.repository() == ("https://own.example/m2", "me:pw")


def test_settings_of_maven_that_are_broken(tmp_path):
    (tmp_path / ".m2").mkdir()
    (tmp_path / ".m2" / "settings.xml").write_text("<settings><mirrors>")
    with pytest.raises(PlatformError, match="~/.m2/settings.xml cannot be read .*: repair it, or set MDP_MAVEN_URL"):
        jars.repository()


def test_a_driver_of_the_users_own_version_does_but_no_part_of_another_spark(tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_JARS", str(tmp_path))
    with pytest.raises(PlatformError) as caught:
        jars.require("example")
    assert str(caught.value) == (
        "the engine has no driver: fetch with `mdp warehouse jars example`, then restart it: "
        "`mdp warehouse stop && mdp warehouse start`"
    )
    for name in ("driver-0.9-beta.jar", "driver-extra-1.0.jar", "part-4.1.0.jar"):
        (tmp_path / name).touch()
    jars.require("example")
    with pytest.raises(PlatformError, match="the engine has no part"):
        jars.require("spark")
    (tmp_path / "part-4.2.0.jar").touch()
    jars.require("spark")
    with pytest.raises(PlatformError, match="unknown extra 'oracle': known are example, spark"):
        jars.require("oracle")


def test_one_version_of_a_jar_is_on_the_class_path(tmp_path, monkeypatch):
    """The fetched version wins over an older one that an earlier release fetched; of two folders, the user's wins."""
    monkeypatch.setenv("MDP_JARS", str(tmp_path / "mine"))
    ours = Path(sys.prefix) / "share" / "mdp" / "jars"
    for path in (tmp_path / "mine" / "a.jar", ours / "a.jar", ours / "driver-1.1.jar", ours / "driver-1.2.jar"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert jars.class_path() == [tmp_path / "mine" / "a.jar", ours / "driver-1.2.jar"]


def test_the_kafka_connector_is_that_of_the_installed_spark():
    import pyspark

    of_spark = [jar for jar in EXTRAS["kafka"] if jar.group == "org.apache.spark"]
    assert len(of_spark) == 2 and {jar.version for jar in of_spark} == {pyspark.__version__}


def test_a_cluster_has_jars_of_its_own(monkeypatch):
    monkeypatch.setenv("MDP_CONNECT_URL", "sc://spark.internal:15002")
    jars.require("example")


def test_the_command(tmp_path):
    said = mdp("warehouse", "jars", "oracle", home=tmp_path, check=False)
    assert said.returncode == 1
    assert said.stderr == "error: unknown extra 'oracle': known are kafka, mariadb, mysql, postgresql\n"
