//! The rules of NetworkPolicy and ClusterNetworkPolicy one by one, each by its number, on the
//! whole way: manifest text is parsed, compiled, and asked, or given packets to judge.
//!
//! A test has a hit and a near miss. Where Kubernetes leaves something open, it says what Sluice
//! does and that this is its choice.
//!
//! | rules | |
//! |---|---|
//! | 1 to 8 | `isolation` |
//! | 9 to 17 | `peers` |
//! | 18 to 22 | `ports` |
//! | 23, 24, 28, 30 | `connections` |
//! | 25, 26, 27, 29 | `hosts` |
//! | 31 to 38 | `cluster` |
//! | beyond what Kubernetes' own suites try | `gaps`, `live` |

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail as the test does"
)]

mod cluster;
mod connections;
mod gaps;
mod given;
mod hosts;
mod isolation;
mod live;
mod peers;
mod ports;
mod wire;

use std::collections::BTreeSet;

/// What holds, from rule 1 on.
const RULES: [&str; 38] = [
    "isolation is per direction, for the pods that some policy of their namespace selects",
    "without policyTypes ingress is isolated, and egress only if there is a rule for it",
    "no rule denies all, an empty rule allows all",
    "an empty podSelector, or none, selects all pods of the namespace",
    "pods in their node's network are neither subjects nor peers",
    "policies and rules are a union, in any order",
    "both ends must allow",
    "every change of policies, labels, pods and namespaces counts at once",
    "missing or empty peers are everybody",
    "selectors: own namespace, whole namespaces, both in one item, one of two items",
    "an empty namespaceSelector is all pods, and neither nodes nor the outside",
    "an empty podSelector is all pods of the own namespace",
    "In, NotIn, Exists and DoesNotExist, and all terms must hold",
    "every namespace has its name as a label",
    "ipBlock holds for pods too, and its holes are its own",
    "ipBlock stands alone and is of one IP version",
    "pods and blocks of one list are ored",
    "missing ports are all, a missing protocol is TCP, a missing port is every port",
    "a named port is resolved on the destination pod",
    "endPort ends a range and belongs to it",
    "ports are those of the pod, and not of a service",
    "a protocol matches no other one",
    "replies and ICMP errors ride on their connection",
    "what becomes of live connections after a change",
    "a pod and its own node reach each other, other nodes are subject to policy",
    "a pod reaches its own address",
    "a pod that is not known is denied, and is isolated as soon as it is known",
    "ICMP and policies",
    "ipBlock sees the addresses on the wire",
    "a denial is silent",
    "Admin, then NetworkPolicy, then Baseline, then allowed",
    "priorities, the order of rules, and limits",
    "Accept, Deny and Pass: the first match ends the tier, at each end by itself",
    "an unknown kind of peer fails closed",
    "protocols: numbers, ranges and names of ports",
    "domainNames cannot be enforced, and are refused",
    "networks match pods too",
    "nodes are matched by the addresses of their status",
];

#[test]
fn every_rule_has_a_test() {
    let sources = [
        include_str!("isolation.rs"),
        include_str!("peers.rs"),
        include_str!("ports.rs"),
        include_str!("connections.rs"),
        include_str!("hosts.rs"),
        include_str!("cluster.rs"),
    ];
    let tests = sources.iter().flat_map(|source| source.split("#[test]\nfn rule_").skip(1));
    let number = |test: &str| test.split('_').next().and_then(|it| it.parse().ok());
    let tested: BTreeSet<usize> = tests.map(|test| number(test).unwrap()).collect();
    let rules = (1..).zip(RULES);
    let untested: Vec<_> = rules.filter(|(number, _)| !tested.contains(number)).collect();
    assert_eq!(untested, []);
    assert_eq!(tested.len(), RULES.len(), "a test of a rule that is not listed: {tested:?}");
}
