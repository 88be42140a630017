//! The pods' identities and the namespaces that they live in, indexed by label.
//!
//! An identity stands for all pods of a namespace with the same labels and named ports, compared
//! in full. A selector starts from the shortest list that one of its terms gives and checks its
//! other terms there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hashbrown::HashTable;
use sluice_core::table::{GroupId, PolicyId};

use super::groups::Scope;
use super::numbers::{Slab, Sorted};
use super::sets::SetIds;
use crate::model::{
    LabelSelector, Labels, NAMESPACE_NAME_LABEL, NamedPort, Namespace, Operator, Pod, Protocol,
};

/// What pods of one identity have in common, and what follows from it.
#[derive(Debug)]
pub(crate) struct Identity {
    namespace: u32,
    pub(crate) labels: Labels,
    /// Sorted, each once.
    pub(crate) named_ports: Vec<NamedPort>,
    pods: usize,
    /// The groups that it is in.
    pub(super) groups: Sorted<GroupId>,
    /// The policies that select it.
    pub(super) policies: Sorted<PolicyId>,
    pub(super) sets: SetIds,
}

#[derive(Debug)]
struct NamespaceEntry {
    name: String,
    labels: Labels,
    identities: BTreeSet<u32>,
}

/// Who holds a label: keys, then values, then the holders' numbers.
type Holders = HashMap<String, HashMap<String, BTreeSet<u32>>>;

/// For each port name what it stands for, and how many identities say so.
pub(super) type PortNames = HashMap<String, BTreeMap<(Protocol, u16), usize>>;

/// All identities, and the namespaces that have some.
#[derive(Debug, Default)]
pub(crate) struct Population {
    hasher: ahash::RandomState,
    namespaces: Slab<NamespaceEntry>,
    namespaces_by_name: HashMap<String, u32>,
    namespaces_by_label: Holders,
    identities: Slab<Identity>,
    by_key: HashTable<u32>,
    identities_by_label: Holders,
    port_names: PortNames,
    /// Names that stand for something else than when this was last asked.
    renamed: BTreeSet<String>,
}

/// What came of a pod.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) identity: u32,
    pub(super) is_new: bool,
}

impl Population {
    /// How many identities there are.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Identity> {
        self.identities.get(number)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Identity> {
        self.identities.get_mut(number)
    }

    pub(super) fn port_names(&self) -> &PortNames {
        &self.port_names
    }

