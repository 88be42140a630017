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
        let leaf = end.leaf;
        let number = leaf.find(key, end.depth + STRIDE);
        let (node, depth) = (end.node, end.depth);
        let place = node.innermost(key.byte(depth));
        let (root, address, width) = (&*self.root, key.bits(), self.width);
        Walk { groups, root, address, width, leaf, number, node, depth, place }
    }

    /// Gives the innermost group around each key, with the key's place in the list. Each step is
    /// done for all keys of a batch before the next, and none branches on what it has just read
    /// for the first time.
    #[inline]
    pub(super) fn innermost_many<'a, K: Key>(
        &'a self,
        groups: &'a Groups,
        keys: &[K],
        mut found: impl FnMut(usize, &'a [BlockId]),
    ) {
        let mut seeks = [Seek::at(&self.root); BATCH_LEN];
        for (keys, first) in keys.chunks(BATCH_LEN).zip((0..).step_by(BATCH_LEN)) {
            for (key, seek) in keys.iter().zip(&mut seeks) {
                let end = self.root.descend(*key);
                *seek = Seek { leaf: end.leaf, node: end.node, depth: end.depth, ..*seek };
            }
            // As little as can be between these reads, so that most of them are under way at once.
            for (key, seek) in keys.iter().zip(&mut seeks) {
                seek.run = seek.leaf.touch(key.byte(seek.depth + STRIDE));
            }
            for (key, seek) in keys.iter().zip(&mut seeks) {
                seek.run = seek.leaf.run(key.byte(seek.depth + STRIDE));
            }
            for seek in seeks.iter_mut().take(keys.len()) {
                seek.number = seek.leaf.answer(seek.run);
            }
            for (key, seek) in keys.iter().zip(&mut seeks) {
                let rest = key.rest(seek.depth + STRIDE);
                seek.is_settled = seek.leaf.is_settled(seek.number, rest);
            }
            for ((key, seek), place) in keys.iter().zip(&seeks).zip(first..) {
                let Seek { leaf, mut number, node, depth, .. } = *seek;
                if !seek.is_settled {
                    number = leaf.settle(number, key.rest(depth + STRIDE));
                }
                if number != 0 {
                    found(place, groups.all(leaf.group(K::WIDTH, number)));
                    continue;
                }
                let (root, address, width) = (&*self.root, key.bits(), K::WIDTH);
                let place_in = node.innermost(key.byte(depth));
                let mut walk = Walk {
                    groups,
                    root,
                    address,
                    width,
                    leaf,
                    number,
                    node,
                    depth,
                    place: place_in,
                };
                found(place, walk.next().unwrap_or_default());
            }
        }
    }
}

/// How far the look-up of one key of a batch has come.
#[derive(Debug, Clone, Copy)]
struct Seek<'a> {
    leaf: View<'a>,
    node: &'a Node,
    depth: u32,
    run: usize,
    number: u8,
    is_settled: bool,
}

impl<'a> Seek<'a> {
    fn at(node: &'a Node) -> Self {
        Self { leaf: View::EMPTY, node, depth: 0, run: 0, number: 0, is_settled: true }
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
