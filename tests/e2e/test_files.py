"""Files that are no logs: rows without a time, whole tables sent again each day, Parquet, numbers and letters of other lands."""

import datetime as dt
import json
import os
from collections import Counter
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from ingestion import quarantine
from ingestion.feeds import load_feeds
from sample.corner_shop import delivery, life
from tests.companies import declare
from tests.e2e.test_collection import held, passed
from tests.e2e.test_collection import ingest as ingest_one
from warehouse import stages, state
from warehouse.dates import shift
from warehouse.errors import PlatformError

DAY, NEXT, THIRD, FOURTH = "2024-03-30", "2024-03-31", "2024-04-01", "2024-04-02"
LINES, STOCK, SHEET, CHINESE, PARQUET = "file__lines", "file__stock", "file__sheet", "file__chinese", "file__parquet"
TEXT, NUMBER = {"type": "string", "class": "internal"}, {"type": "decimal(12,3)", "class": "internal"}
CSV = {"kind": "files", "format": "csv", "header": True, "subject": None}
BLOCKS = {
    LINES: CSV | {"key": ["line_id"], "columns": {"line_id": TEXT, "product": TEXT | {"required": True}, "price": NUMBER}},
    STOCK: CSV | {"mode": "full", "key": ["product"], "columns": {"product": TEXT | {"required": True}, "price": NUMBER}},
    SHEET: CSV | {"delimiter": ";", "decimal": ",", "thousands": ".", "encoding": "cp1252", "key": ["id"],
                  "columns": {"id": TEXT, "price": NUMBER, "pieces": {"type": "int", "class": "internal"},
                              "sold_on": {"type": "date", "class": "internal", "time_format": "dd/MM/yyyy"}}},
    CHINESE: CSV | {"encoding": "gb18030", "multi_line": True, "key": ["id"], "columns": {"id": TEXT, "note": TEXT}},
    PARQUET: {
        "kind": "files", "format": "parquet", "subject": None, "key": ["id"], "timestamp_column": "sold_at",
        "timestamp_zone": "Europe/London",
        "columns": {
            "id": {"type": "bigint", "class": "internal"}, "sold_at": {"type": "timestamp", "class": "internal"},
            "written_at": {"type": "timestamp", "class": "internal"}, "price": NUMBER,
            "email": {"type": "string", "class": "personal", "action": "hash_and_mask", "format": "email"},
            "kind": TEXT | {"allowed": ["new", "used"]}, "sold_on": {"type": "date", "class": "internal"},
            "share": {"type": "double", "class": "internal"},
        },
    },
}  # fmt: skip


@pytest.fixture
def spool(spark, tmp_path, monkeypatch):
    """A spool and a company in London whose feeds are those above."""
    yield from made_spool(spark, tmp_path, monkeypatch, BLOCKS)


def made_spool(spark, tmp_path, monkeypatch, blocks):
    blocks = {name: block | {"directory": name, "pattern": name + "-{date}*"} for name, block in blocks.items()}
    (tmp_path / "feeds.yml").write_text(yaml.safe_dump(blocks, sort_keys=False))
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path, timezone="Europe/London"))
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    for name, path in {"KEY_FILE": "a.key", "SPOOL_URI": "spool"}.items():
        monkeypatch.setenv(f"MDP_{name}", str(tmp_path / path))
    for name in blocks:
        (tmp_path / "spool" / name).mkdir(parents=True)
    yield tmp_path / "spool"
    for feed in load_feeds().values():
        spark.sql(f"drop table if exists {feed.raw_table}")
        spark.sql(f"drop table if exists {feed.quarantine_table}")


def put(spool, feed: str, ds: str, *rows: str, encoding: str = "utf-8", part: str = "") -> None:
    path = spool / feed / f"{feed}-{ds}{part}.csv"
    path.write_bytes("".join(row + "\n" for row in rows).encode(encoding))
    os.utime(path, (0, 0))  # not written just now


def ingest(feed: str, ds: str, **options) -> dict:
    """Load a feed for a day; the days before count as finished."""
    for earlier in state.loaded_days(without=stages.LAST, before=ds):
        for stage in stages.STAGES:
            state.publish(stage, [earlier])
    return ingest_one(feed, ds, **options)


def loaded(spark, feed: str, ds: str, *columns: str) -> list[tuple]:
    return sorted(
        (tuple(r) for r in spark.table(f"raw.{feed}").where(f"ds = '{ds}'").select(*columns).collect()), key=str
    )


