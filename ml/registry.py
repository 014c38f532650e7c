"""The model registry: MLflow versions and the alias `champion`, with every promotion in the state database's ledger.

MLflow keeps no history of its aliases, so who promoted what and why stands in our ledger, and rollback reads it there.
Locally the store is a SQLite file opened directly: scoring needs no server.
"""

import fcntl
import functools
import json
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ml.models import get_model, load_models
from warehouse import leases, state
from warehouse.errors import PlatformError
from warehouse.settings import settings

CHAMPION = "champion"
ROLLBACK = "rollback"  # how the reason of a rollback begins in the ledger
ARTIFACT = "model"
FINGERPRINT = "fingerprint.json"
EVALUATION = "evaluation.parquet"


@dataclass(frozen=True)
class Version:
    """A registered version: metrics of its training run, notes that a person should know, code its file in ml/."""

    model: str
    version: str
    run_id: str
    is_baseline: bool
    is_champion: bool
    metrics: dict[str, float]
    notes: str = ""
    code: str = ""


def client():
    """The MLflow client of MDP_MLFLOW_URI; also makes that store mlflow's own for this process."""
    return _client(settings().mlflow_uri)


@functools.cache
def _client(uri: str):
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import mlflow

    for name in ("mlflow", "alembic"):  # schema creation and pickle notices, once per process, are no news to a user
        logging.getLogger(name).setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    if not uri.startswith("sqlite:///"):
        return mlflow.MlflowClient(uri)
    folder = Path(uri.removeprefix("sqlite:///")).parent
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as one_at_a_time:  # first trainings at once would race to create the tables
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        return mlflow.MlflowClient(uri)


def experiment_id(model: str) -> str:
    """The id of the model's experiment, created on first use with its artifacts beside a SQLite store."""
    uri = settings().mlflow_uri
    found = client().get_experiment_by_name(model)
    if found:
        return found.experiment_id
    beside = Path(uri.removeprefix("sqlite:///")).parent / "artifacts" / model
    return client().create_experiment(model, beside.as_uri() if uri.startswith("sqlite:///") else None)


def register(
    model: str, estimator, inputs, params: dict, metrics: dict, tags: dict, rows, figures: dict, data: dict
) -> str:
    """Log one run and register its estimator; returns the version.

    inputs: feature rows, of which only names and types are kept, as signature. rows: the judged rows, logged as
    evaluation.parquet. data: the fingerprint. Classes of ours are pickled by value: what loads the model needs
    scikit-learn, not our code.
    """
    connected = client()
    import cloudpickle
    import mlflow.sklearn
    from mlflow.models import infer_signature

    import ml
    import warehouse

    for package in (ml, warehouse):
        cloudpickle.register_pickle_by_value(package)
    # whole numbers are declared as doubles: with nulls among them that is how they arrive
    example = inputs.head(100).astype(dict.fromkeys(inputs.select_dtypes("integer"), float))
    name = f"{model} {params.get('trained_on', '')}".strip()
    with mlflow.start_run(
        experiment_id=experiment_id(model), run_name=name, tags=tags | {"data_hash": data["hash"]}
    ) as run:
        mlflow.log_params(params)
        mlflow.log_metrics(metrics)
        with tempfile.TemporaryDirectory() as folder:
            rows.to_parquet(Path(folder) / EVALUATION, index=False)
            (Path(folder) / FINGERPRINT).write_text(json.dumps(data, indent=1), encoding="utf-8")
            for name, figure in figures.items():
                figure.savefig(Path(folder) / f"{name}.png", dpi=90)
            mlflow.log_artifacts(folder)
        logged = mlflow.sklearn.log_model(
            estimator,
            name=ARTIFACT,
            serialization_format="cloudpickle",
            pip_requirements=["scikit-learn", "pandas", "scipy", "cloudpickle"],
            signature=infer_signature(example, estimator.predict(example)),
        )
    if not connected.search_registered_models(filter_string=f"name='{model}'"):
        connected.create_registered_model(model)
    made = connected.create_model_version(model, logged.model_uri, run.info.run_id, tags, description=tags.get("notes"))
    return str(made.version)


