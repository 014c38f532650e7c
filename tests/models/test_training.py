"""Is only a better model promoted, is there always a champion, and does what is registered predict without our code?"""

import json
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from ml import registry, score
from ml.models import Bound, get_model, import_model
from ml.splits import Part, last_mature_day, split_days
from ml.train import fingerprint, train_on
from warehouse import state
from warehouse.errors import PlatformError

MODELS = ["segmentation", "ctr", "churn", "budget"]


@pytest.mark.parametrize("model", MODELS)
def test_the_first_good_model_is_promoted_with_everything_logged(own_home, parts, data, model):
    spec = get_model(model)
    outcome = train_on(spec, *parts[model], data)
    assert outcome.is_promoted and not outcome.is_baseline, outcome.sentence
    assert "is the new champion" in str(outcome)
    found = registry.champion(model)
    assert found.version == "1" and not found.is_baseline
    run = registry.client().get_run(found.run_id)
    assert run.data.params["last_day"] == data["last_day"] and run.data.tags["data_hash"] == data["hash"]
    assert {spec.metric.name, f"baseline_{spec.metric.name}"} <= set(run.data.metrics)
    names = {f.path for f in registry.client().list_artifacts(found.run_id)}
    assert {"evaluation.parquet", "fingerprint.json", f"{model}.png"} <= names
    assert len(registry.read_evaluation(model)) == len(parts[model][1].features)
    [entry] = state.promotions(model)
    assert (entry["from_version"], entry["to_version"]) == (None, "1")
    assert entry["metrics"][spec.metric.name] == outcome.metrics[spec.metric.name]
    assert json.loads(entry["data_fingerprint"])["loads"] == data["loads"]
    check_predictions(spec, parts[model][1].features, registry.read_model(model, "1"), own_home)


