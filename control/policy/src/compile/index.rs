//! The pods and namespaces of a rule set, indexed by label.
//!
//! Identities are numbered in the order of their pods' names, so those of a namespace are a
//! contiguous run. A selector starts from the shortest list of holders that one of its terms
//! gives and checks its other terms there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::Range;

use sluice_core::table::IdentityId;

use super::{distinct, is_subject, number};
use crate::model::{
    LabelSelector, Labels, NAMESPACE_NAME_LABEL, NamedPort, Operator, Pod, Protocol, RuleSet,
};

/// All identities, and the namespaces that they live in.
pub(super) struct Population<'a> {
    namespaces: Vec<NamespaceEntry>,
    namespace_numbers: HashMap<&'a str, u32>,
    namespaces_by_label: Holders,
    members: Vec<Member<'a>>,
    members_by_label: Holders,
    identity_of_subjects: Vec<IdentityId>,
    by_port_name: HashMap<(&'a str, Protocol), Vec<IdentityId>>,
    /// The addresses of pods that give names to ports, with their identities.
    named_addresses: Vec<(IpAddr, IdentityId)>,
}

/// What pods of one identity have in common.
struct Member<'a> {
    labels: &'a Labels,
    named_ports: Vec<&'a NamedPort>,
}

struct NamespaceEntry {
    labels: Labels,
    /// The identities that live here.
    members: Range<u32>,
}

/// Who holds a label: keys, then values, then the holders' numbers, ascending.
#[derive(Default)]
struct Holders(HashMap<String, HashMap<String, Vec<u32>>>);

impl<'a> Population<'a> {
    pub(super) fn new(rules: &'a RuleSet) -> Self {
        let (namespaces, namespace_numbers) = namespaces(rules);
        let mut population = Self {
            namespaces_by_label: Holders::new(namespaces.iter().map(|entry| &entry.labels)),
            namespaces,
            namespace_numbers,
            members: Vec::new(),
            members_by_label: Holders::default(),
            identity_of_subjects: Vec::new(),
            by_port_name: HashMap::new(),
            named_addresses: Vec::new(),
        };
        population.add_members(rules);
        population.members_by_label =
            Holders::new(population.members.iter().map(|member| member.labels));
        population
    }

    /// How many identities there are.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// The identity of each pod that policies speak of, in the order of the rule set.
    pub(super) fn identity_of_subjects(&self) -> &[IdentityId] {
        &self.identity_of_subjects
    }

    /// The named ports of an identity, sorted.
    pub(super) fn named_ports(&self, identity: IdentityId) -> &[&'a NamedPort] {
        self.members.get(identity.index()).map_or(&[], |member| &member.named_ports)
    }

    /// The identities that give some port of `protocol` this name, ascending.
    pub(super) fn with_port_name(&self, name: &'a str, protocol: Protocol) -> &[IdentityId] {
        self.by_port_name.get(&(name, protocol)).map_or(&[], |list| list)
    }

    /// The addresses of pods that give names to ports, with their identities.
    pub(super) fn named_addresses(&self) -> &[(IpAddr, IdentityId)] {
        &self.named_addresses
    }

    /// The identities of `namespace` that `selector` selects, ascending.
    pub(super) fn subjects(&self, namespace: &str, selector: &LabelSelector) -> Vec<IdentityId> {
        let members = self
            .namespace_numbers
            .get(namespace)
            .and_then(|&place| self.namespaces.get(place as usize))
            .map_or(0..0, |entry| entry.members.clone());
        self.select(selector, &members).into_iter().map(IdentityId).collect()
    }

    /// The identities that a peer means: of the namespaces selected, or of `own` where none
    /// are named, those that `pods` selects.
    pub(super) fn peers(
        &self,
        own: &str,
        pods: Option<&LabelSelector>,
        namespaces: Option<&LabelSelector>,
    ) -> Vec<IdentityId> {
        let everything = LabelSelector::everything();
        let pods = pods.unwrap_or(&everything);
        let Some(namespaces) = namespaces else { return self.subjects(own, pods) };
        let everywhere = 0..number(self.members.len());
        if namespaces.is_everything() {
            return self.select(pods, &everywhere).into_iter().map(IdentityId).collect();
        }
        let chosen = self.namespaces_by_label.candidates(namespaces, &self.all_namespaces());
        let chosen = chosen
            .into_iter()
            .filter_map(|place| self.namespaces.get(place as usize))
            .filter(|entry| namespaces.matches(&entry.labels));
        let chosen = chosen.flat_map(|entry| self.select(pods, &entry.members));
        chosen.map(IdentityId).collect()
    }

    fn all_namespaces(&self) -> Range<u32> {
        0..number(self.namespaces.len())
    }

