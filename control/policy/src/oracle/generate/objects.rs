//! Namespaces, nodes and pods.
//!
//! Every node has addresses that only it and pods in its network may have, and pods have theirs
//! from another range, so that no address ever has two owners.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::LOCAL_NODE;
use super::labels::{NAMESPACE_NAMES, OF_NAMESPACES, OF_NODES, OF_PODS, labels};
use super::random::Random;
use crate::model::{
    Labels, NAMESPACE_NAME_LABEL, Name, NamedPort, Namespace, Node, Pod, Protocol, RuleSet,
};

/// What nodes are called.
pub(super) const NODE_NAMES: [&str; 4] = [LOCAL_NODE, "n2", "n3", "n4"];

/// What ports are called.
pub(super) const PORT_NAMES: [&str; 3] = ["http", "dns", "metrics"];

/// Port numbers that rules and named ports are made of: borders, and runs of neighbours.
pub(super) const PORTS: [u16; 11] = [1, 2, 53, 79, 80, 81, 82, 8080, 8081, 65534, 65535];

/// The last part of pods' addresses goes from 1 to this.
const LAST_MAX: u8 = 24;

pub(super) fn namespace(random: &mut Random, name: &str) -> Namespace {
    let mut labels = labels(random, OF_NAMESPACES);
    if random.chance(20) {
        labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name.to_owned());
    }
    Namespace { name: name.to_owned(), labels }
}

/// The name of a namespace: of one that has an object, or sometimes of any.
pub(super) fn namespace_name(random: &mut Random, rules: &RuleSet) -> String {
    let known: Vec<&str> = rules.namespaces().map(|it| it.name.as_str()).collect();
    // Most pods share a few namespaces, or hardly any policy would select several.
    let known = known.get(..3).filter(|_| random.chance(70)).unwrap_or(&known);
    let name = random.pick(known).filter(|_| random.chance(95));
    name.copied().unwrap_or_else(|| random.one(&NAMESPACE_NAMES)).to_owned()
}

pub(super) fn node(random: &mut Random, name: &str) -> Node {
    Node {
        name: name.to_owned(),
        labels: labels(random, OF_NODES),
        addresses: node_addresses(random, name),
    }
}

/// Some of the addresses that are this node's and no other's.
fn node_addresses(random: &mut Random, name: &str) -> Vec<IpAddr> {
    let place = NODE_NAMES.iter().zip(1u8..).find(|(known, _)| **known == name);
    let place = place.map_or(u8::MAX, |(_, place)| place);
    let mut own = vec![v4(2, place), v4(3, place), v6(2, place)];
    own.retain(|_| random.chance(70));
    own
}

/// A pod whose name no other pod has.
pub(super) fn new_pod(random: &mut Random, rules: &RuleSet) -> Pod {
    let namespace = namespace_name(random, rules);
    let is_free = |name: &str| {
        let key = Name { namespace: namespace.clone(), name: name.to_owned() };
        rules.pods().all(|pod| pod.key() != key)
    };
    let names = (0..).map(|place: u32| format!("pod{place}"));
    let name = names.into_iter().find(|name| is_free(name)).unwrap_or_default();
    pod(random, rules, Name { namespace, name })
}

/// A pod of this name, whatever pod of that name there may be.
pub(super) fn pod(random: &mut Random, rules: &RuleSet, name: Name) -> Pod {
    let twins: Vec<&Pod> = rules.pods().filter(|pod| pod.namespace == name.namespace).collect();
    let twin = random.pick(&twins).filter(|_| random.chance(30));
    let (labels, named_ports) = match twin {
        // Pods with equal labels and ports are the same to all policies.
        Some(twin) => (twin.labels.clone(), twin.named_ports.clone()),
        None => (labels(random, OF_PODS), named_ports(random)),
    };
    let node = random.pick(&NODE_NAMES).filter(|_| random.chance(75));
    let mut pod = Pod {
        namespace: name.namespace,
        name: name.name,
        labels,
        addresses: Vec::new(),
        node: node.map(|&name| name.to_owned()),
        host_network: random.chance(12),
        named_ports,
        terminated: random.chance(8),
    };
    pod.addresses = pod_addresses(random, rules, &pod);
    pod
}

