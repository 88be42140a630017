//! Rules 31 to 38: ClusterNetworkPolicies, their tiers, rules, peers and protocols.

use sluice_core::policy::Reason;
use sluice_core::table::{Table, Tier};
use sluice_policy::compile::compile;

use crate::given::*;

const FROM_ALL: &str = "from: [{namespaces: {}}]";

/// The policy of a tier for the pods of x, with this action for what other pods send them.
fn tier(tier: &str, action: &str) -> String {
    match action {
        "none" => String::new(),
        action => cluster_policy(tier, &format!("ingress: [{{action: {action}, {FROM_ALL}}}]")),
    }
}

#[test]
fn rule_31_admin_then_network_policies_then_baseline_then_allowed() {
    let network_policy = |says: &str| match says {
        "none" => String::new(),
        "allow" => on_a("ingress: [{}]"),
        _ => on_a("ingress: []"),
    };
    let actions = ["none", "Accept", "Deny", "Pass"];
    for (admin, baseline) in actions.into_iter().flat_map(|a| actions.map(|b| (a, b))) {
        for says in ["none", "allow", "deny"] {
            let yaml = tier("Admin", admin) + &network_policy(says) + &tier("Baseline", baseline);
            let expected = match (admin, says, baseline) {
                ("Accept", _, _) => true,
                ("Deny", _, _) => false,
                (_, "allow", _) => true,
                (_, "deny", _) => false,
                (_, _, "Deny") => false,
                _ => true,
            };
            let found = allows(&cluster(&yaml), "y/a", "x/a", "TCP", 80);
            assert_eq!(found, expected, "Admin {admin}, NetworkPolicy {says}, Baseline {baseline}");
        }
    }
}

#[test]
fn rule_31_baseline_is_for_pods_that_no_network_policy_selects_in_that_direction() {
    let all = "{networks: [0.0.0.0/0]}";
    let baseline = format!(
        "ingress: [{{action: Accept, {FROM_ALL}}}], egress: [{{action: Deny, to: [{all}]}}]"
    );
    let table = cluster(&(on_a("policyTypes: [Ingress]") + &cluster_policy("Baseline", &baseline)));
    let into_a = decide(&table, V4, "y/a", "x/a", "TCP", 80).ingress;
    assert_eq!(into_a, Reason::NoRule, "selected, and no rule of it matches: that is final");
    let into_b = decide(&table, V4, "y/a", "x/b", "TCP", 80).ingress;
    assert!(matches!(into_b, Reason::Accepted(Tier::Baseline, _)), "not selected: {into_b:?}");
    let out_of_a = decide(&table, V4, "x/a", "outside", "TCP", 80).egress;
    assert!(matches!(out_of_a, Reason::Denied(Tier::Baseline, _)), "not for egress: {out_of_a:?}");
}

#[test]
fn rule_31_cluster_policies_isolate_nobody() {
    let accept = "ingress: [{action: Accept, from: [{namespaces: {matchLabels: {team: y}}}]}]";
    for name in ["Admin", "Baseline"] {
        let table = cluster(&cluster_policy(name, accept));
        assert_eq!(sources(&table, "x/a"), OTHERS, "what no rule of it matches is allowed: {name}");
    }
}

/// An Admin policy for the pods of x: what it does with everything from pods `pod`.
fn admin(name: &str, priority: i32, action: &str, pod: &str) -> String {
    let peer = format!("{{pods: {{podSelector: {{matchLabels: {{pod: {pod}}}}}}}}}");
    let rules = format!("ingress: [{{action: {action}, from: [{peer}]}}]");
    cluster_policy_for(name, "Admin", priority, SUBJECT, &rules)
}

const SUBJECT: &str = "namespaces: {matchLabels: {kubernetes.io/metadata.name: x}}";

#[test]
fn rule_32_a_lower_priority_is_asked_first() {
    let both = |accept: i32, deny: i32, names: [&str; 2]| {
        let yaml = admin(names[0], accept, "Accept", "b") + &admin(names[1], deny, "Deny", "b");
        allows(&cluster(&yaml), "y/b", "x/a", "TCP", 80)
    };
    for names in [["a", "b"], ["b", "a"]] {
        assert!(both(0, 1, names), "{names:?}");
        assert!(!both(1, 0, names), "{names:?}");
        assert!(both(9, 10, names), "numbers are compared, and not their digits: {names:?}");
        assert!(!both(1000, 999, names), "{names:?}");
    }
    // Kubernetes leaves it open which of equal priority is asked first. Here the lower name is.
    assert!(both(5, 5, ["a", "b"]));
    assert!(!both(5, 5, ["b", "a"]));
}

