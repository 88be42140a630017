//! A story: rules, frames that are sent, and after each of them every counter that has moved.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use sluice_core::conntrack::state::State;
use sluice_core::drop::DropReason;
use sluice_core::flow::FiveTuple;
use sluice_core::table::Table;

use crate::cast::{Cast, PORTS};
use crate::counts::{Counter, Counts, Moves};
use crate::lease::Lease;
use crate::packets::Build;
use crate::rules;
use crate::stage::{Setting, Stage};

/// Rules in force on a stage, and what has happened so far.
pub(crate) struct Story {
    lease: Lease,
    pub(crate) cast: Cast,
    counted: Counts,
    held: i64,
}

/// The frames at the far end of each port.
pub(crate) type Arrivals = BTreeMap<&'static str, Vec<Vec<u8>>>;

/// What some frames are to cause; everything else is to stay as it was.
#[derive(Clone, Default)]
pub(crate) struct Effects {
    arrivals: Arrivals,
    drops: BTreeMap<(&'static str, DropReason), u64>,
    held: i64,
}

/// Frames on the wire of a port, before it is said what becomes of them.
#[must_use]
pub(crate) struct Step<'a> {
    story: &'a mut Story,
    port: &'static str,
    frames: Vec<Vec<u8>>,
}

/// What became of some frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) arrived: u64,
    /// By the reasons asked for.
    pub(crate) dropped: Vec<u64>,
    pub(crate) held: u64,
}

impl Story {
    /// Begins with rules in force.
    pub(crate) fn begin(mut lease: Lease, setting: &Setting, rules: &str) -> Self {
        let number = lease.stage().next_story();
        let cast = Cast { number, has_tenants: setting.has_tenants };
        let counted = Counts::of(lease.stage());
        let mut story = Self { lease, cast, counted, held: 0 };
        story.rules(rules);
        story
    }

    fn stage(&mut self) -> &mut dyn Stage {
        self.lease.stage()
    }

    /// Puts a table in force; that moves no counter.
    pub(crate) fn publish(&mut self, table: Table) {
        let revision = self.stage().engine().table().revision() + 1;
        self.stage().engine().publish(table.with_revision(revision)).unwrap();
    }

    /// Lets so many frames be sent in a way that one step could not, and whatever happens
    /// happen, as long as no frame is lost. Returns what has arrived at the far ends.
    #[track_caller]
    pub(crate) fn freely(&mut self, count: u64, act: impl FnOnce(&mut dyn Stage)) -> Arrivals {
        act(self.lease.stage());
        let rx_frames = self.counted.sum(Counter::Rx) + count;
        self.stage().settle(rx_frames);
        let counts = Counts::of(self.stage());
        let moved = counts.since(&self.counted);
        let count = |port| moved.get(&(port, Counter::Tx)).copied().unwrap_or_default();
        let arrived = self.arrivals(|it| usize::try_from(count(it)).unwrap());
        self.balance(counts);
        arrived
    }

    /// The stage, if it is one in memory.
    pub(crate) fn memory(&self) -> Option<&crate::stage::MemoryStage> {
        self.lease.memory()
    }

    /// Puts other rules in force; that moves no counter.
    pub(crate) fn rules(&mut self, text: &str) {
        let table = rules::table(text, self.cast);
        self.publish(table);
    }

    /// One frame on the wire of a port.
    pub(crate) fn sends(&mut self, port: &'static str, what: impl Build) -> Step<'_> {
        self.sends_all(port, [what])
    }

    /// Frames on the wire of a port, one right behind the other.
    pub(crate) fn sends_all(
        &mut self,
        port: &'static str,
        all: impl IntoIterator<Item = impl Build>,
    ) -> Step<'_> {
        let frames = all.into_iter().map(|what| what.frame(self.cast)).collect();
        Step { story: self, port, frames }
    }

    /// The shortest frame that the wires carry.
    pub(crate) fn shortest_frame(&mut self) -> usize {
        self.stage().shortest_frame()
    }

