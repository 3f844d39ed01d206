# make demo   install and run the quickstart comparison
# make test   install what tests need; lint, types, import contracts, tests
# make format / lint / types / bench / clean
#
# A machine without a GPU need not download CUDA:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
TORCH_INDEX ?=
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LINKED := --no-deps --no-build-isolation --editable . --config-settings editable_mode=strict
CODE := agents benchmarks cairn configs envs experiments reward_shaping sim2real tests setup.py
WORKERS ?= 2

.PHONY: demo test install link lint types imports pytest format bench clean

demo: install
	$(BIN)/cairn compare quickstart

test: $(VENV)/dev link lint types imports pytest

install: $(VENV)/run link

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip "setuptools>=77"
ifneq ($(TORCH_INDEX),)
	$(PIP) install --constraint constraints.txt --index-url $(TORCH_INDEX) torch
endif

# The package itself is linked in afterwards, so that its dependencies are all that can be out of date.
$(VENV)/run: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --constraint constraints.txt --editable .
	touch $@

$(VENV)/dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --constraint constraints.txt --editable ".[dev]"
	touch $@ $(VENV)/run

# A strict editable install lays a tree of links that type checkers and import-linter read as the package.
link:
	rm -rf build
	$(PIP) --quiet install $(LINKED)

lint:
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types:
	$(BIN)/mypy -p cairngym

imports:
	$(BIN)/lint-imports

pytest:  # a thread for each worker: more of them would only wait for each other
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS)

format:
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

bench: install
	$(BIN)/cairn bench minigrid --out benchmarks/results/minigrid_cpu.json
	$(BIN)/cairn bench physics --out benchmarks/results/physics_cpu.json
	$(BIN)/cairn bench lidar --out benchmarks/results/lidar_cpu.json
	$(BIN)/python benchmarks/hindsight.py --out benchmarks/results/hindsight_reach.json
	$(BIN)/python benchmarks/hindsight.py --config goals_push --task FetchPush-v4 --target 0.9 --limit-s 1800 \
		--check-s 30 --out benchmarks/results/hindsight_push.json
	$(BIN)/python benchmarks/soak.py --out benchmarks/results/soak.json

clean:
	rm -rf $(VENV) build *.egg-info
