"""Export: what is handed back, to the tables that `exports.yml` declares and as audience files per contact channel.

Marketing acts on what lies in the CRM, so the newest day's results go there; a day that is no longer the newest changes
nothing, but where rows are only added each day counts. MariaDB, MySQL and PostgreSQL get a day in one transaction
(publish.py). Embedded Derby, which Python cannot open, knows replacement only: Spark's writer drops, creates and fills,
so that readers can find the table half full for a moment.
"""

from ingestion.audiences import missing, write_audiences
from ingestion.jdbc import source_table
from ingestion.publish import Outcome, publish, reasons
from ingestion.rows import content, day_rows
from ingestion.targets import Target, pick
from warehouse import leases, parts, stages, state
from warehouse.company import company
from warehouse.connections import database
from warehouse.errors import EngineDown, PlatformError


def export(ds: str, target: str | None = None, dry_run: bool = False) -> dict:
    """Export the day; returns ds, exported (bool), note and rows per target and file.

    With `target` only that one is exported, and no audience file; a dry run changes nothing and says what would be.
    Raises PlatformError if the day's marts are missing, and with one sentence per target that failed; the others are
    exported all the same.
    """
    chosen = pick(target)
    stages.require("export", ds)
    # A later day that was exported stays the newest, also while its marts are taken back.
    newest = max(state.newest("marts"), state.newest_export() or ds)
    if ds != newest:
        chosen = [one for one in chosen if one.mode == "insert"]
    rows, faults = {}, []
    with leases.lock("export"):
        off, never = state.off(ds), parts.off()
        for one in chosen:
            if one.source in never:
                _say(one.name, f"left out: {one.source} is off: {never[one.source]}")
                continue
            try:
                rows[one.name] = _export(one, ds, dry_run)
                if one.source in off:
                    _say(one.name, f"{one.source} is off: {off[one.source]}")
            except EngineDown:
                raise
            except PlatformError as error:
                faults.append(str(error))
        if ds == newest and not target and not dry_run:
            try:
                audiences = write_audiences(ds)
            except PlatformError as error:
                faults.append(f"audience files of {ds}: {error}")
            else:
                if why := missing():
                    _say("audience files", f"none: {why}")
                elif company().consent is None:
                    _say("audience files", f"of those who consented as of the load of {ds}")
                for name, n_rows in audiences.items():
                    _say(name, f"{n_rows:>10,} rows")
                rows |= audiences
    if faults:
        raise PlatformError("\n".join(faults))
    if not target and not dry_run:
        state.publish("export", [ds])
    note = f"{ds} exported" if rows else f"{newest} is the newest day: nothing is exported for {ds}"
    if not rows:
        print(f"  {note}", flush=True)
    return {"ds": ds, "exported": bool(rows), "note": note, "rows": rows}


def _export(target: Target, ds: str, dry_run: bool) -> int:
    """Bring one target's rows to where they belong; returns their number."""
    if database(target.connection).product == "derby":
        return _replace_derby(target, ds, dry_run)
    outcome = publish(target, ds, dry_run)
    _say(target.name, _words(outcome, dry_run))
    return outcome.n_accepted


def _words(outcome: Outcome, dry_run: bool) -> str:
    said = f"{outcome.n_accepted:>10,} rows" + (f", {outcome.n_rejected:,} rejected" if outcome.n_rejected else "")
    if outcome.what == "unchanged":
        return f"{said}, exported before: nothing was changed"
    if outcome.rejected:
        said += f": {reasons(outcome.rejected)}"
    return f"{said}, if it were no dry run: nothing was changed" if dry_run else said


def _say(name: str, text: str) -> None:
    print(f"  {name:<20} {text}", flush=True)


# -- embedded Derby ---------------------------------------------------------------------------------------------------


def _replace_derby(target: Target, ds: str, dry_run: bool) -> int:
    """Overwrite a table of Derby with the day's rows; returns their number."""
    base = database(target.connection)
    if target.mode != "replace":
        raise PlatformError(
            f"export {target.name}: {base.address} is embedded Derby, which knows mode replace only, not {target.mode}"
        )
    frame = day_rows(target, ds).selectExpr(*[_derby(name, kind) for name, kind in target.columns.items()]).coalesce(1)
    n_rows, hashed = content(frame)
    if dry_run:
        _say(target.name, f"{n_rows:>10,} rows, if it were no dry run: nothing was changed")
        return n_rows
    named = ", ".join(f"{name} {kind}" for name, kind in target.columns.items() if kind != "DOUBLE")  # Spark's own
    options = base.jdbc_options() | {"dbtable": target.table, "createTableColumnTypes": named}
    state.require_held()
    frame.write.format("jdbc").options(**options).mode("overwrite").save()
    there = source_table("export", target.table, target.connection).count()
    if there != n_rows:
        raise PlatformError(
            f"export of {ds}: {target.table} holds {there} rows instead of {n_rows}: run the export again"
        )
    state.record_export(ds, target.name, n_rows, hashed)
    _say(target.name, f"{n_rows:>10,} rows")
    return n_rows


def _derby(name: str, kind: str) -> str:
    """A text without a length would be a CLOB, which cannot be compared; a null text cannot be written, so it is empty."""
    if kind.startswith("VARCHAR"):
        return f"coalesce(cast(`{name}` as string), '') as `{name}`"
    return f"cast(`{name}` as {kind.lower()}) as `{name}`"
