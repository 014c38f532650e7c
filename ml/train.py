"""Trains one model: read matured rows, split by time, fit, judge, register, promote if better.

One path for all models. A model is promoted only if its metrics keep within the thresholds, it beats the baseline, and
it beats the champion on the very same rows. If nothing passes and there is no champion, the baseline becomes champion:
scoring never stands still.
"""

import hashlib
import json
import logging
import pickle
from dataclasses import dataclass

import pandas as pd

from ml import consent, registry
from ml.as_of import flag_late, leave_out_late
from ml.evaluation import Evaluation
from ml.models import ModelSpec, build_estimator, get_model, import_model
from ml.splits import (
    Part,
    followup_cutoff,
    last_mature_day,
    refuse_too_young,
    split_days,
    split_followup,
    split_purchases,
    split_snapshot,
)
from warehouse import parts, stages, state
from warehouse.company import company
from warehouse.dates import shift
from warehouse.errors import NotYet, PlatformError, Skipped

NEXT = "next_"  # before the name of an outcome: it came after the day of its row
TENURE = "tenure_days"  # grows by itself: no change of a customer
TRAINING = "train."  # before the model's name: the stage under which a training that cannot be yet is noted


@dataclass(frozen=True)
class Outcome:
    """What came of a training; `sentence` is for people."""

    model: str
    version: str | None
    is_promoted: bool
    is_baseline: bool
    metrics: dict[str, float]
    reasons: list[str]
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def train(model: str, ds: str, dry: bool = False, missing: bool = False) -> Outcome:
    """Train `model` on what had matured by ds; `dry` fits and judges but writes nothing. PlatformError if it cannot.

    NotYet if there is too little to learn from so far, which is noted for `score`; with `missing`, Skipped if the model
    has a champion.
    """
    spec = get_model(model)
    refuse_if_off(model)
    stages.require(f"predictions.{model}", ds)  # what a model may be scored on it may learn from, and nothing else
    if missing and registry.champion(model):
        raise Skipped(f"{model} has a champion")
    late_days = company().late_days
    last = last_mature_day(spec, ds, late_days)
    try:
        refuse_too_young(spec, state.fact("first_day") or last, ds, late_days)
        fit, judge = read_parts(spec, ds, last, registry.inputs(registry.champion(model)))
        if fit.features.empty:
            raise NotYet(f"{model}: {spec.features.table} has nothing to fit on up to {last}")
        return train_on(spec, fit, judge, fingerprint(ds, last, fit, judge), dry)
    except NotYet as reason:
        if not dry:
            state.switch_off(TRAINING + model, ds, str(reason), reason.possible_from)
        said = state.Off(TRAINING + model, ds, str(reason), reason.possible_from)
        raise NotYet(str(said), reason.possible_from) from None


def read_parts(spec: ModelSpec, ds: str, last: str, champion_reads: list[str] = ()) -> tuple[Part, Part]:
    """(fit, judge) of the model's split, read through Spark into pandas, at most max_rows rows of needed columns.

    What the champion reads is read, too, where the table still has it: it is judged on the same rows. What was not known
    on the day of a row is left out (ml/as_of.py).
    """
    return leave_out_late(*_split(spec, ds, last, champion_reads))


def _split(spec: ModelSpec, ds: str, last: str, champion_reads: list[str]) -> tuple[Part, Part]:
    columns = [*spec.features.key, "ds", *spec.features.columns]
    columns += still_there(spec, champion_reads, columns)
    if spec.split.kind == "snapshot":
        rows = _to_pandas(spec, _read(spec.features.table, last, last, columns, ds))
        return split_snapshot(spec, rows, last, _read_past(spec, ds, last, columns))
    if spec.split.kind == "purchases":
        cutoff = followup_cutoff(spec, state.fact("first_day") or last, last)
        then, now = (_to_pandas(spec, _read(spec.features.table, day, day, columns, ds)) for day in (cutoff, last))
        return split_purchases(spec, then, now, cutoff, last)
    labels = [*spec.features.key, "ds", *spec.label.columns]
    if spec.split.kind == "followup":
        first = state.fact("first_day") or last
        cutoff = followup_cutoff(spec, first, last)
        today = _to_pandas(spec, _read(spec.features.table, cutoff, cutoff, columns, ds))
        history = _to_pandas(
            spec, _on_change(_read(spec.features.table, first, cutoff, columns, ds), spec.features.key)
        )
        # Lifetimes are written for the newest day of a run only; a later snapshot tells of earlier days just as well.
        lifetimes = collect(_read(spec.label.table, last, ds, labels, ds))
        lifetimes = lifetimes[lifetimes["ds"] == lifetimes["ds"].max()]
        return split_followup(spec, history, today, lifetimes, cutoff, last)
    first = shift(last, 1 - spec.split.train_days)
    joined = _read(spec.features.table, first, last, columns, ds).join(
        _read(spec.label.table, first, last, labels, ds), [*spec.features.key, "ds"]
    )
    return split_days(spec, _to_pandas(spec, joined), last)


