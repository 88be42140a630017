//! Taking a queue, and knowing that one has been let go.
//!
//! The kernel tears a socket down in the background: for some milliseconds after a close, or after the
//! death of the process that had it, the queue looks occupied.

use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::net::if_::if_indextoname;

use super::Copying;
use crate::region::Region;
use crate::socket::{Socket, Unbound};

/// How long a bind waits for a former owner's teardown.
const BIND_PATIENCE: Duration = Duration::from_secs(2);

/// What a teardown in the background is given where it cannot be watched.
const TEARDOWN: Duration = Duration::from_millis(100);

const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// Why a queue copies its frames, though zero-copy was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyCopied {
    /// The driver, or this kernel's version of it, has no zero-copy.
    NotOffered,
    /// The driver has it, and fails to set it up: the number that the kernel gave (errno).
    SetUpFailed(i32),
}

impl WhyCopied {
    /// What a refused zero-copy bind says about the driver; `None` if it is not about that.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        match error.raw_os_error()? {
            libc::EOPNOTSUPP => Some(Self::NotOffered),
            // Some drivers decline in other words, or run short of something that only they need.
            number @ (libc::EINVAL | libc::ENOMEM | libc::EIO | libc::ENOSPC) => {
                Some(Self::SetUpFailed(number))
            }
            _ => None,
        }
    }
}

impl fmt::Display for WhyCopied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOffered => f.write_str("the driver offers no zero-copy on this kernel"),
            Self::SetUpFailed(number) => {
                let error = io::Error::from_raw_os_error(*number);
                write!(f, "the driver failed to set up zero-copy: {error}")
            }
        }
    }
}

/// Binds in the mode that is wanted; waits for a former socket's teardown. Tells why it copies, if
/// it need not have.
///
/// Zero-copy is asked for by name: left to itself, the kernel takes to copying without a word.
pub(super) fn bind_patiently(
    mut unbound: Unbound,
    interface: &str,
    queue_id: u32,
    copying: Copying,
    chains: bool,
) -> io::Result<(Socket, Option<WhyCopied>)> {
    let deadline = Instant::now() + BIND_PATIENCE;
    let mut mode = if copying == Copying::Always { libc::XDP_COPY } else { libc::XDP_ZEROCOPY };
    // Older kernels refuse the flag, so only who needs it asks for it.
    let chains = if chains { libc::XDP_USE_SG } else { 0 };
    let mut why_copied = None;
    loop {
        let flags = libc::XDP_USE_NEED_WAKEUP | mode | chains;
        let (back, error) = match unbound.bind(interface, queue_id, flags) {
            Ok(socket) => return Ok((socket, why_copied)),
            Err(refusal) => refusal,
        };
        unbound = back;
        if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline {
            std::thread::sleep(RETRY_INTERVAL);
            continue;
        }
        match WhyCopied::of(&error) {
            Some(why) if copying == Copying::IfNeeded && mode == libc::XDP_ZEROCOPY => {
                why_copied = Some(why);
                mode = libc::XDP_COPY;
            }
            _ => return Err(error),
        }
    }
}

/// True once the kernel has let go of a closed socket's memory: its queue can be bound again.
///
/// Goes by the interface's number: it may have another name by now, and another interface its name.
pub(super) fn released(interface_index: u32, queue_id: u32) -> bool {
    let Ok(name) = if_indextoname(interface_index) else {
        // A device that is gone has been torn down as a whole.
        return true;
    };
    let Ok(name) = name.into_string() else { return false };
    // Regions are never unmapped, so one serves all probes of the process.
    static SCRATCH: OnceLock<Option<&'static Region>> = OnceLock::new();
    let Some(scratch) = *SCRATCH.get_or_init(|| Region::map(1, false, false).ok()) else {
        return false;
    };
    let Ok(unbound) = Unbound::new(scratch, 64) else { return false };
    match bind_patiently(unbound, &name, queue_id, Copying::Always, false) {
        Ok(_) => true,
        Err(error) => match error.raw_os_error() {
            Some(libc::ENODEV | libc::ENXIO) => true,
            // Nothing can be bound to a device that is down, so nothing can be asked this way. It
            // moves no frame either, and this is many times as long as a teardown takes.
            Some(libc::ENETDOWN) => {
                std::thread::sleep(TEARDOWN);
                true
            }
            _ => false,
        },
    }
}
