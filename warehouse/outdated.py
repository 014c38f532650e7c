"""Tables that an older version of the platform built, with other columns than their dbt models have now.

An insert would cast to the old types in silence, so dbt refuses such a table; here it is found before anything is touched.
`mdp rebuild` (mdp/rebuild.py) drops and builds it again. What it still has to do stands in the state database: until it is
done no stage starts, because the tables lack days that count as whole.
"""

import json
from dataclasses import asdict, dataclass, field

from warehouse import parts, state, tables
from warehouse.errors import PlatformError, listed
from warehouse.partitions import columns_of

BUILT = (tables.CLEANED, tables.FEATURES, tables.LABELS, tables.MARTS)  # layers whose tables dbt writes
FACT = "rebuild"


@dataclass
class Rebuild:
    """What is left to do: tables to drop, models of each stage for a range of days, then models for single days."""

    drop: list[str]
    ranges: dict[str, tuple[str, str, list[str]]]  # stage → first day, last day, models
    days: dict[str, list[str]]  # day → models that write one day a run
    dense_days: int | None = None
    tables: list[str] = field(default_factory=list)  # all that are built again, to be named


def find(layers: tuple[str, ...] = BUILT) -> dict[str, str]:
    """Table → how its columns differ from those of its model, in order; only tables that are there and still built."""
    names = parts.models()
    found, left_out = {}, {names[name] for name in parts.excluded()}
    for table, wanted in parts.contracts().items():
        is_asked = table.split(".")[0] in layers and table not in left_out
        columns = columns_of(table) if is_asked else None
        if columns is not None and (difference := _difference(columns, wanted)):
            found[table] = difference
    return found


def _difference(has: dict[str, str], wanted: dict[str, str]) -> str:
    """What the columns of a table (name → type) lack of those wanted; empty if nothing, not even the order."""
    lacks = [name for name in wanted if name not in has]
    extra = [name for name in has if name not in wanted]
    other = [
        f"{name} is {has[name]}, not {wanted[name]}" for name in wanted if has.get(name, wanted[name]) != wanted[name]
    ]
    said = [f"lacks {listed(lacks)}"] * bool(lacks) + [f"has {listed(extra)}, which is gone"] * bool(extra) + other
    return ", ".join(said) or ("" if list(has) == list(wanted) else "has its columns in another order")


def require_current(layers: tuple[str, ...] = BUILT) -> None:
    """Raise PlatformError naming the outdated tables, of all layers if there is one in `layers`, and `mdp rebuild`."""
    require_whole()
    if find(layers):
        said = "; ".join(f"{table} {difference}" for table, difference in find().items())
        raise PlatformError(
            f"tables built by an older version have other columns than their models have now ({said}): `mdp rebuild` builds "
            "them, and what is built from them, again for all their days"
        )


def require_whole() -> None:
    """Raise PlatformError while a rebuild is not finished."""
    if unfinished := begun():
        raise PlatformError(
            f"{listed(unfinished.tables)} are being built again and lack days until that is done: wait for `mdp rebuild`, or "
            "if it was interrupted, type it again: it goes on where it stopped"
        )


def begun() -> Rebuild | None:
    """What a rebuild that was begun has still to do."""
    text = state.fact(FACT)
    return Rebuild(**json.loads(text)) if text else None


def note(left: Rebuild | None) -> None:
    """Store what is left of the rebuild; None when it is done."""
    state.set_fact(FACT, json.dumps(asdict(left)) if left else None)
