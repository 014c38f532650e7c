"""`mdp`: every step of the platform as a command anyone can type, and the scheduler types the same ones.

Rooms are imported inside the commands, so that `mdp --help` and each task pay only for what they use.
"""

import os
import sys
import time
import traceback
from pathlib import Path
from typing import Annotated

import typer

from warehouse.errors import EngineDown, NotYet, PlatformError, Skipped

DEFECT = 70  # EX_SOFTWARE of sysexits.h: a traceback, which is a fault of ours

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
warehouse_app = typer.Typer(no_args_is_help=True, help="The engine: start it, stop it, ask it.")
sample_app = typer.Typer(no_args_is_help=True, help="A generated company, whose truth is known.")
ingest_app = typer.Typer(invoke_without_command=True)
quarantine_app = typer.Typer(no_args_is_help=True, help="Rows held back at the door.")
model_app = typer.Typer(no_args_is_help=True, help="Registered models and their champions.")
privacy_app = typer.Typer(no_args_is_help=True, help="The privacy key, and secrets read back with a trace.")
feed_app = typer.Typer(
    no_args_is_help=True, help="What is taken in: check it, propose it, convert it from Sqoop or Flume."
)
company_app = typer.Typer(no_args_is_help=True, help="The company: propose its folder, check it, show what it has.")
doctor_app = typer.Typer(no_args_is_help=True, help="What holds work up.")
export_app = typer.Typer(invoke_without_command=True)
for name, group in (
    ("warehouse", warehouse_app), ("sample", sample_app), ("model", model_app), ("privacy", privacy_app),
    ("ingest", ingest_app), ("quarantine", quarantine_app), ("feed", feed_app),
    ("export", export_app), ("doctor", doctor_app), ("company", company_app),
):  # fmt: skip
    app.add_typer(group, name=name)

Ds = Annotated[str, typer.Option("--ds", help="business date, YYYY-MM-DD")]
OptionalDs = Annotated[str | None, typer.Option("--ds", help="business date, YYYY-MM-DD")]
From = Annotated[str | None, typer.Option("--from", help="first day of a range that ends with --ds")]
Days = Annotated[int, typer.Option(help="days of history")]
Customers = Annotated[int, typer.Option(help="registered customers at the end of the history")]
Seed = Annotated[int, typer.Option(help="draws the company and its truth")]
Intensity = Annotated[float, typer.Option(help="events per customer, relative to the default")]


def main() -> None:
    """Run the command line; a PlatformError becomes one clear message and its exit code, never a traceback."""
    from warehouse.settings import load_env_file

    load_env_file()
    os.environ["TZ"] = "UTC"  # naive timestamps of libraries must mean UTC on every machine
    time.tzset()
    from warehouse.session import seen_engine

    engine = None
    try:
        engine = seen_engine()
        app()
    except Skipped as reason:
        print(f"skipped: {reason}", file=sys.stderr)
        sys.exit(reason.exit_code)
    except Exception as error:
        if engine and seen_engine() != engine and not (isinstance(error, PlatformError) and error.is_verdict):
            said = str(error).strip() or type(error).__name__
            error = EngineDown(
                f"the warehouse engine died meanwhile: run the command again ({said.splitlines()[0][:300]})"
            )
        if not isinstance(error, PlatformError):
            traceback.print_exc()
            sys.exit(DEFECT)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


# -- the whole platform -----------------------------------------------------------------------------------------------


@app.command()
def run(
    ds: OptionalDs = None, from_ds: From = None, days: Days = 180, customers: Customers = 5000, seed: Seed = 7,
    intensity: Intensity = 1.0,
) -> None:  # fmt: skip
    """Live the next day (the first time: create the company, load its history, train) and print the summary."""
    from mdp import run as whole

    whole.run(ds, from_ds, dict(days=days, customers=customers, seed=seed, intensity=intensity))


@app.command("try")
def try_(
    file: Annotated[Path, typer.Argument(help="a CSV of purchases: customer, time, amount")],
    name: Annotated[str | None, typer.Option(help="of the folder made, try-<name> (default: the file's)")] = None,
    timezone: Annotated[str | None, typer.Option(help="whose day is the business day: Europe/London")] = None,
    country: Annotated[str | None, typer.Option(help="two letters: GB")] = None,
    currency: Annotated[str | None, typer.Option(help="three letters: GBP")] = None,
    answer: Annotated[list[str] | None, typer.Option("--answer", help="to a question: '<question>=<choice>'")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="go on as proposed, ask only what may never be assumed")] = False,
) -> None:  # fmt: skip
    """Run the whole path on one file of purchases, nothing declared: segments, value, who is fading, in a folder of its own."""
    from mdp import company
    from mdp.trial import try_file

    try_file(
        file, name=name, timezone=timezone, country=country, currency=currency, answers=answer or [], yes=yes,
        ask=company.confirm if sys.stdin.isatty() else None,
    )  # fmt: skip


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


