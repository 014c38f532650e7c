"""Tables as a proposal sees them: columns with types and some rows, from files whatever their dialect, or from a database.

What a file leaves open (days that could be months, 1,234 that could be 1.234) is a Question, never a guess.
"""

import csv
import io
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from ingestion.feeds import WRITTEN
from ingestion.guess import snake
from ingestion.proposal import RESERVED
from ingestion.words import plain, words_of
from warehouse.connections import secret
from warehouse.errors import PlatformError

SAMPLE_ROWS = 1_000
LOOKED_AT = 200_000  # rows of a file that are evidence of how its dates and numbers are written
MOST_BYTES = 64 * 2**20
DELIMITERS = (",", ";", "\t", "|")
BLANKS = "blanks"  # columns told apart by runs of blanks, which no feed reads: the file is written anew
SUFFIXES = (".csv", ".tsv", ".txt")
DAY = re.compile(r"[-_.]?(\d{4}-\d\d-\d\d)")


@dataclass(frozen=True)
class Question:
    """What only a person can say; `default` is None where nothing may be assumed."""

    id: str
    text: str
    choices: tuple[str, ...]
    default: str | None = None


@dataclass(frozen=True)
class Field:
    """A column: its name and type in a feed, how the source calls it, how its times are written, whether with an offset."""

    name: str
    type: str
    written: str
    time_format: str | None = None
    has_offset: bool = False

    @property
    def is_time(self) -> bool:
        return self.type in ("date", "timestamp")

    @property
    def is_number(self) -> bool:
        return self.type.startswith(("int", "bigint", "decimal", "double", "float"))


@dataclass
class Table:
    """A table: columns, at most SAMPLE_ROWS rows (numbers with a point, times in ISO 8601, None where nothing stands), its
    key if the source says one, how many rows it has if that is known, the keys of its feed, and of a file's columns of times
    the first and the last.
    """

    name: str
    fields: dict[str, Field]
    rows: list[dict[str, str | None]]
    key: list[str] = field(default_factory=list)
    n_rows: int | None = None
    feed: dict = field(default_factory=dict)
    questions: list[Question] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    path: Path | None = None
    spans: dict[str, tuple[str, str]] = field(default_factory=dict)
    is_cut_by_blanks: bool = False  # such a file is written anew for its feed (write_comma_separated)

    def values(self, name: str) -> list[str]:
        """The values of a column in the sample, without those that are empty."""
        return [row[name] for row in self.rows if row.get(name) not in (None, "")]


# -- files ------------------------------------------------------------------------------------------------------------


def from_path(path: Path, answers: dict[str, str]) -> list[Table]:
    """The tables of a file, or of a folder of files (those of one name and several days are one); PlatformError if none."""
    if path.is_file():
        return [from_files([path], answers)]
    if not path.is_dir():
        raise PlatformError(f"{path} is neither a file nor a folder, and no database's address (jdbc:postgresql://…)")
    groups: dict[str, list[Path]] = {}
    for file in sorted(path.rglob("*")):
        if file.is_file() and file.suffix.lower() in SUFFIXES:
            groups.setdefault(_stem(file), []).append(file)
    if not groups:
        raise PlatformError(f"{path} has no file that ends with {', '.join(SUFFIXES)}: name the folder of the tables")
    return [from_files(files, answers) for files in groups.values()]


def _stem(path: Path) -> str:
    return DAY.sub("", path.stem) or path.stem


