"""Two tables beside the target, for one run: the rows as they came from Spark, as texts, and those that passed, as values.

`mdp_in_…` takes whatever comes. From there the database itself converts each row into `mdp_ok_…`, whose columns are the
target's: what does not convert, or would not be the same afterwards, is rejected there with its reason, before the target
is touched. Their names carry the run's own token, so that a writer that outlives its killed run meets no newer run. For a
login that may make no tables both are temporary: the run's one session has them, and fills the first itself.
"""

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from ingestion.destination import BYTES, CLOCKS, FLOATS, MOMENTS, MYSQL, NUMBERS, TEXTS, Destination, named
from warehouse.databases import is_row_fault, reason

ROW, REASON = "mdp_row", "mdp_reason"
BATCH_ROWS = 5_000
LISTED = 1_000  # rejected rows after which an export that fails anyway looks for no more
DUPLICATE, NO_KEY = "duplicate_key_in_export", "null_key"

CLOCK = r"^[0-9]{2,3}:[0-9]{2}:[0-9]{2}([.][0-9]{1,6})?$"  # MariaDB takes 1234 for twelve minutes past midnight


@dataclass
class Staged:
    """The two tables of a run, the number of rows in the first, and how many were rejected so far."""

    place: Destination
    incoming: sa.TableClause
    passed: sa.TableClause
    n_rows: int
    n_rejected: int = field(default=0)

    @property
    def n_allowed(self) -> int:
        return int(self.place.target.max_rejected_share * self.n_rows)


class TooManyRejected(Exception):
    """More rows were rejected than the target allows: what was written is to be rolled back."""


# -- the tables -------------------------------------------------------------------------------------------------------


