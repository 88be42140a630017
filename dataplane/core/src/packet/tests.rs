use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;

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
    packet
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
            transport: Transport::Ports { source: 40000, destination: 443, flags: TcpFlags::SYN },
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
    options.extend([135, 0, 0, 0, 0, 0, 0, 0]);
    options.extend([0xfd; 16]);
    options.extend([1, 1, 2, 0, 0, 0, 0, 1]);
    let frames = [
        ethernet(0x0800, &ipv4(6, &tcp(0x10))),
        ethernet(0x0800, &ipv4(17, &udp(b"payload"))),
        ethernet(0x86dd, &ipv6(17, &udp(b"payload"))),
        ethernet(0x86dd, &ipv6(60, &options)),
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

#[test]
fn extension_headers_are_walked_to_the_ports() {
    let options = |next: u8| vec![next, 0, 1, 4, 0, 0, 0, 0];
    let chain = [options(60), options(17), udp(b"q")].concat();
    let udp_ports = Transport::Ports { source: 40000, destination: 53, flags: TcpFlags::default() };
    assert_eq!(transport_of(&ethernet(0x86dd, &ipv6(0, &chain))), Ok(udp_ports));
    // Hop-by-hop options behind another header.
    assert_eq!(
        transport_of(&ethernet(0x86dd, &ipv6(60, &[options(0), options(17), udp(b"q")].concat()))),
        Err(DropReason::ExtensionHeaders)
    );
    let routing = [vec![17, 0, 0, 0, 0, 0, 0, 0], udp(b"q")].concat();
    assert_eq!(
        transport_of(&ethernet(0x86dd, &ipv6(43, &routing))),
        Err(DropReason::RoutingHeader0)
    );
    let at_limit = [options(60).repeat(7), options(17), udp(b"q")].concat();
    assert_eq!(transport_of(&ethernet(0x86dd, &ipv6(60, &at_limit))), Ok(udp_ports));
    let over_limit = [options(60).repeat(8), options(17), udp(b"q")].concat();
    assert_eq!(
        transport_of(&ethernet(0x86dd, &ipv6(60, &over_limit))),
        Err(DropReason::ExtensionHeaders)
    );
    // An authentication header counts its length in words of four bytes, less two.
    let authentication = [vec![17, 4, 0, 0], vec![0; 20], udp(b"q")].concat();
    assert_eq!(transport_of(&ethernet(0x86dd, &ipv6(51, &authentication))), Ok(udp_ports));
}

#[test]
fn fragments_are_refused_and_atomic_ones_are_whole_packets() {
    let fragment = |offset_and_more: u16| {
        let [high, low] = offset_and_more.to_be_bytes();
        let header = [17, 0, high, low, 0, 0, 0, 1];
        ethernet(0x86dd, &ipv6(44, &[&header[..], &udp(b"q")].concat()))
    };
    assert!(transport_of(&fragment(0)).is_ok(), "atomic");
    assert_eq!(transport_of(&fragment(1)), Err(DropReason::Fragment), "first");
    assert_eq!(transport_of(&fragment(8)), Err(DropReason::Fragment), "last");
    let mut first = ipv4(17, &udp(b"q"));
    first[6] = 0x20;
    assert_eq!(transport_of(&ethernet(0x0800, &first)), Err(DropReason::Fragment));
    let mut last = ipv4(17, &udp(b"q"));
    last[6..8].copy_from_slice(&[0, 1]);
    assert_eq!(transport_of(&ethernet(0x0800, &last)), Err(DropReason::Fragment));
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
fn neighbour_discovery_shows_every_claim() {
    let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
    message.extend("fd00::1".parse::<Ipv6Addr>().unwrap().octets());
    message.extend([2, 1, 2, 0, 0, 0, 0, 1]);
    assert_eq!(
        transport_of(&ethernet(0x86dd, &ipv6(58, &message))),
        Ok(Transport::Neighbour(Neighbour {
            icmp_type: 136,
            target: "fd00::1".parse().unwrap(),
            link_address: Some(Mac([2, 0, 0, 0, 0, 1])),
        }))
    );
    let twice = [&message[..], &[2, 1, 2, 0, 0, 0, 0, 9]].concat();
    assert_eq!(transport_of(&ethernet(0x86dd, &ipv6(58, &twice))), Err(DropReason::MalformedIcmp));
    let endless = [&message[..24], &[2, 0, 0, 0, 0, 0, 0, 0]].concat();
    assert_eq!(
        transport_of(&ethernet(0x86dd, &ipv6(58, &endless))),
        Err(DropReason::MalformedIcmp)
    );
}

#[test]
fn other_protocols_are_opaque_and_other_ethertypes_refused() {
    assert_eq!(transport_of(&ethernet(0x0800, &ipv4(47, &[0; 8]))), Ok(Transport::Opaque));
    assert_eq!(transport_of(&ethernet(0x86dd, &ipv6(50, &[0; 8]))), Ok(Transport::Opaque));
    // ICMP of the other family is a protocol like any unknown one.
    assert_eq!(transport_of(&ethernet(0x86dd, &ipv6(1, &[0; 8]))), Ok(Transport::Opaque));
    for ether_type in [0x88cc, 0x0042, 0x8847] {
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
        prop_assert_eq!(ours.ip().unwrap().transport, Transport::Ports {
            source: theirs.source_port(),
            destination: theirs.destination_port(),
            flags: TcpFlags::default(),
        });
    }
}
