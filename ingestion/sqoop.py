"""Sqoop commands as feed blocks (imports) and export blocks (exports): what has an equivalent is written, the rest is said.

A Sqoop command does not know the types of the columns; they are asked of the database, where its connection is set and the
engine runs. Where it cannot be asked, a block is written only if the command names the columns, each marked for review;
else there is no block, because one with invented columns would lie.
"""

import os
import re
from pathlib import Path

from ingestion.address import Address, read_address
from ingestion.guess import guess_column, guess_key, snake
from ingestion.infer import ask_database, feed_name, propose, tables
from ingestion.proposal import EQUIVALENT, NONE, REVIEW, Found, Guess, Proposal, checked, scalar
from ingestion.sqoop_options import (
    ALL,
    CONNECTOR,
    EXPORT,
    HADOOP,
    OPTIONS,
    OTHER_TOOLS,
    Command,
    Option,
    parse,
    read_commands,
    read_options_file,
)
from warehouse.errors import PlatformError

SQOOPS_MAPPERS = 4
VARIABLE = re.compile(r"\$\{?(?!CONDITIONS\b)[A-Za-z_][\w.]*\}?")
EXPORT_TYPES = {"string": "VARCHAR(255)", "float": "DOUBLE", "binary": "VARCHAR(255)"}


def convert(path: str, text: str | None = None, source: str | None = None) -> Proposal:
    """The blocks of an options file, or of the commands in `text` (then `path` is only its name in messages).

    `source` is the warehouse table that an export reads. Faults come back in the proposal, then without text; a file that
    cannot be read as Sqoop's raises PlatformError.
    """
    commands, notes = _read(path, text)
    whole, names = Proposal(notes=notes), set()
    for command in commands:
        try:
            found = _export(command, source) if command.tool == EXPORT else _import(command)
        except PlatformError as error:
            found = Proposal(notes=_notes(command), faults=[str(error)])
        made = set(re.findall(r"^(\w+):", found.text, re.MULTILINE))
        for name in sorted(made & names):
            found.faults.append(f"{name} is there twice: convert the commands apart, and give one block another name")
        names |= made
        whole.notes += [note for note in found.notes if note not in whole.notes]
        whole.faults += found.faults
        whole.text += ("\n" if whole.text else "") + found.text
    if whole.faults:
        whole.text = ""
    return whole


def _read(path: str, text: str | None) -> tuple[list[Command], list[str]]:
    """(the commands that move something, notes on the others); PlatformError if a command is wrong, or there is none."""
    if text is None:
        return [parse(read_options_file(Path(path)), Path(path).name, Path(path).parent)], []
    commands, notes = read_commands(text, path)
    moving = [tokens for tokens in commands if not tokens or tokens[0].text not in OTHER_TOOLS] or commands[:1]
    for tokens in commands:
        if tokens not in moving:
            notes.append(f"{NONE}: {path}: line {tokens[0].line}: {tokens[0].text}: {OTHER_TOOLS[tokens[0].text]}")
    parsed = [parse(tokens, path, Path()) for tokens in moving]
    if len({command.tool == EXPORT for command in parsed}) > 1:
        raise PlatformError(f"{path}: imports and exports are declared in two files: convert them one after the other")
    return parsed, notes


def _notes(command: Command) -> list[str]:
    """One line for each option that has no equivalent, and one for those that are not needed for the same reason."""
    notes, unneeded = [], {}
    own = Option(True, NONE, "an argument of another program, which is not run")
    given = [(f"--{name}", OPTIONS[command.tool][name], found.line) for name, found in command.given.items()]
    given += [(f"-{name}", HADOOP[name.split()[0]], command.line) for name in command.hadoop]
    given += [(f"-- --{name}", CONNECTOR.get(name, own), command.line) for name in command.connector]
    for name, option, line in given:
        if option.verdict == NONE:
            notes.append(f"{NONE}: {name} (line {line}): {option.text}")
        elif option.verdict != EQUIVALENT:
            unneeded.setdefault(option.text, []).append(name)
    return notes + [f"not needed: {', '.join(names)}: {text}" for text, names in unneeded.items()]


