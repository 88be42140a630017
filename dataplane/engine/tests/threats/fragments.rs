//! Datagrams in fragments.

use std::collections::BTreeSet;
use std::time::Duration;

use sluice_core::address::NetworkId;
use sluice_core::drop::DropReason::*;
use sluice_core::flow::FiveTuple;
use sluice_core::fragments::FragmentKey;

use crate::packets::{Build, Packet, ping, tcp, udp};
use crate::stage::Setting;
use crate::story::{Effects, Story};
use crate::{At, tell};

tell!(
    case_01_a_fragment_whose_first_never_comes,
    case_02_a_first_fragment_without_the_whole_header,
    case_03_fragments_that_overlap,
    case_04_fragments_out_of_order,
    case_04_a_denied_first_fragment_takes_those_that_wait_with_it,
    case_05_a_flood_of_fragments,
    case_06_an_atomic_fragment,
    case_07_a_header_chain_split_by_fragments,
    fragments_of_one_datagram_meet_though_their_flow_is_another_workers,
    no_more_fragments_wait_than_there_is_room_for,
    a_datagram_that_is_through_takes_no_room,
    case_03_a_part_that_waits_from_an_earlier_datagram,
    a_new_table_ends_what_an_old_one_admitted,
);

/// Longer than any fragment waits for the first one.
const TOO_LONG: Duration = Duration::from_millis(1050);

/// A datagram of 80 bytes with its header.
fn datagram(from: &str, to: &str) -> Packet {
    udp(from, to).data(&[0x5a; 72])
}

fn case_01_a_fragment_whose_first_never_comes(at: At) {
    let mut story = at.story("client -> server udp/53; others denied");
    for v6 in [false, true] {
        let pieces = datagram("client:4000", "server:53").over(v6).pieces(&[24, 48]);
        story.sends("client", &pieces[1]).held();
        story.sends("client", &pieces[2]).held();
    }
    story.later(TOO_LONG).have(given_up("client", 4));
    story.tracks(0);
    // Whoever has seen one cannot begin with the rest either.
    let other = datagram("client:4001", "server:53").id(77).pieces(&[24]);
    story.sends("client", &other[1]).held();
    story.later(TOO_LONG).have(given_up("client", 1));
}

/// So many fragments have waited in vain.
fn given_up(port: &'static str, count: u64) -> Effects {
    let held = i64::try_from(count).unwrap();
    Effects::default().drops(port, FragmentWithoutFirst, count).holds(-held)
}

fn case_02_a_first_fragment_without_the_whole_header(at: At) {
    let mut story = at.story("client -> server; others denied");
    let mut waiting = 0;
    for v6 in [false, true] {
        let whole = [
            (tcp("client:4000", "server:80").data(&[7; 40]), 8),
            (tcp("client:4000", "server:80").data(&[7; 40]).id(2), 16),
        ];
        for (packet, cut) in whole {
            let pieces = packet.over(v6).pieces(&[cut]);
            story.sends("client", &pieces[0]).dropped(TinyFragment);
            // The rest, in which the flags are, waits for a first one that cannot come.
            story.sends("client", &pieces[1]).held();
            waiting += 1;
        }
        // The shortest that there is still has the whole of an echo's header.
        let pieces = ping("client", "server", 5).over(v6).id(3).pieces(&[8]);
        story.sends_all("client", &pieces).reach("server");
    }
    story.later(TOO_LONG).have(given_up("client", waiting));
    story.tracks(2);
}

