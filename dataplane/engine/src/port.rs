//! Ports: what is attached to Sluice, and on which networks.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam::utils::CachePadded;
use sluice_core::address::{Mac, NetworkId};
use sluice_core::conntrack::Account;

use crate::counters::{PortCounters, Totals};

/// The number of a port while it exists. It is used again after the port has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

impl PortId {
    #[inline]
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The account of a pod's port. The outside has the first; ports are fewer than accounts.
pub(crate) fn account_of(port: PortId) -> Account {
    Account(port.0.saturating_add(1))
}

/// What a port is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortKind {
    /// The host end of a pod's veth.
    Pod {
        /// `namespace/name` of the pod.
        pod: Box<str>,
        /// The MAC of the pod's own end.
        mac: Mac,
    },
    /// A physical NIC.
    Uplink,
    /// A veth pair into the node's own stack.
    Host,
}

impl PortKind {
    /// The word for the kind in configuration and output.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pod { .. } => "pod",
            Self::Uplink => "uplink",
            Self::Host => "host",
        }
    }
}

/// What a port is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// The name of its interface, which is the port's name too.
    pub name: Box<str>,
    /// What is attached.
    pub kind: PortKind,
    /// The networks that the port belongs to, and the VLAN id that marks each on this port;
    /// `None` for the one that is untagged here.
    pub networks: BTreeMap<NetworkId, Option<u16>>,
    /// The longest packet without the Ethernet header and tag, in bytes.
    pub mtu: u32,
    /// Whether a tag with VLAN id 0, which only carries a priority (IEEE 802.1Q, 9.6), is taken
    /// for none and removed. Otherwise such frames are dropped.
    pub priority_tags: bool,
    /// Whether its frames arrive with partial transport checksums, as those of a veth do.
    pub partial_checksums: bool,
}

/// A port in operation.
#[derive(Debug)]
pub struct Port {
    /// What it is.
    pub spec: PortSpec,
    /// For each worker the one that sends for it: itself, if it owns a queue that can. Empty while
    /// the port is suspended.
    senders: Box<[usize]>,
    queue_count: usize,
    counters: Arc<[CachePadded<PortCounters>]>,
}

/// Bytes of an Ethernet header.
const ETHERNET_LEN: usize = 14;

impl Port {
    /// A port with `queue_count` queues; `senders` are the workers of those by which it can send.
    pub(crate) fn new(
        spec: PortSpec,
        senders: &[usize],
        queue_count: usize,
        worker_count: usize,
    ) -> Self {
        Self {
            spec,
            senders: by_worker(senders, worker_count),
            queue_count,
            counters: PortCounters::per_worker(worker_count).into(),
        }
    }

    /// The same port with other queues, which counts on where this one is.
    pub(crate) fn with_queues(
        &self,
        spec: PortSpec,
        senders: &[usize],
        queue_count: usize,
    ) -> Self {
        let counters = Arc::clone(&self.counters);
        Self { spec, senders: by_worker(senders, counters.len()), queue_count, counters }
    }

    /// The number of its queues.
    #[must_use]
    pub fn queue_count(&self) -> usize {
        self.queue_count
    }

    /// The worker that sends what `worker` has for this port.
    #[inline]
    pub(crate) fn sender_for(&self, worker: usize) -> Option<usize> {
        self.senders.get(worker).copied()
    }

    /// The network that a tag, or its absence, means on this port.
    #[inline]
    pub(crate) fn network_of(&self, vlan: Option<u16>) -> Option<NetworkId> {
        let vlan = vlan.filter(|vlan| *vlan != 0 || !self.spec.priority_tags);
        self.spec.networks.iter().find(|(_, tag)| **tag == vlan).map(|(network, _)| *network)
    }

    /// How `network` is tagged on this port; `None` where the port does not belong to it.
    #[inline]
    pub(crate) fn tag_of(&self, network: NetworkId) -> Option<Option<u16>> {
        self.spec.networks.get(&network).copied()
    }

    /// Whether a frame of `len` bytes, its tag not counted, may leave by this port.
    #[inline]
    pub(crate) fn fits(&self, len: usize) -> bool {
        len <= self.spec.mtu as usize + ETHERNET_LEN
    }

    #[inline]
    pub(crate) fn counters(&self, worker: usize) -> Option<&PortCounters> {
        self.counters.get(worker).map(|padded| &**padded)
    }

    /// What one worker has counted on this port.
    #[must_use]
    pub fn totals_of(&self, worker: usize) -> Totals {
        let mut totals = Totals::default();
        if let Some(counters) = self.counters(worker) {
            totals.add(counters);
        }
        totals
    }

    /// What all workers have counted on this port.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for counters in &*self.counters {
            totals.add(counters);
        }
        totals
    }
}

/// Spreads workers over the owners of queues that can send. It is worked out here, since a packet
/// has no time for a division.
fn by_worker(senders: &[usize], worker_count: usize) -> Box<[usize]> {
    let mut owners = senders.to_vec();
    owners.sort_unstable();
    owners.dedup();
    let sender = |worker: usize| match owners.contains(&worker) {
        true => Some(worker),
        false => owners.get(worker % owners.len().max(1)).copied(),
    };
    (0..worker_count).filter_map(sender).collect()
}
