"""Reads models.yml into checked specifications: what a model reads, how it is judged, what it writes.

A wrong key is refused here, with the keys that are allowed, because a misspelt threshold that is silently ignored
promotes whatever comes.
"""

import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, validate_call

from warehouse import parts
from warehouse.declarations import line_of, read
from warehouse.errors import PlatformError

MODELS_FILE = Path(__file__).with_name("models.yml")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Features(_Strict):
    """The table a model reads; `scored_rows` is an SQL condition on the rows that get a prediction."""

    table: str
    key: list[str] = Field(min_length=1)
    columns: list[str] = Field(min_length=1)
    scored_rows: str | None = None


class Label(_Strict):
    """What a model learns; horizon and lag, in days, say when a label of day ds is known."""

    table: str
    columns: list[str] = Field(min_length=1)
    horizon_days: int = Field(ge=0)
    label_lag_days: int = Field(ge=0)


class Split(_Strict):
    """Which days fit and which evaluate; see ml/splits.py."""

    kind: Literal["days", "snapshot", "followup", "purchases"]
    train_days: int = Field(default=1, ge=1)
    holdout_days: int = Field(default=0, ge=0)
    outcome_days: int = Field(default=0, ge=0)
    outcome: str | None = None


class Metric(_Strict):
    """The one figure by which models are compared."""

    name: str
    higher_is_better: bool


class Bound(_Strict):
    """Inclusive limits of a metric."""

    min: float = float("-inf")
    max: float = float("inf")


class Predictions(_Strict):
    """The table a model writes; columns map name to Spark type."""

    table: str
    columns: dict[str, str] = Field(min_length=1)


class Score(_Strict):
    """Where scoring runs, and how many days of features one prediction needs."""

    where: Literal["workers", "task"]
    days: int = Field(ge=1)


class ModelSpec(_Strict):
    """One block of models.yml; `name` is the block's key, `code` the name of the model's file in ml/.

    `instead_of` names the model whose place it takes in a company that has not the data for that one's labels.
    """

    name: str
    code: str = ""
    instead_of: str | None = None
    description: str
    params: dict[str, Any] = {}
    features: Features
    label: Label | None = None
    split: Split
    max_rows: int = Field(gt=0)
    baseline: str
    metric: Metric
    thresholds: dict[str, Bound] = Field(min_length=1)
    predictions: Predictions
    score: Score


def load_models(path: Path = MODELS_FILE) -> dict[str, ModelSpec]:
    """The company's models by name, in the file's order. PlatformError names file, key, allowed keys and line."""
    specs = {name: spec.model_copy(update={"code": name}) for name, spec in read_models(path).items()}
    off = parts.off()
    for other in [spec for spec in specs.values() if spec.instead_of]:
        del specs[other.name]
        place = specs[other.instead_of]
        if place.label.table in off:
            specs[place.name] = other.model_copy(update={"name": place.name})
    return specs


def read_models(path: Path = MODELS_FILE) -> dict[str, ModelSpec]:
    """All blocks by name, whatever the company has."""
    return read(path, "model", ModelSpec.model_validate, _explain)


def get_model(name: str) -> ModelSpec:
    """The specification of one model; PlatformError lists the known ones."""
    specs = load_models()
    if name not in specs:
        raise PlatformError(f"There is no model '{name}' in {MODELS_FILE.name}. Known models: {', '.join(specs)}.")
    return specs[name]


def import_model(spec: ModelSpec) -> ModuleType:
    """The module ml.<code> with the model's make_estimator, make_baseline, evaluate and plot."""
    return importlib.import_module(f"ml.{spec.code}")


def build_estimator(spec: ModelSpec):
    """The model's unfitted estimator; PlatformError names each parameter of models.yml that it does not take or lacks."""
    make = import_model(spec).make_estimator
    try:
        return validate_call(make, config=ConfigDict(strict=True))(**spec.params)
    except ValidationError as error:
        allowed, faults = ", ".join(inspect.signature(make).parameters), []
        for fault in error.errors():
            place = [spec.code, "params", *fault["loc"]]
            key, line = ".".join(map(str, place)), line_of(MODELS_FILE, place)
            said = f"{key}: {fault['msg'].lower()}. Correct this key"
            if fault["type"] == "unexpected_keyword_argument":
                said = f"unknown key {key}; allowed keys: {allowed}"
            faults.append(f"{MODELS_FILE.name}: {said} (line {line})")
        raise PlatformError("\n".join(faults)) from None


def _explain(name: str, fault: dict) -> str:
    key = ".".join(map(str, (name, *fault["loc"])))
    if fault["type"] != "extra_forbidden":
        return f"{key}: {fault['msg'].lower()}. Correct this key"
    model = ModelSpec
    for part in fault["loc"][:-1]:
        model = _model_below(model, part)
    return f"unknown key {key}; allowed keys: {_known_keys(model)}"


def _model_below(model: type[_Strict], part: str | int) -> type[_Strict]:
    """The specification class below `part`: the field's own, or the one in its Optional or dict; else the same."""
    field = model.model_fields.get(str(part))
    candidates = [field.annotation, *get_args(field.annotation)] if field else []
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, _Strict)), model)


def _known_keys(model: type[_Strict]) -> str:
    return ", ".join(key for key in model.model_fields if key not in ("name", "code") or model is not ModelSpec)
