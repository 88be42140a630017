//! Packets that are longer than a chunk of packet memory, through the whole engine.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail as the test does"
)]

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use sluice_core::address::{Mac, NetworkId};
use sluice_core::ports::{PortMatch, PortSet, Rank, TCP, UDP};
use sluice_core::table::{
    Action, Edit, Endpoint, EndpointId, Identity, IdentityId, PolicyId, PolicySet, PolicySetParts,
    RuleRef, Table, Tiers,
};

mod memory;
mod veth;

/// The port that policy admits, of TCP and UDP.
const OPEN: u16 = 5000;

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

fn v4(n: u8) -> [u8; 4] {
    [10, 0, 0, n]
}

fn v6(n: u8) -> [u8; 16] {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n.into()).octets()
}

/// Pods that may reach [`OPEN`] of each other and nothing else.
fn pods(count: u8) -> Edit {
    let open = |protocol| (PortMatch::Range { protocol, first: OPEN, last: OPEN }, Rank(0));
    let set = PolicySet::new(&PolicySetParts {
        rules: vec![RuleRef { policy: PolicyId(0), index: 0, action: Action::Accept }],
        any_peer: Some(Arc::new(PortSet::new(&[open(TCP), open(UDP)]))),
        ..PolicySetParts::default()
    });
    let ingress = Tiers { network_policy: Some(set), ..Tiers::default() };
    let mut edit = Table::empty().edit();
    edit.set_identity(IdentityId(0), Some(Identity::new(&[], Tiers::default(), ingress)));
    for n in 1..=count {
        let endpoint = Endpoint {
            name: format!("shop/p{n}").into(),
            network: NetworkId::DEFAULT,
            addresses: vec![IpAddr::from(v4(n)), IpAddr::from(v6(n))],
            identity: Some(IdentityId(0)),
            node: None,
        };
        edit.set_endpoint(EndpointId(n.into()), Some(endpoint));
    }
    edit
}
