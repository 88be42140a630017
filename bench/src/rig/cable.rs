//! A cable: who is at its ends, and how they are called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sluice_lab::{Lab, Namespace, VethOptions};

use super::{BenchError, Forwarder, quiet};
use crate::traffic::{Ends, Family, Load, Sender, Sink};

/// From a sender through the forwarder to a sink.
pub(crate) struct Cable {
    number: u8,
    sender: Namespace,
    pub(crate) sink: Sink,
}

impl Cable {
    pub(super) fn lay(lab: &Lab, forwarder: &Namespace, number: u8) -> Result<Self, BenchError> {
        let sender = quiet(lab, &format!("gen{number}"))?;
        let sink = quiet(lab, &format!("sink{number}"))?;
        let left = VethOptions {
            mac_a: Some(mac(number, 1, 1)),
            mac_b: Some(mac(number, 1, 2)),
            ..VethOptions::default()
        };
        let [inner, outer] = interfaces(number);
        lab.veth(&sender, "gen0", forwarder, &inner, &left)?;
        let right = VethOptions { mac_b: Some(mac(number, 2, 1)), ..VethOptions::default() };
        lab.veth(forwarder, &outer, &sink, "sink0", &right)?;
        let sink = Sink::attach(&sink, "sink0")?;
        Ok(Self { number, sender, sink })
    }

    /// Starts a load, sent on `core`.
    pub(crate) fn start(
        &self,
        forwarder: &dyn Forwarder,
        load: &Load,
        core: usize,
    ) -> Result<Sender, BenchError> {
        let ends = Ends {
            source_mac: mac(self.number, 1, 1),
            destination_mac: forwarder.next_hop(self),
            source: source(self.number, load.shape.family, 0),
            destination: destination(self.number, load.shape.family),
        };
        Sender::start(&self.sender, "gen0", &ends, core, load)
    }

    /// The forwarder's interfaces: towards the sender, and towards the sink.
    pub(crate) fn interfaces(&self) -> [String; 2] {
        interfaces(self.number)
    }

    /// Of the forwarder's interface that faces the sender.
    pub(crate) fn forwarder_mac(&self) -> [u8; 6] {
        mac(self.number, 1, 2)
    }

    /// The network of all sources, with its prefix length.
    pub(crate) fn sources(&self, family: Family) -> String {
        let len = match family {
            Family::V4 => 16,
            Family::V6 => 112,
        };
        format!("{}/{len}", host(self.number, family, 1, [0, 0]))
    }

    pub(crate) fn sink_address(&self, family: Family) -> IpAddr {
        destination(self.number, family)
    }

    pub(crate) fn sink_mac(&self) -> [u8; 6] {
        mac(self.number, 2, 1)
    }
}

/// The senders of a cable, from 0; the load goes through all that its flows need.
pub(super) fn source(cable: u8, family: Family, number: u32) -> IpAddr {
    let [.., high, low] = (number + 1).to_be_bytes();
    host(cable, family, 1, [high, low])
}

pub(super) fn destination(cable: u8, family: Family) -> IpAddr {
    host(cable, family, 2, [0, 1])
}

/// The forwarder's own address at one of a cable's networks, for who routes.
pub(super) fn router(cable: u8, family: Family, net: u8) -> IpAddr {
    host(cable, family, net, [255, 254])
}

fn host(cable: u8, family: Family, net: u8, [high, low]: [u8; 2]) -> IpAddr {
    let net = net + 4 * cable;
    match family {
        Family::V4 => Ipv4Addr::new(10, net, high, low).into(),
        Family::V6 => {
            let host = u16::from_be_bytes([high, low]);
            Ipv6Addr::new(0xfd00, net.into(), 0, 0, 0, 0, 0, host).into()
        }
    }
}

fn mac(cable: u8, net: u8, host: u8) -> [u8; 6] {
    [2, 0, 0, 0, net + 4 * cable, host]
}

fn interfaces(cable: u8) -> [String; 2] {
    [format!("dut{}", 2 * cable), format!("dut{}", 2 * cable + 1)]
}
