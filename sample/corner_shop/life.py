"""The shop's life: who buys when, what is on the invoices, what is cancelled; and how a day goes wrong.

Customers follow BG/NBD (Fader, Hardie, Lee 2005) on cumulated demand: a rate from a gamma distribution, and after each
purchase but the first a chance from a beta distribution that it was the last. The order book starts with the shop, so
a first purchase is a first purchase. Nothing on an invoice ever changes: the book as of a day is its rows up to the day.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from sample import clock
from sample.corner_shop import goods, trading
from sample.draws import generator
from warehouse.errors import PlatformError, unknown

# Rates are Gamma(r, alpha) purchases per day of demand 1, drop-out is Beta(a, b).
BG_NBD = {"r": 0.6, "alpha": 45.0, "a": 0.8, "b": 2.5}
DAYS, CUSTOMERS = 400, 2_500
DEFECTS = {
    "duplicated_invoices": "the day's invoices stand twice in the book",
    "outage": "no invoice of the day was recorded",
    "missing_prices": "most lines of the day have no price",
    "unknown_currency": "the day's euro invoices say DKK, which has no rate on any day",
    "missing_rate": "the day has no exchange rate",
}
TABLES = {"invoices": "InvoiceNo", "invoice_lines": "InvoiceNo", "stock": "StockCode", "exchange_rates": "Day",
          "clients": "CustomerID"}  # fmt: skip
_COUNTRIES = {"United Kingdom": 0.89, "Germany": 0.025, "France": 0.025, "EIRE": 0.02, "Spain": 0.01, "Netherlands": 0.01,
              "Channel Islands": 0.01, "Unspecified": 0.01}  # fmt: skip
_EURO = ("Germany", "France", "EIRE", "Spain", "Netherlands")
_EURO_SHARE = 0.8  # of their invoices; the others are in pounds
_GUEST_SHARE, _GUEST_CANCEL_SHARE = 0.1, 0.03  # of invoices
_CANCEL_SHARE, _CANCEL_DAYS = 0.12, 5
_CANCEL_KINDS = {"all": 0.25, "some": 0.4, "part": 0.2, "credit": 0.15}
_MISSING_PRICE = 0.6
_GUEST = -1


@dataclass(frozen=True)
class Shop:
    """The order book as frames, with `day` (0 = clock.FIRST_DAY) beside what the shop itself writes.

    `lives`: CustomerID, rate, dropout (their λ and p), FirstDay, AliveUntil (the day of the last purchase; missing while
    the customer is alive). `cancelled`: the lines that the lines of cancellations really cancel.
    """

    days: int
    invoices: pd.DataFrame
    invoice_lines: pd.DataFrame
    stock: pd.DataFrame
    exchange_rates: pd.DataFrame
    clients: pd.DataFrame
    lives: pd.DataFrame
    cancelled: pd.DataFrame

    def rows(self, table: str, first: int, last: int) -> pd.DataFrame:
        """What the shop wrote into a table on the days `first` … `last`, in its own columns; the stock is always whole."""
        frame = getattr(self, table)
        if "day" in frame:
            frame = frame[frame["day"].between(first, last)]
        return frame.drop(columns=["day", "utc"], errors="ignore")

    def day(self, ds: str | None) -> int:
        """The day of a business date, the last one by default; refuses one that the shop has not lived."""
        day = self.days - 1 if ds is None else clock.day_of(ds)
        if not 0 <= day < self.days:
            span = f"{clock.ds_of(0)} to {clock.ds_of(self.days - 1)}"
            raise PlatformError(f"the corner shop lives {span}, not {ds}: name one of its days or let it live for more")
        return day


def live(seed: int = 7, customers: int = CUSTOMERS, days: int = DAYS) -> Shop:
    """The whole order book of `days` days, the same for the same arguments. `customers` counts those with a number."""
    if days < 7 or customers < 50:
        raise PlatformError("a corner shop needs at least 7 days and 50 customers")
    rng = generator(seed, "shop", "life")
    demand = trading.demand(days, rng)
    lives, bought = _live(rng, customers, demand)
    orders = _orders(rng, bought, lives["country"].to_numpy(), demand)
    products = goods.stock(seed)
    lines = _lines(rng, orders, products)
    invoices, lines = _cancel(rng, orders, lines, np.flatnonzero(demand))
    invoices, lines = _with_specials(rng, invoices, lines, products, customers, np.flatnonzero(demand))
    customer_id = 12_346 + np.cumsum(rng.integers(1, 4, int(invoices["customer"].max()) + 1))
    invoices, lines, cancelled = _number(rng, invoices, lines, customer_id)
    opened = invoices[invoices["CustomerID"].notna()].groupby("CustomerID")["day"].min().sort_values(kind="stable")
    lives.insert(0, "CustomerID", customer_id[: len(lives)])
    return Shop(
        days, invoices, lines, products, goods.exchange_rates(seed, days),
        goods.clients(seed, opened.index.to_numpy(int), opened.to_numpy()), lives.drop(columns="country"), cancelled,
    )  # fmt: skip


def break_(shop: Shop, defect: str, ds: str) -> Shop:
    """The same book with a defect on one day; refuses a day that has nothing to spoil."""
    if defect not in DEFECTS:
        raise unknown("defect", defect, DEFECTS)
    day = shop.day(ds)
    today = {name: getattr(shop, name)["day"] == day for name in ("invoices", "invoice_lines", "exchange_rates")}
    invoices, lines, rates = shop.invoices, shop.invoice_lines, shop.exchange_rates
    needs_euro = defect in ("unknown_currency", "missing_rate")
    spoilt = today["invoices"] & (invoices["Currency"].eq("EUR") | (not needs_euro))
    if not spoilt.any():
        what = "euro invoice" if needs_euro else "invoice"
        raise PlatformError(f"the corner shop has no {what} on {ds} that {defect} could spoil: name another day")
    if defect == "duplicated_invoices":
        twice = (pd.concat([frame, frame[today[name]]], ignore_index=True)
                 for name, frame in (("invoices", invoices), ("invoice_lines", lines)))  # fmt: skip
        return replace(shop, **dict(zip(("invoices", "invoice_lines"), twice, strict=True)))
    if defect == "outage":
        return replace(shop, invoices=invoices[~spoilt], invoice_lines=lines[~today["invoice_lines"]])
    if defect == "missing_rate":
        return replace(shop, exchange_rates=rates[~today["exchange_rates"]])
    if defect == "unknown_currency":
        return replace(shop, invoices=invoices.assign(Currency=invoices["Currency"].mask(spoilt, "DKK")))
    drawn = generator(day, "shop", defect).random(len(lines)) < _MISSING_PRICE
    return replace(shop, invoice_lines=lines.assign(UnitPrice=lines["UnitPrice"].mask(today["invoice_lines"] & drawn)))


def _live(rng, customers: int, demand: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Each customer's life, and their purchases as customer and day."""
    days, elapsed = len(demand), np.append(0, np.cumsum(demand))
    rate = rng.gamma(BG_NBD["r"], 1 / BG_NBD["alpha"], customers)
    dropout = rng.beta(BG_NBD["a"], BG_NBD["b"], customers)
    born = np.sort(days * rng.beta(0.9, 1.6, customers))  # regulars of the time before come first
    n_repeats = rng.poisson(rate * (days - born))  # if nobody dropped out: uniform times in what is left
    last = rng.geometric(np.maximum(dropout, 1e-9))
    owner = np.repeat(np.arange(customers), n_repeats)
    repeats = pd.DataFrame({"customer": owner, "at": born[owner] + rng.random(len(owner)) * (days - born)[owner]})
    repeats = repeats.sort_values(["customer", "at"], ignore_index=True)
    repeats = repeats[repeats.groupby("customer").cumcount() < last[repeats["customer"]]]
    bought = pd.concat([pd.DataFrame({"customer": np.arange(customers), "at": born}), repeats], ignore_index=True)
    bought["day"] = np.clip(np.searchsorted(elapsed, bought["at"], side="right") - 1, 0, days - 1)
    newest = bought.groupby("customer")["day"].max().to_numpy()
    lives = pd.DataFrame({
        "rate": rate, "dropout": dropout,
        "FirstDay": trading.dates_of(bought["day"][:customers]),
        "AliveUntil": pd.Series(trading.dates_of(newest), dtype=object).where(n_repeats >= last, None),
        "country": rng.choice(list(_COUNTRIES), customers, p=list(_COUNTRIES.values())),
    })  # fmt: skip
    return lives, bought[["customer", "day"]]


