//! A lab works, and leaves nothing behind.
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use std::process::Command;
use std::time::Duration;

use sluice_lab::probe::{self, Probe};
use sluice_lab::{Lab, VethOptions, root_or_skip, serve, wait_until};

const PATIENCE: Duration = Duration::from_secs(5);

fn traces(of: &str) -> String {
    let list = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let directories = std::fs::read_dir(std::env::temp_dir()).unwrap();
    String::from_utf8_lossy(&list.stdout)
        .lines()
        .chain(mounts.lines())
        .map(str::to_owned)
        .chain(directories.flatten().map(|entry| entry.path().display().to_string()))
        .filter(|line| line.contains(of))
        .collect()
}

#[test]
fn a_lab_leaves_nothing_behind() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::new("trace").unwrap();
    let name = lab.name().to_owned();
    let (left, right) = (lab.namespace("left").unwrap(), lab.namespace("right").unwrap());
    lab.veth(&left, "if-l", &right, "if-r", &VethOptions::default()).unwrap();
    let pins = lab.bpffs().unwrap();
    std::fs::create_dir(pins.join("something")).unwrap();
    assert!(traces(&name).contains("left"));
    drop(lab);
    assert_eq!(traces(&name), "");
    assert!(left.run(|| ()).is_err(), "a removed namespace cannot be entered");
}

#[test]
fn sockets_meet_over_a_cable() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::new("cable").unwrap();
    let (left, right) = (lab.namespace("left").unwrap(), lab.namespace("right").unwrap());
    let options = VethOptions {
        mac_a: Some([2, 0, 0, 0, 0, 1]),
        mac_b: Some([2, 0, 0, 0, 0, 2]),
        queues: 2,
        ..VethOptions::default()
    };
    lab.veth(&left, "if-l", &right, "if-r", &options).unwrap();
    for (namespace, interface, end) in [(&left, "if-l", 1), (&right, "if-r", 2)] {
        namespace.address(interface, &format!("10.0.0.{end}/24")).unwrap();
        namespace.address(interface, &format!("fd00::{end}/64")).unwrap();
    }
    for address in ["10.0.0.2:0", "[fd00::2]:0"] {
        let tcp = serve::tcp_echo(&right, address.parse().unwrap()).unwrap();
        let udp = serve::udp_echo(&right, address.parse().unwrap()).unwrap();
        let long = vec![7; 1_000_000];
        assert!(left.run(|| probe::tcp_connect(tcp.address(), PATIENCE)).unwrap().is_open());
        assert!(left.run(|| probe::tcp_echo(tcp.address(), &long, PATIENCE)).unwrap().is_open());
        assert!(left.run(|| probe::udp_echo(udp.address(), PATIENCE)).unwrap().is_open());
        let (tcp_address, udp_address) = (tcp.address(), udp.address());
        assert!(wait_until(PATIENCE, || udp.served() == 1 && tcp.served() == 2));
        tcp.stop();
        udp.stop();
        let refused = left.run(|| probe::tcp_connect(tcp_address, PATIENCE)).unwrap();
        assert_eq!(refused, Probe::Refused);
        let refused = left.run(|| probe::udp_echo(udp_address, PATIENCE)).unwrap();
        assert_eq!(refused, Probe::Refused);
    }
}

#[test]
fn silence_and_no_route_differ() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::new("silent").unwrap();
    let (left, right) = (lab.namespace("left").unwrap(), lab.namespace("right").unwrap());
    lab.veth(&left, "if-l", &right, "if-r", &VethOptions::default()).unwrap();
    left.address("if-l", "10.0.0.1/24").unwrap();
    left.neighbour("if-l", "10.0.0.9", "02:00:00:00:00:09").unwrap();
    left.route("10.7.0.0/16", "via", "10.0.0.9").unwrap();
    let short = Duration::from_millis(200);
    let to = |address: &str| {
        let address = address.parse().unwrap();
        left.run(|| probe::tcp_connect(address, short)).unwrap()
    };
    assert_eq!(to("10.7.0.1:80"), Probe::TimedOut);
    assert_eq!(to("192.0.2.1:80"), Probe::Unreachable);
}

#[test]
fn programs_and_threads_run_inside() {
    if !root_or_skip() {
        return;
    }
    let lab = Lab::new("inside").unwrap();
    let namespace = lab.namespace("box").unwrap();
    let output = namespace.command("ip", &["-o", "link"]).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.lines().count() == 1 && text.contains("lo"), "{text}");
    let links = || Command::new("ip").args(["-o", "link"]).output().unwrap().stdout;
    assert_eq!(namespace.spawn(links).unwrap().join().unwrap(), output.stdout);
    let mut command = Command::new("sleep");
    command.arg("60");
    let mut child = namespace.child(command).unwrap();
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(
        namespace.sysctl("net.no.such.thing", "1").unwrap_err().to_string().contains("no.such")
    );
    assert!(namespace.up("missing").unwrap_err().to_string().contains("missing"));
}
