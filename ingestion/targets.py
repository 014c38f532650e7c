"""The contracts of the exports: `exports.yml`, read and checked as `feeds.yml` is."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ingestion.feeds import CONNECTION
from warehouse import declarations
from warehouse.company import folder
from warehouse.declarations import Strict, sentence
from warehouse.errors import unknown

# Names become part of the names of staging tables, which a database cuts in silence after 63 characters.
NAME = r"^[a-z][a-z0-9_]{0,31}$"
TYPE = r"^(VARCHAR\(\d+\)|DECIMAL\(\d+,\d+\)|BOOLEAN|SMALLINT|INT|BIGINT|DOUBLE|DATE|TIMESTAMP)$"

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]


class Target(Strict):
    """One export: which rows of which warehouse table go into which table of a connection's database, and how."""

    name: Annotated[str, Field(pattern=NAME)]
    connection: Annotated[str, Field(pattern=CONNECTION)] = "crm"
    table: Annotated[str, Field(pattern=r"^[A-Za-z_]\w{0,62}(\.[A-Za-z_]\w{0,62})?$")]
    source: Annotated[str, Field(pattern=r"^\w+\.\w+$")]
    where: str | None = None
    mode: Literal["replace", "insert", "update", "upsert"]
    key: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    columns: Annotated[dict[Identifier, Annotated[str, Field(pattern=TYPE)]], Field(min_length=1)]
    max_rejected_share: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _columns_fit(self):
        for name in self.key:
            if name not in self.columns:
                raise ValueError(f"has {name!r} in its key, which is not among its columns")
        folded = [name.lower() for name in self.columns]
        twice = {name for name in folded if folded.count(name) > 1}
        if twice:
            raise ValueError(f"has {', '.join(sorted(twice))} twice among its columns (capitals do not count)")
        if taken := {"mdp_row", "mdp_reason"}.intersection(folded):
            raise ValueError(f"has columns named {', '.join(sorted(taken))}, which staging uses itself")
        if self.table.split(".")[-1].lower() == "mdp_exports":
            raise ValueError("may not write mdp_exports, where exports keep their own marks")
        if self.mode in ("update", "upsert") and not self.values:
            raise ValueError(f"has nothing but its key: mode {self.mode} needs a column to change")
        return self

    @property
    def values(self) -> list[str]:
        """The columns that are not in the key."""
        return [name for name in self.columns if name not in self.key]


def load_targets(path: Path | None = None) -> dict[str, Target]:
    """Name → target, in the order of the file (default: exports.yml of the company's folder).

    Every fault of the file is said in one PlatformError, a sentence each.
    """
    path = path or folder() / "exports.yml"
    return declarations.read(
        path,
        "export",
        Target.model_validate,
        lambda name, fault: f"export {name}: {_sentence(fault)}",
        may_be_empty=True,
    )


def pick(name: str | None) -> list[Target]:
    """The target named, all if none is; an unknown name lists the known ones."""
    targets = load_targets()
    if name is None:
        return list(targets.values())
    if name not in targets:
        raise unknown("export", name, targets)
    return [targets[name]]


def _sentence(fault: dict) -> str:
    place = [str(part) for part in fault["loc"]]
    if place == ["name"]:
        return "the name must be lower-case letters, digits and _, 32 at most"
    if fault["type"] == "string_pattern_mismatch" and place[0] == "columns":
        if place[-1] == "[key]":
            return f"column name {fault['input']!r} is none: letters, digits and _, 63 at most"
        types = "VARCHAR(n), DECIMAL(p,s), BOOLEAN, SMALLINT, INT, BIGINT, DOUBLE, DATE, TIMESTAMP"
        return f"key {'.'.join(place)!r} is {fault['input']!r}; allowed: {types}"
    return sentence(fault, place, Target)
