# Everything runs in a virtual environment of its own; VENV=folder puts it elsewhere.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: setup browser demo test test-slurm fuzz check bench coverage clean

setup: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# The tests of the report's page need a Chromium: Debian's, where there is none.
browser:
	command -v chromium || { apt-get update && apt-get install --yes --no-install-recommends chromium; }

demo: setup
	$(BIN)/diffprobe demo

test: setup
	$(BIN)/python -m pytest

# A study through a real Slurm, Debian's, started on this machine; as root.
test-slurm: setup
	command -v slurmctld && command -v munged || { apt-get update && apt-get install --yes --no-install-recommends slurm-wlm munge; }
	$(BIN)/python tests/slurm.py

# Hostile input of every kind; the tests run a sample of it.
fuzz: setup
	$(BIN)/python tests/fuzz.py 2000

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples

bench: setup
	for name in inference jacobian reading report nulls; do $(BIN)/python benchmarks/$$name.py || exit 1; done

# How often every interval covers: an hour and a half on one core.
coverage: setup
	$(BIN)/python benchmarks/coverage.py

clean:
	rm -rf $(VENV) build dist *.egg-info
