"""What a feed may say, what a load reads, when it may be taken again: all that needs no engine."""

import contextlib
from datetime import datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
import yaml

from ingestion import collect, door, drift, jdbc, plan, progress, spool, topics, values
from ingestion.feeds import FilesFeed, load_feeds, pick
from ingestion.jdbc import first_shown
from ingestion.jdbc_source import source_of
from ingestion.protect import stored_columns
from tests.companies import FEEDS, declare
from warehouse import state
from warehouse.errors import PlatformError

DAY = "2024-03-05"
HOME = {"type": "string", "class": "personal", "action": "mask", "format": "address"}
NUMBER = {"type": "string", "class": "personal", "action": "hash_and_mask", "format": "id_number"}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("MDP_STATE_URL", "MDP_SPOOL_URI", "MDP_KEY_FILE", "MDP_CRM_URL", "MDP_COMPANY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    monkeypatch.setattr(jdbc, "fix_inputs", lambda feed, first, ds, last: {"columns": {}})  # would ask the database
    return tmp_path


# -- feeds.yml --------------------------------------------------------------------------------------------------------


def _faults(tmp_path, change) -> str:
    """The message that a changed copy of two real feeds gives."""
    blocks = yaml.safe_load(FEEDS.read_text())
    blocks = {name: blocks[name] for name in ("crm__customers", "crm__orders", "web__events")}
    change(blocks)
    path = tmp_path / "feeds.yml"
    path.write_text(yaml.safe_dump(blocks))
    with pytest.raises(PlatformError) as caught:
        load_feeds(path)
    return str(caught.value)


def test_the_shipped_feeds_hold():
    feeds = load_feeds()
    assert list(feeds) == [
        "crm__customers", "crm__customer_changes", "crm__products", "crm__campaigns", "crm__orders", "crm__order_items",
        "crm__channel_spend", "web__events", "ads__events",
    ]  # fmt: skip
    stored = stored_columns(feeds["crm__customers"])
    assert {"phone_hash", "phone_mask", "email_hash", "id_number_enc", "key_id"} <= set(stored)
    assert not {"phone", "email", "id_number"} & set(stored)
    assert "key_id" not in stored_columns(feeds["crm__orders"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda b: b["crm__orders"].update(tabel="x"),
            "feed crm__orders: unknown key 'tabel'; allowed keys: bounds, check_column, columns",
        ),
        (
            lambda b: b["crm__orders"].pop("table"),
            "feed crm__orders: it needs a table or a query, and not both",
        ),
        (lambda b: b["crm__orders"].pop("subject"), "feed crm__orders: key 'subject' is missing"),
        (lambda b: b["crm__orders"].update(mode="fulll"), "key 'mode' is 'fulll'; allowed: 'full', 'append' or"),
        (lambda b: b["crm__orders"].update(kind="csv"), "feed crm__orders: key 'kind' must be jdbc, files or kafka"),
        (lambda b: b["crm__orders"].update(subject="nobody"), "names 'nobody' as its subject, which is not among"),
        (
            lambda b: b["crm__orders"].pop("check_column"),
            "has mode lastmodified, which needs a check_column",
        ),
        (lambda b: b["crm__orders"].update(check_column="channel"), "checks 'channel', which is string"),
        (
            lambda b: b["crm__customers"]["columns"]["phone"].pop("action"),
            "feed crm__customers: columns.phone is personal and so needs an action",
        ),
        (
            lambda b: b["crm__customers"]["columns"]["id_number"].update(action="coarsen"),
            "columns.id_number is secret: its action must be encrypt or drop",
        ),
        (
            lambda b: b["crm__customers"]["columns"]["phone"].update(clas="x"),
            "unknown key 'clas' in columns.phone; allowed keys: action, allowed, class, country, country_column, field, ",
        ),
        (lambda b: b["crm__customers"]["columns"]["phone"].pop("format"), "columns.phone needs a format"),
        (lambda b: b["crm__customers"]["columns"]["city"].update(type="text"), "key 'columns.city.type' is 'text'"),
        (lambda b: b["crm__customers"].update(country="UK"), "country is 'UK': no numbers are known of such a country"),
        (lambda b: b["crm__customers"].update(country="de"), "key 'country' is 'de'"),
        (
            lambda b: b["crm__customers"].update(country_column="land"),
            "names 'land' as its country_column, which is not",
        ),
        (
            lambda b: b["crm__customers"]["columns"]["phone"].update(country_column="birth_year"),
            "names 'birth_year' as its country_column, which is no string",
        ),
        (
            lambda b: (
                b["crm__customers"]["columns"].update(id_number=NUMBER) or b["crm__customers"].update(country="DE")
            ),
            "reads 'id_number' as id_number, which is known for CN only, and its country is DE: encrypt it, or hash it as plain",
        ),
        (
            lambda b: (
                b["crm__customers"]["columns"].update(home=HOME) or b["crm__customers"].update(country_column="city")
            ),
            "reads 'home' as address, which is known for CN only, and its country is what its city says",
        ),
        (
            lambda b: b["web__events"].update(country_column="platform"),
            "redacts 'search_term', and a text is read for one country: give the column its country, such as `country: CN`",
        ),
        (lambda b: b["crm__customers"].update(key=["phone"]), "has 'phone' in its key, which does not pass"),
        (lambda b: b["crm__customers"]["columns"].update(phone_hash=b["crm__customers"]["columns"]["city"]), "twice"),
        (lambda b: b["web__events"].update(pattern="*.jsonl"), "feed web__events: it needs {date} once in its pattern"),
        (lambda b: b["web__events"].update(timestamp_column="at"), "names 'at' as its timestamp_column"),
        (
            lambda b: b["web__events"].update(timestamp_format="yyyy-MM-dd HH:mm"),
            "holds no offset: declare the timestamp_zone",
        ),
        (lambda b: b["web__events"].update(years=[2025, 2020]), "has years [2025, 2020]"),
        (
            lambda b: b["web__events"].update(timestamp_zone="Europe/Lundun"),
            "timestamp_zone is 'Europe/Lundun', which is no",
        ),
        (
            lambda b: b["crm__orders"].update(timestamp_zone="Europe/Lundun"),
            "timestamp_zone is 'Europe/Lundun', which is no",
        ),
        (
            lambda b: b["web__events"].update(mode="full"),
            "has mode full and a timestamp_column: a whole table is of no moment",
        ),
        (lambda b: b["web__events"].update(decimal=","), "has decimal or thousands, which only format csv has"),
        (lambda b: b["web__events"].update(format="csv", thousands="."), "has '.' as its decimal and as its thousands"),
        (
            lambda b: b["web__events"].update(format="csv", encoding="gb18030", delimiter="|"),
            "has delimiter '|', which can be a part of a character in gb18030",
        ),
        (lambda b: b["web__events"].update(format="parquet", delimiter=";"), "which no Parquet file has"),
        (lambda b: b["web__events"].update(format="parquet", new_columns="let_through"), "declare the columns"),
        (
            lambda b: b["web__events"]["columns"]["user_id"].update(time_format="yyyy-MM-dd"),
            "columns.user_id is string and has a time_format, which only a date or timestamp has",
        ),
        (
            lambda b: b["crm__orders"]["columns"]["ordered_at"].update(time_format="yyyy-MM-dd X"),
            "puts required, allowed or time_format on 'ordered_at'",
        ),
        (lambda b: b.update(Orders=b.pop("crm__orders")), "feed Orders: the name must be <domain>__<entity>"),
        (lambda b: b.update(crm__orders=None), "feed crm__orders: must be a block of keys"),
    ],
)
def test_a_wrong_key_gets_a_sentence(tmp_path, change, said):
    message = _faults(tmp_path, change)
    assert message.startswith("feeds.yml: feed ")
    assert said in message


