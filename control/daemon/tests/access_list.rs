//! Access lists in a real `sluiced`: from files and over gRPC, under real connections.
//!
//! Every test makes its own namespaces and needs root; without root it says that it is skipped.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of a test may fail as the test does"
)]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use common::{SLUICED, cores, with_client};
use sluice_api::backend::{CommitOrder, Content};
use sluice_demo::push::push;
use sluice_demo::stage::{Seat, Stage, StageOptions};
use sluice_demo::transfer::Transfer;
use sluice_lab::probe::{self, Probe};
use sluice_lab::{root_or_skip, serve, wait_until};
use sluice_policy::explain::{Question, Verdict, Who};
use sluice_policy::model::{Change, Protocol, RuleSet};
use sluice_sources::files::{LoadOptions, load};

const PATIENCE: Duration = Duration::from_secs(10);
const DROPPED: Duration = Duration::from_millis(400);

/// Two pods, of which no policy selects any.
const CLUSTER: &str = "
apiVersion: v1
kind: Node
metadata: { name: node-1 }
status: { addresses: [{ type: InternalIP, address: 10.5.0.1 }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: web, labels: { app: web } }
status: { podIPs: [{ ip: 10.5.0.11 }, { ip: 'fd05::11' }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: db, labels: { app: db } }
status: { podIPs: [{ ip: 10.5.0.12 }, { ip: 'fd05::12' }] }
";

/// Port 80 is closed, in both families, to all but somebody who is not there.
const CLOSED: &str = "
---
apiVersion: policy.sluice.dev/v1alpha1
kind: AccessList
metadata: { name: edge }
spec:
  rules:
  - { priority: 10, action: Allow, source: 10.5.0.99/32, protocol: TCP }
  - { priority: 30, action: Deny, protocol: TCP, destinationPorts: { first: 80 } }
  - { priority: 40, action: Deny, destination: 10.5.0.12/32, protocol: ICMP }
";

/// The same, but for the pod that asks.
const OPENED: &str = "
---
apiVersion: policy.sluice.dev/v1alpha1
kind: AccessList
metadata: { name: edge }
spec:
  rules:
  - { priority: 10, action: Allow, source: 10.5.0.99/32, protocol: TCP }
  - { priority: 20, action: Allow, source: 10.5.0.11/32, protocol: TCP }
  - { priority: 30, action: Deny, protocol: TCP, destinationPorts: { first: 80 } }
  - { priority: 40, action: Deny, destination: 10.5.0.12/32, protocol: ICMP }
";

fn rules(parts: &[&str]) -> RuleSet {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yaml");
    std::fs::write(&file, parts.concat()).unwrap();
    load(&[file], &LoadOptions::default()).unwrap().0
}

fn stage_with(options: &StageOptions) -> Stage {
    Stage::start(Path::new(SLUICED), &rules(&[CLUSTER]), options).unwrap()
}

fn seat<'a>(stage: &'a Stage, pod: &str) -> &'a Seat {
    stage.seat_of(pod).unwrap()
}

/// Whether the web server reaches port 80 of the database by one of its addresses.
fn tcp(stage: &Stage, to: SocketAddr) -> Probe {
    let from = &seat(stage, "shop/web").namespace;
    from.run(|| probe::tcp_echo(to, b"hello", DROPPED)).unwrap()
}

/// Frames dropped because an access list denies.
fn denied(stage: &Stage) -> u64 {
    let total = with_client(stage, async |client| client.counters().await.unwrap()).total;
    total.drops.iter().find(|drops| drops.reason == "access_denied").map_or(0, |it| it.frames)
}

/// What `explain` says of the web server and port 80 of the database: the verdict, and the list
/// and the priority of the rule that denies.
fn explained(stage: &Stage) -> (Verdict, Option<(String, u32)>) {
    let who = |text: &str| text.parse::<Who>().unwrap();
    let question =
        Question { from: who("shop/web"), to: who("shop/db"), protocol: Protocol::Tcp, port: 80 };
    let answer = with_client(stage, async |client| client.explain(&[question]).await.unwrap());
    let explanation = answer.into_iter().next().unwrap().unwrap();
    let by = explanation.access_list.map(|denial| (denial.name, denial.priority));
    (explanation.verdict, by)
}

fn by_rule(priority: u32) -> (Verdict, Option<(String, u32)>) {
    (Verdict::Drop, Some(("edge".to_owned(), priority)))
}

const ALLOWED: (Verdict, Option<(String, u32)>) = (Verdict::Allow, None);