    /// Time goes by.
    pub(crate) fn later(&mut self, time: Duration) -> Step<'_> {
        self.stage().pass(time);
        Step { story: self, port: "uplink", frames: Vec::new() }
    }

    /// The connections between parties of this story, by the five tuples of their first packets.
    pub(crate) fn connections(&mut self) -> Vec<(FiveTuple, State)> {
        let cast = self.cast;
        let mut all = Vec::new();
        let visit = |connection: &sluice_core::conntrack::Connection| {
            all.push((connection.opening(), connection.state()));
        };
        self.stage().engine().for_each_connection(visit).unwrap();
        all.retain(|(opening, _)| cast.has(opening.source));
        all
    }

    /// How many connections there are between parties of this story.
    #[track_caller]
    pub(crate) fn tracks(&mut self, count: usize) -> &mut Self {
        let connections = self.connections();
        assert_eq!(connections.len(), count, "{connections:?}");
        self
    }

    /// A frame as it is to arrive.
    pub(crate) fn frame(&self, what: impl Build) -> Vec<u8> {
        what.frame(self.cast)
    }

    /// Puts frames on a wire and waits until they have been dealt with.
    fn send(&mut self, port: &str, frames: &[Vec<u8>]) {
        let rx_frames = self.counted.sum(Counter::Rx) + frames.len() as u64;
        for frame in frames {
            self.stage().send(port, frame);
        }
        self.stage().settle(rx_frames);
    }

    /// What has arrived at the far ends; waits for so many frames at each.
    fn arrivals(&mut self, count: impl Fn(&'static str) -> usize) -> Arrivals {
        Arrivals::from(PORTS.map(|port| (port, self.stage().receive(port, count(port)))))
    }

    #[track_caller]
    fn check(
        &mut self,
        port: &'static str,
        sent: &[Vec<u8>],
        arrived: &Arrivals,
        effects: &Effects,
    ) {
        for port in PORTS {
            let wanted = effects.arrivals.get(port).map_or(&[][..], Vec::as_slice);
            let arrived = arrived.get(port).map_or(&[][..], Vec::as_slice);
            assert!(
                arrived == wanted,
                "{}sent, at the far end of {port} are\n{}wanted\n{}",
                Hex(sent),
                Hex(arrived),
                Hex(wanted)
            );
        }
        let counts = Counts::of(self.stage());
        let moved = counts.since(&self.counted);
        let wanted = effects.moves(port, sent, self.lease.stage());
        assert!(
            moved == wanted,
            "{} sent from {port}, these have moved: {moved:?}; wanted: {wanted:?}",
            Hex(sent)
        );
        self.held += effects.held;
        self.balance(counts);
    }

    #[track_caller]
    fn balance(&mut self, counts: Counts) {
        let in_all = counts.sum(Counter::Rx) + counts.sum(Counter::FloodCopies);
        let out_all = counts.sum(Counter::Tx) + counts.drops();
        let held = u64::try_from(self.held).unwrap();
        assert_eq!(in_all, out_all + held, "rx + copies = tx + drops + held");
        self.counted = counts;
    }
}

/// What a story has not said would be lost with it: every frame must be somewhere.
impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        assert_eq!(self.held, 0, "fragments wait when the story ends");
        let engine = self.lease.stage().engine();
        let frames = engine.umem().frame_count() as usize;
        assert_eq!(engine.census().unwrap(), frames, "frames are lost or doubled");
        assert_eq!(engine.umem().leaked(), 0);
        let all = engine.totals();
        let by_ports: u64 = engine.ports().iter().map(|port| port.totals().dropped_all()).sum();
        assert_eq!(all.dropped_all(), by_ports, "some drops are on no port's account");
    }
}

