"""Churn without contracts: who still buys, as probability of being alive and expected purchases by BG/NBD.

While alive a customer buys as a Poisson process of rate lambda ~ Gamma(r, alpha) and stops after each purchase with
probability p ~ Beta(a, b), for good and without a word (Fader, Hardie & Lee 2005, "Counting Your Customers the Easy
Way", Marketing Science 24:275). A history is x days with a purchase after the first, t_x days from the first to the
last, T days from the first to the snapshot; whoever never bought has none, and no row. The first purchase is the
first one seen. One known limit is the model's own: who bought once has had no chance to stop, so is alive for certain
and shows as a low expected number of purchases, not as a low survival.

Own code because no library is left to use: lifetimes ended in 2020 and its fork btyd is archived; their successor,
pymc-marketing, brings PyMC and its compiler for four numbers. What is registered needs numpy, pandas and scipy.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import digamma, expit, gammaln, log_expit, polygamma
from sklearn.base import BaseEstimator
from sklearn.metrics import roc_auc_score

from ml.churn import CONTACT_DAYS, HORIZONS
from ml.evaluation import Evaluation, calibration_bins
from warehouse.errors import NotYet, PlatformError

COLUMNS = ["n_order_days_total", "recency_days", "since_first_order_days"]
MIN_REPEAT_BUYERS = 40  # ten for each of the four parameters
SIGN_OF_LEAVING = 1.92  # log-likelihood that dropout must add to be more than chance (chi-squared, 1 df, 95 %)
LOOSE = 1.5  # standard error of a logarithm above which a parameter counts as not determined: a factor of 19 either way
NODES = np.arange(-24.0, 24.1, 0.25)  # of the trapezoid rule, in standard deviations of logit p
CHUNK = 4096  # histories times nodes are held at once

# log r, log of the mean rate r / alpha, logit of the mean dropout a / (a + b), log (a + b); time in mean ages. Unlike
# the four logarithms these are hardly correlated, and each bound means something.
BOUNDS = [(-9.0, 9.0), (-30.0, 30.0), (-16.0, 16.0), (-9.0, 9.0)]
STARTS = [(r, p, s) for r in (-1.0, 1.0) for p, s in ((-2.5, 1.5), (-1.0, 1.0), (-0.5, 4.0))]
AT_BOUND = {
    (0, 0): "r runs to 0: hardly anybody has a rhythm at all",
    (0, 1): "r and alpha run to infinity: all customers buy at one rate",
    (2, 1): "b runs to 0: whoever buys a second time stops there",
    (3, 0): "a and b run to 0: customers stop at once or never",
    (3, 1): "a and b run to infinity: all customers stop with one probability",
}


@dataclass(frozen=True)
class Parameters:
    """The four parameters (alpha in the unit of time given), their standard errors (nan: at a bound), what to know."""

    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float
    standard_errors: dict[str, float]
    notes: tuple[str, ...] = ()


def summarize_orders(orders: pd.DataFrame, ds: str) -> pd.DataFrame:
    """One row per customer who ordered by ds, by customer_id: customer_id, ds and COLUMNS, in days.

    orders: customer_id, day; several of one day count once, those after ds not at all.
    """
    days = orders.assign(day=pd.to_datetime(orders["day"])).drop_duplicates(["customer_id", "day"])
    found = days[days["day"] <= ds].groupby("customer_id")["day"].agg(["size", "min", "max"]).reset_index()
    since = {
        name: (pd.Timestamp(ds) - found[end]).dt.days for name, end in zip(COLUMNS[1:], ("max", "min"), strict=True)
    }
    return pd.DataFrame({"customer_id": found["customer_id"], "ds": ds, COLUMNS[0]: found["size"], **since})


def read_histories(X: pd.DataFrame) -> pd.DataFrame:
    """x, t_x, T of those rows of X who ever bought, under their index. PlatformError names what cannot be."""
    rows = X.loc[X["n_order_days_total"].fillna(0) > 0, COLUMNS].astype(float)
    found = pd.DataFrame({"x": rows["n_order_days_total"] - 1, "T": rows["since_first_order_days"]})
    found.insert(1, "t_x", found["T"] - rows["recency_days"])
    # x further days fit into t_x days, and into none if there is none; written so that a null is wrong, too
    right = (rows["recency_days"] >= 0) & (found["t_x"] >= found["x"]) & ((found["x"] > 0) == (found["t_x"] > 0))
    if not right.all():
        first = ", ".join(f"{name} {value:g}" for name, value in rows[~right].iloc[0].items())
        raise PlatformError(
            f"churn: {(~right).sum():,} of {len(rows):,} customers have days that contradict each other, the first "
            f"{first}. Build the features of this day again."
        )
    return found


def log_likelihood(r, alpha, a, b, x, t_x, T) -> np.ndarray:
    """Log-likelihood of each history (Fader, Hardie & Lee 2005): alive at T, or stopped at t_x."""
    still, gone = _still_and_gone(r, alpha, a, b, x, t_x, T)
    of_x = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    of_x += gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x)
    return of_x + np.logaddexp(still, gone)


def _still_and_gone(r, alpha, a, b, x, t_x, T) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of the two terms whose shares are the probabilities of being alive and of having stopped at t_x."""
    with np.errstate(divide="ignore", invalid="ignore"):
        gone = np.log(a) - np.log(b + x - 1) - (r + x) * np.log(alpha + t_x)
    return -(r + x) * np.log(alpha + T), np.where(x > 0, gone, -np.inf)


