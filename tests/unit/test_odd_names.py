"""Names that a source or a declaration brings: none becomes a path pattern, SQL or a shell's text."""

import ast
import os
from pathlib import Path

import pytest
import yaml
from pyarrow import fs

from ingestion import jdbc, spool
from ingestion.feeds import FilesFeed, JdbcFeed, load_feeds
from ingestion.jdbc_source import Source
from tests.companies import FEEDS
from warehouse.connections import Database
from warehouse.errors import PlatformError

PROJECT = Path(__file__).resolve().parents[2]
ODD = (
    "a [1]",
    "a*",
    "a:b",
    "%20",
    "#",
    "_a",
    ".a",
    "é",
    "x" * 201,
    "a.deflate",
    "a.lz4",
    "a.snappy",
    "log",
    "a\n",
    "@0.log",
)
TEXT = {"type": "string", "class": "internal"}
EVIL = ("x'; drop table y; --", "x`y", 'x"y', "x\\", "x\n", "$(x)", "x; y", "{x}", "../x", "x, y", "")


@pytest.fixture
def feed(tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_SPOOL_URI", str(tmp_path / "spool"))
    (tmp_path / "spool" / "some").mkdir(parents=True)
    text = {"type": "string", "class": "internal"}
    return FilesFeed.model_validate(
        dict(name="try__some", kind="files", directory="some", pattern="*{date}*", subject=None, key=["id"],
             timestamp_column="at", columns={"id": text, "at": text})
    )  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["a-2024-03-05.jsonl", "A.2024-03-05", "app.log-2024-03-05", "a-2024-03-05-b_2.jsonl.gz", "2024-03-05-1.csv"],
)
def test_a_tame_name_is_handed_to_spark_as_it_is(feed, tmp_path, name):
    paths = spool.read_paths(feed, [{"name": name}], str(tmp_path / "aside"))
    assert paths == {name: f"{tmp_path}/spool/some/{name}"} and not (tmp_path / "aside").exists()


@pytest.mark.parametrize("local", [True, False])
def test_any_other_is_read_under_a_name_of_ours(feed, tmp_path, monkeypatch, local):
    if not local:  # a file system without links
        there = fs.SubTreeFileSystem(str(tmp_path / "spool"), fs.LocalFileSystem())
        monkeypatch.setattr(spool, "_place", lambda feed: (there, "some"))
    for name in ODD:
        (tmp_path / "spool" / "some" / name).write_text(name)
    (tmp_path / "aside").mkdir()
    (tmp_path / "aside" / "left").write_text("by an attempt that was killed")
    paths = spool.read_paths(feed, [{"name": name} for name in ODD], str(tmp_path / "aside"))
    assert {name: Path(path).read_text() for name, path in paths.items()} == {name: name for name in ODD}
    assert sorted(os.path.basename(path) for path in paths.values()) == sorted(f"@{n}" for n in range(len(ODD)))
    assert len(list((tmp_path / "aside").iterdir())) == len(ODD)
    assert all(os.path.islink(path) == local for path in paths.values())


def test_a_file_in_a_directory_that_is_a_pattern_is_read_aside(feed, tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_SPOOL_URI", f"{tmp_path}/[a]")
    (tmp_path / "[a]" / "some").mkdir(parents=True)
    assert spool.read_paths(feed, [{"name": "2024-03-05.csv"}], f"{tmp_path}/b{{c}}") == {
        "2024-03-05.csv": f"{tmp_path}/b\\{{c\\}}/@0"
    }


@pytest.mark.parametrize(
    "place", ["name", "column", "table", "connection", "topic", "directory", "allowed", "format", "zone"]
)
def test_a_declaration_of_an_attacker_is_refused(tmp_path, place):
    blocks = yaml.safe_load(FEEDS.read_text())
    table, files = blocks["crm__orders"], blocks["web__events"]
    topic = files | {"kind": "kafka", "topic": "t"}
    for key in ("directory", "pattern"):
        topic.pop(key)
    for evil in EVIL:
        made = {
            "name": {f"a__{evil}": files},
            "column": {"a__b": files | {"columns": files["columns"] | {evil: {"type": "string", "class": "internal"}}}},
            "table": {"a__b": table | {"table": evil}},
            "connection": {"a__b": table | {"connection": evil}},
            "topic": {"a__b": topic | {"topic": evil}},
            "directory": {"a__b": files | {"directory": evil}},
            "allowed": {
                "a__b": files | {"columns": files["columns"] | {"x": TEXT | {"allowed": [f"{evil}'"]}}}
            },
            "format": {"a__b": files | {"timestamp_format": f"yyyy{evil}'"}},
            "zone": {"a__b": files | {"timestamp_zone": f"UTC{evil}'"}},
        }[place]  # fmt: skip
        path = tmp_path / "feeds.yml"
        path.write_text(yaml.safe_dump(made))
        with pytest.raises(PlatformError, match=r"feeds.yml: feed a__"):
            load_feeds(path)


def test_columns_of_a_table_that_nobody_declared_are_pasted_nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    declared = {"order_id": {"type": "string", "class": "internal"}}
    feed = JdbcFeed.model_validate(
        dict(name="try__orders", kind="jdbc", table="orders", mode="full", subject=None, key=["order_id"],
             columns=declared, new_columns="let_through")
    )  # fmt: skip
    found = dict.fromkeys(["order_id", "Order_ID", "coupon", "Coupon", *EVIL], "varchar")
    whole, notes = jdbc.drift(feed, found)
    assert list(whole.columns) == ["order_id", "Coupon"]
    assert notes[0] == "new at the source, read, encrypted: Coupon varchar" and "not read: Order_ID" in notes[1]
    jdbc.record_new(feed, {"columns": found}, "2024-03-05")
    assert list(jdbc.drift(feed, dict.fromkeys(["order_id", "coupon"], "varchar"))[0].columns) == ["order_id"]


@pytest.mark.parametrize("product", ["derby", "mariadb", "mysql", "postgresql"])
def test_what_a_database_sent_is_a_literal_when_it_is_asked_for_again(product):
    source = Source("f", "table t", "t", Database.__new__(Database), 1)
    object.__setattr__(source.database, "product", product)
    for evil in EVIL:
        text, name = source.literal(evil, "string"), source.quoted(evil)
        q = source.dialect.quote
        assert name[0] == name[-1] == q and name[1:-1].replace(q + q, "") == evil.replace(q, "")
        if product in ("mariadb", "mysql"):
            assert text == f"_utf8mb4 x'{evil.encode().hex()}'"
        else:
            assert text == "'" + evil.replace("'", "''") + "'"
        for kind in ("timestamp", "int", "double"):
            assert "'" not in source.literal(evil, kind).removeprefix(f"{kind}(").rstrip(")")[1:-1].replace("''", "")


def test_no_command_goes_through_a_shell():
    found, n_calls = [], 0
    for room in ("benchmarks", "dags", "expectations", "ingestion", "mdp", "ml", "sample", "warehouse"):
        for path in (PROJECT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    n_calls += 1
                    shell = any(k.arg == "shell" and getattr(k.value, "value", True) for k in node.keywords)
                    if shell or ast.unparse(node.func) in ("os.system", "os.popen", "subprocess.getoutput"):
                        found.append(f"{path.name}:{node.lineno}")
    assert n_calls > 1000 and not found
