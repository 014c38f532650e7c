"""# retrain: fit each model anew and promote it if it is better

**What.** Trains the four models on matured labels up to the business date, evaluates each beside its baseline and the
champion on the same rows, registers it in MLflow, and promotes it only if it wins.

**When.** Mondays at 04:00 in `MDP_TZ` where `MDP_SCHEDULE` is set; by hand with `{"ds": "2024-08-26"}`.

**When a task fails.** Scoring goes on with the champion. The log says which data is missing or which label is immature;
a model that was not promoted is no failure: `mdp model show <model>` says why.
"""

from airflow.sdk import DAG, Param, TaskGroup
from common import DEFAULTS, business_date, cron, schedule, step

MODELS = ("segmentation", "ctr", "churn", "budget")

with DAG(
    dag_id="retrain",
    doc_md=__doc__,
    schedule=schedule("0 4 * * 1" if cron() else None),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params={"ds": Param(None, type=["null", "string"], format="date", description="business date; default: the run's")},
    user_defined_macros={"business_date": business_date},
    tags=["marketing"],
) as dag:
    with TaskGroup("train"):
        for model in MODELS:
            step(model, f"train {model} --ds {{{{ business_date(dag_run) }}}}")
