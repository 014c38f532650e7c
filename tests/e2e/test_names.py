"""Any name a file system allows, any header: what comes out of raw is what a plain reader of ours says went in, under the
file's own name, or it is held back with its reason, its place and its text.

Names are made by hypothesis and put, many at once, into one load. `make test` does a few that are always the same,
`make test-slow` thousands from seeds that it prints; NAME_SEEDS=1,2 repeats them.
"""

import bz2
import csv
import functools
import gzip
import io
import json
import os
import random
import re
import string
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ingestion import drift, privacy, quarantine, run
from ingestion.feeds import WRITTEN, load_feeds
from mdp import show
from tests.companies import declare
from warehouse import stages, state
from warehouse.errors import PlatformError
from warehouse.keys import key_path

BEFORE, DAY, NEXT = "2024-03-04", "2024-03-05", "2024-03-06"
NAMED, SHEET = "try__named", "try__sheet"
TEXT = {"type": "string", "class": "internal"}
BLOCK = {
    "kind": "files", "directory": "named", "pattern": "*{date}*", "subject": None, "key": ["id"], "timestamp_column": "at",
    "columns": {"id": TEXT | {"required": True}, "at": TEXT, "kind": TEXT | {"allowed": ["view"]}},
}  # fmt: skip
SHEET_BLOCK = BLOCK | {"directory": "sheet", "format": "csv", "header": True, "delimiter": ";"}
# What a path, a pattern, a URI, a shell, Hadoop or a person reads as something else.
SPECIAL = (
    "[1]", "[!a]", "{a,b}", "*", "?", "\\", "%20", "%2F", "%", "#", ":", "s3a:", "file:", "?x=1&y", "..", "~", "$(id)", "`id`",
    ";", "'", '"', "|", "\n", "\r", "\t", "\x01", "\x7f", " ", "\u00a0", "\u200b", "\u2028", "é", "e\u0301", "ß", "İ", "😀",
    "名", "_", ".", "-", "@0", ".crc", "._COPYING_", ".tmp", ".gz", ".GZ", ".bz2", ".zst", ".lz4", ".snappy", ".deflate", ".xz",
)  # fmt: skip
PACKED = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": lambda data: pa.compress(data, "zstd", asbytes=True)}
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="/\0")
PIECES = st.one_of(st.sampled_from(SPECIAL), LETTERS, st.text(st.sampled_from(string.ascii_lowercase), max_size=6))
PARTS = st.lists(PIECES, max_size=5).map("".join)
LONG = st.tuples(PIECES, st.sampled_from("xé名"), st.integers(1, 255)).map(lambda x: x[0] + x[1] * x[2])
# What SQL, a table, a parser or a person reads as something else. Line ends cannot stand in a header of one line.
HEADERS = (
    "", " ", "id ", "ID", "Kind", "KIND", "note", "Note", "a'b", "a`b", 'a"b', "a;b", "a\\", "\\'", "`", "'", '"', ",", "a.b",
    "_", "`x` string, `y", "', map('mode', 'FAILFAST')) --", "') as parsed, raise_error('", "*", "null", "select", "_corrupt",
    "_end", "#end", "_offset", "#0", "source", "reason", "held", "ds", "load_id", "key_id", "id_enc",
    "note_enc", "mdp_made", "[/]", "[red]", "{df}", "$x",
    "${env}", "%s", ":x", "?", "名", "é", "İ", "x" * 200, "\t", "\x01", "\u2028", "\ufeff", "1a", "a-b", "value", "header", "row",
    "parsed",
)  # fmt: skip
CELLS = st.one_of(st.sampled_from(HEADERS), st.text(LETTERS, max_size=8).filter(lambda text: not {*"\r\n"} & {*text}))
NAMES = st.builds(
    lambda before, day, after: before + day + after, PARTS, st.sampled_from([BEFORE, DAY]), st.one_of(PARTS, LONG)
).filter(lambda name: len(os.fsencode(name)) <= 255)


