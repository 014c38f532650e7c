"""When the shop trades: its closed days, the demand of a day, and the local times on its invoices.

Customers live by demand, not by the calendar: the purchase process runs on cumulated demand (mean 1 a day), so a closed
day has no purchases, November has many, and the process keeps its parameters all the same.
"""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from dateutil.easter import easter

from sample import clock

ZONE = "Europe/London"
_WEEKDAYS = np.array([1.1, 1.15, 1.1, 1.2, 1.0, 0.0, 0.5])  # Monday … Sunday
_MONTHS = np.array([0.75, 0.8, 0.95, 0.9, 0.95, 0.9, 0.85, 0.85, 1.2, 1.35, 1.8, 1.1])
_NIGHT_SHARE = 0.02  # orders by e-mail, at any hour
_CHANGE_SHARE = 0.3  # of the invoices of the day the clocks go back: in the hour that occurs twice


def dates_of(day) -> np.ndarray:
    """The business date of each day, as text."""
    return np.datetime_as_string(np.datetime64(clock.FIRST_DAY) + np.asarray(day)).astype(object)


def bank_holidays(year: int) -> dict[date, str]:
    """The bank holidays of England and Wales that have a rule; those at Christmas fall into the shop's own closure."""

    def monday(month: int, last: bool) -> date:
        day = date(year, month + 1, 1) - timedelta(1) if last else date(year, month, 7)
        return day - timedelta(day.weekday())

    return {
        easter(year) - timedelta(2): "Good Friday",
        easter(year) + timedelta(1): "Easter Monday",
        monday(5, last=False): "Early May bank holiday",
        monday(5, last=True): "Spring bank holiday",
        monday(8, last=True): "Summer bank holiday",
    }


def closed_days(days: int) -> pd.DataFrame:
    """The days of 0 … `days` - 1 on which the shop is closed, other than Saturdays: day, Date, Reason."""
    rows = []
    for number in range(days):
        day = clock.FIRST_DAY + timedelta(number)
        at_christmas = (day.month, day.day) >= (12, 24) or (day.month, day.day) <= (1, 2)
        reason = "Christmas closure" if at_christmas else bank_holidays(day.year).get(day)
        if reason:
            rows.append((number, day, reason))
    return pd.DataFrame(rows, columns=["day", "Date", "Reason"])


def demand(days: int, rng: np.random.Generator) -> np.ndarray:
    """Demand of each day, shape (days,), mean 1; 0 on closed days."""
    dates = [clock.FIRST_DAY + timedelta(number) for number in range(days)]
    weights = _WEEKDAYS[[d.weekday() for d in dates]] * _MONTHS[[d.month - 1 for d in dates]]
    weights = weights * np.exp(rng.normal(0, 0.1, days))
    weights[closed_days(days)["day"].to_numpy(int)] = 0
    return weights * days / weights.sum()


def next_open(open_days: np.ndarray, day: np.ndarray) -> np.ndarray:
    """The first open day at or after each day; one beyond the last where there is none."""
    at = np.searchsorted(open_days, day)
    return np.append(open_days, open_days[-1] + 1)[at]


def times_of(day: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    """A time for each invoice of a day, in whole minutes: `local`, as the shop writes it, and the true `utc`."""
    n = len(day)
    is_sunday = np.array([clock.weekday_of(d) for d in range(day.max() + 1)])[day] == 6
    minute = np.where(is_sunday, 600 + 360 * rng.beta(2, 2, n), 420 + 780 * rng.beta(3, 3, n)).astype(int)
    at_night = rng.random(n) < _NIGHT_SHARE
    minute[at_night] = rng.integers(0, 1_440, at_night.sum())
    twice = _clocks_go_back(day.max() + 1)
    in_change = np.isin(day, twice) & (rng.random(n) < _CHANGE_SHARE)
    for number in twice:  # a few at least, whatever the draw, and on both sides of the change
        in_change[np.flatnonzero(day == number)[:4]] = True
    minute[in_change] = rng.integers(60, 120, in_change.sum())
    is_summer_time = np.cumsum(in_change) % 2 == 1
    midnight = np.datetime64(clock.FIRST_DAY, "s") + day.astype("timedelta64[D]")
    written = pd.Series(midnight + minute.astype("timedelta64[m]"))
    aware = written.dt.tz_localize(ZONE, ambiguous=is_summer_time, nonexistent=pd.Timedelta(hours=1))
    return pd.DataFrame({"local": aware.dt.tz_localize(None), "utc": aware.dt.tz_convert(None)})


def _clocks_go_back(days: int) -> list[int]:
    def offset(number: int) -> timedelta:
        return pd.Timestamp(clock.ds_of(number)).tz_localize(ZoneInfo(ZONE)).utcoffset()

    return [number for number in range(days) if offset(number + 1) < offset(number)]
