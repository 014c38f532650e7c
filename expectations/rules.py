"""What a rule and a suite are, as plain data: Great Expectations is imported only when a gate runs.

Rules are phrased with the aggregate expectations on columns (mean, min, max, sum, distinct count): Great Expectations
puts these of one table into a single Spark query, while the row count and each row-wise expectation cost a query or two
of their own (seen: 0.3 s each on a busy laptop). So a row-wise question is the mean of a 0/1 column, whose observed
value is the share of rows that break the rule, and the volume is the sum of a column of ones.
"""

import math
from dataclasses import dataclass, field, replace

# Outcomes beside holds and broken that stop nothing, and how their observations begin in ops.gate_verdicts.
NOT_JUDGED, WARNS = "not judged", "warns"
DERIVED = "gate__"  # how columns that a rule derives begin, so that none is a column of a company's table
SIGMAS = 4  # how far chance may carry a count past its limit: small companies have small, noisy days


@dataclass(frozen=True)
class Unseen:
    """Of a rule of known values: the digests of those that accepted days had (None: none of them had one), the view that
    holds them, and whether a message may show at most the beginning of a new one."""

    digests: tuple[str, ...] | None
    view: str
    is_masked: bool


@dataclass(frozen=True)
class Rule:
    """One expectation on one table, with what a reader needs to act on it.

    name: unique within its table, written to ops.gate_verdicts. words: the rule as a sentence. expectation and
    arguments: the Great Expectations class and its keyword arguments. derived: SQL of the column the expectation reads
    if it is not a column of the table. offending: SQL condition of the rows to show as a sample; None for rules on the
    table as a whole. may_see_nothing: passes when there was no row to judge (otherwise that is a failure). among: SQL
    condition of the rows that a share is of; by_chance: it may go past its limit as far as chance explains for their number.
    only_warns: broken, it is said and stops nothing. unseen: each row that breaks it is said, also where it holds.
    declared_at: file and line of a rule of the company's own.
    """

    name: str
    column: str | None
    words: str
    expectation: str
    arguments: dict
    derived: str | None = None
    offending: str | None = None
    may_see_nothing: bool = False
    among: str = "true"
    by_chance: bool = False
    only_warns: bool = False
    unseen: Unseen | None = None
    declared_at: str | None = None

    @property
    def expected(self) -> str:
        """The accepted range in short."""
        low, high = self.arguments.get("min_value"), self.arguments.get("max_value")
        if self.is_share and high == 0:
            return "no row breaks it"
        if low == high:
            return show(low)
        if self.is_share and low == 0:
            return f"at most {show(high, True)} of the rows break it"
        if low is None:
            return f"≤ {show(high)}"
        return f"≥ {show(low, self.is_share)}" + (f" and ≤ {show(high, self.is_share)}" if high is not None else "")

    @property
    def is_share(self) -> bool:
        """Whether the observed value is a share of rows."""
        return self.derived is not None and self.expectation == "ExpectColumnMeanToBeBetween"


@dataclass(frozen=True)
class Suite:
    """The rules of one table. frame: SQL that selects the rows to check. keys: columns that name a row in a sample."""

    table: str
    frame: str
    keys: tuple[str, ...]
    rules: tuple[Rule, ...]
    optional: bool = field(default=False)  # whether the table may rightly have no rows

    def query(self) -> str:
        """The frame with the derived columns of the rules and of `counts`."""
        columns = {rule.arguments["column"]: rule.derived for rule in self.rules if rule.derived}
        columns |= {name: f"case when {among} then 1L end" for among, name in self.counts().items()}
        derived = "".join(f", {sql} as `{name}`" for name, sql in columns.items())
        return f"select *{derived} from ({self.frame})"

    def counts(self) -> dict[str, str]:
        """SQL condition → the column whose sum is the number of its rows: of all rows, and of those that shares are of."""
        conditions = dict.fromkeys(["true", *(rule.among for rule in self.rules if rule.by_chance)])
        return {among: f"{DERIVED}n_counted_{i}" for i, among in enumerate(conditions)}


def show(value, is_share: bool = False) -> str:
    """A number, a share (as per cent) or a day for people."""
    if value is None:
        return "nothing"
    if is_share:
        return f"{100 * float(value):.3g} %"
    if isinstance(value, float):
        return f"{value:,.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def chance(n: int, share: float) -> int:
    """How many of `n` rows may break a rule that `share` of all rows may break, before chance no longer explains it.

    The quantile of the binomial at SIGMAS standard deviations (one-sided). If it is `n`, these rows cannot tell.
    """
    from scipy.stats import binom, norm

    return int(binom.isf(norm.sf(SIGMAS), n, share))


def enough(share: float) -> int:
    """From how many rows on a rule that `share` of them may break can be broken beyond chance."""
    from scipy.stats import norm

    return math.floor(math.log(norm.sf(SIGMAS)) / math.log(share)) + 1


def volume(low: float, high: float | None = None, words: str = "rows are there") -> Rule:
    """The number of rows lies within low … high."""
    least = max(math.ceil(low), 0)
    bounds = {"column": f"{DERIVED}n_rows", "min_value": least, "max_value": None if high is None else math.floor(high)}
    rule = "ExpectColumnSumToBeBetween"
    return Rule("volume", None, words, rule, bounds, derived="1L", may_see_nothing=least == 0)


