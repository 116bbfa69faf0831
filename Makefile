# Everything runs in a virtual environment of its own; VENV=folder puts it elsewhere.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
# Two tests at a time, of one thread each; TESTS=tests/test_x.py runs some of them.
PYTEST := -m pytest --numprocesses 2 --dist worksteal
TESTS ?=
test test-oldest test-newest: export OMP_NUM_THREADS = 1

.PHONY: setup browser demo test test-oldest test-newest test-slurm fuzz soak check zoo bench coverage clean

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
	$(BIN)/python $(PYTEST) $(TESTS)

# With the oldest versions that pyproject.toml allows, and the newest there are; each in an
# environment of its own. PYTHON=python3.13 takes another Python.
test-oldest: VERSIONS := --constraint constraints-oldest.txt
test-oldest test-newest:
	$(PYTHON) -m venv $(VENV)-$@
	$(VENV)-$@/bin/python -m pip install --quiet $(VERSIONS) --editable '.[dev]'
	$(VENV)-$@/bin/python $(PYTEST) $(TESTS)

# A study through a real Slurm, Debian's, started on this machine; as root.
test-slurm: setup
	command -v slurmctld && command -v munged || { apt-get update && apt-get install --yes --no-install-recommends slurm-wlm munge; }
	$(BIN)/python tests/slurm.py

# Hostile input of every kind; the tests run a sample of it.
fuzz: setup
	$(BIN)/python tests/fuzz.py 2100

# Kills, full disks and long trainings; the tests run a sample of it.
soak: setup
	$(BIN)/python tests/soak.py 50 200000

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples

# Trains the shipped checkpoints again; what is done already in runs/zoo-making is not done again.
zoo: setup
	$(BIN)/python -m diffprobe.sharing.zoo_making

# One table of ratios; every file in benchmarks/ prints more of itself when run alone.
bench: setup
	$(BIN)/python -m pip install --quiet --no-deps smalldiffusion denoising-diffusion-pytorch ema-pytorch
	$(BIN)/python benchmarks/bench.py

# How often every interval covers: an hour and a half on one core.
coverage: setup
	$(BIN)/python benchmarks/coverage.py

clean:
	rm -rf $(VENV) $(VENV)-test-* build dist *.egg-info
