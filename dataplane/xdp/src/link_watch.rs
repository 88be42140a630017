//! Tells that links or addresses of a network namespace have changed.
//!
//! A NETLINK_ROUTE socket (rtnetlink(7)) that is subscribed to the kernel's announcements. What has
//! changed is not read from them: whoever waits looks at the interfaces again, and so cannot be led
//! astray by an announcement that was lost.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

/// Listens in the network namespace in which it was opened.
#[derive(Debug)]
pub struct LinkWatch {
    socket: OwnedFd,
}

impl LinkWatch {
    /// Starts to listen in the current network namespace. Look at the interfaces after this, not
    /// before, or a change in between goes unnoticed.
    ///
    /// # Errors
    /// If the kernel gives no socket.
    pub fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkRoute,
        )?;
        let groups = [libc::RTMGRP_LINK, libc::RTMGRP_IPV4_IFADDR, libc::RTMGRP_IPV6_IFADDR];
        let groups = groups.into_iter().fold(0, |all, group| all | group.cast_unsigned());
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { socket })
    }

    /// Waits until something has changed since the last call.
    ///
    /// # Errors
    /// What the kernel said, if the socket has failed.
    pub fn wait(&self) -> io::Result<()> {
        loop {
            match poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
                Ok(_) if self.changed()? => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// True if something has changed since the last call; never waits.
    ///
    /// # Errors
    /// What the kernel said, if the socket has failed.
    pub fn changed(&self) -> io::Result<bool> {
        let mut changed = false;
        // What comes faster than it is read is left for the next call.
        for _ in 0..READS_MAX {
            // An announcement that does not fit is cut off, which is as well.
            match recv(self.socket.as_raw_fd(), &mut [0; 16], MsgFlags::MSG_DONTWAIT) {
                // ENOBUFS: more announcements than the socket could hold, and some are lost.
                Ok(_) | Err(Errno::ENOBUFS) => changed = true,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(changed),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(changed)
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for LinkWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Announcements that one call reads.
const READS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use nix::sys::socket::{setsockopt, sockopt};
    use sluice_lab::{Lab, VethOptions, root_or_skip};

    use super::*;

    #[test]
    fn changes_of_links_and_addresses_are_told_once() {
        if !root_or_skip() {
            return;
        }
        let lab = Lab::new("watch").unwrap();
        let (here, there) = (lab.namespace("here").unwrap(), lab.namespace("there").unwrap());
        let watch = here.run(LinkWatch::open).unwrap().unwrap();
        watch.changed().unwrap();
        // The loopback, since the kernel announces all of its changes at once.
        for change in [
            ["link", "set", "lo", "mtu", "1400"].as_slice(),
            &["link", "set", "lo", "down"],
            &["addr", "add", "10.0.0.1/24", "dev", "lo"],
            &["addr", "add", "fd00::1/64", "dev", "lo", "nodad"],
            &["addr", "del", "10.0.0.1/24", "dev", "lo"],
        ] {
            here.ip(change).unwrap();
            assert!(readable(&watch), "nothing told of {change:?}");
            assert!(watch.changed().unwrap());
            assert!(!watch.changed().unwrap(), "{change:?} was told twice");
        }
        there.address("lo", "10.0.0.2/24").unwrap();
        assert!(!watch.changed().unwrap(), "another namespace is none of our business");
        lab.veth(&here, "veth-a", &there, "veth-b", &VethOptions::default()).unwrap();
        assert!(watch.changed().unwrap(), "a new interface");
    }

    #[test]
    fn announcements_that_were_lost_count_as_a_change() {
        if !root_or_skip() {
            return;
        }
        let lab = Lab::new("watch").unwrap();
        let here = lab.namespace("here").unwrap();
        let watch = here.run(LinkWatch::open).unwrap().unwrap();
        setsockopt(&watch.socket, sockopt::RcvBuf, &1).unwrap();
        for number in 1..20 {
            here.address("lo", &format!("10.0.0.{number}/24")).unwrap();
        }
        assert!(watch.changed().unwrap());
        assert!(!watch.changed().unwrap());
        here.address("lo", "10.0.0.99/24").unwrap();
        assert!(watch.changed().unwrap(), "it goes on after a loss");
    }

    fn readable(watch: &LinkWatch) -> bool {
        let mut wanted = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        poll(&mut wanted, PollTimeout::from(2000_u16)).unwrap() == 1
    }
}
