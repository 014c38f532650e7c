"""Cutting a read into parts of about equal size that cover every row exactly once.

A key that counts up almost without gaps is cut into equal steps. Other cuts are quantiles of the split column, so gaps
and outliers do no harm; a value that many rows share cannot be cut and makes its part large, which is said. Rows
without a value are a part of their own. The parts are ranges in the database's own order, so a text, a date or a number
splits alike, and an index on the column serves each part.
"""

from datetime import date, datetime

from ingestion.feeds import JdbcFeed
from ingestion.jdbc_source import Source

SAMPLE = 1000  # keys looked at per part: the sizes then differ by some per cent
DENSE = 1.2  # numbers from lowest to highest per key, at most: so much more than its share a step may then hold
HOT = 1.5  # a part larger than its share by this factor is said
KEY = "mdp_split"  # the split column beside the columns that are read, which may come as texts


def find(source: Source, feed: JdbcFeed, rows: str) -> dict:
    """The cuts of a feed with splits: `cuts` (ascending, text without loss); if they were looked for in `rows` (a relation
    with the column `mdp_split`), also `n_rows`, `n_nulls` and `shares` (of the rows with a value, per part).
    """
    if feed.bounds:
        return {"cuts": _strides(feed, *feed.bounds)}
    key, kind = source.quoted(KEY), feed.columns[feed.split_by].type
    is_unique_number = kind in ("int", "bigint") and feed.key == (feed.split_by,)
    ends = f", min({key}) as low, max({key}) as high" if is_unique_number else ""
    ((n_rows, n_keys, *ends),) = source.ask(
        f"select count(*) as n_rows, count({key}) as n_keys{ends} from {rows}", as_text=False
    )
    known, wanted = {"n_rows": n_rows, "n_nulls": n_rows - n_keys}, SAMPLE * feed.splits
    if ends and n_keys > wanted and (high := int(ends[1])) - (low := int(ends[0])) < DENSE * n_keys:
        cuts = _strides(feed, low, high + 1)
        return {"cuts": cuts, "shares": [round(1 / feed.splits, 4)] * feed.splits, **known}
    some = f" and {source.dialect.random} < {wanted / n_keys:.9f}" if n_keys > wanted else ""
    # A database need not keep the order of a subquery, so the rows carry their place. Spark is not asked to sort: it would
    # ask for the rows twice. (Derby cannot number rows in an order; its order of texts is Python's.)
    place = key if source.database.product == "derby" else f"row_number() over (order by {key})"
    text = source.dialect.text.format(key)
    sql = f"select {text} as sampled, {place} as place from {rows} where {key} is not null{some}"
    found = sorted(source.ask(sql, as_text=False), key=lambda row: row[1]) if n_keys else []
    sample = [str(value) for value, _ in found]
    cuts, shares = _quantiles(sample, feed.splits)
    return {"cuts": cuts, "shares": shares, **known}


def _quantiles(sample: list[str], parts: int) -> tuple[list[str], list[float]]:
    """(cuts, shares) of a sorted sample; fewer cuts where a value fills more than a part."""
    # a cut at the lowest value would leave nothing below it: the next value then
    above = sum(value == sample[0] for value in sample) if sample else 0
    cuts = list(
        dict.fromkeys(sample[max(i * len(sample) // parts, above)] for i in range(1, parts) if above < len(sample))
    )
    edges = [0, *map(sample.index, cuts), len(sample)]
    shares = [round((b - a) / max(len(sample), 1), 4) for a, b in zip(edges, edges[1:], strict=False)]
    return cuts, shares


def _strides(feed: JdbcFeed, low, high) -> list[str]:
    """Equal steps between two bounds; rows outside fall into the first and the last part."""
    kind = feed.columns[feed.split_by].type
    steps = range(1, feed.splits)
    if kind == "date":
        low, high = (date.fromisoformat(str(b)).toordinal() for b in (low, high))
        cuts = [date.fromordinal(low + (high - low) * i // feed.splits).isoformat() for i in steps]
    elif kind == "timestamp":
        low, high = (datetime.fromisoformat(str(b)) for b in (low, high))
        cuts = [(low + (high - low) * i / feed.splits).isoformat(" ") for i in steps]
    else:
        cuts = [str(low + (high - low) * i // feed.splits) for i in steps]
    return list(dict.fromkeys(cuts))


def predicates(source: Source, feed: JdbcFeed, splits: dict) -> list[str]:
    """A condition per part: together they hold for each row exactly once, whatever its value (NULL, NaN, infinity)."""
    key = source.quoted(KEY)
    kind = feed.columns[feed.split_by].type
    cuts = [source.literal(cut, kind) for cut in splits["cuts"]]
    if not cuts:
        return []
    first, last = f"{key} < {cuts[0]}", f"{key} >= {cuts[-1]}"
    between = [f"{key} >= {a} and {key} < {b}" for a, b in zip(cuts, cuts[1:], strict=False)]
    if splits.get("n_nulls"):
        return [first, *between, last, f"{key} is null"]
    return [f"{first} or {key} is null", *between, last]


def notes(feed: JdbcFeed, splits: dict) -> list[str]:
    """What is worth saying about the sizes of the parts."""
    shares = splits.get("shares") or [0]
    if splits.get("n_rows", 0) < SAMPLE or max(shares) <= HOT / feed.splits:
        return []
    part = shares.index(max(shares)) + 1
    return [f"part {part} holds about {max(shares):.0%} of the rows: many share one value of {feed.split_by}"]
