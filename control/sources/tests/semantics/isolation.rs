//! Rules 1 to 8: whom policies select, what that isolates, and that changes count.

use sluice_core::address::NetworkId;
use sluice_core::policy::Reason;
use sluice_core::table::{Party, Table, Tier};
use sluice_policy::compile::{Compiler, compile};
use sluice_policy::model::RuleSet;

use crate::given::*;

#[test]
fn rule_1_isolation_is_per_direction() {
    let table = cluster(&on_a("policyTypes: [Ingress]"));
    assert_eq!(sources(&table, "x/a"), NOTHING, "isolated for ingress");
    assert_eq!(targets(&table, "x/a"), OTHERS, "and not for egress");
    let table = cluster(&on_a("policyTypes: [Egress]"));
    assert_eq!(sources(&table, "x/a"), OTHERS, "not for ingress");
    assert_eq!(targets(&table, "x/a"), NOTHING, "isolated for egress");
}

#[test]
fn rule_1_a_policy_isolates_the_pods_of_its_own_namespace_that_it_selects() {
    let table = cluster(&on_a("policyTypes: [Ingress, Egress]"));
    assert!(allows(&table, "y/a", "x/b", "TCP", 80), "x/b has another label");
    assert!(allows(&table, "x/b", "y/a", "TCP", 80), "y/a has the label in another namespace");
    assert!(!allows(&table, "x/b", "x/a", "TCP", 80), "x/a is selected");
}

#[test]
fn rule_2_without_policy_types_ingress_is_isolated_and_egress_only_by_a_rule() {
    for (sections, expected) in [
        ("", &OTHERS[..]),
        ("egress: []", &OTHERS),
        ("egress: null", &OTHERS),
        ("policyTypes: [], egress: []", &OTHERS),
        ("egress: [{to: [{podSelector: {}}]}]", &["x/b"]),
        ("policyTypes: [], egress: [{to: [{podSelector: {}}]}]", &["x/b"]),
    ] {
        let table = cluster(&on_a(sections));
        assert_eq!(sources(&table, "x/a"), NOTHING, "ingress always: {sections}");
        assert_eq!(targets(&table, "x/a"), expected, "egress: {sections}");
    }
    let table = cluster(&on_a("policyTypes: [Egress], egress: []"));
    assert_eq!(targets(&table, "x/a"), NOTHING, "denying all egress takes an explicit type");
    assert_eq!(sources(&table, "x/a"), OTHERS, "which leaves ingress alone");
}

#[test]
fn rule_3_no_rule_denies_all() {
    for sections in
        ["policyTypes: [Ingress]", "policyTypes: [Ingress], ingress: []", "ingress: null"]
    {
        let table = cluster(&on_a(sections));
        assert_eq!(sources(&table, "x/a"), NOTHING, "TCP: {sections}");
        for protocol in ["UDP", "SCTP", "ICMP"] {
            assert!(!allows(&table, "x/b", "x/a", protocol, 80), "{protocol}: {sections}");
        }
    }
}

#[test]
fn rule_3_an_empty_rule_allows_everybody_everything() {
    for spec in [
        "policyTypes: [Ingress], ingress: [{}]",
        "policyTypes: [Egress], egress: [{}]",
        "policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]",
    ] {
        let table = cluster(&on_a(spec));
        assert_eq!(sources(&table, "x/a"), OTHERS, "{spec}");
        assert_eq!(targets(&table, "x/a"), OTHERS, "{spec}");
        for protocol in ["UDP", "SCTP", "ICMP"] {
            assert!(allows(&table, "outside", "x/a", protocol, 9), "{protocol} in: {spec}");
            assert!(allows(&table, "x/a", "outside", protocol, 9), "{protocol} out: {spec}");
        }
    }
    let table = cluster(&on_a("policyTypes: [Ingress, Egress], ingress: [{}]"));
    assert_eq!(targets(&table, "x/a"), NOTHING, "a rule of the other direction is none of this");
}

#[test]
fn rule_4_an_empty_pod_selector_or_none_selects_the_namespace() {
    for selector in ["podSelector: {}, ", "podSelector: {matchLabels: {}}, ", ""] {
        let table = cluster(&policy("x/all", &format!("{selector}policyTypes: [Ingress]")));
        assert_eq!(sources(&table, "x/a"), NOTHING, "{selector}");
        assert_eq!(sources(&table, "x/b"), NOTHING, "{selector}");
        assert_eq!(sources(&table, "y/a").len(), 6, "another namespace is not: {selector}");
    }
}

/// A pod with the labels of x/a in the network of node n2.
fn on_the_host() -> String {
    let spec = "hostNetwork: true, containers: []";
    let pod = pod_with("x/host", "{pod: a, tier: db}", spec, "podIPs: [{ip: 10.0.0.12}]");
    pod.replace("nodeName: n1", "nodeName: n2")
}

