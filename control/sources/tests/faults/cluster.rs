//! ClusterNetworkPolicies.

use super::assert_faults;

pub(super) const GUARD: &str = "ClusterNetworkPolicy guard";

pub(super) const POLICY: &str = "\
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: guard}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {}}
  ingress:
  - action: Deny
    from: [{namespaces: {}}]
  egress:
  - name: out
    action: Accept
    to:
    - pods: {podSelector: {}}
    - {namespaces: {}}
    protocols:
    - tcp: {destinationPort: {number: 80}}
    - udp: {destinationPort: {range: {start: 1, end: 2}}}
";

/// A flow list of so many of one item.
fn many(item: &str, count: usize) -> String {
    format!("[{}]", vec![item; count].join(", "))
}

#[test]
fn of_a_cluster_network_policy() {
    assert_faults(
        POLICY,
        "ClusterNetworkPolicy Guard_1",
        &[(3, "metadata: {name: Guard_1}", &["3: metadata.name: \"Guard_1\" is not right; want"])],
    );
    assert_faults(
        POLICY,
        "ClusterNetworkPolicy",
        &[(3, "metadata: {}", &["3: metadata.name: missing"])],
    );
    assert_faults(
        POLICY,
        GUARD,
        &[
            (5, "", &["4: spec.tier: missing; want Admin or Baseline"]),
            (5, "  tier: admin", &["5: spec.tier: unknown tier \"admin\"; want Admin or Base"]),
            (5, "  tier: [Admin]", &["5: spec.tier: invalid type: sequence, expected a string"]),
            (6, "", &["4: spec.priority: missing; want 0 to 1000"]),
            (6, "  priority: -1", &["6: spec.priority: -1 is no priority; want 0 to 1000"]),
            (6, "  priority: 1001", &["6: spec.priority: 1001 is no priority; want 0 to 1000"]),
            (6, "  priority: 70000", &["6: spec.priority: 70000 is no priority; want 0 to"]),
            (6, "  priority: low", &["6: spec.priority: invalid type: string \"low\", expected"]),
        ],
    );
}

#[test]
fn of_the_subject_of_a_cluster_network_policy() {
    assert_faults(
        POLICY,
        GUARD,
        &[
            (7, "", &["4: spec.subject: missing; want namespaces or pods"]),
            (7, "  subject: {}", &["7: spec.subject: has none of its fields; want namespaces or"]),
            (
                7,
                "  subject: {namespaces: {}, pods: {podSelector: {}}}",
                &["7: spec.subject: has namespaces and pods; want exactly one"],
            ),
            (
                7,
                "  subject: {pods: {namespaceSelector: {}}}",
                &["7: spec.subject.pods.podSelector: missing; want a selector"],
            ),
            (
                7,
                "  subject: [{namespaces: {}}]",
                &["7: spec.subject: invalid type: sequence, expected a map"],
            ),
            (
                7,
                "  subject: {namespaces: {matchLabels: {a b: c}}}",
                &[
                    "7: spec.subject.namespaces.matchLabels[a b]: \"a b\" is not right; want a label",
                ],
            ),
            (
                7,
                "  subject: {namespaces: {matchLabels: {a: true}}}",
                &["7: spec.subject.namespaces.matchLabels.a: invalid type: boolean `true`"],
            ),
            (
                7,
                "  subject: {namespaces: {matchExpressions: [{key: a, operator: in, values: [b]}]}}",
                &[
                    "7: spec.subject.namespaces.matchExpressions[0].operator: unknown operator \"in\"",
                ],
            ),
            (
                7,
                "  subject: {pods: {namespaceSelector: {matchLabels: {a: \"-\"}}, podSelector: \
                 {matchExpressions: [{key: /, operator: Exists}]}}}",
                &[
                    "7: spec.subject.pods.namespaceSelector.matchLabels[a]: \"-\" is not right",
                    "7: spec.subject.pods.podSelector.matchExpressions[0].key: \"/\" is not right",
                ],
            ),
        ],
    );
}

