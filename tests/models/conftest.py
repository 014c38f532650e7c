"""An empty registry and state database of a test's own, and planted data in parts as training reads them."""

import shutil

import numpy as np
import pandas as pd
import pytest
from planted import plant_channels, plant_groups, plant_impressions, plant_lifetimes

from ml import registry
from ml.splits import Part


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A MLflow SQLite store with its tables and nothing in it: made once, it takes some seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    registry._client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def own_home(tmp_path, monkeypatch, empty_store):
    """MDP_HOME of the test's own, with an empty registry."""
    (tmp_path / "mlflow").mkdir()
    shutil.copy(empty_store, tmp_path / "mlflow" / "mlflow.db")
    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def parts() -> dict[str, tuple[Part, Part]]:
    """Model name -> (fit, judge) of planted data."""
    clicks, is_clicked, _ = plant_impressions(12_000)
    lives = plant_lifetimes(3_000)
    labels = lives[["entry_days", "duration_days", "is_churned"]]
    followed = pd.DataFrame({"entry_days": lives["tenure_days"], "duration_days": 60, "is_churned": False})
    risk = 1 - np.exp(-0.05 * np.exp(lives["log_hazard"] * 1.5))
    followed["is_churned"] = np.random.default_rng(0).random(len(lives)) < risk
    followed.loc[followed["is_churned"], "duration_days"] = 30
    groups, _ = plant_groups()
    spend, gain = plant_channels()
    day = spend["ds"] > "2024-07-01"
    return {
        "ctr": (Part(clicks[:9000], is_clicked[:9000]), Part(clicks[9000:], is_clicked[9000:])),
        "churn": (Part(lives, labels), Part(lives, followed)),
        "segmentation": (Part(groups, None), Part(groups, None)),
        "budget": (Part(spend[~day], gain[~day]), Part(spend[day], gain[day])),
    }


@pytest.fixture(scope="session")
def data() -> dict:
    """A fingerprint as training makes it."""
    return {"hash": "0" * 16, "loads": ["crm__orders@2024-06-30"], "n_fit": 1, "n_judged": 1, "first_day": "2024-06-01",
            "last_day": "2024-06-27", "trained_on": "2024-06-30"}  # fmt: skip
