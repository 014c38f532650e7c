"""Churn: how long a membership lasts, as survival from registration with delayed entry and right censoring.

Two models of the same covariates are fitted with lifelines and the one that ranks held-out customers better predicts:
Weibull accelerated failure time, S(t|x) = exp(-(t / exp(b0 + x'b))^rho), and Cox's proportional hazards (Cox 1972)
with Breslow's baseline. Customers registered before observation began enter the risk set at their age on that day:
counting their time from registration without that would take the survivors for the rule. What is registered holds
plain arrays; predicting needs numpy and pandas, not lifelines.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from ml.evaluation import Evaluation
from warehouse.errors import NotYet, PlatformError

HORIZONS = (30, 60, 90)
CONTACT_DAYS = 90  # how far ahead a contact is planned
MIN_LIFETIME = 0.5  # days; who leaves on the day of entry was at risk for part of it
MAX_LEVELS = 30  # of one column; terms are columns of a dense matrix
MIN_LEVEL_ROWS = 10  # fewer rows of a level say nothing, and may all fall into the part that judges
OTHER = "(other)"
BASELINE_WINDOW = 180  # days over which Cox's baseline is continued beyond the longest tenure seen


class Design(BaseEstimator):
    """Turns customers into 0/1 terms: numeric columns in bands, levels except the most frequent of each column.

    Terms are bounded whatever a column holds: its MAX_LEVELS most frequent levels, the others and those of fewer than
    MIN_LEVEL_ROWS rows together. Terms that say nothing new are left out, not refused: real attributes repeat each
    other ("no internet service" in six columns). `left_out_` says which and why.
    """

    def __init__(self, categorical: list[str], bands: dict[str, list[float]]):
        self.categorical = categorical
        self.bands = bands

    def fit(self, X: pd.DataFrame, rows: np.ndarray | None = None) -> "Design":
        """Learn levels, references and means; a term must say something new within `rows` (positions; all if None).

        PlatformError if no term is left.
        """
        rows = np.arange(len(X)) if rows is None else rows
        self.kept_levels_, self.terms_, self.left_out_ = {}, [], {}
        for column, values in self._levels(X).items():
            counts = values.value_counts()
            counts = counts.loc[sorted(counts.index, key=lambda level, n=counts: (-n[level], level))]
            own = counts.index[counts >= MIN_LEVEL_ROWS][:MAX_LEVELS]
            self.kept_levels_[column] = set(own)
            rest = int(counts.drop(own).sum())
            levels = [*own, *([OTHER] if rest >= MIN_LEVEL_ROWS else [])]
            if len(levels) < 2:
                self.left_out_[column] = "it has one value" if len(counts) < 2 else "all but one of its values are rare"
            self.terms_ += [(column, level) for level in sorted(levels[1:])]
        terms = self.transform(X)
        new = find_independent(terms.to_numpy()[rows])
        for keep, name in zip(new, terms.columns, strict=True):
            if not keep:
                self.left_out_[name] = "other columns say the same"
        self.terms_ = [term for keep, term in zip(new, self.terms_, strict=True) if keep]
        if not self.terms_:
            raise PlatformError(
                f"churn: none of {', '.join([*self.categorical, *self.bands])} tells customers apart. "
                "Name other columns in ml/models.yml."
            )
        self.means_ = terms.to_numpy()[:, new].mean(axis=0)
        return self

    def _levels(self, X: pd.DataFrame) -> dict[str, pd.Series]:
        levels = {c: X[c].fillna("unknown").astype(str) for c in self.categorical}
        for column, edges in self.bands.items():
            middle = [f"{low:g}-{high - 1:g}" for low, high in pairwise(edges)]
            names = np.array([f"<{edges[0]:g}", *middle, f"{edges[-1]:g}+"])
            place = np.searchsorted(edges, X[column].astype(float), side="right")
            levels[column] = pd.Series(names[place], index=X.index).where(X[column].notna(), "unknown")
        return levels

    def levels(self, X: pd.DataFrame) -> dict[str, pd.Series]:
        """Column -> level of each row as the terms know it: rare ones, and ones not seen in fitting, are OTHER."""
        return {c: v.where(v.isin(self.kept_levels_[c]), OTHER) for c, v in self._levels(X).items()}

    def transform(self, X: pd.DataFrame) -> pd.DataFrame:
        """One 0/1 float column per term; a level without a term counts as the reference."""
        levels = self.levels(X)
        return pd.DataFrame(
            {f"{column} {level}": (levels[column] == level).astype(float) for column, level in self.terms_},
            index=X.index,
        )


def find_independent(terms: np.ndarray) -> np.ndarray:
    """Bool per column of a finite matrix: not constant, and no linear combination of the kept columns before it.

    lifelines otherwise fails to converge or returns large opposite coefficients. (Gram-Schmidt, twice for accuracy.)
    """
    kept = [np.full(len(terms), 1 / np.sqrt(max(len(terms), 1)))]
    new = np.zeros(terms.shape[1], bool)
    for place, column in enumerate(terms.T):
        basis = np.array(kept)
        rest = column - basis.T @ (basis @ column)
        rest -= basis.T @ (basis @ rest)
        size = np.linalg.norm(rest)
        if size > 1e-6 * np.linalg.norm(column):
            new[place] = True
            kept.append(rest / size)
    return new


class WeibullCurve:
    """A fitted Weibull AFT as proportional hazards: H(t|x) = (t / scale)^rho * exp(x'beta)."""

    kind = "weibull_aft"

    def __init__(self, fitter, columns: pd.Index):
        self.rho = float(np.exp(fitter.params_["rho_"]["Intercept"]))
        self.scale = float(np.exp(fitter.params_["lambda_"]["Intercept"]))
        # t/lambda to the power rho: a longer life by exp(b) is a smaller hazard by exp(-rho b)
        self.beta = -self.rho * fitter.params_["lambda_"].reindex(columns, fill_value=0.0).to_numpy()

    def cumulative(self, days: np.ndarray) -> np.ndarray:
        """Baseline cumulative hazard at `days` since registration."""
        return (np.maximum(days, 0) / self.scale) ** self.rho


class CoxCurve:
    """A fitted Cox model: Breslow's baseline in steps, continued beyond the last one at its recent mean rate.

    The baseline is computed here because lifelines 0.30.3 counts customers as at risk before their entry: at early
    tenures its baseline came out at a quarter of what the Weibull model of the same data says.
    """

    kind = "cox_ph"

    def __init__(self, beta: np.ndarray, design: pd.DataFrame, y: pd.DataFrame):
        self.beta = beta
        self.days, self.steps = breslow(np.exp(design.to_numpy() @ beta), y)
        start = np.interp(self.days[-1] - BASELINE_WINDOW, self.days, self.steps, left=0.0)
        self.rate = (self.steps[-1] - start) / min(BASELINE_WINDOW, self.days[-1])

    def cumulative(self, days: np.ndarray) -> np.ndarray:
        """Baseline cumulative hazard at `days` since registration."""
        place = np.searchsorted(self.days, days, side="right")
        known = np.concatenate([[0.0], self.steps])[place]
        return known + self.rate * np.maximum(days - self.days[-1], 0)


def fit_weibull(design: pd.DataFrame, y: pd.DataFrame, penalizer: float) -> WeibullCurve:
    """Weibull AFT by maximum likelihood with entry; y has entry_days, duration_days, is_churned."""
    from lifelines import WeibullAFTFitter

    fitter = WeibullAFTFitter(penalizer=penalizer)
    fitter.fit(pd.concat([design, y], axis=1), "duration_days", "is_churned", entry_col="entry_days")
    return WeibullCurve(fitter, design.columns)


def fit_cox(design: pd.DataFrame, y: pd.DataFrame, penalizer: float) -> CoxCurve:
    """Cox proportional hazards by partial likelihood (Efron's ties) with entry; y as for fit_weibull."""
    from lifelines import CoxPHFitter

    fitter = CoxPHFitter(penalizer=penalizer)
    fitter.fit(pd.concat([design, y], axis=1), "duration_days", "is_churned", entry_col="entry_days")
    return CoxCurve(fitter.params_.reindex(design.columns).to_numpy(), design, y)


def breslow(hazard_ratio: np.ndarray, y: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(days with departures, baseline cumulative hazard on them): sum of departures over the hazard ratios at risk.

    At risk at t: entry < t <= duration. (Breslow 1972, with the risk sets of left-truncated data.)
    """
    entry, end = y["entry_days"].to_numpy(float), y["duration_days"].to_numpy(float)
    days, n_gone = np.unique(end[y["is_churned"].to_numpy(bool)], return_counts=True)

    def summed_from(times: np.ndarray) -> np.ndarray:
        order = np.argsort(times)
        tail = np.concatenate([np.cumsum(hazard_ratio[order][::-1])[::-1], [0.0]])
        return tail[np.searchsorted(times[order], days, side="left")]

    return days, np.cumsum(n_gone / (summed_from(end) - summed_from(entry)))


def truncated_c_index(risk: np.ndarray, y: pd.DataFrame) -> float:
    """Harrell's C with delayed entry: share ranked right of the pairs of one leaving at t and one at risk at t.

    At risk at t: entry < t < duration. Ties in risk count half. NaN if there is no such pair. (Harrell 1982; risk sets
    as in Cox's partial likelihood under left truncation.)
    """
    entry, end = y["entry_days"].to_numpy(float), y["duration_days"].to_numpy(float)
    right = pairs = 0.0
    for i in np.flatnonzero(y["is_churned"].to_numpy(bool)):
        others = risk[(entry < end[i]) & (end > end[i])]
        right += (others < risk[i]).sum() + 0.5 * (others == risk[i]).sum()
        pairs += len(others)
    return right / pairs if pairs else float("nan")


class ChurnModel(BaseEstimator):
    """Survival of memberships: at 30/60/90 days given the tenure, what drives the risk, when to make contact."""

    def __init__(self, categorical, bands, contact_survival: float, penalizer: float, seed: int):
        self.categorical = categorical
        self.bands = bands
        self.contact_survival = contact_survival
        self.penalizer = penalizer
        self.seed = seed

    def fit(self, X: pd.DataFrame, y: pd.DataFrame) -> "ChurnModel":
        """Fit both models on three quarters of the customers, keep the better on the last quarter, fit it again on all.

        A customer has a row for each time between two changes. y, in days since registration: entry_days (the time
        begins), duration_days (it ends), is_churned. Columns that X lacks are not learned from.
        """
        y = y.assign(duration_days=np.maximum(y["duration_days"], y["entry_days"] + MIN_LIFETIME))
        if not y["is_churned"].any():
            raise NotYet(f"churn: nobody of {len(y):,} customers has left yet, so there is nothing to learn from")
        if y["is_churned"].sum() < 2 * len(self.categorical):
            raise PlatformError(
                f"churn: {int(y['is_churned'].sum())} departures are too few to fit on. Load more history."
            )
        customer, customers = pd.factorize(X["customer_id"])
        order = np.random.default_rng(self.seed).permutation(len(customers))
        is_held = np.isin(customer, order[: len(customers) // 4])
        held, kept = np.flatnonzero(is_held), np.flatnonzero(~is_held)
        bands = {column: edges for column, edges in self.bands.items() if column in X}
        self.design_ = Design([column for column in self.categorical if column in X], bands).fit(X, kept)
        design = self.design_.transform(X)
        if self.design_.left_out_:
            named = "; ".join(f"{term} ({why})" for term, why in self.design_.left_out_.items())
            self.notes_ = [f"left out of the terms: {named}"]
        self.validation_ = {}
        for fit_one in (fit_weibull, fit_cox):
            curve = fit_one(design.iloc[kept], y.iloc[kept], self.penalizer)
            self.validation_[curve.kind] = truncated_c_index(design.iloc[held].to_numpy() @ curve.beta, y.iloc[held])
        # a tie goes to Weibull: it extrapolates smoothly
        cox_wins = self.validation_["cox_ph"] > self.validation_["weibull_aft"]
        self.curve_ = (fit_cox if cox_wins else fit_weibull)(design, y, self.penalizer)
        return self

    def hazard(self, X: pd.DataFrame, days: np.ndarray) -> np.ndarray:
        """Cumulative hazard from today to `days` ahead given survival to today: array (rows, days)."""
        tenure = X["tenure_days"].to_numpy(float)[:, None]
        baseline = self.curve_.cumulative(tenure + days) - self.curve_.cumulative(tenure)
        return baseline * np.exp(self.design_.transform(X).to_numpy() @ self.curve_.beta)[:, None]

    def predict(self, X: pd.DataFrame) -> pd.DataFrame:
        """The table of `tabulate`; X has ds, tenure_days and the covariates."""
        return tabulate(X, self.hazard(X, np.arange(1, CONTACT_DAYS + 1)), self._drivers(X), self.contact_survival)

    def _drivers(self, X: pd.DataFrame) -> list[str]:
        """The two terms that raise a customer's hazard most, each against the average customer in percent."""
        design = self.design_.transform(X).to_numpy()
        columns = list(dict.fromkeys(column for column, _ in self.design_.terms_))
        member = np.array([[column == c for c in columns] for column, _ in self.design_.terms_], float)
        effects = ((design - self.design_.means_) * self.curve_.beta) @ member
        levels = self.design_.levels(X)
        names = np.column_stack([levels[c].to_numpy(str) for c in columns])
        texts = []
        for row, order in enumerate(np.argsort(-effects, axis=1, kind="stable")[:, :2]):
            raising = [
                f"{columns[c]} {names[row, c]} {np.expm1(effects[row, c]):+.0%}"
                for c in order
                if effects[row, c] > 0.02
            ]
            texts.append("; ".join(raising) or "nothing above average")
        return texts


class ConstantHazard(BaseEstimator):
    """The baseline: departures per day at risk, the same for everybody (an exponential lifetime)."""

    def __init__(self, contact_survival: float = 0.9):
        self.contact_survival = contact_survival

    def fit(self, X: pd.DataFrame, y: pd.DataFrame) -> "ConstantHazard":
        """Maximum likelihood of the exponential with entry: events over time observed."""
        observed = np.maximum(y["duration_days"] - y["entry_days"], MIN_LIFETIME)
        self.rate_ = float(y["is_churned"].sum() / observed.sum())
        return self

    def hazard(self, X: pd.DataFrame, days: np.ndarray) -> np.ndarray:
        """Cumulative hazard `days` ahead: array (rows, days)."""
        return np.tile(self.rate_ * days, (len(X), 1))

    def predict(self, X: pd.DataFrame) -> pd.DataFrame:
        """The table of `tabulate`."""
        drivers = ["the same for everybody"] * len(X)
        return tabulate(X, self.hazard(X, np.arange(1, CONTACT_DAYS + 1)), drivers, self.contact_survival)


def tabulate(X: pd.DataFrame, hazard: np.ndarray, drivers: list[str], contact_survival: float) -> pd.DataFrame:
    """survival_30d/60d/90d, churn_risk_30d, drivers, best_contact_date from cumulative hazards (rows, next 90 days).

    best_contact_date: the first of the next 90 days on which survival from today falls below contact_survival, else
    the last.
    """
    survival = np.exp(-hazard)
    below = survival < contact_survival
    days = np.where(below.any(axis=1), below.argmax(axis=1), CONTACT_DAYS - 1) + 1
    dates = (pd.to_datetime(X["ds"]) + pd.to_timedelta(days, unit="D")).dt.strftime("%Y-%m-%d")
    table = {f"survival_{h}d": survival[:, h - 1] for h in HORIZONS}
    table |= {"churn_risk_30d": 1 - survival[:, 29], "drivers": drivers, "best_contact_date": dates}
    return pd.DataFrame(table, index=X.index)


def make_estimator(
    categorical: list[str], bands: dict[str, list[int | float]], contact_survival: float, penalizer: float, seed: int
) -> ChurnModel:
    """The unfitted model."""
    return ChurnModel(categorical, bands, contact_survival, penalizer, seed)


def make_baseline() -> ConstantHazard:
    """The unfitted baseline."""
    return ConstantHazard()


def evaluate(estimator, X: pd.DataFrame, y: pd.DataFrame) -> Evaluation:
    """Judge on customers alive at the cutoff and followed from there: X as of the cutoff, y.duration_days since then.

    c_index: Harrell's C of the risk to leave within the time followed, all being at risk from day 0. brier_30d: mean
    squared error of the 30-day risk over those followed that long or gone before. expected_over_observed: predicted
    departures over those seen.
    """
    followed = float(y["duration_days"].max())
    risk = estimator.hazard(X, np.array([followed]))[:, 0]
    since = y.assign(entry_days=-1.0)
    gone = y["is_churned"].to_numpy(bool)
    if not gone.any():
        raise PlatformError(
            f"churn: nobody of {len(y)} customers left in the {followed:g} days to judge on; use more history."
        )
    known = (y["duration_days"] >= 30).to_numpy() | gone
    left = (gone & (y["duration_days"] <= 30).to_numpy())[known]
    risk_30 = -np.expm1(-estimator.hazard(X, np.array([30]))[:, 0])[known]
    metrics = {
        "c_index": truncated_c_index(risk, since),
        "brier_30d": float(np.mean((risk_30 - left) ** 2)),
        "expected_over_observed": float(-np.expm1(-risk).sum() / gone.sum()),
        "n_churned": float(gone.sum()),
    }
    for kind, value in getattr(estimator, "validation_", {}).items():
        metrics[f"validation_c_index_{kind}"] = value
    rows = pd.DataFrame({"customer_id": X["customer_id"].to_numpy()}).join(y.reset_index(drop=True))
    return Evaluation(metrics, rows.assign(risk=risk), tuple(getattr(estimator, "notes_", ())))


def plot(estimator, evaluation: Evaluation) -> dict:
    """Hazard ratios of the terms, and share lost by fifth of predicted risk."""
    from ml.plots import figure

    fig, (left, right) = figure(2)
    names = [f"{column} {level}" for column, level in estimator.design_.terms_]
    left.barh(range(len(names)), np.exp(estimator.curve_.beta))
    left.set_yticks(range(len(names)), names, fontsize=7)
    left.axvline(1, color="black", linewidth=0.8)
    left.set_title(f"hazard ratio ({estimator.curve_.kind})")
    fifth = pd.qcut(evaluation.rows["risk"].rank(method="first"), 5, labels=False)
    lost = evaluation.rows["is_churned"].groupby(fifth).mean()
    right.bar(lost.index + 1, lost)
    right.set(title="share lost while followed", xlabel="fifth of predicted risk")
    return {"churn": fig}