#[test]
fn of_the_rules_of_a_cluster_network_policy() {
    let rules = format!("  egress: {}", many("{action: Deny, to: [{nodes: {}}]}", 26));
    let name = format!("  - name: {}", "a".repeat(101));
    let peers = format!("    from: {}", many("{namespaces: {}}", 26));
    let text = POLICY.split_once("  egress:").unwrap().0;
    assert_faults(
        &format!("{text}  egress: []\n"),
        GUARD,
        &[
            (11, &rules, &["11: spec.egress: 26 rules; want at most 25"]),
            (11, "  egress: {}", &["11: spec.egress: invalid type: map, expected a sequence"]),
            (
                11,
                "  egress: [to]",
                &["11: spec.egress[0]: invalid type: string \"to\", expected a"],
            ),
        ],
    );
    assert_faults(
        POLICY,
        GUARD,
        &[
            (12, &name, &["12: spec.egress[0].name: 101 characters; want at most 100"]),
            (9, "  - name: in", &["9: spec.ingress[0].action: missing; want Accept, Deny or Pass"]),
            (
                9,
                "  - action: Allow",
                &["9: spec.ingress[0].action: unknown action \"Allow\"; want"],
            ),
            (10, "", &["9: spec.ingress[0].from: missing; want a list of namespaces or pods"]),
            (10, "    from: []", &["10: spec.ingress[0].from: a list of no peers; want 1 to 25"]),
            (10, &peers, &["10: spec.ingress[0].from: 26 peers; want at most 25"]),
            (
                10,
                "    to: [{namespaces: {}}]",
                &[
                    "9: spec.ingress[0].from: missing",
                    "10: spec.ingress[0].to: stands in an ingress rule; want from",
                ],
            ),
            (
                12,
                "  - from: [{namespaces: {}}]",
                &["12: spec.egress[0].from: stands in an egress rule; want to"],
            ),
            (
                12,
                "  - ports: [{portNumber: {port: 80}}]",
                &["12: spec.egress[0].ports: no such field, and without it more could be let"],
            ),
        ],
    );
}

#[test]
fn of_the_peers_of_a_cluster_network_policy() {
    for (text, expected) in [
        ("    - {}", "15: spec.egress[0].to[0]: has none of its fields; want namespaces, pods, no"),
        ("    - {pods: null}", "15: spec.egress[0].to[0]: has none of its fields; want name"),
        (
            "    - {namespaces: {}, nodes: {}}",
            "15: spec.egress[0].to[0]: has namespaces and nodes; want exactly one of them",
        ),
        (
            "    - {namespaces: {}, wormholes: {}}",
            "15: spec.egress[0].to[0]: has namespaces and wormholes; want exactly one of them",
        ),
        (
            "    - {caves: {}, wormholes: {}}",
            "15: spec.egress[0].to[0]: has caves and wormholes; want exactly one of them",
        ),
        ("    - pods: {}", "15: spec.egress[0].to[0].pods.podSelector: missing; want a selector"),
        ("    - pods: []", "15: spec.egress[0].to[0].pods: invalid type: sequence, expected a m"),
        (
            "    - nodes: {matchExpressions: [{key: a, operator: In}]}",
            "15: spec.egress[0].to[0].nodes.matchExpressions[0].values: In has no values; give at",
        ),
        (
            "    - domainNames: [\"*.example.org\"]",
            "15: spec.egress[0].to[0].domainNames: domain names cannot be enforced yet; want netw",
        ),
        (
            "    - domainNames: []",
            "15: spec.egress[0].to[0].domainNames: domain names cannot be enforced yet; want netw",
        ),
    ] {
        assert_faults(POLICY, GUARD, &[(15, text, &[expected])]);
    }
}

#[test]
fn of_the_networks_of_a_cluster_network_policy() {
    let nets: Vec<String> = (0..26).map(|place| format!("10.{place}.0.0/16")).collect();
    let nets = format!("    - networks: [{}]", nets.join(", "));
    for (line, text, expected) in [
        (
            15,
            "    - networks: []",
            "15: spec.egress[0].to[0].networks: a list of no networks; want 1",
        ),
        (
            15,
            "    - networks: [10.0.0.0/8, 10.0.0.1/33]",
            "15: spec.egress[0].to[0].networks[1]: \"10.0.0.1/33\" is no CIDR; want one such as",
        ),
        (
            15,
            "    - networks: [10.0.0.1]",
            "15: spec.egress[0].to[0].networks[0]: \"10.0.0.1\" is no CIDR; want one such as",
        ),
        (
            15,
            "    - networks: [10.0.0.0/8, \"::ffff:10.0.0.0/104\"]",
            "15: spec.egress[0].to[0].networks[1]: 10.0.0.0/8 stands in this list already; want",
        ),
        (15, nets.as_str(), "15: spec.egress[0].to[0].networks: 26 networks; want at most 25"),
        (
            10,
            "    from: [{namespaces: {}}, {networks: [10.0.0.0/8]}]",
            "10: spec.ingress[0].from[1].networks: stands in an ingress rule; want it in an egress",
        ),
        (
            10,
            "    from: [{nodes: {}}]",
            "10: spec.ingress[0].from[0].nodes: stands in an ingress rule; want it in an egress",
        ),
        (
            10,
            "    from: [{domainNames: [a.example]}]",
            "10: spec.ingress[0].from[0].domainNames: domain names cannot be enforced yet",
        ),
        (10, "    from: [{}]", "10: spec.ingress[0].from[0]: has none of its fields; want namespa"),
    ] {
        assert_faults(POLICY, GUARD, &[(line, text, &[expected])]);
    }
}