def _unpack(theta: np.ndarray) -> tuple[float, float, float, float]:
    total = np.exp(theta[3])
    return np.exp(theta[0]), np.exp(theta[0] - theta[1]), total * expit(theta[2]), total * expit(-theta[2])


def _slopes(theta: np.ndarray) -> np.ndarray:
    """Derivatives of (r, alpha, a, b), one a row, by theta."""
    r, alpha, a, b = _unpack(theta)
    share = expit(theta[2])
    return np.array([[r, 0, 0, 0], [alpha, -alpha, 0, 0], [0, 0, a * (1 - share), a], [0, 0, -b * share, b]])


def _sum(weights: np.ndarray, values: np.ndarray) -> float:
    """Weighted sum without BLAS, whose threads wait for each other: on a busy machine a fit took 80 times as long."""
    return float((weights * values).sum())


class _Objective:
    """Minus the mean log-likelihood and its gradient by theta, over histories of which each distinct one is held once."""

    def __init__(self, x: np.ndarray, t_x: np.ndarray, T: np.ndarray, n: np.ndarray):
        self.x, self.t_x, self.T, self.n, self.total = x, t_x, T, n, n.sum()
        self.each_x, place = np.unique(x, return_inverse=True)
        self.n_of_x = np.bincount(place, n)

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        r, alpha, a, b = _unpack(theta)
        still, gone = _still_and_gone(r, alpha, a, b, self.x, self.t_x, self.T)
        X, x_or_1 = self.each_x, np.maximum(self.x, 1)
        of_x = gammaln(r + X) - gammaln(r) + gammaln(a + b) + gammaln(b + X) - gammaln(b) - gammaln(a + b + X)
        value = _sum(self.n_of_x, of_x + r * np.log(alpha)) + _sum(self.n, np.logaddexp(still, gone))

        alive = self.n * expit(still - gone)
        stopped = self.n - alive
        at_T, at_t = alpha + self.T, alpha + self.t_x
        both = _sum(self.n_of_x, digamma(a + b) - digamma(a + b + X))
        slope = [
            _sum(self.n_of_x, digamma(r + X) - digamma(r) + np.log(alpha))
            - (alive * np.log(at_T) + stopped * np.log(at_t)).sum(),
            self.total * r / alpha - _sum(r + self.x, alive / at_T + stopped / at_t),
            both + stopped.sum() / a,
            both + _sum(self.n_of_x, digamma(b + X) - digamma(b)) - (stopped / (b + x_or_1 - 1)).sum(),
        ]
        return -value / self.total, -(slope @ _slopes(theta)) / self.total

    def minimum(self, starts, bounds) -> tuple[np.ndarray, float]:
        """(theta, value) of the lowest end of a descent from each start; a tie goes to the first."""
        found = [
            minimize(self, start, jac=True, method="L-BFGS-B", bounds=bounds,
                     options={"maxiter": 1000, "maxfun": 3000, "ftol": 1e-15, "gtol": 1e-9})
            for start in starts
        ]  # fmt: skip
        best = min(found, key=lambda end: end.fun)
        return best.x, float(best.fun)

    def hessian(self, theta: np.ndarray, step: float = 1e-4) -> np.ndarray:
        """Second derivatives by theta, by central differences of the gradient."""
        rows = [(self(theta + step * e)[1] - self(theta - step * e)[1]) / (2 * step) for e in np.eye(4)]
        return (np.array(rows) + np.array(rows).T) / 2


