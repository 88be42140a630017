//! Address blocks (CIDRs with holes) and the longest-prefix trie that finds them.
//!
//! A look-up meets every block whose CIDR contains the address, from the longest prefix outwards.
//! A block's holes are looked at only where a policy asks for that block. Memory grows with the
//! number of CIDRs and holes; overlaps multiply nothing. A copy shares with its original all but
//! what is changed in one of them, so that a block more or less costs the same in a large table.
//!
//! ```text
//! address --8 bits--> node --8 bits--> node --8 bits--> leaf --> innermost prefix --> the one around it
//!                        \-> its own prefixes, up to the node's bits                  --> ...
//! ```

mod leaf;
mod leaves;
mod node;
mod prefix;
mod trie;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use self::leaf::Width;
use self::prefix::{Entry, Group, Prefix};
use self::trie::{BATCH_LEN, Trie, Walk};
use crate::shared::SharedMap;

/// The number of a distinct [`Block`] of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u32);

/// A CIDR with holes, as `ipBlock` of a NetworkPolicy describes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// The addresses meant.
    pub cidr: IpNet,
    /// The addresses taken out again.
    pub except: Vec<IpNet>,
}

/// Finds the blocks that contain an address.
#[derive(Clone, PartialEq, Eq)]
pub struct BlockTrie {
    v4: Trie,
    v6: Trie,
    groups: Groups,
    /// What is taken out of blocks, sorted and disjoint; blocks without holes are not there.
    holes: SharedMap<BlockId, Arc<[IpNet]>>,
}

/// The blocks with one CIDR, sorted, by the first of them; not those that are the only one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Groups(SharedMap<BlockId, Arc<[BlockId]>>);

impl BlockTrie {
    /// Builds the trie. Each id has one block.
    #[must_use]
    pub fn new<'a>(blocks: impl Iterator<Item = (BlockId, &'a Block)>) -> Self {
        let mut trie = Self::default();
        // Prefixes of IPv4 fit into one number with their block, which sorts in half the time.
        let (mut v4, mut v6) = (Vec::with_capacity(blocks.size_hint().0), Vec::new());
        for (id, block) in blocks {
            match block.cidr.trunc() {
                IpNet::V4(net) => v4.push(packed(net, id)),
                net @ IpNet::V6(_) => v6.push((Prefix::of(net), id)),
            }
            trie.add_holes(id, &block.except);
        }
        v4.sort_unstable();
        v6.sort_unstable();
        trie.v4 = Trie::new(Width::V4, &trie.groups.grouped(v4.into_iter().map(unpacked)));
        trie.v6 = Trie::new(Width::V6, &trie.groups.grouped(v6.into_iter()));
        trie
    }

    /// Adds a block. Its id is that of no other.
    pub fn insert(&mut self, id: BlockId, block: &Block) {
        let prefix = Prefix::of(block.cidr.trunc());
        let trie = if block.cidr.addr().is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        let mut ids = trie.get(prefix).map_or_else(Vec::new, |group| self.groups.take(group));
        if let Err(at) = ids.binary_search(&id) {
            ids.insert(at, id);
        }
        trie.set(prefix, self.groups.put(&ids));
        self.add_holes(id, &block.except);
    }

    /// Takes a block out again, which must be the one that was added under this id.
    pub fn remove(&mut self, id: BlockId, block: &Block) {
        let prefix = Prefix::of(block.cidr.trunc());
        let trie = if block.cidr.addr().is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        let Some(group) = trie.get(prefix) else { return };
        let mut ids = self.groups.take(group);
        ids.retain(|known| *known != id);
        trie.set(prefix, self.groups.put(&ids));
        self.holes.remove_if(&id, |_| true);
    }

    /// The blocks whose CIDR contains `address`, whatever their holes: groups from the longest
    /// prefix outwards, each sorted by number.
    #[inline]
    pub fn around(&self, address: IpAddr) -> impl Iterator<Item = &[BlockId]> {
        self.walk(address)
    }

    /// The first group of [`Self::around`] for each address, empty where there is none. Writes as
    /// many as both lists have. Meant for the addresses of a batch of packets: what one waits for
    /// in memory, the others fetch meanwhile, and what follows finds it in the caches.
    pub fn innermost_many<'a>(&'a self, addresses: &[IpAddr], innermost: &mut [&'a [BlockId]]) {
        let v4 = |address: &IpAddr| match address {
            IpAddr::V4(v4) => Some(v4.to_bits()),
            IpAddr::V6(_) => None,
        };
        let v6 = |address: &IpAddr| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some(v6.to_bits()),
        };
        let parts = addresses.chunks(BATCH_LEN).zip(innermost.chunks_mut(BATCH_LEN));
        for (addresses, innermost) in parts {
            let v4s = addresses.iter().filter(|address| address.is_ipv4()).count();
            if v4s > 0 {
                self.v4.innermost_many(&self.groups, addresses, v4, innermost);
            }
            if v4s < addresses.len() {
                self.v6.innermost_many(&self.groups, addresses, v6, innermost);
            }
        }
    }

    /// Whether `address` lies in a hole of `block`.
    #[inline]
    #[must_use]
    pub fn is_hole(&self, block: BlockId, address: IpAddr) -> bool {
        let holes = self.holes.get(&block).map_or(&[][..], |holes| holes);
        let after = holes.partition_point(|hole| hole.network() <= address);
        after.checked_sub(1).and_then(|at| holes.get(at)).is_some_and(|it| it.contains(&address))
    }

    /// Every CIDR and every hole: within each, but for those inside it, all addresses are alike.
    pub fn nets(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.v4.prefixes().into_iter().filter_map(|prefix| prefix.net(false));
        let v6 = self.v6.prefixes().into_iter().filter_map(|prefix| prefix.net(true));
        let holes = self.holes.iter().flat_map(|(_, holes)| holes.iter().copied());
        v4.chain(v6).chain(holes)
    }

    /// The memory that the blocks take, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let groups = self.groups.0.heap_bytes(|ids| size_of_val::<[BlockId]>(ids));
        let holes = self.holes.heap_bytes(|holes| size_of_val::<[IpNet]>(holes));
        self.v4.heap_bytes() + self.v6.heap_bytes() + groups + holes
    }

    #[inline]
    fn walk(&self, address: IpAddr) -> Walk<'_> {
        match address {
            IpAddr::V4(v4) => self.v4.walk(&self.groups, v4.to_bits()),
            IpAddr::V6(v6) => self.v6.walk(&self.groups, v6.to_bits()),
        }
    }

    fn add_holes(&mut self, id: BlockId, except: &[IpNet]) {
        if except.is_empty() {
            return;
        }
        let mut holes = IpNet::aggregate(&except.to_vec());
        holes.sort_unstable();
        self.holes.insert(id, holes.into());
    }
}

