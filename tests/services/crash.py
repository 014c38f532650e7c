"""Kills at random points: a warehouse of its own, three sources, a load that is killed and run again, and what is left then.

Every point has a feed of its own on the same source, so each starts from nothing; all are compared with an undisturbed load.
"""

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from tests.companies import declare
from tests.conftest import PROJECT, mdp
from tests.e2e.privacy import glance
from warehouse.runfile import read_run, service_process

DAY = "2024-03-05"
BAD = 100  # each so-manieth row is held back, for one of three reasons
ATTEMPTS = 4
PEOPLE = {f"138{n:08}" for n in range(1, 500)} | {
    f"11010119900101{n:04}" for n in range(1, 500)
}  # some that all sources have
INTERNAL = {"class": "internal"}
COLUMNS = {
    "event_id": {"type": "string"} | INTERNAL,
    "occurred_at": {"type": "string"} | INTERNAL,
    "user_id": {"type": "string"} | INTERNAL,
    "phone": {"type": "string", "class": "personal", "action": "hash_and_mask", "format": "phone"},
    "id_number": {"type": "string", "class": "secret", "action": "encrypt"},
    "amount": {"type": "decimal(18,2)"} | INTERNAL,
}
EVENTS = {"timestamp_column": "occurred_at", "subject": "user_id", "key": ["event_id"]}
RULES = {"event_id": COLUMNS["event_id"] | {"required": True}}
BLOCKS = {
    "files": EVENTS | {"kind": "files", "directory": "crash", "pattern": "crash-{date}*", "columns": COLUMNS | RULES},
    "table": {
        "kind": "jdbc", "connection": "shop", "table": "crash", "mode": "full", "split_by": "event_id", "splits": 4,
        "subject": "user_id", "key": ["event_id"],
        "columns": COLUMNS | {"event_id": {"type": "bigint"} | INTERNAL, "occurred_at": {"type": "timestamp"} | INTERNAL},
    },
    "topic": EVENTS | {"kind": "kafka", "topic": "crash", "columns": COLUMNS | RULES},
}  # fmt: skip


def event(n: int) -> str:
    """The n-th event as a line; a few are broken."""
    row = {
        "event_id": f"e{n}", "occurred_at": f"{DAY}T{n % 24:02}:{n % 60:02}:{n % 59:02}+08:00", "user_id": f"c{n % 977}",
        "phone": f"138{n % 10**8:08}", "id_number": f"11010119900101{n % 10**4:04}", "amount": n % 10_000 / 100,
    }  # fmt: skip
    if n % BAD == 0:
        match n // BAD % 3:
            case 0:
                return json.dumps(row)[:-1]
            case 1:
                del row["event_id"]
            case 2:
                row["occurred_at"] = "2024-03-09T10:00:00+08:00"
    return json.dumps(row)


@dataclass
class Point:
    """One kill: which process, and after which part of the undisturbed time."""

    number: int
    seed: int
    victim: str
    part: float


def points(kind: str, seeds: list[int]) -> list[Point]:
    """A kill per seed; the victims take turns."""
    service = {"files": "importer", "table": "database", "topic": "broker"}[kind]
    victims = ["importer", "engine", service]
    return [
        Point(i + 1, seed, victims[i % 3], random.Random(f"{kind} {seed}").uniform(0.1, 0.95))
        for i, seed in enumerate(seeds)
    ]


