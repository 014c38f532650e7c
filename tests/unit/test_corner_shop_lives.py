"""The corner shop as a generated company: its days come one by one as files, a bad one is mended, and the rest never changes."""

import csv
import json

import pytest

from mdp import run
from sample import clock, generator
from sample.corner_shop import books, life, trading
from sample.corner_shop import company as shop
from warehouse.calendar import is_closed
from warehouse.errors import PlatformError
from warehouse.settings import settings

DAYS, NEWEST, NEXT = 40, "2024-04-09", "2024-04-10"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.delenv("MDP_STATE_URL", raising=False)
    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    monkeypatch.setenv("MDP_COMPANY", "corner-shop")
    return tmp_path


@pytest.fixture
def lived(home):
    assert generator() is shop and not shop.exists()
    shop.create(days=DAYS, customers=300, seed=5)
    return shop.status()


def files() -> dict[str, bytes]:
    spool = settings().spool_uri
    return {path.name: path.read_bytes() for path in sorted(type(settings().home)(spool).rglob("*.*"))}


def test_it_lives_day_by_day_and_no_day_before_changes(lived):
    before = files()
    assert len(before) == DAYS * 4 and not any(name.startswith(".") for name in before)
    assert (lived["first_ds"], lived["newest_ds"], shop.lifetime()) == ("2024-03-01", NEWEST, ("2024-03-01", NEWEST))
    said = shop.advance()
    assert said["ds"] == NEXT and said["text"].startswith(
        f"the corner shop lived {NEXT}: {said['n_invoices']} invoices"
    )
    after = files()
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {
        f"{t}-{NEXT}.csv" for t in ("invoices", "invoice_lines", "stock", "exchange_rates")
    }
    assert len(after[f"invoices-{NEXT}.csv"].splitlines()) == said["n_invoices"] + 1 > 1


def test_what_came_and_what_is_true_of_it_are_of_the_same_book(lived):
    spool = type(settings().home)(settings().spool_uri)
    lines = [row for path in (spool / "invoice_lines").iterdir() for row in csv.DictReader(path.open(newline=""))]
    totals = json.loads((settings().sample_dir / "truth" / "totals.json").read_text())
    assert len(lines) == totals["lines"] == shop.planted()["invoice_lines"]["lines"] > 300
    assert totals["ds"] == NEWEST and sum(totals["states"].values()) == totals["lines"]
    days = list(csv.DictReader((settings().sample_dir / "truth" / "days.csv").open(newline="")))
    assert days[-1]["ds"] <= NEWEST and len(days) > 25
    assert f"{sum(float(day['revenue']) for day in days):.2f}" == totals["revenue"]
    assert shop.best(None, None, None) == {}


@pytest.mark.parametrize("defect", ["outage", "missing_prices", "duplicated_invoices"])
def test_a_bad_day_comes_when_it_was_asked_for_and_is_mended(lived, defect):
    shop.break_(defect)
    assert shop.status()["next_defect"] == defect
    shop.advance()
    bad = files()
    assert shop.status()["bad_days"] == {NEXT: defect}
    shop.mend()
    good = files()
    changed = {name for name in good if good[name] != bad[name]}
    assert f"invoice_lines-{NEXT}.csv" in changed and all(NEXT in name for name in changed)
    assert shop.status()["bad_days"] == {} and shop.mend()["text"] == "there is nothing to mend"


def test_what_cannot_be_is_refused(lived, monkeypatch):
    with pytest.raises(PlatformError, match="already lives in"):
        shop.create()
    with pytest.raises(PlatformError, match="unknown defect 'flood': known are duplicated_invoices"):
        shop.break_("flood")
    with pytest.raises(PlatformError, match="2024-06-01 is no day of Corner shop, which is generated and lives from"):
        run.refuse_early("2024-06-01", None, 30)
    monkeypatch.setattr(shop, "YEAR", -5)
    shop._save(shop._load() | {"life": DAYS})
    with pytest.raises(PlatformError, match=f"the corner shop lives 2024-03-01 to {NEWEST}, not {NEXT}"):
        shop.advance()


def test_the_company_says_it_is_closed_when_the_shop_is():
    days = range(life.DAYS + shop.YEAR - 100)
    shut = set(trading.closed_days(len(days))["day"]) | {day for day in days if clock.weekday_of(day) == 5}
    assert {day for day in days if is_closed(clock.ds_of(day))} == shut
    assert books.by_day(life.live(5, 300, 60))["day"].isin(shut).sum() == 0
