use proptest::prelude::*;

use super::*;

const POD: Account = Account(1);

fn key(id: u32) -> FragmentKey {
    FragmentKey {
        network: NetworkId::DEFAULT,
        source: [10, 0, 0, 1].into(),
        destination: [10, 0, 0, 2].into(),
        id,
        protocol: 17,
    }
}

fn table(datagrams_max: u32, account_datagrams_max: u32) -> Fragments {
    let timeout = Duration::from_secs(30);
    let limits = FragmentLimits { datagrams_max, account_datagrams_max, timeout };
    Fragments::new(limits, FlowHasher::seeded(3))
}

/// The fragment of bytes `from` to `to`.
fn bytes(from: u32, to: u32, more: bool) -> Fragment {
    Fragment { id: 0, offset: from, len: to - from, more }
}

impl Fragments {
    fn take(&mut self, id: u32, fragment: Fragment) -> Result<Part, DropReason> {
        self.accept(&key(id), fragment, POD, Time(1))
    }
}

#[test]
fn the_first_verdict_serves_the_rest_and_a_complete_datagram_is_forgotten() {
    let mut fragments = table(4, 4);
    assert_eq!(fragments.take(1, bytes(0, 800, true)), Ok(Part::First));
    fragments.settle(&key(1), Some(7), Time(1));
    assert_eq!(fragments.take(1, bytes(800, 1600, true)), Ok(Part::Behind { revision: 7 }));
    assert_eq!(fragments.len(), 1);
    assert_eq!(fragments.take(1, bytes(1600, 1700, false)), Ok(Part::Behind { revision: 7 }));
    assert!(fragments.is_empty());
}

#[test]
fn what_comes_before_the_verdict_is_early() {
    let mut fragments = table(4, 4);
    assert_eq!(fragments.take(1, bytes(800, 900, false)), Ok(Part::Early));
    assert_eq!(fragments.fate(&key(1), Time(1)), Ok(Part::Early));
    assert_eq!(fragments.take(1, bytes(0, 400, true)), Ok(Part::First));
    assert_eq!(fragments.take(1, bytes(400, 800, true)), Ok(Part::Early), "not judged yet");
    fragments.settle(&key(1), Some(2), Time(1));
    assert_eq!(fragments.fate(&key(1), Time(1)), Ok(Part::Behind { revision: 2 }));
}

#[test]
fn the_rest_of_a_dropped_first_is_dropped() {
    let mut fragments = table(4, 4);
    assert_eq!(fragments.take(1, bytes(0, 800, true)), Ok(Part::First));
    fragments.settle(&key(1), None, Time(1));
    let dropped = Err(DropReason::FragmentOfDropped);
    assert_eq!(fragments.take(1, bytes(800, 900, false)), dropped);
    assert_eq!(fragments.fate(&key(1), Time(1)), dropped);
    fragments.settle(&key(1), Some(9), Time(1));
    assert_eq!(fragments.fate(&key(1), Time(1)), dropped, "a verdict is not taken back");
    assert_eq!(fragments.take(2, bytes(0, 8, true)), Ok(Part::First), "another datagram is not");
}

#[test]
fn an_overlap_condemns_the_datagram_for_good() {
    let overlapping = [
        bytes(0, 80, true),     // the first again
        bytes(40, 120, true),   // into its end
        bytes(72, 88, true),    // across its end
        bytes(152, 168, true),  // across another's start
        bytes(160, 240, true),  // another again
        bytes(168, 176, true),  // within another
        bytes(80, 320, true),   // around another
        bytes(200, 240, false), // an end within what is there
    ];
    for (case, fragment) in overlapping.into_iter().enumerate() {
        let mut fragments = table(4, 4);
        assert_eq!(fragments.take(1, bytes(0, 80, true)), Ok(Part::First));
        fragments.settle(&key(1), Some(1), Time(1));
        assert!(fragments.take(1, bytes(160, 240, true)).is_ok());
        assert_eq!(fragments.take(1, fragment), Err(DropReason::FragmentOverlap), "{case}");
        let harmless = bytes(80, 88, true);
        assert_eq!(fragments.take(1, harmless), Err(DropReason::FragmentOverlap), "{case}");
        assert_eq!(fragments.fate(&key(1), Time(1)), Err(DropReason::FragmentOverlap));
    }
}

