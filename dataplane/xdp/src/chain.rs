//! Which chunks hang together: a packet longer than a chunk lies in several, one behind the other.
//!
//! ```text
//! Frame (head) --next--> chunk --next--> chunk
//!      \___________________last___________/
//! ```
//!
//! A chain belongs to whoever has the [`crate::Frame`] of its head, as the head itself does: it is
//! read and written by one thread at a time, and what hands the frame to another thread hands over
//! this as well. So the words are atomic only to be shared at all, and every access is relaxed.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// The link behind the last chunk.
const NONE: u32 = u32::MAX;

/// Where a packet's bytes lie within a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u16,
    pub(crate) len: u16,
}

/// The links of all chunks of a region.
pub(crate) struct Chains {
    links: Vec<Link>,
}

/// What is known of a chunk that is part of a chain. Means nothing of any other.
struct Link {
    /// The chunk behind it.
    next: AtomicU32,
    /// Of a head: the last chunk.
    last: AtomicU32,
    /// Of a head: bytes in the chunks behind it. Of the others: their own place, packed.
    bytes: AtomicU32,
}

impl Chains {
    pub(crate) fn new(frame_count: u32) -> Self {
        let link = || Link {
            next: AtomicU32::new(NONE),
            last: AtomicU32::new(NONE),
            bytes: AtomicU32::new(0),
        };
        Self { links: (0..frame_count).map(|_| link()).collect() }
    }

    /// Makes a chunk that stands alone the head of a chain that has nothing behind it yet.
    pub(crate) fn begin(&self, head: u32) {
        if let Some(link) = self.link(head) {
            link.next.store(NONE, Relaxed);
            link.last.store(head, Relaxed);
            link.bytes.store(0, Relaxed);
        }
    }

    /// Hangs a chunk behind the last one of a chain.
    pub(crate) fn append(&self, head: u32, index: u32, place: Place) {
        let (Some(first), Some(added)) = (self.link(head), self.link(index)) else { return };
        added.next.store(NONE, Relaxed);
        added.bytes.store(u32::from(place.offset) << 16 | u32::from(place.len), Relaxed);
        if let Some(last) = self.link(first.last.load(Relaxed)) {
            last.next.store(index, Relaxed);
        }
        first.last.store(index, Relaxed);
        let bytes = first.bytes.load(Relaxed);
        first.bytes.store(bytes.saturating_add(place.len.into()), Relaxed);
    }

    /// The chunk behind one of a chain.
    pub(crate) fn next(&self, index: u32) -> Option<u32> {
        let next = self.link(index)?.next.load(Relaxed);
        (next != NONE).then_some(next)
    }

    /// Bytes in the chunks behind a head.
    pub(crate) fn tail_len(&self, head: u32) -> u32 {
        self.link(head).map_or(0, |link| link.bytes.load(Relaxed))
    }

    /// Where the packet's bytes lie in a chunk behind a head.
    pub(crate) fn place(&self, index: u32) -> Place {
        let [a, b, c, d] = self.link(index).map_or(0, |it| it.bytes.load(Relaxed)).to_be_bytes();
        Place { offset: u16::from_be_bytes([a, b]), len: u16::from_be_bytes([c, d]) }
    }

    fn link(&self, index: u32) -> Option<&Link> {
        self.links.get(index as usize)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Frame, FramePool, Umem};

    /// A frame of pieces of these lengths, filled with rising numbers.
    fn chain(pool: &mut FramePool, lens: &[usize]) -> (Frame, Vec<u8>) {
        let all: Vec<u8> = (0..lens.iter().sum::<usize>()).map(|n| n.to_le_bytes()[0]).collect();
        let mut rest = &all[..];
        let mut pieces = Vec::new();
        for len in lens {
            let (piece, behind) = rest.split_at(*len);
            pieces.push(piece);
            rest = behind;
        }
        (pool.frame_of(pieces).unwrap(), all)
    }

    fn bytes(frame: &Frame) -> Vec<u8> {
        frame.pieces().flatten().copied().collect()
    }

