//! One address, one owner.
//!
//! An address may belong to one pod or one node only: the table could otherwise not tell whose
//! policy holds. Pods in their node's network share the node's addresses; pods that have run to
//! their end own nothing.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::model::{Change, Fault, Object, ObjectKey};

/// The node of a pod that names none.
const UNKNOWN: &str = "(unknown)";

/// Who owns which address, as far as the rule set says.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    by_address: HashMap<IpAddr, Vec<Claim>>,
    /// The addresses that an object claims.
    addresses: HashMap<ObjectKey, Vec<IpAddr>>,
}

#[derive(Debug, Clone)]
struct Claim {
    by: ObjectKey,
    /// Whether it is a node's, by its object or by a pod in its network.
    node: Option<String>,
}

impl Owners {
    /// What is wrong with the addresses of the objects that a change brings.
    pub(crate) fn faults(&self, change: &Change) -> Vec<Fault> {
        let upserts = change.upserts.iter().map(Object::key);
        let gone: HashSet<ObjectKey> = upserts.chain(change.removals.iter().cloned()).collect();
        let mut new: HashMap<IpAddr, Vec<Claim>> = HashMap::new();
        let mut faults = Vec::new();
        // Nodes first, so that of a pod and a node with one address the pod is told.
        for wants_pods in [false, true] {
            for object in &change.upserts {
                let claims = claims(object);
                for (field, address, claim) in claims {
                    if claim.node.is_none() != wants_pods {
                        continue;
                    }
                    let standing = self.by_address.get(&address).into_iter().flatten();
                    let standing = standing.filter(|claim| !gone.contains(&claim.by));
                    let others = new.get(&address).into_iter().flatten().chain(standing);
                    if let Some(problem) = conflict(address, &claim, others) {
                        let object = claim.by.to_string();
                        faults.push(Fault { object, field, problem });
                    }
                    new.entry(address).or_default().push(claim);
                }
            }
        }
        faults
    }

    /// Takes note of a change without faults.
    pub(crate) fn update(&mut self, change: &Change) {
        let upserts = change.upserts.iter().map(Object::key);
        for key in upserts.chain(change.removals.iter().cloned()) {
            for address in self.addresses.remove(&key).unwrap_or_default() {
                let Some(claims) = self.by_address.get_mut(&address) else { continue };
                claims.retain(|claim| claim.by != key);
                if claims.is_empty() {
                    self.by_address.remove(&address);
                }
            }
        }
        for (_, address, claim) in change.upserts.iter().flat_map(claims) {
            self.addresses.entry(claim.by.clone()).or_default().push(address);
            self.by_address.entry(address).or_default().push(claim);
        }
    }
}

/// The addresses that an object claims, each once, with the field that says so.
fn claims(object: &Object) -> Vec<(String, IpAddr, Claim)> {
    let (addresses, node, field) = match object {
        Object::Node(node) => (&node.addresses, Some(node.name.clone()), "status.addresses"),
        Object::Pod(pod) if pod.terminated => return Vec::new(),
        Object::Pod(pod) if pod.host_network => {
            let node = pod.node.clone().unwrap_or_else(|| UNKNOWN.to_owned());
            (&pod.addresses, Some(node), "status.podIPs")
        }
        Object::Pod(pod) => (&pod.addresses, None, "status.podIPs"),
        _ => return Vec::new(),
    };
    let end = if field == "status.podIPs" { "ip" } else { "address" };
    let mut seen = HashSet::new();
    let mut claims = Vec::new();
    for (place, address) in addresses.iter().map(IpAddr::to_canonical).enumerate() {
        if seen.insert(address) {
            let claim = Claim { by: object.key(), node: node.clone() };
            claims.push((format!("{field}[{place}].{end}"), address, claim));
        }
    }
    claims
}

/// Why `claim` cannot stand beside `others`.
fn conflict<'a>(
    address: IpAddr,
    claim: &Claim,
    mut others: impl Iterator<Item = &'a Claim>,
) -> Option<String> {
    // A node gets along with the pods in its network, wherever it is not known to be another one.
    let is_same = |node: &str, other: &str| [node, other].contains(&UNKNOWN) || node == other;
    let other = match &claim.node {
        Some(node) => others.find(|it| it.node.as_ref().is_none_or(|other| !is_same(node, other))),
        None => others.next(),
    }?;
    Some(match (&claim.node, &other.node) {
        (Some(node), Some(other)) => format!(
            "{address} is the address of node {other}, and here of {node}; want one node for it"
        ),
        (None, Some(node)) => format!(
            "{address} is the address of node {node}; want an address of its own, or \
             hostNetwork: true"
        ),
        _ => {
            let pod = other.by.namespaced().map(|name| name.to_string()).unwrap_or_default();
            format!("{address} is the address of pod {pod} too; want an address of its own")
        }
    })
}
