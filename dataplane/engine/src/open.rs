//! Opening an interface as a port: gate first, then sockets, then the engine.
//!
//! The gate is attached before any socket is bound and the queue count is read after that,
//! since drivers change it when a program comes. Every queue has a socket or the port does
//! not come up. What fails is undone, except that a gate that was there before stays: closed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_core::address::NetworkId;
use sluice_xdp::{
    Fallback, Gate, GateConfig, GateCounters, GateError, GateMode, GateRole, Interface,
    InterfaceError, Queue, QueueConfig, QueueError,
};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::io::QueueIo;
use crate::port::{PortKind, PortSpec};

/// The longest MTU whose frames fit into a chunk of packet memory.
pub const MTU_MAX: u32 = 3_500;

/// Frames that each worker needs to have in its hands and on transmit rings.
const FRAMES_UNDER_WAY: usize = 1024;

/// What to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRequest {
    /// The interface.
    pub interface: String,
    /// What is attached to it.
    pub kind: PortKind,
    /// The networks that it belongs to, and how each is tagged.
    pub networks: BTreeMap<NetworkId, Option<u16>>,
    /// Whether a tag with VLAN id 0 is taken for none.
    pub priority_tags: bool,
    /// What happens to its frames while Sluice does not run.
    pub fallback: Fallback,
    /// For an uplink: addresses of the node besides those that the interface has.
    pub node_addresses: Vec<IpAddr>,
}

/// Why a port does not come up.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The interface is not to be had.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The interface is down.
    #[error("interface {0} is down; bring it up with `ip link set {0} up`")]
    Down(String),
    /// Frames of this size do not fit into packet memory.
    #[error(
        "interface {name} has MTU {mtu}; Sluice takes {MTU_MAX} at most: `ip link set {name} mtu 1500`"
    )]
    Mtu {
        /// The interface.
        name: String,
        /// Its MTU.
        mtu: u32,
    },
    /// Packet memory has no frames left for the port's queues.
    #[error(
        "interface {name}: its queues want {wanted} frames to receive into, and {left} are left; raise engine.frames by the difference or more"
    )]
    Frames {
        /// The interface.
        name: String,
        /// What its queues want.
        wanted: usize,
        /// What other ports have left, after what workers need to move frames.
        left: usize,
    },
    /// The gate was not attached.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// A socket was not bound.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The engine refuses the port.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// An open port, as an operator wants to see it.
#[derive(Debug, Clone)]
pub struct PortFacts {
    /// The interface's driver.
    pub driver: String,
    /// How the interface runs the gate.
    pub mode: GateMode,
    /// Whether each queue runs without copies.
    pub zero_copy: Vec<bool>,
    /// What happens to frames while Sluice does not run.
    pub fallback: Fallback,
    /// Addresses of the node besides those of the interface.
    pub node_addresses: Vec<IpAddr>,
    /// What the gate has counted.
    pub gate: GateCounters,
}

/// The interfaces that are open as ports.
pub struct Ports {
    engine: Arc<Engine>,
    pin_dir: PathBuf,
    open: Mutex<BTreeMap<String, Open>>,
    /// Ports whose interface has gone, waiting for it to come back.
    lost: Mutex<BTreeMap<String, PortRequest>>,
}

struct Open {
    gate: Gate,
    zero_copy: Vec<bool>,
    request: PortRequest,
}

impl Ports {
    /// No ports yet. Gates are pinned below `pin_dir`, which is on a BPF file system.
    #[must_use]
    pub fn new(engine: Arc<Engine>, pin_dir: PathBuf) -> Self {
        Self { engine, pin_dir, open: Mutex::default(), lost: Mutex::default() }
    }

