#!/bin/bash
# Runs fuzz targets one after another: `fuzz/run.sh SECONDS TARGET...`, at most so many seconds each.
# At the end says what each has executed and reached. Stops at the first finding and shows it.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1
shift

# What the fuzzer says while it runs is worth reading only if it finds something.
logs=fuzz/target/logs
mkdir -p "$logs"

summary=$(printf '%-12s %12s %8s %8s %8s' target executions cov features corpus)
for target in "$@"; do
    log=$logs/$target.log
    mkdir -p "fuzz/corpus/$target"
    # First of all, so that no target's seconds pass while it is built.
    cargo +nightly fuzz build "$target"
    echo "fuzzing $target for $seconds s; log: $log"
    if ! cargo +nightly fuzz run "$target" "fuzz/corpus/$target" "fuzz/regressions/$target" \
        -- -max_total_time="$seconds" -timeout=25 -print_final_stats=1 >"$log" 2>&1; then
        tail -n 60 "$log"
        echo "FOUND by $target; how to look at it: fuzz/README.md" >&2
        exit 1
    fi
    # The fuzzer's last line on its way: "#12345 DONE cov: 1 ft: 2 corp: 3/45b ...".
    read -r cov features corpus < <(sed -nE \
        's/^#[0-9]+[[:space:]]+DONE[[:space:]]+cov: ([0-9]+) ft: ([0-9]+) corp: ([0-9]+)\/.*/\1 \2 \3/p' "$log")
    executions=$(sed -nE 's/^stat::number_of_executed_units: ([0-9]+)$/\1/p' "$log")
    summary+=$'\n'$(printf '%-12s %12s %8s %8s %8s' "$target" "$executions" "$cov" "$features" "$corpus")
done
echo "$summary"
