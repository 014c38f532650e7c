"""The features gate: would a model or a marketer be misled by what was computed?

Ranges that must hold by meaning, and shares that show a join gone wrong. Sums and identities are dbt's tests.
"""

import math

from expectations.feeds import feeds_of
from expectations.rules import (
    SIGMAS,
    Rule,
    Suite,
    at_least,
    at_most,
    filled,
    mean,
    newest,
    one_of,
    share,
    share_between,
    volume,
)  # fmt: skip
from expectations.scope import Scope
from warehouse import parts, tables
from warehouse.company import company

AGE_BANDS = ("unknown", "<25", "25-34", "35-44", "45-54", "55+")
DAYPARTS = ("night", "morning", "afternoon", "evening")


def suites(scope: Scope) -> list[Suite]:
    """One suite per feature table."""

    def suite(table: str, keys: tuple[str, ...], *rules: Rule, optional: bool = False) -> Suite:
        return Suite(table, f"select * from {table} where {scope.range()}", keys, rules, optional)

    n_customers, paid = scope.n_rows(*feeds_of("customers") or feeds_of("orders")), company().paid_channels
    no_events, no_ads = (scope.may_be_silent(*feeds_of(entity)) for entity in ("events", "impressions"))
    few_ads, few_orders = (scope.brings_few(*feeds_of(entity)) for entity in ("impressions", "orders"))
    may_have_none = not parts.has("customers")  # customers are those who ordered, and nobody may have yet
    # share of the rows that each day has in a table with one row per customer and day
    even = 1 / min(scope.n_days, parts.dense_days() or scope.n_days)
    return [
        suite(
            tables.FEATURES_CUSTOMER_DAY, ("customer_id", "ds"),
            *(() if may_have_none else (volume(1, None, "the rebuilt days have customers"),)),
            newest("ds", scope.ds),
            share_between("of_newest_day", "ds", f"ds = '{scope.ds}'", even / 2,
                          min(1.0, 3 * even + SIGMAS * math.sqrt(3 * even / n_customers)),
                          "the newest day has about as many customers as the days before"),
            at_least("tenure_days", 0, "nobody is there before the registration"),
            at_least("recency_days", 0, "no last order lies in the future"),
            at_least("n_orders_total", 0, "order counts are not negative"),
            at_least("visit_ms_30d", 0, "time spent is not negative"),
            at_most("n_active_days_30d", 30, "at most 30 of 30 days are active"),
            share("odd_age", "age_years", "age_years not between 5 and 115", 0.01, "ages are those of people",
                  by_chance=True),
            *(() if few_orders else (
                share("never_bought", "last_order_date", "last_order_date is null", 0.98, "some customers have bought"),
            )),
            optional=may_have_none,
        ),
        suite(
            tables.FEATURES_SALES_DAY, ("ds",),
            at_least("n_guest_orders", 0, "order counts are not negative"),
            share("more_guests", "n_guest_orders", "n_guest_orders > n_orders", 0.0, "guests' orders are among all orders"),
            at_least("guest_revenue", 0, "revenue is not negative"),
            optional=True,
        ),
        suite(
            tables.FEATURES_CUSTOMER_ACTIVITY, ("customer_id", "ds"),
            *(() if no_events else (volume(1, None, "somebody was active"),)),
            at_least("n_views", 0, "view counts are not negative"),
            at_least("visit_ms", 0, "time spent is not negative"),
            at_least("revenue", 0, "revenue is not negative"),
            at_least("reversed_amount", 0, "reversed amounts are not negative"),
            optional=no_events,
        ),
        suite(
            tables.FEATURES_IMPRESSION, ("impression_id", "ds"),
            *(() if no_ads else (volume(1, None, "the rebuilt days have impressions"), newest("ds", scope.ds))),
            at_least("hour_of_day", 0, "hours count from 0"),
            at_most("hour_of_day", 23, "hours end at 23"),
            one_of("daypart", DAYPARTS),
            one_of("age_band", AGE_BANDS),
            filled("campaign_category", 0.02, "impressions know their campaign's category", by_chance=True),
            *(() if few_ads else (
                share("anonymous", "customer_id", "customer_id is null", 0.95,
                      "some impressions belong to known customers"),
            )),
            optional=no_ads,
        ),
        suite(
            tables.FEATURES_CHANNEL_DAY, ("channel", "ds"),
            volume(1, None, "the rebuilt days have channels"),
            newest("ds", scope.ds),
            *((one_of("channel", paid),) if paid else ()),
            at_least("spend", 0, "spend is not negative"),
            at_least("demand_index", 0, "demand is not negative"),
            # of few orders a day may have none, or all of the 28 days before it
            mean("demand_index", *((0.0, 28.0) if few_orders else (0.2, 5.0)), "demand moves around its own average of 1"),
        ),
    ]  # fmt: skip
