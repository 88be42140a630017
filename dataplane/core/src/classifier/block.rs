//! Eight rules side by side, compared at once.
//!
//! Addresses lie as halves of 32-bit words, so that every comparison is one of 16-bit lanes and
//! the compiler makes vector instructions of it on every machine.

use std::net::IpAddr;

use ipnet::IpNet;
use wide::u16x8;

use super::tree::Link;
use super::{Key, PortRange, Rule};
use crate::ports::Rank;

/// Rules in a block.
pub(super) const LANES: usize = 8;

/// The ranks of a block's lanes, and that of no lane.
const RANKS_LEN: usize = LANES + 1;

/// Where a key has its fields, in words of 32 bits; an IPv4 address is the first of its four.
pub(super) const SOURCE: usize = 0;
pub(super) const DESTINATION: usize = 4;
pub(super) const SOURCE_PORT: usize = 8;
pub(super) const DESTINATION_PORT: usize = 9;
pub(super) const PROTOCOL: usize = 10;
/// [`NEEDS_PORTS`] if the packet shows none: what a rule must not have.
const LACKS: usize = 11;
/// Words of a key.
const WORDS: usize = 16;

/// A packet's five tuple.
pub(super) type Words = [u32; WORDS];

/// In the field of the protocol: any will do.
const ANY_PROTOCOL: u16 = 1 << 15;
/// In the field of the protocol: only packets with ports.
const NEEDS_PORTS: u16 = 1 << 14;
/// In the field of the protocol: there is no rule in this lane.
const VOID: u16 = 1 << 13;

/// No rank: that of a lane without a rule.
pub(super) const NO_RANK: u32 = u32::MAX;

/// A rule of one family, whose addresses have `A` words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<const A: usize> {
    pub(super) source: Prefix<A>,
    pub(super) destination: Prefix<A>,
    pub(super) source_ports: PortRange,
    pub(super) destination_ports: PortRange,
    /// The protocol with its flags.
    protocol: u16,
    pub(super) rank: u32,
}

/// Bits of an address and which of them count; those that do not are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix<const A: usize> {
    bits: [u32; A],
    mask: [u32; A],
}

/// One half-word of eight rules.
type Lanes = u16x8;

/// Some rules, the lowest rank first.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(super) struct Block<const A: usize> {
    source: [[Lanes; 4]; A],
    destination: [[Lanes; 4]; A],
    source_ports: [Lanes; 2],
    destination_ports: [Lanes; 2],
    protocol: Lanes,
    /// By lane; the last is that of no lane, so that a miss needs no branch.
    ranks: [u32; RANKS_LEN],
    /// What comes behind it: a reference to a block, or to nothing.
    pub(super) next: Link,
}

/// A key with each of its fields once for each lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread<const A: usize> {
    source: [[Lanes; 2]; A],
    destination: [[Lanes; 2]; A],
    source_port: Lanes,
    destination_port: Lanes,
    protocol: Lanes,
    /// Flags of rules that do not match.
    refused: Lanes,
}

impl Entry<1> {
    /// The rule as it concerns IPv4, if it does.
    pub(super) fn v4(rank: Rank, rule: &Rule) -> Option<Self> {
        let prefix = |net: Option<IpNet>| match net {
            None => Some(Prefix { bits: [0], mask: [0] }),
            Some(IpNet::V4(net)) => {
                Some(Prefix { bits: [net.network().into()], mask: [net.netmask().into()] })
            }
            Some(IpNet::V6(_)) => None,
        };
        Self::of(rank, rule, prefix(rule.source)?, prefix(rule.destination)?)
    }
}

impl Entry<4> {
    /// The rule as it concerns IPv6, if it does.
    pub(super) fn v6(rank: Rank, rule: &Rule) -> Option<Self> {
        let prefix = |net: Option<IpNet>| match net {
            None => Some(Prefix { bits: [0; 4], mask: [0; 4] }),
            Some(IpNet::V6(net)) => Some(Prefix {
                bits: split(net.network().into()),
                mask: split(net.netmask().into()),
            }),
            Some(IpNet::V4(_)) => None,
        };
        Self::of(rank, rule, prefix(rule.source)?, prefix(rule.destination)?)
    }
}

