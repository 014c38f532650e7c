"""A Sqoop command against a real database, a Flume agent against a real broker: the blocks that are printed load their rows."""

import json
import re
from datetime import datetime

import pytest

from ingestion import flume, infer, run, sqoop
from ingestion.feeds import load_feeds
from mdp.company import accept
from tests.companies import declare
from warehouse.errors import PlatformError

DAY = "2026-01-31"


@pytest.fixture(params=["mariadb", "postgres"])
def shop(request, connectors, spark, tmp_path, monkeypatch):
    """A database with a table of orders, its connection set; state and key of their own."""
    server = request.getfixturevalue(request.param)
    server.execute("drop table if exists orders")
    server.execute(
        "create table orders (line_no smallint not null, order_id bigint not null, phone varchar(30), total decimal(12,2), "
        "changed_at timestamp not null, primary key (order_id, line_no))"
    )
    rows = [
        {"n": n, "phone": f"+86 138 1234 567{n}", "total": f"{n}.25", "at": f"{DAY} 0{n}:00:00"} for n in range(1, 7)
    ]
    server.execute("insert into orders values (1, :n, :phone, :total, :at)", *rows)
    monkeypatch.setenv("MDP_SHOP_URL", server.jdbc_url)
    monkeypatch.setenv("MDP_SHOP_USER", server.user)
    monkeypatch.setenv("MDP_SHOP_PASSWORD", server.password)
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    monkeypatch.setenv("MDP_KEY_FILE", str(tmp_path / "a.key"))
    yield server
    spark.sql("drop table if exists raw.shop__orders")


@pytest.fixture
def prices(postgres, connectors, spark, tmp_path, monkeypatch):
    """A PostgreSQL table whose numerics hold NaN and 21 digits before the point; state and key of their own."""
    postgres.execute("drop table if exists prices")
    postgres.execute("create table prices (price_id int primary key, loose numeric, tight numeric(10,2), wide numeric(30,5), "
                     "free numeric, plain numeric(12,2))")  # fmt: skip
    digits = "123456789012345678901"
    postgres.execute(
        f"insert into prices values (1, 'NaN', 'NaN', {digits}.5, {digits}.25, 1.50), (2, 2.5, 3.25, 4, 5, 6)"
    )
    monkeypatch.setenv("MDP_SHOP_URL", postgres.jdbc_url)
    monkeypatch.setenv("MDP_SHOP_USER", postgres.user)
    monkeypatch.setenv("MDP_SHOP_PASSWORD", postgres.password)
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    monkeypatch.setenv("MDP_KEY_FILE", str(tmp_path / "a.key"))
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path))
    yield postgres
    spark.sql("drop table if exists raw.shop__prices")


def test_infer_names_a_column_with_nan_and_the_way_out_which_leads_out(prices, spark, tmp_path, monkeypatch):
    made = infer.propose_table("shop", "prices", None, None)
    said = {line.split(":")[0].strip(): line for line in made.text.splitlines() if "type:" in line}
    assert (
        "decimal(10,2)" in said["tight"]
        and "holds NaN, at which a load stops: select nullif(tight, 'NaN')" in said["tight"]
    )
    assert "string" in said["loose"] and "holds NaN: as a text, or nullif(loose, 'NaN') in a query" in said["loose"]
    assert "decimal(30,5)" in said["wide"] and "string" in said["free"] and "NaN" not in said["wide"] + said["free"]
    (tmp_path / "feeds.yml").write_text(made.text)
    accept(tmp_path)
    with pytest.raises(
        PlatformError, match=r"shop__prices: `tight` holds NaN at the source, which no decimal\(10,2\) can hold"
    ):
        run.ingest(DAY, feeds=["shop__prices"])
    query = "select price_id, loose, nullif(tight, 'NaN') as tight, wide, free, plain from prices"
    made = infer.propose_table("shop", None, query, "shop__prices")
    assert "NaN, at which" not in made.text
    (tmp_path / "feeds.yml").write_text(made.text)
    accept(tmp_path)
    assert run.ingest(DAY, feeds=["shop__prices"], reload=True)[0]["n_rows"] == 2
    rows = spark.table("raw.shop__prices").orderBy("price_id").collect()
    assert [str(rows[0][c]) for c in ("loose", "tight", "wide", "free")] == [
        "NaN", "None", "123456789012345678901.50000", "123456789012345678901.25",
    ]  # fmt: skip
    assert float(rows[1]["tight"]) == 3.25


