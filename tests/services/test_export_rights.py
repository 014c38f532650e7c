"""Exports by a login that may do little: what works without the right to make tables, and what a missing right comes to."""

import re
import signal
import subprocess
import sys

import pytest
import sqlalchemy as sa

from ingestion import filling, publish, staging
from ingestion.export import export
from ingestion.rights import OF_MARKS, OF_MODE
from tests.conftest import PROJECT
from tests.services.exports import DAY, NEXT, TABLE, TARGET, as_target, fails, people, row, run
from warehouse import state

pytestmark = [pytest.mark.services, pytest.mark.engine]

MODES = list(OF_MODE)
WRONG = [row("long", "x" * 11), row("twice"), row("twice", "y"), row("letters", n="z"), row(None)]
REASONS = {"long", "twice", "letters", None}
N_ROWS = 12_000


class Login:
    """A login of the target's database that may do nothing yet; who asks is told by `granted_to`."""

    def __init__(self, world):
        self.world = world
        self.name = "'app'@'%'" if world.is_mariadb else "app"
        self.schema = "mdp" if world.is_mariadb else "public"
        self.engine = sa.create_engine(
            world.server.engine.url.set(username="app", password="little"), poolclass=sa.NullPool
        )

    def grant(self, rights, table: str = TABLE) -> None:
        on = f"mdp.{table}" if self.world.is_mariadb else table
        self.world.server.execute(f"grant {', '.join(rights)} on {on} to {self.name}")

    def may_stage_in_session(self) -> None:
        """What PostgreSQL grants to all, and MariaDB to nobody."""
        right = "create temporary tables on mdp.*" if self.world.is_mariadb else "temporary on database mdp"
        self.world.server.execute(f"grant {right} to {self.name}")

    def obey(self, said: str) -> list[str]:
        """Run, as the administrator, what each sentence of a message asks for, as it stands there; returns the statements."""
        statements = []
        for sentence in said.split("\n"):
            found = re.fullmatch(r"(?:error: )?export \w+: login \S+ of jdbc:\S+ lacks .* has to run: (.*)", sentence)
            assert found, said
            statements += found[1].split("; ")
        for statement in statements:
            self.world.server.execute(statement)
        return statements


@pytest.fixture
def login(world, monkeypatch):
    """The login `app`, by which the export goes in; it may enter and no more, also not what PostgreSQL gives to all."""
    if world.is_mariadb:
        world.server.execute("create user 'app'@'%' identified by 'little'")
    else:
        world.server.execute("create role app login password 'little'")
        world.server.execute("revoke temporary on database mdp from public")
        world.server.execute("revoke create on schema public from public")
    monkeypatch.setenv("MDP_TO_USER", "app")
    monkeypatch.setenv("MDP_TO_PASSWORD", "little")
    made = Login(world)
    if world.is_mariadb:  # else it could not even enter
        world.server.execute("create table entrance (n int)")
        made.grant(["select"], "entrance")
    yield made
    if world.is_mariadb:
        world.server.execute("drop user 'app'@'%'")
    else:
        world.server.execute("drop owned by app")
        world.server.execute("drop role app")
        world.server.execute("grant temporary on database mdp to public")
    world.server.execute("drop table if exists entrance")


def prepare(world, login: Login, mode: str, n: int = N_ROWS) -> list[tuple]:
    """A target, its marks and a login with the rights of the mode and none to make tables that stay.

    Returns what the table must hold in the end.
    """
    world.create(more="" if mode in ("insert", "replace") else ", primary key (customer_id)")
    keys = [f"c{i:05}" for i in range(n)] if mode == "update" else ["c00001"]
    insert = f"insert into {TABLE} (customer_id, name, n) values (:k, 'a', 0)"
    world.server.execute(insert, *({"k": key} for key in [*keys, "other"]))
    login.grant(OF_MODE[mode])
    login.may_stage_in_session()
    rows = people(0, n)
    world.declare(mode, max_rejected_share=0.1)
    world.source([*rows, *WRONG])
    login.obey(fails())  # the table of marks
    rest = {"replace": [], "insert": [("c00001", "a", 0), ("other", "b", 0)]}.get(mode, [("other", "b", 0)])
    return sorted([*as_target(rows), *((key, "a", n) for key, _, n in rest)], key=lambda r: (r[0], r[2]))


def assert_whole(world, expected: list[tuple], n: int) -> None:
    assert world.target() == expected
    assert world.marks() == [(TARGET, DAY, n, len(WRONG))]
    assert [(e["target"], e["n_rows"]) for e in state.exports(DAY)] == [(TARGET, n)]
    assert len(state.rejected_rows(DAY)) == len(WRONG) and set(world.reasons()) == REASONS
    assert world.tables() - {"entrance"} == {TABLE, "mdp_exports"}


