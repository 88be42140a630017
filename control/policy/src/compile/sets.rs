//! Policy sets: what the policies of a pod come to, in one direction.
//!
//! Each distinct list of policies is worked out once, with one exception: a named port of an
//! ingress rule stands for a number that the subject chooses, so subjects that choose other
//! numbers have sets of their own. For egress the peer chooses, and named ports are resolved
//! peer by peer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use ipnet::IpNet;
use sluice_core::blocks::{Block, BlockId};
use sluice_core::ports::{PortMatch, PortSet};
use sluice_core::table::{
    Direction, IdentityId, PolicyId, PolicySet, PolicySetId, PortSetId, Rule, RuleId,
};

use super::index::Population;
use super::number;
use crate::model;
use crate::model::{LabelSelector, NamedPort, NetworkPolicy, Peer, Peers, Port, Ports};
use crate::validate::canonical_net;

/// What one rule admits to, ready to be merged with others.
type Entries = Vec<(PortMatch, RuleId)>;

/// The lists of a table.
type Lists = (Vec<PolicySet>, Vec<PortSet>, Vec<Block>, Vec<Rule>);

/// Builds policy sets and stores each distinct thing once.
pub(super) struct Sets<'p, 'a> {
    population: &'p Population<'a>,
    policies: Vec<Policy<'a>>,
    rules: Vec<Rule>,
    policy_sets: Vec<PolicySet>,
    policy_set_ids: HashMap<SetKey<'a>, PolicySetId>,
    port_sets: Vec<PortSet>,
    port_set_ids: HashMap<PortSet, PortSetId>,
    blocks: Vec<Block>,
    block_ids: HashMap<Block, BlockId>,
    selected: HashMap<PeerKey<'a>, Rc<[IdentityId]>>,
}

/// What tells two policy sets apart: the named ports are the subject's, as far as they matter.
type SetKey<'a> = (Direction, Vec<PolicyId>, Vec<&'a NamedPort>);

/// What tells two selections of peers apart: the namespace matters only where none is selected.
type PeerKey<'a> = (Option<&'a str>, Option<&'a LabelSelector>, Option<&'a LabelSelector>);

