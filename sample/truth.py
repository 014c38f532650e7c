"""The truth of the sample company, and what a perfect model would reach on the same rows as ours.

It lies apart, under `sample/truth` of MDP_HOME; nothing but this module reads it, and the platform gives the same
tables without it. Only the summary and `mdp sample truth` ask.
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sample import clock
from sample.draws import generator
from sample.parameters import CHANNELS, SIZE, Parameters, draw_parameters
from sample.population import Population, World
from sample.shopping import Orders, baskets
from warehouse.errors import PlatformError
from warehouse.settings import settings

CHURN_HORIZON_DAYS = 90  # the longest horizon that the churn model scores


def bayes_auc(evaluation: pd.DataFrame) -> float:
    """AUC of the true click probabilities on the rows of a CTR evaluation (impression_id, label)."""
    from sklearn.metrics import roc_auc_score

    _require(evaluation, "impression_id", "label")
    wanted = pa.array(evaluation["impression_id"].astype(str).unique())
    found = pq.read_table(_path("impressions"), filters=[("impression_id", "in", wanted)]).to_pandas()
    rows = _join(evaluation, found, "impression_id")
    if rows["label"].nunique() < 2:
        raise PlatformError(
            "the CTR evaluation holds only one class: an AUC needs impressions with and without a click"
        )
    return float(roc_auc_score(rows["label"], rows["probability"]))


def oracle_cindex(evaluation: pd.DataFrame) -> float:
    """Concordance of the true conditional risk on the rows of a churn evaluation.

    Risk is the true probability that a member who has stayed `entry_days` ends within CHURN_HORIZON_DAYS:
    1 - S(entry + horizon) / S(entry) under the plan held at entry; that it may change meanwhile nobody can know.
    Needs customer_id, entry_days, duration_days (from entry) and is_churned.
    """
    from lifelines.utils import concordance_index

    _require(evaluation, "customer_id", "entry_days", "duration_days", "is_churned")
    held = pd.read_parquet(_path("hazards.parquet"))
    rows = _join(evaluation, held[held["from_days"] == 0].drop(columns="from_days"), "customer_id")
    later = evaluation.reset_index().merge(held, on="customer_id")
    later = later[later["from_days"] <= later["entry_days"]].sort_values("from_days").groupby("index").last()
    rows.loc[later.index, "log_hazard"] = later["log_hazard"]
    lifetime = _parameters()["lifetime"]
    entry = rows["entry_days"].to_numpy(float)
    power = [((entry + h) / lifetime["scale_days"]) ** lifetime["shape"] for h in (0, CHURN_HORIZON_DAYS)]
    risk = -np.expm1((power[0] - power[1]) * np.exp(rows["log_hazard"].to_numpy(float)))
    return float(concordance_index(rows["duration_days"], -risk, rows["is_churned"].astype(bool)))


def plan_over_optimum(plan: pd.DataFrame) -> dict:
    """True expected return of a budget plan and of the best plan under the same budget, floors and caps.

    `plan` has channel, spend, floor_spend, cap_spend and budget. Returns are yuan per average day (demand 1) and
    channel: expected orders times the mean order value. The curves are concave, so the optimum equalises marginal
    returns: spend(price) is explicit, and the price that uses up the budget is found by bisection.
    """
    _require(plan, "channel", "spend", "floor_spend", "cap_spend", "budget")
    unknown = set(plan["channel"]) - set(CHANNELS)
    if unknown:
        raise PlatformError(f"the plan has unknown channels {sorted(unknown)}: known are {', '.join(CHANNELS)}")
    curves = _parameters()["curves"]
    a, b = (np.array([curves[c][key] for c in plan["channel"]]) for key in ("saturation_cny", "scale_cny"))
    low, high, spend = (plan[c].to_numpy(float) for c in ("floor_spend", "cap_spend", "spend"))
    budget = float(plan["budget"].iloc[0])
    if low.sum() > budget:
        raise PlatformError(f"the floors need {low.sum():,.2f} yuan, the budget is {budget:,.2f}: no plan keeps both")

    def best_at(price: float) -> np.ndarray:  # marginal return a / b · exp(-spend / b) equals the price of money
        return np.clip(b * np.log(a / (b * price)), low, high)

    cheap, dear = 1e-12, float(np.max(a / b)) + 1.0
    for _ in range(200):
        price = np.sqrt(cheap * dear)
        cheap, dear = (price, dear) if best_at(price).sum() > budget else (cheap, price)
    optimum = best_at(dear)
    true_return, best = (float(np.sum(a * -np.expm1(-x / b))) for x in (spend, optimum))
    return {
        "true_return": true_return,
        "optimum_return": best,
        "ratio": true_return / best if best else 1.0,  # with no money to spend every plan is the best
        "optimal_plan": dict(zip(plan["channel"], np.round(optimum, 2).tolist(), strict=True)),
    }


def known_amounts() -> dict[str, dict[str, int]]:
    """What was planted up to the newest day: lines and faults per log feed, orders and bulk orders."""
    days = _path("planted").glob("*.json")
    total: dict[str, dict[str, int]] = {}
    for path in days:
        for feed, counts in json.loads(path.read_text()).items():
            into = total.setdefault(feed, {})
            for name, n in counts.items():
                into[name] = into.get(name, 0) + n
    return total


def write_day(world: World, day: int, seen, orders: Orders, planted: dict[str, dict[str, int]]) -> None:
    """Keep the true probabilities and the planted amounts of one day."""
    folder = settings().sample_dir / "truth"
    for name in ("impressions", "planted"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    ds = clock.ds_of(day)
    ids = pa.array(seen.impression_id.tolist(), pa.string())
    table = pa.table({"impression_id": ids, "probability": seen.probability}).sort_by("impression_id")
    pq.write_table(table, folder / "impressions" / f"{ds}.parquet")
    bulk = {"crm__orders": {"orders": len(orders.amount), "amount_outlier": int(orders.is_bulk.sum())}}
    (folder / "planted" / f"{ds}.json").write_text(json.dumps(planted | bulk))


def write_company(world: World, people: Population) -> None:
    """Keep the parameters, each customer's latent type, and the true log hazard from each change of plan on."""
    folder = settings().sample_dir / "truth"
    folder.mkdir(parents=True, exist_ok=True)
    truth = draw_parameters(world.seed)
    customers = pa.table({"customer_id": people.customer_id.tolist(), "type": people.type})
    pq.write_table(customers.sort_by("customer_id"), folder / "customers.parquet")
    who, nth = np.nonzero(people.plan_from < clock.NEVER)
    hazards = pa.table({
        "customer_id": people.customer_id[who].tolist(),
        "from_days": (people.plan_from[who, nth] - people.registered[who]) / clock.DAY,
        "log_hazard": people.log_hazard[who, nth],
    })  # fmt: skip
    pq.write_table(
        hazards.sort_by([("customer_id", "ascending"), ("from_days", "ascending")]), folder / "hazards.parquet"
    )
    text = json.dumps(_plain(asdict(truth)) | {"curves": _curves(world, truth, people)}, indent=1)
    (folder / "parameters.json").write_text(text)


