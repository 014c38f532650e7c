"""Fixtures that several tests with real services share."""

import pytest

from tests.companies import declare
from tests.services.exports import SOURCE, World


@pytest.fixture(params=["mariadb", "postgres"])
def world(request, connectors, spark, tmp_path, monkeypatch):
    server = request.getfixturevalue(request.param)
    for name, value in {
        "MDP_TO_URL": server.jdbc_url, "MDP_TO_USER": server.user, "MDP_TO_PASSWORD": server.password,
        "MDP_STATE_URL": f"sqlite:///{tmp_path}/state.db", "MDP_COMPANY": declare(tmp_path),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    made = World(server, spark, tmp_path)
    assert not made.tables(), "a test before this one left tables behind"
    yield made
    for name in made.tables():
        server.execute(f"drop table {name}")
    spark.sql(f"drop table if exists {SOURCE}")
