//! A frame: one packet's chunks of packet memory, held by exactly one owner.
//!
//! `Frame` is a move-only token of 16 bytes. It comes out of a [`crate::FramePool`] or a receive and
//! goes back into a pool, a send or a refill. Between the two it dereferences to the packet's bytes.
//! A frame that is simply dropped is lost for good and counted in [`crate::Umem::leaked`].
//!
//! Layout of a chunk: `[ headroom | packet | spare ]`, 4096 bytes; packets start at 256 unless moved.
//!
//! A packet that is longer lies in several chunks, one piece in each. The token is that of the first
//! one, the head, to which the frame then dereferences; the others hang on it ([`crate::chain`]) and
//! go wherever it goes. Only what needs all bytes asks for [`Frame::pieces`].

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use crate::chain::Place;
use crate::region::Region;

/// Bytes of a chunk, headroom included. One page, which every driver accepts.
pub const FRAME_SIZE: usize = 4096;

/// Where a packet starts in a fresh frame: the headroom that XDP itself reserves.
pub const HEADROOM: u16 = 256;

/// The longest MTU of an interface whose frames Sluice takes.
pub const MTU_MAX: u32 = 9_000;

/// The longest MTU whose frames fit into one chunk of packet memory. For a longer one kernel and driver
/// must give and take a packet in several.
pub const CHUNK_MTU_MAX: u32 = 3_500;

/// The most pieces of a packet that is sent on. 9,000 bytes with their Ethernet header and tags are
/// 9,022; they fill five buffers of 2,048 bytes, the smallest that AF_XDP has and the half page that
/// drivers receive into. In the kernel's copy mode they are three. Intel's drivers send eight without a
/// copy.
pub const PIECES_MAX: usize = 5;

/// `FRAME_SIZE` in the width of a frame's own fields.
const FRAME_END: u16 = 4096;

/// Set in a frame's index where chunks hang behind its head. There are at most 2^20 chunks.
const CHAINED: u32 = 1 << 31;

/// The only handle to a packet's chunks; dereferences to the bytes in the first one.
#[must_use = "a dropped frame is lost to its UMEM: give it to a pool or a queue"]
pub struct Frame {
    region: &'static Region,
    // With the bit CHAINED.
    index: u32,
    // Invariant: offset + len <= FRAME_END.
    offset: u16,
    len: u16,
}

/// The pieces of a packet, in their order. No piece is empty but that of an empty packet.
#[derive(Clone)]
pub struct Pieces<'a> {
    head: Option<&'a [u8]>,
    // Invariant: what hangs on a frame that is borrowed as long.
    next: Option<u32>,
    region: &'static Region,
}

