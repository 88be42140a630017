//! Which protocols and ports a set of rules admits, and which rule admits each.
//!
//! A [`PortSet`] is immutable, shared by every pair of parties that the same rules
//! concern, and answers one packet with a binary search over disjoint ranges. It never
//! holds addresses: peers and ports are kept apart so that neither multiplies the other.

use crate::table::RuleId;

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

/// The union of what several rules admit. Built once, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PortSet {
    any: Option<RuleId>,
    ranges: Box<[PortRange]>,
}

/// A range of one protocol, disjoint from its neighbours, and the rule that admits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct PortRange {
    protocol: Protocol,
    first: u16,
    last: u16,
    rule: RuleId,
}

impl PortSet {
    /// Merges the entries. Where several rules admit one port, the lowest rule id is named.
    #[must_use]
    pub fn new(entries: &[(PortMatch, RuleId)]) -> Self {
        let mut any: Option<RuleId> = None;
        let mut ranges = Vec::new();
        for &(port_match, rule) in entries {
            match port_match {
                PortMatch::Any => any = Some(any.map_or(rule, |known| known.min(rule))),
                PortMatch::Range { protocol, first, last } => {
                    ranges.push(PortRange { protocol, first, last, rule });
                }
            }
        }
        Self { any, ranges: disjoint(&ranges).into_boxed_slice() }
    }

    /// The rule that admits `protocol` to destination `port`; `port` is `None` where the
    /// protocol has no ports.
    #[inline]
    #[must_use]
    pub fn find(&self, protocol: Protocol, port: Option<u16>) -> Option<RuleId> {
        if self.any.is_some() {
            return self.any;
        }
        let port = port?;
        let after =
            self.ranges.partition_point(|range| (range.protocol, range.first) <= (protocol, port));
        let range = self.ranges.get(after.checked_sub(1)?)?;
        (range.protocol == protocol && port <= range.last).then_some(range.rule)
    }

    /// Whether the set admits nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.any.is_none() && self.ranges.is_empty()
    }
}

/// Splits overlapping ranges at each other's borders and keeps the lowest rule of each piece.
fn disjoint(ranges: &[PortRange]) -> Vec<PortRange> {
    // Borders as u32, so that the one past port 65535 exists.
    let mut borders: Vec<(Protocol, u32)> = ranges
        .iter()
        .flat_map(|r| [(r.protocol, u32::from(r.first)), (r.protocol, u32::from(r.last) + 1)])
        .collect();
    borders.sort_unstable();
    borders.dedup();

    let mut pieces: Vec<PortRange> = Vec::new();
    for pair in borders.windows(2) {
        let [(protocol, first), (next_protocol, end)] = pair else { continue };
        if protocol != next_protocol {
            continue;
        }
        let (Ok(first), Ok(last)) = (u16::try_from(*first), u16::try_from(*end - 1)) else {
            continue;
        };
        let covering = ranges
            .iter()
            .filter(|r| r.protocol == *protocol && r.first <= first && last <= r.last)
            .map(|r| r.rule)
            .min();
        let Some(rule) = covering else { continue };
        match pieces.last_mut() {
            Some(previous)
                if previous.protocol == *protocol
                    && previous.rule == rule
                    && u32::from(previous.last) + 1 == u32::from(first) =>
            {
                previous.last = last;
            }
            _ => pieces.push(PortRange { protocol: *protocol, first, last, rule }),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(protocol: Protocol, first: u16, last: u16) -> PortMatch {
        PortMatch::Range { protocol, first, last }
    }

    #[test]
    fn borders_are_inclusive() {
        let set =
            PortSet::new(&[(range(TCP, 80, 81), RuleId(3)), (range(TCP, 65535, 65535), RuleId(4))]);
        assert_eq!(set.find(TCP, Some(79)), None);
        assert_eq!(set.find(TCP, Some(80)), Some(RuleId(3)));
        assert_eq!(set.find(TCP, Some(81)), Some(RuleId(3)));
        assert_eq!(set.find(TCP, Some(82)), None);
        assert_eq!(set.find(TCP, Some(65535)), Some(RuleId(4)));
        assert_eq!(set.find(UDP, Some(80)), None);
    }

    #[test]
    fn any_admits_protocols_without_ports() {
        let set = PortSet::new(&[(PortMatch::Any, RuleId(1))]);
        assert_eq!(set.find(ICMP, None), Some(RuleId(1)));
        assert_eq!(PortSet::new(&[(range(TCP, 0, 65535), RuleId(1))]).find(ICMP, None), None);
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
                .map(|(&(protocol, first, len), id)| (range(protocol, first, first + len), RuleId(id)))
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
