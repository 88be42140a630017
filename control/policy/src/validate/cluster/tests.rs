//! What is refused of a ClusterNetworkPolicy, with the field that is wrong.

use ipnet::IpNet;

use crate::model::{
    Action, ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterPorts, ClusterRule, Expression,
    LabelSelector, NamespacedPods, Operator, Protocol, RuleSet, Tier,
};
use crate::validate::{validate, validate_object};

fn policy() -> ClusterNetworkPolicy {
    let rule = |name: &str, peers| ClusterRule {
        name: name.to_owned(),
        action: Action::Deny,
        peers,
        ports: ClusterPorts::All,
    };
    ClusterNetworkPolicy {
        name: "p".to_owned(),
        tier: Tier::Admin,
        priority: 1000,
        subject: NamespacedPods::default(),
        ingress: vec![rule("in", vec![pods()])],
        egress: vec![rule("", vec![pods(), networks(&["10.0.0.0/8", "::/0"])])],
    }
}

fn pods() -> ClusterPeer {
    ClusterPeer::Pods(NamespacedPods::default())
}

fn networks(list: &[&str]) -> ClusterPeer {
    ClusterPeer::Networks(list.iter().map(|net| net.parse().unwrap()).collect())
}

fn ports(list: &[(u16, u16)]) -> ClusterPorts {
    let range = |&(first, last)| ClusterPort::Range { protocol: Protocol::Sctp, first, last };
    ClusterPorts::AnyOf(list.iter().map(range).collect())
}

fn named(name: &str) -> ClusterPorts {
    ClusterPorts::AnyOf(vec![ClusterPort::Named(name.to_owned())])
}

/// A selector with a fault in each kind of term.
fn bad_selector() -> LabelSelector {
    let key = || "k".to_owned();
    LabelSelector {
        match_expressions: vec![
            Expression { key: "/".to_owned(), operator: Operator::Exists },
            Expression { key: key(), operator: Operator::In(vec![]) },
            Expression { key: key(), operator: Operator::NotIn(vec![key(), "-".to_owned()]) },
        ],
        ..LabelSelector::label("a b", "ok")
    }
}

/// The faults of [`bad_selector`], sorted.
const BAD_SELECTOR: [&str; 4] = [
    ".matchExpressions[0].key: \"/\" is not right",
    ".matchExpressions[1].values: no values",
    ".matchExpressions[2].values[1]: \"-\" is not right",
    ".matchLabels[a b]: \"a b\" is not right",
];

/// Alters a valid policy and wants these faults, by the object and by the rule set.
fn assert_faults(alter: impl FnOnce(&mut ClusterNetworkPolicy), expected: &[&str]) {
    let mut policy = policy();
    alter(&mut policy);
    let object = format!("ClusterNetworkPolicy {}", policy.name);
    let found = validate_object(&policy.clone().into());
    let mut rules = RuleSet::default();
    rules.insert(policy).unwrap();
    assert_eq!(validate(&rules), found);
    assert_eq!(found.len(), expected.len(), "{found:#?}\n{expected:#?}");
    for (found, expected) in found.iter().zip(expected) {
        let found = found.to_string();
        assert!(found.starts_with(&format!("{object}: {expected}")), "{found}\n{expected}");
    }
}

#[test]
fn what_is_at_the_bounds_is_valid() {
    assert_faults(|_| {}, &[]);
    assert_faults(
        |it| {
            it.ingress[0].name = "\u{e9}".repeat(100);
            it.ingress[0].peers = vec![pods(); 25];
            it.ingress[0].ports = ports(&[(1, 65535); 25]);
            it.ingress = vec![it.ingress[0].clone(); 25];
            let nets: Vec<IpNet> =
                (0..25).map(|i| format!("10.{i}.0.0/16").parse().unwrap()).collect();
            it.egress[0].peers =
                vec![ClusterPeer::Networks(nets), ClusterPeer::Nodes(LabelSelector::everything())];
            it.egress[0].ports = ports(&[(80, 80)]);
        },
        &[],
    );
    // A kind of peer that nobody knows is the compiler's: it fails closed.
    let unknown = || vec![ClusterPeer::Unknown("wormholes".to_owned())];
    assert_faults(|it| it.ingress[0].peers = unknown(), &[]);
    assert_faults(|it| it.egress[0].peers = unknown(), &[]);
}