def test_rows_without_a_time_count_on_the_day_of_their_file(spark, spool):
    put(spool, LINES, DAY, "line_id,product,price", "a1,tea,1.5", "a2,,2", "a3,milk,much")
    put(spool, LINES, NEXT, "line_id,product,price", "b1,bread,0.001")
    assert [ingest(LINES, DAY)[key] for key in ("n_rows", "n_quarantined")] == [1, 2]
    name = f"{LINES}-{DAY}.csv"
    assert held(spark, LINES) == [
        (name, 3, "missing_field:product", "a2,,2"), (name, 4, "malformed_csv", "a3,milk,much")
    ]  # fmt: skip
    assert quarantine.decide(LINES, DAY, "release", reason="missing_field:product") == 1
    assert ingest(LINES, NEXT)["n_rows"] == 2
    columns = ("line_id", "received_date", "event_time")
    assert loaded(spark, LINES, DAY, *columns) == [("a1", DAY, None)]
    assert loaded(spark, LINES, NEXT, *columns) == [("a2", DAY, None), ("b1", NEXT, None)]
    assert ingest(LINES, NEXT)["outcome"] == "unchanged"


def test_a_whole_table_is_the_newest_day_s_files_and_stands_while_none_come(spark, spool):
    head = "product,price"
    put(spool, STOCK, shift(DAY, -1), head, "gone,1")
    put(spool, STOCK, DAY, head, "milk,1", "tea,2", part="-1")
    put(spool, STOCK, DAY, head, "bread,3", ",4", part="-2")
    first = ingest(STOCK, DAY, from_ds=shift(DAY, -9))  # a history takes the newest
    assert (first["n_rows"], first["n_quarantined"]) == (3, 1)
    standing = ingest(STOCK, NEXT)
    assert f"2 files of {DAY}: the table stands" in standing["note"]
    assert (standing["n_rows"], standing["n_quarantined"]) == (3, 1)
    with pytest.raises(PlatformError, match="sent whole each day"):
        quarantine.decide(STOCK, NEXT, "release", reason="missing_field:product")
    put(spool, STOCK, THIRD, head, "milk,1", "tea,2")  # what part 1 held
    assert ingest(STOCK, THIRD)["n_rows"] == 2
    assert passed(spark, STOCK, "product") == sorted(["bread", "milk", "tea"] * 2 + ["milk", "tea"])
    assert loaded(spark, STOCK, NEXT, "product", "received_date")[0] == ("bread", DAY)
    assert loaded(spark, STOCK, THIRD, "product", "received_date") == [("milk", THIRD), ("tea", THIRD)]
    assert ingest(STOCK, THIRD)["outcome"] == ingest(STOCK, NEXT)["outcome"] == "unchanged"
    file = spool / STOCK / f"{STOCK}-{THIRD}.csv"
    was = file.read_bytes()
    file.write_bytes(was + b"x,1\n")
    with pytest.raises(PlatformError, match=f"{STOCK}-{THIRD}.csv has changed since it was loaded"):
        ingest(STOCK, FOURTH)
    file.unlink()
    with pytest.raises(PlatformError, match="the table until newer files come, is not in .* any more: put it back"):
        ingest(STOCK, FOURTH)
    put(spool, STOCK, FOURTH, head)
    assert ingest(STOCK, FOURTH)["n_rows"] == 0  # as sent: a gate's business


def test_numbers_dates_and_letters_are_read_as_declared_or_held(spark, spool):
    good = ["a;1.234,56;1.000;05/03/2024", "ä€;12,5;1000;31/12/2023", "c;-0,5;;05/03/2024", "d;1.234.567,891;+7;",
            "e;1234,5;1;05/03/2024"]  # fmt: skip
    bad = ["f;1.2345;1;", "g;1,234.56;1;", "h;12.34;1;", "i;1;1,5;", "j;1.23.456;1;", "k;1,2;1;03/25/2024", "l;1,;1,;"]
    put(spool, SHEET, DAY, "id;price;pieces;sold_on", *good, *bad, encoding="cp1252")
    result = ingest(SHEET, DAY)
    # the point of a decimal may have no digit behind it, a whole number has none
    assert [(place, reason) for _, place, reason, _ in held(spark, SHEET)] == [
        (n, "bad_date:sold_on" if n == 12 else "malformed_csv") for n in range(7, 14)
    ]
    march, december = dt.date(2024, 3, 5), dt.date(2023, 12, 31)
    assert loaded(spark, SHEET, DAY, "id", "price", "pieces", "sold_on") == [
        ("a", Decimal("1234.560"), 1000, march), ("c", Decimal("-0.500"), None, march),
        ("d", Decimal("1234567.891"), 7, None), ("e", Decimal("1234.500"), 1, march),
        ("ä€", Decimal("12.500"), 1000, december),
    ]  # fmt: skip
    assert (result["n_rows"], result["n_quarantined"]) == (5, 7)


