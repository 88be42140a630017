//! From the bytes of a frame to a [`Packet`]: every header that a verdict depends on.
//!
//! Header layouts are etherparse's; the walk over them is our own, because a firewall must
//! not take an unfinished walk for "no ports". Whatever cannot be read to its end is an
//! error with a name. Bytes behind the length that the IP header gives are Ethernet padding
//! and are left alone, but for what no policy judges: ARP and neighbour discovery have no more
//! of it than makes a short frame long enough.
//!
//! A first fragment reads as the packet that it begins, if it holds the whole transport
//! header; the fragments behind it have [`Transport::Continuation`].
//!
//! Sources: IEEE 802.3 and 802.1Q; RFC 826 (ARP), 791 (IPv4), 8200 (IPv6), 9293 (TCP),
//! 768 (UDP), 9260 (SCTP), 792 and 4443 (ICMP), 4861 (neighbour discovery).

mod ip;
mod plain;
mod transport;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{Ethernet2HeaderSlice, SingleVlanHeaderSlice};

use crate::address::Mac;
use crate::drop::DropReason;
use crate::pieces::Pieces;
use crate::ports::Protocol;

pub(crate) use ip::{IpHeader, ipv4_header, ipv6_header};

/// EtherTypes begin here; what is below is the length of an IEEE 802.2 LLC frame.
const ETHERTYPE_MIN: u16 = 0x0600;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;

/// The longest payload of a frame that anybody pads, in bytes: Ethernet asks for 46, and some
/// pad to 64 bytes without the FCS.
const PADDED_LEN_MAX: usize = 50;

/// A frame's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// The Ethernet destination.
    pub destination: Mac,
    /// The Ethernet source.
    pub source: Mac,
    /// The VLAN id of the 802.1Q tag, where there is one; 0 for a priority tag.
    pub vlan: Option<u16>,
    /// What the frame carries.
    pub payload: Payload,
}

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// Address resolution for IPv4.
    Arp(Arp),
    /// An IPv4 or IPv6 packet.
    Ip(Ip),
}

/// An ARP packet about Ethernet and IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// The MAC that the sender claims.
    pub sender_mac: Mac,
    /// The address that the sender claims; unspecified for a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// The address asked for or answered to.
    pub target: Ipv4Addr,
}

/// An IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip {
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// Hops left: TTL or hop limit.
    pub hop_limit: u8,
    /// The protocol behind all extension headers.
    pub protocol: Protocol,
    /// Where the transport header begins, in bytes from the start of the frame.
    pub transport_offset: usize,
    /// Bytes of transport header and payload in this frame, padding excluded.
    pub transport_len: usize,
    /// Which part of a datagram this is, if it is not the whole of one.
    pub fragment: Option<Fragment>,
    /// What the transport header says.
    pub transport: Transport,
}

/// A part of a datagram (RFC 791, 3.2; RFC 8200, 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// The identification that all parts share; 16 bits in IPv4.
    pub id: u32,
    /// Where it begins within the datagram's payload, in bytes.
    pub offset: u32,
    /// Bytes of the datagram's payload that it holds.
    pub len: u32,
    /// Whether there are parts behind it.
    pub more: bool,
}

/// What a transport header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp(Segment),
    /// UDP.
    Udp(Ports),
    /// SCTP.
    Sctp(SctpPacket),
    /// An ICMP or ICMPv6 echo request or reply.
    Echo {
        /// The identifier that requests and replies share.
        id: u16,
        /// Whether it is the request.
        request: bool,
    },
    /// An ICMP or ICMPv6 error, with the packet that it is about.
    IcmpError(Quoted),
    /// Neighbour discovery (ICMPv6 133 to 137).
    Neighbour(Neighbour),
    /// Another ICMP or ICMPv6 message.
    IcmpOther {
        /// Its type.
        icmp_type: u8,
    },
    /// A protocol without ports that Sluice knows of.
    Opaque,
    /// A fragment behind the first: the transport header stands in that one.
    Continuation,
}

/// The ports of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// The sender's.
    pub source: u16,
    /// The receiver's.
    pub destination: u16,
}

