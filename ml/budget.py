"""Budget: a response curve per channel, then the spend per channel that returns most within caps, floors and a budget.

Orders of a channel on a day are expected to be demand * a * (1 - exp(-spend / b)): concave, saturating at a, the
"modified exponential" of Lilien, Kotler & Moorthy, "Marketing Models" (1992). Where the data show that an effect outlasts its
day, spend is a geometric mean of today's and earlier days' (adstock: Broadbent, "One Way TV Advertisements Work", 1979): what
is spent every day carries over to just itself, so a plan for every day is read off the same curve. Return = orders * the
channel's mean order value: orders are far less noisy than revenue. Because the curves are concave, cutting them into straight
pieces with falling slopes gives a linear programme whose optimum fills the pieces in order, without integer variables
(Dantzig, "Linear Programming and Extensions", 1963).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import least_squares
from scipy.signal import lfilter
from sklearn.base import BaseEstimator

from ml.evaluation import Evaluation
from warehouse.errors import NotYet, PlatformError

SPAN = (0.05, 20.0)  # bounds of b, in mean daily spends: beyond them a curve is a step or a line
BEND_SD = 0.7  # before any data, log(b / mean daily spend) is 0 give or take this: companies spend near the bend
SEEN_SHARE = 0.8  # a bend is seen if the data bring its standard error below this share of BEND_SD
CARRIED = (0.0, 0.2, 0.4, 0.6, 0.8)  # candidates: the share of a day's effect that goes on to the next
CARRIED_F = 6.6  # what carrying over must gain in weighted squares, in residual variances (F test of one term, 1 %)
TOLERANCE = 1e-6  # relative, for constraints and between the two solvers


@dataclass(frozen=True)
class Option:
    """A channel to spend on: money per unit, units allowed, pieces (units, return per unit) with falling returns."""

    name: str
    unit_cost: float
    floor: float
    cap: float
    pieces: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Allocation:
    """The best plan: units per channel, its return, and what one more unit of budget would return."""

    units: dict[str, float]
    total_return: float
    shadow_price: float


def allocate(options: list[Option], budget: float) -> Allocation:
    """Maximise the return over units, subject to floor <= units <= cap per channel and total cost <= budget.

    Solved by CBC, checked against every constraint, and compared with HiGHS (CBC has returned wrong optima before).
    The shadow price is the return of the same programme with a budget one unit larger minus this one's: solvers differ
    in the sign of their dual values, and at a kink the dual is not unique. PlatformError names the constraints that
    conflict.
    """
    _refuse_conflicts(options, budget)
    units, total = _solve(options, budget, "cbc")
    _, other = _solve(options, budget, "highs")
    if abs(total - other) > TOLERANCE * max(1.0, abs(total)):
        raise PlatformError(f"budget: two solvers disagree on the best return (CBC {total:,.2f}, HiGHS {other:,.2f}). "
                            f"Check the channels' pieces for extreme values.")  # fmt: skip
    _, more = _solve(options, budget + 1.0, "highs")
    return Allocation(units, total, max(more - other, 0.0))


def _refuse_conflicts(options: list[Option], budget: float) -> None:
    for option in options:
        if option.floor > option.cap:
            raise PlatformError(
                f"budget: the floor of {option.name} ({option.floor:,.2f}) is above its cap ({option.cap:,.2f}). "
                f"Lower the floor or raise the cap."
            )
        slopes = np.array([slope for _, slope in option.pieces])
        # A saturated channel's last pieces return nothing, give or take rounding.
        if (np.diff(slopes) > TOLERANCE * np.abs(slopes).max(initial=0.0)).any():
            raise PlatformError(f"budget: the returns of {option.name} rise with its units; a concave curve is needed.")
    cost = sum(option.floor * option.unit_cost for option in options)
    if cost > budget * (1 + TOLERANCE):
        parts = " + ".join(
            f"{o.name} {o.floor:,.2f} x {o.unit_cost:,.2f} = {o.floor * o.unit_cost:,.2f}"
            for o in options
            if o.floor > 0
        )
        raise PlatformError(
            f"budget: the floors conflict with the budget: {parts}, together {cost:,.2f}, "
            f"but the budget is {budget:,.2f}. "
            f"Raise the budget by {cost - budget:,.2f} or lower floors."
        )


def _solve(options: list[Option], budget: float, solver: str) -> tuple[dict[str, float], float]:
    """Units per channel and total return of the linear programme; the solution is verified."""
    import pulp

    problem = pulp.LpProblem("budget", pulp.LpMaximize)
    pieces = {
        o.name: [problem.add_variable(f"x_{i}_{k}", 0, width) for k, (width, _) in enumerate(o.pieces)]
        for i, o in enumerate(options)
    }
    problem += pulp.lpSum(slope * x for o in options for x, (_, slope) in zip(pieces[o.name], o.pieces, strict=True))
    for o in options:
        problem += pulp.lpSum(pieces[o.name]) >= o.floor
        problem += pulp.lpSum(pieces[o.name]) <= o.cap
    problem += pulp.lpSum(o.unit_cost * x for o in options for x in pieces[o.name]) <= budget
    status = problem.solve(pulp.PULP_CBC_CMD(msg=False) if solver == "cbc" else pulp.HiGHS(msg=False))
    if pulp.LpStatus[status] != "Optimal":
        raise PlatformError(f"budget: {solver} found the programme {pulp.LpStatus[status].lower()}. "
                            f"Check that each channel's pieces reach its floor.")  # fmt: skip
    units = {o.name: float(sum(x.value() or 0.0 for x in pieces[o.name])) for o in options}
    _verify(options, budget, units, solver)
    return units, float(pulp.value(problem.objective))


def _verify(options: list[Option], budget: float, units: dict[str, float], solver: str) -> None:
    slack = TOLERANCE * max(1.0, budget)
    for o in options:
        if not o.floor - slack <= units[o.name] <= o.cap + slack:
            raise PlatformError(
                f"budget: {solver} breaks the limits of {o.name}: {units[o.name]:,.4f} units. Report this."
            )
    cost = sum(o.unit_cost * units[o.name] for o in options)
    if cost > budget + slack:
        raise PlatformError(f"budget: {solver} spends {cost:,.2f} of {budget:,.2f}. Report this.")


@dataclass(frozen=True)
class Curve:
    """One channel's response: orders = demand * a * (1 - exp(-spend / b)), each worth order_value.

    carried: share of a day's effect that goes on to the next (0: none); is_identified: the data show the bend.
    """

    a: float
    b: float
    order_value: float
    is_identified: bool
    carried: float = 0.0

    def expected_return(self, spend, demand=1.0):
        """Expected return of a day, in the company's currency."""
        return demand * self.a * -np.expm1(-np.asarray(spend, float) / self.b) * self.order_value

    def pieces(self, cap: float, n: int) -> tuple[tuple[float, float], ...]:
        """n equal pieces of [0, cap] with the slopes of their chords: never above the curve."""
        edges = np.linspace(0, cap, n + 1)
        values = self.expected_return(edges)
        width = cap / n
        return tuple((width, float(slope)) for slope in np.diff(values) / width) if width > 0 else ()


