"""Which rows fit a model and which judge it: time splits as pure functions on pandas.

A model is judged on days after those it was fitted on, as it will be used. The fitted model itself is registered, it
is not fitted again on all days: then next week's comparison meets a champion that has not seen the rows it is judged
on.
"""

from dataclasses import dataclass

import pandas as pd

from ml.models import ModelSpec
from warehouse.dates import days_between, shift
from warehouse.errors import NotYet, PlatformError


@dataclass(frozen=True)
class Part:
    """Rows to fit or judge on: features (with key and ds) and label columns (None for a model without labels)."""

    features: pd.DataFrame
    labels: pd.DataFrame | None
    notes: tuple[str, ...] = ()


def last_mature_day(spec: ModelSpec, ds: str, late_days: int) -> str:
    """The newest day whose features and labels can no longer change when training on ds (DESIGN 4)."""
    return shift(ds, -_days_to_mature(spec, late_days))


def _days_to_mature(spec: ModelSpec, late_days: int) -> int:
    return late_days + (spec.label.horizon_days + spec.label.label_lag_days if spec.label else 0)


def refuse_too_young(spec: ModelSpec, first: str, ds: str, late_days: int) -> None:
    """Raise NotYet with the first possible day if, with rows since `first`, none is left on ds to fit or to judge on."""
    n_after = {"days": spec.split.holdout_days, "snapshot": 0, "followup": 1, "purchases": 1}[spec.split.kind]
    possible_from = shift(first, _days_to_mature(spec, late_days) + n_after)
    if ds < possible_from:
        days = days_between(first, possible_from) + 1
        raise NotYet(f"{spec.name} needs {days} days of history and its own begins on {first}", possible_from)


def refuse_immature(spec: ModelSpec, days: pd.Series, last: str) -> None:
    """Raise PlatformError if a row is of a later day than `last`, NotYet if there is no row at all."""
    if not len(days):
        raise NotYet(
            f"{spec.name}: {spec.features.table} has no rows with labels up to {last}, the last mature day. "
            f"Load more history (mdp ingest, mdp build) or train on a later day."
        )
    if days.max() > last:
        raise PlatformError(
            f"{spec.name}: {spec.features.table} rows of {days.max()} are immature, labels are known up to {last}. "
            f"Train on a later day."
        )


def split_days(spec: ModelSpec, frame: pd.DataFrame, last: str) -> tuple[Part, Part]:
    """(fit, judge): joined feature and label rows in order of time, the last `holdout_days` days judge."""
    refuse_immature(spec, frame["ds"], last)
    frame = frame.sort_values(["ds", *spec.features.key], ignore_index=True)
    boundary = shift(last, -spec.split.holdout_days)
    parts = [_part(spec, rows) for rows in (frame[frame["ds"] <= boundary], frame[frame["ds"] > boundary])]
    for part, name in zip(parts, (f"up to {boundary}", f"after {boundary}"), strict=True):
        if part.features.empty:
            raise NotYet(
                f"{spec.name}: {spec.features.table} has no rows {name}, so there is nothing to "
                f"{'fit' if name.startswith('up') else 'judge'} on. Load more history or train on a later day."
            )
    return parts[0], parts[1]


def split_snapshot(
    spec: ModelSpec, frame: pd.DataFrame, last: str, past: pd.DataFrame | None = None
) -> tuple[Part, Part]:
    """(all, all): a model without labels describes the rows of one day, and is judged on how well it does.

    past: rows of the day outcome_days before, with next_<outcome>, what came after it; None if history is too short.
    """
    refuse_immature(spec, frame["ds"], last)
    part = _part(spec, frame.sort_values(spec.features.key, ignore_index=True))
    if past is None or past.empty:
        return part, part
    return part, Part(part.features, past.sort_values(spec.features.key, ignore_index=True))


