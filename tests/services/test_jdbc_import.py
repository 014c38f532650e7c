"""Import from real servers: every type, every way of splitting, every mode, and what is said when it cannot be done."""

import datetime as dt
import random
import re
import threading
from decimal import Decimal
from zoneinfo import ZoneInfo

import jinja2
import pytest
import sqlalchemy as sa
import yaml

from ingestion import jdbc, privacy, run, status
from ingestion.feeds import JdbcFeed, load_feeds
from ingestion.jdbc_source import Source
from tests.companies import declare as company_of
from warehouse import stages, state
from warehouse.company import company
from warehouse.connections import Database
from warehouse.dates import day_bounds_utc, shift
from warehouse.errors import PlatformError
from warehouse.keys import key_path
from warehouse.settings import PROJECT

DAY, NEXT, THIRD = "2024-03-05", "2024-03-06", "2024-03-07"
needs_database = pytest.mark.services  # the marker is set by the name of the fixture, which a parameter hides


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    monkeypatch.setenv("MDP_KEY_FILE", str(tmp_path / "a.key"))


def connect(server, tmp_path, monkeypatch):
    """Connection `shop` is the server, its password in a file."""
    (tmp_path / "password").write_text(server.password + "\n")
    monkeypatch.setenv("MDP_SHOP_URL", server.jdbc_url)
    monkeypatch.setenv("MDP_SHOP_USER", server.user)
    monkeypatch.setenv("MDP_SHOP_PASSWORD_FILE", str(tmp_path / "password"))
    return server


@pytest.fixture
def maria(mariadb, connectors, tmp_path, monkeypatch):
    return connect(mariadb, tmp_path, monkeypatch)


@pytest.fixture
def pg(postgres, connectors, tmp_path, monkeypatch):
    return connect(postgres, tmp_path, monkeypatch)


@pytest.fixture(params=["mariadb", "postgres"])
def shop(request, connectors, tmp_path, monkeypatch):
    return connect(request.getfixturevalue(request.param), tmp_path, monkeypatch)


def do(server, *statements: str) -> list[tuple]:
    """Run statements on one connection; returns what the last selects."""
    with server.engine.begin() as connection:
        for statement in statements:
            result = connection.exec_driver_sql(statement)
        return [tuple(row) for row in result] if result.returns_rows else []


def feed(columns: dict[str, str], **keys) -> JdbcFeed:
    """A feed of connection `shop`: columns is name → type."""
    declared = {name: {"type": kind, "class": "internal"} for name, kind in columns.items()}
    block = dict(name="try__x", kind="jdbc", connection="shop", subject=None, key=["id"], mode="full", columns=declared)
    return JdbcFeed.model_validate(block | keys)


def rows(one: JdbcFeed, first=None, ds=DAY, last=None) -> list[tuple]:
    """The rows that a load of the feed reads, in the order of their first column; checked against the source's count."""
    inputs = jdbc.fix_inputs(one, first, ds, last)
    source, frame = jdbc.read(one, inputs)
    with jdbc.faults(one):
        found = [tuple(row) for row in frame.collect()]
    assert len(found) == source.count()
    return sorted(found, key=lambda row: row[0])


# -- types ------------------------------------------------------------------------------------------------------------

