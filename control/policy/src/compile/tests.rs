//! What a table holds. What its policies mean is tested from manifests on, in `control/sources`.

use std::net::IpAddr;

use sluice_core::address::NetworkId;
use sluice_core::table::{Party, Table};

use super::*;
use crate::model::{
    Block, LabelSelector, NamedPort, NetworkPolicy, Node, Object, Peer, Pod, PolicyPort,
    PolicyType, Port, Protocol, Rule,
};

const BOTH: [PolicyType; 2] = [PolicyType::Ingress, PolicyType::Egress];

/// x/a 10.0.0.1, x/b 10.0.0.2, y/a 10.0.0.3, y/b 10.0.0.4, each with the label `pod`.
fn cluster() -> RuleSet {
    let mut rules = RuleSet::default();
    for (namespace, name, last) in [("x", "a", 1), ("x", "b", 2), ("y", "a", 3), ("y", "b", 4)] {
        let pod = Pod::new(namespace, name).with_label("pod", name).with_address(v4(last));
        rules.insert(pod).unwrap();
    }
    rules
}

fn v4(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn policy(name: &str, pods: LabelSelector, types: &[PolicyType], rules: Vec<Rule>) -> Object {
    NetworkPolicy::new("x", name, pods, types, Some(rules.clone()), Some(rules)).into()
}

fn from(peers: Vec<Peer>) -> Rule {
    Rule { peers: peers.into(), ..Rule::default() }
}

fn block(cidr: &str, except: &[&str]) -> Peer {
    let except = except.iter().map(|net| net.parse().unwrap()).collect();
    Peer::Block(Block { cidr: cidr.parse().unwrap(), except })
}

/// x/a calls TCP 80 `web`, x/b TCP 81, y/a UDP 80; y/b has no names.
fn named_cluster() -> RuleSet {
    let mut rules = cluster();
    for (namespace, name, last, protocol, number) in [
        ("x", "a", 1, Protocol::Tcp, 80),
        ("x", "b", 2, Protocol::Tcp, 81),
        ("y", "a", 3, Protocol::Udp, 80),
    ] {
        let mut pod = Pod::new(namespace, name).with_label("pod", name).with_address(v4(last));
        pod.named_ports = vec![NamedPort { name: "web".to_owned(), protocol, port: number }];
        rules.replace(pod);
    }
    rules
}

fn web() -> Vec<PolicyPort> {
    vec![PolicyPort { protocol: Protocol::Tcp, port: Port::Named("web".to_owned()) }]
}

#[test]
fn pods_that_have_run_to_their_end_are_left_out() {
    let gone = Pod { terminated: true, ..Pod::new("x", "old") }.with_address(v4(2));
    let mut rules = cluster();
    rules.replace(gone);
    let table = compile(&rules, &CompileOptions::default()).unwrap();
    assert_eq!(table.endpoint_named("x/old"), None);
    assert!(matches!(table.party(NetworkId::DEFAULT, v4(2)), Party::Pod(_)));
}

#[test]
fn nodes_exist_where_they_are_mentioned() {
    let mut rules = cluster();
    let host = Pod { host_network: true, node: Some("n9".to_owned()), ..Pod::new("x", "h") };
    rules.replace(host.with_address(v4(99)));
    let options = CompileOptions { local_node: Some("n1".to_owned()) };
    let table = compile(&rules, &options).unwrap();
    let names: Vec<&str> = table.nodes().map(|(_, node)| &*node.name).collect();
    assert_eq!(names, ["n1", "n9"]);
    assert_eq!(table.local_node(), Some(NodeId(0)));
    assert_eq!(table.node(NodeId(1)).unwrap().addresses, [v4(99)]);
    let node_of_a =
        |table: &Table| table.endpoint(table.endpoint_named("x/a").unwrap()).unwrap().node;
    assert_eq!(node_of_a(&table), Some(NodeId(0)));
    let table = compile(&rules, &CompileOptions::default()).unwrap();
    assert_eq!((table.local_node(), node_of_a(&table)), (None, None));
}

#[test]
fn equal_things_are_stored_once() {
    let mut rules = cluster();
    for place in 0..100u8 {
        rules.replace(Pod::new("x", format!("r{place}")).with_label("app", "r"));
    }
    let peers = vec![block("10.0.0.0/8", &["10.1.0.0/16", "10.2.0.0/16"])];
    let other = vec![block("10.9.9.9/8", &["10.2.0.0/16", "10.1.0.0/16", "10.1.0.0/16"])];
    rules.replace(policy("p", LabelSelector::everything(), &BOTH, vec![from(peers), from(other)]));
    let size = Compiler::with(rules, &CompileOptions::default(), 1).unwrap().size();
    let expected = Size { identities: 5, groups: 0, policy_sets: 2, blocks: 1 };
    assert_eq!(size, expected, "replicas, directions and notations of a block");
}

#[test]
fn the_order_of_insertion_does_not_matter() {
    let mut forwards = named_cluster();
    for name in ["p1", "p2", "p3"] {
        let rule = Rule { peers: vec![block("10.0.0.0/8", &[])].into(), ports: web().into() };
        forwards.replace(policy(name, LabelSelector::everything(), &BOTH, vec![rule]));
    }
    let mut backwards = RuleSet::default();
    let objects: Vec<Object> = forwards.clone().into_objects().collect();
    for object in objects.into_iter().rev() {
        backwards.insert(object).unwrap();
    }
    let options = CompileOptions { local_node: Some("n1".to_owned()) };
    let table = compile(&forwards, &options).unwrap();
    assert_eq!(table, compile(&backwards, &options).unwrap());
    assert_eq!(table, compile(&forwards, &options).unwrap(), "and so every time");
}

#[test]
fn faults_stop_the_compilation() {
    let mut rules = cluster();
    rules.replace(Pod::new("x", "twin").with_address(v4(1)));
    let faults = compile(&rules, &CompileOptions::default()).unwrap_err();
    assert_eq!(faults.len(), 1);
}

/// A pod that names no node is on this one, so its address cannot be another node's: the table
/// could tell only one of them.
#[test]
fn a_pod_in_the_local_nodes_network_keeps_other_nodes_from_its_address() {
    let host = Pod { host_network: true, ..Pod::new("x", "h") }.with_address(v4(99));
    let node =
        |name: &str| Node { name: name.to_owned(), addresses: vec![v4(99)], ..Node::default() };
    let options = CompileOptions { local_node: Some("n1".to_owned()) };
    for (name, faults) in [("n1", 0), ("other", 1)] {
        let mut rules = cluster();
        rules.replace(host.clone());
        rules.replace(node(name));
        let found = compile(&rules, &options).err().unwrap_or_default();
        assert_eq!(found.len(), faults, "{name}: {found:?}");
    }
}
