"""Public data sets through the models as they are: shops, tests and mixes that nobody here has made.

Reference values: PROVENANCE.txt beside each data set.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from ml import budget, ctr
from ml.models import build_estimator, get_model
from ml.splits import Part
from ml.train import train_on

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not DATA.exists() and not os.environ.get("CI"), reason="shared/data is not beside this repository"
)


# -- CDNOW: 23,570 customers of a shop, who mostly bought once -----------------------------------------------------------


def snapshot(visits: pd.DataFrame, day: str) -> pd.DataFrame:
    """What features.customer_day says of each customer on a day; the first purchase counts as registration."""
    past = visits[visits["date"] <= day]
    by = past.groupby("customer_id")
    recent = past[past["date"] > pd.Timestamp(day) - pd.Timedelta(days=90)].groupby("customer_id")["value"]
    frame = pd.DataFrame({"recency_days": (pd.Timestamp(day) - by["date"].max()).dt.days,
                          "tenure_days": (pd.Timestamp(day) - by["date"].min()).dt.days,
                          "revenue_total": by["value"].sum()})  # fmt: skip
    frame["n_orders_90d"] = recent.size().reindex(frame.index, fill_value=0)
    frame["revenue_90d"] = recent.sum().reindex(frame.index, fill_value=0.0)
    return frame.reset_index().assign(ds=day)


@pytest.fixture(scope="module")
def cdnow() -> tuple[pd.DataFrame, pd.DataFrame]:
    """(customers on the last day, customers 90 days before with what they spent since then)."""
    names = ["customer_id", "date", "n_cds", "value"]
    visits = pd.read_csv(
        DATA / "cdnow" / "CDNOW_master.txt", sep=r"\s+", skiprows=1, names=names, dtype={"customer_id": str}
    )
    assert (len(visits), visits["customer_id"].nunique(), round(visits["value"].sum(), 2)) == (
        69_659,
        23_570,
        2_500_315.63,
    )
    visits["date"] = pd.to_datetime(visits["date"].astype(str))
    visits = visits.groupby(["customer_id", "date"], as_index=False)["value"].sum()  # purchases of one day are one
    now, past = snapshot(visits, "1998-06-30"), snapshot(visits, "1998-04-01")
    came = now[["customer_id", "revenue_90d"]].rename(columns={"revenue_90d": "next_revenue_90d"})
    return now, past.merge(came, on="customer_id")


def test_cdnow_segments_differ_in_what_customers_spend_afterwards(cdnow):
    now, past = cdnow
    model = build_estimator(get_model("segmentation")).fit(past)
    after = past.groupby(model.predict(past)["segment"])["next_revenue_90d"].mean()
    assert after["champions"] > 3 * after["loyal"] > 0 and after["loyal"] > after["promising"] > after["at_risk"]
    assert after["dormant"] == after.min() and after["champions"] > 50 * after["dormant"]
    means = now.groupby(build_estimator(get_model("segmentation")).fit(now).predict(now)["segment"]).mean(
        numeric_only=True
    )
    assert means["recency_days"].idxmin() == "champions" and means["recency_days"].idxmax() == "dormant"
    assert means["revenue_total"].idxmin() == "dormant"


def test_cdnow_segmentation_is_promoted_over_the_quantile_rule(cdnow, own_home, data):
    now, past = cdnow
    outcome = train_on(get_model("segmentation"), Part(now, None), Part(now, past), data)
    assert outcome.is_promoted and not outcome.is_baseline, outcome
    assert outcome.metrics["next_eta2"] > outcome.metrics["baseline_next_eta2"] > 0.2


# -- PyMC-Marketing's mixes: two channels of weekly spend, what they brought is known --------------------------------------


def mix(days, spend: dict, gain: dict) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(features, labels) of a channel and day each, a unit of sales an order."""
    X = pd.concat(
        [pd.DataFrame({"ds": days, "channel": c, "spend": s, "demand_index": 1.0}) for c, s in spend.items()],
        ignore_index=True,
    )
    gained = np.concatenate([gain[c] for c in spend])
    return X, pd.DataFrame({"n_orders": np.round(gained), "return_amount": gained})


def saturation(x, steepness: float):
    return (1 - np.exp(-steepness * x)) / (1 + np.exp(-steepness * x))


def adstock(x, carried: float, n: int = 8) -> np.ndarray:
    weights = carried ** np.arange(n)
    return np.convolve(x, weights / weights.sum())[: len(x)]


def read_mix(name: str) -> pd.DataFrame:
    return pd.read_csv(DATA / "mmm_pymc" / f"{name}.csv")


def test_returns_on_spend_of_a_known_mix_are_found():
    frame = read_mix("mmm_roas_data")
    spend, gain = (
        {"x1": frame["x1"], "x2": frame["x2"]},
        {"x1": frame["y"] - frame["y01"], "x2": frame["y"] - frame["y02"]},
    )
    X, y = mix(frame["date"], spend, gain)
    model = build_estimator(get_model("budget")).fit(X, y)
    expected = pd.Series(model.expected_return(X)).groupby(X["channel"]).sum()
    for channel, known in (("x1", 93.38813), ("x2", 171.40880)):
        assert gain[channel].sum() / spend[channel].sum() == pytest.approx(known, rel=1e-6)
        assert expected[channel] / spend[channel].sum() == pytest.approx(known, rel=0.02), channel
    ours, plain = (budget.evaluate(m, X, y).metrics for m in (model, budget.make_baseline().fit(X, y)))
    assert ours["mae"] < 0.2 * plain["mae"] and ours["r2"] > 0.97


