//! Frames for other addresses than the interface's own.
//!
//! Behind an uplink live pods with MAC addresses of their own, and a NIC throws away what is not addressed to itself
//! before any program sees it. veths have no such filter.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::interface::Interface;

/// Keeps an interface promiscuous as long as it lives; several may hold the same interface.
///
/// The kernel takes it back when the process ends, however it ends (packet(7), `PACKET_MR_PROMISC`).
#[derive(Debug)]
pub(crate) struct Promiscuous {
    // Held for the membership; no packet ever comes through it.
    _socket: OwnedFd,
}

impl Promiscuous {
    /// Makes an interface of the current network namespace promiscuous.
    ///
    /// # Errors
    /// What the kernel said.
    pub(crate) fn hold(interface: &Interface) -> io::Result<Self> {
        join(interface.index()).map(|socket| Self { _socket: socket })
    }
}

fn join(index: u32) -> io::Result<OwnedFd> {
    // Protocol 0: the socket is on no receive path.
    // SAFETY: creates a descriptor; nothing else is touched.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just created and is owned by nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let request = libc::packet_mreq {
        mr_ifindex: libc::c_int::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?,
        mr_type: u16::try_from(libc::PACKET_MR_PROMISC).map_err(|_| io::ErrorKind::InvalidInput)?,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of::<libc::packet_mreq>()).unwrap_or(0);
    // SAFETY: the kernel reads `length` bytes of `request`, which lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const request).cast(),
            length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}
