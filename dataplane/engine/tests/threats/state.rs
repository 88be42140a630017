//! Connections: what belongs to one, and what only claims to.

use std::time::Duration;

use sluice_core::address::Mac;
use sluice_core::conntrack::state::{State, TcpState};
use sluice_core::drop::DropReason::*;

use crate::packets::{error_about, icmp, opaque, ping, pong, tcp, too_big, udp};
use crate::stage::Setting;
use crate::story::Story;
use crate::talk::Talk;
use crate::{At, tell};

tell!(
    case_18_a_segment_from_the_middle_of_nothing,
    case_18_midstream_takes_up_what_policy_admits,
    case_19_a_syn_against_the_direction_of_an_allowed_flow,
    case_20_an_echo_request_against_the_direction_of_an_allowed_echo,
    case_21_a_reset_outside_the_window,
    case_22_a_fin_or_reset_of_one_side,
    case_23_a_closed_connection_opened_again,
    case_24_a_syn_flood_against_a_small_table,
    case_24_a_table_full_of_ongoing_connections,
    case_25_no_pod_pushes_out_anothers_connections,
    case_26_an_icmp_error_about_nothing,
    case_27_an_icmp_error_from_or_to_the_wrong_one,
    case_29_icmp_that_no_connection_causes,
    case_30_a_policy_tightened_under_a_connection,
    case_30_kept_connections_outlive_the_policy_that_admitted_them,
    case_31_only_elapsed_time_ends_a_connection,
    what_concerns_no_pod_takes_no_room,
    a_kept_connection_is_not_begun_anew,
);

fn case_18_a_segment_from_the_middle_of_nothing(at: At) {
    let mut story = at.story("client -> server tcp/80; others denied");
    for to in ["server:80", "server:81"] {
        for flags in ["A", "PA", "FA", "R", "RA", "SA"] {
            for v6 in [false, true] {
                let segment = tcp("client:4000", to).over(v6).flags(flags).numbers(5, 9);
                story.sends("client", segment).dropped(NoConnection);
            }
        }
    }
    story.tracks(0);
}

fn case_18_midstream_takes_up_what_policy_admits(at: At) {
    let setting = Setting { midstream: true, ..Setting::default() };
    let mut story = at.story_with(&setting, "client -> server tcp/80; others denied");
    let segment = |to, flags| tcp("client:4000", to).flags(flags).numbers(5, 9);
    story.sends("client", segment("server:81", "PA")).dropped(IngressDenied);
    // Neither an answer nor an end is the middle of anything.
    for flags in ["SA", "R", "RA"] {
        story.sends("client", segment("server:80", flags)).dropped(NoConnection);
    }
    story.tracks(0);
    story.sends("client", segment("server:80", "PA").data(b"more")).reaches("server");
    let answer = tcp("server:80", "client:4000").flags("A").numbers(9, 9);
    story.sends("server", answer).reaches("client");
    story.tracks(1);
}

fn case_19_a_syn_against_the_direction_of_an_allowed_flow(at: At) {
    let mut story = at.story("client -> server tcp/80; others denied");
    let mut talk = Talk::open(&mut story, "client:4000", "server:80");
    for v6 in [false, true] {
        let back = tcp("server:80", "client:4000").over(v6).numbers(77, 0);
        story.sends("server", back).dropped(IngressDenied);
    }
    talk.goes_on(&mut story);
    story.tracks(1);
}

fn case_20_an_echo_request_against_the_direction_of_an_allowed_echo(at: At) {
    let mut story = at.story("client -> server; others denied");
    for v6 in [false, true] {
        story.sends("client", pong("client", "server", 7).over(v6)).dropped(NoConnection);
        story.sends("client", ping("client", "server", 7).over(v6)).reaches("server");
        story.sends("server", pong("server", "client", 7).over(v6)).reaches("client");
        // The same identifier the other way round is another question.
        story.sends("server", ping("server", "client", 7).over(v6)).dropped(IngressDenied);
        story.sends("client", pong("client", "server", 7).over(v6)).dropped(NoConnection);
        story.sends("server", pong("server", "client", 8).over(v6)).dropped(NoConnection);
    }
    story.tracks(2);
    // Under a rule for ports there is no echo at all.
    story.rules("client -> server tcp/0-65535; others denied");
    story.sends("client", ping("client", "server", 9)).dropped(IngressDenied);
}

