//! Packets of connections that are there, from the uplink to 64 pods.

use std::hint::black_box;
use std::ops::BitXor;
use std::sync::Arc;

use sluice_core::address::{Mac, NetworkId};
use sluice_core::conntrack::state::Timeouts;
use sluice_core::conntrack::{Account, BATCH_LEN_MAX, Connections, Limits, Opening};
use sluice_core::flow::{FlowHasher, FlowKey};
use sluice_core::guard::{Attachment, Residents};
use sluice_core::judge::{self, Crossing, Judge};
use sluice_core::packet::{Ports, Transport};
use sluice_core::policy::Ends;
use sluice_core::ports::{PortMatch, PortSet, Rank};
use sluice_core::table::{
    Action, Endpoint, EndpointId, Identity, IdentityId, PolicyId, PolicySet, PolicySetParts,
    RuleRef, Table, Tiers,
};
use sluice_core::time::Time;

use super::answer;
use super::reading::{Reading, readings};
use crate::flows::{DNS, FIRST_POD_HERE, Flow, Frames, PODS_HERE, UDP};
use crate::numbers::Numbers;
use crate::rig::BenchError;

const NETWORK: NetworkId = NetworkId::DEFAULT;
const NOW: Time = Time(1);
const REVISION: u64 = 1;

/// Any datagram.
const DATAGRAM: Transport = Transport::Udp(Ports { source: 1, destination: 2 });

/// A table that admits the flows of [`Flow::numbered`], and their connections.
pub(crate) struct Established {
    table: Table,
    residents: Residents,
    hasher: FlowHasher,
    connections: Connections,
    pods: Vec<Attachment>,
    batch: Batch,
}

impl Established {
    /// With the connections of all numbers below `count`, and room for `capacity`.
    pub(crate) fn new(count: u32, capacity: u32) -> Result<Self, BenchError> {
        let hasher = FlowHasher::seeded(1);
        let mut connections = connections(capacity, &hasher);
        let mut order: Vec<u32> = (0..count).collect();
        Numbers::new(7).shuffle(&mut order);
        for number in order {
            let flow = Flow::numbered(number);
            let opening = open(&mut connections, &hasher, number)?;
            for by_opener in [false, true] {
                let mut found = connections
                    .find(opening.hash, &opening.key, NOW)
                    .ok_or_else(|| BenchError::Failed(format!("{flow:?} was not opened")))?;
                found
                    .follow(&DATAGRAM, false, by_opener)
                    .map_err(|reason| BenchError::Failed(format!("{flow:?}: {reason:?}")))?;
            }
        }
        let table = table();
        let mut residents = Residents::of(&table);
        (0..PODS_HERE).for_each(|pod| residents.insert(&table, EndpointId(pod)));
        let pods = (0..PODS_HERE).map(attachment).collect();
        Ok(Self { table, residents, hasher, connections, pods, batch: Batch::new() })
    }

    /// Judges whole frames, from their bytes to the verdict, and brings their connections up to
    /// date: batch by batch and stage by stage, as a worker does. Returns the digest of the verdicts.
    pub(crate) fn judge(&mut self, frames: &Frames) -> u64 {
        let judge = Judge {
            table: &self.table,
            residents: &self.residents,
            established: judge::Established::Recheck,
            midstream: false,
            now: NOW,
        };
        let mut digest = 0;
        let mut frames = frames.iter();
        let Batch { readings, ends, guarded, hashes } = &mut self.batch;
        loop {
            let mut count = 0;
            for (reading, frame) in readings.iter_mut().zip(&mut frames) {
                reading.read(frame, &self.hasher);
                count += 1;
            }
            let readings = readings.get(..count).unwrap_or_default();
            if readings.is_empty() {
                return digest;
            }
            let touch = |reading: &Reading| judge.touch_ends(NETWORK, &reading.packet);
            black_box(readings.iter().map(touch).fold(0, BitXor::bitxor));
            ends.clear();
            ends.extend(readings.iter().map(|reading| judge.ends(NETWORK, &reading.packet)));
            guarded.clear();
            guarded.extend(readings.iter().zip(&*ends).map(|(reading, ends)| {
                judge.guard(NETWORK, Attachment::Uplink, &reading.packet, ends).is_ok()
            }));
            hashes.clear();
            hashes.extend(readings.iter().filter_map(|reading| Some(reading.flow.as_ref()?.hash)));
            self.connections.warm(hashes);
            for ((reading, ends), guarded) in readings.iter().zip(&*ends).zip(&*guarded) {
                // The engine's FDB would say this; it is not the judge's.
                let Mac([.., last]) = reading.packet.destination;
                let pod = self.pods.get(usize::from(last).wrapping_sub(1));
                let allowed =
                    pod.filter(|_| *guarded && reading.flow.is_some()).is_some_and(|&to| {
                        let (from, packet, flow) =
                            (Attachment::Uplink, &reading.packet, reading.flow.as_ref());
                        let crossing = Crossing { network: NETWORK, from, to, packet, flow, ends };
                        judge.unicast(&mut self.connections, &crossing).is_ok()
                    });
                digest = answer(digest, allowed.into());
            }
        }
    }

