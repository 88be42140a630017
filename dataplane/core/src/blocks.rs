//! Address blocks (CIDRs with holes) and the longest-prefix trie that finds them.
//!
//! Every address belongs to exactly one *class*: the set of blocks that contain it. The
//! classes are worked out once, when the trie is built, so that nested blocks, overlaps and
//! `except` cost nothing when a packet is judged. Classes grow with the number of distinct
//! prefixes, never with ports or policies.

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
    /// The addresses taken out again. Each lies within `cidr`; the compiler refuses others.
    pub except: Vec<IpNet>,
}

/// Finds the blocks that contain an address.
pub struct BlockTrie {
    v4: IpLookupTable<Ipv4Addr, u32>,
    v6: IpLookupTable<Ipv6Addr, u32>,
    classes: Vec<Box<[BlockId]>>,
}

impl BlockTrie {
    /// Builds the trie of `blocks`, numbered by their place in the slice.
    #[must_use]
    pub fn new(blocks: &[Block]) -> Self {
        let mut trie =
            Self { v4: IpLookupTable::new(), v6: IpLookupTable::new(), classes: Vec::new() };
        let mut numbers: BTreeMap<Box<[BlockId]>, u32> = BTreeMap::new();
        // Prefixes sort by address and then length, so a prefix follows those that contain it.
        let mut enclosing: Vec<(IpNet, Box<[BlockId]>)> = Vec::new();
        for (prefix, change) in changes(blocks) {
            while enclosing.last().is_some_and(|(outer, _)| !outer.contains(&prefix)) {
                enclosing.pop();
            }
            let mut class: Vec<BlockId> =
                enclosing.last().map(|(_, class)| class.to_vec()).unwrap_or_default();
            class.extend(change.opened);
            class.retain(|block| !change.closed.contains(block));
            class.sort_unstable();
            let class = class.into_boxed_slice();
            let number = *numbers.entry(class.clone()).or_insert_with(|| {
                trie.classes.push(class.clone());
                u32::try_from(trie.classes.len() - 1).unwrap_or(u32::MAX)
            });
            trie.insert(prefix, number);
            enclosing.push((prefix, class));
        }
        trie
    }

    /// The blocks that contain `address`, sorted by number.
    #[inline]
    #[must_use]
    pub fn blocks_of(&self, address: IpAddr) -> &[BlockId] {
        let class = match address {
            IpAddr::V4(v4) => self.v4.longest_match(v4).map(|(_, _, class)| *class),
            IpAddr::V6(v6) => self.v6.longest_match(v6).map(|(_, _, class)| *class),
        };
        class
            .and_then(|class| self.classes.get(usize::try_from(class).ok()?))
            .map_or(&[], |blocks| blocks)
    }

    fn insert(&mut self, prefix: IpNet, class: u32) {
        match prefix {
            IpNet::V4(net) => {
                self.v4.insert(net.network(), u32::from(net.prefix_len()), class);
            }
            IpNet::V6(net) => {
                self.v6.insert(net.network(), u32::from(net.prefix_len()), class);
            }
        }
    }
}

impl std::fmt::Debug for BlockTrie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockTrie").field("classes", &self.classes.len()).finish_non_exhaustive()
    }
}

/// The blocks that begin at a prefix, and those that have a hole there.
#[derive(Default)]
struct Change {
    opened: Vec<BlockId>,
    closed: Vec<BlockId>,
}

fn changes(blocks: &[Block]) -> BTreeMap<IpNet, Change> {
    let mut changes: BTreeMap<IpNet, Change> = BTreeMap::new();
    for (block, number) in blocks.iter().zip(0u32..) {
        changes.entry(block.cidr.trunc()).or_default().opened.push(BlockId(number));
        for hole in &block.except {
            changes.entry(hole.trunc()).or_default().closed.push(BlockId(number));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(cidr: &str, except: &[&str]) -> Block {
        Block {
            cidr: cidr.parse().unwrap(),
            except: except.iter().map(|net| net.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn a_hole_belongs_to_its_own_block_only() {
        let trie = BlockTrie::new(&[
            block("10.0.0.0/8", &["10.1.0.0/16"]),
            block("10.1.2.0/24", &[]),
            block("0.0.0.0/0", &["10.1.2.3/32"]),
        ]);
        let blocks = |address: &str| -> Vec<u32> {
            trie.blocks_of(address.parse().unwrap()).iter().map(|id| id.0).collect()
        };
        assert_eq!(blocks("10.2.0.1"), [0, 2]);
        assert_eq!(blocks("10.1.0.1"), [2]);
        assert_eq!(blocks("10.1.2.1"), [1, 2]);
        assert_eq!(blocks("10.1.2.3"), [1]);
        assert_eq!(blocks("192.0.2.1"), [2]);
        assert_eq!(blocks("2001:db8::1"), [] as [u32; 0], "0.0.0.0/0 never matches IPv6");
    }

    #[test]
    fn a_block_whose_hole_is_the_whole_of_it_contains_nothing() {
        let trie = BlockTrie::new(&[block("10.0.0.0/24", &["10.0.0.0/24"])]);
        assert!(trie.blocks_of("10.0.0.7".parse().unwrap()).is_empty());
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
            let walked: Vec<BlockId> = blocks
                .iter()
                .zip(0u32..)
                .filter(|(b, _)| b.cidr.contains(&address) && !b.except.iter().any(|e| e.contains(&address)))
                .map(|(_, id)| BlockId(id))
                .collect();
            let trie = BlockTrie::new(&blocks);
            prop_assert_eq!(trie.blocks_of(address), &walked[..]);
        }
    }
}
