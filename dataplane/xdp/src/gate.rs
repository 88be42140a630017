//! The gate of one interface: loads the program, keeps it pinned, and feeds its maps.
//!
//! The gate outlives its process on purpose. Link and maps are pinned under `<pin_dir>/<interface>/`,
//! so that after a crash every frame takes the fallback (drop, unless configured) instead of reaching
//! the kernel's stack unjudged. The next start adopts the pins: the same maps, the program replaced
//! atomically on the same link, and no moment without a gate. Only [`Gate::detach`] takes it away.
//!
//! Bounds: [`QUEUES_MAX`] queues and [`NODE_ADDRESSES_MAX`] node addresses an interface.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use aya::maps::MapError;
use aya::programs::links::FdLink;

mod attach;
mod error;
mod maps;

use attach::{adoptable, load_and_attach, raise_memlock, refuse_foreign, refuse_other_mode};
pub use error::GateError;
use maps::{Maps, Record, bytes_of, is_missing, write_node_addresses};

use crate::bpffs::is_bpffs;
use crate::interface::Interface;
use crate::pins::Pins;
use crate::privilege::check_privileges;
use crate::promiscuous::Promiscuous;
use crate::queue::Queue;

/// The most receive queues of one interface that can have a socket.
pub const QUEUES_MAX: u32 = 64;

/// The most node addresses that one gate can tell apart.
pub const NODE_ADDRESSES_MAX: u32 = 256;

/// What the gate does with frames of its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateRole {
    /// Every frame goes to the socket: pod and host ports.
    Steer,
    /// The node's own traffic passes to the kernel, everything else goes to the socket. The interface
    /// is promiscuous while the gate is held: pods behind it have MAC addresses of their own.
    Uplink,
}

/// What happens to frames for which no socket is there, above all when the process has died.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fallback {
    /// They are dropped: nothing passes unjudged.
    #[default]
    Drop,
    /// They go to the kernel's own stack, unjudged.
    Pass,
}

/// How the interface runs the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateMode {
    /// In the driver, before the kernel makes a packet buffer.
    Native,
    /// In the kernel's stack, for drivers without XDP: slower.
    Generic,
}

impl GateMode {
    /// The word for the mode in configuration and output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// How to attach a gate.
#[derive(Debug, Clone)]
pub struct GateConfig {
    /// A directory on a BPF file system (see [`crate::ensure_bpffs`]); the gate makes one below it.
    pub pin_dir: PathBuf,
    /// What the gate does.
    pub role: GateRole,
    /// What it does without a socket.
    pub fallback: Fallback,
    /// How the interface has to run it; `None` for native if the driver can, else generic.
    pub mode: Option<GateMode>,
    /// For [`GateRole::Uplink`]: addresses that are the node's own, link-local ones included.
    ///
    /// In force before the first frame meets the gate, so the node is never cut off.
    pub node_addresses: Vec<IpAddr>,
    /// Takes frames that are longer than a buffer of the driver, too (`xdp.frags`). Some drivers run
    /// no gate at a long MTU without it; kernels before 5.18 do not have it.
    pub chains: bool,
}

/// What the gate counted since it was first attached, over all processors and processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GateCounters {
    /// Frames redirected to a socket.
    pub steered: u64,
    /// Frames of the node's own traffic that went to the kernel.
    pub passed_to_node: u64,
    /// Frames dropped because no socket was there.
    pub fallback_dropped: u64,
    /// Frames given to the kernel because no socket was there.
    pub fallback_passed: u64,
}

/// An attached gate. Dropping it leaves it attached and pinned: closed, not open.
pub struct Gate {
    pins: Pins,
    interface: Interface,
    mode: GateMode,
    why_generic: Option<String>,
    record: Record,
    adopted: bool,
    maps: Maps,
    // Held for what it does as long as it is there.
    _promiscuous: Option<Promiscuous>,
    // Held for its descriptor; the pin is what keeps the program attached.
    link: FdLink,
}

impl Gate {
    /// Attaches the gate, or adopts the one that a former process left behind.
    ///
    /// Attach before binding queues.
    ///
    /// # Errors
    /// [`GateError`] if privileges are missing, `pin_dir` is no BPF file system, a foreign program is
    /// attached or the kernel refuses. An interface without a gate stays without one; an adopted gate
    /// stays in force.
    pub fn attach(interface: &Interface, config: &GateConfig) -> Result<Self, GateError> {
        check_privileges()?;
        if !is_bpffs(&config.pin_dir).unwrap_or(false) {
            return Err(GateError::NoBpffs { pin_dir: config.pin_dir.clone() });
        }
        raise_memlock();
        let pins = Pins::new(&config.pin_dir, interface.name());
        let adopted = adoptable(interface, &pins);
        if adopted {
            refuse_other_mode(interface, config.mode)?;
        } else {
            refuse_foreign(interface)?;
            pins.remove_all().map_err(|source| GateError::pins(&pins, source))?;
        }
        pins.create().map_err(|source| GateError::pins(&pins, source))?;
        let attached = load_and_attach(interface, config, &pins, adopted);
        if attached.is_err() && !adopted {
            // The first error is the one to report; what is left is found stale at the next start.
            let _ = pins.remove_all();
        }
        attached
    }

    /// Sends the frames of a receive queue to a socket that is bound to the same queue.
    ///
    /// # Errors
    /// [`GateError::QueueRange`] from [`QUEUES_MAX`] on; [`GateError::Map`] if the kernel refuses.
    pub fn connect(&mut self, queue_id: u32, queue: &Queue) -> Result<(), GateError> {
        self.check_queue(queue_id)?;
        self.maps
            .sockets
            .set(queue_id, queue.as_raw_fd(), 0)
            .map_err(|source| self.map_error("sockets", source))
    }

