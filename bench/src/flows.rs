//! Flows and first packets by number: the same here, in bpf/peers.bpf.c and in peers/dpdk.c.

use std::net::Ipv4Addr;

use etherparse::PacketBuilder;
use sluice_core::address::NetworkId;
use sluice_core::flow::{FiveTuple, FlowKey, Side};

use crate::numbers::Numbers;
use crate::rig::BenchError;

/// Pods that have a port here, which the flows of [`Flow::numbered`] go to.
pub(crate) const PODS_HERE: u32 = 64;
pub(crate) const FIRST_POD_HERE: u32 = 0x0a80_0001;
pub(crate) const DNS: u16 = 53;
pub(crate) const HTTPS: u16 = 443;
pub(crate) const UDP: u8 = 17;
const FIRST_SOURCE: u32 = 0x0a00_0000;
const FIRST_PORT: u16 = 0x8000;

/// A flow over UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
}

impl Flow {
    /// The flow of a number below 2^31: to one of the pods here.
    pub(crate) fn numbered(n: u32) -> Self {
        Self {
            source: Ipv4Addr::from(FIRST_SOURCE + (n >> 8)),
            destination: Ipv4Addr::from(FIRST_POD_HERE + (n & (PODS_HERE - 1))),
            source_port: FIRST_PORT + (n & 0xff) as u16,
            destination_port: DNS,
        }
    }

    pub(crate) fn five_tuple(&self) -> FiveTuple {
        FiveTuple {
            network: NetworkId::DEFAULT,
            protocol: UDP,
            source: self.source.into(),
            source_port: self.source_port,
            destination: self.destination.into(),
            destination_port: self.destination_port,
        }
    }

    pub(crate) fn key(&self) -> (FlowKey, Side) {
        self.five_tuple().key()
    }
}

/// A cluster of pods and blocks in equal numbers, each of which may reach one identity by HTTPS.
///
/// Ten pods share an identity; each block has one of its own. Nobody reaches its own identity, so
/// that no pod talks to itself, which needs no policy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cluster {
    /// Pods and blocks.
    pub(crate) count: u32,
    /// Identities of pods.
    pub(crate) identities: u32,
}

const FIRST_POD: u32 = 0x0a00_0000;
const FIRST_BLOCK: u32 = 0x4000_0000;
pub(crate) const BLOCK_LEN: u8 = 24;

/// Somebody in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) address: Ipv4Addr,
    pub(crate) len: u8,
    /// From 1; those of blocks come after those of pods.
    pub(crate) identity: u32,
    /// The identity of pods that it may reach.
    pub(crate) reaches: u32,
}

impl Cluster {
    /// So many pods and blocks: a multiple of 20.
    pub(crate) fn of(count: u32) -> Self {
        Self { count, identities: count / 20 }
    }

    pub(crate) fn pods(&self) -> u32 {
        self.count / 2
    }

    /// All pods, then all blocks.
    pub(crate) fn peers(self) -> impl Iterator<Item = Peer> {
        (0..self.count).map(move |number| {
            let Self { identities, .. } = self;
            let is_pod = number < self.pods();
            let place = if is_pod { number } else { number - self.pods() };
            let reaches = 1 + (place % identities + place / identities + 1) % identities;
            let (address, len, identity) = if is_pod {
                (FIRST_POD + place, 32, 1 + place % identities)
            } else {
                (FIRST_BLOCK + (place << 8), BLOCK_LEN, 1 + identities + place)
            };
            Peer { address: Ipv4Addr::from(address), len, identity, reaches }
        })
    }

    /// A packet that policy speaks of; every eighth asks for a port that nobody may reach.
    pub(crate) fn first_packet(&self, numbers: &mut Numbers) -> Flow {
        let Self { count, identities } = *self;
        let peer = numbers.scaled(count.into()) as u32;
        let more = numbers.next();
        let is_pod = peer < self.pods();
        let place = if is_pod { peer } else { peer - self.pods() };
        let to = (place % identities + place / identities + 1) % identities;
        let source = if is_pod {
            FIRST_POD + peer
        } else {
            FIRST_BLOCK + (place << 8) + (more & 0xff) as u32
        };
        let destination = FIRST_POD + to + identities * (((more >> 8 & 0xff) * 10) >> 8) as u32;
        Flow {
            source: Ipv4Addr::from(source),
            destination: Ipv4Addr::from(destination),
            source_port: FIRST_PORT + (more >> 19 & 0x3fff) as u16,
            destination_port: if more >> 16 & 7 == 0 { HTTPS + 1 } else { HTTPS },
        }
    }
}

/// Chunks of packet memory, each with the shortest Ethernet frame. They are few, and used over and
/// over, as a NIC does.
pub(crate) struct Frames {
    bytes: Vec<u8>,
    frame: Vec<u8>,
}

/// Frames that are judged before the chunks are filled again.
pub(crate) const FRAMES_LEN: usize = 4096;
const CHUNK_LEN: usize = 64;
const FRAME_LEN: usize = 60;

/// Of the router behind the uplink.
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

impl Frames {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::with_capacity(FRAMES_LEN * CHUNK_LEN), frame: Vec::new() }
    }

    pub(crate) fn fill(&mut self, mut next: impl FnMut() -> Flow) -> Result<(), BenchError> {
        self.bytes.clear();
        for _ in 0..FRAMES_LEN {
            let flow = next();
            self.frame.clear();
            let [.., last] = flow.destination.octets();
            PacketBuilder::ethernet2(ROUTER_MAC, [2, 0, 0, 0, 1, last])
                .ipv4(flow.source.octets(), flow.destination.octets(), 64)
                .udp(flow.source_port, flow.destination_port)
                .write(&mut self.frame, &[0; FRAME_LEN - 42])
                .map_err(BenchError::failed("building a frame"))?;
            self.frame.resize(CHUNK_LEN, 0);
            self.bytes.extend_from_slice(&self.frame);
        }
        Ok(())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks_exact(CHUNK_LEN).filter_map(|chunk| chunk.get(..FRAME_LEN))
    }
}
