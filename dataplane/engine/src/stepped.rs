//! An engine that is driven by hand, for tests and fuzzing: the same workers and the same
//! control side, without threads and without a clock.
//!
//! A worker turns when [`Stepped::turn`] says so, or because the control side needs an answer
//! from it, and the time is what the caller says. Two runs that do the same see the same,
//! frame by frame. A daemon has no use for this: nothing is forwarded between two calls.

use std::hash::Hash;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sluice_core::flow::FlowHasher;
use sluice_core::time::Time;
use sluice_xdp::{FramePool, Umem};

use crate::engine::{Engine, EngineConfig, Inner};
use crate::error::EngineError;
use crate::start::{check_count, prepare};
use crate::worker::Worker;

/// An [`Engine`] whose turns the caller takes. What an engine can do, it does: ports come and
/// go, tables are published, and each call has all its effect when it returns.
pub struct Stepped {
    engine: Engine,
    hasher: FlowHasher,
}

/// Workers without threads, and the time of their turns.
pub(crate) struct ByHand(Mutex<(Vec<Worker>, Time)>);

impl Stepped {
    /// Makes as many workers as `config` names cores, which need not exist.
    ///
    /// `pool` holds all frames of `umem`. `hasher` says which worker owns which flow: a seeded
    /// one makes a run repeat.
    ///
    /// # Errors
    /// [`EngineError`], if there are no workers or too many, or the kernel refuses what they
    /// would sleep on.
    pub fn start(
        config: &EngineConfig,
        umem: Umem,
        pool: FramePool,
        hasher: FlowHasher,
    ) -> Result<Self, EngineError> {
        check_count(&config.cores)?;
        let (mut inner, workers) = prepare(config, umem, pool, &hasher)?;
        inner.by_hand = Some(ByHand(Mutex::new((workers, Time::default()))));
        Ok(Self { engine: Engine::without_threads(inner), hasher })
    }

    /// Turns all workers, and learns the stations that they have seen, until nothing moves any
    /// more. Returns how many frames have moved; one that changes workers moves more than once.
    ///
    /// `now` is the time until the next call, and must not be earlier than that of the last.
    ///
    /// # Errors
    /// [`EngineError::WorkerStuck`], if what was learned could not be published.
    pub fn turn(&self, now: Time) -> Result<usize, EngineError> {
        let mut moved_all = 0;
        loop {
            let moved: usize =
                (0..self.worker_count()).map(|worker| self.turn_one(worker, now)).sum();
            self.engine.inner.tend_fdb(now)?;
            if moved == 0 {
                return Ok(moved_all);
            }
            moved_all += moved;
        }
    }

    /// Has one worker take one turn, for tests of what happens between two. Returns how many
    /// frames it moved.
    pub fn turn_one(&self, worker: usize, now: Time) -> usize {
        let Some(by_hand) = &self.engine.inner.by_hand else { return 0 };
        by_hand.locked().1 = now;
        by_hand.turn(worker)
    }

    /// Ends the engine and gives back every frame: those of workers, of ports and of inboxes.
    /// Packet memory is never unmapped, so whoever starts many engines has them share one.
    pub fn into_pool(self) -> FramePool {
        let Inner { shared, by_hand, umem, .. } = &*self.engine.inner;
        let mut pool = umem.empty_pool();
        by_hand.iter().for_each(|by_hand| by_hand.close(&mut pool));
        for desk in &shared.desks {
            while let Some(handover) = desk.inbox.pop() {
                handover.into_frame().into_iter().for_each(|frame| pool.put(frame));
            }
        }
        while let Some(frame) = shared.reserve.pop() {
            pool.put(frame);
        }
        pool
    }

    /// The worker that owns a flow, by its [`FlowKey`](sluice_core::flow::FlowKey), or a
    /// fragmented datagram, by its [`FragmentKey`](sluice_core::fragments::FragmentKey).
    #[must_use]
    pub fn owner<K: Hash>(&self, key: &K) -> usize {
        self.engine.inner.shared.owner(self.hasher.hash(key))
    }
}

impl Deref for Stepped {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl ByHand {
    /// Has a worker take a turn. Returns how many frames it moved.
    pub(crate) fn turn(&self, worker: usize) -> usize {
        let (workers, now) = &mut *self.locked();
        workers.get_mut(worker).map_or(0, |worker| worker.turn(*now))
    }

    /// Ends all workers and takes their frames.
    pub(crate) fn close(&self, pool: &mut FramePool) {
        self.locked().0.drain(..).for_each(|worker| pool.absorb(worker.close()));
    }

    fn locked(&self) -> MutexGuard<'_, (Vec<Worker>, Time)> {
        // A worker that panicked has the test fail.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use sluice_core::address::NetworkId;
    use sluice_core::drop::DropReason;
    use sluice_core::table::Table;

    use super::*;
    use crate::io::memory::Wire;
    use crate::port::{PortKind, PortSpec};
    use crate::stages::{SAMPLE_EVERY, Stage};

    const FRAMES: u32 = 256;

    fn stepped(workers: usize) -> Stepped {
        let (umem, pool) = Umem::in_memory(FRAMES).unwrap();
        let config = EngineConfig {
            cores: (0..workers).collect(),
            connections_max: 64,
            ..EngineConfig::default()
        };
        Stepped::start(&config, umem, pool, FlowHasher::seeded(7)).unwrap()
    }

    fn uplink(engine: &Stepped, name: &str) -> Wire {
        let (wire, queue) = Wire::new(16);
        let spec = PortSpec {
            name: name.into(),
            kind: PortKind::Uplink,
            networks: BTreeMap::from([(NetworkId::DEFAULT, None)]),
            mtu: 1500,
            priority_tags: false,
            partial_checksums: false,
        };
        engine.add_port(spec, vec![Box::new(queue)]).unwrap();
        wire
    }

