"""Proposed feeds from what a source says of itself: a database's schema, or sample lines of a log or topic.

Types come from there; keys, classes and actions are guesses (guess.py), each marked `# review`. It is done once, when a
source moves in; what a person reviewed stands in feeds.yml, and a load reads that and guesses nothing.
"""

import re
from pathlib import Path

from ingestion.feeds import NAME, TYPES
from ingestion.guess import guess_column, guess_key, guess_subject, open_key, snake
from ingestion.lines import DAY, ask_lines, date_pattern, read_sample
from ingestion.proposal import REVIEW, Found, Proposal, checked, name_fault, write_block
from warehouse.connections import database
from warehouse.errors import PlatformError

SAMPLE_ROWS = 200
CHANGED = (
    r"(^|_)(updated|modified|changed|last_?(update|updated|modified|change|changed)|update_?time|modify_?time)(_|$)"
)


# -- blocks -----------------------------------------------------------------------------------------------------------


def propose_table(connection: str, table: str | None, query: str | None, name: str | None) -> Proposal:
    """A block for a table or query of a connection's database; PlatformError if it cannot be asked."""
    found = ask_database(connection, table, query)
    entity = snake(table.split(".")[-1]) if table else "query"
    changed = [c.name for c in found.columns if c.type == "timestamp" and re.search(CHANGED, snake(c.name))]
    hint = f"{REVIEW}: `lastmodified` with check_column {changed[0]} reads changed rows only" if changed else None
    source = ("table", table, None) if table else ("query", query, None)
    pairs = [("kind", "jdbc", None), ("connection", connection, None), source, ("mode", "full", hint)]
    return propose(name or feed_name(connection, entity), pairs, found)


def propose_files(files: list[Path], format_: str | None, name: str | None) -> Proposal:
    """A block for log files like these; PlatformError if their lines cannot be read as one format."""
    found = ask_lines([line for path in files for line in read_sample(path)], format_)
    pattern, stem = date_pattern(files[0].name)
    if not DAY.search(files[0].name):
        found.notes.append(
            f"review: {files[0].name} has no day in its name: files must arrive as {pattern.replace('{date}*', '2026-01-31')}"
        )
    name = name or (stem if re.match(NAME, stem) else feed_name("logs", stem or "lines"))
    pairs = [("kind", "files", None), ("directory", name, f"{REVIEW}: below MDP_SPOOL_URI")]
    return propose(name, [*pairs, ("pattern", pattern, REVIEW)], found)


def propose_topic(connection: str, topic: str, sample: Path, format_: str | None, name: str | None) -> Proposal:
    """A block for a topic whose records are like the lines of `sample`."""
    found = ask_lines(read_sample(sample), format_)
    pairs = [("kind", "kafka", None), ("connection", connection, None), ("topic", topic, None)]
    return propose(name or feed_name(connection, topic), pairs, found)


def propose(name: str, pairs: list[tuple], found: Found) -> Proposal:
    """The whole block: `pairs`, what was found of the source, subject and key, columns. It loads, or PlatformError."""
    columns = open_key(found.columns, found.key)
    subject = guess_subject(columns, name.split("__")[1], found.key)
    pairs = [*pairs, *found.pairs, ("subject", subject, f"{REVIEW}: the person a row is about; null = nobody")]
    pairs.append(("key", found.key, found.key_comment))
    text = checked(write_block(name, pairs, columns))
    protected = [f"{c.name} ({c.action})" for c in columns if c.action]
    said = f"protected by a guess: {', '.join(protected)}" if protected else "no column seems to hold personal data"
    key = f"key {', '.join(found.key)}: {found.key_comment.removeprefix(f'{REVIEW}: ')}"
    return Proposal(
        text, [*found.notes, f"review: {name}: {said}", f"review: {name}: {key}; subject: {subject or 'none'}"]
    )


def feed_name(domain: str, entity: str) -> str:
    """<domain>__<entity> as a feed may be called."""
    first, second = snake(domain).replace("_", ""), snake(entity)
    return f"{_lettered(first, 'x')}__{_lettered(second, 't_')}"


def _lettered(text: str, prefix: str) -> str:
    ascii_ = re.sub(r"[^a-z0-9_]", "", text)
    return ascii_ if re.match("[a-z]", ascii_) else prefix + ascii_


# -- a database -------------------------------------------------------------------------------------------------------


