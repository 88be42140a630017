//! SCTP: how far an association has come.

use crate::conntrack::state::SctpState;
use crate::drop::DropReason;
use crate::packet::SctpPacket;

/// What an SCTP association remembers of both sides.
#[derive(Debug, Clone)]
pub(crate) struct Association {
    state: SctpState,
}

impl Association {
    /// The association that an INIT opens.
    pub(crate) fn opened_by(packet: &SctpPacket) -> Option<Self> {
        packet.chunks.init.map(|_| Self { state: SctpState::Opening })
    }

    pub(crate) fn state(&self) -> SctpState {
        self.state
    }

    pub(crate) fn has_sent(&self, _tag: u32, _by_opener: bool) -> bool {
        true
    }

    pub(crate) fn follow(
        &mut self,
        packet: &SctpPacket,
        _by_opener: bool,
    ) -> Result<(), DropReason> {
        let chunks = packet.chunks;
        if chunks.abort || chunks.shutdown_complete {
            self.state = SctpState::Closed;
        } else if chunks.cookie_ack {
            self.state = SctpState::Established;
        }
        Ok(())
    }
}
