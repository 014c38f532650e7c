"""The contracts of the sources: `feeds.yml`, read and checked before anything else happens.

A feed that is wrong in one key must not half-work: each fault becomes one sentence that names file, feed, key and what
is allowed there. The classes say what a column may do; `privacy.py` does it.
"""

import re
import zoneinfo
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, field_validator, model_validator

from ingestion.masks import CHINA, MASK
from ingestion.phones import is_country
from ingestion.privacy import NORMALISE
from ingestion.values import YEARS, format_fault
from warehouse import declarations
from warehouse.company import company, folder
from warehouse.declarations import Strict, allowed, sentence
from warehouse.errors import PlatformError, unknown

KINDS = ("jdbc", "files", "kafka")
NAME = r"^[a-z][a-z0-9]*__[a-z][a-z0-9_]*$"
CONNECTION = r"^[a-z][a-z0-9_]*$"
TYPES = r"^(string|boolean|int|bigint|float|double|date|timestamp|binary|decimal\(\d+,\d+\))$"
DECIMAL_DIGITS = 38
# What an Apache or Nginx line in the combined log format holds, in its order, and a name for the line as a whole.
COMBINED = (
    "remote_host", "identity", "remote_user", "requested_at", "request", "status", "n_bytes", "referer", "user_agent",
)  # fmt: skip
DIGEST = "line_digest"
# What collection itself writes beside a feed's columns, in raw or in quarantine.
WRITTEN = (
    "event_time", "received_date", "source", "source_partition", "source_position", "source_block", "source_row",
    "reason", "row_key", "payload", "held", "_corrupt",
)  # fmt: skip

# These texts become part of SQL: what could end a literal or an identifier is refused here.
Plain = Annotated[str, Field(pattern=r"^[^'\\\\`]+$")]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]


class Located(Strict):
    """Where a person's values are written: the country by which they are read."""

    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None
    country_column: str | None = None

    @field_validator("country")
    @classmethod
    def _known(cls, code: str | None):
        if code and not is_country(code):
            raise ValueError(f"is {code!r}: no numbers are known of such a country (two letters of ISO 3166: DE, GB)")
        return code


class Column(Located):
    """One column: its type, how much it gives away, and what is done about that at the door."""

    type: Annotated[str, Field(pattern=TYPES)]
    sensitivity: Annotated[Literal["public", "internal", "personal", "secret"], Field(alias="class")]
    action: Literal["mask", "hash", "hash_and_mask", "encrypt", "redact", "coarsen", "drop"] | None = None
    format: Literal["phone", "email", "name", "id_number", "bank_card", "address", "plain"] | None = None
    required: bool = False
    allowed: Annotated[tuple[Plain, ...], Field(min_length=1, strict=False)] | None = None  # strict: a list is no tuple
    time_format: Annotated[str, Field(min_length=1)] | None = None
    field: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _class_and_action_fit(self):
        takes = {
            "public": (None,),
            "internal": (None, "redact"),
            "personal": ("mask", "hash", "hash_and_mask", "encrypt", "redact", "coarsen", "drop"),
            "secret": ("encrypt", "drop"),
        }[self.sensitivity]
        if self.action in takes:
            return self
        match self.sensitivity:
            case "secret":
                raise ValueError("is secret: its action must be encrypt or drop")
            case "personal":
                raise ValueError(f"is personal and so needs an action: {', '.join(takes[:-1])} or {takes[-1]}")
        only = ", unless it is redact (of a free text)" if "redact" in takes else ""
        raise ValueError(
            f"is {self.sensitivity} and so takes no action{only}: drop the key or call the column personal or secret"
        )

    @model_validator(mode="after")
    def _action_and_type_fit(self):
        formats = {"mask": MASK, "hash": NORMALISE, "hash_and_mask": [f for f in NORMALISE if f in MASK]}
        fitting = formats.get(self.action)
        if fitting and self.format not in fitting:
            raise ValueError(f"needs a format for its action {self.action}: {', '.join(fitting)}")
        if self.format and not fitting:
            raise ValueError(f"has a format, which only an action of {', '.join(formats)} takes")
        if self.action == "encrypt" and self.type in ("float", "double", "binary"):
            raise ValueError(f"is {self.type}, which has no exact text to encrypt: drop it, or read it as another type")
        if (fitting or self.action == "redact") and self.type != "string":
            raise ValueError(f"is {self.type}: only a string can be masked, hashed or redacted")
        if self.type.startswith("decimal") and int(re.findall(r"\d+", self.type)[0]) > DECIMAL_DIGITS:
            raise ValueError(
                f"is {self.type}: a decimal has at most {DECIMAL_DIGITS} digits; a string holds any number"
            )
        if self.time_format and self.type not in ("date", "timestamp"):
            raise ValueError(f"is {self.type} and has a time_format, which only a date or timestamp has")
        if self.action == "coarsen" and self.type != "double":
            raise ValueError(f"is {self.type}: only a double can be coarsened")
        if (self.country or self.country_column) and not self.by_country:
            raise ValueError("has a country, by which only phone, id_number, address and redact read a value")
        return self

    @property
    def by_country(self) -> bool:
        """Whether what is done depends on the country."""
        return self.format in ("phone", "id_number", "address") or self.action == "redact"

    def stored(self, name: str) -> list[str]:
        """The names under which this column reaches the raw table (none if it is dropped)."""
        return {
            "mask": [f"{name}_mask"],
            "hash": [f"{name}_hash"],
            "hash_and_mask": [f"{name}_hash", f"{name}_mask"],
            "encrypt": [f"{name}_enc"],
            "drop": [],
        }.get(self.action, [name])


