//! What is counted.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use sluice_core::blocks::{Block, BlockId, BlockTrie};
use sluice_core::classifier::Classifier;
use sluice_core::classifier::generate::{Family, Random, Shape, rules, trace};
use sluice_core::conntrack::state::Timeouts;
use sluice_core::conntrack::{Account, Connections, Limits, Opening};
use sluice_core::drop::DropReason;
use sluice_core::flow::{FiveTuple, FlowHasher};
use sluice_core::judge::Verdict;
use sluice_core::packet::{Packet, Ports, Transport};
use sluice_core::ports::{Rank, UDP};

use crate::Error;
use crate::world::{Flow, HTTPS, HTTPS_TOO, NETWORK, NOW, Step, TELNET, World};

/// Operations of a run.
const RUN: u16 = 1024;

/// What is counted: an operation, so often.
pub(crate) struct Case {
    /// What it is called in the baseline.
    pub(crate) name: &'static str,
    /// Operations of a run.
    pub(crate) operations: u32,
    /// Does all operations of a run: the first, which nobody counts, or the second.
    pub(crate) run: Box<dyn FnMut(usize)>,
}

/// Makes a case, just before it is run.
pub(crate) type Make = fn() -> Result<Case, Error>;

/// All cases, in the order in which they are run.
pub(crate) const ALL: &[Make] = &[
    || parse("parse_tcp4", Family::V4),
    || parse("parse_tcp6", Family::V6),
    || connection("connection_found", Connection::Found),
    || connection("connection_missed", Connection::Missed),
    || connection("connection_opened", Connection::Opened),
    longest_prefix,
    || access_list("access_list_acl_10k", Shape::Acl),
    || access_list("access_list_fw_10k", Shape::Fw),
    || access_list("access_list_ipc_10k", Shape::Ipc),
    || decide("decide_allowed", HTTPS, true),
    || decide("decide_denied", TELNET, false),
    || established("judge_established_tcp4", Family::V4),
    || established("judge_established_tcp6", Family::V6),
    || first("judge_first_allowed", false, HTTPS, Ok(())),
    || first("judge_first_denied", false, TELNET, Err(DropReason::EgressDenied)),
    || first("judge_first_past_list", true, HTTPS, Ok(())),
    || first("judge_first_list_denied", true, HTTPS_TOO, Err(DropReason::AccessDenied)),
];

impl Case {
    /// An operation for each item of two runs.
    fn each<T: 'static>(
        name: &'static str,
        runs: [Vec<T>; 2],
        mut operation: impl FnMut(&T) + 'static,
    ) -> Self {
        let operations = runs.iter().map(Vec::len).max().and_then(|len| u32::try_from(len).ok());
        let run = move |number: usize| {
            for item in runs.get(number).into_iter().flatten() {
                operation(black_box(item));
            }
        };
        Self { name, operations: operations.unwrap_or(u32::MAX), run: Box::new(run) }
    }
}

/// Something of every flow's number, for two runs that have no flow in common.
fn runs<T>(mut make: impl FnMut(u16) -> Result<T, Error>) -> Result<[Vec<T>; 2], Error> {
    let mut run = |first: u16| (first..first + RUN).map(&mut make).collect::<Result<Vec<_>, _>>();
    Ok([run(0)?, run(RUN)?])
}

fn frames(family: Family, port: u16, step: Step) -> Result<[Vec<Vec<u8>>; 2], Error> {
    runs(|number| Flow::numbered(number, family, port).tcp(step))
}

fn parse(name: &'static str, family: Family) -> Result<Case, Error> {
    let runs = frames(family, HTTPS, Step::Ack)?;
    Ok(Case::each(name, runs, |frame| assert!(black_box(Packet::parse(frame)).is_ok())))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    Found,
    Missed,
    Opened,
}

