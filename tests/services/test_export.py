"""Exports to a real MariaDB and PostgreSQL: each mode, each kind of bad row, each way of being interrupted."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

from ingestion import filling, publish, staging
from ingestion.export import export
from tests.conftest import PROJECT, mdp
from tests.services.exports import (
    COLUMNS,
    DAY,
    NEXT,
    SOURCE,
    TABLE,
    TARGET,
    TYPES,
    as_target,
    fails,
    people,
    row,
    run,
)
from warehouse import databases, state
from warehouse.errors import PlatformError

pytestmark = [pytest.mark.services, pytest.mark.engine]  # by name, the fixtures behind a parameter are not seen

SEEDS = (11, *(pytest.param(seed, marks=pytest.mark.crash) for seed in (23, 47)))


# -- modes ------------------------------------------------------------------------------------------------------------


def test_replace_makes_the_table_and_replaces_it_whole(world):
    world.declare("replace")
    world.source([*people(0, 5), row("full", "Ünï 客户", "-0.07", "-3", "2024-03-05 10:00:01", DAY, 0.1, True)])
    assert run()["rows"] == {TARGET: 6}
    found = world.target("customer_id, name, amount, n, at, day, share, ok")[-1]
    assert found[:4] == ("full", "Ünï 客户", Decimal("-0.07"), -3)
    assert [str(v) for v in found[4:6]] == ["2024-03-05 10:00:01", DAY] and (found[6], bool(found[7])) == (0.1, True)
    world.source(people(3, 9, "new"))
    run()
    assert world.target() == as_target(people(3, 9, "new"))
    assert world.marks() == [(TARGET, DAY, 6, 0)] and world.tables() == {TABLE, "mdp_exports"}
    world.server.execute(f"delete from {TABLE} where customer_id = 'c00004'")
    run()
    assert world.target() == as_target(people(3, 9, "new")), "a table that lost rows since is replaced again"
    world.source([])
    run()
    assert world.target() == [] and world.marks() == [(TARGET, DAY, 0, 0)]


def test_insert_adds_each_day_once(world):
    world.create(more="")  # nothing but the mark keeps a row from being there twice
    world.declare("insert")
    world.source(people(0, 7))
    assert run()["rows"] == {TARGET: 7}
    assert run()["rows"] == {TARGET: 7}
    assert world.target() == as_target(people(0, 7))
    world.source(people(0, 8))
    assert f"7 rows were added to {TABLE} for {DAY} before, and {SOURCE} holds other rows for that day now" in fails()
    world.source(people(20, 23), NEXT)
    export(NEXT, TARGET)
    assert world.target() == as_target([*people(0, 7), *people(20, 23)])
    world.source(people(0, 7))
    assert run()["rows"] == {TARGET: 7}, "an older day counts where rows are added: it was exported before"
    assert len(world.target()) == 10 and [e["n_rows"] for e in state.exports(NEXT)] == [3]


def test_update_changes_what_is_there(world):
    world.create()
    world.server.execute(f"insert into {TABLE} (customer_id, name, n) values ('c00001', 'a', 9), ('other', 'b', 9)")
    world.declare("update", max_rejected_share=0.7)
    world.source(people(0, 3))
    assert run()["rows"] == {TARGET: 1}
    assert world.target() == [("c00001", "x", 1), ("other", "b", 9)]
    assert world.reasons() == {"c00000": "no_such_key", "c00002": "no_such_key"}
    assert world.marks() == [(TARGET, DAY, 1, 2)]


def test_upsert_changes_or_adds(world):
    world.create()
    world.server.execute(f"insert into {TABLE} (customer_id, name, n) values ('c00001', 'a', 9), ('other', 'b', 9)")
    world.declare("upsert")
    world.source(people(0, 3))
    run()
    assert world.target() == [*as_target(people(0, 3)), ("other", "b", 9)]
    world.source(people(1, 5, "again"))
    run()
    assert world.target() == [*as_target(people(0, 1)), *as_target(people(1, 5, "again")), ("other", "b", 9)]
    assert world.marks() == [(TARGET, DAY, 4, 0)]


def test_an_upsert_never_changes_the_row_of_another_key(world):
    """`on duplicate key update` would: it obeys the unique index of the names as well."""
    world.create(more=", primary key (customer_id), unique (name)")
    world.server.execute(f"insert into {TABLE} (customer_id, name, n) values ('old', 'taken', 1)")
    world.declare("upsert", max_rejected_share=0.8)
    world.source(
        [row("new", "taken", n="2"), row("a", "mine", n="3"), row("b", "mine", n="4"), row("old", "taken", n="5")]
    )
    run()
    assert world.target() == [("a", "mine", 3), ("old", "taken", 5)], (
        "of two rows that exclude each other, the first key"
    )
    assert set(world.reasons()) == {"b", "new"} and all("uplicate" in why for why in world.reasons().values())


def test_names_are_taken_as_they_are(world):
    world.types = {"customer_id": "VARCHAR(8)", "order": "INT", "Name": "VARCHAR(10)"}
    quote = "`" if world.is_mariadb else '"'
    world.create(columns=COLUMNS.replace("name", f"{quote}Name{quote}") + f", {quote}order{quote} int")
    world.declare("upsert", where="`order` > 1 and Name <> 'it''s'")
    world.source([("a", 1, "x"), ("b", 2, "it's"), ("c", 3, "y")], schema="customer_id string, order int, Name string")
    run()
    assert world.target(f"customer_id, {quote}order{quote}, {quote}Name{quote}") == [("c", 3, "y")]


# -- rows -------------------------------------------------------------------------------------------------------------

BAD = {  # key → (row, what both databases' reasons have in common)
    "long": (row("long", "x" * 11), "name"),
    "spaces": (row("spaces", "x" + " " * 20), "would be changed: name"),
    "letters": (row("letters", amount="abc"), "amount"),
    "cents": (row("cents", amount="1.239"), "would be changed: amount"),
    "large": (row("large", amount="1e12"), "amount"),
    "int": (row("int", n="99999999999"), "n"),
    "empty": (row("empty", n=""), "n"),
    "month": (row("month", at="2024-13-05 10:00:00"), "at"),
    "split": (row("split", at="2024-03-05 10:00:00.7"), "would be changed: at"),
    "february": (row("february", day="2024-02-30"), "day"),
    "hour": (row("hour", day="2024-03-05 11:00:00"), "would be changed: day"),
    "far_too_long_a_key": (row("far_too_long_a_key"), "customer_id"),
}


@pytest.mark.parametrize("mode", ["replace", "insert", "update", "upsert"])
def test_each_row_is_accepted_or_rejected_with_its_reason(world, mode):
    world.create()
    good = [*people(0, 30), row("nul", None, None, None), row("same", n="7")]
    if mode == "update":
        keys = [r[0] for r in good] + [key for key in BAD if len(key) < 9] + ["twice"]
        world.server.execute(f"insert into {TABLE} (customer_id, n) values (:k, -1)", *({"k": key} for key in keys))
    twice = [row("twice", "a"), row("twice", "b"), row(None), row(None, "y")]
    world.declare(mode, max_rejected_share=0.5)
    world.source([*good, *(bad for bad, _ in BAD.values()), *twice])
    assert run()["rows"] == {TARGET: len(good)}
    found = world.reasons()
    assert len(state.rejected_rows(DAY, TARGET)) == len(BAD) + len(twice)
    for key, (_, words) in BAD.items():
        assert re.search(rf"\b{words}\b", found[key]), (key, found[key])
        assert re.match(r"[0-9A-Z]{4,5}: |would be changed", found[key]) and "abc" not in found[key]
    counted = Counter(r["reason"] for r in state.rejected_rows(DAY, TARGET))
    assert (counted["duplicate_key_in_export"], counted["null_key"]) == (2, 2)
    assert world.marks() == [(TARGET, DAY, len(good), len(BAD) + len(twice))]
    written = [r for r in world.target() if r[2] != -1]
    assert written == sorted((r[0], r[1], r[3] and int(r[3])) for r in good)
    assert {row["reason"] for row in state.rejected_rows(DAY)} == set(found.values())


# Column's type, declared type, what is accepted as it is, what would be changed, what the database cannot take.
ODD_TYPES = {
    "mariadb": [
        ("year", "INT", ["2024", "1901"], ["5", "0", "70"], ["20245"]),
        ("time", "VARCHAR(20)", ["10:00:00", "123:00:00"], ["10:00:00.6", "1234", "10:00", "1 10:00:00"], ["25:61:00"]),
        ("time(3)", "VARCHAR(20)", ["10:00:00.6", "10:00:00.123"], ["10:00:00.1234"], []),
        ("bit(4)", "INT", ["0", "15"], [], ["16"]),
        ("set('a','b')", "VARCHAR(9)", ["a", "a,b"], ["b,a"], ["c"]),
        ("uuid", "VARCHAR(40)", ["123e4567-e89b-12d3-a456-426655440000"], ["123e4567e89b12d3a456426655440000"], ["x"]),
        ("binary(4)", "VARCHAR(9)", ["abcd"], ["abc"], ["abcde"]),
        ("varbinary(4)", "VARCHAR(9)", ["abc", "客"], [], ["abcde"]),
        ("varchar(9) character set utf8mb3", "VARCHAR(9)", ["客", "NULL", "\\N", ""], [], ["😀"]),
        ("float", "DOUBLE", ["0.5", "16777216"], ["0.1", "16777217"], ["1e39"]),
    ],
    "postgres": [
        ("time(0)", "VARCHAR(20)", ["10:00:00", "23:59:59"], ["23:59:59.9", "10:00:00.6", "10:00", "101112"], ["25:00:00"]),
        ("time", "VARCHAR(20)", ["10:00:00.123456"], ["10:00"], []),
        ("uuid", "VARCHAR(40)", ["123E4567-e89b-12d3-a456-426655440000"], ["123e4567e89b12d3a456426655440000"], ["x"]),
        ("mood", "VARCHAR(9)", ["glad", "Sad"], [], ["sad"]),
        ("json", "VARCHAR(20)", ['{"a":  1}', "[]"], [], ["{"]),
        ("boolean", "BOOLEAN", ["1", "0"], [], ["2"]),
        ("varchar(9)", "VARCHAR(9)", ["客", "😀", "NULL", "\\N", ""], [], []),
        ("real", "DOUBLE", ["0.5", "16777216"], ["0.1", "16777217"], ["1e39"]),
    ],
}  # fmt: skip
REFUSED = {
    "mariadb": ["inet6", "point"],
    "postgres": ["money", "interval", "time with time zone", "jsonb", "inet", "bytea", "bit(3)", "int[]", "int4range"],
}


def test_odd_types_take_what_is_the_same_afterwards(world):
    server = "mariadb" if world.is_mariadb else "postgres"
    if not world.is_mariadb:
        world.server.execute("create type mood as enum ('glad', 'Sad')")
    try:
        for kind, declared, good, changed, impossible in ODD_TYPES[server]:
            world.types = {"customer_id": "VARCHAR(8)", "odd": declared}
            world.server.execute(f"create table {TABLE} (customer_id varchar(8) primary key, odd {kind})")
            texts = [*good, *changed, *impossible]
            rows = [(f"c{n:02}", text) for n, text in enumerate(texts)]
            world.source([*rows, ("none", None)], schema="customer_id string, odd string")
            world.declare("replace", max_rejected_share=1.0)
            run()
            reasons, taken = world.reasons(), {key for key, _ in world.target("customer_id, 1 as n") if key != "none"}
            assert {text for key, text in rows if key in taken} == set(good), (kind, reasons)
            assert {t for k, t in rows if reasons.get(k) == "would be changed: odd"} == set(changed), (kind, reasons)
            assert len(reasons) == len(changed) + len(impossible), kind
            world.server.execute(f"drop table {TABLE}")
            world.server.execute("delete from mdp_exports")
    finally:
        if not world.is_mariadb:
            world.server.execute(f"drop table if exists {TABLE}")
            world.server.execute("drop type mood")


def test_a_column_whose_equality_is_not_known_is_refused_by_name(world):
    world.types = {"customer_id": "VARCHAR(8)", "odd": "VARCHAR(20)"}
    world.source([("c1", "1")], schema="customer_id string, odd string")
    for kind in REFUSED["mariadb" if world.is_mariadb else "postgres"]:
        world.server.execute(f"create table {TABLE} (customer_id varchar(8) primary key, odd {kind})")
        world.declare("upsert")
        assert re.search(
            rf"{TABLE} of .* has odd of type \S.*, where a value may be changed without a word", fails()
        ), kind
        assert world.target("customer_id, 1 as n") == [] and world.tables() == {TABLE, "mdp_exports"}
        world.server.execute(f"drop table {TABLE}")


def test_keys_are_equal_if_the_target_says_so(world):
    """MariaDB's usual collation knows no capitals: two such rows would overwrite each other."""
    world.create()
    world.declare("upsert", max_rejected_share=1)
    world.source([row("ab"), row("AB"), row("c")])
    run()
    assert set(world.reasons()) == ({"ab", "AB"} if world.is_mariadb else set())


