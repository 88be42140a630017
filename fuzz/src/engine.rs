//! A story that a whole engine plays: ports, workers, tables and time over wires in memory.
//!
//! ```text
//! story  = header step*
//! header = options seed table ports     see `World::new`
//! step   = what from to ports flags a b time
//! ```
//!
//! A step sends a frame, publishes a table, adds or removes a port, or turns one worker. Whatever
//! leaves has to be explained to an oracle that reads and remembers for itself; and after each
//! step every frame of packet memory has to be somewhere, and counted.
//!
//! | low half of `what` | |
//! |---|---|
//! | 0 to 3 | TCP with the flags of `flags`, UDP, SCTP with the chunks of `flags`, an echo that asks if `flags` is odd |
//! | 4 | an ICMP error about the frame `a` back, of the type `flags` |
//! | 5 to 7 | the IP protocol of `flags`; ICMP of the type `flags`, as neighbour discovery; ARP |
//! | 8 | a fragment of the frame `a` back: from byte 8 times the upper half of `ports` on, 8 times its lower half and one |
//! | 9 | the frame `a` back with the byte at `ports` changed by `flags`; its checksums mended if `b` is even |
//! | 10 | a frame of the bytes of the next `a` steps; its checksums mended if `b` is even |
//! | 11 | the table of the number `ports` |
//! | 12 | the port of the number `ports` comes or goes |
//! | 13 | the worker of the number `ports` takes a turn |
//! | 14 | the frame `a` back, `b` times |
//! | 15 | the frame `a` back with options, an extension header or padding, as `flags` and `ports` say |
//!
//! The high half of `what`, `from`, `to`: see `frames`. `time` passes before the step: its cube in
//! milliseconds.

mod cuts;
mod datagrams;
mod flows;
mod frames;
mod honesty;
mod oracle;
mod stage;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use sluice_core::conntrack::Account;
use sluice_core::conntrack::state::Timeouts;
use sluice_core::drop::DropReason;
use sluice_core::flow::FlowHasher;
use sluice_core::judge::Established;
use sluice_core::table::Table;
use sluice_core::time::Time;
use sluice_engine::EngineConfig;
use sluice_engine::counters::Totals;
use sluice_engine::io::QueueIo;
use sluice_engine::io::memory::Wire;
use sluice_engine::stepped::Stepped;
use sluice_xdp::{FramePool, Umem};

use crate::cast::edit;
use crate::sums;
use frames::{Sequences, Step};
use oracle::{Epoch, Oracle};
use stage::{PORTS, PortNumber, Stage};

const STEP_LEN: usize = 8;
/// More steps than this only repeat what shorter stories say.
const STEPS_MAX: usize = 64;

/// Few, so that a story runs out of them.
const FRAMES: u32 = 96;
const WIRE_LEN: usize = 8;
/// Fragments that an engine has wait for the first one at most.
const WAITING_MAX: u64 = 256;

/// Turns that sweep up what has expired when nothing has come for so long that all has.
const SWEEP_TURNS: usize = 4;

// The header's options.
const KEEP: u8 = 0x01;
const MIDSTREAM: u8 = 0x02;
const TWO_WORKERS: u8 = 0x04;
const MANY_QUEUES: u8 = 0x08;
const PRIORITY_TAGS: u8 = 0x10;
const UNVERIFIED: u8 = 0x20;
const NARROW_BOUNDS: u8 = 0x40;

/// What may befall a frame that was admitted.
const LOST_ON_THE_WAY_OUT: [DropReason; 4] = [
    DropReason::TxFull,
    DropReason::PortGone,
    // A frame for a MAC that nobody has is tried at one port after the other.
    DropReason::UnknownDestination,
    DropReason::ForeignDestination,
];

thread_local! {
    /// Packet memory is never unmapped, so that all stories share one.
    static MEMORY: Cell<Option<(Umem, FramePool)>> = const { Cell::new(None) };
}

/// Plays `bytes` as a story.
///
/// # Panics
/// Where something leaves that should not, or a frame or a count is lost.
pub fn engine(bytes: &[u8]) {
    play(bytes);
}

