//! What a metric is: one thing that Sluice and a peer both do, measured a round at a time.

use std::cell::RefCell;
use std::rc::Rc;

use serde::Serialize;

use crate::rig::BenchError;
use crate::traffic::Times;

/// Something that is measured on both sides.
pub(crate) struct Metric {
    /// What `--only` asks for. Metrics that differ in their peer alone share a name.
    pub(crate) name: &'static str,
    /// Whom Sluice is measured against.
    pub(crate) peer: &'static str,
    /// What is counted.
    pub(crate) unit: Unit,
    /// What the ratio of Sluice to its peer must come to: at most, or at least, as the unit has it.
    pub(crate) target: Option<f64>,
    /// What Sluice's own figure must come to, whatever the peer does.
    pub(crate) limit: Option<f64>,
    /// How many rounds, where there is time; a quick run takes fewer.
    pub(crate) rounds: usize,
    /// Builds what both sides need, and sees to it that they judge alike where they judge the same.
    pub(crate) prepare: fn(Effort) -> Result<Pair, BenchError>,
}

/// Both sides, ready for their rounds.
pub(crate) struct Pair {
    pub(crate) sluice: Round,
    pub(crate) peer: Round,
    pub(crate) remarks: Rc<RefCell<Remarks>>,
}

/// What the rounds have to say beside their figures.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remarks {
    /// Under what conditions the figures came about, where they say so.
    pub(crate) note: Option<String>,
    /// Whether those were other than what is promised speaks of, so that nothing is kept by them.
    pub(crate) falls_short: bool,
    /// How long Sluice's frames were under way, and the peer's.
    pub(crate) times: Option<[Times; 2]>,
}

/// Runs one side for a round and returns its figure.
pub(crate) type Round = Box<dyn FnMut() -> Result<f64, BenchError>>;

/// How long a run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// All metrics in less than 5 minutes.
    Quick,
    /// All metrics in less than 30.
    Full,
}

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    /// Nanoseconds a packet, look-up or insertion.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Microseconds.
    #[serde(rename = "us")]
    Microseconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Mebibytes.
    #[serde(rename = "MiB")]
    Mebibytes,
    /// Packets a second.
    #[serde(rename = "packets/s")]
    PacketsPerSecond,
}

impl Effort {
    /// One of two, by how much time there is.
    pub(crate) fn choose<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

impl Unit {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Mebibytes => "MiB",
            Self::PacketsPerSecond => "packets/s",
        }
    }

    /// Whether `value` is as good as `bound` or better.
    pub(crate) fn meets(self, value: f64, bound: f64) -> bool {
        if self.is_rate() { value >= bound } else { value <= bound }
    }

    /// The sign that a bound is written with.
    pub(crate) fn sign(self) -> &'static str {
        if self.is_rate() { ">=" } else { "<=" }
    }

    /// Whether more is better.
    pub(crate) fn is_rate(self) -> bool {
        self == Self::PacketsPerSecond
    }
}

impl Pair {
    pub(crate) fn new(sluice: Round, peer: Round) -> Self {
        Self { sluice, peer, remarks: Rc::default() }
    }
}

impl Metric {
    /// How many rounds a run takes.
    pub(crate) fn rounds(&self, effort: Effort) -> usize {
        effort.choose(self.rounds.div_ceil(3), self.rounds)
    }
}
