"""Privacy applied to Spark frames: one Arrow function per feed, run by Spark's Python workers; free text in SQL alone.

The key must never stand in SQL or a query plan, because plans are logged; so a worker reads the key file itself, and
only its path travels. The worker needs pyarrow and cryptography but none of our packages: our functions go along by
value. Masking free text needs no key, and is so much text that it stays inside the engine.
"""

import sys
from collections.abc import Iterator

import pyarrow as pa
from pyspark import cloudpickle
from pyspark.sql.connect.functions import arrow_udf, col, expr

from ingestion import masks, phones, privacy
from ingestion.feeds import Feed
from ingestion.masks import MAYBE_PERSONAL, mask, redactions
from ingestion.privacy import (
    SEALED,
    Keys,
    Row,
    coarsen,
    decrypt,
    encrypt,
    exact_text,
    key_row,
    keyed_hash,
    payload_row,
    read_keys,
)
from warehouse.keys import key_id, key_ids, key_path

for module in (masks, phones, privacy, sys.modules[__name__]):
    cloudpickle.register_pickle_by_value(module)

NEED_KEY = ("hash", "hash_and_mask", "encrypt")
PAYLOAD_KEY = ("row_key", "source")  # of a quarantined line


def stored_columns(feed: Feed) -> dict[str, str]:
    """Name → type of what a feed's declared columns become in the raw table, `key_id` last if a key was used."""
    stored = {}
    for name, column in feed.columns.items():
        kind = column.type if column.stored(name) == [name] else "string"
        stored |= dict.fromkeys(column.stored(name), kind)
    return stored | ({"key_id": "string"} if _actions(feed, *NEED_KEY) else {})


def protect(frame, feed: Feed):
    """The frame with each declared action applied; the frame itself if the feed declares none.

    `key_id` names the block that sealed the row, or, if nothing of it is sealed, the one its hashes come from. Only what
    an action needs goes through Python.
    """
    if redacted := _actions(feed, "redact"):
        frame = frame.withColumns({name: expr(redaction(name, feed.country_of(name)[0])) for name in redacted})
    stored, acted = stored_columns(feed), _actions(feed, *NEED_KEY, "mask", "coarsen")
    if not acted and not _actions(feed, "drop"):
        return frame
    shown = {name: f"`{name}`" for name in (*stored, *(name for name in frame.columns if name not in feed.columns))}
    if acted:
        path = str(key_path()) if "key_id" in stored else None
        used_key = (key_id() if _actions(feed, "encrypt") else key_ids()[0]) if path else None
        made = {name: stored[name] for column in acted for name in feed.columns[column].stored(column)}
        actions = [(n, feed.columns[n].action, feed.columns[n].format, *feed.country_of(n)) for n in acted]
        beside = [*(feed.key if _actions(feed, "encrypt") else ()), *(action[-1] for action in actions if action[-1])]
        taken = list(dict.fromkeys([*acted, *beside]))
        work = arrow_protector(taken, actions, list(feed.key), feed.raw_table, path, used_key)
        result = arrow_udf(", ".join(f"`{name}` {kind}" for name, kind in made.items()))(work)
        frame = frame.withColumn("mdp_made", result(*[col(f"`{name}`") for name in taken]))
        shown |= {name: f"mdp_made.`{name}`" for name in made}
        shown |= {"key_id": f"'{used_key}'"} if path else {}
    return frame.selectExpr(*[f"{sql} as `{name}`" for name, sql in shown.items()])


def redaction(column: str, country: str | None) -> str:
    """SQL of a text column with phones, e-mail addresses and id numbers masked: what `masks.redact` does."""
    text = f"`{column}`"
    for pattern, shown in redactions(country):
        text = f"regexp_replace({text}, r'{pattern}', '{shown}')"
    return f"if(`{column}` rlike '{MAYBE_PERSONAL}', {text}, `{column}`)"


def unseal_payload(frame, table: str):
    """The frame of a quarantine with its `payload` decrypted; a value that does not open fails the whole."""
    path = str(key_path())

    @arrow_udf("string")
    def opened(sealed: pa.Array, row_keys: pa.Array, sources: pa.Array, used: pa.Array) -> pa.Array:
        keys = read_keys(path)
        rows = zip(*(column.to_pylist() for column in (sealed, row_keys, sources, used)), strict=True)
        opened = [decrypt(keys, text, table, "payload", payload_row(key, file), used) for text, key, file, used in rows]
        return pa.array(opened, pa.string())

    return frame.withColumn("payload", opened(*map(col, ("payload", *PAYLOAD_KEY, "key_id"))))


def arrow_protector(
    taken: list[str], actions: list, key_columns: list[str], table: str, path: str | None, used_key: str | None
):
    """A function that takes the columns `taken` as Arrow arrays and returns what `actions` make of them, as one array of
    structs; an action is (column, action, format, country, column that names the row's country).

    Without a `path` the actions need no key. Free text is masked before (`redaction`).
    """

    def work(*arrays: pa.Array) -> pa.Array:
        keys = keys_sealing_with(used_key, path) if path else None
        batch = pa.RecordBatch.from_arrays(list(arrays), names=taken)
        made = {}
        for name, action, kind, *where in actions:
            countries = row_countries(batch, *where)
            made |= apply_action(batch, name, action, kind, countries, keys, key_columns, table)
        return pa.StructArray.from_arrays(list(made.values()), names=list(made))

    return work


