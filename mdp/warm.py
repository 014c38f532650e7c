"""A warm interpreter for the steps of a run: the libraries are imported once, and each command is a fork of that process.

A daily run is some fifteen commands, and half the time of the short ones is importing Great Expectations, MLflow or dbt.
`mdp run` and `mdp up` start this server; while it listens, `mdp gate …` (and the other steps) hand themselves over:
arguments, environment, directory and the three standard streams travel through a Unix socket in MDP_HOME, the fork
runs the very same command, and its exit code comes back. Without the server the command runs where it was typed. Only
libraries are imported ahead, never our own code, so an edited file counts from the next command on.
"""

import contextlib
import gc
import importlib
import json
import logging
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

SOCKET = "warm.sock"
STEPS = ("ingest", "gate", "build", "train", "score", "export", "summary")
LIBRARIES = (
    "cryptography.hazmat.primitives.ciphers.aead", "cryptography.hazmat.primitives.kdf.hkdf", "dbt.adapters.hive",
    "dbt.cli.main", "great_expectations", "great_expectations.expectations", "impala.dbapi", "lifelines",
    "matplotlib.backends.backend_agg", "mlflow", "mlflow.models", "mlflow.sklearn",
    "mlflow.store.model_registry.sqlalchemy_store", "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.tracing.processor.base_mlflow", "pandas", "phonenumbers", "pulp", "pyarrow.fs", "pyspark.cloudpickle",
    "pyspark.sql.connect.functions", "pyspark.sql.connect.session", "pyspark.sql.functions", "rich.console",
    "scipy.optimize", "scipy.stats", "sklearn.cluster", "sklearn.linear_model", "sklearn.metrics",
    "sklearn.preprocessing", "sqlalchemy", "typer",
)  # fmt: skip
QUIET = {
    "GX_ANALYTICS_ENABLED": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "MPLBACKEND": "agg",
    "SPARK_CONNECT_MODE_ENABLED": "1",
}  # fmt: skip
PATIENCE = 5.0  # seconds between SIGTERM and SIGKILL for a command whose caller has gone
LENGTH = struct.Struct("!I")


def main() -> None:
    """The `mdp` command: hand a step over to the warm interpreter if one listens, else run it here."""
    if len(sys.argv) > 1 and sys.argv[1] in STEPS and "--help" not in sys.argv:
        from warehouse.errors import PlatformError
        from warehouse.settings import load_env_file, settings

        load_env_file()
        try:
            code = _hand_over(settings().home, ["mdp", *sys.argv[1:]], dict(os.environ), os.getcwd(), None)
        except PlatformError:  # a setting that cannot be used: the command says so
            code = None
        if code is not None:
            sys.exit(code)
    from mdp.cli import main as run_here

    run_here()


def call(home: Path, command: list[str], env: dict[str, str], cwd: Path, seconds: float) -> int:
    """Run `command` (a script of our environment) warm if possible, else as a process; returns its exit code.

    Raises subprocess.TimeoutExpired, having ended it, after `seconds`.
    """
    code = _hand_over(home, command, env, str(cwd), seconds)
    if code is None:
        script = str(Path(sys.executable).parent / command[0])
        code = subprocess.run([script, *command[1:]], env=env, cwd=cwd, timeout=seconds).returncode
    return code


