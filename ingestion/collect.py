"""Collection of log files from the spool: each content once, each line either in raw or in quarantine with its reason.

A file is known by the digest of its content, so one sent again under another name changes nothing. The day in its name
is the day it arrived; events are measured against that day, not against the day of the load, so a history loaded in one
pass equals one loaded day by day. Lines are read as text and parsed once, by Spark.
"""

import hashlib
import re
from collections.abc import Iterable

from pyarrow import fs

from ingestion.feeds import FilesFeed
from ingestion.protect import protect, seal_payload
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
                f"{feed.name}: {file['name']} has changed since it was loaded and passed its gate: put the loaded content "
                "back and send what is new under another name"
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
    """(good rows, quarantined rows) of a load, parsed in one pass and kept in memory or on disk until released.

    Returns the two frames and the cached frame they come from, to be unpersisted. A file that arrived after the load of
    its own day counts as arrived on the first day of this load, else its events would reach no day that is rebuilt.
    """
    spark = session()
    names = [file["name"] for file in inputs["files"]]
    if names:
        lines = spark.read.option("lineSep", "\n").text([spool_path(feed, name) for name in names])
        lines = lines.selectExpr("value", "_metadata.file_name as source_file")
    else:
        lines = spark.createDataFrame([], "value string, source_file string")
    day = f"regexp_extract(source_file, r'{feed.file_regex}', 1)"
    arrived = f"greatest({day}, '{inputs['first']}')" if inputs["first"] else day
    lines = lines.selectExpr("value", "source_file", f"{arrived} as received_date", f"{_parse(feed)} as row")
    judged = lines.selectExpr("value", "source_file", "received_date", "row", f"{door(feed)} as reason").persist()
    columns = [f"row.`{name}` as `{name}`" for name in feed.columns]
    good = judged.where("reason is null").selectExpr(*columns, "source_file", "received_date")
    key = f"row.`{feed.key[0]}`"
    bad = judged.where("reason is not null").selectExpr(
        "reason", f"{key} as row_key", "source_file", "received_date", "value as payload"
    )
    return protect(good, feed), seal_payload(bad, feed.quarantine_table), judged


def _parse(feed: FilesFeed) -> str:
    fields = ", ".join(f"`{name}` {column.type}" for name, column in feed.columns.items())
    return (
        f"from_json(value, '{fields}, `_corrupt` string', "
        "map('mode', 'PERMISSIVE', 'columnNameOfCorruptRecord', '_corrupt'))"
    )


def door(feed: FilesFeed) -> str:
    """SQL of the first rule that a parsed line breaks, null if it breaks none.

    Spark's parser reads the first object of a line and forgets what follows, so a line must also look like one object.
    """
    at = f"row.`{feed.timestamp_column}`"
    time = f"try_cast({at} as timestamp)"
    tz, late = settings().tz, settings().late_days
    one_object = r"value rlike r'^\s*\{.*\}\s*$' and not value rlike r'\}\s*\{'"
    rules = [(f"row is null or row._corrupt is not null or not ({one_object})", "malformed_json")]
    for name, column in feed.columns.items():
        if column.required:
            empty = f" or trim(row.`{name}`) = ''" if column.type == "string" else ""
            rules.append((f"row.`{name}` is null{empty}", f"missing_field:{name}"))
    rules.append((f"{time} is null or not {at} rlike r'{OFFSET}'", f"bad_timestamp:{feed.timestamp_column}"))
    for name, column in feed.columns.items():
        if column.allowed:
            values = ", ".join(f"'{value}'" for value in column.allowed)
            rules.append((f"row.`{name}` not in ({values})", f"unknown_value:{name}"))
    rules.append((f"{time} >= to_utc_timestamp(date_add(cast(received_date as date), 1), '{tz}')", "future"))
    rules.append((f"{time} < to_utc_timestamp(date_sub(cast(received_date as date), {late}), '{tz}')", "too_late"))
    return "case " + " ".join(f"when {broken} then '{reason}'" for broken, reason in rules) + " end"
