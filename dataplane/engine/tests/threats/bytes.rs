//! How packets become bytes.

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, TcpHeader};
use sluice_core::ports::{ICMP, ICMPV6, SCTP, TCP, UDP};

use crate::cast::Cast;
use crate::packets::{Body, Build, Bytes, End, Packet, Piece, Tcp};

const FRAGMENT: u8 = 44;

impl Build for Packet {
    fn frame(&self, cast: Cast) -> Vec<u8> {
        let mac = |end: &End| end.mac.unwrap_or_else(|| cast.mac(&end.name));
        let mut bytes = [mac(&self.destination).0, mac(&self.source).0].concat();
        bytes.extend(self.tags.concat());
        bytes.extend(if self.v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
        bytes.extend(self.ip(cast));
        bytes.extend(vec![0; self.padding]);
        for edit in &self.edits {
            edit(&mut bytes);
        }
        bytes
    }
}

impl Packet {
    /// The IP packet, from its first byte on.
    pub(crate) fn ip(&self, cast: Cast) -> Vec<u8> {
        let mut payload = self.payload(cast);
        if let Some(piece) = &self.piece {
            payload = piece.cut(payload);
        }
        let mut bytes = if self.v6 { self.ipv6(cast, &payload) } else { self.ipv4(cast, &payload) };
        for edit in &self.ip_edits {
            edit(&mut bytes);
            if !self.v6 {
                fix_ipv4_checksum(&mut bytes);
            }
        }
        bytes
    }

    /// What fragments are cut from: transport header, data, and extension headers before them.
    fn payload(&self, cast: Cast) -> Vec<u8> {
        let (protocol, transport) = self.transport(cast);
        let mut bytes = Vec::new();
        append_extensions(&mut bytes, &self.inner_extensions, protocol);
        bytes.extend(transport);
        bytes
    }

    fn ends(&self, cast: Cast) -> (IpAddr, IpAddr) {
        let of = |end: &End| end.address.unwrap_or_else(|| cast.address(&end.name, self.v6));
        (of(&self.source), of(&self.destination))
    }

    fn ipv4(&self, cast: Cast, payload: &[u8]) -> Vec<u8> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = self.ends(cast) else {
            panic!("an IPv6 address in IPv4")
        };
        let protocol = IpNumber(self.transport(cast).0);
        let len = u16::try_from(payload.len()).unwrap();
        let (source, destination) = (source.octets(), destination.octets());
        let header = Ipv4Header::new(len, self.hop_limit, protocol, source, destination);
        let mut header = header.unwrap();
        header.options = Ipv4Options::try_from(&self.options[..]).unwrap();
        header.set_payload_len(payload.len()).unwrap();
        header.dont_fragment = self.piece.is_none();
        if let Some(piece) = &self.piece {
            let units = u16::try_from(piece.offset / 8).unwrap();
            header.fragment_offset = IpFragOffset::try_new(units).unwrap();
            header.more_fragments = piece.more;
            header.identification = u16::try_from(self.id & 0xffff).unwrap();
        }
        header.header_checksum = header.calc_header_checksum();
        [&header.to_bytes()[..], payload].concat()
    }

