"""A company is a folder of declarations: what of it is read, what is refused, and what of the platform it switches off."""

import importlib
import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from mdp.build import dbt_environment
from ml.train import train
from sample import GENERATORS, Generator, generator
from tests.companies import SAMPLE, declare
from tests.conftest import PROJECT, mdp
from warehouse import entities, parts, stages
from warehouse.company import COMPANIES, check_home, company, folder, staged
from warehouse.connections import database
from warehouse.errors import NotYet, PlatformError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_HOME", str(tmp_path / "home"))
    for name in ("MDP_STATE_URL", "MDP_COMPANY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def fed(*but: str) -> dict:
    """What feeds which entity of the sample company, without some entities."""
    declared = yaml.safe_load((SAMPLE / "company.yml").read_text())["entities"]
    return {entity: models for entity, models in declared.items() if entity not in but}


# -- company.yml ------------------------------------------------------------------------------------------------------


def test_the_sample_feeds_what_models_need_and_nothing_is_off():
    assert folder() == SAMPLE and company().currency == "CNY"
    assert [entity for entity in entities.contract() if not staged()[entity]] == [
        "memberships",
        "consents",
        "fx_rates",
    ], "its customers say what they are members of and consent to; it has one currency"
    assert parts.off() == {} and parts.excluded() == [] and stages.models() == list(stages.MODELS)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"timezone": "Mars"}, "line 2: timezone is 'Mars', which is no time zone"),
        ({"currency": "yuan"}, "line 4: currency is 'yuan'"),
        ({"colour": "red"}, "unknown key 'colour'; allowed: name, timezone"),
        (
            {"closed": ["2026-02-28"]},
            "closed names '2026-02-28', which is no weekday such as sunday; days of the year go into",
        ),
        ({"closed": "2026-02-01"}, "closed must be a list of weekdays"),
        ({"generator": ["sample"]}, "generator is ['sample']"),
        ({"late_days": -1}, "late_days is -1"),
        ({"paid_channels": ["it's"]}, "paid_channels"),
        ({"entities": {"clients": ["stg_crm__customers"]}}, "there is no entity 'clients': customers"),
        ({"entities": {"orders": []}}, "entities.orders is []"),
        ({"version": 2, "teleports": True}, "is of version 2, and this platform reads version 1"),
    ],
)
def test_a_wrong_key_gets_a_sentence_with_file_and_line(tmp_path, monkeypatch, keys, said):
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path, **keys))
    with pytest.raises(PlatformError) as caught:
        company()
    assert str(caught.value).startswith(f"{tmp_path}/company.yml, line ") and said in str(caught.value)


def test_a_folder_that_is_none_lists_those_there_are(tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_COMPANY", "nowhere")
    with pytest.raises(PlatformError, match=r"companies/nowhere has no company.yml; there are .*sample"):
        folder()
    monkeypatch.setenv("MDP_COMPANY", str(tmp_path))
    with pytest.raises(PlatformError, match="has no company.yml"):
        company()


def test_a_changed_file_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path, currency="EUR"))
    assert company().currency == "EUR"
    declare(tmp_path, currency="USD")
    os.utime(tmp_path / "company.yml", ns=(1, 1))
    assert company().currency == "USD"


def test_every_fault_of_the_staging_models_is_said_at_once(tmp_path, monkeypatch):
    declare(
        tmp_path,
        entities=fed() | {"products": ["stg_gone"], "campaigns": ["stg_unlisted"], "orders": ["stg_crm__products"]},
    )
    (tmp_path / "staging" / "stg_unlisted.sql").write_text("select 1")
    (tmp_path / "staging" / "stg_crm__products.sql").write_text("select 1")
    monkeypatch.setenv("MDP_COMPANY", str(tmp_path))
    with pytest.raises(PlatformError) as caught:
        staged()
    said = str(caught.value)
    assert "products is fed by stg_gone, and there is no" in said
    assert "campaigns is fed by stg_unlisted, whose columns no .yml" in said
    assert "stg_crm__products lacks order_id, " in said and "which orders requires" in said
    assert "stg_crm__products.sql: reads no source('raw', '<feed>')" in said


