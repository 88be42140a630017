//! The trie against a walk over all blocks.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::leaf::LEAF_LEN_MAX;
use super::*;

type Blocks = BTreeMap<u32, Block>;

fn trie_of(blocks: &Blocks) -> BlockTrie {
    BlockTrie::new(blocks.iter().map(|(id, block)| (BlockId(*id), block)))
}

fn numbered(blocks: impl IntoIterator<Item = Block>) -> Blocks {
    (0..).zip(blocks).collect()
}

fn block(cidr: &str, except: &[&str]) -> Block {
    Block {
        cidr: cidr.parse().unwrap(),
        except: except.iter().map(|net| net.parse().unwrap()).collect(),
    }
}

fn containing(trie: &BlockTrie, address: &str) -> Vec<u32> {
    let address = address.parse().unwrap();
    let blocks = trie.around(address).flatten().filter(|block| !trie.is_hole(**block, address));
    let mut blocks: Vec<u32> = blocks.map(|block| block.0).collect();
    blocks.sort_unstable();
    blocks
}

/// The groups around an address, by looking at every block.
fn walked(blocks: &Blocks, address: IpAddr) -> Vec<Vec<BlockId>> {
    let mut groups: BTreeMap<u8, Vec<BlockId>> = BTreeMap::new();
    for (id, block) in blocks.iter().filter(|(_, block)| block.cidr.contains(&address)) {
        groups.entry(block.cidr.prefix_len()).or_default().push(BlockId(*id));
    }
    groups.into_values().rev().collect()
}

/// That the trie says of each address what the walk says, by itself and among the others.
fn check(trie: &BlockTrie, blocks: &Blocks, addresses: &[IpAddr]) {
    let mut innermost = vec![&[][..]; addresses.len()];
    trie.innermost_many(addresses, &mut innermost);
    for (address, innermost) in addresses.iter().zip(innermost) {
        let expected = walked(blocks, *address);
        assert_eq!(trie.around(*address).collect::<Vec<_>>(), expected, "around {address}");
        assert_eq!(innermost, expected.first().map_or(&[][..], |group| group), "{address}");
        for (id, block) in blocks {
            let is_hole = block.except.iter().any(|hole| hole.contains(address));
            assert_eq!(trie.is_hole(BlockId(*id), *address), is_hole, "{address} in {block:?}");
        }
    }
}