def from_files(files: list[Path], answers: dict[str, str]) -> Table:
    """The table that files of one form hold; a PlatformError says what cannot be read."""
    name = identifier(_stem(files[0]), "table")
    texts = {file: _read(file) for file in (files[0], files[-1])}
    text = texts[files[0]][1]
    encoding = next((e for e, _ in texts.values() if e != "utf-8"), "utf-8")
    delimiter = _delimiter(text, files[0])
    grid = _grid(text, delimiter)
    has_header = _is_header(grid)
    written = grid[0] if has_header else [f"column_{n}" for n in range(1, len(grid[0]) + 1)]
    body = grid[1:] if has_header else grid
    if len(files) > 1 and files[-1] != files[0]:
        later = _grid(texts[files[-1]][1], delimiter)
        if has_header and later and later[0] != written:
            raise PlatformError(
                f"{files[-1].name} has other columns than {files[0].name}: let one name hold files of one form"
            )
        later = later[1:] if has_header else later
        is_whole = bool(body) and set(map(tuple, body)) <= set(map(tuple, later))
        body = (
            body if is_whole else [*body, *(row for file in files[1:] for row in _rows_of(file, delimiter, has_header))]
        )
    else:
        is_whole = True
    width = len(written)
    good = [row for row in body if len(row) == width][:LOOKED_AT]
    if not good:
        raise PlatformError(f"{files[0]} has no row under its header: name a file with some rows")
    found = Table(name, {}, [], n_rows=len(body) if len(body) < LOOKED_AT else None, path=files[0])
    if len(good) < len(body):
        found.notes.append(f"{len(body) - len(good)} of {len(body)} rows of {files[0].name} do not have {width} fields")
    if not has_header:
        found.notes.append(f"{files[0].name} names no columns: column_1 … are placeholders, in the order of the line")
    columns = list(zip(*good, strict=True))
    decimal, thousands = _numbers(name, columns, found.questions, answers)
    taken: set[str] = set()
    readers = []
    for head, values in zip(written, columns, strict=True):
        called = _unique(identifier(head, "column"), taken)
        one, reader = _field(name, called, head, [v.strip() for v in values], (decimal, thousands), found, answers)
        found.fields[called] = one
        readers.append((called, reader))
    for n, (called, reader) in enumerate(readers):
        if found.fields[called].is_time:
            times = sorted(
                filter(None, (reader(text) for text in {row[n].strip() for row in body if len(row) == width}))
            )
            found.spans[called] = (times[0], times[-1])
    for row in good[:SAMPLE_ROWS]:
        found.rows.append({called: reader(v.strip()) for (called, reader), v in zip(readers, row, strict=True)})
    if _twice(written):
        raise PlatformError(f"{files[0].name} has the column {_twice(written)!r} twice: give one of them another name")
    found.is_cut_by_blanks = again = delimiter == BLANKS
    found.feed = {"kind": "files", "directory": name, "pattern": f"{name}-{{date}}*.csv", "format": "csv"}
    if is_whole:
        found.feed["mode"] = "full"
    found.feed |= {"header": True} if has_header else {}
    found.feed |= {"delimiter": delimiter} if delimiter not in (",", BLANKS) else {}
    found.feed |= {"encoding": encoding} if encoding != "utf-8" and not again else {}
    found.feed |= {"decimal": decimal} if decimal != "." else {}
    found.feed |= {"thousands": thousands} if thousands else {}
    if '"' in text and any("\n" in cell for row in good[:SAMPLE_ROWS] for cell in row):
        found.feed["multi_line"] = True
    if again:
        found.notes.append(f"{files[0].name} is written anew, with commas and in UTF-8, where the feed reads it")
    return found


def write_comma_separated(source: Path, target: Path) -> None:
    """Write a file that no feed can read as it is (columns told apart by runs of blanks) with commas, in UTF-8."""
    text = _read(source)[1]
    with target.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out, lineterminator="\n").writerows(_grid(text, _delimiter(text, source)))


def _rows_of(file: Path, delimiter: str, has_header: bool) -> list[list[str]]:
    grid = _grid(_read(file)[1], delimiter)
    return grid[1:] if has_header else grid


def _twice(names: list[str]) -> str | None:
    return next((name for name, n in Counter(names).items() if n > 1), None)


