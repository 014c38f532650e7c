"""# retrain: fit each model anew and promote it if it is better

**What.** Trains the four models on matured labels up to the business date, evaluates each beside its baseline and the
champion on the same rows, registers it in MLflow, and promotes it only if it wins. A model with too little to learn from
so far is skipped; its log says from which day it can be trained.

**When.** Mondays at 04:00 in the company's time zone where `MDP_SCHEDULE` is set, for the Sunday that has ended; by hand with
`{"ds": "2024-08-26"}`. It waits until the gate of that day's features has passed, whatever hour `daily` runs at, for up to
three days, and holds no slot meanwhile.

**When a task fails.** Scoring goes on with the champion. The log says which data is missing or which label is immature;
a model that was not promoted is no failure: `mdp model show <model>` says why. `wait_for_gate_features` fails if the day
was not finished within three days: finish it (`mdp run`), clear the task.
"""

from airflow.sdk import DAG, Param, TaskGroup
from common import DEFAULTS, business_date, cron, schedule, step, wait_for

from warehouse import stages

DAY = "--ds {{ business_date(dag_run) }}"

with DAG(
    dag_id="retrain",
    doc_md=__doc__,
    schedule=schedule("0 4 * * 1" if cron() else None),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params={
        "ds": Param(None, type=["null", "string"], format="date", description="business date; default: the run's"),
        "missing": Param(False, type="boolean", description="only the models that have no champion yet"),
    },
    user_defined_macros={"business_date": business_date},
    tags=["marketing"],
) as dag:
    with TaskGroup("train") as train:
        for model in stages.models():
            step(model, f"train {model} {DAY}{{{{ ' --missing' if params.missing else '' }}}}")
    wait_for(stages.LAST_OF_HISTORY, DAY) >> train
