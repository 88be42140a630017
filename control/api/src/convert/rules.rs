//! Rule sets from the wire.

use sluice_policy::model::{
    Block, Kind, NamedPort, Namespace, NetworkPolicy, Node, Object, ObjectKey, Peer, Peers, Pod,
    PolicyPort, Port, Ports, Rule, RuleSet,
};

use super::report::{Path, Report, gather};
use super::selectors::selector;
use super::{access_list, cluster};
use crate::wire;

/// The objects that can be read; the report has the faults of the others.
pub(crate) fn rule_set(report: &mut Report, rules: wire::RuleSet) -> RuleSet {
    let mut read = RuleSet::default();
    objects(report, rules, |report, object| {
        if let Err(fault) = read.insert(object) {
            let object = crate::text::printable(&fault.object).into_owned();
            report.add(sluice_policy::model::Fault { object, ..fault });
        }
    });
    read
}

/// Gives each object that can be read to `take`; the report has the faults of the others.
pub(super) fn objects(
    report: &mut Report,
    rules: wire::RuleSet,
    mut take: impl FnMut(&mut Report, Object),
) {
    let mut read = |report: &mut Report, object: Option<Object>| {
        if let Some(object) = object {
            take(report, object);
        }
    };
    for it in rules.namespaces {
        let namespace = Namespace { name: it.name, labels: it.labels };
        read(report, Some(namespace.into()));
    }
    for it in rules.pods {
        turn_to(report, Kind::Pod, Some(&it.namespace), &it.name);
        let pod = pod(report, it).map(Object::from);
        read(report, pod);
    }
    for it in rules.nodes {
        turn_to(report, Kind::Node, None, &it.name);
        let node = node(report, it).map(Object::from);
        read(report, node);
    }
    for it in rules.network_policies {
        turn_to(report, Kind::NetworkPolicy, Some(&it.namespace), &it.name);
        let policy = policy(report, it).map(Object::from);
        read(report, policy);
    }
    for it in rules.cluster_network_policies {
        turn_to(report, Kind::ClusterNetworkPolicy, None, &it.name);
        let policy = cluster::policy(report, it).map(Object::from);
        read(report, policy);
    }
    for it in rules.access_lists {
        turn_to(report, Kind::AccessList, None, &it.name);
        let list = access_list::access_list(report, it).map(Object::from);
        read(report, list);
    }
}

fn turn_to(report: &mut Report, kind: Kind, namespace: Option<&String>, name: &str) {
    let key = ObjectKey { kind, namespace: namespace.cloned(), name: name.to_owned() };
    report.turn_to(key.to_string());
}

fn pod(report: &mut Report, pod: wire::Pod) -> Option<Pod> {
    let addresses = report.addresses(&pod.addresses, |place| format!("status.podIPs[{place}].ip"));
    let ports = Path::Top("spec.containers[].ports[]");
    let named_ports = gather(pod.named_ports.into_iter().map(|it| {
        let protocol = report.protocol(&ports.field("protocol"), it.protocol);
        let port = report.port(&ports.field("containerPort"), it.port);
        Some(NamedPort { name: it.name, protocol: protocol?, port: port? })
    }));
    Some(Pod {
        namespace: pod.namespace,
        name: pod.name,
        labels: pod.labels,
        addresses: addresses?,
        node: pod.node,
        host_network: pod.host_network,
        named_ports: named_ports?,
        terminated: pod.terminated,
    })
}

fn node(report: &mut Report, node: wire::Node) -> Option<Node> {
    let addresses =
        report.addresses(&node.addresses, |place| format!("status.addresses[{place}].address"))?;
    Some(Node { name: node.name, labels: node.labels, addresses })
}

fn policy(report: &mut Report, policy: wire::NetworkPolicy) -> Option<NetworkPolicy> {
    let at = Path::Top("spec.podSelector");
    let pod_selector = match policy.pod_selector {
        Some(it) => selector(report, &at, it),
        None => report.fault(&at, "it is absent; an empty selector selects every pod"),
    };
    let ingress = isolation(report, &Path::Top("spec.ingress"), "from", policy.ingress);
    let egress = isolation(report, &Path::Top("spec.egress"), "to", policy.egress);
    Some(NetworkPolicy {
        namespace: policy.namespace,
        name: policy.name,
        pod_selector: pod_selector?,
        ingress: ingress?,
        egress: egress?,
    })
}

/// The outer `None` is a fault, the inner one a direction that is not isolated.
fn isolation(
    report: &mut Report,
    at: &Path<'_>,
    peers_field: &str,
    isolation: Option<wire::Isolation>,
) -> Option<Option<Vec<Rule>>> {
    match isolation.and_then(|it| it.isolation) {
        Some(wire::isolation::Isolation::NotIsolated(wire::NotIsolated {})) => Some(None),
        Some(wire::isolation::Isolation::Rules(list)) => {
            let rules = list.rules.into_iter().enumerate();
            gather(rules.map(|(place, it)| rule(report, &at.item(place), peers_field, it)))
                .map(Some)
        }
        None => report.fault(at, "it is absent; want not_isolated, or rules, which may be none"),
    }
}