def fit_parameters(x, t_x, T) -> Parameters:
    """Maximum likelihood of BG/NBD over histories in any unit of time; order of rows and unit change nothing.

    NotYet if nobody bought twice, or if leaving explains nothing that different rates do not. PlatformError if those
    who bought twice are fewer than MIN_REPEAT_BUYERS. A parameter at a bound, or that the data do not determine, is
    named in the notes.
    """
    rows = pd.DataFrame({"x": x, "t_x": t_x, "T": T}, dtype=float)
    _refuse_without_repeats(rows)
    if (n_repeat := int((rows["x"] > 0).sum())) < MIN_REPEAT_BUYERS:
        raise PlatformError(
            f"churn: {n_repeat} of {len(rows):,} customers bought on a second day, and {MIN_REPEAT_BUYERS} are needed "
            "to fit on. Load more history."
        )
    groups = rows.groupby(["x", "t_x", "T"]).size()
    x, t_x, T = (groups.index.get_level_values(k).to_numpy() for k in rows.columns)
    n = groups.to_numpy(float)
    unit = float(_sum(n, T) / n.sum())
    objective = _Objective(x, t_x / unit, T / unit, n)
    rate = np.log(_sum(n, x) / n.sum())
    theta, value = objective.minimum([(r, rate, p, s) for r, p, s in STARTS], BOUNDS)
    staying = [(BOUNDS[2][0],) * 2, (0.0, 0.0)]  # nobody ever stops: plain NBD
    gain = objective.total * (
        objective.minimum([(r, rate, -16.0, 0.0) for r in (-1.0, 1.0)], BOUNDS[:2] + staying)[1] - value
    )
    if gain < SIGN_OF_LEAVING:
        raise NotYet(
            f"churn: their own rhythms explain all silence of {len(rows):,} customers, {n_repeat:,} of whom bought again, so "
            "nothing can be learned of leaving yet"
        )
    errors, notes = _certainty(objective, theta)
    r, alpha, a, b = (float(p) for p in _unpack(theta))
    return Parameters(r, alpha * unit, a, b, float(-value * n.sum() - _sum(n, x) * np.log(unit)),
                      {"r": errors[0], "alpha": errors[1] * unit, "a": errors[2], "b": errors[3]}, notes)  # fmt: skip


def _refuse_without_repeats(rows: pd.DataFrame) -> None:
    if not (rows["x"] > 0).any():
        raise NotYet(
            f"churn: nobody of {len(rows):,} customers has bought on a second day yet, so there is nothing to learn from"
        )


