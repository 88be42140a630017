//! ARP and neighbour discovery, which no policy judges: what hosts need passes, and nothing rides
//! with it.

use std::net::Ipv6Addr;

use sluice_core::address::Mac;
use sluice_core::drop::DropReason::*;

use crate::cast::Cast;
use crate::packets::{Arp, Build, Packet, arp_request, neighbour};
use crate::stage::Setting;
use crate::{At, tell};

tell!(
    resolution_passes_whatever_policy_says,
    resolution_carries_nothing_else,
    neighbour_discovery_goes_to_neighbours_only,
    resolution_beyond_its_rate_is_dropped,
);

const NOBODY: &str = "nobody -> client; nobody -> server; client => nobody; server => nobody";

/// A solicitation or advertisement that tells the sender's MAC.
fn message(cast: Cast, from: &str, to: &str, kind: u8, target: Ipv6Addr) -> Packet {
    let flags = if kind == 136 { [0x60, 0, 0, 0] } else { [0; 4] };
    let option = if kind == 136 { 2 } else { 1 };
    let rest = [&flags[..], &target.octets(), &[option, 1], &cast.mac(from).0].concat();
    neighbour(from, to, kind, &rest)
}

/// The same to a group.
fn to_group(packet: Packet, group: Ipv6Addr) -> Packet {
    let [.., a, b, c, d] = group.octets();
    packet.destination_address(&group.to_string()).destination_mac(Mac([0x33, 0x33, a, b, c, d]))
}

fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = target.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

/// With these options in place of its own.
fn with_options(packet: Packet, options: Vec<u8>) -> Packet {
    packet.edit_transport(move |icmp| {
        icmp.truncate(24);
        icmp.extend(&options);
    })
}

fn arp_to(cast: Cast, reply: bool, to: &'static str) -> Arp {
    Arp { reply, to: cast.mac(to), ..arp_request("client", to) }
}

fn resolution_passes_whatever_policy_says(at: At) {
    let mut story = at.story(NOBODY);
    let cast = story.cast;
    let (own, theirs) = (cast.v6("client"), cast.v6("server"));
    let everybody = ["server", "other", "uplink"];
    // Who has it? Is it still there? An answer, and an announcement.
    let ask = message(cast, "client", "server", 135, theirs);
    let asked = to_group(ask.clone(), solicited_node(theirs));
    story.sends("client", asked).reaches_all(&everybody);
    story.sends("client", &ask).reaches("server");
    let answer = message(cast, "server", "client", 136, theirs);
    story.sends("server", answer).reaches("client");
    let announcement = message(cast, "client", "server", 136, own);
    let announcement = to_group(announcement, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
    story.sends("client", announcement).reaches_all(&everybody);
    // Has nobody this address yet? With a nonce (RFC 7527).
    let probe = with_options(ask.clone(), vec![14, 1, 1, 2, 3, 4, 5, 6]);
    let probe = probe.edit_transport(move |icmp| icmp[8..24].copy_from_slice(&own.octets()));
    let probe = to_group(probe, solicited_node(own)).source_address("::");
    story.sends("client", probe).reaches_all(&everybody);
    // Which routers are there?
    let solicitation = neighbour("client", "router", 133, &[0; 4]);
    let solicitation = to_group(solicitation, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2));
    story.sends("client", solicitation).reaches_all(&everybody);
    // By the uplink, both ways.
    let router = message(cast, "client", "router", 135, cast.v6("router"));
    story.sends("uplink", message(cast, "router", "client", 135, own)).reaches("client");
    story.sends("client", router).reaches("uplink");
    story.sends("client", message(cast, "client", "router", 136, own)).reaches("uplink");
    // And ARP, as short as it is and as long as padding makes it.
    for padding in [0, 18, 22] {
        let padded = |arp: Arp| [arp.frame(cast), vec![0; padding]].concat();
        story.sends("client", padded(arp_request("client", "server"))).reaches_all(&everybody);
        story.sends("client", padded(arp_to(cast, false, "server"))).reaches("server");
        story.sends("client", padded(arp_to(cast, true, "server"))).reaches("server");
    }
    story.tracks(0);
}