def _address(command: Command) -> tuple[Address, list[str]]:
    """The connection that --connect means, and what is to be set for it."""
    if not (url := command.value("connect")):
        raise PlatformError(f"{command.where}: --connect is missing: it says which database is meant")
    _refuse_variables(command, ("connect", "username"))
    address = read_address(url, command.place("connect"))
    wanted = {f"{address.prefix}_URL": f"={address.url}"}
    if user := command.value("username") or address.user:
        wanted[f"{address.prefix}_USER"] = f"={user}"
    hidden = {name.lower() for name in address.dropped}
    if {"password", "password-file", "P", "password-alias"}.intersection(command.given) or "password" in hidden:
        copied = command.value("password-file")
        hint = f"a local copy of {copied}" if copied else "a file that holds it, for you only to read"
        wanted[f"{address.prefix}_PASSWORD_FILE"] = f" ({hint}), or {address.prefix}_PASSWORD"
    notes = [f"set: {variable}{value}" for variable, value in wanted.items() if not os.environ.get(variable)]
    if others := [name for name in address.dropped if name.lower() != "password"]:
        notes.append(f"review: taken out of the URL, because they may be secret: {', '.join(others)}")
    return address, notes


# -- imports ----------------------------------------------------------------------------------------------------------


def _import(command: Command) -> Proposal:
    address, settings = _address(command)
    notes, silence = [*_notes(command), *settings], address.silence()
    if command.tool == ALL:
        return _import_all(command, address, notes, silence)
    _refuse_variables(command, ("table", "columns", "where", "query", "split-by", "check-column", "merge-key"))
    table, query = _table(command), _query(command)
    if (table is None) == (query is None):
        raise PlatformError(f"{command.where}: an import needs --table or --query, and not both")
    named = [name for option in ("check-column", "merge-key", "split-by") if (name := _column(command, option))]
    only = _columns(command)
    if only is not None:
        lower = {column.lower() for column in only}
        added = [name for name in dict.fromkeys(named) if name.lower() not in lower]
        notes += [f"review: column {name} is added: the block names it, so it must be declared" for name in added]
        only += added
    if silence is None:
        found = ask_database(address.name, table, query, only)
    elif only is None:
        what = f"{address.name}.{table}" if table else f"the query on {address.name}"
        return Proposal(notes=notes, faults=[_unknown_columns(command, address, what, silence)])
    else:
        found = _unasked(command, only, table)
        notes.append(
            f"review: the database was not asked ({silence}), so every type is open: set what is named above, start the "
            "engine (`mdp warehouse start`) and convert again, or use `mdp feed infer`"
        )
    name = feed_name(address.name, _entity(command, table))
    pairs = _import_pairs(command, address, table, query, found, notes)
    if merge := _same(_column(command, "merge-key"), found.columns):
        found.key, found.key_comment = [merge], "--merge-key"
    proposal = propose(name, pairs, found)
    return Proposal(proposal.text, notes + proposal.notes)


def _import_pairs(
    command: Command, address: Address, table: str | None, query: str | None, found: Found, notes: list[str]
) -> list[tuple]:
    """The keys of the block but for columns, subject and key."""
    pairs = [("kind", "jdbc", None), ("connection", address.name, None)]
    pairs.append(("table", table, None) if table else ("query", query, None))
    if where := command.value("where"):
        pairs.append(("where", where, None))
    mode = command.value("incremental")
    if mode not in (None, "append", "lastmodified"):
        raise PlatformError(f"{command.place('incremental')} is {mode!r}: Sqoop knows append and lastmodified")
    if mode and not command.value("check-column"):
        raise PlatformError(f"{command.place('incremental')} needs --check-column")
    pairs.append(("mode", mode or "full", None if mode else f"{REVIEW}: every load reads all rows"))
    if mode:
        pairs.append(("check_column", _same(_column(command, "check-column"), found.columns), None))
    if mode == "lastmodified":
        notes.append(
            "review: if a column says when a row was made, name it as created_column: a history then misses none"
        )
    mappers = _number(command, "num-mappers")
    split = _same(_column(command, "split-by"), found.columns)
    if mappers and mappers > 1 and not split:
        types = {column.name: column.type for column in found.columns}
        if len(found.key) == 1 and types[found.key[0]] not in ("boolean", "binary"):
            split = found.key[0]
        else:
            notes.append(
                f"review: -m {mappers} needs a split_by column (Sqoop took the primary key): rows are read in one part"
            )
    splits = min(mappers or SQOOPS_MAPPERS, 64)
    if split and splits > 1:
        pairs.append(("split_by", split, None if command.value("split-by") else f"{REVIEW}: the key"))
        pairs.append(("splits", splits, None if mappers else "Sqoop's default"))
    rows = _number(command, "fetch-size")
    return pairs + ([("fetch_rows", rows, None)] if rows and rows > 0 else [])


