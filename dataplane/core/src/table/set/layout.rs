//! How a policy set lies in memory.
//!
//! Everything is a number of 32 bits. Peers and single ports come first, so that a judgement by a
//! small set reads one or two cache lines:
//!
//! ```text
//! head         the class of any peer, counts of all lists, class 0
//! groups       numbers, sorted
//! blocks       numbers, sorted
//! classes      of the groups, then of the blocks; missing where class 0 is the only one
//! in blocks    block, group, class
//! classes      all but class 0
//! ranges       of classes that have several
//! rules        policy, index, action
//! policies     numbers
//! ```
//!
//! A class is a port set that some peers have in common. It gives an answer: a rule's rank and,
//! in the lowest bits, its action, or [`NO_ANSWER`], which is greater than every other.

use std::collections::HashMap;
use std::sync::Arc;

use wide::u32x16;

use super::{Action, PolicySetParts, RuleRef};
use crate::ports::{PortSet, Protocol};
use crate::table::PolicyId;

/// No rule speaks of it.
pub(super) const NO_ANSWER: u32 = u32::MAX;

/// No rule speaks of any peer.
pub(super) const NO_CLASS: u32 = u32::MAX;

/// What lies in the place of an answer where a class has several ranges.
const SEVERAL: u32 = u32::MAX - 1;

/// No port: no range contains it.
const NO_PORT: u32 = u32::MAX;

const HEAD_LEN: usize = 12;
const CLASS_LEN: usize = 4;
const TRIPLE_LEN: usize = 3;
const ACTION_BITS: u32 = 2;

/// A set, part by part. What a judgement seldom needs is worked out when it does.
#[derive(Clone, Copy)]
pub(super) struct Layout<'a> {
    pub(super) any_peer: u32,
    pub(super) groups: &'a [u32],
    pub(super) blocks: &'a [u32],
    first_class: Class,
    in_blocks: u32,
    classes: u32,
    ranges: u32,
    rules: u32,
    policies: u32,
    /// From the classes of the peers on.
    rest: &'a [u32],
}

/// What the peers of one class may be asked for.
#[derive(Clone, Copy)]
struct Class {
    /// The answer for every protocol and port.
    any: u32,
    /// The first and the last port of a range, as [`port_key`] has them; where there are
    /// [`SEVERAL`], the place of the first and their count.
    low: u32,
    high: u32,
    answer: u32,
}

/// A protocol and port, in the order of both.
#[inline]
pub(super) fn port_key(protocol: Protocol, port: Option<u16>) -> u32 {
    port.map_or(NO_PORT, |port| u32::from(protocol) << 16 | u32::from(port))
}

/// What [`port_key`] was made of.
fn port_of(key: u32) -> (Protocol, u16) {
    let [_, protocol, high, low] = key.to_be_bytes();
    (protocol, u16::from_be_bytes([high, low]))
}

/// The action of an answer that is one.
#[inline]
pub(super) fn action_of(answer: u32) -> Action {
    match answer & ((1 << ACTION_BITS) - 1) {
        0 => Action::Accept,
        1 => Action::Deny,
        _ => Action::Pass,
    }
}

fn number_of(action: Action) -> u32 {
    match action {
        Action::Accept => 0,
        Action::Deny => 1,
        Action::Pass => 2,
    }
}

impl<'a> Layout<'a> {
    #[inline]
    pub(super) fn of(lines: &'a [u32x16]) -> Self {
        let words: &[u32] = bytemuck::cast_slice(lines);
        let (head, rest) = words.split_first_chunk().unwrap_or((&[0; HEAD_LEN], &[]));
        let &[any_peer, groups, blocks, in_blocks, any, low, high, answer, ref counts @ ..] = head;
        let &[classes, ranges, rules, policies] = counts;
        let (groups, rest) = split(rest, groups);
        let (blocks, rest) = split(rest, blocks);
        Self {
            any_peer,
            groups,
            blocks,
            first_class: Class { any, low, high, answer },
            in_blocks,
            classes,
            ranges,
            rules,
            policies,
            rest,
        }
    }

    /// What the class of a peer says of a port.
    #[inline]
    pub(super) fn answer(&self, class: u32, port: u32) -> u32 {
        if class == 0 && self.first_class.answer != SEVERAL {
            self.first_class.answer(port)
        } else {
            self.answer_of(class, port)
        }
    }

    /// Whether all peers have class 0.
    #[inline]
    pub(super) fn is_of_one_class(&self) -> bool {
        self.classes <= 1
    }

    /// The class of a group, by its place.
    #[inline]
    pub(super) fn class_of_group(&self, place: usize) -> u32 {
        if self.is_of_one_class() { 0 } else { self.rest.get(place).copied().unwrap_or(0) }
    }