def _read(path: Path) -> tuple[str, str]:
    """(encoding as a feed names it, text) of a file; what cannot be read is a PlatformError."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MOST_BYTES)
            data = data if not stream.read(1) else data[: data.rfind(b"\n") + 1]
    except OSError as error:
        raise PlatformError(f"{path} cannot be read: {error.strerror or error}") from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise PlatformError(f"{path} is written in UTF-16: save it as CSV in UTF-8")
    if b"\0" in data[:4096]:
        raise PlatformError(f"{path} is no text: give CSV, or the address of a database")
    if not data.strip():
        raise PlatformError(f"{path} is empty: name a file with some rows")
    try:
        return "utf-8", data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    for encoding in ("gb18030", "cp1252") if _is_chinese(data) else ("cp1252",):
        try:
            return encoding, data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return "latin-1", data.decode("latin-1")


def _is_chinese(data: bytes) -> bool:
    """Whether bytes above ASCII stand in pairs, as in GB 2312: in a European text they are mostly alone."""
    high = re.findall(rb"[\x80-\xff]+", data)
    return sum(len(run) for run in high if len(run) % 2 == 0) > 0.9 * sum(map(len, high))


def _delimiter(text: str, path: Path) -> str:
    lines = [line for line in text[:200_000].splitlines()[:SAMPLE_ROWS] if line.strip()]
    scores = {}
    for delimiter in DELIMITERS:
        width, n = Counter(map(len, csv.reader(lines, delimiter=delimiter))).most_common(1)[0]
        scores[delimiter] = (n if width > 1 else 0, width)
    best = max(scores, key=scores.get)
    if scores[best][0] >= 0.8 * len(lines):
        return best
    widths = Counter(len(line.split()) for line in lines)
    if widths.most_common(1)[0][0] > 1 and widths.most_common(1)[0][1] >= 0.95 * len(lines):
        return BLANKS
    raise PlatformError(f"{path} is no table: no separator (, ; tab |) cuts its lines into the same number of fields")


def _grid(text: str, delimiter: str) -> list[list[str]]:
    if delimiter == BLANKS:
        return [line.split() for line in text.splitlines() if line.strip()]
    return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]


def _is_header(grid: list[list[str]]) -> bool:
    """Whether the first line names the columns: no number and no date in it, nothing empty."""
    return all(cell.strip() and not re.search(r"^[-+]?\d", cell.strip()) for cell in grid[0])


def identifier(text: str, otherwise: str) -> str:
    """A name that a feed may have, as near to the source's as can be; of other letters the words that are known."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text) and text.lower() not in (*RESERVED, *WRITTEN):
        return text
    ascii_ = snake(plain(text).encode("ascii", "ignore").decode())
    if not re.search("[a-z]", ascii_) or not plain(text).isascii():
        ascii_ = "_".join(min(words) for words in words_of(text) if words) or ascii_
    ascii_ = re.sub(r"[^a-z0-9_]", "", ascii_) or otherwise
    ascii_ = ascii_ if re.match("[a-z_]", ascii_) else f"{otherwise}_{ascii_}"
    return f"{ascii_}_" if ascii_ in (*RESERVED, *WRITTEN) else ascii_


def _unique(name: str, taken: set[str]) -> str:
    one, n = name, 2
    while one.lower() in taken:
        one, n = f"{name}_{n}", n + 1
    taken.add(one.lower())
    return one


# -- numbers ----------------------------------------------------------------------------------------------------------

WAYS = [
    (".", None),
    (",", None),
    (".", ","),
    (",", "."),
    (",", " "),
    (",", "\u00a0"),
    (",", "\u202f"),
    (".", "'"),
    (".", " "),
]


def _number(decimal: str, thousands: str | None) -> re.Pattern:
    grouped = rf"[1-9]\d{{0,2}}(?:{re.escape(thousands)}\d{{3}})+|" if thousands else ""
    return re.compile(rf"[-+]?(?:{grouped}\d+)(?:{re.escape(decimal)}\d+)?")


