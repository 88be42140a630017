//! Ordered five-tuple rules in the shapes of access lists, firewalls and IP chains, beside rte_acl.
//!
//! Both sides get the same rules and the same packets, whose keys are parsed beforehand, and have
//! to name the same rule for each packet.

use std::net::IpAddr;

use ipnet::IpNet;
use sluice_core::classifier::generate::{Family, Shape, rules, trace};
use sluice_core::classifier::{Key, PortRange, Rule};

use super::pin;
use crate::metric::{Effort, Metric, Pair, Unit};
use crate::peers::dpdk::{Dpdk, Program};
use crate::rig::BenchError;
use crate::sluice::{Rules, nanoseconds};
use crate::stopwatch::Stopwatch;

const ACL: &str = "rte_acl";
const SHAPES: [Shape; 3] = [Shape::Acl, Shape::Fw, Shape::Ipc];
/// Packets of a trace.
const TRACE_LEN: usize = 1 << 16;
/// Packets that are looked up at once, in batches of each side's own choice.
const SLICE_LEN: usize = 4096;

pub(super) fn metrics() -> Vec<Metric> {
    let metric = |name, target, prepare| Metric {
        name,
        peer: ACL,
        unit: Unit::Nanoseconds,
        target,
        limit: None,
        rounds: 9,
        prepare,
    };
    vec![
        metric("acl_1k", None, |effort| sets(1_000, effort, geometric_mean)),
        metric("acl_10k_mean", Some(0.6), |effort| sets(10_000, effort, geometric_mean)),
        metric("acl_10k_worst", Some(0.4), |effort| sets(10_000, effort, worst)),
        metric("acl_100k", None, |effort| {
            pair(vec![Set::new(Shape::Acl, 100_000, 1)], effort, worst)
        }),
        Metric {
            name: "compile_100k",
            unit: Unit::Milliseconds,
            limit: Some(150.0),
            rounds: 3,
            ..metric("", None, builds)
        },
        Metric {
            name: "compile_100k_memory",
            unit: Unit::Mebibytes,
            limit: Some(32.0),
            rounds: 1,
            ..metric("", None, memory)
        },
    ]
}

/// A set of rules, and packets for them.
struct Set {
    rules: Vec<Rule>,
    keys: Vec<Key>,
    what: String,
}

/// What the figures of several sets come to.
type Summary = fn(&[f64]) -> f64;

/// A set of each shape; of two seeds, where there is time.
fn sets(len: usize, effort: Effort, summary: Summary) -> Result<Pair, BenchError> {
    let seeds = 1..=effort.choose(1, 2);
    let sets = seeds.flat_map(|seed| SHAPES.map(|shape| Set::new(shape, len, seed)));
    pair(sets.collect(), effort, summary)
}

fn pair(sets: Vec<Set>, effort: Effort, summary: Summary) -> Result<Pair, BenchError> {
    pin();
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for set in sets {
        let mut sluice = Rules::new(&set.rules);
        let mut peer = set.rte_acl()?;
        set.compare(&mut sluice, &mut peer)?;
        ours.push((sluice, set.keys));
        peers.push(peer);
    }
    let slices = effort.choose(50, 200);
    let sluice = move || {
        let figures = ours.iter_mut().map(|(sluice, keys)| find(sluice, keys, slices));
        figures.collect::<Result<Vec<_>, _>>().map(|figures| summary(&figures))
    };
    let peer = move || {
        let figures = peers.iter_mut().map(|peer| peer.run(slices).map(|(took, _)| took));
        figures.collect::<Result<Vec<_>, _>>().map(|figures| summary(&figures))
    };
    Ok(Pair::new(Box::new(sluice), Box::new(peer)))
}

fn builds(_: Effort) -> Result<Pair, BenchError> {
    pin();
    let set = Set::new(Shape::Acl, 100_000, 1);
    let mut peer = set.rte_acl()?;
    let sluice = move || {
        let start = Stopwatch::start()?;
        let built = Rules::new(&set.rules);
        let took = start.seconds()? * 1e3;
        drop(std::hint::black_box(built));
        Ok(took)
    };
    Ok(Pair::new(Box::new(sluice), Box::new(move || peer.build())))
}

fn memory(_: Effort) -> Result<Pair, BenchError> {
    let set = Set::new(Shape::Acl, 100_000, 1);
    let (sluice, peer) = (Rules::new(&set.rules).mib(), set.rte_acl()?.mib());
    Ok(Pair::new(Box::new(move || Ok(sluice)), Box::new(move || Ok(peer))))
}

