//! Captures of what an engine over queues in memory drops.

#![allow(clippy::unwrap_used, reason = "helpers of a test may fail as the test does")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use sluice_core::address::{Mac, NetworkId};
use sluice_core::drop::DropReason;
use sluice_core::table::{Endpoint, EndpointId, Identity, IdentityId, Table};
use sluice_engine::capture::{CaptureSpec, DroppedFrame};
use sluice_engine::io::memory::Wire;
use sluice_engine::port::{PortKind, PortSpec};
use sluice_engine::{Engine, EngineConfig, EngineError};
use sluice_xdp::Umem;

const FRAMES: u32 = 4096;

/// Two workers and two pods that may send each other everything.
struct Pods {
    engine: Engine,
    wires: [Wire; 2],
}

impl Pods {
    /// The wire of the second holds at most `second_len` frames.
    fn new(second_len: usize) -> Self {
        let (umem, pool) = Umem::in_memory(FRAMES).unwrap();
        let config = EngineConfig { cores: vec![0, 1], ..EngineConfig::default() };
        let engine = Engine::start(&config, umem, pool).unwrap();
        let wires = [(1, 512), (2, second_len)].map(|(n, len)| {
            let (wire, queue) = Wire::new(len);
            let spec = PortSpec {
                name: format!("pod-{n}").into(),
                kind: PortKind::Pod { pod: format!("shop/p{n}").into(), mac: mac(n) },
                networks: BTreeMap::from([(NetworkId::DEFAULT, None)]),
                mtu: 1500,
                priority_tags: false,
                partial_checksums: false,
            };
            engine.add_port(spec, vec![Box::new(queue)]).unwrap();
            wire
        });
        let mut edit = Table::empty().edit();
        edit.set_identity(IdentityId(0), Some(Identity::default()));
        for n in 1..=2 {
            let endpoint = Endpoint {
                name: format!("shop/p{n}").into(),
                network: NetworkId::DEFAULT,
                addresses: vec![IpAddr::from([10, 0, 0, n])],
                identity: Some(IdentityId(0)),
                node: None,
            };
            edit.set_endpoint(EndpointId(n.into()), Some(endpoint));
        }
        engine.publish(edit.finish(1)).unwrap();
        Self { engine, wires }
    }