/// Plays a story and returns what was counted.
fn play(bytes: &[u8]) -> Totals {
    let Some((&header, mut steps)) = bytes.split_first_chunk::<4>() else {
        return Totals::default();
    };
    let mut world = World::new(header);
    for _ in 0..STEPS_MAX {
        let Some(step) = next_step(&mut steps) else { break };
        world.now = world.now + Duration::from_millis(u64::from(step.time).pow(3));
        world.play(step, &mut steps);
    }
    world.end()
}

fn next_step(steps: &mut &[u8]) -> Option<Step> {
    let (&[what, from, to, ports, flags, a, b, time], rest) =
        steps.split_first_chunk::<STEP_LEN>()?;
    *steps = rest;
    Some(Step { what, from, to, ports, flags, a, b, time })
}

struct World {
    engine: Stepped,
    stage: Stage,
    limits: Limits,
    /// The wires of each port, one for each queue; none where the port is not there.
    wires: [Vec<Wire>; PORTS],
    oracle: Oracle,
    sequences: Sequences,
    /// Every frame that was sent, and where.
    history: Vec<(PortNumber, Vec<u8>)>,
    now: Time,
    totals: Totals,
    /// Frames sent into each port since it came.
    pushed: [u64; PORTS],
    pushed_all: u64,
    /// Frames that have left, and their bytes.
    popped: (u64, u64),
    leaked: u64,
}

/// What an engine may hold, all workers together.
struct Limits {
    connections: u64,
    of_a_pod: usize,
    of_the_outside: usize,
}

impl World {
    fn new([options, seed, table, ports]: [u8; 4]) -> Self {
        let has = |option| options & option != 0;
        let workers: u32 = if has(TWO_WORKERS) { 2 } else { 1 };
        let (connections_max, pod_connections_max) =
            if has(NARROW_BOUNDS) { (4, 2) } else { (16, 8) };
        // Short enough for a story to outlast all of them.
        let short = Duration::from_secs(300);
        let timeouts = Timeouts { tcp_established: short, opaque: short, ..Timeouts::default() };
        let config = EngineConfig {
            cores: (0..workers as usize).collect(),
            connections_max,
            pod_connections_max,
            timeouts,
            established: if has(KEEP) { Established::Keep } else { Established::Recheck },
            midstream: has(MIDSTREAM),
            verify_checksums: !has(UNVERIFIED),
            // One account may have a quarter, one worker the half of that.
            datagrams_max: if has(NARROW_BOUNDS) { 16 } else { 8 * 64 },
            ..EngineConfig::default()
        };
        let (umem, pool) = MEMORY.take().unwrap_or_else(|| must(Umem::in_memory(FRAMES)));
        let engine = must(Stepped::start(&config, umem, pool, FlowHasher::seeded(seed.into())));
        let stage = Stage { priority_tags: has(PRIORITY_TAGS), many_queues: has(MANY_QUEUES) };
        let mut oracle = Oracle::new(stage, timeouts);
        oracle.flows.established = config.established;
        oracle.flows.midstream = config.midstream;
        oracle.forgets_no_datagram = !has(NARROW_BOUNDS);
        oracle.verify_checksums = config.verify_checksums;
        let each = |max: u32| max.div_ceil(workers) * workers;
        let mut world = Self {
            engine,
            stage,
            limits: Limits {
                connections: each(connections_max).into(),
                of_a_pod: each(pod_connections_max) as usize,
                of_the_outside: (each(connections_max) / 2) as usize,
            },
            wires: [const { Vec::new() }; PORTS],
            oracle,
            sequences: Sequences::default(),
            history: Vec::new(),
            now: Time(1),
            totals: Totals::default(),
            pushed: [0; PORTS],
            pushed_all: 0,
            popped: (0, 0),
            leaked: umem.leaked(),
        };
        world.enter(Arc::new(Table::empty()));
        for port in PortNumber::all().filter(|port| ports >> port.0 & 1 == 1) {
            world.toggle(port);
        }
        world.publish(table);
        world
    }

    /// Tells the oracle of a change before the engine makes it.
    fn enter(&mut self, table: Arc<Table>) {
        let attached = std::array::from_fn(|port| !self.wires[port].is_empty());
        self.oracle.enters(Epoch { table, attached });
    }