def _import_all(command: Command, address: Address, notes: list[str], silence: str | None) -> Proposal:
    """A block for each table of the database."""
    if silence:
        return Proposal(
            notes=notes, faults=[_unknown_columns(command, address, f"the tables of {address.name}", silence)]
        )
    left = {name.strip().lower() for name in (command.value("exclude-tables") or "").split(",")}
    texts = []
    for table in tables(address.name):
        if table.lower() in left:
            continue
        pairs = [("kind", "jdbc", None), ("connection", address.name, None), ("table", table, None)]
        pairs.append(("mode", "full", f"{REVIEW}: every load reads all rows"))
        proposal = propose(feed_name(address.name, table), pairs, ask_database(address.name, table))
        texts.append(proposal.text)
        notes = notes + proposal.notes
    if not texts:
        raise PlatformError(f"{command.where}: the database of {address.name} has no tables to import")
    return Proposal("\n".join(texts), notes)


def _unasked(command: Command, only: list[str], table: str | None) -> Found:
    """The columns that a command names, their types open; the check column's is one that its mode can have."""
    check = (_column(command, "check-column") or "").lower()
    number = re.fullmatch(r"-?\d+", command.value("last-value") or "0") is not None
    checked = "bigint" if command.value("incremental") == "append" and number else "timestamp"

    def column(name: str) -> Guess:
        type_ = checked if name.lower() == check else "string"
        return guess_column(name, type_).noting("the type is not known")

    columns = [column(name) for name in only]
    key = guess_key(columns, snake((table or "").split(".")[-1]), [])
    return Found(columns, key or [columns[0].name], f"{REVIEW}: a guess from names")


def _unknown_columns(command: Command, address: Address, what: str, silence: str) -> str:
    infer = f", or use `mdp feed infer {what}`" if re.fullmatch(r"\w+(\.\w+)+", what) else ""
    return (
        f"{command.where}: {what}: columns and types stand in the database, which was not asked: {silence}. Set "
        f"{address.prefix}_URL (and {address.prefix}_USER, {address.prefix}_PASSWORD_FILE), start the engine (`mdp warehouse "
        f"start`) and convert again{infer}"
    )


# -- exports ----------------------------------------------------------------------------------------------------------


def _export(command: Command, source: str | None) -> Proposal:
    if "call" in command.given:
        raise PlatformError(f"{command.place('call')}: {OPTIONS[EXPORT]['call'].text}")
    address, settings = _address(command)
    notes = [*_notes(command), *settings]
    _refuse_variables(command, ("table", "columns", "export-dir", "update-key"))
    if not (table := _table(command)):
        raise PlatformError(f"{command.where}: an export needs --table")
    source, comment = (source, None) if source else _export_source(command)
    silence, only = address.silence(), _columns(command)
    if silence is None:
        found = ask_database(address.name, table, only=only)
    elif only is None:
        fault = _unknown_columns(command, address, f"{address.name}.{table}", silence).split(", or use")[0]
        return Proposal(notes=notes, faults=[fault])
    else:
        found = _unasked(command, only, table)
    keys = [
        _same(name.strip(), found.columns) for name in (command.value("update-key") or "").split(",") if name.strip()
    ]
    mode = {None: "update", "updateonly": "update", "allowinsert": "upsert"}.get(command.value("update-mode"))
    if mode is None:
        raise PlatformError(f"{command.place('update-mode')}: Sqoop knows updateonly and allowinsert")
    lines = [
        f"{snake(table.split('.')[-1])[:32]}:",
        f"  connection: {address.name}",
        f"  table: {scalar(table)}",
        f"  source: {scalar(source)}{comment or ''}",
        f"  mode: {mode if keys else 'insert'}",
        f"  key: {scalar(keys or found.key)}" + ("" if keys else f"  # {found.key_comment}"),
        f"  columns:  # {REVIEW}: types count only if the export makes the table; names are those of both tables",
    ]
    for column in found.columns:
        made = EXPORT_TYPES.get(column.type, column.type.upper())
        lines.append(f"    {scalar(column.name)}: {scalar(made)}")
    notes += [f"review: {source} must have the columns {', '.join(c.name for c in found.columns)}, and a partition ds"]
    if keys and mode == "update":
        notes.append("review: a row whose key is not there is rejected (Sqoop passes over it): see max_rejected_share")
    from ingestion.targets import load_targets

    return Proposal(checked("\n".join(lines) + "\n", load_targets), notes)


