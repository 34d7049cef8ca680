# deploy-bench: the front door. `make help` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3.11
RECIPES ?= digits_mobile mobilenet_v2
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
UV = VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv

# Debian packages: what the job uses, and what only the tests use.
RUN_PACKAGES := python3.11-venv libusb-1.0-0 qemu-system-arm
TEST_PACKAGES := adb chromium

.PHONY: help deploy-bench test check format system system-test setup runner image devices report \
        virtual-phone virtual-phone-stop lock bench-harness bench-channels bench-compression \
        bench-sparse picture clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

deploy-bench: ## compress, run on the phone (or a virtual one), report: RECIPES="..." ARGS="..."
	@started=$$SECONDS; $(MAKE) setup; echo "set-up took $$((SECONDS - started)) s"; \
	  $(BIN)/deploy-bench run $(RECIPES) $(ARGS)

test: system-test setup ## everything: style, types, contracts, unit, integration, virtual phone
	@$(MAKE) check
	@$(BIN)/pytest -m "slow or device" $(ARGS)

check: $(VENV)/.ready ## format, lint, types, import contracts, fast tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -m "not slow and not device"

format: $(VENV)/.ready ## rewrite the code's layout
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

setup: system $(VENV)/.ready runner image ## virtual environment, runner, virtual phone

runner: $(VENV)/.ready ## build the on-phone runner and its bundles
	@$(BIN)/python -m android_harness.runner.build

image: $(VENV)/.ready ## build the virtual phone's file systems
	@$(BIN)/python -m android_harness.virtual build
	@! command -v qemu-system-aarch64 >/dev/null || $(BIN)/python -m android_harness.virtual build --arch arm64

devices: $(VENV)/.ready ## list the phones that are connected
	@$(BIN)/deploy-bench devices

report: $(VENV)/.ready ## write the newest bench's report again
	@$(BIN)/deploy-bench report

virtual-phone: setup ## start a virtual phone for playing; prints host:port
	@$(BIN)/python -m android_harness.virtual start --name playground $(ARGS)

virtual-phone-stop: $(VENV)/.ready ## stop it
	@$(BIN)/python -m android_harness.virtual stop playground

bench-harness: system-test setup ## what the harness itself costs, side by side with adb and Python
	@$(BIN)/python -m tests.benchmarks.harness $(ARGS)

bench-channels: $(VENV)/.ready ## prune every architecture of tf_keras.applications: docs/channels.md
	@$(BIN)/python -m tests.benchmarks.channels $(ARGS)

bench-compression: setup ## every technique with its controls, over seeds: docs/compression.md
	@$(BIN)/python -m tests.benchmarks.compression $(ARGS)

bench-sparse: setup ## which kernels sparse models take on emulated arm64
	@$(BIN)/python -m tests.benchmarks.sparse_kernels $(ARGS)

picture: ## the README's picture, from the newest report of the container phone
	@mkdir -p docs && page=$$(ls -t out/*/virtual-phone-container-*.html | head -1) && profile=$$(mktemp -d) && \
	  chromium --headless --no-sandbox --disable-gpu --disable-background-networking --no-first-run \
	  --user-data-dir="$$profile" --hide-scrollbars --window-size=1280,1640 \
	  --screenshot=docs/report.png "file://$(CURDIR)/$$page" 2>/dev/null; rm -rf "$$profile"

system: ## install missing Debian packages (as root), or print the command
	@$(call need,$(RUN_PACKAGES))

system-test: ## the same, with what the tests use
	@$(call need,$(RUN_PACKAGES) $(TEST_PACKAGES))

# Everything in the environment is locked by hash; uv only installs it faster than pip does.
$(VENV)/.ready: requirements.lock pyproject.toml | system
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is needed: install Python 3.11, or give PYTHON=/path/to/it"; exit 3; }
	@echo "making the virtual environment (about 3 GB)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)"
	@$(UV) pip sync --quiet --require-hashes requirements.lock
	@$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

lock: $(VENV)/.ready ## resolve the versions anew
	@$(BIN)/uv pip compile pyproject.toml --quiet --all-extras --python-version 3.11 \
	  --python-platform x86_64-unknown-linux-gnu --generate-hashes --no-emit-index-url --no-header \
	  --upgrade --output-file requirements.lock

clean: ## remove everything that was built; reports in out/ stay
	@[ ! -x $(BIN)/python ] || $(BIN)/python -m android_harness.virtual stop --all || true
	@rm -rf build $(VENV) *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# Installs what is missing when that needs no question; else says how, and goes on without it.
define need
missing=""; \
if command -v dpkg-query >/dev/null; then \
  for package in $(1); do \
    dpkg-query -W -f='$${Status}' "$$package" 2>/dev/null | grep -q "ok installed" || missing="$$missing $$package"; \
  done; \
  if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ]; then \
    echo "installing Debian packages:$$missing"; \
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; } >/dev/null 2>&1 \
      || echo "could not install them; try: apt-get install$$missing"; \
  elif [ -n "$$missing" ]; then \
    echo "not installed (their features are left out):$$missing"; \
    echo "  sudo apt-get install --no-install-recommends$$missing"; \
  fi; \
fi
endef