    #[test]
    fn a_chain_is_read_whole_and_comes_back_as_its_chunks() {
        let (umem, mut pool) = Umem::in_memory(8).unwrap();
        for lens in [&[3840, 3840, 1338][..], &[1, 1], &[5000], &[2048, 2048, 2048, 2048, 826]] {
            let (frame, all) = chain(&mut pool, lens);
            assert!(frame.is_chained());
            assert_eq!((frame.packet_len(), bytes(&frame)), (all.len(), all));
            assert_eq!(pool.len() + frame.chunk_count(), 8);
            pool.put(frame);
            assert_eq!((pool.len(), umem.leaked()), (8, 0));
        }
        let (alone, all) = chain(&mut pool, &[3840]);
        assert_eq!((alone.chunk_count(), alone.packet_len(), bytes(&alone)), (1, 3840, all));
        pool.put(alone);
    }

    #[test]
    fn a_dropped_chain_counts_each_of_its_chunks() {
        let (umem, mut pool) = Umem::in_memory(5).unwrap();
        drop(chain(&mut pool, &[3840, 3840, 1338]));
        assert_eq!((umem.leaked(), pool.len()), (3, 2));
    }

    #[test]
    fn the_head_of_a_chain_is_edited_and_the_rest_is_as_it_was() {
        let (_umem, mut pool) = Umem::in_memory(3).unwrap();
        let (mut frame, all) = chain(&mut pool, &[100, 50, 30]);
        assert!(frame.grow_front(4));
        assert_eq!(frame.packet_len(), 184);
        assert!(frame.trim_front(10));
        assert!(!frame.trim_front(95), "the head has no more");
        assert_eq!(bytes(&frame), all[6..]);
        let (head, tail) = frame.split_head();
        head.fill(0);
        assert_eq!(tail.map(<[u8]>::len).collect::<Vec<_>>(), [50, 30]);
        assert_eq!(bytes(&frame)[94..], all[100..]);
        pool.put(frame);
    }

    #[test]
    fn a_copy_has_chunks_of_its_own() {
        let (_umem, mut pool) = Umem::in_memory(7).unwrap();
        let (mut frame, all) = chain(&mut pool, &[3840, 3840, 1338]);
        let copy = pool.copy(&frame).unwrap();
        frame.fill(0);
        assert_eq!((bytes(&copy), pool.len()), (all, 1));
        assert!(pool.copy(&frame).is_none(), "one is too few, and is not lost");
        assert_eq!(pool.len(), 1);
        pool.put(frame);
        pool.put(copy);
        assert_eq!(pool.len(), 7);
    }

    #[test]
    fn what_fits_into_the_head_is_brought_there() {
        let (umem, mut pool) = Umem::in_memory(4).unwrap();
        let (frame, all) = chain(&mut pool, &[100, 50, 3690]);
        let frame = pool.compact(frame);
        assert!(!frame.is_chained());
        assert_eq!((&frame[..], pool.len()), (&all[..], 3));
        pool.put(frame);
        let (long, all) = chain(&mut pool, &[100, 51, 3690]);
        let long = pool.compact(long);
        assert_eq!((bytes(&long), long.chunk_count()), (all, 3));
        pool.put(long);
        assert_eq!((pool.len(), umem.leaked()), (4, 0));
    }

    #[test]
    fn only_a_single_chunk_with_bytes_of_the_same_memory_is_appended() {
        let (_umem, mut pool) = Umem::in_memory(5).unwrap();
        let (other_umem, mut other) = Umem::in_memory(1).unwrap();
        let (mut frame, _) = chain(&mut pool, &[9]);
        let foreign = other.frame_of([&[1][..]]).unwrap();
        let empty = pool.take().unwrap();
        let (long, _) = chain(&mut pool, &[1, 1]);
        other.put(frame.append(foreign).unwrap_err());
        pool.put(frame.append(empty).unwrap_err());
        pool.put(frame.append(long).unwrap_err());
        assert!(!frame.is_chained());
        pool.put(frame);
        assert_eq!((pool.len(), other.len(), other_umem.leaked()), (5, 1, 0));
    }
}
