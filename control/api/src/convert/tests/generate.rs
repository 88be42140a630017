//! Whatever the domain can say.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use sluice_core::address::{Mac, NetworkId};
use sluice_policy::model::{
    AccessAction, AccessList, AccessListChange, AccessRule, Action, Block, Change,
    ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterPorts, ClusterRule, Expression, Kind,
    LabelSelector, Labels, Name, NamedPort, Namespace, NamespacedPods, NetworkPolicy, Node, Object,
    ObjectKey, Operator, PRIORITY_MAX, Peer, Peers, Pod, PolicyPort, Port, Ports, Protocol, Rule,
    RuleSet, Tier,
};

use crate::backend::{
    CommitOrder, Content, DIFF_LIMIT_MAX, DiffOrder, Fallback, PortKind, PortMode, PortSpec,
};

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z][a-z0-9-]{0,5}", any::<String>()]
}

fn labels() -> impl Strategy<Value = Labels> {
    btree_map(text(), text(), 0..3)
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)]
}

fn net() -> impl Strategy<Value = IpNet> {
    (any::<IpAddr>(), any::<u8>()).prop_map(|(address, len)| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new(address, len % (most + 1)).unwrap()
    })
}

fn selector() -> impl Strategy<Value = LabelSelector> {
    let operator = prop_oneof![
        vec(text(), 1..3).prop_map(Operator::In),
        vec(text(), 1..3).prop_map(Operator::NotIn),
        Just(Operator::Exists),
        Just(Operator::DoesNotExist),
    ];
    let term = (text(), operator).prop_map(|(key, operator)| Expression { key, operator });
    (labels(), vec(term, 0..3)).prop_map(|(match_labels, match_expressions)| LabelSelector {
        match_labels,
        match_expressions,
    })
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        (option::of(selector()), option::of(selector()))
            .prop_filter("names no peer", |(pods, namespaces)| pods.is_some()
                || namespaces.is_some())
            .prop_map(|(pods, namespaces)| Peer::Selectors { pods, namespaces }),
        (net(), vec(net(), 0..3)).prop_map(|(cidr, except)| Peer::Block(Block { cidr, except })),
    ]
}

fn policy_port() -> impl Strategy<Value = PolicyPort> {
    let port = prop_oneof![
        Just(Port::All),
        (1..=u16::MAX).prop_map(Port::Number),
        (1..=u16::MAX, 1..=u16::MAX)
            .prop_map(|(a, b)| Port::Range { first: a.min(b), last: a.max(b) }),
        text().prop_map(Port::Named),
    ];
    (protocol(), port).prop_map(|(protocol, port)| PolicyPort { protocol, port })
}

fn rules() -> impl Strategy<Value = Option<Vec<Rule>>> {
    let rule = (vec(peer(), 0..3), vec(policy_port(), 0..3))
        .prop_map(|(peers, ports)| Rule { peers: Peers::from(peers), ports: Ports::from(ports) });
    option::of(vec(rule, 0..3))
}

fn namespaced_pods() -> impl Strategy<Value = NamespacedPods> {
    (selector(), selector()).prop_map(|(namespaces, pods)| NamespacedPods { namespaces, pods })
}

fn cluster_peer(is_egress: bool) -> BoxedStrategy<ClusterPeer> {
    let pods = namespaced_pods().prop_map(ClusterPeer::Pods);
    let unknown = text().prop_map(ClusterPeer::Unknown);
    if is_egress {
        let nodes = selector().prop_map(ClusterPeer::Nodes);
        let networks = vec(net(), 1..3).prop_map(ClusterPeer::Networks);
        prop_oneof![pods, nodes, networks, unknown].boxed()
    } else {
        prop_oneof![pods, unknown].boxed()
    }
}

fn cluster_ports() -> impl Strategy<Value = ClusterPorts> {
    let port = prop_oneof![
        (protocol(), 1..=u16::MAX, 1..=u16::MAX).prop_map(|(protocol, a, b)| {
            ClusterPort::Range { protocol, first: a.min(b), last: a.max(b) }
        }),
        text().prop_map(ClusterPort::Named),
    ];
    prop_oneof![Just(ClusterPorts::All), vec(port, 1..3).prop_map(ClusterPorts::AnyOf)]
}