class Feed(Located):
    """What every feed declares; its name is also the name of its raw table."""

    name: Annotated[str, Field(pattern=NAME)]
    subject: str | None
    key: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    columns: Annotated[dict[Identifier, Column], Field(min_length=1)]
    new_columns: Literal["record", "let_through"] = "record"
    timestamp_zone: str | None = None

    @field_validator("timestamp_zone")
    @classmethod
    def _is_zone(cls, zone: str | None):
        if zone and zone not in zoneinfo.available_timezones():
            raise ValueError(f"is {zone!r}, which is no time zone: write it as Europe/London")
        return zone

    @property
    def raw_table(self) -> str:
        return f"raw.{self.name}"

    @property
    def quarantine_table(self) -> str:
        return f"quarantine.{self.name}"

    def country_of(self, name: str) -> tuple[str | None, str | None]:
        """(country, column that names it row by row) for the values of a column: its own, else the feed's, else the company's.

        Beside a column, the country is that of rows where the column is empty; without one, only numbers that name their
        country themselves are read there.
        """
        for block in (self.columns[name], self):
            if block.country or block.country_column:
                return block.country, block.country_column
        if not is_country(home := company().country):
            raise PlatformError(
                f"company.yml has country {home!r}: no phone numbers are known of such a country (two letters: DE, GB)"
            )
        return home, None

    def _must_be_columns(self, **named: str | None) -> None:
        for key, column in named.items():
            if column is not None and column not in self.columns:
                raise ValueError(f"names {column!r} as its {key}, which is not among its columns")

    @model_validator(mode="after")
    def _names_exist(self):
        self._must_be_columns(subject=self.subject)
        for column in self.key:
            self._must_be_columns(key=column)
            if self.columns[column].action:
                raise ValueError(f"has {column!r} in its key, which does not pass the door as it is")
        if not getattr(self, "header", False) and (named := [name for name, c in self.columns.items() if c.field]):
            raise ValueError(f"says under which field {named[0]!r} stands, which only a CSV with a header has")
        stored = [s.lower() for name, column in self.columns.items() for s in column.stored(name)]  # as a table sees it
        twice = {s for s in stored if stored.count(s) > 1} | {"ds", "load_id", "key_id"}.intersection(stored)
        if twice:
            raise ValueError(f"would write {', '.join(sorted(twice))} twice: rename a column")
        return self

    @model_validator(mode="after")
    def _countries_fit(self):
        self._must_be_columns(country_column=self.country_column)
        for name, column in self.columns.items():
            self._must_be_columns(country_column=column.country_column)
            if not column.by_country:
                continue
            country, by_row = self.country_of(name)
            if by_row and self.columns[by_row].type != "string":
                raise ValueError(f"names {by_row!r} as its country_column, which is no string: DE, CN, …")
            if column.action == "redact" and by_row and not country:
                raise ValueError(
                    f"redacts {name!r}, and a text is read for one country: give the column its country, such as "
                    f"`country: {company().country}`"
                )
            if column.format in ("id_number", "address") and (by_row or country != CHINA):
                where = f"what its {by_row} says" if by_row else country
                raise ValueError(
                    f"reads {name!r} as {column.format}, which is known for {CHINA} only, and its country is {where}: "
                    f"encrypt it, or hash it as plain (a column whose values are Chinese says `country: {CHINA}`)"
                )
        return self


