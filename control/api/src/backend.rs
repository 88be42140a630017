//! What the daemon does for the API, in domain terms.
//!
//! [`Backend`] is what the service calls; its methods may block, since the service calls them
//! off its own threads. The structs are what both sides speak of. They serialise to the JSON that
//! `sluicectl -o json` prints.

mod capture;
mod counters;
mod outcome;
mod port;
mod preview;
mod status;

use sluice_policy::explain::{ExplainError, Explanation, Question};
use sluice_policy::model::{Fault, Protocol};
use sluice_policy::reach::{Family, Reach};

pub use capture::{
    CAPTURE_COUNT_DEFAULT, CAPTURE_COUNT_MAX, CAPTURE_DURATION_DEFAULT, CAPTURE_DURATION_MAX,
    CAPTURE_PORTS_MAX, Capture, CaptureOrder, Captured, DroppedFrame, SNAP_LEN_MAX,
};
pub use counters::{
    Counters, CycleUnit, DropCount, GateCounters, PortCounters, Sample, StageWork, Traffic,
    WorkerTraffic, WorkerWork,
};
pub use outcome::{CommitError, CommitOrder, Committed, Content, Failure, Refused};
pub use port::{
    Fallback, GateMode, PortKind, PortMode, PortSpec, PortState, QueueState, QueueStatistics,
};
pub use preview::{DIFF_LIMIT_DEFAULT, DIFF_LIMIT_MAX, DiffOrder, DyingConnection, Preview};
pub use status::{HEALTHY, ObjectCounts, Refusal, Source, Status, WorkerStatus};

/// A daemon, as the service needs it. Calls come from several threads at once.
pub trait Backend: Send + Sync + 'static {
    /// Puts a rule set in force, and returns when every worker judges by it.
    ///
    /// # Errors
    /// [`CommitError`].
    fn commit(&self, order: CommitOrder) -> Result<Committed, CommitError>;

    /// What a commit of the content would change; nothing changes.
    ///
    /// # Errors
    /// [`Refused`], where the commit would be refused for its content.
    fn diff(&self, order: DiffOrder) -> Result<Preview, Refused>;

    /// Learns of a commit that never became a rule set, so that the status can show it.
    /// Gives the refusal that the client is told.
    fn refuse(&self, version: &str, faults: Vec<Fault>) -> Refused {
        let _ = version;
        Refused { faults, running_revision: self.status().revision }
    }

    /// What is in force, and how the daemon is.
    fn status(&self) -> Status;

    /// The ports, sorted by interface.
    ///
    /// # Errors
    /// [`Failure`], if they cannot be read.
    fn ports(&self) -> Result<Vec<PortState>, Failure>;

    /// Attaches an interface.
    ///
    /// # Errors
    /// [`Failure`]; then nothing of the port is left.
    fn add_port(&self, port: PortSpec) -> Result<(), Failure>;

    /// Detaches the interface `name`.
    ///
    /// # Errors
    /// [`Failure`], if there is no such port or it does not come loose.
    fn remove_port(&self, name: &str) -> Result<(), Failure>;

    /// What has been counted.
    ///
    /// # Errors
    /// [`Failure`], if the counters cannot be read.
    fn counters(&self) -> Result<Counters, Failure>;

    /// Begins a capture of frames that are dropped from now on.
    ///
    /// # Errors
    /// [`Failure`], if a port is not there or as many captures are under way as may be.
    fn capture(&self, order: CaptureOrder) -> Result<Box<dyn Capture>, Failure>;

    /// An answer for each question, in the same order, all by the same rule set.
    fn explain(&self, questions: &[Question]) -> Vec<Result<Explanation, ExplainError>>;

    /// The verdict of every pair of pods for each of `ports`; without a `family` by whichever IP
    /// version suits a pair.
    fn reach(&self, ports: &[(Protocol, u16)], family: Option<Family>) -> Reach;
}

#[cfg(test)]
mod tests;
