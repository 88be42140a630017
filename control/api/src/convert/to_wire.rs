//! Rule sets to the wire.

use std::net::IpAddr;

use sluice_policy::model::{
    NamedPort, Namespace, NetworkPolicy, Node, Object, Peer, Peers, Pod, PolicyPort, Port, Ports,
    Protocol, Rule, RuleSet,
};

use super::selectors::selector_to_wire;
use super::{access_list, cluster};
use crate::wire;

pub(crate) fn rule_set(rules: &RuleSet) -> wire::RuleSet {
    wire::RuleSet {
        namespaces: rules.namespaces().map(namespace).collect(),
        pods: rules.pods().map(pod).collect(),
        nodes: rules.nodes().map(node).collect(),
        network_policies: rules.network_policies().map(policy).collect(),
        cluster_network_policies: rules
            .cluster_network_policies()
            .map(cluster::policy_to_wire)
            .collect(),
        access_lists: rules.access_lists().map(access_list::to_wire).collect(),
    }
}

/// The objects of a rule set as they come, so that one that is there twice is sent twice.
pub(super) fn objects(objects: &[Object]) -> wire::RuleSet {
    let mut rules = wire::RuleSet::default();
    for object in objects {
        match object {
            Object::Namespace(it) => rules.namespaces.push(namespace(it)),
            Object::Pod(it) => rules.pods.push(pod(it)),
            Object::Node(it) => rules.nodes.push(node(it)),
            Object::NetworkPolicy(it) => rules.network_policies.push(policy(it)),
            Object::ClusterNetworkPolicy(it) => {
                rules.cluster_network_policies.push(cluster::policy_to_wire(it));
            }
            Object::AccessList(it) => rules.access_lists.push(access_list::to_wire(it)),
        }
    }
    rules
}

pub(super) fn protocol(protocol: Protocol) -> wire::Protocol {
    match protocol {
        Protocol::Tcp => wire::Protocol::Tcp,
        Protocol::Udp => wire::Protocol::Udp,
        Protocol::Sctp => wire::Protocol::Sctp,
    }
}

pub(super) fn addresses(addresses: &[IpAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

fn namespace(it: &Namespace) -> wire::Namespace {
    wire::Namespace { name: it.name.clone(), labels: it.labels.clone() }
}

fn pod(it: &Pod) -> wire::Pod {
    wire::Pod {
        namespace: it.namespace.clone(),
        name: it.name.clone(),
        labels: it.labels.clone(),
        addresses: addresses(&it.addresses),
        node: it.node.clone(),
        host_network: it.host_network,
        named_ports: it.named_ports.iter().map(named_port).collect(),
        terminated: it.terminated,
    }
}

fn named_port(it: &NamedPort) -> wire::NamedPort {
    wire::NamedPort {
        name: it.name.clone(),
        protocol: protocol(it.protocol).into(),
        port: it.port.into(),
    }
}

fn node(it: &Node) -> wire::Node {
    wire::Node {
        name: it.name.clone(),
        labels: it.labels.clone(),
        addresses: addresses(&it.addresses),
    }
}

fn policy(it: &NetworkPolicy) -> wire::NetworkPolicy {
    wire::NetworkPolicy {
        namespace: it.namespace.clone(),
        name: it.name.clone(),
        pod_selector: Some(selector_to_wire(&it.pod_selector)),
        ingress: Some(isolation(it.ingress.as_deref())),
        egress: Some(isolation(it.egress.as_deref())),
    }
}

fn isolation(rules: Option<&[Rule]>) -> wire::Isolation {
    use wire::isolation::Isolation;
    let isolation = match rules {
        None => Isolation::NotIsolated(wire::NotIsolated {}),
        Some(rules) => Isolation::Rules(wire::Rules { rules: rules.iter().map(rule).collect() }),
    };
    wire::Isolation { isolation: Some(isolation) }
}

fn rule(it: &Rule) -> wire::Rule {
    let peers = match &it.peers {
        Peers::Everybody => wire::peers::Peers::Everybody(wire::Everybody {}),
        Peers::AnyOf(peers) => {
            wire::peers::Peers::AnyOf(wire::PeerList { peers: peers.iter().map(peer).collect() })
        }
    };
    let ports = match &it.ports {
        Ports::All => wire::ports::Ports::All(wire::AllPorts {}),
        Ports::AnyOf(ports) => {
            let ports = ports.iter().map(policy_port).collect();
            wire::ports::Ports::AnyOf(wire::PortList { ports })
        }
    };
    wire::Rule {
        peers: Some(wire::Peers { peers: Some(peers) }),
        ports: Some(wire::Ports { ports: Some(ports) }),
    }
}

fn peer(it: &Peer) -> wire::Peer {
    let peer = match it {
        Peer::Selectors { pods, namespaces } => wire::peer::Peer::Pods(wire::PodPeer {
            pod_selector: pods.as_ref().map(selector_to_wire),
            namespace_selector: namespaces.as_ref().map(selector_to_wire),
        }),
        Peer::Block(block) => wire::peer::Peer::Block(wire::Block {
            cidr: block.cidr.to_string(),
            except: block.except.iter().map(ToString::to_string).collect(),
        }),
    };
    wire::Peer { peer: Some(peer) }
}

fn policy_port(it: &PolicyPort) -> wire::PolicyPort {
    use wire::policy_port::Port as Wire;
    let port = match &it.port {
        Port::All => Wire::All(wire::AllPorts {}),
        Port::Number(number) => Wire::Number((*number).into()),
        Port::Range { first, last } => {
            Wire::Range(wire::PortRange { first: (*first).into(), last: (*last).into() })
        }
        Port::Named(name) => Wire::Name(name.clone()),
    };
    wire::PolicyPort { protocol: protocol(it.protocol).into(), port: Some(port) }
}