# -- without the right to make tables ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_works_without_the_right_to_make_tables(world, login, mode, capsys):
    expected = prepare(world, login, mode)
    before = world.target()
    assert run(dry_run=True)["rows"] == {TARGET: N_ROWS}
    assert world.target() == before and world.marks() == [] and state.rejected_rows(DAY) == []
    assert run()["rows"] == {TARGET: N_ROWS}
    assert_whole(world, expected, N_ROWS)
    assert "5 rejected: 2 × duplicate_key_in_export" in capsys.readouterr().out
    with login.engine.connect() as connection, pytest.raises(sa.exc.DBAPIError, match="denied"):
        connection.exec_driver_sql("create table more (n int)")
    seen = world.server.execute("select exported_at from mdp_exports")
    run()
    assert "exported before: nothing was changed" in capsys.readouterr().out
    assert_whole(world, expected, N_ROWS)
    assert world.server.execute("select exported_at from mdp_exports") == seen
    world.source(people(0, 3), NEXT)
    assert export(NEXT, TARGET)["rows"] == {TARGET: 3}
    assert len(world.marks()) == 2


def test_what_only_the_write_finds_is_rejected_too(world, login):
    """A unique index that is not the key: the batch is rolled back to its savepoint and halved, temporary tables and all."""
    world.create(more=", primary key (customer_id), unique (name)")
    world.server.execute(f"insert into {TABLE} (customer_id, name, n) values ('old', 'taken', 1)")
    login.grant(OF_MODE["upsert"])
    login.may_stage_in_session()
    world.declare("upsert", max_rejected_share=0.8)
    world.source(
        [row("new", "taken", n="2"), row("a", "mine", n="3"), row("b", "mine", n="4"), row("old", "taken", n="5")]
    )
    login.obey(fails())
    run()
    assert world.target() == [("a", "mine", 3), ("old", "taken", 5)]
    assert set(world.reasons()) == {"b", "new"} and all("uplicate" in why for why in world.reasons().values())


def test_too_many_rejected_rows_change_nothing(world, login):
    prepare(world, login, "upsert", 20)
    before = world.target()
    said = fails()
    assert f"export {TARGET} of {DAY}: 5 of 25 rows are rejected, 10.0% may be: {TABLE} is as it was" in said
    assert world.target() == before and world.marks() == [] and set(world.reasons()) == REASONS


def test_grants_on_columns_are_enough(world, login):
    """PostgreSQL and MariaDB both know them; the export names all columns that it touches."""
    world.create()
    world.server.execute(f"insert into {TABLE} (customer_id, name, n) values ('c00001', 'a', 9)")
    world.types = {"customer_id": "VARCHAR(8)", "n": "INT"}
    login.grant(["select (customer_id, n)", "update (n)"])
    login.may_stage_in_session()
    world.declare("update")
    world.source([("c00001", 5)], schema="customer_id string, n int")
    login.obey(fails())
    run()
    assert world.target() == [("c00001", "a", 5)]
    world.types = {"customer_id": "VARCHAR(8)", "n": "INT", "name": "VARCHAR(10)"}
    world.declare("update")
    world.source([("c00001", 6, "b")], schema="customer_id string, n int, name string")
    assert "lacks select, update on table" in fails()


@pytest.mark.parametrize("world", ["mariadb"], indirect=True)  # on PostgreSQL a table is its maker's
def test_a_right_to_create_that_is_no_right_to_use_is_none(world, login):
    """MariaDB: who may create tables in a database may not, for that, write into them or drop them."""
    prepare(world, login, "upsert")
    world.server.execute(f"grant create on mdp.* to {login.name}")
    run()
    assert world.tables() - {"entrance"} == {TABLE, "mdp_exports"}
    world.source(people(0, 3))
    world.server.execute(f"grant select, insert, update, delete on mdp.* to {login.name}")
    run()
    assert world.tables() - {"entrance"} == {TABLE, "mdp_exports"}, "tables that nobody may drop again"


