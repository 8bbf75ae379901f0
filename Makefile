# `make top` and `make test` install what they need; `make` alone lists all targets.
# Set-up talks on stderr only, so that `make top ARGS="--once --json" | jq .` works; make itself
# talks on stdout only when told to change folders, hence `make -s -C FOLDER`.

.DEFAULT_GOAL := help
.NOTPARALLEL:

ARGS ?=
KERNELS ?=
TIERS ?=
PYTHON ?= /usr/bin/python3
PREFIX ?= /usr/local
DESTDIR ?=
UV ?= uv

# Debian packages: to run, and on top of these for the tests and for the benchmarks.
RUN_PACKAGES := python3-bpfcc python3-venv
TEST_PACKAGES := $(RUN_PACKAGES) bpftool chromium fish g++ groff mandoc stress-ng tmux zsh
DEB_PACKAGES := $(RUN_PACKAGES) debhelper fakeroot lintian
RELEASE_PACKAGES := $(RUN_PACKAGES) debootstrap
KERNEL_PACKAGES := $(RUN_PACKAGES) qemu-system-x86 busybox-static gcc kmod
BENCH_PACKAGES := $(RUN_PACKAGES) bpfcc-tools bpftool

VENV := .venv
BIN := $(VENV)/bin
PROMETHEUS := $(VENV)/tools/prometheus
AS_OWNER := scripts/as-owner
# Root's compiled files have no place in a user's checkout; sudo drops the terminal's colours.
AS_ROOT := scripts/as-root env PYTHONDONTWRITEBYTECODE=1 COLORTERM="$$COLORTERM"
PYTEST := $(AS_ROOT) HYPOTHESIS_STORAGE_DIRECTORY=/run/kmemtrace-tests $(BIN)/python -m pytest -p no:cacheprovider
PIP := $(AS_OWNER) $(BIN)/python -m pip -q --disable-pip-version-check
PIP_INSTALL := $(PIP) install --root-user-action=ignore

# Tests that need neither root nor packages; and those that load no BPF program.
UNIT := $(addprefix tests/,unit decoders recording history screen web)
WITHOUT_KERNEL := $(UNIT) tests/rules

