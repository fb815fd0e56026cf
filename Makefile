# One door for everything.  `make night` is the demonstration, `make test` all checks and tests.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := $(wildcard constraints.txt)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
CODE := nightcrew reports tasks flows watchers deployments
TESTS ?= tests
PYTEST_OPTIONS ?= -n 2 --dist loadgroup
# Every process of a service that the tests start would compile all of it anew, as often as all of its work takes.
unexport PYTHONDONTWRITEBYTECODE
# Only these are collected for the running service, in the order of their names: to import all tests takes each worker ten seconds.
SERVER_TESTS = $(sort $(shell grep -rl --include='test_*.py' 'mark\.server' $(TESTS)))

.PHONY: night install test explore faults fuzz audit load lint check bench docs clean help

help:
	@echo "make night     a simulated night through the whole service: from files to the morning's mail"
	@echo "make install   only .venv with the nightcrew command"
	@echo "make test      all checks and tests"
	@echo "make explore   the tests with new random examples"
	@echo "make faults    kills, power loss, full disks, lost servers: every fault in its long form, a line each"
	@echo "make fuzz      every reader against damaged input, ten minutes each (FUZZ_MINUTES)"
	@echo "make load      a night of 4,000 frames through the service, with a full ledger"
	@echo "make audit     known weaknesses of the pinned dependencies; what could not be asked counts as not run"
	@echo "make lint      style and types"
	@echo "make bench     speed against the limits of the design"
	@echo "make docs      documentation, into site/"

night: install
	$(BIN)/nightcrew demo --folder night

install: $(VENV)/.installed

# The running service is tested by itself, after the rest: beside other tests its time limits would measure them.
# What fails there on a busy machine is run once more on its own; the first run's failures stay in the output.
test: $(VENV)/.dev
	$(MAKE) --no-print-directory --jobs 2 lint docs
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) -m "not server and not slow" $(TESTS)
	$(BIN)/python -m pytest $(PYTEST_OPTIONS) -m "server and not slow" $(or $(SERVER_TESTS),$(TESTS)) || $(BIN)/python -m tests.again -m "server and not slow"

# Property tests with examples that nobody has seen yet; `make test` repeats the same ones, so that it judges the change alone.
explore: $(VENV)/.dev
	HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest $(PYTEST_OPTIONS) -m "not server and not slow" $(TESTS)

# As root it also mounts small file systems (power loss, full disks); elsewhere these say that they were not injected.
faults: $(VENV)/.dev
	$(BIN)/python -m tests.faults

# Coverage-guided; the finds of earlier runs are cases of `make test`.
FUZZ_MINUTES ?= 10
fuzz: $(VENV)/.dev
	$(PIP) 'atheris>=3.0,<4'
	$(BIN)/python -m tests.fuzz.run --minutes $(FUZZ_MINUTES)

load: $(VENV)/.dev
	$(BIN)/python -m benchmarks.load

audit: $(VENV)/.dev
	$(PIP) 'pip-audit>=2.9'
	$(BIN)/python -m tests.audit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf night out site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Nightcrew wants Python 3.11, %s is %s: make PYTHON=/path/to/python3.11" % (sys.executable, sys.version.split()[0]))'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(PIP) --editable .
	@$(BIN)/python -m compileall -q nightcrew reports tasks flows watchers deployments
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) --editable '.[dev,docs,postgresql]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) --editable '.[bench]'
	@touch $@
