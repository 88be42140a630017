//! TCP: which segments can belong to a connection, and how far it has come.
//!
//! ```text
//!     acknowledged   |     sent     |  may be sent  |
//!  ------------------+--------------+---------------+------> sequence numbers of one side
//!                  acked           end           max_end
//! ```
//!
//! A segment passes if its sequence number and its acknowledgement can both be those of a host
//! that knows the connection: the four bounds of G. van Rooij, "Real Stateful TCP Packet
//! Filtering in IP Filter". Whoever guesses has to guess both.
//!
//! Some segments pass though they prove nothing, because hosts need them to find out that they
//! disagree: a reset or a SYN that the receiver answers with a challenge ACK (RFC 5961, 3 and
//! 4), and that challenge (RFC 9293, 3.5.1). They change no state.

mod opening;
mod sequence;

use crate::conntrack::state::TcpState;
use crate::drop::DropReason;
use crate::packet::{Segment, TcpFlags};
use opening::Pending;
use sequence::Sequence;

/// The largest shift of a window (RFC 7323, 2.3), and what an unknown one may be.
const SHIFT_MAX: u8 = 14;

/// The largest window that there is.
const WINDOW_MAX: u32 = 0xffff << SHIFT_MAX;

/// How old an acknowledgement may be even where windows are small, as netfilter has it: one that
/// was overtaken is of use still.
const ACK_AGE_MIN: u32 = 66_000;

/// What a TCP connection remembers of both sides.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Windows {
    opener: Half,
    responder: Half,
    pending: Pending,
    opener_scale: Scale,
    responder_scale: Scale,
    stage: Stage,
}

/// What one side sends, and how much it takes in.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Half {
    /// Behind the last that it has sent.
    end: Sequence,
    /// How far the other side's windows have ever let it send.
    max_end: Sequence,
    /// What the other side has acknowledged; until then the number of its SYN.
    acked: Sequence,
    /// The largest window that it has offered.
    max_window: u32,
}

/// The window scale that a side offers, in one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scale(u8);

/// How far the connection has come; [`TcpState`] and who still owes an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    SynSent,
    /// Each side has sent a SYN, and acknowledged none: a simultaneous open (RFC 9293, 3.5).
    SynsCrossed,
    /// The opener's SYN is acknowledged, the responder's is not.
    OpenerOwesAck,
    /// The responder's is acknowledged, the opener's is not.
    ResponderOwesAck,
    Established,
    OpenerClosed,
    ResponderClosed,
    Closed,
}

impl Windows {
    /// The connection that a plain SYN opens.
    pub(crate) fn opened_by(segment: &Segment) -> Option<Self> {
        opens(segment.flags).then(|| Self {
            opener: Half::of_syn(segment),
            responder: Half::default(),
            pending: Pending::Nothing,
            opener_scale: Scale::offered_by(segment),
            responder_scale: Scale::NONE,
            stage: Stage::SynSent,
        })
    }

    /// The connection that a segment from its middle belongs to. Its sender counts as the
    /// opener. How much is in flight and how windows are scaled is not known, so the bounds stay
    /// as wide as any connection may need.
    pub(crate) fn picked_up(segment: &Segment) -> Option<Self> {
        let flags = segment.flags;
        if flags.has(TcpFlags::SYN) || flags.has(TcpFlags::RST) {
            return None;
        }
        let ack = acknowledgement_of(segment)?;
        let loose = |acked, end: Sequence| {
            let max_end = end + WINDOW_MAX;
            Half { end, max_end, acked, max_window: WINDOW_MAX }
        };
        let finished = flags.has(TcpFlags::FIN);
        Some(Self {
            opener: loose(Sequence(segment.sequence), end_of(segment)),
            responder: loose(ack, ack),
            pending: Pending::Nothing,
            opener_scale: Scale::UNKNOWN,
            responder_scale: Scale::UNKNOWN,
            stage: if finished { Stage::OpenerClosed } else { Stage::Established },
        })
    }

    pub(crate) fn state(&self) -> TcpState {
        match self.stage {
            Stage::SynSent => TcpState::SynSent,
            Stage::SynsCrossed | Stage::OpenerOwesAck | Stage::ResponderOwesAck => {
                TcpState::SynReceived
            }
            Stage::Established => TcpState::Established,
            Stage::OpenerClosed => TcpState::OpenerClosed,
            Stage::ResponderClosed => TcpState::ResponderClosed,
            Stage::Closed => TcpState::Closed,
        }
    }

