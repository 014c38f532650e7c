"""The corner shop lived as an ordinary company: every line of its book is accounted for, and its revenue is right to the penny.

Nothing of it is the sample's: files for tables, other names, pounds and euros, a closed weekday, guests, no site and no ads.
"""

import json
import os
import subprocess
import sys
from decimal import Decimal

import pandas as pd
import pytest

from sample.corner_shop import books, life
from tests.conftest import PROJECT, mdp

pytestmark = [pytest.mark.engine, pytest.mark.slow]

DAYS, HISTORY_TO, BAD_DAY = 101, "2024-06-09", "2024-06-10"
SIZE = ("--days", str(DAYS), "--customers", "700", "--seed", "5")
FIRST = "2024-03-01"
LINES = """
    select 'kept' as state, count(*) as n from cleaned.order_items where customer_id is not null
    union all select 'guests', count(*) from cleaned.order_items where customer_id is null
    union all select case when reversal_kind = 'cancelled' then 'reversed' when customer_id is null then 'guests'
                          else 'kept' end, count(*) from cleaned.reversals group by 1
    union all select 'quarantined', count(*) from quarantine.cornershop__invoice_lines
"""
REVENUE = """
    select ds, sum(amount) as revenue from (
        select ds, amount from cleaned.orders union all select ds, -amount from cleaned.reversals
    ) group by ds
"""


def asked(home, sql: str) -> pd.DataFrame:
    """The rows of a query."""
    code = (
        "import sys; from warehouse.session import session; "
        "print(session().sql(sys.argv[1]).toPandas().to_json(orient='split', double_precision=4))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, sql], cwd=PROJECT, env=os.environ | {"MDP_HOME": str(home)}, capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    split = json.loads(done.stdout.splitlines()[-1])
    return pd.DataFrame(split["data"], columns=split["columns"])


def live(home, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.time.live", "live", *words],
        cwd=PROJECT, env=os.environ | {"MDP_HOME": str(home)}, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """(home, book): a history, and a Monday on which most lines have no price."""
    home = tmp_path_factory.mktemp("corner_shop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MDP_COMPANY", "corner-shop")
        mdp("sample", "create", *SIZE, home=home)
        mdp("sample", "break", "missing_prices", home=home)
        mdp("sample", "advance", home=home)
        mdp("warehouse", "start", home=home)
        try:
            live(home, FIRST, HISTORY_TO, "-", BAD_DAY)
            yield home, life.break_(life.live(5, 700, DAYS + 365), "missing_prices", BAD_DAY)
        finally:
            mdp("warehouse", "stop", home=home)


def test_lines_in_are_kept_reversed_of_guests_or_quarantined(lived):
    home, book = lived
    totals = books.totals(book, BAD_DAY)
    found = asked(home, LINES).groupby("state")["n"].sum().to_dict()
    assert found == totals["states"] and all(found.values())
    assert sum(found.values()) == totals["lines"] == len(book.rows("invoice_lines", 0, book.day(BAD_DAY)))


def test_revenue_is_right_day_by_day_up_to_the_rounding_of_invoices(lived):
    """Orders and lines of reversals are rounded to the penny, in euros before and after they become pounds."""
    home, book = lived
    found = asked(home, REVENUE).set_index("ds")["revenue"]
    lines = books.lines_of(book, BAD_DAY)
    assert (lines["Currency"] == "EUR").sum() > 20
    true = books.by_day(book, BAD_DAY)
    rounded = lines.groupby("day").size()
    assert len(found) == len(true) > 60
    for day, revenue in zip(true["day"], true["revenue"], strict=True):
        got = Decimal(str(found[life.clock.ds_of(day)])).quantize(Decimal("0.01"))
        assert abs(got - revenue) <= Decimal("0.01") * int(rounded[day]), life.clock.ds_of(day)


def test_prices_keep_a_tenth_of_a_penny_and_guests_are_no_customers(lived):
    home, book = lived
    least = asked(home, "select cast(min(unit_price) as string) as least from cleaned.order_items")["least"][0]
    assert Decimal(least) < Decimal("0.005") and Decimal(least) > 0
    lines = books.lines_of(book, BAD_DAY)
    known = lines.loc[(lines["state"] == "kept") & (lines["Quantity"] > 0), "CustomerID"].nunique()
    n = asked(home, f"select count(*) as n from cleaned.customers where ds = '{BAD_DAY}'")["n"][0]
    assert n == known > 100


def test_the_raw_gate_lets_the_history_pass_and_stops_the_day_without_prices(lived):
    home, _ = lived
    mdp("gate", "raw", "--ds", HISTORY_TO, "--from", FIRST, home=home)
    said = mdp("gate", "raw", "--ds", BAD_DAY, home=home, check=False)
    assert said.returncode == 1
    assert "raw.cornershop__invoice_lines, column reason: rule quarantined" in said.stderr
