"""How the shop's book reaches others: CSV files per day, whole tables, or a PostgreSQL database that grows day by day."""

import io
import json
from pathlib import Path

import pandas as pd
import sqlalchemy as sa

from sample import clock
from sample.corner_shop import books
from sample.corner_shop.life import BG_NBD, TABLES, Shop
from warehouse.errors import PlatformError

_TYPES = {
    "InvoiceNo": sa.Text, "InvoiceDate": sa.DateTime, "CustomerID": sa.Integer, "Country": sa.Text, "Currency": sa.CHAR(3),
    "LineNo": sa.Integer, "StockCode": sa.Text, "Description": sa.Text, "Quantity": sa.Integer,
    "UnitPrice": sa.Numeric(12, 3), "Category": sa.Text, "ListPrice": sa.Numeric(12, 3), "Day": sa.Date,
    "Rate": sa.Numeric(12, 6), "Name": sa.Text, "Email": sa.Text, "Phone": sa.Text, "OpenedOn": sa.Date,
}  # fmt: skip
_KEYS = {"invoices": ["InvoiceNo"], "invoice_lines": ["InvoiceNo", "LineNo"], "stock": ["StockCode"],
         "exchange_rates": ["Day", "Currency"], "clients": ["CustomerID"]}  # fmt: skip
_DATED = {"invoices": "InvoiceDate", "exchange_rates": "Day", "clients": "OpenedOn"}  # their day, in their own columns


def write_files(shop: Shop, out: Path, ds: str | None = None, clients: bool = False) -> dict[str, int]:
    """Write the book up to `ds` as CSV, and what is true of it; return the rows per table.

    spool/<table>/<table>-<day>.csv: what the shop wrote on the day (the header alone on a closed one), the stock whole;
    tables/<table>.csv: all up to `ds`. The truth lies apart, in truth/.
    """
    last, rows = shop.day(ds), {}
    (out / "tables").mkdir(parents=True, exist_ok=True)
    for name, texts in texts_of(shop, 0, last, clients).items():
        spool, whole = out / "spool" / name, shop.rows(name, 0, last)
        spool.mkdir(parents=True, exist_ok=True)
        for day, text in texts.items():
            (spool / f"{name}-{day}.csv").write_text(text)
        (out / "tables" / f"{name}.csv").write_text(_as_csv(whole))
        rows[name] = len(whole)
    write_truth(shop, out / "truth", ds)
    return rows


def texts_of(shop: Shop, first: int, last: int, clients: bool = False) -> dict[str, dict[str, str]]:
    """Per table the CSV of each day first … last, by its date: what came in on it, of the stock all."""
    found = {}
    for name in _tables(clients):
        frame, header = getattr(shop, name), _as_csv(shop.rows(name, 0, -1))
        if "day" in frame:
            days = frame[frame["day"].between(first, last)].groupby("day")
            texts = {day: _as_csv(part.drop(columns=["day", "utc"], errors="ignore")) for day, part in days}
        else:
            texts = dict.fromkeys(range(first, last + 1), _as_csv(frame))
        found[name] = {clock.ds_of(day): texts.get(day, header) for day in range(first, last + 1)}
    return found


