"""`mdp company`: propose a company's folder from its tables or files, check one, show what it has and lacks."""

import os
import re
import sys
import zoneinfo
from collections.abc import Callable
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table as Grid

from expectations import own
from ingestion import audiences, mapping, new_company, tables
from ingestion.feeds import load_feeds
from ingestion.guess import snake
from ingestion.phones import is_country
from ingestion.targets import load_targets
from warehouse import calendar, company, entities, parts
from warehouse.errors import PlatformError

ADDRESS = re.compile(r"^(jdbc:)?[a-z]\w*(\+\w+)?:(//|\w)")
WIDTH = 100
# The country and zone of a currency that is one country's: something to review, not to ask.
HOMES = {"GBP": ("GB", "Europe/London"), "CNY": ("CN", "Asia/Shanghai"), "JPY": ("JP", "Asia/Tokyo"),
         "CHF": ("CH", "Europe/Zurich"),
         "INR": ("IN", "Asia/Kolkata"), "SEK": ("SE", "Europe/Stockholm"), "PLN": ("PL", "Europe/Warsaw")}  # fmt: skip


# -- new --------------------------------------------------------------------------------------------------------------


def new(
    name: str, source: str, *, timezone: str | None, country: str | None, currency: str | None, answers: list[str],
    yes: bool, into: Path | None = None, ask: Callable[[str], str] | None = None,
) -> Path:  # fmt: skip
    """Propose a company from a database's address, a folder or a file, write its folder and say what to review.

    Returns the folder. What is open is asked by `ask` (None: nobody is there); `yes` takes what has a default. PlatformError
    names what is still open, or why there is no proposal; nothing is written then.
    """
    folder = (into or company.COMPANIES) / name
    found = propose(
        name, source, folder, timezone=timezone, country=country, currency=currency, answers=answers, yes=yes, ask=ask,
        again=f"mdp company new {name} --from",
    )  # fmt: skip
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    with new_company.named(folder):
        marks = company.unreviewed()
        Console(width=WIDTH, highlight=False).print(overview())
    n_files = sum(path.is_file() for path in folder.rglob("*"))
    print(f"{folder}: {n_files} files, {len(marks)} marks to review: take each `review` away when it is right")
    if any(t.feed["kind"] == "jdbc" for t in found.tables):
        connection = connection_of(name)
        print(f"the database's address goes into .env: MDP_{connection.upper()}_URL, _USER, _PASSWORD")
    else:
        print("files are read from MDP_SPOOL_URI: <directory>/<table>-<day>.csv, as feeds.yml says")
    shown = name if folder.parent == company.COMPANIES else folder
    print(f"then: MDP_COMPANY={shown} mdp company check")
    return folder


def propose(
    name: str, source: str, folder: Path, *, timezone: str | None, country: str | None, currency: str | None,
    answers: list[str], yes: bool, ask: Callable[[str], str] | None, again: str,
) -> mapping.Mapping:  # fmt: skip
    """Write the folder of a proposed company and return what was found; as `new`, which says more.

    `again` is the command, up to the source, by which what is open can be answered.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", name):
        raise PlatformError(f"{name!r} is no name of a company's folder: small letters, digits, - and _, 40 at most")
    if folder.exists():
        raise PlatformError(f"{folder} exists: choose another name, or take that folder away first")
    known = _answers(answers)
    domain = connection = connection_of(name)
    while True:
        found, settings = _proposal(source, domain, known, timezone, country, currency)
        open_ = [q for q in found.questions if q.id not in known]
        if yes:
            known |= {q.id: q.default for q in open_ if q.default}
            open_ = [q for q in open_ if not q.default]
        if not open_:
            break
        if ask is None:
            raise PlatformError(
                "\n".join(["only you can say:", *(f"  {_asked(q)}" for q in open_), _how(open_[0], again, source)])
            )
        known |= {q.id: _answer(q, ask) for q in open_}
    if yes:
        found, settings = _proposal(source, domain, known, timezone, country, currency)
    new_company.write(folder, name, found, entities.contract(), domain=domain, connection=connection, settings=settings)
    return found


def connection_of(name: str) -> str:
    """The name of a proposed company's database, and the domain of its feeds."""
    return re.sub(r"[^a-z0-9]", "", snake(name))


