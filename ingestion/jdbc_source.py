"""One feed's database as Spark reads it: how SQL is written for it, what is asked of it, what its faults mean.

Spark sends what stands here and nothing of its own but the list of columns and the split's predicate around it, so the
plan of a load can be shown before it is read.
"""

import contextlib
import re
from dataclasses import dataclass

from pyspark.errors import PySparkException

from ingestion.feeds import JdbcFeed
from warehouse import jars
from warehouse.connections import Database, database, secret
from warehouse.errors import PlatformError
from warehouse.session import session

FETCH_ROWS = 10_000


@dataclass(frozen=True)
class Dialect:
    """How a product writes SQL; `session` is run on each connection that reads, `text` is a value's own text."""

    quote: str
    text: str
    random: str
    session: str


# A server gives up a reader that it waits for longer than net_write_timeout (60 s by default).
_MYSQL = Dialect("`", "concat({})", "rand()", "set time_zone = '+00:00', net_write_timeout = 600")
DIALECTS = {
    "derby": Dialect('"', "{}", "random()", ""),
    "mariadb": _MYSQL,
    "mysql": _MYSQL,
    "postgresql": Dialect(
        '"', "({})::text", "random()",
        "set time zone 'UTC'; set datestyle = 'ISO'; set intervalstyle = 'postgres'; set extra_float_digits = 1; "
        "set bytea_output = 'hex'; set standard_conforming_strings = on",
    ),
}  # fmt: skip

