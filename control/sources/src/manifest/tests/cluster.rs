//! ClusterNetworkPolicies: each field as it is written, and what it becomes.

use sluice_policy::model::{
    Action, ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterPorts, ClusterRule,
    LabelSelector, NamespacedPods, Object, Protocol, Tier,
};

use super::{objects, read};

const HEAD: &str = "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n\
                    metadata: {name: p}\n";

/// A policy whose spec ends with these fields.
fn policy(fields: &str) -> String {
    format!("{HEAD}spec: {{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}, {fields}}}\n")
}

fn of(text: &str) -> ClusterNetworkPolicy {
    match objects(text).pop() {
        Some(Object::ClusterNetworkPolicy(policy)) => policy,
        other => panic!("{other:?}"),
    }
}

fn pods(namespaces: LabelSelector, pods: LabelSelector) -> NamespacedPods {
    NamespacedPods { namespaces, pods }
}

#[test]
fn every_field_becomes_what_it_means() {
    let text = format!(
        "{HEAD}spec:
  tier: Baseline
  priority: 1000
  subject: {{pods: {{namespaceSelector: {{matchLabels: {{a: b}}}}, podSelector: {{matchLabels: {{c: d}}}}}}}}
  ingress:
  - name: first
    action: Pass
    from: [{{namespaces: {{matchLabels: {{a: b}}}}}}, {{pods: {{podSelector: {{matchLabels: {{c: d}}}}}}}}]
  egress:
  - action: Accept
    to:
    - nodes: {{}}
    - networks: [10.1.2.3/8, \"::ffff:192.0.2.0/120\", \"fd00::/8\"]
    protocols:
    - tcp: {{destinationPort: {{number: 65535}}}}
    - udp: {{destinationPort: {{range: {{start: 1, end: 2}}}}}}
    - sctp: {{destinationPort: {{number: 1}}}}
  - action: Deny
    to: [{{pods: {{namespaceSelector: {{}}, podSelector: {{}}}}}}]
    protocols: [{{destinationNamedPort: web}}]
status: {{conditions: [{{type: Whatever}}]}}
"
    );
    let all = LabelSelector::everything;
    let (a, c) = (|| LabelSelector::label("a", "b"), || LabelSelector::label("c", "d"));
    let networks = ["10.0.0.0/8", "192.0.2.0/24", "fd00::/8"].map(|net| net.parse().unwrap());
    let range = |protocol, first, last| ClusterPort::Range { protocol, first, last };
    let expected = ClusterNetworkPolicy {
        name: "p".to_owned(),
        tier: Tier::Baseline,
        priority: 1000,
        subject: pods(a(), c()),
        ingress: vec![ClusterRule {
            name: "first".to_owned(),
            action: Action::Pass,
            peers: vec![ClusterPeer::Pods(pods(a(), all())), ClusterPeer::Pods(pods(all(), c()))],
            ports: ClusterPorts::All,
        }],
        egress: vec![
            ClusterRule {
                name: String::new(),
                action: Action::Accept,
                peers: vec![ClusterPeer::Nodes(all()), ClusterPeer::Networks(networks.to_vec())],
                ports: ClusterPorts::AnyOf(vec![
                    range(Protocol::Tcp, 65535, 65535),
                    range(Protocol::Udp, 1, 2),
                    range(Protocol::Sctp, 1, 1),
                ]),
            },
            ClusterRule {
                name: String::new(),
                action: Action::Deny,
                peers: vec![ClusterPeer::Pods(pods(all(), all()))],
                ports: ClusterPorts::AnyOf(vec![ClusterPort::Named("web".to_owned())]),
            },
        ],
    };
    assert_eq!(of(&text), expected);
}

#[test]
fn absent_rules_are_none_and_absent_protocols_are_all() {
    for fields in ["", "ingress: [], egress: []", "ingress: null"] {
        let found = of(&policy(fields));
        assert_eq!((found.ingress, found.egress), (vec![], vec![]), "{fields}");
    }
    let found = of(&policy("egress: [{action: Deny, to: [{namespaces: {}}], protocols: null}]"));
    assert_eq!(found.egress[0].ports, ClusterPorts::All);
}

#[test]
fn lists_hold_them_as_they_hold_other_kinds() {
    let item = "spec: {tier: Admin, priority: 1, subject: {namespaces: {}}}";
    let text = format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicyList\nitems:\n\
         - metadata: {{name: a}}\n  {item}\n---\napiVersion: v1\nkind: List\nitems:\n\
         - apiVersion: policy.networking.k8s.io/v1alpha2\n  kind: ClusterNetworkPolicy\n  \
         metadata: {{name: b}}\n  {item}\n"
    );
    let names: Vec<String> = objects(&text).iter().map(|it| it.key().to_string()).collect();
    assert_eq!(names, ["ClusterNetworkPolicy a", "ClusterNetworkPolicy b"]);
}

