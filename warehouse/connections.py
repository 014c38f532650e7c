"""Where foreign databases are: connection `crm` is MDP_CRM_URL, MDP_CRM_USER, MDP_CRM_PASSWORD or MDP_CRM_PASSWORD_FILE.

A password is read when it is used, from the environment or a file; it stands in no object that is printed, no command
line and no log.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from warehouse.errors import PlatformError
from warehouse.settings import settings

DRIVERS = {
    "derby": "org.apache.derby.jdbc.EmbeddedDriver",  # the autoloaded driver fails inside the engine
    "mariadb": "org.mariadb.jdbc.Driver",
    "mysql": "com.mysql.cj.jdbc.Driver",
    "postgresql": "org.postgresql.Driver",
}

# What a driver must be told so that nothing is lost on the way to Spark. They are written into the URL, because Spark
# Connect passes options on in lower case, which not every driver understands; what the URL says already wins.
OPTIONS = {
    "derby": (),
    "mariadb": ("permitMysqlScheme", "tinyInt1isBit=false", "yearIsDateType=false", "uuidAsString=true",
                "connectTimeout=10000"),
    # without a cursor this driver keeps a whole result in memory
    "mysql": ("tinyInt1isBit=false", "yearIsDateType=false", "useCursorFetch=true", "connectTimeout=10000"),
    "postgresql": ("tcpKeepAlive=true",),
}  # fmt: skip


@dataclass(frozen=True)
class Database:
    """A database named by a connection; `product` is derby, mariadb, mysql or postgresql."""

    name: str
    url: str
    product: str
    user: str | None

    @property
    def address(self) -> str:
        """The URL without its parameters, which may hold a login: what a message may show."""
        return re.sub(r"//[^/@]*@", "//", self.url.split("?")[0].split(";")[0])

    def jdbc_options(self) -> dict[str, str]:
        """Spark's options that open it: url, driver, user and password where there is one.

        Spark has no dialect for jdbc:mariadb (it quotes names so that MariaDB reads them as texts): MariaDB's driver also
        opens the same address as jdbc:mysql.
        """
        url = self.url.replace("jdbc:mariadb:", "jdbc:mysql:", 1)
        for option in OPTIONS[self.product]:
            if option.split("=")[0] not in url:
                url += ("&" if "?" in url else "?") + option
        found = {"url": url, "driver": DRIVERS[self.product], "user": self.user, "password": secret(self.name)}
        return {key: value for key, value in found.items() if value}


def database(name: str) -> Database:
    """The database of connection `name`; PlatformError if its URL is not set or of no known kind.

    `crm` needs no setting: it is the sample company's embedded Derby.
    """
    variable = f"MDP_{name.upper()}_URL"
    url = os.environ.get(variable) or ""
    if not url and name == "crm":
        url = f"jdbc:derby:{settings().home}/sample/crm;create=true"
    if not url:
        raise PlatformError(f"connection {name} has no address: set {variable} to a JDBC URL")
    product = url.split(":")[1] if url.startswith("jdbc:") and url.count(":") >= 2 else ""
    if product not in DRIVERS:
        found = f"jdbc:{product}" if re.fullmatch(r"\w+", product) else "something else"  # the rest may hold a login
        raise PlatformError(f"{variable} must be a JDBC URL of {', '.join(DRIVERS)}, not {found}")
    return Database(name, url, product, os.environ.get(f"MDP_{name.upper()}_USER") or None)


def secret(name: str) -> str | None:
    """The connection's password, from the file MDP_<NAME>_PASSWORD_FILE or from MDP_<NAME>_PASSWORD."""
    path = os.environ.get(f"MDP_{name.upper()}_PASSWORD_FILE")
    if not path:
        return os.environ.get(f"MDP_{name.upper()}_PASSWORD")
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise PlatformError(
            f"the password of connection {name} cannot be read from {path}: {error.strerror}; mend "
            f"MDP_{name.upper()}_PASSWORD_FILE"
        ) from None
