//! The longest prefix that contains an address.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use sluice_core::blocks::{Block, BlockId, BlockTrie};

use super::answer;

/// The blocks of a table, each a prefix without holes.
pub(crate) struct Prefixes(BlockTrie);

impl Prefixes {
    pub(crate) fn new(prefixes: &[Ipv4Net]) -> Self {
        let block = |net: &Ipv4Net| Block { cidr: (*net).into(), except: Vec::new() };
        let blocks: Vec<Block> = prefixes.iter().map(block).collect();
        Self(BlockTrie::new((0..).map(BlockId).zip(&blocks)))
    }

    /// Finds the longest prefix around each address. Returns the digest of their numbers, from 1;
    /// 0 where there is none.
    pub(crate) fn find(&self, mut digest: u64, addresses: &[Ipv4Addr]) -> u64 {
        for address in addresses {
            let innermost = self.0.around((*address).into()).next().and_then(<[_]>::first);
            digest = answer(digest, innermost.map_or(0, |block| u64::from(block.0) + 1));
        }
        digest
    }
}
