"""What the documentation tells a reader to type exists: commands with their options, make targets, variables."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from mdp.cli import app

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")), PROJECT / "dbt_project" / "README.md"]


def spans(page: Path) -> list[str]:
    """The page's code: lines of its fences, and what stands between backquotes."""
    text = page.read_text()
    fences = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    lines = [line for fence in fences for line in fence.splitlines()]
    return [*lines, *(re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", rest))]


def commands(code: str) -> list[list[str]]:
    """The words of each `mdp …` in a line of code, up to its comment or the next command."""
    found = []
    for part in re.split(r"&&|\||;|\$\(|\)", code.split("  #")[0]):
        part = part.strip().removeprefix(".venv/bin/")
        if part.startswith("mdp "):
            try:
                found.append(shlex.split(part))
            except ValueError:  # half a quotation: the span was cut at a bracket
                found.append(part.split())
    return found


def fault(words: list[str]) -> str | None:
    """What of a command does not exist, or None."""
    command = get_command(app)
    words = words[1:]
    while words and hasattr(command, "commands"):
        name = words[0]
        if name in command.commands:
            command, words = command.commands[name], words[1:]
        elif command.name == "mdp" or not command.invoke_without_command:
            return None if not re.fullmatch(r"[a-z-]+", name) else f"no command {name!r}"
        else:
            break
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    wrong = [word for word in words if re.fullmatch(r"--[a-z-]+", word) and word not in known]
    return f"no option {wrong[0]}" if wrong else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_names_of_a_page_exist(page):
    code = spans(page)
    typed = [words for span in code for words in commands(span)]
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.M))
    wrong = [f"{' '.join(words)}: {said}" for words in typed if (said := fault(words))]
    wrong += [f"make {t}" for span in code for t in re.findall(r"^make ([a-z-]+)$", span) if t not in targets]
    variables = set(re.findall(r"^#?(MDP_\w+)=", (PROJECT / ".env.example").read_text(), re.M))
    declared = set(yaml.safe_load((PROJECT / "dbt_project" / "dbt_project.yml").read_text())["vars"])
    wrong += [f"vars.{v}" for v in re.findall(r"vars\.(\w+)", page.read_text()) if v not in declared]
    wrong += [v for span in code for v in re.findall(r"\bMDP_[A-Z_]+\b", span) if v not in variables and not is_ours(v)]
    assert not wrong, wrong


def is_ours(variable: str) -> bool:
    """Whether it is the address of a connection that a feed names, or set by us for dbt, Kafka or the tests."""
    return variable.endswith(("_URL", "_USER", "_PASSWORD", "_PASSWORD_FILE", "_SERVERS", "_OPTIONS")) or any(
        variable in path.read_text()
        for room in ("mdp", "dbt_project", "warehouse")
        for path in (PROJECT / room).rglob("*.*ml")
    )


def test_the_test_sees_commands_and_their_faults():
    read = [words for page in PAGES for span in spans(page) for words in commands(span)]
    assert len(read) > 40
    assert fault(["mdp", "trian", "ctr"]) == "no command 'trian'"
    assert fault(["mdp", "train", "ctr", "--day", "x"]) == "no option --day"
    assert fault(["mdp", "warehouse", "sql", "select 1", "--csv"]) is None
