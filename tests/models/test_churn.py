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

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
ROSSI, GBSG2 = DATA / "survival" / "rossi.csv", DATA / "survival" / "gbsg2.csv"
TELCO = DATA / "telco_churn" / "Telco-Customer-Churn.csv"


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


def labels_of(lives):
    return lives[["entry_days", "duration_days", "is_churned"]]


def test_what_says_nothing_new_is_left_out_and_said(lives):
    """A column with one value, and one that repeats another in other words, change no prediction."""
    spec = get_model("churn")
    params = spec.params | {"categorical": [*spec.params["categorical"], "card", "country"]}
    twice = lives.assign(card=lives["membership_plan"].map({"gold": "yellow", "basic": "grey"}), country="CN")
    plain = build_estimator(spec).fit(lives, labels_of(lives))
    model = build_estimator(spec.model_copy(update={"params": params})).fit(twice, labels_of(lives))
    assert len(model.design_.left_out_) == 2 and model.design_.left_out_["country"] == "it has one value"
    assert any(term.startswith("card ") for term in model.design_.left_out_)
    [note] = churn.evaluate(model, twice, labels_of(lives).assign(duration_days=60)).notes
    assert "country (it has one value)" in note and "(other columns say the same)" in note
    wanted = plain.predict(lives)["survival_30d"]
    assert model.predict(twice)["survival_30d"].to_numpy() == pytest.approx(wanted.to_numpy(), abs=1e-6)
    assert not hasattr(plain, "notes_")


def test_nothing_that_tells_customers_apart_is_a_fault(lives):
    alike = lives.assign(gender="female", acquisition_channel="app", membership_plan="basic", age_years=30.0)
    with pytest.raises(PlatformError, match="none of gender, acquisition_channel, membership_plan, age_years tells"):
        build_estimator(get_model("churn")).fit(alike, labels_of(lives))


def test_50_000_levels_are_a_bounded_number_of_terms():
    rng = np.random.default_rng(3)
    n = 100_000
    city = np.where(rng.random(n) < 0.3, "capital", np.char.add("village ", rng.integers(0, 50_000, n).astype(str)))
    frame = pd.DataFrame({"city": city, "plan": rng.choice(["basic", "gold"], n)})
    design = churn.Design(["city", "plan"], {}).fit(frame)
    assert design.kept_levels_["city"] >= {"capital"} and len(design.terms_) <= churn.MAX_LEVELS + 2
    assert design.transform(frame.assign(city="new village"))[f"city {churn.OTHER}" if ("city", churn.OTHER) in design.terms_
                                                              else "city capital"].nunique() == 1  # fmt: skip


@pytest.mark.parametrize("held", [1, 9, 10, 12])
def test_a_level_of_few_customers_all_of_whom_are_held_out_is_fitted(lives, held):
    """The quarter that chooses between the two curves took the only customers of a level: the fit did not converge."""
    spec = get_model("churn")
    order = np.random.default_rng(spec.params["seed"]).permutation(len(lives))
    channel = lives["acquisition_channel"].to_numpy().copy()
    channel[order[:held]] = "pigeon"
    model = build_estimator(spec).fit(lives.assign(acquisition_channel=channel), labels_of(lives))
    assert ("acquisition_channel", "pigeon") not in model.design_.terms_


@pytest.mark.skipif(not TELCO.exists() and not os.environ.get("CI"), reason="shared/data is not beside this repository")
def test_telco_as_it_is():
    """IBM's customers: "No internet service" stands in six columns, "No phone service" in two."""
    telco = pd.read_csv(TELCO)
    columns = ["gender", "SeniorCitizen", "Partner", "Dependents", "PhoneService", "MultipleLines", "InternetService",
               "OnlineSecurity", "OnlineBackup", "DeviceProtection", "TechSupport", "StreamingTV", "StreamingMovies",
               "Contract", "PaperlessBilling", "PaymentMethod"]  # fmt: skip
    spec = get_model("churn")
    params = spec.params | {"categorical": columns, "bands": {"MonthlyCharges": [30, 60, 90]}}
    telco = telco.rename(columns={"tenure": "tenure_days", "customerID": "customer_id"}).assign(ds="2024-06-28")
    y = pd.DataFrame({"entry_days": 0.0, "duration_days": telco["tenure_days"], "is_churned": telco["Churn"] == "Yes"})
    model = build_estimator(spec.model_copy(update={"params": params})).fit(telco, y)
    repeated = [term for term in model.design_.left_out_ if "service" in term]
    assert len(repeated) == 7 and len(model.design_.terms_) > 20
    risk = model.design_.transform(telco).to_numpy() @ model.curve_.beta
    assert churn.truncated_c_index(risk, y.assign(entry_days=-1.0)) > 0.84
    effects = dict(zip(model.design_.terms_, model.curve_.beta, strict=True))
    assert effects["Contract", "Two year"] < effects["Contract", "One year"] < -0.5


