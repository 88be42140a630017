//! What a connection remembers of its packets, and which packets may follow.

use crate::conntrack::sctp::Association;
use crate::conntrack::state::{Exchange, State};
use crate::conntrack::tcp::Windows;
use crate::drop::DropReason;
use crate::packet::{Quoted, TcpFlags, Transport};

/// What a connection remembers of its packets.
#[derive(Debug, Clone)]
pub(crate) enum Tracking {
    /// TCP: both sides' windows.
    Tcp(Windows),
    /// SCTP: both sides' tags.
    Sctp(Association),
    /// UDP: how far the two sides have come.
    Udp(Exchange),
    /// Echoes: whether one has been answered.
    Echo {
        /// One has.
        replied: bool,
    },
    /// Another protocol: how far the two sides have come.
    Opaque(Exchange),
}

impl Tracking {
    /// What a packet that belongs to no connection begins; `None` where it cannot begin one: a
    /// TCP segment other than a plain SYN, an SCTP packet other than an INIT, an echo reply, an
    /// ICMP error. With `midstream` a TCP segment with ACK and without SYN or RST may, too, as
    /// part of a connection that is older than this table.
    #[inline]
    pub(crate) fn opened_by(transport: &Transport, midstream: bool) -> Option<Self> {
        match transport {
            Transport::Tcp(segment) => Windows::opened_by(segment)
                .or_else(|| midstream.then(|| Windows::picked_up(segment)).flatten())
                .map(Self::Tcp),
            Transport::Sctp(packet) => Association::opened_by(packet).map(Self::Sctp),
            Transport::Udp(_) => Some(Self::Udp(Exchange::Single)),
            Transport::Echo { request, .. } => request.then_some(Self::Echo { replied: false }),
            Transport::Opaque => Some(Self::Opaque(Exchange::Single)),
            Transport::IcmpError(_)
            | Transport::Neighbour(_)
            | Transport::IcmpOther { .. }
            | Transport::Continuation => None,
        }
    }

    /// Takes in a packet of the connection, sent by the opener or by the other side. Of a first
    /// fragment only the beginning is here (`is_fragment`).
    ///
    /// # Errors
    /// The reason to drop it for, where it does not fit. Nothing has changed then.
    #[inline]
    pub(crate) fn follow(
        &mut self,
        transport: &Transport,
        is_fragment: bool,
        by_opener: bool,
    ) -> Result<(), DropReason> {
        match (self, transport) {
            (Self::Tcp(windows), Transport::Tcp(segment)) => {
                windows.follow(segment, is_fragment, by_opener)
            }
            (Self::Sctp(association), Transport::Sctp(packet)) => {
                association.follow(packet, by_opener)
            }
            (Self::Udp(exchange) | Self::Opaque(exchange), _) => {
                *exchange = exchange.followed_by(by_opener);
                Ok(())
            }
            (Self::Echo { replied }, _) => {
                *replied |= !by_opener;
                Ok(())
            }
            // The protocol is part of the key.
            (Self::Tcp(_) | Self::Sctp(_), _) => Err(DropReason::NoConnection),
        }
    }

    /// Whether the connection's opener, or the other side, can have sent what an ICMP error
    /// quotes. Whoever has not seen the packet has to guess its sequence number or tag
    /// (RFC 5927, 4.1; RFC 9260, 10).
    #[inline]
    pub(crate) fn has_sent(&self, quoted: &Quoted, by_opener: bool) -> bool {
        match (self, quoted.proof) {
            (Self::Tcp(windows), Some(sequence)) => windows.has_sent(sequence, by_opener),
            (Self::Sctp(association), Some(tag)) => association.has_sent(tag, by_opener),
            (Self::Tcp(_) | Self::Sctp(_), None) => false,
            _ => true,
        }
    }

    /// How far the connection has come.
    #[inline]
    pub(crate) fn state(&self) -> State {
        match self {
            Self::Tcp(windows) => State::Tcp(windows.state()),
            Self::Sctp(association) => State::Sctp(association.state()),
            Self::Udp(exchange) => State::Udp(*exchange),
            Self::Echo { replied } => State::Echo { replied: *replied },
            Self::Opaque(exchange) => State::Opaque(*exchange),
        }
    }
}

/// Whether a packet that passes shows by itself that somebody uses the connection. A SYN, a RST
/// and an INIT pass in many places where their sender need not know anything of it, because the
/// receiver can tell: what they show, they show by the state that they change.
#[inline]
pub(crate) fn shows_use(transport: &Transport) -> bool {
    match transport {
        Transport::Tcp(segment) => {
            !segment.flags.has(TcpFlags::SYN) && !segment.flags.has(TcpFlags::RST)
        }
        Transport::Sctp(packet) => packet.chunks.init.is_none(),
        _ => true,
    }
}
