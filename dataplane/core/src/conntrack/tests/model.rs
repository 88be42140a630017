//! The table against a plain list of what it should hold.

use super::*;

const CAPACITY: usize = 8;
const QUOTA: usize = 3;
const FLOWS: u16 = 14;

/// What a connection should be.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Entry {
    n: u16,
    account: Account,
    deadline: Time,
    /// Its turn to give way, and since when.
    yields: Option<(u8, u32)>,
}

struct Model {
    connections: Connections,
    /// In no order; what has expired is in it until the table has freed it.
    entries: Vec<Entry>,
    now: Time,
    count: u32,
}

#[derive(Debug, Clone)]
enum Step {
    Open(u16, Account, Transport),
    Follow(u16, bool, Transport),
    Remove(u16),
    Pass(Duration),
    Expire(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let transport = || prop_oneof![Just(DATAGRAM), Just(SYN)];
    let follower = prop_oneof![
        3 => Just(DATAGRAM),
        1 => Just(segment(300, 101, TcpFlags::SYN | TcpFlags::ACK)),
        1 => Just(segment(101, 301, TcpFlags::ACK)),
        1 => Just(segment(101, 301, TcpFlags::RST | TcpFlags::ACK)),
        1 => Just(segment(301, 101, TcpFlags::RST | TcpFlags::ACK)),
    ];
    let span = prop_oneof![
        3 => (0u64..200).prop_map(Duration::from_millis),
        3 => (0u64..70).prop_map(Duration::from_secs),
        1 => (0u64..400_000).prop_map(Duration::from_secs),
    ];
    prop_oneof![
        8 => (0..FLOWS, 0u16..4, transport())
            .prop_map(|(n, account, transport)| Step::Open(n, Account(account), transport)),
        6 => (0..FLOWS, any::<bool>(), follower).prop_map(|(n, by, it)| Step::Follow(n, by, it)),
        1 => (0..FLOWS).prop_map(Step::Remove),
        2 => span.prop_map(Step::Pass),
        2 => (0usize..200).prop_map(Step::Expire),
    ]
}

impl Model {
    fn new() -> Self {
        let limits = Limits {
            connections_max: u32::try_from(CAPACITY).unwrap(),
            account_connections_max: u32::try_from(QUOTA).unwrap(),
        };
        let connections = Connections::new(limits, Timeouts::default(), FlowHasher::seeded(7));
        Self { connections, entries: Vec::new(), now: Time(0), count: 0 }
    }

    fn play(&mut self, step: Step) {
        self.count += 1;
        match step {
            Step::Open(n, account, transport) => self.open(n, account, &transport),
            Step::Follow(n, by_opener, transport) => self.follow(n, by_opener, &transport),
            Step::Remove(n) => {
                let (key, _) = tuple(n).key();
                let known = self.connections.remove(self.connections.hasher.hash(&key), &key);
                assert_eq!(known, self.entries.iter().any(|entry| entry.n == n));
                self.entries.retain(|entry| entry.n != n);
            }
            Step::Pass(span) => self.now = self.now + span,
            Step::Expire(budget) => self.expire(budget),
        }
        self.check();
    }

    fn expire(&mut self, budget: usize) {
        let steps = self.connections.expire(self.now, budget);
        let freed = self.note_freed();
        assert!(freed.len() <= steps && steps <= budget);
        assert!(freed.iter().all(|entry| entry.deadline <= self.now), "{freed:?}");
        if steps < budget {
            let overdue = |entry: &&Entry| entry.deadline.0 + TICK_NANOS <= self.now.0;
            assert_eq!(self.entries.iter().find(overdue), None, "not freed in time");
        }
    }

    fn follow(&mut self, n: u16, by_opener: bool, transport: &Transport) {
        let Some(mut found) = self.connections.found(n, self.now) else { return };
        let before = found.state();
        let followed = found.follow(transport, false, by_opener);
        let after = found.state();
        let entry = self.entries.iter_mut().find(|entry| entry.n == n).unwrap();
        if followed.is_err() {
            assert_eq!(before, after);
            return;
        }
        let proves_nothing = matches!(transport, Transport::Tcp(segment)
            if segment.flags.has(TcpFlags::SYN) || segment.flags.has(TcpFlags::RST));
        if before != after || !proves_nothing {
            entry.deadline = self.now + self.connections.timeouts.of(after);
        }
        entry.yields = turn(after).map(|turn| match entry.yields {
            Some((before, since)) if before == turn => (turn, since),
            _ => (turn, self.count),
        });
    }

