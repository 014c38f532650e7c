#!/bin/sh
# The project's own launcher in the foreground, on a Hive metastore in Postgres. Its log goes to the container's.
set -eu
umask 077

# Spark reads this file at start; the command line would show the password in `ps`.
export SPARK_CONF_DIR=/tmp/spark-conf
mkdir -p "$SPARK_CONF_DIR"
cat > "$SPARK_CONF_DIR/spark-defaults.conf" <<CONF
spark.hadoop.javax.jdo.option.ConnectionDriverName org.postgresql.Driver
spark.hadoop.javax.jdo.option.ConnectionUserName   metastore
spark.hadoop.javax.jdo.option.ConnectionPassword   $METASTORE_DB_PASSWORD
CONF
unset METASTORE_DB_PASSWORD

# A file table must be readable by Airflow's containers, too.
umask 022
mkdir -p "$MDP_HOME/logs"
touch "$MDP_HOME/logs/engine.log" "$MDP_HOME/logs/supervisor.log"
python - <<'PYTHON'
from warehouse.runfile import changing_run
from warehouse.settings import settings

with changing_run(settings().home) as info:
    info["ports"].update(thrift=10000, connect=15002)
PYTHON
tail -n 0 -F "$MDP_HOME/logs/engine.log" "$MDP_HOME/logs/supervisor.log" &
exec python -m warehouse.supervise
