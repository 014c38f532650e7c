"""Every setting of the platform, read from the environment in one place (`.env.example` documents each).

Laptop and cluster differ only here: without MDP_CONNECT_URL and MDP_THRIFT_HOST the embedded engine is used and its
ports come from `run.json`; with them nothing local is started.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from warehouse.errors import PlatformError
from warehouse.runfile import read_run

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """Typed settings; paths are absolute, `None` means "not set by the user"."""

    home: Path
    connect_url: str
    thrift_host: str
    thrift_port: int
    thrift_user: str
    thrift_password_file: Path
    connect_token_file: Path
    embedded: bool
    warehouse_uri: str
    spool_uri: str
    state_url: str
    mlflow_uri: str
    key_file: Path
    worker_python: str
    deadline_seconds: int
    engine_memory: str
    quick_compiler: bool
    schedule: str | None
    webhook: str | None

    @property
    def sample_dir(self) -> Path:
        return self.home / "sample"

    @property
    def exports_dir(self) -> Path:
        return self.home / "exports"

    @property
    def reports_dir(self) -> Path:
        return self.home / "reports"

    @property
    def logs_dir(self) -> Path:
        return self.home / "logs"


def settings() -> Settings:
    """Read the settings afresh; a value that cannot be used raises PlatformError naming the variable."""
    env = os.environ.get
    home = Path(env("MDP_HOME") or PROJECT / ".mdp").expanduser().resolve()
    ports = read_run(home).get("ports", {})
    if "token=" in (env("MDP_CONNECT_URL") or ""):
        raise PlatformError(
            "MDP_CONNECT_URL holds a token, which would show: put it into a file, MDP_CONNECT_TOKEN_FILE"
        )
    return Settings(
        home=home,
        connect_url=env("MDP_CONNECT_URL") or f"sc://127.0.0.1:{ports.get('connect', 15002)}",
        thrift_host=env("MDP_THRIFT_HOST") or "127.0.0.1",
        thrift_port=whole("MDP_THRIFT_PORT", ports.get("thrift", 10000)),
        thrift_user=env("MDP_THRIFT_USER") or "mdp",
        thrift_password_file=Path(env("MDP_THRIFT_PASSWORD_FILE") or home / "keys" / "thrift_password"),
        connect_token_file=Path(env("MDP_CONNECT_TOKEN_FILE") or home / "keys" / "connect_token"),
        embedded=not env("MDP_CONNECT_URL"),
        warehouse_uri=env("MDP_WAREHOUSE_URI") or str(home / "warehouse"),
        spool_uri=env("MDP_SPOOL_URI") or str(home / "sample" / "spool"),
        state_url=env("MDP_STATE_URL") or f"sqlite:///{home}/state.db",
        mlflow_uri=env("MDP_MLFLOW_URI") or f"sqlite:///{home}/mlflow/mlflow.db",
        key_file=Path(env("MDP_KEY_FILE") or home / "keys" / "privacy.key"),
        worker_python=env("MDP_WORKER_PYTHON") or sys.executable,
        deadline_seconds=whole("MDP_DEADLINE_SECONDS", 900),
        engine_memory=env("MDP_ENGINE_MEMORY") or "2g",
        quick_compiler=_choice("MDP_ENGINE_COMPILER", "quick", "full") == "quick",
        schedule=None if (env("MDP_SCHEDULE") or "none").lower() == "none" else env("MDP_SCHEDULE"),
        webhook=env("MDP_ALERT_WEBHOOK") or None,
    )


def load_env_file() -> None:
    """Put the variables of the project's `.env`, if there is one, into the environment; what is set already wins."""
    path = PROJECT / ".env"
    if path.exists():
        from dotenv import load_dotenv

        load_dotenv(path, override=False)


def whole(name: str, default: int) -> int:
    """The whole number in environment variable `name`, or `default`; PlatformError if it is not one."""
    text = os.environ.get(name)
    if not text:
        return default
    if not text.isdigit():
        raise PlatformError(f"{name}={text!r} is not a whole number")
    return int(text)


def _choice(name: str, *allowed: str) -> str:
    """The value of environment variable `name`, the first allowed one if unset; PlatformError if it is another."""
    text = os.environ.get(name) or allowed[0]
    if text not in allowed:
        raise PlatformError(f"{name}={text!r} must be {' or '.join(allowed)}")
    return text
