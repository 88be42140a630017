//! ClusterNetworkPolicies on the wire.

use sluice_policy::model::{
    Action, ClusterNetworkPolicy, ClusterPeer, ClusterPorts, ClusterRule, NamespacedPods, RuleSet,
    Tier,
};

use super::faults_of;
use crate::{snapshot, wire};
use wire::cluster_peer::Peer;
use wire::cluster_port::Port;

fn selector() -> Option<wire::LabelSelector> {
    Some(wire::LabelSelector::default())
}

fn pods() -> wire::NamespacedPods {
    wire::NamespacedPods { namespace_selector: selector(), pod_selector: selector() }
}

fn peer(peer: Peer) -> wire::ClusterPeer {
    wire::ClusterPeer { peer: Some(peer) }
}

fn networks(cidrs: &[&str]) -> wire::ClusterPeer {
    let cidrs = cidrs.iter().map(|&cidr| cidr.to_owned()).collect();
    peer(Peer::Networks(wire::Networks { cidrs }))
}

fn range(protocol: i32, first: u32, last: u32) -> wire::ClusterPort {
    let range = wire::ProtocolPorts { protocol, first, last };
    wire::ClusterPort { port: Some(Port::Range(range)) }
}

fn any_of(ports: Vec<wire::ClusterPort>) -> Option<wire::ClusterPorts> {
    let list = wire::ClusterPortList { ports };
    Some(wire::ClusterPorts { ports: Some(wire::cluster_ports::Ports::AnyOf(list)) })
}

fn rule(peers: Vec<wire::ClusterPeer>, ports: Vec<wire::ClusterPort>) -> wire::ClusterRule {
    wire::ClusterRule { name: "r".into(), action: 2, peers, ports: any_of(ports) }
}

/// A policy without a fault.
fn policy() -> wire::ClusterNetworkPolicy {
    let to = vec![peer(Peer::Pods(pods())), networks(&["10.0.0.0/8"])];
    let egress = wire::ClusterRules { rules: vec![rule(to, vec![range(1, 80, 80)])] };
    wire::ClusterNetworkPolicy {
        name: "guard".into(),
        tier: 1,
        priority: Some(0),
        subject: Some(pods()),
        ingress: Some(wire::ClusterRules::default()),
        egress: Some(egress),
    }
}

fn faults_with(policy: wire::ClusterNetworkPolicy) -> Vec<String> {
    let message =
        wire::RuleSet { cluster_network_policies: vec![policy], ..wire::RuleSet::default() };
    faults_of(&message)
}

#[test]
fn each_fault_names_policy_field_and_what_would_be_right() {
    type Change = fn(&mut wire::ClusterNetworkPolicy);
    let cases: [(Change, &str); 9] = [
        (|it| it.tier = 0, "spec.tier: it is unspecified; want Admin or Baseline"),
        (|it| it.tier = 9, "spec.tier: value 9 is unknown here; want Admin or Baseline"),
        (
            |it| it.priority = None,
            "spec.priority: it is absent; want 0 to 1000, of which 0 comes first",
        ),
        (|it| it.priority = Some(1001), "spec.priority: 1001 is no priority; want 0 to 1000"),
        (|it| it.priority = Some(65_536), "spec.priority: 65536 is no priority; want 0 to 1000"),
        (
            |it| it.subject = None,
            "spec.subject: it is absent; want the pods that the policy speaks for",
        ),
        (
            |it| it.subject.as_mut().unwrap().pod_selector = None,
            "spec.subject.pods.podSelector: it is absent; an empty selector selects every pod",
        ),
        (
            |it| it.subject.as_mut().unwrap().namespace_selector = None,
            "spec.subject.pods.namespaceSelector: it is absent; an empty selector selects every \
             namespace",
        ),
        (|it| it.ingress = None, "spec.ingress: it is absent; want the rules, which may be none"),
    ];
    for (change, expected) in cases {
        let mut wrong = policy();
        change(&mut wrong);
        assert_eq!(faults_with(wrong), [format!("ClusterNetworkPolicy guard: {expected}")]);
    }
}

