"""Sqoop's command line: how options files and commands are read, and every option with what becomes of it here.

The options are those of moving_in.yml: all of Sqoop 1.4's tools import, import-all-tables, export and job. The value of a
password option is dropped as it is read: what is not there cannot be printed.
"""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ingestion.proposal import Entry, moving_in
from warehouse.errors import PlatformError

SECRETS = ("password", "hs2-password", "accumulo-password", "meta-password")
COMMAND = re.compile(r"\s*(\$ )?(\S*/)?sqoop(-[a-z-]+)?(\s|$)")
SHORT = {"m": "num-mappers", "e": "query", "z": "compress"}
IMPORT, ALL, EXPORT, JOB = "import", "import-all-tables", "export", "job"


class Option(NamedTuple):
    """What becomes of an option: EQUIVALENT, NOT_NEEDED or NONE, and how, why, or what to do instead."""

    takes_value: bool
    verdict: str
    text: str


def _options(entries: Iterable[Entry]) -> dict[str, Option]:
    return {
        name.rstrip("="): Option(name.endswith("="), entry.verdict, entry.how)
        for entry in entries
        for name in entry.names
    }


OPTIONS = {
    tool: _options(entry for entry in moving_in("sqoop") if tool in entry.tools) for tool in (IMPORT, ALL, EXPORT, JOB)
}
CONNECTOR = _options(moving_in("sqoop_connector"))
HADOOP = _options(moving_in("sqoop_hadoop"))
OTHER_TOOLS = {name: entry.how for entry in moving_in("sqoop_other_tools") for name in entry.names}


class Token(NamedTuple):
    """One word of a command line, and the line it stands on."""

    text: str
    line: int


class Given(NamedTuple):
    """An option's value (None: it takes none, or it is a secret) and its line."""

    value: str | None
    line: int


@dataclass
class Command:
    """One Sqoop command: its tool, options by long name, Hadoop's settings and the connector's own options."""

    tool: str
    where: str
    line: int
    given: dict[str, Given] = field(default_factory=dict)
    hadoop: list[str] = field(default_factory=list)
    connector: dict[str, str | None] = field(default_factory=dict)
    job: str | None = None

    def value(self, name: str) -> str | None:
        """The option's value, None if it was not given."""
        return self.given[name].value if name in self.given else None

    def place(self, name: str) -> str:
        """Where the option stands, for a message."""
        return f"{self.where}: line {self.given[name].line}: --{name}"


# -- reading ----------------------------------------------------------------------------------------------------------


