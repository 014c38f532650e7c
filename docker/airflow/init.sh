#!/bin/sh
# Once before Airflow's services: its database, the pool of writers, and the login of the one user.
set -eu
airflow db migrate
# As many writers as on a laptop; raise it with the engine's cores.
airflow pools set warehouse_writers 2 "writers of the warehouse: more only take turns"
mkdir -p /data/home/airflow
umask 077
python - <<'PYTHON'
import json
import os
from pathlib import Path

path = Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
path.write_text(json.dumps({"admin": os.environ["AIRFLOW_ADMIN_PASSWORD"]}))
PYTHON