UTC_8 = dt.datetime(2024, 3, 5, 1, 2, 3, 123456) - dt.timedelta(hours=8)
TEXT = "数据😀é"
# column, its value in SQL, declared type, what must arrive
MARIADB = [
    ("decimal(38,10)", "1234567890123456789012345678.0123456789", "decimal(38,10)",
     Decimal("1234567890123456789012345678.0123456789")),
    ("decimal(37,2)", "-0.01", "decimal(38,3)", Decimal("-0.010")),
    ("decimal(10,2) unsigned", "1.5", "decimal(10,2)", Decimal("1.50")),
    ("decimal(65,30)", "12345678901234567890123456789012345.012345678901234567890123456789", "string",
     "12345678901234567890123456789012345.012345678901234567890123456789"),
    ("bigint unsigned", "18446744073709551615", "decimal(20,0)", Decimal(18446744073709551615)),
    ("bigint unsigned", "9223372036854775807", "bigint", 9223372036854775807),
    ("bigint", "-9223372036854775808", "bigint", -9223372036854775808),
    ("int unsigned", "4294967295", "bigint", 4294967295),
    ("mediumint unsigned", "16777215", "int", 16777215),
    ("smallint unsigned", "65535", "bigint", 65535),
    ("tinyint", "-128", "int", -128),
    ("tinyint unsigned", "255", "int", 255),
    ("tinyint(1)", "1", "boolean", True),
    ("tinyint(1)", "7", "int", 7),
    ("boolean", "false", "boolean", False),
    ("bit(1)", "b'1'", "boolean", True),
    ("bit(8)", "b'10000001'", "int", 129),
    ("bit(64)", "b'1000000000000000000000000000000000000000000000000000000000000001'", "decimal(20,0)",
     Decimal(2**63 + 1)),
    ("year", "2024", "int", 2024),
    ("year", "0", "int", 0),
    ("date", "'2024-02-29'", "date", dt.date(2024, 2, 29)),
    ("date", "'0001-01-01'", "date", dt.date(1, 1, 1)),
    ("date", "'1582-10-10'", "date", dt.date(1582, 10, 10)),
    ("datetime", "'2024-03-05 01:02:03'", "timestamp", dt.datetime(2024, 3, 5, 1, 2, 3)),
    ("datetime(6)", "'1500-01-01 23:59:59.999999'", "timestamp", dt.datetime(1500, 1, 1, 23, 59, 59, 999999)),
    ("datetime(6)", "'9999-12-31 23:59:59.999999'", "timestamp", dt.datetime(9999, 12, 31, 23, 59, 59, 999999)),
    ("timestamp(6) null", "'2024-03-05 01:02:03.123456'", "timestamp", UTC_8),  # the session that writes is at +08:00
    ("time", "'12:13:14'", "string", "12:13:14"),
    ("time(6)", "'-838:59:58.999999'", "string", "-838:59:58.999999"),
    ("char(10)", "'abc'", "string", "abc"),
    ("varchar(20)", f"'{TEXT}'", "string", TEXT),
    ("varchar(20) character set latin1", "'é€'", "string", "é€"),
    ("varchar(20) character set gbk", "'中文'", "string", "中文"),
    ("char(20) character set utf16", f"'{TEXT}'", "string", TEXT),
    ("tinytext", f"'{TEXT}'", "string", TEXT),
    ("longtext", "repeat('长', 100000)", "string", "长" * 100000),
    ("text", "'\t\n''\"\\\\'", "string", "\t\n'\"\\"),
    ("varchar(9)", "'NULL'", "string", "NULL"),
    ("varchar(9)", "'\\\\N'", "string", "\\N"),
    ("varchar(9)", "''", "string", ""),
    ("blob", "x'00ff'", "binary", b"\x00\xff"),
    ("binary(4)", "x'61'", "binary", b"a\0\0\0"),
    ("varbinary(9)", "x'00ff00'", "binary", b"\x00\xff\x00"),
    ("json", "'{\"a\": 1.0}'", "string", '{"a": 1.0}'),
    ("enum('a','b c')", "'b c'", "string", "b c"),
    ("set('x','y')", "'x,y'", "string", "x,y"),
    ("uuid", "'123e4567-e89b-12d3-a456-426655440000'", "string", "123e4567-e89b-12d3-a456-426655440000"),
    ("inet6", "'::1'", "string", "::1"),
    ("float", "16777217", "float", 16777216.0),
    ("float", "1234567", "float", 1234567.0),
    ("double", "0.1", "double", 0.1),
    ("double", "1.7976931348623157e308", "double", 1.7976931348623157e308),
]  # fmt: skip
POSTGRES = [
    ("numeric(38,10)", "1234567890123456789012345678.0123456789", "decimal(38,10)",
     Decimal("1234567890123456789012345678.0123456789")),
    ("numeric", "1.50", "decimal(10,2)", Decimal("1.50")),
    ("numeric", "1.5000", "decimal(10,2)", Decimal("1.50")),
    ("numeric", "0.12345678901234567890123456789012345678901", "string",
     "0.12345678901234567890123456789012345678901"),
    ("numeric(60,30)", "'NaN'", "string", "NaN"),
    ("smallint", "-32768", "int", -32768),
    ("integer", "2147483647", "bigint", 2147483647),
    ("bigserial", "9223372036854775807", "bigint", 9223372036854775807),
    ("oid", "4294967295", "bigint", 4294967295),
    ("real", "'-Infinity'", "float", float("-inf")),
    ("real", "1.1", "float", 1.100000023841858),
    ("double precision", "'Infinity'", "double", float("inf")),
    ("double precision", "0.1", "double", 0.1),
    ("money", "12.34", "decimal(19,2)", Decimal("12.34")),
    ("boolean", "true", "boolean", True),
    ("bit(1)", "b'1'", "boolean", True),
    ("bit(8)", "b'10000001'", "string", "10000001"),
    ("bit varying(9)", "b'101'", "string", "101"),
    ("char(5)", "'abc'", "string", "abc"),
    ("varchar(10)", f"'{TEXT}'", "string", TEXT),
    ("text", "E'\\t\\n''\"\\\\'", "string", "\t\n'\"\\"),
    ("varchar(9)", "'NULL'", "string", "NULL"),
    ("varchar(9)", "'\\N'", "string", "\\N"),
    ("varchar(9)", "''", "string", ""),
    ("bytea", "'\\x00ff'", "binary", b"\x00\xff"),
    ("date", "'1582-10-10'", "date", dt.date(1582, 10, 10)),
    ("time(6)", "'12:13:14.123456'", "string", "12:13:14.123456"),
    ("timetz", "'12:13:14+08'", "string", "12:13:14+08"),
    ("timestamp", "'1500-01-01 23:59:59.999999'", "timestamp", dt.datetime(1500, 1, 1, 23, 59, 59, 999999)),
    ("timestamptz", "'2024-03-05 01:02:03.123456'", "timestamp", UTC_8),  # the session that writes is at +08:00
    ("timestamptz", "'2024-03-05 01:02:03.123456+05:30'", "timestamp", dt.datetime(2024, 3, 4, 19, 32, 3, 123456)),
    ("interval", "'1 year 2 mons 3 days 04:05:06.789'", "string", "1 year 2 mons 3 days 04:05:06.789"),
    ("json", "'{\"a\":  1}'", "string", '{"a":  1}'),
    ("jsonb", "'{\"a\":  1.00}'", "string", '{"a": 1.00}'),
    ("uuid", "'123e4567-e89b-12d3-a456-426655440000'", "string", "123e4567-e89b-12d3-a456-426655440000"),
    ("int[]", "'{1,2,null}'", "string", "{1,2,NULL}"),
    ("text[]", "'{a,\"b,c\"}'", "string", '{a,"b,c"}'),
    ("mood", "'ok'", "string", "ok"),
    ("inet", "'10.0.0.1'", "string", "10.0.0.1"),
    ("int4range", "'[1,5)'", "string", "[1,5)"),
    ("xml", "'<a/>'", "string", "<a/>"),
]  # fmt: skip
BEFORE = {
    "mariadb": ["set time_zone = '+08:00'", "set sql_mode = ''"],
    "postgresql": [
        "set time zone 'Asia/Shanghai'",
        "drop type if exists mood cascade",
        "create type mood as enum ('ok')",
    ],
}


def make(server, cases: list) -> tuple[dict[str, str], list]:
    """A table try_types with a row of values and a row of nulls; (columns, expected values)."""
    listed = ", ".join(f"c{i} {kind}" for i, (kind, *_) in enumerate(cases))
    product = server.jdbc_url.split(":")[1]
    names = ", ".join(f"c{i}" for i in range(len(cases)))
    do(server, *BEFORE[product], "drop table if exists try_types", f"create table try_types (id int, {listed})",
       f"insert into try_types (id, {names}) values (1, {', '.join(value for _, value, *_ in cases)})")  # fmt: skip
    return {"id": "int"} | {f"c{i}": case[2] for i, case in enumerate(cases)}, [case[3] for case in cases]


