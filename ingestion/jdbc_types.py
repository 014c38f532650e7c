"""How a value of a foreign database becomes a declared type without loss, or why it cannot.

Left to itself, Spark's JDBC source loses in silence what a driver's getter loses: digits of a decimal longer than 38,
of a `numeric` without a scale, of a FLOAT of MySQL; zero dates, dates before 1582, bit strings, emoji in padded texts.
So each type of a database has a rule here: what the database is asked to send (often its own text of the value), and
how that is kept. A value that does not fit the declared type stops the load with a sentence; none is rounded.
"""

import re

from ingestion.feeds import Column, JdbcFeed
from ingestion.values import literal
from warehouse.errors import PlatformError, shown

# How what was sent becomes the declared type, in Spark's SQL: {c} the column, {t} the type, {s} its scale, {no} a stop.
KEPT = {
    "same": "cast({c} as {t})",
    "checked": "coalesce(try_cast({c} as {t}), {no})",
    # Spark would take '0044-03-15 BC' for a date of our era
    "date": "coalesce(if(length({c}) = 10, try_cast({c} as date), null), {no})",
    # Spark would round what has more digits than the type
    "number": "coalesce(if({c} rlike '^-?[0-9]+([.][0-9]{{0,{s}}}0*)?$', try_cast({c} as {t}), null), {no})",
    "flag": "coalesce(if({c} in (0, 1), {c} = 1, null), {no})",
    "base64": "base64({c})",
}
_MYSQL_TEXT = "concat({})"  # costs the server half of what a cast does
_PG_TEXT = "({})::text"
_BEYOND_DECIMAL = r"(decimal|numeric)\((39|[4-9]\d|\d{3,}),\d+\)|numeric"
_PG_OTHERS = (
    r"smallint|integer|bigint|oid|numeric.*|money|real|double precision|boolean|bit\(1\)|date|timestamp( with time zone)?"
    "|bytea"
)

# Type at the source, declared type, what the database sends, how it is kept: the first line that fits both types counts.
# The declared type "any" is the text of a column that nobody declared and that is let through, encrypted.
_MYSQL = (
    (r"(tiny|small|medium)int( unsigned)?|int", "int|bigint", "{}", "same"),
    (r"tinyint", "boolean", "{}", "flag"),
    (r"int unsigned|bigint", "bigint", "{}", "same"),
    (r"bigint unsigned", r"decimal\((2\d|3\d),0\)", "{}", "same"),
    (r"bigint unsigned", "bigint", "{}", "checked"),
    (r"bit", "boolean", "{} + 0", "flag"),
    (r"bit", r"int|bigint|decimal\((2\d|3\d),0\)", "{} + 0", "checked"),
    (r"year", "int", "cast({} as signed)", "checked"),
    (r"decimal\(([12]?\d|3[0-7]),\d+\)", "decimal.*", "{}", "same"),
    (r"decimal.*", "decimal.*", _MYSQL_TEXT, "number"),
    (_BEYOND_DECIMAL, "string", _MYSQL_TEXT, "same"),
    (r"float", "float", "{} * 1e0", "checked"),  # its text has 6 digits, that of a double all
    (r"double", "double", "{}", "same"),
    (r"date", "date", _MYSQL_TEXT, "date"),
    (r"datetime|timestamp", "timestamp", _MYSQL_TEXT, "checked"),
    (r"varchar|(tiny|medium|long)?text|json", "string", "{}", "same"),
    (r"char|time|uuid", "string", _MYSQL_TEXT, "same"),  # enum, set and inet say char; Spark would pad them
    (r"(tiny|medium|long)?blob|(var)?binary", "binary", "{}", "same"),
    (r"(tiny|medium|long)?blob|(var)?binary", "any", "{}", "base64"),
    (r"float", "any", "{} * 1e0", "same"),
    (r"bit", "any", "{} + 0", "same"),
    (r"geometry|(multi)?(point|polygon|linestring)|geometrycollection", "any", "st_astext({})", "same"),
    (r".*", "any", _MYSQL_TEXT, "same"),
)
_POSTGRES = (
    (r"smallint|integer", "int|bigint", "{}", "same"),
    (r"bigint|oid", "bigint", "({})::bigint", "same"),
    (r"numeric.*", "decimal.*", _PG_TEXT, "number"),
    (r"money", "decimal.*", "({})::numeric::text", "number"),
    (r"real", "float", "{}", "same"),
    (r"double precision", "double", "{}", "same"),
    (r"boolean|bit\(1\)", "boolean", "({})::text::boolean", "same"),
    (r"date", "date", _PG_TEXT, "date"),
    (r"timestamp", "timestamp", _PG_TEXT, "checked"),
    (r"timestamp with time zone", "timestamp", "({} at time zone 'UTC')::text", "checked"),
    (r"bytea", "binary", "{}", "same"),
    (r"bytea", "any", "{}", "base64"),
    (_BEYOND_DECIMAL, "string", _PG_TEXT, "same"),
    (r"inet", "string", "{}", "same"),  # as text it would get a mask
    (rf"(?!({_PG_OTHERS})$).*", "string", _PG_TEXT, "same"),  # json, uuid, interval, enums, arrays and so on
    (r".*", "any", _PG_TEXT, "same"),
)  # fmt: skip
_DERBY = (
    (r"smallint|integer", "int|bigint", "{}", "same"),
    (r"bigint", "bigint", "{}", "same"),
    (r"decimal.*", "decimal.*", "{}", "same"),
    (r"real", "float", "{}", "same"),
    (r"double", "double", "{}", "same"),
    (r"boolean", "boolean", "{}", "same"),
    (r"date", "date", "{}", "same"),
    (r"timestamp", "timestamp", "{}", "same"),
    (r"varchar|char|clob|long varchar", "string", "{}", "same"),
    (r"time", "string", "char({})", "same"),
    (r"blob|.* for bit data", "binary", "{}", "same"),
    (r"blob|.* for bit data", "any", "{}", "base64"),
    (r".*", "any", "{}", "same"),
)
RULES = {"derby": _DERBY, "mariadb": _MYSQL, "mysql": _MYSQL, "postgresql": _POSTGRES}
# The types of times that are written by some clock: which one, the feed's timestamp_zone says.
_WITHOUT_ZONE = {"derby": "timestamp", "mariadb": "datetime", "mysql": "datetime", "postgresql": "timestamp"}