    /// A datagram from and to stations of these numbers.
    fn datagram(from: u8, to: u8) -> Vec<u8> {
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, from], [2, 0, 0, 0, 0, to])
            .ipv4([192, 0, 2, from], [192, 0, 2, to], 64)
            .udp(1000, 53)
            .write(&mut frame, b"?")
            .unwrap();
        frame
    }

    #[test]
    fn nothing_moves_between_turns_and_all_moves_within() {
        for workers in [1, 2] {
            let engine = stepped(workers);
            let (left, right) = (uplink(&engine, "left"), uplink(&engine, "right"));
            engine.publish(Table::empty().with_revision(3)).unwrap();
            assert_eq!(engine.revisions(), vec![3; workers]);
            let (there, back) = (datagram(1, 2), datagram(2, 1));
            assert!(left.push(&there));
            assert_eq!(right.pop(), None);
            assert!(engine.turn(Time(1)).unwrap() > 0);
            assert_eq!(right.pop(), Some(there), "nobody knows the station: to the others");
            assert_eq!(engine.learned_stations(), 1);
            assert!(right.push(&back));
            engine.turn(Time(2)).unwrap();
            assert_eq!(left.pop(), Some(back));
            assert_eq!(engine.turn(Time(2)).unwrap(), 0);
            assert_eq!(engine.census().unwrap(), FRAMES as usize);
            assert_eq!(engine.totals().tx_frames, 2);
        }
    }

    #[test]
    fn the_time_is_what_the_caller_says() {
        let engine = stepped(1);
        let (left, right) = (uplink(&engine, "left"), uplink(&engine, "right"));
        let burst = |now: Time| {
            for _ in 0..100 {
                for _ in 0..16 {
                    assert!(left.push(&datagram(1, 2)));
                }
                engine.turn(now).unwrap();
                while right.pop().is_some() {}
            }
            engine.totals().dropped(DropReason::FloodLimited)
        };
        assert_eq!(burst(Time(0)), 600, "a second's worth at once");
        assert_eq!(burst(Time(0) + Duration::from_millis(100)), 2100, "a tenth of it later");
    }

    #[test]
    fn work_is_counted_and_stages_are_measured_in_a_sample_of_turns() {
        let engine = stepped(1);
        let (left, _right) = (uplink(&engine, "left"), uplink(&engine, "right"));
        let before = engine.work()[0];
        for turn in 0..u64::from(SAMPLE_EVERY) {
            // Of three frames one is too short to be anything.
            assert!(left.push(&datagram(1, 2)) && left.push(&[0; 8]) && left.push(&datagram(1, 3)));
            engine.turn_one(0, Time(turn * 100));
        }
        engine.turn_one(0, Time(u64::from(SAMPLE_EVERY) * 100));
        let after = engine.work()[0];
        let turns = u64::from(SAMPLE_EVERY);
        assert_eq!(after.turns - before.turns, turns);
        assert_eq!(after.frames - before.frames, 3 * turns);
        assert_eq!(after.busy_ns - before.busy_ns, 100 * turns);
        assert_eq!(after.measured_frames - before.measured_frames, 3, "one turn's");
        for stage in [Stage::Parse, Stage::Guard, Stage::Conntrack] {
            assert_eq!(after.stage(stage).frames, 2, "{}", stage.name());
        }
        assert_eq!(after.stage(Stage::Io).frames, 3);
        let cycles: u64 = Stage::ALL.iter().map(|stage| after.stage(*stage).cycles).sum();
        assert!(cycles > 0);
    }

    #[test]
    fn a_port_goes_and_every_frame_comes_back() {
        let engine = stepped(2);
        let (left, _right) = (uplink(&engine, "left"), uplink(&engine, "right"));
        assert!(left.push(&datagram(1, 2)));
        engine.remove_port("right").unwrap();
        engine.turn(Time(0)).unwrap();
        assert_eq!(engine.totals().dropped(DropReason::UnknownDestination), 1);
        assert_eq!(engine.census().unwrap(), FRAMES as usize);
        assert_eq!(engine.umem().leaked(), 0);
    }

    #[test]
    fn every_frame_comes_back_for_the_next_engine() {
        let engine = stepped(2);
        let umem = *engine.umem();
        let (left, _right) = (uplink(&engine, "left"), uplink(&engine, "right"));
        for to in 2..10 {
            assert!(left.push(&datagram(1, to)));
        }
        // What workers have left for each other is in their inboxes now.
        for worker in 0..2 {
            engine.turn_one(worker, Time(1));
        }
        let pool = engine.into_pool();
        assert_eq!((pool.len(), umem.leaked()), (FRAMES as usize, 0));
        let config = EngineConfig { cores: vec![0, 1], ..EngineConfig::default() };
        let next = Stepped::start(&config, umem, pool, FlowHasher::seeded(7)).unwrap();
        assert_eq!(next.census().unwrap(), FRAMES as usize);
    }

    #[test]
    fn a_stepped_engine_needs_no_cores_but_a_worker() {
        let (umem, pool) = Umem::in_memory(8).unwrap();
        let config = EngineConfig { cores: Vec::new(), ..EngineConfig::default() };
        let refused = Stepped::start(&config, umem, pool, FlowHasher::seeded(7)).err();
        assert!(matches!(refused, Some(EngineError::CoreCount(0))));
        assert_eq!(stepped(9).worker_count(), 9);
    }
}
