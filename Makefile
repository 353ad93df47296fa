# Every target sets up what it needs; `make` lists them.
PYTHON_ENV := .venv/bin
# Kept even where a machine's environment says not to: each of the hundred processes that tests start
# would compile torch and napari anew, which takes longer than the tests.
export PYTHONDONTWRITEBYTECODE :=
# Threads of two torch processes on few cores would only spin.
QUIET := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
PYTEST := $(PYTHON_ENV)/python -m pytest
WITH_VIEWER := $(QUIET) sh scripts/viewer_libs.sh
WORKERS ?= 2
MINUTES ?= 240
TRIALS ?= 200
CASES ?= 20000
NEWER ?= python3.12
OUT ?= build/nano
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help env demo test check test-slow test-gpu test-ray test-kills test-lowest test-newest \
	test-qt test-napari-pre fuzz bench soak load train clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1 /p' Makefile \
		| while read -r name what; do printf '  make %-16s %s\n' "$$name" "$$what"; done

env:  ## make .venv with all that development needs
	@sh scripts/setup.sh dev

demo:  ## track two objects through a sample clip with the embedded model
	@sh scripts/setup.sh run
	@$(PYTHON_ENV)/python scripts/demo.py $(ARGS)

test: env  ## run all tests but slow, soak and gpu ones
	@sh scripts/browser.sh
	@$(WITH_VIEWER) $(PYTEST) -n $(WORKERS) --dist worksteal $(ARGS)

test-slow: env  ## run the slow and soak tests
	@$(WITH_VIEWER) $(PYTEST) -m "(slow or soak) and not gpu and not cluster" --timeout 3600 $(ARGS)

test-gpu: env  ## run the gpu tests; fails where there is no CUDA device
	@SAM2TRACK_REQUIRE_GPU=1 $(PYTEST) -m gpu $(ARGS)

test-ray: env  ## run the tests on a Ray cluster of two local machines; installs ray
	@uv=$$(command -v uv || echo $(PYTHON_ENV)/uv); \
		SAM2_BUILD_CUDA=0 $$uv pip install --quiet --python $(PYTHON_ENV)/python --editable '.[ray]'
	@$(QUIET) $(PYTEST) -m cluster $(ARGS)

test-kills: env  ## kill 200 jobs at random moments and go on with them: TRIALS=200
	@$(QUIET) $(PYTHON_ENV)/python -m tests.kills --trials $(TRIALS) $(ARGS)

test-lowest: env  ## run tests with the lowest versions that pyproject.toml allows
	@$(QUIET) sh scripts/lowest.sh $(ARGS)

test-newest: env  ## run the tests with a Python that newer packages ask for: NEWER=python3.12
	@BASE=$(NEWER) sh scripts/viewer_env.sh build/newest 'PySide6!=6.12.0'
	@$(WITH_VIEWER) build/newest/bin/python -m pytest -n $(WORKERS) $(ARGS)

fuzz: env  ## 20,000 cases of each thing that reads files: CASES=20000, ARGS="--only tiff"
	@$(QUIET) $(PYTHON_ENV)/python -m tests.fuzz --cases $(CASES) $(ARGS)

test-qt: env  ## run the viewer's tests with PySide6, and with PyQt6
	@QT_API=pyside6 PYTEST_QT_API=pyside6 $(WITH_VIEWER) $(PYTEST) tests/napari $(ARGS)
	@sh scripts/viewer_env.sh build/pyqt6 PyQt6
	@QT_API=pyqt6 PYTEST_QT_API=pyqt6 $(WITH_VIEWER) build/pyqt6/bin/python -m pytest tests/napari $(ARGS)

test-napari-pre: env  ## run the viewer's tests with napari's latest pre-release
	@sh scripts/viewer_env.sh build/napari-pre 'PySide6!=6.12.0' 'napari>=0.9.1a0'
	@$(WITH_VIEWER) build/napari-pre/bin/python -m pytest tests/napari $(ARGS)

check: env  ## lint, formatting and types
	$(PYTHON_ENV)/ruff check .
	$(PYTHON_ENV)/ruff format --check .
	$(PYTHON_ENV)/mypy

bench: env  ## measure speed and memory beside the official predictor
	@$(PYTHON_ENV)/python -m benchmarks $(ARGS)

soak: env  ## track a stream of 100,000 frames and watch memory, files and threads
	@$(QUIET) $(PYTHON_ENV)/python -m benchmarks soak $(ARGS)

load: env  ## many frames, objects and prompts: time, memory and size of the project
	@$(QUIET) $(PYTHON_ENV)/python -m benchmarks load $(ARGS)

train: env  ## train the embedded model: MINUTES=240 OUT=build/nano
	@$(PYTHON_ENV)/python -m sam2track.training --out $(OUT) --minutes $(MINUTES) $(ARGS)

clean:  ## remove what was built; .venv stays
	rm -rf build dist demo_output .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
