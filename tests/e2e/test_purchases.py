"""A company that has only purchases (customer, time, amount), some of guests: it gets customers, segments and churn."""

import csv
import datetime as dt
import io
import os
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal

import numpy as np
import pytest
import yaml

from tests.conftest import PROJECT, mdp

pytestmark = [pytest.mark.engine, pytest.mark.slow]

FIRST, DS, NEXT = "2024-03-01", "2024-04-09", "2024-04-10"
COLUMNS = ("order_id", "customer_id", "ordered_at", "amount")
COMPANY = {"name": "Kiosk", "timezone": "Europe/Lisbon", "country": "PT", "currency": "EUR",
           "entities": {"orders": ["stg_kiosk__orders"]}}  # fmt: skip
FEEDS = {
    "kiosk__orders": {
        "kind": "files", "directory": "orders", "pattern": "orders-{date}*.csv", "format": "csv", "header": True,
        "timestamp_zone": "Europe/Lisbon", "subject": "customer_id", "key": ["order_id"],
        "columns": {
            "order_id": {"type": "string", "class": "internal", "required": True},
            "customer_id": {"type": "string", "class": "internal"},
            "ordered_at": {"type": "timestamp", "class": "internal", "required": True},
            "amount": {"type": "decimal(18,2)", "class": "internal", "required": True},
        },
    }
}  # fmt: skip
STAGING = {
    "version": 2,
    "sources": [{"name": "raw", "schema": "raw", "tables": [{"name": "kiosk__orders"}]}],
    "models": [{"name": "stg_kiosk__orders", "columns": [{"name": name} for name in (*COLUMNS, "load_date")]}],
}
SQL = f"select {', '.join(COLUMNS)}, ds as load_date from {{{{ source('raw', 'kiosk__orders') }}}}\n"


def day(n: int) -> str:
    return str(dt.date.fromisoformat(FIRST) + dt.timedelta(days=n))


def purchases() -> list[tuple]:
    """(customer or None, day, amount) of 41 days: 400 who buy at rates of their own and may stop, and a guest every other day."""
    rng = np.random.default_rng(5)
    found = [(None, day(n), Decimal("9.99")) for n in range(0, 41, 2)]
    for customer in range(400):
        at, rate, stops = float(rng.uniform(0, 20)), rng.gamma(2.0, 0.3), rng.beta(1.0, 3.0)
        while at < 41:
            found.append((f"c{customer:03}", day(int(at)), Decimal(int(rng.integers(100, 9000))) / 100))
            if rng.random() < stops:
                break
            at += rng.exponential(1 / rate)
    return [*found, ("late_comer", NEXT, Decimal("0.01"))]


