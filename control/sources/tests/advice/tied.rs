//! Policies whose order is left open, and matters.

use super::order::{ALL, ANY, BANK, DB, SHOP, WEB, egress, ingress};
use super::{CLUSTER, advice, line};

const SAID: &str = "ClusterNetworkPolicy b: spec.priority: ClusterNetworkPolicy a has priority 5 in the \
                    Admin tier too, and the two disagree: for ";

type Rules<'a> = &'a [(&'a str, &'a str, &'a str)];

fn pair(a: Rules<'_>, b: Rules<'_>) -> Vec<String> {
    vec![ingress("a Admin 5", ALL, a), ingress("b Admin 5", SHOP, b)]
}

/// What is said of priorities.
fn ties(policies: &[String]) -> Vec<String> {
    let mut advice = advice(&format!("{CLUSTER}{}", policies.concat()));
    advice.retain(|it| it.field == "spec.priority");
    advice.iter().map(line).collect()
}

#[test]
fn two_of_one_priority_that_disagree() {
    assert_eq!(
        ties(&pair(&[("Deny", ANY, "80")], &[("Accept", WEB, "70-90")])),
        [format!(
            "{SAID}TCP 80 from shop/web to shop/db rule 0 of ClusterNetworkPolicy a says Deny, rule 0 \
             of this policy says Accept; Kubernetes leaves open which is asked first, here it is that \
             one by its name; give them different priorities"
        )]
    );
    for (a, b, service) in [
        (&[("Deny", ANY, "")][..], &[("Accept", WEB, "80"), ("Accept", ANY, "443")][..], "TCP 80"),
        (&[("Deny", ANY, "")], &[("Accept", WEB, "")], "a protocol without ports"),
        (&[("Accept", WEB, "1"), ("Deny", ANY, "sql")], &[("Pass", WEB, "3306")], "TCP 3306"),
        (&[("Accept", WEB, "80"), ("Deny", WEB, "80-81")], &[("Accept", WEB, "80-90")], "TCP 81"),
    ] {
        let found = ties(&pair(a, b));
        let expected = format!("{SAID}{service} from shop/web to shop/db");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:?}\n{expected}");
    }
}

#[test]
fn two_whose_order_does_not_matter() {
    let deny = [("Deny", ANY, "80")];
    let accept = [("Accept", WEB, "80")];
    for policies in [
        pair(&deny, &[("Deny", WEB, "80")]),
        pair(&deny, &[("Accept", WEB, "81")]),
        pair(&[("Deny", DB, "80")], &accept),
        // Both accept it whoever is asked first.
        pair(&[("Accept", WEB, "80"), ("Deny", ANY, "80")], &accept),
        // Other pods, priorities, tiers, directions.
        vec![ingress("a Admin 5", BANK, &deny), ingress("b Admin 5", SHOP, &accept)],
        vec![ingress("a Admin 6", ALL, &deny), ingress("b Admin 5", SHOP, &accept)],
        vec![ingress("a Admin 5", ALL, &deny), ingress("b Baseline 5", SHOP, &accept)],
        vec![ingress("a Admin 5", ALL, &deny), egress("b Admin 5", SHOP, &accept)],
        // A pod may always talk to itself, and there is no other.
        vec![
            ingress(
                "a Admin 5",
                BANK,
                &[("Deny", "namespaces: { matchLabels: { level: secret } }", "")],
            ),
            ingress(
                "b Admin 5",
                BANK,
                &[("Accept", "pods: { podSelector: { matchLabels: { app: api } } }", "")],
            ),
        ],
    ] {
        assert_eq!(ties(&policies), [] as [&str; 0], "{policies:?}");
    }
    // One before both has decided already, whatever it says.
    for action in ["Accept", "Deny", "Pass"] {
        let mut policies = pair(&deny, &accept);
        policies.push(ingress("z Admin 1", ALL, &[(action, WEB, "80")]));
        assert_eq!(ties(&policies), [] as [&str; 0]);
    }
}

#[test]
fn two_that_disagree_about_addresses() {
    // Of nobody here, of a pod, of a node.
    for (one, other, ends) in [
        ("networks: [203.0.113.0/24]", "networks: [203.0.113.128/25]", "203.0.113.129"),
        (
            "networks: [10.0.1.0/24]",
            "pods: { podSelector: { matchLabels: { app: api } } }",
            "bank/api",
        ),
        ("nodes: {}", "networks: [192.0.2.0/24]", "node n1"),
    ] {
        let found = ties(&[
            egress("a Admin 5", ALL, &[("Deny", one, "")]),
            egress("b Admin 5", SHOP, &[("Accept", other, "443")]),
        ]);
        let expected = format!("{SAID}TCP 443 from shop/db to {ends} rule 0");
        assert!(found.len() == 1 && found[0].starts_with(&expected), "{found:?}\n{expected}");
    }
}
