"""What is said of a key that identifies no row, from what dbt reports; the SQL behind it: tests/e2e/test_entity_keys.py."""

from types import SimpleNamespace

import pytest

from mdp import entity_keys
from warehouse.company import staged
from warehouse.entities import contract

FAILED = {"unique_id": "test.mdp.entity_key_input__fx_rates_fx_rates.1f", "status": "fail", "failures": 1234,
          "compiled_code": "select the doubled keys"}  # fmt: skip


@pytest.fixture
def doubled(monkeypatch):
    """The rows that the engine gives for the compiled test."""
    rows = []
    monkeypatch.setattr(
        entity_keys, "session", lambda: SimpleNamespace(sql=lambda sql: SimpleNamespace(collect=lambda: rows))
    )
    return rows


def test_it_says_which_key_how_often_and_who_feeds_it_and_shows_no_value_whole(doubled, monkeypatch):
    monkeypatch.setenv("MDP_COMPANY", "corner-shop")
    common = dict(first_feed="shop__rates", last_feed="shop__rates", n_rows=2)
    doubled += [
        dict(currency="EUR", rate_date="2026-03-02", **common),
        dict(currency="USD", rate_date="2026-03-01", **common | {"last_feed": "bank__rates"}),
    ]
    said = entity_keys.sentence(FAILED)
    assert said.startswith(
        "fx_rates: currency and rate_date should identify a row, but 1,234 keys are there more than once (E… 202… 2 times, "
        "U… 202… of shop__rates and of bank__rates), so rows would be lost; stg_cornershop__exchange_rates in "
    )
    assert "EUR" not in said and "\n" not in said


def test_what_nothing_feeds_is_not_asked(monkeypatch):
    monkeypatch.setenv("MDP_COMPANY", "corner-shop")
    idle = entity_keys.idle()
    assert "entity_key_input__channel_spend_channel_spend" in idle and "entity_key_input__orders_orders" not in idle
    assert not any("events" in test for test in idle)  # log lines have no such test, and dbt warns of unknown names


def test_other_results_are_not_its_business(doubled):
    for other in ({"status": "pass"}, {"status": "error"}, {"unique_id": "test.mdp.key_orders_order_id.1f"}):
        assert entity_keys.sentence(FAILED | other) is None


def test_every_entity_whose_rows_may_not_come_twice_has_the_test():
    from warehouse.declarations import read_blocks
    from warehouse.entities import PATH

    tested = {}
    for block in read_blocks(PATH, "entity")["models"]:
        for test in block.get("data_tests", []):
            tested[block["name"].removeprefix("input__")] = test["entity_key"]["arguments"]["entity"]
    assert tested == {name: name for name, entity in contract().items() if entity.rows != "log"}
    assert len(tested) >= 9 and staged()["orders"]
