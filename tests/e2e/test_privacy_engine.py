"""Privacy on the real engine: free text masked alike by Java and Python, keys rotated and killed, secrets read back."""

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ingestion import masks, privacy, protect, reveal, rotate, run
from ingestion.feeds import load_feeds
from tests.companies import FEEDS, declare
from tests.conftest import PROJECT, mdp
from tests.unit.test_masks import TEXTS, TEXTS_OF, UNTOUCHED
from warehouse import keys, leases, stages, state
from warehouse.errors import PlatformError

DAY, NEXT = "2024-03-05", "2024-03-06"
EVENTS, BUYERS = "hide__events", "hide__buyers"
ID_NUMBERS = {f"c{i}": f"11010119900307{i:04d}" for i in range(20)}


@pytest.fixture
def world(spark, tmp_path, monkeypatch):
    """Two feeds, as a file says that commands read, too: buyers with a secret, events with free text."""
    blocks = yaml.safe_load(FEEDS.read_text())
    mine = {
        EVENTS: blocks["web__events"] | {"directory": EVENTS, "pattern": EVENTS + "-{date}*.jsonl"},
        BUYERS: blocks["crm__customers"] | {"table": "hide_buyers"},
    }
    buyers = mine[BUYERS]["columns"]
    mine[BUYERS]["columns"] = {c: buyers[c] for c in ("customer_id", "phone", "id_number")}
    path = tmp_path / "feeds.yml"
    path.write_text(yaml.safe_dump(mine, sort_keys=False))
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path))
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    monkeypatch.setenv("MDP_KEY_FILE", str(tmp_path / "ring.key"))
    monkeypatch.setenv("MDP_SPOOL_URI", str(tmp_path / "spool"))
    (tmp_path / "spool" / EVENTS).mkdir(parents=True)
    write_buyers(spark)
    yield tmp_path
    for feed in load_feeds(path).values():
        for table in (feed.raw_table, feed.quarantine_table):
            spark.sql(f"drop table if exists {table}")


def write_buyers(spark) -> None:
    from warehouse.connections import database

    rows = [(key, f"1381234{n:04d}", number) for n, (key, number) in enumerate(ID_NUMBERS.items())]
    frame = spark.createDataFrame(rows, "customer_id string, phone string, id_number string")
    frame.write.format("jdbc").options(**database("crm").jdbc_options(), dbtable="hide_buyers").mode("overwrite").save()


def event(event_id: str, **columns) -> str:
    row = {"event_id": event_id, "event_type": "view", "occurred_at": f"{DAY}T10:00:00+08:00", "is_logged_in": True}
    return json.dumps(row | columns, ensure_ascii=False)


def drop(world, *lines: str, day: str = DAY) -> None:
    (world / "spool" / EVENTS / f"{EVENTS}-{day}.jsonl").write_text("".join(line + "\n" for line in lines))


def held(day: str) -> str:
    """A line with a key that the door holds back."""
    return event("bad", event_type="buy", search_term="13812345678", session_id=day)


def load(world, day: str = DAY) -> None:
    """A day with twenty secrets of buyers and two quarantined lines, one of them without a key."""
    drop(world, event("e1"), held(day), f"not json 13812345678 {day}", day=day)
    run.ingest(day, from_ds=DAY if day == DAY else None)
    for stage in stages.STAGES:
        state.publish(stage, [day])


def keys_of(table: str) -> dict[str, dict[str, int]]:
    """Day → key → number of rows."""
    return {spec["ds"]: by_key for spec, by_key in rotate.rows_by_partition(table)}


def files_of(table: str) -> list[str]:
    """The directories that hold the table's rows of DAY: one, if nothing of an older key is left."""
    place = next(place for place in rotate.sealed_tables() if place.table == table)
    return rotate._copies(place, {"ds": DAY})


def opened(spark) -> dict[str, set]:
    """Table → what all its secrets say in clear, each opened with the key that its row names."""
    ring = privacy.read_keys(str(keys.key_path()))
    found = {}
    for place in rotate.sealed_tables():
        rows = spark.table(place.table).toArrow()
        bound = [row for batch in rows.to_batches() for row in place.rows_of(batch)]
        for stored, name in place.columns.items():
            values = zip(rows.to_pylist(), bound, strict=True)
            found[place.table] = {
                privacy.decrypt(ring, r[stored], place.table, name, b, r["key_id"]) for r, b in values
            }
    return found


# -- free text --------------------------------------------------------------------------------------------------------


