"""What the engine's process is given: its environment by name, its logins by file; and who else is given them."""

import pytest
import yaml

from mdp.build import dbt_environment
from tests.conftest import PROJECT
from warehouse import engine, login
from warehouse.errors import PlatformError
from warehouse.settings import settings


@pytest.fixture(autouse=True)
def fresh_home(monkeypatch, tmp_path):
    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    return tmp_path


def test_the_engine_gets_variables_by_name(monkeypatch):
    for name in (
        "MDP_STATE_URL", "MDP_CRM_PASSWORD", "MDP_SHOP_DB_PASSWORD", "MDP_MAVEN_URL", "MDP_ALERT_WEBHOOK",
        "AIRFLOW__API_AUTH__JWT_SECRET", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "SPARK_HOME", "ANY_OTHER",
    ):  # fmt: skip
        monkeypatch.setenv(name, "hidden")
    given = engine.environment(settings())
    assert "hidden" not in given.values()
    assert {"PATH", "PYSPARK_PYTHON", "SPARK_LOCAL_DIRS"} <= given.keys() and given["TZ"] == "UTC"
    monkeypatch.setenv("MDP_ENGINE_ENV", "AWS_SECRET_ACCESS_KEY, NOT_SET")
    given = engine.environment(settings())
    assert [name for name, value in given.items() if value == "hidden"] == ["AWS_SECRET_ACCESS_KEY"]
    assert "NOT_SET" not in given


def test_what_the_engine_may_open(monkeypatch, fresh_home):
    monkeypatch.setenv("MDP_WAREHOUSE_URI", "s3a://bucket/tables")
    monkeypatch.setenv("MDP_SPOOL_URI", "file:///data/spool")
    monkeypatch.setenv("MDP_ENGINE_PATHS", "/data/archive:/data/more")
    given = engine.environment(settings())
    assert given["ENGINE_OPEN_PATHS"] == f"/data/spool:{fresh_home}/engine:/data/archive:/data/more"
    assert given["ENGINE_WAREHOUSE"] == "s3a://bucket/tables"
    assert f"{fresh_home}/keys:{fresh_home}/state.db" in given["ENGINE_CLOSED_PATHS"]


def test_the_logins_are_made_once_for_their_owner(fresh_home):
    conf = settings()
    assert login.thrift_password(conf) is None and login.connect_token(conf) is None
    login.make_logins(conf)
    made = [login.thrift_password(conf), login.connect_token(conf)]
    assert len(set(made)) == 2 and min(map(len, made)) > 40
    for name in ("thrift_password", "connect_token"):
        assert (fresh_home / "keys" / name).stat().st_mode & 0o777 == 0o600
    assert (fresh_home / "keys").stat().st_mode & 0o777 == 0o700
    login.make_logins(conf)
    assert [login.thrift_password(conf), login.connect_token(conf)] == made


def test_dbt_and_an_analysts_shell_get_the_sql_doors_login_only(fresh_home):
    assert "DBT_ENV_SECRET_THRIFT_PASSWORD" not in dbt_environment()  # a cluster without logins
    login.make_logins(settings())
    given = dbt_environment()
    assert given["DBT_ENV_SECRET_THRIFT_PASSWORD"] == login.thrift_password(settings())
    assert given["MDP_THRIFT_USER"] == "mdp" and login.connect_token(settings()) not in given.values()


def test_a_login_that_is_named_and_not_there(monkeypatch):
    monkeypatch.setenv("MDP_CONNECT_TOKEN_FILE", "/nowhere/token")
    with pytest.raises(PlatformError, match="cannot be read from /nowhere/token: .*; mend MDP_CONNECT_TOKEN_FILE"):
        login.connect_token(settings())


def test_a_token_in_a_url_would_show(monkeypatch):
    monkeypatch.setenv("MDP_CONNECT_URL", "sc://spark.internal:443/;use_ssl=true;token=abc")
    with pytest.raises(PlatformError, match="put it into a file, MDP_CONNECT_TOKEN_FILE") as refused:
        settings()
    assert "abc" not in str(refused.value)


def test_both_sides_of_the_stack_have_the_same_logins():
    stack = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
    spark, tasks = (stack["services"][name] for name in ("spark", "airflow-scheduler"))
    for name in ("thrift_password", "connect_token"):
        assert name in spark["secrets"] and name in tasks["secrets"] and name in stack["secrets"]
        (variable,) = [key for key, value in spark["environment"].items() if value == f"/run/secrets/{name}"]
        assert tasks["environment"][variable] == f"/run/secrets/{name}"
        assert getattr(settings(), f"{name}_file").name == name
