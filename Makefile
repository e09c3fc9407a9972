# MosaicFS: `make up` starts it, `make test` checks it. `make help` lists the rest.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PATHS ?=
PORT ?=
PYTEST_ARGS ?=
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install up down test lint types imports unit bench wheels clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: ## Install what MosaicFS needs into .venv (and FUSE on the system, where allowed)
	@sh tools/install run

up: install ## Index PATHS (default: your documents), mount, serve, and print a link: make up PATHS="~/Documents ~/Pictures"
	@$(BIN)/mosaicfs up $(if $(PORT),--port $(PORT)) $(PATHS)

test: ## Everything CI checks: style, types, import layers, and the tests
	@sh tools/install test
	@$(MAKE) --no-print-directory lint types imports unit

lint:
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types:
	@$(BIN)/mypy

imports:
	@$(BIN)/lint-imports

unit:
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

bench: ## Measure the promises beside peers and write docs/performance.md (needs root for cold caches; takes a while)
	@sh tools/install bench
	@$(BIN)/python -m benchmarks

wheels: ## Build the wheels of all distributions into dist/
	@sh tools/install test
	@$(BIN)/uv build --all-packages --wheel --out-dir dist -q && ls -1 dist

clean: ## Remove the virtual environment and everything built
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