def test_a_country_is_the_columns_own_else_the_feeds_else_the_companys(tmp_path, monkeypatch):
    blocks = yaml.safe_load(FEEDS.read_text())
    columns = blocks["crm__customers"]["columns"]
    blocks["crm__customers"]["country"] = "DE"
    columns["work"] = columns["phone"] | {"country_column": "city", "country": "AT"}
    columns["home"] = HOME | {"country": "CN"}
    path = tmp_path / "feeds.yml"
    path.write_text(yaml.safe_dump(blocks))
    feeds = load_feeds(path)
    found = {name: feeds["crm__customers"].country_of(name) for name in ("phone", "work", "home")}
    assert found == {"phone": ("DE", None), "work": ("AT", "city"), "home": ("CN", None)}
    assert feeds["web__events"].country_of("search_term") == ("CN", None)
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path / "fr", country="FR"))
    assert load_feeds(path)["web__events"].country_of("search_term") == ("FR", None)
    for wrong, said in (("France", "country is 'France'"), ("ZZ", "no phone numbers are known")):
        monkeypatch.setenv("MDP_COMPANY", declare(tmp_path / wrong, country=wrong))
        with pytest.raises(PlatformError, match=f"company.yml.*{said}"):
            load_feeds(path)


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/London", "2024-10-27"), ("Europe/London", "2024-03-31"), ("Africa/Cairo", "2024-11-01"),
        ("Africa/Cairo", "2024-04-26"), ("America/Santiago", "2024-04-07"), ("America/Havana", "2024-11-03"),
        ("Australia/Lord_Howe", "2024-04-07"), ("Antarctica/Troll", "2024-10-27"), ("Asia/Shanghai", "2024-03-05"),
    ],
)  # fmt: skip
def test_an_interval_s_end_on_a_local_clock_cuts_what_is_written_from_then_on(zone, day):
    noon = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    moments = [noon + timedelta(minutes=10 * n) for n in range(-216, 145)]
    ends = [first_shown(f"{moment:%Y-%m-%d %H:%M:%S}", zone) for moment in moments]
    clock = [f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}" for moment in moments]
    assert ends == sorted(ends)  # so intervals that follow each other do not overlap
    assert all(end == min(clock[n:]) for n, end in enumerate(ends) if end in clock)
    assert all(end <= min(clock[n:]) for n, end in enumerate(ends))
    assert all(end > max(clock[:n]) for n, end in enumerate(ends) if n and max(clock[:n]) < min(clock[n:]))


