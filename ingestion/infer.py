"""Proposed feeds from what a source says of itself: a database's schema, or sample lines of a log or topic.

Types come from there; keys, classes and actions are guesses (guess.py), each marked `# review`. It is done once, when a
source moves in; what a person reviewed stands in feeds.yml, and a load reads that and guesses nothing.
"""

import re
from dataclasses import replace
from pathlib import Path

from ingestion import jdbc, jdbc_types
from ingestion.feeds import NAME, JdbcFeed
from ingestion.guess import NUMBERS, guess_column, guess_country, guess_key, guess_subject, open_key, snake
from ingestion.jdbc_source import Source, source_of
from ingestion.lines import DAY, ask_lines, date_pattern, read_sample
from ingestion.proposal import REVIEW, Found, Guess, Proposal, checked, name_fault, write_block
from warehouse.company import company
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
    columns = _located(columns, pairs, found.country)
    text = checked(write_block(name, pairs, columns))
    protected = [f"{c.name} ({c.action})" for c in columns if c.action]
    said = f"protected by a guess: {', '.join(protected)}" if protected else "no column seems to hold personal data"
    key = f"key {', '.join(found.key)}: {found.key_comment.removeprefix(f'{REVIEW}: ')}"
    return Proposal(
        text, [*found.notes, f"review: {name}: {said}", f"review: {name}: {key}; subject: {subject or 'none'}"]
    )


def _located(columns: list[Guess], pairs: list[tuple], by_row: str | None) -> list[Guess]:
    """The columns; the country by which they are read is added to `pairs`, if one of them is read by a country."""
    texts = [c.name for c in columns if c.action == "redact"]
    if not texts and not any(c.format == "phone" for c in columns):
        return columns
    if by_row is None:
        pairs.append(("country", company().country, f"{REVIEW}: of numbers without +; left out it is the company's"))
        return columns
    pairs.append(
        ("country_column", by_row, f"{REVIEW}: of numbers without +; a row without a country has none that is read")
    )
    return [replace(c, country=company().country) if c.name in texts else c for c in columns]


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
    if table and not re.fullmatch(r"\w+(\.\w+)?", table):
        raise PlatformError(f"{table!r} is no table's name: it is <table> or <schema>.<table>; else use a query")
    source = _source(connection, table, query)
    types = _chosen(source, jdbc.columns(source), only)
    declared, notes = {}, []
    for name, kind in types.items():
        type_ = declared_type(source.database.product, kind)
        if fault := name_fault(name) or (None if type_ else f"{kind} cannot be declared"):
            notes.append(f"left out: {source.name}: column {name}: {fault}; select it as something else in a query")
        else:
            declared[name] = type_
    if not declared:
        raise PlatformError(f"{source.name}: no column can be declared:\n" + "\n".join(notes))
    rows = _sample_rows(source, declared, types)
    columns = [_column(name, type_, types[name], rows) for name, type_ in declared.items()]
    country = guess_country(columns, rows)
    own = [name for name in _primary_key(source, table) if name in {c.name for c in columns}] if table else []
    if own:
        return Found(columns, own, "the database's primary key", notes=notes, country=country)
    key = guess_key(columns, snake((table or "").split(".")[-1]), rows)
    comment = f"{REVIEW}: a guess from names and {len(rows)} rows"
    comment = comment if key else f"{REVIEW}: nothing identifies a row"
    return Found(columns, key or [columns[0].name], comment, notes=notes, country=country)


def tables(connection: str) -> list[str]:
    """The tables of the connection's database (its current schema), by name."""
    source = _source(connection, "tables")
    schema = _SCHEMA.get(source.database.product)
    asked = "select tablename as name from sys.systables where tabletype = 'T'"
    if schema:
        of = f"where table_schema = {schema} and table_type = 'BASE TABLE'"
        asked = f"select table_name as name from information_schema.tables {of}"
    return sorted(name for (name,) in source.ask(asked))


def declared_type(product: str, kind: str) -> str | None:
    """The feed's type that holds a type of the source best, None if none does."""
    if kind == "money":
        return "decimal(19,2)"
    fits = jdbc_types.fitting(product, kind)
    own = [name for name in fits if name.startswith("decimal") and name == kind.replace("numeric", "decimal")]
    first = ("boolean",) if kind.startswith(("bit", "bool")) else ()
    ranked = (*own, *first, "int", "bigint", "float", "double", "date", "timestamp", "binary", "string", "boolean")
    return next((name for name in ranked if name in fits), None)


# Types at the source that no declared type holds in every case: a load stops at a value that does not fit.
INEXACT = {
    "bigint unsigned": "bigint unsigned at the source, decimal(20,0) if it is above 2^63",
    "numeric": "numeric at the source, better a decimal(p,s) if all values fit",
    "money": "money at the source",
}
NO_DECIMAL = ("NaN", "Infinity", "-Infinity")  # what a numeric of PostgreSQL may hold
_SCHEMA = {"mysql": "database()", "mariadb": "database()", "postgresql": "current_schema()"}


def _source(connection: str, table: str | None, query: str | None = None) -> Source:
    label = f"{connection}.{table or 'query'}"
    return source_of(
        JdbcFeed.model_construct(name=label, connection=connection, table=table, query=query, fetch_rows=SAMPLE_ROWS)
    )


def _chosen(source: Source, types: dict[str, str], only: list[str] | None) -> dict[str, str]:
    """The columns of `only` with their types, in that order and as the database writes them."""
    if only is None:
        return types
    known = {name.lower(): name for name in types}
    if missing := [name for name in only if name.lower() not in known]:
        raise PlatformError(f"{source.name} has no columns {', '.join(missing)}: it has {', '.join(types)}")
    return {known[name.lower()]: types[known[name.lower()]] for name in only}


def _primary_key(source: Source, table: str) -> list[str]:
    """The columns of the table's primary key, in its order; empty if the database's catalogue does not tell."""
    schema = _SCHEMA.get(source.database.product)
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
    return [name for name, place in sorted(source.ask(asked), key=lambda row: int(row[1]))]


def _column(name: str, type_: str, kind: str, rows: list[dict]) -> Guess:
    column = guess_column(name, type_, [row.get(name) for row in rows])
    odd = next((text for text in NO_DECIMAL if any(str(row.get(name)) == text for row in rows)), None)
    if odd and type_.startswith("decimal"):
        return column.noting(f"holds {odd}, at which a load stops: select nullif({name}, '{odd}') in a query")
    if odd and kind == "numeric":
        return column.noting(
            f"numeric at the source that holds {odd}: as a text, or nullif({name}, '{odd}') in a query"
        )
    return column.noting(INEXACT[kind]) if kind in INEXACT else column


def _sample_rows(source: Source, declared: dict[str, str], types: dict[str, str]) -> list[dict]:
    """Some rows, as texts, of the columns that can be looked at; the database limits them, whatever the table's size.

    A column is asked for as a load would, so that no value (NaN, 21 digits before the point) is too much for its type.
    """
    names = [name for name, type_ in declared.items() if type_.split("(")[0] in NUMBERS]
    if not names:
        return []
    product = source.database.product
    sent = [jdbc_types.rule(product, types[name], declared[name])[0].format(source.quoted(name)) for name in names]
    listed = ", ".join(f"{sql} as {source.quoted(name)}" for sql, name in zip(sent, names, strict=True))
    limit = f"fetch first {SAMPLE_ROWS} rows only" if product == "derby" else f"limit {SAMPLE_ROWS}"
    asked = f"select {listed} from {source.relation} {limit}"
    return [dict(zip(names, row, strict=True)) for row in source.ask(asked)]
