//! Five tuples, and the key that both directions of a flow share.

use std::net::{IpAddr, Ipv6Addr};

use crate::address::NetworkId;
use crate::icmp::echo_ports;
use crate::packet::{Ip, Ports, Transport};
use crate::ports::Protocol;

/// One direction of a flow, together with the network that its addresses are valid on.
///
/// An echo's identifier is the port of the side that asks; the other side's is 0. So a
/// request and its reply are one flow, and two hosts that ping each other with one
/// identifier are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FiveTuple {
    /// The network.
    pub network: NetworkId,
    /// The IP protocol.
    pub protocol: Protocol,
    /// The sender's address.
    pub source: IpAddr,
    /// The sender's port; 0 where the protocol has none.
    pub source_port: u16,
    /// The receiver's address.
    pub destination: IpAddr,
    /// The receiver's port; 0 where the protocol has none.
    pub destination_port: u16,
}

/// The key of a flow: equal for both of its directions.
///
/// Words, because it is hashed and compared once a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowKey {
    /// The address of the lower end, then that of the higher one.
    addresses: [[u64; 2]; 2],
    /// The port of the lower end, that of the higher one, the network, the protocol.
    rest: u64,
}

/// The side of a flow that a five tuple is sent by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The end whose address and port sort first.
    Low,
    /// The other end.
    High,
}

impl FiveTuple {
    /// The flow that a packet belongs to, or that the packet quoted by an ICMP error did.
    /// `None` for neighbour discovery and ICMP without an identifier, which are no flow, and
    /// for a fragment that does not show its ports.
    #[inline]
    #[must_use]
    pub fn of(network: NetworkId, ip: &Ip) -> Option<Self> {
        let (source_port, destination_port) = match ip.transport {
            Transport::Tcp(_) | Transport::Udp(_) | Transport::Sctp(_) => {
                let Ports { source, destination } = ip.transport.ports()?;
                (source, destination)
            }
            Transport::Echo { id, request } => echo_ports((id, request)),
            Transport::Opaque => (0, 0),
            Transport::IcmpError(quoted) => {
                return Some(Self {
                    network,
                    protocol: quoted.protocol,
                    source: quoted.source,
                    source_port: quoted.source_port,
                    destination: quoted.destination,
                    destination_port: quoted.destination_port,
                });
            }
            Transport::Neighbour(_) | Transport::IcmpOther { .. } | Transport::Continuation => {
                return None;
            }
        };
        Some(Self {
            network,
            protocol: ip.protocol,
            source: ip.source,
            source_port,
            destination: ip.destination,
            destination_port,
        })
    }

    /// The key of the flow, and the side that sends in this direction.
    #[inline]
    #[must_use]
    pub fn key(&self) -> (FlowKey, Side) {
        let source = (words(self.source), self.source_port);
        let destination = (words(self.destination), self.destination_port);
        let (side, low, high) = if source <= destination {
            (Side::Low, source, destination)
        } else {
            (Side::High, destination, source)
        };
        let ports = u64::from(low.1) << 48 | u64::from(high.1) << 32;
        let rest = ports | u64::from(self.network.0) << 16 | u64::from(self.protocol);
        (FlowKey { addresses: [low.0, high.0], rest }, side)
    }
}

impl FlowKey {
    /// The flow's five tuple in the direction in which `sender` sends.
    #[must_use]
    pub fn five_tuple(&self, sender: Side) -> FiveTuple {
        let [a, b, c, d, e, f, _, protocol] = self.rest.to_be_bytes();
        let [low, high] = self.addresses;
        let low = (low, u16::from_be_bytes([a, b]));
        let high = (high, u16::from_be_bytes([c, d]));
        let (from, to) = match sender {
            Side::Low => (low, high),
            Side::High => (high, low),
        };
        FiveTuple {
            network: NetworkId(u16::from_be_bytes([e, f])),
            protocol,
            source: address(from.0),
            source_port: from.1,
            destination: address(to.0),
            destination_port: to.1,
        }
    }
}

impl std::hash::Hash for FlowKey {
    #[inline]
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // Three steps of the hasher; field by field it would be thirteen.
        for [upper, lower] in self.addresses {
            state.write_u128(u128::from(upper) << 64 | u128::from(lower));
        }
        state.write_u64(self.rest);
    }
}

/// Hashes flows with a seed drawn when the process starts, so that nobody outside can choose
/// five tuples that collide. Clones hash alike: all workers must agree on a flow's owner.
#[derive(Debug, Clone)]
pub struct FlowHasher(ahash::RandomState);

impl FlowHasher {
    /// A hasher with a seed of its own.
    #[must_use]
    pub fn random() -> Self {
        Self(ahash::RandomState::new())
    }

    /// A hasher with a fixed seed, for tests that must repeat.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(ahash::RandomState::with_seeds(seed, 1, 2, 3))
    }

    /// The hash of a flow's key, or of a fragmented datagram's.
    #[inline]
    #[must_use]
    pub fn hash<K: std::hash::Hash>(&self, key: &K) -> u64 {
        self.0.hash_one(key)
    }
}

/// IPv4 as IPv4-mapped IPv6, so that one key serves both. A packet with a mapped address on
/// the wire never gets this far: the guard refuses it.
#[inline]
fn words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(v4) => [0, MAPPED | u64::from(v4.to_bits())],
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h, rest @ ..] = v6.octets();
            [u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes(rest)]
        }
    }
}

/// What stands before an IPv4 address in the lower half of a mapped one (RFC 4291, 2.5.5.2).
const MAPPED: u64 = 0xffff << 32;

fn address([upper, lower]: [u64; 2]) -> IpAddr {
    let bits = u128::from(upper) << 64 | u128::from(lower);
    IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(
        source: &str,
        source_port: u16,
        destination: &str,
        destination_port: u16,
    ) -> FiveTuple {
        FiveTuple {
            network: NetworkId(3),
            protocol: 6,
            source: source.parse().unwrap(),
            source_port,
            destination: destination.parse().unwrap(),
            destination_port,
        }
    }

    #[test]
    fn both_directions_share_a_key_and_tell_their_sides() {
        for (a, b) in [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")] {
            let (key, side) = tuple(a, 40000, b, 80).key();
            let (back, other) = tuple(b, 80, a, 40000).key();
            assert_eq!(key, back);
            assert_ne!(side, other);
            assert_eq!(key.five_tuple(side), tuple(a, 40000, b, 80));
            assert_eq!(key.five_tuple(other), tuple(b, 80, a, 40000));
        }
    }

    #[test]
    fn equal_addresses_on_two_networks_are_two_flows() {
        let here = tuple("10.0.0.1", 1, "10.0.0.2", 2);
        let there = FiveTuple { network: NetworkId(4), ..here };
        assert_ne!(here.key().0, there.key().0);
    }
}
