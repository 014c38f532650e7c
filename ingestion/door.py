"""The door for events: each line of text becomes a row that passes, or is held back with the first rule it breaks.

What comes in is a frame of lines, from files or a topic: `value`, where it stood (`source`, …), the day it arrived
(`received_date`) and the UTC bounds `low` <= t < `high` of the events it may bring. What goes out is one frame that is
written once: the declared columns of the rows that pass, and of those held back the reason.
"""

from pyspark.sql.connect.functions import col, expr

from ingestion import json_text, values
from ingestion.feeds import COMBINED, DIGEST, Column, LogFeed
from ingestion.protect import protect
from warehouse.company import company

COMBINED_TIME = "dd/MMM/yyyy:HH:mm:ss Z"
MAX_LINE_BYTES = 1 << 20
# Half of a surrogate pair is no character: Spark would write a question mark.
HALF_A_PAIR = (
    r"(contains(value, r'\ud') or contains(value, r'\uD')) and regexp_replace(value, r'\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}"
    r"\\u[dD][c-fC-F][0-9a-fA-F]{2}', '') rlike r'\\u[dD][89a-fA-F]'"
)
HEADER = "header"
# Stands in a last field of ours: where a quote is not closed, or something stands behind it, that field is not found.
END = "."
UNREADABLE = (
    "if({}, raise_error('a released row is no event any more: were the columns of its feed changed?'), "
    "cast(null as string))"
)


def judge(lines, feed: LogFeed, *origin: str, fields: tuple[str | None, ...] | None = None, released: bool = False):
    """The judged frame of `lines`: raw columns, event_time, received_date, `origin`, reason, row_key and boolean held.

    `fields` are the columns in the order of the lines' header (None: one that is not read), if they have one.

    Each line is a text `value`, or a struct `parsed` whose text needs no look (see collect.measure, parquet.shape).
    The declared columns are protected, and null in rows held back. Their lines are left out: whoever read them fetches
    those few again and seals them (commit.py), because carrying all of them along costs more than to parse them. Lines
    that were `released` from quarantine pass whatever held them back, and arrive on their own day; without a time of their
    own, on that of their file.
    """
    if feed.format == "parquet" and "parsed" not in lines.columns:
        feed = feed.model_copy(update={"format": "json"})  # as which its rows are kept (parquet.rows_at)
    if "parsed" in lines.columns:
        parsed = lines.selectExpr("*", "cast(null as string) as line_reason")
    else:
        whole = [name for name in lines.columns if name != "value"]
        again = [f"{json_text.reparsed(_texts(feed))} as again"] if feed.format == "json" else []
        parsed = lines.selectExpr(*whole, f"{_parse(feed, fields)} as parsed", *again, *_of_line(feed))
        if feed.format == "json":
            parsed = parsed.withColumn("parsed", expr(_with_numbers_as_written(feed)))
    rows = parsed.selectExpr("*", f"{_row(feed, fields)} as row")
    timed = rows.selectExpr("*", f"{_event_time(feed)} as event_time")
    if released:
        own_day = f"date_format(from_utc_timestamp(event_time, '{company().timezone}'), 'yyyy-MM-dd')"
        no_event = " or event_time is null" if feed.timestamp_column else ""
        unreadable = UNREADABLE.format(f"row is null or row._corrupt is not null{no_event}")
        judged = timed.selectExpr("*", f"{unreadable} as reason")
        if feed.timestamp_column:
            judged = judged.withColumn("received_date", expr(own_day))
    else:
        judged = timed.selectExpr("*", f"{reason(feed)} as reason")
    passed = "if(reason is null, {}, null) as `{}`"
    columns = [passed.format(f"row.`{name}`", name) for name in feed.columns]
    held = ["reason", f"if(reason is null, null, row.`{feed.key[0]}`) as row_key"]
    kept = judged.selectExpr(*columns, passed.format("event_time", "event_time"), "received_date", *origin, *held)
    return protect(kept, feed).withColumn("held", col("reason").isNotNull())