PYTHON_SOURCES := kmemtrace tests guests dashboards manual website $(if $(wildcard bench/*.py),bench)
C_SOURCES = $(shell find probes -name '*.[ch]')

# A virtual environment does not survive an upgrade of its Python to another minor version.
PYTHON_NAME := $(notdir $(realpath $(shell command -v $(PYTHON))))
STALE := $(if $(wildcard $(BIN)),$(if $(wildcard $(VENV)/lib/$(PYTHON_NAME)),,stale))

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile
	@echo 'Options go in ARGS: make top ARGS="--once --json"'

.PHONY: top
top: $(VENV)/.project ## watch charges by cgroup, live
	@$(AS_ROOT) $(BIN)/kmemtrace top $(ARGS)

.PHONY: check
check: $(VENV)/.project ## show what this kernel offers
	@$(AS_ROOT) $(BIN)/kmemtrace check $(ARGS)

# What loads BPF programs looks at all that is loaded, and counts exactly: one test after the other, nothing beside it.
.PHONY: test
test: lint $(VENV)/.dev $(PROMETHEUS) | test-packages ## run linters, type checks and all tests
	@$(PYTEST) -n auto --dist loadfile $(WITHOUT_KERNEL) && beside=0 || beside=$$?; \
		$(PYTEST) $(addprefix --ignore=,$(WITHOUT_KERNEL)) && exit $$beside

.PHONY: pytest
pytest: $(VENV)/.dev $(PROMETHEUS) | test-packages ## run the tests alone, one after the other
	@$(PYTEST) $(ARGS)

.PHONY: unit
unit: RUN_PACKAGES :=
unit: $(VENV)/.dev ## run the tests that need neither root nor packages
	@$(AS_OWNER) env HYPOTHESIS_STORAGE_DIRECTORY=$(VENV)/hypothesis \
		$(BIN)/python -m pytest -p no:cacheprovider $(UNIT) $(ARGS)

.PHONY: test-kernels
test-kernels: $(VENV)/.dev | kernel-packages silence-packages $(if $(findstring --bench,$(ARGS)),bench-packages) ## run the live tests on other kernels under QEMU; KERNELS="6.1 7.2" picks
	@$(AS_ROOT) $(BIN)/python -m guests.matrix $(foreach tier,$(TIERS),--tier $(tier)) $(KERNELS) $(ARGS)

MINUTES ?= 20
.PHONY: test-faults
test-faults: $(VENV)/.dev | kernel-packages silence-packages ## break kernels under QEMU and see it found, then load them and see nothing found
	@$(AS_ROOT) $(BIN)/python -m guests.matrix --only-faults --minutes $(MINUTES) \
		$(foreach tier,$(TIERS),--tier $(tier)) $(or $(KERNELS),5.10 6.1 6.12 7.x) $(ARGS)

.PHONY: test-release
test-release: wheel | release-packages ## install, use and remove the packages on bare roots of Debian 12 and 13
	@$(AS_ROOT) KMEMTRACE_RELEASE=1 $(BIN)/python -m pytest -p no:cacheprovider tests/release $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev ## run linters and type checks
	@$(AS_OWNER) $(BIN)/ruff check .
	@$(AS_OWNER) $(BIN)/ruff format --check .
	@$(AS_OWNER) $(BIN)/mypy $(PYTHON_SOURCES)
	@$(AS_OWNER) $(BIN)/lint-imports --no-cache --no-logo >$(VENV)/imports.log || { cat $(VENV)/imports.log; false; }
	@$(AS_OWNER) $(BIN)/clang-format --dry-run -Werror $(C_SOURCES)

.PHONY: format
format: $(VENV)/.dev ## format Python and C, and fix what ruff can
	@$(AS_OWNER) $(BIN)/ruff check --fix-only .
	@$(AS_OWNER) $(BIN)/ruff format .
	@$(AS_OWNER) $(BIN)/clang-format -i $(C_SOURCES)

.PHONY: demo
demo: $(VENV)/.project $(PROMETHEUS) ## run a small workload, the exporter and a Prometheus with our rules
	@$(AS_ROOT) $(BIN)/python -m dashboards.demo

.PHONY: dashboards
dashboards: $(VENV)/.dev ## write the Grafana dashboards anew from dashboards/source
	@$(AS_OWNER) $(BIN)/python -m dashboards.source.build

.PHONY: manual
manual: $(VENV)/.dev ## write the manual pages and the shells' completions in share/ anew
	@$(AS_OWNER) $(BIN)/python -m manual

.PHONY: site
site: $(VENV)/.dev ## build the documentation as pages that need no network into site/
	@$(AS_OWNER) $(BIN)/python -m website site

.PHONY: pictures
pictures: $(VENV)/.dev ## draw the dashboards' panels into docs/, while `make demo` runs
	@$(AS_OWNER) $(BIN)/python -m dashboards.pictures $(ARGS)

.PHONY: picture
picture: $(VENV)/.dev ## draw `kmemtrace top` into docs/, of a real run on some 300 cgroups
	@$(AS_ROOT) $(BIN)/python -m dashboards.top_picture $(ARGS)

.PHONY: report-picture
report-picture: $(VENV)/.dev | test-packages ## draw the page of `kmemtrace report` into docs/, of a real run on some 300 cgroups
	@$(AS_ROOT) $(BIN)/python -m dashboards.report_picture $(ARGS)

.PHONY: bench
bench: $(VENV)/.project | bench-packages ## run the benchmarks
	@$(AS_ROOT) $(BIN)/python bench/overhead.py $(ARGS)

.PHONY: bench-walk
bench-walk: $(VENV)/.project | silence-packages ## hold each call site that is told without the kernel's walk against it
	@$(AS_ROOT) $(BIN)/python bench/walk.py $(ARGS)

.PHONY: bench-tiers
bench-tiers: $(VENV)/.project | bench-packages ## run the benchmark of each tier's programs
	@$(AS_ROOT) $(BIN)/python bench/tiers.py $(ARGS)

.PHONY: bench-objects
bench-objects: $(VENV)/.project | bench-packages ## run the benchmark of following slab objects
	@$(AS_ROOT) $(BIN)/python bench/objects.py $(ARGS)

.PHONY: bench-verdicts
bench-verdicts: $(VENV)/.project | silence-packages ## count how often verify comes to a verdict
	@$(AS_ROOT) $(BIN)/python bench/verdicts.py $(ARGS)

.PHONY: account
account: $(VENV)/.project ## print how much of each cgroup's kernel memory is explained, and what that costs
	@$(AS_ROOT) $(BIN)/python bench/account.py $(ARGS)

.PHONY: bench-scrape
bench-scrape: $(VENV)/.project | bench-packages ## run the benchmark of the exporter with 10,000 cgroups
	@$(AS_ROOT) $(BIN)/python bench/scrape.py $(ARGS)

.PHONY: bench-growth
bench-growth: $(VENV)/.project | bench-packages ## measure how a scrape and a frame grow with the cgroups
	@$(AS_ROOT) $(BIN)/python bench/growth.py $(ARGS)

.PHONY: bench-recording
bench-recording: $(VENV)/.project | bench-packages ## measure what recording costs, beside perf kmem and memleak
	@$(AS_ROOT) $(BIN)/python bench/recording.py $(ARGS)

.PHONY: bench-startup
bench-startup: $(VENV)/.project | bench-packages ## measure how long a start takes, and what stays resident
	@scripts/as-root $(BIN)/python bench/startup.py $(ARGS)

.PHONY: bench-peers
bench-peers: $(VENV)/.project | bench-packages ## run the benchmark of the exporter amidst slow and hostile peers
	@$(AS_ROOT) $(BIN)/python bench/peers.py $(ARGS)

.PHONY: bench-report
bench-report: $(VENV)/.project ## measure what a report of a day of 1,000 busy cgroups costs
	@$(AS_OWNER) $(BIN)/python bench/report.py $(ARGS)

.PHONY: wheel
wheel: $(VENV)/.dev ## build the wheel, the sdist and their list of packages (SBOM) into dist/
	@$(AS_OWNER) rm -rf dist
	@$(AS_OWNER) scripts/build-wheel $(BIN)/python dist
	@$(AS_OWNER) $(BIN)/cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml \
		-o dist/kmemtrace.cdx.json requirements-report.lock

.PHONY: deb
deb: wheel | deb-packages ## build the Debian packages for this machine's Debian into dist/
	@$(AS_OWNER) scripts/build-deb $(PYTHON) $(BIN)/pip dist/kmemtrace-*.whl dist

.PHONY: install
install: $(VENV)/.project ## install for all users, into PREFIX (/usr/local)
	@folder=$$($(AS_OWNER) mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	$(PIP) download --require-hashes -r requirements-report.lock --dest "$$folder" >&2 && \
	$(PIP) wheel --no-build-isolation --no-deps --wheel-dir "$$folder" . >&2 && \
	scripts/install $(PYTHON) $(BIN)/pip "$$folder" "$(DESTDIR)" "$(abspath $(PREFIX))"

.PHONY: uninstall
uninstall: ## remove what `make install` installed
	@scripts/uninstall "$(DESTDIR)" "$(abspath $(PREFIX))"

.PHONY: lock
lock: ## choose the newest packages that pyproject.toml allows (needs uv)
	@compile="$(UV) pip compile -q --upgrade --universal --generate-hashes --python-version 3.11" && \
	export UV_CUSTOM_COMPILE_COMMAND="make lock" && \
	$$compile pyproject.toml -o requirements.lock && \
	$$compile -c requirements.lock --extra report pyproject.toml -o requirements-report.lock && \
	$$compile -c requirements.lock --group build -o requirements-build.lock && \
	$$compile -c requirements-report.lock --group site -o requirements-site.lock && \
	$$compile -c requirements-report.lock -c requirements-build.lock -c requirements-site.lock --group dev -o requirements-dev.lock

.PHONY: clean
clean: ## remove everything that make made in this folder
	@$(AS_OWNER) rm -rf $(VENV) dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@$(AS_OWNER) find $(PYTHON_SOURCES) -name __pycache__ -prune -exec rm -rf {} +

.PHONY: run-packages test-packages deb-packages release-packages bench-packages kernel-packages silence-packages
run-packages:
	@scripts/install-packages $(RUN_PACKAGES)
test-packages:
	@scripts/install-packages $(TEST_PACKAGES)
deb-packages:
	@scripts/install-packages $(DEB_PACKAGES)
release-packages:
	@scripts/install-packages $(RELEASE_PACKAGES)
silence-packages:
	@scripts/install-packages stress-ng
kernel-packages:
	@scripts/install-packages $(KERNEL_PACKAGES)
bench-packages:
	@scripts/install-packages $(BENCH_PACKAGES)

# Made anew when a lock changes, so that nothing stays in it that the locks do not name.
$(VENV)/.locked: requirements-report.lock requirements-build.lock $(if $(STALE),FORCE) | run-packages
	@echo "kmemtrace: making the virtual environment $(VENV)" >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "kmemtrace: $(PYTHON) is not Python 3.11 or newer; name one: make PYTHON=..." >&2; exit 4; }
	@$(AS_OWNER) $(PYTHON) -m venv --clear $(VENV) >&2
	@$(PIP_INSTALL) --require-hashes -r requirements-report.lock -r requirements-build.lock >&2
	@$(AS_OWNER) touch $@

$(VENV)/.project: $(VENV)/.locked pyproject.toml | run-packages
	@$(PIP_INSTALL) --no-build-isolation --no-deps -e . >&2
	@$(AS_OWNER) touch $@

$(VENV)/.dev: $(VENV)/.project requirements-dev.lock requirements-site.lock
	@echo "kmemtrace: adding the tools for tests to $(VENV)" >&2
	@$(PIP_INSTALL) --require-hashes -r requirements-dev.lock -r requirements-site.lock >&2
	@$(AS_OWNER) touch $@

$(PROMETHEUS): | $(VENV)/.locked
	@$(AS_OWNER) scripts/unpack-package prometheus $@

.PHONY: FORCE
FORCE:
