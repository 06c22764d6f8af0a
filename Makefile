# Every target sets up what it needs first: a virtual environment with the pinned dependencies and every extra.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo test test-real lint bench docs clean
.DEFAULT_GOAL := help

help:
	@echo "make setup      a .venv with every extra"
	@echo "make demo       render the street, train on it, report: runs/demo/report.html"
	@echo "make test       the tests"
	@echo "make test-real  the tests on the real data sets, skipped where these are absent"
	@echo "make lint       ruff and mypy"
	@echo "make bench      side-by-side timings against other libraries"
	@echo "make docs       docs/recipes.md and the tables of docs/results.md"

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --upgrade pip
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet -c constraints.txt -e ".[dev]"
	touch $@

# Trainings that are killed, and trainings of several processes: they want the cores for themselves.
ALONE = tests/training/test_processes.py

setup: .venv/.ready

demo: setup
	$(BIN)/reidentify demo

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not real" -n auto --maxprocesses 4 --ignore $(ALONE)
	$(BIN)/python -m pytest $(ALONE)

test-real: setup
	$(BIN)/python -m pytest -m real -rs

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python benchmarks/ranking.py

docs: setup
	$(BIN)/python docs/build.py

clean:
	rm -rf .venv runs dist .pytest_cache .mypy_cache .ruff_cache