/// A TCP header, and how much it carries (RFC 9293, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its ports.
    pub ports: Ports,
    /// Its flags.
    pub flags: TcpFlags,
    /// The sequence number of its first byte, or of its SYN.
    pub sequence: u32,
    /// The next sequence number that its sender expects; means nothing without ACK.
    pub acknowledgement: u32,
    /// The window field as it stands in the header, not scaled.
    pub window: u16,
    /// The shift of a window scale option; only read where SYN is set (RFC 7323, 2.2).
    pub window_scale: Option<u8>,
    /// Bytes of payload in this frame; in a first fragment there are more behind.
    pub payload_len: u32,
}

/// An SCTP common header, and what its chunks say of the association (RFC 9260, 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SctpPacket {
    /// Its ports.
    pub ports: Ports,
    /// The verification tag.
    pub tag: u32,
    /// Its chunks.
    pub chunks: Chunks,
}

/// The chunks of an SCTP packet that move an association on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chunks {
    /// The initiate tag of an INIT.
    pub init: Option<u32>,
    /// The initiate tag of an INIT ACK.
    pub init_ack: Option<u32>,
    /// COOKIE ECHO.
    pub cookie_echo: bool,
    /// COOKIE ACK.
    pub cookie_ack: bool,
    /// SHUTDOWN.
    pub shutdown: bool,
    /// SHUTDOWN ACK.
    pub shutdown_ack: bool,
    /// SHUTDOWN COMPLETE.
    pub shutdown_complete: bool,
    /// ABORT.
    pub abort: bool,
    /// The T bit of ABORT or SHUTDOWN COMPLETE: the tag is the one that the other side expects
    /// to send, since the sender knows no association.
    pub reflected: bool,
}

/// The flags of a TCP header (RFC 9293, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpFlags(u8);

/// The packet that an ICMP error quotes, as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quoted {
    /// Its source, to whom the error is sent.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its source port, or its echo identifier if it was a request.
    pub source_port: u16,
    /// Its destination port, or its echo identifier if it was a reply.
    pub destination_port: u16,
    /// What only somebody who saw it knows: TCP's sequence number, SCTP's verification tag.
    pub proof: Option<u32>,
}

/// A neighbour discovery message (RFC 4861).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Its ICMPv6 type: 133 to 137.
    pub icmp_type: u8,
    /// The target of a solicitation or advertisement; unspecified for the other types.
    pub target: Ipv6Addr,
    /// The link-layer address that it announces, if any.
    pub link_address: Option<Mac>,
}

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// The acknowledgement number is valid.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer is valid.
    pub const URG: Self = Self(0x20);
    /// Push.
    pub const PSH: Self = Self(0x08);

    /// The flags of the 14th byte of a TCP header.
    #[inline]
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Whether all flags of `other` are set.
    #[inline]
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a real connection can show this combination.
    #[inline]
    #[must_use]
    pub fn is_possible(self) -> bool {
        let opening = self.has(Self::SYN);
        let ending = self.has(Self::FIN);
        let resetting = self.has(Self::RST);
        let acknowledging = self.has(Self::ACK);
        // Of the first three one at most; a FIN always acknowledges; something must be said.
        match (opening, ending, resetting) {
            (true, false, false) | (false, false, true) => true,
            (false, true, false) | (false, false, false) => acknowledging,
            _ => false,
        }
    }
}

impl std::ops::BitOr for TcpFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Transport {
    /// The ports, where the protocol has any and this frame shows them.
    #[inline]
    #[must_use]
    pub fn ports(&self) -> Option<Ports> {
        match self {
            Self::Tcp(segment) => Some(segment.ports),
            Self::Udp(ports) => Some(*ports),
            Self::Sctp(packet) => Some(packet.ports),
            _ => None,
        }
    }
}

/// An ARP message from nobody to nobody: a place to read a packet into.
impl Default for Packet {
    fn default() -> Self {
        let nobody = Ipv4Addr::UNSPECIFIED;
        let arp = Arp { sender_mac: Mac::default(), sender: nobody, target: nobody };
        let (destination, source) = (Mac::default(), Mac::default());
        Self { destination, source, vlan: None, payload: Payload::Arp(arp) }
    }
}

