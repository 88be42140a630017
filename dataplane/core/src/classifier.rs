//! The first of many ordered rules that matches a packet's five tuple.
//!
//! Rules lie in a tree. A node looks at a few bits of one field and goes on to one child; rules
//! that leave those bits open lie beside it, in a tree of their own, which is asked as well. A
//! leaf is a block of eight rules that are compared at once.
//!
//! ```text
//!              +-- 00 -> block      fields that the bits may come from: both addresses,
//!  node: bits -+-- 01 -> node ...   both ports, the protocol
//!              +-- 10 -> nothing
//!              +-- beside ------> node or block: what leaves the bits open
//! ```
//!
//! A copy of a classifier shares with it all that a change does not touch
//! ([ADR 19](../../../docs/adr/0019-ordered-rules-are-a-tree.md)).

mod block;
mod build;
mod change;
mod cut;
#[cfg(any(test, feature = "generate"))]
pub mod generate;
mod tree;

use std::net::IpAddr;

use ipnet::IpNet;

use self::block::Entry;
use self::tree::Tree;
use crate::packet::Ports;
use crate::ports::{Protocol, Rank};

/// What packets a rule means. Everything that it does not name is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rule {
    /// The sender's prefix; `None` for every address of both families.
    pub source: Option<IpNet>,
    /// The receiver's prefix; `None` for every address of both families.
    pub destination: Option<IpNet>,
    /// The sender's ports; `None` for every packet, with ports or without.
    pub source_ports: Option<PortRange>,
    /// The receiver's ports; `None` for every packet, with ports or without.
    pub destination_ports: Option<PortRange>,
    /// The IP protocol; `None` for all.
    pub protocol: Option<Protocol>,
}

/// Ports from `first` to `last`, both included. Packets without ports are in no range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port; below `first`, the range is empty.
    pub last: u16,
}

/// What a rule is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The sender.
    pub source: IpAddr,
    /// The receiver, of the same family.
    pub destination: IpAddr,
    /// The IP protocol.
    pub protocol: Protocol,
    /// The ports; `None` where the protocol has none, or the packet does not show them.
    pub ports: Option<Ports>,
}

/// Ordered rules of both families. A clone is cheap, and shares all but what is changed after.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Classifier {
    v4: Tree<1>,
    v6: Tree<4>,
}

impl Rule {
    /// Whether the rule means this packet: what the classifier must agree with.
    #[must_use]
    pub fn matches(&self, key: &Key) -> bool {
        let within = |range: Option<PortRange>, port: Option<u16>| {
            range.is_none_or(|range| port.is_some_and(|port| range.contains(port)))
        };
        self.source.is_none_or(|net| net.contains(&key.source))
            && self.destination.is_none_or(|net| net.contains(&key.destination))
            && self.protocol.is_none_or(|protocol| protocol == key.protocol)
            && within(self.source_ports, key.ports.map(|ports| ports.source))
            && within(self.destination_ports, key.ports.map(|ports| ports.destination))
    }
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self { first: 0, last: u16::MAX };

    /// One port.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Whether `port` is in the range.
    #[inline]
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl Classifier {
    /// Builds a classifier. Ranks order the rules, the lowest first; each is given once, and the
    /// highest number of all is none.
    #[must_use]
    pub fn new<'a>(rules: impl IntoIterator<Item = (Rank, &'a Rule)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (rank, rule) in rules {
            v4.extend(Entry::v4(rank, rule));
            v6.extend(Entry::v6(rank, rule));
        }
        Self { v4: Tree::new(v4), v6: Tree::new(v6) }
    }

    /// Adds a rule, whose rank no other has.
    pub fn insert(&mut self, rank: Rank, rule: &Rule) {
        if let Some(entry) = Entry::v4(rank, rule) {
            self.v4.insert(entry);
        }
        if let Some(entry) = Entry::v6(rank, rule) {
            self.v6.insert(entry);
        }
    }

    /// Takes out a rule that was added under `rank`, as it was added.
    pub fn remove(&mut self, rank: Rank, rule: &Rule) {
        if let Some(entry) = Entry::v4(rank, rule) {
            self.v4.remove(entry);
        }
        if let Some(entry) = Entry::v6(rank, rule) {
            self.v6.remove(entry);
        }
    }

    /// The rank of the first rule that matches.
    #[inline]
    #[must_use]
    pub fn first_match(&self, key: &Key) -> Option<Rank> {
        let words = block::words(key);
        match key.source {
            IpAddr::V4(_) => self.v4.first_match(&words),
            IpAddr::V6(_) => self.v6.first_match(&words),
        }
    }

    /// The ranks of the first rules that match each of `keys`, into `ranks`. No packet waits for
    /// another, so that the processor fetches for some while it compares others. Looks at as
    /// many as the shorter of the two has.
    pub fn first_matches(&self, keys: &[Key], ranks: &mut [Option<Rank>]) {
        for (key, rank) in keys.iter().zip(ranks) {
            *rank = self.first_match(key);
        }
    }

    /// How many rules there are in each family: IPv4, IPv6.
    #[must_use]
    pub fn lens(&self) -> (usize, usize) {
        (self.v4.len, self.v6.len)
    }

    /// The memory that the rules take, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.v4.heap_bytes() + self.v6.heap_bytes()
    }
}

#[cfg(test)]
mod tests;
