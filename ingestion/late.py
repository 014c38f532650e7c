"""Rows that are first loaded days after their own: how far back a run has to reach for them, and those out of its reach.

A row of a table counts on its business day, however late the source hands it over. The window of a run therefore reaches
back to the oldest such row, at most reach_days before the load. What is older is not in cleaned: it is counted there
(dropped_rows, too_late), listed, shown and decided about by `mdp quarantine` as log lines are, and a row that is released
is reached by the next run whatever its day. Log lines that were released, and rows that a source only adds, are new in
their load for certain, so they are reached without a limit.
"""

from datetime import date

from ingestion.feeds import Feed, JdbcFeed, load_feeds
from warehouse import dates, state, tables
from warehouse.company import company
from warehouse.session import session

LOADED_ROWS = f"{tables.INPUT}.loaded_rows"
# Tables whose rows are read again when they change → key: a reading for an old day is no late row if cleaned has it.
KEYED = {
    tables.CLEANED_ORDERS: "order_id",
    tables.CLEANED_ORDER_ITEMS: "order_item_id",
    tables.CLEANED_REVERSALS: "reversal_id",
}


def note_reach(ds: str, from_ds: str | None = None) -> None:
    """Note in the state database how far before its late window the loads of from_ds … ds reach, if they do."""
    start, _ = dates.late_window(ds, company().late_days, from_ds)
    first_day = state.fact("first_day") or start
    if start <= first_day:
        return
    found = [*_released_days(ds), *_oldest_loaded(ds, from_ds or ds, start, first_day)]
    if found and min(found) < start:
        print(f"rows of {min(found)} came with the load of {ds}: the window reaches back to them", flush=True)
        state.note_reach(ds, max(min(found), first_day))


def note_released(ds: str) -> None:
    """Note that the rows of tables that were released are in cleaned since the build of `ds`."""
    for feed, waiting in _released(ds).items():
        state.note_released(
            feed, ds, [[r["ds"], r["source"], r["source_partition"], r["source_position"]] for r in waiting]
        )


def rows(feed: Feed, ds: str) -> list[dict]:
    """The rows of a table that came too late with the load of `ds`: source (table/key), source_position (day as a number) …"""
    if not session().catalog.tableExists(LOADED_ROWS):
        return []
    first_day, limit = state.fact("first_day") or "", dates.shift(ds, -company().reach_days)
    wanted = f"feed = '{feed.name}' and load_date = '{ds}' and event_date >= '{first_day}' and event_date < '{limit}'"
    days = [r[0] for r in session().sql(f"select distinct event_date from {LOADED_ROWS} where {wanted}").collect()]
    if not days:
        return []
    listed = "', '".join(days)
    found = session().sql(
        f"select distinct l.table_name, l.row_key, l.event_date from (select * from {LOADED_ROWS} where {wanted}) l "
        f"{_left_join_known(f'''ds in ('{listed}')''')} where k.row_key is null and {_is_keyed('l')} order by 1, 2"
    )  # fmt: skip
    return [
        {"ds": ds, "reason": "too_late", "source": f"{r.table_name}/{r.row_key}", "source_partition": None,
         "source_position": int(r.event_date.replace("-", "")), "row_key": r.row_key,
         "text": f"{r.table_name} of {r.event_date}, first loaded on {ds}"}
        for r in found.collect()
    ]  # fmt: skip


def days_with_rows(ds: str | None = None) -> list[str]:
    """The days on which rows of tables came too late, of the one day if given."""
    if not session().catalog.tableExists(tables.CLEANED_DROPPED_ROWS):
        return []
    where = "reason = 'too_late'" + (f" and ds = '{ds}'" if ds else "")
    found = session().sql(f"select distinct ds from {tables.CLEANED_DROPPED_ROWS} where {where} order by ds").collect()
    return [row["ds"] for row in found]


def _oldest_loaded(ds: str, first: str, start: str, first_day: str) -> list[str]:
    """The oldest day before `start` that a new row of the loads first … ds states, if any."""
    if not session().catalog.tableExists(LOADED_ROWS):
        return []
    limit = dates.shift(first, -company().reach_days)
    oldest = session().sql(
        f"select min(l.event_date) from (select * from {LOADED_ROWS} where load_date between '{first}' and '{ds}' "
        f"and event_date >= '{first_day}' and event_date < '{start}') l "
        f"{_left_join_known(f'''ds >= '{limit}' and ds < '{start}' ''')} "
        f"where k.row_key is null and (l.event_date >= '{limit}' or not {_is_keyed('l')})"
    )  # fmt: skip
    return [row[0] for row in oldest.collect() if row[0]]


def _is_keyed(alias: str) -> str:
    return f"{alias}.table_name in ({', '.join(repr(table.split('.')[1]) for table in KEYED)})"


def _left_join_known(days: str) -> str:
    parts = [
        f"select '{table.split('.')[1]}' as table_name, {key} as row_key, ds from {table} where {days}"
        for table, key in KEYED.items()
    ]
    return (
        f"left join ({' union all '.join(parts)}) k on k.table_name = l.table_name and k.row_key = l.row_key "
        "and k.ds = l.event_date"
    )


def _released(ds: str) -> dict[str, list[dict]]:
    """Feed → released rows of tables that the build of `ds` has to reach."""
    found = {
        feed.name: [
            row for row in state.held_decisions(feed.name)
            if row["decision"] == "release" and row["loaded_ds"] in (None, ds) and row["ds"] <= ds
        ]
        for feed in load_feeds().values() if isinstance(feed, JdbcFeed)
    }  # fmt: skip
    return {name: waiting for name, waiting in found.items() if waiting}


def _released_days(ds: str) -> list[str]:
    positions = [row["source_position"] for waiting in _released(ds).values() for row in waiting]
    return [date(n // 10000, n // 100 % 100, n % 100).isoformat() for n in positions]
