# make quickstart   the whole chain in minutes, on this machine as it is
# make test         tests            make lint   style, types, rules            make lock   newer versions of everything
# make gpu          what only a GPU can show, in 25 minutes; again: goes on where it stopped; DEVICE=cpu SCALE=smoke: tries the way
# make environment TORCH=cpu         PyTorch's small builds, for machines without a GPU; TORCH=default: the lock's again

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
BIN := .venv/bin
READY := .venv/ready
MADE_WITH := $(or $(shell cat $(READY) 2>/dev/null),default)
TORCH ?= $(MADE_WITH)

.PHONY: quickstart test lint lock gpu environment
.DELETE_ON_ERROR:

quickstart: $(READY)
	$(BIN)/snakemake --configfile config/quickstart.yaml --cores $(CORES)

test: $(READY)
	$(BIN)/pytest $(ARGS)

DEVICE ?= cuda
SCALE ?= full
MINUTES ?= 25

# WITH=python3: an interpreter that has all packages (or some of them in PYTHONPATH), where none can be installed.
gpu: $(if $(WITH),,$(READY))
	PYTHONPATH="workflow$${PYTHONPATH:+:$$PYTHONPATH}" $(or $(WITH),$(BIN)/python) -m benchmarks.gpu --device $(DEVICE) --scale $(SCALE) --minutes $(MINUTES) $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakefmt --check Snakefile rules
	$(BIN)/mypy
	$(BIN)/mypy workflow/scripts/*.py envs/*.py
	$(BIN)/mypy benchmarks/gpu/*.py
	MYPYPATH=benchmarks $(BIN)/mypy benchmarks/*.py
	$(BIN)/snakemake --lint

# The same versions for Python 3.11 to 3.13, on any platform, with checksums.
lock: $(READY)
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-annotate \
		--python-version 3.11 --upgrade --quiet --output-file requirements.lock

environment: $(READY)

# Made once, and again when the locked versions change, or other builds of PyTorch are asked for than it has.
ifneq ($(TORCH),$(MADE_WITH))
.PHONY: $(READY)
endif
$(READY): requirements.lock pyproject.toml
ifeq ($(strip $(PYTHON)),)
	@echo "error: Tessera needs Python 3.11, 3.12 or 3.13, but none was found. Install one, or name it:" >&2
	@echo "       make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2
	@exit 1
endif
	$(PYTHON) -m venv .venv
	$(BIN)/python envs/install.py --torch "$(TORCH)" --note $@
