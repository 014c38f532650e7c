"""What a day came to, in words that marketing understands; and, for a generated company, beside the truth."""

import json
from collections import Counter
from dataclasses import dataclass

from expectations.rules import NOT_JUDGED, WARNS
from sample import generator
from warehouse import parts, stages, state, tables
from warehouse.company import check_home, company
from warehouse.dates import shift
from warehouse.errors import PlatformError
from warehouse.session import session
from warehouse.settings import settings

METRICS = {"auc": "AUC", "c_index": "c-index"}
CONTACT_SOON_DAYS = 7
GUEST_DAYS = 90  # as the revenue of the segments beside it
SHOWN = 20  # feeds, or channels of the plan, that are named; the others are summed up


@dataclass(frozen=True)
class Day:
    """The figures of one day; `truth` holds what a perfect model would reach ({} for a real company)."""

    ds: str
    loads: list[state.Load]
    gates: dict[str, Counter]  # gate → how many rules hold, are broken, were not judged
    segments: list
    guests: tuple[int, float]  # orders that name no customer in GUEST_DAYS, and their amount
    n_left_out: int | None  # customers in no model or segment; None where no consent to profiling is asked for
    models: dict[str, dict]
    plan: list
    contacts: dict
    exports: list[dict]
    off: dict[str, state.Off]
    truth: dict


def gather(ds: str) -> Day:
    """Read the day's figures from warehouse, state database, model registry and, of a generated company, its truth."""
    check_home()
    spark = session()
    gates: dict[str, Counter] = {}
    for verdict in state.verdicts(ds):
        observed = verdict["observed"] or ""
        harmless = next((outcome for outcome in (NOT_JUDGED, WARNS) if observed.startswith(outcome)), "holds")
        outcome = harmless if verdict["success"] else "broken"
        gates.setdefault(verdict["gate"], Counter())[outcome] += 1
    segments = spark.sql(
        f"select segment, strategy, n_customers, revenue_90d from {tables.MARTS_SEGMENT_SUMMARY} "
        f"where ds = '{ds}' order by revenue_90d desc"
    ).collect()
    never = parts.off()
    guests = (0, 0.0)
    if tables.FEATURES_SALES_DAY not in never:
        guests = spark.sql(
            f"select coalesce(sum(n_guest_orders), 0), coalesce(cast(sum(guest_revenue) as double), 0.0) "
            f"from {tables.FEATURES_SALES_DAY} where ds between '{shift(ds, 1 - GUEST_DAYS)}' and '{ds}'"
        ).first()
    plan = (
        []
        if tables.PREDICTIONS_BUDGET in never
        else spark.sql(
            f"select p.channel, cast(p.spend as double) spend, cast(p.expected_return as double) return_amount, "
            f"cast(c.spend as double) spent, p.shadow_price, p.floor_spend, p.cap_spend, p.budget "
            f"from {tables.PREDICTIONS_BUDGET} p left join {tables.FEATURES_CHANNEL_DAY} c "
            f"on c.channel = p.channel and c.ds = p.ds where p.ds = '{ds}' order by p.spend desc"
        ).collect()
    )
    contacts = (
        {}
        if tables.PREDICTIONS_CHURN in never
        else spark.sql(
            f"select count(*) n, sum(case when datediff(best_contact_date, '{ds}') <= {CONTACT_SOON_DAYS} then 1 else 0 end) "
            f"soon from {tables.PREDICTIONS_CHURN} where ds = '{ds}'"
        )
        .first()
        .asDict()
    )
    from ml import consent, registry

    models = {row["model"]: row for row in registry.list_models()}
    return Day(
        ds, state.loads(ds), gates, segments, tuple(guests), consent.n_left_out(ds), models, plan, contacts, state.exports(ds),
        stages.off(ds), _truth([r.asDict() for r in plan]),
    )  # fmt: skip


def _truth(plan: list[dict]) -> dict:
    """Model quality beside the best that is possible on the same rows; {} where no generated company lives."""
    import pandas as pd

    from ml import registry

    generated = generator()
    if generated is None or not generated.exists():
        return {}
    clicks, members = registry.read_evaluation("ctr"), registry.read_evaluation("churn")
    clicks = clicks if clicks is not None and "prediction" in clicks else None
    members = members if members is not None and "risk" in members else None
    found = generated.best(clicks, members, pd.DataFrame(plan) if plan else None)
    if "bayes_auc" in found:
        found["auc"] = _auc(clicks)
    if "oracle_cindex" in found:
        found["cindex"] = _cindex(members)
    return found


def _auc(rows) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(rows["label"], rows["prediction"]))


def _cindex(rows) -> float:
    from lifelines.utils import concordance_index

    return float(concordance_index(rows["duration_days"], -rows["risk"], rows["is_churned"].astype(bool)))


