//! Captures of dropped frames: bounded copies for whoever asks, at no cost while nobody does.
//!
//! ```text
//! worker: a drop -> is one on? -> its filter -> a free slot? -- yes, copy --> filled --+
//!                                     ^             no: missed                         |
//!                                     +--------------- free <----- Capture::take <-----+
//! ```
//!
//! The slots of a capture are all the memory that it ever has; they go round between two queues
//! that all workers share. A worker waits for nobody: a drop that finds no free slot is counted
//! as missed. A capture ends by itself, by frames and by time, and when its handle is dropped.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use crossbeam::queue::ArrayQueue;
use sluice_core::drop::DropReason;
use sluice_core::time::Time;
use sluice_xdp::Frame;

use crate::clock::{Clock, Wall};
use crate::engine::WORKERS_MAX;
use crate::error::EngineError;
use crate::port::Port;
use crate::worker::Worker;

/// Captures under way at most. Together they hold 36 MiB.
pub const CAPTURES_MAX: usize = 4;

/// Bytes of a frame that are kept at most: no port sends longer ones, Ethernet header and tags
/// included.
pub const SNAP_LEN_MAX: usize = 9_022;

/// Frames of one capture that wait to be taken at most.
const SLOTS_MAX: usize = 1024;

/// How long the end of a capture waits for workers that are within a drop: they need no
/// microsecond, unless the kernel runs something else on their core.
const WORKER_PATIENCE: Duration = Duration::from_millis(100);

/// Which dropped frames to capture, and how much of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureSpec {
    /// Only drops that one of these ports accounts for; of all ports if empty.
    pub ports: Vec<Box<str>>,
    /// Only drops for one of these reasons; for all reasons if empty.
    pub reasons: Vec<DropReason>,
    /// Frames after which the capture is over.
    pub count: u64,
    /// Bytes of each frame that are kept, [`SNAP_LEN_MAX`] at most.
    pub snap_len: usize,
    /// Time after which the capture is over.
    pub duration: Duration,
}

/// A dropped frame, as it was when it was dropped: its tag and checksum may have been changed on
/// the way to the port that it should have left by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DroppedFrame {
    /// When its worker began the turn in which it was dropped, by the engine's clock.
    pub time: Time,
    /// The same moment by the wall clock. Within one capture it never jumps.
    pub wall: SystemTime,
    /// The port that accounts for the drop: the one that received the frame, or the one that it
    /// should have left by if that failed it. `None`: the port has gone.
    pub port: Option<Box<str>>,
    /// Why it was dropped.
    pub reason: DropReason,
    /// The worker that dropped it.
    pub worker: usize,
    /// Its length from the Ethernet header on, in bytes.
    pub len: usize,
    /// Its first bytes, as many as [`CaptureSpec::snap_len`] lets through.
    pub bytes: Vec<u8>,
}

/// A capture under way. It ends when this is dropped.
#[derive(Debug)]
pub struct Capture {
    captures: Arc<Captures>,
    /// Its place among the captures; `None` once no worker sees it any more.
    place: Option<usize>,
    ring: Arc<Ring>,
    clock: Clock,
    wall: Wall,
    taken: u64,
}

/// What workers see of captures.
#[derive(Debug, Default)]
pub(crate) struct Captures {
    /// A bit for each capture that is on: all that a drop costs while none is.
    on: AtomicU32,
    /// A bit for each place that somebody has.
    owned: AtomicU32,
    rings: [ArcSwapOption<Ring>; CAPTURES_MAX],
}

/// One capture, as workers see it.
#[derive(Debug)]
struct Ring {
    ports: Vec<Box<str>>,
    /// By [`DropReason::index`].
    reasons: [bool; DropReason::COUNT],
    count: u64,
    snap_len: usize,
    ends: Time,
    /// Frames that workers have found a slot for, or a few more.
    claimed: AtomicU64,
    missed: AtomicU64,
    free: ArrayQueue<Slot>,
    filled: ArrayQueue<Slot>,
}

/// A frame that is being dropped.
pub(crate) struct Dropped<'a> {
    pub(crate) frame: &'a Frame,
    /// The port that accounts for it.
    pub(crate) port: Option<&'a Arc<Port>>,
    pub(crate) reason: DropReason,
    pub(crate) worker: usize,
    /// When the worker's turn began.
    pub(crate) time: Time,
}

/// Room for a copy of one frame.
#[derive(Debug)]
struct Slot {
    time: Time,
    port: Option<Arc<Port>>,
    reason: DropReason,
    worker: usize,
    len: usize,
    /// Never holds more than it had room for at first, so that a worker need not allocate.
    bytes: Vec<u8>,
}

impl Worker {
    /// Shows a frame that is being dropped to the captures that are on.
    #[inline]
    pub(crate) fn offer(&self, frame: &Frame, port: Option<&Arc<Port>>, reason: DropReason) {
        let (worker, time) = (self.index, self.now);
        self.shared.captures.offer(&Dropped { frame, port, reason, worker, time });
    }
}

impl Captures {
    /// Shows a frame to the captures that are on.
    #[inline]
    pub(crate) fn offer(&self, dropped: &Dropped<'_>) {
        let on = self.on.load(Relaxed);
        if on != 0 {
            self.offer_to(on, dropped);
        }
    }

    #[cold]
    fn offer_to(&self, on: u32, dropped: &Dropped<'_>) {
        for (place, ring) in self.rings.iter().enumerate() {
            if on & (1 << place) != 0
                && let Some(ring) = &*ring.load()
            {
                ring.offer(dropped);
            }
        }
    }

