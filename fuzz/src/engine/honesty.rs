//! Who may say what, and who may hear it: addresses, MACs, ARP and neighbour discovery.

use std::net::{IpAddr, Ipv6Addr};

use sluice_core::address::{Mac, NetworkId};
use sluice_core::ports::UDP;
use sluice_core::table::Party;

use super::oracle::Epoch;
use super::stage::PortNumber;
use crate::view::{Body, Ip, Message, Neighbour, View, word};

type Honest = Result<(), &'static str>;

/// Whether a port may send this frame.
pub(crate) fn source(
    here: &Epoch,
    port: PortNumber,
    network: NetworkId,
    frame: &[u8],
    view: &View,
) -> Honest {
    match port.pod() {
        Some(pod) => {
            let own = port.party(&here.table).ok_or("its pod is unknown")?;
            if view.from != pod.mac() {
                return Err("it has not the pod's MAC");
            }
            let is_own = |address| here.table.party(network, address) == own;
            of_pod(view, frame, network, pod.mac(), is_own)
        }
        None => {
            let is_pods = PortNumber::all()
                .filter(|port| here.attached[port.0] && port.tag_of(network).is_some())
                .filter_map(PortNumber::pod)
                .any(|pod| pod.mac() == view.from);
            if view.from.is_group() || is_pods {
                return Err("it has a MAC that is not the sender's");
            }
            of_others(view, frame, network, |address| !is_here(here, port, network, address))
        }
    }
}

fn of_pod(
    view: &View,
    frame: &[u8],
    network: NetworkId,
    mac: Mac,
    is_own: impl Fn(IpAddr) -> bool,
) -> Honest {
    let ip = match &view.body {
        Body::Ip(ip) => ip,
        Body::Arp { sender_mac, sender } => {
            let is_honest =
                *sender_mac == mac && (sender.is_unspecified() || is_own((*sender).into()));
            return if is_honest { Ok(()) } else { Err("its ARP claims what is not the pod's") };
        }
        Body::Other => return Ok(()),
    };
    if let Some(Message::Neighbour(message)) = ip.message(frame, network, false) {
        let own = |address: IpAddr| is_own(address) || address == link_local_of(mac);
        let source_is_own = ip.source.is_unspecified() || own(ip.source);
        let target_is_own = message.target.is_some_and(|target| own(target.into()));
        let is_honest = ip.hop_limit == 255
            && source_is_own
            && message.link_addresses.iter().all(|claimed| *claimed == mac)
            && !matches!(message.icmp_type, 134 | 137)
            && (message.icmp_type != 136 || target_is_own);
        if !is_honest || !is_heard_there(ip, &message) {
            return Err("it discovers neighbours falsely");
        }
        return Ok(());
    }
    if !is_own(ip.source) {
        return Err("it has not the pod's address");
    }
    if matches!(dhcp_ports(ip, frame), Some((67, 67 | 68) | (547, 546 | 547))) {
        return Err("a pod answers as a DHCP server");
    }
    Ok(())
}

/// The ports of a UDP packet.
fn dhcp_ports(ip: &Ip, frame: &[u8]) -> Option<(u16, u16)> {
    let is_first = ip.piece.is_none_or(|piece| piece.start == 0);
    let at = (ip.protocol == UDP && is_first).then_some(ip.transport.start)?;
    word(frame, at).zip(word(frame, at + 2))
}

/// Whether it is a router's advertisement, or the answer of a DHCP server to a client.
fn configures(ip: &Ip, network: NetworkId, frame: &[u8]) -> bool {
    let message = ip.message(frame, network, false);
    let is_router = matches!(&message, Some(Message::Neighbour(it)) if it.icmp_type == 134);
    is_router || matches!(dhcp_ports(ip, frame), Some((67, 68) | (547, 546)))
}

fn of_others(
    view: &View,
    frame: &[u8],
    network: NetworkId,
    is_theirs: impl Fn(IpAddr) -> bool,
) -> Honest {
    let claimed: Vec<IpAddr> = match &view.body {
        Body::Arp { sender, .. } => vec![(*sender).into()],
        Body::Ip(ip) => claimed_by(ip, frame, network)?,
        Body::Other => Vec::new(),
    };
    if claimed.into_iter().all(is_theirs) {
        Ok(())
    } else {
        Err("it claims an address that is here")
    }
}

