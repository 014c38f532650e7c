"""The versions of the state database: a home made by an older version is brought up to date when it is first used.

Each change of the schema is a revision in `versions/`, named `<number>_<what>.py`, for Alembic; a test holds the tables of
warehouse/state.py to them. All that are missing run in one transaction, by one process at a time, after the SQLite file was
copied beside itself. Every task opens the database, so where nothing is to be done only the version is read, and Alembic
is not imported.
"""

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from warehouse.errors import PlatformError

VERSION_TABLE = "mdp_version"  # the database may be shared with others that have an alembic_version
HERE = Path(__file__).parent
KNOWN = tuple(sorted(path.name.split("_")[0] for path in (HERE / "versions").glob("[0-9]*.py")))
HEAD = KNOWN[-1]
OURS = {"facts", "loads", "files", "published_days"}  # what every home has had since the first
LOCK = int.from_bytes(b"mdpstate")  # PostgreSQL names an advisory lock by a number


def migrate(engine: sa.Engine) -> None:
    """Run the revisions that the database lacks; PlatformError if it is newer than this code, or one cannot be run.

    The caller keeps other processes away from a SQLite file.
    """
    with engine.begin() as connection:
        if _version(connection) == HEAD:
            return
        _begin_alone(connection)
        version = _version(connection)  # another process may have been faster
        if version == HEAD:
            return
        is_ours = OURS <= {*sa.inspect(connection).get_table_names()}
        kept = _copy(engine) if is_ours and engine.dialect.name == "sqlite" else None
        _upgrade(connection)
    if is_ours:
        before = f"; as it was before: {kept}" if kept else ""
        print(f"the state database was upgraded from version {version or 'none'} to {HEAD}{before}", file=sys.stderr)


def _version(connection: sa.Connection) -> str | None:
    """The revision that the database has; None if it has no versions yet, PlatformError if this code does not know it."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    version = connection.scalar(sa.text(f"select version_num from {VERSION_TABLE}"))
    if version is None or version in KNOWN:
        return version
    raise PlatformError(
        f"the state database ({connection.engine.url!r}) was written by a newer version of the platform ({version}, this one "
        f"knows {HEAD}): use that one, or put back the copy of the database that was kept when it was upgraded"
    )


def _begin_alone(connection: sa.Connection) -> None:
    """Hold back other processes until the transaction ends."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("begin immediate")  # Python's driver begins none before it changes a table
    elif connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))


def _copy(engine: sa.Engine) -> Path:
    """The SQLite file, with what its log holds, copied beside it under the version that is coming."""
    path = Path(engine.url.database)
    copy = path.with_name(f"{path.name}.before-{HEAD}")
    half = copy.with_name(f".{copy.name}.half")
    try:
        half.unlink(missing_ok=True)
        half.touch(path.stat().st_mode & 0o777)
        with closing(sqlite3.connect(path)) as there, closing(sqlite3.connect(half)) as here:
            there.backup(here)
        os.replace(half, copy)
    except (OSError, sqlite3.Error) as error:
        half.unlink(missing_ok=True)
        raise PlatformError(
            f"the state database {path} cannot be copied beside itself before it is upgraded ({error}): make room there, "
            "then run again; nothing was changed"
        ) from None
    return copy


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(HERE).replace("%", "%%"))
    try:
        command.upgrade(config, "head")
    except sa.exc.DBAPIError as error:
        raise PlatformError(
            f"the state database ({connection.engine.url!r}) cannot be brought to version {HEAD} ({error.orig}): mend what is "
            "named, then run again; nothing was changed"
        ) from None