def _export_source(command: Command) -> tuple[str, str]:
    """(warehouse table, comment) that the exported directory or HCatalog table is; PlatformError if that cannot be told."""
    if table := command.value("hcatalog-table"):
        return f"{command.value('hcatalog-database') or 'default'}.{table}", f"  # {REVIEW}: from HCatalog"
    folder = command.value("export-dir")
    if not folder:
        raise PlatformError(f"{command.where}: an export needs --export-dir or --hcatalog-table")
    if found := re.search(r"/(\w+)\.db/(\w+)(/|$)", folder):
        return f"{found[1]}.{found[2]}", f"  # {REVIEW}: from the directory's name"
    raise PlatformError(
        f"{command.place('export-dir')} is a directory, and an export reads a table of the warehouse: name the one that holds "
        "these rows with --source <schema>.<table>"
    )


# -- single options ---------------------------------------------------------------------------------------------------


def _table(command: Command) -> str | None:
    table, schema = command.value("table"), command.connector.get("schema")
    if table and schema and "." not in table:
        table = f"{schema}.{table}"
    if table and not re.fullmatch(r"\w+(\.\w+)?", table):
        raise PlatformError(
            f"{command.place('table')} is {table!r}: a feed's table is <table> or <schema>.<table>; use --query"
        )
    return table


def _query(command: Command) -> str | None:
    """The query, for one reader: Sqoop's condition on the part of a mapper is true."""
    query = command.value("query")
    return query and re.sub(r"\\?\$CONDITIONS\b", "(1 = 1)", query.strip().rstrip(";"))


def _columns(command: Command) -> list[str] | None:
    text = command.value("columns")
    return [name.strip() for name in text.split(",") if name.strip()] if text else None


def _column(command: Command, option: str) -> str | None:
    """The column an option names, without the alias of a query's table (a.id is id in its result)."""
    name = command.value(option)
    return name and name.strip().strip('`"[]').split(".")[-1]


def _same(name: str | None, columns: list[Guess]) -> str | None:
    """The column's name as the database writes it."""
    return next((c.name for c in columns if name and c.name.lower() == name.lower()), name)


def _entity(command: Command, table: str | None) -> str:
    """What the rows are called: the table, or what a query's result was called in Hive or in its directory."""
    folder = (command.value("target-dir") or "").rstrip("/").split("/")[-1]
    names = (table, command.value("hive-table"), command.value("hcatalog-table"), folder, command.job, "query")
    return next(name for name in names if name).split(".")[-1]


def _number(command: Command, option: str) -> int | None:
    value = command.value(option)
    if value is not None and not re.fullmatch(r"-?\d+", value):
        raise PlatformError(f"{command.place(option)} must be a whole number")
    return value and int(value)


def _refuse_variables(command: Command, options: tuple[str, ...]) -> None:
    """Raise PlatformError if one of these values holds a variable of the shell: nobody would fill it in."""
    for option in options:
        if found := VARIABLE.search(command.value(option) or ""):
            raise PlatformError(
                f"{command.place(option)} holds the variable {found[0]}, and a block is not filled in by a shell: write its "
                "value (of a day that changes: use --incremental, a feed keeps its own position)"
            )