def carry_over(spend: np.ndarray, carried: float) -> np.ndarray:
    """(1 - carried) * (today's spend + carried * yesterday's + carried^2 * …), as if the mean had been spent before."""
    start = [carried * float(spend.mean())]
    return lfilter([1 - carried], [1, -carried], spend, zi=start)[0] if len(spend) else spend


def fit_response(spend: np.ndarray, demand: np.ndarray, orders: np.ndarray) -> tuple[float, float, float, float]:
    """(a, b, standard error of log b, carried) of days in order: what carries over only if the data show it (CARRIED_F)."""
    fits = {carried: fit_curve(carry_over(spend, carried), demand, orders) for carried in CARRIED}
    best = min(fits, key=lambda carried: fits[carried][-1])
    noise = fits[best][-1] / max(len(spend) - 3, 1)
    if fits[0.0][-1] - fits[best][-1] < CARRIED_F * noise:
        best = 0.0
    return *fits[best][:3], best


def fit_curve(spend: np.ndarray, demand: np.ndarray, orders: np.ndarray) -> tuple[float, float, float, float]:
    """(a, b, standard error of log b, weighted squares) by bounded, penalised least squares with Poisson weights.

    The penalty is a normal prior on log(b / mean spend) (BEND_SD), which keeps b sane where spend hardly varied. The
    weights start from the mean and are renewed twice (iteratively reweighted least squares). The error is from the
    Jacobian at the optimum. The squares are weighted by the observed mean, the same for any curve.
    """
    centre, level = float(spend.mean()), np.log(max(float(orders.mean()), 1e-3) / -np.expm1(-1.0))

    def expected(p: np.ndarray) -> np.ndarray:
        return demand * np.exp(p[0]) * -np.expm1(-spend / (np.exp(p[1]) * centre))

    point, weight = np.array([level, 0.0]), 1 / np.sqrt(max(float(orders.mean()), 0.25))
    bounds = ([level - 10, np.log(SPAN[0])], [level + 10, np.log(SPAN[1])])
    for _ in range(3):
        found = least_squares(
            lambda p, w=weight: np.append((expected(p) - orders) * w, p[1] / BEND_SD), point, bounds=bounds
        )
        point = found.x
        weight = 1 / np.sqrt(np.maximum(expected(point), 0.25))
    covariance = np.linalg.pinv(found.jac.T @ found.jac)
    squares = float(((expected(point) - orders) ** 2).sum() / max(float(orders.mean()), 0.25))
    return float(np.exp(point[0])), float(np.exp(point[1]) * centre), float(np.sqrt(covariance[1, 1])), squares


