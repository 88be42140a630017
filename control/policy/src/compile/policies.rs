//! The policies, and whom they select.

use std::collections::{BTreeSet, HashMap};

use sluice_core::table::{self, Direction, PolicyId, Tier};

use super::groups::Scope;
use super::lower::Lowered;
use super::numbers::{Slab, Sorted};
use super::population::{Identity, Population};
use super::sets::SetKey;
use crate::model::{Kind, NamedPort, Object, ObjectKey};

#[derive(Debug)]
struct Policy {
    key: ObjectKey,
    lowered: Lowered,
    /// What people call it.
    called: table::Policy,
    /// The identities that it selects.
    subjects: Sorted<u32>,
}

/// All policies. One that changes gets another number, so that no set of the older one can be
/// taken for a set of the newer.
#[derive(Debug, Default)]
pub(super) struct Policies {
    policies: Slab<Policy>,
    by_key: HashMap<ObjectKey, PolicyId>,
    /// The policies that can select the pods of one namespace only, by that.
    by_namespace: HashMap<String, BTreeSet<PolicyId>>,
    /// The others.
    everywhere: BTreeSet<PolicyId>,
    /// Policies whose egress speaks of a port by this name.
    by_port_name: HashMap<String, BTreeSet<PolicyId>>,
}

impl Policies {
    pub(super) fn get(&self, id: PolicyId) -> Option<&Lowered> {
        self.policies.get(id.0).map(|policy| &policy.lowered)
    }

    pub(super) fn called(&self, id: PolicyId) -> Option<&table::Policy> {
        self.policies.get(id.0).map(|policy| &policy.called)
    }

    /// Adds a policy under a number of its own; whom it selects is found out by
    /// [`Self::find_subjects`]. Objects that are no policies are none of its business.
    pub(super) fn insert(&mut self, object: &Object) -> Option<PolicyId> {
        let key = object.key();
        let (lowered, rule_names) = match object {
            Object::NetworkPolicy(policy) => (Lowered::network_policy(policy), Default::default()),
            Object::ClusterNetworkPolicy(policy) => {
                let names = [&policy.egress, &policy.ingress]
                    .map(|rules| rules.iter().map(|rule| rule.name.as_str().into()).collect());
                (Lowered::cluster_policy(policy), names)
            }
            Object::Namespace(_) | Object::Pod(_) | Object::Node(_) | Object::AccessList(_) => {
                return None;
            }
        };
        let name = match &key.namespace {
            Some(namespace) => format!("{namespace}/{}", key.name),
            None => key.name.clone(),
        };
        let kind = match key.kind {
            Kind::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            _ => "NetworkPolicy",
        };
        let called = table::Policy { kind, name: name.into(), rule_names };
        Some(self.add(Policy { key, lowered, called, subjects: Sorted::default() }))
    }

    /// Takes a policy out and gives the identities that it selected.
    pub(super) fn remove(&mut self, key: &ObjectKey) -> Option<(PolicyId, Sorted<u32>)> {
        let (id, policy) = self.take(key)?;
        Some((id, policy.subjects))
    }

    /// Gives a policy another number, as if it had changed. Returns the old and the new one.
    pub(super) fn renumber(&mut self, key: &ObjectKey) -> Option<(PolicyId, PolicyId)> {
        let (old, policy) = self.take(key)?;
        Some((old, self.add(policy)))
    }

    /// The keys of the policies whose egress speaks of a port by this name.
    pub(super) fn naming(&self, port_name: &str) -> Vec<ObjectKey> {
        let ids = self.by_port_name.get(port_name).into_iter().flatten();
        ids.filter_map(|id| Some(self.policies.get(id.0)?.key.clone())).collect()
    }

    /// Finds out whom a policy selects, and returns them.
    pub(super) fn find_subjects(&mut self, id: PolicyId, population: &Population) -> &[u32] {
        let Some(policy) = self.policies.get_mut(id.0) else { return &[] };
        policy.subjects = population.select(&policy.lowered.namespaces, &policy.lowered.pods);
        policy.subjects.as_slice()
    }

