"""A PostgreSQL server from Debian's package, for tests: its own data directory, loopback only, safe against a crash."""

import signal
import sys
from pathlib import Path

from tests.services import common

PROGRAMS = ("/usr/lib/postgresql/*/bin",)
SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
shared_buffers = 32MB
max_connections = 50
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
"""  # fsync and synchronous_commit stay on: what was committed survives a SIGKILL


def is_present() -> bool:
    return all(common.find_program(name, *PROGRAMS) for name in ("postgres", "initdb"))


def install() -> str:
    """Install the server; Debian's own cluster is made, but not started."""
    if not is_present():
        common.apt_install("postgresql")
    return f"PostgreSQL: {common.find_program('postgres', *PROGRAMS)}"


def server(home: Path, access: dict) -> common.Database:
    program = common.find_program("postgres", *PROGRAMS)
    url = f"jdbc:postgresql://127.0.0.1:{access['port']}/mdp"
    return common.Database(
        "postgresql+psycopg2", url, "org.postgresql.Driver",
        home, [program, "-D", f"{home}/data"], access, run_as=common.unprivileged("postgres"), stop_by=signal.SIGINT,
    )  # fmt: skip


def start(home: Path) -> common.Database:
    """The server in `home`, made on the first start; the login is its superuser."""
    access = common.read_access(home)
    if access:
        made = server(home, access)
        made.start()
        return made
    access = common.new_access()
    made = server(home, access)
    common.make_home(home, made.run_as)
    password = common.write_private(home / "password", made.password, made.run_as)
    common.run(
        [common.find_program("initdb", *PROGRAMS), "-D", f"{home}/data", "-U", made.user, f"--pwfile={password}",
         "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"],
        home, made.run_as,
    )  # fmt: skip
    password.unlink()
    with open(home / "data" / "postgresql.conf", "a") as conf:
        conf.write(SETTINGS.format(port=made.port))
    single = [made.command[0], "--single", "-D", f"{home}/data", "postgres"]
    common.run(single, home, made.run_as, input="create database mdp\n")
    made.start()
    common.write_access(home, access)
    return made


if __name__ == "__main__":
    common.main(sys.modules[__name__])