def champion(model: str) -> Version | None:
    """The version with the alias champion, or None."""
    from mlflow.exceptions import MlflowException

    try:
        found = client().get_model_version_by_alias(model, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # no such model, no such alias
            return None
        raise
    return _version(found, found.version)


def versions(model: str) -> list[Version]:
    """All registered versions of a model, oldest first."""
    found = client().search_model_versions(f"name='{model}'")
    current = champion(model) if found else None
    return [_version(v, current and current.version) for v in sorted(found, key=lambda v: int(v.version))]


def _version(found, champion_version: str | None) -> Version:
    metrics = client().get_run(found.run_id).data.metrics
    return Version(
        found.name,
        str(found.version),
        found.run_id,
        "baseline" in found.tags,
        str(found.version) == str(champion_version),
        metrics,
        found.tags.get("notes", ""),
        found.tags.get("code", found.name),
    )


def inputs(version: Version | None) -> list[str]:
    """The columns that a version's signature names as its inputs ([] for None)."""
    if version is None:
        return []
    client()
    from mlflow.models import get_model_info

    return list(get_model_info(f"models:/{version.model}/{version.version}").signature.inputs.input_names())


def read_model(model: str, version: str) -> bytes:
    """The pickled estimator of a version, as bytes that can travel with a job."""
    client()
    from mlflow.artifacts import download_artifacts

    return (Path(download_artifacts(f"models:/{model}/{version}")) / "model.pkl").read_bytes()


def promote(model: str, version: str, reason: str) -> str:
    """Make a version the champion and write it into the ledger; returns a sentence. PlatformError if it cannot be."""
    get_model(model)
    found = client().search_model_versions(f"name='{model}'")
    known = {str(v.version): v for v in sorted(found, key=lambda v: int(v.version))}
    if str(version) not in known:
        raise PlatformError(
            f"{model} has no version {version}. Known versions: {', '.join(known) or 'none, train it first'}."
        )
    before = champion(model)
    if before and before.version == str(version):
        raise PlatformError(f"Version {version} is the champion of {model} already.")
    chosen = _version(known[str(version)], None)
    data = _read_fingerprint(chosen.run_id)
    with leases.lock(f"promote {model}"):
        state.require_held()
        client().set_registered_model_alias(model, CHAMPION, str(version))
        state.record_promotion(
            model, before.version if before else None, str(version), reason, chosen.metrics, json.dumps(data)
        )
    return (
        f"{model}: version {version} is the champion now, {f'version {before.version}' if before else 'nothing'} was."
    )


def _read_fingerprint(run_id: str) -> dict:
    return json.loads(_artifact(run_id, FINGERPRINT).read_text(encoding="utf-8"))


def _artifact(run_id: str, name: str) -> Path:
    client()
    from mlflow.artifacts import download_artifacts

    return Path(download_artifacts(run_id=run_id, artifact_path=name))


def read_evaluation(model: str):
    """The rows (pandas) that the champion was judged on when it was trained, or None without a champion."""
    import pandas as pd

    found = champion(model)
    return pd.read_parquet(_artifact(found.run_id, EVALUATION)) if found else None


def rollback(model: str) -> str:
    """Make the champion before the present one champion again; repeated, it goes further back. Returns a sentence."""
    get_model(model)
    line: list[str] = []
    for entry in state.promotions(model):
        if entry["reason"].startswith(ROLLBACK) and entry["to_version"] in line:
            line = line[: line.index(entry["to_version"]) + 1]
        else:
            line.append(entry["to_version"])
    if len(line) < 2:
        raise PlatformError(f"{model} has no earlier champion to go back to. See `mdp model show {model}`.")
    return promote(model, line[-2], f"{ROLLBACK} from version {line[-1]}")


def list_models() -> list[dict]:
    """One row per model of models.yml: model, champion (version or None), is_baseline, n_versions, metric, value."""
    rows = []
    for name, spec in load_models().items():
        found = client().search_model_versions(f"name='{name}'")
        best = champion(name) if found else None
        rows.append({
            "model": name, "champion": best and best.version, "is_baseline": bool(best and best.is_baseline),
            "n_versions": len(found), "metric": spec.metric.name, "value": best and best.metrics.get(spec.metric.name),
        })  # fmt: skip
    return rows


def show(model: str) -> dict:
    """{model, description, baseline, versions: [Version], promotions: ledger rows, oldest first}."""
    spec = get_model(model)
    return {"model": model, "description": spec.description, "baseline": spec.baseline, "versions": versions(model),
            "promotions": state.promotions(model)}  # fmt: skip
