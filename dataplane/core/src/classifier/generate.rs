//! Rules and packets in the shapes that real filters have, for tests and benches.
//!
//! The shapes are those of the literature (access lists, firewalls, IP chains; Taylor and
//! Turner, "ClassBench", 2007); the parameters are our own. The same seed gives the same rules.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Key, PortRange, Rule};
use crate::packet::Ports;
use crate::ports::{ICMP, ICMPV6, Protocol, TCP, UDP};

/// What a set of rules resembles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// An access list: exact destinations and destination ports, sources of all sizes.
    Acl,
    /// A firewall: many open addresses, ranges of ports on both sides.
    Fw,
    /// A mix of both, as in the chains of a router's own filter.
    Ipc,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6: IPv4's structure below `2001:db8::/32`, hosts at the end of their /64.
    V6,
}

/// Numbers that look random and repeat with their seed (SplitMix64, Steele et al. 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

/// How likely a prefix of each length is, in parts of 100; what is left is a host.
struct Lengths(&'static [(u8, u32)]);

/// What a shape is made of.
struct Parameters {
    source: Lengths,
    destination: Lengths,
    /// Rules with both addresses open, in parts of 1000.
    both_open: u32,
    source_ports: PortKinds,
    destination_ports: PortKinds,
    protocols: &'static [(Option<Protocol>, u32)],
}

/// How likely each kind of range is, in parts of 100; what is left is open.
struct PortKinds {
    exact: u32,
    /// 1024 and above.
    unprivileged: u32,
    range: u32,
}

const ACL: Parameters = Parameters {
    source: Lengths(&[(0, 22), (8, 2), (16, 8), (20, 8), (24, 22), (28, 10)]),
    destination: Lengths(&[(0, 1), (16, 3), (20, 4), (24, 14), (28, 10)]),
    both_open: 1,
    source_ports: PortKinds { exact: 1, unprivileged: 1, range: 0 },
    destination_ports: PortKinds { exact: 72, unprivileged: 4, range: 8 },
    protocols: &[(Some(TCP), 62), (Some(UDP), 24), (Some(ICMP), 6), (None, 8)],
};

const FW: Parameters = Parameters {
    source: Lengths(&[(0, 45), (8, 3), (16, 8), (24, 14), (28, 4)]),
    destination: Lengths(&[(0, 38), (8, 2), (16, 8), (24, 16), (28, 4)]),
    both_open: 8,
    source_ports: PortKinds { exact: 10, unprivileged: 16, range: 4 },
    destination_ports: PortKinds { exact: 34, unprivileged: 14, range: 18 },
    protocols: &[(Some(TCP), 56), (Some(UDP), 26), (Some(ICMP), 6), (Some(47), 2), (None, 10)],
};

const IPC: Parameters = Parameters {
    source: Lengths(&[(0, 14), (8, 3), (12, 2), (16, 10), (20, 6), (24, 20), (27, 5)]),
    destination: Lengths(&[(0, 10), (8, 2), (12, 2), (16, 8), (20, 6), (24, 18), (27, 5)]),
    both_open: 3,
    source_ports: PortKinds { exact: 8, unprivileged: 6, range: 2 },
    destination_ports: PortKinds { exact: 46, unprivileged: 6, range: 10 },
    protocols: &[(Some(TCP), 54), (Some(UDP), 28), (Some(ICMP), 6), (Some(50), 2), (None, 10)],
};

/// Ports that services are usually found at.
const SERVICES: [u16; 24] = [
    80, 443, 22, 53, 25, 123, 3306, 5432, 6443, 8080, 8443, 9090, 21, 110, 143, 161, 389, 445, 514,
    993, 1433, 3389, 6379, 11211,
];

/// `len` different rules, in the order of their ranks.
#[must_use]
pub fn rules(shape: Shape, family: Family, len: usize, seed: u64) -> Vec<Rule> {
    let parameters = match shape {
        Shape::Acl => &ACL,
        Shape::Fw => &FW,
        Shape::Ipc => &IPC,
    };
    let mut random = Random::new(seed);
    let sites = Sites::new(len, &mut random);
    let (mut known, mut rules) = (HashSet::new(), Vec::with_capacity(len));
    while rules.len() < len {
        let rule = one(parameters, family, &sites, &mut random);
        if known.insert(rule) {
            rules.push(rule);
        }
    }
    rules
}

/// `len` packets, each of which some rule means, if not always as the first; every rule is as
/// likely as any other. With the seed of the rules, addresses that a rule leaves open come from
/// the networks that the rules speak of.
#[must_use]
pub fn trace(rules: &[Rule], family: Family, len: usize, seed: u64) -> Vec<Key> {
    let mut random = Random::new(seed);
    let sites = Sites::new(rules.len(), &mut random.clone());
    (0..len)
        .map(|_| {
            let at = random.below(u32::try_from(rules.len().max(1)).unwrap_or(u32::MAX));
            let rule = rules.get(at as usize).copied().unwrap_or_default();
            packet_of(&rule, family, &sites, &mut random)
        })
        .collect()
}

impl Random {
    /// Numbers for `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u32) -> u32 {
        let wide = (self.next() >> 32) * u64::from(end);
        u32::try_from(wide >> 32).unwrap_or(0)
    }

    /// Whether something happens that does so in `parts` of `whole` cases.
    pub fn in_parts(&mut self, parts: u32, whole: u32) -> bool {
        self.below(whole) < parts
    }

    fn port(&mut self, from: u16) -> u16 {
        let span = u32::from(u16::MAX - from) + 1;
        from.saturating_add(u16::try_from(self.below(span)).unwrap_or(0))
    }

    fn address(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).unwrap_or(0)
    }

    fn choose<T: Copy>(&mut self, choices: &[(T, u32)]) -> Option<T> {
        let whole = choices.iter().map(|(_, parts)| parts).sum::<u32>().max(1);
        let mut at = self.below(whole);
        for &(choice, parts) in choices {
            if at < parts {
                return Some(choice);
            }
            at -= parts;
        }
        None
    }
}