def test_what_only_the_target_knows_rejects_a_row(world):
    """A check, a foreign key (also one that waits for the commit), a null that may not be, an alphabet, a trigger."""
    world.server.execute("create table cities (n int primary key)")
    world.server.execute("insert into cities values (1)")
    alphabet = " character set latin1" if world.is_mariadb else ""
    world.create(
        columns=COLUMNS.replace("name varchar(10)", f"name varchar(10){alphabet} not null"),
        more=", primary key (customer_id), constraint positive check (amount > 0), foreign key (n) references cities (n)"
        + ("" if world.is_mariadb else " deferrable initially deferred"),
    )
    trigger(world, "if new.name = 'odd1' then {fail} end if")
    world.declare("insert", max_rejected_share=1)
    world.source(
        [
            row("good"),
            row("check", amount="-1"),
            row("city", n="2"),
            row("null", None),
            row("odd", "客户"),
            row("odd1", "odd1"),
        ]
    )
    run()
    found = world.reasons()
    assert "not on our watch" in found["odd1"]
    assert "positive" in found["check"] and "foreign key" in found["city"]
    assert found["null"] == "null where none may be: name"
    assert ("odd" in found) == world.is_mariadb
    assert world.target("customer_id") == ([("good",)] if world.is_mariadb else [("good",), ("odd",)])
    world.server.execute(f"drop table {TABLE}")


