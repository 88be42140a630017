//! How connections begin, and what they are taken for.

use super::*;

#[test]
fn only_a_plain_syn_opens() {
    for flags in ["A", "SA", "FA", "R", "RA"] {
        let (segment, _) = segment(&format!("{flags} 0"), 0, 0);
        assert_eq!(Windows::opened_by(&segment), None, "{flags}");
    }
    for flags in ["S", "SA", "R", "RA"] {
        let (segment, _) = segment(&format!("{flags} 0"), 0, 0);
        assert_eq!(Windows::picked_up(&segment), None, "{flags}");
    }
}

#[test]
fn a_lost_syn_is_sent_again_even_with_another_number() {
    told(
        "",
        "> S  0           | SynSent
         > S  0           | SynSent
         > S  70000       | SynSent
         < SA 0 ack 1     | drop
         < SA 0 ack 70001 | SynReceived
         > A  70001 ack 1 | Established",
    );
}

#[test]
fn a_lost_syn_ack_is_sent_again() {
    told(
        "",
        "> S  0 win 8192 scale 7       | SynSent
         < SA 0 ack 1 win 8192 scale 7 | SynReceived
         < SA 0 ack 1 win 8192 scale 7 | SynReceived
         > S  0 win 8192 scale 7       | SynReceived
         < SA 0 ack 1 win 8192 scale 7 | SynReceived
         > A  1 ack 1                  | Established
         < SA 0 ack 1 win 8192 scale 7 | Established
         > PA 1+8000 ack 1             | Established",
    );
}

#[test]
fn a_guessed_syn_ack_is_dropped_and_the_right_one_still_passes() {
    told(
        "",
        "> S  0             | SynSent
         < SA 500 ack 0     | drop
         < SA 500 ack 2     | drop
         < SA 500 ack 99999 | drop
         < SA 0 ack 1       | SynReceived
         < SA 500 ack 1     | drop
         > A  1 ack 501     | drop
         > A  1 ack 1       | Established",
    );
}

#[test]
fn the_opener_cannot_complete_the_handshake_by_itself() {
    told(
        "",
        "> S  0       | SynSent
         > A  1 ack 1 | drop
         > SA 0 ack 1 | drop
         > FA 1 ack 1 | drop
         > PA 1+5 ack 1 | drop
         < SA 0 ack 1 | SynReceived
         > A  1 ack 0 | drop
         > A  1 ack 2 | drop
         > SA 0 ack 0 | drop
         > FA 1 ack 0 | drop
         > A  1 ack 1 | Established",
    );
}

#[test]
fn the_responder_cannot_skip_the_handshake() {
    told(
        "",
        "> S  0         | SynSent
         < A  1 ack 1   | drop
         < PA 1+5 ack 1 | drop
         < PA 1+5 ack 9 | drop
         < FA 1 ack 1   | drop
         < FA 1 ack 9   | drop",
    );
}

#[test]
fn a_syn_may_carry_data_of_which_some_none_or_all_is_taken() {
    for (taken, rest) in [(1, 500), (201, 300), (501, 0)] {
        told(
            "",
            &format!(
                "> S  0+500 win 8192          | SynSent
                 < SA 0 ack 0 win 8192        | drop
                 < SA 0 ack 502 win 8192      | drop
                 < SA 0 ack {taken} win 8192  | SynReceived
                 < PA 1+8192 ack {taken}      | SynReceived
                 < PA 8194+1 ack {taken}      | drop
                 < PA 8193+1 ack {taken}      | SynReceived
                 > PA {taken}+{rest} ack 1    | Established
                 < A  8194 ack 501            | Established"
            ),
        );
    }
}

