"""The day's rows of an export: chosen from the warehouse, as texts that a database converts itself, counted and hashed.

Spark's own conversions are not trusted with them: a cast that fails gives null, one that overflows gives another number,
and both in silence. A text becomes a number where the column is, and the database says so if it cannot.
"""

import hashlib
import json

from pyspark.errors import PySparkException

from ingestion.targets import Target
from warehouse.errors import PlatformError
from warehouse.partitions import read_days

NOT_TEXT = ("array", "map", "struct", "binary", "variant", "interval")


def day_rows(target: Target, ds: str):
    """The rows of the day that the target exports, with its columns; PlatformError if source or condition are wrong."""
    frame = read_days(target.source, ds, ds)
    lacking = [name for name in target.columns if name.lower() not in {c.lower() for c in frame.columns}]
    if lacking:
        raise PlatformError(
            f"export {target.name}: {target.source} has no column {', '.join(lacking)}; it has {', '.join(frame.columns)}"
        )
    try:
        frame = (frame.where(target.where) if target.where else frame).select(*target.columns)
        kinds = {
            field.name: field.dataType.simpleString() for field in frame.schema.fields
        }  # the first look at `where`
    except PySparkException as error:
        why = str(error).split("\n")[0]
        raise PlatformError(f"export {target.name}: the condition {target.where!r} is refused: {why}") from None
    for name, kind in kinds.items():
        if kind.startswith(NOT_TEXT):
            raise PlatformError(f"export {target.name}: {name} of {target.source} is {kind}, which is no single value")
    return frame.toDF(*target.columns)  # the names as they are declared: a database may care for capitals


def as_texts(frame, target: Target):
    """Every value as its text, null as null; true and false as 1 and 0, 7.0 for an integer column as 7, for all databases."""
    kinds = {field.name: field.dataType.simpleString() for field in frame.schema.fields}
    return frame.selectExpr(
        *[f"{_text(name, kinds[name], target.columns[name])} as `{name}`" for name in frame.columns]
    )


def _text(name: str, kind: str, declared: str) -> str:
    if kind == "boolean":
        return f"cast(cast(`{name}` as int) as string)"
    if kind.startswith(("float", "double", "decimal")) and declared in ("SMALLINT", "INT", "BIGINT"):
        whole = f"cast(`{name}` as bigint)"
        return f"if(`{name}` = {whole}, cast({whole} as string), cast(`{name}` as string))"
    return f"cast(`{name}` as string)"


def content(frame) -> tuple[int, str]:
    """(rows, order-independent hash of their texts)."""
    texts = ", ".join(f"coalesce(cast(`{name}` as string), '\\\\N')" for name in frame.columns)
    row = frame.selectExpr("count(*) as n", f"sum(cast(xxhash64({texts}) as decimal(38,0))) as total").first()
    return row["n"], f"{int(row['total'] or 0) & (2**64 - 1):016x}"


def digest(target: Target, n_rows: int, hashed: str) -> str:
    """What makes an export of a day the same export: its rows, and how they are written where."""
    said = [target.connection, target.table, target.mode, list(target.key), list(target.columns), n_rows, hashed]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
