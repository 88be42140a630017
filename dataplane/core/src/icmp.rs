//! ICMP and ICMPv6: echoes, errors with the packet that they quote, neighbour discovery.
//!
//! Sources: RFC 792, RFC 4443, RFC 4861, and for the options of neighbour discovery RFC 3971
//! (nonce), 4191, 5175, 6275, 8106, 8781 and 8910 (those of routers). A quoted packet is shortened by design; only its
//! addresses, protocol and ports are read, which the first eight bytes of its transport
//! header hold (RFC 792).

use std::net::Ipv6Addr;

use crate::address::Mac;
use crate::drop::DropReason;
use crate::packet::{IpHeader, Neighbour, Quoted, Transport, ipv4_header, ipv6_header};
use crate::ports::{ICMP, ICMPV6, SCTP, TCP, UDP};

/// Router solicitation.
pub(crate) const ROUTER_SOLICITATION: u8 = 133;
/// Router advertisement.
pub(crate) const ROUTER_ADVERTISEMENT: u8 = 134;
/// Neighbour solicitation.
pub(crate) const NEIGHBOUR_SOLICITATION: u8 = 135;
/// Neighbour advertisement.
pub(crate) const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Redirect, of ICMPv6.
pub(crate) const REDIRECT: u8 = 137;

const HEADER_LEN: usize = 8;

/// Reads an ICMP message, from its type on.
pub(crate) fn parse_v4(bytes: &[u8]) -> Result<Transport, DropReason> {
    const ECHO_REPLY: u8 = 0;
    const ECHO_REQUEST: u8 = 8;
    let (icmp_type, id) = header(bytes)?;
    Ok(match icmp_type {
        ECHO_REPLY | ECHO_REQUEST => Transport::Echo { id, request: icmp_type == ECHO_REQUEST },
        // Destination unreachable, time exceeded, parameter problem.
        3 | 11 | 12 => {
            let packet = bytes.get(HEADER_LEN..).unwrap_or_default();
            Transport::IcmpError(quoted(packet, ipv4_header(packet))?)
        }
        _ => Transport::IcmpOther { icmp_type },
    })
}

/// Reads an ICMPv6 message, from its type on.
pub(crate) fn parse_v6(bytes: &[u8]) -> Result<Transport, DropReason> {
    const ECHO_REQUEST: u8 = 128;
    const ECHO_REPLY: u8 = 129;
    let (icmp_type, id) = header(bytes)?;
    Ok(match icmp_type {
        ECHO_REPLY | ECHO_REQUEST => Transport::Echo { id, request: icmp_type == ECHO_REQUEST },
        // Destination unreachable, packet too big, time exceeded, parameter problem.
        1..=4 => {
            let packet = bytes.get(HEADER_LEN..).unwrap_or_default();
            Transport::IcmpError(quoted(packet, ipv6_header(packet))?)
        }
        ROUTER_SOLICITATION..=REDIRECT => Transport::Neighbour(neighbour(icmp_type, bytes)?),
        _ => Transport::IcmpOther { icmp_type },
    })
}

/// The type, and the first half of the second word, which echoes use as identifier.
fn header(bytes: &[u8]) -> Result<(u8, u16), DropReason> {
    let [icmp_type, _, _, _, id_high, id_low, _, _] =
        *bytes.first_chunk::<HEADER_LEN>().ok_or(DropReason::MalformedIcmp)?;
    Ok((icmp_type, u16::from_be_bytes([id_high, id_low])))
}

