# Everything starts from a bare machine: Python 3.11 to 3.13, make, a C compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := demo

.PHONY: install demo serve test test-long bench chaos lint audit clean

install: $(INSTALLED)

# DS_BUILD_OPS=0: DeepSpeed compiles nothing at installation.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch setuptools
	DS_BUILD_OPS=0 $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/medi demo --out $(DEMO)

# Prefect's server, a worker and the deployments, until Ctrl-C: docs/operate.md.
serve: $(INSTALLED)
	$(BIN)/medi up

test: $(INSTALLED)
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest -m slow

# What takes minutes a test: servers and workers, a Ray cluster, benchmarks in small.
test-long: $(INSTALLED)
	$(BIN)/python -m pytest -n 0 -m long

# Ratios against sentence-transformers, DVC and Snakemake, on this machine: about forty minutes on
# two cores.
bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.mining_quality
	$(BIN)/python -m benchmarks.mining_speed
	$(BIN)/python -m benchmarks.training_speed
	$(BIN)/python -m benchmarks.orchestration

# Kills, damage and full disks, each followed by a run to the end: hours for the 200 of docs/upkeep.md.
ROUNDS ?= 200
SEED ?= 1
chaos: $(INSTALLED)
	$(BIN)/python -m tests.chaos --rounds $(ROUNDS) --seed $(SEED) --work $(DEMO)/chaos

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit -q -c pyproject.toml -r .
	$(BIN)/medi sources --check

# Known holes in the pinned versions, by PyPI's advisories: no part of lint, it needs a network.
audit: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[audit]'
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

clean:
	rm -rf $(VENV) $(DEMO) medi-store