    /// Takes the socket of a receive queue away; its frames take the fallback from now on.
    ///
    /// # Errors
    /// As for [`Gate::connect`]. A queue without a socket is no error.
    pub fn disconnect(&mut self, queue_id: u32) -> Result<(), GateError> {
        self.check_queue(queue_id)?;
        match self.maps.sockets.unset(queue_id) {
            Err(source) if !is_missing(&source) => Err(self.map_error("sockets", source)),
            _ => Ok(()),
        }
    }

    /// Replaces the node's own addresses: new ones are added before old ones go.
    ///
    /// # Errors
    /// [`GateError::NodeAddresses`] above [`NODE_ADDRESSES_MAX`] (nothing changes then), or
    /// [`GateError::Map`].
    pub fn set_node_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), GateError> {
        write_node_addresses(&mut self.maps.node_addresses, addresses, self.interface.name())
    }

    /// Notes another MAC address of the interface, by which the node's own frames are told.
    ///
    /// # Errors
    /// [`GateError::Map`] if the kernel refuses.
    pub fn set_mac(&mut self, mac: [u8; 6]) -> Result<(), GateError> {
        self.write(Record { mac, ..self.record })
    }

    /// The MAC address that it takes for the interface's.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.record.mac
    }

    /// Changes what happens to frames for which no socket is there.
    ///
    /// # Errors
    /// [`GateError::Map`] if the kernel refuses.
    pub fn set_fallback(&mut self, fallback: Fallback) -> Result<(), GateError> {
        self.write(Record { fallback, ..self.record })
    }

    /// Notes how many receive queues came with the gate, for whoever adopts it: they can be told from
    /// others only by who saw them come.
    ///
    /// # Errors
    /// [`GateError::Map`] if the kernel refuses.
    pub fn set_added_queues(&mut self, count: u16) -> Result<(), GateError> {
        self.write(Record { added_queues: count, ..self.record })
    }

    /// Receive queues that came with the gate, the last ones. Some drivers send nothing by them.
    #[must_use]
    pub fn added_queues(&self) -> u16 {
        self.record.added_queues
    }

    fn write(&mut self, record: Record) -> Result<(), GateError> {
        self.maps
            .config
            .set(0, bytes_of(record), 0)
            .map_err(|source| self.map_error("config", source))?;
        self.record = record;
        Ok(())
    }

    /// Reads the counters. They go on where a former process left them.
    ///
    /// # Errors
    /// [`GateError::Map`] if the kernel refuses.
    pub fn counters(&self) -> Result<GateCounters, GateError> {
        let sum = |index: u32| match self.maps.counters.get(&index, 0) {
            Ok(values) => Ok(values.iter().sum()),
            Err(source) => Err(self.map_error("counters", source)),
        };
        Ok(GateCounters {
            steered: sum(0)?,
            passed_to_node: sum(1)?,
            fallback_dropped: sum(2)?,
            fallback_passed: sum(3)?,
        })
    }

    /// How the interface runs the gate.
    #[must_use]
    pub fn mode(&self) -> GateMode {
        self.mode
    }

    /// Why it runs in generic mode, unless that was demanded.
    #[must_use]
    pub fn why_generic(&self) -> Option<&str> {
        self.why_generic.as_deref()
    }

    /// What happens to frames for which no socket is there.
    #[must_use]
    pub fn fallback(&self) -> Fallback {
        self.record.fallback
    }

    /// True if a former process had left this gate behind.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// The interface, as it was when the gate was attached.
    #[must_use]
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Whether this gate still is what the interface, as read just now, runs.
    #[must_use]
    pub fn guards(&self, interface: &Interface) -> bool {
        adoptable(interface, &self.pins)
    }

    /// Takes the gate away: pins, program and directory. The kernel's stack then sees every frame.
    ///
    /// # Errors
    /// [`GateError::Pins`] if the pins cannot be removed; the gate then stays attached.
    pub fn detach(self) -> Result<(), GateError> {
        self.pins.remove_all().map_err(|source| GateError::pins(&self.pins, source))?;
        drop(self.link);
        Ok(())
    }

    fn check_queue(&self, queue_id: u32) -> Result<(), GateError> {
        if queue_id < QUEUES_MAX {
            return Ok(());
        }
        Err(GateError::QueueRange { interface: self.interface.name().to_owned(), queue_id })
    }

    fn map_error(&self, map: &'static str, source: MapError) -> GateError {
        GateError::map(self.interface.name(), map, source)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("interface", &self.interface.name())
            .field("mode", &self.mode)
            .field("record", &self.record)
            .field("adopted", &self.adopted)
            .finish()
    }
}

/// Detaches every gate that is pinned under `pin_dir`, of whatever process; tells how many.
///
/// For cleaning up after a process that will not come back. A missing directory counts as none.
///
/// # Errors
/// [`GateError::Pins`] for the first directory that cannot be removed.
pub fn detach_all(pin_dir: &Path) -> Result<usize, GateError> {
    let entries = match std::fs::read_dir(pin_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(source) => return Err(GateError::Pins { directory: pin_dir.to_owned(), source }),
    };
    let mut count = 0;
    for entry in entries.flatten() {
        let pins = Pins::of_directory(entry.path());
        if pins.exist() {
            pins.remove_all().map_err(|source| GateError::pins(&pins, source))?;
            count += 1;
        }
    }
    Ok(count)
}
