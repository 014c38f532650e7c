"""Rotation of the privacy key: the ring gets a new block, and every stored secret is sealed anew with it.

It can be killed at any point and typed again: the block that is there is taken up, partitions that are done are passed
over, and one whose rows were being replaced is completed from its copy. Hashes stay as they are: they come from the
ring's first block, because nothing but the clear value could make another, and joins must hold.
"""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass

from pyspark.errors import PySparkException

from ingestion.feeds import load_feeds
from ingestion.protect import PAYLOAD_KEY, payload_keys, reseal, row_keys
from warehouse import keys, state, tables
from warehouse.errors import PlatformError
from warehouse.partitions import partition_days, replace_partition
from warehouse.session import session

COPY = "__resealing"  # the end of the name of the table that holds a partition's rows while they replace it


@dataclass(frozen=True)
class Sealed:
    """A table with sealed columns, and what binds a row's secrets to it."""

    feed: str
    table: str
    columns: dict[str, str]  # stored name → the name it is bound to
    key: tuple[str, ...]
    rows_of: Callable  # Arrow batch → what its rows are bound to


def sealed_tables() -> list[Sealed]:
    """The tables of declared feeds that hold secrets: raw ones with an encrypted column, and quarantined payloads."""
    found = []
    for feed in load_feeds().values():
        secrets = {column.stored(name)[0]: name for name, column in feed.columns.items() if column.action == "encrypt"}
        rows_of = functools.partial(row_keys, key_columns=list(feed.key))
        if secrets:
            found.append(Sealed(feed.name, feed.raw_table, secrets, feed.key, rows_of))
        payload = {"payload": "payload"}
        found.append(Sealed(feed.name, feed.quarantine_table, payload, PAYLOAD_KEY, payload_keys))
    return [place for place in found if session().catalog.tableExists(place.table)]


def rotate() -> None:
    """Add a block to the key ring and seal every secret with it, or go on with a rotation that was interrupted.

    Prints what is done, a line per partition. Raises PlatformError, with the partition at fault left as it was.
    """
    session()
    with state.lock("privacy rotate"):
        places = sealed_tables()
        interrupted = [place for place in places if _complete_interrupted(place)]
        key = _newest_key(places, bool(interrupted))
        n_rows = n_partitions = 0
        for place in places:
            for ds, by_key in sorted(rows_by_day(place.table).items()):
                if set(by_key) != {key}:
                    n_rows += _seal_anew(place, ds)
                    n_partitions += 1
            session().sql(f"drop table if exists {place.table}{COPY}")
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
    with state.lock("privacy rotate"):
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
            if "key_id" not in session().table(table).columns:
                continue
            kind = "sealed" if table in sealed else "hashed" if table in declared else "undeclared"
            counts = (
                session().sql(f"select key_id, count(*) as n from {table} group by key_id order by key_id").collect()
            )
            found += [{"table": table, "kind": kind, "key_id": r["key_id"], "n_rows": r["n"]} for r in counts]
    return found


def rows_by_day(table: str) -> dict[str, dict[str, int]]:
    """Day → key → number of rows of a table with sealed columns."""
    found = {}
    for row in session().sql(f"select ds, key_id, count(*) as n from {table} group by ds, key_id").collect():
        found.setdefault(row["ds"], {})[row["key_id"]] = row["n"]
    return found


def _newest_key(places: list[Sealed], interrupted: bool) -> str:
    """The key to seal with: a new one, or the one of a rotation that did not finish."""
    with contextlib.ExitStack() as held:
        for feed in load_feeds():  # a load in work stamps its rows with the key that it was planned with
            held.enter_context(state.lock(f"ingest {feed}"))
        if keys.is_growing():
            print(f"the key ring has a block that is not recorded: {keys.grow()} is taken up")
            interrupted = True
        ring = keys.key_ids()
        used = {key for place in places for by_key in rows_by_day(place.table).values() for key in by_key}
        if foreign := sorted(used.difference(ring)):
            raise PlatformError(
                f"rows are sealed with {', '.join(foreign)}, which the key ring {keys.key_path()} lacks: restore a copy of it "
                "that holds them; nothing was changed"
            )
        if interrupted or used.difference({ring[-1]}):
            print(f"going on with the rotation to {ring[-1]}")
            return ring[-1]
        key = keys.grow()
        print(f"the key ring has a new block: {key}")
        return key


