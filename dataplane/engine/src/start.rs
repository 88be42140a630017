//! The start of the engine: workers, what they share, and their threads.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::utils::CachePadded;
use sluice_core::conntrack::{Connections, Limits};
use sluice_core::flow::FlowHasher;
use sluice_core::fragments::{FragmentLimits, Fragments};
use sluice_core::table::Table;
use sluice_xdp::{FramePool, Umem};

use crate::clock::Clock;
use crate::desk::{Desk, Shared};
use crate::engine::{EngineConfig, Idle, Inner, WORKERS_MAX};
use crate::error::EngineError;
use crate::fdb::Fdb;
use crate::scene::Scene;
use crate::sync::{ArcSwap, ArrayQueue, unbounded};
use crate::worker::{POOL_LEN_MAX, Worker, WorkerStart};

/// Sightings that wait for the steward at most.
pub(crate) const SIGHTINGS_LEN: usize = 1024;

/// Of the room for fragmented datagrams one account may take one part in so many.
const ACCOUNTS_PER_TABLE: u32 = 4;

/// Checks that there is a worker, and not too many.
pub(crate) fn check_count(cores: &[usize]) -> Result<(), EngineError> {
    if cores.is_empty() || cores.len() > WORKERS_MAX {
        return Err(EngineError::CoreCount(cores.len()));
    }
    Ok(())
}

/// Checks that each worker can have its core.
pub(crate) fn check_cores(cores: &[usize]) -> Result<(), EngineError> {
    check_count(cores)?;
    let available: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    for (place, core) in cores.iter().enumerate() {
        if !available.contains(core) {
            return Err(EngineError::Core { core: *core, available });
        }
        if cores.iter().take(place).any(|earlier| earlier == core) {
            return Err(EngineError::CoreTwice(*core));
        }
    }
    Ok(())
}

/// Makes the workers and what they share, without threads.
pub(crate) fn prepare(
    config: &EngineConfig,
    umem: Umem,
    mut pool: FramePool,
    hasher: &FlowHasher,
) -> Result<(Inner, Vec<Worker>), EngineError> {
    let start_error = |errno: nix::Error| EngineError::Start(errno.into());
    let worker_count = config.cores.len();
    let mut desks = Vec::new();
    for _ in 0..worker_count {
        desks.push(CachePadded::new(Desk::new().map_err(start_error)?));
    }
    let empty = Arc::new(Table::empty());
    let shared = Arc::new(Shared {
        scene: ArcSwap::from_pointee(Scene::new(1, empty, Vec::new(), Fdb::default())),
        desks: desks.into_boxed_slice(),
        sightings: ArrayQueue::new(SIGHTINGS_LEN),
        reserve: ArrayQueue::new(umem.frame_count().max(1) as usize),
        captures: Arc::default(),
    });
    let share = u32::try_from(worker_count).unwrap_or(1);
    // Flows and datagrams spread over the workers by hash, so each is given its part of a bound.
    let limits = Limits {
        connections_max: config.connections_max.div_ceil(share),
        account_connections_max: config.pod_connections_max.div_ceil(share),
    };
    let datagrams_max = config.datagrams_max.div_ceil(share);
    let fragment_limits = FragmentLimits {
        datagrams_max,
        account_datagrams_max: datagrams_max.div_ceil(ACCOUNTS_PER_TABLE),
        timeout: config.timeouts.fragments,
    };
    let frames_each = pool.len() / worker_count.max(1);
    // Of its share a worker keeps half for itself at most, so that all of them can be fed.
    let pool_len_max = (frames_each / 2).clamp(1, POOL_LEN_MAX);
    let mut workers = Vec::new();
    let mut commands = Vec::new();
    for index in 0..worker_count {
        let (sender, receiver) = unbounded();
        commands.push(sender);
        let last = index + 1 == worker_count;
        let frames = if last { pool.len() } else { frames_each };
        let start = WorkerStart {
            index,
            shared: Arc::clone(&shared),
            pool: pool.split_off(frames),
            connections: Connections::new(limits, config.timeouts, hasher.clone()),
            hasher: hasher.clone(),
            fragments: Fragments::new(fragment_limits, hasher.clone()),
            established: config.established,
            midstream: config.midstream,
            verify_checksums: config.verify_checksums,
            pool_len_max,
            commands: receiver,
        };
        workers.push(Worker::new(start).map_err(start_error)?);
    }
    Ok((Inner::new(shared, commands, umem), workers))
}

/// Starts a worker's thread, pinned to its core.
pub(crate) fn spawn(
    worker: Worker,
    core: usize,
    clock: Clock,
    idle: Idle,
) -> Result<JoinHandle<()>, EngineError> {
    std::thread::Builder::new()
        .name(format!("sluice-{core}"))
        .spawn(move || {
            if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
                tracing::warn!(core, "the worker could not be pinned and runs where it may");
            }
            worker.run(clock, idle);
        })
        .map_err(EngineError::Start)
}
