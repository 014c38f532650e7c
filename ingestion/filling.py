"""How the day's rows come into the first staging table: by Spark's tasks, or through the one session that has it."""

from itertools import islice

import sqlalchemy as sa
from pyspark.errors import PySparkException

from ingestion.destination import Destination
from ingestion.staging import BATCH_ROWS, REASON, ROW, Staged
from warehouse.errors import PlatformError

WRITERS = 4  # Spark tasks, and so connections, that fill the staging table
SMALL = 20_000  # rows for which one writer does


def fill(staged: Staged, connection: sa.Connection, frame) -> None:
    """Bring the texts of `frame` into the first table, in the order of the key, and count what arrived.

    Raises PlatformError if the engine cannot do its part, or another number of rows is there afterwards.
    """
    target, address = staged.place.target, staged.place.base.address
    try:
        (_carry if staged.place.is_temporary else _let_write)(staged, connection, _ordered(staged, frame))
    except PySparkException as error:
        why = str(error).split("\n")[0]
        raise PlatformError(
            f"export {target.name}: the engine could not fill the staging table in {address}: {why}; nothing was "
            "changed: run the export again"
        ) from None
    there = connection.scalar(sa.select(sa.func.count()).select_from(staged.incoming))
    if there != staged.n_rows:
        raise PlatformError(
            f"export {target.name}: {there} rows arrived in the staging table in {address} instead of "
            f"{staged.n_rows}; nothing was changed: run the export again"
        )


def _ordered(staged: Staged, frame):
    """The rows of the first table: ids ascend with the key, so of two rows that cannot both be in the target it is always
    the same one that gets in."""
    from pyspark.sql import functions as F

    place, target, names = staged.place, staged.place.target, list(staged.place.target.columns)
    order = [*target.key, *target.values]
    spread = frame.repartitionByRange(WRITERS, *order) if staged.n_rows > SMALL else frame.coalesce(1)
    why = F.lit(None).cast("string")
    if not place.is_mysql:  # PostgreSQL has no text with this character: the whole batch would fail
        for name in names:
            why = F.when(F.col(name).contains("\0"), F.lit(f"holds a NUL character: {name}")).otherwise(why)
    texts = [F.col(n) if place.is_mysql else F.translate(F.col(n), "\0", "").alias(n) for n in names]
    sorted_ = spread.sortWithinPartitions(*order)
    return sorted_.select(F.monotonically_increasing_id().alias(ROW), why.alias(REASON), *texts)


def _carry(staged: Staged, connection: sa.Connection, rows) -> None:
    """Carry the rows, as the engine streams them, through the session that alone sees the table."""
    names = [column.name for column in staged.incoming.c]
    stream = rows.toLocalIterator()
    while some := list(islice(stream, BATCH_ROWS)):
        connection.execute(staged.incoming.insert(), [dict(zip(names, row, strict=True)) for row in some])
        connection.commit()


def _let_write(staged: Staged, connection: sa.Connection, rows) -> None:
    """Let Spark's tasks write the rows, each by a connection of its own."""
    place = staged.place
    quote = "`" if place.base.product == "mysql" else '"'
    options = place.base.jdbc_options() | {"url": _url(place), "batchsize": str(BATCH_ROWS)}
    writer = rows.write.format("jdbc").options(**options, isolationLevel="READ_COMMITTED")
    table = f"{quote}{place.schema}{quote}.{quote}{staged.incoming.name}{quote}"
    writer.option("dbtable", table).mode("append").save()


def _url(place: Destination) -> str:
    """The URL for Spark's writer, which quotes names as ANSI wants it in all databases but MySQL."""
    if place.base.product != "mariadb":
        return place.base.url
    address, _, tail = place.base.url.partition("?")
    kept = [part for part in tail.split("&") if part and not part.lower().startswith("sessionvariables=")]
    quotes = "sessionVariables=sql_mode=concat(@@sql_mode,',ANSI_QUOTES')"  # added, or values would be cut in silence
    return f"{address}?{'&'.join([*kept, quotes])}"
