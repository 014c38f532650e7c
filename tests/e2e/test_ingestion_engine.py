"""Loads on the real engine: a table of Derby and a spool made by hand, each kind of line, each way of running again."""

import json
import os

import pytest
import yaml

from ingestion import collect, commit, jdbc, privacy, run
from ingestion.feeds import JdbcFeed, load_feeds
from tests.companies import FEEDS, declare
from warehouse import leases, stages, state
from warehouse.connections import database
from warehouse.errors import PlatformError
from warehouse.keys import key_path

DAY, NEXT = "2024-03-05", "2024-03-06"
EVENTS, BUYERS, BOUGHT = "try__events", "try__buyers", "try__purchases"


@pytest.fixture
def world(spark, tmp_path, monkeypatch):
    """Three feeds with tables, spool and state database of their own, on the session's engine."""
    blocks = yaml.safe_load(FEEDS.read_text())
    events = blocks["web__events"] | {"directory": EVENTS, "pattern": EVENTS + "-{date}*.jsonl"}
    mine = {
        EVENTS: events,
        BUYERS: blocks["crm__customers"] | {"table": "try_buyers"},
        BOUGHT: blocks["crm__orders"] | {"table": "try_purchases"},
    }
    buyers = mine[BUYERS]["columns"]
    mine[BUYERS]["columns"] = {c: buyers[c] for c in ("customer_id", "phone", "email", "id_number", "latitude")}
    path = tmp_path / "feeds.yml"
    path.write_text(yaml.safe_dump(mine, sort_keys=False))
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path))
    feeds = load_feeds()
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    monkeypatch.setenv("MDP_KEY_FILE", str(tmp_path / "a.key"))
    monkeypatch.setenv("MDP_SPOOL_URI", str(tmp_path / "spool"))
    (tmp_path / "spool" / EVENTS).mkdir(parents=True)
    write_crm(spark, [("c1", "138 1234 5678", "Li@example.com", "110101199003070011", 31.23456)], purchases_of(DAY))
    yield tmp_path
    for feed in feeds.values():
        spark.sql(f"drop table if exists {feed.raw_table}")
        spark.sql(f"drop table if exists {feed.quarantine_table}")


def write_crm(spark, buyers: list, purchases: list) -> None:
    def put(rows, schema, table):
        frame = spark.createDataFrame(rows, schema)
        frame.write.format("jdbc").options(**database("crm").jdbc_options(), dbtable=table).mode("overwrite").save()

    schema = "customer_id string, phone string, email string, id_number string, latitude double"
    put(buyers, schema, "try_buyers")
    spark.sql("select 1").collect()
    texts = [tuple(None if v is None else str(v) for v in row) for row in purchases]
    names = ("order_id", "customer_id", "ordered_at", "channel", "amount_cny", "cancelled_at", "updated_at")
    types = {
        "ordered_at": "timestamp",
        "cancelled_at": "timestamp",
        "updated_at": "timestamp",
        "amount_cny": "decimal(18,2)",
    }
    frame = spark.createDataFrame(texts, ", ".join(f"{n} string" for n in names))
    frame = frame.selectExpr(*[f"cast({n} as {types.get(n, 'string')}) as {n}" for n in names])
    frame.write.format("jdbc").options(**database("crm").jdbc_options(), dbtable="try_purchases").mode(
        "overwrite"
    ).save()


def purchases_of(ds: str) -> list:
    """Before the day, in it (by business time), changed later, and after it."""
    return [
        ("o1", "c1", "2024-03-04 15:59:59", "search", "10.00", None, "2024-03-04 15:59:59"),
        ("o2", "c1", "2024-03-04 16:00:00", "search", "20.00", None, "2024-03-04 16:00:00"),
        ("o3", "c1", "2024-03-05 01:00:00", "social", "30.00", "2024-03-07 02:00:00", "2024-03-07 02:00:00"),
        ("o4", "c1", "2024-03-05 16:00:00", "social", "40.00", None, "2024-03-05 16:00:00"),
    ]


def event(event_id="e1", at=f"{DAY}T10:00:00+08:00", **columns) -> str:
    row = {"event_id": event_id, "event_type": "view", "occurred_at": at, "user_id": "c1", "is_logged_in": True,
           "device_id": "d1", "session_id": "s1", "duration_ms": 5, "platform": "web"} | columns  # fmt: skip
    return json.dumps({k: v for k, v in row.items() if v != "gone"})


