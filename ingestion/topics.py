"""Kafka topics: the offsets of a load are fixed and stored before anything is read, and only these are ever read.

A load of a day takes each partition from where the load before ended up to the first record that the broker stamped
after the day's end, so a late run takes what a punctual one would have taken. It is read in batches of at most
`max_messages`, each replacing a partition (ds, batch) of its own: whatever is killed, offsets and rows agree, and what
is done is not read again. Kafka's own consumer groups are not used: nothing is committed to the broker. A topic that is
followed (ingestion/follow.py) is a load whose batches grow while its day lasts.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from datetime import UTC

from ingestion.door import judge, line_text
from ingestion.feeds import KafkaFeed
from warehouse import jars
from warehouse.company import company
from warehouse.connections import broker
from warehouse.dates import day_bounds_utc
from warehouse.errors import PlatformError
from warehouse.session import session

FULL = 100_000  # records of a batch that is followed: until then it is taken again, larger
# Kafka hands out 500 records and 1 MiB at a time unless asked for more: half the speed.
FETCH = {
    "kafka.max.poll.records": "5000",
    "kafka.max.partition.fetch.bytes": str(8 << 20),
    "kafka.receive.buffer.bytes": str(4 << 20),
}
NEAR = 5_000  # records that are read on rather than skipped
TIMEOUT_SECONDS, WAIT_SECONDS = 20, 0.2
TOLD = 5  # places in a message
ORIGIN = ("source", "source_partition", "source_position")  # of a record: topic, partition, offset
Offsets = dict[str, int]  # partition (as text, for JSON) → offset


def fix_inputs(feed: KafkaFeed, ds: str, first: str | None, last: dict | None, accept_gap: bool = False) -> dict:
    """What a load of the days first … ds reads: a list of batches, each with the offsets from (incl.) and to (excl.).

    `last` is the inputs of the load before. Raises PlatformError if the broker does not answer, if the topic is not
    there, or if it has dropped records that were never loaded; `accept_gap` goes on without them and notes the loss.
    """
    held, later = watermarks(feed), offsets_at(feed, _end_of(ds))
    begin = offsets_at(feed, day_bounds_utc(first, company().timezone)[0]) if first and not last else {}
    before = last["ends"] if last else {p: min(begin.get(p, low), high) for p, (low, high) in held.items()}
    starts, gaps = _starts(feed, ds, before, held, accept_gap)
    ends = {p: max(starts[p], min(later.get(p, high), high)) for p, (_, high) in held.items()}
    return {"starts": starts, "ends": ends, "gaps": gaps, "batches": batches(starts, ends, feed.max_messages)}


def _starts(
    feed: KafkaFeed, ds: str, before: Offsets, held: dict[str, tuple[int, int]], accept_gap: bool
) -> tuple[Offsets, dict]:
    """(where each partition is read from, what the broker dropped of it before: partition → [from, to))."""
    gone = sorted(set(before).difference(held))
    if gone:
        raise PlatformError(
            f"{feed.name}: partitions {', '.join(gone)} of {feed.topic} are gone: the topic was made anew"
        )
    gaps, starts = {}, {}
    for partition, (low, high) in held.items():
        start = before.get(partition, low)
        if start > high:
            raise PlatformError(
                f"{feed.name}: {feed.topic}/{partition} ends at offset {high}, but {start} was loaded before: the topic was "
                "made anew; declare it as another feed, its rows are others"
            )
        if start < low:
            gaps[partition] = [start, low]
        starts[partition] = max(start, low)
    if gaps and not accept_gap:
        lost = "; ".join(f"{feed.topic}/{p} offsets {a} to {b - 1} ({b - a:,} records)" for p, (a, b) in gaps.items())
        raise PlatformError(
            f"{feed.name}: the broker has dropped records that were never loaded: {lost}. Restore them, or go on without "
            f"them: `mdp ingest --ds {ds} --feed {feed.name} --accept-gap` notes the loss"
        )
    return starts, gaps


def grow(feed: KafkaFeed, ds: str, inputs: dict, at_most: int, accept_gap: bool = False) -> tuple[dict, bool]:
    """(the inputs of a load with what the topic holds by now, up to the end of `ds`; whether a later day has begun).

    The newest batch is taken again, larger, as long as it is not full, so that a topic that is followed does not become
    thousands of partitions; `at_most` bounds the new ones.
    """
    held, later = watermarks(feed), offsets_at(feed, _end_of(ds))
    *kept, newest = inputs["batches"]
    starts, gaps = _starts(feed, ds, inputs["ends"], held, accept_gap)
    ends = {p: max(starts[p], min(later.get(p, high), high)) for p, (_, high) in held.items()}
    if ends == inputs["ends"]:
        return inputs, bool(later)
    whole = all(held[p][0] <= newest["from"][p] for p in newest["from"])  # the broker still has all of it
    if n_rows(newest) < min(FULL, at_most) and whole and not gaps:
        starts = starts | newest["from"]
    else:
        kept.append(newest)
    new = kept + batches(starts, ends, at_most)
    return inputs | {"ends": ends, "gaps": inputs["gaps"] | gaps, "batches": new}, bool(later)


def _end_of(ds: str):
    """The first moment after the day, in UTC."""
    return day_bounds_utc(ds, company().timezone)[1]


def batches(starts: Offsets, ends: Offsets, at_most: int) -> list[dict]:
    """The range cut into batches of at most so many records, the partitions side by side; an empty range is one batch."""
    found, at = [], dict(starts)
    while any(at[p] < ends[p] for p in at):
        left, to = at_most, dict(at)
        waiting = sorted((p for p in at if at[p] < ends[p]), key=lambda p: ends[p] - at[p])
        for n, p in enumerate(waiting):
            share = max(left // (len(waiting) - n), 1)
            to[p] = min(at[p] + share, ends[p])
            left = max(left - (to[p] - at[p]), 0)
        found.append({"from": dict(at), "to": to})
        at = to
    return found or [{"from": starts, "to": ends}]


def n_rows(batch: dict) -> int:
    """How many records a batch has to bring."""
    return sum(batch["to"][p] - batch["from"][p] for p in batch["to"])


def still_held(feed: KafkaFeed, inputs: dict) -> bool:
    """Whether the broker still holds every record of the batches that are not done yet."""
    held = watermarks(feed)
    waiting = [batch for batch in inputs["batches"] if "n_rows" not in batch]
    return all(
        batch["from"][p] == batch["to"][p]
        or p in held
        and held[p][0] <= batch["from"][p]
        and batch["to"][p] <= held[p][1]
        for batch in waiting
        for p in batch["to"]
    )


def read(feed: KafkaFeed, ds: str, first: str | None, batch: dict):
    """The judged frame of one batch; a record of an earlier day than `first` counts as arrived on that day."""
    jars.require("kafka")
    spark, cluster = session(), broker(feed.connection)
    ranges = {key: json.dumps({feed.topic: batch[key]}) for key in ("from", "to")}
    options = {
        "kafka.bootstrap.servers": cluster.servers, "kafka.isolation.level": "read_committed",
        "assign": json.dumps({feed.topic: [int(p) for p in batch["from"]]}),
        "startingOffsets": ranges["from"], "endingOffsets": ranges["to"], "failOnDataLoss": "true",
        "fetchOffset.numRetries": "1", "minPartitions": "4", **FETCH,
        **{f"kafka.{name}": value for name, value in cluster.java_settings().items()},
        # a broker that goes away half-way ends the load after a minute, not after four
        "kafka.request.timeout.ms": str(TIMEOUT_SECONDS * 1000),
        "kafka.default.api.timeout.ms": str(TIMEOUT_SECONDS * 1000),
        "kafkaConsumer.pollTimeoutMs": str(3 * TIMEOUT_SECONDS * 1000),
    }  # fmt: skip
    if n_rows(batch):
        records = spark.read.format("kafka").options(**options).load()
    else:
        columns = "value binary, topic string, partition int, offset bigint, timestamp timestamp"
        records = spark.createDataFrame([], columns)
    # what was stamped on the day itself, nearly all of a daily load, needs no calendar
    newest = f"timestamp >= timestamp '{day_bounds_utc(ds, company().timezone)[0]:%Y-%m-%d %H:%M:%S}'"
    day = f"date_format(from_utc_timestamp(timestamp, '{company().timezone}'), 'yyyy-MM-dd')"
    lines = records.selectExpr(
        "cast(value as string) as value", "topic as source", "partition as source_partition", "offset as source_position",
        f"if({newest}, '{ds}', greatest('{first or ''}', least('{ds}', {day}))) as received_date",
    )  # fmt: skip
    low, high = (
        f"if(received_date = '{ds}', to_utc_timestamp(cast(date_add(date '{ds}', {n}) as timestamp), '{company().timezone}'), "
        f"to_utc_timestamp(cast(date_add(received_date, {n}) as timestamp), '{company().timezone}')) as {name}"
        for n, name in ((-company().late_days, "low"), (1, "high"))
    )
    return judge(lines.selectExpr("*", low, high), feed, *ORIGIN)


def records_at(feed: KafkaFeed, places: list[tuple[int, int]]) -> dict[tuple[int, int], str | None]:
    """(partition, offset) → text of these records; bytes that are no UTF-8 are read as Latin-1, no content is None.

    Raises PlatformError naming the offsets that are gone: a compacted topic forgets a record once a newer one of its key is
    there, and the record that follows is another one.
    """
    found, gone = {}, []
    with _consumer(feed) as (client, _):
        for partition in sorted({p for p, _ in places}):
            offsets = sorted({offset for p, offset in places if p == partition})
            at, records = -1, iter(())
            for offset in offsets:
                if at < 0 or offset - at > NEAR:
                    records = _records(client, feed, partition, offset, offsets[-1])
                while at < offset and (record := next(records, None)):
                    at, value = record
                if at == offset:
                    found[partition, offset] = None if value is None else line_text(value)
                else:
                    gone.append(f"{feed.topic}/{partition} offset {offset}")
    if gone:
        listed = ", ".join(gone[:TOLD]) + (f" and {len(gone) - TOLD:,} more" if len(gone) > TOLD else "")
        raise PlatformError(
            f"{feed.name}: the broker has dropped records since they were read: {listed} (the topic is compacted?); nothing of "
            "this batch is kept: run it again, which takes what is left"
        )
    return found


def count(feed: KafkaFeed, batch: dict) -> int:
    """How many records the broker hands out of a batch: fewer than offsets where a topic is written in transactions
    (their marks and what was aborted take offsets) or compacted."""
    with _consumer(feed) as (client, _):
        return sum(
            sum(1 for _ in _records(client, feed, int(p), first, batch["to"][p] - 1))
            for p, first in batch["from"].items()
        )


def _records(client, feed: KafkaFeed, partition: int, first: int, last: int) -> Iterator[tuple[int, bytes | None]]:
    """(offset, content) of a partition's records first … last."""
    from confluent_kafka import KafkaError, TopicPartition

    client.assign([TopicPartition(feed.topic, partition, first)])
    heard = time.monotonic()
    while first <= last:
        # it returns once it has as many, or after this time: where offsets are empty, there are not as many
        messages = client.consume(min(NEAR, last - first + 1), WAIT_SECONDS)
        heard = time.monotonic() if messages else heard
        ends = [m for m in messages if m.error() and m.error().code() == KafkaError._PARTITION_EOF]
        messages = [m for m in messages if m not in ends]
        fault = next((m.error().str() for m in messages if m.error()), None)
        if fault or time.monotonic() - heard > TIMEOUT_SECONDS:
            raise PlatformError(
                f"{feed.name}: {feed.topic}/{partition} offset {first} cannot be read again from the broker at "
                f"{broker(feed.connection).servers} ({fault or 'no answer'}); run it again"
            )
        yield from ((message.offset(), message.value()) for message in messages if message.offset() <= last)
        if ends:
            return
        first = messages[-1].offset() + 1 if messages else first


