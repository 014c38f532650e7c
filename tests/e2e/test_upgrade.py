"""A home that an older version made: its state database is upgraded, outdated tables are named and built again."""

import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import PROJECT, mdp
from warehouse.migrations import HEAD

pytestmark = [pytest.mark.engine, pytest.mark.slow]

FIRST, LAST, NEXT, NEWEST = "2024-03-01", "2024-03-08", "2024-03-09", "2024-03-10"
OLDER = ("cleaned.orders", "original_amount,currency", "cleaned.customers", "email_hash")
OUTDATED = (
    "tables built by an older version have other columns than their models have now (cleaned.customers lacks email_hash; "
    "cleaned.orders lacks original_amount, currency): `mdp rebuild` builds them"
)
MARTS = f"""
from mdp.build import build
from warehouse import state
for ds in ("{NEXT}", "{NEWEST}"):
    state.publish("gate_predictions", [ds])
    build("marts", ds)
"""


def python(home, *words: str) -> None:
    done = subprocess.run([sys.executable, *words], cwd=PROJECT, env=os.environ | {"MDP_HOME": str(home)}, text=True,
                          capture_output=True, timeout=900)  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def checksums(home) -> set[str]:
    return {line for line in mdp("warehouse", "checksum", home=home).stdout.splitlines() if " ops." not in line}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A history and two days of a small company, with marts."""
    path = tmp_path_factory.mktemp("older")
    mdp("warehouse", "start", home=path)
    mdp("sample", "create", "--days", "10", "--customers", "100", "--seed", "5", home=path)
    python(path, "-m", "tests.time.live", "live", FIRST, LAST, "-", NEXT, "-", NEWEST)
    python(path, "-c", MARTS)
    yield path
    mdp("warehouse", "stop", home=path)


@pytest.fixture(scope="module")
def before(home):
    """The content of all tables, before the home is made one of an older version."""
    found = checksums(home)
    assert sum("marts.customer_profile" in line for line in found) == 2
    assert sum("cleaned.customers" in line for line in found) == 3
    python(home, "-m", "tests.e2e.older", *OLDER)
    assert checksums(home) != found
    return found


def test_what_is_outdated_is_said_before_anything_is_touched(before, home):
    sums = checksums(home)
    done = mdp("build", "cleaned", "--ds", NEWEST, home=home, check=False)
    assert done.returncode == 1 and f"error: {OUTDATED}" in done.stderr and "Traceback" not in done.stderr
    assert (home / f"state.db.before-{HEAD}").exists() and checksums(home) == sums
    assert "marts of" in mdp("ready", "marts", "--ds", NEWEST, home=home).stdout  # nothing was taken back


def test_a_rebuild_that_is_killed_holds_everything_up_and_goes_on(before, home):
    started = subprocess.Popen(
        [sys.executable, "-m", "mdp.cli", "rebuild"], cwd=PROJECT, env=os.environ | {"MDP_HOME": str(home)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    said = []
    for line in started.stdout:
        said.append(line)
        if "dbt build" in line and "customer_day" in line:  # cleaned is done
            break
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert "to be built again: cleaned." in "".join(said)
    for words in (("build", "cleaned"), ("gate", "features"), ("export",)):
        done = mdp(*words, "--ds", NEWEST, home=home, check=False)
        assert done.returncode == 1 and "lack days until that is done: wait for `mdp rebuild`" in done.stderr

    done = mdp("rebuild", home=home).stdout
    assert "email_hash" not in done and f"{NEXT}, " in done and done.splitlines()[-1].endswith("next: `make run`")
    assert not any(" dbt build" in line and "path:models/input" in line for line in done.splitlines())
    assert checksums(home) == before


def test_afterwards_nothing_is_outdated(before, home):
    assert "no table is outdated" in mdp("rebuild", home=home).stdout
    assert "built" in mdp("build", "cleaned", "--ds", NEWEST, home=home).stdout
