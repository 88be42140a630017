//! The ports of the story: who is behind each, and on which networks.

use std::collections::BTreeMap;

use sluice_core::address::NetworkId;
use sluice_core::table::{Party, Table};
use sluice_engine::port::{PortKind, PortSpec};

use crate::cast::{Host, OTHER_NETWORK, PODS};

/// A port by its place in [`SPECS`], whether it is attached or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PortNumber(pub(crate) usize);

pub(crate) const PORTS: usize = 7;

const UPLINK: usize = 4;
const NODE: usize = 5;
const NARROW: usize = 6;

/// What differs from port to port: its name, the pod or what else it is, its networks and tags,
/// its MTU.
struct Spec {
    name: &'static str,
    owner: Owner,
    networks: &'static [(NetworkId, Option<u16>)],
    mtu: u32,
}

enum Owner {
    Pod(Host),
    Uplink,
    Node,
}

const HERE: &[(NetworkId, Option<u16>)] = &[(NetworkId::DEFAULT, None)];

const SPECS: [Spec; PORTS] = [
    Spec { name: "client", owner: Owner::Pod(Host::CLIENT), networks: HERE, mtu: 1500 },
    Spec { name: "server", owner: Owner::Pod(Host::SERVER), networks: HERE, mtu: 1500 },
    Spec { name: "late", owner: Owner::Pod(Host::LATE), networks: HERE, mtu: 1500 },
    Spec {
        name: "twin",
        owner: Owner::Pod(Host::TWIN),
        networks: &[(OTHER_NETWORK, None)],
        mtu: 1500,
    },
    Spec {
        name: "uplink",
        owner: Owner::Uplink,
        networks: &[(NetworkId::DEFAULT, None), (OTHER_NETWORK, Some(7))],
        mtu: 1500,
    },
    Spec { name: "node", owner: Owner::Node, networks: HERE, mtu: 1500 },
    Spec {
        name: "narrow",
        owner: Owner::Uplink,
        networks: &[(NetworkId::DEFAULT, Some(5)), (OTHER_NETWORK, None)],
        mtu: 576,
    },
];

/// What the story says of its ports as a whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stage {
    /// The uplinks take a priority tag for none.
    pub(crate) priority_tags: bool,
    /// The uplinks have a queue for each worker.
    pub(crate) many_queues: bool,
}

impl PortNumber {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..PORTS).map(Self)
    }

    /// The port that a host is behind; `narrow` where the host is outside and means that one.
    pub(crate) fn of(host: Host, narrow: bool) -> Self {
        match host {
            Host::CLIENT => Self(0),
            Host::SERVER => Self(1),
            Host::LATE => Self(2),
            Host::TWIN => Self(3),
            Host::NODE => Self(NODE),
            _ if narrow => Self(NARROW),
            _ => Self(UPLINK),
        }
    }

    fn spec(self) -> &'static Spec {
        &SPECS[self.0]
    }

    pub(crate) fn name(self) -> &'static str {
        self.spec().name
    }

    /// The pod behind it.
    pub(crate) fn pod(self) -> Option<Host> {
        match self.spec().owner {
            Owner::Pod(host) => Some(host),
            Owner::Uplink | Owner::Node => None,
        }
    }

    pub(crate) fn is_uplink(self) -> bool {
        matches!(self.spec().owner, Owner::Uplink)
    }

    /// Whether what comes from there has crossed no wire.
    pub(crate) fn has_partial_checksums(self) -> bool {
        !self.is_uplink()
    }

    pub(crate) fn mtu(self) -> usize {
        self.spec().mtu as usize
    }

    /// The tag of a network; `None` where the port is not on it.
    pub(crate) fn tag_of(self, network: NetworkId) -> Option<Option<u16>> {
        self.spec().networks.iter().find(|(here, _)| *here == network).map(|(_, tag)| *tag)
    }

    /// The party behind a pod's port, as the table has it.
    pub(crate) fn party(self, table: &Table) -> Option<Party> {
        let host = self.pod()?;
        let (name, _) = PODS.iter().find(|(_, pod)| *pod == host)?;
        table.endpoint_named(name).map(Party::Pod)
    }
}

impl Stage {
    /// The network that a tag means on a port.
    pub(crate) fn network_of(self, port: PortNumber, tag: Option<u16>) -> Option<NetworkId> {
        let is_none = |tag: &u16| *tag == 0 && self.priority_tags && port.is_uplink();
        let tag = tag.filter(|tag| !is_none(tag));
        port.spec().networks.iter().find(|(_, here)| *here == tag).map(|(network, _)| *network)
    }

    pub(crate) fn queues_of(self, port: PortNumber, workers: usize) -> usize {
        if self.many_queues && port.is_uplink() { workers } else { 1 }
    }

    pub(crate) fn spec_of(self, port: PortNumber) -> PortSpec {
        let spec = port.spec();
        let kind = match spec.owner {
            Owner::Pod(host) => {
                let name = PODS.iter().find(|(_, pod)| *pod == host).map_or("", |(name, _)| name);
                PortKind::Pod { pod: name.into(), mac: host.mac() }
            }
            Owner::Uplink => PortKind::Uplink,
            Owner::Node => PortKind::Host,
        };
        PortSpec {
            name: spec.name.into(),
            kind,
            networks: BTreeMap::from_iter(spec.networks.iter().copied()),
            mtu: spec.mtu,
            priority_tags: self.priority_tags && port.is_uplink(),
            partial_checksums: port.has_partial_checksums(),
        }
    }
}
