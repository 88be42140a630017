//! ARP and neighbour discovery: what they say, and that nothing rides with them.

use super::*;

/// A message up to its options.
fn message(icmp_type: u8) -> Vec<u8> {
    let len = match icmp_type {
        133 => 8,
        134 => 16,
        135 | 136 => 24,
        _ => 40,
    };
    let mut message = vec![0; len];
    message[0] = icmp_type;
    if icmp_type > 134 {
        message[8..24].copy_from_slice(&"fd00::1".parse::<Ipv6Addr>().unwrap().octets());
    }
    message
}

/// An option of so many bytes, its header among them.
fn option(kind: u8, len: usize) -> Vec<u8> {
    let mut option = vec![0x42; len];
    option[0] = kind;
    option[1] = u8::try_from(len / 8).unwrap();
    option
}

fn read(message: &[u8]) -> Result<Transport, DropReason> {
    transport_of(&ethernet(0x86dd, &ipv6(58, message)))
}

fn read_with(icmp_type: u8, options: &[(u8, usize)]) -> Result<Transport, DropReason> {
    let options: Vec<u8> = options.iter().flat_map(|&(kind, len)| option(kind, len)).collect();
    read(&[message(icmp_type), options].concat())
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
fn a_message_carries_its_own_options_only() {
    let allowed: [(u8, &[(u8, usize)]); 5] = [
        (133, &[(1, 8), (14, 8)]),
        (
            134,
            &[
                (1, 8),
                (3, 32),
                (5, 8),
                (7, 8),
                (8, 8),
                (14, 8),
                (24, 8),
                (24, 16),
                (24, 24),
                (25, 24),
                (25, 40),
                (26, 8),
                (31, 16),
                (31, 64),
                (37, 8),
                (37, 40),
                (38, 16),
            ],
        ),
        (135, &[(1, 8), (14, 8)]),
        (136, &[(2, 8), (14, 8)]),
        (137, &[(2, 8), (4, 8), (4, 1024), (14, 8)]),
    ];
    for (icmp_type, allowed) in allowed {
        assert!(read(&message(icmp_type)).is_ok(), "{icmp_type} without options");
        for kind in 0..=255 {
            for len in [8, 16, 24, 32, 40, 64, 1024, 2040] {
                let is_known = match (icmp_type, kind) {
                    // These are as long as what they hold.
                    (134, 25) => len >= 24 && len % 16 == 8,
                    (134, 31 | 38) => len >= 16,
                    (134, 37) | (137, 4) => true,
                    _ => allowed.contains(&(kind, len)),
                };
                let read = read_with(icmp_type, &[(kind, len)]);
                assert_eq!(read.is_ok(), is_known, "{icmp_type} with {kind} of {len} bytes");
            }
        }
        assert!(allowed.iter().all(|option| read_with(icmp_type, &[*option]).is_ok()));
    }
}

#[test]
fn an_option_stands_once_but_for_what_routers_announce_several_of() {
    let malformed = Err(DropReason::MalformedIcmp);
    for (icmp_type, option) in [
        (133, (1, 8)),
        (133, (14, 8)),
        (134, (5, 8)),
        (135, (14, 8)),
        (136, (14, 8)),
        (137, (4, 64)),
    ] {
        assert_eq!(read_with(icmp_type, &[option, option]), malformed, "{icmp_type} {option:?}");
    }
    let prefixes = [(3, 32), (3, 32), (24, 16), (24, 16), (25, 24), (25, 24), (31, 16), (31, 16)];
    assert!(read_with(134, &prefixes).is_ok());
}

#[test]
fn codes_and_targets_are_those_of_the_standard() {
    for icmp_type in 133..=137 {
        let mut coded = message(icmp_type);
        coded[1] = 1;
        assert_eq!(read(&coded), Err(DropReason::MalformedIcmp), "{icmp_type}");
    }
    let mut group = message(135);
    group[8] = 0xff;
    assert_eq!(read(&group), Err(DropReason::MalformedIcmp));
}

#[test]
fn no_extension_header_stands_before_neighbour_discovery() {
    let padded = [58, 0, 1, 4, 0, 0, 0, 0];
    for (header, bytes) in [(0, padded), (60, padded), (43, [58, 0, 4, 0, 0, 0, 0, 0])] {
        for icmp_type in 133..=137 {
            let packet = ipv6(header, &[&bytes[..], &message(icmp_type)].concat());
            let read = transport_of(&ethernet(0x86dd, &packet));
            assert_eq!(read, Err(DropReason::ExtensionHeaders), "{icmp_type} behind {header}");
        }
    }
    let atomic = ipv6_fragment(58, 0, false, &message(135));
    assert_eq!(transport_of(&atomic), Err(DropReason::ExtensionHeaders));
}

#[test]
fn nothing_stands_behind_arp_and_neighbour_discovery_but_padding() {
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &[2; 20]].concat();
    let padded = |bytes: &[u8], len: usize| [bytes, &vec![0; len - bytes.len()]].concat();
    for (len, fits) in [(28, true), (46, true), (50, true), (51, false), (1442, false)] {
        let packet = Packet::parse(&ethernet(0x0806, &padded(&arp, len)));
        assert_eq!(packet.is_ok(), fits, "{len} bytes: {packet:?}");
        assert!(packet.is_ok_and(|packet| packet.is_resolution()) || !fits);
    }
    assert_eq!(Packet::parse(&ethernet(0x0806, &padded(&arp, 51))), Err(DropReason::MalformedArp));
    // Router solicitations alone are shorter than what is padded.
    let solicitation = ipv6(58, &message(133));
    assert!(transport_of(&ethernet(0x86dd, &padded(&solicitation, 50))).is_ok());
    for (packet, len) in [(solicitation, 51), (ipv6(58, &message(135)), 65)] {
        let read = transport_of(&ethernet(0x86dd, &padded(&packet, len)));
        assert_eq!(read, Err(DropReason::MalformedIcmp));
    }
}