@ingest_app.callback()
def ingest(
    context: typer.Context, ds: OptionalDs = None, from_ds: From = None,
    feed: Annotated[list[str] | None, typer.Option("--feed", help="only this feed (may be given again)")] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="only jdbc, files or kafka (may be given again)")] = None,
    reload: Annotated[bool, typer.Option("--reload", help="read the day's files or offsets anew")] = False,
    accept_gap: Annotated[bool, typer.Option("--accept-gap", help="go on where a broker has dropped records")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print what databases would be asked")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="load a topic as it grows, from the day on, until Ctrl-C")] = False,
    every: Annotated[float, typer.Option("--every", help="seconds between two looks at a topic followed", min=0.1)] = 10,
) -> None:  # fmt: skip
    """Load the day's rows of all feeds into raw, personal data protected on the way."""
    if context.invoked_subcommand:
        return
    if not ds:
        raise typer.BadParameter("a load is of a day: --ds YYYY-MM-DD (or `mdp ingest status`)")
    from ingestion import run

    if dry_run:
        print(run.dry_run(ds, from_ds, feed))
        return
    if follow:
        if len(feed or []) != 1:
            raise typer.BadParameter("one topic is followed: name its feed with --feed")
        from ingestion.follow import follow as follow_topic

        follow_topic(ds, feed[0], every, from_ds, accept_gap)
        return
    run.ingest(ds, from_ds=from_ds, feeds=feed, kinds=kind, reload=reload, accept_gap=accept_gap)


@ingest_app.command("status")
def ingest_status() -> None:
    """Show each feed's last load: day, rows, quarantined, lag, watermark, and columns that nobody declared."""
    from mdp import show

    show.feeds()


Feed = Annotated[str, typer.Option("--feed", help="the feed that held the rows back")]
OneFeed = Annotated[str | None, typer.Option("--feed", help="only this feed")]
Place = Annotated[str | None, typer.Option("--row", help="one row, as `show` prints its place")]
Reason = Annotated[str | None, typer.Option("--reason", help="all rows held back for this reason")]


@quarantine_app.command("list")
def quarantine_list(feed: OneFeed = None, ds: OptionalDs = None) -> None:
    """Count the rows held back, by feed, day and reason."""
    from mdp import show

    show.quarantine(feed, ds)


@quarantine_app.command("show")
def quarantine_show(
    feed: Feed, ds: Ds, reason: Reason = None, limit: Annotated[int, typer.Option(help="rows at most")] = 20
) -> None:
    """Show rows held back, masked, with their place in the source."""
    from mdp import show

    show.held_rows(feed, ds, reason, limit)


@quarantine_app.command("release")
def quarantine_release(feed: Feed, ds: Ds, row: Place = None, reason: Reason = None) -> None:
    """Let rows through: the feed's next load takes them along, each counts for its own day."""
    _decide(feed, ds, "release", row, reason)


@quarantine_app.command("drop")
def quarantine_drop(feed: Feed, ds: Ds, row: Place = None, reason: Reason = None) -> None:
    """Note that nobody wants these rows: they are not listed as waiting any more."""
    _decide(feed, ds, "drop", row, reason)


def _decide(feed: str, ds: str, decision: str, row: str | None, reason: str | None) -> None:
    from ingestion import quarantine

    if (row is None) == (reason is None):
        raise typer.BadParameter("say which rows: --row PLACE or --reason REASON, as `mdp quarantine show` prints them")
    n = quarantine.decide(feed, ds, decision, row, reason)
    print(f"{n} row{'s' * (n != 1)} of {feed}, {ds}: {decision}{'d' if decision == 'release' else 'ped'}")
    if decision == "release":
        print("the feed's next load takes them along: `mdp ingest --ds <next day>`, or `make run`")


@app.command()
def gate(name: str, ds: Ds, from_ds: From = None) -> None:
    """Check what a stage wrote: raw, cleaned, features or predictions. A broken rule exits with 1."""
    from expectations.gate import run_gate
    from ingestion.feeds import load_feeds

    load_feeds()  # the gates read it, too, and leave it to ingestion to say what is wrong in it
    run_gate(name, ds, from_ds)


