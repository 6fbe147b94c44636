# The commands for people; each sets up what it needs first (scripts/setup).

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test check figures mutants fuzz bench lock clean

PRESET ?= full# of the demo: full or smoke
JOBS ?= 2# processes of the tests; 0: this one alone
COVERAGE ?=# of the tests: 1 measures it, and `make check` prints it
ARGS ?=# further arguments: make test ARGS="-k bundle"

BIN := .venv/bin
# A simulated arm never talks to another machine's.
export ROS_AUTOMATIC_DISCOVERY_RANGE ?= LOCALHOST

# A ROS sourced in the calling shell would mix its libraries with those of .venv.
ifdef ROS_DISTRO
unexport PYTHONPATH LD_LIBRARY_PATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH
endif

help: ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

setup: ## install everything into .venv: packages, ROS 2 Jazzy, messages (PYTHON=…, TORCH_INDEX=…: see scripts/setup)
	@scripts/setup

demo: setup ## teach a simulated arm a new task and report on it: runs/demo/report.html (PRESET=smoke: a quick pass)
	@$(BIN)/ptr demo --preset $(PRESET) --out runs/demo $(ARGS)

test: setup ## run the tests, two at a time (ARGS="-k bundle": some of them; JOBS=0: one after the other)
	@$(BIN)/python -m pytest -n $(JOBS) $(if $(COVERAGE),--cov --cov-report=) $(ARGS)

check: setup ## lint, formatting, import directions, types; shell scripts and Dockerfiles; coverage of the last tests
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/python scripts/check_imports.py
	@$(BIN)/mypy
	@$(BIN)/shellcheck .ci/run bench/gpu_check.sh docker/entrypoint docker/host/setup scripts/setup
	@$(BIN)/hadolint docker/*.Dockerfile
	@if [ -f .coverage ]; then echo "coverage, the least covered modules first:"; $(BIN)/coverage report | sed -n '1,12p;$$p'; \
	else echo "coverage: not measured; make test COVERAGE=1 measures it"; fi

figures: setup ## count what makes the code easy or hard to read, beside what is asked (ARGS=--list: what stands in the way)
	@$(BIN)/python scripts/figures.py $(ARGS)

mutants: setup ## change the modules that must not be wrong and see whether the tests notice (minutes; ARGS="limits --all")
	@$(BIN)/python scripts/mutants.py $(ARGS)

fuzz: setup ## damage files of every format and see whether each damage is refused (ARGS="--inputs 300 bundle": some)
	@$(BIN)/python scripts/fuzz.py $(ARGS)

bench: setup ## measure the figures of docs/performance.md (minutes; best on an idle machine)
	@for file in bench/*_bench.py; do echo "== $$file"; $(BIN)/python "$$file" $(ARGS) || [ $$? = 77 ] || exit; done

LOCK := $(BIN)/uv pip compile -q --universal --python-version 3.10 --excludes requirements/cuda.txt --excludes requirements/simulator.txt \
	--annotation-style line --custom-compile-command "make lock" $(ARGS)
lock: setup ## resolve requirements/*.in for every supported Python: lock.txt, robot.txt beside an installed ROS, optional/
	@$(BIN)/python -m pip install -q uv
	@$(LOCK) $(filter-out requirements/robot.in,$(wildcard requirements/*.in)) -o requirements/lock.txt
	@$(LOCK) requirements/robot.in -o requirements/robot.txt
	@for file in requirements/optional/*.in; do \
		$(LOCK) -c requirements/lock.txt "$$file" -o "$${file%.in}.txt" || exit; done

clean: ## remove what set-up, build and tests made; runs/ stays
	rm -rf .venv build install log .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage src/*/*.egg-info
