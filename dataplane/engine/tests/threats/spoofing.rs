//! Frames in somebody else's name, and frames that another part of the network would read
//! otherwise.

use sluice_core::address::Mac;
use sluice_core::drop::DropReason::*;

use crate::packets::{Arp, Packet, arp_request, neighbour, tcp, udp};
use crate::stage::Setting;
use crate::{At, tell};

tell!(
    case_43_addresses_of_others,
    case_44_macs_of_others,
    case_44_arp_in_the_name_of_others,
    case_45_neighbours_and_routers_that_are_none,
    case_45_dhcp_servers_that_are_none,
    case_46_vlans_of_others,
    case_47_two_tags,
    case_48_vlan_0_and_llc,
    case_48_a_priority_tag_is_taken_off_where_that_is_wanted,
    a_unicast_packet_in_a_broadcast_frame,
    what_is_for_somebody_here_does_not_leave,
    multicast_is_for_those_whose_policies_admit_it,
);

fn case_43_addresses_of_others(at: At) {
    let mut story = at.story("");
    for v6 in [false, true] {
        for whose in ["server", "other", "far", "node", "router", "stranger"] {
            let address = story.cast.address(whose, v6).to_string();
            let packet = udp("client:4000", "router:53").over(v6).source_address(&address);
            let to_pod = packet.clone().destination_mac(story.cast.mac("server"));
            let reason = if whose == "router" { Martian } else { SpoofedAddress };
            story.sends_all("client", [packet, to_pod]).dropped(reason);
        }
        // From outside nobody speaks as a pod that is here, or as the node.
        for whose in ["client", "other", "node"] {
            let address = story.cast.address(whose, v6).to_string();
            let packet = udp("router:4000", "server:53").over(v6).source_address(&address);
            story.sends("uplink", packet).dropped(SpoofedAddress);
        }
        story.sends("uplink", udp("far:4000", "server:53").over(v6)).reaches("server");
        story.sends("client", udp("client:4000", "server:53").over(v6)).reaches("server");
    }
    story.tracks(4);
}

fn case_44_macs_of_others(at: At) {
    let mut story = at.story("");
    let packet = || udp("client:4000", "server:53");
    for mac in [story.cast.mac("server"), story.cast.mac("router"), Mac::BROADCAST] {
        story.sends("client", packet().source_mac(mac)).dropped(SpoofedMac);
    }
    let from_outside = || udp("router:4000", "server:53");
    story.sends("uplink", from_outside().source_mac(Mac::BROADCAST)).dropped(SpoofedMac);
    // A pod's MAC cannot be drawn to the uplink.
    let stolen = story.cast.mac("client");
    story.sends("uplink", from_outside().source_mac(stolen)).dropped(SpoofedMac);
    story.sends("server", udp("server:53", "client:4000")).reaches("client");
}

fn case_44_arp_in_the_name_of_others(at: At) {
    let mut story = at.story("");
    let everybody = Mac::BROADCAST;
    let server_mac = story.cast.mac("server");
    let own = arp_request("client", "server");
    for whose in ["server", "other", "router", "node", "far"] {
        // Gratuitous, as a request and as a reply; and an answer to one alone.
        for (reply, to) in [(false, everybody), (true, everybody), (true, server_mac)] {
            let arp = Arp { reply, claims: whose, target: whose, to, ..own.clone() };
            story.sends("client", arp).dropped(SpoofedArp);
        }
    }
    for mac in [server_mac, story.cast.mac("router"), everybody] {
        story.sends("client", Arp { claims_mac: Some(mac), ..own.clone() }).dropped(SpoofedArp);
    }
    for whose in ["client", "node"] {
        let arp =
            Arp { reply: true, claims: whose, target: "server", ..arp_request("router", "server") };
        story.sends("uplink", arp).dropped(SpoofedArp);
    }
    // Its own address a pod may announce, and ask for others.
    story.sends("client", &own).reaches_all(&["server", "other", "uplink"]);
    let announcement = Arp { claims: "client", target: "client", ..own.clone() };
    story.sends("client", announcement).reaches_all(&["server", "other", "uplink"]);
    let answer =
        Arp { reply: true, to: story.cast.mac("client"), ..arp_request("server", "client") };
    story.sends("server", answer).reaches("client");
}

