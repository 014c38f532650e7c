"""What a collector may find in a spool: formats, broken bytes, odd files; and what becomes of rows held back."""

import gzip
import json
import subprocess
import uuid

import pytest
import yaml

from ingestion import privacy, quarantine, run, status
from ingestion.feeds import load_feeds
from tests.companies import FEEDS, declare
from tests.conftest import SERVICES_REQUIRED
from warehouse import stages, state
from warehouse.errors import PlatformError
from warehouse.keys import key_path

DAY, NEXT = "2024-03-05", "2024-03-06"
JSON, CSV, ACCESS = "try__lines", "try__sheet", "try__access"


@pytest.fixture
def spool(spark, tmp_path, monkeypatch):
    """The spool of three feeds, one per format, with a state database of their own."""
    events = yaml.safe_load(FEEDS.read_text())["web__events"]
    text = {"type": "string", "class": "internal"}
    blocks = {
        JSON: events | {"directory": JSON, "pattern": JSON + "-{date}*"},
        CSV: {
            "kind": "files", "directory": CSV, "pattern": CSV + "-{date}*", "format": "csv", "header": True,
            "delimiter": ";", "timestamp_column": "sold_at", "timestamp_format": "yyyy-MM-dd HH:mm",
            "timestamp_zone": "Asia/Shanghai", "subject": None, "key": ["sale_id"],
            "columns": {
                "sale_id": text | {"required": True}, "sold_at": text, "amount": {"type": "decimal(18,2)", "class": "internal"},
                "note": text,
            },
        },
        ACCESS: {
            "kind": "files", "directory": ACCESS, "pattern": ACCESS + "-{date}*", "format": "combined",
            "timestamp_column": "requested_at", "subject": None, "key": ["line_digest"],
            "columns": {
                "line_digest": text, "remote_host": {"type": "string", "class": "personal", "action": "drop"},
                "requested_at": text, "request": text, "status": {"type": "int", "class": "internal"},
                "n_bytes": {"type": "bigint", "class": "internal"}, "referer": text, "user_agent": text,
            },
        },
    }  # fmt: skip
    (tmp_path / "feeds.yml").write_text(yaml.safe_dump(blocks, sort_keys=False))
    names = {"KEY_FILE": "a.key", "SPOOL_URI": "spool"}
    for name, path in names.items():
        monkeypatch.setenv(f"MDP_{name}", str(tmp_path / path))
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path))
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    feeds = load_feeds()
    for name in feeds:
        (tmp_path / "spool" / name).mkdir(parents=True)
    yield tmp_path / "spool"
    for feed in feeds.values():
        spark.sql(f"drop table if exists {feed.raw_table}")
        spark.sql(f"drop table if exists {feed.quarantine_table}")


def event(event_id: str, at: str = f"{DAY}T10:00:00+08:00", **columns) -> bytes:
    row = {"event_id": event_id, "event_type": "view", "occurred_at": at, "user_id": "c1", "is_logged_in": True,
           "device_id": "d1", "session_id": "s1", "duration_ms": 5, "platform": "web"} | columns  # fmt: skip
    return json.dumps(row, ensure_ascii=False).encode()


def ingest(feed: str, ds: str = DAY, **options) -> dict:
    return run.ingest(ds, feeds=[feed], **options)[0]


def held(spark, feed: str) -> list[tuple]:
    """(source, position, reason, text) of all rows held back, in order."""
    keys = privacy.read_keys(str(key_path()))
    rows = spark.table(f"quarantine.{feed}").orderBy("source", "source_position").collect()
    opened = [
        privacy.decrypt(keys, r.payload, f"quarantine.{feed}", "payload", privacy.payload_row(r.row_key, r.source))
        for r in rows
    ]
    return [(r.source, r.source_position, r.reason, text) for r, text in zip(rows, opened, strict=True)]


def passed(spark, feed: str, column: str) -> list:
    return sorted((row[0] for row in spark.table(f"raw.{feed}").select(column).collect()), key=str)