/// Addresses that `pod` may have among the pods of `rules`.
pub(super) fn pod_addresses(random: &mut Random, rules: &RuleSet, pod: &Pod) -> Vec<IpAddr> {
    if pod.host_network {
        let node = pod.node.as_deref().unwrap_or(LOCAL_NODE);
        return node_addresses(random, node);
    }
    let others: Vec<&Pod> = rules.pods().filter(|other| other.key() != pod.key()).collect();
    if pod.terminated && random.chance(75) {
        // Its addresses may be another's by now.
        return random.pick(&others).map(|other| other.addresses.clone()).unwrap_or_default();
    }
    let families: &[bool] = match random.below(20) {
        0..=9 => &[false, true],
        10 => &[true, false],
        11..=13 => &[false],
        14..=16 => &[true],
        17 => &[false, false, true],
        _ => &[],
    };
    families.iter().filter_map(|&is_v6| free_address(random, &others, is_v6)).collect()
}

fn free_address(random: &mut Random, others: &[&Pod], is_v6: bool) -> Option<IpAddr> {
    let running = || others.iter().filter(|pod| !pod.terminated);
    let is_free = |address: &IpAddr| {
        running().all(|pod| pod.addresses.iter().all(|known| known.to_canonical() != *address))
    };
    let address = (0..50)
        .map(|_| {
            let (third, last) = (random.between(0u8, 1), random.between(1, LAST_MAX));
            if is_v6 { v6(third, last) } else { v4(third, last) }
        })
        .find(is_free)?;
    match address {
        IpAddr::V4(v4) if random.chance(8) => Some(v4.to_ipv6_mapped().into()),
        _ => Some(address),
    }
}

/// Up to four named ports; one name may stand for several numbers and protocols.
pub(super) fn named_ports(random: &mut Random) -> Vec<NamedPort> {
    random.some(0, 4, |random| NamedPort {
        name: random.one(&PORT_NAMES).to_owned(),
        protocol: protocol(random),
        port: random.one(&PORTS),
    })
}

pub(super) fn protocol(random: &mut Random) -> Protocol {
    match random.below(10) {
        0..=5 => Protocol::Tcp,
        6..=8 => Protocol::Udp,
        _ => Protocol::Sctp,
    }
}

/// The first and the last port of a range.
pub(super) fn port_range(random: &mut Random) -> (u16, u16) {
    let (a, b) = (random.one(&PORTS), random.one(&PORTS));
    match random.below(10) {
        0 => (1, u16::MAX),
        1..=4 => (a, a),
        _ => (a.min(b), a.max(b)),
    }
}

/// The address of a pod, a node or a stranger.
pub(super) fn address(random: &mut Random, rules: &RuleSet) -> IpAddr {
    let known = addresses(rules);
    let known = random.pick(&known).filter(|_| random.chance(80)).copied();
    known.unwrap_or_else(|| {
        let outside = outside();
        random.pick(&outside).copied().unwrap_or(v4(0, 0))
    })
}

/// The addresses of pods, those that have run to their end too, and of nodes.
pub(super) fn addresses(rules: &RuleSet) -> Vec<IpAddr> {
    let pods = rules.pods().flat_map(|pod| &pod.addresses);
    let nodes = rules.nodes().flat_map(|node| &node.addresses);
    pods.chain(nodes).map(IpAddr::to_canonical).collect()
}

/// Addresses that nobody in the cluster has.
pub(super) fn outside() -> [IpAddr; 6] {
    [
        [198, 51, 100, 1].into(),
        [203, 0, 113, 9].into(),
        v4(0, 200),
        v4(4, 1),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        v6(0, 200),
    ]
}

/// The pod's labels are in its own; these are those of its namespace.
pub(super) fn labels_around(rules: &RuleSet, pod: Option<&Pod>) -> (Labels, Labels) {
    pod.map_or_else(Default::default, |pod| {
        let around = crate::oracle::matching::namespace_labels(rules, &pod.namespace);
        (around, pod.labels.clone())
    })
}

fn v4(third: u8, last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, third, last).into()
}

fn v6(third: u8, last: u8) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, third.into(), last.into()).into()
}
