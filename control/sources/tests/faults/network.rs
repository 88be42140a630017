//! NetworkPolicies.

use super::assert_faults;

pub(super) const P: &str = "NetworkPolicy x/p";

pub(super) const POLICY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: x}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {}}]
    ports: [{port: 80}]
  egress:
  - to: [{ipBlock: {cidr: 10.0.0.0/8}}]
";

#[test]
fn of_the_names_and_selectors_of_a_network_policy() {
    assert_faults(
        POLICY,
        "NetworkPolicy x/P",
        &[(
            3,
            "metadata: {name: P, namespace: x}",
            &["3: metadata.name: \"P\" is not right; want"],
        )],
    );
    assert_faults(
        POLICY,
        "NetworkPolicy x.y/p",
        &[(
            3,
            "metadata: {name: p, namespace: x.y}",
            &["3: metadata.namespace: \"x.y\" is not right; want 1 to 63"],
        )],
    );
    assert_faults(
        POLICY,
        P,
        &[
            (
                5,
                "  podSelector: {matchLabels: {a b: c}}",
                &["5: spec.podSelector.matchLabels[a b]: \"a b\" is not right; want a label key"],
            ),
            (
                5,
                "  podSelector: {matchLabels: {a: \"b c\"}}",
                &["5: spec.podSelector.matchLabels[a]: \"b c\" is not right; want a label value"],
            ),
            (
                8,
                "  - from: [{namespaceSelector: {matchLabels: {X.io/a: b}}}]",
                &[
                    "8: spec.ingress[0].from[0].namespaceSelector.matchLabels[X.io/a]: \"X.io/a\" is",
                ],
            ),
            (
                8,
                "  - from: [{podSelector: {matchExpressions: [{key: -a, operator: In, values: [.]}]}}]",
                &[
                    "8: spec.ingress[0].from[0].podSelector.matchExpressions[0].key: \"-a\" is not",
                    "8: spec.ingress[0].from[0].podSelector.matchExpressions[0].values[0]: \".\" is",
                ],
            ),
            (6, "  policyTypes: [Ingress, Both]", &["6: spec.policyTypes[1]: unknown policy type"]),
        ],
    );
}

#[test]
fn of_the_peers_of_a_network_policy() {
    assert_faults(
        POLICY,
        P,
        &[
            (
                8,
                "  - from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]",
                &[
                    "8: spec.ingress[0].from[0].ipBlock: stands beside a selector; want it in an item",
                ],
            ),
            (
                11,
                "  - to: [{ipBlock: {cidr: 10.0.0.0/8}, namespaceSelector: {}}]",
                &["11: spec.egress[0].to[0].ipBlock: stands beside a selector"],
            ),
            (8, "  - from: [{}]", &["8: spec.ingress[0].from[0]: names no peer; want podSelector"]),
            (
                11,
                "  - to:\n    - ipBlock:\n        cidr: 10.0.0.0/8\n        except:\n        \
                 - 10.1.0.0/16\n        - 11.0.0.0/16\n        - 10.0.0.0/8\n        - fd00::/8",
                &[
                    "16: spec.egress[0].to[0].ipBlock.except[1]: 11.0.0.0/16 is not a true part of",
                    "17: spec.egress[0].to[0].ipBlock.except[2]: 10.0.0.0/8 is not a true part of",
                    "18: spec.egress[0].to[0].ipBlock.except[3]: fd00::/8 is not a true part of",
                ],
            ),
            (
                11,
                "  - to: [{ipBlock: {cidr: 10.0.0.0}}]",
                &[
                    "11: spec.egress[0].to[0].ipBlock.cidr: \"10.0.0.0\" is no CIDR; want one such as",
                ],
            ),
        ],
    );
}

#[test]
fn of_the_ports_of_a_network_policy() {
    for (port, expected) in [
        ("{port: 0}", "port: 0 is no port number; want 1 to 65535"),
        ("{port: 65536}", "port: 65536 is no port number; want 1 to 65535"),
        ("{port: -1}", "port: -1 is no port number; want 1 to 65535"),
        ("{port: HTTP}", "port: \"HTTP\" is not right; want a port name"),
        ("{port: 80, endPort: 79}", "endPort: 79 is below port 80; want 80 to 65535"),
        ("{port: 80, endPort: 65536}", "endPort: 65536 is no port number; want 1 to 65535"),
        ("{port: web, endPort: 80}", "endPort: port is the name \"web\"; a range begins with a"),
        ("{endPort: 80}", "endPort: port is absent; a range needs the number that it begins with"),
        ("{protocol: ICMP}", "protocol: unknown protocol \"ICMP\"; want TCP, UDP or SCTP"),
        ("{protocol: tcp, port: 80}", "protocol: unknown protocol \"tcp\"; want TCP, UDP or SCTP"),
    ] {
        let wrong = format!("    ports: [{{port: 80, endPort: 80}}, {port}]");
        let expected = format!("9: spec.ingress[0].ports[1].{expected}");
        assert_faults(POLICY, P, &[(9, &wrong, &[&expected])]);
    }
}
