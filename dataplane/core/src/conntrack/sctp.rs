//! SCTP: which packets can belong to an association, and how far it has come.
//!
//! Each side chooses a tag in the handshake and expects it in every packet (RFC 9260, 8.5).
//! Whoever has not seen the handshake has to guess it.
//!
//! ```text
//!  opener                                          responder
//!     | ---- tag 0     INIT, chooses o    ------------> |
//!     | <--- tag o     INIT ACK, chooses r ------------ |
//!     | ---- tag r     COOKIE ECHO   -----------------> |
//!     | <--- tag o     COOKIE ACK    ------------------ |
//! ```
//!
//! An INIT proves nothing, and its receiver answers it in whatever state it is, without
//! remembering anything (RFC 9260, 5.2). So neither does anything change here before somebody
//! echoes a tag that only the answer has named: an association lives on beside handshakes that
//! are forged, and gives way to one that is completed (5.2.4, a restart).

use crate::conntrack::state::SctpState;
use crate::drop::DropReason;
use crate::packet::{Chunks, SctpPacket};

/// What an SCTP association remembers of both sides.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Association {
    /// Those of the last handshake that was completed.
    in_force: Tags,
    /// Those that each side has chosen in its last INIT.
    initiated: Tags,
    /// Those of the INIT ACK whose cookie is echoed; until then of the first one.
    offered: Tags,
    /// Those of the last INIT ACK: to an INIT that came twice there are two.
    offered_last: Tags,
    is_echoed_by_opener: bool,
    is_echoed_by_responder: bool,
    state: SctpState,
}

/// The tags that the two sides have chosen, and expect in what is sent to them; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Tags {
    opener: u32,
    responder: u32,
}

impl Association {
    /// The association that an INIT opens.
    pub(crate) fn opened_by(packet: &SctpPacket) -> Option<Self> {
        let tag = initiated_by(packet)?;
        Some(Self {
            in_force: Tags::default(),
            initiated: Tags::default().with(true, tag),
            offered: Tags::default(),
            offered_last: Tags::default(),
            is_echoed_by_opener: false,
            is_echoed_by_responder: false,
            state: SctpState::Opening,
        })
    }

    pub(crate) fn state(&self) -> SctpState {
        self.state
    }

    /// Whether this is a tag that a side sends with (RFC 9260, 10). An INIT, which has none, can
    /// be quoted while the association opens.
    pub(crate) fn has_sent(&self, tag: u32, by_opener: bool) -> bool {
        let sends_with = |tags: Tags| tag != 0 && tags.of(!by_opener) == tag;
        let initiates = tag == 0 && self.initiated.of(by_opener) != 0;
        let handshakes = [self.offered, self.offered_last, self.initiated];
        sends_with(self.in_force)
            || self.state == SctpState::Opening
                && (initiates || handshakes.into_iter().any(sends_with))
    }

    /// Takes in a packet of the association.
    ///
    /// # Errors
    /// [`DropReason::SctpMismatch`]. Nothing has changed then.
    pub(crate) fn follow(
        &mut self,
        packet: &SctpPacket,
        by_opener: bool,
    ) -> Result<(), DropReason> {
        let chunks = packet.chunks;
        let passes = if chunks.init.is_some() {
            self.initiate(packet, by_opener)
        } else if let Some(tag) = chunks.init_ack {
            self.offer(packet, tag, by_opener)
        } else {
            (chunks.cookie_echo && self.echo(packet, by_opener))
                || (chunks.cookie_ack && self.complete(packet, by_opener))
                || self.go_on(packet, by_opener)
                || self.refuse(packet, by_opener)
        };
        if passes { Ok(()) } else { Err(DropReason::SctpMismatch) }
    }

    fn initiate(&mut self, packet: &SctpPacket, by_opener: bool) -> bool {
        let tag = initiated_by(packet);
        if let Some(tag) = tag {
            self.initiated = self.initiated.with(by_opener, tag);
        }
        tag.is_some()
    }

    /// An INIT ACK, in which the sender chooses its tag.
    fn offer(&mut self, packet: &SctpPacket, tag: u32, by_opener: bool) -> bool {
        if tag == 0 || !self.initiated.fit(packet, by_opener) {
            return false;
        }
        let tags = self.initiated.with(by_opener, tag);
        if self.offered == Tags::default() {
            self.offered = tags;
        }
        self.offered_last = tags;
        true
    }

