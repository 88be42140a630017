//! What connections are tried with: packets, judged as this node judges them.
//!
//! The pods of the namespace x are attached to this node, whether the rule set knows them or
//! not; n1 is behind the host port, and everybody else is behind an uplink. An end is written as
//! `x/a:80`.

use std::net::IpAddr;

use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::icmpv6::DestUnreachableCode;
use etherparse::{Icmpv4Type, Icmpv6Type, IpHeaders, IpNumber, PacketBuilder, PacketBuilderStep};
use sluice_core::address::{Mac, NetworkId};
use sluice_core::conntrack::state::Timeouts;
use sluice_core::conntrack::{Account, Connections, Limits};
use sluice_core::flow::FlowHasher;
use sluice_core::guard::{Attachment, Residents};
use sluice_core::judge::{Crossing, Established, FlowOf, Judge, Verdict};
use sluice_core::packet::Packet;
use sluice_core::time::Time;
use sluice_policy::compile::Compiler;

use crate::given::{Family, V4, V6, address, options, rules};

const NETWORK: NetworkId = NetworkId::DEFAULT;
const ETHERNET_LEN: usize = 14;
const LIMITS: Limits = Limits { connections_max: 64, account_connections_max: 64 };

/// This node with its pods, its connections and its clock.
pub(crate) struct World {
    pub(crate) family: Family,
    pub(crate) established: Established,
    pub(crate) now: Time,
    pub(crate) connections: Connections,
    compiler: Compiler,
    hasher: FlowHasher,
}

impl World {
    /// The cluster and the objects of `yaml`.
    pub(crate) fn new(family: Family, yaml: &str) -> Self {
        let hasher = FlowHasher::seeded(1);
        Self {
            family,
            established: Established::default(),
            now: Time(1),
            connections: Connections::new(LIMITS, Timeouts::default(), hasher.clone()),
            compiler: Compiler::with(rules(yaml), &options(), 1).unwrap(),
            hasher,
        }
    }

    /// From now on the objects of `yaml` are in the cluster, instead of those given before.
    pub(crate) fn publish(&mut self, yaml: &str) {
        let change = self.compiler.rules().change_to(&rules(yaml));
        let revision = self.compiler.table().revision() + 1;
        self.compiler.apply(change, revision).unwrap();
    }

    /// Lets somebody send a frame to somebody.
    pub(crate) fn send(&mut self, from: &str, to: &str, frame: &[u8]) -> Verdict {
        let packet = Packet::parse(frame)?;
        let table = self.compiler.table();
        let mut residents = Residents::of(table);
        for (id, _) in table.endpoints().filter(|(_, it)| it.name.starts_with("x/")) {
            residents.insert(table, id);
        }
        let (established, now) = (self.established, self.now);
        let judge = Judge { table, residents: &residents, established, midstream: false, now };
        let (from, to) = (self.port(from), self.port(to));
        let ends = judge.ends(NETWORK, &packet);
        judge.guard(NETWORK, from, &packet, &ends)?;
        let flow = packet.ip().and_then(|ip| FlowOf::new(NETWORK, ip, &self.hasher));
        let flow = flow.as_ref();
        let crossing = Crossing { network: NETWORK, from, to, packet: &packet, flow, ends: &ends };
        judge.unicast(&mut self.connections, &crossing)
    }

    fn port(&self, who: &str) -> Attachment {
        match who {
            "n1" => Attachment::Host,
            here if here.starts_with("x/") => Attachment::Pod {
                mac: mac(here),
                endpoint: self.compiler.table().endpoint_named(here),
                account: Account(u16::from(mac(here).0[5]) + 1),
            },
            _ => Attachment::Uplink,
        }
    }

    /// A TCP segment; `flags` are some of `SAFR`.
    pub(crate) fn tcp(&mut self, from: &str, to: &str, flags: &str) -> Verdict {
        let frame = tcp(self.family, from, to, flags);
        self.send(name(from), name(to), &frame)
    }

    pub(crate) fn udp(&mut self, from: &str, to: &str) -> Verdict {
        let frame = udp(self.family, from, to);
        self.send(name(from), name(to), &frame)
    }

    /// An INIT.
    pub(crate) fn sctp(&mut self, from: &str, to: &str) -> Verdict {
        self.sctp_packet(from, to, 0, 1)
    }

    /// The INIT ACK that answers it.
    pub(crate) fn sctp_answer(&mut self, from: &str, to: &str) -> Verdict {
        self.sctp_packet(from, to, 7, 2)
    }

