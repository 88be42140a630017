//! The nodes: those that have an object, hold a pod, or are this one.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use sluice_core::table::{self, GroupId, NodeId};

use super::distinct;
use super::numbers::{Slab, Sorted};
use crate::model::{self, LabelSelector, Labels, Name};

#[derive(Debug, Default)]
struct Node {
    name: String,
    /// Of its object; `None` where it has none, and no selector finds it.
    labels: Option<Labels>,
    addresses: Vec<IpAddr>,
    /// The addresses of pods in its network, which are its own.
    host_pods: BTreeMap<Name, Vec<IpAddr>>,
    /// How many pods run on it.
    pods: usize,
    is_local: bool,
    groups: Sorted<GroupId>,
}

#[derive(Debug, Default)]
pub(super) struct Nodes {
    nodes: Slab<Node>,
    by_name: HashMap<String, u32>,
}

impl Nodes {
    /// The nodes at the start: this one, if its name is known.
    pub(super) fn new(local: Option<&str>) -> (Self, Option<NodeId>) {
        let mut nodes = Self::default();
        let local = local.map(|name| {
            let number = nodes.number_of(name);
            nodes.change(number, |node| node.is_local = true);
            NodeId(number)
        });
        (nodes, local)
    }

    /// Sets or takes away a node's object. Gives the node's number.
    pub(super) fn set_object(&mut self, name: &str, object: Option<&model::Node>) -> u32 {
        let number = self.number_of(name);
        self.change(number, |node| {
            node.labels = object.map(|object| object.labels.clone());
            node.addresses = object.map(|object| object.addresses.clone()).unwrap_or_default();
        });
        number
    }

    /// A pod comes to a node; `on_host` are its addresses if it lives in the node's network.
    /// Gives the node's number, and whether the table must be told of it.
    pub(super) fn add_pod(
        &mut self,
        node: &str,
        pod: &Name,
        on_host: Option<&[IpAddr]>,
    ) -> (u32, bool) {
        let number = self.number_of(node);
        let mut is_changed = on_host.is_some();
        self.change(number, |node| {
            is_changed |= node.pods == 0;
            node.pods += 1;
            if let Some(addresses) = on_host {
                node.host_pods.insert(pod.clone(), addresses.to_vec());
            }
        });
        (number, is_changed)
    }

    /// A pod leaves its node. Says whether the table must be told of the node.
    pub(super) fn remove_pod(&mut self, number: u32, pod: &Name) -> bool {
        let mut is_changed = false;
        self.change(number, |node| {
            node.pods -= 1;
            is_changed = node.host_pods.remove(pod).is_some() || node.pods == 0;
        });
        is_changed
    }

    /// Forgets a node that nothing speaks of any more.
    pub(super) fn forget_if_idle(&mut self, number: u32) {
        let idle = |node: &Node| node.labels.is_none() && node.pods == 0 && !node.is_local;
        if !self.nodes.get(number).is_some_and(idle) {
            return;
        }
        if let Some(node) = self.nodes.remove(number) {
            self.by_name.remove(&node.name);
        }
    }

    /// A node as the table has it; `None` where there is none of this number.
    pub(super) fn compiled(&self, number: u32) -> Option<table::Node> {
        let node = self.nodes.get(number)?;
        let mut addresses = node.addresses.clone();
        addresses.extend(node.host_pods.values().flatten());
        Some(table::Node {
            name: node.name.as_str().into(),
            addresses: distinct(&addresses),
            groups: node.groups.as_slice().into(),
        })
    }

    pub(super) fn select(&self, selector: &LabelSelector) -> Sorted<u32> {
        let all = self.nodes.iter().map(|(number, _)| number);
        all.filter(|number| self.matches(*number, selector)).collect()
    }

    pub(super) fn matches(&self, number: u32, selector: &LabelSelector) -> bool {
        let labels = self.nodes.get(number).and_then(|node| node.labels.as_ref());
        labels.is_some_and(|labels| selector.matches(labels))
    }

    pub(super) fn join(&mut self, number: u32, group: GroupId) {
        self.change(number, |node| {
            node.groups.insert(group);
        });
    }

    pub(super) fn leave(&mut self, number: u32, group: GroupId) {
        self.change(number, |node| {
            node.groups.remove(group);
        });
    }

    pub(super) fn settle(&mut self) {
        self.nodes.settle();
    }

    fn number_of(&mut self, name: &str) -> u32 {
        if let Some(&known) = self.by_name.get(name) {
            return known;
        }
        let number = self.nodes.insert(Node { name: name.to_owned(), ..Node::default() });
        self.by_name.insert(name.to_owned(), number);
        number
    }

    fn change(&mut self, number: u32, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(number) {
            change(node);
        }
    }
}
