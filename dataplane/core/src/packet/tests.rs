use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;
use crate::ports::{TCP, UDP};

mod resolution;

fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

fn ipv4(protocol: u8, transport: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend(u16::try_from(20 + transport.len()).unwrap().to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend(transport);
    add_up(packet)
}

/// Gives an IPv4 packet the checksum of its header.
fn add_up(mut packet: Vec<u8>) -> Vec<u8> {
    let header_len = usize::from(packet[0] & 0xf) * 4;
    packet[10..12].fill(0);
    let words =
        packet[..header_len].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
    packet[10..12].copy_from_slice(&(!folded).to_be_bytes());
    packet
}

/// An IPv4 packet with options, which are padded to words.
fn ipv4_with_options(options: &[u8], transport: &[u8]) -> Vec<u8> {
    let mut packet = ipv4(17, transport);
    let options_len = options.len().next_multiple_of(4);
    let padded = [options, &vec![0; options_len - options.len()]].concat();
    packet.splice(20..20, padded);
    packet[0] = 0x45 + u8::try_from(options_len / 4).unwrap();
    packet[3] += u8::try_from(options_len).unwrap();
    add_up(packet)
}

fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet.extend([next_header, 255]);
    packet.extend("fd00::1".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend("fd00::2".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(payload);
    packet
}

fn udp(payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0x9c, 0x40, 0, 53];
    datagram.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

fn tcp(flags: u8) -> Vec<u8> {
    let mut segment = vec![0x9c, 0x40, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags];
    segment.extend([2, 0, 0, 0, 0, 0]);
    segment
}

fn transport_of(frame: &[u8]) -> Result<Transport, DropReason> {
    Packet::parse(frame).map(|packet| packet.ip().unwrap().transport)
}

#[test]
fn a_tcp_segment_over_ipv4_reads_in_full() {
    let frame = ethernet(0x0800, &ipv4(6, &tcp(0x02)));
    let packet = Packet::parse(&frame).unwrap();
    assert_eq!(packet.destination, Mac([2, 0, 0, 0, 0, 2]));
    assert_eq!(packet.source, Mac([2, 0, 0, 0, 0, 1]));
    assert_eq!(packet.vlan, None);
    assert_eq!(
        packet.ip(),
        Some(&Ip {
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
            hop_limit: 64,
            protocol: TCP,
            transport_offset: 34,
            transport_len: 20,
            fragment: None,
            transport: Transport::Tcp(Segment {
                ports: Ports { source: 40000, destination: 443 },
                flags: TcpFlags::SYN,
                sequence: 1,
                acknowledgement: 0,
                window: 512,
                window_scale: None,
                payload_len: 0,
            }),
        })
    );
}

#[test]
fn a_vlan_tag_is_read_and_a_second_one_refused() {
    let inner = [&[0x00, 0x64][..], &0x0800u16.to_be_bytes(), &ipv4(17, &udp(b"q"))].concat();
    assert_eq!(Packet::parse(&ethernet(0x8100, &inner)).unwrap().vlan, Some(100));
    let twice = [&[0x00, 0x64][..], &0x8100u16.to_be_bytes(), &inner].concat();
    assert_eq!(Packet::parse(&ethernet(0x8100, &twice)), Err(DropReason::StackedVlan));
    assert_eq!(Packet::parse(&ethernet(0x88a8, &inner)), Err(DropReason::StackedVlan));
    assert_eq!(Packet::parse(&ethernet(0x8100, &[0])), Err(DropReason::MalformedEthernet));
}

#[test]
fn padding_belongs_to_no_packet() {
    let mut frame = ethernet(0x0800, &ipv4(17, &udp(b"")));
    frame.extend([0xff; 18]);
    assert_eq!(Packet::parse(&frame).unwrap().ip().unwrap().transport_len, 8);
}

#[test]
fn every_truncation_is_refused() {
    let mut options = vec![58, 0, 1, 4, 0, 0, 0, 0];
    options.extend([129, 0, 0, 0, 0, 1, 0, 1]);
    let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
    solicitation.extend([0xfd; 16]);
    solicitation.extend([1, 1, 2, 0, 0, 0, 0, 1]);
    let frames = [
        ethernet(0x0800, &ipv4(6, &tcp(0x10))),
        ethernet(0x0800, &ipv4(17, &udp(b"payload"))),
        ethernet(0x86dd, &ipv6(17, &udp(b"payload"))),
        ethernet(0x86dd, &ipv6(60, &options)),
        ethernet(0x86dd, &ipv6(58, &solicitation)),
        ethernet(0x8100, &[&[0, 1][..], &0x0800u16.to_be_bytes(), &ipv4(6, &tcp(0x10))].concat()),
        ethernet(
            0x0806,
            &[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2],
        ),
    ];
    for frame in frames {
        assert!(Packet::parse(&frame).is_ok(), "{:?}", Packet::parse(&frame));
        for len in 0..frame.len() {
            assert!(Packet::parse(&frame[..len]).is_err(), "{len} of {frame:02x?}");
        }
    }
}

#[test]
fn lengths_that_contradict_each_other_are_refused() {
    let mut short_header = ipv4(6, &tcp(0x10));
    short_header[0] = 0x44;
    assert_eq!(transport_of(&ethernet(0x0800, &short_header)), Err(DropReason::MalformedIpv4));
    let mut long_total = ipv4(17, &udp(b"x"));
    long_total[3] += 1;
    let long_total = add_up(long_total);
    assert_eq!(transport_of(&ethernet(0x0800, &long_total)), Err(DropReason::MalformedIpv4));
    let mut long_udp = udp(b"x");
    long_udp[5] += 1;
    assert_eq!(
        transport_of(&ethernet(0x0800, &ipv4(17, &long_udp))),
        Err(DropReason::MalformedUdp)
    );
    let mut short_udp = udp(b"x");
    short_udp[5] = 7;
    assert_eq!(
        transport_of(&ethernet(0x0800, &ipv4(17, &short_udp))),
        Err(DropReason::MalformedUdp)
    );
    let mut tcp_offset = tcp(0x10);
    tcp_offset[12] = 0x60;
    assert_eq!(
        transport_of(&ethernet(0x0800, &ipv4(6, &tcp_offset))),
        Err(DropReason::MalformedTcp)
    );
    assert_eq!(
        transport_of(&ethernet(0x0800, &ipv4(132, &[0; 11]))),
        Err(DropReason::MalformedSctp)
    );
    assert_eq!(transport_of(&ethernet(0x0800, &ipv4(1, &[8; 7]))), Err(DropReason::MalformedIcmp));
}

#[test]
fn impossible_tcp_flags_are_refused() {
    for (flags, possible) in [
        (0x00, false), // null
        (0x29, false), // xmas
        (0x03, false), // SYN FIN
        (0x06, false), // SYN RST
        (0x01, false), // FIN without ACK
        (0x15, false), // FIN RST ACK
        (0x08, false), // PSH alone
        (0x02, true),
        (0xc2, true), // SYN with ECN
        (0x12, true),
        (0x10, true),
        (0x18, true),
        (0x11, true),
        (0x04, true),
        (0x14, true),
    ] {
        let parsed = transport_of(&ethernet(0x0800, &ipv4(6, &tcp(flags))));
        assert_eq!(parsed.is_ok(), possible, "{flags:#04x} {parsed:?}");
        assert!(possible || parsed == Err(DropReason::InvalidTcpFlags));
    }
}

const UDP_PORTS: Transport = Transport::Udp(Ports { source: 40000, destination: 53 });

#[test]
fn extension_headers_are_walked_to_the_ports() {
    let options = |next: u8| vec![next, 0, 1, 4, 0, 0, 0, 0];
    let chain = [options(60), options(17), udp(b"q")].concat();
    assert_eq!(transport_of(&ethernet(0x86dd, &ipv6(0, &chain))), Ok(UDP_PORTS));
    let routing = |kind: u8, next: u8| vec![next, 0, kind, 0, 0, 0, 0, 0];
    assert_eq!(
        transport_of(&ethernet(0x86dd, &ipv6(43, &[routing(0, 17), udp(b"q")].concat()))),
        Err(DropReason::RoutingHeader0)
    );
    let with_segments_left = [vec![17, 0, 4, 1, 0, 0, 0, 0], udp(b"q")].concat();
    assert_eq!(
        transport_of(&ethernet(0x86dd, &ipv6(43, &with_segments_left))),
        Err(DropReason::SourceRoute)
    );
    let authentication = |next: u8| [vec![next, 4, 0, 0], vec![0; 20]].concat();
    let mobility = |next: u8| vec![next, 0, 0, 0, 0, 0, 0, 0];
    // Every header once, destination options twice, in the order of RFC 8200.
    let longest = [
        options(60),
        options(43),
        routing(4, 51),
        authentication(60),
        options(135),
        mobility(17),
        udp(b"q"),
    ];
    assert_eq!(transport_of(&ethernet(0x86dd, &ipv6(0, &longest.concat()))), Ok(UDP_PORTS));
}

#[test]
fn extension_headers_out_of_order_or_repeated_are_refused() {
    let options = |next: u8| vec![next, 0, 1, 4, 0, 0, 0, 0];
    let routing = |next: u8| vec![next, 0, 4, 0, 0, 0, 0, 0];
    for (name, first, chain) in [
        ("hop-by-hop behind another", 60, [options(0), options(17)].concat()),
        ("hop-by-hop twice", 0, [options(0), options(17)].concat()),
        ("routing twice", 43, [routing(43), routing(17)].concat()),
        ("destination options thrice", 60, [options(60), options(60), options(17)].concat()),
        ("routing behind the last options", 60, [options(60), options(43), routing(17)].concat()),
        ("two fragment headers", 44, [vec![44, 0, 0, 1, 0, 0, 0, 1], options(17)].concat()),
    ] {
        let frame = ethernet(0x86dd, &ipv6(first, &[chain, udp(b"q")].concat()));
        assert_eq!(transport_of(&frame), Err(DropReason::ExtensionHeaders), "{name}");
    }
    // The chain of the longest header that there is leaves the packet.
    let long = [vec![17, 255], vec![0; 6], udp(b"q")].concat();
    let frame = ethernet(0x86dd, &ipv6(60, &long));
    assert_eq!(transport_of(&frame), Err(DropReason::MalformedIpv6));
}

#[test]
fn padding_behind_the_payload_is_no_extension_header() {
    let mut frame = ethernet(0x86dd, &ipv6(60, &[]));
    frame.extend([17, 0, 1, 4, 0, 0, 0, 0]);
    frame.extend(udp(b""));
    assert_eq!(transport_of(&frame), Err(DropReason::MalformedIpv6));
}

#[test]
fn source_routes_are_refused_and_other_options_walked() {
    let record_route = [7, 7, 4, 0, 0, 0, 0];
    let of =
        |options: &[u8]| transport_of(&ethernet(0x0800, &ipv4_with_options(options, &udp(b"q"))));
    assert_eq!(of(&record_route), Ok(UDP_PORTS));
    assert_eq!(of(&[1, 1, 1, 0]), Ok(UDP_PORTS));
    for kind in [131, 137] {
        assert_eq!(of(&[kind, 7, 4, 10, 0, 0, 9]), Err(DropReason::SourceRoute));
        let behind = [&record_route[..], &[1, kind, 7, 4, 10, 0, 0, 9]].concat();
        assert_eq!(of(&behind), Err(DropReason::SourceRoute), "behind other options");
        assert_eq!(of(&[0, kind, 3, 4]), Ok(UDP_PORTS), "behind the end of options is nothing");
    }
    assert_eq!(of(&[7, 1, 0, 0]), Err(DropReason::MalformedIpv4), "a length below its own");
    assert_eq!(of(&[7, 9, 0, 0]), Err(DropReason::MalformedIpv4), "a length beyond the header");
    assert_eq!(of(&[1, 1, 1, 7]), Err(DropReason::MalformedIpv4), "no length at all");
}

#[test]
fn an_ipv4_header_that_does_not_add_up_is_refused() {
    let whole = ipv4(17, &udp(b"q"));
    for place in 0..20 {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x08;
        assert!(transport_of(&ethernet(0x0800, &damaged)).is_err(), "byte {place}");
    }
    let mut ttl = whole;
    ttl[8] -= 1;
    assert_eq!(transport_of(&ethernet(0x0800, &ttl)), Err(DropReason::BadChecksum));
}

/// The IPv4 fragment that begins at `offset` bytes.
fn ipv4_fragment(offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = ipv4(17, payload);
    packet[4..6].copy_from_slice(&[0xab, 0xcd]);
    packet[6..8].copy_from_slice(&((offset / 8) | (u16::from(more) << 13)).to_be_bytes());
    ethernet(0x0800, &add_up(packet))
}

/// The IPv6 fragment that begins at `offset` bytes, of a datagram whose first header is `next`.
fn ipv6_fragment(next: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (offset | u16::from(more)).to_be_bytes();
    let header = [next, 0, high, low, 0xde, 0xad, 0xbe, 0xef];
    ethernet(0x86dd, &ipv6(44, &[&header[..], payload].concat()))
}

#[test]
fn a_first_fragment_shows_its_ports_and_the_others_their_place() {
    let datagram = udp(&[7; 40]);
    for (id, first, last) in [
        (
            0xabcd,
            ipv4_fragment(0, true, &datagram[..24]),
            ipv4_fragment(24, false, &datagram[24..]),
        ),
        (
            0xdead_beef,
            ipv6_fragment(17, 0, true, &datagram[..24]),
            ipv6_fragment(17, 24, false, &datagram[24..]),
        ),
    ] {
        let first = *Packet::parse(&first).unwrap().ip().unwrap();
        assert_eq!(first.fragment, Some(Fragment { id, offset: 0, len: 24, more: true }));
        assert_eq!(first.transport, UDP_PORTS);
        assert_eq!(first.transport_len, 24);
        let last = *Packet::parse(&last).unwrap().ip().unwrap();
        assert_eq!(last.fragment, Some(Fragment { id, offset: 24, len: 24, more: false }));
        assert_eq!(last.transport, Transport::Continuation);
    }
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    let atomic = ipv6_fragment(17, 0, false, &udp(b"q"));
    let packet = Packet::parse(&atomic).unwrap();
    assert_eq!(packet.ip().unwrap().fragment, None);
    assert_eq!(packet.ip().unwrap().transport, UDP_PORTS);
}

#[test]
fn a_first_fragment_without_the_whole_header_is_refused() {
    let tiny = Err(DropReason::TinyFragment);
    let mut segment = tcp(0x02);
    segment.extend([0; 4]);
    let mut tcp_first = ipv4_fragment(0, true, &segment[..16]);
    tcp_first[23] = 6;
    let restored = add_up(tcp_first[14..].to_vec());
    assert_eq!(transport_of(&ethernet(0x0800, &restored)), tiny);
    // The options that the data offset promises are elsewhere.
    segment[12] = 0x70;
    let first = ipv6_fragment(6, 0, true, &segment[..24]);
    assert_eq!(transport_of(&first), tiny);
    // RFC 7112: a chain of headers that goes on in the next fragment.
    for payload in [&[17, 1, 1, 12, 0, 0, 0, 0][..], &[17, 0, 1, 4, 0, 0, 0, 0]] {
        assert_eq!(transport_of(&ipv6_fragment(60, 0, true, payload)), tiny);
    }
}

#[test]
fn fragments_that_can_make_up_no_datagram_are_refused() {
    let malformed = Err(DropReason::MalformedFragment);
    assert_eq!(transport_of(&ipv4_fragment(0, true, &udp(&[7; 5]))), malformed, "13 bytes");
    assert_eq!(transport_of(&ipv4_fragment(8, true, &[])), malformed, "empty");
    assert_eq!(transport_of(&ipv4_fragment(65_528, false, &[0; 8])), malformed, "too long");
    assert_eq!(transport_of(&ipv4_fragment(65_528, false, &[0; 7])), Ok(Transport::Continuation));
    assert_eq!(transport_of(&ipv6_fragment(17, 65_528, false, &[0; 8])), malformed);
}

#[test]
fn neighbour_discovery_and_icmp_errors_come_in_one_piece() {
    let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
    solicitation.extend("fd00::1".parse::<Ipv6Addr>().unwrap().octets());
    let refused = Err(DropReason::UnsupportedFragment);
    assert_eq!(transport_of(&ipv6_fragment(58, 0, true, &solicitation)), refused);
    let error = [&[1, 0, 0, 0, 0, 0, 0, 0][..], &ipv6(17, &udp(&[0; 8]))].concat();
    assert_eq!(transport_of(&ipv6_fragment(58, 0, true, &error)), refused);
}

#[test]
fn an_sctp_packet_shows_what_its_chunks_say() {
    let common = [0x0b, 0x59, 0x0b, 0x5a, 0, 0, 0, 9, 0, 0, 0, 0];
    let of =
        |chunks: &[u8]| transport_of(&ethernet(0x0800, &ipv4(132, &[&common, chunks].concat())));
    let ports = Ports { source: 2905, destination: 2906 };
    let packet = |chunks| Ok(Transport::Sctp(SctpPacket { ports, tag: 9, chunks }));
    let init = [1, 0, 0, 20, 0x11, 0x22, 0x33, 0x44, 0, 1, 0, 0, 0, 5, 0, 5, 0, 0, 0, 1];
    let expected = Chunks { init: Some(0x1122_3344), ..Chunks::default() };
    assert_eq!(of(&init), packet(expected));
    let mut init_ack = init;
    init_ack[0] = 2;
    for alone in [init, init_ack] {
        let data = [0, 3, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        for bundle in [[alone, data], [data, alone], [alone, alone]] {
            assert_eq!(of(bundle.as_flattened()), Err(DropReason::MalformedSctp), "{bundle:?}");
        }
    }
    let bundle = [10, 0, 0, 6, 1, 2, 0, 0, 11, 0, 0, 4];
    let expected = Chunks { cookie_echo: true, cookie_ack: true, ..Chunks::default() };
    assert_eq!(of(&bundle), packet(expected));
    let expected = Chunks { abort: true, reflected: true, ..Chunks::default() };
    assert_eq!(of(&[6, 1, 0, 4]), packet(expected));
    for broken in [&[10, 0, 0, 3][..], &[10, 0, 0, 9, 0], &[1, 0, 0, 8, 0, 0, 0, 1]] {
        assert_eq!(of(broken), Err(DropReason::MalformedSctp), "{broken:?}");
    }
}

#[test]
fn an_icmp_error_shows_the_packet_that_it_quotes() {
    // Quotes are cut after eight bytes of the transport header.
    let quote = ipv4(17, &udp(&[7; 100]));
    let error = [&[3, 4, 0, 0, 0, 0, 5, 0][..], &quote[..28]].concat();
    assert_eq!(
        transport_of(&ethernet(0x0800, &ipv4(1, &error))),
        Ok(Transport::IcmpError(Quoted {
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
            protocol: UDP,
            source_port: 40000,
            destination_port: 53,
            proof: None,
        }))
    );
    let short = [&[3, 4, 0, 0, 0, 0, 5, 0][..], &quote[..23]].concat();
    assert_eq!(transport_of(&ethernet(0x0800, &ipv4(1, &short))), Err(DropReason::MalformedIcmp));
    let redirect = [&[5, 0, 0, 0, 0, 0, 0, 0][..], &quote[..28]].concat();
    assert_eq!(
        transport_of(&ethernet(0x0800, &ipv4(1, &redirect))),
        Ok(Transport::IcmpOther { icmp_type: 5 })
    );
}

#[test]
fn other_protocols_are_opaque_and_other_ethertypes_refused() {
    assert_eq!(transport_of(&ethernet(0x0800, &ipv4(47, &[0; 8]))), Ok(Transport::Opaque));
    assert_eq!(transport_of(&ethernet(0x86dd, &ipv6(50, &[0; 8]))), Ok(Transport::Opaque));
    // ICMP of the other family is a protocol like any unknown one.
    assert_eq!(transport_of(&ethernet(0x86dd, &ipv6(1, &[0; 8]))), Ok(Transport::Opaque));
    assert_eq!(Packet::parse(&ethernet(0x0042, &[0; 60])), Err(DropReason::Llc));
    for ether_type in [0x88cc, 0x0600, 0x8847] {
        assert_eq!(
            Packet::parse(&ethernet(ether_type, &[0; 60])),
            Err(DropReason::UnsupportedEthertype)
        );
    }
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 3];
    arp.extend([0; 20]);
    assert_eq!(Packet::parse(&ethernet(0x0806, &arp)), Err(DropReason::MalformedArp));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Packet::parse(&frame);
    }

    #[test]
    fn no_damage_makes_it_panic_or_point_outside(
        v6 in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let builder = if v6 { builder.ipv6([1; 16], [2; 16], 9) } else { builder.ipv4([1; 4], [2; 4], 9) };
        let mut frame = Vec::new();
        builder.tcp(1, 2, 3, 4).syn().write(&mut frame, &payload).unwrap();
        for (place, byte) in damage {
            let place = place.index(frame.len());
            frame[place] = byte;
        }
        frame.truncate(cut.index(frame.len() + 1));
        if let Ok(Packet { payload: Payload::Ip(ip), .. }) = Packet::parse(&frame) {
            prop_assert!(ip.transport_offset + ip.transport_len <= frame.len());
        }
    }

    /// Damage mostly leaves a packet that both read, or that only the walk does.
    #[test]
    fn what_is_read_in_one_go_is_what_the_walk_reads(
        (v6, is_tcp) in any::<(bool, bool)>(),
        damage in prop::collection::vec((0usize..80, any::<u8>()), 0..3),
        (cut, padding) in (0usize..4, 0usize..20),
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let transport = if is_tcp { [tcp(0x10), payload].concat() } else { udp(&payload) };
        let protocol = if is_tcp { TCP } else { UDP };
        let mut frame = if v6 {
            ethernet(0x86dd, &ipv6(protocol, &transport))
        } else {
            ethernet(0x0800, &ipv4(protocol, &transport))
        };
        prop_assert!(plain::read(&frame).is_some());
        for (place, byte) in &damage {
            let place = place % frame.len();
            frame[place] = *byte;
        }
        if frame[14] >> 4 == 4 && frame[14] & 0xf >= 5 && frame.len() >= 74 {
            frame = [&frame[..14], &add_up(frame[14..].to_vec())].concat();
        }
        frame.truncate(frame.len() - cut);
        frame.resize(frame.len() + padding, 0);
        if let Some(packet) = plain::read(&frame) {
            prop_assert_eq!(Packet::walk(&Pieces::from(&frame[..])), Ok(packet));
        }
    }

    /// etherparse as a second opinion on packets that both understand.
    #[test]
    fn etherparse_reads_the_same_ports(
        v6 in any::<bool>(),
        vlan in prop::option::of(1u16..4095),
        source in any::<u16>(),
        destination in any::<u16>(),
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let mut frame = Vec::new();
        macro_rules! write {
            ($builder:expr) => {
                if v6 { $builder.ipv6([1; 16], [2; 16], 9).udp(source, destination).write(&mut frame, &payload).unwrap() }
                else { $builder.ipv4([1; 4], [2; 4], 9).udp(source, destination).write(&mut frame, &payload).unwrap() }
            };
        }
        match vlan {
            Some(vlan) => write!(builder.single_vlan(vlan.try_into().unwrap())),
            None => write!(builder),
        }
        let sliced = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(etherparse::TransportSlice::Udp(theirs)) = sliced.transport else { panic!() };
        let ours = Packet::parse(&frame).unwrap();
        prop_assert_eq!(ours.vlan, vlan);
        prop_assert_eq!(ours.ip().unwrap().transport, Transport::Udp(Ports {
            source: theirs.source_port(),
            destination: theirs.destination_port(),
        }));
    }
}
