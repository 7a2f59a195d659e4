# Thin: what the targets do is written in Rust. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

LOCAL := target/release/marketprism-local
# What runs, without what measures and tests it.
PARTS := -p marketprism-edge -p marketprism-central -p marketprism-clickhouse -p marketprism-local -p marketprism-venue-sim -p marketprism-adapter-build

.PHONY: help up down status build test check bench deps clean-data

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

up: build ## the whole system on this machine; returns when data is in hot ClickHouse; SPLIT=1: cold on an engine of its own
	@$(LOCAL) up $(if $(SPLIT),--split)

down: $(LOCAL) ## stop what `up` started, and only that; the data stays
	@$(LOCAL) down

status: $(LOCAL) ## what runs, its health and memory, rows in the tables
	@$(LOCAL) status || [ $$? = 3 ]

build: ## release binaries in target/release, adapters in target/adapters
	@cargo build --release --bins $(PARTS)
	target/release/marketprism-adapter-build

deps: $(LOCAL) ## get nats-server, the ClickHouse engine and the Python client that the stack and the tests need
	@$(LOCAL) install --python

test: ## every test
	@cargo build --release --workspace --all-targets
	target/release/marketprism-adapter-build --tests
	variables="$$($(LOCAL) install --print-env --python)"
	while IFS= read -r line; do export "$$line"; done <<< "$$variables"
	if cargo nextest --version >/dev/null 2>&1; then
		cargo nextest run --release --workspace
	else
		cargo test --release --workspace --all-targets
	fi

check: ## formatting, lints, the rules of this repository
	@cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	cargo run --release -q -p marketprism-tidy

bench: ## measurements; ARGS="..." goes to marketprism-bench
	@cargo build --release --workspace --all-targets
	target/release/marketprism-adapter-build
	variables="$$($(LOCAL) install --print-env)"
	while IFS= read -r line; do export "$$line"; done <<< "$$variables"
	target/release/marketprism-bench $(ARGS)

clean-data: $(LOCAL) ## stop the stack and delete its data, configuration and logs (asks; YES=1 does not); downloads stay
	@$(LOCAL) down --purge $(if $(YES),--yes)

$(LOCAL):
	@cargo build --release -q -p marketprism-local
