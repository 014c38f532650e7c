"""What the warehouse, model and privacy commands print."""

import csv as csv_format
import difflib
import re
import shlex
import sys
from collections import Counter

from warehouse import partitions, state, tables
from warehouse.errors import PlatformError, unknown
from warehouse.session import session


def sql(query: str, csv: bool) -> None:
    """Run `query` and print its rows: a table for people, or with `csv` header and rows only."""
    from pyspark.errors import PySparkException

    try:
        frame = session().sql(query)
        rows, names = frame.collect(), frame.columns
    except PySparkException as error:
        raise PlatformError(_refused(error)) from None
    if csv:
        out = csv_format.writer(sys.stdout, lineterminator="\n")
        out.writerow(names)
        out.writerows(["" if v is None else v for v in row] for row in rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*names)
    for row in rows:
        table.add_row(*["" if v is None else str(v) for v in row])
    console = Console()
    if names:
        console.print(table)
    console.print(f"{len(rows)} row{'' if len(rows) == 1 else 's'}")


def _refused(error) -> str:
    """Why the engine refuses a statement, without its plan and its own stack; an unknown table with those of like names."""
    said = str(error).split("JVM stacktrace")[0]
    if (unknown := re.search(r"\[TABLE_OR_VIEW_NOT_FOUND\].*?view (\S+) cannot be found", said)) and (
        name := unknown[1]
    ):
        name = name.replace("`", "")
        known = [f"{layer}.{t.name}" for layer in tables.LAYERS for t in _tables_of(layer)]
        near = difflib.get_close_matches(name, known, n=3) or [
            t for t in known if t.endswith(f".{name.split('.')[-1]}")
        ]
        layers = f"`show tables in <layer>` lists those of {', '.join(tables.LAYERS)}"
        return f"there is no table {name}: {'did you mean ' + ' or '.join(near) + '?' if near else layers}"
    reason = re.split(r";?\n|; line \d+ pos", said.strip())[0].strip()
    closed = re.fullmatch(r"\(java.lang.SecurityException\) (.*)", reason)  # the sentence is StatementGuard.scala's
    return closed[1] if closed else f"the engine refused the statement: {reason}"


def _tables_of(layer: str) -> list:
    return session().catalog.listTables(layer) if session().catalog.databaseExists(layer) else []


def checksums(ds: str | None, layer: str | None) -> None:
    """Print table, day, rows and content hash, one line each, and which columns they leave out."""
    if layer and layer not in tables.LAYERS:
        raise unknown("layer", layer, tables.LAYERS)
    for row in partitions.checksums(ds, layer):
        print(f"{row['checksum']}  {row['table']}  {row['ds']}  {row['n_rows']} rows")
    print(f"# left out because they name the run, not the data: {', '.join(tables.RUN_COLUMNS)}", file=sys.stderr)


def _narrow(texts: tuple[str, ...], numbers: tuple[str, ...]):
    """A table for eighty columns, in which no name is cut: one will be typed."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in texts:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, no_wrap=True, justify="right")
    return table


def feeds() -> None:
    """Print a line per declared feed: its last load, what is waiting, and what nobody declared."""
    from rich.console import Console

    from ingestion.status import status

    table = _narrow(("feed", "last day", "state"), ("rows", "quarantined", "lag"))
    table.add_column("watermark")
    notes = []
    for row in status():
        share = f" {row['n_quarantined'] / row['n_seen']:.1%}" if row["n_quarantined"] else ""
        lag = "" if row["lag_days"] is None else f"{row['lag_days']} d"
        numbers = (f"{row['n_rows']:,}", f"{row['n_quarantined']:,}{share}") if row["ds"] else ("", "")
        table.add_row(row["feed"], row["ds"] or "never", row["state"], *numbers, lag, row["watermark"])
        notes += [f"{row['feed']}: {note}" for note in row["notes"]]
    console = Console()
    console.print(table)
    for note in notes:
        console.print(note, highlight=False, markup=False)  # a column may be called [/]


def quarantine(feed: str | None, ds: str | None) -> None:
    """Print how many rows are held back, by feed, day and reason."""
    from rich.console import Console

    from ingestion.quarantine import counts

    table, found = _narrow(("feed", "day", "reason"), ("waiting", "released", "dropped")), counts(feed, ds)
    for row in found:
        table.add_row(
            row["feed"], row["ds"], row["reason"], *(f"{row[key]:,}" for key in ("waiting", "release", "drop"))
        )
    console = Console()
    console.print(table)
    if found:
        last = found[-1]
        console.print(f"next: mdp quarantine show --feed {last['feed']} --ds {last['ds']} --reason {last['reason']}")


def held_rows(feed: str, ds: str, reason: str | None, limit: int) -> None:
    """Print rows held back, one block each: place, reason, decision, masked text."""
    from ingestion.quarantine import rows

    found = rows(feed, ds, reason, limit)
    for row in found:
        print(f"{row['place']}  {row['reason']}{'  ' + row['decision'] if row['decision'] else ''}")
        print(f"    {row['text']}")
    if not found:
        print(f"{feed} held back no row of {ds}" + (f" for {reason}" if reason else ""))


def locks() -> None:
    """Print a line per lock: what is worked on, by whom, since when, last heard of, state; and how to free one."""
    from rich.console import Console

    from warehouse import leases

    table, found = _narrow(("work", "by", "since (UTC)", "last heard of", "state"), ()), leases.show()
    for row in found:
        times = (f"{row[at]:%Y-%m-%d %H:%M:%S}" for at in ("acquired_at", "heartbeat_at"))
        table.add_row(row["name"], f"{row['who']}, {row['pid']} on {row['host']}", *times, row["state"])
    if not found:
        print("no lock is held")
        return
    Console(soft_wrap=True).print(table)
    if free := [row["name"] for row in found if row["state"] != "held"]:
        print(f"who asks next for what is expired or gone gets it; or: mdp doctor locks --free {shlex.quote(free[0])}")


def models() -> None:
    """Print one line per declared model: champion, metric, number of versions."""
    from rich.console import Console
    from rich.table import Table

    from ml import registry

    table = Table("model", "champion", "metric", "value", "versions")
    for row in registry.list_models():
        off = state.last_off(f"train.{row['model']}")
        champion = f"none: {off}" if off else "none"
        if row["champion"]:
            champion = f"version {row['champion']}{' (baseline)' if row['is_baseline'] else ''}"
        value = "" if row["value"] is None else f"{row['value']:.4f}"
        table.add_row(row["model"], champion, row["metric"], value, str(row["n_versions"]))
    Console().print(table)


def model(name: str) -> None:
    """Print a model's description, its versions with their metrics, and its promotions."""
    from rich.console import Console
    from rich.table import Table

    from ml import registry

    found = registry.show(name)
    console = Console(highlight=False)
    console.print(f"[bold]{name}[/bold]: {found['description']}\nBaseline: {found['baseline']}")
    versions = Table("version", "is", "metrics")
    for v in found["versions"]:
        what = ", ".join(word for word, yes in (("champion", v.is_champion), ("baseline", v.is_baseline)) if yes)
        versions.add_row(v.version, what, ", ".join(f"{k} {x:.4g}" for k, x in sorted(v.metrics.items())))
    console.print(versions)
    for v in found["versions"]:
        if v.notes:
            console.print(f"version {v.version}: {v.notes}")
    history = Table("when (UTC)", "who", "from", "to", "why")
    for p in found["promotions"]:
        when = f"{p['promoted_at']:%Y-%m-%d %H:%M}"
        history.add_row(when, p["promoted_by"], p["from_version"] or "-", p["to_version"], p["reason"])
    console.print(history)


