# `make repro` runs the pipeline, `make test` the tests; both set everything up first.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
UV := .boot/bin/uv

# DVC starts `python` from PATH; MLflow and DVC must not phone home.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := true

# A downloaded archive has no git, without which DVC does not start unless it is told.
define TELL_DVC
if ! git rev-parse --git-dir > /dev/null 2>&1; then \
    dvc config --local core.no_scm true; \
elif grep -qs no_scm .dvc/config.local; then \
    dvc config --local --unset core.no_scm; \
fi
endef

.PHONY: setup repro shipped compare test test-torch fuzz lint bench tidy ui constraints readme

setup: $(STAMP)

$(UV):
	$(PYTHON) -m venv .boot
	.boot/bin/python -m pip install --quiet --disable-pip-version-check uv

$(STAMP): pyproject.toml constraints.txt | $(UV)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	$(UV) pip install --quiet --compile-bytecode --python $(VENV) -e '.[dev]' -c constraints.txt
	touch $@

# PROFILE=smoke or PROFILE=paper puts profiles/PROFILE.yaml in the place of params.yaml first.
repro: setup
ifdef PROFILE
	cp profiles/$(PROFILE).yaml params.yaml
endif
	@$(TELL_DVC)
	dvc repro $(ARGS)

# The predictors that come with the package are those of params.yaml.
shipped:
	$(MAKE) repro ARGS=train_predictor
	cp data/predictor/autos.json data/predictor/autos_paper.json \
	    data/predictor/autos_paper.safetensors pipeline/autos/predictors/shipped/

# Ten to twenty minutes each, on two CPU cores: NAME=autos, dynamic, jackpots, pretrained, rare_gems.
# NAME=accuracy, all methods on unseen networks, takes hours and goes on where it was stopped;
# NAME=paper_scale wants a GPU.
compare: setup
	python -m comparisons $(NAME)

# A process per core, and each file of tests in one of them, in the order of `testpaths`.
# ARGS="-m slow" runs what takes minutes.
test: setup
	pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow" $(ARGS)

# The quick tests of the library on the newest release of torch; TORCH='==2.6.*' is the oldest.
test-torch: | $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) .torch
	$(UV) pip install --quiet --python .torch -e '.[dev]' 'torch$(TORCH)'
	.torch/bin/python -m pytest -n auto --dist loadfile -m "not slow" -p no:cacheprovider --no-header -q \
	    tests/masks tests/network tests/methods tests/training tests/irp tests/predictors tests/test_pruning.py

# Damaged files, odd settings, commands and networks, CASES in all; SEED=N repeats a run.
CASES ?= 10000
SEED ?= $(shell date +%s)
fuzz: setup
	FUZZ_CASES=$(CASES) pytest tests/fuzz -n auto --hypothesis-seed=$(SEED) $(ARGS)

lint: setup
	ruff check .
	ruff format --check .
	mypy
	lint-imports

# Speed and memory against targets, half an hour; NAMES=scoring for one alone.
bench: setup
	python -m benchmarks $(NAMES)

# What is left of cells that no current parameter names; ARGS=--dry-run only tells.
tidy: setup
	python -m stages tidy $(ARGS)

ui: setup
	mlflow ui --backend-store-uri sqlite:///mlflow.db

constraints: $(UV)
	$(UV) pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
	    --no-emit-index-url --no-emit-find-links --extra dev pyproject.toml -o constraints.txt

readme: setup
	python docs/update_readme.py
