//! Random rule sets out of so few words that policies often say the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use crate::model::{
    Action, Block, ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterPorts, ClusterRule,
    Expression, LabelSelector, Labels, NamedPort, Namespace, NamespacedPods, NetworkPolicy, Node,
    Operator, Peer, Pod, PolicyPort, Port, Protocol, Rule, RuleSet, Tier,
};

pub(super) fn any_rule_set() -> impl Strategy<Value = RuleSet> {
    let namespaces = prop::collection::vec(any_labels(), 2);
    let pods = prop::collection::vec(any_pod(), 0..7);
    let policies = prop::collection::vec(any_policy(), 0..6);
    let cluster = prop::collection::vec(any_cluster_policy(), 0..4);
    (namespaces, pods, policies, cluster).prop_map(|(namespaces, pods, policies, cluster)| {
        let mut rules = RuleSet::default();
        for (labels, name) in namespaces.into_iter().zip(["x", "y"]) {
            rules.insert(Namespace { name: name.to_owned(), labels }).unwrap();
        }
        for (name, last, zone) in [("n1", 101, "a"), ("n2", 102, "b")] {
            let labels = Labels::from([("app".to_owned(), zone.to_owned())]);
            rules
                .insert(Node { name: name.to_owned(), labels, addresses: vec![v4(last)] })
                .unwrap();
        }
        for (mut pod, place) in pods.into_iter().zip(1u8..) {
            pod.name = format!("p{place}");
            pod.addresses = match pod {
                Pod { host_network: true, .. } => vec![v4(101 + place % 2)],
                _ => vec![v4(place), v6(place)],
            };
            pod.node = Some(["n1", "n2"][usize::from(place % 2)].to_owned());
            rules.insert(pod).unwrap();
        }
        for (mut policy, place) in policies.into_iter().zip(0u8..) {
            policy.name = format!("policy{place}");
            rules.insert(policy).unwrap();
        }
        for (mut policy, place) in cluster.into_iter().zip(0u8..) {
            policy.name = format!("cluster{place}");
            rules.insert(policy).unwrap();
        }
        rules
    })
}

pub(super) fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

fn v6(last: u8) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).into()
}

fn any_labels() -> impl Strategy<Value = Labels> {
    let both = ["app", "tier"].map(|key| (key.to_owned(), "a".to_owned()));
    prop_oneof![Just(Labels::from(both)), prop::collection::btree_map(any_key(), any_value(), 0..3),]
}

fn any_key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["app", "tier"]).prop_map(str::to_owned)
}

fn any_value() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "a", "b"]).prop_map(str::to_owned)
}

fn any_port_name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["web", "dns", "none"]).prop_map(str::to_owned)
}

fn any_protocol() -> impl Strategy<Value = Protocol> {
    prop::sample::select(vec![Protocol::Tcp, Protocol::Tcp, Protocol::Udp])
}

