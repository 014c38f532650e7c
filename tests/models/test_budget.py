"""Does the plan solve the known table, keep its limits, and come from curves that are the planted ones?"""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pulp
import pytest
from planted import TRUE_CURVES, plant_channels

from ml import budget
from ml.budget import Option, allocate
from ml.models import build_estimator, get_model
from warehouse.errors import NotYet, PlatformError

TABLE = [
    Option("information feed", 50, 2_000, 10_000, ((10_000, 3.2),)),
    Option("search", 80, 1_500, 6_000, ((6_000, 4.5),)),
    Option("short video", 30, 3_000, 15_000, ((15_000, 2.8),)),
]


def test_the_known_table():
    best = allocate(TABLE, 1_130_000)
    assert best.units == pytest.approx({"information feed": 10_000, "search": 2_250, "short video": 15_000})
    assert best.total_return == pytest.approx(84_125)
    assert best.shadow_price == pytest.approx(0.05625, abs=1e-6)


def test_a_budget_below_the_floors_names_what_conflicts():
    with pytest.raises(PlatformError) as error:
        allocate(TABLE, 300_000)
    text = str(error.value)
    for part in ("information feed 2,000.00 x 50.00 = 100,000.00", "search", "short video", "together 310,000.00",
                 "budget is 300,000.00", "Raise the budget by 10,000.00"):  # fmt: skip
        assert part in text
    assert allocate(TABLE, 310_000).units == pytest.approx({o.name: o.floor for o in TABLE})


def test_a_floor_above_its_cap_and_rising_returns_are_refused():
    with pytest.raises(PlatformError, match="floor of a .* above its cap"):
        allocate([Option("a", 1, 5, 4, ((4, 1.0),))], 10)
    with pytest.raises(PlatformError, match="returns of a rise"):
        allocate([Option("a", 1, 0, 4, ((2, 1.0), (2, 2.0)))], 10)


def test_a_saturated_channel_whose_last_returns_differ_by_rounding_is_planned():
    """Its scale is the smallest that a fit gives (SPAN), its cap the largest: cap / b = 40."""
    pieces = budget.Curve(a=300.0, b=25.0, order_value=0.1, is_identified=True).pieces(cap=1_000, n=40)
    slopes = [slope for _, slope in pieces]
    assert slopes != sorted(slopes, reverse=True), "rounding does not show here: choose another curve"
    best = allocate([Option("a", 1, 0, 1_000, pieces), Option("b", 1, 0, 1_000, ((1_000, 0.01),))], 1_000)
    better = [(width, slope) for width, slope in pieces if slope > 0.01]
    assert best.units["a"] == pytest.approx(sum(width for width, _ in better))
    assert best.total_return == pytest.approx(sum(w * s for w, s in better) + 0.01 * best.units["b"])


def test_more_money_than_caps_has_no_shadow_price():
    best = allocate(TABLE, 10_000_000)
    assert best.units == pytest.approx({o.name: o.cap for o in TABLE})
    assert best.shadow_price == 0


def test_a_solver_that_breaks_a_constraint_is_caught(monkeypatch):
    solve = pulp.LpProblem.solve

    def cheat(problem, *args, **kwargs):
        status = solve(problem, *args, **kwargs)
        problem.variables()[0].varValue += 1_000
        return status

    monkeypatch.setattr(pulp.LpProblem, "solve", cheat)
    with pytest.raises(PlatformError, match="breaks the limits|spends"):
        allocate(TABLE, 1_130_000)


@pytest.fixture(scope="module")
def planted():
    X, y = plant_channels(n_days=600)
    return X, y, build_estimator(get_model("budget")).fit(X, y)


def test_planted_curves_are_recovered(planted):
    _, _, model = planted
    assert model.fallbacks_ == []
    for channel, (a, b) in TRUE_CURVES.items():
        curve = model.curves_[channel]
        for spend in (300, 900, 2_000):
            assert curve.expected_return(spend) == pytest.approx(150 * a * (1 - np.exp(-spend / b)), rel=0.08)


def test_a_bend_that_spend_never_showed_is_reported():
    X, y = plant_channels(spread=0.001)
    model = build_estimator(get_model("budget")).fit(X, y)
    assert model.fallbacks_ == sorted(TRUE_CURVES)
    assert "assumed" in budget.evaluate(model, X, y).notes[0]


