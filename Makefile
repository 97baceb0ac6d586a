# The few commands a person needs. Everything goes into one target folder.
CARGO ?= cargo
PROFILE_DIR = $(or $(CARGO_TARGET_DIR),target)/release

.PHONY: help build demo test lint bench clean

help:
	@echo "make demo    build and run a receiver and two agents on this machine, and show the query to try"
	@echo "make build   the release binary: target/release/pyrrha"
	@echo "make test    all tests (unit, language, end to end with the peers that are installed)"
	@echo "make lint    formatting, clippy and the house's own checks"
	@echo "make bench   the tables beside Prometheus and VictoriaMetrics (set PYRRHA_PEERS to a folder of unpacked packages)"

build:
	$(CARGO) build --release -p server --features jemalloc

demo:
	$(CARGO) build --release -p server
	$(PROFILE_DIR)/pyrrha demo

lint:
	$(CARGO) fmt --all --check
	$(CARGO) run --quiet -p xtask -- tidy
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings

test:
	$(CARGO) run --quiet -p xtask -- tidy
	$(CARGO) build -p server
	$(CARGO) test --workspace

bench: build
	$(CARGO) build --release -p bench
	$(PROFILE_DIR)/bench receive --pyrrha $(PROFILE_DIR)/pyrrha
	$(PROFILE_DIR)/bench scrape --pyrrha $(PROFILE_DIR)/pyrrha
	$(PROFILE_DIR)/bench agent --pyrrha $(PROFILE_DIR)/pyrrha
	$(PROFILE_DIR)/bench query --pyrrha $(PROFILE_DIR)/pyrrha
	$(PROFILE_DIR)/bench cancel --pyrrha $(PROFILE_DIR)/pyrrha
	$(PROFILE_DIR)/bench compact --pyrrha $(PROFILE_DIR)/pyrrha
	$(PROFILE_DIR)/bench disk --pyrrha $(PROFILE_DIR)/pyrrha

clean:
	$(CARGO) clean
