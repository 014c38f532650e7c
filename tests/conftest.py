"""One engine for the whole test session, in a home of its own; the tests that need it share its tables by schema.

A test of the whole stack starts another home as a user would, by the command line (see tests/e2e).
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
for name in [k for k in os.environ if k.startswith("MDP_")]:
    del os.environ[name]  # a developer's own settings must not reach the tests
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
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
def engine(home):
    """The embedded engine, started once."""
    from warehouse import engine as launcher
    from warehouse import supervise
    from warehouse.session import close

    supervise.start()
    launcher.warm_up()
    yield
    close()
    supervise.stop()


@pytest.fixture(scope="session")
def spark(engine):
    """The Spark Connect session of the session's engine."""
    from warehouse.session import session

    return session()


@pytest.fixture(scope="session")
def company(engine):
    """A small sample company in the session's home: 200 customers, 40 days; nothing of it is ingested."""
    from sample import company

    company.create(days=40, customers=200, seed=11, intensity=1.0, progress=lambda text: None)
    return company.status()


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
    """A test that asks for the engine is marked so, wherever it stands."""
    for item in items:
        if "engine" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.engine)


def pytest_terminal_summary(terminalreporter, exitstatus):
    """After a failure: what the session's engine and its supervisor said last, since their logs are in a lost home."""
    logs = Path(os.environ.get("MDP_HOME", "")) / "logs"
    if not exitstatus or not logs.is_dir():
        return
    for name, lines in (("supervisor.log", 10), ("engine.log", 30)):
        if (logs / name).exists():
            terminalreporter.section(f"the end of {name}")
            terminalreporter.write_line("\n".join((logs / name).read_text(errors="replace").splitlines()[-lines:]))
