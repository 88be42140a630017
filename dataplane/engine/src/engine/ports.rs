//! Ports of a running engine: they come, lose their queues for a while, and go.

use std::sync::Arc;
use std::time::Duration;

use sluice_xdp::QueueReport;

use super::{Control, Engine, Inner, PORTS_MAX};
use crate::desk::Command;
use crate::error::EngineError;
use crate::io::QueueIo;
use crate::port::{Port, PortId, PortKind, PortSpec, account_of};
use crate::start::SIGHTINGS_LEN;
use crate::sync::{MutexGuard, Receiver, unbounded};
use crate::worker::WORKER_PATIENCE;

/// A queue, and the worker that is to own it.
pub struct PlacedQueue {
    /// Its rings.
    pub io: Box<dyn QueueIo>,
    /// The index of the worker; `None` for the one whose turn it is.
    pub worker: Option<usize>,
}

type Queues = Vec<Box<dyn QueueIo>>;

/// The queues of a port that are to end, until every worker has given up its own.
pub(super) struct Ending {
    port: PortId,
    /// Workers that have not answered yet.
    owing: Vec<(usize, Receiver<Queues>)>,
    given_up: Queues,
    /// The port itself, if it goes for good.
    removed: Option<Arc<Port>>,
}

impl Engine {
    /// Adds a port with its queues, which are spread over the workers.
    ///
    /// # Errors
    /// [`EngineError`], if the name, the pod or the MAC is taken. The queues are then dropped.
    pub fn add_port(
        &self,
        spec: PortSpec,
        queues: Vec<Box<dyn QueueIo>>,
    ) -> Result<(), EngineError> {
        let placed = queues.into_iter().map(|io| PlacedQueue { io, worker: None });
        self.add_port_with(spec, placed.collect())
    }

    /// Adds a port whose queues know their workers.
    ///
    /// # Errors
    /// As for [`Engine::add_port`], and if there is no such worker.
    pub fn add_port_with(
        &self,
        spec: PortSpec,
        queues: Vec<PlacedQueue>,
    ) -> Result<(), EngineError> {
        let mut control = self.inner.control();
        let id = control.slot_for(&spec, queues.len())?;
        let workers = control.workers_for(&spec, &queues)?;
        if let PortKind::Pod { mac, .. } = &spec.kind {
            for network in spec.networks.keys() {
                control.fdb.bind(*network, *mac, id);
            }
        }
        let senders = senders(&workers, &queues);
        let port = Arc::new(Port::new(spec, &senders, queues.len(), control.commands.len()));
        match control.ports.get_mut(id.index()) {
            Some(slot) => *slot = Some(port),
            None => control.ports.push(Some(port)),
        }
        self.start_queues(&control, id, workers, queues)
    }

    /// Ends the queues of a port that stays: its connections, stations and counts are kept, and
    /// what is sent to it is dropped until it has queues again.
    ///
    /// # Errors
    /// [`EngineError`], if there is no such port or a worker does not answer. In the latter case the
    /// port is suspended all the same, and cannot be resumed before the worker has answered.
    pub fn suspend_port(&self, name: &str) -> Result<(), EngineError> {
        let mut control = self.inner.control();
        let (id, port) = control.find(name)?;
        let suspended = Arc::new(port.with_queues(port.spec.clone(), &[], 0));
        control.put(id, Some(suspended));
        self.inner.end_queues(control, id, None)
    }

    /// Gives a suspended port queues again. `spec` may differ in what follows from the interface.
    ///
    /// # Errors
    /// [`EngineError`], if there is no such port, it has queues, or there is no such worker. The
    /// queues are then dropped.
    pub fn resume_port(&self, spec: PortSpec, queues: Vec<PlacedQueue>) -> Result<(), EngineError> {
        let mut control = self.inner.control();
        let (id, port) = control.find(&spec.name)?;
        if queues.is_empty() {
            return Err(EngineError::NoQueue(spec.name.into()));
        }
        if port.queue_count() > 0 || port.spec.kind != spec.kind {
            return Err(EngineError::PortExists(spec.name.into()));
        }
        if let Some(worker) = control.owed_by(id) {
            return Err(EngineError::WorkerStuck(worker));
        }
        let workers = control.workers_for(&spec, &queues)?;
        let resumed = port.with_queues(spec, &senders(&workers, &queues), queues.len());
        control.put(id, Some(Arc::new(resumed)));
        self.start_queues(&control, id, workers, queues)
    }

