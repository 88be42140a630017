//! The rules of NetworkPolicy one by one, each as the table answers it.

use std::net::IpAddr;

use sluice_core::address::NetworkId;
use sluice_core::policy::{Attempt, Reason};
use sluice_core::ports::{ICMP, SCTP, TCP, UDP};
use sluice_core::table::{Party, Table, Tier};

use super::*;
use crate::model::{
    Block, LabelSelector, Labels, NamedPort, Namespace, NetworkPolicy, Object, Peer, Pod,
    PolicyPort, PolicyType, Port, Protocol, Rule,
};

const BOTH: [PolicyType; 2] = [PolicyType::Ingress, PolicyType::Egress];
const INGRESS: [PolicyType; 1] = [PolicyType::Ingress];
const EGRESS: [PolicyType; 1] = [PolicyType::Egress];
const OUTSIDE: &str = "203.0.113.9";

/// x/a 10.0.0.1, x/b 10.0.0.2, y/a 10.0.0.3, y/b 10.0.0.4; labels `pod` and, of y, `team: y`.
fn cluster() -> RuleSet {
    let mut rules = RuleSet::default();
    for (namespace, name, last) in [("x", "a", 1), ("x", "b", 2), ("y", "a", 3), ("y", "b", 4)] {
        let pod = Pod::new(namespace, name).with_label("pod", name).with_address(v4(last));
        rules.insert(pod).unwrap();
    }
    let labels = Labels::from([("team".to_owned(), "y".to_owned())]);
    rules.insert(Namespace { name: "y".to_owned(), labels }).unwrap();
    rules
}

fn v4(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn with(objects: impl IntoIterator<Item = Object>) -> Table {
    let mut rules = cluster();
    for object in objects {
        rules.replace(object);
    }
    table(&rules)
}

fn table(rules: &RuleSet) -> Table {
    let options = CompileOptions { local_node: Some("n1".to_owned()) };
    compile(rules, &options).unwrap()
}

fn policy(name: &str, pods: LabelSelector, types: &[PolicyType], rules: Vec<Rule>) -> Object {
    NetworkPolicy::new("x", name, pods, types, Some(rules.clone()), Some(rules)).into()
}

fn on_a(types: &[PolicyType], rules: Vec<Rule>) -> Object {
    policy("p", LabelSelector::label("pod", "a"), types, rules)
}

fn from(peers: Vec<Peer>) -> Rule {
    Rule { peers: peers.into(), ..Rule::default() }
}

fn ports(ports: Vec<PolicyPort>) -> Rule {
    Rule { ports: ports.into(), ..Rule::default() }
}

fn port(protocol: Protocol, port: Port) -> PolicyPort {
    PolicyPort { protocol, port }
}

fn pods(pods: Option<LabelSelector>, namespaces: Option<LabelSelector>) -> Peer {
    Peer::Selectors { pods, namespaces }
}

fn block(cidr: &str, except: &[&str]) -> Peer {
    let except = except.iter().map(|net| net.parse().unwrap()).collect();
    Peer::Block(Block { cidr: cidr.parse().unwrap(), except })
}

fn attempt(source: &str, destination: &str, protocol: u8, port: Option<u16>) -> Attempt {
    let address = |who: &str| match who {
        "x/a" => v4(1),
        "x/b" => v4(2),
        "y/a" => v4(3),
        "y/b" => v4(4),
        address => address.parse().unwrap(),
    };
    let (source, destination) = (address(source), address(destination));
    Attempt { network: NetworkId::DEFAULT, source, destination, protocol, port }
}

fn allowed(table: &Table, source: &str, destination: &str) -> bool {
    table.decide(&attempt(source, destination, TCP, Some(80))).allows()
}

/// Which of x/b, y/a, y/b and the outside reach x/a.
fn who_reaches_a(table: &Table) -> Vec<&'static str> {
    let all = ["x/b", "y/a", "y/b", OUTSIDE];
    all.into_iter().filter(|source| allowed(table, source, "x/a")).collect()
}

#[test]
fn rule_1_isolation_is_per_direction_and_per_pod() {
    let table = with([on_a(&INGRESS, vec![])]);
    assert!(!allowed(&table, "x/b", "x/a"));
    assert!(allowed(&table, "x/a", "x/b") && allowed(&table, "y/a", "x/b"));
    let table = with([on_a(&EGRESS, vec![])]);
    assert!(allowed(&table, "x/b", "x/a"));
    assert!(!allowed(&table, "x/a", "x/b") && !allowed(&table, "x/a", OUTSIDE));
}

#[test]
fn rule_3_no_rule_denies_all_and_an_empty_rule_allows_all() {
    assert_eq!(who_reaches_a(&with([on_a(&INGRESS, vec![])])), [] as [&str; 0]);
    let table = with([on_a(&INGRESS, vec![Rule::default()])]);
    assert_eq!(who_reaches_a(&table).len(), 4);
    assert!(table.decide(&attempt("x/b", "x/a", ICMP, None)).allows());
}

