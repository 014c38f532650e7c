"""What a gate looks at: the days, and what the state database says was loaded."""

import math
from dataclasses import dataclass

from expectations.rules import SIGMAS
from warehouse import stages, state
from warehouse.company import company
from warehouse.dates import days, days_between

FEWEST_DAYS = 7  # that tell what is usual
USUAL_LOADS = 60  # what is usual changes with the company
WEEKS = 4  # so many loads of the same weekday say what is usual on it
STEADY = 14  # so many days with the same number of rows are no chance

LEAST, MOST = 0.4, 2.5  # of the usual volume per day: weekends and campaigns stay inside, an outage does not


def least(n: float, sigmas: float = SIGMAS) -> float:
    """How few rows chance may leave of `n` expected ones, at `sigmas` standard deviations of a Poisson count."""
    return n - sigmas * math.sqrt(n)


def highest_rate(per_day: float, n_days: int) -> float:
    """The highest rate of a Poisson count that `n_days` days with `per_day` on average leave possible, at SIGMAS one-sided.

    The exact upper limit (Garwood 1936): of one day without a row it is 10.4 a day, of sixty with 100 a day 105.
    """
    from scipy.stats import chi2, norm

    return float(chi2.isf(norm.sf(SIGMAS), 2 * (per_day * n_days + 1))) / (2 * n_days)


@dataclass(frozen=True)
class Volume:
    """What a load brought, and what the loads before of the feed brought per day (None: there is none to compare with)."""

    n_rows: int  # accepted
    n_arrived: int  # accepted and quarantined
    n_days: int  # days this load covers
    usual_per_day: float | None  # of the last USUAL_LOADS loads, of the same weekday where WEEKS of them are known
    last_rows: int | None  # rows of the load before
    mean_per_day: float | None = None  # of the last USUAL_LOADS loads, whatever the weekday
    of_days: int = USUAL_LOADS  # how many days what is usual was seen on
    is_steady: bool = False  # each of the days before, STEADY of them at least, brought the same number of rows


@dataclass(frozen=True)
class Scope:
    """The days a gate checks, first_ds … ds, and what was loaded for ds."""

    first_ds: str
    ds: str
    volumes: dict[str, Volume]

    @property
    def n_days(self) -> int:
        return days_between(self.first_ds, self.ds) + 1

    def range(self) -> str:
        """SQL condition of the days."""
        return f"ds between '{self.first_ds}' and '{self.ds}'"

    def may_be_silent(self, *feeds: str) -> bool:
        """Whether chance alone may bring no row of any of `feeds` on the day (they bring few), or the company is closed."""
        return self.ds in company().closed or all(self._brings_few(feed) for feed in feeds)

    def _brings_few(self, feed: str) -> bool:
        seen = self.volumes.get(feed)
        if seen is None:
            return False
        usual = seen.n_arrived / seen.n_days if seen.usual_per_day is None else seen.usual_per_day
        return least(usual * LEAST, 0 if seen.is_steady else SIGMAS) <= 0

    def n_rows(self, *feeds: str) -> int:
        """About how many rows of `feeds` the days have, at least 1."""
        seen = [self.volumes[feed] for feed in feeds if feed in self.volumes]
        return max(sum(round(max(one.n_rows, one.usual_per_day or 0) * self.n_days) for one in seen), 1)

    def n_loaded(self, *feeds: str) -> int:
        """Rows that `feeds` (all, if none is named) loaded for the days; a load may hold older days, too."""
        return state.n_rows_loaded(self.first_ds, self.ds, feeds)


def make_scope(gate: str, ds: str, from_ds: str | None) -> Scope:
    """What `gate` has to look at for `ds` (or from_ds … ds): the days that the step before it has written.

    A load and predictions are of one day (a history load too: its partition is that of its last day). The dbt layers
    rebuild the late window, and everything up to their newest day when an old day is redone.
    """
    if gate == "predictions":
        return Scope(ds, ds, {})
    if gate == "raw":
        first = [x.inputs.get("first") or ds for x in state.loads(ds)]
        return Scope(min([from_ds or ds, *first]), ds, _volumes(ds))
    first, last = stages.rewrites(f"gate_{gate}", ds, from_ds)
    return Scope(first, last, _volumes(last))


def _volumes(ds: str) -> dict[str, Volume]:
    return {x.feed: _volume(x) for x in state.loads(ds) if x.status == "published"}


def _volume(load: state.Load) -> Volume:
    earlier = state.last_loads(load.feed, USUAL_LOADS, before=load.ds)
    spans = [(past, days) for past in earlier if (days := _days_covered(past)) and past.ds not in company().closed]
    single = [past for past, days in spans if days == 1]
    n_days = _days_covered(load) or 1
    covered = sum(days for _, days in spans)
    # a day or two say nothing: what was read up to now at first brings nothing on the day after
    mean = sum(_arrived(past) for past, _ in spans) / covered if covered >= FEWEST_DAYS else None
    same = [_arrived(past) for past in single if days_between(past.ds, load.ds) % 7 == 0]
    of_weekday = n_days == 1 and len(same) >= WEEKS
    return Volume(
        n_rows=load.n_rows,
        n_arrived=_arrived(load),
        n_days=n_days,
        usual_per_day=sum(same) / len(same) if of_weekday else mean,
        of_days=len(same) if of_weekday else covered,
        last_rows=_arrived(earlier[0]) if earlier else None,
        mean_per_day=mean,
        is_steady=len(single) >= STEADY and len({_arrived(past) for past in single}) == 1,
    )


def _arrived(load: state.Load) -> int:
    return load.n_rows + (load.n_quarantined or 0)


def _days_covered(load: state.Load) -> int | None:
    """Days that a load brings, those on which the company is closed aside.

    None if it began with all there is, so that nobody knows: without a first day, or a growing number read from its beginning.
    """
    first = load.inputs.get("first")
    if not first or ("high" in load.inputs and load.inputs["low"] is None):
        return None
    return sum(day not in company().closed for day in days(first, load.ds))
