"""Business days: `ds` is a calendar day in the company's time zone, timestamps are UTC.

No function here asks for the present time; the day is always an argument.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from warehouse.errors import PlatformError


def parse_ds(text: str) -> str:
    """Return `text` if it is a day as YYYY-MM-DD, else raise PlatformError."""
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            raise ValueError
        date.fromisoformat(text)
    except (TypeError, ValueError):
        raise PlatformError(f"{text!r} is not a day: write it as YYYY-MM-DD, for example 2024-08-27") from None
    return text


def shift(ds: str, n: int) -> str:
    """The day `n` days after `ds` (before, if negative)."""
    return (date.fromisoformat(parse_ds(ds)) + timedelta(days=n)).isoformat()


def days(from_ds: str, to_ds: str) -> list[str]:
    """All days from `from_ds` to `to_ds`, both included; an empty range is an error."""
    n = days_between(from_ds, to_ds)
    if n < 0:
        raise PlatformError(f"the range {from_ds} … {to_ds} is empty: --from must not lie after --ds")
    return [shift(from_ds, i) for i in range(n + 1)]


def days_between(from_ds: str, to_ds: str) -> int:
    """Number of days from `from_ds` to `to_ds` (negative if it lies before)."""
    return (date.fromisoformat(parse_ds(to_ds)) - date.fromisoformat(parse_ds(from_ds))).days


def day_bounds_utc(ds: str, tz: str) -> tuple[datetime, datetime]:
    """UTC start and end (half-open) of business day `ds`; 23 or 25 hours apart when clocks change."""
    zone = ZoneInfo(tz)
    start, end = (datetime.combine(date.fromisoformat(d), time(), zone) for d in (parse_ds(ds), shift(ds, 1)))
    return start.astimezone(UTC), end.astimezone(UTC)


def late_window(ds: str, late_days: int, from_ds: str | None = None) -> tuple[str, str]:
    """The days a run rebuilds: `late_days` before its first day, up to `ds`."""
    return shift(from_ds or ds, -late_days), ds