    /// The engine that the ports belong to.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Opens an interface as a port.
    ///
    /// # Errors
    /// [`OpenError`]; nothing of the port is left but a gate that was there before.
    pub fn open(&self, request: &PortRequest) -> Result<(), OpenError> {
        let mut open = self.locked();
        if open.contains_key(&request.interface) {
            return Err(EngineError::PortExists(request.interface.clone()).into());
        }
        let interface = Interface::open(&request.interface)?;
        check(&interface)?;
        let mut gate = Gate::attach(&interface, &gate_config(&self.pin_dir, &interface, request))?;
        match self.bind_all(&mut gate, request) {
            Ok(zero_copy) => {
                let port = Open { gate, zero_copy, request: request.clone() };
                open.insert(request.interface.clone(), port);
                self.locked_lost().remove(&request.interface);
                Ok(())
            }
            Err(error) => {
                if !gate.adopted()
                    && let Err(left) = gate.detach()
                {
                    tracing::warn!(port = request.interface, error = %left, "the gate is left");
                }
                Err(error)
            }
        }
    }

    /// Closes a port and takes its gate away, so that the kernel has the interface again.
    ///
    /// # Errors
    /// [`OpenError`], if there is no such port or it does not come loose.
    pub fn close(&self, name: &str) -> Result<(), OpenError> {
        if self.locked_lost().remove(name).is_some() {
            return Ok(());
        }
        let mut open = self.locked();
        if !open.contains_key(name) {
            return Err(EngineError::NoSuchPort(name.into()).into());
        }
        self.engine.remove_port(name)?;
        if let Some(port) = open.remove(name) {
            port.gate.detach()?;
        }
        Ok(())
    }

    /// Closes every port again after a start that failed. Gates that were there before stay, so
    /// that a failed restart opens nothing.
    pub fn abandon(&self) {
        for (name, port) in std::mem::take(&mut *self.locked()) {
            if let Err(error) = self.engine.remove_port(&name) {
                tracing::warn!(port = name, %error, "the port is left");
            }
            if !port.gate.adopted()
                && let Err(error) = port.gate.detach()
            {
                tracing::warn!(port = name, %error, "the gate is left");
            }
        }
    }

    /// Looks after the ports: takes out those whose interface has gone, opens them again on an
    /// interface that has come in its place, and tells the uplinks' gates what is the node's own.
    /// Call it about once a second.
    pub fn tend(&self) {
        self.drop_gone();
        let waiting: Vec<PortRequest> = self.locked_lost().values().cloned().collect();
        for request in waiting.iter().filter(|request| Interface::open(&request.interface).is_ok())
        {
            match self.open(request) {
                Ok(()) => tracing::info!(port = request.interface, "the port is open again"),
                Err(error) => tracing::warn!(port = request.interface, %error, "still not open"),
            }
        }
        self.refresh_node_addresses();
    }

    /// The ports whose interface has gone.
    #[must_use]
    pub fn lost(&self) -> Vec<String> {
        self.locked_lost().keys().cloned().collect()
    }

    fn drop_gone(&self) {
        let mut open = self.locked();
        let is_gone = |name: &String, port: &Open| {
            let known = port.gate.interface().index();
            Interface::open(name).map_or(true, |now| now.index() != known)
        };
        let gone: Vec<String> = open
            .iter()
            .filter(|(name, port)| is_gone(name, port))
            .map(|(it, _)| it.clone())
            .collect();
        for name in gone {
            tracing::warn!(port = name, "the interface has gone; the port waits for it");
            if let Err(error) = self.engine.remove_port(&name) {
                tracing::error!(port = name, %error, "the port is left");
                continue;
            }
            // Its gate went with the interface; the next attach clears what is left of the pins.
            if let Some(port) = open.remove(&name) {
                self.locked_lost().insert(name, port.request);
            }
        }
    }

    /// Reads the uplinks' addresses again and tells their gates what is the node's own.
    fn refresh_node_addresses(&self) {
        for (name, port) in self.locked().iter_mut() {
            if port.request.kind != PortKind::Uplink {
                continue;
            }
            let refreshed = Interface::open(name).map_err(OpenError::from).and_then(|interface| {
                let addresses = node_addresses(&interface, &port.request);
                Ok(port.gate.set_node_addresses(&addresses)?)
            });
            if let Err(error) = refreshed {
                tracing::warn!(port = name, %error, "the node's addresses were not read again");
            }
        }
    }

