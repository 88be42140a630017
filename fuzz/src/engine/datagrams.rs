//! The fragments that were sent and that left, by the datagram that they are of.

use std::collections::HashMap;
use std::net::IpAddr;

use sluice_core::address::NetworkId;
use sluice_core::ports::Protocol;
use sluice_core::time::Time;

use crate::view::{Ip, Piece};

#[derive(Default)]
pub(crate) struct Datagrams(HashMap<Name, Datagram>);

/// Network, source, destination, identification, and the protocol in IPv4.
pub(crate) type Name = (NetworkId, IpAddr, IpAddr, u32, Protocol);

/// A fragment by what it holds, and by its place among all frames that were sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fragment {
    pub(crate) name: Name,
    pub(crate) piece: Piece,
    pub(crate) place: usize,
    pub(crate) time: Time,
}

/// A first fragment that left: the revisions of the tables that it may have been judged by.
pub(crate) struct First {
    pub(crate) revisions: Vec<u64>,
    pub(crate) time: Time,
}

#[derive(Default)]
struct Datagram {
    sent: Vec<Fragment>,
    left: Vec<Fragment>,
    firsts: Vec<First>,
}

impl Datagrams {
    pub(crate) fn sends(&mut self, fragment: Fragment) {
        self.0.entry(fragment.name).or_default().sent.push(fragment);
    }

    pub(crate) fn leaves(&mut self, fragment: Fragment, first: Option<First>) {
        let datagram = self.0.entry(fragment.name).or_default();
        datagram.left.push(fragment);
        datagram.firsts.extend(first);
    }

    /// The first fragments that left of a datagram.
    pub(crate) fn firsts(&self, name: &Name) -> &[First] {
        self.0.get(name).map_or(&[], |datagram| &datagram.firsts)
    }

    /// Whether a fragment overlaps another of its datagram that left. What is complete, or
    /// older than `timeout`, makes room for another datagram of the same name.
    pub(crate) fn overlaps(&self, fragment: &Fragment, timeout: std::time::Duration) -> bool {
        let Some(datagram) = self.0.get(&fragment.name) else { return false };
        let before = datagram.sent.partition_point(|other| other.place < fragment.place);
        let before = datagram.sent.get(..before).unwrap_or_default();
        let is_old = |oldest: &Fragment| fragment.time >= oldest.time + timeout;
        if before.first().is_some_and(is_old) || is_complete(before) {
            return false;
        }
        let (own, place) = (fragment.piece, fragment.place);
        datagram.left.iter().any(|other| {
            let piece = other.piece;
            other.place != place && piece.start < own.end && own.start < piece.end
        })
    }
}

/// Whether fragments cover a datagram from its start to its end.
fn is_complete(fragments: &[Fragment]) -> bool {
    let mut reached = 0;
    let mut sorted: Vec<&Piece> = fragments.iter().map(|it| &it.piece).collect();
    sorted.sort_by_key(|piece| piece.start);
    sorted.iter().any(|piece| {
        let joins = piece.start <= reached;
        if joins {
            reached = reached.max(piece.end);
        }
        joins && !piece.more
    })
}

pub(crate) fn name_of(network: NetworkId, ip: &Ip, piece: Piece) -> Name {
    let protocol = if ip.source.is_ipv4() { ip.protocol } else { 0 };
    (network, ip.source, ip.destination, piece.id, protocol)
}
