//! How much memory a table of connections takes, counted by the allocator.

use sluice_core::conntrack::state::Timeouts;
use sluice_core::conntrack::{Connections, Limits};
use sluice_core::flow::FlowHasher;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

#[test]
fn a_million_connections_fit_into_160_mib() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let before = dhat::HeapStats::get().curr_bytes;
    let limits = Limits { connections_max: 1_000_000, account_connections_max: 1_000_000 };
    let connections = Connections::new(limits, Timeouts::default(), FlowHasher::seeded(1));
    let taken = dhat::HeapStats::get().curr_bytes - before;
    println!("{} bytes a connection", taken / connections.capacity());
    assert!(taken <= 160 << 20, "{taken} bytes");
}
