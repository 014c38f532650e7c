"""Scores one day with the champion: its version is resolved once, its bytes travel with the Spark job.

Every row carries the version that scored it, and a partition is scored by one version even if the champion changes
meanwhile. Code on the workers imports nothing of ours and never calls MLflow: it needs pandas, scikit-learn, scipy and
cloudpickle.
"""

import pickle

from ml import registry
from ml.models import ModelSpec, get_model
from warehouse import stages, state
from warehouse.dates import shift
from warehouse.errors import PlatformError


def score(model: str, ds: str) -> str:
    """Replace the partition ds of the model's prediction table and publish it; returns a sentence."""
    spec = get_model(model)
    stages.require(f"predictions.{model}", ds)
    champion = registry.champion(model)
    if champion is None:
        raise PlatformError(f"{model} has no champion to score {ds} with: run `mdp train {model} --ds {ds}` first.")
    payload = registry.read_model(model, champion.version)
    from warehouse.partitions import read_days, replace_partition

    table = spec.predictions.table
    with state.lock(f"{table}@{ds}"):
        frame = read_days(spec.features.table, shift(ds, 1 - spec.score.days), ds)
        predictions = predict_frame(spec, frame, payload, champion.version)
        with stages.rewriting(f"predictions.{model}", ds):
            replace_partition(predictions, table, ds)
    note = f", the baseline ({spec.baseline})" if champion.is_baseline else ""
    return f"{table} of {ds} is scored with {model} version {champion.version}{note}."


def predict_frame(spec: ModelSpec, frame, payload: bytes, version: str):
    """A Spark frame of the declared prediction columns and model_version, from a Spark frame of features."""
    from ml.train import as_doubles, collect

    rows = frame.where(spec.features.scored_rows) if spec.features.scored_rows else frame
    rows = as_doubles(rows, list(dict.fromkeys([*spec.features.key, "ds", *spec.features.columns])))
    types = spec.predictions.columns | {"model_version": "string"}
    apply = make_apply(payload, spec.features.key, list(types), version)
    # Amounts leave pandas as doubles and become decimals on Spark.
    plain = ", ".join(f"`{c}` {'double' if t.startswith('decimal') else t}" for c, t in types.items())
    if spec.score.where == "workers":
        scored = rows.mapInPandas(apply, plain)
    else:
        whole = collect(rows)
        if whole.empty:
            raise PlatformError(
                f"{spec.features.table} has no rows to plan from. Run `mdp build features` for these days."
            )
        scored = frame.sparkSession.createDataFrame(next(apply([whole])), plain)
    return scored.select(*[scored[c].cast(t).alias(c) for c, t in types.items()])


def make_apply(payload: bytes, key: list[str], columns: list[str], version: str):
    """The function a worker runs over batches of rows; nested, so that it travels by value without code of ours."""

    def apply(frames):
        estimator = pickle.loads(payload)
        for frame in frames:
            table = estimator.predict(frame)
            for name in key:
                if name not in table:
                    table[name] = frame[name]
            table["model_version"] = version
            yield table[columns]

    return apply
