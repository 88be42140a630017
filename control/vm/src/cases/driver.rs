//! What Sluice does on any driver.

use std::time::Duration;

use serde_json::Value;
use sluice_lab::probe::{Probe, tcp_connect, tcp_echo, udp_echo};
use sluice_lab::{Namespace, serve, wait_until};

use super::changes::ethtool;
use crate::daemon::{Counters, port, queue_frames, sent_by};
use crate::stage::{FREE, GATEWAYS, Nic, PATIENCE, Setup, Stage, WEB, address, log};
use crate::traffic::{Load, Sink, outside_addresses};

/// How an uplink is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A native gate, and the driver shares its memory on every queue.
    ZeroCopy,
    /// A native gate, and a driver that will not share.
    Copy,
    /// A native gate, and copies because the configuration says so.
    CopyAsked,
    /// A driver without XDP.
    Generic,
    /// A generic gate because the configuration says so.
    GenericAsked,
}

impl Mode {
    fn uplink(self) -> &'static str {
        match self {
            Self::ZeroCopy | Self::Copy | Self::Generic => "",
            Self::CopyAsked => "mode = \"copy\"",
            Self::GenericAsked => "mode = \"generic\"",
        }
    }
}

/// Sluice on one driver: its mode, policy both ways, every frame accounted for, flows that cross workers.
pub(crate) fn carries(nic: Nic, queues: usize, mode: Mode) {
    let stage = carries_with(nic, queues, mode, mode.uplink());
    let replies = replies_by_worker(&stage);
    if queues > 1 {
        assert!(replies.iter().all(|frames| *frames > 20), "one had all: {replies:?}");
    }
}

/// The driver adds queues when the gate comes, and nothing leaves by those: a worker that owns no other.
pub(crate) fn carries_though_a_worker_cannot_send(nic: Nic, mode: Mode) {
    let stage = carries_with(nic, 4, mode, "workers = [0, 0, 1, 1]");
    replies_by_worker(&stage);
}

/// Workers that poll and never sleep, with huge pages, and interrupts that give way to them.
pub(crate) fn carries_polled(nic: Nic, queues: usize) {
    // What packet memory of the default size takes.
    std::fs::write("/proc/sys/vm/nr_hugepages", "32").unwrap();
    let engine = "huge_pages = true\nidle = \"spin\"\nbusy_poll_us = 20";
    let mut stage = Stage::build(&Setup { engine, ..Setup::on(nic) });
    if nic.driver == "virtio_net" {
        ethtool(&stage.node, &["-L", "up0", "combined", "2"]);
    }
    stage.start_daemon();
    runs_in(&port("up0"), nic, queues, Mode::ZeroCopy);
    tell_polled();
    assert!(log().contains("packet memory is made of huge pages"), "{}", log());
    policies_hold(&stage);
    every_frame_is_counted(&stage, queues);
    tell_polled();
    std::fs::write("/proc/sys/vm/nr_hugepages", "0").unwrap();
}

/// Which queues are polled is the driver's affair; those that cannot be are left to interrupts.
fn tell_polled() {
    for queue in port("up0")["queues"].as_array().unwrap() {
        assert_eq!(queue["busy_poll_us"], 20, "{queue}");
        println!("queue {}: polled: {}", queue["queue"], queue["polled"]);
    }
}

fn carries_with(nic: Nic, queues: usize, mode: Mode, uplink: &'static str) -> Stage {
    let mut stage = Stage::build(&Setup { uplink, ..Setup::on(nic) });
    if nic.driver == "virtio_net" {
        // When a native gate comes, the driver adds one for each core.
        ethtool(&stage.node, &["-L", "up0", "combined", "2"]);
    }
    stage.start_daemon();
    runs_in(&port("up0"), nic, queues, mode);
    policies_hold(&stage);
    every_frame_is_counted(&stage, queues);
    stage
}

