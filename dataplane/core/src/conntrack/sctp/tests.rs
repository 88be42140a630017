//! Stories of packets.
//!
//! A line is a packet and what becomes of it:
//!
//! ```text
//! > 22 abort reflected | Closed
//! | |  |                 the state that it leads to, or `drop`: dropped, and nothing has changed
//! | |  chunks; `init` and `init_ack` with the tag that they choose
//! | verification tag
//! sender: > opener, < responder
//! ```
//!
//! `>? 22 | sent` asks whether an ICMP error may quote a packet of the opener's with that tag;
//! `unsent` if not.

mod attack;

use super::*;
use crate::packet::Ports;

/// The opener has chosen 11, the responder 22.
const HANDSHAKE: &str = "
    > 0  init 11     | Opening
    < 11 init_ack 22 | Opening
    > 22 echo        | Opening
    < 11 cookie_ack  | Established";

fn told(before: &str, story: &str) {
    let mut association = None;
    for line in before.lines().chain(story.lines()).filter(|line| !line.trim().is_empty()) {
        tell(&mut association, line);
    }
}

fn tell(association: &mut Option<Association>, line: &str) {
    let (what, expected) = line.split_once('|').unwrap();
    let expected = expected.trim();
    let (by_opener, what) = match what.trim().split_at(1) {
        (">", rest) => (true, rest),
        ("<", rest) => (false, rest),
        _ => panic!("{line}"),
    };
    if let Some(tag) = what.strip_prefix('?') {
        let tag = tag.trim().parse().unwrap();
        let sent = association.as_ref().unwrap().has_sent(tag, by_opener);
        assert_eq!(if sent { "sent" } else { "unsent" }, expected, "{line}");
        return;
    }
    let packet = packet(what);
    let Some(known) = association else {
        *association = Association::opened_by(&packet);
        let state = association.as_ref().map(Association::state);
        assert_eq!(format!("{state:?}"), format!("Some({expected})"), "{line}");
        return;
    };
    let before = known.clone();
    let outcome = known.follow(&packet, by_opener);
    let story = format!("{line}\nfrom {before:?}\n  to {known:?}");
    if expected == "drop" {
        assert_eq!(outcome, Err(DropReason::SctpMismatch), "{story}");
        assert_eq!(*known, before, "{story}");
    } else {
        assert_eq!(outcome, Ok(()), "{story}");
        assert_eq!(format!("{:?}", known.state()), expected, "{story}");
    }
}

fn packet(words: &str) -> SctpPacket {
    let mut words = words.split_whitespace();
    let tag = words.next().unwrap().parse().unwrap();
    let mut chunks = Chunks::default();
    while let Some(word) = words.next() {
        let mut number = || Some(words.next().unwrap().parse().unwrap());
        match word {
            "init" => chunks.init = number(),
            "init_ack" => chunks.init_ack = number(),
            "echo" => chunks.cookie_echo = true,
            "cookie_ack" => chunks.cookie_ack = true,
            "shutdown" => chunks.shutdown = true,
            "shutdown_ack" => chunks.shutdown_ack = true,
            "shutdown_complete" => chunks.shutdown_complete = true,
            "abort" => chunks.abort = true,
            "reflected" => chunks.reflected = true,
            "data" | "error" => {}
            _ => panic!("{word}"),
        }
    }
    SctpPacket { ports: Ports { source: 1, destination: 2 }, tag, chunks }
}

#[test]
fn an_association_takes_no_more_room_than_a_tcp_connection() {
    assert!(size_of::<Association>() <= 44);
}

#[test]
fn an_association_opens_carries_data_both_ways_and_shuts_down() {
    told(
        HANDSHAKE,
        "> 22 data              | Established
         < 11 data              | Established
         > 22 shutdown          | Closing
         < 11 data              | Closing
         < 11 shutdown_ack      | Closing
         > 22 shutdown_complete | Closed
         < 11 shutdown_ack      | Closed",
    );
}

#[test]
fn a_handshake_may_carry_data_and_lose_packets() {
    told(
        "",
        "> 0  init 11              | Opening
         > 0  init 11              | Opening
         < 11 init_ack 22          | Opening
         < 11 init_ack 22          | Opening
         > 22 echo data            | Opening
         > 22 echo data            | Opening
         < 11 data                 | Opening
         < 11 cookie_ack data      | Established
         > 22 echo data            | Established
         < 11 cookie_ack shutdown  | Closing",
    );
    told(
        "",
        "> 0 init 11 | Opening\n < 11 init_ack 22 | Opening\n > 22 echo | Opening
              < 11 cookie_ack shutdown | Closing",
    );
}

#[test]
fn a_repeated_init_that_is_answered_twice_leaves_the_choice_to_the_opener() {
    for (chosen, other) in [(22, 33), (33, 22)] {
        told(
            "",
            &format!(
                "> 0  init 11        | Opening
                 > 0  init 11        | Opening
                 < 11 init_ack 22    | Opening
                 < 11 init_ack 33    | Opening
                 > {chosen} echo     | Opening
                 < 11 cookie_ack     | Established
                 > {chosen} data     | Established
                 > {other} echo      | drop
                 > {other} data      | drop
                 < 11 init_ack 44    | drop"
            ),
        );
    }
}