# -- missing rights ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_every_missing_right_gets_a_sentence_that_grants_it(world, login, mode):
    world.create()
    world.server.execute(f"insert into {TABLE} (customer_id, name, n) values ('c00001', 'a', 9)")
    world.declare(mode, max_rejected_share=1)
    world.source(people(0, 3))
    said = fails()
    where, address = f"{login.schema}.{TABLE}", world.server.jdbc_url.split("?")[0]
    who = f"export {TARGET}: login {login.name} of {address} lacks "
    assert said.count("\n") == 2 and all(line.startswith(who) for line in said.split("\n")), said
    rights = ", ".join(OF_MODE[mode])
    if mode == "replace" and world.is_mariadb:  # which does not tell whether there is a table that one may not see
        rights = f"create, {rights}"
    assert f"lacks {rights} on table {where}" in said and f"run: grant {rights} on {where} to {login.name}\n" in said
    assert "lacks create on" in said and "create table if not exists" in said.lower()
    assert re.search(
        "lacks (temporary on database mdp|create temporary tables on mdp[.][*]), where rows are staged", said
    )
    assert world.tables() - {"entrance"} == {TABLE}, "nothing is done before"
    login.obey(said)
    run()
    for table, needed in ((TABLE, OF_MODE[mode]), ("mdp_exports", OF_MARKS)):
        for right in needed:
            world.server.execute(f"revoke {right} on {table} from {login.name}")
            said = fails()
            assert f"lacks {right} on table {login.schema}.{table}; " in said, (said, right)
            assert login.obey(said) == [f"grant {right} on {login.schema}.{table} to {login.name}"]
    world.source(people(0, 4))
    if mode != "insert":
        run()


@pytest.mark.parametrize("world", ["postgres"], indirect=True)  # MariaDB's schemas are databases
def test_a_schema_that_may_not_be_used_is_named(world, login):
    world.server.execute("create schema crm")
    try:
        world.server.execute(f"create table crm.{TABLE} (customer_id varchar(8) primary key, n int)")
        world.types = {"customer_id": "VARCHAR(8)", "n": "INT"}
        world.declare("upsert", table=f"crm.{TABLE}")
        world.source([("c1", 1)], schema="customer_id string, n int")
        world.server.execute("revoke usage on schema public from public")
        assert login.obey(fails()) == ["grant usage on schema public to app"]
        assert login.obey(fails()) == ["grant usage on schema crm to app"]
        login.obey(fails())
        run()
        assert world.server.execute(f"select * from crm.{TABLE}") == [("c1", 1)]
    finally:
        world.server.execute("grant usage on schema public to public")
        world.server.execute("drop schema crm cascade")


def test_a_table_that_is_missing_is_made_by_those_who_may(world, login):
    world.declare("upsert")
    world.source(people(0, 3))
    login.may_stage_in_session()
    said = fails()
    assert ("(if there is such a table)" in said) == world.is_mariadb, said  # MariaDB does not tell who may not see it
    world.declare("replace")
    said = fails()
    assert (
        "only if mode replace has to make it" if world.is_mariadb else f"replace would make {TABLE}; "
    ) in said and fails(dry_run=True) == said
    assert world.tables() - {"entrance"} == set()
    done = login.obey(said)
    assert done[0] == (
        f"grant create, select, insert, delete on mdp.{TABLE} to {login.name}"
        if world.is_mariadb
        else "grant create on schema public to app"
    )
    run()
    assert world.target() == as_target(people(0, 3))
    assert world.tables() - {"entrance"} == {TABLE, "mdp_exports"}


# -- interruptions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "place", "name", "when"),
    [
        ("insert", staging, "create", "after"),
        ("insert", filling, "fill", "after"),
        ("insert", staging, "judge", "after"),
        ("upsert", publish, "_write", "after"),
        ("replace", publish, "_write", "after"),
        ("insert", publish, "write_mark", "after"),
        ("insert", state, "record_rejected", "after"),
        ("insert", publish, "_record", "before"),  # published, but the ledger does not know
        ("update", publish, "_record", "before"),
    ],
)
def test_a_stop_at_any_point_is_repaired_by_the_next_run(world, login, monkeypatch, mode, place, name, when):
    expected = prepare(world, login, mode, 60)
    before = world.target()
    real = getattr(place, name)

    def dies(*arguments, **more):
        if when == "after":
            real(*arguments, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(place, name, dies)
        run()
    assert world.target() == (expected if name == "_record" else before) and state.exports(DAY) == []
    for _ in range(2):
        run()
        assert_whole(world, expected, 60)


@pytest.mark.parametrize("mode", ["insert", "upsert"])
def test_a_kill_loses_and_doubles_nothing(world, login, mode):
    """By the system, in a process of its own: just before the commit, then between commit and ledger."""
    expected = prepare(world, login, mode)
    before = world.target()
    for name in ("record_rejected", "_record"):
        dies = (
            "import os, signal; from ingestion import export, publish; from warehouse import state\n"
            f"{'publish' if name == '_record' else 'state'}.{name} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
            f"export.export({DAY!r}, {TARGET!r})"
        )
        killed = subprocess.run([sys.executable, "-c", dies], cwd=PROJECT, capture_output=True, text=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert world.target() == (expected if name == "_record" else before) and state.exports(DAY) == []
    for _ in range(2):
        run()
        assert_whole(world, expected, N_ROWS)
