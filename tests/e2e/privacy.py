"""Looks for the sample's clear values everywhere in a home but in `sample/`: phones, e-mails, id numbers, places.

What a file holds is told by how it begins, not by its name. Parquet and SQLite are read by their values, nested and
binary ones too, gzip and zip are opened, however deep, and what the engine compresses on its way (shuffles, spills); and
whatever it is, its bytes and its name are searched as well. `Watch` looks while others work.
"""

import contextlib
import gzip
import io
import json
import os
import re
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG

import pyarrow as pa

NUMBER = re.compile(rb"\d{7,}[Xx]?")
PLACE = re.compile(
    rb"\d+\.\d{7}(?!\d)"
)  # as the sample writes them: seconds are logged with six decimals, or with nine
MAIL = re.compile(rb"([\w.+-]{1,64})@([\w.-]+)")
DEEP = 4  # archives in archives
LZ4, LZ4_HEAD, LZ4_MOST = b"LZ4Block", 21, 1 << 25  # a block's magic; its head; the most that a block holds
# Prints the distinctive texts of all personal and secret columns of the CRM database that feeds declare, as JSON.
READ = """
import json
from ingestion.feeds import load_feeds
from warehouse.connections import database
from warehouse.session import session
found = set()
for feed in load_feeds().values():
    names = [n for n, c in feed.columns.items() if c.sensitivity in ("personal", "secret")]
    if feed.kind == "jdbc" and feed.table and names:
        reader = session().read.format("jdbc").options(**database(feed.connection).jdbc_options())
        rows = reader.option("dbtable", feed.table).load().select(*names).toArrow().to_pylist()
        found |= {str(value) for row in rows for value in row.values() if value is not None}
print(json.dumps(sorted(found)))
"""


def clear_values(home: Path) -> set[str]:
    """The clear values of the CRM database, read through the home's engine: those that nothing else looks like."""
    from tests.conftest import PROJECT

    env = os.environ | {"MDP_HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", READ], cwd=PROJECT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    values = {text for text in json.loads(done.stdout.splitlines()[-1]) if is_distinctive(text)}
    for kind in (NUMBER, PLACE, MAIL):
        assert any(kind.fullmatch(value.encode()) for value in values), f"no clear value looks like {kind.pattern}"
    return values


def is_distinctive(text: str) -> bool:
    """Whether a text found elsewhere can only have come from there: seven digits, seven decimals, an address, or long."""
    if re.fullmatch(r"[\d.]+", text):
        return bool(NUMBER.fullmatch(text.encode()) or PLACE.fullmatch(text.encode()))
    return "@" in text or len(text) >= 12


def find_clear_values(home: Path, values: set[str]) -> list[str]:
    """`file: value` for each of `values` found in a file of `home` outside `sample/`."""
    found, n_files = scan(home, values)
    assert n_files > 50, "the scan saw almost no files"
    return found