impl Packet {
    /// Reads the headers of `frame`, from the Ethernet destination on, without the FCS.
    ///
    /// # Errors
    /// The reason to drop the frame for, where a header cannot be read to its end.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Self, DropReason> {
        Self::parse_pieces(&Pieces::from(frame))
    }

    /// Reads the headers of a frame that may lie in several pieces. All headers that a verdict
    /// depends on must be in the first one, but for the chunks of SCTP. Lengths are those of the
    /// whole.
    ///
    /// # Errors
    /// As for [`Packet::parse`]. A header that goes on in another piece counts as cut short.
    #[inline]
    pub fn parse_pieces(pieces: &Pieces<'_>) -> Result<Self, DropReason> {
        let mut packet = Self::default();
        packet.read(pieces).map(|()| packet)
    }

    /// As [`Packet::parse_pieces`], over what was here before: a packet is long, and whoever keeps
    /// many need not move each. Where it fails, what is here then means nothing.
    ///
    /// # Errors
    /// As for [`Packet::parse_pieces`].
    #[inline]
    pub fn read(&mut self, pieces: &Pieces<'_>) -> Result<(), DropReason> {
        if pieces.is_one()
            && let Some(packet) = plain::read(pieces.head())
        {
            *self = packet;
        } else {
            *self = Self::walk(pieces)?;
        }
        Ok(())
    }

    /// Reads one header after the other.
    fn walk(pieces: &Pieces<'_>) -> Result<Self, DropReason> {
        let frame = pieces.head();
        let ethernet =
            Ethernet2HeaderSlice::from_slice(frame).map_err(|_| DropReason::MalformedEthernet)?;
        let mut ether_type = ethernet.ether_type().0;
        let mut offset = ethernet.slice().len();
        let mut vlan = None;
        if ether_type == ETHERTYPE_VLAN {
            let rest = frame.get(offset..).unwrap_or_default();
            let tag = SingleVlanHeaderSlice::from_slice(rest)
                .map_err(|_| DropReason::MalformedEthernet)?;
            vlan = Some(tag.vlan_identifier().value());
            ether_type = tag.ether_type().0;
            offset += tag.slice().len();
        }
        let rest = pieces.starting_at(offset).ok_or(DropReason::MalformedEthernet)?;
        let payload = match ether_type {
            ETHERTYPE_IPV4 => Payload::Ip(ip::parse_v4(&rest, offset)?),
            ETHERTYPE_IPV6 => Payload::Ip(ip::parse_v6(&rest, offset)?),
            ETHERTYPE_ARP => Payload::Arp(parse_arp(&rest).ok_or(DropReason::MalformedArp)?),
            ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN => return Err(DropReason::StackedVlan),
            0..ETHERTYPE_MIN => return Err(DropReason::Llc),
            _ => return Err(DropReason::UnsupportedEthertype),
        };
        Ok(Self {
            destination: Mac(ethernet.destination()),
            source: Mac(ethernet.source()),
            vlan,
            payload,
        })
    }

    /// Whether it finds out who has an address: ARP or neighbour discovery, of which the guard
    /// has a say and no policy.
    #[inline]
    #[must_use]
    pub fn is_resolution(&self) -> bool {
        match &self.payload {
            Payload::Arp(_) => true,
            Payload::Ip(ip) => matches!(ip.transport, Transport::Neighbour(_)),
        }
    }

    /// The IP packet, where the frame carries one.
    #[inline]
    #[must_use]
    pub fn ip(&self) -> Option<&Ip> {
        match &self.payload {
            Payload::Ip(ip) => Some(ip),
            Payload::Arp(_) => None,
        }
    }
}

fn parse_arp(pieces: &Pieces<'_>) -> Option<Arp> {
    if pieces.len() > PADDED_LEN_MAX {
        return None;
    }
    // Ethernet, IPv4, and their address lengths; then operation, sender and target.
    let (fixed, rest) = pieces.head().split_first_chunk::<8>()?;
    let [0, 1, 8, 0, 6, 4, 0, 1 | 2] = *fixed else { return None };
    let (sender_mac, rest) = rest.split_first_chunk::<6>()?;
    let (sender, rest) = rest.split_first_chunk::<4>()?;
    let (_target_mac, rest) = rest.split_first_chunk::<6>()?;
    let target = rest.first_chunk::<4>()?;
    Some(Arp {
        sender_mac: Mac(*sender_mac),
        sender: Ipv4Addr::from(*sender),
        target: Ipv4Addr::from(*target),
    })
}

#[cfg(test)]
mod tests;
