"""One Spark Connect session per process, with deadlines.

A client of a dead engine hangs by default: gRPC retries for minutes and no call has an end. Here every call carries a
deadline (MDP_DEADLINE_SECONDS) and only a few quick retries, so a task fails and its scheduler can try again.
"""

import collections
import functools
import logging
import os
import socket
import time
from pathlib import Path
from urllib.parse import urlparse

from warehouse import login
from warehouse.errors import EngineDown, PlatformError
from warehouse.runfile import read_run, service_process
from warehouse.settings import settings

RESTART_SECONDS = 120  # a JVM is up again in 14 s, on a busy machine in three times that
START = "start it with `mdp warehouse start` (or `make up`)"


def require_engine() -> None:
    """Raise EngineDown, with what to start, unless the engine's Connect port accepts a connection within 5 s.

    An embedded engine must be the one that was started in MDP_HOME: on the default port another home's may listen. One
    that its supervisor is starting, or bringing back after its death, is waited for.
    """
    conf = settings()
    if conf.embedded:
        _wait_for_start(conf.home)
    if conf.embedded and service_process(conf.home, "engine") is None:
        raise EngineDown(f"no warehouse engine runs in {conf.home}: {START}")
    url = urlparse(conf.connect_url)
    _must_answer(url.hostname, url.port or 15002, "MDP_CONNECT_URL")


def require_sql_door() -> None:
    """Raise EngineDown unless the engine's Thrift port accepts a connection within 5 s."""
    conf = settings()
    _must_answer(conf.thrift_host, conf.thrift_port, "MDP_THRIFT_HOST")


def _must_answer(host: str, port: int, named_by: str) -> None:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        what = START if settings().embedded else f"check {named_by} and the cluster behind it"
        raise EngineDown(f"the warehouse engine does not answer at {host}:{port}: {what}") from None


def _wait_for_start(home: Path) -> None:
    """Return once the supervisor has the engine up, has given it up, or is not there; after RESTART_SECONDS at the latest."""
    end = time.monotonic() + RESTART_SECONDS
    while service_process(home, "supervisor") and time.monotonic() < end:
        state = read_run(home)["services"].get("engine", {}).get("state")
        if state == "crashed" or (state == "up" and service_process(home, "engine")):
            return
        time.sleep(0.2)


def seen_engine() -> tuple | None:
    """Which embedded engine runs now: process id and start; None if there is none, or a cluster instead."""
    process = service_process(settings().home, "engine")
    return (process.pid, process.create_time()) if process else None


@functools.cache
def session():
    """The process's SparkSession on the engine; raises EngineDown if nothing answers."""
    require_engine()
    os.environ["SPARK_CONNECT_MODE_ENABLED"] = "1"  # pyspark.sql.functions would otherwise look for a JVM of its own
    logging.getLogger("SQLQueryContextLogger").setLevel(
        logging.CRITICAL
    )  # prints JVM traces beside every error it raises
    from pyspark.errors import PySparkException
    from pyspark.sql.connect.client import DefaultChannelBuilder
    from pyspark.sql.connect.client.retries import DefaultPolicy
    from pyspark.sql.connect.session import SparkSession

    class Channel(DefaultChannelBuilder):
        """As the URL says. The token goes along as a header of each call: pyspark would insist on TLS, on loopback, too."""

        token = None

    conf = settings()
    channel = Channel(conf.connect_url)
    channel.add_interceptor(_interceptor(conf.deadline_seconds, login.connect_token(conf)))
    try:
        spark = SparkSession.builder.channelBuilder(channel).create()
        spark.client.set_retry_policies([DefaultPolicy(max_retries=4, initial_backoff=200, max_backoff=2000)])
        spark.version  # noqa: B018  the first call
    except PySparkException as error:
        if "UNAUTHENTICATED" not in str(error):
            raise
        raise PlatformError(
            f"the warehouse engine does not take the token in {conf.connect_token_file} (MDP_CONNECT_TOKEN_FILE)"
        ) from None
    return spark


def close() -> None:
    """End the process's session, if there is one: before the engine is stopped, or the client would look for it."""
    if session.cache_info().currsize:
        session().stop()
        session.cache_clear()


def _interceptor(seconds: int, token: str | None):
    """What each call is given on its way: a deadline, and the login."""
    import grpc

    class Details(
        collections.namedtuple("Details", "method timeout metadata credentials wait_for_ready compression"),
        grpc.ClientCallDetails,
    ):
        pass

    told = [("authorization", f"Bearer {token}")] if token else []

    class Caller(
        grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamUnaryClientInterceptor
    ):
        """Gives each call that has none the deadline of the settings, and the token."""

        def _call(self, proceed, details, request):
            given = getattr(details, "timeout", None)
            return proceed(
                Details(
                    details.method,
                    given or seconds,
                    [*(details.metadata or ()), *told],
                    details.credentials,
                    getattr(details, "wait_for_ready", None),
                    getattr(details, "compression", None),
                ),
                request,
            )

        intercept_unary_unary = _call
        intercept_unary_stream = _call
        intercept_stream_unary = _call

    return Caller()
