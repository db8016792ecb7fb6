# Everything here works on a machine with nothing but Python >= 3.11, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# make image: the tag, and the programs that can build, the preferred one first.
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE ?= ecticket-adapter:$(VERSION)
BUILDERS ?= docker podman buildah

# make sbom: the environment that is described, and the document.
SBOM_OF ?= build/runtime
SBOM ?= build/sbom.cdx.json

# make audit: further options of pip-audit, such as --osv-url or --ignore-vuln.
AUDIT_OPTIONS ?=

# make hashes: the versions of constraints.txt, for every platform and every supported Python, without an index.
COMPILE := $(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --upgrade \
  --constraints constraints.txt --no-annotate --no-header

# make bench: another checkout to compare with, with its own .venv; empty: none.
BEFORE ?=

# make fuzz: for all targets together.
FUZZ_SECONDS ?= 300

# Tests start hundreds of Python processes: each would compile the adapter again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo quick test browser prometheus fuzz chaos mutants acls bench charts apiserver-test hashes image sbom audit docs lint format clean

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV) || ($(PYTHON) -m pip install --user virtualenv && $(PYTHON) -m virtualenv $(VENV))
	$(BIN)/python -m pip install --quiet -c constraints.txt --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY) ## Local Kafka, sandbox, adapter: 200 orders become tickets before your eyes
	$(BIN)/ecticket-adapter demo

lint: $(READY) ## Style and strict types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

browser:
	@sh tests/browser/chromium.sh

quick: $(READY) ## Tests without broker and browser, with fewer examples; less than two minutes
	QUICK_TESTS=1 $(BIN)/pytest -q -n 2 --dist worksteal -m 'not broker and not browser and not slow'

prometheus:
	@sh tests/monitoring/prometheus.sh

test: lint browser prometheus ## Everything, the real broker and a real browser included
	$(BIN)/pytest -n 3 --dist worksteal -m 'not alone'
	$(BIN)/pytest -m alone

fuzz: $(READY) ## Fuzz what reads envelopes, notifications and records for FUZZ_SECONDS; new inputs go to tests/fuzz/corpus
	cd tests && ../$(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS)

chaos: $(READY) ## Ten seeds of every chaos scenario, then each protection switched off in turn; about half an hour
	cd tests && ../$(BIN)/python -m chaos --seeds 1-10
	cd tests && ../$(BIN)/python -m chaos --protections --orders 160

mutants: $(READY) ## Take each protection away, one line at a time: a fast test must notice; about ten minutes
	cd tests && ../$(BIN)/python -m mutants

acls: $(READY) ## Take each Kafka right of each role away, one at a time: the role must fail; about fifteen minutes
	cd tests && ../$(BIN)/python -m acls

bench: $(READY) ## What it costs: orders a second, CPU, memory, added time; beside a plain loop, and the checkout BEFORE
	$(BIN)/python -m benchmarks all $(BEFORE) --json bench.json

charts: $(READY) ## Write the chart's generated parts: the settings in its values and schema, the rendered examples
	cd tests && ../$(BIN)/python -m helm

apiserver-test: $(READY) ## Submit all that the chart renders to the cluster of kubectl's context, as a dry run
	cd tests && ../$(BIN)/python -m helm.apiserver

hashes: $(READY) ## Write requirements/: what the image holds and what builds it, with the SHA-256 of every file of the index
	echo pip | $(COMPILE) --output-file requirements/image.txt --extra otel pyproject.toml -
	echo hatchling | $(COMPILE) --output-file requirements/build.txt -

image: ## Build the container image IMAGE, with the first of BUILDERS that works here
	@for builder in $(BUILDERS); do \
	  if $$builder info >/dev/null 2>&1; then \
	    exec $$builder build --file Containerfile --tag $(IMAGE) --build-arg VERSION=$(VERSION) \
	      --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) . ; \
	  fi; \
	done; \
	echo "make image needs one of these, installed and running: $(BUILDERS)." >&2; exit 1

build/runtime: pyproject.toml requirements/image.txt $(READY)
	rm -rf $@ build/wheel
	$(BIN)/python -m hatchling build --target wheel --directory build/wheel
	$(BIN)/python -m venv --without-pip $@
	$(BIN)/python -m pip --python $@/bin/python install --quiet --only-binary=:all: --require-hashes -r requirements/image.txt
	$(BIN)/python -m pip --python $@/bin/python install --quiet --no-deps --no-index build/wheel/*.whl

sbom: $(READY) $(SBOM_OF) ## Write the bill of materials of the image's Python packages (CycloneDX)
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
	  --output-format JSON --output-file $(SBOM) $(SBOM_OF)/bin/python

audit: $(READY) ## Look for known vulnerabilities of the pinned dependencies; needs the network
	$(BIN)/pip-audit --requirement constraints.txt --strict -s osv --no-deps --disable-pip $(AUDIT_OPTIONS) \
	|| { echo "make audit failed: a vulnerability is named above, or the database was not reached for all of them." >&2; exit 1; }

docs: $(READY) ## The manual as a searchable site in build/site; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "The manual is in build/site/index.html."

format: $(READY) ## Let the formatter write
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis
