"""The raw gate: has each source sent about what it should, fresh, and not more nonsense than usual?

It looks at the load's own partition. Single bad rows have been quarantined at the door already (feeds.yml); here their
share is judged, so log tables are seen together with their quarantine. Limits are several times a normal day's.
"""

import math

from expectations.rules import (
    SIGMAS,
    Rule,
    Suite,
    at_least,
    filled,
    newest,
    one_of,
    share,
    total,
    unique,
    volume,
)  # fmt: skip
from expectations.scope import CHANNELS, LEAST, MOST, Scope, Volume, least
from warehouse import tables
from warehouse.company import company

# Quarantine reason (its part before the colon) → largest share of a log feed's rows.
REASONS = {
    "future": 0.01, "too_late": 0.02, "malformed_json": 0.02, "missing_field": 0.01, "bad_timestamp": 0.01,
    "unknown_value": 0.01, "bad_encoding": 0.01, "too_long": 0.001,
}  # fmt: skip
QUARANTINED = 0.05
LONGEST_MS = 6 * 3_600_000


def suites(scope: Scope) -> list[Suite]:
    """One suite per raw table; log tables first, because they break most often."""
    return [
        _web_events(scope), _ad_events(scope), _orders(scope), _order_items(scope), _channel_spend(scope),
        _customers(scope), _products(scope), _campaigns(scope), *_customer_changes(scope),
    ]  # fmt: skip


def _volume_of(scope: Scope, table: str) -> Volume:
    return scope.volumes[table.split(".")[1]]


def _usual(scope: Scope, table: str, sigmas: float = SIGMAS) -> Rule:
    """Rows per day against the average of the loads before; for a first load only that there are any.

    `sigmas` is how many standard deviations of a Poisson count chance may add: few rows say little.
    """
    seen = _volume_of(scope, table)
    if seen.usual_per_day is None:
        return volume(1, None, "the first load has rows")
    low, high = (share * seen.usual_per_day * seen.n_days for share in (LEAST, MOST))
    days = "" if seen.n_days == 1 else f" over {seen.n_days} days"
    words = f"as many rows as usual ({seen.usual_per_day:,.0f} a day{days})"
    is_closed = scope.ds in company().closed
    return volume(0 if is_closed else least(low, sigmas), high + sigmas * math.sqrt(high), words)


def _fresh(scope: Scope, table: str, column: str, words: str) -> tuple[Rule, ...]:
    """What should have come today did come, where chance or a closed day do not explain that nothing did."""
    return () if scope.may_be_silent(table.split(".")[1]) else (newest(column, scope.ds, words),)


def _not_shrunk(seen: Volume, what: str) -> Rule:
    """A table that is read whole does not lose rows from one load to the next, nor double."""
    if seen.last_rows is None:
        return volume(1, None, f"the first load has {what}")
    words = f"about as many {what} as last time ({seen.last_rows:,})"
    return volume(0.9 * seen.last_rows, 2 * seen.last_rows + 10, words)


def _of_load(table: str, scope: Scope) -> str:
    return f"select * from {table} where ds = '{scope.ds}'"


def _with_quarantine(table: str, quarantine: str, columns: str, scope: Scope) -> str:
    """Accepted rows (reason null) and quarantined ones (all else null) of the load in one frame."""
    empty = ", ".join(f"null as {name.strip()}" for name in columns.split(","))
    day = f"where ds = '{scope.ds}'"
    return (
        f"select event_id, received_date, {columns}, cast(null as string) as reason from {table} {day} "
        f"union all select row_key as event_id, received_date, {empty}, reason from {quarantine} {day}"
    )


def _door() -> list[Rule]:
    """Shares of the rows that the door turned away, in all and by reason."""
    words = "few rows were quarantined at the door"
    return [share("quarantined", "reason", "reason is not null", QUARANTINED, words, by_chance=True)] + [
        share(
            reason, "reason", f"reason like '{reason}%'", most, f"few rows were quarantined as {reason}", by_chance=True
        )
        for reason, most in REASONS.items()
    ]


def _web_events(scope: Scope) -> Suite:
    columns = "event_type, user_id, is_logged_in, device_id, session_id, duration_ms"
    accepted = "reason is null"
    rules = (
        _usual(scope, tables.RAW_WEB_EVENTS),
        *_fresh(scope, tables.RAW_WEB_EVENTS, "received_date", "a file of the day itself has arrived"),
        share("missing_user", "user_id", "user_id is null", 0.10, "events after login carry a user id",
              among=f"is_logged_in and {accepted}", by_chance=True),
        share("no_subject", "device_id", "user_id is null and device_id is null", 0.02,
              "events carry a user or at least a device", among=accepted, by_chance=True),
        share("odd_duration", "duration_ms", f"duration_ms < 0 or duration_ms > {LONGEST_MS}", 0.03,
              "durations lie between 0 and 6 hours", among=accepted, by_chance=True),
        share("no_session", "session_id", "session_id is null", 0.02, "events belong to a session",
              among=accepted, by_chance=True),
        *_door(),
    )  # fmt: skip
    frame = _with_quarantine(tables.RAW_WEB_EVENTS, tables.QUARANTINE_WEB_EVENTS, columns, scope)
    silent = scope.may_be_silent("web__events")
    return Suite(tables.RAW_WEB_EVENTS, frame, ("event_id", "received_date"), rules, optional=silent)