#[test]
fn a_list_in_a_file_denies_real_connections_and_says_which_rule_it_was() {
    if !root_or_skip() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("all.yaml");
    std::fs::write(&file, [CLUSTER, CLOSED].concat()).unwrap();
    let extra = format!(
        "[rules]\nsource = \"files\"\ndirectory = \"{}\"\ninterval_ms = 100\n",
        directory.path().display()
    );
    let stage = stage_with(&StageOptions { extra, ..StageOptions::default() });
    let loaded = || with_client(&stage, async |client| client.status().await.unwrap()).objects;
    assert!(wait_until(PATIENCE, || loaded().access_lists == 1), "{}", stage.log_tail());
    let addresses = seat(&stage, "shop/db").addresses;
    let _servers: Vec<_> = addresses
        .iter()
        .flat_map(|address| [80, 81].map(|port| SocketAddr::new(*address, port)))
        .map(|at| serve::tcp_echo(&seat(&stage, "shop/db").namespace, at).unwrap())
        .collect();
    // The rule names no address, so it means both families; the port beside it is open.
    for address in &addresses {
        let before = denied(&stage);
        assert_eq!(tcp(&stage, SocketAddr::new(*address, 80)), Probe::TimedOut, "{address}");
        assert!(denied(&stage) > before, "{address}");
        assert_eq!(tcp(&stage, SocketAddr::new(*address, 81)), Probe::Open, "{address}");
    }
    assert_eq!(explained(&stage), by_rule(30));

    // A rule in front opens it for the one address that it names.
    std::fs::write(&file, [CLUSTER, OPENED].concat()).unwrap();
    let v4 = SocketAddr::new(addresses[0], 80);
    assert!(wait_until(PATIENCE, || tcp(&stage, v4) == Probe::Open), "{}", stage.log_tail());
    assert_eq!(tcp(&stage, SocketAddr::new(addresses[1], 80)), Probe::TimedOut);
    assert_eq!(explained(&stage), ALLOWED);

    // What cannot be enforced leaves what runs.
    let unsorted = CLOSED.replace("priority: 30", "priority: 5");
    std::fs::write(&file, [CLUSTER, &unsorted].concat()).unwrap();
    let refusal =
        || with_client(&stage, async |client| client.status().await.unwrap()).last_refusal;
    assert!(wait_until(PATIENCE, || refusal().is_some()), "{}", stage.log_tail());
    let fault = refusal().unwrap().faults[0].to_string();
    assert!(
        fault.starts_with("AccessList edge: spec.rules[1].priority: 5 stands behind 10"),
        "{fault}"
    );
    assert_eq!(tcp(&stage, v4), Probe::Open);
}

#[test]
fn a_list_over_grpc_ends_connections_that_it_denies_and_survives_a_restart() {
    if !root_or_skip() {
        return;
    }
    let mut stage = stage_with(&StageOptions { cores: cores(), ..StageOptions::default() });
    let (opened, closed) = (rules(&[CLUSTER, OPENED]), rules(&[CLUSTER, CLOSED]));
    let revision = push(&stage.socket(), &opened, "opened").unwrap().revision;
    let address = seat(&stage, "shop/db").addresses[0];
    let [v4, other] = [80, 8080].map(|port| SocketAddr::new(address, port));
    let _servers =
        [v4, other].map(|at| serve::tcp_echo(&seat(&stage, "shop/db").namespace, at).unwrap());
    let web = seat(&stage, "shop/web").namespace.clone();
    let doomed = Transfer::start(&web, v4).unwrap();
    let unconcerned = Transfer::start(&web, other).unwrap();
    assert!(wait_until(PATIENCE, || doomed.echoed() > 100_000 && unconcerned.echoed() > 100_000));

    // The rule that has let it pass goes, and nothing else changes.
    let before = denied(&stage);
    commit(&stage, revision, opened.change_to(&closed));
    assert_eq!(tcp(&stage, v4), Probe::TimedOut);
    let silent = doomed.echoed();
    assert_eq!(tcp(&stage, v4), Probe::TimedOut);
    assert_eq!(doomed.echoed(), silent, "the connection goes on");
    assert!(denied(&stage) > before);
    let echoed = unconcerned.echoed();
    assert!(wait_until(PATIENCE, || unconcerned.echoed() > echoed));
    assert_eq!(explained(&stage), by_rule(30));

    stage.kill_daemon().unwrap();
    stage.start_daemon().unwrap();
    let status = with_client(&stage, async |client| client.status().await.unwrap());
    assert_eq!((status.revision, status.objects.access_lists), (revision + 1, 1));
    assert!(wait_until(PATIENCE, || tcp(&stage, other) == Probe::Open), "{}", stage.log_tail());
    assert_eq!(tcp(&stage, v4), Probe::TimedOut);
    assert_eq!(explained(&stage), by_rule(30));

    commit(&stage, revision + 1, closed.change_to(&opened));
    assert_eq!(tcp(&stage, v4), Probe::Open);
    assert_eq!(explained(&stage), ALLOWED);
}

/// Puts a change of the rule set of a revision in force.
fn commit(stage: &Stage, base: u64, change: Change) {
    let order = CommitOrder {
        base_revision: Some(base),
        content: Content::Delta(change),
        ..CommitOrder::default()
    };
    let committed = with_client(stage, async |client| client.commit(&order).await.unwrap());
    assert_eq!(committed.unwrap().revision, base + 1);
}
