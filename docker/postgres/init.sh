#!/bin/sh
# Four databases, each with an owner of its own, so that no service can read another's. Runs once, on an empty volume.
set -eu

create() { # name password
  psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres --set name="$1" --set password="$2" <<'SQL'
create role :"name" login password :'password';
create database :"name" owner :"name";
revoke connect on database :"name" from public;
SQL
}

create airflow "$AIRFLOW_DB_PASSWORD"
create mlflow "$MLFLOW_DB_PASSWORD"
create state "$STATE_DB_PASSWORD"
create metastore "$METASTORE_DB_PASSWORD"
