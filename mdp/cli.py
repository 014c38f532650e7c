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
warehouse_app = typer.Typer(no_args_is_help=True, help="The engine: start it, stop it, ask it.")
sample_app = typer.Typer(no_args_is_help=True, help="The sample company, whose truth is known.")
model_app = typer.Typer(no_args_is_help=True, help="Registered models and their champions.")
export_app = typer.Typer(invoke_without_command=True)
for name, group in (("warehouse", warehouse_app), ("sample", sample_app), ("model", model_app), ("export", export_app)):
    app.add_typer(group, name=name)

Ds = Annotated[str, typer.Option("--ds", help="business date, YYYY-MM-DD")]
OptionalDs = Annotated[str | None, typer.Option("--ds", help="business date, YYYY-MM-DD")]
From = Annotated[str | None, typer.Option("--from", help="first day of a range that ends with --ds")]
Days = Annotated[int, typer.Option(help="days of history")]
Customers = Annotated[int, typer.Option(help="registered customers at the end of the history")]
Seed = Annotated[int, typer.Option(help="draws the company and its truth")]
Intensity = Annotated[float, typer.Option(help="events per customer, relative to the default")]


def main() -> None:
    """Run the command line; a PlatformError becomes one clear message and exit code 1, never a traceback."""
    from warehouse.settings import load_env_file

    load_env_file()
    os.environ["TZ"] = "UTC"  # naive timestamps of libraries must mean UTC on every machine
    time.tzset()
    try:
        app()
    except PlatformError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


# -- the whole platform -----------------------------------------------------------------------------------------------


@app.command()
def run(
    ds: OptionalDs = None, from_ds: From = None, days: Days = 180, customers: Customers = 5000, seed: Seed = 7,
    intensity: Intensity = 1.0,
) -> None:  # fmt: skip
    """Live the next day (the first time: create the company, load its history, train) and print the summary."""
    from mdp import run as whole

    whole.run(ds, from_ds, dict(days=days, customers=customers, seed=seed, intensity=intensity))


@app.command()
def up() -> None:
    """Start the engine, Airflow, MLflow and the dbt docs, leave them running and print their links."""
    from mdp import stack

    stack.up(print)


@app.command()
def down() -> None:
    """Stop everything that was started."""
    from mdp import stack

    stopped = stack.stop_all()
    print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


@app.command()
def reset(yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False) -> None:
    """Stop everything and empty MDP_HOME: warehouse, sample company, models, ledgers, keys."""
    from mdp import stack

    stack.reset(ask=None if yes else lambda text: typer.confirm(text, abort=True))


@app.command()
def env() -> None:
    """Print the exports with which plain `dbt` and `airflow` find the running stack: eval "$(mdp env)"."""
    from mdp import stack

    print(stack.shell_exports())


# -- one day, step by step --------------------------------------------------------------------------------------------


@app.command()
def ingest(
    ds: Ds, from_ds: From = None,
    feed: Annotated[list[str] | None, typer.Option("--feed", help="only this feed (may be given again)")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="only feeds of this kind: jdbc or files")] = None,
    reload: Annotated[bool, typer.Option("--reload", help="read the day's files anew")] = False,
) -> None:  # fmt: skip
    """Load the day's rows of all feeds into raw, personal data protected on the way."""
    from ingestion.run import ingest as ingest_feeds

    ingest_feeds(ds, from_ds=from_ds, feeds=feed, kind=kind, reload=reload)


@app.command()
def gate(name: str, ds: Ds, from_ds: From = None) -> None:
    """Check what a stage wrote: raw, cleaned, features or predictions. A broken rule exits with 1."""
    from expectations.gate import run_gate

    run_gate(name, ds, from_ds)


@app.command()
def build(layer: str, ds: Ds, from_ds: From = None) -> None:
    """Build a dbt layer: cleaned (with staging), features (with labels) or marts."""
    from mdp.build import build as build_layer

    print(build_layer(layer, ds, from_ds))


