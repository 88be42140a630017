//! Where stories happen: a dataplane with the ports of [`PORTS`], and the far ends of its wires.

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_core::address::NetworkId;
use sluice_core::conntrack::state::Timeouts;
use sluice_core::flow::FlowHasher;
use sluice_core::judge::Established;
use sluice_core::table::Table;
use sluice_core::time::Time;
use sluice_engine::io::memory::Wire;
use sluice_engine::port::{PortKind, PortSpec};
use sluice_engine::stepped::Stepped;
use sluice_engine::{Engine, EngineConfig};
use sluice_xdp::Umem;

use crate::cast::{Cast, PORTS, RED};

/// The VLAN that the second tenant's network is on an uplink.
pub(crate) const RED_VLAN: u16 = 107;

/// How a stage is set up; the default is that of an engine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setting {
    pub(crate) midstream: bool,
    pub(crate) keep: bool,
    pub(crate) priority_tags: bool,
    /// `other` and `stray` are on a network of their own.
    pub(crate) has_tenants: bool,
    /// All connections, and those of one pod.
    pub(crate) connections: Option<(u32, u32)>,
    pub(crate) datagrams: Option<u32>,
    /// How long everything may be silent.
    pub(crate) timeout: Option<Duration>,
}

/// A dataplane, and the far ends of its wires.
pub(crate) trait Stage {
    fn engine(&self) -> &Engine;

    /// Puts a frame on the wire of a port.
    fn send(&mut self, port: &str, frame: &[u8]);

    /// Waits until all that was sent has been dealt with, which is when so many frames have been
    /// received since the start; held fragments are dealt with.
    fn settle(&mut self, rx_frames: u64);

    /// What has arrived at the far end of a port's wire; waits for so many frames.
    fn receive(&mut self, port: &str, count: usize) -> Vec<Vec<u8>>;

    /// Puts a table in force while frames on the wire of a port are under way.
    fn publish_amid(&mut self, table: Table, port: &str, frames: &[Vec<u8>]);

    /// Has the first worker take one turn, where that can be said. Returns how many frames it
    /// moved.
    fn turn_once(&mut self) -> Option<usize> {
        None
    }

    /// Lets time go by.
    fn pass(&mut self, time: Duration);

    /// Frames that the gate of a port has given to the dataplane, if there is one.
    fn steered(&self, port: &str) -> Option<u64>;

    /// The shortest frame that the wires carry.
    fn shortest_frame(&self) -> usize;

    /// The number of the next story; no other on this stage has it.
    fn next_story(&mut self) -> u8;
}

impl Setting {
    pub(crate) fn config(&self, cores: Vec<usize>) -> EngineConfig {
        let default = EngineConfig::default();
        let own = default.connections_max;
        let (connections_max, pod_connections_max) =
            self.connections.unwrap_or((own, default.pod_connections_max));
        EngineConfig {
            cores,
            connections_max,
            pod_connections_max,
            timeouts: self.timeout.map_or(default.timeouts, timeouts),
            established: if self.keep { Established::Keep } else { Established::Recheck },
            midstream: self.midstream,
            datagrams_max: self.datagrams.unwrap_or(default.datagrams_max),
            ..default
        }
    }

    pub(crate) fn kind(&self, port: &str) -> PortKind {
        if port == "uplink" {
            return PortKind::Uplink;
        }
        let mac = Cast { number: 0, has_tenants: self.has_tenants }.mac(port);
        PortKind::Pod { pod: format!("shop/{port}").into(), mac }
    }

    pub(crate) fn networks(&self, port: &str) -> BTreeMap<NetworkId, Option<u16>> {
        let cast = Cast { number: 0, has_tenants: self.has_tenants };
        match port {
            "uplink" if self.has_tenants => {
                BTreeMap::from([(NetworkId::DEFAULT, None), (RED, Some(RED_VLAN))])
            }
            "uplink" => BTreeMap::from([(NetworkId::DEFAULT, None)]),
            pod => BTreeMap::from([(cast.network(pod), None)]),
        }
    }
}

fn timeouts(all: Duration) -> Timeouts {
    Timeouts {
        tcp_opening: all,
        tcp_established: all,
        tcp_closing: all,
        tcp_closed: all,
        sctp_opening: all,
        sctp_established: all,
        sctp_closing: all,
        sctp_closed: all,
        udp_single: all,
        udp_answered: all,
        udp_ongoing: all,
        echo: all,
        opaque: all,
        fragments: all,
    }
}

/// A stage in memory, without a kernel, whose time is the story's.
pub(crate) struct MemoryStage {
    engine: Stepped,
    wires: BTreeMap<&'static str, Wire>,
    now: Time,
}

const FRAMES: u32 = 4096;

/// Frames that a wire holds each way.
pub(crate) const WIRE_LEN: usize = 400;

impl MemoryStage {
    pub(crate) fn new(setting: &Setting, workers: usize) -> Self {
        let (umem, pool) = Umem::in_memory(FRAMES).unwrap();
        let config = setting.config((0..workers).collect());
        let engine = Stepped::start(&config, umem, pool, FlowHasher::seeded(SEED)).unwrap();
        let wires = PORTS.map(|port| {
            let (wire, queue) = Wire::new(WIRE_LEN);
            let spec = PortSpec {
                name: port.into(),
                kind: setting.kind(port),
                networks: setting.networks(port),
                mtu: 1500,
                priority_tags: setting.priority_tags,
                partial_checksums: true,
            };
            engine.add_port(spec, vec![Box::new(queue)]).unwrap();
            (port, wire)
        });
        Self { engine, wires: BTreeMap::from(wires), now: Time(1_000_000_000) }
    }

    pub(crate) fn wire(&self, port: &str) -> &Wire {
        &self.wires[port]
    }

    pub(crate) fn stepped(&self) -> &Stepped {
        &self.engine
    }
}

/// What decides which worker owns which flow.
const SEED: u64 = 0x5c1ce;

impl Stage for MemoryStage {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn send(&mut self, port: &str, frame: &[u8]) {
        assert!(self.wires[port].push(frame), "the wire of {port} is full");
    }

    fn settle(&mut self, _rx_frames: u64) {
        self.engine.turn(self.now).unwrap();
    }

    fn receive(&mut self, port: &str, _count: usize) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.wires[port].pop()).collect()
    }

    fn publish_amid(&mut self, table: Table, port: &str, frames: &[Vec<u8>]) {
        frames.iter().for_each(|frame| self.send(port, frame));
        // Of these some have been judged, some wait for another worker, some are on the wire.
        for worker in 0..self.engine.worker_count() {
            self.engine.turn_one(worker, self.now);
        }
        self.engine.turn_one(0, self.now);
        self.engine.publish(table).unwrap();
    }

    fn turn_once(&mut self) -> Option<usize> {
        Some(self.engine.turn_one(0, self.now))
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        // Sweeps look at a few connections a turn.
        for _ in 0..1000 {
            self.engine.turn(self.now).unwrap();
        }
    }

    fn steered(&self, _port: &str) -> Option<u64> {
        None
    }

    fn shortest_frame(&self) -> usize {
        0
    }

    fn next_story(&mut self) -> u8 {
        1
    }
}
