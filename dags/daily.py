"""# daily: one business day, from sources to what marketing acts on

**What.** Takes in what the CRM and the logs hold of the day, cleans it, computes features, scores four models, builds
the marts and hands segments, churn risks and the budget plan back to the CRM. A gate stands after each hand-over:
`ingest` → `gate_raw` → `cleaned` → `gate_cleaned` → `features` → `gate_features` → `score` → `gate_predictions` → `marts` →
`export`, the stages of `warehouse/stages.py`.

**When.** `MDP_SCHEDULE` (cron, in the company's time zone); each run handles the day that has just ended. By hand: trigger it
with `{"ds": "2024-08-28"}`, or type any task's command in a terminal.

**When a task fails**
| task | what it means | what to do |
|---|---|---|
| `ingest.*` | a source does not answer, or its columns changed | the log names address or column; mend it, clear the task |
| `gate_*` | the data broke a rule; nothing after it ran | open the report named in the log; mend the source, clear `ingest` |
| `cleaned`, `features`, `marts` | SQL or the engine | the log ends with dbt's message; clear the task, it replaces whole days |
| `score.*` | no champion, or features are missing | `mdp model list`, then `mdp train <model> --ds …` |
| `score.*` skipped | no fault: too little to learn from so far; the day goes on without | the log says from when it can be |
| `export` | the CRM refused the write, or too many rows | nothing is half changed; `mdp export show --ds …`, clear the task |

Running a day again changes no table. Backfill of the days D … E (with MDP_SCHEDULE set): `airflow backfill create --dag-id
daily --from-date D --to-date <E + 1> --max-active-runs 1 --reprocess-behavior completed`; a range in one pass is the DAG
`history`.
"""

from airflow.sdk import DAG, Param, chain
from common import DEFAULTS, business_date, cron, schedule, stage_tasks

from warehouse import stages

with DAG(
    dag_id="daily",
    doc_md=__doc__,
    schedule=schedule(cron()),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULTS,
    params={"ds": Param(None, type=["null", "string"], format="date", description="business date; default: the run's")},
    user_defined_macros={"business_date": business_date},
    tags=["marketing"],
) as dag:
    chain(*stage_tasks(stages.STAGES.values(), "--ds {{ business_date(dag_run) }}"))
