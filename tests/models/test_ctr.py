"""Does the click model find an interaction nobody told it of, and are its probabilities true after class weighting?"""

import numpy as np
import pytest
from planted import plant_impressions
from sklearn.metrics import roc_auc_score

from ml import ctr
from ml.models import build_estimator, get_model
from warehouse.errors import PlatformError

N, FIT = 40_000, 30_000


@pytest.fixture(scope="module")
def planted():
    frame, labels, p = plant_impressions(N)
    model = build_estimator(get_model("ctr")).fit(frame[:FIT], labels[:FIT])
    return frame[FIT:], labels[FIT:], p[FIT:], model


def test_a_planted_interaction_is_found(planted):
    frame, labels, p, model = planted
    metrics = ctr.evaluate(model, frame, labels).metrics
    bayes = roc_auc_score(labels["is_clicked"], p)
    assert bayes > 0.7
    assert metrics["auc"] > 0.97 * bayes


def test_probabilities_are_calibrated_although_classes_are_weighted(planted):
    frame, labels, p, model = planted
    metrics = ctr.evaluate(model, frame, labels).metrics
    assert model.class_weight == "balanced" and metrics["base_rate"] < 0.2
    assert 0.93 < metrics["calibration_ratio"] < 1.07
    assert metrics["calibration_error"] < 0.015
    prediction = model.predict(frame)["click_probability"]
    assert np.abs(prediction - p).mean() < 0.03


def test_types_of_a_column_and_unseen_values_do_not_matter(planted):
    frame, _, _, model = planted
    few = frame.head(50)
    as_float = few.assign(position=few["position"].astype(float))
    assert np.array_equal(model.predict(few), model.predict(as_float))
    unseen = model.predict(few.assign(placement="never_seen"))["click_probability"]
    assert unseen.between(0, 1).all()


def test_labels_of_one_kind_are_refused(planted):
    frame, labels, _, _ = planted
    with pytest.raises(PlatformError, match="is_clicked = False"):
        build_estimator(get_model("ctr")).fit(frame, labels & False)
