//! The trie of one family: from an address to the prefixes around it.

use std::net::IpAddr;
use std::sync::Arc;

use super::leaf::{View, Width};
use super::node::{End, Node, STRIDE};
use super::prefix::{Entry, Group, Key, Prefix};
use super::{BlockId, Groups};

/// Addresses of which one step is done before the next. Their reads of memory do not wait for
/// each other.
pub(super) const BATCH_LEN: usize = 32;

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
        let End { node, depth, leaf } = self.root.descend(key);
        let number = leaf.answer(leaf.run(key.byte(depth + STRIDE)));
        let seek = Seek { key, leaf, node, depth, number, is_settled: false, ..Seek::at(node) };
        self.walk_on(groups, &seek)
    }

    /// Finds the innermost group around each address of this family, of which `key_of` has the
    /// keys; of [`BATCH_LEN`] addresses at most. Each step is done for all of them before the next,
    /// and none branches on what it has just read for the first time.
    #[inline]
    pub(super) fn innermost_many<'a, K: Key>(
        &'a self,
        groups: &'a Groups,
        addresses: &[IpAddr],
        key_of: impl Fn(&IpAddr) -> Option<K>,
        innermost: &mut [&'a [BlockId]],
    ) {
        let mut seeks = [Seek::at(&self.root); BATCH_LEN];
        let mut len = 0;
        for (place, address) in addresses.iter().enumerate() {
            if let (Some(key), Some(seek)) = (key_of(address), seeks.get_mut(len)) {
                let End { node, depth, leaf } = self.root.descend(key);
                *seek = Seek { leaf, node, depth, key, place, ..*seek };
                len += 1;
            }
        }
        let seeks = seeks.get_mut(..len).unwrap_or_default();
        // As little as can be between these reads, so that most of them are under way at once.
        for seek in seeks.iter_mut() {
            seek.run = seek.leaf.touch(seek.key.byte(seek.depth + STRIDE));
        }
        for seek in seeks.iter_mut() {
            seek.run = seek.leaf.run(seek.key.byte(seek.depth + STRIDE));
        }
        for seek in seeks.iter_mut() {
            seek.number = seek.leaf.answer(seek.run);
        }
        for seek in seeks.iter_mut() {
            let rest = seek.key.rest(seek.depth + STRIDE);
            seek.is_settled = seek.leaf.is_settled(seek.number, rest);
        }
        for seek in seeks {
            if let Some(innermost) = innermost.get_mut(seek.place) {
                *innermost = self.walk_on(groups, seek).next().unwrap_or_default();
            }
        }
    }

    /// The prefixes around an address whose look-up has got this far.
    #[inline]
    fn walk_on<'a, K: Key>(&'a self, groups: &'a Groups, seek: &Seek<'a, K>) -> Walk<'a> {
        let Seek { leaf, mut number, node, key, .. } = *seek;
        let depth = seek.depth + STRIDE;
        if !seek.is_settled {
            number = leaf.settle(number, key.rest(depth));
        }
        // The node's own prefixes are asked for when those of the leaf are through.
        let (root, address, width) = (&*self.root, key.bits(), K::WIDTH);
        Walk { groups, root, address, width, leaf, number, node, depth, place: 0 }
    }
}

/// How far the look-up of one address of a batch has come.
#[derive(Debug, Clone, Copy)]
struct Seek<'a, K> {
    key: K,
    /// Its place in the batch.
    place: usize,
    leaf: View<'a>,
    node: &'a Node,
    depth: u32,
    run: usize,
    number: u8,
    is_settled: bool,
}

impl<'a, K: Key> Seek<'a, K> {
    fn at(node: &'a Node) -> Self {
        let leaf = View::EMPTY;
        Self { key: K::FIRST, place: 0, leaf, node, depth: 0, run: 0, number: 0, is_settled: true }
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
