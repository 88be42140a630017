//! From a rule set to the table that enforces it, and from each change to the next table.
//!
//! Pods with the same namespace, labels and named ports share an identity, compared in full.
//! Each identity has at most one policy set for a direction and tier. A rule's selectors become
//! a group, whose members are kept up to date; its address blocks go into one trie. Equal sets,
//! groups, blocks and port sets are stored once, and nothing multiplies peers with ports.
//!
//! ```text
//! change --> check --> who has changed (pods, nodes) --> groups they are in --+
//!                  \-> which policies have changed --> whom they select ------+--> sets --> Edit
//! ```
//!
//! A [`Compiler`] keeps what it has found out, so that a change costs what it touches: a pod that
//! joins with labels that others have changes one entry. [`compile`] is a compiler that takes the
//! whole rule set as one change. The result depends on the rule sets alone.
//!
//! Pods in their node's network are endpoints with the node's addresses, and no policy selects
//! them, as subject or as peer: the table takes them for the node. Pods that have run to their end
//! are left out.

mod access_lists;
pub(crate) mod groups;
pub(crate) mod lower;
mod nodes;
pub(crate) mod numbers;
mod policies;
pub(crate) mod population;
mod sets;
mod steps;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use sluice_core::table::{EndpointId, NodeId, Table};

use self::access_lists::AccessLists;
use self::groups::Groups;
use self::nodes::Nodes;
use self::numbers::Slab;
use self::policies::Policies;
use self::population::Population;
use self::sets::Sets;
use crate::model::{AccessListChange, Change, Fault, Kind, Name, ObjectKey, RuleSet};
use crate::validate::{Owners, Update, validate_access_list_change, validate_object};

/// What the compiler must know besides the rule set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompileOptions {
    /// The name of the node that this Sluice runs on. Pods that name no node are taken to be
    /// there.
    pub local_node: Option<String>,
}

/// Compiles a rule set to the table that enforces it, of revision 0.
///
/// # Errors
///
/// All faults that [`crate::validate::validate`] finds.
pub fn compile(rules: &RuleSet, options: &CompileOptions) -> Result<Table, Vec<Fault>> {
    let compiler = Compiler::with(rules.clone(), options, 0)?;
    Ok(Arc::unwrap_or_clone(compiler.table))
}

/// A rule set, its table, and what is needed to bring both to the next one.
#[derive(Debug)]
pub struct Compiler {
    options: CompileOptions,
    rules: RuleSet,
    owners: Owners,
    table: Arc<Table>,
    pods: HashMap<Name, PodEntry>,
    endpoints: Slab<()>,
    population: Population,
    nodes: Nodes,
    groups: Groups,
    policies: Policies,
    sets: Sets,
    access_lists: AccessLists,
}

/// Where a pod stands.
#[derive(Debug, Clone, Copy)]
struct PodEntry {
    endpoint: EndpointId,
    /// `None` for a pod in its node's network.
    identity: Option<u32>,
    node: Option<NodeId>,
}

/// How much a table is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Distinct combinations of namespace, labels and named ports.
    pub identities: usize,
    /// Distinct combinations of selectors.
    pub groups: usize,
    /// Distinct unions of policies.
    pub policy_sets: usize,
    /// Distinct address blocks with their holes.
    pub blocks: usize,
}

impl Compiler {
    /// A compiler with an empty rule set, whose table knows nobody but this node.
    #[must_use]
    pub fn new(options: CompileOptions) -> Self {
        let (nodes, local) = Nodes::new(options.local_node.as_deref());
        let mut edit = Table::empty().edit();
        edit.set_local_node(local);
        if let Some(node) = local {
            edit.set_node(node, nodes.compiled(node.0));
        }
        Self {
            rules: RuleSet::default(),
            owners: Owners::new(options.local_node.clone()),
            options,
            table: Arc::new(edit.finish(0)),
            pods: HashMap::new(),
            endpoints: Slab::default(),
            population: Population::default(),
            nodes,
            groups: Groups::default(),
            policies: Policies::default(),
            sets: Sets::default(),
            access_lists: AccessLists::default(),
        }
    }

    /// A compiler that holds `rules`, and their table under `revision`.
    ///
    /// # Errors
    ///
    /// All faults that [`crate::validate::validate`] finds.
    pub fn with(
        rules: RuleSet,
        options: &CompileOptions,
        revision: u64,
    ) -> Result<Self, Vec<Fault>> {
        let mut compiler = Self::new(options.clone());
        let change = Change { upserts: rules.into_objects().collect(), ..Change::default() };
        compiler.apply(change, revision)?;
        Ok(compiler)
    }

    /// The rule set.
    #[must_use]
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// The table that enforces it.
    #[must_use]
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// How much the table is made of.
    #[must_use]
    pub fn size(&self) -> Size {
        Size {
            identities: self.population.len(),
            groups: self.groups.len(),
            policy_sets: self.sets.len(),
            blocks: self.sets.blocks_len(),
        }
    }

    /// Brings rule set and table to the next state, whose table has `revision`.
    ///
    /// # Errors
    ///
    /// All faults of the change; then nothing has changed.
    pub fn apply(&mut self, change: Change, revision: u64) -> Result<&Arc<Table>, Vec<Fault>> {
        let update = self.check(&change)?;
        self.owners.take(update);
        self.carry_out(change, revision);
        Ok(&self.table)
    }

    /// What a change does to the owners of addresses, or all its faults, sorted by object and
    /// field.
    fn check(&self, change: &Change) -> Result<Update, Vec<Fault>> {
        let mut faults: Vec<Fault> = change.upserts.iter().flat_map(validate_object).collect();
        let mut named = BTreeSet::new();
        let upserts = change.upserts.iter().map(|object| object.key());
        let list_key = |it: &AccessListChange| ObjectKey {
            kind: Kind::AccessList,
            namespace: None,
            name: it.name.clone(),
        };
        let lists = change.access_lists.iter();
        faults.extend(lists.clone().flat_map(|it| validate_access_list_change(&self.rules, it)));
        for key in upserts.chain(change.removals.iter().cloned()).chain(lists.map(list_key)) {
            if !named.insert(key.clone()) {
                faults.push(fault_of(&key, "the change names it twice; want each object once"));
            }
        }
        for key in change.removals.iter().filter(|key| !self.rules.contains(key)) {
            faults.push(fault_of(key, "it is to be removed, but the rule set does not have it"));
        }
        match self.owners.after(change) {
            Ok(update) if faults.is_empty() => return Ok(update),
            Ok(_) => {}
            Err(others) => faults.extend(others),
        }
        faults.sort();
        Err(faults)
    }
}

fn fault_of(key: &ObjectKey, problem: &str) -> Fault {
    Fault {
        object: key.to_string(),
        field: "metadata.name".to_owned(),
        problem: problem.to_owned(),
    }
}

/// A length as a number counts it. No list of a rule set in memory comes near the limit.
fn number(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
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