    /// Hashes keys and finds their connections. Returns how many there are.
    pub(crate) fn find(&mut self, keys: &[FlowKey]) -> usize {
        let mut found = 0;
        for keys in keys.chunks(BATCH_LEN_MAX) {
            let hashes = &mut self.batch.hashes;
            hashes.clear();
            hashes.extend(keys.iter().map(|key| self.hasher.hash(key)));
            self.connections.warm(hashes);
            let known = |(hash, key): (&u64, _)| self.connections.find(*hash, key, NOW).is_some();
            found += hashes.iter().zip(keys).map(known).filter(|is_known| *is_known).count();
        }
        found
    }
}

/// What the stages pass on to each other.
struct Batch {
    readings: Vec<Reading>,
    ends: Vec<Ends>,
    guarded: Vec<bool>,
    hashes: Vec<u64>,
}

impl Batch {
    fn new() -> Self {
        Self { readings: readings(), ends: Vec::new(), guarded: Vec::new(), hashes: Vec::new() }
    }
}

/// An empty connection table, whose accounts may fill it.
pub(super) fn connections(capacity: u32, hasher: &FlowHasher) -> Connections {
    let limits = Limits { connections_max: capacity, account_connections_max: capacity };
    Connections::new(limits, Timeouts::default(), hasher.clone())
}

/// Opens the connection of a number.
pub(super) fn open(
    connections: &mut Connections,
    hasher: &FlowHasher,
    number: u32,
) -> Result<Opening, BenchError> {
    let hash = hasher.hash(&Flow::numbered(number).key().0);
    let opening = opening(number, hash);
    if insert(connections, &opening) {
        return Ok(opening);
    }
    Err(BenchError::Failed(format!("connection {number} found no room")))
}

/// What opens the connection of a number.
pub(super) fn opening(number: u32, hash: u64) -> Opening {
    let (key, opener) = Flow::numbered(number).key();
    Opening { key, hash, opener, account: account(number % PODS_HERE), revision: REVISION }
}

/// Returns whether it found room.
pub(super) fn insert(connections: &mut Connections, opening: &Opening) -> bool {
    connections.open(opening, &DATAGRAM, false, NOW) == Ok(true)
}

fn account(pod: u32) -> Account {
    Account(1 + pod as u16)
}

fn attachment(pod: u32) -> Attachment {
    let mac = Mac([2, 0, 0, 0, 1, 1 + pod as u8]);
    Attachment::Pod { mac, endpoint: Some(EndpointId(pod)), account: account(pod) }
}

/// 64 pods that may be asked for DNS.
fn table() -> Table {
    let mut edit = Table::empty().edit();
    for pod in 0..PODS_HERE {
        let endpoint = Endpoint {
            name: format!("bench/p{pod}").into(),
            network: NETWORK,
            addresses: vec![std::net::Ipv4Addr::from(FIRST_POD_HERE + pod).into()],
            identity: Some(IdentityId(0)),
            node: None,
        };
        edit.set_endpoint(EndpointId(pod), Some(endpoint));
    }
    let dns = (PortMatch::Range { protocol: UDP, first: DNS, last: DNS }, Rank(0));
    let set = PolicySet::new(&PolicySetParts {
        policies: vec![PolicyId(0)],
        rules: vec![RuleRef { policy: PolicyId(0), index: 0, action: Action::Accept }],
        any_peer: Some(Arc::new(PortSet::new(&[dns]))),
        ..PolicySetParts::default()
    });
    let ingress = Tiers { network_policy: Some(set), ..Tiers::default() };
    edit.set_identity(IdentityId(0), Some(Identity::new(&[], Tiers::default(), ingress)));
    edit.finish(REVISION)
}
