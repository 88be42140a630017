//! What the models play on: an engine whose threads, wires and packet memory are the model's.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicUsize;

use loom::thread::{self, JoinHandle};
use sluice_core::address::{Mac, NetworkId};
use sluice_core::table::{Endpoint, EndpointId, Identity, IdentityId};
use sluice_xdp::{Frame, QueueReport};

use super::super::*;
use crate::desk::Handover;
use crate::io::QueueIo;
use crate::io::memory::Wire;
use crate::port::{PortId, PortSpec};
use crate::worker::Worker;

/// In words: a worker needs more than a thread of loom's has, unless told.
pub(super) const STACK: usize = 1 << 15;

pub(super) fn spawn_thread<T: Send + 'static>(
    body: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    thread::Builder::new().stack_size(STACK).spawn(body).unwrap()
}

/// Runs `body` in every order of threads that so many preemptions can bring about, or as many as
/// `LOOM_MAX_PREEMPTIONS` says, from where it calls [`loom::explore`]. A thread that waits is not
/// preempted. `body` gets packet memory of `frames`, and gives every frame back.
pub(super) fn model(
    preemptions: usize,
    frames: u32,
    body: impl Fn(Umem, FramePool) -> FramePool + Send + Sync + 'static,
) {
    let memory = std::sync::Mutex::new(Some(Umem::in_memory(frames).unwrap()));
    let body = Arc::new(body);
    let orders = Arc::new(AtomicUsize::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.max_branches = 10_000;
    builder.expect_explicit_explore = true;
    builder.check({
        let orders = Arc::clone(&orders);
        move || {
            let (umem, pool) = memory.lock().unwrap().take().unwrap();
            let body = Arc::clone(&body);
            let pool = spawn_thread(move || body(umem, pool)).join().unwrap();
            assert_eq!(pool.len(), frames as usize, "every frame comes back");
            *memory.lock().unwrap() = Some((umem, pool));
            orders.fetch_add(1, Relaxed);
        }
    });
    println!("{} orders", orders.load(Relaxed));
}

/// An engine whose threads are the model's.
pub(super) struct Unthreaded(Option<Engine>);

impl Drop for Unthreaded {
    fn drop(&mut self) {
        // A model that has failed is over; the engine would still talk to its workers.
        if std::thread::panicking() {
            std::mem::forget(self.0.take());
        }
    }
}

impl Deref for Unthreaded {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        self.0.as_ref().unwrap()
    }
}

pub(super) fn prepared(
    worker_count: usize,
    umem: Umem,
    pool: FramePool,
) -> (Unthreaded, Vec<Worker>) {
    let config = EngineConfig {
        cores: (0..worker_count).collect(),
        connections_max: 8,
        datagrams_max: 8,
        ..EngineConfig::default()
    };
    let (inner, workers) = prepare(&config, umem, pool, &FlowHasher::seeded(1)).unwrap();
    (Unthreaded(Some(Engine::without_threads(inner))), workers)
}

/// Takes turns, and sleeps after each quiet one, until `done` of all frames that it has moved.
pub(super) fn turn_until(worker: &mut Worker, mut done: impl FnMut(&Worker, usize) -> bool) {
    let mut moved = 0;
    loop {
        let now = worker.turn(Time(0));
        moved += now;
        if done(worker, moved) {
            return;
        }
        if now == 0 {
            worker.sleep();
        }
    }
}

/// Every frame, once nobody uses one.
pub(super) fn gather(engine: &Engine, workers: impl IntoIterator<Item = Worker>) -> FramePool {
    let mut pool = engine.umem().empty_pool();
    for worker in workers {
        pool.absorb(worker.close());
    }
    while let Some(frame) = engine.inner.shared.reserve.pop() {
        pool.put(frame);
    }
    for desk in &engine.inner.shared.desks {
        while let Some(Handover::Judge { frame, .. } | Handover::Send { frame, .. }) =
            desk.inbox.pop()
        {
            pool.put(frame);
        }
    }
    pool
}

pub(super) fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

