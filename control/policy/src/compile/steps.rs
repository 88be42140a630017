//! One change, step by step.
//!
//! The order matters. Parties come first, so that a policy selects whoever is there in the end.
//! Whoever is new is placed among the policies and groups that stand already, before new ones
//! look for their members. New sets are acquired before old ones are released, so that what
//! both refer to is not built twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sluice_core::address::NetworkId;
use sluice_core::table::{self, Endpoint, EndpointId, IdentityId, NodeId, PolicyId};

use super::groups::Regrouped;
use super::numbers::Sorted;
use super::population::Population;
use super::sets::{PLACES, SetIds, World};
use super::{Compiler, PodEntry, distinct};
use crate::model::{AccessList, Change, Kind, Name, NamedPort, Object, ObjectKey, Pod};

/// What a change has touched so far.
#[derive(Debug, Default)]
struct Touched {
    /// Pods that have come, changed (with their names) or gone.
    endpoints: BTreeMap<EndpointId, Option<Name>>,
    /// Nodes that have come, changed or gone.
    nodes: BTreeSet<u32>,
    /// Identities that have lost a pod.
    thinned: BTreeSet<u32>,
    /// Identities that are new, or whose namespace has other labels.
    unplaced: BTreeSet<u32>,
    /// Identities whom other policies select.
    reselected: Vec<u32>,
    /// Identities that look different in the table.
    identities: BTreeSet<u32>,
    /// Policies that have come or gone.
    policies: BTreeSet<PolicyId>,
    regrouped: Regrouped,
    /// Sets that somebody had.
    released: Vec<SetIds>,
    /// Whether some access list has changed.
    access_lists: bool,
}

impl Compiler {
    /// Carries out a change that has no faults.
    pub(super) fn carry_out(&mut self, change: Change, revision: u64) {
        let mut touched = Touched::default();
        for rules in &change.access_lists {
            let gone = self.rules.change_access_list(rules.clone());
            self.access_lists.change(&rules.name, &gone, &rules.upserts);
            touched.access_lists = true;
        }
        let (keys, lists) = self.take_over(change);
        for key in &keys {
            match key.kind {
                Kind::Namespace => {
                    let object = self.rules.namespace(&key.name);
                    touched.unplaced.extend(self.population.relabel(&key.name, object));
                }
                Kind::Pod => self.set_pod(key, &mut touched),
                Kind::Node => {
                    let object = self.rules.node(&key.name);
                    touched.nodes.insert(self.nodes.set_object(&key.name, object));
                }
                Kind::AccessList => {
                    let object = self.rules.access_list(&key.name);
                    self.access_lists.set(&key.name, lists.get(&key.name), object);
                    touched.access_lists = true;
                }
                Kind::NetworkPolicy | Kind::ClusterNetworkPolicy => {}
            }
        }
        self.remove_emptied(&mut touched);
        self.place(&mut touched);
        self.set_policies(&keys, &mut touched);
        self.resolve(&mut touched);
        self.write(touched, revision);
    }

    /// Takes the objects over into the rule set, and gives the keys of all that change, sorted
    /// by kind, and the access lists that were there, by name.
    fn take_over(&mut self, change: Change) -> (BTreeSet<ObjectKey>, HashMap<String, AccessList>) {
        let mut keys = BTreeSet::new();
        let mut lists = HashMap::new();
        for key in change.removals {
            self.rules.remove(&key);
            keys.insert(key);
        }
        for object in change.upserts {
            keys.insert(object.key());
            if let Some(Object::AccessList(list)) = self.rules.replace(object) {
                lists.insert(list.name.clone(), list);
            }
        }
        (keys, lists)
    }

