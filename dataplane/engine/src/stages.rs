//! Where a worker's time goes: how busy it is, and what each stage of a packet's way costs.
//!
//! How busy it is costs nothing to know: a turn ends when the next one begins, and both moments are
//! asked for anyway. Stages are measured in one turn of [`SAMPLE_EVERY`], so that reading a counter
//! between them does not show in the whole; in any other turn a mark is one branch. The frames of
//! measured turns are counted beside their cycles, so that cycles a frame are exact for the sample.
//! Each worker writes its own counters, and only adds to them when a turn is over.

use std::sync::Arc;
// Not `crate::sync`: nothing is ordered by these, and a model would only take longer.
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam::utils::CachePadded;
use sluice_core::drop::DropReason;
use sluice_core::judge::Verdict;
use sluice_core::time::Time;
use sluice_xdp::cycles;

/// One turn in so many is measured: a prime, so as not to fall in step with what comes every few
/// turns.
pub const SAMPLE_EVERY: u32 = 61;

/// A part of the way of a packet through a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Rings and inboxes, in and out, with the kernel's part of the calls that it takes.
    Io,
    /// From bytes to a packet, its checksum, and its hash.
    Parse,
    /// Whether its port may send it.
    Guard,
    /// Where it goes, by its MAC address, and how often.
    Forward,
    /// Whether it is for whoever is there, and the look-up of its connection.
    Conntrack,
    /// The judgement of a packet that no connection answers for, and the connection that it opens.
    Policy,
    /// Checksums completed and tags changed.
    Edit,
    /// What belongs to no packet: commands, expiry, frames shared with other workers.
    Upkeep,
}

impl Stage {
    /// The number of stages.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them, in the order of a packet's way.
    pub const ALL: [Self; 8] = [
        Self::Io,
        Self::Parse,
        Self::Guard,
        Self::Forward,
        Self::Conntrack,
        Self::Policy,
        Self::Edit,
        Self::Upkeep,
    ];

    /// The word for it in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Parse => "parse",
            Self::Guard => "guard",
            Self::Forward => "forward",
            Self::Conntrack => "conntrack",
            Self::Policy => "policy",
            Self::Edit => "edit",
            Self::Upkeep => "upkeep",
        }
    }

    /// The stage that a verdict on one packet comes from: policy, where it decided or a connection
    /// was opened, else the connection's own.
    #[inline]
    pub(crate) fn of_verdict(verdict: Verdict, opened: bool) -> Self {
        use DropReason::{AccessDenied, EgressDenied, IngressDenied};
        match verdict {
            Err(AccessDenied | EgressDenied | IngressDenied) => Self::Policy,
            _ if opened => Self::Policy,
            _ => Self::Conntrack,
        }
    }
}

/// What one stage has taken in measured turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StageWork {
    /// Frames that went through it.
    pub frames: u64,
    /// [`sluice_xdp::CYCLE_UNIT`]s that it took.
    pub cycles: u64,
}

/// What one worker has done since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Nanoseconds in turns that moved a frame or ran late with their upkeep.
    pub busy_ns: u64,
    /// Turns that moved a frame.
    pub turns: u64,
    /// Frames taken from queues and inboxes in them. One that changes workers is taken by both.
    pub frames: u64,
    /// Those of them that measured turns have taken.
    pub measured_frames: u64,
    stages: [StageWork; Stage::COUNT],
}

impl Work {
    /// What one stage has taken in measured turns. Of all stages together, the cycles are those of
    /// the whole turns.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> StageWork {
        self.stages.get(stage as usize).copied().unwrap_or_default()
    }
}

/// The same, as others may read it while its worker writes.
#[derive(Debug, Default)]
pub(crate) struct WorkCounters {
    busy_ns: AtomicU64,
    turns: AtomicU64,
    frames: AtomicU64,
    measured_frames: AtomicU64,
    stages: [StageCounters; Stage::COUNT],
}

#[derive(Debug, Default)]
struct StageCounters {
    frames: AtomicU64,
    cycles: AtomicU64,
}

impl WorkCounters {
    /// What has been counted by now. A turn that ends meanwhile may be there in part.
    pub(crate) fn read(&self) -> Work {
        let stage = |it: &StageCounters| StageWork {
            frames: it.frames.load(Relaxed),
            cycles: it.cycles.load(Relaxed),
        };
        Work {
            busy_ns: self.busy_ns.load(Relaxed),
            turns: self.turns.load(Relaxed),
            frames: self.frames.load(Relaxed),
            measured_frames: self.measured_frames.load(Relaxed),
            stages: self.stages.each_ref().map(stage),
        }
    }
}

