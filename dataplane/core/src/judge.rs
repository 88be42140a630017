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

use crate::address::NetworkId;
use crate::conntrack::state::{State, opens};
use crate::conntrack::{Connection, Connections};
use crate::drop::DropReason;
use crate::flow::{FiveTuple, FlowHasher, FlowKey, Side};
use crate::guard::{Attachment, Residents, check_source};
use crate::packet::{Ip, Packet, Payload, Quoted, Transport};
use crate::policy::{Attempt, Decision};
use crate::ports::{Protocol, SCTP, TCP, UDP};
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
    /// The time of the batch.
    pub now: Time,
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
    /// Checks that the port may send this packet at all.
    ///
    /// # Errors
    /// The reason to drop it for.
    #[inline]
    pub fn guard(&self, network: NetworkId, from: Attachment, packet: &Packet) -> Verdict {
        check_source(self.table, self.residents, network, from, packet)
    }

    /// Judges a guarded packet that leaves by one port.
    ///
    /// `flow` is that of the packet, `None` where it has none.
    ///
    /// # Errors
    /// The reason to drop it for.
    #[inline]
    pub fn unicast(
        &self,
        connections: &mut Connections,
        network: NetworkId,
        to: Attachment,
        packet: &Packet,
        flow: Option<&FlowOf>,
    ) -> Verdict {
        if let Attachment::Pod { endpoint: None, .. } = to {
            return Err(DropReason::UnknownEndpoint);
        }
        let Payload::Ip(ip) = &packet.payload else { return Ok(()) };
        if let Transport::Neighbour(_) = ip.transport {
            return Ok(());
        }
        self.check_destination(network, to, ip)?;
        // Without a flow there is only ICMP that is neither echo nor error.
        let flow = flow.ok_or(DropReason::UnsupportedIcmp)?;
        match &ip.transport {
            Transport::IcmpError(quoted) => {
                // A router may speak of anybody's packets, a pod only of those sent to itself.
                let from_pod = matches!(self.table.party(network, ip.source), Party::Pod(_));
                if from_pod && ip.source != quoted.destination {
                    return Err(DropReason::UnrelatedIcmp);
                }
                self.icmp_error(connections, ip, quoted, flow)
            }
            transport => self.connection(connections, ip.protocol, transport, flow),
        }
    }

    /// Judges what the sender of a guarded broadcast or multicast packet may do. Which pods
    /// get a copy is [`Judge::admits_group`]'s to say, pod by pod.
    ///
    /// # Errors
    /// The reason to drop it for.
    pub fn group(&self, network: NetworkId, packet: &Packet) -> Verdict {
        let Payload::Ip(ip) = &packet.payload else { return Ok(()) };
        match ip.transport {
            Transport::Neighbour(_) => return Ok(()),
            Transport::IcmpOther { .. } | Transport::IcmpError(_) => {
                return Err(DropReason::UnsupportedIcmp);
            }
            _ => {}
        }
        // A unicast packet in a broadcast frame would reach pods that it is not meant for.
        if !is_group(ip) {
            return Err(DropReason::ForeignDestination);
        }
        verdict(self.table.decide(&group_attempt(network, ip)))
    }

    /// Whether a pod lets in a broadcast or multicast packet.
    #[must_use]
    pub fn admits_group(&self, network: NetworkId, endpoint: EndpointId, packet: &Packet) -> bool {
        match &packet.payload {
            Payload::Arp(_) => true,
            Payload::Ip(Ip { transport: Transport::Neighbour(_), .. }) => true,
            Payload::Ip(ip) => {
                self.table.decide_ingress(endpoint, &group_attempt(network, ip)).allows()
            }
        }
    }

    /// A pod's port takes what is for that pod. An uplink takes nothing for anybody here: what
    /// policy lets them have must not leave the node.
    #[inline]
    fn check_destination(&self, network: NetworkId, to: Attachment, ip: &Ip) -> Verdict {
        let party = self.table.party(network, ip.destination);
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

    #[inline]
    fn connection(
        &self,
        connections: &mut Connections,
        protocol: Protocol,
        transport: &Transport,
        flow: &FlowOf,
    ) -> Verdict {
        let timeouts = *connections.timeouts();
        let Some(connection) = connections.find(flow.hash, &flow.key, self.now) else {
            return self.open(connections, protocol, transport, flow);
        };
        let by_opener = connection.opener() == flow.side;
        let is_syn =
            matches!(transport, Transport::Ports { flags, .. } if protocol == TCP && opens(*flags));
        if is_syn && connection.state().is_ending() {
            return self.open(connections, protocol, transport, flow);
        }
        if let Err(reason) = self.recheck(connection) {
            connections.remove(flow.hash, &flow.key);
            return Err(reason);
        }
        let is_request = matches!(transport, Transport::Echo { request: true, .. });
        if (is_syn || is_request) && !by_opener {
            // Against the direction of an allowed connection it asks for another one.
            return verdict(self.decide(&flow.key.five_tuple(flow.side)));
        }
        connection.advance(connection.state().after(transport, by_opener), &timeouts, self.now);
        Ok(())
    }

    fn open(
        &self,
        connections: &mut Connections,
        protocol: Protocol,
        transport: &Transport,
        flow: &FlowOf,
    ) -> Verdict {
        let state = State::opened_by(transport, protocol == TCP).ok_or(DropReason::NoConnection)?;
        verdict(self.decide(&flow.key.five_tuple(flow.side)))?;
        let revision = self.table.revision();
        connections
            .insert(flow.hash, flow.key, flow.side, state, revision, self.now)
            .map_err(|_| DropReason::ConntrackFull)
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
        let connection =
            connections.find(flow.hash, &flow.key, self.now).ok_or(DropReason::UnrelatedIcmp)?;
        if let Err(reason) = self.recheck(connection) {
            connections.remove(flow.hash, &flow.key);
            return Err(reason);
        }
        Ok(())
    }

    /// Makes sure that the table in force admits a connection that an older one admitted.
    #[inline]
    fn recheck(&self, connection: &mut Connection) -> Verdict {
        let revision = self.table.revision();
        if connection.revision() == revision {
            return Ok(());
        }
        if self.established == Established::Recheck {
            verdict(self.decide(&connection.opening()))?;
        }
        connection.admit(revision);
        Ok(())
    }

    fn decide(&self, opening: &FiveTuple) -> Decision {
        let has_ports = matches!(opening.protocol, TCP | UDP | SCTP);
        self.table.decide(&Attempt {
            network: opening.network,
            source: opening.source,
            destination: opening.destination,
            protocol: opening.protocol,
            port: has_ports.then_some(opening.destination_port),
        })
    }
}

/// Whether the packet is meant for more than one host.
#[must_use]
pub fn is_group(ip: &Ip) -> bool {
    match ip.destination {
        std::net::IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        std::net::IpAddr::V6(v6) => v6.is_multicast(),
    }
}

fn group_attempt(network: NetworkId, ip: &Ip) -> Attempt {
    let port = match ip.transport {
        Transport::Ports { destination, .. } => Some(destination),
        _ => None,
    };
    Attempt { network, source: ip.source, destination: ip.destination, protocol: ip.protocol, port }
}

fn verdict(decision: Decision) -> Verdict {
    if !decision.egress.allows() {
        Err(DropReason::EgressDenied)
    } else if !decision.ingress.allows() {
        Err(DropReason::IngressDenied)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
