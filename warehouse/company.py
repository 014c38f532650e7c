"""The company whose data this home holds: one folder of declarations, which MDP_COMPANY names.

    companies/<name>/company.yml   name, time zone, currency …, and which staging model feeds which entity
                     feeds.yml     what is read (ingestion/feeds.py)
                     exports.yml   what is handed back (ingestion/targets.py)
                     calendar.csv  days that are closed, or like no other (warehouse/calendar.py); may be left out
                     staging/      SQL that renames and types each source, and the columns of each in *.yml

Nothing outside such a folder names a source, a channel or a currency.
"""

import functools
import os
import re
import zoneinfo
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from warehouse import entities, state
from warehouse.declarations import line_of, read_blocks
from warehouse.errors import PlatformError
from warehouse.settings import PROJECT, settings

COMPANIES = PROJECT / "companies"
VERSION = 1  # of the form of a company's folder; company.yml may state it
MARK = re.compile(r"(#|--) review\b")
JINJA_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
# Entities that a company may say in columns of its customers instead of a table of their own.
SAID_BY_CUSTOMERS = {
    "memberships": ("membership_plan", "membership_expires_at", "membership_cancelled_at"),
    "consents": (
        "has_marketing_consent", "marketing_consent_changed_at", "has_profiling_consent", "profiling_consent_changed_at",
    ),
}  # fmt: skip
SOURCE = re.compile(r"\bsource\(\s*'raw'\s*,\s*'(\w+)'\s*\)")


WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _weekdays(listed) -> tuple[str, ...]:
    """The weekdays of `closed`; days of the year stand in calendar.csv and nowhere else."""
    if not isinstance(listed, list):
        raise ValueError("must be a list of weekdays: [saturday, sunday]")
    for part in listed:
        if part not in WEEKDAYS:
            raise ValueError(
                f"names {str(part)!r}, which is no weekday such as sunday; days of the year go into "
                f"calendar.csv: 2026-05-01,closed,Labour day"
            )
    return tuple(listed)


class Consent(BaseModel):
    """Where consent is read anew at the moment of an export: a feed of a database, and who there consents to what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    feed: str
    customer_id: Annotated[str, Field(pattern=r"^\w+$")] = "customer_id"
    marketing: Annotated[str, Field(min_length=1)]
    profiling: Annotated[str, Field(min_length=1)] | None = None


class Company(BaseModel):
    """What company.yml declares."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1)]
    timezone: str
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    late_days: Annotated[int, Field(ge=0, le=90)] = 3
    reach_days: Annotated[int, Field(ge=0, le=3650)] = 30
    profiling: Literal["all", "consent"] = "all"
    consent: Consent | None = None
    generator: str | None = None
    closed: Annotated[tuple[str, ...], BeforeValidator(_weekdays)] = ()
    logged_attributes: tuple[Annotated[str, Field(pattern=r"^\w+$")], ...] = ()
    paid_channels: tuple[Annotated[str, Field(pattern=r"^[^'\\]+$")], ...] = ()
    entities: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]]

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        if name not in zoneinfo.available_timezones():
            raise ValueError(f"is {name!r}, which is no time zone: use a name such as Europe/Berlin or UTC")
        return name

    @property
    def closed_weekdays(self) -> frozenset[int]:
        """The weekdays on which nothing comes; 0 is Monday. Single days: warehouse/calendar.py."""
        return frozenset(map(WEEKDAYS.index, self.closed))

    @property
    def profiling_by_consent(self) -> bool:
        return self.profiling == "consent"


@dataclass(frozen=True)
class Staged:
    """A staging model that feeds an entity: its name, the feed it reads, the columns that its *.yml says it has."""

    model: str
    feed: str
    columns: tuple[str, ...]


def folder() -> Path:
    """The company's folder: MDP_COMPANY, a name below companies/ or a path (default: the sample's)."""
    named = os.environ.get("MDP_COMPANY") or "sample"
    path = Path(named).expanduser().resolve() if os.sep in named or named.startswith(".") else COMPANIES / named
    if not (path / "company.yml").is_file():
        known = ", ".join(sorted(each.parent.name for each in COMPANIES.glob("*/company.yml")))
        raise PlatformError(
            f"MDP_COMPANY={named}: {path} has no company.yml; there are {known}, or give the path of a company's folder"
        )
    return path


