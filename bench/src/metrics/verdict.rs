//! Whole verdicts: of established flows, and of first packets.

use crate::flows::{Cluster, FRAMES_LEN, Flow, Frames};
use crate::metric::{Effort, Metric, Pair, Round, Unit};
use crate::numbers::Numbers;
use crate::peers::ebpf::{Programs, Run, Sizes};
use crate::rig::BenchError;
use crate::sluice::{Established, First, nanoseconds};

use super::connections::{found_by_dpdk, found_by_ebpf};
use super::{pin, room_for};

const LRU: &str = "eBPF LRU hash, look-up alone";
const HASH: &str = "rte_hash bulk, look-up alone";
const POLICY: &str = "eBPF conntrack, 2 LPM, policy";

pub(crate) fn metrics() -> Vec<Metric> {
    let metric = |name, peer, target, limit, prepare| Metric {
        name,
        peer,
        unit: Unit::Nanoseconds,
        target: Some(target),
        limit: Some(limit),
        rounds: 15,
        prepare,
    };
    let floor = |name, peer, prepare| Metric {
        target: None,
        limit: None,
        ..metric(name, peer, 0.0, 0.0, prepare)
    };
    vec![
        floor("judge_established_1k", LRU, |effort| known_by_ebpf(1000, effort)),
        metric("judge_established_100k", LRU, 0.1, 6.0, |effort| known_by_ebpf(100_000, effort)),
        metric("judge_established_100k", HASH, 0.4, 6.0, |effort| known_by_dpdk(100_000, effort)),
        metric("judge_established_1m", LRU, 0.1, 14.0, |effort| known_by_ebpf(1_000_000, effort)),
        metric("judge_established_1m", HASH, 0.4, 14.0, |effort| known_by_dpdk(1_000_000, effort)),
        floor("first_packet_1k", POLICY, |effort| first(1000, effort)),
        metric("first_packet_10k", POLICY, 1.0 / 25.0, 15.0, |effort| first(10_000, effort)),
        metric("first_packet_100k", POLICY, 1.0 / 45.0, 22.0, |effort| first(100_000, effort)),
        metric("first_packet_1m", POLICY, 1.0 / 80.0, 35.0, |effort| first(1_000_000, effort)),
    ]
}

fn known_by_ebpf(count: u32, effort: Effort) -> Result<Pair, BenchError> {
    Ok(Pair::new(established(count, effort)?, found_by_ebpf(count, effort)?))
}

fn known_by_dpdk(count: u32, effort: Effort) -> Result<Pair, BenchError> {
    Ok(Pair::new(established(count, effort)?, found_by_dpdk(count, effort)?))
}

/// Sluice judges whole frames of `count` established flows in random order. Every one of them
/// must be allowed.
fn established(count: u32, effort: Effort) -> Result<Round, BenchError> {
    pin();
    let mut sluice = Established::new(count, room_for(count))?;
    let mut frames = Frames::new();
    let mut numbers = Numbers::new(1);
    let all_allowed = (0..FRAMES_LEN).fold(0, |digest, _| crate::sluice::answer(digest, 1));
    let slices = effort.choose(25, 100);
    Ok(Box::new(move || {
        let mut refused = 0;
        let fill = |frames: &mut Frames| {
            frames.fill(|| Flow::numbered(numbers.scaled(count.into()) as u32))
        };
        let took = nanoseconds(&mut frames, slices, FRAMES_LEN, fill, |frames| {
            refused += usize::from(sluice.judge(frames) != all_allowed);
        })?;
        match refused {
            0 => Ok(took),
            _ => Err(BenchError::Failed("not every established flow was allowed".to_owned())),
        }
    }))
}

fn first(count: u32, effort: Effort) -> Result<Pair, BenchError> {
    pin();
    let cluster = Cluster::of(count);
    let mut sluice = First::new(cluster, room_for(count))?;
    let mut programs = Programs::load(&Sizes {
        connections: room_for(count),
        prefixes: count,
        policy: count,
        ..Sizes::NONE
    })?;
    programs.open(count)?;
    programs.set_prefixes(cluster.peers().map(|it| (it.address, it.len, it.identity)))?;
    programs.set_policy(
        cluster.peers().map(|it| (it.identity, it.reaches, crate::flows::UDP, crate::flows::HTTPS)),
    )?;
    let run = Run { identities: cluster.identities, ..Run::of(count) };
    programs.set(run)?;

    let mut frames = Frames::new();
    let mut numbers = Numbers::new(run.seed);
    let (mut ours, slices) = (0, 16);
    for _ in 0..slices {
        frames.fill(|| cluster.first_packet(&mut numbers))?;
        ours = sluice.judge(ours, &frames);
    }
    programs.run("first", (slices * FRAMES_LEN) as u32)?;
    if programs.digest()? != ours {
        let packets = slices * FRAMES_LEN;
        return Err(BenchError::Disagree(format!("on {packets} first packets of {count} peers")));
    }

    let (slices, repeat) = (effort.choose(25, 100), effort.choose(100_000, 300_000));
    let sluice = move || {
        let fill = |frames: &mut Frames| frames.fill(|| cluster.first_packet(&mut numbers));
        nanoseconds(&mut frames, slices, FRAMES_LEN, fill, |frames| {
            std::hint::black_box(sluice.judge(0, frames));
        })
    };
    let peer = move || programs.nanoseconds("first", "floor_first", repeat);
    Ok(Pair::new(Box::new(sluice), Box::new(peer)))
}
