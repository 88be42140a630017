mod lifetimes;
mod model;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::address::NetworkId;
use crate::flow::FiveTuple;
use crate::packet::{Ports, Segment, TcpFlags};
use state::{Exchange, State, TcpState};
use wheel::TICK_NANOS;

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
    let limits = Limits { connections_max: capacity, account_connections_max: 2 * capacity };
    // What goes on stays for longer than any of these stories lasts.
    let timeouts = Timeouts { udp_ongoing: Duration::from_secs(1 << 20), ..Timeouts::default() };
    (Connections::new(limits, timeouts, hasher.clone()), hasher)
}

const DATAGRAM: Transport = Transport::Udp(Ports { source: 1, destination: 2 });

const SYN: Transport = segment(100, 0, TcpFlags::SYN);

const fn segment(sequence: u32, acknowledgement: u32, flags: TcpFlags) -> Transport {
    Transport::Tcp(Segment {
        ports: Ports { source: 1, destination: 2 },
        flags,
        sequence,
        acknowledgement,
        window: u16::MAX,
        window_scale: None,
        payload_len: 0,
    })
}

/// What a SYN is answered with, and how.
fn handshake() -> [(Transport, bool); 2] {
    [
        (segment(300, 101, TcpFlags::SYN | TcpFlags::ACK), false),
        (segment(101, 301, TcpFlags::ACK), true),
    ]
}

const POD: Account = Account(1);

impl Connections {
    fn open_for(
        &mut self,
        account: Account,
        n: u16,
        transport: &Transport,
        now: Time,
    ) -> Result<(), NoRoom> {
        let (key, opener) = tuple(n).key();
        let hash = self.hasher.hash(&key);
        let opening = Opening { key, hash, opener, account, revision: 1 };
        self.open(&opening, transport, false, now).map(|opened| assert!(opened))
    }

    /// Opens the connection of a number with a datagram.
    fn add(&mut self, n: u16, now: Time) -> Result<(), NoRoom> {
        self.open_for(POD, n, &DATAGRAM, now)
    }

    fn found(&mut self, n: u16, now: Time) -> Option<Found<'_>> {
        let (key, _) = tuple(n).key();
        self.find(self.hasher.hash(&key), &key, now)
    }

    /// An answer on the connection of a number.
    fn answer(&mut self, n: u16, now: Time) {
        self.found(n, now).unwrap().follow(&DATAGRAM, false, false).unwrap();
    }

    /// An answer on the connection of a number, and what its opener says to it.
    fn go_on(&mut self, n: u16, now: Time) {
        self.answer(n, now);
        self.found(n, now).unwrap().follow(&DATAGRAM, false, true).unwrap();
    }

    /// Segments of the connection of a number.
    fn segments<const N: usize>(&mut self, n: u16, segments: [(Transport, bool); N], now: Time) {
        for (segment, by_opener) in segments {
            self.found(n, now).unwrap().follow(&segment, false, by_opener).unwrap();
        }
    }

    /// The numbers of the connections that live.
    fn numbers(&self, now: Time) -> Vec<u16> {
        self.iter(now).map(|connection| connection.opening().source_port).collect()
    }
}

#[test]
fn a_full_table_refuses_and_keeps_what_goes_on() {
    let (mut connections, _) = table(4);
    let now = Time(1);
    for n in 0..4 {
        assert_eq!(connections.add(n, now), Ok(()));
        connections.go_on(n, now);
    }
    assert_eq!(connections.add(4, now), Err(NoRoom::Full));
    assert_eq!(connections.numbers(now), [0, 1, 2, 3]);
    // Once they have expired, there is room.
    let later = now + connections.timeouts().udp_ongoing + Duration::from_nanos(TICK_NANOS);
    connections.expire(later, 1000);
    assert_eq!(connections.add(4, later), Ok(()));
    assert_eq!((connections.expired(), connections.evicted()), (4, 0));
}

