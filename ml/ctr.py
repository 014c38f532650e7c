"""Click probability: L2 logistic regression on one-hot columns and all their pairs.

Clicks depend on combinations (a format that works in one placement only), and which ones is not known, so every pair
of declared columns gets its own one-hot cross, and the L2 penalty, chosen on the newest rows, keeps those without
evidence near zero. Classes are weighted because clicks are rare; weighting w shifts the log-odds by log(w1/w0), which
is subtracted again (prior correction, King & Zeng, "Logistic Regression in Rare Events Data", 2001), and a last
constant makes the mean prediction the base rate.
"""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.sparse import csr_matrix
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from ml.evaluation import Evaluation
from warehouse.errors import NotYet, PlatformError

CALIBRATION_BINS = 10


class PairEncoder(BaseEstimator):
    """Maps rows to the positions of their ones: one per column and one per pair of columns.

    A value not seen in fitting goes to a position that no fitted row has, so its coefficient stays zero.
    """

    def __init__(self, columns: list[str]):
        self.columns = columns

    def fit(self, X: pd.DataFrame) -> "PairEncoder":
        """Learn each column's values (as text; null is a value)."""
        self.values_ = {c: {v: i for i, v in enumerate(sorted(set(_as_text(X[c]))))} for c in self.columns}
        self.pairs_ = list(combinations(range(len(self.columns)), 2))
        sizes = [len(v) + 1 for v in self.values_.values()]
        widths = sizes + [sizes[a] * sizes[b] for a, b in self.pairs_]
        self.starts_ = np.concatenate([[0], np.cumsum(widths)]).astype(np.int32)
        return self

    def transform(self, X: pd.DataFrame) -> np.ndarray:
        """int32 array (rows, columns + pairs) of positions below `starts_[-1]`."""
        codes = []
        for column, known in self.values_.items():
            codes.append(_as_text(X[column]).map(known).fillna(len(known)).to_numpy(np.int32))
        sizes = [len(v) + 1 for v in self.values_.values()]
        codes += [codes[a] * sizes[b] + codes[b] for a, b in self.pairs_]
        return np.stack(codes, axis=1) + self.starts_[:-1]


def _as_text(column: pd.Series) -> pd.Series:
    """Values as text; 1, 1.0 and True, which Arrow may give for one column with and without nulls, are equal."""
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
        column = column.astype(float)
    return column.astype(str)