    fn select(&self, selector: &LabelSelector, within: &Range<u32>) -> Vec<u32> {
        let mut chosen = self.members_by_label.candidates(selector, within);
        if !selector.is_everything() {
            chosen.retain(|&place| {
                self.members
                    .get(place as usize)
                    .is_some_and(|member| selector.matches(member.labels))
            });
        }
        chosen
    }

    fn add_members(&mut self, rules: &'a RuleSet) {
        let mut known: BTreeMap<(&Labels, Vec<&NamedPort>), IdentityId> = BTreeMap::new();
        let mut namespace = None;
        for pod in rules.pods().filter(|pod| is_subject(pod)) {
            if namespace != Some(&pod.namespace) {
                // Pods come sorted by namespace; an identity never spans two.
                namespace = Some(&pod.namespace);
                known.clear();
            }
            let named_ports = sorted_ports(pod);
            let next = IdentityId(number(self.members.len()));
            let id = *known.entry((&pod.labels, named_ports)).or_insert(next);
            if id == next {
                self.add_member(pod, id);
            }
            self.identity_of_subjects.push(id);
            if !pod.named_ports.is_empty() {
                let addresses = distinct(&pod.addresses).into_iter();
                self.named_addresses.extend(addresses.map(|address| (address, id)));
            }
        }
    }

    fn add_member(&mut self, pod: &'a Pod, id: IdentityId) {
        let named_ports = sorted_ports(pod);
        let names: BTreeSet<_> =
            named_ports.iter().map(|port| (port.name.as_str(), port.protocol)).collect();
        for name in names {
            self.by_port_name.entry(name).or_default().push(id);
        }
        self.members.push(Member { labels: &pod.labels, named_ports });
        let place = self.namespace_numbers.get(pod.namespace.as_str());
        let entry = place.and_then(|&place| self.namespaces.get_mut(place as usize));
        if let Some(entry) = entry {
            if entry.members.is_empty() {
                entry.members = id.0..id.0;
            }
            entry.members.end = id.0 + 1;
        }
    }
}

/// The namespaces that have an object or are mentioned, sorted by name, and their numbers.
fn namespaces(rules: &RuleSet) -> (Vec<NamespaceEntry>, HashMap<&str, u32>) {
    let mut labels: BTreeMap<&str, Labels> = BTreeMap::new();
    for pod in rules.pods() {
        labels.entry(&pod.namespace).or_default();
    }
    for policy in rules.network_policies() {
        labels.entry(&policy.namespace).or_default();
    }
    for namespace in rules.namespaces() {
        labels.insert(&namespace.name, namespace.labels.clone());
    }
    let numbers = labels.keys().copied().zip(0u32..).collect();
    let entries = labels.into_iter().map(|(name, mut labels)| {
        labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name.to_owned());
        NamespaceEntry { labels, members: 0..0 }
    });
    (entries.collect(), numbers)
}

fn sorted_ports(pod: &Pod) -> Vec<&NamedPort> {
    let mut ports: Vec<&NamedPort> = pod.named_ports.iter().collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

impl Holders {
    fn new<'b>(all: impl Iterator<Item = &'b Labels>) -> Self {
        let mut holders = Self::default();
        for (labels, place) in all.zip(0u32..) {
            for (key, value) in labels {
                // Looked up before it is owned: most labels have been seen before.
                if !holders.0.contains_key(key) {
                    holders.0.insert(key.clone(), HashMap::new());
                }
                let Some(values) = holders.0.get_mut(key) else { continue };
                match values.get_mut(value) {
                    Some(list) => list.push(place),
                    None => {
                        values.insert(value.clone(), vec![place]);
                    }
                }
            }
        }
        holders
    }

    /// Everybody within the range whom `selector` might select, ascending.
    fn candidates(&self, selector: &LabelSelector, within: &Range<u32>) -> Vec<u32> {
        let by_label =
            selector.match_labels.iter().map(|(key, value)| vec![self.holders(key, value, within)]);
        let by_value = selector.match_expressions.iter().filter_map(|term| match &term.operator {
            Operator::In(values) => {
                Some(values.iter().map(|value| self.holders(&term.key, value, within)).collect())
            }
            _ => None,
        });
        let fewest = by_label
            .chain(by_value)
            .min_by_key(|lists: &Vec<&[u32]>| lists.iter().map(|list| list.len()).sum::<usize>());
        let Some(lists) = fewest else { return within.clone().collect() };
        let mut candidates = lists.concat();
        if lists.len() > 1 {
            candidates.sort_unstable();
            candidates.dedup();
        }
        candidates
    }

    fn holders(&self, key: &str, value: &str, within: &Range<u32>) -> &[u32] {
        let all: &[u32] =
            self.0.get(key).and_then(|values| values.get(value)).map_or(&[], |list| list);
        let first = all.partition_point(|&place| place < within.start);
        let end = all.partition_point(|&place| place < within.end);
        all.get(first..end).unwrap_or(&[])
    }
}