@pytest.fixture
def spool(spark, tmp_path, monkeypatch):
    """The spool of a feed that takes any name with a day in it, with a state database of its own."""
    (tmp_path / "feeds.yml").write_text(yaml.safe_dump({NAMED: BLOCK, SHEET: SHEET_BLOCK}, sort_keys=False))
    for name, path in {"KEY_FILE": "a.key", "SPOOL_URI": "spool"}.items():
        monkeypatch.setenv(f"MDP_{name}", str(tmp_path / path))
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path))
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    for name in ("named", "sheet"):
        (tmp_path / "spool" / name).mkdir(parents=True)
    yield tmp_path / "spool" / "named"
    for feed in load_feeds().values():
        spark.sql(f"drop table if exists {feed.raw_table}")
        spark.sql(f"drop table if exists {feed.quarantine_table}")


def event(event_id: str, kind: str = "view", day: str = DAY, **more) -> bytes:
    return json.dumps({"id": event_id, "at": f"{day}T10:00:00+08:00", "kind": kind} | more).encode()


def put(place, name: str | bytes, *lines: bytes) -> None:
    """Write a file, compressed as its name says, and old enough to be taken at once."""
    data = b"".join(line + b"\n" for line in lines)
    pack = next((pack for ending, pack in PACKED.items() if os.fsdecode(name).lower().endswith(ending)), bytes)
    path = os.path.join(os.fsencode(place), os.fsencode(name))
    with open(path, "wb") as file:
        file.write(pack(data))
    os.utime(path, (1, 1))


def ingest(ds: str = DAY, feed: str = NAMED, **options) -> dict:
    return run.ingest(ds, feeds=[feed], **options)[0]


def raw(spark) -> Counter:
    """(id, source, received_date) of the rows in raw."""
    rows = spark.table(f"raw.{NAMED}").select("id", "source", "received_date").collect()
    return Counter((row.id, row.source, row.received_date) for row in rows)


def held(spark, feed: str = NAMED) -> Counter:
    """(source, line, reason, text) of the rows held back."""
    keys = privacy.read_keys(str(key_path()))
    rows = spark.table(f"quarantine.{feed}").collect()
    opened = [
        privacy.decrypt(keys, r.payload, f"quarantine.{feed}", "payload", privacy.payload_row(r.row_key, r.source))
        for r in rows
    ]
    return Counter((r.source, r.source_position, r.reason, text) for r, text in zip(rows, opened, strict=True))


def check_names(spark, place, names: list[str]) -> None:
    """Load a file of each name, two days at once: two rows pass and one is held, of every second file another one."""
    passing, holding = Counter(), Counter()
    for number, name in enumerate(names):
        day = BEFORE if name.rfind(BEFORE) > name.rfind(DAY) else DAY
        lines = [event(f"{number}a", day=day), event(f"{number}b", kind="buy", day=day), event(f"{number}c", day=day)]
        holding[name, 2, "unknown_value:kind", lines[1].decode()] += 1
        if number % 2:  # not plain: Spark's other way
            lines.append(b'{"id": {}')
            holding[name, 4, "malformed_json", lines[3].decode()] += 1
        put(place, name, *lines)
        passing.update({(f"{number}a", name, day): 1, (f"{number}c", name, day): 1})
    result = ingest()
    assert (result["outcome"], result["n_rows"], result["n_quarantined"]) == (
        "loaded",
        passing.total(),
        holding.total(),
    )
    assert raw(spark) == passing
    assert held(spark) == holding
    shown = quarantine.rows(NAMED, DAY, "unknown_value:kind", len(names))
    assert len({row["place"] for row in shown}) == len(names)
    assert quarantine.decide(NAMED, DAY, "release", place=shown[0]["place"]) == 1
    assert ingest()["outcome"] == "unchanged"


