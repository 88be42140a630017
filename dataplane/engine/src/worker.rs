//! A worker: the loop of one core.
//!
//! Each turn it picks up the scene, then commands, its inbox and some batches from every queue that
//! it owns; then it sends what has gathered. Nothing in a turn waits, locks or, once its lists have
//! grown to their size, allocates. Frames that find no room in a tx ring are kept for a moment;
//! whatever else is full is counted and let go.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use sluice_core::conntrack::{Account, Connection, Connections};
use sluice_core::drop::DropReason;
use sluice_core::flow::FlowHasher;
use sluice_core::fragments::Fragments;
use sluice_core::judge::Established;
use sluice_core::time::Time;
use sluice_xdp::{Frame, FramePool};

use crate::batch::Batch;
use crate::clock::Clock;
use crate::desk::{Command, Handover, INBOX_LEN, Shared, Slice};
use crate::engine::Idle;
use crate::flood::Bucket;
use crate::io::QueueIo;
use crate::own_queue::OwnQueue;
use crate::port::PortId;
use crate::scene::Scene;
use crate::stages::{Stage, Stages};
use crate::sync::{Listener, Receiver};
use crate::waiting::WaitingRoom;

/// Frames taken from one queue, or from the inbox, before the next one's turn.
pub(crate) const BATCH_LEN_MAX: usize = sluice_core::conntrack::BATCH_LEN_MAX;

/// Batches taken from one queue a turn at most. One that has less waiting does not fill its first:
/// so what is taken at once grows with the load, and the others' turn still comes.
const BATCHES_MAX: usize = 4;

/// Connections that may have expired looked at a turn: a few microseconds at most.
const EXPIRE_BUDGET: usize = 32;

/// Slots of the connection table that are listed for the control side a turn: a few
/// microseconds, even if a connection lives in each.
pub(crate) const SLICE_LEN: usize = 512;

/// Slots of the connection table that are freed for the control side a turn at most.
const FORGET_LEN: usize = 128;

/// Turns without a frame before a worker goes to sleep.
const QUIET_TURNS: u32 = 200;

/// The longest sleep, so that connections expire and a lost wake-up does no lasting harm.
const SLEEP_MS: u16 = 20;

/// Frames that a worker ever keeps for itself before it shares; it shares down to half of this.
pub(crate) const POOL_LEN_MAX: usize = 2048;

/// The loop of one core and all that it owns.
pub struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: FramePool,
    pub(crate) connections: Connections,
    pub(crate) hasher: FlowHasher,
    pub(crate) fragments: Fragments,
    pub(crate) waiting: WaitingRoom,
    pub(crate) established: Established,
    pub(crate) midstream: bool,
    pub(crate) verify_checksums: bool,
    pub(crate) buckets: Vec<Bucket>,
    /// When the turn began.
    pub(crate) now: Time,
    pool_len_max: usize,
    pub(crate) scene: Arc<Scene>,
    queues: Vec<OwnQueue>,
    /// The place of the queue that the next turn begins with.
    first: usize,
    /// The place in `queues` of the first queue of each port that sends, by the port's number.
    own: Vec<Option<usize>>,
    commands: Receiver<Command>,
    received: Vec<Frame>,
    batch: Batch,
    listener: Listener,
    /// Workers whose inbox this one has put something into during the turn.
    to_wake: u64,
    /// Whether connections are left that have expired and hold memory still.
    expiring: bool,
    pub(crate) stopping: bool,
    pub(crate) stages: Stages,
}

/// What a worker starts with.
pub(crate) struct WorkerStart {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: FramePool,
    pub(crate) connections: Connections,
    pub(crate) hasher: FlowHasher,
    pub(crate) fragments: Fragments,
    pub(crate) established: Established,
    pub(crate) midstream: bool,
    pub(crate) verify_checksums: bool,
    pub(crate) pool_len_max: usize,
    pub(crate) commands: Receiver<Command>,
}

impl Worker {
    pub(crate) fn new(start: WorkerStart) -> nix::Result<Self> {
        let mut listener = Listener::new()?;
        if let Some(desk) = start.shared.desks.get(start.index) {
            listener.add_bell(&desk.bell)?;
        }
        let scene = start.shared.scene.load_full();
        let work = start.shared.desks.get(start.index).map(|desk| Arc::clone(&desk.work));
        Ok(Self {
            index: start.index,
            shared: start.shared,
            pool: start.pool,
            connections: start.connections,
            hasher: start.hasher,
            fragments: start.fragments,
            waiting: WaitingRoom::new(),
            established: start.established,
            midstream: start.midstream,
            verify_checksums: start.verify_checksums,
            buckets: Vec::new(),
            now: Time::default(),
            pool_len_max: start.pool_len_max,
            scene,
            queues: Vec::new(),
            first: 0,
            own: Vec::new(),
            commands: start.commands,
            received: Vec::with_capacity(BATCH_LEN_MAX),
            batch: Batch::new(),
            listener,
            to_wake: 0,
            expiring: false,
            stopping: false,
            stages: Stages::new(work.unwrap_or_default()),
        })
    }

