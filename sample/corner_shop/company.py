"""The corner shop as a generated company: its whole life is drawn at once, and day by day its files come into the spool.

`life` draws purchases over all days of the life that is chosen at creation, so that what a day holds never depends on how far
the shop has lived. Where it stands is kept in `company.json`; the files follow from that.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

from pyarrow import fs

from sample import clock
from sample.corner_shop import books, delivery, life
from warehouse.company import company
from warehouse.errors import PlatformError, unknown
from warehouse.settings import settings

DEFECTS = life.DEFECTS
YEAR = 365  # days that a shop can live after its creation


def create(
    days: int = life.DAYS,
    customers: int = life.CUSTOMERS,
    seed: int = 7,
    intensity: float = 1.0,
    progress: Callable[[str], None] = lambda message: None,
) -> dict:
    """Open the shop and live `days` days. `customers` counts those of its whole life; it has no log for `intensity` to thicken.

    Refuses where a shop already lives: its history may have been ingested.
    """
    if exists():
        raise PlatformError(
            f"a corner shop already lives in {settings().sample_dir}: `mdp sample advance` lives its next day, `make reset` "
            "deletes it"
        )
    if days < 1 or customers < 50:
        raise PlatformError("a corner shop needs at least 1 day and 50 customers")
    clock.refuse_future(days - 1, company().timezone)
    opened = {"seed": seed, "customers": customers, "life": days + YEAR, "newest": -1, "defects": {}, "next": None}
    return _live(opened, days - 1)


def advance() -> dict:
    """Live one more day; a defect that was asked for makes it a bad one."""
    shop = _load()
    day = shop["newest"] + 1
    clock.refuse_future(day, company().timezone)
    if shop["next"]:
        shop["defects"][clock.ds_of(day)] = shop["next"]
    return _live(shop | {"next": None}, day)


def exists() -> bool:
    """Whether a shop lives here (one whose creation was cut short does not)."""
    return _file().exists()


def lifetime(days: int = life.DAYS) -> tuple[str, str]:
    """First and newest day of the shop that lives here, or of one that would be created with `days` days."""
    return clock.ds_of(0), clock.ds_of(_load()["newest"] if exists() else days - 1)


def status() -> dict:
    """What lives here: seed, customers, first and newest day, bad days and the defect of the next one."""
    shop = _load()
    return {"seed": shop["seed"], "customers": shop["customers"]} | {
        "first_ds": clock.ds_of(0),
        "newest_ds": clock.ds_of(shop["newest"]),
        "days": shop["newest"] + 1,
        "bad_days": shop["defects"],
        "next_defect": shop["next"],
    }


def break_(defect: str) -> dict:
    """Make the next day that is lived a bad one; refuses a day that has nothing to spoil."""
    if defect not in DEFECTS:
        raise unknown("defect", defect, DEFECTS)
    shop = _load()
    ds = clock.ds_of(shop["newest"] + 1)
    life.break_(book(), defect, ds)
    _save(shop | {"next": defect})
    return {"ds": ds, "defect": defect, "text": f"{ds} will be a bad day: {DEFECTS[defect]}"}


def mend() -> dict:
    """Undo `break_`: forget a defect to come, and write the bad days again as good ones."""
    shop = _load()
    bad, asked = sorted(shop["defects"]), shop["next"]
    _save(shop | {"defects": {}, "next": None})
    for ds in bad:
        _write_days(book(), clock.day_of(ds), clock.day_of(ds))
    if bad:
        return {"mended": bad, "text": f"{', '.join(bad)}: the files are those of a good day now"}
    said = f"the next day will be a good one ({asked} was asked for)" if asked else "there is nothing to mend"
    return {"mended": [], "text": said}


def best(clicks, members, plan) -> dict:
    """Nothing: no rate of a click and no return of a channel is true of a shop without site and advertising."""
    return {}


def planted() -> dict[str, dict[str, int]]:
    """Lines of the book up to the newest day: all, and by what becomes of them; its invoices and cancellations."""
    totals = books.totals(book(), status()["newest_ds"])
    return {
        "invoice_lines": {"lines": totals["lines"]} | totals["states"],
        "invoices": {name: totals[name] for name in ("invoices", "cancellations", "customers", "only_refunds")},
    }


def book() -> life.Shop:
    """The whole order book, with its bad days; what lies after the newest day has not come into the spool."""
    return _book(_load())


def _book(shop: dict) -> life.Shop:
    drawn = life.live(shop["seed"], shop["customers"], shop["life"])
    for ds, defect in shop["defects"].items():
        drawn = life.break_(drawn, defect, ds)
    return drawn


def _live(shop: dict, last: int) -> dict:
    """Write the days after the newest one up to `last`, then say so in `company.json`."""
    began, first = time.monotonic(), shop["newest"] + 1
    drawn = _book(shop)
    ds = clock.ds_of(drawn.day(clock.ds_of(last)))
    _write_days(drawn, first, last)
    delivery.write_truth(drawn, settings().sample_dir / "truth", ds)
    _save(shop | {"newest": last})
    n_invoices, n_lines = (len(drawn.rows(name, first, last)) for name in ("invoices", "invoice_lines"))
    span, defect = f"{clock.ds_of(first)} to {ds}" if first < last else ds, shop["defects"].get(ds)
    bad = f", a bad day: {DEFECTS[defect]}" if defect else ""
    seconds = round(time.monotonic() - began, 1)
    return {
        "from_ds": clock.ds_of(first), "ds": ds, "n_invoices": n_invoices, "n_invoice_lines": n_lines, "defect": defect,
        "seconds": seconds,
        "text": f"the corner shop lived {span}{bad}: {n_invoices:,} invoices with {n_lines:,} lines ({seconds} s)",
    }  # fmt: skip


def _write_days(drawn: life.Shop, first: int, last: int) -> None:
    """Put the files of the days first … last into the spool, each under another name first."""
    uri = settings().spool_uri
    files, root = fs.FileSystem.from_uri(uri) if "://" in uri else (fs.LocalFileSystem(), uri)
    for name, texts in delivery.texts_of(drawn, first, last).items():
        files.create_dir(f"{root}/{name}", recursive=True)
        for ds, text in texts.items():
            path = f"{root}/{name}/.{name}-{ds}.csv.tmp"
            with files.open_output_stream(path) as out:
                out.write(text.encode())
            files.move(path, f"{root}/{name}/{name}-{ds}.csv")


def _file() -> Path:
    return settings().sample_dir / "company.json"


def _load() -> dict:
    try:
        return json.loads(_file().read_text())
    except FileNotFoundError:
        where = settings().sample_dir
        raise PlatformError(f"no corner shop lives in {where}: `mdp sample create` opens one") from None


def _save(shop: dict) -> None:
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".tmp").write_text(json.dumps(shop, indent=1))
    path.with_suffix(".tmp").replace(path)