@app.command()
def build(layer: str, ds: Ds, from_ds: From = None) -> None:
    """Build a dbt layer: cleaned (with staging), features (with labels) or marts."""
    from mdp.build import build as build_layer

    print(build_layer(layer, ds, from_ds))


@app.command()
def rebuild() -> None:
    """Build tables of an older version, whose columns have changed since, again for all their days, with what follows."""
    from mdp.rebuild import rebuild as rebuild_tables

    print(rebuild_tables())


@app.command()
def ready(stage: str, ds: Ds) -> None:
    """Say whether a stage of the day is whole; exit code 99 if it is not yet."""
    from warehouse import stages

    is_whole, text = stages.status(stage, ds)
    print(text)
    raise typer.Exit(0 if is_whole else NotYet.exit_code)


@app.command()
def train(
    model: str, ds: Ds,
    dry: Annotated[bool, typer.Option("--dry", help="register nothing")] = False,
    missing: Annotated[bool, typer.Option("--missing", help="only if the model has no champion yet")] = False,
) -> None:  # fmt: skip
    """Fit a model on matured labels, evaluate it, register it and promote it if it is better.

    Too little to learn from so far is no fault: it is said, with the first day on which it can be, and the exit code is 99.
    """
    from ml.train import train as train_model

    print(train_model(model, ds, dry=dry, missing=missing))


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


# -- feeds ------------------------------------------------------------------------------------------------------------


@feed_app.command("list")
def feed_list() -> None:
    """List the declared feeds, their sources and raw tables."""
    from mdp import feeds

    feeds.list_feeds()


@feed_app.command("check")
def feed_check(
    file: Annotated[Path | None, typer.Argument(help="default: the company's feeds.yml")] = None,
) -> None:
    """Check a feeds file and say what each feed reads and protects; all faults at once, with exit code 1."""
    from mdp import feeds

    feeds.check(file)


@feed_app.command("infer")
def feed_infer(
    source: Annotated[list[str] | None, typer.Argument(help="<connection>.<table>, or a connection")] = None,
    query: Annotated[
        str | None, typer.Option("--query", help="of the connection's database, instead of a table")
    ] = None,
    files: Annotated[list[Path] | None, typer.Option("--files", help="some files of a log (more may follow)")] = None,
    topic: Annotated[str | None, typer.Option("--topic", help="of the connection's broker; needs --sample")] = None,
    sample: Annotated[Path | None, typer.Option("--sample", help="some records of the topic, one to a line")] = None,
    format_: Annotated[str | None, typer.Option("--format", help="json, csv or combined (default: as seen)")] = None,
    name: Annotated[str | None, typer.Option("--name", help="of the feed: <domain>__<entity>")] = None,
) -> None:
    """Propose a feed block from a table, a query, files or a topic; what is guessed is marked `# review`."""
    from mdp import feeds

    feeds.infer(source or [], query, files or [], format_, topic, sample, name)


@feed_app.command("from-sqoop")
def feed_from_sqoop(
    file: Annotated[str, typer.Argument(help="an options file, or - for sqoop commands on standard input")],
    source: Annotated[str | None, typer.Option("--source", help="the warehouse table that an export reads")] = None,
) -> None:
    """Print the blocks that do what a Sqoop command did, and what of it has no equivalent."""
    from mdp import feeds

    feeds.from_sqoop(file, source)


@feed_app.command("from-flume")
def feed_from_flume(
    file: Annotated[Path, typer.Argument(help="an agent's properties")],
    sample: Annotated[
        list[str] | None,
        typer.Option("--sample", help="[<source, file group or topic>=]FILE with some lines of its log"),
    ] = None,
) -> None:
    """Print the feed blocks that do what a Flume agent did, and what of it has no equivalent."""
    from mdp import feeds

    feeds.from_flume(file, sample or [])


# -- companies --------------------------------------------------------------------------------------------------------

CompanyName = Annotated[str | None, typer.Argument(help="a name below companies/, or a folder (default: MDP_COMPANY)")]


