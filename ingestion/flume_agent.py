"""Flume's agent files: the components that they declare, each with its type and properties as they stand."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ingestion.proposal import Entry, moving_in
from warehouse.errors import PlatformError

# Kind of component as Flume calls it → section of moving_in.yml.
SECTIONS = {
    "configfilters": "flume_configfilter", "sources": "flume_source", "channels": "flume_channel",
    "sinks": "flume_sink", "sinkgroups": "flume_processor",
}  # fmt: skip


@dataclass
class Component:
    """A source, channel, sink, sink group or config filter of an agent, with its properties as they stand."""

    agent: str
    kind: str
    name: str
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """What its properties begin with."""
        return f"{self.agent}.{self.kind}.{self.name}"

    @property
    def type(self) -> str:
        return self.properties.get("processor.type" if self.kind == "sinkgroups" else "type", "")

    def entry(self) -> Entry | None:
        """What becomes of a component of this type; None for a class of somebody's own."""
        return find_entry(moving_in(SECTIONS[self.kind]), self.type.lower(), str.lower)

    def is_(self, alias: str) -> bool:
        """Whether its type is the one that Flume calls so, by alias or by class."""
        return (entry := self.entry()) is not None and alias in entry.names


def find_entry(entries: tuple[Entry, ...], name: str, fold: Callable[[str], str] = str) -> Entry | None:
    """The entry that has the name: itself first, then by a .* that covers it."""
    exact = (entry for entry in entries if name in map(fold, entry.names))
    covered = (e for e in entries for known in e.names if known.endswith(".*") and name.startswith(known[:-1]))
    return next(exact, None) or next(covered, None)


def read_agents(text: str, where: str) -> tuple[list[Component], list[str]]:
    """(components of all agents in the order of the file, notes on what belongs to none); PlatformError if there is none."""
    properties = read_properties(text)
    found: dict[tuple[str, str, str], Component] = {}
    for key, value in properties.items():
        agent, _, kind = key.partition(".")
        if kind in SECTIONS:
            for name in value.split():
                found[(agent, kind, name)] = Component(agent, kind, name)
    if not any(kind == "sources" or kind == "channels" for _, kind, _ in found):
        raise PlatformError(f"{where}: no agent is declared: a line like a1.sources = r1 names its sources")
    notes = []
    for key, value in properties.items():
        agent, kind, name, *rest = [*key.split(".", 3), "", ""][:4]
        if component := found.get((agent, kind, name)):
            component.properties[rest[0]] = value
        elif key.partition(".")[2] not in SECTIONS:
            notes.append(f"not needed: {key}: it belongs to nothing that its agent lists, so Flume ignores it, too")
    return list(found.values()), notes


def read_properties(text: str) -> dict[str, str]:
    """Key → value of a Java properties file: # and ! comments, continuation by a backslash, = : or blank between them."""
    found, pending = {}, ""
    for line in text.splitlines():
        line = line.lstrip()
        if not pending and (not line or line[0] in "#!"):
            continue
        pending += line
        if len(re.search(r"\\*$", pending)[0]) % 2:
            pending = pending[:-1]
            continue
        key, value = re.fullmatch(r"((?:\\.|[^\\=:\s])*)\s*[=:]?\s*(.*)", pending, re.DOTALL).groups()
        found[_unescape(key)] = _unescape(value).strip()
        pending = ""
    return found


def _unescape(text: str) -> str:
    letters = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
    text = re.sub(r"\\u([\da-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
    return re.sub(r"\\(.)", lambda match: letters.get(match[1], match[1]), text)


def resolved(component: Component, key: str, default: str | None = None) -> str:
    """The property with ${NAME} taken from the environment, as Flume does; PlatformError if it is missing or not set."""
    value = component.properties.get(key) or default
    if not value:
        raise PlatformError(f"{component.path}.{key} is missing: its type {component.type} needs it")

    def look_up(match: re.Match) -> str:
        if (found := os.environ.get(match[1])) is None:
            raise PlatformError(f"{component.path}.{key}: the variable {match[1]} is not set: set it and convert again")
        return found

    return re.sub(r"\$\{([^}]+)\}", look_up, value)
