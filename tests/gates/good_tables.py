"""Small tables of a good company, as SQL over `range`: what every suite must accept."""

from dataclasses import replace

from expectations.feeds import feeds
from expectations.scope import Scope, Volume
from expectations.usual import evenly
from warehouse import tables
from warehouse.dates import shift

DS = "2024-08-26"
FIRST = shift(DS, -3)
SECRET = "13812345678"  # a clear phone number that must never leave a sample
N = 100  # rows of a table per day, where a table has many

_DAYS = f"explode(sequence(date'{FIRST}', date'{DS}'))"
_CHANNELS = "array('search', 'information_feed', 'short_video', 'social', 'display')"


def _daily(columns: str, n: int = N) -> str:
    return f"select {columns}, cast(day as string) as ds from (select id, {_DAYS} as day from range({n}))"


def _of_day(columns: str, n: int = N) -> str:
    return f"select {columns}, '{DS}' as ds from range({n})"


_CHANNEL = f"element_at({_CHANNELS}, cast(1 + id % 5 as int)) as channel"
_AMOUNT = "cast(10 + id as decimal(18,2))"
_EVENT = "'view' as event_type, id % 2 = 0 as is_logged_in, case when id % 2 = 0 then concat('c', id) end as"
_DEVICE = "concat('d', id) as device_id, concat('s', id) as session_id, 30000L as duration_ms, 'ios' as platform"
_QUARANTINE = f"'malformed_json' as reason, cast(null as string) as row_key, '{DS}' as received_date"

