# `make` lists what there is. Everything lives in .venv, .cache and lab/.state.
SCENARIO ?= default
SEEDS ?= 200
FAULTS ?= all
ROUNDS ?= 5
GATEWAY ?= stand-in
BENCH ?=
PYTHON ?= python3

BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help venv tools browser browser-tools docker images demo demo-down test lint types unit simulate simulate-mutants molecule chaos bench-takeover bench-validate bench-sync bench-backup lock docs site clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: ## make .venv with the locked tools
	@$(PYTHON) lab/bootstrap.py venv

tools: ## see that the programs the unit tests run are there
	@$(PYTHON) lab/bootstrap.py tools

browser-tools: ## see that Chromium is there for the tests of the web page
	@$(PYTHON) lab/bootstrap.py browser

docker: ## see that Docker runs; on Debian, install and start it
	@$(PYTHON) lab/bootstrap.py docker

images: docker ## build the lab's images
	@$(PYTHON) lab/bootstrap.py images

demo: venv images ## three machines in containers: provision, kill PC-A, watch PC-B take over, go home
	@$(BIN)/python lab/demo.py

demo-down: ## remove everything the demo made
	@$(BIN)/ansible-playbook -i lab/inventory lab/destroy.yml

test: venv tools browser-tools images ## everything: lint, types, unit tests, molecule scenarios
	@$(BIN)/python tests/run.py

lint: venv ## ruff, yamllint, ansible-lint, the collection's build
	@$(BIN)/python tests/run.py lint

types: venv ## mypy --strict
	@$(BIN)/python tests/run.py types

unit: venv tools ## unit tests
	@$(BIN)/python tests/run.py unit

browser: venv browser-tools ## the web page in headless Chromium: PICTURES=1 takes the docs' pictures anew
	@$(BIN)/python tests/run.py browser

simulate: venv ## the shipped guard and watchdog under thousands of faults: SEEDS=200
	@$(BIN)/python tests/simulation/histories.py --seeds $(SEEDS)
	@$(BIN)/python tests/simulation/crashes.py
	@$(BIN)/python tests/simulation/search.py

simulate-mutants: venv ## each safety rule, taken away, must be caught
	@$(BIN)/python tests/simulation/mutants.py

molecule: venv images ## one scenario: make molecule SCENARIO=failover
	@$(BIN)/molecule test --scenario-name $(SCENARIO)

chaos: venv images ## every fault on the three machines, ROUNDS=5 times; FAULTS='clock|link' chooses by name
	@FAULTS='$(FAULTS)' ROUNDS='$(ROUNDS)' $(BIN)/molecule test --scenario-name chaos

bench-takeover: venv images ## seconds without service, beside keepalived and Pacemaker: GATEWAY=stand-in or real, BENCH='--rounds 3'
	@$(BIN)/python bench/takeover.py --gateway $(GATEWAY) $(BENCH)

bench-validate: venv ## validate_memory beside sha256sum of the same tree: BENCH='--files 1000 --megabytes 0'
	@$(BIN)/python bench/validate.py $(BENCH)

bench-sync: venv tools ## a memory sync beside plain rsync, and continuous mode: BENCH='--files 1000 --database 0'
	@$(BIN)/python bench/sync.py $(BENCH)

bench-backup: venv tools ## a backup and a restore beside rsnapshot and restic: BENCH='--files 100000 --megabytes 2048'
	@$(PYTHON) lab/bootstrap.py peers
	@$(BIN)/python bench/backup.py $(BENCH)

lock: ## lock the Python dependencies again, with hashes
	@$(PYTHON) -m venv .cache/lock
	@.cache/lock/bin/pip install --quiet pip-tools
	@for in in requirements/*.in roles/*/files/*.in; do \
	  echo "locking $$in"; \
	  .cache/lock/bin/pip-compile --quiet --no-header --strip-extras --generate-hashes --allow-unsafe --no-emit-index-url \
	    --no-emit-trusted-host --no-emit-find-links --output-file="$${in%.in}.txt" "$$in" || exit 1; \
	done

docs: venv ## write docs/reference.md anew, and build the site
	@$(BIN)/python docs/build_reference.py
	@$(MAKE) --no-print-directory site

site: .cache/docs/.complete ## build the documentation into .cache/site; a broken link is an error
	@NO_MKDOCS_2_WARNING=1 .cache/docs/bin/mkdocs build

.cache/docs/.complete: requirements/docs.txt
	@$(PYTHON) -m venv .cache/docs
	@.cache/docs/bin/pip install --quiet --require-hashes --requirement requirements/docs.txt
	@touch $@

clean: ## remove the tools' caches
	@rm -rf .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis dualjoe-ha-*.tar.gz
