"""The CRM database as of the end of a day: seven tables, derived from facts with their times, written whole by JDBC.

Nothing is updated in place: a cancellation, a return or a renewal shows from the day it happened because each table is
derived anew from all facts. Rows are in order of their ids, which say nothing.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from sample import clock
from sample.catalogue import campaigns, products
from sample.draws import uniforms
from sample.parameters import ACQUISITION_CHANNELS, CATEGORIES, CHANNELS, GENDERS, PLANS
from sample.population import N_CITIES, N_PLANS, Population, World, consent_at, contacts, own_numbers
from sample.shopping import Orders, spend_of

# Derby's texts need a length; the widths are those of the values the sample makes. Texts that may be null are missing
# here and become CLOB: Spark's Derby dialect sets every null text as CLOB, which a VARCHAR column refuses (seen).
_WIDTHS = {
    "customer_id": 17, "city": 20, "acquisition_channel": 20, "membership_plan": 10, "product_id": 17,
    "product_name": 40, "category": 20, "brand": 20, "campaign_id": 17, "campaign_name": 60, "channel": 20,
    "order_id": 17, "order_item_id": 17, "field": 30, "old_value": 30, "new_value": 30,
}  # fmt: skip
_CITIES = {
    "Beijing": (39.90, 116.41), "Shanghai": (31.23, 121.47), "Guangzhou": (23.13, 113.26), "Shenzhen": (22.54, 114.06),
    "Chengdu": (30.57, 104.07), "Hangzhou": (30.27, 120.16), "Wuhan": (30.59, 114.31), "Xi'an": (34.34, 108.94),
    "Nanjing": (32.06, 118.80), "Chongqing": (29.56, 106.55), "Tianjin": (39.13, 117.20), "Suzhou": (31.30, 120.59),
}  # fmt: skip
_MISSING_GPS = 0.15
_LOG_FROM_DAY = -90  # since when the CRM keeps a log of what changed about a customer


def tables_at(world: World, people: Population, day: int, lived: list[Orders], defects: dict[int, str]):
    """The seven Arrow tables by name at the end of `day`, from the orders of days 0 … day; `defects` by bad day."""
    now = clock.day_start(world.tz, day + 1)
    return {
        "customers": _customers(world, people, now),
        "customer_changes": _customer_changes(world, people, now),
        "products": _products(world),
        "campaigns": _campaigns(world, day),
        "orders": _orders(world, people, lived, now, defects),
        "order_items": _order_items(world, people, lived, now),
        "channel_spend": _channel_spend(world, day),
    }


def write_tables(spark, tables: dict[str, pa.Table], options: dict[str, str]) -> None:
    """Replace the tables in the CRM database through the engine's JDBC writer; `options` are those of its connection."""

    def write(item: tuple[str, pa.Table]) -> None:
        name, table = item
        types = ", ".join(f"{c} VARCHAR({_WIDTHS[c]})" for c in table.column_names if c in _WIDTHS)
        writer = spark.createDataFrame(table).write.format("jdbc").mode("overwrite").options(**options)
        if types:
            writer = writer.option("createTableColumnTypes", types)
        writer.options(dbtable=name, batchsize=10_000).save()

    with ThreadPoolExecutor(3) as pool:  # the time goes into round trips, not into rows
        list(pool.map(write, tables.items()))


def _customers(world: World, people: Population, now: int) -> pa.Table:
    number = own_numbers(people)
    cities = list(_CITIES)
    city = (people.city_at(now) * len(cities)).astype(int)
    gender, birth_year = people.gender_at(now), people.birth_year_at(now)
    places = np.array(list(_CITIES.values()))[city]
    places += np.column_stack([uniforms(world.seed, axis, number) - 0.5 for axis in ("north", "east")]) * 0.3
    has_gps = uniforms(world.seed, "gps_missing", number) >= _MISSING_GPS
    is_cancelled = ~people.is_lapse & (people.end < now)
    expires = people.expires_at(now)
    renewed = expires - people.term - people.lead
    columns = {
        "customer_id": pa.array(people.customer_id.tolist()),
        "registered_at": _time(people.registered),
        **{name: pa.array(values.tolist(), pa.string()) for name, values in contacts(world, people).items()},
        "gender": _label(GENDERS, gender, gender > 0),
        "birth_year": pa.array(birth_year, pa.int32(), mask=birth_year == 0),
        "city": _label(cities, city),
        "latitude": pa.array(np.round(places[:, 0], 7), mask=~has_gps),
        "longitude": pa.array(np.round(places[:, 1], 7), mask=~has_gps),
        "acquisition_channel": _label(ACQUISITION_CHANNELS, people.acquisition_channel),
        "membership_plan": _label(PLANS, people.plan_at(now)),
        "membership_expires_at": _time(expires),
        "membership_cancelled_at": _time(people.end, is_cancelled),
    }
    updated = np.maximum(people.registered, np.where(renewed < now, renewed, 0))
    updated = np.where(is_cancelled, np.maximum(updated, people.end), updated)
    for since in (*people.plan_from.T, *people.city_from.T, people.gender_from, people.birth_year_from):
        updated = np.maximum(updated, np.where(since < now, since, 0))
    for purpose in ("marketing", "profiling"):
        given, since = consent_at(world, people, purpose, now)
        columns |= {f"consent_{purpose}": pa.array(given), f"consent_{purpose}_changed_at": _time(since)}
        updated = np.maximum(updated, since)
    return _sorted(pa.table(columns | {"updated_at": _time(updated)}), "customer_id")


