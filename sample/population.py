"""The customers: who they are, how long they stay, what the CRM shows of them on a day.

A customer's facts follow from the seed and the customer's index alone, so a company that lives on only adds customers.
Those whose membership ended before the history started are not in the CRM: delayed entry is real here.
"""

from dataclasses import dataclass, fields

import numpy as np
from scipy.special import gammaincinv, ndtri

from sample import clock
from sample.draws import integers, make_ids, pick, uniforms
from sample.parameters import (
    ACQUISITION_CHANNELS,
    HISTORY_DAYS,
    OLDEST_DAYS,
    SHARE_BEFORE_START,
    SHARES_OF_PLANS,
    draw_parameters,
)

GRACE_DAYS = 15  # a membership that is not renewed ends this many days after it expired (the platform's definition)
_TERM_DAYS = np.array([0, 30, 90, 180])  # a membership's term by plan (order of PLANS)
_MISSING_GENDER, _MISSING_BIRTH_YEAR = 0.2, 0.05  # at registration; some say it later
_UNTIL_SAID_DAYS = 500  # on average
N_PLANS, _PLAN_DAYS = 3, 600  # plans that a member has in turn at most, days until the next one on average
N_CITIES, _CITY_DAYS = 2, 900
_CONSENT_SHARE = {"marketing": 0.65, "profiling": 0.75}
_CONSENT_CHANGES_PER_DAY = 0.04 / HISTORY_DAYS  # about 4 % of the customers change a consent during the history


@dataclass(frozen=True)
class World:
    """What identifies a company: everything else follows from it."""

    seed: int
    customers: int  # registered by the end of day HISTORY_DAYS - 1
    intensity: float  # multiplies page views and impressions, not orders
    tz: str