    /// A COOKIE ECHO, whose sender has seen the INIT ACK.
    fn echo(&mut self, packet: &SctpPacket, by_opener: bool) -> bool {
        if !self.offered.fit(packet, by_opener) {
            if !self.offered_last.fit(packet, by_opener) {
                return false;
            }
            std::mem::swap(&mut self.offered, &mut self.offered_last);
            (self.is_echoed_by_opener, self.is_echoed_by_responder) = (false, false);
        }
        self.is_echoed_by_opener |= by_opener;
        self.is_echoed_by_responder |= !by_opener;
        true
    }

    /// A COOKIE ACK, whose sender has seen the COOKIE ECHO. What comes with it may go further.
    fn complete(&mut self, packet: &SctpPacket, by_opener: bool) -> bool {
        if !self.is_echoed_to(by_opener) || !self.offered.fit(packet, by_opener) {
            return false;
        }
        *self = Self {
            in_force: self.offered,
            initiated: Tags::default(),
            offered: Tags::default(),
            offered_last: Tags::default(),
            is_echoed_by_opener: false,
            is_echoed_by_responder: false,
            state: SctpState::Established,
        };
        self.advance(packet.chunks);
        true
    }

    /// Any other packet of the association in force, or of the next one: whoever has got a
    /// cookie back may speak before its COOKIE ACK has come by here.
    fn go_on(&mut self, packet: &SctpPacket, by_opener: bool) -> bool {
        if self.in_force.fit(packet, by_opener) {
            self.advance(packet.chunks);
            return true;
        }
        !packet.chunks.abort && self.is_echoed_to(by_opener) && self.offered.fit(packet, by_opener)
    }

    /// An ABORT within a handshake. It leaves the association in force alone, and the
    /// handshakes of others.
    fn refuse(&mut self, packet: &SctpPacket, by_opener: bool) -> bool {
        if !packet.chunks.abort {
            return false;
        }
        let is_echoed = self.is_echoed_by_opener || self.is_echoed_by_responder;
        let fits = |tags: Tags| tags.fit(packet, by_opener);
        // Whoever forges an INIT can reflect its tag, but not that of the answer.
        let can_be_forged = packet.chunks.reflected && !is_echoed;
        let is_of_offer = fits(self.offered) && !can_be_forged;
        let is_of_other =
            !packet.chunks.reflected && (fits(self.offered_last) || fits(self.initiated));
        let is_alone = self.offered == Tags::default();
        if self.state == SctpState::Opening && (is_of_offer || is_of_other && is_alone) {
            self.state = SctpState::Closed;
        }
        is_of_offer || is_of_other
    }

    fn advance(&mut self, chunks: Chunks) {
        if chunks.abort || chunks.shutdown_complete {
            self.state = SctpState::Closed;
        } else if (chunks.shutdown || chunks.shutdown_ack) && self.state != SctpState::Closed {
            self.state = SctpState::Closing;
        }
    }

    /// Whether a side has got its cookie back.
    fn is_echoed_to(&self, opener: bool) -> bool {
        if opener { self.is_echoed_by_responder } else { self.is_echoed_by_opener }
    }
}

impl Tags {
    /// The tag that a side has chosen.
    fn of(self, opener: bool) -> u32 {
        if opener { self.opener } else { self.responder }
    }

    fn with(self, opener: bool, tag: u32) -> Self {
        if opener { Self { opener: tag, ..self } } else { Self { responder: tag, ..self } }
    }

    /// Whether a packet bears the tag that its receiver expects, or reflects the one that its
    /// sender is sent (RFC 9260, 8.5.1).
    fn fit(self, packet: &SctpPacket, by_opener: bool) -> bool {
        let expected = self.of(by_opener == packet.chunks.reflected);
        expected != 0 && packet.tag == expected
    }
}

/// The tag that an INIT's sender chooses, if it is as it should be (RFC 9260, 8.5.1 and 3.3.2).
fn initiated_by(packet: &SctpPacket) -> Option<u32> {
    packet.chunks.init.filter(|tag| *tag != 0 && packet.tag == 0)
}

#[cfg(test)]
mod tests;
