use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::address::NetworkId;
use crate::packet::Ports;

fn tuple(n: u16) -> FiveTuple {
    FiveTuple {
        network: NetworkId::DEFAULT,
        protocol: 6,
        source: [10, 0, 0, 1].into(),
        source_port: n,
        destination: [10, 0, 0, 2].into(),
        destination_port: 80,
    }
}

fn table(capacity: u32) -> (Connections, FlowHasher) {
    let hasher = FlowHasher::seeded(7);
    let limits = Limits { connections_max: capacity, account_connections_max: capacity };
    // What is answered stays for longer than any of these stories lasts.
    let timeouts = Timeouts { udp_replied: Duration::from_secs(1 << 20), ..Timeouts::default() };
    (Connections::new(limits, timeouts, hasher.clone()), hasher)
}

const DATAGRAM: Transport = Transport::Udp(Ports { source: 1, destination: 2 });

impl Connections {
    /// Opens the connection of a number with a datagram.
    fn add(&mut self, n: u16, now: Time) -> Result<(), NoRoom> {
        let (key, opener) = tuple(n).key();
        let hash = self.hasher.hash(&key);
        let opening = Opening { key, hash, opener, account: Account::OUTSIDE, revision: 1 };
        self.open(&opening, &DATAGRAM, false, now).map(|opened| assert!(opened))
    }

    /// An answer on the connection of a number.
    fn answer(&mut self, n: u16, now: Time) {
        let (key, _) = tuple(n).key();
        let hash = self.hasher.hash(&key);
        self.find(hash, &key, now).unwrap().follow(&DATAGRAM, false, false).unwrap();
    }
}

#[test]
fn a_full_table_refuses_and_keeps_what_lives() {
    let (mut connections, hasher) = table(4);
    let now = Time(1);
    for n in 0..4 {
        assert_eq!(connections.add(n, now), Ok(()));
    }
    assert_eq!(connections.add(4, now), Err(NoRoom::Full));
    for n in 0..4 {
        let (key, _) = tuple(n).key();
        assert!(connections.find(hasher.hash(&key), &key, now).is_some(), "{n}");
    }
    // Once they have expired, there is room.
    let later = now + Duration::from_secs(60);
    assert_eq!(connections.add(4, later), Ok(()));
}

#[test]
fn an_expired_connection_is_not_found_even_before_the_sweep() {
    let (mut connections, hasher) = table(4);
    let (key, _) = tuple(1).key();
    let hash = hasher.hash(&key);
    connections.add(1, Time(0)).unwrap();
    let end = Time(0) + connections.timeouts().udp_single;
    assert!(connections.find(hash, &key, Time(end.0 - 1)).is_some());
    assert!(connections.find(hash, &key, end).is_none());
    assert_eq!(connections.len(), 1);
    assert_eq!(connections.expire(end, 4), 1);
    assert!(connections.is_empty());
}

type Step = (u8, u16, u64);

fn steps(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0u8..5, 0u16..32, 0u64..40), count)
}

/// Something that may happen to a table.
fn churn(connections: &mut Connections, hasher: &FlowHasher, now: &mut Time, step: Step) {
    let (step, n, seconds) = step;
    let (key, _) = tuple(n).key();
    let hash = hasher.hash(&key);
    match step {
        0 | 1 => {
            // A full table is one of the things that may happen.
            let _ = connections.add(n, *now);
        }
        2 => {
            connections.remove(hash, &key);
        }
        3 => *now = *now + Duration::from_secs(seconds),
        _ => {
            connections.expire(*now, usize::from(n));
        }
    }
}

/// The source ports of what slices of `max` slots list, slice by slice.
fn walk(connections: &Connections, max: usize, now: Time) -> Vec<Vec<u16>> {
    let mut slices = Vec::new();
    let mut from = Some(0);
    while let Some(here) = from {
        let (slice, next) = connections.slice(here, max, now);
        slices.push(slice.map(|connection| connection.opening().source_port).collect());
        assert!(next.is_none_or(|next| next > here), "a walk gets on");
        from = next;
    }
    slices
}

#[test]
fn a_slice_is_bounded_by_its_length_and_by_the_table() {
    let (mut connections, _) = table(5);
    assert_eq!(walk(&connections, 2, Time(0)), [Vec::<u16>::new(), vec![], vec![]]);
    for n in 0..5 {
        connections.add(n, Time(0)).unwrap();
    }
    assert_eq!(walk(&connections, 2, Time(0)), [vec![0, 1], vec![2, 3], vec![4]]);
    assert_eq!(walk(&connections, 5, Time(0)), [vec![0, 1, 2, 3, 4]]);
    assert_eq!(walk(&connections, usize::MAX, Time(0)).len(), 1);
    assert_eq!(walk(&connections, 0, Time(0)).len(), 5, "one slot at least");
    for from in [5, 6, usize::MAX] {
        let (mut slice, next) = connections.slice(from, 2, Time(0));
        assert!(slice.next().is_none() && next.is_none(), "nothing from {from} on");
    }
    assert_eq!(walk(&table(0).0, 2, Time(0)), [Vec::<u16>::new()]);
}

