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
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

mod error;
mod maps;

pub use error::GateError;
use maps::{Maps, is_missing, maps_fit, record, take_maps, write_node_addresses};

use crate::attached;
use crate::bpffs::is_bpffs;
use crate::interface::Interface;
use crate::pins::{MAPS, Pins};
use crate::privilege::check_privileges;
use crate::promiscuous::Promiscuous;
use crate::queue::Queue;

/// The most receive queues of one interface that can have a socket.
pub const QUEUES_MAX: u32 = 64;

/// The most node addresses that one gate can tell apart.
pub const NODE_ADDRESSES_MAX: u32 = 256;

/// Why an adopted gate is in generic mode, as far as that is known.
const STAYS_GENERIC: &str = "an earlier run attached it so, and it stays until it is taken away: \
                             sluiced --detach, and start again";

/// The compiled bpf/gate.bpf.c.
static PROGRAM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/gate.bpf.o"));

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
    role: GateRole,
    fallback: Fallback,
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

    /// Changes what happens to frames for which no socket is there.
    ///
    /// # Errors
    /// [`GateError::Map`] if the kernel refuses.
    pub fn set_fallback(&mut self, fallback: Fallback) -> Result<(), GateError> {
        let bytes = record(self.role, fallback, self.interface.mac());
        self.maps
            .config
            .set(0, bytes, 0)
            .map_err(|source| GateError::map(self.interface.name(), "config", source))?;
        self.fallback = fallback;
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
        self.fallback
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
            .field("role", &self.role)
            .field("fallback", &self.fallback)
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

/// True if the pinned link is the one that guards this very interface.
///
/// A deleted device leaves a link that leads nowhere; one of the same name in another namespace may
/// even share the number, so the program that the interface runs must be the link's as well.
fn adoptable(interface: &Interface, pins: &Pins) -> bool {
    let Ok(target) = attached::link_target(&pins.link()) else { return false };
    target.interface_index == interface.index()
        && running_program(interface).is_some_and(|(id, _)| id == target.program_id)
}

fn refuse_foreign(interface: &Interface) -> Result<(), GateError> {
    match running_program(interface) {
        None => Ok(()),
        Some((program_id, _)) => Err(GateError::Foreign {
            interface: interface.name().to_owned(),
            program: attached::xdp_program_name(program_id),
            program_id,
        }),
    }
}

/// An interface cannot go over to another mode without a moment in which it has no gate.
fn refuse_other_mode(interface: &Interface, wanted: Option<GateMode>) -> Result<(), GateError> {
    match (wanted, running_program(interface)) {
        (Some(wanted), Some((_, running))) if wanted != running => Err(GateError::OtherMode {
            interface: interface.name().to_owned(),
            running: running.name(),
            wanted: wanted.name(),
        }),
        _ => Ok(()),
    }
}

/// The program that the interface runs, and how.
fn running_program(interface: &Interface) -> Option<(u32, GateMode)> {
    let in_mode = |mode| attached::program_id(interface.index(), mode).ok().flatten();
    match in_mode(attached::NATIVE) {
        Some(id) => Some((id, GateMode::Native)),
        None => in_mode(attached::GENERIC).map(|id| (id, GateMode::Generic)),
    }
}

fn load_and_attach(
    interface: &Interface,
    config: &GateConfig,
    pins: &Pins,
    adopt: bool,
) -> Result<Gate, GateError> {
    if !maps_fit(pins) {
        pins.remove_maps().map_err(|source| GateError::pins(pins, source))?;
    }
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    for name in MAPS {
        loader.map_pin_path(name, pins.map(name));
    }
    let mut ebpf = loader.load(PROGRAM).map_err(|error| GateError::load(interface, error))?;
    let mut maps = take_maps(&mut ebpf, interface)?;
    // The maps say the right thing before the program meets its first frame.
    write_node_addresses(&mut maps.node_addresses, &config.node_addresses, interface.name())?;
    maps.config
        .set(0, record(config.role, config.fallback, interface.mac()), 0)
        .map_err(|source| GateError::map(interface.name(), "config", source))?;
    let program = load_program(&mut ebpf, interface, config.chains)?;
    let promiscuous = match config.role {
        GateRole::Uplink => Some(Promiscuous::hold(interface).map_err(|source| {
            GateError::Promiscuous { interface: interface.name().to_owned(), source }
        })?),
        GateRole::Steer => None,
    };
    let (link, why_generic) = if adopt {
        match replace(program, interface, pins) {
            // The kernel replaces either program by the other. But a driver may have let frames in
            // since that only the gate with frags can take: the other end of a veth may still have
            // the long MTU that this end had. Without it the old gate would stay, with no port.
            Err(_) if !config.chains => {
                (replace(load_program(&mut ebpf, interface, true)?, interface, pins)?, None)
            }
            replaced => (replaced?, None),
        }
    } else {
        attach_new(program, interface, config.mode, pins)?
    };
    let mode = running_program(interface).map_or(GateMode::Generic, |(_, mode)| mode);
    let stays_generic = adopt && mode == GateMode::Generic && config.mode.is_none();
    let why_generic = if stays_generic { Some(STAYS_GENERIC.to_owned()) } else { why_generic };
    Ok(Gate {
        pins: pins.clone(),
        interface: interface.clone(),
        mode,
        why_generic,
        role: config.role,
        fallback: config.fallback,
        adopted: adopt,
        maps,
        _promiscuous: promiscuous,
        link,
    })
}

/// Loads the gate, for frames in several buffers or for those in one.
fn load_program<'a>(
    ebpf: &'a mut Ebpf,
    interface: &Interface,
    chains: bool,
) -> Result<&'a mut Xdp, GateError> {
    let name = if chains { "sluice_gate_frags" } else { "sluice_gate" };
    let program: &mut Xdp = ebpf
        .program_mut(name)
        .ok_or_else(|| GateError::load(interface, format!("the object has no program {name}")))?
        .try_into()
        .map_err(|error: ProgramError| GateError::load(interface, error))?;
    program.load().map_err(|error| GateError::load(interface, error))?;
    Ok(program)
}

