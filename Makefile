# Two commands on a fresh machine with Python 3.11 to 3.13 and make: `make demo` and `make test`.
# Each is safe to interrupt and to repeat.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# The pins are those of Python 3.11; the first of these that is 3.11 to 3.13 makes the environment.
PYTHON ?= $(shell for name in python3.11 python3 python3.12 python3.13; do \
	$$name -c $(SUPPORTED) 2>/dev/null && command -v $$name && break; done)
SUPPORTED := 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'
PY := .venv/bin/python
BEAM := $(shell sed -n 's/^apache-beam==//p' constraints.txt)

# Each stamp is written after its packages are installed: those of the pipelines, of the tests, of make bench.
STAMP := .venv/.complete
DEV := .venv/.complete-dev
PEERS := .venv/.complete-peers
COMMA := ,
DEV_EXTRAS := pipelines,router,s3,gcs,dynamodb,redis,kafka,http,prometheus,otel,dev
# constraints.txt as it holds for the Python of .venv.
PINS := .venv/constraints.txt
# Exists while an install is under way. If the next start finds the file, that start creates .venv again.
UNFINISHED := .venv/.unfinished

# Prints a line at least every 10 s while a command runs.
ALIVE := $(PY) tools/alive.py
PIP := $(PY) -m pip install --progress-bar=off -c $(PINS)
PIP_LINES := '^ *(Downloading [^ ]+ .[0-9.]{4,} MB.|Building wheel for [^ ]+|Installing collected packages|Successfully installed)'

# Add extras to a complete .venv: $(call add,EXTRAS). The stamp of the pipelines keeps its time.
define add
	@mv $(STAMP) $(UNFINISHED)
	@$(ALIVE) --keep=$(PIP_LINES) packages $(PIP) --no-build-isolation -e '.[$(1)]'
	@mv $(UNFINISHED) $(STAMP); touch $@
endef

OUT ?= $(if $(INTERACTIONS),out/demo-own,out/demo)
WORKERS ?= 3

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install env prism others demo test test-slow lint conformance bench docs release clean

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' Makefile | expand -t 14

install: $(STAMP)  ## Create or repair .venv with what the pipelines need (PYTHON=python3.12 picks another Python)

env: $(DEV) prism  ## Complete .venv for development: tests, checks, documentation, Prism

demo: install  ## Recommend courses from a generated log, or INTERACTIONS=… ITEMS=… (OUT=… DEMO_ARGS=…)
	@$(PY) -m examples.course_platform.demo --output='$(OUT)' \
		$(if $(INTERACTIONS),--interactions='$(INTERACTIONS)') $(if $(ITEMS),--items='$(ITEMS)') $(DEMO_ARGS)

test: env others lint  ## Check style and types, then run the tests that are not marked slow (TEST_ARGS=… for pytest)
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal -m 'not slow' $(TEST_ARGS)

test-slow: env others  ## Run the tests that are marked slow (TEST_ARGS=… for pytest)
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal -m slow $(TEST_ARGS)

lint: $(DEV)  ## Check style and types
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy

conformance: $(DEV)  ## Hold a model server against TF Serving's behaviour: SERVER=HOST:PORT (REST=… BATCHED=… MODEL_DIR=…)
	@test -n '$(SERVER)' || { echo "make conformance needs a server: make conformance SERVER=HOST:PORT" >&2; exit 2; }
	@$(PY) -m pytest tests/conformance $(SERVER:%=--server=%) $(REST:%=--rest=%) $(BATCHED:%=--batched=%) \
		$(MODEL_DIR:%=--model_dir=%) $(TEST_ARGS)

bench: $(PEERS)  ## Time batch_cf beside its peers: DATA=PATH of an interaction log
	@test -n '$(DATA)' || { echo "make bench needs a log to run on: make bench DATA=PATH" >&2; exit 2; }
	@$(PY) benchmarks/batch_cf.py --data '$(DATA)' $(BENCH_ARGS)

docs: $(DEV)  ## Build the documentation as a site in build/site
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

release: $(DEV)  ## Build, check and date a release: VERSION=0.1.0
	@test -n '$(VERSION)' || { echo "VERSION is not set; run make release VERSION=0.1.0" >&2; exit 2; }
	@$(PY) -m tools.release '$(VERSION)'

clean:  ## Remove caches and everything the demo wrote; .venv and .peers stay
	@rm -rf out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . \( -path ./.venv -o -path ./.peers \) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

$(STAMP): pyproject.toml setup.py constraints.txt
	@{ [ -n '$(PYTHON)' ] && $(PYTHON) -c $(SUPPORTED); } || { \
		echo "recbeam needs Python 3.11 to 3.13$(PYTHON:%=, and % is none of them); pass PYTHON=/path/to/one" >&2; exit 2; }
	@if [ -e $(UNFINISHED) ]; then echo "an earlier install was interrupted, so .venv is created again"; \
		mkdir -p build; rm -rf build/broken; mv .venv build/broken; rm -rf build/broken; fi
	@mkdir -p .venv; rm -f $(STAMP); touch $(UNFINISHED)
	@echo "[1/3] .venv of $$($(PYTHON) -V)"
	@[ -x .venv/bin/pip ] || $(PYTHON) tools/alive.py .venv $(PYTHON) -m venv .venv
	@echo "[2/3] build tools"
	@# Beam wants another google-apitools on Python 3.13 than on those before it; the pin is for those.
	@drop=$$($(PY) -c 'import sys; print("google-apitools" if sys.version_info >= (3, 13) else "-")'); \
		grep -v "^$$drop==" constraints.txt > $(PINS)
	@$(ALIVE) "build tools" $(PIP) -q setuptools wheel
	@echo "[3/3] packages of constraints.txt: 0.9 GB to download the first time"
	@$(ALIVE) --keep=$(PIP_LINES) packages $(PIP) --no-build-isolation -e '.[pipelines]'
	@# TensorFlow's C++ headers, 0.4 GB, which only custom operations in C++ need.
	@rm -rf .venv/lib/python*/site-packages/tensorflow/include
	@mv $(UNFINISHED) $(STAMP); touch $(STAMP)

$(DEV): $(STAMP)
	@echo "packages of the tests, checks and documentation"
	$(call add,$(DEV_EXTRAS))

$(PEERS): $(DEV)
	@echo "packages that make bench compares with"
	$(call add,$(DEV_EXTRAS)$(COMMA)peers)

# Servers, clients and load generators of other makers that the tests talk to, each in an environment of its own below .peers.
others: $(DEV)
	@$(PY) -m tests.third_party.install

prism: $(STAMP)  ## Build Prism, Beam's portable runner, with Go; without Go, Beam downloads Prism at its first use
	@if ! command -v go >/dev/null; then exit 0; fi; \
	if go version -m .venv/bin/prism 2>/dev/null | grep -q 'beam/sdks/v2.*v$(BEAM)'; then exit 0; fi; \
	echo "Prism $(BEAM) from source (some minutes, once)"; \
	GOBIN='$(CURDIR)/.venv/bin' $(ALIVE) Prism go install github.com/apache/beam/sdks/v2/go/cmd/prism@v$(BEAM) || { \
		echo "Prism $(BEAM) could not be built; Beam will download its own when a pipeline asks for it" >&2; \
		[ "$${CI:-}" != true ]; }
