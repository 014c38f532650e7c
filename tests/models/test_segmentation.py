"""Does K-means find the groups that were planted, and do their names say what they are?"""

import time
import tracemalloc

import numpy as np
import pytest
from planted import plant_groups
from sklearn.metrics import adjusted_rand_score

from ml import segmentation, train
from ml.models import build_estimator, get_model
from warehouse import partitions
from warehouse.errors import NotYet, PlatformError


def test_planted_groups_are_recovered_and_named():
    frame, group = plant_groups()
    model = build_estimator(get_model("segmentation")).fit(frame)
    table = model.predict(frame)
    assert adjusted_rand_score(group, table["segment"]) > 0.95
    names = [table["segment"][group == g].mode()[0] for g in range(5)]
    assert names == ["champions", "loyal", "promising", "at_risk", "dormant"]
    assert (table["strategy"] == table["segment"].map(segmentation.STRATEGIES)).all()
    assert sorted(model.silhouette_by_k_) == [3, 4, 5, 6, 7]
    assert max(model.silhouette_by_k_, key=model.silhouette_by_k_.get) == 5


def test_segments_are_judged_on_what_customers_spend_afterwards_and_beat_the_quantile_rule():
    frame, _ = plant_groups()
    model, rule = build_estimator(get_model("segmentation")).fit(frame), segmentation.make_baseline().fit(frame)
    rng = np.random.default_rng(6)
    stays = frame.assign(next_revenue_90d=frame["revenue_90d"] * rng.lognormal(0, 0.5, len(frame)))
    chance = frame.assign(next_revenue_90d=rng.lognormal(4, 1, len(frame)))
    found = segmentation.evaluate(model, frame, stays).metrics
    assert found["next_anova_p"] < 1e-6 and found["next_eta2"] > 0.8
    by_chance = segmentation.evaluate(model, frame, chance).metrics
    assert by_chance["next_anova_p"] > 0.001 and by_chance["next_eta2"] < 0.05, (
        "cut by revenue, but not by what follows"
    )
    base = segmentation.evaluate(rule, frame).metrics
    assert found["n_segments"] == 5 and found["silhouette"] > base["silhouette"] > 0


def test_without_an_earlier_snapshot_nothing_is_said_to_be_significant():
    frame, _ = plant_groups()
    result = segmentation.evaluate(build_estimator(get_model("segmentation")).fit(frame), frame)
    assert not [name for name in result.metrics if "anova" in name or "eta2" in name]
    assert "history is too short" in result.notes[0]


def test_what_came_after_is_judged_by_segments_that_knew_nothing_of_it():
    """The snapshot of today changes no segment of the earlier one."""
    frame, _ = plant_groups()
    past = frame.assign(next_revenue_90d=frame["revenue_90d"])
    today = frame.assign(revenue_90d=frame["revenue_90d"].to_numpy()[::-1], n_orders_90d=1.0)
    results = [
        segmentation.evaluate(build_estimator(get_model("segmentation")).fit(x), x, past) for x in (frame, today)
    ]
    assert results[0].metrics["next_eta2"] == results[1].metrics["next_eta2"]


def test_who_never_bought_counts_as_away_since_registration():
    frame, _ = plant_groups()
    rfm = segmentation.prepare_rfm(frame.assign(recency_days=np.nan, revenue_90d=-5.0))
    assert np.allclose(rfm["recency"], np.log1p(frame["tenure_days"]))
    assert (rfm["monetary"] == 0).all()


def test_too_few_customers_are_said():
    frame = plant_groups()[0].iloc[::300]
    with pytest.raises(PlatformError, match="4 different customers are too few for 5 segments"):
        build_estimator(get_model("segmentation")).fit(frame)


@pytest.mark.parametrize("n", [5, 6, 7, 8])
def test_few_customers_are_segmented(n):
    """Seven customers in seven clusters have no silhouette: that is no reason to stop at five."""
    frame = plant_groups()[0].iloc[np.linspace(0, 999, n).astype(int)]
    model = build_estimator(get_model("segmentation")).fit(frame)
    metrics = segmentation.evaluate(model, frame).metrics
    assert metrics["n_segments"] == 5 and metrics["silhouette"] >= -1
    assert max(model.silhouette_by_k_) == min(n, 7)


