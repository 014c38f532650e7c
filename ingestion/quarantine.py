"""Rows held back at the door: what there is, what a row says (masked), and what becomes of it.

A row is never changed where it lies. Releasing records the decision; the feed's next load takes the row along, without the
rule that held it back, and it counts for the day of its own time. Dropping records that nobody wants it. A row of a table
that came too late (late.py) lies in raw already: released, it is reached by the next run.
"""

import functools
import json

from ingestion import drift, late
from ingestion.door import judge
from ingestion.feeds import JdbcFeed, LogFeed, pick
from ingestion.masks import redact
from ingestion.privacy import decrypt, payload_row, read_keys
from ingestion.protect import unseal_payload
from warehouse import state
from warehouse.company import company
from warehouse.dates import parse_ds
from warehouse.errors import PlatformError, shown
from warehouse.keys import key_path
from warehouse.session import session

RELEASABLE = ("future", "too_late", "missing_field", "unknown_value")
SHOWN_CHARS = 400
_NOT_KNOWN = {"source_block": "bigint", "source_row": "bigint", "header": "string"}  # of a line that is released


def place_of(row) -> tuple[str, int, int]:
    """Where a held row stood: (file or topic, partition of the topic or -1, line or offset)."""
    partition = row["source_partition"]
    return row["source"], -1 if partition is None else partition, row["source_position"]


def written(place: tuple[str, int, int]) -> str:
    """A place as it is shown and typed: `file:line` or `topic/partition:offset`."""
    source, partition, position = place
    return f"{shown(source)}:{position}" if partition < 0 else f"{source}/{partition}:{position}"


def counts(feed: str | None = None, ds: str | None = None) -> list[dict]:
    """Per feed, day and reason: n_rows waiting, released and dropped."""
    found = []
    late_days = late.days_with_rows(ds)
    for declared in pick([feed] if feed else None):
        decided = {}
        for row in state.held_decisions(declared.name, ds):
            decided[row["ds"], row["source"], row["source_partition"], row["source_position"]] = row["decision"]
        sums: dict[tuple[str, str], dict] = {}
        if isinstance(declared, JdbcFeed):
            held = [row for day in late_days for row in late.rows(declared, day)]
        elif feed or session().catalog.tableExists(declared.quarantine_table):
            columns = ("ds", "reason", "source", "source_partition", "source_position")
            held = _held(declared, ds).select(*columns).collect()
        else:
            continue
        for row in held:
            key = (row["ds"], row["reason"])
            line = sums.setdefault(key, {"waiting": 0, "release": 0, "drop": 0})
            line[decided.get((row["ds"], *place_of(row)), "waiting")] += 1
        found += [{"feed": declared.name, "ds": d, "reason": reason, **n} for (d, reason), n in sorted(sums.items())]
    return found


def rows(feed: str, ds: str, reason: str | None, limit: int) -> list[dict]:
    """Up to `limit` rows of a feed held back on `ds`: place, reason, row_key, decision and the masked text."""
    (declared,) = pick([feed])
    decided = {place_of(row): row["decision"] for row in state.held_decisions(feed, parse_ds(ds))}
    if isinstance(declared, JdbcFeed):
        held = [row for row in late.rows(declared, ds) if reason in (None, row["reason"])][:limit]
        return [row | {"place": written(place_of(row)), "decision": decided.get(place_of(row), "")} for row in held]
    keys = read_keys(str(key_path()))
    held = _held(declared, ds, reason).orderBy("source", "source_partition", "source_position").limit(limit)
    found = []
    for row in held.collect():
        bound = payload_row(row["row_key"], row["source"])
        text = decrypt(keys, row["payload"], declared.quarantine_table, "payload", bound, row["key_id"])
        found.append(
            {"place": written(place_of(row)), "reason": row["reason"], "row_key": row["row_key"],
             "decision": decided.get(place_of(row), ""), "text": masked(declared, text)}
        )  # fmt: skip
    return found


def masked(feed: LogFeed, text: str | None) -> str:
    """A held line as it may be shown: declared columns that are personal or secret are starred, numbers and addresses too.

    A line that cannot be taken apart is not shown if the feed has such columns: they could stand anywhere in it.
    """
    hidden = {name for name, column in feed.columns.items() if column.sensitivity in ("personal", "secret")}
    if text is None:
        return "(no content)"
    if hidden:
        try:
            row = json.loads(text)
            row = {name: "***" if name in hidden else value for name, value in row.items()}
        except (ValueError, AttributeError):
            return f"({len(text):,} characters that cannot be taken apart; the feed has {', '.join(sorted(hidden))})"
        text = json.dumps(row, ensure_ascii=False)
    shown = redact(text, feed.country or company().country)
    return shown if len(shown) <= SHOWN_CHARS else f"{shown[:SHOWN_CHARS]}… ({len(text):,} characters)"


