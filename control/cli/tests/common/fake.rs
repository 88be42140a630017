//! A daemon that holds a rule set and counts nothing.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use sluice_api::backend::{
    Backend, Capture, CaptureOrder, Captured, CommitError, CommitOrder, Committed, Content,
    Counters, CycleUnit, DiffOrder, DropCount, DroppedFrame, Failure, GateCounters, GateMode,
    HEALTHY, ObjectCounts, PortCounters, PortSpec, PortState, Preview, QueueState, QueueStatistics,
    Refusal, Refused, Sample, Source, StageWork, Status, Traffic, WorkerStatus, WorkerTraffic,
    WorkerWork,
};
use sluice_core::drop::DropReason;
use sluice_core::table::Table;
use sluice_policy::compile::{CompileOptions, compile};
use sluice_policy::explain::{ExplainError, Explanation, Question, explain};
use sluice_policy::model::{Protocol, RuleSet};
use sluice_policy::reach::{Family, Reach, reach};

/// A name as somebody hostile would choose it.
pub(crate) const HOSTILE: &str = "v1\u{1b}[2J\nhealth:    ok";

/// A datagram of 10.0.0.1.
pub(crate) const DATAGRAM: [u8; 42] = [
    2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0x26, 0xcf,
    10, 0, 0, 1, 10, 0, 0, 2, 0x10, 0, 0, 53, 0, 8, 0, 0,
];

/// The moment at which every frame is dropped.
pub(crate) const MOMENT: Duration = Duration::new(1_700_000_000, 123_456_789);

/// What is dropped, again and again.
pub(crate) fn dropped() -> [DroppedFrame; 2] {
    let frame = DroppedFrame {
        time: SystemTime::UNIX_EPOCH + MOMENT,
        port: Some("eth1".to_owned()),
        reason: "ingress_denied".to_owned(),
        worker: 1,
        len: 42,
        data: DATAGRAM.to_vec(),
    };
    let port = Some(HOSTILE.to_owned());
    [frame.clone(), DroppedFrame { port, reason: HOSTILE.to_owned(), len: 9000, ..frame }]
}

/// So many frames as were ordered, but of port `slow` two, and then it goes on.
struct FakeCapture {
    left: VecDeque<DroppedFrame>,
    ends: bool,
}

impl Capture for FakeCapture {
    fn take(&mut self, max: usize) -> Captured {
        let count = self.left.len().min(max);
        Captured { frames: self.left.drain(..count).collect(), missed: 5 }
    }

    fn is_over(&self) -> bool {
        self.ends && self.left.is_empty()
    }
}

/// The daemon.
#[derive(Default)]
pub(crate) struct Fake(Mutex<State>);

#[derive(Default)]
struct State {
    revision: u64,
    version: String,
    rules: RuleSet,
    ports: Vec<PortSpec>,
    refusal: Option<Refusal>,
    /// How often its counters were read.
    readings: u64,
}

impl Fake {
    fn table(&self) -> Table {
        let state = self.0.lock().unwrap();
        compile(&state.rules, &CompileOptions::default()).unwrap()
    }
}

impl Backend for Fake {
    fn commit(&self, order: CommitOrder) -> Result<Committed, CommitError> {
        let Content::Snapshot(rules) = order.content else {
            panic!("sluicectl commits whole rule sets")
        };
        let mut state = self.0.lock().unwrap();
        let running = state.revision;
        let objects = rules.len() as u64;
        let refused = match order.base_revision {
            Some(base) if base != running => Some(Refused::wrong_base(base, running)),
            _ if objects < state.rules.len() as u64 / 2 && !order.allow_shrink => {
                Some(Refused::shrinks(state.rules.len() as u64, objects, running))
            }
            _ => None,
        };
        if let Some(refused) = refused {
            let faults = refused.faults.clone();
            state.refusal = Some(Refusal { version: order.version, faults, age_seconds: 61 });
            return Err(refused.into());
        }
        state.revision += 1;
        state.version.clone_from(&order.version);
        state.rules = rules;
        state.refusal = None;
        Ok(Committed {
            revision: state.revision,
            version: order.version,
            objects,
            applied_in_ns: 1_500_000,
        })
    }

    fn diff(&self, _: DiffOrder) -> Result<Preview, Refused> {
        Ok(Preview { running_revision: self.0.lock().unwrap().revision, ..Preview::default() })
    }

