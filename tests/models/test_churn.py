"""Does the churn model recover a planted hazard ratio under delayed entry, and agree with published values?"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted import plant_lifetimes

from ml import churn
from ml.models import build_estimator, get_model
from ml.splits import followup_cutoff, split_followup
from warehouse.dates import shift
from warehouse.errors import PlatformError

ROSSI = Path(__file__).resolve().parents[3] / "shared" / "data" / "survival" / "rossi.csv"


@pytest.fixture(scope="module")
def lives():
    return plant_lifetimes(6_000, log_hazard=0.8, shape=1.3)


@pytest.mark.parametrize("fit", [churn.fit_weibull, churn.fit_cox])
def test_a_planted_hazard_ratio_is_recovered_and_needs_the_entry(lives, fit):
    design = (lives[["membership_plan"]] == "gold").astype(float)
    y = lives[["entry_days", "duration_days", "is_churned"]]
    curve = fit(design, y, 0.0)
    assert y["is_churned"].sum() > 400 and (y["entry_days"] > 0).mean() > 0.5
    assert curve.beta[0] == pytest.approx(0.8, abs=0.15)
    true_year = np.exp(-((365 / 500) ** 1.3))
    assert np.exp(-curve.cumulative(np.array([365.0])))[0] == pytest.approx(true_year, abs=0.08)
    ignoring = fit(design, y.assign(entry_days=0), 0.0)
    assert ignoring.beta[0] > 1.0
    assert np.exp(-ignoring.cumulative(np.array([365.0])))[0] > true_year + 0.2


@pytest.mark.skipif(
    not ROSSI.exists() and not os.environ.get("CI"), reason="shared/data/survival is not beside this repository"
)
def test_rossi_as_published():
    """R's coxph on Rossi's recidivism data (432 convicts, 114 arrests), as in lifelines' own tests."""
    rossi = pd.read_csv(ROSSI).rename(columns={"week": "duration_days", "arrest": "is_churned"})
    y = rossi[["duration_days", "is_churned"]].assign(entry_days=0.0)
    design = rossi[["fin", "age", "race", "wexp", "mar", "paro", "prio"]].astype(float)
    cox = churn.fit_cox(design, y, 0.0)
    published = [-0.3794222, -0.0574377, 0.3138998, -0.1497957, -0.4337039, -0.0848711, 0.0914971]
    assert cox.beta == pytest.approx(published, abs=1e-4)
    c_index = churn.truncated_c_index(design.to_numpy() @ cox.beta, y.assign(entry_days=-1.0))
    assert c_index == pytest.approx(0.6403, abs=0.01)
    weibull = churn.fit_weibull(design, y, 0.0)
    assert np.corrcoef(weibull.beta, cox.beta)[0, 1] > 0.99


def test_breslow_without_entry_is_lifelines():
    from lifelines import CoxPHFitter

    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"x": rng.normal(size=300), "duration_days": rng.permutation(300) + 1.0,
                          "is_churned": rng.random(300) < 0.6})  # fmt: skip
    fitter = CoxPHFitter().fit(frame, "duration_days", "is_churned")
    ratio = np.exp((frame["x"] - frame["x"].mean()).to_numpy() * fitter.params_["x"])
    days, steps = churn.breslow(ratio, frame.assign(entry_days=0.0))
    theirs = fitter.baseline_cumulative_hazard_.iloc[:, 0]
    assert len(days) > 100
    assert steps == pytest.approx(theirs.loc[days].to_numpy(), rel=1e-6)


def test_survival_is_conditional_on_tenure_and_matches_the_truth(lives):
    model = build_estimator(get_model("churn"))
    model.fit(lives, lives[["entry_days", "duration_days", "is_churned"]])
    assert set(model.validation_) == {"weibull_aft", "cox_ph"}
    table = model.predict(lives)
    t, ratio = lives["tenure_days"], np.exp(lives["log_hazard"])
    truth = np.exp(-ratio * (((t + 60) / 500) ** 1.3 - (t / 500) ** 1.3))
    assert (table["survival_60d"] - truth).abs().mean() < 0.04
    assert (table["survival_30d"] >= table["survival_60d"]).all() and (
        table["survival_60d"] >= table["survival_90d"]
    ).all()
    assert np.allclose(table["churn_risk_30d"], 1 - table["survival_30d"])
    gold = lives["membership_plan"] == "gold"
    assert table["drivers"][gold].str.contains("membership_plan gold \\+").all()
    assert not table["drivers"][~gold].str.contains("membership_plan").any()


def test_the_contact_date_is_the_first_day_below_the_level_within_90_days(lives):
    hazard = np.array([[0.0] * 90, [0.2] * 90, [0.0] * 40 + [0.2] * 50])
    table = churn.tabulate(lives.head(3), hazard, [""] * 3, contact_survival=0.9)
    ds = lives["ds"].iloc[0]
    assert table["best_contact_date"].tolist() == [shift(ds, 90), shift(ds, 1), shift(ds, 41)]


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("b", [1.0, np.nan, 0.0, 1.0], "column b has 1 missing values of 4"),
        ("b", [2.0, 2.0, 2.0, 2.0], r"column b is constant \(2\)"),
        ("b", [1.0, 0.0, 1.0, 0.0], "column b is a linear combination"),
    ],
)
def test_a_column_that_breaks_the_fit_is_named(column, values, said):
    design = pd.DataFrame({"a": [0.0, 1.0, 0.0, 1.0], column: values})
    with pytest.raises(PlatformError, match=said):
        churn.check_design(design)


def test_a_covariate_with_one_level_is_named(lives):
    with pytest.raises(PlatformError, match="column gender has the one value 'female'"):
        build_estimator(get_model("churn")).fit(
            lives.assign(gender="female"), lives[["entry_days", "duration_days", "is_churned"]]
        )


def test_followup_splits_by_what_was_known_at_the_cutoff():
    spec = get_model("churn")
    ids = list("abcde")
    features = pd.DataFrame({"customer_id": ids, "ds": "2024-05-01", "tenure_days": 1, "age_years": 30.0,
                             "gender": "male", "acquisition_channel": "app", "membership_plan": "basic"})  # fmt: skip
    lifetimes = pd.DataFrame({
        "customer_id": ids,
        "ds": "2024-07-03",
        "registered_date": ["2024-01-01", "2024-04-01", "2024-03-11", "2024-01-31", "2023-01-01"],
        "entry_date": ["2024-03-01", "2024-04-01", "2024-03-11", "2024-03-01", "2024-03-01"],
        # alive; left before the cutoff; left while followed; left after the last mature day; left before observation
        "churn_date": [None, "2024-04-11", "2024-05-11", "2024-07-02", "2024-02-01"],
    })  # fmt: skip
    fit, judge = split_followup(
        spec, features, lifetimes, cutoff=followup_cutoff(spec, "2024-01-01", "2024-06-30"), last="2024-06-30"
    )
    assert fit.features["customer_id"].tolist() == ["a", "b", "c", "d"]
    assert fit.labels.to_numpy().tolist() == [[60, 121, False], [0, 10, True], [0, 51, False], [30, 91, False]]
    assert judge.features["customer_id"].tolist() == ["a", "c", "d"]
    assert judge.labels.to_numpy().tolist() == [[121, 60, False], [51, 10, True], [91, 60, False]]
