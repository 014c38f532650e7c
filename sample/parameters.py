"""The company's true parameters, drawn from the seed, and the formulas that behaviour follows.

Only shapes and ranges stand here; each number that a model estimates is drawn, so that no model can have it copied.
What depends on several draws (click rate, AUC, share of customers lost) is calibrated into a realistic range.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sample.draws import generator, pick

CATEGORIES = ("phones", "computers", "clothing", "shoes", "beauty", "groceries", "home", "toys")
CHANNELS = ("search", "information_feed", "short_video", "social", "display")
ACQUISITION_CHANNELS = ("organic", "referral", "app_store", "search", "social", "offline")
PLANS = ("none", "basic", "silver", "gold")
GENDERS = ("unknown", "female", "male")
AGE_BANDS = ("unknown", "<25", "25-34", "35-44", "45-54", "55+")
DEVICE_TYPES = ("ios", "android", "desktop", "tablet")
# Columns of the click model and their levels, as `features.impression` names them: a model can know all the truth uses.
CLICK_LEVELS = {
    "placement": ("home_banner", "feed", "search_results", "product_page", "splash"),
    "position": ("1", "2", "3", "4", "5", "6"),
    "device_type": DEVICE_TYPES,
    "creative_format": ("image", "video", "carousel", "text"),
    "campaign_category": CATEGORIES,
    "daypart": ("night", "morning", "afternoon", "evening"),
    "is_weekend": ("false", "true"),
    "gender": GENDERS,
    "age_band": AGE_BANDS,
    "membership_plan": PLANS,
}
_INTERACTIONS = (
    ("device_type", "creative_format"), ("placement", "daypart"), ("gender", "campaign_category"),
    ("age_band", "creative_format"), ("placement", "creative_format"), ("campaign_category", "is_weekend"),
)  # fmt: skip
SIZE = 5_000  # customers that daily volumes below are stated for; other companies scale in proportion
HISTORY_DAYS = 180  # the size is reached at the end of this day
SHARE_BEFORE_START = 0.7
SHARES_OF_PLANS = np.array([0, 0.55, 0.3, 0.15])
DEVICE_SHARES = np.array([0.38, 0.34, 0.2, 0.08])
KNOWN_AUDIENCE = 0.65  # share of impressions to somebody logged in
OLDEST_DAYS = 1_095  # earliest registration before the history: three years


@dataclass(frozen=True)
class ClickModel:
    """Log-odds of a click: intercept + main effects + interactions, per level of CLICK_LEVELS."""

    intercept: float
    main: dict[str, np.ndarray]
    pairs: dict[tuple[str, str], np.ndarray]
    shares: dict[str, np.ndarray]  # how often a level of placement, position, … is shown

    def probability(self, codes: dict[str, np.ndarray]) -> np.ndarray:
        """True click probability per impression, from level codes per column."""
        return _sigmoid(self.intercept + _log_odds(self.main, self.pairs, codes))


@dataclass(frozen=True)
class LifetimeModel:
    """Weibull lifetimes with proportional hazards: S(t) = exp(-(t / scale_days)^shape · exp(log hazard)).

    The log hazard changes with the plan: each stretch of a life adds its own cumulative hazard.
    """

    shape: float
    scale_days: float
    effects: dict[str, np.ndarray]  # per level: acquisition_channel, membership_plan, age_band, gender (true)
    lapse_share: float

    def log_hazard(self, codes: dict[str, np.ndarray]) -> np.ndarray:
        """True log hazard ratio per customer."""
        return sum(self.effects[column][code] for column, code in codes.items())

    def lifetime_days(self, u: np.ndarray, log_hazard: np.ndarray, from_days: np.ndarray) -> np.ndarray:
        """Days from registration to the end, by inversion of the survival function.

        log_hazard holds from from_days on: both (customers, stretches), the first from day 0.
        """
        left, days = -np.log(u), np.full(len(u), np.nan)
        start = (from_days / self.scale_days) ** self.shape
        end = np.column_stack([start[:, 1:], np.full(len(u), np.inf)])
        for j, ratio in enumerate(np.exp(log_hazard).T):
            ends_here = np.isnan(days) & (left < (end[:, j] - start[:, j]) * ratio)
            days[ends_here] = self.scale_days * (start[:, j] + left / ratio)[ends_here] ** (1 / self.shape)
            left = left - (end[:, j] - start[:, j]) * ratio
        return days


@dataclass(frozen=True)
class Types:
    """Five latent kinds of customers; nothing in the company's data names them."""

    shares: np.ndarray
    orders_per_day: np.ndarray
    item_value_cny: np.ndarray  # median price that the kind looks for
    sessions_per_day: np.ndarray


