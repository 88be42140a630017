//! Neighbour discovery: what a pod, and what anybody else, may say to whom.

use super::*;
use crate::ports::ICMPV6;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OWN: &str = "fd00::1";
const OTHER: &str = "fd00::12:3456";
const GROUP: &str = "ff02::1:ff12:3456";
const ROUTER: &str = "fe80::99";

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn message(icmp_type: u8, from: &str, to: &str, target: &str) -> Ip {
    let target = target.parse().unwrap();
    let neighbour = Neighbour { icmp_type, target, link_address: None };
    Ip {
        source: address(from),
        destination: address(to),
        hop_limit: 255,
        protocol: ICMPV6,
        transport_offset: 54,
        transport_len: 24,
        fragment: None,
        transport: Transport::Neighbour(neighbour),
    }
}

fn from_pod(icmp_type: u8, from: &str, to: &str, target: &str) -> Result<(), DropReason> {
    pod_ip(&message(icmp_type, from, to, target), MAC, |it| it == address(OWN))
}

/// From a port that is no pod's, where `OWN` is the address of a pod here.
fn from_other(icmp_type: u8, from: &str, target: &str) -> Result<(), DropReason> {
    other_ip(&message(icmp_type, from, OTHER, target), |it| it != address(OWN))
}

#[test]
fn what_hosts_say_to_their_neighbours_passes() {
    let link_local = link_local_of(MAC).to_string();
    for from in [OWN, link_local.as_str()] {
        assert_eq!(from_pod(135, from, GROUP, OTHER), Ok(()), "who has it?");
        assert_eq!(from_pod(135, from, OTHER, OTHER), Ok(()), "is it still there?");
        assert_eq!(from_pod(135, from, ROUTER, ROUTER), Ok(()), "is the router?");
        assert_eq!(from_pod(136, from, OTHER, OWN), Ok(()), "an answer");
        assert_eq!(from_pod(136, from, ROUTER, &link_local), Ok(()), "an answer");
        assert_eq!(from_pod(136, from, "ff02::1", OWN), Ok(()), "an announcement");
        assert_eq!(from_pod(133, from, "ff02::2", "::"), Ok(()));
        assert_eq!(from_pod(133, from, ROUTER, "::"), Ok(()));
    }
    assert_eq!(from_pod(135, "::", "ff02::1:ff00:1", OWN), Ok(()), "has nobody it yet?");
    assert_eq!(from_pod(133, "::", "ff02::2", "::"), Ok(()));
}

#[test]
fn neighbour_discovery_of_a_pod_goes_nowhere_else() {
    let nowhere = Err(DropReason::ForeignDestination);
    for to in [OTHER, ROUTER, "ff02::1", "ff02::2", "ff02::1:ff00:1", "ff05::1", "10.0.0.1"] {
        assert_eq!(from_pod(135, OWN, to, "fd00::77:7777"), nowhere, "{to}");
    }
    for to in ["ff02::2", GROUP, "ff0e::1"] {
        assert_eq!(from_pod(136, OWN, to, OWN), nowhere, "{to}");
    }
    for to in ["ff02::1", OTHER, GROUP] {
        assert_eq!(from_pod(133, OWN, to, "::"), nowhere, "{to}");
    }
    // Nobody could answer the unspecified address alone.
    assert_eq!(from_pod(135, "::", OTHER, OTHER), nowhere);
    assert_eq!(from_pod(136, "::", OTHER, OWN), nowhere);
    assert_eq!(from_pod(133, "::", ROUTER, "::"), nowhere);
}

#[test]
fn routers_outside_speak_from_link_local_addresses() {
    assert_eq!(from_other(134, ROUTER, "::"), Ok(()));
    for from in ["fd00::9", OWN, "::"] {
        assert_eq!(from_other(134, from, "::"), Err(DropReason::RogueRouter), "{from}");
    }
    assert_eq!(from_other(137, ROUTER, "fd00::9"), Err(DropReason::RogueRouter));
}

#[test]
fn nobody_outside_asks_or_answers_as_a_pod() {
    let spoofed = Err(DropReason::SpoofedNeighbour);
    for icmp_type in [133, 135, 136] {
        assert_eq!(from_other(icmp_type, "fd00::9", "fd00::9"), Ok(()));
        assert_eq!(from_other(icmp_type, OWN, "fd00::9"), spoofed, "{icmp_type}");
    }
    assert_eq!(from_other(136, "fd00::9", OWN), spoofed);
    assert_eq!(from_other(135, "fd00::9", OWN), Ok(()), "it is asked for");
}