def _seal_anew(place: Sealed, ds: str) -> int:
    """Replace a partition by its rows under the newest key; returns their number."""
    with _nobody_else_at(place):
        expected = _published(place, ds)
        _require_rows(place, place.table, ds, expected)
        rows = session().table(place.table).where(f"ds = '{ds}'").drop("ds")
        try:
            # A copy first: an overwrite would delete the files that it is still reading.
            anew = reseal(rows, place.table, place.columns, place.rows_of)
            _replace(place, anew, f"{place.table}{COPY}", ds, expected)
        except PySparkException as error:
            fault = next((line for line in str(error).splitlines() if line.startswith("ValueError: ")), None)
            if fault is None:
                raise
            session().sql(f"drop table if exists {place.table}{COPY}")
            raise PlatformError(
                f"{place.table} of {ds} is left as it is: {fault.removeprefix('ValueError: ')}; restore the key ring or the "
                "partition, then run `mdp privacy rotate` again"
            ) from None
        _take_copy(place, ds, expected)
    return expected


def _complete_interrupted(place: Sealed) -> bool:
    """Clear away the copy that a killed rotation left; a partition it was replacing is completed from it first.

    Returns whether there was one.
    """
    left = partition_days(f"{place.table}{COPY}")
    for ds in left:
        with _nobody_else_at(place):
            expected = _published(place, ds)
            if _count(place.table, ds) != expected:
                _require_rows(place, f"{place.table}{COPY}", ds, expected)
                _take_copy(place, ds, expected)
    session().sql(f"drop table if exists {place.table}{COPY}")
    return bool(left)


def _take_copy(place: Sealed, ds: str, expected: int) -> None:
    copy = f"{place.table}{COPY}"
    _replace(place, session().table(copy).where(f"ds = '{ds}'").drop("ds"), place.table, ds, expected)
    session().sql(f"alter table {copy} drop partition (ds = '{ds}')")
    print(f"  {place.table:<28} {ds} {expected:>10,} rows sealed anew", flush=True)


def _replace(place: Sealed, rows, table: str, ds: str, expected: int) -> None:
    """Replace partition `ds` of `table` by the rows; PlatformError unless it then holds as many as were published."""
    for _ in range(2):  # the engine may still be at work for a process that was killed, and add that one's rows to ours
        replace_partition(rows, table, ds)
        if _count(table, ds) == expected:
            return
    _require_rows(place, table, ds, expected)


@contextlib.contextmanager
def _nobody_else_at(place: Sealed):
    """Neither a load nor a build may meet a partition while it is replaced."""
    with state.lock(f"ingest {place.feed}"), state.lock("build cleaned"):
        yield


def _published(place: Sealed, ds: str) -> int:
    """The number of rows that the partition was published with; PlatformError if its load is not whole."""
    load = state.load(place.feed, ds)
    if load is None:
        raise PlatformError(
            f"{place.table} of {ds} holds sealed rows, but the state database knows no load of that day: bring that database "
            f"back, or drop the partition; then run `mdp privacy rotate` again"
        )
    if load.status != "published":
        raise PlatformError(
            f"{place.feed}: a load of {ds} was begun: finish it with `mdp ingest --ds {ds}`, then run `mdp privacy rotate` again"
        )
    return load.n_quarantined if place.table.startswith(tables.QUARANTINE) else load.n_rows


def _require_rows(place: Sealed, table: str, ds: str, expected: int) -> None:
    if (found := _count(table, ds)) != expected:
        raise PlatformError(
            f"{table} of {ds} holds {found} rows, {expected} were published: load the day again (`mdp ingest --ds {ds} "
            f"--feed {place.feed} --reload`), then run `mdp privacy rotate` again"
        )


def _count(table: str, ds: str) -> int:
    return session().table(table).where(f"ds = '{ds}'").count()