def _customer_changes(world: World, people: Population, now: int) -> pa.Table:
    """The CRM's log: each change of a customer's attribute since _LOG_FROM_DAY, old and new value as text, '' if none."""
    first, who = clock.day_start(world.tz, _LOG_FROM_DAY), np.arange(len(people.end))
    plans, cities = np.array(PLANS)[people.plans], np.array(list(_CITIES))[(people.cities * len(_CITIES)).astype(int)]
    unknown = np.full(len(who), "")
    # a renewal is the n-th before the last one
    renewed = people.anchor - people.lead
    oldest, newest = (renewed - first) // people.term, np.maximum((renewed - now) // people.term, 0)
    member = np.repeat(who, np.maximum(oldest - newest, 0))
    nth = newest[member] + 1 + np.arange(len(member)) - np.searchsorted(member, member)
    expiry = people.anchor[member] - nth * people.term[member]
    changes = [
        *(("membership_plan", who, people.plan_from[:, k], plans[:, k - 1], plans[:, k]) for k in range(1, N_PLANS)),
        *(("city", who, people.city_from[:, k], cities[:, k - 1], cities[:, k]) for k in range(1, N_CITIES)),
        ("gender", who, people.gender_from, unknown, np.array(GENDERS)[people.gender]),
        ("birth_year", who, people.birth_year_from, unknown, people.birth_year.astype(str)),
        ("membership_expires_at", member, renewed[member] - nth * people.term[member], _text_of(expiry),
         _text_of(expiry + people.term[member])),
    ]  # fmt: skip
    rows = []
    for field, of, at, old, new in changes:
        chosen = np.flatnonzero((at > people.registered[of]) & (at >= first) & (at < now) & (old != new))
        rows.append(pa.table({
            "customer_id": pa.array(people.customer_id[of[chosen]].tolist(), pa.string()),
            "field": pa.array([field] * len(chosen), pa.string()),
            "old_value": pa.array(old[chosen].tolist(), pa.string()),
            "new_value": pa.array(new[chosen].tolist(), pa.string()),
            "changed_at": _time(at[chosen]),
        }))  # fmt: skip
    log = pa.concat_tables(rows).sort_by([(name, "ascending") for name in ("changed_at", "customer_id", "field")])
    return log.add_column(0, "change_id", pa.array(range(1, len(log) + 1), pa.int64()))


def _products(world: World) -> pa.Table:
    goods = products(world.seed)
    listed = clock.day_start(world.tz, -1)
    return _sorted(pa.table({
        "product_id": pa.array(goods.product_id.tolist()),
        "product_name": pa.array(goods.name.tolist()),
        "category": _label(CATEGORIES, goods.category),
        "brand": pa.array(goods.brand.tolist()),
        "price_cny": _money(goods.price),
        "updated_at": _time(np.full(len(goods.price), listed)),
    }), "product_id")  # fmt: skip


def _campaigns(world: World, day: int) -> pa.Table:
    ads = campaigns(world.seed, day)
    names = [f"{CATEGORIES[c]} by {CHANNELS[h]} from {clock.ds_of(f)}"
             for c, h, f in zip(ads.category, ads.channel, ads.first_day.tolist(), strict=True)]  # fmt: skip
    return _sorted(pa.table({
        "campaign_id": pa.array(ads.campaign_id.tolist()),
        "campaign_name": pa.array(names),
        "channel": _label(CHANNELS, ads.channel),
        "category": _label(CATEGORIES, ads.category),
        "started_at": _time(np.array([clock.day_start(world.tz, d) for d in ads.first_day.tolist()])),
        "ended_at": _time(np.array([clock.day_start(world.tz, d + 1) for d in ads.last_day.tolist()])),
    }), "campaign_id")  # fmt: skip


