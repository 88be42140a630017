//! A slow reference: what the policies of a rule set say of one attempt, read off directly.
//!
//! It shares no code with the compiler, nor the model's own matching, so that a mistake in
//! either shows as a difference. It walks all policies for each attempt and is meant for tests
//! and for sampled re-checking, never for packets. The rule set is taken to be valid.

use std::net::IpAddr;

use ipnet::IpNet;
use sluice_core::policy::Attempt;

use crate::model::{
    Block, LabelSelector, Labels, NAMESPACE_NAME_LABEL, NetworkPolicy, Operator, Peer, Peers, Pod,
    PolicyPort, Port, Ports, Rule, RuleSet,
};

/// What each end says of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Whether the source's end allows it.
    pub egress: bool,
    /// Whether the destination's end allows it.
    pub ingress: bool,
}

/// Judges `attempt` by walking `rules`; pods that name no node are on `local_node`.
#[must_use]
pub fn judge(rules: &RuleSet, local_node: Option<&str>, attempt: &Attempt) -> Answer {
    let source = holder(rules, local_node, attempt.source);
    let destination = holder(rules, local_node, attempt.destination);
    let home = |pod: &Pod| pod.node.clone().or_else(|| local_node.map(str::to_owned));
    let always = match (&source, &destination) {
        (Holder::Pod(a), Holder::Pod(b)) => a.key() == b.key(),
        (Holder::Pod(pod), Holder::Node(node)) | (Holder::Node(node), Holder::Pod(pod)) => {
            home(pod).as_ref() == Some(node)
        }
        _ => false,
    };
    if always {
        return Answer { egress: true, ingress: true };
    }
    let egress = match &source {
        Holder::Pod(subject) => {
            let lists = rules.network_policies().map(|policy| (policy, policy.egress.as_deref()));
            allows(subject, lists, |policy, rule| {
                matches_peer(rules, policy, rule, &destination, attempt.destination)
                    && matches_ports(&rule.ports, destination.pod(), attempt)
            })
        }
        _ => true,
    };
    let ingress = match &destination {
        Holder::Pod(subject) => {
            let lists = rules.network_policies().map(|policy| (policy, policy.ingress.as_deref()));
            allows(subject, lists, |policy, rule| {
                matches_peer(rules, policy, rule, &source, attempt.source)
                    && matches_ports(&rule.ports, Some(subject), attempt)
            })
        }
        _ => true,
    };
    Answer { egress, ingress }
}

/// Who is behind an address.
enum Holder<'a> {
    Pod(&'a Pod),
    Node(String),
    Nobody,
}

impl<'a> Holder<'a> {
    fn pod(&self) -> Option<&'a Pod> {
        match self {
            Self::Pod(pod) => Some(pod),
            _ => None,
        }
    }
}

fn holder<'a>(rules: &'a RuleSet, local_node: Option<&str>, address: IpAddr) -> Holder<'a> {
    let has = |list: &[IpAddr]| list.iter().any(|known| known.to_canonical() == address);
    let alive = || rules.pods().filter(|pod| !pod.terminated && has(&pod.addresses));
    if let Some(node) = rules.nodes().find(|node| has(&node.addresses)) {
        return Holder::Node(node.name.clone());
    }
    if let Some(pod) = alive().find(|pod| pod.host_network) {
        let node = pod.node.as_deref().or(local_node);
        return node.map_or(Holder::Nobody, |node| Holder::Node(node.to_owned()));
    }
    alive().next().map_or(Holder::Nobody, Holder::Pod)
}

/// Whether some rule of the policies that select `subject` admits, or none selects it.
fn allows<'a>(
    subject: &Pod,
    policies: impl Iterator<Item = (&'a NetworkPolicy, Option<&'a [Rule]>)>,
    admits: impl Fn(&NetworkPolicy, &Rule) -> bool,
) -> bool {
    let mut isolated = false;
    for (policy, list) in policies {
        let selected = policy.namespace == subject.namespace
            && matches_labels(&policy.pod_selector, &subject.labels);
        let Some(list) = list.filter(|_| selected) else { continue };
        isolated = true;
        if list.iter().any(|rule| admits(policy, rule)) {
            return true;
        }
    }
    !isolated
}

fn matches_peer(
    rules: &RuleSet,
    policy: &NetworkPolicy,
    rule: &Rule,
    peer: &Holder<'_>,
    address: IpAddr,
) -> bool {
    let Peers::AnyOf(list) = &rule.peers else { return true };
    list.iter().any(|item| match item {
        Peer::Block(block) => matches_block(block, address),
        Peer::Selectors { pods, namespaces } => peer.pod().is_some_and(|pod| {
            let in_namespace = match namespaces {
                Some(selector) => {
                    matches_labels(selector, &namespace_labels(rules, &pod.namespace))
                }
                None => pod.namespace == policy.namespace,
            };
            in_namespace
                && pods.as_ref().is_none_or(|selector| matches_labels(selector, &pod.labels))
        }),
    })
}

fn namespace_labels(rules: &RuleSet, name: &str) -> Labels {
    let object = rules.namespaces().find(|namespace| namespace.name == name);
    let mut labels = object.map(|namespace| namespace.labels.clone()).unwrap_or_default();
    labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name.to_owned());
    labels
}

fn matches_labels(selector: &LabelSelector, labels: &Labels) -> bool {
    for (key, value) in &selector.match_labels {
        if !labels.iter().any(|label| label == (key, value)) {
            return false;
        }
    }
    for term in &selector.match_expressions {
        let found = labels.iter().find(|(key, _)| **key == term.key).map(|(_, value)| value);
        let listed = |values: &[String]| found.is_some_and(|it| values.iter().any(|v| v == it));
        let holds = match &term.operator {
            Operator::In(values) => listed(values),
            Operator::NotIn(values) => !listed(values),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
        };
        if !holds {
            return false;
        }
    }
    true
}

/// `named_by` is the destination pod; nobody else gives ports names.
fn matches_ports(ports: &Ports, named_by: Option<&Pod>, attempt: &Attempt) -> bool {
    let Ports::AnyOf(list) = ports else { return true };
    let matches = |item: &PolicyPort| {
        let Some(port) = attempt.port else { return false };
        if item.protocol.number() != attempt.protocol {
            return false;
        }
        match &item.port {
            Port::All => true,
            Port::Number(number) => port == *number,
            Port::Range { first, last } => (*first..=*last).contains(&port),
            Port::Named(name) => named_by.is_some_and(|pod| {
                pod.named_ports.iter().any(|named| {
                    named.name == *name && named.protocol == item.protocol && named.port == port
                })
            }),
        }
    };
    list.iter().any(matches)
}

fn matches_block(block: &Block, address: IpAddr) -> bool {
    is_in(block.cidr, address) && !block.except.iter().any(|hole| is_in(*hole, address))
}

/// Compares bits, with IPv4 kept apart from IPv6 except where it is written as IPv6.
fn is_in(net: IpNet, address: IpAddr) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6),
    };
    let (is_v4, len) = match net {
        IpNet::V4(v4) => (true, 96 + u32::from(v4.prefix_len())),
        IpNet::V6(v6) => {
            let mapped = v6.prefix_len() >= 96 && v6.addr().to_ipv4_mapped().is_some();
            (mapped, u32::from(v6.prefix_len()))
        }
    };
    let differing = bits(net.addr()) ^ bits(address);
    is_v4 == address.is_ipv4() && differing.checked_shr(128 - len).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests;
