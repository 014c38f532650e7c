"""Names of tables and columns taken apart into the words of synonyms.yml, whatever the language and the way of writing."""

import functools
import re
import unicodedata
from pathlib import Path

import yaml

from ingestion.guess import snake

SYNONYMS = Path(__file__).with_name("synonyms.yml")
SMALL = {
    "a",
    "e",
    "d",
    "de",
    "del",
    "der",
    "des",
    "du",
    "l",
    "la",
    "le",
    "of",
    "the",
    "el",
    "un",
}  # words that say nothing
JOINTS = ("", "s", "n", "en", "es", "er")  # what stands between or behind the words of a compound


@functools.cache
def synonyms() -> dict:
    """The file's sections: words, tables, columns, reversed."""
    return yaml.safe_load(SYNONYMS.read_text(encoding="utf-8"))


@functools.cache
def _written() -> dict[str, frozenset[str]]:
    """How something is written → the words it can mean."""
    found: dict[str, set] = {}
    for word, ways in synonyms()["words"].items():
        for way in (word, *ways):
            found.setdefault(plain(str(way)), set()).add(word)
    return {way: frozenset(words) for way, words in found.items()}


def plain(name: str) -> str:
    """The text without accents, in lower case."""
    parts = unicodedata.normalize("NFKD", name)
    return "".join(c for c in parts if not unicodedata.combining(c)).lower()


@functools.cache
def words_of(name: str) -> tuple[frozenset[str], ...]:
    """What each part of a name can mean; an empty set for a part that is no known word."""
    parts = snake(plain(_spaced(name))).split("_")
    return tuple(words for part in parts if part and part not in SMALL for words in _taken_apart(part))


def _spaced(name: str) -> str:
    """The name with its capitals and digits told apart: CustomerID, XMLName."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"(?<=\D)(?=\d)|(?<=\d)(?=\D)", "_", name)


def _taken_apart(part: str) -> list[frozenset[str]]:
    known = _written()
    for ending in JOINTS:
        if part.endswith(ending) and (stem := part.removesuffix(ending)) in known:
            return [known[stem]]
    if part.endswith("ies") and (stem := f"{part[:-3]}y") in known:
        return [known[stem]]
    return _compound(part) or [frozenset()]


@functools.cache
def _compound(part: str) -> list[frozenset[str]] | None:
    """The words of a compound, the longest first; None if a rest would be left."""
    if part in JOINTS:
        return []
    for end in range(len(part), 0, -1):
        head = part[:end]
        if head not in _written() or (head.isascii() and len(head) < 3):
            continue
        for joint in JOINTS:
            rest = part[end:].removeprefix(joint)
            if part[end:].startswith(joint) and rest in _written():  # the last one may be short: customerid
                return [_written()[head], _written()[rest]]
            if part[end:].startswith(joint) and (behind := _compound(rest)) is not None:
                return [_written()[head], *behind]
    return None


def likeness(name: str, pattern: str, free: frozenset[str] = frozenset()) -> float:
    """How well a name says `pattern` (words), 0 to 1: each word must be there; what else is there takes away, unless `free`."""
    parts, wanted = list(words_of(name)), pattern.split()
    for word in wanted:
        fitting = [part for part in parts if word in part]
        if not fitting:
            return 0.0
        parts.remove(min(fitting, key=len))
    rest = [part for part in parts if not part & free.union(wanted)]
    return len(wanted) / (len(wanted) + 0.8 * len(rest))


def best(name: str, patterns: list[str], free: frozenset[str] = frozenset()) -> float:
    """The highest likeness to any of the patterns, earlier ones ahead of later ones."""
    return max((likeness(name, pattern, free) * (1 - 0.04 * n) for n, pattern in enumerate(patterns)), default=0.0)
