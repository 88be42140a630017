//! What workers share with each other and with the control side: scene, inboxes, commands.

use std::sync::Arc;
use std::sync::atomic::Ordering::{self, Acquire, Relaxed, Release, SeqCst};

use crossbeam::utils::CachePadded;
use sluice_core::conntrack::{Account, Connection};
use sluice_core::fragments::DatagramId;
use sluice_xdp::{Frame, QueueReport};

use crate::capture::Captures;
use crate::counters::PortCounters;
use crate::fdb::Sighting;
use crate::io::QueueIo;
use crate::port::PortId;
use crate::scene::Scene;
use crate::stages::WorkCounters;
use crate::sync::{ArcSwap, ArrayQueue, AtomicBool, AtomicU64, Bell, Sender, fence};

/// Frames that wait in an inbox at most. A model fills it.
pub(crate) const INBOX_LEN: usize = if cfg!(loom) { 2 } else { 4096 };

/// What a worker did in a turn is there for whoever reads that the turn is over.
const TURN_OVER: Ordering = if cfg!(mutant = "seen_relaxed") { Relaxed } else { Release };

/// What all workers and the control side share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) scene: ArcSwap<Scene>,
    pub(crate) desks: Box<[CachePadded<Desk>]>,
    /// Stations seen where the FDB does not have them; the steward reads it.
    pub(crate) sightings: ArrayQueue<Sighting>,
    /// Free frames of workers that have too many, for those that have too few.
    pub(crate) reserve: ArrayQueue<Frame>,
    /// Who wants to see what is dropped.
    pub(crate) captures: Arc<Captures>,
}

/// What others may see and leave of a worker.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) inbox: ArrayQueue<Handover>,
    /// The generation of the scene that the worker last finished a turn with.
    seen: AtomicU64,
    /// The table revision of that scene.
    pub(crate) revision: AtomicU64,
    pub(crate) connections_len: AtomicU64,
    /// Connections that have given way to others.
    pub(crate) evicted: AtomicU64,
    /// Drops that no port can account for, since theirs has gone.
    pub(crate) gone: PortCounters,
    /// How busy the worker is, and with what.
    pub(crate) work: Arc<CachePadded<WorkCounters>>,
    sleeping: AtomicBool,
    pub(crate) bell: Bell,
}

/// A frame, or word of one, on its way to another worker.
#[derive(Debug)]
pub(crate) enum Handover {
    /// To be judged by the owner of its flow.
    Judge {
        /// The frame as it was received.
        frame: Frame,
        /// The port that received it.
        from: PortId,
    },
    /// To be judged by the owner of its flow, who tells the asker the verdict.
    JudgeFirst {
        /// The first fragment of a datagram, as it was received.
        frame: Frame,
        /// The port that received it.
        from: PortId,
        /// The datagram.
        datagram: DatagramId,
        /// The worker that owns the datagram.
        asker: usize,
    },
    /// The verdict on a first fragment, for the worker that owns the datagram.
    Settle {
        /// The datagram.
        datagram: DatagramId,
        /// The revision of the table that admitted it.
        admitted: Option<u64>,
    },
    /// To be sent by a worker that owns a queue of the port.
    Send {
        /// The frame as it is to leave.
        frame: Frame,
        /// The port that it leaves by.
        to: PortId,
    },
}

/// What the control side asks of a worker.
pub(crate) enum Command {
    /// Take up a queue, and say so: until then what is sent to its port finds no queue.
    AddQueue {
        port: PortId,
        io: Box<dyn QueueIo>,
        done: Sender<()>,
    },
    GiveUpPort {
        port: PortId,
        given: Sender<Vec<Box<dyn QueueIo>>>,
    },
    ReportQueues {
        port: PortId,
        done: Sender<Vec<QueueReport>>,
    },
    Census {
        done: Sender<usize>,
    },
    /// Forget what counts against the account of a port that has gone: the slice of the
    /// connections that begins at a slot, and datagrams. Answers where the next slice begins.
    ForgetAccount {
        account: Account,
        from: usize,
        done: Sender<Option<usize>>,
    },
    /// List the slice of the connections that begins at a slot. The list comes empty and with
    /// room for all of them, so that the worker need not allocate.
    ListConnections {
        from: usize,
        list: Vec<Connection>,
        done: Sender<Slice>,
    },
    Stop,
}

/// A slice of a worker's connections.
pub(crate) struct Slice {
    pub(crate) list: Vec<Connection>,
    /// Where the next one begins; `None` after the last.
    pub(crate) next: Option<usize>,
}

impl Handover {
    /// The frame that changes hands, if one does.
    pub(crate) fn into_frame(self) -> Option<Frame> {
        match self {
            Self::Judge { frame, .. }
            | Self::JudgeFirst { frame, .. }
            | Self::Send { frame, .. } => Some(frame),
            Self::Settle { .. } => None,
        }
    }
}

impl Shared {
    /// The worker that owns what has this hash.
    #[inline]
    pub(crate) fn owner(&self, hash: u64) -> usize {
        // The upper half of the hash, scaled; the table of connections uses the lower bits.
        let workers = self.desks.len() as u64;
        usize::try_from(((hash >> 32) * workers) >> 32).unwrap_or_default()
    }
}

impl Desk {
    pub(crate) fn new() -> nix::Result<Self> {
        Ok(Self {
            inbox: ArrayQueue::new(INBOX_LEN),
            seen: AtomicU64::new(0),
            revision: AtomicU64::new(0),
            connections_len: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            gone: PortCounters::default(),
            work: Arc::default(),
            sleeping: AtomicBool::new(false),
            bell: Bell::new()?,
        })
    }

    /// Notes that the worker has finished a turn with a scene.
    pub(crate) fn finish_turn(&self, scene: &Scene) {
        self.revision.store(scene.table.revision(), Relaxed);
        self.seen.store(scene.generation, TURN_OVER);
    }

    /// Whether the worker has finished a turn with this generation or a later one.
    pub(crate) fn has_seen(&self, generation: u64) -> bool {
        self.seen.load(Acquire) >= generation
    }

    /// Wakes the worker if it sleeps, after something was left for it.
    pub(crate) fn wake(&self) {
        // The other half is in `lie_down`: of two threads that each write, fence and then look at
        // what the other writes, at least one sees it.
        if !cfg!(mutant = "wake_without_fence") {
            fence(SeqCst);
        }
        if self.sleeping.swap(false, Relaxed) {
            self.bell.ring();
        }
    }

    /// Says that the worker sleeps. What is left for it from now on rings the bell; what was left
    /// before, the worker has to look for after this.
    pub(crate) fn lie_down(&self) {
        self.sleeping.store(true, Relaxed);
        if !cfg!(mutant = "sleep_without_fence") {
            fence(SeqCst);
        }
    }

    /// Says that the worker is awake.
    pub(crate) fn get_up(&self) {
        self.sleeping.store(false, Relaxed);
        self.bell.silence();
    }
}
