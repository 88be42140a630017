//! IPv4 and IPv6 headers, their options and extension headers, and fragments.
//!
//! Sources: RFC 791 and 8200; 4302 (AH), 6275 (mobility), 7401 (HIP), 5533 (shim6); 5095
//! (routing header 0), 6946 (atomic fragments), 7112 (header chains over fragments).

use std::net::IpAddr;

use etherparse::{Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6Header, Ipv6HeaderSlice};

use super::{Fragment, Ip, PADDED_LEN_MAX, Transport, transport};
use crate::checksum;
use crate::drop::DropReason;
use crate::pieces::Pieces;
use crate::ports::Protocol;

/// The longest payload that the fragments of a datagram can make up, in bytes.
const DATAGRAM_LEN_MAX: u32 = 65_535;

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
    pub(crate) fragment: Option<Fragment>,
}

pub(super) fn parse_v4(pieces: &Pieces<'_>, offset: usize) -> Result<Ip, DropReason> {
    let bytes = pieces.head();
    let header = ipv4_header(bytes)?;
    let own_len = header.header_len;
    let own = bytes.get(..own_len).ok_or(DropReason::MalformedIpv4)?;
    if !checksum::is_ipv4_header_whole(own) {
        return Err(DropReason::BadChecksum);
    }
    if let Some(options) = own.get(20..).filter(|options| !options.is_empty()) {
        check_options(options)?;
    }
    finish(&header, pieces, offset, DropReason::MalformedIpv4)
}

pub(super) fn parse_v6(pieces: &Pieces<'_>, offset: usize) -> Result<Ip, DropReason> {
    let header = ipv6_header(pieces.head())?;
    let ip = finish(&header, pieces, offset, DropReason::MalformedIpv6)?;
    if let Transport::Neighbour(_) = ip.transport {
        check_bare(&header, pieces.len())?;
    }
    Ok(ip)
}

/// Neighbour discovery passes without policy, so nothing may ride with it: no extension headers,
/// which can hold anything (RFC 6980 forbids that of fragments), and nothing behind its end.
fn check_bare(header: &IpHeader, len: usize) -> Result<(), DropReason> {
    if header.header_len != Ipv6Header::LEN {
        return Err(DropReason::ExtensionHeaders);
    }
    let is_longer = len > header.header_len + header.transport_len;
    if is_longer && len > PADDED_LEN_MAX {
        return Err(DropReason::MalformedIcmp);
    }
    Ok(())
}

fn finish(
    header: &IpHeader,
    pieces: &Pieces<'_>,
    offset: usize,
    malformed: DropReason,
) -> Result<Ip, DropReason> {
    let packet = pieces.within(header.header_len, header.transport_len).ok_or(malformed)?;
    let transport = match header.fragment {
        None => transport::parse(header, &packet)?,
        Some(fragment) => {
            check_fragment(fragment)?;
            if fragment.offset > 0 {
                Transport::Continuation
            } else {
                first_fragment(header, &packet)?
            }
        }
    };
    Ok(Ip {
        source: header.source,
        destination: header.destination,
        hop_limit: header.hop_limit,
        protocol: header.protocol,
        transport_offset: offset + header.header_len,
        transport_len: header.transport_len,
        fragment: header.fragment,
        transport,
    })
}

fn check_fragment(fragment: Fragment) -> Result<(), DropReason> {
    // All parts but the last are multiples of eight bytes, or nothing could follow them.
    let is_cut = fragment.more && !fragment.len.is_multiple_of(8);
    if fragment.len == 0 || is_cut || fragment.offset + fragment.len > DATAGRAM_LEN_MAX {
        return Err(DropReason::MalformedFragment);
    }
    Ok(())
}

/// Reads the transport header of a datagram whose payload goes on elsewhere.
fn first_fragment(header: &IpHeader, packet: &Pieces<'_>) -> Result<Transport, DropReason> {
    match transport::parse(header, packet) {
        // Nobody cuts up ICMP errors; neighbour discovery must not be (RFC 6980).
        Ok(Transport::IcmpError(_) | Transport::Neighbour(_)) => {
            Err(DropReason::UnsupportedFragment)
        }
        // A header that ends elsewhere could say anything there.
        Err(
            DropReason::MalformedTcp
            | DropReason::MalformedUdp
            | DropReason::MalformedSctp
            | DropReason::MalformedIcmp,
        ) => Err(DropReason::TinyFragment),
        other => other,
    }
}

