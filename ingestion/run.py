"""One load of each feed for a day: intent → read → protect → write → count → publish.

The order is the promise. The inputs are fixed in the state database before anything is read, the partition of the load
day is replaced whole, its rows are counted, and only then is the load published; a kill at any point leaves an intent,
and the next run of the same day does it again from the same inputs.
"""

import functools
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from pyspark.errors import PySparkException

from ingestion import collect, drift, jdbc, plan, progress, quarantine, topics
from ingestion.by_day import rows_by_day
from ingestion.commit import ASIDE, expect, expect_each, home_of, publish, write_apart
from ingestion.feeds import Feed, FilesFeed, JdbcFeed, KafkaFeed, load_feeds, pick
from warehouse import leases, state
from warehouse.company import check_home, check_reviewed
from warehouse.connections import broker
from warehouse.dates import days, parse_ds, shift
from warehouse.errors import PlatformError, listed
from warehouse.partitions import drop_batches, replace_partition
from warehouse.session import session
from warehouse.state import Load

AT_ONCE = 3  # feeds in work; a feed spends much of its time waiting for one core or the metastore


def ingest(
    ds: str,
    from_ds: str | None = None,
    feeds: list[str] | None = None,
    kinds: list[str] | None = None,
    reload: bool = False,
    accept_gap: bool = False,
) -> list[dict]:
    """Load what reached the sources since the last load up to the end of `ds`, one raw partition ds per feed.

    `from_ds` says where a feed's first load begins (without it: with all there is). Returns a dict per feed: feed, ds,
    outcome (loaded, repaired, again, unchanged, inside), note, n_rows, n_quarantined, seconds. `reload` takes a load of
    an unpassed day again, and reads the recorded files or offsets of a passed one again; `accept_gap` goes on where a
    broker has dropped records that were never loaded.
    Raises PlatformError with one sentence per feed that failed; the other feeds are loaded all the same.
    """
    parse_ds(ds)
    if from_ds:
        days(from_ds, ds)
    check_reviewed()
    check_home()
    chosen = pick(feeds, kinds)
    plan.refuse_if_unfinished(ds)
    session()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        # the heavy feeds are declared last: begin with them
        waiting = {f.name: pool.submit(_ingest_feed, f, ds, from_ds, reload, accept_gap) for f in reversed(chosen)}
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
    for feed in pick(feeds, ["jdbc"]):
        earlier = state.last_load(feed.name, ds, is_whole=False)
        first = shift(earlier.ds, 1) if earlier else from_ds
        plans.append(jdbc.plan(feed, jdbc.fix_inputs(feed, first, ds, earlier and earlier.inputs)))
    return "\n".join(plans)


def _ingest_feed(feed: Feed, ds: str, from_ds: str | None, reload: bool, accept_gap: bool) -> dict:
    """Decide, load and report one feed."""
    started = time.monotonic()
    with leases.lock(f"ingest {feed.name}"):
        outcome, note = plan.decide(feed, ds, from_ds, reload, accept_gap)
        if outcome in ("loaded", "repaired", "again"):
            done = work(feed, state.load(feed.name, ds), is_new=outcome != "repaired")
            by_day = rows_by_day(feed, state.load(feed.name, ds)) if any(done) else None
            state.publish_load(feed.name, ds, *done, by_day)
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
    n, seconds = result["n_rows"] + result["n_quarantined"], result["seconds"]
    rate = f" {n / seconds:>8,.0f} rows/s" if seconds and outcome in ("loaded", "repaired", "again") else ""
    print(
        f"  {feed.name:<20} {outcome:<9} {result['n_rows']:>10,} rows {result['n_quarantined']:>7,} quarantined "
        f"{seconds:>6.1f} s{rate}{f'  {note}' if note else ''}",
        flush=True,
    )
    return result


def work(feed: Feed, load: Load, is_new: bool = False) -> tuple[int, int]:
    """Read, protect, write apart, count and replace what the intent says; returns the rows in raw and in quarantine.

    What the source counted for an intent that `is_new` need not be counted again.
    """
    table = functools.partial(_load_table, is_new=is_new)
    how = {"files": _load_files, "kafka": _load_topic, "jdbc": table}[feed.kind]
    try:
        return how(feed, load)
    except (PySparkException, OSError) as error:
        where = f" (the broker at {broker(feed.connection).servers})" if isinstance(feed, KafkaFeed) else ""
        raise PlatformError(
            f"{feed.name}: the load of {load.ds} broke off, nothing of it is published: {_cause(error)}{where}; run it again"
        ) from error