    /// The class of a block, by its place.
    #[inline]
    pub(super) fn class_of_block(&self, place: usize) -> u32 {
        self.class_of_group(self.groups.len() + place)
    }

    /// Whether some rule asks where an address lies.
    #[inline]
    pub(super) fn speaks_of_blocks(&self) -> bool {
        (!self.blocks.is_empty()) | (self.in_blocks != 0)
    }

    /// Blocks, groups and their classes.
    #[inline]
    pub(super) fn in_blocks(&self) -> &'a [[u32; TRIPLE_LEN]] {
        if self.in_blocks == 0 { &[] } else { self.tail().in_blocks }
    }

    /// The rule of an answer that is one.
    #[inline]
    pub(super) fn rule(&self, answer: u32) -> RuleRef {
        let place = (answer >> ACTION_BITS) as usize;
        let rule = self.tail().rules.get(place).copied().unwrap_or_default();
        rule_of(rule)
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = RuleRef> + use<'a> {
        self.tail().rules.iter().copied().map(rule_of)
    }

    pub(super) fn policies(&self) -> &'a [u32] {
        self.tail().policies
    }

    /// Where answers may change: each range's first port, and the one past its last.
    pub(super) fn borders(&self) -> Vec<(Protocol, u16)> {
        let tail = self.tail();
        let classes = std::iter::once(self.first_class).chain(tail.classes.iter().map(Class::of));
        let single = classes.filter(|class| class.answer < SEVERAL).map(|it| (it.low, it.high));
        let ranges = single.chain(tail.ranges.iter().map(|[low, high, _]| (*low, *high)));
        let ends = ranges.flat_map(|(low, high)| {
            // The port after the last one is 0 of the next protocol.
            let past = (high & 0xffff != 0xffff).then_some(high + 1);
            std::iter::once(low).chain(past)
        });
        ends.map(port_of).collect()
    }

    #[inline(never)]
    fn answer_of(&self, class: u32, port: u32) -> u32 {
        let tail = self.tail();
        let class = match (class as usize).checked_sub(1) {
            None => self.first_class,
            Some(place) => match tail.classes.get(place) {
                Some(class) => Class::of(class),
                None => return NO_ANSWER,
            },
        };
        if class.answer != SEVERAL {
            return class.answer(port);
        }
        let (ranges, _) = split(split(tail.ranges, class.low).1, class.high);
        let after = ranges.partition_point(|[low, _, _]| *low <= port);
        let range = after.checked_sub(1).and_then(|at| ranges.get(at));
        let found = range.filter(|[_, high, _]| port <= *high).map(|[_, _, answer]| *answer);
        found.unwrap_or(NO_ANSWER).min(class.any)
    }

    fn tail(&self) -> Tail<'a> {
        let peers = if self.is_of_one_class() { 0 } else { self.groups.len() + self.blocks.len() };
        let (_, rest) = split_at(self.rest, peers);
        let (in_blocks, rest) = chunks(rest, self.in_blocks);
        let (classes, rest) = chunks(rest, self.classes.saturating_sub(1));
        let (ranges, rest) = chunks(rest, self.ranges);
        let (rules, rest) = chunks(rest, self.rules);
        let (policies, _) = split(rest, self.policies);
        Tail { in_blocks, classes, ranges, rules, policies }
    }
}

/// The parts that a judgement seldom reads.
struct Tail<'a> {
    in_blocks: &'a [[u32; TRIPLE_LEN]],
    classes: &'a [[u32; CLASS_LEN]],
    ranges: &'a [[u32; TRIPLE_LEN]],
    rules: &'a [[u32; TRIPLE_LEN]],
    policies: &'a [u32],
}

impl Class {
    const NOTHING: Self = Self { any: NO_ANSWER, low: 1, high: 0, answer: NO_ANSWER };

    fn of(&[any, low, high, answer]: &[u32; CLASS_LEN]) -> Self {
        Self { any, low, high, answer }
    }

    /// What a class without several ranges says of a port.
    #[inline]
    fn answer(self, port: u32) -> u32 {
        let is_within = (self.low <= port) & (port <= self.high);
        let answer = if is_within { self.answer } else { NO_ANSWER };
        answer.min(self.any)
    }
}

#[inline]
fn split<T>(words: &[T], count: u32) -> (&[T], &[T]) {
    split_at(words, count as usize)
}

/// All that there is, where it is too short.
#[inline]
fn split_at<T>(words: &[T], count: usize) -> (&[T], &[T]) {
    words.split_at_checked(count).unwrap_or((words, &[]))
}