fn claimed_by(ip: &Ip, frame: &[u8], network: NetworkId) -> Result<Vec<IpAddr>, &'static str> {
    let Some(Message::Neighbour(message)) = ip.message(frame, network, false) else {
        return Ok(vec![ip.source]);
    };
    let is_link_local = matches!(ip.source, IpAddr::V6(v6) if v6.segments()[0] == 0xfe80);
    match message {
        _ if ip.hop_limit != 255 => Err("its neighbour discovery has come through a router"),
        Neighbour { icmp_type: 134, .. } if !is_link_local => Err("it is no router's"),
        Neighbour { icmp_type: 136, target: Some(target), .. } => {
            Ok(vec![ip.source, target.into()])
        }
        Neighbour { icmp_type: 137, .. } => Err("it redirects"),
        _ => Ok(vec![ip.source]),
    }
}

/// Whether those are asked or told who are to be asked or told such things.
fn is_heard_there(ip: &Ip, message: &Neighbour) -> bool {
    let IpAddr::V6(to) = ip.destination else { return false };
    let [first, .., seventh, eighth] = to.segments();
    let is_alone = first >> 8 != 0xff && !ip.source.is_unspecified();
    match (message.icmp_type, message.target) {
        (133, _) => to == ALL_ROUTERS || (is_alone && first == 0xfe80),
        (135, Some(target)) => {
            let [.., high, low] = target.segments();
            let is_solicited = to.octets()[..13] == SOLICITED_NODES
                && (seventh, eighth) == (0xff00 | (high & 0xff), low);
            is_solicited || (is_alone && to == target)
        }
        (136, _) => to == ALL_NODES || is_alone,
        _ => false,
    }
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Begins the group of each address' owner (RFC 4291, 2.7.1).
const SOLICITED_NODES: [u8; 13] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff];

/// Whether a port may let this frame out.
pub(crate) fn destination(
    here: &Epoch,
    from: PortNumber,
    port: PortNumber,
    network: NetworkId,
    frame: &[u8],
    view: &View,
) -> Honest {
    if carries_more(view, frame, network) {
        return Err("something rides on it");
    }
    if let Some(pod) = port.pod() {
        let own = port.party(&here.table).ok_or("it is for a pod that is unknown")?;
        if from.is_uplink() && view.ip().is_some_and(|ip| configures(ip, network, frame)) {
            return Err("it tells a pod its addresses or routes");
        }
        if view.to.is_group() {
            return Ok(());
        }
        if view.to != pod.mac() {
            return Err("it has not the MAC of the pod that it is for");
        }
        let is_own = |ip: &Ip| here.table.party(network, ip.destination) == own;
        let is_heard = |ip: &Ip| is_own(ip) || is_link_or_group(ip, network, frame);
        return if view.ip().is_none_or(is_heard) {
            Ok(())
        } else {
            Err("it has not the address of the pod that it is for")
        };
    }
    let leaks = |ip: &Ip| is_here(here, port, network, ip.destination);
    if port.is_uplink() && view.ip().is_some_and(leaks) {
        return Err("what is for somebody here leaves the node");
    }
    Ok(())
}

/// Whether it is neighbour discovery for a link-local address or a group.
fn is_link_or_group(ip: &Ip, network: NetworkId, frame: &[u8]) -> bool {
    let is_neighbour = matches!(ip.message(frame, network, false), Some(Message::Neighbour(_)));
    let fits = |to: Ipv6Addr| to.is_multicast() || to.segments()[0] == 0xfe80;
    is_neighbour && matches!(ip.destination, IpAddr::V6(to) if fits(to))
}

/// Whether ARP or neighbour discovery, which no policy judges, has room for anything else.
fn carries_more(view: &View, frame: &[u8], network: NetworkId) -> bool {
    let own_len = match &view.body {
        Body::Arp { .. } => 28,
        Body::Ip(ip) => match ip.message(frame, network, false) {
            Some(Message::Neighbour(_)) if ip.transport.start != ip.header_at + 40 => return true,
            Some(Message::Neighbour(_)) => ip.transport.end - ip.header_at,
            _ => return false,
        },
        Body::Other => return false,
    };
    let header_len = if view.tag.is_some() { 18 } else { 14 };
    // Padding makes it long enough, and no longer.
    frame.len() - header_len > own_len.max(50)
}

/// Whether an address is that of a pod with a port, or of the node, seen from an uplink.
fn is_here(here: &Epoch, from: PortNumber, network: NetworkId, address: IpAddr) -> bool {
    let party = here.table.party(network, address);
    let is_node = matches!(party, Party::Node(node) if Some(node) == here.table.local_node());
    let is_resident = PortNumber::all()
        .filter(|port| here.attached[port.0])
        .any(|port| port.party(&here.table) == Some(party));
    is_resident || (is_node && from.is_uplink())
}

/// RFC 4291, appendix A.
fn link_local_of(mac: Mac) -> IpAddr {
    let [a, b, c, d, e, f] = mac.0;
    let mut octets = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f];
    octets[7] = 0;
    Ipv6Addr::from(octets).into()
}
