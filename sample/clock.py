"""The company's calendar: history starts 2024-03-01 in the business time zone; a time is UTC in milliseconds.

The calendar is fixed and lies well back, because Airflow does not start runs with a future logical date.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from warehouse.errors import PlatformError

FIRST_DAY = date(2024, 3, 1)
SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000
NEVER = np.iinfo(np.int64).max


def ds_of(day: int) -> str:
    """The business date of a day of the history (0 = its first)."""
    return (FIRST_DAY + timedelta(days=day)).isoformat()


def day_of(ds: str) -> int:
    """The day of the history of a business date."""
    return (date.fromisoformat(ds) - FIRST_DAY).days


def refuse_future(day: int, tz: str) -> None:
    """Raise PlatformError for a day that is not over: Airflow would never start a run for one that has not been."""
    today = datetime.now(ZoneInfo(tz)).date().isoformat()  # the one place that asks for the present
    if ds_of(day) >= today:
        raise PlatformError(f"{ds_of(day)} is not over yet: a generated company cannot live a day of the future")


def weekday_of(day: int) -> int:
    """0 = Monday."""
    return (FIRST_DAY + timedelta(days=day)).weekday()


@lru_cache(maxsize=4_096)
def _hour_starts(tz: str, day: int) -> np.ndarray:
    """UTC of each local full hour: clock changes within a day come out right."""
    midnight = datetime.combine(FIRST_DAY + timedelta(days=day), datetime.min.time())
    local = (midnight + timedelta(hours=h) for h in range(24))
    return np.array([int(t.replace(tzinfo=ZoneInfo(tz)).astimezone(UTC).timestamp()) * SECOND for t in local])


def day_start(tz: str, day: int) -> int:
    """UTC of the day's local midnight; the day ends where the next one starts."""
    return int(_hour_starts(tz, day)[0])


def to_utc(tz: str, day: int, local_ms: np.ndarray) -> np.ndarray:
    """UTC of local times given as milliseconds since the day's midnight."""
    hour = np.clip(local_ms // HOUR, 0, 23)
    return _hour_starts(tz, day)[hour] + (local_ms - hour * HOUR)


def utc_offset(tz: str, day: int) -> int:
    """Milliseconds by which local time at noon is ahead of UTC."""
    noon = datetime.combine(FIRST_DAY + timedelta(days=day), datetime.min.time()) + timedelta(hours=12)
    return int(ZoneInfo(tz).utcoffset(noon).total_seconds()) * SECOND


def years_of(utc_ms: np.ndarray) -> np.ndarray:
    """Calendar year per time."""
    return utc_ms.astype("datetime64[ms]").astype("datetime64[Y]").astype(np.int64) + 1970
