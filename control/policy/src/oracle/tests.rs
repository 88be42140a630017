//! The rules of ClusterNetworkPolicy one by one, each as the oracle answers it.

mod matching;

use std::net::IpAddr;

use sluice_core::address::NetworkId;
use sluice_core::policy::DYNAMIC_PORT;
use sluice_core::ports::{ICMP, ICMPV6, SCTP, TCP, UDP};

use super::*;
use crate::model::Action::{Accept, Deny, Pass};
use crate::model::{
    Block, ClusterNetworkPolicy, LabelSelector, Labels, NamedPort, Namespace, Node, Object,
    Protocol,
};

const A: &str = "10.0.0.1";
const B: &str = "10.0.0.2";
const C: &str = "10.0.0.3";
const OUTSIDE: &str = "203.0.113.9";

/// x/a, x/b and y/c at 10.0.0.1 to 3 and fd00::1 to 3 on node n1, labelled `pod: <name>`; y is
/// labelled `team: y`. Nodes n1, n2 at 10.0.1.1 and 2; n2 is labelled `zone: far`, and the pod
/// x/host is in its network with 10.0.1.22. x/done has run to its end and has B's address.
fn cluster() -> RuleSet {
    let mut rules = RuleSet::default();
    for (namespace, name, last) in [("x", "a", 1), ("x", "b", 2), ("y", "c", 3)] {
        let v6 = format!("fd00::{last}");
        let mut pod = Pod::new(namespace, name)
            .with_label("pod", name)
            .with_address([10, 0, 0, last].into())
            .with_address(v6.parse().unwrap());
        pod.node = Some("n1".to_owned());
        rules.insert(pod).unwrap();
    }
    let labels = Labels::from([("team".to_owned(), "y".to_owned())]);
    rules.insert(Namespace { name: "y".to_owned(), labels }).unwrap();
    for (name, last, zone) in [("n1", 1, "near"), ("n2", 2, "far")] {
        let labels = Labels::from([("zone".to_owned(), zone.to_owned())]);
        let addresses = vec![[10, 0, 1, last].into()];
        rules.insert(Node { name: name.to_owned(), labels, addresses }).unwrap();
    }
    for (name, address) in [("host", "10.0.1.22"), ("done", B)] {
        let mut pod =
            Pod::new("x", name).with_label("pod", name).with_address(address.parse().unwrap());
        pod.node = Some("n2".to_owned());
        pod.host_network = name == "host";
        pod.terminated = name == "done";
        rules.insert(pod).unwrap();
    }
    rules
}

fn with(objects: impl IntoIterator<Item = Object>) -> RuleSet {
    let mut rules = cluster();
    for object in objects {
        rules.replace(object);
    }
    rules
}

/// A policy of the Admin tier for x/a in both directions, with priority 5.
fn policy(name: &str, rules: Vec<ClusterRule>) -> ClusterNetworkPolicy {
    ClusterNetworkPolicy {
        name: name.to_owned(),
        tier: Tier::Admin,
        priority: 5,
        subject: pods("x", "a"),
        ingress: rules.clone(),
        egress: rules,
    }
}

fn baseline(name: &str, rules: Vec<ClusterRule>) -> ClusterNetworkPolicy {
    ClusterNetworkPolicy { tier: Tier::Baseline, ..policy(name, rules) }
}

/// A NetworkPolicy that isolates x/a in both directions and admits by these rules.
fn isolating(rules: Vec<Rule>) -> Object {
    let pod = LabelSelector::label("pod", "a");
    let types = [PolicyType::Ingress, PolicyType::Egress];
    NetworkPolicy::new("x", "np", pod, &types, Some(rules.clone()), Some(rules)).into()
}

fn np() -> Name {
    Name { namespace: "x".to_owned(), name: "np".to_owned() }
}

fn rule(action: Action, peers: Vec<ClusterPeer>) -> ClusterRule {
    ClusterRule { name: String::new(), action, peers, ports: ClusterPorts::All }
}

fn all(action: Action) -> ClusterRule {
    rule(action, vec![nets(&["0.0.0.0/0", "::/0"])])
}

fn on_ports(action: Action, ports: Vec<ClusterPort>) -> ClusterRule {
    ClusterRule { ports: ClusterPorts::AnyOf(ports), ..all(action) }
}

fn pods(namespace: &str, pod: &str) -> NamespacedPods {
    NamespacedPods {
        namespaces: LabelSelector::label("kubernetes.io/metadata.name", namespace),
        pods: LabelSelector::label("pod", pod),
    }
}

fn block(cidr: &str) -> Block {
    Block { cidr: cidr.parse().unwrap(), except: Vec::new() }
}

