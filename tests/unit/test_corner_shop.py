"""The second company keeps its promises: repeatable, its sums and its customers' lives known, awkward where real ones are."""

import csv
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import betaln, gammaln

from sample import clock
from sample.corner_shop import books, delivery, life
from sample.purchases import DIALECTS, ambiguous, write_purchases
from warehouse.errors import PlatformError

PROJECT = Path(__file__).resolve().parents[2]
CHANGE_DAY, SATURDAY, BUSY_DAY = "2024-10-27", "2024-06-15", "2024-11-05"


@pytest.fixture(scope="module")
def shop():
    return life.live()


@pytest.fixture(scope="module")
def small():
    return life.live(seed=3, customers=80, days=60)


@pytest.fixture(scope="module")
def files(shop, tmp_path_factory):
    """The book written as CSV, up to a day in the middle of its life."""
    out = tmp_path_factory.mktemp("shop")
    delivery.write_files(shop, out, BUSY_DAY, clients=True)
    return out


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_same(one, two):
    for name in (*life.TABLES, "lives", "cancelled"):
        assert len(getattr(one, name))
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name))


def test_the_same_arguments_give_the_same_book(small):
    assert_same(small, life.live(seed=3, customers=80, days=60))
    assert not small.invoices.equals(life.live(seed=4, customers=80, days=60).invoices)


