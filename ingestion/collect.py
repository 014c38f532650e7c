"""Collection of log files from the spool: each content once, each line either in raw or in quarantine with its reason.

A file is known by the digest of its content, so one sent again under another name changes nothing. The day in its name
is the day it arrived; events are measured against that day, not against the day of the load, so a history loaded in one
pass equals one loaded day by day.
"""

import codecs
import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from pyspark import cloudpickle
from pyspark.sql.connect.functions import arrow_udf, broadcast, expr, lit

from ingestion import parquet, records
from ingestion.door import MAX_LINE_BYTES, judge, line_text, shape
from ingestion.drift import HEAD_LINES, as_read, fields_read, head_of
from ingestion.feeds import DIGEST, FilesFeed
from ingestion.spool import is_same, open_file, read_paths, settled, spool_path, spooled, unchanged_since
from warehouse import state
from warehouse.company import company
from warehouse.dates import day_bounds_utc, shift
from warehouse.errors import PlatformError, listed, shown
from warehouse.session import session

CHUNK = 256 << 10  # bytes that stay in the processor's cache while they are looked at
HEAD_BYTES = 4 << 20
MAX_SPANNING_BYTES = 256 << 20
LINE_END, OPEN, CLOSE, QUOTE = b'\n{}"'
FILES_AT_ONCE = 4
LIST = re.compile(rb":\s*\[")
PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
HALF = re.compile(rb"\\u[dD][89a-fA-F]")
CUT_OFF = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{0,2}(\\(u([dD][c-fC-F]?[0-9a-fA-F]?)?)?)?\Z"
)  # a pair, by the chunk's end
_CHANGED = (
    "{feed}: {name} has changed since it was loaded and passed its gate: put the loaded content back and send what is new "
    "under another name"
)
cloudpickle.register_pickle_by_value(records)
ORIGIN = ("source", "source_block", "source_row")  # of a line, as Spark reads it: file, block, number within the read


def measure(feed: FilesFeed, file: dict) -> dict:
    """The file with its content's digest, its number of lines (a last line without a line end counts), and is_plain:
    whether it is UTF-8 without a very long line, each line begins with a brace, no other brace is but at a line's end, and
    no member is a list or holds half of a surrogate pair.

    Nothing can stand before or after the object of a plain line, so Spark's reader may parse it straight from the file;
    to look at each line in the engine costs many times what this does. Of a CSV with line ends in quotes (`spans`) each
    record is one line of these. A Parquet file tells its rows and types itself.
    """
    if feed.format == "parquet":
        return {**file, "digest": _digest(feed, file["name"]), **parquet.head_of(feed, file["name"])}
    digest, decoder, n_lines, is_plain, last, head = hashlib.sha256(), _utf8_decoder(), 0, True, LINE_END, b""
    line = b""  # the last, not yet whole
    quotes = _quotes_are_even(feed.delimiter.encode(feed.encoding)[-1]) if feed.format == "csv" else None
    may_span, n_bytes = False, 0
    n_since_end = 0  # bytes since the beginning of the chunk that held the last line end
    try:
        with open_file(feed, file["name"]) as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
                seen = np.frombuffer(chunk, np.uint8)  # numpy lets other files be measured meanwhile
                is_end = seen == LINE_END
                n_ends = int(np.count_nonzero(is_end))
                n_lines += n_ends
                n_since_end += len(chunk)
                if is_plain:
                    is_plain = n_since_end <= MAX_LINE_BYTES and _is_plain(seen, is_end, last) and decoder(chunk)
                    # the characters that any odd text has, looked for first: most chunks have neither
                    if b"[" in chunk or b"\\" in chunk or b"\\" in line:
                        is_plain = is_plain and not _is_odd(line + chunk)
                    line = chunk[chunk.rfind(b"\n") + 1 :] if n_ends else line + chunk
                n_since_end = len(chunk) if n_ends else n_since_end
                n_bytes += len(chunk)
                may_span = may_span or quotes is not None and not quotes(seen, is_end)
                last = int(seen[-1])
                head = head if len(head) >= HEAD_BYTES else head + chunk
    except OSError as error:
        where = f"{spool_path(feed)}/{shown(file['name'])}"
        raise PlatformError(f"{feed.name}: {where} cannot be read: {error}; nothing of this load was taken") from None
    head = b"\n".join(head.split(b"\n", HEAD_LINES)[:HEAD_LINES])
    found = head_of(feed, file["name"], head) if head else {}
    is_plain = is_plain and decoder(b"", final=True)
    n_lines += last != LINE_END
    if may_span and (n_records := _count_records(feed, file["name"], n_bytes)) < n_lines:
        found, n_lines = found | {"spans": True}, n_records
    return {**file, "digest": digest.hexdigest(), "n_lines": n_lines, "is_plain": is_plain, **found}


