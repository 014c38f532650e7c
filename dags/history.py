"""# history: a range of days in one pass

**What.** The same commands as `daily`, over `from … to` at once: ingestion, cleaning and features with their gates, so
that models have a past to learn from. It scores and exports nothing: predictions are never made for the past.

**When.** By hand only, first of all, or after a source was connected late: trigger it with
`{"from": "2024-03-01", "to": "2024-08-26"}`.

**When a task fails.** As in `daily`; the command in the log can be typed as it stands.
"""

from airflow.sdk import DAG, Param, chain
from common import DEFAULTS, stage_tasks

from warehouse import stages

with DAG(
    dag_id="history",
    doc_md=__doc__,
    schedule=None,
    max_active_runs=1,
    default_args=DEFAULTS,
    params={
        "from": Param(type="string", format="date", description="first business date"),
        "to": Param(type="string", format="date", description="last business date"),
    },
    tags=["marketing"],
) as dag:
    chain(*stage_tasks(stages.history(), "--from {{ params['from'] }} --ds {{ params['to'] }}"))
