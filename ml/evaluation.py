"""What every model hands back when it is judged."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Evaluation:
    """Metrics by name, the rows they were computed on (logged as evaluation.parquet), and what a person should know."""

    metrics: dict[str, float]
    rows: pd.DataFrame
    notes: tuple[str, ...] = ()