    /// Whether a side has sent a segment of this sequence number that may have been under way
    /// until now.
    pub(crate) fn has_sent(&self, sequence: u32, by_opener: bool) -> bool {
        let sequence = Sequence(sequence);
        if self.stage == Stage::SynSent {
            return by_opener && sequence == self.opener.acked;
        }
        if let Pending::Syn { number, .. } = self.pending
            && by_opener
            && sequence == number
        {
            return true;
        }
        let (sender, receiver) = self.halves(by_opener);
        sequence.is_within(sender.acked - receiver.max_window, sender.end)
    }

    /// Takes in a segment of the connection. Of a first fragment only the beginning of its
    /// payload is known.
    ///
    /// # Errors
    /// [`DropReason::OutOfWindow`]. Nothing has changed then.
    pub(crate) fn follow(
        &mut self,
        segment: &Segment,
        is_fragment: bool,
        by_opener: bool,
    ) -> Result<(), DropReason> {
        let passes = match self.stage {
            Stage::SynSent if by_opener => self.ask_again(segment),
            Stage::SynSent | Stage::SynsCrossed if !by_opener && self.is_answer(segment) => {
                self.answer(self.opener, self.opener_scale, segment);
                true
            }
            Stage::SynSent => self.meet(segment),
            _ if segment.flags.has(TcpFlags::RST) => self.reset(segment, by_opener),
            _ if opens(segment.flags) => {
                self.note_syn(segment, by_opener);
                true
            }
            _ => {
                (!by_opener && self.open_anew(segment))
                    || self.take_in(segment, is_fragment, by_opener)
            }
        };
        if passes { Ok(()) } else { Err(DropReason::OutOfWindow) }
    }

    /// A reset. Only one at exactly the number that the receiver expects next ends anything.
    fn reset(&mut self, segment: &Segment, by_opener: bool) -> bool {
        let ack = acknowledgement_of(segment);
        if !by_opener && ack.is_some_and(|ack| self.pending_opener(ack).is_some()) {
            // It refuses a SYN that it has seen, so it knows no connection.
            self.stage = Stage::Closed;
            return true;
        }
        if !self.fits(segment, by_opener) {
            return false;
        }
        let (sender, _) = self.halves(by_opener);
        let sequence = Sequence(segment.sequence);
        if sequence == sender.acked || sequence == sender.end {
            self.stage = Stage::Closed;
        }
        true
    }

    /// Any other segment: what fits moves the connection on.
    fn take_in(&mut self, segment: &Segment, is_fragment: bool, by_opener: bool) -> bool {
        let Some(ack) = acknowledgement_of(segment) else { return false };
        if !self.fits(segment, by_opener) {
            return false;
        }
        let window = self.window_of(segment, by_opener);
        let (sender, receiver) = if by_opener {
            (&mut self.opener, &mut self.responder)
        } else {
            (&mut self.responder, &mut self.opener)
        };
        let mut end = end_of(segment);
        if is_fragment {
            // What follows is not known. It may fill the datagram, but no window.
            end = end.max((Sequence(segment.sequence) + u32::from(u16::MAX)).min(sender.max_end));
        }
        sender.end = sender.end.max(end);
        sender.max_window = sender.max_window.max(window);
        receiver.acked = receiver.acked.max(ack);
        receiver.max_end = receiver.max_end.max(ack + window);
        // Beyond the end lies only what was in flight when the connection was picked up.
        receiver.end = receiver.end.max(ack);
        if by_opener {
            // It knows the connection; what waited was somebody else's, or old.
            self.pending = Pending::Nothing;
        }
        self.stage = self.stage.acknowledged_by(by_opener);
        if segment.flags.has(TcpFlags::FIN) {
            self.stage = self.stage.finished_by(by_opener);
        }
        true
    }

    /// The four bounds, of which the last two need an acknowledgement.
    fn fits(&self, segment: &Segment, by_opener: bool) -> bool {
        let (sender, receiver) = self.halves(by_opener);
        let (first, end) = (Sequence(segment.sequence), end_of(segment));
        // A zero window lets one byte through, which asks whether it is open again. What comes
        // behind that byte without any of its own is no more than has been let through.
        let newest = if first == end { sender.max_end.max(sender.end) } else { sender.max_end };
        let is_allowed = !first.is_after(newest);
        let oldest = sender.end - receiver.max_window - 1;
        let is_recent = !first.is_before(oldest) || !end.is_before(oldest);
        // Some hosts send resets with ACK that acknowledge nothing.
        let resets = segment.flags.has(TcpFlags::RST) && segment.acknowledgement == 0;
        let ack = acknowledgement_of(segment).filter(|_| !resets);
        is_allowed && is_recent && ack.is_none_or(|ack| self.fits_ack(ack, by_opener))
    }