fn case_03_fragments_that_overlap(at: At) {
    let mut story = at.story("client -> server tcp/80; others denied");
    for v6 in [false, true] {
        let segment = tcp("client:4000", "server:80").over(v6).data(&[7; 60]);
        // Each would put other ports or flags in place of those that were judged.
        let forgeries = [
            tcp("client:4000", "server:22").over(v6).data(&[7; 60]).piece(0, Some(24)),
            segment.clone().forged_piece(8, &[0x50; 16], true),
            segment.clone().forged_piece(16, &[0x50; 64], false),
            segment.clone().piece(0, Some(24)),
        ];
        for (forgery, id) in forgeries.into_iter().zip(100..) {
            let pieces = segment.clone().id(id).pieces(&[24, 48]);
            story.sends("client", &pieces[0]).reaches("server");
            story.sends("client", forgery.id(id)).dropped(FragmentOverlap);
            // Nothing more of the datagram passes, so nobody can put it together.
            story.sends("client", &pieces[1]).dropped(FragmentOverlap);
            story.sends("client", &pieces[2]).dropped(FragmentOverlap);
        }
    }
    // An overlap while the first is still missing ends it as well.
    let pieces = tcp("client:4001", "server:80").id(200).data(&[7; 60]).pieces(&[24, 48]);
    let forgery = tcp("client:4001", "server:80").id(200).forged_piece(32, &[1; 16], true);
    story.sends("client", &pieces[1]).held();
    story.sends("client", forgery).dropped(FragmentOverlap);
    story.sends("client", &pieces[0]).dropped(FragmentOverlap);
    story.later(TOO_LONG).have(given_up("client", 1));
}

fn case_03_a_part_that_waits_from_an_earlier_datagram(at: At) {
    let setting = Setting { timeout: Some(Duration::from_millis(100)), ..Setting::default() };
    let mut story = at.story_with(&setting, "client -> server tcp/80; others denied");
    let segment = tcp("client:4000", "server:80").data(&[7; 60]);
    // It would put other flags in place of those that are judged, and its datagram is forgotten
    // when the first one comes that bears the same identification.
    let forgery = segment.clone().forged_piece(8, &[0x50; 16], true);
    story.sends("client", forgery).held();
    story.later(Duration::from_millis(110)).nothing_happens();
    story.sends("client", segment.piece(0, Some(24))).reaches("server");
    story.later(TOO_LONG).have(given_up("client", 1));
}

fn case_04_fragments_out_of_order(at: At) {
    let mut story = at.story("client -> server udp/53; others denied");
    for (v6, order) in [(false, [2u8, 1]), (true, [2, 1]), (false, [1, 2]), (true, [1, 2])] {
        let from = format!("client:{}", 4000 + u32::from(order[0]));
        let pieces = datagram(&from, "server:53").over(v6).id(order[0].into()).pieces(&[24, 48]);
        let late = order.map(|place| story.frame(&pieces[usize::from(place)]));
        for frame in &late {
            story.sends("client", frame.clone()).held();
        }
        // Then all go, in the order in which they have come, behind the first.
        let first = story.frame(&pieces[0]);
        let effects = Effects::default().at("server", [&[first.clone()][..], &late].concat());
        story.sends("client", first).have(effects.holds(-2));
    }
    story.tracks(4);
}

fn case_04_a_denied_first_fragment_takes_those_that_wait_with_it(at: At) {
    let mut story = at.story("client -> server udp/53; others denied");
    for v6 in [false, true] {
        let pieces = datagram("client:4000", "server:54").over(v6).pieces(&[24, 48]);
        story.sends("client", &pieces[1]).held();
        let denied = Effects::default().drops("client", IngressDenied, 1);
        let all = denied.drops("client", FragmentOfDropped, 1).holds(-1);
        story.sends("client", &pieces[0]).have(all);
        story.sends("client", &pieces[2]).dropped(FragmentOfDropped);
    }
    story.tracks(0);
}

fn case_05_a_flood_of_fragments(at: At) {
    // A fourth of the room is what one pod can have.
    let setting = Setting { datagrams: Some(64), ..Setting::default() };
    let rules = "client+other -> server udp/53; others denied";
    let mut story = at.story_with(&setting, rules);
    let begun = datagram("client:4000", "server:53").id(900).pieces(&[24, 48]);
    story.sends("client", &begun[0]).reaches("server");
    let flood = (0..120).map(|id| datagram("other:4000", "server:53").id(id).piece(0, Some(24)));
    let outcome = story.sends_all("other", flood).turn_out("server", &[]);
    assert_eq!((outcome.arrived, outcome.held), (120, 0));
    // It has taken from itself: the rest of its first ones finds no first any more, ...
    let late = datagram("other:4000", "server:53").id(0).piece(24, None);
    story.sends("other", late).held();
    let newest = datagram("other:4000", "server:53").id(119).piece(24, None);
    story.sends("other", newest).reaches("server");
    // ... and what another had begun goes on.
    story.sends_all("client", &begun[1..]).reach("server");
    // Another's datagrams, and what is in one piece, do not notice.
    for id in 0..4 {
        let pieces = datagram("client:4000", "server:53").id(id).pieces(&[24, 48]);
        story.sends_all("client", &pieces).reach("server");
    }
    story.sends("client", udp("client:4000", "server:53")).reaches("server");
    story.sends("other", udp("other:4000", "server:53")).reaches("server");
    story.later(TOO_LONG).have(given_up("other", 1));
}

