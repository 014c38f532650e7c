"""Each defect of the sample company stops its day at the raw gate, by the rule it breaks, and goes through when mended."""

import os
import subprocess
import sys

import pytest

from tests.conftest import PROJECT, mdp

pytestmark = [pytest.mark.engine, pytest.mark.slow]

# Defect → (table, start of the rule's name) that must be among the broken rules.
BROKEN = {
    "missing_user_ids": ("raw.web__events", "missing_user"),
    "duplicated_orders": ("raw.crm__orders", "order_id_unique"),
    "volume_drop": ("raw.web__events", "volume"),
    "future_timestamps": ("raw.web__events", "future"),
}


def python(home, code: str) -> None:
    """Run a few lines of ours in the home: what the scheduler would have done meanwhile."""
    env = os.environ | {"MDP_HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An engine and a company whose history is loaded."""
    path = tmp_path_factory.mktemp("defects")
    mdp("warehouse", "start", home=path)
    python(path, "from mdp import stack; stack.start_warm()")
    mdp("sample", "create", "--days", "12", "--customers", "400", "--seed", "3", "--intensity", "3", home=path)
    mdp("ingest", "--from", "2024-03-01", "--ds", "2024-03-12", home=path)
    mdp("gate", "raw", "--from", "2024-03-01", "--ds", "2024-03-12", home=path)
    python(path, "from warehouse import state; state.publish('gate_features', ['2024-03-12'])")
    yield path
    mdp("down", home=path)


def test_the_list_is_whole():
    from sample.company import DEFECTS

    assert set(BROKEN) == set(DEFECTS)


@pytest.mark.parametrize(("day", "defect"), list(enumerate(BROKEN, start=13)))
def test_a_defect_stops_at_the_raw_gate(home, day, defect):
    ds, (table, rule) = f"2024-03-{day}", BROKEN[defect]
    assert f"{ds} will be a bad day" in mdp("sample", "break", defect, home=home).stdout
    mdp("sample", "advance", home=home)
    mdp("ingest", "--ds", ds, home=home)
    stopped = mdp("gate", "raw", "--ds", ds, home=home, check=False)
    assert stopped.returncode == 1
    assert f"gate raw {ds} stopped the run" in stopped.stderr
    broken = [line.split(": rule ") for line in stopped.stderr.splitlines() if ": rule " in line]
    assert (table, rule) in {(where.strip().split(",")[0], name) for where, name in broken}, stopped.stderr
    mdp("sample", "mend", home=home)
    mdp("ingest", "--ds", ds, home=home)
    assert "passed" in mdp("gate", "raw", "--ds", ds, home=home).stdout
    python(home, f"from warehouse import state; state.publish('marts', ['{ds}'])")
