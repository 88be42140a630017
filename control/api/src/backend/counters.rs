//! What has been counted.

use serde::Serialize;
use sluice_core::drop::DropReason;

/// What has been counted since the daemon started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Of all ports, those that have been removed among them.
    pub total: Traffic,
    /// Of each port, sorted by interface.
    pub ports: Vec<PortCounters>,
}

/// What has been counted on one port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PortCounters {
    /// The interface.
    pub port: String,
    /// Of all workers.
    pub total: Traffic,
    /// Of each worker.
    pub workers: Vec<WorkerTraffic>,
    /// Of the gate; `None` where it could not be read.
    pub gate: Option<GateCounters>,
}

/// What one worker has counted on one port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WorkerTraffic {
    /// The worker's index.
    pub worker: u32,
    /// What it has counted.
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// Frames and bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Frames received.
    pub rx_frames: u64,
    /// Their bytes, from the Ethernet header on.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Their bytes, from the Ethernet header on.
    pub tx_bytes: u64,
    /// Copies made because a frame went to several ports.
    pub flood_copies: u64,
    /// The reasons that frames were dropped for. Reasons without a frame may be left out.
    pub drops: Vec<DropCount>,
}

/// Frames dropped for one reason. The reason is text, since a daemon may know reasons that its
/// client does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DropCount {
    /// The reason's name.
    pub reason: String,
    /// One sentence for people.
    pub description: String,
    /// Frames dropped for it.
    pub frames: u64,
}

/// What the gate of one interface has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct GateCounters {
    /// Frames handed to the daemon.
    pub steered: u64,
    /// Frames of the node's own traffic that went to the kernel.
    pub passed_to_node: u64,
    /// Frames dropped because no socket was there: the daemon did not run, or the port was not open.
    pub fallback_dropped: u64,
    /// Frames given to the kernel because the daemon did not run.
    pub fallback_passed: u64,
}

impl Traffic {
    /// Frames dropped for any reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.drops.iter().fold(0, |sum, drop| sum.saturating_add(drop.frames))
    }
}

impl DropCount {
    /// `frames` dropped for `reason`.
    #[must_use]
    pub fn new(reason: DropReason, frames: u64) -> Self {
        Self {
            reason: reason.name().to_owned(),
            description: reason.description().to_owned(),
            frames,
        }
    }
}
