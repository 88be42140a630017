//! What the frames of a load look like, and the record of it that bpf/load.bpf.c reads.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use clap::ValueEnum;
use etherparse::PacketBuilder;

use crate::rig::BenchError;

pub(crate) const DESTINATION_PORT: u16 = 53;

/// Frame sizes of RFC 2544 (but 1280), in bytes with the frame check sequence.
pub(crate) const SIZES: [u16; 6] = [64, 128, 256, 512, 1024, 1518];

/// Flows differ in this many bits of their source port, beside which they differ in their source.
const PORT_BITS: u32 = 15;
/// Sources, and so flows, at most.
const SOURCES_MAX: u32 = 1024;
pub(crate) const FLOWS_MAX: u32 = SOURCES_MAX << PORT_BITS;
/// Flows at most that a load names one by one.
pub(crate) const LISTED_FLOWS_MAX: usize = 4096;

const FCS_LEN: u16 = 4;
const ETHERNET_LEN: usize = 14;
const UDP_LEN: usize = 8;
const PAYLOAD_LEN_MIN: usize = 12;
const MARK: u32 = 0x6563_7553;

/// Of the program's structures.
pub(super) const KINDS_MAX: usize = 16;
const HEADER_LEN: usize = 64;
const KIND_LEN: usize = 16 + HEADER_LEN;
pub(super) const RECORD_LEN: usize = 40 + KINDS_MAX * KIND_LEN;

/// The family of all addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Family {
    /// IPv4.
    #[value(name = "4")]
    V4,
    /// IPv6.
    #[value(name = "6")]
    V6,
}

/// How long frames are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// All of one size in bytes, with the frame check sequence.
    Of(u16),
    /// Seven of 64 bytes, four of 570, one of 1518.
    Imix,
}

/// What a load consists of: UDP, in flows that take turns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) family: Family,
    pub(crate) sizes: Sizes,
    /// At most [`FLOWS_MAX`].
    pub(crate) flows: u32,
}

/// Between whom the frames of a load go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) source_mac: [u8; 6],
    pub(crate) destination_mac: [u8; 6],
    /// The first source; others follow it.
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
}

/// How often, how many, and in which flows: what the program is told beside the shape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) interval_ns: u64,
    pub(super) frames: u64,
    /// Flows in turn, of which so many are listed; 0: none is, they are numbered.
    pub(super) flows: u32,
    pub(super) listed: u32,
}

/// How many sources so many flows have.
pub(crate) fn sources(flows: u32) -> u32 {
    flows.saturating_sub(1) / (1 << PORT_BITS) + 1
}

impl Default for Shape {
    fn default() -> Self {
        Self { family: Family::V4, sizes: Sizes::Of(64), flows: 1000 }
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let size = text.parse().ok().filter(|size| (64..=1518).contains(size)).map(Self::Of);
        let wrong = || format!("{text} is no size of frames: want 64 to 1518 bytes, or imix");
        if text == "imix" { Ok(Self::Imix) } else { size.ok_or_else(wrong) }
    }
}

impl Sizes {
    /// One frame of each kind, in the order in which they take turns.
    fn cycle(self) -> Vec<u16> {
        match self {
            Self::Of(size) => vec![size],
            Self::Imix => vec![64, 570, 64, 64, 570, 64, 1518, 64, 570, 64, 64, 570],
        }
    }
}

impl Shape {
    /// Bytes of a frame without the frame check sequence. The shortest IPv6 frame has more than 60.
    fn len(&self, size: u16) -> usize {
        let shortest = self.header_len() + PAYLOAD_LEN_MIN;
        usize::from(size.saturating_sub(FCS_LEN)).max(shortest)
    }

    /// The number of the flow with a source port, if it is the first source's.
    pub(crate) fn flow_of_port(port: u16) -> u32 {
        u32::from(port) & ((1 << PORT_BITS) - 1)
    }

    fn ip_len(&self) -> usize {
        match self.family {
            Family::V4 => 20,
            Family::V6 => 40,
        }
    }

    fn header_len(&self) -> usize {
        ETHERNET_LEN + self.ip_len() + UDP_LEN
    }

