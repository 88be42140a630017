//! Selectors that match nothing.

use super::{CLUSTER, assert_advice, assert_advice_in, cluster, policy};

const NO_PODS: &str = "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n";

#[test]
fn a_policy_that_selects_no_pod() {
    for (name, selector, expected) in [
        (
            "shop/p",
            "matchLabels: { app: wbe }",
            "selects no pod: of the pods in namespace shop none has app=wbe; there app is db and web",
        ),
        (
            "shop/p",
            "matchLabels: { name: web }",
            "selects no pod: of the pods in namespace shop none has name=web; none has a label name",
        ),
        (
            "shop/p",
            "matchLabels: { app: web, tier: back }",
            "selects no pod: of the pods in namespace shop none has all the labels asked for at once",
        ),
        (
            "shop/p",
            "matchExpressions: [{ key: app, operator: In, values: [x, y] }]",
            "selects no pod: of the pods in namespace shop none has app in (x, y); there app is",
        ),
        (
            "shop/p",
            "matchExpressions: [{ key: tier, operator: DoesNotExist }]",
            "selects no pod: of the pods in namespace shop each has a label tier",
        ),
        (
            "shop/p",
            "matchLabels: { app: api }",
            "selects no pod: of the pods in namespace shop none has app=api; there app is db and \
             web; pods that match are in namespace bank: a policy selects only in its own namespace",
        ),
        (
            "ghost/p",
            "matchLabels: { app: exporter }",
            "selects no pod: what matches in namespace ghost is in the network of its node",
        ),
        ("bare/p", "", "selects no pod: no pod is in namespace bare"),
        ("shpo/p", "", "selects no pod: no pod is in namespace shpo"),
    ] {
        let expected = format!("NetworkPolicy {name}: spec.podSelector: {expected}");
        let spec = format!("podSelector: {{ {selector} }}");
        assert_advice(&[policy(name, &spec)], &[&expected]);
        assert_advice_in(NO_PODS, &[policy(name, &spec)], &[]);
    }
    for (name, selector) in [
        ("shop/p", ""),
        ("shop/p", "matchLabels: { app: web }"),
        ("shop/p", "matchExpressions: [{ key: app, operator: NotIn, values: [x] }]"),
        // A pod that has run to its end: the next one comes.
        ("bank/p", "matchLabels: { app: job }"),
        ("ghost/p", ""),
    ] {
        assert_advice(&[policy(name, &format!("podSelector: {{ {selector} }}"))], &[]);
    }
}

#[test]
fn a_peer_that_nobody_is() {
    for (peer, expected) in [
        (
            "podSelector: { matchLabels: { app: api } }",
            "podSelector: matches no pod: of the pods in namespace shop none has app=api; there app \
             is db and web; pods that match are in namespace bank: to mean them, add a \
             namespaceSelector",
        ),
        (
            "namespaceSelector: { matchLabels: { level: top } }",
            "namespaceSelector: matches no pod: of the namespaces none has level=top; there level is \
             empty, open and secret; ghost has no Namespace object here",
        ),
        (
            "namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: nobody } }",
            "namespaceSelector: matches no pod: of the namespaces none has \
             kubernetes.io/metadata.name=nobody; there",
        ),
        (
            "namespaceSelector: { matchLabels: { level: empty } }",
            "namespaceSelector: matches no pod: no pod is in namespace bare",
        ),
        (
            "namespaceSelector: { matchLabels: { level: empty } }, podSelector: {}",
            "namespaceSelector: matches no pod: no pod is in namespace bare",
        ),
        (
            "namespaceSelector: { matchLabels: { level: secret } }, podSelector: { matchLabels: { app: web } }",
            "podSelector: matches no pod: of the pods in namespace bank none has app=web; there app \
             is api and job",
        ),
        (
            "namespaceSelector: {}, podSelector: { matchLabels: { app: x } }",
            "podSelector: matches no pod: of the pods in any namespace none has app=x",
        ),
    ] {
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            let spec = format!(
                "podSelector: {{}}, {direction}: [{{ {peers}: [{{ podSelector: {{}} }}, {{ {peer} }}] }}]"
            );
            let at = format!("NetworkPolicy shop/p: spec.{direction}[0].{peers}[1].");
            assert_advice(&[policy("shop/p", &spec)], &[&format!("{at}{expected}")]);
            assert_advice_in(NO_PODS, &[policy("shop/p", &spec)], &[]);
        }
    }
    for peer in [
        "podSelector: { matchLabels: { app: db } }",
        "namespaceSelector: { matchLabels: { level: secret } }",
        "namespaceSelector: { matchLabels: { level: secret } }, podSelector: { matchLabels: { app: job } }",
        "namespaceSelector: {}, podSelector: {}",
        "ipBlock: { cidr: 203.0.113.0/24 }",
    ] {
        let spec = format!("podSelector: {{}}, ingress: [{{ from: [{{ {peer} }}] }}]");
        assert_advice(&[policy("shop/p", &spec)], &[]);
    }
    // Its own namespace is without pods, which is told of its podSelector.
    let spec = "podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }]";
    assert_advice(
        &[policy("bare/p", spec)],
        &["NetworkPolicy bare/p: spec.podSelector: selects no pod: no pod is in namespace bare"],
    );
}

