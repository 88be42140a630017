//! ClusterNetworkPolicies, both ways.

use sluice_policy::model::{
    Action, ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterPorts, ClusterRule,
    LabelSelector, NamespacedPods, PRIORITY_MAX, Protocol, Tier,
};

use super::report::{Path, Report, gather};
use super::selectors::{selector, selector_to_wire};
use super::to_wire;
use crate::wire;

/// A direction's words in manifests, and whether its peers can be more than pods.
struct Direction {
    rules: &'static str,
    peers: &'static str,
    is_egress: bool,
}

const INGRESS: Direction = Direction { rules: "spec.ingress", peers: "from", is_egress: false };
const EGRESS: Direction = Direction { rules: "spec.egress", peers: "to", is_egress: true };

pub(super) fn policy(
    report: &mut Report,
    policy: wire::ClusterNetworkPolicy,
) -> Option<ClusterNetworkPolicy> {
    let tier = tier(report, &Path::Top("spec.tier"), policy.tier);
    let priority = priority(report, &Path::Top("spec.priority"), policy.priority);
    let at = Path::Top("spec.subject");
    let subject = match policy.subject {
        Some(it) => namespaced_pods(report, &at.field("pods"), it),
        None => report.fault(&at, "it is absent; want the pods that the policy speaks for"),
    };
    let ingress = rules(report, &INGRESS, policy.ingress);
    let egress = rules(report, &EGRESS, policy.egress);
    Some(ClusterNetworkPolicy {
        name: policy.name,
        tier: tier?,
        priority: priority?,
        subject: subject?,
        ingress: ingress?,
        egress: egress?,
    })
}

pub(super) fn policy_to_wire(it: &ClusterNetworkPolicy) -> wire::ClusterNetworkPolicy {
    let tier = match it.tier {
        Tier::Admin => wire::Tier::Admin,
        Tier::Baseline => wire::Tier::Baseline,
    };
    wire::ClusterNetworkPolicy {
        name: it.name.clone(),
        tier: tier.into(),
        priority: Some(it.priority.into()),
        subject: Some(namespaced_pods_to_wire(&it.subject)),
        ingress: Some(rules_to_wire(&it.ingress)),
        egress: Some(rules_to_wire(&it.egress)),
    }
}

fn tier(report: &mut Report, at: &Path<'_>, number: i32) -> Option<Tier> {
    const WANTED: &str = "Admin or Baseline";
    match wire::Tier::try_from(number) {
        Ok(wire::Tier::Admin) => Some(Tier::Admin),
        Ok(wire::Tier::Baseline) => Some(Tier::Baseline),
        Ok(wire::Tier::Unspecified) => report.unspecified(at, WANTED),
        Err(_) => report.unknown(at, number, WANTED),
    }
}

fn priority(report: &mut Report, at: &Path<'_>, number: Option<u32>) -> Option<u16> {
    let Some(number) = number else {
        let problem = format!("it is absent; want 0 to {PRIORITY_MAX}, of which 0 comes first");
        return report.fault(at, problem);
    };
    u16::try_from(number)
        .ok()
        .filter(|&priority| priority <= PRIORITY_MAX)
        .or_else(|| report.fault(at, format!("{number} is no priority; want 0 to {PRIORITY_MAX}")))
}

fn namespaced_pods(
    report: &mut Report,
    at: &Path<'_>,
    pods: wire::NamespacedPods,
) -> Option<NamespacedPods> {
    let mut present = |field: &str, every: &str, it: Option<wire::LabelSelector>| match it {
        Some(it) => selector(report, &at.field(field), it),
        None => {
            let problem = format!("it is absent; an empty selector selects every {every}");
            report.fault(&at.field(field), problem)
        }
    };
    let namespaces = present("namespaceSelector", "namespace", pods.namespace_selector);
    let pods = present("podSelector", "pod", pods.pod_selector);
    Some(NamespacedPods { namespaces: namespaces?, pods: pods? })
}