#[test]
fn rule_32_priorities_are_compared_within_their_tier() {
    let accept = |tier, priority| {
        let rules = format!("ingress: [{{action: Accept, {FROM_ALL}}}]");
        cluster_policy_for("accept", tier, priority, SUBJECT, &rules)
    };
    let deny = admin("deny", 1000, "Deny", "b");
    assert!(!allows(&cluster(&(deny.clone() + &accept("Baseline", 0))), "y/b", "x/a", "TCP", 80));
    assert!(allows(&cluster(&(deny + &accept("Admin", 999))), "y/b", "x/a", "TCP", 80));
}

#[test]
fn rule_32_the_rules_of_a_policy_are_asked_in_their_order() {
    let accept = "{action: Accept, from: [{pods: {podSelector: {matchLabels: {pod: b}}}}]}";
    let deny = format!("{{action: Deny, {FROM_ALL}}}");
    for (rules, expected) in [
        (format!("{accept}, {deny}"), &["x/b", "y/b", "n2", "outside"][..]),
        (format!("{deny}, {accept}"), &["n2", "outside"]),
    ] {
        let table = cluster(&cluster_policy("Admin", &format!("ingress: [{rules}]")));
        assert_eq!(sources(&table, "x/a"), expected, "{rules}");
    }
}

#[test]
fn rule_32_a_priority_out_of_bounds_is_refused() {
    for (priority, expected) in
        [(-1, &["spec.priority"][..]), (0, &[]), (1000, &[]), (1001, &["spec.priority"])]
    {
        assert_eq!(refused(&admin("p", priority, "Deny", "b")), expected, "{priority}");
    }
}

#[test]
fn rule_32_lists_hold_25_at_most() {
    let list = |count: usize, item: fn(usize) -> String| -> String {
        (0..count).map(item).collect::<Vec<_>>().join(", ")
    };
    let rule = |_| format!("{{action: Deny, {FROM_ALL}}}");
    let to_rule = |_| "{action: Deny, to: [{namespaces: {}}]}".to_owned();
    let peer = |_| "{namespaces: {}}".to_owned();
    let network = |place| format!("10.0.{place}.0/24");
    let protocol = |place| format!("{{tcp: {{destinationPort: {{number: {}}}}}}}", place + 1);
    let deny = |to: &str| format!("egress: [{{action: Deny, to: [{to}]}}]");
    for count in [25, 26] {
        let protocols = list(count, protocol);
        for (rules, field) in [
            (format!("ingress: [{}]", list(count, rule)), "spec.ingress"),
            (format!("egress: [{}]", list(count, to_rule)), "spec.egress"),
            (deny(&list(count, peer)), "spec.egress[0].to"),
            (
                deny(&format!("{{networks: [{}]}}", list(count, network))),
                "spec.egress[0].to[0].networks",
            ),
            (
                format!("ingress: [{{action: Deny, {FROM_ALL}, protocols: [{protocols}]}}]"),
                "spec.ingress[0].protocols",
            ),
        ] {
            let expected = if count > 25 { vec![field] } else { vec![] };
            assert_eq!(refused(&cluster_policy("Admin", &rules)), expected, "{count} of {field}");
        }
    }
}

#[test]
fn rule_33_the_first_match_ends_the_tier() {
    let (accept, pass, deny) = (
        admin("accept", 2, "Accept", "b"),
        admin("pass", 1, "Pass", "b"),
        admin("deny", 2, "Deny", "b"),
    );
    let to_a = |yaml: String, from| allows(&cluster(&yaml), from, "x/a", "TCP", 80);
    let closed = on_a("ingress: []");
    assert!(to_a(accept.clone() + &closed, "y/b"), "Accept is final");
    assert!(!to_a(pass.clone() + &accept + &closed, "y/b"), "Pass skips it: the next tier denies");
    assert!(to_a(pass.clone() + &deny, "y/b"), "Pass skips a Deny too: no tier has decided");
    assert!(!to_a(deny.clone() + &on_a("ingress: [{}]"), "y/b"), "Deny is final");
    let later = admin("later", 3, "Deny", "a");
    assert!(to_a(pass.clone() + &later, "y/b"), "Pass skips the whole tier");
    assert!(!to_a(pass + &later, "y/a"), "for what it matches only");
}

