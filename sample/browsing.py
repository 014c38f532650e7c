"""A day's clicks and page views: sessions in shop and app, ad impressions and the clicks they lead to.

Rows are clean here; `spool` makes them as dirty as a real collector's. A click follows the true probability of
`ClickModel` in columns that are all knowable at the impression.
"""

from dataclasses import dataclass

import numpy as np

from sample import clock
from sample.catalogue import N_PRODUCTS, campaigns
from sample.draws import generator, make_ids, pick, uniforms
from sample.parameters import DEVICE_SHARES, KNOWN_AUDIENCE, SIZE, draw_parameters
from sample.population import Population, World
from sample.shopping import NEVER, Orders, spend_of, times_of_day

EVENT_TYPES = ("view", "search", "favourite", "add_to_cart", "remove_from_cart", "purchase")
_EVENT_SHARES = np.array([0.58, 0.16, 0.07, 0.14, 0.05])
_FIRST_SHARES = np.array([0.7, 0.3])  # a session opens with a view or a search
_VIEW, _ADD_TO_CART, _PURCHASE = 0, 3, 5
_ANONYMOUS_SESSIONS = 30  # per day in a company of SIZE
_ALREADY_LOGGED_IN = 0.45
_IMPRESSIONS = 1_000  # per day in a company of SIZE
_SECOND_DEVICE, _SECOND_DEVICE_USE = 0.3, 0.4  # share of customers who have one, and of their sessions on it
NOBODY = -1


@dataclass(frozen=True)
class Events:
    """Web and app events by time; `customer` is a position in the population, `order` one in the day's, or NOBODY."""

    event_id: np.ndarray
    type: np.ndarray
    occurred_at: np.ndarray
    customer: np.ndarray
    is_logged_in: np.ndarray
    device: np.ndarray
    session_id: np.ndarray
    product: np.ndarray
    order: np.ndarray
    duration_ms: np.ndarray


@dataclass(frozen=True)
class Impressions:
    """Ad impressions by time with their true click probability; `clicked_at` is 0 where nobody clicked."""

    impression_id: np.ndarray
    occurred_at: np.ndarray
    customer: np.ndarray
    device: np.ndarray
    campaign: np.ndarray
    codes: dict[str, np.ndarray]  # level per column of CLICK_LEVELS
    probability: np.ndarray
    clicked_at: np.ndarray


def device_ids(seed: int, device: np.ndarray) -> np.ndarray:
    """Public id of a device number."""
    return make_ids("d", seed, "device", device)


def device_type(seed: int, device: np.ndarray) -> np.ndarray:
    """Code of DEVICE_TYPES: a device is always of one type."""
    return pick(uniforms(seed, "device", device), DEVICE_SHARES)