def test_no_type_of_mariadb_loses_anything(maria):
    columns, expected = make(maria, MARIADB)
    do(maria, "insert into try_types (id) values (2)")
    one, two = rows(feed(columns, table="try_types"))
    assert list(one[1:]) == expected and set(two[1:]) == {None}
    do(maria, "create or replace view try_typed as select * from try_types where id = 1")
    assert rows(feed(columns, table="try_typed")) == [one]
    do(maria, "drop view try_typed")


def test_no_type_of_postgres_loses_anything(pg):
    columns, expected = make(pg, POSTGRES)
    assert list(rows(feed(columns, table="try_types"))[0][1:]) == expected
    do(pg, "create or replace view try_typed as select * from try_types")
    assert list(rows(feed(columns, query="select * from try_typed"))[0][1:]) == expected


STOPS = [
    ("mariadb", "date", "'0000-00-00'", "date", "`c0` holds 0000-00-00 at the source, which no date can hold"),
    ("mariadb", "date", "'2024-02-00'", "date", "`c0` holds 2024-02-00"),
    ("mariadb", "datetime", "'0000-00-00'", "timestamp", "`c0` holds 0000-00-00 00:00:00"),
    ("mariadb", "bigint unsigned", "9223372036854775808", "bigint", "`c0` holds 9223372036854775808"),
    ("mariadb", "tinyint(1)", "2", "boolean", "`c0` holds 2 at the source, which no boolean can hold"),
    ("mariadb", "bit(33)", "b'100000000000000000000000000000000'", "int", "`c0` holds 4294967296"),
    ("postgresql", "date", "'infinity'", "date", "`c0` holds infinity"),
    ("postgresql", "date", "'0044-03-15 BC'", "date", "`c0` holds 0044-03-15 BC"),
    ("postgresql", "timestamp", "'-infinity'", "timestamp", "`c0` holds -infinity"),
    ("postgresql", "timestamptz", "'infinity'", "timestamp", "`c0` holds infinity"),
    ("postgresql", "timestamp", "'0044-03-15 BC'", "timestamp", "`c0` holds 0044-03-15 00:00:00 BC"),
    ("postgresql", "numeric", "1.234", "decimal(10,2)", "`c0` holds 1.234 at the source, which no decimal(10,2) can hold"),
    ("postgresql", "numeric", "'NaN'", "decimal(10,2)", "`c0` holds NaN"),
    ("postgresql", "numeric(10,2)", "'NaN'", "decimal(10,2)", "`c0` holds NaN"),
    ("postgresql", "numeric", "12345678901", "decimal(10,2)", "`c0` holds 12345678901"),
]  # fmt: skip


@pytest.mark.parametrize("product", ["mariadb", "postgres"])
@needs_database
def test_a_value_that_would_lose_something_stops_the_load(product, request, connectors, tmp_path, monkeypatch):
    server = connect(request.getfixturevalue(product), tmp_path, monkeypatch)
    for kind, value, declared, said in [s[1:] for s in STOPS if s[0].startswith(product)]:
        columns, _ = make(server, [(kind, value, declared, None)])
        with pytest.raises(PlatformError) as caught:
            rows(feed(columns, table="try_types"))
        assert said in str(caught.value) and str(caught.value).startswith("try__x: "), (kind, value)


def test_a_personal_value_is_not_in_the_message(maria):
    make(maria, [("date", "'0000-00-00'", "date", None)])
    one = feed({"id": "int", "c0": "date"}, table="try_types")
    hidden = one.columns["c0"].model_copy(update={"sensitivity": "personal"})
    with pytest.raises(PlatformError, match="`c0` holds a value at the source, which no date"):
        rows(one.model_copy(update={"columns": one.columns | {"c0": hidden}}))


# -- splits -----------------------------------------------------------------------------------------------------------

TRICKY = ["", " ", "a", "A", "ä", "Ä", "ß", "ss", "null", "b'", 'b"', "b\\", "b%", "é", "é", "中", "😀", "zz", "ZZ"]
KEYS = {  # type in both products, declared, values with many equal ones
    "bigint": ("bigint", [None, None, -(2**63), -1, 0, 0, 0, 0, 0, 0, 0, 5, 6, 7, 2**63 - 1]),
    "decimal(20,3)": ("decimal(20,3)", [None, Decimal("-0.001"), Decimal("0"), *map(Decimal, range(12))]),
    "date": ("date", [None, *(dt.date(2024, 1, 1) + dt.timedelta(days=i * i) for i in range(14)), dt.date(1500, 1, 1)]),
    "timestamp(6)": (
        "timestamp", [None, *(dt.datetime(2024, 1, 1, 0, 0, 0, 1) + dt.timedelta(hours=i) for i in range(14))]),
    "varchar(20)": ("string", [None, None, *TRICKY]),
}  # fmt: skip


def fill_keys(server, kind: str, values: list) -> None:
    do(server, "drop table if exists try_keys", f"create table try_keys (id int primary key, k {kind} null)")
    server.execute("insert into try_keys values (:id, :k)", *[{"id": i, "k": v} for i, v in enumerate(values)])


@pytest.mark.parametrize("kind", KEYS)
@needs_database
def test_parts_hold_each_row_exactly_once(shop, kind):
    declared, values = KEYS[kind]
    fill_keys(shop, kind.replace("timestamp", "datetime") if "maria" in shop.jdbc_url else kind, values)
    for splits in (2, 3, 7, 64):
        one = feed({"id": "int", "k": declared}, table="try_keys", split_by="k", splits=splits)
        assert rows(one) == list(enumerate(values)), splits
    # rows that came after the cuts were found, and a column that has become null
    inputs = jdbc.fix_inputs(one, None, DAY)
    shop.execute("insert into try_keys (id) values (1000)")
    shop.execute("update try_keys set k = null where id % 3 = 0")
    assert len(jdbc.read(one, inputs)[1].collect()) == len(values) + 1


def test_parts_of_a_double_hold_nan_and_infinity(pg):
    values = [None, float("-inf"), -1.5, 0.0, 0.0, 0.1, 3.0, float("inf"), float("inf"), float("nan"), float("nan")]
    fill_keys(pg, "double precision", values)
    for splits in (2, 5, 10):
        found = rows(feed({"id": "int", "k": "double"}, table="try_keys", split_by="k", splits=splits))
        assert str(found) == str(list(enumerate(values)))


