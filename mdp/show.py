"""What the warehouse, model and privacy commands print."""

import csv as csv_format
import sys

from warehouse import partitions, tables
from warehouse.errors import PlatformError, unknown
from warehouse.session import session


def sql(query: str, csv: bool) -> None:
    """Run `query` and print its rows: a table for people, or with `csv` header and rows only."""
    from pyspark.errors import PySparkException

    try:
        frame = session().sql(query)
        rows, names = frame.collect(), frame.columns
    except PySparkException as error:
        raise PlatformError(
            f"the engine refused the statement: {str(error).split('JVM stacktrace')[0].strip()}"
        ) from None
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


def checksums(ds: str | None, layer: str | None) -> None:
    """Print table, day, rows and content hash, one line each, and which columns they leave out."""
    if layer and layer not in tables.LAYERS:
        raise unknown("layer", layer, tables.LAYERS)
    for row in partitions.checksums(ds, layer):
        print(f"{row['checksum']}  {row['table']}  {row['ds']}  {row['n_rows']} rows")
    print(f"# left out because they name the run, not the data: {', '.join(tables.RUN_COLUMNS)}", file=sys.stderr)


def models() -> None:
    """Print one line per declared model: champion, metric, number of versions."""
    from rich.console import Console
    from rich.table import Table

    from ml import registry

    table = Table("model", "champion", "metric", "value", "versions")
    for row in registry.list_models():
        champion = (
            f"version {row['champion']}{' (baseline)' if row['is_baseline'] else ''}" if row["champion"] else "none"
        )
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
