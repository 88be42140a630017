//! A backend that only remembers.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use sluice_core::drop::DropReason;
use sluice_core::table::Table;
use sluice_policy::compile::{CompileOptions, compile};
use sluice_policy::diff::{Diff, VerdictChange};
use sluice_policy::explain::{ExplainError, Explanation, Question, Verdict};
use sluice_policy::model::{Fault, Protocol, RuleSet};
use sluice_policy::reach::{Family, Reach};

use crate::backend::{
    Backend, Capture, CaptureOrder, Captured, CommitError, CommitOrder, Committed, Content,
    Counters, CycleUnit, DiffOrder, DropCount, DroppedFrame, DyingConnection, Failure,
    GateCounters, GateMode, HEALTHY, ObjectCounts, PortCounters, PortSpec, PortState, Preview,
    QueueState, QueueStatistics, Refusal, Refused, Sample, Source, StageWork, Status, Traffic,
    WorkerStatus, WorkerTraffic, WorkerWork,
};

#[derive(Default)]
pub(super) struct Fake {
    pub(super) commits: AtomicU64,
    pub(super) diffs: Mutex<Vec<DiffOrder>>,
    pub(super) captures: Mutex<Vec<CaptureOrder>>,
    /// How many captures are under way.
    pub(super) capturing: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    revision: u64,
    version: String,
    rules: RuleSet,
    refusal: Option<Refusal>,
    ports: BTreeMap<String, PortSpec>,
}

impl Fake {
    pub(super) fn rules(&self) -> RuleSet {
        self.state.lock().unwrap().rules.clone()
    }

    fn candidate(&self, content: Content) -> Result<RuleSet, Refused> {
        let change = match content {
            Content::Snapshot(rules) => return Ok(rules),
            Content::Delta(change) => change,
        };
        let mut rules = self.rules();
        let missing: Vec<_> =
            change.removals.into_iter().filter(|key| rules.remove(key).is_none()).collect();
        if !missing.is_empty() {
            return Err(Refused::missing(missing, self.status().revision));
        }
        for object in change.upserts {
            rules.replace(object);
        }
        Ok(rules)
    }

    fn table(&self) -> Table {
        compile(&self.rules(), &CompileOptions::default()).unwrap()
    }
}

/// What every diff comes to.
pub(super) fn preview() -> Preview {
    let verdict = VerdictChange {
        from: "shop/web".into(),
        to: "203.0.113.0/24".into(),
        protocol: "TCP".into(),
        ports: Some((0, 65_535)),
        before: Verdict::Allow,
        after: Verdict::Drop,
        family: "IPv4".into(),
    };
    let connection = DyingConnection {
        from: "node n1".into(),
        to: "shop/db".into(),
        source: [10, 0, 0, 9].into(),
        destination: Ipv6Addr::LOCALHOST.into(),
        protocol: "SCTP".into(),
        source_port: Some(65_535),
        destination_port: Some(5432),
        reason: "no rule of shop/deny admits SCTP 5432 from node n1".into(),
    };
    Preview {
        running_revision: 0,
        diff: Diff {
            verdicts: vec![
                VerdictChange {
                    protocol: "other".into(),
                    ports: None,
                    before: Verdict::Drop,
                    after: Verdict::Allow,
                    ..verdict.clone()
                },
                verdict,
            ],
            verdicts_total: u64::MAX,
            pods_added: vec!["shop/new".into()],
            pods_removed: vec!["shop/old".into(), "shop/older".into()],
            access_lists: vec!["edge".into()],
        },
        connections: vec![
            connection.clone(),
            DyingConnection { source_port: None, destination_port: None, ..connection },
        ],
        connections_total: 3,
        connections_live: 4,
    }
}

/// A capture of [`dropped`]: so many frames as were ordered.
struct FakeCapture {
    left: VecDeque<DroppedFrame>,
    ends: bool,
    capturing: Arc<AtomicU64>,
}

/// The frame that is dropped as the `number`th, a longer one than fits a worker's slot.
pub(super) fn dropped(number: u32) -> DroppedFrame {
    DroppedFrame {
        time: SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, number),
        port: (number.is_multiple_of(2)).then(|| "eth0".into()),
        reason: "from_a_newer_daemon".into(),
        worker: number % 3,
        len: 9000,
        data: number.to_be_bytes().repeat(500),
    }
}

impl Capture for FakeCapture {
    fn take(&mut self, max: usize) -> Captured {
        let count = self.left.len().min(max);
        Captured { frames: self.left.drain(..count).collect(), missed: 7 }
    }

    fn is_over(&self) -> bool {
        self.ends && self.left.is_empty()
    }
}

impl Drop for FakeCapture {
    fn drop(&mut self) {
        self.capturing.fetch_sub(1, SeqCst);
    }
}

