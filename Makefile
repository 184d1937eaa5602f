# Everything starts from a bare machine: Python 3.11 or newer, make, a C compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := demo

.PHONY: install demo test bench lint clean

install: $(INSTALLED)

# DS_BUILD_OPS=0: DeepSpeed compiles nothing at installation.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch setuptools
	DS_BUILD_OPS=0 $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/medi demo --out $(DEMO)

test: $(INSTALLED)
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest -m slow

# Ratios against sentence-transformers, on this machine: about half an hour on two cores.
bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.mining_quality
	$(BIN)/python -m benchmarks.mining_speed
	$(BIN)/python -m benchmarks.training_speed

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/medi sources --check

clean:
	rm -rf $(VENV) $(DEMO) medi-store