# What drivers call a type → its name in SQL.
_NAMES = {
    "mysql": {"integer": "int", "integer unsigned": "int unsigned", "decimal unsigned": "decimal",
              "float unsigned": "float", "double unsigned": "double"},
    "postgresql": {"int2": "smallint", "int4": "integer", "int8": "bigint", "smallserial": "smallint",
                   "serial": "integer", "bigserial": "bigint", "float4": "real", "float8": "double precision",
                   "bool": "boolean", "bpchar": "char", "timestamptz": "timestamp with time zone",
                   "timetz": "time with time zone"},
    "derby": {},
}  # fmt: skip
_NAMES["mariadb"] = _NAMES["mysql"]


def source_type(product: str, field) -> str:
    """The type of a field of Spark's JDBC schema as the database calls it, such as decimal(18,2) or bigint unsigned."""
    driver = field.metadata["jdbcClientType"].lower()
    name = _NAMES[product].get(driver, driver)
    if product == "postgresql" and name.startswith("_"):
        return f"{_NAMES[product].get(name[1:], name[1:])}[]"
    spark = field.dataType.simpleString()
    if name == "bit" and product == "postgresql":
        return "bit(1)" if spark == "boolean" else "bit"
    if name not in ("decimal", "numeric"):
        return name
    precision, scale = map(int, re.findall(r"\d+", spark))
    declared = field.metadata["scale"]
    if name == "numeric" and declared == 0 and scale > 0:
        return name  # PostgreSQL's numeric without a precision
    # beyond 38 digits Spark keeps the whole part and cuts the scale
    return f"{name}({precision - scale + declared},{declared})"


def rule(product: str, kind: str, declared: str) -> tuple[str, str] | None:
    """(what the database sends, how it is kept) for a source type and a declared one; None if something would be lost."""
    for source, ours, sent, kept in RULES[product]:
        if re.fullmatch(source, kind) and re.fullmatch(ours, declared) and _holds(declared, kind):
            return sent, kept
    return None


def _holds(declared: str, kind: str) -> bool:
    """Whether a declared decimal has room for all digits of a source's; what has no precision is checked by value."""
    there = re.fullmatch(r"(?:decimal|numeric)\((\d+),(\d+)\)", kind)
    ours = re.fullmatch(r"decimal\((\d+),(\d+)\)", declared)
    if not there or not ours:
        return True
    (p, s), (precision, scale) = (map(int, match.groups()) for match in (there, ours))
    return scale >= s and precision - scale >= p - s


def fitting(product: str, kind: str) -> list[str]:
    """The declared types that a source type can be read as (a decimal's in its own precision)."""
    names = ("string", "boolean", "int", "bigint", "float", "double", "date", "timestamp", "binary", "decimal(20,0)")
    own = re.fullmatch(r"(?:decimal|numeric)(\((?:[12]?\d|3[0-8]),\d+\))", kind)
    return [name for name in (*names, *([f"decimal{own[1]}"] if own else ())) if rule(product, kind, name)]


def is_local(feed: JdbcFeed, product: str, kind: str) -> bool:
    """Whether the times of a source type are read in the feed's timestamp_zone."""
    return bool(feed.timestamp_zone) and kind == _WITHOUT_ZONE[product]


def kept(feed: JdbcFeed, name: str, column: Column, how: str, local: bool = False) -> str:
    """Spark's SQL for a declared column of what the database sent; `local` times become UTC (see values.instant)."""
    c = f"`{name}`"
    scale = column.type.rstrip(")").split(",")[-1]
    shown = f"`{name}` holds "
    # a personal value must not reach a log by way of an error
    value = f"', {c}, '" if column.sensitivity in ("public", "internal") and column.type != "binary" else "a value"
    stop = f"{shown}{value} at the source, which no {column.type} can hold: correct it, or read the feed by a query"
    no = f"if({c} is null, null, cast(raise_error(concat('{feed.name}: {stop}')) as {column.type}))"
    value = KEPT[how].format(c=c, t=column.type, s=scale, no=no)
    return f"{f'to_utc_timestamp({value}, {literal(feed.timestamp_zone)})' if local else value} as `{name}`"


def undeclared(feed: JdbcFeed, product: str, found: dict[str, str]) -> list[str]:
    """The names of undeclared columns at the source; `found` is name → type there.

    Raises PlatformError with a diff if a declared column is missing or of a type that the declared one cannot hold.
    """
    new = [name for name in found if name not in feed.columns]
    lines = []
    for name, column in feed.columns.items():
        if name not in found:
            lines.append(f"  - {name} {column.type}: declared, missing at the source")
        elif rule(product, found[name], column.type) is None:
            can = ", ".join(fitting(product, found[name])) or "nothing: cast it in a query"
            lines.append(f"  ~ {name}: declared {column.type}, {found[name]} at the source, which can be read as {can}")
    if lines:
        lines += [f"  + {shown(name)} {found[name]}: new at the source" for name in new]
        raise PlatformError(
            f"{feed.name}: {feed.source} is not what feeds.yml declares:\n" + "\n".join(lines) + "\n"
            "change the source back, or the feed's columns (and its staging model); then run again"
        )
    return new