fn case_21_a_reset_outside_the_window(at: At) {
    let mut story = at.story("client -> server tcp/80; others denied");
    let mut talk = Talk::open(&mut story, "client:4000", "server:80");
    talk.goes_on(&mut story);
    for distance in [1 << 20, 1 << 31, u32::MAX - (1 << 20)] {
        for flags in ["R", "RA"] {
            story.sends("server", talk.server_says_ahead(flags, distance)).dropped(OutOfWindow);
        }
        let data = talk.server_says_ahead("PA", distance).data(b"forged");
        story.sends("server", data).dropped(OutOfWindow);
    }
    assert_eq!(only_state(&mut story), State::Tcp(TcpState::Established));
    talk.goes_on(&mut story);
}

fn case_22_a_fin_or_reset_of_one_side(at: At) {
    let mut story = at.story("client -> server tcp/80; others denied");
    // A third party's cannot even be sent from its own port.
    let mut talk = Talk::open(&mut story, "client:4000", "server:80");
    for flags in ["FA", "R", "RA"] {
        let forged = talk.server_says_ahead(flags, 0);
        story.sends("other", forged.clone()).dropped(SpoofedMac);
        let forged = forged.source_mac(story.cast.mac("other"));
        story.sends("other", forged.clone()).dropped(SpoofedAddress);
        story.sends("uplink", forged.source_mac(story.cast.mac("router"))).dropped(SpoofedAddress);
    }
    talk.goes_on(&mut story);

    // One that is within the window and not in its place is for the receiver to challenge
    // (RFC 5961, 3.2); it ends nothing here.
    let guess = talk.server_says_ahead("R", 100);
    talk.server_sends(&mut story, &guess);
    assert_eq!(only_state(&mut story), State::Tcp(TcpState::Established));
    talk.goes_on(&mut story);

    // After one side's FIN the other may go on for as long as it likes.
    let fin = talk.server_says("FA", b"");
    talk.server_sends(&mut story, &fin);
    for _ in 0..3 {
        let more = talk.client_says("PA", b"one more thing");
        talk.client_sends(&mut story, &more);
        let noted = talk.server_says("A", b"");
        talk.server_sends(&mut story, &noted);
    }
    story.tracks(1);

    // A reset in its right place ends the connection, and still its entry stays for a while.
    let mut talk = Talk::open(&mut story, "client:4001", "server:80");
    let reset = talk.server_says("R", b"");
    talk.server_sends(&mut story, &reset);
    story.tracks(2);
}

fn only_state(story: &mut Story) -> State {
    let [(_, state)] = story.connections()[..] else { panic!("there is not one connection") };
    state
}

fn case_23_a_closed_connection_opened_again(at: At) {
    let rules = "client -> server tcp/80; others denied";
    let mut story = at.story(rules);
    let mut talk = Talk::open(&mut story, "client:4000", "server:80");
    talk.close(&mut story);
    // The same ports at once: as good as any other.
    Talk::open(&mut story, "client:4000", "server:80").close(&mut story);
    // The other way round it is another question.
    let back = tcp("server:80", "client:4000").numbers(7, 0);
    story.sends("server", back).dropped(IngressDenied);
    // And once the rules have changed, so has the answer.
    story.rules("others denied");
    let again = tcp("client:4000", "server:80").numbers(500_000, 0);
    story.sends("client", &again).dropped(IngressDenied);
    story.rules(rules);
    story.sends("client", &again).reaches("server");
}

fn case_24_a_syn_flood_against_a_small_table(at: At) {
    let setting = Setting { connections: Some((128, 128)), ..Setting::default() };
    let rules = "client+other -> server tcp/80; others denied";
    let mut story = at.story_with(&setting, rules);
    let mut talks: Vec<Talk> = (4000..4008)
        .map(|port| Talk::open(&mut story, &format!("client:{port}"), "server:80"))
        .collect();
    for round in 0..4 {
        let ports = (0..100).map(|n| 10_000 + round * 100 + n);
        let flood = ports.map(|port| tcp(&format!("other:{port}"), "server:80"));
        // Connections that nobody answers give way to each other.
        let outcome = story.sends_all("other", flood).turn_out("server", &[ConntrackFull]);
        assert_eq!((outcome.arrived, outcome.held), (100, 0));
        assert!(story.connections().len() <= 128);
        talks.iter_mut().for_each(|talk| talk.goes_on(&mut story));
    }
    // Nor does the table take for established what it has forgotten.
    let late = tcp("server:80", "other:10000").flags("SA").numbers(7, 1001);
    story.sends("server", late).dropped(NoConnection);
}

