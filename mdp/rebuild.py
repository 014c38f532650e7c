"""`mdp rebuild`: build outdated tables (warehouse/outdated.py), and what is built from them, again for all their days.

Everything after raw can be computed again. What a run writes for a range of days is built in one pass from the first day on,
as a history is; what it writes for one day, as customers and marts, day by day. Predictions are left alone: they say what was
known on their day, and what is built from them is built from those.
"""

import contextlib
import json
from pathlib import Path

from mdp.build import LAYERS, dbt_environment, run_dbt
from warehouse import dates, leases, outdated, parts, state, tables
from warehouse.outdated import Rebuild
from warehouse.partitions import columns_of, partition_days
from warehouse.session import require_engine, session

STAGE = {tables.CLEANED: "cleaned", tables.FEATURES: "features", tables.LABELS: "features", tables.MARTS: "marts"}
VIEWS = ("package:company", "path:models/input")
BUILD = ("build", "--exclude-resource-type", "unit_test", "--select")
NEXT = "next: `make run`"


def rebuild() -> str:
    """Build what is outdated, or go on where that was interrupted; returns a sentence. PlatformError if dbt fails."""
    require_engine()
    with contextlib.ExitStack() as held:
        for name in ("mdp run", *(f"build {layer}" for layer in LAYERS)):
            held.enter_context(leases.lock(name))
        left = outdated.begun() or _plan()
        if left is None:
            return f"no table is outdated; {NEXT}"
        outdated.note(left)
        print(f"to be built again: {', '.join(left.tables)}", flush=True)
        _work(left)
        outdated.note(None)
    return f"{len(left.tables)} table{'s' * (len(left.tables) != 1)} built again; {NEXT}"


def _plan() -> Rebuild | None:
    """What has to be done, from the tables as they are; None if none is outdated."""
    found = outdated.find()
    if not found:
        return None
    kinds, children = _lineage()
    affected = _affected({*found}, kinds, children)
    plan = Rebuild(drop=list(found), ranges={}, days={}, tables=list(affected.values()))
    for stage in ("cleaned", "features"):
        mine = [name for name, table in affected.items() if _stage(table) == stage]
        published = state.published_days(stage)
        if mine and published:
            plan.ranges[stage] = (state.fact("first_day") or published[0], published[-1], mine)
    for name, table in affected.items():
        for ds in _single_days(table, kinds[name]):
            plan.days.setdefault(ds, []).append(name)
    if parts.dense_days() and (known := partition_days(tables.CLEANED_CUSTOMER_ATTRIBUTES)):
        plan.dense_days = len(dates.days(known[0], known[-1]))
    return plan


def _affected(found: set[str], kinds: dict[str, str], children: dict[str, set[str]]) -> dict[str, str]:
    """Model → table of the outdated tables, of those that they need and the home never had, and of all made from them."""
    layers, left_out = list(STAGE), {*parts.excluded()}
    on = {name: table for name, table in parts.models().items() if name in kinds and name not in left_out}
    wanted = {name for name, table in on.items() if table in found}
    wanted |= {name for name, table in on.items() if wanted & _below(name, children) and columns_of(table) is None}
    chosen = wanted.union(*(_below(name, children) for name in wanted))
    return dict(sorted(((n, t) for n, t in on.items() if n in chosen), key=lambda item: layers.index(_layer(item[1]))))


def _lineage() -> tuple[dict[str, str], dict[str, set[str]]]:
    """Model → the kind of days it writes (macros/time.sql, days_written); and model → the models that read it."""
    newest = state.newest("cleaned") or state.newest_load()
    run_dbt(["parse"], newest, newest)
    manifest = json.loads((Path(dbt_environment()["DBT_TARGET_PATH"]) / "manifest.json").read_text())
    known = {uid: node for uid, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    kinds = {n["name"]: n["config"]["meta"].get("days", "range") for n in known.values() if n["schema"] in STAGE}
    children = {
        node["name"]: {known[child]["name"] for child in manifest["child_map"][uid] if child in known}
        for uid, node in known.items()
    }
    return kinds, children


def _below(name: str, children: dict[str, set[str]]) -> set[str]:
    """All models that are made from a model."""
    found, ahead = set(), [name]
    while ahead:
        new = children[ahead.pop()] - found
        found |= new
        ahead += new
    return found


def _layer(table: str) -> str:
    return table.split(".")[0]


def _stage(table: str) -> str:
    return STAGE[_layer(table)]


def _single_days(table: str, kind: str) -> list[str]:
    """The days of a table that only runs of these very days write, but for the last of a range, which its pass writes."""
    stage = _stage(table)
    if stage == "marts":
        published = {*state.published_days(stage)}
        return [ds for ds in partition_days(table) if ds in published]
    last = state.newest(stage) or ""
    return [ds for ds in partition_days(table) if ds < last] if kind == "snapshot" else []


def _work(left: Rebuild) -> None:
    """Do what is left, and store after each step what still is."""
    for table in left.drop:
        state.require_held()
        session().sql(f"drop table if exists {table}")
    left.drop = []
    outdated.note(left)
    dense = {"MDP_DENSE_DAYS": str(left.dense_days)} if left.dense_days else {}
    for stage, (first, last, models) in list(left.ranges.items()):
        views = VIEWS if stage == "cleaned" else ()
        run_dbt([*BUILD, *views, *models], first, last, dense)
        del left.ranges[stage]
        outdated.note(left)
    for n, ds in enumerate(sorted(left.days), 1):
        print(f"{ds}, {n} of {n + len(left.days) - 1} days", flush=True)
        run_dbt([*BUILD, *left.days.pop(ds)], ds, ds, dense)
        outdated.note(left)