    /// Turns until told to stop.
    pub(crate) fn run(mut self, clock: Clock, idle: Idle) {
        let mut quiet_turns = 0;
        while !self.stopping {
            if self.turn(clock.now()) > 0 || self.expiring || self.is_held_up() {
                quiet_turns = 0;
                continue;
            }
            quiet_turns += 1;
            if idle == Idle::Sleep && quiet_turns > QUIET_TURNS {
                self.sleep();
                quiet_turns = 0;
            } else {
                std::hint::spin_loop();
            }
        }
        drop(self.close());
    }

    /// Ends its queues and gives back every frame, for whoever has a use for them.
    pub(crate) fn close(mut self) -> FramePool {
        for mut queue in self.queues.drain(..) {
            queue.take_waiting().into_iter().for_each(|frame| self.pool.put(frame));
            queue.io.close(&mut self.pool);
        }
        while let Some(waiting) = self.waiting.take() {
            self.pool.put(waiting.frame);
        }
        self.pool
    }

    /// One turn. Returns how many frames it moved.
    pub(crate) fn turn(&mut self, now: Time) -> usize {
        self.now = now;
        self.stages.begin(now);
        let scene = self.pick_up_scene();
        if cfg!(mutant = "seen_too_early") {
            self.finish_turn(&scene);
        }
        self.obey(now);
        self.drop_outdated(&scene);
        self.stages.mark(Stage::Upkeep, 0);
        let mut moved = self.empty_inbox(&scene, now);
        // Each turn another queue is first, and has the room that there is in a ring which is full.
        let (behind, first) = (0..self.first, self.first..self.queues.len());
        self.first = if first.len() > 1 { self.first + 1 } else { 0 };
        for place in first.chain(behind) {
            for _ in 0..BATCHES_MAX {
                let count = self.poll(&scene, place, now);
                moved += count;
                if count < BATCH_LEN_MAX {
                    break;
                }
            }
        }
        self.flush(&scene);
        self.wake_others();
        self.stages.mark(Stage::Io, moved);
        let steps = self.connections.expire(now, EXPIRE_BUDGET);
        self.expiring = steps == EXPIRE_BUDGET;
        self.expire_fragments(&scene, now);
        self.share_frames();
        self.stages.end(moved, self.expiring);
        self.finish_turn(&scene);
        moved
    }

    /// Says what this turn has left behind. Nothing that belongs to it may follow.
    fn finish_turn(&self, scene: &Scene) {
        if let Some(desk) = self.shared.desks.get(self.index) {
            desk.connections_len.store(self.connections.len() as u64, Relaxed);
            desk.evicted.store(self.connections.evicted(), Relaxed);
            desk.finish_turn(scene);
        }
    }

    fn pick_up_scene(&mut self) -> Arc<Scene> {
        let newest = self.shared.scene.load();
        if !Arc::ptr_eq(&newest, &self.scene) {
            self.scene = Arc::clone(&newest);
        }
        Arc::clone(&self.scene)
    }