impl Groups {
    /// All blocks of a group, of which a prefix has the first.
    #[inline]
    fn all<'a>(&'a self, (is_shared, first): (bool, &'a [BlockId])) -> &'a [BlockId] {
        if !is_shared {
            return first;
        }
        first.first().and_then(|first| self.0.get(first)).map_or(first, |all| all)
    }

    /// Makes a group of those blocks with one CIDR, which follow each other.
    fn grouped(&mut self, blocks: impl ExactSizeIterator<Item = (Prefix, BlockId)>) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(blocks.len());
        let mut blocks = blocks.peekable();
        let mut ids = Vec::new();
        while let Some((prefix, id)) = blocks.next() {
            ids.clear();
            ids.push(id);
            while let Some((_, id)) = blocks.next_if(|(other, _)| *other == prefix) {
                ids.push(id);
            }
            entries.extend(self.put(&ids).map(|group| Entry { prefix, group }));
        }
        entries
    }

    /// The blocks of a group, which is dissolved.
    fn take(&mut self, group: Group) -> Vec<BlockId> {
        let Some(all) = self.0.get(&group.first).filter(|_| group.is_shared) else {
            return vec![group.first];
        };
        let all = all.to_vec();
        self.0.remove_if(&group.first, |_| true);
        all
    }

    /// Makes a group of sorted blocks.
    fn put(&mut self, ids: &[BlockId]) -> Option<Group> {
        let is_shared = ids.len() > 1;
        let first = *ids.first()?;
        if is_shared {
            self.0.insert(first, ids.into());
        }
        Some(Group { first, is_shared })
    }
}

impl Default for BlockTrie {
    fn default() -> Self {
        Self {
            v4: Trie::new(Width::V4, &[]),
            v6: Trie::new(Width::V6, &[]),
            groups: Groups(SharedMap::new()),
            holes: SharedMap::new(),
        }
    }
}

impl std::fmt::Debug for BlockTrie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let prefixes = self.v4.len() + self.v6.len();
        f.debug_struct("BlockTrie").field("prefixes", &prefixes).finish_non_exhaustive()
    }
}

/// A prefix of IPv4 and its block as one number, which sorts as they do.
fn packed(net: Ipv4Net, id: BlockId) -> u128 {
    let (start, len) = (u128::from(net.network().to_bits()), u128::from(net.prefix_len()));
    start << 64 | len << 32 | u128::from(id.0)
}

fn unpacked(packed: u128) -> (Prefix, BlockId) {
    let word = |shift: u32| u32::try_from(packed >> shift & u128::from(u32::MAX)).unwrap_or(0);
    (Prefix { start: packed >> 64 << 96, len: word(32) }, BlockId(word(0)))
}

#[cfg(test)]
mod tests;
