"""Does a file still look as its feed declares it? Seen from its head: the header of a CSV, the first lines of JSON.

A column that is missing or of another type stops the load with a diff, since thousands of rows held back one by one would
say it worse. A new one is recorded; it is read only if the feed lets it through, and then encrypted, because nobody has
classified it.
"""

import csv
import json

from ingestion.feeds import DIGEST, Column, FilesFeed
from ingestion.values import EPOCHS
from warehouse import state
from warehouse.errors import PlatformError, shown

HEAD_LINES = 50
ENOUGH = 5  # lines or values that must agree before a column is called missing or of another type
SECRET = Column.model_validate({"type": "string", "class": "secret", "action": "encrypt"})


def head_of(feed: FilesFeed, name: str, head: bytes) -> dict:
    """What the first lines of a file say: new (name → type) and, of a CSV with a header, header (the line) and fields.

    Raises PlatformError with a diff if a declared column is missing or of another type.
    """
    text = head.decode("utf-8-sig" if feed.encoding == "utf-8" else "latin-1", errors="replace")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if feed.format == "csv" and feed.header and lines[0]:
        fields = next(csv.reader([lines[0]], delimiter=feed.delimiter))
        _stop(
            feed,
            name,
            [f"  - {c}: declared, missing in the header" for c in feed.columns if c not in (*fields, DIGEST)],
        )
        return {"header": text.split("\n")[0], "fields": fields, "new": dict.fromkeys(_new(feed, fields), "string")}
    return {"new": _json_head(feed, name, lines)} if feed.format == "json" else {"new": {}}


def _json_head(feed: FilesFeed, name: str, lines: list[str]) -> dict[str, str]:
    rows = []
    for line in lines[:HEAD_LINES]:
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the door judges it
        if isinstance(row, dict):
            rows.append(row)
    values: dict[str, list] = {}
    for row in rows:
        for key, value in row.items():
            values.setdefault(key, []).append(value)
    faults = []
    for column, declared in feed.columns.items():
        given = [v for v in values.get(column, ()) if v is not None]
        kinds = {_kind(v) for v in given}
        if declared.required and column not in values and len(rows) >= ENOUGH:
            faults.append(f"  - {column} {declared.type}: declared and required, in none of the first lines")
        if len(given) >= ENOUGH and not kinds & _accepted(feed, column):
            faults.append(f"  ~ {column}: declared {declared.type}, {' and '.join(sorted(kinds))} in the file")
    _stop(feed, name, faults)
    return {
        key: " or ".join(sorted({_kind(v) for v in values[key]} - {"null"})) or "null" for key in _new(feed, values)
    }


def _stop(feed: FilesFeed, name: str, faults: list[str]) -> None:
    if faults:
        raise PlatformError(
            f"{feed.name}: {shown(name)} is not what the feed declares:\n" + "\n".join(faults) + "\n"
            "mend the file, or the feed's columns (and its staging model); then run again"
        )


def _new(feed: FilesFeed, names) -> list[str]:
    return [name for name in names if name not in feed.columns]


def _kind(value) -> str:
    return {bool: "boolean", int: "int", float: "double", str: "string", type(None): "null"}.get(type(value), "nested")


def _accepted(feed: FilesFeed, name: str) -> set[str]:
    """The kinds of JSON values that a column takes."""
    kind, numbers = feed.columns[name].type, {"int", "double"}
    pattern = feed.timestamp_format if name == feed.timestamp_column else feed.columns[name].time_format
    if kind.startswith("decimal"):
        return {"string"} | numbers
    if kind in ("string", "date", "timestamp", "binary"):
        nested = {"nested"} if kind == "string" else set()  # kept as its JSON text
        return {"string"} | nested | (numbers if pattern in EPOCHS else set())
    if kind == "boolean":
        return {"boolean"}
    return {"int"} if kind in ("int", "bigint") else numbers


def as_read(feed: FilesFeed, files: list[dict]) -> FilesFeed:
    """The feed with the columns that are let through."""
    if feed.new_columns == "record":
        return feed
    new = {name: SECRET for file in files for name in file.get("new", {})}
    return feed.model_copy(update={"columns": feed.columns | new})


def record(feed: FilesFeed, files: list[dict], ds: str) -> list[str]:
    """Record the columns that nobody declared; returns what is worth saying."""
    new = {name: kind for file in files for name, kind in file.get("new", {}).items()}
    state.record_drift(feed.name, ds, new)
    said = "read, encrypted" if feed.new_columns == "let_through" else "not read"
    return [f"new, {said}: {', '.join(sorted(new))}"] if new else []
