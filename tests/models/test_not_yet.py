"""Young and odd companies: too little to learn from is said as such, with the day from which it is enough; else a model comes."""

import pandas as pd
import pytest

from ml import train
from ml.models import get_model
from ml.splits import Part, refuse_too_young
from warehouse import state
from warehouse.dates import shift
from warehouse.errors import NotYet, Skipped

FIRST = "2026-03-01"


@pytest.mark.parametrize(
    ("model", "days"), [("segmentation", 3), ("ctr", 3 + 1 + 14), ("churn", 3 + 1), ("budget", 3 + 28)]
)
def test_the_first_possible_day_is_named_and_is_possible(model, days):
    spec = get_model(model)
    with pytest.raises(NotYet, match=f"{model} needs {days + 1} days of history and its own begins on {FIRST}") as off:
        refuse_too_young(spec, FIRST, shift(FIRST, days - 1), late_days=3)
    assert off.value.possible_from == shift(FIRST, days)
    refuse_too_young(spec, FIRST, off.value.possible_from, late_days=3)


def one_kind(parts, value: bool):
    return tuple(Part(part.features, part.labels.assign(is_clicked=value)) for part in parts)


def lives(parts, fit_left: bool, judge_left: bool | None):
    fit, judge = parts
    gone = Part(fit.features, fit.labels.assign(is_churned=fit_left))
    if judge_left is None:
        return gone, Part(judge.features[:0], judge.labels[:0])
    return gone, Part(judge.features, judge.labels.assign(is_churned=judge_left))


def customers(parts, n: int, n_orders: int = 0):
    rows = parts[0].features.head(n).assign(n_orders_90d=0, revenue_90d=0.0, revenue_total=0.0, recency_days=None)
    rows["tenure_days"] = range(3, 3 + n)
    rows.loc[: n_orders - 1, ["n_orders_90d", "revenue_90d", "revenue_total", "recency_days"]] = [
        1,
        50.0,
        50.0,
        1,
    ]
    return Part(rows, None), Part(rows, None)


def channels(parts, keep: str | None, spend: float | None = None):
    found = []
    for part in parts:
        rows = part.features["channel"].eq(keep) if keep else pd.Series(True, part.features.index)
        features = part.features[rows].reset_index(drop=True)
        found.append(
            Part(
                features if spend is None else features.assign(spend=spend),
                part.labels[rows].reset_index(drop=True),
            )
        )
    return tuple(found)


ODD = {
    "no clicks yet": ("ctr", lambda p: one_kind(p, False), "is_clicked = False"),
    "all clicks": ("ctr", lambda p: one_kind(p, True), "is_clicked = True"),
    "nobody has left yet": ("churn", lambda p: lives(p, False, False), "nobody of .* has left yet"),
    "everyone has left": ("churn", lambda p: lives(p, True, None), None),
    "one customer": ("segmentation", lambda p: customers(p, 1), "1 different customers are too few"),
    "one order": ("segmentation", lambda p: customers(p, 50, 1), None),
    "one channel": ("budget", lambda p: channels(p, "search"), None),
    "nothing was spent": ("budget", lambda p: channels(p, None, 0.0), "nothing was spent"),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_company_has_a_model_or_is_told_what_it_waits_for(own_home, parts, data, odd):
    model, make, waits_for = ODD[odd]
    fit, judge = make(parts[model])
    if waits_for:
        with pytest.raises(NotYet, match=waits_for):
            train.train_on(get_model(model), fit, judge, data)
        assert state.promotions(model) == []
    else:
        outcome = train.train_on(get_model(model), fit, judge, data)
        assert outcome.is_promoted, outcome.sentence


def test_a_training_that_cannot_be_yet_is_noted_and_one_that_need_not_be_is_skipped(own_home, parts, data, monkeypatch):
    monkeypatch.setattr(train.stages, "require", lambda *given: None)
    state.set_fact_once("first_day", FIRST)
    with pytest.raises(NotYet, match=f"its own begins on {FIRST}; possible from {shift(FIRST, 31)}$"):
        train.train("budget", shift(FIRST, 5))
    assert state.last_off("train.budget").possible_from == shift(FIRST, 31)
    with pytest.raises(NotYet):
        train.train("ctr", shift(FIRST, 5), dry=True)
    assert state.last_off("train.ctr") is None
    assert train.train_on(get_model("budget"), *parts["budget"], data).is_promoted
    with pytest.raises(Skipped, match="budget has a champion"):
        train.train("budget", shift(FIRST, 40), missing=True)
