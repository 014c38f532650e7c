"""Rotation of the privacy key: the ring gets a new block, and every stored secret is sealed anew with it.

A partition's rows are written under the new key into a directory of their own, counted, and then the partition is pointed
there, in one step of the metastore, as a load does it (commit.py); then the old files are removed. So it can be killed at
any point and typed again: the block that is there is taken up, partitions that are done are passed over. Hashes stay as they
are: they come from the ring's first block, because nothing but the clear value could make another, and joins must hold.
"""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass

from pyarrow import fs
from pyspark.errors import PySparkException

from ingestion.commit import home_of
from ingestion.feeds import JdbcFeed, load_feeds
from ingestion.protect import PAYLOAD_KEY, payload_keys, reseal, row_keys
from warehouse import keys, leases, state, tables
from warehouse.errors import PlatformError
from warehouse.partitions import point_partition
from warehouse.session import session


@dataclass(frozen=True)
class Sealed:
    """A table with sealed columns, and what binds a row's secrets to it."""

    feed: str
    table: str
    columns: dict[str, str]  # stored name → the name it is bound to
    key: tuple[str, ...]
    rows_of: Callable  # Arrow batch → what its rows are bound to
    part: str  # where in the directory of a load its files are


def sealed_tables() -> list[Sealed]:
    """The tables of declared feeds that hold secrets: raw ones with encrypted columns, and quarantined payloads."""
    found = []
    for feed in load_feeds().values():
        # Columns that nobody declared may have been let through, encrypted: the table itself says which there are.
        plain = [
            new for name, column in feed.columns.items() if column.action != "encrypt" for new in column.stored(name)
        ]
        there = [name for name in _columns(feed.raw_table) if name.endswith("_enc") and name not in plain]
        if there:
            secrets = {stored: stored.removesuffix("_enc") for stored in there}
            rows_of = functools.partial(row_keys, key_columns=list(feed.key))
            part = "rows" if isinstance(feed, JdbcFeed) else "parts/held=false"
            found.append(Sealed(feed.name, feed.raw_table, secrets, feed.key, rows_of, part))
        if _columns(feed.quarantine_table):
            payload = {"payload": "payload"}
            found.append(Sealed(feed.name, feed.quarantine_table, payload, PAYLOAD_KEY, payload_keys, "quarantine"))
    return found


def rotate() -> None:
    """Add a block to the key ring and seal every secret with it, or go on with a rotation that was interrupted.

    Prints what is done, a line per partition. Raises PlatformError, with the partition at fault left as it was.
    """
    session()
    with leases.lock("privacy rotate"):
        places = sealed_tables()
        key = _newest_key(places)
        n_rows = n_partitions = 0
        for place in places:
            for spec, by_key in rows_by_partition(place.table):
                with _nobody_else_at(place):
                    if set(by_key) != {key}:
                        n_rows += _seal_anew(place, spec, key)
                        n_partitions += 1
                    _remove_unread(place, spec)
    print(
        f"{n_rows:,} rows in {n_partitions} partitions sealed anew with {key}; hashes still come from {keys.key_ids()[0]}"
    )
    for row in rows_by_key():
        if row["key_id"] != key and row["kind"] == "undeclared":
            print(f"left as it is: {row['table']}, {row['n_rows']:,} rows under {row['key_id']}; no feed declares it")
    print("keep a copy of the key ring as it is now: a backup of before opens nothing that is sealed from here on")
    old = keys.key_ids()[1:-1]
    print(
        f"next: `mdp privacy rotate --retire` takes {', '.join(old)} out of it" if old else "next: `mdp privacy status`"
    )


def retire() -> None:
    """Take the blocks out of the ring with which no row is sealed any more; the first and the newest stay.

    Prints what is done. Raises PlatformError naming what still holds rows of an old block.
    """
    session()
    with leases.lock("privacy rotate"):
        first, *old = keys.key_ids()[:-1] or keys.key_ids()
        used = rows_by_key()
        free = [key for key in old if key not in {row["key_id"] for row in used}]
        keys.take_out(free)
    print(f"taken out of the key ring: {', '.join(free) or 'nothing'}; {first} stays, because the hashes come from it")
    if kept := [row for row in used if row["key_id"] in old]:
        where = ", ".join(f"{row['table']} ({row['n_rows']:,} rows under {row['key_id']})" for row in kept)
        raise PlatformError(
            f"still sealed with an old key: {where}; `mdp privacy rotate` seals what a feed declares, the rest is yours to "
            "drop; then retire again"
        )


