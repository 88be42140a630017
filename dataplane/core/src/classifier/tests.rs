use proptest::prelude::*;

use super::generate::{Family, Random, Shape, rules, trace};
use super::*;
use crate::ports::{ICMP, TCP, UDP};

const SHAPES: [Shape; 3] = [Shape::Acl, Shape::Fw, Shape::Ipc];

/// What the classifier has to say: the first in the list that matches.
fn walked(rules: &[(Rank, Rule)], key: &Key) -> Option<Rank> {
    rules.iter().filter(|(_, rule)| rule.matches(key)).map(|(rank, _)| *rank).min()
}

fn classifier(rules: &[(Rank, Rule)]) -> Classifier {
    Classifier::new(rules.iter().map(|(rank, rule)| (*rank, rule)))
}

fn ranked(rules: Vec<Rule>) -> Vec<(Rank, Rule)> {
    (0..).map(Rank).zip(rules).collect()
}

/// Asks one at a time and all at once.
fn check(classifier: &Classifier, rules: &[(Rank, Rule)], keys: &[Key]) {
    let mut ranks = vec![Some(Rank(u32::MAX)); keys.len()];
    classifier.first_matches(keys, &mut ranks);
    for (key, rank) in keys.iter().zip(ranks) {
        let first = walked(rules, key);
        assert_eq!(classifier.first_match(key), first, "{key:?}");
        assert_eq!(rank, first, "in a batch: {key:?}");
    }
}

fn key(source: &str, destination: &str, protocol: Protocol, ports: Option<(u16, u16)>) -> Key {
    Key {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        protocol,
        ports: ports.map(|(source, destination)| Ports { source, destination }),
    }
}

fn net(text: &str) -> Option<IpNet> {
    Some(text.parse().unwrap())
}

#[test]
fn generated_rules_are_found_as_a_walk_over_all_finds_them() {
    for shape in SHAPES {
        for family in [Family::V4, Family::V6] {
            let rules = ranked(rules(shape, family, 900, 7));
            let plain: Vec<Rule> = rules.iter().map(|(_, rule)| *rule).collect();
            check(&classifier(&rules), &rules, &trace(&plain, family, 1_500, 7));
        }
    }
}

#[test]
fn rules_come_and_go_and_a_copy_keeps_what_it_had() {
    for (shape, family) in SHAPES.into_iter().zip([Family::V4, Family::V6, Family::V4]) {
        let all = rules(shape, family, 1_200, 11);
        let keys = trace(&all, family, 400, 11);
        let mut rules = ranked(all[..600].to_vec());
        let mut classifier = classifier(&rules);
        let (copy, then) = (classifier.clone(), rules.clone());
        let mut random = Random::new(5);
        for (rank, rule) in (600..).map(Rank).zip(&all[600..]) {
            // As often before the others as behind them.
            let rank = if random.in_parts(1, 2) { Rank(rank.0 + 10_000) } else { rank };
            classifier.insert(rank, rule);
            rules.push((rank, *rule));
            let gone = random.below(u32::try_from(rules.len()).unwrap()) as usize;
            let (rank, rule) = rules.swap_remove(gone);
            classifier.remove(rank, &rule);
        }
        check(&classifier, &rules, &keys);
        check(&copy, &then, &keys);
        for (rank, rule) in rules.drain(..) {
            classifier.remove(rank, &rule);
        }
        check(&classifier, &[], &keys);
        assert_eq!(classifier.lens(), (0, 0));
    }
}

#[test]
fn a_classifier_that_changes_for_long_takes_no_more_memory_than_a_new_one_by_much() {
    let all = rules(Shape::Fw, Family::V4, 3_000, 3);
    let mut rules = ranked(all[..1_000].to_vec());
    let mut changed = classifier(&rules);
    for (rank, rule) in (1_000..).map(Rank).zip(&all[1_000..]) {
        let (gone, its) = rules.remove(0);
        changed.remove(gone, &its);
        changed.insert(rank, rule);
        rules.push((rank, *rule));
    }
    let (changed, new) = (changed.heap_bytes(), classifier(&rules).heap_bytes());
    assert!(changed < 3 * new, "{changed} bytes instead of {new}");
}

#[test]
fn rules_without_any_field_match_packets_of_both_families() {
    let rules = ranked(vec![Rule::default()]);
    let keys = [
        key("10.0.0.1", "10.0.0.2", TCP, Some((1, 2))),
        key("2001:db8::1", "2001:db8::2", ICMP, None),
    ];
    check(&classifier(&rules), &rules, &keys);
    assert_eq!(classifier(&rules).first_match(&keys[1]), Some(Rank(0)));
}

#[test]
fn a_rule_whose_prefixes_are_of_two_families_matches_nothing() {
    let rule =
        Rule { source: net("10.0.0.0/8"), destination: net("2001:db8::/32"), ..Rule::default() };
    assert_eq!(classifier(&[(Rank(0), rule)]).lens(), (0, 0));
}

#[test]
fn a_packet_without_ports_matches_no_rule_with_ports_not_even_one_for_all() {
    let open = Rule { protocol: Some(UDP), ..Rule::default() };
    let every_source = Rule { source_ports: Some(PortRange::ALL), ..open };
    let every_destination = Rule { destination_ports: Some(PortRange::ALL), ..open };
    let rules = ranked(vec![every_source, every_destination, open]);
    let classifier = classifier(&rules);
    let fragment = key("10.0.0.1", "10.0.0.2", UDP, None);
    assert_eq!(classifier.first_match(&fragment), Some(Rank(2)));
    let whole = key("10.0.0.1", "10.0.0.2", UDP, Some((0, 0)));
    assert_eq!(classifier.first_match(&whole), Some(Rank(0)));
    check(&classifier, &rules, &[fragment, whole]);
}