@needs_database
def test_given_bounds_are_steps_and_rows_outside_are_read(shop):
    fill_keys(shop, "int", [None, -100, 1, 25, 50, 75, 99, 1000])
    one = feed({"id": "int", "k": "int"}, table="try_keys", split_by="k", splits=4, bounds=[0, 100])
    inputs = jdbc.fix_inputs(one, None, DAY)
    assert inputs["splits"] == {"cuts": ["25", "50", "75"]}
    assert len(rows(one)) == 8
    assert [int(n) for n in re.findall(r"part \d of 4: (\d+) rows", jdbc.plan(one, inputs))] == [3, 1, 1, 3]
    fill_keys(shop, "date", ["2023-12-01", "2024-01-10", "2024-02-10"])
    one = feed(
        {"id": "int", "k": "date"}, table="try_keys", split_by="k", splits=2, bounds=["2024-01-01", "2024-01-31"]
    )
    assert jdbc.fix_inputs(one, None, DAY)["splits"] == {"cuts": ["2024-01-16"]} and len(rows(one)) == 3


@needs_database
def test_cuts_are_quantiles_and_a_hot_key_is_said(shop):
    series = {"maria": "select seq as id, seq * seq as k from seq_1_to_20000",
              "postgresql": "select g as id, g::bigint * g as k from generate_series(1, 20000) g"}  # fmt: skip
    sql = series["maria" if "maria" in shop.jdbc_url else "postgresql"]
    do(shop, "drop table if exists try_keys", "create table try_keys (id int, k bigint)",
       f"insert into try_keys {sql}")  # fmt: skip
    one = feed({"id": "int", "k": "bigint"}, table="try_keys", split_by="k", splits=4)
    inputs = jdbc.fix_inputs(one, None, DAY)
    parts = [int(n.replace(",", "")) for n in re.findall(r"part \d of 4: (\S+) rows", jdbc.plan(one, inputs))]
    assert sum(parts) == 20000 and all(4000 < n < 6000 for n in parts) and "notes" not in inputs
    do(shop, "update try_keys set k = 77 where mod(id, 10) > 3")
    do(shop, "update try_keys set k = null where mod(id, 10) = 1")
    inputs = jdbc.fix_inputs(one, None, DAY)
    assert inputs["splits"]["n_nulls"] == 2000 and "many share one value of k" in inputs["notes"][0]
    parts = [int(n.replace(",", "")) for n in re.findall(r"part \d of \d: (\S+) rows", jdbc.plan(one, inputs))]
    assert parts[-1] == 2000 and max(parts) >= 12000 and len(rows(one)) == 20000


@needs_database
def test_a_key_without_gaps_is_cut_into_steps(shop):
    series = "seq_1_to_9000" if "maria" in shop.jdbc_url else "generate_series(1, 9000) as s(seq)"
    do(shop, "drop table if exists try_keys", f"create table try_keys as select seq as id, 1 as k from {series}")
    one = feed({"id": "bigint", "k": "int"}, table="try_keys", split_by="id", splits=3)
    assert jdbc.fix_inputs(one, None, DAY)["splits"]["cuts"] == ["3001", "6001"] and len(rows(one)) == 9000
    do(shop, "update try_keys set id = id + 1000000 where id > 4500")  # one large gap: steps would leave a part empty
    inputs = jdbc.fix_inputs(one, None, DAY)
    parts = [int(n.replace(",", "")) for n in re.findall(r"part \d of 3: (\S+) rows", jdbc.plan(one, inputs))]
    assert sum(parts) == 9000 and all(2500 < n < 3500 for n in parts) and len(rows(one)) == 9000


@needs_database
def test_a_query_splits_by_its_own_column(shop):
    fill_keys(shop, "int", list(range(10)))
    one = feed({"id": "int", "k2": "bigint", "n": "bigint"}, split_by="k2", splits=3,
               query="select max(id) as id, count(*) as n, cast(k % 5 as "
               + ("signed) as k2" if "maria" in shop.jdbc_url else "bigint) as k2")
               + " from try_keys group by k2 -- a comment;")  # fmt: skip
    assert [row[:2] for row in rows(one)] == [(5, 0), (6, 1), (7, 2), (8, 3), (9, 4)]
    filtered = one.model_copy(update={"where": "n > 1 and k2 <> 3 -- not the third"})
    assert len(rows(filtered)) == 4


# -- modes ------------------------------------------------------------------------------------------------------------


@needs_database
def test_append_by_a_growing_number_reads_what_is_new(shop):
    fill_keys(shop, "int", [0, 1, 2])
    one = feed({"id": "bigint", "k": "int"}, table="try_keys", mode="append", check_column="id")
    first = jdbc.fix_inputs(one, None, DAY)
    assert (first["low"], first["high"]) == (None, "2")
    shop.execute("insert into try_keys values (7, 7)")
    assert [r[0] for r in rows(one, last=None)] == [0, 1, 2, 7]
    assert len(jdbc.read(one, first)[1].collect()) == 3, "what came after the bounds were fixed is the next load's"
    second = jdbc.fix_inputs(one, None, NEXT, first)
    assert (second["low"], second["high"]) == ("2", "7")
    assert rows(one, last=first) == [(7, 7)]
    assert rows(one, last=second) == []
    shop.execute("delete from try_keys where id = 7")
    third = jdbc.fix_inputs(one, None, THIRD, second)
    assert (third["low"], third["high"]) == ("7", "7") and "id ends at 2, the load before ended at 7" in third["notes"][
        0
    ]
    shop.execute("delete from try_keys")
    empty = jdbc.fix_inputs(one, None, THIRD, second)
    assert empty["high"] == "7" and "notes" not in empty
    assert rows(one) == [] and jdbc.fix_inputs(one, None, DAY)["high"] is None


@needs_database
def test_rows_that_no_interval_holds_are_said(shop):
    fill_keys(shop, "timestamp", [None, "2024-03-05 01:00:00"])
    one = feed({"id": "int", "k": "timestamp"}, table="try_keys", mode="append", check_column="k")
    assert jdbc.fix_inputs(one, DAY, DAY)["notes"] == ["1 rows without k are in no load"]
    assert [r[0] for r in rows(one, DAY)] == [1]


