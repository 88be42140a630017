//! Address blocks (CIDRs with holes) and the longest-prefix trie that finds them.
//!
//! Each distinct CIDR is a prefix of the trie and knows the prefix around it, so that one
//! look-up and a walk outwards meet every block whose CIDR contains the address. A block's holes
//! are looked at only where a policy asks for that block. Memory grows with the number of CIDRs
//! and holes; overlaps multiply nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ip_network_table_deps_treebitmap::IpLookupTable;
use ipnet::IpNet;

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
pub struct BlockTrie {
    v4: IpLookupTable<Ipv4Addr, u32>,
    v6: IpLookupTable<Ipv6Addr, u32>,
    prefixes: Vec<Prefix>,
    /// By [`BlockId`]: what is taken out, sorted and disjoint.
    holes: Vec<Box<[IpNet]>>,
}

/// A CIDR that some block has.
#[derive(PartialEq, Eq)]
struct Prefix {
    cidr: IpNet,
    /// The next one outwards that contains it.
    outer: Option<u32>,
    /// The blocks with this CIDR, sorted.
    blocks: Vec<BlockId>,
}

impl BlockTrie {
    /// Builds the trie. The ids may leave gaps, but memory is taken for the gaps.
    #[must_use]
    pub fn new<'a>(blocks: impl Iterator<Item = (BlockId, &'a Block)>) -> Self {
        let mut trie = Self {
            v4: IpLookupTable::new(),
            v6: IpLookupTable::new(),
            prefixes: Vec::new(),
            holes: Vec::new(),
        };
        let mut by_cidr: BTreeMap<IpNet, Vec<BlockId>> = BTreeMap::new();
        for (id, block) in blocks {
            by_cidr.entry(block.cidr.trunc()).or_default().push(id);
            trie.add_holes(id, &block.except);
        }
        // Prefixes sort by address and then length, so a prefix follows those that contain it.
        let mut enclosing: Vec<(IpNet, u32)> = Vec::new();
        for ((cidr, mut blocks), number) in by_cidr.into_iter().zip(0u32..) {
            while enclosing.last().is_some_and(|(outer, _)| !outer.contains(&cidr)) {
                enclosing.pop();
            }
            blocks.sort_unstable();
            let outer = enclosing.last().map(|(_, outer)| *outer);
            trie.prefixes.push(Prefix { cidr, outer, blocks });
            trie.insert(cidr, number);
            enclosing.push((cidr, number));
        }
        trie
    }

    /// The blocks whose CIDR contains `address`, whatever their holes: groups from the longest
    /// prefix outwards, each sorted by number.
    #[inline]
    pub fn around(&self, address: IpAddr) -> impl Iterator<Item = &[BlockId]> {
        let innermost = match address {
            IpAddr::V4(v4) => self.v4.longest_match(v4).map(|(_, _, number)| *number),
            IpAddr::V6(v6) => self.v6.longest_match(v6).map(|(_, _, number)| *number),
        };
        let prefix = |number: u32| self.prefixes.get(number as usize);
        let outwards = std::iter::successors(innermost.and_then(prefix), move |inner| {
            inner.outer.and_then(prefix)
        });
        outwards.map(|prefix| &*prefix.blocks)
    }

    /// Whether `address` lies in a hole of `block`.
    #[inline]
    #[must_use]
    pub fn is_hole(&self, block: BlockId, address: IpAddr) -> bool {
        let holes = self.holes.get(block.0 as usize).map_or(&[][..], |holes| holes);
        let after = holes.partition_point(|hole| hole.network() <= address);
        after.checked_sub(1).and_then(|at| holes.get(at)).is_some_and(|it| it.contains(&address))
    }

    /// Every CIDR and every hole: within each, but for those inside it, all addresses are alike.
    pub fn nets(&self) -> impl Iterator<Item = IpNet> {
        let cidrs = self.prefixes.iter().map(|prefix| prefix.cidr);
        cidrs.chain(self.holes.iter().flatten().copied())
    }

    fn add_holes(&mut self, id: BlockId, except: &[IpNet]) {
        let place = id.0 as usize;
        if self.holes.len() <= place {
            self.holes.resize_with(place + 1, Box::default);
        }
        if let Some(holes) = self.holes.get_mut(place) {
            *holes = IpNet::aggregate(&except.to_vec()).into_boxed_slice();
            holes.sort_unstable();
        }
    }

    fn insert(&mut self, prefix: IpNet, number: u32) {
        match prefix {
            IpNet::V4(net) => {
                self.v4.insert(net.network(), u32::from(net.prefix_len()), number);
            }
            IpNet::V6(net) => {
                self.v6.insert(net.network(), u32::from(net.prefix_len()), number);
            }
        }
    }
}

