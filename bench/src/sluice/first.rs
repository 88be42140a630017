//! First packets of connections, judged in a table of a size.

use std::hint::black_box;
use std::ops::BitXor;
use std::sync::Arc;

use ipnet::IpNet;
use sluice_core::address::NetworkId;
use sluice_core::blocks::{Block, BlockId, BlockTrie};
use sluice_core::conntrack::Connections;
use sluice_core::flow::FlowHasher;
use sluice_core::policy::{Attempt, Ends};
use sluice_core::ports::{PortMatch, PortSet, Rank};
use sluice_core::table::{
    Action, Endpoint, EndpointId, GroupId, Identity, IdentityId, PolicyId, PolicySet,
    PolicySetParts, RuleRef, Table, Tiers,
};
use sluice_core::time::Time;

use super::answer;
use super::established::{connections, open};
use super::reading::{Reading, readings};
use crate::flows::{BLOCK_LEN, Cluster, Frames, HTTPS, Peer, UDP};
use crate::rig::BenchError;

const NETWORK: NetworkId = NetworkId::DEFAULT;

/// The table of a cluster, and as many connections that are none of those asked for.
pub(crate) struct First {
    table: Table,
    hasher: FlowHasher,
    connections: Connections,
    readings: Vec<Reading>,
    hashes: Vec<u64>,
    asked: Vec<Attempt>,
    ends: Vec<Ends>,
    /// By number of an attempt: its frame's place in the batch.
    places: Vec<usize>,
    answers: Vec<u64>,
}

impl First {
    pub(crate) fn new(cluster: Cluster, capacity: u32) -> Result<Self, BenchError> {
        let hasher = FlowHasher::seeded(1);
        let mut connections = connections(capacity, &hasher);
        for number in 0..cluster.count {
            open(&mut connections, &hasher, number)?;
        }
        let (hashes, asked, ends, places, answers) = Default::default();
        let (table, readings) = (table(cluster)?, readings());
        Ok(Self { table, hasher, connections, readings, hashes, asked, ends, places, answers })
    }

    /// Judges whole frames, from their bytes to the verdict: parse, connection (there is none),
    /// policy of both ends; in batches, as they come from a queue. Remembers none of them, so that
    /// every packet is a first one. Returns the digest of the verdicts, which goes on from
    /// `digest`.
    pub(crate) fn judge(&mut self, mut digest: u64, frames: &Frames) -> u64 {
        let mut frames = frames.iter().peekable();
        while frames.peek().is_some() {
            self.asked.clear();
            self.places.clear();
            self.answers.clear();
            let mut count = 0;
            for (reading, frame) in self.readings.iter_mut().zip(&mut frames) {
                reading.read(frame, &self.hasher);
                count += 1;
            }
            let readings = self.readings.get(..count).unwrap_or_default();
            self.hashes.clear();
            let hash = |reading: &Reading| Some(reading.flow.as_ref()?.hash);
            self.hashes.extend(readings.iter().filter_map(hash));
            self.connections.warm(&self.hashes);
            for reading in readings {
                match asked_by(&mut self.connections, reading) {
                    Ok(attempt) => {
                        self.places.push(self.answers.len());
                        self.asked.push(attempt);
                        self.answers.push(0);
                    }
                    Err(answer) => self.answers.push(answer),
                }
            }
            let Self { table, asked, ends, places, answers, .. } = self;
            if table.is_large() {
                let touch = |it: &Attempt| {
                    table.touch(it.network, it.source) ^ table.touch(it.network, it.destination)
                };
                black_box(asked.iter().map(touch).fold(0, BitXor::bitxor));
            }
            ends.clear();
            ends.extend(asked.iter().map(|it| table.ends(it)));
            table.warm(asked, ends);
            for ((attempt, ends), place) in asked.iter().zip(&*ends).zip(&*places) {
                if let Some(answer) = answers.get_mut(*place) {
                    *answer = table.decide_between(attempt, ends).allows().into();
                }
            }
            digest = self.answers.iter().fold(digest, |digest, it| answer(digest, *it));
        }
        digest
    }
}

/// What a packet asks for, or the answer to it: 0 if it is broken, 2 if it is known.
fn asked_by(connections: &mut Connections, reading: &Reading) -> Result<Attempt, u64> {
    let flow = reading.flow.as_ref().ok_or(0u64)?;
    if connections.find(flow.hash, &flow.key, Time(1)).is_some() {
        return Err(2);
    }
    reading.packet.ip().map(|ip| Attempt::of(NETWORK, ip)).ok_or(0)
}

/// Identities are numbered as the cluster's, from 0. Each is a group of its own.
fn table(cluster: Cluster) -> Result<Table, BenchError> {
    let https = (PortMatch::Range { protocol: UDP, first: HTTPS, last: HTTPS }, Rank(0));
    let https = Arc::new(PortSet::new(&[https]));
    let mut sets = vec![PolicySetParts::default(); cluster.identities as usize];
    let mut blocks = Vec::new();
    let mut edit = Table::empty().edit();
    for (number, peer) in (0..).zip(cluster.peers()) {
        let Peer { address, len, identity, reaches } = peer;
        let Some(set) = sets.get_mut(reaches as usize - 1) else { continue };
        if len == BLOCK_LEN {
            let cidr = IpNet::new(address.into(), len).map_err(BenchError::failed("a block"))?;
            set.by_block.push((BlockId(blocks.len() as u32), Arc::clone(&https)));
            blocks.push(Block { cidr, except: Vec::new() });
        } else {
            let group = GroupId(identity - 1);
            if !set.by_group.iter().any(|(known, _)| *known == group) {
                set.by_group.push((group, Arc::clone(&https)));
            }
            let endpoint = Endpoint {
                name: format!("bench/p{number}").into(),
                network: NETWORK,
                addresses: vec![address.into()],
                identity: Some(IdentityId(identity - 1)),
                node: None,
            };
            edit.set_endpoint(EndpointId(number), Some(endpoint));
        }
    }
    edit.set_blocks(BlockTrie::new((0..).map(BlockId).zip(&blocks)));
    for (number, mut set) in (0..).zip(sets) {
        let policy = PolicyId(number);
        set.policies = vec![policy];
        set.rules = vec![RuleRef { policy, index: 0, action: Action::Accept }];
        set.by_group.sort_by_key(|(group, _)| *group);
        set.by_block.sort_by_key(|(block, _)| *block);
        let ingress = Tiers { network_policy: Some(PolicySet::new(&set)), ..Tiers::default() };
        let identity = Identity::new(&[GroupId(number)], Tiers::default(), ingress);
        edit.set_identity(IdentityId(number), Some(identity));
    }
    Ok(edit.finish(1))
}