#[test]
fn rule_4_an_empty_pod_selector_selects_the_namespace() {
    let table = with([policy("p", LabelSelector::everything(), &INGRESS, vec![])]);
    assert!(!allowed(&table, "y/a", "x/a") && !allowed(&table, "y/a", "x/b"));
    assert!(allowed(&table, "x/a", "y/a"));
}

#[test]
fn rule_5_pods_in_the_nodes_network_are_never_subjects_nor_peers() {
    let host = Pod { host_network: true, node: Some("n2".to_owned()), ..Pod::new("x", "h") };
    let host = host.with_label("pod", "a").with_address(v4(50));
    let peer = pods(None, Some(LabelSelector::everything()));
    let table = with([host.into(), on_a(&BOTH, vec![from(vec![peer])])]);
    assert!(matches!(table.party(NetworkId::DEFAULT, v4(50)), Party::Node(_)));
    assert!(!allowed(&table, "10.0.0.50", "x/a"), "no peer");
    assert_eq!(
        table.decide(&attempt("y/a", "10.0.0.50", TCP, Some(80))).ingress,
        Reason::NotAPod,
        "no subject"
    );
    assert!(table.endpoint_named("x/h").is_some(), "explain and reach know it");
}

#[test]
fn rule_6_policies_are_a_union() {
    let peer = |name| from(vec![pods(Some(LabelSelector::label("pod", name)), None)]);
    let deny = policy("deny", LabelSelector::everything(), &INGRESS, vec![]);
    let table = with([deny, on_a(&INGRESS, vec![peer("c"), peer("b")])]);
    assert_eq!(who_reaches_a(&table), ["x/b"]);
    let reason = table.decide(&attempt("x/b", "x/a", TCP, Some(80))).ingress;
    let Reason::Accepted(Tier::NetworkPolicy, rule) = reason else { panic!("{reason:?}") };
    assert_eq!((rule.index, &*table.policy(rule.policy).unwrap().name), (1, "x/p"));
}

#[test]
fn rule_7_both_ends_must_allow() {
    let table = with([
        policy("out", LabelSelector::label("pod", "a"), &EGRESS, vec![Rule::default()]),
        policy("in", LabelSelector::label("pod", "b"), &INGRESS, vec![]),
    ]);
    let decision = table.decide(&attempt("x/a", "x/b", TCP, Some(80)));
    assert!(decision.egress.allows() && !decision.ingress.allows() && !decision.allows());
}

#[test]
fn rules_9_to_14_peers() {
    let own = || LabelSelector::everything();
    let name = |it: &str| LabelSelector::label("kubernetes.io/metadata.name", it);
    let pod = |it: &str| LabelSelector::label("pod", it);
    let cases: Vec<(&str, Vec<Peer>, &[&str])> = vec![
        ("9: empty", vec![], &["x/b", "y/a", "y/b", OUTSIDE]),
        ("10: pods only", vec![pods(Some(pod("b")), None)], &["x/b"]),
        (
            "10: namespaces only",
            vec![pods(None, Some(LabelSelector::label("team", "y")))],
            &["y/a", "y/b"],
        ),
        ("10: and", vec![pods(Some(pod("b")), Some(name("y")))], &["y/b"]),
        (
            "10: or",
            vec![pods(Some(pod("b")), None), pods(None, Some(name("y")))],
            &["x/b", "y/a", "y/b"],
        ),
        ("11: all namespaces", vec![pods(None, Some(own()))], &["x/b", "y/a", "y/b"]),
        ("12: all pods of its own", vec![pods(Some(own()), None)], &["x/b"]),
        ("14: x has no object", vec![pods(Some(pod("b")), Some(name("x")))], &["x/b"]),
        ("nobody", vec![pods(Some(pod("z")), Some(own()))], &[]),
    ];
    for (case, peers, expected) in cases {
        assert_eq!(who_reaches_a(&with([on_a(&INGRESS, vec![from(peers)])])), expected, "{case}");
    }
}

#[test]
fn rules_15_to_17_blocks() {
    let cases: Vec<(&str, Vec<Peer>, &[&str])> = vec![
        ("15: pods too", vec![block("10.0.0.2/31", &[])], &["x/b", "y/a"]),
        ("15: a hole", vec![block("0.0.0.0/0", &["10.0.0.0/24"])], &[OUTSIDE]),
        (
            "15: a hole that is allowed again",
            vec![block("0.0.0.0/0", &["10.0.0.0/24"]), block("10.0.0.4/32", &[])],
            &["y/b", OUTSIDE],
        ),
        ("16: mapped", vec![block("::ffff:10.0.0.4/128", &[])], &["y/b"]),
        ("16: ::/0 is no IPv4", vec![block("::/0", &[])], &[]),
        ("host bits", vec![block("10.0.0.3/31", &[])], &["x/b", "y/a"]),
        (
            "17: pods or blocks",
            vec![pods(Some(LabelSelector::everything()), None), block("10.0.0.2/32", &[])],
            &["x/b"],
        ),
    ];
    for (case, peers, expected) in cases {
        assert_eq!(who_reaches_a(&with([on_a(&INGRESS, vec![from(peers)])])), expected, "{case}");
    }
}