    fn play(&mut self, step: Step, rest: &mut &[u8]) {
        let back = usize::from(step.a);
        match step.kind() {
            8 => self.change(step, back, |frame| cuts::piece_of(frame, step)),
            9 => self.change(step, back, |frame| {
                let mut frame = frame.to_vec();
                *frame.get_mut(usize::from(step.ports))? ^= step.flags;
                Some(mended(frame, step))
            }),
            10 => {
                let (raw, behind) = rest.split_at(rest.len().min(back * STEP_LEN));
                *rest = behind;
                self.send(step.port(), mended(raw.to_vec(), step));
            }
            11 => self.publish(step.ports),
            12 => self.toggle(PortNumber(usize::from(step.ports) % PORTS)),
            13 => {
                let worker = usize::from(step.ports) % self.engine.worker_count();
                self.engine.turn_one(worker, self.now);
                return self.collect();
            }
            14 => {
                let Some((port, frame)) = self.earlier(back) else { return };
                for _ in 0..=step.b % 16 {
                    self.send(port, frame.clone());
                }
            }
            15 => self.change(step, back, |frame| cuts::wrapped(frame, step)),
            _ => {
                let about = self.earlier(back).unwrap_or((PortNumber(0), Vec::new())).1;
                if let Some(frame) = step.frame(&mut self.sequences, &about) {
                    self.send(step.port(), frame);
                }
            }
        }
        if !step.is_held() {
            self.turn();
        }
    }

    /// The frame that was sent so many frames ago.
    fn earlier(&self, back: usize) -> Option<(PortNumber, Vec<u8>)> {
        self.history.iter().rev().nth(back).cloned()
    }

    fn change(&mut self, step: Step, back: usize, change: impl Fn(&[u8]) -> Option<Vec<u8>>) {
        if let Some(frame) = self.earlier(back).and_then(|(_, frame)| change(&frame)) {
            self.send(step.port(), frame);
        }
    }

    fn send(&mut self, port: PortNumber, frame: Vec<u8>) {
        let wires = &self.wires[port.0];
        let wire = wires.get(self.history.len() % wires.len().max(1));
        if wire.is_some_and(|wire| wire.push(&frame)) {
            self.oracle.sends(port, &frame, self.now);
            self.pushed[port.0] += 1;
            self.pushed_all += 1;
            self.history.push((port, frame));
        }
    }

    fn publish(&mut self, number: u8) {
        let table = Arc::new(edit(number).finish(self.engine.table().revision() + 1));
        self.enter(Arc::clone(&table));
        must(self.engine.publish(table));
        self.collect();
    }

    fn toggle(&mut self, port: PortNumber) {
        if !self.wires[port.0].is_empty() {
            let wires = std::mem::take(&mut self.wires[port.0]);
            self.enter(self.engine.table());
            must(self.engine.remove_port(port.name()));
            // What has left meanwhile, by the port that has gone too.
            self.wires[port.0] = wires;
            self.collect();
            self.wires[port.0].clear();
            return;
        }
        let mut queues: Vec<Box<dyn QueueIo>> = Vec::new();
        for _ in 0..self.stage.queues_of(port, self.engine.worker_count()) {
            let (wire, queue) = Wire::new(WIRE_LEN);
            self.wires[port.0].push(wire);
            queues.push(Box::new(queue));
        }
        self.pushed[port.0] = 0;
        self.enter(self.engine.table());
        must(self.engine.add_port(self.stage.spec_of(port), queues));
        self.collect();
    }

    /// Turns all workers until nothing moves, and looks at everything.
    fn turn(&mut self) {
        let mut before = None;
        // What found no room on its wire waits, and leaves once that has been emptied.
        while before.replace(self.popped) != Some(self.popped) {
            must(self.engine.turn(self.now));
            self.collect();
        }
        self.settle();
        self.look();
    }

    /// Takes what has left, and has it explained.
    fn collect(&mut self) {
        let mut left = Vec::new();
        for (port, wires) in PortNumber::all().zip(&self.wires) {
            let frames = wires.iter().flat_map(|wire| std::iter::from_fn(|| wire.pop()));
            left.extend(frames.map(|frame| (port, frame)));
        }
        self.popped.0 += left.len() as u64;
        self.popped.1 += left.iter().map(|(_, frame)| frame.len() as u64).sum::<u64>();
        let totals = self.engine.totals();
        let grown = |reason: &DropReason| totals.dropped(*reason) > self.totals.dropped(*reason);
        if LOST_ON_THE_WAY_OUT.iter().any(grown) {
            self.oracle.forgives(self.now);
        }
        self.oracle.leave(left, self.now);
        self.count(totals);
    }

