# One command a task; `make setup` makes .venv, everything else uses it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := PIP_CONSTRAINT=$(CURDIR)/constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install -q
NATIVE := setup.py CMakeLists.txt $(shell find csrc -type f)

.PHONY: setup demo test test-slow check format lint types bench clean

setup: $(STAMP)

# torch goes first and pinned, so that nothing that asks for it later fetches a CUDA build.
$(STAMP): pyproject.toml constraints.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch==$$(sed -n 's/^torch==//p' constraints.txt)
	$(PIP) -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/flmr demo --out demo

test: setup
	$(BIN)/python -m pytest tests

test-slow: setup
	$(BIN)/python -m pytest tests -m slow

format: setup
	$(BIN)/ruff format .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

check: lint types test

bench: setup
	$(BIN)/python benchmarks/bench_ops.py

clean:
	rm -rf $(VENV) build dist demo runs *.egg-info flmr/*.so
