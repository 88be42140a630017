//! What the connection table costs: look-ups, new connections, a flood, and expiry beside packets.
//!
//! Tables are aged first: their slots are taken in random order, so that the caches see what a
//! table shows them that has been in use for long.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a bench may fail as a test does"
)]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group};
use sluice_core::address::NetworkId;
use sluice_core::conntrack::state::Timeouts;
use sluice_core::conntrack::{Account, Connections, Limits, Opening};
use sluice_core::flow::{FiveTuple, FlowHasher};
use sluice_core::packet::{Ports, Transport};
use sluice_core::time::Time;

const DATAGRAM: Transport = Transport::Udp(Ports { source: 1, destination: 2 });
const BATCH: usize = 64;

/// A generator of repeatable numbers (xorshift); the benches need no quality, only spread.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for place in (1..items.len()).rev() {
            let other = self.below(place + 1);
            items.swap(place, other);
        }
    }
}

fn openings(range: std::ops::Range<u32>, hasher: &FlowHasher) -> Vec<Opening> {
    let opening = |n: u32| {
        let five_tuple = FiveTuple {
            network: NetworkId::DEFAULT,
            protocol: 17,
            source: Ipv4Addr::from(0x0a00_0000 + n / 50_000).into(),
            source_port: u16::try_from(1024 + n % 50_000).unwrap(),
            destination: Ipv4Addr::new(10, 200, 0, 1).into(),
            destination_port: 53,
        };
        let (key, opener) = five_tuple.key();
        let account = Account(u16::try_from(1 + n % 100).unwrap());
        Opening { key, hash: hasher.hash(&key), opener, account, revision: 1 }
    };
    range.map(opening).collect()
}

struct World {
    connections: Connections,
    flows: Vec<Opening>,
    now: Time,
    numbers: Numbers,
}

impl World {
    /// A table with room for `capacity` connections, aged and empty.
    fn new(capacity: u32, flows: u32) -> Self {
        let hasher = FlowHasher::seeded(1);
        let limits = Limits { connections_max: capacity, account_connections_max: capacity };
        let connections = Connections::new(limits, Timeouts::default(), hasher.clone());
        let flows = openings(0..flows, &hasher);
        let mut world = Self { connections, flows, now: Time(1), numbers: Numbers(0x9e37_79b9) };
        let mut others = openings(1 << 30..(1 << 30) + capacity, &hasher);
        others.iter().for_each(|other| world.open(other));
        world.numbers.shuffle(&mut others);
        for other in &others {
            world.connections.remove(other.hash, &other.key);
        }
        world
    }

    /// The same with all flows ongoing, their deadlines spread over their time-out.
    fn established(count: u32) -> Self {
        let mut world = Self::new(count, count);
        let span = world.connections.timeouts().udp_ongoing;
        let mut order = world.flows.clone();
        world.numbers.shuffle(&mut order);
        for flow in &order {
            world.now = world.now + span / count;
            world.open(flow);
            world.keep(flow);
            world.connections.expire(world.now, BATCH);
        }
        world.flows = order;
        world
    }

    fn open(&mut self, flow: &Opening) {
        assert!(self.connections.open(flow, &DATAGRAM, false, self.now).unwrap());
    }

    /// An answer, and what the opener says to it.
    fn keep(&mut self, flow: &Opening) {
        self.packet(flow, false);
        self.packet(flow, true);
    }

    fn packet(&mut self, flow: &Opening, by_opener: bool) {
        let mut found = self.connections.find(flow.hash, &flow.key, self.now).unwrap();
        found.follow(&DATAGRAM, false, by_opener).unwrap();
    }
}

/// Look-ups of flows that are there, and of flows that are not.
fn find(c: &mut Criterion) {
    for (name, known) in [("connection_found", true), ("connection_missed", false)] {
        let mut group = c.benchmark_group(name);
        for count in [10_000u32, 100_000, 1_000_000] {
            let mut world = World::established(count);
            let others = openings(1 << 29..(1 << 29) + count, &FlowHasher::seeded(1));
            let flows = if known { &world.flows } else { &others };
            let asked: Vec<Opening> =
                (0..65_536).map(|_| flows[world.numbers.below(flows.len())].clone()).collect();
            group.throughput(Throughput::Elements(asked.len() as u64));
            group.bench_function(format!("{count}"), |b| {
                b.iter(|| {
                    for flow in &asked {
                        let found = world.connections.find(flow.hash, &flow.key, world.now);
                        assert_eq!(black_box(found.is_some()), known);
                    }
                });
            });
        }
        group.finish();
    }
}