/// The first and the last address of each CIDR and hole, and those beside them.
fn telling(blocks: &Blocks) -> Vec<IpAddr> {
    let nets = blocks.values().flat_map(|block| block.except.iter().chain([&block.cidr]));
    let mut addresses: Vec<IpAddr> = nets
        .flat_map(|net| match net {
            IpNet::V4(net) => [net.network().to_bits(), net.broadcast().to_bits()]
                .into_iter()
                .flat_map(|bits| [bits.wrapping_sub(1), bits, bits.wrapping_add(1)])
                .map(|bits| Ipv4Addr::from(bits).into())
                .collect::<Vec<IpAddr>>(),
            IpNet::V6(net) => [net.network().to_bits(), net.broadcast().to_bits()]
                .into_iter()
                .flat_map(|bits| [bits.wrapping_sub(1), bits, bits.wrapping_add(1)])
                .map(|bits| Ipv6Addr::from(bits).into())
                .collect(),
        })
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

#[test]
fn a_hole_belongs_to_its_own_block_only() {
    let trie = trie_of(&numbered([
        block("10.0.0.0/8", &["10.1.0.0/16"]),
        block("10.1.2.0/24", &[]),
        block("0.0.0.0/0", &["10.1.2.3/32"]),
    ]));
    assert_eq!(containing(&trie, "10.2.0.1"), [0, 2]);
    assert_eq!(containing(&trie, "10.1.0.1"), [2]);
    assert_eq!(containing(&trie, "10.1.2.1"), [1, 2]);
    assert_eq!(containing(&trie, "10.1.2.3"), [1]);
    assert_eq!(containing(&trie, "192.0.2.1"), [2]);
    assert_eq!(containing(&trie, "2001:db8::1"), [], "0.0.0.0/0 never matches IPv6");
}

#[test]
fn a_block_whose_hole_is_the_whole_of_it_contains_nothing() {
    let trie = trie_of(&numbered([block("10.0.0.0/24", &["10.0.0.0/24"])]));
    assert!(containing(&trie, "10.0.0.7").is_empty());
}

#[test]
fn every_length_of_prefix_is_found_within_all_shorter_ones() {
    for (bits, to) in [(32u8, "255.170.85.1"), (128, "fe01:aaaa:5555::ffff:1")] {
        let to: IpAddr = to.parse().unwrap();
        let nested = (0..=bits)
            .map(|len| Block { cidr: IpNet::new(to, len).unwrap().trunc(), except: Vec::new() });
        let blocks = numbered(nested);
        check(&trie_of(&blocks), &blocks, &telling(&blocks));
    }
}

/// As many prefixes below one as make a leaf too large, and one less again.
#[test]
fn a_crowd_becomes_a_node_and_what_is_left_of_it_a_leaf() {
    for base in ["10.1.0.0/16", "2001:db8::/32"] {
        let base: IpNet = base.parse().unwrap();
        let crowd = base.subnets(base.prefix_len() + 11).unwrap().step_by(7);
        let blocks =
            numbered(crowd.take(LEAF_LEN_MAX).map(|cidr| Block { cidr, except: Vec::new() }));
        assert_eq!(blocks.len(), LEAF_LEN_MAX);
        let before = trie_of(&blocks);
        check(&before, &blocks, &telling(&blocks));
        let (mut trie, mut more) = (before.clone(), blocks.clone());
        let whole = Block { cidr: base, except: Vec::new() };
        more.insert(1_000_000, whole.clone());
        trie.insert(BlockId(1_000_000), &whole);
        check(&trie, &more, &telling(&more));
        let last = Block {
            cidr: base.subnets(base.prefix_len() + 14).unwrap().last().unwrap(),
            except: Vec::new(),
        };
        more.insert(1_000_001, last.clone());
        trie.insert(BlockId(1_000_001), &last);
        check(&trie, &more, &telling(&more));
        assert_eq!(trie, trie_of(&more));
        trie.remove(BlockId(1_000_000), &whole);
        trie.remove(BlockId(1_000_001), &last);
        assert_eq!(trie, before);
        assert_eq!(trie.heap_bytes(), before.heap_bytes());
    }
}

#[test]
fn what_was_never_there_can_be_removed() {
    let blocks = numbered([block("10.0.0.0/8", &[])]);
    let mut trie = trie_of(&blocks);
    trie.remove(BlockId(7), &block("10.0.0.0/8", &[]));
    trie.remove(BlockId(7), &block("10.1.0.0/16", &[]));
    trie.remove(BlockId(7), &block("2001:db8::/32", &[]));
    assert_eq!(trie, trie_of(&blocks));
}

/// Within one part the bits of few bytes vary, so that nesting and equality are common.
fn any_net() -> impl Strategy<Value = IpNet> {
    let byte = prop::sample::select(vec![0u8, 1, 127, 128, 255]);
    let bytes = prop::collection::vec(byte, 16);
    (any::<bool>(), bytes, 0u8..=128, 0usize..=4).prop_map(|(v6, bytes, len, vary)| {
        let mut octets = [10; 16];
        octets[vary..].copy_from_slice(&bytes[vary..]);
        if v6 {
            IpNet::new(Ipv6Addr::from(octets).into(), len).unwrap().trunc()
        } else {
            let octets: [u8; 4] = octets[..4].try_into().unwrap();
            IpNet::new(Ipv4Addr::from(octets).into(), len % 33).unwrap().trunc()
        }
    })
}

fn any_block() -> impl Strategy<Value = Block> {
    (any_net(), prop::collection::vec(any_net(), 0..3)).prop_map(|(cidr, except)| Block {
        except: except.into_iter().filter(|hole| cidr.contains(hole)).collect(),
        cidr,
    })
}

/// Blocks below one prefix: enough of them to fill leaves.
fn any_crowd() -> impl Strategy<Value = Vec<Block>> {
    (any_net(), 0u8..12, 0usize..600, 1usize..4).prop_map(|(within, more, count, step)| {
        let len = (within.prefix_len() + more).min(within.max_prefix_len());
        let nets = within.subnets(len).unwrap().step_by(step).take(count);
        nets.map(|cidr| Block { cidr, except: Vec::new() }).collect()
    })
}

fn any_blocks() -> impl Strategy<Value = Blocks> {
    let few = prop::collection::vec(any_block(), 0..40);
    let crowd = prop_oneof![Just(Vec::new()), any_crowd()];
    (few, crowd).prop_map(|(few, crowd)| numbered(few.into_iter().chain(crowd)))
}

/// Some of a list, in an order that differs from run to run of the strategy.
fn shuffled(blocks: &Blocks, seed: u64) -> Vec<u32> {
    let mut ids: Vec<u32> = blocks.keys().copied().collect();
    ids.sort_by_key(|id| (u64::from(*id) + 1).wrapping_mul(seed | 1).rotate_left(17));
    ids
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_trie_answers_as_a_walk_over_all_blocks(blocks in any_blocks()) {
        let mut addresses = telling(&blocks);
        let step = addresses.len() / 300 + 1;
        addresses = addresses.into_iter().step_by(step).collect();
        check(&trie_of(&blocks), &blocks, &addresses);
    }

    #[test]
    fn it_lists_every_net_and_every_hole(blocks in any_blocks()) {
        let listed: std::collections::BTreeSet<IpNet> = trie_of(&blocks).nets().collect();
        let cidrs = blocks.values().map(|block| block.cidr);
        let holes = blocks.values().flat_map(|block| IpNet::aggregate(&block.except));
        prop_assert_eq!(listed, cidrs.chain(holes).collect());
    }

    #[test]
    fn changes_lead_where_a_build_from_scratch_does_and_copies_do_not_see_them(
        blocks in any_blocks(),
        gone in 0usize..600,
        cut in 0usize..600,
        seed in any::<u64>(),
    ) {
        let (mut trie, mut now) = (BlockTrie::default(), Blocks::new());
        let mut copies = Vec::new();
        let order = shuffled(&blocks, seed);
        let removed = shuffled(&blocks, seed.rotate_left(32)).into_iter().take(gone);
        let steps = order.into_iter().map(|id| (id, true)).chain(removed.map(|id| (id, false)));
        for (number, (id, comes)) in steps.enumerate() {
            if number % 600 == cut {
                copies.push((trie.clone(), now.clone()));
            }
            let block = &blocks[&id];
            if comes {
                trie.insert(BlockId(id), block);
                now.insert(id, block.clone());
            } else {
                trie.remove(BlockId(id), block);
                now.remove(&id);
            }
        }
        copies.push((trie, now));
        for (trie, blocks) in copies {
            let scratch = trie_of(&blocks);
            prop_assert_eq!(&trie, &scratch);
            let addresses = telling(&blocks);
            let step = addresses.len() / 100 + 1;
            check(&trie, &blocks, &addresses.into_iter().step_by(step).collect::<Vec<_>>());
        }
    }

    #[test]
    fn tries_of_other_blocks_differ(blocks in any_blocks(), more in any_block()) {
        let trie = trie_of(&blocks);
        let mut other = trie.clone();
        other.insert(BlockId(1_000_000), &more);
        prop_assert_ne!(&trie, &other);
        other.remove(BlockId(1_000_000), &more);
        prop_assert_eq!(trie, other);
    }
}