def _read_past(spec: ModelSpec, ds: str, last: str, columns: list[str]) -> pd.DataFrame | None:
    """Rows of the day outcome_days before `last` with next_<outcome>, what came after; None if nothing was observed then."""
    past = shift(last, -spec.split.outcome_days)
    if not spec.split.outcome or past < (state.fact("first_day") or last):
        return None
    outcome, key = spec.split.outcome, spec.features.key
    came = _read(spec.features.table, last, last, [*key, outcome], ds).withColumnRenamed(outcome, NEXT + outcome)
    return _to_pandas(spec, _read(spec.features.table, past, past, columns, ds).join(came, key))


def still_there(spec: ModelSpec, wanted: list[str], but: list[str]) -> list[str]:
    """Those `wanted` columns that the model's feature table has, without those of `but`."""
    extra = [column for column in wanted if column not in but]
    if not extra:
        return []
    from warehouse.session import session

    return [column for column in session().table(spec.features.table).columns if column in extra]


def refuse_if_off(model: str) -> None:
    """Raise NotYet if the company has not the data that the model needs."""
    if why := parts.off().get(f"predictions.{model}"):
        raise NotYet(f"{model} is off: {why}")


def _read(table: str, from_ds: str, to_ds: str, columns: list[str], ds: str):
    """The columns of what a training on `ds` may see of the days."""
    from warehouse.partitions import read_days

    frame, flags = flag_late(consent.leave_out(read_days(table, from_ds, to_ds), ds), columns)
    return as_doubles(frame, [*columns, *flags])


