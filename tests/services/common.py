"""What the three services share: the cache, apt, a server process that can be killed and started again, the command line.

A server lives in one directory, its home: data, log, and `access.json` with its port and login, so that another process
can stop it or start it again. It listens on loopback only.
"""

import argparse
import contextlib
import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from warehouse.errors import PlatformError
from warehouse.runfile import record_service, service_process

CACHE = Path(os.environ.get("MDP_SERVICES_CACHE") or "~/.cache/mdp").expanduser()
START_SECONDS = 120

# Debian starts a server that it installs, unless this file forbids it.
APT = """
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\\nexit 101\\n' > $policy
  chmod 755 $policy
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=600 "$@" >/dev/null
"""


def apt_install(*packages: str) -> None:
    """Install Debian packages, starting no service; raises PlatformError where that is impossible."""
    if not shutil.which("apt-get"):
        raise PlatformError(f"there is no apt-get here: install {' '.join(packages)} in your system's own way")
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "apt.lock").open("w") as lock:  # apt-get update waits for nobody, and tests run in two processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run([*sudo, "sh", "-ec", APT, "apt", *packages], capture_output=True, text=True)
    if done.returncode:
        raise PlatformError(
            f"apt-get could not install {' '.join(packages)}:\n{done.stdout[-500:]}{done.stderr[-1500:]}"
        )


def find_program(name: str, *folders: str) -> str | None:
    """The path of a program on PATH or in one of `folders` (glob patterns; the highest version first), or None."""
    places = [str(p) for pattern in folders for p in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)]
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *places]))


def unprivileged(preferred: str) -> str | None:
    """The user that a server runs as when we are root, which database servers refuse: `preferred` if it exists."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return preferred if preferred in known else "nobody"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def read_access(home: Path) -> dict | None:
    """The ports and login that a server was made with; None in a home that has none yet."""
    path = home / "access.json"
    return json.loads(path.read_text()) if path.exists() else None


def new_access(*more_ports: str) -> dict:
    """A free port, further ones by name, and a login with a random password."""
    ports = {name: free_port() for name in ("port", *more_ports)}
    return {**ports, "user": "mdp", "password": secrets.token_urlsafe(24)}


def write_access(home: Path, access: dict) -> None:
    """Note, last, that the server in `home` is made, and how it is reached."""
    write_private(home / "access.json", json.dumps(access) + "\n")


def write_private(path: Path, text: str, owner: str | None = None) -> Path:
    """Write a file that only we (or `owner`) can read."""
    path.touch(mode=0o600)
    path.write_text(text)
    if owner:
        shutil.chown(path, owner)
    return path


def make_home(home: Path, owner: str | None) -> None:
    """Create the server's directory, closed to others."""
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    if owner:
        shutil.chown(home, owner)


def run(command: list[str], home: Path, run_as: str | None = None, input: str = "") -> None:
    """Run a preparing command in `home`; raises PlatformError with its output if it fails."""
    as_user = {"user": run_as, "group": pwd.getpwnam(run_as).pw_gid, "extra_groups": []} if run_as else {}
    try:
        done = subprocess.run(command, cwd=home, input=input, capture_output=True, text=True, **as_user)
    except PermissionError:
        raise PlatformError(f"user {run_as} cannot enter {home}: choose a --home such as /tmp/services") from None
    if done.returncode:
        raise PlatformError(f"{command[0]} failed:\n{(done.stdout + done.stderr)[-2000:]}")


