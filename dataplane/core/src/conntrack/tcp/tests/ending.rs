//! How connections end, and how they do not.

use super::*;

#[test]
fn a_connection_opens_carries_data_both_ways_and_closes() {
    told(
        HANDSHAKE,
        "> PA 1+500 ack 1     | Established
         < A  1 ack 501       | Established
         < PA 1+700 ack 501   | Established
         > A  501 ack 701     | Established
         > FA 501+9 ack 701   | OpenerClosed
         < A  701 ack 511     | OpenerClosed
         < PA 701+50 ack 511  | OpenerClosed
         > A  511 ack 751     | OpenerClosed
         < FA 751 ack 511     | Closed
         > A  511 ack 752     | Closed",
    );
    told(HANDSHAKE, "< FA 1 ack 1 | ResponderClosed\n > FA 1 ack 2 | Closed");
}

#[test]
fn what_came_late_passes_after_the_close() {
    told(
        HANDSHAKE,
        "> FA 1+100 ack 1  | OpenerClosed
         < FA 1+30 ack 102 | Closed
         > FA 1+100 ack 32 | Closed
         < FA 1+30 ack 102 | Closed
         > A  102 ack 32   | Closed
         > R  102          | Closed
         > A  9000 ack 32  | drop",
    );
}

#[test]
fn an_out_of_window_reset_is_dropped_and_the_connection_lives() {
    told(
        HANDSHAKE,
        "< R  999999     | drop
         < R  8194       | drop
         < R  -8193      | drop
         < RA 1 ack 3    | drop
         < RA 1 ack -70000 | drop
         > R  -99999     | drop
         > PA 1+5 ack 1  | Established",
    );
}

#[test]
fn a_reset_in_the_window_but_not_exact_ends_nothing() {
    told(
        HANDSHAKE,
        "> PA 1+500 ack 1 | Established
         > R  2           | same
         > R  300         | same
         > R  502         | same
         > R  8193        | same
         > RA 300 ack 1   | same
         < R  0           | same
         < RA 5000 ack 501 | same
         < A  1 ack 501   | Established",
    );
}

#[test]
fn an_exact_reset_ends_the_connection() {
    let sent = "> PA 1+500 ack 1 | Established";
    let before = format!("{HANDSHAKE}\n{sent}");
    // What the receiver expects next is known from its acknowledgements, or it has got it all.
    for reset in ["> R 1", "> R 501", "> RA 501 ack 1", "< R 1", "< RA 1 ack 501"] {
        told(&before, &format!("{reset} | Closed"));
    }
    // An overtaken acknowledgement takes nothing back.
    let overtaken = "< A 1 ack 301 | Established\n < A 1 ack 1 | Established\n > R 301 | Closed";
    told(&format!("{before}\n{overtaken}"), "");
}

#[test]
fn a_reset_may_say_that_it_acknowledges_and_yet_acknowledge_nothing() {
    let mut windows = None;
    let before = format!("{HANDSHAKE}\n < RA 300 ack -699999 | drop\n < RA 300 ack -700000 | same");
    for line in before.lines().skip(1) {
        tell(&mut windows, line, (700_000, 1000));
    }
}

#[test]
fn a_reset_means_the_same_in_every_state() {
    let answered = "> S 0 | SynSent\n < SA 0 ack 1 | SynReceived";
    let half_closed = format!("{HANDSHAKE}\n > FA 1 ack 1 | OpenerClosed");
    let half_closed_by_other = format!("{HANDSHAKE}\n < FA 1 ack 1 | ResponderClosed");
    let closed = format!("{half_closed}\n < FA 1 ack 2 | Closed");
    for before in [answered, HANDSHAKE, &half_closed, &half_closed_by_other, &closed] {
        told(before, "> R 70000 | drop\n < R 70000 | drop\n > R 30 | same\n < R 30 | same");
        told(before, "> R 1 | Closed");
        told(before, "< R 1 | Closed");
        told(before, "> R 1 | Closed\n > R 1 | Closed\n > R 70000 | drop");
    }
}

#[test]
fn a_forged_fin_from_one_side_only_half_closes() {
    told(
        HANDSHAKE,
        "< FA 9000 ack 1  | drop
         < FA 4000 ack 1  | ResponderClosed
         > PA 1+500 ack 1 | ResponderClosed
         < PA 1+500 ack 1 | ResponderClosed
         < FA 4000 ack 1  | ResponderClosed",
    );
}
