//! A frame: what the parser promises about it, and what etherparse says of it.

use std::net::IpAddr;

use etherparse::{Ipv4Header, NetSlice, SlicedPacket, TransportSlice};
use sluice_core::address::NetworkId;
use sluice_core::checksum;
use sluice_core::drop::DropReason;
use sluice_core::flow::FiveTuple;
use sluice_core::packet::{Ip, Packet, Ports, TcpFlags, Transport};
use sluice_core::pieces::Pieces;
use sluice_core::ports::{TCP, UDP};

/// Parses `frame`, and compares with etherparse where both understand it. Then again with a
/// right checksum in the IPv4 header, which chance does not find.
///
/// # Panics
/// Where the parser breaks a promise, or the two disagree.
pub fn parse(frame: &[u8]) {
    parse_as_it_is(frame);
    if let Some(mended) = with_header_checksum(frame) {
        parse_as_it_is(&mended);
    }
}

fn with_header_checksum(frame: &[u8]) -> Option<Vec<u8>> {
    const ETHERNET_LEN: usize = 14;
    let is_tagged = frame.get(12..14)? == VLAN;
    let start = ETHERNET_LEN + if is_tagged { 4 } else { 0 };
    let (mut header, _) = Ipv4Header::from_slice(frame.get(start..)?).ok()?;
    header.header_checksum = header.calc_header_checksum();
    let mut mended = frame.to_vec();
    mended.get_mut(start..start + header.header_len())?.copy_from_slice(&header.to_bytes());
    Some(mended)
}

fn parse_as_it_is(frame: &[u8]) {
    let ours = Packet::parse(frame);
    assert_eq!(ours, Packet::parse(frame), "parsing depends on more than the frame");
    if let Some(ip) = ours.as_ref().ok().and_then(Packet::ip) {
        keeps_its_promises(ip, frame);
    }
    is_the_same_in_pieces(ours.as_ref(), frame);
    if let Some(theirs) = second_opinion(frame) {
        compare(ours, &theirs);
    }
}

/// Cuts the frame in three, where its own last bytes say, and wherever a header may end.
fn is_the_same_in_pieces(ours: Result<&Packet, &DropReason>, frame: &[u8]) {
    let [.., a, b, c] = *frame else { return };
    let chosen = usize::from(u16::from_be_bytes([a, b]));
    for first in [14, 34, 42, 54, 62, 66, 74, chosen] {
        let first = first % (frame.len() + 1);
        let (head, behind) = frame.split_at(first);
        let (second, third) = behind.split_at(usize::from(c) % (behind.len() + 1));
        let tail = [second, third];
        let pieces = Pieces::new(head, &tail);
        // A header that is cut is refused, and that is all that pieces may change.
        let Ok(packet) = Packet::parse_pieces(&pieces) else { continue };
        assert_eq!(Ok(&packet), ours, "cut at {first}");
        let Some(ip) = packet.ip() else { continue };
        for partial in [false, true] {
            let whole = checksum::is_whole(frame, ip, partial);
            assert_eq!(checksum::is_whole_in(&pieces, ip, partial), whole, "cut at {first}");
        }
        let (mut whole, mut cut) = (frame.to_vec(), head.to_vec());
        let wrote = checksum::complete(&mut whole, &packet);
        assert_eq!(checksum::complete_in(&mut cut, &tail, &packet), wrote, "cut at {first}");
        assert!(whole.starts_with(&cut), "cut at {first}");
    }
}

fn keeps_its_promises(ip: &Ip, frame: &[u8]) {
    let frame_len = frame.len();
    let end = ip.transport_offset.checked_add(ip.transport_len);
    assert!(end.is_some_and(|end| end <= frame_len), "{ip:?} in {frame_len} bytes");
    assert_eq!(ip.source.is_ipv4(), ip.destination.is_ipv4(), "{ip:?}");
    if let Some(fragment) = ip.fragment {
        assert!(fragment.len > 0 && fragment.offset + fragment.len <= 65_535, "{ip:?}");
        assert!(!fragment.more || fragment.len.is_multiple_of(8), "{ip:?}");
        assert!(fragment.more || fragment.offset > 0, "{ip:?} is whole");
        assert_eq!(fragment.offset > 0, ip.transport == Transport::Continuation, "{ip:?}");
    }
    // Neither may read behind the packet.
    let _ = checksum::is_whole(frame, ip, true);
    assert!(!checksum::is_whole(frame, ip, false) || checksum::is_whole(frame, ip, true));
    let Some(tuple) = FiveTuple::of(NetworkId::DEFAULT, ip) else { return };
    let reversed = FiveTuple {
        source: tuple.destination,
        source_port: tuple.destination_port,
        destination: tuple.source,
        destination_port: tuple.source_port,
        ..tuple
    };
    let ((key, side), (reverse_key, _)) = (tuple.key(), reversed.key());
    assert_eq!(key, reverse_key, "{tuple:?}");
    let canonical = FiveTuple {
        source: tuple.source.to_canonical(),
        destination: tuple.destination.to_canonical(),
        ..tuple
    };
    assert_eq!(key.five_tuple(side), canonical);
}