@dataclass(frozen=True)
class Channels:
    """Per paid channel (order of CHANNELS), for SIZE customers: expected orders a·(1 - exp(-spend/b))·demand."""

    saturation_orders: np.ndarray  # a
    scale_cny: np.ndarray  # b
    base_spend_cny: np.ndarray
    demand_following: np.ndarray  # elasticity of the spend to demand: budgets follow the season in part
    spend_log_sd: np.ndarray  # the part that follows nothing: it makes the response identifiable
    value_factor: np.ndarray  # what a channel's buyers pay per item, relative to organic ones


@dataclass(frozen=True)
class Demand:
    """How much people buy on a day, about 1 on average: weekday times a slow trend."""

    weekday: np.ndarray
    growth: float
    swing: float
    period_days: float
    phase: float

    def at(self, day: int, weekday: int) -> float:
        """Multiplier of the day (0 = first day of the history)."""
        wave = 1 + self.swing * np.sin(2 * np.pi * (day / self.period_days) + self.phase)
        return float(self.weekday[weekday] * np.exp(self.growth * day / 365) * wave)


@dataclass(frozen=True)
class Parameters:
    """All that is true of the company and unknown to its models."""

    click: ClickModel
    lifetime: LifetimeModel
    types: Types
    channels: Channels
    demand: Demand
    hour_shares: np.ndarray


@lru_cache(maxsize=4)
def draw_parameters(seed: int) -> Parameters:
    """The company's parameters, the same for the same seed."""
    rng = generator(seed, "parameters")
    hours = np.exp(0.9 * np.sin(2 * np.pi * (np.arange(24) - rng.uniform(11, 14)) / 24)) * rng.uniform(0.8, 1.25, 24)
    demand = Demand(
        weekday=_around_one(rng, 7, 0.12),
        growth=rng.uniform(-0.05, 0.2),
        swing=rng.uniform(0.05, 0.15),
        period_days=rng.uniform(90, 160),
        phase=rng.uniform(0, 2 * np.pi),
    )
    return Parameters(
        click=_draw_clicks(rng, hours),
        lifetime=_draw_lifetimes(rng),
        types=_draw_types(rng),
        channels=_draw_channels(rng),
        demand=demand,
        hour_shares=hours,
    )


def _draw_types(rng: np.random.Generator) -> Types:
    """Archetypes (devoted, regular, bargain hunter, occasional, window shopper), each moved by the seed."""
    return Types(
        shares=rng.dirichlet([20, 40, 36, 50, 50]),
        orders_per_day=np.array([0.06, 0.033, 0.024, 0.008, 0.002]) * np.exp(rng.normal(0, 0.15, 5)),
        item_value_cny=np.array([150, 90, 35, 120, 70]) * np.exp(rng.normal(0, 0.15, 5)),
        sessions_per_day=np.array([0.035, 0.025, 0.04, 0.012, 0.03]) * np.exp(rng.normal(0, 0.15, 5)),
    )


def _draw_channels(rng: np.random.Generator) -> Channels:
    """Spend around .3–2 of each curve's scale: history has seen the bends, and shifting money between channels pays."""
    n = len(CHANNELS)
    base = rng.uniform(500, 1_600, n)
    return Channels(
        saturation_orders=rng.uniform(7, 22, n),
        scale_cny=base / np.exp(rng.uniform(np.log(0.3), np.log(2), n)),
        base_spend_cny=base,
        demand_following=rng.uniform(0.4, 1.0, n),
        spend_log_sd=rng.uniform(0.45, 0.6, n),
        value_factor=_around_one(rng, n, 0.12),
    )