impl<'a> Step<'a> {
    /// They arrive at the far end of one port as they are, and nowhere else.
    #[track_caller]
    pub(crate) fn reach(self, port: &'static str) -> &'a mut Story {
        let frames = self.frames.clone();
        self.have(Effects::default().at(port, frames))
    }

    /// [`Step::reach`], of one.
    #[track_caller]
    pub(crate) fn reaches(self, port: &'static str) -> &'a mut Story {
        self.reach(port)
    }

    /// These arrive in their place.
    #[track_caller]
    pub(crate) fn reaches_as(self, port: &'static str, frames: Vec<Vec<u8>>) -> &'a mut Story {
        self.have(Effects::default().at(port, frames))
    }

    /// A copy arrives at each of these ports.
    #[track_caller]
    pub(crate) fn reaches_all(self, ports: &[&'static str]) -> &'a mut Story {
        let frames = &self.frames;
        let effects =
            ports.iter().fold(Effects::default(), |effects, port| effects.at(port, frames.clone()));
        self.have(effects)
    }

    /// They arrive nowhere, and each is counted under this reason.
    #[track_caller]
    pub(crate) fn dropped(self, reason: DropReason) -> &'a mut Story {
        let (port, count) = (self.port, self.frames.len() as u64);
        self.have(Effects::default().drops(port, reason, count))
    }

    /// They wait for the first fragment of their datagram.
    #[track_caller]
    pub(crate) fn held(self) -> &'a mut Story {
        let count = i64::try_from(self.frames.len()).unwrap();
        self.have(Effects::default().holds(count))
    }

    /// Nothing at all moves but what is received.
    #[track_caller]
    pub(crate) fn nothing_happens(self) -> &'a mut Story {
        self.have(Effects::default())
    }

    /// Sees which of a few things happens to each: it arrives at a port, or is dropped for one of
    /// the reasons, or waits. Nothing else may move.
    #[track_caller]
    pub(crate) fn turn_out(self, port: &'static str, reasons: &[DropReason]) -> Outcome {
        let Self { story, port: from, frames } = self;
        story.send(from, &frames);
        let moved = Counts::of(story.stage()).since(&story.counted);
        let count = |port, counter| moved.get(&(port, counter)).copied().unwrap_or_default();
        let arrived = story.arrivals(|it| usize::try_from(count(it, Counter::Tx)).unwrap());
        let mut others = frames.clone();
        for frame in &arrived[port] {
            let place = others.iter().position(|it| it == frame);
            others.remove(place.expect("what arrives was sent, and but once"));
        }
        let mut effects = Effects::default().at(port, arrived[port].clone());
        for reason in reasons {
            effects = effects.drops(from, *reason, count(from, Counter::Drops(*reason)));
        }
        let left = arrived[port].len() as u64 + effects.drops.values().sum::<u64>();
        let held = (frames.len() as u64).checked_sub(left).expect("more is gone than was sent");
        let effects = effects.holds(i64::try_from(held).unwrap());
        story.check(from, &frames, &arrived, &effects);
        let dropped = reasons.iter().map(|it| effects.drops[&(from, *it)]).collect();
        Outcome { arrived: arrived[port].len() as u64, dropped, held }
    }

    /// Just this happens.
    #[track_caller]
    pub(crate) fn have(self, effects: Effects) -> &'a mut Story {
        let Self { story, port, frames } = self;
        story.send(port, &frames);
        let arrived = story.arrivals(|it| effects.arrivals.get(it).map_or(0, Vec::len));
        story.check(port, &frames, &arrived, &effects);
        story
    }
}

impl Effects {
    /// These frames arrive at the far end of a port, in this order.
    pub(crate) fn at(mut self, port: &'static str, frames: Vec<Vec<u8>>) -> Self {
        self.arrivals.entry(port).or_default().extend(frames);
        self
    }

    /// So many that came from a port are dropped.
    pub(crate) fn drops(mut self, port: &'static str, reason: DropReason, count: u64) -> Self {
        *self.drops.entry((port, reason)).or_default() += count;
        self
    }

    /// So many begin to wait; with a negative number, go on.
    pub(crate) fn holds(mut self, count: i64) -> Self {
        self.held += count;
        self
    }

    /// How the counters move if this happens to frames that a port sends.
    fn moves(&self, port: &'static str, sent: &[Vec<u8>], stage: &dyn Stage) -> Moves {
        let bytes = |frames: &[Vec<u8>]| frames.iter().map(|frame| frame.len() as u64).sum::<u64>();
        let mut moves = Moves::new();
        let mut add = |port, counter, count| *moves.entry((port, counter)).or_default() += count;
        add(port, Counter::Rx, sent.len() as u64);
        add(port, Counter::RxBytes, bytes(sent));
        if stage.steered(port).is_some() {
            add(port, Counter::Steered, sent.len() as u64);
        }
        let mut left = 0;
        for (to, frames) in &self.arrivals {
            add(to, Counter::Tx, frames.len() as u64);
            add(to, Counter::TxBytes, bytes(frames));
            left += frames.len() as u64;
        }
        for ((from, reason), count) in &self.drops {
            add(from, Counter::Drops(*reason), *count);
            left += count;
        }
        let all = i64::try_from(left).unwrap() + self.held;
        let copies = all - i64::try_from(sent.len()).unwrap();
        add(
            port,
            Counter::FloodCopies,
            u64::try_from(copies).expect("more sent than accounted for"),
        );
        moves.retain(|_, count| *count > 0);
        moves
    }
}

/// Frames as people compare them.
struct Hex<'a>(&'a [Vec<u8>]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = 6;
        for frame in self.0.iter().take(shown) {
            for byte in frame.iter().take(120) {
                write!(f, "{byte:02x}")?;
            }
            writeln!(f, " ({} bytes)", frame.len())?;
        }
        match self.0.len().checked_sub(shown) {
            Some(more) if more > 0 => writeln!(f, "and {more} more"),
            _ => Ok(()),
        }
    }
}
