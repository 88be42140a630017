//! What a classifier of ordered rules takes from the allocator: a bounded share for each rule,
//! and nothing for a packet.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use sluice_core::classifier::{Classifier, Key, PortRange, Rule};
use sluice_core::packet::Ports;
use sluice_core::ports::{Rank, TCP};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const RULES: u32 = 20_000;

/// Sources in /24s, destinations of their own.
fn rule(number: u32) -> Rule {
    let net = |address: u32, len| {
        let net = ipnet::Ipv4Net::new(address.into(), len).unwrap();
        Some(ipnet::IpNet::from(net).trunc())
    };
    Rule {
        source: net(0x0a00_0000 | (number % 4096) << 8, 24),
        destination: net(0xc0a8_0000 + number, 32),
        destination_ports: Some(PortRange::one(u16::try_from(number % 1000).unwrap())),
        protocol: Some(TCP),
        ..Rule::default()
    }
}

#[test]
fn rules_take_at_most_320_bytes_each_and_packets_nothing() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let rules: Vec<Rule> = (0..RULES).map(rule).collect();
    let before = dhat::HeapStats::get().curr_bytes;
    let classifier = Classifier::new((0..).map(Rank).zip(&rules));
    let taken = dhat::HeapStats::get().curr_bytes - before;
    println!("{} bytes a rule", taken / rules.len());
    assert!(taken <= 320 * rules.len(), "{taken} bytes");

    let keys: Vec<Key> = (0..RULES)
        .map(|number| Key {
            source: rule(number).source.unwrap().addr(),
            destination: rule(number).destination.unwrap().addr(),
            protocol: TCP,
            ports: Some(Ports { source: 1, destination: u16::try_from(number % 1000).unwrap() }),
        })
        .collect();
    let mut ranks = vec![None; keys.len()];
    let before = dhat::HeapStats::get().total_blocks;
    classifier.first_matches(&keys, &mut ranks);
    assert_eq!(dhat::HeapStats::get().total_blocks, before, "allocations");
    assert!(ranks.iter().copied().eq((0..RULES).map(|rank| Some(Rank(rank)))));
}
