//! Policies and rules that others make needless.

use super::{assert_advice, assert_advice_in, policy};

const WEB: &str = "podSelector: { matchLabels: { app: web } }";
const DB: &str = "podSelector: { matchLabels: { app: db } }";

/// An ingress rule from one peer to some ports.
fn rule(peer: &str, ports: &str) -> String {
    let ports = match ports {
        "" => String::new(),
        ports => format!("ports: [{ports}]"),
    };
    match peer {
        "" => format!("{{ {ports} }}"),
        peer => format!("{{ from: [{{ {peer} }}], {ports} }}"),
    }
}

fn ingress(name: &str, subject: &str, rules: &[String]) -> String {
    policy(name, &format!("{subject}, policyTypes: [Ingress], ingress: [{}]", rules.join(", ")))
}

#[test]
fn a_rule_that_admits_what_another_does() {
    for (wide, narrow) in [
        // Peers.
        (("", ""), (WEB, "{ port: 80 }")),
        (("namespaceSelector: {}", ""), (WEB, "")),
        (("podSelector: {}", ""), (WEB, "")),
        (("podSelector: { matchExpressions: [{ key: tier, operator: Exists }] }", ""), (WEB, "")),
        (
            ("namespaceSelector: {}, podSelector: { matchLabels: { app: api } }", ""),
            (
                "namespaceSelector: { matchLabels: { level: secret } }, podSelector: { matchLabels: { app: api } }",
                "",
            ),
        ),
        (("ipBlock: { cidr: 203.0.113.0/24 }", ""), ("ipBlock: { cidr: 203.0.113.0/25 }", "")),
        (
            ("ipBlock: { cidr: 203.0.113.0/24, except: [203.0.113.128/25] }", ""),
            ("ipBlock: { cidr: 203.0.113.0/25 }", ""),
        ),
        (
            ("ipBlock: { cidr: 203.0.113.0/24 }", ""),
            ("ipBlock: { cidr: \"::ffff:203.0.113.0/121\" }", ""),
        ),
        // Ports.
        ((WEB, ""), (WEB, "{ protocol: UDP }")),
        ((WEB, "{ protocol: TCP }"), (WEB, "{ port: 80 }, { port: 90, endPort: 99 }")),
        (
            (WEB, "{ port: 80, endPort: 89 }, { port: 90, endPort: 99 }"),
            (WEB, "{ port: 85, endPort: 95 }"),
        ),
        ((WEB, "{ protocol: TCP }"), (WEB, "{ port: sql }")),
        ((WEB, "{ port: sql }, { port: 1 }"), (WEB, "{ port: sql }")),
        ((WEB, "{ port: 3300, endPort: 3309 }"), (WEB, "{ port: sql }")),
        ((WEB, "{ port: sql }, { port: 1 }"), (WEB, "{ port: 3306 }")),
    ] {
        let [wide, narrow] = [wide, narrow].map(|(peer, ports)| rule(peer, ports));
        let expected = "NetworkPolicy shop/p: spec.ingress[1]: redundant";
        assert_advice(&[ingress("shop/p", DB, &[wide.clone(), narrow.clone()])], &[expected]);
        let expected = "NetworkPolicy shop/p: spec.ingress[0]: redundant";
        assert_advice(&[ingress("shop/p", DB, &[narrow, wide])], &[expected]);
    }
}

#[test]
fn of_two_that_make_each_other_redundant_the_later_one_is_named() {
    for (one, other) in [
        ((WEB, "{ port: 80 }"), (WEB, "{ port: 80 }")),
        ((WEB, "{ port: sql }"), (WEB, "{ port: 3306 }")),
        (
            ("ipBlock: { cidr: 203.0.113.0/24, except: [203.0.113.128/25] }", ""),
            ("ipBlock: { cidr: 203.0.113.0/24, except: [203.0.113.128/26, 203.0.113.192/26] }", ""),
        ),
    ] {
        let [one, other] = [one, other].map(|(peer, ports)| rule(peer, ports));
        let expected = "NetworkPolicy shop/p: spec.ingress[1]: redundant";
        assert_advice(&[ingress("shop/p", DB, &[one.clone(), other.clone()])], &[expected]);
        assert_advice(&[ingress("shop/p", DB, &[other, one])], &[expected]);
    }
}

