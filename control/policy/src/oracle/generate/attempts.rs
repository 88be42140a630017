//! Attempts made from rules: what a rule means, and what it just does not mean.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use sluice_core::address::NetworkId;
use sluice_core::policy::{Attempt, DYNAMIC_PORT};
use sluice_core::ports::{ICMP, ICMPV6, Protocol, SCTP, TCP, UDP};

use super::objects::{PORTS, addresses, outside};
use super::random::Random;
use crate::model::{
    ClusterPeer, ClusterPort, ClusterPorts, LabelSelector, Peer, Peers, Pod, PolicyPort,
    PolicyType, Port, Ports, RuleSet,
};
use crate::oracle::matching::{matches_labels, namespace_labels};
use crate::validate::canonical_net;

/// A protocol without ports that is neither ICMP (GRE, RFC 2784).
const GRE: Protocol = 47;

/// Attempts that put the rules to the test.
///
/// Most are aimed at one rule, and of its fields at most one is missed: the pod that it speaks
/// for, the peer, the protocol or the port, by one where one can be counted. Their addresses
/// are of one family and are IPv4 where they can be written so.
#[must_use]
pub fn attempts(rules: &RuleSet, seed: u64, count: usize) -> Vec<Attempt> {
    let random = &mut Random::new(seed, "attempts");
    let range = Range::new(rules);
    (0..count)
        .map(|_| {
            let target = random.pick(&range.targets).filter(|_| random.chance(85));
            let aimed = target.and_then(|target| range.aim(random, target));
            let attempt = aimed.unwrap_or_else(|| range.stray(random));
            // Only access lists ask where it comes from.
            let from = if random.chance(50) { DYNAMIC_PORT } else { random.one(&PORTS) };
            Attempt { source_port: attempt.port.map(|_| from), ..attempt }
        })
        .collect()
}

/// What attempts can be aimed at.
struct Range<'a> {
    running: Vec<&'a Pod>,
    /// Everybody's addresses, and some that are nobody's.
    addresses: Vec<IpAddr>,
    targets: Vec<Target<'a>>,
}

/// A rule, and whom it means.
struct Target<'a> {
    direction: PolicyType,
    subjects: Aim,
    peers: Aim,
    ports: Vec<Asked<'a>>,
}

/// Addresses that are meant, and others that nearly are.
#[derive(Clone, Default)]
struct Aim {
    hits: Vec<IpAddr>,
    misses: Vec<IpAddr>,
}

/// Ports that are meant.
#[derive(Clone)]
enum Asked<'a> {
    Range { protocol: Protocol, first: u16, last: u16 },
    Named(&'a str),
}

/// The field of a rule that an attempt does not hit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missed {
    Nothing,
    Subject,
    Peer,
    Protocol,
    Port,
}

impl<'a> Range<'a> {
    fn new(rules: &'a RuleSet) -> Self {
        let running = rules.pods().filter(|pod| !pod.terminated && !pod.host_network).collect();
        let mut addresses = addresses(rules);
        addresses.extend(outside());
        let mut range = Self { running, addresses, targets: Vec::new() };
        range.add_network_policies(rules);
        range.add_cluster_policies(rules);
        range
    }

    fn add_network_policies(&mut self, rules: &'a RuleSet) {
        for policy in rules.network_policies() {
            let own = |pod: &Pod| pod.namespace == policy.namespace;
            let subjects =
                self.pods(|pod| own(pod) && matches_labels(&policy.pod_selector, &pod.labels));
            let egress = policy.egress.iter().flatten().map(|rule| (PolicyType::Egress, rule));
            let ingress = policy.ingress.iter().flatten().map(|rule| (PolicyType::Ingress, rule));
            for (direction, rule) in egress.chain(ingress) {
                let mut peers = Aim::default();
                if let Peers::AnyOf(list) = &rule.peers {
                    for peer in list {
                        peers.add(match peer {
                            Peer::Block(block) => self.nets(&[block.cidr], &block.except),
                            Peer::Selectors { pods, namespaces } => self.pods(|pod| {
                                is_selected(rules, pod, pods.as_ref(), namespaces.as_ref())
                                    && (namespaces.is_some() || own(pod))
                            }),
                        });
                    }
                } else {
                    peers.hits.clone_from(&self.addresses);
                }
                let ports = match &rule.ports {
                    Ports::All => Vec::new(),
                    Ports::AnyOf(list) => list.iter().map(Asked::from_port).collect(),
                };
                self.targets.push(Target { direction, subjects: subjects.clone(), peers, ports });
            }
        }
    }

