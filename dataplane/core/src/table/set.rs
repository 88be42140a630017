//! The policies that speak for an identity, in one direction and one tier.

mod layout;

use std::cmp::Ordering;
use std::hint::select_unpredictable;
use std::net::IpAddr;
use std::sync::Arc;

use wide::u32x16;

use self::layout::{Layout, NO_ANSWER, NO_CLASS};
use super::{PolicyId, number};
use crate::blocks::{BlockId, BlockTrie};
use crate::ports::{PortSet, Protocol};

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

/// What a [`PolicySet`] is made of. Lists of peers are sorted by number, each of which occurs
/// once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicySetParts {
    /// The policies.
    pub policies: Vec<PolicyId>,
    /// Their rules; a [`crate::ports::Rank`] is a place here, and what has another rank matches
    /// nothing.
    pub rules: Vec<RuleRef>,
    /// The rules for every peer.
    pub any_peer: Option<Arc<PortSet>>,
    /// The rules for peers in a group.
    pub by_group: Vec<(GroupId, Arc<PortSet>)>,
    /// The rules for peers whose address lies in a block. Blocks match pods too.
    pub by_block: Vec<(BlockId, Arc<PortSet>)>,
    /// The rules for peers in a group whose address lies in a block: pods in a block, by the
    /// ports that they give names to. Few sets have any.
    pub by_group_in_block: Vec<(BlockId, GroupId, Arc<PortSet>)>,
}

/// The union of the policies that select an identity, in the order in which they are asked.
///
/// Of all rules that match a peer and a port, the one of the lowest rank decides. A set is one
/// piece of memory of whole cache lines, of which a packet reads the first few. Copies share it.
#[derive(Clone, PartialEq)]
pub struct PolicySet(Arc<[u32x16]>);

/// Who is at the other end, and what is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    groups: &'a [GroupId],
    address: &'a IpAddr,
    /// Protocol and port as [`layout::port_key`] has them.
    port: u32,
}

impl<'a> Asked<'a> {
    #[inline]
    pub(crate) fn new(
        groups: &'a [GroupId],
        address: &'a IpAddr,
        protocol: Protocol,
        port: Option<u16>,
    ) -> Self {
        Self { groups, address, port: layout::port_key(protocol, port) }
    }
}

/// A rule that has matched, which [`PolicySet::rule`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Match(u32);

impl Match {
    #[inline]
    pub(crate) fn action(self) -> Action {
        layout::action_of(self.0)
    }
}

impl PolicySet {
    /// Puts a set together.
    #[must_use]
    pub fn new(parts: &PolicySetParts) -> Self {
        Self(layout::lay_out(parts))
    }

    /// The policies, in the order in which they are asked.
    pub fn policies(&self) -> impl Iterator<Item = PolicyId> {
        self.layout().policies().iter().copied().map(PolicyId)
    }

    /// Their rules, in the order in which they are asked.
    pub fn rules(&self) -> impl Iterator<Item = RuleRef> {
        self.layout().rules()
    }

    /// The groups that some rule speaks of, each once for every list that it is in.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        let layout = self.layout();
        let in_blocks = layout.in_blocks().iter().map(|[_, group, _]| *group);
        layout.groups.iter().copied().chain(in_blocks).map(GroupId)
    }

    /// The blocks that some rule speaks of, each once for every list that it is in.
    pub fn blocks(&self) -> impl Iterator<Item = BlockId> {
        let layout = self.layout();
        let in_blocks = layout.in_blocks().iter().map(|[block, _, _]| *block);
        layout.blocks.iter().copied().chain(in_blocks).map(BlockId)
    }

    /// The ports at which an answer may change: those where some rule begins to match, and those
    /// behind its last.
    #[must_use]
    pub fn borders(&self) -> Vec<(Protocol, u16)> {
        self.layout().borders()
    }

    /// Where the set lies: two that lie in one place are copies of each other.
    #[must_use]
    pub fn place(&self) -> usize {
        self.0.as_ptr().addr()
    }

    /// The first rule that matches.
    #[inline(always)]
    pub(crate) fn first_match(&self, blocks: &BlockTrie, asked: &Asked<'_>) -> Option<Match> {
        let set = self.layout();
        let mut first = match set.any_peer {
            NO_CLASS => NO_ANSWER,
            class => set.answer(class, asked.port),
        };
        first = first.min(set.by_group(asked));
        if set.speaks_of_blocks() {
            first = first.min(set.by_block(blocks, asked));
        }
        (first != NO_ANSWER).then_some(Match(first))
    }

    /// Whether some rule asks where an address lies.
    #[inline]
    pub(crate) fn speaks_of_blocks(&self) -> bool {
        self.layout().speaks_of_blocks()
    }

    /// The rule that has matched.
    #[inline]
    pub(crate) fn rule(&self, found: Match) -> RuleRef {
        self.layout().rule(found.0)
    }

    /// Reads what a judgement will read, so that the processor has it at hand afterwards.
    #[inline]
    pub(crate) fn touch(&self) -> u32 {
        /// Larger sets are searched, and nobody knows where before.
        const LINES: usize = 2;
        self.0.iter().take(LINES).fold(0, |seen, line| seen ^ line.as_array()[0])
    }

    #[inline]
    fn layout(&self) -> Layout<'_> {
        Layout::of(&self.0)
    }
}

