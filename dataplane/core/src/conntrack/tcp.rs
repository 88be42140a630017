//! TCP: how far the handshake and the close of RFC 9293 have come.

use crate::conntrack::state::TcpState;
use crate::drop::DropReason;
use crate::packet::{Segment, TcpFlags};

/// What a TCP connection remembers of both sides.
#[derive(Debug, Clone)]
pub(crate) struct Windows {
    state: TcpState,
}

impl Windows {
    /// The connection that a plain SYN opens.
    pub(crate) fn opened_by(segment: &Segment) -> Option<Self> {
        opens(segment.flags).then_some(Self { state: TcpState::SynSent })
    }

    /// The connection that a segment from its middle belongs to.
    pub(crate) fn picked_up(segment: &Segment) -> Option<Self> {
        let flags = segment.flags;
        let is_midst =
            flags.has(TcpFlags::ACK) && !flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::RST);
        is_midst.then_some(Self { state: TcpState::Established })
    }

    pub(crate) fn state(&self) -> TcpState {
        self.state
    }

    pub(crate) fn has_sent(&self, _sequence: u32, _by_opener: bool) -> bool {
        true
    }

    pub(crate) fn follow(
        &mut self,
        segment: &Segment,
        _is_fragment: bool,
        by_opener: bool,
    ) -> Result<(), DropReason> {
        use TcpState::{Closed, Established, OpenerClosed, ResponderClosed, SynReceived, SynSent};
        let flags = segment.flags;
        self.state = match self.state {
            _ if flags.has(TcpFlags::RST) => Closed,
            // A FIN before the handshake is complete ends what never began.
            state if flags.has(TcpFlags::FIN) => match (state, by_opener) {
                (ResponderClosed | Closed, true) | (OpenerClosed | Closed, false) => Closed,
                (_, true) => OpenerClosed,
                (_, false) => ResponderClosed,
            },
            SynSent if !by_opener && flags.has(TcpFlags::SYN | TcpFlags::ACK) => SynReceived,
            SynReceived if by_opener && flags.has(TcpFlags::ACK) => Established,
            same => same,
        };
        Ok(())
    }
}

/// Whether the flags are those of the first segment of a connection.
#[inline]
#[must_use]
pub(crate) fn opens(flags: TcpFlags) -> bool {
    flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::ACK)
}
