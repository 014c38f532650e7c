"""The business day of a run is the same however the run was started.

Each kind of run gets the logical date that Airflow itself gives it: cron and backfill from the DAG's own timetable, a run
by hand (REST, `airflow dags test`) the bare date that a person types. Run in a process of its own, because Airflow
reads its settings once.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.companies import declare
from tests.conftest import PROJECT

PROBE = """
import json, sys
sys.path[:0] = ["dags", "."]
from types import SimpleNamespace
import pendulum
import common, daily, retrain
from airflow.serialization.serialized_objects import DagSerialization

dag = DagSerialization.from_dict(DagSerialization.to_dict(daily.dag))  # what the scheduler and `backfill` work with
def run(kind, moment, conf=None, end=None):
    return common.business_date(SimpleNamespace(run_type=kind, logical_date=moment, conf=conf, data_interval_end=end))
day, next_day = (pendulum.parse(text, tz=common.TZ) for text in ("2024-08-28", "2024-08-29"))
backfill = list(dag.iter_dagrun_infos_between(day, next_day))
assert len(backfill) == 1, backfill
after_midnight = next_day.add(hours=1, minutes=30)  # when cron starts the run of the day before
assert backfill[0].run_after == after_midnight, backfill
weekly = DagSerialization.from_dict(DagSerialization.to_dict(retrain.dag))
week = list(weekly.iter_dagrun_infos_between(day.subtract(days=14), next_day))[-1].data_interval
trained = run("scheduled", week.start, end=week.end)
assert trained == str(week.end.in_tz(common.TZ).subtract(days=1).date()), (trained, week)
typed = pendulum.parse("2024-08-28T00:00:00Z")
print("RESULT" + json.dumps({
    "cron": run("scheduled", backfill[0].logical_date, end=backfill[0].data_interval.end),
    "backfill": run("backfill", backfill[0].logical_date, end=backfill[0].data_interval.end),
    "rest": run("manual", typed),
    "dags test": run("manual", typed),
    "conf": run("manual", pendulum.parse("2025-01-01T13:14:15Z"), {"ds": "2024-08-28"}),
}))
try:
    run("manual", None)
except ValueError as error:
    print("REFUSED" + str(error))
"""


@pytest.fixture(scope="module", params=["Asia/Shanghai", "America/New_York", "UTC"])
def said(request, tmp_path_factory):
    company = declare(tmp_path_factory.mktemp("company"), timezone=request.param)
    env = os.environ | {"AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")), "MDP_COMPANY": company,
                        "MDP_SCHEDULE": "30 1 * * *", "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", PROBE], cwd=PROJECT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_way_of_starting_gives_the_same_day(said):
    days = json.loads(said.split("RESULT")[1].splitlines()[0])
    assert days == dict.fromkeys(["cron", "backfill", "rest", "dags test", "conf"], "2024-08-28")


def test_a_run_without_a_date_is_refused(said):
    assert "has no business date" in said.split("REFUSED")[1]
