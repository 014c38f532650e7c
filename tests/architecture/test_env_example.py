"""`.env.example` documents every variable that the code and the stack's description read, and no other."""

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
ROOMS = ("dags", "dbt_project", "expectations", "ingestion", "mdp", "ml", "sample", "warehouse")
LINE = re.compile(r"^#?([A-Z][A-Z0-9_]*)=", re.MULTILINE)


def documented() -> set[str]:
    names = LINE.findall((PROJECT / ".env.example").read_text())
    assert len(names) == len(set(names)), "a variable is documented twice"
    return set(names)


def test_each_variable_of_the_code_is_documented():
    files = [p for room in ROOMS for kind in ("*.py", "*.sql", "*.yml") for p in (PROJECT / room).rglob(kind)]
    read = {name for path in files for name in re.findall(r"\bMDP_[A-Z]+(?:_[A-Z]+)*\b", path.read_text())}
    assert "MDP_HOME" in read and len(read) > 20
    assert read == {name for name in documented() if name.startswith("MDP_")}


def test_each_variable_of_the_stack_is_documented():
    text = (PROJECT / "docker-compose.yml").read_text()
    read = set(re.findall(r"\$\{([A-Z0-9_]+)", text))
    assert len(read) > 10
    assert read <= documented()
    others = {name for name in documented() if not name.startswith("MDP_")}
    assert others == {name for name in read if not name.startswith("MDP_")}


def test_the_example_sets_no_secret():
    set_ = re.findall(r"^([A-Z0-9_]+)=(.*)$", (PROJECT / ".env.example").read_text(), re.MULTILINE)
    assert len(set_) > 3
    assert not [name for name, value in set_ if value and re.search("PASSWORD|SECRET|KEY", name)]
