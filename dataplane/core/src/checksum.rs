//! Checksums: telling those that are wrong, and completing those that are partial.
//!
//! The kernel hands a veth a frame whose TCP or UDP checksum field holds only the sum over the
//! pseudo-header, since no wire will damage it, and an SCTP packet without its CRC. Such a frame
//! must be made whole before it leaves by a real NIC or reaches a stack that checks. The CRC is
//! crc32c's (RFC 9260, appendix A); the sum is our own, since every packet from a wire is summed up.
//!
//! A receiver ignores a packet whose checksum is wrong. A firewall that did not would follow
//! connections that are not there, so such packets are dropped.

use std::net::IpAddr;

use crate::packet::{Ip, Packet};
use crate::pieces::Pieces;
use crate::ports::{ICMP, ICMPV6, SCTP, TCP, UDP};

/// Bytes that are added side by side.
const BLOCK_LEN: usize = 32;

/// A sum of the words of 16 bits of some bytes, in the order of this machine, whose carries have
/// not been added yet (RFC 1071, 2). It has room for 16 GiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum(u64);

impl Sum {
    #[inline]
    pub(crate) fn new() -> Self {
        Self(0)
    }

    /// Adds bytes. An odd last one counts as if a zero followed.
    #[inline]
    pub(crate) fn add_slice(self, bytes: &[u8]) -> Self {
        // Two words at once, and carries at the end, so that many are added side by side.
        let (blocks, rest) = bytes.as_chunks::<BLOCK_LEN>();
        let mut sum = self.0;
        for block in blocks {
            let (fours, _) = block.as_chunks::<4>();
            sum += fours.iter().map(|four| u64::from(u32::from_ne_bytes(*four))).sum::<u64>();
        }
        let (fours, rest) = rest.as_chunks::<4>();
        for four in fours {
            sum += u64::from(u32::from_ne_bytes(*four));
        }
        let last = match *rest {
            [a] => [a, 0, 0, 0],
            [a, b] => [a, b, 0, 0],
            [a, b, c] => [a, b, c, 0],
            _ => [0; 4],
        };
        Self(sum).add_4bytes(last)
    }

    #[inline]
    fn add_2bytes(self, [a, b]: [u8; 2]) -> Self {
        self.add_4bytes([a, b, 0, 0])
    }

    #[inline]
    fn add_4bytes(self, four: [u8; 4]) -> Self {
        Self(self.0 + u64::from(u32::from_ne_bytes(four)))
    }

    /// The complement of the sum with its carries.
    #[inline]
    fn ones_complement(self) -> u16 {
        // To add the carries is to take the remainder, but for what is not zero and has none. A
        // division by a constant is a multiplication.
        match (self.0 % 0xffff) as u16 {
            0 if self.0 != 0 => 0,
            sum => !sum,
        }
    }

    /// Whether the bytes hold their own checksum.
    #[inline]
    pub(crate) fn is_whole(self) -> bool {
        self.0 != 0 && self.0.is_multiple_of(0xffff)
    }
}

/// Whether an IPv4 header, options included, adds up (RFC 791, 3.1).
#[inline]
pub(crate) fn is_ipv4_header_whole(header: &[u8]) -> bool {
    Sum::new().add_slice(header).is_whole()
}

/// Whether the checksum of the transport fits the bytes that it covers. A fragment passes: its
/// checksum covers bytes that are elsewhere. So does a protocol whose checksum is not known.
///
/// Where `partial_checksums` is set, the frame has crossed no wire: the sum over the
/// pseudo-header alone is as good, and an SCTP packet has no CRC yet.
#[inline]
#[must_use]
pub fn is_whole(frame: &[u8], ip: &Ip, partial_checksums: bool) -> bool {
    is_whole_in(&Pieces::from(frame), ip, partial_checksums)
}