def test_each_odd_file_has_its_outcome(spark, spool):
    there, name = spool / JSON, f"{JSON}-{DAY}"
    (there / f"{name}-a-bom.jsonl").write_bytes(b"\xef\xbb\xbf" + event("bom") + b"\r\n" + event("crlf") + b"\r\n")
    latin = event("latin", search_term="Müller").replace("ü".encode(), b"\xfc")
    (there / f"{name}-b-latin.jsonl").write_bytes(event("before") + b"\n" + latin + b"\n" + event("after") + b"\n")
    long = event("long", search_term="x" * 10_000_000)
    (there / f"{name}-c-long.jsonl").write_bytes(event("short") + b"\n" + long + b"\n")
    (there / f"{name}-d-partial.jsonl").write_bytes(event("whole") + b"\n" + event("cut")[:60])
    (there / f"{name}-e-last.jsonl").write_bytes(event("no_line_end"))
    (there / f"{name}-f-empty.jsonl").write_bytes(b"")
    (there / f"{name}-g.jsonl.gz").write_bytes(gzip.compress(event("packed") + b"\n{\n" + event("packed2") + b"\n"))
    (there / f"{name}-h.jsonl").mkdir()
    (there / f"{name}-i.jsonl" / "x").parent.mkdir()
    result = ingest(JSON)
    assert passed(spark, JSON, "event_id") == sorted(
        ["bom", "crlf", "before", "after", "short", "whole", "no_line_end", "packed", "packed2"]
    )
    assert held(spark, JSON) == [
        (f"{name}-b-latin.jsonl", 2, "bad_encoding", latin.decode("latin-1")),
        (f"{name}-c-long.jsonl", 2, "too_long", long.decode()),
        (f"{name}-d-partial.jsonl", 2, "malformed_json", event("cut")[:60].decode()),
        (f"{name}-g.jsonl.gz", 2, "malformed_json", "{"),
    ]
    assert (result["n_rows"], result["n_quarantined"]) == (9, 4)