def drop(world, name: str, *lines: str) -> None:
    (world / "spool" / EVENTS / name).write_text("".join(line + "\n" for line in lines))


def ingest(ds=DAY, feeds=(EVENTS,), **options) -> dict:
    return {r["feed"]: r for r in run.ingest(ds, feeds=list(feeds), **options)}


def rows(spark, table: str, *columns: str) -> list[tuple]:
    return sorted((tuple(r) for r in spark.table(table).select(*columns).collect()), key=str)


def test_each_line_lands_in_raw_or_in_quarantine_with_its_reason(spark, world):
    bad = {
        "malformed_json": [
            "{", "", "not json 13812345678", "[]", "null", event() + event("e2"), event() + " ,\t" + event("e2"),
            event()[:40], event(duration_ms="long"), "[" + event() + "]", event() + " and more",
        ],
        "missing_field:event_id": [event(event_id="gone"), event(event_id=" ")],
        "missing_field:is_logged_in": [event(is_logged_in=None)],
        "bad_timestamp:occurred_at": [event(at="2024-13-45T25:61:00Z"), event(at=f"{DAY}T10:00:00"), event(at=DAY)],
        "unknown_value:event_type": [event(event_type="buy")],
        "unknown_value:platform": [event(platform="fridge")],
        "future": [event(at=f"{NEXT}T00:00:00+08:00"), event(at=f"{DAY}T16:00:00Z")],
        "too_late": [event(at="2024-03-01T23:59:59+08:00")],
    }  # fmt: skip
    good = [
        event("g1"), event("g2", at=f"{DAY}T23:59:59.999+08:00"), event("g3", at="2024-03-02T00:00:00+08:00"),
        event("g4", user_id=None, search_term="a } b"), event("g5", at=f"{DAY}T02:00:00Z") + "\r", "  " + event("g6"),
        event("g7", at="2024-03-04T20:00:00-05:00", unknown_key={"deep": 1}),
    ]  # fmt: skip
    drop(world, f"{EVENTS}-{DAY}.jsonl", *good, *(line for lines in bad.values() for line in lines))
    result = ingest()[EVENTS]
    assert (result["outcome"], result["n_rows"]) == ("loaded", len(good))
    assert [r[0] for r in rows(spark, f"raw.{EVENTS}", "event_id")] == [f"g{i}" for i in range(1, 8)]
    found = rows(spark, f"quarantine.{EVENTS}", "reason", "row_key", "payload", "source", "key_id")
    counted = {reason: [r[0] for r in found].count(reason) for reason in {r[0] for r in found}}
    assert counted == {reason: len(lines) for reason, lines in bad.items()}
    keys = privacy.read_keys(str(key_path()))
    opened = {
        privacy.decrypt(keys, p, f"quarantine.{EVENTS}", "payload", privacy.payload_row(k, f))
        for _, k, p, f, _ in found
    }
    assert opened == {line for lines in bad.values() for line in lines}
    assert "13812345678" not in str(found)


def test_a_file_sent_again_or_late_counts_once_on_its_arrival(spark, world):
    drop(world, f"{EVENTS}-{DAY}.jsonl", event("e1"))
    ingest(from_ds=DAY)
    for stage in stages.STAGES:
        state.publish(stage, [DAY])
    drop(world, f"{EVENTS}-{NEXT}.jsonl", event("e2", at=f"{NEXT}T10:00:00+08:00"))
    drop(world, f"{EVENTS}-{NEXT}-again.jsonl", event("e1"))
    drop(world, f"{EVENTS}-{DAY}-late.jsonl", event("e3"))
    drop(world, f"{EVENTS}-2024-03-07.jsonl", event("e4"))
    result = ingest(NEXT)[EVENTS]
    assert "again.jsonl" in result["note"]
    arrived = rows(spark, f"raw.{EVENTS}", "event_id", "received_date", "ds")
    assert arrived == [("e1", DAY, DAY), ("e2", NEXT, NEXT), ("e3", NEXT, NEXT)]


