//! Who is behind an address, and what labels and blocks match: written anew for the oracle.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::{Block, LabelSelector, Labels, NAMESPACE_NAME_LABEL, Operator, Pod, RuleSet};

/// Who is behind an address.
pub(super) enum Holder<'a> {
    /// A pod with a network of its own.
    Pod(&'a Pod),
    /// A node of this name, or a pod in its network.
    Node(String),
    Nobody,
}

impl<'a> Holder<'a> {
    pub(super) fn pod(&self) -> Option<&'a Pod> {
        match self {
            Self::Pod(pod) => Some(pod),
            Self::Node(_) | Self::Nobody => None,
        }
    }

    pub(super) fn is_node(&self, name: &str) -> bool {
        matches!(self, Self::Node(own) if own == name)
    }
}

/// `address` is IPv4 where it could be written as IPv4.
pub(super) fn holder<'a>(
    rules: &'a RuleSet,
    local_node: Option<&str>,
    address: IpAddr,
) -> Holder<'a> {
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

pub(super) fn namespace_labels(rules: &RuleSet, name: &str) -> Labels {
    let object = rules.namespaces().find(|namespace| namespace.name == name);
    let mut labels = object.map(|namespace| namespace.labels.clone()).unwrap_or_default();
    labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name.to_owned());
    labels
}

pub(super) fn matches_labels(selector: &LabelSelector, labels: &Labels) -> bool {
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

pub(super) fn matches_block(block: &Block, address: IpAddr) -> bool {
    is_in(block.cidr, address) && !block.except.iter().any(|hole| is_in(*hole, address))
}

/// Compares bits, with IPv4 kept apart from IPv6 except where it is written as IPv6.
pub(super) fn is_in(net: IpNet, address: IpAddr) -> bool {
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
