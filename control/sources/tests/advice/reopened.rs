//! Holes of address blocks that other rules open again.

use super::{assert_advice, assert_advice_in, policy};

const HOLE: &str = "{ ipBlock: { cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.2.0.0/16] } }";

fn egress(name: &str, subject: &str, rules: &str) -> String {
    policy(name, &format!("podSelector: {{ {subject} }}, policyTypes: [Egress], egress: [{rules}]"))
}

#[test]
fn a_hole_that_a_rule_of_the_same_policy_opens() {
    let at = "NetworkPolicy shop/p: spec.egress[0].to[0].ipBlock.except[";
    for (rules, expected) in [
        (
            format!("{{ to: [{HOLE}, {{ ipBlock: {{ cidr: 10.2.0.0/16 }} }}] }}"),
            "1]: 10.2.0.0/16 is taken out here, but spec.egress[0].to[1] of this policy admits it: \
             rules only ever add",
        ),
        (
            format!("{{ to: [{HOLE}] }}, {{ to: [{{ ipBlock: {{ cidr: 10.1.3.0/24 }} }}] }}"),
            "0]: 10.1.0.0/16 is taken out here, but spec.egress[1].to[0] of this policy admits \
             10.1.3.0/24",
        ),
        (
            format!(
                "{{ to: [{HOLE}] }}, {{ to: [{{ ipBlock: {{ cidr: 10.1.0.0/16, except: \
                 [10.1.0.0/17] }} }}], ports: [{{ port: 80 }}] }}"
            ),
            "0]: 10.1.0.0/16 is taken out here, but spec.egress[1].to[0] of this policy admits some \
             of it to some of these ports: rules",
        ),
    ] {
        assert_advice_in("", &[egress("shop/p", "", &rules)], &[&format!("{at}{expected}")]);
        assert_advice(&[egress("shop/p", "", &rules)], &[&format!("{at}{expected}")]);
    }
    let everybody = format!(
        "{{ to: [{HOLE}], ports: [{{ port: 53 }}] }}, {{ ports: [{{ port: 53, protocol: UDP }}, {{ port: 53 }}, {{ port: 80 }}] }}"
    );
    let found = super::advice(&egress("shop/p", "", &everybody));
    let found: Vec<&str> = found.iter().map(|it| it.remark.as_str()).collect();
    assert!(
        found.iter().any(|it| it.starts_with(
            "10.1.0.0/16 is taken out here, but spec.egress[1] of this policy admits everybody"
        )),
        "{found:?}"
    );
}

#[test]
fn holes_that_stay_closed() {
    for rules in [
        format!("{{ to: [{HOLE}] }}"),
        format!("{{ to: [{HOLE}] }}, {{ to: [{{ ipBlock: {{ cidr: 192.0.2.0/24 }} }}] }}"),
        // Pods are meant by their labels, wherever their addresses lie.
        format!("{{ to: [{HOLE}] }}, {{ to: [{{ namespaceSelector: {{}} }}] }}"),
        // Other ports.
        format!(
            "{{ to: [{HOLE}], ports: [{{ port: 443 }}] }}, \
             {{ to: [{{ ipBlock: {{ cidr: 10.1.0.0/16 }} }}], ports: [{{ port: 80 }}] }}"
        ),
        format!(
            "{{ to: [{HOLE}], ports: [{{ port: 443 }}] }}, {{ ports: [{{ port: 53, protocol: UDP }}] }}"
        ),
        // The same hole, in another form too.
        format!(
            "{{ to: [{HOLE}], ports: [{{ port: 80 }}] }}, {{ to: [{{ ipBlock: {{ cidr: 10.0.0.0/14, except: \
             [10.1.0.0/17, 10.1.128.0/17, 10.2.0.0/16] }} }}] , ports: [{{ port: 80 }}, {{ port: 81 }}] }}"
        ),
        format!("{{ to: [{HOLE}] }}, {{ to: [{{ ipBlock: {{ cidr: \"2001:db8::/32\" }} }}] }}"),
    ] {
        assert_advice_in("", &[egress("shop/p", "", &rules)], &[]);
    }
}

#[test]
fn a_hole_that_another_policy_opens() {
    let web = "matchLabels: { app: web }";
    let db = "matchLabels: { app: db }";
    let front = "matchLabels: { tier: front }";
    let hole = |subject: &str| egress("shop/a", subject, &format!("{{ to: [{HOLE}] }}"));
    let open = |name: &str, subject: &str| {
        egress(name, subject, "{ to: [{ ipBlock: { cidr: 10.2.0.0/24 } }] }")
    };
    let expected = "NetworkPolicy shop/a: spec.egress[0].to[0].ipBlock.except[1]: 10.2.0.0/16 is taken \
                    out here, but spec.egress[0].to[0] of NetworkPolicy shop/b admits 10.2.0.0/24";
    for (one, other) in [("", ""), (web, ""), ("", web), (web, web), (web, front)] {
        assert_advice(&[hole(one), open("shop/b", other)], &[expected]);
    }
    assert_advice(&[hole(web), open("shop/b", db)], &[]);
    assert_advice(&[hole(""), open("bank/b", "")], &[]);
    // Without pods nobody knows of one that both select.
    assert_advice_in("", &[hole(web), open("shop/b", front)], &[]);
    assert_advice_in("", &[hole(web), open("shop/b", "")], &[expected]);
    let ingress = "podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: 10.2.0.0/24 } }] }]";
    assert_advice(&[hole(""), policy("shop/b", ingress)], &[]);
}
