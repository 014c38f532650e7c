"""A MariaDB server from Debian's package, for tests: its own data directory, loopback only, safe against a crash."""

import sys
from pathlib import Path

from tests.services import common

PROGRAMS = ("/usr/sbin", "/usr/bin")
SETTINGS = """
[mariadbd]
datadir = {home}/data
socket = mariadb.sock
pid-file = mariadb.pid
bind-address = 127.0.0.1
port = {port}
skip-name-resolve
lc-messages-dir = /usr/share/mysql
innodb-buffer-pool-size = 64M
innodb-log-file-size = 32M
default-time-zone = +00:00
"""  # innodb-flush-log-at-trx-commit stays 1: what was committed survives a SIGKILL


def is_present() -> bool:
    return all(common.find_program(name, *PROGRAMS) for name in ("mariadbd", "mariadb-install-db", "my_print_defaults"))


def install() -> str:
    """Install the programs alone: these packages have no service to start and make no user."""
    if not is_present():
        common.apt_install("mariadb-server-core", "mariadb-client-core")
    return f"MariaDB: {common.find_program('mariadbd', *PROGRAMS)}"


def server(home: Path, access: dict) -> common.Database:
    program = common.find_program("mariadbd", *PROGRAMS)
    # The driver insists on TLS since 4.0, the server has none.
    url = f"jdbc:mariadb://127.0.0.1:{access['port']}/mdp?sslMode=disable"
    return common.Database(
        "mysql+pymysql", url, "org.mariadb.jdbc.Driver",
        home, [program, f"--defaults-file={home}/my.cnf"], access, run_as=common.unprivileged("mysql"),
    )  # fmt: skip


def start(home: Path) -> common.Database:
    """The server in `home`, made on the first start; the login may do all that root may."""
    access = common.read_access(home)
    if access:
        made = server(home, access)
        made.start()
        return made
    access = common.new_access()
    made = server(home, access)
    common.make_home(home, made.run_as)
    common.write_private(home / "my.cnf", SETTINGS.format(home=home, port=made.port), made.run_as)
    common.run(
        [common.find_program("mariadb-install-db", *PROGRAMS), f"--defaults-file={home}/my.cnf", "--skip-test-db",
         "--auth-root-authentication-method=socket", "--force"],  # it would insist on a host name that resolves
        home, made.run_as,
    )  # fmt: skip
    login = common.write_private(
        home / "login.sql",  # one statement a line, or the server ignores it
        "create database mdp character set utf8mb4;\n"
        f"create user '{made.user}'@'%' identified by '{made.password}';\n"
        f"grant all on *.* to '{made.user}'@'%' with grant option;\n",
        made.run_as,
    )
    made.start(f"--init-file={login}")
    login.unlink()
    common.write_access(home, access)
    return made


if __name__ == "__main__":
    common.main(sys.modules[__name__])
