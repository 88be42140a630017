//! The trie of one family: from an address to the prefixes around it.

use std::sync::Arc;

use super::leaf::{View, Width};
use super::node::{Node, STRIDE};
use super::prefix::{Entry, Group, Key, Prefix};
use super::{BlockId, Groups};

/// Addresses of which one step is done before the next. Their reads of memory do not wait for
/// each other.
const BATCH_LEN: usize = 32;

/// The prefixes of a family. A copy shares with its original what neither changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trie {
    width: Width,
    root: Arc<Node>,
}

/// The prefixes around an address, outwards: those of a leaf, then those of each node above it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk<'a> {
    groups: &'a Groups,
    root: &'a Node,
    address: u128,
    width: Width,
    leaf: View<'a>,
    /// The next one in the leaf; 0 for none.
    number: u8,
    node: &'a Node,
    depth: u32,
    /// The next one in the node; 0 for none.
    place: usize,
}

impl Trie {
    /// A trie of sorted entries.
    pub(super) fn new(width: Width, entries: &[Entry]) -> Self {
        Self { width, root: Arc::new(Node::new(width, 0, entries)) }
    }

    pub(super) fn len(&self) -> usize {
        self.root.len()
    }

    pub(super) fn get(&self, prefix: Prefix) -> Option<Group> {
        self.root.get(self.width, prefix)
    }

    /// Adds, replaces or removes a prefix.
    pub(super) fn set(&mut self, prefix: Prefix, group: Option<Group>) {
        Arc::make_mut(&mut self.root).set(self.width, 0, prefix, group);
    }

    /// All prefixes, sorted.
    pub(super) fn prefixes(&self) -> Vec<Prefix> {
        let mut entries = Vec::with_capacity(self.len());
        self.root.collect(self.width, 0, 0, &mut entries);
        let mut prefixes: Vec<Prefix> = entries.iter().map(|entry| entry.prefix).collect();
        prefixes.sort_unstable();
        prefixes
    }

    pub(super) fn heap_bytes(&self) -> usize {
        const COUNTS: usize = 2 * size_of::<usize>();
        COUNTS + size_of::<Node>() + self.root.heap_bytes()
    }

    #[inline]
    pub(super) fn walk<'a>(&'a self, groups: &'a Groups, key: impl Key) -> Walk<'a> {
        let end = self.root.descend(key);
        let leaf = end.leaf.map_or(View::EMPTY, |leaf| leaf.view());
        let below = end.depth + STRIDE;
        let number = leaf.find(self.width, key, below);
        let (node, depth) = (end.node, end.depth);
        let place = node.innermost(key.byte(depth));
        let (root, address, width) = (&*self.root, key.bits(), self.width);
        Walk { groups, root, address, width, leaf, number, node, depth, place }
    }

    /// Gives the innermost group around each key, with the key's place in the list. All keys are
    /// a step further before any goes on to the next.
    #[inline]
    pub(super) fn innermost_many<'a, K: Key>(
        &'a self,
        groups: &'a Groups,
        keys: &[K],
        mut found: impl FnMut(usize, &'a [BlockId]),
    ) {
        // A constant where this is compiled for a family, which takes part of the work away.
        let width = K::WIDTH;
        let mut ends = [const { None }; BATCH_LEN];
        let mut numbers = [0; BATCH_LEN];
        for (keys, first) in keys.chunks(BATCH_LEN).zip((0..).step_by(BATCH_LEN)) {
            for (key, end) in keys.iter().zip(&mut ends) {
                *end = Some(self.root.descend(*key));
            }
            for ((key, end), number) in keys.iter().zip(&ends).zip(&mut numbers) {
                let end: &Option<super::node::End<'_>> = end;
                *number = end.map_or(0, |end| {
                    let leaf = end.leaf.map_or(View::EMPTY, |leaf| leaf.view());
                    leaf.find(width, *key, end.depth + STRIDE)
                });
            }
            for (((key, end), number), place) in keys.iter().zip(&ends).zip(&numbers).zip(first..) {
                let leaf = end.and_then(|end| end.leaf).map_or(View::EMPTY, |leaf| leaf.view());
                let group = (*number != 0).then(|| leaf.group(width, *number));
                found(
                    place,
                    match group {
                        Some((false, group)) => group,
                        _ => self.walk(groups, *key).next().unwrap_or_default(),
                    },
                );
            }
        }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = &'a [BlockId];

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.number != 0 {
            let group = self.leaf.group(self.width, self.number);
            self.number = self.leaf.outer(self.number);
            return Some(self.groups.all(group));
        }
        while self.place == 0 {
            self.depth = self.depth.checked_sub(STRIDE)?;
            self.node = self.root.at(self.address, self.depth);
            self.place = self.node.innermost(self.address.byte(self.depth));
        }
        let group = self.node.group(self.place);
        self.place = self.node.outer(self.place);
        Some(self.groups.all(group))
    }
}