def made(strategy, n: int, number: int) -> list:
    """`n` different things of a strategy, always the same for one seed."""
    found: dict = {}

    @seed(number)
    @settings(max_examples=4 * n, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(strategy)
    def draw(thing):
        found.setdefault(thing)

    draw()
    assert len(found) >= n
    return list(found)[:n]


def test_each_special_name_is_read_under_its_own(spark, spool):
    names = [f"a{special}{DAY}" for special in SPECIAL] + [f"{special}{BEFORE}.jsonl{special}" for special in SPECIAL]
    check_names(spark, spool, [*dict.fromkeys(names), f"{DAY}-1.jsonl", f"{DAY}-[1].jsonl", "x" * 245 + DAY])


def test_names_from_a_generator(spark, spool):
    check_names(spark, spool, made(NAMES, 150, 1))


def seed_of(turn: int) -> int:
    """A seed of this run, or one of NAME_SEEDS (as they were printed), to see a run again."""
    wanted = os.environ.get("NAME_SEEDS", "").split(",")
    return int(wanted[turn % len(wanted)]) if wanted[0] else random.randrange(10**6)


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(2))
def test_thousands_of_names_from_a_generator(spark, spool, turn, say):
    say(f"names: seed {(number := seed_of(turn))}")
    check_names(spark, spool, made(NAMES, 2_000, number))


def test_a_name_that_no_table_can_hold_and_a_day_that_does_not_exist_stop_the_load_and_are_named(spark, spool):
    put(spool, f"{DAY}.jsonl", event("e1"))
    for name, said in (
        (b"a-\xff-2024-03-05.jsonl", r"try__named: the file 'a-\\udcff-2024-03-05.jsonl' in .* no UTF-8"),
        (b"a-2024-02-30.jsonl", "try__named: the file a-2024-02-30.jsonl in .* has the day 2024-02-30 in its name"),
        (b"a-9999-12-31.jsonl", "try__named: the file a-9999-12-31.jsonl in .* has the day 9999-12-31 in its name"),
    ):
        put(spool, name, event("odd"))
        with pytest.raises(PlatformError, match=said):
            ingest()
        os.remove(os.path.join(os.fsencode(spool), name))
    assert ingest()["n_rows"] == 1


def test_inputs_that_are_gone_are_named_and_what_was_loaded_stays(spark, spool):
    put(spool, f"a-{DAY}", event("a1"))
    put(spool, f"b {DAY}", event("b1"))
    ingest()
    os.rename(spool / f"b {DAY}", spool / f"c {DAY}")  # the same content under another name is not gone
    assert ingest()["outcome"] == "again" and raw(spark) == Counter(
        {("a1", f"a-{DAY}", DAY): 1, ("b1", f"c {DAY}", DAY): 1}
    )
    for path in spool.iterdir():
        path.unlink()
    with pytest.raises(PlatformError, match=f"not in .* any more: a-{DAY}, c {DAY}; what was loaded stays: put them"):
        ingest()
    assert raw(spark).total() == 2 and state.load(NAMED, DAY).n_rows == 2
    put(spool, f"a-{DAY}", event("a1"))
    result = ingest(reload=True)
    assert result["n_rows"] == 1 and f"gone from the spool and left out: c {DAY}" in result["note"]