#[test]
fn a_cluster_network_policy_that_speaks_of_nobody() {
    let rules = "egress: [{ action: Deny, to: [{ networks: [203.0.113.0/24] }] }]";
    for (subject, expected) in [
        ("namespaces: { matchLabels: { level: top } }", "namespaces: selects no pod: of the name"),
        ("namespaces: { matchLabels: { level: empty } }", "namespaces: selects no pod: no pod is"),
        (
            "pods: { namespaceSelector: { matchLabels: { level: top } }, podSelector: { matchLabels: { app: web } } }",
            "pods.namespaceSelector: selects no pod: of the namespaces none has level=top",
        ),
        (
            "pods: { podSelector: { matchLabels: { app: x } } }",
            "pods.podSelector: selects no pod: of the pods in any namespace none has app=x",
        ),
    ] {
        let text = cluster("guard Admin 1", &format!("subject: {{ {subject} }}, {rules}"));
        let expected = format!("ClusterNetworkPolicy guard: spec.subject.{expected}");
        let text = [text];
        assert_advice(&text, &[&expected]);
        assert_advice_in(NO_PODS, &text, &[]);
    }
    for (peer, expected) in [
        (
            "nodes: { matchLabels: { zone: b } }",
            "nodes: matches no node: of the nodes none has zone=b; there zone is a",
        ),
        ("namespaces: { matchLabels: { level: top } }", "namespaces: matches no pod: of the name"),
        (
            "pods: { podSelector: { matchLabels: { app: x } } }",
            "pods.podSelector: matches no pod: of the",
        ),
    ] {
        let spec = format!(
            "subject: {{ namespaces: {{}} }}, egress: [{{ action: Deny, to: [{{ {peer} }}] }}]"
        );
        let expected = format!("ClusterNetworkPolicy guard: spec.egress[0].to[0].{expected}");
        assert_advice(&[cluster("guard Admin 1", &spec)], &[&expected]);
        assert_advice_in(NO_PODS, &[cluster("guard Admin 1", &spec)], &[]);
    }
    for peer in ["nodes: {}", "nodes: { matchLabels: { zone: a } }", "namespaces: {}"] {
        let spec = format!(
            "subject: {{ namespaces: {{}} }}, egress: [{{ action: Deny, to: [{{ {peer} }}] }}]"
        );
        assert_advice(&[cluster("guard Admin 1", &spec)], &[]);
    }
    let without_nodes: String = CLUSTER
        .lines()
        .filter(|line| !line.contains("Node,") && !line.contains("InternalIP"))
        .map(|it| format!("{it}\n"))
        .collect();
    let spec = "subject: { namespaces: {} }, egress: [{ action: Deny, to: [{ nodes: { matchLabels: { zone: a } } }] }]";
    assert_advice_in(
        &without_nodes,
        &[cluster("guard Admin 1", spec)],
        &[
            "ClusterNetworkPolicy guard: spec.egress[0].to[0].nodes: matches no node: the rule set has no Node",
        ],
    );
}
