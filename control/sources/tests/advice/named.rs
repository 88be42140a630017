//! Named ports that no pod has.

use super::{assert_advice, cluster, policy};

#[test]
fn a_port_that_no_selected_pod_has() {
    for (selector, port, expected) in [
        (
            "matchLabels: { app: web }",
            "port: https",
            "no pod that this policy selects has a TCP port of the name \"https\", so it stands for \
             none; the names there are http",
        ),
        (
            "matchLabels: { app: db }",
            "port: http",
            "no pod that this policy selects has a TCP port of the name \"http\", so it stands for \
             none; pod shop/web has one, but is not among them",
        ),
        (
            "matchLabels: { app: db }",
            "port: probe",
            "no pod that this policy selects has a TCP port of the name \"probe\", so it stands for \
             none; that of pod shop/db is UDP",
        ),
    ] {
        let rule = format!("ingress: [{{ ports: [{{ port: 80 }}, {{ {port} }}] }}]");
        let spec = format!("podSelector: {{ {selector} }}, {rule}");
        let expected = format!("NetworkPolicy shop/p: spec.ingress[0].ports[1].port: {expected}");
        assert_advice(&[policy("shop/p", &spec)], &[&expected]);
    }
    for (name, selector, port) in [
        ("shop/p", "", "port: http"),
        ("shop/p", "matchLabels: { tier: back }", "port: probe, protocol: UDP"),
        // A pod that has run to its end had one.
        ("bank/p", "", "port: done"),
    ] {
        let rule = format!("ingress: [{{ ports: [{{ {port} }}] }}]");
        assert_advice(&[policy(name, &format!("podSelector: {{ {selector} }}, {rule}"))], &[]);
    }
    // That it selects nobody is enough to say.
    let spec = "podSelector: { matchLabels: { app: x } }, ingress: [{ ports: [{ port: https }] }]";
    assert_advice(&[policy("shop/p", spec)], &["NetworkPolicy shop/p: spec.podSelector: selects"]);
}

#[test]
fn a_port_that_no_peer_has() {
    let at =
        "NetworkPolicy shop/p: spec.egress[0].ports[0].port: no pod that this rule means has a";
    for (peers, port, expected) in [
        (
            "to: [{ podSelector: { matchLabels: { app: db } } }],",
            "port: http",
            "; pod shop/web has",
        ),
        (
            "to: [{ podSelector: {} }],",
            "port: rpc",
            "; pod bank/api has one, but is not among them",
        ),
        ("", "port: smtp", "; the names there are http, probe, rpc and 1 more"),
        ("to: [{ ipBlock: { cidr: 10.0.0.2/32 } }],", "port: http", "; pod shop/web has one"),
        ("to: [{ ipBlock: { cidr: 203.0.113.0/24 } }],", "port: http", "; pod shop/web has one"),
        (
            "to: [{ ipBlock: { cidr: 10.0.0.0/24, except: [10.0.0.1/32] } }],",
            "port: http",
            "; pod shop/web has one",
        ),
    ] {
        let spec = format!("podSelector: {{}}, egress: [{{ {peers} ports: [{{ {port} }}] }}]");
        let name = port.trim_start_matches("port: ");
        let expected =
            format!("{at} TCP port of the name \"{name}\", so it stands for none{expected}");
        assert_advice(&[policy("shop/p", &spec)], &[&expected]);
    }
    for (peers, port) in [
        ("to: [{ podSelector: { matchLabels: { app: web } } }],", "port: http"),
        ("to: [{ namespaceSelector: {} }],", "port: rpc"),
        ("", "port: probe, protocol: UDP"),
        ("to: [{ ipBlock: { cidr: 10.0.0.0/24 } }],", "port: http"),
        // One of them is enough.
        (
            "to: [{ podSelector: { matchLabels: { app: db } } }, { ipBlock: { cidr: 10.0.0.1/32 } }],",
            "port: http",
        ),
        ("to: [{ namespaceSelector: { matchLabels: { level: secret } } }],", "port: done"),
    ] {
        let spec = format!("podSelector: {{}}, egress: [{{ {peers} ports: [{{ {port} }}] }}]");
        assert_advice(&[policy("shop/p", &spec)], &[]);
    }
}

#[test]
fn a_port_of_a_cluster_network_policy() {
    let db = "pods: { podSelector: { matchLabels: { app: db } } }";
    let rule = |side: &str, peers: &str, port: &str| {
        let protocols = format!("protocols: [{{ destinationNamedPort: {port} }}]");
        format!("{side}: [{{ action: Accept, {peers}: [{{ {db} }}], {protocols} }}]")
    };
    for (text, expected) in [
        (
            format!("subject: {{ {db} }}, {}", rule("ingress", "from", "http")),
            "ingress[0].protocols[0].destinationNamedPort: no pod that this policy selects has a \
             port of the name \"http\", so it stands for none; pod shop/web",
        ),
        (
            format!("subject: {{ namespaces: {{}} }}, {}", rule("egress", "to", "http")),
            "egress[0].protocols[0].destinationNamedPort: no pod that this rule means has a port",
        ),
    ] {
        let expected = format!("ClusterNetworkPolicy guard: spec.{expected}");
        assert_advice(&[cluster("guard Admin 1", &text)], &[&expected]);
    }
    // The protocol is the pod's to say.
    for side in [rule("egress", "to", "probe"), rule("ingress", "from", "probe")] {
        let text = format!("subject: {{ namespaces: {{}} }}, {side}");
        assert_advice(&[cluster("guard Admin 1", &text)], &[]);
    }
}

#[test]
fn without_pods_nothing_is_known_of_ports() {
    let spec = "podSelector: {}, ingress: [{ ports: [{ port: http }] }]";
    super::assert_advice_in("", &[policy("shop/p", spec)], &[]);
}
