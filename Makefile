# Each target sets up .venv by itself; it is built again only when pyproject.toml changes.
# PyTorch is pinned to the version that is tested, since any other may bring gigabytes for GPUs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip -qq --no-input

.PHONY: test demo lint format docs bench clean

# Two workers with one BLAS thread each are faster on two cores than four threads in competition.
test: $(INSTALLED)
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

demo: $(INSTALLED)
	$(BIN)/nnc train models/digits.nn

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Writes the tables of docs/ that come from the code.
docs: $(INSTALLED)
	$(BIN)/python -m tests.docs.tables

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install -e '.[bench,dev,jax]' torch==2.13.0
	@touch $@
