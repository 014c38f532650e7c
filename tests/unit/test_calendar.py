"""calendar.csv: what it says of a day, and a sentence with the line for each fault."""

import pytest

from tests.companies import declare
from tests.conftest import mdp
from warehouse.calendar import Day, calendar, is_closed, is_special
from warehouse.dates import days
from warehouse.errors import PlatformError

HEAD = "day,kind,name\n"


@pytest.fixture
def said(tmp_path, monkeypatch):
    """Writes calendar.csv of a company that is closed on Sundays."""
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path, closed=["sunday"]))

    def write(text: str | bytes):
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "calendar.csv").write_bytes(data)
        return tmp_path / "calendar.csv"

    return write


def test_days_are_closed_or_like_no_other(said):
    assert calendar() == {}
    said(HEAD + "2026-01-01,closed,New Year\n2026-01-05,promotion,Sale\n2026-01-06,holiday,Epiphany\n"
         "2026-01-04,promotion,Sunday sale\n2026-01-11,holiday,\n")  # fmt: skip
    first, last = "2025-12-28", "2026-01-18"
    closed = [day for day in days(first, last) if is_closed(day)]
    assert closed == ["2025-12-28", "2026-01-01", "2026-01-11", "2026-01-18"], "a promotion opens a Sunday"
    assert [day for day in days(first, last) if is_special(day)] == ["2026-01-04", "2026-01-05", "2026-01-06"]
    assert list(calendar())[:2] == ["2026-01-01", "2026-01-04"]


@pytest.mark.parametrize(
    "text",
    [
        HEAD + '2026-11-27,promotion,"Black Friday, a week"\n',
        "\ufeffday;kind;name\r\n\r\n 2026-11-27 ;promotion;Black Friday, a week\r\n;;\r\n",
        "name;Day;KIND\nBlack Friday, a week;2026-11-27;promotion",
    ],
)
def test_what_a_spreadsheet_writes_is_read(said, text):
    said(text)
    assert calendar() == {"2026-11-27": Day("promotion", "Black Friday, a week")}


FAULTS = [
    ("day,kind\n2026-01-01,closed\n", "line 1: the columns are day, kind, and must be day,kind,name"),
    ("", "line 1: the columns are '', and must be"),
    ("day,kind,name,store\n", "line 1: the columns are day, kind, name, store, and"),
    (HEAD + "2026-01-01,closed,a\n2026-01-02,shut,b\n", "line 3: kind is shut, and must be one of closed, holiday, promotion"),
    (HEAD + "2026-02-30,closed,a\n", "line 2: '2026-02-30' is not a day: write it as YYYY-MM-DD"),
    (HEAD + "01.02.2026,closed,a\n", "line 2: '01.02.2026' is not a day"),
    (HEAD + "\n2026-01-01,closed,a\n2026-01-01,holiday,b\n", "line 4: 2026-01-01 stands in line 3 already"),
    (HEAD + "2026-01-01,closed,a,b\n", "line 2: has 4 fields, and there are 3 columns"),
    (HEAD + '2026-01-01,closed,"a\n', "line 2: is no CSV: unexpected end of data"),
    ((HEAD + "2026-01-01,closed,Allerheiligen für alle\n").encode("latin-1"), "line 2: is no UTF-8 text: save it as"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), FAULTS)
def test_a_fault_is_said_with_file_and_line(said, text, sentence):
    path = said(text)
    with pytest.raises(PlatformError) as caught:
        calendar()
    assert str(caught.value).startswith(str(path)) and sentence in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_all_faults_are_said_at_once_and_by_the_check(said, tmp_path):
    said(HEAD + "2026-01-01,shut,a\n2026-01-32,closed,b\n")
    checked = mdp("company", "check", home=tmp_path / "home", check=False)
    assert checked.returncode == 1 and "has 2 faults" in checked.stderr
    assert (
        "calendar.csv, line 2: kind is shut" in checked.stderr
        and "calendar.csv, line 3: '2026-01-32'" in checked.stderr
    )
    said(HEAD + "2026-01-01,closed,a\n2026-11-27,promotion,Black Friday\n")
    shown = " ".join(mdp("company", "check", home=tmp_path / "home").stdout.split())
    assert "calendar: closed on sunday; 1 closed day, 1 promotion, 2026-01-01 … 2026-11-27" in shown
