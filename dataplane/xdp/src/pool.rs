//! Free frames of one UMEM, owned by one thread.
//!
//! Last in, first out: the frame used a moment ago is still in the cache. The list is allocated for
//! every frame of the UMEM at the start, so `put` never allocates, whichever pool a frame ends in.

use std::fmt;

use crate::frame::{FRAME_SIZE, Frame, HEADROOM};
use crate::region::Region;

/// Bytes that a fresh frame takes.
const FRESH_CAPACITY: usize = FRAME_SIZE - HEADROOM as usize;

/// A stack of free frames. Dropping a pool with frames in it loses them, and counts them as leaked.
#[must_use = "a dropped pool loses its frames"]
pub struct FramePool {
    region: &'static Region,
    free: Vec<u32>,
}

impl FramePool {
    /// Takes a free frame: empty, headroom restored. `None` if there is none left.
    #[inline]
    pub fn take(&mut self) -> Option<Frame> {
        self.free.pop().map(|index| Frame::empty(self.region, index))
    }

    /// Gives a frame back, and all chunks that hang behind it.
    ///
    /// A frame of another UMEM is refused and counted as leaked there.
    #[inline]
    pub fn put(&mut self, frame: Frame) {
        let same = std::ptr::eq(frame.region(), self.region);
        debug_assert!(same, "a frame was given to the pool of another UMEM");
        if same {
            frame.release(|index| self.free.push(index));
        }
    }

    /// Copies a frame, chunks behind its head included. `None` if there are too few free ones.
    #[must_use]
    pub fn copy(&mut self, frame: &Frame) -> Option<Frame> {
        self.frame_of(frame.pieces())
    }

    /// Makes a frame of bytes, in as many chunks as they need. `None` if there are too few left.
    #[must_use]
    pub fn frame_of<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Frame> {
        let mut frame = self.take()?;
        for part in pieces.into_iter().flat_map(|piece| piece.chunks(FRESH_CAPACITY)) {
            if frame.is_empty() {
                // A part is no longer than what a fresh frame takes.
                let _fits = frame.copy_from(part);
                continue;
            }
            let Some(mut next) = self.take() else {
                self.put(frame);
                return None;
            };
            let _fits = next.copy_from(part);
            if let Err(refused) = frame.append(next) {
                self.put(refused);
            }
        }
        Some(frame)
    }

    /// Brings a packet that lies in several chunks into one, if it fits into that of its head.
    pub fn compact(&mut self, mut frame: Frame) -> Frame {
        frame.compact(|index| self.free.push(index));
        frame
    }

    /// Number of free frames, of one chunk each.
    #[must_use]
    pub fn len(&self) -> usize {
        self.free.len()
    }

    /// True if there is no free frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.free.is_empty()
    }

    /// Moves up to `count` frames into a pool of their own, for another thread.
    pub fn split_off(&mut self, count: usize) -> Self {
        let keep = self.free.len().saturating_sub(count);
        let mut other = Self::with_capacity(self.region);
        other.free.extend(self.free.drain(keep..));
        other
    }

    /// Takes over all frames of another pool of the same UMEM.
    ///
    /// A pool of another UMEM is refused; its frames count as leaked there.
    pub fn absorb(&mut self, mut other: Self) {
        let same = std::ptr::eq(other.region, self.region);
        debug_assert!(same, "a pool absorbed one of another UMEM");
        if same {
            self.free.append(&mut other.free);
        }
    }

    /// An empty pool with room for every frame of the region.
    pub(crate) fn with_capacity(region: &'static Region) -> Self {
        Self { region, free: Vec::with_capacity(region.frame_count() as usize) }
    }

    /// A pool of every frame of a region that is in user space as a whole; called once a region.
    pub(crate) fn of_all(region: &'static Region) -> Self {
        // Reversed, so that frames leave in ascending order.
        Self { region, free: (0..region.frame_count()).rev().collect() }
    }

    pub(crate) fn region(&self) -> &'static Region {
        self.region
    }

    /// Takes a free chunk by its number, to be lent to the kernel.
    #[inline]
    pub(crate) fn take_index(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Gives back a chunk that the kernel returned.
    #[inline]
    pub(crate) fn put_index(&mut self, index: u32) {
        self.free.push(index);
    }
}

impl Drop for FramePool {
    fn drop(&mut self) {
        if !self.free.is_empty() {
            self.region.count_leaked(self.free.len());
        }
    }
}

impl fmt::Debug for FramePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FramePool").field("free", &self.free.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::Umem;

    #[test]
    fn the_last_frame_in_is_the_first_out() {
        let (_umem, mut pool) = Umem::in_memory(4).unwrap();
        let first = pool.take().unwrap();
        let second = pool.take().unwrap();
        assert_eq!((first.index(), second.index()), (0, 1));
        pool.put(first);
        pool.put(second);
        let again = pool.take().unwrap();
        assert_eq!(again.index(), 1);
        pool.put(again);
    }

    #[test]
    fn an_empty_pool_says_so() {
        let (_umem, mut pool) = Umem::in_memory(1).unwrap();
        let only = pool.take().unwrap();
        assert!(pool.take().is_none());
        assert!(pool.is_empty());
        pool.put(only);
    }

    #[test]
    fn split_and_absorb_keep_every_frame() {
        let (umem, mut pool) = Umem::in_memory(10).unwrap();
        let part = pool.split_off(4);
        assert_eq!((pool.len(), part.len()), (6, 4));
        let worker = std::thread::spawn(move || {
            let mut part = part;
            let mut frame = part.take().unwrap();
            assert!(frame.copy_from(b"from another thread"));
            part.put(frame);
            part
        });
        pool.absorb(worker.join().unwrap());
        let too_many = pool.split_off(100);
        assert_eq!((pool.len(), too_many.len(), umem.leaked()), (0, 10, 0));
        drop(too_many);
        assert_eq!(umem.leaked(), 10);
    }
}
