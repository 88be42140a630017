//! Policy sets: what the policies that select an identity come to, in one direction and tier.
//!
//! Sets and blocks that are equal are stored once. Named ports are resolved on the
//! destination pod: for ingress that is the subject, so the numbers that it gives are part of
//! what tells sets apart; for egress it is the peer, so each number has a group of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sluice_core::blocks::{Block, BlockId, BlockTrie};
use sluice_core::ports::{PortMatch, PortSet, Rank};
use sluice_core::table::{
    Direction, Edit, GroupId, PolicyId, PolicySet, PolicySetParts, RuleRef, Tier, Tiers,
};

use super::groups::{GroupKey, Groups, PortOfName, Regrouped, Scope};
use super::lower::{Clause, PeerTerm, PortTerms};
use super::nodes::Nodes;
use super::numbers::Slab;
use super::policies::Policies;
use super::population::{Population, PortNames};
use crate::model::{LabelSelector, NamedPort, Protocol};

/// The sets of an identity, one for each direction and tier in the order of [`PLACES`].
pub(super) type SetIds = [Option<u32>; 6];

/// The places of [`SetIds`].
pub(super) const PLACES: [(Direction, Tier); 6] = [
    (Direction::Egress, Tier::Admin),
    (Direction::Egress, Tier::NetworkPolicy),
    (Direction::Egress, Tier::Baseline),
    (Direction::Ingress, Tier::Admin),
    (Direction::Ingress, Tier::NetworkPolicy),
    (Direction::Ingress, Tier::Baseline),
];

/// What tells two sets apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SetKey {
    pub(super) direction: Direction,
    /// All of one tier, in the order in which they are asked.
    pub(super) policies: Vec<PolicyId>,
    /// For ingress: the subject's named ports that the policies speak of.
    pub(super) subject_ports: Vec<NamedPort>,
}

#[derive(Debug)]
struct Entry {
    key: Arc<SetKey>,
    /// How many identities have it.
    users: usize,
    set: PolicySet,
}

/// All sets that some identity has, and what they are made of.
#[derive(Debug, Default)]
pub(super) struct Sets {
    sets: Slab<Entry>,
    by_key: HashMap<Arc<SetKey>, u32>,
    blocks: Slab<(Block, usize)>,
    blocks_by_key: HashMap<Block, BlockId, ahash::RandomState>,
    /// Blocks that have come since the table was last told.
    came: Vec<BlockId>,
    /// Blocks that have gone since then, among them some that only came since.
    gone: Vec<(BlockId, Block)>,
}

/// What a set refers to while it is built.
pub(super) struct World<'a> {
    pub(super) population: &'a mut Population,
    pub(super) nodes: &'a mut Nodes,
    pub(super) groups: &'a mut Groups,
    pub(super) regrouped: &'a mut Regrouped,
}

/// Entries of a port set in the making.
type Entries = Vec<(PortMatch, Rank)>;

/// A policy set in the making.
#[derive(Default)]
struct Draft {
    parts: PolicySetParts,
    any_peer: Entries,
    by_group: BTreeMap<GroupId, Entries>,
    /// With the place of the clause's entries in `bundles`. A clause may name thousands.
    by_block: Vec<(BlockId, usize)>,
    bundles: Vec<Entries>,
    by_group_in_block: BTreeMap<(BlockId, GroupId), Entries>,
}

impl Sets {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn blocks_len(&self) -> usize {
        self.blocks_by_key.len()
    }

    /// The set of a key, found or built, with one more user.
    pub(super) fn acquire(
        &mut self,
        key: SetKey,
        policies: &Policies,
        world: &mut World<'_>,
    ) -> u32 {
        if let Some(&known) = self.by_key.get(&key) {
            if let Some(entry) = self.sets.get_mut(known) {
                entry.users += 1;
            }
            return known;
        }
        let draft = self.draft(&key, policies, world);
        let (set, doubles) = draft.finish();
        doubles.into_iter().for_each(|block| self.release_block(block));
        let key = Arc::new(key);
        let id = self.sets.insert(Entry { key: Arc::clone(&key), users: 1, set });
        self.by_key.insert(key, id);
        id
    }

