//! The first of many ordered rules that matches a packet's five tuple.

#[cfg(any(test, feature = "generate"))]
pub mod generate;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::packet::Ports;
use crate::ports::Protocol;

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