def _numbers(table: str, columns: list[tuple], questions: list[Question], answers: dict) -> tuple[str, str | None]:
    """(decimal, thousands) of a file: the ways in which all its numbers can be read; more than one meaning is asked."""
    fitting, telling = list(WAYS), []
    for values in columns:
        texts = {v.strip() for v in values if v.strip()}
        marked = [t for t in texts if not re.fullmatch(r"[-+]?\d+", t)]
        ways = [way for way in WAYS if texts and all(_number(*way).fullmatch(t) for t in texts)]
        if marked and ways:
            fitting = [way for way in fitting if way in ways] or fitting
            telling += marked
    if not telling:
        return ".", None
    meanings: dict[tuple, tuple] = {}
    for way in fitting:
        meanings.setdefault(tuple(_as_number(t, way) for t in telling), way)
    if len(meanings) == 1:
        return next(iter(meanings.values()))
    key, shown = f"{table}.numbers", telling[0]
    choices = tuple(f"decimal {d}" for d, _ in meanings.values())
    if answers.get(key) in choices:
        return list(meanings.values())[choices.index(answers[key])]
    questions.append(
        Question(key, f"{table}: in numbers such as {shown}, which character is the decimal point?", choices)
    )
    return next(iter(meanings.values()))


def _as_number(text: str, way: tuple[str, str | None]) -> str:
    decimal, thousands = way
    bare = text.replace(thousands, "") if thousands else text
    return bare.replace(decimal, ".")


# -- times ------------------------------------------------------------------------------------------------------------

_DATE = re.compile(
    r"(?P<a>\d{1,4})(?P<s>[-/. ]|年)(?P<b>\d{1,2}|[A-Za-z]{3})(?P<s2>[-/. ]|月)(?P<c>\d{1,4})(?P<e>日?)"
    r"(?:(?P<t>T| +)(?P<h>\d{1,2}):\d\d(?P<sec>:\d\d)?(?P<frac>\.\d{1,9})?(?P<half> ?[AaPp][Mm])?(?P<zone>Z| ?[+-]\d\d:?\d\d)?)?"
)
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()


def _field(table, called, head, values, way, found: Table, answers: dict):
    """(field, function text → text or None) of a column of texts."""
    texts = [v for v in values if v]
    if texts and (time := _time(f"{table}.{called}", called, texts, found, answers)):
        return Field(called, time[0], head, time[1], time[2]), time[3]
    number = _number(*way)
    ids = "id" in {w for words in words_of(head) for w in words}
    if texts and all(number.fullmatch(t) for t in texts) and not ids:
        read = [_as_number(t, way) for t in texts]
        if not any(re.match(r"[-+]?0\d", t) for t in read):
            scale = max(len(t.partition(".")[2]) for t in read)
            type_ = f"decimal(18,{max(scale, 2)})" if scale else "bigint"
            return Field(called, type_, head), lambda t: _as_number(t, way) or None
    if texts and {t.lower() for t in texts} <= {"true", "false"}:
        return Field(called, "boolean", head), lambda t: t.lower() or None
    return Field(called, "string", head), lambda t: t or None