    /// What is known of an open port.
    ///
    /// # Errors
    /// [`OpenError`], if there is no such port or its gate cannot be read.
    pub fn facts(&self, name: &str) -> Result<PortFacts, OpenError> {
        let open = self.locked();
        let port = open.get(name).ok_or_else(|| EngineError::NoSuchPort(name.into()))?;
        Ok(PortFacts {
            driver: port.gate.interface().driver().to_owned(),
            mode: port.gate.mode(),
            zero_copy: port.zero_copy.clone(),
            fallback: port.gate.fallback(),
            node_addresses: port.request.node_addresses.clone(),
            gate: port.gate.counters()?,
        })
    }

    /// Binds a socket to every queue and hands the port to the engine.
    fn bind_all(&self, gate: &mut Gate, request: &PortRequest) -> Result<Vec<bool>, OpenError> {
        let interface = Interface::open(&request.interface)?;
        let config = queue_config(&request.kind);
        self.check_frames(&interface, &config)?;
        let mut queues: Vec<Box<dyn QueueIo>> = Vec::new();
        let mut zero_copy = Vec::new();
        for queue_id in 0..interface.rx_queue_count() {
            let queue = Queue::bind(self.engine.umem(), &interface, queue_id, &config)?;
            zero_copy.push(queue.zero_copy());
            gate.connect(queue_id, &queue)?;
            queues.push(Box::new(queue));
        }
        let spec = PortSpec {
            name: request.interface.as_str().into(),
            kind: request.kind.clone(),
            networks: request.networks.clone(),
            mtu: interface.mtu(),
            priority_tags: request.priority_tags,
            partial_checksums: interface.partial_checksums(),
        };
        self.engine.add_port(spec, queues)?;
        Ok(zero_copy)
    }

    /// A port whose queues get no frames would receive nothing and tell nobody.
    fn check_frames(&self, interface: &Interface, config: &QueueConfig) -> Result<(), OpenError> {
        let wants = |config: &QueueConfig, queues: usize| config.fill_frames_max as usize * queues;
        let taken: usize = self
            .engine
            .ports()
            .iter()
            .map(|port| wants(&queue_config(&port.spec.kind), port.queue_count()))
            .sum();
        let total = self.engine.umem().frame_count() as usize;
        let under_way = FRAMES_UNDER_WAY * self.engine.worker_count();
        let left = total.saturating_sub(taken + under_way);
        let wanted = wants(config, interface.rx_queue_count() as usize);
        if wanted <= left {
            return Ok(());
        }
        Err(OpenError::Frames { name: interface.name().into(), wanted, left })
    }

    fn locked_lost(&self) -> MutexGuard<'_, BTreeMap<String, PortRequest>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(interface: &Interface) -> Result<(), OpenError> {
    if !interface.is_up() {
        return Err(OpenError::Down(interface.name().into()));
    }
    if interface.mtu() > MTU_MAX {
        return Err(OpenError::Mtu { name: interface.name().into(), mtu: interface.mtu() });
    }
    Ok(())
}

fn gate_config(
    pin_dir: &std::path::Path,
    interface: &Interface,
    request: &PortRequest,
) -> GateConfig {
    let role = match request.kind {
        PortKind::Uplink => GateRole::Uplink,
        PortKind::Pod { .. } | PortKind::Host => GateRole::Steer,
    };
    GateConfig {
        pin_dir: pin_dir.to_owned(),
        role,
        fallback: request.fallback,
        mode: None,
        node_addresses: node_addresses(interface, request),
    }
}

fn node_addresses(interface: &Interface, request: &PortRequest) -> Vec<IpAddr> {
    interface.addresses().iter().chain(&request.node_addresses).copied().collect()
}

/// Pods have many ports with little traffic each, uplinks few with much.
fn queue_config(kind: &PortKind) -> QueueConfig {
    match kind {
        PortKind::Pod { .. } => {
            QueueConfig { ring_size: 1024, fill_frames_max: 512, ..QueueConfig::default() }
        }
        PortKind::Uplink | PortKind::Host => {
            QueueConfig { ring_size: 4096, fill_frames_max: 2048, ..QueueConfig::default() }
        }
    }
}