fn nets(nets: &[&str]) -> ClusterPeer {
    ClusterPeer::Networks(nets.iter().map(|net| net.parse().unwrap()).collect())
}

fn unknown() -> ClusterPeer {
    ClusterPeer::Unknown("planets".to_owned())
}

fn attempt(source: &str, destination: &str, protocol: u8, port: Option<u16>) -> Attempt {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let (source, destination) = (address(source), address(destination));
    let (network, source_port) = (NetworkId::DEFAULT, port.map(|_| DYNAMIC_PORT));
    Attempt { network, source, destination, protocol, source_port, port }
}

fn tcp(rules: &RuleSet, source: &str, destination: &str) -> Answer {
    judge(rules, Some("n1"), &attempt(source, destination, TCP, Some(80)))
}

/// Who allows, the source's end and the destination's.
fn allows(answer: &Answer) -> [bool; 2] {
    [answer.egress.allows, answer.ingress.allows]
}

fn by(tier: Tier, policy: &str, rule: usize) -> By {
    By::ClusterRule { tier, policy: policy.to_owned(), rule }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = vec![rule(Accept, vec![nets(&["10.0.0.2/32"])]), all(Deny), all(Accept)];
    let rules = with([policy("p", rules).into()]);
    let (near, far) = (tcp(&rules, A, B), tcp(&rules, A, C));
    assert_eq!(near.egress, End { allows: true, by: by(Tier::Admin, "p", 0) });
    assert_eq!(near.ingress, End { allows: true, by: By::Default });
    assert_eq!(far.egress, End { allows: false, by: by(Tier::Admin, "p", 1) });
    assert!(!far.allows());
    assert_eq!(tcp(&rules, C, A).ingress, far.egress);
    assert_eq!(tcp(&rules, OUTSIDE, A).egress.by, By::NotAPod);
}

#[test]
fn policies_are_asked_by_priority_then_by_name() {
    let first = |a: u16, b: u16| {
        let a = ClusterNetworkPolicy { priority: a, ..policy("a", vec![all(Deny)]) };
        let b = ClusterNetworkPolicy { priority: b, ..policy("b", vec![all(Accept)]) };
        tcp(&with([a.into(), b.into()]), A, B).egress.allows
    };
    assert!(!first(4, 5));
    assert!(first(5, 4));
    assert!(!first(5, 5));
    assert!(first(1000, 0));
    // 10 comes after 9: priorities are numbers.
    assert!(first(10, 9));
}

#[test]
fn the_admin_tier_comes_before_networkpolicies() {
    let deny = with([policy("p", vec![all(Deny)]).into(), isolating(vec![Rule::default()])]);
    assert_eq!(allows(&tcp(&deny, A, C)), [false, true]);
    let accept = with([policy("p", vec![all(Accept)]).into(), isolating(vec![])]);
    assert_eq!(allows(&tcp(&accept, A, C)), [true, true]);
}

#[test]
fn what_no_admin_rule_matches_is_for_networkpolicies() {
    let other = rule(Deny, vec![nets(&["192.0.2.0/24"])]);
    let rules = with([
        policy("p", vec![other]).into(),
        isolating(vec![]),
        baseline("q", vec![all(Accept)]).into(),
    ]);
    let expected = End { allows: false, by: By::NoRule(vec![np()]) };
    assert_eq!(tcp(&rules, A, C).egress, expected);
    assert_eq!(tcp(&rules, C, A).ingress, expected);
}

#[test]
fn every_networkpolicy_rule_that_admits_is_named() {
    let nobody = Rule { peers: vec![Peer::Block(block("192.0.2.0/24"))].into(), ..Rule::default() };
    let rules = with([isolating(vec![Rule::default(), nobody, Rule::default()])]);
    let by = By::Rules(vec![(np(), 0), (np(), 2)]);
    assert_eq!(tcp(&rules, A, C).egress, End { allows: true, by });
}

#[test]
fn the_baseline_tier_is_for_pods_that_no_networkpolicy_selects() {
    let deny = || baseline("q", vec![all(Deny)]);
    let rules = with([deny().into()]);
    let expected = End { allows: false, by: by(Tier::Baseline, "q", 0) };
    assert_eq!(tcp(&rules, A, C).egress, expected);
    let rules = with([deny().into(), isolating(vec![Rule::default()])]);
    assert!(tcp(&rules, A, C).egress.allows);

    // Selected for egress alone, it is still the baseline's for ingress.
    let pod = LabelSelector::label("pod", "a");
    let egress = NetworkPolicy::new("x", "np", pod, &[PolicyType::Egress], None, Some(vec![]));
    let rules = with([baseline("q", vec![all(Accept)]).into(), egress.into()]);
    assert_eq!(tcp(&rules, A, C).egress.by, By::NoRule(vec![np()]));
    assert_eq!(tcp(&rules, C, A).ingress.by, by(Tier::Baseline, "q", 0));
}

