//! A story: packets between a few hosts, with tables that change and time that passes.
//!
//! ```text
//! story = options step*                    1: established connections live on; 2: midstream
//! step  = what from to port flags time     see `Step`; time: the cube root of milliseconds
//! ```
//!
//! Every verdict is held to what can be said without the judge: [`Table::decide`] of the
//! packet's own addresses, and the connections before and after.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use etherparse::{IpNumber, PacketBuilder};
use sluice_core::address::{Mac, NetworkId};
use sluice_core::conntrack::state::{State, Timeouts};
use sluice_core::conntrack::{Account, Connections, Limits};
use sluice_core::flow::FlowHasher;
use sluice_core::guard::{Attachment, Residents};
use sluice_core::judge::{Crossing, Established, FlowOf, Judge, Verdict, is_group};
use sluice_core::packet::{Ip, Packet, TcpFlags, Transport};
use sluice_core::policy::Attempt;
use sluice_core::ports::{ICMP, ICMPV6, SCTP, TCP, UDP};
use sluice_core::table::{Party, Table};
use sluice_core::time::Time;

use crate::cast::{Host, PODS, edit};
use crate::sums;

const NETWORK: NetworkId = NetworkId::DEFAULT;
/// Few, so that a story fills the table.
const CONNECTIONS_MAX: u32 = 6;
const STEP_LEN: usize = 6;

/// The first two pods have ports here.
const PORTS: usize = 2;
/// All but the late pod and the twin.
const HOSTS: u8 = 6;

/// Plays `bytes` as a story.
///
/// # Panics
/// Where a verdict, the connections or the clock contradict each other.
pub fn judge(bytes: &[u8]) {
    let Some((options, steps)) = bytes.split_first() else { return };
    let established = if options & 1 == 1 { Established::Keep } else { Established::Recheck };
    let mut world = World::new(established, options & 2 == 2);
    for step in steps.chunks_exact(STEP_LEN) {
        let &[what, from, to, port, flags, time] = step else { continue };
        world.now = world.now + Duration::from_millis(u64::from(time).pow(3));
        world.play(Step { what, from: Host(from % HOSTS), to: Host(to % HOSTS), port, flags });
        let (len, capacity) = (world.connections.len(), world.connections.capacity());
        assert!(len <= capacity, "{len} connections in {capacity} places");
    }
}

#[derive(Debug, Clone, Copy)]
struct Step {
    /// Low half: 0 TCP, 1 UDP, 2 SCTP, 3 echo, 4 ICMP error about the last packet, 5 another
    /// protocol, 6 another ICMP type, 7 the last packet with a byte changed, 8 another table,
    /// 9 expired connections are swept. High half: see the constants.
    what: u8,
    from: Host,
    to: Host,
    /// The destination port in the high half, the source port in the low one; the place of the
    /// byte to change; the table; how much to sweep.
    port: u8,
    /// TCP's flags; whether an echo asks; the type of ICMP; the change.
    flags: u8,
}

const IPV6: u8 = 0x10;
const TO_ALL: u8 = 0x20;
/// The destination is the IPv4 address, mapped into IPv6; a segment has wild numbers; the
/// checksums of a changed packet are not mended.
const TO_MAPPED: u8 = 0x40;
/// The source address is the next host's.
const SPOOFED: u8 = 0x80;

impl Step {
    fn has(self, flag: u8) -> bool {
        self.what & flag != 0
    }

    fn kind(self) -> u8 {
        self.what & 0xf
    }

    /// The host that the packet says it is from.
    fn claims(self) -> Host {
        if self.has(SPOOFED) { Host((self.from.0 + 1) % HOSTS) } else { self.from }
    }

    fn destination_v4(self) -> [u8; 4] {
        if self.has(TO_ALL) { [224, 0, 0, 251] } else { self.to.v4() }
    }