#[test]
fn a_peer_that_is_not_known_is_kept_and_says_what_its_rule_does_now() {
    for (fields, place, so_now) in [
        (
            "egress: [{action: Accept, to: [{wormholes: {}}]}]",
            0,
            "this Accept rule fails closed and matches nothing; want namespaces, pods, nodes or",
        ),
        (
            "egress: [{action: Deny, to: [{namespaces: {}}, {wormholes: [a]}]}]",
            1,
            "this Deny rule fails closed and denies everything; want namespaces, pods, nodes or",
        ),
        (
            "ingress: [{action: Pass, from: [{wormholes: null}]}]",
            0,
            "this Pass rule fails closed and denies everything; want namespaces or pods",
        ),
    ] {
        let manifest = read(&policy(fields), false);
        assert_eq!(manifest.faults, [], "{fields}");
        let Object::ClusterNetworkPolicy(found) = &manifest.objects[0].object else { panic!() };
        let rule = found.ingress.iter().chain(&found.egress).next().unwrap();
        assert_eq!(rule.peers[place], ClusterPeer::Unknown("wormholes".to_owned()));
        let [warning] = &manifest.warnings[..] else { panic!("{:?}", manifest.warnings) };
        assert!(warning.0.field.ends_with(&format!("[{place}].wormholes")), "{warning}");
        assert!(warning.0.problem.contains(so_now), "{warning}");
        let strict = read(&policy(fields), true);
        assert_eq!((strict.objects.len(), strict.warnings.len()), (0, 0));
        assert_eq!(strict.faults, std::slice::from_ref(&warning.0));
    }
}

#[test]
fn unknown_fields_are_faults_where_more_could_be_let_through() {
    let faulty = [
        // Within a rule that accepts or passes, wherever it stands.
        (
            "ingress: [{action: Accept, from: [{namespaces: {}}], ports: []}]",
            "spec.ingress[0].ports",
        ),
        ("ingress: [{action: Pass, from: [{namespaces: {}}], x: 1}]", "spec.ingress[0].x"),
        (
            "egress: [{action: Accept, to: [{namespaces: {matchLabel: {a: b}}}]}]",
            "spec.egress[0].to[0].namespaces.matchLabel",
        ),
        (
            "egress: [{action: Accept, to: [{pods: {podSelector: {}, x: 1}}]}]",
            "spec.egress[0].to[0].pods.x",
        ),
        // Within protocols, whatever the rule does.
        (
            "egress: [{action: Deny, to: [{nodes: {}}], protocols: [{icmp: {}}]}]",
            "spec.egress[0].protocols[0].icmp",
        ),
        (
            "egress: [{action: Deny, to: [{nodes: {}}], protocols: \
             [{tcp: {destinationPort: {number: 1}, sourcePort: 2}}]}]",
            "spec.egress[0].protocols[0].tcp.sourcePort",
        ),
        (
            "egress: [{action: Deny, to: [{nodes: {}}], protocols: \
             [{tcp: {destinationPort: {number: 1, end: 2}}}]}]",
            "spec.egress[0].protocols[0].tcp.destinationPort.end",
        ),
    ];
    for (fields, field) in faulty {
        let manifest = read(&policy(fields), false);
        let [fault] = &manifest.faults[..] else { panic!("{fields}: {:?}", manifest.faults) };
        assert_eq!(fault.field, field);
        assert!(
            fault.problem.starts_with("no such field, and without it more could be"),
            "{fault}"
        );
        assert_eq!(manifest.warnings, [], "{fields}");
    }
    let idle = [
        ("x: 1", "spec.x"),
        ("egress: [{action: Deny, to: [{nodes: {}}], x: 1}]", "spec.egress[0].x"),
        (
            "egress: [{action: Deny, to: [{nodes: {matchLabel: {}}}]}]",
            "spec.egress[0].to[0].nodes.matchLabel",
        ),
    ];
    for (fields, field) in idle {
        let manifest = read(&policy(fields), false);
        assert_eq!((&manifest.faults[..], manifest.objects.len()), (&[][..], 1), "{fields}");
        let [warning] = &manifest.warnings[..] else { panic!("{:?}", manifest.warnings) };
        assert_eq!(warning.0.field, field);
        assert_eq!(read(&policy(fields), true).faults, std::slice::from_ref(&warning.0));
    }
}

#[test]
fn an_unknown_field_of_the_subject_is_a_fault_if_some_rule_opens() {
    let text = |action: &str| {
        format!(
            "{HEAD}spec: {{tier: Admin, priority: 1, subject: {{namespaces: {{matchLabel: {{a: b}}}}}}, \
             ingress: [{{action: {action}, from: [{{namespaces: {{}}}}]}}]}}\n"
        )
    };
    for (action, faults, warnings) in [("Deny", 0, 1), ("Accept", 1, 0), ("Pass", 1, 0)] {
        let found = read(&text(action), false);
        assert_eq!((found.faults.len(), found.warnings.len()), (faults, warnings), "{action}");
    }
}

#[test]
fn the_other_kinds_and_versions_of_the_group_are_refused_with_what_to_write() {
    let group = "policy.networking.k8s.io";
    for (version, kind, field) in [
        ("v1alpha1", "AdminNetworkPolicy", "kind"),
        ("v1alpha1", "BaselineAdminNetworkPolicyList", "kind"),
        ("v1alpha2", "AdminNetworkPolicy", "kind"),
        ("v1alpha1", "Whatever", "kind"),
        ("v1alpha1", "ClusterNetworkPolicy", "apiVersion"),
        ("v1", "ClusterNetworkPolicyList", "apiVersion"),
    ] {
        let text = format!("apiVersion: {group}/{version}\nkind: {kind}\nmetadata: {{name: p}}\n");
        let manifest = read(&text, false);
        let [fault] = &manifest.faults[..] else { panic!("{kind}: {:?}", manifest.faults) };
        assert_eq!((fault.field.as_str(), fault.object.as_str()), (field, &*format!("{kind} p")));
        for word in ["ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2"] {
            assert!(fault.problem.contains(word), "{fault}");
        }
    }
}
