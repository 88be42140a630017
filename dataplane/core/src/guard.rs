//! What a port may send: a pod speaks as itself only, and nobody else speaks as a pod.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::{Mac, NetworkId};
use crate::conntrack::Account;
use crate::drop::DropReason;
use crate::icmp::{
    NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, REDIRECT, ROUTER_ADVERTISEMENT,
    ROUTER_SOLICITATION,
};
use crate::packet::{Arp, Ip, Neighbour, Packet, Payload, Ports, Transport};
use crate::policy::Ends;
use crate::table::{EndpointId, NodeId, Party, Table};

/// What is attached to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// A pod.
    Pod {
        /// The pod's own MAC.
        mac: Mac,
        /// The pod in the table in force; `None` while the rule set does not know it.
        endpoint: Option<EndpointId>,
        /// Whose share of the connection table its connections take.
        account: Account,
    },
    /// The outside, by a physical NIC.
    Uplink,
    /// The node's own stack.
    Host,
}

/// Who is here: the endpoints that have a port, and the node that they run on. Their addresses
/// are refused from ports that are not theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Residents {
    endpoints: Vec<bool>,
    nodes: Vec<NodeId>,
}

impl Attachment {
    /// The account of a pod's port.
    #[inline]
    #[must_use]
    pub fn account(self) -> Option<Account> {
        match self {
            Self::Pod { account, .. } => Some(account),
            Self::Uplink | Self::Host => None,
        }
    }
}

impl Residents {
    /// Nobody yet but the node that the table calls local, if it does.
    #[must_use]
    pub fn of(table: &Table) -> Self {
        Self { endpoints: Vec::new(), nodes: table.local_node().into_iter().collect() }
    }

    /// Notes that `endpoint` has a port. The node that it runs on is then this one, whatever
    /// the configuration leaves out.
    pub fn insert(&mut self, table: &Table, endpoint: EndpointId) {
        if self.endpoints.len() <= endpoint.index() {
            self.endpoints.resize(endpoint.index() + 1, false);
        }
        if let Some(here) = self.endpoints.get_mut(endpoint.index()) {
            *here = true;
        }
        let node = table.endpoint(endpoint).and_then(|endpoint| endpoint.node);
        if let Some(node) = node.filter(|node| !self.nodes.contains(node)) {
            self.nodes.push(node);
        }
    }

    /// Whether `party` is an endpoint that has a port.
    #[inline]
    #[must_use]
    pub fn has_port(&self, party: Party) -> bool {
        match party {
            Party::Pod(endpoint) => self.endpoints.get(endpoint.index()).copied().unwrap_or(false),
            Party::Node(_) | Party::External => false,
        }
    }

    /// Whether `party` is the node that Sluice runs on.
    #[inline]
    #[must_use]
    pub fn is_local_node(&self, party: Party) -> bool {
        matches!(party, Party::Node(node) if self.nodes.contains(&node))
    }
}

/// Checks that `packet` may come from a port with this attachment.
///
/// # Errors
/// The reason to drop it for.
#[inline]
pub(crate) fn check_source(
    table: &Table,
    residents: &Residents,
    network: NetworkId,
    from: Attachment,
    packet: &Packet,
    ends: &Ends,
) -> Result<(), DropReason> {
    if let Some(ip) = packet.ip() {
        check_martian(ip)?;
    }
    let source = packet.ip().map(|ip| ip.source);
    // Nearly always it is the source that is asked about.
    let party = |address| match source == Some(address) {
        true => ends.source.party(),
        false => table.party(network, address),
    };
    match from {
        Attachment::Pod { mac, endpoint, .. } => {
            let endpoint = endpoint.ok_or(DropReason::UnknownEndpoint)?;
            if packet.source != mac {
                return Err(DropReason::SpoofedMac);
            }
            let is_own = |address: IpAddr| party(address) == Party::Pod(endpoint);
            match &packet.payload {
                Payload::Arp(arp) => pod_arp(arp, mac, is_own),
                Payload::Ip(ip) => pod_ip(ip, mac, is_own),
            }
        }
        Attachment::Uplink | Attachment::Host => {
            if packet.source.is_group() {
                return Err(DropReason::SpoofedMac);
            }
            // The node's own addresses are behind the host port; from the outside they are lies.
            let is_foreign = |address: IpAddr| {
                let party = party(address);
                let is_node = from == Attachment::Uplink && residents.is_local_node(party);
                !residents.has_port(party) && !is_node
            };
            match &packet.payload {
                Payload::Arp(arp) if is_foreign(arp.sender.into()) => Ok(()),
                Payload::Arp(_) => Err(DropReason::SpoofedArp),
                Payload::Ip(ip) => other_ip(ip, is_foreign),
            }
        }
    }
}

