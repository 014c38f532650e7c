"""Data with known truth planted in it, for the tests of the models."""

import numpy as np
import pandas as pd

from ml.models import get_model


def plant_impressions(n: int, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """(features, labels, true probabilities): main effects and one interaction, placement x creative_format."""
    rng = np.random.default_rng(seed)
    columns = get_model("ctr").features.columns
    codes = {c: rng.integers(0, 4, n) for c in columns}
    linear = -3 + sum(rng.normal(0, 0.3, 4)[code] for code in codes.values())
    linear += rng.normal(0, 1, (4, 4))[codes["placement"], codes["creative_format"]]
    p = 1 / (1 + np.exp(-linear))
    frame = pd.DataFrame({c: np.char.add(f"{c}_", code.astype(str)) for c, code in codes.items()})
    frame["position"] = codes["position"]
    frame["impression_id"] = [f"i{k:06d}" for k in range(n)]
    frame["ds"] = np.sort(np.char.add("2024-06-", np.char.zfill(rng.integers(1, 31, n).astype(str), 2)))
    return frame, pd.DataFrame({"is_clicked": rng.random(n) < p}), p


def plant_lifetimes(n: int, seed: int = 2, log_hazard: float = 0.8, shape: float = 1.3) -> pd.DataFrame:
    """Customers of three years seen in the last 120 days only: Weibull lifetimes, gold at a hazard ratio to basic.

    One row each with columns of features.customer_day, log_hazard and labels in days; who left unseen is not there.
    """
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "customer_id": [f"c{k:05d}" for k in range(n)],
        "membership_plan": rng.choice(["basic", "gold"], n),
        "gender": rng.choice(["female", "male", "unknown"], n),
        "acquisition_channel": rng.choice(["search", "social", "organic"], n),
        "age_years": rng.integers(18, 70, n).astype(float),
        "ds": "2024-06-28",
    })  # fmt: skip
    frame["log_hazard"] = np.where(frame["membership_plan"] == "gold", log_hazard, 0.0)
    life = 500 * (-np.log(rng.random(n)) / np.exp(frame["log_hazard"])) ** (1 / shape)
    frame["tenure_days"] = rng.integers(1, 1095, n)
    frame["entry_days"] = np.maximum(frame["tenure_days"] - 120, 0)
    frame["is_churned"] = life <= frame["tenure_days"]
    frame["duration_days"] = np.minimum(life, frame["tenure_days"])
    return frame[life > frame["entry_days"]].reset_index(drop=True)


def plant_groups(n_each: int = 200, seed: int = 3) -> tuple[pd.DataFrame, np.ndarray]:
    """(customer_day rows, group): five groups apart in recency, frequency and value; the last one never bought."""
    rng = np.random.default_rng(seed)
    recency, orders, value = [2, 6, 20, 70, 150], [20, 8, 3, 1, 0], [400, 120, 60, 150, 0]
    group = np.repeat(np.arange(5), np.array([1, 2, 4, 2, 1]) * n_each // 2)
    n = len(group)
    n_orders = np.round(np.array(orders)[group] * np.exp(rng.normal(0, 0.1, n)))
    revenue = n_orders * np.array(value)[group] * np.exp(rng.normal(0, 0.1, n))
    frame = pd.DataFrame({
        "customer_id": [f"c{k:05d}" for k in range(n)],
        "ds": "2024-06-28",
        "recency_days": np.array(recency)[group] * np.exp(rng.normal(0, 0.15, n)),
        "tenure_days": 200 * np.exp(rng.normal(0, 0.1, n)),
        "n_orders_90d": n_orders,
        "revenue_90d": revenue,
        "revenue_total": revenue * 2 + np.array([0, 0, 0, 50, 0])[group],
    })  # fmt: skip
    frame.loc[group == 4, "recency_days"] = np.nan
    return frame, group


TRUE_CURVES = {"search": (20.0, 800.0), "social": (12.0, 1500.0), "display": (8.0, 400.0)}


def plant_channels(n_days: int = 150, seed: int = 4, spread: float = 0.6) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(features, labels) of channel days with Poisson orders of 150 CNY by TRUE_CURVES; spend varies by `spread`."""
    rng = np.random.default_rng(seed)
    days = pd.date_range("2024-03-01", periods=n_days).strftime("%Y-%m-%d")
    parts = []
    for channel, (a, b) in TRUE_CURVES.items():
        spend = 900 * np.exp(rng.normal(0, spread, n_days))
        demand = np.exp(rng.normal(0, 0.1, n_days))
        orders = rng.poisson(demand * a * (1 - np.exp(-spend / b)))
        parts.append(pd.DataFrame({"ds": days, "channel": channel, "spend": spend, "demand_index": demand,
                                   "n_orders": orders, "return_amount": 150.0 * orders}))  # fmt: skip
    rows = pd.concat(parts, ignore_index=True).sort_values(["ds", "channel"], ignore_index=True)
    return rows[["ds", "channel", "spend", "demand_index"]], rows[["n_orders", "return_amount"]]


def plant_purchases(n: int, r: float, alpha: float, a: float, b: float, days: float = 0, seed: int = 5) -> pd.DataFrame:
    """Customers who live as BG/NBD says, of ages 100 to 700 days: x, t_x, T, and what nobody sees.

    gone_at: when the customer stopped (infinity: later than `days` after T); n_later: purchases in the `days` after T.
    Each purchase is drawn one after another; nothing of the model's formulas is used.
    """
    rng = np.random.default_rng(seed)
    rate, p, T = rng.gamma(r, 1 / alpha, n), rng.beta(a, b, n), rng.uniform(100, 700, n)
    at, x, t_x, n_later, gone_at = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n), np.full(n, np.inf)
    active = np.arange(n)
    while len(active):
        at[active] += rng.exponential(1 / np.maximum(rate[active], 1e-300))
        active = active[at[active] <= T[active] + days]
        seen = active[at[active] <= T[active]]
        x[seen] += 1
        t_x[seen] = at[seen]
        n_later[active] += at[active] > T[active]
        stops = rng.random(len(active)) < p[active]
        gone_at[active[stops]] = at[active[stops]]
        active = active[~stops]
    return pd.DataFrame({"x": x, "t_x": t_x, "T": T, "gone_at": gone_at, "n_later": n_later})