impl Default for PolicySet {
    fn default() -> Self {
        Self::new(&PolicySetParts::default())
    }
}

impl std::fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicySet")
            .field("policies", &self.policies().collect::<Vec<_>>())
            .field("rules", &self.rules().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Layout<'_> {
    /// The first answer for the groups that somebody is in.
    #[inline]
    fn by_group(&self, asked: &Asked<'_>) -> u32 {
        let is_short = self.groups.len() <= COMPARED_MAX && asked.groups.len() <= COMPARED_WITH_MAX;
        if is_short && self.is_of_one_class() {
            let is_listed =
                asked.groups.iter().fold(false, |found, it| found | has(self.groups, it.0));
            return self.answer_if(is_listed, asked.port);
        }
        let mut first = NO_ANSWER;
        in_both(
            self.groups,
            asked.groups,
            |it| it.0,
            |at, _| {
                first = first.min(self.answer(self.class_of_group(at), asked.port));
            },
        );
        first
    }

    /// The first answer for the blocks that an address lies in. It stands apart so that sets
    /// without blocks have a short way.
    #[inline(never)]
    fn by_block(&self, blocks: &BlockTrie, asked: &Asked<'_>) -> u32 {
        let mut first = NO_ANSWER;
        if !self.blocks.is_empty() {
            for around in blocks.around(*asked.address) {
                in_both(
                    self.blocks,
                    around,
                    |it| it.0,
                    |at, block| {
                        let answer = self.answer(self.class_of_block(at), asked.port);
                        if answer < first && !blocks.is_hole(block, *asked.address) {
                            first = answer;
                        }
                    },
                );
            }
        }
        for [block, group, class] in self.in_blocks() {
            let (block, group) = (BlockId(*block), GroupId(*group));
            if asked.groups.binary_search(&group).is_ok() && contains(blocks, block, *asked.address)
            {
                first = first.min(self.answer(*class, asked.port));
            }
        }
        first
    }

    /// The answer of the only class for who is listed.
    #[inline]
    fn answer_if(&self, is_listed: bool, port: u32) -> u32 {
        select_unpredictable(is_listed, self.answer(0, port), NO_ANSWER)
    }
}

/// Whether a number is in a list. All are compared, so that no decision is taken which the
/// processor could guess wrongly.
#[inline]
fn has(list: &[u32], number: u32) -> bool {
    list.iter().fold(false, |found, it| found | (*it == number))
}

fn contains(blocks: &BlockTrie, block: BlockId, address: IpAddr) -> bool {
    blocks.around(address).any(|around| around.binary_search(&block).is_ok())
        && !blocks.is_hole(block, address)
}

/// One list much longer than the other is searched, not walked.
const SEARCH_FROM: usize = 8;

/// A list up to this length is compared as a whole with each of a few numbers.
const COMPARED_MAX: usize = 64;

/// How many numbers are few.
const COMPARED_WITH_MAX: usize = 8;

/// Calls `found` with each entry of `numbers` that is in `list` too, and its place there. Both
/// are sorted.
#[inline]
fn in_both<N: Copy>(
    list: &[u32],
    numbers: &[N],
    number: impl Fn(N) -> u32,
    mut found: impl FnMut(usize, N),
) {
    if list.len() > COMPARED_MAX || numbers.len() > COMPARED_WITH_MAX {
        return in_both_long(list, numbers, number, found);
    }
    for it in numbers {
        let below = list.iter().fold(0, |below, here| below + u32::from(*here < number(*it)));
        if list.get(below as usize) == Some(&number(*it)) {
            found(below as usize, *it);
        }
    }
}

#[inline(never)]
fn in_both_long<N: Copy>(
    list: &[u32],
    numbers: &[N],
    number: impl Fn(N) -> u32,
    mut found: impl FnMut(usize, N),
) {
    if list.len() > SEARCH_FROM * numbers.len() {
        for it in numbers {
            if let Ok(at) = list.binary_search(&number(*it)) {
                found(at, *it);
            }
        }
    } else if numbers.len() > SEARCH_FROM * list.len() {
        for (at, here) in list.iter().enumerate() {
            if let Ok(there) = numbers.binary_search_by_key(here, |it| number(*it)) {
                numbers.get(there).into_iter().for_each(|it| found(at, *it));
            }
        }
    } else {
        let (mut list, mut numbers) = (list.iter().enumerate(), numbers.iter());
        let (mut entry, mut next) = (list.next(), numbers.next());
        while let (Some((at, here)), Some(it)) = (entry, next) {
            let order = here.cmp(&number(*it));
            if order == Ordering::Equal {
                found(at, *it);
            }
            if order != Ordering::Greater {
                entry = list.next();
            }
            if order != Ordering::Less {
                next = numbers.next();
            }
        }
    }
}

#[cfg(test)]
mod tests;
