//! The compiled table against the oracle, over random clusters.
//!
//! Attempts are made from the rules: each border of a port range and of a block, and what lies
//! one beside it. The run fails if some outcome was never reached.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sluice_core::address::NetworkId;
use sluice_core::policy::Reason;
use sluice_core::ports::{ICMP, SCTP, TCP, UDP};
use sluice_core::table::Table;

use super::*;
use crate::compile::{CompileOptions, compile};
use crate::model::{
    Block, Expression, LabelSelector, Labels, NamedPort, Namespace, Node, Operator, Protocol,
};

const LOCAL: &str = "n1";

#[test]
fn the_table_answers_as_the_oracle() {
    let reached = RefCell::new(BTreeSet::new());
    let picks = prop::collection::vec((any::<u16>(), any::<u16>(), any::<u16>(), 0u8..4), 200);
    let mut runner = TestRunner::new(Config { cases: 1_500, ..Config::default() });
    runner
        .run(&(any_rule_set(), picks), |(rules, picks)| {
            compare(&rules, &picks, &mut reached.borrow_mut())
        })
        .unwrap();
    let reached = reached.into_inner();
    for outcome in ["SamePod", "OwnNode", "NotAPod", "NotIsolated", "Rule", "NoRule"] {
        for end in ["egress", "ingress"] {
            assert!(reached.contains(&(end, outcome)), "never reached: {end} {outcome}");
        }
    }
}

fn compare(
    rules: &RuleSet,
    picks: &[(u16, u16, u16, u8)],
    reached: &mut BTreeSet<(&'static str, &'static str)>,
) -> Result<(), TestCaseError> {
    let options = CompileOptions { local_node: Some(LOCAL.to_owned()) };
    let spec =
        compile(rules, &options).map_err(|faults| TestCaseError::fail(format!("{faults:?}")))?;
    let table = Table::new(1, spec);
    let addresses = addresses_of(rules);
    let ports = ports_of(rules);
    let pick = |list: &[IpAddr], place: u16| list[usize::from(place) % list.len()];
    for &(from, to, port, protocol) in picks {
        let source = pick(&addresses, from);
        let same: Vec<IpAddr> =
            addresses.iter().copied().filter(|it| it.is_ipv4() == source.is_ipv4()).collect();
        let (protocol, port) = match protocol {
            0 => (ICMP, None),
            1 => (UDP, Some(ports[usize::from(port) % ports.len()])),
            2 => (SCTP, Some(ports[usize::from(port) % ports.len()])),
            _ => (TCP, Some(ports[usize::from(port) % ports.len()])),
        };
        let network = NetworkId::DEFAULT;
        let attempt = Attempt { network, source, destination: pick(&same, to), protocol, port };
        let decision = table.decide(&attempt);
        let expected = judge(rules, Some(LOCAL), &attempt);
        let found = [decision.egress.allows(), decision.ingress.allows()];
        let allows = [expected.egress.allows, expected.ingress.allows];
        prop_assert_eq!(found, allows, "{:?} {:?} {:?}", attempt, decision, expected);
        reached.insert(("egress", outcome(decision.egress)));
        reached.insert(("ingress", outcome(decision.ingress)));
    }
    Ok(())
}

fn outcome(reason: Reason) -> &'static str {
    match reason {
        Reason::SamePod => "SamePod",
        Reason::OwnNode => "OwnNode",
        Reason::NotAPod => "NotAPod",
        Reason::NotIsolated => "NotIsolated",
        Reason::Rule(_) => "Rule",
        Reason::NoRule(_) => "NoRule",
    }
}