def _digest(feed: FilesFeed, name: str) -> str:
    digest = hashlib.sha256()
    with open_file(feed, name) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _quotes_are_even(delimiter: int) -> Callable[[np.ndarray, np.ndarray], bool]:
    """A function that takes a CSV piece by piece and says whether each line of it closes the quotes that it opens.

    It errs on one side: a quote within an unquoted field makes it say no.
    """
    before, is_open = LINE_END, False
    begins = np.zeros(256, bool)
    begins[[delimiter, LINE_END, QUOTE, records.BOM[-1]]] = True  # what may stand before a quote that opens

    def even(seen: np.ndarray, is_end: np.ndarray) -> bool:
        nonlocal before, is_open
        at = np.flatnonzero(seen == QUOTE)
        opening = at[int(is_open) :: 2]
        bad = is_open and not len(at) and is_end.any()
        if len(at):
            previous = np.where(opening > 0, seen[opening - 1], before)
            ends = np.searchsorted(at, np.flatnonzero(is_end))
            bad = not begins[previous].all() or bool(((ends + is_open) % 2).any())
        is_open = (len(at) + is_open) % 2 == 1
        before = int(seen[-1])
        return not bad

    return even


def _count_records(feed: FilesFeed, name: str, n_bytes: int) -> int:
    """How many records a CSV file has whose quoted fields may hold line ends."""
    with open_file(feed, name) as stream:
        found = records.records(
            records.lines_of(iter(lambda: stream.read(CHUNK), b"")), _delimiter(feed), MAX_LINE_BYTES
        )
        number, text = next(found)
        if feed.header and b"\n" in text:
            raise PlatformError(f"{feed.name}: the header of {shown(name)} goes over several lines: write it in one")
        n = 1 + sum(1 for _ in found)
    if n_bytes > MAX_SPANNING_BYTES:
        raise PlatformError(
            f"{feed.name}: {shown(name)} holds quoted line ends and {n_bytes:,} bytes, and such a file is read in one piece: "
            f"cut it into files of at most {MAX_SPANNING_BYTES:,}"
        )
    return n


def _delimiter(feed: FilesFeed) -> bytes:
    return feed.delimiter.encode(feed.encoding)


def _is_plain(seen: np.ndarray, is_end: np.ndarray, last: int) -> bool:
    """Whether braces stand where a plain file has them; `last` is the byte before."""
    begins, closed = np.empty_like(is_end), np.empty_like(is_end)
    begins[0], begins[1:] = last == LINE_END, is_end[:-1]
    closed[0], closed[1:] = last == CLOSE, seen[:-1] == CLOSE
    return np.array_equal(seen == OPEN, begins) and not np.any(closed & ~is_end)


def _is_odd(text: bytes) -> bool:
    """Whether JSON lines hold a list as a member, or half of a surrogate pair, which Spark's reader makes a question mark."""
    if b"[" in text and LIST.search(text):
        return True
    return (b"\\ud" in text or b"\\uD" in text) and HALF.search(CUT_OFF.sub(b"", PAIR.sub(b"", text))) is not None


