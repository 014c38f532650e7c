"""An intruder at both doors: without the login nobody gets in, and with it no statement reaches a file, a program or a setting.

Behind the SQL door that is all there is. Behind Spark Connect Python code runs, and reads what the engine's user can
(docs/privacy.md): what is refused there is refused so that nothing else is as wide.
"""

import base64
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.conftest import mdp
from warehouse import keys, login
from warehouse.settings import settings

pytestmark = pytest.mark.engine
MARK = "what nobody may read"

# {file} lies in {folder}, outside of what the engine may open; {key} is the key ring; default.intruded is a table.
STATEMENTS = [
    # a file by its path
    "select content from binaryFile.`{key}`",
    "select * from text.`{file}`",
    "select * from csv.`file://{file}`",
    "select * from json.`{file}`",
    "select * from parquet.`{key}`",
    "cache table stolen as select * from text.`{file}`",
    "create view default.stolen as select * from text.`{file}`",
    "select * from identifier('text.`' || '{file}`')",
    "select * from identifier('text.`{file}`')",
    "select * from default.intruded with ('path' = '{file}')",
    "refresh '{file}'",
    # a table somewhere else
    "create temporary view stolen using text options (path '{file}')",
    "create or replace temporary view stolen using binaryFile options (path '{key}')",
    "create temporary table stolen using text options (path '{file}')",
    "create table default.stolen using text options (path '{file}')",
    "create table default.stolen (a string) using csv location '{folder}'",
    "create table default.stolen (a string) using parquet location '{folder}'",
    "create external table default.stolen (a string) stored as textfile location '{folder}'",
    "create external table default.stolen (a string) stored as textfile location '{warehouse}/../keys'",
    "create table identifier('default.' || 'stolen') (a string) stored as textfile location '{folder}'",
    "create table default.stolen like default.intruded location '{folder}'",
    "create table default.stolen (a string) row format serde 'org.apache.hadoop.hive.serde2.RegexSerDe' stored as textfile",
    "create table default.stolen (a string) stored as inputformat 'org.apache.hadoop.mapred.TextInputFormat' "
    "outputformat 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'",
    "create table default.stolen (a string) stored as avro tblproperties ('avro.schema.url' = 'file://{file}')",
    "create table default.stolen (a string) stored as parquet tblproperties ('storage_handler' = 'a.B')",
    "create table default.stolen (a string) using parquet options ('fs.file.impl' = 'org.apache.hadoop.fs.RawLocalFileSystem')",
    "create database stolen location '{folder}'",
    "alter database default set location '{folder}'",
    "alter table default.intruded set location '{folder}'",
    "alter table default.intruded add partition (ds = '1') location '{folder}'",
    "alter table default.intruded partition (ds = '0') set location 'file://{folder}'",
    "alter table default.intruded set serdeproperties ('path' = '{folder}')",
    # files moved
    "load data local inpath '{file}' into table default.intruded partition (ds = '0')",
    "load data inpath '{file}' into table default.intruded partition (ds = '0')",
    "insert overwrite directory '{folder}/out' using csv select 1",
    "insert overwrite local directory '{folder}/out' stored as textfile select 1",
    "export table default.intruded to '{folder}/out'",
    "import table default.stolen from '{folder}'",
    # programs and classes
    "add jar '{file}'",
    "add file '{file}'",
    "add archive '{file}'",
    "list jars",
    "list files",
    "explain add jar '{file}'",
    "create function default.stolen as 'org.apache.hadoop.hive.ql.udf.UDFJson'",
    "create function default.stolen as 'a.B' using jar '{file}'",
    "create temporary function stolen as 'org.apache.hadoop.hive.ql.udf.generic.GenericUDFReflect'",
    "select transform(a) using 'cat {file}' as (b string) from default.intruded",
    "select * from (from default.intruded map a using 'cat {file}' as b) mapped",
    "select reflect('java.lang.System', 'getenv', 'PATH')",
    "select java_method('java.lang.System', 'getenv', 'PATH')",
    "select try_reflect('java.lang.System', 'getenv', 'PATH')",
    "select system.builtin.reflect('java.lang.System', 'getenv', 'PATH')",
    "select identifier('ref' || 'lect')('java.lang.System', 'getenv', 'PATH')",
    "select reflect2('{file}', 'getBytes')",
    "select in_file('x', '{file}')",
    "execute immediate 'add jar \"{file}\"'",
    "begin add jar '{file}'; end",
    "dfs -cat {file}",
    # another system
    "create temporary view stolen using jdbc options (url 'jdbc:derby:{folder}/d;create=true', dbtable 'sys.systables')",
    "create table default.stolen using jdbc options (url 'jdbc:derby:{folder}/d;create=true', dbtable 'sys.systables')",
    "create temporary view stolen using text options (path 'http://127.0.0.1:1/x')",
    # settings
    "set",
    "set -v",
    "set spark.authenticate.secret",
    "set fs.file.impl = org.apache.hadoop.fs.RawLocalFileSystem",
    "set spark.hadoop.fs.file.impl = org.apache.hadoop.fs.RawLocalFileSystem",
    "set spark.sql.runSQLOnFiles = true",
    "set spark.sql.variable.substitute = true",
    "set spark.sql.scripting.enabled = true",
    "set spark.sql.sources.default = text",
    "set spark.sql.catalog.stolen = org.apache.spark.sql.execution.datasources.v2.jdbc.JDBCTableCatalog",
    "set spark.sql.parquet.output.committer.class = a.B",
]
# Taken as what they are, and give nothing away: pattern of the answer.
HARMLESS = {
    "select '${env:PATH}'": r"\$\{env:PATH\}",
    "select '${system:java.class.path}'": r"\$\{system:java.class.path\}",
    "select xpath_string('<!DOCTYPE a [<!ENTITY x SYSTEM \"file://{file}\">]><a>&x;</a>', '/a')": r"\(''|None,?\)|.*",
    "set spark.sql.shuffle.partitions": "4",
    "set spark.sql.shuffle.partitions = 4": "4",
}


