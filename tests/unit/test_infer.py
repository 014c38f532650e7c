"""Proposed blocks from a database's schema and from sample lines, and the guesses in them."""

import json
import re

import pytest
import yaml

from ingestion import infer
from ingestion.feeds import load_feeds
from ingestion.guess import guess_column, guess_time
from ingestion.lines import ask_lines, date_pattern
from ingestion.proposal import Guess, scalar, write_block
from tests.companies import declare
from tests.conftest import mdp
from tests.proposals import feeds_of, sample
from warehouse.errors import PlatformError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("MDP_SPOOL_URI", "MDP_KAFKA_SERVERS", "MDP_COMPANY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "type_", "values", "action"),
    [
        ("phone", "string", [], "hash_and_mask"), ("mobileNumber", "string", [], "hash_and_mask"), ("phone", "bigint", [], None),
        ("contact", "string", ["138 1234 5678", "+49 170 1234567"], "hash_and_mask"),
        ("E-Mail", "string", [], "hash"), ("login", "string", ["a@b.com", "c@d.org"], "encrypt"),
        ("handle", "string", ["a@b.com", "c@d.org"], "hash"), ("is_email_verified", "boolean", [], None),
        ("first_name", "string", [], "encrypt"), ("product_name", "string", [], None),
        ("campaign_name", "string", ["Spring"], None),
        ("ref", "string", ["11010519491231002X"], "encrypt"), ("ref", "string", ["110105194912310021"], None),
        ("id_card_no", "string", [], "encrypt"), ("pan", "string", ["4111 1111 1111 1111"], "encrypt"),
        ("card_number", "string", [], "encrypt"), ("shipping_address", "string", [], "encrypt"),
        ("email_address", "string", [], "hash"),
        ("client_ip", "string", [], "encrypt"), ("source", "string", ["10.0.0.1", "::1"], "encrypt"),
        ("latitude", "double", [], "coarsen"), ("lng", "string", [], "encrypt"), ("birth_date", "string", [], "encrypt"),
        ("birth_year", "int", [], None), ("password_hash", "string", [], "drop"), ("手机号", "string", [], "hash_and_mask"),
        ("order_id", "string", ["o1"], None), ("city", "string", ["Berlin"], None),
    ],
)  # fmt: skip
def test_what_a_column_holds_is_guessed_on_the_safe_side(name, type_, values, action):
    guess = guess_column(name, type_, values)
    if (name, type_) == ("phone", "bigint"):
        assert guess.action in ("drop", "encrypt")
        return
    assert guess.action == action
    assert (guess.comment is None) == (action is None) and "review" in (guess.comment or "review")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["2026-01-31T10:00:00Z", "2026-01-31 10:00:00.123+0800"], (None, True)), (["2026-01-31 10:00:00"], (None, False)),
        (["17/May/2015:10:05:03 +0000"], ("dd/MMM/yyyy:HH:mm:ss Z", True)),
        (["2026/01/31 10:00:00"], ("yyyy/MM/dd HH:mm:ss", False)),
        (["1769853600"], None), ([1769853600], None), (["2026-01-31"], None), ([], None), (["2026-13-31 10:00:00", "x"], None),
    ],
)  # fmt: skip
def test_times_are_told_from_texts(values, found):
    assert guess_time(values) == found


def test_the_combined_log_format_needs_no_columns(tmp_path):
    line = '{} - li [17/May/2015:10:05:{:02} +0000] "GET /?q=\\"x\\" HTTP/1.1" 200 {} "-" "Mozilla/5.0 (X11; \\"y\\")"'
    path = tmp_path / "access.log"
    path.write_text("".join(line.format("83.149.9.216", n, "-" if n else 7) + "\n" for n in range(5)) + "garbage\n")
    made = infer.propose_files([path], None, None)
    feed = feeds_of(made.text, tmp_path)["logs__access"]
    assert (feed.format, feed.timestamp_column, feed.key) == ("combined", "requested_at", ("line_digest",))
    assert feed.columns["remote_host"].action == "encrypt" and feed.columns["remote_user"].action == "encrypt"
    assert feed.columns["status"].type == "bigint"
    notes = "\n".join(made.notes)
    assert (
        "1 of 6 sample lines are not of the combined format" in notes and "access.log has no day in its name" in notes
    )


def test_csv_with_and_without_a_header(tmp_path):
    path = tmp_path / "shop__sales-2026-01-31.csv"
    path.write_text("at;order no;qty;zip\n" + "".join(f"2026/01/31 10:00:0{n};{n};1.5;0123\n" for n in range(5)))
    made = infer.propose_files([path], None, None)
    feed = feeds_of(made.text, tmp_path)["shop__sales"]
    assert (feed.delimiter, feed.header, feed.pattern) == (";", True, "shop__sales-{date}*.csv")
    assert {n: c.type for n, c in feed.columns.items()} == {
        "at": "string",
        "order_no": "bigint",
        "qty": "double",
        "zip": "string",
    }
    assert feed.key == ("order_no",) and feed.timestamp_format == "yyyy/MM/dd HH:mm:ss" and feed.columns["zip"].action
    found = ask_lines(["1,2026-01-31T10:00:00Z", "1,2026-01-31T10:00:00Z"])
    assert [c.name for c in found.columns] == ["column_1", "column_2", "line_digest"] and found.key == ["line_digest"]


