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
    BusyPoll, Copying, Fallback, Gate, GateCounters, GateError, GateMode, Interface,
    InterfaceError, QUEUES_MAX, QueueError, QueueReport, shell_word,
};

mod bind;
mod jumbo;
mod placement;
mod tend;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::port::PortKind;
use bind::{check, spec, take_away};
use tend::Waiting;

pub use jumbo::why_copied;
pub use sluice_xdp::{CHUNK_MTU_MAX, MTU_MAX};

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
    #[error("interface {0} is down; bring it up with `ip link set dev {word} up`", word = shell_word(.0))]
    Down(String),
    /// Frames of this size are longer than Sluice takes.
    #[error(
        "interface {name} has MTU {mtu}; Sluice takes {MTU_MAX} at most: \
         `ip link set dev {} mtu {MTU_MAX}`",
        shell_word(name)
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
         {source}; `ip link set dev {} mtu {CHUNK_MTU_MAX}` or less",
        shell_word(name)
    )]
    Jumbo {
        /// The interface.
        name: String,
        /// Its MTU.
        mtu: u32,
        /// What was refused.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Zero-copy is demanded, which the driver does not have for frames of this size.
    #[error(
        "interface {name} has MTU {mtu}, and its driver has no zero-copy for frames that long, if for \
         any: `ip link set dev {} mtu {CHUNK_MTU_MAX}` or less, or demand no mode, or `copy`",
        shell_word(name)
    )]
    JumboCopied {
        /// The interface.
        name: String,
        /// Its MTU.
        mtu: u32,
    },
    /// The NIC takes VLAN tags out of frames, so that a frame of any VLAN looks like an untagged one.
    #[error(
        "interface {0} takes VLAN tags out of the frames that it receives, so that networks cannot be \
         told apart: ethtool -K {word} rxvlan off",
        word = shell_word(.0)
    )]
    VlanStripping(String),
    /// Packet memory has no frames left for the port's queues.
    #[error(
        "interface {name}: its {queues} queues want {wanted} frames to receive into, and {left} are \
         left; raise engine.frames by the difference or more, or give it fewer queues: \
         ethtool -L {} combined N",
        shell_word(name)
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
         ethtool -L {} combined {QUEUES_MAX}",
        shell_word(name)
    )]
    Queues {
        /// The interface.
        name: String,
        /// How many it has.
        queues: u32,
    },
    /// It is not as it was when its gate was chosen.
    #[error("interface {0} changes while it is opened; open it again when it is at rest")]
    Unsteady(String),
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
    busy_poll: Option<BusyPoll>,
    /// Whoever opens, closes or tends has it: one at a time, and it may take seconds.
    operation: Mutex<()>,
    /// Held for moments only, so that nobody who just looks waits for an operation.
    ports: Mutex<BTreeMap<String, OpenPort>>,
}

/// A port that is open, or waits to be opened again.
struct OpenPort {
    request: PortRequest,
    gate: Gate,
    /// As it was when its queues were bound.
    interface: Interface,
    why_generic: Option<String>,
    waiting: Option<Waiting>,
    has_link: bool,
}

impl Ports {
    /// No ports yet. Gates are pinned below `pin_dir`, which is on a BPF file system.
    #[must_use]
    pub fn new(engine: Arc<Engine>, pin_dir: PathBuf) -> Self {
        let (operation, ports) = Default::default();
        Self { engine, pin_dir, busy_poll: None, operation, ports }
    }

    /// The same, with the queues of uplinks polled. Pods' ports are too many for a system call each
    /// where nothing has come.
    #[must_use]
    pub fn with_busy_poll(self, busy_poll: Option<BusyPoll>) -> Self {
        Self { busy_poll, ..self }
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
        let _operation = self.operate();
        if self.locked().contains_key(&request.interface) {
            return Err(EngineError::PortExists(request.interface.clone()).into());
        }
        let count = self.engine.worker_count();
        if let Some(&worker) = request.workers.iter().find(|worker| **worker >= count) {
            let port = request.interface.clone();
            return Err(EngineError::NoSuchWorker { port, worker, count }.into());
        }
        let interface = Interface::open(&request.interface)?;
        check(&interface)?;
        let mut gate = self.attach(&interface, request)?;
        let opened = self.bind(&mut gate, request).and_then(|(interface, queues)| {
            self.engine.add_port_with(spec(request, &interface), queues)?;
            gate.set_fallback(request.fallback)?;
            Ok(interface)
        });
        match opened {
            Ok(interface) => {
                let port = OpenPort::new(request.clone(), gate, interface, None);
                self.locked().insert(request.interface.clone(), port);
                Ok(())
            }
            Err(error) => {
                take_away(gate);
                Err(error)
            }
        }
    }

    /// Closes a port and takes its gate away, so that the kernel has the interface again.
    ///
    /// # Errors
    /// [`OpenError`], if there is no such port or it does not come loose.
    pub fn close(&self, name: &str) -> Result<(), OpenError> {
        let _operation = self.operate();
        if !self.locked().contains_key(name) {
            return Err(EngineError::NoSuchPort(name.into()).into());
        }
        self.engine.remove_port(name)?;
        let port = self.locked().remove(name);
        if let Some(port) = port {
            port.gate.detach()?;
        }
        Ok(())
    }

    /// Closes every port again after a start that failed. Gates that were there before stay, so
    /// that a failed restart opens nothing.
    pub fn abandon(&self) {
        let _operation = self.operate();
        let ports = std::mem::take(&mut *self.locked());
        for (name, port) in ports {
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
        let queues = self.engine.queues(name)?;
        let ports = self.locked();
        let port = ports.get(name).ok_or_else(|| EngineError::NoSuchPort(name.into()))?;
        Ok(PortFacts {
            request: port.request.clone(),
            driver: port.interface.driver().to_owned(),
            gate_mode: port.gate.mode(),
            why_generic: port.why_generic.clone(),
            queues,
            waiting: port.waiting.as_ref().map(|waiting| waiting.why.clone()),
            gate: port.gate.counters()?,
        })
    }

    /// What the gate of a port has counted, which no worker is asked for.
    ///
    /// # Errors
    /// [`OpenError`], if there is no such port or the gate cannot be read.
    pub fn gate_counters(&self, name: &str) -> Result<GateCounters, OpenError> {
        let ports = self.locked();
        let port = ports.get(name).ok_or_else(|| EngineError::NoSuchPort(name.into()))?;
        Ok(port.gate.counters()?)
    }

    fn operate(&self) -> MutexGuard<'_, ()> {
        self.operation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, OpenPort>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenPort {
    /// A port that has just been opened; `why_before` is why it was in generic mode until now.
    fn new(
        request: PortRequest,
        gate: Gate,
        interface: Interface,
        why_before: Option<String>,
    ) -> Self {
        // A gate that is adopted does not know why it is as it is.
        let why_now = gate.why_generic().map(str::to_owned);
        let why_generic = why_before.filter(|_| why_now.is_some() && gate.adopted()).or(why_now);
        let has_link = interface.link_detected();
        Self { request, gate, interface, why_generic, waiting: None, has_link }
    }
}