def _orders(rng, bought: pd.DataFrame, country: np.ndarray, demand: np.ndarray) -> pd.DataFrame:
    """Purchases of customers and guests as invoices: kind, customer, day, Country, Currency."""
    n_guests = rng.poisson(len(bought) * _GUEST_SHARE / (1 - _GUEST_SHARE))
    guests = pd.DataFrame({"customer": _GUEST, "day": rng.choice(len(demand), n_guests, p=demand / demand.sum())})
    orders = pd.concat([bought, guests], ignore_index=True)
    orders["kind"] = ""
    orders["Country"] = np.where(orders["customer"] == _GUEST, "United Kingdom", country[orders["customer"]])
    in_euro = orders["Country"].isin(_EURO) & (rng.random(len(orders)) < _EURO_SHARE)
    orders["Currency"] = np.where(in_euro, "EUR", "GBP")
    return orders


def _lines(rng, orders: pd.DataFrame, products: pd.DataFrame) -> pd.DataFrame:
    """The goods on each invoice, then postage, discounts and manual entries, which are no product of the stock."""
    n_lines = np.clip(np.exp(rng.normal(1.28, 0.9, len(orders))).astype(int) + 1, 1, 150)
    owner = np.repeat(np.arange(len(orders)), n_lines)
    product, quantity = goods.draw_products(rng, len(owner)), goods.draw_quantities(rng, len(owner))
    is_euro = (orders["Currency"] == "EUR").to_numpy()
    price = goods.unit_prices(products["ListPrice"].to_numpy()[product], quantity, is_euro[owner])
    sold = products.iloc[product]
    parts = [_block(owner, sold["StockCode"].to_numpy(), sold["Description"].to_numpy(), quantity, price)]
    abroad = (orders["Country"] != "United Kingdom").to_numpy()
    for code, text, pieces, share in (("POST", "POSTAGE", 1, np.where(abroad, 0.6, 0.02)), ("D", "Discount", -1, 0.012),
                                      ("M", "Manual", 1, 0.006)):  # fmt: skip
        at = np.flatnonzero(rng.random(len(orders)) < share)
        price = np.round(np.exp(rng.normal(2.2, 0.7, len(at))), 2)
        parts.append(_block(at, code, text, pieces, price))
    return pd.concat(parts, ignore_index=True)


