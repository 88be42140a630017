//! What access lists come to on the path of packets.

use sluice_core::address::Mac;
use sluice_core::drop::DropReason::*;

use crate::packets::{ping, pong, tcp, udp};
use crate::stage::Setting;
use crate::talk::Talk;
use crate::{At, tell};

tell!(
    a_list_denies_before_policies_and_opens_nothing,
    a_list_ends_with_the_first_rule_that_matches,
    replies_ride_on_what_a_list_has_let_pass,
    a_list_judges_echoes_datagrams_in_parts_and_groups,
    a_list_asks_where_a_packet_comes_from,
    a_list_that_changes_judges_connections_anew,
    kept_connections_outlive_a_list,
);

fn a_list_denies_before_policies_and_opens_nothing(at: At) {
    let mut story = at.story(
        "list deny client/32 -> server/32 tcp/80; list deny client/v6 -> all tcp/81; \
         list allow all -> server/32; admin accept all -> server; others denied",
    );
    // Even what the Admin tier accepts; of the family that the rule names, and no other.
    for (v6, denied, passes) in [(false, 80, 81), (true, 81, 80)] {
        let to = |port: u16| tcp("client:4000", &format!("server:{port}")).over(v6);
        story.sends("client", to(denied)).dropped(AccessDenied);
        story.sends("client", to(passes)).reaches("server");
    }
    story.tracks(2);
    story.sends("other", tcp("other:4000", "server:80")).reaches("server");
    // From outside and to the outside, too.
    story.rules("list deny stranger/24 -> all; list deny all -> router/24; list allow all -> all");
    story.sends("uplink", tcp("stranger:4000", "server:80")).dropped(AccessDenied);
    story.sends("client", udp("client:4000", "router:53")).dropped(AccessDenied);
    story.sends("uplink", tcp("far:4000", "server:80")).reaches("server");
    // What a list allows, policies still deny.
    story.rules("list allow all -> all; client => nobody; others denied");
    story.sends("client", tcp("client:4001", "server:80")).dropped(EgressDenied);
    story.sends("other", tcp("other:4001", "server:80")).dropped(IngressDenied);
}

fn a_list_ends_with_the_first_rule_that_matches(at: At) {
    let (permission, denial) =
        ("list allow client/32 -> server/32 tcp/80;", "list deny all -> server/24 tcp/80-90;");
    let mut story = at.story(&[permission, denial].concat());
    story.sends("client", tcp("client:4000", "server:80")).reaches("server");
    story.sends("client", tcp("client:4000", "server:81")).dropped(AccessDenied);
    story.sends("other", tcp("other:4000", "server:80")).dropped(AccessDenied);
    story.sends("client", tcp("client:4000", "server:91")).reaches("server");
    story.sends("client", udp("client:4000", "server:80")).reaches("server");
    // However narrow a later rule is.
    story.rules(&[denial, permission].concat());
    story.sends("client", tcp("client:4001", "server:80")).dropped(AccessDenied);
}

fn replies_ride_on_what_a_list_has_let_pass(at: At) {
    // The server may begin nothing.
    let mut story = at.story("list deny server/32 -> all; list deny server/v6 -> all");
    for v6 in [false, true] {
        let mut talk = Talk::new("client:4000", "server:80", v6);
        talk.shake_hands(&mut story);
        talk.goes_on(&mut story);
        story.sends("client", ping("client", "server", 1).over(v6)).reaches("server");
        story.sends("server", pong("server", "client", 1).over(v6)).reaches("client");
        // Against the direction of what passes it is another connection.
        story.sends("server", tcp("server:80", "client:4000").over(v6)).dropped(AccessDenied);
        story.sends("server", ping("server", "client", 1).over(v6)).dropped(AccessDenied);
        talk.goes_on(&mut story);
    }
}

fn a_list_judges_echoes_datagrams_in_parts_and_groups(at: At) {
    // A rule with ports means no packet without, though it names all of them.
    let mut story = at.story("list deny all -> all any");
    story.sends("client", udp("client:4000", "server:53")).dropped(AccessDenied);
    story.sends("client", ping("client", "server", 1)).reaches("server");
    story.rules("list deny client/32 -> all icmp; list deny client/v6 -> all icmp6");
    for v6 in [false, true] {
        story.sends("client", ping("client", "server", 2).over(v6)).dropped(AccessDenied);
        story.sends("other", ping("other", "server", 2).over(v6)).reaches("server");
    }
    // The first part has the ports; the others share its fate.
    story.rules("list deny client/32 -> server/32 udp/53");
    let datagram = |to: &str| udp("client:4000", to).data(&[7; 60]);
    let pieces = datagram("server:53").id(1).pieces(&[24]);
    story.sends("client", &pieces[0]).dropped(AccessDenied);
    story.sends("client", &pieces[1]).dropped(FragmentOfDropped);
    let pieces = datagram("server:54").id(2).pieces(&[24]);
    story.sends("client", &pieces[0]).reaches("server");
    story.sends("client", &pieces[1]).reaches("server");
    // A packet to a group is judged once, as its sender's.
    let group = Mac([1, 0, 0x5e, 0, 0, 0xfb]);
    let query = |port: u16| {
        let query = udp("client:5353", &format!("server:{port}"));
        query.destination_address("224.0.0.251").destination_mac(group)
    };
    story.rules("list deny client/32 -> all udp/5353; nobody -> other");
    story.sends("client", query(5353)).dropped(AccessDenied);
    story.sends("client", query(5354)).reaches_all(&["server", "uplink"]);
}

fn a_list_asks_where_a_packet_comes_from(at: At) {
    // Answers of time servers that nobody has asked, as reflectors send them.
    let mut story =
        at.story("list allow router/32 -> all from udp/123; list deny all -> all from udp/123");
    for v6 in [false, true] {
        let answer = |from: &str, port: u16| udp(&format!("{from}:{port}"), "server:4000").over(v6);
        story.sends("uplink", answer("stranger", 123)).dropped(AccessDenied);
        story.sends("uplink", answer("stranger", 124)).reaches("server");
        // One that was asked for is a reply.
        story.sends("server", udp("server:4001", "stranger:123").over(v6)).reaches("uplink");
        story.sends("uplink", udp("stranger:123", "server:4001").over(v6)).reaches("server");
    }
    story.sends("uplink", udp("router:123", "server:4000")).reaches("server");
}

fn a_list_that_changes_judges_connections_anew(at: At) {
    let mut story = at.story("list deny all -> server/32 tcp/81");
    let mut talk = Talk::open(&mut story, "client:4000", "server:80");
    story.rules("list deny all -> server/32 tcp/81-82");
    talk.goes_on(&mut story);
    // The very next packet, from whichever end it comes.
    story.rules("list deny client/32 -> server/32 tcp/80");
    let answer = talk.server_says("PA", b"too late");
    story.sends("server", answer).dropped(AccessDenied);
    story.tracks(0);
    story.sends("client", talk.client_says("PA", b"hello?")).dropped(NoConnection);
    story.sends("client", tcp("client:4000", "server:80")).dropped(AccessDenied);
    story.rules("");
    Talk::open(&mut story, "client:4001", "server:80").goes_on(&mut story);
}

fn kept_connections_outlive_a_list(at: At) {
    let setting = Setting { keep: true, ..Setting::default() };
    let mut story = at.story_with(&setting, "");
    let mut talk = Talk::open(&mut story, "client:4000", "server:80");
    story.rules("list deny all -> server/32 tcp/80");
    talk.goes_on(&mut story);
    story.sends("client", tcp("client:4001", "server:80")).dropped(AccessDenied);
    talk.goes_on(&mut story);
}
