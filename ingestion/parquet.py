"""Files of Parquet: what one holds is checked against its feed, each column read as it is, a row found by its number.

A file says its own types, so nothing is converted but to a declared type that holds every value; what is held back is kept
as a line of JSON, which the door reads like any other when it is released.
"""

import base64
import json
import re
from datetime import UTC

import pyarrow as pa
import pyarrow.parquet as pq

from ingestion.drift import recorded, stop
from ingestion.feeds import FilesFeed
from ingestion.spool import open_whole, spool_path
from ingestion.values import literal
from warehouse.errors import PlatformError, listed, shown

AT_ONCE = 10_000  # rows of a file in memory
INT96 = "int96"  # a moment as Spark and Hive write it, or wrote it
# Type in a file, as Arrow names it; declared type; as what Spark reads it.
_RULES = (
    (r"bool", "boolean", "boolean"),
    (r"int8", "int|bigint", "tinyint"),
    (r"int16|uint8", "int|bigint", "smallint"),
    (r"int32|uint16", "int|bigint", "int"),
    (r"int64|uint32", "bigint", "bigint"),
    (r"uint64", r"decimal\((2\d|3\d),0\)", "decimal(20,0)"),
    (r"float", "float|double", "float"),
    (r"double", "double", "double"),
    (r"decimal128.*", "decimal.*", "decimal({p},{s})"),
    (r"(large_)?string", "string", "string"),
    (r"(large_)?binary|fixed_size_binary.*", "binary", "binary"),
    (r"date32.*", "date", "date"),
    (INT96, "timestamp", "timestamp"),
    (r"timestamp\[(ms|us), tz=.*", "timestamp", "timestamp"),
    (r"timestamp\[(ms|us)\]", "timestamp", "timestamp_ntz"),
)
_DECLARED = ("string", "boolean", "int", "bigint", "float", "double", "date", "timestamp", "binary", "decimal(20,0)")


def head_of(feed: FilesFeed, name: str) -> dict:
    """What a file's own description says: n_lines (its rows), types (declared column → type there), new (name → type).

    Raises PlatformError if it is no Parquet, or with a diff if a declared column is missing or of another type.
    """
    with _opened(feed, name) as file:
        kinds, n_rows = _kinds(file), file.metadata.num_rows
    faults, names = [], list(kinds)
    for column, declared in feed.columns.items():
        alike = [other for other in names if other.lower() == column.lower() and other != column]
        if column not in kinds:
            also = f", which has {listed([shown(other) for other in alike])}" if alike else ""
            faults.append(f"  - {column} {declared.type}: declared, missing in the file{also}")
        elif alike:  # one name to Spark
            faults.append(f"  ~ {column}: also there as {listed([shown(other) for other in alike])}")
        elif kinds[column] != "null" and _read_as(kinds[column], declared.type) is None:
            can = [kind for kind in _DECLARED if _read_as(kinds[column], kind)]
            can = [re.sub(r"128|\s", "", kinds[column])] if kinds[column].startswith("decimal128") else can
            how = f"which can be read as {' or '.join(can) or 'nothing'}"
            if kinds[column].startswith("timestamp[ns"):
                how = "which the engine cannot read: write it in microseconds (pandas: coerce_timestamps='us')"
            faults.append(f"  ~ {column}: declared {declared.type}, {kinds[column]} in the file, {how}")
        elif _is_local(kinds[column], declared.type) and not feed.timestamp_zone:
            faults.append(f"  ~ {column}: {kinds[column]} without a zone: declare the feed's timestamp_zone")
    stop(feed, name, faults)
    new = {recorded(other): kind for other, kind in kinds.items() if other not in feed.columns}
    return {"n_lines": n_rows, "types": {column: kinds[column] for column in feed.columns}, "new": new}


def shape(feed: FilesFeed, types: dict[str, str]) -> tuple[str, str]:
    """(the schema for Spark's reader, SQL of a row as a struct of the declared columns, its times in UTC)."""
    fields, members = [], []
    for name, column in feed.columns.items():
        c, kind = f"`{name}`", types[name]
        read_as = _read_as(kind, column.type)
        if kind != "null":
            fields.append(f"{c} {read_as}")
        value = f"cast({'null' if kind == 'null' else c} as {column.type})"
        if _is_local(kind, column.type):
            value = f"to_utc_timestamp({value}, {literal(feed.timestamp_zone)})"
        members.append(f"'{name}', {value}")
    return ", ".join(fields), f"named_struct({', '.join(members)}, '_corrupt', cast(null as string))"


def rows_at(feed: FilesFeed, name: str, numbers: list[int]) -> list[str]:
    """The rows of a file with these numbers (ascending, from 1), each as a line of JSON."""
    found, before = [], 0
    with _opened(feed, name) as file:
        kinds = _kinds(file)
        for group in range(file.num_row_groups):
            end = before + file.metadata.row_group(group).num_rows
            inside = [number for number in numbers if before < number <= end]
            for batch in file.iter_batches(AT_ONCE, row_groups=[group]) if inside else ():
                at = [number - before - 1 for number in inside if before < number <= before + len(batch)]
                before += len(batch)
                columns = {
                    n: _readable(c.take(pa.array(at, pa.int64()))) for n, c in zip(kinds, batch.columns, strict=True)
                }
                for row in zip(*columns.values(), strict=True) if at else ():
                    texts = {n: _text(value, kinds[n]) for n, value in zip(columns, row, strict=True)}
                    found.append(json.dumps(texts, ensure_ascii=False, default=str))
            before = end
    return found


def _opened(feed: FilesFeed, name: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(open_whole(feed, name))
    except (pa.ArrowException, OSError) as error:
        why = str(error).split("\n")[0]
        raise PlatformError(
            f"{feed.name}: {spool_path(feed)}/{shown(name)} cannot be read as Parquet: {why}; nothing of this load was taken"
        ) from None


def _kinds(file: pq.ParquetFile) -> dict[str, str]:
    """Column → type, as Arrow names it."""
    moments = {c.path for c in map(file.schema.column, range(len(file.schema))) if c.physical_type == "INT96"}
    plain = {f.name: f.type.value_type if pa.types.is_dictionary(f.type) else f.type for f in file.schema_arrow}
    return {name: INT96 if name in moments else str(kind) for name, kind in plain.items()}


def _read_as(kind: str, declared: str) -> str | None:
    """As what Spark reads a column for its declared type; None if that does not hold each value of the file's type."""
    for there, ours, read_as in _RULES:
        if re.fullmatch(there, kind) and re.fullmatch(ours, declared):
            if not kind.startswith("decimal128"):
                return read_as
            (p, s), (precision, scale) = (map(int, re.findall(r"\d+", text)[-2:]) for text in (kind, declared))
            return read_as.format(p=p, s=s) if scale >= s and precision - scale >= p - s else None
    return None


def _is_local(kind: str, declared: str) -> bool:
    return declared == "timestamp" and kind.startswith("timestamp") and "tz=" not in kind


def _readable(column: pa.Array) -> list:
    """The values of a column; bytes that are no UTF-8 are escaped in a text."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        raw = column.cast(pa.large_binary()).to_pylist()
        return [value if value is None else value.decode("utf-8", "backslashreplace") for value in raw]
    return column.to_pylist()


def _text(value, kind: str):
    """A value as JSON holds it without loss (values.py reads it again)."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if value is None or not hasattr(value, "isoformat"):
        return value if isinstance(value, int | float | str | list | dict | None) else str(value)
    if getattr(value, "tzinfo", None):
        value = value.astimezone(UTC)
    return value.isoformat() + ("Z" if kind == INT96 else "")
