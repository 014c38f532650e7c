"""Segmentation: K-means on recency, frequency and monetary value, with named segments and a strategy for each.

RFM as in Hughes, "Strategic Database Marketing" (1994); K-means by Lloyd (1982) with k-means++ seeding (Arthur &
Vassilvitskii 2007); choice of k by the silhouette (Rousseeuw 1987). The number of segments is fixed at five because
marketing acts on five names; the silhouettes of other k are logged so that a person sees when five no longer fits.
"""

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, clone
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from ml.evaluation import Evaluation
from warehouse.errors import NotYet

STRATEGIES = {
    "champions": "early access and a thank-you; ask for a review; no discount needed",
    "loyal": "cross-sell neighbouring categories; invite to the next membership level",
    "promising": "second-purchase coupon within two weeks; show best sellers",
    "at_risk": "personal win-back offer before the next regular purchase is missed",
    "dormant": "one low-cost reminder a quarter; leave out of paid retargeting",
}
FIT_ROWS = 200_000
SILHOUETTE_ROWS = 2000  # the silhouette needs all pairwise distances: quadratic in rows


def prepare_rfm(frame: pd.DataFrame) -> pd.DataFrame:
    """Log-scaled recency, frequency, monetary value and total value, one row per customer.

    Who never bought gets the age of the registration as recency (the time in which no purchase came) and zeros
    elsewhere. Refunds can make a revenue negative; it counts as zero.
    """
    recency = frame["recency_days"].astype(float).fillna(frame["tenure_days"].astype(float))
    raw = {"recency": recency, "frequency": frame["n_orders_90d"], "monetary": frame["revenue_90d"],
           "value": frame["revenue_total"]}  # fmt: skip
    return pd.DataFrame({name: np.log1p(column.astype(float).clip(lower=0)) for name, column in raw.items()})


def name_centroids(centroids: np.ndarray) -> list[str]:
    """A segment name for each of five centroids (recency, frequency, monetary, value; standardised), by rank.

    Worth = frequency + monetary + value - recency. Highest worth: champions; lowest: dormant; of the other three the
    one that bought most: loyal; of the last two the one that was here more recently: promising, the other: at_risk.
    """
    bought = centroids[:, 1:].sum(axis=1)
    worth = bought - centroids[:, 0]
    names: dict[int, str] = {int(worth.argmax()): "champions", int(worth.argmin()): "dormant"}
    rest = sorted((i for i in range(len(centroids)) if i not in names), key=lambda i: -bought[i])
    names[rest[0]] = "loyal"
    recent_first = sorted(rest[1:], key=lambda i: centroids[i, 0])
    names[recent_first[0]], names[recent_first[1]] = "promising", "at_risk"
    return [names[i] for i in range(len(centroids))]


class Segmenter(BaseEstimator):
    """K-means with five named segments; predict returns segment, strategy and distance to the segment's centre."""

    def __init__(self, k_candidates: list[int], seed: int):
        self.k_candidates = k_candidates
        self.seed = seed

    def fit(self, X: pd.DataFrame, y=None) -> "Segmenter":
        """Fit on one row per customer with the columns of models.yml; needs at least five different customers.

        Of more than FIT_ROWS customers as many are drawn (fixed seed): five centres do not need more, and memory and time
        then no longer grow with them.
        """
        rfm = prepare_rfm(X if len(X) <= FIT_ROWS else X.sample(FIT_ROWS, random_state=self.seed))
        n_different = len(rfm.drop_duplicates())
        if n_different < len(STRATEGIES):
            raise NotYet(
                f"segmentation: {n_different} different customers are too few for {len(STRATEGIES)} segments. "
                "Load more customers."
            )
        constant = [name for name in rfm if rfm[name].nunique() == 1]
        self.notes_ = (
            [f"one value for all customers, so it tells none apart: {', '.join(constant)}"] if constant else []
        )
        self.scaler_ = StandardScaler().fit(rfm)
        scaled = self.scaler_.transform(rfm)
        self.silhouette_by_k_, self.inertia_by_k_ = {}, {}
        for k in sorted(k for k in {*self.k_candidates, len(STRATEGIES)} if k <= n_different):
            with threadpool_limits(1):  # OpenMP threads spin for each other on busy cores: 10 s instead of 1.5 s (seen)
                clusters = KMeans(k, n_init=5, random_state=self.seed).fit(scaled)
            self.silhouette_by_k_[k] = sample_silhouette(scaled, clusters.labels_)
            self.inertia_by_k_[k] = float(clusters.inertia_)
            if k == len(STRATEGIES):
                self.centroids_ = clusters.cluster_centers_
        self.names_ = name_centroids(self.centroids_)
        return self

    def predict(self, X: pd.DataFrame) -> pd.DataFrame:
        """segment, strategy, distance (in standard deviations of the log-scaled inputs), indexed as X."""
        scaled = self.scaler_.transform(prepare_rfm(X))
        distances = cdist(scaled, self.centroids_)
        nearest = distances.argmin(axis=1)
        return _table(X, np.array(self.names_)[nearest], distances[np.arange(len(X)), nearest])