def test_java_and_python_mask_a_text_alike(spark):
    long = ["a" * 50_000, "1" * 50_000, "+" + "1-" * 25_000, "a@" + "b." * 25_000, "x@" + "b" * 50_000, "1 " * 25_000]
    mixed = [f"{a} {b}" for a, _ in TEXTS for b in UNTOUCHED[:8]] + [f"{a}{b}" for a, _ in TEXTS for b, _ in TEXTS[:6]]
    texts = [
        None,
        *(written for written, _ in TEXTS),
        *(written for _, written, _ in TEXTS_OF),
        *UNTOUCHED,
        *mixed,
        *long,
    ]
    frame = spark.createDataFrame(list(enumerate(texts)), "n int, text string")
    countries = ("CN", "DE", "US", "IT")
    masked = (
        frame.selectExpr("n", *[f"{protect.redaction('text', c)} as {c}" for c in countries]).orderBy("n").toArrow()
    )
    for country in countries:
        assert masked.column(country).to_pylist() == [masks.redact(text, country) for text in texts]
    assert len(texts) > 400


def test_free_text_is_masked_on_its_way_to_raw_without_a_python_worker(spark, world, capsys):
    feed = load_feeds()[EVENTS]
    frame = spark.range(1).selectExpr("cast(id as string) as event_id", "concat('ring 1381234567', id) as search_term")
    protect.protect(frame, feed).explain()
    plan = capsys.readouterr().out
    assert "regexp_replace" in plan and "MapInArrow" not in plan and "Python" not in plan
    drop(
        world,
        event("e1", search_term="ring 13812345678 or li.na@example.com"),
        event("e2", search_term="shoes"),
        event("e3"),
    )
    run.ingest(DAY, from_ds=DAY, feeds=[EVENTS])
    rows = spark.table(f"raw.{EVENTS}").select("event_id", "search_term").orderBy("event_id").collect()
    assert [tuple(r) for r in rows] == [("e1", "ring 138****5678 or l***@example.com"), ("e2", "shoes"), ("e3", None)]
    assert "key_id" not in spark.table(f"raw.{EVENTS}").columns


def test_every_action_on_the_engine(spark, world):
    """One feed with each action and type; what comes out needs the key, or shows what its mask promises."""
    secrets = {"secret_flag": "boolean", "secret_count": "bigint", "secret_day": "date", "secret_at": "timestamp",
               "secret_sum": "decimal(18,2)"}  # fmt: skip
    columns = {
        "id": {"type": "int", "class": "internal"},
        "note": {"type": "string", "class": "personal", "action": "redact"},
        "card": {"type": "string", "class": "personal", "action": "hash_and_mask", "format": "bank_card"},
        "home": {"type": "string", "class": "personal", "action": "mask", "format": "address"},
        "login": {"type": "string", "class": "personal", "action": "hash", "format": "plain"},
        "gone": {"type": "string", "class": "secret", "action": "drop"},
        "land": {"type": "string", "class": "internal"},
        "phone": {
            "type": "string",
            "class": "personal",
            "action": "hash_and_mask",
            "format": "phone",
            "country_column": "land",
        },
        "fax": {"type": "string", "class": "personal", "action": "hash", "format": "phone", "country": "DE"},
        **{name: {"type": kind, "class": "secret", "action": "encrypt"} for name, kind in secrets.items()},
    }
    path = world / "all.yml"
    path.write_text(yaml.safe_dump({"hide__all": {"kind": "jdbc", "table": "t", "mode": "full", "subject": None,
                                                  "key": ["id"], "columns": columns}}))  # fmt: skip
    feed = load_feeds(path)["hide__all"]
    frame = spark.sql(
        "select 7 as id, 'ring 13812345678' as note, '6222 0213 8123 4567' as card, '北京市海淀区中关村大街1号' as home, "
        "'lina' as login, 'x' as gone, 'US' as land, '(201) 555-0123' as phone, '0171 1234567' as fax, "
        "true as secret_flag, 42L as secret_count, date'2024-03-05' as secret_day, "
        "timestamp'2024-03-05 01:00:00' as secret_at, cast(10 as decimal(18,2)) as secret_sum"
    )
    stored = protect.protect(frame, feed)
    assert {f.name: f.dataType.simpleString() for f in stored.schema.fields} == protect.stored_columns(feed)
    (row,) = stored.toArrow().to_pylist()
    shown = {name: row[name] for name in ("id", "note", "card_mask", "home_mask")}
    assert shown == {
        "id": 7,
        "note": "ring 138****5678",
        "card_mask": "*" * 12 + "4567",
        "home_mask": "北京市海淀区****",
    }
    ring = privacy.read_keys(str(keys.key_path()))
    hashes = [privacy.keyed_hash(ring, "phone", number) for number in ("+12015550123", "+491711234567")]
    assert [row["phone_hash"], row["fax_hash"]] == hashes and row["phone_mask"] == "******0123"
    assert row["card_hash"] == privacy.keyed_hash(ring, "bank_card", "6222021381234567")
    clear = [
        privacy.decrypt(ring, row[f"{name}_enc"], feed.raw_table, name, privacy.key_row("7"), row["key_id"])
        for name in secrets
    ]
    assert clear == ["true", "42", "2024-03-05", "2024-03-05T01:00:00+00:00", "10.00"]
    assert row["key_id"] == keys.key_id() and set(row) == set(protect.stored_columns(feed))