@dataclass(frozen=True)
class Population:
    """One array per fact, one entry per customer by registration day; codes index the levels in parameters."""

    customer_id: np.ndarray
    registered: np.ndarray
    end: np.ndarray  # T, the moment the membership is over: known to nobody before
    is_lapse: np.ndarray
    log_hazard: np.ndarray  # under each of `plans`
    type: np.ndarray
    order_rate: np.ndarray  # organic orders per day at demand 1
    session_rate: np.ndarray
    acquisition_channel: np.ndarray
    plans: np.ndarray  # (customers, N_PLANS), the plans had in turn …
    plan_from: np.ndarray  # … and from when on; NEVER if it does not come to that
    cities: np.ndarray  # u in [0, 1) as (customers, N_CITIES): where on the list of cities
    city_from: np.ndarray
    gender: np.ndarray  # as the CRM shows it once it was said: 0 = unknown
    gender_from: np.ndarray
    birth_year: np.ndarray  # as the CRM shows it once it was said: 0 = unknown
    birth_year_from: np.ndarray
    true_birth_year: np.ndarray
    anchor: np.ndarray  # last expiry ever shown; earlier ones lie whole terms before
    term: np.ndarray  # agreed at registration, whatever the plan becomes
    lead: np.ndarray  # how long before an expiry the membership is renewed

    def take(self, rows) -> "Population":
        """Some of the customers: a slice or positions."""
        return Population(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def is_active(self, start: int, end: int) -> np.ndarray:
        """Customers who can do something in [start, end): registered before, not over within."""
        return (self.registered < start) & (self.end >= end)

    def expires_at(self, now: int) -> np.ndarray:
        """Membership expiry as shown at `now`: never one whose grace has passed, unless the membership is over."""
        terms_left = (self.anchor - self.lead - now) // self.term
        return self.anchor - np.maximum(terms_left, 0) * self.term

    def plan_at(self, now) -> np.ndarray:
        """Code of PLANS per customer as shown at `now` (one time, or one per customer), as all that follow."""
        return _held(self.plans, self.plan_from, now)

    def city_at(self, now) -> np.ndarray:
        """Where on the list of cities: a number in [0, 1)."""
        return _held(self.cities, self.city_from, now)

    def gender_at(self, now) -> np.ndarray:
        """Code of GENDERS: 0 until it was said."""
        return np.where(self.gender_from < now, self.gender, 0)

    def birth_year_at(self, now) -> np.ndarray:
        """The birth year: 0 until it was said."""
        return np.where(self.birth_year_from < now, self.birth_year, 0)

    def age_band(self, year: int, now) -> np.ndarray:
        """Code of AGE_BANDS from the birth year as shown at `now`."""
        birth_year = self.birth_year_at(now)
        return age_bands(np.where(birth_year > 0, year - birth_year, -1))


def _held(values: np.ndarray, since: np.ndarray, now) -> np.ndarray:
    """The value held at `now`, of those held in turn from their `since` on; the first one also before."""
    n_later = (since[:, 1:] < np.reshape(now, (-1, 1))).sum(axis=1)
    return values[np.arange(len(values)), n_later]


def n_registered(world: World, day: int) -> int:
    """Customers registered by the end of a day; a steady stream after the start."""
    before = round(world.customers * SHARE_BEFORE_START)
    return before + int((world.customers - before) * (day + 1) / HISTORY_DAYS)


def age_bands(age: np.ndarray) -> np.ndarray:
    """Code of AGE_BANDS; a negative age is unknown."""
    return np.where(age < 0, 0, np.searchsorted([25, 35, 45, 55], age, side="right") + 1)


def build_population(world: World, day: int) -> Population:
    """All customers registered by the end of `day`, the same whichever later day is asked for."""
    n_before, n_all = n_registered(world, -1), n_registered(world, day)
    start = clock.day_start(world.tz, 0)
    n_candidates = 3 * n_before + 100
    while True:  # more candidates of the past do not change the first ones
        index = np.arange(n_candidates)
        age_ms = uniforms(world.seed, "registered", index) * OLDEST_DAYS * clock.DAY
        past = _customers(world, index, start - age_ms.astype(np.int64))
        alive = np.flatnonzero(past.end > start)[:n_before]
        if len(alive) == n_before:
            break
        n_candidates *= 2
    counts = np.array([n_registered(world, d) for d in range(-1, day + 1)])
    index = np.arange(n_all - n_before) + (1 << 40)  # apart from the candidates of the past
    joined = np.repeat(np.arange(day + 1), np.diff(counts))
    starts = np.array([clock.day_start(world.tz, d) for d in range(day + 2)])
    within = uniforms(world.seed, "registered", index) * np.diff(starts)[joined]
    new = _customers(world, index, starts[joined] + within.astype(np.int64) // clock.SECOND * clock.SECOND)
    parts = {f.name: np.concatenate([getattr(past, f.name)[alive], getattr(new, f.name)]) for f in fields(Population)}
    return Population(**parts)


def _customers(world: World, index: np.ndarray, registered: np.ndarray) -> Population:
    def draw(name):
        return uniforms(world.seed, name, index)

    truth = draw_parameters(world.seed)
    registered = registered // clock.SECOND * clock.SECOND
    gender = pick(draw("gender"), [0, 0.55, 0.45])
    skewed = np.minimum(gammaincinv(2.2, draw("age")) * 8, 65)
    age = 18 + skewed.astype(np.int64)  # at registration; most are young
    birth_year = clock.years_of(registered) - age
    plans = _plans_in_turn([draw(name) for name in ("plan", "plan/2", "plan/3")])
    plan_from = _in_turn(registered, [draw(f"plan_wait/{k}") for k in range(1, N_PLANS)], _PLAN_DAYS)
    channel = integers(world.seed, "acquisition", index, len(ACQUISITION_CHANNELS))
    codes = {"acquisition_channel": channel, "age_band": age_bands(age), "gender": gender}
    log_hazard = np.column_stack([truth.lifetime.log_hazard(codes | {"membership_plan": plan}) for plan in plans.T])
    plan_days = (plan_from - registered[:, None]) / clock.DAY
    lifetime = (truth.lifetime.lifetime_days(draw("lifetime"), log_hazard, plan_days) * clock.DAY).astype(np.int64)
    lead = (draw("lead") * 7 * clock.DAY).astype(np.int64)
    term = _TERM_DAYS[plans[:, 0]] * clock.DAY
    end = registered + lifetime
    grace = GRACE_DAYS * clock.DAY
    # whoever is over within the grace can only have cancelled
    is_lapse = (draw("kind") < truth.lifetime.lapse_share) & (lifetime > grace)
    # The phase of the terms says nothing of the end: it is as good as uniform for both ways of leaving.
    anchor = np.where(is_lapse, end - grace, end + lead + (draw("phase") * term).astype(np.int64))
    kind = pick(draw("type"), truth.types.shares)
    own = np.exp(0.4 * ndtri(draw("own_rate")) - 0.08)  # customers of one kind still differ
    city_from = _in_turn(registered, [draw("city_wait")], _CITY_DAYS)
    gender_from, birth_year_from = (
        np.where(draw(f"{name}_missing") < share, _in_turn(registered, [draw(f"{name}_wait")], _UNTIL_SAID_DAYS)[:, 1],
                 registered)
        for name, share in (("gender", _MISSING_GENDER), ("birth_year", _MISSING_BIRTH_YEAR))
    )  # fmt: skip

    def until_end(since):  # who has left says and changes nothing more
        return np.where(since < (end if since.ndim == 1 else end[:, None]), since, clock.NEVER)

    return Population(
        customer_id=make_ids("c", world.seed, "customer", index),
        registered=registered,
        end=end,
        is_lapse=is_lapse,
        log_hazard=log_hazard,
        type=kind,
        order_rate=truth.types.orders_per_day[kind] * own,
        session_rate=truth.types.sessions_per_day[kind] * own,
        acquisition_channel=channel,
        plans=plans,
        plan_from=until_end(plan_from),
        cities=np.column_stack([draw("city"), draw("city/2")]),
        city_from=until_end(city_from),
        gender=gender,
        gender_from=until_end(gender_from),
        birth_year=birth_year,
        birth_year_from=until_end(birth_year_from),
        true_birth_year=birth_year,
        anchor=anchor,
        term=term,
        lead=lead,
    )


def _in_turn(registered: np.ndarray, draws: list[np.ndarray], mean_days: float) -> np.ndarray:
    """Times (customers, 1 + draws) from which each of several values is held: exponential waits after registration."""
    waits = np.cumsum([-np.log(u) * mean_days * clock.DAY for u in draws], axis=0)
    later = [registered + wait.astype(np.int64) // clock.SECOND * clock.SECOND + clock.SECOND for wait in waits]
    return np.column_stack([registered, *later])


def _plans_in_turn(draws: list[np.ndarray]) -> np.ndarray:
    """Codes of PLANS (customers, draws): each a plan other than the one before it, by the shares of the plans."""
    plans = [pick(draws[0], SHARES_OF_PLANS)]
    for u in draws[1:]:
        others = [np.where(np.arange(len(SHARES_OF_PLANS)) == plan, 0, SHARES_OF_PLANS) for plan in range(4)]
        plans.append(np.choose(plans[-1], [pick(u, shares) for shares in others]))
    return np.column_stack(plans)


def consent_at(world: World, people: Population, purpose: str, now: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each customer consents to a purpose at `now`, and since when; each changes their mind at most once."""
    n = own_numbers(people)
    given = uniforms(world.seed, f"consent/{purpose}", n) < _CONSENT_SHARE[purpose]
    since = np.maximum(people.registered, clock.day_start(world.tz, 0))
    wait = -np.log(uniforms(world.seed, f"consent_change/{purpose}", n)) / _CONSENT_CHANGES_PER_DAY
    # a century is never; without the cap a long wait would not fit the integer
    change = since + (np.minimum(wait, 36_500) * clock.DAY).astype(np.int64) // clock.SECOND * clock.SECOND
    changed = (change < now) & (change < people.end)
    return given ^ changed, np.where(changed, change, people.registered)


def own_numbers(people: Population) -> np.ndarray:
    """A customer's own number, for draws made outside `_customers`: the id's digits."""
    return np.array([int(text[1:], 16) for text in people.customer_id.tolist()], dtype=np.uint64)


def contacts(world: World, people: Population) -> dict[str, np.ndarray]:
    """Made-up phone, e-mail and id number per customer; None where the company does not know it."""
    number = own_numbers(people)

    def known(name, share_missing):
        return uniforms(world.seed, f"{name}_missing", number) >= share_missing

    second = np.array([3, 5, 7, 8, 9])[integers(world.seed, "phone_prefix", number, 5)]
    digits = integers(world.seed, "phone", number, 10**9)
    phones = [f"1{p}{d:09d}" if k else None for p, d, k in zip(second, digits, known("phone", 0.1), strict=True)]
    names = integers(world.seed, "name", number, len(_NAMES))
    hosts = integers(world.seed, "mail_host", number, len(_HOSTS))
    emails = [f"{_NAMES[n]}.{i[1:9]}@{_HOSTS[h]}" if k else None
              for n, i, h, k in zip(names, people.customer_id, hosts, known("email", 0.15), strict=True)]  # fmt: skip
    serial = integers(world.seed, "id_number", number, 10**6)
    # region 99…: no such province, so no real person's number can come out
    years, has_id = people.true_birth_year.tolist(), known("id_number", 0.1)
    id_numbers = [f"9900{s % 100:02d}{y}{1 + s % 12:02d}{1 + s % 28:02d}{s // 100:04d}" if k else None
                  for s, y, k in zip(serial.tolist(), years, has_id, strict=True)]  # fmt: skip
    known_contacts = {"phone": phones, "email": emails, "id_number": id_numbers}
    return {name: np.array(values, object) for name, values in known_contacts.items()}


_NAMES = ("wang", "li", "zhang", "liu", "chen", "yang", "zhao", "huang", "zhou", "wu", "xu", "sun")
_HOSTS = ("example.com", "example.net", "example.org")
