"""What a text means as a value of its declared type: one set of rules for CSV and JSON, for files and topics.

Spark's own conversions are too kind: 10:15 is today, 2024 the first of January, 1,5 is fifteen, 1e400 infinity. Here a
text is a value whole, or it is none and its row is held back (docs/ingestion.md lists what is accepted).
"""

import re

EPOCHS = {"epoch_seconds": 1_000_000, "epoch_milliseconds": 1_000}  # microseconds in one
YEARS = (1900, 9999)
BLANK = r"[ \t]*"
WHOLE = rf"^{BLANK}[+-]?[0-9]+{BLANK}\z"
NUMBER = rf"^{BLANK}[+-]?(?=[.]?[0-9])[0-9]*([.][0-9]*)?([eE][+-]?[0-9]{{1,4}})?{BLANK}\z"
TRUTH = rf"^{BLANK}(?i:true|t|yes|y|1|false|f|no|n|0){BLANK}\z"
DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
TIME = DAY + r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?"
OFFSET = r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
AFTER_MINUTES = 17  # where what follows hours and minutes begins in an ISO time: seconds, offset
# The letters that Spark's parser takes; of those for zones a name (z: CST) could mean several.
LETTERS, ZONE_LETTERS = "GyDMLdhHkKmsSaVOXxZ", "VOXxZ"


def literal(text: str) -> str:
    """The text as an SQL literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def typed(text: str, kind: str) -> tuple[str, str]:
    """SQL of the value of type `kind`, neither text nor time, that `text` stands for, and of whether it is none or inexact.

    A float or double is the nearest there is; a decimal is exact.
    """
    value = f"try_cast({text} as {kind})"
    if kind in ("int", "bigint"):
        wrong = f"not {text} rlike r'{WHOLE}'"
    elif kind in ("float", "double"):
        wrong = f"not {text} rlike r'{NUMBER}' or {infinite(value)}"
    elif kind == "boolean":
        wrong = f"not {text} rlike r'{TRUTH}'"
    elif kind.startswith("decimal"):
        wrong = f"not {_is_decimal(text, int(re.findall(r'[0-9]+', kind)[1]))}"
    else:
        wrong = "false"
    return value, f"({text} is not null and ({value} is null or {wrong}))"


def with_a_point(text: str, decimal: str, thousands: str | None) -> str:
    """SQL of the text of a number with a point for `decimal` and without `thousands`; an empty text where it is not written so.

    Between separators of thousands stand three digits, so that 1,5 is not taken for fifteen.
    """
    if decimal == "." and not thousands:
        return text
    whole = f"[0-9]*|[0-9]{{1,3}}([{thousands}][0-9]{{3}})+" if thousands else "[0-9]*"
    pattern = rf"^{BLANK}[+-]?(?=[{decimal}]?[0-9])({whole})([{decimal}][0-9]*)?([eE][+-]?[0-9]{{1,4}})?{BLANK}\z"
    plain = f"replace({text}, {literal(thousands)}, '')" if thousands else text
    return (
        f"if({text} rlike {literal(pattern)}, replace({plain}, {literal(decimal)}, '.'), if({text} is null, null, ''))"
    )


def infinite(value: str) -> str:
    """SQL of whether a float or double is beyond its type's range."""
    return f"abs({value}) = double('Infinity')"


def _is_decimal(text: str, scale: int) -> str:
    """SQL of whether a text is a number with at most `scale` decimals; an exponent moves its point."""
    plain = rf"^{BLANK}[+-]?(?=[.]?[0-9])[0-9]*([.][0-9]{{0,{scale}}}0*)?{BLANK}\z"
    decimals = f"length(rtrim('0', regexp_extract({text}, r'[.]([0-9]*)', 1)))"
    moved = f"try_cast(regexp_extract({text}, r'[eE]([+-]?[0-9]+)', 1) as int)"
    return f"({text} rlike r'{plain}' or {text} rlike r'{NUMBER}' and coalesce({decimals} - {moved} <= {scale}, false))"


