"""Collection of log files from the spool: each content once, each line either in raw or in quarantine with its reason.

A file is known by the digest of its content, so one sent again under another name changes nothing. The day in its name
is the day it arrived; events are measured against that day, not against the day of the load, so a history loaded in one
pass equals one loaded day by day.
"""

import hashlib
import re
from collections.abc import Iterable

from pyarrow import fs
from pyspark.sql.connect.functions import broadcast

from ingestion.feeds import FilesFeed
from ingestion.protect import protect, seal_payload
from warehouse.dates import day_bounds_utc, shift
from warehouse.errors import PlatformError
from warehouse.session import session
from warehouse.settings import settings

CHUNK = 4 << 20
# An ISO-8601 time without an offset could mean any zone: it is refused, not guessed.
OFFSET = r"(Z|[+-][0-9]{2}:?[0-9]{2})$"


def spool_path(feed: FilesFeed, name: str = "") -> str:
    """Where the feed's directory, or a file in it, lies: the same text for pyarrow and for Spark."""
    return "/".join(part for part in (settings().spool_uri.rstrip("/"), feed.directory, name) if part)


def spooled(feed: FilesFeed) -> list[dict]:
    """The feed's files in the spool, by name: name, day, n_bytes and modified (ns); a missing directory has none."""
    system, path = fs.FileSystem.from_uri(spool_path(feed))
    infos = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    found = []
    for info in infos:
        match = re.match(feed.file_regex, info.base_name)
        if match and info.type == fs.FileType.File:
            found.append(
                {"name": info.base_name, "day": match[1], "n_bytes": info.size, "modified": info.mtime_ns or 0}
            )
    return sorted(found, key=lambda file: file["name"])


def measure(feed: FilesFeed, file: dict) -> dict:
    """The file with its content's digest and number of lines (a last line without a line end counts)."""
    system, path = fs.FileSystem.from_uri(spool_path(feed, file["name"]))
    digest, n_lines, last = hashlib.sha256(), 0, b"\n"
    try:
        with system.open_input_stream(path) as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                n_lines += chunk.count(b"\n")
                last = chunk[-1:]
    except OSError as error:
        raise PlatformError(f"{feed.name}: {path} cannot be read: {error}; nothing of this load was taken") from None
    return {**file, "digest": digest.hexdigest(), "n_lines": n_lines + (last != b"\n")}


def fix_inputs(feed: FilesFeed, ds: str, start: str | None, others: Iterable[dict]) -> dict:
    """The files a load of `ds` takes: those of start … ds (by name) whose content no other load has taken.

    `others` are the file records of all other loads. A file unchanged in name, size and time of change is not read
    again to be recognised. A taken name with another content raises PlatformError: what was loaded cannot change.
    """
    by_name = {file["name"]: file for file in others}
    seen = {file["digest"]: file["name"] for file in others}
    files, resent = [], []
    for file in spooled(feed):
        if file["day"] > ds or (start and file["day"] < start):
            continue
        taken = by_name.get(file["name"])
        if taken and all(taken[key] == file[key] for key in ("n_bytes", "modified")):
            continue
        file = measure(feed, file)
        if taken and taken["digest"] != file["digest"]:
            raise PlatformError(
                f"{feed.name}: {file['name']} has changed since it was loaded and passed its gate: put the loaded "
                "content back and send what is new under another name"
            )
        if file["digest"] in seen:
            resent += [file["name"]] * (not taken)
            continue
        seen[file["digest"]] = file["name"]
        files.append(file)
    return {"files": files, "resent": resent}


def unchanged(feed: FilesFeed, files: list[dict]) -> bool:
    """Whether the spool still holds these files with the content that was recorded."""
    there = {file["name"]: file for file in spooled(feed)}
    same = (f["name"] in there and measure(feed, there[f["name"]])["digest"] == f["digest"] for f in files)
    return all(same)


