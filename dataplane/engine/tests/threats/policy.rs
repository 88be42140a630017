//! What rules come to on the path of packets.

use std::collections::BTreeMap;

use sluice_core::drop::DropReason::*;
use sluice_core::table::Table;

use crate::packets::{Build, arp_request, opaque, ping, pong, tcp, udp};
use crate::rules;
use crate::stage::{RED_VLAN, Setting};
use crate::story::Story;
use crate::talk::Talk;
use crate::{At, tell};

tell!(
    case_32_rules_that_change_under_load,
    case_33_a_broad_denial_and_a_narrow_permission,
    case_34_more_rules_than_16_bits_count,
    case_35_no_peers_are_nobody_and_all_peers_everybody,
    case_36_blocks_behind_the_first,
    case_37_ports_at_the_borders,
    case_38_a_pod_that_claims_to_be_another,
    case_39_flows_whose_hashes_collide,
    case_40_five_tuples_without_end,
    case_41_a_pod_that_the_rules_do_not_know,
    case_41_nothing_before_the_first_rules,
    case_42_equal_addresses_of_two_tenants,
    an_echo_is_judged_like_any_other,
);

/// Datagrams of one flow: half are sent while the rules change, half once they have.
const LOAD: u32 = 24;
const FLOWS: std::ops::Range<u16> = 4000..4012;

fn case_32_rules_that_change_under_load(at: At) {
    let (open, closed) = ("client -> server udp/53; others denied", "others denied");
    let mut story = at.story(closed);
    for round in 0..10 {
        let opens = round % 2 == 0;
        let arrived = load_while(&mut story, if opens { open } else { closed });
        for port in FLOWS {
            let numbers = arrived.get(&port).cloned().unwrap_or_default();
            let count = u32::try_from(numbers.len()).unwrap();
            // A flow belongs to one worker, and no worker goes back to the rules before: what is
            // sent once the change is confirmed passes or not, and before it something may, up to
            // a point or from one on.
            let (wanted, fits) = if opens {
                (LOAD - count..LOAD, count >= LOAD / 2)
            } else {
                (0..count, count <= LOAD / 2)
            };
            assert!(
                fits && wanted.eq(numbers.iter().copied()),
                "round {round}, {port}: {numbers:?}"
            );
        }
    }
}

/// Sends the load while rules change. Returns the numbers of the datagrams that have arrived, by
/// flow, in order.
fn load_while(story: &mut Story, rules: &str) -> BTreeMap<u16, Vec<u32>> {
    let cast = story.cast;
    let frames = |numbers: std::ops::Range<u32>| -> Vec<Vec<u8>> {
        let all = numbers.flat_map(|number| FLOWS.map(move |port| (number, port)));
        all.map(|(number, port)| {
            let packet = udp(&format!("client:{port}"), "server:53").data(&number.to_be_bytes());
            packet.frame(cast)
        })
        .collect()
    };
    let (before, after) = (frames(0..LOAD / 2), frames(LOAD / 2..LOAD));
    let table = rules::table(rules, cast);
    let count = (before.len() + after.len()) as u64;
    let arrived = story.freely(count, |stage| {
        let next = stage.engine().table().revision() + 1;
        stage.publish_amid(table.with_revision(next), "client", &before);
        after.iter().for_each(|frame| stage.send("client", frame));
    });
    let mut numbers: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
    for frame in &arrived["server"] {
        let port = u16::from_be_bytes([frame[34], frame[35]]);
        let number = u32::from_be_bytes(frame[42..46].try_into().unwrap());
        numbers.entry(port).or_default().push(number);
    }
    numbers
}

