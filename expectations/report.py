"""The gate's report: one HTML page that needs nothing from the network, and the same content as JSON beside it."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

from expectations.rules import NOT_JUDGED, WARNS
from expectations.validate import Verdict
from warehouse.settings import settings
from warehouse.state import Off

_STYLE = """
:root { --ink: #1c2733; --soft: #5d6b7a; --line: #dfe5eb; --good: #11734b; --bad: #b3261e; --ground: #f5f7f9 }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", sans-serif }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px }
h1 { margin: 0; font-size: 26px } h2 { margin: 0; font: 600 16px ui-monospace, Menlo, Consolas, monospace }
.lead { margin: 6px 0 0; color: var(--soft) }
.state { display: inline-block; margin-left: 10px; padding: 2px 12px; border-radius: 99px; color: #fff; font-size: 15px;
  vertical-align: middle }
.passed { background: var(--good) } .failed { background: var(--bad) }
.next { margin: 20px 0 0; padding: 12px 16px; background: #fff; border: 1px solid var(--line);
  border-left: 4px solid var(--bad); border-radius: 8px }
section { margin-top: 22px; background: #fff; border: 1px solid var(--line); border-radius: 8px; overflow: hidden;
  break-inside: avoid }
header { display: flex; justify-content: space-between; gap: 12px; padding: 12px 16px;
  border-bottom: 1px solid var(--line) }
header span { color: var(--soft) }
.scroll { overflow-x: auto }
table { width: 100%; border-collapse: collapse }
th { color: var(--soft); font-size: 12px; font-weight: 600; text-align: left }
th, td { padding: 7px 16px; border-top: 1px solid var(--line); vertical-align: top }
tr:first-child th { border-top: 0 }
td.value { white-space: nowrap; font-variant-numeric: tabular-nums }
td small { display: block; color: var(--soft); font: 12px ui-monospace, Menlo, Consolas, monospace }
tr.broken { background: #fdf1f0 } .yes { color: var(--good) } .no { color: var(--bad); font-weight: 600 }
.open { color: var(--soft) } .warns { color: #8a5a00; font-weight: 600 }
@media print { body { background: #fff; font-size: 12px } main { max-width: none; padding: 0 }
  .scroll { overflow: visible } }
"""


MARKS = {
    "holds": ("yes", "✓ holds"), "broken": ("no", "✗ broken"), NOT_JUDGED: ("open", "– not judged"),
    WARNS: ("warns", "! warns"),
}  # fmt: skip
SHOWN_TABLES = 200  # in full, rule by rule; a browser should not be asked for more, nor a person


def write(gate: str, ds: str, verdicts: tuple[Verdict, ...], remedy: str, off: Sequence[Off] = ()) -> Path:
    """Write <gate>.html and <gate>.json below reports/gates/<ds>/ and return the page's path.

    `off` are the tables and stages that rightly have nothing, each with its reason.
    """
    folder = settings().reports_dir / "gates" / ds
    folder.mkdir(parents=True, exist_ok=True)
    passed = all(v.success for v in verdicts)
    content = {"gate": gate, "ds": ds, "passed": passed, "rules": [asdict(v) for v in verdicts]}
    content |= {"off": [asdict(one) for one in off]} if off else {}
    (folder / f"{gate}.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    path = folder / f"{gate}.html"
    path.write_text(_page(gate, ds, verdicts, None if passed else remedy, off), encoding="utf-8")
    return path


def _page(gate: str, ds: str, verdicts: tuple[Verdict, ...], remedy: str | None, off: Sequence[Off]) -> str:
    tables: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        tables.setdefault(verdict.table, []).append(verdict)
    # Tables with a broken rule first: a reader who opens a failed gate wants that.
    broken = {table: rules for table, rules in tables.items() if not all(v.success for v in rules)}
    whole = {table: rules for table, rules in tables.items() if table not in broken}
    n_broken = sum(not v.success for v in verdicts)
    n_unjudged, n_warning = (sum(v.outcome == outcome for v in verdicts) for outcome in (NOT_JUDGED, WARNS))
    word = "failed" if n_broken else "passed"
    outcome = (
        f"{n_broken:,} of {len(verdicts):,} rules broken"
        if n_broken
        else f"all {len(verdicts) - n_unjudged:,} rules hold"
        if not n_warning
        else f"{len(verdicts) - n_unjudged - n_warning:,} rules hold, {n_warning:,} warn,"
    )
    outcome += f", {n_unjudged:,} not judged," if n_unjudged else ""
    hint = f'<p class="next"><b>What to do.</b> {_code(remedy)}</p>' if remedy else ""
    sections = [_section(table, rules) for table, rules in [*broken.items(), *whole.items()][:SHOWN_TABLES]]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Gate {escape(gate)} {ds}: {word}</title><style>{_STYLE}</style></head>
<body><main>
<h1>Gate {escape(gate)}, {ds} <span class="state {word}">{word}</span></h1>
<p class="lead">{outcome} on {len(tables):,} tables. Values in samples are masked.</p>{hint}
{_off(off) if off else ""}{"".join(sections)}{_others([*broken.items(), *whole.items()][SHOWN_TABLES:], gate)}
</main></body></html>
"""


def _others(tables: list[tuple[str, list[Verdict]]], gate: str) -> str:
    """A line for each table beyond those shown in full."""
    if not tables:
        return ""
    lines = "".join(
        f'<tr><td>{escape(table)}</td><td class="value">{_held(rules)}</td></tr>\n' for table, rules in tables
    )
    return f"""<section><header><h2>{len(tables):,} more tables</h2><span>rule by rule in {escape(gate)}.json</span></header>
<div class="scroll"><table><tr><th>table</th><th>rules</th></tr>
{lines}</table></div></section>
"""


def _off(stages: Sequence[Off]) -> str:
    lines = "".join(
        f'<tr><td>{escape(one.stage)}</td><td>{escape(one.reason)}</td><td class="value">{one.possible_from or "not known"}'
        "</td></tr>\n"
        for one in stages
    )
    return f"""<section><header><h2>off</h2><span>not fed, or too little to learn from or act on so far: no fault</span></header>
<div class="scroll"><table><tr><th>table</th><th>reason</th><th>possible from</th></tr>
{lines}</table></div></section>
"""


def _section(table: str, rules: list[Verdict]) -> str:
    return f"""<section><header><h2>{escape(table)}</h2><span>{_held(rules)}</span></header>
<div class="scroll"><table><tr><th>rule</th><th>column</th><th>expected</th><th>observed</th><th>verdict</th></tr>
{"".join(_line(v) for v in rules)}</table></div></section>
"""


def _held(rules: list[Verdict]) -> str:
    counts = Counter(v.outcome for v in rules)
    others = "".join(f", {counts[n]} {word}" for n, word in ((NOT_JUDGED, NOT_JUDGED), (WARNS, "warn")) if counts[n])
    return f"{counts['holds']} of {len(rules)} hold{others}"


def _line(v: Verdict) -> str:
    sample = "".join(f"<small>{escape(row)}</small>" for row in v.sample)
    kind, mark = MARKS[v.outcome]
    nowrap = "" if v.outcome == NOT_JUDGED else ' class="value"'
    return (
        f"<tr{'' if v.success else ' class=broken'}><td>{escape(v.words)}<small>{escape(v.rule)}</small>{sample}</td>"
        f'<td>{escape(v.column or "")}</td><td class="value">{escape(v.expected)}</td>'
        f'<td{nowrap}>{escape(v.observed)}</td><td class="{kind}">{mark}</td></tr>\n'
    )


def _code(text: str) -> str:
    """Escaped text with `…` as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
