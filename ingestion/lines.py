"""What sample lines of a log tell: their format, their fields with types, which one is the time, which the key."""

import csv
import gzip
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from ingestion.feeds import COMBINED, DIGEST, WRITTEN
from ingestion.guess import guess_column, guess_country, guess_key, guess_time, rank_time, snake
from ingestion.proposal import REVIEW, Found, Guess, name_fault
from warehouse.company import company
from warehouse.errors import PlatformError

SAMPLE_LINES = 1000
DELIMITERS = (",", "\t", ";", "|")
FORMATS = ("json", "csv", "combined")
COMBINED_LINE = re.compile(r'^\S+ \S+ \S+ \[[^]]+\] "(\\.|[^"\\])*" \d{3} (\d+|-) "(\\.|[^"\\])*" "(\\.|[^"\\])*"\s*$')
DAY = re.compile(r"\d{4}-\d\d-\d\d")


def read_sample(path: Path) -> list[str]:
    """The first lines of a file, plain or .gz, that are not empty; PlatformError if there are none."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", errors="replace") as stream:
            lines = [line.rstrip("\r\n") for line, _ in zip(stream, range(SAMPLE_LINES), strict=False)]
    except OSError as error:
        raise PlatformError(f"the sample {path} cannot be read: {error.strerror or error}") from None
    lines = [line.removeprefix("\ufeff") for line in lines if line.strip()]
    if not lines:
        raise PlatformError(f"the sample {path} has no lines: name a file with some lines of the log")
    return lines


def ask_lines(
    lines: list[str], format_: str | None = None, delimiter: str | None = None, names: list[str] | None = None
) -> Found:
    """Columns, key and format of sample lines; `names` are the fields of a CSV in their order, if they are known.

    PlatformError if the lines are of no known format, or no column holds times.
    """
    if format_ and format_ not in FORMATS:
        raise PlatformError(f"format is {format_!r}: it can be {', '.join(FORMATS)}")
    chosen = format_ or ("csv" if delimiter or names else _detect(lines))
    rows, pairs, notes = {
        "json": lambda: _json_rows(lines),
        "csv": lambda: _csv_rows(lines, delimiter, names),
        "combined": lambda: _combined_rows(lines),
    }[chosen]()
    pairs = [("format", chosen, None if format_ else f"{REVIEW}: seen in {len(lines)} lines"), *pairs]
    columns = []
    for name in dict.fromkeys(name for row in rows for name in row):
        fault = name_fault(name) or (
            "collection writes a column of this name itself" if name.lower() in WRITTEN else None
        )
        if fault:
            notes.append(f"left out: field {name}: {fault}; rename it where the log is written")
            continue
        columns.append(_line_column(name, [row.get(name) for row in rows], chosen))
    return _log_found(columns, rows, pairs, notes, chosen)


def _log_found(columns: list[Guess], rows: list[dict], pairs: list[tuple], notes: list[str], format_: str) -> Found:
    """The columns with timestamp_column and key chosen among them."""
    times = {}
    for column in columns:
        values = [row[column.name] for row in rows if row.get(column.name) not in (None, "")]
        if (time := guess_time(values)) and len(values) >= 0.9 * len(rows):
            times[column.name] = time
    if not times:
        raise PlatformError(
            "no field of the sample holds a time in every line (like 2026-01-31T10:00:00+01:00), and a feed needs its "
            "timestamp_column: let the log be written with one, name a better sample, or declare an epoch number yourself "
            "(timestamp_format: epoch_seconds)"
        )
    at = min(times, key=rank_time)
    pattern, zoned = times[at]
    pairs.append(("timestamp_column", at, f"{REVIEW}: the event's own time" if len(times) > 1 else None))
    if pattern and format_ != "combined":
        pairs.append(("timestamp_format", pattern, REVIEW))
    if not zoned:
        pairs.append(("timestamp_zone", company().timezone, f"{REVIEW}: the times carry no offset"))
    key = guess_key([c for c in columns if c.name != at], "", rows) if format_ != "combined" else []
    comment = f"{REVIEW}: a guess from names and {len(rows)} lines"
    if not key:
        key, comment = [DIGEST], f"{REVIEW}: nothing seems to identify an event: the digest of the whole line"
        columns = [*columns, Guess(DIGEST, "string")]
    full = {c.name for c in columns if all(row.get(c.name) not in (None, "") for row in rows)}
    kept = [
        replace(c, type="string" if c.name == at else c.type, required=c.name in full and c.name in (at, *key))
        for c in columns
    ]
    return Found(kept, key, comment, pairs, notes, guess_country(kept, rows))


def _detect(lines: list[str]) -> str:
    if lines[0].lstrip().startswith("{"):
        return "json"
    return "combined" if COMBINED_LINE.match(lines[0]) else "csv"


def _json_rows(lines: list[str]) -> tuple[list[dict], list, list[str]]:
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows += [row] * isinstance(row, dict)
    if not rows:
        raise PlatformError("no line of the sample is a JSON object: name its format, or another sample")
    left = len(lines) - len(rows)
    return rows, [], [f"review: {left} of {len(lines)} sample lines are no JSON objects"] if left else []


def _combined_rows(lines: list[str]) -> tuple[list[dict], list, list[str]]:
    good = [line for line in lines if COMBINED_LINE.match(line)]
    if not good:
        raise PlatformError("no line of the sample is of the combined log format: name its format, or another sample")
    rows = []
    for fields in csv.reader(good, delimiter=" ", quotechar='"', doublequote=False, escapechar="\\"):
        fields[3:5] = [f"{fields[3]} {fields[4]}".strip("[]")]
        rows.append({name: None if text == "-" else text for name, text in zip(COMBINED, fields, strict=False)})
    left = len(lines) - len(good)
    return rows, [], [f"review: {left} of {len(lines)} sample lines are not of the combined format"] if left else []


def _csv_rows(lines: list[str], delimiter: str | None, names: list[str] | None) -> tuple[list[dict], list, list[str]]:
    delimiter = delimiter or _delimiter(lines)
    table = list(csv.reader(lines, delimiter=delimiter))
    width = Counter(map(len, table)).most_common(1)[0][0]
    head, header = table[0], False
    if names:
        width = len(names)
    elif _is_header(table):
        names, header, table = head, True, table[1:]
    named = [snake(name) for name in names] if names else [f"column_{n}" for n in range(1, width + 1)]
    named = [name or f"column_{n}" for n, name in enumerate(named, 1)]
    good = [row for row in table if len(row) == width]
    if not good or len(set(named)) < len(named):
        raise PlatformError(
            "the sample cannot be read as CSV: no line has the fields that are named, or two have one name; name its "
            "format, or another sample"
        )
    pairs = [("delimiter", delimiter, None)] if delimiter != "," else []
    pairs += [("header", True, REVIEW)] if header else []
    notes = [] if names else ["review: the CSV names no columns: column_1 … are placeholders, in the order of the line"]
    if len(good) < len(table):
        notes.append(f"review: {len(table) - len(good)} of {len(table)} sample lines do not have {width} fields")
    return [dict(zip(named, row, strict=False)) for row in good], pairs, notes


def _delimiter(lines: list[str]) -> str:
    """The delimiter that cuts most lines into the same number of fields, at least two."""
    scores = {}
    for delimiter in DELIMITERS:
        width, n = Counter(map(len, csv.reader(lines, delimiter=delimiter))).most_common(1)[0]
        scores[delimiter] = (n if width > 1 else 0, width)
    best = max(scores, key=scores.get)
    if not scores[best][0]:
        raise PlatformError(
            "the sample is neither JSON lines, nor the combined log format, nor CSV (of , ; | or tab): let the log be "
            "written as JSON lines"
        )
    return best


def _is_header(table: list[list[str]]) -> bool:
    head, rows = table[0], table[1:]
    plain = all(re.fullmatch(r"[A-Za-z_][\w .-]{0,63}", cell) for cell in head) and len(set(head)) == len(head)
    return bool(rows) and plain and not any(a == b for row in rows for a, b in zip(head, row, strict=False))


def _line_column(name: str, values: list[object], format_: str) -> Guess:
    """A column of a log from its name and the sampled values."""
    present = [value for value in values if value not in (None, "")]
    type_ = _text_type(present) if format_ != "json" else _json_type(present)
    column = guess_column(name, "string" if type_ in ("int", "bigint") and _personal(name, present) else type_, present)
    if not present:
        return column.noting("empty in the sample")
    if any(isinstance(value, dict | list) for value in present):
        return column.noting("holds objects or lists, kept as their JSON text, a person's data in clear")
    return column


def _personal(name: str, values: list[object]) -> bool:
    """Whether numbers are better read as texts, because they are a person's and so must be hashed or encrypted."""
    return guess_column(name, "string", values).action not in (None, "redact")


def _json_type(values: list[object]) -> str:
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return "boolean"
    if kinds == {int}:
        return "bigint" if all(abs(value) < 2**63 for value in values) else "string"
    return "double" if kinds and kinds <= {int, float} else "string"


def _text_type(values: list[str]) -> str:
    if not values:
        return "string"
    if all(re.fullmatch(r"0|-?[1-9]\d{0,17}", value) for value in values):
        return "bigint"
    if all(re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", value) for value in values):
        return "double"
    return "boolean" if all(value in ("true", "false") for value in values) else "string"


def date_pattern(file_name: str) -> tuple[str, str]:
    """(pattern with {date}, what stands before the day) of a file's name; without a day one is put before the suffix."""
    match = DAY.search(file_name)
    if match:
        before, after = file_name[: match.start()], file_name[match.end() :]
        suffix = after[after.index(".") :] if "." in after else ""
        return f"{before}{{date}}*{suffix}", before.rstrip("-_.")
    stem, dot, suffix = file_name.partition(".")
    return f"{stem}-{{date}}*{dot}{suffix}", stem