fn cluster_rules(is_egress: bool) -> impl Strategy<Value = Vec<ClusterRule>> {
    let action = prop_oneof![Just(Action::Accept), Just(Action::Deny), Just(Action::Pass)];
    let rule = (text(), action, vec(cluster_peer(is_egress), 1..3), cluster_ports())
        .prop_map(|(name, action, peers, ports)| ClusterRule { name, action, peers, ports });
    vec(rule, 0..3)
}

fn cluster_policy() -> impl Strategy<Value = ClusterNetworkPolicy> {
    (
        (text(), prop_oneof![Just(Tier::Admin), Just(Tier::Baseline)], 0..=PRIORITY_MAX),
        (namespaced_pods(), cluster_rules(false), cluster_rules(true)),
    )
        .prop_map(|((name, tier, priority), (subject, ingress, egress))| {
            ClusterNetworkPolicy { name, tier, priority, subject, ingress, egress }
        })
}

fn access_rule() -> impl Strategy<Value = AccessRule> {
    let action = prop_oneof![Just(AccessAction::Allow), Just(AccessAction::Deny)];
    let nets = (option::of(net()), option::of(net()));
    let ports = (any::<Option<(u16, u16)>>(), any::<Option<(u16, u16)>>());
    (any::<u32>(), action, nets, any::<Option<u8>>(), ports).prop_map(
        |(priority, action, (source, destination), protocol, ports)| AccessRule {
            priority,
            action,
            source,
            destination,
            protocol,
            source_ports: ports.0,
            destination_ports: ports.1,
        },
    )
}

fn object() -> impl Strategy<Value = Object> {
    let named_port = (text(), protocol(), 1..=u16::MAX)
        .prop_map(|(name, protocol, port)| NamedPort { name, protocol, port });
    let pod = (
        (text(), text(), labels(), vec(any::<IpAddr>(), 0..3)),
        (option::of(text()), any::<bool>(), vec(named_port, 0..3), any::<bool>()),
    )
        .prop_map(|((namespace, name, labels, addresses), rest)| {
            let (node, host_network, named_ports, terminated) = rest;
            let named = Pod { namespace, name, labels, addresses, ..Pod::default() };
            Pod { node, host_network, named_ports, terminated, ..named }
        });
    let policy = (text(), text(), selector(), rules(), rules()).prop_map(
        |(namespace, name, pod_selector, ingress, egress)| NetworkPolicy {
            namespace,
            name,
            pod_selector,
            ingress,
            egress,
        },
    );
    prop_oneof![
        (text(), labels()).prop_map(|(name, labels)| Namespace { name, labels }.into()),
        pod.prop_map(Object::from),
        (text(), labels(), vec(any::<IpAddr>(), 0..3)).prop_map(|(name, labels, addresses)| Node {
            name,
            labels,
            addresses
        }
        .into()),
        policy.prop_map(Object::from),
        cluster_policy().prop_map(Object::from),
        (text(), vec(access_rule(), 0..4))
            .prop_map(|(name, rules)| AccessList { name, rules }.into()),
    ]
}

pub(super) fn rule_set() -> impl Strategy<Value = RuleSet> {
    vec(object(), 0..8).prop_map(|objects| {
        let mut rules = RuleSet::default();
        for object in objects {
            rules.replace(object);
        }
        rules
    })
}

pub(super) fn order() -> impl Strategy<Value = CommitOrder> {
    (
        text().prop_filter("too long", |it| it.len() <= 256),
        any::<Option<u64>>(),
        any::<bool>(),
        any::<u64>(),
        content(),
    )
        .prop_map(|(version, base_revision, allow_shrink, revision, content)| CommitOrder {
            version,
            // A delta must have one.
            base_revision: match &content {
                Content::Snapshot(_) => base_revision,
                Content::Delta(_) => Some(base_revision.unwrap_or(revision)),
            },
            allow_shrink,
            content,
        })
}

