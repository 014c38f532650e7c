"""Publishing an export to MariaDB, MySQL or PostgreSQL: staging → count → one transaction with the mark → ledger.

The order is the promise (docs/exports.md says what a crash at each point leaves). Readers of the target see the day
before or the whole day, because everything that changes it is one transaction of statements over the staged rows; a batch
that fails is halved down to its failing rows, which are rejected. The mark in the same transaction makes a second run of
the same rows a verified no-op; the rejected rows are in the ledger before its commit, so that no crash loses their reasons.
"""

from collections import Counter
from dataclasses import dataclass, field

import sqlalchemy as sa

from ingestion import filling, staging
from ingestion.destination import Destination, find, read_mark, refused, write_mark
from ingestion.rows import as_texts, content, day_rows, digest
from ingestion.staging import ROW, Staged, TooManyRejected
from ingestion.targets import Target
from warehouse import jars, state
from warehouse.connections import database
from warehouse.errors import PlatformError

NO_SUCH_KEY = "no_such_key"
TOLD = 5  # reasons in a message


@dataclass(frozen=True)
class Outcome:
    """How an export ended: exported, unchanged or refused; rejected rows as row_key and reason."""

    what: str
    n_rows: int
    n_accepted: int
    n_rejected: int
    digest: str
    rejected: list[dict] = field(default_factory=list)


def publish(target: Target, ds: str, dry_run: bool) -> Outcome:
    """Bring the day's rows into the target's table once, and into the ledger; a dry run does the same and rolls it back.

    Raises PlatformError if the database refuses, if more rows are rejected than the target allows (the ledger has them
    all the same), or if rows were added to the target for this day before and are other rows now.
    """
    place = find(target, may_create=not dry_run)
    if place is None or not place.is_temporary:
        jars.require(database(target.connection).product)
    frame = as_texts(day_rows(target, ds), target)
    n_rows, hashed = content(frame)
    wanted = digest(target, n_rows, hashed)
    if place is None:
        return Outcome("exported", n_rows, n_rows, 0, wanted)
    try:
        mark = _mark(place, ds)
        outcome = _unchanged(place, ds, mark, n_rows, wanted) or _stage(place, ds, mark, frame, n_rows, wanted, dry_run)
        if not dry_run:
            _record(target, ds, outcome)
            _tidy(place)
    except sa.exc.DBAPIError as error:
        raise refused(target, place.base, error) from None
    if outcome.what == "refused":
        raise PlatformError(_too_many(target, ds, outcome, dry_run))
    return outcome


def _mark(place: Destination, ds: str):
    """The mark of the day as it is now; None where nothing was ever exported."""
    with place.engine.connect() as connection:
        known = sa.inspect(connection).has_table(place.marks.name, place.marks.schema)  # a dry run does not make it
        return read_mark(place, connection, ds) if known else None


def _unchanged(place: Destination, ds: str, mark, n_rows: int, wanted: str) -> Outcome | None:
    """The outcome of the run that published these very rows, or None if these are to be published."""
    target = place.target
    if mark is None:
        return None
    if mark.digest != wanted:
        if target.mode == "insert":
            raise PlatformError(
                f"export {target.name}: {mark.n_accepted} rows were added to {target.table} for {ds} before, and {target.source} "
                "holds other rows for that day now: which of the added ones are meant cannot be told; take them out there "
                f"and delete the row ({target.name}, {ds}) of {place.marks.name}, then export again"
            )
        return None
    with place.engine.connect() as connection:
        if target.mode == "replace":
            there = connection.scalar(sa.select(sa.func.count()).select_from(place.table))
            if there != mark.n_accepted:
                print(f"  {target.name:<20} holds {there:,} rows, {mark.n_accepted:,} were exported: again", flush=True)
                return None
    return Outcome("unchanged", n_rows, mark.n_accepted, mark.n_rejected, wanted)


def _stage(place: Destination, ds: str, mark, frame, n_rows: int, wanted: str, dry_run: bool) -> Outcome:
    """Stage the rows, judge them, publish them; what this run made is dropped by the caller, or here if it is dry."""
    if not dry_run:
        _tidy(place)
    with place.engine.connect() as connection:  # one session: temporary tables live and die with it
        staged = staging.create(place, connection, ds, n_rows)
        try:
            filling.fill(staged, connection, frame)
            return _transact(staged, connection, ds, mark, wanted, dry_run)
        finally:
            if dry_run and not place.is_temporary:
                connection.close()
                staging.drop(place, [staged.incoming.name, staged.passed.name])


def _tidy(place: Destination) -> None:
    """Drop the tables that this run and killed ones of this target left; a login that may make none may drop none."""
    if not place.is_temporary:
        staging.drop(place, staging.left_behind(place))