/// Every queue has a socket, all in that mode, and a mode that was not asked for has a reason.
pub(crate) fn runs_in(uplink: &Value, nic: Nic, queues: usize, mode: Mode) {
    assert_eq!(uplink["driver"], nic.driver, "{uplink:#}");
    let generic = matches!(mode, Mode::Generic | Mode::GenericAsked);
    assert_eq!(uplink["gate_mode"], if generic { "generic" } else { "native" }, "{uplink:#}");
    assert_eq!(uplink["why_generic"].is_string(), mode == Mode::Generic, "{uplink:#}");
    let sockets = uplink["queues"].as_array().unwrap();
    let numbers: Vec<&Value> = sockets.iter().map(|it| &it["queue"]).collect();
    assert_eq!(numbers, (0..queues).collect::<Vec<_>>(), "{uplink:#}");
    for socket in sockets {
        assert_eq!(socket["zero_copy"], mode == Mode::ZeroCopy, "{uplink:#}");
        assert_eq!(socket["why_copied"].is_string(), mode == Mode::Copy, "{uplink:#}");
    }
    if let Some(why) = uplink["why_generic"].as_str().or(sockets[0]["why_copied"].as_str()) {
        println!("{why}");
    }
}

/// How long a probe waits that must not be answered.
pub(crate) const SILENCE: Duration = Duration::from_secs(2);

/// What policy allows connects, what it denies is silent: IPv4 and IPv6, from outside and to it.
pub(crate) fn policies_hold(stage: &Stage) {
    let mut servers = Vec::new();
    // Linux serves IPv4 on these as well.
    for namespace in [&stage.web, &stage.outside] {
        for port in [443, 444] {
            servers.push(serve::tcp_echo(namespace, address("::", port)).unwrap());
        }
        for port in [53, 54] {
            servers.push(serve::udp_echo(namespace, address("::", port)).unwrap());
        }
    }
    servers.push(serve::tcp_echo(&stage.free, address("::", 444)).unwrap());
    let mut denied = Vec::new();
    for family in 0..2 {
        for (from, at) in [
            (&stage.outside, WEB[family]),
            (&stage.web, GATEWAYS[family]),
            (&stage.free, WEB[family]),
        ] {
            opens(from, "TCP 443", at, move || tcp_connect(address(at, 443), SILENCE));
            opens(from, "20 kB", at, move || tcp_echo(address(at, 443), &[7; 20_000], 4 * SILENCE));
            opens(from, "UDP 53", at, move || udp_echo(address(at, 53), SILENCE));
            let tcp = from.spawn(move || tcp_connect(address(at, 444), SILENCE)).unwrap();
            let udp = from.spawn(move || udp_echo(address(at, 54), SILENCE)).unwrap();
            denied.push((format!("from {} to {at} TCP 444", from.name()), tcp));
            denied.push((format!("from {} to {at} UDP 54", from.name()), udp));
        }
    }
    let free = || tcp_connect(address(FREE[0], 444), SILENCE);
    opens(&stage.outside, "TCP 444", FREE[0], free);
    for (what, probe) in denied {
        assert_eq!(probe.join().unwrap(), Probe::TimedOut, "{what}");
    }
    drop(servers);
}

/// Asserts that a probe is answered. The first may go by while addresses are still being resolved.
pub(crate) fn opens(from: &Namespace, what: &str, at: &str, probe: impl Fn() -> Probe + Sync) {
    let mut seen = Probe::TimedOut;
    let answered = wait_until(PATIENCE, || {
        seen = from.run(&probe).unwrap();
        seen.is_open()
    });
    assert!(answered, "from {} to {at} {what}: {seen:?}", from.name());
}

