//! Programs that others wrote, through a running `sluiced`: iperf3, curl and an HTTP server, nmap,
//! and frames that no stack sends, made by scapy. What policy allows works for them; what it denies,
//! and what nobody should send, never reaches the pod that it is meant for, and is counted.
//!
//! Needs root, and the programs that `make test` installs; a test says what it is skipped for.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail as the test does"
)]

mod capture;
#[path = "../common/mod.rs"]
mod common;
mod crafted;
mod paths;
mod programs;
mod scans;
mod transfers;
mod watch;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::{SLUICED, cores};
use sluice_demo::push::push;
use sluice_demo::stage::{Seat, Stage, StageOptions};
use sluice_policy::model::RuleSet;
use sluice_sources::files::{LoadOptions, load};

/// For what must come, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(10);

const CLIENT: &str = "shop/client";
const SERVER: &str = "shop/server";
const ATTACKER: &str = "shop/attacker";

/// Three pods of one namespace on one node.
const CLUSTER: &str = "
apiVersion: v1
kind: Node
metadata: { name: node-1 }
status: { addresses: [{ type: InternalIP, address: 10.5.0.1 }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: client, labels: { app: client } }
status: { podIPs: [{ ip: 10.5.0.11 }, { ip: 'fd05::11' }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: server, labels: { app: server } }
status: { podIPs: [{ ip: 10.5.0.12 }, { ip: 'fd05::12' }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: attacker, labels: { app: attacker } }
status: { podIPs: [{ ip: 10.5.0.13 }, { ip: 'fd05::13' }] }
";

/// TCP that the server lets the attacker have. All else of TCP it denies, and what is above
/// [`EGRESS_LAST`] the attacker's own policy denies already.
const OPEN: u16 = 80;
const EGRESS_LAST: u16 = 5999;
/// UDP that the server lets everybody have, nobody listens on, and tests mark time with.
const FENCE: u16 = 9000;
/// TCP and UDP that the server lets the client alone have.
const IPERF: u16 = 5201;

/// UDP 68 is open to the attacker, so that it is not for want of a rule if a DHCP offer drops.
fn policies() -> String {
    format!(
        "
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{ namespace: shop, name: server }}
spec:
  podSelector: {{ matchLabels: {{ app: server }} }}
  ingress:
    - from: [{{ podSelector: {{ matchLabels: {{ app: client }} }} }}]
      ports: [{{ port: {OPEN} }}, {{ port: {IPERF} }}, {{ protocol: UDP, port: {IPERF} }}]
    - from:
        - podSelector: {{ matchLabels: {{ app: attacker }} }}
        - ipBlock: {{ cidr: 10.5.0.254/32 }}
        - ipBlock: {{ cidr: 'fd05::254/128' }}
      ports: [{{ port: {OPEN} }}, {{ protocol: UDP, port: {FENCE} }}, {{ protocol: UDP, port: 68 }}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{ namespace: shop, name: attacker }}
spec:
  podSelector: {{ matchLabels: {{ app: attacker }} }}
  policyTypes: [Egress]
  egress:
    - ports:
        - {{ port: 1, endPort: {EGRESS_LAST} }}
        - {{ protocol: UDP, port: 1, endPort: 65535 }}
"
    )
}

fn rules(parts: &[&str]) -> RuleSet {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yaml");
    std::fs::write(&file, parts.concat()).unwrap();
    load(&[file], &LoadOptions::default()).unwrap().0
}

/// A stage with the pods, and no policies yet.
fn stage() -> Stage {
    let options = StageOptions { cores: cores(), ..StageOptions::default() };
    let rules = rules(&[CLUSTER]);
    let stage = Stage::start(Path::new(SLUICED), &rules, &options).unwrap();
    push(&stage.socket(), &rules, "no policies").unwrap();
    stage
}

fn enforce(stage: &Stage) {
    push(&stage.socket(), &rules(&[CLUSTER, &policies()]), "policies").unwrap();
}

fn seat<'a>(stage: &'a Stage, pod: &str) -> &'a Seat {
    stage.seat_of(pod).unwrap()
}

/// One test at a time: two cores have enough to do with one stage and its programs.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