fn case_06_an_atomic_fragment(at: At) {
    const FRAGMENT: u8 = 44;
    let mut story = at.story("client -> server udp/53; others denied");
    let atomic = |to| udp("client:4000", to).v6().extension(FRAGMENT, &[0, 0, 0, 0, 0, 0, 0, 9]);
    story.sends("client", atomic("server:54")).dropped(IngressDenied);
    story.sends("client", atomic("server:53")).reaches("server");
    // Any number of them may bear one identification (RFC 6946), and none is tracked as a part.
    story.sends("client", atomic("server:53")).reaches("server");
    story.tracks(1);
}

fn case_07_a_header_chain_split_by_fragments(at: At) {
    const DESTINATION: u8 = 60;
    let mut story = at.story("client -> server; others denied");
    let options = [0, 0, 1, 4, 0, 0, 0, 0];
    let long = [&[0, 2][..], &[1, 20], &[0; 20]].concat();
    let chains = [(&options[..], 8), (&long, 8), (&long, 16)];
    for ((header, cut), id) in chains.into_iter().zip(1..) {
        let packet = tcp("client:4000", "server:80").v6().inner_extension(DESTINATION, header);
        let pieces = packet.id(id).pieces(&[cut]);
        story.sends("client", &pieces[0]).dropped(TinyFragment);
        story.sends("client", &pieces[1]).held();
    }
    story.later(TOO_LONG).have(given_up("client", 3));
    // A first fragment with all of it is judged by its ports.
    let packet = tcp("client:4000", "server:80").v6().inner_extension(DESTINATION, &options);
    let pieces = packet.data(&[7; 40]).id(9).pieces(&[48]);
    story.sends_all("client", &pieces).reach("server");
}

fn fragments_of_one_datagram_meet_though_their_flow_is_another_workers(at: At) {
    let mut story = at.story("client -> server udp/53; others denied");
    let mut owners = BTreeSet::new();
    for port in 4000..4016 {
        let pieces = datagram(&format!("client:{port}"), "server:53").id(port).pieces(&[24, 48]);
        if let Some(pair) = owners_of(&story, &pieces[0]) {
            owners.insert(pair);
        }
        let frames: Vec<Vec<u8>> = pieces.iter().map(|piece| story.frame(piece)).collect();
        if port % 2 == 0 {
            story.sends_all("client", &pieces).reach("server");
        } else {
            story.sends("client", &pieces[2]).held();
            let arrive = vec![frames[0].clone(), frames[2].clone()];
            let effects = Effects::default().at("server", arrive).holds(-1);
            story.sends("client", &pieces[0]).have(effects);
            story.sends("client", &pieces[1]).reaches("server");
        }
    }
    story.tracks(16);
    if at == At::Memory(2) {
        assert_eq!(owners.len(), 4, "every pair of workers: {owners:?}");
    }
}

/// The workers that own a fragment's datagram and its flow, where that can be known.
fn owners_of(story: &Story, first: &Packet) -> Option<(usize, usize)> {
    let engine = story.memory()?.stepped();
    let frame = first.frame(story.cast);
    let packet = sluice_core::packet::Packet::parse(&frame).unwrap();
    let ip = packet.ip().unwrap();
    let (datagram, _) = FragmentKey::of(NetworkId::DEFAULT, ip).unwrap();
    let (flow, _) = FiveTuple::of(NetworkId::DEFAULT, ip).unwrap().key();
    Some((engine.owner(&datagram), engine.owner(&flow)))
}

