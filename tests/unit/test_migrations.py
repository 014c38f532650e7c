"""The state database of an older version, of a newer one, and none at all, when it is opened."""

import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from tests.conftest import PROJECT
from warehouse import migrations, state
from warehouse.errors import PlatformError

BEFORE = (Path(__file__).parent / "state_before_versions.sql").read_text()
ROWS = [line for line in BEFORE.splitlines() if line.startswith("INSERT")]
OPEN = "from warehouse import state; import sys; state.engine(); print(*[m for m in sys.modules if m == 'alembic'])"


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The file of a SQLite state database that is not there yet."""
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    return tmp_path / "state.db"


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, monkeypatch):
    """An engine of an empty state database, of each kind."""
    if request.param == "sqlite":
        yield sa.create_engine(f"sqlite:///{request.getfixturevalue('file')}", poolclass=sa.NullPool)
        return
    server, name = request.getfixturevalue("postgres").engine, f"state_{uuid.uuid4().hex[:8]}"
    with server.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"create database {name}"))
        url = server.url.set(database=name)
        monkeypatch.setenv("MDP_STATE_URL", url.render_as_string(hide_password=False))
        yield sa.create_engine(url, poolclass=sa.NullPool)
        connection.execute(sa.text(f"drop database {name} with (force)"))


def bring_to(engine: sa.Engine, revision: str) -> None:
    """Make of an empty database one that the code of `revision` left."""
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(migrations.HERE))
        command.upgrade(config, revision)


def tables(engine: sa.Engine) -> dict[str, list]:
    """Table → its rows, but for the version."""
    names = [name for name in sa.inspect(engine).get_table_names() if name != migrations.VERSION_TABLE]
    with engine.connect() as connection:
        return {name: connection.execute(sa.text(f"select * from {name}")).all() for name in names}


def held(tables: dict) -> dict:
    """Those that hold rows: a later version may have more tables."""
    return {name: rows for name, rows in tables.items() if rows}


def version(engine: sa.Engine) -> str:
    with engine.connect() as connection:
        return connection.scalar(sa.text("select version_num from mdp_version"))


def test_the_tables_of_the_code_are_those_of_the_migrations(database):
    with state.engine().connect() as connection:
        assert sa.inspect(connection).has_table("gate_verdicts")
        context = MigrationContext.configure(connection, opts={"version_table": migrations.VERSION_TABLE})
        assert compare_metadata(context, state.metadata) == []
    assert version(database) == migrations.HEAD


def test_a_home_from_before_versions_keeps_its_rows_and_is_copied_first(file, capsys):
    with closing(sqlite3.connect(file)) as old:
        old.executescript(BEFORE)
    file.chmod(0o640)
    before = tables(sa.create_engine(f"sqlite:///{file}"))
    assert sum(map(len, before.values())) == len(ROWS) == 11

    assert held(tables(state.engine())) == held(before)
    assert version(state.engine()) == migrations.HEAD and state.is_published("marts", "2026-03-01")
    copy = file.with_name(f"state.db.before-{migrations.HEAD}")
    assert capsys.readouterr().err == (
        f"the state database was upgraded from version none to {migrations.HEAD}; as it was before: {copy}\n"
    )
    kept = sa.create_engine(f"sqlite:///{copy}")
    assert tables(kept) == before and not sa.inspect(kept).has_table(migrations.VERSION_TABLE)
    assert copy.stat().st_mode & 0o777 == 0o640


def test_a_database_of_each_earlier_version_keeps_its_rows(database, capsys):
    earlier = migrations.KNOWN[:-1]
    assert earlier
    for revision in earlier:
        with database.begin() as connection:
            for name in sa.inspect(connection).get_table_names():
                connection.execute(sa.text(f"drop table {name}"))
        bring_to(database, revision)
        with database.begin() as connection:
            for row in ROWS:
                connection.exec_driver_sql(row.replace("%", "%%"))
        before = tables(database)
        state._engine.cache_clear()
        assert held(tables(state.engine())) == held(before) and sum(map(len, before.values())) == len(ROWS)
        assert f"was upgraded from version {revision} to {migrations.HEAD}" in capsys.readouterr().err
        assert version(database) == migrations.HEAD
    verdict = dict(table_name="raw.a", rule="r", success=True, observed=None, expected=None, sample=None)
    state.record_verdicts("2026-03-02", "raw", [verdict | dict(column_name="c" * 200)])
    assert state.verdicts("2026-03-02")[0]["column_name"] == "c" * 200


def test_what_is_not_ours_is_neither_copied_nor_spoken_of(database, capsys):
    with database.begin() as connection:
        connection.execute(sa.text("create table alembic_version (version_num varchar(32))"))
        connection.execute(sa.text("insert into alembic_version values ('theirs')"))
    assert state.newest("raw") is None and version(database) == migrations.HEAD
    assert tables(database)["alembic_version"] == [("theirs",)]
    assert capsys.readouterr().err == ""
    if database.name == "sqlite":
        assert not list(Path(database.url.database).parent.glob("*before*"))


def test_a_database_of_a_newer_version_is_left_alone(database):
    state.publish("raw", ["2026-03-01"])
    with database.begin() as connection:
        connection.execute(sa.text("update mdp_version set version_num = '9001'"))
    state._engine.cache_clear()
    with pytest.raises(PlatformError, match=r"written by a newer version of the platform \(9001, this one knows \d+\)"):
        state.engine()
    assert version(database) == "9001" and len(tables(database)["published_days"]) == 1


def test_six_tasks_that_come_at_once_upgrade_once(database):
    bring_to(database, migrations.KNOWN[0])
    tasks = [
        subprocess.Popen([sys.executable, "-c", OPEN], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(6)
    ]
    said = [task.communicate(timeout=60)[1].decode() for task in tasks]
    assert [task.returncode for task in tasks] == [0] * 6, said
    assert sum("was upgraded" in text for text in said) == 1, said
    assert version(database) == migrations.HEAD


def test_an_upgrade_that_fails_changes_nothing_and_can_be_repeated(file):
    with closing(sqlite3.connect(file)) as old:
        old.executescript(BEFORE)
        old.execute("create table _alembic_tmp_gate_verdicts (in_the_way text)")
    engine = sa.create_engine(f"sqlite:///{file}")
    before = tables(engine)
    with pytest.raises(
        PlatformError, match=r"cannot be brought to version \d+ \(.*already exists\).*nothing was changed"
    ):
        state.engine()
    assert tables(engine) == before and not sa.inspect(engine).has_table(migrations.VERSION_TABLE)
    with closing(sqlite3.connect(file)) as old:
        old.execute("drop table _alembic_tmp_gate_verdicts")
    assert state.newest("marts") == "2026-03-01" and version(engine) == migrations.HEAD


def test_without_a_copy_nothing_is_upgraded(file):
    with closing(sqlite3.connect(file)) as old:
        old.executescript(BEFORE)
    in_the_way = file.with_name(f"state.db.before-{migrations.HEAD}")
    in_the_way.mkdir()
    with pytest.raises(PlatformError, match="cannot be copied beside itself .*nothing was changed"):
        state.engine()
    assert not sa.inspect(sa.create_engine(f"sqlite:///{file}")).has_table(migrations.VERSION_TABLE)
    in_the_way.rmdir()


def test_a_task_that_finds_nothing_to_do_does_not_load_alembic(file):
    for expected in ("alembic", ""):
        done = subprocess.run([sys.executable, "-c", OPEN], cwd=PROJECT, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, expected, "")