# -- rotation ---------------------------------------------------------------------------------------------------------


def test_a_rotation_seals_every_secret_anew_and_leaves_hashes(spark, world, capsys):
    load(world)
    first = keys.key_id()
    before = opened(spark)
    assert before == {
        f"raw.{BUYERS}": set(ID_NUMBERS.values()),
        f"quarantine.{EVENTS}": {held(DAY), f"not json 13812345678 {DAY}"},
    }
    rotate.rotate()
    second = keys.key_id()
    said = capsys.readouterr().out
    assert (
        second != first and f"22 rows in 2 partitions sealed anew with {second}; hashes still come from {first}" in said
    )
    assert "next: `mdp privacy status`" in said
    assert keys_of(f"raw.{BUYERS}") == {DAY: {second: 20}} and keys_of(f"quarantine.{EVENTS}") == {DAY: {second: 2}}
    assert opened(spark) == before
    assert files_of(f"raw.{BUYERS}") == files_of(f"quarantine.{EVENTS}") == [second], "no file of the old key is left"
    assert {r["outcome"] for r in run.ingest(DAY)} == {"unchanged"}, "what was published is still there"
    load(world, NEXT)
    counted = spark.sql(f"select phone_hash, count(*) as n, count(distinct key_id) as k from raw.{BUYERS} group by 1")
    assert {tuple(r)[1:] for r in counted.collect()} == {(2, 1)}, "equal people join across the rotation"


def test_secrets_sealed_before_v2_are_read_back_and_sealed_anew(spark, world):
    from warehouse.partitions import replace_partition

    load(world)
    ring, table = privacy.read_keys(str(keys.key_path())), f"raw.{BUYERS}"
    cipher, rows = ring.ciphers[ring.newest], spark.table(table).drop("ds").toArrow().to_pylist()
    for row in rows:
        place = [part.encode() for part in (table, "id_number", row["customer_id"])]
        row["id_number_enc"] = base64.b64encode(cipher.encrypt(ID_NUMBERS[row["customer_id"]].encode(), place)).decode()
    replace_partition(spark.createDataFrame(rows, spark.table(table).drop("ds").schema), table, DAY)
    assert reveal.reveal(table, "id_number", "c7", "sealed before") == ID_NUMBERS["c7"]
    rotate.rotate()
    assert reveal.reveal(table, "id_number", "c7", "sealed anew") == ID_NUMBERS["c7"]
    sealed = [row[0] for row in spark.table(table).select("id_number_enc").collect()]
    assert len(sealed) == 20 and all(text.startswith("v2:") for text in sealed)


class Killed(BaseException):
    """What a test throws where a process would be killed."""


POINTS = {
    "before the new block is recorded": (state, "record_key", 1, "before"),
    "before anything is sealed": (keys, "grow", 1, "after"),
    "before a table is pointed to what is written": (rotate, "point_partition", 1, "before"),
    "after a table is pointed to it": (rotate, "point_partition", 1, "after"),
    "between two tables": (rotate, "_remove_unread", 1, "after"),
    "before the last old files are removed": (rotate, "_remove_unread", 2, "before"),
}


def test_a_rotation_killed_at_any_point_goes_on_when_it_is_typed_again(spark, world, monkeypatch, capsys):
    """One after the other, each on what the one before has left: a whole warehouse under a new key."""
    load(world)
    before = opened(spark)
    for n, (point, (place, name, when, how)) in enumerate(POINTS.items(), start=1):
        calls = []
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(place, name, dying(getattr(place, name), when, how, calls))
            rotate.rotate()
        rotate.rotate()
        second = keys.key_id()
        assert len(keys.key_ids()) == n + 1, f"{point}: the rotation went on, with no second new key"
        assert keys_of(f"raw.{BUYERS}") == {DAY: {second: 20}}, point
        assert keys_of(f"quarantine.{EVENTS}") == {DAY: {second: 2}}, point
        assert opened(spark) == before, point
        assert files_of(f"raw.{BUYERS}") == files_of(f"quarantine.{EVENTS}") == [second], point


