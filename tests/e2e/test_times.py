"""What time a text is: every format, with and without an offset, in every zone, on every odd hour of a year, in one table."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from pyspark.sql.connect.functions import expr

from ingestion import values

ZONES = (None, "Asia/Shanghai", "Europe/London", "America/Santiago", "America/Havana", "Africa/Cairo")
# Wall times: ordinary ones of both seasons; the skipped and the repeated hour of London, Santiago, Havana and Cairo, of
# which all but London's lie at midnight; the hours around them; a leap day and the turn of a year.
WALLS = (
    "2024-01-15 10:15:00", "2024-07-15 10:15:00", "2024-02-29 23:59:59", "2023-12-31 23:59:59", "2024-01-01 00:00:00",
    "2024-03-31 00:59:59", "2024-03-31 01:00:00", "2024-03-31 01:30:00", "2024-03-31 02:00:00",
    "2024-10-27 00:59:59", "2024-10-27 01:00:00", "2024-10-27 01:30:00", "2024-10-27 02:00:00",
    "2024-09-07 23:59:59", "2024-09-08 00:00:00", "2024-09-08 00:30:00", "2024-09-08 01:00:00",
    "2024-04-06 22:59:59", "2024-04-06 23:00:00", "2024-04-06 23:30:00", "2024-04-07 00:00:00",
    "2024-03-09 23:59:59", "2024-03-10 00:00:00", "2024-03-10 00:30:00", "2024-03-10 01:00:00",
    "2024-11-02 23:59:59", "2024-11-03 00:00:00", "2024-11-03 00:30:00", "2024-11-03 01:00:00",
    "2024-04-25 23:59:59", "2024-04-26 00:00:00", "2024-04-26 00:30:00", "2024-04-26 01:00:00",
    "2024-10-31 22:59:59", "2024-10-31 23:00:00", "2024-10-31 23:30:00", "2024-11-01 00:00:00",
)  # fmt: skip
# Spark's letters (None: ISO 8601), Python's, and what stands for an offset of five and a half hours behind UTC.
FORMATS = (
    (None, "%Y-%m-%dT%H:%M:%S", ("", "-05:30", "-0530")),
    (None, "%Y-%m-%d %H:%M", ("", "-05:30")),
    (None, "%Y-%m-%d %H:%M:%S.250000", ("", "-05:30")),
    ("yyyy-MM-dd HH:mm:ss", "%Y-%m-%d %H:%M:%S", ("",)),
    ("yyyy-MM-dd'T'HH:mm:ss", "%Y-%m-%dT%H:%M:%S", ("",)),
    ("dd.MM.yyyy HH:mm", "%d.%m.%Y %H:%M", ("",)),
    ("dd/MMM/yyyy:HH:mm:ss Z", "%d/%b/%Y:%H:%M:%S ", ("-0530",)),
    ("yyyy-MM-dd HH:mm:ss X", "%Y-%m-%d %H:%M:%S ", ("-0530",)),
    ("yyyy-MM-dd HH:mm:ssXX", "%Y-%m-%d %H:%M:%S", ("-0530",)),
    ("yyyy-MM-dd HH:mm:ssXXX", "%Y-%m-%d %H:%M:%S", ("-05:30",)),
    ("yyyy-MM-dd HH:mm:ss xxx", "%Y-%m-%d %H:%M:%S ", ("-05:30",)),
    ("yyyy-MM-dd HH:mm:ss O", "%Y-%m-%d %H:%M:%S ", ("GMT-5:30",)),
    ("yyyy-MM-dd HH:mm:ss VV", "%Y-%m-%d %H:%M:%S ", ("-05:30", "UTC", "Asia/Tokyo")),
    ("yyyy-MM-dd HH:mm:ss[ XXX]", "%Y-%m-%d %H:%M:%S", ("", " -05:30")),
    ("yyyy-MM-dd HH:mm[:ss][XX]", "%Y-%m-%d %H:%M", ("", "-0530")),
    ("yyyy-MM-dd hh:mm:ss a", "%Y-%m-%d %I:%M:%S %p", ("",)),
    ("epoch_seconds", "", ("",)),
    ("epoch_milliseconds", "", ("",)),
)  # fmt: skip
# Texts that are no time, whatever Spark would make of them: (format, text).
NONE = tuple((None, text) for text in (
    "10:15", "2024", "2024-03", "2024-03-05", "20240305", "45000", "1709604000", "1709604000000", "2024-03-05 rubbish",
    "2024-03-05T10:15:00+08:00 rubbish", "2024-03-05T10:15:00Z ", " 2024-03-05T10:15:00Z", "2024-03-05T10:15:00Z\n",
    "2024-03-05T10:15:00ZZ", "2024-3-5T10:15:00Z", "2024-03-05T1:15:00Z", "2024-03-05T10Z", "2024-03-05T10:15:60Z",
    "2024-02-30T10:15:00Z", "2024-03-05T25:00:00Z", "2024-03-05T10:15:00+25:00", "2024-03-05T10:15:00+8",
    "2024-03-05T10:15:00 Asia/Shanghai", "2024-03-05T10:15:00 GMT+08:00", "45000-03-05T10:15:00Z", "now", "", "epoch", "today",
)) + (
    ("yyyy-MM-dd HH:mm:ss", "2024-03-05 10:15:00 rubbish"), ("yyyy-MM-dd HH:mm:ss", "2024-03-05 10:15:00+08:00"),
    ("yyyy-MM-dd HH:mm:ss", "2024-03-05T10:15:00"), ("yyyy-MM-dd HH:mm:ss", " 2024-03-05 10:15:00"),
    ("yyyy-MM-dd HH:mm:ss", "2024-02-30 10:15:00"), ("yyyy-MM-dd HH:mm:ss", "45000-03-05 10:15:00"),
    ("yyyy-MM-dd HH:mm:ss X", "2024-03-05 10:15:00"), ("epoch_seconds", "2024-03-05T10:15:00Z"), ("epoch_seconds", "1e9"),
    ("epoch_milliseconds", " 1709604000000"), ("epoch_seconds", "170960400012345678"),
)  # fmt: skip


def expected(wall: datetime, suffix: str, zone: str | None) -> datetime | None:
    """The moment in UTC: an offset wins; a skipped hour is as many minutes later, a repeated one is the first."""
    offset = suffix.strip()
    if offset in ("UTC", "Asia/Tokyo"):
        return wall.replace(tzinfo=ZoneInfo(offset)).astimezone(UTC)
    if offset:
        return (wall + timedelta(hours=5, minutes=30)).replace(tzinfo=UTC)
    return wall.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC) if zone else None


def cases() -> list[tuple[str | None, str | None, str, datetime | None]]:
    """(format, zone, text, moment in UTC or None) of the whole table."""
    found = []
    for zone in ZONES:
        for pattern, python, suffixes in FORMATS:
            for suffix in suffixes:
                for wall in map(datetime.fromisoformat, WALLS):
                    if pattern in values.EPOCHS:
                        moment = wall.replace(tzinfo=UTC)
                        text = str(int(moment.timestamp()) * (10**6 // values.EPOCHS[pattern]))
                    else:
                        text = wall.strftime(python) + suffix
                        wall = wall if ":%S" in python else wall.replace(second=0)
                        wall = wall.replace(microsecond=250_000) if "250000" in python else wall
                        moment = expected(wall, suffix, zone)
                    found.append((pattern, zone, text, moment))
        found += [(pattern, zone, text, None) for pattern, text in NONE]
    return found


def test_each_time_is_the_moment_that_it_says(spark):
    table = cases()
    kinds = sorted({(pattern, zone) for pattern, zone, *_ in table}, key=str)
    rows = [(n, kinds.index((pattern, zone)), text) for n, (pattern, zone, text, _) in enumerate(table)]
    whens = " ".join(f"when {n} then {values.instant('text', *kind)}" for n, kind in enumerate(kinds))
    frame = spark.createDataFrame(rows, "n int, kind int, text string")
    found = dict(tuple(r) for r in frame.select("n", expr(f"unix_micros(case kind {whens} end)")).collect())
    assert len(found) == len(table) > 5000
    wrong = []
    for n, (pattern, zone, text, moment) in enumerate(table):
        at = None if found[n] is None else datetime.fromtimestamp(0, UTC) + timedelta(microseconds=found[n])
        wrong += [] if at == moment else [f"{text!r} as {pattern} in {zone}: {at}, not {moment}"]
    assert not wrong, "\n".join(wrong[:50])


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("1709604000", 1709604000_000000), ("1709604000.5", 1709604000_500000), ("-1.000001", -1_000001),
        ("1709604000.123456789", 1709604000_123456), ("0", 0),
    ],
)  # fmt: skip
def test_seconds_may_have_decimals(spark, text, micros):
    assert spark.sql(f"select unix_micros({values.instant(repr(text), 'epoch_seconds', None)})").first()[0] == micros


def test_the_skipped_and_the_repeated_hour_are_as_the_page_says():
    """docs/ingestion.md names these two; the table above holds the engine to Python's calendar."""
    skipped, repeated = datetime(2024, 3, 31, 1, 30), datetime(2024, 10, 27, 1, 30)
    assert expected(skipped, "", "Europe/London") == datetime(2024, 3, 31, 1, 30, tzinfo=UTC)  # 02:30 by its clocks
    assert expected(repeated, "", "Europe/London") == datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