def write_truth(shop: Shop, folder: Path, ds: str | None) -> None:
    """Write what is true at the end of `ds`: parameters, totals, the revenue of each day, customers, what cancels what."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "parameters.json").write_text(json.dumps(BG_NBD, indent=1) + "\n")
    (folder / "totals.json").write_text(json.dumps(books.totals(shop, ds), indent=1, default=str) + "\n")
    days = books.by_day(shop, ds)
    days = days.assign(ds=[clock.ds_of(day) for day in days["day"]])[["ds", "revenue"]]
    for name, frame in (
        ("days", days), ("customers", shop.lives), ("cancelled", shop.cancelled.drop(columns="day"))
    ):  # fmt: skip
        (folder / f"{name}.csv").write_text(_as_csv(frame))


def fill_postgres(
    engine: sa.Engine, shop: Shop, ds: str | None = None, quoted: bool = True, clients: bool = False
) -> dict[str, int]:
    """Bring a PostgreSQL database to the end of `ds` in one transaction; return the rows added per table.

    Makes the tables the first time, and adds the days that are not there yet. `quoted`: columns keep their capitals, as in
    "InvoiceNo"; else they are in lower case. `clients` makes the table of clients, too. Rows that stand twice (a defect)
    cost their table its key.
    """
    last, added = shop.day(ds), {}
    with engine.begin() as connection:
        have = _newest_day(connection, quoted)
        for name in _tables(clients):
            frame, table = shop.rows(name, have + 1, last), _table(shop, name, quoted)
            table.create(connection, checkfirst=True)
            if "day" not in getattr(shop, name) and have >= 0:
                continue  # the stock does not change
            if frame.duplicated(_KEYS[name]).any():
                connection.execute(sa.text(f"alter table {name} drop constraint if exists {name}_key"))
            _copy(connection, table, frame)
            added[name] = len(frame)
    return added


def mend_postgres(engine: sa.Engine, shop: Shop, ds: str, quoted: bool = True, clients: bool = False) -> dict[str, int]:
    """Write the days `ds` … newest of the database again, from a book without the defect; return the rows per table."""
    with engine.begin() as connection:
        newest = _newest_day(connection, quoted)
        if newest < shop.day(ds):
            raise PlatformError(f"the database has nothing of {ds} that could be mended: fill it up to that day")
        tables = {name: _table(shop, name, quoted) for name in _tables(clients)}
        columns = {name: dict(zip(shop.rows(name, 0, 0), table.columns, strict=True)) for name, table in tables.items()}
        bad = sa.select(columns["invoices"]["InvoiceNo"]).where(columns["invoices"]["InvoiceDate"] >= ds)
        connection.execute(tables["invoice_lines"].delete().where(columns["invoice_lines"]["InvoiceNo"].in_(bad)))
        for name, column in _DATED.items():
            if name in tables:
                connection.execute(tables[name].delete().where(columns[name][column] >= ds))
    return fill_postgres(engine, shop, clock.ds_of(newest), quoted, clients)


def _tables(clients: bool) -> list[str]:
    return [name for name in TABLES if clients or name != "clients"]


def _table(shop: Shop, name: str, quoted: bool) -> sa.Table:
    called = {column: column if quoted else column.lower() for column in shop.rows(name, 0, 0)}
    key = sa.PrimaryKeyConstraint(*(called[c] for c in _KEYS[name]), name=f"{name}_key")
    return sa.Table(name, sa.MetaData(), *(sa.Column(text, _TYPES[column]) for column, text in called.items()), key)


def _newest_day(connection: sa.Connection, quoted: bool) -> int:
    """The last day that is in the database, by its rates or its invoices (a day may lack one); -1 in an empty one."""
    days = []
    for name in ("exchange_rates", "invoices"):
        if sa.inspect(connection).has_table(name):
            column = sa.column(_DATED[name] if quoted else _DATED[name].lower())
            days.append(connection.scalar(sa.select(sa.cast(sa.func.max(column), sa.Date)).select_from(sa.table(name))))
    return max((clock.day_of(str(day)) for day in days if day), default=-1)


def _copy(connection: sa.Connection, table: sa.Table, frame: pd.DataFrame) -> None:
    columns = ", ".join(connection.dialect.identifier_preparer.quote(c.name) for c in table.columns)
    into = f"copy {table.name} ({columns}) from stdin with (format csv, null '\\N')"
    with connection.connection.cursor() as cursor:
        cursor.copy_expert(into, io.StringIO(_as_csv(frame, header=False, na_rep="\\N")))


def _as_csv(frame: pd.DataFrame, **how) -> str:
    return frame.to_csv(index=False, date_format="%Y-%m-%d %H:%M:%S", lineterminator="\n", **how)
