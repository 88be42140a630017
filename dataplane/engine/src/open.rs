//! Opening an interface as a port: gate first, then sockets, then the engine.
//!
//! The gate is attached before any socket is bound and the queue count is read after that,
//! since drivers change it when a program comes. Every queue has a socket or the port does
//! not come up. What fails is undone, except that a gate that was there before stays: closed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sluice_core::address::NetworkId;
use sluice_xdp::{
    Copying, Fallback, Gate, GateConfig, GateCounters, GateError, GateMode, GateRole, Interface,
    InterfaceError, QUEUES_MAX, Queue, QueueConfig, QueueError, QueueReport, Topology,
};

mod jumbo;
mod placement;
mod tend;

use crate::engine::{Engine, PlacedQueue};
use crate::error::EngineError;
use crate::port::{PortKind, PortSpec};
use jumbo::{needs_chains, refused_gate, refused_queue};
use placement::{Nearness, place};
use tend::Waiting;

pub use jumbo::CHUNK_MTU_MAX;

/// The longest MTU of a port.
pub const MTU_MAX: u32 = 9_000;

/// Frames that each worker needs to have in its hands and on transmit rings.
const FRAMES_UNDER_WAY: usize = 1024;

/// How long a link that goes down when its gate comes is waited for, and how often it is looked at.
const LINK_PATIENCE: Duration = Duration::from_secs(10);
const LINK_INTERVAL: Duration = Duration::from_millis(20);

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
    /// How its frames get in and out.
    pub mode: PortMode,
    /// The workers that own its queues, by index: queue 0 belongs to the first, and so on, over and
    /// over. Empty: chosen by what the NIC is near to.
    pub workers: Vec<usize>,
}

/// How the frames of a port get in and out, and so what it costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PortMode {
    /// The best that kernel and driver have.
    #[default]
    Auto,
    /// The driver runs the gate and shares packet memory, or the port is refused.
    ZeroCopy,
    /// The driver runs the gate and the kernel copies frames, or the port is refused.
    Copy,
    /// The kernel's stack runs the gate and copies frames.
    Generic,
}

