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
    Udp {
        /// The other side has answered.
        replied: bool,
    },
    /// Echoes.
    Echo {
        /// A reply has come.
        replied: bool,
    },
    /// Another protocol.
    Opaque {
        /// The other side has sent something.
        replied: bool,
    },
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
    pub udp_replied: Duration,
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
            udp_replied: Duration::from_secs(120),
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
            State::Udp { replied: false } => self.udp_single,
            State::Udp { replied: true } => self.udp_replied,
            State::Echo { .. } => self.echo,
            State::Opaque { .. } => self.opaque,
        }
    }
}

impl State {
    /// Whether the other side has not answered, or not to the end of a handshake. Such a
    /// connection gives way to others when room is short.
    #[inline]
    #[must_use]
    pub fn is_half_open(self) -> bool {
        matches!(
            self,
            Self::Tcp(TcpState::SynSent | TcpState::SynReceived)
                | Self::Sctp(SctpState::Opening)
                | Self::Udp { replied: false }
                | Self::Echo { replied: false }
                | Self::Opaque { replied: false }
        )
    }

    /// Whether the connection is over.
    #[inline]
    #[must_use]
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Tcp(TcpState::Closed) | Self::Sctp(SctpState::Closed))
    }
}