def _time(key, called, texts, found: Table, answers: dict):
    """(type, Spark's format or None, has an offset, reader) if every text of a column is a time, else None."""
    distinct = set(texts)
    named = "time" in {w for words in words_of(called) for w in words}
    if all(re.fullmatch(r"(19|20)\d{6}", t) for t in distinct) and (named or len(distinct) > 20):
        if all(_real(t[:4], t[4:6], t[6:]) for t in distinct):
            return "timestamp", "yyyyMMdd", False, lambda t: f"{t[:4]}-{t[4:6]}-{t[6:]} 00:00:00" if t else None
    if named and all(re.fullmatch(r"1\d{9}(\d{3})?", t) for t in distinct):
        unit = "epoch_seconds" if len(texts[0]) == 10 else "epoch_milliseconds"
        return "timestamp", unit, True, lambda t: t or None
    matches = {t: _DATE.fullmatch(t) for t in distinct}
    if not all(matches.values()):
        return None
    parts = [m.groupdict() for m in matches.values()]
    orders = [order for order in _orders(parts[0]) if all(_fits(p, order) for p in parts)]
    if (
        not orders
        or len({(p["s"], p["s2"], p["e"], p["t"] and p["t"][0], bool(p["half"]), bool(p["zone"])) for p in parts}) > 1
    ):
        return None
    order = orders[0]
    if len(orders) > 1:
        choices = tuple(" ".join({"d": "day", "m": "month", "y": "year"}[c] for c in one) for one in orders)
        if answers.get(key) in choices:
            order = orders[choices.index(answers[key])]
        else:
            shown = min(distinct)
            found.questions.append(Question(key, f"{found.name}: in {called}, what does {shown} begin with?", choices))
    pattern = _pattern(parts, order)
    has_time, zoned = bool(parts[0]["t"]), bool(parts[0]["zone"])
    is_iso = (
        has_time
        and order == "ymd"
        and parts[0]["s"] == "-"
        and all(p["a"] and len(p["b"]) == len(p["c"]) == 2 for p in parts)
    )
    is_iso = is_iso and not any(p["half"] for p in parts)

    def read(text: str) -> str | None:
        match = _DATE.fullmatch(text)
        if not match:
            return None
        year, month, day = _ymd(match.groupdict(), order)
        clock = re.sub(r"^(\d):", r"0\1:", text[match.end("e") :].strip(" T")) or "00:00:00"
        return f"{year}-{int(month):02}-{int(day):02} {clock}"

    return "timestamp", None if is_iso else pattern, zoned, read


def _orders(part: dict) -> list[str]:
    if not part["b"].isdigit():
        return ["dmy"]
    if len(part["a"]) == 4 or part["s"] == "年":
        return ["ymd"]
    return ["dmy", "mdy", "ymd"] if len(part["c"]) <= 2 else ["dmy", "mdy"]


def _ymd(part: dict, order: str) -> tuple[str, str, str]:
    by = dict(zip(order, (part["a"], part["b"], part["c"]), strict=True))
    month = (
        by["m"] if by["m"].isdigit() else str(_MONTHS.index(by["m"].lower()) + 1) if by["m"].lower() in _MONTHS else "0"
    )
    return (by["y"] if len(by["y"]) == 4 else f"20{by['y']:0>2}"), month, by["d"]


def _fits(part: dict, order: str) -> bool:
    return _real(*_ymd(part, order))


def _real(year: str, month: str, day: str) -> bool:
    try:
        return 1900 <= date(int(year), int(month), int(day)).year <= 2100
    except ValueError:
        return False


def _pattern(parts: list[dict], order: str) -> str:
    """Spark's letters of a date in an order of its parts, with a time of the day if there is one."""
    first, places = parts[0], "abc"

    def letters(kind: str) -> str:
        at = places[order.index(kind)]
        if kind == "y":
            return "yyyy" if len(first[at]) == 4 else "yy"
        if not first[at].isdigit():
            return "MMM"
        letter = {"d": "d", "m": "M"}[kind]
        return letter if any(len(p[at]) == 1 for p in parts) else letter * 2

    text = first["s"].join([""]).join([letters(order[0]), ""]) + _quoted(first["s"]) + letters(order[1])
    text += _quoted(first["s2"]) + letters(order[2]) + _quoted(first["e"])
    if not first["t"]:
        return text
    hour = "h" if first["half"] else "H"
    text += ("'T'" if first["t"] == "T" else " ") + (hour if any(len(p["h"]) == 1 for p in parts) else hour * 2) + ":mm"
    seconds = [bool(p["sec"]) for p in parts]
    text += ":ss" if all(seconds) else "[:ss]" if any(seconds) else ""
    if any(p["frac"] for p in parts):
        text += "[.SSSSSS]" if not all(p["frac"] for p in parts) else "." + "S" * len(parts[0]["frac"][1:])
    if first["half"]:
        text += " a" if first["half"].startswith(" ") else "a"
    if first["zone"]:
        text += "XXX"
    return text