/// A worker's own side: says when its turns begin and end, and marks in between what it has done.
///
/// ```text
/// begin(now) .. mark(Io, 64) .. mark(Parse, 64) .. mark(Conntrack, 60) .. mark(Io, 0) .. end(64, ..)
/// ```
///
/// A mark gives its stage the cycles since the mark before it; the end gives [`Stage::Upkeep`] the
/// rest. Stages may be marked in any order and more than once, for a frame or for a batch.
#[derive(Debug)]
pub(crate) struct Stages {
    counters: Arc<CachePadded<WorkCounters>>,
    /// Reads the counter of cycles.
    read: fn() -> u64,
    /// When the turn began.
    began: Time,
    /// Whether the turn before that was busy.
    busy: bool,
    /// Turns until the next one that is measured.
    until_sample: u32,
    measuring: bool,
    /// When the last stage ended.
    since: u64,
    /// What the turn has taken so far, if it is measured.
    pending: [StageWork; Stage::COUNT],
}

impl Stages {
    pub(crate) fn new(counters: Arc<CachePadded<WorkCounters>>) -> Self {
        Self::reading(counters, cycles)
    }

    fn reading(counters: Arc<CachePadded<WorkCounters>>, read: fn() -> u64) -> Self {
        Self {
            counters,
            read,
            began: Time::default(),
            busy: false,
            until_sample: SAMPLE_EVERY,
            measuring: false,
            since: 0,
            pending: Default::default(),
        }
    }

    /// A turn begins, and the one before it is over.
    #[inline]
    pub(crate) fn begin(&mut self, now: Time) {
        if std::mem::take(&mut self.busy) {
            let took = now.since(self.began).as_nanos();
            add(&self.counters.busy_ns, u64::try_from(took).unwrap_or(u64::MAX));
        }
        self.began = now;
        self.until_sample -= 1;
        if self.until_sample == 0 {
            self.until_sample = SAMPLE_EVERY;
            self.measuring = true;
            self.pending = Default::default();
            self.since = (self.read)();
        }
    }

    /// `frames` have gone through a stage, which took since the last mark.
    #[inline]
    pub(crate) fn mark(&mut self, stage: Stage, frames: usize) {
        if self.measuring {
            self.measure(stage, frames);
        }
    }

    #[cold]
    fn measure(&mut self, stage: Stage, frames: usize) {
        let now = (self.read)();
        if let Some(work) = self.pending.get_mut(stage as usize) {
            work.frames += frames as u64;
            // A thread that is not pinned may have come to a core whose counter is behind.
            work.cycles += now.saturating_sub(self.since);
        }
        self.since = now;
    }

    /// All is done that belongs to the turn, which has taken `frames` from queues and inboxes.
    /// `late` says that it has left upkeep behind for the next one.
    #[inline]
    pub(crate) fn end(&mut self, frames: usize, late: bool) {
        self.busy = frames > 0 || late;
        if frames > 0 {
            add(&self.counters.turns, 1);
            add(&self.counters.frames, frames as u64);
        }
        if std::mem::take(&mut self.measuring) && frames > 0 {
            self.measure(Stage::Upkeep, 0);
            self.publish(frames);
        }
    }

    /// A turn without a frame is not published: what it takes to find nothing is no packet's cost.
    #[cold]
    fn publish(&self, frames: usize) {
        add(&self.counters.measured_frames, frames as u64);
        for (total, turn) in self.counters.stages.iter().zip(&self.pending) {
            add(&total.frames, turn.frames);
            add(&total.cycles, turn.cycles);
        }
    }
}

