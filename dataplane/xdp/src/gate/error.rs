//! Why a gate was refused.

use std::io;
use std::path::PathBuf;

use aya::maps::MapError;

use super::{NODE_ADDRESSES_MAX, QUEUES_MAX};
use crate::frame::CHUNK_MTU_MAX;
use crate::interface::Interface;
use crate::pins::Pins;
use crate::privilege::PrivilegeError;
use crate::shell::shell_word;

/// Why a gate was refused.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The process may not load programs.
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    /// Pins need a BPF file system.
    #[error(
        "{} is not on a BPF file system; mount one (mount -t bpf bpf {}) or set another pin_dir",
        pin_dir.display(), shell_word(&pin_dir.to_string_lossy())
    )]
    NoBpffs {
        /// The directory that was given.
        pin_dir: PathBuf,
    },
    /// Another program's XDP program is attached.
    #[error(
        "{interface} already runs the XDP program `{program}` (id {program_id}) of somebody else; \
         stop its owner, or detach it: ip link set dev {} xdp off (a program held by a link: \
         bpftool link detach)",
        shell_word(interface)
    )]
    Foreign {
        /// The interface.
        interface: String,
        /// The program's name; empty if it has none.
        program: String,
        /// The program's id.
        program_id: u32,
    },
    /// It takes frames for its own address only, and none for pods behind it.
    #[error(
        "{interface} cannot be made promiscuous: {source}; an uplink has to take frames for the MACs of pods"
    )]
    Promiscuous {
        /// The interface.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The pins cannot be made or removed.
    #[error("the gate's pins in {} failed: {source}; check the directory's permissions", directory.display())]
    Pins {
        /// The directory.
        directory: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The program does not load.
    #[error(
        "the gate program does not load for {interface}: {source}; Linux 5.10 or newer is needed, \
         and 5.18 for an MTU above {CHUNK_MTU_MAX}"
    )]
    Load {
        /// The interface.
        interface: String,
        /// What the loader said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The program does not attach, in neither mode.
    #[error(
        "the gate does not attach to {interface}: {source}; check that the interface still exists \
         and that LRO is off: ethtool -K {} lro off",
        shell_word(interface)
    )]
    Attach {
        /// The interface.
        interface: String,
        /// What the kernel said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Native mode was demanded and is not to be had.
    #[error(
        "{interface} does not run the gate in its driver: {reason}; demand no mode, or `generic`, \
         which is slower"
    )]
    NoNative {
        /// The interface.
        interface: String,
        /// What the kernel said.
        reason: String,
    },
    /// An earlier run left its gate in another mode.
    #[error(
        "{interface} runs the gate of an earlier run in {running} mode, and {wanted} mode is \
         demanded; take the old one away first, which leaves {interface} unfiltered for that time: \
         sluiced --detach"
    )]
    OtherMode {
        /// The interface.
        interface: String,
        /// The mode that it runs in.
        running: &'static str,
        /// The mode that is demanded.
        wanted: &'static str,
    },
    /// A queue number beyond the bound.
    #[error(
        "queue {queue_id} of {interface} is beyond the bound of {QUEUES_MAX}; reduce its queues: \
         ethtool -L {} combined {QUEUES_MAX}",
        shell_word(interface)
    )]
    QueueRange {
        /// The interface.
        interface: String,
        /// The queue.
        queue_id: u32,
    },
    /// More node addresses than the gate can hold.
    #[error(
        "{count} node addresses on {interface} exceed the bound of {NODE_ADDRESSES_MAX}; leave out \
         those that are not the node's own"
    )]
    NodeAddresses {
        /// The interface.
        interface: String,
        /// How many were given.
        count: usize,
    },
    /// A map refuses an entry.
    #[error("map `{map}` of the gate on {interface} failed: {source}; restart to load it afresh")]
    Map {
        /// The interface.
        interface: String,
        /// The map.
        map: &'static str,
        /// What the kernel said.
        source: Box<MapError>,
    },
}

impl GateError {
    pub(crate) fn pins(pins: &Pins, source: io::Error) -> Self {
        Self::Pins { directory: pins.directory().to_owned(), source }
    }

    pub(crate) fn map(interface: &str, map: &'static str, source: MapError) -> Self {
        Self::Map { interface: interface.to_owned(), map, source: Box::new(source) }
    }

    pub(crate) fn load(
        interface: &Interface,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Load { interface: interface.name().to_owned(), source: source.into() }
    }

    pub(crate) fn attach(
        interface: &Interface,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Attach { interface: interface.name().to_owned(), source: source.into() }
    }
}
