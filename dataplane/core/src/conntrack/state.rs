//! How far a connection has come, what moves it on, and how long it may stay there.
//!
//! TCP follows the handshake and the close of RFC 9293; sequence numbers are not checked yet.
//! Everything else is counted as answered or not.

use std::time::Duration;

use crate::packet::{TcpFlags, Transport};

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// TCP.
    Tcp(TcpState),
    /// UDP and SCTP: whether the other side has answered.
    Datagram {
        /// A packet has come back.
        replied: bool,
    },
    /// An echo.
    Echo,
    /// Another protocol.
    Opaque,
}

/// The states of a TCP connection that the time-outs tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TcpState {
    /// The opener has sent a SYN.
    SynSent,
    /// The other side has answered with SYN and ACK.
    SynReceived,
    /// Both sides have acknowledged.
    Established,
    /// The opener has sent a FIN, the other side has not.
    OpenerClosed,
    /// The other side has sent a FIN, the opener has not.
    ResponderClosed,
    /// Both have sent a FIN, or one a RST.
    Closed,
}

/// How long a connection may stay silent in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP until the handshake is complete.
    pub tcp_opening: Duration,
    /// TCP, established.
    pub tcp_established: Duration,
    /// TCP, closed by one side.
    pub tcp_closing: Duration,
    /// TCP, closed by both sides or reset.
    pub tcp_closed: Duration,
    /// UDP and SCTP before an answer.
    pub datagram_single: Duration,
    /// UDP and SCTP after an answer.
    pub datagram_replied: Duration,
    /// Echoes.
    pub echo: Duration,
    /// Other protocols.
    pub opaque: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_opening: Duration::from_secs(60),
            tcp_established: Duration::from_secs(24 * 60 * 60),
            tcp_closing: Duration::from_secs(120),
            tcp_closed: Duration::from_secs(10),
            datagram_single: Duration::from_secs(30),
            datagram_replied: Duration::from_secs(120),
            echo: Duration::from_secs(30),
            opaque: Duration::from_secs(600),
        }
    }
}

impl Timeouts {
    /// How long `state` may last without a packet.
    #[inline]
    #[must_use]
    pub fn of(&self, state: State) -> Duration {
        match state {
            State::Tcp(TcpState::SynSent | TcpState::SynReceived) => self.tcp_opening,
            State::Tcp(TcpState::Established) => self.tcp_established,
            State::Tcp(TcpState::OpenerClosed | TcpState::ResponderClosed) => self.tcp_closing,
            State::Tcp(TcpState::Closed) => self.tcp_closed,
            State::Datagram { replied: false } => self.datagram_single,
            State::Datagram { replied: true } => self.datagram_replied,
            State::Echo => self.echo,
            State::Opaque => self.opaque,
        }
    }
}

impl State {
    /// The state of a connection that this packet opens; `None` where it cannot open one: a
    /// TCP segment other than a plain SYN, an echo reply, an ICMP error.
    #[inline]
    #[must_use]
    pub fn opened_by(transport: &Transport, is_tcp: bool) -> Option<Self> {
        match transport {
            Transport::Ports { flags, .. } if is_tcp => {
                opens(*flags).then_some(Self::Tcp(TcpState::SynSent))
            }
            Transport::Ports { .. } => Some(Self::Datagram { replied: false }),
            Transport::Echo { request, .. } => request.then_some(Self::Echo),
            Transport::Opaque => Some(Self::Opaque),
            Transport::IcmpError(_) | Transport::Neighbour(_) | Transport::IcmpOther { .. } => None,
        }
    }

    /// The state after a packet, sent by the opener or by the other side.
    #[inline]
    #[must_use]
    pub fn after(self, transport: &Transport, by_opener: bool) -> Self {
        match (self, transport) {
            (Self::Tcp(state), Transport::Ports { flags, .. }) => {
                Self::Tcp(state.after(*flags, by_opener))
            }
            (Self::Datagram { replied }, _) => Self::Datagram { replied: replied || !by_opener },
            (other, _) => other,
        }
    }