def test_the_plan_keeps_floors_caps_and_budget_and_is_near_the_true_optimum(planted):
    X, _, model = planted
    recent = X[X["ds"] > sorted(X["ds"].unique())[-29]]
    plan = model.predict(recent).set_index("channel")
    assert list(plan.columns) + ["channel"] != [] and set(plan.index) == set(TRUE_CURVES)
    assert (plan["floor_spend"] <= plan["spend"]).all() and (plan["spend"] <= plan["cap_spend"]).all()
    assert plan["spend"].sum() == pytest.approx(plan["budget"].iloc[0], abs=0.05)
    assert plan["spend"].sum() <= plan["budget"].iloc[0]
    mean = budget.mean_daily_spend(recent)
    assert plan["cap_spend"].to_dict() == pytest.approx((2 * mean).to_dict(), abs=0.011)
    truth = build_estimator(get_model("budget"))
    truth.curves_ = {c: budget.Curve(a, b, 150.0, True) for c, (a, b) in TRUE_CURVES.items()}
    optimum = truth.predict(recent).set_index("channel")

    def value(p: pd.DataFrame) -> float:
        return sum(float(truth.curves_[c].expected_return(s)) for c, s in p["spend"].items())

    proportional = budget.make_baseline().fit(X, planted[1]).predict(recent).set_index("channel")
    assert value(plan) > 0.99 * value(optimum)
    assert value(proportional) < value(plan)
    # at the optimum the last unit of money returns the same wherever no limit binds
    price = optimum["shadow_price"].iloc[0]
    inner = [c for c in optimum.index if optimum.floor_spend[c] + 1 < optimum.spend[c] < optimum.cap_spend[c] - 1]
    assert inner
    for c in inner:
        a, b = TRUE_CURVES[c]
        assert 150 * a / b * np.exp(-optimum.spend[c] / b) == pytest.approx(price, rel=0.1)


@pytest.mark.parametrize("change", [{"spend": 0.0}, {"spend": -1.0}, {"channel": "new"}])
def test_nothing_to_plan_with_is_said(planted, change):
    X, _, model = planted
    with pytest.raises(NotYet, match="nothing was spent in the last 28 days on a channel with a curve"):
        model.predict(X.tail(84).assign(**change))


def test_credit_notes_above_the_spend_count_as_nothing_spent(planted):
    X, y, model = planted
    noted = X["spend"].where(X["channel"] != "social", -10.0)
    plan = model.predict(X.assign(spend=noted).tail(84)).set_index("channel")
    assert plan.loc["social", ["spend", "floor_spend", "cap_spend"]].tolist() == [0, 0, 0]
    assert (plan["floor_spend"] <= plan["spend"]).all() and plan["spend"].sum() <= plan["budget"].iloc[0]
    assert list(build_estimator(get_model("budget")).fit(X.assign(spend=noted), y).curves_) == ["display", "search"]


def test_two_channels_always_moved_together_have_their_own_curves():
    """Returns are counted by channel, so spends that move together are no obstacle."""
    X, y = plant_channels(n_days=600)
    rng = np.random.default_rng(5)
    search, social = (X["channel"] == c for c in ("search", "social"))
    X.loc[social, "spend"] = 2 * X.loc[search, "spend"].to_numpy()
    a, b = TRUE_CURVES["social"]
    orders = rng.poisson(X["demand_index"] * a * (1 - np.exp(-X["spend"] / b)))
    y = y.assign(
        n_orders=y["n_orders"].where(~social, orders), return_amount=y["return_amount"].where(~social, 150.0 * orders)
    )
    model = build_estimator(get_model("budget")).fit(X, y)
    for channel in ("search", "social"):
        a, b = TRUE_CURVES[channel]
        assert model.curves_[channel].expected_return(900) == pytest.approx(150 * a * (1 - np.exp(-900 / b)), rel=0.08)


def test_spend_that_works_on_for_days_is_credited_for_them_and_other_spend_is_not():
    X, y = plant_channels(n_days=600)
    order = np.lexsort((X["ds"], X["channel"]))
    X, y = X.iloc[order].reset_index(drop=True), y.iloc[order].reset_index(drop=True)
    search = (X["channel"] == "search").to_numpy()
    a, b = TRUE_CURVES["search"]
    lasting = budget.carry_over(X["spend"].to_numpy()[search], 0.6)
    orders = np.random.default_rng(6).poisson(X["demand_index"][search] * a * (1 - np.exp(-lasting / b)))
    y.loc[search, "n_orders"], y.loc[search, "return_amount"] = orders, 150.0 * orders
    shuffled = np.random.default_rng(7).permutation(len(X))  # rows come in no order
    model = build_estimator(get_model("budget")).fit(X.iloc[shuffled], y.iloc[shuffled])
    assert {c: curve.carried for c, curve in model.curves_.items()} == dict.fromkeys(TRUE_CURVES, 0.0) | {"search": 0.6}
    assert model.curves_["search"].expected_return(900) == pytest.approx(150 * a * (1 - np.exp(-900 / b)), rel=0.08)
    assert np.allclose(model.expected_return(X)[shuffled], model.expected_return(X.iloc[shuffled]))
    assert budget.carry_over(np.full(9, 7.0), 0.6) == pytest.approx(7.0), (
        "what is spent every day carries over to itself"
    )


def test_a_champion_of_a_version_without_carrying_over_can_be_judged(planted):
    X, y, model = planted
    old = SimpleNamespace(curves_=dict.fromkeys(model.curves_, SimpleNamespace(a=1.0, b=1.0)), fallbacks_=[],
                          expected_return=model.expected_return)  # fmt: skip
    assert budget.evaluate(old, X, y).metrics == budget.evaluate(model, X, y).metrics
