//! The control side of the engine: starts workers, adds and removes ports, publishes tables.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sluice_core::conntrack::Connection;
use sluice_core::conntrack::state::Timeouts;
use sluice_core::flow::FlowHasher;
use sluice_core::judge::Established;
use sluice_core::table::Table;
use sluice_core::time::Time;
use sluice_xdp::{FramePool, Umem};

use crate::capture::{Capture, CaptureSpec};
use crate::clock::Clock;
use crate::counters::Totals;
use crate::desk::{Command, Shared, Slice};
use crate::error::EngineError;
use crate::fdb::Fdb;
use crate::port::{Port, PortKind};
use crate::scene::Scene;
use crate::stages::Work;
use crate::start::{SIGHTINGS_LEN, check_cores, prepare, spawn};
use crate::stepped::ByHand;
use crate::steward;
use crate::sync::{Mutex, MutexGuard, Sender, bounded, sleep, unbounded};
use crate::worker::{SLICE_LEN, WORKER_PATIENCE};

mod ports;

use ports::Ending;
pub use ports::PlacedQueue;

/// Workers at most: one bit each in a worker's list of whom to wake.
pub const WORKERS_MAX: usize = 64;

/// Ports at most.
pub const PORTS_MAX: usize = 16_384;

/// What a worker does when no frame comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Idle {
    /// Keep asking: the lowest latency, a core's whole time.
    Spin,
    /// Ask for a while, then wait for the kernel to call.
    #[default]
    Sleep,
}

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The cores that a worker is pinned to, one each.
    pub cores: Vec<usize>,
    /// Connections that all workers together track at most.
    pub connections_max: u32,
    /// Connections of one pod that all workers together track at most.
    pub pod_connections_max: u32,
    /// How long a connection may be silent.
    pub timeouts: Timeouts,
    /// What becomes of established connections when the table changes.
    pub established: Established,
    /// Whether a TCP segment may begin a connection in its middle, if policy admits it.
    pub midstream: bool,
    /// Whether frames are dropped whose transport checksum is wrong.
    pub verify_checksums: bool,
    /// Fragmented datagrams that all workers together keep track of at most.
    pub datagrams_max: u32,
    /// What a worker does when no frame comes.
    pub idle: Idle,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            cores: vec![0],
            connections_max: 65_536,
            pod_connections_max: 16_384,
            timeouts: Timeouts::default(),
            established: Established::default(),
            midstream: false,
            verify_checksums: true,
            datagrams_max: 1024,
            idle: Idle::default(),
        }
    }
}

/// A running dataplane.
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
    threads: Vec<JoinHandle<()>>,
    steward: Option<(Sender<()>, JoinHandle<()>)>,
    clock: Clock,
    cores: Vec<usize>,
}

/// What the engine's handle and the steward share.
pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    control: Mutex<Control>,
    pub(crate) umem: Umem,
    /// The workers, where no threads turn them.
    pub(crate) by_hand: Option<ByHand>,
}

/// What only the control side writes.
struct Control {
    commands: Vec<Sender<Command>>,
    ports: Vec<Option<Arc<Port>>>,
    fdb: Fdb,
    aged: Time,
    worker_next: usize,
    /// What workers have not given up in time.
    endings: Vec<Ending>,
    /// Counts of ports that have gone, so that none is lost.
    retired: Totals,
}

impl Engine {
    /// Starts the workers with an empty table, under which pods can do nothing.
    ///
    /// `pool` holds all frames of `umem`.
    ///
    /// # Errors
    /// [`EngineError`], if a core is not to be had or a thread cannot be started.
    pub fn start(config: &EngineConfig, umem: Umem, pool: FramePool) -> Result<Self, EngineError> {
        check_cores(&config.cores)?;
        let clock = Clock::start();
        let (inner, workers) = prepare(config, umem, pool, &FlowHasher::random())?;
        let inner = Arc::new(inner);
        let mut threads = Vec::new();
        for (worker, &core) in workers.into_iter().zip(&config.cores) {
            threads.push(spawn(worker, core, clock, config.idle)?);
        }
        let (stop, stopped) = unbounded();
        let steward = std::thread::Builder::new()
            .name("sluice-steward".into())
            .spawn({
                let inner = Arc::clone(&inner);
                move || steward::run(&inner, clock, &stopped)
            })
            .map_err(EngineError::Start)?;
        let cores = config.cores.clone();
        Ok(Self { inner, threads, steward: Some((stop, steward)), clock, cores })
    }