def privacy_keys() -> None:
    """Print the blocks of the key ring and what each is for, then the rows under each key, per table."""
    from rich.console import Console
    from rich.table import Table

    from ingestion.rotate import rows_by_key
    from warehouse import keys

    ring = keys.key_ids()
    blocks = Table("key", "is for")
    for n, key in enumerate(ring):
        uses = [("hashes", n == 0), ("sealing", n == len(ring) - 1), ("opening", True)]
        blocks.add_row(key, ", ".join(use for use, yes in uses if yes))
    rows = Table("table", "key", "rows", "which are")
    for row in rows_by_key():
        rows.add_row(row["table"], row["key_id"], f"{row['n_rows']:,}", row["kind"])
    console = Console(highlight=False)
    console.print(blocks, rows)


def reveals() -> None:
    """Print the trace of the secrets that were read back, oldest first."""
    from rich.console import Console
    from rich.table import Table

    from warehouse import state

    table = Table("when (UTC)", "who", "table", "column", "row", "ds", "why")
    for r in state.reveals():
        when = f"{r['revealed_at']:%Y-%m-%d %H:%M:%S}"
        table.add_row(
            when, *(r[name] for name in ("revealed_by", "table_name", "column_name", "row_key", "ds", "reason"))
        )
    Console(highlight=False).print(table)


def exports(ds: str, target: str | None) -> None:
    """Print per export of the day how many rows were accepted and rejected, and why; for one `target` each rejected row."""
    done = {export["target"]: export for export in state.exports(ds) if target in (None, export["target"])}
    rejected = state.rejected_rows(ds, target)
    if not done and not rejected:
        known = ", ".join(export["target"] for export in state.exports(ds)) or "nothing was exported for that day"
        raise PlatformError(f"no export {target or ''} of {ds} is recorded: {known}")
    for name in sorted({*done, *(row["target"] for row in rejected)}):
        digest = done[name]["digest"] if name in done else None
        kept = [row for row in rejected if (row["target"], row["digest"]) == (name, digest)]
        refused = [row for row in rejected if row["target"] == name and row["digest"] != digest]
        if digest:
            when = f"{done[name]['exported_at']:%Y-%m-%d %H:%M} UTC"
            print(f"{name}: {done[name]['n_rows']:,} rows accepted, {len(kept):,} rejected; {when}")
            _rejected(kept, one_by_one=target is not None)
        if refused:
            who = "a later run" if digest else "the export"
            print(f"{name}: {who} was refused or broke off: {len(refused):,} rejected rows")
            _rejected(refused, one_by_one=target is not None)


def _rejected(rows: list[dict], one_by_one: bool) -> None:
    for why, n in Counter(row["reason"] for row in rows).most_common():
        print(f"  {n:>10,} × {why}")
    for row in rows if one_by_one else ():
        print(f"  {row['row_key']}  {row['reason']}")
