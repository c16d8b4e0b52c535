# Everything runs in .venv, which is made on first use; a second call starts at once, and needs no network.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint bench claims clean

demo: .venv/installed ## Train and survey a classifier on scikit-learn's digits; says where the report is.
	$(BIN)/thalweg survey digits --out runs/digits

test: .venv/installed-dev ## Run the tests.
	$(BIN)/python -m pytest -n auto

lint: .venv/installed-dev ## Style, types, and the direction of imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

bench: .venv/installed-dev ## Measure the budgets; prints the table of docs/benchmarks.md.
	$(BIN)/python -m benchmarks

claims: .venv/installed-dev ## Run the slow experiments; prints the table of docs/claims.md.
	$(BIN)/python -m claims

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean: ## Remove the environment and the runs.
	rm -rf .venv runs