    /// The port names that stand for something else than when this was last called.
    pub(super) fn take_renamed(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.renamed)
    }

    /// The name of an identity's namespace.
    pub(crate) fn namespace_name(&self, identity: &Identity) -> &str {
        self.namespaces.get(identity.namespace).map_or("", |entry| &entry.name)
    }

    /// Counts a pod to its identity, which is made if there is none. `object` is the object of
    /// its namespace, if it has one.
    pub(crate) fn add_pod(&mut self, pod: &Pod, object: Option<&Namespace>) -> Placed {
        let mut named_ports = pod.named_ports.clone();
        named_ports.sort_unstable();
        named_ports.dedup();
        let namespace = self.namespace_of(&pod.namespace, object);
        let hash = self.hasher.hash_one((namespace, &pod.labels, &named_ports));
        let identities = &mut self.identities;
        let is_same = |number: &u32| {
            identities.get(*number).is_some_and(|it| {
                it.namespace == namespace
                    && it.labels == pod.labels
                    && it.named_ports == named_ports
            })
        };
        if let Some(&known) = self.by_key.find(hash, is_same) {
            if let Some(identity) = self.identities.get_mut(known) {
                identity.pods += 1;
            }
            return Placed { identity: known, is_new: false };
        }
        for port in &named_ports {
            let numbers = self.port_names.entry(port.name.clone()).or_default();
            let count = numbers.entry((port.protocol, port.port)).or_default();
            *count += 1;
            if *count == 1 {
                self.renamed.insert(port.name.clone());
            }
        }
        let number = self.identities.insert(Identity {
            namespace,
            labels: pod.labels.clone(),
            named_ports,
            pods: 1,
            groups: Sorted::default(),
            policies: Sorted::default(),
            sets: SetIds::default(),
        });
        hold(&mut self.identities_by_label, &pod.labels, number);
        if let Some(entry) = self.namespaces.get_mut(namespace) {
            entry.identities.insert(number);
        }
        let (identities, hasher) = (&self.identities, &self.hasher);
        self.by_key.insert_unique(hash, number, |number| hash_of(hasher, identities, *number));
        Placed { identity: number, is_new: true }
    }

    /// Counts a pod away from its identity, which stays until [`Self::remove_if_empty`].
    pub(super) fn remove_pod(&mut self, number: u32) {
        if let Some(identity) = self.identities.get_mut(number) {
            identity.pods -= 1;
        }
    }

    /// Takes out an identity that no pod has any more.
    pub(super) fn remove_if_empty(&mut self, number: u32) -> Option<Identity> {
        if self.identities.get(number)?.pods > 0 {
            return None;
        }
        let hash = hash_of(&self.hasher, &self.identities, number);
        if let Ok(entry) = self.by_key.find_entry(hash, |known| *known == number) {
            entry.remove();
        }
        let identity = self.identities.remove(number)?;
        release(&mut self.identities_by_label, &identity.labels, number);
        for port in &identity.named_ports {
            let Some(numbers) = self.port_names.get_mut(&port.name) else { continue };
            let key = (port.protocol, port.port);
            if let Some(count) = numbers.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    numbers.remove(&key);
                    self.renamed.insert(port.name.clone());
                }
            }
            if numbers.is_empty() {
                self.port_names.remove(&port.name);
            }
        }
        self.remove_from_namespace(identity.namespace, number);
        Some(identity)
    }

    /// Gives a namespace its labels. Returns its identities if the labels have changed.
    pub(super) fn relabel(&mut self, name: &str, object: Option<&Namespace>) -> Vec<u32> {
        let Some(&number) = self.namespaces_by_name.get(name) else { return Vec::new() };
        let Some(entry) = self.namespaces.get_mut(number) else { return Vec::new() };
        let labels = namespace_labels(name, object);
        if entry.labels == labels {
            return Vec::new();
        }
        release(&mut self.namespaces_by_label, &entry.labels, number);
        hold(&mut self.namespaces_by_label, &labels, number);
        entry.labels = labels;
        entry.identities.iter().copied().collect()
    }

    /// The identities of the namespaces in `scope` that `selector` selects.
    pub(crate) fn select(&self, scope: &Scope, selector: &LabelSelector) -> Sorted<u32> {
        let by_label = shortest(&self.identities_by_label, selector);
        let namespaces: Option<Vec<u32>> = match scope {
            Scope::Own(name) => {
                Some(self.namespaces_by_name.get(name).copied().into_iter().collect())
            }
            // Every namespace: they do not narrow the choice.
            Scope::Selected(all) if all.is_everything() => None,
            Scope::Selected(selector) => Some(self.select_namespaces(selector)),
        };
        let namespaces: Option<Vec<&NamespaceEntry>> = namespaces
            .map(|numbers| numbers.into_iter().filter_map(|it| self.namespaces.get(it)).collect());
        let living = |entries: &[&NamespaceEntry]| -> usize {
            entries.iter().map(|entry| entry.identities.len()).sum()
        };
        let matches =
            |number: &u32| self.get(*number).is_some_and(|it| selector.matches(&it.labels));
        match (by_label, namespaces) {
            (Some(holders), Some(entries)) if holders.len() < living(&entries) => {
                let inside = |number: &u32| {
                    self.get(*number).is_some_and(|identity| self.is_in(identity, scope))
                };
                holders.iter().copied().filter(matches).filter(inside).collect()
            }
            (_, Some(entries)) => {
                let living = entries.iter().flat_map(|entry| &entry.identities);
                living.copied().filter(matches).collect()
            }
            (Some(holders), None) => holders.iter().copied().filter(matches).collect(),
            (None, None) => {
                let all = self.identities.iter().map(|(number, _)| number);
                all.filter(matches).collect()
            }
        }
    }

    /// Whether an identity lives in one of the namespaces meant.
    pub(super) fn is_in(&self, identity: &Identity, scope: &Scope) -> bool {
        let entry = self.namespaces.get(identity.namespace);
        entry.is_some_and(|entry| scope.contains(&entry.name, &entry.labels))
    }

    pub(super) fn join(&mut self, number: u32, group: GroupId) {
        if let Some(identity) = self.identities.get_mut(number) {
            identity.groups.insert(group);
        }
    }

    pub(super) fn leave(&mut self, number: u32, group: GroupId) {
        if let Some(identity) = self.identities.get_mut(number) {
            identity.groups.remove(group);
        }
    }

    pub(super) fn settle(&mut self) {
        self.identities.settle();
        self.namespaces.settle();
    }

    fn select_namespaces(&self, selector: &LabelSelector) -> Vec<u32> {
        let matches = |number: &u32| {
            self.namespaces.get(*number).is_some_and(|entry| selector.matches(&entry.labels))
        };
        match shortest(&self.namespaces_by_label, selector) {
            Some(holders) => holders.iter().copied().filter(matches).collect(),
            None => self.namespaces.iter().map(|(number, _)| number).filter(matches).collect(),
        }
    }

    fn namespace_of(&mut self, name: &str, object: Option<&Namespace>) -> u32 {
        if let Some(&known) = self.namespaces_by_name.get(name) {
            return known;
        }
        let labels = namespace_labels(name, object);
        let entry = NamespaceEntry { name: name.to_owned(), labels, identities: BTreeSet::new() };
        let number = self.namespaces.insert(entry);
        self.namespaces_by_name.insert(name.to_owned(), number);
        if let Some(entry) = self.namespaces.get(number) {
            hold(&mut self.namespaces_by_label, &entry.labels, number);
        }
        number
    }

    fn remove_from_namespace(&mut self, namespace: u32, identity: u32) {
        let Some(entry) = self.namespaces.get_mut(namespace) else { return };
        entry.identities.remove(&identity);
        if !entry.identities.is_empty() {
            return;
        }
        if let Some(entry) = self.namespaces.remove(namespace) {
            self.namespaces_by_name.remove(&entry.name);
            release(&mut self.namespaces_by_label, &entry.labels, namespace);
        }
    }
}

