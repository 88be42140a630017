//! Ports: what is attached, and how.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;
use serde::ser::{SerializeSeq as _, Serializer};
use sluice_core::address::{Mac, NetworkId};
use sluice_policy::model::Name;

/// What a port is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortSpec {
    /// The interface, whose name is the port's name too.
    pub interface: String,
    /// What is attached.
    #[serde(flatten)]
    pub kind: PortKind,
    /// The networks that the port belongs to, and the VLAN id that marks each on this port;
    /// `None` for the one that is untagged here. Never empty, each tag once.
    #[serde(serialize_with = "serialize_networks")]
    pub networks: BTreeMap<NetworkId, Option<u16>>,
    /// What happens to its frames while the daemon does not run.
    pub fallback: Fallback,
    /// For an uplink: addresses of the node besides those that the interface has.
    pub node_addresses: Vec<IpAddr>,
    /// How its frames get in and out.
    pub mode: PortMode,
    /// The workers that own its queues, by index, over and over. Empty: chosen by what the NIC is
    /// near to.
    pub workers: Vec<u32>,
    /// Whether a tag with VLAN id 0 is taken for none.
    pub priority_tags: bool,
}

/// How the frames of a port get in and out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
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

/// What a port is. Serialises to `"kind": "pod"` with `pod` and `mac` beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum PortKind {
    /// The host end of a pod's veth.
    Pod {
        /// The pod.
        #[serde(serialize_with = "serialize_text")]
        pod: Name,
        /// The MAC of the pod's own end.
        #[serde(serialize_with = "serialize_text")]
        mac: Mac,
    },
    /// A physical NIC.
    Uplink,
    /// A veth pair into the node's own stack.
    Host,
}

/// What happens to a port's frames while the daemon does not run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// They are dropped: nothing passes unjudged.
    #[default]
    Drop,
    /// They go to the kernel's own stack, unjudged.
    Pass,
}

/// How an interface runs the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GateMode {
    /// In the driver.
    Native,
    /// In the kernel's stack: slower.
    Generic,
}

/// A port in operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortState {
    /// What it is.
    #[serde(flatten)]
    pub spec: PortSpec,
    /// The interface's driver.
    pub driver: String,
    /// How the interface runs the gate.
    pub gate_mode: GateMode,
    /// Why that is the generic mode, if it was not asked for.
    pub why_generic: Option<String>,
    /// Sorted by their numbers. None while the port waits.
    pub queues: Vec<QueueState>,
    /// The longest packet without the Ethernet header, in bytes.
    pub mtu: u32,
    /// Why the port is not open at present; its frames are dropped meanwhile.
    pub waiting: Option<String>,
}

/// A receive queue of an interface and the AF_XDP socket on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueueState {
    /// Its number on its interface, from 0.
    pub queue: u32,
    /// The worker that owns it.
    pub worker: u32,
    /// Whether driver and socket share memory without a copy.
    pub zero_copy: bool,
    /// Why frames are copied, if that was not asked for.
    pub why_copied: Option<String>,
    /// The microseconds of its busy polling; 0 where interrupts tell of frames.
    pub busy_poll_us: u32,
    /// Whether polls do receive and send.
    pub polled: bool,
    /// What the kernel has counted since the socket was bound, if it tells.
    pub statistics: Option<QueueStatistics>,
}

/// Counters of one AF_XDP socket, all but the last by the kernel (`struct xdp_statistics` of linux/if_xdp.h).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct QueueStatistics {
    /// Dropped on receive for other reasons, such as a packet longer than a frame.
    pub rx_dropped: u64,
    /// Dropped on receive because the rx ring was full.
    pub rx_ring_full: u64,
    /// Times that no frame was there to receive into.
    pub rx_fill_ring_empty: u64,
    /// Entries of the fill ring that the kernel found invalid.
    pub rx_invalid_descriptors: u64,
    /// Entries of the tx ring that the kernel found invalid.
    pub tx_invalid_descriptors: u64,
    /// Times that the kernel found nothing to send.
    pub tx_ring_empty: u64,
    /// Counted by the daemon: frames that the kernel handed back and had never been lent. Zero on a
    /// sound kernel.
    pub foreign_descriptors: u64,
}

impl PortKind {
    /// The word for the kind in output.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pod { .. } => "pod",
            Self::Uplink => "uplink",
            Self::Host => "host",
        }
    }
}

fn serialize_text<S: Serializer>(
    text: &impl std::fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(text)
}

fn serialize_networks<S: Serializer>(
    networks: &BTreeMap<NetworkId, Option<u16>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Network {
        id: u16,
        vlan: Option<u16>,
    }
    let mut list = serializer.serialize_seq(Some(networks.len()))?;
    for (id, vlan) in networks {
        list.serialize_element(&Network { id: id.0, vlan: *vlan })?;
    }
    list.end()
}
