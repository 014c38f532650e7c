"""JDBC URLs of other tools as connections: a name, the URL without a login in it, and the variables to set.

A login may stand anywhere in such a URL. What cannot be told from it for sure is not shown.
"""

import os
import re
from dataclasses import dataclass

from ingestion.guess import snake
from warehouse.connections import DRIVERS
from warehouse.errors import EngineDown, PlatformError
from warehouse.session import require_engine

# Connections whose variables would be settings of the platform itself (MDP_STATE_URL …).
TAKEN = ("state", "connect", "metastore", "maven")
LOGIN = re.compile(r"user|login|pass|pwd|secret|token|credential|key$", re.IGNORECASE)
_HOST = r"(\[[\da-fA-F:]+\]|[\w.-]+)(:\d+)?"
HOSTS = re.compile(rf"{_HOST}(,{_HOST})*")


@dataclass(frozen=True)
class Address:
    """A connection: its name, whether its URL is set, the user and the parts of the URL that were taken out."""

    name: str
    url: str
    is_set: bool
    user: str | None
    dropped: tuple[str, ...]

    @property
    def prefix(self) -> str:
        """What its variables begin with."""
        return f"MDP_{self.name.upper()}"

    def silence(self) -> str | None:
        """Why the database cannot be asked, None if it can."""
        if not self.is_set:
            return f"{self.prefix}_URL is not set"
        try:
            require_engine()
        except EngineDown as error:
            return str(error)
        return None


def read_address(url: str, place: str) -> Address:
    """The connection that a JDBC URL means: one that is set to the same database, else named after the database.

    PlatformError, which names `place` and never the URL, if it is none or of no known database.
    """
    product = url.split(":")[1] if url.startswith("jdbc:") and url.count(":") >= 2 else ""
    if product not in DRIVERS:
        named = product if re.fullmatch(r"[a-z]+\d?", product) else "this"
        raise PlatformError(
            f"{place}: {named} is no known database: {', '.join(DRIVERS)} are; for another one add its driver to DRIVERS in "
            "warehouse/connections.py, and see whether Spark has a dialect for it"
        )
    clean, user, dropped = _without_login(url)
    if clean is None:
        raise PlatformError(
            f"{place}: host and login cannot be told apart in the URL: write jdbc:{product}://host:port/database"
        )
    bare = _bare(clean)
    variables = {key[4:-4].lower(): value for key, value in os.environ.items() if re.fullmatch(r"MDP_\w+_URL", key)}
    same = [name for name, value in variables.items() if _bare(value) == bare and name not in TAKEN]
    name = same[0] if same else _connection_name(bare, product)
    return Address(name, clean, bool(same), user, tuple(dropped))


def _bare(url: str) -> str:
    return re.split("[?;]", url)[0].rstrip("/")


def _without_login(url: str) -> tuple[str | None, str | None, list[str]]:
    """(URL, user, names of parameters taken out); the URL is None if a login cannot be told from the host for sure."""
    base, mark, tail = re.fullmatch(r"([^?;]*)([?;]?)(.*)", url, re.DOTALL).groups()
    scheme, slashes, rest = base.partition("//")
    authority, slash, path = rest.partition("/")
    login, at, authority = authority.rpartition("@")
    if "@" in scheme + path or (authority and not HOSTS.fullmatch(authority)):
        return None, None, []
    user = login.partition(":")[0] if at else None
    dropped = ["password"] * (":" in login)
    kept, separator = [], "&" if mark == "?" else ";"
    for part in filter(None, tail.split(separator)):
        name, _, value = part.partition("=")
        if name.lower() in ("user", "username"):
            user = value
        elif not re.fullmatch(r"[\w.]+", name):
            dropped.append("a part that is no parameter")
        elif "@" in value or LOGIN.search(name):
            dropped.append(name)
        else:
            kept.append(part)
    return scheme + slashes + authority + slash + path + (mark + separator.join(kept) if kept else ""), user, dropped


def _connection_name(bare: str, product: str) -> str:
    """A connection's name from its database's; the product's where the URL names none."""
    named = re.search(r"(?<!/)/([^/]+)$", bare) if "//" in bare else re.search(r"[/:]([^/:]+)$", bare)
    name = re.sub(r"[^a-z0-9_]", "", snake(named[1])) if named else ""
    name = name or product
    name = name if name[0].isalpha() else f"db_{name}"
    return f"{name}_db" if name in TAKEN else name