#[test]
fn both_may_open_at_once() {
    told(
        "",
        "> S  0 win 100 scale 2       | SynSent
         < S  0 win 100 scale 3       | SynReceived
         > S  0 win 100 scale 2       | SynReceived
         < S  0 win 100 scale 3       | SynReceived
         > A  1 ack 0                 | drop
         > SA 0 ack 1 win 100 scale 2 | SynReceived
         < A  1 ack 0                 | drop
         < SA 0 ack 1 win 100 scale 3 | Established
         > PA 1+800 ack 1 win 100     | Established
         < PA 1+400 ack 801 win 100   | Established",
    );
    told(
        "",
        "> S  0       | SynSent
         < S  0       | SynReceived
         < SA 0 ack 1 | SynReceived
         > SA 0 ack 1 | Established",
    );
}

#[test]
fn a_forged_crossing_syn_holds_up_neither_answer_nor_refusal() {
    let forged = "> S 0 win 8192 scale 7 | SynSent
                  < S 99999 win 1        | SynReceived";
    told(
        forged,
        "< SA 0 ack 1 win 8192 scale 7 | SynReceived
         > A  1 ack 1                  | Established
         > PA 1+8192 ack 1             | Established
         < PA 1+8192 ack 1             | Established",
    );
    told(forged, "< RA 0 ack 1 | Closed");
}

#[test]
fn a_refusal_must_have_seen_the_syn() {
    told(
        "",
        "> S  0+10     | SynSent
         < R  0        | drop
         < RA 0 ack 0  | drop
         < RA 0 ack 12 | drop
         < RA 0 ack 1  | Closed",
    );
    told("", "> S 0+10 | SynSent\n < RA 0 ack 11 | Closed");
}

#[test]
fn the_opener_may_give_up_before_the_answer() {
    told("", "> S 0 | SynSent\n > R 0 | drop\n > R 2 | drop\n > R 1 | Closed");
}

#[test]
fn windows_are_scaled_only_if_both_offer_and_never_in_a_syn() {
    for (opener, responder) in [("", "scale 7"), ("scale 7", "")] {
        told(
            "",
            &format!(
                "> S  0 win 100 {opener}          | SynSent
                 < SA 0 ack 1 win 100 {responder} | SynReceived
                 > A  1 ack 1 win 100             | Established
                 < A  101+9 ack 1 win 100         | Established
                 < A  102+9 ack 1 win 100         | drop
                 > A  102+9 ack 1 win 100         | drop"
            ),
        );
    }
    told(
        "",
        "> S  0 win 100 scale 0       | SynSent
         < SA 0 ack 1 win 100 scale 4 | SynReceived
         > A  102 ack 1 win 100       | drop
         > A  1 ack 1 win 100         | Established
         < A  102 ack 1 win 100       | drop
         < A  1 ack 1 win 100         | Established
         > A  1601+9 ack 1            | Established
         > A  1602+9 ack 1            | drop",
    );
    // Shifts above 14 count as 14 (RFC 7323, 2.3).
    told(
        "",
        "> S  0 scale 14                | SynSent
         < SA 0 ack 1 scale 255         | SynReceived
         > A  1 ack 1 win 65535         | Established
         < A  1073725441 ack 1 win 1000 | Established",
    );
}

#[test]
fn a_forged_syn_disturbs_no_connection() {
    let ways =
        [("> S 5000", "< A 1 ack 1"), ("< S 5000", "> A 1 ack 1"), ("> S 1+9", "< A 1 ack 1")];
    for (forged, challenge) in ways {
        told(
            HANDSHAKE,
            &format!(
                "{forged} win 0     | same
                 {challenge}        | Established
                 > PA 1+8192 ack 1  | Established
                 < PA 1+8192 ack 1  | Established
                 > A  8193 ack 8193 | Established"
            ),
        );
    }
}

