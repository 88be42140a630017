//! Somebody who knows addresses and ports, and has to guess the rest.

use proptest::prelude::*;

use super::model::{Noted, World, beginning, steps};
use super::*;

/// A segment whose numbers an attacker has chosen.
#[derive(Debug, Clone, Copy)]
struct Forged {
    by_opener: bool,
    flags: &'static str,
    sequence: u32,
    acknowledgement: u32,
    payload_len: u32,
}

impl Forged {
    fn segment(&self) -> Segment {
        let flags = self.flags.chars().map(flag).fold(TcpFlags::default(), |all, flag| all | flag);
        Segment {
            ports: Ports { source: 1, destination: 2 },
            flags,
            sequence: self.sequence,
            acknowledgement: self.acknowledgement,
            window: 1000,
            window_scale: None,
            payload_len: self.payload_len,
        }
    }

    /// How far its numbers are from the ends that an observer has noted, and whether they lie
    /// within the four bounds.
    fn lies_within(&self, world: &World) -> bool {
        let (sender, receiver) = world.noted(self.by_opener);
        let from_end = |number: u32, by_opener: bool, noted: Noted| {
            let distance = number.wrapping_sub(world.wire(by_opener, noted.end));
            i64::from(distance.cast_signed()) + signed(noted.end)
        };
        let first = from_end(self.sequence, self.by_opener, sender);
        let end = first + i64::from(self.payload_len) + i64::from(self.flags.contains(['S', 'F']));
        let ack = from_end(self.acknowledgement, !self.by_opener, receiver);
        let needs_ack =
            self.flags.contains('A') && !(self.flags.contains('R') && self.acknowledgement == 0);
        let newest = if first == end { sender.max_end.max(sender.end) } else { sender.max_end };
        // What is 2^31 apart cannot be compared. Hosts never are that far behind.
        let is_comparable = signed(newest) - first < 1 << 31;
        first <= signed(newest)
            && is_comparable
            && end > signed(sender.end) - signed(receiver.max_window) - 2
            && (!needs_ack || ack <= signed(receiver.end))
            && (!needs_ack || ack >= signed(receiver.end) - signed(sender.max_window.max(66_000)))
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap()
}

/// A distance from a number that is worth trying: anywhere, or near the edge of some window.
fn distance() -> impl Strategy<Value = u32> {
    let edge = (0u32..31, any::<bool>(), 0u32..3).prop_map(|(power, is_behind, more)| {
        let distance = (1u32 << power) - 1 + more;
        if is_behind { distance.wrapping_neg() } else { distance }
    });
    prop_oneof![any::<u32>(), edge.clone(), edge, 0u32..3]
}

fn forgeries() -> impl Strategy<Value = Vec<(bool, &'static str, u32, u32, u32, u8)>> {
    let flags = prop::sample::select(vec!["A", "PA", "FA", "R", "RA", "SA"]);
    let one = (any::<bool>(), flags, distance(), distance(), 0u32..70_000, 0u8..4);
    prop::collection::vec(one, 1..100)
}

proptest! {
    #[test]
    fn a_guessed_segment_passes_only_within_all_four_bounds_and_is_else_without_effect(
        beginning in beginning(),
        steps in steps(),
        forgeries in forgeries(),
    ) {
        let mut world = World::new(&beginning);
        for step in steps {
            world.step(step);
        }
        let windows = world.windows.clone().unwrap();
        for (by_opener, flags, near, near_ack, payload_len, base) in forgeries {
            let (sender, receiver) = world.noted(by_opener);
            let base = [
                sender.end,
                sender.max_end,
                (sender.end + (1 << 32)) - receiver.max_window,
                0,
            ][usize::from(base)];
            let forged = Forged {
                by_opener,
                flags,
                sequence: world.wire(by_opener, base).wrapping_add(near),
                acknowledgement: world.wire(!by_opener, receiver.end).wrapping_add(near_ack),
                payload_len,
            };
            let mut after = windows.clone();
            let outcome = after.follow(&forged.segment(), false, by_opener);
            prop_assert_eq!(outcome.is_ok(), forged.lies_within(&world), "{:?} {:?}", forged, windows);
            if outcome.is_err() {
                prop_assert_eq!(&after, &windows);
            }
        }
    }
}

/// Numbers that look random and are the same in every run (Steele, Lea and Flood: SplitMix).
struct Random(u64);

impl Random {
    fn number(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from(mixed >> 32).unwrap()
    }
}

/// Both sides have offered `offer` << `scale`, and all is acknowledged.
fn idle(offer: u16, scale: u8) -> Windows {
    let mut windows = None;
    for line in [
        format!("> S  0 win {offer} scale {scale}       | SynSent"),
        format!("< SA 0 ack 1 win {offer} scale {scale} | SynReceived"),
        format!("> A  1 ack 1 win {offer}               | Established"),
        format!("< A  1 ack 1 win {offer}               | Established"),
    ] {
        tell(&mut windows, &line, (0xfedc_ba98, 0x89ab_cdef));
    }
    windows.unwrap()
}

#[test]
fn random_segments_pass_as_seldom_as_the_windows_are_small() {
    const TRIES: u32 = 200_000;
    let mut random = Random(1);
    for (offer, scale) in [(64, 7), (65_535, 0), (65_535, 7), (65_535, 12), (65_535, 14)] {
        let windows = idle(offer, scale);
        let window = f64::from(u32::from(offer) << scale);
        let share = |numbers: f64| numbers / (f64::from(u32::MAX) + 1.0);
        // A window ahead and one behind; an acknowledgement a window old at most.
        let sequences = share(2.0 * window + 2.0);
        let acknowledgements = share(window.max(66_000.0) + 1.0);
        let expectations = [
            ("R", sequences),
            ("A", sequences * acknowledgements),
            ("FA", sequences * acknowledgements),
        ];
        for (flags, expected) in expectations {
            let mut passed = 0;
            for _ in 0..TRIES {
                let (sequence, acknowledgement) = (random.number(), random.number());
                let forged =
                    Forged { by_opener: false, flags, sequence, acknowledgement, payload_len: 0 };
                let mut after = windows.clone();
                passed += u32::from(after.follow(&forged.segment(), false, false).is_ok());
                assert!(!after.state().eq(&TcpState::Closed), "the odds are one in 2^31");
            }
            let mean = f64::from(TRIES) * expected;
            // Five standard deviations of a binomial distribution, and a few for rare events.
            let slack = 5.0 * mean.sqrt() + 3.0;
            let off = (f64::from(passed) - mean).abs();
            assert!(off <= slack, "{flags} {offer}<<{scale}: {passed} passed, {mean} expected");
        }
    }
}

#[test]
fn a_flood_of_guesses_leaves_the_connection_as_it_was() {
    let mut windows = idle(65_535, 0);
    let before = windows.clone();
    let mut random = Random(2);
    let mut dropped = 0;
    for number in 0..200_000_u32 {
        let forged = Forged {
            by_opener: number % 2 == 0,
            flags: ["A", "FA", "RA", "SA"][number as usize / 2 % 4],
            sequence: random.number(),
            acknowledgement: random.number(),
            payload_len: 0,
        };
        dropped += u32::from(windows.follow(&forged.segment(), false, forged.by_opener).is_err());
    }
    // Of the four bounds' two pairs, each lets one guess in some 30000 through.
    assert_eq!((dropped, windows), (200_000, before));
}