fn case_24_a_table_full_of_ongoing_connections(at: At) {
    let setting = Setting { connections: Some((32, 64)), ..Setting::default() };
    let mut story = at.story_with(&setting, "client+other -> server; others denied");
    let mut ongoing = Vec::new();
    let mut refused = 0;
    for port in 10_000..10_100 {
        let (other, server) = (format!("other:{port}"), "server:53");
        let outcome =
            story.sends("other", udp(&other, server)).turn_out("server", &[ConntrackFull]);
        if outcome.arrived == 0 {
            refused += 1;
            continue;
        }
        story.sends("server", udp(server, &other)).reaches("other");
        story.sends("other", udp(&other, server)).reaches("server");
        ongoing.push(other);
    }
    assert_eq!((ongoing.len(), refused), (32, 68));
    // What is new finds no room and does not pass; what is there goes on.
    story.sends("client", tcp("client:4000", "server:80")).dropped(ConntrackFull);
    story.sends("client", udp("client:4000", "server:53")).dropped(ConntrackFull);
    story.sends("client", opaque("client", "server", 50, b"esp")).dropped(ConntrackFull);
    for other in &ongoing {
        story.sends("other", udp(other, "server:53")).reaches("server");
        story.sends("server", udp("server:53", other)).reaches("other");
    }
    story.tracks(32);
}

fn case_25_no_pod_pushes_out_anothers_connections(at: At) {
    let setting = Setting { connections: Some((128, 32)), ..Setting::default() };
    let mut story = at.story_with(&setting, "client+other -> server; others denied");
    let half_open: Vec<Talk> = (4000..4006)
        .map(|port| {
            let mut talk = Talk::new(&format!("client:{port}"), "server:80", false);
            let syn = talk.client_says("S", b"");
            talk.client_sends(&mut story, &syn);
            talk
        })
        .collect();
    let flood = (0..200).map(|port| tcp(&format!("other:{}", 10_000 + port), "server:80"));
    story.sends_all("other", flood).turn_out("server", &[ConntrackQuota, ConntrackFull]);
    // Even what nobody has answered yet is there for its answer.
    for mut talk in half_open {
        let answer = talk.server_says("SA", b"");
        talk.server_sends(&mut story, &answer);
        let last = talk.client_says("A", b"");
        talk.client_sends(&mut story, &last);
    }
    // With its share in use a pod gets no more of the table, though there is room.
    let mut refused = 0;
    for port in 20_000..20_080 {
        let other = format!("other:{port}");
        let packet = udp(&other, "server:53");
        let outcome = story.sends("other", packet).turn_out("server", &[ConntrackQuota]);
        if outcome.arrived == 1 {
            story.sends("server", udp("server:53", &other)).reaches("other");
            story.sends("other", udp(&other, "server:53")).reaches("server");
        }
        refused += outcome.dropped[0];
    }
    assert_eq!(refused, 80 - 32);
    story.sends("client", udp("client:5000", "server:53")).reaches("server");
}

fn case_26_an_icmp_error_about_nothing(at: At) {
    let mut story = at.story("client -> server udp/53; others denied");
    for v6 in [false, true] {
        // Nobody has sent these.
        let unsent = udp("client:4000", "server:53").over(v6);
        story.sends("server", too_big("server", &unsent)).dropped(UnrelatedIcmp);
        let unsent = tcp("client:4000", "stranger:80").over(v6);
        story.sends("uplink", too_big("router", &unsent)).dropped(UnrelatedIcmp);
        let unsent = ping("client", "stranger", 7).over(v6);
        story
            .sends("uplink", error_about("router", &unsent, if v6 { 3 } else { 11 }, 0))
            .dropped(UnrelatedIcmp);
        // The connection is there, but another port was never asked.
        story.sends("client", udp("client:4000", "server:53").over(v6)).reaches("server");
        let unsent = udp("client:4001", "server:53").over(v6);
        story.sends("server", too_big("server", &unsent)).dropped(UnrelatedIcmp);
    }
    story.tracks(2);
}

fn case_27_an_icmp_error_from_or_to_the_wrong_one(at: At) {
    let mut story = at.story("");
    for v6 in [false, true] {
        let sent = udp("client:4000", "server:53").over(v6);
        story.sends("client", &sent).reaches("server");
        // To somebody else than the one who sent it.
        let other = story.cast.address("other", v6).to_string();
        let astray = too_big("server", &sent)
            .destination_address(&other)
            .destination_mac(story.cast.mac("other"));
        story.sends("server", astray).dropped(UnrelatedIcmp);
        // From a pod that it was not sent to.
        story.sends("other", too_big("other", &sent)).dropped(UnrelatedIcmp);
        // The one who received it may complain.
        story.sends("server", too_big("server", &sent)).reaches("client");
    }
}