#[test]
fn rule_5_pods_in_the_nodes_network_are_never_subjects() {
    let both = "podSelector: {}, policyTypes: [Ingress, Egress]";
    let admin = "ingress: [{action: Deny, from: [{namespaces: {}}]}]";
    for deny in [policy("x/all", both), cluster_policy("Admin", admin)] {
        let table = cluster(&(on_the_host() + &deny));
        let n2 = address("n2", V4);
        assert!(matches!(table.party(NetworkId::DEFAULT, n2), Party::Node(_)), "it is the node");
        let to_it = decide(&table, V4, "y/a", "n2", "TCP", 80);
        assert_eq!(to_it.ingress, Reason::OwnNode, "its own node's pods reach it as the node");
        assert!(!allows(&table, "y/a", "x/a", "TCP", 80), "a pod with the same labels is one");
        assert!(table.endpoint_named("x/host").is_some(), "it is known by name nevertheless");
        let from_outside = decide(&table, V4, "outside", "n2", "TCP", 80);
        assert_eq!(from_outside.ingress, Reason::NotAPod, "no policy speaks for it");
    }
}

/// Kubernetes leaves it open whether NetworkPolicies find such pods as peers. Here neither kind
/// of policy does: their addresses are the node's, and the whole node would be let in with them.
#[test]
fn rule_5_pods_in_the_nodes_network_are_never_peers() {
    let selectors = "policyTypes: [Ingress], ingress: [{from: [{namespaceSelector: {}}]}]";
    let table = cluster(&(on_the_host() + &on_a(selectors)));
    assert_eq!(sources(&table, "x/a"), ["x/b", "y/a", "y/b", "z/a"], "pods, and not n2");
    let admin = "egress: [{action: Deny, to: [{namespaces: {}}]}]";
    let table = cluster(&(on_the_host() + &cluster_policy("Admin", admin)));
    assert_eq!(targets(&table, "x/a"), ["n2", "outside"], "pods are denied, and n2 is not");
    let block = "policyTypes: [Ingress], ingress: [{from: [{ipBlock: {cidr: 10.0.0.12/32}}]}]";
    let table = cluster(&(on_the_host() + &on_a(block)));
    assert_eq!(sources(&table, "x/a"), ["n2"], "its address can be named");
}

#[test]
fn rule_6_policies_and_rules_are_a_union_in_any_order() {
    let deny = |name| policy(name, "policyTypes: [Ingress]");
    let from = |name, pod: &str| {
        let peer =
            format!("{{namespaceSelector: {{}}, podSelector: {{matchLabels: {{pod: {pod}}}}}}}");
        policy(name, &format!("ingress: [{{from: [{peer}]}}]"))
    };
    let a_and_b = "ingress: [{from: [{podSelector: {matchLabels: {pod: c}}}]}, \
                   {from: [{podSelector: {matchLabels: {pod: b}}}]}]";
    for (case, policies, expected) in [
        ("a denial first", deny("x/p1") + &from("x/p2", "b"), &["x/b", "y/b"][..]),
        ("a denial last", from("x/p1", "b") + &deny("x/p2"), &["x/b", "y/b"]),
        ("two that allow", from("x/p1", "a") + &from("x/p2", "b"), &["x/b", "y/a", "y/b", "z/a"]),
        ("two rules of one", on_a(a_and_b), &["x/b"]),
        ("no rule that matches", deny("x/p1") + &from("x/p2", "c"), &[]),
    ] {
        assert_eq!(sources(&cluster(&policies), "x/a"), expected, "{case}");
    }
    let table = cluster(&(deny("x/p1") + &on_a(a_and_b)));
    let reason = decide(&table, V4, "x/b", "x/a", "TCP", 80).ingress;
    let Reason::Accepted(Tier::NetworkPolicy, rule) = reason else { panic!("{reason:?}") };
    let policy = &*table.policy(rule.policy).unwrap().name;
    assert_eq!((policy, rule.index), ("x/on-a", 1), "the rule that decided is named");
}

#[test]
fn rule_7_both_ends_must_allow() {
    let out = "policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]";
    let deny_in = policy("y/in", "podSelector: {matchLabels: {pod: b}}, policyTypes: [Ingress]");
    let table = cluster(&(on_a(out) + &deny_in));
    let to = |pod| decide(&table, V4, "x/a", pod, "TCP", 80);
    let ends = |pod| (to(pod).egress.allows(), to(pod).ingress.allows(), to(pod).allows());
    assert_eq!(ends("y/b"), (true, false, false), "the destination denies");
    assert_eq!(ends("outside"), (false, true, false), "the source denies");
    assert_eq!(ends("y/a"), (true, true, true), "neither denies");
}

/// A rule set that changes, object by object, as a daemon's does.
struct Running(Compiler);

impl Running {
    /// x/a lets in pods `b` of the namespaces with `team: y`.
    fn new() -> Self {
        let compiler = Compiler::with(rules(&Self::policy("b")), &options(), 1).unwrap();
        assert_eq!(sources(compiler.table(), "x/a"), ["y/b"], "at the start");
        Self(compiler)
    }

    fn policy(pod: &str) -> String {
        let peer = format!(
            "{{namespaceSelector: {{matchLabels: {{team: y}}}}, \
             podSelector: {{matchLabels: {{pod: {pod}}}}}}}"
        );
        on_a(&format!("ingress: [{{from: [{peer}]}}]"))
    }

