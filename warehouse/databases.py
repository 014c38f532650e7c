"""A foreign database from Python: a connection's JDBC URL as an SQLAlchemy engine, and what its errors mean.

The engine (Spark) reaches a database through JDBC, which has no transaction that Python could hold. Sessions opened here
are in UTC and refuse a value that a column cannot take: MariaDB and MySQL would otherwise cut it or write zero.
"""

import re
import ssl
from urllib.parse import parse_qsl, unquote

import sqlalchemy as sa

from warehouse.connections import Database, secret
from warehouse.errors import PlatformError
from warehouse.settings import settings

CONNECT_SECONDS = 10
LOCK_SECONDS = 60  # how long to wait for a table or row that somebody else holds
ADDRESS = re.compile(r"jdbc:(?:mariadb|mysql|postgresql)://(\[[\da-fA-F:]+\]|[\w.-]+)(?::(\d+))?/([^/?;]+)")

# The two drivers know different parameters. What guards a connection is passed on or refused, never dropped; what only
# tunes the JDBC driver is left to it.
TUNING = {
    "mysql": {
        "sessionvariables", "rewritebatchedstatements", "usebulkstmts", "usebulkstmtsforinserts", "useserverprepstmts",
        "cacheprepstmts", "prepstmtcachesize", "usecompression", "tinyint1isbit", "yearisdatetype", "autocommit",
        "characterencoding", "connectioncollation", "useunicode", "timezone", "servertimezone", "connectiontimezone",
        "forceconnectiontimezonetosession", "preserveinstants", "zerodatetimebehavior", "permitmysqlscheme",
        "defaultfetchsize", "usecursorfetch", "tcpkeepalive", "sockettimeout", "maxallowedpacket",
        "allowpublickeyretrieval", "disablepipeline",
    },
    "postgresql": {
        "rewritebatchedinserts", "preparethreshold", "preparedstatementcachequeries", "defaultrowfetchsize",
        "binarytransfer", "stringtype", "tcpkeepalive", "sockettimeout", "logintimeout", "loglevel", "loggerlevel",
        "adaptivefetch", "autosave", "applicationname", "assumeminserverversion",
    },
}  # fmt: skip
MYSQL_MODES = {  # MariaDB's and MySQL's names of sslMode
    "disable": "disable", "disabled": "disable", "trust": "trust", "required": "trust", "verify-ca": "verify-ca",
    "verify_ca": "verify-ca", "verify-full": "verify-full", "verify_identity": "verify-full", "preferred": "prefer",
}  # fmt: skip
# What the JDBC drivers do if the URL says nothing. (MariaDB's, from 4.0 on, also wants the server to prove itself by the
# password; Python's has no such proof, so encryption is all it can insist on.)
DEFAULT_MODE = {"mariadb": "trust", "mysql": "preferred"}
LIBPQ = {  # pgjdbc's name → libpq's
    "sslmode": "sslmode", "sslrootcert": "sslrootcert", "sslcert": "sslcert", "sslkey": "sslkey", "gssencmode": "gssencmode",
    "channelbinding": "channel_binding", "sslnegotiation": "sslnegotiation", "requireauth": "require_auth",
}  # fmt: skip

# A session loses nothing in silence. (`0` in an auto-increment column is a value; no zero dates.)
SESSION = {
    "mysql": (
        "set session sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
        "NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', foreign_key_checks = 1, unique_checks = 1, "
        "lock_wait_timeout = {lock}, innodb_lock_wait_timeout = {lock}",
    ),
    "postgresql": (
        "set timezone = 'UTC'", "set datestyle = 'ISO, YMD'", "set lock_timeout = '{lock}s'",
        "set statement_timeout = '{deadline}s'",
    ),
}  # fmt: skip

# What a row can be guilty of. Anything else (a deadlock, a lost connection, a full disk) is no row's fault.
MYSQL_ROW_FAULTS = {
    1048, 1062, 1216, 1217, 1264, 1265, 1292, 1364, 1366, 1367, 1406, 1411, 1416, 1441, 1451, 1452, 1525, 1526, 1557,
    1586, 1644, 1690, 1748, 1761, 1762, 3819, 4025, 4038,
}  # fmt: skip
POSTGRES_ROW_FAULTS = (
    "22",
    "23",
    "44",
    "P0001",
)  # data exception, integrity violation, check option, raised by a trigger
DENIED = (1044, 1142, 1143, "42501")  # a right is missing
REASON_LENGTH = 200


def family(base: Database) -> str:
    """mysql (MariaDB, MySQL) or postgresql; PlatformError for a database that Python cannot open."""
    found = {"mariadb": "mysql", "mysql": "mysql", "postgresql": "postgresql"}.get(base.product)
    if not found:
        raise PlatformError(f"{base.address}: only MariaDB, MySQL and PostgreSQL can be written row by row")
    return found


def open_database(base: Database) -> sa.Engine:
    """An engine on the connection's database, without a pool: each use is a session of its own.

    Raises PlatformError if the URL cannot be carried over, or the Python driver is not installed.
    """
    kind = family(base)
    found = ADDRESS.fullmatch(base.url.split("?")[0])
    if not found:
        raise PlatformError(
            f"connection {base.name}: {base.address} must look like jdbc:{base.product}://host:port/database to be "
            "written to: one host, and a database"
        )
    host, port, name = found.groups()
    options = _mysql_options(base) if kind == "mysql" else _postgres_options(base)
    url = sa.URL.create(
        "mysql+pymysql" if kind == "mysql" else "postgresql+psycopg2", username=base.user, password=secret(base.name),
        host=host.strip("[]"), port=int(port) if port else None, database=unquote(name),
        query={"charset": "utf8mb4"} if kind == "mysql" else {"client_encoding": "utf8"},
    )  # fmt: skip
    try:
        made = sa.create_engine(url, poolclass=sa.NullPool, connect_args=options, isolation_level="READ COMMITTED")
    except ModuleNotFoundError as error:
        raise PlatformError(f"connection {base.name} needs the Python package {error.name}: `make install`") from None
    sa.event.listen(made, "connect", lambda session, _: _prepare(session, kind))
    return made