    /// Shows a ring to the workers. Returns its place, if one is left.
    fn show(&self, ring: &Arc<Ring>) -> Option<usize> {
        let take_lowest = |owned: u32| {
            let place = owned.trailing_ones();
            ((place as usize) < CAPTURES_MAX).then(|| owned | (1 << place))
        };
        let owned = self.owned.fetch_update(AcqRel, Acquire, take_lowest).ok()?;
        let place = owned.trailing_ones() as usize;
        self.rings.get(place)?.store(Some(Arc::clone(ring)));
        self.on.fetch_or(1 << place, Release);
        Some(place)
    }

    /// Hides a ring from the workers. When this returns, those that saw it have been waited for.
    fn hide(&self, place: usize, ring: &Arc<Ring>) {
        self.on.fetch_and(!(1 << place), Relaxed);
        if let Some(slot) = self.rings.get(place) {
            slot.store(None);
        }
        // The last one to let go frees the slots, which is no work for a packet thread.
        let step = Duration::from_micros(20);
        let mut patience = WORKER_PATIENCE;
        while Arc::strong_count(ring) > 1 && !patience.is_zero() {
            std::thread::sleep(step);
            patience = patience.saturating_sub(step);
        }
        self.owned.fetch_and(!(1 << place), Release);
    }
}

impl Ring {
    fn new(spec: CaptureSpec, now: Time) -> Self {
        // One more for each worker: all may hold one and only then see that the count is reached.
        let wanted = usize::try_from(spec.count).unwrap_or(SLOTS_MAX);
        let slots = wanted.saturating_add(WORKERS_MAX).min(SLOTS_MAX);
        let snap_len = spec.snap_len.min(SNAP_LEN_MAX);
        let ring = Self {
            reasons: std::array::from_fn(|index| {
                spec.reasons.is_empty() || spec.reasons.iter().any(|it| it.index() == index)
            }),
            ports: spec.ports,
            count: spec.count,
            snap_len,
            ends: now + spec.duration,
            claimed: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            free: ArrayQueue::new(slots),
            filled: ArrayQueue::new(slots),
        };
        for _ in 0..slots {
            ring.give_back(Slot {
                time: Time::default(),
                port: None,
                reason: DropReason::PortGone,
                worker: 0,
                len: 0,
                bytes: Vec::with_capacity(snap_len),
            });
        }
        ring
    }

    fn offer(&self, dropped: &Dropped<'_>) {
        let is_over = dropped.time > self.ends || self.claimed.load(Relaxed) >= self.count;
        if is_over || !self.wants(dropped) {
            return;
        }
        let Some(mut slot) = self.free.pop() else {
            self.missed.fetch_add(1, Relaxed);
            return;
        };
        // Only what has a slot is claimed, so that what is missed does not end the capture.
        if self.claimed.fetch_add(1, Relaxed) >= self.count {
            return self.give_back(slot);
        }
        let Dropped { frame, port, reason, worker, time } = *dropped;
        slot.bytes.clear();
        for piece in frame.pieces() {
            let room = self.snap_len - slot.bytes.len();
            slot.bytes.extend_from_slice(piece.get(..room).unwrap_or(piece));
        }
        let (port, len) = (port.cloned(), frame.packet_len());
        // Either queue has room for every slot that there is.
        let _ = self.filled.push(Slot { time, port, reason, worker, len, bytes: slot.bytes });
    }

    fn wants(&self, dropped: &Dropped<'_>) -> bool {
        let is_named = || dropped.port.is_some_and(|port| self.ports.contains(&port.spec.name));
        self.reasons.get(dropped.reason.index()).is_some_and(|wanted| *wanted)
            && (self.ports.is_empty() || is_named())
    }

    fn give_back(&self, slot: Slot) {
        let _ = self.free.push(slot);
    }
}

impl Capture {
    /// Begins a capture.
    pub(crate) fn begin(
        captures: &Arc<Captures>,
        clock: Clock,
        spec: CaptureSpec,
    ) -> Result<Self, EngineError> {
        let wall = clock.wall();
        let ring = Arc::new(Ring::new(spec, clock.now()));
        let place = captures.show(&ring).ok_or(EngineError::TooManyCaptures)?;
        let captures = Arc::clone(captures);
        Ok(Self { captures, place: Some(place), ring, clock, wall, taken: 0 })
    }

    /// Takes at most `max` of the frames that have been captured and not taken yet, in the order
    /// in which they were dropped; those of one worker exactly so. Does not wait for any.
    #[must_use]
    pub fn take(&mut self, max: usize) -> Vec<DroppedFrame> {
        self.take_at(self.clock.now(), max)
    }

    fn take_at(&mut self, now: Time, max: usize) -> Vec<DroppedFrame> {
        if now > self.ring.ends {
            self.end();
        }
        let mut frames = Vec::new();
        while frames.len() < max {
            let Some(mut slot) = self.ring.filled.pop() else { break };
            frames.push(DroppedFrame {
                time: slot.time,
                wall: self.wall.at(slot.time),
                port: slot.port.take().map(|port| port.spec.name.clone()),
                reason: slot.reason,
                worker: slot.worker,
                len: slot.len,
                bytes: slot.bytes.clone(),
            });
            self.ring.give_back(slot);
        }
        self.taken += frames.len() as u64;
        if self.taken >= self.ring.count {
            self.end();
        }
        frames
    }

    /// Frames that the capture should have had and found no room for.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.ring.missed.load(Relaxed)
    }

    /// Whether all has been taken that will ever be captured.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.place.is_none() && self.ring.filled.is_empty()
    }

    /// No worker offers anything any more after this.
    fn end(&mut self) {
        if let Some(place) = self.place.take() {
            self.captures.hide(place, &self.ring);
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests;