class Crashes:
    """A warehouse with the sources of one size in `home`."""

    def __init__(self, home: Path, mariadb, kafka, n_feeds: int, batch: int, memory: str, compiler: str):
        self.home, self.services = home, {"database": mariadb, "broker": kafka}
        home.mkdir(parents=True, exist_ok=True)
        (home / "password").write_text(mariadb.password)
        blocks = {f"crash__{kind}_{i}": block for kind, block in BLOCKS.items() for i in range(n_feeds + 1)}
        blocks["crash__twice"] = BLOCKS["files"]
        for name in [name for name, block in blocks.items() if block["kind"] == "kafka"]:
            blocks[name] = blocks[name] | {"max_messages": batch}
        (home / "company").mkdir()
        (home / "company" / "feeds.yml").write_text(yaml.safe_dump(blocks, sort_keys=False))
        self.env = {
            "MDP_HOME": str(home), "MDP_COMPANY": declare(home / "company"), "MDP_SPOOL_URI": str(home / "sample" / "spool"),
            "MDP_KEY_FILE": str(home / "a.key"), "MDP_SHOP_URL": mariadb.jdbc_url, "MDP_SHOP_USER": mariadb.user,
            "MDP_SHOP_PASSWORD_FILE": str(home / "password"), "MDP_KAFKA_SERVERS": kafka.bootstrap,
            "MDP_ENGINE_MEMORY": memory, "MDP_ENGINE_COMPILER": compiler,
        }  # fmt: skip

    # -- sources ------------------------------------------------------------------------------------------------------

    def fill_files(self, n: int) -> None:
        """Four files of events, their last line without a line end."""
        place = self.home / "sample" / "spool" / "crash"
        place.mkdir(parents=True)
        for part in range(4):
            path = place / f"crash-{DAY}-{part}.jsonl"
            with path.open("w") as file:
                file.write("\n".join(event(i) for i in range(part, n, 4)))
            os.utime(path, (time.time() - 60,) * 2)

    def fill_table(self, n: int) -> None:
        """A table of as many good rows, made by the server."""
        server = self.services["database"]
        server.execute("drop table if exists crash")
        server.execute(
            "create table crash (primary key (event_id)) as select cast(seq as signed) as event_id, "
            f"timestampadd(second, seq % 80000, timestamp '{DAY} 00:00:00') as occurred_at, concat('c', seq % 977) as user_id, "
            "concat('138', lpad(seq % 100000000, 8, '0')) as phone, concat('11010119900101', lpad(seq % 10000, 4, '0')) "
            f"as id_number, cast(seq % 10000 / 100 as decimal(18,2)) as amount from seq_1_to_{n}"
        )

    def fill_topic(self, n: int) -> None:
        """Four partitions of events, all stamped on the day."""
        broker = self.services["broker"]
        broker.create_topic("crash", 4, {"retention.ms": "-1"})
        stamp = 1_709_604_000_000  # 10:00 in Shanghai
        messages = ({"value": event(i), "partition": i % 4, "timestamp": stamp + i % 1000} for i in range(n))
        broker.produce("crash", *messages)

    # -- loads --------------------------------------------------------------------------------------------------------

    def importer(self, feed: str, *more: str) -> subprocess.Popen:
        """Start `mdp ingest` of a feed."""
        command = [str(Path(sys.executable).parent / "mdp"), "ingest", "--ds", DAY, "--feed", feed, *more]
        log = (self.home / f"{feed}.log").open("ab")
        return subprocess.Popen(command, env=os.environ | self.env, cwd=PROJECT, stdout=log, stderr=log)

    def undisturbed(self, kind: str) -> tuple[float, dict]:
        """(seconds, result) of a load that nobody kills; it is timed when it is done again, by a warm engine."""
        feed = f"crash__{kind}_0"
        mdp("warehouse", "start", home=self.home, **self.env)
        assert self.importer(feed).wait(900) == 0, self.said(feed)
        began = time.monotonic()
        assert self.importer(feed, "--reload").wait(900) == 0, self.said(feed)
        return time.monotonic() - began, self.result(kind, 0)

    def disturbed(self, kind: str, point: Point, seconds: float) -> tuple[float, int, dict]:
        """(second of the kill, runs until the load was whole, result) of a load that is killed and then run again."""
        feed = f"crash__{kind}_{point.number}"
        began, process = time.monotonic(), self.importer(feed)
        time.sleep(point.part * seconds)
        at = time.monotonic() - began
        self._kill(point.victim, process)
        found, n_files = glance(self.home, PEOPLE)  # all but the source's own files, which lie below sample/
        assert n_files > 10 and found == [], f"after a kill of the {point.victim}"
        code = process.wait(900)
        if point.victim in self.services:
            self.services[point.victim].start()
        n_runs = 1
        mdp("warehouse", "start", home=self.home, check=False, **self.env)  # it may have died after the load was whole
        while code:
            assert n_runs < ATTEMPTS, f"{feed} is not whole after {n_runs} runs:\n{self.said(feed)}"
            code = self.importer(feed).wait(900)
            n_runs += 1
            mdp("warehouse", "start", home=self.home, check=False, **self.env)
        return at, n_runs, self.result(kind, point.number)

    def _kill(self, victim: str, importer: subprocess.Popen) -> None:
        """SIGKILL; an engine, broker or database comes back afterwards."""
        if victim == "importer":
            importer.kill()
        elif victim == "engine":
            engine = service_process(self.home, "engine")
            family = [engine, *engine.children(recursive=True)]
            for process in family:
                process.kill()
            psutil.wait_procs(family, timeout=20)
        else:
            self.services[victim].kill()

    def said(self, feed: str) -> str:
        return (self.home / f"{feed}.log").read_text(errors="replace")[-2000:]

    def result(self, kind: str, number: int) -> dict:
        """Rows, distinct keys and an order-independent checksum of what is not sealed; the same of the rows held back.

        (What is sealed is bound to the table's name, and so differs from feed to feed.)
        """
        from pyspark.sql.connect.session import SparkSession

        token = (self.home / "keys" / "connect_token").read_text()
        address = f"sc://localhost:{read_run(self.home)['ports']['connect']}/;token={token}"
        spark = SparkSession.builder.remote(address).create()
        try:
            name = f"crash__{kind}_{number}"
            found = {"raw": self._sums(spark, f"raw.{name}", "event_id")}
            if kind != "table":
                found["held"] = self._sums(spark, f"quarantine.{name}", "source, source_partition, source_position")
            return found
        finally:
            spark.stop()

    def _sums(self, spark, table: str, key: str) -> tuple[int, int, str]:
        skipped = ("id_number_enc", "payload", "key_id", "load_id", "batch")
        columns = [f"coalesce(cast(`{c}` as string), '')" for c in spark.table(table).columns if c not in skipped]
        row = spark.sql(
            f"select count(*) as n, count(distinct struct({key})) as n_keys, "
            f"sum(cast(xxhash64({', '.join(columns)}) as decimal(38,0))) as total from {table} where ds = '{DAY}'"
        ).first()
        return row.n, row.n_keys, f"{int(row.total or 0) & (2**64 - 1):016x}"
