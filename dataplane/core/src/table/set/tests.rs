//! Policy sets against a walk over what they are made of.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::blocks::Block;
use crate::ports::{PortMatch, Rank, SCTP, TCP, UDP};

const RULES: u32 = 8;

proptest! {
    #[test]
    fn what_is_in_both_lists_is_found_once_each(
        list in prop::collection::btree_set(0u32..200, 0..150),
        numbers in prop::collection::btree_set(0u32..200, 0..150),
        few in 0usize..12,
        which in 0..3,
    ) {
        let cut = |list: BTreeSet<u32>, few| list.into_iter().take(few).collect::<Vec<_>>();
        let (list, numbers) = match which {
            0 => (cut(list, few), cut(numbers, 200)),
            1 => (cut(list, 200), cut(numbers, few)),
            _ => (cut(list, 200), cut(numbers, 200)),
        };
        let mut found = Vec::new();
        in_both(&list, &numbers, |it| it, |at, it| found.push((at, it)));
        let places = list.iter().enumerate().filter(|(_, it)| numbers.contains(it));
        prop_assert_eq!(found, places.map(|(at, it)| (at, *it)).collect::<Vec<_>>());
    }
}

fn any_ports() -> impl Strategy<Value = Arc<PortSet>> {
    let range = (prop::sample::select(vec![TCP, UDP, SCTP]), 0u16..6, 0u16..3)
        .prop_map(|(protocol, first, len)| PortMatch::Range { protocol, first, last: first + len });
    let port_match = prop_oneof![4 => range, 1 => Just(PortMatch::Any)];
    // Some rules are not there: those speak of nothing.
    let entries = prop::collection::vec((port_match, (0..=RULES).prop_map(Rank)), 0..4);
    entries.prop_map(|entries| Arc::new(PortSet::new(&entries)))
}

fn any_parts() -> impl Strategy<Value = PolicySetParts> {
    // Few port sets for many peers, and the other way round.
    let port_sets = prop::collection::vec(any_ports(), 1..5);
    let which = || any::<prop::sample::Index>();
    let by = |max| prop::collection::btree_map(0u32..12, which(), 0..max);
    let in_blocks = prop::collection::btree_map((0u32..12, 0u32..12), which(), 0..3);
    let actions = prop::sample::select(vec![Action::Accept, Action::Deny, Action::Pass]);
    let rules = prop::collection::vec(actions, RULES as usize);
    (port_sets, prop::option::of(which()), by(12), by(12), in_blocks, rules).prop_map(
        |(ports, any_peer, groups, blocks, in_blocks, actions)| {
            let ports = |which: &prop::sample::Index| Arc::clone(which.get(&ports));
            let rule = |(index, action)| RuleRef { policy: PolicyId(index % 3), index, action };
            PolicySetParts {
                policies: (0..3).map(PolicyId).collect(),
                rules: (0..).zip(actions).map(rule).collect(),
                any_peer: any_peer.as_ref().map(ports),
                by_group: groups.iter().map(|(id, it)| (GroupId(*id), ports(it))).collect(),
                by_block: blocks.iter().map(|(id, it)| (BlockId(*id), ports(it))).collect(),
                by_group_in_block: in_blocks
                    .iter()
                    .map(|((block, group), it)| (BlockId(*block), GroupId(*group), ports(it)))
                    .collect(),
            }
        },
    )
}

/// Blocks by number: nested, some with holes.
fn blocks() -> Vec<Block> {
    let net = |text: &str| text.parse().unwrap();
    (0..12u8)
        .map(|n| Block {
            cidr: net(&format!("10.0.0.0/{}", 8 + 2 * n)),
            except: if n % 3 == 0 { vec![net("10.0.0.0/31")] } else { Vec::new() },
        })
        .collect()
}

