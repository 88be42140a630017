//! A node: the prefixes that end within 8 bits, and what lies below each of the 256 values of
//! these.
//!
//! Below a value that few prefixes share is a [`Leaf`]; where they are more than that holds, a node
//! for the next 8 bits. Which of both depends on how many there are and on nothing else, so that
//! the same prefixes make the same trie, whatever the order in which they came. Nodes and leaves
//! are behind counted pointers: a changed copy shares all but those on the way to the change.

use std::ops::Range;
use std::sync::Arc;

use super::BlockId;
use super::leaf::{LEAF_LEN_MAX, View, Width};
use super::leaves::Leaves;
use super::prefix::{Entry, Group, Key, Prefix};

/// The bits that a node decides.
pub(super) const STRIDE: u32 = 8;

/// The values of these bits.
const VALUES: usize = 1 << STRIDE;

/// A part of the trie, below some leading bits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// The prefixes in it and below.
    len: usize,
    own: Own,
    leaves: Leaves,
    /// By value; empty where there are none. A value has a leaf or a node.
    nodes: Vec<Option<Arc<Self>>>,
}

/// The prefixes that end within a node's bits, by place.
///
/// Places are those of a heap: 1 is the prefix without any of these bits, and within the one at
/// place `p` are those at `2 * p` and `2 * p + 1`. Only the root has the first.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Own {
    /// By value: the place of the innermost prefix that contains it; 0 for none.
    innermost: [u16; VALUES],
    is_there: Places,
    is_shared: Places,
    first: [BlockId; 2 * VALUES],
}

/// A set of places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Places([u64; 2 * VALUES / 64]);

/// Where the descent for an address ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct End<'a> {
    pub(super) node: &'a Node,
    /// The leading bits that all below the node share.
    pub(super) depth: u32,
    pub(super) leaf: View<'a>,
}

impl Node {
    /// A node of sorted entries that share their first `depth` bits.
    pub(super) fn new(width: Width, depth: u32, entries: &[Entry]) -> Self {
        let mut node = Self { len: entries.len(), ..Self::default() };
        let mut leaves = Vec::new();
        for alike in entries.chunk_by(|a, b| a.prefix.byte(depth) == b.prefix.byte(depth)) {
            let ends = alike.iter().take_while(|it| it.prefix.len <= depth + STRIDE).count();
            let (own, longer) = alike.split_at(ends);
            for Entry { prefix, group } in own {
                node.own.set(place_of(*prefix, depth), Some(*group));
            }
            let value = alike.first().map_or(0, |entry| entry.prefix.byte(depth));
            if longer.len() > LEAF_LEN_MAX {
                node.put(width, depth, value, longer);
            } else if !longer.is_empty() {
                leaves.push((value, longer));
            }
        }
        node.leaves = Leaves::new(width, depth + STRIDE, &leaves);
        node.own.find_innermost(0..VALUES);
        node
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Goes down towards an address as far as there are nodes.
    #[inline]
    pub(super) fn descend(&self, key: impl Key) -> End<'_> {
        let (mut node, mut depth) = (self, 0);
        loop {
            let value = key.byte(depth);
            match node.nodes.get(value) {
                Some(Some(below)) => (node, depth) = (below, depth + STRIDE),
                _ => {
                    return End { node, depth, leaf: node.leaves.get(value) };
                }
            }
        }
    }

    /// The node on the way to an address that lies at a depth.
    pub(super) fn at(&self, key: impl Key, depth: u32) -> &Self {
        let mut node = self;
        for above in (0..depth).step_by(STRIDE as usize) {
            let Some(Some(below)) = node.nodes.get(key.byte(above)) else { break };
            node = below;
        }
        node
    }

    /// The place of the innermost prefix of its own around a value, 0 for none.
    #[inline]
    pub(super) fn innermost(&self, value: usize) -> usize {
        self.own.innermost.get(value).map_or(0, |place| usize::from(*place))
    }

    /// The next place outwards that has a prefix, 0 for none.
    #[inline]
    pub(super) fn outer(&self, place: usize) -> usize {
        self.own.there_or_outer(place / 2)
    }

    /// Whether more than one block has the prefix at a place, and the first that has.
    #[inline]
    pub(super) fn group(&self, place: usize) -> (bool, &[BlockId]) {
        let first = self.own.first.get(place..=place).unwrap_or_default();
        (self.own.is_shared.has(place), first)
    }

    /// The group of a prefix.
    pub(super) fn get(&self, width: Width, prefix: Prefix) -> Option<Group> {
        let mut depth = 0;
        let mut node = self;
        loop {
            if prefix.len <= depth + STRIDE {
                return node.own.get(place_of(prefix, depth));
            }
            let value = prefix.byte(depth);
            depth += STRIDE;
            if let Some(Some(below)) = node.nodes.get(value) {
                node = below;
                continue;
            }
            let entries = node.leaf_entries(width, depth, value, prefix);
            let at = entries.binary_search_by_key(&prefix, |entry| entry.prefix).ok()?;
            return entries.get(at).map(|entry| entry.group);
        }
    }

