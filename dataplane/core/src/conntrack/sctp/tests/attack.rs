//! Somebody who knows addresses and ports, and has not seen the tags.

use proptest::prelude::*;

use super::*;

#[test]
fn a_packet_without_the_right_tag_is_dropped_and_the_association_lives() {
    for chunks in [
        "data",
        "abort",
        "abort reflected",
        "shutdown",
        "shutdown_ack",
        "shutdown_complete",
        "shutdown_complete reflected",
        "echo",
        "cookie_ack",
        "init_ack 5",
        "init 0",
    ] {
        for (sender, tag) in [(">", 0), (">", 23), ("<", 0), ("<", 23)] {
            let wrong = format!("{sender} {tag} {chunks} | drop");
            told(HANDSHAKE, &format!("{wrong}\n > 22 data | Established"));
            told("", &format!("> 0 init 11 | Opening\n {wrong}\n < 11 init_ack 22 | Opening"));
        }
    }
    told(HANDSHAKE, "> 22 init 5 | drop\n < 11 init 5 | drop\n > 22 init_ack 5 | drop");
}

#[test]
fn tags_are_not_mistaken_for_the_other_sides() {
    told(
        HANDSHAKE,
        "> 11 data                        | drop
         < 22 data                        | drop
         > 11 abort                       | drop
         > 22 abort reflected             | drop
         < 11 abort reflected             | drop
         < 22 abort                       | drop
         < 22 shutdown_complete           | drop
         < 11 shutdown_complete reflected | drop
         > 22 data                        | Established",
    );
}

#[test]
fn data_before_the_end_of_the_handshake_is_dropped() {
    told(
        "",
        "> 0  init 11     | Opening
         > 0  data        | drop
         < 11 data        | drop
         < 11 cookie_ack  | drop
         > 11 echo        | drop
         < 11 init_ack 22 | Opening
         > 22 data        | drop
         < 11 data        | drop
         < 11 cookie_ack  | drop
         > 22 shutdown    | drop
         > 22 echo        | Opening
         > 22 data        | drop
         > 22 cookie_ack  | drop
         < 22 cookie_ack  | drop
         < 11 cookie_ack  | Established",
    );
}

#[test]
fn the_opener_cannot_complete_the_handshake_by_itself() {
    told(
        "",
        "> 0  init 11     | Opening
         > 11 init_ack 22 | drop
         > 0  init_ack 22 | drop
         < 0  init_ack 22 | drop
         < 12 init_ack 22 | drop
         < 11 init_ack 0  | drop
         > 22 echo        | drop
         > 11 cookie_ack  | drop",
    );
}

#[test]
fn only_who_was_given_a_cookie_back_may_acknowledge_it() {
    told(
        "",
        "> 0  init 11     | Opening
         < 11 init_ack 22 | Opening
         < 0  init 23     | Opening
         > 23 init_ack 12 | Opening
         < 12 echo        | Opening
         > 22 echo        | Opening
         > 22 cookie_ack  | drop
         > 23 cookie_ack  | drop
         < 11 cookie_ack  | Established",
    );
}

#[test]
fn a_forged_init_breaks_no_handshake() {
    // Before, between and after; the responder answers each with a tag that the forger never sees.
    told(
        "",
        "> 0  init 66              | Opening
         < 66 init_ack 77          | Opening
         > 66 abort reflected      | drop
         > 0  init 11              | Opening
         < 11 init_ack 22          | Opening
         > 66 echo                 | drop
         > 22 echo                 | Opening
         > 0  init 66              | Opening
         < 66 init_ack 78          | Opening
         < 66 abort                | Opening
         > 66 abort reflected      | drop
         < 66 cookie_ack           | drop
         < 11 cookie_ack           | Established
         > 22 data                 | Established",
    );
}

#[test]
fn a_forged_init_breaks_no_association() {
    told(
        HANDSHAKE,
        "> 0  init 66         | Established
         < 66 abort           | Established
         > 66 abort reflected | drop
         < 66 init_ack 77     | Established
         > 66 abort reflected | drop
         > 66 echo            | drop
         < 66 cookie_ack      | drop
         < 66 data            | drop
         > 66 data            | drop
         > 22 data            | Established
         < 11 data            | Established",
    );
}

proptest! {
    /// Tags below 10 are the attacker's choice; those of the hosts it never sees. It speaks as
    /// one of them; the other answers whatever it initiates.
    #[test]
    fn without_its_tags_nobody_moves_an_association(
        by_opener in any::<bool>(),
        forgeries in prop::collection::vec((0u32..10, 0usize..12, 1u32..10), 0..60),
    ) {
        let mut association = None;
        HANDSHAKE.lines().skip(1).for_each(|line| tell(&mut association, line));
        let mut association = association.unwrap();
        for (number, (tag, chunks, chosen)) in (100..).zip(forgeries) {
            let chunks = [
                "data", "abort", "abort reflected", "shutdown", "shutdown_ack", "shutdown_complete",
                "shutdown_complete reflected", "echo", "cookie_ack", "init_ack", "init", "init",
            ][chunks];
            let forged = match chunks {
                "init" => packet(&format!("0 init {chosen}")),
                "init_ack" => packet(&format!("{tag} init_ack {chosen}")),
                _ => packet(&format!("{tag} {chunks}")),
            };
            let passes = association.follow(&forged, by_opener).is_ok();
            prop_assert_eq!(association.state(), SctpState::Established);
            prop_assert_eq!(association.in_force, Tags { opener: 11, responder: 22 });
            if chunks == "init" {
                prop_assert!(passes);
                let answer = packet(&format!("{chosen} init_ack {number}"));
                prop_assert_eq!(association.follow(&answer, !by_opener), Ok(()));
            }
            prop_assert_eq!(association.follow(&packet("22 data"), true), Ok(()));
            prop_assert_eq!(association.follow(&packet("11 data"), false), Ok(()));
        }
        // And the opener can still begin again.
        let again = [(true, "0 init 33"), (false, "33 init_ack 44"), (true, "44 echo"),
            (false, "33 cookie_ack"), (true, "44 data")];
        for (by_opener, words) in again {
            prop_assert_eq!(association.follow(&packet(words), by_opener), Ok(()), "{}", words);
        }
    }
}
