//! The steward: the thread that keeps the forwarding database.
//!
//! Workers report stations that the FDB does not have; the steward learns them, forgets what
//! has aged and publishes the result. It is the reason that no worker ever writes to the FDB.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::engine::Inner;
use crate::sync::{Receiver, RecvTimeoutError};

/// How often sightings are looked at.
const INTERVAL: Duration = Duration::from_millis(10);

/// Runs until the sender of `stop` is dropped.
pub(crate) fn run(inner: &Arc<Inner>, clock: Clock, stop: &Receiver<()>) {
    while stop.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
        if let Err(error) = inner.tend_fdb(clock.now()) {
            tracing::warn!(%error, "the forwarding database was not published");
        }
    }
}