    /// One more user for each of these.
    pub(super) fn acquire_again(&mut self, ids: &SetIds) {
        for id in ids.iter().flatten() {
            if let Some(entry) = self.sets.get_mut(*id) {
                entry.users += 1;
            }
        }
    }

    /// Takes one user away; a set without users is dropped with what only it refers to.
    pub(super) fn release(&mut self, id: u32, world: &mut World<'_>) {
        let Some(entry) = self.sets.get_mut(id) else { return };
        entry.users -= 1;
        if entry.users > 0 {
            return;
        }
        let Some(Entry { key, set, .. }) = self.sets.remove(id) else { return };
        self.by_key.remove(&key);
        for group in set.groups() {
            world.groups.release(group, world.population, world.nodes, world.regrouped);
        }
        for block in set.blocks() {
            self.release_block(block);
        }
    }

    /// The sets of an identity by direction, as the table has them.
    pub(super) fn tiers(&self, ids: &SetIds) -> [Tiers; 2] {
        let of = |id: &Option<u32>| Some(self.sets.get((*id)?)?.set.clone());
        let [egress, ingress] = [&ids[..3], &ids[3..]].map(|ids| {
            let mut sets = ids.iter().map(of);
            let mut next = || sets.next().flatten();
            Tiers { admin: next(), network_policy: next(), baseline: next() }
        });
        [egress, ingress]
    }

    /// Tells the table of blocks that have come and gone.
    pub(super) fn write_blocks(&mut self, edit: &mut Edit) {
        // One by one they cost dozens of times what they do in a trie that is built anew.
        const FEW: usize = 64;
        const PART: usize = 32;
        let (came, gone) = (std::mem::take(&mut self.came), std::mem::take(&mut self.gone));
        if came.len() + gone.len() > FEW.max(self.blocks_len() / PART) {
            let blocks = self.blocks.iter().map(|(id, (block, _))| (BlockId(id), block));
            edit.set_blocks(BlockTrie::new(blocks));
            return;
        }
        for (id, block) in gone {
            edit.remove_block(id, &block);
        }
        for id in came {
            if let Some((block, _)) = self.blocks.get(id.0) {
                edit.insert_block(id, block);
            }
        }
    }

    pub(super) fn settle(&mut self) {
        self.sets.settle();
        self.blocks.settle();
    }

    fn draft(&mut self, key: &SetKey, policies: &Policies, world: &mut World<'_>) -> Draft {
        let mut draft = Draft::default();
        draft.parts.policies.clone_from(&key.policies);
        for &id in &key.policies {
            let Some(policy) = policies.get(id) else { continue };
            for clause in policy.clauses(key.direction).unwrap_or_default() {
                let rank = Rank(super::number(draft.parts.rules.len()));
                let rule = RuleRef { policy: id, index: clause.index, action: clause.action };
                draft.parts.rules.push(rule);
                self.add_clause(&mut draft, key, clause, rank, world);
            }
        }
        draft
    }

