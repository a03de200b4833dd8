# Everything runs from .venv; the stamp makes installation happen once for each pyproject.toml.
PYTHON ?= python3
BIN := .venv/bin
export LITELLM_LOCAL_MODEL_COST_MAP := True
# images often forbid bytecode, and uv compiles none: without it a start of Clearwatch takes 5.4 s, not 2.6, and one of
# MLflow 13, not 5
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install run demo test chaos check docs bench bench-peers eval clean

install: .venv/.installed

.venv/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "clearwatch needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (a minute the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[dev]'
	@touch $@

run: install
	$(BIN)/clearwatch up

demo: install
	$(BIN)/clearwatch demo

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=12

# CLEARWATCH_CHAOS_SEEDS=1,2 chooses other seeds; one takes some five minutes
chaos: install
	$(BIN)/python -m tests.e2e.full_chaos
	$(BIN)/python -m pytest -s -m chaos
	CLEARWATCH_CHAOS_OUTAGE_S=120 $(BIN)/python -m pytest -s tests/e2e/test_cluster_outage.py

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# the pages that are written by the code
docs: install
	$(BIN)/python -m detector.checks.document docs/checks.md
	$(BIN)/python -m clearwatch.config_example > deploy/clearwatch.example.yaml
	$(BIN)/python -m tests.unit.dialect_table docs/dialects.md

bench: install
	$(BIN)/python -m tests.bench

bench-peers: install
	$(BIN)/python -m tests.bench.peers

eval: install
	$(BIN)/python -m tests.eval

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
