"""The input contract: the entities that everything is computed from, as dbt_project/models/input/_input.yml declares them."""

import functools
from dataclasses import dataclass

from warehouse.declarations import read_blocks
from warehouse.settings import PROJECT

PATH = PROJECT / "dbt_project" / "models" / "input" / "_input.yml"
PREFIX = "input__"


@dataclass(frozen=True)
class Column:
    """A column of an entity: its type on Spark, and what is lost where no source has it (None: it only describes)."""

    name: str
    type: str
    description: str
    required: bool
    without: str | None


@dataclass(frozen=True)
class Entity:
    """An entity: key, the column whose business day its rows count on (None: the day of the load), how rows are loaded."""

    name: str
    description: str
    key: tuple[str, ...]
    time: str | None
    rows: str  # snapshot, changes or log
    columns: dict[str, Column]

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns.values() if column.required)

    @property
    def taken(self) -> tuple[str, ...]:
        """The columns that a staging model may give."""
        return (*self.columns, "load_date", *(("received_date",) if self.rows == "log" else ()))


@functools.cache
def contract() -> dict[str, Entity]:
    """Name → entity, in the order of the file."""
    blocks = [b for b in read_blocks(PATH, "entity")["models"] if b["name"].startswith(PREFIX)]
    return {entity.name: entity for entity in map(_entity, blocks)}


def _entity(block: dict) -> Entity:
    meta = block["config"]["meta"]["entity"]
    columns = {}
    for column in block["columns"]:
        said = column.get("config", {}).get("meta", {})
        columns[column["name"]] = Column(
            column["name"], column["data_type"], column.get("description", ""), bool(said.get("required")), said.get("without")
        )  # fmt: skip
    return Entity(
        block["name"].removeprefix(PREFIX), block["description"], tuple(meta["key"]), meta.get("time"), meta["rows"], columns
    )  # fmt: skip