fn find(sluice: &mut Rules, keys: &[Key], slices: usize) -> Result<f64, BenchError> {
    let mut place = 0;
    let next = |place: &mut usize| {
        *place = (*place + 1) % (TRACE_LEN / SLICE_LEN);
        Ok(())
    };
    nanoseconds(&mut place, slices, SLICE_LEN, next, |place| {
        sluice.find(keys.chunks_exact(SLICE_LEN).nth(*place).unwrap_or_default());
    })
}

impl Set {
    fn new(shape: Shape, len: usize, seed: u64) -> Self {
        let rules = rules(shape, Family::V4, len, seed);
        let keys = trace(&rules, Family::V4, TRACE_LEN, seed);
        Self { rules, keys, what: format!("{len} rules of shape {shape:?}, seed {seed}") }
    }

    fn rte_acl(&self) -> Result<Dpdk, BenchError> {
        let program = Program::compile()?;
        let rules: Vec<u8> = self.rules.iter().flat_map(record_of_rule).collect();
        let packets: Vec<u8> = self.keys.iter().flat_map(record_of_packet).collect();
        let (rules, packets) = (program.file("rules", &rules)?, program.file("packets", &packets)?);
        let arguments = [rules, packets].map(|path| path.display().to_string());
        let mib = if self.rules.len() > 10_000 { 12_288 } else { 4096 };
        program.start(mib, "acl", arguments.each_ref().map(|it| &**it))
    }

    fn compare(&self, sluice: &mut Rules, peer: &mut Dpdk) -> Result<(), BenchError> {
        let slices = TRACE_LEN / SLICE_LEN;
        let ours = self.keys.chunks_exact(SLICE_LEN).fold(0, |digest, keys| {
            sluice.find(keys);
            sluice.digest(digest)
        });
        if ours == peer.run(slices)?.1 {
            return Ok(());
        }
        Err(BenchError::Disagree(format!("{}, {TRACE_LEN} packets", self.what)))
    }
}

/// `struct rule` of peers/dpdk.c.
fn record_of_rule(rule: &Rule) -> Vec<u8> {
    let net = |net: Option<IpNet>| match net {
        Some(IpNet::V4(net)) => [u32::from(net.network()), net.prefix_len().into()],
        _ => [0, 0],
    };
    let ports = |range: Option<PortRange>| {
        let PortRange { first, last } = range.unwrap_or(PortRange::ALL);
        [first, last]
    };
    let nets = [net(rule.source), net(rule.destination)].into_iter().flatten();
    let ports = [ports(rule.source_ports), ports(rule.destination_ports)].into_iter().flatten();
    let protocol = u32::from(rule.protocol.unwrap_or_default());
    nets.flat_map(u32::to_ne_bytes)
        .chain(ports.flat_map(u16::to_ne_bytes))
        .chain(protocol.to_ne_bytes())
        .collect()
}

/// `struct packet` of peers/dpdk.c. Rules that speak of ports speak of a protocol that has some, so
/// it does not matter which ports a packet without them is given.
fn record_of_packet(key: &Key) -> Vec<u8> {
    let address = |address: IpAddr| match address {
        IpAddr::V4(v4) => u32::from(v4),
        IpAddr::V6(_) => 0,
    };
    let ports = key.ports.map_or([0, 0], |ports| [ports.source, ports.destination]);
    let addresses = [address(key.source), address(key.destination)];
    addresses
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .chain(ports.into_iter().flat_map(u16::to_ne_bytes))
        .chain([key.protocol, 0, 0, 0])
        .collect()
}

fn geometric_mean(figures: &[f64]) -> f64 {
    let logarithms: f64 = figures.iter().map(|figure| figure.ln()).sum();
    (logarithms / figures.len() as f64).exp()
}

fn worst(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_come_to_their_mean_and_their_worst() {
        assert!((geometric_mean(&[1.0, 10.0, 100.0]) - 10.0).abs() < 1e-9);
        assert_eq!(worst(&[3.0, 7.0, 5.0]), 7.0);
    }

    #[test]
    fn records_are_as_long_as_the_structs() {
        assert_eq!(record_of_rule(&Rule::default()).len(), 28);
        let set = Set::new(Shape::Fw, 10, 1);
        assert!(set.keys.iter().all(|key| record_of_packet(key).len() == 16));
    }
}
