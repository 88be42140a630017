//! What a thread takes of a processor.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::rig::BenchError;

/// Measures the processor time of this thread, its system calls included. What else the machine
/// does meanwhile costs caches, but does not count.
pub(crate) struct Stopwatch(Duration);

impl Stopwatch {
    pub(crate) fn start() -> Result<Self, BenchError> {
        now().map(Self)
    }

    pub(crate) fn seconds(&self) -> Result<f64, BenchError> {
        Ok((now()? - self.0).as_secs_f64())
    }
}

fn now() -> Result<Duration, BenchError> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map(Duration::from).map_err(BenchError::failed("the time of a thread"))
}
