"""Reading and replacing whole day partitions of Hive tables, and their content hashes.

Tables are never appended to (concurrent appends lose rows in silence) and never written with a dynamic partition spec
alone (an empty result would leave yesterday's rows standing): one writer replaces one partition, whole. A writer whose lock
was taken over (warehouse/leases.py) is stopped before it touches a table.
"""

from warehouse import state, tables
from warehouse.dates import parse_ds
from warehouse.errors import PlatformError
from warehouse.session import session


def replace_partition(df, table: str, ds: str) -> None:
    """Make partition `ds` of `table` hold exactly the rows of `df` (without a `ds` column).

    The table is created from the frame's schema when missing. Raises PlatformError when its columns differ.
    """
    parse_ds(ds)
    given = {f.name: f.dataType.simpleString() for f in df.schema.fields}
    ordered = ", ".join(f"`{name}`" for name in _table_with(table, given, ["ds"], ds))
    state.require_held()
    session().sql(f"insert overwrite table {table} partition (ds = '{ds}') select {ordered} from {{df}}", df=df)


def point_partition(
    table: str, columns: dict[str, str], spec: dict[str, str], location: str, loose: frozenset[str] = frozenset()
) -> None:
    """Make the partition `spec` (ds first) of `table` the Parquet files in `location`, in one step of the metastore.

    `columns` is name → type. The table is created when missing. Raises PlatformError when its columns differ, but for
    those named in `loose`: the table is given them when they first come, and days without them hold null.
    """
    parse_ds(spec["ds"])
    _table_with(table, columns, list(spec), spec["ds"], loose)
    named = ", ".join(f"{name} = '{value}'" for name, value in spec.items())
    state.require_held()
    session().sql(f"alter table {table} add if not exists partition ({named}) location '{location}'")
    session().sql(f"alter table {table} partition ({named}) set location '{location}'")


def _table_with(
    table: str, columns: dict[str, str], partitioned_by: list[str], ds: str, loose: frozenset[str] = frozenset()
) -> list[str]:
    """The table's columns in its own order, the table created when missing; PlatformError when they differ."""
    spark = session()
    fields = _fields(table)
    if fields is None:
        listed = ", ".join(f"`{name}` {kind}" for name, kind in columns.items())
        by = ", ".join(f"{name} string" for name in partitioned_by)
        spark.sql(f"create database if not exists {table.split('.')[0]}")
        spark.sql(f"create table if not exists {table} ({listed}) partitioned by ({by}) stored as parquet")
        fields = _fields(table)
    wanted = {f.name: f.dataType.simpleString() for f in fields if f.name not in partitioned_by}
    added = {name: kind for name, kind in columns.items() if name in loose and name not in wanted}
    if {k: v for k, v in wanted.items() if k not in loose} != {k: v for k, v in columns.items() if k not in loose}:
        raise PlatformError(
            f"the columns of {table} differ from what the run wants to write for {ds}: table {wanted}, "
            f"run {columns}; rename the table away or change the declaration, then run again"
        )
    if added:
        spark.sql(f"alter table {table} add columns ({', '.join(f'`{name}` {kind}' for name, kind in added.items())})")
    return [*wanted, *added]


def columns_of(table: str) -> dict[str, str] | None:
    """Name → type of a table's columns without `ds`, or None if there is no such table."""
    fields = _fields(table)
    return None if fields is None else {f.name: f.dataType.simpleString() for f in fields if f.name != "ds"}


def _fields(table: str):
    """The fields of a table, or None if there is no such table: one question to the metastore where three would do."""
    from pyspark.errors import AnalysisException

    try:
        return session().table(table).schema.fields
    except AnalysisException as error:
        if error.getCondition() != "TABLE_OR_VIEW_NOT_FOUND":
            raise
        return None


def read_days(table: str, from_ds: str, to_ds: str):
    """A DataFrame of the rows of `table` with from_ds <= ds <= to_ds; a missing table is a PlatformError."""
    spark = session()
    parse_ds(from_ds), parse_ds(to_ds)
    if not spark.catalog.tableExists(table):
        raise PlatformError(f"table {table} does not exist yet: the step that writes it has not run")
    return spark.table(table).where(f"ds between '{from_ds}' and '{to_ds}'")


def partition_days(table: str) -> list[str]:
    """The days that have a partition in `table`, ascending ([] for a table that does not exist)."""
    spark = session()
    if not spark.catalog.tableExists(table):
        return []
    return sorted({row[0].split("/")[0].removeprefix("ds=") for row in spark.sql(f"show partitions {table}").collect()})


def drop_days(table: str, from_ds: str, to_ds: str) -> list[str]:
    """Drop the partitions from_ds … to_ds of `table`; returns the days that existed."""
    found = [d for d in partition_days(table) if from_ds <= d <= to_ds]
    if found:
        state.require_held()
        specs = ", ".join(f"partition (ds = '{d}')" for d in found)
        session().sql(f"alter table {table} drop if exists {specs}")
    return found


def drop_batches(table: str, ds: str, n: int) -> None:
    """Drop the partitions (ds, batch) of `table` beyond its first `n` batches."""
    rows = session().sql(f"show partitions {table} partition (ds = '{parse_ds(ds)}')").collect()
    found = sorted(row[0].rsplit("=", 1)[1] for row in rows)
    state.require_held()
    for batch in found[n:]:
        session().sql(f"alter table {table} drop if exists partition (ds = '{ds}', batch = '{batch}')")


def checksums(ds: str | None = None, layer: str | None = None) -> list[dict]:
    """Order-independent content hash per table and day, without `tables.RUN_COLUMNS`.

    Returns dicts with table, ds, n_rows, checksum (hex). The hash is the sum over rows of xxhash64 of every column's
    exact text, in decimal(38,0): independent of order, files and partitioning, and it sees a doubled row.
    """
    spark = session()
    layers = [layer] if layer else [x for x in tables.LAYERS if x not in (tables.STAGING, tables.INPUT, tables.OPS)]
    parts = []
    for schema in layers:
        if not spark.catalog.databaseExists(schema):
            continue
        for row in spark.sql(f"show tables in {schema}").collect():
            name = f"{schema}.{row['tableName']}"
            columns = [c for c in sorted(spark.table(name).columns) if c not in (*tables.RUN_COLUMNS, "ds", "batch")]
            texts = ", ".join(f"coalesce(cast(`{c}` as string), '\\\\N')" for c in columns)
            where = f"where ds = '{parse_ds(ds)}'" if ds else ""
            parts.append(
                f"select '{name}' as table_name, ds, count(*) as n_rows, "
                f"sum(cast(xxhash64({texts}) as decimal(38,0))) as total from {name} {where} group by ds"
            )
    if not parts:
        return []
    rows = spark.sql(" union all ".join(parts) + " order by table_name, ds").collect()
    return [
        {"table": r.table_name, "ds": r.ds, "n_rows": r.n_rows, "checksum": f"{int(r.total) & (2**64 - 1):016x}"}
        for r in rows
    ]
