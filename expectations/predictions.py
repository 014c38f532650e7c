"""The predictions gate: is what marketing will act on complete, possible and not degenerate?

It looks at the scored day alone; predictions are never restated. A model that is off has nothing to be judged, and on a day
without an impression or a member there is nothing to score: whether there should have been is the features gate's to say.
"""

from expectations.rules import (
    Rule,
    Suite,
    at_least,
    at_most,
    filled,
    mean,
    one_of,
    share,
    total,
    volume,
)  # fmt: skip
from expectations.scope import Scope
from warehouse import parts, tables
from warehouse.company import company

SEGMENTS = ("champions", "loyal", "promising", "at_risk", "dormant")
CENT = 0.01  # money is rounded to cents row by row: bounds on sums leave that much per row


def suites(scope: Scope) -> list[Suite]:
    """One suite per model."""
    return [_segmentation(scope), _ctr(scope), _churn(scope), _budget(scope)]


def _scored(features: str, predictions: str, key: str, columns: str, ds: str, where: str = "true") -> str:
    """The rows that should be scored, each with its prediction, or nulls where it is missing; and no others' predictions."""
    picked = ", ".join(f"p.{name.strip()}" for name in columns.split(","))
    return (
        f"select coalesce(f.{key}, p.{key}) as {key}, f.{key} is not null as is_to_be_scored, {picked} "
        f"from (select {key} from {features} where ds = '{ds}' and {where} and {_may_be_profiled(ds)}) f "
        f"full join (select * from {predictions} where ds = '{ds}') p on f.{key} = p.{key}"
    )


def _may_be_profiled(ds: str) -> str:
    """SQL condition on rows about a customer, or about nobody known."""
    if not company().profiling_by_consent:
        return "true"
    consenting = f"select customer_id from {tables.CLEANED_CUSTOMERS} where ds = '{ds}' and has_profiling_consent"
    return f"(customer_id is null or customer_id in ({consenting}))"


def _complete(column: str, what: str) -> tuple[Rule, Rule]:
    return (
        filled(column, 0.0, f"every {what} has a prediction"),
        filled("model_version", 0.0, "each prediction names the version of its model"),
        share("not_to_be_scored", "model_version", "not is_to_be_scored", 0.0,
              f"nobody but a {what} whom the model may profile has a prediction"),
    )  # fmt: skip


def _probability(column: str) -> tuple[Rule, Rule]:
    return (
        at_least(column, 0, f"{column} is a probability"),
        at_most(column, 1, f"{column} is a probability"),
    )


def _segmentation(scope: Scope) -> Suite:
    frame = _scored(
        tables.FEATURES_CUSTOMER_DAY, tables.PREDICTIONS_SEGMENTATION, "customer_id",
        "segment, strategy, distance, model_version", scope.ds,
    )  # fmt: skip
    rules = (
        volume(1, None, "customers have segments"),
        *_complete("segment", "customer"),
        one_of("segment", SEGMENTS),
        filled("strategy", 0.0, "each segment comes with a strategy"),
        at_least("distance", 0, "distances are not negative"),
        Rule("largest_segment", "segment", "no segment swallows all the others", "ExpectColumnMaxToBeBetween",
             {"column": "segment_share", "max_value": 0.95},
             derived="count(1) over (partition by segment) / count(1) over ()"),
    )  # fmt: skip
    return Suite(tables.PREDICTIONS_SEGMENTATION, frame, ("customer_id",), rules)


def _ctr(scope: Scope) -> Suite:
    frame = _scored(
        tables.FEATURES_IMPRESSION, tables.PREDICTIONS_CTR, "impression_id", "click_probability, model_version",
        scope.ds,
    )  # fmt: skip
    rules = (
        *_complete("click_probability", "impression"),
        *_probability("click_probability"),
        mean("click_probability", 0.001, 0.5, "the mean click probability is that of advertising"),
    )
    return Suite(tables.PREDICTIONS_CTR, frame, ("impression_id",), rules, optional=True)


def _churn(scope: Scope) -> Suite:
    has_no_contracts = tables.LABELS_CUSTOMER_LIFETIME in parts.off()  # then it is a model of purchases that scores
    columns = "survival_30d, survival_60d, survival_90d, churn_risk_30d, drivers, best_contact_date, model_version"
    frame = _scored(
        tables.FEATURES_CUSTOMER_DAY, tables.PREDICTIONS_CHURN, "customer_id", columns, scope.ds,
        where="n_order_days_total > 0" if has_no_contracts else "is_member",
    )  # fmt: skip
    rules = (
        *_complete("churn_risk_30d", "customer" if has_no_contracts else "member"),
        *_probability("survival_30d"),
        *_probability("survival_90d"),
        *_probability("churn_risk_30d"),
        share("rising_survival", "survival_90d", "survival_30d < survival_60d or survival_60d < survival_90d", 0.0,
              "survival falls from 30 to 60 to 90 days"),
        share("contact_in_past", "best_contact_date", f"best_contact_date < '{scope.ds}'", 0.0,
              "the best day to make contact is still to come"),
        # of customers who give no notice most may have gone, long ago
        mean("churn_risk_30d", 0.0001, 0.9999 if has_no_contracts else 0.9, "the mean risk is neither nothing nor everything"),
    )  # fmt: skip
    return Suite(tables.PREDICTIONS_CHURN, frame, ("customer_id",), rules, optional=True)


def _budget(scope: Scope) -> Suite:
    frame = f"select * from {tables.PREDICTIONS_BUDGET} where ds = '{scope.ds}'"
    paid = company().paid_channels
    rules = (
        volume(1, len(paid) or None, "the plan has the channels"),
        *((one_of("channel", paid),) if paid else ()),
        filled("model_version", 0.0, "each prediction names the version of its model"),
        at_least("spend", 0, "planned spend is not negative"),
        at_least("expected_return", 0, "expected returns are not negative"),
        share("below_floor", "spend", f"spend < floor_spend - {CENT}", 0.0,
              "each channel gets at least its floor"),
        share("above_cap", "spend", f"spend > cap_spend + {CENT}", 0.0, "no channel gets more than its cap"),
        total("overspent", "spend", max(len(paid), 1) * CENT, "the plan stays within the budget",
              of="cast(spend as double) - cast(budget as double) / count(1) over ()"),
        at_least("shadow_price", 0, "more budget never costs return"),
    )  # fmt: skip
    return Suite(tables.PREDICTIONS_BUDGET, frame, ("channel",), rules)