    /// Sends frames from the pod with that wire, and waits until `dropped` frames have been dropped in all.
    fn send(&self, wire: &Wire, frames: impl IntoIterator<Item = Vec<u8>>, dropped: u64) {
        for frame in frames {
            wait_until("room on the wire", || wire.push(&frame));
        }
        wait_until("the drops", || self.engine.totals().dropped_all() >= dropped);
        assert_eq!(self.engine.totals().dropped_all(), dropped);
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < patience, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

/// A datagram from the MAC of one pod, with the address of another perhaps.
fn udp(from: u8, address: u8, source_port: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(mac(from).0, mac(3 - from).0)
        .ipv4([10, 0, 0, address], [10, 0, 0, 3 - from], 64)
        .udp(source_port, 53)
        .write(&mut frame, b"which?")
        .unwrap();
    frame
}

/// From pod `from`, with an address that it does not have.
fn spoofed(from: u8, source_port: u16) -> Vec<u8> {
    udp(from, 9, source_port)
}

fn spec() -> CaptureSpec {
    CaptureSpec {
        ports: Vec::new(),
        reasons: Vec::new(),
        count: 100,
        snap_len: 4096,
        duration: Duration::from_secs(3600),
    }
}

fn bytes(frames: Vec<DroppedFrame>) -> Vec<Vec<u8>> {
    frames.into_iter().map(|frame| frame.bytes).collect()
}

#[test]
fn dropped_frames_are_captured_as_they_were_and_forwarded_ones_are_not() {
    let pods = Pods::new(512);
    let mut capture = pods.engine.capture(spec()).unwrap();
    let mut short = pods.engine.capture(CaptureSpec { snap_len: 20, ..spec() }).unwrap();
    let bad = spoofed(1, 1000);
    let cut = bad[..13].to_vec();
    pods.send(&pods.wires[0], [udp(1, 1, 1000), bad.clone(), cut.clone()], 2);
    wait_until("the good one", || pods.wires[1].pop().is_some());

    let frames = capture.take(100);
    assert_eq!(capture.missed(), 0);
    // The second has no flow, so another worker may have come to its drop first.
    let of = |reason| frames.iter().find(|it| it.reason == reason).unwrap();
    let spoof = of(DropReason::SpoofedAddress);
    assert_eq!((spoof.bytes.as_slice(), spoof.len), (&bad[..], bad.len()));
    let malformed = of(DropReason::MalformedEthernet);
    assert_eq!((malformed.bytes.as_slice(), malformed.len), (&cut[..], 13));
    assert_eq!(frames.len(), 2);
    for frame in &frames {
        assert_eq!(frame.port.as_deref(), Some("pod-1"));
        assert!(frame.worker < 2);
    }
    let mut short: Vec<_> = short.take(100).into_iter().map(|it| (it.len, it.bytes)).collect();
    short.sort();
    assert_eq!(short, [(13, cut), (bad.len(), bad[..20].to_vec())]);
}

#[test]
fn nothing_is_captured_before_and_nothing_after() {
    let pods = Pods::new(512);
    pods.send(&pods.wires[0], [spoofed(1, 1)], 1);
    let mut capture = pods.engine.capture(spec()).unwrap();
    assert_eq!(capture.take(100), []);
    drop(capture);
    pods.send(&pods.wires[0], [spoofed(1, 2)], 2);
    assert_eq!(pods.engine.capture(spec()).unwrap().take(100), []);
}

#[test]
fn so_many_and_no_more() {
    let pods = Pods::new(512);
    let mut capture = pods.engine.capture(CaptureSpec { count: 5, ..spec() }).unwrap();
    pods.send(&pods.wires[0], (0..200).map(|port| spoofed(1, port)), 200);
    assert_eq!(capture.take(3).len(), 3);
    assert!(!capture.is_over());
    assert_eq!(capture.take(100).len(), 2);
    assert!(capture.is_over());
    assert_eq!((capture.take(100), capture.missed()), (Vec::new(), 0));
}

#[test]
fn what_nobody_takes_in_time_is_missed() {
    let pods = Pods::new(512);
    let mut capture = pods.engine.capture(CaptureSpec { count: 5000, ..spec() }).unwrap();
    pods.send(&pods.wires[0], (0..1500).map(|port| spoofed(1, port)), 1500);
    let captured = capture.take(5000).len() as u64;
    assert_eq!(captured + capture.missed(), 1500);
    assert_eq!(captured, 1024);
}

#[test]
fn ports_and_reasons_narrow_it() {
    let pods = Pods::new(512);
    let of_port = CaptureSpec { ports: vec!["pod-2".into()], ..spec() };
    let of_reason = CaptureSpec { reasons: vec![DropReason::MalformedEthernet], ..spec() };
    let of_both = CaptureSpec { ports: of_port.ports.clone(), ..of_reason.clone() };
    let mut captures = [of_port, of_reason, of_both].map(|it| pods.engine.capture(it).unwrap());
    pods.send(&pods.wires[0], [spoofed(1, 1), vec![1; 5]], 2);
    pods.send(&pods.wires[1], [spoofed(2, 2)], 3);
    pods.send(&pods.wires[1], [vec![2; 5]], 4);
    let [of_port, of_reason, of_both] = captures.each_mut().map(|it| bytes(it.take(100)));
    assert_eq!(of_port, [spoofed(2, 2), vec![2; 5]]);
    assert_eq!(of_reason, [[1; 5], [2; 5]]);
    assert_eq!(of_both, [[2; 5]]);

    let unknown = CaptureSpec { ports: vec!["pod-1".into(), "pod-3".into()], ..spec() };
    let refused = pods.engine.capture(unknown).unwrap_err();
    assert!(matches!(&refused, EngineError::NoSuchPort(name) if name == "pod-3"), "{refused}");
}

#[test]
fn a_full_ring_is_on_the_account_of_the_port_that_should_have_sent() {
    let pods = Pods::new(4);
    let mut capture = pods.engine.capture(spec()).unwrap();
    let frames: Vec<_> = (0..10).map(|port| udp(1, 1, port)).collect();
    pods.send(&pods.wires[0], frames.clone(), 6);
    let dropped = capture.take(100);
    assert_eq!(dropped.len(), 6);
    for frame in dropped {
        assert_eq!((frame.port.as_deref(), frame.reason), (Some("pod-2"), DropReason::TxFull));
        assert!(frames.contains(&frame.bytes));
    }
}
