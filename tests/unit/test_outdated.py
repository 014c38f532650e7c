"""Which tables an older version left outdated, and what holds everything up while they are built again; no engine."""

import pytest

from mdp import rebuild
from warehouse import outdated, parts, stages, state, tables
from warehouse.errors import PlatformError

DAY = "2026-03-02"


@pytest.fixture
def columns(tmp_path, monkeypatch):
    """Table → its columns, as the warehouse has them: those of the models, to be changed."""
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    has = {table: dict(wanted) for table, wanted in parts.contracts().items()}
    monkeypatch.setattr(outdated, "columns_of", has.get)
    return has


def test_every_table_that_dbt_builds_has_a_contract(columns):
    assert {*columns} == {table for layer in outdated.BUILT for table in tables.in_layer(layer)}
    assert all(columns.values()) and columns["cleaned.orders"]["amount"] == "decimal(18,2)"
    assert outdated.find() == {}
    outdated.require_current()


def test_each_way_to_differ_is_named(columns):
    del columns["cleaned.orders"]["currency"]
    columns["cleaned.products"] |= {"colour": "string"}
    columns["marts.rfm"]["revenue_90d"] = "decimal(18,4)"
    first, *others = columns["features.sales_day"].items()
    columns["features.sales_day"] = dict([*others, first])
    del columns["marts.funnel"]  # never built: it is built when its turn comes
    assert outdated.find() == {
        "cleaned.products": "has colour, which is gone",
        "cleaned.orders": "lacks currency",
        "features.sales_day": "has its columns in another order",
        "marts.rfm": "revenue_90d is decimal(18,4), not decimal(18,2)",
    }
    with pytest.raises(PlatformError, match=r"cleaned.orders lacks currency; .*marts.rfm revenue_90d.*`mdp rebuild`"):
        outdated.require_current((tables.FEATURES,))
    outdated.require_current((tables.LABELS,))


def test_a_table_that_the_company_does_not_build_any_more_is_left_alone(columns, monkeypatch):
    columns["marts.funnel"] |= {"old": "string"}
    assert [*outdated.find()] == ["marts.funnel"]
    monkeypatch.setenv("MDP_COMPANY", "corner-shop")  # it has no events
    assert outdated.find() == {}


def test_while_a_rebuild_is_not_finished_no_stage_starts(columns):
    state.publish("gate_raw", [DAY])
    stages.require("cleaned", DAY)
    left = outdated.Rebuild(
        ["cleaned.orders"], {"cleaned": [DAY, DAY, ["orders"]]}, {DAY: ["rfm"]}, 5, ["cleaned.orders"]
    )
    outdated.note(left)
    assert outdated.begun() == left
    for require in (outdated.require_current, lambda: stages.require("cleaned", DAY)):
        with pytest.raises(PlatformError, match="cleaned.orders are being built again .* type it again"):
            require()
    outdated.note(None)
    assert outdated.begun() is None
    stages.require("cleaned", DAY)


def test_what_is_built_from_a_table_is_built_again_and_what_it_needs_if_it_never_was(columns, monkeypatch):
    """As dbt's manifest has it: a model → those that read it."""
    monkeypatch.setattr(rebuild, "columns_of", columns.get)
    kinds = {name: "range" for name, table in parts.models().items() if table in columns}
    children = {name: set() for name in kinds} | {
        "orders": {"customer_activity", "sales_day"}, "customer_activity": {"customer_day"}, "customer_day": {"rfm"},
        "customers": {"customer_lifetime"}, "order_items": {"customer_activity"},
    }  # fmt: skip
    affected = rebuild._affected({"features.customer_activity"}, kinds, children)
    assert list(affected.values()) == ["features.customer_activity", "features.customer_day", "marts.rfm"]
    del columns["cleaned.orders"]
    affected = rebuild._affected({"features.customer_activity"}, kinds, children)
    assert list(affected.values()) == [
        "cleaned.orders", "features.customer_activity", "features.sales_day", "features.customer_day", "marts.rfm",
    ]  # fmt: skip