/// Router advertisement, without options.
const ADVERTISEMENT: [u8; 12] = [64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
const SOLICITED: [u8; 4] = [0x60, 0, 0, 0];

fn case_45_neighbours_and_routers_that_are_none(at: At) {
    let mut story = at.story("");
    let cast = story.cast;
    let target_option = |mac: Mac| [&[2, 1][..], &mac.0].concat();
    let answer = |whose: &str, mac: Mac| {
        [&SOLICITED[..], &cast.v6(whose).octets(), &target_option(mac)].concat()
    };
    let mac = cast.mac("client");
    for whose in ["server", "other", "router", "node", "far"] {
        let forged = neighbour("client", "server", 136, &answer(whose, mac));
        story.sends("client", forged).dropped(SpoofedNeighbour);
    }
    let foreign_mac = neighbour("client", "server", 136, &answer("client", cast.mac("other")));
    story.sends("client", foreign_mac).dropped(SpoofedNeighbour);
    let honest = || neighbour("client", "server", 136, &answer("client", mac));
    story.sends("client", honest().hop_limit(254)).dropped(SpoofedNeighbour);
    story.sends("client", honest()).reaches("server");

    let advertisement =
        |from| neighbour(from, "server", 134, &ADVERTISEMENT).source_address("fe80::1");
    story.sends("client", advertisement("client")).dropped(RogueRouter);
    let to_all = |packet: Packet| {
        packet.destination_address("ff02::1").destination_mac(Mac([0x33, 0x33, 0, 0, 0, 1]))
    };
    story.sends("client", to_all(advertisement("client"))).dropped(RogueRouter);
    let redirect = [[0; 4].as_slice(), &cast.v6("client").octets(), &cast.v6("router").octets()];
    let redirect = redirect.concat();
    story.sends("client", neighbour("client", "server", 137, &redirect)).dropped(RogueRouter);
    story.sends("uplink", neighbour("router", "server", 137, &redirect)).dropped(RogueRouter);

    // Routes of pods come from nowhere outside. What goes to all the gate gives to the node.
    story.sends("uplink", advertisement("router")).dropped(RogueRouter);
    if at != At::Veths {
        story.sends("uplink", to_all(advertisement("router"))).dropped(RogueRouter);
    }
    let global = neighbour("router", "server", 134, &ADVERTISEMENT);
    story.sends("uplink", global).dropped(RogueRouter);
    // From there come neighbours, but nobody who is here.
    for whose in ["client", "node"] {
        let forged = neighbour("router", "server", 136, &answer(whose, cast.mac("router")));
        story.sends("uplink", forged).dropped(SpoofedNeighbour);
    }
    let honest = neighbour("router", "server", 136, &answer("router", cast.mac("router")));
    story.sends("uplink", honest).reaches("server");
}

fn case_45_dhcp_servers_that_are_none(at: At) {
    let mut story = at.story("");
    let offer = || udp("client:67", "server:68");
    story.sends("client", offer()).dropped(RogueDhcp);
    let to_all = offer().destination_address("255.255.255.255").destination_mac(Mac::BROADCAST);
    story.sends("client", to_all).dropped(RogueDhcp);
    story.sends("client", udp("client:67", "server:67")).dropped(RogueDhcp);
    for port in [546, 547] {
        let advertisement = udp("client:547", &format!("server:{port}")).v6();
        story.sends("client", advertisement).dropped(RogueDhcp);
    }
    // Who asks is no server.
    story.sends("client", udp("client:68", "router:67")).reaches("uplink");
    story.sends("client", udp("client:546", "router:547").v6()).reaches("uplink");
    // And no server outside tells a pod its addresses.
    story.sends("uplink", udp("router:67", "client:68")).dropped(RogueDhcp);
    story.sends("uplink", udp("router:547", "client:546").v6()).dropped(RogueDhcp);
    let to_all = udp("router:67", "client:68").destination_address("255.255.255.255");
    story.sends("uplink", to_all.destination_mac(Mac::BROADCAST)).dropped(RogueDhcp);
}

fn case_46_vlans_of_others(at: At) {
    let mut story = at.story("");
    for vlan in [1, 5, 107, 4094, 4095] {
        let packet = tcp("client:4000", "server:80").tag(0x8100, vlan);
        story.sends("client", packet).dropped(ForeignVlan);
        let packet = tcp("stranger:4000", "server:80").tag(0x8100, vlan);
        story.sends("uplink", packet).dropped(ForeignVlan);
    }
    story.tracks(0);
}

fn case_47_two_tags(at: At) {
    let mut story = at.story("");
    for outer in [0, 1, 5] {
        for inner in [0, 5] {
            for protocol in [0x8100, 0x88a8] {
                let tagged = tcp("client:4000", "server:80").tag(0x8100, outer);
                let packet = tagged.tag(protocol, inner);
                story.sends("client", packet).dropped(StackedVlan);
            }
            let service = tcp("client:4000", "server:80").tag(0x88a8, outer).tag(0x8100, inner);
            story.sends("client", service).dropped(StackedVlan);
        }
        let service = tcp("stranger:4000", "server:80").tag(0x88a8, outer);
        story.sends("uplink", service).dropped(StackedVlan);
    }
    story.tracks(0);
}

/// The frame as one of IEEE 802.2: its length in place of the Ethertype, which SNAP then names.
fn snap(packet: Packet) -> Packet {
    packet.edit(|frame| {
        let at = if frame[12..14] == [0x81, 0] { 16 } else { 12 };
        let len = u16::try_from(frame.len() - at + 6).unwrap().to_be_bytes();
        frame.splice(at..at, [len[0], len[1], 0xaa, 0xaa, 3, 0, 0, 0]);
    })
}

fn case_48_vlan_0_and_llc(at: At) {
    let mut story = at.story("");
    let segment = || tcp("client:4000", "server:80");
    for v6 in [false, true] {
        story.sends("client", segment().over(v6).tag(0x8100, 0)).dropped(PriorityTag);
        let stack = segment().over(v6).tag(0x8100, 0).tag(0x8100, 0);
        story.sends("client", stack).dropped(StackedVlan);
        let stack = segment().over(v6).tag(0x8100, 0).tag(0x8100, 0).tag(0x8100, 5);
        story.sends("client", stack).dropped(StackedVlan);
        story.sends("client", snap(segment().over(v6))).dropped(Llc);
        story.sends("client", snap(segment().over(v6).tag(0x8100, 0))).dropped(Llc);
    }
    // A priority is no VLAN, and does not make one.
    story.sends("client", segment().tag(0x8100, 0xe000)).dropped(PriorityTag);
    story.tracks(0);
}

fn case_48_a_priority_tag_is_taken_off_where_that_is_wanted(at: At) {
    let setting = Setting { priority_tags: true, ..Setting::default() };
    let mut story = at.story_with(&setting, "client -> server tcp/80; others denied");
    let segment = || tcp("client:4000", "server:80");
    let bare = story.frame(segment());
    let tagged = segment().tag(0x8100, 0xe000);
    story.sends("client", tagged).reaches_as("server", vec![bare]);
    let denied = tcp("client:4000", "server:81").tag(0x8100, 0);
    story.sends("client", denied).dropped(IngressDenied);
    let stack = segment().tag(0x8100, 0).tag(0x8100, 0);
    story.sends("client", stack).dropped(StackedVlan);
    story.sends("client", snap(segment().tag(0x8100, 0))).dropped(Llc);
}

fn a_unicast_packet_in_a_broadcast_frame(at: At) {
    let mut story = at.story("client -> server; others denied");
    for mac in [Mac::BROADCAST, Mac([1, 0, 0x5e, 0, 0, 1])] {
        let packet = udp("client:4000", "server:80").destination_mac(mac);
        story.sends("client", packet).dropped(ForeignDestination);
        let segment = tcp("client:4000", "server:80").destination_mac(mac);
        story.sends("client", segment).dropped(ForeignDestination);
    }
    // And one to the server's MAC is for the server only.
    for to in ["client", "other", "router", "far"] {
        let packet = tcp("stranger:4000", &format!("{to}:80"));
        let packet = packet.destination_mac(story.cast.mac("server"));
        story.sends("uplink", packet).dropped(ForeignDestination);
    }
}

fn what_is_for_somebody_here_does_not_leave(at: At) {
    let mut story = at.story("");
    // By a router outside it would come back as if policy had nothing to say.
    for to in ["server:80", "node:80"] {
        let packet = tcp("client:4000", to).destination_mac(story.cast.mac("router"));
        story.sends("client", packet).dropped(ForeignDestination);
    }
    story.sends("client", tcp("client:4000", "far:80")).reaches("uplink");
}

fn multicast_is_for_those_whose_policies_admit_it(at: At) {
    let mut story = at.story("client -> server udp/5353; nobody -> other");
    let group = Mac([1, 0, 0x5e, 0, 0, 0xfb]);
    let query =
        |to: &str| udp("client:5353", to).destination_address("224.0.0.251").destination_mac(group);
    story.sends("client", query("server:5353")).reaches_all(&["server", "uplink"]);
    story.sends("client", query("server:5354")).reaches("uplink");
    let fragment = query("server:5353").data(&[7; 64]).piece(0, Some(24));
    story.sends("client", fragment).dropped(UnsupportedFragment);
}