class JdbcFeed(Feed):
    """A table or query of a database."""

    kind: Literal["jdbc"]
    connection: Annotated[str, Field(pattern=CONNECTION)] = "crm"
    table: Annotated[str, Field(pattern=r"^\w+(\.\w+)?$")] | None = None
    query: str | None = None
    where: str | None = None
    mode: Literal["full", "append", "lastmodified"]
    check_column: str | None = None
    created_column: str | None = None
    overlap_minutes: Annotated[int, Field(ge=0)] = 0
    split_by: str | None = None
    splits: Annotated[int, Field(ge=1, le=64)] = 1
    bounds: Annotated[tuple[int | str, int | str], Field(strict=False)] | None = None
    fetch_rows: Annotated[int, Field(ge=1)] = 10_000
    find_deleted: bool = False

    @property
    def deleted_table(self) -> str:
        """Where find_deleted writes the keys that are gone."""
        return f"{self.raw_table}__deleted"

    @property
    def source(self) -> str:
        """What is read, as a message names it."""
        return f"table {self.table}" if self.table else "its query"

    @model_validator(mode="after")
    def _source_and_mode_fit(self):
        if (self.table is None) == (self.query is None):
            raise ValueError("needs a table or a query, and not both")
        wanted = {"full": (), "append": ("check_column",), "lastmodified": ("check_column", "created_column")}
        for key in ("check_column", "created_column"):
            if getattr(self, key) is not None and key not in wanted[self.mode]:
                raise ValueError(f"has mode {self.mode}, which takes no {key}")
        if self.mode != "full" and self.check_column is None:
            raise ValueError(f"has mode {self.mode}, which needs a check_column")
        self._must_be_columns(
            check_column=self.check_column, created_column=self.created_column, split_by=self.split_by
        )
        allowed = {"append": ("date", "timestamp", "int", "bigint"), "lastmodified": ("date", "timestamp")}
        for column in filter(None, (self.check_column, self.created_column)):
            if self.columns[column].type not in allowed[self.mode]:
                raise ValueError(
                    f"checks {column!r}, which is {self.columns[column].type}: mode {self.mode} takes "
                    f"{', '.join(allowed[self.mode])}"
                )
        if self.overlap_minutes and (self.mode == "full" or self.columns[self.check_column].type != "timestamp"):
            raise ValueError("has overlap_minutes, which only a check_column of type timestamp can have")
        if self.find_deleted and self.mode != "full":
            raise ValueError("has find_deleted, which only mode full can know")
        if (self.bounds or self.splits > 1) and not self.split_by:
            raise ValueError("has bounds or splits, which need a split_by column")
        if self.split_by:
            self._split_fits()
        for name, column in self.columns.items():
            if column.required or column.allowed or column.time_format:
                raise ValueError(
                    f"puts required, allowed or time_format on {name!r}: rules at the door are for files and topics"
                )
        return self

    def _split_fits(self) -> None:
        kind = self.columns[self.split_by].type
        if kind in ("boolean", "binary"):
            raise ValueError(f"splits by {self.split_by!r}, which is {kind}: split by a number, a time or a text")
        if not self.bounds:
            return
        low, high = self.bounds
        try:
            if kind in ("date", "timestamp"):
                fits = datetime.fromisoformat(str(low)) < datetime.fromisoformat(str(high))
            else:
                fits = kind != "string" and low < high and isinstance(low, int)
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise ValueError(
                f"has bounds {low!r} and {high!r}: for {self.split_by!r}, which is {kind}, they must be "
                f"{'left out: they are found' if kind == 'string' else 'a lower and a higher whole number, or ISO time'}"
            )


