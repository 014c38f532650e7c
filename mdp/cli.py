"""`mdp`: every step of the platform as a command anyone can type, and the scheduler types the same ones.

Rooms are imported inside the commands, so that `mdp --help` and each task pay only for what they use.
"""

import os
import sys
import time
from typing import Annotated

import typer

from warehouse.errors import PlatformError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
warehouse_app = typer.Typer(no_args_is_help=True, help="The engine: start, stop, ask.")
app.add_typer(warehouse_app, name="warehouse")

Ds = Annotated[str, typer.Option("--ds", help="business date YYYY-MM-DD")]
From = Annotated[str | None, typer.Option("--from", help="first day of a range (default: the same day)")]


def main() -> None:
    """Run the command line; a PlatformError becomes one clear message and exit code 1, never a traceback."""
    _load_env_file()
    os.environ["TZ"] = "UTC"  # naive timestamps of libraries must mean UTC on every machine
    time.tzset()
    try:
        app()
    except PlatformError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def _load_env_file() -> None:
    from warehouse.settings import PROJECT

    path = PROJECT / ".env"
    if path.exists():
        from dotenv import load_dotenv

        load_dotenv(path, override=False)


@warehouse_app.command("start")
def warehouse_start() -> None:
    """Start the embedded engine (harmless if it runs)."""
    from warehouse import engine, supervise
    from warehouse.settings import settings

    print(supervise.start())
    if settings().embedded:
        engine.warm_up()


@warehouse_app.command("stop")
def warehouse_stop() -> None:
    """Stop the embedded engine."""
    from warehouse import supervise

    print(supervise.stop())


@warehouse_app.command("status")
def warehouse_status() -> None:
    """Say whether the engine serves; exit code 1 if not."""
    from warehouse import supervise

    up, text = supervise.status()
    print(text)
    raise typer.Exit(0 if up else 1)


@warehouse_app.command("sql")
def warehouse_sql(query: str, csv: Annotated[bool, typer.Option("--csv", help="header and rows only")] = False) -> None:
    """Run one SQL statement and print its rows."""
    from mdp import show

    show.sql(query, csv)


@warehouse_app.command("checksum")
def warehouse_checksum(
    ds: Annotated[str | None, typer.Option("--ds", help="only this day")] = None,
    layer: Annotated[str | None, typer.Option("--layer", help="only this layer")] = None,
) -> None:
    """Print an order-independent content hash per table and day."""
    from mdp import show

    show.checksums(ds, layer)


if __name__ == "__main__":
    main()
