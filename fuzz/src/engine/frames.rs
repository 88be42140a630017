//! Frames out of a step: as honest hosts build them, and as nobody should.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sluice_core::address::{Mac, NetworkId};
use sluice_core::packet::TcpFlags;
use sluice_core::ports::{ICMP, ICMPV6, Protocol, SCTP, TCP, UDP};

use super::stage::PortNumber;
use crate::cast::{Host, OTHER_NETWORK};
use crate::sums;
use crate::view::untagged;

/// Eight bytes of a story; see there for what they mean.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) what: u8,
    pub(crate) from: u8,
    pub(crate) to: u8,
    pub(crate) ports: u8,
    pub(crate) flags: u8,
    pub(crate) a: u8,
    pub(crate) b: u8,
    pub(crate) time: u8,
}

// In `what`.
const IPV6: u8 = 0x10;
/// The workers do not turn yet.
const HELD: u8 = 0x20;
/// Something about the frame is odd: numbers, tags, ports, checksums.
const ODD: u8 = 0x40;
/// The source address is the next host's.
const SPOOFED_ADDRESS: u8 = 0x80;

// In `from`.
const ON_OTHER_NETWORK: u8 = 0x20;
const NARROW: u8 = 0x40;
const SPOOFED_MAC: u8 = 0x80;

// In `to`.
const TO_GROUP: u8 = 0x08;
/// The MAC is that of everybody.
const TO_EVERYBODY: u8 = 0x10;
/// The MAC is nobody's; together with the former the next host's.
const TO_NOBODY: u8 = 0x20;
const TO_MAPPED: u8 = 0x40;
/// From routers away.
const FROM_AFAR: u8 = 0x80;

/// In `b` of TCP, UDP and SCTP: the checksum is as a host leaves it to its NIC.
const PARTIAL: u8 = 0x80;

/// What honest hosts remember of their TCP connections: the next sequence number of each side,
/// by sender, receiver, ports and whether it is IPv6.
#[derive(Debug, Default)]
pub(crate) struct Sequences(HashMap<(Host, Host, (u16, u16), bool), u32>);

impl Step {
    pub(crate) fn kind(self) -> u8 {
        self.what & 0xf
    }

    pub(crate) fn is_held(self) -> bool {
        self.what & HELD != 0
    }

    pub(crate) fn is_odd(self) -> bool {
        self.what & ODD != 0
    }

    fn is_v6(self) -> bool {
        self.what & IPV6 != 0
    }

    pub(crate) fn sender(self) -> Host {
        Host(self.from % Host::COUNT)
    }

    fn receiver(self) -> Host {
        Host(self.to % Host::COUNT)
    }

    /// The host that the packet says it is from.
    fn claimed(self) -> Host {
        let spoofed = self.what & SPOOFED_ADDRESS != 0;
        Host((self.sender().0 + u8::from(spoofed)) % Host::COUNT)
    }

    /// The port that the frame is sent into.
    pub(crate) fn port(self) -> PortNumber {
        PortNumber::of(self.sender(), self.from & NARROW != 0)
    }

    fn network(self) -> NetworkId {
        let is_other = self.sender() == Host::TWIN || self.from & ON_OTHER_NETWORK != 0;
        if is_other { OTHER_NETWORK } else { NetworkId::DEFAULT }
    }

    fn transport_ports(self) -> (u16, u16) {
        (u16::from(self.ports & 0xf) + 80, u16::from(self.ports >> 4) + 80)
    }

    /// The bytes behind the transport header.
    fn payload(self) -> Vec<u8> {
        vec![self.ports; usize::from(self.a) * 4]
    }

    /// The frame; `None` where the kind is none that is built from nothing. `about` is the frame
    /// that an ICMP error quotes.
    pub(crate) fn frame(self, sequences: &mut Sequences, about: &[u8]) -> Option<Vec<u8>> {
        let frame = match self.kind() {
            0 => self.packet(TCP, &self.segment(sequences)),
            1 => self.packet(UDP, &self.datagram()),
            2 => self.packet(SCTP, &self.sctp()),
            3 => self.packet(self.icmp_protocol(), &self.echo()),
            4 => self.packet(self.icmp_protocol(), &self.error(about)),
            5 => self.packet(self.flags, &self.payload()),
            6 => self.packet(self.icmp_protocol(), &self.neighbour()),
            7 => self.ethernet(0x0806, &self.arp()),
            _ => return None,
        };
        Some(frame)
    }