def report(ds: str | None) -> str:
    """The summary of `ds` (None: of the newest day) as text (rich markup); PlatformError if that day is not finished.

    Its figures are left in reports/figures/<ds>.json, for the benchmark.
    """
    newest = state.newest("marts")
    ds = ds or newest
    if ds is None or not state.is_published("marts", ds):
        known = (
            f"the finished days are {state.published_days('marts')[0]} … {newest}"
            if newest
            else "no day was finished yet: `make run`"
        )
        raise PlatformError(f"there is no summary of {ds or 'any day'}: {known}")
    day = gather(ds)
    folder = settings().reports_dir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{ds}.json").write_text(json.dumps(figures(day), indent=1))
    return render(day)


def figures(day: Day) -> dict[str, float]:
    """The benchmark's quality figures; only those that the day has."""
    t = day.truth
    found = {}
    if "auc" in t:
        found["auc_over_bayes"] = t["auc"] / t["bayes_auc"]
    if "cindex" in t:
        found["cindex_over_oracle"] = t["cindex"] / t["oracle_cindex"]
    if "plan" in t:
        found["plan_over_optimum"] = t["plan"]["ratio"]
    return {name: round(value, 4) for name, value in found.items()}


def render(day: Day) -> str:
    """The summary as text for a terminal (rich markup)."""
    said = [f"\n[bold]{day.ds}: what the day came to[/bold]", _intake(day), _gates(day), _segments(day), _models(day)]
    return "\n".join(filter(None, [*said, _plan(day), _advice(day)]))


def _intake(day: Day) -> str:
    rows = {load.feed: load.n_rows or 0 for load in day.loads}
    held = {load.feed: load.n_quarantined or 0 for load in day.loads}
    text = f"[bold]Taken in[/bold]   {sum(rows.values()):,} rows{_largest(rows)}"
    return text + f"\n           {sum(held.values()):,} rows held back in quarantine{_largest(held)}"


def _largest(counts: dict[str, int]) -> str:
    """' (name count, …)' of what counts, in its order; of more than SHOWN the largest, and how many more."""
    counts = {name: n for name, n in counts.items() if n}
    shown = set(sorted(counts, key=counts.get, reverse=True)[:SHOWN])
    words = [f"{name} {n:,}" for name, n in counts.items() if name in shown]
    rest = [n for name, n in counts.items() if name not in shown]
    words += [f"{len(rest):,} more {sum(rest):,}"] if rest else []
    return f" ({', '.join(words)})" if words else ""


def _gates(day: Day) -> str:
    verdicts = []
    for gate, outcomes in sorted(day.gates.items(), key=_order):
        unjudged = f" ({outcomes[NOT_JUDGED]} not judged: too few rows)" if outcomes[NOT_JUDGED] else ""
        unjudged += f" ({outcomes[WARNS]} warn)" if outcomes[WARNS] else ""
        verdicts.append(f"{gate} {outcomes['holds']}/{outcomes['holds'] + outcomes['broken']} rules{unjudged}")
    return f"[bold]Gates[/bold]      {', '.join(verdicts)}; reports: {settings().reports_dir}/gates/{day.ds}/"


def _order(item) -> int:
    return ("raw", "cleaned", "features", "predictions").index(item[0])


def _segments(day: Day) -> str:
    lines = [
        f"           {r.segment:<22} {r.n_customers:>7,} customers  {_money(r.revenue_90d, 14)} in 90 days"
        for r in day.segments
    ]
    n, amount = day.guests
    if n:
        lines.append(
            f"           {n:,} guest order{'s' * (n > 1)}, {_money(amount)} in {GUEST_DAYS} days, belong to no customer"
        )
    if day.n_left_out is not None:
        lines.append(
            f"           {day.n_left_out:,} customers do not consent to profiling: they are in no model, segment or audience"
        )
    return "[bold]Segments[/bold]\n" + "\n".join(lines)


def _models(day: Day) -> str:
    t, lines = day.truth, []
    off = {
        name.removeprefix("predictions."): str(why)
        for name, why in day.off.items()
        if name.startswith(tables.PREDICTIONS)
    }
    lines += [f"           {name} is off: {why.removeprefix(f'{name}: ')}" for name, why in off.items()]
    for name, words, mine, best, whose in (
        ("ctr", "click prediction", "auc", "bayes_auc", "the best possible (Bayes)"),
        ("churn", "churn prediction", "cindex", "oracle_cindex", "an oracle"),
    ):
        row = day.models[name]
        if row["champion"] is None:
            continue  # it is off, which is said above
        words = f"{words}: {METRICS.get(row['metric'], row['metric'])}"
        note = "  [yellow](only the baseline so far)[/yellow]" if row["is_baseline"] else ""
        if mine in t:
            lines.append(f"           {words} {t[mine]:.3f}, {whose} reaches {t[best]:.3f}{note}")
        elif row["value"] is not None:
            lines.append(f"           {words} {row['value']:.3f}{note}")
        else:
            lines.append(f"           {name}: version {row['champion']}{note}")
    if "plan" in t:
        p = t["plan"]
        lines.append(
            f"           budget plan: truly returns {_money(p['true_return'])}, the true optimum {p['optimum_return']:,.0f} "
            f"({p['ratio']:.1%})"
        )
    return "[bold]Models[/bold]\n" + "\n".join(lines)


