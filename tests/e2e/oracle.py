"""A plain reader of values, to hold the engine to: what a JSON member or a CSV field is as a value of its type, by the page."""

import json
import math
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np

HELD = "held"
BITS = {"int": 31, "bigint": 63}
NUMBER = re.compile(r"[ \t]*[+-]?(?=\.?[0-9])[0-9]*(\.[0-9]*)?([eE][+-]?[0-9]{1,4})?[ \t]*")
ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(:\d\d)?(?:\.(\d{1,9}))?(Z|[+-]\d\d(?::?\d\d)?)?", re.ASCII
)  # fraction only after seconds


def of_json(kind: str, token: str, zone: str | None) -> list:
    """The outcomes that are right for a member written so: its value, HELD, or both where the page allows either."""
    try:
        value = json.loads(token, parse_float=Number, parse_int=Number, parse_constant=_refuse)
    except ValueError:
        return [HELD]
    if value is None:
        return [None]
    if isinstance(value, str) and not isinstance(value, Number) and re.search("[\ud800-\udfff]", value):
        return [HELD]
    match kind:
        case "string":
            if isinstance(value, str):
                return [str(value)]
            return [token] if isinstance(value, bool) else [Nested(token)]
        case "boolean":
            return [value] if isinstance(value, bool) else [HELD]
    if isinstance(value, bool | list | dict):
        return [HELD]
    if kind in ("int", "bigint"):
        return of_text(kind, value, zone) if isinstance(value, Number) else [HELD]
    if kind in ("float", "double") and not isinstance(value, Number):
        return [HELD]
    return of_text(kind, str(value), zone)


def of_text(kind: str, text: str, zone: str | None) -> list:
    """The outcomes that are right for a text in a column of this type."""
    if kind == "string":
        return [text]
    if kind == "boolean":
        known = {"true": True, "t": True, "yes": True, "y": True, "1": True}
        known |= {"false": False, "f": False, "no": False, "n": False, "0": False}
        return [known.get(text.strip(" \t").lower(), HELD)]
    if kind == "date":
        return [_date(text)]
    if kind == "timestamp":
        return [_timestamp(text, zone)]
    if kind in BITS:
        whole = re.fullmatch(r"[ \t]*[+-]?[0-9]+[ \t]*", text)
        return [int(text) if whole and -(1 << BITS[kind]) <= int(text) < 1 << BITS[kind] else HELD]
    if not NUMBER.fullmatch(text):
        return [HELD]
    if kind in ("float", "double"):
        with np.errstate(over="ignore"):
            value = float(np.float32(text)) if kind == "float" else float(text)
        return [value if math.isfinite(value) else HELD]
    precision, scale = map(int, re.findall(r"\d+", kind))
    value = Decimal(text.strip(" \t"))
    fits = abs(Fraction(value)) < 10 ** (precision - scale) and (Fraction(value) * 10**scale).denominator == 1
    # a number that an exponent makes exact again may be held
    return [value if fits else HELD, *([HELD] if fits and "e" in text.lower() else [])]


class Number(str):
    """A number as it was written."""


class Nested(str):
    """The text of a list or object: equal if it holds the same, each number as it was written."""

    def __eq__(self, other) -> bool:
        return isinstance(other, str) and _whole(self) == _whole(other)

    __hash__ = str.__hash__


def _whole(text: str):
    return json.loads(text, parse_float=lambda t: ("number", t), parse_int=lambda t: ("number", t))


def _refuse(text: str):
    raise ValueError(text)


def _date(text: str):
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return HELD
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return HELD
    return found if found.year >= 1900 else HELD


def _timestamp(text: str, zone: str | None):
    found = ISO.fullmatch(text)
    if not found or found[4] and not found[3]:
        return HELD
    day, minutes, seconds, fraction, offset = found.groups()
    try:
        at = datetime.fromisoformat(f"{day}T{minutes}{seconds or ':00'}")
        at += timedelta(microseconds=int((fraction or "")[:6].ljust(6, "0")))
        if offset:
            hours, rest = (0, 0) if offset == "Z" else (int(offset[1:3]), int(offset[3:].strip(":") or 0))
            if rest > 59 or hours * 60 + rest > 18 * 60:
                return HELD
            at -= timedelta(hours=hours, minutes=rest) * (-1 if offset[0] == "-" else 1)
        elif zone:
            at = at.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None)
        else:
            return HELD
    except (ValueError, OverflowError):
        return HELD
    return at if at.year >= 1900 else HELD
