"""Values of every declared type, made by a generator, go through the door: raw holds what a plain reader reads, or nothing.

A load takes thousands of values at once, a row each. JSON goes twice, in a file that Spark's reader parses itself and in
one with a nested object at its end, which is looked at line by line: both must say the same.
"""

import csv
import io
import json
import os
import random

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ingestion import run
from ingestion.feeds import load_feeds
from tests.companies import declare
from tests.e2e.oracle import HELD, of_json, of_text

DAY, ZONE = "2024-03-05", "Europe/London"
KINDS = {"s": "string", "i": "int", "b": "bigint", "d": "decimal(10,2)", "w": "decimal(38,10)", "f": "float", "x": "double",
         "o": "boolean", "dt": "date", "ts": "timestamp"}  # fmt: skip
SEEDS = [int(n) for n in os.environ.get("VALUE_SEEDS", "").split(",") if n]  # as they were printed

digits = st.text("0123456789", min_size=1, max_size=25)
edges = st.sampled_from(
    ["0", "-0", "1.10", "1,5", "1.005", "1.0000000", "99999999.99", "100000000", "1e2", "1E+2", "1e-2", "1e400", "-1e400",
     "1e-400", "3.5e38", "1e39", "16777217", "9007199254740993", "NaN", "Infinity", "inf", "3f", "3d", "0x1p3",
     "2147483647", "2147483648", "-2147483649", "9223372036854775807", "9223372036854775808",
     "12345678901234567890.123456789012", "01", "+1", "1.", ".5", " 5 ", "5\t", "1_0", "١", "5\0", "true", "T", "0"]
)  # fmt: skip
numbers = st.builds(
    lambda sign, whole, fraction, exponent: sign + whole + fraction + exponent,
    st.sampled_from(["", "", "-"]), st.one_of(st.just("0"), digits.map(lambda text: text.lstrip("0") or "0")),
    st.one_of(st.just(""), digits.map(lambda text: "." + text), st.sampled_from([".10", ".500", ".00"])),
    st.one_of(st.just(""), st.just(""), st.builds("{}{}".format, st.sampled_from(["e", "E", "e-", "E+"]), st.integers(0, 400))),
)  # fmt: skip
two = st.integers(0, 99).map("{:02}".format)
times = st.one_of(
    st.datetimes().map(str), st.dates().map(str), st.datetimes(timezones=st.timezones()).map(str),
    st.builds(
        "{}-{}-{}{}{}:{}{}{}{}".format, st.integers(0, 50_000), two, two, st.sampled_from(["T", " ", "t", ""]), two, two,
        st.sampled_from(["", ":00", ":59", ":60", ":30.5", ":30.1234567"]),
        st.sampled_from(["", "", "Z", "z", "+08:00", "+0800", "-08", "+8", " +08:00", "+19:00", "[UTC]"]),
        st.sampled_from(["", "", "", " ", " x", "\n"]),
    ),
    st.builds("2024-{}T{}{}".format, st.sampled_from(["03-31", "10-27"]),
              st.sampled_from(["00:59:59", "01:00", "01:30:00", "02:00"]), st.sampled_from(["", "Z", "+01:00"])),
    st.sampled_from(["10:15", "20240305", "45000", "2024", "2024-03", "2024-03-05 rubbish", "1709604000", "1709604000000",
                     "now"]),
)  # fmt: skip
texts = st.one_of(
    edges, numbers, times, st.text(max_size=30), st.sampled_from(["", " ", '"', "\\", 'a\\"b', "NULL", "\\N", "😀"])
)
# What a cast may trim, around a value of each type; a number's blanks are " " and tab.
WRITTEN = {"s": "x", "i": "5", "b": "5", "d": "1.5", "w": "1.5", "f": "1.5", "x": "1e2", "o": "t", "dt": "2024-03-05",
           "ts": "2024-03-05T10:15:00Z"}  # fmt: skip
BLANKS = [" ", "\t", "\0", "\x17", "\x0b", "\x0c", "\x1f", "\x7f", "\x85", "\xa0", "\u1680", "\u2003", "\u2028", "\u200b",
          "\u3000", "\ufeff", "\n", "\r"]  # fmt: skip
AMONG_BLANKS = [(key, text) for key, v in WRITTEN.items() for blank in BLANKS for text in (blank + v, v + blank)]
AMONG_BLANKS += [("s", 'a"\0b')]  # Spark's parser takes \0 for an escape of the escape, unless told otherwise
halves = st.sampled_from(["\ud800", "a\udfff", "\udc00\ud800", "\ud83d\ude00", "\\ud800"])
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)
members = st.one_of(
    numbers, edges, texts.map(json.dumps), texts.map(lambda text: json.dumps(text, ensure_ascii=False)),
    halves.map(json.dumps), st.sampled_from(["true", "false", "null", "True", "[]", "{}", "[1.10, -0]", '{"a":  1.10e5}', '"']),
    json_values.map(json.dumps),
)  # fmt: skip


