"""A table without rows is one line, and a share of too few rows is not judged: neither a pass nor a stop."""

import json
from dataclasses import replace

import pytest
from scipy.stats import binom, norm

from expectations import report
from expectations.gate import GATES, GateResult, _block
from expectations.rules import NOT_JUDGED, SIGMAS, Suite, chance, enough, filled, share, volume
from expectations.validate import Verdict, judge
from tests.gates.good_tables import DS, GOOD
from tests.gates.test_suites import all_suites, on_views


@pytest.fixture(scope="module")
def views(spark):
    for table, query in GOOD.items():
        spark.sql(query).createOrReplaceTempView(table.replace(".", "__"))


def test_a_table_without_rows_is_one_line(views):
    suites = [on_views(suite) for gate in GATES for suite in all_suites()[gate]]
    verdicts = judge([replace(suite, frame=f"select * from ({suite.frame}) where false") for suite in suites])
    assert len(verdicts) == len(suites) > 25
    for suite, verdict in zip(suites, verdicts, strict=True):
        assert verdict.table == suite.table and not verdict.sample
        assert f"no rows, so none of its {len(suite.rules)} rules had anything to judge" in verdict.observed
        missed = any(not suite.optional and not rule.may_see_nothing for rule in suite.rules)
        missed |= any(rule.name.endswith("_unique") for rule in suite.rules)  # the ledger says how many were loaded
        assert verdict.outcome == ("broken" if missed else NOT_JUDGED), suite.table
        assert verdict.observed.startswith(NOT_JUDGED) is not missed
    assert {v.outcome for v in verdicts} == {"broken", NOT_JUDGED}
    stopped = _block(GateResult("raw", DS, tuple(verdicts), 1.0, "report.html"), "mend it")
    assert stopped.count("raw.web__events") == 1 and "rule volume" in stopped


def judged(n: int, n_bad: int, at_most: float = 0.05, n_aside: int = 0) -> Verdict:
    """The verdict on `n` rows of which `n_bad` break a rule, beside `n_aside` rows that it is not about."""
    frame = f"select id, id < {n} as is_asked, id < {n_bad} as bad from range({n + n_aside})"
    rule = share("too_many", "bad", "bad", at_most, "few rows are bad", among="is_asked", by_chance=True)
    [seen, _] = judge([Suite("raw.t", frame, ("id",), (rule, volume(1)))])
    return seen


@pytest.mark.parametrize("n_bad", [0, 1, 3])
def test_too_few_rows_to_tell_are_not_judged(spark, n_bad):
    """Of three rows of a kind of which one in twenty is bad all three may be bad by chance (1 in 8,000): nothing is said."""
    seen = judged(3, n_bad, n_aside=500)
    assert seen.outcome == NOT_JUDGED and seen.success and not seen.sample
    assert "of 3 rows, which are too few: 4 are needed to tell a fault from chance" in seen.observed


@pytest.mark.parametrize(("n", "n_bad", "outcome"), [(4, 4, "broken"), (4, 3, "holds"), (40, 8, "holds"), (40, 12, "broken"),
                                                     (10_000, 580, "holds"), (10_000, 600, "broken")])  # fmt: skip
def test_enough_rows_are_judged_and_chance_is_said(spark, n, n_bad, outcome):
    seen = judged(n, n_bad, n_aside=7)
    assert seen.outcome == outcome, seen
    assert seen.expected == f"at most 5 % of the rows break it, or {chance(n, 0.05):,} of {n:,} by chance"
    assert bool(seen.sample) is (outcome == "broken")


def test_a_rule_that_nothing_may_break_is_judged_on_one_row(spark):
    [seen] = judge(
        [Suite("raw.t", "select 1 as id, cast(null as string) as phone", ("id",), (filled("phone", 0, "all"),))]
    )
    assert seen.outcome == "broken"


@pytest.mark.parametrize("at_most", [0.001, 0.01, 0.02, 0.05, 0.1, 0.3, 0.5])
def test_chance_is_the_quantile_and_enough_the_least_number_that_can_fail(at_most):
    n, level = enough(at_most), norm.sf(SIGMAS)
    assert chance(n, at_most) < n and chance(n - 1, at_most) == n - 1
    for rows in (n, 100, 5_000):
        most = chance(rows, at_most)
        assert binom.sf(most, rows, at_most) <= level < binom.sf(most - 1, rows, at_most)


def test_a_report_of_2_000_tables_stays_readable(tmp_path, monkeypatch):
    """Tables with a broken rule come first and in full, most of the others as a line each."""
    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    verdicts = tuple(
        Verdict(f"raw.t{t:04}", f"rule_{r}", "c", "few rows are bad", "broken" if (t % 500, r) == (499, 9) else "holds", "1 %",
                "at most 5 % of the rows break it")
        for t in range(2_000) for r in range(10)
    )  # fmt: skip
    path = report.write("raw", DS, verdicts, "mend it")
    page = path.read_text()
    assert len(page) < 1_000_000
    assert "4 of 20,000 rules broken on 2,000 tables" in page
    order = [page.index(f"raw.t{t:04}<") for t in (499, 999, 1499, 1999, 0, 194, 197)]
    assert order == sorted(order) and page.count("<section>") == 201 and page.count("✗ broken") == 4
    assert len(json.loads(path.with_suffix(".json").read_text())["rules"]) == 20_000
    console = _block(GateResult("raw", DS, tuple(replace(v, outcome="broken") for v in verdicts), 1.0, path), "mend it")
    assert console.count("observed") == 20 and "19,980 more broken rules on 1,998 tables" in console
