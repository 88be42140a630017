//! What may happen to a connection table, beside a plain list of what it should hold.
//!
//! ```text
//! story = limits step*          limits: capacity in the low half, quota in the high one
//! step  = what flow more time   see `Step`; time: the cube root of milliseconds
//! ```
//!
//! The states of connections are taken from the table: it is theirs to say. What is held to the
//! list is who lives, who has to go, when, and that nobody is forgotten.

use std::time::Duration;

use sluice_core::address::NetworkId;
use sluice_core::conntrack::state::{State, Timeouts, Turn};
use sluice_core::conntrack::{Account, Connections, Found, Limits, NoRoom, Opening};
use sluice_core::flow::{FiveTuple, FlowHasher};
use sluice_core::packet::{Chunks, Ports, SctpPacket, Segment, TcpFlags, Transport};
use sluice_core::ports::{ICMP, SCTP, TCP, UDP};
use sluice_core::time::Time;

const STEP_LEN: usize = 4;
const FLOWS: u8 = 12;
const ACCOUNTS: u8 = 4;
/// How much later than its deadline a connection may be freed.
const LATE: Duration = Duration::from_nanos(1 << 28);

/// Plays `bytes` as a story.
///
/// # Panics
/// Where the table and the list contradict each other.
pub fn conntrack(bytes: &[u8]) {
    let Some((limits, steps)) = bytes.split_first() else { return };
    let mut world = World::new(u32::from(limits & 0xf), u32::from(limits >> 4));
    for step in steps.chunks_exact(STEP_LEN) {
        let &[what, flow, more, time] = step else { continue };
        world.pass(Duration::from_millis(u64::from(time).pow(3)));
        world.play(Step { what, flow: flow % FLOWS, more });
        world.check(more);
    }
}

#[derive(Debug, Clone, Copy)]
struct Step {
    /// 0 to 2 the flow begins, 3 to 5 a packet of it, 6 it is forgotten, 7 a sweep, 8 a day passes.
    what: u8,
    flow: u8,
    /// Of a beginning: the account, and whether it may be midstream. Of a packet: TCP's flags or
    /// SCTP's chunks, and who sends it. Of a sweep: its budget.
    more: u8,
}

const BY_RESPONDER: u8 = 0x80;
const MIDSTREAM: u8 = 0x80;

/// What the list knows of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    flow: u8,
    account: Account,
    deadline: Time,
    /// Whether it gives way only after others, and the step at which that began.
    yields: Option<(bool, u32)>,
}

struct World {
    connections: Connections,
    hasher: FlowHasher,
    limits: Limits,
    now: Time,
    step: u32,
    living: Vec<Entry>,
    /// Deadlines of what the table may still hold though it has expired.
    expired: Vec<Time>,
}

impl World {
    fn new(connections_max: u32, account_connections_max: u32) -> Self {
        let hasher = FlowHasher::seeded(1);
        let limits = Limits { connections_max, account_connections_max };
        let connections = Connections::new(limits, Timeouts::default(), hasher.clone());
        assert_eq!(connections.capacity(), connections_max as usize);
        let (living, expired) = (Vec::new(), Vec::new());
        Self { connections, hasher, limits, now: Time(1), step: 0, living, expired }
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        let over = self.living.extract_if(.., |entry| entry.deadline <= self.now);
        self.expired.extend(over.map(|entry| entry.deadline));
    }

    fn play(&mut self, step: Step) {
        self.step += 1;
        match step.what % 9 {
            0..=2 => self.open(step),
            3..=5 => self.follow(step),
            6 => {
                let (key, _) = tuple(step.flow).key();
                let known = self.connections.remove(self.hasher.hash(&key), &key);
                let lived = self.living.extract_if(.., |it| it.flow == step.flow).count() == 1;
                assert!(known || !lived, "{step:?}: unknown");
            }
            7 => self.expire(step.more.into()),
            _ => self.pass(Duration::from_hours(24)),
        }
    }