def company() -> Company:
    """The company that MDP_COMPANY names, read again when its file changed; every fault of it in one PlatformError."""
    path = folder() / "company.yml"
    return _read(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _read(path: Path, changed: int) -> Company:
    keys = read_blocks(path, "company")
    if (version := keys.get("version", VERSION)) != VERSION:
        raise PlatformError(
            f"{path}, line {line_of(path, ('version',))}: the folder is of version {version!r}, and this platform reads "
            f"version {VERSION}: take a platform as new as the folder"
        )
    try:
        read = Company.model_validate({name: said for name, said in keys.items() if name != "version"})
    except ValidationError as error:
        raise PlatformError("\n".join(_sentence(path, fault) for fault in error.errors())) from None
    known = entities.contract()
    faults = [
        f"{path}, line {line_of(path, ('entities', name))}: there is no entity {name!r}: {', '.join(known)}"
        for name in read.entities if name not in known
    ]  # fmt: skip
    if faults:
        raise PlatformError("\n".join(faults))
    return read


def _sentence(path: Path, fault: dict) -> str:
    place = [part for part in fault["loc"] if not str(part).startswith("function-")]
    where = f"{path}, line {line_of(path, place)}: "
    match fault["type"]:
        case "extra_forbidden":
            keys = (Consent if len(place) > 1 and place[0] == "consent" else Company).model_fields
            return f"{where}unknown key {place[-1]!r}; allowed: {', '.join(keys)}"
        case "missing":
            return f"{where}key {place[-1]!r} is missing"
        case "value_error":
            return f"{where}{place[0]} {fault['ctx']['error']}"
        case _:
            return f"{where}{'.'.join(map(str, place))} is {fault['input']!r}: {fault['msg']}"


def check_home() -> None:
    """Raise PlatformError if what MDP_HOME holds is another company's; the first command that works on data says whose it is."""
    named = company().name
    state.set_fact_once("company", named)
    if (owner := state.fact("company")) != named:
        raise PlatformError(
            f"{settings().home} holds the data of {owner}, and {folder() / 'company.yml'} is of {named}: a home belongs to "
            "one company; name another MDP_HOME, or the company by MDP_COMPANY"
        )


def unreviewed() -> list[str]:
    """The places of the company's folder that are still marked as a guess: file, line, what it rests on."""
    files = sorted(path for path in folder().rglob("*") if path.suffix in (".yml", ".sql"))
    return [
        f"{path}, line {n}: {line[mark.end() :].strip(' :')}"
        for path in files
        for n, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if (mark := MARK.search(line))
    ]


def check_reviewed() -> None:
    """Raise PlatformError, with each of them, if guesses of the company's folder were not reviewed."""
    if marks := unreviewed():
        said = "\n".join(f"  {mark}" for mark in marks)
        raise PlatformError(
            f"{folder().name} has {len(marks)} guesses that nobody reviewed; take `review` away where one is right, else "
            f"correct it:\n{said}"
        )


def staged() -> dict[str, list[Staged]]:
    """Entity → the staging models that feed it, [] for one that nothing feeds; PlatformError names what does not fit."""
    home, declared = folder(), company().entities
    models = _models(home)
    found, faults = {}, _semicolons(home)
    for entity, contract in entities.contract().items():
        found[entity] = []
        for name in declared.get(entity, ()):
            at = f"{home}/company.yml, line {line_of(home / 'company.yml', ('entities', entity))}"
            sql = home / "staging" / f"{name}.sql"
            if not sql.is_file():
                faults.append(f"{at}: {entity} is fed by {name}, and there is no {sql}")
                continue
            if name not in models:
                faults.append(f"{at}: {entity} is fed by {name}, whose columns no .yml of {home}/staging lists")
                continue
            columns = models[name]
            lacks = [c for c in (*contract.required, "load_date") if c not in columns]
            if lacks:
                faults.append(f"{at}: {name} lacks {', '.join(lacks)}, which {entity} requires")
            feeds = SOURCE.findall(sql.read_text(encoding="utf-8"))
            if not feeds:
                faults.append(f"{sql}: reads no source('raw', '<feed>')")
                continue
            found[entity].append(Staged(name, feeds[0], tuple(c for c in columns if c in contract.taken)))
    for entity, columns in SAID_BY_CUSTOMERS.items():
        twice = [f"{one.model} has {c}" for one in found["customers"] for c in columns if c in one.columns]
        if found[entity] and twice:
            at = f"{home}/company.yml, line {line_of(home / 'company.yml', ('entities', entity))}"
            faults.append(f"{at}: {entity} are said twice: {found[entity][0].model} feeds them, and {', '.join(twice)}")
    if faults:
        raise PlatformError("\n".join(faults))
    return found


def _semicolons(home: Path) -> list[str]:
    """The places where a staging model has a `;`: dbt's adapter would send what stands before it as a statement of its own."""
    found = []
    for path in sorted((home / "staging").glob("*.sql")):
        text = JINJA_COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), path.read_text(encoding="utf-8"))
        found += [
            f"{path}, line {n}: a `;`, at which the statement would be cut in two, also in quotes and comments: take it away"
            for n, line in enumerate(text.splitlines(), 1)
            if ";" in line
        ]
    return found


def _models(home: Path) -> dict[str, list[str]]:
    """Staging model → the columns that the *.yml beside it lists."""
    listed = {}
    for path in sorted((home / "staging").glob("*.yml")):
        for block in read_blocks(path, "staging model").get("models") or ():
            listed[block["name"]] = [column["name"] for column in block.get("columns") or ()]
    return listed