def test_the_book_has_the_size_of_a_small_shop_and_real_oddities(shop):
    lines, invoices = shop.invoice_lines, shop.invoices
    assert 45_000 < len(lines) < 55_000 and 2_400 < invoices["CustomerID"].nunique() < 2_600
    assert invoices["InvoiceNo"].is_unique and not lines.duplicated(["InvoiceNo", "LineNo"]).any()
    assert shop.stock["StockCode"].is_unique and shop.clients["CustomerID"].is_unique
    assert set(lines["InvoiceNo"]) == set(invoices["InvoiceNo"])
    assert 0.05 < invoices["CustomerID"].isna().mean() < 0.15
    assert lines["UnitPrice"].min() < 0 and (lines["UnitPrice"] == 0.001).any()
    assert {"POST", "M", "D", "BAD DEBT"} == set(lines["StockCode"]) - set(shop.stock["StockCode"])
    is_note = lines["InvoiceNo"].str.startswith("C")
    assert (lines.loc[is_note, "Quantity"] < 0).all()
    assert set(lines.loc[~is_note & (lines["Quantity"] < 0), "StockCode"]) == {"D"}
    assert set(invoices["Currency"]) == {"GBP", "EUR"}
    assert shop.stock["Category"].isna().any() and (shop.stock["Description"] == "").any()
    known = set(shop.clients["CustomerID"])
    assert known == set(invoices["CustomerID"].dropna()) and known > set(shop.lives["CustomerID"])
    # a heavy tail: a hundredth of the lines carries a good part of the pieces
    pieces = lines.loc[~is_note, "Quantity"].sort_values(ascending=False)
    assert pieces.head(len(pieces) // 100).sum() > 0.2 * pieces.sum()


def test_the_totals_are_what_the_files_add_up_to(shop, files):
    """Counted anew, row by row, from the text that others get to read."""
    totals = books.totals(shop, BUSY_DAY)
    invoices = {row["InvoiceNo"]: row for row in read(files / "tables" / "invoices.csv")}
    rates = {
        (row["Day"], row["Currency"]): Decimal(row["Rate"]) for row in read(files / "tables" / "exchange_rates.csv")
    }
    states, revenue, customers = dict.fromkeys(books.STATES, 0), Decimal(0), {}
    for line in read(files / "tables" / "invoice_lines.csv"):
        invoice = invoices[line["InvoiceNo"]]
        rate = Decimal(1) if invoice["Currency"] == "GBP" else rates[invoice["InvoiceDate"][:10], invoice["Currency"]]
        amount = int(line["Quantity"]) * Decimal(line["UnitPrice"]) * rate
        state = "reversed" if line["InvoiceNo"][0] == "C" else "kept" if invoice["CustomerID"] else "guests"
        states[state] += 1
        revenue += amount
        if invoice["CustomerID"]:
            customers[int(invoice["CustomerID"])] = customers.get(int(invoice["CustomerID"]), Decimal(0)) + amount
    assert states == totals["states"] and min(states["kept"], states["reversed"], states["guests"]) > 0
    assert sum(states.values()) == totals["lines"]
    assert revenue == totals["revenue_exact"] and round(revenue, 2) == totals["revenue"]
    by_customer = books.by_customer(shop, BUSY_DAY).set_index("CustomerID")
    assert customers == by_customer["revenue"].to_dict()
    assert totals["only_refunds"] == (by_customer["n_orders"] == 0).sum() > 0


def test_the_days_make_up_the_whole(shop, files):
    spool = files / "spool"
    for name in ("invoices", "invoice_lines", "exchange_rates", "clients"):
        daily = [row for path in sorted((spool / name).iterdir()) for row in read(path)]
        assert daily == read(files / "tables" / f"{name}.csv") and daily
    n_days = clock.day_of(BUSY_DAY) + 1
    assert all(len(list((spool / name).iterdir())) == n_days for name in life.TABLES)
    assert (spool / "invoices" / f"invoices-{SATURDAY}.csv").read_text().count("\n") == 1  # the header: a closed day
    days = books.by_day(shop)
    later = sum(days.loc[days["day"] >= n_days, "revenue"])
    assert books.totals(shop)["revenue_exact"] == books.totals(shop, BUSY_DAY)["revenue_exact"] + later


def test_times_are_british_on_both_days_the_clocks_change(shop):
    invoices = shop.invoices
    true = invoices["utc"].dt.tz_localize("UTC").dt.tz_convert("Europe/London").dt.tz_localize(None)
    assert (true == invoices["InvoiceDate"]).all()
    assert (
        invoices["InvoiceDate"].dt.normalize() == pd.Timestamp(clock.ds_of(0)) + pd.to_timedelta(invoices["day"], "D")
    ).all()
    night = invoices[(invoices["day"] == clock.day_of(CHANGE_DAY)) & (invoices["InvoiceDate"].dt.hour == 1)]
    assert set(night["utc"].dt.hour) == {0, 1}  # the hour came twice
    for ds in ("2024-03-31", "2025-03-30"):  # Easter Sunday, and a Sunday
        day = invoices[invoices["day"] == clock.day_of(ds)]
        assert len(day) and not (day["InvoiceDate"].dt.hour == 1).any()


def test_the_shop_is_closed_when_british_shops_are(shop):
    trading = {clock.ds_of(day) for day in shop.invoices["day"].unique().tolist()}
    closed = {clock.ds_of(day) for day in range(shop.days)} - trading
    on_purpose = {ds for ds in closed if date.fromisoformat(ds).weekday() != 5}
    bank_holidays = {"2024-03-29", "2024-04-01", "2024-05-06", "2024-05-27", "2024-08-26"}
    christmas = {f"2024-12-{day}" for day in range(24, 32)} | {"2025-01-01", "2025-01-02"}
    assert on_purpose == bank_holidays | {ds for ds in christmas if date.fromisoformat(ds).weekday() != 5}
    assert not any(date.fromisoformat(ds).weekday() == 5 for ds in trading)
    month = shop.invoices["InvoiceDate"].dt.to_period("M").value_counts()
    assert month.idxmax() == pd.Period("2024-11")
    weekday = shop.invoices["InvoiceDate"].dt.weekday.value_counts()
    assert 0.3 < weekday[6] / weekday.drop(6).mean() < 0.8


def test_customers_live_as_their_parameters_say(shop):
    """BG/NBD by maximum likelihood (Fader, Hardie, Lee 2005, eq. 6) on purchase days finds what they were drawn from."""
    bought = shop.invoices[~shop.invoices["InvoiceNo"].str.startswith(("C", "A"))].dropna(subset="CustomerID")
    days = bought.drop_duplicates(["CustomerID", "day"]).groupby("CustomerID")["day"].agg(["min", "max", "count"])
    x, t, until = (
        (days["count"] - 1).to_numpy(float),
        (days["max"] - days["min"]).to_numpy(),
        400 - days["min"].to_numpy(),
    )

    def loss(log_parameters):
        r, alpha, a, b = np.exp(log_parameters)
        common = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - betaln(a, b)
        alive = betaln(a, b + x) - (r + x) * np.log(alpha + until)
        gone = betaln(a + 1, b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + t)
        return -(common + np.logaddexp(alive, np.where(x > 0, gone, -np.inf))).mean()

    r, alpha, a, b = np.exp(minimize(loss, np.log([1, 30, 1, 2]), method="Nelder-Mead", options={"maxiter": 3_000}).x)
    true = life.BG_NBD
    assert r == pytest.approx(true["r"], rel=0.2) and alpha == pytest.approx(true["alpha"], rel=0.25)
    assert a / (a + b) == pytest.approx(true["a"] / (true["a"] + true["b"]), rel=0.25)
    lives = shop.lives.set_index("CustomerID")
    assert lives["rate"].mean() == pytest.approx(true["r"] / true["alpha"], rel=0.1)
    gone = lives["AliveUntil"].dropna()
    assert 0.2 < len(gone) / len(lives) < 0.6
    assert (days["max"].reindex(gone.index) == gone.map(clock.day_of)).all()  # nobody buys after their last purchase


def test_most_cancellations_match_one_line_and_some_none(shop):
    found = books.match_candidates(shop).merge(shop.cancelled, on=["InvoiceNo", "LineNo"], how="left")
    is_whole = found["Quantity"] == -found["CancelledQuantity"]
    assert (found.loc[is_whole, "candidates"] >= 1).all() and is_whole.sum() > 1_000
    assert (found.loc[is_whole, "candidates"] == 1).mean() > 0.9
    unmatched = found[found["candidates"] == 0]
    assert unmatched["CancelledInvoiceNo"].isna().any() and unmatched["CancelledInvoiceNo"].notna().any()
    when = shop.invoices.set_index("InvoiceNo")["utc"]
    assert (when[shop.cancelled["InvoiceNo"]].to_numpy() > when[shop.cancelled["CancelledInvoiceNo"]].to_numpy()).all()


@pytest.mark.parametrize("defect", life.DEFECTS)
def test_a_defect_spoils_one_day(shop, defect):
    bad = life.break_(shop, defect, BUSY_DAY)
    before, day = clock.ds_of(clock.day_of(BUSY_DAY) - 1), clock.day_of(BUSY_DAY)
    assert books.totals(bad, before) == books.totals(shop, before)
    assert bad.rows("invoice_lines", day + 1, day + 9).equals(shop.rows("invoice_lines", day + 1, day + 9))
    if defect in ("unknown_currency", "missing_rate"):
        with pytest.raises(PlatformError, match=f"{BUSY_DAY} has no rate for (DKK|EUR)"):
            books.totals(bad, BUSY_DAY)
        return
    good, now = books.totals(shop, BUSY_DAY), books.totals(bad, BUSY_DAY)
    assert sum(now["states"].values()) == now["lines"]
    today = len(shop.rows("invoice_lines", day, day))
    more = {"duplicated_invoices": today, "outage": -today, "missing_prices": 0}
    assert now["lines"] == good["lines"] + more[defect]
    assert (now["states"]["quarantined"] > today / 3) == (defect == "missing_prices")


def test_what_cannot_be_is_refused_in_words(shop):
    for act, words in (
        (lambda: life.break_(shop, "outage", SATURDAY), "no invoice on 2024-06-15"),
        (lambda: life.break_(shop, "fire", BUSY_DAY), "fire"),
        (lambda: books.totals(shop, "2026-01-01"), "2024-03-01 to 2025-04-04"),
        (lambda: life.live(days=3), "at least 7 days"),
    ):
        with pytest.raises(PlatformError, match=words):
            act()


def test_the_command_writes_files_or_says_why_not(tmp_path):
    def run(*more):
        command = [sys.executable, "-m", "sample.corner_shop", "--customers", "80", "--days", "60", *more]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)

    done = run("--out", str(tmp_path / "shop"), "--ds", "2024-04-10")
    assert done.returncode == 0 and "up to 2024-04-10" in done.stdout
    names = {str(path.relative_to(tmp_path / "shop")) for path in (tmp_path / "shop").rglob("*.csv")}
    assert {"tables/invoices.csv", "spool/stock/stock-2024-03-05.csv", "truth/customers.csv"} < names
    assert not any("clients" in name or "2024-04-11" in name for name in names)
    for wrong, words in (
        (("--out", str(tmp_path), "--ds", "2030-01-01"), "2024-03-01 to 2024-04-29"),
        (("--database", "postgresql://nobody@127.0.0.1:1/x"), "Connection refused"),
    ):
        done = run(*wrong)
        assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert words in done.stderr