def _proposal(source, domain, known, timezone, country, currency):
    read = (
        tables.from_database(source, domain)
        if ADDRESS.match(source)
        else tables.from_path(Path(source).expanduser(), known)
    )
    found = mapping.propose(read, entities.contract(), domain, timezone or "UTC", known)
    settings = _settings(found, timezone, country, currency)
    if not timezone and settings["timezone"][0] != "UTC":
        found = mapping.propose(read, entities.contract(), domain, settings["timezone"][0], known)
    return found, settings


def _settings(found: mapping.Mapping, timezone, country, currency) -> dict[str, tuple[str, str | None]]:
    """timezone, country, currency: as given, else by the currency that the orders name, else what is neutral; with a mark."""
    for value, fits, what in (
        (timezone, timezone in zoneinfo.available_timezones(), "time zone, such as Europe/Berlin"),
        (country, bool(country) and is_country(country), "country in two letters of ISO 3166, such as DE"),
        (
            currency,
            bool(re.fullmatch("[A-Z]{3}", currency or "")),
            "currency in three letters of ISO 4217, such as EUR",
        ),
    ):
        if value and not fits:
            raise PlatformError(f"{value!r} is no {what}")
    seen = found.currency
    home = HOMES.get(currency or seen or "", ("US", "UTC"))
    why = f"where one pays in {currency or seen}" if (currency or seen) in HOMES else "nothing says it"
    by = "most orders name it" if seen else "nothing says it: XXX is no currency"
    return {
        "timezone": (timezone, None) if timezone else (home[1], f"whose calendar day is the business day? {why}"),
        "country": (country, None) if country else (home[0], f"of phone numbers without +: {why}"),
        "currency": (currency, None) if currency else (seen or "XXX", f"in which amounts are: {by}"),
    }


def _answers(given: list[str]) -> dict[str, str]:
    pairs = [answer.partition("=") for answer in given]
    if wrong := [key for key, sign, _ in pairs if not sign]:
        raise PlatformError(f"--answer {wrong[0]}: write it as --answer '<question>=<choice>'")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _asked(question: tables.Question) -> str:
    return f"{question.id}: {question.text} ({' | '.join(question.choices)})"


def _how(question: tables.Question, again: str, source: str) -> str:
    shown = source if not ADDRESS.match(source) else "…"
    return f"answer by: {again} {shown} --answer '{question.id}={question.choices[0]}'"


def _answer(question: tables.Question, ask: Callable[[str], str]) -> str:
    numbered = ", ".join(f"{n} = {choice}" for n, choice in enumerate(question.choices, 1))
    while True:
        said = ask(f"{question.text} ({numbered})").strip()
        if said.isdigit() and 1 <= int(said) <= len(question.choices):
            return question.choices[int(said) - 1]
        if said in question.choices:
            return said


def accept(folder: Path) -> int:
    """Take the marks of a folder away, as reviewed; returns how many there were. The reasons stay."""
    n = 0
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".yml", ".sql")):
        text, here = company.MARK.subn(lambda m: f"{m[1]} accepted", path.read_text(encoding="utf-8"))
        path.write_text(text, encoding="utf-8")
        n += here
    return n


# -- check and show ---------------------------------------------------------------------------------------------------


def check(name: str | None, ask_marks: bool = True) -> None:
    """Print what the company has, lacks, and what is on and off; PlatformError with all faults at once, each with its place."""
    if name:
        os.environ["MDP_COMPANY"] = name
    faults = _faults()
    if not faults:
        Console(width=WIDTH, highlight=False).print(overview())
        faults = [f"{mark}: a guess to review" for mark in company.unreviewed()] if ask_marks else []
    if faults:
        raise PlatformError(
            "\n".join([f"{company.folder()} has {len(faults)} fault{'s' * (len(faults) > 1)}:", *faults])
        )
    print(f"{company.folder().name}: no fault, nothing left to review")