#[inline]
fn chunks<const N: usize>(words: &[u32], count: u32) -> (&[[u32; N]], &[u32]) {
    let (chunks, rest) = split_at(words, count as usize * N);
    (chunks.as_chunks().0, rest)
}

fn rule_of([policy, index, action]: [u32; TRIPLE_LEN]) -> RuleRef {
    RuleRef { policy: PolicyId(policy), index, action: action_of(action) }
}

/// Lays out a set.
pub(super) fn lay_out(parts: &PolicySetParts) -> Arc<[u32x16]> {
    let mut classes = Classes::new(&parts.rules);
    let any_peer = parts.any_peer.as_ref().map_or(NO_CLASS, |ports| classes.of(ports));
    let by_group: Vec<u32> = parts.by_group.iter().map(|(_, it)| classes.of(it)).collect();
    let by_block: Vec<u32> = parts.by_block.iter().map(|(_, it)| classes.of(it)).collect();
    let in_blocks = parts.by_group_in_block.iter();
    let in_blocks: Vec<_> =
        in_blocks.map(|(block, group, it)| [block.0, group.0, classes.of(it)]).collect();
    let Classes { classes, ranges, .. } = classes;
    let [any, low, high, answer] = classes.first().copied().unwrap_or(Class::NOTHING.words());

    let mut words = vec![any_peer, count(&by_group), count(&by_block), count(&in_blocks)];
    words.extend([any, low, high, answer]);
    words.extend([count(&classes), count(&ranges), count(&parts.rules), count(&parts.policies)]);
    words.extend(parts.by_group.iter().map(|(group, _)| group.0));
    words.extend(parts.by_block.iter().map(|(block, _)| block.0));
    if classes.len() > 1 {
        words.extend(by_group.into_iter().chain(by_block));
    }
    words.extend(in_blocks.as_flattened());
    words.extend(classes.iter().skip(1).flatten());
    words.extend(ranges.as_flattened());
    for rule in &parts.rules {
        words.extend([rule.policy.0, rule.index, number_of(rule.action)]);
    }
    words.extend(parts.policies.iter().map(|policy| policy.0));
    let (lines, last) = words.as_chunks::<16>();
    let mut last_line = [0; 16];
    for (place, word) in last_line.iter_mut().zip(last) {
        *place = *word;
    }
    let last_line = (!last.is_empty()).then_some(last_line);
    lines.iter().copied().chain(last_line).map(u32x16::from).collect()
}

fn count<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

/// The classes of a set in the making.
struct Classes<'a> {
    rules: &'a [RuleRef],
    known: HashMap<&'a PortSet, u32>,
    last: Option<(&'a Arc<PortSet>, u32)>,
    classes: Vec<[u32; CLASS_LEN]>,
    ranges: Vec<[u32; TRIPLE_LEN]>,
}

impl<'a> Classes<'a> {
    fn new(rules: &'a [RuleRef]) -> Self {
        Self { rules, known: HashMap::new(), last: None, classes: Vec::new(), ranges: Vec::new() }
    }

    fn of(&mut self, ports: &'a Arc<PortSet>) -> u32 {
        // The peers of a rule mostly follow each other.
        if let Some((_, class)) = self.last.filter(|(last, _)| Arc::ptr_eq(last, ports)) {
            return class;
        }
        let class = match self.known.get(&**ports) {
            Some(class) => *class,
            None => self.add(ports),
        };
        self.last = Some((ports, class));
        class
    }

    fn add(&mut self, ports: &'a PortSet) -> u32 {
        let rules = self.rules;
        let answer = |rank: crate::ports::Rank| {
            let rule = rules.get(rank.index())?;
            Some(rank.0 << ACTION_BITS | number_of(rule.action))
        };
        let any = ports.any().and_then(answer).unwrap_or(NO_ANSWER);
        let ranges: Vec<[u32; TRIPLE_LEN]> = ports
            .ranges()
            .map(|(protocol, first, last, rank)| {
                let [low, high] = [first, last].map(|port| port_key(protocol, Some(port)));
                [low, high, answer(rank).unwrap_or(NO_ANSWER)]
            })
            .collect();
        let words = match ranges.as_slice() {
            [] => Class { any, ..Class::NOTHING },
            &[[low, high, answer]] => Class { any, low, high, answer },
            several => {
                Class { any, low: count(&self.ranges), high: count(several), answer: SEVERAL }
            }
        }
        .words();
        if ranges.len() > 1 {
            self.ranges.extend(ranges);
        }
        let class = count(&self.classes);
        self.classes.push(words);
        self.known.insert(ports, class);
        class
    }
}

impl Class {
    fn words(self) -> [u32; CLASS_LEN] {
        [self.any, self.low, self.high, self.answer]
    }
}
