//! `sluicectl doctor` on veths in a namespace, against the real kernel.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is how a failure is reported"
)]

mod common;

use std::path::Path;
use std::process::Output;

use common::{Run, sluicectl};
use serde_json::Value;
use sluice_lab::{Lab, Namespace, VethOptions, root_or_skip};
use sluice_xdp::{Fallback, Gate, GateConfig, GateMode, GateRole, Interface};

/// A node with the end of a cable, `veth-a`, whose other end is elsewhere.
struct Bed {
    lab: Lab,
    node: Namespace,
    pod: Namespace,
}

impl Bed {
    fn new(options: &VethOptions) -> Self {
        let lab = Lab::new("doctor").unwrap();
        let (node, pod) = (lab.namespace("node").unwrap(), lab.namespace("pod").unwrap());
        lab.veth(&node, "veth-a", &pod, "veth-b", options).unwrap();
        Self { lab, node, pod }
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let program = assert_cmd::cargo::cargo_bin!("sluicectl");
        // No daemon of the machine is asked.
        let socket = ["--socket", "/nonexistent/control.sock"];
        let arguments = [&["doctor"], arguments, &socket].concat();
        let Output { status, stdout, stderr } =
            self.node.command(program.to_str().unwrap(), &arguments).unwrap();
        Run {
            status: status.code().unwrap(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }
}

/// What a check said of `veth-a`.
fn finding<'a>(report: &'a Value, check: &str) -> &'a Value {
    let subjects = report["subjects"].as_array().unwrap();
    let veth = subjects.iter().find(|it| it["name"] == "veth-a").unwrap();
    let mut findings = veth["findings"].as_array().unwrap().iter();
    findings.find(|it| it["check"] == check).unwrap_or_else(|| panic!("no {check}: {veth}"))
}

#[test]
fn a_veth_is_told_line_by_line() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new(&VethOptions::default());
    let run = bed.run(&["veth-a"]);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{}", run.stdout);
    let (machine, veth) = run.stdout.split_once("\n\nveth-a\n").unwrap();
    assert!(machine.starts_with("machine\n  ok       kernel        "), "{machine}");
    let expected = "  ok       link          up
  ok       driver        veth: native, with copies, as this driver is
  ok       MTU           1500
  ok       queues        1 of at most 1
  ok       VLAN tags     not seen unless its peer writes them (there: ethtool -K PEER txvlan off)
  ok       LRO           off
  ok       checksums     may come unfinished from this driver; Sluice completes them

ok: no faults, ";
    // Before Linux 6.3 the kernel does not tell of drivers.
    let veth = veth.replace(" (expected; this kernel does not tell)", "");
    assert!(veth.starts_with(expected), "{veth}");
}

#[test]
fn faults_end_with_status_1_and_the_command_that_heals() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new(&VethOptions { mtu: 9500, ..VethOptions::default() });
    bed.node.down("veth-a").unwrap();
    let run = bed.run(&["veth-a"]);
    assert_eq!(run.status, 1);
    assert!(run.stderr.starts_with("2 faults, "), "{}", run.stderr);
    for line in [
        "  fault    link          down\n                         > ip link set dev veth-a up\n",
        "  fault    MTU           9500; Sluice takes 9000 at most\n                         > ip link set dev veth-a mtu 9000\n",
    ] {
        assert!(run.stdout.contains(line), "{}", run.stdout);
    }
    bed.node.up("veth-a").unwrap();
    bed.node.ip(&["link", "set", "veth-a", "mtu", "1500"]).unwrap();
    assert_eq!(bed.run(&["veth-a"]).status, 0, "what was pasted has healed it");
    bed.pod.down("veth-b").unwrap();
    let report = bed.run(&["veth-a", "-o", "json"]).json();
    assert_eq!(finding(&report, "link")["level"], "warning", "{report}");
}

#[test]
fn a_gate_without_a_daemon_is_told() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new(&VethOptions::default());
    let pin_dir = bed.lab.bpffs().unwrap();
    let attach = |pin_dir: &Path| {
        let config = GateConfig {
            pin_dir: pin_dir.to_owned(),
            role: GateRole::Steer,
            fallback: Fallback::Drop,
            mode: Some(GateMode::Generic),
            chains: false,
            node_addresses: Vec::new(),
        };
        Gate::attach(&Interface::open("veth-a").unwrap(), &config).unwrap()
    };
    let gate = bed.node.run(|| attach(&pin_dir)).unwrap();
    let run = bed.run(&["veth-a", "-o", "json", "--pin-dir", pin_dir.to_str().unwrap()]);
    let report = run.json();
    let program = finding(&report, "program");
    assert_eq!((run.status, &program["level"]), (0, &Value::from("warning")), "{program}");
    let found = program["found"].as_str().unwrap();
    assert!(found.starts_with("Sluice's gate (") && found.contains(", generic)"), "{program}");
    assert_eq!(finding(&report, "TSO")["level"], "warning", "{report}");
    assert_eq!(report["ok"], true);
    gate.detach().unwrap();
    let report = bed.run(&["veth-a", "-o", "json"]).json();
    assert!(!report.to_string().contains("Sluice's gate"), "{report}");
}

#[test]
fn a_gate_for_long_frames_is_known_wherever_it_is_pinned() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new(&VethOptions { mtu: 9000, ..VethOptions::default() });
    let config = GateConfig {
        pin_dir: bed.lab.bpffs().unwrap(),
        role: GateRole::Steer,
        fallback: Fallback::Drop,
        mode: None,
        chains: true,
        node_addresses: Vec::new(),
    };
    let attach = || Gate::attach(&Interface::open("veth-a").unwrap(), &config);
    let _gate = bed.node.run(attach).unwrap().unwrap();
    // In another directory than doctor looks into, so that the name is all there is to know it by.
    let report = bed.run(&["veth-a", "-o", "json"]).json();
    let program = finding(&report, "program");
    let found = program["found"].as_str().unwrap();
    assert!(found.starts_with("Sluice's gate ("), "{program}");
}

#[test]
fn without_a_name_neither_veths_nor_the_loopback_are_looked_at() {
    if !root_or_skip() {
        return;
    }
    let bed = Bed::new(&VethOptions::default());
    let report = bed.run(&["-o", "json"]).json();
    let names: Vec<_> =
        report["subjects"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["machine"]);
}

#[test]
fn an_interface_that_is_not_there_is_refused() {
    let run = sluicectl(&["doctor", "no-such-if"], "");
    assert_eq!((run.status, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.starts_with("interface no-such-if does not exist"), "{}", run.stderr);
}