const VLAN: &[u8] = &[0x81, 0x00];

/// What etherparse reads in a frame that it understands to the end of the transport header.
struct Opinion {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ports: (u16, u16),
    flags: TcpFlags,
    transport_len: usize,
    vlan: Option<u16>,
    /// Whether the IPv4 header has options, and whether it adds up.
    options: bool,
    adds_up: bool,
}

/// `None` for what the two need not agree on: fragments, extension headers, more than one tag or
/// one of another kind, and protocols other than TCP and UDP.
fn second_opinion(frame: &[u8]) -> Option<Opinion> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let tags = sliced.vlan_ids();
    if sliced.link_exts.len() > 1 || sliced.link_exts.len() != tags.len() {
        return None;
    }
    if !tags.is_empty() && frame.get(12..14) != Some(VLAN) {
        return None;
    }
    let (mut options, mut adds_up) = (false, true);
    let (source, destination, payload) = match &sliced.net {
        Some(NetSlice::Ipv4(ip)) if ip.extensions().is_empty() => {
            let header = ip.header();
            options = !header.options().is_empty();
            adds_up = header.to_header().calc_header_checksum() == header.header_checksum();
            (header.source_addr().into(), header.destination_addr().into(), ip.payload())
        }
        Some(NetSlice::Ipv6(ip)) if ip.extensions().is_empty() => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), ip.payload())
        }
        _ => return None,
    };
    if payload.fragmented {
        return None;
    }
    let (protocol, ports, flags) = match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let bits = *tcp.header_slice().get(13)?;
            (TCP, (tcp.source_port(), tcp.destination_port()), TcpFlags::from_bits(bits))
        }
        Some(TransportSlice::Udp(udp)) => {
            (UDP, (udp.source_port(), udp.destination_port()), TcpFlags::default())
        }
        _ => return None,
    };
    let transport_len = payload.payload.len();
    let vlan = tags.first().map(|id| id.value());
    Some(Opinion {
        source,
        destination,
        protocol,
        ports,
        flags,
        transport_len,
        vlan,
        options,
        adds_up,
    })
}

fn compare(ours: Result<Packet, DropReason>, theirs: &Opinion) {
    let packet = match ours {
        Ok(packet) => packet,
        // We are stricter about flags, and about a length of UDP that contradicts the packet's.
        Err(DropReason::InvalidTcpFlags) if !theirs.flags.is_possible() => return,
        Err(DropReason::MalformedUdp) if theirs.protocol == UDP => return,
        Err(DropReason::BadChecksum) if !theirs.adds_up => return,
        Err(DropReason::SourceRoute | DropReason::MalformedIpv4) if theirs.options => return,
        // etherparse takes a payload length of 0 for one that is not known.
        Err(DropReason::MalformedTcp) if theirs.source.is_ipv6() => return,
        Err(reason) => panic!("refused as {reason}, and etherparse understands it"),
    };
    let Some(ip) = packet.ip() else { panic!("{packet:?} is no IP packet to us alone") };
    assert_eq!((ip.source, ip.destination), (theirs.source, theirs.destination));
    assert_eq!(ip.protocol, theirs.protocol);
    let (source, destination) = theirs.ports;
    assert_eq!(ip.transport.ports(), Some(Ports { source, destination }));
    if let Transport::Tcp(segment) = ip.transport {
        assert_eq!(segment.flags, theirs.flags);
    }
    assert_eq!(ip.transport_len, theirs.transport_len);
    assert_eq!(packet.vlan, theirs.vlan);
}