#[test]
fn a_stale_cookie_leads_to_another_handshake() {
    told(
        "",
        "> 0  init 11     | Opening
         < 11 init_ack 22 | Opening
         > 22 echo        | Opening
         < 11 error       | Opening
         > 0  init 11     | Opening
         < 11 init_ack 33 | Opening
         > 33 echo        | Opening
         < 11 cookie_ack  | Established
         > 22 data        | drop
         > 33 data        | Established",
    );
}

#[test]
fn only_an_init_opens() {
    for words in ["0 data", "0 init 0", "5 init 11", "5 init_ack 22", "5 echo", "5 abort"] {
        assert_eq!(Association::opened_by(&packet(words)), None, "{words}");
    }
}

#[test]
fn who_knows_no_association_may_end_it_with_the_tag_that_it_was_sent() {
    told(HANDSHAKE, "> 11 abort reflected | Closed");
    told(HANDSHAKE, "< 22 abort reflected | Closed");
    told(HANDSHAKE, "< 11 shutdown_ack | Closing\n > 11 shutdown_complete reflected | Closed");
}

#[test]
fn an_abort_with_the_right_tag_ends_it() {
    told(HANDSHAKE, "> 22 abort | Closed\n < 11 data | Closed\n < 11 shutdown | Closed");
    told(HANDSHAKE, "< 11 abort | Closed");
}

#[test]
fn an_init_may_be_refused() {
    told("", "> 0 init 11 | Opening\n < 12 abort | drop\n < 0 abort | drop\n < 11 abort | Closed");
    let offered = "> 0 init 11 | Opening\n < 11 init_ack 22 | Opening";
    told(offered, "> 22 abort | Closed");
    told(offered, "< 11 init_ack 33 | Opening\n > 33 abort | Opening\n > 22 abort | Closed");
    told(offered, "< 11 abort | Closed");
    told(offered, "> 22 echo | Opening\n < 22 abort reflected | Closed");
    told(offered, "> 22 echo | Opening\n < 11 abort | Closed");
}

#[test]
fn an_opener_that_begins_again_gets_a_new_association() {
    told(
        HANDSHAKE,
        "> 0  init 33     | Established
         < 11 init_ack 44 | drop
         < 33 init_ack 44 | Established
         < 11 data        | Established
         > 33 echo        | drop
         > 44 data        | drop
         > 44 echo        | Established
         < 33 data        | Established
         < 33 cookie_ack  | Established
         > 44 data        | Established
         < 33 data        | Established
         > 22 data        | drop
         < 11 data        | drop
         < 11 abort       | drop",
    );
}

#[test]
fn a_responder_that_begins_again_gets_a_new_association() {
    told(
        HANDSHAKE,
        "< 0  init 44     | Established
         > 44 init_ack 33 | Established
         < 33 echo        | Established
         > 44 cookie_ack  | Established
         < 33 data        | Established
         > 44 data        | Established
         > 22 data        | drop",
    );
}

#[test]
fn one_that_was_shutting_down_can_begin_again() {
    told(
        HANDSHAKE,
        "> 22 shutdown    | Closing
         > 0  init 33     | Closing
         < 33 init_ack 44 | Closing
         > 44 echo        | Closing
         < 33 cookie_ack  | Established",
    );
}

#[test]
fn an_opener_that_begins_again_while_the_responder_shuts_down_ends_the_old_association() {
    // RFC 9260, 9.2: the responder answers INIT with what it waits to be answered (8.4, 5).
    told(
        HANDSHAKE,
        "> 22 shutdown                    | Closing
         < 11 shutdown_ack                | Closing
         > 0  init 33                     | Closing
         < 11 shutdown_ack                | Closing
         > 11 shutdown_complete reflected | Closed",
    );
}

#[test]
fn both_may_open_at_once() {
    told(
        "",
        "> 0  init 11     | Opening
         < 0  init 22     | Opening
         > 22 init_ack 11 | Opening
         < 11 init_ack 22 | Opening
         > 22 echo        | Opening
         < 11 echo        | Opening
         < 11 cookie_ack  | Established
         > 22 cookie_ack  | Established
         > 22 data        | Established
         < 11 data        | Established",
    );
}

#[test]
fn an_icmp_error_must_quote_a_tag_that_its_receiver_sends_with() {
    told(
        "",
        "> 0  init 11     | Opening
         >? 0             | sent
         >? 11            | unsent
         <? 0             | unsent
         <? 11            | sent
         < 11 init_ack 22 | Opening
         >? 22            | sent
         > 22 echo        | Opening
         < 11 cookie_ack  | Established
         >? 0             | unsent
         >? 22            | sent
         >? 11            | unsent
         <? 11            | sent
         <? 22            | unsent
         > 0 init 33      | Established
         >? 0             | unsent
         <? 33            | unsent",
    );
}