#[test]
fn each_fault_of_a_rule_names_its_place() {
    let mut wrong = policy();
    let to = vec![
        wire::ClusterPeer { peer: None },
        networks(&["10.0.0.0/8", "x"]),
        networks(&[]),
        peer(Peer::Pods(wire::NamespacedPods { namespace_selector: None, ..pods() })),
    ];
    let ports = vec![
        range(0, 1, 1),
        range(77, 1, 1),
        range(2, 0, 65_536),
        range(3, 80, 79),
        wire::ClusterPort { port: None },
    ];
    let silent = wire::ClusterRule::default();
    let empty = rule(vec![peer(Peer::Pods(pods()))], Vec::new());
    wrong.egress = Some(wire::ClusterRules { rules: vec![rule(to, ports), silent, empty] });
    let expected = [
        "[0].protocols[0].protocol: it is unspecified; want TCP, UDP or SCTP",
        "[0].protocols[1].protocol: value 77 is unknown here; want TCP, UDP or SCTP",
        "[0].protocols[2].udp.destinationPort.range.end: 65536 is no port number; want 1 to 65535",
        "[0].protocols[2].udp.destinationPort.range.start: 0 is no port number; want 1 to 65535",
        "[0].protocols[3].sctp.destinationPort.range.end: 79 is below start 80; want 80 to 65535",
        "[0].protocols[4]: names no port; want a range or a name",
        "[0].to[0]: names no peer; want pods, nodes, networks or an unknown one",
        "[0].to[1].networks[1]: \"x\" is no address block; want such as 10.0.0.0/8 or fd00::/64",
        "[0].to[2].networks: a list of no networks; want at least one, such as 10.0.0.0/8",
        "[0].to[3].pods.namespaceSelector: it is absent; an empty selector selects every namespace",
        "[1].action: it is unspecified; want Accept, Deny or Pass",
        "[1].protocols: it is absent; want all, or a list of ports",
        "[1].to: a list of no peers; want at least one peer",
        "[2].protocols: a list of no ports; want all, or at least one port",
    ];
    let expected =
        expected.map(|problem| format!("ClusterNetworkPolicy guard: spec.egress{problem}"));
    assert_eq!(faults_with(wrong), expected);
}

#[test]
fn peers_that_only_egress_has_are_none_of_ingress() {
    let mut wrong = policy();
    let from = vec![peer(Peer::Nodes(wire::LabelSelector::default())), networks(&["::/0"])];
    let rules = vec![rule(from, vec![range(1, 1, 65_535)])];
    wrong.ingress = Some(wire::ClusterRules { rules });
    let at = "ClusterNetworkPolicy guard: spec.ingress[0].from";
    let want = "only egress rules have such peers; want pods";
    assert_eq!(
        faults_with(wrong),
        [format!("{at}[0].nodes: {want}"), format!("{at}[1].networks: {want}")]
    );
}

/// A rule set from files may have such a peer, and a restart must find it.
#[test]
fn a_peer_of_an_unknown_kind_survives_as_bytes() {
    let rule = ClusterRule {
        name: String::new(),
        action: Action::Accept,
        peers: vec![ClusterPeer::Unknown("domainNames".into()), ClusterPeer::Unknown("".into())],
        ports: ClusterPorts::All,
    };
    let policy = ClusterNetworkPolicy {
        name: "names".into(),
        tier: Tier::Baseline,
        priority: 7,
        subject: NamespacedPods::default(),
        ingress: vec![rule.clone()],
        egress: vec![rule],
    };
    let mut rules = RuleSet::default();
    rules.insert(policy).unwrap();
    assert_eq!(snapshot::decode(&snapshot::encode(&rules)), Ok(rules));
}

#[test]
fn two_policies_of_one_name_are_refused() {
    let message = wire::RuleSet {
        cluster_network_policies: vec![policy(), policy()],
        ..wire::RuleSet::default()
    };
    let faults = faults_of(&message);
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("ClusterNetworkPolicy guard: metadata.name: "), "{faults:?}");
}