def _certainty(objective: _Objective, theta: np.ndarray) -> tuple[list[float], tuple[str, ...]]:
    """(standard errors of r, alpha, a, b from the observed information, notes on what the data do not determine)."""
    ends = [[abs(value - end) < 0.01 for end in bound] for value, bound in zip(theta, BOUNDS, strict=True)]
    free = np.flatnonzero(~np.any(ends, axis=1))
    covariance = np.full((4, 4), np.nan)
    information = objective.total * objective.hessian(theta)[np.ix_(free, free)]
    if np.linalg.cond(information) < 1e12:
        covariance[np.ix_(free, free)] = np.linalg.inv(information)
    slopes = _slopes(theta)
    with np.errstate(invalid="ignore"):  # a negative variance: not at a maximum in that direction, so nan
        loose = np.sqrt(np.diag(covariance))
        errors = [float(np.sqrt(s[s != 0] @ covariance[np.ix_(s != 0, s != 0)] @ s[s != 0])) for s in slopes]
    notes = [AT_BOUND[j, k] for j in range(4) for k in range(2) if ends[j][k] and (j, k) in AT_BOUND]
    names = ("r", "the mean rate r / alpha", "the mean dropout a / (a + b)", "a + b")
    notes += [f"{names[j]} is not determined by the data" for j in free if not loose[j] <= LOOSE]
    return errors, tuple(notes)


def average_over_dropout(f, f0: np.ndarray, a: float, b: np.ndarray) -> np.ndarray:
    """E[f(p)] for p ~ Beta(a, b[i]); f takes p as (rows, any) and is smooth, f0 is its limit at 0 of each row.

    The hypergeometric functions of the paper are such means, but as series they cancel for a near 1, overflow for many
    purchases and lose digits for a short age. Here the straight line from f0 to f(1) is averaged exactly, and the
    rest, which is 0 at both ends, by the trapezoid rule in logit p: its error falls exponentially whatever a and b are.
    """
    centre = digamma(a + 1) - digamma(b + 1)
    width = np.sqrt(polygamma(1, a + 1) + polygamma(1, b + 1))
    u = centre[:, None] + width[:, None] * NODES
    log_p, log_q = log_expit(u), log_expit(-u)
    density = (a + 1) * log_p + (b[:, None] + 1) * log_q
    density = np.exp(density - density.max(axis=1, keepdims=True))
    p, q = np.exp(log_p), np.exp(log_q)
    f1 = f(np.ones((len(b), 1)))[:, 0]
    rest = (f(p) - f0[:, None] * q - f1[:, None] * p) / (p * q)
    mean_rest = (density * rest).sum(axis=1) / density.sum(axis=1)  # under Beta(a + 1, b + 1)
    total = a + b
    return (f0 * b + f1 * a) / total + a * b / (total * (total + 1)) * mean_rest