#[test]
fn of_the_protocols_of_a_cluster_network_policy() {
    for (wrong, expected) in [
        ("    - {}", ": has none of its fields; want tcp, udp, sctp or destinationNamed"),
        ("    - {icmp: {}}", ".icmp: no such field, and without it more could be let"),
        (
            "    - {tcp: {destinationPort: {number: 1}}, udp: {destinationPort: {number: 1}}}",
            ": has tcp and udp; want exactly one of them",
        ),
        (
            "    - {tcp: {destinationPort: {number: 1}}, destinationNamedPort: a}",
            ": has tcp and destinationNamedPort; want exactly one of them",
        ),
        ("    - tcp: {}", ".tcp.destinationPort: missing; want number or range"),
        ("    - tcp: [{number: 80}]", ".tcp: invalid type: sequence, expected a map"),
        ("    - tcp:", ": has none of its fields"),
        ("    - destinationNamedPort: Web", ".destinationNamedPort: \"Web\" is not right"),
        ("    - destinationNamedPort: \"\"", ".destinationNamedPort: \"\" is not right"),
    ] {
        let expected = format!("18: spec.egress[0].protocols[0]{expected}");
        assert_faults(POLICY, GUARD, &[(18, wrong, &[&expected])]);
    }
}

#[test]
fn of_the_ports_of_a_cluster_network_policy() {
    for (wrong, expected) in [
        ("80", ": invalid type: integer `80`, expected a map"),
        ("{}", ": has none of its fields; want number or range"),
        (
            "{number: 1, range: {start: 1, end: 2}}",
            ": has number and range; want exactly one of them",
        ),
        ("{number: 0}", ".number: 0 is no port number; want 1 to 65535"),
        ("{number: 65536}", ".number: 65536 is no port number"),
        ("{number: -1}", ".number: -1 is no port number"),
        ("{number: http}", ".number: invalid type: string \"http\""),
        ("{range: {start: 1}}", ".range.end: missing; want 1 to 65535"),
        ("{range: {end: 1}}", ".range.start: missing; want 1 to 65535"),
        ("{range: {start: 0, end: 1}}", ".range.start: 0 is no port"),
        ("{range: {start: 1, end: 65536}}", ".range.end: 65536 is no"),
        (
            "{range: {start: 80, end: 80}}",
            ".range: end 80 is not above start 80; want a larger end, or num",
        ),
        ("{range: {start: 81, end: 80}}", ".range: end 80 is not above start 81"),
    ] {
        let wrong = format!("    - tcp: {{destinationPort: {wrong}}}");
        let expected = format!("18: spec.egress[0].protocols[0].tcp.destinationPort{expected}");
        assert_faults(POLICY, GUARD, &[(18, &wrong, &[&expected])]);
    }
}

#[test]
fn of_named_ports_and_of_how_many_protocols_there_are() {
    let protocols = many("{tcp: {destinationPort: {number: 80}}}", 26);
    assert_faults(
        POLICY,
        GUARD,
        &[
            (
                15,
                "    - networks: [10.0.0.0/8]\n    protocols: [{destinationNamedPort: web}]\n  \
                 - action: Deny\n    to:",
                &["16: spec.egress[0].protocols[0].destinationNamedPort: stands beside networks"],
            ),
            (
                15,
                "    - nodes: {}\n    protocols: [{destinationNamedPort: web}]\n  \
                 - action: Deny\n    to:",
                &["16: spec.egress[0].protocols[0].destinationNamedPort: stands beside nodes, wh"],
            ),
            (
                10,
                "    from: [{namespaces: {}}]\n    protocols: []",
                &["11: spec.ingress[0].protocols: a list of no protocols; want 1 to 25"],
            ),
            (
                10,
                &format!("    from: [{{namespaces: {{}}}}]\n    protocols: {protocols}"),
                &["11: spec.ingress[0].protocols: 26 protocols; want at most 25"],
            ),
        ],
    );
}
