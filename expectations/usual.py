"""How many rows of a feed are usual on a day, and from where on neither chance nor custom explains their number.

Rows are counts, but clustered ones: an invoice of 150 lines is one event. A sum of clusters has a variance of `dispersion`
times its mean, whatever the weekday's level (a compound Poisson sum: McCullagh and Nelder 1989, Generalized Linear Models,
section 6.2), so the dispersion is taken from all known days together, as Pearson's chi-square over its degrees of freedom, and
is never below that of a Poisson count, 1. The limits are quantiles of the negative binomial with the mean of the weekday and
this variance, that of the estimated mean included: the method by which outbreaks are told from what is usual in counts of
reports (Farrington et al. 1996, J. R. Statist. Soc. A 159, 547-563, with the quantile of Noufaily et al. 2013, Statistics in
Medicine 32, 1206-1222).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from expectations.rules import SIGMAS
from warehouse.dates import days_between

FEWEST_DAYS = 7  # that tell what is usual
LEVEL_DAYS = 42  # that tell its level, which changes with the season
USUAL_DAYS = 60  # that tell how far its days differ
WEEKS = 4  # so many of the same weekday say what is usual on it
STEADY = 14  # so many days with the same number of rows are no chance
SURE = 0.8  # of the limit above which the dispersion is not: few days may have had no large cluster
SILENT = (
    0.001  # more often than chance brings no row at all where so little is its probability, a source is out of order
)
QUIET = 0.1  # of what other days bring: a weekday that is so quiet may be like them for once
UNSEEN = 0.3  # of a day's mean: the standard deviation of days of which only the sum is known, weekdays among them
FEW = 40  # clusters a day (rows where nothing is clustered), of which a share says little

LEAST, MOST = 0.6, 1.7  # of what is usual: demand goes so far on ordinary days, half a feed or a doubled one does not


@dataclass(frozen=True)
class Usual:
    """What is usual on a day: rows, seen on so many days; whatever the weekday; variance over mean; no chance at all."""

    per_day: float
    of_days: int
    mean_per_day: float
    dispersion: float = 1.0
    is_steady: bool = False

    def least(self, n_days: int = 1) -> int:
        """The fewest rows that `n_days` usual days may bring; 0 if there may be none."""
        mean = self.per_day * n_days
        if self.is_steady:
            return max(math.floor(LEAST * mean), 1)
        low = min(_quantile(LEAST * mean, 1.0, is_low=True), _quantile(mean, self._spread(n_days), is_low=True))
        return max(low, 1 if mean and _chance_of_none(mean, self.dispersion) < SILENT else 0)

    def most(self, n_days: int = 1) -> int:
        """The most rows that `n_days` usual days may bring."""
        usual = self.mean_per_day if self.per_day < QUIET * self.mean_per_day else self.per_day
        high = _quantile(MOST * _highest_rate(usual, self.of_days) * n_days, 1.0)
        return max(high, _quantile(usual * n_days, self._spread(n_days)))

    @property
    def is_few(self) -> bool:
        """Whether a day brings so little that nothing can be told from its shares."""
        return not self.is_steady and self.per_day / self.dispersion <= FEW

    def _spread(self, n_days: int) -> float:
        """The dispersion of a sum of `n_days`, with that of its mean, which so many days tell."""
        return self.dispersion * (1 + n_days / self.of_days)


def _highest_rate(per_day: float, n_days: int) -> float:
    """The highest mean that `n_days` days with `per_day` on average leave possible (the exact limit of a Poisson count,
    Garwood 1936): of one day without a row it is 10.4 a day, of sixty with 100 a day 105."""
    from scipy.stats import chi2, norm

    return float(chi2.isf(norm.sf(SIGMAS), 2 * (per_day * n_days + 1))) / (2 * n_days)


def usual(counts: Mapping[str, float], ds: str) -> Usual | None:
    """What is usual on `ds`, from day → rows of days before it; None if they are too few (a day or two say nothing)."""
    if len(counts) < FEWEST_DAYS:
        return None
    seen = {day: n for day, n in counts.items() if days_between(day, ds) <= USUAL_DAYS} or dict(counts)
    level = {day: n for day, n in seen.items() if days_between(day, ds) <= LEVEL_DAYS} or seen
    same = [n for day, n in level.items() if days_between(day, ds) % 7 == 0]
    by_weekday = len(same) >= WEEKS
    chosen = same if by_weekday else list(level.values())
    return Usual(
        per_day=_mean(chosen),
        of_days=len(chosen),
        mean_per_day=_mean(level.values()),
        dispersion=_dispersion(seen, by_weekday),
        is_steady=len(seen) >= STEADY and len(set(seen.values())) == 1 and 0 not in seen.values(),
    )


def evenly(per_day: float, of_days: int, deviation: float = 0.0) -> Usual:
    """What is usual where only the mean of some days is known, and their standard deviation is a guess: a share of it."""
    return Usual(per_day, of_days, per_day, max(deviation**2 * per_day, 1.0))


def _dispersion(counts: Mapping[str, float], by_weekday: bool) -> float:
    """Variance over mean of the days, each against its weekday's mean (else that of all): at most so large, at least 1."""
    from scipy.stats import chi2

    groups: dict[int, list[float]] = {}
    for day, n in counts.items():
        groups.setdefault(date.fromisoformat(day).weekday() if by_weekday else 0, []).append(n)
    groups = {key: of for key, of in groups.items() if sum(of)}
    pearson = sum((n - _mean(of)) ** 2 / _mean(of) for of in groups.values() for n in of)
    free = sum(len(of) - 1 for of in groups.values())
    return max(pearson / float(chi2.isf(SURE, free)), 1.0) if free else 1.0


def _quantile(mean: float, dispersion: float, is_low: bool = False) -> int:
    """The count that chance passes below (is_low) or above as rarely as a normal variable does SIGMAS standard deviations."""
    from scipy.stats import norm

    if mean <= 0:
        return 0
    rare, (counts, *shape) = norm.sf(SIGMAS), _distribution(mean, dispersion)
    return int(counts.ppf(rare, *shape) if is_low else counts.isf(rare, *shape))


def _chance_of_none(mean: float, dispersion: float) -> float:
    counts, *shape = _distribution(mean, dispersion)
    return float(counts.pmf(0, *shape))


def _distribution(mean: float, dispersion: float) -> tuple:
    """Of counts with this mean, and a variance that is `dispersion` times as large: scipy's name and its parameters."""
    from scipy.stats import nbinom, poisson

    return (poisson, mean) if dispersion <= 1 else (nbinom, mean / (dispersion - 1), 1 / dispersion)


def _mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)
