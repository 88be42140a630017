//! What is refused of an access list, with the field that is wrong.

use sluice_core::ports::{ICMP, TCP};

use crate::model::{AccessAction, AccessList, AccessRule};
use crate::validate::validate_object;

fn rule(priority: u32) -> AccessRule {
    AccessRule {
        priority,
        action: AccessAction::Deny,
        source: Some("10.0.0.0/8".parse().unwrap()),
        destination: None,
        protocol: Some(TCP),
        source_ports: Some((0, 0)),
        destination_ports: Some((80, u16::MAX)),
    }
}

fn faults_of(rules: Vec<AccessRule>) -> Vec<String> {
    let list = AccessList { name: "edge".to_owned(), rules };
    validate_object(&list.into()).iter().map(ToString::to_string).collect()
}

#[test]
fn rules_that_rise_in_priority_are_taken() {
    assert_eq!(faults_of(vec![rule(0), rule(1), rule(2_147_483_646)]), [] as [&str; 0]);
    assert_eq!(faults_of(Vec::new()), [] as [&str; 0]);
}

#[test]
fn each_fault_names_list_field_and_what_would_be_right() {
    type Change = fn(&mut AccessRule);
    let cases: [(Change, &str); 6] = [
        (
            |it| it.priority = 4,
            "priority: 4 stands behind 4; want rules by rising priority, each priority once",
        ),
        (
            |it| it.priority = 3,
            "priority: 3 stands behind 4; want rules by rising priority, each priority once",
        ),
        (|it| it.priority = u32::MAX, "priority: 4294967295 is no priority; want 0 to 2147483646"),
        (
            |it| it.destination = Some("fd00::/8".parse().unwrap()),
            "destination: fd00::/8 is not of the IP version of source 10.0.0.0/8; want one version",
        ),
        (
            |it| it.source_ports = Some((2, 1)),
            "sourcePorts: last 1 is below first 2; want a last port of 2 or above",
        ),
        (
            |it| (it.protocol, it.source_ports) = (Some(ICMP), None),
            "destinationPorts: protocol 1 has no ports; want TCP, UDP or SCTP, or no ports",
        ),
    ];
    for (change, expected) in cases {
        let mut wrong = rule(5);
        change(&mut wrong);
        assert_eq!(
            faults_of(vec![rule(4), wrong]),
            [format!("AccessList edge: spec.rules[1].{expected}")]
        );
    }
}

#[test]
fn ipv4_written_as_ipv6_is_ipv4() {
    let mapped = Some("::ffff:10.0.0.0/104".parse().unwrap());
    let from = |source, destination: &str| {
        let destination = Some(destination.parse().unwrap());
        faults_of(vec![AccessRule { source, destination, ..rule(4) }])
    };
    assert_eq!(from(mapped, "192.0.2.0/24"), [] as [&str; 0]);
    assert_eq!(
        from(mapped, "fd00::/8"),
        [
            "AccessList edge: spec.rules[0].destination: fd00::/8 is not of the IP version of source \
          10.0.0.0/8; want one version"
        ]
    );
}
