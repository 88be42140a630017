# Everything that a fresh Debian or Ubuntu with Rust needs for the demo, the tests and the benches.
# Each target installs the system packages that it lacks, then builds.

SHELL := /bin/bash
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# clang compiles the gate; the others are what libxdp's build wants.
BUILD_PACKAGES := clang libclang-dev libelf-dev zlib1g-dev linux-libc-dev m4 make gcc libc6-dev pkg-config
# Namespaces and cables of the demo and the tests.
RUN_PACKAGES := iproute2
# Peers that others wrote, for the tests.
PEER_PACKAGES := iperf3 nmap curl iputils-ping python3-scapy
# The kernel as a peer.
BENCH_PACKAGES := nftables ethtool procps util-linux

.PHONY: help build demo test bench bench-quick loss lint fuzz clean packages

help:
	@echo 'make demo           the story: namespaces, sluiced, real connections, expected beside observed'
	@echo 'make demo KEEP=1    the same, left up to look around'
	@echo 'make test           everything; the tests in network namespaces need root'
	@echo 'make bench          Sluice beside kernel forwarding, and the criterion benches'
	@echo 'make loss           10 million frames below saturation: none lost, none doubled'
	@echo 'make build          sluiced and sluicectl in target/release'
	@echo 'make fuzz           each fuzz target for FUZZ_SECONDS (60); wants nightly and cargo-fuzz'
	@echo 'make lint           format and lints'

packages:
	@missing=$$(for package in $(BUILD_PACKAGES) $(PACKAGES); do \
	    dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || echo $$package; \
	done); \
	if [ -n "$$missing" ]; then \
	    echo "installing:" $$missing; \
	    $(SUDO) apt-get update -qq && \
	    $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

build: packages
	cargo build --release -p sluice-daemon -p sluice-cli

demo: PACKAGES := $(RUN_PACKAGES)
demo: packages
	cargo build --release -p sluice-daemon -p sluice-cli -p sluice-demo
	$(SUDO) target/release/sluice-demo $(if $(KEEP),--keep)

test: PACKAGES := $(RUN_PACKAGES) $(PEER_PACKAGES)
test: packages
	cargo test --workspace
	cargo test --manifest-path fuzz/Cargo.toml --target-dir target

bench: PACKAGES := $(RUN_PACKAGES) $(BENCH_PACKAGES)
bench: packages
	cargo build --release -p sluice-bench
	$(SUDO) target/release/sluice-bench compare
	$(SUDO) target/release/sluice-bench commit
	cargo bench -p sluice-bench

bench-quick: PACKAGES := $(RUN_PACKAGES) $(BENCH_PACKAGES)
bench-quick: packages
	cargo build --release -p sluice-bench
	$(SUDO) target/release/sluice-bench compare --quick

loss: PACKAGES := $(RUN_PACKAGES) $(BENCH_PACKAGES)
loss: packages
	cargo build --release -p sluice-bench
	$(SUDO) target/release/sluice-bench loss

lint: packages
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --manifest-path fuzz/Cargo.toml --target-dir target --all-targets -- -D warnings

# Each target for so many seconds; wants cargo-fuzz and a nightly toolchain.
FUZZ_SECONDS ?= 60
# The same differential test that `make test` runs over 2,000 clusters.
FUZZ_CLUSTERS ?= 100000
fuzz: packages
	for target in parse judge rule_set policy; do \
	    mkdir -p fuzz/corpus/$$target && \
	    cargo +nightly fuzz run $$target fuzz/corpus/$$target fuzz/regressions/$$target \
	        -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done
	SLUICE_SEEDS=0..$(FUZZ_CLUSTERS) cargo test --release -p sluice-policy --lib the_table_answers_as_the_oracle

clean:
	cargo clean