fn rules(
    report: &mut Report,
    direction: &Direction,
    rules: Option<wire::ClusterRules>,
) -> Option<Vec<ClusterRule>> {
    let at = Path::Top(direction.rules);
    let Some(list) = rules else {
        return report.fault(&at, "it is absent; want the rules, which may be none");
    };
    let rules = list.rules.into_iter().enumerate();
    gather(rules.map(|(place, it)| rule(report, &at.item(place), direction, it)))
}

fn rule(
    report: &mut Report,
    at: &Path<'_>,
    direction: &Direction,
    rule: wire::ClusterRule,
) -> Option<ClusterRule> {
    let action = action(report, &at.field("action"), rule.action);
    let list = at.field(direction.peers);
    let peers = if rule.peers.is_empty() {
        report.fault(&list, "a list of no peers; want at least one peer")
    } else {
        let peers = rule.peers.into_iter().enumerate();
        gather(peers.map(|(place, it)| peer(report, &list.item(place), direction, it)))
    };
    let ports = ports(report, &at.field("protocols"), rule.ports);
    Some(ClusterRule { name: rule.name, action: action?, peers: peers?, ports: ports? })
}

fn action(report: &mut Report, at: &Path<'_>, number: i32) -> Option<Action> {
    const WANTED: &str = "Accept, Deny or Pass";
    match wire::Action::try_from(number) {
        Ok(wire::Action::Accept) => Some(Action::Accept),
        Ok(wire::Action::Deny) => Some(Action::Deny),
        Ok(wire::Action::Pass) => Some(Action::Pass),
        Ok(wire::Action::Unspecified) => report.unspecified(at, WANTED),
        Err(_) => report.unknown(at, number, WANTED),
    }
}

fn peer(
    report: &mut Report,
    at: &Path<'_>,
    direction: &Direction,
    peer: wire::ClusterPeer,
) -> Option<ClusterPeer> {
    use wire::cluster_peer::Peer;
    const EGRESS_ONLY: &str = "only egress rules have such peers; want pods";
    match peer.peer {
        Some(Peer::Pods(it)) => {
            namespaced_pods(report, &at.field("pods"), it).map(ClusterPeer::Pods)
        }
        Some(Peer::Nodes(_)) if !direction.is_egress => {
            report.fault(&at.field("nodes"), EGRESS_ONLY)
        }
        Some(Peer::Networks(_)) if !direction.is_egress => {
            report.fault(&at.field("networks"), EGRESS_ONLY)
        }
        Some(Peer::Nodes(it)) => selector(report, &at.field("nodes"), it).map(ClusterPeer::Nodes),
        Some(Peer::Networks(it)) => networks(report, &at.field("networks"), &it),
        // Whatever the field is called, even nothing, the rule fails closed.
        Some(Peer::Unknown(it)) => Some(ClusterPeer::Unknown(it.field)),
        None => report.fault(at, "names no peer; want pods, nodes, networks or an unknown one"),
    }
}

fn networks(report: &mut Report, at: &Path<'_>, networks: &wire::Networks) -> Option<ClusterPeer> {
    if networks.cidrs.is_empty() {
        return report.fault(at, "a list of no networks; want at least one, such as 10.0.0.0/8");
    }
    let cidrs = networks.cidrs.iter().enumerate();
    gather(cidrs.map(|(place, it)| report.net(&at.item(place), it))).map(ClusterPeer::Networks)
}

fn ports(
    report: &mut Report,
    at: &Path<'_>,
    ports: Option<wire::ClusterPorts>,
) -> Option<ClusterPorts> {
    use wire::cluster_ports::Ports;
    match ports.and_then(|it| it.ports) {
        Some(Ports::All(wire::AllPorts {})) => Some(ClusterPorts::All),
        Some(Ports::AnyOf(list)) if list.ports.is_empty() => {
            report.fault(at, "a list of no ports; want all, or at least one port")
        }
        Some(Ports::AnyOf(list)) => {
            let ports = list.ports.into_iter().enumerate();
            gather(ports.map(|(place, it)| port(report, &at.item(place), it)))
                .map(ClusterPorts::AnyOf)
        }
        None => report.fault(at, "it is absent; want all, or a list of ports"),
    }
}