impl Frame {
    /// Number of the first chunk within its UMEM, from zero.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index & !CHAINED
    }

    /// Bytes in the first chunk: the packet's length, unless it goes on in others.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// True if the packet goes on in other chunks.
    #[inline]
    #[must_use]
    pub fn is_chained(&self) -> bool {
        self.index & CHAINED != 0
    }

    /// The packet's length in bytes, in all of its chunks.
    #[inline]
    #[must_use]
    pub fn packet_len(&self) -> usize {
        let tail_len =
            if self.is_chained() { self.region.chains().tail_len(self.index()) } else { 0 };
        self.len() + tail_len as usize
    }

    /// Number of chunks that the packet takes.
    #[inline]
    #[must_use]
    pub fn chunk_count(&self) -> usize {
        if self.is_chained() { self.pieces().count() } else { 1 }
    }

    /// The packet's bytes, chunk by chunk.
    #[inline]
    #[must_use]
    pub fn pieces(&self) -> Pieces<'_> {
        Pieces { head: Some(self), next: self.next(), region: self.region }
    }

    /// The bytes of the first chunk, to be changed, and those of the others.
    #[must_use]
    pub fn split_head(&mut self) -> (&mut [u8], Pieces<'_>) {
        let tail = Pieces { head: None, next: self.next(), region: self.region };
        let start = self.region.address(self.index(), self.offset);
        // SAFETY: as for `deref_mut`; the other slices are of other chunks.
        (unsafe { std::slice::from_raw_parts_mut(start, usize::from(self.len)) }, tail)
    }

    /// Hangs another frame behind this one, to hold the next piece of the packet.
    ///
    /// # Errors
    /// The other frame, if it is of another UMEM, empty (no kernel sends that) or has a chain itself.
    pub fn append(&mut self, next: Self) -> Result<(), Self> {
        if !std::ptr::eq(self.region, next.region) || next.is_empty() || next.is_chained() {
            return Err(next);
        }
        if !self.is_chained() {
            self.region.chains().begin(self.index());
            self.index |= CHAINED;
        }
        let place = Place { offset: next.offset, len: next.len };
        next.release(|index| self.region.chains().append(self.index(), index, place));
        Ok(())
    }

    /// True if the frame holds no packet bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The greatest length that the first piece can grow to where it starts now.
    #[must_use]
    pub fn capacity(&self) -> usize {
        usize::from(FRAME_END - self.offset)
    }

    /// Bytes in front of the packet that [`Frame::grow_front`] can use.
    #[must_use]
    pub fn headroom(&self) -> usize {
        usize::from(self.offset)
    }

    /// Sets the length of the first piece and zeroes what is added, so that no other packet's bytes show.
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

    /// Replaces the first piece by `bytes`; false, and no change, if they exceed the capacity.
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

    /// Removes `count` bytes from the packet's front (to pop a tag); false if its first piece has
    /// fewer.
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

    /// Gives up the token of the head without counting a leak, and those of the others with it.
    pub(crate) fn into_parts(self) -> Parts {
        let frame = ManuallyDrop::new(self);
        let place = Place { offset: frame.offset, len: frame.len };
        Parts { index: frame.index(), place, next: frame.next() }
    }

    /// Gives up the token without counting a leak, and tells the number of each chunk.
    pub(crate) fn release(self, mut give: impl FnMut(u32)) {
        let region = self.region;
        let Parts { index, mut next, .. } = self.into_parts();
        give(index);
        while let Some(index) = next {
            // Before it is given away: the next owner may use the link.
            next = region.chains().next(index);
            give(index);
        }
    }

    /// Copies what hangs behind the head into it, if it fits, and tells the number of each chunk
    /// that is free then.
    pub(crate) fn compact(&mut self, mut free: impl FnMut(u32)) {
        let Some(len) = self.checked_len(self.packet_len()).filter(|_| self.is_chained()) else {
            return;
        };
        let mut at = usize::from(std::mem::replace(&mut self.len, len));
        let (head, tail) = self.split_head();
        for piece in tail {
            if let Some(room) = head.get_mut(at..at + piece.len()) {
                room.copy_from_slice(piece);
            }
            at += piece.len();
        }
        let mut next = self.next();
        while let Some(index) = next {
            next = self.region.chains().next(index);
            free(index);
        }
        self.index &= !CHAINED;
    }

    /// The chunk behind the head.
    fn next(&self) -> Option<u32> {
        if self.is_chained() { self.region.chains().next(self.index()) } else { None }
    }

    fn checked_len(&self, len: usize) -> Option<u16> {
        u16::try_from(len).ok().filter(|len| usize::from(*len) <= self.capacity())
    }
}

/// What a frame's token stood for.
pub(crate) struct Parts {
    /// The head.
    pub(crate) index: u32,
    pub(crate) place: Place,
    /// The chunk behind it.
    pub(crate) next: Option<u32>,
}

impl Parts {
    /// A chunk that hung behind the head of a frame whose token has been given up.
    pub(crate) fn of_chained(region: &Region, index: u32) -> Self {
        let chains = region.chains();
        Self { index, place: chains.place(index), next: chains.next(index) }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if let Some(head) = self.head.take() {
            return Some(head);
        }
        let index = self.next?;
        self.next = self.region.chains().next(index);
        let Place { offset, len } = self.region.chains().place(index);
        let start = self.region.address(index, offset);
        // SAFETY: a chunk is hung on a frame with the place that the frame of its own had, which
        // stays within the chunk; the mapping lives for ever; and the head's token, which is borrowed
        // as long as this iterator, is the chunk's only owner now.
        Some(unsafe { std::slice::from_raw_parts(start, usize::from(len)) })
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let start = self.region.address(self.index(), self.offset);
        // SAFETY: offset + len stay within the chunk, the mapping lives for ever, and this token is
        // the chunk's only owner, so nobody writes while the slice is borrowed.
        unsafe { std::slice::from_raw_parts(start, usize::from(self.len)) }
    }
}

impl DerefMut for Frame {
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = self.region.address(self.index(), self.offset);
        // SAFETY: as for `deref`, and `&mut self` makes the slice the only one.
        unsafe { std::slice::from_raw_parts_mut(start, usize::from(self.len)) }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.region.count_leaked(self.chunk_count());
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("index", &self.index())
            .field("offset", &self.offset)
            .field("len", &self.len)
            .field("chunks", &self.chunk_count())
            .finish()
    }
}

impl fmt::Debug for Pieces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
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
