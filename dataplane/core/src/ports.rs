//! Which protocols and ports some rules speak of, and which rule comes first for each.
//!
//! A [`PortSet`] is immutable and answers with a binary search over disjoint ranges. It never holds
//! addresses: peers and ports are kept apart so that neither multiplies the other. Policy sets are
//! made of port sets ([`crate::table::PolicySet`]); packets are judged by what they become there.

use std::collections::BTreeSet;

/// An IP protocol number as IANA assigns it.
pub type Protocol = u8;

/// ICMP for IPv4 (RFC 792).
pub const ICMP: Protocol = 1;
/// TCP (RFC 9293).
pub const TCP: Protocol = 6;
/// UDP (RFC 768).
pub const UDP: Protocol = 17;
/// ICMP for IPv6 (RFC 4443).
pub const ICMPV6: Protocol = 58;
/// SCTP (RFC 9260).
pub const SCTP: Protocol = 132;

/// What one rule says about ports, before it is merged into a [`PortSet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortMatch {
    /// Every protocol, with or without ports.
    Any,
    /// A protocol and an inclusive range of destination ports.
    Range {
        /// The protocol that must be equal.
        protocol: Protocol,
        /// The first port admitted.
        first: u16,
        /// The last port admitted, not below `first`.
        last: u16,
    },
}

/// The place of a rule in its policy set: of several that match, the lowest decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank(pub u32);

impl Rank {
    /// The place that it counts to.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The union of what several rules speak of. Built once, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PortSet {
    any: Option<Rank>,
    ranges: Box<[PortRange]>,
}

/// A range of one protocol, disjoint from its neighbours, and the first rule that speaks of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct PortRange {
    protocol: Protocol,
    first: u16,
    last: u16,
    rank: Rank,
}

impl PortSet {
    /// Merges the entries. Where several rules speak of one port, the lowest rank is kept.
    #[must_use]
    pub fn new(entries: &[(PortMatch, Rank)]) -> Self {
        let any = entries.iter().filter(|(it, _)| *it == PortMatch::Any).map(|(_, rank)| *rank);
        let any = any.min();
        let ranges = entries.iter().filter_map(|&(port_match, rank)| match port_match {
            // What comes after a rule for everything is never asked.
            PortMatch::Range { protocol, first, last } if any.is_none_or(|any| rank < any) => {
                Some(PortRange { protocol, first, last, rank })
            }
            _ => None,
        });
        Self { any, ranges: disjoint(ranges.collect()).into_boxed_slice() }
    }

    /// The first rule that speaks of `protocol` and destination `port`; `port` is `None` where
    /// the protocol has no ports.
    #[inline]
    #[must_use]
    pub fn find(&self, protocol: Protocol, port: Option<u16>) -> Option<Rank> {
        // A range is kept only where it comes before the rule for everything.
        self.find_range(protocol, port).or(self.any)
    }

    #[inline]
    fn find_range(&self, protocol: Protocol, port: Option<u16>) -> Option<Rank> {
        let port = port?;
        let after =
            self.ranges.partition_point(|range| (range.protocol, range.first) <= (protocol, port));
        let range = self.ranges.get(after.checked_sub(1)?)?;
        (range.protocol == protocol && port <= range.last).then_some(range.rank)
    }

    /// The first rule that speaks of everything.
    pub(crate) fn any(&self) -> Option<Rank> {
        self.any
    }

    /// Disjoint ranges, sorted: protocol, first port, last port, and the first rule that speaks
    /// of them, which comes before the one for everything.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (Protocol, u16, u16, Rank)> {
        self.ranges.iter().map(|it| (it.protocol, it.first, it.last, it.rank))
    }

    /// Whether the set speaks of nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.any.is_none() && self.ranges.is_empty()
    }

    /// The ports at which the answer may change: each range's first, and the one past its last.
    pub fn borders(&self) -> impl Iterator<Item = (Protocol, u16)> {
        self.ranges.iter().flat_map(|range| {
            let past = range.last.checked_add(1).map(|port| (range.protocol, port));
            std::iter::once((range.protocol, range.first)).chain(past)
        })
    }
}

/// Splits overlapping ranges at each other's borders and keeps the lowest rank of each piece.
fn disjoint(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    ranges.sort_unstable();
    let mut pieces: Vec<PortRange> = Vec::with_capacity(ranges.len());
    for of_protocol in ranges.chunk_by(|a, b| a.protocol == b.protocol) {
        sweep(of_protocol, &mut pieces);
    }
    pieces
}