/// A key as the tree reads it.
#[inline]
pub(super) fn words(key: &Key) -> Words {
    let address = |address: IpAddr| match address {
        IpAddr::V4(v4) => [v4.into(), 0, 0, 0],
        IpAddr::V6(v6) => split(v6.into()),
    };
    let [s0, s1, s2, s3] = address(key.source);
    let [d0, d1, d2, d3] = address(key.destination);
    let (source_port, destination_port, lacks) = match key.ports {
        Some(ports) => (ports.source.into(), ports.destination.into(), 0),
        None => (0, 0, NEEDS_PORTS.into()),
    };
    let protocol = key.protocol.into();
    [s0, s1, s2, s3, d0, d1, d2, d3, source_port, destination_port, protocol, lacks, 0, 0, 0, 0]
}

/// An IPv6 address in words, the first bits first.
#[inline]
fn split(address: u128) -> [u32; 4] {
    [96, 64, 32, 0].map(|shift| low_word(address >> shift))
}

#[inline]
fn low_word(wide: u128) -> u32 {
    u32::try_from(wide & u128::from(u32::MAX)).unwrap_or(0)
}

impl<const A: usize> Entry<A> {
    fn of(rank: Rank, rule: &Rule, source: Prefix<A>, destination: Prefix<A>) -> Option<Self> {
        let is_empty = |range: Option<PortRange>| range.is_some_and(|it| it.first > it.last);
        if is_empty(rule.source_ports) || is_empty(rule.destination_ports) {
            return None;
        }
        let needs_ports = rule.source_ports.is_some() || rule.destination_ports.is_some();
        Some(Self {
            source,
            destination,
            source_ports: rule.source_ports.unwrap_or(PortRange::ALL),
            destination_ports: rule.destination_ports.unwrap_or(PortRange::ALL),
            protocol: rule.protocol.map_or(ANY_PROTOCOL, u16::from)
                | if needs_ports { NEEDS_PORTS } else { 0 },
            rank: rank.0,
        })
    }

    /// The values that the rule admits in a word of a key: the first and the last, and perhaps
    /// others than it admits between them.
    #[inline]
    pub(super) fn range(&self, word: usize) -> (u32, u32) {
        let of = |prefix: &Prefix<A>, at: usize| {
            let bits = prefix.bits.get(at).copied().unwrap_or(0);
            (bits, bits | !prefix.mask.get(at).copied().unwrap_or(0))
        };
        let ports = |range: PortRange| (range.first.into(), range.last.into());
        match word {
            SOURCE..DESTINATION => of(&self.source, word - SOURCE),
            DESTINATION..SOURCE_PORT => of(&self.destination, word - DESTINATION),
            SOURCE_PORT => ports(self.source_ports),
            DESTINATION_PORT => ports(self.destination_ports),
            _ if self.protocol & ANY_PROTOCOL != 0 => (0, 0xff),
            _ => (u32::from(self.protocol & 0xff), u32::from(self.protocol & 0xff)),
        }
    }
}

impl<const A: usize> Block<A> {
    /// A block without rules.
    pub(super) const EMPTY: Self = Self {
        source: [[Lanes::ZERO; 4]; A],
        destination: [[Lanes::ZERO; 4]; A],
        source_ports: [Lanes::ZERO; 2],
        destination_ports: [Lanes::ZERO; 2],
        protocol: Lanes::new([VOID; LANES]),
        ranks: [NO_RANK; RANKS_LEN],
        next: Link::NOTHING,
    };

    /// The rank of the first rule, [`NO_RANK`] if there is none.
    #[inline]
    pub(super) fn first_rank(&self) -> u32 {
        let [first, ..] = self.ranks;
        first
    }

    /// The rank of the first rule that matches, or [`NO_RANK`].
    #[inline]
    pub(super) fn first_match(&self, key: &Spread<A>) -> u32 {
        let want = self.protocol;
        let protocol = (want ^ key.protocol)
            & Lanes::splat(0xff)
            & (want & Lanes::splat(ANY_PROTOCOL)).simd_eq(Lanes::ZERO);
        let misses = protocol
            | (want & key.refused)
            | miss_address(&self.source, &key.source)
            | miss_address(&self.destination, &key.destination)
            | miss_range(&self.source_ports, key.source_port)
            | miss_range(&self.destination_ports, key.destination_port);
        let hits = misses.simd_eq(Lanes::ZERO).to_bitmask() | 1 << LANES;
        // A miss has the last rank, so there is no branch to guess.
        self.ranks.get(hits.trailing_zeros() as usize).copied().unwrap_or(NO_RANK)
    }

