# contraflow. Every target works from a fresh clone and needs only Python 3.11 or newer:
#
#   make train    train a network on handwritten digits
#   make test     all tests, and every example in the docstrings
#   make parity   compare with PyTorch (installs it)
#   make lint     format, lint, types, floors
#   make bench    measure the speed, beside the peers that are installed
#   make docs     build the documentation
#   make clean    remove everything that these have made
#
# make PYTHON=python3.12 ...    another Python, for a new .venv
# make test ARGS="-k softmax"   further arguments for what runs (train, test, parity, bench)

PYTHON ?= python3
ARGS   ?=

VENV := .venv
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory
.SILENT:
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help train test parity lint bench docs clean
unexport PYTHONPATH PYTHONHOME
# The tests start many processes: each would compile the whole package anew.
unexport PYTHONDONTWRITEBYTECODE

help:
	sed -n '3,12s/^# \{0,1\}//p' Makefile

train: $(VENV)/.run
	$(BIN)/contraflow train digits $(ARGS)

# One thread for BLAS in each worker: the workers already use all cores.
test parity: export OPENBLAS_NUM_THREADS = 1
test parity: export OMP_NUM_THREADS = 1
test parity: export MKL_NUM_THREADS = 1
# Thousands of small compiled steps: kept while the tests run, for many are alike.
with_cache = folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; CONTRAFLOW_CACHE="$$folder"

test: $(VENV)/.test
	$(with_cache) $(BIN)/pytest -n auto tests --ignore=tests/parity $(ARGS)

parity: $(VENV)/.parity
	$(with_cache) $(BIN)/pytest -n 2 tests/parity $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(call quietly,$(BIN)/lint-imports --no-logo)
	echo "The floors are kept."

bench: $(VENV)/.run
	$(BIN)/python -m bench $(ARGS)

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	echo "The documentation is in docs/_build/html/index.html"

clean:
	rm -rf $(VENV) build dist docs/_build docs/_generated .benchmarks
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------------------ the environment
# An empty file in .venv says that a step is done; it is done again when its lock file changes.

# $(call quietly,command): what it prints is shown only if it fails.
quietly = log=$$(mktemp); if $(1) >"$$log" 2>&1; then rm -f "$$log"; \
	else code=$$?; cat "$$log" >&2; rm -f "$$log"; exit $$code; fi

$(VENV)/.made:
	if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		found=$$($(PYTHON) --version 2>&1 | tail -n 1) || found="not there"; \
		echo "contraflow needs Python 3.11 or newer, but '$(PYTHON)' is $$found;" \
			"name another: make PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi
	echo "Making .venv with $$($(PYTHON) --version) ..."
	$(call quietly,$(PYTHON) -m venv --clear $(VENV))
	touch $@

$(VENV)/.run: requirements/run.txt pyproject.toml $(VENV)/.made
	echo "Installing contraflow ..."
	$(call quietly,$(PIP) -r requirements/run.txt)
	$(call quietly,$(PIP) --no-deps --no-build-isolation --editable .)
	touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.docs $(VENV)/.parity: \
$(VENV)/.%: requirements/%.txt $(VENV)/.run
	echo "Installing what $* needs ..."
	$(call quietly,$(PIP) -r requirements/$*.txt)
	touch $@