    fn found(&mut self, flow: u8) -> Option<Found<'_>> {
        let (key, _) = tuple(flow).key();
        self.connections.find(self.hasher.hash(&key), &key, self.now)
    }

    fn expire(&mut self, budget: usize) {
        let before = self.counts();
        let steps = self.connections.expire(self.now, budget);
        assert!(steps <= budget, "{steps} of {budget} steps");
        assert_eq!(self.counts().evicted, before.evicted, "a sweep pushes out nobody");
        if steps < budget {
            self.expired.retain(|deadline| *deadline + LATE > self.now);
        }
    }

    fn follow(&mut self, step: Step) {
        let Some(mut found) = self.found(step.flow) else { return };
        let before = found.state();
        let by_opener = step.more & BY_RESPONDER == 0;
        let packet = transport(step.flow, step.more, by_opener);
        let followed = found.follow(&packet, false, by_opener);
        let after = found.state();
        let lasts = self.connections.timeouts().of(after);
        let Some(entry) = self.living.iter_mut().find(|entry| entry.flow == step.flow) else {
            panic!("{step:?}: it should be gone");
        };
        if followed.is_err() {
            assert_eq!(before, after, "{step:?}: a packet that is dropped changes nothing");
            return;
        }
        if before != after || !can_be_anybodys(&packet) {
            entry.deadline = self.now + lasts;
        }
        entry.yields = turn(after).map(|later| match entry.yields {
            Some(before) if before.0 == later => before,
            _ => (later, self.step),
        });
    }

    fn open(&mut self, step: Step) {
        let (key, opener) = tuple(step.flow).key();
        let account = Account(u16::from(step.more % ACCOUNTS));
        let opening = Opening {
            key,
            hash: self.hasher.hash(&key),
            opener,
            account,
            revision: step.flow.into(),
        };
        let former = self.living.extract_if(.., |entry| entry.flow == step.flow).next();
        let before = self.counts();
        let midstream = step.more & MIDSTREAM != 0;
        let opened = self.connections.open(
            &opening,
            &transport(step.flow, step.more, true),
            midstream,
            self.now,
        );
        if opened == Ok(false) {
            assert_eq!(self.counts(), before, "{step:?}: it has begun nothing");
            self.living.extend(former);
            return;
        }
        self.check_room(step, account, former, before, opened);
        if opened.is_ok() {
            let Some(found) = self.found(step.flow) else { panic!("{step:?}: not there") };
            let (state, revision) = (found.state(), found.revision());
            assert_eq!(revision, u64::from(step.flow));
            let deadline = self.now + self.connections.timeouts().of(state);
            let yields = turn(state).map(|later| (later, self.step));
            self.living.push(Entry { flow: step.flow, account, deadline, yields });
        }
    }

    /// Holds the table to who has to give way, and to when there is no room.
    fn check_room(
        &mut self,
        step: Step,
        account: Account,
        former: Option<Entry>,
        before: Counts,
        opened: Result<bool, NoRoom>,
    ) {
        let after = self.counts();
        let listed = self.listed(16);
        let gone: Vec<Entry> =
            self.living.iter().filter(|entry| !listed.contains(&entry.flow)).copied().collect();
        assert_eq!(after.evicted - before.evicted, gone.len() as u64, "{step:?}: {gone:?}");
        assert!(gone.len() <= 1, "{step:?}: {gone:?}");
        // Of what has expired and may still be there only the number is known.
        let hidden = before.len - self.living.len() - usize::from(former.is_some());
        let share = self.living.iter().filter(|entry| entry.account == account).count();
        let share_max = match account {
            Account::OUTSIDE => self.limits.connections_max.div_ceil(2) as usize,
            _ => self.limits.account_connections_max as usize,
        };
        let capacity = self.connections.capacity();
        if share + hidden < share_max && self.living.len() + hidden < capacity {
            assert!(opened.is_ok() && gone.is_empty(), "{step:?}: {opened:?} {gone:?}");
        }
        let yields = |account| {
            let of = |entry: &&Entry| entry.account == account && entry.yields.is_some();
            self.living.iter().filter(of).count()
        };
        let most = (0..ACCOUNTS.into()).map(|account| yields(Account(account))).max();
        for gone in &gone {
            let of = |entry: &&Entry| entry.account == gone.account && entry.yields.is_some();
            let oldest = self.living.iter().filter(of).min_by_key(|entry| entry.yields);
            assert_eq!(oldest, Some(gone), "{step:?}: not its turn");
            let by_quota = gone.account == account && share >= share_max;
            let has_most = 2 * yields(gone.account) > most.unwrap_or_default();
            // Whoever has expired counts for his account until he is freed.
            assert!(hidden > 0 || by_quota || has_most, "{step:?}: {gone:?} has less than others");
        }
        match opened {
            Ok(_) => {
                assert!(share - gone.iter().filter(|it| it.account == account).count() < share_max)
            }
            Err(NoRoom::Quota) => assert!(share + hidden >= share_max && yields(account) == 0),
            Err(NoRoom::Full) => {
                assert!(self.living.len() + hidden >= capacity && most == Some(0), "{step:?}");
            }
        }
        self.living.retain(|entry| !gone.contains(entry));
    }

    /// The flows of what lives, by slices of `max`.
    fn listed(&self, max: usize) -> Vec<u8> {
        let mut listed = Vec::new();
        let mut from = Some(0);
        while let Some(here) = from {
            let (slice, next) = self.connections.slice(here, max, self.now);
            // The revision that admitted it is the flow's number.
            listed.extend(slice.filter_map(|connection| u8::try_from(connection.revision()).ok()));
            from = next;
        }
        listed
    }

    fn check(&mut self, max: u8) {
        let Counts { len, .. } = self.counts();
        assert!(len <= self.connections.capacity());
        assert!(self.living.len() <= len && len <= self.living.len() + self.expired.len());
        let mut listed = self.listed(max.into());
        let mut living: Vec<u8> = self.living.iter().map(|entry| entry.flow).collect();
        listed.sort_unstable();
        living.sort_unstable();
        assert_eq!(listed, living, "what is listed lives");
        for flow in 0..FLOWS {
            assert_eq!(self.found(flow).is_some(), living.contains(&flow), "{flow}");
        }
    }

    fn counts(&self) -> Counts {
        Counts { len: self.connections.len(), evicted: self.connections.evicted() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    len: usize,
    evicted: u64,
}

/// Whether a connection gives way only after others; `None` if not at all.
fn turn(state: State) -> Option<bool> {
    state.turn().map(|turn| turn == Turn::Second)
}

/// Whether it proves nothing about a connection that it changes nothing about.
fn can_be_anybodys(packet: &Transport) -> bool {
    match packet {
        Transport::Tcp(it) => it.flags.has(TcpFlags::SYN) || it.flags.has(TcpFlags::RST),
        Transport::Sctp(it) => it.chunks.init.is_some(),
        _ => false,
    }
}

fn tuple(flow: u8) -> FiveTuple {
    FiveTuple {
        network: NetworkId::DEFAULT,
        protocol: [UDP, TCP, SCTP, ICMP][usize::from(flow % 4)],
        source: [10, 0, 0, flow].into(),
        source_port: 1000,
        destination: [10, 0, 1, 0].into(),
        destination_port: 80,
    }
}

fn transport(flow: u8, more: u8, by_opener: bool) -> Transport {
    let ports = match by_opener {
        true => Ports { source: 1000, destination: 80 },
        false => Ports { source: 80, destination: 1000 },
    };
    match flow % 4 {
        0 => Transport::Udp(ports),
        1 => {
            let flags = TcpFlags::from_bits(more & 0x17);
            // Both sides begin with 100, so that handshakes come about.
            let sequence = if flags.has(TcpFlags::SYN) { 100 } else { 101 };
            let (acknowledgement, window, payload_len) = (101, u16::MAX, 0);
            let window_scale = None;
            Transport::Tcp(Segment {
                ports,
                flags,
                sequence,
                acknowledgement,
                window,
                window_scale,
                payload_len,
            })
        }
        2 => {
            let chunks = Chunks {
                init: (more & 0x60 == 0).then_some(if by_opener { 7 } else { 8 }),
                init_ack: (more & 0x60 == 0x20).then_some(8),
                cookie_echo: more & 0x04 != 0,
                cookie_ack: more & 0x08 != 0,
                shutdown: more & 0x50 == 0x40,
                abort: more & 0x50 == 0x50,
                ..Chunks::default()
            };
            let tag = match chunks.init {
                Some(_) => 0,
                None if by_opener => 8,
                None => 7,
            };
            Transport::Sctp(SctpPacket { ports, tag, chunks })
        }
        _ => Transport::Echo { id: 1000, request: by_opener },
    }
}