fn case_33_a_broad_denial_and_a_narrow_permission(at: At) {
    // Within a tier the first rule that matches decides, however narrow a later one is.
    let mut story =
        at.story("admin deny router/8 -> server; admin accept router/32 -> server tcp/80");
    story.sends("uplink", tcp("router:4000", "server:80")).dropped(IngressDenied);
    story.rules("admin accept router/32 -> server tcp/80; admin deny router/8 -> server");
    story.sends("uplink", tcp("router:4000", "server:80")).reaches("server");
    story.sends("uplink", tcp("router:4000", "server:81")).dropped(IngressDenied);
    story.sends("uplink", tcp("stranger:4000", "server:80")).dropped(IngressDenied);
    // What another tier allows does not matter any more.
    story
        .rules("admin deny router/8 -> server; router/32 -> server; baseline accept all -> server");
    story.sends("uplink", tcp("router:4001", "server:80")).dropped(IngressDenied);
    // Unless the denial passes it on.
    story.rules(
        "admin pass router/32 -> server; admin deny router/8 -> server; router/32 -> server",
    );
    story.sends("uplink", tcp("router:4002", "server:80")).reaches("server");
    story.sends("uplink", tcp("stranger:4002", "server:80")).dropped(IngressDenied);
    // In the baseline tier it is the same, for pods that no NetworkPolicy selects.
    story.rules("baseline deny router/8 -> server; baseline accept router/32 -> server");
    story.sends("uplink", tcp("router:4003", "server:80")).dropped(IngressDenied);
}

fn case_34_more_rules_than_16_bits_count(at: At) {
    let mut story = at.story("");
    let many = "admin accept other -> server udp/9;".repeat(1 << 16);
    let permission = "admin accept client -> server tcp/80;";
    let denial = "admin deny all -> server tcp/80;";
    // A rank cut to 16 bits would put the last rule of each before the first.
    story.rules(&[denial, &many, permission].concat());
    story.sends("client", tcp("client:4000", "server:80")).dropped(IngressDenied);
    story.rules(&[&many, permission, denial].concat());
    story.sends("client", tcp("client:4000", "server:80")).reaches("server");
    story.sends("other", tcp("other:4000", "server:80")).dropped(IngressDenied);
}

fn case_35_no_peers_are_nobody_and_all_peers_everybody(at: At) {
    let mut story = at.story("nobody -> server; client => nobody");
    story.sends("other", tcp("other:4000", "server:80")).dropped(IngressDenied);
    story.sends("uplink", tcp("stranger:4000", "server:80")).dropped(IngressDenied);
    story.sends("client", tcp("client:4000", "other:80")).dropped(EgressDenied);
    story.rules("all -> server");
    for (port, from) in
        [("client", "client"), ("other", "other"), ("uplink", "far"), ("uplink", "stranger")]
    {
        for v6 in [false, true] {
            let segment = tcp(&format!("{from}:4000"), "server:80").over(v6);
            story.sends(port, segment).reaches("server");
        }
    }
    // All pods are everybody who is a pod, and nobody else.
    story.rules("pods -> server");
    story.sends("uplink", tcp("far:4001", "server:80")).reaches("server");
    story.sends("uplink", tcp("stranger:4001", "server:80")).dropped(IngressDenied);
    story.rules("client => nobody+other tcp/80");
    story.sends("client", tcp("client:4001", "other:80")).reaches("other");
    story.sends("client", tcp("client:4001", "server:80")).dropped(EgressDenied);
}

fn case_36_blocks_behind_the_first(at: At) {
    let mut story = at.story("far/32+router/32+client/32 -> server tcp/80");
    story.sends("uplink", tcp("far:4000", "server:80")).reaches("server");
    story.sends("uplink", tcp("router:4000", "server:80")).reaches("server");
    story.sends("client", tcp("client:4000", "server:80")).reaches("server");
    story.sends("uplink", tcp("stranger:4000", "server:80")).dropped(IngressDenied);
    // So are the holes behind the first, each in its own block only.
    story.rules("router/8!far/32!router/32!client/32 -> server; router/32 -> server tcp/80");
    story.sends("uplink", tcp("stranger:4001", "server:80")).reaches("server");
    story.sends("uplink", tcp("far:4001", "server:80")).dropped(IngressDenied);
    story.sends("client", tcp("client:4001", "server:80")).dropped(IngressDenied);
    story.sends("uplink", tcp("router:4001", "server:81")).dropped(IngressDenied);
    story.sends("uplink", tcp("router:4001", "server:80")).reaches("server");
}

