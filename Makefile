# Candor: every command of the project. `make help` explains them.
# `make env` alone builds .venv; each other target brings it up to date first, through the stamp.

PY := .venv/bin/python
STAMP := .venv/.stamp
# One more than cores: a third of the tests' time is waiting for sockets, processes and timers.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

# Whatever the machine's own setting is: what is compiled is kept. Tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help env test lint guards bench campaign demo wire wheel bundle lock clean
.NOTPARALLEL:

help: ## this text
	@echo "Candor: officer-accountability records across agencies, without pooling personnel files."
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  First time: make demo        Before a change is sent: make test guards"
	@echo "  One test:   .venv/bin/python -m pytest tests/unit/proto/test_ids.py -k node"

env: $(STAMP) ## build .venv from requirements.lock (PYTHON=... chooses the interpreter)

# An environment that was copied with the checkout still points at the old place: rebuild it.
ifneq ($(shell sed -n 's/^root //p' $(STAMP) 2>/dev/null),$(realpath .))
.PHONY: $(STAMP)
endif
$(STAMP): requirements.lock pyproject.toml tools/make_env.sh
	@sh tools/make_env.sh

test: packages $(STAMP) ## every test, lint beside them (WORKERS=n, ARGS="-k name"); pytest's closing line comes last
	@$(PY) -m tests.beside -n $(WORKERS) --dist worksteal --durations=30 --durations-min=3 $(ARGS)

.PHONY: packages
packages:
	@sh tools/debian_packages.sh

lint: $(STAMP) ## ruff check, ruff format --check, mypy --strict, import contracts
	@status=0; \
	$(PY) -m ruff check . || status=1; \
	$(PY) -m ruff format --check . || status=1; \
	$(PY) -m mypy || status=1; \
	.venv/bin/lint-imports --no-logo || status=1; \
	exit $$status

guards: $(STAMP) ## switch off each guard in turn; a named test must fail (NAME=x for one)
	@$(PY) -m tools.guards $(NAME)

bench: $(STAMP) ## every benchmark, and one table of the figures (NAME=x for one)
	@$(PY) -m bench $(NAME)

campaign: $(STAMP) ## the long fault, load and attack campaigns (NAME=x for one)
	@$(PY) -m tests.campaign $(NAME)

demo: $(STAMP) ## a running federation with synthetic officers (ONCE=1 ends by itself, status 0 if all was checked)
	@$(PY) -m tools.demo $(if $(filter-out 0 no,$(ONCE)),--once)

wire: $(STAMP) ## generate the protobuf code from proto/candor_wire/v1/*.proto
	@$(PY) -m tools.generate_wire

wheel: $(STAMP) ## dist/: the reproducible wheel of HEAD
	@$(PY) -m tools.release wheel

bundle: $(STAMP) ## dist/: wheel, all that it needs, installer, units, for machines without network
	@$(PY) -m tools.release bundle

lock: $(STAMP) ## resolve the dependencies anew and write the lock files
	@sh tools/make_lock.sh

clean: ## remove .venv, caches and build products
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