    fn obey(&mut self, now: Time) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::AddQueue { port, io, done } => {
                    self.add_queue(port, io);
                    let _ = done.send(());
                }
                Command::GiveUpPort { port, given } => {
                    // Who asks waits for the answer, unless the engine itself is going.
                    if let Err(refused) = given.send(self.give_up_port(port)) {
                        refused.0.into_iter().for_each(|io| io.close(&mut self.pool));
                    }
                }
                Command::ReportQueues { port, done } => {
                    let own = self.queues.iter().filter(|queue| queue.port == port);
                    let _ = done.send(own.filter_map(|queue| queue.io.report()).collect());
                }
                Command::Census { done } => {
                    let _ = done.send(self.census());
                }
                Command::ListConnections { from, list, done } => {
                    let _ = done.send(self.list_connections(from, list, now));
                    // One slice a turn: frames come first, however many ask.
                    return;
                }
                Command::ForgetAccount { account, from, done } => {
                    let _ = done.send(self.forget_account(account, from));
                    return;
                }
                Command::Stop => self.stopping = true,
            }
        }
    }

    pub(crate) fn add_queue(&mut self, port: PortId, io: Box<dyn QueueIo>) {
        if let Some(fd) = io.wake_fd()
            && let Err(error) = self.listener.add(fd)
        {
            tracing::warn!(%error, "a queue cannot wake its worker; it is polled every {SLEEP_MS} ms");
        }
        self.queues.push(OwnQueue::new(port, io));
        self.index_queues();
    }

    fn index_queues(&mut self) {
        self.own.clear();
        for (place, queue) in self.queues.iter().enumerate().filter(|(_, it)| it.io.can_send()) {
            let port = queue.port.index();
            if self.own.len() <= port {
                self.own.resize(port + 1, None);
            }
            if let Some(own) = self.own.get_mut(port) {
                own.get_or_insert(place);
            }
        }
    }

    fn give_up_port(&mut self, port: PortId) -> Vec<Box<dyn QueueIo>> {
        let queues = std::mem::take(&mut self.queues).into_iter();
        let (mut given_up, rest): (Vec<OwnQueue>, _) = queues.partition(|it| it.port == port);
        self.queues = rest;
        self.index_queues();
        for queue in &mut given_up {
            for frame in queue.take_waiting() {
                self.discard_without_port(frame);
            }
        }
        while let Some(waiting) = self.waiting.take_from(port) {
            self.discard_without_port(waiting.frame);
        }
        given_up.into_iter().map(|queue| queue.io).collect()
    }

    fn forget_account(&mut self, account: Account, from: usize) -> Option<usize> {
        self.fragments.forget(account);
        self.connections.forget(account, from, FORGET_LEN)
    }

    /// Every chunk of packet memory that this worker or its queues hold.
    fn census(&self) -> usize {
        let queues: usize = self.queues.iter().map(OwnQueue::held).sum();
        queues + self.pool.len() + self.waiting.chunk_count()
    }

    fn list_connections(&self, from: usize, mut list: Vec<Connection>, now: Time) -> Slice {
        // Copied as they are: to turn addresses into five tuples here would take longer.
        let (slice, next) = self.connections.slice(from, SLICE_LEN, now);
        list.extend(slice.cloned());
        Slice { list, next }
    }

    fn empty_inbox(&mut self, scene: &Scene, now: Time) -> usize {
        let shared = Arc::clone(&self.shared);
        let Some(desk) = shared.desks.get(self.index) else { return 0 };
        // At most what an inbox holds: others fill it while it is emptied.
        let mut count = 0;
        let mut batch = std::mem::take(&mut self.batch);
        while count < INBOX_LEN {
            let Some(handover) = desk.inbox.pop() else { break };
            count += 1;
            match handover {
                Handover::Judge { frame, from } => {
                    self.take_over(scene, &mut batch, frame, from);
                    if batch.is_full() {
                        self.judge_batch(scene, &mut batch, now);
                    }
                }
                Handover::JudgeFirst { frame, from, datagram, asker } => {
                    // What came before it may be of the same flow.
                    self.judge_batch(scene, &mut batch, now);
                    self.answer(scene, frame, from, datagram, asker, now);
                }
                Handover::Settle { datagram, admitted } => {
                    self.judge_batch(scene, &mut batch, now);
                    self.settle(scene, &datagram, admitted, now);
                }
                Handover::Send { frame, to } => match scene.port(to) {
                    Some(_) => self.enqueue(scene, frame, to),
                    None => self.discard_without_port(frame),
                },
            }
        }
        self.judge_batch(scene, &mut batch, now);
        self.batch = batch;
        count
    }

    fn poll(&mut self, scene: &Scene, place: usize, now: Time) -> usize {
        let Some(queue) = self.queues.get_mut(place) else { return 0 };
        queue.io.complete(&mut self.pool);
        if queue.io.is_sending()
            && let Err(error) = queue.io.kick()
        {
            tracing::debug!(%error, "a queue did not send");
        }
        queue.io.refill(&mut self.pool);
        let mut received = std::mem::take(&mut self.received);
        let count = queue.io.receive(&mut received, BATCH_LEN_MAX);
        let from = queue.port;
        match scene.port(from).and_then(|port| port.counters(self.index)) {
            Some(counters) if count > 0 => {
                counters.rx_frames.add(count as u64);
                counters.rx_bytes.add(received.iter().map(|frame| frame.packet_len() as u64).sum());
            }
            Some(_) => {}
            // The port is being removed: what still comes in was never received.
            None => received.drain(..).for_each(|frame| self.pool.put(frame)),
        }
        self.stages.mark(Stage::Io, 0);
        let mut batch = std::mem::take(&mut self.batch);
        for frame in received.drain(..) {
            self.receive(scene, &mut batch, frame, from, now);
        }
        self.received = received;
        self.judge_batch(scene, &mut batch, now);
        self.batch = batch;
        count
    }

    /// Puts a frame in line for a port, on this worker if it owns a queue of it, else on one
    /// that does. Frames of one flow take one way, so their order holds.
    pub(crate) fn enqueue(&mut self, scene: &Scene, frame: Frame, to: PortId) {
        let own = self.own.get(to.index()).copied().flatten();
        if let Some(queue) = own.and_then(|place| self.queues.get_mut(place)) {
            if queue.wants_flush(self.now) {
                queue.flush(scene, &mut self.pool, &self.shared, self.index, self.now);
                self.stages.mark(Stage::Io, 0);
            }
            match queue.push(frame) {
                Ok(()) => {}
                Err(frame) => self.discard(scene, frame, to, DropReason::TxFull),
            }
            return;
        }
        let sender = scene.port(to).and_then(|port| port.sender_for(self.index));
        match sender.filter(|sender| *sender != self.index) {
            Some(sender) => {
                self.hand_over(scene, sender, Handover::Send { frame, to }, to);
            }
            // The queue is gone already, or not there yet.
            None => self.discard(scene, frame, to, DropReason::PortGone),
        }
    }

    /// Leaves a frame with another worker; what does not fit is a drop on `accountable`. Returns
    /// whether it fitted.
    pub(crate) fn hand_over(
        &mut self,
        scene: &Scene,
        worker: usize,
        handover: Handover,
        accountable: PortId,
    ) -> bool {
        let refused = match self.shared.desks.get(worker) {
            Some(desk) => desk.inbox.push(handover).err(),
            None => Some(handover),
        };
        let Some(refused) = refused else {
            self.to_wake |= 1 << worker;
            return true;
        };
        // Without word of a verdict the rest of the datagram waits in vain, and is dropped.
        if let Some(frame) = refused.into_frame() {
            self.discard(scene, frame, accountable, DropReason::HandoverFull);
        }
        false
    }

    /// Drops a frame on the account of a port.
    pub(crate) fn discard(
        &mut self,
        scene: &Scene,
        frame: Frame,
        port: PortId,
        reason: DropReason,
    ) {
        let port = scene.port(port);
        match port.and_then(|port| port.counters(self.index)) {
            Some(counters) => {
                counters.drop(reason);
                self.offer(&frame, port, reason);
                self.pool.put(frame);
            }
            None => self.discard_without_port(frame),
        }
    }

    pub(crate) fn discard_without_port(&mut self, frame: Frame) {
        if let Some(desk) = self.shared.desks.get(self.index) {
            desk.gone.drop(DropReason::PortGone);
        }
        self.offer(&frame, None, DropReason::PortGone);
        self.pool.put(frame);
    }

    fn flush(&mut self, scene: &Scene) {
        for queue in &mut self.queues {
            // What waits for a port that is not there any more is counted when its queue ends.
            if queue.is_waiting() && scene.port(queue.port).is_some() {
                queue.flush(scene, &mut self.pool, &self.shared, self.index, self.now);
            }
        }
    }

    /// Lets go of what waits though the table that judged it is in force no more.
    fn drop_outdated(&mut self, scene: &Scene) {
        for queue in &mut self.queues {
            if queue.is_outdated(scene.table.revision()) && scene.port(queue.port).is_some() {
                queue.drop_waiting(scene, &mut self.pool, &self.shared, self.index, self.now);
            }
        }
    }

    /// Whether frames wait for room in a ring, which nothing would wake a sleeper for.
    fn is_held_up(&self) -> bool {
        self.queues.iter().any(OwnQueue::is_waiting)
    }

    pub(crate) fn wake_others(&mut self) {
        while self.to_wake != 0 {
            let worker = self.to_wake.trailing_zeros() as usize;
            self.to_wake &= self.to_wake - 1;
            if let Some(desk) = self.shared.desks.get(worker) {
                desk.wake();
            }
        }
    }

    /// Frames gather where they are sent and are needed where they are received.
    fn share_frames(&mut self) {
        if self.pool.len() > self.pool_len_max {
            while self.pool.len() > self.pool_len_max / 2 {
                let Some(frame) = self.pool.take() else { return };
                if let Err(frame) = self.shared.reserve.push(frame) {
                    self.pool.put(frame);
                    return;
                }
            }
        } else if self.pool.len() < self.pool_len_max / 4 && !self.shared.reserve.is_empty() {
            while self.pool.len() < self.pool_len_max / 2 {
                let Some(frame) = self.shared.reserve.pop() else { return };
                self.pool.put(frame);
            }
        }
    }

    /// Waits until a queue, the inbox, a command or a new scene calls, or a while has passed.
    pub(crate) fn sleep(&mut self) {
        let Some(desk) = self.shared.desks.get(self.index) else { return };
        if !cfg!(mutant = "lies_down_last") {
            desk.lie_down();
        }
        let nothing_left = desk.inbox.is_empty()
            && self.commands.is_empty()
            && desk.has_seen(self.shared.scene.load().generation);
        if cfg!(mutant = "lies_down_last") {
            desk.lie_down();
        }
        if nothing_left {
            self.listener.wait(SLEEP_MS);
        }
        desk.get_up();
    }
}

/// How long the control side waits for workers before it calls them stuck.
pub(crate) const WORKER_PATIENCE: Duration = Duration::from_secs(5);
