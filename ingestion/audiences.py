"""Audience files: whom one may write to, one CSV per contact channel.

Consent is read from the CRM at the moment of export, not from the warehouse, where it is as old as the last import: to
marketing, and where the company asks for it to profiling, because an audience is a list of profiles. A file is replaced in
one step.
"""

import csv
import hashlib
import io
import os
from pathlib import Path

from ingestion.feeds import JdbcFeed, load_feeds
from ingestion.jdbc import source_table
from warehouse import state, tables
from warehouse.company import company
from warehouse.partitions import read_days
from warehouse.settings import settings

AUDIENCES = {"sms": "phone_hash", "email": "email_hash"}  # contact channel → what its sender matches people by
CUSTOMERS_FEED, MARKETING, PROFILING = "crm__customers", "consent_marketing", "consent_profiling"


def write_audiences(ds: str) -> dict[str, int]:
    """Write a CSV per contact channel with those who consent to it now; returns file name → rows.

    Empty where the declared feeds cannot tell who consents (`missing`).
    """
    if missing():
        return {}
    feed = load_feeds()[CUSTOMERS_FEED]
    asked = f"`{MARKETING}`" + (f" and `{PROFILING}`" if company().profiling_by_consent else "")
    consenting = source_table("export", feed.table, feed.connection).where(asked).select("customer_id")
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
        state.require_held()
        _replace_file(settings().exports_dir / ds / name, content)
        state.record_export(ds, name, len(reachable), hashlib.sha256(content).hexdigest())
        written[name] = len(reachable)
    return written


def missing() -> str | None:
    """Why no audience can be made of the declared feeds, None if one can."""
    feed = load_feeds().get(CUSTOMERS_FEED)
    if not isinstance(feed, JdbcFeed) or feed.table is None:
        return f"no feed {CUSTOMERS_FEED} reads a table of customers, so nobody's consent is known"
    asked = ("customer_id", MARKETING, *((PROFILING,) if company().profiling_by_consent else ()))
    lacking = [name for name in asked if name not in feed.columns]
    return f"{CUSTOMERS_FEED} has no column {', '.join(lacking)}, so nobody's consent is known" if lacking else None


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