def _on_change(frame, key: list[str]):
    """The rows of a Spark frame (one per key and ds) in which another column than TENURE differs from the day before."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    in_order = Window.partitionBy(*key).orderBy("ds")
    is_new = F.lag("ds").over(in_order).isNull()
    for column in set(frame.columns) - {*key, "ds", TENURE}:
        is_new |= ~F.col(column).eqNullSafe(F.lag(column).over(in_order))
    return frame.withColumn("is_new", is_new).where("is_new").drop("is_new")


def as_doubles(frame, columns: list[str]):
    """The columns of a Spark frame, decimals as doubles: pandas would hold each decimal as an object."""
    names = {f.name for f in frame.schema.fields if f.dataType.typeName() == "decimal"}
    return frame.select(*[frame[c].cast("double").alias(c) if c in names else frame[c] for c in columns])


def _to_pandas(spec: ModelSpec, frame) -> pd.DataFrame:
    """The rows in pandas; above max_rows a sample chosen by a hash of the key, so the same rows every time."""
    from pyspark.sql import functions as F

    n = frame.count()
    if n > spec.max_rows:
        share = F.pmod(F.xxhash64(*spec.features.key), F.lit(1_000_000))
        frame = frame.where(share < int(1_000_000 * spec.max_rows / n))
    return collect(frame)


def collect(frame) -> pd.DataFrame:
    """The rows of a Spark frame in pandas, without the query metrics that Connect attaches: they cannot be written."""
    rows = frame.toPandas()
    rows.attrs = {}
    return rows


def fingerprint(ds: str, last: str, fit: Part, judge: Part) -> dict:
    """What a model was made from: the published loads up to ds, the rows' number, days and content hash.

    The hash does not depend on the order of rows.
    """
    frames = [f for part in (fit, judge) for f in (part.features, part.labels) if f is not None]
    rows = [int(pd.util.hash_pandas_object(f, index=False).sum()) for f in frames]
    content = {"loads": state.published_loads(ds), "rows": rows, "n_fit": len(fit.features), "n_judged": len(judge.features),
               "first_day": fit.features["ds"].min(), "last_day": last, "trained_on": ds}  # fmt: skip
    return content | {"hash": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]}


def train_on(spec: ModelSpec, fit: Part, judge: Part, data: dict, dry: bool = False) -> Outcome:
    """Fit, judge, register, promote: all of training that needs no engine.

    NotYet if there is too little even for the baseline: then nothing is registered.
    """
    module = import_model(spec)
    baseline, candidate = module.make_baseline(), build_estimator(spec)
    champion, unjudged = registry.champion(spec.name), None
    if champion:
        if lacks := sorted(set(registry.inputs(champion)) - set(judge.features.columns)):
            unjudged = f"it reads {', '.join(lacks)}, which is gone"
        elif champion.code != spec.code:  # the company has, or has no more, what the other kind learns from
            unjudged = f"it is of ml/{champion.code}.py"
    base = result = None
    reasons, notes = [], list(fit.notes)
    if unjudged:
        notes.append(f"champion version {champion.version} cannot be judged: {unjudged}")
    try:
        candidate.fit(fit.features, fit.labels)
    except NotYet:
        raise
    except Exception as error:  # too little to learn from, or a library's fault: that is what the baseline is for
        reasons.append(_why(spec, error))
    baseline.fit(fit.features, fit.labels)
    try:
        base = module.evaluate(baseline, judge.features, judge.labels)
        result = None if reasons else module.evaluate(candidate, judge.features, judge.labels)
    except Exception as error:  # too little to judge on
        reasons.append(_why(spec, error))
    if result is not None:
        reasons = _against(spec, module, result, base, judge, None if unjudged else champion)
        notes += result.notes
    if unjudged:  # what cannot be judged cannot score: whatever is registered now takes its place
        champion = None
    metrics = _metrics(result, base)
    if dry:
        return _outcome(spec, None, reasons, metrics, notes, champion, judge)
    version = None
    if result is not None:
        figures = module.plot(candidate, result)
        tags = {"kind": "candidate", "code": spec.code, **({"notes": "; ".join(notes)[:5000]} if notes else {})}
        version = _register(spec, candidate, fit, metrics, tags, result.rows, figures, data)
    aside = [note for note in notes if unjudged and note.startswith("champion")]
    if not reasons:
        registry.promote(spec.name, version, "; ".join([_gain(spec, metrics, champion), *aside]))
    elif champion is None:
        rows = base.rows if base else judge.features[spec.features.key]
        tags = {"kind": "baseline", "baseline": "true", "code": spec.code}
        version = _register(spec, baseline, fit, _metrics(base, None), tags, rows, {}, data)
        registry.promote(spec.name, version, f"baseline, because {'; '.join([*reasons, *aside])}")
    return _outcome(spec, version, reasons, metrics, notes, champion, judge)


def _why(spec: ModelSpec, error: Exception) -> str:
    """A fault as a phrase; the traceback of one that is not ours is logged."""
    if isinstance(error, PlatformError):
        return str(error).rstrip(".")
    logging.getLogger(__name__).error("%s: fitting or judging it broke", spec.name, exc_info=error)
    return f"fitting or judging it broke ({type(error).__name__}: {error})"


def _metrics(result: Evaluation | None, base: Evaluation | None) -> dict[str, float]:
    own = result.metrics if result else {}
    return own | {f"baseline_{name}": value for name, value in (base.metrics if base else {}).items()}


def _against(spec: ModelSpec, module, result: Evaluation, base: Evaluation, judge: Part, champion) -> list[str]:
    """Every reason not to promote, as phrases; empty if there is none."""
    reasons = []
    for name, bound in spec.thresholds.items():
        value = result.metrics.get(name)
        if value is None:
            raise PlatformError(f"models.yml: {spec.name}.thresholds.{name} is not a metric of the model. "
                                f"Its metrics: {', '.join(result.metrics)}.")  # fmt: skip
        if not bound.min <= value <= bound.max:
            limit = f"below {bound.min:g}" if value < bound.min else f"not within {bound.min:g} and {bound.max:g}"
            reasons.append(f"{name} {value:.4g} is {limit}")
    rivals = {"the baseline": base}
    if champion:
        rivals[f"champion version {champion.version}"] = module.evaluate(
            pickle.loads(registry.read_model(spec.name, champion.version)), judge.features, judge.labels
        )
    for rival, other in rivals.items():
        mine, theirs = result.metrics[spec.metric.name], other.metrics[spec.metric.name]
        if not (mine > theirs if spec.metric.higher_is_better else mine < theirs):
            reasons.append(f"{spec.metric.name} {mine:.4g} is not better than {theirs:.4g} of {rival} on the same rows")
    return reasons


def _register(spec: ModelSpec, estimator, fit: Part, metrics: dict, tags: dict, rows, figures: dict, data: dict) -> str:
    params = {k: str(v)[:500] for k, v in spec.params.items()}
    params |= {k: str(data[k]) for k in ("n_fit", "n_judged", "first_day", "last_day", "trained_on")}
    columns = dict.fromkeys([*spec.features.key, *spec.features.columns])
    inputs = fit.features[["ds", *(c for c in columns if c in fit.features)]]
    return registry.register(spec.name, estimator, inputs, params, metrics, tags, rows, figures, data)


def _gain(spec: ModelSpec, metrics: dict[str, float], champion: registry.Version | None) -> str:
    name = spec.metric.name
    beaten = f" and champion version {champion.version}" if champion else ""
    return f"{name} {metrics[name]:.4g} beats the baseline's {metrics[f'baseline_{name}']:.4g}{beaten}"


def _outcome(spec: ModelSpec, version, reasons, metrics, notes: list[str], champion, judge: Part) -> Outcome:
    label = f"{spec.name} version {version}" if version else f"{spec.name} (nothing registered)"
    is_baseline = version is not None and bool(reasons) and champion is None
    if not reasons:
        verb = "is the new champion" if version else "would be the new champion"
        sentence = f"{label} {verb}: {_gain(spec, metrics, champion)}"
    elif is_baseline:
        sentence = (
            f"Warning: no model of {spec.name} passed ({'; '.join(reasons)}), so version {version}, the baseline "
            f"({spec.baseline}), is champion"
        )
    else:
        sentence = f"{label} is not promoted: {'; '.join(reasons)}"
    sentence = "; ".join([sentence, f"judged on {len(judge.features):,} rows", *notes]) + "."
    is_promoted = version is not None and (not reasons or is_baseline)
    return Outcome(spec.name, version, is_promoted, is_baseline, metrics, reasons, sentence)