/// Every holder's address, and the edges of every block and hole, with what lies beside them.
fn addresses_of(rules: &RuleSet) -> Vec<IpAddr> {
    let mut addresses: BTreeSet<IpAddr> = rules
        .pods()
        .flat_map(|pod| &pod.addresses)
        .chain(rules.nodes().flat_map(|node| &node.addresses))
        .copied()
        .collect();
    addresses.extend(["198.51.100.1", "2001:db8::1"].map(|it| it.parse::<IpAddr>().unwrap()));
    for rule in all_rules(rules) {
        let Peers::AnyOf(peers) = &rule.peers else { continue };
        for peer in peers {
            let Peer::Block(block) = peer else { continue };
            for net in std::iter::once(&block.cidr).chain(&block.except) {
                let net = crate::validate::canonical_net(*net);
                for edge in [net.network(), net.broadcast()] {
                    addresses.extend([beside(edge, -1), edge, beside(edge, 1)]);
                }
            }
        }
    }
    addresses.into_iter().map(|it| it.to_canonical()).collect()
}

fn beside(address: IpAddr, step: i32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4).wrapping_add_signed(step)).into(),
        IpAddr::V6(v6) => {
            Ipv6Addr::from(u128::from(v6).wrapping_add_signed(i128::from(step))).into()
        }
    }
}

/// Every border of the rules' ports and the numbers of named ports, with what lies beside them.
fn ports_of(rules: &RuleSet) -> Vec<u16> {
    let mut ports = BTreeSet::from([1, 65535]);
    let mut around =
        |port: u16| ports.extend([port.saturating_sub(1), port, port.saturating_add(1)]);
    for rule in all_rules(rules) {
        let Ports::AnyOf(items) = &rule.ports else { continue };
        for item in items {
            match item.port {
                Port::Number(port) => around(port),
                Port::Range { first, last } => [first, last].into_iter().for_each(&mut around),
                _ => {}
            }
        }
    }
    rules.pods().flat_map(|pod| &pod.named_ports).for_each(|port| around(port.port));
    ports.into_iter().collect()
}

fn all_rules(rules: &RuleSet) -> impl Iterator<Item = &Rule> {
    rules.network_policies().flat_map(|policy| {
        let lists = policy.ingress.iter().chain(&policy.egress);
        lists.flatten()
    })
}

fn any_rule_set() -> impl Strategy<Value = RuleSet> {
    let namespaces = prop::collection::vec(any_labels(), 2);
    let pods = prop::collection::vec(any_pod(), 2..7);
    let policies = prop::collection::vec(any_policy(), 0..6);
    (namespaces, pods, policies).prop_map(|(namespaces, pods, policies)| {
        let mut rules = RuleSet::default();
        for (labels, name) in namespaces.into_iter().zip(["x", "y"]) {
            rules.insert(Namespace { name: name.to_owned(), labels }).unwrap();
        }
        for (name, last) in [(LOCAL, 101), ("n2", 102)] {
            let node = Node {
                name: name.to_owned(),
                labels: Labels::new(),
                addresses: vec![v4(last), v6(last)],
            };
            rules.insert(node).unwrap();
        }
        for (mut pod, place) in pods.into_iter().zip(1u8..) {
            pod.name = format!("p{place}");
            pod.addresses = if pod.host_network && pod.node.as_deref() == Some("n2") {
                vec![v4(102)]
            } else if pod.host_network {
                vec![v4(110 + place)]
            } else if pod.terminated {
                // A pod that has run to its end may share its address with one that runs.
                vec![v4(1)]
            } else {
                vec![v4(place), v6(place)]
            };
            rules.insert(pod).unwrap();
        }
        for (mut policy, place) in policies.into_iter().zip(0u8..) {
            policy.name = format!("policy{place}");
            rules.insert(policy).unwrap();
        }
        rules
    })
}

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

fn v6(last: u8) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).into()
}

fn any_labels() -> impl Strategy<Value = Labels> {
    prop::collection::btree_map(any_key(), any_value(), 0..3)
}

fn any_key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["app", "tier"]).prop_map(str::to_owned)
}

fn any_value() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b"]).prop_map(str::to_owned)
}

fn any_protocol() -> impl Strategy<Value = Protocol> {
    prop::sample::select(vec![Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Sctp])
}

fn any_port_name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["web", "dns"]).prop_map(str::to_owned)
}

fn any_namespace() -> impl Strategy<Value = String> {
    // z has no object of its own.
    prop::sample::select(vec!["x", "x", "y", "z"]).prop_map(str::to_owned)
}

