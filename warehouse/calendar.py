"""The company's calendar: on which days nothing comes, and which are like no other day.

Weekdays on which it is always closed stand in company.yml (`closed`); days stand in calendar.csv of its folder, which may
be left out:

    day,kind,name
    2026-05-01,closed,Labour day        nothing comes, and nothing is missed
    2026-05-14,holiday,Ascension day    open, but no measure for other days, nor they for it
    2026-11-27,promotion,Black Friday   the same; open also on a weekday on which the company is closed
"""

import csv
import functools
import io
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from warehouse.company import company, folder
from warehouse.dates import parse_ds
from warehouse.errors import PlatformError, shown

CLOSED, HOLIDAY, PROMOTION = KINDS = ("closed", "holiday", "promotion")
COLUMNS = ("day", "kind", "name")


@dataclass(frozen=True)
class Day:
    """A line of calendar.csv."""

    kind: str
    name: str


def path() -> Path:
    return folder() / "calendar.csv"


def calendar() -> dict[str, Day]:
    """Day → what calendar.csv says of it, in order of days; every fault of the file in one PlatformError, with its line."""
    file = path()
    return _read(file, file.stat().st_mtime_ns) if file.is_file() else {}


def is_closed(ds: str) -> bool:
    """Whether nothing comes on the day, and nothing is missed."""
    said = calendar().get(ds)
    if said and said.kind != HOLIDAY:
        return said.kind == CLOSED
    return date.fromisoformat(ds).weekday() in company().closed_weekdays


def is_special(ds: str) -> bool:
    """Whether the day is like no other: a holiday or a promotion on which the company is open."""
    return ds in calendar() and not is_closed(ds)


@functools.lru_cache(maxsize=8)
def _read(file: Path, changed: int) -> dict[str, Day]:
    data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise PlatformError(f"{file}, line {line}: is no UTF-8 text: save it as CSV UTF-8") from None
    head = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=";" if ";" in head else ",", strict=True)
    try:
        return _days(file, rows)
    except csv.Error as error:
        raise PlatformError(f"{file}, line {rows.line_num}: is no CSV: {error}") from None


def _days(file: Path, rows) -> dict[str, Day]:
    names = [name.strip().lower() for name in next(rows, [])]
    if sorted(names) != sorted(COLUMNS):
        raise PlatformError(
            f"{file}, line 1: the columns are {shown(', '.join(names))}, and must be {','.join(COLUMNS)}"
        )
    found, lines, faults = {}, {}, []
    for row in rows:
        if not any(field.strip() for field in row):
            continue
        try:
            day, said = _day(names, [field.strip() for field in row])
            if day in found:
                raise PlatformError(f"{day} stands in line {lines[day]} already")
            found[day], lines[day] = said, rows.line_num
        except PlatformError as fault:
            faults.append(f"{file}, line {rows.line_num}: {fault}")
    if faults:
        raise PlatformError("\n".join(faults))
    return dict(sorted(found.items()))


def _day(names: list[str], row: list[str]) -> tuple[str, Day]:
    """A line as its day and what it says of it; a PlatformError without the place if it is wrong."""
    if len(row) != len(names):
        raise PlatformError(f"has {len(row)} fields, and there are {len(names)} columns: a name with a comma is quoted")
    fields = dict(zip(names, row, strict=True))
    if fields["kind"] not in KINDS:
        raise PlatformError(f"kind is {shown(fields['kind'])}, and must be one of {', '.join(KINDS)}")
    return parse_ds(fields["day"]), Day(fields["kind"], fields["name"])