@pytest.fixture(scope="module")
def places(spark):
    """What the statements name, and a table that may be read."""
    folder = Path(tempfile.mkdtemp(prefix="mdp-outside-"))  # the session's engine may open pytest's own directory
    (folder / "secret.txt").write_text(MARK)
    spark.sql("drop table if exists default.intruded")
    spark.sql("create table default.intruded (a string, ds string) using parquet partitioned by (ds)")
    spark.sql("insert into default.intruded partition (ds = '0') select 'open'")
    yield dict(folder=folder, file=folder / "secret.txt", key=keys.key_path(), warehouse=settings().warehouse_uri)
    spark.sql("drop table default.intruded")
    assert [path.name for path in folder.iterdir()] == ["secret.txt"]
    shutil.rmtree(folder)


def by_thrift(query: str, configuration: dict | None = None) -> list[tuple]:
    conf = settings()
    with thrift(conf.thrift_user, login.thrift_password(conf)) as connection:
        cursor = connection.cursor(configuration=configuration)
        cursor.execute(query)
        return cursor.fetchall() if cursor.description else []


def thrift(user: str, password: str):
    from impala.dbapi import connect

    conf = settings()
    return connect(conf.thrift_host, conf.thrift_port, auth_mechanism="LDAP", user=user, password=password, timeout=60)


@pytest.fixture(params=["thrift", "connect"])
def ask(request, spark):
    """Run a statement through one of the doors and return its rows."""
    return by_thrift if request.param == "thrift" else lambda query: [tuple(row) for row in spark.sql(query).collect()]


def assert_tells_nothing(answer: str) -> None:
    """No four bytes of the key, however written, no file's content, no variable of the engine."""
    key = keys.key_path().read_bytes()
    for at in range(len(key) - 3):
        part = key[at : at + 4]
        assert part.hex() not in answer.lower() and repr(part)[2:-1] not in answer
    assert base64.b64encode(key).decode()[:16] not in answer
    assert MARK not in answer and os.environ["PATH"] not in answer


def refusal(act) -> str:
    """What the door answers to `act`, which has to fail."""
    try:
        found = act()
    except Exception as error:
        assert_tells_nothing(str(error))
        return str(error)
    raise AssertionError(f"answered: {found}")


def test_a_statement_reaches_nothing_but_tables(ask, places):
    assert ask("select a from default.intruded") == [("open",)]
    got_in = []
    for statement in STATEMENTS:
        try:
            refusal(lambda statement=statement: ask(statement.format(**places)))
        except AssertionError as error:
            got_in.append(f"{statement}: {error}")
    assert not got_in, "\n".join(got_in)
    assert ask("select a from default.intruded") == [("open",)]


def test_what_is_harmless_is_answered(ask, places):
    for statement, pattern in HARMLESS.items():
        answer = str(ask(statement.replace("{file}", str(places["file"]))))
        assert_tells_nothing(answer)
        assert re.search(pattern, answer), statement


