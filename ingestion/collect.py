"""Collection of log files from the spool: each content once, each line either in raw or in quarantine with its reason.

A file is known by the digest of its content, so one sent again under another name changes nothing. The day in its name
is the day it arrived; events are measured against that day, not against the day of the load, so a history loaded in one
pass equals one loaded day by day.
"""

import functools
import hashlib
import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from pyarrow import fs
from pyspark.sql.connect.functions import broadcast, expr, lit

from ingestion.door import INNER_BRACE, NON_ASCII, judge
from ingestion.drift import HEAD_LINES, as_read, head_of
from ingestion.feeds import FilesFeed
from warehouse.dates import day_bounds_utc, shift
from warehouse.errors import PlatformError
from warehouse.session import session
from warehouse.settings import settings

CHUNK = 256 << 10  # bytes that stay in the processor's cache while they are looked at
HEAD_BYTES = 4 << 20
LINE_END, BRACE = b"\n{"
FILES_AT_ONCE = 4
SETTLE_SECONDS = 2  # a file that did not change for so long is taken for written
ORIGIN = ("source", "source_block", "source_row")  # of a line, as Spark reads it: file, block, number within the read


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


def settled(feed: FilesFeed, files: list[dict]) -> tuple[list[dict], list[str]]:
    """(the files that nobody writes to, the names of those that are still being written).

    Files that were changed in the last seconds are looked at twice, those seconds apart.
    """
    age = time.time() - max((file["modified"] for file in files), default=0) / 1e9
    if not 0 <= age < SETTLE_SECONDS:
        return files, []
    time.sleep(SETTLE_SECONDS - age)
    return _unchanged_since(feed, files)


def _unchanged_since(feed: FilesFeed, files: list[dict]) -> tuple[list[dict], list[str]]:
    """The files whose size and time of change are still what they were, and the names of the others."""
    now = {file["name"]: (file["n_bytes"], file["modified"]) for file in spooled(feed)}
    same = [file for file in files if now.get(file["name"]) == (file["n_bytes"], file["modified"])]
    return same, sorted({file["name"] for file in files} - {file["name"] for file in same})


def measure(feed: FilesFeed, file: dict) -> dict:
    """The file with its content's digest, its number of lines (a last line without a line end counts), and what of
    door.NON_ASCII and door.INNER_BRACE it is clear_of: found here at a fraction of what looking at each line costs.
    """
    system, path = fs.FileSystem.from_uri(spool_path(feed, file["name"]))
    digest, n_lines, n_inner, is_ascii, last, head = hashlib.sha256(), 0, 0, True, LINE_END, b""
    try:
        with system.open_input_stream(path) as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                seen = np.frombuffer(chunk, np.uint8)  # numpy lets other files be measured meanwhile
                is_end, is_brace = seen == LINE_END, seen == BRACE
                n_lines += np.count_nonzero(is_end)
                n_inner += np.count_nonzero(is_brace[1:] & ~is_end[:-1]) + int(is_brace[0] and last != LINE_END)
                is_ascii = is_ascii and chunk.isascii()
                last = seen[-1]
                head = head if len(head) >= HEAD_BYTES else head + chunk
    except OSError as error:
        raise PlatformError(f"{feed.name}: {path} cannot be read: {error}; nothing of this load was taken") from None
    head = b"\n".join(head.split(b"\n", HEAD_LINES)[:HEAD_LINES])
    found = head_of(feed, file["name"], head) if head else {}
    n_lines += int(last != LINE_END)
    clear_of = [what for what, is_clear in ((NON_ASCII, is_ascii), (INNER_BRACE, not n_inner)) if is_clear]
    return {**file, "digest": digest.hexdigest(), "n_lines": int(n_lines), "clear_of": clear_of, **found}


def fix_inputs(feed: FilesFeed, ds: str, start: str | None, others: Iterable[dict]) -> dict:
    """The files a load of `ds` takes: those of start … ds (by name) whose content no other load has taken.

    `others` are the file records of all other loads. A file unchanged in name, size and time of change is not read
    again to be recognised, and one that is still being written is left for the next load. A taken name with another
    content raises PlatformError: what was loaded cannot change.
    """
    by_name = {file["name"]: file for file in others}
    seen = {file["digest"]: file["name"] for file in others}
    files, resent = [], []
    there = [file for file in spooled(feed) if file["day"] <= ds and (not start or start <= file["day"])]
    new = [file for file in there if not _same(by_name.get(file["name"]), file)]
    new, growing = settled(feed, new)
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        measured = list(pool.map(functools.partial(measure, feed), new))
    for file in measured:
        taken = by_name.get(file["name"])
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
    files, changed = _unchanged_since(feed, files)
    return {"files": files, "resent": resent, "growing": sorted(growing + changed)}


def _same(taken: dict | None, file: dict) -> bool:
    return taken is not None and all(taken[key] == file[key] for key in ("n_bytes", "modified"))


def unchanged(feed: FilesFeed, files: list[dict]) -> bool:
    """Whether the spool still holds these files with the content that was recorded."""
    there = {file["name"]: file for file in spooled(feed)}
    same = (f["name"] in there and measure(feed, there[f["name"]])["digest"] == f["digest"] for f in files)
    return all(same)


