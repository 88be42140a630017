//! From a rule set to the table that enforces it.
//!
//! Pods with the same namespace, labels and named ports share an identity, compared in full.
//! Each identity's policies come to one policy set a direction; sets, port sets and blocks
//! that are equal are stored once. Peers stay lists of identities and of blocks: they are never
//! multiplied with each other or with ports. Selectors look up an index by label, so the work
//! follows what the policies select, not policies x pods.
//!
//! The result depends on the rule set alone: ids follow the sorted order of names.
//!
//! Pods in their node's network are endpoints with the node's addresses, and no policy selects
//! them, as subject or as peer: the table takes them for the node. Pods that have run to their end
//! are left out.

mod index;
mod sets;

use std::collections::BTreeMap;
use std::net::IpAddr;

use sluice_core::address::NetworkId;
use sluice_core::table::{
    Direction, Endpoint, Identity, IdentityId, Node, NodeId, PolicyId, PolicySetId, TableSpec,
};

use self::index::Population;
use self::sets::Sets;
use crate::model::{Fault, NetworkPolicy, Pod, RuleSet};
use crate::validate::validate;

/// What the compiler must know besides the rule set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompileOptions {
    /// The name of the node that this Sluice runs on. Pods that name no node are taken to be
    /// there.
    pub local_node: Option<String>,
}

/// Compiles a rule set to the table that enforces it.
///
/// # Errors
///
/// All faults that [`validate`] finds.
pub fn compile(rules: &RuleSet, options: &CompileOptions) -> Result<TableSpec, Vec<Fault>> {
    let faults = validate(rules);
    if !faults.is_empty() {
        return Err(faults);
    }
    let local_node = options.local_node.as_deref();
    let nodes = Nodes::new(rules, local_node);
    let population = Population::new(rules);
    let policies: Vec<&NetworkPolicy> = rules.network_policies().collect();

    let mut sets = Sets::new(&population, &policies);
    let mut identities = identities(&population, &policies, &mut sets);
    let endpoints = endpoints(rules, local_node, &nodes, &population, &mut identities);
    let (policy_sets, port_sets, blocks, rules) = sets.into_lists();
    Ok(TableSpec {
        endpoints,
        identities,
        local_node: local_node.and_then(|name| nodes.id(name)),
        nodes: nodes.into_list(),
        policy_sets,
        blocks,
        port_sets,
        rules,
        policies: policies.iter().map(|policy| policy.key().to_string().into()).collect(),
    })
}

/// A length as an id counts it. No list of a rule set in memory comes near the limit.
fn number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// The pods that policies speak of.
fn is_subject(pod: &Pod) -> bool {
    !pod.host_network && !pod.terminated
}

fn node_of<'a>(pod: &'a Pod, local_node: Option<&'a str>) -> Option<&'a str> {
    pod.node.as_deref().or(local_node)
}

/// The nodes by name, and the number of each.
struct Nodes<'a>(BTreeMap<&'a str, (NodeId, Vec<IpAddr>)>);

impl<'a> Nodes<'a> {
    /// All nodes that have an object, hold a pod, or are this one.
    fn new(rules: &'a RuleSet, local_node: Option<&'a str>) -> Self {
        let mut nodes: BTreeMap<&str, (NodeId, Vec<IpAddr>)> = BTreeMap::new();
        let mut add = |name: &'a str, addresses: &[IpAddr]| {
            let known = &mut nodes.entry(name).or_insert((NodeId(0), Vec::new())).1;
            for address in distinct(addresses) {
                if !known.contains(&address) {
                    known.push(address);
                }
            }
        };
        for node in rules.nodes() {
            add(&node.name, &node.addresses);
        }
        if let Some(name) = local_node {
            add(name, &[]);
        }
        for pod in rules.pods().filter(|pod| !pod.terminated) {
            if let Some(name) = node_of(pod, local_node) {
                add(name, if pod.host_network { &pod.addresses } else { &[] });
            }
        }
        for (node, place) in nodes.values_mut().zip(0u32..) {
            node.0 = NodeId(place);
        }
        Self(nodes)
    }

    fn id(&self, name: &str) -> Option<NodeId> {
        self.0.get(name).map(|(id, _)| *id)
    }

    fn into_list(self) -> Vec<Node> {
        let node = |(name, (_, addresses)): (&str, (NodeId, Vec<IpAddr>))| Node {
            name: name.into(),
            addresses,
        };
        self.0.into_iter().map(node).collect()
    }
}

/// Works out which policies select each identity, and builds their sets.
fn identities<'a>(
    population: &Population<'a>,
    policies: &[&'a NetworkPolicy],
    sets: &mut Sets<'_, 'a>,
) -> Vec<Identity> {
    let mut selecting: Vec<[Vec<PolicyId>; 2]> = vec![Default::default(); population.len()];
    for (policy, place) in policies.iter().zip(0u32..) {
        for identity in population.subjects(&policy.namespace, &policy.pod_selector) {
            let Some([egress, ingress]) = selecting.get_mut(identity.index()) else { continue };
            if policy.egress.is_some() {
                egress.push(PolicyId(place));
            }
            if policy.ingress.is_some() {
                ingress.push(PolicyId(place));
            }
        }
    }
    let mut set_of = |direction, policies: Vec<PolicyId>, subject| -> Option<PolicySetId> {
        (!policies.is_empty()).then(|| sets.intern(direction, policies, subject))
    };
    selecting
        .into_iter()
        .zip((0u32..).map(IdentityId))
        .map(|([egress, ingress], subject)| Identity {
            egress: set_of(Direction::Egress, egress, subject),
            ingress: set_of(Direction::Ingress, ingress, subject),
        })
        .collect()
}

fn endpoints(
    rules: &RuleSet,
    local_node: Option<&str>,
    nodes: &Nodes<'_>,
    population: &Population<'_>,
    identities: &mut Vec<Identity>,
) -> Vec<Endpoint> {
    // All pods in their nodes' networks share one identity that no policy knows.
    let unselected = IdentityId(number(identities.len()));
    if rules.pods().any(|pod| pod.host_network && !pod.terminated) {
        identities.push(Identity { egress: None, ingress: None });
    }
    let mut subjects = population.identity_of_subjects().iter();
    rules
        .pods()
        .filter(|pod| !pod.terminated)
        .map(|pod| Endpoint {
            name: pod.key().to_string().into(),
            network: NetworkId::DEFAULT,
            addresses: distinct(&pod.addresses),
            identity: is_subject(pod)
                .then(|| subjects.next().copied())
                .flatten()
                .unwrap_or(unselected),
            node: node_of(pod, local_node).and_then(|name| nodes.id(name)),
        })
        .collect()
}

/// The addresses in their order, each once and in one form.
fn distinct(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut distinct = Vec::with_capacity(addresses.len());
    for address in addresses.iter().map(IpAddr::to_canonical) {
        if !distinct.contains(&address) {
            distinct.push(address);
        }
    }
    distinct
}

#[cfg(test)]
mod tests;