@needs_database
def test_an_overlap_brings_rows_that_were_committed_late(shop):
    at = "timestamp" if "postgres" in shop.jdbc_url else "datetime"
    fill_keys(shop, f"{at}", ["2024-03-05 15:59:59", "2024-03-05 16:00:00"])  # the business day ends at 16:00 UTC
    columns = {"id": "int", "k": "timestamp"}
    plain = feed(columns, table="try_keys", mode="append", check_column="k")
    assert [r[0] for r in rows(plain, DAY)] == [0]
    shop.execute("insert into try_keys values (2, '2024-03-05 15:58:00')")
    assert [r[0] for r in rows(plain, NEXT, NEXT)] == [1]
    late = plain.model_copy(update={"overlap_minutes": 5})
    assert [r[0] for r in rows(late, NEXT, NEXT)] == [0, 1, 2]


@needs_database
def test_an_interval_of_a_column_with_a_zone_is_utc_whatever_the_server_says(shop):
    product = "maria" if "maria" in shop.jdbc_url else "postgresql"
    zone = {"maria": "set time_zone = '+08:00'", "postgresql": "set time zone 'Asia/Shanghai'"}[product]
    kind = {"maria": "timestamp", "postgresql": "timestamptz"}[product]
    do(shop, zone, "drop table if exists try_keys", f"create table try_keys (id int, k {kind} null)",
       "insert into try_keys values (1, '2024-03-05'), (2, '2024-03-05 23:59:59'), (3, '2024-03-06')")  # fmt: skip
    one = feed({"id": "int", "k": "timestamp"}, table="try_keys", mode="lastmodified", check_column="k")
    assert rows(one, DAY) == [(1, dt.datetime(2024, 3, 4, 16)), (2, dt.datetime(2024, 3, 5, 15, 59, 59))]


# zone → a business day before a change of its clock; Cairo's and Santiago's are at midnight, and 16:00 UTC, where our
# business day ends, is when Sydney's clock is put back.
CHANGES = [
    ("Europe/London", "2024-10-26"), ("Europe/London", "2024-03-30"), ("Africa/Cairo", "2024-10-30"),
    ("Africa/Cairo", "2024-04-25"), ("America/Santiago", "2024-04-06"), ("Australia/Sydney", "2024-04-05"),
]  # fmt: skip


@needs_database
def test_times_of_a_local_clock_come_once_and_as_utc_across_its_changes(shop):
    at, with_zone = ("timestamp", "timestamptz") if "postgres" in shop.jdbc_url else ("datetime", "timestamp null")
    utc = "set time zone 'UTC'" if with_zone == "timestamptz" else "set time_zone = '+00:00'"
    one = feed({"id": "int", "k": "timestamp", "z": "timestamp"}, table="try_keys", mode="append", check_column="k")
    for zone, ds in CHANGES:
        one = one.model_copy(update={"timestamp_zone": zone})
        do(shop, "drop table if exists try_keys", f"create table try_keys (id int, k {at}, z {with_zone})")
        found, written = [], {}
        for _ in range(3):
            low, high = day_bounds_utc(ds, company().timezone)
            moments = [low + dt.timedelta(minutes=m) for m in range(0, int((high - low).total_seconds() / 60), 10)]
            made = {len(written) + n: moment for n, moment in enumerate(moments)}
            written |= made
            local = {n: moment.astimezone(ZoneInfo(zone)) for n, moment in made.items()}
            texts = [f"({n}, '{t:%Y-%m-%d %H:%M:%S}', '{made[n]:%Y-%m-%d %H:%M:%S}')" for n, t in local.items()]
            do(shop, utc, f"insert into try_keys values {', '.join(texts)}")
            found += rows(one, ds, ds)
            ds = shift(ds, 1)
        # of an hour that comes twice a time is in the first
        at_first = {n: t.astimezone(ZoneInfo(zone)).replace(fold=0).astimezone(dt.UTC) for n, t in written.items()}
        expected = [(n, at_first[n].replace(tzinfo=None), t.replace(tzinfo=None)) for n, t in written.items()]
        assert sorted(found) == expected, zone


@needs_database
def test_a_time_that_the_clock_skipped_is_as_much_later_and_in_that_day_s_load(shop):
    at, with_zone = ("timestamp", "timestamptz") if "postgres" in shop.jdbc_url else ("datetime", "timestamp null")
    do(shop, "drop table if exists try_keys", f"create table try_keys (id int, k {at}, made {with_zone})",
       "insert into try_keys (id, k) values (1, '2024-03-31 01:30:00'), (2, null)",
       "set time_zone = '+00:00'" if at == "datetime" else "set time zone 'UTC'",
       "update try_keys set made = '2024-03-05 12:00:00' where id = 2")  # fmt: skip
    columns = {"id": "int", "k": "timestamp", "made": "timestamp"}
    one = feed(columns, table="try_keys", mode="lastmodified", check_column="k", created_column="made",
               timestamp_zone="Europe/London")  # fmt: skip
    assert rows(one, "2024-03-31", "2024-03-31") == [
        (1, dt.datetime(2024, 3, 31, 1, 30), None)
    ]  # 02:30 British summer time
    assert rows(one, DAY) == [(2, None, dt.datetime(2024, 3, 5, 12))]  # a column with a zone is no local time
    text = jdbc.plan(one, jdbc.fix_inputs(one, DAY, DAY))
    assert "2024-03-04 16:00:00, 2024-03-05 16:00:00) UTC, times without a zone are in Europe/London" in text