def check_predictions(spec, frame, payload, folder):
    """The registered bytes, used as a worker does, without our code: declared columns; a row alone = in a batch."""
    from pyspark import cloudpickle

    columns = [*spec.predictions.columns, "model_version"]
    apply = score.make_apply(payload, spec.features.key, columns, "1")
    (folder / "job.pkl").write_bytes(cloudpickle.dumps(apply))
    frame.to_pickle(folder / "frame.pkl")
    batches = "[frame]" if spec.score.where == "task" else "[frame, *(frame.iloc[[i]] for i in range(20))]"
    program = f"""
import pickle, sys
import pandas as pd

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ml", "warehouse", "mlflow", "mdp"):
            raise ImportError(name + " is not on a worker")

sys.meta_path.insert(0, Absent())
frame = pd.read_pickle("frame.pkl")
apply = pickle.load(open("job.pkl", "rb"))
pd.to_pickle(list(apply({batches})), "out.pkl")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    batch, *alone = pd.read_pickle(folder / "out.pkl")
    assert list(batch.columns) == columns and not batch.isna().any().any()
    assert (batch["model_version"] == "1").all()
    if spec.score.where == "workers":
        assert len(batch) == len(frame) and len(alone) == 20
        pd.testing.assert_frame_equal(pd.concat(alone), batch.head(20), rtol=1e-12)


def test_a_worse_or_equal_model_is_not_promoted(own_home, parts, data):
    fit, judge = parts["ctr"]
    assert train_on(get_model("ctr"), fit, judge, data).is_promoted
    again = train_on(get_model("ctr"), fit, judge, data)
    assert not again.is_promoted and "not better than" in again.sentence and "champion version 1" in again.sentence
    noise = Part(fit.features, fit.labels.sample(frac=1, random_state=1).reset_index(drop=True))
    worse = train_on(get_model("ctr"), noise, judge, data)
    assert not worse.is_promoted and worse.version == "3" and "not promoted" in worse.sentence
    assert registry.champion("ctr").version == "1"
    assert len(state.promotions("ctr")) == 1


def test_nothing_passes_on_an_empty_registry_so_the_baseline_is_champion_until_one_does(own_home, parts, data):
    spec = get_model("ctr")
    strict = spec.model_copy(update={"thresholds": {"auc": Bound(min=0.999)}})
    outcome = train_on(strict, *parts["ctr"], data)
    assert outcome.sentence.startswith("Warning: no model of ctr passed (auc 0.")
    assert "is below 0.999" in outcome.sentence and "click rate per placement" in outcome.sentence
    assert registry.champion("ctr").is_baseline and registry.champion("ctr").version == "2"
    assert not train_on(strict, *parts["ctr"], data).is_promoted
    assert train_on(spec, *parts["ctr"], data).is_promoted
    assert not registry.champion("ctr").is_baseline
    assert [e["to_version"] for e in state.promotions("ctr")] == ["2", "4"]


@pytest.mark.parametrize("model", MODELS)
def test_every_baseline_can_score(own_home, parts, data, model):
    spec = get_model(model)
    fit, judge = parts[model]
    impossible = spec.model_copy(update={"thresholds": {spec.metric.name: Bound(min=1e12)}})
    outcome = train_on(impossible, fit, judge, data)
    assert outcome.is_baseline
    check_predictions(spec, judge.features, registry.read_model(model, outcome.version), own_home)


def test_what_cannot_be_fitted_gives_the_baseline(own_home, parts, data):
    fit, judge = parts["churn"]
    alike = dict(gender="female", acquisition_channel="app", membership_plan="basic", age_years=30.0)
    outcome = train_on(get_model("churn"), Part(fit.features.assign(**alike), fit.labels), judge, data)
    assert outcome.is_baseline and "tells" in outcome.sentence and "customers apart" in outcome.sentence


def test_a_fit_that_breaks_leaves_the_baseline_too(own_home, parts, data, monkeypatch, caplog):
    """Whatever a library raises: scoring never stands still, and the traceback is in the log."""
    from ml import ctr

    monkeypatch.setattr(ctr.ClickModel, "fit", lambda *_: 1 / 0)
    outcome = train_on(get_model("ctr"), *parts["ctr"], data)
    assert outcome.is_baseline and registry.champion("ctr").is_baseline
    assert "fitting or judging it broke (ZeroDivisionError: division by zero)" in outcome.sentence
    assert "Traceback" in caplog.text


def test_a_champion_of_another_kind_is_replaced_by_thresholds_alone(own_home, parts, data):
    """A company that has memberships since yesterday meets a champion that knows of purchases only."""
    spec = get_model("churn")
    assert train_on(spec, *parts["churn"], data).is_promoted
    registry.client().set_model_version_tag("churn", "1", "code", "bgnbd")
    outcome = train_on(spec, *parts["churn"], data)
    assert "champion version 1 cannot be judged: it is of ml/bgnbd.py" in outcome.sentence
    assert outcome.is_promoted and registry.champion("churn").version == outcome.version == "2"
    assert registry.champion("churn").code == "churn"


def test_a_champion_that_wants_a_feature_which_is_gone_is_replaced_by_thresholds_alone(own_home, parts, data):
    spec = get_model("ctr")
    assert train_on(spec, *parts["ctr"], data).is_promoted
    columns = [c for c in spec.features.columns if c != "gender"]
    features = spec.features.model_copy(update={"columns": columns})
    gone = {"params": spec.params | {"columns": columns}, "features": features}
    fit, judge = (Part(part.features.drop(columns="gender"), part.labels) for part in parts["ctr"])
    said = "champion version 1 cannot be judged: it reads gender, which is gone"
    without = spec.model_copy(update=gone)
    kept = without.model_copy(update={"thresholds": {"auc": Bound(min=0.999)}})
    outcome = train_on(kept, fit, judge, data)
    assert outcome.is_baseline and said in outcome.sentence, "what cannot be judged cannot score either"
    assert registry.rollback("ctr") and registry.champion("ctr").version == "1"
    outcome = train_on(without, fit, judge, data)
    assert outcome.is_promoted and not outcome.is_baseline and said in outcome.sentence
    assert said in state.promotions("ctr")[-1]["reason"]


@pytest.mark.parametrize(("model", "said"), [
    ("churn", "left out of the terms: gender (it has one value)"),
    ("ctr", "left out of the columns: gender (it has one value)"),
])  # fmt: skip
def test_what_a_model_left_out_stands_in_its_run_and_its_card(own_home, parts, data, model, said):
    fit, judge = parts[model]
    outcome = train_on(get_model(model), Part(fit.features.assign(gender="female"), fit.labels), judge, data)
    assert outcome.is_promoted and not outcome.is_baseline
    found = registry.champion(model)
    for text in (outcome.sentence, registry.client().get_run(found.run_id).data.tags["notes"], found.notes,
                 registry.client().get_model_version(model, found.version).description):  # fmt: skip
        assert said in text


def test_a_dry_run_writes_nothing(own_home, parts, data):
    outcome = train_on(get_model("ctr"), *parts["ctr"], data, dry=True)
    assert "would be the new champion" in outcome.sentence and not outcome.is_promoted
    assert registry.versions("ctr") == [] and state.promotions("ctr") == []


def test_promote_and_rollback_walk_the_ledger(own_home, parts, data):
    spec = get_model("budget")
    train_on(spec, *parts["budget"], data)
    for _ in range(2):
        train_on(spec, *parts["budget"], data)
    registry.promote("budget", "2", "by hand")
    registry.promote("budget", "3", "by hand")
    assert "version 2 is the champion now, version 3 was" in registry.rollback("budget")
    registry.rollback("budget")
    assert registry.champion("budget").version == "1"
    with pytest.raises(PlatformError, match="no earlier champion"):
        registry.rollback("budget")
    with pytest.raises(PlatformError, match="no version 9. Known versions: 1, 2, 3"):
        registry.promote("budget", "9", "by hand")
    with pytest.raises(PlatformError, match="is the champion of budget already"):
        registry.promote("budget", "1", "by hand")
    row = next(r for r in registry.list_models() if r["model"] == "budget")
    assert (row["champion"], row["n_versions"], row["metric"]) == ("1", 3, "mae")
    assert [e["to_version"] for e in registry.show("budget")["promotions"]] == ["1", "2", "3", "2", "1"]


def test_immature_days_are_refused():
    spec = get_model("ctr")
    assert last_mature_day(spec, "2024-06-30", late_days=3) == "2024-06-26"
    assert last_mature_day(get_model("segmentation"), "2024-06-30", late_days=3) == "2024-06-27"
    frame = pd.DataFrame({c: ["x", "x"] for c in [*spec.features.key, *spec.features.columns]})
    frame["is_clicked"] = False
    frame["ds"] = ["2024-06-01", "2024-06-27"]
    with pytest.raises(PlatformError, match="rows of 2024-06-27 are immature, labels are known up to 2024-06-26"):
        split_days(spec, frame, "2024-06-26")
    fit, judge = split_days(spec, frame.assign(ds=["2024-06-01", "2024-06-26"]), "2024-06-26")
    assert (fit.features["ds"].tolist(), judge.features["ds"].tolist()) == (["2024-06-01"], ["2024-06-26"])
    with pytest.raises(PlatformError, match="no rows with labels up to 2024-06-26"):
        split_days(spec, frame.head(0), "2024-06-26")


def test_the_fingerprint_follows_the_content_not_the_order(own_home, parts):
    fit, judge = parts["budget"]
    state.begin_load("crm__orders", "2024-06-30", {})
    assert fingerprint("2024-06-30", "2024-06-27", fit, judge)["loads"] == []
    state.publish_load("crm__orders", "2024-06-30", 10)
    one = fingerprint("2024-06-30", "2024-06-27", fit, judge)
    assert one["loads"] == ["crm__orders@2024-06-30"]
    order = np.random.default_rng(0).permutation(len(fit.features))
    shuffled = Part(fit.features.iloc[order], fit.labels.iloc[order])
    assert fingerprint("2024-06-30", "2024-06-27", shuffled, judge)["hash"] == one["hash"]
    changed = Part(fit.features, fit.labels + 1)
    assert fingerprint("2024-06-30", "2024-06-27", changed, judge)["hash"] != one["hash"]


def test_scoring_without_a_champion_or_a_passed_gate_says_what_to_run(own_home):
    with pytest.raises(PlatformError, match="mdp gate features --ds 2024-06-30"):
        score.score("ctr", "2024-06-30")
    state.publish("gate_features", ["2024-06-30"])
    with pytest.raises(PlatformError, match="run `mdp train ctr --ds 2024-06-30` first"):
        score.score("ctr", "2024-06-30")


def test_the_registered_evaluation_has_the_columns_the_truth_is_compared_on(own_home, parts, data):
    wanted = {"ctr": ["impression_id", "label", "prediction"],
              "churn": ["customer_id", "entry_days", "duration_days", "is_churned", "risk"]}  # fmt: skip
    for model, columns in wanted.items():
        fit, judge = parts[model]
        module = import_model(get_model(model))
        baseline = module.make_baseline().fit(fit.features, fit.labels)
        assert list(module.evaluate(pickle.loads(pickle.dumps(baseline)), judge.features, judge.labels).rows) == columns