class ResponseCurves(BaseEstimator):
    """Fitted response curves of all channels; predict makes tomorrow's plan from the channels' recent history."""

    def __init__(self, floor_share: float, cap_share: float, n_pieces: int):
        self.floor_share = floor_share
        self.cap_share = cap_share
        self.n_pieces = n_pieces

    def fit(self, X: pd.DataFrame, y: pd.DataFrame) -> "ResponseCurves":
        """Fit one curve per channel on days with channel, spend, demand_index; y: n_orders, return_amount.

        `fallbacks_` names the channels whose bend the data do not show: theirs stays near the channel's mean daily
        spend.
        """
        rows = X[["channel", "spend", "demand_index"]].join(y[["n_orders", "return_amount"]])
        rows = rows.assign(ds=X["ds"]).sort_values("ds").astype({"spend": float, "return_amount": float})
        # A credit note above the day's spend is no negative advertising.
        rows["spend"] = rows["spend"].clip(lower=0)
        self.curves_ = {}
        for channel, group in rows.groupby("channel"):
            if group["spend"].sum() <= 0:  # nothing is known of a channel never paid for: it gets no plan
                continue
            columns = ("spend", "demand_index", "n_orders")
            a, b, error, carried = fit_response(*(group[c].to_numpy(float) for c in columns))
            order_value = float(group["return_amount"].sum() / max(group["n_orders"].sum(), 1))
            self.curves_[channel] = Curve(a, b, order_value, error < SEEN_SHARE * BEND_SD, carried)
        if not self.curves_:
            raise NotYet("budget: nothing was spent on any channel yet, so there is nothing to plan from")
        self.fallbacks_ = [channel for channel, curve in self.curves_.items() if not curve.is_identified]
        return self

    def expected_return(self, X: pd.DataFrame) -> np.ndarray:
        """Expected return, in the company's currency, per row of ds, channel, spend, demand_index; 0 for a channel never seen."""
        result, order = np.zeros(len(X)), np.argsort(X["ds"].to_numpy(str), kind="stable")
        spend, demand = X["spend"].to_numpy(float), X["demand_index"].to_numpy(float)
        for channel, curve in self.curves_.items():
            rows = order[(X["channel"] == channel).to_numpy()[order]]
            result[rows] = curve.expected_return(carry_over(spend[rows], curve.carried), demand[rows])
        return result

    def predict(self, X: pd.DataFrame) -> pd.DataFrame:
        """The plan for the next day, one row per channel, from trailing days (ds, channel, spend, demand_index).

        Budget = mean daily spend over the days, of all channels; floors and caps are shares of each channel's own
        mean. Demand is taken as average (1): it scales all channels alike and cannot change the split. Amounts are in
        whole cents, rounded down.
        """
        trailing = mean_daily_spend(X)
        limits = {c: (self.floor_share * s, self.cap_share * s) for c, s in trailing.items() if c in self.curves_}
        budget = float(sum(trailing[c] for c in limits))
        if budget <= 0:
            known = ", ".join(self.curves_)
            raise NotYet(
                f"budget: nothing was spent in the last {X['ds'].nunique()} days on a channel with a curve ({known})"
            )
        options = [
            Option(c, 1.0, floor, cap, self.curves_[c].pieces(cap, self.n_pieces)) for c, (floor, cap) in limits.items()
        ]
        best = allocate(options, budget)
        rows = [(c, best.units[c], *limits[c], float(self.curves_[c].expected_return(best.units[c]))) for c in limits]
        return _plan(rows, best.shadow_price, budget)