def read(feed: FilesFeed, inputs: dict):
    """(good rows, quarantined rows, the kept frame below both) of a load; the caller releases the kept one.

    Lines are parsed and judged once, and kept (in memory, on disk if that is short) while both tables are written.
    Good rows carry their time as an instant (`event_time`), so that nothing downstream parses offsets again. A file
    that arrived after the load of its own day counts as arrived on the first day of this load, else its events would
    reach no day that is rebuilt.
    """
    spark = session()
    # What is kept lives for a minute: compressing it costs as much as parsing does.
    spark.conf.set("spark.sql.inMemoryColumnarStorage.compressed", "false")
    names = [file["name"] for file in inputs["files"]]
    if names:
        lines = spark.read.option("lineSep", "\n").text([spool_path(feed, name) for name in names])
        lines = lines.selectExpr("value", "_metadata.file_name as source_file")
    else:
        lines = spark.createDataFrame([], "value string, source_file string")
    arrivals = spark.createDataFrame(
        _arrivals(inputs), "source_file string, received_date string, low string, high string"
    )
    bounds = ("source_file", "received_date", "cast(low as timestamp) as low", "cast(high as timestamp) as high")
    lines = lines.join(broadcast(arrivals.selectExpr(*bounds)), "source_file")
    parsed = lines.selectExpr("value", "source_file", "received_date", "low", "high", f"{_parse(feed)} as row")
    timed = parsed.selectExpr("*", f"try_cast(row.`{feed.timestamp_column}` as timestamp) as event_time")
    judged = timed.selectExpr("*", f"{door(feed)} as reason")
    columns = [f"row.`{name}` as `{name}`" for name in feed.columns]
    payload = "if(reason is null, null, value) as payload"
    kept = judged.selectExpr(*columns, "event_time", "source_file", "received_date", "reason", payload).persist()
    good = kept.where("reason is null").drop("reason", "payload")
    bad = kept.where("reason is not null").selectExpr(
        "reason", f"`{feed.key[0]}` as row_key", "source_file", "received_date", "payload"
    )
    return protect(good, feed), seal_payload(bad, feed.quarantine_table), kept


def _arrivals(inputs: dict) -> list[tuple[str, str, str, str]]:
    """Per file: its name, the day it arrived, and the UTC bounds low <= t < high of the events it may bring."""
    conf, rows = settings(), []
    for file in inputs["files"]:
        day = max(file["day"], inputs["first"] or "")
        low, _ = day_bounds_utc(shift(day, -conf.late_days), conf.tz)
        _, high = day_bounds_utc(day, conf.tz)
        rows.append((file["name"], day, f"{low:%Y-%m-%d %H:%M:%S}", f"{high:%Y-%m-%d %H:%M:%S}"))
    return rows


def _parse(feed: FilesFeed) -> str:
    fields = ", ".join(f"`{name}` {column.type}" for name, column in feed.columns.items())
    return (
        f"from_json(value, '{fields}, `_corrupt` string', "
        "map('mode', 'PERMISSIVE', 'columnNameOfCorruptRecord', '_corrupt'))"
    )


def door(feed: FilesFeed) -> str:
    """SQL of the first rule that a parsed line breaks, null if it breaks none.

    Reads value, row, event_time, low and high. Spark's parser takes the first object of a line and forgets what
    follows, so a line must also look like one object; cheap tests come first, a regular expression costs like parsing.
    """
    whole = r"(value like '{%}' or value rlike r'^\s*\{.*\}\s*$')"
    second = r"(contains(substring(value, 2), '{') and value rlike r'\}\s*,?\s*\{')"
    rules = [(f"row is null or row._corrupt is not null or not {whole} or {second}", "malformed_json")]
    for name, column in feed.columns.items():
        if column.required:
            empty = f" or trim(row.`{name}`) = ''" if column.type == "string" else ""
            rules.append((f"row.`{name}` is null{empty}", f"missing_field:{name}"))
    at = feed.timestamp_column
    rules.append((f"event_time is null or not row.`{at}` rlike r'{OFFSET}'", f"bad_timestamp:{at}"))
    for name, column in feed.columns.items():
        if column.allowed:
            values = ", ".join(f"'{value}'" for value in column.allowed)
            rules.append((f"row.`{name}` not in ({values})", f"unknown_value:{name}"))
    rules += [("event_time >= high", "future"), ("event_time < low", "too_late")]
    return "case " + " ".join(f"when {broken} then '{reason}'" for broken, reason in rules) + " end"
