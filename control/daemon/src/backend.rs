//! The control API's view of the daemon.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sluice_api::backend::{
    Backend, Capture, CaptureOrder, CommitError, CommitOrder, Committed, Counters, CycleUnit,
    DiffOrder, DropCount, Failure, Fallback, GateCounters, GateMode, HEALTHY, PortCounters,
    PortKind, PortMode, PortSpec, PortState, Preview, QueueState, QueueStatistics, Refused, Sample,
    Source, StageWork, Status, Traffic, WorkerStatus, WorkerTraffic, WorkerWork,
};
use sluice_engine::EngineError;
use sluice_engine::counters::Totals;
use sluice_engine::open::{self, OpenError, PortFacts, PortRequest, Ports};
use sluice_engine::port::{self, Port};
use sluice_engine::stages::{Stage, Work};
use sluice_policy::explain::{ExplainError, Explanation, Question, explain};
use sluice_policy::model::{Fault, Name, Protocol};
use sluice_policy::reach::{Family, Reach, reach};
use sluice_xdp as xdp;

use crate::capture::{self, EngineCapture};
use crate::rules::{Rules, RulesStatus};

/// What the API asks.
pub(crate) struct Daemon {
    pub(crate) ports: Arc<Ports>,
    pub(crate) rules: Arc<Rules>,
    pub(crate) source: Source,
    pub(crate) cores: Vec<usize>,
    pub(crate) started: Instant,
    /// The same, by the clock on the wall.
    pub(crate) started_wall: SystemTime,
}

impl Backend for Daemon {
    fn commit(&self, order: CommitOrder) -> Result<Committed, CommitError> {
        if let Source::Files(directory) = &self.source {
            let problem = format!(
                "rule sets come from {}; change the files there, or set rules.source = \"api\"",
                directory.display()
            );
            return Err(Refused::request("source", problem, self.rules.status().revision).into());
        }
        self.rules.commit(order)
    }

    fn diff(&self, order: DiffOrder) -> Result<Preview, Refused> {
        // Wherever rule sets come from: to ask changes nothing.
        self.rules.diff(order)
    }

    fn refuse(&self, version: &str, faults: Vec<Fault>) -> Refused {
        self.rules.refuse(version, faults)
    }

    fn status(&self) -> Status {
        let rules = self.rules.status();
        let engine = self.ports.engine();
        let health = self.health(&rules);
        let connections = engine.connections().into_iter().zip(engine.evicted());
        let workers = engine.revisions().into_iter().zip(connections).zip(&self.cores);
        Status {
            revision: rules.revision,
            version: rules.version,
            source: self.source.clone(),
            objects: rules.objects,
            workers: workers
                .zip(0..)
                .map(|(((revision, (connections, evicted)), core), index)| WorkerStatus {
                    index,
                    core: u32::try_from(*core).unwrap_or(u32::MAX),
                    revision,
                    connections,
                    evicted,
                })
                .collect(),
            uptime_seconds: self.started.elapsed().as_secs(),
            health,
            last_refusal: rules.refusal,
        }
    }

    fn ports(&self) -> Result<Vec<PortState>, Failure> {
        let mut ports: Vec<PortState> = Vec::new();
        for port in self.ports.engine().ports() {
            let facts = unless_gone(self.ports.facts(&port.spec.name))?;
            ports.extend(facts.map(|facts| port_state(&port, facts)));
        }
        ports.sort_by(|a, b| a.spec.interface.cmp(&b.spec.interface));
        Ok(ports)
    }

    fn add_port(&self, port: PortSpec) -> Result<(), Failure> {
        let request = PortRequest {
            interface: port.interface,
            kind: match port.kind {
                PortKind::Pod { pod, mac } => {
                    port::PortKind::Pod { pod: pod.to_string().into(), mac }
                }
                PortKind::Uplink => port::PortKind::Uplink,
                PortKind::Host => port::PortKind::Host,
            },
            networks: port.networks,
            priority_tags: port.priority_tags,
            fallback: match port.fallback {
                Fallback::Drop => xdp::Fallback::Drop,
                Fallback::Pass => xdp::Fallback::Pass,
            },
            node_addresses: port.node_addresses,
            mode: match port.mode {
                PortMode::Auto => open::PortMode::Auto,
                PortMode::ZeroCopy => open::PortMode::ZeroCopy,
                PortMode::Copy => open::PortMode::Copy,
                PortMode::Generic => open::PortMode::Generic,
            },
            workers: port.workers.iter().map(|worker| *worker as usize).collect(),
        };
        self.ports.open(&request).map_err(failure)?;
        tracing::info!(port = request.interface, "a port is open");
        Ok(())
    }

