//! What passes while a connection lives.

use super::*;

#[test]
fn data_passes_within_the_window_and_not_beyond() {
    told(
        HANDSHAKE,
        "> A 8193+100 ack 1  | Established
         > A 8194+100 ack 1  | drop
         < A 8194+100 ack 1  | drop
         < A 1 ack 8293      | Established
         > A 16485 ack 1     | Established
         > A 16486 ack 1     | drop",
    );
}

#[test]
fn old_data_passes_for_one_window_and_not_before() {
    told(
        HANDSHAKE,
        "> A 1+8192 ack 1    | Established
         < A 1 ack 8193      | Established
         > A 8193+8192 ack 1 | Established
         > A 8193+100 ack 1  | Established
         > A 8092+100 ack 1  | Established
         > A 8091+100 ack 1  | drop",
    );
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_dropped() {
    told(HANDSHAKE, "> A 1+5 ack 1 | Established\n < A 1 ack 7 | drop\n < A 1 ack 6 | Established");
    told(HANDSHAKE, "> A 1+5 ack 3 | drop\n > FA 1 ack 3 | drop\n > RA 1 ack 3 | drop");
}

#[test]
fn an_overtaken_acknowledgement_passes_unless_it_is_too_old() {
    // Eight windows of 8192 are less than the 66000 that small windows are given.
    let mut story = String::new();
    for end in (1..=73729).step_by(8192) {
        story += &format!(
            "< A {end}+8192 ack 1 | Established\n > A 1 ack {} | Established\n",
            end + 8192
        );
    }
    // The end is 81921 now, and 81921 - 66000 = 15921.
    story +=
        "> A 1 ack 15921 | Established\n > A 1 ack 15920 | drop\n > A 1 ack 81921 | Established";
    told(HANDSHAKE, &story);
}

#[test]
fn data_may_come_out_of_order_and_twice() {
    told(
        HANDSHAKE,
        "> PA 2001+1000 ack 1 | Established
         > PA 1+1000 ack 1    | Established
         < A  1 ack 1001      | Established
         > PA 1001+1000 ack 1 | Established
         > PA 1+3000 ack 1    | Established
         < A  1 ack 3001      | Established
         < A  1 ack 1001      | Established
         > PA 3001+9 ack 1    | Established",
    );
}

#[test]
fn keep_alives_pass() {
    told(
        HANDSHAKE,
        "> A  0 ack 1    | Established
         < A  1 ack 1    | Established
         < A  0+1 ack 1  | Established
         > A  1 ack 1    | Established",
    );
    // Even if no window was ever open.
    told(
        "",
        "> S  0 win 0         | SynSent
         < SA 0 ack 1 win 0   | SynReceived
         > A  1 ack 1 win 0   | Established
         > A  0 ack 1 win 0   | Established
         < A  0+1 ack 1 win 0 | Established",
    );
}

#[test]
fn a_zero_window_lets_a_probe_through() {
    told(
        HANDSHAKE,
        "> A 1+8192 ack 1       | Established
         < A 1 ack 8193 win 0   | Established
         > A 8193+1 ack 1       | Established
         < A 1 ack 8193 win 0   | Established
         > A 8194 ack 1         | Established
         > A 8194+1 ack 1       | drop
         > A 8195 ack 1         | drop
         > A 8193+1 ack 1       | Established
         < A 1 ack 8194         | Established
         > A 8194+8192 ack 1    | Established",
    );
}

#[test]
fn a_window_that_shrinks_leaves_what_is_under_way_alone() {
    told(
        HANDSHAKE,
        "< A 1 ack 1 win 1   | Established
         > A 1+8192 ack 1    | Established
         > A 1+128 ack 1     | Established
         < A 1 ack 8193      | Established",
    );
}

#[test]
fn a_first_fragment_counts_for_as_much_as_may_follow_it() {
    let fragments = "< A 1 ack 1 win 1000          | Established
         > A 1+1000 ack 1 frag         | Established";
    let before = format!("{HANDSHAKE}\n{fragments}");
    told(&before, "< A 1 ack 65536 | Established\n > A 65536+9 ack 1 | Established");
    told(&before, "< A 1 ack 65537 | drop");
    // Not for more than the receiver takes.
    told(
        HANDSHAKE,
        "> A 1+1000 ack 1 frag | Established
         < A 1 ack 8194        | drop
         < A 1 ack 8193        | Established
         > A 1001+9 ack 1 frag | Established",
    );
}

#[test]
fn an_icmp_error_must_quote_what_may_be_under_way() {
    told(
        "",
        "> S  0       | SynSent
         >? 0         | sent
         >? 1         | unsent
         <? 0         | unsent
         < SA 0 ack 1 | SynReceived
         >? 0         | sent
         <? 0         | sent",
    );
    told(
        HANDSHAKE,
        "> PA 1+8192 ack 1       | Established
         < A  1 ack 5001         | Established
         >? 5001                 | sent
         >? 8193                 | sent
         >? 8194                 | unsent
         >? -3191                | sent
         >? -3192                | unsent
         <? 1                    | sent
         <? 2                    | unsent
         > S 77777               | same
         >? 77777                | sent
         >? 77778                | unsent
         <? 77777                | unsent",
    );
}
