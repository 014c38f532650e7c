"""Runs suites with Great Expectations on Spark data frames, and turns the results into verdicts.

Great Expectations is imported here and late: it takes seconds. Its analytics are off, its context is ephemeral (no
files), and a rule that could not be checked is an error of the gate, never a quiet pass.
"""

import contextlib
import gc
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

from expectations.rules import NOT_JUDGED, WARNS, Rule, Suite, Unseen, chance, enough, quoted, show
from warehouse.errors import PlatformError, shown
from warehouse.session import session

# Each query of a gate is seen once: on a daily load, half of the engine's time went into compiling.
PLAN_SMALL = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
}
THREADS = 3  # a table costs a few short queries: some wait in the engine while others wait for Python
SAMPLE_ROWS = 5
SHOWN = 3  # characters of a value that a sample may show
NAMED = 40  # of a new value that is nobody's


@dataclass(frozen=True)
class Verdict:
    """What came of one rule; observed and expected are for reading, `sample` is masked.

    A rule that only warns "warns" where others are broken. A rule that had nothing to judge, or too few rows for its share
    to say more than chance, is "not judged": that stops nothing. Whether so few rows should have come is the question of the
    table's volume rule, which does.
    """

    table: str
    rule: str
    column: str | None
    words: str
    outcome: Literal["holds", "broken", "warns", "not judged"]
    observed: str
    expected: str
    sample: tuple[str, ...] = ()

    @property
    def success(self) -> bool:
        """Whether it stops nothing."""
        return self.outcome != "broken"

    def row(self) -> dict:
        """The verdict as warehouse.state.record_verdicts takes it."""
        return dict(
            table_name=self.table, rule=self.rule, column_name=self.column, success=self.success,
            observed=self.observed, expected=self.expected, sample="; ".join(self.sample),
        )  # fmt: skip


def judge(suites: list[Suite], is_small: bool = True) -> list[Verdict]:
    """Check every rule of every suite; verdicts in the order of the suites. A missing table is a PlatformError.

    `is_small` says that planning costs more than reading: then nothing is compiled.
    """
    spark = session()  # pyspark is imported here, before the threads: two threads importing one package can deadlock
    with _planning(spark, PLAN_SMALL if is_small else {}), ThreadPoolExecutor(THREADS) as pool:
        frames = pool.map(_open_frame, [spark] * len(suites), suites)  # the engine plans while Python imports
        gx = _import_gx()
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}
        batches = [_batch(context, f"frame {i}", frame) for i, frame in enumerate(frames)]
        found = pool.map(_check, [gx] * len(suites), suites, batches)
        return [verdict for verdicts in found for verdict in verdicts]


@contextlib.contextmanager
def _planning(spark, confs: dict[str, str]):
    """The session with other settings for a while."""
    before = {name: spark.conf.get(name) for name in confs}
    for name, value in confs.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            spark.conf.set(name, value)


def _open_frame(spark, suite: Suite):
    """The suite's data frame, analysed: a missing table or column shows here, and its metadata is read ahead."""
    from pyspark.errors import AnalysisException

    try:
        for rule in suite.rules:
            if rule.unseen:
                _show_digests(spark, rule.unseen)
        _refuse_faults(spark, suite)
        frame = spark.sql(suite.query())
        _ = frame.schema
        return frame
    except AnalysisException as error:
        raise PlatformError(
            f"the gate cannot read {suite.table}: {str(error).splitlines()[0]}; run the step that writes it again"
        ) from None


def _show_digests(spark, unseen: Unseen) -> None:
    digests = [(list(unseen.digests or ()),)]
    spark.createDataFrame(digests, "digests array<string>").createOrReplaceTempView(unseen.view)


def _refuse_faults(spark, suite: Suite) -> None:
    """Raise PlatformError, with file and line, for each rule of the company's own that does not fit the suite's table."""
    from pyspark.errors import AnalysisException

    if not any(rule.declared_at for rule in suite.rules):
        return
    there, faults = {name.lower() for name in spark.sql(suite.frame).columns}, []
    for rule in suite.rules:
        if rule.declared_at and rule.column and rule.column.lower() not in there:
            faults.append(f"{rule.declared_at}: rule {rule.name}: {suite.table} has no column {rule.column}")
        elif rule.declared_at and rule.derived:
            try:
                _ = spark.sql(replace(suite, rules=(rule,)).query()).schema
            except AnalysisException as error:
                faults.append(f"{rule.declared_at}: rule {rule.name}: {str(error).splitlines()[0]}")
    if faults:
        raise PlatformError("\n".join(faults))


