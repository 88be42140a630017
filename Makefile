# Everything that a fresh Debian or Ubuntu with Rust needs for the demo, the tests and the benches.
# Each target installs the system packages that it lacks, then builds.

SHELL := /bin/bash
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# clang compiles the gate; the others are what libxdp's build wants.
BUILD_PACKAGES := clang libclang-dev libelf-dev zlib1g-dev linux-libc-dev m4 make gcc libc6-dev pkg-config
# Namespaces and cables of the demo and the tests.
RUN_PACKAGES := iproute2
# Peers that others wrote, for the tests.
PEER_PACKAGES := iperf3 nmap curl iputils-ping python3-scapy ethtool
# What goes into a virtual machine, beside kernels and QEMU.
VM_PACKAGES := busybox-static kmod cpio xz-utils ethtool
# Peers of the benches: the kernel, DPDK, Open vSwitch. What a distribution does not have is reported
# as not measured.
BENCH_PACKAGES := ethtool procps util-linux
BENCH_PEERS := nftables dpdk-dev openvswitch-switch-dpdk
# Counts instructions.
COUNT_PACKAGES := valgrind

.PHONY: help build demo test test-vm bench bench-quick instructions instructions-accept flood loss lint fuzz fuzz-quick loom asan clean packages peers

help:
	@echo 'make demo           the story: namespaces, sluiced, real connections, expected beside observed'
	@echo 'make demo KEEP=1    the same, left up to look around'
	@echo 'make test           everything; the tests in network namespaces need root'
	@echo 'make test-vm        real NIC drivers and other kernels, in virtual machines; skips what cannot be downloaded'
	@echo 'make bench          Sluice beside eBPF, DPDK, nftables and Open vSwitch, then criterion; writes bench/report'
	@echo 'make bench-quick    the same comparison in less than 5 minutes'
	@echo 'make instructions   instructions of a packet on its main paths, against a baseline; instructions-accept writes it'
	@echo 'make flood          SYNs from a million sources while established connections work'
	@echo 'make loss           10 million frames below saturation: none lost, none doubled'
	@echo 'make build          sluiced and sluicectl in target/release'
	@echo 'make fuzz           each fuzz target for FUZZ_SECONDS (60); wants nightly and cargo-fuzz'
	@echo 'make fuzz-quick     each for 20 seconds; skipped where those are missing'
	@echo 'make loom           what workers share, in every order of threads that the memory model allows'
	@echo 'make asan           the tests of xdp and engine under AddressSanitizer; skipped without nightly'
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

VM_CACHE := $(or $(SLUICE_VM_CACHE),$(HOME)/.cache/sluice-vm)
VM_TARGET := x86_64-unknown-linux-gnu
test-vm: PACKAGES := $(RUN_PACKAGES) $(VM_PACKAGES)
test-vm: packages
	SLUICE_VM_CACHE=$(VM_CACHE) control/vm/fetch.sh
	@if $(SUDO) env SLUICE_VM_CACHE=$(VM_CACHE) control/vm/run.sh --ready; then \
	    RUSTFLAGS='-C target-feature=+crt-static' cargo build --profile vm --target $(VM_TARGET) \
	        -p sluice-daemon -p sluice-cli -p sluice-vm && \
	    $(SUDO) env SLUICE_VM_CACHE=$(VM_CACHE) control/vm/run.sh target/$(VM_TARGET)/vm; \
	fi

# A peer that cannot be installed is no reason not to measure the others; the script says which.
peers:
	@$(SUDO) bench/peers/install.sh $(BENCH_PEERS) || true

bench: PACKAGES := $(RUN_PACKAGES) $(BENCH_PACKAGES)
bench: packages peers
	cargo build --release -p sluice-bench
	$(SUDO) target/release/sluice-bench compare --report bench/report
	$(SUDO) target/release/sluice-bench commit
	cargo bench -p sluice-bench

bench-quick: PACKAGES := $(RUN_PACKAGES) $(BENCH_PACKAGES)
bench-quick: packages peers
	cargo build --release -p sluice-bench
	$(SUDO) target/release/sluice-bench compare --quick

# Counts do not depend on what else the machine does; see bench/README.md.
INSTRUCTIONS := target/instructions/sluice-instructions
INSTRUCTIONS_FILES := bench/instructions/baseline.txt target/callgrind
instructions instructions-accept: PACKAGES := $(COUNT_PACKAGES)
instructions instructions-accept: packages
	cargo build --profile instructions -p sluice-instructions
	@$(INSTRUCTIONS) $(if $(filter %-accept,$@),accept,check) $(INSTRUCTIONS_FILES)

flood: PACKAGES := $(RUN_PACKAGES) $(BENCH_PACKAGES)
flood: packages
	cargo build --release -p sluice-bench
	$(SUDO) target/release/sluice-bench flood

loss: PACKAGES := $(RUN_PACKAGES) $(BENCH_PACKAGES)
loss: packages
	cargo build --release -p sluice-bench
	$(SUDO) target/release/sluice-bench loss

lint: packages
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --manifest-path fuzz/Cargo.toml --target-dir target --all-targets -- -D warnings

loom: packages
	dataplane/engine/loom.sh

# A toolchain that a check happens to want is not worth a download that nobody asked for.
NIGHTLY_IS_HERE := RUSTUP_AUTO_INSTALL=0 cargo +nightly --version >/dev/null 2>&1

# llvm-symbolizer, so that what is left out can be named by function.
asan: PACKAGES := $(RUN_PACKAGES) llvm
asan: packages
	@if ! $(NIGHTLY_IS_HERE); then \
	    echo '*** NOT RUN under AddressSanitizer: no nightly toolchain; `rustup toolchain install nightly`' >&2; \
	else \
	    dataplane/xdp/asan.sh; \
	fi

# One for each file in fuzz/fuzz_targets; `make fuzz FUZZ_TARGETS=judge` runs one.
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
FUZZ_SECONDS ?= 60
# The same differential test that `make test` runs over 2,000 clusters.
FUZZ_CLUSTERS ?= 100000
fuzz: packages
	fuzz/run.sh $(FUZZ_SECONDS) $(FUZZ_TARGETS)
	SLUICE_SEEDS=0..$(FUZZ_CLUSTERS) cargo test --release -p sluice-policy --lib the_table_answers_as_the_oracle

fuzz-quick: packages
	@if ! $(NIGHTLY_IS_HERE); then \
	    echo '*** NOT FUZZED: no nightly toolchain; `rustup toolchain install nightly`' >&2; \
	elif ! cargo fuzz --version >/dev/null 2>&1; then \
	    echo '*** NOT FUZZED: no cargo-fuzz; `cargo install cargo-fuzz`' >&2; \
	else \
	    fuzz/run.sh 20 $(FUZZ_TARGETS); \
	fi

clean:
	cargo clean