def _cause(error: PySparkException | OSError) -> str:
    """The sentence of a long Spark message that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("Reason: ", "Caused by: "))]
    return (told[-1].split(": ", 1)[1] if told else lines[0])[:400]


def _load_files(feed: FilesFeed, load: Load) -> tuple[int, int]:
    spec = {"ds": load.ds}
    files, released = load.inputs["files"], load.inputs["released"]
    read = collect.read(feed, load.inputs, f"{home_of(feed.name, spec)}/{ASIDE}")
    frame = _with_released(read, feed, released, *collect.ORIGIN)
    lines = Counter(collect.n_lines(load.inputs)) + Counter(source for _, source, _, _ in released)
    expected = lines.total() - collect.n_headers(load.inputs)
    with progress.shown(feed.name, expected):
        written = write_apart(frame, drift.as_read(feed, files), load, spec)
    expect_each(feed, written, lines)
    expect(feed, load, written, expected)
    if changed := collect.changed(feed, files):
        raise PlatformError(f"{feed.name}: {listed(changed)} did not stay while it was read; run it again")
    publish(written, feed, spec)
    state.note_released(feed.name, load.ds, released)
    if feed.mode == "append":
        taken = [(file["name"], file["digest"], file["n_bytes"]) for file in files]
        state.take_files(feed.name, load.ds, taken)
    return written.n_rows, written.n_quarantined


def _with_released(frame, feed: FilesFeed | KafkaFeed, released: list, *origin: str):
    """The frame and the rows that were released from quarantine since the load before."""
    if not released:
        return frame
    return frame.unionByName(quarantine.read_released(feed, released, *origin), allowMissingColumns=True)


def _load_table(feed: JdbcFeed, load: Load, is_new: bool) -> tuple[int, int]:
    spec = {"ds": load.ds}
    source, rows = jdbc.read(feed, load.inputs)
    counted = load.inputs.get("splits", {}).get("n_rows") if is_new else None
    expected = source.count() if counted is None else counted
    with jdbc.faults(feed), progress.shown(feed.name, expected):
        written = write_apart(rows, feed, load, spec)
    # A source in use may change between count and read; what was written must then lie between two counts.
    if written.n_rows != expected:
        low, high = sorted((expected, source.count()))
        expect(feed, load, written, min(max(low, written.n_rows), high))
    publish(written, feed, spec)
    before = state.last_load(feed.name, load.ds)
    if feed.find_deleted and before:
        gone = jdbc.deleted(feed, load, before)
        replace_partition(gone, feed.deleted_table, load.ds)
        n = session().table(feed.deleted_table).where(f"ds = '{load.ds}'").count()
        state.note_inputs(feed.name, load.ds, load.inputs | {"n_deleted": n})
    return written.n_rows, 0


def _load_topic(feed: KafkaFeed, load: Load) -> tuple[int, int]:
    """Each batch is published and noted by itself: a rerun goes on with the first that is not."""
    found, released = load.inputs["batches"], load.inputs["released"]
    for number, batch in enumerate(found):
        if "n_rows" in batch:
            continue
        spec = {"ds": load.ds, "batch": f"{number:06d}"}
        along = [] if number else released
        frame = topics.read(feed, load.ds, load.inputs["first"], batch)
        expected = topics.n_rows(batch) + len(along)
        with progress.shown(feed.name, expected):
            written = write_apart(_with_released(frame, feed, along, *topics.ORIGIN), feed, load, spec)
        if written.n_rows + written.n_quarantined < expected:  # not each offset need hold a record
            expected = topics.count(feed, batch) + len(along)
        expect(feed, load, written, expected)
        publish(written, feed, spec)
        batch |= {"n_rows": written.n_rows, "n_quarantined": written.n_quarantined}
        state.note_inputs(feed.name, load.ds, load.inputs)
    for table in (feed.raw_table, feed.quarantine_table):
        drop_batches(table, load.ds, len(found))
    state.note_released(feed.name, load.ds, released)
    return sum(b["n_rows"] for b in found), sum(b["n_quarantined"] for b in found)


def _publish_raw(ds: str) -> None:
    """Publish stage raw for the days of the load once every declared feed has one."""
    loads = [load for load in state.loads(ds) if load.status == "published"]
    if {load.feed for load in loads} >= set(load_feeds()) and not state.is_published("raw", ds):
        first = min(load.inputs["first"] or ds for load in loads)
        state.publish("raw", days(first, ds))
