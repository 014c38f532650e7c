"""Topics of a real broker: what a load takes, once, whatever happens to the broker or to us."""

import json
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
import yaml

from ingestion import follow, privacy, run, status, topics
from ingestion.feeds import load_feeds
from tests.companies import declare as company_of
from warehouse import stages, state
from warehouse.errors import PlatformError
from warehouse.keys import key_path

DAY, NEXT = "2024-03-05", "2024-03-06"
FEED = "try__topic"
BLOCK = {
    "kind": "kafka",
    "topic": "events",
    "subject": "user_id",
    "key": ["event_id"],
    "timestamp_column": "occurred_at",
    "columns": {
        "event_id": {"type": "string", "class": "internal", "required": True},
        "occurred_at": {"type": "string", "class": "internal", "required": True},
        "user_id": {"type": "string", "class": "internal"},
        "phone": {"type": "string", "class": "personal", "action": "hash_and_mask", "format": "phone"},
        "amount": {"type": "decimal(18,2)", "class": "internal"},
    },
}


@pytest.fixture
def topic(spark, connectors, kafka, tmp_path, monkeypatch):
    """A feed on a topic of its own with three partitions; gives a function that changes the feed's block."""
    name = f"events-{tmp_path.name}"
    kafka.create_topic(name, 3, {"retention.ms": "-1"})  # the records are stamped long ago
    for key, value in {"STATE_URL": f"sqlite:///{tmp_path}/state.db", "KEY_FILE": tmp_path / "a.key",
                       "COMPANY": company_of(tmp_path), "KAFKA_SERVERS": kafka.bootstrap}.items():  # fmt: skip
        monkeypatch.setenv(f"MDP_{key}", str(value))

    def declare(**changes):
        (tmp_path / "feeds.yml").write_text(yaml.safe_dump({FEED: BLOCK | {"topic": name} | changes}))
        return load_feeds()[FEED]

    feed = declare()
    yield name, declare
    for table in (feed.raw_table, feed.quarantine_table):
        spark.sql(f"drop table if exists {table}")


def clock(sleep):
    """A clock for who follows: of its own, because a lease sleeps, too."""
    return SimpleNamespace(monotonic=time.monotonic, sleep=sleep)


def message(number: int, at: str = f"{DAY}T10:00:00+08:00", stamp: str | None = None, partition: int = 0, **columns):
    row = {"event_id": f"e{number}", "occurred_at": at, "user_id": "c1", "phone": "13812345678", "amount": 1.25}
    return raw_message(json.dumps(row | columns), stamp or at, partition)


def raw_message(text, at: str = f"{DAY}T10:00:00+08:00", partition: int = 0):
    moment = datetime.fromisoformat(at).astimezone(UTC)
    return {"value": text, "partition": partition, "timestamp": int(moment.timestamp() * 1000)}


def ingest(ds: str = DAY, **options) -> dict:
    return run.ingest(ds, feeds=[FEED], **options)[0]


def ids(spark, ds: str) -> list[str]:
    return sorted(row.event_id for row in spark.table(f"raw.{FEED}").where(f"ds = '{ds}'").collect())


def test_a_day_takes_what_the_broker_stamped_until_its_end(spark, topic, kafka):
    name, _ = topic
    late = f"{NEXT}T00:30:00+08:00"
    kafka.produce(name, *(message(n, partition=n % 3) for n in range(20)), message(99, at=late, partition=1))
    result = ingest()
    assert (result["outcome"], result["n_rows"], result["n_quarantined"]) == ("loaded", 20, 0)
    assert ids(spark, DAY) == sorted(f"e{n}" for n in range(20))
    assert ingest()["outcome"] == "unchanged"
    finish(DAY)
    kafka.produce(name, message(100, at=late, partition=2))
    assert ingest(NEXT)["n_rows"] == 2 and ids(spark, NEXT) == ["e100", "e99"]
    row = spark.table(f"raw.{FEED}").where("event_id = 'e3'").first()
    keys = privacy.read_keys(str(key_path()))
    assert row.phone_hash == privacy.keyed_hash(keys, "phone", "13812345678", "CN") and row.phone_mask == "138****5678"
    assert (row.source, row.source_partition, row.received_date) == (name, 0, DAY)


def finish(ds: str) -> None:
    for stage in stages.STAGES:
        state.publish(stage, [ds])


