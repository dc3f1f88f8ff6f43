# `make demo` shows a search, `make test` and `make lint` are what continuous integration runs.
#
# Everything lives in $(VENV). torch: constraints.txt pins its version, the index decides its build. PyPI's build for Linux on x86-64
# brings the CUDA libraries (gigabytes); PyTorch's own index has the small CPU build, which is all that the embedded engine needs:
#   make demo PIP_EXTRA="--extra-index-url https://download.pytorch.org/whl/cpu"
# Another interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv
PIP_EXTRA ?=
PYTEST_ARGS ?= -n 2 --dist loadgroup
VERL_TESTS ?= verl

BIN := $(VENV)/bin
# Debian splits ensurepip off into python3-venv. Where it is missing, the environment has no pip and the system's pip fills it.
pip = $$(test -x $(1)/bin/pip && echo $(1)/bin/pip || echo $(PYTHON) -m pip --python $(1)/bin/python) install --disable-pip-version-check $(PIP_EXTRA)
INSTALL = $(call pip,$(VENV)) --constraint constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test images e2e e2e-verl faults verl cluster-demo lint format generate bench constraints clean

help: ## List the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: $(VENV)/.installed ## Install, then run a small search from end to end
	$(BIN)/poise run examples/quickstart.yaml

test: $(VENV)/.installed-dev ## Run the tests (PYTEST_ARGS="-n 0 -k name" for some)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

images: $(VENV)/.installed-dev ## Build the images that the next two run (needs root, buildah and debootstrap)
	$(BIN)/python -m tests.kube images $(VENV)/images

e2e: $(VENV)/.installed-dev ## Run the operator in a real cluster (needs root and KUBEBUILDER_ASSETS; see CONTRIBUTING.md)
	POISE_IMAGES=$(CURDIR)/$(VENV)/images $(BIN)/python -m pytest -n 0 -m e2e

e2e-verl: $(VENV)/.installed-dev ## Train with VeRL in pods of a real cluster, on one and on two nodes (needs what e2e needs; builds a third image)
	POISE_IMAGES=$(CURDIR)/$(VENV)/images $(BIN)/python -m pytest -n 0 -m e2e_verl

faults: $(VENV)/.installed-dev ## Kill what can be killed while a search runs in a real cluster (needs what e2e needs)
	POISE_IMAGES=$(CURDIR)/$(VENV)/images $(BIN)/python -m pytest -n 0 -m faults

verl: $(VENV)-verl/.installed ## Train with VeRL on this machine's processors, and compare our modules with its own (minutes)
	$(VENV)-verl/bin/python -m pytest -m "$(VERL_TESTS)" tests/contract/test_verl_*.py

cluster-demo: $(VENV)/.installed-dev ## Start a cluster, install the operator, run the quickstart there, leave it for you
	$(BIN)/python -m tests.kube demo

lint: $(VENV)/.installed-dev ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.installed-dev ## Bring the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(VENV)/.installed-dev ## Write what follows the models: CRDs, API reference, a part of the chart's schema
	$(BIN)/poise crds --output crds --docs docs/api.md
	$(BIN)/poise crds --output charts/poise/files/crds --values charts/poise/values.schema.json

bench: $(VENV)/.installed-dev ## Run every benchmark
	@set -e; for file in benchmarks/bench_*.py; do \
		echo "== $$file"; $(BIN)/python -m benchmarks.$$(basename $$file .py); \
	done

constraints: ## Pin anew what pyproject.toml admits today (torch stays: raise its line in constraints.txt by hand)
	$(PYTHON) -m venv --clear $(VENV)-freeze
	$(VENV)-freeze/bin/pip install $(PIP_EXTRA) "$$(grep '^torch==' constraints.txt)" --editable '.[local,controller,dev,llm,s3]'
	{ grep '^#' constraints.txt; $(VENV)-freeze/bin/pip freeze --all --exclude pip --exclude-editable | sed 's/+[a-z0-9.]*$$//'; } > $(VENV)-freeze/pins
	mv $(VENV)-freeze/pins constraints.txt
	rm -rf $(VENV)-freeze

clean: ## Remove the environment, builds and caches
	rm -rf $(VENV) $(VENV)-freeze $(VENV)-verl build dist *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $* >/dev/null 2>&1 || $(PYTHON) -m venv --clear --without-pip $*

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[local]'
	@touch $@

# VeRL holds other packages back, so it has an environment of its own.
$(VENV)-verl/.installed: pyproject.toml constraints-verl.txt | $(VENV)-verl/bin/python
	$(call pip,$(VENV)-verl) --constraint constraints-verl.txt --editable '.[local,verl]' hypothesis pytest
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[local,controller,dev,llm,s3]'
	@touch $@ $(VENV)/.installed