def share(
    name: str,
    column: str | None,
    bad: str,
    at_most: float,
    words: str,
    among: str | None = None,
    by_chance: bool = False,
) -> Rule:
    """Of the rows (`among` a condition), at most a share fulfils `bad`; `by_chance` allows for their number (see `chance`)."""
    flag = f"case when {bad} then 1.0d else 0.0d end"
    return Rule(
        name,
        column,
        words,
        "ExpectColumnMeanToBeBetween",
        {"column": f"{DERIVED}is_{name}", "min_value": 0.0, "max_value": at_most},
        derived=f"case when {among} then {flag} end" if among else flag,
        offending=f"({bad})" + (f" and ({among})" if among else ""),
        may_see_nothing=among is not None,
        among=among or "true",
        by_chance=by_chance,
    )


def share_between(name: str, column: str, condition: str, low: float, high: float, words: str) -> Rule:
    """The share of rows that fulfil `condition` lies within low … high: a distribution has not tipped over."""
    return Rule(
        name,
        column,
        words,
        "ExpectColumnMeanToBeBetween",
        {"column": f"{DERIVED}is_{name}", "min_value": low, "max_value": high},
        derived=f"case when {condition} then 1.0d else 0.0d end",
    )


def quoted(column: str) -> str:
    """The name of a column as SQL."""
    return f"`{column}`"


def one_of(column: str, values: tuple[str, ...], words: str | None = None, among: str | None = None) -> Rule:
    """Every value of `column` (nulls aside) is one of `values`."""
    words = words or f"{column} is one of {', '.join(values)}"
    return share(f"unknown_{column}", column, none_of(column, values), 0.0, words, among)


def none_of(column: str, values: tuple[str, ...]) -> str:
    """SQL condition of the rows whose `column` is there and none of `values`."""
    literals = ("'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" for value in values)
    return f"{quoted(column)} not in ({', '.join(literals)})"


def digest_of(column: str) -> str:
    """SQL of what stands for a value of `column` where values are kept: null for none."""
    return f"sha2(cast({quoted(column)} as string), 256)"


def known(name: str, column: str, unseen: Unseen, at_most: float, words: str, among: str | None = None) -> Rule:
    """At most a share of the rows has a value of `column` that no accepted day had."""
    if unseen.digests is None:
        nothing = share(name, column, "false", at_most, words, among="false")
        return replace(nothing, unseen=unseen, among="true")
    new = f"not array_contains((select digests from `{unseen.view}`), {digest_of(column)})"
    return replace(share(name, column, new, at_most, words, among, by_chance=at_most > 0), unseen=unseen)


def at_least(column: str, low: float, words: str) -> Rule:
    """No value of `column` lies below `low`."""
    bounds = {"column": column, "min_value": low}
    rule = "ExpectColumnMinToBeBetween"
    return Rule(f"{column}_min", column, words, rule, bounds, offending=f"{quoted(column)} < {low}")


def at_most(column: str, high: float, words: str) -> Rule:
    """No value of `column` lies above `high`."""
    bounds = {"column": column, "max_value": high}
    rule = "ExpectColumnMaxToBeBetween"
    return Rule(f"{column}_max", column, words, rule, bounds, offending=f"{quoted(column)} > {high}")


def newest(column: str, ds: str, words: str = "the newest rows are of the day itself") -> Rule:
    """The newest day in `column` (a string) is `ds`: what should have come today did come."""
    bounds = {"column": column, "min_value": ds, "max_value": ds}
    return Rule("freshness", column, words, "ExpectColumnMaxToBeBetween", bounds)


def mean(column: str, low: float, high: float, words: str) -> Rule:
    """The mean of `column` lies within low … high."""
    bounds = {"column": column, "min_value": low, "max_value": high}
    return Rule(f"{column}_mean", column, words, "ExpectColumnMeanToBeBetween", bounds)


def total(name: str, column: str, high: float, words: str, of: str | None = None) -> Rule:
    """The sum of `column` (or of the SQL expression `of`) is at most `high`."""
    bounds = {"column": f"{DERIVED}{name}" if of else column, "max_value": high}
    rule = "ExpectColumnSumToBeBetween"
    return Rule(name, column, words, rule, bounds, derived=of)


def filled(column: str, missing_at_most: float, words: str, among: str | None = None, by_chance: bool = False) -> Rule:
    """At most a share of the rows (`among` a condition) has no `column`."""
    return share(f"{column}_missing", column, f"{quoted(column)} is null", missing_at_most, words, among, by_chance)


def unique(columns: tuple[str, ...], n: int, words: str, among: str | None = None, name: str | None = None) -> Rule:
    """`columns` together have `n` different values, the number of rows (`among` a condition): none came twice."""
    name = name or "_".join(columns)
    listed = ", ".join(map(quoted, columns))
    whole = quoted(columns[0]) if len(columns) == 1 else f"to_json(struct({listed}))"
    bounds = {"column": f"{DERIVED}{name}", "min_value": n, "max_value": n}
    return Rule(
        f"{name}_unique",
        columns[0],
        words,
        "ExpectColumnUniqueValueCountToBeBetween",
        bounds,
        derived=f"case when {among} then {whole} end" if among else whole,
        offending=f"count(1) over (partition by {listed}) > 1" + (f" and ({among})" if among else ""),
    )
