//! Why the engine refuses: each refusal names what is wrong and what would be right.

use crate::capture::CAPTURES_MAX;
use crate::engine::{PORTS_MAX, WORKERS_MAX};
use crate::worker::WORKER_PATIENCE;

/// Why the engine refuses.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No core is configured, or more than there are workers.
    #[error("cores: {0} are configured; want 1 to {WORKERS_MAX}")]
    CoreCount(usize),
    /// The system does not let a thread run on the core.
    #[error("cores: core {core} is not to be had; this process may run on {available:?}")]
    Core {
        /// The core asked for.
        core: usize,
        /// The cores that there are.
        available: Vec<usize>,
    },
    /// A core is named twice.
    #[error("cores: core {0} is named twice; each worker needs a core of its own")]
    CoreTwice(usize),
    /// A thread or one of its file descriptors could not be made.
    #[error("a worker could not be started: {0}")]
    Start(std::io::Error),
    /// There is a port of that name.
    #[error("port {0}: there is one of that name already; remove it first")]
    PortExists(String),
    /// Another port has the same pod.
    #[error("port {port}: pod {pod} has port {other} already; a pod has one port")]
    PodAttached {
        /// The port asked for.
        port: String,
        /// The pod.
        pod: String,
        /// The port that the pod has.
        other: String,
    },
    /// Another port has the same MAC on the same network.
    #[error("port {port}: MAC {mac} belongs to port {other} already; each pod needs its own")]
    MacTaken {
        /// The port asked for.
        port: String,
        /// The MAC.
        mac: String,
        /// The port that has it.
        other: String,
    },
    /// There is no port of that name.
    #[error("port {0}: there is none of that name")]
    NoSuchPort(String),
    /// A queue is placed on a worker that is not there.
    #[error("port {port}: there is no worker {worker}; there are {count}, from 0")]
    NoSuchWorker {
        /// The port.
        port: String,
        /// The worker asked for.
        worker: usize,
        /// How many there are.
        count: usize,
    },
    /// No number is left for another port.
    #[error("port {0}: {PORTS_MAX} ports are there already, which is the most")]
    TooManyPorts(String),
    /// A port needs a queue.
    #[error("port {0}: it has no queue")]
    NoQueue(String),
    /// No place is left for another capture.
    #[error("{CAPTURES_MAX} captures are under way, which is the most; let one end first")]
    TooManyCaptures,
    /// A worker does not answer.
    #[error("worker {0} has not answered for {WORKER_PATIENCE:?}; it is stuck or has died")]
    WorkerStuck(usize),
}
