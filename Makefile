# Each target is thin: the work is in `mdp` (see `mdp --help`). `make help` lists them.
SHELL := /bin/sh
PYTHON ?= $(shell for v in python3.12 python3.11 python3.13 python3; do command -v $$v >/dev/null 2>&1 && \
  $$v -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$v && break; done)
UV_VERSION := 0.13.9
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
BIN := .venv/bin
# Two processes, each with an engine of its own; a file's tests stay together, in the order in which they stand.
PYTEST := $(BIN)/python -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder
# A variable that forbids writing byte code would make every task 3 times slower to start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install run up down reset test test-slow test-fast test-services test-crash bench bench-ingest bench-company lock lint

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: .venv/.installed ## set up .venv from the lock (bootstraps uv with pip if it is absent)

.venv/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 was found: install one, or name it: make install PYTHON=/path/to/python3.12" >&2; exit 1; }
	@command -v uv >/dev/null 2>&1 || test -x .tools/bin/uv || { echo "fetching uv $(UV_VERSION)"; \
	  $(PYTHON) -m pip --version >/dev/null 2>&1 || { echo "error: $(PYTHON) has no pip: install pip (or uv), then run make install again" >&2; exit 1; }; \
	  $(PYTHON) -m pip install --quiet --target .tools --upgrade uv==$(UV_VERSION); }
	@echo "installing the locked packages into .venv (about 250, one or two minutes)"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m warehouse.jvm >/dev/null
	@touch $@

run: install ## live the next day (the first time: create, load, train) and print the summary
	@$(BIN)/mdp run

up: install ## start engine, Airflow, MLflow and dbt docs, leave them running, print their links
	@$(BIN)/mdp up

down: install ## stop all that was started
	@$(BIN)/mdp down

reset: install ## stop all and empty MDP_HOME
	@$(BIN)/mdp reset --yes

test: install ## run all tests but the slow ones
	@$(PYTEST) -m "not slow and not crash"

test-slow: install ## live several days: through the scheduler, and one pass against day by day
	@$(PYTEST) -m slow

test-fast: install ## run the tests that need no engine
	@$(PYTEST) -m "not engine and not stack and not slow and not crash"

test-services: install ## install MariaDB, PostgreSQL and Kafka, run the tests that need them
	@for name in mariadb postgres kafka; do $(BIN)/python -m tests.services.$$name install || exit 1; done
	@REQUIRE_SERVICES=1 $(PYTEST) -m "services and not crash"

test-crash: install ## kill large loads at 60 random points (an hour) and exports at more, compare with undisturbed ones
	@REQUIRE_SERVICES=1 $(BIN)/python -m pytest tests -m crash

bench: install ## measure the first run and the next day, print the figures
	@$(BIN)/python benchmarks/whole_run.py

bench-ingest: install ## compare loads of millions of rows with bare Spark, DuckDB and ConnectorX, print the ratios
	@$(UV) pip install --quiet --python $(BIN)/python connectorx==0.4.6 duckdb==2.0.0
	@$(BIN)/python -m benchmarks.ingest

bench-company: install ## measure a try of 70,000 purchases and the history of a shop with 500,000 order lines
	@$(BIN)/python -m benchmarks.company

lint: install ## check style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

lock: install ## resolve the dependencies of pyproject.toml anew
	$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --all-extras \
	  --custom-compile-command "make lock" pyproject.toml -o requirements.lock
