"""Privacy applied to Spark frames: one Arrow function per feed, run by Spark's Python workers.

The key must never stand in SQL or a query plan, because plans are logged; so a worker reads the key file itself, and
only its path travels. The worker needs pyarrow and cryptography but none of our packages: our functions go along by
value.
"""

import sys
from collections.abc import Iterator

import pyarrow as pa
from pyspark import cloudpickle
from pyspark.sql.connect.functions import arrow_udf, col

from ingestion import privacy
from ingestion.feeds import Feed
from ingestion.privacy import coarsen, encrypt, keyed_hash, mask_email, mask_phone, read_keys
from warehouse.keys import key_id, key_path

for module in (privacy, sys.modules[__name__]):
    cloudpickle.register_pickle_by_value(module)


def stored_columns(feed: Feed) -> dict[str, str]:
    """Name → type of what a feed's declared columns become in the raw table, `key_id` last if a key was used."""
    stored = {new: column.type for name, column in feed.columns.items() for new in column.stored(name)}
    return stored | ({"key_id": "string"} if _uses_key(feed) else {})


def protect(frame, feed: Feed):
    """The frame with each declared action applied; the frame itself if the feed declares none."""
    if not any(column.action for column in feed.columns.values()):
        return frame
    carried = [f for f in frame.schema.fields if f.name not in feed.columns]
    types = stored_columns(feed) | {f.name: f.dataType.simpleString() for f in carried}
    actions = [(name, column.action, column.format) for name, column in feed.columns.items()]
    actions += [(f.name, None, None) for f in carried]
    work = arrow_protector(list(types), actions, list(feed.key), feed.raw_table, str(key_path()), key_id())
    return frame.mapInArrow(work, ", ".join(f"`{name}` {kind}" for name, kind in types.items()))


def seal(frame, table: str, column: str, bound_to: str):
    """The frame with the text in `column` encrypted for `table` and the row named by `bound_to`; `key_id` where it is.

    A null costs next to nothing: most rows of a log have nothing to seal.
    """
    path, used_key = str(key_path()), key_id()

    @arrow_udf("string")
    def sealed(texts: pa.Array, rows: pa.Array) -> pa.Array:
        if texts.null_count == len(texts):
            return texts
        keys = read_keys(path)
        pairs = zip(texts.to_pylist(), rows.to_pylist(), strict=True)
        return pa.array([encrypt(keys, text, table, column, row) for text, row in pairs], pa.string())

    made = frame.withColumn(column, sealed(col(column), col(bound_to)))
    if "key_id" in frame.columns:
        return made
    return made.selectExpr("*", f"if({column} is null, null, '{used_key}') as key_id")


def arrow_protector(names: list[str], actions: list, key_columns: list[str], table: str, path: str, used_key: str):
    """A function over Arrow batches that applies `actions` = (column, action, format) and returns columns `names`."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        keys = read_keys(path)
        for batch in batches:
            columns = {"key_id": pa.array([used_key] * batch.num_rows, pa.string())}
            for name, action, kind in actions:
                columns |= apply_action(batch, name, action, kind, keys, key_columns, table)
            yield pa.RecordBatch.from_pydict({name: columns[name] for name in names})

    return work


def apply_action(batch: pa.RecordBatch, name: str, action, kind, keys, key_columns: list[str], table: str) -> dict:
    """What one column becomes: new name → Arrow array (empty if it is dropped)."""
    column = batch.column(name)
    if action == "drop":
        return {}
    if action == "coarsen":
        return {name: pa.array([coarsen(v) for v in column.to_pylist()], pa.float64())}
    if action == "encrypt":
        rows = zip(*(batch.column(k).to_pylist() for k in key_columns), strict=True)
        values = zip(column.to_pylist(), rows, strict=True)
        sealed = [encrypt(keys, v, table, name, "|".join(str(part) for part in row)) for v, row in values]
        return {f"{name}_enc": pa.array(sealed, pa.string())}
    if action in ("hash", "hash_and_mask"):
        texts = column.to_pylist()
        made = {f"{name}_hash": pa.array([keyed_hash(keys, kind, t) for t in texts], pa.string())}
        if action == "hash_and_mask":
            mask = {"phone": mask_phone, "email": mask_email}[kind]
            made[f"{name}_mask"] = pa.array([mask(t) for t in texts], pa.string())
        return made
    return {name: column}


def _uses_key(feed: Feed) -> bool:
    return any(column.action in ("hash", "hash_and_mask", "encrypt") for column in feed.columns.values())
