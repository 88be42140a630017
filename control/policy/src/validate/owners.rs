//! One address, one owner.
//!
//! An address may belong to one pod or one node only: the table could otherwise not tell whose
//! policy holds. Pods in their node's network share the node's addresses; pods that have run to
//! their end own nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use crate::model::{Change, Fault, Object, ObjectKey};

/// Who owns which address, as far as the rule set says.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    /// The node of pods that name none.
    local_node: Option<String>,
    by_address: HashMap<IpAddr, Holders>,
    claims: HashMap<ObjectKey, Claims>,
}

/// Who says that an address is theirs.
#[derive(Debug, Clone, Default)]
struct Holders {
    pods: BTreeSet<ObjectKey>,
    /// Nodes, by how many objects say so: their own, and those of pods in their networks.
    nodes: BTreeMap<String, usize>,
}

/// The addresses of an object, each once, with their places in its list.
#[derive(Debug, Clone)]
struct Claims {
    /// The node whose they are; `None` where they are a pod's own.
    node: Option<String>,
    addresses: Vec<(usize, IpAddr)>,
}

/// What a change without faults does to the owners.
#[derive(Debug)]
pub(crate) struct Update {
    by_address: HashMap<IpAddr, Holders>,
    claims: HashMap<ObjectKey, Option<Claims>>,
}

/// The node of a pod that names none, where this one's name is not known.
const UNKNOWN: &str = "(unknown)";

impl Owners {
    /// Nobody yet. Pods in their node's network that name none are taken to be on `local_node`.
    pub(crate) fn new(local_node: Option<String>) -> Self {
        Self { local_node, ..Self::default() }
    }

    /// What a change does to the owners.
    ///
    /// # Errors
    /// What is wrong with the addresses of the objects that it brings.
    pub(crate) fn after(&self, change: &Change) -> Result<Update, Vec<Fault>> {
        let mut update = Update { by_address: HashMap::new(), claims: HashMap::new() };
        let upserts = change.upserts.iter().map(Object::key);
        for key in upserts.chain(change.removals.iter().cloned()) {
            let Some(claims) = self.claims.get(&key) else { continue };
            for (_, address) in &claims.addresses {
                self.holders(&mut update, *address).remove(&key, claims.node.as_deref());
            }
            update.claims.insert(key, None);
        }
        let mut faults = Vec::new();
        // Nodes first, so that of a pod and a node with one address the pod is told.
        for is_pods_own in [false, true] {
            for object in &change.upserts {
                let Some((field, claims)) = self.claims_of(object) else { continue };
                if claims.node.is_none() != is_pods_own {
                    continue;
                }
                let key = object.key();
                for (place, address) in &claims.addresses {
                    let holders = self.holders(&mut update, *address);
                    if let Some(problem) = holders.conflict(*address, claims.node.as_deref()) {
                        let field = field.replace("[]", &format!("[{place}]"));
                        faults.push(Fault { object: key.to_string(), field, problem });
                    }
                    holders.add(&key, claims.node.as_deref());
                }
                update.claims.insert(key, Some(claims));
            }
        }
        if faults.is_empty() { Ok(update) } else { Err(faults) }
    }

    /// Takes note of a change.
    pub(crate) fn take(&mut self, update: Update) {
        for (address, holders) in update.by_address {
            if holders.pods.is_empty() && holders.nodes.is_empty() {
                self.by_address.remove(&address);
            } else {
                self.by_address.insert(address, holders);
            }
        }
        for (key, claims) in update.claims {
            match claims {
                Some(claims) => self.claims.insert(key, claims),
                None => self.claims.remove(&key),
            };
        }
    }

    fn holders<'a>(&self, update: &'a mut Update, address: IpAddr) -> &'a mut Holders {
        let standing = || self.by_address.get(&address).cloned().unwrap_or_default();
        update.by_address.entry(address).or_insert_with(standing)
    }

    /// What an object claims, and the field that says so.
    fn claims_of(&self, object: &Object) -> Option<(&'static str, Claims)> {
        let (addresses, node, field) = match object {
            Object::Node(node) => {
                (&node.addresses, Some(node.name.clone()), "status.addresses[].address")
            }
            Object::Pod(pod) if pod.terminated => return None,
            Object::Pod(pod) if pod.host_network => {
                let node = pod.node.as_ref().or(self.local_node.as_ref());
                let node = node.map_or_else(|| UNKNOWN.to_owned(), Clone::clone);
                (&pod.addresses, Some(node), "status.podIPs[].ip")
            }
            Object::Pod(pod) => (&pod.addresses, None, "status.podIPs[].ip"),
            _ => return None,
        };
        let mut seen = HashSet::new();
        let addresses = addresses.iter().map(IpAddr::to_canonical).enumerate();
        let addresses = addresses.filter(|(_, address)| seen.insert(*address)).collect();
        Some((field, Claims { node, addresses }))
    }
}

impl Holders {
    fn add(&mut self, key: &ObjectKey, node: Option<&str>) {
        match node {
            Some(node) => *self.nodes.entry(node.to_owned()).or_default() += 1,
            None => {
                self.pods.insert(key.clone());
            }
        }
    }

    fn remove(&mut self, key: &ObjectKey, node: Option<&str>) {
        let Some(node) = node else {
            self.pods.remove(key);
            return;
        };
        if let Some(count) = self.nodes.get_mut(node) {
            *count -= 1;
            if *count == 0 {
                self.nodes.remove(node);
            }
        }
    }

    /// Why a node, or a pod, cannot have the address too.
    fn conflict(&self, address: IpAddr, node: Option<&str>) -> Option<String> {
        if let Some(pod) = self.pods.first() {
            let pod = pod.namespaced().map(|name| name.to_string()).unwrap_or_default();
            return Some(format!(
                "{address} is the address of pod {pod} too; want an address of its own"
            ));
        }
        let Some(node) = node else {
            let known = self.nodes.keys().find(|node| *node != UNKNOWN);
            let node = known.or_else(|| self.nodes.keys().next())?;
            return Some(format!(
                "{address} is the address of node {node}; want an address of its own, or \
                 hostNetwork: true"
            ));
        };
        // A pod that names no node may be on any, as far as is known.
        let differs = |other: &&String| *other != node && node != UNKNOWN && *other != UNKNOWN;
        let other = self.nodes.keys().find(differs)?;
        Some(format!(
            "{address} is the address of node {other}, and here of {node}; want one node for it"
        ))
    }
}