def test_chinese_letters_in_their_own_encoding(spark, spool):
    rows = ["id,note", "1,中文|數據", '2,"a,\n""é€😀"""', "3,x"]
    text = "".join(row + "\n" for row in rows).encode("gb18030")
    (spool / CHINESE / f"{CHINESE}-{DAY}.csv").write_bytes("\ufeff".encode("gb18030") + text + b"4,\xff\xff\n")
    ingest(CHINESE, DAY)
    assert loaded(spark, CHINESE, DAY, "id", "note") == [("1", "中文|數據"), ("2", 'a,\n"é€😀"'), ("3", "x")]
    assert held(spark, CHINESE) == [(f"{CHINESE}-{DAY}.csv", 6, "bad_encoding", "4,ÿÿ")]


def parquet_rows(n: int, first: int, **columns) -> pa.Table:
    """`n` sales from 00:30 in London on the day on which its clock skips 01:00 to 02:00."""
    at = [dt.datetime(2024, 3, 31, 0, 30) + dt.timedelta(seconds=i) for i in range(n)]
    return pa.table({
        "id": pa.array(range(first, first + n), pa.int32()), "sold_at": pa.array(at, pa.timestamp("us")),
        "written_at": pa.array(at, pa.timestamp("us", "UTC")), "price": pa.array([Decimal("1.05")] * n, pa.decimal128(9, 2)),
        "email": [f"{i}@example.org" for i in range(n)], "kind": pa.array(["new"] * n).dictionary_encode(),
        "sold_on": pa.array([dt.date(2024, 3, 31)] * n), "share": pa.array([0.1] * n),
        "more": pa.array([[1]] * n),
    } | columns)  # fmt: skip


def test_parquet_passes_the_same_door(spark, spool):
    kinds = ["new"] * 997 + ["old", "used", None]
    late = [dt.datetime(2024, 3, 20)] + [dt.datetime(2024, 3, 31, 1, 30)] * 999  # an hour that never was
    path = spool / PARQUET / f"{PARQUET}-{NEXT}.parquet"
    pq.write_table(parquet_rows(1000, 1, kind=pa.array(kinds), sold_at=pa.array(late, pa.timestamp("ms"))), path,
                   row_group_size=64)  # fmt: skip
    pq.write_table(parquet_rows(2, 2001, email=pa.nulls(2)), spool / PARQUET / f"{PARQUET}-{NEXT} 2.parquet")
    frame = (
        spark.range(2)
        .selectExpr(
            "id + 3001 as id",
            "timestamp'2024-03-31 12:00:00' as sold_at",
            "current_timestamp() as written_at",
            "cast(1 as decimal(12,3)) as price",
            "'a@b.org' as email",
            "'new' as kind",
            "date'2024-03-31' as sold_on",
            "if(id = 0, double('NaN'), 0.5) as share",
        )
        .toPandas()
    )
    frame.attrs.clear()  # Spark's metrics, which no file holds
    frame.to_parquet(spool / PARQUET / f"{PARQUET}-{NEXT}-pandas.parquet", coerce_timestamps="us")  # fmt: skip
    result = ingest(PARQUET, NEXT)
    found = held(spark, PARQUET)
    assert [row[:3] for row in found] == [
        (path.name, 1, "too_late"), (path.name, 998, "unknown_value:kind"),
    ]  # fmt: skip
    assert (result["n_rows"], result["n_quarantined"]) == (1002, 2)
    assert json.loads(found[1][3]) == {
        "id": 998, "sold_at": "2024-03-31T01:30:00", "written_at": "2024-03-31T00:46:37+00:00", "price": "1.05",
        "email": "997@example.org", "kind": "old", "sold_on": "2024-03-31", "share": 0.1, "more": [1],
    }  # fmt: skip
    assert quarantine.rows(PARQUET, NEXT, None, 1)[0]["text"].count('"email": "***"') == 1
    row = spark.table(f"raw.{PARQUET}").where("id in (2, 2001)").orderBy("id").collect()
    assert [r.event_time for r in row] == [dt.datetime(2024, 3, 31, 1, 30), dt.datetime(2024, 3, 31, 0, 30)]
    assert (row[0].price, row[0].email_mask, row[1].email_mask) == (Decimal("1.050"), "***@example.org", None)
    assert "more" in {r["column_name"] for r in state.drift(PARQUET)}
    quarantine.decide(PARQUET, NEXT, "release", reason="unknown_value:kind")
    pq.write_table(parquet_rows(1, 4001, sold_at=pa.array([dt.datetime(2024, 4, 1, 9)])),
                   spool / PARQUET / f"{PARQUET}-{THIRD}.parquet")  # fmt: skip
    assert ingest(PARQUET, THIRD)["n_rows"] == 2
    columns = ("id", "kind", "price", "event_time", "received_date", "email_mask")
    assert loaded(spark, PARQUET, THIRD, *columns) == [
        (4001, "new", Decimal("1.050"), dt.datetime(2024, 4, 1, 8), THIRD, "***@example.org"),
        (998, "old", Decimal("1.050"), dt.datetime(2024, 3, 31, 1, 30), NEXT, "9***@example.org"),
    ]  # fmt: skip