def decide(feed: str, ds: str, decision: str, place: str | None = None, reason: str | None = None) -> int:
    """Release or drop the rows of a feed held back on `ds` at one place, or for one reason; returns how many.

    Raises PlatformError if there is none that waits, or if a row to be released cannot be read or has no key.
    """
    (declared,) = pick([feed])
    done = {place_of(row) for row in state.held_decisions(feed, parse_ds(ds))}
    if isinstance(declared, JdbcFeed):
        held = [row for row in late.rows(declared, ds) if reason in (None, row["reason"])]
    else:
        columns = ("source", "source_partition", "source_position", "reason", "row_key")
        held = _held(declared, ds, reason).select(*columns).collect()
    waiting = {}
    for row in held:
        if place_of(row) not in done and place in (None, written(place_of(row))):
            waiting[place_of(row)] = row
    if not waiting:
        what = f"at {place}" if place else f"for {reason}"
        raise PlatformError(f"{feed}: no row of {ds} {what} waits: `mdp quarantine list --feed {feed}` shows what does")
    if decision == "release" and getattr(declared, "mode", None) == "full":
        raise PlatformError(
            f"{feed}: it is sent whole each day: mend the row at the source, or the feed's rule; it comes with the next file"
        )
    if decision == "release":
        for at, row in waiting.items():
            if row["reason"].split(":")[0] not in RELEASABLE or row["row_key"] is None:
                raise PlatformError(
                    f"{feed}: the row at {written(at)} was held back as {row['reason']}: it cannot be read as an event of a "
                    "day; send it again, mended, in a new file, and drop this one"
                )
    state.decide_held(feed, ds, [(s, None if p < 0 else p, n) for s, p, n in waiting], decision)
    return len(waiting)


def released(feed: LogFeed, ds: str) -> list[list]:
    """The released rows that a load of `ds` takes along: those that no other load has, as [ds, source, partition, position]."""
    return [
        [row["ds"], row["source"], row["source_partition"], row["source_position"]]
        for row in state.held_decisions(feed.name)
        if row["decision"] == "release" and row["loaded_ds"] in (None, ds) and row["ds"] <= ds
    ]


def read_released(feed: LogFeed, places: list[list], *origin: str):
    """The judged frame of released rows (see door.judge): each arrives on its own day, whatever held it back."""
    alike: dict[tuple | None, list[list]] = {}  # rows of files with the same columns in the same order
    for place in places:
        alike.setdefault(_fields_of(feed, *place[:2]), []).append(place)
    frames = [
        judge(_opened(feed, found), feed, *origin, fields=fields, released=True)
        for fields, found in sorted(alike.items(), key=str)
    ]
    return functools.reduce(lambda one, other: one.union(other), frames)


def _fields_of(feed: LogFeed, ds: str, source: str) -> tuple[str | None, ...] | None:
    """The columns in the order of the header of the file that a held row stood in, None if it has no header."""
    if not getattr(feed, "header", False):
        return None
    files = [file for file in state.load(feed.name, ds).inputs["files"] if file["name"] == source]
    return drift.fields_read(feed, files[0]) if files else None


def _opened(feed: LogFeed, places: list[list]):
    """The lines of held rows, as they were read."""
    frame = session().createDataFrame(
        [tuple(place) for place in places], "ds string, source string, place_partition int, source_position bigint"
    )
    held = session().table(feed.quarantine_table).withColumnRenamed("received_date", "held_date")
    held = held.selectExpr("*", "coalesce(source_partition, -1) as place_partition")
    lines = held.join(frame, ["ds", "source", "place_partition", "source_position"])
    nulls = (f"cast(null as {kind}) as {name}" for name, kind in _NOT_KNOWN.items())
    return unseal_payload(lines, feed.quarantine_table).selectExpr(
        "payload as value", "held_date as received_date", "source", "source_partition", "source_position", *nulls
    )


def _held(feed: LogFeed, ds: str | None = None, reason: str | None = None):
    """The feed's quarantine as a frame, of one day and reason if given."""
    if not session().catalog.tableExists(feed.quarantine_table):
        raise PlatformError(f"{feed.name}: nothing was loaded yet: `mdp ingest --ds … --feed {feed.name}`")
    held = session().table(feed.quarantine_table)
    if ds:
        held = held.where(f"ds = '{parse_ds(ds)}'")
    return held.where(held["reason"] == reason) if reason else held