fn pod_arp(arp: &Arp, mac: Mac, is_own: impl Fn(IpAddr) -> bool) -> Result<(), DropReason> {
    let claims_own = arp.sender == Ipv4Addr::UNSPECIFIED || is_own(arp.sender.into());
    if arp.sender_mac == mac && claims_own { Ok(()) } else { Err(DropReason::SpoofedArp) }
}

#[inline]
fn pod_ip(ip: &Ip, mac: Mac, is_own: impl Fn(IpAddr) -> bool) -> Result<(), DropReason> {
    match ip.transport {
        Transport::Neighbour(message) => pod_neighbour(ip, &message, mac, is_own),
        // Listener reports come from link-local addresses, and a flooding switch needs none.
        Transport::IcmpOther { icmp_type: 130..=132 | 143 } if ip.source.is_ipv6() => {
            Err(DropReason::UnsupportedIcmp)
        }
        _ if !is_own(ip.source) => Err(spoofed(ip)),
        Transport::Udp(ports) if is_dhcp_answer(ports) => Err(DropReason::RogueDhcp),
        _ => Ok(()),
    }
}

/// Checks that nothing from outside tells a pod its addresses and routes: those come from the
/// rule set, and anybody on the uplink's network could say otherwise.
///
/// # Errors
/// The reason to drop it for.
#[inline]
pub(crate) fn check_configuration(from: Attachment, ip: &Ip) -> Result<(), DropReason> {
    if from != Attachment::Uplink {
        return Ok(());
    }
    match ip.transport {
        Transport::Neighbour(Neighbour { icmp_type: ROUTER_ADVERTISEMENT, .. }) => {
            Err(DropReason::RogueRouter)
        }
        Transport::Udp(
            Ports { source: 67, destination: 68 } | Ports { source: 547, destination: 546 },
        ) => Err(DropReason::RogueDhcp),
        _ => Ok(()),
    }
}

/// From server to client: RFC 2131, 4.1 and RFC 8415, 7.2.
fn is_dhcp_answer(ports: Ports) -> bool {
    matches!((ports.source, ports.destination), (67, 67 | 68) | (547, 546 | 547))
}

fn pod_neighbour(
    ip: &Ip,
    message: &Neighbour,
    mac: Mac,
    is_own: impl Fn(IpAddr) -> bool,
) -> Result<(), DropReason> {
    // RFC 4861, 7.1: a lower hop limit has come through a router.
    if ip.hop_limit != 255 || message.link_address.is_some_and(|claimed| claimed != mac) {
        return Err(DropReason::SpoofedNeighbour);
    }
    // Anybody could claim any other link-local address, such as the router's.
    let own_or_link_local = |address| is_own(address) || address == link_local_of(mac);
    let source_is_own = ip.source.is_unspecified() || own_or_link_local(ip.source);
    let honest = match message.icmp_type {
        ROUTER_ADVERTISEMENT | REDIRECT => return Err(DropReason::RogueRouter),
        NEIGHBOUR_ADVERTISEMENT => source_is_own && own_or_link_local(message.target.into()),
        _ => source_is_own,
    };
    if !honest {
        return Err(DropReason::SpoofedNeighbour);
    }
    if is_where_it_goes(ip, message) { Ok(()) } else { Err(DropReason::ForeignDestination) }
}

