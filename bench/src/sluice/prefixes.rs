//! The longest prefix that contains an address.

use std::net::IpAddr;

use ipnet::IpNet;
use sluice_core::blocks::{Block, BlockId, BlockTrie};

use super::answer;

/// Addresses that are looked up at once, as those of a batch of packets are.
const BATCH_LEN: usize = 64;

/// The blocks of a table, each a prefix without holes.
pub(crate) struct Prefixes(BlockTrie);

impl Prefixes {
    pub(crate) fn new(prefixes: &[IpNet]) -> Self {
        let block = |net: &IpNet| Block { cidr: *net, except: Vec::new() };
        let blocks: Vec<Block> = prefixes.iter().map(block).collect();
        Self(BlockTrie::new((0..).map(BlockId).zip(&blocks)))
    }

    /// The mebibytes that the prefixes take.
    pub(crate) fn mib(&self) -> f64 {
        self.0.heap_bytes() as f64 / f64::from(1 << 20)
    }

    /// Finds the longest prefix around each address. Returns the digest of their numbers, from 1;
    /// 0 where there is none.
    pub(crate) fn find(&self, mut digest: u64, addresses: &[IpAddr]) -> u64 {
        let mut innermost = [&[][..]; BATCH_LEN];
        for addresses in addresses.chunks(BATCH_LEN) {
            self.0.innermost_many(addresses, &mut innermost);
            for group in innermost.iter().take(addresses.len()) {
                let number = group.first().map_or(0, |block: &BlockId| u64::from(block.0) + 1);
                digest = answer(digest, number);
            }
        }
        digest
    }
}
