"""A day's orders, their items, and what was spent on advertising: money and its true causes.

Organic orders come at each customer's own rate times the day's demand; orders driven by a channel follow that channel's
concave response to the day's spend. Cancellations and returns are drawn with the order and carry their own time.
"""

from dataclasses import dataclass

import numpy as np

from sample import clock
from sample.catalogue import products
from sample.clock import NEVER
from sample.draws import generator, make_ids, pick
from sample.parameters import CHANNELS, SIZE, Parameters, draw_parameters
from sample.population import Population, World

ORGANIC = len(CHANNELS)  # code of orders that no channel drove
_CANCEL_SHARE, _CANCEL_DAYS = 0.04, 3
_RETURN_SHARE, _RETURN_DAYS = 0.06, 15
# Bulk orders by resellers, .2 % of all: outliers that the pipeline has to flag. They come organically: as a channel's
# they would drown the response that a plan is made from.
_BULK_SHARE, _BULK_FACTOR = 0.003, (20, 60)
_EARLIEST = clock.HOUR // 2  # an order ends a session of up to half an hour on the same day


@dataclass(frozen=True)
class Items:
    """Order items: position of their order, product (position in the catalogue), quantity and price in cents."""

    order: np.ndarray
    product: np.ndarray
    quantity: np.ndarray
    unit_price: np.ndarray


@dataclass(frozen=True)
class Orders:
    """A day's orders by time, with their items; cancelled_at and returned_at may lie in the future, NEVER if never."""

    order_id: np.ndarray
    customer: np.ndarray  # position in the population
    ordered_at: np.ndarray
    channel: np.ndarray
    amount: np.ndarray  # cents
    cancelled_at: np.ndarray
    is_bulk: np.ndarray
    item_id: np.ndarray
    items: Items
    returned_at: np.ndarray


def spend_of(world: World, day: int) -> np.ndarray:
    """Yuan (whole cents) spent per channel: base x a part that follows demand x a random part that follows nothing."""
    truth = draw_parameters(world.seed)
    channels, demand = truth.channels, truth.demand.at(day, clock.weekday_of(day))
    noise = generator(world.seed, "spend", day).normal(0, 1, len(CHANNELS)) * channels.spend_log_sd
    spend = channels.base_spend_cny * demand**channels.demand_following * np.exp(noise) * (world.customers / SIZE)
    return np.round(spend, 2)


def response(truth: Parameters, customers: int, spend: np.ndarray) -> np.ndarray:
    """Expected orders per channel and day at demand 1, for spend in yuan of shape (channels,)."""
    scale = customers / SIZE
    curve = -np.expm1(-spend / (truth.channels.scale_cny * scale))
    return truth.channels.saturation_orders * scale * curve


def orders_of(world: World, people: Population, day: int) -> Orders:
    """The day's orders; a pure function of the world and the day."""
    truth, rng = draw_parameters(world.seed), generator(world.seed, "orders", day)
    start, end = clock.day_start(world.tz, day), clock.day_start(world.tz, day + 1)
    demand = truth.demand.at(day, clock.weekday_of(day))
    active = np.flatnonzero(people.is_active(start, end))
    rate = people.order_rate[active]
    driven = rng.poisson(response(truth, world.customers, spend_of(world, day)) * demand) * (len(active) > 0)
    organic = np.repeat(active, rng.poisson(rate * demand))
    buyers = active[pick(rng.random(driven.sum()), rate)] if driven.sum() else organic[:0]
    customer = np.concatenate([organic, buyers])
    channel = np.concatenate([np.full(len(organic), ORGANIC), np.repeat(np.arange(ORGANIC), driven)])
    n = len(customer)
    ordered_at = times_of_day(rng, truth, n)
    ordered_at += np.where(ordered_at < _EARLIEST, _EARLIEST, 0)
    by_time = np.argsort(ordered_at, kind="stable")
    customer, channel = customer[by_time], channel[by_time]
    ordered_at = clock.to_utc(world.tz, day, ordered_at[by_time])
    items = baskets(world.seed, truth, rng, people.type[customer], channel)
    is_bulk = (channel == ORGANIC) & (rng.random(n) < _BULK_SHARE)
    quantity = items.quantity * np.where(is_bulk[items.order], rng.integers(*_BULK_FACTOR, len(items.order)), 1)
    items = Items(items.order, items.product, quantity, items.unit_price)
    is_cancelled = rng.random(n) < _CANCEL_SHARE
    cancelled_at = _later(rng, is_cancelled, ordered_at, _CANCEL_DAYS, people.end[customer])
    is_returned = (rng.random(len(items.order)) < _RETURN_SHARE) & ~is_cancelled[items.order]
    number = (day << 32) + np.arange(len(items.order))
    return Orders(
        order_id=make_ids("o", world.seed, "order", number[:n]),
        customer=customer,
        ordered_at=ordered_at,
        channel=channel,
        amount=np.bincount(items.order, items.quantity * items.unit_price, n).astype(np.int64),
        cancelled_at=cancelled_at,
        is_bulk=is_bulk,
        item_id=make_ids("i", world.seed, "item", number),
        items=items,
        returned_at=_later(rng, is_returned, ordered_at[items.order], _RETURN_DAYS, people.end[customer][items.order]),
    )


def baskets(seed: int, truth: Parameters, rng: np.random.Generator, kind: np.ndarray, channel: np.ndarray) -> Items:
    """Items per order: one to five products near the price that such customers and the channel's buyers look for."""
    range_ = products(seed)
    n_items = 1 + np.minimum(rng.poisson(0.6, len(kind)), 4)
    order = np.repeat(np.arange(len(kind)), n_items)
    factor = np.append(truth.channels.value_factor, 1.0)
    target = 100 * truth.types.item_value_cny[kind] * factor[channel]
    wanted = target[order] * np.exp(rng.normal(0, 0.5, len(order)))
    near = np.searchsorted(range_.price, wanted) + rng.integers(-4, 5, len(order))  # taste decides among similar prices
    product = np.clip(near, 0, len(range_.price) - 1)
    quantity = pick(rng.random(len(order)), [0.75, 0.18, 0.07]) + 1
    discount = np.array([100, 95, 90, 80])[pick(rng.random(len(order)), [0.6, 0.2, 0.12, 0.08])]
    return Items(order, product, quantity, range_.price[product] * discount // 100)


def times_of_day(rng: np.random.Generator, truth: Parameters, n: int) -> np.ndarray:
    """Local milliseconds since midnight, by the hours' shares."""
    return pick(rng.random(n), truth.hour_shares) * clock.HOUR + rng.integers(0, clock.HOUR, n)


def _later(rng, happens: np.ndarray, after: np.ndarray, within_days: int, end: np.ndarray) -> np.ndarray:
    """A time within some days after `after` where it happens and the customer is still there, else NEVER."""
    when = after + rng.integers(clock.HOUR // 6, within_days * clock.DAY - clock.HOUR, len(after))
    return np.where(happens & (when < end), when, NEVER)