    /// The control side of workers that have no threads of their own.
    pub(crate) fn without_threads(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
            threads: Vec::new(),
            steward: None,
            clock: Clock::start(),
            cores: Vec::new(),
        }
    }

    /// The packet memory that all ports share.
    #[must_use]
    pub fn umem(&self) -> &Umem {
        &self.inner.umem
    }

    /// The number of workers.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        self.inner.shared.desks.len()
    }

    /// The core of each worker, in the order of their indices; none where workers have no threads.
    #[must_use]
    pub fn cores(&self) -> &[usize] {
        &self.cores
    }

    /// Whether every worker still turns.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// The table in force.
    #[must_use]
    pub fn table(&self) -> Arc<Table> {
        Arc::clone(&self.inner.shared.scene.load().table)
    }

    /// The table revision that each worker last used.
    #[must_use]
    pub fn revisions(&self) -> Vec<u64> {
        let desks = self.inner.shared.desks.iter();
        desks.map(|desk| desk.revision.load(Relaxed)).collect()
    }

    /// Connections that each worker holds.
    #[must_use]
    pub fn connections(&self) -> Vec<u64> {
        let desks = self.inner.shared.desks.iter();
        desks.map(|desk| desk.connections_len.load(Relaxed)).collect()
    }

    /// Connections of each worker that have given way to others for want of room.
    #[must_use]
    pub fn evicted(&self) -> Vec<u64> {
        let desks = self.inner.shared.desks.iter();
        desks.map(|desk| desk.evicted.load(Relaxed)).collect()
    }

    /// What each worker has done since the start, and how long its stages took.
    #[must_use]
    pub fn work(&self) -> Vec<Work> {
        self.inner.shared.desks.iter().map(|desk| desk.work.read()).collect()
    }

    /// Stations that have been learned.
    #[must_use]
    pub fn learned_stations(&self) -> usize {
        self.inner.shared.scene.load().fdb.learned_len()
    }

    /// The ports, in the order of their numbers.
    #[must_use]
    pub fn ports(&self) -> Vec<Arc<Port>> {
        self.inner.shared.scene.load().ports.iter().flatten().cloned().collect()
    }

    /// What has been counted since the start, by ports that have gone too.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let control = self.inner.control();
        let mut totals = control.retired;
        for port in control.ports.iter().flatten() {
            totals.absorb(&port.totals());
        }
        for desk in &self.inner.shared.desks {
            totals.add(&desk.gone);
        }
        totals
    }

    /// Begins a capture of frames that are dropped from now on.
    ///
    /// # Errors
    /// [`EngineError`], if it names a port that is not there, or as many are under way as may be.
    pub fn capture(&self, spec: CaptureSpec) -> Result<Capture, EngineError> {
        let ports = self.ports();
        // A name that is mistyped would capture nothing without a word.
        let is_there = |name: &str| ports.iter().any(|port| &*port.spec.name == name);
        if let Some(name) = spec.ports.iter().find(|name| !is_there(name)) {
            return Err(EngineError::NoSuchPort(name.to_string()));
        }
        Capture::begin(&self.inner.shared.captures, self.clock, spec)
    }

    /// Puts a table in force and returns once every worker judges by it.
    ///
    /// # Errors
    /// [`EngineError::WorkerStuck`]; the table is then in force on the other workers.
    pub fn publish(&self, table: impl Into<Arc<Table>>) -> Result<(), EngineError> {
        let control = self.inner.control();
        self.inner.show(&control, table.into())
    }

    /// Counts every frame of packet memory wherever it is. With traffic under way, frames that
    /// change hands meanwhile may be missed; at rest the sum is the size of packet memory.
    ///
    /// # Errors
    /// [`EngineError::WorkerStuck`].
    pub fn census(&self) -> Result<usize, EngineError> {
        let control = self.inner.control();
        let mut frames = self.inner.shared.reserve.len();
        for (worker, desk) in self.inner.shared.desks.iter().enumerate() {
            let (done, counted) = unbounded();
            control.command(worker, Command::Census { done })?;
            self.inner.wake(worker);
            frames += desk.inbox.len();
            frames += counted
                .recv_timeout(WORKER_PATIENCE)
                .map_err(|_| EngineError::WorkerStuck(worker))?;
        }
        Ok(frames)
    }

    /// Visits every live connection of every worker, as it was when its worker listed it.
    ///
    /// Workers list a slice of their table at a time and forward on, so this is no snapshot: a
    /// connection that comes or goes meanwhile may be missed, and a flow that ends and opens
    /// anew may be visited twice. What lives all the while is visited exactly once. Visits hold
    /// nothing up: they are paid here, between slices.
    ///
    /// # Errors
    /// [`EngineError::WorkerStuck`]; some connections have been visited then.
    pub fn for_each_connection(
        &self,
        mut visit: impl FnMut(&Connection),
    ) -> Result<(), EngineError> {
        let mut list = Vec::with_capacity(SLICE_LEN);
        for worker in 0..self.worker_count() {
            let mut from = Some(0);
            while let Some(slot) = from {
                let slice = self.inner.list_connections(worker, slot, list)?;
                slice.list.iter().for_each(&mut visit);
                from = slice.next;
                list = slice.list;
                list.clear();
            }
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.steward.take() {
            drop(stop);
            let _ = thread.join();
        }
        let control = self.inner.control();
        for worker in 0..control.commands.len() {
            let _ = control.command(worker, Command::Stop);
            self.inner.wake(worker);
        }
        drop(control);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        if let Some(by_hand) = &self.inner.by_hand {
            by_hand.close(&mut self.inner.umem.empty_pool());
        }
        while self.inner.shared.reserve.pop().is_some() {}
    }
}