def _plan(day: Day) -> str:
    if not day.plan:
        if tables.PREDICTIONS_BUDGET in parts.off():
            return ""
        return "[bold]Budget plan for tomorrow[/bold]\n           none: see above"
    lines = [_planned(f"{r.channel:<18}", r.spend, r.spent, r.return_amount) for r in day.plan[:SHOWN]]
    if rest := day.plan[SHOWN:]:
        spent = [r.spent for r in rest if r.spent is not None]
        name = f"{f'and {len(rest):,} more':<18}"
        lines.append(_planned(name, sum(float(r.spend) for r in rest), sum(spent) if spent else None,
                              sum(float(r.return_amount) for r in rest)))  # fmt: skip
    return "[bold]Budget plan for tomorrow[/bold]\n" + "\n".join(lines)


def _planned(name: str, spend: float, spent: float | None, gain: float) -> str:
    before = f"{spent:,.0f}" if spent is not None else "?"
    return f"           {name} spend {_money(spend, 9)} (today {before:>8})  → expected return {_money(gain, 9)}"


def _advice(day: Day) -> str:
    advice = []
    scored = [r for r in day.segments if r.segment != "not scored"]
    if scored:
        best = max(scored, key=lambda r: r.revenue_90d / max(r.n_customers, 1))
        share = float(best.revenue_90d) / max(sum(float(r.revenue_90d) for r in day.segments), 1)
        advice.append(
            f"{_sentence(best.segment)}: {best.n_customers:,} customers bring {share:.0%} of the revenue. "
            f"{_sentence(best.strategy or '')}"
        )
    if day.contacts.get("soon"):
        advice.append(
            f"Contact {day.contacts['soon']:,} of {day.contacts['n']:,} {_who()} within {CONTACT_SOON_DAYS} days: "
            f"{'their silence' if _who() == 'customers' else 'their risk of leaving'} is about to pass the line; the dates "
            f"stand in {tables.PREDICTIONS_CHURN}"
        )
    moves = sorted(((float(r.spend) - r.spent, r.channel) for r in day.plan if r.spent), reverse=True)
    if moves and moves[0][0] > 0 > moves[-1][0]:
        gain, unit = float(day.plan[0].shadow_price), company().currency
        worth = "more budget would pay" if gain > 1.005 else "more budget would not pay"
        advice.append(
            f"Shift money from {moves[-1][1]} (-{_money(-moves[-1][0])}) to {moves[0][1]} (+{_money(moves[0][0])}). One more "
            f"{unit} of budget would return {gain:.2f} {unit}: {worth}"
        )
    if day.exports:
        advice.append(f"Audiences with consent: {settings().exports_dir}/{day.ds}/")
    return "[bold]What to do[/bold]\n" + "\n".join(f"         • {line.rstrip('.')}." for line in advice)


def _who() -> str:
    """Whom the churn model is about: members, or customers who have no contract to end."""
    return "customers" if tables.LABELS_CUSTOMER_LIFETIME in parts.off() else "members"


def _money(amount, width: int = 0) -> str:
    """An amount in the company's currency, for people."""
    return f"{float(amount):>{width},.0f} {company().currency}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _plan_of(ds: str) -> list[dict]:
    plan = session().sql(f"select * from {tables.PREDICTIONS_BUDGET} where ds = '{ds}'").toPandas()
    for column in plan.select_dtypes("object"):
        if column not in ("channel", "ds", "model_version"):
            plan[column] = plan[column].astype(float)
    return plan.to_dict("records")


def truth() -> str:
    """`mdp sample truth`: the quality of the champions beside the truth, and the planted dirt."""
    newest = state.newest("predictions.budget")
    lines = []
    if state.promoted_models():
        found = _truth(_plan_of(newest) if newest else [])
        lines += [
            f"{name}: {found[name]:.4f}" for name in ("auc", "bayes_auc", "cindex", "oracle_cindex") if name in found
        ]
        for name, value in found.get("plan", {}).items():
            lines.append(f"plan {name}: {value}")
    else:
        lines.append("no model was trained yet: `make run` first")
    for feed, amounts in generator().planted().items():
        lines.append(f"planted in {feed}: " + ", ".join(f"{name} {n:,}" for name, n in amounts.items()))
    return "\n".join(lines)
