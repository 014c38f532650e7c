"""The sample company's life: create its history, live one more day, make a day bad, mend it.

A day is lived in one order: log files, truth, CRM tables, and last `company.json`. Each is a pure function of the world
and the day, so a day that was cut short is lived again and comes out the same.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from sample import clock, crm, truth
from sample.browsing import events_of, impressions_of
from sample.parameters import HISTORY_DAYS, SIZE
from sample.population import Population, World, build_population, n_registered
from sample.shopping import Orders, orders_of
from sample.spool import FEEDS, LONGEST_WAY, Lines, Spool, ads_lines, web_lines
from warehouse.company import company
from warehouse.connections import database
from warehouse.errors import PlatformError, unknown
from warehouse.settings import settings

DEFECTS = {
    "missing_user_ids": "most events of logged-in customers lose their user id",
    "duplicated_orders": "the day's orders stand twice in the CRM",
    "volume_drop": "only a tenth of the log lines arrive",
    "future_timestamps": "a large part of the log lines is dated days ahead",
}


def create(
    days: int = HISTORY_DAYS,
    customers: int = SIZE,
    seed: int = 7,
    intensity: float = 1.0,
    progress: Callable[[str], None] = lambda message: None,
) -> dict:
    """Build the company and live `days` days; `intensity` multiplies page views and impressions, not orders.

    Refuses where a company already lives: its history may have been ingested.
    """
    if exists():
        raise PlatformError(
            f"a sample company already lives in {settings().sample_dir}: `mdp sample advance` lives its next day, "
            "`make reset` deletes it"
        )
    if days < 1 or customers < 50 or intensity <= 0:
        raise PlatformError("a sample company needs at least 1 day, 50 customers and an intensity above 0")
    clock.refuse_future(days - 1, company().timezone)
    _spool().clear()
    truth.clear()
    world = World(seed, customers, intensity, company().timezone)
    return _live({"world": asdict(world), "newest": -1, "defects": {}, "next": None}, days - 1, progress)


def advance(progress: Callable[[str], None] = lambda message: None) -> dict:
    """Live one more day; a defect that was asked for makes it a bad one."""
    life = _load()
    day = life["newest"] + 1
    clock.refuse_future(day, company().timezone)
    if life["next"]:
        life["defects"][str(day)] = life["next"]
    return _live(life | {"next": None}, day, progress)


def exists() -> bool:
    """Whether a company lives here (one whose creation was cut short does not)."""
    return _file().exists()


def lifetime(days: int = HISTORY_DAYS) -> tuple[str, str]:
    """First and newest day of the company that lives here, or of one that would be created with `days` days."""
    return clock.ds_of(0), clock.ds_of(_load()["newest"] if exists() else days - 1)


def status() -> dict:
    """What lives here: its size, first and newest day, bad days and the defect of the next one."""
    company = _load()
    return company["world"] | {
        "first_ds": clock.ds_of(0),
        "newest_ds": clock.ds_of(company["newest"]),
        "days": company["newest"] + 1,
        "bad_days": {clock.ds_of(int(day)): defect for day, defect in company["defects"].items()},
        "next_defect": company["next"],
    }


def best(clicks, members, plan) -> dict:
    """bayes_auc of evaluated clicks, oracle_cindex of evaluated members, plan beside its true optimum; of what is given."""
    found = {}
    if clicks is not None:
        found["bayes_auc"] = truth.bayes_auc(clicks)
    if members is not None:
        found["oracle_cindex"] = truth.oracle_cindex(members)
    if plan is not None:
        found["plan"] = truth.plan_over_optimum(plan)
    return found


def planted() -> dict[str, dict[str, int]]:
    """What was planted up to the newest day: lines and faults per log feed, orders and bulk orders."""
    return truth.known_amounts()


def break_(defect: str) -> dict:
    """Make the next day that is lived a bad one."""
    if defect not in DEFECTS:
        raise unknown("defect", defect, DEFECTS)
    company = _load()
    _save(company | {"next": defect})
    ds = clock.ds_of(company["newest"] + 1)
    return {"ds": ds, "defect": defect, "text": f"{ds} will be a bad day: {DEFECTS[defect]}"}


def mend(progress: Callable[[str], None] = lambda message: None) -> dict:
    """Undo `break_`: forget a defect to come, and write bad days (and those after them) again as good ones."""
    company = _load()
    bad = sorted(int(day) for day in company["defects"])
    if not bad:
        _save(company | {"next": None})
        asked = company["next"]
        return {"mended": [], "text": f"the next day will be a good one ({asked} was asked for)" if asked
                else "there is nothing to mend"}  # fmt: skip
    # From the first bad day on: the late lines of a bad day stand in the files of the days after it.
    mended = company | {"defects": {}, "next": None, "newest": bad[0] - 1}
    _live(mended, company["newest"], progress)
    days = [clock.ds_of(day) for day in bad]
    return {"mended": days, "text": f"{', '.join(days)}: files and CRM tables are those of a good day now"}


def _live(company: dict, last: int, progress: Callable[[str], None]) -> dict:
    """Live the days after the newest one, up to `last`; then write the CRM and say so in `company.json`."""
    began = time.monotonic()
    world, defects = World(**company["world"]), {int(day): defect for day, defect in company["defects"].items()}
    first = company["newest"] + 1
    people = build_population(world, last)
    lived = [orders_of(world, _known(world, people, day), day) for day in range(first)]
    lines = dict.fromkeys(FEEDS, 0)
    for day in range(first, last + 1):
        orders, counts = _live_day(world, people, day, defects)
        lived.append(orders)
        lines = {feed: n + counts[feed]["lines"] for feed, n in lines.items()}
        if last > first and (day + 1) % 30 == 0:
            progress(f"lived until {clock.ds_of(day)}")
    truth.write_company(world, people)
    progress("writing the CRM tables")
    tables = crm.tables_at(world, people, last, lived, defects)
    generated = time.monotonic() - began
    _write_crm(tables)
    _save(company | {"newest": last})
    result = {
        "from_ds": clock.ds_of(first),
        "ds": clock.ds_of(last),
        **{f"n_{name}": table.num_rows for name, table in tables.items()},
        **{f"n_{feed}_lines": n for feed, n in lines.items()},
        "defect": defects.get(last),
        "generate_seconds": round(generated, 1),
        "seconds": round(time.monotonic() - began, 1),
    }
    return result | {"text": _in_words(result)}


def _in_words(result: dict) -> str:
    span = result["ds"] if result["from_ds"] == result["ds"] else f"{result['from_ds']} to {result['ds']}"
    bad = f", a bad day: {DEFECTS[result['defect']]}" if result["defect"] else ""
    return (
        f"the sample company lived {span}{bad}: {sum(result[f'n_{feed}_lines'] for feed in FEEDS):,} log lines; "
        f"the CRM has {result['n_customers']:,} customers and {result['n_orders']:,} orders ({result['seconds']} s)"
    )


def _live_day(world: World, people: Population, day: int, defects: dict[int, str]) -> tuple[Orders, dict]:
    """Write one day's files and truth."""
    spool, known = _spool(), _known(world, people, day)
    orders, lines, seen = _lines_of(world, known, day, defects.get(day))
    spool.keep_late(day, lines)
    late = []
    for before in range(max(0, day - LONGEST_WAY), day):
        left = spool.late_of(before)
        if left is None:
            spool.keep_late(before, _lines_of(world, _known(world, people, before), before, defects.get(before))[1])
            left = spool.late_of(before)
        late.append(left)
    counts = spool.write(day, lines, late)
    truth.write_day(world, day, seen, orders, counts)
    return orders, counts