impl Backend for Fake {
    fn commit(&self, order: CommitOrder) -> Result<Committed, CommitError> {
        self.commits.fetch_add(1, SeqCst);
        let running = self.state.lock().unwrap().revision;
        if let Some(base) = order.base_revision.filter(|base| *base != running) {
            let refused = Refused::wrong_base(base, running);
            return Err(self.refuse(&order.version, refused.faults).into());
        }
        let rules = match self.candidate(order.content) {
            Ok(rules) => rules,
            Err(refused) => return Err(self.refuse(&order.version, refused.faults).into()),
        };
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        state.version.clone_from(&order.version);
        state.rules = rules;
        let objects = ObjectCounts::of(&state.rules).total();
        Ok(Committed {
            revision: state.revision,
            version: order.version,
            objects,
            applied_in_ns: 77,
        })
    }

    fn diff(&self, order: DiffOrder) -> Result<Preview, Refused> {
        self.diffs.lock().unwrap().push(order.clone());
        let running = self.status().revision;
        if let Some(base) = order.base_revision.filter(|base| *base != running) {
            return Err(Refused::wrong_base(base, running));
        }
        self.candidate(order.content)?;
        Ok(Preview { running_revision: running, ..preview() })
    }

    fn refuse(&self, version: &str, faults: Vec<Fault>) -> Refused {
        let mut state = self.state.lock().unwrap();
        state.refusal =
            Some(Refusal { version: version.into(), faults: faults.clone(), age_seconds: 3 });
        Refused { faults, running_revision: state.revision }
    }

    fn status(&self) -> Status {
        let state = self.state.lock().unwrap();
        let revision = state.revision;
        let worker =
            |index| WorkerStatus { index, core: index + 4, revision, connections: 9, evicted: 8 };
        Status {
            revision,
            version: state.version.clone(),
            source: Source::Files("/etc/sluice/policies".into()),
            objects: ObjectCounts::of(&state.rules),
            workers: (0..2).map(worker).collect(),
            uptime_seconds: 60,
            health: HEALTHY.into(),
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
            driver: "veth".into(),
            gate_mode: GateMode::Native,
            why_generic: None,
            queues: (0..2).map(queue).collect(),
            mtu: 1500,
            waiting: None,
        };
        Ok(self.state.lock().unwrap().ports.values().map(state).collect())
    }

    fn add_port(&self, port: PortSpec) -> Result<(), Failure> {
        let mut state = self.state.lock().unwrap();
        if port.interface == "down" {
            return Err(Failure::Precondition("down is down".into()));
        }
        if state.ports.contains_key(&port.interface) {
            return Err(Failure::Exists(format!("port {} is there", port.interface)));
        }
        state.ports.insert(port.interface.clone(), port);
        Ok(())
    }

    fn remove_port(&self, name: &str) -> Result<(), Failure> {
        assert_ne!(name, "panic", "as the test asks");
        let removed = self.state.lock().unwrap().ports.remove(name);
        removed.map(drop).ok_or_else(|| Failure::NotFound(format!("no port {name}")))
    }

    fn counters(&self) -> Result<Counters, Failure> {
        let traffic = Traffic {
            rx_frames: u64::MAX,
            rx_bytes: 2,
            tx_frames: 3,
            tx_bytes: 4,
            flood_copies: 5,
            drops: vec![DropCount::new(DropReason::IngressDenied, 6)],
        };
        let worker = WorkerTraffic { worker: 1, traffic: traffic.clone() };
        let gate =
            GateCounters { steered: 1, passed_to_node: 2, fallback_dropped: 3, fallback_passed: 4 };
        let port = PortCounters {
            port: "eth0".into(),
            total: traffic.clone(),
            workers: vec![worker],
            gate: Some(gate),
        };
        let bare = PortCounters { port: "eth1".into(), ..PortCounters::default() };
        let stage = StageWork { stage: "parse".into(), frames: 9, cycles: 10 };
        let work = WorkerWork {
            worker: 1,
            busy_ns: 6,
            turns: 7,
            frames: 8,
            sample: Sample { frames: 9, unit: CycleUnit::Nanoseconds, stages: vec![stage] },
        };
        Ok(Counters {
            total: traffic,
            ports: vec![port, bare],
            read_at_ns: 11,
            started_unix_ns: 12,
            workers: vec![WorkerWork::default(), work],
        })
    }

    /// One for no port in particular never ends.
    fn capture(&self, order: CaptureOrder) -> Result<Box<dyn Capture>, Failure> {
        if order.ports == ["eth7"] {
            return Err(Failure::NotFound("no port eth7".into()));
        }
        let ends = !order.ports.is_empty();
        let left = (0..order.count).map(dropped).collect();
        self.captures.lock().unwrap().push(order);
        self.capturing.fetch_add(1, SeqCst);
        Ok(Box::new(FakeCapture { left, ends, capturing: Arc::clone(&self.capturing) }))
    }

    fn explain(&self, questions: &[Question]) -> Vec<Result<Explanation, ExplainError>> {
        let table = self.table();
        let explain = |question| sluice_policy::explain::explain(&table, question);
        questions.iter().map(explain).collect()
    }

    fn reach(&self, ports: &[(Protocol, u16)], family: Option<Family>) -> Reach {
        sluice_policy::reach::reach(&self.table(), ports, family, |_, _| {})
    }
}