/// Where addresses come from: sites are /16, and each has a few subnets that are used much.
struct Sites(Vec<u32>);

impl Sites {
    fn new(rules: usize, random: &mut Random) -> Self {
        let len = (rules / 12).clamp(8, 6_000);
        let sites: Vec<u32> =
            (0..(len / 16).clamp(4, 200)).map(|_| random.address() & 0xffff_0000).collect();
        let some = u32::try_from(sites.len()).unwrap_or(1);
        let subnet = |random: &mut Random| {
            let site = sites.get(random.below(some) as usize).copied().unwrap_or(0);
            site | (random.below(256) << 8)
        };
        Self((0..len).map(|_| subnet(random)).collect())
    }

    /// An address; the first subnets are used more than the others.
    fn address(&self, random: &mut Random) -> u32 {
        let len = u32::try_from(self.0.len()).unwrap_or(1);
        let end = if random.in_parts(1, 4) { len.div_ceil(16) } else { len };
        let subnet = self.0.get(random.below(end) as usize).copied().unwrap_or(0);
        subnet | random.below(256)
    }
}

fn one(parameters: &Parameters, family: Family, sites: &Sites, random: &mut Random) -> Rule {
    let both_open = random.in_parts(parameters.both_open, 1000);
    let (mut source, mut destination) = (0, 0);
    while !both_open && source == 0 && destination == 0 {
        source = parameters.source.draw(random);
        destination = parameters.destination.draw(random);
    }
    let protocol = random.choose(parameters.protocols).flatten();
    let protocol = match (protocol, family) {
        (Some(ICMP), Family::V6) => Some(ICMPV6),
        (protocol, _) => protocol,
    };
    let has_ports = matches!(protocol, Some(TCP | UDP));
    let ports =
        |kinds: &PortKinds, random: &mut Random| has_ports.then(|| kinds.draw(random)).flatten();
    Rule {
        source: net(source, family, sites, random),
        destination: net(destination, family, sites, random),
        source_ports: ports(&parameters.source_ports, random),
        destination_ports: ports(&parameters.destination_ports, random),
        protocol,
    }
}

