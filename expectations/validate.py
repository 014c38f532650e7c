"""Runs suites with Great Expectations on Spark data frames, and turns the results into verdicts.

Great Expectations is imported here and late: it takes seconds. Its analytics are off, its context is ephemeral (no
files), and a rule that could not be checked is an error of the gate, never a quiet pass.
"""

import contextlib
import gc
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from expectations.rules import Rule, Suite, show
from warehouse.errors import PlatformError
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


@dataclass(frozen=True)
class Verdict:
    """What came of one rule; observed and expected are for reading, `sample` is masked."""

    table: str
    rule: str
    column: str | None
    words: str
    success: bool
    observed: str
    expected: str
    sample: tuple[str, ...]

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
        frame = spark.sql(suite.query())
        _ = frame.schema
        return frame
    except AnalysisException as error:
        raise PlatformError(
            f"the gate cannot read {suite.table}: {str(error).splitlines()[0]}; run the step that writes it again"
        ) from None


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
    done = batch.validate(gx.ExpectationSuite(suite.table, expectations=built), result_format="BASIC")
    results = {one.expectation_config.meta["rule"]: one for one in done.results}  # GX may return another order
    return [_verdict(suite, rule, results[rule.name]) for rule in suite.rules]


def _verdict(suite: Suite, rule: Rule, result) -> Verdict:
    info = result.exception_info or {}
    raised = [x for x in ([info] if "raised_exception" in info else info.values()) if x.get("raised_exception")]
    if raised:
        text = raised[0].get("exception_message") or raised[0].get("exception_traceback") or "no reason given"
        raise PlatformError(
            f"the rule {rule.name} on {suite.table} could not be checked: {text.strip().splitlines()[-1]}; the "
            "engine's log says more (`mdp warehouse status`)"
        )
    seen = result.result.get("observed_value")
    success = bool(result.success)
    if seen is None and (suite.optional or rule.may_see_nothing):
        success = True
    sample = () if success or rule.offending is None else _sample(suite, rule)
    observed = "no rows to judge" if seen is None else show(seen, rule.is_share)
    return Verdict(suite.table, rule.name, rule.column, rule.words, success, observed, rule.expected, sample)


def _sample(suite: Suite, rule: Rule) -> tuple[str, ...]:
    """A few offending rows: the keys and the failing column, each value masked."""
    columns = list(dict.fromkeys([*suite.keys, rule.column]))
    names = ", ".join(f"`{name}`" for name in columns)
    marked = f"select *, ({rule.offending}) as is_offending from ({suite.frame})"
    rows = session().sql(f"select {names} from ({marked}) where is_offending limit {SAMPLE_ROWS}").collect()
    return tuple(", ".join(f"{name}={mask(row[name])}" for name in columns) for row in rows)


def mask(value) -> str:
    """At most the first characters of a value, and never all of it unless it is missing."""
    if value is None:
        return "null"
    text = str(value)
    return text[: min(SHOWN, len(text) // 2)] + "…"
