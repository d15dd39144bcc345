# Everything runs in the environment $(VENV), which is made when it is missing or when its
# requirements have changed. Needs only make and Python 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
BIN := $(VENV)/bin
READY := $(VENV)/ready
LAB := $(VENV)/ready-lab

# One thread for each of the JOBS test processes; other commands use the cores that are there.
TEST_ENV := OMP_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help demo test lab notebooks lint clean

help:  ## this list
	@echo "make TARGET, where TARGET is one of:"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY)  ## train a small model on the proteins in data/, fold them, write out/demo/report.html
	$(BIN)/python -m minifold demo --out out/demo

test: lint  ## lint, all tests, then every notebook run again and compared with its stored output
	$(TEST_ENV) $(BIN)/python -m pytest tests -q -n $(JOBS)
	$(TEST_ENV) $(BIN)/python -m pytest notebooks -q -n $(JOBS) --dist loadscope \
	  --nbval --nbval-current-env --nbval-sanitize-with scripts/nbval.cfg

lab: $(LAB)  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

notebooks: $(READY)  ## build notebooks/ from lessons/ and run them
	$(TEST_ENV) $(BIN)/python scripts/build_notebooks.py

lint: $(READY)  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:  ## remove the environment, caches and everything under out/
	rm -rf $(VENV) out build dist release docs/_build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "minifold needs Python 3.11 or newer; '$(PYTHON)' is missing or older."; \
	  echo "Install one and name it: make PYTHON=python3.11 ..."; exit 1; }
	@echo "Making the environment $(VENV) (once; a few minutes)"
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' requirements.txt)"
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

$(LAB): $(READY)
	$(BIN)/python -m pip install --quiet --constraint requirements.txt --editable '.[notebooks]'
	@touch $@