/// The first rule that matches, by its place: the naive way.
fn walked(
    parts: &PolicySetParts,
    groups: &[GroupId],
    address: IpAddr,
    port: (u8, Option<u16>),
) -> Option<RuleRef> {
    let blocks = blocks();
    let is_in = |id: BlockId| {
        let block = &blocks[id.0 as usize];
        block.cidr.contains(&address) && !block.except.iter().any(|it| it.contains(&address))
    };
    let by_group = parts.by_group.iter().filter(|(id, _)| groups.contains(id)).map(|(_, it)| it);
    let by_block = parts.by_block.iter().filter(|(id, _)| is_in(*id)).map(|(_, it)| it);
    let in_block = parts.by_group_in_block.iter();
    let in_block = in_block.filter(|it| is_in(it.0) && groups.contains(&it.1)).map(|it| &it.2);
    let of_peer = parts.any_peer.iter().chain(by_group).chain(by_block).chain(in_block);
    let ranks = of_peer.filter_map(|ports| ports.find(port.0, port.1));
    ranks
        .filter_map(|rank| Some((rank, parts.rules.get(rank.index())?)))
        .min_by_key(|it| it.0)
        .map(|it| *it.1)
}

proptest! {
    #[test]
    fn a_set_answers_as_a_walk_over_its_parts(
        parts in any_parts(),
        groups in prop::collection::btree_set((0u32..12).prop_map(GroupId), 0..12),
        last in prop::sample::select(vec![0u8, 1, 2, 7, 200]),
        protocol in prop::sample::select(vec![TCP, UDP, SCTP, 1]),
        port in prop::option::of(0u16..8),
    ) {
        let set = PolicySet::new(&parts);
        let blocks = blocks();
        let trie = BlockTrie::new((0..).map(BlockId).zip(&blocks));
        let groups: Vec<GroupId> = groups.into_iter().collect();
        let address = IpAddr::from([10, 0, 0, last]);
        let asked = Asked::new(&groups, &address, protocol, port);
        let found = set.first_match(&trie, &asked);
        prop_assert!(found.is_none_or(|found| found.action() == set.rule(found).action));
        let found = found.map(|found| set.rule(found));
        prop_assert_eq!(found, walked(&parts, &groups, address, (protocol, port)));
    }

    #[test]
    fn a_set_tells_what_it_is_made_of(parts in any_parts()) {
        let set = PolicySet::new(&parts);
        prop_assert_eq!(set.policies().collect::<Vec<_>>(), parts.policies.clone());
        prop_assert_eq!(set.rules().collect::<Vec<_>>(), parts.rules.clone());
        let in_blocks = &parts.by_group_in_block;
        let groups = parts.by_group.iter().map(|it| it.0).chain(in_blocks.iter().map(|it| it.1));
        prop_assert_eq!(set.groups().collect::<Vec<_>>(), groups.collect::<Vec<_>>());
        let blocks = parts.by_block.iter().map(|it| it.0).chain(in_blocks.iter().map(|it| it.0));
        prop_assert_eq!(set.blocks().collect::<Vec<_>>(), blocks.collect::<Vec<_>>());
        let sets = parts.any_peer.iter().chain(parts.by_group.iter().map(|it| &it.1));
        let sets = sets.chain(parts.by_block.iter().map(|it| &it.1));
        let sets = sets.chain(in_blocks.iter().map(|it| &it.2));
        let known: BTreeSet<_> = sets.flat_map(|ports| ports.borders()).collect();
        prop_assert!(known.is_superset(&set.borders().into_iter().collect()));
        prop_assert!(set == PolicySet::new(&parts));
    }
}

#[test]
fn a_small_set_fits_two_lines_and_its_rules_come_after() {
    let https = PortMatch::Range { protocol: TCP, first: 443, last: 443 };
    let https = Arc::new(PortSet::new(&[(https, Rank(0))]));
    let set = PolicySet::new(&PolicySetParts {
        policies: vec![PolicyId(0)],
        rules: vec![RuleRef { policy: PolicyId(0), index: 0, action: Action::Accept }],
        by_group: (0..10).map(|id| (GroupId(id), Arc::clone(&https))).collect(),
        by_block: (0..10).map(|id| (BlockId(id), Arc::clone(&https))).collect(),
        ..PolicySetParts::default()
    });
    assert_eq!(set.0.len(), 3);
    assert_eq!(PolicySet::default().0.len(), 1);
}
