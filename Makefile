# `make` lists the targets. Everything runs inside .venv, which the first target that needs it creates.

VENV   ?= .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/installed
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
            $$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && { echo $$p; break; }; done)

# TORCH_INDEX: an index with another build of torch, for example the CPU-only one (see CONTRIBUTING.md).
# PIP_ARGS: any further words for pip.
TORCH_INDEX ?=
PIP_ARGS ?=
# CHAPTER: two digits or a file name without suffix, as in `make notebooks CHAPTER=02`.
CHAPTER ?=
# TEXT=1: only the prose of the chapters changed; keep their outputs.
TEXT ?=
# STEP: one or more steps of `make test`, as in `make test STEP="lint unit"`.
STEP ?=
# JOBS: processes of the test runs.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help book test notebooks lab bench lint format clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.10 or later with the venv module found; install one (on Debian: python3 and python3-venv) or run 'make PYTHON=/path/to/python ...'" >&2; exit 1; }
	@echo "Installing into $(VENV): about 2 minutes and 6 GB the first time."
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@test -z "$(TORCH_INDEX)" || $(PY) -m pip install --quiet $(PIP_ARGS) --index-url "$(TORCH_INDEX)" torch torchvision
	@$(PY) -m pip install --quiet $(PIP_ARGS) -r requirements.txt
	@$(PY) -m pip install --quiet $(PIP_ARGS) --no-deps -e .
	@$(PY) -m book.tools.installed
	@touch $@

book: $(STAMP)  ## install and build the rendered book (second run: seconds)
	@$(PY) -m book.tools.build

test: $(STAMP)  ## install and run every check (STEP="lint unit" for some of them)
	@$(PY) -m book.tools.run_checks --jobs $(JOBS) $(STEP)

notebooks: $(STAMP)  ## execute the chapters, or one: CHAPTER=02 (TEXT=1: only prose changed)
	@$(PY) -m book.tools.notebooks $(if $(TEXT),--text) $(CHAPTER)

lab: $(STAMP)  ## open the chapters in JupyterLab
	@cd book && $(abspath $(PY)) -m jupyterlab

bench: $(STAMP)  ## measure speed and memory beside torchvision and PyTorchVideo
	@$(PY) -m benchmarks

lint: $(STAMP)  ## check the style of the code and the anatomy of the chapters
	@$(PY) -m book.tools.run_checks lint chapters

format: $(STAMP)  ## format the Python code
	@$(PY) -m ruff check --fix . ; $(PY) -m ruff format .

clean:  ## remove what was built (the environment and the notebooks stay)
	rm -rf _build build .pytest_cache .ruff_cache *.egg-info
	find book mvit_edu tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