def _hand_over(home: Path, command: list[str], env: dict[str, str], cwd: str, seconds: float | None) -> int | None:
    """The exit code of the command run by the server, or None if no server listens in `home`."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            with contextlib.chdir(home):  # a socket's path may have 100 characters at most, a relative one is short
                connection.connect(SOCKET)
        except OSError:
            return None
        sys.stdout.flush(), sys.stderr.flush()
        request = json.dumps({"command": command, "env": env, "cwd": cwd}).encode()
        socket.send_fds(connection, [LENGTH.pack(len(request))], [0, 1, 2])
        connection.sendall(request)
        connection.settimeout(seconds)
        try:
            answer = connection.recv(LENGTH.size)
        except TimeoutError:  # closing the connection ends the command
            raise subprocess.TimeoutExpired(command, seconds) from None
    if len(answer) < LENGTH.size:
        print("error: the warm interpreter ended; run the command again", file=sys.stderr)
        return 75  # EX_TEMPFAIL of sysexits.h: as when the engine is away
    return LENGTH.unpack(answer)[0]


# -- the server -------------------------------------------------------------------------------------------------------


def serve() -> None:
    """Import the libraries, then fork a command per connection until SIGTERM. A fork returns from here as the command."""
    os.environ.update(QUIET)
    gc.disable()
    for name in LIBRARIES:
        importlib.import_module(name)
    importlib.import_module("sqlalchemy.orm").configure_mappers()
    logging.root.handlers.clear()  # one of them has opinions about everybody's log
    logging.root.setLevel(logging.WARNING)
    gc.collect()
    gc.freeze()  # a collection in a fork must not touch, and so copy, what all share
    gc.enable()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOCKET)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(SOCKET)
        os.chmod(SOCKET, 0o600)
        listener.listen()
        request = _accept_until_forked(listener)
    _become(request)


def _accept_until_forked(listener: socket.socket) -> dict:
    """Fork for each request, answer with exit codes; returns the request, in the fork only."""
    waker, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    told = []  # to end; an exception of the handler could be lost: Python ignores those of the hooks around a fork
    signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    callers: dict[int, socket.socket] = {}  # process id → who waits for its exit code
    doomed: dict[int, float] = {}  # process id → when it is killed
    with selectors.DefaultSelector() as ready:
        ready.register(listener, selectors.EVENT_READ)
        ready.register(waker, selectors.EVENT_READ)
        while not told:
            for key, _ in ready.select(timeout=1 if doomed else None):
                if key.fileobj is waker:
                    waker.recv(4096)
                elif key.fileobj is listener:
                    connection, _ = listener.accept()
                    request, streams = _receive(connection)
                    if request is None:
                        connection.close()
                        continue
                    if (pid := os.fork()) == 0:
                        signal.set_wakeup_fd(-1)
                        for inherited in (connection, waker, wake, *callers.values()):
                            inherited.close()
                        os.setsid()
                        for number, stream in enumerate(streams):
                            os.dup2(stream, number)
                            os.close(stream)
                        return request
                    for stream in streams:
                        os.close(stream)
                    callers[pid] = connection
                    ready.register(connection, selectors.EVENT_READ, pid)
                else:  # the caller has gone: so must its command
                    ready.unregister(key.fileobj)
                    _signal_group(key.data, signal.SIGTERM)
                    doomed[key.data] = time.monotonic() + PATIENCE
            for pid, status in _ended():
                connection = callers.pop(pid)
                with contextlib.suppress(KeyError):
                    ready.unregister(connection)
                with contextlib.suppress(OSError), connection:
                    code = os.waitstatus_to_exitcode(status)
                    connection.sendall(LENGTH.pack(code if code >= 0 else 128 - code))
                doomed.pop(pid, None)
            for pid in [p for p, when in doomed.items() if when < time.monotonic()]:
                _signal_group(pid, signal.SIGKILL)
    sys.exit(0)


def _receive(connection: socket.socket) -> tuple[dict | None, list[int]]:
    """(request, three open streams) of a caller; (None, []) if it went away half-way."""
    connection.settimeout(10)
    streams: list[int] = []
    try:
        head, streams, _, _ = socket.recv_fds(connection, LENGTH.size, 3)
        size, body = LENGTH.unpack(head)[0], bytearray()
        while len(body) < size and (part := connection.recv(min(size - len(body), 1 << 16))):
            body += part
        return json.loads(body), streams
    except (OSError, ValueError, struct.error):
        for stream in streams:
            os.close(stream)
        return None, []


def _ended():
    """(process id, status) of the commands that have ended."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            yield pid, status


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def _become(request: dict) -> None:
    """Run the request's command as if it had been started here; ends the process with its exit code."""
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w", buffering=1), open(2, "w", buffering=1)
    sys.argv = request["command"]
    sys.modules["__main__"].__package__ = None  # the usage text names the command, not this module
    if sys.argv[0] == "dbt":
        from dbt.cli.main import cli as run
    else:
        from mdp.cli import main as run
    run()


def listening(home: Path) -> bool:
    """Whether a server takes connections in `home`."""
    with socket.socket(socket.AF_UNIX) as probe, contextlib.chdir(home):
        return probe.connect_ex(SOCKET) == 0


if __name__ == "__main__":
    serve()
