# Set-up and every check of the project. Each target makes what it needs; the second time is quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

NEWEST := .venv-newest
OLDEST := .venv-oldest

.PHONY: demo test coverage test-slow test-newest test-oldest test-gpu mutate lint docs benchmark clean

demo: $(VENV)/.package
	$(BIN)/jamie demo

test: $(VENV)/.test
	$(PYTEST)

# Fails below what `pyproject.toml` asks for, of lines and branches.
coverage: $(VENV)/.test
	$(PYTEST) --cov --cov-report=term

test-slow: $(VENV)/.test
	$(PYTEST) -m ""

# The newest and the oldest versions of what we build on, each in an environment of its own, without constraints.txt.
test-newest: $(NEWEST)/.made
	$(subst $(BIN),$(NEWEST)/bin,$(PYTEST))

test-oldest: $(OLDEST)/.made
	$(subst $(BIN),$(OLDEST)/bin,$(PYTEST))

test-gpu: $(VENV)/.test
	$(BIN)/python -m pytest -m gpu

# Faults that the tests of a room notice, of a random sample of small ones: make mutate ROOM=metrics SAMPLE=200 RNG=1
mutate: $(VENV)/.mutate
	$(BIN)/python benchmarks/mutation.py $(ROOM) --sample $(or $(SAMPLE),80) --rng $(or $(RNG),0)

lint: $(VENV)/.lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.doc
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

benchmark: $(VENV)/.package
	$(BIN)/python benchmarks/accuracy.py --quick --jobs 2 --out benchmarks/results/quick.json

clean:
	rm -rf $(VENV) $(NEWEST) $(OLDEST) demo docs/_build docs/generated

$(VENV)/.package: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) pip
	$(PIP) --editable '.[data]'
	touch $@

$(VENV)/.test $(VENV)/.mutate $(VENV)/.lint $(VENV)/.doc: $(VENV)/.%: $(VENV)/.package
	$(PIP) --group $*
	touch $@

$(NEWEST)/.made: pyproject.toml
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --upgrade pip
	$(NEWEST)/bin/python -m pip install --quiet --upgrade --editable '.[data]' --group test
	touch $@

$(OLDEST)/.made: pyproject.toml
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet uv
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct --group test --editable '.[data]'
	touch $@
