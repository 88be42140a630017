//! From the bytes of a frame to a [`Packet`]: every header that a verdict depends on.
//!
//! Header layouts are etherparse's; the walk over them is our own, because a firewall must
//! not take an unfinished walk for "no ports". Whatever cannot be read to its end is an
//! error with a name. Bytes behind the length that the IP header gives are Ethernet padding
//! and are left alone.
//!
//! Sources: IEEE 802.1Q; RFC 826 (ARP), 791 (IPv4), 8200 (IPv6), 4302 (AH), 9293 (TCP),
//! 768 (UDP), 9260 (SCTP), 792 and 4443 (ICMP), 4861 (neighbour discovery).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    Ethernet2HeaderSlice, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice,
    SingleVlanHeaderSlice, TcpHeaderSlice,
};

use crate::address::Mac;
use crate::drop::DropReason;
use crate::icmp;
use crate::ports::{ICMP, ICMPV6, Protocol, SCTP, TCP, UDP};

/// IPv6 extension headers that are walked before the packet is refused.
pub const EXTENSION_HEADERS_MAX: usize = 8;

const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;

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
    /// Bytes of transport header and payload, padding excluded.
    pub transport_len: usize,
    /// What the transport header says.
    pub transport: Transport,
}

/// What a transport header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP, UDP or SCTP.
    Ports {
        /// The source port.
        source: u16,
        /// The destination port.
        destination: u16,
        /// TCP's flags; empty for the others.
        flags: TcpFlags,
    },
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

impl Packet {
    /// Reads the headers of `frame`, from the Ethernet destination on, without the FCS.
    ///
    /// # Errors
    /// The reason to drop the frame for, where a header cannot be read to its end.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Self, DropReason> {
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
        let rest = frame.get(offset..).unwrap_or_default();
        let payload = match ether_type {
            ETHERTYPE_IPV4 => Payload::Ip(parse_ipv4(rest, offset)?),
            ETHERTYPE_IPV6 => Payload::Ip(parse_ipv6(rest, offset)?),
            ETHERTYPE_ARP => Payload::Arp(parse_arp(rest).ok_or(DropReason::MalformedArp)?),
            ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN => return Err(DropReason::StackedVlan),
            _ => return Err(DropReason::UnsupportedEthertype),
        };
        Ok(Self {
            destination: Mac(ethernet.destination()),
            source: Mac(ethernet.source()),
            vlan,
            payload,
        })
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

/// An IP header's worth of facts, before the transport header is read.
pub(crate) struct IpHeader {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) hop_limit: u8,
    pub(crate) protocol: Protocol,
    /// Bytes from the start of the IP header to the transport header.
    pub(crate) header_len: usize,
    /// Bytes that the header says follow, at the transport header.
    pub(crate) transport_len: usize,
    pub(crate) is_fragment: bool,
}

fn parse_ipv4(bytes: &[u8], offset: usize) -> Result<Ip, DropReason> {
    finish(ipv4_header(bytes)?, bytes, offset, DropReason::MalformedIpv4)
}

fn parse_ipv6(bytes: &[u8], offset: usize) -> Result<Ip, DropReason> {
    finish(ipv6_header(bytes)?, bytes, offset, DropReason::MalformedIpv6)
}

fn finish(
    header: IpHeader,
    bytes: &[u8],
    offset: usize,
    malformed: DropReason,
) -> Result<Ip, DropReason> {
    if header.is_fragment {
        return Err(DropReason::Fragment);
    }
    let end = header.header_len + header.transport_len;
    let transport_bytes = bytes.get(header.header_len..end).ok_or(malformed)?;
    Ok(Ip {
        source: header.source,
        destination: header.destination,
        hop_limit: header.hop_limit,
        protocol: header.protocol,
        transport_offset: offset + header.header_len,
        transport_len: header.transport_len,
        transport: parse_transport(&header, transport_bytes)?,
    })
}

/// Reads an IPv4 header, which may be that of a quoted and therefore shortened packet.
pub(crate) fn ipv4_header(bytes: &[u8]) -> Result<IpHeader, DropReason> {
    let header = Ipv4HeaderSlice::from_slice(bytes).map_err(|_| DropReason::MalformedIpv4)?;
    let header_len = header.slice().len();
    let transport_len =
        usize::from(header.total_len()).checked_sub(header_len).ok_or(DropReason::MalformedIpv4)?;
    Ok(IpHeader {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        hop_limit: header.ttl(),
        protocol: header.protocol().0,
        header_len,
        transport_len,
        is_fragment: header.is_fragmenting_payload(),
    })
}

