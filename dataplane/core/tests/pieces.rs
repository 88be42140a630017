//! A packet that lies in several pieces is read and summed up as the same packet in one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use etherparse::PacketBuilder;
use etherparse::checksum::Sum16BitWords;
use proptest::prelude::*;
use sluice_core::checksum::{complete, complete_in, is_whole, is_whole_in};
use sluice_core::drop::DropReason;
use sluice_core::packet::{Packet, Transport};
use sluice_core::pieces::Pieces;

const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
const B: [u8; 6] = [2, 0, 0, 0, 0, 2];
const ADDRESS_A: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ADDRESS_B: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// An IPv6 packet of any protocol, over extension headers or none.
fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = [B, A].concat();
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend([next_header, 64]);
    frame.extend([ADDRESS_A, ADDRESS_B].concat());
    frame.extend(payload);
    frame
}

/// Writes the checksum of an ICMPv6 message that begins behind the IPv6 header.
fn with_icmpv6_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    let len = u32::try_from(frame.len() - 54).unwrap().to_be_bytes();
    let sum = Sum16BitWords::new().add_slice(&frame[22..]).add_4bytes(len).add_2bytes([0, 58]);
    frame[56..58].copy_from_slice(&sum.ones_complement().to_ne_bytes());
    frame
}

/// An SCTP packet with three DATA chunks and an ABORT behind them.
fn sctp() -> Vec<u8> {
    let mut packet = vec![0x0b, 0x59, 0x0b, 0x59, 1, 2, 3, 4, 0, 0, 0, 0];
    for len in [17u8, 40, 22] {
        packet.extend([0, 3, 0, len]);
        packet.extend((4..len.next_multiple_of(4)).collect::<Vec<u8>>());
    }
    packet.extend([6, 0, 0, 4]);
    ipv6(132, &packet)
}

/// Packets of every kind, each with the length of the headers that must lie in the first piece.
fn packets() -> Vec<(&'static str, Vec<u8>, usize)> {
    let payload: Vec<u8> = (0..97).map(|n: u8| n.wrapping_mul(37) ^ 0x5a).collect();
    let v4 = || PacketBuilder::ethernet2(A, B).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    let v6 = || PacketBuilder::ethernet2(A, B).ipv6(ADDRESS_A, ADDRESS_B, 64);
    let mut all = Vec::new();
    let mut add = |name, needed, write: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = Vec::new();
        write(&mut frame);
        all.push((name, frame, needed));
    };
    add("tcp4", 54, &|to| v4().tcp(4000, 80, 7, 512).ack(1).write(to, &payload).unwrap());
    add("tcp6", 74, &|to| v6().tcp(4000, 80, 7, 512).ack(1).write(to, &payload).unwrap());
    add("udp4", 42, &|to| v4().udp(4000, 53).write(to, &payload).unwrap());
    add("udp6", 62, &|to| v6().udp(4000, 53).write(to, &payload).unwrap());
    add("echo4", 42, &|to| v4().icmpv4_echo_request(1, 2).write(to, &payload).unwrap());
    add("echo6", 62, &|to| v6().icmpv6_echo_request(1, 2).write(to, &payload).unwrap());
    add("sctp", 66, &|to| to.extend(sctp()));
    add("tagged", 46, &|to| {
        v4().udp(4000, 53).write(to, &payload).unwrap();
        to.splice(12..12, [0x81, 0, 0, 7]);
    });
    add("padded", 42, &|to| {
        v4().udp(4000, 53).write(to, b"four").unwrap();
        to.extend([0xee; 30]);
    });
    add("opaque", 54, &|to| to.extend(ipv6(50, &payload)));
    add("options", 14 + 40 + 16 + 8 + 8, &|to| {
        let mut rest = vec![43, 1];
        rest.extend([1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        rest.extend([60, 0, 4, 0, 0, 0, 0, 0]);
        rest.extend([59, 0, 1, 4, 0, 0, 0, 0]);
        rest.extend(&payload);
        to.extend(ipv6(0, &rest));
    });
    add("fragment", 14 + 40 + 8 + 8, &|to| {
        let mut rest = vec![17, 0, 0, 1, 0, 0, 0, 9];
        rest.extend([15, 160, 0, 53, 4, 0, 0, 0]);
        rest.extend(&payload[..80]);
        to.extend(ipv6(44, &rest));
    });
    add("error", 14 + 40 + 8 + 40 + 8, &|to| {
        let mut quoted = Vec::new();
        v6().udp(4000, 53).write(&mut quoted, &payload).unwrap();
        let rest = [&[1, 4, 0, 0, 0, 0, 0, 0], &quoted[14..]].concat();
        to.extend(with_icmpv6_checksum(ipv6(58, &rest)));
    });
    add("solicitation", 14 + 40 + 32, &|to| {
        let mut rest = vec![135, 0, 0, 0, 0, 0, 0, 0];
        rest.extend(ADDRESS_B);
        rest.extend([1, 1, 2, 0, 0, 0, 0, 1]);
        to.extend(with_icmpv6_checksum(ipv6(58, &rest)));
    });
    add("arp", 42, &|to| {
        to.extend([B, A].concat());
        to.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
        to.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    });
    all
}

/// A frame cut at these places, in rising order.
fn cut<'a>(frame: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = frame;
    let mut at = 0;
    for place in places {
        let (piece, behind) = rest.split_at(place - at);
        pieces.push(piece);
        (rest, at) = (behind, *place);
    }
    pieces.push(rest);
    pieces
}

/// What a reader of one piece thinks of a frame: packet, and checksums with and without a wire.
type Opinion = Result<(Packet, Option<(bool, bool)>), DropReason>;