def test_another_delimiter_is_named():
    blocks = yaml.safe_load(FEEDS.read_text())
    feed = FilesFeed.model_validate(blocks["web__events"] | {"name": "web__events", "format": "csv", "header": True})
    header = ";".join(feed.columns).encode()
    with pytest.raises(PlatformError, match="its header is cut by ';', not by ',': declare its `delimiter`"):
        drift.head_of(feed, "events.csv", header + b"\n1;2\n")


def test_all_faults_are_said_at_once(tmp_path):
    def change(blocks):
        blocks["crm__orders"]["tabel"] = "x"
        blocks["web__events"]["pattern"] = "*"

    assert len(_faults(tmp_path, change).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: 1\na: 2\n", "line 2: key 'a' appears twice"), ("a: [1\n", "line 2"), ("", "holds none")],
)
def test_a_broken_file_names_the_line(tmp_path, text, said):
    path = tmp_path / "feeds.yml"
    path.write_text(text)
    with pytest.raises(PlatformError, match=said):
        load_feeds(path)


def test_an_unknown_feed_lists_the_known():
    with pytest.raises(PlatformError, match="unknown feed 'crm__order': known are ads__events, crm__campaigns"):
        pick(["crm__order"])
    assert [f.name for f in pick(None, ["files"])] == ["web__events", "ads__events"]


# -- tables -----------------------------------------------------------------------------------------------------------


DERBY = {"string": "varchar", "timestamp": "timestamp", "decimal(18,2)": "decimal(18,2)"}


def test_source_columns_are_compared_both_ways():
    feed = load_feeds()["crm__orders"]
    good = {name: DERBY[column.type] for name, column in feed.columns.items()}
    assert jdbc.drift(feed, good) == (feed, [])
    assert jdbc.drift(feed, {**good, "coupon": "varchar"})[1] == ["new at the source, not read: coupon varchar"]
    wrong = {**good, "amount_cny": "double", "coupon": "varchar"}
    del wrong["channel"]
    with pytest.raises(PlatformError) as caught:
        jdbc.drift(feed, wrong)
    lines = str(caught.value).splitlines()
    assert "  - channel string: declared, missing at the source" in lines
    assert "  ~ amount_cny: declared decimal(18,2), double at the source, which can be read as double" in lines
    assert "  + coupon varchar: new at the source" in lines


def test_a_new_column_is_let_through_encrypted_and_recorded_once():
    feed = load_feeds()["crm__orders"].model_copy(update={"new_columns": "let_through"})
    found = {name: DERBY[column.type] for name, column in feed.columns.items()}
    whole, notes = jdbc.drift(feed, {**found, "coupon": "varchar"})
    assert notes == ["new at the source, read, encrypted: coupon varchar"]
    assert stored_columns(whole) == stored_columns(feed) | {"coupon_enc": "string", "key_id": "string"}
    jdbc.record_new(feed, {"columns": {**found, "coupon": "varchar"}}, DAY)
    jdbc.record_new(feed, {"columns": {**found, "coupon": "char"}}, "2024-03-06")
    assert state.drift() == [dict(feed=feed.name, column_name="coupon", type="varchar", first_ds=DAY)]


def test_intervals_are_business_days_in_utc():
    feeds = load_feeds()
    orders = feeds["crm__orders"]
    assert jdbc.interval(orders, DAY, DAY) == {"low": "2024-03-04 16:00:00", "high": "2024-03-05 16:00:00"}
    assert jdbc.interval(orders, None, DAY)["low"] is None
    overlapping = orders.model_copy(update={"overlap_minutes": 90})
    assert jdbc.interval(overlapping, DAY, DAY) == {"low": "2024-03-04 14:30:00", "high": "2024-03-05 16:00:00"}
    spend = feeds["crm__channel_spend"]
    assert jdbc.interval(spend, "2024-03-02", DAY) == {"low": "2024-03-02", "high": "2024-03-06"}


def test_lastmodified_keeps_rows_that_changed_again_later():
    feed = load_feeds()["crm__orders"]
    text = jdbc.condition(feed, source_of(feed), {"low": "2024-03-04 16:00:00", "high": "2024-03-05 16:00:00"})
    low, high = "timestamp('2024-03-04 16:00:00')", "timestamp('2024-03-05 16:00:00')"
    assert f'"updated_at" >= {low} and "updated_at" < {high}' in text
    assert f'or ("ordered_at" >= {low}' in text
    assert f'"updated_at" >= {high} or "updated_at" is null' in text


# -- files ------------------------------------------------------------------------------------------------------------


def _drop(home, name: str, *lines: str) -> None:
    folder = home / "sample" / "spool" / "web__events"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(line + "\n" for line in lines))


