"""Lives days of a small company in the home named by MDP_HOME, without gates and scoring, in one process.

Gates are left out because they write no table of the comparison; their stages are published by hand.
Usage: python -m tests.time.live live FROM DS [FROM DS ...]   ('-' as FROM: a daily run)
                                 rebuild FROM DS
                                 rewrite DS TABLE SQL [...]   (SQL of {old}; prints rows that are no longer there)
                                 restore DS TABLE [...]
                                 move DAY DS [...]   (loads of the days DS: each column of what is not of DAY or before)
"""

import sys

from ingestion.run import ingest
from mdp.build import build
from warehouse import dates, stages, state
from warehouse.partitions import replace_partition
from warehouse.session import session


def live(*words: str) -> None:
    """Ingest and build one range after the other."""
    for given, ds in zip(words[::2], words[1::2], strict=True):
        from_ds = None if given == "-" else given
        state.set_fact_once("first_day", from_ds or ds)
        state.set_fact_once("history_to", ds)
        ingest(ds, from_ds=from_ds)
        rebuild(given, ds)


def rebuild(given: str, ds: str) -> None:
    """Build cleaned and features of the range."""
    from_ds = None if given == "-" else given
    state.publish("gate_raw", dates.days(from_ds or ds, ds))
    for layer in ("cleaned", "features"):
        build(layer, ds, from_ds)
        state.publish(f"gate_{layer}", dates.days(*stages.rewrites(f"gate_{layer}", ds, from_ds)))
    state.publish("export", [ds])
    state.publish("marts", [ds])


def rewrite(ds: str, *words: str) -> None:
    """Replace partitions by selections of themselves, kept aside for `restore`."""
    spark = session()
    spark.sql("create database if not exists kept")
    for table, sql in zip(words[::2], words[1::2], strict=True):
        aside = _aside(table)
        spark.sql(f"drop table if exists {aside}")
        spark.sql(f"create table {aside} stored as parquet as select * from {table} where ds = '{ds}'")
        old = spark.table(aside).drop("ds")
        replace_partition(spark.sql(sql, old=old).select(*old.columns), table, ds)
        print(table, old.exceptAll(spark.table(table).where(f"ds = '{ds}'").drop("ds")).count())


def restore(ds: str, *tables: str) -> None:
    """Undo `rewrite`."""
    for table in tables:
        replace_partition(session().table(_aside(table)).drop("ds"), table, ds)


# Raw table → the time of what a row tells of; a table that is read whole tells of the day of its load, with all its columns.
TIMES = {
    "raw.crm__customers": None, "raw.crm__products": None, "raw.crm__campaigns": None, "raw.crm__orders": "ordered_at",
    "raw.crm__order_items": "ordered_at", "raw.crm__channel_spend": "spend_date", "raw.crm__customer_changes": "changed_at",
    "raw.web__events": "event_time", "raw.ads__events": "event_time",
}  # fmt: skip
STAYS = ("old_value", "field", "event_type")  # the past by a log; which table a line belongs to
MOVED = {
    "string": "concat('moved ', {0})", "timestamp": "{0} + interval 30 hours", "date": "{0} + interval 1 day",
    "boolean": "not {0}",
}  # fmt: skip


def move(day: str, *loads: str) -> None:
    """Change every column of the loads, but for keys, and in rows that tell of `day` or before what was read first."""
    for ds in loads:
        for table, time in TIMES.items():
            columns = session().sql(f"select * from {table} where ds = '{ds}'").drop("ds").dtypes
            chosen = []
            for name, kind in columns:
                stays = name.endswith("_id") or name in (time, "occurred_at", "received_date", "source", *STAYS)
                is_later = f"to_date(from_utc_timestamp({time}, 'Asia/Shanghai')) > '{day}'" if time else "true"
                moved = f"cast({MOVED.get(kind, '{0} + 7').format(name)} as {kind})"
                if time == "event_time":  # a line that comes late tells of its day for the first time
                    moved = f"case when {is_later} then {moved} else {name} end"
                chosen.append(name if stays else f"{moved} as {name}")
            rewrite(ds, table, f"select {', '.join(chosen)} from {{old}}")


def _aside(table: str) -> str:
    return f"kept.{table.replace('.', '_')}"


if __name__ == "__main__":
    {"live": live, "rebuild": rebuild, "rewrite": rewrite, "restore": restore, "move": move}[sys.argv[1]](*sys.argv[2:])