/// As [`is_whole`], for a frame that may lie in several pieces.
#[inline]
#[must_use]
pub fn is_whole_in(frame: &Pieces<'_>, ip: &Ip, partial_checksums: bool) -> bool {
    let Some(transport) = frame.within(ip.transport_offset, ip.transport_len) else {
        return false;
    };
    if ip.fragment.is_some() {
        return true;
    }
    let adds_up = |sum, bytes: &Pieces<'_>| add(sum, bytes).is_whole();
    match ip.protocol {
        TCP => {
            let sum = pseudo_header_sum(ip, transport.len());
            (partial_checksums && is_partial(transport.head(), 16, &sum))
                || adds_up(sum, &transport)
        }
        UDP => {
            let Some(covered) = udp_datagram(&transport) else { return false };
            let sum = pseudo_header_sum(ip, covered.len());
            // No checksum at all is for IPv4 only (RFC 768; RFC 8200, 8.1).
            let has_none = covered.head().get(6..8) == Some(&[0, 0]) && ip.source.is_ipv4();
            has_none
                || (partial_checksums && is_partial(covered.head(), 6, &sum))
                || adds_up(sum, &covered)
        }
        SCTP => partial_checksums || is_crc_right(&transport),
        ICMP if ip.source.is_ipv4() => adds_up(Sum::new(), &transport),
        ICMPV6 if ip.source.is_ipv6() => {
            adds_up(pseudo_header_sum(ip, transport.len()), &transport)
        }
        _ => true,
    }
}

/// Adds bytes to a sum.
#[inline]
fn add(sum: Sum, bytes: &Pieces<'_>) -> Sum {
    if bytes.is_one() { sum.add_slice(bytes.head()) } else { add_each(sum, bytes) }
}

/// A piece that begins at an odd place adds its bytes to the other halves of the words, which is
/// what swapping its own sum does (RFC 1071, 2, B).
#[cold]
fn add_each(mut sum: Sum, bytes: &Pieces<'_>) -> Sum {
    let mut is_odd = false;
    for piece in bytes.iter() {
        let own = !Sum::new().add_slice(piece).ones_complement();
        let own = if is_odd { own.swap_bytes() } else { own };
        sum = sum.add_2bytes(own.to_ne_bytes());
        is_odd ^= piece.len() % 2 == 1;
    }
    sum
}

/// The datagram without what follows the length in its header: options (RFC 9868) or nothing.
#[inline]
fn udp_datagram<'a>(transport: &Pieces<'a>) -> Option<Pieces<'a>> {
    let [high, low] = *transport.head().get(4..)?.first_chunk::<2>()?;
    transport.within(0, usize::from(u16::from_be_bytes([high, low])))
}

/// Whether the field holds the pseudo-header's sum: as it is, where a whole checksum would be
/// the complement of a sum.
#[inline]
fn is_partial(transport: &[u8], field_offset: usize, pseudo_header: &Sum) -> bool {
    let field = transport.get(field_offset..).and_then(|rest| rest.first_chunk::<2>());
    let partial = (!pseudo_header.ones_complement()).to_ne_bytes();
    field.is_some_and(|field| *field == partial)
}

/// Where the CRC stands in an SCTP packet.
const CRC: std::ops::Range<usize> = 8..12;

fn is_crc_right(packet: &Pieces<'_>) -> bool {
    packet.head().get(CRC).is_some_and(|field| crc_of(packet).is_some_and(|crc| field == crc))
}

/// The CRC of an SCTP packet as its field should hold it, whatever it holds.
fn crc_of(packet: &Pieces<'_>) -> Option<[u8; 4]> {
    let mut pieces = packet.iter();
    let head = pieces.next()?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(head.get(..CRC.start)?), &[0; 4]);
    let crc = crc32c::crc32c_append(crc, head.get(CRC.end..)?);
    Some(pieces.fold(crc, crc32c::crc32c_append).to_le_bytes())
}

/// Completes the checksum of a TCP or UDP packet whose field holds the pseudo-header's sum
/// alone, and computes that of every SCTP packet. Returns whether it wrote one.
///
/// A complete checksum can look like a partial one by chance; it is then computed to the same
/// value again. Nothing tells an SCTP packet without its CRC, so all are given theirs.
pub fn complete(frame: &mut [u8], packet: &Packet) -> bool {
    complete_in(frame, &[], packet)
}

