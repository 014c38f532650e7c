"""A target in a real database, its source in the warehouse, and the rows that tests of exports write."""

import json
from pathlib import Path

import pytest
import yaml

from ingestion.export import export
from warehouse import state
from warehouse.errors import PlatformError
from warehouse.partitions import replace_partition

DAY, NEXT = "2024-03-05", "2024-03-06"
SOURCE, TABLE, TARGET = "marts.try_export", "people", "try_people"
SCHEMA = "customer_id string, name string, amount string, n string, at string, day string, share double, ok boolean"
TYPES = {
    "customer_id": "VARCHAR(8)", "name": "VARCHAR(10)", "amount": "DECIMAL(10,2)", "n": "INT", "at": "TIMESTAMP",
    "day": "DATE", "share": "DOUBLE", "ok": "BOOLEAN",
}  # fmt: skip
COLUMNS = (
    "customer_id varchar(8) not null, name varchar(10), amount decimal(10,2), n int, {at} null, day date, "
    "share double precision, ok boolean"
)


class World:
    """A target in a database of its own server, its source in the warehouse, and a ledger."""

    def __init__(self, server, spark, folder: Path):
        self.server, self.spark, self.folder = server, spark, folder
        self.is_mariadb = server.jdbc_url.startswith("jdbc:mariadb")
        self.types = TYPES

    def declare(self, mode: str, **more) -> None:
        block = {"connection": "to", "table": TABLE, "source": SOURCE, "mode": mode, "key": ["customer_id"]}
        path = self.folder / "exports.yml"
        path.write_text(yaml.safe_dump({TARGET: block | {"columns": self.types} | more}, sort_keys=False))

    def create(self, more: str = ", primary key (customer_id)", columns: str = COLUMNS, end: str = "") -> None:
        """The target's table; a timestamp without fractions on both."""
        at = "at timestamp" if self.is_mariadb else "at timestamp(0)"
        self.server.execute(f"create table {TABLE} ({columns.format(at=at)}{more}){end}")

    def source(self, rows: list[tuple], ds: str = DAY, schema: str = SCHEMA) -> None:
        self.spark.sql("create database if not exists marts")
        self.spark.sql(f"drop table if exists {SOURCE}")
        replace_partition(self.spark.createDataFrame(rows, schema), SOURCE, ds)
        state.publish("marts", [ds])

    def target(self, columns: str = "customer_id, name, n") -> list[tuple]:
        return self.server.execute(f"select {columns} from {TABLE} order by customer_id, n")

    def marks(self) -> list[tuple]:
        return self.server.execute("select target, ds, n_accepted, n_rejected from mdp_exports")

    def tables(self) -> set[str]:
        where = "database()" if self.is_mariadb else "current_schema()"
        found = self.server.execute(f"select table_name from information_schema.tables where table_schema = {where}")
        return {name for (name,) in found}

    def reasons(self, ds: str = DAY) -> dict[str, str]:
        return {json.loads(row["row_key"])["customer_id"]: row["reason"] for row in state.rejected_rows(ds, TARGET)}


def row(key: str | None, name: str | None = "x", amount="1.50", n="1", at=None, day=None, share=None, ok=None) -> tuple:
    return key, name, amount, n, at, day, share, ok


def people(first: int, last: int, name: str = "x") -> list[tuple]:
    return [row(f"c{i:05}", name, n=str(i)) for i in range(first, last)]


def as_target(rows: list[tuple]) -> list[tuple]:
    return sorted((r[0], r[1], int(r[3])) for r in rows)


def run(**options) -> dict:
    return export(DAY, TARGET, **options)


def fails(**options) -> str:
    with pytest.raises(PlatformError) as caught:
        run(**options)
    return str(caught.value)
