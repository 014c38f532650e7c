"""`make bench-ingest`: whole loads of millions of rows beside bare tools that do the moving alone.

Both sides take turns in one run, on one engine with two threads, each once before it counts. Ours is the whole load: inputs
fixed, files measured, rows judged and protected, counted, published. A figure is the median of the rounds' ratios, their
seconds divided by ours: 1 is as fast as the other side.

jdbc_import_vs_connectorx   2,000,000 × 7 rows of MariaDB, 2 parts, to Parquet
jdbc_import_vs_plain_spark  the same; Spark reads the table in two parts and writes Parquet: what is ours beside the moving
collect_vs_plain_spark      2,000,000 JSON events; Spark reads JSON with a schema and writes Parquet
collect_vs_duckdb_same_job  the same with a phone number: DuckDB parses, checks, hashes, deduplicates, writes partitions
kafka_vs_plain_spark        1,000,000 records; Spark reads the topic, parses JSON and writes Parquet
peak_memory_of_10x_rows     peak memory of importer and engine (heap 1 GB) in these loads, divided by that of a tenth of the rows
"""

import contextlib
import io
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

DAY = "2024-03-05"
ROUNDS = int(os.environ.get("ROUNDS", "3"))
N_ROWS, N_EVENTS, N_RECORDS = 2_000_000, 2_000_000, 1_000_000
TEXT = {"type": "string", "class": "internal"}
EVENT = {
    "event_id": TEXT | {"required": True},
    "event_type": TEXT | {"required": True, "allowed": ["view", "search", "add_to_cart", "purchase"]},
    "occurred_at": TEXT | {"required": True},
    "user_id": TEXT,
    "is_logged_in": {"type": "boolean", "class": "internal"},
    "device_id": TEXT,
    "session_id": TEXT,
    "product_id": TEXT,
    "duration_ms": {"type": "bigint", "class": "internal"},
    "platform": TEXT | {"allowed": ["ios", "android", "web"]},
}
PHONE = {"phone": {"type": "string", "class": "personal", "action": "hash_and_mask", "format": "phone"}}
COMMON = {"subject": "user_id", "key": ["event_id"]}
FEEDS = {
    "bench__orders": {
        "kind": "jdbc", "connection": "shop", "table": "orders", "mode": "full", "split_by": "order_id", "splits": 2,
        "subject": "customer_id", "key": ["order_id"],
        "columns": {
            "order_id": {"type": "bigint", "class": "internal"}, "customer_id": TEXT,
            "ordered_at": {"type": "timestamp", "class": "internal"},
            "amount_cny": {"type": "decimal(18,2)", "class": "internal"}, "quantity": {"type": "bigint", "class": "internal"},
            "channel": TEXT, "note": TEXT,
        },
    },
    "bench__events": COMMON | {"kind": "files", "directory": "events", "pattern": "events-{date}-*",
                               "timestamp_column": "occurred_at", "columns": EVENT},
    "bench__people": COMMON | {"kind": "files", "directory": "people", "pattern": "people-{date}-*",
                               "timestamp_column": "occurred_at", "columns": EVENT | PHONE},
    "bench__topic": COMMON | {"kind": "kafka", "topic": "bench", "timestamp_column": "occurred_at", "columns": EVENT},
}  # fmt: skip
SCHEMA = ", ".join(f"{name} {column['type']}" for name, column in EVENT.items())


def event(n: int, with_phone: bool = False) -> str:
    """The n-th event as a line; one in a thousand is too old, one in a thousand broken, one in a hundred sent twice."""
    day = "2024-02-01" if n % 1000 == 7 else DAY
    row = {
        "event_id": f"e{n - 50 if n % 100 == 99 else n:010}", "event_type": ("view", "search", "add_to_cart", "purchase")[n % 4],
        "occurred_at": f"{day}T{n % 24:02}:{n % 60:02}:{n % 59:02}.{n % 1000:03}+08:00", "user_id": f"c{n * 7919 % 100_000:06}",
        "is_logged_in": n % 3 > 0, "device_id": f"d{n * 104_729 % 200_000:06}", "session_id": f"s{n * 15_485_863 % 10**6:07}",
        "product_id": f"p{n % 5000:05}", "duration_ms": n * 31 % 100_000, "platform": ("ios", "android", "web")[n % 3],
    }  # fmt: skip
    if with_phone:
        row["phone"] = f"138{n * 7919 % 10**8:08}"
    text = json.dumps(row)
    return text[:100] if n % 1000 == 13 else text


