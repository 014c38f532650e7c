"""Does a file still look as its feed declares it? Seen from its head: the header of a CSV, the first lines of JSON.

A column that is missing or of another type stops the load with a diff, since thousands of rows held back one by one would
say it worse. A new one is recorded; it is read only if the feed lets it through, and then encrypted, because nobody has
classified it.
"""

import csv
import hashlib
import json
import re

from ingestion.door import MAX_LINE_BYTES
from ingestion.feeds import DIGEST, WRITTEN, Column, Feed, FilesFeed, LogFeed
from ingestion.values import EPOCHS
from warehouse import state
from warehouse.errors import PlatformError, listed, shown

HEAD_LINES = 50
DELIMITERS = (",", ";", "\t", "|")
ENOUGH = 5  # lines or values that must agree before a column is called missing or of another type
TWICE = "twice in one header"  # the type of a column of which nobody can say which one it is
LONGEST = 120  # characters of an undeclared column's name that are recorded
LETTABLE = r"[A-Za-z_][A-Za-z0-9_]{0,59}"  # a name of a column that needs no care anywhere
SECRET = Column.model_validate({"type": "string", "class": "secret", "action": "encrypt"})


def head_of(feed: FilesFeed, name: str, head: bytes) -> dict:
    """What the first lines of a file say: new (name → type) and, of a CSV with a header, header (the line) and fields.

    Raises PlatformError with a diff if a declared column is missing, twice there, or of another type.
    """
    encoding = "utf-8-sig" if feed.encoding == "utf-8" else feed.encoding
    lines = head.decode(encoding, errors="replace").removeprefix("\ufeff").split("\n")
    lines = [line.removesuffix("\r") for line in lines]
    if feed.format == "csv" and feed.header:
        header = head.split(b"\n", 1)[0]
        fields = _header(feed, name, header, encoding, lines[0])
        new = {recorded(field): "string" if fields.count(field) == 1 else TWICE for field in _new(feed, fields)}
        return {"header": header.decode(encoding).removeprefix("\ufeff"), "fields": fields, "new": new}
    return {"new": _json_head(feed, name, lines)} if feed.format == "json" else {"new": {}}


def _header(feed: FilesFeed, name: str, line: bytes, encoding: str, text: str) -> list[str]:
    """The names in the first line of a CSV; of those that nobody declared any may be odd, empty or twice there."""
    fields, faults = [], []
    try:
        line.decode(encoding)
        fields = _called(feed, next(csv.reader([text], delimiter=feed.delimiter), []))
    except UnicodeDecodeError:
        faults.append(
            f"  ~ its header is no {feed.encoding} (a feed may declare `encoding: latin-1`, cp1252 or gb18030)"
        )
    except csv.Error as error:
        faults.append(f"  ~ its first line cannot be a header: {error}")
    if len(line) > MAX_LINE_BYTES:
        faults.append(f"  ~ its first line cannot be a header: it has {len(line):,} bytes")
    unseen = [column for column in feed.columns if column != DIGEST and fields.count(column) != 1]
    cut_by = [] if faults or not unseen else [by for by in DELIMITERS if by != feed.delimiter]
    others = [by for by in cut_by if {*unseen} <= {*_called(feed, next(csv.reader([text], delimiter=by), []))}]
    if others:
        faults.append(f"  ~ its header is cut by {others[0]!r}, not by {feed.delimiter!r}: declare its `delimiter`")
        unseen = []
    for column in unseen if fields or not faults else ():
        if column in fields:
            faults.append(f"  ~ {column}: {fields.count(column)} times in the header")
        else:
            alike = [shown(field) for field in fields if field.strip().lower() == column.lower()]
            faults.append(
                f"  - {column}: declared, missing in the header" + (f", which has {listed(alike)}" if alike else "")
            )
    stop(feed, name, faults)
    return fields


def _called(feed: FilesFeed, fields: list[str]) -> list[str]:
    """The fields of a header by the names that their columns have in the feed."""
    named = {column.field: name for name, column in feed.columns.items() if column.field}
    return [named.get(field, field) for field in fields]


def _json_head(feed: FilesFeed, name: str, lines: list[str]) -> dict[str, str]:
    rows = []
    for line in lines[:HEAD_LINES]:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
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
    stop(feed, name, faults)
    return {
        recorded(key): " or ".join(sorted({_kind(v) for v in values[key]} - {"null"})) or "null"
        for key in _new(feed, values)
    }


def stop(feed: FilesFeed, name: str, faults: list[str]) -> None:
    """Raise PlatformError with these lines of a diff, if there are any."""
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


def recorded(name: str) -> str:
    """The name of a column that nobody declared as it is recorded: any text can stand in a header or be a JSON key."""
    name = shown(name)
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 10]}…{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def let_through(feed: Feed, new: dict[str, str]) -> list[str]:
    """Those of the undeclared columns (name → type) that a feed reads: of what could be a column beside those it has.

    Of names that differ by case alone, which are one name to a table, the one that was recorded first.
    """
    if feed.new_columns == "record":
        return []
    stored = [stored for name, column in feed.columns.items() for stored in (name, *column.stored(name))]
    own = ("ds", "batch", "load_id", "key_id", *(WRITTEN if isinstance(feed, LogFeed) else ()))
    taken = {name.lower() for name in (*stored, *own)}
    first: dict[str, str] = {}
    for name in (*(row["column_name"] for row in state.drift(feed.name)), *sorted(new)):
        first.setdefault(name.lower(), name)
    return [
        name
        for name, kind in new.items()
        if re.fullmatch(LETTABLE, name)
        and kind != TWICE
        and first[name.lower()] == name
        and taken.isdisjoint((name.lower(), f"{name.lower()}_enc"))
    ]


def fields_read(feed: FilesFeed, file: dict) -> tuple[str | None, ...] | None:
    """The columns of the feed in the order of the file's header, None in place of others; None if it has no header."""
    return tuple(name if name in feed.columns else None for name in file["fields"]) if "fields" in file else None


def as_read(feed: FilesFeed, files: list[dict]) -> FilesFeed:
    """The feed with the columns that are let through."""
    through = let_through(feed, _new_in(files))
    return feed.model_copy(update={"columns": feed.columns | dict.fromkeys(through, SECRET)})


def record(feed: FilesFeed, files: list[dict], ds: str) -> list[str]:
    """Record the columns that nobody declared; returns what is worth saying."""
    new = _new_in(files)
    state.record_drift(feed.name, ds, new)
    return said(feed, dict(sorted(new.items())), "new")


def _new_in(files: list[dict]) -> dict[str, str]:
    """The undeclared columns of files: name → type."""
    pairs = [(name, kind) for file in files for name, kind in file.get("new", {}).items()]
    return dict(pairs) | {name: kind for name, kind in pairs if kind == TWICE}


def said(feed: Feed, new: dict[str, str], where: str, shows: str = "{name}") -> list[str]:
    """Which of the undeclared columns (name → type) are read and which are not, each with `where`, for a note."""
    through = let_through(feed, new)
    kinds = (("read, encrypted", through), ("not read", [name for name in new if name not in through]))
    return [
        f"{where}, {what}: {', '.join(shows.format(name=recorded(name), kind=new[name]) for name in names)}"
        for what, names in kinds
        if names
    ]