def test_an_intent_whose_files_are_gone_is_not_forgotten(spark, spool, monkeypatch):
    put(spool, f"a-{DAY}", event("a1"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run, "write_apart", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        ingest()
    os.rename(spool / f"a-{DAY}", spool / "kept")
    with pytest.raises(PlatformError, match=f"not in .* any more: a-{DAY}; nothing of it is loaded yet"):
        ingest()
    os.rename(spool / "kept", spool / f"a-{DAY}")
    assert (ingest()["outcome"], raw(spark).total()) == ("repaired", 1)


def test_a_sum_that_agrees_by_chance_is_no_check(spark, spool, monkeypatch):
    put(spool, f"a-{DAY}", event("a1"), event("a2"))
    put(spool, f"b-{DAY}", event("b1"), event("b2"))
    real = run.collect.read

    def reads_one_twice(feed, inputs, aside):
        return real(feed, inputs | {"files": [inputs["files"][0] | {"name": f"b-{DAY}"}, inputs["files"][1]]}, aside)

    with monkeypatch.context() as patch:
        patch.setattr(run.collect, "read", reads_one_twice)
        with pytest.raises(PlatformError, match=f"try__named: a-{DAY} had 2 rows, but 0 were written"):
            ingest()
    assert state.load(NAMED, DAY).status == "intent" and ingest()["n_rows"] == 4


def test_released_rows_are_counted_with_the_file_that_held_them(spark, spool):
    put(spool, f"a [1] {DAY}", event("a1"), event("a2", kind="buy"))
    ingest()
    assert quarantine.decide(NAMED, DAY, "release", reason="unknown_value:kind") == 1
    for stage in stages.STAGES:
        state.publish(stage, [DAY])
    put(spool, f"b [1] {NEXT}", event("b1", day=NEXT))
    assert ingest(NEXT)["n_rows"] == 2
    assert ("a2", f"a [1] {DAY}", DAY) in raw(spark)


# -- headers ----------------------------------------------------------------------------------------------------------

DECLARED = ("id", "at", "kind")
BOM = "\ufeff"  # at a file's very beginning it is a mark of its encoding, and no part of a name
WITH_EXTRAS = st.tuples(st.permutations(DECLARED), st.lists(st.tuples(st.integers(0, 3), CELLS), max_size=4)).map(
    lambda drawn: tuple(functools.reduce(lambda row, x: [*row[: x[0]], x[1], *row[x[0] :]], drawn[1], list(drawn[0])))
).filter(lambda header: all(header.count(name) == 1 for name in DECLARED) and not header[0].startswith(BOM))  # fmt: skip


def sheet(header: tuple[str, ...], *rows: dict) -> list[bytes]:
    """The lines of a CSV; what a row lacks is `x`."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\n")
    writer.writerows([header, *([row.get(name, "x") for name in header] for row in rows)])
    return text.getvalue().removesuffix("\n").encode().split(b"\n")


def check_headers(spark, place, headers: list[tuple[str, ...]]) -> None:
    """Load a CSV of each header: a row that passes, one that is too late and then released, one held for its kind."""
    at, late = f"{DAY}T10:00:00Z", "2024-02-20T10:00:00Z"
    passing, holding = Counter(), Counter()
    for number, header in enumerate(headers):
        rows = [{"id": f"{number}{letter}", "at": at, "kind": "view"} for letter in "abc"]
        rows[1]["at"], rows[2]["kind"] = late, "buy"
        lines = sheet(header, *rows)
        put(place.parent / "sheet", f"{DAY}-{number}.csv", *lines)
        passing[f"{number}a", "view", f"{DAY}-{number}.csv"] += 1
        for line, reason in ((2, "too_late"), (3, "unknown_value:kind")):
            holding[f"{DAY}-{number}.csv", line + 1, reason, lines[line].decode()] += 1
    result = ingest(feed=SHEET)
    assert (result["n_rows"], result["n_quarantined"]) == (len(headers), 2 * len(headers))
    rows = spark.table(f"raw.{SHEET}")
    assert Counter((row.id, row.kind, row.source) for row in rows.collect()) == passing
    assert held(spark, SHEET) == holding
    extras = {name for header in headers for name in header if name not in DECLARED}
    found = {row["column_name"] for row in state.drift(SHEET)}
    assert found == set(map(drift.recorded, extras))
    let = {name.removesuffix("_enc") for name in rows.columns} - {*DECLARED, *WRITTEN, "key_id", "load_id", "ds"}
    if load_feeds()[SHEET].new_columns == "record":
        assert not let
    else:  # all that could be a column's name, and of those that are one name to a table one
        twice = {name for header in headers for name in header if header.count(name) > 1}
        first = {min(n for n in extras if n.lower() == name) for name in {n.lower() for n in extras}} - twice
        fitting = {name.lower() for name in first if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,59}", name)}
        assert let <= extras and len({name.lower() for name in let}) == len(let)
        assert {name.lower() for name in let} == fitting - {*DECLARED, *WRITTEN, "ds", "batch", "load_id", "key_id"}
    show.feeds()
    assert quarantine.decide(SHEET, DAY, "release", reason="too_late") == len(headers)
    for stage in stages.STAGES:
        state.publish(stage, [DAY])
    assert ingest(NEXT, SHEET)["n_rows"] == len(headers)
    again = spark.table(f"raw.{SHEET}").where(f"ds = '{NEXT}'").collect()
    assert {(row.id, row.kind, row.received_date) for row in again} == {
        (f"{n}b", "view", "2024-02-20") for n in range(len(headers))
    }


@pytest.fixture
def let_through(spool):
    path = spool.parents[1] / "feeds.yml"
    path.write_text(yaml.safe_dump({SHEET: SHEET_BLOCK | {"new_columns": "let_through"}}, sort_keys=False))


def test_each_odd_column_of_a_header_is_recorded_and_harms_no_other(spark, spool, let_through):
    one_by_one = [(*DECLARED[: n % 4], name, *DECLARED[n % 4 :]) for n, name in enumerate(HEADERS)]
    check_headers(spark, spool, [*one_by_one, (*DECLARED, *HEADERS), ("note", "kind", "note", "at", "", "id", "")])


def test_headers_from_a_generator(spark, spool):
    check_headers(spark, spool, made(WITH_EXTRAS, 12, 1))


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(2))
def test_many_headers_from_a_generator(spark, spool, turn, say, request):
    if turn % 2:
        request.getfixturevalue("let_through")
    say(f"headers: seed {(number := seed_of(turn))}")
    check_headers(spark, spool, made(WITH_EXTRAS, 60, number))


@pytest.mark.parametrize(
    ("first_line", "said"),
    [
        (b"id;at;kind;kind", "kind: 2 times in the header"),
        (b"ID;at; kind", "id: declared, missing in the header, which has ID\n  - kind: .* which has ' kind'"),
        (b"id;at", "kind: declared, missing in the header"),
        (b"", "id: declared, missing in the header"),
        (b"id;at;kind;\xff", "its header is no utf-8 "),
        (b"id;at;kind;" + b"x" * 200_000, "its first line cannot be a header: field larger than"),
        (b"id;at;kind" + b";x" * (1 << 19), "its first line cannot be a header: it has 1,048,586 bytes"),
    ],
)  # fmt: skip
def test_a_header_that_does_not_name_each_declared_column_once_stops_the_load(spool, first_line, said):
    put(spool.parent / "sheet", f"{DAY}'s [1].csv", first_line, b"e1;2024-03-05T10:00:00Z;view")
    with pytest.raises(
        PlatformError, match=rf"(?s)try__sheet: {DAY}'s \[1\].csv is not what the feed declares:.*{said}"
    ):
        ingest(feed=SHEET)


def test_keys_of_json_that_nobody_declared_never_stop_a_load(spark, spool):
    path = spool.parents[1] / "feeds.yml"
    path.write_text(yaml.safe_dump({NAMED: BLOCK | {"new_columns": "let_through"}}, sort_keys=False))
    odd = dict.fromkeys([*HEADERS, "\n", "x" * 5_000], {"a": 1})
    half = event(
        "e3", **{"\ud800": 1}
    )  # half of a surrogate pair is no text: the line is held, whoever declared the key
    put(spool, f"{DAY}.jsonl", event("e1", note="n"), event("e2", **odd), half, b'{"a":' + b"[" * 50_000)
    result = ingest()
    assert (result["n_rows"], result["n_quarantined"]) == (2, 2)
    assert {row["column_name"] for row in state.drift(NAMED)} == set(map(drift.recorded, [*odd, "\ud800"])) | {"note"}
    assert {"Note_enc", "header_enc"} <= {*spark.table(f"raw.{NAMED}").columns}
    show.feeds()


# -- an attacker ------------------------------------------------------------------------------------------------------

MARK = "zqxmark"
ATTACKS = (
    f"'); {MARK}", f"`{MARK}`", f"', map('mode', '{MARK}')) --", f"\\' or '{MARK}' = '", f'"; drop table {MARK}; --',
    f"{MARK}*[a]", f"${{env:{MARK}}}", f"$({MARK})", f"`{MARK}` string, `y", f"a.{MARK}.b", f"{{{MARK}}}", f"/* {MARK} */",
)  # fmt: skip


class Tapped:
    """The engine's door, with every request that passes it kept."""

    def __init__(self, stub):
        self.stub, self.requests = stub, []

    def __getattr__(self, name):
        def call(request, **options):
            self.requests.append(request)
            return getattr(self.stub, name)(request, **options)

        return call


def texts(message, within: str = "") -> Iterator[tuple[str, str]]:
    """(place, text) of every text of a request that is more than a value: SQL, types, names, options, paths."""
    for field, value in message.ListFields():
        place = f"{within}.{field.name}"
        if field.name == "literal":
            continue
        several = value if field.is_repeated else [value]
        if field.message_type and field.message_type.GetOptions().map_entry:
            for key in value:
                yield f"{place}[{key}]", f"{key} {value[key]}"
        elif field.message_type:
            for one in several:
                yield from texts(one, place)
        elif field.type == field.TYPE_STRING:
            yield from ((place, text) for text in several)


@pytest.fixture
def door(spark, monkeypatch):
    tapped = Tapped(spark.client._stub)
    monkeypatch.setattr(spark.client, "_stub", tapped)
    return tapped


def test_nothing_of_a_source_becomes_sql_a_type_an_option_or_a_path(spark, spool, door):
    secret = {"type": "string", "class": "secret", "action": "encrypt"}
    more = {"new_columns": "let_through", "columns": BLOCK["columns"] | {"secret": secret}}
    (spool.parents[1] / "feeds.yml").write_text(
        yaml.safe_dump({NAMED: BLOCK | more, SHEET: SHEET_BLOCK | {"new_columns": "let_through"}}, sort_keys=False)
    )
    for number, attack in enumerate(ATTACKS):
        name, key = f"{DAY}{attack.replace('/', '|')}", f"{number}{attack}"
        odd = dict.fromkeys([*ATTACKS, "secret"], attack)
        put(spool, name, event(key, **odd), event(key, kind=attack, **odd))
        row = {"id": key, "at": f"{DAY}T01:00:00Z", "kind": "view", attack: attack}
        put(spool.parent / "sheet", name, *sheet((*DECLARED, attack), row, row | {"kind": attack}))
    found = run.ingest(DAY)
    assert [(r["n_rows"], r["n_quarantined"]) for r in found] == [(len(ATTACKS), len(ATTACKS))] * 2
    for feed in (NAMED, SHEET):
        rows = quarantine.rows(feed, DAY, None, 100)
        assert all(MARK in row["place"] and MARK in row["row_key"] for row in rows)
        assert quarantine.decide(feed, DAY, "release", place=rows[0]["place"]) == 1
        assert quarantine.decide(feed, DAY, "release", reason="unknown_value:kind") == len(ATTACKS) - 1
    for stage in stages.STAGES:
        state.publish(stage, [DAY])
    assert [r["n_rows"] for r in run.ingest(NEXT)] == [len(ATTACKS)] * 2
    assert {row.id for row in spark.table(f"raw.{SHEET}").collect()} == {f"{n}{text}" for n, text in enumerate(ATTACKS)}
    sent = [found for request in door.requests for found in texts(request)]
    assert any("from_csv(" in text for _, text in sent) and any("paths" in place for place, _ in sent)
    assert not [(place, text) for place, text in sent if MARK in text]
