"""A company's own rules: gates.yml of its folder, beside those that follow from its feeds and from what tables mean.

    shop__orders:                   a feed's raw table, or cleaned.orders, features.…, predictions.…
      amount_min: {rule: at_least, column: amount, min: 0.01, words: amounts are above zero}

SQL in it is the company's own, as its staging models are; it is compiled when the gate runs, and a fault of it is said
with file and line. Of tables whose rows pass a door the rules see the accepted rows.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from expectations import known, rules
from expectations.feeds import Feed, feeds
from expectations.raw import ACCEPTED
from expectations.rules import DERIVED, Rule, Suite, quoted
from expectations.scope import Scope
from warehouse import declarations, tables
from warehouse.calendar import is_closed
from warehouse.company import folder
from warehouse.declarations import Strict, line_of, sentence
from warehouse.errors import PlatformError

GATED = (tables.CLEANED, tables.FEATURES, tables.PREDICTIONS)

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Column = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
Sql = Annotated[str, Field(min_length=1)]
ShareOf = Annotated[float, Field(ge=0, lt=1)]


class Own(Strict):
    """What every rule says: its sentence for the report, and whether being broken stops the run."""

    words: Annotated[str, Field(min_length=1)]
    severity: Literal["stop", "warn"] = "stop"


class AtLeast(Own):
    rule: Literal["at_least"]
    column: Column
    min: float


class AtMost(Own):
    rule: Literal["at_most"]
    column: Column
    max: float


class Mean(Own):
    rule: Literal["mean"]
    column: Column
    min: float
    max: float


class OneOf(Own):
    rule: Literal["one_of"]
    column: Column
    values: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    at_most: ShareOf = 0.0
    among: Sql | None = None


class Known(Own):
    rule: Literal["known"]
    column: Column
    at_most: ShareOf = 0.05


class Filled(Own):
    rule: Literal["filled"]
    column: Column
    missing_at_most: ShareOf = 0.0
    among: Sql | None = None


class Share(Own):
    rule: Literal["share"]
    of: Sql
    at_most: ShareOf
    column: Column | None = None
    among: Sql | None = None


class Total(Own):
    rule: Literal["total"]
    of: Sql
    at_most: float


class Unique(Own):
    rule: Literal["unique"]
    columns: Annotated[tuple[Column, ...], Field(min_length=1, strict=False)]


class Newest(Own):
    rule: Literal["newest"]
    column: Column


class Rows(Own):
    rule: Literal["rows"]
    min: Annotated[int, Field(ge=0)]
    max: Annotated[int, Field(ge=0)] | None = None


class Quarantined(Own):
    rule: Literal["quarantined"]
    at_most: ShareOf
    reason: Annotated[str, Field(pattern=r"^[a-z_]+$")] | None = None


KINDS = {
    "at_least": AtLeast, "at_most": AtMost, "mean": Mean, "one_of": OneOf, "known": Known, "filled": Filled, "share": Share,
    "total": Total, "unique": Unique, "newest": Newest, "rows": Rows, "quarantined": Quarantined,
}  # fmt: skip
_block = TypeAdapter(
    dict[Name, Annotated[
        AtLeast | AtMost | Mean | OneOf | Known | Filled | Share | Total | Unique | Newest | Rows | Quarantined,
        Field(discriminator="rule"),
    ]]
)  # fmt: skip


def path() -> Path:
    """gates.yml of the company's folder; a company without own rules has none."""
    return folder() / "gates.yml"


def load() -> dict[str, dict[str, Own]]:
    """Table → name → rule, as gates.yml declares them; {} without the file. Every fault is said in one PlatformError."""
    if not path().is_file():
        return {}
    found = declarations.read(
        path(), "table", lambda block: _block.validate_python({k: v for k, v in block.items() if k != "name"}), _sentence,
        may_be_empty=True,
    )  # fmt: skip
    fed, faults = feeds(), []
    for table, own in found.items():
        at = f"{path().name}: {table}"
        if table not in fed and table not in [name for layer in GATED for name in tables.in_layer(layer)]:
            faults.append(
                f"{at}: is neither a feed nor a table of {', '.join(GATED)} (line {line_of(path(), [table])})"
            )
        faults += [
            f"{at}, rule {name}: no row of this table passes a door, so none is quarantined (line {_line(table, name)})"
            for name, rule in own.items()
            if isinstance(rule, Quarantined) and not (table in fed and fed[table].is_judged)
        ]
        faults += [
            f"{at}, rule {name}: known values are learned of a feed, and this is none (line {_line(table, name)})"
            for name, rule in own.items()
            if isinstance(rule, Known) and table not in fed
        ]
    if faults:
        raise PlatformError("\n".join(faults))
    return {f"raw.{table}" if table in fed else table: own for table, own in found.items()}


