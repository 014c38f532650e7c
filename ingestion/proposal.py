"""What infer, sqoop and flume hand over: blocks as YAML with their review comments, and what is to be said beside them.

A block is printed only if it holds (`checked`): a proposal may need review, it may not be refused by the loader.
"""

import functools
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from ingestion.feeds import load_feeds
from warehouse.errors import PlatformError

MOVING_IN = Path(__file__).with_name("moving_in.yml")
# What becomes of an option or property of another tool.
VERDICTS = EQUIVALENT, NOT_NEEDED, NONE = "equivalent", "not needed", "no equivalent"
REVIEW = "review"
RESERVED = ("ds", "load_id", "key_id")


@dataclass(frozen=True)
class Guess:
    """One proposed column; `comment` says what of it is a guess (None: nothing)."""

    name: str
    type: str
    sensitivity: str = "internal"
    action: str | None = None
    format: str | None = None
    required: bool = False
    country: str | None = None
    comment: str | None = None

    def declared(self) -> dict:
        """The column as feeds.yml declares it."""
        found = {"type": self.type, "class": self.sensitivity, "action": self.action, "format": self.format}
        found |= {"country": self.country, "required": self.required}
        return {key: value for key, value in found.items() if value}

    def noting(self, text: str) -> "Guess":
        """The column with one more thing to review."""
        return replace(self, comment=f"{self.comment}; {text}" if self.comment else f"{REVIEW}: {text}")


@dataclass
class Found:
    """What a source says: columns, the key with what it rests on, further keys of the block, what to say about it, and the
    column that seems to name the country of a row.
    """

    columns: list[Guess]
    key: list[str]
    key_comment: str
    pairs: list[tuple[str, object, str | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    country: str | None = None


@dataclass
class Proposal:
    """Blocks (`text`, empty if there is a fault), what to print on standard error, and why there is no block."""

    text: str = ""
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Entry:
    """One entry of moving_in.yml: what becomes (`verdict`) of `names`, and how, why not, or what to do instead."""

    verdict: str
    names: tuple[str, ...]
    how: str
    tools: tuple[str, ...] = ()
    properties: tuple["Entry", ...] = ()


@functools.cache
def moving_in(section: str) -> tuple[Entry, ...]:
    """The entries of a section of moving_in.yml."""
    return tuple(_entry(block) for block in yaml.safe_load(MOVING_IN.read_text(encoding="utf-8"))[section])


def _entry(block: dict) -> Entry:
    verdict = next(name for name in VERDICTS if name in block)
    properties = tuple(_entry(inner) for inner in block.get("properties", ()))
    return Entry(verdict, tuple(block[verdict].split()), block["how"], tuple(block.get("tools", ())), properties)


def write_block(name: str, pairs: list[tuple[str, object, str | None]], columns: list[Guess]) -> str:
    """A feed block as YAML text: `pairs` are key, value and comment (None: none), then the columns, one a line."""
    lines = [f"{name}:"]
    lines += [f"  {key}: {scalar(value)}{_comment(comment)}" for key, value, comment in pairs]
    lines.append(f"  columns:{_comment(f'{REVIEW} each class: guessed from names and values')}")
    lines += [f"    {scalar(c.name)}: {scalar(c.declared())}{_comment(c.comment)}" for c in columns]
    return "\n".join(lines) + "\n"


def scalar(value: object) -> str:
    """The value as YAML on one line, lists and maps in brackets."""
    style = '"' if isinstance(value, str) and "\n" in value else None
    text = yaml.safe_dump(
        value, default_flow_style=True, default_style=style, sort_keys=False, allow_unicode=True, width=10**9
    )
    return text.removesuffix("...\n").strip()


def checked(text: str, load: Callable[[Path], dict] = load_feeds) -> str:
    """The text itself, if it is a file that `load` takes; PlatformError with the loader's sentences if not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "proposal"
        path.write_text(text, encoding="utf-8")
        try:
            load(path)
        except PlatformError as error:
            raise PlatformError(str(error).replace("proposal: ", "the block would not hold: ")) from None
    return text


def name_fault(name: str) -> str | None:
    """Why a column of the source cannot be declared under its name, None if it can."""
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        return "a column's name has letters, digits and _ only"
    return "the platform writes a column of this name itself" if name.lower() in RESERVED else None


def _comment(text: str | None) -> str:
    return f"  # {text}" if text else ""
