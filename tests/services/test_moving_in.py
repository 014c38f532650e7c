"""A Sqoop command against a real database: its schema is asked, the block that is printed loads its rows."""

import pytest

from ingestion import run, sqoop
from ingestion.feeds import load_feeds

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
    monkeypatch.setenv("MDP_FEEDS", str(feeds))
    feed = load_feeds()["shop__orders"]
    assert {name: column.type for name, column in feed.columns.items()} == {
        "line_no": "int", "order_id": "bigint", "phone": "string", "total": "decimal(12,2)", "changed_at": "timestamp",
    }  # fmt: skip
    assert (feed.splits, feed.split_by, feed.where) == (2, "order_id", "order_id > 1")
    assert run.ingest(DAY, feeds=["shop__orders"])[0]["n_rows"] == 5
    rows = spark.table("raw.shop__orders").selectExpr("phone_mask", "cast(total as string)").collect()
    assert sorted(map(tuple, rows)) == [(f"138****567{n}", f"{n}.25") for n in range(2, 7)]