GOOD = {
    "raw.web__events": _of_day(
        f"concat('e', id) as event_id, {_EVENT} user_id, {_DEVICE}, '{DS}' as received_date, "
        f"'{DS}T10:00:00+08:00' as occurred_at"
    ),
    "quarantine.web__events": _of_day(_QUARANTINE, 1),
    "raw.ads__events": _of_day(
        "concat('f', id) as event_id, if(id % 20 = 0, 'click', 'impression') as event_type, "
        f"concat('m', id) as impression_id, 'p1' as campaign_id, {_CHANNEL}, 2 as position, '{DS}' as received_date"
    ),
    "quarantine.ads__events": _of_day(_QUARANTINE, 1),
    "raw.crm__orders": _of_day(
        f"concat('o', id) as order_id, {_CHANNEL}, {_AMOUNT} as amount_cny, cast(null as timestamp) as cancelled_at"
    ),
    "raw.crm__order_items": _of_day(
        f"concat('i', id) as order_item_id, 1 as quantity, {_AMOUNT} as unit_price_cny"
    ),
    "raw.crm__channel_spend": _of_day(
        f"id as spend_id, date'{DS}' as spend_date, {_CHANNEL}, {_AMOUNT} as spend_cny", 5
    ),
    "raw.crm__customers": _of_day(
        "concat('c', id) as customer_id, sha2(cast(id as string), 256) as phone_hash, '138****5678' as phone_mask, "
        "true as consent_marketing, 1980 as birth_year"
    ),
    "raw.crm__customer_changes": _of_day(
        "concat('h', id) as change_id, concat('c', id) as customer_id, timestamp'2024-08-26' as changed_at"
    ),
    "raw.crm__products": _of_day(f"concat('p', id) as product_id, {_AMOUNT} as price_cny"),
    "raw.crm__campaigns": _of_day(
        f"concat('k', id) as campaign_id, {_CHANNEL}, timestamp'2024-08-01' as started_at, "
        "timestamp'2024-09-01' as ended_at", 5,
    ),
    tables.CLEANED_EVENTS: _daily(
        f"concat('e', id) as event_id, {_EVENT} customer_id, {_DEVICE}, false as is_duration_outlier"
    ),
    tables.CLEANED_IMPRESSIONS: _daily(
        f"concat('m', id) as impression_id, 'p1' as campaign_id, {_CHANNEL}, 2 as position"
    ),
    tables.CLEANED_CLICKS: _daily("concat('m', id) as impression_id, cast(day as timestamp) as clicked_at", 3),
    tables.CLEANED_ORDERS: _daily(
        f"concat('o', id) as order_id, 'organic' as channel, {_AMOUNT} as amount, false as is_amount_outlier"
    ),
    tables.CLEANED_ORDER_ITEMS: _daily(f"concat('i', id) as order_item_id, 2 as quantity, {_AMOUNT} as unit_price"),
    tables.CLEANED_REVERSALS: _daily(
        f"concat('r', id) as reversal_id, 'returned' as reversal_kind, {_AMOUNT} as amount", 3
    ),
    tables.CLEANED_CHANNEL_SPEND: _daily(f"{_CHANNEL}, {_AMOUNT} as spend", 5),
    tables.CLEANED_CUSTOMERS: _of_day(
        f"concat('c', id) as customer_id, date'{FIRST}' as registered_date, 'gold' as membership_plan, "
        "false as has_marketing_consent, '138****5678' as phone_mask"
    ),
    tables.CLEANED_CUSTOMER_ATTRIBUTES: _daily(
        "concat('c', id) as customer_id, 'gold' as membership_plan, cast(day as string) as membership_plan_as_of"
    ),
    tables.CLEANED_PRODUCTS: _of_day(f"concat('p', id) as product_id, {_AMOUNT} as price"),
    tables.CLEANED_CAMPAIGNS: _daily(f"concat('k', id) as campaign_id, {_CHANNEL}", 5),
    tables.CLEANED_DROPPED_ROWS: _daily("'events' as table_name, 'duplicate' as reason, 1L as n_rows", 1),
    tables.FEATURES_CUSTOMER_DAY: _daily(
        "concat('c', id) as customer_id, id as tenure_days, id % 2 = 0 as is_member, "
        "case when id % 2 = 0 then 5L end as recency_days, case when id % 2 = 0 then day end as last_order_date, "
        "1L as n_orders_total, 1000L as visit_ms_30d, 3L as n_active_days_30d, 30 as age_years, 'female' as gender, "
        "'gold' as membership_plan"
    ),
    tables.FEATURES_CUSTOMER_ACTIVITY: _daily(
        f"concat('c', id) as customer_id, 2L as n_views, 5000L as visit_ms, {_AMOUNT} as revenue, "
        "cast(0 as decimal(18,2)) as reversed_amount", 20,
    ),
    tables.FEATURES_SALES_DAY: _daily(f"5L as n_orders, 2L as n_guest_orders, {_AMOUNT} as guest_revenue", 1),
    tables.FEATURES_IMPRESSION: _daily(
        f"concat('m', id) as impression_id, if(id % 2 = 0, 'c1', null) as customer_id, 10 as hour_of_day, "
        f"'morning' as daypart, '25-34' as age_band, 'unknown' as gender, {_CHANNEL}, 'toys' as campaign_category"
    ),
    tables.FEATURES_CHANNEL_DAY: _daily(f"{_CHANNEL}, {_AMOUNT} as spend, 1.1d as demand_index", 5),
    tables.PREDICTIONS_SEGMENTATION: _of_day(
        "concat('c', id) as customer_id, if(id % 2 = 0, 'loyal', 'dormant') as segment, 'call' as strategy, "
        "0.5d as distance, '3' as model_version"
    ),
    tables.PREDICTIONS_CTR: _of_day(
        "concat('m', id) as impression_id, 0.03d as click_probability, '3' as model_version"
    ),
    tables.PREDICTIONS_CHURN: _of_day(
        "concat('c', 2 * id) as customer_id, 0.9d as survival_30d, 0.8d as survival_60d, 0.7d as survival_90d, "
        f"0.1d as churn_risk_30d, 'plan' as drivers, '{shift(DS, 10)}' as best_contact_date, '3' as model_version",
        N // 2,
    ),
    tables.PREDICTIONS_BUDGET: _of_day(
        f"{_CHANNEL}, cast(100 as decimal(18,2)) as spend, cast(50 as decimal(18,2)) as floor_spend, "
        "cast(200 as decimal(18,2)) as cap_spend, cast(300 as decimal(18,2)) as expected_return, "
        "0.5d as shadow_price, cast(500 as decimal(18,2)) as budget, '3' as model_version", 5,
    ),
}  # fmt: skip


def make_good_scope() -> Scope:
    """The scope of a normal day: as many rows arrive as always, one of each log feed quarantined."""
    quarantined = {"web__events": 1, "ads__events": 1}
    n_rows = {feed: 5 if feed in ("crm__channel_spend", "crm__campaigns") else N for feed in feeds()}
    volumes = {}
    for feed, n in n_rows.items():
        arrived = n + quarantined.get(feed, 0)
        volumes[feed] = Volume(
            n_rows=n,
            n_arrived=arrived,
            n_days=1,
            usual=replace(evenly(arrived, 60), is_steady=feed == "crm__channel_spend"),
            last_rows=n,
        )
    return Scope(FIRST, DS, volumes)
