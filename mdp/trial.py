"""`mdp try FILE`: from one file of purchases to segments, in a folder of its own, nothing declared beforehand.

What the file holds is proposed as `mdp company new` does, shown and asked once. Then the steps are those that a person would
type, in the order of the stages, without a scheduler: the whole history in one pass, models trained and scored on its last day.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.console import Console

from ingestion import mapping, new_company, tables
from ingestion.feeds import load_feeds
from mdp import company, stack
from warehouse import engine, session, stages, state, supervise
from warehouse.company import check_home
from warehouse.errors import NotYet, PlatformError

console = Console(highlight=False, soft_wrap=True)


def try_file(
    source: Path, *, name: str | None, timezone: str | None, country: str | None, currency: str | None,
    answers: list[str], yes: bool, ask: Callable[[str], str] | None,
) -> Path:  # fmt: skip
    """Run the whole path on one file and print the summary; returns the folder made, `try-<name>` where one stands.

    PlatformError if the file says no purchases, something only a person can say is open, the proposal is not accepted, or a
    step fails; the folder then stays, but for a proposal that was not accepted.
    """
    began = time.monotonic()
    name = name or tables.identifier(source.stem.lower(), "orders").replace("_", "-").strip("-")
    place = Path.cwd() / f"try-{name}"
    if place.exists():
        raise PlatformError(f"{place} exists: choose another --name, or take that folder away first")
    if not source.is_file():
        raise PlatformError(f"{source} is no file: a trial takes one CSV of purchases (customer, time, amount)")
    if source.stat().st_size > tables.MOST_BYTES:
        raise PlatformError(
            f"{source} has more than {tables.MOST_BYTES >> 20} MB: propose a company from it by "
            f"`mdp company new {name} --from {source}`, and run that"
        )
    folder = place / "company"
    try:
        found = company.propose(
            name, str(source), folder, timezone=timezone, country=country, currency=currency, answers=answers, yes=yes,
            ask=ask, again=f"mdp try --name {name}",
        )  # fmt: skip
        with new_company.named(folder):
            console.print(company.overview())
            first, last = days_of(found)
        for note in found.notes:
            console.print(f"note: {note}")
        console.print(f"purchases of {first} … {last}")
        if not yes and (ask is None or ask("is that what the file holds? [y/n]").strip().lower() not in ("y", "yes")):
            how = "say --yes to go on as proposed" if ask is None else "say it by --answer, --timezone, --currency"
            raise PlatformError(f"nothing was run: {how}, or propose it by `mdp company new {name} --from {source}`")
    except PlatformError:
        shutil.rmtree(place, ignore_errors=True)
        raise
    company.accept(folder)
    variables = {"MDP_HOME": place / "home", "MDP_COMPANY": folder, "MDP_SPOOL_URI": place / "spool"}
    os.environ.update({key: str(value) for key, value in variables.items()})
    (place / "env").write_text("".join(f"export {k}={shlex.quote(str(v))}\n" for k, v in variables.items()))
    put = _hand_in(found, source, place / "spool", last)
    try:
        live(first, last, place / "home" / "logs" / "try.log")
        subprocess.run([_mdp(), "summary", "--ds", last], check=True)
    finally:
        stack.stop_all()
    console.print(f"\n[bold]Took[/bold]  {time.monotonic() - began:.0f} s")
    console.print(
        f"[bold]Keep[/bold]  {folder} declares what the file holds, and is a company's folder as any other\n"
        f"[bold]Next[/bold]  . {shlex.quote(str(place / 'env'))}   then `mdp up`, `mdp warehouse sql 'select …'`\n"
        f"      the next day: the whole file, named by its day, beside {put}; then `mdp run`"
    )
    return place


def days_of(found: mapping.Mapping) -> tuple[str, str]:
    """The first and the last business day of the orders; PlatformError if nothing feeds them."""
    from warehouse.company import company as declared

    model = next((model for model in found.models if model.entity == "orders"), None)
    if model is None:
        raise PlatformError("the file says no orders: a trial needs a customer, a time and an amount of each purchase")
    spans = model.table.spans
    named = {name: span for name, span in spans.items() if f"`{name}`" in model.columns["ordered_at"].sql} or spans
    zone = ZoneInfo(declared().timezone)
    first, last = (
        pick(_day(text, model.table.fields[name], zone) for name, span in named.items() for text in span)
        for pick in (min, max)
    )
    return first, last


def _day(text: str, field: tables.Field, zone: ZoneInfo) -> str:
    if text.isdigit():
        seconds = int(text) / (1 if field.time_format == "epoch_seconds" else 1000)
        return datetime.fromtimestamp(seconds, UTC).astimezone(zone).date().isoformat()
    moment = datetime.fromisoformat(text.replace(" ", "T", 1).replace(" ", ""))
    return (moment.astimezone(zone) if moment.tzinfo else moment).date().isoformat()


def _hand_in(found: mapping.Mapping, source: Path, spool: Path, day: str) -> Path:
    """Put the file where its feed looks for it, as of `day`; returns where it lies."""
    (feed,) = load_feeds().values()
    put = spool / feed.directory / feed.pattern.replace("{date}", day).replace("*", "")
    put.parent.mkdir(parents=True)
    if found.tables[0].is_cut_by_blanks:
        tables.write_comma_separated(source, put)
    else:
        shutil.copy(source, put)
    os.utime(put, (0, 0))  # it is whole: no need to wait whether it grows
    return put


def live(first: str, last: str, log: Path) -> None:
    """All stages of the range up to the marts of `last`, as typed commands, each with its seconds; what they say goes into `log`.

    The engine is started for it and stays up.
    """
    with console.status("starting the warehouse engine …"):
        supervise.start(wait=False)
        stack.start_warm()
        supervise.wait_up()
        engine.warm_up()
        session.close()  # the steps have sessions of their own; one that outlives the engine looks for it
    check_home()
    state.set_fact_once("first_day", first)
    state.set_fact_once("history_to", last)
    log.parent.mkdir(parents=True, exist_ok=True)
    for stage in stages.history():
        _step(stages.typed(stage.name, last, first), log)
    for model in stages.models():
        _step(f"mdp train {model} --ds {last}", log)
    for name in (*(f"predictions.{model}" for model in stages.models()), "gate_predictions", "marts"):
        _step(stages.typed(name, last), log)


def _step(command: str, log: Path) -> None:
    began = time.monotonic()
    with console.status(f"{command} …"), log.open("a") as said:
        said.write(f"$ {command}\n")
        said.flush()
        done = subprocess.run([_mdp(), *command.split()[1:]], stdout=said, stderr=subprocess.PIPE, text=True)
        said.write(done.stderr)
    seconds = time.monotonic() - began
    if done.returncode == NotYet.exit_code:
        console.print(f"  [yellow]off[/yellow] {command}: {done.stderr.strip().removeprefix('skipped: ')}")
    elif done.returncode:
        console.print(f"  [red]✗[/red] {command}")
        raise PlatformError(
            f"{command} failed:\n{done.stderr.strip().removeprefix('error: ')}\nall it said is in {log}"
        )
    else:
        console.print(f"  [green]✓[/green] {command:<70} {seconds:6.1f} s")


def _mdp() -> str:
    return str(Path(sys.executable).parent / "mdp")
