//! Rules that are never asked, since others decide before.

use super::{assert_advice, assert_advice_in, cluster, policy};

pub(super) const ALL: &str = "subject: { namespaces: {} }";
pub(super) const SHOP: &str = "subject: { namespaces: { matchLabels: { level: open } } }";
pub(super) const BANK: &str = "subject: { namespaces: { matchLabels: { level: secret } } }";
pub(super) const WEB: &str = "pods: { podSelector: { matchLabels: { app: web } } }";
pub(super) const DB: &str = "pods: { podSelector: { matchLabels: { app: db } } }";
pub(super) const ANY: &str = "namespaces: {}";

/// An ingress rule: `action peer ports`, ports as `80`, `80-90`, `name` or nothing.
fn rule((action, peer, port): (&str, &str, &str)) -> String {
    side("from", (action, peer, port))
}

fn side(peers: &str, (action, peer, port): (&str, &str, &str)) -> String {
    let protocols = match port.split_once('-') {
        _ if port.is_empty() => String::new(),
        Some((start, end)) => {
            format!(
                "{{ tcp: {{ destinationPort: {{ range: {{ start: {start}, end: {end} }} }} }} }}"
            )
        }
        None if port.parse::<u16>().is_ok() => {
            format!("{{ tcp: {{ destinationPort: {{ number: {port} }} }} }}")
        }
        None => format!("{{ destinationNamedPort: {port} }}"),
    };
    let protocols = match protocols.as_str() {
        "" => String::new(),
        protocols => format!(", protocols: [{protocols}]"),
    };
    format!("{{ action: {action}, {peers}: [{{ {peer} }}]{protocols} }}")
}

pub(super) fn ingress(name: &str, subject: &str, rules: &[(&str, &str, &str)]) -> String {
    let rules: Vec<String> = rules.iter().map(|it| rule(*it)).collect();
    cluster(name, &format!("{subject}, ingress: [{}]", rules.join(", ")))
}

pub(super) fn egress(name: &str, subject: &str, rules: &[(&str, &str, &str)]) -> String {
    let rules: Vec<String> = rules.iter().map(|it| side("to", *it)).collect();
    cluster(name, &format!("{subject}, egress: [{}]", rules.join(", ")))
}

#[test]
fn a_rule_behind_others_of_its_policy() {
    for (rules, expected) in [
        (
            &[("Deny", ANY, ""), ("Accept", WEB, "80")][..],
            "1]: never decides: all that it matches is \
            decided before by rule 0 of this policy (Deny); put it before that, or leave it out",
        ),
        (&[("Pass", WEB, "80"), ("Accept", WEB, "80")], "1]: never decides: all"),
        (
            &[("Deny", WEB, "80-90"), ("Deny", WEB, "91-99"), ("Accept", WEB, "85-95")],
            "2]: never decides: \
            all that it matches is decided before by rule 0 of this policy (Deny) and rule 1 of this \
            policy (Deny)",
        ),
        (
            &[
                ("Deny", "pods: { podSelector: { matchLabels: { tier: front } } }", ""),
                ("Accept", WEB, ""),
            ],
            "1]: never decides, as the pods are now: all",
        ),
        (&[("Deny", WEB, "http"), ("Accept", WEB, "http")], "1]: never decides: all"),
        (
            &[
                ("Deny", WEB, "8080"),
                ("Deny", WEB, "9000"),
                ("Deny", WEB, "3306"),
                ("Deny", WEB, "rpc"),
            ],
            "",
        ),
    ] {
        for text in [ingress("guard Admin 1", ALL, rules), ingress("guard Baseline 1", ALL, rules)]
        {
            let expected = format!("ClusterNetworkPolicy guard: spec.ingress[{expected}");
            let expected = if expected.ends_with('[') { vec![] } else { vec![&*expected] };
            assert_advice(&[text], &expected);
        }
    }
    for rules in [
        // The usual form: exceptions first.
        &[("Accept", WEB, "80"), ("Deny", ANY, "80")][..],
        &[("Deny", WEB, "80"), ("Accept", WEB, "81")],
        &[("Deny", WEB, "80-90"), ("Accept", WEB, "85-95")],
        &[("Deny", WEB, "80"), ("Accept", DB, "80")],
        // Other pods of that namespace may come.
        &[
            ("Deny", "pods: { podSelector: { matchLabels: { app: api } } }", ""),
            ("Accept", "namespaces: { matchLabels: { level: secret } }", ""),
        ],
    ] {
        assert_advice(&[ingress("guard Admin 1", ALL, rules)], &[]);
    }
    let node = "nodes: { matchLabels: { zone: a } }";
    assert_advice(
        &[egress(
            "guard Admin 1",
            ALL,
            &[
                ("Deny", "nodes: {}", ""),
                ("Accept", node, ""),
                ("Deny", "networks: [198.51.100.0/24, 203.0.113.0/24]", ""),
                ("Accept", "networks: [203.0.113.128/25]", "443"),
                ("Accept", "networks: [203.0.113.0/24, 192.0.2.0/24]", "443"),
            ],
        )],
        &[
            "ClusterNetworkPolicy guard: spec.egress[1]: never decides: all that",
            "ClusterNetworkPolicy guard: spec.egress[3]: never decides: all that",
        ],
    );
}

