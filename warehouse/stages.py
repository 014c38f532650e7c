"""The stages of a day in order: the command of each, what it needs, which days it rewrites. Written here and nowhere else.

Readiness, taking back, the DAGs, what is unfinished and the table of docs/conventions.md follow from this list. Whoever
rewrites a stage takes back what follows from it first, so that a day never counts as finished on tables that are gone:

- raw and its gate are rewritten for the days of the load;
- cleaned, features and their gates from the late window before these days up to the newest day, because running totals of
  all later days follow from them;
- predictions, marts and exports for the day that was asked for, and for all later ones where the features below them were
  rewritten. Days of the late window before it keep theirs: they say what was known then, and are never restated.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from warehouse import dates, outdated, parts, state, tables
from warehouse.company import check_home, company, folder
from warehouse.declarations import read_blocks
from warehouse.errors import unknown

LOAD, WINDOW, DAY = "load", "window", "day"


@dataclass(frozen=True)
class Stage:
    """One stage: its name in the state database, the command that does it, the stages it needs, the days it rewrites."""

    name: str
    command: str
    needs: tuple[str, ...]
    days: str  # LOAD, WINDOW or DAY


MODELS = tuple(table.split(".")[1] for table in tables.in_layer(tables.PREDICTIONS))
PREDICTIONS = tuple(f"predictions.{model}" for model in MODELS)
STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("raw", "mdp ingest", (), LOAD),
        Stage("gate_raw", "mdp gate raw", ("raw",), LOAD),
        Stage("cleaned", "mdp build cleaned", ("gate_raw",), WINDOW),
        Stage("gate_cleaned", "mdp gate cleaned", ("cleaned",), WINDOW),
        Stage("features", "mdp build features", ("gate_cleaned",), WINDOW),
        Stage("gate_features", "mdp gate features", ("features",), WINDOW),
        *(Stage(f"predictions.{model}", f"mdp score {model}", ("gate_features",), DAY) for model in MODELS),
        Stage("gate_predictions", "mdp gate predictions", PREDICTIONS, DAY),
        Stage("marts", "mdp build marts", ("gate_predictions",), DAY),
        Stage("export", "mdp export", ("marts",), DAY),
    )
}
LAST_OF_HISTORY = "gate_features"  # a history is never scored
LAST = "marts"  # a day that has come so far lets the next one start; what is handed back does not hold it up


def history() -> list[Stage]:
    """The stages of a history."""
    return [stage for stage in STAGES.values() if stage.days != DAY]


def typed(name: str, ds: str, from_ds: str | None = None) -> str:
    """The command that does a stage for `ds` (or from_ds … ds), as a person types it."""
    ranged = from_ds and STAGES[name].days != DAY
    return f"{STAGES[name].command} --ds {ds}" + (f" --from {from_ds}" if ranged else "")


def require(name: str, ds: str, from_ds: str | None = None) -> None:
    """Raise PlatformError naming the command to run, unless all that stage `name` needs is whole for `ds`, or off."""
    check_home()
    outdated.require_whole()
    is_off = off(ds)
    for needed in STAGES[name].needs:
        if needed not in is_off:
            state.require(needed, dates.parse_ds(ds), typed(needed, ds, from_ds))


def status(name: str, ds: str) -> tuple[bool, str]:
    """Whether what needs stage `name` of `ds` may start, and a sentence that says so."""
    if name not in STAGES:
        raise unknown("stage", name, STAGES)
    why_off = off(dates.parse_ds(ds)).get(name)
    if why_off:
        return True, f"{name} of {ds} is off: {why_off}"
    if state.is_published(name, ds):
        return True, f"{name} of {ds} is whole"
    return False, f"{name} of {ds} is not whole yet: `{typed(name, ds)}` makes it so"


def off(ds: str) -> dict[str, state.Off]:
    """Stage → why it writes nothing on `ds`: the company has not what it needs, or there is too little so far."""
    return {name: state.Off(name, ds, why, None) for name, why in parts.off().items() if name in STAGES} | state.off(ds)


def models() -> list[str]:
    """The models for which the company has the data."""
    is_off = parts.off()
    return [model for model in MODELS if f"predictions.{model}" not in is_off]


def kinds() -> set[str]:
    """The kinds of sources of the company's feeds: jdbc, files, kafka."""
    return {block["kind"] for block in read_blocks(folder() / "feeds.yml", "feed").values()}