fn any_pod() -> impl Strategy<Value = Pod> {
    let name = prop::sample::select(vec!["web", "dns"]).prop_map(str::to_owned);
    let named = (name, any_protocol(), 80u16..83).prop_map(|(name, protocol, port)| NamedPort {
        name,
        protocol,
        port,
    });
    let namespace = prop::sample::select(vec!["x", "x", "x", "y"]);
    let flags = (prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    (namespace, any_labels(), flags, prop::collection::vec(named, 0..3)).prop_map(
        |(namespace, labels, (host_network, terminated), named_ports)| Pod {
            namespace: namespace.to_owned(),
            labels,
            host_network,
            terminated,
            named_ports,
            ..Pod::default()
        },
    )
}

fn any_selector() -> impl Strategy<Value = LabelSelector> {
    let values = || prop::collection::vec(any_value(), 1..2);
    let operator = prop_oneof![
        values().prop_map(Operator::In),
        values().prop_map(Operator::NotIn),
        Just(Operator::Exists),
        Just(Operator::DoesNotExist),
    ];
    let term = (any_key(), operator).prop_map(|(key, operator)| Expression { key, operator });
    prop_oneof![
        2 => Just(LabelSelector::everything()),
        4 => (any_key(), any_value()).prop_map(|(key, value)| LabelSelector::label(key, value)),
        1 => term.prop_map(|term| LabelSelector {
            match_expressions: vec![term],
            ..LabelSelector::default()
        }),
    ]
}

fn any_policy() -> impl Strategy<Value = NetworkPolicy> {
    let rules = || prop::option::weighted(0.6, prop::collection::vec(any_rule(), 0..3));
    let namespace = prop::sample::select(vec!["x", "x", "x", "y", "z"]);
    (namespace, any_selector(), rules(), rules()).prop_map(
        |(namespace, pod_selector, ingress, egress)| NetworkPolicy {
            namespace: namespace.to_owned(),
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
    let selector = || prop::option::of(any_selector());
    let selectors = (any_selector(), selector())
        .prop_map(|(pods, namespaces)| Peer::Selectors { pods: Some(pods), namespaces });
    let block = (any_net(), prop::collection::vec(any_net(), 0..3)).prop_map(|(cidr, holes)| {
        let inside = |hole: &IpNet| cidr.contains(hole) && cidr != *hole;
        Peer::Block(Block { cidr, except: holes.into_iter().filter(inside).collect() })
    });
    prop_oneof![
        2 => selectors,
        1 => any_selector().prop_map(|it| Peer::Selectors { pods: None, namespaces: Some(it) }),
        2 => block,
    ]
}

fn any_net() -> impl Strategy<Value = IpNet> {
    let nets =
        ["10.0.0.0/29", "10.0.0.0/30", "10.0.0.2/31", "10.0.0.4/30", "10.0.0.0/24", "fd00::/126"];
    prop::sample::select(nets.map(|net| net.parse().unwrap()).to_vec())
}

fn any_port() -> impl Strategy<Value = PolicyPort> {
    let port = prop_oneof![
        Just(Port::All),
        (80u16..83).prop_map(Port::Number),
        (80u16..83, 0u16..3).prop_map(|(first, len)| Port::Range { first, last: first + len }),
        any_port_name().prop_map(Port::Named),
    ];
    (any_protocol(), port).prop_map(|(protocol, port)| PolicyPort { protocol, port })
}

fn any_cluster_policy() -> impl Strategy<Value = ClusterNetworkPolicy> {
    let tier = prop::sample::select(vec![Tier::Admin, Tier::Baseline]);
    let rules = |egress| prop::collection::vec(any_cluster_rule(egress), 0..4);
    (tier, 0u16..2, any_pods(), rules(false), rules(true)).prop_map(
        |(tier, priority, subject, ingress, egress)| ClusterNetworkPolicy {
            name: String::new(),
            tier,
            priority,
            subject,
            ingress,
            egress,
        },
    )
}

fn any_pods() -> impl Strategy<Value = NamespacedPods> {
    let namespaces = prop_oneof![2 => Just(LabelSelector::everything()), 1 => any_selector()];
    (namespaces, any_selector()).prop_map(|(namespaces, pods)| NamespacedPods { namespaces, pods })
}

fn any_cluster_rule(egress: bool) -> impl Strategy<Value = ClusterRule> {
    let action = prop::sample::select(vec![Action::Accept, Action::Deny, Action::Pass]);
    let peer = if egress {
        prop_oneof![
            20 => any_pods().prop_map(ClusterPeer::Pods),
            5 => any_selector().prop_map(ClusterPeer::Nodes),
            10 => any_net().prop_map(|net| ClusterPeer::Networks(vec![net])),
            1 => Just(ClusterPeer::Unknown("moon".to_owned())),
        ]
        .boxed()
    } else {
        prop_oneof![
            30 => any_pods().prop_map(ClusterPeer::Pods),
            1 => Just(ClusterPeer::Unknown("moon".to_owned())),
        ]
        .boxed()
    };
    let range = (any_protocol(), 80u16..83, 0u16..3).prop_map(|(protocol, first, len)| {
        ClusterPort::Range { protocol, first, last: first + len }
    });
    let port = prop_oneof![3 => range, 1 => any_port_name().prop_map(ClusterPort::Named)];
    let ports = prop_oneof![
        Just(ClusterPorts::All),
        prop::collection::vec(port, 1..3).prop_map(ClusterPorts::AnyOf),
    ];
    (action, prop::collection::vec(peer, 1..3), ports).prop_map(|(action, peers, mut ports)| {
        // Addresses and nodes give ports no names.
        let nameless = peers.iter().any(|it| !matches!(it, ClusterPeer::Pods(_)));
        if let (ClusterPorts::AnyOf(items), true) = (&mut ports, nameless) {
            items.retain(|it| !matches!(it, ClusterPort::Named(_)));
            if items.is_empty() {
                ports = ClusterPorts::All;
            }
        }
        ClusterRule { name: String::new(), action, peers, ports }
    })
}