def trigger(world, body: str) -> None:
    """A trigger of the target's before an insert."""
    if world.is_mariadb:
        body = body.format(fail="signal sqlstate '45000' set message_text = 'not on our watch';")
        world.server.execute(f"create trigger watch before insert on {TABLE} for each row begin {body}; end")
    else:
        body = body.format(fail="raise exception 'not on our watch';")
        world.server.execute(f"create or replace function watch() returns trigger language plpgsql as $$ begin {body}; "
                             "return new; end $$")  # fmt: skip
        world.server.execute(f"create trigger watch before insert on {TABLE} for each row execute function watch()")


def test_more_rejected_rows_than_allowed_change_nothing(world):
    world.create()
    world.server.execute(f"insert into {TABLE} (customer_id, name, n) values ('c00001', 'a', 9)")
    world.declare("upsert", max_rejected_share=0.1)
    world.source([*people(0, 17), *(bad for bad, _ in list(BAD.values())[:3])])
    said = fails()
    assert f"export {TARGET} of {DAY}: 3 of 20 rows are rejected, 10.0% may be: {TABLE} is as it was" in said
    assert "would be changed: name" in said and f"mdp export show --ds {DAY} --target {TARGET}" in said
    assert world.target() == [("c00001", "a", 9)] and world.marks() == [] and state.exports(DAY) == []
    assert set(world.reasons()) == {"long", "spaces", "letters"}
    home = Path(os.environ["MDP_HOME"])
    shown = mdp("export", "show", "--ds", DAY, "--target", TARGET, home=home).stdout
    assert (
        f"{TARGET}: the export was refused or broke off: 3 rejected rows" in shown
        and '{"customer_id": "long"}' in shown
    )
    world.server.execute(f"alter table {TABLE} {'modify' if world.is_mariadb else 'alter'} name "
                         f"{'varchar(40)' if world.is_mariadb else 'type varchar(40)'}")  # fmt: skip
    run()
    assert world.marks() == [(TARGET, DAY, 19, 1)] and set(world.reasons()) == {"letters"}
    assert world.tables() == {TABLE, "mdp_exports"}