    fn destination_v6(self) -> [u8; 16] {
        if self.has(TO_ALL) {
            Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb).octets()
        } else if self.has(TO_MAPPED) {
            Ipv4Addr::from(self.to.v4()).to_ipv6_mapped().octets()
        } else {
            self.to.v6()
        }
    }

    /// Sequence and acknowledgement numbers. Every side begins with 100, so that handshakes come
    /// about, unless the step says that it has others.
    fn numbers(self) -> (u32, u32) {
        if self.has(TO_MAPPED) {
            return (u32::from(self.port) << 20, u32::from(self.flags) << 12);
        }
        if TcpFlags::from_bits(self.flags).has(TcpFlags::SYN) { (100, 101) } else { (101, 101) }
    }

    fn ports(self) -> (u16, u16) {
        (u16::from(self.port & 0xf) + 80, u16::from(self.port >> 4) + 80)
    }

    /// The frame; `None` where the kind is no packet. `last` is what an ICMP error quotes.
    fn frame(self, last: &[u8]) -> Option<Vec<u8>> {
        let to = if self.has(TO_ALL) { Mac::BROADCAST } else { self.to.mac() };
        let ethernet = PacketBuilder::ethernet2(self.from.mac().0, to.0);
        let ip = if self.has(IPV6) {
            ethernet.ipv6(self.claims().v6(), self.destination_v6(), 255)
        } else {
            ethernet.ipv4(self.claims().v4(), self.destination_v4(), 255)
        };
        let (source, destination) = self.ports();
        let mut frame = Vec::new();
        let written = match self.kind() {
            0 => {
                let (sequence, acknowledgement) = self.numbers();
                let segment = ip.tcp(source, destination, sequence, 1000).ack(acknowledgement);
                let written = segment.write(&mut frame, b"");
                // The builder knows no impossible flags; they are the 14th byte of the header.
                if let Some(byte) =
                    frame.len().checked_sub(20 - 13).and_then(|at| frame.get_mut(at))
                {
                    *byte = self.flags;
                }
                written
            }
            1 => ip.udp(source, destination).write(&mut frame, b"q"),
            2 => {
                // INIT, INIT ACK, COOKIE ECHO and so on, with the tags that all of them use.
                let kind = self.flags & 0xf;
                let tag = if kind == 1 { 0 } else { 7u32 };
                let mut sctp = [source.to_be_bytes(), destination.to_be_bytes()].concat();
                sctp.extend(tag.to_be_bytes());
                sctp.extend([0, 0, 0, 0, kind, 0, 0, 20, 0, 0, 0, 7]);
                sctp.resize(32, 0);
                ip.write(&mut frame, IpNumber(SCTP), &sctp)
            }
            3 | 4 | 6 => {
                let message = self.icmp(last);
                let protocol = if self.has(IPV6) { ICMPV6 } else { ICMP };
                ip.write(&mut frame, IpNumber(protocol), &message)
            }
            5 => ip.write(&mut frame, IpNumber(47), b"opaque"),
            _ => return None,
        };
        written.is_ok().then_some(frame)
    }

    /// An ICMP message without a checksum, which nobody here looks at.
    fn icmp(self, last: &[u8]) -> Vec<u8> {
        let asks = self.flags & 1 == 1;
        let icmp_type = match (self.kind(), self.has(IPV6)) {
            (3, false) => {
                if asks {
                    8
                } else {
                    0
                }
            }
            (3, true) => {
                if asks {
                    128
                } else {
                    129
                }
            }
            (4, false) => 3,
            (4, true) => 1,
            _ => self.flags,
        };
        let [id_high, id_low] = self.ports().0.to_be_bytes();
        let mut message = vec![icmp_type, 0, 0, 0, id_high, id_low, 0, 0];
        if self.kind() == 4 {
            message.extend(last.get(14..).unwrap_or_default());
        } else if self.kind() == 6 {
            // As neighbour discovery: a target, and an option with the sender's MAC.
            message.extend(self.claims().v6());
            message.extend([if icmp_type == 136 { 2 } else { 1 }, 1]);
            message.extend(self.from.mac().0);
        }
        message
    }
}

struct World {
    table: Table,
    residents: Residents,
    connections: Connections,
    hasher: FlowHasher,
    established: Established,
    midstream: bool,
    now: Time,
    last: Vec<u8>,
}

impl World {
    fn new(established: Established, midstream: bool) -> Self {
        let hasher = FlowHasher::seeded(1);
        let limits =
            Limits { connections_max: CONNECTIONS_MAX, account_connections_max: CONNECTIONS_MAX };
        let connections = Connections::new(limits, Timeouts::default(), hasher.clone());
        let mut world = Self {
            table: Table::empty(),
            residents: Residents::default(),
            connections,
            hasher,
            established,
            midstream,
            now: Time(1),
            last: Vec::new(),
        };
        world.publish(0);
        world
    }

    fn publish(&mut self, number: u8) {
        self.table = edit(number).finish(self.table.revision() + 1);
        self.residents = Residents::of(&self.table);
        for (name, _) in &PODS[..PORTS] {
            if let Some(endpoint) = self.table.endpoint_named(name) {
                self.residents.insert(&self.table, endpoint);
            }
        }
    }

    fn port(&self, host: Host) -> Attachment {
        match PODS[..PORTS].iter().find(|(_, pod)| *pod == host) {
            Some((name, _)) => Attachment::Pod {
                mac: host.mac(),
                endpoint: self.table.endpoint_named(name),
                account: Account(u16::from(host.0) + 1),
            },
            None if host == Host::NODE => Attachment::Host,
            None => Attachment::Uplink,
        }
    }