#[test]
fn a_rule_behind_another_policy() {
    let deny = [("Deny", ANY, "")];
    let accept = [("Accept", WEB, "80")];
    for (first, second, expected) in [
        (ingress("z Admin 1", ALL, &deny), ingress("a Admin 2", SHOP, &accept), Some("a")),
        (ingress("z Admin 1", ALL, &deny), ingress("a Admin 2", ALL, &accept), Some("a")),
        (ingress("z Admin 2", ALL, &deny), ingress("a Admin 1", SHOP, &accept), None),
        (ingress("z Admin 1", BANK, &deny), ingress("a Admin 2", SHOP, &accept), None),
        (ingress("z Admin 1", ALL, &deny), ingress("a Baseline 1", SHOP, &accept), None),
        (ingress("z Admin 1", ALL, &deny), egress("a Admin 2", SHOP, &accept), None),
        // It takes all pods that there are, but others may come.
        (
            ingress(
                "z Admin 1",
                "subject: { namespaces: { matchExpressions: [{ key: level, operator: NotIn, values: [empty] }] } }",
                &deny,
            ),
            ingress("a Admin 2", ALL, &accept),
            None,
        ),
    ] {
        let side = if second.contains("egress") { "egress" } else { "ingress" };
        let expected = expected.map(|name| {
            format!(
                "ClusterNetworkPolicy {name}: spec.{side}[0]: never decides: all that it matches is \
                 decided before by rule 0 of ClusterNetworkPolicy z (Deny)"
            )
        });
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        assert_advice(&[first, second], &expected);
    }
    // One with a peer of an unknown kind denies everything.
    let closed =
        "subject: { namespaces: {} }, ingress: [{ name: who, action: Deny, from: [{ moon: {} }] }]";
    assert_advice(
        &[cluster("z Admin 1", closed), ingress("a Admin 2", SHOP, &accept)],
        &[
            "ClusterNetworkPolicy a: spec.ingress[0]: never decides: all that it matches is decided \
           before by rule 0 \"who\" of ClusterNetworkPolicy z (Deny, as it fails closed)",
        ],
    );
}