def read_options_file(path: Path) -> list[Token]:
    """The tokens of an options file: one a line, # comments, a trailing backslash continues, outer quotes are taken off.

    A missing file, an unclosed quote or continuation raises PlatformError with the line, never with the text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PlatformError(f"the options file {path} cannot be read: {error}") from None
    tokens, pending, first = [], "", 0
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        first = first if pending else number
        pending += line
        if line.endswith("\\"):
            if pending[0] in "'\"":
                raise PlatformError(f"{path.name}: line {number}: a quoted text may not go over two lines")
            pending = pending[:-1]
            continue
        tokens.append(Token(_unquote(pending, path.name, number), first))
        pending = ""
    if pending:
        raise PlatformError(
            f"{path.name}: line {first}: the file ends after a backslash: the rest of the option is missing"
        )
    return tokens


def _unquote(text: str, where: str, line: int) -> str:
    """The text without the quotes around it; one that only begins or ends with a quote is malformed, as in Sqoop."""
    for quote in "\"'":
        begins, ends = text.startswith(quote), text.endswith(quote)
        if begins and ends and len(text) > 1:
            return text[1:-1]
        if (begins or ends) and not re.fullmatch(rf".*=\s*{quote}.*{quote}", text):
            raise PlatformError(
                f"{where}: line {line}: a quote stands at one end only: Sqoop takes a whole option in quotes, or none"
            )
    return text


def read_commands(text: str, where: str) -> tuple[list[list[Token]], list[str]]:
    """(the tokens of each `sqoop …` command of a shell text, notes on its other lines); PlatformError if there is none."""
    commands, other, pending, first = [], [], "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if not pending and not COMMAND.match(line):
            other += [str(number)] * bool(line.strip() and not line.lstrip().startswith("#"))
            continue
        first = first if pending else number
        pending += line + "\n"
        if line.endswith("\\"):
            continue
        try:
            words = shlex.split(pending.replace("\\\n", " "))
        except ValueError:  # a quote is still open
            continue
        pending = ""
        words = words[1:] if words[0] == "$" else words
        alias = words[0].split("/")[-1].removeprefix("sqoop").removeprefix("-")
        words[:1] = [alias] if alias else []  # sqoop-import is sqoop import
        commands.append([Token(word, first) for word in words])
    if pending:
        raise PlatformError(f"{where}: line {first}: the command does not end: a quote or a backslash is left open")
    if not commands:
        raise PlatformError(f"{where} holds no sqoop command")
    return commands, [f"left out: {where}: no sqoop command: lines {', '.join(other)}"] if other else []


def parse(tokens: list[Token], where: str, folder: Path) -> Command:
    """The command that the tokens say; every fault in it is a sentence of one PlatformError. `folder`: of options files."""
    tokens = _expanded(tokens, folder)
    if not tokens or tokens[0].text.startswith("-"):
        line = tokens[0].line if tokens else 1
        raise PlatformError(f"{where}: line {line}: no tool is named: the first word is import, export, … or job")
    tool, line = tokens[0]
    if tool in OTHER_TOOLS:
        raise PlatformError(f"{where}: line {line}: the tool {tool} cannot be converted: {OTHER_TOOLS[tool]}")
    if tool not in OPTIONS:
        raise PlatformError(f"{where}: line {line}: the first word names no tool of Sqoop: {', '.join(OPTIONS)}")
    words = [token.text for token in tokens]
    end = words.index("--") if "--" in words else len(words)
    command = Command(tool, where, line)
    faults = _read_given(command, tokens[1:end])
    if tool == JOB:
        for name in ("exec", "show", "delete", "list"):
            if name in command.given:
                faults.append(f"{command.place(name)}: {OPTIONS[JOB][name].text}")
        if not faults and (command.value("create") is None or end == len(words)):
            faults.append(f"{where}: line {line}: a job is converted from `job --create <name> -- import …`")
    else:
        faults += _read_connector(command, tokens[end + 1 :])
    if faults:
        raise PlatformError("\n".join(faults))
    if tool != JOB:
        return command
    inner = parse(tokens[end + 1 :], where, folder)
    inner.job = command.value("create")
    return inner


def _expanded(tokens: list[Token], folder: Path) -> list[Token]:
    """The tokens with each --options-file replaced by what it holds."""
    found, rest = [], iter(tokens)
    for token in rest:
        if token.text.lstrip("-") == "options-file" and token.text.startswith("-"):
            name = next(rest, None)
            if name is None:
                raise PlatformError(f"line {token.line}: --options-file names no file")
            found += read_options_file(folder / name.text)
        else:
            found.append(token)
    return found


def _read_given(command: Command, tokens: list[Token]) -> list[str]:
    """Fill in the options of the tool and of Hadoop; returns the faults. A value that no option claims is not shown."""
    known, faults, rest = OPTIONS[command.tool], [], list(tokens)
    while rest:
        text, line = rest.pop(0)
        place = f"{command.where}: line {line}"
        if not re.match(r"--?\w", text):
            faults.append(
                f"{place}: a value stands there without an option (a value that holds blanks needs quotes; a redirection is none)"
            )
            continue
        if text.startswith("-D"):
            text = text[2:].strip() or (rest.pop(0).text if rest else "?")
            command.hadoop.append(f"D {text.split('=')[0]}")
            continue
        name, attached, value = text.lstrip("-").partition("=")
        if short := re.fullmatch(r"m(\d+)", name):
            name, attached, value = "m", "=", short[1]
        name = SHORT.get(name, name)
        option = known.get(name) or HADOOP.get(name)
        if option is None:
            faults.append(f"{place}: {_unknown(command.tool, name)}")
            if rest and not attached and not rest[0].text.startswith("-"):
                rest.pop(0)  # its value
            continue
        if option.takes_value and not attached:
            if not rest or rest[0].text.lstrip("-") in known and rest[0].text.startswith("-"):
                faults.append(f"{place}: --{name} has no value")
                continue
            value = rest.pop(0).text
        if name in HADOOP:
            command.hadoop.append(name)
            continue
        shown = value if option.takes_value and name not in SECRETS else None
        if shown and len(shown) > 1 and shown[0] == shown[-1] == '"':
            shown = shown[1:-1]
        command.given[name] = Given(shown, line)
    return faults


def _unknown(tool: str, name: str) -> str:
    word, *more = name.split()
    if more and word in OPTIONS[tool]:
        return f"--{word} and its value stand in one line: an options file has each in a line of its own"
    others = [other for other, options in OPTIONS.items() if word in options]
    hint = f"it belongs to {', '.join(others)}" if others else "it is none of Sqoop 1.4's"
    return f"--{word} is no option of {tool}: {hint}"


def _read_connector(command: Command, tokens: list[Token]) -> list[str]:
    """Fill in what stands after --; returns the faults."""
    faults, rest = [], list(tokens)
    while rest:
        text, line = rest.pop(0)
        name, attached, value = text.lstrip("-").partition("=")
        if not text.startswith("-"):
            faults.append(f"{command.where}: line {line}: a value stands there without an option, after --")
            continue
        option = CONNECTOR.get(name)
        if option and option.takes_value and not attached and rest:
            value = rest.pop(0).text
        elif rest and not rest[0].text.startswith("-") and not option:
            rest.pop(0)  # of an option that is not known, its value
        command.connector[name] = value or None
    return faults