/// As [`complete`], for a frame whose first piece is `head`, and `tail` those behind it. The
/// fields are all in the head.
pub fn complete_in(head: &mut [u8], tail: &[&[u8]], packet: &Packet) -> bool {
    let Some(ip) = packet.ip() else { return false };
    // A fragment holds a part of what the sum covers.
    if ip.fragment.is_some() {
        return false;
    }
    let field_offset = match ip.protocol {
        TCP => 16,
        UDP => 6,
        SCTP => {
            let crc = transport_of(head, tail, ip).and_then(|packet| crc_of(&packet));
            let field = ip.transport_offset + CRC.start..ip.transport_offset + CRC.end;
            return match (crc, head.get_mut(field)) {
                (Some(crc), Some(field)) => {
                    field.copy_from_slice(&crc);
                    true
                }
                _ => false,
            };
        }
        _ => return false,
    };
    let transport = transport_of(head, tail, ip);
    let covered = match ip.protocol {
        UDP => transport.and_then(|transport| udp_datagram(&transport)),
        _ => transport,
    };
    let Some(covered) = covered else { return false };
    let pseudo_header = pseudo_header_sum(ip, covered.len());
    if !is_partial(covered.head(), field_offset, &pseudo_header) {
        return false;
    }
    // The field counts as zero: what it holds is taken off again, which is adding its complement.
    let held = pseudo_header.ones_complement().to_ne_bytes();
    let sum = add(pseudo_header, &covered).add_2bytes(held);
    let checksum = if ip.protocol == UDP {
        // Zero would say that there is none (RFC 768).
        match sum.ones_complement() {
            0 => u16::MAX,
            other => other,
        }
    } else {
        sum.ones_complement()
    };
    let field_at = ip.transport_offset + field_offset;
    let Some(field) = head.get_mut(field_at..field_at + 2) else { return false };
    field.copy_from_slice(&checksum.to_ne_bytes());
    true
}

fn transport_of<'a>(head: &'a [u8], tail: &'a [&'a [u8]], ip: &Ip) -> Option<Pieces<'a>> {
    Pieces::new(head, tail).within(ip.transport_offset, ip.transport_len)
}