@pytest.mark.parametrize("name", DIALECTS)
def test_purchases_survive_every_dialect(shop, tmp_path, name):
    purchases, dialect, path = books.purchases(shop), DIALECTS[name], tmp_path / "orders.csv"
    write_purchases(path, purchases, dialect)
    back = pd.read_csv(path, sep=dialect.separator, encoding=dialect.encoding, dtype=str)
    assert list(back.columns) == list(dialect.header.values()) and len(back) == len(purchases) > 5_000
    back = back.rename(columns={theirs: ours for ours, theirs in dialect.header.items()})
    amounts = [a.replace(dialect.thousands, "").replace(dialect.decimal, ".") for a in back["amount"]]
    assert [Decimal(amount) for amount in amounts] == purchases["amount"].tolist()
    assert (back["customer"].astype(int) == purchases["customer"]).all()
    times = pd.to_datetime(back["time"], format=dialect.time_format)
    assert (times.dt.normalize() == purchases["time"].dt.normalize()).all()


def test_the_bytes_of_a_german_and_of_an_ambiguous_list(tmp_path):
    frame = pd.DataFrame({
        "customer": [1, 2], "time": pd.to_datetime(["2024-03-04 09:05", "2024-03-13 10:00"]),
        "amount": [Decimal("1234567.80"), Decimal("-0.05")],
    })  # fmt: skip
    write_purchases(tmp_path / "german.csv", frame, DIALECTS["german"])
    wanted = "\ufeffKundennummer;Bestelldatum;Betrag\r\n1;04.03.2024 09:05;1.234.567,80\r\n2;13.03.2024 10:00;-0,05\r\n"
    assert (tmp_path / "german.csv").read_bytes().decode() == wanted
    write_purchases(tmp_path / "british.csv", ambiguous(frame), DIALECTS["british"])
    assert (
        tmp_path / "british.csv"
    ).read_text() == '"Order Date","Customer ID","Total"\n"04/03/2024 09:05","1","1,234,567.80"\n'
