# crpbot-training. Nothing but Python 3.11+ and make is expected on the machine.
#
#   make run        set-up and the main job: train, judge and promote three models on the embedded market
#   make server     set-up, then Prefect's server, its pages, two workers and the nightly schedule, until Ctrl-C
#   make test       set-up and the tests (minutes)
#   make test-long  kills, studies, full-size runs (at most 20 minutes)
#   make check      lint, types, import rules
#   make bench      speed in one run, as ratios and seconds, with its goals; options: make bench BENCH='--only run'
#   make fix        format and mend what ruff can mend
#   make install    set-up only
#   make runtime-wheel  dist/runtime/: what a trading host is installed from

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Exact versions of everything, also of what builds the package.
PIP    := PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip --disable-pip-version-check install --quiet
RUN_READY := $(VENV)/.ready-run
DEV_READY := $(VENV)/.ready-dev
# Several processes share the cores: one thread each, or OpenMP's spin barriers eat them.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=2
# Where it is set, every process that the tests start would compile all modules and asserts anew.
unexport PYTHONDONTWRITEBYTECODE
RUNTIME_DIST := dist/runtime
# Three at a time on two cores: much of a test is waiting for disks, children and servers.
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest -n 3 --dist loadgroup --no-loadscope-reorder
# The modules with long tests; the others need not be read for them.
LONG_TESTS = $(shell grep -rl 'mark\.long' tests --include='test_*.py')

.PHONY: install run server test test-long check fix bench runtime-wheel clean

install: $(RUN_READY)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, {sys.executable} is {sys.version.split()[0]}. Install one, or name it: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)

$(RUN_READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Setting up $(VENV) (once, a few minutes) ..."
	$(PIP) --editable .
	@touch $@

$(DEV_READY): pyproject.toml constraints.txt $(RUN_READY)
	@echo "Adding what the tests need (once) ..."
	$(PIP) --editable '.[dev]'
	@touch $@

run: $(RUN_READY)
	$(BIN)/crpbot run

server: $(RUN_READY)
	@$(ONE_THREAD) $(BIN)/python -m flows.serving

test: $(DEV_READY)
	$(PYTEST) -m "not long" tests

# Three at a time: these wait for servers, heartbeats and restarts for minutes.
test-long: $(DEV_READY)
	$(PYTEST) -n 3 -m long $(LONG_TESTS)

check: $(DEV_READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(DEV_READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(DEV_READY)
	@$(ONE_THREAD) $(BIN)/python -m tests.benchmarks $(BENCH)

runtime-wheel: $(BIN)/python
	@rm -rf $(RUNTIME_DIST) && mkdir -p $(RUNTIME_DIST)
	@PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-deps \
		--wheel-dir $(RUNTIME_DIST) ./deployments/runtime
	@cp constraints.txt $(addprefix deployments/runtime/,install.sh crpbot-runtime.service runtime.yaml) $(RUNTIME_DIST)/
	@echo "Copy $(RUNTIME_DIST) to the host and run there: bash runtime/install.sh"

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
