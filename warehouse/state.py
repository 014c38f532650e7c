"""The state database: everything that must be transactional, behind unique keys.

Loads and their fixed inputs, files taken, published days, leases, gate verdicts, promotions, exports, privacy keys (their
names only) and the traces of who read a secret back live here and not in Hive tables, which lose concurrent appends.
SQLite on a laptop, Postgres on the stack (MDP_STATE_URL).
A stage of a day is "published" only after its tables are whole; a reader that finds it unpublished stops and names the
command to run. The ledger's own timestamps are the only clock reading outside the process launcher.
"""

import contextlib
import fcntl
import functools
import getpass
import json
import os
import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from warehouse import migrations
from warehouse.dates import parse_ds, shift
from warehouse.errors import LeaseLost, PlatformError
from warehouse.settings import settings

metadata = sa.MetaData()
_facts = sa.Table("facts", metadata, sa.Column("name", sa.String(64), primary_key=True), sa.Column("value", sa.Text))
_loads = sa.Table(
    "loads",
    metadata,
    sa.Column("feed", sa.String(64), primary_key=True),
    sa.Column("ds", sa.String(10), primary_key=True),
    sa.Column("load_id", sa.String(96), nullable=False),
    sa.Column("inputs", sa.Text, nullable=False),
    sa.Column("status", sa.String(12), nullable=False),
    sa.Column("n_rows", sa.BigInteger),
    sa.Column("n_quarantined", sa.BigInteger),
    sa.Column("started_at", sa.DateTime, nullable=False),
    sa.Column("published_at", sa.DateTime),
)
_files = sa.Table(
    "files",
    metadata,
    sa.Column("feed", sa.String(64), primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("ds", sa.String(10), nullable=False),
    sa.Column("n_bytes", sa.BigInteger, nullable=False),
)
sa.Index("loads_by_day", _loads.c.ds)
sa.Index("files_by_path", _files.c.feed, _files.c.path)
_load_days = sa.Table(
    "load_days",
    metadata,
    sa.Column("feed", sa.String(64), primary_key=True),
    sa.Column("ds", sa.String(10), primary_key=True),
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("n_rows", sa.BigInteger, nullable=False),
)
_published = sa.Table(
    "published_days",
    metadata,
    sa.Column("stage", sa.String(64), primary_key=True),
    sa.Column("ds", sa.String(10), primary_key=True),
    sa.Column("published_at", sa.DateTime, nullable=False),
)
_reach = sa.Table(
    "reach",
    metadata,
    sa.Column("ds", sa.String(10), primary_key=True),
    sa.Column("first_ds", sa.String(10), nullable=False),
)
_off = sa.Table(
    "off_days",
    metadata,
    sa.Column("stage", sa.String(64), primary_key=True),
    sa.Column("ds", sa.String(10), primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("possible_from", sa.String(10)),
    sa.Column("recorded_at", sa.DateTime, nullable=False),
)
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("holder", sa.String(64), nullable=False),
    sa.Column("who", sa.String(64), nullable=False),
    sa.Column("host", sa.String(128), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("pid_started", sa.Float, nullable=False),
    sa.Column("acquired_at", sa.DateTime, nullable=False),
    sa.Column("heartbeat_at", sa.DateTime, nullable=False),
    sa.Column("expires_at", sa.DateTime, nullable=False),
)
_verdicts = sa.Table(
    "gate_verdicts",
    metadata,
    sa.Column("ds", sa.String(10), primary_key=True),
    sa.Column("gate", sa.String(32), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("rule", sa.String(160), primary_key=True),
    sa.Column("column_name", sa.String(255)),
    sa.Column("success", sa.Boolean, nullable=False),
    sa.Column("observed", sa.Text),
    sa.Column("expected", sa.Text),
    sa.Column("sample", sa.Text),
    sa.Column("recorded_at", sa.DateTime, nullable=False),
)
_known_values = sa.Table(
    "known_values",
    metadata,
    sa.Column("table_name", sa.String(128), primary_key=True),
    sa.Column("column_name", sa.String(128), primary_key=True),
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("first_ds", sa.String(10), nullable=False),
)
_promotions = sa.Table(
    "promotions",
    metadata,
    sa.Column("promotion_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("from_version", sa.String(16)),
    sa.Column("to_version", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("metrics", sa.Text, nullable=False),
    sa.Column("data_fingerprint", sa.Text, nullable=False),
    sa.Column("promoted_by", sa.String(64), nullable=False),
    sa.Column("promoted_at", sa.DateTime, nullable=False),
)
_exports = sa.Table(
    "exports",
    metadata,
    sa.Column("ds", sa.String(10), primary_key=True),
    sa.Column("target", sa.String(128), primary_key=True),
    sa.Column("n_rows", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("exported_at", sa.DateTime, nullable=False),
)
_held_rows = sa.Table(
    "held_rows",
    metadata,
    sa.Column("feed", sa.String(64), primary_key=True),
    sa.Column("ds", sa.String(10), primary_key=True),
    sa.Column("source", sa.String(255), primary_key=True),
    sa.Column("source_partition", sa.Integer, primary_key=True),  # -1 for a file
    sa.Column("source_position", sa.BigInteger, primary_key=True),
    sa.Column("decision", sa.String(12), nullable=False),
    sa.Column("loaded_ds", sa.String(10)),
    sa.Column("decided_by", sa.String(64), nullable=False),
    sa.Column("decided_at", sa.DateTime, nullable=False),
)
_drift = sa.Table(
    "drift",
    metadata,
    sa.Column("feed", sa.String(64), primary_key=True),
    sa.Column("column_name", sa.String(128), primary_key=True),
    sa.Column("type", sa.String(128), nullable=False),
    sa.Column("first_ds", sa.String(10), nullable=False),
)
_keys = sa.Table(
    "privacy_keys",
    metadata,
    sa.Column("key_id", sa.String(16), primary_key=True),
    sa.Column("added_at", sa.DateTime, nullable=False),
    sa.Column("retired_at", sa.DateTime),
)
_reveals = sa.Table(
    "reveals",
    metadata,
    sa.Column("reveal_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("table_name", sa.String(128), nullable=False),
    sa.Column("column_name", sa.String(64), nullable=False),
    sa.Column("row_key", sa.Text, nullable=False),
    sa.Column("ds", sa.String(10), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("revealed_by", sa.String(128), nullable=False),
    sa.Column("revealed_at", sa.DateTime, nullable=False),
)
_export_rows = sa.Table(
    "export_rows",
    metadata,
    sa.Column("ds", sa.String(10), primary_key=True),
    sa.Column("target", sa.String(128), primary_key=True),
    sa.Column(
        "digest", sa.String(64), primary_key=True
    ),  # of the rows that were to be exported: that of exports, or newer
    sa.Column("row_number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("row_key", sa.Text, nullable=False),
    sa.Column("reason", sa.String(255), nullable=False),
)


# Lease → holder: what this process works on (warehouse/leases.py). Nothing is written when one of them is another's by now.
held: dict[str, str] = {}


@dataclass(frozen=True)
class Load:
    """One load of a feed: its inputs are fixed before anything is read."""

    feed: str
    ds: str
    load_id: str
    inputs: dict
    status: str  # "intent" until its partition is whole, then "published"
    n_rows: int | None
    n_quarantined: int | None


@dataclass(frozen=True)
class Off:
    """Why a stage did nothing on a day, and the first day on which it can (None: nobody can know)."""

    stage: str
    ds: str
    reason: str
    possible_from: str | None

    def __str__(self) -> str:
        return self.reason + (f"; possible from {self.possible_from}" if self.possible_from else "")


def engine() -> sa.Engine:
    """The SQLAlchemy engine of the state database, brought up to date on first use (warehouse/migrations)."""
    return _engine(settings().state_url)


@functools.cache
def _engine(url: str) -> sa.Engine:
    one_by_one = contextlib.nullcontext()
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        path.parent.mkdir(parents=True, exist_ok=True)
        made = sa.create_engine(url, connect_args={"timeout": 60})
        # WAL lets readers go on while one task writes; the scheduler runs several tasks at once.
        sa.event.listen(made, "connect", lambda connection, _: connection.execute("pragma journal_mode=wal"))
        one_by_one = _opening(path)
    else:
        made = sa.create_engine(url, pool_pre_ping=True)
    try:
        with one_by_one:
            migrations.migrate(made)
    except sa.exc.OperationalError as error:
        raise PlatformError(f"the state database does not open ({made.url!r}): {error.orig}") from None
    except OSError as error:
        raise PlatformError(f"the state database does not open ({made.url!r}): {error.strerror}") from None
    return made


@contextlib.contextmanager
def _opening(path: Path):
    """Hold back other processes that open the database: to turn on its write-ahead log, SQLite waits for nobody."""
    with path.with_name(f".{path.name}.lock").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def writing() -> Iterator[sa.Connection]:
    """A transaction that is committed only while all leases of this process are its own; else LeaseLost.

    They cannot change hands until it ends: the database writes one at a time, or holds their rows.
    """
    with engine().begin() as connection:
        if held:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("begin immediate")
            wanted = list(held.values())
            rows = sa.select(leases.c.holder).where(leases.c.holder.in_(wanted)).order_by(leases.c.name)
            there = {*connection.scalars(rows.with_for_update(read=True))}
            # asked again of `held`: another thread may have given one back meanwhile
            for name in [name for name, holder in list(held.items()) if holder in wanted and holder not in there]:
                holder = connection.execute(sa.select(leases).where(leases.c.name == name)).mappings().first()
                raise LeaseLost(name, holder)
        yield connection


def require_held() -> None:
    """Raise LeaseLost if a lease of this process is another's by now: to be asked before what cannot be taken back."""
    if held:
        with writing():
            pass


def current_time() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def user() -> str:
    return os.environ.get("MDP_USER") or getpass.getuser()


def _rows(query) -> list:
    with engine().connect() as connection:
        return connection.execute(query).mappings().all()


# -- facts ------------------------------------------------------------------------------------------------------------


def fact(name: str) -> str | None:
    """The recorded value of a fact that is set once (for example the key's fingerprint)."""
    found = _rows(sa.select(_facts.c.value).where(_facts.c.name == name))
    return found[0]["value"] if found else None


def set_fact_once(name: str, value: str) -> None:
    """Record a fact unless it is recorded already."""
    with contextlib.suppress(sa.exc.IntegrityError), writing() as connection:
        connection.execute(_facts.insert().values(name=name, value=value))


def set_fact(name: str, value: str | None) -> None:
    """Record a fact in place of what was recorded; None takes it away."""
    with writing() as connection:
        connection.execute(_facts.delete().where(_facts.c.name == name))
        if value is not None:
            connection.execute(_facts.insert().values(name=name, value=value))


# -- loads ------------------------------------------------------------------------------------------------------------


def begin_load(feed: str, ds: str, inputs: dict, replace: bool = False) -> Load:
    """Store the intent to load `feed` for `ds` from `inputs`; a stored intent wins, unless `replace`.

    The caller must read exactly `Load.inputs` of what is returned: a rerun after a crash reads what the first run meant.
    """
    parse_ds(ds)
    values = dict(
        feed=feed, ds=ds, load_id=f"{feed}@{ds}", inputs=json.dumps(inputs, sort_keys=True), status="intent",
        n_rows=None, n_quarantined=None, started_at=current_time(), published_at=None,
    )  # fmt: skip
    with contextlib.suppress(sa.exc.IntegrityError), writing() as connection:
        if replace:
            connection.execute(_loads.delete().where(_loads.c.feed == feed, _loads.c.ds == ds))
        connection.execute(_loads.insert().values(values))
    return load(feed, ds)


def note_inputs(feed: str, ds: str, inputs: dict) -> None:
    """Store what is done of a load that is read in parts."""
    with writing() as connection:
        mine = _loads.update().where(_loads.c.feed == feed, _loads.c.ds == ds)
        connection.execute(mine.values(inputs=json.dumps(inputs, sort_keys=True)))


def publish_load(feed: str, ds: str, n_rows: int, n_quarantined: int = 0, by_day: dict[str, int] | None = None) -> None:
    """Mark a load's partition as whole; `by_day`: the rows that arrived on each day of a load of several, where it is known."""
    mine = (_loads.c.feed == feed, _loads.c.ds == ds)
    with writing() as connection:
        connection.execute(_load_days.delete().where(_load_days.c.feed == feed, _load_days.c.ds == ds))
        if by_day:
            rows = [dict(feed=feed, ds=ds, day=day, n_rows=n) for day, n in sorted(by_day.items())]
            connection.execute(_load_days.insert(), rows)
        values = dict(status="published", n_rows=n_rows, n_quarantined=n_quarantined, published_at=current_time())
        connection.execute(_loads.update().where(*mine).values(values))


def load_days(feed: str, ds: str) -> dict[str, int]:
    """Day → rows that arrived of it in the load of several days; {} if the load is of one, or nobody knows."""
    query = sa.select(_load_days).where(_load_days.c.feed == feed, _load_days.c.ds == ds)
    return {row["day"]: row["n_rows"] for row in _rows(query.order_by(_load_days.c.day))}


def load(feed: str, ds: str) -> Load | None:
    """The load of `feed` for `ds`, published or only meant."""
    return _one_load(sa.select(_loads).where(_loads.c.feed == feed, _loads.c.ds == ds))


def loads(ds: str) -> list[Load]:
    """The loads of a day, by feed. (All loads of a feed are never read at once: there is one more each day.)"""
    return _as_loads(sa.select(_loads).where(_loads.c.ds == ds).order_by(_loads.c.feed))


def last_loads(feed: str, n: int, before: str | None = None, is_whole: bool = True) -> list[Load]:
    """The newest `n` published (or also begun) loads of `feed`, of days before `before` if given; the newest first."""
    query = sa.select(_loads).where(_loads.c.feed == feed).order_by(_loads.c.ds.desc()).limit(n)
    if is_whole:
        query = query.where(_loads.c.status == "published")
    return _as_loads(query if before is None else query.where(_loads.c.ds < before))


def last_load(feed: str, before: str | None = None, is_whole: bool = True) -> Load | None:
    """The newest of `last_loads`, or None."""
    return next(iter(last_loads(feed, 1, before, is_whole)), None)


def newest_load() -> str | None:
    """The newest day of a published load, of any feed."""
    query = sa.select(sa.func.max(_loads.c.ds).label("ds")).where(_loads.c.status == "published")
    return _rows(query)[0]["ds"]


def next_load(feed: str, after: str) -> Load | None:
    """The first load of `feed` of a day after `after`."""
    query = sa.select(_loads).where(_loads.c.feed == feed, _loads.c.ds > after)
    return _one_load(query.order_by(_loads.c.ds).limit(1))


def n_rows_loaded(from_ds: str, to_ds: str, feeds: tuple[str, ...] = ()) -> int:
    """Rows that the loads of these days, of `feeds` (all, if none is named), brought into raw."""
    query = sa.select(sa.func.sum(_loads.c.n_rows).label("n")).where(_loads.c.ds.between(from_ds, to_ds))
    return int(_rows(query.where(_loads.c.feed.in_(feeds)) if feeds else query)[0]["n"] or 0)


def published_loads(to_ds: str) -> list[str]:
    """The published loads up to a day, days in a row as one: `<feed>@<ds>` or `<feed>@<first>..<last>`, by feed and day.

    What a model trained on that day was made from: written with each training, so it must not grow with each day.
    """
    query = sa.select(_loads.c.feed, _loads.c.ds).where(_loads.c.status == "published", _loads.c.ds <= to_ds)
    spans: list[list[str]] = []
    for row in _rows(query.order_by(_loads.c.feed, _loads.c.ds)):
        if spans and spans[-1][0] == row["feed"] and shift(spans[-1][2], 1) == row["ds"]:
            spans[-1][2] = row["ds"]
        else:
            spans.append([row["feed"], row["ds"], row["ds"]])
    return [f"{feed}@{first}" + (f"..{last}" if last > first else "") for feed, first, last in spans]


def _as_loads(query) -> list[Load]:
    names = Load.__dataclass_fields__
    return [Load(**{k: json.loads(r[k]) if k == "inputs" else r[k] for k in names}) for r in _rows(query)]


def _one_load(query) -> Load | None:
    return next(iter(_as_loads(query)), None)


def loads_of_files(feed: str, names: list[str], but: str) -> list[Load]:
    """The loads of `feed`, that of the day `but` aside, that took one of these files or are not whole."""
    mine, days = (_loads.c.feed == feed, _loads.c.ds != but), set()
    for some in _some(names):
        query = sa.select(_files.c.ds).distinct().where(_files.c.feed == feed, _files.c.path.in_(some))
        days |= {row["ds"] for row in _rows(query)}
    found = _as_loads(sa.select(_loads).where(*mine, _loads.c.status != "published"))
    for some in _some(sorted(days)):
        found += _as_loads(sa.select(_loads).where(*mine, _loads.c.status == "published", _loads.c.ds.in_(some)))
    return found


def taken_digests(feed: str, digests: list[str], but: str) -> dict[str, str]:
    """Digest → path of those of these contents that a load of `feed`, that of the day `but` aside, has taken."""
    found = {}
    for some in _some(digests):
        query = sa.select(_files.c.digest, _files.c.path).where(_files.c.feed == feed, _files.c.ds != but)
        found |= {row["digest"]: row["path"] for row in _rows(query.where(_files.c.digest.in_(some)))}
    return found


def _some(values: list[str]) -> Iterator[list[str]]:
    """The values in parts that fit into a statement."""
    return (values[at : at + 500] for at in range(0, len(values), 500))


def taken_files(feed: str, ds: str | None = None) -> dict[str, str]:
    """Digest → path of the files that loads of `feed` (for `ds`, if given) have taken."""
    query = sa.select(_files.c.digest, _files.c.path).where(_files.c.feed == feed)
    if ds:
        query = query.where(_files.c.ds == ds)
    return {r["digest"]: r["path"] for r in _rows(query)}


def take_files(feed: str, ds: str, files: list[tuple[str, str, int]]) -> None:
    """Record (path, digest, bytes) as taken by the load of `ds`, replacing what that load had taken before."""
    with writing() as connection:
        connection.execute(_files.delete().where(_files.c.feed == feed, _files.c.ds == ds))
        if files:
            connection.execute(
                _files.insert(), [dict(feed=feed, ds=ds, path=p, digest=d, n_bytes=n) for p, d, n in files]
            )


# -- rows held back, and what a person decided about them ----------------------------------------------------------------


def decide_held(feed: str, ds: str, places: list[tuple[str, int | None, int]], decision: str) -> None:
    """Record `release` or `drop` for rows of a feed held back on `ds`: (source, partition or None, position)."""
    common = dict(feed=feed, ds=ds, decision=decision, loaded_ds=None, decided_by=user(), decided_at=current_time())
    rows = [
        dict(common, source=source, source_partition=-1 if partition is None else partition, source_position=position)
        for source, partition, position in places
    ]
    with writing() as connection:
        connection.execute(_held_rows.insert(), rows)


def held_decisions(feed: str, ds: str | None = None) -> list[dict]:
    """What was decided about rows of a feed, of one day if given: ds, source, source_partition (-1: none), decision …"""
    query = sa.select(_held_rows).where(_held_rows.c.feed == feed)
    query = query.order_by(*_held_rows.primary_key.columns)
    return [dict(r) for r in _rows(query if ds is None else query.where(_held_rows.c.ds == ds))]


def note_released(feed: str, ds: str, places: list[list]) -> None:
    """Note that the load of `ds` holds these released rows: [day held, source, partition (-1), position]."""
    table = _held_rows.c
    with writing() as connection:
        connection.execute(_held_rows.update().where(table.feed == feed, table.loaded_ds == ds).values(loaded_ds=None))
        for held_ds, source, partition, position in places:
            mine = (table.feed == feed, table.ds == held_ds, table.source == source,
                    table.source_partition == partition, table.source_position == position)  # fmt: skip
            connection.execute(_held_rows.update().where(*mine).values(loaded_ds=ds))


# -- columns that a source has and nobody declared ---------------------------------------------------------------------


def record_drift(feed: str, ds: str, columns: dict[str, str]) -> None:
    """Record undeclared columns (name → type at the source) of a feed; one that is recorded keeps its first day."""
    known = {row["column_name"] for row in drift(feed)}
    new = [dict(feed=feed, column_name=c, type=t, first_ds=ds) for c, t in columns.items() if c not in known]
    if new:
        with writing() as connection:
            connection.execute(_drift.insert(), new)


def drift(feed: str | None = None) -> list[dict]:
    """Undeclared columns by feed, first day and name: feed, column_name, type, first_ds."""
    query = sa.select(_drift).order_by(_drift.c.feed, _drift.c.first_ds, _drift.c.column_name)
    return [dict(r) for r in _rows(query if feed is None else query.where(_drift.c.feed == feed))]


# -- published days ---------------------------------------------------------------------------------------------------


def publish(stage: str, days: list[str]) -> None:
    """Mark `stage` as whole for each day."""
    at = current_time()
    with writing() as connection:
        _take_back(connection, [stage], days)
        connection.execute(_published.insert(), [dict(stage=stage, ds=d, published_at=at) for d in days])


def unpublish(stages: str | list[str], days: list[str]) -> None:
    """Mark the stages as neither whole nor off for each day (before their tables are rewritten)."""
    with writing() as connection:
        _take_back(connection, [stages] if isinstance(stages, str) else stages, days)


def _take_back(connection, stages: list[str], days: list[str]) -> None:
    for table in (_published, _off):
        connection.execute(table.delete().where(table.c.stage.in_(stages), table.c.ds.in_(days)))


def take_back(spans: list[tuple[str, str, str | None]]) -> None:
    """Mark stages as neither whole nor off, all at once: (stage, first day, last day or None for all later ones)."""
    with writing() as connection:
        for table in (_published, _off):
            for stage, first, last in spans:
                mine = table.delete().where(table.c.stage == stage, table.c.ds >= first)
                connection.execute(mine if last is None else mine.where(table.c.ds <= last))


def note_reach(ds: str, first_ds: str) -> None:
    """Note that the loads of `ds` state days back to `first_ds`: its runs build from there on, also when done again."""
    kept = reach(ds, ds)
    with writing() as connection:
        connection.execute(_reach.delete().where(_reach.c.ds == ds))
        connection.execute(_reach.insert().values(ds=ds, first_ds=min(kept or first_ds, first_ds)))


def reach(from_ds: str, ds: str) -> str | None:
    """The oldest day that loads of from_ds … ds are noted to reach back to."""
    query = sa.select(sa.func.min(_reach.c.first_ds).label("ds"))
    return _rows(query.where(_reach.c.ds.between(from_ds, ds)))[0]["ds"]


def switch_off(stage: str, ds: str, reason: str, possible_from: str | None = None) -> None:
    """Mark that `stage` writes nothing for `ds` because it cannot yet: what follows goes on without it."""
    values = dict(stage=stage, ds=parse_ds(ds), reason=reason, possible_from=possible_from, recorded_at=current_time())
    with writing() as connection:
        _take_back(connection, [stage], [ds])
        connection.execute(_off.insert().values(values))


def off(ds: str) -> dict[str, Off]:
    """Stage → why it is off, for the stages that are off on `ds`."""
    return {row["stage"]: _as_off(row) for row in _rows(sa.select(_off).where(_off.c.ds == ds).order_by(_off.c.stage))}


def last_off(stage: str) -> Off | None:
    """Why `stage` was off on the newest day on which it was."""
    found = _rows(sa.select(_off).where(_off.c.stage == stage).order_by(_off.c.ds.desc()).limit(1))
    return _as_off(found[0]) if found else None


def _as_off(row) -> Off:
    return Off(row["stage"], row["ds"], row["reason"], row["possible_from"])


def is_published(stage: str, ds: str) -> bool:
    """Whether `stage` is whole for `ds`."""
    return bool(_rows(sa.select(_published.c.ds).where(_published.c.stage == stage, _published.c.ds == ds)))


def published_days(stage: str, from_ds: str = "", to_ds: str = "9999-12-31") -> list[str]:
    """The days from_ds … to_ds for which `stage` is whole, ascending."""
    query = sa.select(_published.c.ds).where(_published.c.stage == stage, _published.c.ds.between(from_ds, to_ds))
    query = query.order_by(_published.c.ds)
    return [r["ds"] for r in _rows(query)]


def loaded_days(without: str | None = None, after: str | None = None, before: str | None = None) -> list[str]:
    """The days for which a load was begun, ascending; only those for which stage `without` is not whole, if given."""
    query = sa.select(_loads.c.ds).distinct().order_by(_loads.c.ds)
    if without:
        query = query.where(_loads.c.ds.not_in(sa.select(_published.c.ds).where(_published.c.stage == without)))
    if after:
        query = query.where(_loads.c.ds > after)
    if before:
        query = query.where(_loads.c.ds < before)
    return [r["ds"] for r in _rows(query)]


def oldest_without(missing: str, stage: str, since: str) -> str | None:
    """The oldest day from `since` on for which `stage` is whole and `missing` is not."""
    there = sa.select(_published.c.ds).where(_published.c.stage == missing)
    found = sa.select(sa.func.min(_published.c.ds).label("ds"))
    found = found.where(_published.c.stage == stage, _published.c.ds >= since, _published.c.ds.not_in(there))
    return _rows(found)[0]["ds"]


def newest(stage: str) -> str | None:
    """The newest day for which `stage` is whole."""
    return _rows(sa.select(sa.func.max(_published.c.ds).label("ds")).where(_published.c.stage == stage))[0]["ds"]


def require(stage: str, ds: str, command: str) -> None:
    """Raise PlatformError naming the command to run, unless `stage` is whole for `ds`, or off."""
    if not is_published(stage, ds) and stage not in off(ds):
        raise PlatformError(f"{stage} of {ds} is not there (or was left half-written): run `{command}` first")


# -- verdicts, promotions, exports ------------------------------------------------------------------------------------


def record_verdicts(ds: str, gate: str, rows: list[dict]) -> None:
    """Replace the verdicts of (ds, gate); rows have table_name, rule, column_name, success, observed, expected, sample."""
    at = current_time()
    with writing() as connection:
        connection.execute(_verdicts.delete().where(_verdicts.c.ds == ds, _verdicts.c.gate == gate))
        if rows:
            connection.execute(_verdicts.insert(), [dict(row, ds=ds, gate=gate, recorded_at=at) for row in rows])


def verdicts(ds: str, gate: str | None = None) -> list[dict]:
    """The recorded verdicts of a day, of one gate if given."""
    query = sa.select(_verdicts).where(_verdicts.c.ds == ds).order_by(_verdicts.c.gate, _verdicts.c.table_name)
    return [dict(r) for r in _rows(query if gate is None else query.where(_verdicts.c.gate == gate))]


def known_values(table: str, column: str, before: str) -> list[str]:
    """The digests of the values that the column had on accepted days before `before`."""
    mine = (_known_values.c.table_name == table, _known_values.c.column_name == column)
    rows = _rows(sa.select(_known_values.c.digest).where(*mine, _known_values.c.first_ds < before))
    return sorted(row["digest"] for row in rows)


def learn_values(table: str, column: str, ds: str, digests: list[str]) -> None:
    """Note the values that the column has on the accepted day `ds`: what it had when the day was accepted before is forgotten."""
    values = _known_values.c
    mine = (values.table_name == table, values.column_name == column)
    with writing() as connection:
        connection.execute(_known_values.delete().where(*mine, values.first_ds == ds))
        first = dict(connection.execute(sa.select(values.digest, values.first_ds).where(*mine)).all())
        if later := [digest for digest in digests if first.get(digest, "") > ds]:
            connection.execute(_known_values.delete().where(*mine, values.digest.in_(later)))
        new = [d for d in digests if d not in first or d in later]
        rows = [dict(table_name=table, column_name=column, digest=digest, first_ds=ds) for digest in new]
        if rows:
            connection.execute(_known_values.insert(), rows)


def record_promotion(
    model: str, from_version: str | None, to_version: str, reason: str, metrics: dict, data_fingerprint: str
) -> None:
    """Append a promotion to the ledger (MLflow keeps no history of its aliases)."""
    with writing() as connection:
        connection.execute(
            _promotions.insert().values(
                model=model, from_version=from_version, to_version=to_version, reason=reason,
                metrics=json.dumps(metrics, sort_keys=True), data_fingerprint=data_fingerprint,
                promoted_by=user(), promoted_at=current_time(),
            )
        )  # fmt: skip


def promotions(model: str | None = None) -> list[dict]:
    """The ledger of promotions, oldest first."""
    query = sa.select(_promotions).order_by(_promotions.c.promotion_id)
    found = _rows(query if model is None else query.where(_promotions.c.model == model))
    return [dict(r, metrics=json.loads(r["metrics"])) for r in found]


def promoted_models() -> set[str]:
    """The models that had a champion at any time."""
    return {row["model"] for row in _rows(sa.select(_promotions.c.model).distinct())}


def record_export(ds: str, target: str, n_rows: int, digest: str, rejected: list[dict] | None = None) -> None:
    """Record what was exported for (ds, target), and the rows (row_key, reason) that were not; replaces what was recorded."""
    with writing() as connection:
        connection.execute(_exports.delete().where(_exports.c.ds == ds, _exports.c.target == target))
        connection.execute(_export_rows.delete().where(_export_rows.c.ds == ds, _export_rows.c.target == target))
        connection.execute(
            _exports.insert().values(ds=ds, target=target, n_rows=n_rows, digest=digest, exported_at=current_time())
        )
        _insert_rejected(connection, ds, target, digest, rejected or [])


def record_rejected(ds: str, target: str, digest: str, rejected: list[dict]) -> None:
    """Record what an export rejects before it is refused or committed, beside what an earlier one of (ds, target) recorded."""
    mine = (_export_rows.c.ds == ds, _export_rows.c.target == target, _export_rows.c.digest == digest)
    with writing() as connection:
        connection.execute(_export_rows.delete().where(*mine))
        _insert_rejected(connection, ds, target, digest, rejected)


def _insert_rejected(connection, ds: str, target: str, digest: str, rejected: list[dict]) -> None:
    rows = [dict(row, ds=ds, target=target, digest=digest, row_number=n) for n, row in enumerate(rejected, start=1)]
    if rows:
        connection.execute(_export_rows.insert(), rows)


def exports(ds: str) -> list[dict]:
    """What was exported for `ds`, by target."""
    return [dict(r) for r in _rows(sa.select(_exports).where(_exports.c.ds == ds).order_by(_exports.c.target))]


def newest_export() -> str | None:
    """The newest day of which anything was exported."""
    return _rows(sa.select(sa.func.max(_exports.c.ds).label("ds")))[0]["ds"]


# -- privacy keys and traces ------------------------------------------------------------------------------------------


def record_key(key_id: str) -> None:
    """Record that a block was added to the key ring; one that was retired counts again."""
    with writing() as connection:
        connection.execute(_keys.delete().where(_keys.c.key_id == key_id))
        connection.execute(_keys.insert().values(key_id=key_id, added_at=current_time()))


def retire_key(key_id: str) -> None:
    """Record that a block is needed no more."""
    with writing() as connection:
        connection.execute(_keys.update().where(_keys.c.key_id == key_id).values(retired_at=current_time()))


def added_keys() -> list[str]:
    """The blocks that rotations have added and that are still needed, oldest first."""
    return [r["key_id"] for r in _rows(sa.select(_keys).order_by(_keys.c.added_at)) if r["retired_at"] is None]


def retired_keys() -> list[str]:
    """The blocks that were added once and are needed no more."""
    return [r["key_id"] for r in _rows(sa.select(_keys).order_by(_keys.c.added_at)) if r["retired_at"] is not None]


def record_reveal(table: str, column: str, row_key: str, ds: str, reason: str) -> None:
    """Append to the trace who reads which secret back and why; PlatformError if it cannot be written."""
    values = dict(table_name=table, column_name=column, row_key=row_key, ds=ds, reason=reason)
    try:
        with writing() as connection:
            connection.execute(
                _reveals.insert().values(values | dict(revealed_by=_login(), revealed_at=current_time()))
            )
    except sa.exc.SQLAlchemyError as error:
        raise PlatformError(
            f"the trace cannot be written ({getattr(error, 'orig', error)}), so nothing is revealed: mend the state "
            "database (MDP_STATE_URL), then ask again"
        ) from None


def _login() -> str:
    """Who runs this process, as the system says it (a variable may claim anything), with the name of MDP_USER."""
    uid, claimed = os.getuid(), os.environ.get("MDP_USER")
    try:
        login = pwd.getpwuid(uid).pw_name
    except KeyError:
        login = f"uid {uid}"
    return f"{login} ({claimed})" if claimed and claimed != login else login


def reveals() -> list[dict]:
    """Who read which secret back, when and why; oldest first."""
    return [dict(r) for r in _rows(sa.select(_reveals).order_by(_reveals.c.reveal_id))]


def rejected_rows(ds: str, target: str | None = None, digest: str | None = None) -> list[dict]:
    """The rows that exports of `ds` rejected: target, digest, row_number, row_key, reason."""
    query = sa.select(_export_rows).where(_export_rows.c.ds == ds)
    if target:
        query = query.where(_export_rows.c.target == target)
    if digest:
        query = query.where(_export_rows.c.digest == digest)
    return [
        dict(r) for r in _rows(query.order_by(_export_rows.c.target, _export_rows.c.digest, _export_rows.c.row_number))
    ]
