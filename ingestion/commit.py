"""The commit protocol of every load (docs/ingestion.md): write apart → check counts → replace whole partitions.

A load is written into a directory of its own that no table knows. Only when its rows have been counted against the source
are the partitions of raw and quarantine pointed to it, each in one step of the metastore. What an attempt that was killed
leaves behind is a directory that nobody reads; the next attempt that succeeds removes it.
"""

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from pyarrow import fs

from ingestion import collect, topics
from ingestion.door import HEADER
from ingestion.feeds import Feed, FilesFeed, JdbcFeed, LogFeed
from ingestion.privacy import encrypt, payload_row
from ingestion.protect import keys_sealing_with, stored_columns
from ingestion.records import BLOCK
from warehouse import state
from warehouse.errors import PlatformError, shown
from warehouse.keys import key_id, key_path
from warehouse.partitions import point_partition
from warehouse.session import session
from warehouse.settings import settings
from warehouse.state import Load

# Name → type of a quarantine table. source_position is the line of a file, or the offset in a topic's partition.
QUARANTINE = {
    "reason": "string", "row_key": "string", "source": "string", "source_partition": "int", "source_position": "bigint",
    "received_date": "string", "payload": "string", "key_id": "string", "load_id": "string",
}  # fmt: skip
# What the engine says of a held row; the rest is completed here.
_FOUND = {"reason", "row_key", "source", "source_partition", "source_position", "received_date", "load_id", "source_block",
          "source_row"}  # fmt: skip
ASIDE = (
    "links"  # beside the attempts: names of ours for files that are read (spool.read_paths), removed with old attempts
)
HELD_AT_ONCE = 20_000  # rows held back that are in memory with their lines
# A dataset reads millions of rows ahead unless told otherwise.
_IN_A_STREAM = {"batch_size": 65_536, "batch_readahead": 1, "fragment_readahead": 1}
_ARROW = {"string": pa.string(), "int": pa.int32(), "bigint": pa.int64()}
_HELD_SCHEMA = pa.schema([(name, _ARROW[kind]) for name, kind in QUARANTINE.items()])


@dataclass(frozen=True)
class Written:
    """Rows of one load as they lie in its directory, to be checked before they are published."""

    place: str
    columns: dict[str, str]
    n_rows: int
    n_quarantined: int

    def per_source(self) -> Counter:
        """File or topic → lines written of it, headers among them."""
        found: Counter = Counter()
        for kind in ("held=false", "held=true"):
            rows = _dataset(f"{self.place}/parts/{kind}", "source")
            for batch in rows.to_batches(columns=["source"], **_IN_A_STREAM) if rows else ():
                for counted in pc.value_counts(batch["source"]).to_pylist():
                    found[counted["values"]] += counted["counts"]
        return found


def write_apart(frame, feed: Feed, load: Load, spec: dict[str, str]) -> Written:
    """Write the frame of a load once, beside its tables; returns where and how much.

    A frame of events carries `held`: its held rows become the quarantine, with the line of each in its file.
    """
    spark = session()
    spark.conf.set(
        "spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS"
    )  # the default, INT96, is slow and larger
    place = "/".join((home_of(feed.name, spec), uuid.uuid4().hex[:12]))
    stamped = frame.selectExpr("*", f"'{load.load_id}' as load_id")
    columns = {f.name: f.dataType.simpleString() for f in stamped.schema.fields}
    # A dictionary of values that are nearly all different is built for nothing.
    plain = {f"parquet.enable.dictionary#{name}": "false" for name in _different(feed) if name in columns}
    writer = stamped.write.options(**plain)
    if isinstance(feed, JdbcFeed):
        writer.parquet(f"{place}/rows")
        return Written(place, columns, _count(f"{place}/rows"), 0)
    # Both kinds of rows are written at once: without this Spark would sort them by kind first.
    spark.conf.set("spark.sql.maxConcurrentOutputFileWriters", "8")
    writer.partitionBy("held").parquet(f"{place}/parts")
    n_quarantined = _write_quarantine(feed, load, f"{place}/parts", f"{place}/quarantine")
    kept = stored_columns(feed) | {name: columns[name] for name in _CARRIED if name in columns}
    return Written(place, kept, _count(f"{place}/parts/held=false"), n_quarantined)


