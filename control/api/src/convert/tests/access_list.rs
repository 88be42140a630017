//! Access lists on the wire.

use prost::Message;

use super::faults_of;
use crate::{snapshot, wire};
use wire::access_addresses::Addresses;
use wire::access_ports::Ports;
use wire::access_protocols::Protocols;

fn ports(first: u32, last: u32) -> Option<wire::AccessPorts> {
    let range = Ports::Range(wire::PortRange { first, last });
    Some(wire::AccessPorts { ports: Some(range) })
}

/// A rule without a fault.
fn rule() -> wire::AccessRule {
    let addresses = |it| Some(wire::AccessAddresses { addresses: Some(it) });
    wire::AccessRule {
        priority: Some(0),
        action: 2,
        source: addresses(Addresses::Everybody(wire::Everybody {})),
        destination: addresses(Addresses::Cidr("10.0.0.0/8".into())),
        protocol: Some(wire::AccessProtocols { protocols: Some(Protocols::Number(255)) }),
        source_ports: ports(0, 65_535),
        destination_ports: Some(wire::AccessPorts { ports: Some(Ports::All(wire::AllPorts {})) }),
    }
}

fn rule_set(rule: wire::AccessRule) -> wire::RuleSet {
    let list = wire::AccessList { name: "edge".into(), rules: vec![rule] };
    wire::RuleSet { access_lists: vec![list], ..wire::RuleSet::default() }
}

#[test]
fn each_fault_names_list_field_and_what_would_be_right() {
    assert_eq!(snapshot::decode(&rule_set(rule()).encode_to_vec()).unwrap().len(), 1);
    type Change = fn(&mut wire::AccessRule);
    let cases: [(Change, &str); 10] = [
        (|it| it.priority = None, "priority: it is absent; want a number of its own"),
        (|it| it.action = 0, "action: it is unspecified; want Allow or Deny"),
        (|it| it.action = 9, "action: value 9 is unknown here; want Allow or Deny"),
        (
            |it| it.source = None,
            "source: it is absent; want everybody, or a prefix such as 10.0.0.0/8",
        ),
        (
            |it| it.destination = Some(wire::AccessAddresses { addresses: None }),
            "destination: it is absent; want everybody, or a prefix such as 10.0.0.0/8",
        ),
        (|it| it.protocol = None, "protocol: it is absent; want every protocol, or a number"),
        (
            |it| {
                it.protocol =
                    Some(wire::AccessProtocols { protocols: Some(Protocols::Number(256)) })
            },
            "protocol: 256 is no protocol; want 0 to 255",
        ),
        (|it| it.source_ports = None, "sourcePorts: it is absent; want all ports, or a range"),
        (
            |it| it.source_ports = ports(1, 65_536),
            "sourcePorts: 1 to 65536 are no ports; want 0 to 65535",
        ),
        (
            |it| it.destination_ports = None,
            "destinationPorts: it is absent; want all ports, or a range",
        ),
    ];
    for (change, expected) in cases {
        let mut wrong = rule();
        change(&mut wrong);
        assert_eq!(
            faults_of(&rule_set(wrong)),
            [format!("AccessList edge: spec.rules[0].{expected}")]
        );
    }
}