impl Lengths {
    fn draw(&self, random: &mut Random) -> u8 {
        let mut at = random.below(100);
        for &(len, parts) in self.0 {
            if at < parts {
                return len;
            }
            at -= parts;
        }
        32
    }
}

impl PortKinds {
    fn draw(&self, random: &mut Random) -> Option<PortRange> {
        let at = random.below(100);
        if at < self.exact {
            let service = SERVICES.get(random.below(48) as usize).copied();
            let port = service.unwrap_or_else(|| random.port(1024));
            Some(PortRange::one(port))
        } else if at < self.exact + self.unprivileged {
            Some(PortRange { first: 1024, last: u16::MAX })
        } else if at < self.exact + self.unprivileged + self.range {
            let lowest = if random.in_parts(1, 3) { 0 } else { 1024 };
            let first = random.port(lowest);
            let len = u16::try_from(2 + random.below(200)).unwrap_or(2);
            Some(PortRange { first, last: first.saturating_add(len) })
        } else {
            None
        }
    }
}

fn net(len: u8, family: Family, sites: &Sites, random: &mut Random) -> Option<IpNet> {
    if len == 0 {
        return None;
    }
    let address = sites.address(random);
    let net: IpNet = match family {
        Family::V4 => Ipv4Net::new(Ipv4Addr::from(address), len).ok()?.into(),
        Family::V6 if len == 32 => Ipv6Net::new(v6(address, u64::from(address)), 128).ok()?.into(),
        Family::V6 => Ipv6Net::new(v6(address, 0), len + 32).ok()?.into(),
    };
    Some(net.trunc())
}

fn v6(site: u32, host: u64) -> Ipv6Addr {
    Ipv6Addr::from((0x2001_0db8 << 96) | (u128::from(site) << 64) | u128::from(host))
}

fn packet_of(rule: &Rule, family: Family, sites: &Sites, random: &mut Random) -> Key {
    let mut address = |net: Option<IpNet>| -> IpAddr {
        match (net, family) {
            (Some(IpNet::V4(net)), _) => {
                let host = random.address() & u32::from(net.hostmask());
                Ipv4Addr::from(u32::from(net.network()) | host).into()
            }
            (Some(IpNet::V6(net)), _) => {
                let host = u128::from(random.next()) | (u128::from(random.next()) << 64);
                let host = host & u128::from(net.hostmask());
                Ipv6Addr::from(u128::from(net.network()) | host).into()
            }
            (None, Family::V4) => Ipv4Addr::from(sites.address(random)).into(),
            (None, Family::V6) => {
                let address = sites.address(random);
                v6(address, u64::from(address)).into()
            }
        }
    };
    let (source, destination) = (address(rule.source), address(rule.destination));
    let protocol = rule.protocol.unwrap_or(if random.in_parts(3, 4) { TCP } else { UDP });
    let mut port = |range: Option<PortRange>, default: PortRange| {
        let range = range.unwrap_or(default);
        let span = u32::from(range.last.saturating_sub(range.first)) + 1;
        range.first.saturating_add(u16::try_from(random.below(span)).unwrap_or(0))
    };
    let ports = matches!(protocol, TCP | UDP).then(|| Ports {
        source: port(rule.source_ports, PortRange { first: 1024, last: u16::MAX }),
        destination: port(rule.destination_ports, PortRange::ALL),
    });
    Key { source, destination, protocol, ports }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: [Shape; 3] = [Shape::Acl, Shape::Fw, Shape::Ipc];

    #[test]
    fn a_seed_gives_the_same_rules_again_and_another_gives_others() {
        for shape in SHAPES {
            let of = |seed| rules(shape, Family::V4, 200, seed);
            assert_eq!(of(1), of(1));
            assert_ne!(of(1), of(2));
        }
    }

    #[test]
    fn every_packet_of_a_trace_is_meant_by_some_rule() {
        for shape in SHAPES {
            for family in [Family::V4, Family::V6] {
                let rules = rules(shape, family, 200, 3);
                for key in trace(&rules, family, 500, 3) {
                    assert!(rules.iter().any(|rule| rule.matches(&key)), "{shape:?} {key:?}");
                }
            }
        }
    }
}
