//! Rules 9 to 17: whom `from` and `to` mean. [`admitted`] asks for both directions.

use crate::given::*;

#[test]
fn rule_9_missing_or_empty_peers_are_everybody() {
    let admits = |rule: &str| {
        let ingress = on_a(&format!("policyTypes: [Ingress], ingress: [{rule}]"));
        sources(&cluster(&ingress), "x/a")
    };
    for rule in ["{}", "{from: []}", "{from: null}", "{ports: [{port: 80}]}"] {
        assert_eq!(admits(rule), OTHERS, "nodes and the outside are among them: {rule}");
    }
    for empty in ["[]", "null"] {
        assert_eq!(admitted(empty), OTHERS, "{empty}");
    }
    assert_eq!(admitted("[{podSelector: {}}]"), ["x/b"], "a list with a peer is not everybody");
}

#[test]
fn rule_10_a_pod_selector_alone_means_the_policys_own_namespace() {
    assert_eq!(admitted("[{podSelector: {matchLabels: {pod: b}}}]"), ["x/b"], "y/b is another's");
    assert_eq!(admitted("[{podSelector: {matchLabels: {tier: web}}}]"), NOTHING, "y/a as well");
}

#[test]
fn rule_10_a_namespace_selector_alone_means_all_pods_of_these_namespaces() {
    assert_eq!(admitted("[{namespaceSelector: {matchLabels: {team: y}}}]"), ["y/a", "y/b"]);
    assert_eq!(admitted("[{namespaceSelector: {matchLabels: {team: x}}}]"), NOTHING);
}

#[test]
fn rule_10_both_in_one_item_must_hold_and_of_two_items_one() {
    let namespaces = "namespaceSelector: {matchLabels: {team: y}}";
    let pods = "podSelector: {matchLabels: {pod: b}}";
    assert_eq!(admitted(&format!("[{{{namespaces}, {pods}}}]")), ["y/b"], "one item");
    let two = format!("[{{{namespaces}}}, {{{pods}}}]");
    assert_eq!(admitted(&two), ["x/b", "y/a", "y/b"], "two items, the second for x only");
    let none =
        "[{namespaceSelector: {matchLabels: {team: z}}, podSelector: {matchLabels: {pod: b}}}]";
    assert_eq!(admitted(none), NOTHING, "each holds for somebody, but not for one pod");
}

#[test]
fn rule_11_an_empty_namespace_selector_is_all_pods_and_nobody_else() {
    let all_pods = ["x/b", "y/a", "y/b", "z/a"];
    assert_eq!(admitted("[{namespaceSelector: {}}]"), all_pods, "neither n2 nor the outside");
    assert_eq!(admitted("[{namespaceSelector: {}, podSelector: {}}]"), all_pods);
}

#[test]
fn rule_12_an_empty_pod_selector_is_all_pods_of_the_own_namespace() {
    assert_eq!(admitted("[{podSelector: {}}]"), ["x/b"]);
    let in_y = policy(
        "y/p",
        "podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {}}]}]",
    );
    assert_eq!(sources(&cluster(&in_y), "y/a"), ["y/b", "n2"], "the policy's own, and its node");
}

/// Whom a term on the label `tier` of pods in any namespace admits: x/b and z/a have `db`, y/a
/// has `web`, y/b has none.
fn by_tier(term: &str) -> Vec<&'static str> {
    admitted(&format!("[{{namespaceSelector: {{}}, podSelector: {{{term}}}}}]"))
}

fn term(operator: &str) -> String {
    format!("matchExpressions: [{{key: tier, operator: {operator}}}]")
}

#[test]
fn rule_13_each_operator_on_the_labels_of_pods() {
    for (operator, expected) in [
        ("In, values: [db]", &["x/b", "z/a"][..]),
        ("In, values: [db, web]", &["x/b", "y/a", "z/a"]),
        ("In, values: [other]", &[]),
        ("NotIn, values: [db]", &["y/a", "y/b"]),
        ("NotIn, values: [db, web]", &["y/b"]),
        ("NotIn, values: [other]", &["x/b", "y/a", "y/b", "z/a"]),
        ("Exists", &["x/b", "y/a", "z/a"]),
        ("DoesNotExist", &["y/b"]),
    ] {
        assert_eq!(by_tier(&term(operator)), expected, "tier {operator}");
    }
}