#[derive(Default)]
struct Policy<'a> {
    namespace: &'a str,
    egress: Vec<(RuleId, &'a model::Rule)>,
    ingress: Vec<(RuleId, &'a model::Rule)>,
    /// The port names that its ingress rules use.
    ingress_port_names: BTreeSet<&'a str>,
}

/// A policy set while it is put together.
#[derive(Default)]
struct Draft {
    any_peer: Entries,
    by_block: BTreeMap<BlockId, Entries>,
    /// What rules grant; identities refer to them by place.
    grants: Vec<Entries>,
    by_identity: Vec<(IdentityId, u32)>,
}

impl<'p, 'a> Sets<'p, 'a> {
    pub(super) fn new(population: &'p Population<'a>, policies: &[&'a NetworkPolicy]) -> Self {
        let mut rules = Vec::new();
        let policies = policies
            .iter()
            .zip((0u32..).map(PolicyId))
            .map(|(policy, id)| Policy::new(policy, id, &mut rules))
            .collect();
        Self {
            population,
            policies,
            rules,
            policy_sets: Vec::new(),
            policy_set_ids: HashMap::new(),
            port_sets: Vec::new(),
            port_set_ids: HashMap::new(),
            blocks: Vec::new(),
            block_ids: HashMap::new(),
            selected: HashMap::new(),
        }
    }

    /// The set of `policies`, sorted, as they hold for `subject`.
    pub(super) fn intern(
        &mut self,
        direction: Direction,
        policies: Vec<PolicyId>,
        subject: IdentityId,
    ) -> PolicySetId {
        let named = self.subject_ports(direction, &policies, subject);
        let key = (direction, policies, named);
        if let Some(&known) = self.policy_set_ids.get(&key) {
            return known;
        }
        let (direction, policies, named) = &key;
        let draft = self.draft(*direction, policies, named);
        let set = self.finish(policies, draft);
        let id = PolicySetId(number(self.policy_sets.len()));
        self.policy_sets.push(set);
        self.policy_set_ids.insert(key, id);
        id
    }

    pub(super) fn into_lists(self) -> Lists {
        (self.policy_sets, self.port_sets, self.blocks, self.rules)
    }

    /// The subject's named ports that some rule of `policies` speaks of.
    fn subject_ports(
        &self,
        direction: Direction,
        policies: &[PolicyId],
        subject: IdentityId,
    ) -> Vec<&'a NamedPort> {
        if direction == Direction::Egress {
            return Vec::new();
        }
        let policies = || policies.iter().filter_map(|id| self.policies.get(id.index()));
        let used = |port: &&&NamedPort| {
            policies().any(|policy| policy.ingress_port_names.contains(port.name.as_str()))
        };
        self.population.named_ports(subject).iter().filter(used).copied().collect()
    }

    fn draft(
        &mut self,
        direction: Direction,
        policies: &[PolicyId],
        named: &[&NamedPort],
    ) -> Draft {
        let mut draft = Draft::default();
        for &id in policies {
            // Taken out while its rules are worked through, since that fills the stores.
            let Some(policy) = self.policies.get_mut(id.index()).map(std::mem::take) else {
                continue;
            };
            let rules = match direction {
                Direction::Egress => &policy.egress,
                Direction::Ingress => &policy.ingress,
            };
            for &(id, rule) in rules {
                self.add_rule(&mut draft, direction, policy.namespace, named, id, rule);
            }
            if let Some(place) = self.policies.get_mut(id.index()) {
                *place = policy;
            }
        }
        draft
    }

    fn add_rule(
        &mut self,
        draft: &mut Draft,
        direction: Direction,
        namespace: &'a str,
        subject_ports: &[&NamedPort],
        id: RuleId,
        rule: &'a model::Rule,
    ) {
        let fixed = entries(
            id,
            &rule.ports,
            match direction {
                Direction::Egress => &[],
                Direction::Ingress => subject_ports,
            },
        );
        let grant = draft.grant(fixed.clone());
        let peer_chosen = direction == Direction::Egress && has_names(&rule.ports);
        let peers = match &rule.peers {
            Peers::Everybody => {
                draft.any_peer.extend(fixed);
                if peer_chosen {
                    let peers = self.holders_of_names(&rule.ports);
                    self.add_named(draft, id, &rule.ports, &peers);
                }
                return;
            }
            Peers::AnyOf(peers) => peers,
        };
        for peer in peers {
            match peer {
                Peer::Block(block) => {
                    if peer_chosen {
                        self.add_named_in_block(draft, id, &rule.ports, block);
                    }
                    if !fixed.is_empty() {
                        let block = self.block(block);
                        draft.by_block.entry(block).or_default().extend(&fixed);
                    }
                }
                Peer::Selectors { pods, namespaces } => {
                    let peers = self.select(namespace, pods.as_ref(), namespaces.as_ref());
                    if let Some(grant) = grant {
                        draft.by_identity.extend(peers.iter().map(|&peer| (peer, grant)));
                    }
                    if peer_chosen {
                        self.add_named(draft, id, &rule.ports, &peers);
                    }
                }
            }
        }
    }

    /// Grants each of `peers` the ports that it gives the names of `ports`.
    fn add_named(&self, draft: &mut Draft, id: RuleId, ports: &Ports, peers: &[IdentityId]) {
        let mut grants: HashMap<Entries, Option<u32>> = HashMap::new();
        for &peer in peers {
            let chosen = named_entries(id, ports, self.population.named_ports(peer));
            let grant =
                *grants.entry(chosen).or_insert_with_key(|chosen| draft.grant(chosen.clone()));
            draft.by_identity.extend(grant.map(|grant| (peer, grant)));
        }
    }

    /// Grants the pods within a block the ports that they give the names of `ports`. Each pod
    /// stands for itself, as a block of one address: its identity may have others outside.
    fn add_named_in_block(
        &mut self,
        draft: &mut Draft,
        id: RuleId,
        ports: &Ports,
        block: &model::Block,
    ) {
        let population = self.population;
        let cidr = canonical_net(block.cidr);
        let except: Vec<IpNet> = block.except.iter().copied().map(canonical_net).collect();
        for &(address, identity) in population.named_addresses() {
            if !cidr.contains(&address) || except.iter().any(|hole| hole.contains(&address)) {
                continue;
            }
            let chosen = named_entries(id, ports, population.named_ports(identity));
            if !chosen.is_empty() {
                let pod = model::Block { cidr: address.into(), except: Vec::new() };
                let pod = self.block(&pod);
                draft.by_block.entry(pod).or_default().extend(chosen);
            }
        }
    }

    /// All identities that have a port by one of the names in `ports`, sorted.
    fn holders_of_names(&self, ports: &'a Ports) -> Vec<IdentityId> {
        let mut holders: Vec<IdentityId> = names(ports)
            .flat_map(|(protocol, name)| self.population.with_port_name(name, protocol))
            .copied()
            .collect();
        holders.sort_unstable();
        holders.dedup();
        holders
    }

    fn select(
        &mut self,
        own: &'a str,
        pods: Option<&'a LabelSelector>,
        namespaces: Option<&'a LabelSelector>,
    ) -> Rc<[IdentityId]> {
        let key = (namespaces.is_none().then_some(own), pods, namespaces);
        let population = self.population;
        let select = || population.peers(own, pods, namespaces).into();
        Rc::clone(self.selected.entry(key).or_insert_with(select))
    }

    fn block(&mut self, block: &model::Block) -> BlockId {
        let mut except: Vec<_> = block.except.iter().copied().map(canonical_net).collect();
        except.sort_unstable();
        except.dedup();
        let block = Block { cidr: canonical_net(block.cidr), except };
        *self.block_ids.entry(block).or_insert_with_key(|block| {
            self.blocks.push(block.clone());
            BlockId(number(self.blocks.len() - 1))
        })
    }

    fn finish(&mut self, policies: &[PolicyId], mut draft: Draft) -> PolicySet {
        let any_peer = self.port_set(&draft.any_peer);
        let mut set = PolicySet { policies: policies.to_vec(), any_peer, ..PolicySet::default() };
        if draft.any_peer.iter().any(|(ports, _)| *ports == PortMatch::Any) {
            // Everybody is admitted to everything: no peer list would be looked at.
            return set;
        }
        for (block, entries) in &draft.by_block {
            set.by_block.extend(self.port_set(entries).map(|ports| (*block, ports)));
        }
        draft.by_identity.sort_unstable();
        draft.by_identity.dedup();
        let mut known: HashMap<Vec<u32>, Option<PortSetId>> = HashMap::new();
        // Neighbours mostly have the same grants, so the last answer is tried first.
        let mut last: (Vec<u32>, Option<PortSetId>) = (Vec::new(), None);
        for run in draft.by_identity.chunk_by(|a, b| a.0 == b.0) {
            let Some(&(identity, _)) = run.first() else { continue };
            if !last.0.iter().eq(run.iter().map(|(_, grant)| grant)) {
                let grants: Vec<u32> = run.iter().map(|(_, grant)| *grant).collect();
                let ports = *known
                    .entry(grants.clone())
                    .or_insert_with(|| self.port_set(&draft.merged(&grants)));
                last = (grants, ports);
            }
            set.by_identity.extend(last.1.map(|ports| (identity, ports)));
        }
        set
    }

    /// The number of the union of `entries`; `None` where it admits nothing.
    fn port_set(&mut self, entries: &[(PortMatch, RuleId)]) -> Option<PortSetId> {
        if entries.is_empty() {
            return None;
        }
        let set = PortSet::new(entries);
        Some(*self.port_set_ids.entry(set).or_insert_with_key(|set| {
            self.port_sets.push(set.clone());
            PortSetId(number(self.port_sets.len() - 1))
        }))
    }
}

impl<'a> Policy<'a> {
    fn new(policy: &'a NetworkPolicy, id: PolicyId, rules: &mut Vec<Rule>) -> Self {
        let mut numbered = |direction, list: &'a Option<Vec<model::Rule>>| {
            let mut numbered = Vec::new();
            for (rule, index) in list.iter().flatten().zip(0u32..) {
                numbered.push((RuleId(number(rules.len())), rule));
                rules.push(Rule { policy: id, direction, index });
            }
            numbered
        };
        let egress = numbered(Direction::Egress, &policy.egress);
        let ingress = numbered(Direction::Ingress, &policy.ingress);
        let ingress_port_names =
            ingress.iter().flat_map(|(_, rule)| names(&rule.ports)).map(|(_, name)| name).collect();
        Self { namespace: &policy.namespace, egress, ingress, ingress_port_names }
    }
}