    fn open(&mut self, n: u16, account: Account, transport: &Transport) {
        let slot = self.slot_of(n);
        self.entries.retain(|entry| entry.n != n);
        let had_room = self.has_quota(account) && self.entries.len() < CAPACITY;
        let opened = self.connections.open_for(account, n, transport, self.now);
        let freed = self.note_freed();
        assert!(!had_room || (freed.is_empty() && opened.is_ok()), "{opened:?} {freed:?}");
        // What had expired went first; at most one that lived has been pushed out after that.
        let evicted: Vec<Entry> =
            freed.into_iter().filter(|entry| entry.deadline > self.now).collect();
        assert!(evicted.len() <= 1, "{evicted:?}");
        if let [evicted] = evicted[..] {
            self.entries.push(evicted);
            self.check_turn_of(&evicted, account);
            self.entries.pop();
        }
        match opened {
            Ok(()) => {
                assert!(slot.is_none() || slot == self.slot_of(n), "{n} has moved");
                let state = self.connections.found(n, self.now).unwrap().state();
                let deadline = self.now + self.connections.timeouts.of(state);
                self.entries.push(Entry { n, account, deadline, yields: Some((1, self.count)) });
            }
            Err(NoRoom::Quota) => {
                assert!(!self.has_quota(account));
                assert_eq!(self.yielding(account), 0, "its own could have given way");
            }
            Err(NoRoom::Full) => {
                assert!(self.has_quota(account) && self.entries.len() == CAPACITY);
                assert!(self.entries.iter().all(|entry| entry.yields.is_none()));
            }
        }
    }

    /// Holds that it is `evicted` that had to give way to a newcomer.
    fn check_turn_of(&self, evicted: &Entry, newcomer: Account) {
        let oldest = (self.entries.iter())
            .filter(|entry| entry.account == evicted.account && entry.yields.is_some())
            .min_by_key(|entry| entry.yields);
        assert_eq!(oldest, Some(evicted), "the oldest of an account's first turn goes first");
        if !self.has_quota(newcomer) {
            assert_eq!(evicted.account, newcomer, "a quota is paid by its account");
            return;
        }
        assert_eq!(self.entries.len(), CAPACITY, "there was room without {evicted:?}");
        let most = (0..4).map(|account| self.yielding(Account(account))).max().unwrap();
        assert!(2 * self.yielding(evicted.account) > most, "who has least pays for others");
        if evicted.account != newcomer {
            assert!(self.yielding(newcomer) < self.yielding(evicted.account));
        }
    }

    fn slot_of(&self, n: u16) -> Option<usize> {
        let is_it = |slot: &Option<Connection>| {
            slot.as_ref().is_some_and(|connection| connection.opening().source_port == n)
        };
        self.connections.slab.as_slice().iter().position(is_it)
    }

    fn has_quota(&self, account: Account) -> bool {
        let held = self.entries.iter().filter(|entry| entry.account == account).count();
        let quota = if account == Account::OUTSIDE { CAPACITY.div_ceil(2) } else { QUOTA };
        held < quota
    }

    fn yielding(&self, account: Account) -> usize {
        let yields = |entry: &&Entry| entry.account == account && entry.yields.is_some();
        self.entries.iter().filter(yields).count()
    }

    /// Takes out of the model what the table holds no more.
    fn note_freed(&mut self) -> Vec<Entry> {
        let all = self.connections.slab.as_slice().iter().flatten();
        let held: Vec<u16> = all.map(|connection| connection.opening().source_port).collect();
        self.entries.extract_if(.., |entry| !held.contains(&entry.n)).collect()
    }

    fn check(&mut self) {
        assert_eq!(self.connections.len(), self.entries.len());
        for account in 1..4 {
            let held = self.entries.iter().filter(|entry| entry.account.0 == account).count();
            assert!(held <= QUOTA, "{account}: {held}");
        }
        for n in 0..FLOWS {
            let entry = self.entries.iter().find(|entry| entry.n == n);
            let lives = entry.is_some_and(|entry| entry.deadline > self.now);
            assert_eq!(self.connections.found(n, self.now).is_some(), lives, "{n}");
        }
    }
}

/// 1 for what nobody has answered and what is over, 2 for what has been answered once.
fn turn(state: State) -> Option<u8> {
    match state {
        State::Tcp(TcpState::SynSent | TcpState::SynReceived | TcpState::Closed)
        | State::Udp(Exchange::Single) => Some(1),
        State::Udp(Exchange::Answered) => Some(2),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_table_behaves_as_a_list_with_deadlines_and_quotas(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut model = Model::new();
        for step in steps {
            model.play(step);
        }
        let counted = model.connections.expired() + model.connections.evicted();
        model.now = model.now + Duration::from_secs(1 << 20);
        let left = model.connections.len() as u64;
        model.expire(1000);
        prop_assert!(model.connections.is_empty(), "nothing is held for ever");
        prop_assert_eq!(model.connections.expired() + model.connections.evicted(), counted + left);
    }
}
