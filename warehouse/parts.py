"""Which tables a company can have, and because of what not: a pure function of its declarations and of the models' needs.

A dbt model, and a table of predictions, says in its `meta.needs` which entities of the input it is made from:

    needs: [impressions, clicks]                    both
    needs: [orders.channel]                         the column, too
    needs: [[customers, orders]]                    one of them is enough

What follows from tables (steps of the DAGs, suites of the gates, exports, paragraphs of the summary) is on where its table
is. A feed that is declared and brings nothing is no reason to be off: that is for a gate to say.
"""

import functools

from warehouse import entities
from warehouse.company import Staged, company, folder, staged
from warehouse.declarations import read_blocks
from warehouse.settings import PROJECT

LOOKBACK_DAYS = 90  # outcome_days and holdout_days of the models of customers (a test holds ml/models.yml to it)
MODELS = PROJECT / "dbt_project" / "models"


@functools.cache
def needs() -> dict[str, list]:
    """Table → what it needs, for every table of dbt and of predictions that needs anything."""
    found = {f"{layer}.{_alias(block)}": block for layer, block in _blocks("models")}
    for _, source in _blocks("sources"):
        found |= {f"{source['name']}.{table['name']}": table for table in source["tables"]}
    said = {table: (block.get("config") or {}).get("meta", {}).get("needs") for table, block in found.items()}
    return {table: wanted for table, wanted in said.items() if wanted}


def models() -> dict[str, str]:
    """Name of a dbt model → its table."""
    return {block["name"]: f"{layer}.{_alias(block)}" for layer, block in _blocks("models")}


def contracts() -> dict[str, dict[str, str]]:
    """Table → name → type of the columns without `ds`, of each table that a dbt model writes."""
    return {
        f"{layer}.{_alias(block)}": {
            c["name"]: c["data_type"].replace(" ", "") for c in block["columns"] if c["name"] != "ds"
        }
        for layer, block in _blocks("models")
        if layer != "input"
    }


@functools.cache
def _blocks(kind: str) -> list[tuple[str, dict]]:
    """The blocks of a kind in all files of dbt's models, each with its layer."""
    files = sorted(MODELS.rglob("*.yml"))
    return [(path.parent.name, block) for path in files for block in read_blocks(path, "model").get(kind) or ()]


def _alias(block: dict) -> str:
    return (block.get("config") or {}).get("alias", block["name"])


def has(wanted: str) -> bool:
    """Whether something feeds an entity, or a column of it (`customers.city`)."""
    return _lacks(wanted, staged()) is None


def dense_days() -> int | None:
    """For how many days a run writes a row for each customer, also the silent ones; None: for all of its days.

    Where customers are known from orders alone they may be many, and gone for long. No model looks further back than
    LOOKBACK_DAYS before the last that is complete; ten more let it be trained some days after the history. A later run
    goes on from the day before its window, which reaches back reach_days at most.
    """
    own = company()
    return None if staged()["customers"] else max(LOOKBACK_DAYS + 10, own.reach_days + 1) + own.late_days


def excluded() -> list[str]:
    """The dbt models that are not built, by name; cleaned tables are, empty, because what is on reads them."""
    is_off = off()
    return [name for name, table in models().items() if table in is_off and not table.startswith("cleaned.")]


def off() -> dict[str, str]:
    """Table → why the company cannot have it, for those it cannot."""
    fed = staged()
    reasons = {table: _why(wanted, fed) for table, wanted in needs().items()}
    return {table: why for table, why in reasons.items() if why}


def _why(wanted: list, fed: dict[str, list[Staged]]) -> str | None:
    """Why something that needs `wanted` is off, None if it is on."""
    for one in wanted:
        choices = one if isinstance(one, list) else [one]
        missing = [lack for lack in (_lacks(choice, fed) for choice in choices) if lack]
        if len(missing) == len(choices):
            return " and ".join(dict.fromkeys(missing))
    return None


def _lacks(wanted: str, fed: dict[str, list[Staged]]) -> str | None:
    entity, _, column = wanted.partition(".")
    if entity not in entities.contract() or (column and column not in entities.contract()[entity].columns):
        raise KeyError(f"{wanted} is needed by a model, and models/input/_input.yml has none")
    if not fed[entity]:
        return f"nothing feeds {entity}"
    if entity == "channel_spend" and not company().paid_channels:
        return f"paid_channels of {folder().name}/company.yml names no channel that money is spent on"
    if column and not any(column in each.columns for each in fed[entity]):
        return f"{entity} have no {column} ({', '.join(each.model for each in fed[entity])} of {folder().name})"
    return None
