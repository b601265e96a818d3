# Every target sets up what it needs and does nothing twice. `make help` lists them.
PYTHON ?= python3
ENGINES ?= smollm2 demo
SEED ?= 1
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup serve test test-pins faults soak conformance operate bench check format demo-checkpoint clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.serve: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Setting up $(VENV): a minute or two, once"
	$(PIP_INSTALL) --editable '.[cpu]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Setting up $(VENV): a minute or two, once"
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $@ $(VENV)/.serve

$(VENV)/.bench: $(VENV)/.dev
	$(PIP_INSTALL) --editable '.[dev,versus]'
	@touch $@

$(VENV)/.operate: $(VENV)/.dev
	$(PIP_INSTALL) --editable '.[dev,operate]'
	@touch $@

setup: $(VENV)/.dev  ## Set up .venv with everything that development needs

serve: $(VENV)/.serve  ## Build SmolLM2 and the demo if need be, serve them on http://127.0.0.1:9000; ENGINES=demo: no download
	@$(BIN)/conch serve $(ENGINES)

# In three processes, for two cores: while a test waits for a server, others compute.
test: $(VENV)/.dev  ## Run the tests, on a real Triton, a real engine and a real browser
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

test-pins:  ## Run the gateway's and the models' tests on the Python packages of each GPU image (ten minutes; the network)
	$(PYTHON) -m tests.docker.pins

faults: $(VENV)/.dev  ## Kill, stop and starve each part of a running server under load, and print how long it takes to come back
	$(BIN)/python -m pytest -m fault tests/faults

soak: $(VENV)/.dev  ## Random inputs and events for two hours or three: readers, the engine's loop, disconnects, faults; SEED=1
	CONCH_TEST_EXAMPLES=full $(BIN)/python -m pytest tests/triton_repo/detokenize tests/triton_repo/test_logprobs.py tests/triton_repo/test_token_lengths.py
	$(BIN)/python -m tests.soak.engine --seed $(SEED)
	$(BIN)/python -m tests.soak.fuzz --seed $(SEED)
	$(BIN)/python -m tests.soak.disconnects --seed $(SEED)
	$(BIN)/python -m tests.soak.inputs
	$(BIN)/python -m tests.soak.chaos --seed $(SEED) --minutes 30

conformance: $(VENV)/.dev  ## Drive clients and frameworks that others wrote against a running server (the network; 5 GB of cache)
	$(BIN)/python -m pytest -m conformance tests/conformance

operate: $(VENV)/.operate  ## Run Conch behind and beside real nginx, HAProxy, Envoy, Prometheus and Slurm, and render the Helm chart
	$(BIN)/python -m pytest -m operate tests/operate

bench: $(VENV)/.bench  ## Measure what serving costs here, and other servers beside it, URL=… too (a quarter of an hour; nothing else should run)
	$(BIN)/python -m bench.bars
	$(BIN)/python -m bench.versus --streams 1 8 --rounds 1 $(if $(URL),--url other=$(URL))

check: $(VENV)/.dev  ## Lint and type-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests

format: $(VENV)/.dev  ## Format the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo-checkpoint: $(VENV)/.dev  ## Retrain the demo checkpoint from its corpus (about five minutes)
	$(BIN)/python -m engines.demo.train

clean:  ## Remove the environment, built engines and caches
	rm -rf $(VENV) engines/built .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