fn of_one(frame: &[u8]) -> Opinion {
    let packet = Packet::parse(frame)?;
    let whole = packet.ip().map(|ip| (is_whole(frame, ip, false), is_whole(frame, ip, true)));
    Ok((packet, whole))
}

fn of_pieces(pieces: &[&[u8]]) -> Opinion {
    let pieces = Pieces::new(pieces[0], &pieces[1..]);
    let packet = Packet::parse_pieces(&pieces)?;
    let whole =
        packet.ip().map(|ip| (is_whole_in(&pieces, ip, false), is_whole_in(&pieces, ip, true)));
    Ok((packet, whole))
}

/// The frame with its checksum completed, and whether it was written; in one or in pieces.
fn completed(frame: &[u8], places: &[usize]) -> (Vec<u8>, bool) {
    let packet = Packet::parse(frame).unwrap();
    let mut frame = frame.to_vec();
    if places.is_empty() {
        let wrote = complete(&mut frame, &packet);
        return (frame, wrote);
    }
    let (head, rest) = frame.split_at_mut(places[0]);
    let places: Vec<usize> = places[1..].iter().map(|place| place - places[0]).collect();
    let wrote = complete_in(head, &cut(rest, &places), &packet);
    (frame, wrote)
}

/// Makes the checksum of a TCP or UDP packet partial: a first guess that no sum can be.
fn with_partial_checksum(frame: &[u8]) -> Option<Vec<u8>> {
    let packet = Packet::parse(frame).ok()?;
    let ip = packet.ip().filter(|ip| ip.fragment.is_none())?;
    let field = match ip.transport {
        Transport::Tcp(_) => ip.transport_offset + 16,
        Transport::Udp(_) => ip.transport_offset + 6,
        Transport::Sctp(_) => return Some(frame.to_vec()),
        _ => return None,
    };
    // The sum over the pseudo-header is what makes `is_whole` take it where no wire was crossed.
    (0..=u16::MAX).find_map(|guess| {
        let mut partial = frame.to_vec();
        partial[field..field + 2].copy_from_slice(&guess.to_be_bytes());
        let opinions = (is_whole(&partial, ip, false), is_whole(&partial, ip, true));
        (opinions == (false, true)).then_some(partial)
    })
}

#[test]
fn a_packet_cut_in_two_anywhere_is_the_same_or_its_headers_are_cut() {
    for (name, frame, needed) in packets() {
        let whole = of_one(&frame).unwrap_or_else(|reason| panic!("{name}: {reason}"));
        assert_ne!(whole.1, Some((false, false)), "{name}");
        for place in 0..frame.len() {
            let opinion = of_pieces(&cut(&frame, &[place]));
            if place >= needed {
                assert_eq!(opinion, Ok(whole), "{name} cut at {place}");
            } else {
                let reason = opinion.expect_err(name).name();
                let is_cut = reason.starts_with("malformed_") || reason == "tiny_fragment";
                assert!(is_cut, "{name} cut at {place}: {reason}");
            }
        }
    }
}

#[test]
fn a_bit_that_flips_in_any_piece_is_noticed() {
    for (name, frame, needed) in packets() {
        let Some((_, Some((true, _)))) = of_one(&frame).ok() else { continue };
        let covered = Packet::parse(&frame).unwrap().ip().map(|ip| {
            let is_summed = ip.fragment.is_none() && ip.transport != Transport::Opaque;
            ip.transport_offset + if is_summed { ip.transport_len } else { 0 }
        });
        for flipped in needed..covered.unwrap() {
            let mut damaged = frame.clone();
            damaged[flipped] ^= 0x10;
            for place in [needed, flipped.max(needed), (needed + frame.len()) / 2] {
                let opinion = of_pieces(&cut(&damaged, &[place]));
                assert_eq!(opinion, of_one(&damaged), "{name} flipped at {flipped}");
                let is_whole = opinion.is_ok_and(|(_, whole)| whole == Some((true, true)));
                assert!(!is_whole, "{name} flipped at {flipped}");
            }
        }
    }
}

#[test]
fn a_partial_checksum_is_completed_over_all_pieces() {
    let mut count = 0;
    for (name, frame, needed) in packets() {
        let Some(partial) = with_partial_checksum(&frame) else { continue };
        count += 1;
        let (whole, wrote) = completed(&partial, &[]);
        assert!(wrote, "{name}");
        for first in needed..=frame.len() {
            for second in [first, first.midpoint(frame.len()), frame.len()] {
                let outcome = completed(&partial, &[first, second]);
                assert_eq!(outcome, (whole.clone(), true), "{name} cut at {first}, {second}");
            }
        }
    }
    assert_eq!(count, 7);
}

#[test]
fn a_chunk_behind_the_head_is_seen() {
    let frame = sctp();
    for place in 66..frame.len() {
        let (packet, _) = of_pieces(&cut(&frame, &[place])).unwrap();
        let Transport::Sctp(packet) = packet.ip().unwrap().transport else { panic!("{place}") };
        assert!(packet.chunks.abort, "cut at {place}");
    }
}

/// A packet of which a few bytes are wrong, and where to cut it.
fn damaged() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
    let bytes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let places = prop::collection::vec(any::<prop::sample::Index>(), 1..5);
    (prop::sample::select(packets()), bytes, places).prop_map(
        |((_, mut frame, _), bytes, places)| {
            for (at, byte) in bytes {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
            let mut places: Vec<_> = places.iter().map(|at| at.index(frame.len() + 1)).collect();
            places.sort_unstable();
            (frame, places)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    /// Nothing gets through in pieces that would not in one.
    #[test]
    fn what_is_read_from_pieces_is_what_one_piece_says((frame, places) in damaged()) {
        if let Ok(opinion) = of_pieces(&cut(&frame, &places)) {
            prop_assert_eq!(Ok(opinion), of_one(&frame));
        }
    }
}
