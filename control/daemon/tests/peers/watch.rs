//! Watching an attack from both ends: what arrives at the victim, and what the daemon drops.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use sluice_core::drop::DropReason;
use sluice_demo::stage::{Seat, Stage};
use sluice_lab::{Namespace, probe, wait_until};

use crate::capture::Capture;
use crate::common::with_client;
use crate::{FENCE, PATIENCE};

/// Frames dropped, by the name of the reason.
pub(crate) type Drops = BTreeMap<String, u64>;

/// A victim that is watched.
pub(crate) struct Watch<'a> {
    pub(crate) capture: Capture,
    stage: &'a Stage,
    victim: &'a Seat,
    fences: u32,
}

impl<'a> Watch<'a> {
    pub(crate) fn start(stage: &'a Stage, victim: &'a Seat) -> Self {
        Self { capture: Capture::start(&victim.namespace), stage, victim, fences: 0 }
    }

    /// What came in by a port of Sluice's and was dropped.
    pub(crate) fn drops(&self, interface: &str) -> Drops {
        let counters = with_client(self.stage, async |client| client.counters().await.unwrap());
        let port = counters.ports.into_iter().find(|port| port.port == interface).unwrap();
        port.total.drops.into_iter().map(|drop| (drop.reason, drop.frames)).collect()
    }

    /// Returns once everything that a namespace has sent so far is dropped or captured.
    pub(crate) fn settle(&mut self, from: &Namespace) {
        // Frames of one port are received in order, and leave by one port in order. In between
        // a frame may have to wait for the worker of its flow; it is then received and not yet
        // sent or dropped.
        self.pass_fence(from);
        let balanced = || {
            let counters = with_client(self.stage, async |client| client.counters().await.unwrap());
            let total = counters.total;
            total.rx_frames + total.flood_copies == total.tx_frames + total.dropped()
        };
        assert!(wait_until(PATIENCE, balanced), "{}", self.stage.log_tail());
        self.pass_fence(from);
    }

    /// Also proves that the capture sees what passes.
    fn pass_fence(&mut self, from: &Namespace) {
        self.fences += 1;
        let mark = format!("fence {} from {}", self.fences, from.name());
        let to = SocketAddr::new(self.victim.addresses[0], FENCE);
        from.run(|| probe::udp_send(to, mark.as_bytes())).unwrap().unwrap();
        let passed = wait_until(PATIENCE, || self.capture.has(mark.as_bytes()));
        assert!(passed, "{mark:?} does not arrive; sluiced says:\n{}", self.stage.log_tail());
    }
}

/// How many more frames were dropped for one reason, or for any.
pub(crate) fn moved(before: &Drops, after: &Drops, reason: Option<DropReason>) -> u64 {
    let of = |drops: &Drops| match reason {
        Some(reason) => drops.get(reason.name()).copied().unwrap_or_default(),
        None => drops.values().sum(),
    };
    of(after) - of(before)
}

/// The reasons that have moved, for people.
pub(crate) fn describe(before: &Drops, after: &Drops) -> String {
    let news = after.iter().filter_map(|(reason, frames)| {
        let more = frames - before.get(reason).copied().unwrap_or_default();
        (more > 0).then(|| format!("{reason} {more}"))
    });
    news.collect::<Vec<_>>().join(", ")
}