/// Whether hosts send such a message there (RFC 4861, 4.1, 4.3 and 4.4). Otherwise a router
/// could be made to carry it to anybody.
fn is_where_it_goes(ip: &Ip, message: &Neighbour) -> bool {
    const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
    let IpAddr::V6(to) = ip.destination else { return false };
    // Who has no address yet cannot be answered alone.
    let may_be_one = !to.is_multicast() && !ip.source.is_unspecified();
    match message.icmp_type {
        ROUTER_SOLICITATION => to == ALL_ROUTERS || (may_be_one && to.is_unicast_link_local()),
        NEIGHBOUR_SOLICITATION => {
            to == solicited_node(message.target) || (may_be_one && to == message.target)
        }
        // It answers whoever has asked, or tells everybody.
        NEIGHBOUR_ADVERTISEMENT => to == ALL_NODES || may_be_one,
        _ => false,
    }
}

/// The group that the owner of an address listens to (RFC 4291, 2.7.1).
fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

#[inline]
fn other_ip(ip: &Ip, is_foreign: impl Fn(IpAddr) -> bool) -> Result<(), DropReason> {
    if let Transport::Neighbour(message) = ip.transport {
        return other_neighbour(ip, &message, is_foreign);
    }
    if is_foreign(ip.source) && ip.source != ip.destination { Ok(()) } else { Err(spoofed(ip)) }
}

/// What is wrong with a source address that is not the sender's. Nobody but its owner could mean
/// a packet from an address to itself.
fn spoofed(ip: &Ip) -> DropReason {
    if ip.source == ip.destination { DropReason::Martian } else { DropReason::SpoofedAddress }
}

fn other_neighbour(
    ip: &Ip,
    message: &Neighbour,
    is_foreign: impl Fn(IpAddr) -> bool,
) -> Result<(), DropReason> {
    let IpAddr::V6(source) = ip.source else { return Err(DropReason::SpoofedNeighbour) };
    match message.icmp_type {
        REDIRECT => return Err(DropReason::RogueRouter),
        // RFC 4861, 6.1.2: hosts know their routers by such addresses.
        ROUTER_ADVERTISEMENT if !source.is_unicast_link_local() => {
            return Err(DropReason::RogueRouter);
        }
        _ => {}
    }
    let claims_target = message.icmp_type == NEIGHBOUR_ADVERTISEMENT;
    let honest = ip.hop_limit == 255
        && is_foreign(ip.source)
        && (!claims_target || is_foreign(message.target.into()));
    if honest { Ok(()) } else { Err(DropReason::SpoofedNeighbour) }
}

/// The link-local address that a MAC makes (RFC 4291, appendix A).
fn link_local_of(mac: Mac) -> IpAddr {
    let [a, b, c, d, e, f] = mac.0;
    let words = [[a ^ 2, b], [c, 0xff], [0xfe, d], [e, f]].map(u16::from_be_bytes);
    let [w, x, y, z] = words;
    Ipv6Addr::new(0xfe80, 0, 0, 0, w, x, y, z).into()
}

/// Refuses addresses that nobody can have on a network (RFC 1122, 3.2.1.3; RFC 6890).
/// Neighbour discovery may come from the unspecified address (RFC 4861, 7.1.1).
#[inline]
fn check_martian(ip: &Ip) -> Result<(), DropReason> {
    let may_be_nobody = matches!(ip.transport, Transport::Neighbour(_));
    let is_martian = match (ip.source, ip.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            is_nobody_v4(source)
                || source.is_multicast()
                || source.is_broadcast()
                || is_nobody_v4(destination)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            (source.is_unspecified() && !may_be_nobody)
                || is_nobody_v6(source)
                || source.is_multicast()
                || destination.is_unspecified()
                || is_nobody_v6(destination)
        }
        // The parser makes no such pair.
        _ => true,
    };
    if is_martian { Err(DropReason::Martian) } else { Ok(()) }
}

/// 0.0.0.0/8 and 127.0.0.0/8.
#[inline]
fn is_nobody_v4(address: Ipv4Addr) -> bool {
    matches!(address.octets(), [0 | 127, ..])
}

/// Loopback, and IPv4 in disguise: mapped (::ffff:0:0/96) or compatible (::/96).
#[inline]
fn is_nobody_v6(address: Ipv6Addr) -> bool {
    let is_disguised = matches!(address.segments(), [0, 0, 0, 0, 0, 0 | 0xffff, _, _]);
    is_disguised && !address.is_unspecified()
}

#[cfg(test)]
mod tests;