    /// Whom a policy selects.
    pub(super) fn subjects(&self, id: PolicyId) -> &[u32] {
        self.policies.get(id.0).map_or(&[], |policy| policy.subjects.as_slice())
    }

    /// The policies that select an identity, found out anew.
    pub(super) fn selecting(
        &mut self,
        number: u32,
        namespace: &str,
        identity: &Identity,
        population: &Population,
    ) -> Sorted<PolicyId> {
        let here = self.by_namespace.get(namespace).into_iter().flatten();
        let candidates: Vec<PolicyId> = here.chain(&self.everywhere).copied().collect();
        let mut selecting = Sorted::default();
        for id in candidates {
            let Some(policy) = self.policies.get_mut(id.0) else { continue };
            let Lowered { namespaces, pods, .. } = &policy.lowered;
            if population.is_in(identity, namespaces) && pods.matches(&identity.labels) {
                policy.subjects.insert(number);
                selecting.insert(id);
            } else {
                policy.subjects.remove(number);
            }
        }
        selecting
    }

    /// Forgets an identity that has gone.
    pub(super) fn remove_subject(&mut self, number: u32, identity: &Identity) {
        for id in identity.policies.as_slice() {
            if let Some(policy) = self.policies.get_mut(id.0) {
                policy.subjects.remove(number);
            }
        }
    }

    /// The key of the set that speaks for an identity; `None` where no policy does.
    pub(super) fn set_key(
        &self,
        direction: Direction,
        tier: Tier,
        identity: &Identity,
    ) -> Option<SetKey> {
        let mut policies: Vec<(PolicyId, &Lowered)> = identity
            .policies
            .as_slice()
            .iter()
            .filter_map(|&id| Some((id, self.get(id)?)))
            .filter(|(_, policy)| policy.tier == tier && policy.clauses(direction).is_some())
            .collect();
        if policies.is_empty() {
            return None;
        }
        policies.sort_unstable_by(|(_, a), (_, b)| a.order.cmp(&b.order));
        let is_used = |port: &&NamedPort| {
            let mut clauses = policies
                .iter()
                .flat_map(|(_, policy)| policy.clauses(direction).unwrap_or_default());
            clauses.any(|clause| clause.ports.names.iter().any(|(_, name)| *name == port.name))
        };
        let subject_ports = match direction {
            Direction::Ingress => identity.named_ports.iter().filter(is_used).cloned().collect(),
            Direction::Egress => Vec::new(),
        };
        let policies = policies.iter().map(|(id, _)| *id).collect();
        Some(SetKey { direction, policies, subject_ports })
    }

    pub(super) fn settle(&mut self) {
        self.policies.settle();
    }

    fn add(&mut self, policy: Policy) -> PolicyId {
        let key = policy.key.clone();
        let names: Vec<String> =
            policy.lowered.port_names(Direction::Egress).into_iter().map(str::to_owned).collect();
        let namespace = match &policy.lowered.namespaces {
            Scope::Own(name) => Some(name.clone()),
            Scope::Selected(_) => None,
        };
        let id = PolicyId(self.policies.insert(policy));
        match namespace {
            Some(name) => self.by_namespace.entry(name).or_default().insert(id),
            None => self.everywhere.insert(id),
        };
        for name in names {
            self.by_port_name.entry(name).or_default().insert(id);
        }
        self.by_key.insert(key, id);
        id
    }

    fn take(&mut self, key: &ObjectKey) -> Option<(PolicyId, Policy)> {
        let id = self.by_key.remove(key)?;
        let policy = self.policies.remove(id.0)?;
        self.everywhere.remove(&id);
        if let Scope::Own(namespace) = &policy.lowered.namespaces {
            remove_from(&mut self.by_namespace, namespace, id);
        }
        for name in policy.lowered.port_names(Direction::Egress) {
            remove_from(&mut self.by_port_name, name, id);
        }
        Some((id, policy))
    }
}

fn remove_from(lists: &mut HashMap<String, BTreeSet<PolicyId>>, key: &str, id: PolicyId) {
    if let Some(ids) = lists.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            lists.remove(key);
        }
    }
}