def events_of(world: World, people: Population, day: int, orders: Orders) -> Events:
    """The day's web and app events: one session per order, browsing sessions by customers and by strangers."""
    truth, rng = draw_parameters(world.seed), generator(world.seed, "events", day)
    demand = truth.demand.at(day, clock.weekday_of(day))
    start = clock.day_start(world.tz, day)
    active = np.flatnonzero(people.is_active(start, clock.day_start(world.tz, day + 1)))
    visits = rng.poisson(people.session_rate[active] * demand * world.intensity)
    n_strangers = rng.poisson(_ANONYMOUS_SESSIONS * demand * world.intensity * world.customers / SIZE)
    owner = np.concatenate([orders.customer, np.repeat(active, visits), np.full(n_strangers, NOBODY)])
    n, n_orders = len(owner), len(orders.customer)
    length = np.minimum(2 + rng.poisson(4, n), 12)
    login = np.where(rng.random(n) < _ALREADY_LOGGED_IN, 0, rng.integers(1, 4, n))
    login[:n_orders] = np.minimum(login[:n_orders], length[:n_orders] - 2)  # cart and purchase need a login
    gap = rng.integers(15, 120, n) * clock.SECOND
    begin = clock.to_utc(world.tz, day, np.minimum(times_of_day(rng, truth, n), 23 * clock.HOUR + clock.HOUR // 2))
    begin[:n_orders] = orders.ordered_at - (length[:n_orders] - 1) * gap[:n_orders]

    session = np.repeat(np.arange(n), length)
    nth = np.arange(len(session)) - np.repeat(np.cumsum(length) - length, length)
    first, other = (pick(rng.random(len(session)), shares) for shares in (_FIRST_SHARES, _EVENT_SHARES))
    kind = np.where(nth == 0, first, other)
    product = rng.integers(0, N_PRODUCTS, len(session))
    order = np.full(len(session), NOBODY)
    last = (np.cumsum(length) - 1)[:n_orders]
    bought = orders.items.product[np.searchsorted(orders.items.order, np.arange(n_orders))]
    kind[last - 1], kind[last] = _ADD_TO_CART, _PURCHASE
    product[last - 1], product[last], order[last] = bought, bought, np.arange(n_orders)
    is_logged_in = (nth >= login[session]) & (owner[session] != NOBODY)
    device = _devices(rng, world, owner)
    number = (day << 32) + np.arange(len(session))
    occurred_at = begin[session] + nth * gap[session]
    by_time = np.argsort(occurred_at, kind="stable")
    rows = {
        "event_id": make_ids("e", world.seed, "event", number),
        "type": kind,
        "occurred_at": occurred_at,
        "customer": np.where(is_logged_in, owner[session], NOBODY),
        "is_logged_in": is_logged_in,
        "device": device[session],
        "session_id": make_ids("s", world.seed, "session", number[:n])[session],
        "product": product,
        "order": order,
        "duration_ms": (gap[session] * rng.uniform(0.2, 1.0, len(session))).astype(np.int64),
    }
    return Events(**{name: values[by_time] for name, values in rows.items()})


def impressions_of(world: World, people: Population, day: int) -> Impressions:
    """The day's impressions and clicks; channels show in proportion to what is spent on them."""
    truth, rng = draw_parameters(world.seed), generator(world.seed, "impressions", day)
    weekday, start = clock.weekday_of(day), clock.day_start(world.tz, day)
    active = np.flatnonzero(people.is_active(start, clock.day_start(world.tz, day + 1)))
    n = rng.poisson(_IMPRESSIONS * truth.demand.at(day, weekday) * world.intensity * world.customers / SIZE)
    local = np.sort(times_of_day(rng, truth, n))
    is_known = (rng.random(n) < KNOWN_AUDIENCE) & (len(active) > 0)
    customer = np.full(n, NOBODY)
    if len(active):
        customer[is_known] = active[pick(rng.random(is_known.sum()), people.session_rate[active])]
    device = _devices(rng, world, customer)
    ads = campaigns(world.seed, day)
    running = np.flatnonzero(ads.last_day >= day)
    campaign = running[pick(rng.random(n), spend_of(world, day)[ads.channel[running]])]

    def shown(column):
        return pick(rng.random(n), truth.click.shares[column])

    occurred_at = clock.to_utc(world.tz, day, local)
    audience = people.take(customer)

    def known(values):  # level 0 means that nothing is known of a stranger
        return np.where(is_known, values, 0)

    codes = {
        "placement": shown("placement"),
        "position": shown("position"),
        "device_type": device_type(world.seed, device),
        "creative_format": shown("creative_format"),
        "campaign_category": ads.category[campaign],
        "daypart": local // (6 * clock.HOUR),
        "is_weekend": np.full(n, int(weekday >= 5)),
        "gender": known(audience.gender_at(occurred_at)),
        "age_band": known(audience.age_band(int(clock.ds_of(day)[:4]), occurred_at)),
        "membership_plan": known(audience.plan_at(occurred_at)),
    }
    probability = truth.click.probability(codes)
    delay = np.minimum(rng.lognormal(2.5, 1.2, n) * clock.SECOND, 6 * clock.HOUR).astype(np.int64) + clock.SECOND
    last_moment = np.where(is_known, people.end[customer] - clock.SECOND, NEVER)
    number = (day << 32) + np.arange(n)
    return Impressions(
        impression_id=make_ids("m", world.seed, "impression", number),
        occurred_at=occurred_at,
        customer=customer,
        device=device,
        campaign=ads.campaign_id[campaign],
        codes=codes | {"channel": ads.channel[campaign]},
        probability=probability,
        clicked_at=np.where(rng.random(n) < probability, np.minimum(occurred_at + delay, last_moment), 0),
    )


def _devices(rng: np.random.Generator, world: World, owner: np.ndarray) -> np.ndarray:
    """A device number per row: one of the owner's one or two, or one of a pool of strangers' devices."""
    has_two = uniforms(world.seed, "second_device", owner + 1) < _SECOND_DEVICE
    second = has_two & (rng.random(len(owner)) < _SECOND_DEVICE_USE)
    strangers = (1 << 40) + rng.integers(0, max(world.customers // 2, 10), len(owner))
    return np.where(owner == NOBODY, strangers, owner * 2 + second)
