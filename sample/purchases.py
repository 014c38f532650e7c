"""A list of purchases as other people's programs write it: other separators, numbers, dates, headers, encodings."""

import csv
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pandas as pd


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written; `header` names the columns, in the order in which they stand."""

    header: dict[str, str] = field(default_factory=lambda: {"customer": "customer", "time": "time", "amount": "amount"})
    separator: str = ","
    decimal: str = "."
    thousands: str = ""
    time_format: str = "%Y-%m-%d %H:%M:%S"
    encoding: str = "utf-8"  # utf-8-sig: with a byte order mark
    quoting: int = csv.QUOTE_MINIMAL


DIALECTS = {
    "plain": Dialect(),
    "german": Dialect({"customer": "Kundennummer", "time": "Bestelldatum", "amount": "Betrag"}, ";", ",", ".",
                      "%d.%m.%Y %H:%M", "utf-8-sig"),
    "british": Dialect({"time": "Order Date", "customer": "Customer ID", "amount": "Total"}, ",", ".", ",",
                       "%d/%m/%Y %H:%M", quoting=csv.QUOTE_ALL),
    "american": Dialect({"customer": "Customer", "time": "Date", "amount": "Amount"}, ",", ".", ",", "%m/%d/%Y"),
    "french": Dialect({"customer": "Client", "time": "Date d'achat", "amount": "Montant"}, ";", ",", "\N{NARROW NO-BREAK SPACE}",
                      "%d/%m/%Y", "utf-8-sig"),
    "chinese": Dialect({"customer": "客户编号", "time": "下单时间", "amount": "金额"}, time_format="%Y/%m/%d %H:%M",
                       encoding="gb18030"),
    "tabbed": Dialect(separator="\t"),
}  # fmt: skip


def write_purchases(path: Path, frame: pd.DataFrame, dialect: Dialect = DIALECTS["plain"]) -> None:
    """Write `frame` (customer, time without a zone, amount to two decimals) as one CSV file in a dialect."""
    columns = {
        "customer": frame["customer"].astype(str),
        "time": frame["time"].dt.strftime(dialect.time_format),
        "amount": [_amount(value, dialect) for value in frame["amount"]],
    }
    with path.open("w", newline="", encoding=dialect.encoding) as out:
        writer = csv.writer(out, delimiter=dialect.separator, quoting=dialect.quoting)
        writer.writerow(dialect.header.values())
        writer.writerows(zip(*(columns[name] for name in dialect.header), strict=True))


def ambiguous(frame: pd.DataFrame) -> pd.DataFrame:
    """The purchases whose day could as well be their month: of a file of these alone nobody can say which comes first."""
    return frame[frame["time"].dt.day <= 12]


def _amount(value, dialect: Dialect) -> str:
    text = f"{Decimal(str(value)).quantize(Decimal('0.01'), ROUND_HALF_UP):,}"
    return text.translate({ord(","): dialect.thousands, ord("."): dialect.decimal})
