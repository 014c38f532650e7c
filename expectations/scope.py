"""What a gate looks at: the days, and what the state database says was loaded."""

from dataclasses import dataclass

from expectations.usual import FEWEST_DAYS, UNSEEN, USUAL_DAYS, Usual, evenly, usual
from warehouse import stages, state
from warehouse.calendar import is_closed, is_special
from warehouse.dates import days, days_between, shift


@dataclass(frozen=True)
class Volume:
    """What a load brought, and what the loads before of the feed brought per day (None: there is too little to compare with)."""

    n_rows: int  # accepted
    n_arrived: int  # accepted and quarantined
    n_days: int  # days this load covers
    usual: Usual | None
    last_rows: int | None  # rows of the load before
    is_special: bool = False  # a day of it is like no other: then only an outage can be told

    @property
    def least(self) -> int:
        """The fewest rows it may have; 0 if there may be none."""
        if self.usual is None:
            return 1
        low = self.usual.least(self.n_days)
        return min(low, 1) if self.is_special else low

    @property
    def most(self) -> int | None:
        """The most rows it may have, None if nobody can say."""
        return None if self.usual is None or self.is_special else self.usual.most(self.n_days)


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
        return is_closed(self.ds) or all(feed in self.volumes and not self._usual(feed).least() for feed in feeds)

    def brings_few(self, *feeds: str) -> bool:
        """Whether `feeds` bring so few rows on the day that a share of them says little."""
        return is_closed(self.ds) or all(feed in self.volumes and self._usual(feed).is_few for feed in feeds)

    def _usual(self, feed: str) -> Usual:
        """What is usual of a feed; of one that is new, what it brought."""
        seen = self.volumes[feed]
        return seen.usual or evenly(seen.n_arrived / seen.n_days, seen.n_days)

    def n_rows(self, *feeds: str) -> int:
        """About how many rows of `feeds` the days have, at least 1."""
        seen = [self.volumes[feed] for feed in feeds if feed in self.volumes]
        per_day = [max(one.n_rows, one.usual.per_day if one.usual else 0) for one in seen]
        return max(sum(round(n * self.n_days) for n in per_day), 1)

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
    """What a load brought, beside what the feed's accepted days brought: a day that its gate refused lets none follow."""
    earlier = state.last_loads(load.feed, USUAL_DAYS, before=load.ds)
    return Volume(
        n_rows=load.n_rows,
        n_arrived=_arrived(load),
        n_days=len(_covered(load) or [load.ds]),
        usual=_usual(load, earlier),
        last_rows=_arrived(earlier[0]) if earlier else None,
        is_special=any(map(is_special, _covered(load) or [load.ds])),
    )


def _usual(load: state.Load, earlier: list[state.Load]) -> Usual | None:
    """What is usual on the day of a load: from the rows of each day, where the ledger has them, else from whole loads."""
    counts: dict[str, int] = {}
    for past in reversed(earlier):
        counts |= _of_days(past)
    ordinary = {day: n for day, n in counts.items() if not is_closed(day) and not is_special(day)}
    if found := usual(ordinary, load.ds):
        return found
    spans = [(_arrived(past), len(covered)) for past in earlier if (covered := _covered(past))]
    n_rows, n_days = map(sum, zip(*spans, strict=True)) if spans else (0, 0)
    return evenly(n_rows / n_days, n_days, UNSEEN) if n_days >= FEWEST_DAYS else None


def _of_days(load: state.Load) -> dict[str, int]:
    """Day → rows that arrived of it, as far back as what is usual goes; {} if nobody knows."""
    first = load.inputs.get("first")
    if _covered(load, and_closed=True) == [load.ds]:
        return {load.ds: _arrived(load)}
    counted = state.load_days(load.feed, load.ds)
    begin = max(first or min(counted, default=load.ds), shift(load.ds, -USUAL_DAYS))
    return {day: counted.get(day, 0) for day in days(begin, load.ds)} if counted else {}


def _arrived(load: state.Load) -> int:
    return load.n_rows + (load.n_quarantined or 0)


def _covered(load: state.Load, and_closed: bool = False) -> list[str]:
    """The days that a load brings, those on which the company is closed aside (or `and_closed`).

    [] if it began with all there is, so that nobody knows: without a first day, or a growing number read from its beginning.
    """
    first = load.inputs.get("first")
    if not first or ("high" in load.inputs and load.inputs["low"] is None):
        return []
    return [day for day in days(first, load.ds) if and_closed or not is_closed(day)]