def _block(owner, code, text, pieces, price) -> pd.DataFrame:
    columns = {"owner": owner, "StockCode": code, "Description": text, "Quantity": pieces, "UnitPrice": price}
    return pd.DataFrame(columns | {"cancels": -1})


def _cancel(rng, orders: pd.DataFrame, lines: pd.DataFrame, open_days: np.ndarray):
    """Orders and lines with the cancellations of some: all lines, some, part of a quantity (damaged), or a mere credit."""
    n = len(orders)
    share = np.where(orders["customer"] == _GUEST, _GUEST_CANCEL_SHARE, _CANCEL_SHARE)
    later = trading.next_open(open_days, orders["day"].to_numpy() + rng.geometric(1 / _CANCEL_DAYS, n))
    chosen = np.flatnonzero((rng.random(n) < share) & (later <= open_days[-1]))
    notes = orders.iloc[chosen].assign(kind="C", day=later[chosen])
    reason = np.full(n, "", dtype="U6")
    reason[chosen] = rng.choice(list(_CANCEL_KINDS), len(chosen), p=list(_CANCEL_KINDS.values()))
    note = np.full(n, -1)
    note[chosen] = n + np.arange(len(chosen))  # the position of an order's cancellation among all invoices
    most = rng.integers(1, 4, n)

    taken = lines[(note[lines["owner"]] >= 0) & (lines["Quantity"] > 0)].copy()
    taken["cancels"], taken["reason"] = taken.index, reason[taken["owner"]]
    rank = rng.random(len(taken)).argsort()
    rank = taken.iloc[rank].groupby("owner").cumcount().reindex(taken.index)
    is_part = taken["reason"] == "part"
    few = taken["reason"].eq("some") & (rank < most[taken["owner"]])
    taken = taken[taken["reason"].eq("all") | few | (is_part & (rank == 0))].drop(columns="reason")
    broken = np.ceil(taken["Quantity"] * rng.uniform(0, 1, len(taken))).astype(int)
    taken["Quantity"] = -taken["Quantity"].where(~is_part.reindex(taken.index), broken)
    credit = np.flatnonzero(reason == "credit")
    price = np.round(np.exp(rng.normal(2.5, 1.0, len(credit))), 2)
    added = pd.concat([taken, _block(credit, "M", "Manual", -1, price)], ignore_index=True)
    added["owner"] = note[added["owner"]]
    return pd.concat([orders, notes], ignore_index=True), pd.concat([lines, added], ignore_index=True)


