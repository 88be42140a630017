//! What all workers see: table, ports and forwarding database, as one immutable value.
//!
//! A worker reads the pointer to the scene once a turn. The generation that it last finished
//! a turn with says which table is in force, when an old scene may be freed, and when nothing
//! in flight can name a removed port any more.

use std::collections::HashMap;
use std::sync::Arc;

use sluice_core::address::NetworkId;
use sluice_core::guard::{Attachment, Residents};
use sluice_core::table::Table;

use crate::fdb::Fdb;
use crate::port::{Port, PortId, PortKind, account_of};

/// One state of the whole dataplane.
#[derive(Debug)]
pub struct Scene {
    pub(crate) generation: u64,
    pub(crate) table: Arc<Table>,
    pub(crate) ports: Vec<Option<Arc<Port>>>,
    pub(crate) fdb: Fdb,
    pub(crate) residents: Residents,
    attachments: Vec<Attachment>,
    members: HashMap<NetworkId, Vec<PortId>, ahash::RandomState>,
}

impl Scene {
    /// Works out what follows from table and ports together: which endpoint each port is.
    pub(crate) fn new(
        generation: u64,
        table: Arc<Table>,
        ports: Vec<Option<Arc<Port>>>,
        fdb: Fdb,
    ) -> Self {
        let mut residents = Residents::of(&table);
        let mut members: HashMap<NetworkId, Vec<PortId>, ahash::RandomState> = HashMap::default();
        let mut attachments = Vec::with_capacity(ports.len());
        for (port, id) in ports.iter().zip(0u16..) {
            // A slot without a port attaches nobody; nothing is looked up there.
            let Some(port) = port else {
                attachments.push(Attachment::Uplink);
                continue;
            };
            attachments.push(attach(PortId(id), port, &table, &mut residents));
            for network in port.spec.networks.keys() {
                members.entry(*network).or_default().push(PortId(id));
            }
        }
        Self { generation, table, ports, fdb, residents, attachments, members }
    }

    /// The port with this number.
    #[inline]
    pub(crate) fn port(&self, id: PortId) -> Option<&Arc<Port>> {
        self.ports.get(id.index())?.as_ref()
    }

    /// What is attached to a port that exists.
    #[inline]
    pub(crate) fn attachment(&self, id: PortId) -> Attachment {
        self.attachments.get(id.index()).copied().unwrap_or(Attachment::Uplink)
    }

    /// The ports of a network.
    pub(crate) fn members(&self, network: NetworkId) -> &[PortId] {
        self.members.get(&network).map_or(&[], Vec::as_slice)
    }
}

fn attach(id: PortId, port: &Port, table: &Table, residents: &mut Residents) -> Attachment {
    match &port.spec.kind {
        PortKind::Pod { pod, mac } => {
            let endpoint = table.endpoint_named(pod);
            if let Some(endpoint) = endpoint {
                residents.insert(table, endpoint);
            }
            Attachment::Pod { mac: *mac, endpoint, account: account_of(id) }
        }
        PortKind::Uplink => Attachment::Uplink,
        PortKind::Host => Attachment::Host,
    }
}
