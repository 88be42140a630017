//! The memory behind a UMEM, and the table that says who holds each frame.
//!
//! A region is mapped once and never unmapped (it is leaked on purpose), so a [`crate::Frame`] can
//! point into it without counting references on the packet path. Bound: one region per process in
//! production, at most [`crate::FRAME_COUNT_MAX`] frames.
//!
//! The owner table has one word for each frame: [`OWNER_USER`], or the number of the queue whose
//! kernel rings hold the frame. It is the authority when a queue is closed or the kernel hands back
//! an address: a frame that the table does not assign to that queue is not believed.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

use crate::chain::Chains;
use crate::frame::FRAME_SIZE;

/// The owner number of a frame that user space holds: in a pool, or as a `Frame`.
pub(crate) const OWNER_USER: u32 = 0;

/// One mapping of packet memory with its bookkeeping.
pub(crate) struct Region {
    base: NonNull<c_void>,
    frame_count: u32,
    huge_pages: bool,
    owners: Vec<AtomicU32>,
    chains: Chains,
    next_owner: AtomicU32,
    leaked: AtomicU64,
}

// SAFETY: the mapping lives until the process exits and `base` never changes. Bytes are only reached
// through a `Frame` or by the kernel, and the owner table hands each frame to exactly one of them.
unsafe impl Send for Region {}
// SAFETY: as above; every other field is an atomic or immutable.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `frame_count` frames and leaks the mapping; with huge pages if asked and available.
    pub(crate) fn map(
        frame_count: u32,
        want_huge_pages: bool,
        populate: bool,
    ) -> Result<&'static Self, std::io::Error> {
        let length = NonZeroUsize::new(frame_count as usize * FRAME_SIZE)
            .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let mut flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        if populate {
            flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
        }
        let huge = want_huge_pages.then(|| {
            // SAFETY: a fresh anonymous mapping at an address of the kernel's choice.
            unsafe { mmap_anonymous(None, length, protection, flags | MapFlags::MAP_HUGETLB) }
        });
        let (base, huge_pages) = match huge {
            Some(Ok(base)) => (base, true),
            // No huge pages are reserved on most machines; ordinary ones do the same work.
            // SAFETY: as above.
            _ => (unsafe { mmap_anonymous(None, length, protection, flags) }?, false),
        };
        let owners = (0..frame_count).map(|_| AtomicU32::new(OWNER_USER)).collect();
        let region = Self {
            base,
            frame_count,
            huge_pages,
            owners,
            chains: Chains::new(frame_count),
            next_owner: AtomicU32::new(OWNER_USER + 1),
            leaked: AtomicU64::new(0),
        };
        Ok(Box::leak(Box::new(region)))
    }

    /// The first byte of the mapping, as the kernel wants it for registration.
    pub(crate) fn base(&self) -> NonNull<c_void> {
        self.base
    }

    /// The length of the mapping in bytes.
    pub(crate) fn length(&self) -> u64 {
        u64::from(self.frame_count) * FRAME_SIZE as u64
    }

    pub(crate) fn frame_count(&self) -> u32 {
        self.frame_count
    }

    pub(crate) fn huge_pages(&self) -> bool {
        self.huge_pages
    }

    /// The address of a byte within a frame's chunk.
    ///
    /// Callers pass an index below `frame_count` and an offset of at most `FRAME_SIZE`.
    pub(crate) fn address(&self, index: u32, offset: u16) -> *mut u8 {
        debug_assert!(index < self.frame_count && usize::from(offset) <= FRAME_SIZE);
        let distance = index as usize * FRAME_SIZE + usize::from(offset);
        // SAFETY: index and offset are within bounds (above), so the result is inside the mapping or
        // one past its end.
        unsafe { self.base.as_ptr().cast::<u8>().add(distance) }
    }

    /// Which chunks hang together.
    pub(crate) fn chains(&self) -> &Chains {
        &self.chains
    }

    /// A number for a new queue, unique within the region.
    pub(crate) fn new_owner(&self) -> u32 {
        self.next_owner.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes that user space gives a frame to the kernel rings of queue `owner`.
    pub(crate) fn lend(&self, index: u32, owner: u32) {
        if let Some(slot) = self.owners.get(index as usize) {
            let before = slot.load(Ordering::Relaxed);
            debug_assert_eq!(before, OWNER_USER, "frame {index} was lent twice");
            slot.store(owner, Ordering::Relaxed);
        }
    }

    /// Notes that queue `owner` hands a frame back; false if that queue did not hold it.
    #[must_use]
    pub(crate) fn reclaim(&self, index: u32, owner: u32) -> bool {
        match self.owners.get(index as usize) {
            Some(slot) if slot.load(Ordering::Relaxed) == owner => {
                slot.store(OWNER_USER, Ordering::Relaxed);
                true
            }
            _ => false,
        }
    }

    /// Takes every frame that queue `owner` still holds and reports each index to `take`.
    pub(crate) fn reclaim_all(&self, owner: u32, mut take: impl FnMut(u32)) -> usize {
        let mut count = 0;
        for (index, slot) in (0..self.frame_count).zip(&self.owners) {
            if slot.load(Ordering::Relaxed) == owner {
                slot.store(OWNER_USER, Ordering::Relaxed);
                take(index);
                count += 1;
            }
        }
        count
    }

    /// Counts frames that nobody can ever use again.
    pub(crate) fn count_leaked(&self, frames: usize) {
        self.leaked.fetch_add(frames as u64, Ordering::Relaxed);
    }

    pub(crate) fn leaked(&self) -> u64 {
        self.leaked.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_gets_back_only_what_it_held() {
        let region = Region::map(4, false, false).unwrap();
        let (first, second) = (region.new_owner(), region.new_owner());
        region.lend(0, first);
        region.lend(1, second);
        region.lend(3, first);
        assert!(!region.reclaim(1, first), "frame 1 is with the second queue");
        assert!(!region.reclaim(2, first), "frame 2 is in user space");
        assert!(!region.reclaim(9, first), "there is no frame 9");
        assert!(region.reclaim(0, first));
        let mut taken = Vec::new();
        assert_eq!(region.reclaim_all(first, |index| taken.push(index)), 1);
        assert_eq!(taken, [3]);
    }

    #[test]
    fn huge_pages_are_a_wish() {
        let region = Region::map(1, true, false).unwrap();
        assert_eq!(region.length(), 4096);
        // Which of the two it became depends on the machine; both serve.
        let _ = region.huge_pages();
    }
}