#[test]
fn rule_13_each_operator_on_the_labels_of_namespaces() {
    for (operator, expected) in [
        ("In, values: [y]", &["y/a", "y/b"][..]),
        ("NotIn, values: [y]", &["x/b", "z/a"]),
        ("NotIn, values: [y, z]", &["x/b"]),
        ("Exists", &["y/a", "y/b", "z/a"]),
        ("DoesNotExist", &["x/b"]),
    ] {
        let term = format!("{{matchExpressions: [{{key: team, operator: {operator}}}]}}");
        let peers = format!("[{{namespaceSelector: {term}}}]");
        assert_eq!(admitted(&peers), expected, "team {operator}");
    }
}

#[test]
fn rule_13_all_terms_must_hold() {
    let with = |more: &str| by_tier(&format!("{more}, {}", term("In, values: [db]")));
    assert_eq!(with("matchLabels: {pod: b}"), ["x/b"], "z/a is no b, y/b is in no tier");
    let both = "matchExpressions: [{key: tier, operator: Exists}, \
                {key: tier, operator: NotIn, values: [db]}]";
    assert_eq!(by_tier(both), ["y/a"], "in a tier, and not in db");
    let never = "matchExpressions: [{key: tier, operator: Exists}, \
                 {key: tier, operator: DoesNotExist}]";
    assert_eq!(by_tier(never), NOTHING, "no label is there and absent");
}

#[test]
fn rule_14_every_namespace_has_its_name_as_a_label() {
    let named = |name: &str| {
        admitted(&format!(
            "[{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {name}}}}}}}]"
        ))
    };
    assert_eq!(named("y"), ["y/a", "y/b"], "its object does not say so");
    assert_eq!(named("x"), ["x/b"], "it has no object");
    assert_eq!(named("w"), NOTHING);
    let others = "[{namespaceSelector: {matchExpressions: \
                  [{key: kubernetes.io/metadata.name, operator: NotIn, values: [x, y]}]}}]";
    assert_eq!(admitted(others), ["z/a"]);
}

#[test]
fn rule_14_the_label_cannot_say_anything_else() {
    let labelled = |name: &str| namespace("y", &format!("{{kubernetes.io/metadata.name: {name}}}"));
    assert_eq!(refused(&labelled("z")), ["metadata.labels[kubernetes.io/metadata.name]"]);
    assert_eq!(refused(&labelled("y")), NOTHING);
}

#[test]
fn rule_15_a_block_holds_for_pods_and_nodes_too() {
    assert_eq!(admitted("[{ipBlock: {cidr: 10.0.0.2/32}}]"), ["x/b"]);
    assert_eq!(admitted("[{ipBlock: {cidr: 10.0.0.2/31}}]"), ["x/b", "y/a"]);
    assert_eq!(admitted("[{ipBlock: {cidr: 10.0.0.3/31}}]"), ["x/b", "y/a"], "host bits are cut");
    assert_eq!(admitted("[{ipBlock: {cidr: 10.0.0.12/32}}]"), ["n2"]);
    assert_eq!(admitted("[{ipBlock: {cidr: 203.0.113.0/24}}]"), ["outside"]);
    assert_eq!(admitted("[{ipBlock: {cidr: 0.0.0.0/0}}]"), OTHERS);
}

#[test]
fn rule_15_a_hole_is_cut_into_that_block_only() {
    let hole = "{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/29, 10.0.0.12/32]}}";
    assert_eq!(admitted(&format!("[{hole}]")), ["outside"], "pods 1 to 5 and n2 are in it");
    let again = format!("[{hole}, {{ipBlock: {{cidr: 10.0.0.4/32}}}}]");
    assert_eq!(admitted(&again), ["y/b", "outside"], "another peer may name a part of it");
    let by_label = format!("[{hole}, {{podSelector: {{}}}}]");
    assert_eq!(admitted(&by_label), ["x/b", "outside"], "or who is in it");

    let first = on_a(&format!("ingress: [{{from: [{hole}]}}]"));
    let second =
        |name, cidr| policy(name, &format!("ingress: [{{from: [{{ipBlock: {{cidr: {cidr}}}}}]}}]"));
    let table = cluster(&(first.clone() + &second("x/more", "10.0.0.4/32")));
    assert_eq!(sources(&table, "x/a"), ["y/b", "outside"], "another policy may as well");
    let table = cluster(&(first + &second("y/more", "10.0.0.4/32")));
    assert_eq!(sources(&table, "x/a"), ["outside"], "if it selects the pod");
}