class Server:
    """A server process in its home. A child says by `answers()` when it serves."""

    def __init__(self, home: Path, command: list[str], access: dict, run_as: str | None = None, stop_by=signal.SIGTERM):
        self.home = home
        self.command = command
        self.port: int = access["port"]
        self.user: str = access["user"]
        self.password: str = access["password"]
        self.run_as = run_as
        self.stop_by = stop_by

    def answers(self) -> bool:
        raise NotImplementedError

    @property
    def process(self) -> psutil.Process | None:
        """The running server, or None."""
        return service_process(self.home, "server")

    def start(self, *more: str) -> None:
        """Start the server unless it runs, and return once it answers; PlatformError with its log if it does not."""
        process = self.process or self._launch(*more)
        end = time.monotonic() + START_SECONDS
        while not self.answers():
            if time.monotonic() > end or not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                self._end(signal.SIGKILL)
                raise PlatformError(f"{self.command[0]} does not answer on port {self.port}; its log:\n{self.log()}")
            time.sleep(0.1)

    def _launch(self, *more: str) -> psutil.Process:
        user = (
            {"user": self.run_as, "group": pwd.getpwnam(self.run_as).pw_gid, "extra_groups": []} if self.run_as else {}
        )
        with open(self.home / "server.log", "ab") as log:
            popen = subprocess.Popen(
                [*self.command, *more], cwd=self.home, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **user,
            )  # fmt: skip
        process = psutil.Process(popen.pid)
        record_service(self.home, "server", process, {"server": self.port})
        return process

    def log(self) -> str:
        """The last lines that the server wrote."""
        path = self.home / "server.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-30:]) if path.exists() else ""

    def kill(self) -> None:
        """SIGKILL the server and its children, as a crash would, and return once they are gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop the server in its own way; harmless if it does not run."""
        self._end(self.stop_by)

    def restart(self) -> None:
        """Start the server again, on the same port and data; stops it first if it runs."""
        self.stop()
        self.start()

    def _end(self, sign: signal.Signals) -> None:
        process = self.process
        if process is None:
            return
        if sign == signal.SIGKILL:
            process.suspend()  # it would answer a connection with one more child between the list and its end
        family = [process, *process.children(recursive=True)]
        for one in family if sign == signal.SIGKILL else [process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(sign)
        _, alive = psutil.wait_procs(family, timeout=20)
        for straggler in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                straggler.kill()
        psutil.wait_procs(alive, timeout=5)


class Database(Server):
    """A database server, with SQLAlchemy's `engine` on its database `mdp` (it keeps no connection open)."""

    def __init__(self, dialect: str, jdbc_url: str, driver: str, *server, **more):
        from sqlalchemy import URL, NullPool, create_engine

        super().__init__(*server, **more)
        self.jdbc_url = jdbc_url
        self.driver = driver
        url = URL.create(dialect, self.user, self.password, "127.0.0.1", self.port, "mdp")
        self.engine = create_engine(url, poolclass=NullPool)

    def answers(self) -> bool:
        from sqlalchemy.exc import DBAPIError

        try:
            return self.execute("select 1") == [(1,)]
        except DBAPIError:
            return False

    def execute(self, sql: str, *rows: dict) -> list[tuple]:
        """Run one statement, for each of `rows` if there are any, and commit; returns what it selects."""
        from sqlalchemy import text

        with self.engine.begin() as connection:
            result = connection.execute(text(sql), list(rows) or None)
            return [tuple(row) for row in result] if result.returns_rows else []

    def connection(self) -> dict:
        return {"port": self.port, "jdbc_url": self.jdbc_url, "user": self.user, "password": self.password}


def main(service) -> None:
    """`python -m tests.services.<service> install | start --home DIR | stop --home DIR`."""
    parser = argparse.ArgumentParser(prog=f"python -m {service.__spec__.name}", description=service.__doc__)
    parser.add_argument("act", choices=["install", "start", "stop"])
    parser.add_argument("--home", type=Path, help="the server's directory: data, log, access.json")
    given = parser.parse_args()
    if given.act != "install" and given.home is None:
        parser.error(f"{given.act} needs --home")
    try:
        if given.act == "install":
            print(service.install())
        elif given.act == "start":
            print(json.dumps(service.start(given.home.resolve()).connection()))
        else:
            home = given.home.resolve()
            if read_access(home) is None:
                raise PlatformError(f"there is no server in {home}")
            service.server(home, read_access(home)).stop()
    except PlatformError as error:
        sys.exit(f"error: {error}")