def test_a_semicolon_in_a_staging_model_is_refused_with_its_line(tmp_path, monkeypatch):
    """dbt's adapter cuts a statement at each, also in quotes and comments; a comment of Jinja never gets there."""
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path))
    path = tmp_path / "staging" / "stg_crm__products.sql"
    sql = path.read_text().rstrip()
    path.write_text("{#- not typed; not\nfiltered; -#}\n" + sql)
    assert staged()["products"]
    path.write_text("{#- not typed; not\nfiltered; -#}\n-- one; two\n" + sql + "\nwhere 'a' <> 'x;y';\n")
    with pytest.raises(PlatformError) as caught:
        staged()
    lines = str(caught.value).splitlines()
    where = len(sql.splitlines()) + 4
    assert [line.split(": ")[0] for line in lines] == [f"{path}, line 3", f"{path}, line {where}"]
    said = mdp("company", "check", home=tmp_path / "home", check=False)
    assert said.returncode == 1 and f"{path}, line 3: a `;`, at which the statement would be cut in two" in said.stderr


def test_a_home_belongs_to_one_company(home, tmp_path, monkeypatch):
    check_home()
    check_home()
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path / "other", name="Another"))
    with pytest.raises(
        PlatformError, match="holds the data of Sample company, and .* is of Another: a home belongs to one"
    ):
        check_home()


# -- what is on -------------------------------------------------------------------------------------------------------


def test_what_a_company_lacks_switches_off_what_needs_it_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path, entities=fed("channel_spend", "impressions")))
    off = parts.off()
    assert (
        off["predictions.ctr"] == "nothing feeds impressions"
        and off["predictions.budget"] == "nothing feeds channel_spend"
    )
    assert {table for table in off if table.startswith("marts.")} == {"marts.channel_return"}
    assert stages.models() == ["segmentation", "churn"]
    assert "mart_channel_return" in parts.excluded() and "impressions" not in parts.excluded(), (
        "what is on reads cleaned"
    )
    with pytest.raises(NotYet, match="ctr is off: nothing feeds impressions"):
        train("ctr", "2024-03-05")


def test_who_orders_is_a_customer_where_no_table_says_who_is_one(tmp_path, monkeypatch, capsys):
    from mdp.company import check
    from ml.models import load_models

    assert load_models()["churn"].code == "churn" and parts.dense_days() is None
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path, entities={"orders": ["stg_crm__orders"]}, reach_days=200))
    off = parts.off()
    assert {"cleaned.customers", "predictions.segmentation", "predictions.churn"}.isdisjoint(off)
    assert off["labels.customer_lifetime"] == "nothing feeds customers"
    assert load_models()["churn"].code == "bgnbd" and parts.dense_days() == 200 + 1 + 3
    check(None)
    assert "derived: customer_id, registered_at" in capsys.readouterr().out
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path, entities={"events": ["stg_web__events"]}))
    assert {"cleaned.customers", "predictions.segmentation", "predictions.churn"} <= parts.off().keys()


def test_a_column_that_no_source_has_switches_off_what_needs_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path))
    path = tmp_path / "staging" / "_staging.yml"
    blocks = yaml.safe_load(path.read_text())
    orders = next(block for block in blocks["models"] if block["name"] == "stg_crm__orders")
    orders["columns"] = [column for column in orders["columns"] if column["name"] != "channel"]
    path.write_text(yaml.safe_dump(blocks))
    assert parts.off()["predictions.budget"].startswith("orders have no channel (stg_crm__orders of ")
    assert "predictions.segmentation" not in parts.off()


def test_needs_name_entities_and_columns_that_exist():
    known = {entity: contract.columns for entity, contract in entities.contract().items()}
    for table, wanted in parts.needs().items():
        for choice in (c for one in wanted for c in (one if isinstance(one, list) else [one])):
            entity, _, column = choice.partition(".")
            assert entity in known and (not column or column in known[entity]), f"{table}: {choice}"


