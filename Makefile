# Two commands do everything on a fresh machine: `make audit` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Every environment but .venv-newest holds the tested versions of constraints.txt. pip would compile every module one after the
# other; COMPILE takes all cores and leaves out what is hardly ever imported. An error in a file for another Python is none of ours.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
TESTED := --constraint constraints.txt
COMPILE := $(BIN)/python -m compileall -q -j 0 -x '/tests?/|/testing/|transformers/models/(?!auto/|llama/)' $(VENV)/lib >/dev/null || true
# Waiting threads that spin slow each other down on busy machines.
export OMP_WAIT_POLICY ?= PASSIVE
# pytest workers; each runs torch on one thread.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help audit demo-dart sweep-organisms test test-slow test-newest lock lint format bench torture organisms clean

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "make %-15s %s\n", $$1, $$2}'

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Evenhand needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.local: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) $(TESTED) -e '.[local]'
	@$(COMPILE)
	@touch $@

$(VENV)/.train: $(VENV)/.local pyproject.toml constraints.txt
	$(PIP) $(TESTED) -e '.[local,train]'
	@$(COMPILE)
	@touch $@

$(VENV)/.dev: $(VENV)/.local pyproject.toml constraints.txt
	$(PIP) $(TESTED) -e '.[local,train,dev]'
	@$(COMPILE)
	@touch $@

audit: $(VENV)/.local ## Audit the organism and write an HTML report.
	@$(BIN)/evenhand audit

demo-dart: $(VENV)/.train ## Repair the organism by DART, offline: distil, audit, repair, audit again.
	@OMP_NUM_THREADS=1 $(BIN)/evenhand repair dart organism/aligned --teacher scripted --judge rule --second echo --protocol both \
		--batch 16 --accumulation 1 --rate 5e-3 --repair-rate 2e-3 --distil-cap 2 --guard 0.05 --max-tokens 64 $(ARGS)

test: $(VENV)/.dev ## Run the fast tests.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m "not slow" $(ARGS)

test-slow: $(VENV)/.dev ## Run training recipes and long simulations.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --timeout 7200 $(ARGS)

test-newest: ## Run the fast tests against the newest release of every dependency, in an environment of its own.
	$(PYTHON) -m venv --clear $(VENV)-newest
	$(VENV)-newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(VENV)-newest/bin/python -m pip install --quiet --no-compile --upgrade --upgrade-strategy eager -e '.[local,train,dev]'
	OMP_NUM_THREADS=1 $(VENV)-newest/bin/python -m pytest -n $(JOBS) -m "not slow" -o filterwarnings=default $(ARGS)

lock: ## Resolve the tested versions again after a change of pyproject.toml (all to their newest: make lock ARGS=--upgrade).
	test -x $(VENV)-lock/bin/uv || { $(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'; }
	$(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-annotate \
		--custom-compile-command "make lock" --output-file constraints.txt pyproject.toml $(ARGS)

lint: $(VENV)/.dev ## Check style, imports between packages, and types.
	$(BIN)/ruff check src tests bench tools examples
	$(BIN)/ruff format --check src tests bench tools examples
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(VENV)/.dev ## Rewrite the code in the house style.
	$(BIN)/ruff check --fix src tests bench tools examples
	$(BIN)/ruff format src tests bench tools examples

bench: $(VENV)/.dev ## Measure every speed claim beside its peer.
	@for file in bench/bench_*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

MINUTES ?= 30
torture: $(VENV)/.dev ## Kill, starve and mislead every command for MINUTES, and count what is lost.
	@$(BIN)/python bench/torture.py --minutes $(MINUTES) $(ARGS)

sweep-organisms: $(VENV)/.local ## Train 18 checkpoints from organism/sft by safety DPO and sweep TSDI over them.
	$(BIN)/python -m tools.organisms.checkpoints --out runs/checkpoints
	@OMP_NUM_THREADS=1 $(BIN)/evenhand sweep tsdi organism/aligned --models runs/checkpoints/models.yaml \
		--safety-grader grammar --repetitions 1 $(ARGS)

organisms: $(VENV)/.local ## Retrain the organisms and recompute their truth.
	$(BIN)/python -m tools.organisms.recipe
	$(BIN)/python -m tools.organisms.curator.recipe

clean: ## Remove the virtual environment and caches; runs stay.
	rm -rf $(VENV) $(VENV)-newest $(VENV)-lock .import_linter_cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