#[test]
fn rule_33_pass_in_the_baseline_tier_leaves_it_to_the_default() {
    let rules = |rules: &str| cluster(&cluster_policy("Baseline", &format!("ingress: [{rules}]")));
    let deny = format!("{{action: Deny, {FROM_ALL}}}");
    let pass = "{action: Pass, from: [{pods: {podSelector: {matchLabels: {pod: b}}}}]}";
    let table = rules(&format!("{pass}, {deny}"));
    assert_eq!(sources(&table, "x/a"), ["x/b", "y/b", "n2", "outside"]);
    assert_eq!(decide(&table, V4, "y/b", "x/a", "TCP", 80).ingress, Reason::Undecided);
}

#[test]
fn rule_33_each_end_is_judged_by_its_own_rules() {
    let accept_out = "egress: [{action: Accept, to: [{namespaces: {}}]}]";
    let deny_in = cluster_policy_for(
        "y",
        "Admin",
        10,
        "pods: {namespaceSelector: {matchLabels: {team: y}}, podSelector: {matchLabels: {pod: b}}}",
        &format!("ingress: [{{action: Deny, {FROM_ALL}}}]"),
    );
    let table = cluster(&(cluster_policy("Admin", accept_out) + &deny_in));
    let ends = |to: &str| {
        let decision = decide(&table, V4, "x/a", to, "TCP", 80);
        (decision.egress.allows(), decision.ingress.allows())
    };
    assert_eq!(ends("y/b"), (true, false), "the source accepts, the destination denies");
    assert_eq!(ends("y/a"), (true, true), "the destination is no subject");
}

/// The table of an Admin policy with a peer of a kind that nobody knows. Strictly it is refused.
fn with_unknown_peer(at: &str, policy_rules: &str) -> Table {
    let yaml = cluster_policy("Admin", policy_rules);
    assert_eq!(refused(&yaml), [at], "strictly");
    let manifest = read(&yaml, false);
    assert_eq!(manifest.faults, [], "leniently");
    let warned: Vec<&str> = manifest.warnings.iter().map(|it| &*it.0.field).collect();
    assert_eq!(warned, [at], "leniently");
    let mut rules = rules("");
    for located in manifest.objects {
        rules.replace(located.object);
    }
    compile(&rules, &options()).unwrap()
}

#[test]
fn rule_34_a_rule_with_an_unknown_peer_fails_closed() {
    let at = "spec.egress[0].to[0].wormholes";
    let y = "{namespaces: {matchLabels: {team: y}}}";
    let deny_all = "{action: Deny, to: [{namespaces: {}}]}";
    let unknown = "{wormholes: {}}";

    let accept = format!("egress: [{{action: Accept, to: [{unknown}, {y}]}}, {deny_all}]");
    let table = with_unknown_peer(at, &accept);
    assert_eq!(targets(&table, "x/a"), ["n2", "outside"], "Accept matches nothing, not even y");
    let known = cluster(&cluster_policy("Admin", &accept.replace(&format!("{unknown}, "), "")));
    assert_eq!(targets(&known, "x/a"), ["y/a", "y/b", "n2", "outside"], "without it it does");

    for action in ["Deny", "Pass"] {
        let rule = format!("egress: [{{action: {action}, to: [{unknown}]}}]");
        let table = with_unknown_peer(at, &rule);
        assert_eq!(targets(&table, "x/a"), NOTHING, "{action} denies all");
        assert_eq!(sources(&table, "x/a"), OTHERS[1..], "{action} in its direction, for x/b too");
        assert_eq!(targets(&table, "y/a").len(), 6, "{action} for its subject");
    }
    let ingress = format!("ingress: [{{action: Pass, from: [{unknown}]}}]");
    let table = with_unknown_peer("spec.ingress[0].from[0].wormholes", &ingress);
    assert_eq!(sources(&table, "x/a"), NOTHING, "the outside and nodes too");
}

