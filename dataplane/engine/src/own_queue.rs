//! A queue that a worker owns, and the frames that gather for it.
//!
//! Frames are sent at the end of a turn, or when many have gathered. What finds no room in the ring
//! keeps its place and is tried again each turn, in order, so that a burst longer than the ring is
//! not lost. Who takes nothing for a while is taken to be down: what waits for it is dropped, lest
//! it arrive when nobody expects it any more. So is what a table judged that is not in force any more.

use std::time::Duration;

use sluice_core::drop::DropReason;
use sluice_core::time::Time;
use sluice_xdp::{Frame, FramePool};

use crate::capture::Dropped;
use crate::desk::Shared;
use crate::io::QueueIo;
use crate::port::PortId;
use crate::scene::Scene;

/// Frames that gather for one queue before they are sent within a turn, and that wait for room.
const TX_LEN_MAX: usize = 256;

/// How long a ring may take nothing before what waits for it is dropped. At 10 Gbit/s 256 long
/// frames leave in 0.3 ms.
const PATIENCE: Duration = Duration::from_millis(1);

/// A queue that a worker owns, and what gathers for it.
pub(crate) struct OwnQueue {
    pub(crate) port: PortId,
    pub(crate) io: Box<dyn QueueIo>,
    tx: Vec<Frame>,
    /// Since when the ring has taken nothing, if frames wait for it.
    full_since: Option<Time>,
    /// The turn in which it last left some.
    left_some: Option<Time>,
    /// The revision of the table that judged what it left.
    judged_by: u64,
}

impl OwnQueue {
    pub(crate) fn new(port: PortId, io: Box<dyn QueueIo>) -> Self {
        let tx = Vec::with_capacity(TX_LEN_MAX);
        Self { port, io, tx, full_since: None, left_some: None, judged_by: 0 }
    }

    /// Adds a frame to be sent; gives it back if too many wait already.
    #[inline]
    pub(crate) fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.is_full() {
            return Err(frame);
        }
        self.tx.push(frame);
        Ok(())
    }

    /// Whether so many frames have gathered that they should be sent now. A ring that was full
    /// in this turn is left alone: to ask it costs a system call.
    #[inline]
    pub(crate) fn wants_flush(&self, now: Time) -> bool {
        self.is_full() && self.left_some != Some(now)
    }

    /// Whether so many frames have gathered that no more are taken.
    #[inline]
    fn is_full(&self) -> bool {
        self.tx.len() >= TX_LEN_MAX
    }

    /// Whether any frame waits to be sent.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        !self.tx.is_empty()
    }

    /// Takes away what waits.
    pub(crate) fn take_waiting(&mut self) -> Vec<Frame> {
        self.full_since = None;
        std::mem::take(&mut self.tx)
    }

    /// Chunks of packet memory that it holds.
    pub(crate) fn held(&self) -> usize {
        self.io.held() + self.tx.iter().map(Frame::chunk_count).sum::<usize>()
    }

    /// Whether what waits was judged by another table than that of `revision`. Only a turn before
    /// this one can have left it.
    pub(crate) fn is_outdated(&self, revision: u64) -> bool {
        self.is_waiting() && self.judged_by != revision
    }

    /// Sends what has gathered, as far as there is room.
    pub(crate) fn flush(
        &mut self,
        scene: &Scene,
        pool: &mut FramePool,
        shared: &Shared,
        worker: usize,
        now: Time,
    ) {
        let mut bytes: u64 = self.tx.iter().map(|frame| frame.packet_len() as u64).sum();
        let mut sent = self.io.send(&mut self.tx);
        let mut kicked = self.io.kick();
        if !self.tx.is_empty() {
            self.io.complete(pool);
            sent += self.io.send(&mut self.tx);
            kicked = kicked.and_then(|()| self.io.kick());
        }
        if let Err(error) = kicked {
            tracing::debug!(%error, "a queue did not send");
        }
        bytes -= self.tx.iter().map(|frame| frame.packet_len() as u64).sum::<u64>();
        let port = scene.port(self.port);
        let counters = port.and_then(|port| port.counters(worker));
        if let Some(counters) = counters {
            counters.tx_frames.add(sent as u64);
            counters.tx_bytes.add(bytes);
        }
        self.judged_by = scene.table.revision();
        if !self.may_wait(sent, now) {
            self.drop_waiting(scene, pool, shared, worker, now);
        }
    }

    /// Drops what waits.
    pub(crate) fn drop_waiting(
        &mut self,
        scene: &Scene,
        pool: &mut FramePool,
        shared: &Shared,
        worker: usize,
        time: Time,
    ) {
        let port = scene.port(self.port);
        for frame in self.tx.drain(..) {
            let reason = DropReason::TxFull;
            if let Some(counters) = port.and_then(|port| port.counters(worker)) {
                counters.drop(reason);
                shared.captures.offer(&Dropped { frame: &frame, port, reason, worker, time });
            }
            pool.put(frame);
        }
        self.full_since = None;
    }

    /// Whether what is left after `sent` have found room may go on waiting.
    fn may_wait(&mut self, sent: usize, now: Time) -> bool {
        self.left_some = self.is_waiting().then_some(now);
        let since = self.full_since.filter(|_| sent == 0).unwrap_or(now);
        self.full_since = (self.is_waiting() && now.since(since) <= PATIENCE).then_some(since);
        self.full_since.is_some()
    }
}