def _with_specials(rng, invoices, lines, products, customers: int, open_days: np.ndarray):
    """Two more kinds: credits to customers who bought before the book began, and bad debt, which is nobody's."""
    n_refunds, n_debts = max(3, customers // 300), max(1, len(open_days) // 80)
    late = len(open_days) // 3
    days = [rng.choice(open_days[: late + 1], n_refunds), rng.choice(open_days[late:], n_debts)]
    more = pd.DataFrame({
        "customer": np.append(customers + np.arange(n_refunds), np.full(n_debts, _GUEST)),
        "day": np.concatenate(days),
        "kind": np.repeat(["C", "A"], [n_refunds, n_debts]), "Country": "United Kingdom", "Currency": "GBP",
    })  # fmt: skip
    sold = products.iloc[goods.draw_products(rng, n_refunds)]
    start, price = len(invoices), np.round(sold["ListPrice"].to_numpy(), 3)
    refunds = _block(start + np.arange(n_refunds), sold["StockCode"].to_numpy(), sold["Description"].to_numpy(),
                     -rng.integers(1, 13, n_refunds), price)  # fmt: skip
    debts = _block(start + n_refunds + np.arange(n_debts), "BAD DEBT", "Adjust bad debt", 1,
                   -np.round(customers * rng.uniform(0.1, 5, n_debts), 2))  # fmt: skip
    return pd.concat([invoices, more], ignore_index=True), pd.concat([lines, refunds, debts], ignore_index=True)


def _number(rng, invoices: pd.DataFrame, lines: pd.DataFrame, customer_id: np.ndarray):
    """Invoices in order of time, as the shop numbers and writes them, and what cancels what."""
    invoices = invoices.join(trading.times_of(invoices["day"].to_numpy(), rng))
    invoices["owner"] = invoices.index
    invoices = invoices.sort_values(["utc", "owner"], ignore_index=True)
    number = 536_365 + np.cumsum(rng.integers(1, 3, len(invoices)))
    invoices["InvoiceNo"] = [f"{kind}{n}" for kind, n in zip(invoices["kind"], number, strict=True)]
    invoices["CustomerID"] = pd.Series(customer_id[invoices["customer"]], dtype="Int64").mask(invoices["customer"] < 0)
    rank = pd.Series(invoices.index, invoices["owner"])
    lines["place"], lines["line"] = rank[lines["owner"]].to_numpy(), lines.index
    lines = lines.sort_values(["place", "line"], ignore_index=True)
    lines["LineNo"] = lines.groupby("place").cumcount() + 1
    lines["InvoiceNo"] = invoices["InvoiceNo"].to_numpy()[lines["place"]]
    lines["day"] = invoices["day"].to_numpy()[lines["place"]]
    keys = lines.set_index("line")[["InvoiceNo", "LineNo", "Quantity"]]
    undone = lines[lines["cancels"] >= 0]
    original = keys.loc[undone["cancels"]].reset_index(drop=True).add_prefix("Cancelled")
    cancelled = undone[["InvoiceNo", "LineNo", "Quantity", "day"]].reset_index(drop=True).join(original)
    invoices = invoices.rename(columns={"local": "InvoiceDate"})
    written = ["InvoiceNo", "InvoiceDate", "CustomerID", "Country", "Currency", "day", "utc"]
    of_line = ["InvoiceNo", "LineNo", "StockCode", "Description", "Quantity", "UnitPrice", "day"]
    return invoices[written], lines[of_line], cancelled
