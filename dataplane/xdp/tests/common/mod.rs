//! A pod and a node, joined by a cable; and frames to send over it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "each test file uses a part, and a failed step of a test is a failed test"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use sluice_lab::{Lab, Namespace, VethOptions, wait_until};
use sluice_xdp::{
    Fallback, Frame, FramePool, Gate, GateConfig, GateError, GateRole, Interface, Queue,
    QueueConfig, Umem,
};

pub const PATIENCE: Duration = Duration::from_secs(5);
pub const POD_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const NODE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// IEEE 802 "local experimental" type: no stack answers it.
pub const TEST_TYPE: [u8; 2] = [0x88, 0xb5];

/// The pod's `eth0` (10.0.0.1) and the node's `veth-a` (10.0.0.2).
pub struct Bed {
    pub pod: Namespace,
    pub node: Namespace,
    pub pins: PathBuf,
    pub mtu: u32,
    pub lab: Lab,
}

impl Bed {
    pub fn new(name: &str, queues: u32) -> Self {
        Self::with_mtu(name, queues, 1500)
    }

    pub fn with_mtu(name: &str, queues: u32, mtu: u32) -> Self {
        let lab = Lab::new(name).unwrap();
        let (pod, node) = (lab.namespace("pod").unwrap(), lab.namespace("node").unwrap());
        let pins = lab.bpffs().unwrap();
        let bed = Self { pod, node, pins, mtu, lab };
        bed.cable(queues);
        bed
    }

    pub fn cable(&self, queues: u32) {
        let options = VethOptions {
            mac_a: Some(POD_MAC),
            mac_b: Some(NODE_MAC),
            queues,
            mtu: self.mtu,
            ..VethOptions::default()
        };
        self.lab.veth(&self.pod, "eth0", &self.node, "veth-a", &options).unwrap();
        self.pod.address("eth0", "10.0.0.1/24").unwrap();
        self.node.address("veth-a", "10.0.0.2/24").unwrap();
        self.pod.neighbour("eth0", "10.0.0.2", "02:00:00:00:00:02").unwrap();
    }

    pub fn config(&self, role: GateRole, fallback: Fallback) -> GateConfig {
        let node_addresses = vec!["10.0.0.2".parse().unwrap()];
        GateConfig {
            pin_dir: self.pins.clone(),
            role,
            fallback,
            mode: None,
            node_addresses,
            chains: self.is_jumbo(),
        }
    }

    pub fn is_jumbo(&self) -> bool {
        self.mtu > 3500
    }

    pub fn interface(&self) -> Interface {
        self.node.run(|| Interface::open("veth-a")).unwrap().unwrap()
    }

    pub fn attach(&self, role: GateRole) -> Result<Gate, GateError> {
        let config = self.config(role, Fallback::Drop);
        let interface = self.interface();
        self.node.run(|| Gate::attach(&interface, &config)).unwrap()
    }

    pub fn bind(&self, umem: &Umem, queue_id: u32) -> Queue {
        let interface = self.interface();
        let chains = self.is_jumbo();
        let config =
            QueueConfig { ring_size: 256, fill_frames_max: 128, chains, ..QueueConfig::default() };
        self.node.run(|| Queue::bind(umem, &interface, queue_id, &config)).unwrap().unwrap()
    }

    /// A socket at the pod's end, to send frames that no stack would.
    pub fn sender(&self) -> Sender {
        let (umem, pool) = Umem::in_memory(512).unwrap();
        let queue = self
            .pod
            .run(|| {
                let interface = Interface::open("eth0").unwrap();
                let config = QueueConfig { chains: self.is_jumbo(), ..QueueConfig::default() };
                Queue::bind(&umem, &interface, 0, &config)
            })
            .unwrap()
            .unwrap();
        Sender { queue, pool }
    }
}

/// Sends raw frames and waits until they are out.
pub struct Sender {
    pub queue: Queue,
    pub pool: FramePool,
}

impl Sender {
    pub fn send(&mut self, packet: &[u8]) {
        let frame = self.pool.frame_of([packet]).unwrap();
        let mut frames = vec![frame];
        assert_eq!(self.queue.send(&mut frames), 1);
        let sent = wait_until(PATIENCE, || {
            self.queue.kick().unwrap();
            self.queue.complete(&mut self.pool);
            self.queue.held().tx == 0
        });
        assert!(sent, "the frame does not leave");
    }
}

/// A frame from the pod to the node, of `len` bytes, recognizable by its number.
pub fn test_packet(number: u32, len: usize) -> Vec<u8> {
    let mut packet = Vec::with_capacity(len);
    packet.extend(NODE_MAC);
    packet.extend(POD_MAC);
    packet.extend(TEST_TYPE);
    packet.extend(number.to_be_bytes());
    let filler = (0..).map(|at: u32| at.wrapping_mul(number.wrapping_add(7)).to_le_bytes()[0]);
    packet.extend(filler.take(len.saturating_sub(packet.len())));
    packet
}

/// Takes what has arrived; other traffic than test packets goes back to the pool.
pub fn receive(queue: &mut Queue, pool: &mut FramePool, want: usize) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let mut frames: Vec<Frame> = Vec::with_capacity(256);
    // Too few are for the caller to notice.
    let _ = wait_until(PATIENCE, || {
        queue.receive(&mut frames, 64);
        for frame in frames.drain(..) {
            if frame.get(12..14) == Some(&TEST_TYPE) {
                packets.push(frame.pieces().flatten().copied().collect());
            }
            pool.put(frame);
        }
        queue.refill(pool);
        packets.len() >= want
    });
    packets
}

/// An Ethernet frame with an IPv4 UDP datagram, checksum of UDP left out (zero, as RFC 768 allows).
pub fn udp_packet(
    macs: ([u8; 6], [u8; 6]),
    from: SocketAddr,
    to: SocketAddr,
    body: &[u8],
) -> Vec<u8> {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else { return Vec::new() };
    let (destination, source) = macs;
    let udp_len = u16::try_from(8 + body.len()).unwrap();
    let mut ip = vec![0x45, 0];
    ip.extend((20 + udp_len).to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(from.ip().octets());
    ip.extend(to.ip().octets());
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let mut packet = Vec::new();
    packet.extend(destination);
    packet.extend(source);
    packet.extend([0x08, 0x00]);
    packet.extend(ip);
    packet.extend(from.port().to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend(udp_len.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(body);
    packet
}