/// Adds to a counter that nobody else writes.
#[inline]
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(count), Relaxed);
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static CYCLES: Cell<u64> = const { Cell::new(0) };
    }

    fn pass(cycles: u64) {
        CYCLES.set(CYCLES.get() + cycles);
    }

    fn stages() -> (Stages, Arc<CachePadded<WorkCounters>>) {
        let counters = Arc::default();
        (Stages::reading(Arc::clone(&counters), || CYCLES.get()), counters)
    }

    fn work(frames: u64, cycles: u64) -> StageWork {
        StageWork { frames, cycles }
    }

    /// Turns that move a frame each and mark nothing, until the next one is measured.
    fn skip_to_sample(stages: &mut Stages) {
        for _ in 1..SAMPLE_EVERY {
            stages.begin(Time(0));
            stages.end(1, false);
        }
    }

    #[test]
    fn a_measured_turn_gives_each_stage_what_it_took_and_upkeep_the_rest() {
        let (mut stages, counters) = stages();
        skip_to_sample(&mut stages);
        pass(1000);
        stages.begin(Time(0));
        for (stage, frames, took) in [
            (Stage::Io, 4, 40),
            (Stage::Parse, 4, 80),
            (Stage::Policy, 1, 300),
            (Stage::Conntrack, 3, 60),
            (Stage::Io, 0, 20),
        ] {
            pass(took);
            stages.mark(stage, frames);
        }
        pass(7);
        stages.end(4, false);
        let read = counters.read();
        assert_eq!(read.measured_frames, 4);
        assert_eq!(read.stage(Stage::Io), work(4, 60));
        assert_eq!(read.stage(Stage::Parse), work(4, 80));
        assert_eq!(read.stage(Stage::Policy), work(1, 300));
        assert_eq!(read.stage(Stage::Conntrack), work(3, 60));
        assert_eq!(read.stage(Stage::Guard), work(0, 0));
        assert_eq!(read.stage(Stage::Upkeep), work(0, 7));
        let all: u64 = Stage::ALL.iter().map(|stage| read.stage(*stage).cycles).sum();
        assert_eq!(all, 507, "the whole turn");
    }

    #[test]
    fn only_one_turn_in_so_many_is_measured_and_all_are_counted() {
        let (mut stages, counters) = stages();
        for _ in 0..3 * SAMPLE_EVERY {
            stages.begin(Time(0));
            pass(5);
            stages.mark(Stage::Parse, 2);
            stages.end(2, false);
        }
        let read = counters.read();
        assert_eq!((read.turns, read.frames), (183, 366));
        assert_eq!(read.measured_frames, 6);
        assert_eq!(read.stage(Stage::Parse), work(6, 15));
    }

    #[test]
    fn a_turn_that_finds_nothing_costs_no_packet_anything() {
        let (mut stages, counters) = stages();
        skip_to_sample(&mut stages);
        let before = counters.read();
        stages.begin(Time(0));
        pass(500);
        stages.mark(Stage::Io, 0);
        stages.end(0, false);
        assert_eq!(counters.read(), before);
        skip_to_sample(&mut stages);
        stages.begin(Time(0));
        pass(3);
        stages.mark(Stage::Io, 1);
        stages.end(1, false);
        assert_eq!(counters.read().stage(Stage::Io), work(1, 3), "nothing is left of that turn");
    }

    #[test]
    fn busy_is_the_time_of_turns_that_had_something_to_do() {
        let (mut stages, counters) = stages();
        for (now, frames, late) in
            [(100, 3, false), (150, 0, false), (900, 0, true), (910, 1, false), (930, 0, false)]
        {
            stages.begin(Time(now));
            stages.end(frames, late);
        }
        stages.begin(Time(5_000));
        assert_eq!(counters.read().busy_ns, 50 + 10 + 20, "a sleep is none of it");
    }

    #[test]
    fn a_counter_that_goes_back_takes_nothing_away() {
        let (mut stages, counters) = stages();
        skip_to_sample(&mut stages);
        pass(100);
        stages.begin(Time(0));
        CYCLES.set(50);
        stages.mark(Stage::Parse, 1);
        pass(9);
        stages.mark(Stage::Guard, 1);
        stages.end(1, false);
        let read = counters.read();
        assert_eq!((read.stage(Stage::Parse), read.stage(Stage::Guard)), (work(1, 0), work(1, 9)));
    }

    #[test]
    fn stages_have_places_and_names_of_their_own() {
        for (place, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, place);
            assert_eq!(Stage::ALL.iter().filter(|it| it.name() == stage.name()).count(), 1);
        }
    }

    #[test]
    fn a_verdict_belongs_to_policy_where_policy_was_asked() {
        for (verdict, opened, stage) in [
            (Ok(()), false, Stage::Conntrack),
            (Ok(()), true, Stage::Policy),
            (Err(DropReason::IngressDenied), false, Stage::Policy),
            (Err(DropReason::OutOfWindow), false, Stage::Conntrack),
        ] {
            assert_eq!(Stage::of_verdict(verdict, opened), stage, "{verdict:?}, {opened}");
        }
    }
}
