"""Which values of a training row were known on its day.

A feature table may say beside a column of which day its value is (`<column>_as_of`, from cleaned.customer_attributes): a later
one where only a later load tells. Such a value is the future of its row, so no model is fitted or judged on it. It is left out
by the day, for all rows alike: leaving out only what changed would tell of the change.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from ml.splits import Part

AS_OF, LATE = (
    "_as_of",
    "_is_late",
)  # after a column's name: the day its value is of; whether that is after the row's own
NOT_KNOWN = "(not known that day)"


def flag_late(frame, columns: list[str]):
    """(a Spark frame of features with a flag <column>_is_late beside each of `columns` that has a day of its own, the flags)."""
    from pyspark.sql import functions as F

    dated = [column for column in columns if column + AS_OF in frame.columns]
    for column in dated:
        frame = frame.withColumn(column + LATE, F.col(column + AS_OF) > F.col("ds"))
    return frame, [column + LATE for column in dated]


def leave_out_late(fit: Part, judge: Part) -> tuple[Part, Part]:
    """(fit, judge) without the values that were not known on the day of their row; fit.notes says which.

    A column that no row to fit on knows is not among fit.features; else the value is NOT_KNOWN, or NaN of a number.
    """
    days: dict[str, list[str]] = {}
    unknown = []
    for column in _flagged(fit):
        late = fit.features[column + LATE].to_numpy(bool)
        if late.any():
            known = sorted(set(fit.features["ds"]) - set(fit.features["ds"][late]))
            days.setdefault(f"days before {known[0]}" if known else "all days", []).append(column)
        if late.all():
            unknown.append(column)
    notes = [f"{', '.join(columns)} of {span}" for span, columns in days.items()]
    if notes:
        notes = [f"left out of training, because only a later load tells what they were: {'; '.join(notes)}"]
    fit, judge = _masked(fit), _masked(judge)
    return replace(fit, features=fit.features.drop(columns=unknown), notes=tuple(notes)), judge


def _flagged(part: Part) -> list[str]:
    return [name.removesuffix(LATE) for name in part.features if name.endswith(LATE)]


def _masked(part: Part) -> Part:
    columns = _flagged(part)
    frame = part.features.drop(columns=[column + LATE for column in columns])
    for column in columns:
        nothing = np.nan if pd.api.types.is_numeric_dtype(frame[column]) else NOT_KNOWN
        frame[column] = frame[column].mask(part.features[column + LATE].to_numpy(bool), nothing)
    return replace(part, features=frame)
