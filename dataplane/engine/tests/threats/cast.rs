//! Who appears in the stories: pods with a port, and parties beyond the uplink.
//!
//! | name | who |
//! |---|---|
//! | `client`, `server`, `other` | pods with a port each |
//! | `stray` | a pod with a port that the rules do not know |
//! | `far` | a pod on another node |
//! | `router`, `stranger` | outside of the cluster |
//! | `node` | the node itself |
//!
//! Each story has addresses of its own, so that stories on one stage do not meet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sluice_core::address::{Mac, NetworkId};

/// The ports of a stage; those of the pods bear the pods' names.
pub(crate) const PORTS: [&str; 5] = ["client", "server", "other", "stray", "uplink"];

/// The network of the second tenant, where there are two.
pub(crate) const RED: NetworkId = NetworkId(7);

/// The names and addresses of one story.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cast {
    /// The story's number; it shows in every address.
    pub(crate) number: u8,
    /// `other` and `stray` are pods of another tenant, with the addresses of `client` and `server`.
    pub(crate) has_tenants: bool,
}

/// Somebody's place in the address plan: a subnet and a number in it.
fn place(name: &str) -> (u8, u8) {
    match name {
        "client" => (0, 1),
        "server" => (0, 2),
        "other" => (0, 3),
        "stray" => (0, 4),
        "far" => (1, 5),
        "node" => (2, 6),
        "router" => (3, 7),
        "stranger" => (3, 8),
        _ => panic!("nobody here is called {name}"),
    }
}

impl Cast {
    fn place(self, name: &str) -> (u8, u8) {
        match name {
            "other" if self.has_tenants => place("client"),
            "stray" if self.has_tenants => place("server"),
            _ => place(name),
        }
    }

    pub(crate) fn v4(self, name: &str) -> Ipv4Addr {
        let (subnet, host) = self.place(name);
        Ipv4Addr::new(10, self.number, subnet, host)
    }

    pub(crate) fn v6(self, name: &str) -> Ipv6Addr {
        let (subnet, host) = self.place(name);
        let number = u16::from(self.number);
        Ipv6Addr::new(0xfd00, number, subnet.into(), 0, 0, 0, 0, host.into())
    }

    pub(crate) fn address(self, name: &str, v6: bool) -> IpAddr {
        if v6 { self.v6(name).into() } else { self.v4(name).into() }
    }

    /// Pods keep their MAC for as long as their port lives; others are new in every story.
    pub(crate) fn mac(self, name: &str) -> Mac {
        let (subnet, host) = place(name);
        Mac([2, subnet, 0, 0, if subnet == 0 { 0 } else { self.number }, host])
    }

    /// The network that a pod is on.
    pub(crate) fn network(self, name: &str) -> NetworkId {
        let is_red = self.has_tenants && matches!(name, "other" | "stray");
        if is_red { RED } else { NetworkId::DEFAULT }
    }

    /// The pods that the rules know.
    pub(crate) fn pods(self) -> &'static [&'static str] {
        if self.has_tenants {
            &["client", "server", "other", "stray", "far"]
        } else {
            &["client", "server", "other", "far"]
        }
    }

    /// Whether an address is one of this story's.
    pub(crate) fn has(self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => v4.octets()[1] == self.number,
            IpAddr::V6(v6) => v6.segments()[1] == u16::from(self.number),
        }
    }
}

/// Whether a pod is on this node.
pub(crate) fn is_local(pod: &str) -> bool {
    PORTS.contains(&pod)
}