def draw(strategy, n: int, number: int) -> list:
    """Many values of a strategy, the same for the same number."""
    found = []

    @seed(number)
    @settings(
        max_examples=n, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def take(value):
        found.append(value)

    take()
    return found


def load(spark, tmp_path, monkeypatch, format_: str, files: dict[str, bytes]) -> tuple[dict, list]:
    """(id → row of raw, (line, reason) of each row held back) of a load of these files."""
    name = f"try__values_{format_}"
    columns = {
        "id": {"type": "string", "class": "internal", "required": True},
        "at": {"type": "string", "class": "internal"},
    }
    columns |= {column: {"type": kind, "class": "internal"} for column, kind in KINDS.items()}
    block = {"kind": "files", "directory": "values", "pattern": "values-{date}*", "subject": None, "format": format_,
             "timestamp_column": "at", "timestamp_zone": ZONE, "key": ["id"], "columns": columns,
             "multi_line": format_ == "csv"}  # fmt: skip
    (tmp_path / "feeds.yml").write_text(yaml.safe_dump({name: block}, sort_keys=False))
    (tmp_path / "spool" / "values").mkdir(parents=True)
    for key, value in {"KEY_FILE": "a.key", "SPOOL_URI": "spool"}.items():
        monkeypatch.setenv(f"MDP_{key}", str(tmp_path / value))
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path))
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    for file, content in files.items():
        (tmp_path / "spool" / "values" / f"values-{DAY}-{file}").write_bytes(content)
    feed = load_feeds()[name]
    try:
        run.ingest(DAY, feeds=[name])
        raw = {row["id"]: row.asDict() for row in spark.table(feed.raw_table).collect()}
        held = [tuple(row) for row in spark.table(feed.quarantine_table).select("source_position", "reason").collect()]
    finally:
        for table in (feed.raw_table, feed.quarantine_table):
            spark.sql(f"drop table if exists {table}")
    return raw, held


def compare(wanted: dict[str, tuple[str, str, list]], raw: dict) -> list[str]:
    """What is wrong of id → (column, text, right outcomes), the shortest first."""
    wrong = []
    for key, (column, text, right) in wanted.items():
        got = raw[key][column] if key in raw else HELD
        if not any(_same(got, value) for value in right):
            wrong.append((len(text), f"{KINDS[column]} {text!r}: {got!r}, not {' or '.join(map(repr, right))}"))
    return [line for _, line in sorted(wrong)]


def _same(got, value) -> bool:
    if value is HELD or got is HELD:
        return got is value
    return value == got if type(value).__eq__ is not str.__eq__ else got == value


def check_json(spark, tmp_path, monkeypatch, n: int, number: int) -> None:
    values = [(column, token) for column in KINDS for token in draw(members, n, number)]
    values += [(column, json.dumps(text)) for column, text in AMONG_BLANKS]
    wanted, lines = {}, {"plain": [], "looked-at": []}
    for count, (column, token) in enumerate(values):
        is_nested = "{" in token or "}" in token or "[" in token or "\\ud" in token.lower()
        for file in ("plain", "looked-at")[is_nested:]:
            key = f"{file}-{count}"
            lines[file].append(f'{{"id": "{key}", "at": "{DAY}T10:00:00Z", "{column}": {token}}}')
            wanted[key] = (column, token, of_json(KINDS[column], token, ZONE))
    lines["looked-at"].append(f'{{"id": "last", "at": "{DAY}T10:00:00Z", "more": {{"a": 1}}}}')
    files = {file: "\n".join(found).encode() for file, found in lines.items()}
    raw, _ = load(spark, tmp_path, monkeypatch, "json", files)
    assert "last" in raw and len(wanted) > n * 5
    wrong = compare(wanted, raw)
    assert not wrong, f"seed {number}, {len(wrong)} of {len(wanted)} values:\n" + "\n".join(wrong[:40])


def check_csv(spark, tmp_path, monkeypatch, n: int, number: int) -> None:
    values = AMONG_BLANKS + [(column, text) for column in KINDS for text in draw(texts, n, number)]
    wanted, out = {}, io.StringIO()
    names = ["id", "at", *KINDS]
    for count, (column, text) in enumerate(values):
        row = dict.fromkeys(names, "") | {"id": f"v{count}", "at": f"{DAY}T10:00:00Z", column: text}
        quoting = (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)[count % 2 or "\r" in text]
        csv.writer(out, quoting=quoting, lineterminator="\n").writerow(row.values())
        wanted[f"v{count}"] = (column, text, of_text(KINDS[column], text, ZONE) if text else [None])
    raw, _ = load(spark, tmp_path, monkeypatch, "csv", {"all": out.getvalue().encode()})
    assert len(wanted) > n * 5
    wrong = compare(wanted, raw)
    assert not wrong, f"seed {number}, {len(wrong)} of {len(wanted)} values:\n" + "\n".join(wrong[:40])


CHECKS = {"json": check_json, "csv": check_csv}


@pytest.mark.parametrize("format_", CHECKS)
def test_some_values_come_out_as_they_went_in(spark, tmp_path, monkeypatch, format_):
    CHECKS[format_](spark, tmp_path, monkeypatch, 60, 1)


@pytest.mark.slow
@pytest.mark.parametrize("format_", CHECKS)
@pytest.mark.parametrize("turn", range(len(SEEDS) or 2))
def test_thousands_of_values_come_out_as_they_went_in(spark, tmp_path, monkeypatch, format_, turn):
    number = SEEDS[turn] if SEEDS else random.randrange(10**6)
    print(f"VALUE_SEEDS={number}")
    CHECKS[format_](spark, tmp_path, monkeypatch, 1000, number)
