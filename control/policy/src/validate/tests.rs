//! What is refused, with the field that is wrong.

use super::*;
use crate::model::{Expression, NamedPort, PolicyPort, Protocol};

fn faults(objects: Vec<Object>) -> Vec<String> {
    let mut rules = RuleSet::default();
    for object in objects {
        rules.insert(object).unwrap();
    }
    validate(&rules).iter().map(ToString::to_string).collect()
}

fn pod(name: &str, address: &str) -> Pod {
    Pod::new("x", name).with_address(address.parse().unwrap())
}

#[test]
fn all_faults_of_a_policy_are_found() {
    let nets = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect();
    let port = |port| PolicyPort { protocol: Protocol::Tcp, port };
    let selector = LabelSelector {
        match_labels: Labels::from([("a b".to_owned(), "ok".to_owned())]),
        match_expressions: vec![
            Expression { key: String::new(), operator: Operator::Exists },
            Expression { key: "k".to_owned(), operator: Operator::In(vec![]) },
            Expression { key: "k".to_owned(), operator: Operator::NotIn(vec!["-".to_owned()]) },
        ],
    };
    let rule = Rule {
        peers: Peers::AnyOf(vec![
            Peer::Selectors { pods: None, namespaces: None },
            Peer::Block(Block {
                cidr: "10.0.0.0/8".parse().unwrap(),
                except: nets(&[
                    "10.0.0.0/8",
                    "11.0.0.0/9",
                    "::/64",
                    "::ffff:10.1.0.0/112",
                    "10.2.0.0/16",
                ]),
            }),
        ]),
        ports: Ports::AnyOf(vec![
            port(Port::Number(0)),
            port(Port::Range { first: 90, last: 80 }),
            port(Port::Named("Web".to_owned())),
            port(Port::Range { first: 80, last: 80 }),
        ]),
    };
    let empty = Rule { peers: Peers::AnyOf(vec![]), ports: Ports::AnyOf(vec![]) };
    let policy = NetworkPolicy {
        namespace: "x".to_owned(),
        name: "p".to_owned(),
        pod_selector: selector,
        ingress: Some(vec![rule]),
        egress: Some(vec![empty]),
    };
    let found = faults(vec![policy.into()]);
    let expected = [
        "spec.egress[0].ports: a list of no ports",
        "spec.egress[0].to: a list of no peers",
        "spec.ingress[0].from[0]: names no peer",
        "spec.ingress[0].from[1].ipBlock.except[0]: 10.0.0.0/8 is not a true part",
        "spec.ingress[0].from[1].ipBlock.except[1]: 11.0.0.0/9 is not",
        "spec.ingress[0].from[1].ipBlock.except[2]: ::/64 is not",
        "spec.ingress[0].ports[0].port: 0 is no port",
        "spec.ingress[0].ports[1].endPort: 80 is below port 90",
        "spec.ingress[0].ports[2].port: \"Web\" is not right",
        "spec.podSelector.matchExpressions[0].key: \"\" is not right",
        "spec.podSelector.matchExpressions[1].values: no values",
        "spec.podSelector.matchExpressions[2].values[0]: \"-\" is not right",
        "spec.podSelector.matchLabels[a b]: \"a b\" is not right",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(&format!("NetworkPolicy x/p: {expected}")), "{found}");
    }
}

#[test]
fn one_address_has_one_owner() {
    let host = Pod { host_network: true, node: Some("n1".to_owned()), ..pod("h", "10.0.0.9") };
    let host_twin = Pod { host_network: true, ..pod("h2", "10.0.0.9") };
    let gone = Pod { terminated: true, ..pod("gone", "10.0.0.1") };
    let node = Node {
        name: "n1".to_owned(),
        addresses: vec!["10.0.0.8".parse().unwrap()],
        ..Node::default()
    };
    let fine =
        vec![host.into(), host_twin.into(), gone.into(), node.into(), pod("a", "10.0.0.1").into()];
    assert_eq!(faults(fine.clone()), [] as [&str; 0]);
    for (address, problem) in [
        ("::ffff:10.0.0.1", "10.0.0.1 is the address of pod x/a too"),
        ("10.0.0.8", "10.0.0.8 is the address of node n1"),
        ("10.0.0.9", "10.0.0.9 is the address of node n1"),
        ("0.0.0.0", "0.0.0.0 is not the address of one host"),
        ("ff02::1", "ff02::1 is not the address of one host"),
    ] {
        let found = faults([fine.clone(), vec![pod("b", address).into()]].concat());
        assert_eq!(found.len(), 1, "{address}: {found:?}");
        assert!(
            found[0].starts_with(&format!("Pod x/b: status.podIPs[0].ip: {problem}")),
            "{found:?}"
        );
    }
    assert_eq!(
        faults(vec![pod("a", "10.0.0.1").with_address("10.0.0.1".parse().unwrap()).into()]),
        [] as [&str; 0]
    );
}

#[test]
fn names_labels_and_ports_of_pods_and_namespaces() {
    let labels = |key: &str, value: &str| Labels::from([(key.to_owned(), value.to_owned())]);
    let port = NamedPort { name: "80".to_owned(), protocol: Protocol::Tcp, port: 0 };
    let mut wrong = Pod { named_ports: vec![port], ..Pod::new("X", "a/b") };
    wrong.labels = labels("k", "a b");
    let found = faults(vec![
        wrong.into(),
        Namespace { name: "y".to_owned(), labels: labels(NAMESPACE_NAME_LABEL, "z") }.into(),
        Namespace { name: "z".to_owned(), labels: labels(NAMESPACE_NAME_LABEL, "z") }.into(),
    ]);
    let fields: Vec<&str> = found.iter().filter_map(|fault| fault.split(": ").nth(1)).collect();
    assert_eq!(
        fields,
        [
            "metadata.labels[kubernetes.io/metadata.name]",
            "metadata.labels[k]",
            "metadata.name",
            "metadata.namespace",
            "spec.containers[].ports[].containerPort",
            "spec.containers[].ports[].name",
        ]
    );
}

#[test]
fn blocks_have_one_form() {
    for (text, expected) in [
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("fd00::1/8", "fd00::/8"),
    ] {
        assert_eq!(canonical_net(text.parse().unwrap()).to_string(), expected);
    }
}
