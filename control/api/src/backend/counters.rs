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
    /// When they were read, in nanoseconds since the daemon started, by a clock that nobody sets.
    pub read_at_ns: u64,
    /// When the daemon started, in nanoseconds since 1970. What has another one was counted by
    /// another daemon.
    pub started_unix_ns: u64,
    /// What each worker has done, by index.
    pub workers: Vec<WorkerWork>,
}

/// What one worker has done, whatever the port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WorkerWork {
    /// The worker's index.
    pub worker: u32,
    /// Nanoseconds in turns that had something to do.
    pub busy_ns: u64,
    /// Turns that took a frame from a queue, or from another worker.
    pub turns: u64,
    /// Frames that they took. One that changes workers is taken by both.
    pub frames: u64,
    /// What some of these turns cost.
    pub sample: Sample,
}

/// What was measured in some of a worker's turns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Frames that these turns took.
    pub frames: u64,
    /// What stages are measured in.
    pub unit: CycleUnit,
    /// In the order of a packet's way. Together they took as long as the turns.
    pub stages: Vec<StageWork>,
}

/// What one stage of a packet's way took. The stage is text, since a daemon may know stages that its
/// client does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StageWork {
    /// Its name.
    pub stage: String,
    /// Frames that went through it, which need not be all.
    pub frames: u64,
    /// What it took, in the sample's unit.
    pub cycles: u64,
}

/// What short spans of time are measured in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CycleUnit {
    /// Cycles of the processor's time stamp counter, whose rate is the same at all times.
    #[default]
    Cycles,
    /// Nanoseconds, where there is no such counter.
    Nanoseconds,
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

impl CycleUnit {
    /// The word for it in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cycles => "cycles",
            Self::Nanoseconds => "nanoseconds",
        }
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