fn rule(report: &mut Report, at: &Path<'_>, peers_field: &str, rule: wire::Rule) -> Option<Rule> {
    let peers = peers(report, &at.field(peers_field), rule.peers);
    let ports = ports(report, &at.field("ports"), rule.ports);
    Some(Rule { peers: peers?, ports: ports? })
}

fn peers(report: &mut Report, at: &Path<'_>, peers: Option<wire::Peers>) -> Option<Peers> {
    match peers.and_then(|it| it.peers) {
        Some(wire::peers::Peers::Everybody(wire::Everybody {})) => Some(Peers::Everybody),
        Some(wire::peers::Peers::AnyOf(list)) if list.peers.is_empty() => {
            report.fault(at, "a list of no peers; want everybody, or at least one peer")
        }
        Some(wire::peers::Peers::AnyOf(list)) => {
            let peers = list.peers.into_iter().enumerate();
            gather(peers.map(|(place, it)| peer(report, &at.item(place), it))).map(Peers::AnyOf)
        }
        None => report.fault(at, "it is absent; want everybody, or a list of peers"),
    }
}

fn peer(report: &mut Report, at: &Path<'_>, peer: wire::Peer) -> Option<Peer> {
    match peer.peer {
        Some(wire::peer::Peer::Pods(it)) => {
            if it.pod_selector.is_none() && it.namespace_selector.is_none() {
                return report
                    .fault(at, "names no peer; want podSelector, namespaceSelector or both");
            }
            // The outer Option is whether it could be read, the inner one whether it is there.
            let pods = match it.pod_selector {
                Some(it) => selector(report, &at.field("podSelector"), it).map(Some),
                None => Some(None),
            };
            let namespaces = match it.namespace_selector {
                Some(it) => selector(report, &at.field("namespaceSelector"), it).map(Some),
                None => Some(None),
            };
            Some(Peer::Selectors { pods: pods?, namespaces: namespaces? })
        }
        Some(wire::peer::Peer::Block(it)) => block(report, &at.field("ipBlock"), &it),
        None => report.fault(at, "names no peer; want pods or a block"),
    }
}

fn block(report: &mut Report, at: &Path<'_>, block: &wire::Block) -> Option<Peer> {
    let cidr = report.net(&at.field("cidr"), &block.cidr);
    let holes = at.field("except");
    let except = gather(
        block.except.iter().enumerate().map(|(place, it)| report.net(&holes.item(place), it)),
    );
    Some(Peer::Block(Block { cidr: cidr?, except: except? }))
}

fn ports(report: &mut Report, at: &Path<'_>, ports: Option<wire::Ports>) -> Option<Ports> {
    match ports.and_then(|it| it.ports) {
        Some(wire::ports::Ports::All(wire::AllPorts {})) => Some(Ports::All),
        Some(wire::ports::Ports::AnyOf(list)) if list.ports.is_empty() => {
            report.fault(at, "a list of no ports; want all, or at least one port")
        }
        Some(wire::ports::Ports::AnyOf(list)) => {
            let ports = list.ports.into_iter().enumerate();
            gather(ports.map(|(place, it)| policy_port(report, &at.item(place), it)))
                .map(Ports::AnyOf)
        }
        None => report.fault(at, "it is absent; want all, or a list of ports"),
    }
}

fn policy_port(report: &mut Report, at: &Path<'_>, item: wire::PolicyPort) -> Option<PolicyPort> {
    use wire::policy_port::Port as Wire;
    let protocol = report.protocol(&at.field("protocol"), item.protocol);
    let number = at.field("port");
    let port = match item.port {
        Some(Wire::All(wire::AllPorts {})) => Some(Port::All),
        Some(Wire::Number(port)) => report.port(&number, port).map(Port::Number),
        Some(Wire::Range(range)) => port_range(report, at, range),
        Some(Wire::Name(name)) => Some(Port::Named(name)),
        None => report.fault(&number, "it is absent; want all, a number, a range or a name"),
    };
    Some(PolicyPort { protocol: protocol?, port: port? })
}

fn port_range(report: &mut Report, at: &Path<'_>, range: wire::PortRange) -> Option<Port> {
    let first = report.port(&at.field("port"), range.first);
    let last = report.port(&at.field("endPort"), range.last);
    let (first, last) = (first?, last?);
    if last < first {
        let problem = format!("{last} is below port {first}; want {first} to 65535");
        return report.fault(&at.field("endPort"), problem);
    }
    Some(Port::Range { first, last })
}
