# The commands of this repository. Each fetches and builds what it needs; nothing has to be set up by hand.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO ?= cargo
# The whole workspace every time, so that each dependency is compiled once, with one set of features.
# The operator and the tests' nodes serve clusters alone: whoever trains on machines does not wait for it.
BUILD := $(CARGO) build --release --workspace --bins --exclude firn-operator --exclude firn-kubernetes-tests

.PHONY: help demo build test test-long faults upgrade kubernetes images bench bench-load bench-history bench-queue bench-faults lint format doctor libtorch minilm python tools clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{ printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: build minilm ## Fine-tune a pretrained sentence encoder on film, food and hotel reviews, on two ranks
	@bash tests/demo.sh

build: tools libtorch ## Build the two binaries, target/release/firn and target/release/firn-worker
	@$(BUILD)

test: export FIRN_TESTS_BEGAN := $(shell date +%s)
test: build minilm python ## Run all tests (Rust and Python) and print how many passed
	@$${PYTHON:-python3} tests/everything.py

test-long: build minilm python ## Run the Python tests at the sizes that take many minutes
	@.python/bin/python -m pytest -s -p no:cacheprovider --long -m long tests/python

faults: build ## Break running jobs in every way of tests/FAULTS.md, with every option of a training run (ten minutes)
	@$(CARGO) test --release --workspace --test faults -- --include-ignored --nocapture --test-threads 2

upgrade: build ## Build the oldest supported version from history, and upgrade running jobs from it
	@tests/older_build.sh da01602
	@$(CARGO) test --release --workspace --test upgrade -- --nocapture --test-threads 1

kubernetes: build ## Build a Kubernetes control plane, helm, Kueue and cert-manager (once, 57 minutes of processor time), and test on them
	@tests/kubernetes/programs.sh >/dev/null
	@$(CARGO) build --release --workspace --bins
	@$(CARGO) test --release --workspace --test resource --test workers --test chart --test node --test operator --test stories --test images -- --include-ignored --skip from_source --nocapture

images: build ## Build the images from source, GPU's too, and start them (20 minutes of processor time, 3.5 GB to download, 20 GB of space)
	@$(CARGO) build --release --workspace --bins
	@$(CARGO) test --release --workspace --test images -- --ignored --nocapture from_source

bench: build python ## Measure Firn beside torchrun and plain sockets, and print the ratios
	@bash tests/bench.sh

bench-load: build ## Put ten thousand agents and a thousand jobs on one coordinator (four minutes)
	@$(CARGO) bench --quiet -p firn-tests --bench load -- queue
	@$(CARGO) bench --quiet -p firn-tests --bench load -- agents

bench-history: ## Measure start, memory and proof with ten, a thousand and ten thousand ended jobs (a minute)
	@$(CARGO) test --quiet --release -p firn --lib engine::tests::figures::a_history_of_ten_thousand_jobs -- --ignored --nocapture

bench-queue: ## Measure decisions beside ten thousand jobs that wait in twenty namespaces (a minute)
	@$(CARGO) test --quiet --release --workspace --lib engine::tests::queue_figures -- --ignored --nocapture

bench-faults: build python ## Kill ranks and the coordinator at random, beside torchrun, and measure how long it takes and what is lost
	@missed=0; for part in recovery coordinator_kill strict_kills; do python3 tests/benches/$$part.py || missed=1; echo; done; exit $$missed

lint: tools libtorch ## Check formatting, clippy, documentation and (if cargo-deny is installed) dependencies
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --release --workspace --all-targets -- --deny warnings
	@RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --release --workspace --no-deps --quiet
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check; else echo "skipped: cargo-deny is not installed (cargo install cargo-deny)"; fi

format: ## Format all Rust code
	@$(CARGO) fmt --all

doctor: build ## Say what this machine can do
	@target/release/firn-worker doctor

libtorch: ## Get libtorch into deploy/.libtorch (for GPUs: deploy/libtorch.sh --cuda)
	@deploy/libtorch.sh

minilm: ## Get the sentence encoder of the demo into .cache
	@deploy/minilm.sh

python: ## Make .python, which the tests compare Firn with
	@deploy/python.sh

tools:
	@command -v $(CARGO) >/dev/null || { echo "error: cargo was not found: install Rust, version $$(awk -F '"' '/^rust-version/{ print $$2 }' Cargo.toml) or newer (rustup.rs)" >&2; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || command -v g++ >/dev/null || { echo "error: no C++ compiler was found: install g++ (Debian, Ubuntu: apt-get install g++)" >&2; exit 1; }
	@found=$$(rustc --version | awk '{ print $$2 }'); wanted=$$(awk -F '"' '/^rust-version/{ print $$2 }' Cargo.toml); \
	if [ "$$(printf '%s\n%s\n' "$$wanted" "$$found" | sort -V | head -n 1)" != "$$wanted" ]; then \
		echo "error: Rust $$found is too old, Firn needs $$wanted: run 'rustup update'" >&2; exit 1; fi

clean: ## Remove what was built; what was fetched stays
	@$(CARGO) clean
