"""Is models.yml refused where it is wrong, with a sentence that says what would be right?"""

import pytest
import yaml

from ml.models import MODELS_FILE, build_estimator, get_model, import_model, load_models, read_models
from warehouse import parts, tables
from warehouse.errors import PlatformError


def write(tmp_path, change):
    blocks = yaml.safe_load(MODELS_FILE.read_text())
    change(blocks)
    path = tmp_path / "models.yml"
    path.write_text(yaml.safe_dump(blocks))
    return path


def test_every_block_has_a_file_with_the_four_functions():
    specs = load_models()
    assert list(specs) == ["segmentation", "ctr", "churn", "budget"]
    for spec in specs.values():
        module = import_model(spec)
        assert all(callable(getattr(module, f)) for f in ("make_estimator", "make_baseline", "evaluate", "plot"))
        assert build_estimator(spec).get_params().keys() == spec.params.keys()


def test_no_model_looks_further_back_than_a_history_of_derived_customers_is_written():
    of_purchases = [
        s for s in read_models().values() if s.features.table == tables.FEATURES_CUSTOMER_DAY and not s.label
    ]
    assert {s.name for s in of_purchases} == {"segmentation", "bgnbd"}
    assert max(max(s.split.outcome_days, s.split.holdout_days) for s in of_purchases) == parts.LOOKBACK_DAYS


@pytest.mark.parametrize(
    ("path", "key", "allowed"),
    [
        (["ctr"], "ctr.thresold", "thresholds"),
        (["ctr", "features"], "ctr.features.colums", "columns"),
        (["churn", "label"], "churn.label.horizon", "horizon_days"),
        (["ctr", "thresholds", "auc"], "ctr.thresholds.auc.minimum", "min, max"),
    ],
)
def test_an_unknown_key_is_named_with_the_allowed_ones(tmp_path, path, key, allowed):
    def change(blocks):
        block = blocks
        for part in path:
            block = block[part]
        block[key.split(".")[-1]] = 1

    with pytest.raises(PlatformError) as error:
        load_models(write(tmp_path, change))
    assert f"models.yml: unknown key {key}; allowed keys: " in str(error.value)
    assert allowed in str(error.value).split("allowed keys: ")[1]


def test_a_missing_key_and_a_wrong_value_are_named(tmp_path):
    with pytest.raises(PlatformError, match=r"ctr\.metric: field required"):
        load_models(write(tmp_path, lambda b: b["ctr"].pop("metric")))
    with pytest.raises(PlatformError, match=r"ctr\.label\.horizon_days"):
        load_models(write(tmp_path, lambda b: b["ctr"]["label"].update(horizon_days=-1)))


def test_an_unknown_parameter_is_named_with_the_allowed_ones():
    spec = get_model("budget")
    wrong = spec.model_copy(update={"params": {"flor_share": 0.4}})
    with pytest.raises(
        PlatformError, match=r"budget\.params\.flor_share; allowed keys: floor_share, cap_share, n_pieces"
    ):
        build_estimator(wrong)


def test_an_unknown_model_gets_the_list():
    with pytest.raises(PlatformError, match="Known models: segmentation, ctr, churn, budget"):
        get_model("clicks")


@pytest.mark.parametrize(
    ("find", "put", "said"),
    [
        ("    auc: {min: 0.53}\n", "    auc: {min: 0.53}\n    auc: {min: 0.0}\n", "line {}: key 'auc' appears twice"),
        ("  max_rows: 400000\n", "  max_rows: '400000'\n", "models.yml: ctr.max_rows: .* Correct this key .line {}."),
        ("    auc: {min: 0.53}\n", "    auc: {mni: 0.53}\n", "unknown key ctr.thresholds.auc.mni; .* .line {}."),
    ],
)
def test_a_key_twice_a_wrong_type_and_an_unknown_key_are_named_with_their_line(tmp_path, find, put, said):
    """A second `thresholds:` won in silence, with a bound of 0."""
    before, after = MODELS_FILE.read_text().split(find)
    (tmp_path / "models.yml").write_text(before + put + after)
    line = before.count("\n") + put.count("\n")
    with pytest.raises(PlatformError, match=said.format(line)):
        load_models(tmp_path / "models.yml")
