//! Who is there: pods by what they have in common, namespaces and nodes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::bits::Bits;
use crate::compile::groups::Scope;
use crate::compile::population::{Identity, Population};
use crate::model::{LabelSelector, Labels, NAMESPACE_NAME_LABEL, Node, Pod, RuleSet};

/// The pods of a rule set by identity, and what selectors find among them. Each selector is
/// asked once.
pub(super) struct Crowd<'a> {
    /// Pods that policies speak of.
    pub(super) running: Population,
    /// Pods in their node's network, which no policy selects.
    pub(super) on_host: Population,
    /// Pods that have run to their end.
    pub(super) ended: Population,
    /// The pods of each running identity.
    pods: Vec<Vec<&'a Pod>>,
    /// The namespaces that have an object or are mentioned, with their labels.
    pub(super) namespaces: BTreeMap<&'a str, Labels>,
    pub(super) nodes: Vec<&'a Node>,
    chosen: HashMap<(Scope, LabelSelector), Rc<Bits>>,
}

impl<'a> Crowd<'a> {
    pub(super) fn of(rules: &'a RuleSet) -> Self {
        let mut crowd = Self {
            running: Population::default(),
            on_host: Population::default(),
            ended: Population::default(),
            pods: Vec::new(),
            namespaces: namespaces(rules),
            nodes: rules.nodes().collect(),
            chosen: HashMap::new(),
        };
        for pod in rules.pods() {
            let object = rules.namespace(&pod.namespace);
            let population = match pod {
                Pod { terminated: true, .. } => &mut crowd.ended,
                Pod { host_network: true, .. } => &mut crowd.on_host,
                _ => &mut crowd.running,
            };
            let place = population.add_pod(pod, object).identity as usize;
            if !pod.terminated && !pod.host_network {
                if crowd.pods.len() <= place {
                    crowd.pods.resize_with(place + 1, Vec::new);
                }
                crowd.pods.get_mut(place).into_iter().for_each(|pods| pods.push(pod));
            }
        }
        crowd
    }

    /// The running identities that selectors choose.
    pub(super) fn choose(&mut self, scope: &Scope, pods: &LabelSelector) -> Rc<Bits> {
        let key = (scope.clone(), pods.clone());
        let running = &self.running;
        let find = || running.select(scope, pods).as_slice().iter().copied().collect();
        Rc::clone(self.chosen.entry(key).or_insert_with(|| Rc::new(find())))
    }

    /// Whether selectors choose some running pod.
    pub(super) fn finds(&self, scope: &Scope, pods: &LabelSelector) -> bool {
        match self.chosen.get(&(scope.clone(), pods.clone())) {
            Some(chosen) => !chosen.is_empty(),
            None => !self.running.select(scope, pods).as_slice().is_empty(),
        }
    }

    /// The places of the nodes that a selector chooses.
    pub(super) fn choose_nodes(&self, selector: &LabelSelector) -> Bits {
        let nodes = (0u32..).zip(&self.nodes);
        nodes.filter(|(_, node)| selector.matches(&node.labels)).map(|(place, _)| place).collect()
    }

    pub(super) fn identities(&self) -> impl Iterator<Item = (u32, &Identity)> {
        let numbers = (0u32..).take(self.pods.len());
        numbers.filter_map(|number| Some((number, self.running.get(number)?)))
    }

    /// The pods of a running identity.
    pub(super) fn pods(&self, identity: u32) -> &[&'a Pod] {
        self.pods.get(identity as usize).map_or(&[], |pods| pods.as_slice())
    }

    /// A pod of a running identity.
    pub(super) fn example(&self, identity: u32) -> Option<&'a Pod> {
        self.pods(identity).first().copied()
    }

    /// The namespaces in which selectors choose a running pod.
    pub(super) fn namespaces_with(&self, scope: &Scope, pods: &LabelSelector) -> BTreeSet<&str> {
        let chosen = self.running.select(scope, pods);
        let identities = chosen.as_slice().iter().filter_map(|number| self.running.get(*number));
        identities.map(|identity| self.running.namespace_name(identity)).collect()
    }

    /// The labels of the pods in some namespaces, whatever state these are in.
    pub(super) fn labels_in(&self, scope: &Scope) -> Vec<&Labels> {
        let all = LabelSelector::everything();
        let populations = [&self.running, &self.on_host, &self.ended];
        let labels = populations.into_iter().flat_map(|population| {
            let chosen = population.select(scope, &all);
            let labels = |number: &u32| population.get(*number).map(|it| &it.labels);
            chosen.as_slice().iter().filter_map(labels).collect::<Vec<_>>()
        });
        labels.collect()
    }
}

fn namespaces(rules: &RuleSet) -> BTreeMap<&str, Labels> {
    let objects = rules.namespaces().map(|it| (it.name.as_str(), it.labels.clone()));
    let mut namespaces: BTreeMap<&str, Labels> = objects.collect();
    let of_pods = rules.pods().map(|pod| pod.namespace.as_str());
    let of_policies = rules.network_policies().map(|policy| policy.namespace.as_str());
    for name in of_pods.chain(of_policies) {
        namespaces.entry(name).or_default();
    }
    for (name, labels) in &mut namespaces {
        labels.insert(NAMESPACE_NAME_LABEL.to_owned(), (*name).to_owned());
    }
    namespaces
}