def test_a_poison_message_is_held_back_with_its_place(spark, topic, kafka):
    name, _ = topic
    poison = ["{", None, b"\xff\xfe", json.dumps([1]), "x" * 1_100_000 and "x" * 900_000]
    kafka.produce(
        name,
        message(1),
        *(raw_message(text, partition=2) for text in poison),
        message(2, at="yesterday", stamp=f"{DAY}T10:00:00+08:00"),
    )
    result = ingest()
    assert (result["n_rows"], result["n_quarantined"]) == (1, len(poison) + 1)
    held = spark.table(f"quarantine.{FEED}").orderBy("source_partition", "source_position").collect()
    assert [(r.reason, r.source, r.source_partition, r.source_position) for r in held] == [
        ("bad_timestamp:occurred_at", name, 0, 1),
        ("malformed_json", name, 2, 0),
        ("malformed_json", name, 2, 1),
        ("bad_encoding", name, 2, 2),
        ("malformed_json", name, 2, 3),
        ("malformed_json", name, 2, 4),
    ]
    keys = privacy.read_keys(str(key_path()))
    opened = [
        privacy.decrypt(keys, r.payload, f"quarantine.{FEED}", "payload", privacy.payload_row(r.row_key, r.source))
        for r in held
    ]
    assert opened[1:] == ["{", None, "\xff\xfe", "[1]", "x" * 900_000]
    assert "13812345678" in opened[0] and "13812345678" not in str(held)


