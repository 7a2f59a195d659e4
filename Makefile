# Thin: the logic of the targets is in Rust. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

# Tests and `up` run development builds, which are there sooner; `build`, `dist` and `bench` make release builds.
LOCAL := target/debug/marketprism-local
# Running parts, without tests and benchmarks.
PARTS := -p marketprism-edge -p marketprism-central -p marketprism-clickhouse -p marketprism-local -p marketprism-venue-sim -p marketprism-adapter-build

# As in `.ci/run`: the build lints, with warnings as errors. Another wrapper (a cache) does not.
LINTED = $(filter %clippy-driver,$(RUSTC_WORKSPACE_WRAPPER))
FAULTS = $(if $(KILLS),kills --kills $(KILLS),faults --minutes $(or $(MINUTES),30)$(if $(CLOCKS), --clocks))
# Engines and brokers of the tests create small files by the ten thousand, which on a disk is up to half of their CPU time.
IN_MEMORY = [ -z "$${TMPDIR:-}" ] && awk '$$1 == "MemAvailable:" { exit $$2 < 8388608 }' /proc/meminfo \
	&& findmnt -no OPTIONS,AVAIL -b -T /dev/shm 2>/dev/null | awk '{ exit /noexec/ || $$NF < 8589934592 }'
CHAOS = $(if $(REGIONS),regions --minutes $(or $(MINUTES),5),$(if $(ALERTS),alerts,$(FAULTS)))

.PHONY: help up down restart status logs diagnose parts build dist dist-build test histories check bench chaos soak deps clean-data

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

up: parts ## build and start the whole system here; returns when data is in ClickHouse; SPLIT=1: a second engine for cold
	@$(LOCAL) up $(if $(SPLIT),--split)

down: $(LOCAL) ## stop the parts that `up` started; the data stays
	@$(LOCAL) down

restart: parts ## down, then up; the data stays
	@$(LOCAL) restart $(if $(SPLIT),--split)

status: $(LOCAL) ## processes, health, memory, rows in the tables; fails when a part is unwell
	@$(LOCAL) status

logs: $(LOCAL) ## the end of the logs; PART=edge: of one part, FOLLOW=1: go on until Ctrl-C
	@$(LOCAL) logs $(PART) $(if $(FOLLOW),--follow)

diagnose: $(LOCAL) ## ports, disks, locks; then edges, broker, ClickHouse, leases, data
	@$(LOCAL) diagnose

build: RELEASE := --release
build: ## release binaries in target/release, adapters in target/adapters

# The adapters beside the rest: each is linked by one processor. `.ci/run` does the same.
parts build:
	@echo "[1/3] building the tool that builds adapters (the first time compiles all dependencies: several minutes)"
	cargo build $(RELEASE) $(PARTS) --bin marketprism-adapter-build
	echo "[2/3] building the adapters as WebAssembly components in target/adapters; at the same time"
	mkdir -p target/tmp
	target/$(if $(RELEASE),release,debug)/marketprism-adapter-build >target/tmp/adapters.log 2>&1 &
	adapters=$$!
	trap 'kill "$$adapters" 2>/dev/null || true' EXIT
	echo "[3/3] building edge, central, the ClickHouse server, the venue simulator and their tools"
	cargo build $(RELEASE) --bins $(PARTS)
	wait "$$adapters" || { cat target/tmp/adapters.log >&2; exit 1; }
	grep -E 'sha256:|^skipped:' target/tmp/adapters.log

dist: $(if $(ARCH),dist-build) build ## archive, Debian packages, signed adapters, bills of materials and checksums in target/dist-packages; KEY=: secret key that signs; ARCH=arm64: cross-built, in target/dist-packages-arm64
	@cargo build --release -q -p marketprism-dist
	target/release/marketprism-dist pack $(if $(ARCH),--arch $(ARCH)) --key $(or $(KEY),.marketprism/dist-signing.key)

# First, so that an unknown architecture is refused before anything else is built.
dist-build:
	@cargo build --release -q -p marketprism-dist
	target/release/marketprism-dist build --arch $(ARCH)

deps: $(LOCAL) ## install nats-server, the ClickHouse engine and the Python client for the stack and the tests
	@$(LOCAL) install --python

test: ## all tests
	@cargo build --workspace --all-targets
	target/debug/marketprism-adapter-build --tests
	variables="$$($(LOCAL) install --print-env --python)"
	while IFS= read -r line; do export "$$line"; done <<< "$$variables"
	if $(IN_MEMORY); then
		export TMPDIR="$$(mktemp -d -p /dev/shm marketprism-test.XXXXXX)"
		trap 'rm -rf "$$TMPDIR"' EXIT
	fi
	# No test may be skipped for want of what the line above installs.
	export MARKETPRISM_TESTS=complete
	if cargo nextest --version >/dev/null 2>&1; then
		passed=0
		rm -f target/nextest/default/junit.xml
		cargo nextest run --workspace || passed=$$?
		echo "Skipped parts of tests, and how often:"
		grep -ohs 'SKIPPED: [^<]*' target/nextest/default/junit.xml | sed "s/&apos;/'/g" | sort | uniq -c || echo "      none"
		exit $$passed
	else
		cargo test --workspace --all-targets
	fi

histories: ## 100,000 random histories against the report's rule of completeness, of which `make test` takes 10,000
	@cargo test --workspace --lib report::completeness::model -- --ignored

check: ## formatting, lints, repository rules (tests/tidy)
	@cargo fmt --all --check
	$(if $(LINTED),cargo build --workspace --all-targets,cargo clippy --workspace --all-targets -- -D warnings)
	cargo run -q -p marketprism-tidy

bench: ## measurements; ARGS="..." goes to marketprism-bench
	@cargo build --release --workspace --bins
	target/release/marketprism-adapter-build
	variables="$$(target/release/marketprism-local install --print-env)"
	while IFS= read -r line; do export "$$line"; done <<< "$$variables"
	target/release/marketprism-bench $(ARGS)

chaos: ## all parts under kills, cuts, restores and faults, judged by the venue's own list; SEED=, MINUTES=3; REGIONS=1, ALERTS=1: as soak
	@$(MAKE) --no-print-directory soak MINUTES=$(or $(MINUTES),$(if $(REGIONS),5,3))

soak: ## as chaos, for MINUTES=30, memory and handles too; CLOCKS=1: with stepped clocks; KILLS=200: one edge killed at so many points; REGIONS=1: three regions and a centre in network namespaces (root); ALERTS=1: each alert fires and clears (prometheus)
	@cargo build --bins
	target/debug/marketprism-adapter-build
	variables="$$($(LOCAL) install --print-env)"
	while IFS= read -r line; do export "$$line"; done <<< "$$variables"
	target/debug/marketprism-chaos $(CHAOS) $(if $(SEED),--seed $(SEED))

clean-data: $(LOCAL) ## stop the stack and delete its data, configuration and logs (asks; YES=1 does not); downloads stay
	@$(LOCAL) down --purge $(if $(YES),--yes)

$(LOCAL):
	@cargo build -q -p marketprism-local