def _different(feed: Feed) -> list[str]:
    """The columns of a load in which nearly each row has a value of its own."""
    if isinstance(feed, JdbcFeed):
        return list(feed.key) if len(feed.key) == 1 else []
    return [*feed.key, *filter(None, [feed.timestamp_column]), "event_time", "source_row", "source_position"]


_CARRIED = ("event_time", "received_date", "source", "source_partition", "source_position", "load_id")


def publish(written: Written, feed: Feed, spec: dict[str, str]) -> None:
    """Point the partitions of the feed's tables to what was written, and remove what earlier attempts left."""
    tables = [(feed.raw_table, written.columns, "rows" if isinstance(feed, JdbcFeed) else "parts/held=false")]
    if not isinstance(feed, JdbcFeed):
        tables.append((feed.quarantine_table, QUARANTINE, "quarantine"))
    loose = _loose(feed)
    system, root = fs.FileSystem.from_uri(written.place)
    for table, columns, part in tables:
        system.create_dir(f"{root}/{part}")  # none was written if there was no row
        point_partition(table, columns, spec, f"{written.place}/{part}", loose)
    home = root.rsplit("/", 1)[0]
    state.require_held()  # else it could be the attempt of whoever took over
    for found in system.get_file_info(fs.FileSelector(home)):
        if found.path.rstrip("/") != root and "=" not in found.base_name:
            system.delete_dir(found.path)


def _loose(feed: Feed) -> frozenset[str]:
    """The names in raw of columns that came with the source: let through, or declared later; older days lack them."""
    names = [row["column_name"] for row in state.drift(feed.name)]
    declared = [stored for name in names if name in feed.columns for stored in feed.columns[name].stored(name)]
    return frozenset([*(f"{name}_enc" for name in names), *declared, *(["key_id"] if names else [])])


def home_of(feed: str, spec: dict[str, str]) -> str:
    """The directory of all that was written for a partition of a feed."""
    parts = [f"{name}={value}" for name, value in spec.items()]
    return "/".join((settings().warehouse_uri.rstrip("/"), "loads", feed, *parts))


def _count(place: str) -> int:
    """Rows of the Parquet files in a directory, from their footers; 0 if it is not there."""
    found = _dataset(place)
    return found.count_rows() if found else 0


def _dataset(place: str, *as_codes: str) -> pads.Dataset | None:
    """The Parquet files in a directory, None if there are none; the columns `as_codes` come as dictionaries."""
    system, path = fs.FileSystem.from_uri(place)
    infos = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    files = [info.path for info in infos if info.base_name.endswith(".parquet")]
    kind = pads.ParquetFileFormat(dictionary_columns=set(as_codes))
    return pads.dataset(files, filesystem=system, format=kind) if files else None


def _write_quarantine(feed: LogFeed, load: Load, parts: str, target: str) -> int:
    """Write the held rows of `parts` as the quarantine's file, each with its place and its sealed line; returns how many.

    The lines are read again from their file or topic: there are few of them.
    """
    held = _dataset(f"{parts}/held=true")
    if held is None:
        return 0
    line_of = _lines(parts) if isinstance(feed, FilesFeed) else None
    used_key = key_id()
    keys = keys_sealing_with(used_key, str(key_path()))
    wanted = [name for name in held.schema.names if name in _FOUND]
    system, path = fs.FileSystem.from_uri(target)
    system.create_dir(path)
    n = 0
    with pq.ParquetWriter(f"{path}/part-00000.parquet", _HELD_SCHEMA, filesystem=system) as writer:
        for batch in held.to_batches(columns=wanted, batch_size=HELD_AT_ONCE):
            rows = pa.Table.from_batches([batch])
            if line_of:
                rows = _without_headers(rows.append_column("source_position", line_of(rows)))
                rows = rows.append_column("source_partition", pa.nulls(len(rows), pa.int32()))
            row_keys = rows["row_key"].cast(pa.string()).to_pylist()
            sealed = [
                encrypt(keys, text, feed.quarantine_table, "payload", payload_row(row_key, source))
                for text, row_key, source in zip(_texts(feed, rows), row_keys, rows["source"].to_pylist(), strict=True)
            ]
            rows = rows.append_column("payload", pa.array(sealed, pa.string()))
            rows = rows.append_column("key_id", pa.array([used_key] * len(rows), pa.string()))
            writer.write_table(rows.select(list(QUARANTINE)).cast(_HELD_SCHEMA))
            n += len(rows)
    return n


def _texts(feed: LogFeed, rows: pa.Table) -> list[str | None]:
    """The lines of held rows, from where they came."""
    if isinstance(feed, FilesFeed):
        places = list(zip(rows["source"].to_pylist(), rows["source_position"].to_pylist(), strict=True))
        found = collect.lines_at(feed, places)
    else:
        places = list(zip(rows["source_partition"].to_pylist(), rows["source_position"].to_pylist(), strict=True))
        found = topics.records_at(feed, places)
    return [found[place] for place in places]


def _without_headers(rows: pa.Table) -> pa.Table:
    """A file's first line is its header; the same line further down is a row held back."""
    is_header = pc.equal(rows["reason"], HEADER)
    first = pc.and_(is_header, pc.equal(rows["source_position"], 1))
    named = pc.if_else(is_header, "repeated_header", rows["reason"])
    return rows.set_column(rows.schema.get_field_index("reason"), "reason", named).filter(pc.invert(first))


def _lines(parts: str) -> Callable[[pa.Table], pa.Array]:
    """A function that gives the line numbers of held rows.

    Spark reads a large file in blocks and numbers the rows it reads in order: a row's line is the number of lines in the
    blocks before its own, plus its distance from the first row of its block.
    """
    blocks: dict[tuple[str, int], list[int]] = {}  # (file, block) → [lowest number, rows]
    for kind in ("held=false", "held=true"):
        found = _dataset(f"{parts}/{kind}")
        for batch in (
            found.to_batches(columns=["source", "source_block", "source_row"], **_IN_A_STREAM) if found else ()
        ):
            grouped = pa.Table.from_batches([batch]).group_by(["source", "source_block"])
            sums = grouped.aggregate([("source_row", "min"), ("source_row", "count")]).to_pydict()
            for file, block, low, n in zip(
                sums["source"], sums["source_block"], sums["source_row_min"], sums["source_row_count"], strict=True
            ):
                if block in (None, BLOCK):  # a row released from quarantine, or one that knows its line
                    continue
                known = blocks.setdefault((file, block), [low, 0])
                known[:] = min(known[0], low), known[1] + n
    base: dict = defaultdict(int)
    before, last = 0, None
    for (file, block), (low, n) in sorted(blocks.items()):
        before = 0 if file != last else before
        base[file, block] = before - low + 1
        before, last = before + n, file

    def number(rows: pa.Table) -> pa.Array:
        places = zip(rows["source"].to_pylist(), rows["source_block"].to_pylist(), strict=True)
        return pc.add(rows["source_row"].combine_chunks(), pa.array([base[place] for place in places], pa.int64()))

    return number


def expect_each(feed: FilesFeed, written: Written, expected: dict[str, int]) -> None:
    """Raise PlatformError unless as many lines were written of each source as it had: file → lines.

    Sums alone could agree by chance, with one file read twice and another never.
    """
    found = written.per_source()
    for name in sorted({*expected, *found}):
        if found[name] != expected.get(name, 0):
            raise PlatformError(
                f"{feed.name}: {shown(name)} had {expected.get(name, 0)} rows, but {found[name]} were written: it changed "
                "while it was read; run it again"
            )


def expect(feed: Feed, load: Load, written: Written, expected: int) -> None:
    """Raise PlatformError unless as many rows were written as the source had."""
    if written.n_rows + written.n_quarantined != expected:
        raise PlatformError(
            f"{feed.name}: the source of {load.ds} had {expected} rows, but {written.n_rows} were written and "
            f"{written.n_quarantined} quarantined: it changed while it was read; run it again"
        )
