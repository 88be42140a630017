//! The bell of a worker, and what the worker listens to while it sleeps.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Rings until it is silenced. Anybody may ring it.
#[derive(Debug)]
pub(crate) struct Bell(EventFd);

impl Bell {
    pub(crate) fn new() -> nix::Result<Self> {
        EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).map(Self)
    }

    pub(crate) fn ring(&self) {
        // A full eventfd rings already.
        let _ = self.0.write(1);
    }

    pub(crate) fn silence(&self) {
        let _ = self.0.read();
    }
}

/// Waits for a bell or for sockets.
#[derive(Debug)]
pub(crate) struct Listener(Epoll);

impl Listener {
    pub(crate) fn new() -> nix::Result<Self> {
        Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map(Self)
    }

    pub(crate) fn add_bell(&mut self, bell: &Bell) -> nix::Result<()> {
        self.add(bell.0.as_fd())
    }

    /// Listens to a socket too, until it is closed.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>) -> nix::Result<()> {
        self.0.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, 0))
    }

    /// Waits until something calls, at most so long.
    pub(crate) fn wait(&self, milliseconds: u16) {
        let mut events = [EpollEvent::empty(); 1];
        // An interrupted wait is a short one.
        let _ = self.0.wait(&mut events, EpollTimeout::from(milliseconds));
    }
}