fn resolution_carries_nothing_else(at: At) {
    let mut story = at.story(NOBODY);
    let cast = story.cast;
    for to in ["server", "router"] {
        let ask = || message(cast, "client", to, 135, cast.v6(to));
        let answer = || message(cast, "client", to, 136, cast.v6("client"));
        let secret = |kind: u8| [&[kind, 128][..], &[0x42; 1022]].concat();
        for kind in [0, 1, 2, 3, 4, 5, 14, 24, 25, 31, 37, 38, 200, 253] {
            story.sends("client", with_options(ask(), secret(kind))).dropped(MalformedIcmp);
            story.sends("client", with_options(answer(), secret(kind))).dropped(MalformedIcmp);
        }
        let nonce = [14, 1, 0x42, 0x42, 0x42, 0x42, 0x42, 0x42];
        let nonces = nonce.repeat(100);
        story.sends("client", with_options(ask(), nonces)).dropped(MalformedIcmp);
        let coded = ask().edit_transport(|icmp| icmp[1] = 7);
        story.sends("client", coded).dropped(MalformedIcmp);
        // Before it, and behind its end.
        for protocol in [0, 60] {
            let data = [&[0, 12, 30, 98][..], &[0x42; 100]].concat();
            let behind = ask().extension(protocol, &data);
            story.sends("client", behind).dropped(ExtensionHeaders);
        }
        story.sends("client", ask().padding(1000)).dropped(MalformedIcmp);
        for len in [51, 1442] {
            let mut arp = arp_to(cast, false, to).frame(cast);
            arp.resize(14 + len, 0x42);
            story.sends("client", arp).dropped(MalformedArp);
        }
    }
    // Nor from outside.
    let ask = message(cast, "router", "server", 135, cast.v6("server"));
    let long = with_options(ask, [&[200, 128][..], &[0x42; 1022]].concat());
    story.sends("uplink", long).dropped(MalformedIcmp);
}

fn neighbour_discovery_goes_to_neighbours_only(at: At) {
    let mut story = at.story("");
    let cast = story.cast;
    let mac = cast.mac("server");
    // Asked about somebody else than it goes to.
    for target in ["other", "router", "client"] {
        let ask = message(cast, "client", "server", 135, cast.v6(target));
        story.sends("client", ask).dropped(ForeignDestination);
    }
    let ask = || message(cast, "client", "server", 135, cast.v6("server"));
    for group in ["ff02::1", "ff02::2", "ff02::1:ff00:77", "ff05::2"] {
        let packet = to_group(ask(), group.parse().unwrap());
        story.sends("client", packet).dropped(ForeignDestination);
    }
    // To another's MAC, in everybody's frame, and by the uplink to somebody here.
    for from in ["client", "uplink"] {
        let sender = if from == "uplink" { "router" } else { from };
        let astray = message(cast, sender, "other", 135, cast.v6("other"));
        story.sends(from, astray.clone().destination_mac(mac)).dropped(ForeignDestination);
        if from == "client" || at != At::Veths {
            let broadcast = astray.destination_mac(Mac::BROADCAST);
            story.sends(from, broadcast).dropped(ForeignDestination);
        }
    }
    let answer = message(cast, "client", "other", 136, cast.v6("client"));
    story.sends("client", answer.destination_mac(mac)).dropped(ForeignDestination);
    let around = ask().destination_mac(cast.mac("router"));
    story
        .sends("uplink", message(cast, "router", "client", 135, cast.v6("client")))
        .reaches("client");
    story.sends("client", around).dropped(ForeignDestination);
}

fn resolution_beyond_its_rate_is_dropped(at: At) {
    // A stage of its own, since the bucket is empty afterwards.
    let setting = Setting { datagrams: Some(77), ..Setting::default() };
    let mut story = at.story_with(&setting, NOBODY);
    let cast = story.cast;
    let (mut arrived, mut limited) = (0, 0);
    for _ in 0..5 {
        let ask = message(cast, "client", "server", 135, cast.v6("server"));
        let asked = story.sends_all("client", vec![ask; 150]).turn_out("server", &[FloodLimited]);
        let arp = vec![arp_to(cast, false, "server"); 150];
        let arps = story.sends_all("client", arp).turn_out("server", &[FloodLimited]);
        arrived += asked.arrived + arps.arrived;
        limited += asked.dropped[0] + arps.dropped[0];
    }
    assert_eq!(arrived + limited, 1500);
    assert!(arrived >= 1000, "{arrived}");
    if at != At::Veths {
        assert_eq!(limited, 500, "time stands still");
    }
    // Others have buckets of their own.
    let answer = message(cast, "server", "client", 136, cast.v6("server"));
    story.sends("server", answer).reaches("client");
}