#[test]
fn pass_skips_the_rest_of_its_tier_only() {
    let passing = || {
        let first = policy("a", vec![all(Pass), all(Accept)]);
        let second = ClusterNetworkPolicy { priority: 6, ..policy("b", vec![all(Deny)]) };
        [first.into(), second.into()]
    };
    assert_eq!(tcp(&with(passing()), A, C).egress.by, By::Default);
    let rules = with(passing().into_iter().chain([isolating(vec![])]));
    assert!(matches!(tcp(&rules, A, C).egress.by, By::NoRule(_)));
    let rules = with(passing().into_iter().chain([baseline("q", vec![all(Deny)]).into()]));
    assert_eq!(tcp(&rules, A, C).egress.by, by(Tier::Baseline, "q", 0));
    // In the last tier it leaves the default.
    let rules = with([baseline("q", vec![all(Pass), all(Deny)]).into()]);
    assert_eq!(tcp(&rules, A, C).egress, End { allows: true, by: By::Default });
}

#[test]
fn each_end_is_judged_by_its_own_policies() {
    let of_c = ClusterNetworkPolicy { subject: pods("y", "c"), ..policy("p", vec![all(Deny)]) };
    let accept = ClusterNetworkPolicy { priority: 0, ..policy("a", vec![all(Accept)]) };
    let rules = with([of_c.into(), accept.into()]);
    assert_eq!(allows(&tcp(&rules, A, C)), [true, false]);
    assert_eq!(allows(&tcp(&rules, C, A)), [false, true]);
    assert_eq!(allows(&tcp(&rules, B, A)), [true, true]);
}

#[test]
fn a_policy_selects_by_namespace_and_pod() {
    let denies = |namespaces: LabelSelector, pods: LabelSelector, source: &str| {
        let subject = NamespacedPods { namespaces, pods };
        let rules = with([ClusterNetworkPolicy { subject, ..policy("p", vec![all(Deny)]) }.into()]);
        !tcp(&rules, source, OUTSIDE).egress.allows
    };
    let (every, y) = (LabelSelector::everything, || LabelSelector::label("team", "y"));
    let pod = |name: &str| LabelSelector::label("pod", name);
    assert_eq!([A, B, C].map(|it| denies(every(), every(), it)), [true, true, true]);
    assert_eq!([A, B, C].map(|it| denies(y(), every(), it)), [false, false, true]);
    assert_eq!([A, B, C].map(|it| denies(every(), pod("b"), it)), [false, true, false]);
    assert_eq!([A, B, C].map(|it| denies(y(), pod("b"), it)), [false, false, false]);
}

#[test]
fn pods_in_their_nodes_network_and_finished_ones_are_nobodys_subject() {
    let subject =
        |name| ClusterNetworkPolicy { subject: pods("x", name), ..policy("p", vec![all(Deny)]) };
    let host = with([subject("host").into()]);
    assert_eq!(tcp(&host, "10.0.1.22", C).egress, End { allows: true, by: By::NotAPod });
    // B's address was x/done's.
    assert!(tcp(&with([subject("done").into()]), B, C).allows());
    assert!(!tcp(&with([subject("b").into()]), B, C).allows());
}

#[test]
fn a_pod_itself_and_its_own_node_are_beyond_all_policies() {
    let rules = with([policy("p", vec![rule(Deny, vec![unknown()])]).into(), isolating(vec![])]);
    let itself = tcp(&rules, "fd00::1", "fd00::1");
    assert_eq!(itself.egress, End { allows: true, by: By::SamePod });
    assert_eq!(itself.ingress, itself.egress);
    let node = tcp(&rules, "10.0.1.1", A);
    assert_eq!(node.ingress, End { allows: true, by: By::OwnNode });
    assert_eq!(node.egress, node.ingress);
    assert_eq!(allows(&tcp(&rules, "10.0.1.2", A)), [true, false]);
    // A pod that names no node is on the local one.
    let mut homeless = rules.clone();
    homeless.replace(Pod::new("x", "a").with_label("pod", "a").with_address(A.parse().unwrap()));
    assert_eq!(tcp(&homeless, "10.0.1.1", A).ingress.by, By::OwnNode);
    let elsewhere = judge(&homeless, Some("n2"), &attempt("10.0.1.1", A, TCP, Some(80)));
    assert!(!elsewhere.ingress.allows);
}
