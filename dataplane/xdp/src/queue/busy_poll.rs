//! Busy polling: the worker's own calls run the driver's receive work, in place of interrupts.
//!
//! `SO_PREFER_BUSY_POLL` (Linux 5.11, Documentation/networking/napi.rst) has the kernel leave the
//! driver's work to whoever polls, as long as polls come in time; the interface's
//! `napi_defer_hard_irqs` and `gro_flush_timeout` say how long it waits for the next one before it
//! turns interrupts on again. Without these two it polls as well, and little is gained.
//!
//! The kernel accepts the options on any queue, and polls only where it knows what: the NAPI
//! instance, which newer kernels ask the driver for when a socket is bound, and older ones learn from
//! the first frame. Where neither tells, each poll would be a system call for nothing, and is left
//! out.
//!
//! Without copies, a socket that prefers polls wakes the driver for nothing: its frames leave only if
//! the work that receives is the work that sends. In virtio_net, and in igb with few queues, these are
//! two, and nothing would leave. A queue that does not get rid of its frames by polls is therefore
//! left to interrupts from then on.

use std::io;

use super::QueueError;
use crate::socket::Socket;

/// Kicks in a row that send nothing of what waits, after which polls are given up. A device that is
/// merely full takes something within milliseconds, and each kick is a system call.
pub(super) const STALLED_KICKS_MAX: u32 = 4096;

/// How a queue is polled. Needs Linux 5.11, CONFIG_NET_RX_BUSY_POLL and CAP_NET_ADMIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusyPoll {
    /// Microseconds that a call which waits may poll for (`SO_BUSY_POLL`), from 1. A queue's own
    /// calls never wait: they poll once.
    pub microseconds: u32,
    /// Frames that a poll takes at most (`SO_BUSY_POLL_BUDGET`), from 1.
    pub budget: u16,
}

/// Whether polls do anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Polling {
    /// Nobody wants them, or they do not do all that they would have to.
    Off,
    /// The kernel does not know what to poll, and may learn it from the first frame.
    Unknown,
    On,
}

impl BusyPoll {
    /// Has the kernel poll the queue of a socket when the socket is asked.
    pub(super) fn begin(
        self,
        socket: &Socket,
        interface: &str,
        queue_id: u32,
    ) -> Result<Polling, QueueError> {
        let microseconds = i32::try_from(self.microseconds).unwrap_or(i32::MAX);
        for (option, number, value) in [
            ("SO_PREFER_BUSY_POLL", libc::SO_PREFER_BUSY_POLL, 1),
            ("SO_BUSY_POLL", libc::SO_BUSY_POLL, microseconds),
            ("SO_BUSY_POLL_BUDGET", libc::SO_BUSY_POLL_BUDGET, self.budget.into()),
        ] {
            socket.set_option(number, value).map_err(|source| QueueError::NoBusyPoll {
                interface: interface.to_owned(),
                queue_id,
                option,
                source,
            })?;
        }
        Ok(if is_polled(socket) { Polling::On } else { Polling::Unknown })
    }
}

impl Polling {
    /// What is known after a frame has come.
    #[cold]
    pub(super) fn after_a_frame(socket: &Socket) -> Self {
        if is_polled(socket) { Self::On } else { Self::Off }
    }
}

/// Leaves the queue of a socket to interrupts again.
#[cold]
pub(super) fn end(socket: &Socket) -> io::Result<()> {
    socket.set_option(libc::SO_PREFER_BUSY_POLL, 0)?;
    socket.set_option(libc::SO_BUSY_POLL, 0)
}

/// Whether the kernel knows what to poll for a socket.
pub(super) fn is_polled(socket: &Socket) -> bool {
    socket.general_option(libc::SO_INCOMING_NAPI_ID).is_ok_and(|napi| napi != 0)
}