def _transact(staged: Staged, connection: sa.Connection, ds: str, mark, wanted: str, dry_run: bool) -> Outcome:
    """One transaction: the rows, the rejected ones' reasons and the mark, or nothing of them."""
    place, table = staged.place, staged.incoming.name
    try:
        staging.judge(staged, connection)
        if not place.is_mysql:  # a deferred constraint would fail at the commit, and say no row
            connection.exec_driver_sql("set constraints all immediate")
        if not dry_run:
            now = read_mark(place, connection, ds, lock=True)
            if now and (mark is None or now.staging != mark.staging):  # a killed run's last word was still on its way
                raise PlatformError(
                    f"export {place.target.name}: another run has just published {ds}: run the export again"
                )
        _write(staged, connection)
    except TooManyRejected:
        pass
    rejected = staging.rejected_rows(staged, connection)
    if len(rejected) > staged.n_allowed:
        connection.rollback()
        return Outcome("refused", staged.n_rows, 0, len(rejected), wanted, rejected)
    n_accepted = connection.scalar(sa.select(sa.func.count()).select_from(staged.passed))
    _must_be(n_accepted + len(rejected), staged.n_rows, staged)
    if dry_run:
        connection.rollback()
    else:
        values = dict(digest=wanted, n_accepted=n_accepted, n_rejected=len(rejected), staging=table)
        write_mark(place, connection, ds, **values)
        # before the commit: a crash after it loses no reason
        state.record_rejected(ds, place.target.name, wanted, rejected)
        state.require_held()
        connection.commit()
    return Outcome("exported", staged.n_rows, n_accepted, len(rejected), wanted, rejected)


# -- the statements of each mode --------------------------------------------------------------------------------------


def _write(staged: Staged, connection: sa.Connection) -> None:
    """Bring the rows that passed into the target, batch by batch, within the caller's transaction."""
    mode = staged.place.target.mode
    if mode == "replace":  # not truncate: other sessions would see that at once
        connection.execute(staged.place.table.delete())
    for ids in staging.passed_batches(staged, connection):
        if mode in ("replace", "insert"):
            staging.settle(staged, connection, ids, lambda part: _insert(staged, connection, part))
        else:
            staging.settle(staged, connection, ids, lambda part: _update(staged, connection, part))


def _insert(staged: Staged, connection: sa.Connection, ids: list[int]) -> dict[int, str]:
    passed, names = staged.passed, list(staged.place.target.columns)
    rows = sa.select(*[passed.c[name] for name in names]).where(passed.c[ROW].in_(ids))
    done = connection.execute(staged.place.table.insert().from_select(names, rows))
    _must_be(done.rowcount, len(ids), staged)
    return {}


def _update(staged: Staged, connection: sa.Connection, ids: list[int]) -> dict[int, str]:
    """Change the rows whose key is there, held from here on; the others are added (upsert) or left out (update).

    Not `on duplicate key update`: MariaDB would obey any unique index, and change another customer's row because of an
    e-mail address that it shares.
    """
    target, table, passed = staged.place.target, staged.place.table, staged.passed
    same = sa.and_(*[table.c[name] == passed.c[name] for name in target.key])
    held = sa.select(passed.c[ROW]).select_from(passed.join(table, same)).where(staging.within(passed, ids))
    there = set(connection.scalars(held.with_for_update(of=table)))
    if there:
        change = table.update().values({table.c[name]: passed.c[name] for name in target.values})
        done = connection.execute(change.where(same, staging.within(passed, ids)))
        _must_be(done.rowcount, len(there), staged)
    new = [row for row in ids if row not in there]
    if target.mode == "update":
        return dict.fromkeys(new, NO_SUCH_KEY)
    return _insert(staged, connection, new) if new else {}


def _must_be(done: int, wanted: int, staged: Staged) -> None:
    target = staged.place.target
    if done != wanted:
        raise PlatformError(
            f"export {target.name}: {done} rows of {wanted} were written to {target.table} of {staged.place.base.address} (does "
            "a trigger leave some out?); nothing was changed"
        )


# -- what is kept and said --------------------------------------------------------------------------------------------


def _record(target: Target, ds: str, outcome: Outcome) -> None:
    """Bring the ledger up to the target: after a crash in between it lacks what the database has."""
    if outcome.what == "refused":
        state.record_rejected(ds, target.name, outcome.digest, outcome.rejected)
        return
    rejected = outcome.rejected
    if outcome.what == "unchanged":
        rejected = state.rejected_rows(ds, target.name, outcome.digest)
        known = [e for e in state.exports(ds) if (e["target"], e["digest"]) == (target.name, outcome.digest)]
        if known and len(rejected) == outcome.n_rejected:
            return
        if len(rejected) != outcome.n_rejected:
            print(f"  {target.name:<20} the reasons of {outcome.n_rejected:,} rejected rows are lost", flush=True)
        rejected = [{name: row[name] for name in ("row_key", "reason")} for row in rejected]
    state.record_export(ds, target.name, outcome.n_accepted, outcome.digest, rejected)


def _too_many(target: Target, ds: str, outcome: Outcome, dry_run: bool) -> str:
    least = "at least " if outcome.n_rejected > staging.LISTED else ""
    ledger = "" if dry_run else f"; row by row: `mdp export show --ds {ds} --target {target.name}`"
    return (
        f"export {target.name} of {ds}: {least}{outcome.n_rejected:,} of {outcome.n_rows:,} rows are rejected, "
        f"{target.max_rejected_share:.1%} may be: {target.table} is as it was. {reasons(outcome.rejected)}{ledger}"
    )


def reasons(rejected: list[dict]) -> str:
    """The most frequent reasons of rejected rows, each with its number and a row."""
    counted = Counter(row["reason"] for row in rejected)
    example = {row["reason"]: row["row_key"] for row in reversed(rejected)}
    said = [f"{n:,} × {why} (as {example[why]})" for why, n in counted.most_common(TOLD)]
    return "; ".join(said) + (f"; and {len(counted) - TOLD} more reasons" if len(counted) > TOLD else "")
