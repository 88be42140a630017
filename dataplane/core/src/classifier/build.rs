//! How a tree comes about: what lies where.

use std::collections::HashMap;

use super::block::{Block, Entry, LANES};
use super::cut::choose;
use super::tree::{BLOCKS_PART_LEN, LINKS_PART_LEN, Link, Tree};

/// Nodes on top of each other, those beside included; further down rules are a list.
const DEPTH_MAX: u32 = 12;

/// Rules that are a list in any case: two blocks take less time than a node and a block.
const LIST_LEN_MAX: usize = 2 * LANES;

/// What may be used again.
#[derive(Debug, Clone, Default)]
pub(super) struct Free {
    blocks: Vec<u32>,
    /// Rows of links, by the bits of their nodes.
    rows: Vec<Vec<u32>>,
    /// Where the links begin that no row has had yet, and how many there are.
    untouched: (u32, usize),
}

impl<const A: usize> Tree<A> {
    pub(super) fn new(mut entries: Vec<Entry<A>>) -> Self {
        entries.sort_unstable_by_key(|entry| entry.rank);
        let mut tree = Self { len: entries.len(), ..Self::default() };
        tree.root = tree.grow(&entries, 0);
        tree
    }

    /// Plants entries, which are in the order of their ranks.
    pub(super) fn grow(&mut self, entries: &[Entry<A>], depth: u32) -> Link {
        let is_list = entries.len() <= LIST_LEN_MAX || depth >= DEPTH_MAX;
        let Some(cut) = (if is_list { None } else { choose(entries) }) else {
            return self.list(entries);
        };
        let row = self.take_row(cut.bits);
        let mut beside = Vec::new();
        let mut children = vec![Vec::new(); 1 << cut.bits];
        for (number, entry) in (0u32..).zip(entries) {
            let covered = cut.covered(entry);
            if cut.lies_beside(&covered) {
                beside.push(*entry);
                continue;
            }
            for child in covered {
                if let Some(child) = children.get_mut(child as usize) {
                    child.push(number);
                }
            }
        }
        let link = self.grow(&beside, depth + 1);
        self.set_link(row, link);
        // Children with the same rules are one.
        let mut grown: HashMap<Vec<u32>, Link> = HashMap::new();
        for (at, numbers) in (row + 1..).zip(children).filter(|(_, child)| !child.is_empty()) {
            let link = grown.get(&numbers).copied().unwrap_or_else(|| {
                let its = numbers.iter().filter_map(|&number| entries.get(number as usize));
                let link = self.grow(&its.copied().collect::<Vec<_>>(), depth + 1);
                grown.insert(numbers, link);
                link
            });
            self.set_link(at, link);
        }
        Link::to_node(row, cut)
    }

    /// Puts rules into blocks one behind the other.
    fn list(&mut self, entries: &[Entry<A>]) -> Link {
        let mut next = Link::NOTHING;
        // From the end, since each knows what is behind it.
        for some in entries.chunks(LANES).rev() {
            let mut block = Block::EMPTY;
            block.next = next;
            for (lane, entry) in some.iter().enumerate() {
                block.set(lane, entry);
            }
            next = Link::to_block(self.put_block(block));
        }
        next
    }

    fn put_block(&mut self, block: Block<A>) -> u32 {
        if self.free.blocks.is_empty() {
            let first = place(self.blocks.0.len() * BLOCKS_PART_LEN);
            self.blocks.0.push(vec![Block::EMPTY; BLOCKS_PART_LEN].into());
            self.free.blocks.extend((first..first + place(BLOCKS_PART_LEN)).rev());
        }
        let at = self.free.blocks.pop().unwrap_or(0);
        self.blocks.set(at, BLOCKS_PART_LEN, block);
        at
    }

    /// A row of links to nothing, for a node that looks at `bits` bits.
    fn take_row(&mut self, bits: u8) -> u32 {
        let len = row_len(bits);
        if let Some(at) = self.free.rows.get_mut(usize::from(bits)).and_then(Vec::pop) {
            for link in at..at + place(len) {
                self.set_link(link, Link::NOTHING);
            }
            return at;
        }
        let (_, left) = self.free.untouched;
        if left < len {
            let first = place(self.links.0.len() * LINKS_PART_LEN);
            self.links.0.push(vec![Link::NOTHING; LINKS_PART_LEN].into());
            self.free.untouched = (first, LINKS_PART_LEN);
        }
        let (at, left) = self.free.untouched;
        self.free.untouched = (at + place(len), left - len);
        at
    }

    pub(super) fn set_link(&mut self, at: u32, link: Link) {
        self.links.set(at, LINKS_PART_LEN, link);
    }

    pub(super) fn free_block(&mut self, at: u32) {
        self.free.blocks.push(at);
    }

    pub(super) fn free_row(&mut self, at: u32, bits: u8) {
        let bits = usize::from(bits);
        if self.free.rows.len() <= bits {
            self.free.rows.resize(bits + 1, Vec::new());
        }
        if let Some(rows) = self.free.rows.get_mut(bits) {
            rows.push(at);
        }
    }
}

impl Free {
    pub(super) fn heap_bytes(&self) -> usize {
        let rows: usize = self.rows.iter().map(Vec::capacity).sum();
        (self.blocks.capacity() + rows) * size_of::<u32>()
    }
}

/// The links of a node: beside, and to its children.
pub(super) fn row_len(bits: u8) -> usize {
    (1 << bits) + 1
}

/// A place as links name it. Four billion of them are more than memory holds.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