BOUGHT = purchases()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The home of the company, with its engine and the files of all days."""
    path = tmp_path_factory.mktemp("kiosk")
    folder, spool = path / "company", path / "spool" / "orders"
    for each in (folder / "staging", spool):
        each.mkdir(parents=True)
    (folder / "company.yml").write_text(yaml.safe_dump(COMPANY))
    (folder / "feeds.yml").write_text(yaml.safe_dump(FEEDS, sort_keys=False))
    (folder / "exports.yml").write_text("{}\n")
    (folder / "staging" / "_staging.yml").write_text(yaml.safe_dump(STAGING))
    (folder / "staging" / "stg_kiosk__orders.sql").write_text(SQL)
    by_day = defaultdict(list)
    for n, (customer, ds, amount) in enumerate(BOUGHT):
        by_day[ds].append(f"{n},{customer or ''},{ds} {n % 24:02}:30:00,{amount}\n")
    for ds, lines in by_day.items():
        file = spool / f"orders-{ds}.csv"
        file.write_text(",".join(COLUMNS) + "\n" + "".join(lines))
        os.utime(file, (0, 0))  # not written just now
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MDP_COMPANY", str(folder))
        patch.setenv("MDP_SPOOL_URI", str(path / "spool"))
        mdp("warehouse", "start", home=path)
        yield path
        mdp("down", home=path)


def live(home, *days: str) -> None:
    done = subprocess.run([sys.executable, "-m", "tests.time.live", "live", *days], cwd=PROJECT, capture_output=True, text=True,
                          env=os.environ | {"MDP_HOME": str(home)})  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]


def rows(home, query: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO(mdp("warehouse", "sql", "--csv", query, home=home).stdout)))


def value(home, query: str) -> str:
    [row] = rows(home, query)
    return next(iter(row.values()))


def known(ds: str) -> dict[str, str]:
    """Customer → day of the first order, as known at the end of ds."""
    found = {}
    for customer, bought, _ in BOUGHT:
        if customer and bought <= ds:
            found[customer] = min(bought, found.get(customer, bought))
    return found


def amounts(ds: str, guests: bool) -> Decimal:
    return sum(a for customer, bought, a in BOUGHT if bought <= ds and (customer is None) == guests)


@pytest.fixture(scope="module")
def lived(home) -> str:
    """The history as typed, its models trained and the last day scored; what the summary says."""
    live(home, FIRST, DS)
    for layer in ("cleaned", "features"):
        mdp("gate", layer, "--from", FIRST, "--ds", DS, home=home)
    for model in ("segmentation", "churn"):
        mdp("train", model, "--ds", DS, home=home)
        mdp("score", model, "--ds", DS, home=home)
    mdp("gate", "predictions", "--ds", DS, home=home)
    mdp("build", "marts", "--ds", DS, home=home)
    return mdp("summary", "--ds", DS, home=home).stdout


def test_the_customers_of_a_day_are_those_who_had_ordered_by_then(lived, home):
    # of a history the last 34 days: 30 that a row may come late, late_days, today
    for ds in ("2024-03-07", "2024-03-20", DS):
        query = f"select customer_id, registered_date from cleaned.customer_attributes where ds = '{ds}'"
        assert {row["customer_id"]: row["registered_date"] for row in rows(home, query)} == known(ds)
    query = f"select customer_id, registered_at, has_marketing_consent from cleaned.customers where ds = '{DS}'"
    found = {row["customer_id"]: row for row in rows(home, query)}
    assert found.keys() == known(DS).keys() and {row["has_marketing_consent"] for row in found.values()} == {""}
    first = min(known(DS), key=known(DS).get)  # Lisbon is at UTC until the end of March
    assert found[first]["registered_at"].startswith(f"{known(DS)[first]} 00:00")


def test_sums_are_right_to_the_penny_and_guests_are_counted(lived, home):
    n_guests = sum(c is None and d <= DS for c, d, _ in BOUGHT)
    sums = "sum(n_orders) n, sum(revenue) r, sum(n_guest_orders) ng, sum(guest_revenue) rg"
    [sold] = rows(home, f"select {sums} from features.sales_day")
    assert (int(sold["n"]), int(sold["ng"])) == (sum(d <= DS for _, d, _ in BOUGHT), n_guests) and n_guests == 20
    assert Decimal(sold["rg"]) == amounts(DS, guests=True)
    assert Decimal(sold["r"]) == amounts(DS, guests=True) + amounts(DS, guests=False)
    for query in (f"select sum(revenue_total) from features.customer_day where ds = '{DS}'",
                  f"select sum(revenue_90d) from marts.segment_summary where ds = '{DS}'"):  # fmt: skip
        assert Decimal(value(home, query)) == amounts(DS, guests=False)
    assert f"{n_guests} guest orders, {amounts(DS, guests=True):,.0f} EUR in 90 days, belong to no customer" in lived


def test_every_customer_has_a_segment_and_an_outlook(lived, home):
    n = len(known(DS))
    segments = rows(home, f"select segment, n_customers from marts.segment_summary where ds = '{DS}'")
    assert len(segments) >= 3 and "not scored" not in {row["segment"] for row in segments}
    assert sum(int(row["n_customers"]) for row in segments) == n
    churn = rows(home, f"select * from predictions.churn where ds = '{DS}'")
    assert len(churn) == n and min(row["best_contact_date"] for row in churn) > DS
    assert all("purchases expected" in row["drivers"] for row in churn)
    assert len({row["survival_90d"] for row in churn}) > n / 4
    said = mdp("model", "show", "churn", home=home).stdout
    assert "BG/NBD" in said and "(baseline)" not in said
    assert "churn prediction: AUC" in lived and "customers within 7 days" in lived


def test_the_next_day_goes_on_from_there(lived, home):
    live(home, "-", NEXT)
    query = f"select customer_id, registered_date from cleaned.customers where ds = '{NEXT}'"
    assert {row["customer_id"]: row["registered_date"] for row in rows(home, query)} == known(NEXT)
    assert "late_comer" in known(NEXT) and "late_comer" not in known(DS)
    total = value(home, f"select sum(revenue_total) from features.customer_day where ds = '{NEXT}'")
    assert Decimal(total) == amounts(NEXT, guests=False)