def ask_database(
    connection: str, table: str | None = None, query: str | None = None, only: list[str] | None = None
) -> Found:
    """Columns (of `only`, in any case, if given) and key of a table or query; PlatformError if it cannot be read."""
    from ingestion.jdbc import source_table

    if table and not re.fullmatch(r"\w+(\.\w+)?", table):
        raise PlatformError(f"{table!r} is no table's name: it is <table> or <schema>.<table>; else use a query")
    label, source = f"{connection}.{table or 'query'}", table or f"({query}) q"
    types = {f.name: f.dataType.simpleString() for f in source_table(label, source, connection).schema.fields}
    if only is not None:
        known = {name.lower(): name for name in types}
        if missing := [name for name in only if name.lower() not in known]:
            raise PlatformError(f"{label} has no columns {', '.join(missing)}: it has {', '.join(types)}")
        types = {known[name.lower()]: types[known[name.lower()]] for name in only}
    rows = _sample_rows(label, source, connection, types)
    columns, notes = [], []
    for name, found in types.items():
        type_ = declared_type(found)
        if type_ is None or (fault := name_fault(name)):
            why = f"{found} cannot be declared" if type_ is None else fault
            notes.append(f"left out: {label}: column {name}: {why}; select it as something else in a query")
            continue
        column = guess_column(name, type_, [row.get(name) for row in rows])
        if type_ != found.replace("timestamp_ntz", "timestamp"):
            column = column.noting(f"{found} at the source")
        columns.append(column)
    if not columns:
        raise PlatformError(f"{label}: no column can be declared:\n" + "\n".join(notes))
    own = [c.name for c in columns if c.name in _primary_key(connection, table)] if table else []
    if own:
        return Found(columns, own, "the database's primary key", notes=notes)
    key = guess_key(columns, snake((table or "").split(".")[-1]), rows)
    comment = f"{REVIEW}: a guess from names and {len(rows)} rows"
    return Found(
        columns, key or [columns[0].name], comment if key else f"{REVIEW}: nothing identifies a row", notes=notes
    )


def tables(connection: str) -> list[str]:
    """The tables of the connection's database (its current schema), by name."""
    from ingestion.jdbc import source_table

    schema = _SCHEMA.get(database(connection).product)
    if schema:
        asked = (
            "select table_name as name from information_schema.tables "
            f"where table_schema = {schema} and table_type = 'BASE TABLE'"
        )
    else:
        asked = "select tablename as name from sys.systables where tabletype = 'T'"
    return sorted(row[0] for row in source_table(connection, f"({asked}) q", connection).collect())


_SCHEMA = {"mysql": "database()", "mariadb": "database()", "postgresql": "current_schema()"}


def _primary_key(connection: str, table: str) -> list[str]:
    """The columns of the table's primary key; empty if the database's catalogue does not tell."""
    from ingestion.jdbc import source_table

    schema = _SCHEMA.get(database(connection).product)
    if not schema:
        return []
    *named, bare = table.split(".")
    schema = f"'{named[0]}'" if named else schema
    same = " and ".join(f"k.{part} = c.{part}" for part in ("constraint_name", "table_schema", "table_name"))
    asked = (
        "select k.column_name as name, k.ordinal_position as place from information_schema.table_constraints c "
        f"join information_schema.key_column_usage k on {same} where c.constraint_type = 'PRIMARY KEY' "
        f"and c.table_schema = {schema} and lower(c.table_name) = '{bare.lower()}'"
    )
    rows = source_table(table, f"({asked}) q", connection).collect()
    return [row[0] for row in sorted(rows, key=lambda row: row[1])]


def _sample_rows(label: str, source: str, connection: str, types: dict[str, str]) -> list[dict]:
    """Some rows with the columns that can be looked at; the database limits them, whatever the size of the table."""
    from pyspark.errors import PySparkException

    from ingestion.jdbc import source_table

    derby = database(connection).product == "derby"
    limit = f"fetch first {SAMPLE_ROWS} rows only" if derby else f"limit {SAMPLE_ROWS}"
    wanted = [f"`{name}`" for name, kind in types.items() if re.match("string|.*int|decimal|char|varchar", kind)]
    try:
        sample = source_table(label, f"(select * from {source} {limit}) s", connection)
        return [row.asDict() for row in sample.select(*wanted).collect()]
    except PySparkException as error:
        reason = str(error).split("\n")[0]
        raise PlatformError(f"{label}: {SAMPLE_ROWS} rows could not be read to guess from: {reason}") from None


def declared_type(found: str) -> str | None:
    """A feed's type for a type as Spark calls it, None if feeds have none."""
    found = {"timestamp_ntz": "timestamp", "tinyint": "int", "smallint": "int"}.get(found, found)
    return found if re.match(TYPES, found) else None