@app.command()
def train(model: str, ds: Ds, dry: Annotated[bool, typer.Option("--dry", help="register nothing")] = False) -> None:
    """Fit a model on matured labels, evaluate it, register it and promote it if it is better."""
    from ml.train import train as train_model

    print(train_model(model, ds, dry=dry))


@app.command()
def score(model: str, ds: Ds) -> None:
    """Score the day with a model's champion."""
    from ml.score import score as score_model

    print(score_model(model, ds))


@export_app.callback()
def export(
    context: typer.Context, ds: OptionalDs = None,
    target: Annotated[str | None, typer.Option("--target", help="only this export of exports.yml, no files")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be, change nothing")] = False,
) -> None:  # fmt: skip
    """Hand segments, churn risks, the budget plan and audience files back: `mdp export --ds D`; for the newest day only."""
    if context.invoked_subcommand:
        return
    if not ds:
        raise typer.BadParameter("the business date is missing", param_hint="'--ds'")
    from ingestion.export import export as export_day

    export_day(ds, target, dry_run)


@export_app.command("show")
def export_show(
    ds: Ds,
    target: Annotated[str | None, typer.Option("--target", help="only this export, with its rejected rows")] = None,
) -> None:
    """Show what was exported for a day, what was rejected and why."""
    from mdp import show

    show.exports(ds, target)


@app.command()
def summary(ds: OptionalDs = None) -> None:
    """Say what a day came to (without --ds the newest): rows, gates, segments, models, budget, what to do."""
    from rich.console import Console

    from mdp.summary import report

    Console(highlight=False, soft_wrap=True).print(report(ds))


# -- models -----------------------------------------------------------------------------------------------------------


@model_app.command("list")
def model_list() -> None:
    """List the models, their champions and newest versions."""
    from mdp import show

    show.models()


@model_app.command("show")
def model_show(model: str) -> None:
    """Show a model's versions, metrics and promotions."""
    from mdp import show

    show.model(model)


@model_app.command("promote")
def model_promote(
    model: str, version: str, reason: Annotated[str, typer.Option(help="why; goes into the ledger")] = "by hand"
) -> None:
    """Make a version the champion."""
    from ml import registry

    print(registry.promote(model, version, reason))


@model_app.command("rollback")
def model_rollback(model: str) -> None:
    """Make the champion before this one champion again."""
    from ml import registry

    print(registry.rollback(model))


# -- the warehouse ----------------------------------------------------------------------------------------------------


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


@warehouse_app.command("jars")
def warehouse_jars(extras: Annotated[list[str], typer.Argument(help="mariadb, mysql, postgresql, kafka")]) -> None:
    """Fetch the engine's driver for a kind of database, or its Kafka connector, from a Maven repository."""
    from warehouse import jars

    jars.fetch(extras, print)
    if jars.is_restart_needed(extras):
        print(f"the running engine does not have them yet: restart it with {jars.RESTART}")


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


# -- the sample company -----------------------------------------------------------------------------------------------


@sample_app.command("create")
def sample_create(days: Days = 180, customers: Customers = 5000, seed: Seed = 7, intensity: Intensity = 1.0) -> None:
    """Build the company's history: a CRM database and log files, from a seed."""
    from sample import company

    print(company.create(days=days, customers=customers, seed=seed, intensity=intensity, progress=print)["text"])


@sample_app.command("advance")
def sample_advance() -> None:
    """Live one more day."""
    from sample import company

    print(company.advance()["text"])


@sample_app.command("break")
def sample_break(defect: str) -> None:
    """Make the company's next day a bad one, to see a gate stop it."""
    from sample import company

    print(company.break_(defect)["text"])


@sample_app.command("mend")
def sample_mend() -> None:
    """Undo `break`."""
    from sample import company

    print(company.mend()["text"])


@sample_app.command("truth")
def sample_truth() -> None:
    """Print what the models should find: Bayes AUC, oracle c-index, the truly best plan, the planted dirt."""
    from mdp import summary

    print(summary.truth())


if __name__ == "__main__":
    main()
