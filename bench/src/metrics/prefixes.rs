//! The longest prefix among a million.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::pin;
use crate::metric::{Effort, Metric, Pair, Round, Unit};
use crate::numbers::Numbers;
use crate::peers::dpdk::{Dpdk, Program};
use crate::peers::ebpf::{Programs, Run, Sizes};
use crate::rig::BenchError;
use crate::sluice::{Prefixes, nanoseconds};
use crate::stopwatch::Stopwatch;

const PREFIXES_LEN: usize = 1_000_000;
/// Addresses that are looked up in turn: as many as there are prefixes, so that no cache knows
/// them all.
const ADDRESSES_LEN: usize = 1 << 20;
/// Addresses that are looked up at once.
const SLICE_LEN: usize = 4096;
/// DIR24-8 takes 64 MiB, a KiB for each /24 with something longer in it, and its own tree.
const FIB_MIB: u32 = 1024;

pub(super) fn metrics() -> Vec<Metric> {
    let metric = |name, peer, unit, limit, prepare| Metric {
        name,
        peer,
        unit,
        target: None,
        limit: Some(limit),
        rounds: 15,
        prepare,
    };
    let fib = "rte_fib DIR24-8";
    vec![
        metric("lpm_1m", "eBPF LPM trie", Unit::Nanoseconds, 7.0, by_ebpf),
        metric("lpm_1m", fib, Unit::Nanoseconds, 7.0, by_dpdk),
        Metric { rounds: 3, ..metric("lpm_1m_build", fib, Unit::Milliseconds, 150.0, builds) },
    ]
}

/// What is looked up in what.
struct World {
    prefixes: Vec<Ipv4Net>,
    addresses: Vec<Ipv4Addr>,
}

impl World {
    /// Prefixes as routers know them: most are /24, and many lie within others. Addresses are
    /// drawn from within prefixes.
    fn new() -> Self {
        let mut numbers = Numbers::new(24);
        let mut known = HashSet::with_capacity(PREFIXES_LEN);
        let mut prefixes = Vec::with_capacity(PREFIXES_LEN);
        while prefixes.len() < PREFIXES_LEN {
            let len = match numbers.below(100) {
                0..4 => 8 + numbers.below(8),
                4..34 => 16 + numbers.below(8),
                34..94 => 24,
                _ => 25 + numbers.below(8),
            };
            // Of all that can be routed: 1.0.0.0 to 223.255.255.255.
            let bits = 0x0100_0000 + numbers.scaled(0xdf00_0000) as u32;
            let net = Ipv4Net::new(Ipv4Addr::from(bits), len as u8).unwrap_or_default().trunc();
            if known.insert(net) {
                prefixes.push(net);
            }
        }
        let mut address = || {
            let within = prefixes.get(numbers.below(PREFIXES_LEN)).copied().unwrap_or_default();
            let host = numbers.next() as u32 & u32::from(within.hostmask());
            Ipv4Addr::from(u32::from(within.network()) | host)
        };
        let addresses = (0..ADDRESSES_LEN).map(|_| address()).collect();
        Self { prefixes, addresses }
    }

    /// The digest of Sluice's answers on the first so many slices.
    fn answers(&self, sluice: &Prefixes, slices: usize) -> u64 {
        sluice.find(0, self.addresses.get(..slices * SLICE_LEN).unwrap_or_default())
    }

    fn rounds(self, sluice: Prefixes, effort: Effort) -> Round {
        let slices = effort.choose(50, 200);
        let mut place = 0;
        Box::new(move || {
            let slice_at = |place: usize| {
                self.addresses.chunks_exact(SLICE_LEN).nth(place).unwrap_or_default()
            };
            let prepare = |place: &mut usize| {
                *place = (*place + 1) % (ADDRESSES_LEN / SLICE_LEN);
                // Read, as they would have been with a packet's headers.
                std::hint::black_box(slice_at(*place).iter().max());
                Ok(())
            };
            nanoseconds(&mut place, slices, SLICE_LEN, prepare, |place| {
                std::hint::black_box(sluice.find(0, slice_at(*place)));
            })
        })
    }

    fn fib(&self) -> Result<Dpdk, BenchError> {
        let program = Program::compile()?;
        let routes = (1..).zip(&self.prefixes).flat_map(|(value, net): (u32, _)| {
            [net.network().into(), u32::from(net.prefix_len()), value]
        });
        let routes: Vec<u8> = routes.flat_map(u32::to_ne_bytes).collect();
        let addresses = self.addresses.iter().flat_map(|address| u32::from(*address).to_ne_bytes());
        let routes = program.file("prefixes", &routes)?;
        let addresses = program.file("addresses", &addresses.collect::<Vec<u8>>())?;
        let arguments = [routes, addresses].map(|path| path.display().to_string());
        program.start(FIB_MIB, "fib", arguments.each_ref().map(|it| &**it))
    }
}

/// Slices whose answers are compared.
const COMPARED: usize = 64;

fn compare(ours: u64, theirs: u64) -> Result<(), BenchError> {
    if ours == theirs {
        return Ok(());
    }
    Err(BenchError::Disagree(format!(
        "on the longest prefix of {} addresses",
        COMPARED * SLICE_LEN
    )))
}

fn by_ebpf(effort: Effort) -> Result<Pair, BenchError> {
    pin();
    let world = World::new();
    let sluice = Prefixes::new(&world.prefixes);
    let (prefixes, addresses) = (PREFIXES_LEN as u32, ADDRESSES_LEN as u32);
    let mut programs = Programs::load(&Sizes { prefixes, addresses, ..Sizes::NONE })?;
    let routes = (1..).zip(&world.prefixes);
    programs.set_prefixes(routes.map(|(value, net)| (net.network(), net.prefix_len(), value)))?;
    programs.set_addresses(&world.addresses)?;
    programs.set(Run::of(1))?;
    programs.run("lpm", (COMPARED * SLICE_LEN) as u32)?;
    compare(world.answers(&sluice, COMPARED), programs.digest()?)?;
    let repeat = effort.choose(100_000, 300_000);
    let peer = move || programs.nanoseconds("lpm", "floor_lpm", repeat);
    Ok(Pair { sluice: world.rounds(sluice, effort), peer: Box::new(peer) })
}

fn by_dpdk(effort: Effort) -> Result<Pair, BenchError> {
    pin();
    let world = World::new();
    let sluice = Prefixes::new(&world.prefixes);
    let mut fib = world.fib()?;
    compare(world.answers(&sluice, COMPARED), fib.run(COMPARED)?.1)?;
    let slices = effort.choose(50, 200);
    let peer = move || fib.run(slices).map(|(took, _)| took);
    Ok(Pair { sluice: world.rounds(sluice, effort), peer: Box::new(peer) })
}

fn builds(_: Effort) -> Result<Pair, BenchError> {
    pin();
    let world = World::new();
    let mut fib = world.fib()?;
    let sluice = move || {
        let start = Stopwatch::start()?;
        let built = Prefixes::new(&world.prefixes);
        let took = start.seconds()? * 1e3;
        drop(std::hint::black_box(built));
        Ok(took)
    };
    Ok(Pair { sluice: Box::new(sluice), peer: Box::new(move || fib.build()) })
}
