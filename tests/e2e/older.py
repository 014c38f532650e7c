"""Makes the home named by MDP_HOME one of an older version: a state database without versions, tables with fewer columns.

Usage: python -m tests.e2e.older TABLE COLUMN[,COLUMN …] [TABLE COLUMN …]
"""

import sqlite3
import sys
from contextlib import closing

from warehouse.partitions import columns_of
from warehouse.session import session
from warehouse.settings import settings

SINCE = ("load_days", "known_values")  # what revisions after the first make


def make_older(table: str, without: list[str]) -> None:
    """The same days of `table` in a table that never had these columns."""
    spark, kept = session(), {name: kind for name, kind in columns_of(table).items() if name not in without}
    assert len(kept) == len(columns_of(table)) - len(without)
    spark.sql(f"create table kept_aside stored as parquet as select {', '.join(kept)}, ds from {table}")
    spark.sql(f"drop table {table}")
    listed = ", ".join(f"{name} {kind}" for name, kind in kept.items())
    spark.sql(f"create table {table} ({listed}) partitioned by (ds string) stored as parquet")
    spark.sql(f"insert overwrite table {table} partition (ds) select * from kept_aside")
    spark.sql("drop table kept_aside")


if __name__ == "__main__":
    for given, columns in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        make_older(given, columns.split(","))
    with closing(sqlite3.connect(settings().home / "state.db")) as state:
        for table in ("mdp_version", *SINCE):
            state.execute(f"drop table {table}")
