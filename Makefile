# Two commands matter: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8

.PHONY: demo test check bench reliability restore-drill lock screenshots clean

demo: $(VENV)/.runtime
	$(BIN)/pumpwatch demo $(ARGS)

test: $(VENV)/.dev
	$(BIN)/pytest -n 2 --dist worksteal -m "not bench" $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/.dev
	$(BIN)/pytest -q -m bench tests/bench $(ARGS)

# Kills, faults, a full disk, a stopped series server, the simulation, the fuzzer and the restore drill, an hour or so:
# figures go to reliability-report.json. E.g. make reliability ARGS="--kills 100 --parts kills faults".
reliability: $(VENV)/.dev
	$(BIN)/python -m tests.reliability.run $(ARGS)

restore-drill: $(VENV)/.dev
	$(BIN)/python -m tests.reliability.drill $(ARGS)

# All pages, phone and desktop, Japanese and English; the README shows some of them.
IMAGES := fleet-desktop-ja alert-phone-ja alert-phone-en site-desktop-en
screenshots: $(VENV)/.dev
	$(BIN)/python scripts/screenshots.py --out .screenshots $(ARGS)
	mkdir -p docs/images
	for image in $(IMAGES); do cp .screenshots/$$image.png docs/images/; done

# New versions within the bounds of pyproject.toml. The files carry hashes and no index address.
LOCK := $(BIN)/uv pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-emit-package pumpwatch-edge pyproject.toml --extra broker --extra postgres
lock: $(VENV)/.uv
	$(LOCK) -o requirements.lock
	$(LOCK) --group dev -c requirements.lock -o requirements-dev.lock

$(VENV)/.uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	touch $@

# Compiled once here, not by each of the many processes that start first.
INSTALL := $(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python
$(VENV)/.runtime: requirements.lock pyproject.toml edge/pyproject.toml | $(VENV)/.uv
	$(INSTALL) --require-hashes -r requirements.lock
	$(INSTALL) --no-deps -e . -e edge
	touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	$(INSTALL) --require-hashes -r requirements-dev.lock
	touch $@

clean:
	rm -rf $(VENV) pumpwatch-data pumpwatch-demo