def _feed():
    return load_feeds()["web__events"]


def _take(ds: str) -> list[str]:
    """Plan and publish a load of `ds`; returns the names of the files it takes."""
    feed = _feed()
    plan.intend(feed, ds, None)
    files = state.load(feed.name, ds).inputs["files"]
    state.take_files(feed.name, ds, [(f["name"], f["digest"], f["n_bytes"]) for f in files])
    state.publish_load(feed.name, ds, 0, 0)
    return [f["name"] for f in files]


def test_files_are_chosen_by_the_day_in_their_name(home):
    for name in (
        "web__events-2024-03-04.jsonl",
        f"web__events-{DAY}-b.jsonl",
        "web__events-2024-03-06.jsonl",
        "notes.txt",
    ):
        _drop(home, name, name)
    (home / "sample/spool/web__events" / f"web__events-{DAY}-dir.jsonl").mkdir()
    assert _take(DAY) == ["web__events-2024-03-04.jsonl", f"web__events-{DAY}-b.jsonl"]


def test_a_missing_directory_is_an_empty_load(home):
    assert spool.spooled(_feed()) == []
    assert "no new file in" in plan.intend(_feed(), DAY, None)


def test_lines_are_counted_with_an_unfinished_last_one(home):
    _drop(home, f"web__events-{DAY}.jsonl", "a", "b")
    (home / f"sample/spool/web__events/web__events-{DAY}-2.jsonl").write_text("a\nb")
    (home / f"sample/spool/web__events/web__events-{DAY}-3.jsonl").write_text("")
    counts = [collect.measure(_feed(), f)["n_lines"] for f in spool.spooled(_feed())]
    assert sorted(counts) == [0, 2, 2]


def test_each_content_is_taken_once(home):
    _drop(home, f"web__events-{DAY}.jsonl", "a")
    assert _take(DAY) == [f"web__events-{DAY}.jsonl"]
    _drop(home, "web__events-2024-03-06.jsonl", "b")
    _drop(home, "web__events-2024-03-06-again.jsonl", "a")
    assert "sent again and left out: web__events-2024-03-06-again.jsonl" in plan.intend(_feed(), "2024-03-06", None)
    assert _take("2024-03-06") == ["web__events-2024-03-06.jsonl"]


def test_a_taken_file_may_not_change(home):
    _drop(home, f"web__events-{DAY}.jsonl", "a")
    _take(DAY)
    _drop(home, f"web__events-{DAY}.jsonl", "a", "more")
    with pytest.raises(PlatformError, match=f"web__events-{DAY}.jsonl has changed since it was loaded"):
        plan.intend(_feed(), "2024-03-06", None)


