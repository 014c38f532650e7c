"""One engine for the whole test session, in a home of its own; the tests that need it share its tables by schema.

A test of the whole stack starts another home as a user would, by the command line (see tests/e2e).
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
SERVICES = ("mariadb", "postgres", "kafka")
# `make test-services` and CI: real services are installed, and one that is missing fails the tests instead of skipping.
SERVICES_REQUIRED = os.environ.get("REQUIRE_SERVICES") or os.environ.get("CI") == "true"
for name in [k for k in os.environ if k.startswith("MDP_") and k not in ("MDP_SERVICES_CACHE", "MDP_MAVEN_URL")]:
    del os.environ[name]  # a developer's own settings must not reach the tests, except where the services come from
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
COLLECTING = tempfile.TemporaryDirectory(prefix="mdp-collect-")  # what is asked while tests are collected is asked here
os.environ["MDP_HOME"] = COLLECTING.name
os.environ["TZ"] = "UTC"
time.tzset()


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory):
    """MDP_HOME of the session: never the developer's."""
    path = tmp_path_factory.mktemp("home")
    os.environ["MDP_HOME"] = str(path)
    os.environ["MDP_ENGINE_MEMORY"] = "1500m"
    return path


@pytest.fixture(scope="session")
def engine(home, tmp_path_factory):
    """The embedded engine, started once."""
    from warehouse import engine as launcher
    from warehouse import supervise
    from warehouse.session import close

    _fetch_jars()
    os.environ["MDP_ENGINE_PATHS"] = str(tmp_path_factory.getbasetemp())  # tests have spools of their own
    supervise.start()
    launcher.warm_up()
    yield
    close()
    supervise.stop()


def _fetch_jars() -> None:
    """Where a real service can be read, give the engine what it needs for that, from the cache or the network."""
    from importlib import import_module

    from tests.services.common import CACHE
    from warehouse import jars
    from warehouse.errors import PlatformError

    os.environ["MDP_JARS"] = str(CACHE / "jars")
    if SERVICES_REQUIRED or any(import_module(f"tests.services.{name}").is_present() for name in SERVICES):
        try:
            jars.fetch(jars.EXTRAS, lambda text: None)
        except PlatformError:
            if SERVICES_REQUIRED:
                raise  # else the tests that need them skip: see `connectors`


@pytest.fixture(scope="session")
def connectors(engine):
    """The session's engine has every JDBC driver and the Kafka connector; skip if they could not and need not be had."""
    from warehouse import jars
    from warehouse.errors import PlatformError

    try:
        for extra in jars.EXTRAS:
            jars.require(extra)
    except PlatformError as error:
        if SERVICES_REQUIRED:
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def spark(engine):
    """The Spark Connect session of the session's engine."""
    from warehouse.session import session

    return session()


def _service(name: str):
    """Start a real service in a home of its own, for the session; skip if it is not installed and need not be."""
    from importlib import import_module

    service = import_module(f"tests.services.{name}")
    if not service.is_present():
        if not SERVICES_REQUIRED:
            pytest.skip(f"{name} is not installed: `make test-services` installs it and runs these tests")
        service.install()
    # Not pytest's own directory: that is closed to the unprivileged user that a database server runs as.
    home = Path(tempfile.mkdtemp(prefix=f"mdp-{name}-"))
    try:
        server = service.start(home)
        yield server
        server.stop()
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def mariadb():
    """A MariaDB server: `jdbc_url`, `driver`, `user`, `password`, `execute(sql)`, `engine`, `kill()`, `restart()`, …"""
    yield from _service("mariadb")


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server, as `mariadb`."""
    yield from _service("postgres")


@pytest.fixture(scope="session")
def kafka():
    """A Kafka broker: `bootstrap`, `create_topic(name)`, `produce(name, …)`, `offsets(name)`, `kill()`, `restart()`, …"""
    yield from _service("kafka")


@pytest.fixture(scope="session")
def company(engine):
    """A small sample company in the session's home: 200 customers, 40 days; nothing of it is ingested."""
    from sample import company

    company.create(days=40, customers=200, seed=11, intensity=1.0, progress=lambda text: None)
    return company.status()


@pytest.fixture
def say(capsys, record_property):
    """Print a line as it happens, and keep it for the end of a run in several processes."""

    def tell(text: str) -> None:
        record_property("said", text)
        with capsys.disabled():
            print(text, flush=True)

    return tell


def mdp(*arguments: str, home: Path, check: bool = True, **env: str) -> subprocess.CompletedProcess:
    """Type an `mdp` command in a process of its own, with its own MDP_HOME."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "mdp"), *arguments],
        cwd=PROJECT, env=os.environ | {"MDP_HOME": str(home)} | env, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    if check and done.returncode:
        raise AssertionError(f"mdp {' '.join(arguments)} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def pytest_collection_modifyitems(items):
    """A test that asks for the engine or for a real service is marked so, wherever it stands."""
    for item in items:
        asked = getattr(item, "fixturenames", ())
        if "engine" in asked:
            item.add_marker(pytest.mark.engine)
        if any(name in asked for name in SERVICES):
            item.add_marker(pytest.mark.services)


# `make test` runs two processes (pytest-xdist), each with an engine, and where they are needed services, of its own. What
# the worker alone knows comes to the printed end by these two ways.
FOUND = pytest.StashKey[list[str]]()


def _last_lines_of_the_engine() -> list[str]:
    """What the session's engine and its supervisor said last, since their logs are in a lost home."""
    logs = Path(os.environ.get("MDP_HOME", "")) / "logs"
    found = []
    for name, lines in (("supervisor.log", 10), ("engine.log", 30)):
        if logs.is_dir() and (logs / name).exists():
            found += [f"the end of {name}", *(logs / name).read_text(errors="replace").splitlines()[-lines:]]
    return found


def pytest_sessionfinish(session, exitstatus):
    """After a failure in a worker: send on what its engine said last."""
    if exitstatus and hasattr(session.config, "workeroutput"):
        session.config.workeroutput["said"] = _last_lines_of_the_engine()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    node.config.stash.setdefault(FOUND, []).extend(getattr(node, "workeroutput", {}).get("said", []))


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    """What tests told (fixture `say`), unless it was printed as it happened; after a failure the end of the logs."""
    if config.getoption("numprocesses", None):
        for report in terminalreporter.getreports("passed"):
            for text in [value for name, value in report.user_properties if name == "said"]:
                terminalreporter.write_line(text)
    for line in (config.stash.get(FOUND, None) or _last_lines_of_the_engine()) if exitstatus else ():
        terminalreporter.write_line(line)