    /// Removes a port. Its frames in flight are dropped and every frame comes back.
    ///
    /// # Errors
    /// [`EngineError`], if there is no such port or a worker does not answer. In the latter case the
    /// port has gone all the same, and the rest follows when the worker answers.
    pub fn remove_port(&self, name: &str) -> Result<(), EngineError> {
        let mut control = self.inner.control();
        let (id, port) = control.find(name)?;
        control.put(id, None);
        control.fdb.forget_port(id);
        self.inner.end_queues(control, id, Some(port))
    }

    /// The queues of a port, each with the index of its worker, in the order of their numbers.
    ///
    /// # Errors
    /// [`EngineError`], if there is no such port or a worker does not answer.
    pub fn queues(&self, name: &str) -> Result<Vec<(usize, QueueReport)>, EngineError> {
        let control = self.inner.control();
        let (id, _) = control.find(name)?;
        let mut reports = Vec::new();
        for worker in 0..control.commands.len() {
            let (done, reported) = unbounded();
            control.command(worker, Command::ReportQueues { port: id, done })?;
            self.inner.wake(worker);
            let reported = reported.recv_timeout(WORKER_PATIENCE);
            let reported = reported.map_err(|_| EngineError::WorkerStuck(worker))?;
            reports.extend(reported.into_iter().map(|report| (worker, report)));
        }
        reports.sort_by_key(|(_, report)| report.queue_id);
        Ok(reports)
    }

    fn start_queues(
        &self,
        control: &Control,
        port: PortId,
        workers: Vec<usize>,
        queues: Vec<PlacedQueue>,
    ) -> Result<(), EngineError> {
        // The port is known before its first frame, so that every frame is counted.
        self.inner.show_again(control)?;
        for (worker, queue) in workers.into_iter().zip(queues) {
            let (done, taken_up) = unbounded();
            control.command(worker, Command::AddQueue { port, io: queue.io, done })?;
            self.inner.wake(worker);
            taken_up.recv_timeout(WORKER_PATIENCE).map_err(|_| EngineError::WorkerStuck(worker))?;
        }
        Ok(())
    }
}

/// The workers of those queues that can send.
fn senders(workers: &[usize], queues: &[PlacedQueue]) -> Vec<usize> {
    let placed = workers.iter().zip(queues).filter(|(_, queue)| queue.io.can_send());
    placed.map(|(worker, _)| *worker).collect()
}

impl Inner {
    /// Ends the queues of a port that is not to be sent to any more.
    ///
    /// First nobody sends to it any more, then its queues end, then no frame on its way between
    /// workers names it; only then may its number be used again. The queues are closed here, with
    /// nothing held: a kernel may take its time over that, and workers have other ports to serve.
    fn end_queues(
        &self,
        mut control: MutexGuard<'_, Control>,
        port: PortId,
        removed: Option<Arc<Port>>,
    ) -> Result<(), EngineError> {
        let shown =
            if cfg!(mutant = "ends_queues_first") { Ok(()) } else { self.show_again(&control) };
        // Whoever has not seen the scene yet sees it before it obeys.
        let mut owing = Vec::new();
        for worker in 0..control.commands.len() {
            let (given, taken) = unbounded();
            control.command(worker, Command::GiveUpPort { port, given })?;
            self.wake(worker);
            owing.push((worker, taken));
        }
        control.endings.push(Ending { port, owing, given_up: Vec::new(), removed });
        let patience = if shown.is_ok() { WORKER_PATIENCE } else { Duration::ZERO };
        let (queues, finished) = self.finish_endings(&mut control, patience);
        drop(control);
        self.close_queues(queues);
        shown.and(finished)
    }

    /// Finishes what workers had not answered in time, as far as they have by now.
    pub(super) fn finish_late_endings(&self) {
        let mut control = self.control();
        if control.endings.is_empty() {
            return;
        }
        let (queues, finished) = self.finish_endings(&mut control, Duration::ZERO);
        drop(control);
        self.close_queues(queues);
        if let Err(error) = finished {
            tracing::warn!(%error, "the queues of a port are not given up yet");
        }
    }

    /// The queues that all workers have given up, and nothing on its way names their ports.
    fn finish_endings(
        &self,
        control: &mut Control,
        patience: Duration,
    ) -> (Queues, Result<(), EngineError>) {
        let (mut queues, mut result) = (Queues::new(), Ok(()));
        for mut ending in std::mem::take(&mut control.endings) {
            match self.finish(control, &mut ending, patience) {
                Ok(()) => queues.append(&mut ending.given_up),
                Err(error) => {
                    result = Err(error);
                    control.endings.push(ending);
                }
            }
        }
        (queues, result)
    }