def instant(text: str, pattern: str | None, zone: str | None) -> str:
    """SQL of the UTC timestamp that a text stands for, null if it is none.

    An offset in the text wins; `zone` is for times without one, which are none where there is no zone. In the hour that
    a clock skips a time is as many minutes later; of the hour that comes twice it is in the first.
    """
    if pattern in EPOCHS:
        return _since_epoch(text, EPOCHS[pattern])
    if pattern is None:
        # Spark's cast takes no offset after minutes without seconds
        seconds = f"concat(substring({text}, 1, {AFTER_MINUTES - 1}), ':00', substring({text}, {AFTER_MINUTES}))"
        at = f"coalesce(try_cast({text} as timestamp), try_cast({seconds} as timestamp))"
        if not zone:
            return f"if({text} rlike r'{TIME}{OFFSET}\\z', {at}, null)"
        local = f"to_utc_timestamp({at}, {literal(zone)})"
        has_offset = f"substring({text}, {AFTER_MINUTES}) rlike '[Z+-]'"
        return f"if({text} rlike r'{TIME}{OFFSET}?\\z', if({has_offset}, {at}, {local}), null)"
    with_offset, without = variants(pattern)
    read = [f"try_to_timestamp({text}, {literal(with_offset)})"] if with_offset else []
    if zone and without:
        read.append(f"to_utc_timestamp(try_to_timestamp({text}, {literal(without)}), {literal(zone)})")
    return f"coalesce({', '.join(read)})" if read else "cast(null as timestamp)"


def _since_epoch(text: str, micros: int) -> str:
    """SQL of a time that is written as seconds or milliseconds since 1970; beyond a microsecond it is cut."""
    digits = r"-?[0-9]{1,14}([.][0-9]{1,9})?"
    number = f"try_cast({text} as decimal(23,9)) * {micros}"
    return f"if({text} rlike r'^{digits}\\z', timestamp_micros(cast({number} as bigint)), null)"


def day(text: str, pattern: str | None) -> str:
    """SQL of the date that a text stands for, null if it is none."""
    if pattern:
        return f"cast(try_to_timestamp({text}, {literal(pattern)}) as date)"
    return f"if({text} rlike r'{DAY}\\z', try_cast({text} as date), null)"


def outside(value: str, kind: str, years: tuple[int, int]) -> str:
    """SQL of whether a date or timestamp lies outside these years (in UTC)."""
    first, last = (f"{year:04}" for year in years)
    end = "" if kind == "date" else " 23:59:59.999999"
    return f"{value} not between {kind}'{first}-01-01' and {kind}'{last}-12-31{end}'"


def variants(pattern: str) -> tuple[str | None, str | None]:
    """(the format of times with an offset, of times without one); None where the format has no such.

    They differ from it only where the letters of the offset stand in brackets, which make them optional.
    """
    parts = re.findall(r"'[^']*'|\[[^\[\]]*\]|[^'\[\]]+|.", pattern)
    optional = [part.startswith("[") and _has_zone(part) for part in parts]
    if not any(optional):
        return (pattern, None) if _has_zone(pattern) else (None, pattern)
    with_offset = "".join(part[1:-1] if is_zone else part for part, is_zone in zip(parts, optional, strict=True))
    without = "".join(part for part, is_zone in zip(parts, optional, strict=True) if not is_zone)
    return with_offset, None if _has_zone(without) else without


def _has_zone(pattern: str) -> bool:
    return any(letter in _letters(pattern) for letter in ZONE_LETTERS)


def _letters(pattern: str) -> str:
    """The pattern without its quoted texts."""
    return re.sub(r"'[^']*'", "", pattern)


def format_fault(pattern: str, zone: str | None, kind: str = "timestamp") -> str | None:
    """What is wrong with a declared format of times (kind timestamp) or dates, None if it reads them without a guess."""
    if pattern in EPOCHS:
        return "is no format of a date: a moment is a date only in some zone" if kind == "date" else None
    letters = _letters(pattern)
    unknown = sorted({c for c in letters if c.isalpha()} - set(LETTERS))
    nested = re.search(r"\[[^\]]*\[", letters) or letters.count("[") != letters.count("]") or pattern.count("'") % 2
    if nested:
        return "has brackets or quotes that are open, or brackets in brackets"
    if unknown:
        return (
            f"holds the letters {', '.join(unknown)}: of Spark's letters {LETTERS} can be read without a guess (a zone's "
            "name such as CST means several zones), plain text stands in quotes"
        )
    if "y" not in letters or not ("D" in letters or "d" in letters and ("M" in letters or "L" in letters)):
        return "lacks year, month or day: such a time could be of any day"
    if ("h" in letters or "K" in letters) and "a" not in letters:
        return "has hours of half a day (h, K) without a, so that morning or afternoon would be a guess"
    if kind == "date":
        return "holds an offset, which no date has" if _has_zone(pattern) else None
    if variants(pattern)[0] is None and not zone:
        return "holds no offset: declare the timestamp_zone of its times too"
    return None
