"""`mdp try` before anything runs: what it takes for purchases, from which day to which, and what it refuses."""

import pytest

from ingestion import new_company
from mdp import company, trial
from warehouse.errors import PlatformError

PURCHASES = "customer;bought at;sum\nc1;{0};12,50\nc2;{1};7,00\n"


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trial, "live", lambda *given: pytest.fail("something was run"))
    path = tmp_path / "orders.csv"
    path.write_text(PURCHASES.format("2024-03-01 23:30", "2024-05-09 08:00"))
    return path


def try_it(file, **given):
    options = dict(name=None, timezone="Europe/Berlin", country="DE", currency="EUR", answers=[], yes=True, ask=None)
    return trial.try_file(file, **options | given)


@pytest.mark.parametrize(
    ("first", "last", "days"),
    [
        ("2024-03-01 23:30", "2024-05-09 08:00", ("2024-03-01", "2024-05-09")),
        ("2024-05-09T08:00:00Z", "2024-03-01T23:30:00Z", ("2024-03-02", "2024-05-09")),  # in Berlin it is the next day
        ("31.03.2024", "1.12.2024", ("2024-03-31", "2024-12-01")),
        ("19970101", "19980630", ("1997-01-01", "1998-06-30")),
        ("1709247600", "1715234400", ("2024-03-01", "2024-05-09")),
    ],
)
def test_the_days_are_those_of_the_purchases_in_the_company_s_zone(file, first, last, days):
    file.write_text(PURCHASES.format(first, last).replace("bought at", "order time"))
    folder = file.parent / "made"
    found = company.propose(
        "made", str(file), folder, timezone="Europe/Berlin", country="DE", currency="EUR", answers=[], yes=True, ask=None,
        again="",
    )  # fmt: skip
    with new_company.named(folder):
        assert trial.days_of(found) == days


def test_all_rows_tell_the_days_not_only_the_first(file):
    middle = "".join(f"c{n};2024-03-02 10:00;1,50\n" for n in range(3_000))
    file.write_text(PURCHASES.format("2024-03-01 23:30", "2024-03-03 10:00") + middle + "c9;2025-01-31 10:00;2,50\n")
    said = []
    with pytest.raises(PlatformError, match="nothing was run"):
        try_it(file, yes=False, ask=lambda text: said.append(text) or "n")
    (read,) = [company.tables.from_files([file], {})]
    assert read.spans["bought_at"][1].startswith("2025-01-31") and len(said) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"yes": False}, "nothing was run: say --yes"),
        ({"yes": False, "ask": lambda text: "no"}, "nothing was run: say it by --answer"),
        ({"name": "Ä"}, "'Ä' is no name"),
        ({"timezone": "Mars"}, "'Mars' is no time zone"),
    ],
)
def test_what_is_not_accepted_leaves_nothing(file, given, said):
    with pytest.raises(PlatformError, match=said):
        try_it(file, **given)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_what_only_a_person_can_say_names_the_command(file):
    file.write_text(PURCHASES.format("03/04/2024", "05/06/2024"))
    with pytest.raises(
        PlatformError, match=r"(?s)only you can say:.*answer by: mdp try --name orders .*orders.csv --answer '"
    ):
        try_it(file)


def test_a_folder_that_stands_is_not_written_over(file):
    (file.parent / "try-orders").mkdir()
    with pytest.raises(PlatformError, match="try-orders exists: choose another --name"):
        try_it(file)


@pytest.mark.parametrize(
    ("called", "text", "said"),
    [
        ("orders.csv", "name,city\na,b\n", "nothing here looks like"),
        ("products.csv", "sku,product_name,list_price\np1,Lamp,3.50\np2,Pot,4.00\n", "says no orders"),
    ],
)
def test_a_file_without_purchases_is_refused(file, called, text, said):
    file = file.rename(file.with_name(called))
    file.write_text(text)
    with pytest.raises(PlatformError, match=said):
        try_it(file)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_no_file_is_refused(file):
    with pytest.raises(PlatformError, match="is no file: a trial takes one CSV"):
        try_it(file.parent / "other.csv")
