# SPDX-License-Identifier: Apache-2.0
# Two commands for a stranger: `make demo` and `make test`. Everything else is for daily work.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MEMBERS := kit orchestrate $(wildcard taps/*) $(wildcard targets/*)
PACKAGES := kit/ipai_kit orchestrate/ipai_orchestrate $(wildcard taps/*/tap_*) $(wildcard targets/*/target_*)
MANIFESTS := $(addsuffix /pyproject.toml,$(MEMBERS))
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DBT_SEND_ANONYMOUS_USAGE_STATS := false
# Test processes at a time; each starts the servers it needs.
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast lint format types coverage alone bench docs lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## Install everything into .venv (other commands do it when needed)

$(VENV)/.ready: requirements.lock $(MANIFESTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python is older than 3.11: $$($(PYTHON) --version). Install 3.11 or run make PYTHON=/path/to/python3.11"; exit 78; }
	@echo "Installing into $(VENV): a minute or a few the first time, seconds later on."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --upgrade-deps $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(addprefix -e ./,$(MEMBERS))
	@touch $@

demo: setup ## GitHub stand-in -> Bronze -> Silver -> Gold on an embedded Postgres, twice
	@$(BIN)/ipai demo $(DEMO)

test: setup ## Run all tests: make test [WORKERS=4] [PYTEST='-k orders']
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST)
	$(BIN)/coverage combine --quiet

test-fast: setup ## Run the tests that take less than ten seconds each
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow"

lint: setup ## ruff, black, isort and flake8, as CI runs them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/black --check --quiet .
	$(BIN)/isort --check --quiet .
	$(BIN)/flake8 --max-line-length 100 --extend-ignore E203,W503 $(MEMBERS) tests benchmarks

format: setup ## Shape the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

types: setup ## mypy --strict on every package
	$(BIN)/mypy $(PACKAGES)

coverage: setup ## Judge what the last `make test` covered: every package needs 80 % of its branches
	$(BIN)/python tests/coverage_gate.py $(PACKAGES)

alone: setup ## Test one package with only what it declares: make alone PACKAGE=taps/tap-github
	$(BIN)/python tests/alone.py $(PACKAGE)

bench: setup ## Measure loading beside the peers into docs/reference: make bench [BENCH=--quick]
	$(BIN)/python benchmarks/bench.py $(BENCH)

docs: setup ## Test the commands and links of README and docs
	$(BIN)/python -m pytest -q tests/test_docs.py

lock: setup ## Resolve all members anew and write requirements.lock
	$(BIN)/uv lock --upgrade
	$(BIN)/uv export --quiet --all-packages --all-extras --all-groups --no-emit-workspace --no-header \
	  --format requirements-txt --output-file requirements.lock

clean: ## Remove the environment and what tools left behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .meltano transform/target transform/logs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