def _ad_events(scope: Scope) -> Suite:
    columns = "event_type, impression_id, campaign_id, channel, position"
    shown = "reason is null and event_type = 'impression'"
    rules = (
        _usual(scope, tables.RAW_AD_EVENTS),
        *_fresh(scope, tables.RAW_AD_EVENTS, "received_date", "a file of the day itself has arrived"),
        share("no_campaign", "campaign_id", "campaign_id is null", 0.02, "impressions name their campaign",
              among=shown, by_chance=True),
        share("unknown_channel", "channel", f"channel not in ({', '.join(map(repr, CHANNELS))})", 0.01,
              "impressions come from a known channel", among=shown, by_chance=True),
        share("odd_position", "position", "position is null or position < 1", 0.02, "positions count from 1",
              among=shown, by_chance=True),
        share("clicked", "event_type", "event_type = 'click'", 0.30, "clicks are a small part of the ad events",
              among="reason is null", by_chance=True),
        *_door(),
    )  # fmt: skip
    frame = _with_quarantine(tables.RAW_AD_EVENTS, tables.QUARANTINE_AD_EVENTS, columns, scope)
    silent = scope.may_be_silent("ads__events")
    return Suite(tables.RAW_AD_EVENTS, frame, ("event_id", "received_date"), rules, optional=silent)


def _orders(scope: Scope) -> Suite:
    seen = _volume_of(scope, tables.RAW_ORDERS)
    rules = (
        _usual(scope, tables.RAW_ORDERS),
        unique("order_id", seen.n_rows, "each order is there once in a load"),
        at_least("amount_cny", 0.01, "amounts are above zero"),
        one_of("channel", (*CHANNELS, "organic")),
        share("cancelled", "cancelled_at", "cancelled_at is not null", 0.30, "most orders are not cancelled",
              by_chance=True),
    )  # fmt: skip
    return Suite(tables.RAW_ORDERS, _of_load(tables.RAW_ORDERS, scope), ("order_id",), rules, optional=True)


def _order_items(scope: Scope) -> Suite:
    seen = _volume_of(scope, tables.RAW_ORDER_ITEMS)
    rules = (
        _usual(scope, tables.RAW_ORDER_ITEMS),
        unique("order_item_id", seen.n_rows, "each order item is there once in a load"),
        at_least("quantity", 1, "quantities are at least 1"),
        at_least("unit_price_cny", 0.01, "unit prices are above zero"),
    )
    frame = _of_load(tables.RAW_ORDER_ITEMS, scope)
    return Suite(tables.RAW_ORDER_ITEMS, frame, ("order_item_id",), rules, optional=True)


def _channel_spend(scope: Scope) -> Suite:
    is_closed = scope.ds in company().closed
    frame = f"select *, cast(spend_date as string) as spend_day from {tables.RAW_CHANNEL_SPEND} where ds = '{scope.ds}'"
    rules = (
        _usual(scope, tables.RAW_CHANNEL_SPEND, sigmas=0),  # one row per channel and day: no chance in it
        *(() if is_closed else (newest("spend_day", scope.ds, "the day's spend has been booked"),)),
        at_least("spend_cny", 0, "spend is not negative"),
        one_of("channel", CHANNELS),
    )
    return Suite(tables.RAW_CHANNEL_SPEND, frame, ("spend_id",), rules, optional=is_closed)


def _customers(scope: Scope) -> Suite:
    seen = _volume_of(scope, tables.RAW_CUSTOMERS)
    year = int(scope.ds[:4])
    rules = (
        _not_shrunk(seen, "customers"),
        unique("customer_id", seen.n_rows, "each customer is there once"),
        filled("phone_hash", 0.5, "most customers have a phone"),
        filled("consent_marketing", 0.0, "the consent to marketing is known"),
        share("clear_phone", "phone_mask", "phone_mask not like '%****%'", 0.0, "phones are masked"),
        share("odd_birth_year", "birth_year", f"birth_year not between {year - 110} and {year - 10}", 0.01,
              "birth years belong to living people of 10 and older", by_chance=True),
    )  # fmt: skip
    return Suite(tables.RAW_CUSTOMERS, _of_load(tables.RAW_CUSTOMERS, scope), ("customer_id",), rules)


def _customer_changes(scope: Scope) -> list[Suite]:
    """None where the source keeps no log of changes."""
    if "crm__customer_changes" not in scope.volumes:
        return []
    n_rows = _volume_of(scope, tables.RAW_CUSTOMER_CHANGES).n_rows
    rules = (
        _usual(scope, tables.RAW_CUSTOMER_CHANGES),
        unique("change_id", n_rows, "each change is there once"),
        filled("customer_id", 0.0, "a change names its customer"),
        filled("changed_at", 0.0, "a change has its time"),
    )
    frame = _of_load(tables.RAW_CUSTOMER_CHANGES, scope)
    return [Suite(tables.RAW_CUSTOMER_CHANGES, frame, ("change_id",), rules, optional=True)]


def _products(scope: Scope) -> Suite:
    seen = _volume_of(scope, tables.RAW_PRODUCTS)
    rules = (
        _not_shrunk(seen, "products"),
        unique("product_id", seen.n_rows, "each product is there once"),
        at_least("price_cny", 0.01, "prices are above zero"),
    )
    return Suite(tables.RAW_PRODUCTS, _of_load(tables.RAW_PRODUCTS, scope), ("product_id",), rules)


def _campaigns(scope: Scope) -> Suite:
    rules = (
        _not_shrunk(_volume_of(scope, tables.RAW_CAMPAIGNS), "campaigns"),
        one_of("channel", CHANNELS),
        total("n_backwards", "ended_at", 0, "campaigns end after they start", of="cast(ended_at < started_at as int)"),
    )
    return Suite(tables.RAW_CAMPAIGNS, _of_load(tables.RAW_CAMPAIGNS, scope), ("campaign_id",), rules)