    /// The longest frame, which the program cuts others from, and the record.
    pub(super) fn record(
        &self,
        ends: &Ends,
        plan: &Plan,
    ) -> Result<(Vec<u8>, [u8; RECORD_LEN]), BenchError> {
        let lens: Vec<usize> = self.sizes.cycle().iter().map(|size| self.len(*size)).collect();
        let len_max = lens.iter().copied().max().unwrap_or_default();
        let mut bytes = Vec::with_capacity(RECORD_LEN);
        bytes.extend([plan.interval_ns, plan.frames].into_iter().flat_map(u64::to_ne_bytes));
        let is_v6 = u32::from(self.family == Family::V6);
        let (kinds_len, len_max) = (lens.len() as u32, len_max as u32);
        let words = [plan.flows, plan.listed, kinds_len, len_max, is_v6, 0];
        bytes.extend(words.into_iter().flat_map(u32::to_ne_bytes));
        for len in lens {
            bytes.extend(self.kind(ends, len)?);
        }
        let mut record = [0; RECORD_LEN];
        for (place, byte) in record.iter_mut().zip(bytes) {
            *place = byte;
        }
        Ok((vec![0; len_max as usize], record))
    }

    /// A frame of this length, as the program wants it: with zeros where frames differ, and the
    /// sums of the rest.
    fn kind(&self, ends: &Ends, len: usize) -> Result<Vec<u8>, BenchError> {
        let mut frame = Vec::new();
        let payload = vec![0; len - self.header_len()];
        let builder = PacketBuilder::ethernet2(ends.source_mac, ends.destination_mac);
        let builder = match (ends.source, ends.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                builder.ipv4(network(from).octets(), to.octets(), 64)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                builder.ipv6(network_v6(from).octets(), to.octets(), 64)
            }
            _ => return Err(BenchError::Failed("a flow between two families".to_owned())),
        };
        builder
            .udp(0, DESTINATION_PORT)
            .write(&mut frame, &payload)
            .map_err(BenchError::failed("building a frame"))?;
        let udp_at = ETHERNET_LEN + self.ip_len();
        let mut blank = |at: usize| {
            for byte in frame.iter_mut().skip(at).take(2) {
                *byte = 0;
            }
        };
        blank(udp_at + 6);
        if self.family == Family::V4 {
            blank(ETHERNET_LEN + 10);
        }
        frame.truncate(self.header_len());
        let ip = frame.get(ETHERNET_LEN..udp_at).unwrap_or_default();
        let (ip_sum, addresses_at) = match self.family {
            Family::V4 => (sum(ip), 12),
            Family::V6 => (0, 8),
        };
        // The pseudo header: addresses, protocol, and the length, which is in the header, too.
        let udp_len = u16::try_from(len - udp_at).unwrap_or(u16::MAX);
        let pseudo = [[0, 17], udp_len.to_be_bytes()].concat();
        let udp_sum = sum(ip.get(addresses_at..).unwrap_or_default())
            + sum(&pseudo)
            + sum(frame.get(udp_at..).unwrap_or_default())
            + sum(&MARK.to_ne_bytes());
        let mut kind: Vec<u8> =
            [len as u32, ip_sum, udp_sum, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        kind.extend(frame);
        kind.resize(KIND_LEN, 0);
        Ok(kind)
    }
}

/// The sum of 16-bit words as they lie in memory, not folded (RFC 1071).
fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| {
            let at = |place: usize| pair.get(place).copied().unwrap_or_default();
            u32::from(u16::from_ne_bytes([at(0), at(1)]))
        })
        .sum()
}

/// An address whose last two bytes the program fills in.
fn network(address: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(address) & !0xffff)
}

fn network_v6(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(address) & !0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imix_is_seven_to_four_to_one() {
        let cycle = Sizes::Imix.cycle();
        let count = |size| cycle.iter().filter(|it| **it == size).count();
        assert_eq!((count(64), count(570), count(1518), cycle.len()), (7, 4, 1, 12));
        assert!(cycle.len() <= KINDS_MAX);
    }

    #[test]
    fn sizes_are_read_from_text() {
        assert_eq!("imix".parse(), Ok(Sizes::Imix));
        assert_eq!("64".parse(), Ok(Sizes::Of(64)));
        for wrong in ["63", "1519", "IMIX", "", "-64"] {
            assert!(wrong.parse::<Sizes>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_source_has_so_many_ports() {
        assert_eq!([0, 1, 32_768, 32_769, FLOWS_MAX].map(sources), [1, 1, 1, 2, SOURCES_MAX]);
    }

    #[test]
    fn the_shortest_ipv6_frame_is_longer_than_the_shortest_of_ipv4() {
        let shape = |family| Shape { family, ..Shape::default() };
        assert_eq!((shape(Family::V4).len(64), shape(Family::V6).len(64)), (60, 74));
        assert_eq!((shape(Family::V4).len(1518), shape(Family::V6).len(1518)), (1514, 1514));
    }
}