class Bench:
    """An engine, a database, a broker and a spool in one directory."""

    def __init__(self, home: Path, engine_memory: str):
        from tests.companies import declare
        from tests.services import kafka, mariadb
        from tests.services.common import CACHE

        self.home, self.broker, self.database = home, None, None
        for service in (mariadb, kafka):
            service.install()
        self.database = mariadb.start(Path(tempfile.mkdtemp(prefix="mdp-mariadb-")))
        self.broker = kafka.start(Path(tempfile.mkdtemp(prefix="mdp-kafka-")))
        (home / "company").mkdir()
        (home / "company" / "feeds.yml").write_text(yaml.safe_dump(FEEDS, sort_keys=False))
        (home / "password").write_text(self.database.password)
        os.environ |= {
            "MDP_HOME": str(home), "MDP_COMPANY": declare(home / "company", generator=None), "MDP_SPOOL_URI": str(home / "spool"),
            "MDP_SHOP_URL": self.database.jdbc_url, "MDP_SHOP_USER": self.database.user,
            "MDP_SHOP_PASSWORD_FILE": str(home / "password"), "MDP_KAFKA_SERVERS": self.broker.bootstrap,
            "MDP_ENGINE_MEMORY": engine_memory, "MDP_ENGINE_COMPILER": "full", "MDP_SPARK_MASTER": "local[2]",
            "MDP_JARS": str(CACHE / "jars"),
        }  # fmt: skip
        from warehouse import jars, supervise

        jars.fetch(jars.EXTRAS, lambda text: None)
        supervise.start()
        from warehouse.session import session

        self.spark = session()

    def close(self) -> None:
        from warehouse import supervise
        from warehouse.session import close

        close()
        supervise.stop()
        for server in (self.database, self.broker):
            server.stop()
            shutil.rmtree(server.home)

    # -- ours ---------------------------------------------------------------------------------------------------------

    def forget(self, feed: str) -> None:
        """Make the next load of the feed its first."""
        from warehouse import state

        with state.engine().begin() as connection:
            for name in ("loads", "files"):
                table = state.metadata.tables[name]
                connection.execute(table.delete().where(table.c.feed == feed))

    def load(self, feed: str) -> int:
        """A load of the feed as if it were the first; returns rows in raw and in quarantine."""
        from ingestion import run

        self.forget(feed)
        with contextlib.redirect_stdout(io.StringIO()):
            (result,) = run.ingest(DAY, feeds=[feed])
        return result["n_rows"] + result["n_quarantined"]

    def compare(self, figure: str, other: Callable[[], int], other_said: str, feed: str, n: int) -> None:
        """Take turns; print each round's seconds and the figure."""
        print(f"\n{figure}\n  other  {other_said}\n  ours   run.ingest('{DAY}', feeds=['{feed}'])", flush=True)
        assert other() and self.load(feed) == n  # both sides warm, and ours complete
        ratios = []
        for number in range(ROUNDS):
            seconds = []
            for side in (other, lambda: self.load(feed)):
                began = time.monotonic()
                side()
                seconds.append(time.monotonic() - began)
            ratios.append(seconds[0] / seconds[1])
            print(f"  round {number + 1}: other {seconds[0]:.1f} s, ours {seconds[1]:.1f} s", flush=True)
        print(f"figure {figure} = {statistics.median(ratios):.2f}", flush=True)

    # -- sources ------------------------------------------------------------------------------------------------------

    def _fill_orders(self, n: int) -> None:
        self.database.execute("drop table if exists orders")
        self.database.execute(
            "create table orders (primary key (order_id)) as select cast(seq as signed) as order_id, "
            "concat('c', lpad(seq * 7919 % 100000, 6, '0')) as customer_id, "
            f"timestampadd(second, seq % 86000, timestamp '{DAY} 00:00:00') as ordered_at, "
            "cast(seq % 100000 / 100 as decimal(18,2)) as amount_cny, seq % 9 as quantity, "
            f"concat('channel-', seq % 7) as channel, concat('note of order ', seq) as note from seq_1_to_{n}"
        )

    def _fill_spool(self, name: str, n: int, with_phone: bool) -> str:
        place = self.home / "spool" / name
        place.mkdir(parents=True, exist_ok=True)
        for part in range(4):
            with (place / f"{name}-{DAY}-{part}.jsonl").open("w") as file:
                file.writelines(event(i, with_phone) + "\n" for i in range(part, n, 4))
        return str(place)

    def _fill_topic(self, n: int) -> None:
        if "bench" in self.broker.admin().list_topics(timeout=10).topics:
            self.broker.delete_topic("bench")
        self.broker.create_topic("bench", 4, {"retention.ms": "-1"})
        stamp = 1_709_604_000_000  # 10:00 in Shanghai
        self.broker.produce("bench", *({"value": event(i), "partition": i % 4, "timestamp": stamp} for i in range(n)))

    # -- the figures --------------------------------------------------------------------------------------------------

    def jdbc(self) -> None:
        import connectorx
        import pyarrow.parquet as pq

        from warehouse.connections import database

        server = self.database
        self._fill_orders(N_ROWS)
        url = f"mysql://{server.user}:{server.password}@127.0.0.1:{server.port}/mdp"
        query = "select order_id, customer_id, ordered_at, amount_cny, quantity, channel, note from orders"

        def other() -> int:
            found = connectorx.read_sql(url, query, partition_on="order_id", partition_num=2, return_type="arrow")
            pq.write_table(found, self.home / "connectorx.parquet")
            return len(found)

        said = f"connectorx.read_sql(mysql, {query!r}, partition_on='order_id', partition_num=2) → pyarrow Parquet"
        self.compare("jdbc_import_vs_connectorx", other, said, "bench__orders", N_ROWS)
        halves = [f"order_id < {N_ROWS // 2}", f"order_id >= {N_ROWS // 2}"]
        options = database("shop").jdbc_options() | {"fetchsize": "10000"}

        def plain_spark() -> int:
            self._spark_defaults()
            self.spark.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
            rows = self.spark.read.jdbc(options["url"], f"({query}) asked", predicates=halves, properties=options)
            rows.write.mode("overwrite").parquet(str(self.home / "engine" / "plain"))
            return 1

        said = "spark.read.jdbc(mariadb, the same query, 2 predicates).write.parquet(…)"
        self.compare("jdbc_import_vs_plain_spark", plain_spark, said, "bench__orders", N_ROWS)

    def collect(self) -> None:
        place, out = self._fill_spool("events", N_EVENTS, False), str(self.home / "engine" / "plain")

        def other() -> int:
            self._spark_defaults()
            self.spark.read.schema(SCHEMA).json(place).write.mode("overwrite").parquet(out)
            return 1

        said = "spark.read.schema(…).json(…).write.parquet(…)"
        self.compare("collect_vs_plain_spark", other, said, "bench__events", N_EVENTS)

    def same_job(self) -> None:
        import duckdb

        place, out = self._fill_spool("people", N_EVENTS, True), self.home / "duckdb"
        kinds = {"string": "VARCHAR", "boolean": "BOOLEAN", "bigint": "BIGINT"}
        shape = json.dumps({name: kinds[column["type"]] for name, column in (EVENT | PHONE).items()})
        names = ", ".join(f"row.{name}" for name in EVENT)
        sql = f"""
            copy (
              with lines as (
                select line, filename from read_csv('{place}/*.jsonl', columns = {{'line': 'VARCHAR'}}, delim = '\\x01',
                  quote = '', escape = '', header = false, filename = true)),
              parsed as (select *, case when json_valid(line) then json_transform(line, '{shape}') end as row from lines),
              timed as (select *, try_cast(row.occurred_at as timestamptz) as event_time from parsed),
              judged as (
                select *, case
                  when row is null then 'malformed_json'
                  when trim(coalesce(row.event_id, '')) = '' then 'missing_field:event_id'
                  when trim(coalesce(row.event_type, '')) = '' then 'missing_field:event_type'
                  when event_time is null then 'bad_timestamp:occurred_at'
                  when row.event_type not in ('view', 'search', 'add_to_cart', 'purchase') then 'unknown_value:event_type'
                  when row.platform not in ('ios', 'android', 'web') then 'unknown_value:platform'
                  when event_time >= timestamptz '2024-03-05 16:00:00+00' then 'future'
                  when event_time < timestamptz '2024-03-01 16:00:00+00' then 'too_late' end as reason
                from timed)
              select {names}, sha256('a key' || row.phone) as phone_hash,
                left(row.phone, 3) || '****' || right(row.phone, 4) as phone_mask, event_time, '{DAY}' as received_date,
                filename as source, reason, case when reason is not null then line end as payload, reason is not null as held
              from judged
              qualify reason is not null or row_number() over (partition by row.event_id order by event_time) = 1
            ) to '{out}' (format parquet, partition_by (held), overwrite_or_ignore)"""
        client = duckdb.connect(config={"threads": 2})

        def other() -> int:
            shutil.rmtree(out, ignore_errors=True)
            client.execute(sql)
            return 1

        said = "DuckDB, 2 threads: read_csv lines → json_transform → checks → sha256, mask → first per event_id → Parquet by held"
        self.compare("collect_vs_duckdb_same_job", other, said, "bench__people", N_EVENTS)

    def kafka(self) -> None:
        self._fill_topic(N_RECORDS)
        out = str(self.home / "engine" / "plain_topic")

        def other() -> int:
            self._spark_defaults()
            options = {"kafka.bootstrap.servers": self.broker.bootstrap, "subscribe": "bench"}
            records = self.spark.read.format("kafka").options(**options).load()
            parsed = records.selectExpr(f"from_json(cast(value as string), '{SCHEMA}') as row", "partition", "offset")
            parsed.selectExpr("row.*", "partition", "offset").write.mode("overwrite").parquet(out)
            return 1

        said = "spark.read.format('kafka').load() → from_json → select row.*, partition, offset → write.parquet(…)"
        self.compare("kafka_vs_plain_spark", other, said, "bench__topic", N_RECORDS)

    def memory(self) -> None:
        print("\npeak_memory_of_10x_rows\n  ours   mdp ingest, engine with a heap of 1 GB", flush=True)
        peaks: dict[str, list[int]] = {}
        for part in (10, 10, 1):  # the first is not counted: an engine that has just started is small
            self._fill_orders(N_ROWS // part)
            self._fill_spool("people", N_EVENTS // part, True)
            self._fill_topic(N_RECORDS // part)
            for feed in ("bench__orders", "bench__people", "bench__topic"):
                n_rows, importer, engine = self._peak(feed)
                peaks.setdefault(feed, []).append(importer + engine)
                print(f"  {feed:<14} {n_rows:>9,} rows: importer {importer:,} MB, engine {engine:,} MB", flush=True)
        print(f"figure peak_memory_of_10x_rows = {max(ten / one for _, one, ten in peaks.values()):.2f}", flush=True)

    def _peak(self, feed: str) -> tuple[int, int, int]:
        """(rows, peak megabytes of the importer, of the engine) of a load as if it were the first."""
        from warehouse import state
        from warehouse.runfile import service_process

        self.forget(feed)
        engine = Path("/proc") / str(service_process(self.home, "engine").pid)
        (engine / "clear_refs").write_text("5")  # from here on the peak is counted anew
        command = [str(Path(sys.executable).parent / "mdp"), "ingest", "--ds", DAY, "--feed", feed]
        process, importer = subprocess.Popen(command, stdout=subprocess.DEVNULL), 0
        while process.poll() is None:  # what wait4 tells is never less than this process was when it forked
            importer = _peak_megabytes(Path("/proc") / str(process.pid)) or importer
            time.sleep(0.02)
        assert process.returncode == 0
        load = state.load(feed, DAY)
        return load.n_rows + load.n_quarantined, importer, _peak_megabytes(engine)

    def _spark_defaults(self) -> None:
        """What our writes set in the session is not for the other side."""
        for name in ("spark.sql.parquet.outputTimestampType", "spark.sql.maxConcurrentOutputFileWriters"):
            self.spark.conf.unset(name)


def _peak_megabytes(process: Path) -> int:
    """The largest that a process of /proc was; 0 if it has just ended."""
    found = re.search(r"VmHWM:\s+(\d+)", (process / "status").read_text())
    return int(found[1]) >> 10 if found else 0


def main() -> None:
    """Measure all, or what is named on the command line: jdbc, collect, same_job, kafka, memory."""
    chosen = sys.argv[1:] or ["jdbc", "collect", "same_job", "kafka", "memory"]
    for engine_memory, names in (
        ("4g", [x for x in chosen if x != "memory"]),
        ("1g", [x for x in chosen if x == "memory"]),
    ):
        if not names:
            continue
        with tempfile.TemporaryDirectory(prefix="mdp-bench-") as home:
            bench = Bench(Path(home), engine_memory)
            try:
                for name in names:
                    getattr(bench, name)()
            finally:
                bench.close()


if __name__ == "__main__":
    main()
