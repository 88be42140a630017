//! What is refused of an access list, with the field that is wrong.

use sluice_core::ports::{ICMP, TCP};

use crate::model::{AccessAction, AccessList, AccessListChange, AccessRule, RuleSet};
use crate::validate::{validate_access_list_change, validate_object};

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

#[test]
fn each_fault_of_a_change_names_its_place() {
    let mut rules = RuleSet::default();
    let list = AccessList { name: "edge".to_owned(), rules: vec![rule(1), rule(3), rule(5)] };
    rules.insert(list).unwrap();
    let faults = |upserts: Vec<AccessRule>, removals: &[u32]| -> Vec<String> {
        let removals = removals.to_vec();
        let change = AccessListChange { name: "edge".to_owned(), upserts, removals };
        validate_access_list_change(&rules, &change).iter().map(ToString::to_string).collect()
    };
    assert_eq!(faults(vec![rule(0), rule(3)], &[1, 5]), [] as [&str; 0]);
    for (upserts, removals, expected) in [
        (
            vec![rule(3), rule(2)],
            &[][..],
            "upserts[1].priority: 2 stands behind 3; want rules by rising priority, each priority once",
        ),
        (
            vec![AccessRule { destination_ports: Some((2, 1)), ..rule(2) }],
            &[],
            "upserts[0].destinationPorts: last 1 is below first 2; want a last port of 2 or above",
        ),
        (vec![], &[3, 1], "removals[1]: 1 stands behind 3; want rising priorities, each once"),
        (
            vec![],
            &[1, 2],
            "removals[1]: the list has no rule of priority 2; remove only what is there",
        ),
        (vec![rule(3)], &[3], "removals[0]: 3 is among the upserts too; want it in one"),
    ] {
        assert_eq!(faults(upserts, removals), [format!("AccessList edge: {expected}")]);
    }
    let other = AccessListChange { name: "other".to_owned(), ..AccessListChange::default() };
    assert_eq!(
        validate_access_list_change(&rules, &other)[0].to_string(),
        "AccessList other: metadata.name: its rules are to change, but the rule set does not have it"
    );
}