class Watch:
    """Looks at the home every so many seconds while the block under `with` runs: `found` as `scan` has it, `seen` all files.

    A file is read each time that its size or time has changed; one that vanishes meanwhile has been seen or not.
    """

    def __init__(self, home: Path, values: set[str], every: float = 0.1):
        self.home, self.every, self.seen, self.found, self.n_rounds = home, every, {}, [], 0
        self._search, self._ended, self._fault = searcher(values), threading.Event(), None
        self._thread = threading.Thread(target=self._look_until_ended, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        self._thread.join()
        if self._fault:
            raise self._fault

    def _look_until_ended(self) -> None:
        try:
            while not self._ended.wait(self.every):
                self.look()
            self.look()
        except Exception as fault:  # an assertion on what was found would else pass on a watch that had died
            self._fault = fault

    def look(self) -> None:
        for folder, folders, names in os.walk(self.home):
            if Path(folder) == self.home and "sample" in folders:
                folders.remove("sample")
            for path in (Path(folder) / name for name in names):
                with contextlib.suppress(FileNotFoundError):
                    self._look_at(path)
        self.n_rounds += 1

    def _look_at(self, path: Path) -> None:
        stat, name = path.stat(), str(path.relative_to(self.home))
        if not S_ISREG(stat.st_mode) or self.seen.get(name) == (stat.st_size, stat.st_mtime_ns):
            return
        self.seen[name] = (stat.st_size, stat.st_mtime_ns)
        data, hits = path.read_bytes(), self._search(name.encode())
        with contextlib.suppress(pa.ArrowException, OSError, sqlite3.DatabaseError, zipfile.BadZipFile):  # half written
            for content in contents(data, path):
                hits |= self._search(content)
        self.found += [f"{name}: {hit}" for hit in sorted(hits)]


def glance(home: Path, values: set[str]) -> tuple[list[str], int]:
    """What `scan` gives, of a home at work: a file that vanishes or is half written is no fault."""
    watch = Watch(home, values)
    watch.look()
    return watch.found, len(watch.seen)


def scan(home: Path, values: set[str]) -> tuple[list[str], int]:
    """(`file: value` for each of `values` found outside `sample/`, number of files seen)."""
    search, found, n_files = searcher(values), [], 0
    for path in sorted(home.rglob("*")):
        if not path.is_file() or path.relative_to(home).parts[0] == "sample":
            continue
        n_files += 1
        name = str(path.relative_to(home))
        hits = search(name.encode())
        for content in contents(path.read_bytes(), path):
            hits |= search(content)
        found += [f"{name}: {hit}" for hit in sorted(hits)]
    return found, n_files


def searcher(values: set[str]):
    """A function from bytes to those of `values` that they hold, whatever stands beside them."""
    plain = {value.encode(): value for value in values}
    numbers = {v.upper() for v in plain if NUMBER.fullmatch(v)}
    lengths = {len(v) for v in numbers}
    places = {v for v in plain if PLACE.fullmatch(v)}
    hosts = {v.partition(b"@")[2] for v in plain if b"@" in v}
    others = [v for v in plain if v.upper() not in numbers and v not in places and b"@" not in v]

    def search(content: bytes) -> set[str]:
        hits = {v for v in others if v in content} | (places & set(PLACE.findall(content)))
        for run in NUMBER.findall(content):
            run = run.upper()
            hits |= {run[i : i + n] for n in lengths for i in range(len(run) - n + 1)} & numbers
        for local, domain in MAIL.findall(content):
            near = [host for host in hosts if domain.lower().startswith(host)]
            hits |= {local[i:].lower() + b"@" + host for host in near for i in range(len(local))} & plain.keys()
        return {plain.get(hit, hit.decode()) for hit in hits}

    return search


def contents(data: bytes, path: Path | None = None, depth: int = 0) -> Iterator[bytes]:
    """The bytes, and what they hold once they are read as what they are; `path` if they are a file of their own."""
    yield data
    if depth > DEEP:
        return
    inner = ()
    if data[:4] == b"PAR1" == data[-4:]:
        inner = parquet_values(data)
    elif data.startswith(b"SQLite format 3\0"):
        inner = sqlite_values(data, path)
    elif data.startswith(b"\x1f\x8b"):
        inner = [gunzip(data)]
    elif data.startswith(b"PK\x03\x04"):
        inner = zip_members(data)
    elif LZ4 in data:
        inner = [unlz4(data)]
    for part in inner:
        yield from contents(part, None, depth + 1)


def gunzip(data: bytes) -> bytes:
    """What is compressed; of a file that is cut off, what can be read of it."""
    with contextlib.suppress(OSError, EOFError, zlib.error):
        return gzip.decompress(data)
    return zlib.decompressobj(31).decompress(data)


def unlz4(data: bytes) -> bytes:
    """What stands in the blocks of lz4-java, as Spark writes them one after the other; a block that is none is left out."""
    found, at = [], 0
    while 0 <= (at := data.find(LZ4, at)) <= len(data) - LZ4_HEAD:
        method, (packed, size) = data[at + len(LZ4)] & 0xF0, struct.unpack_from("<II", data, at + len(LZ4) + 1)
        content = data[at + LZ4_HEAD : at + LZ4_HEAD + packed]
        with contextlib.suppress(pa.ArrowException, OSError):
            if size <= LZ4_MOST:
                found.append(content if method == 0x10 else pa.decompress(content, size, codec="lz4_raw", asbytes=True))
        at += len(LZ4)
    return b"".join(found)


def zip_members(data: bytes) -> Iterator[bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            yield info.filename.encode()
            yield archive.read(info)


def parquet_values(data: bytes) -> Iterator[bytes]:
    """Each column's values as lines of text, each binary value by itself."""
    import pyarrow.parquet as pq

    for column in pq.read_table(pa.BufferReader(data), partitioning=None).columns:
        flat = not pa.types.is_nested(column.type)
        yield from values_of((column.unique() if flat else column).to_pylist())


def sqlite_values(data: bytes, path: Path | None) -> Iterator[bytes]:
    """Each table's values; what is not in the file but in its write-ahead log counts, too."""
    with tempfile.TemporaryDirectory() as folder:
        if path is None:
            path = Path(folder) / "inner.db"
            path.write_bytes(data)
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            database.text_factory = bytes
            for (name,) in database.execute("select name from sqlite_master where type = 'table'").fetchall():
                with contextlib.suppress(sqlite3.OperationalError):  # a virtual table of a module that is not here
                    yield from values_of(database.execute(f'select * from "{name.decode()}"').fetchall())


def values_of(value) -> Iterator[bytes]:
    """The leaves of lists, tuples and dicts: texts and numbers joined by lines, bytes each by itself."""
    texts, waiting = [], [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, bytes):
            yield value
        elif value is not None:
            texts.append(str(value))
    yield "\n".join(texts).encode()