    fn fits_ack(&self, ack: Sequence, by_opener: bool) -> bool {
        let (sender, receiver) = self.halves(by_opener);
        let oldest = if self.stage.owes_ack(by_opener) {
            receiver.acked + 1
        } else {
            receiver.end - sender.max_window.max(ACK_AGE_MIN)
        };
        let mut newest = receiver.end;
        if self.opener_scale == Scale::UNKNOWN {
            // Picked up: more may have been in flight than has been seen here.
            newest = newest.max(receiver.max_end);
        }
        ack.is_within(oldest, newest)
    }

    /// The window that a segment offers. In one with SYN it is never scaled (RFC 7323, 2.2).
    fn window_of(&self, segment: &Segment, by_opener: bool) -> u32 {
        let shift = match by_opener {
            _ if segment.flags.has(TcpFlags::SYN) => 0,
            true => self.opener_scale.shift_if(self.responder_scale),
            false => self.responder_scale.shift_if(self.opener_scale),
        };
        u32::from(segment.window) << shift
    }

    /// The sender's half and the receiver's.
    fn halves(&self, by_opener: bool) -> (&Half, &Half) {
        if by_opener { (&self.opener, &self.responder) } else { (&self.responder, &self.opener) }
    }
}

impl Half {
    /// The half of a side that has sent nothing but a SYN.
    fn of_syn(segment: &Segment) -> Self {
        let end = end_of(segment);
        let acked = Sequence(segment.sequence);
        Self { end, max_end: end, acked, max_window: segment.window.into() }
    }

    /// The same, if the other side's SYN offers a window.
    fn let_send(self, window: u32) -> Self {
        Self { max_end: self.max_end.max(self.acked + 1 + window), ..self }
    }
}

impl Scale {
    /// The side does not offer to scale.
    const NONE: Self = Self(0xff);
    /// The handshake was before this table's time.
    const UNKNOWN: Self = Self(0xfe);

    fn offered_by(segment: &Segment) -> Self {
        segment.window_scale.map_or(Self::NONE, |shift| Self(shift.min(SHIFT_MAX)))
    }

    /// The shift of this side's windows: both scale, or none (RFC 7323, 2.2).
    fn shift_if(self, other: Self) -> u8 {
        match (self, other) {
            (Self::NONE, _) | (_, Self::NONE) => 0,
            (Self(shift), _) => shift.min(SHIFT_MAX),
        }
    }
}

impl Stage {
    /// Whether the side has yet to acknowledge the other's SYN.
    fn owes_ack(self, by_opener: bool) -> bool {
        match self {
            Self::SynsCrossed => true,
            Self::OpenerOwesAck => by_opener,
            Self::ResponderOwesAck => !by_opener,
            _ => false,
        }
    }

    fn acknowledged_by(self, by_opener: bool) -> Self {
        match (self, by_opener) {
            (Self::SynsCrossed, true) => Self::ResponderOwesAck,
            (Self::SynsCrossed, false) => Self::OpenerOwesAck,
            (Self::OpenerOwesAck, true) | (Self::ResponderOwesAck, false) => Self::Established,
            (same, _) => same,
        }
    }

    fn finished_by(self, by_opener: bool) -> Self {
        match (self, by_opener) {
            (Self::ResponderClosed | Self::Closed, true)
            | (Self::OpenerClosed | Self::Closed, false) => Self::Closed,
            (_, true) => Self::OpenerClosed,
            (_, false) => Self::ResponderClosed,
        }
    }
}

/// Whether the flags are those of the first segment of a connection.
#[inline]
#[must_use]
pub(crate) fn opens(flags: TcpFlags) -> bool {
    flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::ACK)
}

/// Behind the last number that a segment takes up: SYN and FIN count.
fn end_of(segment: &Segment) -> Sequence {
    let counts = |flag| u32::from(segment.flags.has(flag));
    Sequence(segment.sequence) + segment.payload_len + counts(TcpFlags::SYN) + counts(TcpFlags::FIN)
}

/// What a segment acknowledges.
fn acknowledgement_of(segment: &Segment) -> Option<Sequence> {
    segment.flags.has(TcpFlags::ACK).then_some(Sequence(segment.acknowledgement))
}

#[cfg(test)]
mod tests;
