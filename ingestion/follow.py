"""Near real time: a topic is loaded as it grows, by the same batches, tables and ledger as the load of a day.

The load stays open while its day lasts. A day ends when the broker holds a record that was stamped after it; then its load
is published and the next begins. `mdp ingest` of the day ends it just as well, for whoever will not wait for that record.
"""

import time

from ingestion import plan, topics
from ingestion.feeds import KafkaFeed, pick
from ingestion.run import work
from warehouse import leases, state
from warehouse.connections import broker
from warehouse.dates import parse_ds, shift
from warehouse.errors import PlatformError
from warehouse.session import session

KEEP_ALIVE_SECONDS = (
    600  # the engine closes a session that asked for nothing for an hour, and a topic may be quiet at night
)


def follow(ds: str, feed_name: str, every_seconds: float, from_ds: str | None = None, accept_gap: bool = False) -> None:
    """Load the topic of a feed from the day `ds` on, looking for new records every so many seconds, until interrupted.

    Raises PlatformError as an ingest of the day would; what was loaded before stays.
    """
    parse_ds(ds)
    (feed,) = pick([feed_name])
    if not isinstance(feed, KafkaFeed):
        raise PlatformError(f"{feed.name} is of kind {feed.kind}: only a topic (kind kafka) can be followed")
    session()
    used = time.monotonic()
    print(
        f"following {feed.topic} at {broker(feed.connection).servers} into {feed.raw_table}, from {ds} on; Ctrl-C ends it"
    )
    try:
        while True:
            with leases.lock(f"ingest {feed.name}"):
                is_over = _take(feed, ds, from_ds, accept_gap)
            if is_over:
                ds = shift(ds, 1)
            else:
                used = rest(every_seconds, used)
    except KeyboardInterrupt:
        print(f"\nstopped; {ds} stays open: follow it again, or end it with `mdp ingest --ds {ds} --feed {feed.name}`")


def rest(seconds: float, used: float) -> float:
    """Sleep; ask the engine for something if it was last asked KEEP_ALIVE_SECONDS ago. Returns when that was (monotonic)."""
    time.sleep(seconds)
    if time.monotonic() - used < KEEP_ALIVE_SECONDS:
        return used
    session().sql("select 1").collect()
    return time.monotonic()


def _take(feed: KafkaFeed, ds: str, from_ds: str | None, accept_gap: bool) -> bool:
    """Load what is new of a day; whether the day is over, and published."""
    started = time.monotonic()
    load = state.load(feed.name, ds)
    if load is None:
        newest = state.last_load(feed.name, is_whole=False)
        if newest and newest.ds > ds:
            raise PlatformError(f"{feed.name}: {newest.ds} is loaded already: follow it from --ds {newest.ds} on")
        plan.intend(feed, ds, from_ds, accept_gap, follow=True)
        load = state.load(feed.name, ds)
    if load.status == "published":
        return True
    before, is_over = _counts(load), True
    if load.inputs.get("open"):
        work(feed, load)  # what an interrupted round had meant
        inputs, is_over = topics.grow(
            feed, ds, state.load(feed.name, ds).inputs, min(feed.max_messages, topics.FULL), accept_gap
        )
        if is_over:
            del inputs["open"]
        state.note_inputs(feed.name, ds, inputs)
        load = state.load(feed.name, ds)
    n_rows, n_quarantined = work(feed, load)
    if is_over:
        state.publish_load(feed.name, ds, n_rows, n_quarantined)
    new = n_rows + n_quarantined - sum(before)
    if new or is_over:
        said = f"  {ds}  {new:>+9,} records in {time.monotonic() - started:.1f} s: {n_rows:,} rows"
        print(f"{said}, {n_quarantined:,} quarantined{'; the day is over' if is_over else ''}", flush=True)
    return is_over


def _counts(load: state.Load) -> tuple[int, int]:
    done = load.inputs["batches"]
    return sum(b.get("n_rows", 0) for b in done), sum(b.get("n_quarantined", 0) for b in done)
