"""One load of each feed for a day: intent → read → protect → write → count → publish.

The order is the promise. The inputs are fixed in the state database before anything is read, the partition of the load
day is replaced whole, its rows are counted, and only then is the load published; a kill at any point leaves an intent,
and the next run of the same day does it again from the same inputs.
"""

import time
from concurrent.futures import ThreadPoolExecutor

from ingestion import collect, jdbc
from ingestion.commit import expect, publish, write_apart
from ingestion.feeds import Feed, FilesFeed, load_feeds, pick
from warehouse import state
from warehouse.dates import days, parse_ds, shift
from warehouse.errors import PlatformError
from warehouse.session import session
from warehouse.state import Load

AT_ONCE = 3  # feeds in work; a feed spends much of its time waiting for one core or the metastore
# The stages of a day after its load, each with the command that finishes it.
STAGES = {
    "raw": "mdp ingest",
    "gate_raw": "mdp gate raw",
    "cleaned": "mdp build cleaned",
    "gate_cleaned": "mdp gate cleaned",
    "features": "mdp build features",
    "gate_features": "mdp gate features",
    "gate_predictions": "mdp gate predictions",
    "marts": "mdp build marts",
}


def ingest(
    ds: str,
    from_ds: str | None = None,
    feeds: list[str] | None = None,
    kind: str | None = None,
    reload: bool = False,
) -> list[dict]:
    """Load what reached the sources since the last load up to the end of `ds`, one raw partition ds per feed.

    `from_ds` says where a feed's first load begins (without it: with all there is). Returns a dict per feed: feed, ds,
    outcome (loaded, repaired, again, unchanged, inside), note, n_rows, n_quarantined, seconds. `reload` takes a load of
    an unpassed day again, and reads the recorded files of a passed one again.
    Raises PlatformError with one sentence per feed that failed; the other feeds are loaded all the same.
    """
    parse_ds(ds)
    if from_ds:
        days(from_ds, ds)
    chosen = pick(feeds, kind)
    refuse_if_unfinished(ds)
    session()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        # the heavy feeds are declared last: begin with them
        waiting = {f.name: pool.submit(_ingest_feed, f, ds, from_ds, reload) for f in reversed(chosen)}
    faults = [task.exception() for task in waiting.values() if task.exception()]
    for fault in faults:
        if not isinstance(fault, PlatformError):
            raise fault
    if faults:
        raise PlatformError("\n".join(str(fault) for fault in faults))
    _publish_raw(ds)
    return [waiting[f.name].result() for f in chosen]


def dry_run(ds: str, from_ds: str | None = None, feeds: list[str] | None = None) -> str:
    """What `ingest` would read from databases, in text; nothing is read but counts, nothing is stored."""
    parse_ds(ds)
    session()
    plans = []
    for feed in pick(feeds, "jdbc"):
        earlier = [load for load in state.loads(feed=feed.name) if load.ds < ds]
        first = shift(earlier[-1].ds, 1) if earlier else from_ds
        plans.append(jdbc.plan(feed, jdbc.fix_inputs(feed, first, ds, earlier[-1].inputs if earlier else None)))
    return "\n".join(plans)


def refuse_if_unfinished(ds: str) -> None:
    """Raise PlatformError if an earlier day was loaded but did not reach the marts (a history: its features' gate)."""
    published = {stage: set(state.published_days(stage)) for stage in STAGES}
    loads = state.loads()
    for load in loads:
        if load.ds >= ds:
            break
        is_history = load.inputs["first"] == load.inputs["start"] != load.ds
        if is_history and loads[-1].ds > load.ds:
            continue  # a later day was begun, so it was whole: that day's late window only takes days of it back for a while
        last = "gate_features" if is_history else "marts"
        if load.ds in published[last]:
            continue
        stage = next(s for s in STAGES if load.ds not in published[s])
        range_ = f" --from {load.inputs['first']}" if last == "gate_features" and load.inputs["first"] else ""
        raise PlatformError(
            f"{load.ds} is unfinished (its stage {stage} is not published), so {ds} may not start: run "
            f"`{STAGES[stage]} --ds {load.ds}{range_}` and what follows it, or `make run`, which takes it up"
        )


def _ingest_feed(feed: Feed, ds: str, from_ds: str | None, reload: bool) -> dict:
    """Decide, load and report one feed."""
    started = time.monotonic()
    with state.lock(f"ingest {feed.name}"):
        outcome, note = _plan(feed, ds, from_ds, reload)
        if outcome in ("loaded", "repaired", "again"):
            _load(feed, state.load(feed.name, ds))
        load = state.load(feed.name, ds)
    result = {
        "feed": feed.name,
        "ds": ds,
        "outcome": outcome,
        "note": note,
        "n_rows": load.n_rows if load else 0,
        "n_quarantined": load.n_quarantined if load else 0,
        "seconds": round(time.monotonic() - started, 1),
    }
    print(
        f"  {feed.name:<20} {outcome:<9} {result['n_rows']:>10,} rows {result['n_quarantined']:>7,} quarantined "
        f"{result['seconds']:>6.1f} s{f'  {note}' if note else ''}",
        flush=True,
    )
    return result


