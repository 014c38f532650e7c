"""The engine reads real servers through the jars that `mdp warehouse jars` fetches."""

import json

import pytest

from warehouse import jars
from warehouse.errors import PlatformError

pytestmark = pytest.mark.usefixtures("connectors")

ROWS = [{"id": n, "name": f"客户 {n}"} for n in range(1, 101)]


@pytest.fixture(scope="module")
def shop():
    """Makes the table `customer` with the 100 ROWS in a database; dropped at the end."""
    made = []

    def make(database):
        database.execute("create table customer (id int primary key, name varchar(20), spent decimal(18,2))")
        database.execute("insert into customer values (:id, :name, :id + 0.25)", *ROWS)
        made.append(database)

    yield make
    for database in made:
        database.execute("drop table customer")


def read(spark, database, url: str, **options):
    """All rows of `customer`, and those of a filter that the database answers."""
    login = {"url": url, "user": database.user, "password": database.password, "driver": database.driver}
    table = spark.read.format("jdbc").options(**login, **options).load()
    return table.count(), table.where("name = '客户 7'").collect()


def test_postgresql_is_read(spark, postgres, shop):
    shop(postgres)
    n, found = read(spark, postgres, postgres.jdbc_url, dbtable="customer")
    assert n == 100
    assert [(row.id, row.name, str(row.spent)) for row in found] == [(7, "客户 7", "7.25")]
    halves = {"partitionColumn": "id", "lowerBound": "1", "upperBound": "100", "numPartitions": "2"}
    assert read(spark, postgres, postgres.jdbc_url, dbtable="(select * from customer) q", **halves)[0] == 100


def test_mariadb_is_read_and_what_its_address_must_say(spark, mariadb, shop):
    """Spark knows no dialect for jdbc:mariadb and writes "name", which MariaDB takes for the text 'name'.

    With columns of text that is no error: every value is the column's name. Two addresses are right.
    """
    shop(mariadb)
    quotes = mariadb.jdbc_url + "&sessionVariables=sql_mode=concat(@@sql_mode,',ANSI_QUOTES')"
    as_mysql = mariadb.jdbc_url.replace("jdbc:mariadb:", "jdbc:mysql:") + "&permitMysqlScheme"
    for url in (quotes, as_mysql):
        n, found = read(spark, mariadb, url, dbtable="customer")
        assert n == 100
        assert [(row.id, row.name, str(row.spent)) for row in found] == [(7, "客户 7", "7.25")]
    names = "(select name from customer where id = 7) q"
    plain = spark.read.format("jdbc").options(
        url=mariadb.jdbc_url, user=mariadb.user, password=mariadb.password, driver=mariadb.driver, dbtable=names
    )
    assert [row.name for row in plain.load().collect()] == ["name"]


def test_mysql_driver_reads_mariadb(spark, mariadb):
    reader = spark.read.format("jdbc").options(
        url=mariadb.jdbc_url.split("?")[0].replace("jdbc:mariadb:", "jdbc:mysql:"), user=mariadb.user,
        password=mariadb.password, driver="com.mysql.cj.jdbc.Driver", query="select 41 + 1 as answer",
    )  # fmt: skip
    assert [row.answer for row in reader.load().collect()] == [42]


def test_a_kafka_topic_is_read_between_offsets(spark, kafka):
    kafka.create_topic("clicks", partitions=2)
    kafka.produce("clicks", *({"value": f"click {n}", "partition": n % 2} for n in range(100)))
    ends = {"clicks": {"0": 50, "1": 20}}
    messages = spark.read.format("kafka").options(**{
        "kafka.bootstrap.servers": kafka.bootstrap, "subscribe": "clicks", "startingOffsets": "earliest",
        "endingOffsets": json.dumps(ends),
    }).load()  # fmt: skip
    found = messages.selectExpr("partition", "offset", "cast(value as string) as value").collect()
    assert {(row.partition, row.offset) for row in found} == {(0, n) for n in range(50)} | {(1, n) for n in range(20)}
    assert {row.value for row in found if row.partition == 1} == {f"click {2 * n + 1}" for n in range(20)}
    kafka.delete_topic("clicks")


def test_an_engine_that_was_started_before_a_jar_came_is_said_so(tmp_path, monkeypatch):
    """What the running engine has is read from its command line, whatever lies in the folder by now."""
    jars.require("kafka")
    assert {jar.name for extra in jars.EXTRAS.values() for jar in extra} <= jars.running_jars()
    monkeypatch.setitem(jars.EXTRAS, "new", (jars.Jar("org.example", "new-driver", "1.0", "0" * 64),))
    monkeypatch.setenv("MDP_JARS", str(tmp_path))
    with pytest.raises(PlatformError, match="the engine has no new-driver: fetch with `mdp warehouse jars new`"):
        jars.require("new")
    (tmp_path / "new-driver-1.0.jar").touch()
    with pytest.raises(PlatformError, match="was started before it had new-driver: restart it: `mdp warehouse stop"):
        jars.require("new")
    assert jars.is_restart_needed(["new"]) and not jars.is_restart_needed(["kafka"])
