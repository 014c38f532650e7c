"""Export: segments, churn risk and the budget plan back into the CRM database, and audience files per contact channel.

Marketing acts on what lies in the CRM, so the newest day's results go there; a day that is no longer the newest changes
nothing. Whom one may write to is read from the CRM at the moment of export, not from the warehouse, where a consent is
as old as the last import. A table is replaced whole by Spark's writer (drop, create, fill: embedded Derby offers no
more), so its readers can find it half full for a moment; a file is replaced in one step.
"""

import csv
import hashlib
import io
import os
from pathlib import Path

from ingestion.feeds import load_feeds
from ingestion.jdbc import source_table
from warehouse import state, tables
from warehouse.connections import database
from warehouse.dates import parse_ds
from warehouse.errors import PlatformError
from warehouse.partitions import read_days
from warehouse.settings import settings

# Target table → source table and its columns, each with the type the CRM gets. A text without a length would be a CLOB
# there, which cannot be compared; a null text cannot be written into a VARCHAR of Derby, so it becomes an empty one.
TARGETS = {
    "mdp_segments": (
        tables.PREDICTIONS_SEGMENTATION,
        {"customer_id": "VARCHAR(64)", "segment": "VARCHAR(64)", "strategy": "VARCHAR(512)"},
    ),
    "mdp_churn_risk": (
        tables.PREDICTIONS_CHURN,
        {
            "customer_id": "VARCHAR(64)",
            "churn_risk_30d": "DOUBLE",
            "survival_30d": "DOUBLE",
            "survival_60d": "DOUBLE",
            "survival_90d": "DOUBLE",
            "best_contact_date": "DATE",
            "drivers": "VARCHAR(512)",
        },
    ),
    "mdp_budget_plan": (
        tables.PREDICTIONS_BUDGET,
        {
            "channel": "VARCHAR(64)",
            "spend_cny": "DECIMAL(18,2)",
            "floor_cny": "DECIMAL(18,2)",
            "cap_cny": "DECIMAL(18,2)",
            "expected_return_cny": "DECIMAL(18,2)",
            "shadow_price_cny": "DOUBLE",
            "budget_cny": "DECIMAL(18,2)",
        },
    ),
}
STAMPS = {"ds": "VARCHAR(10)", "model_version": "VARCHAR(32)"}
AUDIENCES = {"sms": "phone_hash", "email": "email_hash"}  # contact channel → what its sender matches people by
CUSTOMERS_FEED, CONSENT = "crm__customers", "consent_marketing"


def export(ds: str) -> dict:
    """Export the day if it is the newest one with marts; returns ds, exported (bool), note and rows per target.

    Raises PlatformError if the day's marts are missing, or if the CRM does not hold what was written.
    """
    state.require("marts", parse_ds(ds), f"mdp build marts --ds {ds}")
    newest = state.newest("marts")
    if ds != newest:
        result = {"ds": ds, "exported": False, "note": f"{newest} is the newest day: nothing is exported for {ds}"}
        print(f"  {result['note']}", flush=True)
    else:
        with state.lock("export"):
            rows = {target: _replace_table(ds, target) for target in TARGETS}
            rows |= _write_audiences(ds)
        result = {"ds": ds, "exported": True, "note": f"{ds} exported", "rows": rows}
    state.publish("export", [ds])
    return result


def _replace_table(ds: str, target: str) -> int:
    """Overwrite one table of the CRM with the day's rows; returns their number."""
    source, types = TARGETS[target]
    types = types | STAMPS
    frame = read_days(source, ds, ds).selectExpr(*[_exported(name, kind) for name, kind in types.items()]).coalesce(1)
    n_rows, digest = _content(frame)
    named = ", ".join(f"{name} {kind}" for name, kind in types.items() if kind != "DOUBLE")  # Spark's own for a double
    writer = frame.write.format("jdbc").options(
        **database("crm").jdbc_options(), dbtable=target, createTableColumnTypes=named
    )
    writer.mode("overwrite").save()
    there = source_table("export", target).count()
    if there != n_rows:
        raise PlatformError(f"export of {ds}: {target} holds {there} rows instead of {n_rows}: run the export again")
    _record(ds, target, n_rows, digest)
    return n_rows


def _exported(name: str, kind: str) -> str:
    if kind.startswith("VARCHAR"):
        return f"coalesce(cast(`{name}` as string), '') as `{name}`"
    return f"cast(`{name}` as {kind.lower()}) as `{name}`"


def _content(frame) -> tuple[int, str]:
    """(rows, order-independent hash of their texts)."""
    texts = ", ".join(f"coalesce(cast(`{name}` as string), '\\\\N')" for name in frame.columns)
    row = frame.selectExpr("count(*) as n", f"sum(cast(xxhash64({texts}) as decimal(38,0))) as total").first()
    return row["n"], f"{int(row['total'] or 0) & (2**64 - 1):016x}"


def _write_audiences(ds: str) -> dict[str, int]:
    """Write a CSV per contact channel with those who consent to marketing now; returns file name → rows."""
    table = load_feeds()[CUSTOMERS_FEED].table
    consenting = source_table("export", table).where(f"`{CONSENT}`").select("customer_id")
    people = read_days(tables.CLEANED_CUSTOMERS, ds, ds).select("customer_id", *AUDIENCES.values())
    segments = read_days(tables.PREDICTIONS_SEGMENTATION, ds, ds).select("customer_id", "segment")
    contacts = read_days(tables.PREDICTIONS_CHURN, ds, ds).select("customer_id", "best_contact_date")
    audience = people.join(consenting, "customer_id").join(segments, "customer_id", "left")
    rows = audience.join(contacts, "customer_id", "left").orderBy("customer_id").toArrow().to_pylist()
    written = {}
    for channel, contact in AUDIENCES.items():
        reachable = [row for row in rows if row[contact]]
        header = ["customer_id", contact, "segment", "best_contact_date"]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([header, *([row[name] for name in header] for row in reachable)])
        name = f"audience_{channel}.csv"
        content = text.getvalue().encode()
        _replace_file(settings().exports_dir / ds / name, content)
        _record(ds, name, len(reachable), hashlib.sha256(content).hexdigest())
        written[name] = len(reachable)
    return written


def _replace_file(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _record(ds: str, target: str, n_rows: int, digest: str) -> None:
    state.record_export(ds, target, n_rows, digest)
    print(f"  {target:<20} {n_rows:>10,} rows", flush=True)