def test_a_parquet_file_of_other_types_stops_with_a_diff(spool):
    there = spool / PARQUET / f"{PARQUET}-{NEXT}.parquet"
    rows = parquet_rows(
        1,
        1,
        id=["1"],
        price=pa.array([Decimal(1)], pa.decimal128(20, 4)),
        share=[1],
        sold_at=pa.array([0], pa.timestamp("ns")),
    )
    pq.write_table(rows.drop_columns("kind"), there)
    with pytest.raises(PlatformError) as caught:
        ingest(PARQUET, NEXT)
    assert str(caught.value).splitlines()[:6] == [
        f"{PARQUET}: {there.name} is not what the feed declares:",
        "  ~ id: declared bigint, string in the file, which can be read as string",
        "  ~ sold_at: declared timestamp, timestamp[ns] in the file, which the engine cannot read: write it in microseconds "
        "(pandas: coerce_timestamps='us')",
        "  ~ price: declared decimal(12,3), decimal128(20, 4) in the file, which can be read as decimal(20,4)",
        "  - kind string: declared, missing in the file",
        "  ~ share: declared double, int64 in the file, which can be read as bigint",
    ]
    there.write_bytes(b"id,kind\n1,new\n")
    with pytest.raises(PlatformError, match="cannot be read as Parquet: .*; nothing of this load was taken"):
        ingest(PARQUET, NEXT)


SHOP = {
    "shop__invoices": CSV | {
        "key": ["InvoiceNo"], "timestamp_column": "InvoiceDate", "timestamp_zone": "Europe/London",
        "columns": {"InvoiceNo": TEXT, "InvoiceDate": TEXT, "CustomerID": TEXT, "Country": TEXT, "Currency": TEXT},
    },
    "shop__invoice_lines": CSV | {
        "key": ["InvoiceNo", "LineNo"],
        "columns": {"InvoiceNo": TEXT, "LineNo": {"type": "int", "class": "internal"}, "StockCode": TEXT, "Description": TEXT,
                    "Quantity": {"type": "int", "class": "internal"}, "UnitPrice": NUMBER | {"required": True}},
    },
    "shop__stock": CSV | {
        "key": ["StockCode"], "mode": "full",
        "columns": {"StockCode": TEXT, "Description": TEXT, "Category": TEXT, "ListPrice": NUMBER},
    },
    "shop__exchange_rates": CSV | {
        "key": ["Day", "Currency"],
        "columns": {"Day": {"type": "date", "class": "internal"}, "Currency": TEXT,
                    "Rate": {"type": "decimal(12,6)", "class": "internal"}},
    },
}  # fmt: skip


def test_the_corner_shop_s_files_are_taken_to_the_last_line(spark, tmp_path, monkeypatch):
    shop = life.live(customers=300, days=60)
    delivery.write_files(shop, tmp_path / "shop")
    for spool in made_spool(spark, tmp_path, monkeypatch, SHOP):
        first, last = life.clock.ds_of(0), life.clock.ds_of(shop.days - 1)
        lines = {}
        for name in SHOP:
            table = name.removeprefix("shop__")
            (spool / name).rmdir()
            (tmp_path / "shop" / "spool" / table).rename(spool / name)
            for file in (spool / name).iterdir():
                file.rename(file.with_name(f"shop__{file.name}"))
            lines[table] = shop.rows(table, 0, shop.days - 1)
        done = Counter()
        for ds, since in ((shift(last, -2), first), (shift(last, -1), None), (last, None)):
            for name in SHOP:
                result = ingest(name, ds, from_ds=since)
                done[name] += result["n_rows"] + result["n_quarantined"]
        assert done == {
            name: len(lines[name.removeprefix("shop__")]) * (3 if name == "shop__stock" else 1) for name in SHOP
        }
        no_price = lines["invoice_lines"]["UnitPrice"].isna().sum()
        assert [r[2] for r in held(spark, "shop__invoice_lines")] == ["missing_field:UnitPrice"] * no_price
        assert held(spark, "shop__invoices") == []
        total = spark.sql("select sum(Quantity * UnitPrice) from raw.shop__invoice_lines").first()[0]
        priced = lines["invoice_lines"].dropna(subset="UnitPrice")
        assert total == sum(
            int(q) * Decimal(str(p)) for q, p in zip(priced["Quantity"], priced["UnitPrice"], strict=True)
        )