    fn packet(self, protocol: Protocol, transport: &[u8]) -> Vec<u8> {
        let (source, destination) = self.addresses();
        let hop_limit = if self.to & FROM_AFAR != 0 { 64 } else { 255 };
        let len = u16::try_from(transport.len()).unwrap_or_default();
        let (ether_type, header) = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let [high, low] = (len + 20).to_be_bytes();
                let mut header = vec![0x45, 0, high, low, 0, self.ports, 0x40, 0];
                header.extend([hop_limit, protocol, 0, 0]);
                header.extend(source.octets().into_iter().chain(destination.octets()));
                (0x0800, header)
            }
            _ => {
                let [high, low] = len.to_be_bytes();
                let mut header = vec![0x60, 0, 0, 0, high, low, protocol, hop_limit];
                for address in [source, destination] {
                    header.extend(match address {
                        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                        IpAddr::V6(v6) => v6.octets(),
                    });
                }
                (0x86dd, header)
            }
        };
        let mut frame = self.ethernet(ether_type, &[&header, transport].concat());
        sums::mend(&mut frame);
        if self.kind() < 3 && self.b & PARTIAL != 0 {
            sums::make_partial(&mut frame);
        }
        frame
    }

    fn addresses(self) -> (IpAddr, IpAddr) {
        let (from, to) = (self.claimed(), self.receiver());
        let to_group = self.to & TO_GROUP != 0;
        if self.is_v6() && self.kind() == 6 {
            let (source, destination) = self.neighbour_addresses();
            (source.into(), destination.into())
        } else if self.is_v6() {
            let destination = if to_group {
                Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb)
            } else if self.to & TO_MAPPED != 0 {
                Ipv4Addr::from(to.v4()).to_ipv6_mapped()
            } else {
                to.v6().into()
            };
            (from.v6().into(), destination.into())
        } else {
            (from.v4().into(), if to_group { [224, 0, 0, 251].into() } else { to.v4().into() })
        }
    }

    /// Of neighbour discovery, by `b`: 2 from the sender's link-local address, 4 from nobody's,
    /// 8 to the receiver's link-local one. To a group: the one that such a message goes to.
    fn neighbour_addresses(self) -> (Ipv6Addr, Ipv6Addr) {
        let source = match self.b >> 1 & 3 {
            0 => self.claimed().v6().into(),
            1 => link_local_of(self.claimed()),
            _ => Ipv6Addr::UNSPECIFIED,
        };
        let destination = match self.flags {
            _ if self.to & TO_GROUP == 0 && self.b & 8 != 0 => link_local_of(self.receiver()),
            _ if self.to & TO_GROUP == 0 => self.receiver().v6().into(),
            133 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2),
            135 => {
                let [.., high, low] = Ipv6Addr::from(self.about().v6()).segments();
                Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
            }
            _ => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
        };
        (source, destination)
    }

    /// Whose address neighbour discovery is about.
    fn about(self) -> Host {
        if self.a & 1 == 0 { self.receiver() } else { self.claimed() }
    }

    fn ethernet(self, ether_type: u16, payload: &[u8]) -> Vec<u8> {
        let to = match self.to & (TO_GROUP | TO_EVERYBODY | TO_NOBODY) {
            0 => self.receiver().mac(),
            TO_NOBODY => Mac([2, 0, 0, 0, 1, self.to]),
            both if both == TO_EVERYBODY | TO_NOBODY => {
                Host((self.receiver().0 + 1) % Host::COUNT).mac()
            }
            _ => Mac::BROADCAST,
        };
        let shift = u8::from(self.from & SPOOFED_MAC != 0);
        let from = Host((self.sender().0 + shift) % Host::COUNT).mac();
        // Bits 3 and 4: the right tag, none, one of nobody, a priority.
        let tag = match self.from >> 3 & 3 {
            0 => self.port().tag_of(self.network()).flatten(),
            1 => None,
            2 => Some(9),
            _ => Some(0),
        };
        let mut frame = [to.0, from.0].concat();
        if let Some(tag) = tag {
            frame.extend([0x81, 0x00]);
            frame.extend(tag.to_be_bytes());
        }
        frame.extend(ether_type.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// A segment that fits what its two ends have said; an odd one has other numbers.
    fn segment(self, sequences: &mut Sequences) -> Vec<u8> {
        let ports = self.transport_ports();
        let (from, to) = (self.sender(), self.receiver());
        let flags = TcpFlags::from_bits(self.flags);
        let own = (from, to, ports, self.is_v6());
        let others = (to, from, (ports.1, ports.0), self.is_v6());
        if flags.has(TcpFlags::SYN) {
            sequences.0.insert(own, 100);
        }
        let mut sequence = sequences.0.get(&own).copied().unwrap_or(101);
        let acknowledgement = sequences.0.get(&others).copied().unwrap_or(101);
        let payload = self.payload();
        if self.is_odd() {
            sequence = sequence.wrapping_add(u32::from(self.b) << 12).wrapping_sub(0x40000);
        } else {
            let ends = flags.has(TcpFlags::SYN) || flags.has(TcpFlags::FIN);
            let len = u32::try_from(payload.len()).unwrap_or_default() + u32::from(ends);
            sequences.0.insert(own, sequence.wrapping_add(len));
        }
        let mut segment = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
        segment.extend(sequence.to_be_bytes());
        segment.extend(acknowledgement.to_be_bytes());
        let has_scale = flags.has(TcpFlags::SYN) && !self.is_odd() && self.b > 0;
        segment.extend([if has_scale { 0x60 } else { 0x50 }, self.flags, 0x10, 0, 0, 0, 0, 0]);
        if has_scale {
            segment.extend([1, 3, 3, self.b % 16]);
        }
        segment.extend(payload);
        segment
    }

    /// An odd one has the ports of DHCP.
    fn datagram(self) -> Vec<u8> {
        let (source, destination) = match (self.is_odd(), self.is_v6()) {
            (false, _) => self.transport_ports(),
            (true, false) => (67, 68),
            (true, true) => (547, 546),
        };
        let payload = self.payload();
        let len = u16::try_from(payload.len() + 8).unwrap_or_default();
        let header = [source, destination, len, 0].map(u16::to_be_bytes);
        [header.as_flattened(), &payload].concat()
    }

    /// One chunk, of the type in the lower half of the flags, and a second of the type in the
    /// upper half if it is not 0. Every host has one tag; an odd packet bears another.
    fn sctp(self) -> Vec<u8> {
        let tag_of = |host: Host| 0x1000 + u32::from(host.0);
        let (source, destination) = self.transport_ports();
        let kinds = [self.flags & 0xf, self.flags >> 4];
        let tag = match kinds {
            _ if self.is_odd() => u32::from(self.b),
            [1, _] => 0,
            _ => tag_of(self.receiver()),
        };
        let mut packet = [source.to_be_bytes(), destination.to_be_bytes()].concat();
        packet.extend(tag.to_be_bytes());
        packet.extend([0; 4]);
        for kind in kinds.into_iter().take(1 + usize::from(kinds[1] != 0)) {
            packet.extend([kind, self.b & 1, 0, 20]);
            packet.extend(tag_of(self.sender()).to_be_bytes());
            packet.extend([0, 1, 0, 0, 0, 5, 0, 5, 0, 0, 0, 1]);
        }
        packet
    }

    fn icmp_protocol(self) -> Protocol {
        if self.is_v6() { ICMPV6 } else { ICMP }
    }

    fn echo(self) -> Vec<u8> {
        let asks = self.flags & 1 == 1;
        let icmp_type = match (asks, self.is_v6()) {
            (true, false) => 8,
            (false, false) => 0,
            (true, true) => 128,
            (false, true) => 129,
        };
        let [high, low] = self.transport_ports().0.to_be_bytes();
        let mut message = vec![icmp_type, 0, 0, 0, high, low, 0, 0];
        message.extend(self.payload());
        message
    }

    /// An error of the type in the flags, or the most common one; an odd one is cut short.
    fn error(self, about: &[u8]) -> Vec<u8> {
        let icmp_type = match (self.flags, self.is_v6()) {
            (0, false) => 3,
            (0, true) => 1,
            (other, _) => other,
        };
        let mut message = vec![icmp_type, 0, 0, 0, 0, 0, 0, 0];
        let quoted = untagged(about);
        let len = if self.is_odd() { self.b.into() } else { usize::MAX };
        message.extend(quoted.iter().skip(14).take(len.min(600)));
        message
    }

    /// Neighbour discovery of the type in the flags about the receiver (`a` even) or the sender,
    /// with the sender's MAC; an odd one has the receiver's. Other types are what they are.
    fn neighbour(self) -> Vec<u8> {
        let mut message = vec![self.flags, 0, 0, 0, 0, 0, 0, 0];
        let about = self.about();
        match self.flags {
            133 => {}
            134 => message.extend([0; 8]),
            137 => message.extend([about.v6(), about.v6()].as_flattened()),
            _ => message.extend(about.v6()),
        }
        let mac = if self.is_odd() { self.receiver() } else { self.sender() }.mac();
        if self.b & 1 == 0 {
            message.extend([if matches!(self.flags, 136 | 137) { 2 } else { 1 }, 1]);
            message.extend(mac.0);
        }
        message
    }

    /// A request (`flags` even) or an answer.
    fn arp(self) -> Vec<u8> {
        let mac = if self.is_odd() { self.receiver() } else { self.sender() }.mac();
        let sender = if self.b & 1 == 0 { self.claimed().v4() } else { [0; 4] };
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1 + (self.flags & 1)];
        arp.extend(mac.0);
        arp.extend(sender);
        arp.extend(self.receiver().mac().0);
        arp.extend(self.receiver().v4());
        arp
    }
}

/// The link-local address that a host's MAC makes (RFC 4291, appendix A).
fn link_local_of(host: Host) -> Ipv6Addr {
    let [a, b, c, d, e, f] = host.mac().0;
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f].into()
}
