"""What is usual on a day: quiet years raise hardly an alarm, however clustered their rows; halves and outages are found."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from expectations.usual import FEWEST_DAYS, USUAL_DAYS, evenly, usual
from warehouse.dates import shift

FIRST, QUIET_DAYS = "2025-01-01", 365
WEEKLY = np.array([1.1, 1.15, 1.1, 1.2, 1.0, 0.6, 0.5])  # Monday … Sunday


def weights(n: int) -> np.ndarray:
    return np.array([WEEKLY[(date.fromisoformat(FIRST) + timedelta(i)).weekday()] for i in range(n)])


def lines(rng, n_invoices: float, deviation: float) -> int:
    """The lines of so many invoices on average: 6 each, now and then 150."""
    n = rng.poisson(n_invoices)
    return int(np.maximum(1, np.round(rng.lognormal(np.log(6) - deviation**2 / 2, deviation, n))).sum())


SHOPS = {
    "small, Poisson": lambda rng, weight: rng.poisson(5),
    "small, weekly": lambda rng, weight: rng.poisson(30 * weight),
    "small, clustered": lambda rng, weight: lines(rng, 6 * weight, 1.0),
    "small, very clustered": lambda rng, weight: lines(rng, 6 * weight, 1.5),
    "middle, clustered": lambda rng, weight: lines(rng, 20 * weight, 1.2),
    "large, weekly": lambda rng, weight: rng.poisson(10_000 * weight),
    "large, clustered": lambda rng, weight: lines(rng, 700 * weight, 1.2),
    "large, uneven": lambda rng, weight: rng.poisson(10_000 * weight * rng.lognormal(0, 0.1)),
    "large, shut on Sundays": lambda rng, weight: rng.poisson(10_000 * weight) if weight != 0.5 else 0,
}


def lived(shop: str, seed: int, known: int) -> list[tuple]:
    """What is usual and what came, on each day of a quiet year of which `known` days were known before."""
    rng = np.random.default_rng(seed)
    rows = [int(SHOPS[shop](rng, weight)) for weight in weights(known + QUIET_DAYS)]
    days = [shift(FIRST, i) for i in range(len(rows))]
    before = [dict(zip(days[max(i - USUAL_DAYS, 0) : i], rows[max(i - USUAL_DAYS, 0) : i], strict=True))
              for i in range(known, len(rows))]  # fmt: skip
    return [(usual(seen, day), n) for seen, day, n in zip(before, days[known:], rows[known:], strict=True)]


def alarms(days: list[tuple]) -> int:
    return sum(not found.least() <= n <= found.most() for found, n in days)


@pytest.mark.parametrize("shop", SHOPS)
def test_a_quiet_year_raises_at_most_one_alarm_in_a_small_shop_and_none_in_a_large_one(shop):
    """Three years of each. Of twenty: .8 a year where invoices are very unlike, .3 and less elsewhere, none in large shops."""
    seen = sum(alarms(lived(shop, seed, USUAL_DAYS)) for seed in (1, 2, 3))
    assert seen <= (0 if shop.startswith("large") else 3)


@pytest.mark.parametrize("shop", [shop for shop in SHOPS if shop != "large, shut on Sundays"])
def test_a_new_company_is_not_stopped_by_its_first_weeks(shop):
    """Its weekdays are unknown until four of each are; a weekday on which nothing ever comes is declared until then."""
    assert alarms(lived(shop, 2, FEWEST_DAYS)[:60]) == 0


def test_a_poisson_count_of_rows_would_stop_many_quiet_days_of_a_clustered_shop():
    """What the gate did before: as many rows as usual, and as many more as chance adds if each row comes by itself."""
    year = lived("small, very clustered", 1, USUAL_DAYS)
    assert alarms([(replace(found, dispersion=1.0), n) for found, n in year]) > 10


@pytest.mark.parametrize("shop", [shop for shop in SHOPS if not shop.startswith("small")])
def test_an_outage_of_all_but_small_shops_is_found(shop):
    year = [(found, n) for found, n in lived(shop, 3, USUAL_DAYS) if n]
    assert sum(found.least() > 0 for found, _ in year) >= (1 if shop.startswith("large") else 0.85) * len(year)


def test_half_and_double_of_a_large_steady_feed_are_found_each_day_once_its_weekdays_are_known():
    for found, n in lived("large, weekly", 4, USUAL_DAYS):
        assert n // 2 < found.least() and 2 * n > found.most()
    uneven = lived("large, uneven", 4, USUAL_DAYS)
    assert sum(n // 2 < found.least() for found, n in uneven) > 0.6 * len(uneven)
    assert sum(2 * n > found.most() for found, n in uneven) > 0.6 * len(uneven)


def test_one_invoice_of_150_lines_is_no_flood_of_a_shop_whose_invoices_differ():
    """165 rows stopped a shop of 800 customers, in which a Poisson count would never have come to more than 115."""
    rng = np.random.default_rng(5)
    days = {shift(FIRST, i): lines(rng, 6, 1.0) for i in range(USUAL_DAYS)}
    assert usual(days, shift(FIRST, USUAL_DAYS)).most() > 165
    poisson = {day: int(rng.poisson(36)) for day in days}
    assert usual(poisson, shift(FIRST, USUAL_DAYS)).most() < 130


def test_limits_are_never_narrower_than_those_of_a_poisson_count():
    days = {shift(FIRST, i): 100 + (i % 2) for i in range(USUAL_DAYS)}
    even = usual(days, shift(FIRST, USUAL_DAYS))
    assert even.dispersion == 1 and not even.is_steady
    assert even.least() < 60 and even.most() > 170


def test_a_weekday_on_which_nothing_comes_is_not_missed_and_may_be_like_others():
    days = {shift(FIRST, i): 0 if i % 7 == 3 else 200 for i in range(28)}
    shut, other = usual(days, shift(FIRST, 31)), usual(days, shift(FIRST, 29))
    assert shut.least() == 0 and shut.most() > 200
    assert other.least() > 75


def test_what_is_usual_goes_with_the_season_and_is_unknown_at_first():
    assert usual({shift(FIRST, i): 9 for i in range(6)}, shift(FIRST, 6)) is None
    rising = {shift(FIRST, i): 100 if i < 30 else 200 for i in range(72)}
    assert usual(rising, shift(FIRST, 72)).per_day == 200


def test_days_that_always_bring_the_same_are_no_chance_but_nothing_is():
    steady = usual({shift(FIRST, i): 5 for i in range(14)}, shift(FIRST, 14))
    assert steady.is_steady and steady.least() == 3 and steady.most() > 10, "one more than always is no alarm"
    silent = usual({shift(FIRST, i): 0 for i in range(14)}, shift(FIRST, 14))
    assert not silent.is_steady and silent.least() == 0 and silent.most() >= 1
    assert evenly(200, 7).least() > 0 and evenly(0, 1).most() > 4