    fn set_pod(&mut self, key: &ObjectKey, touched: &mut Touched) {
        let Some(name) = key.namespaced() else { return };
        let before = self.pods.remove(&name);
        if let Some(entry) = before {
            if let Some(identity) = entry.identity {
                self.population.remove_pod(identity);
                touched.thinned.insert(identity);
            }
            if let Some(node) = entry.node
                && self.nodes.remove_pod(node.0, &name)
            {
                touched.nodes.insert(node.0);
            }
        }
        let Some(pod) = self.rules.pod(&name).filter(|pod| !pod.terminated) else {
            if let Some(entry) = before {
                self.endpoints.remove(entry.endpoint.0);
                touched.endpoints.insert(entry.endpoint, None);
            }
            return;
        };
        // Where a pod only changes, its number stays.
        let endpoint =
            before.map_or_else(|| EndpointId(self.endpoints.insert(())), |entry| entry.endpoint);
        let identity = (!pod.host_network).then(|| {
            let placed = self.population.add_pod(pod, self.rules.namespace(&pod.namespace));
            if placed.is_new {
                touched.unplaced.insert(placed.identity);
            }
            placed.identity
        });
        let node = pod.node.as_deref().or(self.options.local_node.as_deref()).map(|node| {
            let on_host = pod.host_network.then_some(&*pod.addresses);
            let (node, is_changed) = self.nodes.add_pod(node, &name, on_host);
            if is_changed {
                touched.nodes.insert(node);
            }
            NodeId(node)
        });
        touched.endpoints.insert(endpoint, Some(name.clone()));
        self.pods.insert(name, PodEntry { endpoint, identity, node });
    }

    /// Takes out identities that no pod has any more.
    fn remove_emptied(&mut self, touched: &mut Touched) {
        for number in std::mem::take(&mut touched.thinned) {
            let Some(identity) = self.population.remove_if_empty(number) else { continue };
            self.groups.remove_identity(number, &identity);
            self.policies.remove_subject(number, &identity);
            touched.released.push(identity.sets);
            touched.unplaced.remove(&number);
            touched.identities.insert(number);
        }
    }

    /// Finds the place of identities and nodes among the policies and groups that stand already.
    fn place(&mut self, touched: &mut Touched) {
        for &number in &touched.unplaced {
            self.groups.place_identity(number, &mut self.population, &mut touched.regrouped);
            let Some(identity) = self.population.get(number) else { continue };
            let namespace = self.population.namespace_name(identity);
            let selecting = self.policies.selecting(number, namespace, identity, &self.population);
            if let Some(identity) = self.population.get_mut(number) {
                identity.policies = selecting;
            }
        }
        touched.reselected.extend(&touched.unplaced);
        touched.identities.append(&mut touched.unplaced);
        for &number in &touched.nodes {
            self.groups.place_node(number, &mut self.nodes, &mut touched.regrouped);
        }
    }

    /// Takes out policies that have gone or changed, and puts in those that are new.
    fn set_policies(&mut self, keys: &BTreeSet<ObjectKey>, touched: &mut Touched) {
        let mut stale: BTreeSet<ObjectKey> = BTreeSet::new();
        for name in self.population.take_renamed() {
            // What a port name stands for is part of the sets of those who speak of it.
            stale.extend(self.policies.naming(&name));
        }
        for key in stale.difference(keys) {
            let Some((old, new)) = self.policies.renumber(key) else { continue };
            touched.policies.extend([old, new]);
            for &number in self.policies.subjects(new) {
                reselect(&mut self.population, number, Some(old), Some(new), touched);
            }
        }
        let mut new = Vec::new();
        for key in keys {
            if let Some((old, subjects)) = self.policies.remove(key) {
                touched.policies.insert(old);
                for &number in subjects.as_slice() {
                    reselect(&mut self.population, number, Some(old), None, touched);
                }
            }
            let object = self.rules.policy(key);
            new.extend(object.and_then(|object| self.policies.insert(&object)));
        }
        for id in new {
            touched.policies.insert(id);
            for &number in self.policies.find_subjects(id, &self.population) {
                reselect(&mut self.population, number, None, Some(id), touched);
            }
        }
    }