def test_batches_are_bounded_and_one_that_is_done_is_not_read_again(spark, topic, kafka, monkeypatch):
    name, declare = topic
    declare(max_messages=7)
    kafka.produce(name, *(message(n, partition=n % 3) for n in range(25)))
    real, read = topics.read, []

    def dies_at_the_third(feed, ds, first, batch):
        read.append(batch)
        if len(read) == 3:
            raise KeyboardInterrupt
        return real(feed, ds, first, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(topics, "read", dies_at_the_third)
        ingest()
    load = state.load(FEED, DAY)
    assert [topics.n_rows(b) for b in load.inputs["batches"]] == [7, 7, 7, 4]
    assert ["n_rows" in b for b in load.inputs["batches"]] == [True, True, False, False]
    kafka.produce(name, message(50))  # not part of what was meant
    result = ingest()
    assert (result["outcome"], result["n_rows"]) == ("repaired", 25)
    assert ids(spark, DAY) == sorted(f"e{n}" for n in range(25))
    assert len(spark.sql(f"show partitions raw.{FEED}").collect()) == 4
    declare(max_messages=100)
    assert ingest(reload=True)["n_rows"] == 26
    assert len(spark.sql(f"show partitions raw.{FEED}").collect()) == 1


def test_records_that_the_broker_dropped_are_named(spark, topic, kafka):
    name, _ = topic
    kafka.produce(name, *(message(n, partition=n % 2) for n in range(10)))
    ingest()
    finish(DAY)
    later = f"{NEXT}T08:00:00+08:00"
    kafka.produce(name, *(message(20 + n, at=later, partition=0) for n in range(10)))
    kafka.delete_records(name, {0: 8})
    with pytest.raises(PlatformError, match=rf"{name}/0 offsets 5 to 7 \(3 records\).*--accept-gap"):
        ingest(NEXT)
    result = ingest(NEXT, accept_gap=True)
    assert result["n_rows"] == 7 and "3 records were dropped" in result["note"]
    assert state.load(FEED, NEXT).inputs["gaps"] == {"0": [5, 8]}


def test_an_empty_day_and_a_new_partition(spark, topic, kafka):
    name, _ = topic
    assert (ingest()["n_rows"], ids(spark, DAY)) == (0, [])
    finish(DAY)
    kafka.add_partitions(name, 4)
    kafka.produce(name, message(1, at=f"{NEXT}T08:00:00+08:00", partition=3))
    assert ingest(NEXT)["n_rows"] == 1


def test_a_missing_broker_and_a_missing_topic_are_said(topic, kafka, monkeypatch):
    _, declare = topic
    declare(topic="nowhere")
    with pytest.raises(PlatformError, match="has no topic nowhere"):
        ingest()
    monkeypatch.setattr(topics, "TIMEOUT_SECONDS", 2)
    monkeypatch.setenv("MDP_KAFKA_SERVERS", "127.0.0.1:1")
    with pytest.raises(PlatformError, match="the broker at 127.0.0.1:1 does not answer"):
        ingest()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_broker_that_asks_for_a_login(spark, topic, kafka, monkeypatch, tmp_path, home, mechanism):
    name, _ = topic
    kafka.produce(name, message(1), message(2, at="yesterday", stamp=f"{DAY}T10:00:00+08:00"))
    kafka.let_in_by_scram()
    (tmp_path / "password").write_text(kafka.password)
    settings = {"SERVERS": kafka.login_bootstrap, "USER": kafka.user, "PASSWORD_FILE": tmp_path / "password",
                "CA_FILE": kafka.ca_file, "MECHANISM": mechanism}  # fmt: skip
    for part, value in settings.items():
        monkeypatch.setenv(f"MDP_KAFKA_{part}", str(value))
    result = ingest()
    assert (result["n_rows"], result["n_quarantined"], ids(spark, DAY)) == (1, 1, ["e1"])
    assert kafka.password not in (home / "logs" / "engine.log").read_text()
    finish(DAY)
    monkeypatch.setattr(topics, "TIMEOUT_SECONDS", 5)
    (tmp_path / "password").write_text("wrong")
    with pytest.raises(
        PlatformError, match=f"the broker at {kafka.login_bootstrap} .*who is who.*(?i:authentication).*MDP_KAFKA_USER"
    ) as said:
        ingest(NEXT)
    assert "wrong" not in str(said.value)
    monkeypatch.delenv("MDP_KAFKA_CA_FILE")
    with pytest.raises(
        PlatformError, match=f"the broker at {kafka.login_bootstrap} .*who is who.*certificate.*_CA_FILE"
    ):
        ingest(NEXT)


def test_of_a_topic_written_in_transactions_what_is_committed_is_taken(spark, topic, kafka):
    """Today: the broker stamps the marks of transactions itself, and a mark of today would end a day of long ago."""
    from confluent_kafka import Producer

    name, _ = topic
    now = datetime.now(ZoneInfo("Asia/Shanghai"))
    today, tomorrow = (str(now.date() + timedelta(days=n)) for n in (0, 1))
    sent = [message(n, at=now.isoformat(), partition=n % 2) for n in range(100)]
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": name, "log_level": 2})
    producer.init_transactions()
    for number in range(6):
        producer.begin_transaction()
        for n in range(3):
            producer.produce(name, **sent[10 * number + n])
        producer.flush()
        producer.commit_transaction() if number % 2 == 0 else producer.abort_transaction()
    kafka.produce(name, raw_message("{", at=now.isoformat(), partition=1), sent[90])
    producer.begin_transaction()
    producer.produce(name, **sent[98])
    producer.flush()  # still open
    kafka.produce(name, sent[92], sent[93])
    result = ingest(today)
    committed = [f"e{10 * number + n}" for number in (0, 2, 4) for n in range(3)]
    assert ids(spark, today) == sorted([*committed, "e90", "e93"])
    assert (result["n_rows"], result["n_quarantined"]) == (11, 1)
    finish(today)
    producer.commit_transaction()
    assert ingest(tomorrow)["n_rows"] == 2, "what was open, and what came after it"
    assert ids(spark, tomorrow) == ["e92", "e98"]


@pytest.fixture
def compacted(topic, kafka):
    """The feed on a topic whose broker keeps the newest record of each key, and a function that waits until it did."""
    _, declare = topic
    name = f"compacted-{topic[0]}"
    kafka.create_topic(name, 1, {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "100",
                                 "min.compaction.lag.ms": "0"})  # fmt: skip
    feed = declare(topic=name)

    def wait_until(n_left: int, n_sent: int) -> None:
        end = time.monotonic() + 60
        while topics.count(feed, {"from": {"0": 0}, "to": {"0": n_sent}}) > n_left:
            assert time.monotonic() < end, "the broker did not compact"
            time.sleep(0.2)

    return feed, wait_until


def keyed(number: int, text: str | None = None) -> dict:
    """The record of one of two keys, stamped so that it comes to lie in a segment of its own."""
    stamp = f"{DAY}T10:00:0{number}+08:00"
    return (message(number, stamp=stamp) if text is None else raw_message(text, stamp)) | {"key": f"k{number % 2}"}


def test_of_a_compacted_topic_what_is_left_is_taken(spark, compacted, kafka):
    feed, wait_until = compacted
    for n in range(6):
        kafka.produce(feed.topic, keyed(n))
    wait_until(3, 6)
    result = ingest()
    assert result["n_rows"] < 6 and {"e4", "e5"} <= set(ids(spark, DAY))


def test_a_record_that_is_compacted_away_is_gone_and_not_the_next_one(spark, compacted, kafka, monkeypatch):
    """Held back, and dropped by the broker before its text was fetched: no other record's text may take its place."""
    feed, wait_until = compacted
    for n in range(6):
        kafka.produce(feed.topic, keyed(n, text=f"poison {n}"))
    real = topics.records_at

    def compacted_meanwhile(*arguments):
        for n in range(6, 9):
            kafka.produce(feed.topic, keyed(n))
        wait_until(3, 9)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(topics, "records_at", compacted_meanwhile)
        with pytest.raises(PlatformError, match=rf"has dropped records .*{feed.topic}/0 offset [0-5].* run it again"):
            ingest()
    result = ingest()
    ring, held = privacy.read_keys(str(key_path())), spark.table(feed.quarantine_table).collect()
    assert result["outcome"] == "repaired" and result["n_quarantined"] == len(held) < 6
    for row in held:  # what the broker has left of them
        bound = privacy.payload_row(row.row_key, row.source)
        text = privacy.decrypt(ring, row.payload, feed.quarantine_table, "payload", bound)
        assert text == f"poison {row.source_position}"


def test_a_record_that_only_one_client_saw_stops_the_load(spark, topic, kafka, monkeypatch):
    name, _ = topic
    kafka.produce(name, *(message(n) for n in range(5)))
    real = topics.read
    monkeypatch.setattr(topics, "read", lambda *args: real(*args).where("source_position <> 3"))
    with pytest.raises(PlatformError, match="had 5 rows, but 4 were written"):
        ingest()
    assert state.load(FEED, DAY).status == "intent"


def test_a_followed_topic_is_loaded_as_it_grows_and_the_next_day_ends_the_day(spark, topic, kafka, monkeypatch):
    name, _ = topic
    monkeypatch.setattr(topics, "FULL", 6)
    seen, rounds = (
        [],
        iter(
            [
                lambda: kafka.produce(name, *(message(n, partition=n % 3) for n in range(4))),
                lambda: kafka.produce(name, *(message(n, partition=n % 3) for n in range(4, 9)), raw_message("{")),
                lambda: None,
                lambda: kafka.produce(name, message(9), message(50, at=f"{NEXT}T08:00:00+08:00", partition=1)),
            ]
        ),
    )

    def between_looks(_):
        load = state.load(FEED, DAY)
        seen.append((load.status, len(ids(spark, DAY)), [topics.n_rows(b) for b in load.inputs["batches"]]))
        act = next(rounds, None)
        if act is None:
            raise KeyboardInterrupt
        act()

    monkeypatch.setattr(follow, "time", clock(between_looks))
    follow.follow(DAY, FEED, 1)
    assert seen == [
        ("intent", 0, [0]),
        ("intent", 4, [4]),  # taken again with what came, and cut where it was full
        ("intent", 9, [6, 4]),
        ("intent", 9, [6, 4]),
        ("published", 10, [6, 5]),
    ]
    assert ids(spark, DAY) == sorted(f"e{n}" for n in range(10)) and ids(spark, NEXT) == ["e50"]
    assert state.load(FEED, DAY).n_quarantined == 1
    assert len(spark.sql(f"show partitions raw.{FEED} partition (ds = '{DAY}')").collect()) == 2
    (line,) = [line for line in status.status() if line["feed"] == FEED]
    assert (line["ds"], line["state"], line["n_rows"], line["notes"]) == (NEXT, "followed", 1, [])
    # the scheduled load takes over what a follower left open
    kafka.produce(name, message(51, at=f"{NEXT}T09:00:00+08:00", partition=2))
    finish(DAY)
    result = ingest(NEXT)
    assert (result["outcome"], result["n_rows"]) == ("loaded", 2) and ids(spark, NEXT) == ["e50", "e51"]
    assert ingest(NEXT)["outcome"] == "unchanged"


def test_a_follower_that_was_killed_goes_on_with_what_it_had_meant(spark, topic, kafka, monkeypatch):
    name, _ = topic
    kafka.produce(name, *(message(n, partition=n % 3) for n in range(8)))
    real, looks = topics.read, iter([True, True])

    def dies_at_the_second(feed, ds, first, batch):
        if next(looks, None) is None:
            raise KeyboardInterrupt
        return real(feed, ds, first, batch)

    with monkeypatch.context() as patch:
        patch.setattr(topics, "read", dies_at_the_second)
        patch.setattr(follow, "time", clock(lambda _: kafka.produce(name, message(8), message(9))))
        follow.follow(DAY, FEED, 1)
        follow.follow(DAY, FEED, 1)
    assert ["n_rows" in b for b in state.load(FEED, DAY).inputs["batches"]] == [False]
    assert len(ids(spark, DAY)) == 10  # the partition still holds what was whole
    result = ingest()
    assert (result["outcome"], result["n_rows"]) == ("loaded", 12)
    assert len(ids(spark, DAY)) == 12


def test_only_a_topic_is_followed(topic, tmp_path):
    with pytest.raises(PlatformError, match="unknown feed"):
        follow.follow(DAY, "no__such", 1)