def _import_gx():
    """Great Expectations, imported without garbage collections in between: it makes many objects that stay."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    # pyspark's functions ask this variable which kind of session they serve; GX calls them without a session.
    os.environ["SPARK_CONNECT_MODE_ENABLED"] = "1"
    gc.disable()
    try:
        import great_expectations
        import great_expectations.expectations
    finally:
        gc.enable()
    return great_expectations


def _batch(context, name: str, frame):
    asset = context.data_sources.add_spark(name, persist=False).add_dataframe_asset(name)
    return asset.add_batch_definition_whole_dataframe("load").get_batch({"dataframe": frame})


def _check(gx, suite: Suite, batch) -> list[Verdict]:
    built = [
        getattr(gx.expectations, rule.expectation)(**rule.arguments, meta={"rule": rule.name}) for rule in suite.rules
    ]
    counts = suite.counts()
    built += [
        gx.expectations.ExpectColumnSumToBeBetween(column=name, min_value=0, meta={"rule": name})
        for name in counts.values()
    ]
    done = batch.validate(gx.ExpectationSuite(suite.table, expectations=built), result_format="BASIC")
    results = {one.expectation_config.meta["rule"]: one for one in done.results}  # GX may return another order
    n_rows = {among: int(_observed(suite, name, results[name]) or 0) for among, name in counts.items()}
    verdicts = [_verdict(suite, rule, results[rule.name], n_rows.get(rule.among, 0)) for rule in suite.rules]
    return verdicts if n_rows["true"] else [_no_rows(suite, verdicts)]


def _observed(suite: Suite, rule: str, result):
    """The observed value; PlatformError if there is none because the check itself broke."""
    info = result.exception_info or {}
    raised = [x for x in ([info] if "raised_exception" in info else info.values()) if x.get("raised_exception")]
    if raised:
        text = raised[0].get("exception_message") or raised[0].get("exception_traceback") or "no reason given"
        raise PlatformError(
            f"the rule {rule} on {suite.table} could not be checked: {text.strip().splitlines()[-1]}; the "
            "engine's log says more (`mdp warehouse status`)"
        )
    return result.result.get("observed_value")


def _verdict(suite: Suite, rule: Rule, result, n: int) -> Verdict:
    """The verdict; `n` is the number of rows that a share which may be broken by chance is of."""
    seen = _observed(suite, rule.name, result)
    expected = rule.expected
    outcome, observed = "holds" if result.success else "broken", show(seen, rule.is_share)
    if seen is None:
        outcome = NOT_JUDGED if suite.optional or rule.may_see_nothing else "broken"
        observed = "no rows to judge"
        if rule.unseen and rule.unseen.digests is None:
            observed = "no value is known, since no day is accepted yet that has one: those of this day are learned"
    elif rule.by_chance:
        limit = rule.arguments["max_value"]
        allowed = chance(n, limit)
        expected += f", or {allowed:,} of {n:,} by chance"
        if allowed >= n:
            outcome = NOT_JUDGED
            observed += f" of {n:,} rows, which are too few: {enough(limit):,} are needed to tell a fault from chance"
        elif round(seen * n) <= allowed:
            outcome = "holds"
    if rule.unseen and seen:
        observed += f": {_new_values(suite, rule)}"
        outcome = WARNS if outcome != "broken" else outcome
    sample = _sample(suite, rule) if outcome == "broken" and rule.offending else ()
    outcome = WARNS if outcome == "broken" and rule.only_warns else outcome
    observed = f"{outcome}: {observed}" if outcome in (NOT_JUDGED, WARNS) else observed
    return Verdict(suite.table, rule.name, rule.column, rule.words, outcome, observed, expected, sample)


def _no_rows(suite: Suite, verdicts: list[Verdict]) -> Verdict:
    """One verdict for a table without rows: that of the rule that misses them first, or that there was nothing to judge."""
    observed = f"no rows, so none of its {len(verdicts)} rules had anything to judge"
    missed = next((v for v in verdicts if not v.success), None)
    if missed:
        return replace(missed, observed=observed)
    words = "the table was not fed, which is no fault of it on such a day"
    return Verdict(suite.table, "volume", None, words, NOT_JUDGED, f"{NOT_JUDGED}: {observed}", "≥ 0")


def _sample(suite: Suite, rule: Rule) -> tuple[str, ...]:
    """A few offending rows: the keys and the failing column, each value masked."""
    columns = list(dict.fromkeys([*suite.keys, *([rule.column] if rule.column else [])]))
    names = ", ".join(f"`{name}`" for name in columns)
    marked = f"select *, ({rule.offending}) as is_offending from ({suite.frame})"
    rows = session().sql(f"select {names} from ({marked}) where is_offending limit {SAMPLE_ROWS}").collect()
    return tuple(", ".join(f"{name}={mask(row[name])}" for name in columns) for row in rows)


def _new_values(suite: Suite, rule: Rule) -> str:
    """The most frequent values that no accepted day had, each with the number of its rows; masked if they are personal."""
    named = f"select cast({quoted(rule.column)} as string) as value from ({suite.frame}) where {rule.offending}"
    counted = (
        session().sql(f"select value, count(*) as n from ({named}) group by value order by n desc, value").collect()
    )
    told = [
        f"{mask(row['value']) if rule.unseen.is_masked else shown(row['value'][:NAMED])} ({row['n']:,} row{'s' * (row['n'] > 1)})"
        for row in counted[:SAMPLE_ROWS]
    ]
    return ", ".join(told) + (f" and {len(counted) - SAMPLE_ROWS:,} more" if len(counted) > SAMPLE_ROWS else "")


def mask(value) -> str:
    """At most the first characters of a value, and never all of it unless it is missing."""
    if value is None:
        return "null"
    text = str(value)
    return text[: min(SHOWN, len(text) // 2)] + "…"