#[test]
fn rule_15_a_hole_that_is_no_true_part_of_its_block_is_refused() {
    let hole = |except: &str| {
        let block = format!("{{ipBlock: {{cidr: 10.0.0.0/24, except: [{except}]}}}}");
        refused(&on_a(&format!("egress: [{{to: [{block}]}}]")))
    };
    let field = |place: usize| format!("spec.egress[0].to[0].ipBlock.except[{place}]");
    assert_eq!(hole("10.0.1.0/25"), [field(0)], "beside it");
    assert_eq!(hole("10.0.0.0/25, 10.0.0.0/16"), [field(1)], "around it");
    assert_eq!(hole("10.0.0.0/24"), [field(0)], "all of it");
    assert_eq!(hole("'fd00::/120'"), [field(0)], "of the other IP version");
    assert_eq!(hole("10.0.0.0/25, 10.0.0.255/32"), NOTHING, "parts of it");
}

#[test]
fn rule_16_a_block_stands_alone_in_its_item() {
    let beside = |selector: &str| {
        let item = format!("{{ipBlock: {{cidr: 10.0.0.0/8}}{selector}}}");
        refused(&on_a(&format!("ingress: [{{from: [{item}]}}]")))
    };
    let field = "spec.ingress[0].from[0].ipBlock";
    assert_eq!(beside(", podSelector: {}"), [field]);
    assert_eq!(beside(", namespaceSelector: {}"), [field]);
    assert_eq!(beside(", podSelector: {}, namespaceSelector: {}"), [field]);
    assert_eq!(beside("}, {podSelector: {}"), NOTHING, "in an item of its own");
}

#[test]
fn rule_16_a_block_matches_its_own_ip_version_only() {
    for (cidr, v4, v6) in [
        ("0.0.0.0/0", true, false),
        ("::/0", false, true),
        ("10.0.0.2/32", true, false),
        ("fd00::2/128", false, true),
        ("::ffff:0.0.0.0/96", true, false),
    ] {
        let table =
            cluster(&on_a(&format!("ingress: [{{from: [{{ipBlock: {{cidr: '{cidr}'}}}}]}}]")));
        let found = [V4, V6].map(|family| allows_over(family, &table, "x/b", "x/a", "TCP", 80));
        assert_eq!(found, [v4, v6], "IPv4 and IPv6 of x/b in {cidr}");
    }
}

#[test]
fn rule_16_ipv4_written_as_ipv6_is_ipv4() {
    assert_eq!(admitted("[{ipBlock: {cidr: '::ffff:10.0.0.4/128'}}]"), ["y/b"]);
    let hole = "[{ipBlock: {cidr: 10.0.0.0/24, except: ['::ffff:10.0.0.0/125']}}]";
    assert_eq!(admitted(hole), ["n2"], "a hole too: 0 to 7");
    let mapped = pod_at("x/new", "{pod: new}", "[]", &["::ffff:10.0.0.6".parse().unwrap()]);
    let label = "ingress: [{from: [{podSelector: {matchLabels: {pod: new}}}]}]";
    let table = cluster(&(mapped + &on_a(label)));
    assert!(allows(&table, "10.0.0.6", "x/a", "TCP", 80), "an address of a pod too");
    assert!(!allows(&table, "10.0.0.7", "x/a", "TCP", 80), "and its neighbour is nobody's");
}

#[test]
fn rule_17_pods_and_blocks_of_one_list_are_ored() {
    let own = "{podSelector: {}}";
    let with = |cidr: &str| admitted(&format!("[{own}, {{ipBlock: {{cidr: {cidr}}}}}]"));
    assert_eq!(with("10.0.0.2/32"), ["x/b"], "both mean x/b, once is enough");
    assert_eq!(with("10.0.0.2/31"), ["x/b", "y/a"], "the block means one more");
    assert_eq!(with("203.0.113.0/24"), ["x/b", "outside"], "they have nobody in common");
    let in_a_hole = "{ipBlock: {cidr: 10.0.0.0/24, except: [10.0.0.2/32, 10.0.0.4/30]}}";
    assert_eq!(admitted(&format!("[{in_a_hole}]")), ["y/a", "n2"], "x/b, y/b and z/a are in holes");
    assert_eq!(
        admitted(&format!("[{in_a_hole}, {own}]")),
        ["x/b", "y/a", "n2"],
        "x/b by its label"
    );
}