#[test]
fn of_equal_rules_the_first_is_found_until_it_goes() {
    let rule = Rule { source: net("10.0.0.1/32"), protocol: Some(TCP), ..Rule::default() };
    let mut rules: Vec<(Rank, Rule)> = (0..100).map(|rank| (Rank(rank), rule)).collect();
    let mut classifier = classifier(&rules);
    let key = key("10.0.0.1", "10.9.9.9", TCP, Some((1, 1)));
    while let Some((rank, rule)) = rules.first().copied() {
        assert_eq!(classifier.first_match(&key), Some(rank));
        classifier.remove(rank, &rule);
        rules.remove(0);
    }
    assert_eq!(classifier.first_match(&key), None);
}

#[test]
fn rules_that_no_cut_tells_apart_are_found() {
    // Each overlaps all others, in every field.
    let rules: Vec<(Rank, Rule)> = (0..600u16)
        .map(|number| {
            let range = PortRange { first: number, last: u16::MAX - number };
            let rule = Rule {
                source_ports: Some(range),
                destination_ports: Some(range),
                ..Rule::default()
            };
            (Rank(u32::from(600 - number)), rule)
        })
        .collect();
    let keys: Vec<Key> = (0..64)
        .map(|number| key("10.0.0.1", "10.0.0.2", TCP, Some((number * 11, u16::MAX - number * 9))))
        .collect();
    check(&classifier(&rules), &rules, &keys);
}

#[test]
fn an_empty_range_matches_nothing() {
    let range = Some(PortRange { first: 2, last: 1 });
    let rule = Rule { destination_ports: range, ..Rule::default() };
    let rules = [(Rank(0), rule)];
    let keys: Vec<Key> =
        (0..4).map(|port| key("10.0.0.1", "10.0.0.2", TCP, Some((port, port)))).collect();
    check(&classifier(&rules), &rules, &keys);
}

fn any_net(v6: bool) -> impl Strategy<Value = Option<IpNet>> {
    // Few bits vary, at both ends of the address, so that nesting and equality are common.
    let lens = if v6 { vec![0u8, 1, 3, 63, 64, 127, 128] } else { vec![0u8, 1, 3, 16, 31, 32] };
    (any::<bool>(), prop::sample::select(lens), 0u8..16).prop_map(move |(open, len, bits)| {
        let net = IpNet::new(address(v6, bits), len).unwrap().trunc();
        (!open).then_some(net)
    })
}

/// One of 16 addresses, two bits at each end.
fn address(v6: bool, bits: u8) -> IpAddr {
    let (upper, lower) = (u32::from(bits >> 2), u32::from(bits & 3));
    if v6 {
        std::net::Ipv6Addr::from((u128::from(upper) << 126) | u128::from(lower)).into()
    } else {
        std::net::Ipv4Addr::from((upper << 30) | lower).into()
    }
}

fn any_port() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![0u16, 1, 2, 79, 80, 81, 1023, 1024, 32_767, 32_768, 65_534, 65_535])
}

fn any_range() -> impl Strategy<Value = Option<PortRange>> {
    prop::option::of(
        (any_port(), any_port()).prop_map(|(a, b)| PortRange { first: a.min(b), last: a.max(b) }),
    )
}

fn any_protocol() -> impl Strategy<Value = Protocol> {
    prop::sample::select(vec![0u8, ICMP, TCP, UDP, 255])
}

fn any_rule() -> impl Strategy<Value = Rule> {
    any::<bool>()
        .prop_flat_map(|v6| {
            let nets = (any_net(v6), any_net(v6));
            (nets, any_range(), any_range(), prop::option::of(any_protocol()))
        })
        .prop_map(|((source, destination), source_ports, destination_ports, protocol)| Rule {
            source,
            destination,
            source_ports,
            destination_ports,
            protocol,
        })
}

fn any_key() -> impl Strategy<Value = Key> {
    let ports = prop::option::of((any_port(), any_port()));
    (any::<bool>(), 0u8..16, 0u8..16, any_protocol(), ports).prop_map(
        |(v6, source, destination, protocol, ports)| Key {
            source: address(v6, source),
            destination: address(v6, destination),
            protocol,
            ports: ports.map(|(source, destination)| Ports { source, destination }),
        },
    )
}

proptest! {
    #[test]
    fn any_rules_are_found_as_a_walk_over_all_finds_them(
        rules in prop::collection::vec(any_rule(), 0..120),
        keys in prop::collection::vec(any_key(), 1..100),
    ) {
        let rules = ranked(rules);
        check(&classifier(&rules), &rules, &keys);
    }

    #[test]
    fn any_changes_lead_where_a_new_classifier_is(
        rules in prop::collection::vec(any_rule(), 1..60),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_rule()), 0..80),
        keys in prop::collection::vec(any_key(), 1..40),
    ) {
        let mut rules = ranked(rules);
        let mut classifier = classifier(&rules);
        for (at, rule) in changes {
            let at = at.index(rules.len());
            let (rank, before) = rules[at];
            classifier.remove(rank, &before);
            classifier.insert(rank, &rule);
            rules[at].1 = rule;
        }
        check(&classifier, &rules, &keys);
    }
}
