"""The spool as its file system has it: which files are there, how one is opened, under which name Spark may read it.

Spark takes a path for a pattern and for a part of a URI, skips in silence what begins with a dot or an underscore, and
chooses by the ending how to decompress. So it is handed a file's own name only if nothing in it could be read otherwise
than we read it; any other file gets a name of ours for the time of the load: a link, or a copy where there are no links.
"""

import functools
import os
import re
import time
from collections.abc import Iterator

import pyarrow as pa
from pyarrow import fs

from ingestion.feeds import FilesFeed
from warehouse.company import company
from warehouse.dates import day_bounds_utc, shift
from warehouse.errors import PlatformError, shown
from warehouse.settings import settings

# What both pyarrow and Spark open; all else is read as it is.
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
SETTLE_SECONDS = 2  # a file that did not change for so long is taken for written
# Letters and digits of ASCII, and an ending that says nothing to Spark, or the same as to us.
TAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}(?<=[_.-])([0-9]+|jsonl?|csv|tsv|txt|log|parquet|gz|bz2|zst)")
PATTERN = re.compile(r"([{}\[\]*?\\])")  # what makes a path a pattern to Hadoop, and a backslash before it does not


def spool_path(feed: FilesFeed) -> str:
    """Where the feed's directory lies: a path, or a URI of any file system pyarrow knows."""
    return "/".join((settings().spool_uri.rstrip("/"), feed.directory))


def spooled(feed: FilesFeed) -> list[dict]:
    """The feed's files in the spool, by name: name, day, n_bytes and modified (ns); a missing directory has none.

    Raises PlatformError for a name that holds no day, or no text: to leave such a file out would lose its rows.
    """
    found = []
    for name, n_bytes, modified in _listed(*_place(feed)):
        if match := re.fullmatch(feed.file_regex, name, re.DOTALL):
            _must_be_usable(feed, name, match[1])
            found.append({"name": name, "day": match[1], "n_bytes": n_bytes, "modified": modified})
    return sorted(found, key=lambda file: file["name"])


def _place(feed: FilesFeed) -> tuple[fs.FileSystem, str]:
    return fs.FileSystem.from_uri(spool_path(feed))


def _listed(system: fs.FileSystem, directory: str) -> Iterator[tuple[str, int, int]]:
    """(name, bytes, time of change) of each file in a directory; a name that is no UTF-8 has surrogates."""
    if not isinstance(system, fs.LocalFileSystem):
        for info in system.get_file_info(fs.FileSelector(directory, allow_not_found=True)):
            if info.type == fs.FileType.File:
                yield info.base_name, info.size, info.mtime_ns or 0
        return
    try:  # pyarrow cannot list names that are no UTF-8
        entries = list(os.scandir(directory))
    except FileNotFoundError:
        return
    for entry in entries:
        try:
            if entry.is_file():
                stat = entry.stat()
                yield entry.name, stat.st_size, stat.st_mtime_ns
        except FileNotFoundError:  # taken away since it was listed
            continue


def _must_be_usable(feed: FilesFeed, name: str, day: str) -> None:
    where = f"{feed.name}: the file {shown(name)} in {spool_path(feed)}"
    try:
        name.encode()
    except UnicodeEncodeError:
        raise PlatformError(
            f"{where} has a name that is no UTF-8, which no table can hold: rename it, then run again"
        ) from None
    if not _is_day(day, company().late_days, company().timezone):
        raise PlatformError(
            f"{where} has the day {day} in its name, which is none: rename it to the day on which it arrived, then run again"
        )


@functools.lru_cache(10_000)
def _is_day(day: str, late_days: int, tz: str) -> bool:
    try:
        return bool(day_bounds_utc(shift(day, -late_days), tz) and day_bounds_utc(day, tz))
    except (PlatformError, OverflowError):
        return False


def settled(feed: FilesFeed, files: list[dict]) -> tuple[list[dict], list[str]]:
    """(the files that nobody writes to, the names of those that are still being written).

    Files that were changed in the last seconds are looked at twice, those seconds apart.
    """
    age = time.time() - max((file["modified"] for file in files), default=0) / 1e9
    if not 0 <= age < SETTLE_SECONDS:
        return files, []
    time.sleep(SETTLE_SECONDS - age)
    return unchanged_since(feed, files)


def unchanged_since(feed: FilesFeed, files: list[dict]) -> tuple[list[dict], list[str]]:
    """The files whose size and time of change are still what they were, and the names of the others."""
    now = {file["name"]: file for file in spooled(feed)}
    same = [file for file in files if is_same(file, now.get(file["name"]))]
    return same, sorted({file["name"] for file in files} - {file["name"] for file in same})


def is_same(file: dict, other: dict | None) -> bool:
    """Whether two looks at a name saw the same size and time of change."""
    return other is not None and all(file[key] == other[key] for key in ("n_bytes", "modified"))


def open_file(feed: FilesFeed, name: str) -> pa.NativeFile:
    """The content of a file as a stream, decompressed if its name ends so; OSError if it cannot be read."""
    system, directory = _place(feed)
    compression = None if feed.format == "parquet" else COMPRESSED.get(_ending(name))
    return system.open_input_stream(f"{directory}/{name}", compression=compression)


def open_whole(feed: FilesFeed, name: str) -> pa.NativeFile:
    """A file as it is, to be read anywhere in it; OSError if it cannot be read."""
    system, directory = _place(feed)
    return system.open_input_file(f"{directory}/{name}")


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def read_paths(feed: FilesFeed, files: list[dict], aside: str) -> dict[str, str]:
    """File → the path under which Spark reads this file and no other, with its decompression and ours the same.

    Names of ours are made in the directory `aside`, which is emptied first; they begin with @, as no tame name does.
    """
    root, paths, odd = spool_path(feed), {}, []
    for name in (file["name"] for file in files):
        if TAME.fullmatch(name) and not PATTERN.search(root):
            paths[name] = f"{root}/{name}"
        else:
            odd.append(name)
    if not odd:
        return paths
    system, directory = _place(feed)
    there, place = fs.FileSystem.from_uri(aside)
    there.create_dir(place)
    there.delete_dir_contents(place)
    for number, name in enumerate(odd):
        alias = f"@{number}{_ending(name) if _ending(name) in COMPRESSED else ''}"
        if isinstance(system, fs.LocalFileSystem) and isinstance(there, fs.LocalFileSystem):
            os.symlink(f"{directory}/{name}", f"{place}/{alias}")
        else:
            fs.copy_files(f"{directory}/{name}", f"{place}/{alias}", system, there)
        paths[name] = PATTERN.sub(r"\\\1", f"{aside}/{alias}")
    return paths