def row_countries(batch: pa.RecordBatch, country: str | None, column: str | None) -> list[str | None]:
    """The country of each row: what `column` says, where there is one and it is not empty, else `country`."""
    if column is None:
        return [country] * batch.num_rows
    return [(text or "").strip().upper() or country for text in batch.column(column).to_pylist()]


def apply_action(
    batch: pa.RecordBatch,
    name: str,
    action,
    kind,
    countries: list[str | None],
    keys,
    key_columns: list[str],
    table: str,
) -> dict:
    """What one column becomes: new name → Arrow array."""
    column = batch.column(name)
    if action == "coarsen":
        return {name: pa.array([coarsen(v) for v in column.to_pylist()], pa.float64())}
    if action == "encrypt":
        values = zip(column.to_pylist(), row_keys(batch, key_columns), strict=True)
        sealed = [encrypt(keys, exact_text(value), table, name, row) for value, row in values]
        return {f"{name}_enc": pa.array(sealed, pa.string())}
    made, values = {}, list(zip(column.to_pylist(), countries, strict=True))
    if action in ("hash", "hash_and_mask"):
        made[f"{name}_hash"] = pa.array([keyed_hash(keys, kind, *value) for value in values], pa.string())
    if action in ("mask", "hash_and_mask"):
        made[f"{name}_mask"] = pa.array([mask(kind, *value) for value in values], pa.string())
    return made


def reseal(frame, table: str, columns: dict[str, str], rows_of):
    """The frame of `table` with the sealed `columns` (stored name → name they are bound to) under the newest key.

    `rows_of` gives what the rows of an Arrow batch are bound to. What is sealed with that key already stays as it is, but
    for texts of before `v2:`; a value that does not open fails the whole.
    """
    work = arrow_resealer(table, columns, rows_of, str(key_path()), key_id())
    return frame.mapInArrow(work, ", ".join(f"`{f.name}` {f.dataType.simpleString()}" for f in frame.schema.fields))


def arrow_resealer(table: str, columns: dict[str, str], rows_of, path: str, used_key: str):
    """A function over Arrow batches that opens what an older key sealed and seals it with `used_key`."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        keys = keys_sealing_with(used_key, path)

        def anew(sealed: str | None, bound: str, row: Row, old_key: str) -> str | None:
            # no key: nothing in the row is sealed
            if not sealed or old_key is None or (old_key == used_key and sealed.startswith(SEALED)):
                return sealed
            return encrypt(keys, decrypt(keys, sealed, table, bound, row, old_key), table, bound, row)

        for batch in batches:
            made = {name: batch.column(name) for name in batch.schema.names}
            old_keys, rows = made["key_id"].to_pylist(), rows_of(batch)
            for stored, bound in columns.items():
                values = zip(made[stored].to_pylist(), rows, old_keys, strict=True)
                made[stored] = pa.array([anew(text, bound, row, old) for text, row, old in values], pa.string())
            made["key_id"] = pa.array([old and used_key for old in old_keys], pa.string())
            yield pa.RecordBatch.from_pydict(made)

    return work


def rows_bound_to(frame, rows_of, wanted: str):
    """The rows of the frame whose key is shown as `wanted`."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch.filter(pa.array([row.name == wanted for row in rows_of(batch)], pa.bool_()))

    return frame.mapInArrow(work, ", ".join(f"`{f.name}` {f.dataType.simpleString()}" for f in frame.schema.fields))


def row_keys(batch: pa.RecordBatch, key_columns: list[str]) -> list[Row]:
    """What the secrets of each row are bound to: the values of its key."""
    rows = zip(*(batch.column(name).to_pylist() for name in key_columns), strict=True)
    return [key_row(*row) for row in rows]


def payload_keys(batch: pa.RecordBatch) -> list[Row]:
    """What each quarantined payload is bound to: the row's key or, where the line has none, its file or topic."""
    rows = zip(*(batch.column(name).to_pylist() for name in PAYLOAD_KEY), strict=True)
    return [payload_row(key, source) for key, source in rows]


def keys_sealing_with(used_key: str, path: str) -> Keys:
    """The ring at `path` with `used_key` as the block that seals; ValueError if this worker's ring lacks it.

    A run stamps its rows with the key it was planned with, and a ring may have grown since.
    """
    keys = read_keys(path)
    if used_key not in keys.ciphers:
        raise ValueError(f"the key ring {path} of this worker lacks {used_key}: copy the whole ring there")
    others = {key: cipher for key, cipher in keys.ciphers.items() if key != used_key}
    return Keys(keys.hashes, others | {used_key: keys.ciphers[used_key]})


def _actions(feed: Feed, *wanted: str) -> list[str]:
    """The names of the feed's columns with one of the wanted actions."""
    return [name for name, column in feed.columns.items() if column.action in wanted]