/// Which of these ports an Admin policy denies x/a that denies `protocols` in pods of z.
fn denied(protocols: &str, protocol: &str, ports: &[u16]) -> Vec<u16> {
    let rule = format!("{{action: Deny, to: [{{namespaces: {{}}}}]{protocols}}}");
    let table = cluster(&cluster_policy("Admin", &format!("egress: [{rule}]")));
    let ports = ports.iter().copied();
    ports.filter(|port| !allows(&table, "x/a", "z/a", protocol, *port)).collect()
}

#[test]
fn rule_35_protocols_are_numbers_or_ranges_of_ports() {
    let ports = [79, 80, 81, 82, 83];
    for (field, protocol) in [("tcp", "TCP"), ("udp", "UDP"), ("sctp", "SCTP")] {
        let of = |port: &str| format!(", protocols: [{{{field}: {{destinationPort: {port}}}}}]");
        let (number, range) = (of("{number: 80}"), of("{range: {start: 80, end: 82}}"));
        assert_eq!(denied(&number, protocol, &ports), [80], "{number}");
        assert_eq!(denied(&range, protocol, &ports), [80, 81, 82], "{range}");
        for other in ["TCP", "UDP", "SCTP", "ICMP"].into_iter().filter(|it| *it != protocol) {
            assert_eq!(denied(&range, other, &ports), [0; 0], "{other} of {range}");
        }
    }
    let two = ", protocols: [{tcp: {destinationPort: {number: 79}}}, \
               {udp: {destinationPort: {number: 80}}}]";
    assert_eq!(denied(two, "TCP", &ports), [79]);
    assert_eq!(denied(two, "UDP", &ports), [80], "items are ored");
}

#[test]
fn rule_35_missing_protocols_are_all() {
    for protocol in ["TCP", "UDP", "SCTP", "ICMP"] {
        assert_eq!(denied("", protocol, &[1, 65535]), [1, 65535], "{protocol}");
        assert_eq!(denied(", protocols: null", protocol, &[1, 65535]), [1, 65535], "{protocol}");
    }
}

#[test]
fn rule_35_a_named_port_is_resolved_on_the_destination_pod() {
    let web = ", protocols: [{destinationNamedPort: web}]";
    assert_eq!(denied(web, "TCP", &[80, 81, 8080]), [8080], "z/a says so");
    assert_eq!(denied(web, "UDP", &[80, 81, 8080]), [0; 0]);
    let rule = format!("egress: [{{action: Deny, to: [{{namespaces: {{}}}}]{web}}}]");
    let table = cluster(&cluster_policy("Admin", &rule));
    assert!(!allows(&table, "x/a", "y/a", "UDP", 80), "with the protocol that the pod says");
    assert!(allows(&table, "x/a", "y/a", "TCP", 80));
    assert!(allows(&table, "x/a", "y/b", "TCP", 80), "it has no port of the name");
    let rule = format!("ingress: [{{action: Deny, {FROM_ALL}{web}}}]");
    let table = cluster(&cluster_policy("Admin", &rule));
    let into_b = [80, 81, 8080].map(|port| allows(&table, "z/a", "x/b", "TCP", port));
    assert_eq!(into_b, [true, false, true], "the subject of an ingress rule, not its peer");
}

#[test]
fn rule_35_what_is_no_port_is_refused() {
    let of = |to: &str, item: &str| {
        let rule = format!("egress: [{{action: Deny, to: [{to}], protocols: [{item}]}}]");
        refused(&cluster_policy("Admin", &rule))
    };
    let (pods, at) = ("{namespaces: {}}", "spec.egress[0].protocols[0]");
    let range = |start, end| {
        format!("{{tcp: {{destinationPort: {{range: {{start: {start}, end: {end}}}}}}}}}")
    };
    let field = format!("{at}.tcp.destinationPort.range");
    assert_eq!(of(pods, &range(80, 81)), NOTHING);
    assert_eq!(of(pods, &range(80, 80)), [&*field], "an end that is the start");
    assert_eq!(of(pods, &range(80, 79)), [&*field], "an end below the start");
    assert_eq!(of(pods, &range(0, 79)), [format!("{field}.start")]);
    assert_eq!(of(pods, &range(80, 65536)), [format!("{field}.end")]);
    assert_eq!(of(pods, "{tcp: {}}"), [format!("{at}.tcp.destinationPort")]);
    let number = "destinationPort: {number: 1}";
    assert_eq!(of(pods, &format!("{{tcp: {{{number}}}, udp: {{{number}}}}}")), [at], "two of them");
    let (named, field) = ("{destinationNamedPort: web}", format!("{at}.destinationNamedPort"));
    assert_eq!(of(pods, named), NOTHING);
    assert_eq!(of("{networks: [10.0.0.0/8]}", named), [&*field], "networks have no names");
    assert_eq!(of(&format!("{pods}, {{nodes: {{}}}}"), named), [&*field], "nor have nodes");
}