fn case_37_ports_at_the_borders(at: At) {
    let mut story = at.story("client -> server tcp/1-1,tcp/100-200,tcp/65535-65535,udp/0-0");
    for port in [0, 2, 99, 201, 65534] {
        let segment = tcp("client:4000", &format!("server:{port}"));
        story.sends("client", segment).dropped(IngressDenied);
    }
    for port in [1, 100, 101, 200, 65535] {
        let segment = tcp("client:4000", &format!("server:{port}"));
        story.sends("client", segment).reaches("server");
    }
    story.sends("client", udp("client:4000", "server:0")).reaches("server");
    story.sends("client", udp("client:4000", "server:1")).dropped(IngressDenied);
    story.rules("client -> server tcp/0-65535");
    story.sends("client", tcp("client:4001", "server:0")).reaches("server");
    story.sends("client", tcp("client:4001", "server:65535")).reaches("server");
    story.sends("client", udp("client:4001", "server:80")).dropped(IngressDenied);
}

fn case_38_a_pod_that_claims_to_be_another(at: At) {
    let mut story = at.story("client -> server tcp/80; others denied");
    // Who a pod is follows from the port that it sends by, and from nothing that it says.
    for v6 in [false, true] {
        let segment = tcp("other:4000", "server:80").over(v6);
        story.sends("other", segment.clone()).dropped(IngressDenied);
        let address = story.cast.address("client", v6).to_string();
        let claim = segment.source_address(&address);
        story.sends("other", claim.clone()).dropped(SpoofedAddress);
        let claim = claim.source_mac(story.cast.mac("client"));
        story.sends("other", claim.clone()).dropped(SpoofedMac);
        story.sends("uplink", claim.source_mac(story.cast.mac("router"))).dropped(SpoofedAddress);
    }
    story.tracks(0);
}

fn case_39_flows_whose_hashes_collide(at: At) {
    // A table of sixteen has so few chains that many flows meet in each.
    let setting = Setting { connections: Some((16, 16)), ..Setting::default() };
    let mut story = at.story_with(&setting, "client -> server; others denied");
    let known: Vec<u16> = (4000..4006).collect();
    for port in &known {
        story.sends("client", udp(&format!("client:{port}"), "server:53")).reaches("server");
    }
    for port in 3000..3200 {
        let client = format!("client:{port}");
        story.sends("server", udp("server:53", &client)).dropped(IngressDenied);
        let answer = tcp("server:53", &client).flags("SA");
        story.sends("server", answer).dropped(NoConnection);
    }
    for port in &known {
        let client = format!("client:{port}");
        // The same ports under another protocol are another flow, and so are others' addresses.
        story.sends("server", tcp("server:53", &client)).dropped(IngressDenied);
        story.sends("other", udp("other:53", &client)).dropped(IngressDenied);
        story.sends("server", udp("server:53", &client)).reaches("client");
    }
    story.tracks(6);
}

fn case_40_five_tuples_without_end(at: At) {
    let setting = Setting { connections: Some((512, 128)), ..Setting::default() };
    let mut story = at.story_with(&setting, "client+other -> server; others denied");
    let mut talk = Talk::open(&mut story, "client:4000", "server:80");
    for round in 0..20u32 {
        // Every field that the attacker may choose differs.
        let flood = (0..100).map(|n| {
            let n = round * 100 + n;
            let (from, to) = (format!("other:{}", 1024 + n * 17), format!("server:{}", n * 31));
            match n % 4 {
                0 => udp(&from, &to),
                1 => tcp(&from, &to).v6(),
                2 => ping("other", "server", u16::try_from(n).unwrap()),
                _ => opaque("other", "server", 200 + u8::try_from(n % 50).unwrap(), b"x").v6(),
            }
        });
        let outcome = story.sends_all("other", flood).turn_out("server", &[]);
        assert_eq!(outcome.arrived, 100, "newcomers take the places of their own like");
        assert!(story.connections().len() <= 129);
        talk.goes_on(&mut story);
    }
    // However much waits, a worker takes no more than four batches of it a turn.
    if at == At::Memory(1) {
        let flood: Vec<Vec<u8>> =
            (0..300).map(|port| story.frame(udp(&format!("other:{port}"), "server:9"))).collect();
        story.freely(300, |stage| {
            flood.iter().for_each(|frame| stage.send("other", frame));
            assert_eq!(stage.turn_once(), Some(256));
        });
    }
}

