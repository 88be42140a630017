use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::state::TcpState;
use super::*;
use crate::address::NetworkId;

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
    (Connections::new(capacity, Timeouts::default(), hasher.clone()), hasher)
}

const OPENING: State = State::Tcp(TcpState::SynSent);

#[test]
fn a_full_table_refuses_and_keeps_what_lives() {
    let (mut connections, hasher) = table(4);
    let now = Time(1);
    for n in 0..4 {
        let (key, side) = tuple(n).key();
        assert_eq!(connections.insert(hasher.hash(&key), key, side, OPENING, 1, now), Ok(()));
    }
    let (key, side) = tuple(4).key();
    assert_eq!(connections.insert(hasher.hash(&key), key, side, OPENING, 1, now), Err(Full));
    for n in 0..4 {
        let (key, _) = tuple(n).key();
        assert!(connections.find(hasher.hash(&key), &key, now).is_some(), "{n}");
    }
    // Once they have expired, there is room.
    let later = now + Duration::from_secs(60);
    assert_eq!(connections.insert(hasher.hash(&key), key, side, OPENING, 1, later), Ok(()));
}

#[test]
fn an_expired_connection_is_not_found_even_before_the_sweep() {
    let (mut connections, hasher) = table(4);
    let (key, side) = tuple(1).key();
    let hash = hasher.hash(&key);
    connections.insert(hash, key, side, OPENING, 1, Time(0)).unwrap();
    let end = Time(0) + connections.timeouts().tcp_opening;
    assert!(connections.find(hash, &key, Time(end.0 - 1)).is_some());
    assert!(connections.find(hash, &key, end).is_none());
    assert_eq!(connections.len(), 1);
    assert_eq!(connections.expire(end, 4), 1);
    assert!(connections.is_empty());
}

proptest! {
    /// Against a plain map: insertions, removals, look-ups and the passing of time.
    #[test]
    fn the_table_behaves_as_a_map_with_deadlines(
        steps in prop::collection::vec((0u8..4, 0u16..12, 0u64..40), 1..200),
    ) {
        let (mut connections, hasher) = table(8);
        let mut model: HashMap<u16, Time> = HashMap::new();
        let mut now = Time(0);
        for (step, n, seconds) in steps {
            let (key, side) = tuple(n).key();
            let hash = hasher.hash(&key);
            match step {
                0 => {
                    let live = model.iter().filter(|(k, end)| **end > now && **k != n).count();
                    let added = connections.insert(hash, key, side, OPENING, 1, now);
                    prop_assert_eq!(added.is_ok(), live < 8, "capacity counts what lives");
                    if added.is_ok() {
                        model.insert(n, now + connections.timeouts().tcp_opening);
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
