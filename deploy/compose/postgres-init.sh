#!/bin/sh
# Runs once, on an empty data volume: a role and a database for each of those who store something.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set clearwatch="$CLEARWATCH_DB_PASSWORD" --set mlflow="$MLFLOW_DB_PASSWORD" <<'SQL'
CREATE ROLE clearwatch LOGIN PASSWORD :'clearwatch';
CREATE DATABASE clearwatch OWNER clearwatch;
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';
CREATE DATABASE mlflow OWNER mlflow;
SQL
