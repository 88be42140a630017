//! The judge: packet, table, connections and time in; a verdict out.
//!
//! ```text
//! guard --> destination check --> connection known? --yes, this revision--> allow
//!                                   |   \--yes, older revision--> recheck or keep
//!                                   no
//!                                   v
//!                     egress of the source AND ingress of the destination --> remember
//! ```
//!
//! The judge does no I/O, asks no clock and takes no lock. `explain` and `reach` call the
//! same [`Table::decide`] that it calls.

use std::net::IpAddr;

use crate::address::NetworkId;
use crate::conntrack::{Account, Connections, Found, NoRoom, Opening, Tracking, opens};
use crate::drop::DropReason;
use crate::flow::{FiveTuple, FlowHasher, FlowKey, Side};
use crate::guard::{Attachment, Residents, check_configuration, check_source};
use crate::packet::{Ip, Packet, Payload, Quoted, Transport};
use crate::policy::{Attempt, Decision, Ends};
use crate::ports::{SCTP, TCP, UDP};
use crate::table::{EndpointId, Party, Table};
use crate::time::Time;

/// Let it pass, or the reason to drop it for.
pub type Verdict = Result<(), DropReason>;

/// What becomes of established connections when the table changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Established {
    /// The next packet is judged again, as if it opened the connection.
    #[default]
    Recheck,
    /// They live on under the verdict that admitted them.
    Keep,
}

/// Everything that a verdict depends on besides the packet and the connections. It is put
/// together once a batch.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'a> {
    /// The table in force.
    pub table: &'a Table,
    /// Who is here.
    pub residents: &'a Residents,
    /// What becomes of connections that an older table admitted.
    pub established: Established,
    /// Whether a TCP segment may begin a connection in its middle, if policy admits it.
    pub midstream: bool,
    /// The time of the batch.
    pub now: Time,
}

/// A guarded packet on its way from one port to another.
#[derive(Debug, Clone, Copy)]
pub struct Crossing<'a> {
    /// The network that its addresses are valid on.
    pub network: NetworkId,
    /// The port that it came from.
    pub from: Attachment,
    /// The port that it is to leave by.
    pub to: Attachment,
    /// The packet.
    pub packet: &'a Packet,
    /// Its flow; `None` where it has none.
    pub flow: Option<&'a FlowOf>,
    /// Who holds its addresses, by [`Judge::ends`].
    pub ends: &'a Ends,
}

/// A packet's flow, worked out once: for finding its owner and for finding its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowOf {
    /// The key that both directions share.
    pub key: FlowKey,
    /// The side that sent this packet, or the packet that it quotes.
    pub side: Side,
    /// The key's hash.
    pub hash: u64,
}

impl FlowOf {
    /// The flow of a packet; `None` where it belongs to none.
    #[inline]
    #[must_use]
    pub fn new(network: NetworkId, ip: &Ip, hasher: &FlowHasher) -> Option<Self> {
        let (key, side) = FiveTuple::of(network, ip)?.key();
        Some(Self { key, side, hash: hasher.hash(&key) })
    }
}