def _orders(world, people: Population, lived: list[Orders], now: int, defects: dict[int, str]) -> pa.Table:
    rows = [np.repeat(np.arange(len(o.amount)), 2 if defects.get(day) == "duplicated_orders" else 1)
            for day, o in enumerate(lived)]  # fmt: skip

    def joined(name):
        return np.concatenate([getattr(o, name)[r] for o, r in zip(lived, rows, strict=True)])

    ordered, cancelled = joined("ordered_at"), joined("cancelled_at")
    is_cancelled = cancelled < now
    return _sorted(pa.table({
        "order_id": pa.array(joined("order_id").tolist(), pa.string()),
        "customer_id": pa.array(people.customer_id[joined("customer")].tolist(), pa.string()),
        "ordered_at": _time(ordered),
        "channel": _label((*CHANNELS, "organic"), joined("channel")),
        "amount_cny": _money(joined("amount")),
        "cancelled_at": _time(cancelled, is_cancelled),
        "updated_at": _time(np.where(is_cancelled, cancelled, ordered)),
    }), "order_id")  # fmt: skip


def _order_items(world: World, people: Population, lived: list[Orders], now: int) -> pa.Table:
    def of_order(name):
        return np.concatenate([getattr(o, name)[o.items.order] for o in lived])

    def of_item(name):
        return np.concatenate([getattr(o.items, name) for o in lived])

    ordered, returned = of_order("ordered_at"), np.concatenate([o.returned_at for o in lived])
    is_returned = returned < now
    return _sorted(pa.table({
        "order_item_id": pa.array(np.concatenate([o.item_id for o in lived]).tolist(), pa.string()),
        "order_id": pa.array(of_order("order_id").tolist(), pa.string()),
        "customer_id": pa.array(people.customer_id[of_order("customer")].tolist(), pa.string()),
        "product_id": pa.array(products(world.seed).product_id[of_item("product")].tolist(), pa.string()),
        "quantity": pa.array(of_item("quantity"), pa.int32()),
        "unit_price_cny": _money(of_item("unit_price")),
        "ordered_at": _time(ordered),
        "returned_at": _time(returned, is_returned),
        "updated_at": _time(np.where(is_returned, returned, ordered)),
    }), "order_item_id")  # fmt: skip


def _channel_spend(world: World, day: int) -> pa.Table:
    n = len(CHANNELS)
    days = np.repeat(np.arange(day + 1), n)
    spend = np.concatenate([spend_of(world, d) for d in range(day + 1)])
    return pa.table({
        "spend_id": pa.array(days * n + np.tile(np.arange(n), day + 1), pa.int64()),
        "spend_date": pa.array(np.datetime64(clock.FIRST_DAY) + days),
        "channel": _label(CHANNELS, np.tile(np.arange(n), day + 1)),
        "spend_cny": _money(np.round(100 * spend).astype(np.int64)),
    })  # fmt: skip


def _sorted(table: pa.Table, key: str) -> pa.Table:
    return table.sort_by(key)


def _time(ms: np.ndarray, is_known: np.ndarray | None = None) -> pa.Array:
    """UTC timestamps; null where not known."""
    known = np.ones(len(ms), bool) if is_known is None else is_known
    values = np.where(known, ms, 0).astype(np.int64) * 1_000
    return pa.array(values, pa.int64(), mask=~known).cast(pa.timestamp("us", "UTC"))


def _text_of(ms: np.ndarray) -> np.ndarray:
    """UTC times as a database writes them."""
    return np.char.replace(np.datetime_as_string(ms.astype("datetime64[ms]")), "T", " ")


def _money(cents: np.ndarray) -> pa.Array:
    """decimal(18,2) from whole cents, without a detour through text or floats (16-byte little-endian numbers)."""
    wide = np.zeros((len(cents), 2), np.int64)
    wide[:, 0], wide[:, 1] = cents, np.where(cents < 0, -1, 0)
    return pa.Array.from_buffers(pa.decimal128(18, 2), len(cents), [None, pa.py_buffer(wide)])


def _label(levels, codes: np.ndarray, is_known: np.ndarray | None = None) -> pa.Array:
    return pa.array(np.array(levels, object)[codes].tolist(), pa.string(),
                    mask=None if is_known is None else ~is_known)  # fmt: skip