def clear() -> None:
    """Forget the truth of a company whose creation was cut short."""
    shutil.rmtree(settings().sample_dir / "truth", ignore_errors=True)


def _curves(world: World, truth: Parameters, people: Population) -> dict[str, dict[str, float]]:
    """Per channel the return in yuan at saturation and the curve's scale, for this company's size.

    The mean order value has no closed form (prices are those of real products): 40,000 baskets by channel give it to
    about .5 %.
    """
    n, scale = 40_000, world.customers / SIZE
    rng = generator(world.seed, "mean_order_value")
    weight = np.bincount(people.type, people.order_rate, len(truth.types.shares))
    curves = {}
    for code, name in enumerate(CHANNELS):
        kind = rng.choice(len(weight), n, p=weight / weight.sum())
        items = baskets(world.seed, truth, rng, kind, np.full(n, code))
        value = float(np.sum(items.quantity * items.unit_price)) / 100 / n
        curves[name] = {
            "saturation_cny": float(truth.channels.saturation_orders[code] * scale * value),
            "scale_cny": float(truth.channels.scale_cny[code] * scale),
            "mean_order_value_cny": value,
        }
    return curves


def _plain(value):
    """JSON of nested parameters: arrays become lists, pairs of columns become "a x b"."""
    if isinstance(value, dict):
        return {" x ".join(k) if isinstance(k, tuple) else k: _plain(v) for k, v in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _path(name: str) -> Path:
    path = settings().sample_dir / "truth" / name
    if not path.exists():
        raise PlatformError(
            f"the sample company's truth is not there ({path}): models are measured against it only while it is kept; "
            "`mdp sample create` in an empty MDP_HOME writes it"
        )
    return path


def _parameters() -> dict:
    return json.loads(_path("parameters.json").read_text())


def _require(frame: pd.DataFrame, *columns: str) -> None:
    missing = [c for c in columns if c not in frame.columns]
    if missing or frame.empty:
        what = f"lacks {', '.join(missing)}" if missing else "has no rows"
        raise PlatformError(f"the table to compare with the truth {what}: it needs {', '.join(columns)}")


def _join(rows: pd.DataFrame, known: pd.DataFrame, key: str) -> pd.DataFrame:
    joined = rows.merge(known, on=key, how="left")
    n = int(joined[known.columns[-1]].isna().sum())
    if n:
        raise PlatformError(
            f"{n} of {len(rows)} rows have a {key} that the truth does not know: the evaluation is of another company, "
            "or part of the truth was deleted; train again, or create the company anew"
        )
    return joined