    /// What the objects of `yaml` change when they come, or come instead of others.
    fn on(&mut self, yaml: &str) -> Vec<String> {
        let mut target = self.0.rules().clone();
        for located in read(yaml, true).objects {
            target.replace(located.object);
        }
        self.becomes(&target)
    }

    /// What changes when the objects of `yaml` go.
    fn without(&mut self, yaml: &str) -> Vec<String> {
        let mut target = self.0.rules().clone();
        for located in read(yaml, true).objects {
            assert!(target.remove(&located.object.key()).is_some(), "{yaml}");
        }
        self.becomes(&target)
    }

    fn becomes(&mut self, target: &RuleSet) -> Vec<String> {
        let change = self.0.rules().change_to(target);
        assert_eq!(change.upserts.len() + change.removals.len(), 1, "one object at a time");
        let before = Table::clone(self.0.table());
        let after = self.0.apply(change, before.revision() + 1).unwrap();
        let anew = compile(target, &options()).unwrap();
        assert_eq!(differences(after, &anew), NOTHING, "as if it had always been so");
        differences(&before, after)
    }
}

/// To x/a from those that only an absent policy lets in, and y/b.
const EVERYBODY_TO_A: [&str; 8] = [
    "+x/b x/a",
    "+y/a x/a",
    "+y/b x/a",
    "+z/a x/a",
    "+n2 x/a",
    "+outside x/a",
    "+x/new x/a",
    "+y/new x/a",
];

fn but(except: &str) -> Vec<&'static str> {
    EVERYBODY_TO_A.into_iter().filter(|line| *line != except).collect()
}

#[test]
fn rule_8_a_policy_that_is_updated_or_deleted() {
    let mut running = Running::new();
    assert_eq!(running.on(&Running::policy("a")), ["+y/a x/a", "-y/b x/a"], "updated");
    assert_eq!(running.without(&Running::policy("a")), but("+y/a x/a"), "deleted");
    let again: Vec<String> = but("+y/b x/a").iter().map(|line| line.replace('+', "-")).collect();
    assert_eq!(running.on(&Running::policy("b")), again, "there again");
}

#[test]
fn rule_8_a_subject_that_is_relabelled() {
    let mut running = Running::new();
    let released = running.on(&pod("x/a", "{pod: c}", "[]"));
    assert_eq!(released, but("+y/b x/a"), "selected no more");
    let isolated = running.on(&pod("x/b", "{pod: a}", "[]"));
    assert!(!isolated.contains(&"-y/b x/b".to_owned()), "selected now, and y/b is let in");
    assert_eq!(isolated.len(), 7, "all others are not: {isolated:?}");
    assert!(isolated.iter().all(|line| line.starts_with('-') && line.ends_with(" x/b")));
    assert_eq!(running.on(&pod("x/b", "{pod: a, more: '1'}", "[]")), NOTHING, "selected still");
}

#[test]
fn rule_8_a_peer_that_is_relabelled() {
    let mut running = Running::new();
    assert_eq!(running.on(&pod("y/a", "{pod: b}", "[]")), ["+y/a x/a"], "a peer now");
    assert_eq!(running.on(&pod("y/b", "{pod: a}", "[]")), ["-y/b x/a"], "a peer no more");
    assert_eq!(running.on(&pod("z/a", "{pod: b}", "[]")), NOTHING, "in no namespace of the rule");
}

#[test]
fn rule_8_a_namespace_that_is_relabelled_created_or_deleted() {
    let mut running = Running::new();
    assert_eq!(running.on(&pod("z/a", "{pod: b}", "[]")), NOTHING, "not in team y");
    assert_eq!(running.on(&namespace("z", "{team: y}")), ["+z/a x/a"], "relabelled into it");
    assert_eq!(running.on(&namespace("y", "{team: x}")), ["-y/b x/a"], "relabelled out of it");
    assert_eq!(running.without(&namespace("z", "{}")), ["-z/a x/a"], "deleted, labels and all");
    assert_eq!(running.on(&namespace("x", "{team: y}")), ["+x/b x/a"], "created with the label");
    assert_eq!(running.on(&namespace("w", "{team: y}")), NOTHING, "created without pods");
}

#[test]
fn rule_8_pods_that_are_created_or_deleted() {
    let mut running = Running::new();
    assert_eq!(running.on(&pod("y/new", "{pod: b}", "[]")), ["+y/new x/a"], "a peer comes");
    assert_eq!(running.without(&pod("y/b", "{}", "[]")), ["-y/b x/a"], "a peer goes");
    let isolated = running.on(&pod("x/new", "{pod: a}", "[]"));
    assert_eq!(isolated.len(), 7, "a subject comes, all but y/new are kept out: {isolated:?}");
    assert!(isolated.iter().all(|line| line.starts_with('-') && line.ends_with(" x/new")));
    assert!(allows(running.0.table(), "y/new", "x/new", "TCP", 80), "y/new is not");
    assert_eq!(running.on(&pod("z/a", "{pod: c}", "[]")), NOTHING, "one that is in no rule");
}
