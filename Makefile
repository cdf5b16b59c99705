# `make` says what there is. Everything is installed into .venv; a second call installs nothing.

VENV := .venv
BIN := $(VENV)/bin
# The first Python that runs and is new enough: a pyenv shim may exist for a version that does not run.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python; do \
	if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	then command -v "$$python"; break; fi; done)
# Byte code is made when it is first needed, and kept, whatever the shell says: the tests start many Pythons.
export PYTHONDONTWRITEBYTECODE :=
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
# The tested versions of all that is installed; a Python that is newer than those gets the newest of everything.
CONSTRAINTS := $(shell '$(PYTHON)' -c 'import sys; print("constraints.txt" if sys.version_info < (3, 14) else "")' 2>/dev/null)
PINNED = $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
PINNED_BUILD = $(if $(CONSTRAINTS),--build-constraint $(CONSTRAINTS))
# What S3 is tested with holds back many packages, so that it is there with the tested versions alone.
S3 = $(if $(filter constraints.txt,$(CONSTRAINTS)),$(comma)s3)
comma := ,
SMOKE := tests/test_adl.py tests/test_cli.py tests/test_processor_eager.py tests/test_lazy_dispatch.py tests/test_processor.py

.DEFAULT_GOAL := help
.PHONY: help adl test lint fuzz fresh newest lowest smoke smoked constraints bench clean

help: ## print this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1#\2/p' Makefile | awk -F '#' '{ printf "%-18s%s\n", $$1, $$2 }'

adl: $(VENV)/.installed ## run the eight ADL benchmark queries on data/sample.root and plot them in adl.png
	$(BIN)/python -m hepgraph adl data/sample.root --plot adl.png

# pytest comes last, so that its closing line is the last thing printed.
test: lint ## lint, then the tests
	$(BIN)/python -m pytest -n 3

lint: $(VENV)/.installed-test ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

fuzz: $(VENV)/.installed-test ## the property tests, with ten times the examples
	HEPGRAPH_FUZZ=$${HEPGRAPH_FUZZ:-10} $(BIN)/python -m pytest -n 2 --timeout 7200 -m 'hypothesis or fuzz'

fresh:
	rm -rf .venv-newest
	$(MAKE) .venv-newest/.installed-test VENV=.venv-newest CONSTRAINTS=

newest: fresh ## all tests with the newest version of everything, and with the lowest that pyproject.toml allows
	.venv-newest/bin/python -m pytest -n 2
	$(MAKE) lowest

lowest: .lowest.txt ## all tests with the lowest versions
	$(MAKE) .venv-lowest/.installed-test VENV=.venv-lowest CONSTRAINTS=.lowest.txt
	.venv-lowest/bin/python -m pytest -n 2

smoke: fresh ## some tests with the newest version of everything, and lint beside them
	$(MAKE) --jobs=2 --output-sync=target smoked lint

smoked:
	.venv-newest/bin/python -m pytest -q -n 2 $(SMOKE)

constraints: fresh ## write constraints.txt anew, with the newest versions
	.venv-newest/bin/python -m pip install --quiet -e '.[s3]' --group s3
	.venv-newest/bin/python -m pip freeze --all --exclude-editable --exclude hepgraph >constraints.txt

# "numpy>=2.1" of pyproject.toml becomes "numpy==2.1.*".
.lowest.txt: pyproject.toml
	grep -oE '"[A-Za-z0-9_-]+>=[0-9.]+"' $< | tr -d '"' | sed -E 's/>=(.*)/==\1.*/' >$@

bench: $(VENV)/.installed-test ## every script of benchmarks/, one after the other
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

clean: ## remove .venv and all that was built or cached
	rm -rf $(VENV) .venv-newest .venv-lowest .lowest.txt build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis adl.png
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS) $(VENV)/.created
	$(PIP) install $(PINNED) $(PINNED_BUILD) --no-compile -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml $(CONSTRAINTS) $(VENV)/.created
	$(PIP) install $(PINNED) $(PINNED_BUILD) --no-compile -e '.[batch,dask,remote$(S3),yaml]' --group test $(if $(S3),--group s3)
	@touch $(VENV)/.installed $@

# pip >= 25.3 knows dependency groups and build constraints.
$(VENV)/.created:
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		python='$(PYTHON)'; \
		if [ -z "$$python" ]; then \
			echo 'hepgraph needs Python 3.11 or newer, and none was found: install one, or say "make PYTHON=/path/to/python3".' >&2; \
			exit 1; \
		fi; \
		if ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			echo "hepgraph needs Python 3.11 or newer, and $$python is none that runs: say \"make PYTHON=/path/to/python3\"." >&2; \
			exit 1; \
		fi; \
		if ! "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
			echo "$$python has no venv module: install it (Debian and Ubuntu: apt install python3-venv), or say \"make PYTHON=/path/to/python3\"." >&2; \
			exit 1; \
		fi; \
		echo "Making $(VENV) with $$python"; \
		"$$python" -m venv $(VENV); \
	fi
	$(PIP) install $(PINNED) --upgrade 'pip>=25.3' 'setuptools>=77'
	@touch $@
