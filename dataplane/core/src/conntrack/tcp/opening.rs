//! How connections begin: the handshake, and what hosts do when they disagree on whether there
//! is a connection.

use super::{Half, Scale, Sequence, Stage, Windows, acknowledgement_of, end_of, opens};
use crate::packet::{Segment, TcpFlags};

/// What has passed without changing anything, and may yet come to mean something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pending {
    Nothing,
    /// The opener's SYN on a connection that lives. It may have lost the connection.
    Syn {
        number: Sequence,
        payload_len: u16,
        scale: Scale,
    },
    /// What the responder acknowledges instead of the SYN. It may know an older connection,
    /// which the opener then resets at this number.
    Challenge(Sequence),
}

impl Windows {
    /// The opener, before anybody has answered: the SYN once more, or it gives up.
    pub(super) fn ask_again(&mut self, segment: &Segment) -> bool {
        let sequence = Sequence(segment.sequence);
        if let Some(again) = Self::opened_by(segment) {
            *self = again;
            return true;
        }
        if !segment.flags.has(TcpFlags::RST) {
            return false;
        }
        if self.pending == Pending::Challenge(sequence) {
            // It resets the older connection. The SYN of this one will come again.
            return true;
        }
        let gives_up = sequence.is_within(self.opener.acked + 1, self.opener.end);
        if gives_up {
            self.stage = Stage::Closed;
        }
        gives_up
    }

    /// Whether the responder accepts or refuses the opener's SYN, and has seen it: of data
    /// within the SYN (RFC 7413) it may acknowledge a part.
    pub(super) fn is_answer(&self, segment: &Segment) -> bool {
        let answers = segment.flags.has(TcpFlags::SYN) || segment.flags.has(TcpFlags::RST);
        let Half { acked, end, .. } = self.opener;
        answers && acknowledgement_of(segment).is_some_and(|ack| ack.is_within(acked + 1, end))
    }

    /// The responder accepts or refuses a SYN, of which the opener's half is made.
    pub(super) fn answer(&mut self, opener: Half, opener_scale: Scale, segment: &Segment) {
        if segment.flags.has(TcpFlags::RST) {
            self.stage = Stage::Closed;
            return;
        }
        let acked = Sequence(segment.acknowledgement);
        let max_end = opener.end.max(acked + u32::from(segment.window));
        *self = Self {
            opener: Half { acked, max_end, ..opener },
            responder: Half::of_syn(segment).let_send(opener.max_window),
            pending: Pending::Nothing,
            opener_scale,
            responder_scale: Scale::offered_by(segment),
            stage: Stage::OpenerOwesAck,
        };
    }

    /// The responder, before it has answered: a SYN of its own, or a challenge.
    pub(super) fn meet(&mut self, segment: &Segment) -> bool {
        let flags = segment.flags;
        if opens(flags) {
            self.responder = Half::of_syn(segment);
            self.responder_scale = Scale::offered_by(segment);
            self.stage = Stage::SynsCrossed;
            return true;
        }
        let Some(ack) = acknowledgement_of(segment) else { return false };
        let Half { acked, end, .. } = self.opener;
        let speaks_of_another = end_of(segment) == Sequence(segment.sequence)
            && !flags.has(TcpFlags::RST)
            && !ack.is_within(acked + 1, end);
        if speaks_of_another {
            self.pending = Pending::Challenge(ack);
        }
        speaks_of_another
    }

    /// A SYN where there is a connection: the receiver answers with a challenge ACK. If it is
    /// the responder that has lost the connection, it answers with SYN and ACK.
    pub(super) fn note_syn(&mut self, segment: &Segment, by_opener: bool) {
        if by_opener {
            self.pending = Pending::Syn {
                number: Sequence(segment.sequence),
                payload_len: u16::try_from(segment.payload_len).unwrap_or(u16::MAX),
                scale: Scale::offered_by(segment),
            };
        }
    }

    /// The responder accepts a SYN that was waiting: both sides begin again. Returns whether
    /// this is what the segment does.
    pub(super) fn open_anew(&mut self, segment: &Segment) -> bool {
        let accepted = acknowledgement_of(segment)
            .filter(|_| segment.flags.has(TcpFlags::SYN))
            .and_then(|ack| self.pending_opener(ack));
        if let Some((opener, scale)) = accepted {
            self.answer(opener, scale, segment);
        }
        accepted.is_some()
    }

    /// The opener's half of the connection that its waiting SYN begins, if that is what is
    /// acknowledged.
    pub(super) fn pending_opener(&self, ack: Sequence) -> Option<(Half, Scale)> {
        let Pending::Syn { number, payload_len, scale } = self.pending else { return None };
        let end = number + 1 + u32::from(payload_len);
        // The window is not kept; the SYN's is never scaled.
        let opener = Half { end, max_end: end, acked: number, max_window: u16::MAX.into() };
        ack.is_within(number + 1, end).then_some((opener, scale))
    }
}