    fn status(&self) -> Status {
        let state = self.0.lock().unwrap();
        let worker = |index| WorkerStatus {
            index,
            core: index + 2,
            revision: state.revision,
            connections: 12,
            evicted: 3,
        };
        Status {
            revision: state.revision,
            version: state.version.clone(),
            source: Source::Api,
            objects: ObjectCounts::of(&state.rules),
            workers: vec![worker(0), worker(1)],
            uptime_seconds: 7_260,
            health: HEALTHY.to_owned(),
            last_refusal: state.refusal.clone(),
        }
    }

    fn ports(&self) -> Result<Vec<PortState>, Failure> {
        let queue = |number: u32| QueueState {
            queue: number,
            worker: number,
            zero_copy: number == 1,
            why_copied: (number == 0).then(|| "the driver offers no zero-copy".into()),
            busy_poll_us: number * 20,
            polled: number == 1,
            statistics: Some(QueueStatistics {
                rx_ring_full: 7,
                foreign_descriptors: 5,
                ..QueueStatistics::default()
            }),
        };
        let state = |spec: &PortSpec| PortState {
            spec: spec.clone(),
            driver: "veth".to_owned(),
            gate_mode: GateMode::Native,
            why_generic: None,
            queues: (0..2).map(queue).collect(),
            mtu: 1500,
            waiting: None,
        };
        Ok(self.0.lock().unwrap().ports.iter().map(state).collect())
    }

    fn add_port(&self, port: PortSpec) -> Result<(), Failure> {
        if port.interface == "lo" {
            return Err(Failure::Precondition("lo is a loopback; want a NIC or a veth".to_owned()));
        }
        self.0.lock().unwrap().ports.push(port);
        Ok(())
    }

    fn remove_port(&self, name: &str) -> Result<(), Failure> {
        let mut state = self.0.lock().unwrap();
        let before = state.ports.len();
        state.ports.retain(|port| port.interface != name);
        match state.ports.len() {
            after if after == before => Err(Failure::NotFound(format!("there is no port {name}"))),
            _ => Ok(()),
        }
    }

    /// Each time it has run for two seconds more, and counted as much again as at first.
    fn counters(&self) -> Result<Counters, Failure> {
        let times = {
            let mut state = self.0.lock().unwrap();
            state.readings += 1;
            state.readings
        };
        let total = Traffic {
            rx_frames: 10 * times,
            rx_bytes: 1_000 * times,
            tx_frames: 7 * times,
            tx_bytes: 700 * times,
            flood_copies: 0,
            drops: vec![DropCount::new(DropReason::IngressDenied, 3 * times)],
        };
        let stage = |(name, cycles): (&str, u64)| StageWork {
            stage: name.to_owned(),
            frames: 4 * times,
            cycles: cycles * times,
        };
        let work = WorkerWork {
            worker: 1,
            busy_ns: 500_000_000 * times,
            turns: 2 * times,
            frames: 10 * times,
            sample: Sample {
                frames: 4 * times,
                unit: CycleUnit::Cycles,
                stages: [("parse", 400), (HOSTILE, 80)].map(stage).into(),
            },
        };
        let gate = Some(GateCounters { steered: 10, passed_to_node: 4, ..GateCounters::default() });
        let worker = |number: u32| WorkerTraffic {
            worker: number,
            traffic: Traffic {
                drops: vec![DropCount::new(DropReason::IngressDenied, number.into())],
                ..Traffic::default()
            },
        };
        let port = PortCounters {
            port: "eth1".to_owned(),
            total: total.clone(),
            workers: [1, 2].map(worker).into(),
            gate,
        };
        Ok(Counters {
            total,
            ports: vec![port],
            read_at_ns: 2_000_000_000 * times,
            started_unix_ns: 1,
            workers: vec![WorkerWork::default(), work],
        })
    }

    fn capture(&self, order: CaptureOrder) -> Result<Box<dyn Capture>, Failure> {
        if order.ports == ["gone"] {
            return Err(Failure::NotFound("port gone: there is none of that name".to_owned()));
        }
        let ends = order.ports != ["slow"];
        let count = if ends { order.count as usize } else { 2 };
        let left = dropped().into_iter().cycle().take(count).collect();
        Ok(Box::new(FakeCapture { left, ends }))
    }

    fn explain(&self, questions: &[Question]) -> Vec<Result<Explanation, ExplainError>> {
        let table = self.table();
        questions.iter().map(|question| explain(&table, question)).collect()
    }

    fn reach(&self, ports: &[(Protocol, u16)], family: Option<Family>) -> Reach {
        reach(&self.table(), ports, family, |_, _| {})
    }
}
