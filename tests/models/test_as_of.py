"""Does a model learn nothing from a value that its row could not know, and is that said?"""

import numpy as np
import pandas as pd
import pytest

from ml import registry
from ml.as_of import LATE, NOT_KNOWN, leave_out_late
from ml.models import get_model
from ml.splits import Part
from ml.train import train_on

SAID = "left out of training, because only a later load tells what they were: "


def flagged(part: Part, columns: list[str], before: str) -> Part:
    """The part with flags: the values of `columns` are of a later day in rows before `before`."""
    flags = {column + LATE: part.features["ds"] < before for column in columns}
    return Part(part.features.assign(**flags), part.labels)


def test_late_values_are_left_out_by_the_day_and_said():
    frame = pd.DataFrame({
        "ds": ["2024-06-01", "2024-06-01", "2024-06-02"], "gender": ["female", None, "male"],
        "age_years": [30.0, np.nan, 40.0], "city": "Rome", "channel": "app",
    })  # fmt: skip
    part = flagged(Part(frame, None), ["gender", "age_years"], "2024-06-02")
    part.features["city" + LATE] = True
    fit, judge = leave_out_late(part, part)
    assert list(fit.features) == ["ds", "gender", "age_years", "channel"]
    assert fit.features["gender"].tolist() == [NOT_KNOWN, NOT_KNOWN, "male"]
    assert fit.features["age_years"].isna().tolist() == [True, True, False]
    assert fit.notes == (f"{SAID}gender, age_years of days before 2024-06-02; city of all days",)
    assert judge.features["city"].tolist() == [NOT_KNOWN] * 3 and judge.notes == ()


def test_what_is_of_the_day_stays_and_nothing_is_said(parts):
    fit, judge = parts["ctr"]
    kept, _ = leave_out_late(flagged(fit, ["gender"], "2024-01-01"), judge)
    pd.testing.assert_frame_equal(kept.features, fit.features)
    assert kept.notes == ()


@pytest.mark.parametrize("model", ["ctr", "churn"])
def test_a_company_of_one_load_trains_without_what_that_load_alone_tells(own_home, parts, data, model):
    """All days lie before the load; what is registered reads the other columns only and says so on its card."""
    columns = {"ctr": ["gender", "age_band", "membership_plan"], "churn": ["gender", "age_years", "membership_plan"]}[
        model
    ]
    fit, judge = parts[model]
    if model == "churn":  # planted in the plan; what is fixed at registration has to do without it
        rng = np.random.default_rng(0)
        fit, judge = (
            Part(p.features.assign(acquisition_channel=np.where(p.labels["is_churned"] & (rng.random(len(p.labels)) < 0.5),
                                                                "search", p.features["acquisition_channel"])), p.labels)
            for p in (fit, judge)
        )  # fmt: skip
    outcome = train_on(get_model(model), *leave_out_late(*(flagged(p, columns, "9") for p in (fit, judge))), data)
    note = f"{SAID}{', '.join(columns)} of all days"
    assert outcome.is_promoted and not outcome.is_baseline and note in outcome.sentence
    found = registry.champion(model)
    assert not set(columns) & set(registry.inputs(found)) and note in found.notes
    assert note in registry.client().get_model_version(model, found.version).description