def shape(feed: LogFeed, header: tuple[str | None, ...] | None = None) -> tuple[str, dict[str, str]]:
    """(schema, options) for Spark's parser of a line: null fields where it holds nothing, `_corrupt` if it does not parse.

    Fields of a CSV are texts here: Spark's own conversion would read 12,50 as 1250. All of this becomes SQL, so it is made
    of declared names alone: a field that nobody declared is `#` and its place, whatever the header calls it.
    """
    if feed.format == "combined":  # a CSV of blanks, whose time holds one: two fields
        names = [*COMBINED]
        names.insert(names.index("requested_at") + 1, "_offset")
        options = {"sep": " ", "quote": '"', "escape": r"\\", "nullValue": "-"}
    else:
        names = [name or f"#{n}" for n, name in enumerate(header or (c for c in feed.columns if c != DIGEST))]
        options = (
            {"sep": feed.delimiter, "escape": '"', "charToEscapeQuoteEscaping": '"'}
            if feed.format == "csv"
            else {"allowNonNumericNumbers": "false", "allowSingleQuotes": "false"}
        )
    if feed.format != "json":
        kinds = dict.fromkeys([*names, "#end"], "string")
        options |= {"maxColumns": str(MAX_LINE_BYTES), "unescapedQuoteHandling": "STOP_AT_CLOSING_QUOTE"}
    else:
        kinds = {n: "string" if _is_read_as_text(feed.columns[n].type, feed) else feed.columns[n].type for n in names}
    fields = ", ".join(f"`{name}` {kind}" for name, kind in (kinds | {"_corrupt": "string"}).items())
    return fields, options | {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": "_corrupt"}


def _parse(feed: LogFeed, header: tuple[str | None, ...] | None) -> str:
    """SQL of the line as a struct of that shape."""
    fields, options = shape(feed, header)
    function, text = "from_json", "value"
    if feed.format != "json":  # what is too long has too many fields for the parser
        text = f"if(octet_length(value) > {MAX_LINE_BYTES}, null, concat(rtrim('\\r', value), '{options['sep']}{END}'))"
        function = "from_csv"
    named = ", ".join(f"'{key}', '{value}'" for key, value in options.items())
    return f"{function}({text}, '{fields}', map({named}))"


def _is_read_as_text(kind: str, feed: LogFeed) -> bool:
    """Whether the parser hands over a column of this type as its text: JSON's own types it checks itself."""
    return feed.format != "json" or kind.startswith(("string", "decimal", "date", "timestamp"))


def _texts(feed: LogFeed) -> list[str]:
    """The columns of a JSON feed that are read as texts."""
    return [name for name, column in feed.columns.items() if name != DIGEST and _is_read_as_text(column.type, feed)]


def _with_numbers_as_written(feed: LogFeed) -> str:
    """SQL of the parsed struct with the texts of the line parsed again, if it was."""
    texts = _texts(feed)
    members = {
        name: json_text.unmarked(f"again.`{name}`") if name in texts else f"parsed.`{name}`"
        for name in feed.columns
        if name != DIGEST
    }
    fields = ", ".join(f"'{name}', {member}" for name, member in members.items())
    return f"if(parsed is null or again is null, parsed, named_struct({fields}, '_corrupt', parsed._corrupt))"


def _row(feed: LogFeed, header: tuple[str | None, ...] | None = None) -> str:
    """SQL of the parsed struct with the declared columns under their names and types; null where the header lacks one.

    `_corrupt` is also set if a value is none of its column's type, or would lose digits. A date or time that is none is
    null here, and is told by its text (see reason).
    """
    made = {name: "cast(null as string)" for name in feed.columns if header and name not in header}  # of another file
    made |= {DIGEST: "line_digest"}
    if feed.format == "combined":
        made["requested_at"] = "concat(substring(parsed.requested_at, 2), ' ', rtrim(']', parsed._offset))"
    texts = {name: made.get(name, f"parsed.`{name}`") for name in feed.columns}
    found = {name: _value(texts[name], column, feed) for name, column in feed.columns.items()}
    wrong = [is_wrong for _, is_wrong in found.values() if is_wrong]
    if feed.format not in ("json", "parquet"):
        wrong.append(f"parsed.`#end` is distinct from '{END}'")
    if not wrong and all(value == f"parsed.`{name}`" for name, (value, _) in found.items()):
        return "parsed"
    fields = ", ".join(f"'{name}', {value}" for name, (value, _) in found.items())
    corrupt = f"if({' or '.join(wrong)}, '', parsed._corrupt)" if wrong else "parsed._corrupt"
    return f"if(parsed is null, null, named_struct({fields}, '_corrupt', {corrupt}))"


def _value(text: str, column: Column, feed: LogFeed) -> tuple[str, str | None]:
    """SQL of the typed value of a parsed field, and of whether it is wrong, if that is to be asked."""
    if feed.format == "parquet":
        checks = {"string": f"not is_valid_utf8({text})", **dict.fromkeys(("float", "double"), _no_number(text))}
        check = checks.get(column.type)
        return text, check and f"coalesce({check}, false)"
    match column.type:
        case "string":
            return text, None
        case "timestamp":
            return values.instant(text, column.time_format, feed.timestamp_zone), None
        case "date":
            return values.day(text, column.time_format), None
    if _is_read_as_text(column.type, feed):
        number = values.with_a_point(text, feed.decimal, feed.thousands) if _is_number(column.type) else text
        return values.typed(number, column.type)
    return text, values.infinite(text) if column.type in ("float", "double") else None


def _is_number(kind: str) -> bool:
    return kind.startswith(("int", "bigint", "float", "double", "decimal"))


def _no_number(value: str) -> str:
    return f"isnan({value}) or {values.infinite(value)}"


def _event_time(feed: LogFeed) -> str:
    if feed.timestamp_column is None:
        return "cast(null as timestamp)"
    if feed.columns[feed.timestamp_column].type == "timestamp":
        return f"row.`{feed.timestamp_column}`"
    pattern = feed.timestamp_format or (COMBINED_TIME if feed.format == "combined" else None)
    return values.instant(f"row.`{feed.timestamp_column}`", pattern, feed.timestamp_zone)


def _of_line(feed: LogFeed) -> list[str]:
    """SQL of what is seen in the text itself: line_reason, the first rule that it breaks, and line_digest if declared.

    Spark's JSON parser takes the first object of a line and forgets what follows, so a line that may hold more is parsed
    as a list of one; cheap tests come first, a regular expression costs like parsing.
    """
    rules = [(f"octet_length(value) > {MAX_LINE_BYTES}", "too_long"), ("not is_valid_utf8(value)", "bad_encoding")]
    if getattr(feed, "header", False):
        rules.append(("value = header", HEADER))
    malformed = f"malformed_{feed.format}"
    if feed.format == "json":
        rules.append(
            (r"not (startswith(value, '{') and endswith(value, '}') or value rlike r'^\s*\{.*\}\s*$')", malformed)
        )
        suspect = (
            " or ".join(f"endswith(value, '{end}')" for end in ("}}", " }", "\t}")) + " or not endswith(value, '}')"
        )
        suspect += r" or contains(substring(value, 2), '{') and value rlike r'\}\s*,?\s*\{'"
        rules.append((HALF_A_PAIR, malformed))
        rules.append((f"({suspect}) and coalesce(json_array_length(concat('[', value, ']')), 0) <> 1", malformed))
    else:
        rules.append(("trim(value) = ''", malformed))
        if not getattr(feed, "multi_line", True):
            rules.append((r"contains(value, '\n')", malformed))
    digest = ["sha2(value, 256) as line_digest"] if DIGEST in feed.columns else []
    return [f"{_first_broken(rules)} as line_reason", *digest]


def _first_broken(rules: list[tuple[str, str]]) -> str:
    return "case " + " ".join(f"when {broken} then '{reason}'" for broken, reason in rules) + " end"


def reason(feed: LogFeed) -> str:
    """SQL of the first rule that a parsed line breaks, null if it breaks none."""
    rules = [("row is null or row._corrupt is not null", f"malformed_{feed.format}")]
    for name, column in feed.columns.items():
        if column.type in ("date", "timestamp"):
            is_none = f"row.`{name}` is null and parsed.`{name}` is not null"
            outside = values.outside(f"row.`{name}`", column.type, feed.years)
            rules.append((f"{is_none} or {outside}", f"bad_{column.type}:{name}"))
    for name, column in feed.columns.items():
        if column.required:
            empty = f" or trim(row.`{name}`) = ''" if column.type == "string" else ""
            rules.append((f"row.`{name}` is null{empty}", f"missing_field:{name}"))
    # As an offset can move it; its day bounds it further.
    outside = values.outside("event_time", "timestamp", (1, 9999))
    if feed.timestamp_column:
        rules.append((f"event_time is null or {outside}", f"bad_timestamp:{feed.timestamp_column}"))
    for name, column in feed.columns.items():
        if column.allowed:
            allowed = ", ".join(map(values.literal, column.allowed))
            rules.append((f"row.`{name}` not in ({allowed})", f"unknown_value:{name}"))
    if feed.timestamp_column:
        rules += [("event_time >= high", "future"), ("event_time < low", "too_late")]
    return f"coalesce(line_reason, {_first_broken(rules)})"


def line_text(line: bytes, encoding: str = "utf-8") -> str:
    """The text of a line that was held back; bytes that are none in its encoding are kept one to one, as Latin-1."""
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        return line.decode("latin-1")