impl Draft {
    /// The place of a grant; `None` where it admits nothing.
    fn grant(&mut self, entries: Entries) -> Option<u32> {
        if entries.is_empty() {
            return None;
        }
        self.grants.push(entries);
        Some(number(self.grants.len() - 1))
    }

    fn merged(&self, grants: &[u32]) -> Entries {
        let grants = grants.iter().filter_map(|&place| self.grants.get(place as usize));
        grants.flatten().copied().collect()
    }
}

/// What a rule's ports come to where `named` are the destination's named ports.
fn entries(id: RuleId, ports: &Ports, named: &[&NamedPort]) -> Entries {
    let list = match ports {
        Ports::All => return vec![(PortMatch::Any, id)],
        Ports::AnyOf(list) => list,
    };
    let mut entries = named_entries(id, ports, named);
    for item in list {
        let (first, last) = match item.port {
            Port::All => (0, u16::MAX),
            Port::Number(port) => (port, port),
            Port::Range { first, last } => (first, last),
            Port::Named(_) => continue,
        };
        entries.push((PortMatch::Range { protocol: item.protocol.number(), first, last }, id));
    }
    entries
}

/// What the names among a rule's ports come to.
fn named_entries(id: RuleId, ports: &Ports, named: &[&NamedPort]) -> Entries {
    let mut entries = Vec::new();
    for (protocol, name) in names(ports) {
        for port in named.iter().filter(|port| port.protocol == protocol && port.name == name) {
            let (first, last) = (port.port, port.port);
            entries.push((PortMatch::Range { protocol: protocol.number(), first, last }, id));
        }
    }
    entries
}

fn has_names(ports: &Ports) -> bool {
    names(ports).next().is_some()
}

fn names(ports: &Ports) -> impl Iterator<Item = (model::Protocol, &str)> {
    let list: &[model::PolicyPort] = match ports {
        Ports::All => &[],
        Ports::AnyOf(list) => list,
    };
    list.iter().filter_map(|item| match &item.port {
        Port::Named(name) => Some((item.protocol, name.as_str())),
        _ => None,
    })
}