def _utf8_decoder() -> Callable[..., bool]:
    """A function that takes a text piece by piece and says whether it is UTF-8 so far."""
    decoder = codecs.getincrementaldecoder("utf-8")()

    def decode(piece: bytes, final: bool = False) -> bool:
        try:
            decoder.decode(piece, final)
        except UnicodeDecodeError:
            return False
        return True

    return decode


def fix_inputs(feed: FilesFeed, ds: str, start: str | None, last: dict | None = None) -> dict:
    """The files a load of `ds` takes: those of start … ds (by name) whose content no other load has taken; of a feed of
    mode full those of the newest day, whatever `last`, the inputs of the load before, took.

    A file unchanged in name, size and time of change is not read again to be recognised, and one that is still being
    written is left for the next load. A taken name with another content raises PlatformError: what was loaded cannot
    change.
    """
    if feed.mode == "full":
        return _whole_table(feed, ds, last)
    files, resent = [], []
    there = [file for file in spooled(feed) if file["day"] <= ds and (not start or start <= file["day"])]
    loads = state.loads_of_files(feed.name, [file["name"] for file in there], but=ds)
    others = [file for load in loads for file in load.inputs["files"]]
    by_name = {file["name"]: file for file in others}
    new = [file for file in there if not is_same(file, by_name.get(file["name"]))]
    new, growing = settled(feed, new)
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        measured = list(pool.map(functools.partial(measure, feed), new))
    seen = state.taken_digests(feed.name, [file["digest"] for file in measured], but=ds)
    seen |= {file["digest"]: file["name"] for file in others}
    for file in measured:
        taken = by_name.get(file["name"])
        if taken and taken["digest"] != file["digest"]:
            raise PlatformError(_CHANGED.format(feed=feed.name, name=shown(file["name"])))
        if file["digest"] in seen:
            resent += [file["name"]] * (not taken)
            continue
        seen[file["digest"]] = file["name"]
        files.append(file)
    files, moving = unchanged_since(feed, files)
    return {"files": files, "resent": resent, "growing": sorted(growing + moving)}


def _whole_table(feed: FilesFeed, ds: str, last: dict | None) -> dict:
    """The files of the newest day up to `ds`, all of them: what the table was then, and is until newer ones come."""
    there = [file for file in spooled(feed) if file["day"] <= ds]
    newest = max((file["day"] for file in there), default="")
    before = {file["name"]: file for file in (last or {}).get("files", ()) if file["day"] >= newest}
    found = {file["name"]: file for file in there if file["day"] == newest}
    if lost := [name for name in before if name not in found]:
        raise PlatformError(
            f"{feed.name}: {listed(lost)}, the table until newer files come, is not in {spool_path(feed)} any more: put it back"
        )
    files, growing = settled(feed, list(found.values()))
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        measured = list(pool.map(functools.partial(measure, feed), files))
    _, moving = unchanged_since(feed, measured)
    if growing or moving:
        raise PlatformError(
            f"{feed.name}: {listed(sorted(growing + moving))} is still being written, and the table is the files of a day "
            "together: run again"
        )
    once = {file["digest"]: file for file in reversed(measured)}
    for file in measured:
        if file["name"] in before and before[file["name"]]["digest"] != file["digest"]:
            raise PlatformError(_CHANGED.format(feed=feed.name, name=shown(file["name"])))
    taken = [file for file in measured if once[file["digest"]] is file]
    return {"files": taken, "resent": [file["name"] for file in measured if file not in taken], "growing": []}


def changed(feed: FilesFeed, files: list[dict]) -> list[str]:
    """The names of these files that are gone, or do not hold what was recorded any more."""
    there = {file["name"]: file for file in spooled(feed)}

    def holds(file: dict) -> bool:
        now = there.get(file["name"])
        return is_same(file, now) or now is not None and measure(feed, now)["digest"] == file["digest"]

    return [file["name"] for file in files if not holds(file)]