#[test]
fn an_opener_that_has_forgotten_the_connection_gets_a_new_one_in_three_ways() {
    // The responder has forgotten it, too.
    told(
        HANDSHAKE,
        "> S  700000 win 100 scale 2       | same
         < A  900000 ack 700001 win 50     | drop
         < SA 900000 ack 700000 win 50     | drop
         < SA 900000 ack 700002 win 50     | drop
         < SA 900000 ack 700001 win 50     | SynReceived
         > A  700001 ack 900000            | drop
         > A  700001 ack 900001 win 100    | Established
         < A  900101+9 ack 700001          | Established
         < A  965537 ack 700001            | drop",
    );
    // The responder has not, and challenges. The opener resets, and its next SYN opens.
    told(
        HANDSHAKE,
        "> S 700000  | same
         < A 1 ack 1 | Established
         > R 1       | Closed",
    );
    // The responder has forgotten it and refuses another.
    told(HANDSHAKE, "> S 700000 | same\n < RA 50 ack 5 | drop\n < RA 50 ack 700001 | Closed");
    // The SYN may carry data, and the answer to it may overtake the end of the handshake.
    told(
        HANDSHAKE,
        "> S  700000+40          | same
         < SA 9 ack 700042       | drop
         < SA 9 ack 700041       | SynReceived
         < PA 10+500 ack 700041  | SynReceived
         < SA 9 ack 700041       | SynReceived
         > A  700041 ack 510     | Established",
    );
}

#[test]
fn a_responder_does_not_begin_anew_by_itself() {
    told(HANDSHAKE, "< S 700000 | same\n < SA 700000 ack 700001 | drop\n < SA 9 ack 700001 | drop");
}

#[test]
fn a_syn_that_the_opener_has_gone_on_after_is_forgotten() {
    told(
        HANDSHAKE,
        "> S  700000            | same
         > PA 1+5 ack 1         | Established
         < SA 900000 ack 700001 | drop
         < RA 900000 ack 700001 | drop",
    );
}

#[test]
fn an_older_connection_that_only_the_responder_knows_can_be_reset() {
    told(
        "",
        "> S  0              | SynSent
         < A  800000 ack 500 | same
         > R  501            | drop
         > R  500            | same
         > S  0              | SynSent
         < SA 0 ack 1        | SynReceived
         > A  1 ack 1        | Established",
    );
}

#[test]
fn a_connection_in_its_middle_is_picked_up_and_goes_on() {
    // Data in flight on both sides that nobody here has seen, beyond what was seen.
    told(
        "",
        "> PA 1000+500 ack 1000 win 100 | Established
         < A  1000+1400 ack 90000       | Established
         >? 90000                       | sent
         > A  1500 ack 60000 win 100    | Established
         > A  600+400 ack 60000         | Established
         < A  300+700 ack 90000         | Established
         > A  90000+900 ack 60000       | Established
         < FA 60000 ack 90900           | ResponderClosed
         > FA 90900 ack 60001           | Closed",
    );
    // By whichever side speaks first, and whatever the window looks like.
    told(
        "",
        "> A  1000 ack 1000 win 0         | Established
         < A  1000+1 ack 1000 win 65535   | Established
         > A  1000 ack 1001 win 65535     | Established
         < A  1001+1400 ack 1000          | Established
         > A  20000000+1400 ack 2401      | Established",
    );
    // A probe of a window that is shut, behind the largest window that there is.
    told(
        "",
        "> A 1000 ack 1000 win 0         | Established
         < A 1073726440+1 ack 1000       | Established
         > A 1000 ack 1073726441 win 0   | Established",
    );
    told("", "> FA 1000 ack 1000 | OpenerClosed\n < FA 1000 ack 1001 | Closed");
}

#[test]
fn what_cannot_belong_to_a_connection_picked_up_is_dropped() {
    told(
        "",
        "> A 1000 ack 1000 win 1     | Established
         < A 1073726441 ack 1000     | drop
         > A 1073726441 ack 1000     | drop
         > A -1073725440 ack 1000    | drop
         < A 1000 ack 1073726441     | drop
         < A 1000 ack -1073725440    | drop
         < R 999                     | same
         < R 1000                    | Closed",
    );
}