    fn play(&mut self, step: Step) {
        match step.kind() {
            7 => {
                let mut frame = self.last.clone();
                if let Some(byte) = frame.get_mut(usize::from(step.port)) {
                    *byte ^= step.flags;
                }
                // A wrong checksum would be all that is wrong with nearly every one.
                if !step.has(TO_MAPPED) {
                    sums::mend(&mut frame);
                }
                self.send(step, &frame);
                self.last = frame;
            }
            8 => self.publish(step.port),
            9 => {
                self.connections.expire(self.now, usize::from(step.port));
            }
            _ => {
                if let Some(frame) = step.frame(&self.last) {
                    self.send(step, &frame);
                    self.last = frame;
                }
            }
        }
    }

    fn send(&mut self, step: Step, frame: &[u8]) {
        let Ok(packet) = Packet::parse(frame) else { return };
        let (from, to) = (self.port(step.from), self.port(step.to));
        let judge = Judge {
            table: &self.table,
            residents: &self.residents,
            established: self.established,
            midstream: self.midstream,
            now: self.now,
        };
        let ends = judge.ends(NETWORK, &packet);
        if judge.guard(NETWORK, from, &packet, &ends).is_err() {
            return;
        }
        self.holds_to_its_name(from, &packet);
        if packet.destination.is_group() {
            if judge.group(NETWORK, &packet).is_ok()
                && let Some(ip) = packet.ip().filter(|ip| is_flow(ip))
            {
                assert!(is_group(ip), "{step:?}: a unicast packet reaches everybody");
                assert!(self.decides(ip), "{step:?}: sent to everybody against policy");
            }
            return;
        }
        let flow = packet.ip().and_then(|ip| FlowOf::new(NETWORK, ip, &self.hasher));
        let before = flow
            .as_ref()
            .and_then(|flow| self.connections.find(flow.hash, &flow.key, self.now))
            .map(|known| known.state());
        let len = self.connections.len();
        let crossing = Crossing {
            network: NETWORK,
            from,
            to,
            packet: &packet,
            flow: flow.as_ref(),
            ends: &ends,
        };
        let verdict = judge.unicast(&mut self.connections, &crossing);
        self.check(step, &packet, flow.as_ref(), before, verdict);
        if verdict.is_err() {
            assert!(self.connections.len() <= len, "{step:?}: a denial leaves something behind");
        }
    }

    /// What a pod sends bears the pod's own address.
    fn holds_to_its_name(&self, from: Attachment, packet: &Packet) {
        let Attachment::Pod { endpoint, mac, .. } = from else { return };
        assert_eq!(packet.source, mac);
        if let Some(ip) = packet.ip().filter(|ip| !matches!(ip.transport, Transport::Neighbour(_)))
        {
            let party = self.table.party(NETWORK, ip.source);
            assert_eq!(Some(party), endpoint.map(Party::Pod), "{ip:?}");
        }
    }

    fn check(
        &mut self,
        step: Step,
        packet: &Packet,
        flow: Option<&FlowOf>,
        before: Option<State>,
        verdict: Verdict,
    ) {
        let (Ok(()), Some(ip)) = (verdict, packet.ip()) else { return };
        if matches!(ip.transport, Transport::Neighbour(_)) {
            return;
        }
        let Some(flow) = flow else { panic!("{step:?}: allowed without a flow") };
        let opening = flow.key.five_tuple(flow.side);
        let is_pod = |address| matches!(self.table.party(NETWORK, address), Party::Pod(_));
        if before.is_none() && !is_pod(opening.source) && !is_pod(opening.destination) {
            return;
        }
        let Some(connection) = self.connections.find(flow.hash, &flow.key, self.now) else {
            panic!("{step:?}: allowed, and no connection knows it");
        };
        let (opening, revision) = (connection.opening(), connection.revision());
        assert_eq!(revision, self.table.revision(), "{step:?}: not judged by the table in force");
        if before.is_none() {
            assert!(is_flow(ip), "{step:?}: an ICMP error opens a connection");
            assert!(self.decides(ip), "{step:?}: opened against policy");
        }
        if self.established == Established::Recheck {
            let has_ports = matches!(opening.protocol, TCP | UDP | SCTP);
            let attempt = Attempt {
                network: opening.network,
                source: opening.source,
                destination: opening.destination,
                protocol: opening.protocol,
                source_port: has_ports.then_some(opening.source_port),
                port: has_ports.then_some(opening.destination_port),
            };
            assert!(self.table.decide(&attempt).allows(), "{step:?}: {attempt:?} lives on");
        }
    }

    /// What the table says of the packet's own addresses.
    fn decides(&self, ip: &Ip) -> bool {
        let ports = ip.transport.ports();
        let attempt = Attempt {
            network: NETWORK,
            source: ip.source,
            destination: ip.destination,
            protocol: ip.protocol,
            source_port: ports.map(|ports| ports.source),
            port: ports.map(|ports| ports.destination),
        };
        self.table.decide(&attempt).allows()
    }
}

/// Whether the packet is one of a flow itself, and neither about another nor of none.
fn is_flow(ip: &Ip) -> bool {
    ip.transport.ports().is_some()
        || matches!(ip.transport, Transport::Echo { .. } | Transport::Opaque)
}
