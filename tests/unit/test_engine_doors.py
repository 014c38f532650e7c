"""What the engine's process is given: its environment by name, its command line without a secret."""

from warehouse import engine
from warehouse.settings import settings


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