@pytest.mark.skipif(not GBSG2.exists() and not os.environ.get("CI"), reason="shared/data is not beside this repository")
def test_gbsg2_as_published():
    """686 women with breast cancer, 299 events: Cox's coefficients to four digits, tumour grade as levels."""
    frame = pd.read_csv(GBSG2)
    design = frame[["age", "tsize", "pnodes", "progrec", "estrec"]].astype(float)
    for column, level in [("horTh", "yes"), ("menostat", "Pre"), ("tgrade", "II"), ("tgrade", "III")]:
        design[f"{column} {level}"] = (frame[column] == level).astype(float)
    y = pd.DataFrame({"entry_days": 0.0, "duration_days": frame["time"], "is_churned": frame["cens"] == 1})
    cox = dict(zip(design.columns, churn.fit_cox(design, y, 0.0).beta, strict=True))
    found = [cox[c] for c in ("horTh yes", "pnodes", "progrec")]
    assert len(frame) == 686 and y["is_churned"].sum() == 299
    assert found == pytest.approx([-0.3463, 0.0488, -0.0022], abs=5e-5)
    risk = design.to_numpy() @ np.array(list(cox.values()))
    assert churn.truncated_c_index(risk, y.assign(entry_days=-1.0)) == pytest.approx(0.6919, abs=0.002)


LIFETIMES = pd.DataFrame({
    "customer_id": list("abcde"),
    "ds": "2024-07-03",
    "registered_date": ["2024-01-01", "2024-04-01", "2024-03-11", "2024-01-31", "2023-01-01"],
    "entry_date": ["2024-03-01", "2024-04-01", "2024-03-11", "2024-03-01", "2024-03-01"],
    # alive; left before the cutoff; left while followed; left after the last mature day; left before observation
    "churn_date": [None, "2024-04-11", "2024-05-11", "2024-07-02", "2024-02-01"],
})  # fmt: skip


def followed(history: list[tuple[str, str, str]]):
    """(fit, judge) of LIFETIMES with a cutoff on 2024-05-01; history: customer, day, plan from then on."""
    spec = get_model("churn")
    rows = pd.DataFrame(history, columns=["customer_id", "ds", "membership_plan"]).assign(
        tenure_days=1, age_years=30.0, gender="male", acquisition_channel="app"
    )
    today = rows.groupby("customer_id", as_index=False).last().assign(ds="2024-05-01")
    cutoff = followup_cutoff(spec, "2024-01-01", "2024-06-30")
    return split_followup(spec, rows, today, LIFETIMES, cutoff=cutoff, last="2024-06-30")


def test_followup_splits_by_what_was_known_at_the_cutoff():
    fit, judge = followed([(c, day, "basic") for c, day in zip("abcde", LIFETIMES["entry_date"], strict=True)])
    assert fit.features["customer_id"].tolist() == ["a", "b", "c", "d"]
    assert fit.labels.to_numpy().tolist() == [[60, 121, False], [0, 10, True], [0, 51, False], [30, 91, False]]
    assert judge.features["customer_id"].tolist() == ["a", "c", "d"]
    assert judge.labels.to_numpy().tolist() == [[121, 60, False], [51, 10, True], [91, 60, False]]


def test_each_time_between_two_changes_is_a_row_of_its_own():
    """A plan counts from its day on and not before; one of the day of leaving comes too late to have led to it."""
    fit, judge = followed([
        ("a", "2024-03-01", "basic"), ("a", "2024-04-10", "gold"),
        ("b", "2024-04-01", "basic"), ("b", "2024-04-06", "silver"), ("b", "2024-04-11", "gold"),
        ("d", "2024-04-20", "basic"),
    ])  # fmt: skip
    rows = fit.features[["customer_id", "membership_plan"]].join(fit.labels)
    assert rows.to_numpy().tolist() == [
        ["a", "basic", 60, 100, False], ["a", "gold", 100, 121, False],
        ["b", "basic", 0, 5, False], ["b", "silver", 5, 10, True],
        ["d", "basic", 80, 91, False],  # seen from then on only: who consents later is not at risk before
    ]  # fmt: skip
    assert judge.features["membership_plan"].tolist() == ["gold", "basic"]


def test_who_changed_is_not_taken_for_what_they_became():
    """Lives under a plan that changes: rows per time recover the hazard ratio, today's plan for all of a life does not."""
    rng, n, ratio = np.random.default_rng(4), 6_000, np.exp(0.8)
    change, end, unit = rng.uniform(0, 600, n), rng.uniform(100, 900, n), rng.exponential(size=n)
    before = change / 500
    life = np.where(unit < before, unit * 500, change + (unit - before) * 500 / ratio)  # from basic to gold at `change`
    stop = np.minimum(life, end)
    has_gold = change < stop
    times = pd.DataFrame({
        "gold": np.r_[np.zeros(n), np.ones(has_gold.sum())],
        "entry_days": np.r_[np.zeros(n), change[has_gold]],
        "duration_days": np.r_[np.minimum(change, stop), stop[has_gold]],
        "is_churned": np.r_[(life <= end) & ~has_gold, (life <= end)[has_gold]],
    })  # fmt: skip
    newest = pd.DataFrame(
        {"gold": has_gold.astype(float), "entry_days": 0.0, "duration_days": stop, "is_churned": life <= end}
    )
    for fit in (churn.fit_weibull, churn.fit_cox):
        of_the_time, of_today = (fit(t[["gold"]], t.drop(columns="gold"), 0.0).beta[0] for t in (times, newest))
        assert of_the_time == pytest.approx(0.8, abs=0.1)
        assert of_today < 0.4
