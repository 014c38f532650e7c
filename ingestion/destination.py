"""The table of a foreign database that an export writes, and the table of marks beside it, as the database describes them.

A mark in `mdp_exports` is written in the transaction that publishes the rows: it is there if and only if they are. All
that must hold before is asked here, so that a wrong declaration ends in a sentence and not in the middle of a write.
"""

import functools
import re
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from ingestion.rights import Rights
from ingestion.targets import Target
from warehouse.connections import Database, database
from warehouse.databases import family, is_denied, open_database, reason
from warehouse.errors import PlatformError

MARKS = "mdp_exports"
# The kinds of columns of which it is known whether a value is the text that was written.
NUMBERS = {"tinyint", "smallint", "mediumint", "int", "integer", "bigint", "decimal", "numeric", "year"}
FLOATS = {"float", "double", "real", "double precision"}
MOMENTS = {"date", "datetime", "timestamp", "timestamp without time zone", "timestamp with time zone"}
CLOCKS = {"time", "time without time zone"}
TEXTS = {
    "char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set", "character varying", "character", "json",
    "user-defined",  # of PostgreSQL: enumerations above all
}  # fmt: skip
BYTES = {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"}
MYSQL_ONLY = BYTES | {"bit"}
KNOWN = NUMBERS | FLOATS | MOMENTS | CLOCKS | TEXTS | {"boolean", "uuid"}
MYSQL = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


@dataclass(frozen=True)
class Column:
    """A column as information_schema knows it; `cast` is PostgreSQL's name of its type, without a length."""

    kind: str
    is_nullable: bool
    cast: str | None


@dataclass(frozen=True)
class Destination:
    """The table that a target names, found in its database; `columns` are all that it has.

    `is_temporary`: the login may make no table that stays, so its rows are staged in one that lives with the session.
    """

    target: Target
    base: Database
    engine: sa.Engine
    schema: str
    marks: sa.Table
    columns: dict[str, Column]
    is_temporary: bool = False

    @property
    def is_mysql(self) -> bool:
        return family(self.base) == "mysql"

    @functools.cached_property
    def table(self) -> sa.TableClause:
        return named(self, self.target.table.split(".")[-1], *self.target.columns)


def named(place: Destination, name: str, *columns: str) -> sa.TableClause:
    """A table of the destination's schema for SQL, with these columns; another object is another table to SQLAlchemy."""
    return sa.table(name, *[sa.column(column) for column in columns], schema=place.schema)


def find(target: Target, may_create: bool) -> Destination | None:
    """The target's table, checked; None if it is missing and the export makes it but may not yet (a dry run).

    Makes the table of marks, and in mode replace a missing table, unless `may_create` is false. Raises PlatformError if
    the database does not open, with a sentence for each right that the login lacks, or if the table is missing, lacks a
    column or a unique key, or cannot roll back.
    """
    base = database(target.connection)
    engine = open_database(base)
    try:
        with engine.connect() as connection:
            return _found(connection, target, base, engine, may_create)
    except sa.exc.DBAPIError as error:
        raise refused(target, base, error) from None


def refused(target: Target, base: Database, error: sa.exc.DBAPIError) -> PlatformError:
    """What a database's refusal of the whole export (not of a row) comes to."""
    why = reason(error)
    if is_denied(error):
        return PlatformError(
            f"export {target.name}: login {base.user} of {base.address} lacks a right ({why}); {target.table} has this run's "
            "rows all or not at all: have its administrator grant it, then run the export again"
        )
    hint = " (sslMode=disable in its URL, if it is meant to have none)" if why.startswith("2026") else ""
    return PlatformError(
        f"export {target.name}: {base.address}: {why}{hint}; {target.table} has this run's rows all or not at all: mend it, "
        "or if the database was busy or away, only run the export again"
    )


def _found(connection: sa.Connection, target: Target, base: Database, engine: sa.Engine, may_create: bool):
    is_mysql = family(base) == "mysql"
    here = connection.scalar(sa.text("select database()" if is_mysql else "select current_schema()"))
    rights = Rights(connection, target, base)
    if here is None:  # PostgreSQL leaves out of the search path what the login may not use
        path = connection.scalar(sa.text("show search_path")).split(",")
        raise PlatformError(rights.on_schema("usage", path[-1].strip(' "'), "if there is such a schema"))
    schema, _, name = target.table.rpartition(".")
    marks = _marks(here)
    place = Destination(target, base, engine, schema or here, marks, {})
    described = _described(connection, place.schema, name)
    marks_known = bool(_described(connection, here, MARKS))
    is_temporary = rights.ask(place.table, marks, bool(described), marks_known)
    if may_create and not marks_known:
        connection.execute(sa.schema.CreateTable(marks, if_not_exists=True))
        connection.commit()
    if not described and target.mode == "replace":
        if not may_create:
            return None
        _own_table(place, name).create(connection)
        connection.commit()
        described = _described(connection, place.schema, name)
    if not described:
        raise PlatformError(
            f"export {target.name}: there is no table {name} in {place.schema} of {base.address}, and mode {target.mode} "
            "makes none: create it, or correct `table`"
        )
    _must_roll_back(connection, target, base, place.schema, name, is_mysql)
    if may_create:
        _must_roll_back(connection, target, base, here, MARKS, is_mysql)
    lacking = [column for column in target.columns if column not in described]
    if lacking:
        raise PlatformError(
            f"export {target.name}: table {target.table} of {base.address} has no column {', '.join(lacking)}; it has "
            f"{', '.join(described)}: change the table, or the export's columns"
        )
    unknown = [
        name for name in target.columns if described[name].kind not in KNOWN | (MYSQL_ONLY if is_mysql else set())
    ]
    if unknown:
        raise PlatformError(
            f"export {target.name}: {target.table} of {base.address} has {', '.join(_of_kind(n, described) for n in unknown)}, "
            "where a value may be changed without a word: make it a number, a text, a date or a timestamp, or leave it out of "
            "the export's columns"
        )
    if target.mode in ("update", "upsert"):
        _must_be_unique(connection, target, base, place.schema, name, is_mysql)
    return Destination(target, base, engine, place.schema, marks, described, is_temporary)


def _of_kind(name: str, described: dict[str, Column]) -> str:
    return f"{name} of type {described[name].kind}"


def _marks(schema: str) -> sa.Table:
    moment = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    return sa.Table(
        MARKS,
        sa.MetaData(),
        sa.Column("target", sa.String(64), primary_key=True),
        sa.Column("ds", sa.String(10), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("n_accepted", sa.BigInteger, nullable=False),
        sa.Column("n_rejected", sa.BigInteger, nullable=False),
        sa.Column("staging", sa.String(64), nullable=False),  # where the rejected rows are until the ledger has them
        sa.Column("exported_at", moment, nullable=False),
        schema=schema,
        **MYSQL,
    )


def _own_table(place: Destination, name: str) -> sa.Table:
    columns = [sa.Column(c, _type(kind), primary_key=c in place.target.key) for c, kind in place.target.columns.items()]
    return sa.Table(name, sa.MetaData(), *columns, schema=place.schema, **MYSQL)


def _type(declared: str) -> sa.types.TypeEngine:
    sizes = [int(number) for number in re.findall(r"\d+", declared)]
    if declared == "TIMESTAMP":
        return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    if declared == "DOUBLE":
        return sa.Double()
    return getattr(sa, declared.split("(")[0])(*sizes)


def _described(connection: sa.Connection, schema: str, name: str) -> dict[str, Column]:
    """Name → column, in the table's order; {} if there is no such table (or none that this login may see)."""
    is_mysql = connection.dialect.name in ("mysql", "mariadb")
    cast = "null" if is_mysql else "quote_ident(udt_schema) || '.' || quote_ident(udt_name)"
    query = sa.text(
        f"select column_name as name, data_type as kind, is_nullable as nullable, {cast} as base from "
        "information_schema.columns where table_schema = :schema and table_name = :name order by ordinal_position"
    )
    rows = connection.execute(query, {"schema": schema, "name": name}).all()
    return {row.name: Column(row.kind.lower(), row.nullable == "YES", row.base) for row in rows}


def _must_roll_back(connection, target: Target, base: Database, schema: str, name: str, is_mysql: bool) -> None:
    what = "engine" if is_mysql else "table_type"
    query = sa.text(f"select {what} from information_schema.tables where table_schema = :schema and table_name = :name")
    found = connection.scalar(query, {"schema": schema, "name": name})
    if (found or "VIEW").upper() not in ("INNODB", "BASE TABLE"):
        raise PlatformError(
            f"export {target.name}: {schema}.{name} of {base.address} is {found or 'a view'}, where a write cannot be rolled "
            f"back: {f'alter table {name} engine = InnoDB' if found and is_mysql else 'export into a plain table'}"
        )


def _must_be_unique(connection, target: Target, base: Database, schema: str, name: str, is_mysql: bool) -> None:
    """By a key that is not unique one row would change many; without its index each batch would read the whole table."""
    sets = _unique_sets(connection, schema, name, is_mysql)
    if not any(columns and set(columns) <= set(target.key) for columns in sets):
        key = ", ".join(target.key)
        raise PlatformError(
            f"export {target.name}: mode {target.mode} needs a unique index on ({key}) in {target.table} of {base.address}: "
            f"create unique index {name}_key on {name} ({key}), or correct `key`"
        )


def _unique_sets(connection: sa.Connection, schema: str, name: str, is_mysql: bool) -> list[list[str]]:
    """The columns of each key and unique index of the table, whatever the login may read of it."""
    if is_mysql:  # SQLAlchemy asks for the whole `create table`, which is not for a login with grants on columns
        query = sa.text(
            "select index_name as name, column_name as col from information_schema.statistics where table_schema = :schema "
            "and table_name = :name and non_unique = 0"
        )
        found: dict[str, list[str]] = {}
        for row in connection.execute(query, {"schema": schema, "name": name}):
            found.setdefault(row.name, []).append(row.col)
        return list(found.values())
    look = sa.inspect(connection)
    sets = [look.get_pk_constraint(name, schema)["constrained_columns"]]
    sets += [found["column_names"] for found in look.get_unique_constraints(name, schema)]
    for index in look.get_indexes(name, schema):
        if index["unique"] and "postgresql_where" not in index.get("dialect_options", {}):
            sets.append(index["column_names"])
    return sets


# -- marks ------------------------------------------------------------------------------------------------------------


def read_mark(place: Destination, connection: sa.Connection, ds: str, lock: bool = False):
    """The mark of (target, ds) as a row, or None; with `lock` it is held until the transaction ends."""
    marks = place.marks.c
    query = sa.select(place.marks).where(marks.target == place.target.name, marks.ds == ds)
    return connection.execute(query.with_for_update() if lock else query).first()


def write_mark(place: Destination, connection: sa.Connection, ds: str, **values) -> None:
    """Replace the mark of (target, ds) within the caller's transaction; the moment is the database's own."""
    marks = place.marks.c
    connection.execute(place.marks.delete().where(marks.target == place.target.name, marks.ds == ds))
    connection.execute(
        place.marks.insert().values(
            target=place.target.name, ds=ds, exported_at=sa.func.current_timestamp(), **values
        )
    )  # fmt: skip
