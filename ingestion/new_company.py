"""Writes a proposed company: its folder of declarations, each guess marked `review` with what it rests on.

The folder is written beside where it shall stand, read as the platform will read it, and moved there whole.
"""

import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ingestion.feeds import DIGEST, load_feeds
from ingestion.guess import guess_country, guess_subject, open_key
from ingestion.mapping import BOOLEANS, IDS, NUMERICS, STRINGS, TIMES, Mapping, Model, feed_of
from ingestion.proposal import REVIEW, Guess, scalar, write_block
from ingestion.tables import Table
from ingestion.targets import load_targets
from warehouse import company
from warehouse.entities import Entity
from warehouse.errors import PlatformError

WIDTH = 118
RULERS = (IDS, STRINGS, NUMERICS, BOOLEANS, TIMES)


def write(
    folder: Path,
    name: str,
    mapping: Mapping,
    contract: dict[str, Entity],
    *,
    domain: str,
    connection: str,
    settings: dict[str, tuple[str, str | None]],
) -> list[Path]:
    """Write the folder of a company; returns its files. `settings`: timezone, country, currency, each with what to review.

    PlatformError, and nothing written, if the folder exists or what would be written does not hold.
    """  # fmt: skip
    if folder.exists():
        raise PlatformError(f"{folder} exists: choose another name, or take that folder away first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        draft.chmod(0o755)
        (draft / "staging").mkdir()
        (draft / "company.yml").write_text(_company(name, mapping, contract, settings), encoding="utf-8")
        with named(draft):
            zone = settings["timezone"]
            feeds = [_feed(table, domain, connection, zone, mapping, contract) for table in mapping.tables]
            (draft / "feeds.yml").write_text("\n".join(feeds), encoding="utf-8")
            (draft / "exports.yml").write_text(NO_EXPORTS, encoding="utf-8")
            for model in mapping.models:
                text = staging_sql(model, domain, contract[model.entity])
                (draft / "staging" / f"{model.name}.sql").write_text(text, encoding="utf-8")
            (draft / "staging" / "_staging.yml").write_text(_staging(mapping, domain), encoding="utf-8")
            company.staged()
            load_feeds()
            load_targets()
        draft.rename(folder)
    except PlatformError as error:
        raise PlatformError(str(error).replace(str(draft), str(folder))) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def named(folder: Path):
    """MDP_COMPANY names a folder for a while."""
    before = os.environ.get("MDP_COMPANY")
    os.environ["MDP_COMPANY"] = str(folder.resolve())
    try:
        yield
    finally:
        os.environ.pop("MDP_COMPANY") if before is None else os.environ.update(MDP_COMPANY=before)


NO_EXPORTS = "# What is handed back: one block per table of a database (docs/exports.md). None yet.\n{}\n"


def _company(name: str, mapping: Mapping, contract: dict, settings: dict[str, tuple[str, str | None]]) -> str:
    lines = [f"# Keys: docs/your-company.md. Proposed; what is marked `{REVIEW}` is a guess.", f"name: {scalar(name)}"]
    for key in ("timezone", "country", "currency"):
        value, doubt = settings[key]
        lines.append(f"{key}: {scalar(value)}" + (f"  # {REVIEW}: {_said(doubt)}" if doubt else ""))
    lines += ["", "# Entity (dbt_project/models/input/_input.yml) → the staging models that feed it.", "entities:"]
    for entity in contract:
        if models := [m for m in mapping.models if m.entity == entity]:
            why = "; ".join(f"{m.name}: {m.note}" for m in models)
            lines += [f"  # {REVIEW}: {_said(why)}", f"  {entity}: [{', '.join(m.name for m in models)}]"]
    return "\n".join(lines) + "\n"


# -- feeds ------------------------------------------------------------------------------------------------------------


def _feed(table: Table, domain: str, connection: str, zone: tuple, mapping: Mapping, contract: dict) -> str:
    guesses = [_protected(table, one, mapping) for one in table.fields.values()]
    key, why = _key(table, mapping)
    if key == [DIGEST]:
        guesses.append(Guess(DIGEST, "string"))
    guesses = open_key(guesses, key)
    pairs = []
    for name, value in table.feed.items():
        pairs.append((name, value, _feed_doubt(table, name)))
        if name == "kind" and value == "jdbc":
            pairs.append(("connection", connection, None))
    if table.feed["kind"] == "files":
        pairs[1] = ("directory", re.sub(r"[^\w-]", "_", table.feed["directory"]), "below MDP_SPOOL_URI")
    local = [f.name for f in table.fields.values() if f.type == "timestamp" and not f.has_offset]
    if local:
        said = f"{', '.join(local)} carr{'y' if len(local) > 1 else 'ies'} no offset: in which zone are they written?"
        pairs.append(("timestamp_zone", zone[0], f"{REVIEW}: {said}"))
    subject = _subject(table, guesses, key, mapping)
    pairs.append(("subject", subject, f"{REVIEW}: the person a row is about; null = nobody"))
    located = any(g.format == "phone" for g in guesses)
    if located and (by_row := guess_country(guesses, table.rows)):
        pairs.append(("country_column", by_row, f"{REVIEW}: of numbers without +"))
    pairs.append(("key", key, why))
    text = write_block(feed_of(domain, table), pairs, guesses)
    for one in table.fields.values():  # what a source's column is called and how its times are written
        extra = {"field": one.written} if one.written != one.name and table.feed["kind"] == "files" else {}
        extra |= {"time_format": one.time_format} if one.time_format and one.is_time else {}
        for key_, value in extra.items():
            head = f"\n    {scalar(one.name)}: {{"
            text = text.replace(head, f"{head}{key_}: {scalar([value])[1:-1]}, ", 1)
    return text


def _feed_doubt(table: Table, name: str) -> str | None:
    if name == "mode" and table.feed["kind"] == "jdbc":
        changed = [f.name for f in table.fields.values() if f.is_time]
        hint = f"; `append` with check_column reads new rows only ({', '.join(changed)})" if changed else ""
        return f"{REVIEW}: the whole table each day{hint}"
    if name == "mode":
        return f"{REVIEW}: the files of a day are the whole table; append: each brings new rows only"
    return None


def _protected(table: Table, one, mapping: Mapping) -> Guess:
    return replace(mapping.treated[table.name][one.name], type=one.type)


def _key(table: Table, mapping: Mapping) -> tuple[list[str], str]:
    """(key, what it rests on) of a table: the source's own, else what is unique in the sample, else the whole line."""
    if table.key:
        return table.key, "the database's primary key"
    models = [m for m in mapping.models if m.table is table and m.columns]
    shown = f"{len(table.rows):,} rows"
    own = {"customers": "customer_id", "products": "product_id", "orders": "order_id", "order_items": "order_item_id"}
    for model in models:
        given = model.columns.get(own.get(model.entity, ""))
        names = (
            re.findall(r"`(\w+)`", given.sql)
            if given and "row_number" not in given.sql and "sha2" not in given.sql
            else []
        )
        if names and set(names) <= set(table.fields) and _is_unique(table, names):
            return names, f"{REVIEW}: unique in {shown}"
    every = list(table.fields)
    pairs = [[one] for one in every[:8]] + [[a, b] for n, a in enumerate(every[:4]) for b in every[n + 1 : 5]]
    unlikely = {f.name for f in table.fields.values() if f.type.startswith(("decimal", "double"))}
    for names in pairs if table.feed["kind"] == "jdbc" or len(every) <= 4 else []:
        is_only_time = [n for n in names if table.fields[n].is_time] == names
        if (
            not unlikely & set(names)
            and not is_only_time
            and models
            and models[0].entity not in ("orders",)
            and _is_unique(table, names)
        ):
            return names, f"{REVIEW}: unique in {shown}"
    if table.feed["kind"] == "files":
        return [DIGEST], f"{REVIEW}: nothing seems to identify a row: the digest of the whole line"
    return [every[0]], f"{REVIEW}: nothing identifies a row"


def _is_unique(table: Table, names: list[str]) -> bool:
    rows = [tuple(row.get(name) for name in names) for row in table.rows]
    return bool(rows) and len(set(rows)) == len(rows) and not any(part in (None, "") for row in rows for part in row)


def _subject(table: Table, guesses: list[Guess], key: list[str], mapping: Mapping) -> str | None:
    for model in mapping.models:
        if model.table is table and (given := model.columns.get("customer_id")):
            names = re.findall(r"^(?:max\()?(?:source\.)?`(\w+)`\)?$", given.sql)
            if names and names[0] in table.fields:
                return names[0]
    for model in mapping.models:
        for given in model.columns.values():
            if (
                table in model.also
                and (names := re.findall(r"^orders\.`(\w+)`$", given.sql))
                and "customer_id" in given.reason
            ):
                return names[0]
    return guess_subject(guesses, table.name, key)


# -- staging ----------------------------------------------------------------------------------------------------------


def staging_sql(model: Model, domain: str, entity: Entity) -> str:
    """The staging model in the style of the sample's: source, further steps, renamed; a reason above each guess."""
    raw = "{{ source('raw', '" + feed_of(domain, model.table) + "') }}"
    where = f" where {model.where}" if model.where else ""
    steps = {"source": f"select * from {raw}{where}", **model.steps}
    body = [f"{{#- {_said(model.note)} -#}}", "with", ""]
    for name, sql in steps.items():
        body += [f"{name} as (", "", f"    {sql}", "", "),", ""]
    body += ["renamed as (", "", "    select"]
    columns = [(column, given) for column, given in model.columns.items()]
    groups = {ruler: [(c, g) for c, g in columns if _ruler(entity, c) == ruler] for ruler in RULERS}
    for ruler, listed in groups.items():
        if not listed and ruler != TIMES:
            continue
        body.append(f"        ---------- {ruler}")
        for column, given in listed:
            reason = _said(given.reason).replace(";", ",")  # at any of these dbt's adapter cuts the statement
            body += [f"        -- {REVIEW}: {reason}"]
            same = given.sql.strip("`") == column
            body.append(f"        {given.sql if same else f'{given.sql} as {column}'},")
        if ruler == TIMES:
            body.append(f"        {model.load} as load_date")
        else:
            body.append("")
    body += ["", f"    from {model.joined}", "", ")", "", "select * from renamed", ""]
    return "\n".join(body)


def _ruler(entity: Entity, column: str) -> str:
    type_ = entity.columns[column].type
    if column.endswith("_id"):
        return IDS
    if type_ in ("timestamp", "date"):
        return TIMES
    return BOOLEANS if type_ == "boolean" else STRINGS if type_ == "string" else NUMERICS


def _staging(mapping: Mapping, domain: str) -> str:
    lines = ["version: 2", "", "sources:", "  - name: raw",
             "    description: What ingestion stored, partitioned by load day (ds). One table per feed of feeds.yml.",
             "    tables:"]  # fmt: skip
    for table in mapping.tables:
        lines += [
            f"      - name: {feed_of(domain, table)}",
            f"        description: {scalar(f'Rows of {table.name}, as loaded.')}",
        ]
    lines += ["", "models:"]
    for model in mapping.models:
        lines += [f"  - name: {model.name}", f"    description: {scalar(_said(model.note))}", "    columns: ["]
        row = "     "
        for column in (*model.columns, "load_date"):
            part = f" {{name: {column}}}" + ("" if column == "load_date" else ",")
            if len(row + part) > WIDTH:
                lines.append(row)
                row = "     "
            row += part
        lines += [row, "    ]"]
    return "\n".join(lines) + "\n"


def _said(text: str) -> str:
    """The text as a comment may hold it: on one line, of nothing that dbt would read."""
    return re.sub(r"\s+", " ", re.sub(r"[{}#%]-?(?=[{}#%])", " ", text)).strip()