    fn remove_port(&self, name: &str) -> Result<(), Failure> {
        self.ports.close(name).map_err(failure)?;
        tracing::info!(port = name, "a port is closed");
        Ok(())
    }

    fn counters(&self) -> Result<Counters, Failure> {
        let engine = self.ports.engine();
        let mut ports: Vec<PortCounters> =
            engine.ports().iter().map(|port| self.port_counters(port)).collect();
        ports.sort_by(|a, b| a.port.cmp(&b.port));
        let since_1970 = self.started_wall.duration_since(SystemTime::UNIX_EPOCH);
        Ok(Counters {
            total: traffic(&engine.totals()),
            ports,
            read_at_ns: nanoseconds(self.started.elapsed()),
            started_unix_ns: since_1970.map(nanoseconds).unwrap_or_default(),
            workers: engine.work().iter().zip(0..).map(worker_work).collect(),
        })
    }

    fn capture(&self, order: CaptureOrder) -> Result<Box<dyn Capture>, Failure> {
        let begun = self.ports.engine().capture(capture::spec(order));
        let capture = begun.map_err(|error| failure(OpenError::Engine(error)))?;
        Ok(Box::new(EngineCapture(capture)))
    }

    fn explain(&self, questions: &[Question]) -> Vec<Result<Explanation, ExplainError>> {
        let table = self.ports.engine().table();
        questions.iter().map(|question| explain(&table, question)).collect()
    }

    fn reach(&self, ports: &[(Protocol, u16)], family: Option<Family>) -> Reach {
        reach(&self.ports.engine().table(), ports, family, |_, _| {})
    }
}

impl Daemon {
    fn health(&self, rules: &RulesStatus) -> String {
        let troubles = self.ports.troubles();
        if !self.ports.engine().is_alive() {
            "a worker has died".into()
        } else if !troubles.is_empty() {
            let tell = |(port, trouble): &(String, String)| format!("port {port} {trouble}");
            troubles.iter().map(tell).collect::<Vec<_>>().join("; ")
        } else if rules.revision == 0 {
            "no rule set has been taken yet, so pods are denied everything".into()
        } else if let Some(worker) = self.behind(rules.revision) {
            format!("worker {worker} does not judge by revision {} yet", rules.revision)
        } else if let Some(error) = &rules.not_on_disk {
            format!("the rule set is not on disk, so a restart would miss it: {error}")
        } else {
            HEALTHY.into()
        }
    }

    /// A worker that has not used the table in force yet.
    fn behind(&self, revision: u64) -> Option<usize> {
        self.ports.engine().revisions().iter().position(|used| *used < revision)
    }

    fn port_counters(&self, port: &Port) -> PortCounters {
        let workers = 0..self.ports.engine().worker_count();
        let gate = self.ports.gate_counters(&port.spec.name).ok().map(|gate| GateCounters {
            steered: gate.steered,
            passed_to_node: gate.passed_to_node,
            fallback_dropped: gate.fallback_dropped,
            fallback_passed: gate.fallback_passed,
        });
        PortCounters {
            port: port.spec.name.to_string(),
            total: traffic(&port.totals()),
            workers: workers
                .zip(0..)
                .map(|(worker, number)| WorkerTraffic {
                    worker: number,
                    traffic: traffic(&port.totals_of(worker)),
                })
                .collect(),
            gate,
        }
    }
}

/// Nothing of a port that has been removed since it was listed. One whose gate or worker does not
/// answer is not left out: a list that is short of it would say that it is not there.
fn unless_gone<T>(facts: Result<T, OpenError>) -> Result<Option<T>, Failure> {
    match facts {
        Ok(facts) => Ok(Some(facts)),
        Err(OpenError::Engine(EngineError::NoSuchPort(_))) => Ok(None),
        Err(error) => Err(failure(error)),
    }
}