    fn sctp_packet(&mut self, from: &str, to: &str, tag: u32, chunk: u8) -> Verdict {
        let [(from, source), (to, destination)] = [end(from), end(to)];
        let mut header = [source.to_be_bytes(), destination.to_be_bytes()].concat();
        header.extend(tag.to_be_bytes());
        // No CRC; then what INIT and INIT ACK have in common: a tag, and one stream each way.
        header.resize(12, 0);
        header.extend([chunk, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
        let mut frame = Vec::new();
        ip(self.family, from, to).write(&mut frame, IpNumber::SCTP, &header).unwrap();
        self.send(from, to, &frame)
    }

    /// An echo request, or the reply to one, with identifier 7.
    pub(crate) fn ping(&mut self, from: &str, to: &str, kind: Echo) -> Verdict {
        let frame = echo(self.family, from, to, kind);
        self.send(from, to, &frame)
    }

    /// An ICMP error from somebody to somebody about a frame.
    pub(crate) fn error(&mut self, from: &str, to: &str, error: Error, about: &[u8]) -> Verdict {
        let step = ip(self.family, from, to);
        let quoted = &about[ETHERNET_LEN..];
        let mut frame = Vec::new();
        match (self.family, error) {
            (V4, Error::TooBig) => {
                let header = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
                let kind = Icmpv4Type::DestinationUnreachable(header);
                step.icmpv4(kind).write(&mut frame, quoted)
            }
            (V4, Error::NoPort) => {
                let kind = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port);
                step.icmpv4(kind).write(&mut frame, quoted)
            }
            (V6, Error::TooBig) => {
                step.icmpv6(Icmpv6Type::PacketTooBig { mtu: 1400 }).write(&mut frame, quoted)
            }
            (V6, Error::NoPort) => {
                let kind = Icmpv6Type::DestinationUnreachable(DestUnreachableCode::Port);
                step.icmpv6(kind).write(&mut frame, quoted)
            }
        }
        .unwrap();
        self.send(from, to, &frame)
    }

    /// Three segments that establish a TCP connection.
    pub(crate) fn handshake(&mut self, from: &str, to: &str) -> Verdict {
        self.tcp(from, to, "S")?;
        self.tcp(to, from, "SA")?;
        self.tcp(from, to, "A")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    Request,
    Reply,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Error {
    /// The packet does not fit the next link.
    TooBig,
    /// Nobody listens on that port.
    NoPort,
}

pub(crate) fn tcp(family: Family, from: &str, to: &str, flags: &str) -> Vec<u8> {
    let [(from, source), (to, destination)] = [end(from), end(to)];
    // Both sides begin with sequence number 1, which their SYN takes.
    let sequence = if flags.contains('S') { 1 } else { 2 };
    let mut builder = ip(family, from, to).tcp(source, destination, sequence, 1000);
    for flag in flags.chars() {
        builder = match flag {
            'S' => builder.syn(),
            'A' => builder.ack(2),
            'F' => builder.fin(),
            'R' => builder.rst(),
            _ => unreachable!("{flag}"),
        };
    }
    let mut frame = Vec::new();
    builder.write(&mut frame, b"").unwrap();
    frame
}

pub(crate) fn udp(family: Family, from: &str, to: &str) -> Vec<u8> {
    let [(from, source), (to, destination)] = [end(from), end(to)];
    let mut frame = Vec::new();
    ip(family, from, to).udp(source, destination).write(&mut frame, b"query").unwrap();
    frame
}

pub(crate) fn echo(family: Family, from: &str, to: &str, kind: Echo) -> Vec<u8> {
    let (step, mut frame) = (ip(family, from, to), Vec::new());
    match (family, kind) {
        (V4, Echo::Request) => step.icmpv4_echo_request(7, 1).write(&mut frame, b"ping"),
        (V4, Echo::Reply) => step.icmpv4_echo_reply(7, 1).write(&mut frame, b"ping"),
        (V6, Echo::Request) => step.icmpv6_echo_request(7, 1).write(&mut frame, b"ping"),
        (V6, Echo::Reply) => step.icmpv6_echo_reply(7, 1).write(&mut frame, b"ping"),
    }
    .unwrap();
    frame
}

fn ip(family: Family, from: &str, to: &str) -> PacketBuilderStep<IpHeaders> {
    let ethernet = PacketBuilder::ethernet2(mac(from).0, mac(to).0);
    match [from, to].map(|who| address(who, family)) {
        [IpAddr::V4(from), IpAddr::V4(to)] => ethernet.ipv4(from.octets(), to.octets(), 64),
        [IpAddr::V6(from), IpAddr::V6(to)] => ethernet.ipv6(from.octets(), to.octets(), 64),
        mixed => unreachable!("{mixed:?}"),
    }
}

/// A MAC of its own for each pod of this node.
fn mac(who: &str) -> Mac {
    let IpAddr::V6(v6) = address(who, V6) else { return Mac([2, 0, 0, 0, 0, 0xee]) };
    Mac([2, 0, 0, 0, 0, v6.octets()[15]])
}

fn end(end: &str) -> (&str, u16) {
    let (name, port) = end.rsplit_once(':').unwrap();
    (name, port.parse().unwrap())
}

fn name(end_of: &str) -> &str {
    end(end_of).0
}
