#!/bin/bash
# Runs the models of what workers share (src/engine/models.rs), then puts each fault into the code
# and makes sure that the model that is there for it fails. LOOM_MAX_PREEMPTIONS=3 looks deeper.
set -euo pipefail
cd "$(dirname "$0")/../.."

# fault:model, and how many preemptions it takes if those that the model allows are not enough: all
# orders with one more would take too long, one that shows a fault is soon found. The faults are in
# the code, behind cfg!(mutant = "..."); what each is can be read there.
faults=(
    wake_without_fence:a_command_wakes_its_worker
    sleep_without_fence:a_frame_handed_over_wakes_its_worker
    lies_down_last:of_two_who_leave_something_neither_waits_in_vain
    publishes_at_once:once_published_no_worker_judges_by_the_old_table
    publishes_at_once:the_publisher_frees_the_old_scene_and_sees_the_new_revision
    seen_relaxed:the_publisher_frees_the_old_scene_and_sees_the_new_revision
    seen_too_early:what_was_in_an_inbox_before_a_publication_is_dealt_with_after_it
    ends_queues_first:nothing_names_a_port_that_has_been_removed:1
    newest_first:frames_handed_over_arrive_in_order
    full_queue_swallows:what_does_not_fit_into_an_inbox_is_counted
    pop_in_two_steps:the_reserve_loses_no_frame
    two_writers:a_counter_is_read_as_it_was_at_some_moment
)

# Builds the engine's unit tests, with a fault if one is named, and prints their executable. Only
# the engine is built anew for a fault; loom does nearly all the work, so it is optimised.
build() {
    RUSTFLAGS='--cfg loom -D warnings' cargo rustc --quiet -p sluice-engine --lib --profile test \
        --target-dir target/loom --message-format json-render-diagnostics \
        --config profile.dev.package.loom.opt-level=3 \
        --config profile.dev.package.generator.opt-level=3 \
        -- ${1:+--cfg "mutant=\"$1\""} |
        sed -nE 's/.*"name":"sluice_engine".*"executable":"([^"]+)".*/\1/p'
}

models=$(build)
RUST_BACKTRACE=0 "$models" engine::models:: --nocapture --test-threads 2

# Every model has to be there for some fault, or nobody knows whether it can fail.
for model in $("$models" --list engine::models:: | sed -nE 's/^engine::models::(.*): test$/\1/p'); do
    if [[ " ${faults[*]} " != *":$model"[\ :]* ]]; then
        echo "model $model notices no fault: name one in $0" >&2
        exit 1
    fi
done

for pair in "${faults[@]}"; do
    IFS=: read -r fault model preemptions <<<"$pair"
    broken=$(build "$fault")
    said=$(RUST_BACKTRACE=0 ${preemptions:+env LOOM_MAX_PREEMPTIONS="$preemptions"} \
        "$broken" --exact "engine::models::$model" 2>&1) || true
    if ! grep -q '^test result: FAILED. 0 passed; 1 failed' <<<"$said"; then
        echo "$said"
        echo "model $model does not notice the fault $fault" >&2
        exit 1
    fi
    echo "noticed: $fault, by $model"
done
