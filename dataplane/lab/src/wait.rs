//! Waiting for a condition, and for root.

use std::time::{Duration, Instant};

/// Asks `condition` every few milliseconds until it holds or the time is over; true if it held.
#[must_use]
pub fn wait_until(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// True if the process runs as root.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// True as root; otherwise says on standard error that the test was skipped.
#[must_use]
pub fn root_or_skip() -> bool {
    let root = is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}
