#!/bin/bash
# Runs the tests of the crates that touch packet memory, `unsafe` and C under AddressSanitizer, with
# a nightly toolchain. Those in network namespaces want root.
set -euo pipefail
cd "$(dirname "$0")/../.."

here=$PWD/dataplane/xdp
# With frame pointers, so that stacks are whole and what is left out is recognised.
export RUSTFLAGS='-Zsanitizer=address -Cforce-frame-pointers=yes'
export ASAN_OPTIONS=suppressions=$here/asan.supp
export LSAN_OPTIONS=suppressions=$here/lsan.supp:print_suppressions=0
# A target has to be named, or build scripts would be sanitised too.
cargo +nightly test -p sluice-xdp -p sluice-engine --lib --tests --no-fail-fast \
    --target "$(rustc +nightly -vV | sed -n 's/^host: //p')" --target-dir target/asan