def test_a_line_is_found_again_in_a_file_that_is_read_in_blocks(spark, spool):
    spark.conf.set("spark.sql.files.maxPartitionBytes", 50_000)
    lines = [event(f"e{n}", search_term="x" * (n % 97)) if n % 331 else b"{" + str(n).encode() for n in range(1, 4001)]
    try:
        (spool / JSON / f"{JSON}-{DAY}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
        (spool / JSON / f"{JSON}-{DAY}-2.jsonl").write_bytes(b"\n".join(lines[:500]) + b" \n")
        ingest(JSON)
    finally:
        spark.conf.unset("spark.sql.files.maxPartitionBytes")
    expected = [(f"{JSON}-{DAY}-2.jsonl", 331, "malformed_json", "{331")]
    expected += [(f"{JSON}-{DAY}.jsonl", n, "malformed_json", f"{{{n}") for n in range(331, 4001, 331)]
    assert held(spark, JSON) == expected


def test_a_table_of_values_and_its_header(spark, spool):
    head = "sale_id;sold_at;amount;note"
    lines = [
        head, "s1;2024-03-05 10:00;12.50;plain", 's2;2024-03-05 11:00;;"a;b ""c"""', head, "s3;2024-03-05 10:00;12,50;x",
        "s4;yesterday;1.00;x", "s5;2024-03-05 10:00;1.00", ";2024-03-05 10:00;1.00;x", "s6;2024-03-05 10:00;1.005;x",
    ]  # fmt: skip
    (spool / CSV / f"{CSV}-{DAY}.csv").write_text("\r\n".join(lines) + "\r\n")
    ingest(CSV)
    rows = [tuple(r) for r in spark.table(f"raw.{CSV}").orderBy("sale_id").select("sale_id", "note").collect()]
    assert rows == [("s1", "plain"), ("s2", 'a;b "c"')]
    (at,) = spark.sql(f"select cast(event_time as string) from raw.{CSV} where sale_id = 's1'").first()
    assert at == "2024-03-05 02:00:00"
    assert [(n, reason) for _, n, reason, _ in held(spark, CSV)] == [
        (4, "repeated_header"), (5, "malformed_csv"), (6, "bad_timestamp:sold_at"), (7, "malformed_csv"),
        (8, "missing_field:sale_id"), (9, "malformed_csv"),
    ]  # fmt: skip


SPANNING = [
    's1;2024-03-05 10:00;1.00;"first\nsecond"', "s2;2024-03-05 10:00;1.00;x",
    's3;2024-03-05 10:00;x;"a\n\ns9;2024-03-05 10:00;1.00;b"', 's4;2024-03-05 10:00;1.00;"never closed',
    's5;2024-03-05 10:00;1.00;5" pipe', 's6;2024-03-05 10:00;1.00;"a"b', ";" * 30_000,
    's7;2024-03-05 10:00;"1.00";"a ""q"" b"', 's8;2024-03-05 10:00;1.00;"open',
]  # fmt: skip


@pytest.mark.parametrize("is_declared", [True, False])
def test_a_row_over_several_lines_is_one_row_or_held_back_once(spark, spool, is_declared):
    if is_declared:
        path = spool.parent / "feeds.yml"
        path.write_text(path.read_text().replace("  header: true\n", "  header: true\n  multi_line: true\n"))
    (spool / CSV / f"{CSV}-{DAY}.csv").write_text("sale_id;sold_at;amount;note\n" + "\n".join(SPANNING) + "\n")
    plain = 'sale_id;sold_at;amount;note\nt1;2024-03-05 10:00;1.00;5" pipe\nt2;2024-03-05 10:00;1.00;"open\n'
    (spool / CSV / f"{CSV}-{DAY}-plain.csv").write_text(plain)
    ingest(CSV)
    rows = dict(tuple(r) for r in spark.table(f"raw.{CSV}").select("sale_id", "note").collect())
    good = {"s2": "x", "s5": '5" pipe', "s7": 'a "q" b', "t1": '5" pipe'}
    assert rows == good | ({"s1": "first\nsecond"} if is_declared else {})
    lines = {2: SPANNING[0], 5: SPANNING[2], 8: SPANNING[3], 10: SPANNING[5], 11: SPANNING[6], 13: SPANNING[8]}
    if is_declared:
        del lines[2]
    name = f"{CSV}-{DAY}"
    expected = [(f"{name}-plain.csv", 3, "malformed_csv", 't2;2024-03-05 10:00;1.00;"open')]
    expected += [(f"{name}.csv", n, "malformed_csv", text) for n, text in lines.items()]
    assert held(spark, CSV) == expected


def test_an_offset_wins_and_the_zone_is_for_every_column_without_one(spark, spool):
    path = spool.parent / "feeds.yml"
    blocks = yaml.safe_load(path.read_text())
    moments = {"seen_at": {"type": "timestamp"}, "sent_at": {"type": "timestamp", "time_format": "epoch_milliseconds"}}
    more = {name: column | {"class": "internal"} for name, column in (moments | {"born": {"type": "date"}}).items()}
    blocks[JSON] |= {"timestamp_zone": "Asia/Shanghai", "columns": blocks[JSON]["columns"] | more}
    path.write_text(yaml.safe_dump(blocks, sort_keys=False))
    bare = {"seen_at": f"{DAY} 10:00", "sent_at": 1709604000000, "born": "2000-02-29"}
    good = [
        event("e1"),
        event("e2", at=f"{DAY}T10:00:00", **bare),
        event("e3", at=f"{DAY}T02:00:00Z", seen_at=f"{DAY}T02:00Z"),
    ]
    bad = {
        "bad_timestamp:seen_at": {"seen_at": "10:15"}, "bad_timestamp:sent_at": {"sent_at": f"{DAY}T10:00:00Z"},
        "bad_date:born": {"born": "20000229"}, "bad_timestamp:occurred_at": {"at": "10:15"},
    }  # fmt: skip
    lines = good + [event(reason, **columns) for reason, columns in bad.items()]
    (spool / JSON / f"{JSON}-{DAY}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    ingest(JSON)
    shown = ", ".join(f"cast({name} as string)" for name in ("event_time", "seen_at", "sent_at", "born"))
    at = f"{DAY} 02:00:00"
    assert [tuple(row) for row in spark.sql(f"select {shown} from raw.{JSON} order by event_id").collect()] == [
        (at, None, None, None), (at, at, at, "2000-02-29"), (at, at, None, None),
    ]  # fmt: skip
    assert [(n, reason) for _, n, reason, _ in held(spark, JSON)] == list(enumerate(bad, 4))


def test_columns_are_found_by_the_header_and_new_ones_are_recorded(spark, spool):
    (spool / CSV / f"{CSV}-{DAY}.csv").write_text("sale_id;sold_at;amount;note\ns1;2024-03-05 10:00;1.00;a\n")
    moved = "note;shop;sold_at;amount;sale_id\nb;north;2024-03-05 11:00;2.00;s2\n"
    (spool / CSV / f"{CSV}-{DAY}-2.csv").write_text(moved)
    assert "new, not read: shop" in ingest(CSV)["note"]
    rows = spark.table(f"raw.{CSV}").orderBy("sale_id").collect()
    assert [(r.sale_id, str(r.amount), r.note) for r in rows] == [("s1", "1.00", "a"), ("s2", "2.00", "b")]
    assert [(d["column_name"], d["first_ds"]) for d in state.drift(CSV)] == [("shop", DAY)]
    (spool / CSV / f"{CSV}-{DAY}-3.csv").write_text("sale_id;sold_at;note\ns3;2024-03-05 10:00;a\n")
    with pytest.raises(PlatformError, match="-3.csv is not what the feed declares:\n  - amount: declared, missing"):
        ingest(CSV)


def test_a_column_that_is_let_through_is_encrypted(spark, spool, monkeypatch):
    path = spool.parent / "feeds.yml"
    path.write_text(path.read_text().replace(f"{JSON}:\n", f"{JSON}:\n  new_columns: let_through\n"))
    lines = [event(f"e{n}") for n in range(5)] + [event("n1", shop={"city": "X"}), event("n2", shop="east")]
    (spool / JSON / f"{JSON}-{DAY}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    assert "new, read, encrypted: shop" in ingest(JSON)["note"]
    keys = privacy.read_keys(str(key_path()))
    rows = spark.table(f"raw.{JSON}").where("shop_enc is not null").orderBy("event_id").collect()
    opened = [
        privacy.decrypt(keys, r.shop_enc, f"raw.{JSON}", "shop", privacy.key_row(r.event_id), r.key_id) for r in rows
    ]
    assert opened == ['{"city":"X"}', "east"]


def test_a_column_of_another_type_stops_with_a_diff(spool):
    lines = [event(f"e{n}", duration_ms="long", is_logged_in=1) for n in range(9)]
    (spool / JSON / f"{JSON}-{DAY}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(PlatformError) as caught:
        ingest(JSON)
    assert "  ~ duration_ms: declared bigint, string in the file" in str(caught.value)
    assert "  ~ is_logged_in: declared boolean, int in the file" in str(caught.value)


def test_the_log_of_a_web_server(spark, spool):
    line = (
        '203.0.113.7 - frank [05/Mar/2024:10:00:00 +0800] "GET /a?b=%22 HTTP/1.1" 200 2326 "-" "Mozilla/5.0 (\\"x\\")"'
    )
    lines = [
        line,
        line.replace("2326", "-").replace("200", "404"),
        line.replace("05/Mar", "5th/Mar"),
        "- - -",
        line + " extra",
    ]
    (spool / ACCESS / f"{ACCESS}-{DAY}.log").write_text("\n".join(lines) + "\n")
    ingest(ACCESS)
    rows = spark.table(f"raw.{ACCESS}").orderBy("status").collect()
    assert [(r.request, r.status, r.n_bytes, r.referer) for r in rows] == [
        ("GET /a?b=%22 HTTP/1.1", 200, 2326, None),
        ("GET /a?b=%22 HTTP/1.1", 404, None, None),
    ]
    assert rows[0].user_agent == 'Mozilla/5.0 ("x")' and len(rows[0].line_digest) == 64
    assert "remote_host" not in rows[0].asDict()
    assert [(n, reason) for _, n, reason, _ in held(spark, ACCESS)] == [
        (3, "bad_timestamp:requested_at"), (4, "malformed_combined"), (5, "malformed_combined"),
    ]  # fmt: skip


def test_a_released_row_lands_in_its_own_day(spark, spool, capsys):
    late = event("late", at="2024-02-20T10:00:00+08:00")
    lines = [event("e1"), late, event("early", at=f"{NEXT}T09:00:00+08:00"), event("odd", platform="fridge"), b"{"]
    (spool / JSON / f"{JSON}-{DAY}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    ingest(JSON)
    assert [(r["reason"], r["waiting"]) for r in quarantine.counts(JSON)] == [
        ("future", 1), ("malformed_json", 1), ("too_late", 1), ("unknown_value:platform", 1),
    ]  # fmt: skip
    shown = {r["reason"]: r for r in quarantine.rows(JSON, DAY, None, 10)}
    assert shown["too_late"]["place"] == f"{JSON}-{DAY}.jsonl:2" and '"event_id": "late"' in shown["too_late"]["text"]
    assert quarantine.decide(JSON, DAY, "release", place=f"{JSON}-{DAY}.jsonl:2") == 1
    assert quarantine.decide(JSON, DAY, "release", reason="future") == 1
    assert quarantine.decide(JSON, DAY, "drop", reason="unknown_value:platform") == 1
    with pytest.raises(PlatformError, match="cannot be read as an event"):
        quarantine.decide(JSON, DAY, "release", reason="malformed_json")
    with pytest.raises(PlatformError, match="no row of .* waits"):
        quarantine.decide(JSON, DAY, "release", reason="future")
    for stage in stages.STAGES:
        state.publish(stage, [DAY])
    result = ingest(JSON, NEXT)
    assert result["n_rows"] == 2 and "2 released from quarantine" in result["note"]
    rows = spark.table(f"raw.{JSON}").where(f"ds = '{NEXT}'").orderBy("event_id").collect()
    assert [(r.event_id, r.received_date) for r in rows] == [("early", NEXT), ("late", "2024-02-20")]
    assert ingest(JSON, NEXT)["outcome"] == "unchanged"
    assert {(r["reason"], r["waiting"], r["release"], r["drop"]) for r in quarantine.counts(JSON)} == {
        ("future", 0, 1, 0), ("malformed_json", 1, 0, 0), ("too_late", 0, 1, 0), ("unknown_value:platform", 0, 0, 1),
    }  # fmt: skip
    (line,) = [row for row in status.status() if row["feed"] == JSON]
    assert (line["ds"], line["state"], line["n_rows"], line["lag_days"]) == (NEXT, "loaded", 2, 0)


def test_a_held_line_is_shown_masked(spool):
    feed = load_feeds()[JSON]
    assert "13812345678" not in quarantine.masked(feed, '{"search_term": "call 13812345678')
    personal = feed.model_copy(update={"columns": feed.columns | {"name": load_feeds()[ACCESS].columns["remote_host"]}})
    assert quarantine.masked(personal, '{"name": "Li Lei", "event_id": "e1"}') == '{"name": "***", "event_id": "e1"}'
    assert "Li Lei" not in quarantine.masked(personal, '{"name": "Li Lei"')


def test_a_full_disk_ends_the_load_and_a_larger_one_lets_it_be_repeated(spark, spool, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        assert not SERVICES_REQUIRED, mounted.stderr
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        monkeypatch.setenv("MDP_WAREHOUSE_URI", str(disk))
        lines = b"\n".join(event(uuid.uuid4().hex, search_term=uuid.uuid4().hex) for _ in range(5_000))
        (spool / JSON / f"{JSON}-{DAY}.jsonl").write_bytes(lines)
        with pytest.raises(
            PlatformError, match=f"{JSON}: the load of {DAY} broke off, nothing of it is published: .*space left"
        ):
            ingest(JSON)
        assert not spark.catalog.tableExists(f"raw.{JSON}")
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        assert ingest(JSON)["outcome"] == "repaired" and len(passed(spark, JSON, "event_id")) == 5_000
        assert len(list((disk / "loads" / JSON / f"ds={DAY}").iterdir())) == 1  # what the first attempt left is gone
    finally:
        spark.sql(f"drop table if exists raw.{JSON}")
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