#[test]
fn nothing_lies_behind_the_end() {
    let mut fragments = table(4, 4);
    assert!(fragments.take(1, bytes(80, 90, false)).is_ok());
    assert_eq!(fragments.take(1, bytes(96, 104, true)), Err(DropReason::FragmentOverlap));
    assert!(fragments.take(2, bytes(80, 90, false)).is_ok());
    assert_eq!(fragments.take(2, bytes(40, 80, false)), Err(DropReason::FragmentOverlap));
}

#[test]
fn a_datagram_with_too_many_holes_is_condemned() {
    let mut fragments = table(4, 4);
    for n in 0..8 {
        assert!(fragments.take(1, bytes(16 * n, 16 * n + 8, true)).is_ok(), "{n}");
    }
    assert_eq!(fragments.take(1, bytes(800, 808, true)), Err(DropReason::FragmentsFull));
    assert_eq!(fragments.take(1, bytes(8, 16, true)), Err(DropReason::FragmentsFull));
}

#[test]
fn a_flood_takes_its_accounts_share_and_no_more() {
    let mut fragments = table(8, 4);
    for id in 0..4 {
        assert_eq!(fragments.take(id, bytes(0, 8, true)), Ok(Part::First));
    }
    for id in 4..1000 {
        assert_eq!(fragments.take(id, bytes(0, 8, true)), Err(DropReason::FragmentsFull));
    }
    let other = fragments.accept(&key(1000), bytes(0, 8, true), Account(2), Time(1));
    assert_eq!(other, Ok(Part::First));
    // In time the flood makes room for itself again.
    let later = Time(1) + Duration::from_secs(30);
    let again = fragments.accept(&key(2000), bytes(0, 8, true), POD, later);
    assert_eq!(again, Ok(Part::First));
    assert!(fragments.len() <= 8);
}

#[test]
fn a_datagram_that_takes_too_long_is_forgotten() {
    let mut fragments = table(2, 2);
    assert_eq!(fragments.take(1, bytes(0, 8, true)), Ok(Part::First));
    fragments.settle(&key(1), Some(1), Time(1));
    let end = Time(1) + Duration::from_secs(30);
    assert!(fragments.fate(&key(1), Time(end.0 - 1)).is_ok());
    assert_eq!(fragments.fate(&key(1), end), Err(DropReason::FragmentWithoutFirst));
    assert!(fragments.is_empty());
    assert_eq!(fragments.take(2, bytes(0, 8, true)), Ok(Part::First));
    fragments.expire(end, 2);
    assert!(fragments.is_empty());
}

proptest! {
    /// Against a plain set of bytes, in units of eight: any parts in any order.
    #[test]
    fn parts_that_do_not_overlap_fit_and_others_do_not(
        parts in prop::collection::vec((0u32..24, 1u32..6), 1..12),
    ) {
        let mut pieces = Pieces::default();
        let mut taken = [false; 32];
        for (start, len) in parts {
            let range = start as usize..(start + len) as usize;
            let overlaps = taken[range.clone()].iter().any(|taken| *taken);
            let added = pieces.add(bytes(start * 8, (start + len) * 8, true));
            if added == Err(DropReason::FragmentsFull) {
                return Ok(());
            }
            prop_assert_eq!(added.is_err(), overlaps);
            if overlaps {
                return Ok(());
            }
            taken[range].fill(true);
            let stretches = taken.chunk_by(|a, b| a == b).filter(|run| run[0]).count();
            prop_assert_eq!(pieces.known().len(), stretches);
        }
    }

    /// However a datagram is cut and shuffled, it is complete with its last part.
    #[test]
    fn a_datagram_is_complete_once_all_parts_are_here(
        cuts in prop::collection::btree_set(1u32..40, 0..7),
        order in Just(()).prop_perturb(|(), mut rng| rng.random::<u64>()),
    ) {
        let edges: Vec<u32> = [0].into_iter().chain(cuts).chain([40]).collect();
        let mut parts: Vec<Fragment> = edges
            .windows(2)
            .map(|edge| bytes(edge[0] * 8, edge[1] * 8, edge[1] != 40))
            .collect();
        let len = parts.len();
        for place in 0..len {
            parts.swap(place, usize::try_from(order >> (place * 5) & 31).unwrap() % len);
        }
        let mut pieces = Pieces::default();
        for (count, part) in parts.into_iter().enumerate() {
            prop_assert!(!pieces.is_complete(), "{count} of {len}");
            prop_assert_eq!(pieces.add(part), Ok(()));
        }
        prop_assert!(pieces.is_complete());
    }
}