fn port(report: &mut Report, at: &Path<'_>, item: wire::ClusterPort) -> Option<ClusterPort> {
    use wire::cluster_port::Port;
    match item.port {
        Some(Port::Range(it)) => range(report, at, it),
        Some(Port::Name(name)) => Some(ClusterPort::Named(name)),
        None => report.fault(at, "names no port; want a range or a name"),
    }
}

fn range(report: &mut Report, at: &Path<'_>, range: wire::ProtocolPorts) -> Option<ClusterPort> {
    let protocol = report.protocol(&at.field("protocol"), range.protocol)?;
    let within = at.field(match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    });
    let within = within.field("destinationPort.range");
    let first = report.port(&within.field("start"), range.first);
    let last = report.port(&within.field("end"), range.last);
    let (first, last) = (first?, last?);
    if last < first {
        let problem = format!("{last} is below start {first}; want {first} to 65535");
        return report.fault(&within.field("end"), problem);
    }
    Some(ClusterPort::Range { protocol, first, last })
}

fn namespaced_pods_to_wire(it: &NamespacedPods) -> wire::NamespacedPods {
    let present = |it: &LabelSelector| Some(selector_to_wire(it));
    wire::NamespacedPods {
        namespace_selector: present(&it.namespaces),
        pod_selector: present(&it.pods),
    }
}

fn rules_to_wire(rules: &[ClusterRule]) -> wire::ClusterRules {
    wire::ClusterRules { rules: rules.iter().map(rule_to_wire).collect() }
}

fn rule_to_wire(it: &ClusterRule) -> wire::ClusterRule {
    use wire::cluster_ports::Ports;
    let action = match it.action {
        Action::Accept => wire::Action::Accept,
        Action::Deny => wire::Action::Deny,
        Action::Pass => wire::Action::Pass,
    };
    let ports = match &it.ports {
        ClusterPorts::All => Ports::All(wire::AllPorts {}),
        ClusterPorts::AnyOf(ports) => {
            Ports::AnyOf(wire::ClusterPortList { ports: ports.iter().map(port_to_wire).collect() })
        }
    };
    wire::ClusterRule {
        name: it.name.clone(),
        action: action.into(),
        peers: it.peers.iter().map(peer_to_wire).collect(),
        ports: Some(wire::ClusterPorts { ports: Some(ports) }),
    }
}

fn peer_to_wire(it: &ClusterPeer) -> wire::ClusterPeer {
    use wire::cluster_peer::Peer;
    let peer = match it {
        ClusterPeer::Pods(pods) => Peer::Pods(namespaced_pods_to_wire(pods)),
        ClusterPeer::Nodes(nodes) => Peer::Nodes(selector_to_wire(nodes)),
        ClusterPeer::Networks(networks) => Peer::Networks(wire::Networks {
            cidrs: networks.iter().map(ToString::to_string).collect(),
        }),
        ClusterPeer::Unknown(field) => Peer::Unknown(wire::UnknownPeer { field: field.clone() }),
    };
    wire::ClusterPeer { peer: Some(peer) }
}

fn port_to_wire(it: &ClusterPort) -> wire::ClusterPort {
    use wire::cluster_port::Port;
    let port = match it {
        ClusterPort::Range { protocol, first, last } => Port::Range(wire::ProtocolPorts {
            protocol: to_wire::protocol(*protocol).into(),
            first: (*first).into(),
            last: (*last).into(),
        }),
        ClusterPort::Named(name) => Port::Name(name.clone()),
    };
    wire::ClusterPort { port: Some(port) }
}