/// Equal blocks under equal numbers.
impl PartialEq for BlockTrie {
    fn eq(&self, other: &Self) -> bool {
        self.prefixes == other.prefixes && self.holes == other.holes
    }
}

impl Default for BlockTrie {
    fn default() -> Self {
        Self::new(std::iter::empty())
    }
}

impl std::fmt::Debug for BlockTrie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockTrie").field("prefixes", &self.prefixes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trie_of(blocks: &[Block]) -> BlockTrie {
        BlockTrie::new((0..).map(BlockId).zip(blocks))
    }

    fn containing(trie: &BlockTrie, address: IpAddr) -> Vec<u32> {
        let mut blocks: Vec<u32> = trie
            .around(address)
            .flatten()
            .filter(|block| !trie.is_hole(**block, address))
            .map(|block| block.0)
            .collect();
        blocks.sort_unstable();
        blocks
    }

    fn block(cidr: &str, except: &[&str]) -> Block {
        Block {
            cidr: cidr.parse().unwrap(),
            except: except.iter().map(|net| net.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn a_hole_belongs_to_its_own_block_only() {
        let trie = trie_of(&[
            block("10.0.0.0/8", &["10.1.0.0/16"]),
            block("10.1.2.0/24", &[]),
            block("0.0.0.0/0", &["10.1.2.3/32"]),
        ]);
        let blocks = |address: &str| containing(&trie, address.parse().unwrap());
        assert_eq!(blocks("10.2.0.1"), [0, 2]);
        assert_eq!(blocks("10.1.0.1"), [2]);
        assert_eq!(blocks("10.1.2.1"), [1, 2]);
        assert_eq!(blocks("10.1.2.3"), [1]);
        assert_eq!(blocks("192.0.2.1"), [2]);
        assert_eq!(blocks("2001:db8::1"), [] as [u32; 0], "0.0.0.0/0 never matches IPv6");
    }

    #[test]
    fn a_block_whose_hole_is_the_whole_of_it_contains_nothing() {
        let trie = trie_of(&[block("10.0.0.0/24", &["10.0.0.0/24"])]);
        assert!(containing(&trie, "10.0.0.7".parse().unwrap()).is_empty());
    }

    fn any_net() -> impl Strategy<Value = IpNet> {
        // Few bits vary, so that nesting and equality are common.
        (any::<bool>(), 0u8..=6, 0u32..64).prop_map(|(v6, len, bits)| {
            if v6 {
                let address = Ipv6Addr::from(u128::from(bits) << 122);
                IpNet::new(address.into(), len).unwrap().trunc()
            } else {
                IpNet::new(Ipv4Addr::from(bits << 26).into(), len).unwrap().trunc()
            }
        })
    }

    proptest! {
        #[test]
        fn the_trie_answers_as_a_walk_over_all_blocks(
            nets in prop::collection::vec((any_net(), prop::collection::vec(any_net(), 0..3)), 0..10),
            bits in 0u32..64,
            v6 in any::<bool>(),
        ) {
            let blocks: Vec<Block> = nets
                .into_iter()
                .map(|(cidr, except)| Block {
                    except: except.into_iter().filter(|hole| cidr.contains(hole)).collect(),
                    cidr,
                })
                .collect();
            let address: IpAddr = if v6 {
                Ipv6Addr::from(u128::from(bits) << 122).into()
            } else {
                Ipv4Addr::from(bits << 26).into()
            };
            let walked: Vec<u32> = blocks
                .iter()
                .zip(0u32..)
                .filter(|(b, _)| b.cidr.contains(&address) && !b.except.iter().any(|e| e.contains(&address)))
                .map(|(_, id)| id)
                .collect();
            prop_assert_eq!(containing(&trie_of(&blocks), address), walked);
        }
    }
}
