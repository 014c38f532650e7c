"""Where foreign databases and brokers are: connection `crm` is MDP_CRM_URL, MDP_CRM_USER, MDP_CRM_PASSWORD or
MDP_CRM_PASSWORD_FILE; connection `kafka` is MDP_KAFKA_SERVERS and, for a listener with TLS or a login, what `Broker` says.

A password is read when it is used, from the environment or a file; it stands in no object that is printed, no command
line and no log.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from warehouse.company import company
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

    With a generated company `crm` needs no setting: it is an embedded Derby.
    """
    variable = f"MDP_{name.upper()}_URL"
    url = os.environ.get(variable) or ""
    if not url and name == "crm" and company().generator:
        url = f"jdbc:derby:{settings().home}/sample/crm;create=true"
    if not url:
        raise PlatformError(f"connection {name} has no address: set {variable} to a JDBC URL")
    product = url.split(":")[1] if url.startswith("jdbc:") and url.count(":") >= 2 else ""
    if product not in DRIVERS:
        found = f"jdbc:{product}" if re.fullmatch(r"\w+", product) else "something else"  # the rest may hold a login
        raise PlatformError(f"{variable} must be a JDBC URL of {', '.join(DRIVERS)}, not {found}")
    return Database(name, url, product, os.environ.get(f"MDP_{name.upper()}_USER") or None)


PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
LOGIN_MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}


@dataclass(frozen=True)
class Broker:
    """A Kafka cluster named by a connection; `protocol` and `mechanism` are Kafka's own names."""

    name: str
    servers: str
    protocol: str
    mechanism: str
    user: str | None
    ca_file: str | None

    def java_settings(self) -> dict[str, str]:
        """What a Java client must be told beside the addresses, the password among it."""
        found = {"security.protocol": self.protocol}
        if self.ca_file:  # as text: the file need not lie on each machine of a cluster
            found |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": self._certificates()}
        if self.user:
            login = f"username={_quoted(self.user)} password={_quoted(self._password())}"
            found |= {
                "sasl.mechanism": self.mechanism,
                "sasl.jaas.config": f"{LOGIN_MODULES[self.mechanism]} required {login};",
            }
        return found

    def client_settings(self) -> dict[str, str]:
        """The same for confluent-kafka."""
        found = {"security.protocol": self.protocol}
        if self.ca_file:
            found["ssl.ca.pem"] = self._certificates()
        if self.user:
            found |= {
                "sasl.mechanism": self.mechanism,
                "sasl.username": self.user,
                "sasl.password": self._password(),
            }
        return found

    def _certificates(self) -> str:
        try:
            return Path(self.ca_file).read_text()
        except OSError as error:
            raise PlatformError(
                f"the certificates of connection {self.name} cannot be read from {self.ca_file}: {error.strerror}; mend "
                f"MDP_{self.name.upper()}_CA_FILE"
            ) from None

    def _password(self) -> str:
        found = secret(self.name)
        if not found:
            raise PlatformError(
                f"connection {self.name} has a user and no password: set MDP_{self.name.upper()}_PASSWORD_FILE"
            )
        return found


def _quoted(text: str) -> str:
    """As a value in a Java login configuration."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def broker(name: str) -> Broker:
    """The Kafka cluster of connection `name`; PlatformError if it has no address or a setting that Kafka does not know.

    Of connection `kafka`, MDP_KAFKA_PROTOCOL says how it is reached (default: SASL_SSL with a user, else PLAINTEXT),
    MDP_KAFKA_USER, MDP_KAFKA_PASSWORD_FILE or MDP_KAFKA_PASSWORD who we are, MDP_KAFKA_MECHANISM how that is told (default:
    PLAIN), MDP_KAFKA_CA_FILE who signed the brokers' certificates (PEM; default: whom the system trusts).
    """
    prefix = f"MDP_{name.upper()}"
    servers, user = os.environ.get(f"{prefix}_SERVERS"), os.environ.get(f"{prefix}_USER") or None
    if not servers:
        raise PlatformError(f"connection {name} has no address: set {prefix}_SERVERS to host:port")
    protocol = os.environ.get(f"{prefix}_PROTOCOL") or ("SASL_SSL" if user else "PLAINTEXT")
    mechanism = os.environ.get(f"{prefix}_MECHANISM") or "PLAIN"
    for variable, value, known in (("PROTOCOL", protocol, PROTOCOLS), ("MECHANISM", mechanism, LOGIN_MODULES)):
        if value not in known:
            raise PlatformError(f"{prefix}_{variable} must be one of {', '.join(known)}, not {value!r}")
    if bool(user) != protocol.startswith("SASL"):
        wanted = f"set {prefix}_USER" if not user else f"set {prefix}_PROTOCOL to SASL_SSL"
        raise PlatformError(f"connection {name}: a login goes with {', '.join(PROTOCOLS[2:])} and no other: {wanted}")
    return Broker(name, servers, protocol, mechanism, user, os.environ.get(f"{prefix}_CA_FILE") or None)


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