/// One connection among 10,000: the hash of its flow, and what is done with it.
fn connection(name: &'static str, what: Connection) -> Result<Case, Error> {
    const OTHERS: u32 = 10_000;
    const DATAGRAM: Transport = Transport::Udp(Ports { source: 1, destination: 2 });
    let hasher = FlowHasher::seeded(1);
    let key = |number: u32| {
        let five_tuple = FiveTuple {
            network: NETWORK,
            protocol: UDP,
            source: Ipv4Addr::from_bits(0x0a00_0000 + number).into(),
            source_port: 0x8000,
            destination: Ipv4Addr::new(10, 200, 0, 1).into(),
            destination_port: 53,
        };
        five_tuple.key()
    };
    let limits = Limits { connections_max: 2 * OTHERS, account_connections_max: 2 * OTHERS };
    let mut connections = Connections::new(limits, Timeouts::default(), hasher.clone());
    let opening = move |number: u32, hasher: &FlowHasher| {
        let (key, opener) = key(number);
        Opening { key, hash: hasher.hash(&key), opener, account: Account(1), revision: 1 }
    };
    for number in 0..OTHERS {
        connections
            .open(&opening(number, &hasher), &DATAGRAM, false, NOW)
            .map_err(|no_room| Error::Failed(format!("{name}: {no_room:?}")))?;
    }
    // Of those there are, or of others.
    let from = if what == Connection::Found { 0 } else { OTHERS };
    let runs = runs(|number| Ok(from + u32::from(number)))?;
    Ok(Case::each(name, runs, move |&number| {
        let opening = opening(number, &hasher);
        if what == Connection::Opened {
            assert!(connections.open(&opening, &DATAGRAM, false, NOW).is_ok());
        } else {
            let found = connections.find(opening.hash, &opening.key, NOW).is_some();
            assert_eq!(found, what == Connection::Found);
        }
    }))
}

/// The blocks around an address, of 10,000 of all lengths.
fn longest_prefix() -> Result<Case, Error> {
    let mut random = Random::new(3);
    let mut bits = || u32::try_from(random.next() >> 32).unwrap_or(0);
    let blocks: Vec<Block> = (0..10_000)
        .filter_map(|_| {
            let len = 12 + u8::try_from(bits() % 17).ok()?;
            let cidr = IpNet::new(Ipv4Addr::from_bits(bits()).into(), len).ok()?.trunc();
            Some(Block { cidr, except: Vec::new() })
        })
        .collect();
    let trie = BlockTrie::new((0..).map(BlockId).zip(&blocks));
    let runs = runs(|_| Ok(IpAddr::from(Ipv4Addr::from_bits(bits()))))?;
    Ok(Case::each("longest_prefix_10k", runs, move |address| {
        black_box(trie.around(*address).map(<[_]>::len).sum::<usize>());
    }))
}

/// The first of 10,000 ordered rules.
fn access_list(name: &'static str, shape: Shape) -> Result<Case, Error> {
    let rules = rules(shape, Family::V4, 10_000, 1);
    let classifier = Classifier::new((0..).map(Rank).zip(&rules));
    let mut keys = trace(&rules, Family::V4, 2 * usize::from(RUN), 1).into_iter();
    let runs = runs(|_| keys.next().ok_or_else(|| Error::Failed("too few packets".to_owned())))?;
    Ok(Case::each(name, runs, move |key| assert!(classifier.first_match(key).is_some())))
}

/// What policies say of a first packet, without parsing it.
fn decide(name: &'static str, port: u16, allowed: bool) -> Result<Case, Error> {
    let table = World::new(false)?.table;
    let runs = runs(|number| Ok(Flow::numbered(number, Family::V4, port).attempt()))?;
    Ok(Case::each(name, runs, move |attempt| {
        assert_eq!(table.decide(attempt).allows(), allowed);
    }))
}

/// A segment of a connection that is there, from its bytes to the verdict.
fn established(name: &'static str, family: Family) -> Result<Case, Error> {
    let mut world = World::new(false)?;
    for step in [Step::Syn, Step::SynAck] {
        for frame in frames(family, HTTPS, step)?.iter().flatten() {
            world.judge(frame).map_err(|reason| Error::Failed(format!("{name}: {reason:?}")))?;
        }
    }
    Ok(judged(name, world, frames(family, HTTPS, Step::Ack)?, Ok(())))
}

/// A connection's first segment, from its bytes to the verdict; what is allowed is remembered.
fn first(name: &'static str, with_list: bool, port: u16, expected: Verdict) -> Result<Case, Error> {
    Ok(judged(name, World::new(with_list)?, frames(Family::V4, port, Step::Syn)?, expected))
}

fn judged(
    name: &'static str,
    mut world: World,
    runs: [Vec<Vec<u8>>; 2],
    expected: Verdict,
) -> Case {
    Case::each(name, runs, move |frame| assert_eq!(world.judge(frame), expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each case asserts what it expects.
    #[test]
    fn every_case_does_what_its_name_says_in_both_runs() {
        let mut names = std::collections::BTreeSet::new();
        for make in ALL {
            let mut case = make().unwrap();
            (case.run)(0);
            (case.run)(1);
            assert_eq!(case.operations, u32::from(RUN));
            assert!(names.insert(case.name), "{} is there twice", case.name);
        }
    }
}