    /// Whether one side at least has closed the connection.
    #[inline]
    #[must_use]
    pub fn is_ending(self) -> bool {
        use TcpState::{Closed, OpenerClosed, ResponderClosed};
        matches!(self, Self::Tcp(OpenerClosed | ResponderClosed | Closed))
    }

    /// Whether the connection is over.
    #[inline]
    #[must_use]
    pub fn is_closed(self) -> bool {
        self == Self::Tcp(TcpState::Closed)
    }
}

impl TcpState {
    fn after(self, flags: TcpFlags, by_opener: bool) -> Self {
        if flags.has(TcpFlags::RST) {
            return Self::Closed;
        }
        match self {
            // A FIN before the handshake is complete ends what never began.
            _ if flags.has(TcpFlags::FIN) => match (self, by_opener) {
                (Self::ResponderClosed | Self::Closed, true)
                | (Self::OpenerClosed | Self::Closed, false) => Self::Closed,
                (_, true) => Self::OpenerClosed,
                (_, false) => Self::ResponderClosed,
            },
            Self::SynSent if !by_opener && flags.has(TcpFlags::SYN | TcpFlags::ACK) => {
                Self::SynReceived
            }
            Self::SynReceived if by_opener && flags.has(TcpFlags::ACK) => Self::Established,
            same => same,
        }
    }
}

/// Whether the flags are those of the first segment of a connection.
#[inline]
#[must_use]
pub fn opens(flags: TcpFlags) -> bool {
    flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::ACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: TcpFlags = TcpFlags::SYN;
    const ACK: TcpFlags = TcpFlags::ACK;
    const FIN: TcpFlags = TcpFlags::FIN;
    const RST: TcpFlags = TcpFlags::RST;

    fn walk(steps: &[(TcpFlags, bool)]) -> TcpState {
        steps
            .iter()
            .fold(TcpState::SynSent, |state, &(flags, by_opener)| state.after(flags, by_opener))
    }

    #[test]
    fn a_handshake_establishes() {
        assert_eq!(walk(&[(SYN | ACK, false)]), TcpState::SynReceived);
        assert_eq!(walk(&[(SYN | ACK, false), (ACK, true)]), TcpState::Established);
        assert_eq!(walk(&[(ACK, false)]), TcpState::SynSent, "an ACK alone answers nothing");
        assert_eq!(walk(&[(SYN | ACK, true)]), TcpState::SynSent, "nobody answers himself");
    }

    #[test]
    fn both_sides_must_close() {
        let open = [(SYN | ACK, false), (ACK, true)];
        let with = |rest: &[(TcpFlags, bool)]| walk(&[&open[..], rest].concat());
        assert_eq!(with(&[(FIN | ACK, true)]), TcpState::OpenerClosed);
        assert_eq!(with(&[(FIN | ACK, true), (ACK, false)]), TcpState::OpenerClosed);
        assert_eq!(with(&[(FIN | ACK, true), (FIN | ACK, true)]), TcpState::OpenerClosed);
        assert_eq!(with(&[(FIN | ACK, true), (FIN | ACK, false)]), TcpState::Closed);
        assert_eq!(with(&[(FIN | ACK, false), (FIN | ACK, true)]), TcpState::Closed);
        assert_eq!(with(&[(RST, false)]), TcpState::Closed);
    }

    #[test]
    fn only_a_plain_syn_or_a_request_opens() {
        let tcp = |flags| Transport::Ports { source: 1, destination: 2, flags };
        assert!(State::opened_by(&tcp(SYN), true).is_some());
        assert!(State::opened_by(&tcp(SYN | ACK), true).is_none());
        assert!(State::opened_by(&tcp(ACK), true).is_none());
        assert!(State::opened_by(&tcp(RST), true).is_none());
        assert!(State::opened_by(&Transport::Echo { id: 1, request: true }, false).is_some());
        assert!(State::opened_by(&Transport::Echo { id: 1, request: false }, false).is_none());
    }
}
