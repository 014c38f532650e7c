"""A generator of malformed log lines: (line, reason). Each kind of damage in several places and shapes; made, not stored."""

import json
from collections.abc import Iterator

DAY = "2024-03-05"
GOOD = {"id": "e0", "at": f"{DAY}T10:00:00+08:00", "kind": "view", "n": 1, "price": 1.25, "ok": True}
TYPES = {"id": "string", "at": "string", "kind": "string", "n": "bigint", "price": "decimal(10,2)", "ok": "boolean"}
RULES = {"id": {"required": True}, "at": {"required": True}, "kind": {"allowed": ["view", "buy"]}}


def json_lines() -> Iterator[tuple[bytes, str]]:
    """Malformed JSON lines of the feed `TYPES`, `RULES`, each with the reason it is to be held back for."""
    for text, reason in _json_texts():
        yield text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text, reason


def _json_texts() -> Iterator[tuple[str | bytes, str]]:
    broken, whole = "malformed_json", json.dumps(GOOD)
    for cut in range(1, len(whole), 2):  # cut off anywhere
        yield whole[:cut], broken
    for place in range(0, len(whole), 9):  # a byte that is no UTF-8, anywhere
        data = whole.encode()
        yield data[:place] + b"\xff" + data[place:], "bad_encoding"
    for bad in (b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x80", b"\xe4\xb8"):
        yield whole.encode().replace(b"view", bad), "bad_encoding"
    yield from ((text, broken) for text in (
        "", " ", "\t", "null", "true", "1", "1.5", '"text"', "[]", "[1]", f"[{whole}]", "{}}", "{{}", "{]", "}{", "NaN",
        "undefined", "--", "#comment", "<xml/>", "a,b,c", "key=value", "\x00", "\x00" * 50, "\ufeff", "\ufffd",
    ))  # fmt: skip
    yield from ((f"{before}{whole}{after}", broken) for before, after in (
        ("", "x"), ("x", ""), ("", whole), ("", f" {whole}"), ("", f",{whole}"), ("", "]"), ("[", ""), ("", "}"), ("{", ""),
        ("INFO ", ""), ("", " // end"), ('"', '"'), ("", ";"), ("callback(", ")"), ("data: ", ""),
    ))  # fmt: skip
    for old, new in (
        ('"id"', "id"), ('"e0"', "e0"), ('"e0"', "'e0'"), (": 1,", ": 01,"), (": 1,", ": +1,"), (": 1,", ": 1.,"),
        (": 1,", ": ,"),
        (": 1,", ": NaN,"), (": 1,", ": Infinity,"), (": 1,", ": 0x1,"), ("true", "True"), ("true", "TRUE"), ("true", "tru"),
        (", ", " "), (", ", ",, "), (": ", " "), (": ", " = "), ("}", ",}"), ("{", "{,"), ('"e0"', '"e\x010"'),
        ('"e0"', '"\\x41"'), ('"e0"', '"\\u12"'), ('"e0"', '"e0'), ('"view"', '"vi"ew"'),
    ):  # fmt: skip
        yield whole.replace(old, new, 1), broken
    for column, values in {
        "n": ["x", "", "1", 1.5, 9223372036854775808, -9223372036854775809, True, [1], {"a": 1}, 1e30],
        "price": ["x", "", True, 1.255, 123456789.01, 1e12, [1], {"a": 1}, -123456789.01, 0.001],
        "ok": ["x", "", "true", 1, 0, [True], {"a": 1}, 1.5],
    }.items():
        for value in values:
            yield json.dumps(GOOD | {column: value}), broken
    for column in ("id", "at"):
        yield json.dumps({k: v for k, v in GOOD.items() if k != column}), f"missing_field:{column}"
        for value in (None, "", " ", "   "):
            yield json.dumps(GOOD | {column: value}), f"missing_field:{column}"
    yield "{}", "missing_field:id"
    for value in (
        "x", "yesterday", "2024", "2024-03", DAY, f"{DAY} 10:00:00", f"{DAY}T10:00:00", f"{DAY}T25:00:00Z", f"{DAY}T10:60:00Z",
        f"{DAY}T10:00:60Z", "2024-02-30T10:00:00Z", "2024-13-01T10:00:00Z", "05/03/2024 10:00:00", "10:00:00Z", "1709604000",
        f"{DAY}T10:00:00+8", f"{DAY}T10:00:00+25:00", f"{DAY}T10:00:00 Asia/Shanghai", f"{DAY}T10:00:00ZZ",
        "0000-00-00T00:00:00Z",
        f"{DAY}T10:00:00+08:00:00:00", "2024-03-05T10-00-00Z", "٢٠٢٤-٠٣-٠٥T10:00:00Z",
    ):  # fmt: skip
        yield json.dumps(GOOD | {"at": value}), "bad_timestamp:at"
    for value in ("VIEW", "View", " view", "view ", "viewbuy", "0", "видео", "view\u200b", "click"):
        yield json.dumps(GOOD | {"kind": value}), "unknown_value:kind"
    for at in ("2024-03-06T00:00:00+08:00", "2024-03-05T16:00:00Z", "2025-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        yield json.dumps(GOOD | {"at": at}), "future"
    for at in (
        "2024-02-29T00:00:00+08:00",
        "1970-01-01T00:00:00Z",
        "1999-12-31T23:59:59-05:00",
        "0001-01-01T00:00:00Z",
    ):
        yield json.dumps(GOOD | {"at": at}), "too_late"
    for size in (1 << 20, 2 << 20, 10 << 20):
        yield json.dumps(GOOD | {"id": "x" * size}), "too_long"


def csv_lines() -> Iterator[tuple[bytes, str]]:
    """Malformed lines of the same feed as CSV, whose header is `TYPES`."""
    broken = "malformed_csv"
    good = {name: str(value) for name, value in GOOD.items()}
    yield ",".join(TYPES).encode(), "repeated_header"
    for column, values in {
        "n": ["x", "1.5", "1,5", "1 000", "9223372036854775808", "0x1", "--1", "1e3x", "١"],
        "price": ["x", "1.255", "1.234,56", "123456789.01", "1..2", "$1", "NaN", "Infinity"],
        "ok": ["x", "maybe", "2", "tru"],
    }.items():
        for value in values:
            yield _csv(good | {column: f'"{value}"'}), broken
    for column in ("id", "at"):
        for value in ("", '""', '" "'):
            yield _csv(good | {column: value}), f"missing_field:{column}"
    yield _csv(good | {"at": "05.03.2024"}), "bad_timestamp:at"
    yield _csv(good | {"kind": "click"}), "unknown_value:kind"
    yield _csv(good | {"at": "2024-03-09T10:00:00Z"}), "future"
    yield _csv(good | {"at": "2023-03-09T10:00:00Z"}), "too_late"
    yield _csv(good)[:-8] + b"\xe9", "bad_encoding"
    yield b",".join(_csv(good).split(b",")[:3]), broken
    yield _csv(good) + b",one,more", broken


def _csv(row: dict[str, str]) -> bytes:
    return ",".join(row.values()).encode()


def combined_lines() -> Iterator[tuple[bytes, str]]:
    """Malformed lines of an access log in the combined format."""
    good = '1.2.3.4 - frank [05/Mar/2024:10:00:00 +0800] "GET /a HTTP/1.1" 200 2326 "http://a/b" "Mozilla/5.0"'
    broken = "malformed_combined"
    for cut in range(8, len(good) - 40, 6):
        yield good[:cut].encode(), broken
    yield from ((good.replace(old, new).encode(), reason) for old, new, reason in (
        (" 200 ", " OK ", broken), (" 200 ", " 20x ", broken), (" 2326 ", " 2k ", broken),
        (" 2326 ", " 99999999999999999999 ", broken),
        ("05/Mar/2024", "05/Foo/2024", "bad_timestamp:requested_at"), ("05/Mar/2024", "2024-03-05", "bad_timestamp:requested_at"),
        ("10:00:00", "25:00:00", "bad_timestamp:requested_at"), ("05/Mar/2024", "09/Mar/2024", "future"),
        ("05/Mar/2024", "01/Jan/2020", "too_late"),
    ))  # fmt: skip
    yield b"\xff" + good.encode(), "bad_encoding"
    yield b"", broken