pub(super) fn diff_order() -> impl Strategy<Value = DiffOrder> {
    (order(), 1..=DIFF_LIMIT_MAX).prop_map(|(CommitOrder { base_revision, content, .. }, limit)| {
        DiffOrder { content, base_revision, limit }
    })
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        rule_set().prop_map(Content::Snapshot),
        (rule_set(), btree_set(object_key(), 0..8), access_list_changes()).prop_map(
            |(upserts, removals, mut access_lists)| {
                let removals: Vec<_> =
                    removals.into_iter().filter(|key| !upserts.contains(key)).collect();
                access_lists.retain(|list| {
                    let key = Object::from(list_named(&list.name)).key();
                    !upserts.contains(&key) && !removals.contains(&key)
                });
                let upserts = upserts.into_objects().collect();
                Content::Delta(Change { upserts, removals, access_lists })
            }
        ),
    ]
}

fn list_named(name: &str) -> AccessList {
    AccessList { name: name.to_owned(), rules: Vec::new() }
}

/// Sorted by name, each once.
fn access_list_changes() -> impl Strategy<Value = Vec<AccessListChange>> {
    let rules = (vec(access_rule(), 0..3), vec(any::<u32>(), 0..3));
    btree_map(text(), rules, 0..3).prop_map(|lists| {
        let change = |(name, (upserts, removals))| AccessListChange { name, upserts, removals };
        lists.into_iter().map(change).collect()
    })
}

/// A key that an object can have.
fn object_key() -> impl Strategy<Value = ObjectKey> {
    let part = || text().prop_filter("says nothing", |text| !text.is_empty());
    let namespaced = prop_oneof![Just(Kind::Pod), Just(Kind::NetworkPolicy)];
    let others = prop_oneof![
        Just(Kind::Namespace),
        Just(Kind::Node),
        Just(Kind::ClusterNetworkPolicy),
        Just(Kind::AccessList)
    ];
    prop_oneof![
        (namespaced, part(), part()).prop_map(|(kind, namespace, name)| ObjectKey {
            kind,
            namespace: Some(namespace),
            name
        }),
        (others, part()).prop_map(|(kind, name)| ObjectKey { kind, namespace: None, name }),
    ]
}

pub(super) fn port_spec() -> impl Strategy<Value = PortSpec> {
    let kind = prop_oneof![
        any::<[u8; 6]>().prop_map(|mut mac| {
            mac[0] = mac[0] & 0xfe | 2;
            let pod = Name { namespace: "shop".into(), name: "web".into() };
            PortKind::Pod { pod, mac: Mac(mac) }
        }),
        Just(PortKind::Uplink),
        Just(PortKind::Host),
    ];
    let fallback = prop_oneof![Just(Fallback::Drop), Just(Fallback::Pass)];
    let vlans = btree_map(1..4095_u16, any::<u16>(), 1..4);
    let mode = prop_oneof![
        Just(PortMode::Auto),
        Just(PortMode::ZeroCopy),
        Just(PortMode::Copy),
        Just(PortMode::Generic),
    ];
    let how = (mode, vec(any::<u32>(), 0..3), any::<bool>());
    let addresses = vec(any::<IpAddr>(), 0..3);
    ("[a-z][a-z0-9.@-]{0,14}", kind, vlans, any::<bool>(), fallback, addresses, how).prop_map(
        |(
            interface,
            kind,
            vlans,
            untagged,
            fallback,
            addresses,
            (mode, workers, priority_tags),
        )| PortSpec {
            interface,
            networks: vlans
                .into_iter()
                .enumerate()
                .map(|(place, (vlan, id))| {
                    (NetworkId(id), (!untagged || place > 0).then_some(vlan))
                })
                .collect(),
            fallback,
            node_addresses: if kind == PortKind::Uplink { addresses } else { Vec::new() },
            kind,
            mode,
            workers,
            priority_tags,
        },
    )
}