impl PortMode {
    /// The word for the mode in configuration and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::ZeroCopy => "zero-copy",
            Self::Copy => "copy",
            Self::Generic => "generic",
        }
    }

    fn gate_mode(self) -> Option<GateMode> {
        match self {
            Self::Auto => None,
            Self::ZeroCopy | Self::Copy => Some(GateMode::Native),
            Self::Generic => Some(GateMode::Generic),
        }
    }

    /// A generic gate cannot feed a socket whose memory the driver has.
    fn copying(self, gate: GateMode) -> Copying {
        match (self, gate) {
            (Self::ZeroCopy, _) => Copying::Never,
            (Self::Auto, GateMode::Native) => Copying::IfNeeded,
            (Self::Auto, GateMode::Generic) | (Self::Copy | Self::Generic, _) => Copying::Always,
        }
    }
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
    /// Frames of this size are longer than Sluice takes.
    #[error(
        "interface {name} has MTU {mtu}; Sluice takes {MTU_MAX} at most: `ip link set {name} mtu {MTU_MAX}`"
    )]
    Mtu {
        /// The interface.
        name: String,
        /// Its MTU.
        mtu: u32,
    },
    /// Frames of this size take several chunks of packet memory, which kernel or driver refuse.
    #[error(
        "interface {name} has MTU {mtu}, and this kernel or its driver gives no frames that long: \
         {source}; `ip link set {name} mtu {CHUNK_MTU_MAX}` or less"
    )]
    Jumbo {
        /// The interface.
        name: String,
        /// Its MTU.
        mtu: u32,
        /// What was refused.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The NIC takes VLAN tags out of frames, so that a frame of any VLAN looks like an untagged one.
    #[error(
        "interface {0} takes VLAN tags out of the frames that it receives, so that networks cannot be \
         told apart: ethtool -K {0} rxvlan off"
    )]
    VlanStripping(String),
    /// Packet memory has no frames left for the port's queues.
    #[error(
        "interface {name}: its {queues} queues want {wanted} frames to receive into, and {left} are \
         left; raise engine.frames by the difference or more, or give it fewer queues: \
         ethtool -L {name} combined N"
    )]
    Frames {
        /// The interface.
        name: String,
        /// How many queues it has.
        queues: usize,
        /// What they want.
        wanted: usize,
        /// What other ports have left, after what workers need to move frames.
        left: usize,
    },
    /// More queues than a gate can feed.
    #[error(
        "interface {name} has {queues} queues; Sluice takes {QUEUES_MAX} at most: \
         ethtool -L {name} combined {QUEUES_MAX}"
    )]
    Queues {
        /// The interface.
        name: String,
        /// How many it has.
        queues: u32,
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

/// A port, as an operator wants to see it.
#[derive(Debug, Clone)]
pub struct PortFacts {
    /// What was asked for.
    pub request: PortRequest,
    /// The interface's driver.
    pub driver: String,
    /// How the interface runs the gate.
    pub gate_mode: GateMode,
    /// Why it is the generic mode, if that was not asked for.
    pub why_generic: Option<String>,
    /// Its queues, each with the index of its worker. None while it waits.
    pub queues: Vec<(usize, QueueReport)>,
    /// Why it is not open at present; its frames are dropped meanwhile.
    pub waiting: Option<String>,
    /// What the gate has counted.
    pub gate: GateCounters,
}

/// The interfaces that are ports.
pub struct Ports {
    engine: Arc<Engine>,
    pin_dir: PathBuf,
    ports: Mutex<BTreeMap<String, OpenPort>>,
}

/// A port that is open, or waits to be opened again.
struct OpenPort {
    request: PortRequest,
    gate: Gate,
    /// As it was when its queues were bound.
    interface: Interface,
    waiting: Option<Waiting>,
}

impl Ports {
    /// No ports yet. Gates are pinned below `pin_dir`, which is on a BPF file system.
    #[must_use]
    pub fn new(engine: Arc<Engine>, pin_dir: PathBuf) -> Self {
        Self { engine, pin_dir, ports: Mutex::default() }
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
        let mut ports = self.locked();
        if ports.contains_key(&request.interface) {
            return Err(EngineError::PortExists(request.interface.clone()).into());
        }
        let (gate, interface, queues) = self.bind(&ports, request)?;
        if let Err(error) = self.engine.add_port_with(spec(request, &interface), queues) {
            take_away(gate);
            return Err(error.into());
        }
        let port = OpenPort { request: request.clone(), gate, interface, waiting: None };
        ports.insert(request.interface.clone(), port);
        Ok(())
    }

    /// Closes a port and takes its gate away, so that the kernel has the interface again.
    ///
    /// # Errors
    /// [`OpenError`], if there is no such port or it does not come loose.
    pub fn close(&self, name: &str) -> Result<(), OpenError> {
        let mut ports = self.locked();
        if !ports.contains_key(name) {
            return Err(EngineError::NoSuchPort(name.into()).into());
        }
        self.engine.remove_port(name)?;
        if let Some(port) = ports.remove(name) {
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
            take_away(port.gate);
        }
    }

    /// What is known of a port.
    ///
    /// # Errors
    /// [`OpenError`], if there is no such port, or its gate or a worker does not answer.
    pub fn facts(&self, name: &str) -> Result<PortFacts, OpenError> {
        let ports = self.locked();
        let port = ports.get(name).ok_or_else(|| EngineError::NoSuchPort(name.into()))?;
        Ok(PortFacts {
            request: port.request.clone(),
            driver: port.interface.driver().to_owned(),
            gate_mode: port.gate.mode(),
            why_generic: port.gate.why_generic().map(str::to_owned),
            queues: self.engine.queues(name)?,
            waiting: port.waiting.as_ref().map(|waiting| waiting.why.clone()),
            gate: port.gate.counters()?,
        })
    }

    /// Attaches the gate and binds a socket to every queue.
    ///
    /// # Errors
    /// [`OpenError`]; nothing is left but a gate that was there before.
    fn bind(
        &self,
        ports: &BTreeMap<String, OpenPort>,
        request: &PortRequest,
    ) -> Result<(Gate, Interface, Vec<PlacedQueue>), OpenError> {
        let interface = Interface::open(&request.interface)?;
        check(&interface)?;
        let mut gate = Gate::attach(&interface, &gate_config(&self.pin_dir, &interface, request))
            .map_err(|error| refused_gate(&interface, error))?;
        match self.bind_all(ports, &mut gate, request) {
            Ok((interface, queues)) => {
                tell_mode(&gate, request);
                Ok((gate, interface, queues))
            }
            Err(error) => {
                take_away(gate);
                Err(error)
            }
        }
    }

    fn bind_all(
        &self,
        ports: &BTreeMap<String, OpenPort>,
        gate: &mut Gate,
        request: &PortRequest,
    ) -> Result<(Interface, Vec<PlacedQueue>), OpenError> {
        let interface = await_link(gate.interface())?;
        check(&interface)?;
        let name = interface.name();
        let count = interface.rx_queue_count();
        if count > QUEUES_MAX {
            return Err(OpenError::Queues { name: name.into(), queues: count });
        }
        let config = queue_config(&request.kind);
        self.check_frames(ports, &interface, &config)?;
        let copying = request.mode.copying(gate.mode());
        let config = QueueConfig { copying, chains: needs_chains(&interface), ..config };
        let workers = self.workers_of(&interface, request);
        let mut queues = Vec::new();
        for (queue_id, worker) in (0..count).zip(workers) {
            let queue = Queue::bind(self.engine.umem(), &interface, queue_id, &config)
                .map_err(|error| refused_queue(&interface, error))?;
            if let Some(why) = queue.why_copied() {
                tracing::info!(port = name, queue = queue_id, %why, "the queue copies its frames");
            }
            gate.connect(queue_id, &queue)?;
            queues.push(PlacedQueue { io: Box::new(queue), worker });
        }
        Ok((interface, queues))
    }

    /// The worker of each queue: as configured, else by what the NIC is near to.
    fn workers_of(&self, interface: &Interface, request: &PortRequest) -> Vec<Option<usize>> {
        let count = interface.rx_queue_count() as usize;
        if !request.workers.is_empty() {
            return request.workers.iter().map(|it| Some(*it)).cycle().take(count).collect();
        }
        let near = Nearness::of(interface, &Topology::default());
        let placed = place(count, self.engine.cores(), &near);
        for (queue, (worker, why)) in placed.iter().enumerate() {
            tracing::debug!(port = interface.name(), queue, ?worker, why, "a queue is placed");
        }
        placed.into_iter().map(|(worker, _)| worker).collect()
    }

    /// Refuses a port that packet memory cannot feed, after what the others want.
    fn check_frames(
        &self,
        ports: &BTreeMap<String, OpenPort>,
        interface: &Interface,
        config: &QueueConfig,
    ) -> Result<(), OpenError> {
        let wants =
            |config: &QueueConfig, queues: u32| queues as usize * config.fill_frames_max as usize;
        // A port that waits will want its share again.
        let taken: usize = ports
            .values()
            .filter(|port| port.interface.name() != interface.name())
            .map(|port| wants(&queue_config(&port.request.kind), port.interface.rx_queue_count()))
            .sum();
        let total = self.engine.umem().frame_count() as usize;
        let under_way = FRAMES_UNDER_WAY * self.engine.worker_count();
        let left = total.saturating_sub(taken + under_way);
        let queues = interface.rx_queue_count();
        let wanted = wants(config, queues);
        if wanted <= left {
            return Ok(());
        }
        let queues = queues as usize;
        Err(OpenError::Frames { name: interface.name().into(), queues, wanted, left })
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, OpenPort>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Detaches a gate that is of no use, unless an earlier run had left it: then it stays, closed.
fn take_away(gate: Gate) {
    let name = gate.interface().name().to_owned();
    if !gate.adopted()
        && let Err(error) = gate.detach()
    {
        tracing::warn!(port = name, %error, "the gate is left");
    }
}

fn tell_mode(gate: &Gate, request: &PortRequest) {
    if let Some(why) = gate.why_generic() {
        tracing::warn!(
            port = request.interface,
            why,
            "the gate runs in generic mode, which is slower"
        );
    }
}

/// The interface as it is once its link is back: some drivers reset it when a program comes.
fn await_link(before: &Interface) -> Result<Interface, InterfaceError> {
    let deadline = Instant::now() + LINK_PATIENCE;
    loop {
        let now = Interface::open(before.name())?;
        if now.link_detected() || !before.link_detected() {
            return Ok(now);
        }
        if Instant::now() > deadline {
            tracing::warn!(
                port = before.name(),
                "the link went down with the gate and is not back"
            );
            return Ok(now);
        }
        sleep(LINK_INTERVAL);
    }
}

fn spec(request: &PortRequest, interface: &Interface) -> PortSpec {
    PortSpec {
        name: request.interface.as_str().into(),
        kind: request.kind.clone(),
        networks: request.networks.clone(),
        mtu: interface.mtu(),
        priority_tags: request.priority_tags,
        partial_checksums: interface.partial_checksums(),
    }
}

fn check(interface: &Interface) -> Result<(), OpenError> {
    if !interface.is_up() {
        return Err(OpenError::Down(interface.name().into()));
    }
    if interface.mtu() > MTU_MAX {
        return Err(OpenError::Mtu { name: interface.name().into(), mtu: interface.mtu() });
    }
    // A veth claims it and does it not: whether its frames carry tags is up to its peer.
    if interface.rx_vlan_stripping() && interface.driver() != "veth" {
        return Err(OpenError::VlanStripping(interface.name().into()));
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
        mode: request.mode.gate_mode(),
        node_addresses: node_addresses(interface, request),
        chains: needs_chains(interface),
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
