"""Click probability: L2 logistic regression on one-hot columns and their pairs.

Clicks may depend on combinations (a format that works in one placement only), and which ones is not known, so pairs of the
declared columns get their own one-hot crosses, within the bounds of ml/crosses.py. The newest rows say how strong the L2
penalty is, how much stronger on pairs, and whether pairs predict better at all: a company without such combinations has none.
Classes are weighted because clicks are rare; weighting w shifts the log-odds by log(w1/w0), which is subtracted again (prior
correction, King & Zeng, "Logistic Regression in Rare Events Data", 2001), and a last constant makes the mean prediction the
base rate.
"""

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.sparse import csr_matrix
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from ml.crosses import PairEncoder
from ml.evaluation import Evaluation, calibration_bins
from warehouse.errors import NotYet, PlatformError

# of the prior variance: pairs of rare values say little more than their values do, or nothing
PAIR_SHARES = (1.0, 0.1, 0.01, 0.0)
TUNING_STEPS = 4  # how often the penalty is looked for beyond the candidates, each four times as far


class ClickModel(BaseEstimator):
    """Logistic regression on PairEncoder's ones; predict returns click_probability."""

    def __init__(
        self,
        columns: list[str],
        prior_variances: list[float],
        class_weight: str | None,
        tuning_rows: int,
        max_positions: int,
        max_pairs: int,
    ):
        self.columns = columns
        self.prior_variances = prior_variances
        self.class_weight = class_weight
        self.tuning_rows = tuning_rows
        self.max_positions = max_positions
        self.max_pairs = max_pairs

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
        columns = [column for column in self.columns if column in X]  # some may not be known of any day (ml/as_of.py)
        self.encoder_ = PairEncoder(columns, self.max_positions, self.max_pairs).fit(X, clicked)
        self.notes_ = self.encoder_.notes()
        positions = self.encoder_.transform(X)
        self.tuning_, chosen = self._tune(positions, clicked)
        self.prior_variance_, self.pair_share_ = chosen
        self.coefficients_, self.intercept_ = self._solve(positions, clicked, *chosen)
        return self

    def _tune(
        self, positions: np.ndarray, clicked: np.ndarray
    ) -> tuple[dict[tuple[float, float], float], tuple[float, float]]:
        """(loss on the newest fifth by candidate, the candidate chosen): (prior variance, share of it that pairs have).

        Pairs are used if they predict better than the columns alone by more than one standard error of the difference, row by
        row: what fits as well with less is the safer one for days to come (Breiman et al., "Classification and Regression
        Trees", 1984).
        """
        stride = -(-len(clicked) // self.tuning_rows)
        positions, clicked = positions[::stride], clicked[::stride]
        end = int(0.8 * len(clicked))
        if len(set(clicked[:end])) < 2 or len(set(clicked[end:])) < 2:
            alone = (self.prior_variances[0], 0.0)
            return {alone: float("nan")}, alone
        by_row: dict[tuple[float, float], np.ndarray] = {}
        losses: dict[tuple[float, float], float] = {}

        def judge(variance: float, share: float) -> None:
            coefficients, intercept = self._solve(positions[:end], clicked[:end], variance, share)
            linear = coefficients[positions[end:]].sum(axis=1) + intercept
            by_row[variance, share] = np.logaddexp(0, np.where(clicked[end:], -linear, linear))
            losses[variance, share] = float(by_row[variance, share].mean())

        start = self.prior_variances
        for share in PAIR_SHARES:
            for variance in start:
                judge(variance, share)
            for _ in range(TUNING_STEPS):  # a best at the edge of what was tried may have a better one beyond it
                tried = {v: loss for (v, s), loss in losses.items() if s == share}
                best = min(tried, key=tried.get)
                if min(tried) < best < max(tried):
                    break
                judge(best * 4 if best == max(tried) else best / 4, share)
            start = [min(losses, key=losses.get)[0]]
        best = min(losses, key=losses.get)
        alone = min((key for key in losses if key[1] == 0), key=losses.get)
        gain = by_row[alone] - by_row[best]
        return losses, best if gain.mean() > gain.std() / np.sqrt(len(gain)) else alone

    def _solve(
        self, positions: np.ndarray, clicked: np.ndarray, variance: float, share: float
    ) -> tuple[np.ndarray, float]:
        """Coefficient per position (0 for position 0) and intercept; a pair's prior variance is `share` of a value's."""
        scale = np.sqrt(np.where(np.arange(self.encoder_.n_positions_) < self.encoder_.n_values_, 1.0, share))
        scale[0] = 0.0
        if not share:
            positions = positions[:, : len(self.encoder_.values_)]
        n, width = positions.shape
        terms = csr_matrix(
            (scale.astype(np.float32)[positions.ravel()], positions.ravel(), np.arange(0, n * width + 1, width)),
            shape=(n, len(scale)),
        )
        solver = LogisticRegression(C=variance, class_weight=self.class_weight, max_iter=60, tol=1e-3)
        solver.fit(terms, clicked)
        linear = terms @ solver.coef_[0]
        # Class weighting moved the base rate; the mean increases in the constant, so one constant restores it.
        intercept = brentq(lambda shift: expit(linear + shift).mean() - clicked.mean(), -50, 50)
        return solver.coef_[0] * scale, float(intercept)

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


def make_estimator(
    columns: list[str],
    prior_variances: list[float],
    class_weight: str | dict | None,
    tuning_rows: int,
    max_positions: int,
    max_pairs: int,
) -> ClickModel:
    """The unfitted model."""
    return ClickModel(columns, prior_variances, class_weight, tuning_rows, max_positions, max_pairs)


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
    return Evaluation(metrics, pd.DataFrame(rows), tuple(getattr(estimator, "notes_", ())))


def plot(estimator, evaluation: Evaluation) -> dict:
    """Calibration, and the validation loss over penalties."""
    from ml.plots import figure

    fig, (left, right) = figure(2)
    bins = calibration_bins(evaluation.rows["label"].to_numpy(), evaluation.rows["prediction"].to_numpy())
    left.plot(bins["predicted"], bins["observed"], marker="o")
    left.plot([0, bins["predicted"].max()], [0, bins["predicted"].max()], linestyle=":")
    left.set(title="calibration", xlabel="predicted click rate", ylabel="observed click rate")
    for share in PAIR_SHARES:
        tried = sorted((v, loss) for (v, s), loss in estimator.tuning_.items() if s == share)
        right.semilogx(*zip(*tried, strict=True), marker="o", label=f"pairs {share:g}") if tried else None
    right.legend()
    right.set(title="validation log loss", xlabel="prior variance of coefficients (C)")
    return {"ctr": fig}