/// Puts the new program in the place of the old one, on the same link, at once.
fn replace(program: &mut Xdp, interface: &Interface, pins: &Pins) -> Result<FdLink, GateError> {
    let failed = |error: ProgramError| GateError::attach(interface, error);
    let pinned =
        PinnedLink::from_pin(pins.link()).map_err(|error| GateError::attach(interface, error))?;
    let link = XdpLink::try_from(FdLink::from(pinned))
        .map_err(|error| GateError::attach(interface, error))?;
    let id = program.attach_to_link(link).map_err(failed)?;
    let link = program.take_link(id).map_err(failed)?;
    FdLink::try_from(link).map_err(|error| GateError::attach(interface, error))
}

/// Attaches in the mode that is wanted and pins the link. Tells why it is generic, if it need not
/// have been.
fn attach_new(
    program: &mut Xdp,
    interface: &Interface,
    wanted: Option<GateMode>,
    pins: &Pins,
) -> Result<(FdLink, Option<String>), GateError> {
    let failed = |error: ProgramError| GateError::attach(interface, error);
    let index = interface.index();
    let (id, why_generic) = match wanted {
        Some(GateMode::Generic) => {
            (program.attach_to_if_index(index, XdpMode::Skb).map_err(failed)?, None)
        }
        Some(GateMode::Native) | None => match program.attach_to_if_index(index, XdpMode::Driver) {
            Ok(id) => (id, None),
            Err(error) => {
                // Somebody may have been faster since the first look.
                refuse_foreign(interface)?;
                if wanted.is_some() {
                    return Err(GateError::NoNative {
                        interface: interface.name().to_owned(),
                        reason: reason(&error),
                    });
                }
                let id = program.attach_to_if_index(index, XdpMode::Skb).map_err(failed)?;
                (id, Some(reason(&error)))
            }
        },
    };
    let link = program.take_link(id).map_err(failed)?;
    let link = FdLink::try_from(link).map_err(|error| GateError::attach(interface, error))?;
    let pinned = link.pin(pins.link()).map_err(|error| GateError::attach(interface, error))?;
    Ok((FdLink::from(pinned), why_generic))
}

/// The kernel's own words, below what the loader wraps around them.
fn reason(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Kernels before 5.11 charge maps to RLIMIT_MEMLOCK. Newer ones do not, so a refusal means nothing.
fn raise_memlock() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: reads a structure that lives through the call.
    let _ = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) };
}