# -- asking the broker ------------------------------------------------------------------------------------------------


def watermarks(feed: KafkaFeed) -> dict[str, tuple[int, int]]:
    """Partition → (first offset held, next offset to come)."""
    with _consumer(feed) as (client, partitions):
        return {str(p.partition): client.get_watermark_offsets(p, timeout=TIMEOUT_SECONDS) for p in partitions}


def offsets_at(feed: KafkaFeed, moment) -> Offsets:
    """Partition → first offset that was stamped at `moment` (UTC) or later; partitions without one are left out."""
    stamp = int(moment.replace(tzinfo=UTC).timestamp() * 1000)
    with _consumer(feed) as (client, partitions):
        for partition in partitions:
            partition.offset = stamp
        found = client.offsets_for_times(partitions, timeout=TIMEOUT_SECONDS)
    return {str(p.partition): p.offset for p in found if p.offset >= 0}


@contextlib.contextmanager
def _consumer(feed: KafkaFeed) -> Iterator[tuple]:
    """(client, partitions of the feed's topic); any fault of the broker becomes a PlatformError with its address."""
    try:
        from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
    except ModuleNotFoundError:
        raise PlatformError(
            "topics need the package confluent-kafka: `pip install confluent-kafka`, then run again"
        ) from None
    cluster, heard = broker(feed.connection), []
    address = cluster.servers
    settings_ = {"bootstrap.servers": address, "group.id": "mdp", "enable.auto.commit": False, "log_level": 2,
                 "isolation.level": "read_committed", "auto.offset.reset": "error", "enable.partition.eof": True,
                 "fetch.queue.backoff.ms": 10, "error_cb": heard.append, **cluster.client_settings()}  # fmt: skip
    client = Consumer(settings_)
    try:
        topic = client.list_topics(feed.topic, timeout=TIMEOUT_SECONDS).topics[feed.topic]
        if topic.error or not topic.partitions:
            raise PlatformError(f"{feed.name}: {address} has no topic {feed.topic}: create it, or correct the feed")
        yield client, [TopicPartition(feed.topic, p) for p in sorted(topic.partitions)]
    except KafkaException as error:
        client.poll(0)  # what the client's own threads heard: a refused login is only a silence to us
        refused = [e.str() for e in heard if e.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL)]
        prefix = f"MDP_{feed.connection.upper()}"
        if refused:
            raise PlatformError(
                f"{feed.name}: the broker at {address} and we do not agree on who is who ({refused[0]}): correct "
                f"{prefix}_USER, its password, {prefix}_PROTOCOL, _MECHANISM or _CA_FILE"
            ) from None
        raise PlatformError(
            f"{feed.name}: the broker at {address} does not answer ({error.args[0].str()}): start it, or correct "
            f"{prefix}_SERVERS"
        ) from None
    finally:
        client.close()
