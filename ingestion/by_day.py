"""How many rows a load of several days brought of each: what each day's own load would have brought.

The gates learn from it what is usual on which weekday (expectations/usual.py), so that a history need not be lived again.
"""

from ingestion.feeds import Feed, FilesFeed, JdbcFeed
from warehouse.company import company
from warehouse.dates import shift
from warehouse.session import session
from warehouse.state import Load

LONGEST = 365  # days back that a load without a first day is counted


def rows_by_day(feed: Feed, load: Load) -> dict[str, int] | None:
    """Day → rows that arrived, held ones among them; None if the load is of one day, or its rows do not say their day."""
    first = load.inputs["first"] or shift(load.ds, -LONGEST)
    days = _days(feed)
    if first == load.ds or not days:
        return None
    tables = [feed.raw_table] if isinstance(feed, JdbcFeed) else [feed.raw_table, feed.quarantine_table]
    each = " union all ".join(f"select {days} as day from {table} where ds = '{load.ds}'" for table in tables)
    within = f"where day between '{first}' and '{load.ds}'"
    counted = session().sql(f"select day, count(*) as n from ({each}) {within} group by day").collect()
    return {row["day"]: row["n"] for row in counted}


def _days(feed: Feed) -> str | None:
    """SQL of the day on which a row would have been loaded, or of a row for each; None if no column says it.

    A table that is read by its last change shows of each row only the newest, and the day that it was made on.
    """
    if not isinstance(feed, JdbcFeed):
        return None if isinstance(feed, FilesFeed) and feed.mode == "full" else "received_date"
    if feed.mode == "full" or (feed.mode == "lastmodified" and not feed.created_column):
        return None
    named = [column for column in (feed.check_column, feed.created_column) if column]
    if any(feed.columns[name].type not in ("date", "timestamp") or feed.columns[name].action for name in named):
        return None
    local = f"to_date(from_utc_timestamp(`{{}}`, '{company().timezone}'))"
    days = [("`{}`" if feed.columns[name].type == "date" else local).format(name) for name in named]
    days = [f"cast({day} as string)" for day in days]
    return days[0] if len(days) == 1 else f"explode(array_distinct(array({', '.join(days)})))"
