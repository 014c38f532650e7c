"""Reading and replacing whole day partitions of Hive tables, and their content hashes.

Tables are never appended to (concurrent appends lose rows in silence) and never written with a dynamic partition spec
alone (an empty result would leave yesterday's rows standing): one writer replaces one partition, whole.
"""

from warehouse import tables
from warehouse.dates import parse_ds
from warehouse.errors import PlatformError
from warehouse.session import session


def replace_partition(df, table: str, ds: str) -> None:
    """Make partition `ds` of `table` hold exactly the rows of `df` (without a `ds` column).

    The table is created from the frame's schema when missing. Raises PlatformError when its columns differ.
    """
    spark = session()
    parse_ds(ds)
    fields = _fields(table)
    if fields is None:
        columns = ", ".join(f"`{f.name}` {f.dataType.simpleString()}" for f in df.schema.fields)
        spark.sql(f"create database if not exists {table.split('.')[0]}")
        spark.sql(f"create table if not exists {table} ({columns}) partitioned by (ds string) stored as parquet")
        fields = _fields(table)
    wanted = [(f.name, f.dataType.simpleString()) for f in fields if f.name != "ds"]
    given = {f.name: f.dataType.simpleString() for f in df.schema.fields}
    if dict(wanted) != given:
        raise PlatformError(
            f"the columns of {table} differ from what the run wants to write for {ds}: table {dict(wanted)}, "
            f"run {given}; rename the table away or change the declaration, then run again"
        )
    ordered = ", ".join(f"`{name}`" for name, _ in wanted)
    spark.sql(f"insert overwrite table {table} partition (ds = '{ds}') select {ordered} from {{df}}", df=df)


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
    return sorted(row[0].removeprefix("ds=") for row in spark.sql(f"show partitions {table}").collect())


def drop_days(table: str, from_ds: str, to_ds: str) -> list[str]:
    """Drop the partitions from_ds … to_ds of `table`; returns the days that existed."""
    found = [d for d in partition_days(table) if from_ds <= d <= to_ds]
    if found:
        specs = ", ".join(f"partition (ds = '{d}')" for d in found)
        session().sql(f"alter table {table} drop if exists {specs}")
    return found


def checksums(ds: str | None = None, layer: str | None = None) -> list[dict]:
    """Order-independent content hash per table and day, without `tables.RUN_COLUMNS`.

    Returns dicts with table, ds, n_rows, checksum (hex). The hash is the sum over rows of xxhash64 of every column's
    exact text, in decimal(38,0): independent of order, files and partitioning, and it sees a doubled row.
    """
    spark = session()
    layers = [layer] if layer else [x for x in tables.LAYERS if x not in (tables.STAGING, tables.OPS)]
    parts = []
    for schema in layers:
        if not spark.catalog.databaseExists(schema):
            continue
        for row in spark.sql(f"show tables in {schema}").collect():
            name = f"{schema}.{row['tableName']}"
            columns = [c for c in sorted(spark.table(name).columns) if c not in (*tables.RUN_COLUMNS, "ds")]
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
