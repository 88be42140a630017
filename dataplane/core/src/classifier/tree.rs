//! The tree as it lies in memory, and the descent of one packet.

use std::sync::Arc;

use super::block::{Block, NO_RANK, Spread, Words};
use super::build::Free;
use crate::ports::Rank;

/// References in a part of the tree, and blocks in one: what a change copies at least. A part
/// has room for the links of the largest node.
pub(super) const LINKS_PART_LEN: usize = 1 << 14;
pub(super) const BLOCKS_PART_LEN: usize = 32;

/// Rules of one family.
#[derive(Debug, Clone)]
pub(super) struct Tree<const A: usize> {
    pub(super) root: Link,
    pub(super) links: Parts<Link>,
    pub(super) blocks: Parts<Block<A>>,
    pub(super) free: Free,
    pub(super) len: usize,
    /// Rules that came and went since the whole was planted.
    pub(super) changes: usize,
}

/// Where to go on: to nothing, to a block, or to a node, whose links lie in a row. The first of
/// them goes beside, to the rules that leave the bits open; the others to the children.
///
/// ```text
///  bit 63    62     46..51       41..46  36..41  32..36  0..32
///      node  block  spread_max   bits    shift   word    place
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Link(u64);

/// What a node looks at: `bits` bits of a word of the key, those above `shift`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) word: u8,
    pub(super) shift: u8,
    pub(super) bits: u8,
    /// A rule that concerns up to two to this power of the children lies with them, any other
    /// beside.
    pub(super) spread_max: u8,
}

impl Link {
    pub(super) const NOTHING: Self = Self(0);
    const IS_BLOCK: u64 = 1 << 62;
    const IS_NODE: u64 = 1 << 63;

    #[inline]
    pub(super) fn to_block(at: u32) -> Self {
        Self(Self::IS_BLOCK | u64::from(at))
    }

    #[inline]
    pub(super) fn to_node(at: u32, cut: Cut) -> Self {
        let word = (u64::from(cut.word) << 32) | (u64::from(cut.shift) << 36);
        let bits = (u64::from(cut.bits) << 41) | (u64::from(cut.spread_max) << 46);
        Self(Self::IS_NODE | bits | word | u64::from(at))
    }

    #[inline]
    pub(super) fn is_nothing(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(super) fn is_node(self) -> bool {
        self.0 & Self::IS_NODE != 0
    }

    #[inline]
    pub(super) fn is_block(self) -> bool {
        self.0 & Self::IS_BLOCK != 0
    }

    /// The place of the block, or of the node's first link.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a place is the lower half")]
    pub(super) fn at(self) -> u32 {
        self.0 as u32
    }

    #[expect(clippy::cast_possible_truncation, reason = "all fields are of five bits or fewer")]
    pub(super) fn cut(self) -> Cut {
        Cut {
            word: self.field(32, 0xf) as u8,
            shift: self.field(36, 0x1f) as u8,
            bits: self.field(41, 0x1f) as u8,
            spread_max: self.field(46, 0x1f) as u8,
        }
    }

    /// The place of the child's link in the node's row.
    #[inline]
    fn child(self, key: &Words) -> usize {
        let word = key.get(self.field(32, 0xf)).copied().unwrap_or(0);
        let all = (1usize << self.field(41, 0x1f)) - 1;
        ((word as usize >> self.field(36, 0x1f)) & all) + 1
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "no field is wider than the mask")]
    fn field(self, shift: u32, mask: usize) -> usize {
        (self.0 >> shift) as usize & mask
    }
}

/// A list in parts that copies share.
#[derive(Debug, Clone)]
pub(super) struct Parts<T>(pub(super) Vec<Arc<[T]>>);

impl<const A: usize> Tree<A> {
    /// The links from a place on, at least as far as a node's row goes.
    #[inline]
    pub(super) fn row(&self, at: u32) -> &[Link] {
        let part = self.links.0.get(at as usize / LINKS_PART_LEN);
        part.and_then(|part| part.get(at as usize % LINKS_PART_LEN..)).unwrap_or_default()
    }

    #[inline]
    pub(super) fn block(&self, at: u32) -> Option<&Block<A>> {
        self.blocks.0.get(at as usize / BLOCKS_PART_LEN)?.get(at as usize % BLOCKS_PART_LEN)
    }

    /// From a node beside, and to the child.
    #[inline]
    fn step(&self, node: Link, key: &Words) -> [Link; 2] {
        let row = self.row(node.at());
        let child = row.get(node.child(key)).copied().unwrap_or_default();
        [row.first().copied().unwrap_or_default(), child]
    }

    /// The rank of the first rule that matches.
    #[inline]
    pub(super) fn first_match(&self, key: &Words) -> Option<Rank> {
        let best = self.descend(self.root, key, &Spread::new(key), NO_RANK);
        (best != NO_RANK).then_some(Rank(best))
    }

    /// The lower of `best` and the first rank that matches below `link`. Calls itself as deep as
    /// the tree is, which is bounded.
    fn descend(&self, mut link: Link, key: &Words, spread: &Spread<A>, mut best: u32) -> u32 {
        while link.is_node() {
            let [beside, child] = self.step(link, key);
            if !beside.is_nothing() {
                best = self.descend(beside, key, spread, best);
            }
            link = child;
        }
        while let Some(block) = link.is_block().then(|| self.block(link.at())).flatten() {
            // What comes behind is no better.
            if block.first_rank() >= best {
                break;
            }
            best = best.min(block.first_match(spread));
            link = block.next;
        }
        best
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let links: usize = self.links.0.iter().map(|part| size_of_val::<[Link]>(part)).sum();
        let blocks: usize = self.blocks.0.iter().map(|part| size_of_val::<[Block<A>]>(part)).sum();
        links + blocks + self.free.heap_bytes()
    }
}

impl<const A: usize> Default for Tree<A> {
    fn default() -> Self {
        Self {
            root: Link::NOTHING,
            links: Parts(Vec::new()),
            blocks: Parts(Vec::new()),
            free: Free::default(),
            len: 0,
            changes: 0,
        }
    }
}
