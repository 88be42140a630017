//! Address blocks that overlap, nest and have holes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::objects::{address, addresses};
use super::random::Random;
use crate::model::{Block, Peer, Peers, RuleSet};
use crate::validate::canonical_net;

/// A block with up to three holes; sometimes its cidr is a hole of another block in `rules`.
pub(super) fn block(random: &mut Random, rules: &RuleSet) -> Block {
    let hole = random.chance(20).then(|| random.pick(&holes_of(rules)).copied()).flatten();
    let cidr = hole.unwrap_or_else(|| net(random, rules));
    with_holes(random, rules, cidr)
}

/// A block that fills a hole of `block`, if it has one; it may have holes of its own.
pub(super) fn filler(random: &mut Random, rules: &RuleSet, block: &Block) -> Option<Block> {
    let hole = random.pick(&block.except).copied()?;
    Some(with_holes(random, rules, hole))
}

/// A net around some address, in any of the ways in which one is written.
pub(super) fn net(random: &mut Random, rules: &RuleSet) -> IpNet {
    let base = address(random, rules);
    let len = match base {
        IpAddr::V4(_) => random.one(&[32, 32, 31, 30, 29, 28, 27, 24, 23, 16, 8, 1, 0]),
        IpAddr::V6(_) => random.one(&[128, 128, 127, 126, 124, 112, 111, 64, 8, 1, 0]),
    };
    match base {
        // Most of what it holds is IPv6, so it holds no IPv4.
        IpAddr::V4(v4) if random.chance(2) => net_of(v4.to_ipv6_mapped().into(), 90),
        _ => written(random, base, len),
    }
}

fn with_holes(random: &mut Random, rules: &RuleSet, cidr: IpNet) -> Block {
    let holes = random.some(0, 3, |random| hole(random, rules, cidr));
    Block { cidr, except: holes.into_iter().flatten().collect() }
}

/// A true part of `cidr`, if it has any.
fn hole(random: &mut Random, rules: &RuleSet, cidr: IpNet) -> Option<IpNet> {
    let cidr = canonical_net(cidr);
    let (shortest, longest) = (cidr.prefix_len().checked_add(1)?, cidr.max_prefix_len());
    if shortest > longest {
        return None;
    }
    let mut bases = vec![cidr.network(), cidr.broadcast()];
    bases.extend(addresses(rules).into_iter().filter(|address| cidr.contains(address)));
    let base = random.pick(&bases).copied()?;
    let len = match random.below(3) {
        0 => shortest,
        1 => longest,
        _ => random.between(shortest, longest),
    };
    let hole = written(random, base, len);
    let canonical = canonical_net(hole);
    (cidr.contains(&canonical) && cidr != canonical).then_some(hole)
}

/// With or without bits past the prefix, IPv4 as such or as IPv6.
fn written(random: &mut Random, base: IpAddr, len: u8) -> IpNet {
    let net = match base {
        IpAddr::V4(v4) if random.chance(10) => net_of(v4.to_ipv6_mapped().into(), 96 + len),
        _ => net_of(base, len),
    };
    if random.chance(50) { net.trunc() } else { net }
}

fn net_of(base: IpAddr, len: u8) -> IpNet {
    IpNet::new(base, len).unwrap_or_default()
}

fn holes_of(rules: &RuleSet) -> Vec<IpNet> {
    let lists = rules.network_policies().flat_map(|policy| [&policy.ingress, &policy.egress]);
    let peers = lists.flatten().flatten().flat_map(|rule| match &rule.peers {
        Peers::Everybody => &[][..],
        Peers::AnyOf(peers) => peers,
    });
    peers
        .flat_map(|peer| match peer {
            Peer::Block(block) => &block.except[..],
            Peer::Selectors { .. } => &[],
        })
        .copied()
        .collect()
}
