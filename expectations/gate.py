"""A gate: checks what a run wrote at one hand-over point, records the verdicts, and stops the run if a rule is broken.

Nothing downstream starts before "gate_<name>" is published for its day, and only a gate that passed publishes it. A gate
rewrites no table: one that passes again changes nothing, one that refuses takes back what followed.
"""

import importlib
import time
from dataclasses import dataclass
from pathlib import Path

from expectations import known, own, raw, report, validate
from expectations.feeds import feeds_of
from expectations.rules import NOT_JUDGED, WARNS
from expectations.scope import Scope, make_scope
from expectations.validate import Verdict
from warehouse import company, ops, parts, stages, state
from warehouse.dates import parse_ds
from warehouse.errors import PlatformError, unknown

# Gate → what to do when it stops the run; the gate itself is run again afterwards.
REMEDIES = {
    "raw": "Have the source mended and take its data again with `mdp ingest {range}` (a day that was shut, a holiday or a "
    "promotion is a line of calendar.csv in the company's folder)",
    "cleaned": "Mend {fed_by}the model in dbt_project/models/cleaned, and run `mdp build cleaned {range}`",
    "features": "Mend the model in dbt_project/models/features and run `mdp build features {range}`",
    "predictions": "Look at the model (`mdp model show <model>`), go back with `mdp model rollback <model>` if a new "
    "version did this, and run `mdp score <model> --ds {ds}`",
}
GATES = tuple(REMEDIES)
SHOWN = 20  # rules that the console tells of; the report has all
SMALL_ROWS = 100_000  # rows up to which a gate's queries are not worth compiling


@dataclass(frozen=True)
class GateResult:
    """What a gate found; `str()` is the line for the console."""

    gate: str
    ds: str
    verdicts: tuple[Verdict, ...]
    seconds: float
    report: Path
    off: tuple[state.Off, ...] = ()

    @property
    def failed(self) -> tuple[Verdict, ...]:
        return tuple(v for v in self.verdicts if not v.success)

    def __str__(self) -> str:
        n_tables = len({v.table for v in self.verdicts})
        unjudged = [v for v in self.verdicts if v.outcome == NOT_JUDGED]
        warning = [v for v in self.verdicts if v.outcome == WARNS]
        n_passed = len(self.verdicts) - len(unjudged) - len(warning)
        lines = [
            f"gate {self.gate} {self.ds}: {n_passed} rules on {n_tables} tables passed in "
            f"{self.seconds:.1f} s → {self.report}",
            *_few([f"  {v.table}, rule {v.rule}: {v.observed}" for v in unjudged]),
            *_few([f"  {v.table}, rule {v.rule}: {v.observed}; expected {v.words}: {v.expected}" for v in warning]),
            *(f"  off  {one.stage}: {one}" for one in self.off),
        ]
        return "\n".join(lines)


class GateFailed(PlatformError):
    """At least one rule is broken; `result` holds all verdicts, the message those that failed."""

    is_verdict = True  # the data was looked at: whatever became of the engine since, the answer stands

    def __init__(self, result: GateResult, remedy: str):
        self.result = result
        super().__init__(_block(result, remedy))


def run_gate(gate: str, ds: str, from_ds: str | None = None) -> GateResult:
    """Check `gate` for `ds` (or the range from_ds … ds) and publish it; raises GateFailed if a rule is broken.

    Verdicts are recorded and the report is written in both cases; the line for the console is printed when it passes.
    """
    started = time.monotonic()
    if gate not in GATES:
        raise unknown("gate", gate, GATES)
    parse_ds(ds)
    range_ = f"--ds {ds}" + (f" --from {from_ds}" if from_ds else "")
    stages.require(f"gate_{gate}", ds, from_ds)
    scope = make_scope(gate, ds, from_ds)
    off = _off(gate, scope)
    suites = own.add(importlib.import_module(f"expectations.{gate}").suites(scope), scope)
    suites = [suite for suite in suites if suite.table not in {one.stage for one in off}]
    # loaded rows say little of tables with a row per customer and day
    n_rows = max(scope.n_loaded(), scope.n_rows(*feeds_of("customers") or feeds_of("orders")) if gate != "raw" else 0)
    verdicts = tuple(validate.judge(suites, is_small=n_rows < SMALL_ROWS))
    state.record_verdicts(ds, gate, [v.row() for v in verdicts])
    ops.refresh(["gate_verdicts"], ds)
    again = f"then `mdp gate {gate} {range_}`; or `make run`, which takes the day up."
    remedy = f"{REMEDIES[gate].format(ds=ds, range=range_, fed_by=_fed_by(verdicts))}, {again}"
    path = report.write(gate, ds, verdicts, remedy, off)
    result = GateResult(gate, ds, verdicts, time.monotonic() - started, path, tuple(off))
    if result.failed:
        stages.take_back(f"gate_{gate}", ds, from_ds)
        raise GateFailed(result, remedy)
    known.learn(suites, ds)
    state.publish(f"gate_{gate}", _checked(gate, scope))
    print(result)
    return result


def _fed_by(verdicts: tuple[Verdict, ...]) -> str:
    """The company's staging models behind the cleaned tables whose rules are broken, '' if there are none."""
    fed, home = company.staged(), company.folder()
    broken = dict.fromkeys(v.table.removeprefix("cleaned.") for v in verdicts if not v.success)
    paths = dict.fromkeys(f"{home}/staging/{one.model}.sql" for table in broken for one in fed.get(table, ()))
    return f"what your data becomes in {', '.join(paths)} or " if paths else ""


def _few(lines: list[str]) -> list[str]:
    """The first SHOWN lines, and how many more there are."""
    return lines[:SHOWN] + ([f"  and {len(lines) - SHOWN:,} more"] if lines[SHOWN:] else [])


def _off(gate: str, scope: Scope) -> list[state.Off]:
    """What has nothing to be judged: feeds not loaded, what the company cannot have, and of predictions what cannot be yet."""
    ds = scope.ds
    if gate == "raw":
        return [state.Off(table, ds, f"not fed: no load of {ds}", None) for table in raw.not_loaded(scope)]
    declared = [state.Off(table, ds, why, None) for table, why in parts.off().items() if table.startswith(f"{gate}.")]
    found = {one.stage: one for one in declared} | (state.off(ds) if gate == "predictions" else {})
    return list(found.values())


def _checked(gate: str, scope: Scope) -> list[str]:
    """The days of the scope that the stages before have written (predictions: the day, also where a model is off)."""
    if gate == "predictions":
        return [scope.ds]
    return state.published_days(gate, scope.first_ds, scope.ds)


def _block(result: GateResult, remedy: str) -> str:
    """The failure as a block of text that can be understood without opening anything."""
    broken, n = result.failed, len(result.verdicts)
    lines = [f"gate {result.gate} {result.ds} stopped the run: {len(broken)} of {n} rules are broken", ""]
    for v in broken[:SHOWN]:
        lines.append(f"  {v.table}" + (f", column {v.column}" if v.column else "") + f": rule {v.rule}")
        lines.append(f"    expected  {v.words}: {v.expected}")
        lines.append(f"    observed  {v.observed}")
        lines.extend(f"    {'sample' if i == 0 else '      '}    {row}" for i, row in enumerate(v.sample))
        lines.append("")
    if broken[SHOWN:]:
        tables = len({v.table for v in broken[SHOWN:]})
        lines += [f"  and {len(broken) - SHOWN:,} more broken rules on {tables:,} tables: the report has them all", ""]
    lines += [
        "  Nothing downstream has run on this data.",
        f"  report  {result.report}",
        f"  next    {remedy}",
    ]
    return "\n".join(lines)
