//! A daemon that holds a rule set and counts nothing.

use std::sync::Mutex;

use sluice_api::backend::{
    Backend, Capture, CaptureOrder, CommitError, CommitOrder, Committed, Content, Counters,
    DiffOrder, DropCount, Failure, GateCounters, GateMode, HEALTHY, ObjectCounts, PortCounters,
    PortSpec, PortState, Preview, Refusal, Refused, Source, Status, Traffic, WorkerStatus,
};
use sluice_core::drop::DropReason;
use sluice_core::table::Table;
use sluice_policy::compile::{CompileOptions, compile};
use sluice_policy::explain::{ExplainError, Explanation, Question, explain};
use sluice_policy::model::{Protocol, RuleSet};
use sluice_policy::reach::{Family, Reach, reach};

/// A name as somebody hostile would choose it.
pub(crate) const HOSTILE: &str = "v1\u{1b}[2J\nhealth:    ok";

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
        let state = |spec: &PortSpec| PortState {
            spec: spec.clone(),
            driver: "veth".to_owned(),
            gate_mode: GateMode::Native,
            zero_copy: vec![false, true],
            mtu: 1500,
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

    fn counters(&self) -> Result<Counters, Failure> {
        let total = Traffic {
            rx_frames: 10,
            rx_bytes: 1_000,
            tx_frames: 7,
            tx_bytes: 700,
            flood_copies: 0,
            drops: vec![DropCount::new(DropReason::IngressDenied, 3)],
        };
        let gate = Some(GateCounters { steered: 10, passed_to_node: 4, ..GateCounters::default() });
        let port = PortCounters {
            port: "eth1".to_owned(),
            total: total.clone(),
            workers: Vec::new(),
            gate,
        };
        Ok(Counters { total, ports: vec![port] })
    }

    fn capture(&self, _: CaptureOrder) -> Result<Box<dyn Capture>, Failure> {
        Err(Failure::Precondition("4 captures are under way".to_owned()))
    }

    fn explain(&self, questions: &[Question]) -> Vec<Result<Explanation, ExplainError>> {
        let table = self.table();
        questions.iter().map(|question| explain(&table, question)).collect()
    }

    fn reach(&self, ports: &[(Protocol, u16)], family: Option<Family>) -> Reach {
        reach(&self.table(), ports, family, |_, _| {})
    }
}