#[test]
fn rules_of_which_none_is_needless() {
    for (one, other) in [
        ((WEB, ""), (DB, "")),
        ((WEB, "{ port: 80 }"), (WEB, "{ port: 81 }")),
        ((WEB, "{ port: 80 }"), (WEB, "{ port: 80, protocol: UDP }")),
        ((WEB, "{ port: 80, endPort: 90 }"), (WEB, "{ port: 85, endPort: 95 }")),
        // Every port of TCP is not everything.
        ((WEB, ""), ("podSelector: {}", "{ protocol: TCP }")),
        // Addresses are not told from the pods that have them now.
        (("ipBlock: { cidr: 10.0.0.0/8 }", ""), (WEB, "")),
        (("ipBlock: { cidr: 0.0.0.0/0 }", "{ port: 1 }"), ("", "{ port: 2 }")),
        (
            ("ipBlock: { cidr: 203.0.113.0/24, except: [203.0.113.0/26] }", "{ port: 1 }"),
            ("ipBlock: { cidr: 203.0.113.0/25 }", "{ port: 2 }"),
        ),
        (("ipBlock: { cidr: 203.0.113.0/24 }", ""), ("ipBlock: { cidr: \"2001:db8::/64\" }", "")),
        // All pods of the namespace are one now, but others may come.
        (
            ("namespaceSelector: { matchLabels: { level: secret } }", ""),
            ("namespaceSelector: {}, podSelector: { matchLabels: { app: api } }", ""),
        ),
        (
            (
                "namespaceSelector: { matchExpressions: [{ key: level, operator: NotIn, values: [open, empty] }] }",
                "{ port: 1 }",
            ),
            (
                "namespaceSelector: { matchExpressions: [{ key: level, operator: NotIn, values: [open] }] }",
                "{ port: 2 }",
            ),
        ),
        // A name that is given by others only.
        ((WEB, "{ port: 8080 }"), (WEB, "{ port: 3306 }")),
    ] {
        let rules = [one, other].map(|(peer, ports)| rule(peer, ports));
        assert_advice(&[ingress("shop/p", DB, &rules)], &[]);
    }
}

#[test]
fn what_is_said_of_a_rule() {
    let rules = [
        rule(WEB, "{ port: 80 }"),
        rule(WEB, "{ port: 81 }"),
        rule(WEB, "{ port: 80 }, { port: 81 }"),
    ];
    assert_advice(
        &[ingress("shop/p", DB, &rules)],
        &[
            "NetworkPolicy shop/p: spec.ingress[2]: redundant: it admits nothing that is not admitted \
           by rule 0 of this policy and rule 1 of this policy; leave it out, or look whether",
        ],
    );
    let front = "podSelector: { matchLabels: { tier: front } }";
    assert_advice(
        &[ingress("shop/p", DB, &[rule(WEB, ""), rule(front, "")])],
        &[
            "NetworkPolicy shop/p: spec.ingress[1]: redundant, as the pods are now: it admits nothing \
           that is not admitted by rule 0 of this policy",
        ],
    );
    // One of another policy.
    assert_advice(
        &[
            ingress("shop/a", "podSelector: {}", &[rule(WEB, "")]),
            ingress("shop/b", DB, &[rule("", "{ port: 1 }"), rule(WEB, "{ port: 80 }")]),
        ],
        &[
            "NetworkPolicy shop/b: spec.ingress[1]: redundant: it admits nothing that is not admitted \
           by rule 0 of NetworkPolicy shop/a",
        ],
    );
    // The other policy does not select all of these pods.
    assert_advice(
        &[
            ingress("shop/a", DB, &[rule(WEB, "")]),
            ingress("shop/b", "podSelector: {}", &[rule(WEB, "{ port: 80 }")]),
        ],
        &[],
    );
}