def dying(real, when: int, how: str, calls: list):
    """The function `real` that ends the process, so to speak, before or after its call number `when`."""

    def dies(*arguments):
        calls.append(arguments)
        if len(calls) < when:
            return real(*arguments)
        if how == "after":
            real(*arguments)
        raise Killed

    return dies


def test_a_command_killed_for_good_is_finished_by_the_next(spark, world):
    """A real process and a real kill, its locks left behind."""
    load(world), load(world, NEXT)
    before = opened(spark)
    command = [str(Path(sys.executable).parent / "mdp"), "privacy", "rotate"]
    process = subprocess.Popen(command, cwd=PROJECT, env=os.environ, stdout=subprocess.PIPE, text=True, bufsize=1)
    for line in process.stdout:
        if "sealed anew" in line:  # the first of four partitions
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    said = mdp("privacy", "rotate", home=Path(os.environ["MDP_HOME"])).stdout
    second = keys.key_id()
    for table in before:
        spark.sql(f"refresh table {table}")  # this session had listed the files before another one replaced them
    assert f"going on with the rotation to {second}" in said and "sealed anew with" in said
    assert {key for table in before for by_key in keys_of(table).values() for key in by_key} == {second}
    assert opened(spark) == before and len(keys.key_ids()) == 2


def test_old_keys_leave_the_ring_when_nothing_is_sealed_with_them(spark, world, monkeypatch, capsys):
    load(world)
    rotate.rotate()
    rotate.rotate()
    first, second, third = keys.key_ids()
    spark.sql(f"create table raw.hide__old using parquet as select '{second}' as key_id, 'x' as secret_enc")
    try:
        with pytest.raises(PlatformError, match=rf"raw.hide__old \(1 rows under {second}\)"):
            rotate.retire()
        assert keys.key_ids() == [first, second, third]
        rotate.rotate()
        assert f"left as it is: raw.hide__old, 1 rows under {second}; no feed declares it" in capsys.readouterr().out
    finally:
        spark.sql("drop table raw.hide__old")
    rotate.retire()
    assert f"taken out of the key ring: {second}, {third}; {first} stays" in capsys.readouterr().out
    assert keys.key_ids()[0] == first and len(keys.key_ids()) == 2
    assert opened(spark)[f"raw.{BUYERS}"] == set(ID_NUMBERS.values())


def test_a_load_in_work_is_not_met_by_a_rotation(spark, world):
    load(world)
    first = keys.key_id()
    with leases.lock(f"ingest {EVENTS}"), pytest.raises(PlatformError, match=f"ingest {EVENTS} is being worked on"):
        rotate.rotate()
    with leases.lock("build cleaned"), pytest.raises(PlatformError, match="build cleaned is being worked on"):
        rotate.rotate()
    assert keys_of(f"raw.{BUYERS}") == {DAY: {first: 20}}
    rotate.rotate()
    assert len(keys.key_ids()) == 2


def test_a_secret_that_does_not_open_stops_the_rotation_and_nothing_is_lost(spark, world):
    from warehouse.partitions import replace_partition

    load(world)
    first = keys.key_id()
    moved = spark.table(f"raw.{BUYERS}").drop("ds").selectExpr("'c0' as customer_id", "* except (customer_id)")
    rows = spark.createDataFrame(moved.toArrow())
    replace_partition(rows, f"raw.{BUYERS}", DAY)
    with pytest.raises(
        PlatformError, match=f"raw.{BUYERS} of {DAY} is left as it is: .*id_number of row 'c0' was not sealed"
    ):
        rotate.rotate()
    assert keys_of(f"raw.{BUYERS}") == {DAY: {first: 20}}


def test_rows_of_a_key_that_the_ring_lacks_are_said_before_anything_is_done(spark, world):
    from warehouse.partitions import replace_partition

    load(world)
    rows = spark.table(f"raw.{BUYERS}").drop("ds", "key_id").selectExpr("*", "'k0' as key_id")
    replace_partition(spark.createDataFrame(rows.toArrow()), f"raw.{BUYERS}", DAY)
    with pytest.raises(PlatformError, match="rows are sealed with k0, which the key ring .* lacks: restore a copy"):
        rotate.rotate()
    assert len(keys.key_ids()) == 1


# -- reading back -----------------------------------------------------------------------------------------------------


