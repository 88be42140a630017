//! `sluicectl top` beside a real `sluiced` with real traffic.
//!
//! Makes its own namespaces and needs root; without root it says that it is skipped.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail as the test does"
)]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{SLUICED, cores, with_client};
use serde_json::Value;
use sluice_demo::push::push;
use sluice_demo::stage::{Stage, StageOptions};
use sluice_demo::transfer::Transfer;
use sluice_lab::probe::{self, Probe};
use sluice_lab::{root_or_skip, serve, wait_until};
use sluice_policy::model::RuleSet;
use sluice_sources::files::{LoadOptions, load};

const PATIENCE: Duration = Duration::from_secs(10);
const DROPPED: Duration = Duration::from_millis(400);

/// Two pods; the database takes TCP 80 only.
const RULES: &str = "
apiVersion: v1
kind: Node
metadata: { name: node-1 }
status: { addresses: [{ type: InternalIP, address: 10.5.0.1 }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: web }
status: { podIPs: [{ ip: 10.5.0.11 }, { ip: 'fd05::11' }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: shop, name: db, labels: { app: db } }
status: { podIPs: [{ ip: 10.5.0.12 }, { ip: 'fd05::12' }] }
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { namespace: shop, name: db }
spec:
  podSelector: { matchLabels: { app: db } }
  ingress: [{ ports: [{ port: 80 }] }]
";

/// The words of a `sluicectl` that this program is to be, a line each.
const WORDS: &str = "SLUICE_TEST_SLUICECTL";

/// Not a test of its own: `top` below runs it as a process, whose output can be read.
#[test]
fn sluicectl() {
    if let Ok(words) = std::env::var(WORDS) {
        assert_eq!(sluice_cli::run(words.lines()), 0);
    }
}

/// What `sluicectl` prints, as lines.
fn sluicectl_prints(words: &[&str]) -> Vec<String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sluicectl", "--nocapture", "--quiet"])
        .env(WORDS, words.join("\n"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn top_shows_what_goes_on_between_real_pods() {
    if !root_or_skip() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yaml");
    std::fs::write(&file, RULES).unwrap();
    let rules: RuleSet = load(&[file], &LoadOptions::default()).unwrap().0;
    let options = StageOptions { cores: cores(), ..StageOptions::default() };
    let stage = Stage::start(Path::new(SLUICED), &rules, &options).unwrap();
    push(&stage.socket(), &rules, "test").unwrap();
    let status = with_client(&stage, async |client| client.status().await.unwrap());
    let revision = status.revision;
    let (web, db) = (stage.seat_of("shop/web").unwrap(), stage.seat_of("shop/db").unwrap());
    let to = SocketAddr::new(db.addresses[0], 80);
    let _server = serve::tcp_echo(&db.namespace, to).unwrap();
    let transfer = Transfer::start(&web.namespace, to).unwrap();
    assert!(wait_until(PATIENCE, || transfer.echoed() > 1_000_000), "{}", stage.log_tail());

    let socket = stage.socket();
    let words = ["sluicectl", "top", "--socket", socket.to_str().unwrap(), "-n", "2"];
    let denied = SocketAddr::new(db.addresses[0], 81);
    let printed = std::thread::scope(|scope| {
        let top = scope.spawn(|| sluicectl_prints(&[&words[..], &["-o", "json"]].concat()));
        // Something is denied all the while.
        while !top.is_finished() {
            let attempt = web.namespace.run(|| probe::tcp_connect(denied, DROPPED)).unwrap();
            assert_eq!(attempt, Probe::TimedOut);
        }
        top.join().unwrap()
    });
    let reports: Vec<Value> = printed
        .iter()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(reports.len(), 2, "{printed:?}");
    for report in &reports {
        assert_eq!((&report["revision"], &report["health"]), (&revision.into(), &"ok".into()));
        assert!(number(&report["seconds"]) > 0.5, "{report}");
        assert!(report["connections"].as_u64().unwrap() >= 1, "{report}");
        for port in [&web.interface, &db.interface] {
            let ports = report["ports"].as_array().unwrap();
            let rates = ports.iter().find(|it| it["port"] == **port).unwrap();
            for rate in ["rx_frames_per_second", "rx_bits_per_second", "tx_bits_per_second"] {
                assert!(number(&rates[rate]) > 0.0, "{rate} of {port}: {report}");
            }
        }
        let drops = report["drops"].as_array().unwrap();
        let denied = drops.iter().find(|it| it["reason"] == "ingress_denied").unwrap();
        assert!(number(&denied["frames_per_second"]) > 0.0, "{report}");

        let workers = report["workers"].as_array().unwrap();
        assert_eq!(workers.len(), cores().len());
        let busy: Vec<f64> = workers.iter().map(|it| number(&it["busy"])).collect();
        assert!(busy.iter().all(|busy| (0.0..=1.0).contains(busy)), "{busy:?}");
        assert!(busy.iter().any(|busy| *busy > 0.0), "{busy:?}");
        assert!(workers.iter().all(|it| it["revision"] == revision), "{report}");

        assert!(report["measured_frames"].as_u64().unwrap() > 0, "{report}");
        let stages = report["stages"].as_array().unwrap();
        let names: Vec<&str> = stages.iter().map(|it| it["stage"].as_str().unwrap()).collect();
        for stage in ["io", "parse", "guard", "forward", "conntrack", "edit"] {
            let place = names.iter().position(|name| *name == stage).unwrap();
            assert!(number(&stages[place]["cycles_per_frame"]) > 0.0, "{stage}: {report}");
        }
        let sum: f64 = stages.iter().map(|it| number(&it["cycles_per_frame"])).sum();
        let all = number(&report["cycles_per_frame"]);
        assert!((sum - all).abs() < 0.01, "stages are the whole: {sum}, {all}");
    }

    let printed = sluicectl_prints(&words).join("\n");
    for text in ["WORKER  CORE  BUSY", "/FRAME", "CONNTRACK", "all ports", &web.interface] {
        assert!(printed.contains(text), "want {text:?} in\n{printed}");
    }
}
