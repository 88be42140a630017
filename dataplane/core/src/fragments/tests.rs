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
        self.accept(&key(id), fragment, POD, Time(1)).map(|(_, part)| part)
    }

    /// Takes the first fragment of a datagram.
    fn begin(&mut self, id: u32, fragment: Fragment) -> DatagramId {
        let (datagram, part) = self.accept(&key(id), fragment, POD, Time(1)).unwrap();
        assert_eq!(part, Part::First);
        datagram
    }
}

#[test]
fn the_first_verdict_serves_the_rest_and_a_complete_datagram_is_forgotten() {
    let mut fragments = table(4, 4);
    let datagram = fragments.begin(1, bytes(0, 800, true));
    let behind = Ok(Part::Behind { revision: 7 });
    assert_eq!(fragments.settle(&datagram, Some(7), Time(1)), behind);
    assert_eq!(fragments.take(1, bytes(800, 1600, true)), behind);
    assert_eq!(fragments.len(), 1);
    assert_eq!(fragments.take(1, bytes(1600, 1700, false)), behind);
    assert!(fragments.is_empty());
}

#[test]
fn what_comes_before_the_verdict_waits() {
    let mut fragments = table(4, 4);
    assert_eq!(fragments.take(1, bytes(800, 900, false)), Ok(Part::Early));
    let datagram = fragments.begin(1, bytes(0, 400, true));
    assert_eq!(fragments.take(1, bytes(400, 800, true)), Ok(Part::Pending));
    let settled = fragments.settle(&datagram, Some(2), Time(1));
    assert_eq!(settled, Ok(Part::Behind { revision: 2 }));
    assert!(fragments.is_empty(), "all of it has come, in whatever order");
}

#[test]
fn the_rest_of_a_dropped_first_is_dropped() {
    let mut fragments = table(4, 4);
    let datagram = fragments.begin(1, bytes(0, 800, true));
    let dropped = Err(DropReason::FragmentOfDropped);
    assert_eq!(fragments.settle(&datagram, None, Time(1)), dropped);
    assert_eq!(fragments.take(1, bytes(800, 896, true)), dropped);
    let again = fragments.settle(&datagram, Some(9), Time(1));
    assert_eq!(again, dropped, "a verdict is not taken back");
    fragments.begin(2, bytes(0, 8, true));
    assert_eq!(fragments.len(), 2, "another datagram is another matter");
    assert_eq!(fragments.take(1, bytes(896, 900, false)), dropped);
    assert_eq!(fragments.len(), 1, "nothing more can come of it");
}

#[test]
fn a_verdict_is_for_the_datagram_that_it_was_asked_for() {
    let mut fragments = table(4, 4);
    let former = fragments.begin(1, bytes(0, 8, true));
    let later = Time(1) + Duration::from_secs(30);
    let (datagram, part) = fragments.accept(&key(1), bytes(0, 8, true), POD, later).unwrap();
    assert!(part == Part::First && datagram != former, "the former one's time is over");
    let forgotten = Err(DropReason::FragmentWithoutFirst);
    assert_eq!(fragments.settle(&former, Some(1), later), forgotten);
    let dropped = Err(DropReason::FragmentOfDropped);
    assert_eq!(fragments.settle(&datagram, None, later), dropped);
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
        let datagram = fragments.begin(1, bytes(0, 80, true));
        assert!(fragments.settle(&datagram, Some(1), Time(1)).is_ok());
        assert!(fragments.take(1, bytes(160, 240, true)).is_ok());
        assert_eq!(fragments.take(1, fragment), Err(DropReason::FragmentOverlap), "{case}");
        let harmless = bytes(80, 88, true);
        assert_eq!(fragments.take(1, harmless), Err(DropReason::FragmentOverlap), "{case}");
        let settled = fragments.settle(&datagram, Some(1), Time(1));
        assert_eq!(settled, Err(DropReason::FragmentOverlap));
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
fn a_flood_takes_from_itself() {
    let mut fragments = table(8, 4);
    let other = fragments.accept(&key(5000), bytes(0, 8, true), Account(2), Time(1)).unwrap();
    for id in 0..1000 {
        fragments.begin(id, bytes(0, 8, true));
        assert!(fragments.len() <= 5);
    }
    // The oldest have given way: what comes of them has no first one.
    assert_eq!(fragments.take(3, bytes(8, 16, false)), Ok(Part::Early));
    assert_eq!(fragments.take(999, bytes(8, 16, false)), Ok(Part::Pending));
    let (datagram, _) = other;
    assert_eq!(fragments.settle(&datagram, Some(1), Time(1)), Ok(Part::Behind { revision: 1 }));
}

#[test]
fn a_full_table_takes_from_who_has_most() {
    let mut fragments = table(8, 8);
    let begin = |fragments: &mut Fragments, id, account| {
        fragments.accept(&key(id), bytes(0, 8, true), account, Time(1)).unwrap().0
    };
    // What comes from and goes to nobody here has no share of its own to keep to.
    for id in 0..8 {
        begin(&mut fragments, id, Account::OUTSIDE);
    }
    let first = begin(&mut fragments, 8, POD);
    for id in 9..100 {
        begin(&mut fragments, id, Account::OUTSIDE);
    }
    assert_eq!(fragments.len(), 8);
    assert!(fragments.settle(&first, Some(1), Time(1)).is_ok());
}

#[test]
fn a_datagram_that_takes_too_long_is_forgotten() {
    let mut fragments = table(2, 2);
    let end = Time(1) + Duration::from_secs(30);
    let in_time = fragments.begin(1, bytes(0, 8, true));
    assert!(fragments.settle(&in_time, Some(1), Time(end.0 - 1)).is_ok());
    let behind = fragments.accept(&key(1), bytes(8, 16, true), POD, end).unwrap();
    assert_eq!(behind.1, Part::Early, "of another one");
    assert_eq!(fragments.len(), 1);
    fragments.expire(end + Duration::from_secs(30), 2);
    assert!(fragments.is_empty());
}

#[test]
fn an_account_that_is_forgotten_has_its_share_again() {
    let mut fragments = table(4, 2);
    for id in 0..2 {
        assert!(fragments.take(id, bytes(0, 8, true)).is_ok());
    }
    let other = fragments.accept(&key(9), bytes(0, 8, true), Account(2), Time(1));
    assert!(other.is_ok());
    fragments.forget(POD);
    assert_eq!(fragments.len(), 1);
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