def test_a_secret_read_back_leaves_a_trace(spark, world, monkeypatch):
    load(world), load(world, NEXT)
    monkeypatch.setenv("MDP_USER", "auditor")
    assert reveal.reveal(f"raw.{BUYERS}", "id_number", "c7", "case 12") == ID_NUMBERS["c7"]
    rotate.rotate()
    assert reveal.reveal(f"raw.{BUYERS}", "id_number", "c7", "case 12, again", ds=DAY) == ID_NUMBERS["c7"]
    payload = reveal.reveal(f"quarantine.{EVENTS}", "payload", "bad", "why was it held", ds=DAY)
    assert json.loads(payload)["search_term"] == "13812345678"
    told = [(r["table_name"], r["column_name"], r["row_key"], r["ds"], r["reason"]) for r in state.reveals()]
    assert told == [
        (f"raw.{BUYERS}", "id_number", "c7", NEXT, "case 12"),
        (f"raw.{BUYERS}", "id_number", "c7", DAY, "case 12, again"),
        (f"quarantine.{EVENTS}", "payload", "bad", DAY, "why was it held"),
    ]
    assert all("auditor" in r["revealed_by"] and r["revealed_at"] for r in state.reveals())


def test_without_a_trace_no_value(spark, world, monkeypatch):
    import sqlalchemy as sa

    load(world)
    with state.engine().begin() as connection:
        connection.execute(sa.text("drop table reveals"))
    monkeypatch.setattr(reveal, "decrypt", lambda *_: pytest.fail("opened without a trace"))
    with pytest.raises(PlatformError, match="the trace cannot be written .* so nothing is revealed"):
        reveal.reveal(f"raw.{BUYERS}", "id_number", "c7", "case 12")


def test_without_the_key_no_value_and_no_trace(spark, world):
    load(world)
    keys.key_path().unlink()
    with pytest.raises(PlatformError, match="is missing: restore it to"):
        reveal.reveal(f"raw.{BUYERS}", "id_number", "c7", "case 12")
    assert state.reveals() == []


def test_what_cannot_be_read_back_is_said(spark, world):
    load(world)
    for arguments, said in (
        ((f"raw.{BUYERS}", "id_number", "c7", "  "), "read back for a reason"),
        ((f"raw.{BUYERS}", "phone", "c7", "case"), f"unknown secret of raw.{BUYERS} 'phone': known are id_number"),
        ((f"raw.{EVENTS}", "search_term", "e1", "case"), f"unknown table with secrets 'raw.{EVENTS}': known are"),
        ((f"raw.{BUYERS}", "id_number", "nobody", "case"), "has no row 'nobody': its key is customer_id"),
        ((f"raw.{BUYERS}", "id_number", "c7", "case", NEXT), f"has no row 'c7' of {NEXT}"),
    ):
        with pytest.raises(PlatformError, match=said):
            reveal.reveal(*arguments)
    assert state.reveals() == []


def test_the_commands_as_a_person_types_them(spark, world):
    load(world)
    home = Path(os.environ["MDP_HOME"])
    first = keys.key_id()
    said = mdp("privacy", "rotate", home=home).stdout
    second = keys.key_id()
    assert (
        f"the key ring has a new block: {second}" in said
        and f"22 rows in 2 partitions sealed anew with {second}" in said
    )
    status = mdp("privacy", "status", home=home).stdout
    assert first in status and second in status and f"raw.{BUYERS}" in status
    refused = mdp("privacy", "reveal", f"raw.{BUYERS}", "id_number", "--key", "c7", home=home, check=False)
    assert refused.returncode == 2 and "--reason" in refused.stderr and refused.stdout == ""
    revealed = mdp("privacy", "reveal", f"raw.{BUYERS}", "id_number", "--key", "c7", "--reason", "case 12", home=home)
    assert revealed.stdout == ID_NUMBERS["c7"] + "\n"
    trace = mdp("privacy", "trace", home=home, COLUMNS="200").stdout
    assert "case 12" in trace and "c7" in trace and ID_NUMBERS["c7"] not in trace
    assert f"{first} stays, because the hashes come from it" in mdp("privacy", "rotate", "--retire", home=home).stdout


def test_keys_and_clear_values_are_in_no_log(spark, world):
    load(world)
    rotate.rotate()
    reveal.reveal(f"raw.{BUYERS}", "id_number", "c7", "case 12")
    log = (Path(os.environ["MDP_HOME"]) / "logs" / "engine.log").read_bytes()
    ring = keys.key_path().read_bytes()
    derived = privacy.read_keys(str(keys.key_path()))
    secrets = [ring[:64], ring[64:], *derived.hashes.values()]
    assert log and not [secret for secret in secrets if secret in log or secret.hex().encode() in log]
    assert ID_NUMBERS["c7"].encode() not in log