def test_a_second_run_is_a_verified_no_op(spark, world):
    drop(world, f"{EVENTS}-{DAY}.jsonl", event("e1"), "{")
    ingest(feeds=(EVENTS, BUYERS, BOUGHT))
    files = spark.table(f"raw.{EVENTS}").inputFiles()
    again = ingest(feeds=(EVENTS, BUYERS, BOUGHT))
    assert {r["outcome"] for r in again.values()} == {"unchanged"}
    assert spark.table(f"raw.{EVENTS}").inputFiles() == files
    spark.sql(f"alter table raw.{EVENTS} drop partition (ds = '{DAY}')")
    with pytest.raises(PlatformError, match=f"raw.{EVENTS} of {DAY} holds 0 rows, 1 were published"):
        ingest()
    state.publish("gate_raw", [DAY])
    assert ingest(reload=True)[EVENTS]["n_rows"] == 1
    assert rows(spark, f"raw.{EVENTS}", "event_id") == [("e1",)]


@pytest.mark.parametrize("point", ["write_apart", "point_partition", "publish_load", "take_files"])
def test_a_kill_at_any_point_is_repaired_by_the_next_run(spark, world, monkeypatch, point):
    drop(world, f"{EVENTS}-{DAY}.jsonl", event("e1"), "{")
    place = {"write_apart": run, "point_partition": commit}.get(point, state)
    real, calls = getattr(place, point), []

    def dies(*arguments):
        calls.append(arguments)
        if place is not state:  # rows lie beside the tables; raw is replaced, quarantine is not
            real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(place, point, dies)
        ingest()
    assert calls and state.load(EVENTS, DAY).status == "intent"
    drop(world, f"{EVENTS}-{DAY}-later.jsonl", event("e2"))
    result = ingest()[EVENTS]
    assert (result["outcome"], result["n_rows"], result["n_quarantined"]) == ("repaired", 1, 1)
    assert rows(spark, f"raw.{EVENTS}", "event_id") == [("e1",)]


def test_a_mended_day_is_taken_again(spark, world):
    drop(world, f"{EVENTS}-{DAY}.jsonl", *(event(f"e{i}", user_id=None) for i in range(5)))
    ingest(feeds=(EVENTS, BUYERS, BOUGHT))
    rule = dict(table_name="t", rule="r", column_name=None, success=False, observed="", expected="", sample="")
    state.record_verdicts(DAY, "raw", [rule])
    drop(world, f"{EVENTS}-{DAY}.jsonl", *(event(f"e{i}") for i in range(3)))
    write_crm(spark, [("c2", None, None, None, None)], purchases_of(DAY))
    result = ingest(feeds=(EVENTS, BUYERS, BOUGHT))
    assert {r["outcome"] for r in result.values()} == {"again"}
    assert rows(spark, f"raw.{EVENTS}", "user_id") == [("c1",)] * 3
    assert rows(spark, f"raw.{BUYERS}", "customer_id") == [("c2",)]
    assert list(state.taken_files(EVENTS).values()) == [f"{EVENTS}-{DAY}.jsonl"]


def test_an_empty_day_is_empty_partitions(spark, world):
    result = ingest()[EVENTS]
    assert (result["n_rows"], result["n_quarantined"]) == (0, 0) and "no new file" in result["note"]
    assert f"ds={DAY}" in [r[0] for r in spark.sql(f"show partitions raw.{EVENTS}").collect()]


def test_a_table_is_read_protected_and_by_business_day(spark, world):
    ingest(feeds=(BUYERS, BOUGHT), from_ds=DAY)
    (buyer,) = spark.table(f"raw.{BUYERS}").collect()
    keys = privacy.read_keys(str(key_path()))
    assert buyer.phone_hash == privacy.keyed_hash(keys, "phone", "+8613812345678", "CN")
    assert (buyer.phone_mask, buyer.latitude) == ("138****5678", 31.23)
    assert "phone" not in buyer.asDict() and "email" not in buyer.asDict()
    sealed = (f"raw.{BUYERS}", "id_number", privacy.key_row("c1"))
    assert privacy.decrypt(keys, buyer.id_number_enc, *sealed) == "110101199003070011"
    # o1 is before the day, o3 changed after it but was created in it, o4 is after it
    assert rows(spark, f"raw.{BOUGHT}", "order_id") == [("o2",), ("o3",)]
    (at,) = spark.sql(f"select cast(ordered_at as string) from raw.{BOUGHT} where order_id = 'o2'").collect()
    assert at[0] == "2024-03-04 16:00:00"


