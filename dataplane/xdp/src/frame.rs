//! A frame: one chunk of packet memory, held by exactly one owner.
//!
//! `Frame` is a move-only token of 16 bytes. It comes out of a [`crate::FramePool`] or a receive and
//! goes back into a pool, a send or a refill. Between the two it dereferences to the packet's bytes.
//! A frame that is simply dropped is lost for good and counted in [`crate::Umem::leaked`].
//!
//! Layout of a chunk: `[ headroom | packet | spare ]`, 4096 bytes; packets start at 256 unless moved.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use crate::region::Region;

/// Bytes of a chunk, headroom included. One page, which every driver accepts.
pub const FRAME_SIZE: usize = 4096;

/// Where a packet starts in a fresh frame: the headroom that XDP itself reserves.
pub const HEADROOM: u16 = 256;

/// `FRAME_SIZE` in the width of a frame's own fields.
const FRAME_END: u16 = 4096;

/// The only handle to one chunk of packet memory; dereferences to the packet's bytes.
#[must_use = "a dropped frame is lost to its UMEM: give it to a pool or a queue"]
pub struct Frame {
    region: &'static Region,
    index: u32,
    // Invariant: offset + len <= FRAME_END.
    offset: u16,
    len: u16,
}

impl Frame {
    /// Number of the chunk within its UMEM, from zero.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The packet's length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// True if the frame holds no packet bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The greatest length that the packet can grow to where it starts now.
    #[must_use]
    pub fn capacity(&self) -> usize {
        usize::from(FRAME_END - self.offset)
    }

    /// Bytes in front of the packet that [`Frame::grow_front`] can use.
    #[must_use]
    pub fn headroom(&self) -> usize {
        usize::from(self.offset)
    }

    /// Sets the packet's length and zeroes what is added, so that no other packet's bytes show.
    ///
    /// False, and no change, if `len` exceeds [`Frame::capacity`].
    #[must_use]
    pub fn resize(&mut self, len: usize) -> bool {
        let Some(len) = self.checked_len(len) else { return false };
        let old = usize::from(self.len);
        self.len = len;
        if let Some(added) = self.get_mut(old..) {
            added.fill(0);
        }
        true
    }

    /// Replaces the packet by `bytes`; false, and no change, if they exceed the capacity.
    #[must_use]
    pub fn copy_from(&mut self, bytes: &[u8]) -> bool {
        let Some(len) = self.checked_len(bytes.len()) else { return false };
        self.len = len;
        self.copy_from_slice(bytes);
        true
    }

    /// Adds `count` zero bytes before the packet (to push a tag); false if the headroom is too short.
    #[must_use]
    pub fn grow_front(&mut self, count: usize) -> bool {
        let Ok(count) = u16::try_from(count) else { return false };
        if count > self.offset {
            return false;
        }
        self.offset -= count;
        self.len += count;
        if let Some(added) = self.get_mut(..usize::from(count)) {
            added.fill(0);
        }
        true
    }

    /// Removes `count` bytes from the packet's front (to pop a tag); false if it has fewer.
    #[must_use]
    pub fn trim_front(&mut self, count: usize) -> bool {
        let Ok(count) = u16::try_from(count) else { return false };
        if count > self.len {
            return false;
        }
        self.offset += count;
        self.len -= count;
        true
    }

    /// A fresh frame of a chunk that user space holds.
    pub(crate) fn empty(region: &'static Region, index: u32) -> Self {
        Self { region, index, offset: HEADROOM, len: 0 }
    }

    /// A frame as the kernel described it; None if the description leaves its chunk.
    pub(crate) fn received(
        region: &'static Region,
        index: u32,
        offset: u16,
        len: u32,
    ) -> Option<Self> {
        let len = u16::try_from(len).ok()?;
        if index >= region.frame_count() || offset.checked_add(len)? > FRAME_END {
            return None;
        }
        Some(Self { region, index, offset, len })
    }

    pub(crate) fn region(&self) -> &'static Region {
        self.region
    }

    /// Gives up the token without counting a leak: (index, byte address within the UMEM, length).
    pub(crate) fn into_parts(self) -> (u32, u64, u32) {
        let frame = ManuallyDrop::new(self);
        let address = u64::from(frame.index) * FRAME_SIZE as u64 + u64::from(frame.offset);
        (frame.index, address, u32::from(frame.len))
    }

    fn checked_len(&self, len: usize) -> Option<u16> {
        u16::try_from(len).ok().filter(|len| usize::from(*len) <= self.capacity())
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let start = self.region.address(self.index, self.offset);
        // SAFETY: offset + len stay within the chunk, the mapping lives for ever, and this token is
        // the chunk's only owner, so nobody writes while the slice is borrowed.
        unsafe { std::slice::from_raw_parts(start, usize::from(self.len)) }
    }
}

impl DerefMut for Frame {
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = self.region.address(self.index, self.offset);
        // SAFETY: as for `deref`, and `&mut self` makes the slice the only one.
        unsafe { std::slice::from_raw_parts_mut(start, usize::from(self.len)) }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.region.count_leaked(1);
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("index", &self.index)
            .field("offset", &self.offset)
            .field("len", &self.len)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::Umem;

    #[test]
    fn lengths_stay_within_the_chunk() {
        let (_umem, mut pool) = Umem::in_memory(1).unwrap();
        let mut frame = pool.take().unwrap();
        assert_eq!((frame.len(), frame.capacity(), frame.headroom()), (0, 3840, 256));
        assert!(frame.copy_from(&[7; 3840]));
        assert!(!frame.copy_from(&[7; 3841]));
        assert!(!frame.resize(usize::MAX));
        assert_eq!(frame.len(), 3840);
        assert!(frame.iter().all(|byte| *byte == 7));
        pool.put(frame);
    }

    #[test]
    fn growth_never_shows_old_bytes() {
        let (_umem, mut pool) = Umem::in_memory(1).unwrap();
        let mut frame = pool.take().unwrap();
        assert!(frame.copy_from(b"a secret of another pod"));
        assert!(frame.resize(1));
        assert!(frame.resize(6));
        assert_eq!(&frame[..], b"a\0\0\0\0\0");
        pool.put(frame);
    }

    #[test]
    fn a_tag_is_pushed_and_popped() {
        let (_umem, mut pool) = Umem::in_memory(1).unwrap();
        let mut frame = pool.take().unwrap();
        assert!(frame.copy_from(b"packet"));
        assert!(frame.grow_front(4));
        assert_eq!(&frame[..], b"\0\0\0\0packet");
        assert!(frame.trim_front(4));
        assert_eq!(&frame[..], b"packet");
        assert!(!frame.trim_front(7));
        assert!(!frame.grow_front(257));
        pool.put(frame);
    }

    #[test]
    fn a_dropped_frame_is_counted() {
        let (umem, mut pool) = Umem::in_memory(2).unwrap();
        drop(pool.take());
        assert_eq!((umem.leaked(), pool.len()), (1, 1));
    }
}