/// The sum over addresses, protocol and length (RFC 9293, 3.1; RFC 8200, 8.1).
fn pseudo_header_sum(ip: &Ip, len: usize) -> Sum {
    let len = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    let mut sum = Sum::new();
    sum = match (ip.source, ip.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            sum.add_4bytes(source.octets()).add_4bytes(destination.octets())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            sum.add_slice(&source.octets()).add_slice(&destination.octets())
        }
        _ => sum,
    };
    sum.add_4bytes(len).add_2bytes([0, ip.protocol])
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    proptest::proptest! {
        /// etherparse as a second opinion.
        #[test]
        fn a_sum_is_that_of_its_words(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
            more in proptest::array::uniform4(proptest::num::u8::ANY),
        ) {
            let theirs = |more: Option<[u8; 4]>| {
                let sum = etherparse::checksum::Sum16BitWords::new().add_slice(&bytes);
                more.into_iter().fold(sum, |mut sum, more| sum.add_4bytes(more)).ones_complement()
            };
            let ours = Sum::new().add_slice(&bytes);
            for (ours, theirs) in
                [(ours, theirs(None)), (ours.add_4bytes(more), theirs(Some(more)))]
            {
                proptest::prop_assert_eq!(ours.ones_complement(), theirs);
                proptest::prop_assert_eq!(ours.is_whole(), theirs == 0);
            }
        }
    }

    #[test]
    fn zeros_have_no_checksum_and_all_ones_are_their_own() {
        assert_eq!(Sum::new().add_slice(&[0; 40]).ones_complement(), 0xffff);
        assert!(!Sum::new().add_slice(&[0; 40]).is_whole());
        assert!(Sum::new().add_slice(&[0xff; 40]).is_whole());
    }

    fn build(v6: bool, tcp: bool, payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let builder = if v6 {
            builder.ipv6([0xfd; 16], [0xfe; 16], 64)
        } else {
            builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        };
        let mut frame = Vec::new();
        if tcp {
            builder.tcp(40000, 80, 7, 512).ack(1).write(&mut frame, payload).unwrap();
        } else {
            builder.udp(40000, 53).write(&mut frame, payload).unwrap();
        }
        frame
    }

    /// What the kernel leaves in the field: the folded sum, not its complement.
    fn make_partial(frame: &mut [u8]) -> usize {
        let packet = Packet::parse(frame).unwrap();
        let ip = packet.ip().unwrap();
        let offset = ip.transport_offset + if ip.protocol == TCP { 16 } else { 6 };
        let partial = !pseudo_header_sum(ip, ip.transport_len).ones_complement();
        frame[offset..offset + 2].copy_from_slice(&partial.to_ne_bytes());
        offset
    }

    #[test]
    fn a_partial_checksum_becomes_the_whole_one() {
        for v6 in [false, true] {
            for tcp in [false, true] {
                for len in [0, 1, 2, 999, 1400] {
                    let whole = build(v6, tcp, &vec![0xa5; len]);
                    let mut frame = whole.clone();
                    make_partial(&mut frame);
                    assert_ne!(frame, whole);
                    let packet = Packet::parse(&frame).unwrap();
                    assert!(complete(&mut frame, &packet));
                    assert_eq!(frame, whole, "v6 {v6} tcp {tcp} len {len}");
                }
            }
        }
    }

    /// Whether a frame's transport checksum passes, on a wire and where it has crossed none.
    fn is_whole(frame: &[u8]) -> (bool, bool) {
        let packet = Packet::parse(frame).unwrap();
        let ip = packet.ip().unwrap();
        (super::is_whole(frame, ip, false), super::is_whole(frame, ip, true))
    }

    #[test]
    fn a_whole_checksum_passes_a_wrong_one_does_not_and_a_partial_one_only_without_a_wire() {
        for v6 in [false, true] {
            for tcp in [false, true] {
                for len in [0, 1, 2, 999] {
                    let mut frame = build(v6, tcp, &vec![0xa5; len]);
                    frame.extend([0xee; 5]);
                    assert_eq!(is_whole(&frame), (true, true), "v6 {v6} tcp {tcp} len {len}");
                    let offset = make_partial(&mut frame);
                    assert_eq!(is_whole(&frame), (false, true));
                    frame[offset] ^= 0x40;
                    assert_eq!(is_whole(&frame), (false, false));
                }
            }
        }
    }

    #[test]
    fn what_follows_a_datagram_is_not_covered() {
        let mut frame = build(false, false, b"payload and more");
        // The datagram ends eight bytes before the packet does.
        frame[39] -= 8;
        let offset = make_partial(&mut frame);
        let packet = Packet::parse(&frame).unwrap();
        let partial = !pseudo_header_sum(packet.ip().unwrap(), 16).ones_complement();
        frame[offset..offset + 2].copy_from_slice(&partial.to_ne_bytes());
        assert_eq!(is_whole(&frame), (false, true));
        assert!(complete(&mut frame, &packet));
        assert_eq!(is_whole(&frame), (true, true));
    }

    #[test]
    fn only_ipv4_goes_without_a_udp_checksum() {
        for v6 in [false, true] {
            let mut frame = build(v6, false, b"x");
            let offset = make_partial(&mut frame);
            frame[offset..offset + 2].fill(0);
            assert_eq!(is_whole(&frame), (!v6, !v6));
        }
    }

    #[test]
    fn an_echo_that_does_not_add_up_is_told() {
        for v6 in [false, true] {
            let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
            let mut frame = Vec::new();
            if v6 {
                let builder = builder.ipv6([0xfd; 16], [0xfe; 16], 64);
                builder.icmpv6_echo_request(1, 2).write(&mut frame, b"ping").unwrap();
            } else {
                let builder = builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
                builder.icmpv4_echo_request(1, 2).write(&mut frame, b"ping").unwrap();
            }
            assert_eq!(is_whole(&frame), (true, true));
            *frame.last_mut().unwrap() ^= 1;
            assert_eq!(is_whole(&frame), (false, false));
        }
    }

    #[test]
    fn an_sctp_packet_is_given_its_crc() {
        // An INIT whose CRC was computed by another implementation, bit by bit.
        let sctp = [
            0x0b, 0x59, 0x0b, 0x59, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20, 0x11, 0x22, 0x33, 0x44, 0,
            1, 0, 0, 0, 5, 0, 5, 0xaa, 0xbb, 0xcc, 0xdd,
        ];
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 52];
        frame.extend([0, 0, 0x40, 0, 64, 132, 0x26, 0x44, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(sctp);
        frame.extend([0xee; 4]);
        let packet = Packet::parse(&frame).unwrap();
        assert_eq!(is_whole(&frame), (false, true), "none yet");
        assert!(complete(&mut frame, &packet));
        assert_eq!(is_whole(&frame), (true, true));
        assert_eq!(frame[42..46], bitwise_crc32c(&sctp).to_le_bytes());
        assert_eq!(frame[66..], [0xee; 4], "padding is not part of it");
    }

    /// RFC 9260, appendix A, without a table: the reflected polynomial 0x82f63b78.
    fn bitwise_crc32c(bytes: &[u8]) -> u32 {
        let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
        !bytes.iter().fold(u32::MAX, byte)
    }

    #[test]
    fn a_whole_checksum_is_left_alone_and_so_is_padding() {
        let whole = build(false, false, b"x");
        let mut frame = whole.clone();
        frame.extend([0xee; 17]);
        let packet = Packet::parse(&frame).unwrap();
        assert!(!complete(&mut frame, &packet));
        assert_eq!(frame[..whole.len()], whole);
        make_partial(&mut frame);
        assert!(complete(&mut frame, &packet));
        assert_eq!(frame[..whole.len()], whole);
        assert_eq!(frame[whole.len()..], [0xee; 17]);
    }
}