RAW = "org.apache.hadoop.fs.RawLocalFileSystem"
# What a client of Spark Connect may try beside statements; of (session, functions, places).
TRIES = {
    "text": lambda s, f, p: s.read.text(f"{p['file']}").collect(),
    "bytes": lambda s, f, p: s.read.format("binaryFile").load(f"{p['key']}").collect(),
    "a schema out of a file": lambda s, f, p: s.read.option("header", "true").csv(f"{p['file']}").columns,
    "the end of a file": lambda s, f, p: s.read.parquet(f"{p['key']}").columns,
    "a pattern": lambda s, f, p: s.read.text(f"{p['folder']}*/*.txt").collect(),
    "a way around": lambda s, f, p: s.read.text(f"{p['warehouse']}/../keys/privacy.key").collect(),
    "the ledger": lambda s, f, p: s.read.text(f"{settings().home}/state.db").collect(),
    "a stream": lambda s, f, p: s.readStream.text(f"{p['folder']}").writeStream.format("noop").start(),
    "another file system": lambda s, f, p: s.read.option("fs.file.impl", RAW).text(f"{p['file']}").collect(),
    "and in a setting": lambda s, f, p: s.conf.set("fs.file.impl", RAW),
    "an archive": lambda s, f, p: s.read.text(f"har://file-localhost{p['file']}").collect(),
    "a page": lambda s, f, p: s.read.text("http://127.0.0.1:1/page").collect(),
    "a table elsewhere": lambda s, f, p: s.catalog.createTable("default.stolen", path=f"{p['folder']}", source="text"),
    "written": lambda s, f, p: s.range(1).write.csv(f"{p['folder']}/out"),
    "written as a table": lambda s, f, p: (
        s.range(1).write.option("path", f"{p['folder']}/out").saveAsTable("default.stolen")
    ),
    "files as tables": lambda s, f, p: s.conf.set("spark.sql.runSQLOnFiles", "true"),
    "all settings": lambda s, f, p: s.conf.getAll,
    "a password": lambda s, f, p: s.conf.get("spark.hadoop.javax.jdo.option.ConnectionPassword", "none"),
    "a jar": lambda s, f, p: s.addArtifact(f"{p['folder']}/secret.jar"),
    "a module": lambda s, f, p: s.addArtifact(f"{p['folder']}/secret.py", pyfile=True),
    "a copy": lambda s, f, p: s.copyFromLocalToFs(f"{p['file']}", f"{p['folder']}/copy"),
    "a class": lambda s, f, p: s.udf.registerJavaFunction("stolen", "org.apache.hadoop.hive.ql.udf.UDFJson"),
    "Java": lambda s, f, p: s.range(1).select(f.call_function("reflect", f.lit("java.lang.System"), f.lit("getenv"))),
    "Java in an expression": lambda s, f, p: s.range(1).selectExpr("java_method('java.lang.System', 'getenv', 'PATH')"),
}


def test_a_data_frame_reaches_nothing_but_tables_and_the_spool(spark, places):
    from pyspark.sql.connect import functions

    for name in ("secret.jar", "secret.py"):  # read by the client, which may
        (places["folder"] / name).write_text(MARK)
    got_in = []
    for name, act in TRIES.items():
        try:
            refusal(lambda act=act: act(spark, functions, places) and spark.table("default.stolen").collect())
        except AssertionError as error:
            got_in.append(f"{name}: {error}")
    for name in ("secret.jar", "secret.py"):
        (places["folder"] / name).unlink()
    assert not got_in, "\n".join(got_in)
    assert spark.createDataFrame([(i, "x" * 100) for i in range(20_000)]).count() == 20_000  # more than a megabyte
    spark.conf.set("spark.sql.shuffle.partitions", spark.conf.get("spark.sql.shuffle.partitions"))


def test_a_session_asks_more_than_once(spark, places):
    """Spark sets something of its own in it meanwhile."""
    conf = settings()
    with thrift(conf.thrift_user, login.thrift_password(conf)) as connection:
        cursor = connection.cursor()
        for _ in range(3):
            cursor.execute("select a from default.intruded")
            assert cursor.fetchall() == [("open",)]
            cursor.execute("set spark.sql.shuffle.partitions = 4")
        with pytest.raises(Exception, match="add jars is closed here"):
            cursor.execute("add jar '/tmp/x.jar'")
        cursor.execute("select a from default.intruded")