fn quoted(packet: &[u8], header: Result<IpHeader, DropReason>) -> Result<Quoted, DropReason> {
    let header = header.map_err(|_| DropReason::MalformedIcmp)?;
    // Hosts that miss a part complain about the first one; the others tell nobody's ports.
    if header.fragment.is_some_and(|fragment| fragment.offset > 0) {
        return Err(DropReason::UnrelatedIcmp);
    }
    let transport = packet.get(header.header_len..).unwrap_or_default();
    let mut proof = None;
    let (source_port, destination_port) = match header.protocol {
        TCP | UDP | SCTP => {
            let [a, b, c, d, rest @ ..] =
                *transport.first_chunk::<8>().ok_or(DropReason::MalformedIcmp)?;
            proof = (header.protocol != UDP).then(|| u32::from_be_bytes(rest));
            (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
        }
        ICMP => echo_ports(parse_echo(transport, 8, 0)?),
        ICMPV6 => echo_ports(parse_echo(transport, 128, 129)?),
        _ => (0, 0),
    };
    Ok(Quoted {
        source: header.source,
        destination: header.destination,
        protocol: header.protocol,
        source_port,
        destination_port,
        proof,
    })
}

/// Only echoes can be quoted: an error is never sent about an error (RFC 1122, 3.2.2).
fn parse_echo(bytes: &[u8], request: u8, reply: u8) -> Result<(u16, bool), DropReason> {
    match header(bytes)? {
        (icmp_type, id) if icmp_type == request => Ok((id, true)),
        (icmp_type, id) if icmp_type == reply => Ok((id, false)),
        _ => Err(DropReason::UnrelatedIcmp),
    }
}

/// The identifier stands on the asking side, so that the two directions of asking differ.
pub(crate) fn echo_ports((id, request): (u16, bool)) -> (u16, u16) {
    if request { (id, 0) } else { (0, id) }
}

/// Reads a neighbour discovery message. No policy judges it, so it may hold nothing but what it
/// is for: no other options than its own, each as long as it is defined.
fn neighbour(icmp_type: u8, bytes: &[u8]) -> Result<Neighbour, DropReason> {
    let malformed = DropReason::MalformedIcmp;
    let (fixed_len, has_target) = match icmp_type {
        ROUTER_SOLICITATION => (8, false),
        ROUTER_ADVERTISEMENT => (16, false),
        NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT => (24, true),
        _ => (40, true),
    };
    let mut options = bytes.get(fixed_len..).ok_or(malformed)?;
    let target = if has_target {
        let octets = bytes.get(HEADER_LEN..).and_then(|rest| rest.first_chunk::<16>());
        Ipv6Addr::from(*octets.ok_or(malformed)?)
    } else {
        Ipv6Addr::UNSPECIFIED
    };
    // RFC 4861, 7.1: both are to be checked by whoever receives it.
    if bytes.get(1) != Some(&0) || target.is_multicast() {
        return Err(malformed);
    }
    // Options are type, length in units of eight bytes, value (RFC 4861, 4.6).
    let mut link_address = None;
    let mut seen = 0u64;
    while let Some(&[option, len]) = options.first_chunk::<2>() {
        let len = usize::from(len) * 8;
        if !may_carry(icmp_type, option, len) || len > options.len() {
            return Err(malformed);
        }
        let (option_bytes, rest) = options.split_at(len);
        // A second address could hide behind the one that the guard looks at.
        let bit = 1u64.checked_shl(option.into()).ok_or(malformed)?;
        if seen & bit != 0 && !may_repeat(option) {
            return Err(malformed);
        }
        seen |= bit;
        if matches!(option, SOURCE_LINK_ADDRESS | TARGET_LINK_ADDRESS) {
            link_address = option_bytes.get(2..).and_then(|mac| mac.first_chunk::<6>()).copied();
        }
        options = rest;
    }
    if !options.is_empty() {
        return Err(malformed);
    }
    Ok(Neighbour { icmp_type, target, link_address: link_address.map(Mac) })
}

const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
const PREFIX: u8 = 3;
const ROUTE: u8 = 24;
const DNS_SERVERS: u8 = 25;
const DNS_SEARCH: u8 = 31;
const NAT64_PREFIX: u8 = 38;

/// Whether a message of this type may carry that option, of `len` bytes.
fn may_carry(icmp_type: u8, option: u8, len: usize) -> bool {
    const REDIRECTED: u8 = 4;
    const MTU: u8 = 5;
    const ADVERTISEMENT_INTERVAL: u8 = 7;
    const HOME_AGENT: u8 = 8;
    const NONCE: u8 = 14;
    const FLAGS: u8 = 26;
    const CAPTIVE_PORTAL: u8 = 37;
    match (icmp_type, option) {
        (
            ROUTER_SOLICITATION | ROUTER_ADVERTISEMENT | NEIGHBOUR_SOLICITATION,
            SOURCE_LINK_ADDRESS,
        )
        | (NEIGHBOUR_ADVERTISEMENT | REDIRECT, TARGET_LINK_ADDRESS)
        | (_, NONCE)
        | (ROUTER_ADVERTISEMENT, MTU | ADVERTISEMENT_INTERVAL | HOME_AGENT | FLAGS) => len == 8,
        (ROUTER_ADVERTISEMENT, PREFIX) => len == 32,
        (ROUTER_ADVERTISEMENT, ROUTE) => (8..=24).contains(&len),
        // A lifetime, then addresses or names.
        (ROUTER_ADVERTISEMENT, DNS_SERVERS) => len >= 24 && len % 16 == 8,
        (ROUTER_ADVERTISEMENT, DNS_SEARCH | NAT64_PREFIX) => len >= 16,
        (ROUTER_ADVERTISEMENT, CAPTIVE_PORTAL) | (REDIRECT, REDIRECTED) => len >= 8,
        _ => false,
    }
}

/// Routers announce several of these at once.
fn may_repeat(option: u8) -> bool {
    matches!(option, PREFIX | ROUTE | DNS_SERVERS | DNS_SEARCH | NAT64_PREFIX)
}