class LogFeed(Feed):
    """Rows from files or a topic, most of them events: each is parsed and judged, and passes or is held back."""

    format: Literal["json", "csv", "combined"] = "json"
    delimiter: Annotated[str, Field(pattern=r"^[^'\\`\"\n]$")] = ","
    decimal: Literal[".", ","] = "."
    thousands: Literal[".", ",", "'", " ", "\u00a0", "\u202f"] | None = None
    timestamp_column: str | None
    timestamp_format: Annotated[str, Field(min_length=1)] | None = None
    years: Annotated[tuple[int, int], Field(strict=False)] = YEARS

    @model_validator(mode="after")
    def _numbers_fit(self):
        if self.format != "csv" and (self.decimal != "." or self.thousands):
            raise ValueError("has decimal or thousands, which only format csv has")
        if self.decimal == self.thousands:
            raise ValueError(f"has {self.decimal!r} as its decimal and as its thousands")
        return self

    @model_validator(mode="after")
    def _times_fit(self):
        if not 1 <= self.years[0] <= self.years[1] <= 9999:
            raise ValueError(f"has years {list(self.years)}: they are the first and the last, within 1 and 9999")
        declared = {"its timestamp_format": (self.timestamp_format, "timestamp")}
        declared |= {f"time_format of {name!r}": (c.time_format, c.type) for name, c in self.columns.items()}
        for where, (pattern, kind) in declared.items():
            if pattern and (fault := format_fault(pattern, self.timestamp_zone, kind)):
                raise ValueError(f"has {pattern!r} as {where}, which {fault}")
        return self

    @model_validator(mode="after")
    def _columns_fit(self):
        self._must_be_columns(timestamp_column=self.timestamp_column)
        if self.timestamp_column is None and self.timestamp_format:
            raise ValueError("has a timestamp_format, which only a timestamp_column has")
        if self.timestamp_column and self.columns[self.timestamp_column].type not in self._times_written_as():
            raise ValueError(
                f"needs type {' or '.join(self._times_written_as())} for its timestamp_column: it is kept as it was written"
            )
        taken = {name for name in self.columns if name.lower() in WRITTEN}
        if taken:
            raise ValueError(f"has columns named {', '.join(sorted(taken))}, which collection writes itself")
        if self.format == "combined" and (wrong := set(self.columns).difference((*COMBINED, DIGEST))):
            raise ValueError(
                f"has columns {', '.join(sorted(wrong))}, but a combined log has {', '.join(COMBINED)} and {DIGEST}"
            )
        return self

    def _times_written_as(self) -> tuple[str, ...]:
        """The types that its timestamp_column may have."""
        return ("string",)