    /// Adds, replaces or removes a prefix. `depth` is that of this node.
    pub(super) fn set(&mut self, width: Width, depth: u32, prefix: Prefix, group: Option<Group>) {
        if prefix.len <= depth + STRIDE {
            let place = place_of(prefix, depth);
            self.len -= usize::from(self.own.is_there.has(place));
            self.len += usize::from(group.is_some());
            self.own.set(place, group);
            let (first, values) = (prefix.byte(depth), VALUES >> (prefix.len - depth));
            self.own.find_innermost(first..first + values);
            return;
        }
        let (value, below) = (prefix.byte(depth), depth + STRIDE);
        if let Some(Some(node)) = self.nodes.get_mut(value) {
            let node = Arc::make_mut(node);
            self.len -= node.len;
            node.set(width, below, prefix, group);
            self.len += node.len;
            if node.len <= LEAF_LEN_MAX {
                let mut entries = Vec::with_capacity(node.len);
                node.collect(width, below, leading(prefix.start, below), &mut entries);
                entries.sort_unstable_by_key(|entry| entry.prefix);
                self.put(width, depth, value, &entries);
            }
            return;
        }
        let mut entries = self.leaf_entries(width, below, value, prefix);
        self.len -= entries.len();
        match (entries.binary_search_by_key(&prefix, |entry| entry.prefix), group) {
            (Ok(at), Some(group)) => {
                entries.iter_mut().skip(at).take(1).for_each(|it| it.group = group)
            }
            (Ok(at), None) => drop(entries.remove(at)),
            (Err(at), Some(group)) => entries.insert(at, Entry { prefix, group }),
            (Err(_), None) => {}
        }
        self.len += entries.len();
        self.put(width, depth, value, &entries);
    }

    /// Adds all entries in it and below, in no order. `above` has the bits that they share.
    pub(super) fn collect(&self, width: Width, depth: u32, above: u128, entries: &mut Vec<Entry>) {
        entries.extend(self.own.entries(depth, above));
        let below = depth + STRIDE;
        let start = |value: u128| above | value << (128 - below);
        entries.extend(self.leaves.entries(width, below, |value| start(value as u128)));
        for (value, node) in (0..).zip(&self.nodes) {
            node.iter().for_each(|node| node.collect(width, below, start(value), entries));
        }
    }

    /// The bytes of memory that it and all below take, itself not counted.
    pub(super) fn heap_bytes(&self) -> usize {
        const COUNTS: usize = 2 * size_of::<usize>();
        let list = self.nodes.capacity() * size_of::<Option<Arc<Self>>>();
        let nodes = self.nodes.iter().flatten();
        let nodes: usize = nodes.map(|node| COUNTS + size_of::<Self>() + node.heap_bytes()).sum();
        self.leaves.heap_bytes() + list + nodes
    }

    /// Puts what these entries make below a value, in the place of what was there.
    fn put(&mut self, width: Width, depth: u32, value: usize, entries: &[Entry]) {
        let below = depth + STRIDE;
        let is_leaf = entries.len() <= LEAF_LEN_MAX;
        let node = (!is_leaf).then(|| Arc::new(Self::new(width, below, entries)));
        self.leaves.set(width, below, value, if is_leaf { entries } else { &[] });
        put(&mut self.nodes, value, node);
    }

    /// What the leaf below a value holds, whose prefixes share `depth` bits with `prefix`.
    fn leaf_entries(&self, width: Width, depth: u32, value: usize, prefix: Prefix) -> Vec<Entry> {
        let leaf = self.leaves.get(value);
        leaf.entries(width, depth, leading(prefix.start, depth)).collect()
    }
}

impl Own {
    fn set(&mut self, place: usize, group: Option<Group>) {
        self.is_there.set(place, group.is_some());
        self.is_shared.set(place, group.is_some_and(|group| group.is_shared));
        if let Some(first) = self.first.get_mut(place) {
            *first = group.map_or(BlockId(0), |group| group.first);
        }
    }

    fn get(&self, place: usize) -> Option<Group> {
        let first = self.first.get(place).filter(|_| self.is_there.has(place));
        first.map(|first| Group { first: *first, is_shared: self.is_shared.has(place) })
    }

    fn there_or_outer(&self, mut place: usize) -> usize {
        while place != 0 && !self.is_there.has(place) {
            place /= 2;
        }
        place
    }

    fn find_innermost(&mut self, values: Range<usize>) {
        for value in values {
            let place = self.there_or_outer(VALUES + value);
            if let Some(innermost) = self.innermost.get_mut(value) {
                *innermost = u16::try_from(place).unwrap_or(0);
            }
        }
    }

    fn entries(&self, depth: u32, above: u128) -> impl Iterator<Item = Entry> {
        (1..2 * VALUES).filter_map(move |place| {
            let group = self.get(place)?;
            let bits = place.ilog2();
            let value = (place - (1 << bits)) as u128;
            let start = value.checked_shl(128 - depth - bits).unwrap_or(0);
            Some(Entry { prefix: Prefix { start: above | start, len: depth + bits }, group })
        })
    }
}

impl Default for Own {
    fn default() -> Self {
        Self {
            innermost: [0; VALUES],
            is_there: Places::default(),
            is_shared: Places::default(),
            first: [BlockId(0); 2 * VALUES],
        }
    }
}

impl Places {
    #[inline]
    fn has(&self, place: usize) -> bool {
        self.0.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    fn set(&mut self, place: usize, is_there: bool) {
        if let Some(word) = self.0.get_mut(place / 64) {
            *word = *word & !(1 << (place % 64)) | u64::from(is_there) << (place % 64);
        }
    }
}

/// The place of a prefix of a node's own.
fn place_of(prefix: Prefix, depth: u32) -> usize {
    let bits = prefix.len - depth;
    1 << bits | prefix.byte(depth) >> (STRIDE - bits)
}

fn leading(bits: u128, len: u32) -> u128 {
    bits & !u128::MAX.checked_shr(len).unwrap_or(0)
}

/// A list of nothing is kept empty.
fn put<T>(list: &mut Vec<Option<T>>, value: usize, it: Option<T>) {
    if list.is_empty() && it.is_some() {
        list.resize_with(VALUES, || None);
    }
    let is_gone = it.is_none();
    if let Some(place) = list.get_mut(value) {
        *place = it;
        if is_gone && list.iter().all(Option::is_none) {
            *list = Vec::new();
        }
    }
}