def followers(name: str) -> list[str]:
    """The stages that follow from stage `name`, in order."""
    found = [name]
    for stage in STAGES.values():
        if set(stage.needs) & set(found):
            found.append(stage.name)
    return found[1:]


# -- which days ---------------------------------------------------------------------------------------------------------


def rewrites(name: str, ds: str, from_ds: str | None = None) -> tuple[str, str]:
    """First and last day that doing stage `name` for `ds` (or from_ds … ds) replaces."""
    stage, first = STAGES[name], dates.parse_ds(from_ds or ds)
    if stage.days != WINDOW:
        return first, ds
    below = stage.needs[0] if STAGES[stage.needs[0]].days == WINDOW else name
    return _window_start(ds, from_ds), max(ds, state.newest(below) or ds)


def _window_start(ds: str, from_ds: str | None = None) -> str:
    """The first day of the late window, or of the rows that came later still (ingestion/late.py)."""
    late, _ = dates.late_window(ds, company().late_days, from_ds)
    late = min(late, state.reach(from_ds or ds, ds) or late)
    return max(late, state.fact("first_day") or late)


def take_back(name: str, ds: str, from_ds: str | None = None) -> None:
    """Mark stage `name` for `ds` (or from_ds … ds), and all that follows from it, as neither whole nor off."""
    first = from_ds or ds
    spans = []
    for each in (name, *followers(name)):
        days = STAGES[each].days
        start = _window_start(ds, from_ds) if days == WINDOW else first
        ends = days == LOAD or STAGES[name].days == DAY
        spans.append((each, start, ds if ends else None))
    state.take_back(spans)


@contextlib.contextmanager
def rewriting(name: str, ds: str, from_ds: str | None = None) -> Iterator[tuple[str, str]]:
    """Give the first and last day to rewrite; take them back with all that follows before, publish them after."""
    first, last = rewrites(name, ds, from_ds)
    take_back(name, ds, from_ds)
    yield first, last
    state.publish(name, dates.days(first, last))


# -- what is unfinished -------------------------------------------------------------------------------------------------


def is_history(ds: str) -> bool:
    """Whether what was loaded for `ds` is the history that everything began with: it ends with its features."""
    if ds == state.fact("history_to"):
        return True
    loads = state.loads(ds)
    return bool(loads) and all(load.inputs.get("first") == load.inputs.get("start") != ds for load in loads)


def first_unfinished(before: str | None = None) -> str | None:
    """The oldest day (before `before`) that was loaded and did not come as far as the marts, a history as its features.

    Once a day after a history was begun the history was whole: only that day's late window takes days of it back for a
    while. (A topic that is followed into a day does not begin it.)
    """
    for ds in state.loaded_days(without=LAST, before=before):
        if not is_history(ds):
            return ds
        if not state.is_published(LAST_OF_HISTORY, ds) and not was_begun_after(ds):
            return ds
    return None


def was_begun_after(ds: str) -> bool:
    """Whether a later day was loaded, if only a feed of it."""
    return any(not load.inputs.get("open") for later in state.loaded_days(after=ds) for load in state.loads(later))


def missing(ds: str) -> str:
    """The first stage that is not whole for a day that is unfinished."""
    return next(name for name in STAGES if not state.is_published(name, ds) and name not in off(ds))


def day_to_take_up() -> str | None:
    """The day that `mdp run` takes up, None if all is finished: the oldest that was begun and did not reach its last stage.

    If days before its late window count as whole no more (somebody built one again by hand and left out what follows), it
    is the oldest day whose window has them; only a run of the history, given as its last day, reaches further back.
    """
    history = state.fact("history_to")
    if history and not state.is_published(LAST_OF_HISTORY, history) and not was_begun_after(history):
        return history
    stopped = next(iter(state.loaded_days(after=history, without="export")), None)
    stale = state.oldest_without(LAST_OF_HISTORY, stage="gate_raw", since=state.fact("first_day") or "")
    if stale is None or (stopped and _window_start(stopped) <= stale):
        return stopped
    return next((ds for ds in state.loaded_days(after=history) if _window_start(ds) <= stale <= ds), history)