class FilesFeed(LogFeed):
    """Files in a directory of the spool, plain or compressed (.gz, .bz2, .zst); a file's name says on which day it arrived.

    With mode full the files of one day are the whole table. Rows of a feed without a timestamp_column have no time of their
    own and count on the day on which their file arrived.
    """

    kind: Literal["files"]
    format: Literal["json", "csv", "combined", "parquet"] = "json"
    mode: Literal["append", "full"] = "append"
    timestamp_column: str | None = None
    directory: Annotated[str, Field(pattern=r"^[\w-]+(/[\w-]+)*$")]
    pattern: Plain
    encoding: Literal["utf-8", "latin-1", "cp1252", "gb18030"] = "utf-8"
    header: bool = False
    multi_line: bool = False

    @model_validator(mode="after")
    def _pattern_has_the_day(self):
        if self.pattern.count("{date}") != 1:
            raise ValueError("needs {date} once in its pattern: the day in the name is the day a file arrived")
        if self.header and self.format != "csv":
            raise ValueError("has a header, which only format csv has")
        if self.multi_line and self.format != "csv":
            raise ValueError("has multi_line, which only format csv has")
        if self.mode == "full" and self.timestamp_column:
            raise ValueError(
                "has mode full and a timestamp_column: a whole table is of no moment, so declare its times as columns of "
                "type timestamp alone"
            )
        if self.encoding == "gb18030" and (self.delimiter >= "@" or self.delimiter.isdigit()):
            raise ValueError(f"has delimiter {self.delimiter!r}, which can be a part of a character in gb18030")
        return self

    @model_validator(mode="after")
    def _parquet_says_itself(self):
        if self.format != "parquet":
            return self
        if self.encoding != "utf-8" or self.delimiter != ",":
            raise ValueError("has an encoding or delimiter, which no Parquet file has")
        if self.new_columns == "let_through":
            raise ValueError("has new_columns let_through, which Parquet files do not take: declare the columns")
        if DIGEST in self.columns:
            raise ValueError(f"has a column {DIGEST}, but a Parquet file has no lines")
        if formatted := [name for name, column in self.columns.items() if column.time_format]:
            raise ValueError(f"has a time_format for {formatted[0]!r}, but a Parquet file's dates and times have types")
        return self

    def _times_written_as(self) -> tuple[str, ...]:
        return ("string", "timestamp") if self.format == "parquet" else ("string",)

    @property
    def file_regex(self) -> str:
        """Regular expression of a file's whole base name (any character: re.DOTALL); group 1 is the day."""
        before, after = (
            ".*".join(re.escape(piece) for piece in part.split("*")) for part in self.pattern.split("{date}")
        )
        return rf"{before}([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}){after}"


class KafkaFeed(LogFeed):
    """A topic: the records up to the end of a day, by the broker's time stamps."""

    kind: Literal["kafka"]
    connection: Annotated[str, Field(pattern=CONNECTION)] = "kafka"
    topic: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    timestamp_column: str
    max_messages: Annotated[int, Field(ge=1)] = 5_000_000


_feed = TypeAdapter(Annotated[JdbcFeed | FilesFeed | KafkaFeed, Field(discriminator="kind")])


def load_feeds(path: Path | None = None) -> dict[str, Feed]:
    """Name → feed, in the order of the file (default: feeds.yml of the company's folder).

    Every fault of the file is said in one PlatformError, a sentence each.
    """
    path = path or folder() / "feeds.yml"
    return declarations.read(
        path, "feed", _feed.validate_python, lambda name, fault: f"feed {name}: {_sentence(fault)}"
    )


def pick(names: list[str] | None, kinds: list[str] | None = None) -> list[Feed]:
    """The feeds named, all if none is; of some kinds if given. An unknown name or kind lists the known ones."""
    feeds = load_feeds()
    for name in names or ():
        if name not in feeds:
            raise unknown("feed", name, feeds)
    for kind in kinds or ():
        if kind not in KINDS:
            raise unknown("kind of feed", kind, KINDS)
    return [f for f in feeds.values() if (not names or f.name in names) and (not kinds or f.kind in kinds)]


def _sentence(fault: dict) -> str:
    """One pydantic fault of a feed as a sentence."""
    kind, *place = map(str, fault["loc"] or ("",))
    model = {"files": FilesFeed, "kafka": KafkaFeed}.get(kind, JdbcFeed)
    if fault["type"] in ("union_tag_not_found", "union_tag_invalid"):
        return f"key 'kind' must be {', '.join(KINDS[:-1])} or {KINDS[-1]}; {allowed(model)}"
    if place == ["name"]:
        return "the name must be <domain>__<entity> in lower case"
    return sentence(fault, place, Column if place[:1] == ["columns"] else model)