    fn finish(
        &self,
        control: &mut Control,
        ending: &mut Ending,
        patience: Duration,
    ) -> Result<(), EngineError> {
        while let Some((worker, taken)) = ending.owing.last() {
            let taken = taken.recv_timeout(patience);
            ending.given_up.extend(taken.map_err(|_| EngineError::WorkerStuck(*worker))?);
            ending.owing.pop();
        }
        self.show_again(control)?;
        let Some(port) = &ending.removed else { return Ok(()) };
        // Nor does the next port of this number pay for what this one has opened.
        for worker in 0..control.commands.len() {
            let mut next = Some(0);
            while let Some(from) = next {
                let (done, forgotten) = unbounded();
                let account = account_of(ending.port);
                control.command(worker, Command::ForgetAccount { account, from, done })?;
                self.wake(worker);
                next = forgotten
                    .recv_timeout(WORKER_PATIENCE)
                    .map_err(|_| EngineError::WorkerStuck(worker))?;
            }
        }
        // A station seen behind it must not be learned behind the next port of this number.
        for _ in 0..SIGHTINGS_LEN {
            if self.shared.sightings.pop().is_none() {
                break;
            }
        }
        control.retired.absorb(&port.totals());
        Ok(())
    }

    fn close_queues(&self, queues: Queues) {
        let mut pool = self.umem.empty_pool();
        for queue in queues {
            queue.close(&mut pool);
        }
        while let Some(frame) = pool.take() {
            // The reserve has room for every frame that there is.
            let _ = self.shared.reserve.push(frame);
        }
    }
}

impl Control {
    /// The port of that name.
    fn find(&self, name: &str) -> Result<(PortId, Arc<Port>), EngineError> {
        let numbered = self.ports.iter().zip(0..);
        numbered
            .filter_map(|(port, number)| Some((PortId(number), port.clone()?)))
            .find(|(_, port)| &*port.spec.name == name)
            .ok_or_else(|| EngineError::NoSuchPort(name.into()))
    }

    /// A worker that keeps the queues of a port from ending.
    fn owed_by(&self, id: PortId) -> Option<usize> {
        let ending = self.endings.iter().find(|ending| ending.port == id)?;
        Some(ending.owing.last().map_or(0, |(worker, _)| *worker))
    }

    fn put(&mut self, id: PortId, port: Option<Arc<Port>>) {
        if let Some(slot) = self.ports.get_mut(id.index()) {
            *slot = port;
        }
    }

    /// The number for a new port, if nothing speaks against it.
    fn slot_for(&self, spec: &PortSpec, queue_count: usize) -> Result<PortId, EngineError> {
        let name = || spec.name.to_string();
        if queue_count == 0 {
            return Err(EngineError::NoQueue(name()));
        }
        for port in self.ports.iter().flatten() {
            let other = || port.spec.name.to_string();
            if port.spec.name == spec.name {
                return Err(EngineError::PortExists(name()));
            }
            if let (PortKind::Pod { pod, mac }, PortKind::Pod { pod: theirs, mac: their_mac }) =
                (&spec.kind, &port.spec.kind)
            {
                if pod == theirs {
                    let pod = pod.to_string();
                    return Err(EngineError::PodAttached { port: name(), pod, other: other() });
                }
                if mac == their_mac {
                    let mac = mac.to_string();
                    return Err(EngineError::MacTaken { port: name(), mac, other: other() });
                }
            }
        }
        let numbered = self.ports.iter().zip(0..);
        let mut free = numbered
            .filter(|(port, number)| port.is_none() && self.owed_by(PortId(*number)).is_none());
        let free = free.next().map_or(self.ports.len(), |(_, number)| number.into());
        match u16::try_from(free) {
            Ok(number) if free < PORTS_MAX => Ok(PortId(number)),
            _ => Err(EngineError::TooManyPorts(name())),
        }
    }

    /// The worker of each queue: the one it asks for, or the next in turn.
    fn workers_for(
        &mut self,
        spec: &PortSpec,
        queues: &[PlacedQueue],
    ) -> Result<Vec<usize>, EngineError> {
        let count = self.commands.len();
        let mut workers = Vec::with_capacity(queues.len());
        let mut next = self.worker_next;
        for queue in queues {
            match queue.worker {
                Some(worker) if worker < count => workers.push(worker),
                Some(worker) => {
                    let port = spec.name.to_string();
                    return Err(EngineError::NoSuchWorker { port, worker, count });
                }
                None => {
                    workers.push(next % count);
                    next += 1;
                }
            }
        }
        self.worker_next = next;
        Ok(workers)
    }
}