def test_a_session_opens_without_settings(spark, places):
    """Hive would carry them out before any statement is seen: variables, properties of the JVM, another metastore."""
    derby = f"jdbc:derby:{places['folder']}/d;create=true"
    for settings_ in (
        {"set:hiveconf:spark.sql.shuffle.partitions": "${env:PATH}"},
        {"set:hivevar:a": "${env:PATH}"},
        {"set:system:java.io.tmpdir": str(places["folder"])},
        {"set:hiveconf:fs.file.impl": RAW},
        {"set:hiveconf:javax.jdo.option.ConnectionURL": derby, "set:metaconf:hive.metastore.try.direct.sql": "true"},
        {"hive.exec.scratchdir": str(places["folder"])},
    ):
        said = refusal(lambda settings_=settings_: by_thrift("select 1", settings_))
        assert "a session opens without the setting" in said
    assert by_thrift("select a from intruded", {"use:database": "default"}) == [("open",)]


@pytest.mark.parametrize("login_", [("mdp", "wrong"), ("somebody", None), ("mdp", ""), ("", "")])
def test_the_sql_door_wants_its_login(spark, login_):
    user, password = login_
    conf = settings()
    said = refusal(lambda: thrift(user, login.thrift_password(conf) if password is None else password).cursor())
    assert "Error validating the login" in said
    with thrift(conf.thrift_user, login.thrift_password(conf)) as connection:
        assert connection.cursor() is not None


def test_the_sql_door_is_closed_to_who_tells_nothing(spark):
    from impala.dbapi import connect

    for mechanism in ("NOSASL", "PLAIN"):
        refusal(lambda mechanism=mechanism: connect(
            settings().thrift_host, settings().thrift_port, auth_mechanism=mechanism, timeout=5).cursor())  # fmt: skip
    refusal(lambda: thrift(settings().thrift_user, login.connect_token(settings())).cursor())  # the other door's


@pytest.mark.parametrize("token", [None, "wrong", "{thrift}"])
def test_connect_wants_its_login(spark, token):
    from pyspark.sql.connect.session import SparkSession

    conf = settings()
    known = {"{thrift}": login.thrift_password(conf)}
    parameters = f"/;token={known.get(token, token)}" if token else ""
    stranger = SparkSession.builder.remote(f"{conf.connect_url.replace('127.0.0.1', 'localhost')}{parameters}").create()
    stranger.client.set_retry_policies([])
    assert "UNAUTHENTICATED" in refusal(lambda: stranger.sql("select 1").collect())
    right = f"{conf.connect_url.replace('127.0.0.1', 'localhost')}/;token={login.connect_token(conf)}"
    friend = SparkSession.builder.remote(right).create()  # as an analyst's notebook does
    assert friend.sql("select 1 as a").first().a == 1
    friend.stop()


def test_a_refusal_is_one_sentence(spark, home):
    said = mdp("warehouse", "sql", "add jar '/tmp/x.jar'", home=home, check=False)
    assert said.returncode == 1
    assert said.stderr == (
        "error: add jars is closed here: a statement reads and writes the warehouse's own tables, and nothing else "
        "(docs/privacy.md)\n"
    )


def test_a_wrong_token_is_said(spark, home, tmp_path):
    (tmp_path / "token").write_text("guessed-0815")
    said = mdp("warehouse", "sql", "select 1", home=home, check=False, MDP_CONNECT_TOKEN_FILE=str(tmp_path / "token"))
    assert said.returncode == 1 and said.stderr.count("\n") == 1 and "0815" not in said.stderr
    assert f"does not take the token in {tmp_path}/token (MDP_CONNECT_TOKEN_FILE)" in said.stderr


def test_the_logins_stand_nowhere_else(spark, home):
    """Not on the engine's command line, in its environment, or in a log."""
    import psutil

    from warehouse.runfile import service_process

    conf, engine = settings(), service_process(home, "engine")
    logins = [login.thrift_password(conf), login.connect_token(conf)]
    assert all(len(text) > 40 for text in logins) and len(set(logins)) == 2
    for path in (conf.thrift_password_file, conf.connect_token_file):
        assert path.stat().st_mode & 0o777 == 0o600
    shown = [
        *engine.cmdline(),
        *engine.environ().values(),
        *(p.read_text(errors="replace") for p in conf.logs_dir.glob("*")),
    ]
    assert len(shown) > 50 and str(conf.connect_token_file) in shown
    assert not [text for text in shown for kept in logins if kept in text]
    listening = {
        c.laddr.ip for c in psutil.Process(engine.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN
    }
    assert listening and listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