#[test]
fn a_policy_that_does_what_others_do() {
    let web = [rule(WEB, "{ port: 80 }")];
    let redundant = |name: &str| format!("NetworkPolicy shop/{name}: spec: redundant");
    let both = |name: &str, subject: &str, rules: &str| {
        let spec = format!("{subject}, policyTypes: [Ingress, Egress]{rules}");
        policy(&format!("shop/{name}"), &spec)
    };
    let only = |name: &str, subject: &str, direction: &str| {
        policy(&format!("shop/{name}"), &format!("{subject}, policyTypes: [{direction}]"))
    };
    let all = "podSelector: {}";
    let back = "podSelector: { matchLabels: { tier: back } }";
    for (policies, expected) in [
        // Two alike, and three: all but the first.
        (vec![ingress("shop/a", DB, &web), ingress("shop/b", DB, &web)], vec!["b"]),
        (
            vec![only("a", all, "Egress"), only("b", all, "Egress"), only("c", all, "Egress")],
            vec!["b", "c"],
        ),
        // One that only denies, beside one that isolates the same pods.
        (vec![only("deny", DB, "Ingress"), ingress("shop/open", DB, &web)], vec!["deny"]),
        (vec![only("deny", DB, "Ingress"), ingress("shop/open", back, &web)], vec!["deny"]),
        (vec![only("deny", DB, "Ingress"), only("deny-all", all, "Ingress")], vec!["deny"]),
        (vec![both("a", DB, ""), only("b", DB, "Ingress")], vec!["b"]),
        // Two others do it together.
        (
            vec![only("in", all, "Ingress"), only("out", all, "Egress"), both("stop", all, "")],
            vec!["stop"],
        ),
        (
            vec![
                ingress("shop/a", DB, &[rule(WEB, "{ port: 80 }, { port: 81 }")]),
                ingress("shop/b", DB, &[rule(WEB, "{ port: 80 }"), rule("", "{ port: 1 }")]),
                ingress("shop/c", DB, &[rule(WEB, "{ port: 81 }"), rule("", "{ port: 2 }")]),
            ],
            vec!["a"],
        ),
    ] {
        let expected: Vec<String> = expected.into_iter().map(redundant).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        assert_advice(&policies, &expected);
    }
    for policies in [
        // Another direction, other pods, something of its own.
        vec![only("a", all, "Ingress"), only("b", all, "Egress")],
        vec![only("a", DB, "Ingress"), only("b", WEB, "Ingress")],
        vec![both("a", DB, ""), only("b", all, "Ingress")],
        // Every pod has a policy of its own now, but others may come.
        vec![
            only("deny", all, "Ingress"),
            ingress("shop/db", DB, &web),
            ingress("shop/web", WEB, &web),
        ],
        vec![
            ingress("shop/a", all, &web),
            ingress("shop/b", DB, &[rule(WEB, "")]),
            ingress("shop/c", WEB, &[rule(WEB, "")]),
        ],
        // It is the only one that isolates the pod.
        vec![ingress("shop/a", DB, &[])],
        // The same words in another namespace.
        vec![
            only("a", all, "Ingress"),
            policy("bank/a", "podSelector: {}, policyTypes: [Ingress]"),
        ],
    ] {
        assert_advice(&policies, &[]);
    }
}

#[test]
fn what_is_said_of_a_policy() {
    let front = "podSelector: { matchLabels: { tier: front } }";
    assert_advice(
        &[
            ingress("shop/a", WEB, &[rule("", "")]),
            ingress("shop/b", front, &[rule(DB, "{ port: 80 }")]),
        ],
        &[
            "NetworkPolicy shop/b: spec: redundant, as the pods are now: NetworkPolicy shop/a does all \
           that it does for the pods that it selects; leave it out, or look whether",
        ],
    );
    // What is needless whatever pods come needs no pods.
    let pair = [ingress("shop/a", WEB, &[rule("", "")]), ingress("shop/b", WEB, &[rule(DB, "")])];
    assert_advice_in(
        "",
        &pair,
        &["NetworkPolicy shop/b: spec: redundant: NetworkPolicy shop/a does all that it does"],
    );
    assert_advice_in("", &[ingress("shop/a", WEB, &[]), ingress("shop/b", front, &[])], &[]);
}