impl Inner {
    /// The control side of workers that take `commands`, without a port.
    pub(crate) fn new(shared: Arc<Shared>, commands: Vec<Sender<Command>>, umem: Umem) -> Self {
        let control = Mutex::new(Control {
            commands,
            ports: Vec::new(),
            fdb: Fdb::default(),
            aged: Time::default(),
            worker_next: 0,
            endings: Vec::new(),
            retired: Totals::default(),
        });
        Self { shared, control, umem, by_hand: None }
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        // A panic while it was held left at worst a port that nobody was shown.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a worker take a turn soon, or now if it has no thread.
    fn wake(&self, worker: usize) {
        if let Some(by_hand) = &self.by_hand {
            by_hand.turn(worker);
        } else if let Some(desk) = self.shared.desks.get(worker) {
            desk.wake();
        }
    }

    /// Has a worker list a slice of its connections.
    fn list_connections(
        &self,
        worker: usize,
        from: usize,
        list: Vec<Connection>,
    ) -> Result<Slice, EngineError> {
        let (done, listed) = bounded(1);
        // Control is given back before the answer, so that a long walk delays no publication.
        self.control().command(worker, Command::ListConnections { from, list, done })?;
        self.wake(worker);
        listed.recv_timeout(WORKER_PATIENCE).map_err(|_| EngineError::WorkerStuck(worker))
    }

    /// Learns what workers have seen and forgets what has aged.
    pub(crate) fn tend_fdb(&self, now: Time) -> Result<(), EngineError> {
        let ages = {
            let control = self.control();
            now.since(control.aged) >= Duration::from_secs(1)
        };
        if ages {
            self.finish_late_endings();
        }
        if self.shared.sightings.is_empty() && !ages {
            return Ok(());
        }
        let mut control = self.control();
        let mut changed = false;
        for _ in 0..SIGHTINGS_LEN {
            let Some(sighting) = self.shared.sightings.pop() else { break };
            // Its port may have gone since.
            let port = control.ports.get(sighting.port.index()).and_then(Option::as_ref);
            let Some(is_host) = port.map(|port| port.spec.kind == PortKind::Host) else { continue };
            changed |= control.fdb.learn(sighting, is_host, now);
        }
        if ages {
            control.aged = now;
            changed |= control.fdb.age(now);
        }
        if changed { self.show_again(&control) } else { Ok(()) }
    }

    /// Publishes ports and FDB with the table that is in force.
    fn show_again(&self, control: &Control) -> Result<(), EngineError> {
        let table = Arc::clone(&self.shared.scene.load().table);
        self.show(control, table)
    }

    /// Publishes a scene and waits until every worker has finished a turn with it. The old one
    /// is freed here and not on a packet thread.
    fn show(&self, control: &Control, table: Arc<Table>) -> Result<(), EngineError> {
        let generation = self.shared.scene.load().generation + 1;
        let scene = Scene::new(generation, table, control.ports.clone(), control.fdb.clone());
        let old = self.shared.scene.swap(Arc::new(scene));
        let patience = Instant::now() + WORKER_PATIENCE;
        for (worker, desk) in self.shared.desks.iter().enumerate() {
            self.wake(worker);
            while !cfg!(mutant = "publishes_at_once") && !desk.has_seen(generation) {
                if Instant::now() > patience {
                    return Err(EngineError::WorkerStuck(worker));
                }
                sleep(Duration::from_micros(20));
            }
        }
        drop(old);
        Ok(())
    }
}

impl Control {
    fn command(&self, worker: usize, command: Command) -> Result<(), EngineError> {
        let stuck = EngineError::WorkerStuck(worker);
        self.commands.get(worker).and_then(|sender| sender.send(command).ok()).ok_or(stuck)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

#[cfg(test)]
#[cfg(loom)]
mod models;
