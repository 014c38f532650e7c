"""Each kind of YAML file of ours × each kind of fault: one sentence with the file and the line of the fault."""

import subprocess

import pytest
import yaml

from ingestion.feeds import load_feeds
from ingestion.targets import load_targets
from ml.models import build_estimator, get_model, load_models
from tests.conftest import PROJECT
from warehouse import declarations
from warehouse.errors import PlatformError

FILES = """
try__lines:
  kind: files
  directory: some
  pattern: "x-{date}"
  subject: id
  key: [id]
  timestamp_column: at
  header: false
  columns:
    id:
      type: string
      class: internal
      required: true
    at: {type: string, class: internal}
"""
TABLE = """
try__rows:
  kind: jdbc
  table: rows
  mode: full
  subject: id
  key: [id]
  splits: 1
  columns:
    id: {type: string, class: internal}
"""
TOPIC = """
try__topic:
  kind: kafka
  topic: some
  subject: id
  key: [id]
  timestamp_column: at
  max_messages: 5
  columns:
    id: {type: string, class: internal}
    at: {type: string, class: internal}
"""
EXPORT = """
segments:
  table: crm_segments
  source: marts.customer_profile
  mode: upsert
  key: [customer_id]
  max_rejected_share: 0.1
  columns:
    customer_id: VARCHAR(32)
    segment: VARCHAR(32)
"""
MODEL = """
ctr:
  description: clicks
  params:
    columns: [channel]
  features:
    table: features.impression
    key: [impression_id]
    columns: [channel]
  split: {kind: days, holdout_days: 7}
  max_rows: 400
  baseline: rate
  metric: {name: auc, higher_is_better: true}
  thresholds:
    auc: {min: 0.5}
  predictions:
    table: predictions.ctr
    columns: {impression_id: string}
  score: {where: workers, days: 1}
"""
LOAD = {"files": load_feeds, "table": load_feeds, "topic": load_feeds, "export": load_targets, "model": load_models}
TEXT = {"files": FILES, "table": TABLE, "topic": TOPIC, "export": EXPORT, "model": MODEL}
# What is changed for what, and what is said; the fault is on the line of `put` that holds "HERE", or the first.
FAULTS = {
    "twice": {
        "files": ("      type: string\n", "      type: string\n      type: bigint # HERE\n", "key 'type' appears twice"),
        "table": ("  mode: full\n", "  mode: full\n  mode: append # HERE\n", "key 'mode' appears twice"),
        "topic": ("  topic: some\n", "  topic: some\n  topic: other # HERE\n", "key 'topic' appears twice"),
        "export": ("  mode: upsert\n", "  mode: upsert\n  mode: insert # HERE\n", "key 'mode' appears twice"),
        "model": ("    auc: {min: 0.5}\n", "    auc: {min: 0.5}\n    auc: {min: 0} # HERE\n", "key 'auc' appears twice"),
    },
    "unknown": {
        "files": ("      required: true\n", "      requird: true\n", "unknown key 'requird' in columns.id; allowed keys: "),
        "table": ("  splits: 1\n", "  splitts: 1\n", "unknown key 'splitts'; allowed keys: "),
        "topic": ("  max_messages: 5\n", "  max_message: 5\n", "unknown key 'max_message'; allowed keys: "),
        "export": ("  key: [customer_id]\n", "  key: [customer_id]\n  keys: x # HERE\n", "unknown key 'keys'; allowed keys: "),
        "model": ("    auc: {min: 0.5}\n", "    auc: {mni: 0.5}\n", "unknown key ctr.thresholds.auc.mni; allowed keys: "),
    },
    "named in the block": {
        "files": ("  kind: files\n", "  kind: files\n  name: a__b # HERE\n", "feed try__lines: unknown key 'name'"),
        "table": ("  kind: jdbc\n", "  kind: jdbc\n  name: a__b # HERE\n", "feed try__rows: unknown key 'name'"),
        "topic": ("  topic: some\n", "  topic: some\n  name: a__b # HERE\n", "feed try__topic: unknown key 'name'"),
        "export": ("  mode: upsert\n", "  mode: upsert\n  name: b # HERE\n", "export segments: unknown key 'name'"),
        "model": ("  baseline: rate\n", "  baseline: rate\n  name: b # HERE\n", "model ctr: unknown key 'name'"),
    },
    "no truth value": {
        "files": ("      required: true\n", '      required: "yes"\n', "key 'columns.id.required' is 'yes'"),
        "table": ("  splits: 1\n", "  find_deleted: 1\n", "key 'find_deleted' is 1"),
        "topic": ("  max_messages: 5\n", "  max_messages: true\n", "key 'max_messages' is True"),
        "model": ("higher_is_better: true}", 'higher_is_better: "true"}', "ctr.metric.higher_is_better: input should be"),
    },
    "no number": {
        "files": ("  header: false\n", '  years: ["1900", 2000]\n', "key 'years.0' is '1900'"),
        "table": ("  splits: 1\n", '  splits: "4"\n', "key 'splits' is '4'"),
        "topic": ("  max_messages: 5\n", "  max_messages: 5.0\n", "key 'max_messages' is 5.0"),
        "export": ("_share: 0.1\n", '_share: "0.1"\n', "key 'max_rejected_share' is '0.1'"),
        "model": ("  max_rows: 400\n", '  max_rows: "400"\n', "ctr.max_rows: input should be a valid integer"),
    },
    "no text": {
        "files": ("  directory: some\n", "  directory: [some]\n", "key 'directory' is ['some']"),
        "table": ("  table: rows\n", "  table: 5\n", "key 'table' is 5"),
        "topic": ("  topic: some\n", "  topic: 2024-03-05\n", "key 'topic' is datetime.date(2024, 3, 5)"),
        "export": ("    segment: VARCHAR(32)\n", "    segment: 32\n", "key 'columns.segment' is 32"),
        "model": ("  baseline: rate\n", "  baseline: {a: 1}\n", "ctr.baseline: input should be a valid string"),
    },
    "no list": {
        "files": ("  key: [id]\n", "  key: id\n", "key 'key' is 'id'"),
        "table": ("  key: [id]\n", "  key: id\n", "key 'key' is 'id'"),
        "topic": ("  key: [id]\n", "  key: {id: 1}\n", "key 'key' is {'id': 1}"),
        "export": ("  key: [customer_id]\n", "  key: customer_id\n", "key 'key' is 'customer_id'"),
        "model": ("    key: [impression_id]\n", "    key: impression_id\n", "ctr.features.key: input should be a valid list"),
    },
    "missing": {
        "files": ("  directory: some\n", "", "key 'directory' is missing", "try__lines:"),
        "table": ("  mode: full\n", "", "key 'mode' is missing", "try__rows:"),
        "topic": ("  topic: some\n", "", "key 'topic' is missing", "try__topic:"),
        "export": ("  mode: upsert\n", "", "key 'mode' is missing", "segments:"),
        "model": ("    table: features.impression\n", "", "ctr.features.table: field required", "  features:"),
    },
    "a name that is a truth value": {
        "files": ("    at: {", "    on: {", "a name in columns is True to YAML: put it in quotes"),
        "table": ("    id: {", "    no: {", "a name in columns is False to YAML: put it in quotes"),
        "export": ("    segment:", "    yes:", "is True"),
    },
    "a date that is none": {
        "files": ("  header: false\n", "  timestamp_format: 2024-02-30\n", "line {line}: 2024-02-30: day is out of range"),
        "export": ("  mode: upsert\n", "  mode: 2024-02-30\n", "line {line}: 2024-02-30: day is out of range"),
        "model": ("  baseline: rate\n", "  baseline: 2024-02-30\n", "line {line}: 2024-02-30: day is out of range"),
    },
    "a key that is a list": {
        "files": ("  header: false\n", "  ? [a, b]\n  : 1\n", "a key must be a plain name"),
        "export": ("  mode: upsert\n", "  ? [a, b]\n  : 1\n", "a key must be a plain name"),
        "model": ("  baseline: rate\n", "  ? {a: b}\n  : 1\n", "a key must be a plain name"),
    },
    "no block": {
        "files": (FILES.partition("\n  kind")[2], " 5", "feed try__lines: must be a block of keys", "try__lines:"),
        "export": (EXPORT.partition("\n  table")[2], " 5", "export segments: must be a block of keys", "segments:"),
        "model": (MODEL.partition("\n  desc")[2], " 5", "model ctr: must be a block of keys", "ctr:"),
    },
    "two documents": {
        "files": ("      required: true\n", "      required: true\n--- # HERE\na: 1\n", "but found another document"),
        "model": ("  baseline: rate\n", "  baseline: rate\n--- # HERE\na: 1\n", "but found another document"),
    },
}  # fmt: skip
CASES = [(fault, kind) for fault, kinds in FAULTS.items() for kind in kinds]


