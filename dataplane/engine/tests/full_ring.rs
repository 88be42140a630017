//! What becomes of frames for which a tx ring has no room.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of a test may fail as the test does"
)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use etherparse::PacketBuilder;
use sluice_core::address::{Mac, NetworkId};
use sluice_core::drop::DropReason;
use sluice_core::flow::FlowHasher;
use sluice_core::table::{Endpoint, EndpointId, Identity, IdentityId, Table};
use sluice_core::time::Time;
use sluice_engine::EngineConfig;
use sluice_engine::io::memory::Wire;
use sluice_engine::port::{PortKind, PortSpec};
use sluice_engine::stepped::Stepped;
use sluice_xdp::Umem;

const START: Time = Time(1_000_000_000);

/// Pods that may send each other everything. The last one's wire holds four frames.
struct Pods {
    engine: Stepped,
    wires: Vec<Wire>,
}

impl Pods {
    fn new() -> Self {
        Self::with_senders(1)
    }

    /// Pods 1 to `senders`, and one more that they send to.
    fn with_senders(senders: u8) -> Self {
        let (umem, pool) = Umem::in_memory(2048).unwrap();
        let config = EngineConfig { cores: vec![0], ..EngineConfig::default() };
        let engine = Stepped::start(&config, umem, pool, FlowHasher::seeded(1)).unwrap();
        let add = |n: u8| {
            let (wire, queue) = Wire::new(if n > senders { 4 } else { 1024 });
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
        };
        let wires = (1..=senders + 1).map(add).collect();
        let mut edit = Table::empty().edit();
        edit.set_identity(IdentityId(0), Some(Identity::default()));
        for n in 1..=senders + 1 {
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

    /// Sends datagrams numbered by their source ports from the first pod to the last.
    fn send(&self, numbers: std::ops::Range<u16>) {
        self.send_from(1, numbers);
    }

    fn send_from(&self, pod: u8, numbers: std::ops::Range<u16>) {
        let to = u8::try_from(self.wires.len()).unwrap();
        for number in numbers {
            assert!(self.wires[usize::from(pod) - 1].push(&datagram(pod, to, number)));
        }
    }

    fn turn(&self, later: Duration) {
        self.engine.turn(START + later).unwrap();
    }

    /// Takes off the last pod's wire what is there.
    fn arrived(&self) -> Vec<u16> {
        std::iter::from_fn(|| self.wires.last().unwrap().pop())
            .map(|frame| u16::from_be_bytes([frame[34], frame[35]]))
            .collect()
    }

    fn dropped(&self) -> u64 {
        assert_eq!(
            self.engine.totals().dropped_all(),
            self.engine.totals().dropped(DropReason::TxFull)
        );
        self.engine.totals().dropped_all()
    }
}

fn mac(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, n])
}

fn datagram(from: u8, to: u8, number: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(mac(from).0, mac(to).0)
        .ipv4([10, 0, 0, from], [10, 0, 0, to], 64)
        .udp(number, 53)
        .write(&mut frame, b"which?")
        .unwrap();
    frame
}

#[test]
fn a_burst_longer_than_the_ring_waits_and_leaves_in_order() {
    let pods = Pods::new();
    pods.send(1..11);
    pods.turn(Duration::ZERO);
    let mut arrived = pods.arrived();
    assert_eq!(arrived, [1, 2, 3, 4]);
    // Newcomers line up behind those that wait.
    pods.send(11..13);
    for micros in [500, 1_400, 2_300] {
        pods.turn(Duration::from_micros(micros));
        arrived.extend(pods.arrived());
    }
    assert_eq!(arrived, (1..13).collect::<Vec<_>>(), "each ring that takes some earns patience");
    assert_eq!(pods.dropped(), 0);
}

#[test]
fn a_ring_that_takes_nothing_for_a_while_loses_what_waits_for_it() {
    let pods = Pods::new();
    pods.send(1..11);
    pods.turn(Duration::ZERO);
    pods.turn(Duration::from_micros(1_000));
    assert_eq!(pods.dropped(), 0, "not yet");
    pods.turn(Duration::from_micros(1_001));
    assert_eq!(pods.dropped(), 6);
    assert_eq!(pods.arrived(), [1, 2, 3, 4], "and nothing of it leaves later");
    pods.turn(Duration::from_micros(1_002));
    assert_eq!(pods.arrived(), [] as [u16; 0]);
}

#[test]
fn so_many_wait_and_no_more() {
    let pods = Pods::new();
    pods.send(1..301);
    pods.turn(Duration::ZERO);
    assert_eq!(pods.dropped(), 300 - 4 - 256);
    assert_eq!(pods.arrived(), [1, 2, 3, 4]);
}

#[test]
fn what_waits_for_a_port_that_goes_is_counted() {
    let pods = Pods::new();
    pods.send(1..11);
    pods.turn(Duration::ZERO);
    assert_eq!(pods.arrived(), [1, 2, 3, 4], "there is room again");
    pods.engine.remove_port("pod-2").unwrap();
    assert_eq!(pods.arrived(), [] as [u16; 0], "but nobody to send to");
    let totals = pods.engine.totals();
    assert_eq!(totals.dropped(DropReason::PortGone), 6);
    assert_eq!(totals.rx_frames, totals.tx_frames + totals.dropped_all());
}

#[test]
fn what_waits_under_a_table_that_is_replaced_does_not_leave() {
    let pods = Pods::new();
    pods.send(1..11);
    pods.turn(Duration::ZERO);
    assert_eq!(pods.arrived(), [1, 2, 3, 4]);
    pods.engine.publish(Table::empty().with_revision(2)).unwrap();
    pods.turn(Duration::from_micros(1));
    assert_eq!(pods.arrived(), [] as [u16; 0]);
    assert_eq!(pods.dropped(), 6);
}

#[test]
fn two_senders_share_a_full_ring() {
    let pods = Pods::with_senders(2);
    let mut arrived = [0u32; 2];
    for turn in 0..200u64 {
        pods.send(1..101);
        pods.send_from(2, 1001..1101);
        pods.turn(Duration::from_micros(100 * turn));
        for number in pods.arrived() {
            arrived[usize::from(number > 1000)] += 1;
        }
    }
    assert_eq!(arrived[0] + arrived[1], 800);
    assert!(arrived[0].abs_diff(arrived[1]) < 400, "{arrived:?}");
}
