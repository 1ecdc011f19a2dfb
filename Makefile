# Everything runs in one virtual environment, $(VENV); `make` alone lists what there is.

VENV ?= .venv
PYTHON ?= $(shell python3.11 -c '' >/dev/null 2>&1 && echo python3.11 || echo python3)
EXTRAS ?=
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
WORKERS ?= $(shell test $(CORES) -gt 2 && echo $(CORES) || echo 2)
TESTS ?=
ARGS ?=
# Exact versions for the environment's Python, where the project has them; another file can be named.
CONSTRAINTS ?=

BIN := $(VENV)/bin
PINS := $(wildcard constraints/*.txt)
COMMA := ,
EMPTY :=
SPACE := $(EMPTY) $(EMPTY)
LIST := $(subst $(SPACE),$(COMMA),$(sort test $(subst $(COMMA),$(SPACE),$(EXTRAS))))

.PHONY: help train test check results bench format wheel clean
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help: ## list the targets and their variables
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo '  PYTHON=$(PYTHON)  VENV=$(VENV)  EXTRAS=reference  WORKERS=$(WORKERS)  TESTS="tests/nn"  ARGS="-k name"'

train: $(VENV)/.installed ## install stepax and train a first model (ARGS="--help" lists what else it can do)
	$(BIN)/stepax train $(ARGS)

# Data and the cache of compiled programs are the caller's where they are set already.
test: export STEPAX_DATA := $(or $(STEPAX_DATA),$(if $(wildcard ../shared/data),$(abspath ../shared/data)))
test: export STEPAX_TEST_CACHE := $(or $(STEPAX_TEST_CACHE),$(CURDIR)/.cache/jax)
test: $(VENV)/.installed-$(LIST) ## run the tests on all cores (EXTRAS=reference compares with PyTorch too)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(TESTS) $(ARGS)

check: $(VENV)/.installed-test ## look for faults without running: ruff, mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

results: export STEPAX_DATA := $(or $(STEPAX_DATA),$(if $(wildcard ../shared/data),$(abspath ../shared/data)))
results: $(VENV)/.installed-reference,test ## run the examples and record what they show in docs/results.md (ARGS=--long: the long ones)
	$(BIN)/python examples/record.py $(ARGS)

bench: $(VENV)/.installed-reference,test ## time training against PyTorch, Keras and Flax (ARGS="mlp --rivals torch")
	$(BIN)/python -m bench.compare $(ARGS)

format: $(VENV)/.installed-test ## put the code in order
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

wheel: $(VENV)/.installed-test ## build dist/*.whl
	$(BIN)/python -m build --wheel --no-isolation

clean: ## remove the environment, builds and caches
	rm -rf $(VENV) build dist .cache .hypothesis
	find src tests examples bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# Installing again, or with more extras, only adds and corrects packages.
define install
	@v=$$($(BIN)/python -c 'import sys; print("py%d%d" % sys.version_info[:2])'); \
	file='$(CONSTRAINTS)'; \
	if [ -z "$$file" ] && [ -f "constraints/$$v.txt" ]; then file="constraints/$$v.txt"; fi; \
	set -x; $(BIN)/python -m pip install --quiet --disable-pip-version-check $${file:+--constraint "$$file"} --editable '.$(1)'
endef

$(VENV)/.installed: $(BIN)/pip pyproject.toml $(PINS) $(CONSTRAINTS)
	$(call install)
	@touch $@

$(VENV)/.installed-%: $(BIN)/pip pyproject.toml $(PINS) $(CONSTRAINTS)
	$(call install,[$*])
	@touch $@ $(VENV)/.installed $(VENV)/.installed-test

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
		"stepax needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo '$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu its package python3-venv is needed' >&2; exit 1; }
	@touch $@