def rows_by_key() -> list[dict]:
    """Dicts with table, kind, key_id and n_rows for each key in each raw or quarantine table, declared or not.

    kind is sealed, hashed (its key_id only says where hashes come from) or undeclared (no feed of that name).
    """
    sealed = {place.table for place in sealed_tables()}
    declared = {feed.raw_table for feed in load_feeds().values()} | sealed
    found = []
    for layer in filter(session().catalog.databaseExists, (tables.RAW, tables.QUARANTINE)):
        for row in session().sql(f"show tables in {layer}").collect():
            table = f"{layer}.{row['tableName']}"
            if "key_id" not in _columns(table):
                continue
            kind = "sealed" if table in sealed else "hashed" if table in declared else "undeclared"
            counts = (
                session()
                .sql(f"select key_id, count(*) as n from {table} where key_id is not null group by key_id")
                .collect()
            )
            found += [{"table": table, "kind": kind, "key_id": r["key_id"], "n_rows": r["n"]} for r in counts]
    return found


def rows_by_partition(table: str) -> list[tuple[dict[str, str], dict[str, int]]]:
    """(spec of the partition, key → number of rows) for each partition of a table that has rows under a key, by day."""
    by = ["ds", "batch"] if "batch" in _columns(table) else ["ds"]
    named = ", ".join([*by, "key_id"])
    query = f"select {named}, count(*) as n from {table} where key_id is not null group by {named} order by {named}"
    found = {}
    for row in session().sql(query).collect():
        found.setdefault(tuple(row[name] for name in by), {})[row["key_id"]] = row["n"]
    return [(dict(zip(by, values, strict=True)), by_key) for values, by_key in found.items()]


def _newest_key(places: list[Sealed]) -> str:
    """The key to seal with: a new one, or the one of a rotation that did not finish."""
    with contextlib.ExitStack() as held:
        for feed in load_feeds():  # a load in work stamps its rows with the key that it was planned with
            held.enter_context(leases.lock(f"ingest {feed}"))
        is_unfinished = keys.is_growing()
        if is_unfinished:
            print(f"the key ring has a block that is not recorded: {keys.grow()} is taken up")
        ring = keys.key_ids()
        there = [(place, spec, by_key) for place in places for spec, by_key in rows_by_partition(place.table)]
        used = {key for _, _, by_key in there for key in by_key}
        if foreign := sorted(used.difference(ring)):
            raise PlatformError(
                f"rows are sealed with {', '.join(foreign)}, which the key ring {keys.key_path()} lacks: restore a copy of it "
                "that holds them; nothing was changed"
            )
        copies = (_copies(place, spec) for place, spec, _ in there)
        if (
            is_unfinished
            or used.difference({ring[-1]})
            or any(ring[-1] in names and len(names) > 1 for names in copies)
        ):
            print(f"going on with the rotation to {ring[-1]}")
            return ring[-1]
        key = keys.grow()
        print(f"the key ring has a new block: {key}")
        return key


def _seal_anew(place: Sealed, spec: dict[str, str], key: str) -> int:
    """Point a partition to its rows under the newest key; returns their number."""
    rows = _rows(place.table, spec)
    expected = rows.count()
    _require_published(place, spec["ds"])
    target = f"{home_of(place.feed, spec)}/{key}/{place.part}"
    for _ in range(2):  # the engine may still be at work for a process that was killed, and add that one's rows to ours
        _write(reseal(rows, place.table, place.columns, place.rows_of), place, spec, target)
        written = session().read.parquet(target).count()
        if written == expected:
            break
    else:
        raise PlatformError(
            f"{place.table} of {_named(spec)} has {expected} rows, but {written} were sealed anew: it is left as it is; run "
            "`mdp privacy rotate` again"
        )
    columns = {f.name: f.dataType.simpleString() for f in rows.schema.fields}
    point_partition(place.table, columns, spec, target)
    print(f"  {place.table:<28} {_named(spec)} {expected:>10,} rows sealed anew", flush=True)
    return expected