#[test]
fn rules_18_20_22_ports_and_protocols() {
    let all = || port(Protocol::Tcp, Port::All);
    let range = || port(Protocol::Tcp, Port::Range { first: 80, last: 82 });
    let udp = || port(Protocol::Udp, Port::Number(80));
    type Case = (Vec<PolicyPort>, &'static [(u8, u16, bool)]);
    let cases: Vec<Case> = vec![
        (vec![], &[(TCP, 1, true), (UDP, 1, true), (SCTP, 1, true)]),
        (vec![all()], &[(TCP, 1, true), (TCP, 65535, true), (UDP, 1, false), (SCTP, 1, false)]),
        (vec![range()], &[(TCP, 79, false), (TCP, 80, true), (TCP, 82, true), (TCP, 83, false)]),
        (vec![udp()], &[(UDP, 80, true), (TCP, 80, false), (SCTP, 80, false), (UDP, 81, false)]),
        (vec![range(), udp()], &[(UDP, 80, true), (TCP, 81, true), (UDP, 81, false)]),
    ];
    for (list, expected) in cases {
        let table = with([on_a(&INGRESS, vec![ports(list.clone())])]);
        for &(protocol, number, allow) in expected {
            let found = table.decide(&attempt("x/b", "x/a", protocol, Some(number))).allows();
            assert_eq!(found, allow, "{list:?} {protocol} {number}");
        }
        let icmp = table.decide(&attempt("x/b", "x/a", ICMP, None)).allows();
        assert_eq!(icmp, list.is_empty(), "ICMP is allowed only with everything");
    }
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
    vec![port(Protocol::Tcp, Port::Named("web".to_owned()))]
}

#[test]
fn rule_19_ingress_names_resolve_on_the_subject_whoever_the_peer_is() {
    for peers in
        [vec![], vec![block("0.0.0.0/0", &[])], vec![pods(None, Some(LabelSelector::everything()))]]
    {
        let mut rules = named_cluster();
        let inside_only = matches!(peers.first(), Some(Peer::Selectors { .. }));
        let rule = Rule { peers: peers.into(), ports: web().into() };
        rules.replace(policy("p", LabelSelector::everything(), &INGRESS, vec![rule]));
        let table = table(&rules);
        for (to, number, expected) in
            [("x/a", 80, true), ("x/a", 81, false), ("x/b", 81, true), ("x/b", 80, false)]
        {
            let found = table.decide(&attempt("y/b", to, TCP, Some(number))).allows();
            assert_eq!(found, expected, "{to} {number}");
            let outside = table.decide(&attempt(OUTSIDE, to, TCP, Some(number))).allows();
            assert_eq!(outside, expected && !inside_only, "outside to {to} {number}");
        }
    }
}

#[test]
fn rule_19_egress_names_resolve_on_each_peer() {
    for peers in [vec![], vec![pods(None, Some(LabelSelector::everything()))]] {
        let mut rules = named_cluster();
        let rule = Rule { peers: peers.into(), ports: web().into() };
        rules.replace(on_a(&EGRESS, vec![rule]));
        let table = table(&rules);
        for (to, number, expected) in [
            ("x/b", 81, true),
            ("x/b", 80, false),
            ("y/a", 80, false),
            ("y/b", 80, false),
            (OUTSIDE, 80, false),
        ] {
            let found = table.decide(&attempt("x/a", to, TCP, Some(number))).allows();
            assert_eq!(found, expected, "{to} {number}");
        }
    }
}

#[test]
fn rules_15_and_19_an_egress_name_resolves_on_the_pods_within_a_block() {
    let mut rules = named_cluster();
    let hole = format!("{}/32", v4(3));
    let rule = Rule { peers: vec![block("10.0.0.0/24", &[&hole])].into(), ports: web().into() };
    rules.replace(on_a(&EGRESS, vec![rule]));
    let table = table(&rules);
    for (to, protocol, number, expected) in [
        ("x/b", TCP, 81, true),
        ("x/b", TCP, 80, false),
        ("y/a", UDP, 80, false), // in the hole, and the protocol differs
        (OUTSIDE, TCP, 80, false),
    ] {
        let found = table.decide(&attempt("x/a", to, protocol, Some(number))).allows();
        assert_eq!(found, expected, "{to} {number}");
    }
}

#[test]
fn rules_25_and_26_own_node_and_own_address() {
    let node = |name: &str, last| crate::model::Node {
        name: name.to_owned(),
        addresses: vec![v4(last)],
        ..Default::default()
    };
    let mut rules = cluster();
    rules.replace(node("n1", 101));
    rules.replace(node("n2", 102));
    rules.replace(on_a(&BOTH, vec![]));
    let table = table(&rules);
    assert!(allowed(&table, "10.0.0.101", "x/a") && allowed(&table, "x/a", "10.0.0.101"));
    assert!(!allowed(&table, "10.0.0.102", "x/a") && !allowed(&table, "x/a", "10.0.0.102"));
    assert!(allowed(&table, "x/a", "x/a"));
}

#[test]
fn pods_that_have_run_to_their_end_are_left_out() {
    let gone = Pod { terminated: true, ..Pod::new("x", "old") }.with_address(v4(2));
    let table = with([gone.into()]);
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