def test_a_table_that_takes_no_row_at_all_is_given_up_early(world, monkeypatch):
    monkeypatch.setattr(staging, "LISTED", 20)
    world.create(columns=COLUMNS + ", needed int not null")
    world.declare("insert")
    world.source(people(0, 3000))
    said = fails()
    assert "at least 21 of 3,000 rows are rejected" in said and "needed" in said
    assert len(world.reasons()) == 21 and world.target() == []


def test_a_dry_run_says_it_and_changes_nothing(world, capsys):
    world.create()
    world.server.execute(f"insert into {TABLE} (customer_id, name, n) values ('c00001', 'a', 9)")
    world.declare("upsert", max_rejected_share=0.5)
    world.source([*people(0, 17), row("long", "x" * 11)])
    assert run(dry_run=True)["rows"] == {TARGET: 17}
    said = capsys.readouterr().out
    assert "17 rows, 1 rejected: 1 × " in said and "nothing was changed" in said
    assert world.target() == [("c00001", "a", 9)] and world.tables() == {TABLE}
    assert state.exports(DAY) == [] and state.rejected_rows(DAY) == [] and not state.is_published("export", DAY)
    world.server.execute(f"drop table {TABLE}")
    world.declare("replace")
    run(dry_run=True)
    assert world.tables() == set()


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_wrong_declarations_and_logins_end_in_a_sentence(world, monkeypatch):
    world.declare("upsert")
    world.source(people(0, 3))
    assert f"there is no table {TABLE} in " in fails()
    world.create(more="")
    assert (
        f"mode upsert needs a unique index on (customer_id) in {TABLE} of {world.server.jdbc_url.split('?')[0]}"
        in fails()
    )
    world.declare("insert", columns=TYPES | {"city": "INT"})
    assert f"table {TABLE} of " in fails() and "has no column city; it has customer_id, name, amount" in fails()
    world.declare("insert", columns={"customer_id": "INT"}, where="customer_id >")
    assert "the condition 'customer_id >' is refused" in fails()
    world.declare("insert", source="marts.nowhere")
    assert "table marts.nowhere does not exist yet" in fails()
    world.server.execute(f"alter table {TABLE} add city int")
    world.declare("insert", columns=TYPES | {"city": "INT"})
    assert f"{SOURCE} has no column city; it has customer_id" in fails()
    world.server.execute("create view seen as select * from people")
    world.declare("insert", table="seen")
    assert "where a write cannot be rolled back" in fails()
    world.server.execute("drop view seen")
    monkeypatch.setenv("MDP_TO_PASSWORD", "hidden-word")
    said = fails()
    assert world.server.jdbc_url.split("?")[0] in said and re.search("Access denied|authentication failed", said)
    assert "hidden-word" not in said and "\n" not in said
    assert not [name for name in world.tables() if name.startswith("mdp_in")]