def _prepare(session, kind: str) -> None:
    with session.cursor() as cursor:
        for statement in SESSION[kind]:
            cursor.execute(statement.format(lock=LOCK_SECONDS, deadline=settings().deadline_seconds))
    session.commit()


def _parameters(base: Database) -> dict[str, str]:
    """The URL's parameters, lower-case name → value; a login among them is refused: it would show in messages."""
    found = {name.lower(): value for name, value in parse_qsl(base.url.partition("?")[2], keep_blank_values=True)}
    if login := {"user", "password", "sslpassword", "keystorepassword"}.intersection(found):
        raise PlatformError(
            f"connection {base.name}: its URL holds {', '.join(sorted(login))}: set MDP_{base.name.upper()}_USER and "
            f"MDP_{base.name.upper()}_PASSWORD_FILE instead"
        )
    return found


def _refuse(base: Database, names) -> None:
    if names:
        raise PlatformError(
            f"connection {base.name}: its URL has parameters that Python's driver does not know: {', '.join(sorted(names))}; "
            "take them out, or export through a connection without them"
        )


def _mysql_options(base: Database) -> dict:
    found = _parameters(base)
    encrypted = {"true": "verify-full", "1": "verify-full", "false": "disable", "0": "disable"}
    mode = found.pop("sslmode", None) or encrypted.get(found.pop("usessl", "").lower())
    found.pop("usessl", None)  # both may be said: then it is sslMode that counts
    authority = found.pop("serversslcert", None)
    seconds = found.pop("connecttimeout", None)
    _refuse(base, found.keys() - TUNING["mysql"])
    deadline = settings().deadline_seconds
    options = {"connect_timeout": _seconds(seconds, 1000), "read_timeout": deadline, "write_timeout": deadline}
    mode = MYSQL_MODES.get((mode or DEFAULT_MODE[base.product]).lower())
    if mode is None:
        _refuse(base, ["sslMode"])
    if mode == "disable":
        return options | {"ssl_disabled": True}
    if mode == "prefer":
        return options
    try:
        context = ssl.create_default_context(cafile=authority)
    except OSError as error:
        raise PlatformError(f"connection {base.name}: serverSslCert {authority} cannot be read: {error}") from None
    context.check_hostname = mode == "verify-full"
    context.verify_mode = ssl.CERT_NONE if mode == "trust" else ssl.CERT_REQUIRED
    return options | {"ssl": context}


def _postgres_options(base: Database) -> dict:
    found = _parameters(base)
    options = {"connect_timeout": _seconds(found.pop("connecttimeout", None), 1)}
    encrypted = found.pop("ssl", None)
    options |= {LIBPQ[name]: found.pop(name) for name in list(found) if name in LIBPQ}
    if encrypted is not None and encrypted.lower() in ("", "true"):
        options.setdefault("sslmode", "verify-full")  # what pgjdbc makes of it
    if schema := found.pop("currentschema", None):
        options["options"] = f"-csearch_path={schema.replace(' ', '')}"
    if target := found.pop("targetservertype", None):
        options["target_session_attrs"] = {"primary": "read-write", "master": "read-write"}.get(target, target)
    _refuse(base, found.keys() - TUNING["postgresql"])
    return options


def _seconds(text: str | None, per_second: int) -> int:
    """A time-out of the URL in whole seconds, at least one."""
    return max(1, int(text) // per_second) if text and text.isdigit() and int(text) else CONNECT_SECONDS


# -- what an error means ----------------------------------------------------------------------------------------------


def is_row_fault(error: sa.exc.DBAPIError) -> bool:
    """Whether the statement failed because of a row's values: then other rows of it may be right."""
    code = _code(error)
    return code in MYSQL_ROW_FAULTS if isinstance(code, int) else str(code).startswith(POSTGRES_ROW_FAULTS)


def is_denied(error: sa.exc.DBAPIError) -> bool:
    """Whether the login lacks a right for the statement."""
    return _code(error) in DENIED


def reason(error: sa.exc.DBAPIError) -> str:
    """The database's own words on one line, code first, without the row's values (they may be long, or personal)."""
    code = _code(error)
    if isinstance(code, int):
        text = str(error.orig.args[1]) if len(error.orig.args) > 1 else str(error.orig)
        text = re.sub(r" at row \d+", "", text)
        text = re.sub(
            r"(?:`[^`]*`\.)+(`[^`]*`)", r"\1", text
        )  # a column's table is the staging's, with a name for once
        text = re.sub(r"(value|entry):? '.*' for ", r"\1 for ", text, flags=re.DOTALL)
    else:
        text = getattr(getattr(error.orig, "diag", None), "message_primary", None) or str(error.orig)
        if str(code).startswith("22"):
            text = re.sub(r':? ".*"', "", text, flags=re.DOTALL)
    return f"{code}: {' '.join(text.split())}"[:REASON_LENGTH]


def _code(error: sa.exc.DBAPIError) -> int | str:
    """MySQL's error number, or PostgreSQL's SQLSTATE ("connection" if there was no answer)."""
    if hasattr(error.orig, "pgcode"):
        return error.orig.pgcode or "connection"
    first = error.orig.args[0] if getattr(error.orig, "args", None) else None
    return first if isinstance(first, int) else "connection"
