//! Small matrices, read in full.

use super::*;
use crate::compile::{CompileOptions, compile};
use crate::model::{LabelSelector, NetworkPolicy, Pod, PolicyType, RuleSet};

/// x/a with both IP versions and isolated for ingress; x/b IPv4; x-y/c IPv6; x/h on node n1.
fn table() -> Table {
    let mut rules = RuleSet::default();
    for (namespace, name, addresses) in [
        ("x", "a", &["10.0.0.1", "fd00::1"][..]),
        ("x", "b", &["10.0.0.2"]),
        ("x-y", "c", &["fd00::3"]),
        ("x", "h", &["10.0.0.9"]),
    ] {
        let mut pod = Pod::new(namespace, name).with_label("pod", name);
        pod.addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        pod.host_network = name == "h";
        pod.node = Some(if name == "a" || name == "h" { "n1" } else { "n2" }.to_owned());
        rules.insert(pod).unwrap();
    }
    let a = LabelSelector::label("pod", "a");
    rules.insert(NetworkPolicy::new("x", "p", a, &[PolicyType::Ingress], None, None)).unwrap();
    compile(&rules, &CompileOptions::default()).unwrap()
}

#[test]
fn the_json_is_exact() {
    let found = reach(&table(), &[(Protocol::Tcp, 80)], Some(Family::V4), |_, _| {});
    assert_eq!(
        serde_json::to_value(&found).unwrap(),
        serde_json::json!({
            "pods": ["x/a", "x/b", "x/h", "x-y/c"],
            "ports": [{
                "port": 80, "protocol": "TCP",
                // x/h is x/a's own node, which is allowed always; x-y/c has no IPv4 address.
                "egress": ["...X", "...X", "...X", "XXXX"],
                "ingress": ["...X", "X..X", "...X", "XXXX"],
                "verdict": ["...X", "X..X", "...X", "XXXX"],
            }],
        })
    );
}

#[test]
fn without_a_family_each_pair_finds_its_own() {
    let found = reach(&table(), &[(Protocol::Udp, 53), (Protocol::Tcp, 1)], None, |_, _| {});
    assert_eq!(found.ports[0].verdict, ["....", "X..X", "...X", "XXX."]);
    assert_eq!(found.ports.len(), 2);
    let six = reach(&table(), &[(Protocol::Tcp, 80)], Some(Family::V6), |_, _| {});
    assert_eq!(six.ports[0].verdict, [".XX.", "XXXX", "XXXX", "XXX."]);
}

#[test]
fn the_table_for_people() {
    let text = reach(&table(), &[(Protocol::Tcp, 80)], Some(Family::V4), |_, _| {}).to_string();
    assert_eq!(
        text,
        "TCP 80   . allow   X drop   row: from   column: to\n\
         \u{20}       0 1 2 3\n\
         0 x/a   . . . X\n\
         1 x/b   X . . X\n\
         2 x/h   . . . X\n\
         3 x-y/c X X X X\n"
    );
}
