//! What most packets are, read in one go: TCP without SYN or UDP, whole, in IPv4 without options
//! or in IPv6 without extension headers, without a tag.
//!
//! Nothing is decided here. What is not such a packet, or is not well formed, is left to the walk
//! over its headers, which reads the same from those that are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ip, Packet, Payload, Ports, Segment, TcpFlags, Transport,
};
use crate::address::Mac;
use crate::ports::{Protocol, TCP, UDP};

const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;
const IPV6_LEN: usize = 40;
const TCP_LEN: usize = 20;
const UDP_LEN: usize = 8;

/// Reads a frame that is such a packet.
#[inline(always)]
pub(super) fn read(frame: &[u8]) -> Option<Packet> {
    let (ethernet, rest) = frame.split_first_chunk::<ETHERNET_LEN>()?;
    let [a, b, c, d, e, f, g, h, i, j, k, l, upper, lower] = *ethernet;
    let payload = match u16::from_be_bytes([upper, lower]) {
        ETHERTYPE_IPV4 => read_v4(rest)?,
        ETHERTYPE_IPV6 => read_v6(rest)?,
        _ => return None,
    };
    let (destination, source) = (Mac([a, b, c, d, e, f]), Mac([g, h, i, j, k, l]));
    Some(Packet { destination, source, vlan: None, payload: Payload::Ip(payload) })
}

#[inline(always)]
fn read_v4(bytes: &[u8]) -> Option<Ip> {
    const VERSION_AND_LEN: u8 = 0x45;
    const MORE_FRAGMENTS_AND_OFFSET: u16 = 0x3fff;
    let (header, rest) = bytes.split_first_chunk::<IPV4_LEN>()?;
    let [a, b, upper, lower, c, d, e, f, hop_limit, protocol, g, h, addresses @ ..] = *header;
    let [i, j, k, l, m, n, o, p] = addresses;
    let (source, destination) = ([i, j, k, l], [m, n, o, p]);
    let fragment = u16::from_be_bytes([e, f]) & MORE_FRAGMENTS_AND_OFFSET;
    let words = [[a, b, upper, lower], [c, d, e, f], [hop_limit, protocol, g, h]];
    if a != VERSION_AND_LEN || fragment != 0 || !add_up(words, source, destination) {
        return None;
    }
    let len = usize::from(u16::from_be_bytes([upper, lower]));
    let transport_len = len.checked_sub(IPV4_LEN)?;
    Some(Ip {
        source: IpAddr::V4(Ipv4Addr::from(source)),
        destination: IpAddr::V4(Ipv4Addr::from(destination)),
        hop_limit,
        protocol,
        transport_offset: ETHERNET_LEN + IPV4_LEN,
        transport_len,
        fragment: None,
        transport: read_transport(protocol, rest.get(..transport_len)?)?,
    })
}

/// Whether the 16 bit words of a header come to 0xffff (RFC 1071, 1).
#[inline(always)]
fn add_up(words: [[u8; 4]; 3], source: [u8; 4], destination: [u8; 4]) -> bool {
    let number = |word| u64::from(u32::from_ne_bytes(word));
    let addresses = number(source) + number(destination);
    let sum: u64 = words.into_iter().map(number).sum::<u64>() + addresses;
    // To fold a number is to take its remainder, which costs a multiplication.
    sum.is_multiple_of(0xffff)
}

#[inline(always)]
fn read_v6(bytes: &[u8]) -> Option<Ip> {
    let (header, rest) = bytes.split_first_chunk::<IPV6_LEN>()?;
    let (fixed, addresses) = header.split_first_chunk::<8>()?;
    let [version, _, _, _, upper, lower, protocol, hop_limit] = *fixed;
    let (source, destination) = addresses.split_first_chunk::<16>()?;
    if version >> 4 != 6 {
        return None;
    }
    let transport_len = usize::from(u16::from_be_bytes([upper, lower]));
    Some(Ip {
        source: IpAddr::V6(Ipv6Addr::from(*source)),
        destination: IpAddr::V6(Ipv6Addr::from(*destination.first_chunk::<16>()?)),
        hop_limit,
        protocol,
        transport_offset: ETHERNET_LEN + IPV6_LEN,
        transport_len,
        fragment: None,
        transport: read_transport(protocol, rest.get(..transport_len)?)?,
    })
}

#[inline(always)]
fn read_transport(protocol: Protocol, bytes: &[u8]) -> Option<Transport> {
    match protocol {
        TCP => read_tcp(bytes).map(Transport::Tcp),
        UDP => read_udp(bytes).map(Transport::Udp),
        _ => None,
    }
}

#[inline(always)]
fn read_udp(bytes: &[u8]) -> Option<Ports> {
    let [a, b, c, d, upper, lower, _, _] = *bytes.first_chunk::<UDP_LEN>()?;
    let len = usize::from(u16::from_be_bytes([upper, lower]));
    (UDP_LEN..=bytes.len()).contains(&len).then(|| ports([a, b, c, d]))
}

#[inline(always)]
fn read_tcp(bytes: &[u8]) -> Option<Segment> {
    let [a, b, c, d, numbers @ .., _, _, _, _] = *bytes.first_chunk::<TCP_LEN>()?;
    let [e, f, g, h, i, j, k, l, offset, flags, m, n] = numbers;
    let flags = TcpFlags(flags);
    let header_len = usize::from(offset >> 4) * 4;
    if flags.has(TcpFlags::SYN) || !flags.is_possible() || header_len < TCP_LEN {
        return None;
    }
    Some(Segment {
        ports: ports([a, b, c, d]),
        flags,
        sequence: u32::from_be_bytes([e, f, g, h]),
        acknowledgement: u32::from_be_bytes([i, j, k, l]),
        window: u16::from_be_bytes([m, n]),
        window_scale: None,
        payload_len: u32::try_from(bytes.len().checked_sub(header_len)?).ok()?,
    })
}

#[inline(always)]
fn ports([a, b, c, d]: [u8; 4]) -> Ports {
    Ports { source: u16::from_be_bytes([a, b]), destination: u16::from_be_bytes([c, d]) }
}