def _quoted(text: str) -> str:
    return f"'{text}'" if text in ("年", "月", "日") else text


# -- databases --------------------------------------------------------------------------------------------------------


def from_database(url: str, connection_name: str, schema: str | None = None) -> list[Table]:
    """The tables of a database, through SQLAlchemy (a jdbc: address is taken, too); PlatformError if it cannot be asked.

    Keys are those of the catalogue; SAMPLE_ROWS rows of each table are read. The login is that of the connection
    (warehouse/connections.py); an address with a password is refused, because a command line is no secret.
    """
    import sqlalchemy as sa

    drivers = {"postgresql": "postgresql+psycopg2", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}
    found = []
    variables = f"MDP_{connection_name.upper()}_USER and MDP_{connection_name.upper()}_PASSWORD_FILE"
    try:
        address = sa.make_url(url.removeprefix("jdbc:"))
        address = address.set(drivername=drivers.get(address.drivername, address.drivername))
        if address.password or "password" in address.query:
            raise PlatformError(
                "the address holds a password, which whoever lists processes can read: take it out, and give the login by "
                f"{variables}"
            )
        query = dict(address.query)
        user = query.pop("user", None) or address.username or os.environ.get(f"MDP_{connection_name.upper()}_USER")
        address = address.set(username=user, password=secret(connection_name), query=query)
        engine = sa.create_engine(address, poolclass=sa.NullPool)
        with engine.connect() as connection:
            inspector = sa.inspect(connection)
            for name in sorted(inspector.get_table_names(schema)):
                found.append(_database_table(connection, inspector, name, schema))
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise PlatformError(f"the database cannot be asked: {said}; its login is read from {variables}") from None
    if not found:
        raise PlatformError("the database has no table that this login may see: name another schema, or another login")
    return [table for table in found if table.fields]


def _database_table(connection, inspector, name: str, schema: str | None) -> Table:
    import sqlalchemy as sa

    columns = inspector.get_columns(name, schema)
    table = Table(name, {}, [])
    if not re.fullmatch(r"\w+", name):
        table.notes.append(f"left out: {name!r} is no table's name that a feed can have: read it by a query")
        return table
    for column in columns:
        if identifier(column["name"], "column") != column["name"]:
            table.notes.append(f"left out: {name}: column {column['name']!r}: give it another name in a query")
            continue
        one = Field(
            column["name"], _type(column["type"]), column["name"], has_offset=getattr(column["type"], "timezone", False)
        )
        table.fields[one.name] = one
    listed = sa.table(name, *(sa.column(c) for c in table.fields), schema=schema)
    result = connection.execute(sa.select(listed).limit(SAMPLE_ROWS))
    table.rows = [
        {key: None if value is None else str(value) for key, value in row.items()} for row in result.mappings()
    ]
    table.key = [c for c in inspector.get_pk_constraint(name, schema)["constrained_columns"] if c in table.fields]
    table.n_rows = connection.scalar(sa.select(sa.func.count()).select_from(listed))
    table.feed = {"kind": "jdbc", "table": f"{schema}.{name}" if schema else name, "mode": "full"}
    return table


def _type(kind) -> str:
    """The feed's type for a type of SQLAlchemy."""
    import sqlalchemy as sa

    if isinstance(kind, sa.Boolean):
        return "boolean"
    if isinstance(kind, sa.BigInteger):
        return "bigint"
    if isinstance(kind, sa.Integer):
        return "int"
    if isinstance(kind, sa.Float):
        return "double"
    if isinstance(kind, sa.Numeric):
        return f"decimal({kind.precision},{kind.scale or 0})" if kind.precision else "decimal(38,9)"
    if isinstance(kind, sa.DateTime):
        return "timestamp"
    return "date" if isinstance(kind, sa.Date) else "string"
