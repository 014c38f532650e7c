"""Two hundred and more malformed lines of three formats: no crash, each held back with its reason, its place and its bytes."""

import pytest
import yaml

from ingestion import privacy, run
from ingestion.feeds import load_feeds
from tests.companies import declare
from tests.e2e.malformed import DAY, GOOD, RULES, TYPES, combined_lines, csv_lines, json_lines
from warehouse import state
from warehouse.keys import key_path

COLUMNS = {name: {"type": kind, "class": "internal"} | RULES.get(name, {}) for name, kind in TYPES.items()}
ACCESS = {"line_digest": "string", "remote_host": "string", "requested_at": "string", "request": "string", "status": "int",
          "n_bytes": "bigint", "referer": "string", "user_agent": "string"}  # fmt: skip
FEEDS = {
    "json": {"format": "json", "timestamp_column": "at", "key": ["id"], "columns": COLUMNS},
    "csv": {"format": "csv", "header": True, "timestamp_column": "at", "key": ["id"], "columns": COLUMNS},
    "combined": {"format": "combined", "timestamp_column": "requested_at", "key": ["line_digest"],
                 "columns": {name: {"type": kind, "class": "internal"} for name, kind in ACCESS.items()}},
}  # fmt: skip
GOOD_LINES = {
    "json": b'{"id": "good", "at": "2024-03-05T10:00:00+08:00", "kind": "view", "n": 1, "price": 1.25, "ok": true}',
    "csv": ",".join(map(str, GOOD.values())).encode(),
    "combined": b'1.2.3.4 - - [05/Mar/2024:10:00:00 +0800] "GET / HTTP/1.1" 200 23 "-" "curl/8"',
}


def plain_lines():
    """The malformed JSON lines that a plain file may hold, which Spark's own reader takes."""
    for line, reason in json_lines():
        is_alone = line[:1] == b"{" and b"{" not in line[1:] and b"}" not in line[:-1] and b": [" not in line
        if is_alone and reason not in ("bad_encoding", "too_long"):
            yield line, reason


LINES = {"json": json_lines, "plain": plain_lines, "csv": csv_lines, "combined": combined_lines}
FEEDS["plain"], GOOD_LINES["plain"] = FEEDS["json"], GOOD_LINES["json"]


@pytest.fixture(params=FEEDS)
def format_(request, spark, tmp_path, monkeypatch):
    """A feed of one format, its state and spool its own."""
    name = f"try__bad_{request.param}"
    block = {"kind": "files", "directory": "bad", "pattern": "bad-{date}*", "subject": None} | FEEDS[request.param]
    (tmp_path / "feeds.yml").write_text(yaml.safe_dump({name: block}, sort_keys=False))
    (tmp_path / "spool" / "bad").mkdir(parents=True)
    for key, value in {"KEY_FILE": "a.key", "SPOOL_URI": "spool"}.items():
        monkeypatch.setenv(f"MDP_{key}", str(tmp_path / value))
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path))
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    yield request.param
    feed = load_feeds()[name]
    for table in (feed.raw_table, feed.quarantine_table):
        spark.sql(f"drop table if exists {table}")


def test_each_malformed_line_is_held_back_with_its_reason_and_place(spark, format_, tmp_path):
    good, bad = GOOD_LINES[format_], list(LINES[format_]())
    lines = [",".join(TYPES).encode()] if format_ == "csv" else []
    wanted = {}
    for line, reason in bad:  # a good line before each: none may take its neighbour along
        lines += [good, line]
        wanted[len(lines)] = (reason, line)
    (tmp_path / "spool" / "bad" / f"bad-{DAY}.log").write_bytes(b"\n".join([*lines, good]))
    result = run.ingest(DAY, feeds=[f"try__bad_{format_}"])[0]
    (file,) = state.load(f"try__bad_{format_}", DAY).inputs["files"]
    assert file["is_plain"] == (format_ == "plain")
    table, keys = f"quarantine.try__bad_{format_}", privacy.read_keys(str(key_path()))
    found = {
        row.source_position: (
            row.reason,
            privacy.decrypt(keys, row.payload, table, "payload", privacy.payload_row(row.row_key, row.source)),
        )
        for row in spark.table(table).collect()
    }
    wrong = {n: (line[:120], reason, found.get(n, ("passed",))[0]) for n, (reason, line) in wanted.items()
             if found.get(n, ("",))[0] != reason}  # fmt: skip
    assert not wrong, "\n".join(map(str, wrong.values()))
    for n, (reason, line) in wanted.items():
        assert found[n][1] == line.decode("latin-1" if reason == "bad_encoding" else "utf-8")
    assert (result["n_rows"], result["n_quarantined"]) == (len(bad) + 1, len(bad))


NESTED = [
    b'{"id": "a", "at": "2024-03-05T10:00:00Z", "kind": "buy", "more": {"a": 1}}',
    b'{"id": "b", "at": "2024-03-05T10:00:00Z", "kind": "buy", "list": [{"a": 1}, {"b": 2}]}',
    b'{"id": "c", "at": "2024-03-05T10:00:00Z", "kind": "buy", "text": "}{ } , {"}',
    b'  {"id": "d", "at": "2024-03-05T10:00:00Z", "kind": "buy", "more": {"a": {}} }  ',
]


@pytest.mark.parametrize("format_", ["json"], indirect=True)
def test_what_only_looks_malformed_passes(spark, format_, tmp_path):
    (tmp_path / "spool" / "bad" / f"bad-{DAY}.log").write_bytes(b"\n".join(NESTED))
    result = run.ingest(DAY, feeds=["try__bad_json"])[0]
    assert (result["n_rows"], result["n_quarantined"]) == (len(NESTED), 0)


def test_there_are_enough_of_them():
    assert sum(len(list(made())) for made in (json_lines, csv_lines, combined_lines)) >= 200
    assert len(list(plain_lines())) >= 80