@pytest.mark.parametrize(("fault", "kind"), CASES)
def test_each_fault_is_named_with_its_file_and_line(tmp_path, fault, kind):
    find, put, said, *at = FAULTS[fault][kind]
    if fault == "no block":
        text = f"\n{at[0]}{put}\n"
    else:
        assert TEXT[kind].count(find) == 1
        text = TEXT[kind].replace(find, put)
    sought = at[0] if at else next((line for line in put.split("\n") if "HERE" in line), put.split("\n")[0])
    (line,) = [n for n, found in enumerate(text.split("\n"), start=1) if sought in found]
    path = tmp_path / f"{kind}s.yml"
    path.write_text(text)
    with pytest.raises(PlatformError) as caught:
        LOAD[kind](path)
    told = str(caught.value).split("\n")[0]
    assert told.startswith(f"{kind}s.yml: ") and said.replace("{line}", str(line)) in told and f"line {line}" in told, (
        told
    )


@pytest.mark.parametrize("kind", TEXT)
def test_without_a_fault_each_is_read(tmp_path, kind):
    (tmp_path / "x.yml").write_text(TEXT[kind])
    assert len(LOAD[kind](tmp_path / "x.yml")) == 1


def test_all_faults_of_a_file_are_said_at_once(tmp_path):
    (tmp_path / "x.yml").write_text(
        FILES.replace("required: true", "required: 1").replace("header: false", "heder: 1") + TABLE
    )
    with pytest.raises(PlatformError) as caught:
        load_feeds(tmp_path / "x.yml")
    assert [text.rpartition("(line ")[2] for text in str(caught.value).split("\n")] == ["9)", "14)"]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"n_pieces": "40"}, "budget.params.n_pieces: input should be a valid integer. Correct this key (line "),
        ({"cap_share": None}, "budget.params.cap_share: input should be a valid number. Correct this key (line "),
        (
            {"flor_share": 0.4},
            "unknown key budget.params.flor_share; allowed keys: floor_share, cap_share, n_pieces (line ",
        ),
    ],
)
def test_a_parameter_of_another_type_is_named_with_its_line(params, said):
    spec = get_model("budget")
    with pytest.raises(PlatformError) as caught:
        build_estimator(spec.model_copy(update={"params": spec.params | params}))
    assert said in str(caught.value)
    line = int(str(caught.value).rpartition("(line ")[2].rstrip(")"))
    named = (PROJECT / "ml" / "models.yml").read_text().splitlines()[line - 1]
    assert next(iter(params)) in named or "params:" in named


def test_no_key_stands_twice_in_any_yaml_of_ours():
    """Also in those that dbt and Docker read, and where a second key would win in silence."""
    listed = subprocess.run(
        ["git", "ls-files", "*.yml", "*.yaml"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    files = listed.stdout.split()
    assert len(files) > 10
    for file in files:
        for _ in yaml.load_all((PROJECT / file).read_text(), declarations.UniqueKeys):
            pass