fn no_more_fragments_wait_than_there_is_room_for(at: At) {
    let mut story = at.story("client+other -> server udp/53; others denied");
    let flood = (0..200).map(|id| datagram("other:4000", "server:53").id(id).piece(24, None));
    let held = story.sends_all("other", flood).turn_out("server", &[FragmentsFull]).held;
    // What one port may leave waiting, on each worker.
    let workers = if at == At::Memory(1) { 1 } else { 2 };
    assert!(held >= 64 && held <= 64 * workers, "{held}");
    // Another's datagrams come out of order all the same.
    let pieces = datagram("client:4000", "server:53").pieces(&[24]);
    story.sends("client", &pieces[1]).held();
    let all = pieces.iter().map(|piece| story.frame(piece)).collect();
    let effects = Effects::default().at("server", all).holds(-1);
    story.sends("client", &pieces[0]).have(effects);
    story.later(TOO_LONG).have(given_up("other", held));
}

fn a_datagram_that_is_through_takes_no_room(at: At) {
    let setting = Setting { datagrams: Some(64), ..Setting::default() };
    let mut story = at.story_with(&setting, "client -> server udp/53; others denied");
    // Many times what a pod can have at once.
    for id in 0..60 {
        let from = format!("client:{}", 4000 + id);
        let pieces = datagram(&from, "server:53").id(id).pieces(&[24, 48]);
        if id % 2 == 0 {
            story.sends_all("client", &pieces).reach("server");
            continue;
        }
        let [first, second, third] = [0, 1, 2].map(|place| story.frame(&pieces[place]));
        story.sends("client", third.clone()).held();
        story.sends("client", second.clone()).held();
        let all = Effects::default().at("server", vec![first.clone(), third, second]).holds(-2);
        story.sends("client", first).have(all);
    }
}

/// In memory only: over veths the flood would have to be sent within the second that it waits.
#[test]
fn what_waits_for_one_pod_leaves_room_for_another() {
    for workers in [1, 2] {
        a_flood_of_early_parts(At::Memory(workers));
    }
}

fn a_flood_of_early_parts(at: At) {
    let mut story = at.story("all -> server; all -> other");
    let flood = (0..300).map(|id| datagram("stranger:4000", "other:53").id(id).piece(24, None));
    let held = story.sends_all("uplink", flood).turn_out("other", &[FragmentsFull]).held;
    assert!(held > 0);
    // By the same port, in one go: some wait for a verdict from another worker.
    for port in 4000..4016 {
        let from = format!("stranger:{port}");
        let pieces = datagram(&from, "server:53").id(port).pieces(&[24, 48]);
        story.sends_all("uplink", &pieces).reach("server");
        // And some for a first that comes late.
        let pieces = datagram(&from, "server:53").id(port + 100).pieces(&[24]);
        story.sends("uplink", &pieces[1]).held();
        let all = pieces.iter().map(|piece| story.frame(piece)).collect();
        story.sends("uplink", &pieces[0]).have(Effects::default().at("server", all).holds(-1));
    }
    story.later(TOO_LONG).have(given_up("uplink", held));
}

fn a_new_table_ends_what_an_old_one_admitted(at: At) {
    let rules = "client -> server udp/53; others denied";
    let mut story = at.story(rules);
    let pieces = datagram("client:4000", "server:53").pieces(&[24, 48]);
    story.sends("client", &pieces[0]).reaches("server");
    story.rules("others denied");
    story.sends("client", &pieces[1]).dropped(FragmentOfDropped);
    // Even one that says the same: the ports that it would judge are gone.
    story.rules(rules);
    story.sends("client", &pieces[2]).dropped(FragmentOfDropped);

    let keep = Setting { keep: true, ..Setting::default() };
    let mut story = at.story_with(&keep, rules);
    let pieces = datagram("client:4000", "server:53").pieces(&[24]);
    story.sends("client", &pieces[0]).reaches("server");
    story.rules("others denied");
    story.sends("client", &pieces[1]).reaches("server");
}