    fn ipv6(&self, cast: Cast, payload: &[u8]) -> Vec<u8> {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = self.ends(cast) else {
            panic!("an IPv4 address in IPv6")
        };
        let mut extensions = self.extensions.clone();
        if let Some(piece) = &self.piece {
            let place = u16::try_from(piece.offset).unwrap() | u16::from(piece.more);
            let header = [&[0, 0][..], &place.to_be_bytes(), &self.id.to_be_bytes()].concat();
            extensions.push((FRAGMENT, header));
        }
        let inner = self.inner_extensions.first().map(|(protocol, _)| *protocol);
        let behind = inner.unwrap_or_else(|| self.transport(cast).0);
        let mut chain = Vec::new();
        append_extensions(&mut chain, &extensions, behind);
        let len = u16::try_from(chain.len() + payload.len()).unwrap();
        let first = extensions.first().map_or(behind, |(protocol, _)| *protocol);
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(len.to_be_bytes());
        bytes.extend([first, self.hop_limit]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(chain);
        bytes.extend(payload);
        bytes
    }

    /// The protocol, and the transport header with all that it carries.
    fn transport(&self, cast: Cast) -> (u8, Vec<u8>) {
        let ports = [self.source.port.to_be_bytes(), self.destination.port.to_be_bytes()].concat();
        let icmp = if self.v6 { ICMPV6 } else { ICMP };
        let (protocol, checksum_at, mut bytes) = match &self.body {
            Body::Tcp(tcp) => (TCP, 16, tcp.bytes(self.source.port, self.destination.port)),
            Body::Udp(data) => {
                let len = u16::try_from(8 + data.len()).unwrap().to_be_bytes();
                (UDP, 6, [&ports[..], &len, &[0, 0], data].concat())
            }
            Body::Sctp { tag, chunks } => {
                (SCTP, 8, [&ports[..], &tag.to_be_bytes(), &[0; 4], chunks].concat())
            }
            Body::Icmp { kind, code, word, data } => {
                (icmp, 2, [&[*kind, *code, 0, 0][..], word, data].concat())
            }
            Body::IcmpError { kind, code, word, quoted } => {
                let quoted = quoted.ip(cast);
                (icmp, 2, [&[*kind, *code, 0, 0][..], word, &quoted].concat())
            }
            Body::Opaque { protocol, data } => return (*protocol, data.clone()),
        };
        for edit in &self.transport_edits {
            edit(&mut bytes);
        }
        if protocol == SCTP {
            bytes[8..12].fill(0);
            let crc = crc32c::crc32c(&bytes).to_le_bytes();
            bytes[8..12].copy_from_slice(&crc);
        } else {
            bytes[checksum_at..checksum_at + 2].fill(0);
            let mut sum = Sum16BitWords::new();
            if protocol != ICMP {
                sum = self.pseudo_header(cast, protocol, bytes.len());
            }
            let sum = sum.add_slice(&bytes).to_ones_complement_with_no_zero();
            bytes[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_ne_bytes());
        }
        (protocol, bytes)
    }

    fn pseudo_header(&self, cast: Cast, protocol: u8, len: usize) -> Sum16BitWords {
        let mut sum = match self.ends(cast) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Sum16BitWords::new().add_4bytes(source.octets()).add_4bytes(destination.octets())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                Sum16BitWords::new().add_16bytes(source.octets()).add_16bytes(destination.octets())
            }
            _ => panic!("both IPv4 and IPv6"),
        };
        sum.add_4bytes(u32::try_from(len).unwrap().to_be_bytes()).add_2bytes([0, protocol])
    }
}

impl Tcp {
    fn bytes(&self, source: u16, destination: u16) -> Vec<u8> {
        let mut header = TcpHeader::new(source, destination, self.sequence, self.window);
        header.acknowledgment_number = self.acknowledgement;
        let has = |flag| self.flags.contains(flag);
        (header.syn, header.ack, header.fin) = (has('S'), has('A'), has('F'));
        (header.rst, header.psh, header.urg) = (has('R'), has('P'), has('U'));
        [&header.to_bytes()[..], &self.data].concat()
    }
}

impl Piece {
    fn cut(&self, payload: Vec<u8>) -> Vec<u8> {
        match &self.bytes {
            Bytes::Own(len) => payload.into_iter().skip(self.offset).take(*len).collect(),
            Bytes::Forged(bytes) => bytes.clone(),
        }
    }
}

/// Appends extension headers, each naming the one behind it, the last `behind`.
fn append_extensions(bytes: &mut Vec<u8>, extensions: &[(u8, Vec<u8>)], behind: u8) {
    let next = extensions.iter().skip(1).map(|(protocol, _)| *protocol).chain([behind]);
    for ((_, header), next) in extensions.iter().zip(next) {
        bytes.push(next);
        bytes.extend(&header[1..]);
    }
}

fn fix_ipv4_checksum(bytes: &mut [u8]) {
    let len = (usize::from(bytes[0] & 0x0f) * 4).min(bytes.len());
    if len < 12 {
        return;
    }
    bytes[10..12].fill(0);
    let sum = Sum16BitWords::new().add_slice(&bytes[..len]).ones_complement();
    bytes[10..12].copy_from_slice(&sum.to_ne_bytes());
}
