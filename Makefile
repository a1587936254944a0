# make fit, make test: each makes .venv and installs what it needs first.
# Paths are relative, so that a checkout may lie below a folder with a space in its name.
PYTHON ?= python3
VENV := .venv
# One for each Python, as an environment keeps that which made it.
OLDEST := $(VENV)-oldest-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
PIP_ARGS ?=
CONFIG ?= configs/quickstart.yaml
ARGS ?=
PYTEST_ARGS ?=

.PHONY: help fit test quick test-oldest mpich soak mutate check bench gpu clean

help:
	@echo "make fit     train the quickstart (CONFIG=configs/... and ARGS='...' for another run)"
	@echo "make test    lint, type check and run all tests"
	@echo "make quick   the fast tests only (ROOM=launchers for one room): no launcher, no browser, no whole fit"
	@echo "make check   lint and type check only"
	@echo "make soak    the long tests: hours of kills, failures and resumes"
	@echo "make test-oldest   the tests with the lowest versions that pyproject.toml allows"
	@echo "make mutate ROOM=launchers   put small mistakes into a room, one at a time, and see whether its tests notice"
	@echo "make gpu     everything a first run on a GPU should show, in nine minutes, into gpu-run/"
	@echo "make bench   measure the speed of a training step here"
	@echo "make clean   remove .venv and caches; runs/ and data/ stay"

fit: $(VENV)/.installed
	$(PY) -m lightning_app fit --config "$(CONFIG)" $(ARGS)

test: check
	$(PY) -m pytest -n auto --dist loadgroup $(PYTEST_ARGS)

# A room is a folder below tests/ or tests/lightning_app/: launchers, compare, models, ...
QUICK := not process and not cluster and not browser and not slow and not soak
ROOM ?=
ROOM_TESTS = $(if $(ROOM),$(or $(wildcard tests/$(ROOM) tests/lightning_app/$(ROOM)),$(error no tests/$(ROOM) and no tests/lightning_app/$(ROOM))),tests)

quick: $(VENV)/.installed-dev
	$(PY) -m pytest -n auto --dist loadgroup -m "$(QUICK)" $(ROOM_TESTS) $(PYTEST_ARGS)

mutate: $(VENV)/.installed-mutate
	$(PY) tests/mutate.py $(ROOM) --marker "$(QUICK)" $(ARGS)

# A second MPI for the tests of tests/cluster, apart from the first: their wheels own files of the same names.
mpich: $(VENV)/mpich/bin/mpirun

$(VENV)/mpich/bin/mpirun: | $(VENV)/bin/python
	$(PIP) install -q --prefix $(VENV)/mpich $(PIP_ARGS) "mpich>=5.0"

check: $(VENV)/.installed-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m check_jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yml

soak: $(VENV)/.installed-dev
	$(PY) -m pytest -m soak --timeout 7200 -n auto --dist loadgroup $(PYTEST_ARGS)

# uv, because pip resolves to the newest only. Another Python too: make test-oldest PYTHON=python3.10
test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest -n auto --dist loadgroup $(PYTEST_ARGS)

$(OLDEST)/.installed: pyproject.toml
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install -q uv
	$(OLDEST)/bin/uv pip install --python $(OLDEST)/bin/python --resolution lowest-direct -e ".[dev]"
	touch $@

bench: $(VENV)/.installed
	$(PY) -m lightning_app bench $(ARGS)

gpu: $(VENV)/.installed-dev
	$(PY) tests/gpu/first_run.py $(ARGS)

clean:
	rm -rf $(VENV) $(VENV)-oldest-* .pytest_cache .ruff_cache .mypy_cache build dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed, found " + sys.version.split()[0] + "; set PYTHON=python3.11, for example")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV): a few minutes and 6 GB, most of it CUDA (for a smaller install, see README.md, Requirements)"
	$(PIP) install -q -c constraints.txt $(PIP_ARGS) -e ".[serve]"
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -q -c constraints.txt $(PIP_ARGS) -e ".[dev]"
	touch $@ $(VENV)/.installed

$(VENV)/.installed-mutate: $(VENV)/.installed-dev
	$(PIP) install -q -c constraints.txt $(PIP_ARGS) -e ".[mutate]"
	touch $@