    /// Puts a rule into a lane.
    pub(super) fn set(&mut self, lane: usize, entry: &Entry<A>) {
        set_prefix(&mut self.source, lane, &entry.source);
        set_prefix(&mut self.destination, lane, &entry.destination);
        set_range(&mut self.source_ports, lane, entry.source_ports);
        set_range(&mut self.destination_ports, lane, entry.destination_ports);
        if let (Some(protocol), Some(rank)) =
            (self.protocol.as_mut_array().get_mut(lane), self.ranks.get_mut(lane))
        {
            *protocol = entry.protocol;
            *rank = entry.rank;
        }
    }

    /// The rules, the lowest rank first.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<A>> {
        let lanes = self.protocol.as_array().iter().zip(&self.ranks).enumerate();
        lanes.filter(|(_, (protocol, _))| **protocol & VOID == 0).map(
            |(lane, (&protocol, &rank))| Entry {
                source: prefix(&self.source, lane),
                destination: prefix(&self.destination, lane),
                source_ports: range(&self.source_ports, lane),
                destination_ports: range(&self.destination_ports, lane),
                protocol,
                rank,
            },
        )
    }
}

/// The upper half, the lower half.
#[inline]
fn halves(word: u32) -> [u16; 2] {
    let [a, b, c, d] = word.to_be_bytes();
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

#[inline]
fn miss_address<const A: usize>(address: &[[Lanes; 4]; A], key: &[[Lanes; 2]; A]) -> Lanes {
    let mut misses = Lanes::ZERO;
    for (&[upper, upper_mask, lower, lower_mask], &[upper_key, lower_key]) in
        address.iter().zip(key)
    {
        misses |= ((upper_key & upper_mask) ^ upper) | ((lower_key & lower_mask) ^ lower);
    }
    misses
}

#[inline]
fn miss_range([first, last]: &[Lanes; 2], port: Lanes) -> Lanes {
    first.saturating_sub(port) | port.saturating_sub(*last)
}

impl<const A: usize> Spread<A> {
    #[inline]
    pub(super) fn new(key: &Words) -> Self {
        let address = |from: usize| {
            std::array::from_fn(|at| {
                halves(key.get(from + at).copied().unwrap_or(0)).map(Lanes::splat)
            })
        };
        let lower = |at: usize| Lanes::splat(halves(key.get(at).copied().unwrap_or(0))[1]);
        Self {
            source: address(SOURCE),
            destination: address(DESTINATION),
            source_port: lower(SOURCE_PORT),
            destination_port: lower(DESTINATION_PORT),
            protocol: lower(PROTOCOL),
            refused: lower(LACKS) | Lanes::splat(VOID),
        }
    }
}

fn set_prefix<const A: usize>(at: &mut [[Lanes; 4]; A], lane: usize, prefix: &Prefix<A>) {
    for (lanes, (&bits, &mask)) in at.iter_mut().zip(prefix.bits.iter().zip(&prefix.mask)) {
        let ([upper, lower], [upper_mask, lower_mask]) = (halves(bits), halves(mask));
        for (lanes, value) in lanes.iter_mut().zip([upper, upper_mask, lower, lower_mask]) {
            set_lane(lanes, lane, value);
        }
    }
}

fn set_range(at: &mut [Lanes; 2], lane: usize, range: PortRange) {
    for (lanes, value) in at.iter_mut().zip([range.first, range.last]) {
        set_lane(lanes, lane, value);
    }
}

fn set_lane(lanes: &mut Lanes, lane: usize, value: u16) {
    if let Some(at) = lanes.as_mut_array().get_mut(lane) {
        *at = value;
    }
}

fn prefix<const A: usize>(at: &[[Lanes; 4]; A], lane: usize) -> Prefix<A> {
    let word = |upper: &Lanes, lower: &Lanes| {
        (u32::from(lane_of(upper, lane)) << 16) | u32::from(lane_of(lower, lane))
    };
    Prefix {
        bits: at.each_ref().map(|[upper, _, lower, _]| word(upper, lower)),
        mask: at.each_ref().map(|[_, upper, _, lower]| word(upper, lower)),
    }
}

fn range(at: &[Lanes; 2], lane: usize) -> PortRange {
    let [first, last] = at;
    PortRange { first: lane_of(first, lane), last: lane_of(last, lane) }
}

fn lane_of(lanes: &Lanes, lane: usize) -> u16 {
    lanes.as_array().get(lane).copied().unwrap_or(0)
}
