"""Import from the CRM database through Spark's JDBC source: whole tables, new rows, or rows changed in an interval.

The interval is fixed by the caller in the state database before anything is read. Conditions go to Spark as filters,
which it pushes down in the dialect of the database, so no SQL for a foreign database is written here. Source timestamps
carry no zone and are UTC: they are read as such, whatever zone the engine's JVM runs in.
"""

from pyspark.errors import PySparkException

from ingestion.feeds import PATH, JdbcFeed
from ingestion.protect import protect
from warehouse.connections import database
from warehouse.dates import day_bounds_utc, shift
from warehouse.errors import PlatformError
from warehouse.session import session
from warehouse.settings import settings

FETCH_ROWS = "10000"


def source_table(name: str, table: str, connection: str = "crm"):
    """The table of a connection's database as a frame; PlatformError (without the password) if it cannot be opened."""
    source = database(connection)
    try:
        reader = session().read.format("jdbc").options(**source.jdbc_options(), fetchsize=FETCH_ROWS)
        frame = reader.options(preferTimestampNTZ="true", dbtable=table).load()
        _ = frame.schema  # a frame is lazy: ask for its columns now, so that the fault has a place
        return frame
    except PySparkException as error:
        reason = str(error).split("\n")[0]
        raise PlatformError(f"{name}: table {table} of {source.address} cannot be read: {reason}") from None


def check_columns(feed: JdbcFeed, found: dict[str, str]) -> None:
    """Raise PlatformError with a diff unless the source has exactly the declared columns; `found` is name → type."""
    lines = []
    for name, column in feed.columns.items():
        if name not in found:
            lines.append(f"  - {name} {column.type}: declared, missing at the source")
        elif found[name] != column.type:
            lines.append(f"  ~ {name}: declared {column.type}, {found[name]} at the source")
    lines += [f"  + {name} {kind}: new at the source" for name, kind in found.items() if name not in feed.columns]
    if lines:
        raise PlatformError(
            f"{feed.name}: table {feed.table} is not what {PATH.name} declares:\n" + "\n".join(lines) + "\n"
            "change the source back, or the feed's columns (and its staging model); then run again"
        )


def fix_inputs(feed: JdbcFeed, first: str | None, ds: str) -> dict:
    """What a load of the days first … ds reads (first None = from the beginning): bounds in the check column's type."""
    if feed.mode == "full":
        return {}
    if feed.columns[feed.check_column].type == "date":
        return {"low": first, "high": shift(ds, 1)}
    tz = settings().tz
    low, high = first and day_bounds_utc(first, tz)[0], day_bounds_utc(ds, tz)[1]
    return {"low": low and f"{low:%Y-%m-%d %H:%M:%S}", "high": f"{high:%Y-%m-%d %H:%M:%S}"}


def condition(feed: JdbcFeed, inputs: dict) -> str | None:
    """The rows of a load as a filter, None for all.

    lastmodified takes rows whose last change lies in [low, high), and rows created in it whose last change came later:
    a history loaded from a database that has moved on loses nothing. (What happened to such a row after `high` is
    ignored downstream: state as of a day is derived from the facts' own times.)
    """
    if feed.mode == "full":
        return None
    low, high = inputs["low"], inputs["high"]

    def compare(column: str, operator: str, bound: str) -> str:
        kind = "date" if feed.columns[column].type == "date" else "timestamp_ntz"
        return f"`{column}` {operator} {kind}'{bound}'"

    def inside(column: str) -> str:
        return (f"{compare(column, '>=', low)} and " if low else "") + compare(column, "<", high)

    changed = inside(feed.check_column)
    if feed.mode == "append":
        return changed
    later = f"({compare(feed.check_column, '>=', high)} or `{feed.check_column}` is null)"
    return f"({changed}) or ({inside(feed.created_column)} and {later})"


def read(feed: JdbcFeed, inputs: dict):
    """(source rows as declared, the same protected): both lazy, the first to be counted, the second to be written."""
    frame = source_table(feed.name, feed.table, feed.connection)
    types = {f.name: f.dataType.simpleString().replace("timestamp_ntz", "timestamp") for f in frame.schema.fields}
    check_columns(feed, types)
    chosen = condition(feed, inputs)
    rows = frame.where(chosen) if chosen else frame
    utc = [f"cast(`{name}` as {column.type}) as `{name}`" for name, column in feed.columns.items()]
    return rows, protect(rows.selectExpr(*utc), feed)