def read(feed: FilesFeed, inputs: dict):
    """The judged frame of a load's lines (see door.judge).

    Good rows carry their time as an instant (`event_time`), so that nothing downstream parses offsets again. A file
    that arrived after the load of its own day counts as arrived on the first day of this load, else its events would
    reach no day that is rebuilt.
    """
    feed = as_read(feed, inputs["files"])
    shapes = {tuple(file["fields"]) if "fields" in file else None for file in inputs["files"]} or {None}
    frames = []
    for fields in sorted(shapes, key=str):  # files with the same columns in the same order are read together
        files = [f for f in inputs["files"] if (tuple(f["fields"]) if "fields" in f else None) == fields]
        clear_of = _clear_of(files)
        frames.append(judge(_read_lines(feed, inputs, files), feed, *ORIGIN, fields=fields, clear_of=clear_of))
    return functools.reduce(lambda one, other: one.union(other), frames)


def _clear_of(files: list[dict]) -> frozenset[str]:
    """What all of the files are clear of."""
    return frozenset.intersection(*(frozenset(file.get("clear_of", ())) for file in files)) if files else frozenset()


def _read_lines(feed: FilesFeed, inputs: dict, files: list[dict]):
    """The lines of some files of a load, with their place, their arrival and its bounds."""
    spark = session()
    if files:
        lines = spark.read.option("lineSep", "\n").text([spool_path(feed, file["name"]) for file in files])
        where = ("_metadata.file_name as source", "_metadata.file_block_start as source_block")
        lines = lines.selectExpr("value", *where, "monotonically_increasing_id() as source_row")
    else:
        lines = spark.createDataFrame([], "value string, source string, source_block bigint, source_row bigint")
    if NON_ASCII not in _clear_of(files):
        value = "decode(cast(value as binary), 'ISO-8859-1')" if feed.encoding == "latin-1" else "value"
        value = f"if(startswith({value}, '\ufeff'), substring({value}, 2), {value}) as value"
        lines = lines.selectExpr(value, *ORIGIN)
    arrivals = _arrivals(files, inputs["first"])
    same = {tuple(arrival.values()) for arrival in arrivals.values()}
    if len(same) == 1:  # as in most loads: no need to look at names
        lines = lines.withColumns({name: lit(value) for name, value in next(iter(arrivals.values())).items()})
    else:
        rows = [(name, *arrival.values()) for name, arrival in arrivals.items()]
        known = "source string, header string, received_date string, low string, high string"
        lines = lines.join(broadcast(spark.createDataFrame(rows, known)), "source")
    return lines.withColumns({bound: expr(f"cast({bound} as timestamp)") for bound in ("low", "high")})


def lines_at(feed: FilesFeed, places: list[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """(file, number) → text of these lines, as they stand in the files; bytes that are no UTF-8 are read as Latin-1."""
    wanted: dict[str, list[int]] = {}
    for name, number in places:
        wanted.setdefault(name, []).append(number)
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        lines = pool.map(lambda name: list(_lines_of(spool_path(feed, name), sorted(set(wanted[name])))), wanted)
    return {
        (name, number): _text(line, feed.encoding)
        for name, found in zip(wanted, lines, strict=True)
        for number, line in zip(sorted(set(wanted[name])), found, strict=True)
    }


def _text(line: bytes, encoding: str) -> str:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _lines_of(path: str, numbers: list[int]) -> Iterator[bytes]:
    """The lines of one file with these numbers (ascending, from 1), without their line ends."""
    system, path = fs.FileSystem.from_uri(path)
    wanted, n_before, rest = iter(numbers), 0, b""
    number = next(wanted)
    with system.open_input_stream(path) as stream:
        while chunk := stream.read(CHUNK):
            ends = np.flatnonzero(np.frombuffer(chunk, np.uint8) == LINE_END)
            while number is not None and number <= n_before + len(ends):
                nth = number - n_before - 1
                line = chunk[ends[nth - 1] + 1 if nth else 0 : ends[nth]]
                yield line if nth else rest + line
                number = next(wanted, None)
            if number is None:
                return
            n_before += len(ends)
            rest = chunk[ends[-1] + 1 :] if len(ends) else rest + chunk
    yield rest


def n_rows(inputs: dict) -> int:
    """How many lines a load has to bring, in raw or in quarantine: those of its files without their headers."""
    return sum(file["n_lines"] - (file.get("header") is not None) for file in inputs["files"])


def _arrivals(files: list[dict], first: str | None) -> dict[str, dict]:
    """File → header, received_date (the day it arrived), and the UTC bounds low <= t < high of the events it may bring."""
    conf, found = settings(), {}
    for file in files:
        day = max(file["day"], first or "")
        low, _ = day_bounds_utc(shift(day, -conf.late_days), conf.tz)
        _, high = day_bounds_utc(day, conf.tz)
        bounds = {"low": f"{low:%Y-%m-%d %H:%M:%S}", "high": f"{high:%Y-%m-%d %H:%M:%S}"}
        found[file["name"]] = {"header": file.get("header"), "received_date": day, **bounds}
    return found