def add(suites: Sequence[Suite], scope: Scope) -> list[Suite]:
    """The suites with the company's own rules; one that has the name of another stands in its place."""
    own = load()
    return [_with(suite, own[suite.table], scope) if suite.table in own else suite for suite in suites]


def _with(suite: Suite, own: dict[str, Own], scope: Scope) -> Suite:
    feed = feeds().get(suite.table.removeprefix("raw."))
    accepted = ACCEPTED if feed and feed.is_judged else None
    shut = is_closed(scope.ds)
    named = suite.table.removeprefix("raw.")
    made = {
        name: replace(
            _learned(feed, name, rule, scope, accepted) if isinstance(rule, Known) else _made(name, rule, scope, accepted),
            name=name, only_warns=rule.severity == "warn",
            declared_at=f"{path()}, line {_line(named, name)}",
        )
        for name, rule in own.items()
        if not (shut and isinstance(rule, Newest))
    }  # fmt: skip
    kept = [made.pop(rule.name, rule) for rule in suite.rules]
    must_have = not shut and any(
        isinstance(rule, Newest) or (isinstance(rule, Rows) and rule.min) for rule in own.values()
    )
    return replace(suite, rules=(*kept, *made.values()), optional=suite.optional and not must_have)


def _made(name: str, own: Own, scope: Scope, accepted: str | None) -> Rule:
    """The rule of a block, on the rows that fulfil `accepted`; its name is set by who asks."""

    def chosen(among: str | None) -> str | None:
        return " and ".join(f"({each})" for each in (among, accepted) if each) or None

    def share(column: str | None, bad: str, at_most: float, among: str | None) -> Rule:
        return rules.share(name, column, bad, at_most, own.words, chosen(among), by_chance=at_most > 0)

    match own:
        case AtLeast():
            return rules.at_least(own.column, own.min, own.words)
        case AtMost():
            return rules.at_most(own.column, own.max, own.words)
        case Mean():
            return rules.mean(own.column, own.min, own.max, own.words)
        case OneOf():
            return share(own.column, rules.none_of(own.column, own.values), own.at_most, own.among)
        case Filled():
            return share(own.column, f"{quoted(own.column)} is null", own.missing_at_most, own.among)
        case Share():
            return share(own.column, own.of, own.at_most, own.among)
        case Total():
            of = f"case when {accepted or 'true'} then coalesce({own.of}, 0) end"
            return rules.total(name, None, own.at_most, own.words, of=of)
        case Unique():
            return _once(name, own, accepted)
        case Newest():
            day = f"cast(cast({quoted(own.column)} as date) as string)"
            of_day = rules.newest(f"{DERIVED}{name}", scope.ds, own.words)
            return replace(of_day, column=own.column, derived=day)
        case Rows():
            return rules.volume(own.min, own.max, own.words)
        case Quarantined():
            bad = f"reason like '{own.reason}%'" if own.reason else "reason is not null"
            return rules.share(name, "reason", bad, own.at_most, own.words, by_chance=own.at_most > 0)
    raise KeyError(own.rule)


def _learned(feed: Feed, name: str, own: Known, scope: Scope, accepted: str | None) -> Rule:
    view = f"{DERIVED}known__{feed.name}__{name}"
    try:
        seen = known.unseen(feed.raw_table, own.column, scope.ds, view, own.column.lower() in feed.personal)
    except PlatformError as error:
        raise PlatformError(f"{path()}, line {_line(feed.name, name)}: rule {name}: {error}") from None
    return rules.known(name, own.column, seen, own.at_most, own.words, accepted)


def _once(name: str, own: Unique, accepted: str | None) -> Rule:
    listed = ", ".join(map(quoted, own.columns))
    again = f"count(1) over (partition by {listed}) > 1"
    return rules.share(name, own.columns[0], again, 0.0, own.words, accepted)


def _line(table: str, name: str) -> int:
    return line_of(path(), [table, name])


def _sentence(table: str, fault: dict) -> str:
    """One pydantic fault of a table's block as a sentence."""
    name, *place = map(str, fault["loc"])
    if place == ["[key]"]:
        return f"{table}, rule {name}: a name is lower-case letters, digits and _, 64 at most"
    if fault["type"] in ("union_tag_not_found", "union_tag_invalid"):
        return f"{table}, rule {name}: key 'rule' must be one of {', '.join(KINDS)}"
    if not place or place[0] not in KINDS:
        return f"{table}, rule {name}: must be a block of keys: {{rule: at_least, column: …, min: …, words: …}}"
    return f"{table}, rule {name}: {sentence(fault, place[1:], KINDS[place[0]])}"
