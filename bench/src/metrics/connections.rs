//! The connection table alone: look-ups and insertions.

use sluice_core::flow::FlowKey;

use super::{pin, room_for};
use crate::flows::Flow;
use crate::metric::{Effort, Metric, Pair, Round, Unit};
use crate::numbers::Numbers;
use crate::peers::dpdk::Program;
use crate::peers::ebpf::{Programs, Run, Sizes};
use crate::rig::BenchError;
use crate::sluice::{Established, NEWCOMERS_LEN, Newcomers, answer, nanoseconds};

/// Keys that are looked up before others are prepared.
const KEYS_LEN: usize = 4096;
/// Connections of the table that is inserted into.
const MANY: u32 = 1_000_000;
/// Memory of an rte_hash of that many.
const HASH_MIB: u32 = 512;

const LRU: &str = "eBPF LRU hash";
const HASH: &str = "rte_hash bulk";

pub(super) fn metrics() -> Vec<Metric> {
    let metric = |name, peer, limit, prepare| Metric {
        name,
        peer,
        unit: Unit::Nanoseconds,
        target: None,
        limit,
        rounds: 15,
        prepare,
    };
    vec![
        metric("conn_lookup_1k", LRU, None, |effort| by_ebpf(1000, effort)),
        metric("conn_lookup_100k", LRU, None, |effort| by_ebpf(100_000, effort)),
        metric("conn_lookup_100k", HASH, None, |effort| by_dpdk(100_000, effort)),
        metric("conn_lookup_1m", LRU, None, |effort| by_ebpf(1_000_000, effort)),
        metric("conn_lookup_1m", HASH, None, |effort| by_dpdk(1_000_000, effort)),
        metric("conn_insert", "eBPF LRU hash, both full", Some(30.0), inserted_by_ebpf),
        metric("conn_insert", "rte_hash, both with room", Some(30.0), inserted_by_dpdk),
    ]
}

fn by_ebpf(count: u32, effort: Effort) -> Result<Pair, BenchError> {
    Ok(Pair::new(look_up(count, effort)?, found_by_ebpf(count, effort)?))
}

fn by_dpdk(count: u32, effort: Effort) -> Result<Pair, BenchError> {
    Ok(Pair::new(look_up(count, effort)?, found_by_dpdk(count, effort)?))
}

/// Finds the connections of known keys, in random order. Hashing them is part of it.
fn look_up(count: u32, effort: Effort) -> Result<Round, BenchError> {
    pin();
    let mut sluice = Established::new(count, room_for(count))?;
    let mut numbers = Numbers::new(1);
    let mut keys: Vec<FlowKey> = Vec::with_capacity(KEYS_LEN);
    let slices = effort.choose(25, 100);
    Ok(Box::new(move || {
        let mut missed = 0;
        let prepare = |keys: &mut Vec<FlowKey>| {
            keys.clear();
            let mut key = || Flow::numbered(numbers.scaled(count.into()) as u32).key().0;
            keys.extend((0..KEYS_LEN).map(|_| key()));
            Ok(())
        };
        let took = nanoseconds(&mut keys, slices, KEYS_LEN, prepare, |keys| {
            missed += keys.len() - sluice.find(keys);
        })?;
        all_found(missed, took)
    }))
}

/// An eBPF program finds them.
pub(super) fn found_by_ebpf(count: u32, effort: Effort) -> Result<Round, BenchError> {
    let mut programs = Programs::load(&Sizes { connections: room_for(count), ..Sizes::NONE })?;
    programs.open(count)?;
    programs.set(Run::of(count))?;
    let repeat = effort.choose(200_000, 500_000);
    Ok(Box::new(move || {
        let took = programs.nanoseconds("established", "floor_flow", repeat)?;
        // Each round of its own, so that the floor's digest is not in it. It is not timed.
        programs.set(Run::of(count))?;
        programs.run("established", KEYS_LEN as u32)?;
        let is_whole = programs.digest()? == yes(KEYS_LEN);
        all_found(usize::from(!is_whole), took)
    }))
}

/// DPDK finds them, 64 at a time.
pub(super) fn found_by_dpdk(count: u32, effort: Effort) -> Result<Round, BenchError> {
    let arguments = [count.to_string(), room_for(count).to_string()];
    let mut peer =
        Program::compile()?.start(HASH_MIB, "find", arguments.each_ref().map(|it| &**it))?;
    let slices = effort.choose(25, 100);
    Ok(Box::new(move || {
        let (took, digest) = peer.run(slices)?;
        all_found(usize::from(digest != yes(slices * KEYS_LEN)), took)
    }))
}

/// Both tables are full, so that every newcomer pushes another one out.
fn inserted_by_ebpf(effort: Effort) -> Result<Pair, BenchError> {
    let sluice = insert(MANY, effort, false)?;
    let mut programs = Programs::load(&Sizes { connections: MANY, ..Sizes::NONE })?;
    programs.open(MANY)?;
    programs.set(Run { next: MANY, ..Run::of(MANY) })?;
    let repeat = effort.choose(100_000, 400_000);
    let peer = move || programs.nanoseconds("insert", "floor_insert", repeat);
    Ok(Pair::new(sluice, Box::new(peer)))
}

/// Both tables have room: the oldest connections are taken out first, untimed.
fn inserted_by_dpdk(effort: Effort) -> Result<Pair, BenchError> {
    let sluice = insert(room_for(MANY), effort, true)?;
    let arguments = [MANY.to_string(), room_for(MANY).to_string()];
    let mut peer =
        Program::compile()?.start(HASH_MIB, "insert", arguments.each_ref().map(|it| &**it))?;
    let slices = effort.choose(25, 100);
    let peer = move || {
        let (took, digest) = peer.run(slices)?;
        all_found(usize::from(digest != yes(slices * NEWCOMERS_LEN)), took)
    };
    Ok(Pair::new(sluice, Box::new(peer)))
}

fn insert(capacity: u32, effort: Effort, remove_oldest: bool) -> Result<Round, BenchError> {
    pin();
    let mut sluice = Newcomers::new(MANY, capacity)?;
    let slices = effort.choose(25, 100);
    Ok(Box::new(move || {
        let mut refused = 0;
        let prepare = |sluice: &mut Newcomers| {
            sluice.prepare(remove_oldest);
            Ok(())
        };
        let took = nanoseconds(&mut sluice, slices, NEWCOMERS_LEN, prepare, |sluice| {
            refused += NEWCOMERS_LEN - sluice.open();
        })?;
        all_found(refused, took)
    }))
}

/// The digest of nothing but success.
fn yes(count: usize) -> u64 {
    (0..count).fold(0, |digest, _| answer(digest, 1))
}

fn all_found(missed: usize, took: f64) -> Result<f64, BenchError> {
    match missed {
        0 => Ok(took),
        _ => {
            Err(BenchError::Failed(format!("{missed} connections or rounds were not as expected")))
        }
    }
}
