"""The logins of the engine's two doors: a password for SQL (Thrift), a token for code (Spark Connect), each in a file.

They are two because they open two things: behind the first one asks and changes tables, behind the second one runs Python
as the engine's user. The embedded engine's are made at its first start in MDP_HOME/keys, readable by their owner only;
elsewhere MDP_THRIFT_PASSWORD_FILE and MDP_CONNECT_TOKEN_FILE name them. They stand in no command line, table or log.
"""

import contextlib
import os
import secrets
from pathlib import Path

from warehouse.errors import PlatformError
from warehouse.settings import Settings

SECRET_BYTES = 32


def make_logins(conf: Settings) -> None:
    """Make the files that do not exist yet, mode 0600; PlatformError if one cannot be made. Their content stays."""
    for path in (conf.thrift_password_file, conf.connect_token_file):
        if path.exists():
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with contextlib.suppress(FileExistsError):  # another process was first: the same login
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(handle, "w") as file:
                    file.write(secrets.token_urlsafe(SECRET_BYTES))
        except OSError as error:
            raise PlatformError(f"the engine's login cannot be written to {path}: {error.strerror}") from None


def thrift_password(conf: Settings) -> str | None:
    """The SQL door's password, or None if no login was ever made or named; PlatformError if it cannot be read."""
    return _read(conf.thrift_password_file, "MDP_THRIFT_PASSWORD_FILE")


def connect_token(conf: Settings) -> str | None:
    """Spark Connect's token, or None if no login was ever made or named; PlatformError if it cannot be read."""
    return _read(conf.connect_token_file, "MDP_CONNECT_TOKEN_FILE")


def _read(path: Path, variable: str) -> str | None:
    if not path.exists() and not os.environ.get(variable):
        return None
    try:
        return path.read_text().strip()
    except OSError as error:
        raise PlatformError(
            f"the engine's login cannot be read from {path}: {error.strerror}; mend {variable}"
        ) from None