/// Reads an IPv6 header and walks its extension headers to the transport header.
pub(crate) fn ipv6_header(bytes: &[u8]) -> Result<IpHeader, DropReason> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const AUTHENTICATION: u8 = 51;
    const DESTINATION_OPTIONS: u8 = 60;
    const MOBILITY: u8 = 135;
    const HIP: u8 = 139;
    const SHIM6: u8 = 140;

    let malformed = DropReason::MalformedIpv6;
    let header = Ipv6HeaderSlice::from_slice(bytes).map_err(|_| malformed)?;
    let fixed_len = header.slice().len();
    let payload_len = usize::from(header.payload_length());
    let mut protocol = header.next_header().0;
    let mut header_len = fixed_len;
    let mut is_fragment = false;
    for count in 0..=EXTENSION_HEADERS_MAX {
        let rest = bytes.get(header_len..).unwrap_or_default();
        let extension_len = match protocol {
            // RFC 8200, 4.1: hop-by-hop options stand first or not at all.
            HOP_BY_HOP if count > 0 => return Err(DropReason::ExtensionHeaders),
            ROUTING if rest.get(2) == Some(&0) => return Err(DropReason::RoutingHeader0),
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY | HIP | SHIM6 => {
                (usize::from(*rest.get(1).ok_or(malformed)?) + 1) * 8
            }
            AUTHENTICATION => (usize::from(*rest.get(1).ok_or(malformed)?) + 2) * 4,
            FRAGMENT => {
                let fragment = Ipv6FragmentHeaderSlice::from_slice(rest).map_err(|_| malformed)?;
                // An atomic fragment is a whole packet (RFC 6946).
                is_fragment |= fragment.is_fragmenting_payload();
                fragment.slice().len()
            }
            _ => break,
        };
        if count == EXTENSION_HEADERS_MAX {
            return Err(DropReason::ExtensionHeaders);
        }
        protocol = *rest.first().ok_or(malformed)?;
        header_len += extension_len;
        if is_fragment {
            break;
        }
    }
    let transport_len = (fixed_len + payload_len).checked_sub(header_len).ok_or(malformed)?;
    Ok(IpHeader {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        hop_limit: header.hop_limit(),
        protocol,
        header_len,
        transport_len,
        is_fragment,
    })
}

fn parse_transport(header: &IpHeader, bytes: &[u8]) -> Result<Transport, DropReason> {
    match header.protocol {
        TCP => {
            let tcp = TcpHeaderSlice::from_slice(bytes).map_err(|_| DropReason::MalformedTcp)?;
            let flags = TcpFlags(bytes.get(13).copied().unwrap_or_default());
            if !flags.is_possible() {
                return Err(DropReason::InvalidTcpFlags);
            }
            Ok(Transport::Ports {
                source: tcp.source_port(),
                destination: tcp.destination_port(),
                flags,
            })
        }
        UDP => {
            let header = bytes.first_chunk::<8>().ok_or(DropReason::MalformedUdp)?;
            let [_, _, _, _, len_high, len_low, _, _] = *header;
            let len = usize::from(u16::from_be_bytes([len_high, len_low]));
            if len < header.len() || len > bytes.len() {
                return Err(DropReason::MalformedUdp);
            }
            ports(bytes).ok_or(DropReason::MalformedUdp)
        }
        SCTP if bytes.len() >= 12 => ports(bytes).ok_or(DropReason::MalformedSctp),
        SCTP => Err(DropReason::MalformedSctp),
        ICMP if header.source.is_ipv4() => icmp::parse_v4(bytes),
        ICMPV6 if header.source.is_ipv6() => icmp::parse_v6(bytes),
        _ => Ok(Transport::Opaque),
    }
}

fn ports(bytes: &[u8]) -> Option<Transport> {
    let [a, b, c, d] = *bytes.first_chunk::<4>()?;
    Some(Transport::Ports {
        source: u16::from_be_bytes([a, b]),
        destination: u16::from_be_bytes([c, d]),
        flags: TcpFlags::default(),
    })
}

fn parse_arp(bytes: &[u8]) -> Option<Arp> {
    // Ethernet, IPv4, and their address lengths; then operation, sender and target.
    let (fixed, rest) = bytes.split_first_chunk::<8>()?;
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
