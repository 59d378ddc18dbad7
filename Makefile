# Everything a person or CI types. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
CACHE ?= $(or $(OOMSAYER_CACHE),$(HOME)/.cache/oomsayer)
UV_VERSION := 0.13.9
export UV := $(or $(shell command -v uv 2>/dev/null),$(CACHE)/uv-$(UV_VERSION)/bin/uv)
VENV := .venv/bin
CLUSTER ?=

export OOMSAYER_CACHE := $(CACHE)

.PHONY: help
help: ## This list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- a node, without a cluster ----------------------------------------------------------------------

.PHONY: run
run: python ## Who the OOM killer would take on this machine, now
	@PYTHONPATH=operator $(PYTHON) -m oomsayer node

.PHONY: pyz
pyz: python ## One file for any host with Python >= 3.11: oomsayer.pyz
	@$(PYTHON) -m lab.pyz oomsayer.pyz

.PHONY: python
python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "oomsayer needs Python 3.11 or newer: '$(PYTHON)' is not (make PYTHON=python3.12 ...)" >&2; exit 2; }

# --- a cluster --------------------------------------------------------------------------------------

.PHONY: demo
demo: setup ## A real cluster, forecasts, an OOM, side by side (CLUSTER=existing|kind|native)
	@$(VENV)/python -m lab $(if $(CLUSTER),--provider $(CLUSTER)) demo

.PHONY: demo-down
demo-down: setup ## Take away what `make demo` made
	@$(VENV)/python -m lab $(if $(CLUSTER),--provider $(CLUSTER)) demo-down

# --- tests ------------------------------------------------------------------------------------------

.PHONY: setup
setup: .venv/.ready

.venv/.ready: pyproject.toml uv.lock | $(UV)
	@"$(UV)" sync --quiet --frozen --all-extras
	@touch $@

$(CACHE)/uv-$(UV_VERSION)/bin/uv: | python
	@$(PYTHON) -m venv $(CACHE)/uv-$(UV_VERSION) || \
	  { echo "cannot make a virtual environment: apt-get install python3-venv, or install uv" >&2; exit 1; }
	@$(CACHE)/uv-$(UV_VERSION)/bin/pip install --quiet uv==$(UV_VERSION)

.PHONY: test
test: lint ## Unit, live-host, chart and real-API-server tests (minutes)
	@$(VENV)/python -m lab apiserver prepare
	@$(VENV)/python -m pytest tests/unit tests/live tests/chart tests/api

.PHONY: test-unit
test-unit: setup ## The daily loop (seconds)
	@$(VENV)/python -m pytest tests/unit

.PHONY: test-lab
test-lab: setup ## Real nodes, real kubelets, kind, real kernels (needs root and apt; caches in ~/.cache/oomsayer)
	@$(VENV)/python -m lab --provider native prepare
	@$(VENV)/python -m pytest tests/cluster $(LONG:%=--ignore=%)
	@$(MAKE) --no-print-directory test-kind test-kernel

# Stories of evictions, of advice that is taken, of a Prometheus in the cluster: twenty minutes more.
LONG := tests/cluster/test_evict.py tests/cluster/test_history.py

.PHONY: test-long
test-long: setup ## The longer stories on real nodes, which test-lab leaves out to stay within CI's time
	@$(VENV)/python -m lab --provider native prepare
	@$(VENV)/python -m pytest $(LONG)

.PHONY: test-kind
test-kind: setup ## Stories on kind's nested nodes alone
	@$(VENV)/python -m lab --provider kind prepare
	@$(VENV)/python -m pytest tests/kind

.PHONY: test-kernel
test-kernel: setup ## Real kernels alone (KERNELS="6.12" SCENARIOS=3 SEED=7 for a short form)
	@OOMSAYER_KERNELS="$(KERNELS)" OOMSAYER_SCENARIOS="$(SCENARIOS)" OOMSAYER_SEED="$(SEED)" \
	  $(VENV)/python -m pytest tests/kernel

.PHONY: bench
bench: setup ## Speed as ratios, measured side by side (status 1 where a target is missed)
	@missed=0; for script in bench/*.py; do echo "# $$script"; $(VENV)/python $$script || missed=1; done; exit $$missed

.PHONY: lint
lint: setup ## Style, types, layers, generated files
	@$(VENV)/ruff check --quiet .
	@$(VENV)/ruff format --quiet --check .
	@$(VENV)/mypy --no-error-summary
	@$(VENV)/mypy --no-error-summary lab tests bench/*.py bench/series/*.py
	@PYTHONPATH=operator $(VENV)/python -m oomsayer.api.crd --check crds charts/oomsayer/templates/crds
	@PATH="$(PWD)/$(VENV):$$PATH" PYTHONPATH=operator $(VENV)/lint-imports --no-cache >/dev/null || \
	  PATH="$(PWD)/$(VENV):$$PATH" PYTHONPATH=operator $(VENV)/lint-imports --no-cache

.PHONY: format
format: setup ## Format what lint checks
	@$(VENV)/ruff format .
	@$(VENV)/ruff check --fix --quiet .

.PHONY: generate
generate: setup ## Generate the CRDs from the models, and the chart's table of values
	@PYTHONPATH=operator $(VENV)/python -m oomsayer.api.crd crds charts/oomsayer/templates/crds
	@$(VENV)/python tests/chart/values_table.py

.PHONY: image
image: setup ## The container image, without a registry: a docker-archive
	@$(VENV)/python -m lab image

.PHONY: clean
clean: ## Remove what make made in this folder (the cache stays)
	rm -rf .venv oomsayer.pyz dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
