"""The records of a CSV file whose quoted fields may hold line ends: each with the number of the line it begins in.

A quote that is opened and never closed must not swallow the rest of a file: then its line is a record of its own, which
the door holds back, and the next line begins anew. The engine's workers get this module by value.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator

import pyarrow as pa

NO_TEXT = b"\xff"  # in place of bytes that are none in their encoding: no UTF-8 either, so the door sees it
SCHEMA = "value binary, source string, source_block bigint, source_row bigint"
BLOCK = -1  # stands for the block of a row whose number is its line already
AT_ONCE = 10_000
QUOTE, BOM = b'"', b"\xef\xbb\xbf"
OPEN, BROKEN, WHOLE = "open", "broken", "whole"


def records(lines: Iterable[bytes], delimiter: bytes, at_most: int) -> Iterator[tuple[int, bytes]]:
    """(line, text) of each record; `lines` have no line ends. A record of more than `at_most` bytes is its first line."""
    source, waiting, number = iter(lines), deque(), 1
    while True:
        first = waiting.popleft() if waiting else next(source, None)
        if first is None:
            return
        taken, text = [first], first
        if QUOTE in first:
            state = _state(first.removeprefix(BOM) if number == 1 else first, delimiter)
            while state == OPEN and len(text) <= at_most:
                more = waiting.popleft() if waiting else next(source, None)
                if more is None:
                    break
                taken.append(more)
                text += b"\n" + more
                if QUOTE in more:
                    state = _state(text.removeprefix(BOM) if number == 1 else text, delimiter)
            if len(taken) > 1 and (state != WHOLE or len(text) > at_most):
                waiting.extendleft(reversed(taken[1:]))
                taken, text = taken[:1], first
        yield number, text
        number += len(taken)


def is_open(line: bytes, delimiter: bytes) -> bool:
    """Whether a line ends within a quoted field."""
    return QUOTE in line and _state(line.removeprefix(BOM), delimiter) == OPEN


def _state(text: bytes, delimiter: bytes) -> str:
    """Whether a text ends within a quoted field, has one with something behind its closing quote, or neither."""
    at = 0
    while True:
        if text.startswith(QUOTE, at):
            at = _closing(text, at + 1)
            if at < 0:
                return OPEN
            if text[at + 1 :].strip(b"\r") == b"":
                return WHOLE
            if not text.startswith(delimiter, at + 1):
                return BROKEN
            at += 1 + len(delimiter)
        else:
            at = text.find(delimiter, at)
            if at < 0:
                return WHOLE
            at += len(delimiter)


def _closing(text: bytes, at: int) -> int:
    """Where the quote stands that closes a field which begins at `at`; -1 if there is none."""
    while (at := text.find(QUOTE, at)) >= 0 and text.startswith(QUOTE, at + 1):
        at += 2
    return at


def lines_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a stream without their line ends; what follows the last line end is a line if it is not empty."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest


def arrow_recoded(encoding: str):
    """A function that gives the lines in an Arrow array as UTF-8."""

    def utf8(line: bytes) -> bytes:
        try:
            return line.decode(encoding).encode()
        except UnicodeError:
            return NO_TEXT

    def work(lines: pa.Array) -> pa.Array:
        return pa.array([None if line is None else utf8(line) for line in lines.to_pylist()], pa.binary())

    return work


def arrow_records(delimiter: bytes, at_most: int):
    """A function over Arrow batches of (content, source), a file each, that gives SCHEMA: a row per record."""

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for content, source in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                found = records(lines_of([content]), delimiter, at_most)
                while some := list(itertools.islice(found, AT_ONCE)):
                    rows = {"value": [text for _, text in some], "source": [source] * len(some)}
                    rows |= {"source_block": [BLOCK] * len(some), "source_row": [number for number, _ in some]}
                    yield pa.RecordBatch.from_pydict(rows)

    return work
