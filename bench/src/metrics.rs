//! All metrics, in the order in which they are measured.

mod beginnings;
mod changes;
mod connections;
mod forward;
mod latency;
mod prefixes;
mod rules;
mod verdict;
mod workers;

use crate::metric::Metric;

/// Every metric.
pub(crate) fn all() -> Vec<Metric> {
    [
        verdict::metrics(),
        connections::metrics(),
        prefixes::metrics(),
        rules::metrics(),
        changes::metrics(),
        forward::metrics(),
        beginnings::metrics(),
        latency::metrics(),
        workers::metrics(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The core that whatever runs in this process is measured on.
const CORE: usize = 1;

/// Keeps this thread on one core, where the machine has more than one.
fn pin() {
    core_affinity::set_for_current(core_affinity::CoreId { id: CORE });
}

/// Room for connections, a quarter of it free: a table that is full to the last slot is another
/// case, and a kernel's LRU evicts before it is.
fn room_for(connections: u32) -> u32 {
    connections + connections / 4
}