/// New connections: each after the end of an older one, and each pushing one out.
fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("connection_opened");
    for count in [100_000u32, 1_000_000] {
        for (name, in_a_flood) in [("in_place_of_one_removed", false), ("in_a_flood", true)] {
            let mut world = World::new(count, 2 * count);
            let flows = std::mem::take(&mut world.flows);
            let (first, rest) = flows.split_at(count as usize);
            first.iter().for_each(|flow| world.open(flow));
            let mut pairs = flows.iter().zip(rest.iter().chain(first)).cycle();
            group.throughput(Throughput::Elements(1));
            group.bench_function(format!("{name}/{count}"), |b| {
                b.iter(|| {
                    let (oldest, newest) = pairs.next().unwrap();
                    if !in_a_flood {
                        world.connections.remove(oldest.hash, &oldest.key);
                    }
                    world.open(newest);
                });
            });
            assert_eq!(world.connections.evicted() > 0, in_a_flood);
            assert_eq!(world.connections.len(), count as usize);
        }
    }
    group.finish();
}

criterion_group!(benches, find, open);

/// What expiry adds to packets: rounds of packets on random connections, a microsecond each, in
/// turns with a sweep behind each batch and without. A round with sweeps does the work of the
/// one before, too, so that half of the difference is what expiry costs.
fn expiry_beside_packets(count: u32) {
    const ROUNDS: usize = 1000;
    const ROUND: usize = 128 * BATCH;
    let mut world = World::established(count);
    let mut looked_at = 0;
    let (mut alone, mut both) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut ask =
            || -> Vec<usize> { (0..ROUND).map(|_| world.numbers.below(count as usize)).collect() };
        let (first, second) = (ask(), ask());
        alone.push(world.packets(&first, |_| {}));
        both.push(world.packets(&second, |world| {
            looked_at += world.connections.expire(world.now, BATCH);
        }));
    }
    // The lower quartile is what the machine does when it does nothing else.
    let [alone, both] = [alone, both].map(|mut times| quantile(&mut times, 0.25));
    println!(
        "expiry beside packets, {count} connections: {:.2} % of the time of their look-ups, which \
         take {:.1} ns each; {:.2} connections looked at a thousand packets",
        (both - alone) / 2.0 / alone * 100.0,
        alone / ROUND as f64 * 1e9,
        looked_at as f64 * 1000.0 / (2 * ROUNDS * ROUND) as f64,
    );
}

/// How long single sweeps take when all connections are due at once: to be freed, or to be
/// looked at because packets have kept them alive. Every run makes the same sweeps, so the
/// shortest of a sweep's times is its own, without what else the machine does.
fn longest_sweep(count: u32, kept_alive: bool) {
    const RUNS: usize = 5;
    let mut shortest: Vec<f64> = Vec::new();
    let mut longest: f64 = 0.0;
    for _ in 0..RUNS {
        let micros = sweeps_of_all(count, kept_alive);
        longest = micros.iter().fold(longest, |longest, time| longest.max(*time));
        shortest.resize(micros.len(), f64::INFINITY);
        shortest.iter_mut().zip(micros).for_each(|(all, time)| *all = all.min(time));
    }
    println!(
        "{count} connections due at once and {}: {} sweeps of {BATCH}; median {:.1} us, \
         p99.9 {:.1} us, longest {:.1} us (the shortest of {RUNS} runs each; the longest of \
         them all took {longest:.1} us)",
        if kept_alive { "kept alive" } else { "freed" },
        shortest.len(),
        quantile(&mut shortest, 0.5),
        quantile(&mut shortest, 0.999),
        quantile(&mut shortest, 1.0),
    );
}

fn sweeps_of_all(count: u32, kept_alive: bool) -> Vec<f64> {
    let mut world = World::new(count, count);
    let mut flows = std::mem::take(&mut world.flows);
    world.numbers.shuffle(&mut flows);
    flows.iter().for_each(|flow| world.open(flow));
    if kept_alive {
        flows.iter().for_each(|flow| world.keep(flow));
    }
    world.now = world.now + world.connections.timeouts().udp_single + Duration::from_secs(1);
    let mut micros = Vec::new();
    loop {
        let begin = Instant::now();
        let steps = world.connections.expire(world.now, BATCH);
        micros.push(begin.elapsed().as_secs_f64() * 1e6);
        if steps < BATCH {
            break;
        }
    }
    assert_eq!(world.connections.len(), if kept_alive { count as usize } else { 0 });
    micros
}

impl World {
    /// Takes in packets of flows, some of which have expired meanwhile. Returns the seconds
    /// that it took.
    fn packets(&mut self, asked: &[usize], after_batch: impl FnMut(&mut Self)) -> f64 {
        let flows = std::mem::take(&mut self.flows);
        let mut after_batch = after_batch;
        let begin = Instant::now();
        for batch in asked.chunks(BATCH) {
            for flow in batch {
                let flow = &flows[*flow];
                match self.connections.find(flow.hash, &flow.key, self.now) {
                    Some(mut found) => found.follow(&DATAGRAM, false, false).unwrap(),
                    None => self.open(flow),
                }
            }
            self.now = self.now + Duration::from_micros(BATCH as u64);
            after_batch(self);
        }
        let took = begin.elapsed();
        self.flows = flows;
        took.as_secs_f64()
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share) as usize]
}

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    for count in [100_000, 1_000_000] {
        expiry_beside_packets(count);
        longest_sweep(count, false);
        longest_sweep(count, true);
    }
}
