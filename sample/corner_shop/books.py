"""What the order book comes to, added up from the generated frames in exact decimals: what the platform must arrive at."""

from decimal import ROUND_HALF_UP, Decimal

import pandas as pd

from sample import clock
from sample.corner_shop.life import Shop
from warehouse.errors import PlatformError

STATES = ("kept", "reversed", "guests", "quarantined")
_PENNY = Decimal("0.01")


def lines_of(shop: Shop, ds: str | None = None) -> pd.DataFrame:
    """Each line up to the end of `ds` with its invoice, its `state` and its amount.

    state: quarantined (no price), else reversed (on a cancellation, whoever's), else guests (no customer; bad debt, too),
    else kept. `mills` is the amount in thousandths of the invoice's currency, a whole number; missing without a price.
    """
    last = shop.day(ds)
    lines = shop.invoice_lines[shop.invoice_lines["day"] <= last].copy()
    # An invoice that stands twice has its lines twice already.
    lines = lines.merge(shop.invoices.drop(columns="day").drop_duplicates("InvoiceNo"), on="InvoiceNo", how="left")
    lines["state"] = "kept"
    lines.loc[lines["CustomerID"].isna(), "state"] = "guests"
    lines.loc[lines["InvoiceNo"].str.startswith("C"), "state"] = "reversed"
    lines.loc[lines["UnitPrice"].isna(), "state"] = "quarantined"
    lines["mills"] = lines["Quantity"] * (lines["UnitPrice"] * 1_000).round().astype("Int64")
    return lines


def totals(shop: Shop, ds: str | None = None) -> dict:
    """The identity's truth at the end of `ds` (default: the last day).

    `lines` in = the sum of `states`. `currencies`: lines and amount per currency of the invoice, exact. `revenue`: pounds,
    net of reversals, guests included, converted at the rate of the invoice's day and rounded to the penny once, at the end;
    `revenue_exact` before that, `revenue_of` it by state. `customers`: how many have a purchase; `only_refunds`: how many
    have none. PlatformError for a currency without a rate.
    """
    lines = lines_of(shop, ds)
    states = lines["state"].value_counts()
    by_state = _pounds(shop, lines, ["state"])
    known = lines[lines["CustomerID"].notna()]
    buyers = known.loc[~known["InvoiceNo"].str.startswith("C"), "CustomerID"].nunique()
    revenue = sum(by_state["revenue"], Decimal(0))
    return {
        "ds": clock.ds_of(shop.day(ds)),
        "lines": len(lines),
        "states": {state: int(states.get(state, 0)) for state in STATES},
        "currencies": {
            str(currency): {"lines": len(group), "amount": Decimal(int(group["mills"].sum())).scaleb(-3)}
            for currency, group in lines.groupby("Currency")
        },
        "invoices": int(lines["InvoiceNo"].nunique()),
        "cancellations": int(lines.loc[lines["InvoiceNo"].str.startswith("C"), "InvoiceNo"].nunique()),
        "customers": buyers,
        "only_refunds": int(known["CustomerID"].nunique()) - buyers,
        "revenue": revenue.quantize(_PENNY, ROUND_HALF_UP),
        "revenue_exact": revenue,
        "revenue_of": dict(zip(by_state["state"], by_state["revenue"], strict=True)),
    }


def by_customer(shop: Shop, ds: str | None = None) -> pd.DataFrame:
    """CustomerID, revenue (exact pounds, net of reversals), n_orders, first_day, last_day of purchases at the end of `ds`.

    Who has only refunds has no orders and no days.
    """
    lines = lines_of(shop, ds)
    orders = lines[~lines["InvoiceNo"].str.startswith("C")].groupby("CustomerID")
    bought = orders.agg(n_orders=("InvoiceNo", "nunique"), first_day=("day", "min"), last_day=("day", "max"))
    frame = _pounds(shop, lines, ["CustomerID"]).merge(bought, on="CustomerID", how="left")
    return frame.assign(n_orders=frame["n_orders"].fillna(0).astype(int))


def by_day(shop: Shop, ds: str | None = None) -> pd.DataFrame:
    """day, revenue (exact pounds, net of reversals) of the days that have a line."""
    return _pounds(shop, lines_of(shop, ds), ["day"])


def purchases(shop: Shop, ds: str | None = None) -> pd.DataFrame:
    """The smallest company: customer, time (local), amount (pounds and pence) per invoice of a known customer."""
    lines = lines_of(shop, ds)
    lines = lines[lines["state"] == "kept"].rename(columns={"InvoiceDate": "time", "CustomerID": "customer"})
    frame = _pounds(shop, lines, ["InvoiceNo", "customer", "time"])
    frame["amount"] = [amount.quantize(_PENNY, ROUND_HALF_UP) for amount in frame["revenue"]]
    return frame.sort_values(["time", "InvoiceNo"], ignore_index=True)[["customer", "time", "amount"]]


def match_candidates(shop: Shop, ds: str | None = None) -> pd.DataFrame:
    """Lines of cancellations and how many earlier purchase lines of the customer agree in product, quantity and price.

    InvoiceNo, LineNo, candidates; 1 is certain, 0 has no line to belong to. Guests' are left out: they have no customer.
    """
    lines = lines_of(shop, ds)
    lines = lines[lines["CustomerID"].notna()]
    key = ["CustomerID", "Currency", "StockCode", "mills", "UnitPrice"]
    is_note = lines["InvoiceNo"].str.startswith("C")
    columns = ["InvoiceNo", "LineNo", "utc", *key]
    notes = lines.loc[is_note, columns].assign(mills=lambda frame: -frame["mills"])
    both = notes.merge(lines.loc[~is_note, ["utc", *key]], on=key, how="left", suffixes=("", "_bought"))
    both["candidates"] = both["utc_bought"] < both["utc"]
    return both.groupby(["InvoiceNo", "LineNo"], as_index=False)["candidates"].sum()


def _pounds(shop: Shop, lines: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """`by` and revenue in exact pounds: whole thousandths are added up per day and currency, then converted."""
    rates = shop.exchange_rates[["day", "Currency", "Rate"]]
    parts = (
        lines.dropna(subset="mills")
        .groupby(list(dict.fromkeys([*by, "day", "Currency"])), as_index=False)["mills"]
        .sum()
    )
    parts = parts.merge(rates, on=["day", "Currency"], how="left")
    parts.loc[parts["Currency"] == "GBP", "Rate"] = 1.0
    lost = parts[parts["Rate"].isna()]
    if len(lost):
        day, currency = lost.iloc[0][["day", "Currency"]]
        raise PlatformError(f"{clock.ds_of(int(day))} has no rate for {currency}: this book has no sum in pounds")
    micros = (parts["Rate"] * 1_000_000).round().astype("int64")
    parts["revenue"] = [Decimal(int(m)) * int(r) for m, r in zip(parts["mills"], micros, strict=True)]
    summed = parts.groupby(by, as_index=False)["revenue"].sum()
    return summed.assign(revenue=[Decimal(value).scaleb(-9) for value in summed["revenue"]])
