//! The longest prefix among many.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::pin;
use crate::metric::{Effort, Metric, Pair, Round, Unit};
use crate::numbers::Numbers;
use crate::peers::dpdk::{Dpdk, Program};
use crate::peers::ebpf::{Programs, Run, Sizes};
use crate::rig::BenchError;
use crate::sluice::{Prefixes, nanoseconds};
use crate::stopwatch::Stopwatch;

const PREFIXES_LEN: usize = 1_000_000;
const PREFIXES_V6_LEN: usize = 200_000;
/// Addresses that are looked up in turn: as many as there are prefixes, so that no cache knows
/// them all.
const ADDRESSES_LEN: usize = 1 << 20;
/// Addresses that are looked up at once.
const SLICE_LEN: usize = 4096;
/// DIR24-8 takes 64 MiB, a KiB for each /24 with something longer in it, and its own tree. The
/// trie for IPv6 takes 2 KiB for each 8 bits past the first 24 of a prefix that it does not share.
const FIB_MIB: u32 = 1024;
const FIB_V6_MIB: u32 = 4096;

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
    let (fib, fib6) = ("rte_fib DIR24-8", "rte_fib6 trie");
    vec![
        Metric { limit: None, ..metric("lpm_1k", fib, Unit::Nanoseconds, 0.0, few_by_dpdk) },
        metric("lpm_1m", "eBPF LPM trie", Unit::Nanoseconds, 7.0, by_ebpf),
        metric("lpm_1m", fib, Unit::Nanoseconds, 7.0, by_dpdk),
        Metric { rounds: 3, ..metric("lpm_1m_build", fib, Unit::Milliseconds, 150.0, builds) },
        Metric { rounds: 1, ..metric("lpm_1m_memory", fib, Unit::Mebibytes, 16.0, memory) },
        Metric {
            limit: None,
            target: Some(1.0),
            ..metric("lpm6_200k", fib6, Unit::Nanoseconds, 0.0, v6_by_dpdk)
        },
    ]
}

/// What is looked up in what, in one family.
struct World {
    prefixes: Vec<IpNet>,
    addresses: Vec<IpAddr>,
}

impl World {
    /// Prefixes as routers know them: most are /24, and many lie within others.
    fn v4(len: usize) -> Self {
        Self::new(len, |numbers| {
            let len = match numbers.below(100) {
                0..4 => 8 + numbers.below(8),
                4..34 => 16 + numbers.below(8),
                34..94 => 24,
                _ => 25 + numbers.below(8),
            };
            // Of all that can be routed: 1.0.0.0 to 223.255.255.255.
            let bits = 0x0100_0000 + numbers.scaled(0xdf00_0000) as u32;
            IpNet::new(Ipv4Addr::from(bits).into(), len as u8).unwrap_or_default()
        })
    }

    /// Half are /48; registries give from 32 blocks, and sites nest within providers.
    fn v6() -> Self {
        Self::new(PREFIXES_V6_LEN, |numbers| {
            let len = match numbers.below(100) {
                0..20 => 28 + numbers.below(5),
                20..40 => 33 + numbers.below(15),
                40..90 => 48,
                90..97 => 49 + numbers.below(16),
                _ => 65 + numbers.below(64),
            };
            let registry = 0x2000 + 0x80 * numbers.below(32) as u128;
            let provider = numbers.below(1 << 13) as u128;
            let rest = u128::from(numbers.next()) << 35 | u128::from(numbers.next() >> 29);
            let bits = registry << 112 | provider << 99 | rest & ((1 << 99) - 1);
            IpNet::new(Ipv6Addr::from(bits).into(), len as u8).unwrap_or_default()
        })
    }

