"""What every model hands back when it is judged, and how a probability is held against what came."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

CALIBRATION_BINS = 10


@dataclass(frozen=True)
class Evaluation:
    """Metrics by name, the rows they were computed on (logged as evaluation.parquet), and what a person should know."""

    metrics: dict[str, float]
    rows: pd.DataFrame
    notes: tuple[str, ...] = ()


def calibration_bins(label: np.ndarray, prediction: np.ndarray) -> pd.DataFrame:
    """Mean prediction, observed rate and number of rows in bins of equal size by prediction."""
    bins = np.array_split(np.argsort(prediction, kind="stable"), CALIBRATION_BINS)
    rows = [(prediction[b].mean(), label[b].mean(), len(b)) for b in bins if len(b)]
    return pd.DataFrame(rows, columns=["predicted", "observed", "n"])