/// Reads an IPv4 header, which may be that of a quoted and therefore shortened packet.
pub(crate) fn ipv4_header(bytes: &[u8]) -> Result<IpHeader, DropReason> {
    let header = Ipv4HeaderSlice::from_slice(bytes).map_err(|_| DropReason::MalformedIpv4)?;
    let header_len = header.slice().len();
    let transport_len =
        usize::from(header.total_len()).checked_sub(header_len).ok_or(DropReason::MalformedIpv4)?;
    let fragment = header.is_fragmenting_payload().then(|| Fragment {
        id: header.identification().into(),
        offset: u32::from(header.fragments_offset().value()) * 8,
        len: u32::try_from(transport_len).unwrap_or(u32::MAX),
        more: header.more_fragments(),
    });
    Ok(IpHeader {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        hop_limit: header.ttl(),
        protocol: header.protocol().0,
        header_len,
        transport_len,
        fragment,
    })
}

/// Refuses source routes, and options that cannot be read to their end (RFC 791, 3.1).
fn check_options(mut options: &[u8]) -> Result<(), DropReason> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    while let Some((&option, rest)) = options.split_first() {
        options = match option {
            END => return Ok(()),
            NO_OPERATION => rest,
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return Err(DropReason::SourceRoute),
            _ => {
                let len = usize::from(*rest.first().ok_or(DropReason::MalformedIpv4)?);
                let is_whole = len >= 2;
                options.get(len..).filter(|_| is_whole).ok_or(DropReason::MalformedIpv4)?
            }
        };
    }
    Ok(())
}

/// The place of an extension header in the order of RFC 8200, 4.1, in which each kind stands
/// once, destination options twice. The order is a recommendation to senders; who leaves it
/// wants the walks of two readers to differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Start,
    HopByHop,
    EarlyDestination,
    Routing,
    Fragment,
    Authentication,
    Destination,
    Multihoming,
}

/// Reads an IPv6 header and walks its extension headers to the transport header. Behind a
/// fragment header other than that of the first fragment there is nothing to walk.
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
    let end = header.slice().len() + usize::from(header.payload_length());
    let mut protocol = header.next_header().0;
    let mut header_len = header.slice().len();
    let mut fragment: Option<Fragment> = None;
    let mut reached = Rank::Start;
    loop {
        let rest = bytes.get(header_len..).unwrap_or_default();
        let rank = match protocol {
            HOP_BY_HOP => Rank::HopByHop,
            ROUTING => Rank::Routing,
            FRAGMENT => Rank::Fragment,
            AUTHENTICATION => Rank::Authentication,
            DESTINATION_OPTIONS if reached < Rank::EarlyDestination => Rank::EarlyDestination,
            DESTINATION_OPTIONS => Rank::Destination,
            MOBILITY | HIP | SHIM6 => Rank::Multihoming,
            _ => break,
        };
        if rank <= reached {
            return Err(DropReason::ExtensionHeaders);
        }
        reached = rank;
        // What begins behind the payload's end is padding, whatever it looks like.
        if header_len >= end {
            return Err(cut_off(fragment));
        }
        let unreadable = || cut_off(fragment);
        let len = match rank {
            Rank::Routing if rest.get(2) == Some(&0) => return Err(DropReason::RoutingHeader0),
            // With segments left the packet is for somebody else than it says (RFC 8200, 4.4).
            Rank::Routing if rest.get(3).is_some_and(|left| *left > 0) => {
                return Err(DropReason::SourceRoute);
            }
            Rank::Fragment => {
                Ipv6FragmentHeaderSlice::from_slice(rest).map_err(|_| malformed)?.slice().len()
            }
            Rank::Authentication => (usize::from(*rest.get(1).ok_or_else(unreadable)?) + 2) * 4,
            _ => (usize::from(*rest.get(1).ok_or_else(unreadable)?) + 1) * 8,
        };
        protocol = *rest.first().ok_or_else(unreadable)?;
        header_len += len;
        if rank == Rank::Fragment {
            fragment = fragment_of(rest, end.saturating_sub(header_len))?;
            if fragment.is_some_and(|fragment| fragment.offset > 0) {
                break;
            }
        }
    }
    let transport_len = end.checked_sub(header_len).ok_or_else(|| cut_off(fragment))?;
    Ok(IpHeader {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        hop_limit: header.hop_limit(),
        protocol,
        header_len,
        transport_len,
        fragment,
    })
}

/// RFC 7112: the first fragment holds the whole chain of headers.
fn cut_off(fragment: Option<Fragment>) -> DropReason {
    if fragment.is_some() { DropReason::TinyFragment } else { DropReason::MalformedIpv6 }
}

/// Reads a fragment header; `None` for an atomic fragment, which is a whole packet (RFC 6946).
fn fragment_of(bytes: &[u8], len: usize) -> Result<Option<Fragment>, DropReason> {
    let header =
        Ipv6FragmentHeaderSlice::from_slice(bytes).map_err(|_| DropReason::MalformedIpv6)?;
    Ok(header.is_fragmenting_payload().then(|| Fragment {
        id: header.identification(),
        offset: u32::from(header.fragment_offset().value()) * 8,
        len: u32::try_from(len).unwrap_or(u32::MAX),
        more: header.more_fragments(),
    }))
}
