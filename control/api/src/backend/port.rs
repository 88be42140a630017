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
    /// For each queue, whether it runs without copies.
    pub zero_copy: Vec<bool>,
    /// The longest packet without the Ethernet header, in bytes.
    pub mtu: u32,
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