/// Pods that may do anything.
pub(super) fn pods(count: u8) -> Table {
    let mut edit = Table::empty().edit();
    edit.set_identity(IdentityId(0), Some(Identity::default()));
    for n in 1..=count {
        let endpoint = Endpoint {
            name: format!("shop/p{n}").into(),
            network: NetworkId::DEFAULT,
            addresses: vec![[10, 0, 0, n].into()],
            identity: Some(IdentityId(0)),
            node: None,
        };
        edit.set_endpoint(EndpointId(n.into()), Some(endpoint));
    }
    edit.finish(1)
}

/// Wires that hold `len` frames each way, with a queue on each.
pub(super) fn wires(count: usize, len: usize) -> (Vec<Wire>, Vec<Box<dyn QueueIo>>) {
    let boxed = |(wire, queue)| (wire, Box::new(queue) as Box<dyn QueueIo>);
    (0..count).map(|_| boxed(Wire::new(len))).unzip()
}

/// Ports of pods, one of each worker: as [`Engine::add_port`] leaves them, but before there are
/// threads.
pub(super) fn attach_pods(engine: &Engine, workers: &mut [Worker], queues: Vec<Box<dyn QueueIo>>) {
    let mut control = engine.inner.control();
    for ((n, worker), queue) in (1..).zip(&mut *workers).zip(queues) {
        let id = PortId(worker.index.try_into().unwrap());
        control.fdb.bind(NetworkId::DEFAULT, mac(n), id);
        control.ports.push(Some(Arc::new(Port::new(pod(n), &[worker.index], 1, 2))));
        worker.add_queue(id, queue);
    }
    let scene = Scene::new(2, Arc::new(pods(2)), control.ports.clone(), control.fdb.clone());
    engine.inner.shared.scene.swap(Arc::new(scene));
}

pub(super) fn pod(n: u8) -> PortSpec {
    PortSpec {
        name: format!("pod-{n}").into(),
        kind: PortKind::Pod { pod: format!("shop/p{n}").into(), mac: mac(n) },
        networks: BTreeMap::from([(NetworkId::DEFAULT, None)]),
        mtu: 1500,
        priority_tags: false,
        partial_checksums: false,
    }
}

/// Something that one pod may send to another whichever the flow: no other worker has to judge
/// it. `mark` tells one from the next.
pub(super) fn arp(from: u8, to: u8, mark: u8) -> Vec<u8> {
    let ethernet = [&mac(to).0[..], &mac(from).0, &[8, 6]].concat();
    let fixed = [0, 1, 8, 0, 6, 4, 0, 1];
    let sender = [&mac(from).0[..], &[10, 0, 0, from]].concat();
    [&ethernet[..], &fixed, &sender, &[0; 6], &[10, 0, 0, mark]].concat()
}

/// Lets a worker take turns until it is told to stop.
pub(super) fn start(mut worker: Worker) -> JoinHandle<Worker> {
    spawn_thread(move || {
        turn_until(&mut worker, |worker, _| worker.stopping);
        worker
    })
}

pub(super) fn stop(engine: &Engine, workers: Vec<JoinHandle<Worker>>) -> Vec<Worker> {
    for worker in 0..workers.len() {
        engine.inner.control().command(worker, Command::Stop).unwrap();
        engine.inner.wake(worker);
    }
    workers.into_iter().map(|worker| worker.join().unwrap()).collect()
}

/// A queue that has received one frame, which takes its time: others may do anything meanwhile.
pub(super) struct Slow(pub(super) Option<Frame>);

impl QueueIo for Slow {
    fn receive(&mut self, frames: &mut Vec<Frame>, _: usize) -> usize {
        if self.0.is_some() {
            thread::yield_now();
        }
        let before = frames.len();
        frames.extend(self.0.take());
        frames.len() - before
    }

    fn refill(&mut self, _: &mut FramePool) {}

    fn send(&mut self, _: &mut Vec<Frame>) -> usize {
        0
    }

    fn kick(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn is_sending(&self) -> bool {
        false
    }

    fn complete(&mut self, _: &mut FramePool) {}

    fn held(&self) -> usize {
        self.0.iter().len()
    }

    fn close(self: Box<Self>, pool: &mut FramePool) {
        self.0.into_iter().for_each(|frame| pool.put(frame));
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn report(&self) -> Option<QueueReport> {
        None
    }
}
