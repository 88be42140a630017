//! What Kubernetes' own suites leave out of verdicts: truth tables over both IP versions, rules
//! crossed with ports, borders of ranges, names with several numbers, expressions, and nodes.

use sluice_core::drop::DropReason;
use sluice_core::judge::Verdict;
use sluice_core::table::Table;

use crate::given::*;
use crate::wire::World;

const OK: Verdict = Ok(());

/// The rows and columns of a truth table.
const ENDS: [&str; 8] = ["x/a", "x/b", "y/a", "y/b", "z/a", "n1", "n2", "outside"];

/// A row for each source, a column for each destination: `.` is allowed, `X` denied.
fn truth(table: &Table, family: Family) -> Vec<String> {
    let cell = |from, to| match allows_over(family, table, from, to, "TCP", 80) {
        _ if from == to => '-',
        true => '.',
        false => 'X',
    };
    ENDS.map(|from| ENDS.map(|to| cell(from, to)).iter().collect()).into()
}

#[test]
fn selectors_mean_pods_by_both_of_their_ip_versions() {
    let peers =
        "[{namespaceSelector: {matchLabels: {team: y}}, podSelector: {matchLabels: {pod: b}}}]";
    let spec = "podSelector: {}, policyTypes: [Ingress, Egress]";
    let table = cluster(&policy(
        "x/p",
        &format!("{spec}, ingress: [{{from: {peers}}}], egress: [{{to: {peers}}}]"),
    ));
    for family in [V4, V6] {
        assert_eq!(
            truth(&table, family),
            [
                "-XX.X.XX", // x/a: y/b and its own node
                "X-X.X.XX", // x/b: the same
                "XX-.....", // y/a: not x
                "...-....", // y/b: everybody
                "XX..-...", // z/a: not x
                ".....-..", // n1: everybody, x being on it
                "XX....-.", // n2: not x
                "XX.....-", // the outside: not x
            ],
            "{family:?}"
        );
    }
}

#[test]
fn blocks_mean_addresses_of_their_own_ip_version() {
    let block = "{ipBlock: {cidr: 'fd00::/125', except: ['fd00::4/128']}}";
    let ingress = format!("ingress: [{{from: [{{podSelector: {{}}}}, {block}]}}]");
    let egress = "egress: [{to: [{ipBlock: {cidr: 10.0.0.0/24}}]}]";
    let table = cluster(&on_a(&format!("policyTypes: [Ingress, Egress], {ingress}, {egress}")));
    let others = |first: [char; 7]| {
        // Nobody but x/a is isolated: the others reach each other.
        let rows = ENDS[1..].iter().enumerate().zip(first);
        rows.map(|((place, _), first)| {
            let row = (1..8).map(|to| if to == place + 1 { '-' } else { '.' });
            std::iter::once(first).chain(row).collect::<String>()
        })
        .collect::<Vec<_>>()
    };
    let v4 = truth(&table, V4);
    assert_eq!(v4[0], "-......X", "out of x/a: the block, of all IPv4 but the outside");
    assert_eq!(v4[1..], others(['.', 'X', 'X', 'X', '.', 'X', 'X']), "into x/a: its namespace");
    let v6 = truth(&table, V6);
    assert_eq!(v6[0], "-XXXX.XX", "out of x/a: its node alone");
    assert_eq!(v6[1..], others(['.', '.', 'X', '.', '.', 'X', 'X']), "into x/a: but for the hole");
}

#[test]
fn a_pod_with_one_ip_version_is_nobody_by_the_other() {
    let v4_only = pod_at("x/new", "{pod: new}", "[]", &[address("x/new", V4)]);
    let v6_only = pod_at("y/new", "{pod: new}", "[]", &[address("y/new", V6)]);
    let from = "[{namespaceSelector: {}, podSelector: {matchLabels: {pod: new}}}]";
    let ingress = on_a(&format!("ingress: [{{from: {from}}}]"));
    let table = cluster(&(v4_only + &v6_only + &ingress));
    let into_a = |family, from| allows_over(family, &table, from, "x/a", "TCP", 80);
    assert_eq!([V4, V6].map(|family| into_a(family, "x/new")), [true, false]);
    assert_eq!([V4, V6].map(|family| into_a(family, "y/new")), [false, true]);
}