@pytest.mark.parametrize("frame", [plant_groups()[0].head(0), plant_groups()[0].iloc[[0] * 50]])
def test_nobody_and_fifty_times_the_same_customer_are_not_enough_yet(frame):
    with pytest.raises(NotYet, match=f"{min(len(frame), 1)} different customers are too few"):
        build_estimator(get_model("segmentation")).fit(frame)


def test_a_constant_column_is_said_and_changes_nothing():
    frame, group = plant_groups()
    model = build_estimator(get_model("segmentation")).fit(frame.assign(revenue_total=5.0))
    assert adjusted_rand_score(group, model.predict(frame.assign(revenue_total=5.0))["segment"]) > 0.95
    note, _ = segmentation.evaluate(model, frame.assign(revenue_total=5.0)).notes
    assert note == "one value for all customers, so it tells none apart: value"


def test_many_customers_are_fitted_on_a_sample_of_stated_size(monkeypatch):
    frame, group = plant_groups()
    monkeypatch.setattr(segmentation, "FIT_ROWS", 400)
    seen = []
    scale = segmentation.StandardScaler.fit
    monkeypatch.setattr(
        segmentation.StandardScaler, "fit", lambda self, rows: seen.append(len(rows)) or scale(self, rows)
    )
    model = build_estimator(get_model("segmentation")).fit(frame)
    assert seen == [400]
    assert adjusted_rand_score(group, model.predict(frame)["segment"]) > 0.95


def test_a_million_customers_cost_little_more_than_their_table():
    """Five millions as such: fit 1.4, predict 3.3, evaluate 10 CPU-s; 1.9 GB beside the table (training reads max_rows)."""
    rng = np.random.default_rng(5)
    frame, group = plant_groups()
    chosen = rng.integers(0, len(frame), 1_000_000)
    many = frame.iloc[chosen].reset_index(drop=True)
    started = time.process_time()
    tracemalloc.start()
    model = build_estimator(get_model("segmentation")).fit(many)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * segmentation.FIT_ROWS * 8, f"{peak:,} bytes"
    assert adjusted_rand_score(group[chosen], model.predict(many)["segment"]) > 0.95
    assert time.process_time() - started < 30


def test_training_reads_what_came_after_the_earlier_snapshot(spark, monkeypatch):
    """Each customer of 90 days ago with what the window that ends today holds; who came since then is not among them."""
    spec = get_model("segmentation")
    columns = "customer_id string, ds string, " + ", ".join(f"{c} double" for c in spec.features.columns)
    days = {"2024-08-23": [("a", 70.0), ("b", 0.0), ("new", 9.0)], "2024-05-25": [("a", 10.0), ("b", 20.0)]}
    rows = [(who, ds, 1.0, 100.0, 1.0, revenue, 50.0) for ds, people in days.items() for who, revenue in people]

    def read_days(table, from_ds, to_ds):
        return spark.createDataFrame(rows, columns).where(f"ds between '{from_ds}' and '{to_ds}'")

    monkeypatch.setattr(partitions, "read_days", read_days)
    monkeypatch.setattr(train.state, "fact", lambda name: "2024-05-25")
    fit, judge = train.read_parts(spec, "2024-08-26", "2024-08-23")
    assert fit.labels is None and fit.features["customer_id"].tolist() == ["a", "b", "new"]
    past = judge.labels.set_index("customer_id")
    assert past["revenue_90d"].to_dict() == {"a": 10.0, "b": 20.0}
    assert past["next_revenue_90d"].to_dict() == {"a": 70.0, "b": 0.0} and set(past["ds"]) == {"2024-05-25"}
    monkeypatch.setattr(train.state, "fact", lambda name: "2024-05-26")
    assert train.read_parts(spec, "2024-08-26", "2024-08-23")[1].labels is None