def test_what_is_on_reads_nothing_that_is_off(tmp_path, monkeypatch):
    """Whatever one entity is missing: a model that is built finds its tables, because cleaned tables are built, empty."""
    nodes = {
        node["name"]: node for node in manifest(tmp_path / "all")["nodes"].values() if node["resource_type"] == "model"
    }
    tables = {name: f"{node['schema']}.{node['alias']}" for name, node in nodes.items()}
    for entity in entities.contract():
        monkeypatch.setenv("MDP_COMPANY", declare(tmp_path / entity, entities=fed(entity)))
        left_out = set(parts.excluded())
        for name, node in nodes.items():
            read = {parent.split(".")[-1] for parent in node["depends_on"]["nodes"]} & set(tables)
            assert name in left_out or not read & left_out, f"without {entity}, {name} reads {read & left_out}"


def test_dbt_reads_the_companys_models_where_they_are_and_leaves_them_as_they_are(tmp_path, monkeypatch):
    before = {path: path.read_bytes() for path in SAMPLE.rglob("*") if path.is_file()}
    nodes = manifest(tmp_path)["nodes"]
    assert nodes["model.company.stg_crm__orders"]["original_file_path"] == "staging/stg_crm__orders.sql"
    assert before == {path: path.read_bytes() for path in SAMPLE.rglob("*") if path.is_file()}


def test_dbt_without_a_company_says_so(tmp_path):
    done = dbt_parse({"DBT_PROFILES_DIR": str(PROJECT / "dbt_project"), "DBT_TARGET_PATH": str(tmp_path)})
    assert done.returncode and "no company is named" in done.stdout


def test_the_dags_show_only_what_the_company_has(tmp_path):
    named = declare(tmp_path / "company", entities=fed("channel_spend", "impressions"))
    env = os.environ | {"AIRFLOW_HOME": str(tmp_path / "airflow"), "MDP_COMPANY": named}
    probe = (
        "import sys; sys.path[:0] = ['dags', '.']; import daily, retrain\n"
        "print(sorted(t.task_id for d in (daily.dag, retrain.dag) for t in d.tasks))"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=PROJECT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "'score.churn', 'score.segmentation', 'train.churn', 'train.segmentation'" in done.stdout
    assert "ctr" not in done.stdout and "budget" not in done.stdout


def dbt_parse(env: dict) -> subprocess.CompletedProcess:
    dbt = [shutil.which("dbt", path=os.path.dirname(sys.executable)), "parse", "--log-path", env["DBT_TARGET_PATH"]]
    return subprocess.run(dbt, cwd=PROJECT / "dbt_project", env=os.environ | env, capture_output=True, text=True)


def manifest(target) -> dict:
    done = dbt_parse(dbt_environment() | {"DBT_TARGET_PATH": str(target)})
    assert done.returncode == 0, done.stdout[-3000:]
    return json.loads((target / "manifest.json").read_text())


# -- generated companies ----------------------------------------------------------------------------------------------


def test_each_generator_has_what_is_asked_of_one_and_is_named_by_a_company():
    asked = {name for name in vars(Generator) if not name.startswith("_")} | set(Generator.__annotations__)
    assert {"create", "advance", "exists", "status", "DEFECTS"} <= asked
    for name, module in GENERATORS.items():
        assert not [each for each in asked if not hasattr(importlib.import_module(module), each)], name
    named = {yaml.safe_load(path.read_text()).get("generator") for path in COMPANIES.glob("*/company.yml")}
    assert named - {None} == set(GENERATORS)


def test_a_company_without_a_generator_reads_its_own_sources(tmp_path, monkeypatch):
    assert generator().__name__ == "sample.company"
    assert database("crm").url.startswith("jdbc:derby:")
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path, generator=None))
    assert generator() is None
    with pytest.raises(PlatformError, match="connection crm has no address"):
        database("crm")
    said = mdp("sample", "advance", home=tmp_path, check=False)
    assert said.returncode == 1 and "is not generated, it has sources of its own" in said.stderr


def test_an_unknown_generator_is_answered_with_those_there_are(tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path, generator="bakery"))
    with pytest.raises(PlatformError, match="company.yml, line 5: there is no generator 'bakery': sample"):
        generator()