/// Walks along the ports of one protocol; `ranges` are sorted by their first port.
fn sweep(ranges: &[PortRange], pieces: &mut Vec<PortRange>) {
    // Where each range begins and, one past its last port, ends.
    let mut borders: Vec<(u32, bool, usize)> = Vec::with_capacity(2 * ranges.len());
    for (place, range) in ranges.iter().enumerate() {
        borders.push((u32::from(range.first), true, place));
        borders.push((u32::from(range.last) + 1, false, place));
    }
    borders.sort_unstable();
    let mut open: BTreeSet<(Rank, usize)> = BTreeSet::new();
    let mut borders = borders.into_iter().peekable();
    while let Some((port, opens, place)) = borders.next() {
        let Some(range) = ranges.get(place) else { continue };
        if opens {
            open.insert((range.rank, place));
        } else {
            open.remove(&(range.rank, place));
        }
        let Some(&(next, _, _)) = borders.peek() else { break };
        let (Ok(first), Ok(last)) = (u16::try_from(port), u16::try_from(next.saturating_sub(1)))
        else {
            continue;
        };
        let Some(&(rank, _)) = open.first() else { continue };
        if next == port {
            continue;
        }
        match pieces.last_mut() {
            Some(previous)
                if previous.protocol == range.protocol
                    && previous.rank == rank
                    && previous.last.checked_add(1) == Some(first) =>
            {
                previous.last = last;
            }
            _ => pieces.push(PortRange { protocol: range.protocol, first, last, rank }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(protocol: Protocol, first: u16, last: u16) -> PortMatch {
        PortMatch::Range { protocol, first, last }
    }

    #[test]
    fn borders_are_inclusive() {
        let set =
            PortSet::new(&[(range(TCP, 80, 81), Rank(3)), (range(TCP, 65535, 65535), Rank(4))]);
        assert_eq!(set.find(TCP, Some(79)), None);
        assert_eq!(set.find(TCP, Some(80)), Some(Rank(3)));
        assert_eq!(set.find(TCP, Some(81)), Some(Rank(3)));
        assert_eq!(set.find(TCP, Some(82)), None);
        assert_eq!(set.find(TCP, Some(65535)), Some(Rank(4)));
        assert_eq!(set.find(UDP, Some(80)), None);
    }

    #[test]
    fn the_first_rule_decides_between_a_range_and_everything() {
        let set = PortSet::new(&[
            (range(TCP, 80, 80), Rank(1)),
            (PortMatch::Any, Rank(2)),
            (range(TCP, 70, 90), Rank(3)),
        ]);
        assert_eq!(set.find(TCP, Some(80)), Some(Rank(1)));
        assert_eq!(set.find(TCP, Some(81)), Some(Rank(2)));
        assert_eq!(set.borders().collect::<Vec<_>>(), [(TCP, 80), (TCP, 81)]);
    }

    #[test]
    fn any_admits_protocols_without_ports() {
        let set = PortSet::new(&[(PortMatch::Any, Rank(1))]);
        assert_eq!(set.find(ICMP, None), Some(Rank(1)));
        assert_eq!(PortSet::new(&[(range(TCP, 0, 65535), Rank(1))]).find(ICMP, None), None);
    }

    #[test]
    fn an_empty_set_admits_nothing() {
        assert!(PortSet::new(&[]).is_empty());
        assert_eq!(PortSet::default().find(TCP, Some(80)), None);
    }

    proptest! {
        #[test]
        fn a_set_answers_as_a_walk_over_its_rules(
            rules in prop::collection::vec((prop::sample::select(vec![TCP, UDP, SCTP]), 0u16..40, 0u16..12), 0..12),
            protocol in prop::sample::select(vec![TCP, UDP, SCTP]),
            port in 0u16..60,
        ) {
            let entries: Vec<_> = rules
                .iter()
                .zip(0u32..)
                .map(|(&(protocol, first, len), id)| (range(protocol, first, first + len), Rank(id)))
                .collect();
            let walked = entries
                .iter()
                .filter(|(m, _)| matches!(*m, PortMatch::Range { protocol: p, first, last } if p == protocol && first <= port && port <= last))
                .map(|(_, id)| *id)
                .min();
            prop_assert_eq!(PortSet::new(&entries).find(protocol, Some(port)), walked);
        }
    }
}