def gone(feed: FilesFeed, files: list[dict]) -> list[str]:
    """The names of these files that are in the spool neither under their name nor, with their content, under another."""
    there = {file["name"]: file for file in spooled(feed)}
    missing = [file for file in files if file["name"] not in there]
    sizes = {file["n_bytes"] for file in missing}
    contents = {measure(feed, file)["digest"] for file in there.values() if file["n_bytes"] in sizes}
    return [file["name"] for file in missing if file["digest"] not in contents]


def read(feed: FilesFeed, inputs: dict, aside: str):
    """The judged frame of a load's lines (see door.judge); `aside` is a directory for names of ours (see spool.read_paths).

    Good rows carry their time as an instant (`event_time`), so that nothing downstream parses offsets again. A file
    that arrived after the load of its own day counts as arrived on the first day of this load, else its events would
    reach no day that is rebuilt.
    """
    feed = as_read(feed, inputs["files"])
    first = None if feed.mode == "full" else inputs["first"]  # an older table that stands says since when
    # a type that nobody reads is not parsed by the reader, and so is not checked
    unread = any(column.action == "drop" and column.type != "string" for column in feed.columns.values())
    may_be_plain = feed.format == "json" and feed.encoding == "utf-8" and DIGEST not in feed.columns and not unread
    alike: dict[tuple, list[dict]] = {}  # files with the same columns in the same order are read together
    for file in inputs["files"]:
        fields = tuple(file["types"].items()) if "types" in file else fields_read(feed, file)
        how = (
            "parquet"
            if "types" in file
            else "whole"
            if file.get("spans")
            else "plain"
            if may_be_plain and file.get("is_plain")
            else "lines"
        )
        alike.setdefault((fields, how), []).append(file)
    paths = read_paths(feed, inputs["files"], aside)
    frames = [
        judge(
            _arriving(_lines_in(feed, files, paths, how), files, paths, first),
            feed,
            *ORIGIN,
            fields=None if how == "parquet" else fields,
        )
        for (fields, how), files in sorted(alike.items(), key=str)
    ]
    if not frames:
        empty = session().createDataFrame([], "value string, source string, source_block bigint, source_row bigint")
        frames = [judge(_arriving(empty, [], {}, first), feed, *ORIGIN)]
    return functools.reduce(lambda one, other: one.union(other), frames)


def _lines_in(feed: FilesFeed, files: list[dict], read_as: dict[str, str], how: str):
    """The lines of some files with their place: the last part of the path under which Spark reads the file, …"""
    reader = session().read.option("lineSep", "\n")
    paths = [read_as[file["name"]] for file in files]
    place = ("_metadata.file_name as source", "_metadata.file_block_start as source_block")
    row = "monotonically_increasing_id() as source_row"
    if how == "parquet":
        schema, whole = parquet.shape(feed, files[0]["types"])
        numbered = (f"cast({records.BLOCK} as bigint) as source_block", "_metadata.row_index + 1 as source_row")
        return session().read.schema(schema).parquet(*paths).selectExpr(f"{whole} as parsed", place[0], *numbered)
    if how == "plain":
        schema, options = shape(feed)
        return reader.schema(schema).options(**options).json(paths).selectExpr("struct(*) as parsed", *place, row)
    if how == "whole":
        contents = session().read.text(paths, wholetext=True).selectExpr("cast(value as binary) as value", place[0])
        found = contents.mapInArrow(records.arrow_records(_delimiter(feed), MAX_LINE_BYTES), records.SCHEMA)
        found = found.withColumn("value", expr("cast(value as string)"))
    else:
        found = reader.text(paths).selectExpr("value", *place, row)
    if feed.encoding not in ("utf-8", "latin-1"):
        found = found.withColumn(
            "value", arrow_udf("binary")(records.arrow_recoded(feed.encoding))(expr("cast(value as binary)"))
        )
        found = found.withColumn("value", expr("cast(value as string)"))
    value = "decode(cast(value as binary), 'ISO-8859-1')" if feed.encoding == "latin-1" else "value"
    value = f"if(startswith({value}, '\ufeff'), substring({value}, 2), {value}) as value"
    return found.selectExpr(value, *ORIGIN)