@pytest.mark.parametrize("world", ["mariadb"], indirect=True)  # PostgreSQL has no such tables
def test_a_table_without_transactions_is_refused(world):
    world.create(end=" engine = MyISAM")
    world.declare("insert")
    world.source(people(0, 3))
    assert "people of jdbc:mariadb" in fails() and "is MyISAM" in fails() and "engine = InnoDB" in fails()


def test_derby_knows_replacement_only(world):
    world.declare("upsert", connection="crm")
    world.source(people(0, 3))
    assert "is embedded Derby, which knows mode replace only, not upsert" in fails()


def test_the_other_targets_are_exported_all_the_same(world):
    world.create()
    world.declare("upsert")
    path = world.folder / "exports.yml"
    block = yaml.safe_load(path.read_text())[TARGET]
    path.write_text(yaml.safe_dump({"a_bad": block | {"table": "nowhere"}, TARGET: block}))
    world.source(people(0, 3))
    with pytest.raises(PlatformError, match="export a_bad: there is no table nowhere"):
        export(DAY)
    assert world.target() == as_target(people(0, 3)) and not state.is_published("export", DAY)


def test_somebody_elses_lock_rejects_no_row(world, monkeypatch):
    monkeypatch.setattr(databases, "LOCK_SECONDS", 1)
    world.create()
    world.server.execute(f"insert into {TABLE} (customer_id, name, n) values ('c00001', 'a', 9)")
    world.declare("upsert", max_rejected_share=1)
    world.source(people(0, 3))
    with world.server.engine.begin() as other:
        other.exec_driver_sql(f"update {TABLE} set n = 10")
        assert re.search("(?i)lock.*run the export again", fails())
    assert world.target() == [("c00001", "a", 10)] and state.rejected_rows(DAY) == []
    run()
    assert world.target() == as_target(people(0, 3))