def _draw_lifetimes(rng: np.random.Generator) -> LifetimeModel:
    """Hazard ratios per level, and the scale at which 14–18 % of the customers are lost in HISTORY_DAYS."""
    levels = {"acquisition_channel": ACQUISITION_CHANNELS, "membership_plan": PLANS, "age_band": AGE_BANDS,
              "gender": GENDERS}  # fmt: skip
    effects = {column: rng.normal(0, 0.55, len(names)) for column, names in levels.items()}
    shape, target = rng.uniform(1.05, 1.4), rng.uniform(0.14, 0.18)
    lapse_share = rng.uniform(0.4, 0.6)
    n = 5_000
    # level 0 of plan, age and gender means "not known" and is never a customer's true level
    log_hazard = sum(e[rng.integers(column != "acquisition_channel", len(e), n)] for column, e in effects.items())
    tenure = rng.uniform(0, OLDEST_DAYS, n)

    def lost(scale: float) -> float:
        def cumulative(days):
            return (days / scale) ** shape * np.exp(log_hazard)

        alive = np.exp(-cumulative(tenure))
        before = np.sum(alive * -np.expm1(cumulative(tenure) - cumulative(tenure + HISTORY_DAYS))) / alive.sum()
        joined = np.mean(-np.expm1(-cumulative(HISTORY_DAYS / 2)))
        return SHARE_BEFORE_START * before + (1 - SHARE_BEFORE_START) * joined

    scale = np.exp(_bisect(lambda x: target - lost(np.exp(x)), np.log(50), np.log(50_000)))
    return LifetimeModel(shape, float(scale), effects, lapse_share)


def _draw_clicks(rng: np.random.Generator, hours: np.ndarray) -> ClickModel:
    """Effects per level, scaled to a Bayes AUC of .74–.775 and a click rate of 6.5–7.5 % over typical impressions."""
    main = {column: rng.normal(0, 0.5, len(levels)) for column, levels in CLICK_LEVELS.items()}
    main["position"] = -np.cumsum(rng.uniform(0, 0.6, len(CLICK_LEVELS["position"])))  # further down is seen less
    chosen = rng.choice(len(_INTERACTIONS), 3, replace=False)
    pairs = {(a, b): rng.normal(0, 0.3, (len(CLICK_LEVELS[a]), len(CLICK_LEVELS[b])))
             for a, b in (_INTERACTIONS[i] for i in chosen)}  # fmt: skip
    drawn = ("placement", "position", "creative_format")
    shares = {c: rng.dirichlet(np.full(len(CLICK_LEVELS[c]), 8.0)) for c in drawn}
    shares |= {"daypart": hours.reshape(4, 6).sum(axis=1), "is_weekend": np.array([5, 2])}
    shares |= {"device_type": DEVICE_SHARES, "membership_plan": SHARES_OF_PLANS}
    shares |= {"gender": [0.2, 0.44, 0.36], "age_band": [0.05, 0.3, 0.38, 0.18, 0.06, 0.03]}  # about the population's
    typical = {c: pick(rng.random(20_000), shares.get(c, np.ones(len(levels)))) for c, levels in CLICK_LEVELS.items()}
    is_known = rng.random(20_000) < KNOWN_AUDIENCE
    typical |= {c: np.where(is_known, typical[c], 0) for c in ("gender", "age_band", "membership_plan")}
    raw = _log_odds(main, pairs, typical)
    target_rate, target_auc = rng.uniform(0.065, 0.075), rng.uniform(0.74, 0.775)

    def intercept(scale: float) -> float:
        return _bisect(lambda x: np.mean(_sigmoid(x + scale * raw)) - target_rate, -12, 3)

    scale = _bisect(lambda s: expected_auc(_sigmoid(intercept(s) + s * raw)) - target_auc, 0.05, 5)
    return ClickModel(intercept(scale), {c: scale * e for c, e in main.items()},
                      {p: scale * e for p, e in pairs.items()}, shares)  # fmt: skip


def _log_odds(main: dict, pairs: dict, codes: dict[str, np.ndarray]) -> np.ndarray:
    total = sum(effect[codes[column]] for column, effect in main.items())
    return total + sum(effect[codes[a], codes[b]] for (a, b), effect in pairs.items())


def expected_auc(p: np.ndarray) -> float:
    """AUC that the true probabilities would reach on average over outcomes drawn from them."""
    p = np.sort(p)
    below = np.cumsum(1 - p) - (1 - p)
    return float(np.sum(p * below) / (p.sum() * (1 - p).sum()))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _around_one(rng: np.random.Generator, n: int, sd: float) -> np.ndarray:
    values = np.exp(rng.normal(0, sd, n))
    return values / values.mean()


def _bisect(f, low: float, high: float) -> float:
    """The root of an increasing function; 40 halvings are far below any effect a model could see."""
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if f(middle) < 0 else (low, middle)
    return (low + high) / 2
