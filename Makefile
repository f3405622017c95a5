# `make demo` and `make test` need Python 3.11 or newer, and set up .venv by themselves.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
ONCE := $(addprefix --ignore tests/,lploss/testing/test_faulty_losses.py \
	lploss/testing/test_sound_losses.py examples meta plugins)
# Several files of tests side by side, each with one thread.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile
PEER := $(wildcard .venv-peer/bin/python)

.PHONY: demo test check fix bench size peer slow docs wheel clean

demo: .venv/installed
	$(BIN)/lploss demo --out lploss-demo

# All tests, and how many of the branches they take.
test: .venv/installed
	$(PYTEST) --cov --cov-report=
	$(BIN)/python tests/branches.py

# The second run of the tests checks all annotations of shapes, with the built-in losses for the
# conformance kit: the losses that are faulty on purpose, examples, pages and plugins ran in the first.
check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) --doctest-modules src
	LPLOSS_TYPECHECK=1 $(PYTEST) -m "not compiles and not installs" $(ONCE)

fix: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Longer tests, and those that need a GPU or the peer where these are at hand.
slow: .venv/installed
	$(or $(PEER),$(BIN)/python) -m pytest --slow -m "slow or gpu or peer"

bench: .venv/installed
	$(or $(PEER),$(BIN)/python) -m benchmarks

# How large the code is: lines, files, import circles.
size: .venv/installed
	$(BIN)/python -m benchmarks.size

# Lightning Pose beside the project, to measure against it and to compare with it.
peer: .venv/installed
	sh benchmarks/install_peer.sh

docs: .venv/installed
	$(BIN)/mkdocs build --strict

# The wheel, alone in an empty environment, with what it needs from the package index.
wheel: .venv/installed
	rm -rf build/wheel .venv-wheel
	$(BIN)/python -m pip wheel --no-deps --wheel-dir build/wheel .
	$(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/python -m pip install "$$(ls build/wheel/*.whl)[score]"
	cd build/wheel && ../../.venv-wheel/bin/lploss demo score --out demo
	rm -rf .venv-wheel

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -e ".[dev]"
	touch $@

clean:
	rm -rf .venv .venv-wheel build dist site lploss-demo lploss-score