def create(place: Destination, connection: sa.Connection, ds: str, n_rows: int) -> Staged:
    """Make both tables, empty, under names that no run had."""
    target = place.target
    run = f"{target.name}_{ds.replace('-', '')}_{secrets.token_hex(4)}"
    text = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
    incoming = sa.Table(
        f"mdp_in_{run}",
        sa.MetaData(),
        sa.Column(ROW, sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column(REASON, sa.String(255)),
        *[sa.Column(name, text) for name in target.columns],
        schema=None if place.is_temporary else place.schema,
        prefixes=["temporary"] if place.is_temporary else [],
        **MYSQL,
    )
    staged = Staged(
        place, _table(place, incoming.name, ROW, REASON, *target.columns),
        _table(place, f"mdp_ok_{run}", ROW, *target.columns), n_rows,
    )  # fmt: skip
    incoming.create(connection)
    types = sa.select(staged.incoming.c[ROW], *[place.table.c[name] for name in target.columns])
    types = types.select_from(staged.incoming.join(place.table, sa.true())).where(sa.false())
    passed = connection.dialect.identifier_preparer.format_table(staged.passed)
    made = types.compile(connection, compile_kwargs={"literal_binds": True})
    kind = "temporary table" if place.is_temporary else "table"
    if place.is_mysql:
        connection.exec_driver_sql(f"create {kind} {passed} (primary key ({ROW})) engine = InnoDB as {made}")
    else:
        connection.exec_driver_sql(f"create {kind} {passed} as {made}")
        connection.exec_driver_sql(f"alter table {passed} add primary key ({ROW})")
    connection.commit()
    return staged


def _table(place: Destination, name: str, *columns: str) -> sa.TableClause:
    """A table of the run for SQL: a temporary one is of no schema that could be named."""
    schema = None if place.is_temporary else place.schema
    return sa.table(name, *[sa.column(column) for column in columns], schema=schema)


def left_behind(place: Destination) -> list[str]:
    """The tables of runs of this target that are still there."""
    ours = re.compile(rf"mdp_(in|ok)_{place.target.name}_\d{{8}}_[0-9a-f]{{8}}")
    return [name for name in sa.inspect(place.engine).get_table_names(place.schema) if ours.fullmatch(name)]


def drop(place: Destination, names: list[str]) -> None:
    """Drop tables of runs; one that a dying session still holds is left, with a line, for the next run."""
    with place.engine.connect() as connection:
        waits = "set session lock_wait_timeout = 5" if place.is_mysql else "set lock_timeout = '5s'"
        connection.exec_driver_sql(waits)
        connection.commit()
        for name in names:
            table = connection.dialect.identifier_preparer.format_table(named(place, name))
            try:
                connection.exec_driver_sql(f"drop table if exists {table}")
                connection.commit()
            except sa.exc.DBAPIError as error:
                print(f"  {place.target.name:<20} {name} stays until the next run ({reason(error)})", flush=True)
                if error.connection_invalidated:
                    return
                connection.rollback()


# -- rows that end here -----------------------------------------------------------------------------------------------


def judge(staged: Staged, connection: sa.Connection) -> None:
    """Copy into the second table what the target's columns can take as it is; reject the other rows.

    Raises TooManyRejected; what was found by then is in the first table.
    """
    incoming, target = staged.incoming, staged.place.target
    staged.n_rejected = connection.scalar(sa.select(sa.func.count(incoming.c[REASON])))
    _reject_where(staged, connection, sa.or_(*[incoming.c[name].is_(None) for name in target.key]), NO_KEY)
    for name in target.columns:
        if not staged.place.columns[name].is_nullable:
            _reject_where(staged, connection, incoming.c[name].is_(None), f"null where none may be: {name}")
    for ids in _batches(connection, incoming, incoming.c[REASON].is_(None)):
        settle(
            staged, connection, ids, lambda part: _convert(staged, connection, part),
            lambda row, error: _with_column(staged, connection, row, error),
        )  # fmt: skip
        reject(staged, connection, _changed(staged, connection, ids))
        connection.commit()
    _reject_duplicates(staged, connection)
    connection.commit()
    if not staged.place.is_mysql:
        connection.exec_driver_sql(
            f"analyze {connection.dialect.identifier_preparer.format_table(staged.passed)}"
        )  # else the planner takes a full table for an empty one
        connection.commit()


def within(table: sa.TableClause, ids: list[int]):
    """The condition for a batch, or a half of one: ids ascend, and what lies between them belongs to it."""
    return table.c[ROW].between(ids[0], ids[-1])


def passed_batches(staged: Staged, connection: sa.Connection):
    """The rows that are still in, as lists of ascending row numbers."""
    return _batches(connection, staged.passed, sa.true())


def _batches(connection: sa.Connection, table: sa.TableClause, condition):
    row = table.c[ROW]
    after = -1
    while True:
        query = sa.select(row).where(row > after, condition).order_by(row).limit(BATCH_ROWS)
        ids = list(connection.scalars(query))
        if not ids:
            return
        yield ids
        after = ids[-1]


def settle(
    staged: Staged,
    connection: sa.Connection,
    ids: list[int],
    act: Callable[[list[int]], dict[int, str]],
    say: Callable[[int, sa.exc.DBAPIError], str] = lambda row, error: reason(error),
) -> None:
    """Do `act` for the rows `ids`; if it fails on a row's values, halve down to the rows that it fails on.

    `act` returns row → reason for rows that it left out; those and the failing ones are rejected, these as `say` has it.
    An error that is no row's fault (a deadlock, a lost connection) goes on to the caller: then nothing of the transaction
    may stay.
    """
    parts = [ids]
    while parts:
        part = parts.pop()
        connection.exec_driver_sql("savepoint mdp_batch")
        try:
            found = act(part)
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated or not is_row_fault(error):
                raise
            connection.exec_driver_sql("rollback to savepoint mdp_batch")
            if len(part) > 1:
                half = len(part) // 2
                parts += [part[half:], part[:half]]
                continue
            found = {part[0]: say(part[0], error)}
        connection.exec_driver_sql("release savepoint mdp_batch")
        reject(staged, connection, found)


def reject(staged: Staged, connection: sa.Connection, found: dict[int, str]) -> None:
    """Mark rows as rejected and take them out of the second table; TooManyRejected beyond what the target allows."""
    by_reason: dict[str, list[int]] = {}
    for row, why in found.items():
        by_reason.setdefault(why, []).append(row)
    for why, rows in by_reason.items():
        mark = staged.incoming.update().values({REASON: why[:255]})
        for start in range(0, len(rows), BATCH_ROWS):
            some = rows[start : start + BATCH_ROWS]
            connection.execute(mark.where(staged.incoming.c[ROW].in_(some)))
            connection.execute(staged.passed.delete().where(staged.passed.c[ROW].in_(some)))
    _count(staged, len(found))


def _count(staged: Staged, n: int) -> None:
    staged.n_rejected += n
    if staged.n_rejected > max(staged.n_allowed, LISTED):
        raise TooManyRejected


def _reject_where(staged: Staged, connection: sa.Connection, condition, why: str) -> None:
    mark = staged.incoming.update().values({REASON: why}).where(condition, staged.incoming.c[REASON].is_(None))
    _count(staged, connection.execute(mark).rowcount)


def _convert(staged: Staged, connection: sa.Connection, ids: list[int]) -> dict[int, str]:
    incoming, names = staged.incoming, list(staged.place.target.columns)
    values = [_value(staged, name) for name in names]
    rows = sa.select(incoming.c[ROW], *values).where(within(incoming, ids), incoming.c[REASON].is_(None))
    connection.execute(staged.passed.insert().from_select([ROW, *names], rows))
    return {}


def _value(staged: Staged, name: str):
    """The text as the column's value. PostgreSQL wants the conversion said, but not the length: it would cut to it."""
    column, text = staged.place.columns[name], staged.incoming.c[name]
    if column.cast:
        return sa.literal_column(f"cast({_quoted(staged, name)} as {column.cast})")
    return sa.cast(text, mysql.INTEGER(unsigned=True)) if column.kind == "bit" else text


def _quoted(staged: Staged, name: str) -> str:
    return staged.place.engine.dialect.identifier_preparer.quote(name)


def _changed(staged: Staged, connection: sa.Connection, ids: list[int]) -> dict[int, str]:
    """Row → reason for rows whose value is not what was written: both databases round numbers and cut spaces in silence."""
    before, after = staged.incoming, staged.passed
    tests = {name: test for name in staged.place.target.columns if (test := _differs(staged, name)) is not None}
    if not tests:
        return {}
    first = sa.case(*[(test, f"would be changed: {name}") for name, test in tests.items()])
    both = before.join(after, before.c[ROW] == after.c[ROW])
    query = sa.select(before.c[ROW], first).select_from(both)
    query = query.where(within(after, ids), sa.or_(*tests.values()))
    return dict(connection.execute(query).all())


def _differs(staged: Staged, name: str):
    """The condition under which the column's value is another than the text's; None where it cannot be."""
    column, text, value = staged.place.columns[name], staged.incoming.c[name], staged.passed.c[name]
    is_mysql, kind = staged.place.is_mysql, column.kind
    if kind in NUMBERS:
        return sa.cast(text, sa.Numeric(65, 30) if is_mysql else sa.Numeric()) != value
    if kind in FLOATS:
        return sa.cast(text, sa.Double()) != value
    if kind in MOMENTS:
        return (
            sa.cast(text, mysql.DATETIME(fsp=6) if is_mysql else sa.TIMESTAMP(kind.endswith("with time zone"))) != value
        )
    if kind in CLOCKS:
        clock = sa.cast(text, mysql.TIME(fsp=6) if is_mysql else sa.Time())
        return sa.or_(text.regexp_match(CLOCK).is_(False), clock != value)
    if kind == "bit":
        return sa.cast(text, sa.Numeric(65, 30)) != value.op("+")(0)
    if kind == "uuid":
        return sa.func.lower(text) != sa.cast(value, sa.String(36) if is_mysql else sa.Text())
    if kind in BYTES:
        return sa.cast(text, sa.BINARY()) != value
    if kind not in TEXTS:
        return None  # true and false
    if is_mysql:
        return sa.cast(text, sa.BINARY()) != sa.cast(sa.cast(value, mysql.CHAR(charset="utf8mb4")), sa.BINARY())
    return text != sa.cast(value, sa.Text())


def _reject_duplicates(staged: Staged, connection: sa.Connection) -> None:
    """Reject every row of a key that comes twice, by the target's own idea of equal: which one is right nobody knows."""
    passed, key = staged.passed, staged.place.target.key
    twice = sa.select(*[passed.c[name] for name in key]).group_by(*[passed.c[name] for name in key])
    twice = twice.having(sa.func.count() > 1).subquery()
    both = passed.join(twice, sa.and_(*[passed.c[name] == twice.c[name] for name in key]))
    query = sa.select(passed.c[ROW]).select_from(both).order_by(passed.c[ROW])
    query = query.limit(max(staged.n_allowed, LISTED) + 1)
    reject(staged, connection, dict.fromkeys(connection.scalars(query), DUPLICATE))


def _with_column(staged: Staged, connection: sa.Connection, row: int, error: sa.exc.DBAPIError) -> str:
    """The reason in the database's words. PostgreSQL does not name the column of a value that it cannot take: find it."""
    said = reason(error)
    if staged.place.is_mysql or not str(error.orig.pgcode).startswith("22"):
        return said
    for name in staged.place.target.columns:
        one = sa.select(staged.incoming.c[ROW], _value(staged, name)).where(staged.incoming.c[ROW] == row)
        try:
            connection.execute(staged.passed.insert().from_select([ROW, name], one))
        except sa.exc.DBAPIError:
            connection.exec_driver_sql("rollback to savepoint mdp_batch")
            return f"{said} ({name})"
        connection.exec_driver_sql("rollback to savepoint mdp_batch")
    return said


# -- what the ledger gets ---------------------------------------------------------------------------------------------


def rejected_rows(staged: Staged, connection: sa.Connection) -> list[dict]:
    """The rejected rows of a run, in the order of the key: row_key (JSON of its texts) and reason."""
    key, table = staged.place.target.key, staged.incoming
    query = sa.select(table.c[REASON], *[table.c[column] for column in key]).where(table.c[REASON].is_not(None))
    rows = connection.execute(query.order_by(table.c[ROW]))
    return [
        {"row_key": json.dumps(dict(zip(key, values, strict=True)), ensure_ascii=False), "reason": why}
        for why, *values in rows
    ]
