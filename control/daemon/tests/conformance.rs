//! The NetworkPolicy cases of Kubernetes' own end-to-end suite as real connections: pods in
//! namespaces, a `sluiced` between them, and every rule set pushed to it. For IPv4 and for IPv6.
//!
//! One stage has the pods of all cases. Those that a case does not have are not in its rule
//! sets either, and nobody asks them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail as the test does"
)]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use common::{SLUICED, cores, with_client};
use sluice_core::drop::DropReason;
use sluice_demo::push::push;
use sluice_demo::stage::{Stage, StageOptions};
use sluice_lab::probe::{self, Probe};
use sluice_lab::serve::{self, Server};
use sluice_lab::{root_or_skip, wait_until};
use sluice_policy::model::Protocol;
use sluice_sources::conformance::{Case, Cluster, Expectation, Family, Step, Suite};

/// For what must come, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(15);

/// For what must not come. Longer would prove no more: the daemon must have counted the drops.
const DENIED: Duration = Duration::from_millis(300);

/// What the lab has servers for.
const SERVED: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// How many cases are played, by the first protocol that they serve.
const PLAYED: [(Protocol, usize); 2] = [(Protocol::Tcp, 42), (Protocol::Udp, 3)];

#[test]
fn kubernetes_end_to_end_cases_over_ipv4() {
    run(Family::V4);
}

#[test]
fn kubernetes_end_to_end_cases_over_ipv6() {
    run(Family::V6);
}

fn run(family: Family) {
    if !root_or_skip() {
        return;
    }
    let Some(suite) = Suite::read_or_skip() else { return };
    let mut open = suite.all_pods();
    open.steps = probes_of_all_ports(&open);
    let cluster = suite.cluster(&open, family);
    let options = StageOptions { cores: cores(), ..StageOptions::default() };
    let mut stage = Stage::start(Path::new(SLUICED), &cluster.rules(), &options).unwrap();
    let _servers = serve_all_ports(&stage, &cluster, &open);

    // Were anything else in the way, denials would be right for a wrong reason.
    let mut report = Report::default();
    report.play(&stage, cluster, &open);
    report.assert_all_right(&stage);

    let (mut played, mut skipped) = (BTreeMap::new(), 0);
    for case in &suite.cases {
        if case.protocols.iter().all(|protocol| SERVED.contains(protocol)) {
            report.play(&stage, suite.cluster(case, family), case);
            *played.entry(case.protocols[0]).or_default() += 1;
        } else {
            skipped += 1;
        }
    }
    let Report { probes, allowed, denied, .. } = report;
    println!("{family:?}: {probes} probes, {allowed} connections allowed, {denied} denied");
    println!("skipped: {skipped} cases over SCTP, which many kernels lack");
    report.assert_all_right(&stage);
    assert!(stage.daemon_runs(), "{}", stage.log_tail());
    assert_eq!(played, PLAYED.into());
}

/// What came of the cases so far.
#[derive(Default)]
struct Report {
    probes: usize,
    allowed: usize,
    denied: usize,
    wrong: Vec<String>,
}

impl Report {
    fn play(&mut self, stage: &Stage, mut cluster: Cluster<'_>, case: &Case) {
        for (number, step) in case.steps.iter().enumerate() {
            let expectations = cluster.step(step);
            if expectations.is_empty() {
                continue;
            }
            let name = format!("{}, step {}", case.name, number + 1);
            match push(&stage.socket(), &cluster.rules(), &name) {
                Ok(_) => self.probe(stage, &cluster, &expectations, &name),
                Err(error) => self.wrong.push(format!("{name}: {error}")),
            }
        }
    }

