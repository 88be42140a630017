//! Groups: whom the selectors of rules mean.
//!
//! Rules with equal selectors share a group, and a group's members are kept up to date as pods,
//! namespaces and nodes come, change and go. A policy set names groups, not members.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sluice_core::table::GroupId;

use super::nodes::Nodes;
use super::numbers::{Slab, Sorted};
use super::population::{Identity, Population};
use crate::model::{LabelSelector, Labels, Protocol};

/// Which namespaces are meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// One, by its name.
    Own(String),
    /// Those with such labels.
    Selected(LabelSelector),
}

/// What makes a party a member.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum GroupKey {
    /// Pods by labels, and if so asked only those that give one of their ports this name.
    Pods { namespaces: Scope, pods: LabelSelector, port: Option<PortOfName> },
    /// Nodes by labels.
    Nodes(LabelSelector),
}

/// What a pod says of one of its ports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PortOfName {
    pub(super) name: String,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

#[derive(Debug)]
struct Group {
    key: Arc<GroupKey>,
    /// How many policy sets name it.
    users: usize,
    identities: Sorted<u32>,
    nodes: Sorted<u32>,
}

/// All groups that some policy set names.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Slab<Group>,
    by_key: HashMap<Arc<GroupKey>, GroupId>,
}

/// Parties whose groups have changed.
#[derive(Debug, Default)]
pub(super) struct Regrouped {
    pub(super) identities: BTreeSet<u32>,
    pub(super) nodes: BTreeSet<u32>,
}

impl Scope {
    pub(crate) fn contains(&self, namespace: &str, labels: &Labels) -> bool {
        match self {
            Self::Own(name) => name == namespace,
            Self::Selected(selector) => selector.matches(labels),
        }
    }
}

impl GroupKey {
    fn has(&self, identity: &Identity, population: &Population) -> bool {
        let Self::Pods { namespaces, pods, port } = self else { return false };
        population.is_in(identity, namespaces)
            && pods.matches(&identity.labels)
            && port.as_ref().is_none_or(|port| port.is_given_by(identity))
    }
}

impl PortOfName {
    fn is_given_by(&self, identity: &Identity) -> bool {
        identity.named_ports.iter().any(|port| {
            port.port == self.port && port.protocol == self.protocol && port.name == self.name
        })
    }
}

impl Groups {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The group of a key, found or made, with one more user.
    pub(super) fn acquire(
        &mut self,
        key: GroupKey,
        population: &mut Population,
        nodes: &mut Nodes,
        regrouped: &mut Regrouped,
    ) -> GroupId {
        if let Some(&id) = self.by_key.get(&key) {
            if let Some(group) = self.groups.get_mut(id.0) {
                group.users += 1;
            }
            return id;
        }
        let (identities, members) = match &key {
            GroupKey::Pods { namespaces, pods, port } => {
                let chosen = population.select(namespaces, pods);
                let gives = |id: &&u32| {
                    let identity = population.get(**id);
                    let gives = |port: &PortOfName| identity.is_some_and(|it| port.is_given_by(it));
                    port.as_ref().is_none_or(gives)
                };
                (chosen.as_slice().iter().filter(gives).copied().collect(), Sorted::default())
            }
            GroupKey::Nodes(selector) => (Sorted::default(), nodes.select(selector)),
        };
        let key = Arc::new(key);
        let group = Group { key: Arc::clone(&key), users: 1, identities, nodes: members };
        let id = GroupId(self.groups.insert(group));
        self.by_key.insert(key, id);
        let Some(group) = self.groups.get(id.0) else { return id };
        for &identity in group.identities.as_slice() {
            population.join(identity, id);
            regrouped.identities.insert(identity);
        }
        for &node in group.nodes.as_slice() {
            nodes.join(node, id);
            regrouped.nodes.insert(node);
        }
        id
    }

    /// Takes one user away; a group without users is dissolved.
    pub(super) fn release(
        &mut self,
        id: GroupId,
        population: &mut Population,
        nodes: &mut Nodes,
        regrouped: &mut Regrouped,
    ) {
        let Some(group) = self.groups.get_mut(id.0) else { return };
        group.users -= 1;
        if group.users > 0 {
            return;
        }
        let Some(group) = self.groups.remove(id.0) else { return };
        self.by_key.remove(&group.key);
        for &identity in group.identities.as_slice() {
            population.leave(identity, id);
            regrouped.identities.insert(identity);
        }
        for &node in group.nodes.as_slice() {
            nodes.leave(node, id);
            regrouped.nodes.insert(node);
        }
    }

    /// Finds the groups of an identity that is new, or whose namespace has other labels now.
    pub(super) fn place_identity(
        &mut self,
        number: u32,
        population: &mut Population,
        regrouped: &mut Regrouped,
    ) {
        let Some(identity) = population.get(number) else { return };
        let mut changes = Vec::new();
        for (id, group) in self.groups.iter() {
            let belongs = group.key.has(identity, population);
            if belongs != group.identities.contains(number) {
                changes.push((GroupId(id), belongs));
            }
        }
        for (id, belongs) in changes {
            let Some(group) = self.groups.get_mut(id.0) else { continue };
            if belongs {
                group.identities.insert(number);
                population.join(number, id);
            } else {
                group.identities.remove(number);
                population.leave(number, id);
            }
            regrouped.identities.insert(number);
        }
    }

    /// Forgets an identity that has gone.
    pub(super) fn remove_identity(&mut self, number: u32, identity: &Identity) {
        for id in identity.groups.as_slice() {
            if let Some(group) = self.groups.get_mut(id.0) {
                group.identities.remove(number);
            }
        }
    }

    /// Finds the groups of a node that is new, has other labels, or has gone.
    pub(super) fn place_node(&mut self, number: u32, nodes: &mut Nodes, regrouped: &mut Regrouped) {
        let mut changes = Vec::new();
        for (id, group) in self.groups.iter() {
            let GroupKey::Nodes(selector) = &*group.key else { continue };
            let belongs = nodes.matches(number, selector);
            if belongs != group.nodes.contains(number) {
                changes.push((GroupId(id), belongs));
            }
        }
        for (id, belongs) in changes {
            let Some(group) = self.groups.get_mut(id.0) else { continue };
            if belongs {
                group.nodes.insert(number);
                nodes.join(number, id);
            } else {
                group.nodes.remove(number);
                nodes.leave(number, id);
            }
            regrouped.nodes.insert(number);
        }
    }

    pub(super) fn settle(&mut self) {
        self.groups.settle();
    }
}
