SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
DATA_ROOT ?= ../shared/data
ARGS ?=
FILE ?=
PRESET ?= full

BIN := .venv/bin
# Those with results and a table made of them.
TABLES = $(wildcard $(patsubst %results.jsonl,%table.py,$(wildcard experiments/*/results.jsonl)))
STUDIES = $(notdir $(patsubst %/table.py,%,$(shell grep -l __main__ $(TABLES))))
STAMP := .venv/.stamp
EXTRAS := .[dev,export,hub,zoo]
export DATA_ROOT
export OMP_NUM_THREADS ?= 1
# Every process imports torch and Lightning: without cached bytecode each compiles them anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test faults lint types docs-check sweep bench bench-zoo reproduce-paper reproduce-mini reproduce-filter-bank reproduce-vad reproduce-asvspoof tables clean

help: ## list every target
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# An existing .venv is completed, never replaced.
$(STAMP): pyproject.toml constraints.txt
	@echo "Installing into .venv (about 5 GB with torch's CUDA libraries)"
	@if command -v uv >/dev/null 2>&1; then \
	  set -ex; \
	  [ -x $(BIN)/python ] || uv venv --python $(PYTHON) .venv; \
	  uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '$(EXTRAS)'; \
	else \
	  set -ex; \
	  [ -x $(BIN)/pip ] || $(PYTHON) -m venv .venv; \
	  $(BIN)/pip install --quiet -c constraints.txt -e '$(EXTRAS)'; \
	fi
	@touch $@

setup: $(STAMP) ## make .venv with everything pinned (uv where present, else venv + pip)

demo: $(STAMP) ## learn the size of a mel filter bank in two minutes on two cores
	$(BIN)/python -m experiments.filter_bank.demo $(ARGS)

test: $(STAMP) ## run the tests (those on real audio need DATA_ROOT)
	$(BIN)/python -m pytest -q -n 2 $(ARGS)

faults: $(STAMP) ## kills, full disks, hostile artifacts and several processes at full size: about an hour
	FAULTS=full $(BIN)/python -m pytest -q tests/faults $(ARGS)

lint: $(STAMP) ## ruff: lint and format check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## mypy
	$(BIN)/mypy

docs-check: $(STAMP) ## the README's snippets, links and targets, and the docstrings' examples
	$(BIN)/python -m pytest -q tests/test_docs.py
	$(BIN)/python -m pytest -q --doctest-modules dyn_lightning

# Said before anything is installed.
ifeq ($(filter sweep,$(MAKECMDGOALS))$(FILE),sweep)
$(error make sweep: say which, such as FILE=configs/sweeps/vad_grid.yaml)
endif
sweep: $(STAMP) ## run a sweep file on this machine, or go on with it (FILE=configs/sweeps/vad_grid.yaml; ARGS='--jobs 2')
	$(BIN)/dyn-lightning sweep $(FILE) $(ARGS)

bench: $(STAMP) ## all benchmarks, each beside the plain network (ARGS=--quick only tries them)
	@for part in step complexity dynamize consolidated inference loader; do \
	  echo "== $$part"; \
	  $(BIN)/python -m experiments.benchmarks.$$part $(ARGS) || exit 1; \
	done

bench-zoo: $(STAMP) ## every backbone of the zoo at half width, beside Torch-Pruning where it is installed (extra peers)
	$(BIN)/python -m experiments.zoo.run $(ARGS)

reproduce-paper: $(STAMP) ## all three case studies at full size on the corpora under DATA_ROOT, and one report (ARGS=--dry_run tries it)
	$(BIN)/python -m experiments.reproduce --preset full --data_root $(DATA_ROOT) $(ARGS)

reproduce-mini: $(STAMP) ## the same, reduced: under two hours on two cores
	$(BIN)/python -m experiments.reproduce --preset mini --data_root $(DATA_ROOT) $(ARGS)

reproduce-filter-bank: $(STAMP) ## run the synthetic filter-bank study
	$(BIN)/python -m experiments.filter_bank.run $(ARGS)

reproduce-vad: $(STAMP) ## run the voice-activity study on the audio under DATA_ROOT
	$(BIN)/python -m experiments.vad.run --data_root $(DATA_ROOT) $(ARGS)

reproduce-asvspoof: $(STAMP) ## run the anti-spoofing study on the corpus under DATA_ROOT (PRESET=full, or mini for two cores)
	$(BIN)/python -m experiments.antispoofing.run --data_root $(DATA_ROOT) --preset $(PRESET) $(ARGS)

tables: $(STAMP) ## rebuild tables and figures of every study from the committed results
	@for study in $(STUDIES); do \
	  echo "== $$study"; \
	  $(BIN)/python -m experiments.$$study.table || exit 1; \
	done
	$(BIN)/python -m experiments.filter_bank.estimators --tables_only

clean: ## remove caches and builds (keeps .venv and runs/)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