# -- interruptions ----------------------------------------------------------------------------------------------------

WRONG = [row("long1", "x" * 11), row("dup1"), row("dup1", "y"), row("letters1", n="z"), row(None)]
REASONS = {"long1", "dup1", "letters1", None}
N_ROWS = 12_000


def prepare(world, mode: str, n: int = N_ROWS) -> list[tuple]:
    """A target without any index on the key (a doubled row would stay); returns what it must hold in the end."""
    world.create(more="" if mode in ("insert", "replace") else ", primary key (customer_id)")
    world.server.execute(f"insert into {TABLE} (customer_id, name, n) values ('c00001', 'a', 0), ('other', 'b', 0)")
    rows = people(0, n)
    world.declare(mode, max_rejected_share=0.1)
    world.source([*rows, *WRONG])
    if mode == "replace":
        return as_target(rows)
    if mode == "insert":
        return sorted([*as_target(rows), ("c00001", "a", 0), ("other", "b", 0)], key=lambda r: (r[0], r[2]))
    return [*as_target(rows), ("other", "b", 0)]


def assert_whole(world, expected: list[tuple]) -> None:
    assert world.target() == expected
    n = world.marks()[0][2]
    assert world.marks() == [(TARGET, DAY, n, len(WRONG))]
    assert [(e["target"], e["n_rows"]) for e in state.exports(DAY)] == [(TARGET, n)]
    assert len(state.rejected_rows(DAY)) == len(WRONG) and set(world.reasons()) == REASONS
    assert world.tables() == {TABLE, "mdp_exports"}


