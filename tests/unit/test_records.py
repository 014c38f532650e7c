"""A CSV's records: quoted fields may hold line ends, a quote that is never closed takes no other line along."""

import pytest

from ingestion import collect, records
from ingestion.feeds import FilesFeed


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a;b\nc;d\n", [(1, "a;b"), (2, "c;d")]),
        ('a;"b\nc"\nd;e', [(1, 'a;"b\nc"'), (3, "d;e")]),
        ('a;"b\nx;y\n\nc";"d\ne"\nf\n', [(1, 'a;"b\nx;y\n\nc";"d\ne"'), (6, "f")]),
        ('a;"b ""q""\nc"\r\nd', [(1, 'a;"b ""q""\nc"\r'), (3, "d")]),
        ('a;"b\nc;d\ne;f\n', [(1, 'a;"b'), (2, "c;d"), (3, "e;f")]),
        ('a;"b\nc;"d";e\nf\n', [(1, 'a;"b'), (2, 'c;"d";e'), (3, "f")]),
        ('5" pipe;b\n6" pipe;c\n', [(1, '5" pipe;b'), (2, '6" pipe;c')]),
        ('5" pipe;"b\nc"\n', [(1, '5" pipe;"b\nc"')]),
        ('"b"c;d\ne', [(1, '"b"c;d'), (2, "e")]),
        ('\ufeff"a\nb";c\nd', [(1, '\ufeff"a\nb";c'), (3, "d")]),
        ('"\n"', [(1, '"\n"')]),
        ('"' + "x" * 50 + "\n" + "y" * 50 + '"\nz', [(1, '"' + "x" * 50), (2, "y" * 50 + '"'), (3, "z")]),
        ("", []),
    ],
)
def test_records_and_the_lines_that_they_begin_in(text, found):
    lines = records.lines_of([text.encode()])
    assert [(n, line.decode()) for n, line in records.records(lines, b";", 100)] == found
    assert [line for piece in (1, 2, 3, 7) for line in records.lines_of(_cut(text.encode(), piece))] == [
        *records.lines_of([text.encode()])
    ] * 4


def _cut(text: bytes, size: int) -> list[bytes]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@pytest.mark.parametrize(
    ("member", "is_plain"),
    [('"a": "x[y"', True), ('"a": [1]', False), ('"a" :\t [1]', False), (r'"a": "\ud83d\ude00"', True), (r'"a": "\ud83d"', False),
     (r'"a": "\\ud83d"', False), (r'"a": "\ude00\ud83d"', False), (r'"a": "\u00e9"', True)],
)  # fmt: skip
def test_odd_json_is_odd_wherever_a_file_is_cut_into_pieces(tmp_path, monkeypatch, member, is_plain):
    """Most pieces hold neither bracket nor backslash and are not looked at closely; what goes over their edge is."""
    monkeypatch.setenv("MDP_SPOOL_URI", str(tmp_path))
    text = {"type": "string", "class": "internal"}
    feed = FilesFeed.model_validate(
        dict(name="try__x", kind="files", directory="x", pattern="{date}", subject=None, key=["id"], timestamp_column="at",
             columns={"id": text, "at": text})
    )  # fmt: skip
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "2024-03-05").write_text(f'{{"id": "1"}}\n{{{member}, "b": "c"}}\n{{"id": "2"}}\n')
    for size in [*range(1, 40), 1 << 18]:
        monkeypatch.setattr(collect, "CHUNK", size)
        found = collect.measure(feed, {"name": "2024-03-05", "day": "2024-03-05"})
        assert (found["is_plain"], found["n_lines"]) == (is_plain, 3), size