#[test]
fn bounds_of_the_policy_and_its_lists() {
    assert_faults(|it| it.name = "P".to_owned(), &["metadata.name: \"P\" is not right"]);
    assert_faults(|it| it.priority = 1001, &["spec.priority: 1001 is no priority; want 0 to 1000"]);
    assert_faults(
        |it| {
            it.ingress = vec![it.ingress[0].clone(); 26];
            it.egress = vec![it.egress[0].clone(); 27];
        },
        &["spec.egress: 27 rules; want at most 25", "spec.ingress: 26 rules; want at most 25"],
    );
    assert_faults(
        |it| {
            it.ingress[0].name = "a".repeat(101);
            it.ingress[0].peers = vec![];
            it.ingress[0].ports = ClusterPorts::AnyOf(vec![]);
            it.egress[0].peers = vec![pods(); 26];
            it.egress[0].ports = ports(&[(1, 1); 26]);
        },
        &[
            "spec.egress[0].protocols: 26 protocols; want at most 25",
            "spec.egress[0].to: 26 peers; want at most 25",
            "spec.ingress[0].from: a list of no peers; want 1 to 25",
            "spec.ingress[0].name: 101 characters; want at most 100",
            "spec.ingress[0].protocols: a list of no protocols; want 1 to 25",
        ],
    );
}

#[test]
fn selectors_name_the_fields_that_they_were_written_in() {
    let wrong = bad_selector;
    let by_namespace = || NamespacedPods { namespaces: wrong(), ..NamespacedPods::default() };
    let by_both = || NamespacedPods { namespaces: wrong(), pods: wrong() };
    let check = |alter: &dyn Fn(&mut ClusterNetworkPolicy), fields: &[&str]| {
        let of_field = |field: &&str| BAD_SELECTOR.map(|fault| format!("{field}{fault}"));
        let expected: Vec<String> = fields.iter().flat_map(of_field).collect();
        assert_faults(alter, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    };
    check(&|it| it.subject = by_namespace(), &["spec.subject.namespaces"]);
    check(
        &|it| it.subject = by_both(),
        &["spec.subject.pods.namespaceSelector", "spec.subject.pods.podSelector"],
    );
    check(
        &|it| it.ingress[0].peers.push(ClusterPeer::Pods(by_namespace())),
        &["spec.ingress[0].from[1].namespaces"],
    );
    check(
        &|it| it.egress[0].peers[0] = ClusterPeer::Pods(by_both()),
        &["spec.egress[0].to[0].pods.namespaceSelector", "spec.egress[0].to[0].pods.podSelector"],
    );
    check(
        &|it| it.egress[0].peers[1] = ClusterPeer::Nodes(wrong()),
        &["spec.egress[0].to[1].nodes"],
    );
}

#[test]
fn networks_and_nodes_are_for_egress_and_each_network_is_once() {
    assert_faults(
        |it| {
            it.ingress[0].peers =
                vec![ClusterPeer::Nodes(LabelSelector::everything()), networks(&["10.0.0.0/8"])];
        },
        &[
            "spec.ingress[0].from[0].nodes: stands in an ingress rule",
            "spec.ingress[0].from[1].networks: stands in an ingress rule",
        ],
    );
    let same = ["10.0.0.0/8", "fd00::/8", "10.1.2.3/8", "::ffff:10.0.0.0/104", "10.0.0.0/9"];
    assert_faults(
        |it| it.egress[0].peers = vec![networks(&[]), networks(&same), networks(&same[..1])],
        &[
            "spec.egress[0].to[0].networks: a list of no networks; want 1 to 25",
            "spec.egress[0].to[1].networks[2]: 10.0.0.0/8 stands in this list already",
            "spec.egress[0].to[1].networks[3]: 10.0.0.0/8 stands in this list already",
        ],
    );
    let many: Vec<IpNet> = (0..26).map(|i| format!("10.{i}.0.0/16").parse().unwrap()).collect();
    assert_faults(
        |it| it.egress[0].peers = vec![ClusterPeer::Networks(many)],
        &["spec.egress[0].to[0].networks: 26 networks; want at most 25"],
    );
}

#[test]
fn ports_and_their_names() {
    assert_faults(
        |it| it.egress[0].ports = ports(&[(0, 0), (0, 9), (90, 80), (1, 1)]),
        &[
            "spec.egress[0].protocols[0].sctp.destinationPort.number: 0 is no port number",
            "spec.egress[0].protocols[1].sctp.destinationPort.range.start: 0 is no port number",
            "spec.egress[0].protocols[2].sctp.destinationPort.range: end 80 is below start 90",
        ],
    );
    assert_faults(|it| it.ingress[0].ports = named("web"), &[]);
    assert_faults(
        |it| it.ingress[0].ports = named("Web"),
        &["spec.ingress[0].protocols[0].destinationNamedPort: \"Web\" is not right"],
    );
    assert_faults(
        |it| it.egress[0].ports = named("web"),
        &["spec.egress[0].protocols[0].destinationNamedPort: stands beside networks, which have"],
    );
    assert_faults(
        |it| {
            it.egress[0].peers[1] = ClusterPeer::Nodes(LabelSelector::everything());
            it.egress[0].ports = named("");
        },
        &[
            "spec.egress[0].protocols[0].destinationNamedPort: \"\" is not right",
            "spec.egress[0].protocols[0].destinationNamedPort: stands beside nodes, which have",
        ],
    );
}