    fn add_cluster_policies(&mut self, rules: &'a RuleSet) {
        for policy in rules.cluster_network_policies() {
            let chosen = &policy.subject;
            let subjects = self
                .pods(|pod| is_selected(rules, pod, Some(&chosen.pods), Some(&chosen.namespaces)));
            let egress = policy.egress.iter().map(|rule| (PolicyType::Egress, rule));
            let ingress = policy.ingress.iter().map(|rule| (PolicyType::Ingress, rule));
            for (direction, rule) in egress.chain(ingress) {
                let mut peers = Aim::default();
                for peer in &rule.peers {
                    peers.add(match peer {
                        ClusterPeer::Pods(chosen) => self.pods(|pod| {
                            is_selected(rules, pod, Some(&chosen.pods), Some(&chosen.namespaces))
                        }),
                        ClusterPeer::Nodes(selector) => nodes(rules, selector),
                        ClusterPeer::Networks(nets) => self.nets(nets, &[]),
                        ClusterPeer::Unknown(_) => {
                            Aim { hits: self.addresses.clone(), misses: Vec::new() }
                        }
                    });
                }
                let ports = match &rule.ports {
                    ClusterPorts::All => Vec::new(),
                    ClusterPorts::AnyOf(list) => {
                        list.iter().map(Asked::from_cluster_port).collect()
                    }
                };
                self.targets.push(Target { direction, subjects: subjects.clone(), peers, ports });
            }
        }
    }

    fn pods(&self, is_meant: impl Fn(&Pod) -> bool) -> Aim {
        let mut aim = Aim::default();
        for pod in &self.running {
            let list = if is_meant(pod) { &mut aim.hits } else { &mut aim.misses };
            list.extend(pod.addresses.iter().map(IpAddr::to_canonical));
        }
        aim
    }

    /// The edges of nets and holes with what lies beside them, and the addresses within.
    fn nets(&self, nets: &[IpNet], holes: &[IpNet]) -> Aim {
        let mut aim = Aim::default();
        for net in nets.iter().map(|net| canonical_net(*net)) {
            aim.hits.extend(self.addresses.iter().filter(|address| net.contains(*address)));
            aim.hits.extend([net.network(), net.broadcast()]);
            aim.misses.extend([beside(net.network(), -1), beside(net.broadcast(), 1)]);
        }
        for hole in holes.iter().map(|net| canonical_net(*net)) {
            aim.misses.extend([hole.network(), hole.broadcast()]);
            aim.hits.extend([beside(hole.network(), -1), beside(hole.broadcast(), 1)]);
        }
        // The edge of a net of IPv6 may be IPv4 written as IPv6.
        aim.hits.iter_mut().chain(&mut aim.misses).for_each(|it| *it = it.to_canonical());
        aim
    }

    /// An attempt at a rule; `None` where the rule means nobody.
    fn aim(&self, random: &mut Random, target: &Target<'_>) -> Option<Attempt> {
        let missed = match random.below(20) {
            0..=8 => Missed::Nothing,
            9 => Missed::Subject,
            10..=13 => Missed::Peer,
            14..=15 => Missed::Protocol,
            _ => Missed::Port,
        };
        let subjects = target.subjects.list(missed == Missed::Subject);
        let subject = random.pick(subjects).copied()?;
        let peers = target.peers.list(missed == Missed::Peer);
        // A pod may always talk to itself, which tells nothing of the rule.
        let itself = random.chance(20);
        let peers: Vec<IpAddr> = peers
            .iter()
            .copied()
            .filter(|peer| peer.is_ipv4() == subject.is_ipv4() && (itself || *peer != subject))
            .collect();
        let peer = random.pick(&peers).copied().or_else(|| self.one_like(random, subject))?;
        let (source, destination) = match target.direction {
            PolicyType::Egress => (subject, peer),
            PolicyType::Ingress => (peer, subject),
        };
        let (protocol, port) = self.ask(random, &target.ports, destination, missed);
        Some(attempt(source, destination, protocol, port))
    }

    /// An attempt from anybody to anybody.
    fn stray(&self, random: &mut Random) -> Attempt {
        let source = random.pick(&self.addresses).copied();
        let source = source.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let destination = self.one_like(random, source).unwrap_or(source);
        let (protocol, port) = self.ask(random, &[], destination, Missed::Nothing);
        attempt(source, destination, protocol, port)
    }

    /// Some address of the same family.
    fn one_like(&self, random: &mut Random, other: IpAddr) -> Option<IpAddr> {
        let like: Vec<IpAddr> =
            self.addresses.iter().copied().filter(|it| it.is_ipv4() == other.is_ipv4()).collect();
        random.pick(&like).copied()
    }