fn any_pod() -> impl Strategy<Value = Pod> {
    let named = (any_port_name(), any_protocol(), 80u16..84)
        .prop_map(|(name, protocol, port)| NamedPort { name, protocol, port });
    let node = prop::sample::select(vec![None, Some(LOCAL), Some("n2"), Some("n3")]);
    let flags = (prop::bool::weighted(0.15), prop::bool::weighted(0.1));
    (any_namespace(), any_labels(), node, flags, prop::collection::vec(named, 0..3)).prop_map(
        |(namespace, labels, node, (host_network, terminated), named_ports)| Pod {
            namespace,
            labels,
            node: node.map(str::to_owned),
            host_network,
            terminated,
            named_ports,
            ..Pod::default()
        },
    )
}

fn any_selector() -> impl Strategy<Value = LabelSelector> {
    let values = || prop::collection::vec(any_value(), 1..3);
    let operator = prop_oneof![
        values().prop_map(Operator::In),
        values().prop_map(Operator::NotIn),
        Just(Operator::Exists),
        Just(Operator::DoesNotExist),
    ];
    let term = (any_key(), operator).prop_map(|(key, operator)| Expression { key, operator });
    let labels = prop::collection::btree_map(any_key(), any_value(), 0..2);
    (labels, prop::collection::vec(term, 0..2)).prop_map(|(match_labels, match_expressions)| {
        LabelSelector { match_labels, match_expressions }
    })
}

fn any_policy() -> impl Strategy<Value = NetworkPolicy> {
    let rules = || prop::option::weighted(0.7, prop::collection::vec(any_rule(), 0..3));
    (any_namespace(), any_selector(), rules(), rules()).prop_map(
        |(namespace, pod_selector, ingress, egress)| NetworkPolicy {
            namespace,
            name: String::new(),
            pod_selector,
            ingress,
            egress,
        },
    )
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let peers = prop::collection::vec(any_peer(), 0..3);
    let ports = prop::collection::vec(any_port(), 0..3);
    (peers, ports).prop_map(|(peers, ports)| Rule { peers: peers.into(), ports: ports.into() })
}

fn any_peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        any_selector().prop_map(|it| Peer::Selectors { pods: Some(it), namespaces: None }),
        any_selector().prop_map(|it| Peer::Selectors { pods: None, namespaces: Some(it) }),
        (any_selector(), any_selector())
            .prop_map(|(a, b)| Peer::Selectors { pods: Some(a), namespaces: Some(b) }),
        any_block(),
    ]
}

fn any_block() -> impl Strategy<Value = Peer> {
    (0u8..3, 0u8..8, 0u8..=5, prop::collection::vec((0u8..32, 1u8..=5), 0..3)).prop_map(
        |(form, last, host_bits, holes)| {
            let net = |last: u8, host_bits: u8| -> IpNet {
                let (address, len) = match form {
                    0 => (v4(last), 32 - host_bits),
                    1 => (v6(last), 128 - host_bits),
                    _ => (Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped().into(), 128 - host_bits),
                };
                IpNet::new(address, len).unwrap()
            };
            // Host bits are left in place: `10.0.0.3/28` is legal and means `10.0.0.0/28`.
            let except = holes
                .into_iter()
                .filter(|(_, fewer)| *fewer <= host_bits && host_bits > 0)
                .map(|(offset, fewer)| {
                    let first = last & !((1 << host_bits) - 1);
                    net(first | (offset & ((1 << host_bits) - 1)), host_bits - fewer)
                })
                .collect();
            Peer::Block(Block { cidr: net(last, host_bits), except })
        },
    )
}

fn any_port() -> impl Strategy<Value = PolicyPort> {
    let port = prop_oneof![
        Just(Port::All),
        (80u16..84).prop_map(Port::Number),
        (80u16..84, 0u16..4).prop_map(|(first, len)| Port::Range { first, last: first + len }),
        any_port_name().prop_map(Port::Named),
        any_port_name().prop_map(Port::Named),
    ];
    (any_protocol(), port).prop_map(|(protocol, port)| PolicyPort { protocol, port })
}
