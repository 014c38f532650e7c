"""A CSV's records: quoted fields may hold line ends, a quote that is never closed takes no other line along."""

import pytest

from ingestion import records


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
