"""Whose rows a model may learn from and score: where the company asks for consent, those of customers who consent to profiling.

A row counts from the day the consent was given to the day it was taken back. Who has taken it back by the day of the run
is left out altogether, also with earlier rows: training on them today would be profiling today. Rows about nobody that is
known (an impression before login) are no profile of anyone and stay.
"""

from warehouse import tables
from warehouse.company import company

PERSON, GIVEN, SINCE = "customer_id", "has_profiling_consent", "profiling_consent_changed_at"


def leave_out(frame, ds: str):
    """The rows of a Spark frame of features (with ds) that a run of `ds` may use; all where no consent is asked for."""
    if not company().profiling_by_consent or PERSON not in frame.columns:
        return frame
    from pyspark.sql import functions as F

    from warehouse.partitions import read_days

    since = F.to_date(F.from_utc_timestamp(F.col(SINCE), company().timezone)).cast("string")
    consenting = (
        read_days(tables.CLEANED_CUSTOMERS, ds, ds)
        .where(GIVEN)
        .select(F.col(PERSON).alias("consenting_id"), F.coalesce(since, F.lit("")).alias("since"))
    )
    known = frame.join(consenting, F.col(PERSON) == F.col("consenting_id"), "left")
    allowed = known.where(f"{PERSON} is null or (consenting_id is not null and since <= ds)")
    return allowed.select(*frame.columns)


def n_left_out(ds: str) -> int | None:
    """Customers of `ds` who are in no model and no segment because they do not consent; None where it is not asked for."""
    if not company().profiling_by_consent:
        return None
    from warehouse.partitions import read_days

    return read_days(tables.CLEANED_CUSTOMERS, ds, ds).where(f"not coalesce({GIVEN}, false)").count()