fn port_state(port: &Port, facts: PortFacts) -> PortState {
    let queue = |(worker, report): (usize, xdp::QueueReport)| QueueState {
        queue: report.queue_id,
        worker: u32::try_from(worker).unwrap_or(u32::MAX),
        zero_copy: report.zero_copy,
        why_copied: report.why_copied.map(|why| open::why_copied(why, port.spec.mtu)),
        busy_poll_us: report.busy_poll.map_or(0, |it| it.microseconds),
        polled: report.polled,
        statistics: report.statistics.map(|it| QueueStatistics {
            rx_dropped: it.rx_dropped,
            rx_ring_full: it.rx_ring_full,
            rx_fill_ring_empty: it.rx_fill_ring_empty,
            rx_invalid_descriptors: it.rx_invalid_descriptors,
            tx_invalid_descriptors: it.tx_invalid_descriptors,
            tx_ring_empty: it.tx_ring_empty,
            foreign_descriptors: it.foreign_descriptors,
        }),
    };
    let number = |worker: &usize| u32::try_from(*worker).unwrap_or(u32::MAX);
    PortState {
        spec: PortSpec {
            interface: port.spec.name.to_string(),
            kind: kind_of(port),
            networks: port.spec.networks.clone(),
            fallback: match facts.request.fallback {
                xdp::Fallback::Drop => Fallback::Drop,
                xdp::Fallback::Pass => Fallback::Pass,
            },
            node_addresses: facts.request.node_addresses,
            mode: match facts.request.mode {
                open::PortMode::Auto => PortMode::Auto,
                open::PortMode::ZeroCopy => PortMode::ZeroCopy,
                open::PortMode::Copy => PortMode::Copy,
                open::PortMode::Generic => PortMode::Generic,
            },
            workers: facts.request.workers.iter().map(number).collect(),
            priority_tags: facts.request.priority_tags,
        },
        driver: facts.driver,
        gate_mode: match facts.gate_mode {
            xdp::GateMode::Native => GateMode::Native,
            xdp::GateMode::Generic => GateMode::Generic,
        },
        why_generic: facts.why_generic,
        queues: facts.queues.into_iter().map(queue).collect(),
        mtu: port.spec.mtu,
        waiting: facts.waiting,
    }
}

fn kind_of(port: &Port) -> PortKind {
    match &port.spec.kind {
        port::PortKind::Pod { pod, mac } => {
            let (namespace, name) = pod.split_once('/').unwrap_or(("", pod));
            let pod = Name { namespace: namespace.into(), name: name.into() };
            PortKind::Pod { pod, mac: *mac }
        }
        port::PortKind::Uplink => PortKind::Uplink,
        port::PortKind::Host => PortKind::Host,
    }
}

fn traffic(totals: &Totals) -> Traffic {
    Traffic {
        rx_frames: totals.rx_frames,
        rx_bytes: totals.rx_bytes,
        tx_frames: totals.tx_frames,
        tx_bytes: totals.tx_bytes,
        flood_copies: totals.flood_copies,
        drops: totals.drops().map(|(reason, frames)| DropCount::new(reason, frames)).collect(),
    }
}

fn worker_work((work, worker): (&Work, u32)) -> WorkerWork {
    let stage = |stage: Stage| {
        let taken = work.stage(stage);
        StageWork { stage: stage.name().to_owned(), frames: taken.frames, cycles: taken.cycles }
    };
    WorkerWork {
        worker,
        busy_ns: work.busy_ns,
        turns: work.turns,
        frames: work.frames,
        sample: Sample {
            frames: work.measured_frames,
            unit: match xdp::CYCLE_UNIT {
                xdp::CycleUnit::Cycles => CycleUnit::Cycles,
                xdp::CycleUnit::Nanoseconds => CycleUnit::Nanoseconds,
            },
            stages: Stage::ALL.map(stage).into(),
        },
    }
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn failure(error: OpenError) -> Failure {
    let text = error.to_string();
    match error {
        OpenError::Engine(EngineError::NoSuchPort(_)) => Failure::NotFound(text),
        OpenError::Engine(
            EngineError::PortExists(_)
            | EngineError::PodAttached { .. }
            | EngineError::MacTaken { .. },
        ) => Failure::Exists(text),
        OpenError::Engine(EngineError::WorkerStuck(_)) => Failure::Internal(text),
        _ => Failure::Precondition(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_whose_worker_does_not_answer_is_not_left_out_of_the_list() {
        let stuck = unless_gone::<()>(Err(EngineError::WorkerStuck(1).into())).unwrap_err();
        assert!(
            matches!(&stuck, Failure::Internal(text) if text.contains("worker 1")),
            "{stuck:?}"
        );
        let gone = unless_gone::<()>(Err(EngineError::NoSuchPort("eth1".into()).into()));
        assert_eq!(gone.unwrap(), None, "it was removed in between");
    }
}
