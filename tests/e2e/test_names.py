"""Any name a file system allows, any header: what comes out of raw is what a plain reader of ours says went in, under the
file's own name, or it is held back with its reason, its place and its text.

Names are made by hypothesis and put, many at once, into one load. `make test` does a few that are always the same,
`make test-slow` thousands from seeds that it prints; NAME_SEEDS=1,2 repeats them.
"""

import bz2
import gzip
import json
import os
import random
import string
from collections import Counter

import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ingestion import privacy, quarantine, run
from ingestion.feeds import load_feeds
from warehouse import stages, state
from warehouse.errors import PlatformError
from warehouse.keys import key_path

BEFORE, DAY, NEXT = "2024-03-04", "2024-03-05", "2024-03-06"
NAMED = "try__named"
TEXT = {"type": "string", "class": "internal"}
BLOCK = {
    "kind": "files", "directory": "named", "pattern": "*{date}*", "subject": None, "key": ["id"], "timestamp_column": "at",
    "columns": {"id": TEXT | {"required": True}, "at": TEXT, "kind": TEXT | {"allowed": ["view"]}},
}  # fmt: skip
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
NAMES = st.builds(
    lambda before, day, after: before + day + after, PARTS, st.sampled_from([BEFORE, DAY]), st.one_of(PARTS, LONG)
).filter(lambda name: len(os.fsencode(name)) <= 255)


@pytest.fixture
def spool(spark, tmp_path, monkeypatch):
    """The spool of a feed that takes any name with a day in it, with a state database of its own."""
    (tmp_path / "feeds.yml").write_text(yaml.safe_dump({NAMED: BLOCK}, sort_keys=False))
    for name, path in {"FEEDS": "feeds.yml", "KEY_FILE": "a.key", "SPOOL_URI": "spool"}.items():
        monkeypatch.setenv(f"MDP_{name}", str(tmp_path / path))
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    (tmp_path / "spool" / "named").mkdir(parents=True)
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


def ingest(ds: str = DAY, **options) -> dict:
    return run.ingest(ds, feeds=[NAMED], **options)[0]


def raw(spark) -> Counter:
    """(id, source, received_date) of the rows in raw."""
    rows = spark.table(f"raw.{NAMED}").select("id", "source", "received_date").collect()
    return Counter((row.id, row.source, row.received_date) for row in rows)


def held(spark) -> Counter:
    """(source, line, reason, text) of the rows held back."""
    keys = privacy.read_keys(str(key_path()))
    rows = spark.table(f"quarantine.{NAMED}").collect()
    opened = [
        privacy.decrypt(keys, r.payload, f"quarantine.{NAMED}", "payload", privacy.payload_row(r.row_key, r.source))
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


def names_of(n: int, number: int) -> list[str]:
    """`n` different names, always the same for one seed."""
    found: dict[str, None] = {}

    @seed(number)
    @settings(max_examples=4 * n, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(NAMES)
    def draw(name):
        found.setdefault(name)

    draw()
    assert len(found) >= n
    return list(found)[:n]


def test_each_special_name_is_read_under_its_own(spark, spool):
    names = [f"a{special}{DAY}" for special in SPECIAL] + [f"{special}{BEFORE}.jsonl{special}" for special in SPECIAL]
    check_names(spark, spool, [*dict.fromkeys(names), f"{DAY}-1.jsonl", f"{DAY}-[1].jsonl", "x" * 245 + DAY])


def test_names_from_a_generator(spark, spool):
    check_names(spark, spool, names_of(150, 1))


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(4))
def test_thousands_of_names_from_a_generator(spark, spool, turn, say):
    given_ = os.environ.get("NAME_SEEDS", "").split(",")
    number = int(given_[turn % len(given_)]) if given_[0] else random.randrange(10**6)
    say(f"names: seed {number}")
    check_names(spark, spool, names_of(2_000, number))


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