#[test]
fn a_baseline_policy_behind_network_policies() {
    let baseline = |subject| ingress("base Baseline 1", subject, &[("Deny", ANY, "")]);
    let shop = || policy("shop/p", "podSelector: {}, policyTypes: [Ingress]");
    let expected = "ClusterNetworkPolicy base: spec.ingress: never decides, as the pods are now: each \
                    pod that it selects is selected for ingress by a NetworkPolicy (shop/p)";
    assert_advice(&[baseline(SHOP), shop()], &[expected]);
    for policies in [
        vec![baseline(ALL), shop()],
        vec![baseline(SHOP), policy("shop/p", "podSelector: {}, policyTypes: [Egress]")],
        vec![baseline(SHOP), policy("shop/p", "podSelector: { matchLabels: { app: web } }")],
        vec![ingress("base Admin 1", SHOP, &[("Deny", ANY, "")]), shop()],
    ] {
        assert_advice(&policies, &[]);
    }
    // Without pods nothing is known of who is left.
    assert_advice_in("", &[baseline(SHOP), shop()], &[]);
}

#[test]
fn a_network_policy_behind_the_admin_tier() {
    let open = || {
        policy(
            "shop/p",
            "podSelector: { matchLabels: { app: db } }, ingress: [{ from: [{ podSelector: { \
             matchLabels: { app: web } } }], ports: [{ port: 80 }] }]",
        )
    };
    let expected = "NetworkPolicy shop/p: spec.ingress[0]: has no effect: all that it admits is \
                    decided before, in the Admin tier, by rule 0 of ClusterNetworkPolicy guard (";
    for (subject, rules, has_effect) in [
        (ALL, &[("Deny", ANY, "")][..], false),
        (ALL, &[("Accept", ANY, "")], false),
        (SHOP, &[("Deny", WEB, "80-90")], false),
        (
            "subject: { pods: { podSelector: { matchLabels: { app: db } } } }",
            &[("Deny", WEB, "80")],
            false,
        ),
        (BANK, &[("Deny", ANY, "")], true),
        (ALL, &[("Deny", DB, "")], true),
        (ALL, &[("Deny", WEB, "81")], true),
        (ALL, &[("Pass", WEB, "80"), ("Deny", ANY, "")], true),
        (ALL, &[("Pass", WEB, "70-99"), ("Deny", ANY, "")], true),
        (ALL, &[("Deny", ANY, ""), ("Pass", WEB, "80")], false),
    ] {
        let text = ingress("guard Admin 1", subject, rules);
        let mut wanted = if has_effect { vec![] } else { vec![expected] };
        if rules == [("Deny", ANY, ""), ("Pass", WEB, "80")] {
            wanted.insert(0, "ClusterNetworkPolicy guard: spec.ingress[1]: never decides");
        }
        assert_advice(&[open(), text], &wanted);
    }
    // It passes on other things only.
    assert_advice(
        &[open(), ingress("guard Admin 1", ALL, &[("Pass", WEB, "443"), ("Deny", ANY, "")])],
        &[
            "NetworkPolicy shop/p: spec.ingress[0]: has no effect: all that it admits is decided before, \
           in the Admin tier, by rule 1 of ClusterNetworkPolicy guard (Deny); what is to be left to \
           NetworkPolicies needs a Pass rule before that",
        ],
    );
    // Another policy passes on what some of the pods receive.
    let shop = || {
        policy(
            "shop/p",
            "podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { app: web } } }] }]",
        )
    };
    let deny = || ingress("guard Admin 2", ALL, &[("Deny", ANY, "")]);
    let pass = |subject| ingress("first Admin 1", subject, &[("Pass", WEB, "")]);
    assert_advice(
        &[shop(), deny(), pass("subject: { pods: { podSelector: { matchLabels: { app: db } } } }")],
        &[],
    );
    assert_advice_in(
        "",
        &[shop(), deny()],
        &["NetworkPolicy shop/p: spec.ingress[0]: has no effect: all"],
    );
    assert_advice_in(
        "",
        &[shop(), deny(), pass("subject: { pods: { podSelector: { matchLabels: { app: db } } } }")],
        &[],
    );
    // Everybody is more than all pods.
    let everybody = policy("shop/p", "podSelector: {}, ingress: [{ ports: [{ port: 80 }] }]");
    assert_advice(&[everybody, deny()], &[]);
}