    /// Works out the sets of those whom other policies select now.
    fn resolve(&mut self, touched: &mut Touched) {
        // Many identities are selected by the same policies.
        let mut known: HashMap<(Sorted<PolicyId>, Vec<NamedPort>), SetIds> = HashMap::new();
        let mut reselected = std::mem::take(&mut touched.reselected);
        reselected.sort_unstable();
        reselected.dedup();
        for number in reselected {
            let Some(identity) = self.population.get(number) else { continue };
            let seen = (identity.policies.clone(), identity.named_ports.clone());
            if let Some(sets) = known.get(&seen) {
                self.sets.acquire_again(sets);
                self.replace_sets(number, *sets, touched);
                continue;
            }
            let keys =
                PLACES.map(|(direction, tier)| self.policies.set_key(direction, tier, identity));
            let mut world = World {
                population: &mut self.population,
                nodes: &mut self.nodes,
                groups: &mut self.groups,
                regrouped: &mut touched.regrouped,
            };
            let sets: SetIds =
                keys.map(|key| key.map(|key| self.sets.acquire(key, &self.policies, &mut world)));
            known.insert(seen, sets);
            self.replace_sets(number, sets, touched);
        }
        let mut world = World {
            population: &mut self.population,
            nodes: &mut self.nodes,
            groups: &mut self.groups,
            regrouped: &mut touched.regrouped,
        };
        for set in std::mem::take(&mut touched.released).into_iter().flatten().flatten() {
            self.sets.release(set, &mut world);
        }
    }

    fn replace_sets(&mut self, number: u32, sets: SetIds, touched: &mut Touched) {
        let Some(identity) = self.population.get_mut(number) else { return };
        if identity.sets != sets {
            touched.identities.insert(number);
        }
        touched.released.push(std::mem::replace(&mut identity.sets, sets));
    }

    /// Writes what has changed into a new table.
    fn write(&mut self, mut touched: Touched, revision: u64) {
        let mut edit = self.table.edit();
        touched.identities.append(&mut touched.regrouped.identities);
        touched.nodes.append(&mut touched.regrouped.nodes);
        for number in touched.nodes {
            self.nodes.forget_if_idle(number);
            edit.set_node(NodeId(number), self.nodes.compiled(number));
        }
        for number in touched.identities {
            edit.set_identity(IdentityId(number), self.identity(number));
        }
        for id in touched.policies {
            edit.set_policy(id, self.policies.called(id).cloned());
        }
        for (id, name) in touched.endpoints {
            edit.set_endpoint(id, name.and_then(|name| self.endpoint(&name)));
        }
        self.sets.write_blocks(&mut edit);
        if touched.access_lists {
            edit.set_access_lists(self.access_lists.compiled());
        }
        self.table = std::sync::Arc::new(edit.finish(revision));
        self.population.settle();
        self.nodes.settle();
        self.groups.settle();
        self.policies.settle();
        self.sets.settle();
        self.endpoints.settle();
    }

    fn identity(&self, number: u32) -> Option<table::Identity> {
        let identity = self.population.get(number)?;
        let [egress, ingress] = self.sets.tiers(&identity.sets);
        Some(table::Identity::new(identity.groups.as_slice(), egress, ingress))
    }

    fn endpoint(&self, name: &Name) -> Option<Endpoint> {
        let (pod, entry): (&Pod, &PodEntry) = (self.rules.pod(name)?, self.pods.get(name)?);
        Some(Endpoint {
            name: name.to_string().into(),
            network: NetworkId::DEFAULT,
            addresses: distinct(&pod.addresses),
            identity: entry.identity.map(IdentityId),
            node: entry.node,
        })
    }
}

/// Notes that other policies select an identity now.
fn reselect(
    population: &mut Population,
    number: u32,
    old: Option<PolicyId>,
    new: Option<PolicyId>,
    touched: &mut Touched,
) {
    let Some(identity) = population.get_mut(number) else { return };
    if let Some(old) = old {
        identity.policies.remove(old);
    }
    if let Some(new) = new {
        identity.policies.insert(new);
    }
    touched.reselected.push(number);
}
