//! The cases by name.

use std::time::Duration;

use serde_json::Value;
use sluice_lab::probe::{Probe, tcp_connect, tcp_echo, udp_echo};
use sluice_lab::{Namespace, serve, wait_until};

use crate::daemon::{Counters, port, queue_frames, sent_by};
use crate::stage::{E1000E, FREE, GATEWAYS, IGB, Nic, PATIENCE, Stage, VIRTIO, WEB, address};
use crate::traffic::{Load, Sink, outside_addresses};

/// What `run.sh` may ask for.
pub(crate) const CASES: &[(&str, fn())] = &[
    ("virtio-zero-copy", || driver_carries(VIRTIO, 4, Mode::ZeroCopy)),
    ("virtio-copy", || driver_carries(VIRTIO, 4, Mode::Copy)),
    ("virtio-oldest", || driver_carries(VIRTIO, 4, Mode::Copy)),
    ("igb-zero-copy", || driver_carries(IGB, 2, Mode::ZeroCopy)),
    ("e1000e-generic", || driver_carries(E1000E, 1, Mode::Generic)),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// A native gate, and the driver shares its memory on every queue.
    ZeroCopy,
    /// A native gate, and a driver that will not share.
    Copy,
    /// A driver without XDP.
    Generic,
}

/// Sluice on one driver: its mode, policy both ways, every frame accounted for, flows that cross workers.
fn driver_carries(nic: Nic, queues: usize, mode: Mode) {
    let stage = Stage::start(nic, "");
    let uplink = port("up0");
    assert_mode(&uplink, nic, queues, mode);
    policies_hold(&stage);
    every_frame_is_counted(&stage, queues);
    replies_find_their_worker(&stage, queues);
}

fn assert_mode(uplink: &Value, nic: Nic, queues: usize, mode: Mode) {
    assert_eq!(uplink["driver"], nic.driver, "{uplink:#}");
    let gate = if mode == Mode::Generic { "generic" } else { "native" };
    assert_eq!(uplink["gate_mode"], gate, "{uplink:#}");
    let zero_copy = vec![Value::from(mode == Mode::ZeroCopy); queues];
    assert_eq!(uplink["zero_copy"], Value::from(zero_copy), "{uplink:#}");
}

/// How long a probe waits that must not be answered.
const SILENCE: Duration = Duration::from_secs(2);

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
            opens(from, "20 kB", at, move || tcp_echo(address(at, 443), &[7; 20_000], PATIENCE));
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
fn opens(from: &Namespace, what: &str, at: &str, probe: impl Fn() -> Probe + Sync) {
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
    };
    let (before, sent_before) = (settled(), sent_by(&stage.outside, "eth0"));
    let queues_before = queue_frames_if_many(stage, queues);
    load.send(&stage.outside, &sink);
    let (after, sent) = (settled(), sent_by(&stage.outside, "eth0"));
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
}

/// A driver with one queue need not count by queue.
fn queue_frames_if_many(stage: &Stage, queues: usize) -> Vec<u64> {
    if queues > 1 { queue_frames(&stage.node, "up0", queues) } else { Vec::new() }
}

/// Counters that no frame moves any more.
fn settled() -> Counters {
    let mut last = Counters::now();
    let rest = wait_until(PATIENCE, || {
        std::thread::sleep(Duration::from_millis(300));
        let now = Counters::now();
        let same = ["up0", "v11", "v12"]
            .iter()
            .all(|it| now.rx(it) == last.rx(it) && now.tx(it) == last.tx(it));
        last = now;
        same
    });
    assert!(rest, "frames come and come");
    last
}

/// Connections whose replies arrive at other queues than their requests, and so at another worker.
pub(crate) fn replies_find_their_worker(stage: &Stage, queues: usize) {
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
    if queues > 1 {
        assert!(
            replies.iter().all(|frames| *frames > 20),
            "one worker had all replies: {replies:?}"
        );
    }
}
