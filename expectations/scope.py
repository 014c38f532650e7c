"""What a gate looks at: the days, and what the state database says was loaded."""

import math
from dataclasses import dataclass

from expectations.rules import SIGMAS
from warehouse import stages, state
from warehouse.company import company
from warehouse.dates import days_between

CHANNELS = ("search", "information_feed", "short_video", "social", "display")
USUAL_LOADS = 60  # what is usual changes with the company
PLANS = ("basic", "silver", "gold")


LEAST, MOST = 0.4, 2.5  # of the usual volume per day: weekends and campaigns stay inside, an outage does not


def least(n: float, sigmas: float = SIGMAS) -> float:
    """How few rows chance may leave of `n` expected ones, at `sigmas` standard deviations of a Poisson count."""
    return n - sigmas * math.sqrt(n)


@dataclass(frozen=True)
class Volume:
    """What a load brought, and what the loads before of the feed brought per day (None: there is none to compare with)."""

    n_rows: int  # accepted
    n_arrived: int  # accepted and quarantined
    n_days: int  # days this load covers
    usual_per_day: float | None  # of the last USUAL_LOADS loads
    last_rows: int | None  # rows of the load before


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

    def may_be_silent(self, feed: str) -> bool:
        """Whether chance alone may bring no row of `feed` on the day (it brings few), or the company is closed."""
        if self.ds in company().closed:
            return True
        seen = self.volumes.get(feed)
        if seen is None:
            return False
        usual = seen.n_arrived / seen.n_days if seen.usual_per_day is None else seen.usual_per_day
        return least(usual * LEAST) <= 0

    def n_rows(self, feed: str) -> int:
        """About how many rows of `feed` the days have, at least 1."""
        seen = self.volumes.get(feed)
        return max(round(max(seen.n_rows, seen.usual_per_day or 0) * self.n_days), 1) if seen else 1

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
    covered, rows = 0, 0
    for past in earlier:
        span = _days_covered(past)
        if span and past.ds not in company().closed:
            covered, rows = covered + span, rows + past.n_rows + (past.n_quarantined or 0)
    return Volume(
        n_rows=load.n_rows,
        n_arrived=load.n_rows + (load.n_quarantined or 0),
        n_days=_days_covered(load) or 1,
        usual_per_day=rows / covered if covered else None,
        last_rows=earlier[0].n_rows if earlier else None,
    )


def _days_covered(load: state.Load) -> int | None:
    """Days that a load brings; None if it began with all there is, so that nobody knows."""
    first = load.inputs.get("first")
    return days_between(first, load.ds) + 1 if first else None