#[test]
fn the_ports_of_a_rule_are_for_its_own_peers_only() {
    let y = "{namespaceSelector: {matchLabels: {team: y}}}";
    let y_b = "{namespaceSelector: {matchLabels: {team: y}}, podSelector: {matchLabels: {pod: b}}}";
    let z = "{namespaceSelector: {matchLabels: {team: z}}}";
    let outside = "{ipBlock: {cidr: 203.0.113.0/24}}";
    let rules = |peers: &str| {
        [
            format!("{{{peers}: [{y}], ports: [{{port: 80}}, {{protocol: UDP, port: 53}}]}}"),
            format!(
                "{{{peers}: [{z}, {y_b}], ports: [{{port: 443}}, {{port: 8080, endPort: 8090}}]}}"
            ),
            format!("{{{peers}: [{outside}], ports: [{{port: 80}}, {{port: 443}}]}}"),
        ]
        .join(", ")
    };
    let ingress = cluster(&on_a(&format!("policyTypes: [Ingress], ingress: [{}]", rules("from"))));
    let egress = cluster(&on_a(&format!("policyTypes: [Egress], egress: [{}]", rules("to"))));
    const ASKED: [(&str, u16); 7] = [
        ("TCP", 80),
        ("UDP", 53),
        ("TCP", 53),
        ("TCP", 443),
        ("TCP", 8080),
        ("TCP", 8090),
        ("TCP", 8091),
    ];
    for (peer, expected) in [
        ("x/b", "XXXXXXX"),
        ("y/a", "..XXXXX"),
        ("y/b", "..X...X"), // The first and the second rule.
        ("z/a", "XXX...X"),
        ("n2", "XXXXXXX"),
        ("outside", ".XX.XXX"),
    ] {
        let row = |table, from, to| -> String {
            let cell = |(protocol, port)| match allows(table, from, to, protocol, port) {
                true => '.',
                false => 'X',
            };
            ASKED.map(cell).iter().collect()
        };
        assert_eq!(row(&ingress, peer, "x/a"), expected, "{peer} to x/a");
        assert_eq!(row(&egress, "x/a", peer), expected, "x/a to {peer}");
    }
}

#[test]
fn ranges_end_at_their_borders() {
    for (first, last) in [
        (1, 1),
        (1, 80),
        (53, 84),
        (80, 81),
        (1, 65535),
        (65534, 65535),
        (65535, 65535),
        (32767, 32768),
    ] {
        let ports = [1, first.max(2) - 1, first, last, last.min(65534) + 1, 65535];
        let inside: Vec<u16> =
            ports.into_iter().filter(|port| (first..=last).contains(port)).collect();
        for (protocol, other) in [("TCP", "UDP"), ("UDP", "SCTP"), ("SCTP", "TCP")] {
            let range = format!("[{{protocol: {protocol}, port: {first}, endPort: {last}}}]");
            assert_eq!(open(&range, protocol, &ports), inside, "{protocol}: {range}");
            assert_eq!(open(&range, other, &ports), [0; 0], "{other}: {range}");
        }
    }
}

#[test]
fn ranges_that_touch_or_overlap_are_their_union() {
    let ports = [79, 80, 81, 82, 83, 84, 85, 86, 89, 90, 91];
    let ranges =
        "[{port: 80, endPort: 82}, {port: 83, endPort: 84}, {port: 84, endPort: 85}, {port: 90}]";
    assert_eq!(open(ranges, "TCP", &ports), [80, 81, 82, 83, 84, 85, 90]);
    let nested = "[{port: 81}, {port: 80, endPort: 84}, {port: 82, endPort: 83}]";
    assert_eq!(open(nested, "TCP", &ports), [80, 81, 82, 83, 84]);
}

#[test]
fn expressions_select_subjects() {
    for (term, isolated) in [
        ("operator: Exists", &["x/b"][..]),
        ("operator: DoesNotExist", &["x/a"]),
        ("operator: NotIn, values: [db]", &["x/a"]),
        ("operator: NotIn, values: [web]", &["x/a", "x/b"]),
        ("operator: In, values: [db]", &["x/b"]),
        ("operator: In, values: ['']", &[]),
    ] {
        let selector = format!("podSelector: {{matchExpressions: [{{key: tier, {term}}}]}}");
        let table = cluster(&policy("x/p", &selector));
        let found = ["x/a", "x/b"].into_iter().filter(|to| !allows(&table, "y/a", to, "TCP", 80));
        assert_eq!(found.collect::<Vec<_>>(), isolated, "{term}");
    }
}