def _plan(feed: Feed, ds: str, from_ds: str | None, reload: bool) -> tuple[str, str]:
    """(outcome, note) of what is to be done; stores the intent if something is to be read.

    A load is immutable once its raw gate has passed. Before that it may be taken again: a table when the gate has
    refused the day, files when their content has changed (somebody mended the source), both on `reload`.
    """
    load = state.load(feed.name, ds)
    if load is None:
        covering = next((later for later in state.loads(feed=feed.name) if later.ds > ds), None)
        if covering:
            return _inside(feed, ds, covering)
        return "loaded", _intend(feed, ds, from_ds)
    files = isinstance(feed, FilesFeed)
    if load.status == "intent":
        if files and not collect.unchanged(feed, load.inputs["files"]):
            return "again", _intend(feed, ds, load.inputs["first"])
        return "repaired", "an earlier run did not finish"
    if state.is_published("gate_raw", ds):
        if not reload:
            return "unchanged", _verify(feed, load)
        if not files:
            raise PlatformError(f"{feed.name}: the load of {ds} passed its gate; a table cannot be read as it was then")
        if not collect.unchanged(feed, load.inputs["files"]):
            raise PlatformError(f"{feed.name}: the files of {ds} are not in the spool as they were: put them back")
        state.begin_load(feed.name, ds, load.inputs, replace=True)
        return "again", "the recorded files"
    if files:
        changed = _contents(_inputs(feed, ds, load.inputs["first"], load.inputs["start"])) != _contents(load.inputs)
    else:
        changed = any(not verdict["success"] for verdict in state.verdicts(ds, "raw"))
    if reload or changed:
        return "again", _intend(feed, ds, load.inputs["first"])
    return "unchanged", _verify(feed, load)


def _inside(feed: Feed, ds: str, later: Load) -> tuple[str, str]:
    """A day that a later load covers has nothing of its own to load."""
    if later.status != "published":
        raise PlatformError(f"{feed.name}: a load of {later.ds} was begun: finish it with `mdp ingest --ds {later.ds}`")
    if later.inputs["first"] and ds < later.inputs["first"]:
        raise PlatformError(f"{feed.name}: {ds} lies before {later.inputs['first']}, where its history begins")
    return "inside", f"{ds} is in the load of {later.ds}"


def _intend(feed: Feed, ds: str, from_ds: str | None) -> str:
    """Fix the inputs of a load of `ds` in the state database; returns what is worth saying about them."""
    earlier = [load for load in state.loads(feed=feed.name) if load.ds < ds]
    first, start = from_ds, from_ds
    if earlier:
        first, start = shift(earlier[-1].ds, 1), earlier[-1].inputs["start"]
        if from_ds and from_ds > first:
            raise PlatformError(
                f"{feed.name}: it was last loaded for {earlier[-1].ds}, so a load from {from_ds} would skip days: "
                f"use --from {first}, or none"
            )
    inputs = _inputs(feed, ds, first, start)
    state.unpublish("raw", [ds])
    state.begin_load(feed.name, ds, inputs, replace=True)
    if not isinstance(feed, FilesFeed):
        jdbc.record_new(feed, inputs, ds)
        return "; ".join(inputs.get("notes", []))
    n = len(inputs["files"])
    note = f"{n} file{'s' * (n != 1)}" if n else f"no new file in {collect.spool_path(feed)}"
    return note + (f", sent again and left out: {', '.join(inputs['resent'])}" if inputs["resent"] else "")


def _inputs(feed: Feed, ds: str, first: str | None, start: str | None) -> dict:
    """What a load of the days first … ds reads; `start` is where the feed's first load began (None: no limit)."""
    common = {"first": first, "start": start}
    if not isinstance(feed, FilesFeed):
        last = state.last_load(feed.name, ds)
        return common | jdbc.fix_inputs(feed, first, ds, last and last.inputs)
    others = [file for load in state.loads(feed=feed.name) if load.ds != ds for file in load.inputs["files"]]
    return common | collect.fix_inputs(feed, ds, start, others)


def _contents(inputs: dict) -> list[tuple[str, str]]:
    return [(file["name"], file["digest"]) for file in inputs["files"]]


def _load(feed: Feed, load: Load) -> None:
    """Read, protect, write apart, count and publish what the intent says."""
    spec = {"ds": load.ds}
    if isinstance(feed, FilesFeed):
        written = write_apart(collect.read(feed, load.inputs), feed, load, spec)
        expect(feed, load, written, collect.n_rows(load.inputs))
    else:
        source, rows = jdbc.read(feed, load.inputs)
        expected = source.count()
        with jdbc.faults(feed):
            written = write_apart(rows, feed, load, spec)
        # A source in use may change between count and read; what was written must then lie between two counts.
        if written.n_rows != expected:
            low, high = sorted((expected, source.count()))
            expect(feed, load, written, min(max(low, written.n_rows), high))
    publish(written, feed, spec)
    if isinstance(feed, FilesFeed):
        taken = [(file["name"], file["digest"], file["n_bytes"]) for file in load.inputs["files"]]
        state.take_files(feed.name, load.ds, taken)
    state.publish_load(feed.name, load.ds, written.n_rows, written.n_quarantined)


def _count(table: str, ds: str) -> int:
    return session().table(table).where(f"ds = '{ds}'").count()


def _verify(feed: Feed, load: Load) -> str:
    """Check that the partitions of a published load hold what was published."""
    found = {feed.raw_table: (load.n_rows, _count(feed.raw_table, load.ds))}
    if isinstance(feed, FilesFeed):
        found[feed.quarantine_table] = (load.n_quarantined, _count(feed.quarantine_table, load.ds))
    for table, (published, there) in found.items():
        if published != there:
            raise PlatformError(
                f"{table} of {load.ds} holds {there} rows, {published} were published: somebody changed it; "
                f"`mdp ingest --ds {load.ds} --feed {feed.name} --reload` reads kept files again"
            )
    return "published already, verified"


def _publish_raw(ds: str) -> None:
    """Publish stage raw for the days of the load once every declared feed has one."""
    loads = [load for load in state.loads(ds) if load.status == "published"]
    if {load.feed for load in loads} >= set(load_feeds()) and not state.is_published("raw", ds):
        first = min(load.inputs["first"] or ds for load in loads)
        state.publish("raw", days(first, ds))