def test_the_plan_for_a_known_mix_is_near_its_true_optimum_and_says_what_carries_over():
    """Without what carries over the plan reached 94.9 % of the optimum.

    In a steady state what is carried over adds up to the spend itself, so the truth is 1000 · beta · saturation(spend).
    """
    frame = read_mix("mmm_example")
    truth = {"x1": (3000.0, 4.0, 0.4), "x2": (2000.0, 3.0, 0.2)}
    scale = 1000.0  # money a unit of the file's spends, which are shares of the largest
    gain = {c: top * saturation(adstock(frame[c], carried), steep) for c, (top, steep, carried) in truth.items()}
    X, y = mix(frame["date_week"], {c: scale * frame[c] for c in truth}, gain)
    model = build_estimator(get_model("budget")).fit(X, y)
    assert {c: curve.carried for c, curve in model.curves_.items()} == {
        c: carried for c, (_, _, carried) in truth.items()
    }
    assert "x1 40%, x2 20% of a day's effect go on to the next" in budget.evaluate(model, X, y).notes[0]
    plan = model.predict(X[X["ds"] > sorted(X["ds"].unique())[-29]]).set_index("channel").astype(float)

    def returns(x1):
        x2 = plan["budget"].iloc[0] - x1
        return sum(truth[c][0] * saturation(x / scale, truth[c][1]) for c, x in (("x1", x1), ("x2", x2)))

    low, high = (plan.loc["x1", c] for c in ("floor_spend", "cap_spend"))
    low = max(low, plan["budget"].iloc[0] - plan.loc["x2", "cap_spend"])
    high = min(high, plan["budget"].iloc[0] - plan.loc["x2", "floor_spend"])
    best = returns(np.linspace(low, high, 5_001)).max()
    assert low - 0.01 <= plan.loc["x1", "spend"] <= high + 0.01
    assert returns(plan.loc["x1", "spend"]) > 0.99 * best


def test_a_channel_that_is_mostly_silent_is_planned():
    """x2 is paid for in one week of six, and its effect goes on in the weeks between."""
    frame = read_mix("media_tvp_data")
    assert 0.1 < (frame["x2"] > 0).mean() < 0.2
    gain = {c: 1000 * frame[f"{c}_contribution"] for c in ("x1", "x2")}
    X, y = mix(frame["date_week"], {c: 1000 * frame[c] for c in gain}, gain)
    model = build_estimator(get_model("budget")).fit(X, y)
    plan = model.predict(X)
    assert sorted(plan["channel"]) == ["x1", "x2"] and plan["spend"].sum() <= plan["budget"].iloc[0] + 0.01
    expected = pd.Series(model.expected_return(X)).groupby(X["channel"]).sum()
    for channel in gain:
        assert expected[channel] == pytest.approx(gain[channel].sum(), rel=0.1), channel
    ours, plain = (budget.evaluate(m, X, y).metrics for m in (model, budget.make_baseline().fit(X, y)))
    assert ours["mae"] < 0.6 * plain["mae"]


# -- Telco and Hillstrom: yes/no outcomes through the click model ----------------------------------------------------------


def click_model(columns: list[str]):
    spec = get_model("ctr")
    return build_estimator(spec.model_copy(update={"params": spec.params | {"columns": columns}}))


def test_telco_reaches_a_plain_regression_and_says_what_repeats():
    frame = pd.read_csv(DATA / "telco_churn" / "Telco-Customer-Churn.csv")
    frame = frame.sample(frac=1, random_state=0, ignore_index=True).assign(impression_id=lambda x: x["customerID"])
    frame["TotalCharges"] = pd.to_numeric(frame["TotalCharges"], errors="coerce")  # eleven blanks
    left = pd.DataFrame({"is_clicked": frame["Churn"] == "Yes"})
    columns = [c for c in frame if c not in ("customerID", "Churn", "impression_id")]
    model = click_model(columns).fit(frame[:5600], left[:5600])
    metrics = ctr.evaluate(model, frame[5600:], left[5600:]).metrics
    assert metrics["auc"] > 0.845 - 2 * 0.0134 and 0.9 < metrics["calibration_ratio"] < 1.1, metrics
    same = model.encoder_.same_
    assert {name for name, first in same.items() if first == "InternetService No"} == {
        f"{name} No internet service"
        for name in (
            "OnlineSecurity",
            "OnlineBackup",
            "DeviceProtection",
            "TechSupport",
            "StreamingTV",
            "StreamingMovies",
        )
    }
    assert same["MultipleLines No phone service"] == "PhoneService No"
    assert "OnlineSecurity No internet service as InternetService No" in model.notes_[0]


def test_hillstrom_visits_of_each_arm_are_those_that_came():
    frame = pd.read_csv(DATA / "hillstrom" / "hillstrom.csv")
    frame = frame.sample(frac=1, random_state=0, ignore_index=True).assign(impression_id=lambda x: x.index.astype(str))
    visits = pd.DataFrame({"is_clicked": frame["visit"] == 1})
    columns = ["recency", "history", "mens", "womens", "zip_code", "newbie", "channel", "segment"]
    fit, judge = slice(0, 48_000), slice(48_000, None)
    model = click_model(columns).fit(frame[fit], visits[fit])
    arms = model.predict(frame)["click_probability"].groupby(frame["segment"]).mean()
    for arm, rate in (("Mens E-Mail", 0.18276), ("No E-Mail", 0.10617), ("Womens E-Mail", 0.15140)):
        assert arms[arm] == pytest.approx(rate, abs=0.005)
    metrics = ctr.evaluate(model, frame[judge], visits[judge]).metrics
    rate = visits["is_clicked"][fit].mean()
    assert (
        metrics["auc"] > 0.61
        and metrics["log_loss"] < log_loss(visits["is_clicked"][judge], np.full(16_000, rate)) - 0.008
    )
