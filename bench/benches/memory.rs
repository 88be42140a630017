//! How much memory the table of a large cluster takes, and what a change adds while both the old
//! and the new table are held; and a connection table. Counted by the allocator, so the figures
//! are exact.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]

use std::sync::Arc;

use sluice_core::conntrack::state::Timeouts;
use sluice_core::conntrack::{Connections, Limits};
use sluice_core::flow::FlowHasher;
use sluice_policy::compile::{CompileOptions, Compiler};
use sluice_policy::model::Change;
use sluice_policy::oracle::generate::{Large, large, many_blocks};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn held() -> usize {
    dhat::HeapStats::get().curr_bytes
}

#[expect(clippy::cast_precision_loss, reason = "the first digits matter")]
fn mib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn main() {
    // Criterion's flags mean nothing here.
    let _profiler = dhat::Profiler::builder().testing().build();
    for unique_labels in [false, true] {
        let size = Large { pods: 10_000, namespaces: 1_000, policies: 2_000, unique_labels };
        measure(&format!("{size:?}"), || large(size));
    }
    measure("100,000 blocks", || many_blocks(100_000));
    for connections_max in [65_536, 1_000_000] {
        measure_connections(connections_max);
    }
}

fn measure_connections(connections_max: u32) {
    let before = held();
    let limits = Limits { connections_max, account_connections_max: connections_max };
    let connections = Connections::new(limits, Timeouts::default(), FlowHasher::seeded(1));
    println!("{} connections: {:.1} MiB", connections.capacity(), mib(held() - before));
}

fn measure(what: &str, rules: impl Fn() -> sluice_policy::model::RuleSet) {
    let before = held();
    let mut compiler = Compiler::with(rules(), &CompileOptions::default(), 1).unwrap();
    let whole = held() - before;
    let (old, mut pod) = (Arc::clone(compiler.table()), rules().pods().next().unwrap().clone());
    pod.name = "joined".into();
    pod.addresses = vec![[172, 16, 0, 1].into()];
    let before_change = held();
    compiler.apply(Change { upserts: vec![pod.into()], ..Change::default() }, 2).unwrap();
    let change = held() - before_change;
    drop(old);
    let table = Arc::clone(compiler.table());
    drop(compiler);
    println!(
        "{what}: table {:.1} MiB, table and compiler with its rule set {:.1} MiB; \
         a second table that differs by a pod {:.1} KiB",
        mib(held() - before),
        mib(whole),
        mib(change) * 1024.0
    );
    drop(table);
}