#[test]
fn a_newcomer_to_a_full_table_frees_what_has_expired() {
    let (mut connections, _) = table(4);
    let end = Time(0) + connections.timeouts().udp_single;
    for n in 0..4 {
        connections.add(n, Time(0)).unwrap();
    }
    connections.expire(end, 1000);
    let later = end + Duration::from_nanos(TICK_NANOS);
    assert_eq!(connections.add(4, later), Ok(()));
    assert_eq!((connections.expired(), connections.evicted()), (1, 0), "one is enough");
}

#[test]
fn an_expired_connection_is_not_found_even_before_the_sweep() {
    let (mut connections, _) = table(4);
    connections.add(1, Time(0)).unwrap();
    let end = Time(0) + connections.timeouts().udp_single;
    assert!(connections.found(1, Time(end.0 - 1)).is_some());
    assert!(connections.found(1, end).is_none());
    assert_eq!(connections.len(), 1);
    connections.expire(end + Duration::from_nanos(TICK_NANOS), 4);
    assert!(connections.is_empty());
}

#[test]
fn a_connection_that_closes_is_freed_as_early_as_if_it_had_just_begun() {
    let (mut connections, _) = table(4);
    connections.open_for(Account(1), 1, &SYN, Time(0)).unwrap();
    connections.segments(1, handshake(), Time(0));
    let reset = segment(101, 301, TcpFlags::RST | TcpFlags::ACK);
    let mut found = connections.found(1, Time(0)).unwrap();
    found.follow(&reset, false, true).unwrap();
    assert!(found.state().is_closed());
    let end = Time(0) + connections.timeouts().tcp_closed;
    connections.expire(end + Duration::from_nanos(TICK_NANOS), 1000);
    assert!(connections.is_empty(), "it holds no memory for a day");
}

#[test]
fn a_burst_of_expiries_is_spread_over_many_sweeps() {
    let (mut connections, _) = table(1000);
    for n in 0..1000 {
        connections.add(n, Time(0)).unwrap();
    }
    let later = Time(0) + connections.timeouts().udp_single + Duration::from_nanos(TICK_NANOS);
    let mut sweeps = 0;
    while connections.expire(later, 64) == 64 {
        sweeps += 1;
        assert!(connections.len() >= 1000 - 64 * sweeps, "no sweep frees more than its budget");
    }
    assert!(connections.is_empty());
    assert_eq!(connections.expire(later, 64), 0, "nothing more is due");
}

#[test]
fn an_account_at_its_quota_forgets_its_own_oldest_that_nobody_has_answered() {
    let hasher = FlowHasher::seeded(7);
    let limits = Limits { connections_max: 100, account_connections_max: 3 };
    let mut connections = Connections::new(limits, Timeouts::default(), hasher);
    for n in 0..3 {
        connections.open_for(Account(1), n, &DATAGRAM, Time(0)).unwrap();
        connections.open_for(Account(2), 10 + n, &DATAGRAM, Time(0)).unwrap();
    }
    connections.go_on(0, Time(0));
    connections.open_for(Account(1), 3, &DATAGRAM, Time(0)).unwrap();
    let mut left = connections.numbers(Time(0));
    left.sort_unstable();
    assert_eq!(left, [0, 2, 3, 10, 11, 12]);
    assert_eq!(connections.evicted(), 1);
    for n in [2, 3] {
        connections.go_on(n, Time(0));
    }
    let refused = connections.open_for(Account(1), 4, &DATAGRAM, Time(0));
    assert_eq!(refused, Err(NoRoom::Quota));
    for n in 20..40 {
        connections.open_for(Account::OUTSIDE, n, &DATAGRAM, Time(0)).unwrap();
    }
}