fn case_41_a_pod_that_the_rules_do_not_know(at: At) {
    let mut story = at.story("");
    for v6 in [false, true] {
        for to in ["server:80", "router:80"] {
            let segment = tcp("stray:4000", to).over(v6);
            story.sends("stray", segment).dropped(UnknownEndpoint);
        }
        let segment = tcp("server:4000", "stray:80").over(v6);
        story.sends("server", segment).dropped(UnknownEndpoint);
        let segment = tcp("stranger:4000", "stray:80").over(v6);
        story.sends("uplink", segment).dropped(UnknownEndpoint);
    }
    story.sends("stray", arp_request("stray", "server")).dropped(UnknownEndpoint);
    story.tracks(0);
}

fn case_41_nothing_before_the_first_rules(at: At) {
    let mut story = at.story("");
    story.publish(Table::empty());
    for pod in ["client", "server", "other"] {
        let to = if pod == "client" { "server" } else { "client" };
        story.sends(pod, tcp(&format!("{pod}:4000"), &format!("{to}:80"))).dropped(UnknownEndpoint);
        story.sends("uplink", ping("router", pod, 3)).dropped(UnknownEndpoint);
    }
    story.tracks(0);
}

fn case_42_equal_addresses_of_two_tenants(at: At) {
    let setting = Setting { has_tenants: true, ..Setting::default() };
    let mut story = at.story_with(&setting, "client -> server tcp/80; others denied");
    // `other` and `stray` have the addresses of `client` and `server`, on a network of their own.
    let mut talk = Talk::open(&mut story, "client:4000", "server:80");
    assert_eq!(story.cast.v4("client"), story.cast.v4("other"));
    for flags in ["S", "PA", "FA", "R"] {
        let segment = tcp("other:4000", "stray:80").flags(flags).numbers(10_001, 90_001);
        let reason = if flags == "S" { IngressDenied } else { NoConnection };
        story.sends("other", segment).dropped(reason);
        let back = tcp("stray:80", "other:4000").flags(flags).numbers(90_001, 10_001);
        story.sends("stray", back).dropped(reason);
    }
    talk.goes_on(&mut story);
    story.rules("client -> server tcp/80; other -> stray tcp/80; others denied");
    let mut second = Talk::open(&mut story, "other:4000", "stray:80");
    talk.goes_on(&mut story);
    second.goes_on(&mut story);
    story.tracks(2);
    // Neither is there for the other's MAC, nor by the other's tag.
    let across = tcp("client:4001", "server:80").destination_mac(story.cast.mac("stray"));
    story.sends("client", across).dropped(ForeignDestination);
    let tagged = tcp("client:4001", "server:80").tag(0x8100, RED_VLAN);
    story.sends("client", tagged).dropped(ForeignVlan);

    // On the uplink the tag alone tells them apart.
    story.rules("all -> server tcp/80; others denied");
    let segment = tcp("stranger:4000", "server:80");
    story.sends("uplink", &segment).reaches("server");
    let red = segment.tag(0x8100, RED_VLAN).destination_mac(story.cast.mac("stray"));
    story.sends("uplink", &red).dropped(IngressDenied);
    story.rules("all -> stray tcp/80; others denied");
    let bare = tcp("stranger:4000", "stray:80");
    let bare = story.frame(bare);
    story.sends("uplink", &red).reaches_as("stray", vec![bare]);
    let answer = tcp("stray:80", "stranger:4000").flags("SA").numbers(1, 1001);
    let tagged = story.frame(answer.clone().tag(0x8100, RED_VLAN));
    story.sends("stray", answer).reaches_as("uplink", vec![tagged]);
}

fn an_echo_is_judged_like_any_other(at: At) {
    let mut story = at.story("client -> server; other -> server tcp/0-65535; others denied");
    for v6 in [false, true] {
        story.sends("client", ping("client", "server", 1).over(v6)).reaches("server");
        story.sends("other", ping("other", "server", 1).over(v6)).dropped(IngressDenied);
        story.sends("uplink", ping("stranger", "server", 1).over(v6)).dropped(IngressDenied);
    }
    story.rules("client => server tcp/80");
    story.sends("client", ping("client", "server", 2)).dropped(EgressDenied);
    story.rules("client -> server");
    story.sends("client", ping("client", "server", 2)).reaches("server");
    story.sends("server", pong("server", "client", 2)).reaches("client");
}