def _arriving(lines, files: list[dict], read_as: dict[str, str], first: str | None):
    """Lines with their file's own name, header, arrival and bounds."""
    arrivals = _arrivals(files, first)
    same = {tuple(arrival.values()) for arrival in arrivals.values()}
    shown_as = {name: read_as[name].rsplit("/", 1)[1] for name in arrivals}
    if len(same) == 1 and all(name == other for name, other in shown_as.items()):  # as in most loads: no need to look
        lines = lines.withColumns({name: lit(value) for name, value in next(iter(arrivals.values())).items()})
    else:
        rows = [(shown_as[name], name, *arrival.values()) for name, arrival in arrivals.items()]
        known = "read_as string, source string, header string, received_date string, low string, high string"
        lines = lines.withColumnRenamed("source", "read_as")
        lines = lines.join(broadcast(session().createDataFrame(rows, known)), "read_as").drop("read_as")
    return lines.withColumns({bound: expr(f"cast({bound} as timestamp)") for bound in ("low", "high")})


def lines_at(feed: FilesFeed, places: list[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """(file, number) → text of these lines, as they stand in the files; bytes that are no UTF-8 are read as Latin-1."""
    wanted: dict[str, list[int]] = {}
    for name, number in places:
        wanted.setdefault(name, []).append(number)
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        lines = pool.map(lambda name: _records_of(feed, name, sorted(set(wanted[name]))), wanted)
    return {
        (name, number): line_text(line, feed.encoding)
        for name, found in zip(wanted, lines, strict=True)
        for number, line in zip(sorted(set(wanted[name])), found, strict=True)
    }


def _records_of(feed: FilesFeed, name: str, numbers: list[int]) -> list[bytes]:
    """The records of one file that begin in the lines with these numbers (ascending, from 1), of Parquet its rows."""
    if feed.format == "parquet":
        return [row.encode() for row in parquet.rows_at(feed, name, numbers)]
    lines = list(_lines_of(feed, name, numbers))
    if feed.format != "csv" or not any(records.is_open(line, _delimiter(feed)) for line in lines):
        return lines
    with open_file(feed, name) as stream:
        found = records.records(
            records.lines_of(iter(lambda: stream.read(CHUNK), b"")), _delimiter(feed), MAX_LINE_BYTES
        )
        wanted = set(numbers)
        return [text for number, text in found if number in wanted]


def _lines_of(feed: FilesFeed, name: str, numbers: list[int]) -> Iterator[bytes]:
    """The lines of one file with these numbers (ascending, from 1), without their line ends."""
    wanted, n_before, rest = iter(numbers), 0, b""
    number = next(wanted)
    with open_file(feed, name) as stream:
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


def n_lines(inputs: dict) -> dict[str, int]:
    """File → how many lines of it, a header among them, a load has to bring, in raw or in quarantine."""
    return {file["name"]: file["n_lines"] for file in inputs["files"]}


def n_headers(inputs: dict) -> int:
    """How many of these lines are a file's header, which is no row."""
    return sum(file.get("header") is not None for file in inputs["files"])


def _arrivals(files: list[dict], first: str | None) -> dict[str, dict]:
    """File → header, received_date (the day it arrived), and the UTC bounds low <= t < high of the events it may bring."""
    found = {}
    for file in files:
        day = max(file["day"], first or "")
        low, _ = day_bounds_utc(shift(day, -company().late_days), company().timezone)
        _, high = day_bounds_utc(day, company().timezone)
        bounds = {"low": f"{low:%Y-%m-%d %H:%M:%S}", "high": f"{high:%Y-%m-%d %H:%M:%S}"}
        found[file["name"]] = {"header": file.get("header"), "received_date": day, **bounds}
    return found