@pytest.mark.services
def test_an_options_file_becomes_a_feed_that_loads(shop, spark, tmp_path, monkeypatch):
    options = tmp_path / "orders.txt"
    options.write_text(
        f"import\n--connect\n{shop.jdbc_url}\n--username\n{shop.user}\n--password\n{shop.password}\n--table\norders\n"
        "--incremental\nlastmodified\n--check-column\nchanged_at\n--where\norder_id > 1\n--split-by\norder_id\n-m\n2\n"
        "--hive-import\n--target-dir\n/data/orders\n"
    )
    made = sqoop.convert(str(options))
    assert made.faults == [] and shop.password not in made.text + "\n".join(made.notes)
    assert "key: [order_id, line_no]  # the database's primary key" in made.text
    feeds = tmp_path / "feeds.yml"
    feeds.write_text(made.text)
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path))
    accept(tmp_path)
    feed = load_feeds()["shop__orders"]
    assert {name: column.type for name, column in feed.columns.items()} == {
        "line_no": "int", "order_id": "bigint", "phone": "string", "total": "decimal(12,2)", "changed_at": "timestamp",
    }  # fmt: skip
    assert (feed.splits, feed.split_by, feed.where) == (2, "order_id", "order_id > 1")
    assert run.ingest(DAY, feeds=["shop__orders"])[0]["n_rows"] == 5
    rows = spark.table("raw.shop__orders").selectExpr("phone_mask", "cast(total as string)").collect()
    assert sorted(map(tuple, rows)) == [(f"138****567{n}", f"{n}.25") for n in range(2, 7)]


@pytest.mark.services
def test_a_flume_agents_topics_become_feeds_that_load(connectors, kafka, spark, tmp_path, monkeypatch):
    """The guide's Kafka source and a Kafka channel without a source, with the broker's login."""
    for name in ("test1", "test2"):
        kafka.create_topic(name, 2, {"retention.ms": "-1"})
    noon = datetime.fromisoformat(f"{DAY}T12:00:00+08:00")
    lines = [
        {"event_id": f"e{n}", "occurred_at": noon.isoformat(), "user_id": f"c{n}", "phone": f"1381234567{n}"}
        for n in range(4)
    ]
    for name in ("test1", "test2"):
        sent = [{"value": json.dumps(line), "timestamp": int(noon.timestamp() * 1000)} for line in lines]
        kafka.produce(name, *sent)
    seen = tmp_path / "events.jsonl"
    seen.write_text("\n".join(map(json.dumps, lines)) + "\n")
    agent = tmp_path / "agent.properties"
    login = f'PlainLoginModule required username="{kafka.user}" password="{kafka.password}";'
    agent.write_text(
        "tier1.sources = s\ntier1.channels = c d\ntier1.sinks = h\n"
        "tier1.sources.s.type = org.apache.flume.source.kafka.KafkaSource\ntier1.sources.s.channels = c\n"
        f"tier1.sources.s.kafka.bootstrap.servers = {kafka.login_bootstrap}\ntier1.sources.s.kafka.topics = test1\n"
        "tier1.sources.s.kafka.consumer.security.protocol = SASL_SSL\n"
        f"tier1.sources.s.kafka.consumer.sasl.mechanism = PLAIN\ntier1.sources.s.kafka.consumer.sasl.jaas.config = {login}\n"
        "tier1.channels.c.type = memory\ntier1.channels.d.type = org.apache.flume.channel.kafka.KafkaChannel\n"
        f"tier1.channels.d.kafka.bootstrap.servers = {kafka.bootstrap}\ntier1.channels.d.kafka.topic = test2\n"
        "tier1.channels.d.parseAsFlumeEvent = false\ntier1.sinks.h.type = hdfs\ntier1.sinks.h.channel = d\n"
    )
    made = flume.convert(agent, [f"test1={seen}", f"test2={seen}"])
    notes = "\n".join(made.notes)
    assert made.faults == [] and kafka.password not in made.text + notes
    for variable, value in re.findall(r"^set: (MDP_\w+)=(.+)$", notes, re.M):
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("MDP_KAFKA_PASSWORD", kafka.password)
    monkeypatch.setenv("MDP_KAFKA_CA_FILE", str(kafka.ca_file))
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path))
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    monkeypatch.setenv("MDP_KEY_FILE", str(tmp_path / "a.key"))
    (tmp_path / "feeds.yml").write_text(made.text)
    accept(tmp_path)
    try:
        assert {r["feed"]: r["n_rows"] for r in run.ingest(DAY, feeds=list(load_feeds()))} == {
            "tier1__test1": 4, "tier1__test2": 4,
        }  # fmt: skip
        rows = spark.sql("select event_id, phone_mask from raw.tier1__test1 order by 1").collect()
        assert [tuple(row) for row in rows] == [(f"e{n}", f"138****567{n}") for n in range(4)]
    finally:
        for name in ("test1", "test2"):
            kafka.delete_topic(name)
            for schema in ("raw", "quarantine"):
                spark.sql(f"drop table if exists {schema}.tier1__{name}")