def _lines_of(world: World, known: Population, day: int, defect: str | None):
    """The day's orders, its log lines per feed, and its impressions."""
    orders = orders_of(world, known, day)
    seen = impressions_of(world, known, day)
    web = web_lines(world, known, day, events_of(world, known, day, orders), orders, defect)
    lines: dict[str, Lines] = {"web__events": web, "ads__events": ads_lines(world, known, day, seen, defect)}
    return orders, lines, seen


def _known(world: World, people: Population, day: int) -> Population:
    """Customers registered by the end of the day: draws must not depend on who comes later."""
    return people.take(slice(n_registered(world, day)))


def _write_crm(tables: dict) -> None:
    from warehouse.session import session

    crm.write_tables(session(), tables, database("crm").jdbc_options())


def _spool() -> Spool:
    return Spool(settings().spool_uri, settings().sample_dir / "state", company().timezone)


def _file() -> Path:
    return settings().sample_dir / "company.json"


def _load() -> dict:
    try:
        return json.loads(_file().read_text())
    except FileNotFoundError:
        where = settings().sample_dir
        raise PlatformError(f"no sample company lives in {where}: `mdp sample create` builds one") from None


def _save(company: dict) -> None:
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".tmp").write_text(json.dumps(company, indent=1))
    path.with_suffix(".tmp").replace(path)
