//! Why a queue was refused.

use std::io;

use super::WhyCopied;
use crate::shell::shell_word;

/// Why a queue was refused.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// A ring size that the kernel cannot have.
    #[error(
        "ring size {ring_size} is not a power of two from 64 to 32768; 2048 suits most machines"
    )]
    RingSize {
        /// What was asked for.
        ring_size: u32,
    },
    /// More frames to receive into than the fill ring has places.
    #[error(
        "{fill_frames_max} fill frames exceed the ring size {ring_size} or are none; lower or raise them"
    )]
    FillFrames {
        /// What was asked for.
        fill_frames_max: u32,
        /// Places on the ring.
        ring_size: u32,
    },
    /// Somebody else has an AF_XDP socket on the queue.
    #[error(
        "queue {queue_id} of {interface} is in use by another program; stop that program \
         (`ss --xdp -p` lists AF_XDP sockets) or leave {interface} out of the configuration"
    )]
    InUse {
        /// The interface.
        interface: String,
        /// The queue.
        queue_id: u32,
    },
    /// The interface has no such queue.
    #[error(
        "{interface} has no queue {queue_id}; `ethtool -l {}` shows how many it has",
        shell_word(interface)
    )]
    NoSuchQueue {
        /// The interface.
        interface: String,
        /// The queue.
        queue_id: u32,
    },
    /// The interface went away.
    #[error("{interface} does not exist in this network namespace; `ip link` lists those that do")]
    NoInterface {
        /// The interface.
        interface: String,
    },
    /// The process may not open AF_XDP sockets.
    #[error(
        "AF_XDP socket on queue {queue_id} of {interface} is not permitted; run as root or with \
         CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF"
    )]
    NotPermitted {
        /// The interface.
        interface: String,
        /// The queue.
        queue_id: u32,
    },
    /// The kernel does not receive packets of several chunks there, in no mode.
    #[error(
        "queue {queue_id} of {interface} takes no packets that are longer than a frame: {source}; \
         that needs Linux 6.6 or newer"
    )]
    NoChains {
        /// The interface.
        interface: String,
        /// The queue.
        queue_id: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// Zero-copy was demanded and is not to be had.
    #[error(
        "queue {queue_id} of {interface} cannot do without copies: {why}; demand no mode, or `copy`"
    )]
    NoZeroCopy {
        /// The interface.
        interface: String,
        /// The queue.
        queue_id: u32,
        /// What the driver lacks.
        why: WhyCopied,
    },
    /// Busy polling was demanded and is not to be had.
    #[error(
        "queue {queue_id} of {interface} cannot be polled: {option}: {source}; that needs Linux 5.11 \
         or newer with CONFIG_NET_RX_BUSY_POLL, and CAP_NET_ADMIN: have them, or do without busy polling"
    )]
    NoBusyPoll {
        /// The interface.
        interface: String,
        /// The queue.
        queue_id: u32,
        /// The socket option that is refused.
        option: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Any other refusal by the kernel.
    #[error(
        "AF_XDP socket on queue {queue_id} of {interface} failed: {source}; check that the kernel \
         has CONFIG_XDP_SOCKETS and that the driver supports XDP"
    )]
    Kernel {
        /// The interface.
        interface: String,
        /// The queue.
        queue_id: u32,
        /// What the kernel said.
        source: io::Error,
    },
}

impl QueueError {
    pub(super) fn refused(interface: &str, queue_id: u32, source: io::Error) -> Self {
        let interface = interface.to_owned();
        match source.raw_os_error() {
            Some(libc::EBUSY) => Self::InUse { interface, queue_id },
            Some(libc::ENODEV | libc::ENXIO) => Self::NoInterface { interface },
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted { interface, queue_id },
            _ => Self::Kernel { interface, queue_id, source },
        }
    }
}
