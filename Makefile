# What the README and .ci/run call. Everything is set up on the way: `make run` on a fresh machine is enough.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# 3.12 and 3.11 first: for them there is a wheel with a Redis in it.
PYTHON ?= $(firstword $(foreach p,python3.12 python3.11 python3.13 python3.14 python3,$(shell \
	command -v $(p) >/dev/null 2>&1 && $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
VENV := .venv
BIN := $(VENV)/bin
# One stamp per content of pyproject.toml: what is installed already is not installed again.
CONTENT := $(shell cksum < pyproject.toml | tr -d ' ')
ARGS ?=
WORKFLOW := .github/workflows/ci.yaml
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

.PHONY: help
help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 16

.PHONY: run
run: $(VENV)/dev-$(CONTENT)  ## a Role on ws://localhost:8080/role/Storyteller: no key, no cluster
	@exec $(BIN)/rolehost dev examples/storyteller $(ARGS)

.PHONY: test
test: $(VENV)/test-$(CONTENT)  ## everything: unit, contract, integration, and e2e on a real cluster
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash tests/run.sh $(ARGS)

.PHONY: check
check: $(VENV)/test-$(CONTENT)  ## style, types, walls, doctests, rendered files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases tests
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -p no:cacheprovider --doctest-modules -o doctest_optionflags=NUMBER runtime operator dashboards --ignore=runtime/rolehost/testing.py
	$(BIN)/python -m rolehost_api.crd.render --check
	$(BIN)/python -m rolehost_api.render_wire --check
	$(BIN)/python -m rolehost.cli.schema --check
	$(BIN)/python -m rolehost_dashboards.render --check
	@if command -v go >/dev/null; then echo "actionlint $(WORKFLOW)"; go run $(ACTIONLINT) $(WORKFLOW); \
	else echo "No Go on PATH: $(WORKFLOW) is not linted"; fi

.PHONY: render
render: $(VENV)/test-$(CONTENT)  ## write the rendered files: CRDs, manifest reference, wire schemas, rules, dashboards
	$(BIN)/python -m rolehost_api.crd.render
	$(BIN)/python -m rolehost_api.render_wire
	$(BIN)/python -m rolehost.cli.schema
	$(BIN)/python -m rolehost_dashboards.render

.PHONY: fix
fix: $(VENV)/test-$(CONTENT)  ## what ruff can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: cluster cluster-down cluster-status cluster-load
cluster: $(VENV)/test-$(CONTENT)  ## a real one-node cluster with gVisor and rolehost on it (kind where Docker answers)
	@$(BIN)/python -m tests.cluster up $(ARGS)
cluster-down: $(VENV)/test-$(CONTENT)  ## take the cluster down; what was built stays
	@$(BIN)/python -m tests.cluster down $(ARGS)
cluster-status: $(VENV)/test-$(CONTENT)  ## what of the cluster runs
	@$(BIN)/python -m tests.cluster status $(ARGS)
cluster-load: $(VENV)/test-$(CONTENT)  ## build the images from this checkout and put them to work in the cluster
	@$(BIN)/python -m tests.cluster load $(ARGS)

.PHONY: bench
bench: $(VENV)/test-$(CONTENT)  ## a measurement: NAME=first_frame | frame | resume | redis_turn | snapshots | ring | role_switch | lorebook | impaired | recall | prompts | prefix | memory | link_rtt | apply_ready | edit_live | roles
	@$(BIN)/python -m tests.bench $(NAME) $(ARGS)

.PHONY: soak
soak: $(VENV)/test-$(CONTENT)  ## the same tests with the full numbers, for hours; their figures go to docs/evidence
	@PATH="$(CURDIR)/$(BIN):$$PATH" ROLEHOST_PROOF=soak ROLEHOST_EVIDENCE=docs/evidence bash tests/run.sh --timeout=7200 $(ARGS)

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "rolehost needs Python 3.11 or newer, and found none on PATH" >&2; exit 1; }
	@echo "Making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make a venv; on Debian: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }

# `test` holds `dev`, so whoever has it needs nothing more to run.
$(VENV)/dev-$(CONTENT): | $(VENV)/bin/python
	@if [ ! -e $(VENV)/test-$(CONTENT) ]; then \
		echo "Installing rolehost into $(VENV): about a minute"; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'; fi
	@touch $@

$(VENV)/test-$(CONTENT): | $(VENV)/bin/python
	@echo "Installing rolehost and its test tools into $(VENV): about two minutes"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@