#[test]
fn an_empty_label_is_there() {
    let empty = pod("x/new", "{tier: ''}", "[]");
    for (term, selected) in [
        ("operator: Exists", true),
        ("operator: DoesNotExist", false),
        ("operator: In, values: ['']", true),
        ("operator: NotIn, values: ['']", false),
        ("operator: NotIn, values: [db]", true),
    ] {
        let selector = format!("podSelector: {{matchExpressions: [{{key: tier, {term}}}]}}");
        let table = cluster(&(empty.clone() + &policy("x/p", &selector)));
        assert_eq!(!allows(&table, "y/a", "x/new", "TCP", 80), selected, "{term}");
    }
}

#[test]
fn a_name_with_another_number_on_each_pod() {
    let numbers = [80, 81, 8080, 9090];
    let pods = [("x/b", 81), ("y/a", 80), ("y/b", 9090), ("z/a", 8080)];
    let named = |(name, port): (&str, u16)| {
        let labels = format!("{{pod: {}}}", name.split_once('/').unwrap().1);
        pod(name, &labels, &format!("[{{name: web, containerPort: {port}}}]"))
    };
    let all: String = pods.map(named).concat();
    let by_name = "ports: [{port: web}]";
    let egress = format!(
        "policyTypes: [Egress], egress: [{{to: [{{namespaceSelector: {{}}}}], {by_name}}}]"
    );
    let out = cluster(&(all.clone() + &on_a(&egress)));
    let each: String = ["x", "y", "z"]
        .map(|it| policy(&format!("{it}/web"), &format!("ingress: [{{{by_name}}}]")))
        .concat();
    let into = cluster(&(all + &each));
    for (table, case) in [(&out, "egress of x/a"), (&into, "ingress of each")] {
        for family in [V4, V6] {
            for (pod, number) in pods {
                let open = numbers
                    .into_iter()
                    .filter(|port| allows_over(family, table, "x/a", pod, "TCP", *port));
                assert_eq!(open.collect::<Vec<_>>(), [number], "{case}: {pod} over {family:?}");
            }
        }
    }
}

#[test]
fn nodes_are_found_by_address_and_have_no_policy_of_their_own() {
    let ingress =
        "policyTypes: [Ingress, Egress], ingress: [{from: [{ipBlock: {cidr: 10.0.0.12/32}}]}]";
    let admin = "egress: [{action: Deny, to: [{nodes: {matchLabels: {role: edge}}}]}]";
    let subject = "namespaces: {}";
    let admin = cluster_policy_for("admin", "Admin", 1, subject, admin);
    let table = cluster(&(on_a(ingress) + &admin));
    assert_eq!(
        truth(&table, V4),
        [
            "-XXXX.XX", // x/a: its own node
            "X-....X.", // x/b: not n2, on which it does not run
            "X.-.....", // y/a: n2 too, on which it runs
            "X..-....", // y/b: the same
            "X...-...", // z/a: the same
            ".....-..", // n1: everybody, x/a as its own node
            "......-.", // n2: everybody, x/a by its block
            "X......-", // the outside
        ]
    );
}

#[test]
fn nodes_and_the_outside_open_connections_as_their_addresses_allow() {
    for family in [V4, V6] {
        let block = "{ipBlock: {cidr: 10.0.0.12/32}}, {ipBlock: {cidr: 'fd00::c/128'}}";
        let mut world = World::new(family, &on_a(&format!("ingress: [{{from: [{block}]}}]")));
        assert_eq!(world.handshake("n2:4000", "x/a:80"), OK);
        let outside = world.tcp("outside:4000", "x/a:80", "S");
        assert_eq!(outside, Err(DropReason::IngressDenied));
        assert_eq!(world.handshake("x/a:4000", "n2:80"), OK, "egress is not isolated");
    }
}