impl Judge<'_> {
    /// Who holds the addresses of a packet, looked up once for all that follows. One that is not
    /// IP has none.
    #[inline]
    #[must_use]
    pub fn ends(&self, network: NetworkId, packet: &Packet) -> Ends {
        packet.ip().map_or(Ends::EXTERNAL, |ip| Ends {
            source: self.table.holder(network, ip.source),
            destination: self.table.holder(network, ip.destination),
        })
    }

    /// Reads where [`Self::ends`] will look for a packet. What it gives back is for
    /// [`std::hint::black_box`]; see [`Table::touch`].
    #[inline]
    #[must_use]
    pub fn touch_ends(&self, network: NetworkId, packet: &Packet) -> u32 {
        packet.ip().map_or(0, |ip| {
            self.table.touch(network, ip.source) ^ self.table.touch(network, ip.destination)
        })
    }

    /// Checks that the port may send this packet at all.
    ///
    /// # Errors
    /// The reason to drop it for.
    #[inline]
    pub fn guard(
        &self,
        network: NetworkId,
        from: Attachment,
        packet: &Packet,
        ends: &Ends,
    ) -> Verdict {
        check_source(self.table, self.residents, network, from, packet, ends)
    }

    /// Judges a guarded packet that leaves by one port.
    ///
    /// # Errors
    /// The reason to drop it for.
    #[inline]
    pub fn unicast(&self, connections: &mut Connections, crossing: &Crossing<'_>) -> Verdict {
        let Some(ip) = self.addressed(crossing)? else { return Ok(()) };
        if let Transport::Continuation = ip.transport {
            return Err(DropReason::FragmentWithoutFirst);
        }
        // Without a flow there is only ICMP that is neither echo nor error.
        let flow = crossing.flow.ok_or(DropReason::UnsupportedIcmp)?;
        match &ip.transport {
            Transport::IcmpError(quoted) => {
                // A router may speak of anybody's packets, a pod only of those sent to itself.
                if crossing.ends.source.is_pod() && ip.source != quoted.destination {
                    return Err(DropReason::UnrelatedIcmp);
                }
                self.icmp_error(connections, ip, quoted, flow)
            }
            _ => self.connection(connections, crossing, ip, flow),
        }
    }

    /// Judges a guarded fragment behind the first, whose datagram was admitted under the table
    /// of `revision`.
    ///
    /// # Errors
    /// The reason to drop it for.
    pub fn continuation(&self, crossing: &Crossing<'_>, revision: u64) -> Verdict {
        self.addressed(crossing)?;
        // A new table may judge the first fragment otherwise, and that one is gone.
        if self.established == Established::Recheck && revision != self.table.revision() {
            return Err(DropReason::FragmentOfDropped);
        }
        Ok(())
    }

    /// The IP packet that a connection or policy has a say in, if it may go to that port.
    #[inline]
    fn addressed<'p>(&self, crossing: &Crossing<'p>) -> Result<Option<&'p Ip>, DropReason> {
        if let Attachment::Pod { endpoint: None, .. } = crossing.to {
            return Err(DropReason::UnknownEndpoint);
        }
        let Payload::Ip(ip) = &crossing.packet.payload else { return Ok(None) };
        if let Attachment::Pod { .. } = crossing.to {
            check_configuration(crossing.from, ip)?;
        }
        if let Transport::Neighbour(_) = ip.transport {
            self.check_neighbour_destination(crossing, ip)?;
            return Ok(None);
        }
        self.check_destination(crossing.ends.destination.party(), crossing.to)?;
        Ok(Some(ip))
    }

    /// Judges what the sender of a guarded broadcast or multicast packet may do. Which pods
    /// get a copy is [`Judge::admits_group`]'s to say, pod by pod.
    ///
    /// # Errors
    /// The reason to drop it for.
    pub fn group(&self, network: NetworkId, packet: &Packet) -> Verdict {
        let Payload::Ip(ip) = &packet.payload else { return Ok(()) };
        match ip.transport {
            Transport::Neighbour(_) if is_group(ip) => return Ok(()),
            Transport::IcmpOther { .. } | Transport::IcmpError(_) => {
                return Err(DropReason::UnsupportedIcmp);
            }
            _ if ip.fragment.is_some() => return Err(DropReason::UnsupportedFragment),
            _ => {}
        }
        // A unicast packet in a broadcast frame would reach pods that it is not meant for.
        if !is_group(ip) {
            return Err(DropReason::ForeignDestination);
        }
        // Connections are between two ends only (RFC 9293, 3.9.2.3; RFC 9260, 1).
        if matches!(ip.transport, Transport::Tcp(_) | Transport::Sctp(_)) {
            return Err(DropReason::NoConnection);
        }
        verdict(self.table.decide(&Attempt::of(network, ip)))
    }

    /// Judges whether a pod gets a broadcast or multicast packet.
    ///
    /// # Errors
    /// The reason why it does not.
    pub fn admits_group(
        &self,
        network: NetworkId,
        from: Attachment,
        endpoint: EndpointId,
        packet: &Packet,
    ) -> Verdict {
        let Payload::Ip(ip) = &packet.payload else { return Ok(()) };
        check_configuration(from, ip)?;
        if let Transport::Neighbour(_) = ip.transport {
            return Ok(());
        }
        let ingress = self.table.decide_ingress(endpoint, &Attempt::of(network, ip));
        if ingress.allows() { Ok(()) } else { Err(DropReason::IngressDenied) }
    }

    /// Judges whether a packet whose MAC nobody is known to have may be tried at a port.
    ///
    /// # Errors
    /// The reason why it may not.
    pub fn may_try(&self, network: NetworkId, to: Attachment, packet: &Packet) -> Verdict {
        packet.ip().map_or(Ok(()), |ip| {
            self.check_destination(self.table.party(network, ip.destination), to)
        })
    }

    /// What a packet would be attached to whose MAC nobody is known to have: the node, if it is
    /// for that, else the outside.
    #[must_use]
    pub fn likely_attachment(&self, network: NetworkId, packet: &Packet) -> Attachment {
        let party = packet.ip().map(|ip| self.table.party(network, ip.destination));
        if party.is_some_and(|party| self.residents.is_local_node(party)) {
            Attachment::Host
        } else {
            Attachment::Uplink
        }
    }

    /// A pod's port takes what is for that pod. An uplink takes nothing for anybody here: what
    /// policy lets them have must not leave the node.
    #[inline]
    fn check_destination(&self, party: Party, to: Attachment) -> Verdict {
        let fits = match to {
            Attachment::Pod { endpoint, .. } => {
                endpoint.is_some_and(|endpoint| party == Party::Pod(endpoint))
            }
            Attachment::Uplink => {
                !self.residents.has_port(party) && !self.residents.is_local_node(party)
            }
            Attachment::Host => true,
        };
        if fits { Ok(()) } else { Err(DropReason::ForeignDestination) }
    }

    /// Neighbour discovery also goes to link-local addresses, which the table does not know, and
    /// to groups; a group's packet may come to one host alone (RFC 6085).
    fn check_neighbour_destination(&self, crossing: &Crossing<'_>, ip: &Ip) -> Verdict {
        let IpAddr::V6(to) = ip.destination else { return Err(DropReason::ForeignDestination) };
        let party = crossing.ends.destination.party();
        let fits = match crossing.to {
            Attachment::Pod { endpoint, .. } => {
                let is_own = endpoint.is_some_and(|endpoint| party == Party::Pod(endpoint));
                is_own || to.is_multicast() || to.is_unicast_link_local()
            }
            Attachment::Uplink => !self.residents.has_port(party),
            Attachment::Host => true,
        };
        if fits { Ok(()) } else { Err(DropReason::ForeignDestination) }
    }

    #[inline]
    fn connection(
        &self,
        connections: &mut Connections,
        crossing: &Crossing<'_>,
        ip: &Ip,
        flow: &FlowOf,
    ) -> Verdict {
        let Some(mut connection) = connections.find(flow.hash, &flow.key, self.now) else {
            return self.open(connections, crossing, ip, flow);
        };
        let by_opener = connection.opener() == flow.side;
        let asks = asks_to_open(&ip.transport);
        if asks && connection.state().is_closed() {
            return self.open(connections, crossing, ip, flow);
        }
        if let Err(reason) = self.recheck(&mut connection, || match by_opener {
            true => *crossing.ends,
            false => crossing.ends.reversed(),
        }) {
            connections.remove(flow.hash, &flow.key);
            return Err(reason);
        }
        let by_kept = self.established == Established::Keep && !is_echo(&ip.transport);
        if asks && (!by_opener || by_kept) {
            // Against the direction of an allowed connection it asks for another one. In its
            // direction it may, too, by the ports of one that only lives on because it is kept.
            verdict(self.decide(&flow.key.five_tuple(flow.side), crossing.ends))?;
        }
        connection.follow(&ip.transport, ip.fragment.is_some(), by_opener)
    }

    fn open(
        &self,
        connections: &mut Connections,
        crossing: &Crossing<'_>,
        ip: &Ip,
        flow: &FlowOf,
    ) -> Verdict {
        if !concerns_a_pod(crossing.ends) {
            return Ok(());
        }
        let tracking =
            Tracking::opened_by(&ip.transport, self.midstream).ok_or(DropReason::NoConnection)?;
        verdict(self.decide(&flow.key.five_tuple(flow.side), crossing.ends))?;
        // Who asks pays; what comes from outside is paid for by the pod that it is for.
        let account = crossing.from.account().or(crossing.to.account());
        let opening = Opening {
            key: flow.key,
            hash: flow.hash,
            opener: flow.side,
            account: account.unwrap_or(Account::OUTSIDE),
            revision: self.table.revision(),
        };
        connections.insert(&opening, tracking, self.now).map_err(|no_room| match no_room {
            NoRoom::Full => DropReason::ConntrackFull,
            NoRoom::Quota => DropReason::ConntrackQuota,
        })
    }

    /// An error rides on the connection that caused it, whichever router sent it, if it goes to
    /// the sender of what it quotes.
    fn icmp_error(
        &self,
        connections: &mut Connections,
        ip: &Ip,
        quoted: &Quoted,
        flow: &FlowOf,
    ) -> Verdict {
        if ip.destination != quoted.source {
            return Err(DropReason::UnrelatedIcmp);
        }
        let Some(mut connection) = connections.find(flow.hash, &flow.key, self.now) else {
            return if concerns_a_pod(&self.ends_of(&flow.key.five_tuple(flow.side))) {
                Err(DropReason::UnrelatedIcmp)
            } else {
                Ok(())
            };
        };
        if !connection.has_sent(quoted, flow.side) {
            return Err(DropReason::UnrelatedIcmp);
        }
        let opening = connection.opening();
        if let Err(reason) = self.recheck(&mut connection, || self.ends_of(&opening)) {
            connections.remove(flow.hash, &flow.key);
            return Err(reason);
        }
        Ok(())
    }

    /// Makes sure that the table in force admits a connection that an older one admitted. `ends`
    /// are those of its first packet.
    #[inline]
    fn recheck(&self, connection: &mut Found<'_>, ends: impl FnOnce() -> Ends) -> Verdict {
        let revision = self.table.revision();
        if connection.revision() == revision {
            return Ok(());
        }
        // What nobody has answered is not established.
        if self.established == Established::Recheck || connection.state().is_half_open() {
            verdict(self.decide(&connection.opening(), &ends()))?;
        }
        connection.admit(revision);
        Ok(())
    }

    fn ends_of(&self, flow: &FiveTuple) -> Ends {
        let holder = |address| self.table.holder(flow.network, address);
        Ends { source: holder(flow.source), destination: holder(flow.destination) }
    }

    fn decide(&self, opening: &FiveTuple, ends: &Ends) -> Decision {
        let has_ports = matches!(opening.protocol, TCP | UDP | SCTP);
        let attempt = Attempt {
            network: opening.network,
            source: opening.source,
            destination: opening.destination,
            protocol: opening.protocol,
            source_port: has_ports.then_some(opening.source_port),
            port: has_ports.then_some(opening.destination_port),
        };
        self.table.decide_between(&attempt, ends)
    }
}

/// Whether either end is a pod, here or elsewhere. Policy has no say in what others send each
/// other, and so there is nothing to remember: whoever could fill the table with it would take it
/// from the pods.
fn concerns_a_pod(ends: &Ends) -> bool {
    ends.source.is_pod() || ends.destination.is_pod()
}

/// Whether the packet asks the other side for a connection: a plain SYN, an INIT, an echo request.
#[inline]
fn asks_to_open(transport: &Transport) -> bool {
    match transport {
        Transport::Tcp(segment) => opens(segment.flags),
        Transport::Sctp(packet) => packet.chunks.init.is_some(),
        Transport::Echo { request, .. } => *request,
        _ => false,
    }
}

fn is_echo(transport: &Transport) -> bool {
    matches!(transport, Transport::Echo { .. })
}

/// Whether the packet is meant for more than one host.
#[must_use]
pub fn is_group(ip: &Ip) -> bool {
    match ip.destination {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}

fn verdict(decision: Decision) -> Verdict {
    if decision.access.is_some() {
        Err(DropReason::AccessDenied)
    } else if !decision.egress.allows() {
        Err(DropReason::EgressDenied)
    } else if !decision.ingress.allows() {
        Err(DropReason::IngressDenied)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