@needs_database
def test_overlapping_loads_of_changed_rows_merge_to_the_source(shop, spark, feeds_file):
    at = "timestamptz" if "postgres" in shop.jdbc_url else "timestamp(6) null"
    do(
        shop,
        "drop table if exists try_keys",
        f"create table try_keys (id int, k int, changed {at}, primary key (id, k))",
    )
    types = {"id": "int", "k": "int", "changed": "timestamp"}
    feeds_file(try__x=block(types, table="try_keys", mode="lastmodified", check_column="changed", overlap_minutes=180,
                            key=["id", "k"], split_by="id", splits=2))  # fmt: skip
    rng = random.Random(5)
    at_once = "insert into try_keys values (:id, :k, :at)"
    shop.execute(at_once, *[{"id": i, "k": k, "at": f"{DAY} 0{i % 10}:00:00.5"} for i in range(20) for k in (1, 2)])
    read = []
    for n, ds in enumerate((DAY, NEXT, THIRD)):
        hours = (
            8 if ds < THIRD else 5
        )  # the business day ends at 16:00 UTC: some changes are the next day's, at last none
        for i in rng.sample(range(20), 8):
            changed = {"at": f"{ds} {10 + i % hours}:00:00", "id": i}
            shop.execute("update try_keys set changed = :at where id = :id", changed)
        shop.execute(at_once, {"id": 100 + n, "k": 0, "at": f"{ds} 15:59:59.999999"})
        read.append(ingest(ds, from_ds=DAY if n == 0 else None)["try__x"]["n_rows"])
    assert sum(read) > spark.table("raw.try__x").select("id", "k").distinct().count(), "the loads overlap"
    macro = (PROJECT / "dbt_project/macros/newest.sql").read_text()
    sql = jinja2.Template(macro + "{{ newest_by_key('raw.try__x', ['id', 'k'], 'changed') }}").render()
    merged = spark.sql(f"select id, k, changed from ({sql}) merged order by id, k").collect()
    (whole,) = feeds_file(all__x=block(types, table="try_keys", key=["id", "k"])).values()
    whole = sorted(tuple(row) for row in jdbc.read(whole, jdbc.fix_inputs(whole, None, DAY))[1].collect())
    assert [tuple(row) for row in merged] == whole and len(whole) == 43


# -- columns ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def feeds_file(tmp_path, monkeypatch, spark):
    """A function that declares feeds for `mdp ingest`; their tables are dropped."""
    made = set()

    def declare(**blocks) -> dict:
        path = tmp_path / "feeds.yml"
        path.write_text(yaml.safe_dump(blocks, sort_keys=False))
        monkeypatch.setenv("MDP_COMPANY", company_of(tmp_path))
        made.update(blocks)
        return load_feeds()

    yield declare
    for name in made:
        spark.sql(f"drop table if exists raw.{name}")
        spark.sql(f"drop table if exists raw.{name}__deleted")


def block(columns: dict[str, str], **keys) -> dict:
    declared = {name: {"type": kind, "class": "internal"} for name, kind in columns.items()}
    return dict(kind="jdbc", connection="shop", subject=None, key=["id"], mode="full", columns=declared) | keys


def finish(ds: str) -> None:
    for stage in stages.STAGES:
        state.publish(stage, [ds])


def ingest(ds: str, **options) -> dict:
    """A load of every feed, and the day finished; outcome by feed."""
    outcome = {result["feed"]: result for result in run.ingest(ds, **options)}
    finish(ds)
    return outcome


@needs_database
def test_a_new_column_is_recorded_and_let_through_only_if_the_feed_says_so(shop, spark, feeds_file):
    columns = block({"id": "int", "k": "int"}, table="try_keys")
    feeds_file(try__x=columns)
    fill_keys(shop, "int", [10, 11])
    ingest(DAY, from_ds=DAY)
    binary = "blob" if "maria" in shop.jdbc_url else "bytea"
    do(shop, "alter table try_keys add column nick varchar(20)", f"alter table try_keys add column raw_bytes {binary}")
    shop.execute("update try_keys set nick = 'Li', raw_bytes = :b where id = 1", {"b": b"\x00\xff"})
    said = ingest(NEXT)["try__x"]
    assert f"new at the source, not read: nick varchar, raw_bytes {binary}" in said["note"]
    assert [(r["column_name"], r["first_ds"]) for r in state.drift("try__x")] == [("nick", NEXT), ("raw_bytes", NEXT)]
    assert spark.table("raw.try__x").columns == ["id", "k", "load_id", "ds"]
    feeds_file(try__x=columns | {"new_columns": "let_through"})
    assert "read, encrypted" in ingest(THIRD)["try__x"]["note"]
    third = {r.id: r for r in spark.table("raw.try__x").where(f"ds = '{THIRD}'").collect()}
    keys = privacy.read_keys(str(key_path()))
    assert privacy.decrypt(keys, third[1].nick_enc, "raw.try__x", "nick", privacy.key_row(1)) == "Li"
    assert privacy.decrypt(keys, third[1].raw_bytes_enc, "raw.try__x", "raw_bytes", privacy.key_row(1)) == "AP8="
    assert third[0].nick_enc is None and spark.table("raw.try__x").where("ds < '2024-03-07'").count() == 4
    # classified at last: from now on in clear; what was sealed stays sealed
    nick = {"nick": {"type": "string", "class": "internal"}}
    feeds_file(try__x=columns | {"columns": columns["columns"] | nick, "new_columns": "record"})
    ingest("2024-03-08")
    found = spark.table("raw.try__x").where("id = 1").orderBy("ds").collect()
    assert [r.nick for r in found] == [None, None, None, "Li"]
    assert [r.nick_enc is not None for r in found] == [False, False, True, False]


@needs_database
def test_a_missing_or_re_typed_column_stops_with_a_diff(shop):
    fill_keys(shop, "int", [1])
    one = feed({"id": "int", "k": "string", "gone": "int"}, table="try_keys")
    with pytest.raises(PlatformError) as caught:
        rows(one)
    said = str(caught.value)
    there = "int" if "maria" in shop.jdbc_url else "integer"
    assert f"~ k: declared string, {there} at the source, which can be read as int, bigint" in said
    assert "- gone int: declared, missing at the source" in said


@needs_database
def test_a_table_altered_before_it_is_read_stops_with_a_diff(shop):
    fill_keys(shop, "int", [1])
    one = feed({"id": "int", "k": "int"}, table="try_keys")
    inputs = jdbc.fix_inputs(one, None, DAY)
    do(shop, "alter table try_keys add column more int")
    assert jdbc.read(one, inputs)[1].columns == ["id", "k"]
    do(shop, "alter table try_keys drop column k")
    with pytest.raises(PlatformError, match="- k int: declared, missing at the source"):
        jdbc.read(one, inputs)


