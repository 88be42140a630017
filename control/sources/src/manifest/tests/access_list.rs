//! AccessLists: each field as it is written, and what it becomes.

use sluice_policy::model::{AccessAction, AccessList, AccessRule, Object};

use super::{objects, read};

const HEAD: &str = "apiVersion: policy.sluice.dev/v1alpha1\nkind: AccessList\n\
                    metadata: {name: edge}\n";

#[test]
fn every_field_becomes_what_it_means() {
    let text = format!(
        "{HEAD}spec:
  rules:
  - priority: 10
    action: Allow
    source: 10.1.2.3/8
    destination: 192.0.2.0/24
    protocol: TCP
    sourcePorts: {{first: 0, last: 1023}}
    destinationPorts: {{first: 80}}
  - {{priority: 20, action: Deny, protocol: 47}}
  - {{priority: 30, action: Deny}}
"
    );
    let open = |priority, protocol| AccessRule {
        priority,
        action: AccessAction::Deny,
        source: None,
        destination: None,
        protocol,
        source_ports: None,
        destination_ports: None,
    };
    let first = AccessRule {
        priority: 10,
        action: AccessAction::Allow,
        source: Some("10.0.0.0/8".parse().unwrap()),
        destination: Some("192.0.2.0/24".parse().unwrap()),
        protocol: Some(6),
        source_ports: Some((0, 1023)),
        destination_ports: Some((80, 80)),
    };
    let rules = vec![first, open(20, Some(47)), open(30, None)];
    let expected = AccessList { name: "edge".to_owned(), rules };
    assert_eq!(objects(&text), [Object::AccessList(expected)]);
}

#[test]
fn what_cannot_be_read_is_refused_with_field_and_remedy() {
    for (rule, expected) in [
        (
            "{action: Deny}",
            "spec.rules[0].priority: missing; want a number that no other rule of the list has",
        ),
        (
            "{priority: -1, action: Deny}",
            "spec.rules[0].priority: -1 is no priority; want 0 to 2147483646",
        ),
        ("{priority: 1}", "spec.rules[0].action: missing; want Allow or Deny"),
        (
            "{priority: 1, action: deny}",
            "spec.rules[0].action: \"deny\" is no action; want Allow or Deny",
        ),
        (
            "{priority: 1, action: Deny, source: 10.0.0.1}",
            "spec.rules[0].source: \"10.0.0.1\" is no CIDR; want one such as 10.0.0.0/8 or fd00::/8",
        ),
        (
            "{priority: 1, action: Deny, protocol: tcp}",
            "spec.rules[0].protocol: \"tcp\" is no protocol; want TCP, UDP, SCTP, ICMP, ICMPv6, or a number from 0 to 255",
        ),
        (
            "{priority: 1, action: Deny, sourcePorts: {last: 3}}",
            "spec.rules[0].sourcePorts.first: missing; want 0 to 65535",
        ),
        (
            "{priority: 1, action: Deny, destinationPorts: {first: 65536}}",
            "spec.rules[0].destinationPorts.first: 65536 is no port; want 0 to 65535",
        ),
        (
            "{priority: 1, action: Allow, dports: 80}",
            "spec.rules[0].dports: no such field, and without it more could be let through; want it spelled as in policy.sluice.dev/v1alpha1, or gone",
        ),
    ] {
        let manifest = read(&format!("{HEAD}spec: {{rules: [{rule}]}}\n"), false);
        let faults: Vec<String> =
            manifest.faults.iter().map(|it| format!("{}: {}", it.field, it.problem)).collect();
        assert!(faults.contains(&expected.to_owned()), "{rule}: {faults:#?}");
        assert!(manifest.objects.is_empty(), "{rule}");
    }
}