@company_app.command("new")
def company_new(
    name: Annotated[str, typer.Argument(help="of the folder below companies/")],
    source: Annotated[str, typer.Option("--from", help="a database's address, a folder of files, or one file")],
    timezone: Annotated[str | None, typer.Option(help="whose day is the business day: Europe/London")] = None,
    country: Annotated[str | None, typer.Option(help="two letters: GB")] = None,
    currency: Annotated[str | None, typer.Option(help="three letters: GBP")] = None,
    answer: Annotated[list[str] | None, typer.Option("--answer", help="to a question: '<question>=<choice>'")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="ask only what may never be assumed")] = False,
) -> None:  # fmt: skip
    """Look at tables or files and write a company's folder; each guess is marked `review`, with what it rests on."""
    from mdp import company

    ask = company.confirm if sys.stdin.isatty() else None
    company.new(
        name, source, timezone=timezone, country=country, currency=currency, answers=answer or [], yes=yes, ask=ask
    )


@company_app.command("check")
def company_check(name: CompanyName = None) -> None:
    """Print what the company gives, derives and lacks, what is on and off because of that; all faults at once."""
    from mdp import company

    company.check(name)


@company_app.command("show")
def company_show(name: CompanyName = None) -> None:
    """Print the same for a company that is only looked at: guesses that wait for review are no fault."""
    from mdp import company

    company.check(name, ask_marks=False)


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


# -- doctor -----------------------------------------------------------------------------------------------------------


@doctor_app.command("locks")
def doctor_locks(
    free: Annotated[str | None, typer.Option("--free", help="take this lock away from who is gone or silent")] = None,
    force: Annotated[bool, typer.Option("--force", help="with --free: also from who is alive")] = False,
) -> None:
    """Show the locks: what is worked on, by whom, since when, last heard of, and whether it is held, expired or gone."""
    if force and not free:
        raise typer.BadParameter("which lock? --free NAME")
    from mdp import show
    from warehouse import leases

    print(leases.free(free, force)) if free else show.locks()


# -- privacy ----------------------------------------------------------------------------------------------------------


@privacy_app.command("status")
def privacy_status() -> None:
    """List the keys of the ring, and the rows under each key, per table."""
    from mdp import show

    show.privacy_keys()


@privacy_app.command("rotate")
def privacy_rotate(
    retire: Annotated[bool, typer.Option("--retire", help="take old keys that seal nothing out of the ring")] = False,
) -> None:
    """Add a key to the ring and seal every secret anew with it; goes on where an earlier one was interrupted."""
    from ingestion import rotate

    rotate.retire() if retire else rotate.rotate()


@privacy_app.command("reveal")
def privacy_reveal(
    table: str, column: str,
    key: Annotated[str, typer.Option("--key", help="the row's key, its parts joined by |")],
    reason: Annotated[str, typer.Option("--reason", help="why; goes into the trace")],
    ds: Annotated[str | None, typer.Option("--ds", help="the day of the row (default: the newest that has it)")] = None,
) -> None:  # fmt: skip
    """Print the clear value of one sealed column of one row, after a trace of it is written."""
    from ingestion import reveal

    print(reveal.reveal(table, column, key, reason, ds))


@privacy_app.command("trace")
def privacy_trace() -> None:
    """List who read which secret back, when and why."""
    from mdp import show

    show.reveals()


# -- a generated company ----------------------------------------------------------------------------------------------


def _generator():
    """The module that lives the company; PlatformError if it has sources of its own."""
    from sample import generator
    from warehouse.company import company
    from warehouse.errors import PlatformError

    if found := generator():
        return found
    raise PlatformError(f"{company().name} is not generated, it has sources of its own: there is no life to live")


@sample_app.command("create")
def sample_create(days: Days = 180, customers: Customers = 5000, seed: Seed = 7, intensity: Intensity = 1.0) -> None:
    """Build the company's history: a CRM database and log files, from a seed."""
    print(_generator().create(days=days, customers=customers, seed=seed, intensity=intensity, progress=print)["text"])


@sample_app.command("advance")
def sample_advance() -> None:
    """Live one more day."""
    print(_generator().advance()["text"])


@sample_app.command("break")
def sample_break(defect: str) -> None:
    """Make the company's next day a bad one, to see a gate stop it."""
    print(_generator().break_(defect)["text"])


@sample_app.command("mend")
def sample_mend() -> None:
    """Undo `break`."""
    print(_generator().mend()["text"])


@sample_app.command("truth")
def sample_truth() -> None:
    """Print what the models should find: Bayes AUC, oracle c-index, the truly best plan, the planted dirt."""
    from mdp import summary

    _generator()
    print(summary.truth())


if __name__ == "__main__":
    main()