/// Names cannot be enforced yet, and what cannot be enforced is refused.
#[test]
fn rule_36_domain_names_are_refused() {
    let to = |action: &str, peer: &str| {
        refused(&cluster_policy("Admin", &format!("egress: [{{action: {action}, to: [{peer}]}}]")))
    };
    for names in ["[example.com]", "['*.example.com']", "[]"] {
        for action in ["Accept", "Deny", "Pass"] {
            let fields = to(action, &format!("{{domainNames: {names}}}"));
            assert_eq!(fields, ["spec.egress[0].to[0].domainNames"], "{action} {names}");
        }
    }
    let second = to("Accept", "{networks: [192.0.2.0/24]}, {domainNames: [example.com]}");
    assert_eq!(second, ["spec.egress[0].to[1].domainNames"]);
    assert_eq!(to("Accept", "{networks: [192.0.2.0/24]}"), NOTHING, "addresses are not");
}

#[test]
fn rule_37_networks_match_pods_too() {
    let deny = |networks: &str| {
        let rule = format!("egress: [{{action: Deny, to: [{{networks: [{networks}]}}]}}]");
        targets(&cluster(&cluster_policy("Admin", &rule)), "x/a")
    };
    assert_eq!(deny("10.0.0.4/32"), ["x/b", "y/a", "z/a", "n2", "outside"], "y/b alone");
    assert_eq!(deny("10.0.0.4/31"), ["x/b", "y/a", "n2", "outside"], "y/b and z/a");
    assert_eq!(deny("0.0.0.0/0"), NOTHING);
    assert_eq!(deny("'::/0'"), OTHERS, "of its own IP version");
    let pass = "egress: [{action: Pass, to: [{namespaces: {}}]}, \
                {action: Deny, to: [{networks: [0.0.0.0/0]}]}]";
    let table = cluster(&cluster_policy("Admin", pass));
    assert_eq!(targets(&table, "x/a"), ["x/b", "y/a", "y/b", "z/a"], "pods may be passed first");
}

#[test]
fn rule_38_nodes_are_matched_by_the_addresses_of_their_status() {
    let n2 = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n2, labels: {role: edge}}\n\
              status: {addresses: [{type: InternalIP, address: 10.0.0.12}, \
              {type: ExternalIP, address: 198.51.100.2}, {type: Hostname, address: n2}]}\n";
    let deny = |selector: &str| {
        let rule = format!("egress: [{{action: Deny, to: [{{nodes: {selector}}}]}}]");
        cluster(&(n2.to_owned() + &cluster_policy("Admin", &rule)))
    };
    for selector in ["{}", "{matchLabels: {role: edge}}"] {
        let table = deny(selector);
        assert_eq!(targets(&table, "x/a"), ["x/b", "y/a", "y/b", "z/a", "outside"], "{selector}");
        assert!(!allows(&table, "x/a", "198.51.100.2", "TCP", 80), "another address of it");
        assert!(allows(&table, "x/a", "198.51.100.3", "TCP", 80), "the next is nobody's");
        assert!(allows(&table, "x/a", "n1", "TCP", 80), "a pod's own node is never denied");
    }
    assert_eq!(targets(&deny("{matchLabels: {role: worker}}"), "x/a"), OTHERS, "n2 is on the edge");
}

#[test]
fn rule_38_nodes_are_peers_of_egress_only() {
    let of = |direction: &str, list: &str| {
        let rule = format!("{direction}: [{{action: Deny, {list}: [{{nodes: {{}}}}]}}]");
        refused(&cluster_policy("Admin", &rule))
    };
    assert_eq!(of("ingress", "from"), ["spec.ingress[0].from[0].nodes"]);
    assert_eq!(of("egress", "to"), NOTHING);
}