def _rows(table: str, spec: dict[str, str]):
    """The rows of one partition, without the columns that name it."""
    return session().table(table).where(" and ".join(f"{k} = '{v}'" for k, v in spec.items())).drop(*spec)


def _write(rows, place: Sealed, spec: dict[str, str], target: str) -> None:
    try:
        rows.write.mode("overwrite").parquet(target)
    except PySparkException as error:
        fault = next((line for line in str(error).splitlines() if line.startswith("ValueError: ")), None)
        if fault is None:
            raise
        raise PlatformError(
            f"{place.table} of {_named(spec)} is left as it is: {fault.removeprefix('ValueError: ')}; restore the key ring or "
            "the partition, then run `mdp privacy rotate` again"
        ) from None


def _copies(place: Sealed, spec: dict[str, str]) -> list[str]:
    """The directories that hold files of a partition: that of its load, or, named by its key, of a rotation."""
    system, home = fs.FileSystem.from_uri(home_of(place.feed, spec))
    found = system.get_file_info(fs.FileSelector(home, allow_not_found=True))
    held = system.get_file_info([f"{info.path}/{place.part}" for info in found if info.type == fs.FileType.Directory])
    return [info.path.removeprefix(f"{home}/").split("/")[0] for info in held if info.type == fs.FileType.Directory]


def _remove_unread(place: Sealed, spec: dict[str, str]) -> None:
    """Remove the files of a partition that its table does not point to any more: they are sealed with an older key."""
    copies = _copies(place, spec)
    if len(copies) < 2:
        return
    named = ", ".join(f"{k} = '{v}'" for k, v in spec.items())
    described = session().sql(f"describe formatted {place.table} partition ({named})").collect()
    location = next(row["data_type"] for row in described if row["col_name"] == "Location")
    system, home = fs.FileSystem.from_uri(home_of(place.feed, spec))
    state.require_held()
    current = [name for name in copies if location.endswith(f"/{name}/{place.part}")]
    for name in set(copies).difference(current) if current else ():
        lines = f"{home}/{name}/parts/held=true"  # what the quarantine was made of
        if place.table.startswith(tables.QUARANTINE) and system.get_file_info(lines).type == fs.FileType.Directory:
            system.delete_dir(lines)
        system.delete_dir(f"{home}/{name}/{place.part}")


@contextlib.contextmanager
def _nobody_else_at(place: Sealed):
    """Neither a load nor a build may meet a partition while it is replaced."""
    with leases.lock(f"ingest {place.feed}"), leases.lock("build cleaned"):
        yield


def _require_published(place: Sealed, ds: str) -> None:
    """Raise PlatformError unless the partition belongs to a load that is whole and holds what was published."""
    load = state.load(place.feed, ds)
    if load is None:
        raise PlatformError(
            f"{place.table} of {ds} holds sealed rows, but the state database knows no load of that day: bring that database "
            "back, or drop the partition; then run `mdp privacy rotate` again"
        )
    if load.status != "published":
        raise PlatformError(
            f"{place.feed}: a load of {ds} was begun: finish it with `mdp ingest --ds {ds}`, then run `mdp privacy rotate` again"
        )
    published = load.n_quarantined if place.table.startswith(tables.QUARANTINE) else load.n_rows
    if (found := _rows(place.table, {"ds": ds}).count()) != published:
        raise PlatformError(
            f"{place.table} of {ds} holds {found} rows, {published} were published: load the day again (`mdp ingest --ds {ds} "
            f"--feed {place.feed} --reload`), then run `mdp privacy rotate` again"
        )


def _columns(table: str) -> list[str]:
    """The columns of a table; none if it does not exist."""
    return session().table(table).columns if session().catalog.tableExists(table) else []


def _named(spec: dict[str, str]) -> str:
    return " batch ".join(spec.values())