    fn probe(&mut self, stage: &Stage, cluster: &Cluster<'_>, all: &[Expectation], name: &str) {
        let dropped_before = dropped_by_policy(stage);
        let mut surprises = Vec::new();
        for (expectation, got) in all.iter().zip(connect_all(stage, cluster, all)) {
            let Expectation { from, to, protocol, port, allowed } = expectation;
            let expected = if *allowed { Probe::Open } else { Probe::TimedOut };
            if got != expected {
                surprises.push(format!(
                    "{name}: {from} to {to} {protocol} {port}: expected {expected:?}, got {got:?}"
                ));
            }
        }
        let denied = all.iter().filter(|expectation| !expectation.allowed).count();
        self.probes += 1;
        self.denied += denied;
        self.allowed += all.len() - denied;
        // A time-out alone might be a frame that was lost, or late.
        let dropped = || dropped_by_policy(stage) - dropped_before;
        let all_dropped = || dropped() >= u64::try_from(denied).unwrap();
        if surprises.is_empty() && !wait_until(PATIENCE, all_dropped) {
            surprises.push(format!(
                "{name}: expected {denied} drops by policy or more, got {}",
                dropped()
            ));
        }
        self.wrong.append(&mut surprises);
    }

    fn assert_all_right(&self, stage: &Stage) {
        let (count, lines) = (self.wrong.len(), self.wrong.join("\n"));
        let log = stage.log_tail();
        assert!(count == 0, "{count} answers are wrong:\n{lines}\nsluiced says:\n{log}");
    }
}

/// Every pod asks every other one on every port that some case serves.
fn probes_of_all_ports(case: &Case) -> Vec<Step> {
    let probe = |protocol, port: &u16| Step::Probe { protocol, port: *port, expect: Vec::new() };
    SERVED
        .into_iter()
        .flat_map(|protocol| case.ports.iter().map(move |port| probe(protocol, port)))
        .collect()
}

fn serve_all_ports(stage: &Stage, cluster: &Cluster<'_>, case: &Case) -> Vec<Server> {
    let mut servers = Vec::new();
    for pod in &case.pods {
        let namespace = &stage.seat_of(pod).unwrap().namespace;
        for port in &case.ports {
            let address = SocketAddr::new(cluster.address(pod), *port);
            servers.push(serve::tcp_echo(namespace, address).unwrap());
            servers.push(serve::udp_echo(namespace, address).unwrap());
        }
    }
    servers
}

/// What each pod sees. They all ask at once, so that the denied ones wait together.
fn connect_all(stage: &Stage, cluster: &Cluster<'_>, all: &[Expectation]) -> Vec<Probe> {
    std::thread::scope(|scope| {
        let connect = |expectation: &Expectation| {
            let Expectation { from, to, protocol, port, allowed } = expectation;
            let namespace = &stage.seat_of(from).unwrap().namespace;
            let to = SocketAddr::new(cluster.address(to), *port);
            namespace.run(|| attempt(*protocol, to, *allowed)).unwrap()
        };
        let threads: Vec<_> =
            all.iter().map(|expectation| scope.spawn(move || connect(expectation))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn attempt(protocol: Protocol, to: SocketAddr, allowed: bool) -> Probe {
    match (protocol, allowed) {
        (Protocol::Tcp, true) => probe::tcp_echo(to, b"conformance", PATIENCE),
        // A handshake would be wrong already, whether or not an echo comes in time.
        (Protocol::Tcp, false) => probe::tcp_connect(to, DENIED),
        (Protocol::Udp, true) => probe::udp_echo(to, PATIENCE),
        (Protocol::Udp, false) => probe::udp_echo(to, DENIED),
        (Protocol::Sctp, _) => Probe::Failed("the lab has no servers for SCTP".into()),
    }
}

/// Frames dropped for want of a rule that admits them.
fn dropped_by_policy(stage: &Stage) -> u64 {
    let reasons = [DropReason::EgressDenied, DropReason::IngressDenied].map(DropReason::name);
    let counters = with_client(stage, async |client| client.counters().await.unwrap());
    let drops = counters.total.drops.iter();
    drops.filter(|drop| reasons.contains(&drop.reason.as_str())).map(|drop| drop.frames).sum()
}