@pytest.mark.parametrize(
    ("lines", "format_", "said"),
    [
        (["plain text"], None, "neither JSON lines, nor the combined log format, nor CSV"),
        (['{"a": 1}'], None, "no field of the sample holds a time in every line"),
        (["x"], "json", "no line of the sample is a JSON object"),
        (["x"], "xml", "format is 'xml': it can be json, csv, combined"),
        (["x"], "combined", "no line of the sample is of the combined log format"),
    ],
)
def test_samples_that_tell_nothing_are_refused(lines, format_, said):
    with pytest.raises(PlatformError, match=said):
        ask_lines(lines, format_)


def test_dates_in_file_names():
    assert date_pattern("web__events-2026-01-31-b.jsonl.gz") == ("web__events-{date}*.jsonl.gz", "web__events")
    assert date_pattern("access.log") == ("access-{date}*.log", "access")


def test_blocks_round_trip_with_their_comments():
    columns = [Guess("on", "decimal(18,2)", comment="review: x # y"), Guess("null", "string", "personal", "drop")]
    pairs = [
        ("delimiter", "\t", "review"),
        ("query", "select 'a: #b'\nfrom \"t\"", None),
        ("subject", None, None),
        ("bounds", [1, 2], None),
    ]
    text = write_block("a__b", pairs, columns)
    block = yaml.safe_load(text)["a__b"]
    assert block == {
        "delimiter": "\t", "query": "select 'a: #b'\nfrom \"t\"", "subject": None, "bounds": [1, 2],
        "columns": {"on": {"type": "decimal(18,2)", "class": "internal"},
                    "null": {"type": "string", "class": "personal", "action": "drop"}},
    }  # fmt: skip
    assert "# review: x # y" in text and scalar("a") == "a"


# -- the country --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("country", "value", "action"),
    [
        ("DE", "0171 1234567", "hash_and_mask"), ("DE", "01711234567", "hash_and_mask"), ("DE", "030/1234567", "hash_and_mask"),
        ("DE", "20240305", None), ("DE", "4711", None), ("CN", "01711234567", None), ("SG", "81234567", None),
        ("SG", "8123 4567", "hash_and_mask"),
    ],
)  # fmt: skip
def test_a_phone_number_is_seen_in_the_companys_country(tmp_path, monkeypatch, country, value, action):
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path, country=country))
    assert guess_column("ref", "string", [value]).action == action


def test_a_block_says_by_which_country_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path / "company", country="DE"))
    lines = [
        {"event_id": f"e{n}", "occurred_at": "2026-01-31T10:00:00Z", "phone": "0171 1234567", "note": "x"}
        for n in range(3)
    ]
    path = tmp_path / "calls-2026-01-31.jsonl"

    def block(lines):
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return infer.propose_files([path], None, "app__calls").text

    text = block(lines)
    feed = feeds_of(text, tmp_path)["app__calls"]
    assert (feed.country, feed.country_column) == ("DE", None) and feed.country_of("phone") == ("DE", None)
    assert "  country: DE  # review: of numbers without +" in text
    feed = feeds_of(block([line | {"country": "at"} for line in lines]), tmp_path)["app__calls"]
    assert (feed.country, feed.country_column) == (None, "country")
    assert feed.country_of("phone") == (None, "country") and feed.country_of("note") == ("DE", None)
    text = block([line | {"country": "Austria"} for line in lines])
    assert feeds_of(text, tmp_path)["app__calls"].country == "DE", "a country's name is not two letters"
    assert "country" not in block(
        [{k: v for k, v in line.items() if k in ("event_id", "occurred_at")} for line in lines]
    )


# -- the commands -----------------------------------------------------------------------------------------------------


def test_check_and_list(tmp_path):
    lines = mdp("feed", "check", home=tmp_path).stdout.splitlines()
    assert len(lines) == len(load_feeds())
    assert re.match(r"crm__customers +jdbc +crm\.customers full; 19 columns; phone hash_and_mask \(CN\), ", lines[0])
    listed = mdp("feed", "list", home=tmp_path).stdout.splitlines()
    assert len(listed) == len(lines) and listed[-1].split()[-1] == "raw.ads__events"
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("a__b: {kind: jdbc}\nc__d: {kind: files}\n")
    failed = mdp("feed", "check", str(wrong), home=tmp_path, check=False)
    assert (
        failed.returncode == 1 and failed.stdout == "" and "feed a__b" in failed.stderr and "feed c__d" in failed.stderr
    )


def test_infer_prints_blocks_and_what_to_review(tmp_path):
    one, two = sample(tmp_path, "app-2026-01-30.jsonl"), sample(tmp_path, "app-2026-01-31.jsonl")
    done = mdp("feed", "infer", "--files", one, two, "--name", "app__events", home=tmp_path)
    assert feeds_of(done.stdout, tmp_path)["app__events"].pattern == "app-{date}*.jsonl"
    assert "review: app__events: protected by a guess: phone (hash_and_mask)" in done.stderr
    done = mdp("feed", "infer", "--topic", "clicks", "--sample", one, home=tmp_path)
    assert feeds_of(done.stdout, tmp_path)["kafka__clicks"].topic == "clicks"
    for arguments in ((), ("crm",), ("--topic", "clicks"), ("a.b", "c.d")):
        failed = mdp("feed", "infer", *arguments, home=tmp_path, check=False)
        assert failed.returncode == 1 and failed.stdout == "" and failed.stderr.startswith("error: ")


def test_an_address_that_is_none_is_not_shown(monkeypatch):
    for url, said in (
        ("jdbc:sqlserver://h;user=sa;password=hunter2", "not jdbc:sqlserver$"),
        ("hunter2", "not something else$"),
    ):
        monkeypatch.setenv("MDP_SHOP_URL", url)
        with pytest.raises(PlatformError, match=said):
            infer.propose_table("shop", "orders", None, None)