class QuantileRule(BaseEstimator):
    """The baseline: recency, frequency and monetary value scored by quintile, scores summed, cut into five groups."""

    def fit(self, X: pd.DataFrame, y=None) -> "QuantileRule":
        """Learn the quintiles of each of the three, and the quintiles of their summed scores."""
        rfm = prepare_rfm(X)
        if rfm.empty:
            raise NotYet("segmentation: there is no customer yet")
        self.cuts_ = {c: np.quantile(rfm[c], [0.2, 0.4, 0.6, 0.8]) for c in ("recency", "frequency", "monetary")}
        self.score_cuts_ = np.quantile(self._score(rfm), [0.2, 0.4, 0.6, 0.8])
        return self

    def _score(self, rfm: pd.DataFrame) -> np.ndarray:
        ranks = {c: np.searchsorted(cuts, rfm[c], side="left") for c, cuts in self.cuts_.items()}
        return ranks["frequency"] + ranks["monetary"] + 4 - ranks["recency"]

    def predict(self, X: pd.DataFrame) -> pd.DataFrame:
        """segment, strategy; distance is 0: a rule has no centre."""
        names = np.array(["dormant", "at_risk", "promising", "loyal", "champions"])
        group = np.searchsorted(self.score_cuts_, self._score(prepare_rfm(X)), side="left")
        return _table(X, names[group], np.zeros(len(X)))


def _table(X: pd.DataFrame, segments: np.ndarray, distance: np.ndarray) -> pd.DataFrame:
    strategies = [STRATEGIES[s] for s in segments]
    return pd.DataFrame({"segment": segments, "strategy": strategies, "distance": distance}, index=X.index)


def sample_silhouette(scaled: np.ndarray, labels: np.ndarray) -> float:
    """Mean silhouette of at most SILHOUETTE_ROWS rows (fixed seed); -1 if all are in one group or each in its own."""
    chosen = np.random.default_rng(0).permutation(len(labels))[:SILHOUETTE_ROWS]
    if not 2 <= len(np.unique(labels[chosen])) < len(chosen):
        return -1.0
    return float(silhouette_score(scaled[chosen], labels[chosen]))


def make_estimator(k_candidates: list[int], seed: int) -> Segmenter:
    """The unfitted model."""
    return Segmenter(k_candidates, seed)


def make_baseline() -> QuantileRule:
    """The unfitted baseline."""
    return QuantileRule()


def evaluate(estimator, X: pd.DataFrame, y: pd.DataFrame | None = None) -> Evaluation:
    """Silhouette in a space scaled by X alone (the same for every model judged on X), sizes, and what came after.

    y: an earlier snapshot with next_revenue_90d, what each customer then spent, or None if history is too short for one:
    see `judge_on_what_came_after`.
    """
    segments = estimator.predict(X)["segment"]
    rfm = prepare_rfm(X)
    shares = segments.value_counts(normalize=True)
    metrics = {
        "silhouette": sample_silhouette(StandardScaler().fit_transform(rfm), segments.to_numpy()),
        "n_segments": float(len(shares)),
        "smallest_share": float(shares.min()),
    }
    after, note = judge_on_what_came_after(estimator, y)
    for k, value in getattr(estimator, "silhouette_by_k_", {}).items():
        metrics[f"silhouette_k{k}"] = value
    rows = pd.DataFrame({"customer_id": X["customer_id"], "segment": segments})
    return Evaluation(metrics | after, rows, (*getattr(estimator, "notes_", ()), *note))


def judge_on_what_came_after(estimator, past: pd.DataFrame | None) -> tuple[dict[str, float], tuple[str, ...]]:
    """({next_anova_f, next_anova_p, next_eta2}, notes): one-way ANOVA over segments of log(1 + next_revenue_90d).

    The segments are those that the same method finds on the earlier snapshot, of which nothing later is known (Fisher
    1925); next_eta2 is the share of the variance explained. On the revenue of their own snapshot segments differ by
    construction: they are cut by it.
    """
    if past is None:
        return {}, ("history is too short to say whether segments differ in what customers spend afterwards",)
    try:
        segments = clone(estimator).fit(past).predict(past)["segment"]
    except NotYet as reason:
        return {}, (f"what came after is not judged: {str(reason).rstrip('.')}",)
    value = np.log1p(past["next_revenue_90d"].astype(float).clip(lower=0))
    groups = [group.to_numpy() for _, group in value.groupby(segments) if len(group) > 1]
    if len(groups) < 2 or value.nunique() < 2:
        return {}, ("what came after is not judged: customers or their segments did not differ",)
    test = stats.f_oneway(*groups)
    between = sum(len(g) * (g.mean() - value.mean()) ** 2 for g in groups)
    found = {"f": test.statistic, "p": test.pvalue}
    eta2 = between / ((value - value.mean()) ** 2).sum()
    return {f"next_anova_{name}": float(x) for name, x in found.items()} | {"next_eta2": float(eta2)}, ()


def plot(estimator, evaluation: Evaluation) -> dict:
    """Silhouette and elbow over k, and segment sizes."""
    from ml.plots import figure

    fig, (left, middle, right) = figure(3)
    left.plot(list(estimator.silhouette_by_k_), list(estimator.silhouette_by_k_.values()), marker="o")
    left.set(title="silhouette", xlabel="k")
    middle.plot(list(estimator.inertia_by_k_), list(estimator.inertia_by_k_.values()), marker="o")
    middle.set(title="within-cluster sum of squares", xlabel="k")
    sizes = evaluation.rows["segment"].value_counts().reindex(STRATEGIES).fillna(0)
    right.bar(range(len(sizes)), sizes)
    right.set_xticks(range(len(sizes)), sizes.index, rotation=30)
    right.set_title("customers per segment")
    return {"segmentation": fig}