    /// Frames and bytes add up, and no count shrinks.
    fn count(&mut self, totals: Totals) {
        let before = std::mem::replace(&mut self.totals, totals);
        for reason in DropReason::ALL {
            assert!(totals.dropped(*reason) >= before.dropped(*reason), "{reason} shrinks");
        }
        assert!(totals.rx_frames >= before.rx_frames && totals.rx_bytes >= before.rx_bytes);
        assert!(totals.rx_frames <= self.pushed_all, "more is received than was sent");
        assert_eq!((totals.tx_frames, totals.tx_bytes), self.popped, "what has left is miscounted");
        assert!(totals.flood_copies >= before.flood_copies);
        assert!(in_flight(&totals).is_some(), "more goes than has come: {totals:?}");
    }

    /// Tells the oracle which frames the engine has seen, and which flows it remembers.
    fn settle(&mut self) {
        let ports = self.engine.ports();
        let received: Vec<(PortNumber, u64)> = PortNumber::all()
            .filter_map(|port| {
                let it = ports.iter().find(|it| &*it.spec.name == port.name())?;
                Some((port, it.totals().rx_frames))
            })
            .collect();
        let pushed = &self.pushed;
        self.oracle.settles(|port| {
            let received = received.iter().find(|(it, _)| *it == port);
            received.is_none_or(|(_, received)| *received == pushed[port.0])
        });
        let mut openings = Vec::new();
        let mut by_account = std::collections::HashMap::<_, usize>::new();
        must(self.engine.for_each_connection(|connection| {
            openings.push(connection.opening());
            *by_account.entry(connection.account()).or_default() += 1;
        }));
        self.oracle.flows.keep(&openings);
        for (account, count) in by_account {
            let is_outside = account == Account::OUTSIDE;
            let max = if is_outside { self.limits.of_the_outside } else { self.limits.of_a_pod };
            assert!(count <= max, "{count} connections of {account:?}");
        }
    }

    /// Every frame is somewhere, and nothing holds more than it may.
    fn look(&self) {
        assert_eq!(must(self.engine.census()), FRAMES as usize, "frames are lost or doubled");
        assert_eq!(self.engine.umem().leaked(), self.leaked, "frames leak");
        let connections: u64 = self.engine.connections().iter().sum();
        assert!(connections <= self.limits.connections, "{connections} connections");
        let waiting = in_flight(&self.totals);
        assert!(waiting.is_some_and(|waiting| waiting <= WAITING_MAX), "{waiting:?} wait");
        assert!(self.engine.learned_stations() <= self.history.len(), "stations out of nothing");
    }

    /// Lets everything expire, and takes the engine apart.
    fn end(mut self) -> Totals {
        self.turn();
        self.now = self.now + Duration::from_secs(2);
        self.turn();
        assert_eq!(in_flight(&self.totals), Some(0), "a fragment waits for ever");
        self.now = self.now + Duration::from_secs(301);
        // The sweep takes its time, over so long a silence.
        for _ in 0..SWEEP_TURNS {
            self.turn();
        }
        assert_eq!(self.engine.connections().iter().sum::<u64>(), 0, "connections live for ever");
        let umem = *self.engine.umem();
        let pool = self.engine.into_pool();
        assert_eq!((pool.len(), umem.leaked()), (FRAMES as usize, self.leaked));
        MEMORY.set(Some((umem, pool)));
        self.totals
    }
}

/// Frames that have come and neither left nor been dropped; `None` if more have gone than came.
fn in_flight(totals: &Totals) -> Option<u64> {
    let came = totals.rx_frames + totals.flood_copies;
    came.checked_sub(totals.tx_frames + totals.dropped_all())
}

fn mended(mut frame: Vec<u8>, step: Step) -> Vec<u8> {
    if step.b & 1 == 0 {
        sums::mend(&mut frame);
    }
    frame
}

fn must<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    match result {
        Ok(it) => it,
        Err(error) => panic!("the engine refuses: {error}"),
    }
}
