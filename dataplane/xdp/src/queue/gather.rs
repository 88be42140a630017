//! From what the kernel says of chunks to frames: one descriptor each, or several for a packet that
//! is longer than a chunk, perhaps in more than one batch.
//!
//! A descriptor of a chunk that the queue has not lent is not believed, nor is the packet that it is
//! part of: what has come of it, and what comes still, stays with the queue until it closes.

use crate::frame::{FRAME_SIZE, Frame};
use crate::region::Region;

/// The frame that is being put together, if a packet is not complete yet.
pub(super) struct Gathering {
    region: &'static Region,
    owner: u32,
    unfinished: Option<Frame>,
    /// Whether the rest of a packet is yet to come that is not believed.
    skips: bool,
}

/// A descriptor that is not believed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Foreign;

impl Gathering {
    pub(super) fn new(region: &'static Region, owner: u32) -> Self {
        Self { region, owner, unfinished: None, skips: false }
    }

    /// Takes the next descriptor, and returns the frame that it completes.
    #[inline]
    pub(super) fn next(
        &mut self,
        address: u64,
        len: u32,
        goes_on: bool,
    ) -> Result<Option<Frame>, Foreign> {
        if !goes_on && !self.skips && self.unfinished.is_none() {
            return locate(self.region, self.owner, address, len).map(Some).ok_or(Foreign);
        }
        self.next_piece(address, len, goes_on)
    }

    #[cold]
    fn next_piece(
        &mut self,
        address: u64,
        len: u32,
        goes_on: bool,
    ) -> Result<Option<Frame>, Foreign> {
        let head = self.unfinished.take();
        let piece = (!self.skips).then(|| locate(self.region, self.owner, address, len));
        let frame = match (piece.flatten(), head) {
            (Some(piece), None) => piece,
            (Some(piece), Some(mut head)) => match head.append(piece) {
                Ok(()) => head,
                Err(piece) => {
                    self.keep(piece);
                    return self.give_up(Some(head), goes_on);
                }
            },
            (None, head) => return self.give_up(head, goes_on),
        };
        if goes_on {
            self.unfinished = Some(frame);
            return Ok(None);
        }
        Ok(Some(frame))
    }

    /// What has come of a packet whose rest will not come any more.
    pub(super) fn take_unfinished(&mut self) -> Option<Frame> {
        self.unfinished.take()
    }

    fn give_up(&mut self, head: Option<Frame>, goes_on: bool) -> Result<Option<Frame>, Foreign> {
        if let Some(head) = head {
            self.keep(head);
        }
        self.skips = goes_on;
        Err(Foreign)
    }

    fn keep(&self, frame: Frame) {
        frame.release(|index| self.region.lend(index, self.owner));
    }
}

/// The frame that a received descriptor names, if this queue had lent it to the kernel.
#[inline]
fn locate(region: &'static Region, owner: u32, address: u64, len: u32) -> Option<Frame> {
    let index = index_of(address)?;
    let offset = u16::try_from(address % FRAME_SIZE as u64).ok()?;
    if !region.reclaim(index, owner) {
        return None;
    }
    match Frame::received(region, index, offset, len) {
        Some(frame) => Some(frame),
        None => {
            region.count_leaked(1);
            None
        }
    }
}

/// The number of the chunk that an address lies in.
#[inline]
pub(super) fn index_of(address: u64) -> Option<u32> {
    u32::try_from(address / FRAME_SIZE as u64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FramePool, Umem};

    const OWNER: u32 = 7;

    /// Eight chunks, all lent, each filled with its number.
    fn lent() -> (Umem, FramePool, Gathering) {
        let (umem, mut pool) = Umem::in_memory(8).unwrap();
        for number in 0..8 {
            let frame = pool.frame_of([&[number; 3840][..]]).unwrap();
            frame.release(|index| umem.region().lend(index, OWNER));
        }
        let gathering = Gathering::new(umem.region(), OWNER);
        (umem, pool, gathering)
    }

    fn at(chunk: u64) -> u64 {
        chunk * FRAME_SIZE as u64 + 256
    }

    /// Chunks that the queue gives back when it closes.
    fn kept(umem: &Umem, pool: &mut FramePool) -> usize {
        umem.region().reclaim_all(OWNER, |index| pool.put_index(index))
    }

    #[test]
    fn a_packet_is_complete_with_its_last_piece() {
        let (umem, mut pool, mut gathering) = lent();
        let alone = gathering.next(at(3), 60, false).unwrap().unwrap();
        assert_eq!((alone.is_chained(), &alone[..]), (false, &[3; 60][..]));
        pool.put(alone);
        for (chunk, goes_on) in [(6, true), (0, true)] {
            assert!(gathering.next(at(chunk), 3840, goes_on).unwrap().is_none());
        }
        let whole = gathering.next(at(5) + 40, 1338, false).unwrap().unwrap();
        let pieces: Vec<&[u8]> = whole.pieces().collect();
        assert_eq!(pieces, [&[6; 3840][..], &[0; 3840], &[5; 1338]]);
        pool.put(whole);
        assert_eq!((pool.len(), kept(&umem, &mut pool), umem.leaked()), (4, 4, 0));
    }

    #[test]
    fn a_packet_with_a_foreign_piece_is_not_believed_and_no_chunk_is_lost() {
        for foreign in 0..3 {
            let (umem, mut pool, mut gathering) = lent();
            let taken = gathering.next(at(7), 60, false).unwrap().unwrap();
            for place in 0..3 {
                // Chunk 7 is with user space.
                let chunk = if place == foreign { 7 } else { place };
                let outcome = gathering.next(at(chunk), 3840, place < 2);
                assert_eq!(outcome.is_err(), place >= foreign, "{place} of {foreign}");
                assert!(outcome.is_err() || outcome.is_ok_and(|frame| frame.is_none()));
            }
            let next = gathering.next(at(4), 60, false).unwrap().unwrap();
            assert_eq!(&next[..], [4; 60], "the next packet is believed");
            pool.put(next);
            pool.put(taken);
            assert!(gathering.take_unfinished().is_none());
            assert_eq!((kept(&umem, &mut pool), pool.len(), umem.leaked()), (6, 8, 0));
        }
    }

    #[test]
    fn an_empty_piece_is_not_believed() {
        let (umem, mut pool, mut gathering) = lent();
        assert_eq!(gathering.next(at(0), 3840, true).unwrap().map(|it| it.len()), None);
        assert!(gathering.next(at(1), 0, true).is_err());
        assert!(gathering.next(at(2), 9, false).is_err());
        assert_eq!((kept(&umem, &mut pool), umem.leaked()), (8, 0));
    }

    #[test]
    fn what_is_unfinished_is_there_for_the_close() {
        let (umem, mut pool, mut gathering) = lent();
        assert!(gathering.next(at(0), 3840, true).unwrap().is_none());
        assert!(gathering.next(at(1), 3840, true).unwrap().is_none());
        let unfinished = gathering.take_unfinished().unwrap();
        assert_eq!(unfinished.chunk_count(), 2);
        pool.put(unfinished);
        assert_eq!((kept(&umem, &mut pool), pool.len(), umem.leaked()), (6, 8, 0));
    }
}
