//! Access lists, both ways.

use ipnet::IpNet;
use sluice_policy::model::{AccessAction, AccessList, AccessListChange, AccessRule};

use super::report::{Path, Report, gather};
use crate::wire;

pub(super) fn access_list(report: &mut Report, list: wire::AccessList) -> Option<AccessList> {
    let at = Path::Top("spec.rules");
    let rules = list.rules.into_iter().enumerate();
    let rules = gather(rules.map(|(place, it)| rule(report, &at.item(place), it)));
    Some(AccessList { name: list.name, rules: rules? })
}

pub(super) fn change(
    report: &mut Report,
    change: wire::AccessListChange,
) -> Option<AccessListChange> {
    let at = Path::Top("upserts");
    let upserts = change.upserts.into_iter().enumerate();
    let upserts = gather(upserts.map(|(place, it)| rule(report, &at.item(place), it)));
    Some(AccessListChange { name: change.name, upserts: upserts?, removals: change.removals })
}

fn rule(report: &mut Report, at: &Path<'_>, rule: wire::AccessRule) -> Option<AccessRule> {
    let priority = match rule.priority {
        Some(priority) => Some(priority),
        None => report.fault(&at.field("priority"), "it is absent; want a number of its own"),
    };
    let action = action(report, &at.field("action"), rule.action);
    let source = addresses(report, &at.field("source"), rule.source);
    let destination = addresses(report, &at.field("destination"), rule.destination);
    let protocol = protocol(report, &at.field("protocol"), rule.protocol);
    let source_ports = ports(report, &at.field("sourcePorts"), rule.source_ports);
    let destination_ports = ports(report, &at.field("destinationPorts"), rule.destination_ports);
    Some(AccessRule {
        priority: priority?,
        action: action?,
        source: source?,
        destination: destination?,
        protocol: protocol?,
        source_ports: source_ports?,
        destination_ports: destination_ports?,
    })
}

fn action(report: &mut Report, at: &Path<'_>, number: i32) -> Option<AccessAction> {
    const WANTED: &str = "Allow or Deny";
    match wire::AccessAction::try_from(number) {
        Ok(wire::AccessAction::Allow) => Some(AccessAction::Allow),
        Ok(wire::AccessAction::Deny) => Some(AccessAction::Deny),
        Ok(wire::AccessAction::Unspecified) => report.unspecified(at, WANTED),
        Err(_) => report.unknown(at, number, WANTED),
    }
}

/// The outer `None` is a fault, the inner one everybody; so with protocols and ports.
fn addresses(
    report: &mut Report,
    at: &Path<'_>,
    addresses: Option<wire::AccessAddresses>,
) -> Option<Option<IpNet>> {
    use wire::access_addresses::Addresses;
    match addresses.and_then(|it| it.addresses) {
        Some(Addresses::Everybody(wire::Everybody {})) => Some(None),
        Some(Addresses::Cidr(cidr)) => report.net(at, &cidr).map(Some),
        None => report.fault(at, "it is absent; want everybody, or a prefix such as 10.0.0.0/8"),
    }
}

fn protocol(
    report: &mut Report,
    at: &Path<'_>,
    protocols: Option<wire::AccessProtocols>,
) -> Option<Option<u8>> {
    use wire::access_protocols::Protocols;
    match protocols.and_then(|it| it.protocols) {
        Some(Protocols::Every(wire::EveryProtocol {})) => Some(None),
        Some(Protocols::Number(number)) => match u8::try_from(number) {
            Ok(number) => Some(Some(number)),
            Err(_) => report.fault(at, format!("{number} is no protocol; want 0 to 255")),
        },
        None => report.fault(at, "it is absent; want every protocol, or a number"),
    }
}

fn ports(
    report: &mut Report,
    at: &Path<'_>,
    ports: Option<wire::AccessPorts>,
) -> Option<Option<(u16, u16)>> {
    use wire::access_ports::Ports;
    let range = match ports.and_then(|it| it.ports) {
        Some(Ports::All(wire::AllPorts {})) => return Some(None),
        Some(Ports::Range(range)) => range,
        None => return report.fault(at, "it is absent; want all ports, or a range"),
    };
    // Packets may come from port 0, so rules may speak of it.
    match (u16::try_from(range.first), u16::try_from(range.last)) {
        (Ok(first), Ok(last)) => Some(Some((first, last))),
        _ => {
            let wire::PortRange { first, last } = range;
            report.fault(at, format!("{first} to {last} are no ports; want 0 to 65535"))
        }
    }
}

pub(super) fn to_wire(list: &AccessList) -> wire::AccessList {
    wire::AccessList {
        name: list.name.clone(),
        rules: list.rules.iter().map(rule_to_wire).collect(),
    }
}

pub(super) fn change_to_wire(change: &AccessListChange) -> wire::AccessListChange {
    wire::AccessListChange {
        name: change.name.clone(),
        upserts: change.upserts.iter().map(rule_to_wire).collect(),
        removals: change.removals.clone(),
    }
}

fn rule_to_wire(rule: &AccessRule) -> wire::AccessRule {
    let action = match rule.action {
        AccessAction::Allow => wire::AccessAction::Allow,
        AccessAction::Deny => wire::AccessAction::Deny,
    };
    wire::AccessRule {
        priority: Some(rule.priority),
        action: action.into(),
        source: Some(addresses_to_wire(rule.source)),
        destination: Some(addresses_to_wire(rule.destination)),
        protocol: Some(protocol_to_wire(rule.protocol)),
        source_ports: Some(ports_to_wire(rule.source_ports)),
        destination_ports: Some(ports_to_wire(rule.destination_ports)),
    }
}

fn addresses_to_wire(net: Option<IpNet>) -> wire::AccessAddresses {
    use wire::access_addresses::Addresses;
    let everybody = Addresses::Everybody(wire::Everybody {});
    let addresses = net.map_or(everybody, |net| Addresses::Cidr(net.to_string()));
    wire::AccessAddresses { addresses: Some(addresses) }
}

fn protocol_to_wire(protocol: Option<u8>) -> wire::AccessProtocols {
    use wire::access_protocols::Protocols;
    let every = Protocols::Every(wire::EveryProtocol {});
    let protocols = protocol.map_or(every, |number| Protocols::Number(number.into()));
    wire::AccessProtocols { protocols: Some(protocols) }
}

fn ports_to_wire(ports: Option<(u16, u16)>) -> wire::AccessPorts {
    use wire::access_ports::Ports;
    let range =
        |(first, last): (u16, u16)| wire::PortRange { first: first.into(), last: last.into() };
    let ports = ports.map_or(Ports::All(wire::AllPorts {}), |ports| Ports::Range(range(ports)));
    wire::AccessPorts { ports: Some(ports) }
}