/// Datagrams that the outside sends: the pod has those that policy allows, the others are dropped for that reason,
/// all counters agree with the sender's NIC, and every queue had some.
pub(crate) fn every_frame_is_counted(stage: &Stage, queues: usize) {
    let sink = Sink::listen(&stage.web, address(WEB[0], 53));
    let load = Load {
        sources: outside_addresses(64),
        allowed: address(WEB[0], 53),
        allowed_count: 4_000,
        denied: address(WEB[0], 54),
        denied_count: 1_000,
        length_max: 1_400,
    };
    let (before, sent_before) = at_rest(stage);
    let queues_before = queue_frames_if_many(stage, queues);
    load.send(&stage.outside, &sink);
    let (after, sent) = at_rest(stage);
    let queues_after = queue_frames_if_many(stage, queues);

    after.assert_sums();
    let denied = after.dropped("up0", "ingress_denied") - before.dropped("up0", "ingress_denied");
    assert_eq!(denied, load.denied_count, "dropped as denied");
    assert_eq!(sent.1, sent_before.1, "the sender's own NIC lost frames");
    let steered = after.gate("up0", "steered") - before.gate("up0", "steered");
    let passed = after.gate("up0", "passed_to_node") - before.gate("up0", "passed_to_node");
    let received = after.rx("up0") - before.rx("up0");
    assert_eq!(
        sent.0 - sent_before.0,
        steered + passed,
        "frames sent, and frames that the gate saw"
    );
    assert_eq!(steered, received, "frames steered, and frames that workers took");
    assert!(received >= load.allowed_count + load.denied_count);
    let forwarded = after.tx("v11") - before.tx("v11");
    assert!(forwarded >= load.allowed_count, "{forwarded} to the pod");
    let of_queues: Vec<u64> =
        queues_after.iter().zip(&queues_before).map(|(now, then)| now - then).collect();
    assert!(
        of_queues.iter().all(|frames| *frames > 50),
        "a queue had next to nothing: {of_queues:?}"
    );
    println!("frames of each queue: {of_queues:?}");
    for socket in port("up0")["queues"].as_array().unwrap() {
        let statistics = &socket["statistics"];
        for lost in
            ["rx_dropped", "rx_ring_full", "rx_invalid_descriptors", "tx_invalid_descriptors"]
        {
            assert_eq!(statistics[lost], 0, "{lost} of {socket:#}");
        }
    }
}

/// A driver with one queue need not count by queue, and no driver counts what a generic gate sees.
fn queue_frames_if_many(stage: &Stage, queues: usize) -> Vec<u64> {
    if queues > 1 && port("up0")["gate_mode"] == "native" {
        queue_frames(&stage.node, "up0", queues)
    } else {
        Vec::new()
    }
}

/// Sluice's counters and those of the outside's NIC, at a moment when no frame moves either: a kernel has
/// something to say now and then.
fn at_rest(stage: &Stage) -> (Counters, (u64, u64)) {
    let look = || (Counters::now(), sent_by(&stage.outside, "eth0"));
    let mut last = look();
    let rest = wait_until(PATIENCE, || {
        std::thread::sleep(Duration::from_millis(300));
        let now = look();
        let same = ["up0", "v11", "v12"]
            .iter()
            .all(|it| now.0.rx(it) == last.0.rx(it) && now.0.tx(it) == last.0.tx(it));
        let same = same && now.1 == last.1;
        last = now;
        same
    });
    assert!(rest, "frames come and come");
    last
}

/// Connections whose replies arrive at other queues than their requests: how many each worker received.
fn replies_by_worker(stage: &Stage) -> [u64; 2] {
    let before = Counters::now();
    let server = serve::tcp_echo(&stage.outside, address("0.0.0.0", 443)).unwrap();
    let bytes = [9; 3_000];
    let clients: Vec<_> = outside_addresses(24)
        .into_iter()
        .map(|ip| {
            let to = std::net::SocketAddr::new(ip, server.address().port());
            stage.web.spawn(move || (to, tcp_echo(to, &bytes, PATIENCE))).unwrap()
        })
        .collect();
    for client in clients {
        let (to, seen) = client.join().unwrap();
        assert_eq!(seen, Probe::Open, "{to}");
    }
    let after = Counters::now();
    let of_worker = |port, worker| after.worker_rx(port, worker) - before.worker_rx(port, worker);
    let (requests, replies) =
        ([of_worker("v11", 0), of_worker("v11", 1)], [of_worker("up0", 0), of_worker("up0", 1)]);
    println!("requests by worker {requests:?}, replies by worker {replies:?}");
    replies
}
