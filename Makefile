# Each target builds its environment first, from pyproject.toml.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# More processes than cores: many tests wait for something.
JOBS ?= 4
PARALLEL := -n $(JOBS) --dist worksteal

# The tests start hundreds of worker processes: each starts faster from compiled files.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo quick quick-tests test check format lint clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.demo  ## tune LightGBM on real data with four workers, about a minute
	$(BIN)/python -m experiments.demo

quick: lint quick-tests  ## run before each commit: lint, format, types, architecture, quick tests

quick-tests: $(VENV)/.test  ## run the tests that start no server and no process
	$(BIN)/python -m pytest -n 2 --dist worksteal -m quick -q tests/core tests/opt tests/test_*.py

test: $(VENV)/.test  ## run all tests; PYTEST_ARGS="tests/core -k claim" runs some of them
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

check: lint test  ## run everything that must pass before a merge: lint, format, types, all tests

format: $(VENV)/.test  ## format the code, and sort imports
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

lint: $(VENV)/.test  ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "rush needs Python >= 3.11, found " + sys.version.split()[0] + "; run make with PYTHON=/path/to/newer/python")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[lightgbm]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test]' $(PIP_ARGS)
	@touch $@

clean:  ## remove the environment and all caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
