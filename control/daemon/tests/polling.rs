//! A real `sluiced` that polls its uplink.
//!
//! Makes its own namespaces and needs root; without root it says that it is skipped.

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
use sluice_api::backend::PortKind;
use sluice_demo::push::push;
use sluice_demo::stage::{ALLOWED_OUTSIDE, Stage, StageOptions};
use sluice_lab::probe::{self, Probe};
use sluice_lab::{root_or_skip, serve};
use sluice_policy::model::RuleSet;
use sluice_sources::files::{LoadOptions, load};

const PATIENCE: Duration = Duration::from_secs(10);

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
";

#[test]
fn uplinks_are_polled_and_carry_traffic_and_pods_are_left_to_interrupts() {
    if !root_or_skip() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yaml");
    std::fs::write(&file, RULES).unwrap();
    let rules: RuleSet = load(&[file], &LoadOptions::default()).unwrap().0;
    for idle in ["spin", "sleep"] {
        let engine = format!("busy_poll_us = 20\nidle = \"{idle}\"\n");
        let options = StageOptions { cores: cores(), engine, ..StageOptions::default() };
        let stage = Stage::start(Path::new(SLUICED), &rules, &options).unwrap();
        push(&stage.socket(), &rules, "test").unwrap();
        let ports = with_client(&stage, async |client| client.ports().await.unwrap());
        for port in &ports {
            let expected = if port.spec.kind == PortKind::Uplink { 20 } else { 0 };
            assert!(!port.queues.is_empty(), "{port:?}");
            assert!(port.queues.iter().all(|it| it.busy_poll_us == expected), "{port:?}");
        }
        let web = stage.seat_of("shop/web").unwrap();
        for address in ALLOWED_OUTSIDE {
            let to = SocketAddr::new(address.parse().unwrap(), 80);
            let _server = serve::tcp_echo(&stage.outside, to).unwrap();
            let echoed = web.namespace.run(|| probe::tcp_echo(to, b"hello", PATIENCE)).unwrap();
            assert_eq!(echoed, Probe::Open, "{to}, {idle}: {}", stage.log_tail());
        }
        assert!(stage.log_tail().contains("packet memory is made of"), "{}", stage.log_tail());
    }
}
