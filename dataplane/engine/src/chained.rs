//! Frames whose packet lies in several chunks, as the judge wants to read them.
//!
//! Most frames are one chunk, and for those nothing is gathered: each of these asks first, and
//! that is all it costs.

use sluice_core::checksum;
use sluice_core::drop::DropReason;
use sluice_core::packet::Packet;
use sluice_core::pieces::Pieces;
use sluice_xdp::{Frame, FramePool, PIECES_MAX};

/// Shows a packet to whoever can read it in pieces.
#[inline]
pub(crate) fn read<T>(frame: &Frame, read: impl FnOnce(&Pieces<'_>) -> T) -> T {
    if !frame.is_chained() {
        return read(&Pieces::from(&frame[..]));
    }
    let mut pieces = frame.pieces();
    let head = pieces.next().unwrap_or_default();
    read(&Pieces::new(head, &tail_of(pieces)))
}

/// Completes a partial checksum, over all pieces.
#[inline]
pub(crate) fn complete_checksum(frame: &mut Frame, packet: &Packet) {
    if !frame.is_chained() {
        checksum::complete(frame, packet);
        return;
    }
    let (head, tail) = frame.split_head();
    checksum::complete_in(head, &tail_of(tail), packet);
}

/// Takes a packet of several pieces in. What fits into one chunk is brought there, so that ports
/// whose sockets take no others can send it; what no port could send goes no further.
#[cold]
pub(crate) fn take_in(pool: &mut FramePool, frame: Frame) -> Result<Frame, (Frame, DropReason)> {
    let frame = pool.compact(frame);
    if frame.chunk_count() > PIECES_MAX { Err((frame, DropReason::TooBig)) } else { Ok(frame) }
}

/// The pieces behind the head; the rest of the places stay empty.
fn tail_of<'a>(pieces: sluice_xdp::Pieces<'a>) -> [&'a [u8]; PIECES_MAX - 1] {
    let mut tail = [&[][..]; PIECES_MAX - 1];
    for (place, piece) in tail.iter_mut().zip(pieces) {
        *place = piece;
    }
    tail
}
