//! Checksums, computed anew: to mend frames that were changed, and to look at those that leave.

use std::ops::Range;

use sluice_core::ports::{ICMP, ICMPV6, SCTP, TCP, UDP};

use crate::view::{Ip, View, word};

/// Puts right checksums into the IPv4 header and, where the whole of it is here, the transport.
pub(crate) fn mend(frame: &mut [u8]) {
    let Some(view) = View::of(frame) else { return };
    let Some(ip) = view.ip() else { return };
    if ip.source.is_ipv4() {
        let field = ip.header_at + 10..ip.header_at + 12;
        let sum = internet_sum(0, &without(frame, header(ip), &field));
        write(frame, field, &(!sum).to_be_bytes());
    }
    if let Some((field, right)) = of_transport(frame, ip) {
        write(frame, field, &right);
    }
}

/// Leaves in a TCP or UDP packet the sum over its pseudo-header, and in an SCTP packet none.
pub(crate) fn make_partial(frame: &mut [u8]) {
    let view = View::of(frame);
    let Some(ip) = view.as_ref().and_then(View::ip) else { return };
    let Some((field, _)) = of_transport(frame, ip) else { return };
    let sum = fold(pseudo_header_sum(ip, ip.transport.len())).to_be_bytes();
    match ip.protocol {
        TCP | UDP => write(frame, field, &sum),
        SCTP => write(frame, field, &[0; 4]),
        _ => {}
    }
}

/// Whether IPv4 header and transport add up, as far as the whole of them is here.
pub(crate) fn add_up(frame: &[u8], ip: &Ip) -> bool {
    if ip.source.is_ipv4() && internet_sum(0, frame.get(header(ip)).unwrap_or_default()) != 0xffff {
        return false;
    }
    let Some((field, right)) = of_transport(frame, ip) else { return true };
    let found = frame.get(field).unwrap_or_default();
    // A sum of zero has two forms; in UDP over IPv4 the one of them says that there is none.
    let zeros: [&[u8]; 2] = [&[0, 0], &[0xff, 0xff]];
    let has_none = ip.protocol == UDP && ip.source.is_ipv4() && found == zeros[0];
    has_none || found == right || (zeros.contains(&found) && zeros.contains(&&*right))
}

/// The frame with a hole where the transport's checksum stands, for what may change there.
pub(crate) fn without_transport_sum(frame: &[u8]) -> Vec<u8> {
    let mut masked = frame.to_vec();
    let view = View::of(frame);
    let field = view.as_ref().and_then(View::ip).and_then(|ip| of_transport(frame, ip));
    if let Some((field, right)) = field {
        write(&mut masked, field, &vec![0; right.len()]);
    }
    masked
}

/// Where the checksum of a whole transport stands, and what it should be. `None` for fragments,
/// for protocols without one, and for what is too short.
fn of_transport(frame: &[u8], ip: &Ip) -> Option<(Range<usize>, Vec<u8>)> {
    if ip.piece.is_some() {
        return None;
    }
    let mut covered = ip.transport.clone();
    let (offset, len) = match (ip.protocol, ip.source.is_ipv4()) {
        (TCP, _) => (16, 2),
        (UDP, _) => (6, 2),
        (SCTP, _) => (8, 4),
        (ICMP, true) | (ICMPV6, false) => (2, 2),
        _ => return None,
    };
    if ip.protocol == UDP {
        let udp_len = word(frame, covered.start + 4)?;
        covered.end = covered.end.min(covered.start + usize::from(udp_len));
    }
    let field = covered.start + offset..covered.start + offset + len;
    if field.end > covered.end || covered.end > frame.len() {
        return None;
    }
    let bytes = without(frame, covered, &field);
    let right = match ip.protocol {
        SCTP => crc32c(&bytes).to_le_bytes().to_vec(),
        ICMP => (!internet_sum(0, &bytes)).to_be_bytes().to_vec(),
        _ => match !internet_sum(pseudo_header_sum(ip, bytes.len()), &bytes) {
            0 if ip.protocol == UDP => vec![0xff, 0xff],
            sum => sum.to_be_bytes().to_vec(),
        },
    };
    Some((field, right))
}

fn header(ip: &Ip) -> Range<usize> {
    ip.header_at..ip.transport.start
}

/// The bytes of a range of the frame, those of `field` being zero.
fn without(frame: &[u8], range: Range<usize>, field: &Range<usize>) -> Vec<u8> {
    let start = range.start;
    let mut bytes = frame.get(range).unwrap_or_default().to_vec();
    let hole = field.start.checked_sub(start).map(|at| at..at + field.len());
    if let Some(hole) = hole.and_then(|hole| bytes.get_mut(hole)) {
        hole.fill(0);
    }
    bytes
}

fn write(frame: &mut [u8], field: Range<usize>, bytes: &[u8]) {
    if let Some(place) = frame.get_mut(field) {
        place.copy_from_slice(bytes);
    }
}

/// RFC 1071, two bytes at a time.
fn internet_sum(start: u32, bytes: &[u8]) -> u16 {
    let pairs = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    fold(start + pairs.sum::<u32>())
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or_default()
}

fn pseudo_header_sum(ip: &Ip, len: usize) -> u32 {
    let address = |address| match address {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let sums = [ip.source, ip.destination].map(|it| u32::from(internet_sum(0, &address(it))));
    sums.iter().sum::<u32>() + u32::from(ip.protocol) + u32::try_from(len).unwrap_or_default()
}

/// RFC 9260, appendix A, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    !bytes.iter().fold(u32::MAX, byte)
}