/// The labels of a namespace, with its name among them. A namespace that is only mentioned has
/// no other.
fn namespace_labels(name: &str, object: Option<&Namespace>) -> Labels {
    let mut labels = object.map(|object| object.labels.clone()).unwrap_or_default();
    labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name.to_owned());
    labels
}

fn hash_of(hasher: &ahash::RandomState, identities: &Slab<Identity>, number: u32) -> u64 {
    identities
        .get(number)
        .map_or(0, |it| hasher.hash_one((it.namespace, &it.labels, &it.named_ports)))
}

fn hold(holders: &mut Holders, labels: &Labels, number: u32) {
    for (key, value) in labels {
        if !holders.contains_key(key) {
            holders.insert(key.clone(), HashMap::new());
        }
        let Some(values) = holders.get_mut(key) else { continue };
        values.entry(value.clone()).or_default().insert(number);
    }
}

fn release(holders: &mut Holders, labels: &Labels, number: u32) {
    for (key, value) in labels {
        let Some(values) = holders.get_mut(key) else { continue };
        if let Some(numbers) = values.get_mut(value) {
            numbers.remove(&number);
            if numbers.is_empty() {
                values.remove(value);
            }
        }
        if values.is_empty() {
            holders.remove(key);
        }
    }
}

/// The shortest list of holders that a term of `selector` gives; `None` where no term gives any.
fn shortest<'a>(holders: &'a Holders, selector: &'a LabelSelector) -> Option<&'a BTreeSet<u32>> {
    static NOBODY: BTreeSet<u32> = BTreeSet::new();
    let of = |key: &str, value: &str| {
        holders.get(key).and_then(|values| values.get(value)).unwrap_or(&NOBODY)
    };
    let pairs = selector.match_labels.iter().map(|(key, value)| of(key, value));
    let terms = selector.match_expressions.iter().filter_map(|term| match &term.operator {
        Operator::In(values) => match values.as_slice() {
            [value] => Some(of(&term.key, value)),
            _ => None,
        },
        _ => None,
    });
    pairs.chain(terms).min_by_key(|numbers| numbers.len())
}