class ClickModel(BaseEstimator):
    """Logistic regression on PairEncoder's ones; predict returns click_probability."""

    def __init__(self, columns: list[str], prior_variances: list[float], class_weight: str | None, tuning_rows: int):
        self.columns = columns
        self.prior_variances = prior_variances
        self.class_weight = class_weight
        self.tuning_rows = tuning_rows

    def fit(self, X: pd.DataFrame, y: pd.DataFrame) -> "ClickModel":
        """Fit on rows in order of time; the penalty is chosen on the newest fifth of at most `tuning_rows` of them.

        The penalty is stated as the variance of a normal prior on each coefficient (scikit-learn's C), which means the
        same for any number of rows, so it can be chosen on fewer than it is used on.
        """
        clicked = y["is_clicked"].to_numpy(bool)
        if clicked.all() or not clicked.any():
            raise NotYet(
                f"ctr: all {len(clicked):,} impressions have is_clicked = {clicked[0]}, so there is nothing to tell apart"
            )
        self.encoder_ = PairEncoder(self.columns).fit(X)
        positions = self.encoder_.transform(X)
        self.tuning_ = self._tune(positions, clicked)
        self.prior_variance_ = min(self.tuning_, key=self.tuning_.get)
        self.coefficients_, self.intercept_ = self._solve(positions, clicked, self.prior_variance_)
        return self

    def _tune(self, positions: np.ndarray, clicked: np.ndarray) -> dict[float, float]:
        stride = -(-len(clicked) // self.tuning_rows)
        positions, clicked = positions[::stride], clicked[::stride]
        end = int(0.8 * len(clicked))
        if len(set(clicked[:end])) < 2 or len(set(clicked[end:])) < 2:
            return {self.prior_variances[0]: float("nan")}
        losses = {}
        for variance in self.prior_variances:
            coefficients, intercept = self._solve(positions[:end], clicked[:end], variance)
            losses[variance] = float(
                log_loss(clicked[end:], expit(coefficients[positions[end:]].sum(axis=1) + intercept))
            )
        return losses

    def _solve(self, positions: np.ndarray, clicked: np.ndarray, variance: float) -> tuple[np.ndarray, float]:
        n, width = positions.shape
        ones = csr_matrix(
            (np.ones(n * width, np.float32), positions.ravel(), np.arange(0, n * width + 1, width, dtype=np.int32)),
            shape=(n, int(self.encoder_.starts_[-1])),
        )
        solver = LogisticRegression(C=variance, class_weight=self.class_weight, max_iter=60, tol=1e-3)
        solver.fit(ones, clicked)
        linear = ones @ solver.coef_[0]
        # Class weighting moved the base rate; the mean increases in the constant, so one constant restores it.
        intercept = brentq(lambda shift: expit(linear + shift).mean() - clicked.mean(), -50, 50)
        return solver.coef_[0], float(intercept)

    def predict(self, X: pd.DataFrame) -> pd.DataFrame:
        """click_probability (0-1), indexed as X."""
        linear = self.coefficients_[self.encoder_.transform(X)].sum(axis=1) + self.intercept_
        return pd.DataFrame({"click_probability": expit(linear)}, index=X.index)


class PlacementRate(BaseEstimator):
    """The baseline: the click rate of the placement, drawn to the overall rate by 100 impressions' worth of it."""

    def fit(self, X: pd.DataFrame, y: pd.DataFrame) -> "PlacementRate":
        """Learn one rate per placement."""
        clicked = y["is_clicked"].astype(float)
        self.overall_ = float(clicked.mean())
        grouped = clicked.groupby(X["placement"])
        self.rates_ = ((grouped.sum() + 100 * self.overall_) / (grouped.count() + 100)).to_dict()
        return self

    def predict(self, X: pd.DataFrame) -> pd.DataFrame:
        """click_probability (0-1), indexed as X."""
        return pd.DataFrame({"click_probability": X["placement"].map(self.rates_).fillna(self.overall_)}, index=X.index)


def make_estimator(columns, prior_variances, class_weight, tuning_rows) -> ClickModel:
    """The unfitted model."""
    return ClickModel(columns, prior_variances, class_weight, tuning_rows)


def make_baseline() -> PlacementRate:
    """The unfitted baseline."""
    return PlacementRate()


def evaluate(estimator, X: pd.DataFrame, y: pd.DataFrame) -> Evaluation:
    """AUC, log loss, calibration (error = mean absolute gap between predicted and observed rate of ten bins)."""
    label = y["is_clicked"].astype(int).to_numpy()
    prediction = estimator.predict(X)["click_probability"].to_numpy()
    if label.min() == label.max():
        raise PlatformError(
            f"ctr: all {len(label)} impressions to judge on have is_clicked = {label[0]}; check labels."
        )
    bins = calibration_bins(label, prediction)
    metrics = {
        "auc": float(roc_auc_score(label, prediction)),
        "log_loss": float(log_loss(label, prediction)),
        "calibration_error": float(np.average((bins["predicted"] - bins["observed"]).abs(), weights=bins["n"])),
        "calibration_ratio": float(prediction.mean() / label.mean()),
        "base_rate": float(label.mean()),
    }
    rows = {"impression_id": X["impression_id"].to_numpy(), "label": label, "prediction": prediction}
    return Evaluation(metrics, pd.DataFrame(rows))


def calibration_bins(label: np.ndarray, prediction: np.ndarray) -> pd.DataFrame:
    """Mean prediction, observed rate and number of rows in bins of equal size by prediction."""
    bins = np.array_split(np.argsort(prediction, kind="stable"), CALIBRATION_BINS)
    rows = [(prediction[b].mean(), label[b].mean(), len(b)) for b in bins if len(b)]
    return pd.DataFrame(rows, columns=["predicted", "observed", "n"])


def plot(estimator, evaluation: Evaluation) -> dict:
    """Calibration, and the validation loss over penalties."""
    from ml.plots import figure

    fig, (left, right) = figure(2)
    bins = calibration_bins(evaluation.rows["label"].to_numpy(), evaluation.rows["prediction"].to_numpy())
    left.plot(bins["predicted"], bins["observed"], marker="o")
    left.plot([0, bins["predicted"].max()], [0, bins["predicted"].max()], linestyle=":")
    left.set(title="calibration", xlabel="predicted click rate", ylabel="observed click rate")
    right.semilogx(list(estimator.tuning_), list(estimator.tuning_.values()), marker="o")
    right.set(title="validation log loss", xlabel="prior variance of coefficients (C)")
    return {"ctr": fig}