def followup_cutoff(spec: ModelSpec, first: str, last: str) -> str:
    """The day C up to which a followup split fits: holdout_days before `last`, or half of a shorter history."""
    return shift(last, -max(1, min(spec.split.holdout_days, days_between(first, last) // 2)))


def split_followup(
    spec: ModelSpec, history: pd.DataFrame, today: pd.DataFrame, lifetimes: pd.DataFrame, cutoff: str, last: str
) -> tuple[Part, Part]:
    """(fit, judge) of lifetimes: fitted on what was known up to the cutoff C, judged on who was alive then.

    history: a row per customer on the first day seen and on each day up to C on which something about them changed. Each
    row to fit on is the time from there to the next: a customer is at risk under the attributes of the time, not under
    today's (the counting process of Andersen & Gill, 1982). today: one row per customer as of C, to judge on.
    lifetimes: customer_id, registered_date, entry_date, churn_date (null if alive) as of `last` or later: a later
    churn_date is cut off here, facts carry their own day. Label columns, all in days: fit: entry_days and duration_days
    (age at which the row's time begins and ends), is_churned (it ends with the membership). judge: entry_days (age at C),
    duration_days (from C to churn or `last`), is_churned. Customers who had left before they were observed are in
    neither: delayed entry means they could not have been seen.
    """
    refuse_immature(spec, today["ds"], cutoff)
    rows, born, entry, gone = _with_lifetimes(spec, history, lifetimes, "many_to_one")
    days, customers = pd.to_datetime(rows["ds"]), rows.groupby(spec.features.key)
    known = gone.where(gone <= cutoff)
    end = known.fillna(pd.Timestamp(cutoff))
    start, following = days.where(days > entry, entry), days.groupby([rows[c] for c in spec.features.key]).shift(-1)
    stop = following.where(following < end, end)
    fit = pd.DataFrame(
        {
            "entry_days": (start - born).dt.days,
            "duration_days": (stop - born).dt.days,
            "is_churned": known.notna() & (stop == end),
        }
    )
    # what is known of the day of the end comes too late for it; only who is seen on no other day keeps it
    in_time = (start < end) | ((customers.cumcount() == 0) & (start == end))
    fit_part = _chosen(spec, rows, fit, (gone.isna() | (gone > entry)) & in_time)

    rows, born, entry, gone = _with_lifetimes(spec, today, lifetimes, "one_to_one")
    followed = gone.where(gone <= last)
    judge = pd.DataFrame(
        {
            "entry_days": (pd.Timestamp(cutoff) - born).dt.days,
            "duration_days": (followed.fillna(pd.Timestamp(last)) - pd.Timestamp(cutoff)).dt.days,
            "is_churned": followed.notna(),
        }
    )
    return fit_part, _chosen(spec, rows, judge, (gone.isna() | (gone > entry)) & ~(gone <= cutoff))


def _with_lifetimes(spec: ModelSpec, features: pd.DataFrame, lifetimes: pd.DataFrame, validate: str) -> tuple:
    """(rows in order of customer and day, and of each row: day of registration, of entry, of churn)."""
    rows = features.merge(lifetimes.drop(columns="ds", errors="ignore"), on=spec.features.key, validate=validate)
    rows = rows.sort_values([*spec.features.key, "ds"], ignore_index=True)
    return rows, *(pd.to_datetime(rows[c]) for c in ("registered_date", "entry_date", "churn_date"))


def _chosen(spec: ModelSpec, rows: pd.DataFrame, labels: pd.DataFrame, chosen: pd.Series) -> Part:
    inputs = rows.drop(columns=[c for c in spec.label.columns if c in rows])
    return Part(inputs[chosen].reset_index(drop=True), labels[chosen].reset_index(drop=True))


def split_purchases(
    spec: ModelSpec, features: pd.DataFrame, later: pd.DataFrame, cutoff: str, last: str
) -> tuple[Part, Part]:
    """(fit, judge) of purchases: fitted on what was known at `cutoff`, judged on what was bought from there to `last`.

    features: one row per customer as of the cutoff, with the running total split.outcome. later: key and the same total
    as of `last`; who is in `features` only (gone from the source, or without consent by now) judges nothing. Whoever
    had not bought by the cutoff is in neither. judge's labels: n_order_days (the total's growth), followed_days.
    """
    refuse_immature(spec, features["ds"], cutoff)
    total = spec.split.outcome
    before = features[features[total].fillna(0) > 0].sort_values(spec.features.key, ignore_index=True)
    came = later[[*spec.features.key, total]].rename(columns={total: "total"})
    rows = before.merge(came, on=spec.features.key, validate="one_to_one")
    labels = pd.DataFrame({"n_order_days": rows["total"] - rows[total], "followed_days": days_between(cutoff, last)})
    return Part(before, None), Part(rows.drop(columns="total"), labels)


def _part(spec: ModelSpec, rows: pd.DataFrame) -> Part:
    inputs = rows.drop(columns=spec.label.columns if spec.label else []).reset_index(drop=True)
    return Part(inputs, rows[spec.label.columns].reset_index(drop=True) if spec.label else None)
