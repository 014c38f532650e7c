"""Who may import whom: the table of rooms (docs/conventions.md), read from the code's own import statements."""

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
ROOMS = {"dags", "ingestion", "expectations", "ml", "warehouse", "sample", "mdp"}
MAY_IMPORT = {
    "warehouse": set(),
    "ingestion": {"warehouse"},
    "expectations": {"warehouse"},
    "ml": {"warehouse"},
    "sample": {"warehouse"},
    "dags": {"warehouse"},
    "mdp": {"warehouse", "ingestion", "expectations", "ml", "sample"},
}


def imported_rooms(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found & ROOMS


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_only_what_it_may(room):
    files = list((PROJECT / room).rglob("*.py"))
    assert files, f"{room} has no Python files: the test looked in the wrong place"
    wrong = {str(f.relative_to(PROJECT)): bad for f in files if (bad := imported_rooms(f) - MAY_IMPORT[room] - {room})}
    assert not wrong


def test_the_rule_sees_imports_inside_functions(tmp_path):
    probe = tmp_path / "probe.py"
    probe.write_text("def f():\n    from ml.train import train\n    import ingestion.run\n")
    assert imported_rooms(probe) == {"ml", "ingestion"}


def test_dags_take_only_stages_and_time_zone_from_the_warehouse():
    files = list((PROJECT / "dags").glob("*.py"))
    assert files
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("warehouse"):
                found = (node.module, [a.name for a in node.names])
                assert found in (("warehouse", ["stages"]), ("warehouse.company", ["company"])), path


def test_only_the_truth_module_reads_the_truth_folder():
    """The folder's name is written in sample/ only, and the pipeline rooms never mention it."""
    mentions = {
        room
        for room in ROOMS
        for path in (PROJECT / room).rglob("*.py")
        if '/ "truth"' in path.read_text() or "/truth" in path.read_text()
    }
    assert mentions == {"sample"}


def test_no_clock_is_read_outside_launcher_and_ledger():
    """The business date is an argument: `now()`/`today()` appear only where a process is launched or a run recorded."""
    allowed = {"warehouse/state.py", "warehouse/heartbeat.py", "warehouse/supervise.py", "sample/clock.py"}
    found = set()
    for room in ROOMS:
        for path in (PROJECT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and node.attr in ("now", "today", "utcnow"):
                    found.add(str(path.relative_to(PROJECT)))
    assert "warehouse/state.py" in found
    assert found <= allowed