def test_a_changed_table_stops_with_a_diff_and_the_other_feeds_go_on(spark, world):
    frame = spark.sql("select 'c1' as customer_id, 1 as phone, 'x' as nickname")
    frame.write.format("jdbc").options(**database("crm").jdbc_options(), dbtable="try_buyers").mode("overwrite").save()
    drop(world, f"{EVENTS}-{DAY}.jsonl", event("e1"))
    with pytest.raises(PlatformError) as caught:
        ingest(feeds=(EVENTS, BUYERS))
    said = str(caught.value)
    assert "~ phone: declared string, integer at the source" in said and "+ nickname clob: new at the source" in said
    assert "- email string: declared, missing at the source" in said
    assert state.load(EVENTS, DAY).status == "published" and not state.is_published("raw", DAY)


def test_a_missing_table_and_a_wrong_password_show_no_password(world, spark, monkeypatch):
    monkeypatch.setenv("MDP_CRM_PASSWORD", "hidden-word")
    spark.sql("select 1").collect()
    with pytest.raises(PlatformError, match="table nowhere of .* cannot be read") as caught:
        from ingestion.jdbc import source_table

        source_table("x", "nowhere")
    assert "hidden-word" not in str(caught.value) and "\n" not in str(caught.value)


def test_the_key_is_in_no_log(spark, world):
    ingest(feeds=(BUYERS,))
    key = key_path().read_bytes()
    derived = privacy.read_keys(str(key_path()))
    log = (world.__class__(os.environ["MDP_HOME"]) / "logs" / "engine.log").read_bytes()
    assert log, "the engine writes a log"
    phone = derived.hashes["phone"]
    for secret in (key, key.hex().encode(), phone, phone.hex().encode()):
        assert secret not in log


def test_two_at_once_one_says_so(world):
    with leases.lock(f"ingest {EVENTS}"), pytest.raises(PlatformError, match=f"ingest {EVENTS} is being worked on"):
        ingest()


def test_a_growing_file_is_noticed(spark, world, monkeypatch):
    drop(world, f"{EVENTS}-{DAY}.jsonl", event("e1"))
    real = collect.read

    def grows(*arguments):
        drop(world, f"{EVENTS}-{DAY}.jsonl", event("e1"), event("e2"))
        return real(*arguments)

    monkeypatch.setattr(collect, "read", grows)
    with pytest.raises(PlatformError, match="had 1 rows, but 2 were written"):
        ingest()
    assert state.load(EVENTS, DAY).status == "intent"


@pytest.mark.parametrize("column", ["customer_id", "latitude", "joined_at", "born", "visits"])
def test_parts_of_an_embedded_table_hold_each_row_exactly_once(spark, world, column):
    rows_ = "concat('c', id) as customer_id, if(id % 7 = 0, null, cast(id * 1.5 as double)) as latitude, "
    rows_ += "if(id % 5 = 0, null, timestamp'2024-03-05 00:00:00.123456' + make_interval(0, 0, 0, id)) as joined_at, "
    rows_ += "date_add(date'2024-01-01', cast(id as int)) as born, if(id < 30, 7, cast(id as bigint)) as visits"
    frame = spark.sql(f"select {rows_} from range(50)")
    options = database("crm").jdbc_options() | {"createTableColumnTypes": "customer_id varchar(20)"}
    frame.write.format("jdbc").options(**options, dbtable="try_buyers").mode("overwrite").save()
    kinds = ("string", "double", "timestamp", "date", "bigint")
    declared = dict(zip(frame.columns, ({"type": kind, "class": "internal"} for kind in kinds), strict=True))
    for splits in (2, 7):
        one = JdbcFeed.model_validate(
            dict(name=BUYERS, kind="jdbc", table="try_buyers", mode="full", subject=None, key=["customer_id"],
                 columns=declared, split_by=column, splits=splits)
        )  # fmt: skip
        inputs = jdbc.fix_inputs(one, None, DAY)
        source, read = jdbc.read(one, inputs)
        assert source.count() == 50 and read.exceptAll(frame).count() == frame.exceptAll(read).count() == 0
        parts = len(inputs["splits"]["cuts"]) + 1 + bool(inputs["splits"]["n_nulls"])
        assert parts > 1 and f"part {parts} of {parts}" in jdbc.plan(one, inputs)
