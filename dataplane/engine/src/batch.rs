//! A batch of frames on their way through a worker, stage by stage.
//!
//! ```text
//! read each --> guard each --> forward each --> judge and send each
//!          \                              \
//!           touch who holds their addresses  touch their connections, or what policy asks for
//! ```
//!
//! Each stage does one thing for all frames before the next begins. So its instructions and what
//! it reads are still in the cache for the second frame, and memory that is far away, which is
//! what a connection among many is, is waited for once and not frame by frame. Connections are
//! followed and frames are sent in the order in which they came.

use std::hint::black_box;
use std::ops::BitXor;

use sluice_core::drop::DropReason;
use sluice_core::judge::{FlowOf, Verdict};
use sluice_core::policy::{Attempt, Ends};
use sluice_core::time::Time;
use sluice_xdp::Frame;

use crate::forward::{Reading, Route};
use crate::scene::Scene;
use crate::stages::Stage;
use crate::worker::{BATCH_LEN_MAX, Worker};

/// Frames that have been read, and what each stage has come to for each of them. Nothing is in it
/// between turns.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    frames: Vec<Frame>,
    /// Places for readings; those of `frames` are the first.
    readings: Vec<Reading>,
    /// The place of a reading for which there is no other.
    last: Reading,
    ends: Vec<Ends>,
    guarded: Vec<Verdict>,
    /// No route for a fragment: it is noted first, and may have to wait for others.
    routes: Vec<Result<Option<Route>, DropReason>>,
    hashes: Vec<u64>,
    /// What policy is asked of those whose connection is not there yet, and their ends.
    newcomers: (Vec<Attempt>, Vec<Ends>),
}

impl Batch {
    /// An empty batch, with the memory that it will ever need.
    pub(crate) fn new() -> Self {
        Self {
            frames: Vec::with_capacity(BATCH_LEN_MAX),
            readings: std::iter::repeat_with(Reading::default).take(BATCH_LEN_MAX).collect(),
            last: Reading::default(),
            ends: Vec::with_capacity(BATCH_LEN_MAX),
            guarded: Vec::with_capacity(BATCH_LEN_MAX),
            routes: Vec::with_capacity(BATCH_LEN_MAX),
            hashes: Vec::with_capacity(BATCH_LEN_MAX),
            newcomers: (Vec::with_capacity(BATCH_LEN_MAX), Vec::with_capacity(BATCH_LEN_MAX)),
        }
    }

    /// Where the reading of the next frame goes.
    #[inline]
    pub(crate) fn place(&mut self) -> &mut Reading {
        self.readings.get_mut(self.frames.len()).unwrap_or(&mut self.last)
    }

    /// Adds a frame of a flow or datagram that the worker owns; its reading is in its place.
    #[inline]
    pub(crate) fn push(&mut self, frame: Frame) {
        self.frames.push(frame);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.frames.len() >= BATCH_LEN_MAX
    }

    fn clear(&mut self) {
        self.frames.clear();
        self.ends.clear();
        self.guarded.clear();
        self.routes.clear();
        self.hashes.clear();
        self.newcomers.0.clear();
        self.newcomers.1.clear();
    }
}

impl Worker {
    /// Judges what has been read, and sends it on its way.
    pub(crate) fn judge_batch(&mut self, scene: &Scene, batch: &mut Batch, now: Time) {
        let count = batch.frames.len();
        if count == 0 {
            return;
        }
        self.stages.mark(Stage::Parse, count);
        let Batch { frames, readings, ends, guarded, routes, hashes, newcomers, .. } = batch;
        let readings = readings.get(..count).unwrap_or_default();
        let judge = self.judge_in(scene, now);

        if scene.table.is_large() {
            black_box(readings.iter().map(|it| it.touch_ends(&judge)).fold(0, BitXor::bitxor));
        }
        ends.extend(readings.iter().map(|reading| reading.ends(&judge)));
        for (reading, ends) in readings.iter().zip(&*ends) {
            let context = reading.within(scene, *ends).ok_or(DropReason::PortGone);
            guarded.push(context.and_then(|context| self.guard(&context, now)));
        }
        self.stages.mark(Stage::Guard, count);

        for (((frame, reading), ends), guarded) in
            frames.iter().zip(readings).zip(&*ends).zip(&*guarded)
        {
            let route = guarded.and_then(|()| match reading.is_fragment() {
                // It is noted first, and may have to wait for others.
                true => Ok(None),
                false => {
                    let context = reading.within(scene, *ends).ok_or(DropReason::PortGone)?;
                    self.forward(&context, frame.packet_len(), now).map(Some)
                }
            });
            routes.push(route);
        }
        self.stages.mark(Stage::Forward, count);

        hashes.extend(readings.iter().filter_map(|reading| Some(reading.flow.as_ref()?.hash)));
        self.connections.warm(hashes);
        if scene.table.is_large() {
            for (reading, ends) in readings.iter().zip(&*ends) {
                let is_new = |flow: &FlowOf| !self.connections.may_hold(flow.hash);
                if reading.flow.as_ref().is_some_and(is_new)
                    && let Some(attempt) = reading.attempt()
                {
                    newcomers.0.push(attempt);
                    newcomers.1.push(*ends);
                }
            }
            scene.table.warm(&newcomers.0, &newcomers.1);
        }
        self.stages.mark(Stage::Conntrack, 0);

        for (((frame, reading), ends), route) in
            frames.drain(..).zip(readings).zip(&*ends).zip(&*routes)
        {
            let Some(context) = reading.within(scene, *ends) else {
                self.discard_without_port(frame);
                continue;
            };
            match *route {
                Ok(Some(route)) => {
                    let way = self.judge(&context, route, now);
                    self.send_on_its_way(&context, frame, way, now);
                }
                Ok(None) => self.fragment(&context, frame, now),
                Err(reason) => self.discard(scene, frame, reading.from, reason),
            }
        }
        batch.clear();
    }
}
