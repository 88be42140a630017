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
        let depth = depth + STRIDE;
        let rest = key.rest(depth);
        let number = leaf.settle(leaf.answer(leaf.run(rest.byte(0))), rest);
        // The node's own prefixes are asked for when those of the leaf are through.
        let (root, address, width) = (&*self.root, key.bits(), self.width);
        Walk { groups, root, address, width, leaf, number, node, depth, place: 0 }
    }

    /// Finds the innermost group around each address of this family, of which `key_of` has the
    /// keys; of [`BATCH_LEN`] addresses at most. Each step is done for all of them before the next,
    /// and what a step will read has been read before by a loop that does nothing else, so that
    /// as many reads as can be are under way at once.
    #[inline]
    pub(super) fn innermost_many<'a, K: Key>(
        &'a self,
        groups: &'a Groups,
        addresses: &[IpAddr],
        key_of: impl Fn(&IpAddr) -> Option<K>,
        innermost: &mut [&'a [BlockId]],
    ) {
        let (mut seeks, mut len) = ([Seek::NONE; BATCH_LEN], 0);
        for (address, place) in addresses.iter().zip(0..) {
            if let (Some(key), Some(seek)) = (key_of(address), seeks.get_mut(len)) {
                let End { depth, leaf, .. } = self.root.descend(key);
                let rest = key.rest(depth + STRIDE);
                *seek = Seek { leaf, rest, place };
                len += 1;
            }
        }
        let seeks = seeks.get(..len).unwrap_or_default();
        let value = |seek: &Seek<'_, K>| seek.rest.byte(0);
        let touched = seeks.iter().fold(0, |all, it| all ^ it.leaf.touch_run(value(it)));
        std::hint::black_box(touched);
        let mut numbers = [0; BATCH_LEN];
        for (seek, number) in seeks.iter().zip(&mut numbers) {
            *number = seek.leaf.answer(seek.leaf.run(value(seek)));
        }
        let both = || seeks.iter().zip(&numbers);
        let touched =
            both().fold(0, |all, (it, number)| all ^ it.leaf.touch_entry(K::WIDTH, *number));
        std::hint::black_box(touched);
        for (seek, number) in both() {
            let place = usize::from(seek.place);
            let (Some(address), Some(found)) = (addresses.get(place), innermost.get_mut(place))
            else {
                continue;
            };
            *found = match seek.leaf.settle(*number, seek.rest) {
                // Few addresses lie in none of the prefixes of their leaf.
                0 => key_of(address)
                    .and_then(|key| self.walk(groups, key).next())
                    .unwrap_or_default(),
                number => groups.all(seek.leaf.group(K::WIDTH, number)),
            };
        }
    }
}

/// How far the look-up of one address of a batch has come.
#[derive(Debug, Clone, Copy)]
struct Seek<'a, K> {
    leaf: View<'a>,
    /// The address past the bits that the leaf's prefixes share.
    rest: K,
    /// Its place in the batch.
    place: u8,
}

impl<K: Key> Seek<'_, K> {
    const NONE: Self = Self { leaf: View::EMPTY, rest: K::FIRST, place: 0 };
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
