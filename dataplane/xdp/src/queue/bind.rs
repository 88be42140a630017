//! Taking a queue, and knowing that one has been let go.
//!
//! The kernel tears a socket down in the background: for some milliseconds after a close, or after the
//! death of the process that had it, the queue looks occupied.

use std::io;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::region::Region;
use crate::socket::{Socket, Unbound};

/// How long a bind waits for a former owner's teardown.
const BIND_PATIENCE: Duration = Duration::from_secs(2);

const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// Binds in the best mode that the driver has; waits for a former socket's teardown.
pub(super) fn bind_patiently(
    mut unbound: Unbound,
    interface: &str,
    queue_id: u32,
    copy_only: bool,
) -> io::Result<Socket> {
    let deadline = Instant::now() + BIND_PATIENCE;
    let mut flags = libc::XDP_USE_NEED_WAKEUP;
    if copy_only {
        flags |= libc::XDP_COPY;
    }
    loop {
        let (back, error) = match unbound.bind(interface, queue_id, flags) {
            Ok(socket) => return Ok(socket),
            Err(refusal) => refusal,
        };
        unbound = back;
        match error.raw_os_error() {
            Some(libc::EBUSY) if Instant::now() < deadline => std::thread::sleep(RETRY_INTERVAL),
            // Some drivers fail their zero-copy set-up instead of declining it.
            Some(libc::EINVAL | libc::EOPNOTSUPP) if flags & libc::XDP_COPY == 0 => {
                flags |= libc::XDP_COPY;
            }
            _ => return Err(error),
        }
    }
}

/// True once the kernel has let go of a closed socket's memory: its queue can be bound again.
pub(super) fn released(interface: &str, queue_id: u32) -> bool {
    // Regions are never unmapped, so one serves all probes of the process.
    static SCRATCH: OnceLock<Option<&'static Region>> = OnceLock::new();
    let Some(scratch) = *SCRATCH.get_or_init(|| Region::map(1, false, false).ok()) else {
        return false;
    };
    let Ok(unbound) = Unbound::new(scratch, 64) else { return false };
    match bind_patiently(unbound, interface, queue_id, true) {
        Ok(_) => true,
        // A device that is gone has been torn down as a whole.
        Err(error) => matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)),
    }
}