@needs_database
def test_a_table_altered_while_it_is_read_stops(shop):
    fill_keys(shop, "int", [1])
    one = feed({"id": "int", "k": "int"}, table="try_keys")
    _, frame = jdbc.read(one, jdbc.fix_inputs(one, None, DAY))
    do(shop, "alter table try_keys drop column k")
    with (
        pytest.raises(PlatformError, match="table try_keys of jdbc:.* cannot be read: it is not there"),
        jdbc.faults(one),
    ):
        frame.collect()


@needs_database
def test_odd_names_are_quoted(shop):
    q = "`" if "maria" in shop.jdbc_url else '"'
    do(shop, f"drop table if exists {q}order{q}", f"create table {q}order{q} (id int, {q}Group{q} int, {q}a {q}{q}b{q} int)",
       f"insert into {q}order{q} values (1, 2, 3)")  # fmt: skip
    one = feed({"id": "int", "Group": "int"}, table="order", split_by="Group", splits=2)
    inputs = jdbc.fix_inputs(one, None, DAY)
    assert inputs["notes"] == [f"new at the source, not read: a {q}b int{'' if q == '`' else 'eger'}"] and rows(
        one
    ) == [(1, 2)]


# What would end a literal, were the mode of the server another than the one it was written for.
HOSTILE = (
    "'", "''", "\\", "\\'", "\\\\'", "x\\", "' or 1=1 -- ", "\\' or 1=1 -- ", "'; drop table try_prey; -- ",
    "\\'; drop table try_prey; -- ", '"', '" or ""="', '\\"; drop table try_prey; -- ', "`", "$$; drop table try_prey; $$",
    "/* ", "-- ", "%s", "?", "${x}", "{d '1'}", "\u02bc; drop table try_prey; -- ", "名'\\", "\t'", "\n'", "x\u00a0'",
)  # fmt: skip
# How a server may be set: what is a quote and what a backslash is there.
MODES = {
    "mariadb": [f"set global sql_mode = '{mode}'" for mode in (
        "", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES",
        "ANSI,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES", "ORACLE")],
    "postgres": [f"alter role current_user set {one}" for one in (
        "standard_conforming_strings = on", "standard_conforming_strings = off", "backslash_quote = on")],
}  # fmt: skip


@needs_database
@pytest.mark.parametrize("name", MODES)
def test_a_literal_is_its_value_whatever_the_server_is_set_to(name, request):
    """Asked of the server itself, with the session that each of our reads begins with; unlike the next, without Spark."""
    server = request.getfixturevalue(name)
    source = Source("f", "table t", "t", Database.__new__(Database), 1)
    object.__setattr__(source.database, "product", "postgresql" if name == "postgres" else name)
    before = do(server, "select @@global.sql_mode")[0][0] if name == "mariadb" else None
    try:
        for mode in MODES[name]:
            do(server, mode)
            server.engine.dispose()
            with server.engine.connect() as connection:
                connection.exec_driver_sql(source.dialect.session)
                for value in HOSTILE:
                    sql = f"select {source.literal(value, 'string')}, {source.literal(value, 'timestamp')} is null"
                    if (
                        name == "mariadb"
                    ):  # there is no session to say what a backslash is there: only hexadecimals hold
                        sql = f"select {source.literal(value, 'string')}, false"
                    assert tuple(connection.exec_driver_sql(sql.replace("%", "%%")).one()) == (value, False), (
                        mode,
                        value,
                    )
    finally:
        undo = [f"set global sql_mode = '{before}'"] if name == "mariadb" else ["alter role current_user reset all"]
        do(server, *undo)


@needs_database
def test_a_hostile_value_at_which_a_read_is_split_stays_a_value(shop, request):
    """Cuts are values of the source and go back to it as literals, whatever the server takes for a quote or an escape."""
    name = "mariadb" if "maria" in shop.jdbc_url else "postgres"
    text = "varchar(200) character set utf8mb4 collate utf8mb4_bin" if name == "mariadb" else 'varchar(200) collate "C"'
    do(shop, "drop table if exists try_hostile", "drop table if exists try_prey", "create table try_prey (id int)",
       f"create table try_hostile (id int primary key, k {text})")  # fmt: skip
    with shop.engine.begin() as connection:
        values = [{"id": n, "k": value} for n, value in enumerate(HOSTILE)]
        connection.execute(sa.text("insert into try_hostile values (:id, :k)"), values)
    one = feed({"id": "int", "k": "string"}, table="try_hostile", split_by="k", splits=len(HOSTILE))
    before = do(shop, "select @@global.sql_mode")[0][0] if name == "mariadb" else None
    try:
        for mode in MODES[name]:
            do(shop, mode)
            inputs = jdbc.fix_inputs(one, None, DAY)
            assert len(inputs["splits"]["cuts"]) > len(HOSTILE) - 2, mode
            source, frame = jdbc.read(one, inputs)
            found = sorted(tuple(row) for row in frame.collect())
            assert found == list(enumerate(HOSTILE)) and source.count() == len(HOSTILE), mode
            assert do(shop, "select count(*) from try_prey") == [(0,)], mode
    finally:
        undo = [f"set global sql_mode = '{before}'"] if name == "mariadb" else ["alter role current_user reset all"]
        do(shop, *undo)


# -- deleted rows, the plan, the command line -------------------------------------------------------------------------


@needs_database
def test_deleted_rows_are_found_on_a_full_import(shop, spark, feeds_file):
    fill_keys(shop, "varchar(9)", ["a", "b", "c", "c"])
    one = feeds_file(try__x=block({"id": "int", "k": "string"}, table="try_keys", key=["id", "k"], find_deleted=True))[
        "try__x"
    ]
    ingest(DAY, from_ds=DAY)
    do(shop, "delete from try_keys where id > 1", "insert into try_keys values (9, 'a')")
    ingest(NEXT)
    gone = spark.table(one.deleted_table).where(f"ds = '{NEXT}'").select("id", "k", "last_seen_date")
    assert sorted(tuple(r) for r in gone.collect()) == [(2, "c", DAY), (3, "c", DAY)]
    (line,) = [line for line in status.status() if line["feed"] == "try__x"]
    assert line["notes"] == ["2 rows gone at the source since the load before: raw.try__x__deleted"]