def test_a_mended_file_is_taken_again_until_the_gate_has_passed(home, monkeypatch):
    monkeypatch.setattr(plan, "verify", lambda feed, load: "verified")
    name = f"web__events-{DAY}.jsonl"
    _drop(home, name, "bad")
    _take(DAY)
    assert plan.decide(_feed(), DAY, None, False)[0] == "unchanged"
    _drop(home, name, "good")
    assert plan.decide(_feed(), DAY, None, False)[0] == "again"
    assert _take(DAY) == [name]
    state.publish("gate_raw", [DAY])
    _drop(home, name, "altered")
    assert plan.decide(_feed(), DAY, None, False)[0] == "unchanged"
    with pytest.raises(PlatformError, match="not in the spool as they were"):
        plan.decide(_feed(), DAY, None, True)


def test_a_table_is_read_again_after_its_gate_refused_the_day(monkeypatch):
    monkeypatch.setattr(plan, "verify", lambda feed, load: "verified")
    feed = load_feeds()["crm__products"]
    assert plan.decide(feed, DAY, None, False)[0] == "loaded"
    assert plan.decide(feed, DAY, None, False)[0] == "repaired"
    state.publish_load(feed.name, DAY, 1)
    assert plan.decide(feed, DAY, None, False)[0] == "unchanged"
    rule = dict(table_name="t", rule="r", column_name=None, success=False, observed="", expected="", sample="")
    state.record_verdicts(DAY, "raw", [rule])
    assert plan.decide(feed, DAY, None, False)[0] == "again"
    state.publish_load(feed.name, DAY, 1)
    state.publish("gate_raw", [DAY])
    assert plan.decide(feed, DAY, None, False)[0] == "unchanged"
    with pytest.raises(PlatformError, match="passed its gate"):
        plan.decide(feed, DAY, None, True)


def test_inputs_are_fixed_before_reading_and_survive_a_kill(home):
    _drop(home, f"web__events-{DAY}.jsonl", "a")
    plan.intend(_feed(), DAY, None)
    _drop(home, f"web__events-{DAY}-late.jsonl", "b")
    assert plan.decide(_feed(), DAY, None, False)[0] == "repaired"
    assert [f["name"] for f in state.load("web__events", DAY).inputs["files"]] == [f"web__events-{DAY}.jsonl"]


# -- days -------------------------------------------------------------------------------------------------------------


def _loaded(ds: str, from_ds: str | None = None) -> None:
    feed = load_feeds()["crm__products"]
    plan.intend(feed, ds, from_ds)
    state.publish_load(feed.name, ds, 1)


def test_a_day_inside_a_later_load_has_nothing_of_its_own():
    _loaded(DAY, "2024-03-01")
    feed = load_feeds()["crm__products"]
    assert plan.decide(feed, "2024-03-02", None, False) == ("inside", "2024-03-02 is in the load of 2024-03-05")
    with pytest.raises(PlatformError, match="before 2024-03-01, where its history begins"):
        plan.decide(feed, "2024-02-01", None, False)


def test_no_day_is_skipped():
    _loaded(DAY)
    with pytest.raises(PlatformError, match="would skip days: use --from 2024-03-06"):
        plan.intend(load_feeds()["crm__products"], "2024-03-09", "2024-03-08")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("HH:mm", "lacks year, month or day"), ("MM/yy HH:mm", "lacks year, month or day"),
        ("yyyy-MM-dd hh:mm", "without a, so that morning or afternoon would be a guess"),
        ("yyyy-MM-dd HH:mm z", "holds the letters z"), ("YYYY-MM-dd HH:mm", "holds the letters Y"),
        ("yyyy-MM-ddTHH:mm", "holds the letters T"), ("epoch", "holds the letters c, e, o, p"),
        ("yyyy-MM-dd HH:mm[ [XXX]]", "brackets in brackets"), ("yyyy-MM-dd'T", "quotes that are open"),
    ],
)  # fmt: skip
def test_a_format_that_would_have_to_guess_is_refused(pattern, said):
    assert said in values.format_fault(pattern, "Asia/Shanghai")


def test_a_format_has_a_form_with_and_one_without_an_offset():
    assert values.variants("yyyy-MM-dd HH:mm[:ss][ XXX]") == ("yyyy-MM-dd HH:mm[:ss] XXX", "yyyy-MM-dd HH:mm[:ss]")
    assert values.variants("yyyy-MM-dd'[X]' HH:mm") == (None, "yyyy-MM-dd'[X]' HH:mm")
    assert values.variants("yyyy-MM-dd VV") == ("yyyy-MM-dd VV", None)
    assert values.format_fault("yyyy-MM-dd HH:mm X", None) is None
    assert "no offset" in values.format_fault("yyyy-MM-dd HH:mm", None)
    assert values.format_fault("yyyy-MM-dd", None, "date") is None
    assert "holds an offset" in values.format_fault("yyyy-MM-dd X", None, "date")