fn case_29_icmp_that_no_connection_causes(at: At) {
    let mut story = at.story("");
    story.sends("client", ping("client", "server", 7)).reaches("server");
    // Source quench, redirect, alternate address, router advertisement and solicitation,
    // timestamp, information, address mask, and their replies.
    for kind in [4, 5, 6, 9, 10, 13, 14, 15, 16, 17, 18] {
        let body = ping("client", "server", 7).ip(story.cast);
        let message = |from, to| icmp(from, to, kind, [0, 7, 0, 1], &body);
        story.sends("server", message("server", "client")).dropped(UnsupportedIcmp);
        story.sends("uplink", message("router", "client")).dropped(UnsupportedIcmp);
    }
    // Listener reports, node information, and what is not assigned.
    for kind in [130, 131, 132, 139, 140, 143, 200] {
        let message = icmp("server", "client", kind, [0, 7, 0, 1], &[0; 20]).v6();
        story.sends("server", message).dropped(UnsupportedIcmp);
    }
    story.tracks(1);
}

fn case_30_a_policy_tightened_under_a_connection(at: At) {
    let mut story = at.story("client -> server tcp/80,udp/53; others denied");
    let mut talk = Talk::open(&mut story, "client:4000", "server:80");
    story.sends("client", udp("client:4000", "server:53")).reaches("server");
    story.rules("client -> server tcp/80; others denied");
    talk.goes_on(&mut story);
    story.sends("client", udp("client:4000", "server:53")).dropped(IngressDenied);
    story.tracks(1);
    // The very next packet, from whichever end it comes.
    story.rules("others denied");
    let answer = talk.server_says("PA", b"too late");
    story.sends("server", answer).dropped(IngressDenied);
    story.tracks(0);
    story.sends("client", talk.client_says("PA", b"hello?")).dropped(NoConnection);
}

fn case_30_kept_connections_outlive_the_policy_that_admitted_them(at: At) {
    let setting = Setting { keep: true, ..Setting::default() };
    let mut story = at.story_with(&setting, "client -> server tcp/80; others denied");
    let mut talk = Talk::open(&mut story, "client:4000", "server:80");
    story.rules("others denied");
    talk.goes_on(&mut story);
    story.sends("client", tcp("client:4001", "server:80")).dropped(IngressDenied);
    talk.goes_on(&mut story);
    talk.close(&mut story);
    story
        .sends("client", tcp("client:4000", "server:80").numbers(1 << 20, 0))
        .dropped(IngressDenied);
}

fn case_31_only_elapsed_time_ends_a_connection(at: At) {
    let silence = Duration::from_secs(3);
    let setting = Setting { timeout: Some(silence), ..Setting::default() };
    let mut story = at.story_with(&setting, "client -> server tcp/80; others denied");
    let mut talk = Talk::open(&mut story, "client:4000", "server:80");
    // Time goes by in small steps, and the connection is used in each.
    for _ in 0..8 {
        story.later(Duration::from_millis(500)).nothing_happens();
        talk.goes_on(&mut story);
    }
    story.tracks(1);
    story.later(silence).nothing_happens();
    story.tracks(0);
    story.sends("client", talk.client_says("PA", b"hello?")).dropped(NoConnection);
}

fn what_concerns_no_pod_takes_no_room(at: At) {
    let setting = Setting { connections: Some((16, 8)), ..Setting::default() };
    let mut story = at.story_with(&setting, "all -> server; others denied");
    let nobody = Mac([2, 9, 9, 9, 9, 9]);
    for port in 1..=20 {
        let there = udp(&format!("stranger:{port}"), "router:53").destination_mac(nobody);
        story.sends("uplink", there).dropped(UnknownDestination);
        let back = udp("router:53", &format!("stranger:{port}")).destination_mac(nobody);
        story.sends("uplink", back).dropped(UnknownDestination);
    }
    story.tracks(0);
    story.sends("client", tcp("client:4000", "server:80")).reaches("server");
}

fn a_kept_connection_is_not_begun_anew(at: At) {
    let setting = Setting { keep: true, ..Setting::default() };
    let mut story = at.story_with(&setting, "client -> server tcp/80; others denied");
    let there = |flags, at, ack| tcp("client:4000", "server:80").flags(flags).numbers(at, ack);
    let back = |flags, at, ack| tcp("server:80", "client:4000").flags(flags).numbers(at, ack);
    story.sends("client", there("S", 1000, 0)).reaches("server");
    story.sends("server", back("SA", 5000, 1001)).reaches("client");
    story.sends("client", there("A", 1001, 5001)).reaches("server");
    // One that nobody has answered is not established.
    story.sends("client", tcp("client:4002", "server:80")).reaches("server");
    story.rules("others denied");
    story.sends("client", there("S", 900_000_000, 0)).dropped(IngressDenied);
    story.sends("server", back("SA", 77_000_000, 900_000_001)).dropped(OutOfWindow);
    story.sends("client", there("A", 1001, 5001)).reaches("server");
    story.sends("client", tcp("client:4002", "server:80")).dropped(IngressDenied);
}