def test_the_plan_shows_what_mariadb_is_sent(maria):
    fill_keys(maria, "datetime(6)", [None, "2024-03-05 01:00:00.5", "2024-03-05 02:00:00", "2024-03-05 03:00:00"])
    one = feed({"id": "int", "k": "timestamp"}, table="try_keys", mode="lastmodified", check_column="k",
               overlap_minutes=3, split_by="k", splits=2, where="id < 100")  # fmt: skip
    inputs = jdbc.fix_inputs(one, DAY, DAY)
    text = jdbc.plan(one, inputs)
    assert f"try__x: table try_keys of {maria.jdbc_url.split('?')[0]}\n" in text and maria.password not in text
    assert "lastmodified, k in [2024-03-04 15:57:00, 2024-03-05 16:00:00) UTC, 3 minutes of it read before" in text
    assert "2 statements, each sees its own moment" in text and "note         1 rows without k are in no load" in text
    assert re.search(r"    k +datetime +→ timestamp, internal", text) and "part 2 of 2: 2 rows" in text
    do(maria, "set global log_output = 'TABLE'", "set global general_log = on", "truncate mysql.general_log")
    jdbc.read(one, inputs)[1].collect()
    do(maria, "set global general_log = off")
    sent = [re.sub(r"\s+", " ", r[0]).strip() for r in do(maria, "select argument from mysql.general_log")]
    shown = [re.sub(r"\s+", " ", query).strip() for query in re.findall(r"    (SELECT .*?)(?=\n  part|\Z)", text, re.S)]
    assert len(shown) == 2 and set(shown) <= set(sent)


@needs_database
def test_a_dry_run_stores_nothing(shop, feeds_file, capsys, monkeypatch):
    from mdp import cli

    fill_keys(shop, "int", [1, 2, 3])
    feeds_file(try__x=block({"id": "int", "k": "int"}, table="try_keys", mode="append", check_column="id"))
    monkeypatch.setattr("sys.argv", ["mdp", "ingest", "--ds", DAY, "--feed", "try__x", "--dry-run"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    printed = capsys.readouterr().out
    assert "append, id in (the beginning, 2]" in printed and "part 1 of 1: 3 rows" in printed
    assert "one statement, one moment" in printed
    assert state.loads(DAY) == []


# -- faults -----------------------------------------------------------------------------------------------------------


def fault(one: JdbcFeed) -> str:
    with pytest.raises(PlatformError) as caught:
        rows(one)
    said = str(caught.value)
    assert "\n" not in said and said.startswith("try__x: ") and "?" not in said and "sslMode" not in said
    return said


@needs_database
def test_a_database_that_is_away_or_refuses_is_said_without_the_password(shop, monkeypatch, tmp_path):
    fill_keys(shop, "int", [1])
    one = feed({"id": "int"}, table="try_keys")
    url = shop.jdbc_url
    where = url.split("?")[0]
    monkeypatch.setenv("MDP_SHOP_URL", url.replace(f":{shop.port}/", ":1/"))
    said = fault(one)
    assert f"table try_keys of {where.replace(str(shop.port), '1')} cannot be read: it does not answer" in said
    assert "MDP_SHOP_URL is right" in said
    monkeypatch.setenv("MDP_SHOP_URL", url)
    (tmp_path / "password").write_text("changed-word")
    said = fault(one)
    assert f"of {where} cannot be read: the login of user {shop.user} is refused" in said and "changed-word" not in said
    assert "check MDP_SHOP_USER and MDP_SHOP_PASSWORD or MDP_SHOP_PASSWORD_FILE" in said
    (tmp_path / "password").write_text(shop.password)
    for wrong in (one.model_copy(update={"table": "nowhere"}), one.model_copy(update={"where": "wrong = 1"})):
        said = fault(wrong)
        assert "it is not there" in said and "check the feed's table, query and where" in said
    assert shop.password not in said
    assert "cannot be read: " in fault(one.model_copy(update={"where": "id = = 1"}))


@needs_database
def test_a_database_that_goes_half_way_is_said_and_the_next_run_reads_the_same(shop, spark, feeds_file):
    maria = "maria" in shop.jdbc_url
    fill_keys(shop, "int", list(range(200)))
    slow = "sleep(0.05)" if maria else "length(pg_sleep(0.05)::text)"
    feeds_file(
        try__x=block({"id": "int", "k": "bigint"}, query=f"select id, k + {slow} as k from try_keys", fetch_rows=10)
    )
    killed = threading.Timer(4, shop.kill)
    killed.start()
    try:
        with pytest.raises(PlatformError) as caught:
            run.ingest(DAY, from_ds=DAY)
    finally:
        killed.join()
        shop.restart()
    said = str(caught.value)
    assert "try__x: its query of jdbc:" in said and shop.password not in said and "\n" not in said
    assert "the connection broke off" in said and "then run again" in said
    assert state.load("try__x", DAY).status == "intent"
    do(shop, "delete from try_keys where id >= 50")
    assert ingest(DAY, from_ds=DAY)["try__x"]["outcome"] == "repaired"


@needs_database
def test_a_table_altered_during_the_import_stops_it(shop, spark, feeds_file, monkeypatch):
    fill_keys(shop, "varchar(9)", ["a", "b"])
    feeds_file(try__x=block({"id": "int", "k": "string"}, table="try_keys"))
    write_apart = run.write_apart

    def altered_before(*args):
        do(shop, "alter table try_keys drop column k")
        return write_apart(*args)

    with (
        monkeypatch.context() as patch,
        pytest.raises(PlatformError, match="try__x: table try_keys of .* cannot be read"),
    ):
        patch.setattr(run, "write_apart", altered_before)
        run.ingest(DAY, from_ds=DAY)
    with pytest.raises(PlatformError, match="(?s)is not what feeds.yml declares:.*  - k string: declared, missing"):
        run.ingest(DAY, from_ds=DAY)
    assert not spark.catalog.tableExists("raw.try__x")
    do(shop, "alter table try_keys add column k varchar(9)")
    assert ingest(DAY, from_ds=DAY)["try__x"]["outcome"] == "repaired"


def test_a_type_that_spark_cannot_name_is_said(pg):  # MariaDB's driver names all of its types
    fill_keys(pg, "int", [1])
    one = feed({"id": "int", "k": "string"}, query="select id, array[array[k]] as k from try_keys")
    assert rows(one) == [(0, "{{1}}")]