def test_door_rules_come_in_a_fixed_order():
    rules = door.reason(_feed())
    reasons = ("malformed_json", "missing_field:event_id", "bad_timestamp:occurred_at", "unknown_value:event_type")
    order = [rules.index(f"'{reason}'") for reason in (*reasons, "future", "too_late")]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("lines", "is_plain"),
    [
        (r'{"a": 1}', True), (r'{"a": "x [y]"}', True), (r'{"a": "\ud83d\uDE00"}', True), ('{"a": "ä"}\r', False),
        (r'{"a": [1]}', False), ('{"a":\n [1]}', False), (r'{"a": {}}', False), (r'{"a": "\ud83d"}', False),
        (r'{"a": "\uDe00\ud83d"}', False), ('{"a": 1}\n x', False), ('{"a": 1' + " " * 300_000 + "}\n{}", True),
        ('{"a":' + " " * 300_000 + "[1]}", False), ('{"a": "' + r"\ud83d\ude00" * 60_000 + '"}', True),
    ],
)  # fmt: skip
def test_a_plain_file_is_one_that_cannot_be_misread(tmp_path, monkeypatch, lines, is_plain):
    monkeypatch.setenv("MDP_SPOOL_URI", str(tmp_path))
    place = tmp_path / _feed().directory
    place.mkdir()
    (place / "x").write_text(lines + "\n")
    assert collect.measure(_feed(), {"name": "x"})["is_plain"] == is_plain


def test_progress_is_told_in_rows_and_parts():
    stage = SimpleNamespace(stage_id=3, num_tasks=8, num_completed_tasks=2)
    assert progress.line("web__events", 2_000_000, stage, 10.0).split() == (
        "web__events reading ~ 500,000 of 2,000,000 rows ~50,000 rows/s 2 of 8 parts, 10 s".split()
    )


def test_a_file_that_grows_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_SPOOL_URI", str(tmp_path))
    feed = _feed()
    place = tmp_path / feed.directory
    place.mkdir()
    whole = place / feed.pattern.replace("{date}", DAY).replace("*", "a")
    growing = place / feed.pattern.replace("{date}", "2024-03-04").replace("*", "b")
    for path in (whole, growing):
        path.write_bytes(b'{"a": 1}\n')
    monkeypatch.setattr(spool.time, "sleep", lambda _: growing.write_bytes(b'{"a": 1}\n{"a":'))
    files, left = spool.settled(feed, spool.spooled(feed))
    assert [file["name"] for file in files] == [whole.name] and left == [growing.name]


def _topic(monkeypatch, there: dict[int, bytes | None]):
    """A feed on a topic whose one partition holds these records, as a broker hands them out."""
    monkeypatch.setattr(topics, "_consumer", lambda feed: contextlib.nullcontext((None, None)))
    held = sorted(there.items())
    monkeypatch.setattr(
        topics, "_records", lambda _, feed, p, low, high: iter([r for r in held if low <= r[0] <= high])
    )
    return SimpleNamespace(name="try__topic", topic="t")


def test_a_record_is_found_at_its_own_offset(monkeypatch):
    feed = _topic(monkeypatch, {0: b"a", 3: None, 4: b"\xff", 20_000: b"d"})
    places = [(0, 20_000), (0, 0), (0, 4), (0, 3), (0, 0)]
    assert topics.records_at(feed, places) == {(0, 0): "a", (0, 3): None, (0, 4): "\xff", (0, 20_000): "d"}


@pytest.mark.parametrize("gone", [0, 2, 5, 9_000, 30_000])
def test_a_record_that_is_gone_is_named_and_no_other_one_taken_for_it(monkeypatch, gone):
    feed = _topic(monkeypatch, {1: b"a", 3: b"b", 6: b"c", 9_001: b"d", 20_000: b"e"})
    there = [1, 3, 6, 9_001, 20_000]
    with pytest.raises(PlatformError, match=f"has dropped records .*: t/0 offset {gone} .*run it again"):
        topics.records_at(feed, [(0, offset) for offset in sorted([*there, gone])])
