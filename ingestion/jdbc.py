"""Import of a database's table or query: whole, or what is new or changed in an interval, in one part or several.

All that a read depends on (the interval, the cuts of its parts, the columns that were there) is found first and stored
by the caller; a read that is done again then asks for the same rows. What is sent to the database is SQL of ours, in its
own dialect: `plan` shows it. Times are UTC: a column without a zone is taken as UTC, or as in the feed's timestamp_zone,
whatever zone the server runs in.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from ingestion import jdbc_splits, jdbc_types
from ingestion.drift import SECRET, let_through, recorded, said
from ingestion.feeds import Column, JdbcFeed
from ingestion.jdbc_source import Source, source_of, source_table  # noqa: F401  source_table: what export reads
from ingestion.protect import protect
from warehouse import state
from warehouse.company import company
from warehouse.connections import database
from warehouse.dates import day_bounds_utc, shift
from warehouse.partitions import read_days

NUMBERS = ("int", "bigint")
MOST_BACK = 180  # minutes by which a clock is put back at most


@dataclass(frozen=True)
class Counted:
    """The rows of a load at the source, as the database counts them."""

    source: Source
    rows: str

    def count(self) -> int:
        return int(self.source.ask(f"select count(*) as n from {self.rows}")[0][0])


# -- what a load will read --------------------------------------------------------------------------------------------


def fix_inputs(feed: JdbcFeed, first: str | None, ds: str, last: dict | None = None) -> dict:
    """What a load of the days first … ds reads (first None = from the beginning); JSON, stored before anything is read.

    columns    name → type at the source, as found
    low, high  the interval of the check column: of a time [low, high), of a growing number (low, high] in the source's
               own text; `last` is what this function returned for the load before
    splits     the cuts between the parts, with what was counted to find them
    notes      what a person should know
    Raises PlatformError if a declared column is missing or of another type, or if the source cannot be asked.
    """
    source = source_of(feed)
    found = columns(source)
    _, notes = drift(feed, found)
    inputs = {"columns": found}
    if feed.mode != "full":
        numbers = feed.columns[feed.check_column].type in NUMBERS
        inputs |= _numbers(feed, source, (last or {}).get("high")) if numbers else interval(feed, first, ds)
        notes += inputs.pop("notes", []) + _never_read(feed, source)
    if feed.splits > 1:
        inputs["splits"] = jdbc_splits.find(source, feed, _relation(feed, source, inputs, {}))
        notes += jdbc_splits.notes(feed, inputs["splits"])
    return inputs | ({"notes": notes} if notes else {})


def columns(source: Source) -> dict[str, str]:
    """Name → type, as the database calls it, of what a source has now."""
    fields = source.frame(source.relation).schema.fields
    return {f.name: jdbc_types.source_type(source.database.product, f) for f in fields}


def interval(feed: JdbcFeed, first: str | None, ds: str) -> dict:
    """low and high of a check column that is a date or a time: the business days first … ds, less the overlap."""
    if feed.columns[feed.check_column].type == "date":
        return {"low": first, "high": shift(ds, 1)}
    tz = company().timezone
    low, high = first and day_bounds_utc(first, tz)[0], day_bounds_utc(ds, tz)[1]
    low = low and low - timedelta(minutes=feed.overlap_minutes)
    return {"low": low and f"{low:%Y-%m-%d %H:%M:%S}", "high": f"{high:%Y-%m-%d %H:%M:%S}"}


def _numbers(feed: JdbcFeed, source: Source, low: str | None) -> dict:
    """The interval of a growing number: above the end of the load before, up to the highest now."""
    check = source.quoted(feed.check_column)
    where = f" where {_where(feed)}" if feed.where else ""
    ((high,),) = source.ask(f"select max({check}) as high from {source.relation}{where}")
    if low is None or (high is not None and int(high) >= int(low)):
        return {"low": low, "high": high}
    gone = (
        "" if high is None else f"{feed.check_column} ends at {high}, the load before ended at {low}: nothing is read"
    )
    return {"low": low, "high": low, "notes": [gone] if gone else []}


def _never_read(feed: JdbcFeed, source: Source) -> list[str]:
    """A note on rows that no interval holds, because they have no value to compare."""
    checked = [c for c in (feed.check_column, feed.created_column) if c]
    nulls = [f"{source.quoted(c)} is null" for c in checked]
    where = " and ".join([*nulls, *([_where(feed)] if feed.where else [])])
    ((n,),) = source.ask(f"select count(*) as n from {source.relation} where {where}")
    return [f"{n} rows without {' and '.join(checked)} are in no load"] if n != "0" else []


def _where(feed: JdbcFeed) -> str:
    return f"({feed.where}\n)"  # on a line of its own: a comment at its end does not hide the parenthesis


def first_shown(moment: str, zone: str) -> str:
    """The lowest time that a clock of `zone` shows at the UTC `moment` or later; both as texts.

    So cut, intervals of moments that follow each other are intervals of the clock's times that do: each row is in one of
    them, and none whose time is written from `moment` on lies before. A clock put back within MOST_BACK shows lower times
    than at the moment itself; one that skips an hour just then has not skipped it yet, which is where a time that never
    was belongs.
    """
    at, tick = datetime.fromisoformat(moment).replace(tzinfo=UTC), timedelta(microseconds=1)
    later = (at + timedelta(minutes=n) for n in range(MOST_BACK + 1))
    shown = [then.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for then in later]
    before = (at - tick).astimezone(ZoneInfo(zone)).replace(tzinfo=None) + tick
    return f"{min(before, *shown):%Y-%m-%d %H:%M:%S}"


def condition(feed: JdbcFeed, source: Source, inputs: dict) -> str | None:
    """The rows of a load in the source's SQL, None for all.

    lastmodified takes rows whose last change lies in [low, high), and rows created in it whose last change came later:
    a history loaded from a database that has moved on loses nothing. (What happened to such a row after `high` is
    ignored downstream: state as of a day is derived from the facts' own times.)
    """
    if feed.mode == "full":
        return None
    low, high = inputs["low"], inputs["high"]

    def compare(column: str, operator: str, bound: str) -> str:
        if feed.timestamp_zone and jdbc_types.is_local(feed, source.database.product, inputs["columns"][column]):
            bound = first_shown(bound, feed.timestamp_zone)
        return f"{source.quoted(column)} {operator} {source.literal(bound, feed.columns[column].type)}"

    if feed.columns[feed.check_column].type in NUMBERS:
        if high is None or high == low:
            return "1 = 0"
        above = f"{compare(feed.check_column, '>', low)} and " if low is not None else ""
        return above + compare(feed.check_column, "<=", high)

    def inside(column: str) -> str:
        return (f"{compare(column, '>=', low)} and " if low else "") + compare(column, "<", high)

    changed = inside(feed.check_column)
    if feed.created_column is None:
        return changed
    later = f"({compare(feed.check_column, '>=', high)} or {source.quoted(feed.check_column)} is null)"
    return f"({changed}) or ({inside(feed.created_column)} and {later})"


def _relation(feed: JdbcFeed, source: Source, inputs: dict, sent: dict[str, str]) -> str:
    """The rows of a load as a relation of the source: the columns of `sent` (name → SQL), and the split column."""
    listed = [f"{sql} as {source.quoted(name)}" for name, sql in sent.items()]
    listed.append(f"{source.quoted(feed.split_by or feed.key[0])} as {source.quoted(jdbc_splits.KEY)}")
    chosen = [text for text in (feed.where and _where(feed), condition(feed, source, inputs)) if text]
    where = " where " + " and ".join(f"({text})" for text in chosen) if chosen else ""
    return f"(select {', '.join(listed)} from {source.relation}{where}) mdp_source"


# -- reading it -------------------------------------------------------------------------------------------------------


def read(feed: JdbcFeed, inputs: dict) -> tuple[Counted, object]:
    """(the rows at the source, to be counted; the same as declared and protected, a lazy frame to be written).

    Columns that were let through are among them. Raises PlatformError if the table is not what it was when the inputs
    were fixed; what goes wrong while the frame is written, `faults` turns into one.
    """
    source = source_of(feed)
    found = {name: kind for name, kind in columns(source).items() if name in inputs["columns"]}
    whole, _ = drift(feed, found)
    sent, kept = _transfers(whole, feed, source, found)
    rows = source.frame(_relation(feed, source, inputs, sent), _parts(feed, source, inputs)).selectExpr(*kept)
    return Counted(source, _relation(feed, source, inputs, {})), protect(rows, whole)


def _parts(feed: JdbcFeed, source: Source, inputs: dict) -> list[str]:
    return jdbc_splits.predicates(source, feed, inputs["splits"]) if "splits" in inputs else []


def faults(feed: JdbcFeed):
    """A context in which a database's fault becomes one PlatformError: for the code that writes the frame of `read`."""
    return source_of(feed).faults()


def _transfers(whole: JdbcFeed, feed: JdbcFeed, source: Source, found: dict) -> tuple[dict[str, str], list[str]]:
    """(column → what the database sends, Spark's SQL for each column of what was sent)."""
    sent, kept = {}, []
    for name, column in whole.columns.items():
        declared = column.type if name in feed.columns else "any"
        sql, how = jdbc_types.rule(source.database.product, found[name], declared)
        sent[name] = sql.format(source.quoted(name))
        local = column.type == "timestamp" and jdbc_types.is_local(feed, source.database.product, found[name])
        kept.append(jdbc_types.kept(feed, name, column, how, local))
    return sent, kept


def deleted(feed: JdbcFeed, load: state.Load, previous: state.Load):
    """The keys that were in `previous` and are not in `load`, two loads of a feed of mode full: the key's columns,
    last_seen_date (the business day of `previous`) and load_id."""
    keys = list(feed.key)
    before, now = (read_days(feed.raw_table, x.ds, x.ds).select(*keys) for x in (previous, load))
    gone = before.join(now, keys, "left_anti").distinct()
    seen = (f"'{previous.ds}' as last_seen_date", f"'{load.load_id}' as load_id")
    return gone.selectExpr(*[f"`{key}`" for key in keys], *seen)


# -- columns that nobody declared -------------------------------------------------------------------------------------


def drift(feed: JdbcFeed, found: dict[str, str]) -> tuple[JdbcFeed, list[str]]:
    """(the feed as it is to be read, notes on columns that are new); `found` is name → type at the source.

    A new column is not read, or if the feed lets it through as an encrypted text, since nobody has classified it.
    Raises PlatformError with a diff if a declared column is missing or of a type that the declared one cannot hold.
    """
    new = {name: found[name] for name in jdbc_types.undeclared(feed, database(feed.connection).product, found)}
    notes = said(feed, new, "new at the source", "{name} {kind}")
    return feed.model_copy(update={"columns": feed.columns | dict.fromkeys(let_through(feed, new), SECRET)}), notes


def record_new(feed: JdbcFeed, inputs: dict, ds: str) -> None:
    """Record the columns that nobody declared and `inputs` found, with the day on which they were first seen."""
    new = {recorded(name): kind for name, kind in inputs["columns"].items() if name not in feed.columns}
    state.record_drift(feed.name, ds, new)


# -- showing it -------------------------------------------------------------------------------------------------------


def plan(feed: JdbcFeed, inputs: dict) -> str:
    """What a load would do, in text: where, which interval, in how many statements, each with the rows it will give."""
    source = source_of(feed)
    found = inputs["columns"]
    whole, _ = drift(feed, found)
    sent, _ = _transfers(whole, feed, source, found)
    relation, parts = _relation(feed, source, inputs, sent), _parts(feed, source, inputs)
    expected = _expected(source, _relation(feed, source, inputs, {}), parts)
    listed = ",".join(map(source.quoted, sent))
    queries = [f"SELECT {listed} FROM {relation}{f' WHERE {part}' if part else ''}" for part in parts or [""]]
    about = feed.mode
    if "high" in inputs:
        low, end = inputs["low"], "]" if feed.columns[feed.check_column].type in NUMBERS else ")"
        about += f", {feed.check_column} in {'(' if end == ']' else '['}{low or 'the beginning'}, {inputs['high']}{end}"
        about += " UTC" if feed.columns[feed.check_column].type == "timestamp" else ""
    if feed.timestamp_zone:
        about += f", times without a zone are in {feed.timestamp_zone}"
    if feed.overlap_minutes:
        about += f", {feed.overlap_minutes} minutes of it read before"
    snapshot = (
        f"{len(queries)} statements, each sees its own moment: rows that change meanwhile may differ between parts; splits: 1 "
        "is one moment"
        if len(queries) > 1
        else "one statement, one moment"
    )
    lines = [
        f"{feed.name}: {source.said} of {source.database.address}",
        f"  what         {about}",
        f"  consistency  {snapshot}",
        *(f"  note         {text}" for text in inputs.get("notes", [])),
        "  columns",
        *(f"    {name:<30} {found[name]:<26} → {_becomes(feed, name, c)}" for name, c in whole.columns.items()),
    ]
    for i, (query, n) in enumerate(zip(queries, expected, strict=True), 1):
        lines += [f"  part {i} of {len(queries)}: {n:,} rows", f"    {query}"]
    return "\n".join(lines)


def _expected(source: Source, relation: str, parts: list[str]) -> list[int]:
    """The rows of each part now, counted in one statement."""
    counts = [f"sum(case when {part} then 1 else 0 end) as part_{i}" for i, part in enumerate(parts)]
    counted = ", ".join(counts or ["count(*) as part_0"])
    return [int(n or 0) for n in source.ask(f"select {counted} from {relation}")[0]]


def _becomes(feed: JdbcFeed, name: str, column: Column) -> str:
    how = "not declared" if name not in feed.columns else column.sensitivity
    return f"{column.type}, {how}" + (f": {column.action}" if column.action else "")
