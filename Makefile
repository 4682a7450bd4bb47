# Two commands do everything on a bare machine: `make demo` and `make test`.
# One profile (release) and one target directory, outside the clone, for the binary, tests and benches.

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/driftless
export CARGO_TARGET_DIR ?= $(CACHE)/target
export CLIPPY_CONF_DIR := $(CURDIR)/.config
# Debian keeps mariadbd in /usr/sbin, which is not on everybody's path.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin:/usr/sbin

.DEFAULT_GOAL := help
.PHONY: help setup build demo test soak fmt clippy clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile | expand -t 16

setup: ## install what is missing (once; quick when there is nothing to do)
	@scripts/setup.sh

build: setup ## the binary
	cargo build --release --locked

demo: build ## a shop in private databases, kept fresh for a minute before your eyes
	$(CARGO_TARGET_DIR)/release/driftless demo

test: setup ## all tests
	@if cargo nextest --version >/dev/null 2>&1; \
	then cargo nextest run --release --locked; \
	else cargo test --release --locked -- --test-threads=2; fi

soak: setup ## random models against their recompute, and against Postgres and DuckDB, and broken SQL, 10,000 times (`SEED=n` begins elsewhere)
	CASES=$${CASES:-10000} cargo test --release --locked --test operators --test oracles --test fuzz -- --nocapture

fmt: ## format the code
	cargo fmt

clippy: setup ## lint, as .ci/run does
	cargo clippy --release --locked --all-targets -- -D warnings

clean: ## remove the target directory and the cached database templates
	rm -rf $(CARGO_TARGET_DIR) $(CACHE)/*template-*
