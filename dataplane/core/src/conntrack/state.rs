//! How far a connection has come, and how long it may stay there without a packet.

use std::time::Duration;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// TCP.
    Tcp(TcpState),
    /// SCTP.
    Sctp(SctpState),
    /// UDP.
    Udp(Exchange),
    /// Echoes.
    Echo {
        /// A reply has come.
        replied: bool,
    },
    /// Another protocol.
    Opaque(Exchange),
}

/// How far two sides have come that speak a protocol without a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exchange {
    /// Only the opener has sent.
    Single,
    /// The other side has answered.
    Answered,
    /// The opener has sent again after an answer.
    Ongoing,
}

/// When a connection gives way to a newcomer that finds no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Turn {
    /// Nobody has answered, or not to the end of a handshake; or it is over.
    First,
    /// It has been answered, and nobody has asked again. It goes once its account has none that
    /// would go first.
    Second,
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

/// The states of an SCTP association that the time-outs tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SctpState {
    /// The four packets of the handshake are not through yet.
    Opening,
    /// The handshake is complete.
    Established,
    /// One side shuts it down.
    Closing,
    /// Both have shut it down, or one has aborted it.
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
    /// SCTP until the handshake is complete.
    pub sctp_opening: Duration,
    /// SCTP, established. Heartbeats keep it alive (RFC 9260, 8.3: every 30 s and more).
    pub sctp_established: Duration,
    /// SCTP, being shut down.
    pub sctp_closing: Duration,
    /// SCTP, shut down or aborted.
    pub sctp_closed: Duration,
    /// UDP before an answer.
    pub udp_single: Duration,
    /// UDP after an answer.
    pub udp_answered: Duration,
    /// UDP once the opener has sent again after an answer.
    pub udp_ongoing: Duration,
    /// Echoes.
    pub echo: Duration,
    /// Other protocols.
    pub opaque: Duration,
    /// A datagram from its first fragment to its last.
    pub fragments: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_opening: Duration::from_secs(60),
            tcp_established: Duration::from_secs(24 * 60 * 60),
            tcp_closing: Duration::from_secs(120),
            tcp_closed: Duration::from_secs(10),
            sctp_opening: Duration::from_secs(30),
            sctp_established: Duration::from_secs(300),
            sctp_closing: Duration::from_secs(60),
            sctp_closed: Duration::from_secs(10),
            udp_single: Duration::from_secs(30),
            udp_answered: Duration::from_secs(30),
            udp_ongoing: Duration::from_secs(120),
            echo: Duration::from_secs(30),
            opaque: Duration::from_secs(600),
            fragments: Duration::from_secs(30),
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
            State::Sctp(SctpState::Opening) => self.sctp_opening,
            State::Sctp(SctpState::Established) => self.sctp_established,
            State::Sctp(SctpState::Closing) => self.sctp_closing,
            State::Sctp(SctpState::Closed) => self.sctp_closed,
            State::Udp(Exchange::Single) => self.udp_single,
            State::Udp(Exchange::Answered) => self.udp_answered,
            State::Udp(Exchange::Ongoing) => self.udp_ongoing,
            State::Echo { .. } => self.echo,
            State::Opaque(_) => self.opaque,
        }
    }
}

impl State {
    /// When a connection in this state gives way if room is short; `None` for never.
    #[inline]
    #[must_use]
    pub fn turn(self) -> Option<Turn> {
        match self {
            Self::Tcp(TcpState::SynSent | TcpState::SynReceived | TcpState::Closed)
            | Self::Sctp(SctpState::Opening | SctpState::Closed)
            | Self::Udp(Exchange::Single)
            | Self::Echo { replied: false }
            | Self::Opaque(Exchange::Single) => Some(Turn::First),
            Self::Udp(Exchange::Answered)
            | Self::Echo { replied: true }
            | Self::Opaque(Exchange::Answered) => Some(Turn::Second),
            Self::Tcp(
                TcpState::Established | TcpState::OpenerClosed | TcpState::ResponderClosed,
            )
            | Self::Sctp(SctpState::Established | SctpState::Closing)
            | Self::Udp(Exchange::Ongoing)
            | Self::Opaque(Exchange::Ongoing) => None,
        }
    }

    /// Whether nobody has answered yet, or not to the end of a handshake.
    #[inline]
    #[must_use]
    pub fn is_half_open(self) -> bool {
        self.turn() == Some(Turn::First) && !self.is_closed()
    }

    /// Whether the connection is over.
    #[inline]
    #[must_use]
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Tcp(TcpState::Closed) | Self::Sctp(SctpState::Closed))
    }
}

impl Exchange {
    /// What a packet of the opener, or of the other side, makes of it.
    #[inline]
    #[must_use]
    pub(crate) fn followed_by(self, opener: bool) -> Self {
        match (self, opener) {
            (Self::Single, false) => Self::Answered,
            (Self::Answered, true) => Self::Ongoing,
            (same, _) => same,
        }
    }
}