class _Purchases(BaseEstimator):
    """What both models of purchases answer, each from what it says of plain histories (p_alive_of, stops_of, ...).

    X has COLUMNS and ds; results are for the rows who ever bought, under their index.
    """

    def __init__(self, contact_quantile: float = 0.75):
        self.contact_quantile = contact_quantile

    def _each(self, X: pd.DataFrame, compute) -> pd.Series:
        """compute(x, t_x, T) as a Series; equal histories are computed once."""
        rows = read_histories(X)
        place = rows.groupby(["x", "t_x", "T"]).ngroup().to_numpy()
        distinct = rows.drop_duplicates().sort_values(["x", "t_x", "T"]).to_numpy()
        parts = [compute(*part.T) for part in np.array_split(distinct, len(distinct) // CHUNK + 1)]
        return pd.Series(np.concatenate(parts)[place], rows.index)

    def p_alive(self, X: pd.DataFrame) -> pd.Series:
        """Probability that the customer has not stopped by the day of the row."""
        return self._each(X, self.p_alive_of)

    def survival(self, X: pd.DataFrame, days: float) -> pd.Series:
        """Probability that the customer has not stopped by the day of the row, nor `days` later."""
        return self._each(X, lambda x, t_x, T: self.p_alive_of(x, t_x, T) * (1 - self.stops_of(x, T, days)))

    def expected_purchases(self, X: pd.DataFrame, days: float) -> pd.Series:
        """Expected days with a purchase in the next `days`."""
        return self._each(X, lambda x, t_x, T: self.p_alive_of(x, t_x, T) * self.purchases_of(x, T, days))

    def purchase_probability(self, X: pd.DataFrame, days: float) -> pd.Series:
        """Probability of at least one purchase in the next `days`."""
        return self._each(X, lambda x, t_x, T: self.p_alive_of(x, t_x, T) * self.buys_of(x, T, days))

    def predict(self, X: pd.DataFrame) -> pd.DataFrame:
        """survival_30d/60d/90d, churn_risk_30d, drivers, best_contact_date of those who ever bought.

        survival_*: probability of still being a customer then, as in the model of contracts; nobody gives notice here,
        so it includes that the customer may have left already. churn_risk_30d = 1 - survival_30d: gone by then.
        best_contact_date: the next day on which the silence since the last purchase grows longer than contact_quantile
        of this customer's gaps, as known at that purchase, or, where it is longer already, than the same share of
        those gaps that are longer still, and so on: a customer becomes due ever more rarely, not every day once
        overdue. Between the day after ds and CONTACT_DAYS after it.
        """
        table = pd.DataFrame({f"survival_{h}d": self.survival(X, h) for h in HORIZONS})
        table["churn_risk_30d"] = 1 - table["survival_30d"]
        table["drivers"] = self._drivers(X)
        days = np.clip(self._each(X, self._due_in), 1, CONTACT_DAYS)
        ds = pd.to_datetime(X.loc[table.index, "ds"])
        table["best_contact_date"] = (ds + pd.to_timedelta(days, unit="D")).dt.strftime("%Y-%m-%d")
        return table

    def _due_in(self, x, t_x, T) -> np.ndarray:
        """Days from T to the first whole day past the next level of silence; levels are equal steps of its hazard."""
        step, silence = -np.log1p(-self.contact_quantile), T - t_x
        level = np.floor(self.gap_hazard(x, t_x, silence) / step + 1e-9) + 1
        return np.floor(self.gap_days(x, t_x, level * step) - silence) + 1

    def _drivers(self, X: pd.DataFrame) -> list[str]:
        """The customer's rhythm, silence and expected purchases in words."""
        rows = read_histories(X)
        expected = self.expected_purchases(X, CONTACT_DAYS)
        return [
            f"bought {f'on {x + 1:.0f} days, {_in_days(t_x / x)} apart' if x else 'once'}; silent for {_in_days(T - t_x)}; "
            f"{n:.1f} purchases expected in {CONTACT_DAYS} days"
            for x, t_x, T, n in zip(rows["x"], rows["t_x"], rows["T"], expected, strict=True)
        ]


def _in_days(n: float) -> str:
    return f"{n:.0f} day{'' if round(n) == 1 else 's'}"


class PurchaseModel(_Purchases):
    """BG/NBD: each customer has a rhythm and a probability of stopping of their own."""

    def fit(self, X: pd.DataFrame, y: pd.DataFrame | None = None) -> "PurchaseModel":
        """Fit parameters_ (alpha in days) on the histories of X; there are no labels, leaving is never seen."""
        self.parameters_ = fit_parameters(*read_histories(X).to_numpy().T)
        self.notes_ = self.parameters_.notes
        return self

    def p_alive_of(self, x, t_x, T) -> np.ndarray:
        """Probability of being alive at T; 1 for x = 0."""
        p = self.parameters_
        still, gone = _still_and_gone(p.r, p.alpha, p.a, p.b, x, t_x, T)
        return expit(still - gone)

    def stops_of(self, x, T, days) -> np.ndarray:
        """Probability of stopping within `days` of T for who is alive at T.

        Alive at T means lambda ~ Gamma(r + x, alpha + T) and p ~ Beta(a, b + x), independent. Purchases that stop a
        customer come at rate lambda p, so averaged over lambda it is 1 - (1 + p z)^-k with k = r + x and
        z = days / (alpha + T), and averaged over p, 1 - 2F1(k, a; a + b + x; -z).
        """
        stops = self._thinned(x, T, days)
        return average_over_dropout(stops, np.zeros(len(x)), self.parameters_.a, self.parameters_.b + x)

    def purchases_of(self, x, T, days) -> np.ndarray:
        """Expected purchases within `days` of T for who is alive at T.

        1 / p purchases come to one that stops, so it is the mean over p of P(stopped | p) / p: the paper's conditional
        expectation without its pole at a = 1.
        """
        p, stops = self.parameters_, self._thinned(x, T, days)
        rate = (p.r + x) * days / (p.alpha + T)
        return average_over_dropout(lambda share: stops(share) / share, rate, p.a, p.b + x)

    def buys_of(self, x, T, days) -> np.ndarray:
        """Probability of a purchase within `days` of T for who is alive at T: nobody stops before it."""
        return self._thinned(x, T, days)(1.0)[:, 0]

    def _thinned(self, x, T, days):
        """The function p -> probability, for who is alive at T, of at least one within `days` of a share p of purchases."""
        k, z = (self.parameters_.r + x)[:, None], (days / (self.parameters_.alpha + T))[:, None]
        return lambda p: -np.expm1(-k * np.log1p(p * z))

    def gap_hazard(self, x, t_x, days) -> np.ndarray:
        """Cumulative hazard of the gap after the last purchase at `days`: Lomax, with lambda as known at that purchase.

        After one purchase a customer's own rhythm is unknown: then it is that of the population's purchases, where
        rates count by how often they buy, Gamma(r + 1, alpha).
        """
        return (self.parameters_.r + np.maximum(x, 1)) * np.log1p(days / (self.parameters_.alpha + t_x))

    def gap_days(self, x, t_x, hazard) -> np.ndarray:
        """The days at which gap_hazard is `hazard`."""
        return (self.parameters_.alpha + t_x) * np.expm1(hazard / (self.parameters_.r + np.maximum(x, 1)))


class SilenceOnly(_Purchases):
    """The baseline: one rate of buying and one of leaving for everybody, so that only the silence tells.

    Pareto/NBD (Schmittlein, Morrison & Colombo 1987) without its differences between customers: of the three numbers
    of a history, the probability of being alive depends on T - t_x alone.
    """

    def fit(self, X: pd.DataFrame, y: pd.DataFrame | None = None) -> "SilenceOnly":
        """Maximum likelihood of rate_ and leaving_ (both per day). NotYet if nobody bought twice."""
        rows = read_histories(X)
        _refuse_without_repeats(rows)
        groups = rows.groupby(["x", "t_x", "T"]).size()
        x, t_x, T = (groups.index.get_level_values(k).to_numpy() for k in rows.columns)
        n = groups.to_numpy(float)
        unit = _sum(n, T) / n.sum()

        def loss(theta):
            rate, leaving = np.exp(theta)
            both = rate + leaving
            ends = np.logaddexp(theta[1] - both * t_x / unit, theta[0] - both * T / unit)
            return -_sum(n, x * theta[0] + ends - np.log(both)) / n.sum()

        start = (np.log(_sum(n, x) / n.sum()), 0.0)
        found = minimize(loss, start, method="L-BFGS-B", bounds=[(-16, 16)] * 2)
        self.rate_, self.leaving_ = (float(v) for v in np.exp(found.x) / unit)
        return self

    def p_alive_of(self, x, t_x, T) -> np.ndarray:
        """Probability of being alive at T after a silence of T - t_x."""
        both = self.rate_ + self.leaving_
        return 1 / (1 + self.leaving_ / both * np.expm1(np.minimum(both * (T - t_x), 700.0)))

    def stops_of(self, x, T, days) -> np.ndarray:
        """Probability of leaving within `days` for who is alive."""
        return np.full(np.shape(x), -np.expm1(-self.leaving_ * days))

    def purchases_of(self, x, T, days) -> np.ndarray:
        """Expected purchases within `days` for who is alive."""
        return self.rate_ / self.leaving_ * self.stops_of(x, T, days)

    def buys_of(self, x, T, days) -> np.ndarray:
        """Probability of a purchase within `days` for who is alive."""
        both = self.rate_ + self.leaving_
        return np.full(np.shape(x), -self.rate_ / both * np.expm1(-both * days))

    def gap_hazard(self, x, t_x, days) -> np.ndarray:
        """Cumulative hazard of the gap after a purchase: everybody buys at one rate."""
        return self.rate_ * days

    def gap_days(self, x, t_x, hazard) -> np.ndarray:
        """The days at which gap_hazard is `hazard`."""
        return hazard / self.rate_


def make_estimator(contact_quantile) -> PurchaseModel:
    """The unfitted model."""
    return PurchaseModel(contact_quantile)


def make_baseline() -> SilenceOnly:
    """The unfitted baseline."""
    return SilenceOnly()


def evaluate(estimator, X: pd.DataFrame, y: pd.DataFrame) -> Evaluation:
    """Judge on what customers bought after the day of X: y.n_order_days, days with a purchase in y.followed_days.

    auc: does the probability of a purchase in that time rank those who bought above those who did not. brier: its mean
    squared error. calibration_error: mean absolute gap between it and the observed share in ten bins.
    expected_over_observed: predicted purchase days over those seen.
    """
    n = y.set_index(X.index)["n_order_days"].loc[read_histories(X).index].to_numpy(float)
    followed = float(y["followed_days"].max())
    came = (n > 0).astype(int)
    if not len(n) or came.min() == came.max():
        raise PlatformError(
            f"churn: of {len(n):,} customers {'all' if came.any() else 'nobody'} bought in the {followed:g} days to judge "
            "on; use more history."
        )
    probability = estimator.purchase_probability(X, followed).to_numpy()
    expected = estimator.expected_purchases(X, followed).to_numpy()
    bins = calibration_bins(came, probability)
    metrics = {
        "auc": float(roc_auc_score(came, probability)),
        "brier": float(np.mean((probability - came) ** 2)),
        "calibration_error": float(np.average((bins["predicted"] - bins["observed"]).abs(), weights=bins["n"])),
        "expected_over_observed": float(expected.sum() / n.sum()),
        "n_returned": float(came.sum()),
    }
    rows = X.loc[read_histories(X).index, ["customer_id", "n_order_days_total"]].reset_index(drop=True)
    rows = rows.assign(n_order_days=n, purchase_probability=probability, expected_purchases=expected)
    return Evaluation(metrics, rows, getattr(estimator, "notes_", ()))


def plot(estimator, evaluation: Evaluation) -> dict:
    """Purchases after the day of judging, seen and expected, by purchases before it; calibration of coming back."""
    from ml.plots import figure

    fig, (left, right) = figure(2)
    rows = evaluation.rows
    means = rows.groupby(rows["n_order_days_total"].clip(upper=8))[["n_order_days", "expected_purchases"]].mean()
    left.plot(means, marker="o", label=["seen", "expected"])
    left.legend()
    left.set(title="purchases while followed", xlabel="days with a purchase before (8: and more)")
    bins = calibration_bins((rows["n_order_days"] > 0).to_numpy(int), rows["purchase_probability"].to_numpy())
    right.plot(bins["predicted"], bins["observed"], marker="o")
    right.plot([0, bins["predicted"].max()], [0, bins["predicted"].max()], linestyle=":")
    right.set(title="calibration", xlabel="predicted share who buy", ylabel="observed share")
    return {"bgnbd": fig}