#[test]
fn who_floods_a_full_table_pushes_out_its_own() {
    let (mut connections, _) = table(1000);
    for n in 0..10 {
        connections.open_for(Account(1), n, &DATAGRAM, Time(0)).unwrap();
    }
    for n in 100..5000 {
        connections.open_for(Account(2), n, &DATAGRAM, Time(0)).unwrap();
    }
    // A third party comes late, and stays as well.
    for n in 10_000..10_010 {
        connections.open_for(Account(3), n, &DATAGRAM, Time(0)).unwrap();
    }
    for n in 5000..9000 {
        connections.open_for(Account(2), n, &DATAGRAM, Time(0)).unwrap();
    }
    for n in (0..10).chain(10_000..10_010) {
        assert!(connections.found(n, Time(0)).is_some(), "{n}");
    }
    assert_eq!(connections.len(), 1000);
}

#[test]
fn what_is_closed_gives_way_and_what_goes_on_does_not() {
    let (mut connections, _) = table(2);
    connections.open_for(Account(1), 0, &SYN, Time(0)).unwrap();
    let refusal = segment(0, 101, TcpFlags::RST | TcpFlags::ACK);
    connections.found(0, Time(0)).unwrap().follow(&refusal, false, false).unwrap();
    connections.add(1, Time(0)).unwrap();
    connections.go_on(1, Time(0));
    connections.add(2, Time(0)).unwrap();
    assert_eq!(connections.numbers(Time(0)), [2, 1]);
}

#[test]
fn what_is_answered_once_gives_way_after_what_nobody_has_answered() {
    for datagram in [DATAGRAM, Transport::Opaque, Transport::Echo { id: 1, request: true }] {
        let (mut connections, _) = table(3);
        for n in 0..3 {
            connections.open_for(Account(1), n, &datagram, Time(0)).unwrap();
        }
        for n in [1, 0] {
            connections.answer(n, Time(0));
        }
        for (newcomer, left) in [(3, [0, 1, 3]), (4, [0, 1, 4])] {
            connections.open_for(Account(1), newcomer, &datagram, Time(0)).unwrap();
            assert_eq!(connections.numbers(Time(0)), left, "a flood takes from what it is made of");
        }
        connections.answer(4, Time(0));
        connections.open_for(Account(1), 5, &datagram, Time(0)).unwrap();
        assert_eq!(connections.numbers(Time(0)), [0, 5, 4], "who was answered first");
    }
}

#[test]
fn an_echo_gives_way_however_often_it_is_answered() {
    let (mut connections, _) = table(1);
    connections
        .open_for(Account(1), 0, &Transport::Echo { id: 1, request: true }, Time(0))
        .unwrap();
    for _ in 0..3 {
        connections.go_on(0, Time(0));
    }
    connections.add(1, Time(0)).unwrap();
    assert_eq!(connections.numbers(Time(0)), [1]);
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

#[test]
fn an_account_is_forgotten_slice_by_slice_and_no_other() {
    let (mut connections, hasher) = table(16);
    let open = |connections: &mut Connections, n: u16, account: Account| {
        let (key, opener) = tuple(n).key();
        let opening = Opening { key, hash: hasher.hash(&key), opener, account, revision: 1 };
        assert_eq!(connections.open(&opening, &DATAGRAM, false, Time(0)), Ok(true));
    };
    for n in 0..12 {
        open(&mut connections, n, Account(n % 3));
    }
    let mut from = Some(0);
    let mut slices = 0;
    while let Some(here) = from {
        from = connections.forget(Account(1), here, 5);
        slices += 1;
    }
    assert_eq!(slices, 4);
    let left: Vec<u16> = connections.iter(Time(0)).map(|it| it.opening().source_port).collect();
    assert_eq!(left, [0, 2, 3, 5, 6, 8, 9, 11]);
    // Its share is free again.
    for n in 100..108 {
        open(&mut connections, n, Account(1));
    }
    assert_eq!((connections.len(), connections.evicted()), (16, 0));
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
        let all = connections.numbers(now);
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
                connections.go_on(n, now);
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
}
