"""Audience files: whom one may write to, one CSV per contact channel.

Where the company says how (`consent` of company.yml), consent is read at its source at the moment of export, because in the
warehouse it is as old as the last load; else it is that of the load of the day. To marketing, and where the company asks for it
to profiling, because an audience is a list of profiles. A file is replaced in one step.
"""

import csv
import hashlib
import io
import os
from pathlib import Path

from pyspark.errors import AnalysisException

from ingestion.feeds import JdbcFeed, load_feeds
from ingestion.jdbc import source_table
from warehouse import parts, state, tables
from warehouse.company import company, folder
from warehouse.declarations import line_of
from warehouse.errors import PlatformError
from warehouse.partitions import read_days
from warehouse.settings import settings

AUDIENCES = {"sms": "phone_hash", "email": "email_hash"}  # contact channel → what its sender matches people by


def write_audiences(ds: str) -> dict[str, int]:
    """Write a CSV per contact channel with those who consent to it now; returns file name → rows.

    Empty where nothing tells who consents (`missing`).
    """
    if missing():
        return {}
    consenting = _consenting(ds)
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
    """Why no audience can be made, None if one can."""
    if company().consent or parts.has("consents"):
        return None
    needed = ("marketing", *(("profiling",) if company().profiling_by_consent else ()))
    unsaid = [purpose for purpose in needed if not parts.has(f"customers.has_{purpose}_consent")]
    return f"nothing says who consents to {' and '.join(unsaid)}, so nobody is written to" if unsaid else None


def consent_feed() -> JdbcFeed | None:
    """The feed whose table is asked for consent at the moment of export; None if the company names none.

    PlatformError if it cannot be asked: it is no table of a database, or lacks what is asked for.
    """
    asked = company().consent
    if asked is None:
        return None
    at = f"{folder() / 'company.yml'}, line {line_of(folder() / 'company.yml', ('consent', 'feed'))}"
    feed = load_feeds().get(asked.feed)
    if not isinstance(feed, JdbcFeed) or feed.table is None:
        raise PlatformError(
            f"{at}: consent is read from {asked.feed}, which is no feed of a database's table: name one, or take `consent` "
            "away; then the consents of the last load count"
        )
    if company().profiling_by_consent and asked.profiling is None:
        raise PlatformError(f"{at}: the company asks for consent to profiling, and consent has no key `profiling`")
    return feed


def _consenting(ds: str):
    """A Spark frame of the customer_id of those who consent: at the source now, or as loaded on `ds`."""
    purposes = ("marketing", *(("profiling",) if company().profiling_by_consent else ()))
    feed, asked = consent_feed(), company().consent
    if feed is None:
        given = " and ".join(f"has_{purpose}_consent" for purpose in purposes)
        return read_days(tables.CLEANED_CUSTOMERS, ds, ds).where(given).select("customer_id")
    table = source_table("export", feed.table, feed.connection)
    found = None
    for purpose in purposes:
        try:
            some = table.where(getattr(asked, purpose)).selectExpr(
                f"cast(`{asked.customer_id}` as string) as customer_id"
            )
            some.schema  # noqa: B018 - asks Spark, which reads the condition
        except AnalysisException as error:
            raise PlatformError(
                f"{folder() / 'company.yml'}: consent.{purpose} does not fit {feed.table}: {str(error).splitlines()[0]}"
            ) from None
        found = some if found is None else found.join(some, "customer_id", "left_semi")
    return found.distinct()


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
