//! What must pass for connections to work, and what must not pass beside it.

use sluice_core::drop::DropReason::*;

use crate::packets::{Packet, opaque, ping, pong, sctp, too_big, udp};
use crate::stage::Setting;
use crate::talk::Talk;
use crate::{At, tell};

tell!(
    a_flood_of_answered_queries_locks_no_pod_out,
    a_router_tells_the_sender_that_a_packet_is_too_big,
    an_association_opens_and_ends_by_its_tags,
    other_protocols_are_answered,
);

fn a_flood_of_answered_queries_locks_no_pod_out(at: At) {
    let setting = Setting { connections: Some((128, 32)), ..Setting::default() };
    let rules = "stranger/32+client -> server; others denied";
    let mut story = at.story_with(&setting, rules);
    let mut talk = Talk::open(&mut story, "stranger:4000", "server:80");
    let (query, answer) = (udp("stranger:4001", "server:53"), udp("server:53", "stranger:4001"));
    for _ in 0..2 {
        story.sends("uplink", &query).reaches("server");
        story.sends("server", &answer).reaches("uplink");
    }
    // More than the share of the one pod that answers all of it.
    for n in 0..50 {
        let stranger = format!("stranger:{}", 10_000 + n);
        story.sends("uplink", udp(&stranger, "server:53")).reaches("server");
        story.sends("server", udp("server:53", &stranger)).reaches("uplink");
        story.sends("uplink", ping("stranger", "server", n)).reaches("server");
        story.sends("server", pong("server", "stranger", n)).reaches("uplink");
    }
    assert!(story.connections().len() <= 64, "a share of each worker");
    // What comes now has room, whoever opens it; and what was in use goes on.
    Talk::open(&mut story, "stranger:5000", "server:80").goes_on(&mut story);
    Talk::open(&mut story, "client:5000", "server:80").goes_on(&mut story);
    story.sends("server", udp("server:6000", "stranger:53")).reaches("uplink");
    story.sends("uplink", udp("stranger:53", "server:6000")).reaches("server");
    talk.goes_on(&mut story);
    story.sends("server", &answer).reaches("uplink");
    story.sends("uplink", &query).reaches("server");
}

fn a_router_tells_the_sender_that_a_packet_is_too_big(at: At) {
    let mut story = at.story("client => stranger/32 tcp/80,udp/53; others denied");
    for v6 in [false, true] {
        if v6 {
            story.rules("others denied");
        }
        let mut talk = Talk::new("client:4000", "stranger:80", v6);
        talk.shake_hands(&mut story);
        let long = talk.client_says("PA", &[7; 1000]);
        talk.client_sends(&mut story, &long);
        // Whichever router it was that could not pass it on.
        for router in ["router", "stranger", "node"] {
            let mac = story.cast.mac("router");
            if router == "node" {
                // From outside, this node's own address is a lie.
                let error = too_big("node", &long).source_mac(mac);
                story.sends("uplink", error).dropped(SpoofedAddress);
                continue;
            }
            story.sends("uplink", too_big(router, &long)).reaches("client");
            // Some quote no more than the eight bytes that RFC 792 asks for.
            let short_len = if v6 { 8 + 40 + 8 } else { 8 + 20 + 8 };
            let short = too_big(router, &long).edit_transport(move |icmp| icmp.truncate(short_len));
            story.sends("uplink", short).reaches("client");
            let shorter = move |icmp: &mut Vec<u8>| icmp.truncate(short_len - 1);
            let shorter = too_big(router, &long).edit_transport(shorter);
            story.sends("uplink", shorter).dropped(MalformedIcmp);
        }
        // A router has seen the packet; who has not must guess its number (RFC 5927, 4.1).
        let unsent = talk.clone().client_says("PA", &[7; 1000]).numbers(1 << 30, 0);
        story.sends("uplink", too_big("router", &unsent)).dropped(UnrelatedIcmp);
        let datagram = udp("client:4000", "stranger:53").over(v6);
        story.sends("client", &datagram).reaches("uplink");
        story.sends("uplink", too_big("router", &datagram)).reaches("client");
    }
    story.tracks(4);
}

fn an_association_opens_and_ends_by_its_tags(at: At) {
    let mut story = at.story("client -> server sctp/80; others denied");
    let (to, back) = (("client:4000", "server:80"), ("server:80", "client:4000"));
    let (client_tag, server_tag) = (0x1111_1111u32, 0x2222_2222u32);
    let initiation = |kind: u8, tag: u32| {
        [&[kind, 0, 0, 20][..], &tag.to_be_bytes(), &[0, 1, 0, 0, 0, 5, 0, 5, 0, 0, 0, 9]].concat()
    };
    let packet = |(from, to), tag, chunks: &[u8]| sctp(from, to, tag, chunks);
    let data = [0, 3, 0, 20, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, b'd', b'a', b't', b'a'];
    story.sends("client", packet(to, server_tag, &data)).dropped(NoConnection);
    story.sends("client", packet(to, 0, &initiation(1, client_tag))).reaches("server");
    story.sends("server", packet(back, client_tag, &initiation(2, server_tag))).reaches("client");
    story.sends("client", packet(to, server_tag, &[10, 0, 0, 8, 1, 2, 3, 4])).reaches("server");
    story.sends("server", packet(back, client_tag, &[11, 0, 0, 4])).reaches("client");
    story.sends("client", packet(to, server_tag, &data)).reaches("server");
    // Who does not know the tag can neither send nor end anything.
    let abort = [6, 0, 0, 4];
    for tag in [0, 1, client_tag] {
        story.sends("client", packet(to, tag, &data)).dropped(SctpMismatch);
        story.sends("client", packet(to, tag, &abort)).dropped(SctpMismatch);
    }
    story.sends("server", packet(back, client_tag, &abort)).reaches("client");
    story.tracks(1);
}

fn other_protocols_are_answered(at: At) {
    let mut story = at.story("client -> server; others denied");
    let packet = |from, to, v6| -> Packet { opaque(from, to, 47, b"\0\0\x88\xb5what?").over(v6) };
    for v6 in [false, true] {
        story.sends("server", packet("server", "client", v6)).dropped(IngressDenied);
        story.sends("client", packet("client", "server", v6)).reaches("server");
        story.sends("server", packet("server", "client", v6)).reaches("client");
    }
    story.tracks(2);
}
