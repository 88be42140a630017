//! Stories of segments.
//!
//! A line is a segment and what becomes of it:
//!
//! ```text
//! > SA 100+20 ack 7 win 64 scale 3 frag | Established
//! | |  |   |      |     |        |    |   the state that it leads to; or `drop`: dropped, and nothing
//! | |  |   |      |     |        |    |   has changed; or `same`: it passes, and no bound has changed
//! | |  |   |      |     |        |    first fragment
//! | |  |   |      |     |        window scale
//! | |  |   |      |     window, 64 where it is not given
//! | |  |   |      acknowledgement
//! | |  sequence number and bytes of payload
//! | flags
//! sender: > opener, < responder
//! ```
//!
//! `>? 100 | sent` asks whether an ICMP error may quote that segment of the opener's; `unsent` if
//! not. Numbers count from where each side's begin, and a story is told for several beginnings.

mod attack;
mod ending;
mod host;
mod model;
mod opening;
mod transfer;

use super::*;
use crate::packet::Ports;

/// Where the opener's numbers and the responder's begin: also just before they wrap around.
const BEGINNINGS: [(u32, u32); 5] =
    [(0, 0), (1000, 0x7fff_ff00), (u32::MAX, u32::MAX - 1), (u32::MAX - 700, 5), (0x7fff_fff0, 9)];

/// Windows of 64 << 7 = 8192 bytes both ways; 1 is the next number of each.
const HANDSHAKE: &str = "
    > S  0 win 8192 scale 7       | SynSent
    < SA 0 ack 1 win 8192 scale 7 | SynReceived
    > A  1 ack 1                  | Established";

fn told(before: &str, story: &str) {
    for beginnings in BEGINNINGS {
        let mut windows = None;
        for line in before.lines().chain(story.lines()).filter(|line| !line.trim().is_empty()) {
            tell(&mut windows, line, beginnings);
        }
    }
}

fn tell(windows: &mut Option<Windows>, line: &str, beginnings: (u32, u32)) {
    let (what, expected) = line.split_once('|').unwrap();
    let expected = expected.trim();
    let (by_opener, what) = match what.trim().split_at(1) {
        (">", rest) => (true, rest),
        ("<", rest) => (false, rest),
        _ => panic!("{line}"),
    };
    let (own, other) = if by_opener { beginnings } else { (beginnings.1, beginnings.0) };
    if let Some(quoted) = what.strip_prefix('?') {
        let sequence = own.wrapping_add_signed(quoted.trim().parse().unwrap());
        let sent = windows.as_ref().unwrap().has_sent(sequence, by_opener);
        assert_eq!(if sent { "sent" } else { "unsent" }, expected, "{line} at {beginnings:?}");
        return;
    }
    let (segment, is_fragment) = segment(what, own, other);
    let Some(known) = windows else {
        *windows = Windows::opened_by(&segment).or_else(|| Windows::picked_up(&segment));
        let state = windows.as_ref().map(Windows::state);
        assert_eq!(format!("{state:?}"), format!("Some({expected})"), "{line}");
        return;
    };
    let before = known.clone();
    let outcome = known.follow(&segment, is_fragment, by_opener);
    let story = format!("{line}\nat {beginnings:?}\nfrom {before:?}\n  to {known:?}");
    match expected {
        "drop" => {
            assert_eq!(outcome, Err(DropReason::OutOfWindow), "{story}");
            assert_eq!(*known, before, "{story}");
        }
        "same" => {
            assert_eq!(outcome, Ok(()), "{story}");
            assert_eq!(*known, Windows { pending: known.pending, ..before }, "{story}");
        }
        state => {
            assert_eq!(outcome, Ok(()), "{story}");
            assert_eq!(format!("{:?}", known.state()), state, "{story}");
        }
    }
}

fn segment(words: &str, own: u32, other: u32) -> (Segment, bool) {
    let mut words = words.split_whitespace();
    let flags = words.next().unwrap();
    let (sequence, payload) = match words.next().unwrap() {
        both if both.contains('+') => both.split_once('+').unwrap(),
        sequence => (sequence, "0"),
    };
    let mut segment = Segment {
        ports: Ports { source: 1, destination: 2 },
        flags: flags.chars().map(flag).fold(TcpFlags::default(), |all, flag| all | flag),
        sequence: own.wrapping_add_signed(sequence.parse().unwrap()),
        acknowledgement: 0xdead_beef,
        window: 64,
        window_scale: None,
        payload_len: payload.parse().unwrap(),
    };
    let mut is_fragment = false;
    while let Some(word) = words.next() {
        let mut number = || words.next().unwrap().parse::<i32>().unwrap();
        match word {
            "ack" => segment.acknowledgement = other.wrapping_add_signed(number()),
            "win" => segment.window = u16::try_from(number()).unwrap(),
            "scale" => segment.window_scale = Some(u8::try_from(number()).unwrap()),
            "frag" => is_fragment = true,
            _ => panic!("{word}"),
        }
    }
    (segment, is_fragment)
}

fn flag(letter: char) -> TcpFlags {
    match letter {
        'S' => TcpFlags::SYN,
        'A' => TcpFlags::ACK,
        'F' => TcpFlags::FIN,
        'R' => TcpFlags::RST,
        'P' => TcpFlags::PSH,
        _ => panic!("{letter}"),
    }
}

#[test]
fn a_connection_takes_no_more_room_than_it_may() {
    assert_eq!(size_of::<Windows>(), 44);
    assert_eq!(size_of::<crate::conntrack::Tracking>(), 44);
}