    fn ask(
        &self,
        random: &mut Random,
        ports: &[Asked<'_>],
        destination: IpAddr,
        missed: Missed,
    ) -> (Protocol, Option<u16>) {
        let (protocol, port) = match random.pick(ports) {
            None => (random.one(&[TCP, UDP, SCTP]), random.one(&PORTS)),
            Some(&Asked::Range { protocol, first, last }) => {
                let between = random.between(first, last);
                (protocol, random.one(&[first, last, between]))
            }
            Some(&Asked::Named(name)) => self.named(random, name, destination),
        };
        let without_ports = if destination.is_ipv4() { ICMP } else { ICMPV6 };
        let other = match missed {
            Missed::Protocol if random.chance(50) => random.one(&[TCP, UDP, SCTP]),
            Missed::Protocol => without_ports,
            _ if ports.is_empty() => random.one(&[protocol, protocol, without_ports, GRE]),
            _ => protocol,
        };
        // Past the borders of what ports there are lies port 0, which no rule can name.
        let port = match (missed, random.pick(ports)) {
            (Missed::Port, Some(&Asked::Range { first, last, .. })) => {
                random.one(&[first.wrapping_sub(1), last.wrapping_add(1)])
            }
            (Missed::Port, _) => {
                random.one(&[port.wrapping_sub(1), port.wrapping_add(1), 0, u16::MAX])
            }
            _ => port,
        };
        (other, matches!(other, TCP | UDP | SCTP).then_some(port))
    }

    /// What the destination calls by this name; if nothing, what somebody else does.
    fn named(&self, random: &mut Random, name: &str, destination: IpAddr) -> (Protocol, u16) {
        let ports = |pod: &&'a Pod| pod.named_ports.iter().filter(|port| port.name == name);
        let of_destination = self.running.iter().filter(|pod| {
            pod.addresses.iter().any(|address| address.to_canonical() == destination)
        });
        let own: Vec<_> = of_destination.flat_map(ports).collect();
        let all: Vec<_> = self.running.iter().flat_map(ports).collect();
        let port = random.pick(&own).filter(|_| random.chance(90)).or_else(|| random.pick(&all));
        port.map_or((TCP, random.one(&PORTS)), |port| (port.protocol.number(), port.port))
    }
}

impl Aim {
    fn add(&mut self, other: Self) {
        self.hits.extend(other.hits);
        self.misses.extend(other.misses);
    }

    fn list(&self, missed: bool) -> &[IpAddr] {
        if missed { &self.misses } else { &self.hits }
    }
}

impl<'a> Asked<'a> {
    fn from_port(item: &'a PolicyPort) -> Self {
        let protocol = item.protocol.number();
        match &item.port {
            Port::All => Self::Range { protocol, first: 0, last: u16::MAX },
            Port::Number(port) => Self::Range { protocol, first: *port, last: *port },
            Port::Range { first, last } => Self::Range { protocol, first: *first, last: *last },
            Port::Named(name) => Self::Named(name),
        }
    }

    fn from_cluster_port(item: &'a ClusterPort) -> Self {
        match item {
            ClusterPort::Range { protocol, first, last } => {
                Self::Range { protocol: protocol.number(), first: *first, last: *last }
            }
            ClusterPort::Named(name) => Self::Named(name),
        }
    }
}

fn is_selected(
    rules: &RuleSet,
    pod: &Pod,
    pods: Option<&LabelSelector>,
    namespaces: Option<&LabelSelector>,
) -> bool {
    let around = || namespace_labels(rules, &pod.namespace);
    pods.is_none_or(|selector| matches_labels(selector, &pod.labels))
        && namespaces.is_none_or(|selector| matches_labels(selector, &around()))
}

/// The addresses of nodes with these labels, and of pods in their networks.
fn nodes(rules: &RuleSet, selector: &LabelSelector) -> Aim {
    let mut aim = Aim::default();
    for node in rules.nodes() {
        let tenants = rules
            .pods()
            .filter(|pod| pod.host_network && !pod.terminated)
            .filter(|pod| pod.node.as_deref().unwrap_or(super::LOCAL_NODE) == node.name);
        let all = node.addresses.iter().chain(tenants.flat_map(|pod| &pod.addresses));
        let is_meant = matches_labels(selector, &node.labels);
        let list = if is_meant { &mut aim.hits } else { &mut aim.misses };
        list.extend(all.map(IpAddr::to_canonical));
    }
    aim
}

fn attempt(source: IpAddr, destination: IpAddr, protocol: Protocol, port: Option<u16>) -> Attempt {
    let (network, source_port) = (NetworkId::DEFAULT, port.map(|_| DYNAMIC_PORT));
    Attempt { network, source, destination, protocol, source_port, port }
}

/// The next address, or the one before; of its family, and around where that ends.
fn beside(address: IpAddr, step: i8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4).wrapping_add_signed(step.into())).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6).wrapping_add_signed(step.into())).into(),
    }
}
