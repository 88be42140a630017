//! The one area of packet memory that all ports of the process share.
//!
//! The kernel's own way to share a UMEM between sockets (`XDP_SHARED_UMEM`) gives every later socket
//! the copy or zero-copy mode of the first, so a zero-copy NIC and a veth cannot share one. Instead
//! every [`crate::Queue`] registers this same memory for itself. Addresses agree, a frame goes from
//! any port to any other without a copy, each port gets the best mode its driver has, and each port
//! closes on its own. The cost is one table of page pointers per queue (8 bytes a frame).

use std::fmt;
use std::io;

use crate::frame::FRAME_SIZE;
use crate::pool::FramePool;
use crate::region::Region;

/// The most frames that a UMEM may have: 4 GiB of packet memory.
pub const FRAME_COUNT_MAX: u32 = 1 << 20;

/// How much packet memory to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UmemConfig {
    /// Number of 4096-byte frames, 1 to [`FRAME_COUNT_MAX`].
    pub frame_count: u32,
    /// Ask for huge pages; ordinary pages serve if there are none ([`Umem::huge_pages`] tells).
    pub huge_pages: bool,
}

impl Default for UmemConfig {
    fn default() -> Self {
        Self { frame_count: 16_384, huge_pages: true }
    }
}

/// A handle to the packet memory: cheap to copy, shared by all threads.
///
/// The memory lives until the process exits: frames then need no reference count. A process makes
/// one; a test that makes thousands should use few frames or share one.
#[derive(Clone, Copy)]
pub struct Umem {
    region: &'static Region,
}

impl Umem {
    /// Maps packet memory and hands out the pool of all its frames.
    ///
    /// # Errors
    /// [`UmemError`] if the number of frames is out of range or the memory is not to be had.
    pub fn new(config: &UmemConfig) -> Result<(Self, FramePool), UmemError> {
        Self::map(config.frame_count, config.huge_pages, true)
    }

    /// Packet memory for tests: no kernel socket, no privilege, no huge pages, touched when used.
    ///
    /// # Errors
    /// As for [`Umem::new`].
    pub fn in_memory(frame_count: u32) -> Result<(Self, FramePool), UmemError> {
        Self::map(frame_count, false, false)
    }

    /// Number of frames, wherever they are.
    #[must_use]
    pub fn frame_count(&self) -> u32 {
        self.region.frame_count()
    }

    /// Frames that were dropped instead of given back, since the start. Zero in a sound program.
    #[must_use]
    pub fn leaked(&self) -> u64 {
        self.region.leaked()
    }

    /// True if the memory is made of huge pages.
    #[must_use]
    pub fn huge_pages(&self) -> bool {
        self.region.huge_pages()
    }

    /// A pool without frames, for a thread that will be given some later.
    pub fn empty_pool(&self) -> FramePool {
        FramePool::with_capacity(self.region)
    }

    pub(crate) fn region(&self) -> &'static Region {
        self.region
    }

    fn map(frame_count: u32, huge: bool, populate: bool) -> Result<(Self, FramePool), UmemError> {
        if frame_count == 0 || frame_count > FRAME_COUNT_MAX {
            return Err(UmemError::FrameCount { frame_count });
        }
        let region = Region::map(frame_count, huge, populate).map_err(|source| {
            let mebibytes = u64::from(frame_count) * FRAME_SIZE as u64 / (1024 * 1024);
            UmemError::NoMemory { frame_count, mebibytes, source }
        })?;
        Ok((Self { region }, FramePool::of_all(region)))
    }
}

impl fmt::Debug for Umem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Umem")
            .field("frame_count", &self.frame_count())
            .field("huge_pages", &self.huge_pages())
            .field("leaked", &self.leaked())
            .finish()
    }
}

/// Why packet memory was refused.
#[derive(Debug, thiserror::Error)]
pub enum UmemError {
    /// The number of frames is zero or above the bound.
    #[error(
        "packet memory of {frame_count} frames is out of range; set it from 1 to {FRAME_COUNT_MAX}"
    )]
    FrameCount {
        /// What was asked for.
        frame_count: u32,
    },
    /// The kernel would not map the memory.
    #[error(
        "packet memory of {frame_count} frames ({mebibytes} MiB) could not be mapped: {source}; \
         use fewer frames or free memory"
    )]
    NoMemory {
        /// What was asked for.
        frame_count: u32,
        /// The same in MiB.
        mebibytes: u64,
        /// What the kernel said.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_out_of_range_are_refused() {
        for frame_count in [0, FRAME_COUNT_MAX + 1] {
            let refused = Umem::in_memory(frame_count).unwrap_err();
            assert!(matches!(refused, UmemError::FrameCount { .. }), "{refused}");
        }
    }

    #[test]
    fn the_first_pool_has_every_frame() {
        let config = UmemConfig { frame_count: 32, huge_pages: false };
        let (umem, pool) = Umem::new(&config).unwrap();
        assert_eq!((pool.len(), umem.frame_count(), umem.leaked()), (32, 32, 0));
    }
}