#[test]
fn a_flow_opened_anew_keeps_its_slot() {
    let (mut connections, hasher) = table(8);
    for n in 0..6 {
        connections.add(n, Time(0)).unwrap();
    }
    let (gone, _) = tuple(1).key();
    connections.remove(hasher.hash(&gone), &gone);
    connections.answer(4, Time(0));
    connections.add(4, Time(0)).unwrap();
    assert_eq!(walk(&connections, 1, Time(0)).concat(), [0, 2, 3, 4, 5]);
    assert_eq!(walk(&connections, 5, Time(0)), [vec![0, 2, 3, 4], vec![5]]);
}

proptest! {
    /// A walk over a table that rests is `iter`, in slices of any length.
    #[test]
    fn slices_make_up_what_iter_lists(before in steps(0..120), max in 1usize..40) {
        let (mut connections, hasher) = table(24);
        let mut now = Time(0);
        for step in before {
            churn(&mut connections, &hasher, &mut now, step);
        }
        let all: Vec<u16> =
            connections.iter(now).map(|connection| connection.opening().source_port).collect();
        let slices = walk(&connections, max, now);
        prop_assert_eq!(slices.len(), 24usize.div_ceil(max));
        prop_assert!(slices.iter().all(|slice| slice.len() <= max));
        prop_assert_eq!(slices.concat(), all);
    }

    /// What lives all the while does not move, whatever comes, goes and expires around it.
    #[test]
    fn a_walk_over_a_changing_table_lists_what_stays_exactly_once(
        before in steps(8..100),
        meanwhile in prop::collection::vec(steps(0..20), 1..24),
        max in 1usize..6,
    ) {
        const STAYS: u16 = 100;
        let (mut connections, hasher) = table(24);
        let mut now = Time(0);
        let mut staying = Vec::new();
        for (n, step) in (STAYS..).zip(before) {
            churn(&mut connections, &hasher, &mut now, step);
            // Every eighth stays, so that their slots lie among those of others.
            if n % 8 == 0 && connections.add(n, now).is_ok() {
                connections.answer(n, now);
                staying.push(n);
            }
        }
        let mut listed = Vec::new();
        let mut from = Some(0);
        for steps in meanwhile.into_iter().cycle() {
            let Some(here) = from else { break };
            let (slice, next) = connections.slice(here, max, now);
            listed.extend(slice.map(|connection| connection.opening().source_port));
            from = next;
            for step in steps {
                churn(&mut connections, &hasher, &mut now, step);
            }
            for n in &staying {
                connections.answer(*n, now);
            }
        }
        listed.retain(|n| *n >= STAYS);
        listed.sort_unstable();
        prop_assert_eq!(listed, staying);
    }

    /// Against a plain map: insertions, removals, look-ups and the passing of time.
    #[test]
    fn the_table_behaves_as_a_map_with_deadlines(
        steps in prop::collection::vec((0u8..4, 0u16..12, 0u64..40), 1..200),
    ) {
        let (mut connections, hasher) = table(8);
        let mut model: HashMap<u16, Time> = HashMap::new();
        let mut now = Time(0);
        for (step, n, seconds) in steps {
            let (key, _) = tuple(n).key();
            let hash = hasher.hash(&key);
            match step {
                0 => {
                    let live = model.iter().filter(|(k, end)| **end > now && **k != n).count();
                    let added = connections.add(n, now);
                    prop_assert_eq!(added.is_ok(), live < 8, "capacity counts what lives");
                    if added.is_ok() {
                        model.insert(n, now + connections.timeouts().udp_single);
                    } else {
                        model.remove(&n);
                    }
                }
                1 => {
                    connections.remove(hash, &key);
                    model.remove(&n);
                }
                2 => now = now + Duration::from_secs(seconds),
                _ => { connections.expire(now, usize::from(n)); }
            }
            for n in 0u16..12 {
                let (key, _) = tuple(n).key();
                let found = connections.find(hasher.hash(&key), &key, now).is_some();
                prop_assert_eq!(found, model.get(&n).is_some_and(|end| *end > now));
            }
        }
    }
}