    fn add_clause(
        &mut self,
        draft: &mut Draft,
        key: &SetKey,
        clause: &Clause,
        rank: Rank,
        world: &mut World<'_>,
    ) {
        let mut fixed = clause.ports.fixed(rank);
        let mut named = Vec::new();
        match key.direction {
            Direction::Ingress => {
                let given = key.subject_ports.iter().filter(|port| clause.ports.names_port(port));
                fixed.extend(given.map(|port| (range(port.protocol, port.port, port.port), rank)));
            }
            Direction::Egress => {
                named = clause.ports.given_names(world.population.port_names());
            }
        }
        for peer in &clause.peers {
            match peer {
                PeerTerm::Everybody => draft.any_peer.extend(&fixed),
                PeerTerm::Block(block) => {
                    if !fixed.is_empty() {
                        let id = self.acquire_block(block);
                        draft.by_block.push((id, draft.bundles.len()));
                    }
                }
                PeerTerm::Pods { namespaces, pods } => {
                    if !fixed.is_empty() {
                        let group = pods_group(namespaces, pods, None);
                        draft.extend_group(world, group, &fixed);
                    }
                }
                PeerTerm::Nodes(selector) => {
                    if !fixed.is_empty() {
                        draft.extend_group(world, GroupKey::Nodes(selector.clone()), &fixed);
                    }
                }
            }
            for port in &named {
                let entry = (range(port.protocol, port.port, port.port), rank);
                self.add_named(draft, peer, port, entry, world);
            }
        }
        draft.bundles.push(fixed);
    }

    /// Speaks of one port that some pods give a name, to those of them that `peer` means.
    fn add_named(
        &mut self,
        draft: &mut Draft,
        peer: &PeerTerm,
        port: &PortOfName,
        entry: (PortMatch, Rank),
        world: &mut World<'_>,
    ) {
        let port = Some(port.clone());
        let everywhere = Scope::Selected(LabelSelector::everything());
        let anybody = LabelSelector::everything();
        match peer {
            PeerTerm::Pods { namespaces, pods } => {
                draft.extend_group(world, pods_group(namespaces, pods, port), &[entry]);
            }
            PeerTerm::Everybody => {
                draft.extend_group(world, pods_group(&everywhere, &anybody, port), &[entry]);
            }
            PeerTerm::Block(block) => {
                let group = draft.acquire_group(world, pods_group(&everywhere, &anybody, port));
                let block = self.acquire_block(block);
                let entries = draft.by_group_in_block.entry((block, group));
                if let std::collections::btree_map::Entry::Occupied(_) = &entries {
                    // The draft holds each once already.
                    self.release_block(block);
                    world.groups.release(group, world.population, world.nodes, world.regrouped);
                }
                entries.or_default().push(entry);
            }
            // Nodes give ports no names.
            PeerTerm::Nodes(_) => {}
        }
    }

    fn acquire_block(&mut self, block: &Block) -> BlockId {
        if let Some(&id) = self.blocks_by_key.get(block) {
            if let Some((_, users)) = self.blocks.get_mut(id.0) {
                *users += 1;
            }
            return id;
        }
        let id = BlockId(self.blocks.insert((block.clone(), 1)));
        self.blocks_by_key.insert(block.clone(), id);
        self.came.push(id);
        id
    }

    fn release_block(&mut self, id: BlockId) {
        let Some((_, users)) = self.blocks.get_mut(id.0) else { return };
        *users -= 1;
        if *users > 0 {
            return;
        }
        if let Some((block, _)) = self.blocks.remove(id.0) {
            self.blocks_by_key.remove(&block);
            self.gone.push((id, block));
        }
    }
}

impl Draft {
    /// A group that the set will name; the draft holds each once.
    fn acquire_group(&mut self, world: &mut World<'_>, key: GroupKey) -> GroupId {
        world.groups.acquire(key, world.population, world.nodes, world.regrouped)
    }

    fn extend_group(&mut self, world: &mut World<'_>, key: GroupKey, more: &[(PortMatch, Rank)]) {
        let group = self.acquire_group(world, key);
        if self.by_group.contains_key(&group) {
            world.groups.release(group, world.population, world.nodes, world.regrouped);
        }
        self.by_group.entry(group).or_default().extend(more);
    }

