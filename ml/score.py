"""Scores one day with the champion: its version is resolved once, its bytes travel with the Spark job.

Every row carries the version that scored it, and a partition is scored by one version even if the champion changes
meanwhile. Code on the workers imports nothing of ours and never calls MLflow: it needs pandas, scikit-learn, scipy and
cloudpickle.
"""

import pickle

from ml import consent, registry
from ml.models import ModelSpec, get_model, load_models
from ml.train import TRAINING, refuse_if_off
from warehouse import leases, stages, state
from warehouse.dates import shift
from warehouse.errors import NotYet, PlatformError


def score(model: str, ds: str) -> str:
    """Replace the partition ds of the model's prediction table and publish it; returns a sentence.

    NotYet if the model could not be trained so far or has nothing to plan from: the day is marked as off for it, its
    partition is empty, and what follows goes on without.
    """
    spec = get_model(model)
    refuse_if_off(model)
    stages.require(f"predictions.{model}", ds)
    champion, off = registry.champion(model), state.last_off(TRAINING + model)
    if champion is None and off is None:
        raise PlatformError(f"{model} has no champion to score {ds} with: run `mdp train {model} --ds {ds}` first.")
    from warehouse.partitions import read_days, replace_partition

    table, stage = spec.predictions.table, f"predictions.{model}"
    with leases.lock(f"{table}@{ds}"):
        try:
            if champion is None:
                raise NotYet(off.reason, off.possible_from)
            payload = registry.read_model(model, champion.version)
            frame = consent.leave_out(read_days(spec.features.table, shift(ds, 1 - spec.score.days), ds), ds)
            predictions = predict_frame(spec, frame, payload, champion.version, registry.inputs(champion))
        except NotYet as reason:
            stages.take_back(stage, ds)
            replace_partition(_no_rows(spec), table, ds)
            state.switch_off(stage, ds, str(reason), reason.possible_from)
            raise NotYet(f"{model} is off on {ds}: {state.off(ds)[stage]}", reason.possible_from) from None
        with stages.rewriting(stage, ds):
            replace_partition(predictions, table, ds)
    note = f", the baseline ({spec.baseline})" if champion.is_baseline else ""
    return f"{table} of {ds} is scored with {model} version {champion.version}{note}."


def make_missing_tables(ds: str) -> None:
    """Make the prediction tables of models that this company never had; whoever reads them finds no row."""
    from warehouse.partitions import replace_partition
    from warehouse.session import session

    for spec in load_models().values():
        if not session().catalog.tableExists(spec.predictions.table):
            replace_partition(_no_rows(spec), spec.predictions.table, ds)


def _no_rows(spec: ModelSpec):
    """An empty Spark frame of the prediction table's columns."""
    from warehouse.session import session

    columns = spec.predictions.columns | {"model_version": "string"}
    return session().createDataFrame([], ", ".join(f"`{name}` {kind}" for name, kind in columns.items()))


def predict_frame(spec: ModelSpec, frame, payload: bytes, version: str, reads: list[str] = ()):
    """A Spark frame of the declared prediction columns and model_version, from a Spark frame of features.

    `reads`: what the model was trained on, which may be more than models.yml names by now. PlatformError if it is gone.
    """
    from ml.train import as_doubles, collect

    lacks = [column for column in reads if column not in frame.columns]
    if lacks:
        raise PlatformError(
            f"{spec.name} version {version} reads {', '.join(lacks)}, which {spec.features.table} has no more: "
            f"run `mdp train {spec.name}`, which replaces it"
        )
    rows = frame.where(spec.features.scored_rows) if spec.features.scored_rows else frame
    rows = as_doubles(rows, list(dict.fromkeys([*spec.features.key, "ds", *spec.features.columns, *reads])))
    types = spec.predictions.columns | {"model_version": "string"}
    apply = make_apply(payload, spec.features.key, list(types), version)
    # Amounts leave pandas as doubles and become decimals on Spark.
    plain = ", ".join(f"`{c}` {'double' if t.startswith('decimal') else t}" for c, t in types.items())
    if spec.score.where == "workers":
        scored = rows.mapInPandas(apply, plain)
    else:
        whole = collect(rows)
        if whole.empty:
            raise NotYet(f"{spec.features.table} has no rows to plan from in the last {spec.score.days} days")
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
