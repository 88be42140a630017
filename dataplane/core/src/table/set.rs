//! The policies that speak for an identity, in one direction and one tier.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use super::{PolicyId, number};
use crate::blocks::{BlockId, BlockTrie};
use crate::ports::{PortSet, Protocol, Rank};

number!(
    /// The number of a group of peers, such as all pods that a selector matches.
    GroupId
);

/// What a rule does with what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// This end allows it.
    Accept,
    /// This end denies it.
    Deny,
    /// The next tier decides.
    Pass,
}

/// A rule, by where it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RuleRef {
    /// The policy that holds it.
    pub policy: PolicyId,
    /// Its place in the list of its direction, counted from 0.
    pub index: u32,
    /// What it does with what it matches.
    pub action: Action,
}

/// The union of the policies that select an identity, in the order in which they are asked.
///
/// Of all rules that match a peer and a port, the one of the lowest rank decides. Lists of peers
/// are sorted by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicySet {
    /// The policies.
    pub policies: Vec<PolicyId>,
    /// Their rules; a [`Rank`] is a place here.
    pub rules: Vec<RuleRef>,
    /// The rules for every peer.
    pub any_peer: Option<Arc<PortSet>>,
    /// The rules for peers in a group.
    pub by_group: Vec<(GroupId, Arc<PortSet>)>,
    /// The rules for peers whose address lies in a block. Blocks match pods too.
    pub by_block: Vec<(BlockId, Arc<PortSet>)>,
    /// The rules for peers in a group whose address lies in a block: pods in a block, by the
    /// ports that they give names to. Few rules need it.
    pub by_group_in_block: Vec<(BlockId, GroupId, Arc<PortSet>)>,
}

/// Who is at the other end, and what is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) groups: &'a [GroupId],
    pub(crate) address: IpAddr,
    pub(crate) protocol: Protocol,
    pub(crate) port: Option<u16>,
}

impl PolicySet {
    /// The first rule that matches.
    #[inline]
    pub(crate) fn first_match(&self, blocks: &BlockTrie, asked: &Asked<'_>) -> Option<RuleRef> {
        let find = |ports: &PortSet| ports.find(asked.protocol, asked.port);
        let mut first = self.any_peer.as_deref().and_then(find);
        let mut consider = |rank: Option<Rank>| first = earlier(first, rank);
        in_both(&self.by_group, asked.groups, |_, ports| consider(find(ports)));
        if !self.by_block.is_empty() {
            for around in blocks.around(asked.address) {
                in_both(&self.by_block, around, |block, ports| {
                    if !blocks.is_hole(block, asked.address) {
                        consider(find(ports));
                    }
                });
            }
        }
        for (block, group, ports) in &self.by_group_in_block {
            if asked.groups.binary_search(group).is_ok() && contains(blocks, *block, asked.address)
            {
                consider(find(ports));
            }
        }
        self.rules.get(first?.0 as usize).copied()
    }

    /// All port sets of its rules.
    pub fn port_sets(&self) -> impl Iterator<Item = &PortSet> {
        let by_group = self.by_group.iter().map(|(_, ports)| ports);
        let by_block = self.by_block.iter().map(|(_, ports)| ports);
        let in_block = self.by_group_in_block.iter().map(|(_, _, ports)| ports);
        let sets = self.any_peer.iter().chain(by_group).chain(by_block).chain(in_block);
        sets.map(|ports| &**ports)
    }
}

#[inline]
fn earlier(a: Option<Rank>, b: Option<Rank>) -> Option<Rank> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

fn contains(blocks: &BlockTrie, block: BlockId, address: IpAddr) -> bool {
    blocks.around(address).any(|around| around.binary_search(&block).is_ok())
        && !blocks.is_hole(block, address)
}

/// One list much longer than the other is searched, not walked.
const SEARCH_FROM: usize = 8;

/// Calls `found` for each entry of `list` whose number is in `numbers` too. Both are sorted.
#[inline]
fn in_both<N: Ord + Copy, T>(list: &[(N, T)], numbers: &[N], mut found: impl FnMut(N, &T)) {
    if list.len() > SEARCH_FROM * numbers.len() {
        for number in numbers {
            if let Ok(at) = list.binary_search_by_key(number, |(number, _)| *number) {
                list.get(at).into_iter().for_each(|(number, value)| found(*number, value));
            }
        }
    } else if numbers.len() > SEARCH_FROM * list.len() {
        for (number, value) in list {
            if numbers.binary_search(number).is_ok() {
                found(*number, value);
            }
        }
    } else {
        let (mut list, mut numbers) = (list.iter(), numbers.iter());
        let (mut entry, mut number) = (list.next(), numbers.next());
        while let (Some((here, value)), Some(there)) = (entry, number) {
            let order = here.cmp(there);
            if order == Ordering::Equal {
                found(*here, value);
            }
            if order != Ordering::Greater {
                entry = list.next();
            }
            if order != Ordering::Less {
                number = numbers.next();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_in_both_lists_is_found_once_each(
            list in prop::collection::btree_set(0u32..60, 0..60),
            numbers in prop::collection::btree_set(0u32..60, 0..60),
        ) {
            let entries: Vec<(u32, u32)> = list.iter().map(|it| (*it, it * 2)).collect();
            let sorted: Vec<u32> = numbers.iter().copied().collect();
            let mut found = Vec::new();
            in_both(&entries, &sorted, |number, value| found.push((number, *value)));
            let both: BTreeSet<u32> = list.intersection(&numbers).copied().collect();
            prop_assert_eq!(found, both.into_iter().map(|it| (it, it * 2)).collect::<Vec<_>>());
        }
    }
}