def _faults() -> list[str]:
    company.folder()
    said = []
    for read in (
        company.company,
        company.staged,
        load_feeds,
        load_targets,
        own.load,
        audiences.consent_feed,
        calendar.calendar,
    ):
        try:
            read()
        except PlatformError as error:
            said += [line for line in str(error).splitlines() if line not in said]
    if not said:
        sources = {one.feed for models in company.staged().values() for one in models}
        said += [
            f"{company.folder()}/staging: {feed} is read, and feeds.yml declares no such feed"
            for feed in sorted(sources - set(load_feeds()))
        ]
    return said


def overview() -> Grid:
    """One row per entity: source, columns given, derived and missing; what is off, because of what; the calendar."""
    grid = Grid(title=company.company().name, title_justify="left", show_edge=False)
    for head in ("entity", "source", "columns"):
        grid.add_column(head, overflow="fold")
    for entity, models in company.staged().items():
        columns = entities.contract()[entity].columns
        if entity == "customers" and not models and company.staged()["orders"]:
            grid.add_row(entity, "the orders", "derived: customer_id, registered_at\nmissing: all that describes them")
        elif said := _said_by_customers(entity):
            grid.add_row(entity, "the customers", f"derived: {', '.join(said)}")
        elif not models:
            grid.add_row(entity, "–", "missing: all, nothing feeds it")
        for one in models:
            derived, here = _derived(one), [c for c in one.columns if c in columns]
            kinds = {
                "given": [c for c in here if c not in derived],
                "derived": [c for c in here if c in derived],
                "missing": [c for c in columns if c not in one.columns],
            }
            listed = "\n".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names)
            grid.add_row(entity, f"{one.model}\nof {one.feed}", listed)
    whole = Grid.grid()
    whole.add_column(overflow="fold")
    whole.add_row(grid)
    off = parts.off()
    whole.add_row("")
    on = sorted(set(parts.needs()) - set(off))
    whole.add_row(f"on:  {', '.join(on) or 'nothing'}")
    for table, why in sorted(off.items()):
        whole.add_row(f"off: {table}: {why}")
    whole.add_row(f"calendar: {_calendar()}")
    return whole


def _said_by_customers(entity: str) -> list[str]:
    """The columns of the customers that say what an entity would, if any do."""
    named = company.SAID_BY_CUSTOMERS.get(entity, ())
    return [c for c in named if any(c in one.columns for one in company.staged()["customers"])]


def _calendar() -> str:
    """On which days the company is closed, and how many are like no other."""
    said, kinds = calendar.calendar(), {"closed": "closed day", "holiday": "holiday", "promotion": "promotion"}
    counts = {words: sum(day.kind == kind for day in said.values()) for kind, words in kinds.items()}
    listed = ", ".join(f"{n:,} {words}{'s' * (n > 1)}" for words, n in counts.items() if n)
    weekly = f"closed on {', '.join(company.company().closed)}" if company.company().closed else ""
    days = f"{listed}, {min(said)} … {max(said)}" if said else "no calendar.csv"
    return "; ".join(filter(None, (weekly, days)))


def _derived(one: company.Staged) -> set[str]:
    """The columns of a staging model that are computed: what stands before `as` is more than a column of its source."""
    text = (company.folder() / "staging" / f"{one.model}.sql").read_text(encoding="utf-8")
    renamed = re.compile(r"^\s*(source\.)?`?\w+`?( as (\w+))?,?\s*$")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    plain = {re.findall(r"\w+", line)[-1] for line in lines if renamed.match(line)}
    return set(one.columns) - plain


def confirm(text: str) -> str:
    """Ask on the terminal."""
    return typer.prompt(text)