class ProportionalSpend(BaseEstimator):
    """The baseline: a channel's return is proportional to its spend, and the plan is what was spent lately."""

    def fit(self, X: pd.DataFrame, y: pd.DataFrame) -> "ProportionalSpend":
        """Learn one return per unit of money (at average demand) and channel."""
        effort = X["spend"].astype(float) * X["demand_index"].astype(float)
        totals = pd.DataFrame({"effort": effort, "gain": y["return_amount"].astype(float)}).groupby(X["channel"]).sum()
        self.rates_ = (totals["gain"] / totals["effort"].where(totals["effort"] > 0)).fillna(0.0).to_dict()
        return self

    def expected_return(self, X: pd.DataFrame) -> np.ndarray:
        """Expected return, in the company's currency, per row."""
        rate = X["channel"].map(self.rates_).fillna(0.0).astype(float)
        return (rate * X["spend"].astype(float) * X["demand_index"].astype(float)).to_numpy()

    def predict(self, X: pd.DataFrame) -> pd.DataFrame:
        """The plan of `ResponseCurves.predict`, with floor = cap = trailing mean and mean return as shadow price."""
        trailing = mean_daily_spend(X)
        budget = float(trailing.sum())
        rows = [(c, s, s, s, self.rates_.get(c, 0.0) * s) for c, s in trailing.items()]
        gain = sum(row[-1] for row in rows)
        return _plan(rows, gain / budget if budget else 0.0, budget)


def mean_daily_spend(X: pd.DataFrame) -> pd.Series:
    """Mean spend per channel over the days in X (a day without a row counts as 0), 0 where credit notes exceed it."""
    spend = X.groupby("channel")["spend"].agg(lambda s: s.astype(float).sum()) / X["ds"].nunique()
    return spend.clip(lower=0)


def _plan(rows: list[tuple], shadow_price: float, budget: float) -> pd.DataFrame:
    plan = pd.DataFrame(rows, columns=["channel", "spend", "floor_spend", "cap_spend", "expected_return"])
    amounts = ["spend", "floor_spend", "cap_spend", "expected_return"]
    # 1e-6 keeps a solver's 999.9999999 from losing a cent; together the cents never exceed the budget's
    plan[amounts] = np.floor(plan[amounts].astype(float) * 100 + 1e-6) / 100
    return plan.assign(shadow_price=shadow_price, budget=np.floor(budget * 100 + 1e-6) / 100)


def make_estimator(floor_share: float, cap_share: float, n_pieces: int) -> ResponseCurves:
    """The unfitted model."""
    return ResponseCurves(floor_share, cap_share, n_pieces)


def make_baseline() -> ProportionalSpend:
    """The unfitted baseline."""
    return ProportionalSpend()


def evaluate(estimator, X: pd.DataFrame, y: pd.DataFrame) -> Evaluation:
    """R2 and mean absolute error (money) of a channel's return of a day; notes the channels whose bend is assumed."""
    expected, observed = estimator.expected_return(X), y["return_amount"].astype(float).to_numpy()
    spread = ((observed - observed.mean()) ** 2).sum()
    metrics = {
        "mae": float(np.abs(observed - expected).mean()),
        "r2": float(1 - ((observed - expected) ** 2).sum() / spread) if spread else 0.0,
    }
    fallbacks = getattr(estimator, "fallbacks_", [])
    curves = getattr(estimator, "curves_", {})
    # a champion of an older version has curves without it
    carried = {channel: getattr(curve, "carried", 0.0) for channel, curve in curves.items()}
    lasting = [f"{channel} {share:.0%}" for channel, share in carried.items() if share]
    notes = []
    if fallbacks:
        notes.append(f"spend varied too little to see where returns bend for {', '.join(fallbacks)}: assumed")
    if lasting:
        notes.append(
            f"what is spent works on the days after, too: {', '.join(lasting)} of a day's effect go on to the next"
        )
    rows = X[["ds", "channel", "spend", "demand_index"]].assign(return_amount=observed, expected_return=expected)
    return Evaluation(metrics, rows.reset_index(drop=True), tuple(notes))


def plot(estimator, evaluation: Evaluation) -> dict:
    """Observed and expected return over spend, one panel per channel."""
    from ml.plots import figure

    fig, axes = figure(len(estimator.curves_))
    for axis, (channel, curve) in zip(axes, estimator.curves_.items(), strict=True):
        rows = evaluation.rows[evaluation.rows["channel"] == channel]
        spend = np.linspace(0, rows["spend"].astype(float).max() or 1.0, 50)
        axis.scatter(rows["spend"].astype(float), rows["return_amount"], s=8)
        axis.plot(spend, curve.expected_return(spend))
        axis.set(title=channel + ("" if curve.is_identified else " (bend assumed)"), xlabel="spend", ylabel="return")
    return {"budget": fig}