# What a driver's words mean, and what to do; the first that fits. {…}: of the connection.
FAULTS = (
    (r"ClassNotFoundException|No suitable driver|DATA_SOURCE_NOT_FOUND", "the engine has no driver for it",
     "`mdp warehouse jars {product}` fetches it, then restart the engine"),
    (r"denied for user .* to database|command denied|permission denied",
     "user {user} may not read it", "have the right granted, then run again"),
    (r"[Aa]ccess denied|password authentication failed|no password was provided|[Aa]uthentication|not authenticate|"
     r"role .* does not exist", "the login of user {user} is refused",
     "check {name}_USER and {name}_PASSWORD or {name}_PASSWORD_FILE"),
    (r"doesn't exist|does not exist|[Uu]nknown (column|table|database)|is either not in any table|no such (table|column)",
     "it is not there", "check the feed's table, query and where, and {name}_URL"),
    (r"terminat|reset|[Bb]roken pipe|end of stream|I/O error|closed|Socket error|[Ss]erver shutdown|killed|Interrupted|"
     r"Communications link failure|has gone away",
     "the connection broke off", "nothing of it was kept: see that the database runs, then run again"),
    (r"refused|[Ff]ail(ed)? to connect|UnknownHost|unknown host|timed? ?out|unreachable|not known|attempt failed|"
     r"Could not connect",
     "it does not answer", "see that it runs and that {name}_URL is right, then run again"),
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """The database behind a feed and what is read of it: `relation` is a table, or a query in parentheses."""

    name: str
    said: str  # what is read, as a message names it
    relation: str
    database: Database
    fetch_rows: int

    @property
    def dialect(self) -> Dialect:
        return DIALECTS[self.database.product]

    def quoted(self, name: str) -> str:
        """An identifier, whatever it holds."""
        q = self.dialect.quote
        return f"{q}{name.replace(q, q + q)}{q}"

    def literal(self, value: str, kind: str) -> str:
        """A value, given as the text that the database sent, as a literal of declared type `kind`."""
        if kind in ("date", "timestamp"):
            text = "'" + value.replace("'", "''") + "'"
            return f"{kind}({text})" if self.database.product == "derby" else text
        if kind == "string":
            # as hexadecimals a text needs no escapes, which depend on the server's sql_mode
            mysql = self.dialect is _MYSQL
            return f"_utf8mb4 x'{value.encode().hex()}'" if mysql else "'" + value.replace("'", "''") + "'"
        if re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", value):
            return value
        return "'" + value.replace("'", "''") + "'"  # PostgreSQL's NaN and Infinity

    def frame(self, relation: str, predicates: list[str] | None = None):
        """`relation` as a lazy frame, one partition per predicate; its columns are asked for now."""
        options = self.database.jdbc_options() | {"fetchsize": str(self.fetch_rows), "preferTimestampNTZ": "true"}
        if self.dialect.session:
            options["sessionInitStatement"] = self.dialect.session
        with self.faults():
            if predicates:
                found = session().read.jdbc(options.pop("url"), relation, predicates=predicates, properties=options)
            else:
                found = session().read.format("jdbc").options(**options, dbtable=relation).load()
            _ = found.schema
            return found

    def ask(self, sql: str, as_text: bool = True) -> list[tuple]:
        """The rows of a small query, each value as text or as Python has it; its columns need names."""
        asked = self.frame(f"({sql}) asked")
        with self.faults():
            listed = asked.selectExpr(*[f"cast(`{c}` as string)" for c in asked.columns]) if as_text else asked
            return [tuple(row) for row in listed.collect()]

    @contextlib.contextmanager
    def faults(self):
        """What Spark raises because of the database becomes one PlatformError; anything else passes."""
        try:
            yield
        except PySparkException as error:
            text = str(error)
            if "USER_RAISED_EXCEPTION" in text:
                raise PlatformError(re.search(r"USER_RAISED_EXCEPTION\] (.*?)(?: SQLSTATE|\n|$)", text)[1]) from None
            if not re.search(r"JDBC|java\.sql\.|SQLException|postgresql|ClassNotFound|UNRECOGNIZED_SQL_TYPE", text):
                raise
            raise self._fault(text) from None

    def _fault(self, text: str) -> PlatformError:
        reason = self._reason(text)
        means, then = "", "then run again"
        about = {
            "product": self.database.product,
            "user": self.database.user,
            "name": f"MDP_{self.database.name.upper()}",
        }
        for pattern, said, advice in FAULTS:
            if re.search(pattern, reason):
                means, then = said.format(**about) + ": ", advice.format(**about)
                break
        if "ClassNotFound" in reason and self.database.product in jars.EXTRAS:
            try:
                jars.require(self.database.product)
            except PlatformError as error:
                return PlatformError(f"{self.name}: {self.database.address} cannot be read: {error}")
        return PlatformError(
            f"{self.name}: {self.said} of {self.database.address} cannot be read: {means}{reason}; {then}"
        )

    def _reason(self, text: str) -> str:
        """The driver's own words, without what may hold a login."""
        said = re.search(r"(?:java\.sql\.\w+|(?:\w+\.)+\w*SQL\w*Exception)\)?: ([^\n]+)", text)
        unknown = re.search(r"Unrecognized SQL type - name: ([^,]+)", text)
        if unknown:
            reason = f"Spark knows no type {unknown[1]}: read the feed by a query that casts it"
        elif missing := re.search(r"ClassNotFoundException: \S+", text):
            reason = missing[0]
        else:
            reason = said[1] if said else text.split("\n")[0]
        reason = re.sub(r"^\(conn=\d+\) ", "", reason.strip()).rstrip(".")
        password = secret(self.database.name)
        if password:
            reason = reason.replace(password, "***")
        return re.sub(r"(jdbc:[^\s?;]*)[?;]\S*", r"\1", reason)


def source_of(feed: JdbcFeed) -> Source:
    """The source of a feed."""
    found = database(feed.connection)
    if feed.query:
        relation = f"(\n{feed.query.strip().rstrip(';')}\n) asked"
    elif found.product == "derby":
        relation = feed.table  # its names are upper case unless quoted, and so were the tables made
    else:
        q = DIALECTS[found.product].quote
        relation = ".".join(f"{q}{part}{q}" for part in feed.table.split("."))
    return Source(feed.name, feed.source, relation, found, feed.fetch_rows)


def source_table(name: str, table: str, connection: str = "crm"):
    """The table of a connection's database as a frame; PlatformError (without the password) if it cannot be opened."""
    found = database(connection)
    return Source(name, f"table {table}", table, found, FETCH_ROWS).frame(table)