    /// The set; and each block that it holds once though several clauses name it, as often as
    /// that is too many.
    fn finish(self) -> (PolicySet, Vec<BlockId>) {
        let Self { mut parts, any_peer, by_group, by_block, bundles, by_group_in_block } = self;
        let mut ports = PortSets::default();
        parts.any_peer = (!any_peer.is_empty()).then(|| ports.of(any_peer));
        parts.by_group = by_group.into_iter().map(|(group, it)| (group, ports.of(it))).collect();
        let doubles = ports.of_blocks(by_block, &bundles, &mut parts.by_block);
        let in_blocks = by_group_in_block.into_iter();
        parts.by_group_in_block =
            in_blocks.map(|((block, group), it)| (block, group, ports.of(it))).collect();
        (PolicySet::new(&parts), doubles)
    }
}

/// The port sets of a set. Peers that follow each other mostly come from one rule, and have one
/// in common.
#[derive(Default)]
struct PortSets(Option<(Entries, Arc<PortSet>)>);

impl PortSets {
    fn of(&mut self, entries: Entries) -> Arc<PortSet> {
        if let Some((_, ports)) = self.0.as_ref().filter(|(known, _)| *known == entries) {
            return Arc::clone(ports);
        }
        let ports = Arc::new(PortSet::new(&entries));
        self.0 = Some((entries, Arc::clone(&ports)));
        ports
    }

    /// Gives each block the port set of all clauses that name it. Returns blocks that are named
    /// once more.
    fn of_blocks(
        &mut self,
        mut named: Vec<(BlockId, usize)>,
        bundles: &[Entries],
        by_block: &mut Vec<(BlockId, Arc<PortSet>)>,
    ) -> Vec<BlockId> {
        named.sort_unstable();
        // Most blocks are named by one clause, along with many others.
        let mut alone: Vec<Option<Arc<PortSet>>> = vec![None; bundles.len()];
        let mut doubles = Vec::new();
        for same in named.chunk_by(|(a, _), (b, _)| a == b) {
            let of = |bundle: usize| bundles.get(bundle).map_or(&[][..], |entries| entries);
            let (block, ports) = match same {
                [(block, bundle)] => {
                    let known = alone.get(*bundle).and_then(Clone::clone);
                    let ports = known.unwrap_or_else(|| self.of(of(*bundle).to_vec()));
                    if let Some(place) = alone.get_mut(*bundle) {
                        *place = Some(Arc::clone(&ports));
                    }
                    (*block, ports)
                }
                [(block, _), others @ ..] => {
                    doubles.extend(others.iter().map(|(block, _)| *block));
                    let all = same.iter().flat_map(|(_, bundle)| of(*bundle));
                    (*block, self.of(all.copied().collect()))
                }
                [] => continue,
            };
            by_block.push((block, ports));
        }
        doubles
    }
}

impl PortTerms {
    /// What it says without looking at any pod.
    fn fixed(&self, rank: Rank) -> Entries {
        let all = self.all.then_some((PortMatch::Any, rank));
        let ranges = self.ranges.iter();
        let ranges = ranges.map(|&(protocol, first, last)| (range(protocol, first, last), rank));
        all.into_iter().chain(ranges).collect()
    }

    /// Whether one of its names is that of `port`.
    fn names_port(&self, port: &NamedPort) -> bool {
        self.names.iter().any(|(protocol, name)| {
            *name == port.name && protocol.is_none_or(|protocol| protocol == port.protocol)
        })
    }

    /// Everything that pods say its names stand for.
    fn given_names(&self, known: &PortNames) -> Vec<PortOfName> {
        let mut given = Vec::new();
        for (protocol, name) in &self.names {
            for &(of, port) in known.get(name).into_iter().flat_map(BTreeMap::keys) {
                if protocol.is_none_or(|protocol| protocol == of) {
                    given.push(PortOfName { name: name.clone(), protocol: of, port });
                }
            }
        }
        given
    }
}

fn range(protocol: Protocol, first: u16, last: u16) -> PortMatch {
    PortMatch::Range { protocol: protocol.number(), first, last }
}

fn pods_group(namespaces: &Scope, pods: &LabelSelector, port: Option<PortOfName>) -> GroupKey {
    GroupKey::Pods { namespaces: namespaces.clone(), pods: pods.clone(), port }
}
