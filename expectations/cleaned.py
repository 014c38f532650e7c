"""The cleaned gate: have the rebuilt days rows everywhere, and do typed values lie where they can lie?

It looks at every day that the run rebuilt (late window included). Keys, relationships and identities are dbt's tests.
"""

from expectations.feeds import feeds_of
from expectations.rules import Rule, Suite, at_least, filled, newest, one_of, share, total, volume
from expectations.scope import Scope
from warehouse import parts, tables
from warehouse.calendar import is_closed
from warehouse.company import company

EVENT_TYPES = ("view", "search", "favourite", "add_to_cart", "remove_from_cart", "purchase")


def suites(scope: Scope) -> list[Suite]:
    """One suite per cleaned table."""
    days, snapshot = scope.range(), f"ds = '{scope.ds}'"
    shut, paid = is_closed(scope.ds), company().paid_channels
    may_have_none = not parts.has("customers")  # they are those who ordered, and nobody may have yet
    may_drop = max(0.05 * scope.n_loaded(*feeds_of("events", "impressions", "clicks")), 20)
    no_events, no_impressions = (scope.may_be_silent(*feeds_of(entity)) for entity in ("events", "impressions"))

    def suite(table: str, where: str, keys: tuple[str, ...], *rules: Rule, optional: bool = False) -> Suite:
        return Suite(table, f"select * from {table} where {where}", keys, rules, optional)

    def there(what: str) -> tuple[Rule, ...]:
        """There are rows, and of the day itself."""
        return volume(1, None, f"the rebuilt days have {what}"), newest("ds", scope.ds)

    return [
        suite(
            tables.CLEANED_EVENTS, days, ("event_id", "ds"),
            *(() if no_events else there("events")),
            share("missing_customer", "customer_id", "customer_id is null", 0.10, "events after login have a customer",
                  among="is_logged_in", by_chance=True),
            one_of("event_type", EVENT_TYPES),
            at_least("duration_ms", 0, "durations are not negative"),
            share("outlier", "is_duration_outlier", "is_duration_outlier", 0.05, "few durations are outliers",
                  by_chance=True),
            optional=no_events,
        ),
        suite(
            tables.CLEANED_IMPRESSIONS, days, ("impression_id", "ds"),
            *(() if no_impressions else there("impressions")),
            filled("campaign_id", 0.02, "impressions name their campaign", by_chance=True),
            at_least("position", 1, "positions count from 1"),
            optional=no_impressions,
        ),
        suite(
            tables.CLEANED_CLICKS, days, ("impression_id", "ds"),
            filled("clicked_at", 0.0, "clicks have a time"),
            optional=True,
        ),
        suite(
            tables.CLEANED_ORDERS, days, ("order_id", "ds"),
            at_least("amount", 0, "amounts are not negative"),
            filled("amount", 0.0, "each amount is stated, in another currency with a rate of its day (fx_rates)"),
            share("outlier", "is_amount_outlier", "is_amount_outlier", 0.10, "few amounts are outliers",
                  by_chance=True),
            optional=True,
        ),
        suite(
            tables.CLEANED_ORDER_ITEMS, days, ("order_item_id", "ds"),
            at_least("quantity", 1, "quantities are at least 1"),
            at_least("unit_price", 0, "unit prices are not negative"),
            filled("unit_price", 0.0, "unit prices are known"),
            optional=True,
        ),
        suite(
            tables.CLEANED_REVERSALS, days, ("reversal_id", "ds"),
            at_least("amount", 0, "reversed amounts are not negative"),
            filled("amount", 0.0, "each amount is stated, in another currency with a rate of its day (fx_rates)"),
            one_of("reversal_kind", ("cancelled", "returned")),
            optional=True,
        ),
        suite(
            tables.CLEANED_CHANNEL_SPEND, days, ("channel", "ds"),
            *(() if shut else there("spend")),
            at_least("spend", 0, "spend is not negative"),
            filled("spend", 0.0, "each booking has an amount, in another currency with a rate of its day (fx_rates)"),
            *((one_of("channel", paid),) if paid else ()),
            optional=shut,
        ),
        suite(
            tables.CLEANED_CUSTOMERS, snapshot, ("customer_id",),
            *(() if may_have_none else (volume(1, None, "there are customers"),)),
            share("future_customer", "registered_date", f"registered_date > '{scope.ds}'", 0.0,
                  "nobody registers in the future"),
            share("clear_phone", "phone_mask", "phone_mask not like '%****%'", 0.0, "phones are masked"),
            optional=may_have_none,
        ),
        suite(
            tables.CLEANED_CUSTOMER_ATTRIBUTES, days, ("customer_id", "ds"),
            *(() if may_have_none else there("customers")),
            share("of_the_past", "membership_plan_as_of", "membership_plan_as_of < ds", 0.0,
                  "no attribute is of a day before its own"),
            optional=may_have_none,
        ),
        suite(
            tables.CLEANED_PRODUCTS, snapshot, ("product_id",),
            volume(1, None, "there are products"),
            at_least("price", 0, "prices are not negative"),
        ),
        suite(
            tables.CLEANED_CAMPAIGNS, days, ("campaign_id", "ds"),
            *there("campaigns"),
        ),
        suite(
            tables.CLEANED_DROPPED_ROWS, days, ("table_name", "reason", "ds"),
            total("dropped", "n_rows", may_drop, "cleaning drops few of the rows that arrived"),
            optional=True,
        ),
    ]  # fmt: skip