@pytest.mark.parametrize(
    ("mode", "place", "name", "when"),
    [
        ("insert", staging, "create", "after"),
        ("insert", filling, "fill", "after"),
        ("insert", staging, "judge", "after"),
        ("insert", publish, "_write", "after"),
        ("upsert", publish, "_write", "after"),
        ("replace", publish, "_write", "after"),
        ("insert", publish, "write_mark", "after"),
        ("insert", publish, "_record", "before"),  # published, but the ledger does not know
        ("replace", publish, "_record", "before"),
        ("insert", staging, "drop", "before"),
    ],
)
def test_a_stop_at_any_point_is_repaired_by_the_next_run(world, monkeypatch, mode, place, name, when):
    expected = prepare(world, mode, 60)
    before = world.target()
    real, calls = getattr(place, name), []

    def dies(*arguments, **more):
        calls.append(name)
        if name == "drop" and len(calls) == 1:  # what earlier runs left, before this one begins
            return real(*arguments, **more)
        if when == "after":
            real(*arguments, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(place, name, dies)
        run()
    published = name in ("_record", "drop")
    assert calls and world.target() == (expected if published else before)
    run()
    assert_whole(world, expected)
    run()
    assert_whole(world, expected)


def typed() -> subprocess.Popen:
    """`mdp export` in a process of its own."""
    command = [str(Path(sys.executable).parent / "mdp"), "export", "--ds", DAY, "--target", TARGET]
    return subprocess.Popen(
        command, cwd=PROJECT, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture(scope="module")
def undisturbed() -> dict[bool, float]:
    """What `seconds` has measured, by server."""
    return {}


@pytest.fixture
def seconds(world, undisturbed) -> float:
    """How long an undisturbed export of this size takes, by the command line."""
    if world.is_mariadb in undisturbed:
        return undisturbed[world.is_mariadb]
    prepare(world, "insert")
    started = time.monotonic()
    assert typed().wait(timeout=300) == 0
    taken = undisturbed[world.is_mariadb] = time.monotonic() - started
    for name in world.tables():
        world.server.execute(f"drop table {name}")
    state.record_export(DAY, TARGET, 0, "")
    return taken


def wait_for_a_moment(world, process, seconds: float, draw: random.Random, known: set[str]) -> str:
    """Let the export go on until some moment of its life, or of its short transaction; returns which."""
    if draw.random() < 0.5:
        after = draw.uniform(0.3, 1.0) * seconds
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=after)
        return f"{after:.1f} s of {seconds:.1f} s"
    judged = 0
    while judged < N_ROWS and process.poll() is None:
        for name in [name for name in world.tables() - known if name.startswith("mdp_ok")]:
            with contextlib.suppress(sa.exc.DBAPIError):  # dropped in between
                ((judged,),) = world.server.execute(f"select count(*) from {name}")
        time.sleep(0.01)
    after = draw.uniform(0, 0.8)
    time.sleep(after)
    return f"{after:.2f} s of the transaction"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mode", ["insert", "upsert", "replace"])
def test_a_killed_export_is_repaired_by_the_next_run(world, seconds, seed, mode):
    expected, draw = prepare(world, mode), random.Random(seed)
    before = world.target()
    for _ in range(4):
        known = world.tables()
        process = typed()
        moment = wait_for_a_moment(world, process, seconds, draw, known)
        process.send_signal(signal.SIGKILL)
        said = process.communicate()[0].strip()
        found = world.target()
        left = sorted(name for name in world.tables() if re.match("mdp_(in|ok)", name))
        print(
            f"\nseed {seed} {mode}: killed after {moment}, exit {process.returncode}; {len(found)} rows; left {left} {said}"
        )
        assert found in (before, expected), f"half an export is visible: {len(found)} rows"
        if found == expected:
            break
    last = typed()
    assert last.wait(timeout=300) == 0, last.stdout.read()
    run()
    assert_whole(world, expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_database_server_loses_and_doubles_nothing(world, seconds, seed):
    expected, draw = prepare(world, "insert"), random.Random(seed)
    for _ in range(3):
        known = world.tables()
        process = typed()
        moment = wait_for_a_moment(world, process, seconds, draw, known)
        world.server.kill()
        said = process.communicate(timeout=300)[0].strip()
        world.server.restart()
        print(
            f"\nseed {seed}: server killed after {moment}, exit {process.returncode}; {len(world.target())} rows; {said}"
        )
        assert process.returncode == 0 or re.search(rf"error: .*export {TARGET}: .*run the export again", said), said
        assert "Traceback" not in said and world.server.password not in said
    last = typed()
    assert last.wait(timeout=300) == 0, last.stdout.read()
    assert_whole(world, expected)


@pytest.mark.parametrize("mode", ["replace", "upsert"])
def test_a_reader_sees_the_day_before_or_the_whole_day(world, mode):
    world.create()
    world.declare(mode)
    world.source(people(0, 12_000, "old"))
    run()
    seen, stop = Counter(), threading.Event()

    def read():
        with world.server.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
            while not stop.is_set():
                query = f"select count(*), min(name), max(name) from {TABLE}"
                seen[tuple(other.exec_driver_sql(query).one())] += 1
                time.sleep(0.005)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        world.source(people(0, 12_000, "new"))
        run()
        time.sleep(0.1)
    finally:
        stop.set()
        reader.join()
    print(f"\n{mode}: {dict(seen)}")
    assert set(seen) == {(12_000, "old", "old"), (12_000, "new", "new")} and seen[12_000, "old", "old"] > 20
