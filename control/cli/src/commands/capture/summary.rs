//! A frame in a few words.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use etherparse::{LaxIpPayloadSlice, LaxNetSlice, LaxSlicedPacket, LinkSlice};
use sluice_core::address::Mac;
use sluice_core::ports::{SCTP, TCP, UDP};
use sluice_policy::explain::protocol_name;

/// Who sends what to whom, as far as the bytes tell: a frame may be cut short or malformed.
pub(super) fn of(bytes: &[u8]) -> String {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(bytes) else {
        return "no Ethernet header".to_owned();
    };
    match packet.net {
        Some(LaxNetSlice::Ipv4(it)) => {
            let header = it.header();
            ip(header.source_addr().into(), header.destination_addr().into(), it.payload())
        }
        Some(LaxNetSlice::Ipv6(it)) => {
            let header = it.header();
            ip(header.source_addr().into(), header.destination_addr().into(), it.payload())
        }
        Some(LaxNetSlice::Arp(it)) => {
            let ends = [it.sender_protocol_addr(), it.target_protocol_addr()];
            match ends.map(|bytes| <[u8; 4]>::try_from(bytes).map(Ipv4Addr::from)) {
                [Ok(sender), Ok(target)] => way("ARP", sender, target),
                _ => "ARP".to_owned(),
            }
        }
        None => match packet.link {
            Some(LinkSlice::Ethernet2(it)) => {
                let kind = format!("ethertype 0x{:04x}", it.ether_type().0);
                way(&kind, Mac(it.source()), Mac(it.destination()))
            }
            _ => "no Ethernet header".to_owned(),
        },
    }
}

fn ip(source: IpAddr, destination: IpAddr, payload: &LaxIpPayloadSlice<'_>) -> String {
    let protocol = payload.ip_number.0;
    let name = protocol_name(protocol);
    if payload.fragmented {
        return way(&format!("{name} fragment"), source, destination);
    }
    match payload.payload {
        &[a, b, c, d, ..] if [TCP, UDP, SCTP].contains(&protocol) => {
            let source = SocketAddr::new(source, u16::from_be_bytes([a, b]));
            let destination = SocketAddr::new(destination, u16::from_be_bytes([c, d]));
            way(&name, source, destination)
        }
        _ => way(&name, source, destination),
    }
}

fn way(what: &str, from: impl Display, to: impl Display) -> String {
    format!("{what} {from} > {to}")
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn ethernet() -> etherparse::PacketBuilderStep<etherparse::Ethernet2Header> {
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
    }

    #[test]
    fn each_kind_of_packet_in_its_words() {
        let mut frame = Vec::new();
        let v4 = ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        v4.tcp(1000, 443, 1, 1).write(&mut frame, b"hello").unwrap();
        assert_eq!(of(&frame), "TCP 10.0.0.1:1000 > 10.0.0.2:443");
        assert_eq!(of(&frame[..38]), "TCP 10.0.0.1:1000 > 10.0.0.2:443", "cut short");
        assert_eq!(of(&frame[..34]), "TCP 10.0.0.1 > 10.0.0.2");
        assert_eq!(of(&frame[..30]), "ethertype 0x0800 02:00:00:00:00:01 > 02:00:00:00:00:02");
        assert_eq!(of(&frame[..13]), "no Ethernet header");

        let mut fragment = frame.clone();
        fragment[20..22].copy_from_slice(&[0x20, 7]);
        assert_eq!(of(&fragment), "TCP fragment 10.0.0.1 > 10.0.0.2");

        let mut frame = Vec::new();
        let loopback = std::net::Ipv6Addr::LOCALHOST.octets();
        let v6 = ethernet().single_vlan(etherparse::VlanId::try_new(7).unwrap());
        v6.ipv6(loopback, [0xfd; 16], 64).udp(1, 53).write(&mut frame, &[]).unwrap();
        let destination = "[fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd]:53";
        assert_eq!(of(&frame), format!("UDP [::1]:1 > {destination}"));

        let mut frame = Vec::new();
        let v4 = ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        v4.icmpv4_echo_request(1, 1).write(&mut frame, &[]).unwrap();
        assert_eq!(of(&frame), "ICMP 10.0.0.1 > 10.0.0.2");

        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 1, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1]);
        frame.extend([10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 9]);
        assert_eq!(of(&frame), "ARP 10.0.0.1 > 10.0.0.9");
        frame[12..14].copy_from_slice(&[0x88, 0xcc]);
        assert_eq!(of(&frame), "ethertype 0x88cc 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff");
    }
}
