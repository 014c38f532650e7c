"""The corner shop in a real PostgreSQL: day by day, in its own types, to the penny; a bad day, and the day mended."""

import os
import re
import subprocess
import sys
from datetime import UTC
from decimal import Decimal
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from mdp import company as mdp_company
from sample.corner_shop import books, delivery, life
from tests.companies import declare
from tests.services.test_jdbc_import import connect, feed, rows

PROJECT = Path(__file__).resolve().parents[2]
BY_HAND = Path(__file__).with_name("shop_by_hand.patch")
pytestmark = pytest.mark.services
EVENING, NEXT_DAY = "2025-04-03", "2025-04-04"
REVENUE = """
    select sum(l."Quantity" * l."UnitPrice" * coalesce(r."Rate", 1)) from invoice_lines l join invoices i using ("InvoiceNo")
    left join exchange_rates r on r."Day" = i."InvoiceDate"::date and r."Currency" = i."Currency"
"""
STATES = """
    select case when l."UnitPrice" is null then 'quarantined' when i."InvoiceNo" like 'C%' then 'reversed'
                when i."CustomerID" is null then 'guests' else 'kept' end, count(*)
    from invoice_lines l join invoices i using ("InvoiceNo") group by 1
"""


@pytest.fixture(scope="module")
def shop():
    return life.live()


@pytest.fixture
def server(postgres):
    yield postgres
    for name in life.TABLES:
        postgres.execute(f"drop table if exists {name}")


def assert_holds(server, totals):
    assert server.execute(REVENUE) == [(totals["revenue_exact"],)]
    assert dict(server.execute(STATES)) == {state: n for state, n in totals["states"].items() if n}


def test_the_book_grows_by_a_day_and_stays_right_to_the_penny(server, shop):
    added = delivery.fill_postgres(server.engine, shop, EVENING, clients=True)
    assert added["stock"] == len(shop.stock) and added["exchange_rates"] == 2 * (shop.days - 1)
    assert_holds(server, books.totals(shop, EVENING))
    next_day = delivery.fill_postgres(server.engine, shop, NEXT_DAY, clients=True)
    day = shop.day(NEXT_DAY)
    assert next_day["invoices"] == (shop.invoices["day"] == day).sum() > 0 and "stock" not in next_day
    assert_holds(server, books.totals(shop))
    assert sum(delivery.fill_postgres(server.engine, shop, NEXT_DAY, clients=True).values()) == 0
    assert server.execute("select count(*) from clients") == [(len(shop.clients),)]
    types = dict(
        server.execute("select column_name, data_type from information_schema.columns where table_schema = 'public'")
    )
    assert types["InvoiceDate"] == "timestamp without time zone" and types["UnitPrice"] == "numeric"
    assert server.execute('select min("UnitPrice") from invoice_lines where "UnitPrice" > 0') == [(Decimal("0.001"),)]
    empty = server.execute("""select count(*) filter (where "Description" = ''), count("Category") from stock""")
    assert empty == [((shop.stock["Description"] == "").sum(), shop.stock["Category"].notna().sum())]


@pytest.mark.parametrize("defect", life.DEFECTS)
def test_a_bad_day_arrives_and_is_mended(server, shop, defect):
    delivery.fill_postgres(server.engine, shop, EVENING)
    delivery.fill_postgres(server.engine, life.break_(shop, defect, NEXT_DAY), NEXT_DAY)
    unlike = server.execute(REVENUE) != [(books.totals(shop)["revenue_exact"],)]
    assert unlike
    delivery.mend_postgres(server.engine, shop, NEXT_DAY)
    assert_holds(server, books.totals(shop))


def test_what_is_proposed_of_it_needs_the_lines_that_the_walk_writes_by_hand(
    server, shop, tmp_path, monkeypatch, capsys
):
    """docs/your-company.md, up to the first run: proposal, review, a few lines, no fault."""
    delivery.fill_postgres(server.engine, shop, EVENING)
    monkeypatch.setenv("MDP_SHOP_USER", server.user)
    monkeypatch.setenv("MDP_SHOP_PASSWORD", server.password)
    folder = tmp_path / "shop"
    propose = partial(
        mdp_company.propose, "shop", server.jdbc_url, folder, answers=[], yes=False, ask=None, again="again"
    )
    propose(timezone=None, country=None, currency=None)
    assert mdp_company.accept(folder) > 40
    subprocess.run(["git", "apply", str(BY_HAND)], cwd=folder, check=True)
    monkeypatch.setenv("MDP_COMPANY", str(folder))
    mdp_company.check(None)
    said = capsys.readouterr().out
    assert "no fault, nothing left to review" in said and "orders           │ stg_shop__invoices" in said
    assert "inner join order_lines" in (folder / "staging" / "stg_shop__invoices.sql").read_text()
    walk = (PROJECT / "docs" / "your-company.md").read_text()
    added = [line[1:].strip() for line in BY_HAND.read_text().splitlines() if re.match(r"\+[^+]", line)]
    assert len(added) < 80 and [line for line in added if line not in walk] == []


def test_the_command_fills_and_mends(server, shop):
    def run(*more):
        url = f"postgresql://{server.user}@127.0.0.1:{server.port}/mdp"
        command = [sys.executable, "-m", "sample.corner_shop", "--database", url, "--ds", NEXT_DAY, *more]
        environment = os.environ | {"PGPASSWORD": server.password}
        done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    run("--defect", "outage")
    assert server.execute(REVENUE) != [(books.totals(shop)["revenue_exact"],)]
    run("--mend")
    assert_holds(server, books.totals(shop))


def test_columns_may_be_in_lower_case(server, shop):
    delivery.fill_postgres(server.engine, shop, "2024-03-05", quoted=False)
    delivery.fill_postgres(server.engine, shop, "2024-03-06", quoted=False)
    n = (shop.invoices["day"] <= 5).sum()
    assert server.execute("select count(distinct invoiceno) from invoices") == [(n,)]


def test_its_local_times_are_taken_once_and_as_utc(server, shop, connectors, tmp_path, monkeypatch):
    delivery.fill_postgres(server.engine, shop)
    connect(server, tmp_path, monkeypatch)
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path, timezone="Europe/London"))
    monkeypatch.setenv("MDP_KEY_FILE", str(tmp_path / "a.key"))
    columns = {"InvoiceNo": "string", "InvoiceDate": "timestamp"}
    one = feed(columns, table="invoices", key=["InvoiceNo"], mode="append", check_column="InvoiceDate",
               timestamp_zone="Europe/London")  # fmt: skip
    found = []
    for first, ds in (
        (None, "2024-10-25"),
        ("2024-10-26", "2024-10-27"),
        ("2024-10-28", NEXT_DAY),
    ):  # the clock: on the 27th
        found += rows(one, first, ds)
    local = {
        number: at.replace(tzinfo=UTC).astimezone(ZoneInfo("Europe/London")).replace(tzinfo=None)
        for number, at in found
    }
    assert len(found) == len(shop.invoices)
    assert local == dict(server.execute('select "InvoiceNo", "InvoiceDate" from invoices'))
