# `make help` lists the targets. Override on the command line: PYTHON=python3.12, WORKERS=4.
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Recorded data for the tests and benchmarks that compare with measurements; they skip without it.
ifndef PHYSPOSE_DATA
ifneq ($(wildcard ../shared/data),)
PHYSPOSE_DATA := $(abspath ../shared/data)
endif
endif
ifdef PHYSPOSE_DATA
export PHYSPOSE_DATA
endif

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format docs bench clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## make .venv with the package (editable) and what tests and videos need

$(STAMP): pyproject.toml constraints.txt
	@echo "installing into $(VENV): some gigabytes and minutes the first time"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[video,dev]"
	touch $@

demo: install  ## fit the demo clip and say where the report is
	$(BIN)/physpose demo

test: install  ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

lint: install  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install  ## build the documentation into build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. $(BIN)/mkdocs build --quiet -f .ci/mkdocs.yml

bench: install  ## run every benchmark; results go to benchmarks/results
	set -e; for script in $$(grep -l '^if __name__' benchmarks/*.py | grep -v -e /fit_ -e /viewer.py -e /motion_bank.py -e /walking_pace.py -e /lifting.py -e /ship_lifter.py -e /hstpn_clips.py); do echo "== $$script"; $(BIN)/python $$script; done

clean:  ## remove the environment and everything that was built
	rm -rf $(VENV) build dist demo out .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