    /// Distinct prefixes as `draw` gives them, and addresses that are drawn from within prefixes.
    fn new(len: usize, draw: impl Fn(&mut Numbers) -> IpNet) -> Self {
        let mut numbers = Numbers::new(24);
        let mut known = HashSet::with_capacity(len);
        let mut prefixes = Vec::with_capacity(len);
        while prefixes.len() < len {
            let net = draw(&mut numbers).trunc();
            if known.insert(net) {
                prefixes.push(net);
            }
        }
        let mut address = || match prefixes.get(numbers.below(len)).copied().unwrap_or_default() {
            IpNet::V4(net) => {
                let host = numbers.next() as u32 & u32::from(net.hostmask());
                Ipv4Addr::from(u32::from(net.network()) | host).into()
            }
            IpNet::V6(net) => {
                let host = u128::from(numbers.next()) << 64 | u128::from(numbers.next());
                Ipv6Addr::from(u128::from(net.network()) | host & u128::from(net.hostmask())).into()
            }
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

    /// Prefixes of IPv4 with the numbers that answers give them.
    fn routes(&self) -> impl Iterator<Item = (Ipv4Addr, u8, u32)> {
        (1..).zip(&self.prefixes).filter_map(|(value, net)| match net {
            IpNet::V4(net) => Some((net.network(), net.prefix_len(), value)),
            IpNet::V6(_) => None,
        })
    }

    /// DPDK's table of the family.
    fn fib(&self) -> Result<Dpdk, BenchError> {
        let program = Program::compile()?;
        let is_v6 = self.addresses.iter().any(IpAddr::is_ipv6);
        // Addresses of IPv4 are numbers there, those of IPv6 bytes.
        let bytes = |address: IpAddr| match address {
            IpAddr::V4(v4) => u32::from(v4).to_ne_bytes().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let routes = (1u32..).zip(&self.prefixes).flat_map(|(value, net)| {
            let len = u32::from(net.prefix_len());
            [bytes(net.network()), len.to_ne_bytes().to_vec(), value.to_ne_bytes().to_vec()]
        });
        let routes: Vec<u8> = routes.flatten().collect();
        let addresses: Vec<u8> = self.addresses.iter().flat_map(|it| bytes(*it)).collect();
        let routes = program.file("prefixes", &routes)?;
        let addresses = program.file("addresses", &addresses)?;
        let arguments = [routes, addresses].map(|path| path.display().to_string());
        let (mib, kind) = if is_v6 { (FIB_V6_MIB, "fib6") } else { (FIB_MIB, "fib") };
        program.start(mib, kind, arguments.each_ref().map(|it| &**it))
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
    let world = World::v4(PREFIXES_LEN);
    let sluice = Prefixes::new(&world.prefixes);
    let (prefixes, addresses) = (PREFIXES_LEN as u32, ADDRESSES_LEN as u32);
    let mut programs = Programs::load(&Sizes { prefixes, addresses, ..Sizes::NONE })?;
    programs.set_prefixes(world.routes())?;
    let v4 = world.addresses.iter().filter_map(|address| match address {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    });
    programs.set_addresses(&v4.collect::<Vec<_>>())?;
    programs.set(Run::of(1))?;
    programs.run("lpm", (COMPARED * SLICE_LEN) as u32)?;
    compare(world.answers(&sluice, COMPARED), programs.digest()?)?;
    let repeat = effort.choose(100_000, 300_000);
    let peer = move || programs.nanoseconds("lpm", "floor_lpm", repeat);
    Ok(Pair::new(world.rounds(sluice, effort), Box::new(peer)))
}

fn by_dpdk(effort: Effort) -> Result<Pair, BenchError> {
    looked_up(|| World::v4(PREFIXES_LEN), effort)
}

fn few_by_dpdk(effort: Effort) -> Result<Pair, BenchError> {
    looked_up(|| World::v4(1000), effort)
}

fn v6_by_dpdk(effort: Effort) -> Result<Pair, BenchError> {
    looked_up(World::v6, effort)
}

fn looked_up(world: fn() -> World, effort: Effort) -> Result<Pair, BenchError> {
    pin();
    let world = world();
    let sluice = Prefixes::new(&world.prefixes);
    let mut fib = world.fib()?;
    compare(world.answers(&sluice, COMPARED), fib.run(COMPARED)?.1)?;
    let slices = effort.choose(50, 200);
    let peer = move || fib.run(slices).map(|(took, _)| took);
    Ok(Pair::new(world.rounds(sluice, effort), Box::new(peer)))
}

fn builds(_: Effort) -> Result<Pair, BenchError> {
    pin();
    let world = World::v4(PREFIXES_LEN);
    let mut fib = world.fib()?;
    let sluice = move || {
        let start = Stopwatch::start()?;
        let built = Prefixes::new(&world.prefixes);
        let took = start.seconds()? * 1e3;
        drop(std::hint::black_box(built));
        Ok(took)
    };
    Ok(Pair::new(Box::new(sluice), Box::new(move || fib.build())))
}

fn memory(_: Effort) -> Result<Pair, BenchError> {
    let world = World::v4(PREFIXES_LEN);
    let (sluice, peer) = (Prefixes::new(&world.prefixes).mib(), world.fib()?.mib());
    Ok(Pair::new(Box::new(move || Ok(sluice)), Box::new(move || Ok(peer))))
}
